//! [`Evaluation`]: the outcome of the rules for one registration.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::{Caller, ClaimStatus, Condition, Context, ErrorCode, Identity, Rejection};
use crate::documents::client_id_url::ClientIdUrl;
use crate::method::MethodKind;
use crate::rate_limit::{Denied, Reservation};
use crate::registration::Registration;
use crate::text;

/// The outcome of [`Policy::evaluate`](super::Policy::evaluate): the decision, the registration as the rules left it,
/// the rules that ran, and every finding of a change, flag or rejection.
///
/// A [`PolicyLayer`](crate::layers::PolicyLayer) puts it into the response's extensions, where the audit layer finds
/// it. It then contains no registration: that has been passed to the handler.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::rules::{Context, Decision, MetadataAllowlist, Policy};
///
/// let registration = Registration::parse(br#"{"redirect_uris":["http://localhost/cb"],"foo":1}"#)?;
/// let evaluation = Policy::new(MetadataAllowlist::mcp()).evaluate(registration, &Context::registration());
/// assert_eq!(evaluation.decision(), Decision::Rewrite);
/// assert_eq!(evaluation.rules.first(), Some(&"known-members"));
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
#[non_exhaustive]
pub struct Evaluation {
    /// The operation: a client is created or updated.
    pub operation: Operation,
    /// The registration as the rules left it: up to the one that rejected it, if one did. `None` once a layer has forwarded
    /// it.
    pub registration: Option<Registration>,
    /// The reason of a rejection; `None` if the registration was not rejected.
    pub rejection: Option<Box<Rejection>>,
    /// The reason for which the registration waits for an operator; `None` if it does not. It is registered, and a gate
    /// rejects the client until it is approved: see [`hold`](crate::clients::LifecycleSettings::hold).
    pub held: Option<Box<Rejection>>,
    /// A rejection that is only reported.
    pub(crate) reported: Option<Box<Rejection>>,
    /// The ids of the rules that ran, in order.
    pub rules: Vec<&'static str>,
    /// The effects of the rules, in order.
    pub findings: Vec<Finding>,
    observing: bool,
    bodies: Option<Bodies>,
    pub(crate) facts: Facts,
    /// The caller.
    pub caller: Caller,
    /// `true` if an outer layer has passed its facts on.
    took_over: bool,
    /// `true` if the rules that the caller's credential names have run.
    pinned_rules_applied: bool,
    reservations: Reservations,
    /// `true` if this is the evaluation of a shadow policy.
    is_shadow: bool,
    /// The evaluation of the [shadow policy](crate::Preset::with_shadow); `None` if there is none or it did not run. Its
    /// findings are those of that policy, and none was enforced.
    pub shadow: Option<Box<Evaluation>>,
    on_spent: OnSpent,
    /// `true` if the registration was rejected when its source's budgets were already spent.
    cost_nothing: bool,
}

/// The decision of a policy about a registration.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::rules::{Context, Decision, Policy, RedirectUris};
///
/// let policy = Policy::new(RedirectUris::mcp());
/// let registration = Registration::parse(br#"{"redirect_uris":["javascript:alert(1)"]}"#)?;
/// assert_eq!(policy.evaluate(registration, &Context::registration()).decision(), Decision::Reject);
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Decision {
    /// The client is registered as requested.
    Accept,
    /// The client is registered with fewer or other values. Clients work with the rewrites of the presets.
    Rewrite,
    /// The registration is rejected.
    Reject,
}

/// The consequence of a spent budget.
#[derive(Clone, Debug, Default)]
enum OnSpent {
    #[default]
    Reject,
    /// Leaves the rejection to the layer, which accepts repeated registrations.
    Defer(Option<Box<Rejection>>),
}

/// Reservations that were neither committed nor released. A copy of an evaluation has none.
#[derive(Debug, Default)]
struct Reservations(Vec<RuleReservation>);

impl Clone for Reservations {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// A rule's reservation from budgets. It is released when it is dropped.
#[derive(Debug)]
struct RuleReservation {
    reservation: Reservation,
    rule: &'static str,
    /// The response to the client if a budget is spent.
    spent: &'static str,
    /// `false` for a rule in report-only mode.
    enforced: bool,
}

impl RuleReservation {
    /// Commits it, also in the stores that nodes share.
    async fn commit(mut self) -> Result<Reservation, Rejection> {
        match self.reservation.commit().await {
            Ok(()) => Ok(self.reservation),
            Err(denied) => Err(self.rejection(&denied)),
        }
    }

