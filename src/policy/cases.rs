//! Rules that depend on who asks.

use std::fmt;
use std::sync::Arc;

use super::{Condition, Policy, Submission};
use crate::rejection::{ErrorCode, Rejection};

/// The rules of the first [`Condition`] that holds. A registration that none holds for is refused.
///
/// "Anonymous callers may register applications on their own machine; a token may register these hosts":
///
/// ```
/// # use tower_dcr::{Registration, policy::{Caller, Policy, Review, Submission}};
/// # fn judge(rule: &impl Policy, caller: Caller, body: &str) -> bool {
/// #     let mut registration = Registration::parse(body.as_bytes()).unwrap();
/// #     let mut review = Review::registration().by(caller);
/// #     rule.review(&mut Submission::new(&mut registration, &mut review)).is_ok()
/// # }
/// use tower_dcr::policy::{Cases, Condition, RedirectPattern, RedirectUriGuard};
/// use tower_dcr::redirect_uri::RedirectClass;
///
/// let cases = Cases::new()
///     .when(Condition::anonymous(), RedirectUriGuard::mcp().only_classes([RedirectClass::Loopback]))
///     .when(Condition::token(), RedirectUriGuard::mcp().only_https([RedirectPattern::host("app.example.com")?]));
///
/// let hosted = r#"{"redirect_uris":["https://app.example.com/cb"]}"#;
/// assert!(!judge(&cases, Caller::anonymous(), hosted));
/// assert!(judge(&cases, Caller::authorized("partner"), hosted));
/// assert!(judge(&cases, Caller::anonymous(), r#"{"redirect_uris":["http://127.0.0.1:7777/cb"]}"#));
/// # Ok::<_, tower_dcr::policy::ConfigError>(())
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct Cases {
    cases: Vec<(Condition, Arc<dyn Policy>)>,
    otherwise: Option<Arc<dyn Policy>>,
}

impl Cases {
    /// No case: everything is refused.
    pub fn new() -> Self {
        Self::default()
    }

    /// Judges by `policy` where `condition` holds and no earlier one does.
    pub fn when(mut self, condition: Condition, policy: impl Policy + 'static) -> Self {
        self.cases.push((condition, Arc::new(policy)));
        self
    }

    /// Judges by `policy` what no condition holds for.
    pub fn otherwise(mut self, policy: impl Policy + 'static) -> Self {
        self.otherwise = Some(Arc::new(policy));
        self
    }
}

impl Policy for Cases {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        submission.begin("cases");
        let chosen = self.cases.iter().find(|(condition, _)| condition.holds(submission));
        if let Some((condition, policy)) = chosen {
            submission.choose(condition);
            return policy.review(submission);
        }
        if let Some(policy) = &self.otherwise {
            return policy.review(submission);
        }
        let detail = "registrations like this one are not accepted from this caller";
        Err(submission.reject(ErrorCode::InvalidClientMetadata, detail))
    }

    fn describe(&self, out: &mut String) {
        for (condition, policy) in &self.cases {
            condition.describe(out);
            out.push(':');
            policy.describe(out);
            out.push(';');
        }
        if let Some(policy) = &self.otherwise {
            policy.describe(out);
        }
    }
}

impl fmt::Debug for Cases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let conditions: Vec<&Condition> = self.cases.iter().map(|(condition, _)| condition).collect();
        f.debug_struct("Cases").field("cases", &conditions).field("otherwise", &self.otherwise.is_some()).finish()
    }
}
