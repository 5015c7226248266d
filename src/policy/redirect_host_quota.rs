//! A budget per redirect host.

use std::sync::Arc;

use super::{Policy, RedirectPattern, Submission, VENDOR_CALLBACKS, describe_as_json};
use crate::clock::{Clock, CoarseClock};
use crate::quota::{Limiter, Quota, nonzero};
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
    shared: Arc<Shared>,
    exempt: Vec<RedirectPattern>,
}

#[derive(Debug)]
struct Shared {
    limiter: Limiter,
    clock: Arc<dyn Clock>,
}

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
        let limiter = Limiter::with_buckets(quota, 4096);
        Self {
            shared: Arc::new(Shared { limiter, clock: Arc::new(clock) }),
            exempt: VENDOR_CALLBACKS.iter().filter_map(|pattern| pattern.parse().ok()).collect(),
        }
    }

    /// Replaces the places that are not counted.
    pub fn with_exempt(mut self, exempt: impl IntoIterator<Item = RedirectPattern>) -> Self {
        self.exempt = exempt.into_iter().collect();
        self
    }

    /// What each host may have.
    pub fn quota(&self) -> Quota {
        self.shared.limiter.quota()
    }

    pub(crate) fn exempt(&self) -> &[RedirectPattern] {
        &self.exempt
    }

    /// The same limits over the buckets and by the clock of `other`.
    pub(crate) fn over(mut self, other: &Self) -> Self {
        let limiter = other.shared.limiter.with_quota(self.quota());
        self.shared = Arc::new(Shared { limiter, clock: Arc::clone(&other.shared.clock) });
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
        let now = self.shared.clock.monotonic();
        for (index, host) in hosts.iter().enumerate() {
            if let Err(exhausted) = self.shared.limiter.check(host, now) {
                hosts.iter().take(index).for_each(|host| self.shared.limiter.refund(host));
                return Err(submission
                    .reject(ErrorCode::TooManyRequests, "too many registrations lead to one redirect host")
                    .with_retry_after(exhausted.retry_after()));
            }
        }
        Ok(())
    }

    fn describe(&self, out: &mut String) {
        describe_as_json(&(self.quota(), &self.exempt), out);
    }
}
