//! Initial access tokens (RFC 7591 section 3.1): their owners, numbers of uses and rules.
//!
//! [`InitialAccessTokenLayer`](crate::layers::InitialAccessTokenLayer) verifies tokens by an [`InitialAccessTokens`].
//! There are two here: [`StaticTokens`], a list, and `JwtTokens` (feature `jwt`), signed by an issuer that you trust.

use std::error::Error;
use std::fmt;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::rules::Caller;

#[cfg(feature = "jwt")]
mod jwt_tokens;
mod static_tokens;

#[cfg(feature = "jwt")]
pub use jwt_tokens::JwtTokens;
pub use static_tokens::StaticTokens;

/// The access that a valid initial access token gives.
///
/// ```
/// use std::num::NonZeroU64;
/// use tower_dcr::layers::InitialAccess;
///
/// let access = InitialAccess {
///     rules: Some("partner".into()),
///     max_uses: NonZeroU64::new(20),
///     ..InitialAccess::of("partner-portal")
/// };
/// assert_eq!(access.expires_at, None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "written with `..InitialAccess::of(owner)`")]
pub struct InitialAccess {
    /// The owner of the token: the name that audit events and the ledger use, and under which its clients can be revoked.
    pub owner: String,
    /// The rules for clients that it admits, at registration and at every later update: see
    /// [`Condition::Rules`](crate::rules::Condition::Rules).
    pub rules: Option<String>,
    /// The number of clients that it admits. `None` if it is unlimited. They are counted in the ledger.
    pub max_uses: Option<NonZeroU64>,
    /// The time at which it expires. `None` if it never does.
    pub expires_at: Option<SystemTime>,
    /// The ID under which its uses are counted. It must be unique, and must not disclose the token. The verifiers here set it.
    pub token_id: String,
}

impl InitialAccess {
    /// Creates the access of a token of `owner`, without rules and limits.
    #[must_use]
    pub fn of(owner: impl Into<String>) -> Self {
        Self { owner: owner.into(), rules: None, max_uses: None, expires_at: None, token_id: String::new() }
    }

    fn is_over(&self, now: Duration) -> bool {
        self.expires_at.is_some_and(|end| end.duration_since(UNIX_EPOCH).unwrap_or_default() <= now)
    }

    pub(crate) fn caller(&self) -> Caller {
        Caller { rules: self.rules.as_deref().map(Into::into), ..Caller::authorized(self.owner.as_str()) }
    }
}

/// Verifies initial access tokens.
///
/// ```
/// use tower_dcr::layers::{InitialAccess, InitialAccessTokens, TokenError};
///
/// /// Asks the server's own store of API keys.
/// struct ApiKeys;
///
/// impl InitialAccessTokens for ApiKeys {
///     async fn verify(&self, token: &str) -> Result<InitialAccess, TokenError> {
///         match look_up(token).await {
///             Ok(Some(account)) => Ok(InitialAccess::of(account)),
///             Ok(None) => Err(TokenError::Invalid),
///             Err(error) => Err(TokenError::Unavailable(error.into())),
///         }
///     }
/// }
/// # async fn look_up(key: &str) -> Result<Option<String>, std::io::Error> { Ok(key.strip_suffix("-key").map(Into::into)) }
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// assert_eq!(ApiKeys.verify("portal-key").await.unwrap().owner, "portal");
/// # });
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what initial access tokens are worth",
    note = "implement `tower_dcr::layers::InitialAccessTokens`, or use `StaticTokens`"
)]
pub trait InitialAccessTokens: Send + Sync + 'static {
    /// Verifies an unmodified token (RFC 6750 section 2.1), which has the syntax of one and at most 4096 bytes. It must
    /// take as long for a wrong one as for one that is nearly right.
    ///
    /// # Errors
    ///
    /// Returns [`TokenError`] if the token does not admit the registration, or can't be verified now.
    fn verify(&self, token: &str) -> impl Future<Output = Result<InitialAccess, TokenError>> + Send;
}

/// Tries the first, and for a token that it does not know, the second.
impl<A: InitialAccessTokens, B: InitialAccessTokens> InitialAccessTokens for (A, B) {
    async fn verify(&self, token: &str) -> Result<InitialAccess, TokenError> {
        match self.0.verify(token).await {
            Err(TokenError::Invalid) => self.1.verify(token).await,
            found => found,
        }
    }
}

/// The reason for rejecting a token.
///
/// ```
/// use tower_dcr::layers::TokenError;
///
/// assert_eq!(TokenError::Invalid.to_string(), "the initial access token is not valid");
/// ```
#[non_exhaustive]
pub enum TokenError {
    /// Unknown, expired or withdrawn: 401 `invalid_token` (RFC 6750 section 3.1).
    Invalid,
    /// The token is valid and does not allow registrations: 403 `insufficient_scope`.
    Insufficient,
    /// Can't be verified now: 503.
    Unavailable(Box<dyn Error + Send + Sync>),
}

crate::text::debug_for_people!(TokenError);

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "the initial access token is not valid",
            Self::Insufficient => "the initial access token is not for registering clients",
            Self::Unavailable(_) => "initial access tokens can't be verified",
        })
    }
}

impl Error for TokenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unavailable(source) => Some(&**source),
            Self::Invalid | Self::Insufficient => None,
        }
    }
}

type Verifying<'a> = Pin<Box<dyn Future<Output = Result<InitialAccess, TokenError>> + Send + 'a>>;

/// [`InitialAccessTokens`] of any type.
pub(crate) trait ErasedTokens: Send + Sync {
    fn verify<'a>(&'a self, token: &'a str) -> Verifying<'a>;
}

impl<T: InitialAccessTokens> ErasedTokens for T {
    fn verify<'a>(&'a self, token: &'a str) -> Verifying<'a> {
        Box::pin(InitialAccessTokens::verify(self, token))
    }
}

/// Returns whether the text has the syntax of a token (RFC 6750 section 2.1: `b64token`; RFC 9110 section 11.2: `token68`).
pub(crate) fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    !body.is_empty()
        && body.bytes().all(
            |byte| matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'+' | b'/'),
        )
}
