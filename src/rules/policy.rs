//! [`Policy`]: an ordered set of rules, and the callers that they apply to.

use std::fmt;
use std::sync::{Arc, OnceLock};

use serde_json::{Value as Json, json};

use super::hold::Holding;
use super::report_only::ReportOnly;
use super::{Condition, Context, Draft, ErrorCode, Evaluation, Rejection, ReportableRule, Rule, RuleDocs};
use crate::registration::{Digest, Registration};

/// Rules in their order, and the callers that they apply to. Every evaluation of a registration is a call of
/// [`evaluate`](Self::evaluate).
///
/// Rules of [`new`](Self::new) apply to every caller. Those of [`when`](Self::when) apply to callers for whom their condition
/// holds and no earlier one does. A registration for which no condition holds is rejected, unless there are rules for
/// [all others](Self::otherwise).
///
/// "Anonymous callers may register applications on their own machine; a token may register these hosts":
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::redirect_uri::RedirectClass;
/// use tower_dcr::rules::{Caller, Condition, Context, Decision, Policy, RedirectUris};
///
/// let (mut native, mut hosts) = (RedirectUris::mcp(), RedirectUris::mcp());
/// native.classes = vec![RedirectClass::Loopback];
/// hosts.only_https = Some(vec!["https://app.example.com/*".parse()?]);
/// let policy = Policy::default().when(Condition::Anonymous, native).when(Condition::Token, hosts);
/// let decide = |caller: Caller, body: &str| {
///     policy.evaluate(Registration::parse(body.as_bytes()).unwrap(), &Context::registration().by(caller)).decision()
/// };
///
/// let hosted = r#"{"redirect_uris":["https://app.example.com/cb"]}"#;
/// assert_eq!(decide(Caller::default(), hosted), Decision::Reject);
/// assert_eq!(decide(Caller::authorized("partner"), hosted), Decision::Accept);
/// assert_eq!(decide(Caller::default(), r#"{"redirect_uris":["http://127.0.0.1:7777/cb"]}"#), Decision::Accept);
/// # Ok::<_, tower_dcr::rules::ConfigError>(())
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct Policy {
    steps: Vec<Step>,
    /// Computed on first use.
    fingerprint: OnceLock<u64>,
}

#[derive(Clone)]
enum Step {
    Rule(Arc<dyn Rule>),
    ByCaller(ByCaller),
}

/// Rules that depend on the caller.
#[derive(Clone, Default)]
struct ByCaller {
    cases: Vec<(Condition, Policy)>,
    otherwise: Option<Policy>,
    /// Rejects a caller whose credential names rules that are missing here.
    named_only: bool,
}

/// The id of the dispatcher's own rejections.
const CASES: &str = "cases";
const PINNED_RULES: &str = "pinned-rules";

pub(crate) static CASES_DOCS: RuleDocs = RuleDocs {
    id: CASES,
    protects: "The server from callers without rules.",
    reference: "RFC 7591 section 5",
    attack: "Register as a caller that matches no condition.",
    loosen: "In code: `Policy::otherwise`.",
    opens: "Everything that those rules accept.",
    replayable: true,
};

pub(crate) static PINNED_RULES_DOCS: RuleDocs = RuleDocs {
    id: PINNED_RULES,
    protects: "Clients of a token from evaluation under other rules than those that the token names.",
    reference: "RFC 7591 section 3.1",
    attack: "Rename the rules in the policy, and registrations with the old token get the rules of all other callers.",
    loosen: "Add [[callers]] with when = { rules = \"NAME\" }.",
    opens: "Everything that those rules accept.",
    replayable: true,
};

impl Policy {
    /// Creates a policy of these rules, for every caller.
    pub fn new(rules: impl IntoRules) -> Self {
        rules.into_rules()
    }

    /// Adds rules, which run after the others.
    pub(crate) fn and(mut self, rules: impl IntoRules) -> Self {
        self.fingerprint = OnceLock::new();
        self.steps.extend(rules.into_rules().steps);
        self
    }

    /// Adds rules for callers for whom `condition` holds and no earlier one does.
    pub fn when(self, condition: Condition, rules: impl IntoRules) -> Self {
        self.by_caller(|by_caller| by_caller.cases.push((condition, rules.into_rules())))
    }

    /// Sets the rules for callers for whom no condition holds.
    pub fn otherwise(self, rules: impl IntoRules) -> Self {
        self.by_caller(|by_caller| by_caller.otherwise = Some(rules.into_rules()))
    }

