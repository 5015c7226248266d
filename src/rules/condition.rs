//! Conditions that choose the rules for a registration.

use serde::{Deserialize, Serialize};

use super::Draft;
use crate::redirect_uri::{RedirectClass, RedirectUri};

/// A condition on a registration, by which a [`Policy`](crate::rules::Policy) chooses its rules: the caller, and the
/// classes of redirect URIs.
///
/// ```
/// use tower_dcr::rules::Condition;
/// use tower_dcr::redirect_uri::RedirectClass;
///
/// let native = Condition::redirects([RedirectClass::Loopback, RedirectClass::PrivateUse]);
/// let condition = Condition::anonymous().and(native).or(Condition::rules("partner"));
/// # let _ = condition;
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
#[must_use]
pub struct Condition {
    kind: Kind,
}

/// The kind of condition: on the caller, or on the redirect URIs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Condition"))]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Neither an initial access token nor a software statement.
    Anonymous,
    /// Any initial access token.
    Token,
    /// An initial access token that names these rules.
    Rules(String),
    /// A verified software statement of any issuer.
    Statement,
    /// A verified software statement of this issuer.
    #[serde(rename = "statement_by")]
    Issuer(String),
    /// Redirect URIs of these classes only; at least one.
    Redirects(Vec<RedirectClass>),
    /// The opposite of a condition.
    Not(Box<Condition>),
    /// All of these conditions.
    All(Vec<Condition>),
    /// Any of these conditions.
    Any(Vec<Condition>),
}

impl Condition {
    const fn of(kind: Kind) -> Self {
        Self { kind }
    }

    /// Creates a condition for callers with neither an initial access token nor a software statement.
    pub fn anonymous() -> Self {
        Self::of(Kind::Anonymous)
    }

    /// Creates a condition for any initial access token.
    pub fn token() -> Self {
        Self::of(Kind::Token)
    }

    /// Creates a condition for initial access tokens that name these rules.
    pub fn rules(name: impl Into<String>) -> Self {
        Self::of(Kind::Rules(name.into()))
    }

    /// Creates a condition for a verified software statement of any issuer. An update has to send it again (RFC 7592
    /// section 2.2 requires clients to send all members of the response).
    pub fn statement() -> Self {
        Self::of(Kind::Statement)
    }

    /// Creates a condition for a verified software statement of this issuer.
    pub fn statement_by(issuer: impl Into<String>) -> Self {
        Self::of(Kind::Issuer(issuer.into()))
    }

    /// Creates a condition for redirect URIs of these classes only; at least one.
    pub fn redirects(classes: impl IntoIterator<Item = RedirectClass>) -> Self {
        Self::of(Kind::Redirects(classes.into_iter().collect()))
    }

    /// Returns the opposite condition.
    #[expect(clippy::should_implement_trait, reason = "conditions are read from left to right")]
    pub fn not(self) -> Self {
        Self::of(Kind::Not(Box::new(self)))
    }

    /// Returns a condition that holds if both do.
    pub fn and(self, other: Self) -> Self {
        Self::of(Kind::All(vec![self, other]))
    }

    /// Returns a condition that holds if either or both do.
    pub fn or(self, other: Self) -> Self {
        Self::of(Kind::Any(vec![self, other]))
    }

    /// Returns `true` if the condition holds for `draft` in its current state.
    #[must_use]
    pub fn holds(&self, draft: &Draft<'_>) -> bool {
        let (caller, issuer) = (draft.caller(), draft.statement_issuer());
        match &self.kind {
            Kind::Anonymous => caller.is_anonymous() && issuer.is_none(),
            Kind::Token => !caller.is_anonymous(),
            Kind::Rules(name) => caller.rules() == Some(name),
            Kind::Statement => issuer.is_some(),
            Kind::Issuer(name) => issuer == Some(name),
            Kind::Redirects(classes) => {
                let class = |uri| RedirectUri::parse(uri).map(|uri| uri.class());
                let mut uris = draft.registration().redirect_uris().peekable();
                uris.peek().is_some() && uris.all(|uri| class(uri).is_ok_and(|class| classes.contains(&class)))
            }
            Kind::Not(other) => !other.holds(draft),
            Kind::All(all) => all.iter().all(|one| one.holds(draft)),
            Kind::Any(any) => any.iter().any(|one| one.holds(draft)),
        }
    }

    /// Returns `true` if the condition is about these rules.
    pub(crate) fn names(&self, rules: &str) -> bool {
        match &self.kind {
            Kind::Rules(name) => name == rules,
            Kind::All(all) | Kind::Any(all) => all.iter().any(|one| one.names(rules)),
            _ => false,
        }
    }
}
