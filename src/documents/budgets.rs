//! The budgets of fetches.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::settings::DocumentSettings;
use super::{ClientIdUrl, Standing};
use crate::client_address::carried;
use crate::clock::Clock;
use crate::rate_limit::{Budget, Limiter, Quota, RateLimit, Reservation, SharedQuotas, Spent};

/// The tables of all budgets, which stay when the settings change. About 100 KiB.
#[derive(Debug)]
pub(super) struct Tables {
    fetches: Limiter,
    addresses: Limiter,
    sites: Limiter,
    refreshes: Limiter,
}

/// The budgets under the settings in force.
#[derive(Clone, Debug, Default)]
pub(super) struct Budgets {
    fetches: Option<Budget>,
    addresses: Option<Budget>,
    sites: Option<Budget>,
    refreshes: Option<Budget>,
}

const BUCKETS: usize = 4096;

impl Tables {
    pub(super) fn new() -> Self {
        let table = |buckets| Limiter::with_buckets(Quota::per_minute(std::num::NonZeroU32::MIN), buckets);
        Self { fetches: table(1), addresses: table(BUCKETS), sites: table(BUCKETS), refreshes: table(1) }
    }

    pub(super) fn budgets(&self, settings: &DocumentSettings) -> Budgets {
        let budget = |name, table: &Limiter, limit: RateLimit, default| {
            Some(Budget::over(name, table.with_quota(DocumentSettings::quota(limit, default)?)))
        };
        Budgets {
            fetches: budget("document-fetches", &self.fetches, settings.fetches, 60),
            addresses: budget("document-fetches-by-address", &self.addresses, settings.fetches_by_address, 10),
            sites: budget("document-fetches-by-site", &self.sites, settings.fetches_by_site, 30),
            refreshes: budget("document-refreshes", &self.refreshes, settings.refreshes, 120),
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
        if is_known {
            take(&mut reservation, self.refreshes.as_ref(), &(), now)?;
            return Ok(reservation);
        }
        let source = address.map(source);
        // The narrowest first: a request that it rejects takes nothing from the others.
        take(&mut reservation, self.addresses.as_ref(), &source, now)?;
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