    /// Puts all rules so far into report-only mode: each runs on a copy. Its effects are in the [`Evaluation`], marked as not
    /// enforced, and the registration continues unchanged. A caller without rules is still rejected.
    ///
    /// Tightening a policy without a trial breaks sign-ins: run the tighter rule in report-only mode first, and read the
    /// audit events. For the rules of a preset, [`Preset::with_report_only_rules`](crate::Preset::with_report_only_rules)
    /// does it by name.
    ///
    /// ```
    /// use tower_dcr::Registration;
    /// use tower_dcr::rules::{Context, Decision, MetadataAllowlist, Policy, RedirectUris};
    ///
    /// let policy = Policy::new((MetadataAllowlist::mcp(), Policy::new(RedirectUris::strict()).report_only()));
    /// let registration = Registration::parse(br#"{"redirect_uris":["javascript:alert(1)"]}"#)?;
    /// assert_ne!(policy.evaluate(registration, &Context::registration()).decision(), Decision::Reject);
    /// # Ok::<_, tower_dcr::registration::ParseError>(())
    /// ```
    pub fn report_only(mut self) -> Self {
        self.report(&|_| true);
        self
    }

    /// Rejects callers whose credential names rules that none of the conditions so far is about.
    pub(crate) fn named_only(self) -> Self {
        self.by_caller(|by_caller| by_caller.named_only = true)
    }

    /// Sets the fingerprint that evaluations report.
    pub(crate) fn with_fingerprint(mut self, fingerprint: u64) -> Self {
        self.fingerprint = OnceLock::from(fingerprint);
        self
    }

    /// Changes the last rules by caller, or adds some.
    fn by_caller(mut self, change: impl FnOnce(&mut ByCaller)) -> Self {
        let mut by_caller = match self.steps.pop() {
            Some(Step::ByCaller(last)) => last,
            last => {
                self.steps.extend(last);
                ByCaller::default()
            }
        };
        change(&mut by_caller);
        self.steps.push(Step::ByCaller(by_caller));
        Self { steps: self.steps, fingerprint: OnceLock::new() }
    }

    /// Evaluates `registration`. This changes nothing outside of the [`Evaluation`]: rules that count take from their
    /// budgets when it is [committed](Evaluation::commit).
    ///
    /// ```
    /// use tower_dcr::Registration;
    /// use tower_dcr::rules::{Context, Decision, MetadataAllowlist, Policy, RedirectUris};
    ///
    /// let policy = Policy::new((MetadataAllowlist::mcp(), RedirectUris::mcp()));
    /// let registration = Registration::parse(br#"{"redirect_uris":["http://localhost/cb"],"skip_consent":true}"#)?;
    /// let evaluation = policy.evaluate(registration, &Context::registration());
    /// assert_eq!(evaluation.decision(), Decision::Rewrite);
    /// assert!(!evaluation.registration.unwrap().contains("skip_consent"));
    /// # Ok::<_, tower_dcr::registration::ParseError>(())
    /// ```
    #[must_use]
    pub fn evaluate(&self, registration: Registration, context: &Context) -> Evaluation {
        let (evaluation, registration) = self.evaluate_in_place(registration, context);
        evaluation.with_registration(registration)
    }

    /// Evaluates `registration`, and returns it separately from the evaluation, for layers that forward it.
    pub(crate) fn evaluate_in_place(
        &self,
        mut registration: Registration,
        context: &Context,
    ) -> (Evaluation, Registration) {
        let mut evaluation = Evaluation::begin(context);
        evaluation.set_policy(self.fingerprint());
        let judged = self.run(&mut Draft::new(&mut registration, &mut evaluation));
        evaluation.end(judged);
        (evaluation, registration)
    }

    /// Puts the rules with these ids into report-only mode.
    pub(crate) fn reporting(mut self, ids: &[ReportableRule]) -> Self {
        self.report(&|rule| ids.iter().any(|id| id.is(rule)));
        self
    }

    /// Holds registrations that the rules with these ids reject, as far as an operator may admit them.
    pub(crate) fn holding(mut self, ids: &[String]) -> Self {
        self.wrap(&|rule| ids.iter().any(|id| id == rule.id()), &|rule| Arc::new(Holding(rule)));
        self
    }

    fn report(&mut self, is_chosen: &dyn Fn(&dyn Rule) -> bool) {
        self.wrap(is_chosen, &|rule| Arc::new(ReportOnly(rule)));
    }

    fn wrap(&mut self, is_chosen: &dyn Fn(&dyn Rule) -> bool, wrapper: &dyn Fn(Arc<dyn Rule>) -> Arc<dyn Rule>) {
        self.fingerprint = OnceLock::new();
        for step in &mut self.steps {
            match step {
                Step::Rule(rule) if is_chosen(&**rule) => *rule = wrapper(Arc::clone(rule)),
                Step::Rule(_) => {}
                Step::ByCaller(ByCaller { cases, otherwise, .. }) => {
                    let policies = cases.iter_mut().map(|(_, policy)| policy).chain(otherwise);
                    policies.for_each(|policy| policy.wrap(is_chosen, wrapper));
                }
            }
        }
    }

