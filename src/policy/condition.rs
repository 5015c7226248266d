//! Which registrations a set of rules is for.

use serde::{Deserialize, Serialize};

use super::{Submission, describe_as_json};
use crate::redirect_uri::{RedirectClass, RedirectUri};

/// A question about a registration, by which [`Cases`](super::Cases) and the presets choose the rules that judge it: who
/// asks, and where the codes go.
///
/// ```
/// use tower_dcr::policy::Condition;
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

/// Who asks, and where the codes go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Condition"))]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Neither an initial access token nor a software statement.
    Anonymous,
    /// An initial access token, whichever.
    Token,
    /// An initial access token that names these rules.
    Rules(String),
    /// A verified software statement, whoever issued it.
    Statement,
    /// A verified software statement of this issuer.
    #[serde(rename = "statement_by")]
    Issuer(String),
    /// Redirect URIs of these classes and no other; at least one.
    Redirects(Vec<RedirectClass>),
    /// Not this.
    Not(Box<Condition>),
    /// All of these.
    All(Vec<Condition>),
    /// Any of these.
    Any(Vec<Condition>),
}

impl Condition {
    const fn of(kind: Kind) -> Self {
        Self { kind }
    }

    /// Neither an initial access token nor a software statement.
    pub fn anonymous() -> Self {
        Self::of(Kind::Anonymous)
    }

    /// An initial access token, whichever.
    pub fn token() -> Self {
        Self::of(Kind::Token)
    }

    /// An initial access token that names these rules.
    pub fn rules(name: impl Into<String>) -> Self {
        Self::of(Kind::Rules(name.into()))
    }

    /// A verified software statement, whoever issued it. An update has to bring it again (RFC 7592 section 2.2 has clients
    /// send all that they were answered).
    pub fn statement() -> Self {
        Self::of(Kind::Statement)
    }

    /// A verified software statement of this issuer.
    pub fn statement_by(issuer: impl Into<String>) -> Self {
        Self::of(Kind::Issuer(issuer.into()))
    }

    /// Redirect URIs of these classes and no other; at least one.
    pub fn redirects(classes: impl IntoIterator<Item = RedirectClass>) -> Self {
        Self::of(Kind::Redirects(classes.into_iter().collect()))
    }

    /// Not this.
    #[expect(clippy::should_implement_trait, reason = "conditions are read from left to right")]
    pub fn not(self) -> Self {
        Self::of(Kind::Not(Box::new(self)))
    }

    /// Both.
    pub fn and(self, other: Self) -> Self {
        Self::of(Kind::All(vec![self, other]))
    }

    /// Either, or both.
    pub fn or(self, other: Self) -> Self {
        Self::of(Kind::Any(vec![self, other]))
    }

    /// Whether it holds for `submission`, as it now stands.
    #[must_use]
    pub fn holds(&self, submission: &Submission<'_>) -> bool {
        let (caller, issuer) = (submission.caller(), submission.statement_issuer());
        match &self.kind {
            Kind::Anonymous => caller.is_anonymous() && issuer.is_none(),
            Kind::Token => !caller.is_anonymous(),
            Kind::Rules(name) => caller.rules() == Some(name),
            Kind::Statement => issuer.is_some(),
            Kind::Issuer(name) => issuer == Some(name),
            Kind::Redirects(classes) => {
                let class = |uri| RedirectUri::parse(uri).map(|uri| uri.class());
                let mut uris = submission.registration().redirect_uris().peekable();
                uris.peek().is_some() && uris.all(|uri| class(uri).is_ok_and(|class| classes.contains(&class)))
            }
            Kind::Not(other) => !other.holds(submission),
            Kind::All(all) => all.iter().all(|one| one.holds(submission)),
            Kind::Any(any) => any.iter().any(|one| one.holds(submission)),
        }
    }

    /// Writes what distinguishes it from other conditions.
    pub(crate) fn describe(&self, out: &mut String) {
        describe_as_json(self, out);
    }

    /// Whether it is about these rules.
    pub(crate) fn names(&self, rules: &str) -> bool {
        match &self.kind {
            Kind::Rules(name) => name == rules,
            Kind::All(all) | Kind::Any(all) => all.iter().any(|one| one.names(rules)),
            _ => false,
        }
    }
}
