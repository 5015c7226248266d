//! The caller of a registration.

use std::sync::Arc;

/// The caller of a registration: anonymous, or the holder of an initial access token (RFC 7591 section 3.1).
///
/// [`InitialAccessTokenLayer`](crate::layers::InitialAccessTokenLayer) puts it into a request's extensions, for the
/// inner layers. A layer of yours that authenticates the caller in another way can do the same. Without it the caller
/// is anonymous.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Caller {
    /// The owner of the credential; `None` if there was none.
    pub owner: Option<Arc<str>>,
    /// The rules that the credential names for its registrations, now and at every later update: see
    /// [`Condition::Rules`](crate::rules::Condition::Rules). `None` if it names none.
    pub rules: Option<Arc<str>>,
}

impl Caller {
    /// Creates a caller with a credential of `owner`.
    #[must_use]
    pub fn authorized(owner: impl Into<Arc<str>>) -> Self {
        Self { owner: Some(owner.into()), rules: None }
    }

    /// Returns `true` if there was no credential.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.owner.is_none()
    }
}