    /// Returns the digest of the rules' ids and configurations.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        *self.fingerprint.get_or_init(|| Digest::of(self.config().to_string().as_bytes()).prefix())
    }

    /// Returns all rules in order, including those for some callers.
    pub fn rules(&self) -> impl Iterator<Item = &dyn Rule> {
        let mut rules = Vec::new();
        self.collect(&mut rules);
        rules.into_iter()
    }

    fn collect<'a>(&'a self, rules: &mut Vec<&'a dyn Rule>) {
        for step in &self.steps {
            match step {
                Step::Rule(rule) => rules.push(&**rule),
                Step::ByCaller(by_caller) => by_caller.policies().for_each(|policy| policy.collect(rules)),
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    pub(crate) fn config(&self) -> Json {
        self.steps.iter().map(Step::config).collect()
    }

    fn run(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        self.steps.iter().try_for_each(|step| match step {
            Step::Rule(rule) => {
                draft.open(rule.id());
                rule.check(draft).map_err(|rejection| rejection.by(rule.id()))
            }
            Step::ByCaller(by_caller) => by_caller.run(draft),
        })
    }
}

impl Step {
    fn config(&self) -> Json {
        match self {
            Self::Rule(rule) => json!([rule.id(), rule.config()]),
            Self::ByCaller(by_caller) => by_caller.config(),
        }
    }
}

impl ByCaller {
    fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.cases.iter().map(|(_, policy)| policy).chain(&self.otherwise)
    }

    fn config(&self) -> Json {
        let cases: Vec<_> = self.cases.iter().map(|(condition, policy)| json!([condition, policy.config()])).collect();
        json!({ "cases": cases, "otherwise": self.otherwise.as_ref().map(Policy::config), "named_only": self.named_only })
    }

    fn run(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        let chosen = self.cases.iter().find(|(condition, _)| condition.holds(draft));
        match (chosen, &self.otherwise) {
            (Some((condition, policy)), _) => {
                draft.choose(condition);
                policy.run(draft)?;
            }
            (None, Some(policy)) => policy.run(draft)?,
            (None, None) => {
                draft.open(CASES);
                let detail = "registrations like this one are not accepted from this caller";
                return Err(draft.reject(ErrorCode::InvalidClientMetadata, detail));
            }
        }
        if !self.named_only || draft.is_pinned_as_named() {
            return Ok(());
        }
        // A token that names rules which are missing here must not be handled by others.
        draft.open(PINNED_RULES);
        let rules = draft.caller().rules.as_deref();
        tracing::error!(target: "tower_dcr::preset", ?rules, "an initial access token names rules that are not configured");
        Err(draft.reject(ErrorCode::ServerError, "the rules for this initial access token are not configured"))
    }
}

/// Rules that a [`Policy`] can be built from: a [`Rule`], a set of rules such as
/// [`MetadataAllowlist`](super::MetadataAllowlist), and an `Option`, a `Vec` or a tuple of them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a registration rule",
    label = "expected a rule, or an `Option`, a `Vec` or a tuple of rules",
    note = "give a closure a name: `rule(\"few-redirects\", |draft| …)`"
)]
pub trait IntoRules {
    /// Returns the rules in their order.
    fn into_rules(self) -> Policy;
}

impl<R: Rule + 'static> IntoRules for R {
    fn into_rules(self) -> Policy {
        Policy { steps: vec![Step::Rule(Arc::new(self))], fingerprint: OnceLock::new() }
    }
}

impl IntoRules for Policy {
    fn into_rules(self) -> Policy {
        self
    }
}

impl<R: IntoRules> IntoRules for Option<R> {
    fn into_rules(self) -> Policy {
        self.into_iter().fold(Policy::default(), Policy::and)
    }
}

impl<R: IntoRules> IntoRules for Vec<R> {
    fn into_rules(self) -> Policy {
        self.into_iter().fold(Policy::default(), Policy::and)
    }
}

impl<A: IntoRules, B: IntoRules> IntoRules for (A, B) {
    fn into_rules(self) -> Policy {
        self.0.into_rules().and(self.1)
    }
}

impl<A: IntoRules, B: IntoRules, C: IntoRules> IntoRules for (A, B, C) {
    fn into_rules(self) -> Policy {
        self.0.into_rules().and(self.1).and(self.2)
    }
}

impl<A: IntoRules, B: IntoRules, C: IntoRules, D: IntoRules> IntoRules for (A, B, C, D) {
    fn into_rules(self) -> Policy {
        self.0.into_rules().and(self.1).and(self.2).and(self.3)
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.rules().map(Rule::id)).finish()
    }
}
