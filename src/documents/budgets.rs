//! The budgets of fetches.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::settings::DocumentSettings;
use super::{ClientIdUrl, Standing};
use crate::client_address::carried;
use crate::clock::Clock;
use crate::rate_limit::{Budget, Limiter, Quota, Reservation, SharedQuotas, Spent};

/// The tables of all budgets, which stay when the settings change. About 256 KiB.
#[derive(Debug)]
pub(super) struct Tables {
    fetches: Limiter,
    addresses: Limiter,
    networks: Limiter,
    sites: Limiter,
    refreshes: Limiter,
    refreshed_sites: Limiter,
}

/// The budgets under the settings in force.
#[derive(Clone, Debug, Default)]
pub(super) struct Budgets {
    fetches: Option<Budget>,
    addresses: Option<Budget>,
    networks: Option<Budget>,
    sites: Option<Budget>,
    refreshes: Option<Budget>,
    refreshed_sites: Option<Budget>,
}

const BUCKETS: usize = 4096;

/// The addresses whose budgets a network (a /48) has: a subscriber may have as many as it likes.
const ADDRESSES_OF_NETWORK: NonZeroU32 = NonZeroU32::new(4).unwrap();

/// The part of all refreshes that the clients of one site have.
const SITES_OF_REFRESHES: NonZeroU32 = NonZeroU32::new(4).unwrap();

impl Tables {
    pub(super) fn new() -> Self {
        let table = |buckets| Limiter::with_buckets(Quota::per_minute(NonZeroU32::MIN), buckets);
        Self {
            fetches: table(1),
            addresses: table(BUCKETS),
            networks: table(BUCKETS),
            sites: table(BUCKETS),
            refreshes: table(1),
            refreshed_sites: table(BUCKETS),
        }
    }

    pub(super) fn budgets(&self, settings: &DocumentSettings) -> Budgets {
        let budget = |name, table: &Limiter, quota: Option<Quota>| Some(Budget::over(name, table.with_quota(quota?)));
        let addresses = DocumentSettings::quota(settings.fetches_by_address, 10);
        let networks = addresses.map(|quota| quota.times(ADDRESSES_OF_NETWORK));
        let refreshes = DocumentSettings::quota(settings.refreshes, 120);
        let refreshed_sites = refreshes.map(|quota| quota.share_of(SITES_OF_REFRESHES));
        let sites = DocumentSettings::quota(settings.fetches_by_site, 30);
        Budgets {
            fetches: budget("document-fetches", &self.fetches, DocumentSettings::quota(settings.fetches, 60)),
            addresses: budget("document-fetches-by-address", &self.addresses, addresses),
            networks: budget("document-fetches-by-network", &self.networks, networks),
            sites: budget("document-fetches-by-site", &self.sites, sites),
            refreshes: budget("document-refreshes", &self.refreshes, refreshes),
            refreshed_sites: budget("document-refreshes-by-site", &self.refreshed_sites, refreshed_sites),
        }
    }
}

impl Budgets {
    /// Takes one fetch. Nothing that strangers spend is missing for clients that are used; and what they spend at other sites is not
    /// missing for those that a pattern of the operator matches.
    pub(super) fn take(
        &self,
        url: &ClientIdUrl,
        address: Option<IpAddr>,
        standing: Standing,
        shared: Option<&SharedQuotas>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Reservation, Spent> {
        let now = clock.monotonic();
        // A refresh is as frequent as the age of documents allows, on each node.
        let is_known = standing == Standing::Known;
        let mut reservation = Reservation::new(shared.filter(|_| !is_known), clock);
        // The narrowest first: a request that it rejects takes nothing from the others.
        if is_known {
            take(&mut reservation, self.refreshed_sites.as_ref(), url.site(), now)?;
            take(&mut reservation, self.refreshes.as_ref(), &(), now)?;
            return Ok(reservation);
        }
        // Without an address, one stranger would spend the budget of all.
        if let Some(address) = address.map(carried) {
            take(&mut reservation, self.addresses.as_ref(), &source(address), now)?;
            if let IpAddr::V6(address) = address {
                take(&mut reservation, self.networks.as_ref(), &(address.to_bits() >> 80), now)?;
            }
        }
        take(&mut reservation, self.sites.as_ref(), url.site(), now)?;
        if standing == Standing::Unknown {
            take(&mut reservation, self.fetches.as_ref(), &(), now)?;
        }
        Ok(reservation)
    }
}

/// Returns the address, or the network of one subscriber.
pub(super) fn source(address: IpAddr) -> u64 {
    match carried(address) {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

fn take<K: Hash + ?Sized>(
    reservation: &mut Reservation,
    budget: Option<&Budget>,
    key: &K,
    now: Duration,
) -> Result<(), Spent> {
    let Some(budget) = budget else { return Ok(()) };
    reservation.take(budget, |mut hasher| key.hash(&mut hasher), now)
}
