//! A budget per redirect host.

use std::hash::Hash;
use std::sync::Arc;

use serde_json::Value as Json;

use super::{Draft, RedirectPattern, Rule, RuleDocs, documented, settings};
use crate::clock::{Clock, CoarseClock};
use crate::rate_limit::{Budget, Limiter, Quota, Reservation, SharedQuotas, nonzero};
use crate::redirect_uri::{RedirectClass, RedirectUri, site_of};
use crate::rules::{ErrorCode, Rejection};

/// Limits how often clients that lead to one `https` host are registered, regardless of the addresses of the requests.
///
/// An attacker with many addresses still needs a host to receive the codes. Hosts are counted by registrable domain,
/// since subdomains cost nothing: `h0.attacker.example` and `h1.attacker.example` share one budget. Below a suffix on
/// the public suffix list, including its private part, each customer has a domain: `one.github.io`, `two.github.io`. A
/// registration takes from the budget of each of its domains, or of none. Loopback and private-use redirects are not
/// counted, since all clients share them. Neither are the callbacks in [`RedirectPattern::vendor_callbacks`], since all users of a
/// hosted client share one.
///
/// The rule only reserves. A layer, or [`commit`](super::Evaluation::commit), takes from the budgets.
///
/// ```
/// use std::num::NonZeroU32;
/// use tower_dcr::Registration;
/// use tower_dcr::rate_limit::Quota;
/// use tower_dcr::rules::{Context, Decision, Policy, RedirectHostQuota};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// let policy = Policy::new(RedirectHostQuota::new(Quota::per_hour(NonZeroU32::MIN)));
/// let evaluate = |uri: &str| {
///     let body = format!(r#"{{"redirect_uris":["{uri}"]}}"#);
///     policy.evaluate(Registration::parse(body.as_bytes()).unwrap(), &Context::registration())
/// };
/// evaluate("https://app.example.com/a").commit().await?;
/// assert_eq!(evaluate("https://other.example.com/b").decision(), Decision::Reject);
/// evaluate("https://one.github.io/cb").commit().await?;
/// assert_eq!(evaluate("https://two.github.io/cb").decision(), Decision::Accept);
/// assert_eq!(evaluate("http://localhost/cb").decision(), Decision::Accept);
/// # Ok::<_, tower_dcr::Rejection>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RedirectHostQuota {
    counted: Counted,
    shared: Option<SharedQuotas>,
    /// The redirect URIs that are not counted (default: [`RedirectPattern::vendor_callbacks`]).
    pub exempt: Vec<RedirectPattern>,
}

#[derive(Clone, Debug)]
struct Counted {
    budget: Budget,
    clock: Arc<dyn Clock>,
}

/// The name of the budget on all nodes.
const BUDGET: &str = "redirect-host";

const SPENT: &str = "too many registrations lead to one redirect host";

pub(crate) static DOCS: RuleDocs = RuleDocs {
    id: "redirect-host-quota",
    protects: "The table of clients from an attacker with many addresses and one host.",
    reference: "RFC 7591 section 5",
    attack: "Register from a thousand addresses, each time for https://attacker.example.net/cb.",
    loosen: "redirect_host_quota.add_exempt = [\"https://app.example.com/*\"]; redirect_host_quota.quota = \"off\"",
    opens: "As many clients for that host as the other limits allow.",
    replayable: false,
};

impl RedirectHostQuota {
    /// 60 registrations a minute and 600 at once for each domain. This suffices for a company that rolls out a
    /// self-hosted client, and stops a script that fills the client table.
    pub const DEFAULT: Quota = Quota::per_minute(nonzero(60)).allow_burst(nonzero(600));

    /// Creates the rule with this quota for each host.
    #[must_use]
    pub fn new(quota: Quota) -> Self {
        Self::with_clock(quota, CoarseClock::new())
    }

    /// Creates the rule with the caller's clock.
    #[must_use]
    pub fn with_clock(quota: Quota, clock: impl Clock) -> Self {
        let budget = Budget::over(BUDGET, Limiter::with_buckets(quota, 4096));
        Self {
            counted: Counted { budget, clock: Arc::new(clock) },
            shared: None,
            exempt: RedirectPattern::vendor_callbacks().collect(),
        }
    }

    /// Shares the budgets with other nodes. A rule can't wait for other nodes, so it takes from this node's budgets,
    /// and the layer that runs it ([`PolicyLayer`](crate::layers::PolicyLayer)) then has the others confirm that.
    #[must_use]
    pub fn with_shared_quotas(mut self, shared: SharedQuotas) -> Self {
        self.shared = Some(shared);
        self
    }

    pub(crate) fn quota(&self) -> Quota {
        self.counted.budget.quota()
    }

    /// Returns the same limits with the buckets and the clock of `other`.
    pub(crate) fn over(mut self, other: &Self) -> Self {
        let limiter = other.counted.budget.limiter().with_quota(self.quota());
        let clock = Arc::clone(&other.counted.clock);
        self.counted = Counted { budget: Budget::over(BUDGET, limiter), clock };
        self.shared.clone_from(&other.shared);
        self
    }

    /// Returns the domain that a redirect URI counts for. `None` if it is not counted.
    fn counted_domain<'a>(&self, uri: &'a str) -> Option<&'a str> {
        // A fast path: most redirect URIs that are not counted can be recognized by their first letters.
        let uri = uri.starts_with("https:").then(|| RedirectUri::parse(uri).ok())??;
        let exempt = uri.class() != RedirectClass::Https || self.exempt.iter().any(|pattern| pattern.matches(&uri));
        // A host without a registrable domain is a public suffix itself.
        uri.host().filter(|_| !exempt).map(site_of)
    }
}

impl Rule for RedirectHostQuota {
    documented!(DOCS, with a configuration of its own);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        if draft.is_shadow() {
            return Ok(());
        }
        let uris = draft.registration().redirect_uris();
        let mut domains: Vec<&str> = uris.filter_map(|uri| self.counted_domain(uri)).collect();
        domains.sort_unstable();
        domains.dedup();
        if domains.is_empty() {
            return Ok(());
        }
        let now = self.counted.clock.monotonic();
        let mut reservation = Reservation::new(self.shared.as_ref(), &self.counted.clock);
        let mut take =
            |domain: &str| reservation.take(&self.counted.budget, |mut hasher| domain.hash(&mut hasher), now);
        let taken = domains.into_iter().try_for_each(&mut take);
        if let Err(spent) = taken {
            let rejection = draft.reject(ErrorCode::TooManyRequests, SPENT).with_retry_after(spent.retry_after);
            return draft.reject_spent(rejection);
        }
        draft.reserve(reservation, SPENT);
        Ok(())
    }

    fn config(&self) -> Json {
        settings(&(self.quota(), &self.exempt))
    }
}
