//! Signed tokens.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{InitialAccess, InitialAccessTokens, TokenError};
use crate::clock::{Clock, SystemClock};
use crate::period::Period;
use crate::rules::ConfigError;
use crate::rules::jwt::{Claims, Issuer, Trust};

/// Initial access tokens that are JWTs (RFC 7519) of trusted issuers: the issuer can admit clients, without a list of
/// tokens here.
///
/// A token is valid if an issuer of the list has signed it with a pinned algorithm, `exp` is there and not over, and
/// `aud` is the audience. Its owner is the issuer and, after a space, `sub` (a subject is unique with one issuer only,
/// RFC 7519 section 4.1.2); without `sub`, the issuer.
///
/// Use an audience or a scope that the issuer's other tokens don't have: otherwise every access token lets its holder
/// register clients.
///
/// ```
/// use tower_dcr::layers::JwtTokens;
/// use tower_dcr::rules::Issuer;
/// # let keys = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
///
/// let portal = Issuer::new("https://portal.example.com", keys, ["ES256"])?;
/// let tokens = JwtTokens::new([portal], "https://auth.example.com/register")?
///     .with_scope("register_client")
///     .with_rules_claim("registration_rules")
///     .single_use();
/// # let _ = tokens;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "Written"))]
#[serde(try_from = "Written", into = "Written")]
#[must_use]
pub struct JwtTokens {
    trust: Trust,
    scope: Option<String>,
    rules_claim: Option<String>,
    single_use: bool,
    clock: Arc<dyn Clock>,
}

/// The settings of signed tokens, as in a policy file.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "JwtTokens"))]
#[serde(deny_unknown_fields)]
struct Written {
    /// The trusted issuers.
    issuers: Vec<Issuer>,
    /// A value that has to be in `aud`.
    audience: String,
    /// A word that has to be in `scope`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// The claim that names the rules for the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rules_claim: Option<String>,
    /// Admits one client with each token.
    #[serde(default)]
    single_use: bool,
    /// The maximum age of a token after its `iat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_age: Option<Period>,
}

impl JwtTokens {
    /// Accepts tokens of these issuers for this audience.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::Zero`] if there is no issuer or the audience is empty.
    pub fn new(issuers: impl IntoIterator<Item = Issuer>, audience: impl Into<String>) -> Result<Self, ConfigError> {
        let (issuers, audience): (Vec<Issuer>, String) = (issuers.into_iter().collect(), audience.into());
        if issuers.is_empty() {
            return Err(ConfigError::Zero { what: "the number of issuers of initial access tokens" });
        }
        if audience.is_empty() {
            return Err(ConfigError::Zero { what: "the length of the audience of initial access tokens" });
        }
        Ok(Self {
            trust: Trust { issuers, audiences: vec![audience], max_age: None },
            scope: None,
            rules_claim: None,
            single_use: false,
            clock: Arc::new(SystemClock::new()),
        })
    }

    /// Requires this word in the `scope` claim (RFC 9068 section 2.2.3; default: none).
    pub fn with_scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// Sets the claim that names the rules for the client, if it is there: see [`InitialAccess::with_rules`] (default:
    /// none).
    pub fn with_rules_claim(mut self, claim: impl Into<String>) -> Self {
        self.rules_claim = Some(claim.into());
        self
    }

    /// Admits one client with each token. It then has to have a `jti`, which is counted in the ledger.
    pub fn single_use(mut self) -> Self {
        self.single_use = true;
        self
    }

    /// Sets the maximum age of a token after its `iat`, even if its `exp` is later (default: none).
    pub fn with_max_age(mut self, age: Duration) -> Self {
        self.trust.max_age = Some(age);
        self
    }

    /// Replaces the clock.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    fn access(&self, claims: &Claims) -> Result<InitialAccess, TokenError> {
        let document = &claims.document;
        let scopes = document.string("scope").unwrap_or_default();
        if self.scope.as_ref().is_some_and(|wanted| !scopes.split(' ').any(|scope| scope == wanted)) {
            return Err(TokenError::Insufficient);
        }
        // A space in the name of an issuer would let it speak for subjects of another.
        let issuer = claims.issuer.replace('%', "%25").replace(' ', "%20");
        let owner = document.string("sub").map(|subject| format!("{issuer} {subject}"));
        let mut access = InitialAccess::of(owner.unwrap_or(issuer));
        if let Some(claim) = self.rules_claim.as_deref().filter(|claim| document.contains(claim)) {
            access = access.with_rules(document.string(claim).ok_or(TokenError::Invalid)?);
        }
        if self.single_use {
            let id = claims.token_id().ok_or(TokenError::Invalid)?;
            access = access.single_use().with_token_id(format!("jti:{id}"));
        }
        Ok(access)
    }
}

impl InitialAccessTokens for JwtTokens {
    async fn verify(&self, token: &str) -> Result<InitialAccess, TokenError> {
        match self.trust.verify(token, self.clock.unix_time()) {
            Ok(claims) => self.access(&claims),
            Err(_) => Err(TokenError::Invalid),
        }
    }
}

impl TryFrom<Written> for JwtTokens {
    type Error = ConfigError;

    fn try_from(written: Written) -> Result<Self, ConfigError> {
        let Written { issuers, audience, scope, rules_claim, single_use, max_age } = written;
        let mut tokens = Self { scope, rules_claim, single_use, ..Self::new(issuers, audience)? };
        tokens.trust.max_age = max_age.map(|age| age.0);
        Ok(tokens)
    }
}

impl From<JwtTokens> for Written {
    fn from(tokens: JwtTokens) -> Self {
        let JwtTokens { trust, scope, rules_claim, single_use, .. } = tokens;
        let audience = trust.audiences.into_iter().next().unwrap_or_default();
        Self { issuers: trust.issuers, audience, scope, rules_claim, single_use, max_age: trust.max_age.map(Period) }
    }
}

impl fmt::Debug for JwtTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtTokens").field("trust", &self.trust).finish_non_exhaustive()
    }
}
