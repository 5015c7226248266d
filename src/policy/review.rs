//! What the rules did to one submission.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::{Caller, Condition, Identity, Standing};
use crate::method::MethodKind;
use crate::quota::{Denied, Draw};
use crate::registration::Digest;
use crate::rejection::{ErrorCode, Rejection};
use crate::text;

/// The record of one review: every rule that ran, and everything that one of them changed, flagged or refused.
///
/// A guard puts it into the response's extensions, from where the audit layer takes it.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::policy::{MetadataAllowlist, Policy, Review, Submission};
///
/// let mut registration = Registration::parse(br#"{"redirect_uris":["http://localhost/cb"],"foo":1}"#)?;
/// let mut review = Review::registration();
/// MetadataAllowlist::mcp().review(&mut Submission::new(&mut registration, &mut review)).unwrap();
/// assert!(review.is_rewritten());
/// assert_eq!(review.rules().first(), Some(&"known-members"));
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Review {
    operation: Operation,
    rules: Vec<&'static str>,
    findings: Vec<Finding>,
    observing: bool,
    bodies: Option<Bodies>,
    facts: Facts,
    caller: Caller,
    /// A guard further out has handed its facts on.
    took_over: bool,
    /// The rules that the caller's credential names have judged.
    pinned_rules_applied: bool,
    owed: Vec<Owed>,
}

/// What a rule has taken from budgets of this node, for other nodes to confirm.
#[derive(Clone, Debug)]
pub(crate) struct Owed {
    pub(crate) draw: Draw,
    rule: &'static str,
    /// What the client is told if a budget is spent.
    spent: &'static str,
    /// `false` for a rule in report-only mode.
    enforced: bool,
}

impl Owed {
    /// The refusal if it can't be paid.
    pub(crate) fn rejection(&self, denied: &Denied) -> Rejection {
        let (code, detail, retry_after) = match denied {
            Denied::Spent(spent) => (ErrorCode::TooManyRequests, self.spent, spent.retry_after),
            Denied::Unknown { retry_after } => {
                let detail = "the limits can't be looked up, try again later";
                (ErrorCode::TemporarilyUnavailable, detail, *retry_after)
            }
        };
        Rejection::new(code, self.rule, detail).with_retry_after(retry_after)
    }

    /// Whether the registration is refused if it can't be paid.
    pub(crate) fn is_enforced(&self) -> bool {
        self.enforced
    }
}

/// What the rules found out besides, for the layers further in and the handler. It travels with the document, in the body
/// of the request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) identity: Option<Arc<Identity>>,
    /// Whether a rule has looked who the client claims to be: without an identity, nobody in particular.
    pub(crate) identified: bool,
    /// The software statement whose claims are in the document.
    pub(crate) statement: Option<Arc<Statement>>,
    /// Which configuration of the rules has looked at it.
    pub(crate) policy: Option<u64>,
}

/// A software statement that was verified.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) issuer: String,
    /// As it was sent.
    pub(crate) raw: String,
}

/// What came and what was forwarded. Kept as bytes, which costs nothing: most deployments look at few digests.
#[derive(Clone)]
struct Bodies {
    before: Bytes,
    after: Bytes,
}

impl fmt::Debug for Bodies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bodies").finish_non_exhaustive()
    }
}

/// Creating a client (RFC 7591) or updating one (RFC 7592 section 2.2).
///
/// ```
/// use tower_dcr::policy::{Operation, Review};
///
/// assert_eq!(Review::registration().operation(), Operation::Create);
/// assert_eq!(Review::update().operation(), Operation::Update);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Operation {
    /// `POST` to the registration endpoint.
    #[default]
    Create,
    /// `PUT` to the client configuration endpoint.
    Update,
    /// `GET` or `HEAD` of the client configuration endpoint: no rule judges it.
    Read,
    /// `DELETE` of the client configuration endpoint: no rule judges it.
    Delete,
}

/// One thing that a rule did.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::policy::{MetadataAllowlist, Policy, Review, Submission};
///
/// let mut registration = Registration::parse(br#"{"redirect_uris":["http://localhost/cb"],"foo":1}"#)?;
/// let mut review = Review::registration();
/// MetadataAllowlist::mcp().review(&mut Submission::new(&mut registration, &mut review)).unwrap();
/// let finding = &review.findings()[0];
/// assert_eq!((finding.rule, &*finding.field, finding.enforced), ("known-members", "foo", true));
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The rule's stable name.
    pub rule: &'static str,
    /// The member's name, cut to [`Finding::FIELD_BYTES`]. For an unknown member the client chose it: escape it.
    pub field: Cow<'static, str>,
    /// What was done to the member.
    pub disposition: Disposition,
    /// `false` for a rule in report-only mode: this is what it would have done.
    pub enforced: bool,
}