    fn rejection(&self, denied: &Denied) -> Rejection {
        let (code, detail, retry_after) = match denied {
            Denied::Spent(spent) => (ErrorCode::TooManyRequests, self.spent, spent.retry_after),
            Denied::Unknown { retry_after } => {
                let detail = "rate limits unavailable, try again later";
                (ErrorCode::TemporarilyUnavailable, detail, *retry_after)
            }
        };
        Rejection::new(code, self.rule, detail).with_retry_after(retry_after)
    }
}

/// Facts that rules have found, for the inner layers and the handler. They travel with the document, in the body of the
/// request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) identity: Option<Arc<Identity>>,
    /// `true` if a rule has compared the client with reserved identities. Without an identity, it then claims none.
    pub(crate) identified: bool,
    /// The software statement whose claims are in the document.
    pub(crate) statement: Option<Arc<Statement>>,
    /// The fingerprint of the rules that have run.
    pub(crate) policy: Option<u64>,
    /// The reason for which the client has to wait for an operator.
    pub(crate) held: Option<Arc<Rejection>>,
    /// The URL of a client metadata document.
    pub(crate) document: Option<Arc<ClientIdUrl>>,
}

/// A software statement that was verified.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) issuer: String,
    /// The statement as it was sent.
    pub(crate) raw: String,
    /// `true` if it has the `software_id`: otherwise the sender chose that.
    pub(crate) has_software_id: bool,
}

/// The received body and the forwarded one. Kept as bytes, because most deployments use few digests.
#[derive(Clone)]
struct Bodies {
    before: Bytes,
    after: Bytes,
}

crate::text::debug_fields!(Bodies {});

/// Creating a client (RFC 7591), updating one (RFC 7592 section 2.2), or reading its metadata document.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::rules::{Context, Operation, Policy};
///
/// let update = Policy::default().evaluate(Registration::parse(b"{}")?, &Context::update());
/// assert_eq!(update.operation, Operation::Update);
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// `POST` to the registration endpoint.
    #[default]
    Create,
    /// `PUT` to the client configuration endpoint.
    Update,
    /// `GET` or `HEAD` of the client configuration endpoint. No rule applies to it.
    Read,
    /// `DELETE` of the client configuration endpoint. No rule applies to it.
    Delete,
    /// The document at the URL that a `client_id` is.
    Document,
}

/// An effect of a rule.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::rules::{Context, MetadataAllowlist, Policy};
///
/// let registration = Registration::parse(br#"{"redirect_uris":["http://localhost/cb"],"foo":1}"#)?;
/// let evaluation = Policy::new(MetadataAllowlist::mcp()).evaluate(registration, &Context::registration());
/// let finding = &evaluation.findings[0];
/// assert_eq!((finding.rule, &*finding.field, finding.enforced), ("known-members", "foo", true));
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The rule's stable id.
    pub rule: &'static str,
    /// The member's name, cut to 64 bytes. The client chose the name of an unknown member: escape it.
    pub field: Cow<'static, str>,
    /// The effect on the member.
    pub disposition: Disposition,
    /// `false` for a rule in report-only mode: the effect that it would have had.
    pub enforced: bool,
}

/// The effect of a rule on a member.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::rules::{Context, Disposition, MetadataAllowlist, Policy};
///
/// let registration = Registration::parse(br#"{"redirect_uris":["http://localhost/cb"],"foo":1}"#)?;
/// let evaluation = Policy::new(MetadataAllowlist::mcp()).evaluate(registration, &Context::registration());
/// assert_eq!(evaluation.findings[0].disposition, Disposition::Stripped);
/// assert_eq!(evaluation.findings[1].disposition, Disposition::Defaulted);
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Disposition {
    /// The field was set to a claim of a verified software statement.
    Asserted,
    /// An absent member was given its default.
    Defaulted,
    /// The field was flagged, without a change.
    Flagged,
    /// The registration waits for approval because of it.
    Held,
    /// Elements or tokens were removed from it.
    Narrowed,
    /// The registration was rejected because of it. The name in events is `refused`.
    Rejected,
    /// The field was removed.
    Stripped,
    /// Its value was replaced by another one that works for the client.
    Substituted,
    /// The field was set to the operator's own value.
    Supplied,
}

impl Disposition {
    /// Returns `true` if the client gets fewer or other values than it requested. A default that was written out counts
    /// as requested.
    #[must_use]
    pub const fn rewrites(self) -> bool {
        !matches!(self, Self::Defaulted | Self::Flagged | Self::Held)
    }
}

crate::text::named!(Operation {
    Create => "create",
    Update => "update",
    Read => "read",
    Delete => "delete",
    Document => "document",
});
crate::text::named!(Disposition {
    Asserted => "asserted",
    Defaulted => "defaulted",
    Flagged => "flagged",
    Held => "held",
    Narrowed => "narrowed",
    Rejected => "refused",
    Stripped => "stripped",
    Substituted => "substituted",
    Supplied => "supplied",
});

impl Finding {
    const FIELD_BYTES: usize = 64;
}

