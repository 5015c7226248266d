//! Trying a rule without enforcing it.

use super::{Policy, Submission};
use crate::rejection::Rejection;

/// Runs a rule on a copy: what it would do is in the [`Review`](super::Review), marked as not enforced, and the
/// registration goes on as it was.
///
/// Tightening a policy blind breaks sign-ins; run the tighter rule like this first and read the audit events.
///
/// ```
/// # use tower_dcr::{Registration, policy::{Policy, Review, Submission}};
/// # fn judge(rule: &impl Policy, body: &str) -> Result<String, String> {
/// #     let mut registration = Registration::parse(body.as_bytes()).unwrap();
/// #     let mut review = Review::registration();
/// #     rule.review(&mut Submission::new(&mut registration, &mut review)).map_err(|refused| refused.description())?;
/// #     Ok(String::from_utf8(registration.canonical_bytes()).unwrap())
/// # }
/// use tower_dcr::policy::{RedirectUriGuard, ReportOnly};
///
/// let body = r#"{"redirect_uris":["javascript:alert(1)"]}"#;
/// assert_eq!(judge(&ReportOnly::new(RedirectUriGuard::strict()), body)?, body);
/// # Ok::<_, String>(())
/// ```
#[derive(Clone, Debug)]
pub struct ReportOnly<P> {
    policy: P,
}

impl<P> ReportOnly<P> {
    /// Observes `policy`.
    pub fn new(policy: P) -> Self {
        Self { policy }
    }
}

impl<P: Policy> Policy for ReportOnly<P> {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        let mut copy = submission.registration.clone();
        submission.review.observe(|review| {
            if let Err(rejection) = self.policy.review(&mut Submission::new(&mut copy, review)) {
                review.refused(&rejection);
            }
        });
        Ok(())
    }

    fn describe(&self, out: &mut String) {
        out.push_str("report-only ");
        self.policy.describe(out);
    }
}