/// What a rule did to a member.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::policy::{Disposition, MetadataAllowlist, Policy, Review, Submission};
///
/// let mut registration = Registration::parse(br#"{"redirect_uris":["http://localhost/cb"],"foo":1}"#)?;
/// let mut review = Review::registration();
/// MetadataAllowlist::mcp().review(&mut Submission::new(&mut registration, &mut review)).unwrap();
/// assert_eq!(review.findings()[0].disposition, Disposition::Stripped);
/// assert_eq!(review.findings()[1].disposition, Disposition::Defaulted);
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Disposition {
    /// A claim of a verified software statement was put there.
    Asserted,
    /// An absent member was given its default.
    Defaulted,
    /// Noted only.
    Flagged,
    /// Elements or tokens were taken out of it.
    Narrowed,
    /// The registration was refused because of it.
    Refused,
    /// It was removed.
    Stripped,
    /// Its value was replaced by another one that the client can live with.
    Substituted,
    /// The operator's own value was put there.
    Supplied,
}

impl Disposition {
    /// Whether the client gets less or other than it asked for. A default that was written out is what it asked for.
    #[must_use]
    pub const fn rewrites(self) -> bool {
        !matches!(self, Self::Defaulted | Self::Flagged)
    }

    /// The name that is written into events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asserted => "asserted",
            Self::Defaulted => "defaulted",
            Self::Flagged => "flagged",
            Self::Narrowed => "narrowed",
            Self::Refused => "refused",
            Self::Stripped => "stripped",
            Self::Substituted => "substituted",
            Self::Supplied => "supplied",
        }
    }
}

impl Finding {
    /// How much of a member's name is kept.
    pub const FIELD_BYTES: usize = 64;
}

impl Operation {
    /// Returns what a request of this method would do; a method that registration endpoints do not have counts as `POST`.
    pub(crate) fn of(method: &http::Method) -> Self {
        match MethodKind::of(method) {
            MethodKind::Update => Self::Update,
            MethodKind::Read => Self::Read,
            MethodKind::Delete => Self::Delete,
            MethodKind::Create | MethodKind::Options | MethodKind::Other => Self::Create,
        }
    }
}

impl Review {
    /// A review of a registration that creates a client.
    #[must_use]
    pub fn registration() -> Self {
        Self::of(Operation::Create)
    }

    /// A review of an update.
    #[must_use]
    pub fn update() -> Self {
        Self::of(Operation::Update)
    }

    pub(crate) fn of(operation: Operation) -> Self {
        Self { operation, ..Self::default() }
    }

    /// Says who asks.
    #[must_use]
    pub fn by(mut self, caller: Caller) -> Self {
        self.caller = caller;
        self
    }

    /// Who asks.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whether the rules that the caller's credential names have judged; also if it names none.
    pub(crate) fn is_pinned_as_named(&self) -> bool {
        self.caller.rules().is_none() || self.pinned_rules_applied
    }

    pub(super) fn choose(&mut self, condition: &Condition) {
        self.pinned_rules_applied |= self.caller.rules().is_some_and(|rules| condition.names(rules));
    }

    /// Goes on from what a guard further out has found out.
    pub(crate) fn with_facts(mut self, facts: Facts) -> Self {
        self.took_over = facts.policy.is_some();
        self.facts = facts;
        self
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    #[cfg(feature = "software-statement")]
    pub(super) fn state(&mut self, statement: Statement) {
        self.facts.statement = Some(Arc::new(statement));
    }

    /// Whether a client is created or updated.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// The rules that ran, in order.
    #[must_use]
    pub fn rules(&self) -> &[&'static str] {
        &self.rules
    }

    /// What they did, in order.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether an enforced rule gave the client less or other than it asked for. A default that was written out is
    /// what the client asked for.
    #[must_use]
    pub fn is_rewritten(&self) -> bool {
        self.findings.iter().any(|finding| finding.enforced && finding.disposition.rewrites())
    }

    /// Digest of the body as it came, if it could be read.
    #[must_use]
    pub fn digest_before(&self) -> Option<Digest> {
        self.bodies().0.map(|body| Digest::of(&body))
    }

    /// Digest of the body as it was forwarded, if it was.
    #[must_use]
    pub fn digest_after(&self) -> Option<Digest> {
        self.bodies().1.map(|body| Digest::of(&body))
    }

    /// The body as it came, and as it was forwarded.
    pub(crate) fn bodies(&self) -> (Option<Bytes>, Option<Bytes>) {
        let known = |body: &Bytes| Some(body.clone()).filter(|body| !body.is_empty());
        self.bodies.as_ref().map_or((None, None), |bodies| (known(&bodies.before), known(&bodies.after)))
    }

    /// A digest of the rules' configuration.
    #[must_use]
    pub fn policy_fingerprint(&self) -> Option<u64> {
        self.facts.policy
    }

    /// Who the client claims to be, if that is somebody in particular and a rule looked into it.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.facts.identity.as_deref()
    }