impl Operation {
    /// Returns the operation of a request with this method. A method that registration endpoints don't have counts as
    /// `POST`.
    pub(crate) fn of(method: &http::Method) -> Self {
        match MethodKind::of(method) {
            MethodKind::Update => Self::Update,
            MethodKind::Read => Self::Read,
            MethodKind::Delete => Self::Delete,
            MethodKind::Create | MethodKind::Options | MethodKind::Other => Self::Create,
        }
    }
}

impl Evaluation {
    /// Begins an evaluation, before any rule.
    pub(crate) fn begin(context: &Context) -> Self {
        Self {
            operation: context.operation,
            caller: context.caller.clone(),
            took_over: context.facts.policy.is_some(),
            facts: context.facts.clone(),
            observing: context.is_report_only,
            is_shadow: context.is_shadow,
            on_spent: if context.defers_spent { OnSpent::Defer(None) } else { OnSpent::Reject },
            ..Self::default()
        }
    }

    pub(crate) fn of(operation: Operation) -> Self {
        Self { operation, ..Self::default() }
    }

    /// Ends the evaluation with the result of its rules.
    pub(crate) fn end(&mut self, judged: Result<(), Rejection>) {
        if let Err(rejection) = judged {
            self.reject(&rejection);
            self.reported = self.observing.then(|| Box::new(rejection));
        }
        self.observing = false;
    }

    pub(super) fn with_registration(mut self, registration: Registration) -> Self {
        self.registration = Some(registration);
        self
    }

    /// Returns the decision. In report-only mode, everything is accepted.
    #[must_use]
    pub fn decision(&self) -> Decision {
        match () {
            () if self.rejection.is_some() => Decision::Reject,
            () if self.is_rewritten() => Decision::Rewrite,
            () => Decision::Accept,
        }
    }

    /// Returns `true` if the rules that the caller's credential names have run, or if it names none.
    pub(super) fn is_pinned_as_named(&self) -> bool {
        self.caller.rules.is_none() || self.pinned_rules_applied
    }

    pub(super) fn choose(&mut self, condition: &Condition) {
        self.pinned_rules_applied |= self.caller.rules.as_deref().is_some_and(|rules| condition.names(rules));
    }

    pub(super) fn is_shadow(&self) -> bool {
        self.is_shadow
    }

    #[cfg(feature = "software-statement")]
    pub(super) fn state(&mut self, statement: Statement) {
        self.facts.statement = Some(Arc::new(statement));
    }

    /// Returns `true` if an enforced rule gave the client fewer or other values than it requested. A default that was
    /// written out is no change.
    pub(crate) fn is_rewritten(&self) -> bool {
        self.findings.iter().any(|finding| finding.enforced && finding.disposition.rewrites())
    }

    /// Returns the received body and the forwarded one.
    pub(crate) fn bodies(&self) -> (Option<Bytes>, Option<Bytes>) {
        let known = |body: &Bytes| Some(body.clone()).filter(|body| !body.is_empty());
        self.bodies.as_ref().map_or((None, None), |bodies| (known(&bodies.before), known(&bodies.after)))
    }

    /// Returns the [fingerprint](super::Policy::fingerprint) of the policy, or `None` if no policy has run.
    #[must_use]
    pub fn fingerprint(&self) -> Option<u64> {
        self.facts.policy
    }

