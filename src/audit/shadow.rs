//! The decision of the shadow policy.

use std::borrow::Cow;

use serde::Serialize;

use super::{Outcome, hexadecimal};
use crate::rules::{Decision, Disposition, Evaluation, Finding};

/// The decision of the [shadow policy](crate::Preset::with_shadow) on an attempt. It had no effect.
///
/// ```
/// use tower_dcr::audit::{Event, Outcome};
///
/// let preset = tower_dcr::mcp().with_shadow(tower_dcr::strict()).with_sink(|event: &Event| {
///     if let Some(shadow) = event.shadow.as_ref().filter(|shadow| shadow.outcome != shadow.in_force) {
///         println!("{} would be {} by {:?}", shadow.in_force, shadow.outcome, shadow.rule);
///     }
/// });
/// assert!(preset.shadow().is_some());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ShadowReport {
    /// The fingerprint of the shadow policy; written as 16 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "hexadecimal")]
    pub policy: Option<u64>,
    /// The decision of its rules: accepted, rewritten or rejected.
    pub outcome: Outcome,
    /// The decision of the rules in force, of the same three. The outcome of the event can be another one: a limit, the
    /// ledger and the handler decide as well.
    pub in_force: Outcome,
    /// The rule that would reject, or the first that would rewrite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'static str>,
    /// The member at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<Cow<'static, str>>,
    /// The findings of its rules, in order. None of them was enforced.
    pub findings: Vec<Finding>,
}

impl ShadowReport {
    /// Returns the report that a evaluation holds, or `None` if no shadow policy was evaluated.
    pub(super) fn of(evaluation: &Evaluation) -> Option<Self> {
        let shadow = evaluation.shadow.as_deref()?;
        let rewrites = |finding: &&Finding| finding.enforced && finding.disposition.rewrites();
        let rejects = |finding: &&Finding| finding.enforced && finding.disposition == Disposition::Rejected;
        let found = |is: &dyn Fn(&&Finding) -> bool| shadow.findings.iter().find(is);
        let cause = found(&rejects).or_else(|| found(&rewrites));
        let findings = shadow.findings.iter().map(|finding| Finding { enforced: false, ..finding.clone() });
        Some(Self {
            policy: shadow.fingerprint(),
            outcome: outcome(shadow),
            in_force: outcome(evaluation),
            rule: cause.map(|cause| cause.rule),
            field: cause.map(|cause| cause.field.clone()).filter(|field| !field.is_empty()),
            findings: findings.collect(),
        })
    }
}

fn outcome(evaluation: &Evaluation) -> Outcome {
    match evaluation.decision() {
        Decision::Reject => Outcome::Rejected,
        Decision::Rewrite => Outcome::Rewritten,
        Decision::Accept => Outcome::Accepted,
    }
}
