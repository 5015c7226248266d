//! Initial access tokens (RFC 7591 section 3.1): who may register, how often, and by which rules.
//!
//! [`InitialAccessTokenLayer`](crate::InitialAccessTokenLayer) asks an [`InitialAccessTokens`] what a token is worth. There
//! are two here: [`StaticTokens`], a list, and `JwtTokens` (feature `jwt`), signed by an issuer that you trust.

use std::error::Error;
use std::fmt;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::policy::Caller;

#[cfg(feature = "jwt")]
mod jwt_tokens;
mod static_tokens;

#[cfg(feature = "jwt")]
pub use jwt_tokens::JwtTokens;
pub use static_tokens::StaticTokens;

/// What a valid initial access token is worth.
///
/// ```
/// use std::num::NonZeroU64;
/// use tower_dcr::initial_access::InitialAccess;
///
/// let access = InitialAccess::of("partner-portal").with_rules("partner").with_max_uses(NonZeroU64::new(20).unwrap());
/// assert_eq!(access.owner(), "partner-portal");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialAccess {
    owner: String,
    rules: Option<String>,
    max_uses: Option<NonZeroU64>,
    expires_at: Option<Duration>,
    token_id: String,
}

impl InitialAccess {
    /// A token of `owner`: who may revoke what it admits, and the name that audit events and the ledger have for it.
    #[must_use]
    pub fn of(owner: impl Into<String>) -> Self {
        Self { owner: owner.into(), rules: None, max_uses: None, expires_at: None, token_id: String::new() }
    }

    /// The rules that judge what it admits, now and at every later update: see
    /// [`Condition::rules`](crate::policy::Condition::rules).
    #[must_use]
    pub fn with_rules(mut self, rules: impl Into<String>) -> Self {
        self.rules = Some(rules.into());
        self
    }

    /// How many clients it admits. They are counted in the ledger.
    #[must_use]
    pub fn with_max_uses(mut self, uses: NonZeroU64) -> Self {
        self.max_uses = Some(uses);
        self
    }

    /// It admits one client.
    #[must_use]
    pub fn single_use(self) -> Self {
        self.with_max_uses(NonZeroU64::MIN)
    }

    /// When it ends.
    #[must_use]
    pub fn with_expiry(mut self, at: SystemTime) -> Self {
        self.expires_at = Some(at.duration_since(UNIX_EPOCH).unwrap_or_default());
        self
    }

    /// What its uses are counted under; no two tokens have the same, and it does not tell the token. The verifiers here
    /// set it.
    #[must_use]
    pub fn with_token_id(mut self, id: impl Into<String>) -> Self {
        self.token_id = id.into();
        self
    }

    /// Who it belongs to.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// How many clients it admits; without limit if there is none.
    #[must_use]
    pub fn max_uses(&self) -> Option<NonZeroU64> {
        self.max_uses
    }

    pub(crate) fn token_id(&self) -> &str {
        &self.token_id
    }

    fn is_over(&self, now: Duration) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    pub(crate) fn caller(&self) -> Caller {
        let caller = Caller::authorized(self.owner.as_str());
        match &self.rules {
            Some(rules) => caller.with_rules(rules.as_str()),
            None => caller,
        }
    }
}

/// Says what initial access tokens are worth.
///
/// ```
/// use tower_dcr::initial_access::{InitialAccess, InitialAccessTokens, TokenError};
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
/// # async fn look_up(_: &str) -> Result<Option<String>, std::io::Error> { Ok(None) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what initial access tokens are worth",
    note = "implement `tower_dcr::initial_access::InitialAccessTokens`, or use `StaticTokens`"
)]
pub trait InitialAccessTokens: Send + Sync + 'static {
    /// Looks at a token as it was sent (RFC 6750 section 2.1), which has the syntax of one and at most 4096 bytes. It must
    /// take as long for a wrong one as for one that is nearly right.
    ///
    /// # Errors
    ///
    /// [`TokenError`] for one that admits nobody.
    fn verify(&self, token: &str) -> impl Future<Output = Result<InitialAccess, TokenError>> + Send;
}

/// The first of them, or the second for what the first does not know.
impl<A: InitialAccessTokens, B: InitialAccessTokens> InitialAccessTokens for (A, B) {
    async fn verify(&self, token: &str) -> Result<InitialAccess, TokenError> {
        match self.0.verify(token).await {
            Err(TokenError::Invalid) => self.1.verify(token).await,
            found => found,
        }
    }
}

/// Why a token admits nobody.
///
/// ```
/// use tower_dcr::initial_access::TokenError;
///
/// assert_eq!(TokenError::Invalid.to_string(), "the initial access token is not valid");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum TokenError {
    /// Unknown, expired or withdrawn: 401 `invalid_token` (RFC 6750 section 3.1).
    Invalid,
    /// Valid, and not for this: 403 `insufficient_scope`.
    Insufficient,
    /// Nobody can say now: 503.
    Unavailable(Box<dyn Error + Send + Sync>),
}

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

/// [`InitialAccessTokens`] of whatever type.
pub(crate) trait ErasedTokens: Send + Sync {
    fn verify<'a>(&'a self, token: &'a str) -> Verifying<'a>;
}

impl<T: InitialAccessTokens> ErasedTokens for T {
    fn verify<'a>(&'a self, token: &'a str) -> Verifying<'a> {
        Box::pin(InitialAccessTokens::verify(self, token))
    }
}

/// RFC 6750 section 2.1: `b64token`.
pub(crate) fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    !body.is_empty()
        && body.bytes().all(
            |byte| matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'+' | b'/'),
        )
}