    /// Returns the identity that the client claims, or `None` if it claims no reserved one, or no rule compared it.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.facts.identity.as_deref()
    }

    pub(super) fn identify(&mut self, identity: Identity) {
        self.facts.identified = true;
        self.facts.identity = (identity.status != ClaimStatus::Unclaimed).then(|| Arc::new(identity));
    }

    pub(super) fn reserve(&mut self, reservation: Reservation, spent: &'static str) {
        let (rule, enforced) = (self.rule(), !self.observing);
        self.reservations.0.push(RuleReservation { reservation, rule, spent, enforced });
    }

    /// Charges the budgets that rules have reserved, including those that nodes share. Layers call it. An evaluation that is
    /// dropped charges nothing.
    ///
    /// # Errors
    ///
    /// Returns a [`Rejection`], which becomes the decision, if a budget is spent or a store unavailable.
    pub async fn commit(&mut self) -> Result<(), Rejection> {
        self.commit_all().await.map(drop)
    }

    /// Commits, and returns the reservations, to be released if nothing is registered in the end.
    pub(crate) async fn commit_all(&mut self) -> Result<Vec<Reservation>, Rejection> {
        let mut committed: Vec<Reservation> = Vec::new();
        for reserved in std::mem::take(&mut self.reservations).0 {
            let enforced = reserved.enforced;
            let rejection = match reserved.commit().await {
                Ok(reservation) => {
                    committed.push(reservation);
                    continue;
                }
                Err(rejection) => rejection,
            };
            if !enforced {
                self.observe(|evaluation| evaluation.reject(&rejection));
            } else if let Err(rejection) = self.reject_spent(rejection) {
                self.reject(&rejection);
                for reservation in committed {
                    reservation.release().await;
                }
                return Err(rejection);
            }
        }
        Ok(committed)
    }

    /// Rejects, or leaves the rejection to the layer.
    pub(super) fn reject_spent(&mut self, rejection: Rejection) -> Result<(), Rejection> {
        match &mut self.on_spent {
            OnSpent::Defer(spent) if !self.observing => {
                spent.get_or_insert_with(|| Box::new(rejection));
                Ok(())
            }
            OnSpent::Defer(_) | OnSpent::Reject => Err(rejection),
        }
    }

    /// Notes that the rejected registration took nothing from its source's budgets, which were spent.
    pub(crate) fn cost_nothing(&mut self) {
        self.cost_nothing = true;
    }

    /// Returns `true` if the rejected registration took nothing from its source's budgets.
    pub(crate) fn has_cost_nothing(&self) -> bool {
        self.cost_nothing
    }

    /// Takes the rejection for a budget that is spent. `None` if there is none.
    pub(crate) fn take_spent(&mut self) -> Option<Rejection> {
        match &mut self.on_spent {
            OnSpent::Defer(spent) => spent.take().map(|spent| *spent),
            OnSpent::Reject => None,
        }
    }

    pub(super) fn rule(&self) -> &'static str {
        self.rules.last().copied().unwrap_or("unnamed")
    }

    pub(super) fn open(&mut self, rule: &'static str) {
        if self.rules.capacity() == 0 {
            self.rules.reserve(32);
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

    /// Notes a rejection. It becomes the decision unless it is only reported.
    pub(crate) fn reject(&mut self, rejection: &Rejection) {
        self.findings.push(Finding {
            rule: rejection.rule,
            field: rejection.field.clone().unwrap_or_default(),
            disposition: Disposition::Rejected,
            enforced: !self.observing,
        });
        if !self.observing {
            self.rejection = Some(Box::new(rejection.clone()));
        }
    }

    /// Notes that the registration has to wait for an operator. The first reason counts.
    pub(super) fn hold(&mut self, rejection: Rejection) {
        self.note(rejection.field.clone().unwrap_or_default(), Disposition::Held);
        if !self.observing && self.held.is_none() {
            self.facts.held = Some(Arc::new(rejection.clone()));
            self.held = Some(Box::new(rejection));
        }
    }

    /// Returns the evaluation of a request that is accepted although `rejection` would have rejected it.
    pub(crate) fn would_have_rejected(operation: Operation, rejection: &Rejection) -> Self {
        let mut evaluation = Self::of(operation);
        evaluation.observe(|evaluation| evaluation.reject(rejection));
        evaluation
    }

    /// Notes the findings of `look` as not enforced.
    pub(crate) fn observe<T>(&mut self, look: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.observing, true);
        let found = look(self);
        self.observing = outer;
        found
    }

    pub(crate) fn set_bytes(&mut self, before: Bytes, after: Bytes) {
        self.bodies = Some(Bodies { before, after });
    }

    /// Notes that nothing was forwarded.
    pub(crate) fn forward_nothing(&mut self) {
        if let Some(bodies) = &mut self.bodies {
            bodies.after = Bytes::new();
        }
    }

    pub(crate) fn set_policy(&mut self, fingerprint: u64) {
        self.facts.policy = merged(self.facts.policy, Some(fingerprint));
    }

    /// Puts the evaluation of an outer layer before this one.
    pub(crate) fn after(mut self, mut outer: Self) -> Self {
        outer.rules.append(&mut self.rules);
        outer.findings.append(&mut self.findings);
        match (&mut outer.bodies, self.bodies) {
            (Some(outer), Some(inner)) => outer.after = inner.after,
            (outer, inner) => *outer = outer.take().or(inner),
        }
        outer.rejection = outer.rejection.or(self.rejection);
        outer.held = outer.held.or(self.held);
        if outer.caller.is_anonymous() {
            outer.caller = self.caller;
        }
        if self.facts.identified {
            outer.facts.identity = self.facts.identity;
        }
        outer.facts.statement = self.facts.statement.or(outer.facts.statement);
        outer.shadow = outer.shadow.or(self.shadow);
        // The fingerprint of an inner layer already includes those of the outer layers, if it took the document over
        // from them.
        outer.facts.policy =
            if self.took_over { self.facts.policy } else { merged(outer.facts.policy, self.facts.policy) };
        outer
    }
}

/// Returns the fingerprint of two configurations, one after the other.
fn merged(outer: Option<u64>, inner: Option<u64>) -> Option<u64> {
    match (outer, inner) {
        (Some(outer), Some(inner)) => Some(outer.rotate_left(1) ^ inner),
        (outer, inner) => outer.or(inner),
    }
}
