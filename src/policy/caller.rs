//! Who asks for a registration.

use std::sync::Arc;

/// The class of caller that a registration comes from: anybody, or the holder of an initial access token (RFC 7591
/// section 3.1).
///
/// [`InitialAccessTokenLayer`](crate::InitialAccessTokenLayer) puts it into a request's extensions, for the layers further
/// in; so may a layer of yours that has authenticated the caller in another way. Without it the caller is anonymous.
///
/// ```
/// use tower_dcr::policy::Caller;
///
/// let caller = Caller::authorized("partner-portal").with_rules("partner");
/// assert_eq!((caller.owner(), caller.rules()), (Some("partner-portal"), Some("partner")));
/// assert!(Caller::anonymous().owner().is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Caller {
    owner: Option<Arc<str>>,
    rules: Option<Arc<str>>,
}

impl Caller {
    /// Anybody.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// Somebody who has shown a credential of `owner`.
    #[must_use]
    pub fn authorized(owner: impl Into<Arc<str>>) -> Self {
        Self { owner: Some(owner.into()), rules: None }
    }

    /// The credential names the rules that judge what it admits, now and at every later update: see
    /// [`Condition::rules`](super::Condition::rules).
    #[must_use]
    pub fn with_rules(mut self, rules: impl Into<Arc<str>>) -> Self {
        self.rules = Some(rules.into());
        self
    }

    /// Who the credential belongs to; nothing if there was none.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// The rules that the credential names.
    #[must_use]
    pub fn rules(&self) -> Option<&str> {
        self.rules.as_deref()
    }

    /// Whether there was no credential.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.owner.is_none()
    }
}
