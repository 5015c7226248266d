//! [`Draft`]: a registration on its way through the rules.

use std::borrow::Cow;

#[cfg(feature = "software-statement")]
use super::Statement;
use super::{Caller, Condition, Disposition, ErrorCode, Evaluation, Identity, Operation, Rejection, Rule};
use crate::documents::client_id_url::ClientIdUrl;
use crate::rate_limit::Reservation;
#[cfg(feature = "software-statement")]
use crate::registration::Field;
use crate::registration::Registration;

/// A registration on its way through the rules. Each [`Rule`](super::Rule) gets it under its own id, and every edit is
/// noted under that id in the [`Evaluation`].
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::rules::{Context, Policy, rule};
///
/// let policy = Policy::new(rule("no-admin", |draft| {
///     draft.narrow_tokens("scope", |token| token != "admin");
///     Ok(())
/// }));
/// let evaluation = policy.evaluate(Registration::parse(br#"{"scope":"read admin"}"#)?, &Context::registration());
/// assert_eq!(evaluation.findings[0].rule, "no-admin");
/// assert_eq!(evaluation.registration.unwrap().string("scope"), Some("read"));
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[derive(Debug)]
pub struct Draft<'a> {
    registration: &'a mut Registration,
    evaluation: &'a mut Evaluation,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(registration: &'a mut Registration, evaluation: &'a mut Evaluation) -> Self {
        Self { registration, evaluation }
    }

    /// Notes all following findings under this id.
    pub(crate) fn open(&mut self, rule: &'static str) {
        self.evaluation.open(rule);
    }

    /// Returns the registration as the previous rules have left it.
    #[must_use]
    pub fn registration(&self) -> &Registration {
        self.registration
    }

    /// Returns the operation: a client is created or updated.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.evaluation.operation
    }

    /// Returns the caller.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.evaluation.caller
    }

    /// Returns the issuer of the software statement whose claims are in the registration, or `None` if there was none.
    #[must_use]
    pub fn statement_issuer(&self) -> Option<&str> {
        self.evaluation.facts.statement.as_ref().map(|statement| statement.issuer.as_str())
    }

    /// Returns the URL of the client metadata document, or `None` for a registration.
    #[must_use]
    pub fn document(&self) -> Option<&ClientIdUrl> {
        self.evaluation.facts.document.as_deref()
    }

    /// Returns `true` if the policy is a [shadow](crate::Preset::with_shadow), evaluated together with the one in
    /// force. A rule then decides as always, but must not count, spend or remember anything.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use tower_dcr::Registration;
    /// use tower_dcr::rules::{Context, Policy, rule};
    ///
    /// static SEEN: AtomicU32 = AtomicU32::new(0);
    /// let counting = rule("counting", |draft| {
    ///     if !draft.is_shadow() {
    ///         SEEN.fetch_add(1, Ordering::Relaxed);
    ///     }
    ///     Ok(())
    /// });
    /// let _evaluation = Policy::new(counting).evaluate(Registration::parse(b"{}")?, &Context::registration());
    /// assert_eq!(SEEN.load(Ordering::Relaxed), 1);
    /// # Ok::<_, tower_dcr::registration::ParseError>(())
    /// ```
    #[must_use]
    pub fn is_shadow(&self) -> bool {
        self.evaluation.is_shadow()
    }

    /// Runs `check` on a copy, and notes its findings as not enforced.
    pub(super) fn observe(&mut self, check: impl FnOnce(&mut Draft<'_>) -> Result<(), Rejection>) {
        let mut copy = self.registration.clone();
        self.evaluation.observe(|evaluation| {
            if let Err(rejection) = check(&mut Draft::new(&mut copy, evaluation)) {
                evaluation.reject(&rejection);
            }
        });
    }

    /// Runs a rule. If it rejects what an operator may admit, the registration stays as it was, and is held.
    pub(super) fn hold_or_reject(&mut self, rule: &dyn Rule) -> Result<(), Rejection> {
        let (before, findings) = (self.registration.clone(), self.evaluation.findings.len());
        match rule.check(self) {
            Err(rejection) if rejection.may_be_held => {
                *self.registration = before;
                self.evaluation.findings.truncate(findings);
                self.evaluation.hold(rejection.by(rule.id()));
                Ok(())
            }
            decided => decided,
        }
    }

    /// Returns `true` if the rules that the caller's credential names have run, or if it names none.
    pub(super) fn is_pinned_as_named(&self) -> bool {
        self.evaluation.is_pinned_as_named()
    }

    /// Notes that the rules of `condition` run.
    pub(super) fn choose(&mut self, condition: &Condition) {
        self.evaluation.choose(condition);
    }

    /// Replaces the members of its name with the claim of a verified statement at `position`.
    #[cfg(feature = "software-statement")]
    pub(super) fn assert_from(&mut self, claims: &Registration, position: usize) {
        let Some(claim) = claims.entry(position) else { return };
        let (name, base) = (claim.name().to_owned(), claim.kind().base());
        let rivals: Vec<String> = match base {
            Some(Field::JWKS) => vec!["jwks_uri".to_owned()],
            Some(Field::JWKS_URI) => vec!["jwks".to_owned()],
            // The name in French must not contradict the signed one.
            Some(field) if field.is_human_readable() && !claim.kind().is_tagged() => {
                let tagged = self.registration.variants(field.name()).map(|(name, _)| name.to_owned());
                tagged.filter(|tagged| *tagged != name && !claims.contains(tagged)).collect()
            }
            _ => Vec::new(),
        };
        for rival in rivals {
            self.strip(&rival);
        }
        if self.registration.replace_from(claims, position) {
            self.note(name, Disposition::Asserted);
        }
    }

    /// Removes a member that is only for the rules.
    #[cfg(feature = "software-statement")]
    pub(super) fn discard(&mut self, name: &str) {
        self.registration.remove(name);
    }

    /// Notes the statement that the claims are from.
    #[cfg(feature = "software-statement")]
    pub(super) fn state(&mut self, statement: Statement) {
        self.evaluation.state(statement);
    }

    /// Keeps a reservation from budgets, which is committed or released with the evaluation. `spent` is the response to
    /// a client if the shared budgets have nothing left.
    pub(super) fn reserve(&mut self, reservation: Reservation, spent: &'static str) {
        self.evaluation.reserve(reservation, spent);
    }

    /// Rejects because a budget is spent, or leaves that to the layer, which accepts repeated registrations.
    pub(super) fn reject_spent(&mut self, rejection: Rejection) -> Result<(), Rejection> {
        self.evaluation.reject_spent(rejection)
    }

    /// Notes the identity that the client claims.
    pub(super) fn identify(&mut self, identity: Identity) {
        self.evaluation.identify(identity);
    }

    /// Returns a rejection by the current rule. `detail` completes the sentence "`field` …" with the field of
    /// [`Rejection::with_field`], or is a sentence of its own. It must not repeat anything that the client sent.
    #[must_use]
    pub fn reject(&self, code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Rejection {
        Rejection::new(code, self.evaluation.rule(), detail)
    }

    /// Notes a finding about `field` that changes nothing.
    pub fn flag(&mut self, field: &'static str) {
        self.note(field, Disposition::Flagged);
    }

    /// Removes the member `name` if it is present.
    pub fn strip(&mut self, name: &str) {
        if self.registration.remove(name) {
            self.note(name.to_owned(), Disposition::Stripped);
        }
    }

    /// Removes the members at these positions in canonical order. The positions must be sorted.
    pub(super) fn strip_at(&mut self, positions: &[usize]) {
        for member in positions.iter().filter_map(|position| self.registration.entry(*position)) {
            let field = match member.kind().field() {
                Some(field) => field.name().into(),
                None => member.name().to_owned().into(),
            };
            self.evaluation.note(field, Disposition::Stripped);
        }
        self.registration.remove_at(positions);
    }

    /// Keeps the elements of the string array `name` for which `keep` holds.
    pub fn narrow_strings(&mut self, name: &'static str, keep: impl FnMut(&str) -> bool) {
        if self.registration.narrow_strings(name, keep) > 0 {
            self.note(name, Disposition::Narrowed);
        }
    }

    /// Keeps the first `bytes` bytes of the string at `position` in canonical order, whose name is `field`.
    pub(super) fn shorten_at(&mut self, position: usize, bytes: usize, field: &'static str) {
        self.registration.shorten_at(position, bytes);
        self.note(field, Disposition::Narrowed);
    }

    /// Keeps the tokens of the space-separated list `name` for which `keep` holds.
    pub fn narrow_tokens(&mut self, name: &'static str, keep: impl FnMut(&str) -> bool) {
        if self.registration.narrow_tokens(name, keep) > 0 {
            self.note(name, Disposition::Narrowed);
        }
    }

    /// Gives the member `name` a default, if it is absent.
    pub fn insert_default(&mut self, name: &'static str, value: impl Into<Cow<'static, str>>) {
        if self.registration.insert_default(name, value) {
            self.note(name, Disposition::Defaulted);
        }
    }

    /// Gives the member `name` a default array, if it is absent.
    pub fn insert_default_strings<V>(&mut self, name: &'static str, values: impl IntoIterator<Item = V>)
    where
        V: Into<Cow<'static, str>>,
    {
        if self.registration.insert_default_strings(name, values) {
            self.note(name, Disposition::Defaulted);
        }
    }

    /// Replaces the member `name` with the operator's value. RFC 7591 section 2: "the authorization server MAY […]
    /// replace any of the client's requested metadata values".
    pub fn substitute(&mut self, name: &'static str, value: impl Into<Cow<'static, str>>) {
        self.registration.remove(name);
        self.registration.insert_default(name, value);
        self.note(name, Disposition::Substituted);
    }

    /// Sets the member `name` to the operator's `value`, regardless of the value that was sent.
    pub fn supply(&mut self, name: &str, value: &serde_json::Value) {
        self.replace(name, value, Disposition::Supplied);
    }

    pub(super) fn replace(&mut self, name: &str, value: &serde_json::Value, disposition: Disposition) {
        self.registration.remove(name);
        self.registration.insert_default_value(name, value);
        self.note(name.to_owned(), disposition);
    }

    fn note(&mut self, field: impl Into<Cow<'static, str>>, disposition: Disposition) {
        self.evaluation.note(field.into(), disposition);
    }
}