    pub(super) fn identify(&mut self, identity: Identity) {
        self.facts.identified = true;
        self.facts.identity = (identity.standing() != Standing::Unclaimed).then(|| Arc::new(identity));
    }

    pub(super) fn owe(&mut self, draw: Draw, spent: &'static str) {
        self.owed.push(Owed { draw, rule: self.rule(), spent, enforced: !self.observing });
    }

    /// What rules have taken from budgets.
    pub(crate) fn take_owed(&mut self) -> Vec<Owed> {
        std::mem::take(&mut self.owed)
    }

    pub(super) fn rule(&self) -> &'static str {
        self.rules.last().copied().unwrap_or("unnamed")
    }

    pub(super) fn begin(&mut self, rule: &'static str) {
        if self.rules.last() == Some(&"custom") {
            // A closure that names itself.
            self.rules.pop();
        }
        if self.rules.capacity() == 0 {
            self.rules.reserve(16);
        }
        self.rules.push(rule);
    }

    pub(super) fn note(&mut self, field: Cow<'static, str>, disposition: Disposition) {
        let field = match field {
            Cow::Owned(name) if name.len() > Finding::FIELD_BYTES => {
                Cow::Owned(text::cut(&name, Finding::FIELD_BYTES).to_owned())
            }
            field => field,
        };
        let finding = Finding { rule: self.rule(), field, disposition, enforced: !self.observing };
        self.findings.push(finding);
    }

    pub(crate) fn into_parts(self) -> (Vec<&'static str>, Vec<Finding>) {
        (self.rules, self.findings)
    }

    /// Notes a refusal.
    pub(crate) fn refused(&mut self, rejection: &Rejection) {
        self.findings.push(Finding {
            rule: rejection.rule(),
            field: rejection.owned_field().unwrap_or_default(),
            disposition: Disposition::Refused,
            enforced: !self.observing,
        });
    }

    /// The review of a request that passes although `rejection` would have refused it.
    pub(crate) fn would_have_refused(operation: Operation, rejection: &Rejection) -> Self {
        let mut review = Self::of(operation);
        review.observe(|review| review.refused(rejection));
        review
    }

    /// Notes whatever `look` finds as "would have".
    pub(crate) fn observe<T>(&mut self, look: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.observing, true);
        let found = look(self);
        self.observing = outer;
        found
    }

    pub(crate) fn set_bytes(&mut self, before: Bytes, after: Bytes) {
        self.bodies = Some(Bodies { before, after });
    }

    /// It was refused after all.
    pub(crate) fn forward_nothing(&mut self) {
        if let Some(bodies) = &mut self.bodies {
            bodies.after = Bytes::new();
        }
    }

    pub(crate) fn set_policy(&mut self, fingerprint: u64) {
        self.facts.policy = merged(self.facts.policy, Some(fingerprint));
    }

    /// Puts the review of a guard further out before this one.
    pub(crate) fn after(mut self, mut outer: Self) -> Self {
        outer.rules.append(&mut self.rules);
        outer.findings.append(&mut self.findings);
        match (&mut outer.bodies, self.bodies) {
            (Some(outer), Some(inner)) => outer.after = inner.after,
            (outer, inner) => *outer = outer.take().or(inner),
        }
        if outer.caller.is_anonymous() {
            outer.caller = self.caller;
        }
        if self.facts.identified {
            outer.facts.identity = self.facts.identity;
        }
        outer.facts.statement = self.facts.statement.or(outer.facts.statement);
        // What a guard further in has reviewed has the fingerprint of those further out in it, if it took the document
        // over from them.
        outer.facts.policy =
            if self.took_over { self.facts.policy } else { merged(outer.facts.policy, self.facts.policy) };
        outer
    }
}

/// The fingerprint of two configurations, one behind the other.
fn merged(outer: Option<u64>, inner: Option<u64>) -> Option<u64> {
    match (outer, inner) {
        (Some(outer), Some(inner)) => Some(outer.rotate_left(1) ^ inner),
        (outer, inner) => outer.or(inner),
    }
}
