//! Conditions that choose the rules for a registration.

use serde::{Deserialize, Serialize};

use super::Draft;
use crate::redirect_uri::{RedirectClass, RedirectUri};

/// A condition on a registration, by which a [`Policy`](crate::rules::Policy) chooses its rules: the caller, and the
/// classes of redirect URIs.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::redirect_uri::RedirectClass;
/// use tower_dcr::rules::{Condition, Context, Decision, Policy, RedirectUris};
///
/// let native = Condition::Redirects(vec![RedirectClass::Loopback, RedirectClass::PrivateUse]);
/// let condition = Condition::Any(vec![native, Condition::Rules("partner".into())]);
/// let policy = Policy::default().when(condition, RedirectUris::mcp());
/// let hosted = Registration::parse(br#"{"redirect_uris":["https://app.example.com/cb"]}"#)?;
/// assert_eq!(policy.evaluate(hosted, &Context::registration()).decision(), Decision::Reject);
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Condition {
    /// Neither an initial access token nor a software statement.
    Anonymous,
    /// Any initial access token.
    Token,
    /// An initial access token that names these rules.
    Rules(String),
    /// A verified software statement of any issuer. An update has to send it again (RFC 7592 section 2.2 requires clients to send
    /// all members of the response).
    Statement,
    /// A verified software statement of this issuer.
    StatementBy(String),
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
    /// Returns `true` if the condition holds for `draft` in its current state.
    pub(crate) fn holds(&self, draft: &Draft<'_>) -> bool {
        let (caller, issuer) = (draft.caller(), draft.statement_issuer());
        match self {
            Self::Anonymous => caller.is_anonymous() && issuer.is_none(),
            Self::Token => !caller.is_anonymous(),
            Self::Rules(name) => caller.rules.as_deref() == Some(name),
            Self::Statement => issuer.is_some(),
            Self::StatementBy(name) => issuer == Some(name),
            Self::Redirects(classes) => {
                let class = |uri| RedirectUri::parse(uri).map(|uri| uri.class());
                let mut uris = draft.registration().redirect_uris().peekable();
                uris.peek().is_some() && uris.all(|uri| class(uri).is_ok_and(|class| classes.contains(&class)))
            }
            Self::Not(other) => !other.holds(draft),
            Self::All(all) => all.iter().all(|one| one.holds(draft)),
            Self::Any(any) => any.iter().any(|one| one.holds(draft)),
        }
    }

    /// Returns `true` if the condition is about these rules.
    pub(crate) fn names(&self, rules: &str) -> bool {
        match self {
            Self::Rules(name) => name == rules,
            Self::All(all) | Self::Any(all) => all.iter().any(|one| one.names(rules)),
            _ => false,
        }
    }
}
