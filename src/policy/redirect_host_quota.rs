//! A budget per redirect host.

use std::hash::Hash;
use std::sync::Arc;

use super::{Policy, RedirectPattern, Submission, VENDOR_CALLBACKS, describe_as_json};
use crate::clock::{Clock, CoarseClock};
use crate::quota::{Budget, Draw, Limiter, Quota, SharedQuotas, nonzero};
use crate::redirect_uri::{RedirectClass, RedirectUri};
use crate::rejection::{ErrorCode, Rejection};

/// Limits how often clients that lead to one `https` host are registered, whatever addresses the requests come from.
///
/// An attacker with many addresses still needs a place to receive the codes. A registration takes from the budget of
/// each of its hosts, or of none. Loopback and private-use redirects are not counted: everybody shares those. Hosts of
/// [`VENDOR_CALLBACKS`] are not counted either, since all users of a hosted client share one.
///
/// ```
/// # use tower_dcr::{Registration, policy::{Policy, Review, Submission}};
/// # fn judge(rule: &impl Policy, body: &str) -> Result<String, String> {
/// #     let mut registration = Registration::parse(body.as_bytes()).unwrap();
/// #     let mut review = Review::registration();
/// #     rule.review(&mut Submission::new(&mut registration, &mut review)).map_err(|refused| refused.description())?;
/// #     Ok(String::from_utf8(registration.canonical_bytes()).unwrap())
/// # }
/// use std::num::NonZeroU32;
/// use tower_dcr::policy::RedirectHostQuota;
/// use tower_dcr::quota::Quota;
///
/// let quota = RedirectHostQuota::new(Quota::per_hour(NonZeroU32::MIN));
/// let body = |uri: &str| format!(r#"{{"redirect_uris":["{uri}"]}}"#);
/// assert!(judge(&quota, &body("https://app.example.com/a")).is_ok());
/// assert!(judge(&quota, &body("https://app.example.com/b")).is_err());
/// assert!(judge(&quota, &body("http://localhost/cb")).is_ok());
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RedirectHostQuota {
    counted: Counted,
    shared: Option<SharedQuotas>,
    exempt: Vec<RedirectPattern>,
}

#[derive(Clone, Debug)]
struct Counted {
    budget: Budget,
    clock: Arc<dyn Clock>,
}

/// What all nodes call the budget.
const BUDGET: &str = "redirect-host";

const SPENT: &str = "too many registrations lead to one redirect host";

impl RedirectHostQuota {
    /// 60 registrations a minute and 600 at once for each host: a company that rolls a self-hosted client out to
    /// everybody fits, a script that fills the client table does not for long.
    pub const DEFAULT: Quota = Quota::per_minute(nonzero(60)).allow_burst(nonzero(600));

    /// Gives each host this quota.
    pub fn new(quota: Quota) -> Self {
        Self::with_clock(quota, CoarseClock::new())
    }

    /// The same with the caller's clock.
    pub fn with_clock(quota: Quota, clock: impl Clock) -> Self {
        let budget = Budget::over(BUDGET, Limiter::with_buckets(quota, 4096));
        Self {
            counted: Counted { budget, clock: Arc::new(clock) },
            shared: None,
            exempt: VENDOR_CALLBACKS.iter().filter_map(|pattern| pattern.parse().ok()).collect(),
        }
    }

    /// Shares the budgets with other nodes. A rule can't wait for anybody, so it takes from this node's budgets, and the layer
    /// that runs it ([`GuardLayer`](crate::GuardLayer)) has the others confirm that afterwards.
    pub fn with_shared_quotas(mut self, shared: SharedQuotas) -> Self {
        self.shared = Some(shared);
        self
    }

    /// Replaces the places that are not counted.
    pub fn with_exempt(mut self, exempt: impl IntoIterator<Item = RedirectPattern>) -> Self {
        self.exempt = exempt.into_iter().collect();
        self
    }

    /// What each host may have.
    pub fn quota(&self) -> Quota {
        self.counted.budget.quota()
    }

    pub(crate) fn exempt(&self) -> &[RedirectPattern] {
        &self.exempt
    }

    /// The same limits over the buckets and by the clock of `other`.
    pub(crate) fn over(mut self, other: &Self) -> Self {
        let limiter = other.counted.budget.limiter().with_quota(self.quota());
        let clock = Arc::clone(&other.counted.clock);
        self.counted = Counted { budget: Budget::over(BUDGET, limiter), clock };
        self.shared.clone_from(&other.shared);
        self
    }

    fn counted_host<'a>(&self, uri: &'a str) -> Option<&'a str> {
        // Most redirect URIs show in their first letters that they are not counted.
        let uri = uri.starts_with("https:").then(|| RedirectUri::parse(uri).ok())??;
        let exempt = uri.class() != RedirectClass::Https || self.exempt.iter().any(|pattern| pattern.matches(&uri));
        uri.host().filter(|_| !exempt)
    }
}

impl Policy for RedirectHostQuota {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        submission.begin("redirect-host-quota");
        let mut hosts: Vec<&str> =
            submission.registration().redirect_uris().filter_map(|uri| self.counted_host(uri)).collect();
        hosts.sort_unstable();
        hosts.dedup();
        if hosts.is_empty() {
            return Ok(());
        }
        let now = self.counted.clock.monotonic();
        let mut draw = Draw::new(self.shared.as_ref(), &self.counted.clock);
        for host in hosts {
            draw.take(&self.counted.budget, |mut hasher| host.hash(&mut hasher), now).map_err(|spent| {
                submission.reject(ErrorCode::TooManyRequests, SPENT).with_retry_after(spent.retry_after)
            })?;
        }
        submission.owe(draw, SPENT);
        Ok(())
    }

    fn describe(&self, out: &mut String) {
        describe_as_json(&(self.quota(), &self.exempt), out);
    }
}
