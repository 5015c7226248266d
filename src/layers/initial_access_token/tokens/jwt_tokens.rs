//! Signed tokens.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use super::{InitialAccess, InitialAccessTokens, TokenError};
use crate::clock::{self, Clock};
use crate::period;
use crate::rules::ConfigError;
use crate::rules::jwt::{self, Claims, Issuer, Trust};
use crate::text;

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
/// let mut tokens = JwtTokens::new([portal], "https://auth.example.com/register")?;
/// tokens.scope = Some("register_client".into());
/// tokens.rules_claim = Some("registration_rules".into());
/// tokens.single_use = true;
/// assert!(JwtTokens::new([], "https://auth.example.com/register").is_err());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct JwtTokens {
    /// The trusted issuers.
    #[serde(deserialize_with = "some_issuers")]
    issuers: Vec<Issuer>,
    /// A value that has to be in `aud`.
    #[serde(deserialize_with = "some_audience")]
    audience: String,
    /// A word that has to be in `scope` (RFC 9068 section 2.2.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The claim that names the rules for the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules_claim: Option<String>,
    /// Admits one client with each token, which then has to have a `jti`: it is counted in the ledger.
    #[serde(default)]
    pub single_use: bool,
    /// The maximum age of a token after its `iat`, even if its `exp` is later.
    #[serde(default, with = "period::if_any", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<period::Period>"))]
    pub max_age: Option<Duration>,
    #[serde(skip, default = "clock::system")]
    clock: Arc<dyn Clock>,
}

text::debug_fields!(JwtTokens { issuers });

impl JwtTokens {
    /// Accepts tokens of these issuers for this audience.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::Zero`] if there is no issuer or the audience is empty.
    pub fn new(issuers: impl IntoIterator<Item = Issuer>, audience: impl Into<String>) -> Result<Self, ConfigError> {
        Ok(Self {
            issuers: jwt::some_issuers(issuers.into_iter().collect(), ISSUERS)?,
            audience: checked(audience.into())?,
            scope: None,
            rules_claim: None,
            single_use: false,
            max_age: None,
            clock: clock::system(),
        })
    }

    /// Replaces the clock.
    #[must_use]
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
            access.rules = Some(document.string(claim).ok_or(TokenError::Invalid)?.to_owned());
        }
        if self.single_use {
            let id = claims.token_id().ok_or(TokenError::Invalid)?;
            (access.max_uses, access.token_id) = (Some(NonZeroU64::MIN), format!("jti:{id}"));
        }
        Ok(access)
    }
}

impl InitialAccessTokens for JwtTokens {
    async fn verify(&self, token: &str) -> Result<InitialAccess, TokenError> {
        let Self { issuers, audience, max_age, .. } = self;
        let trust = Trust { issuers, audiences: std::slice::from_ref(audience), max_age: *max_age };
        match trust.verify(token, self.clock.unix_time()) {
            Ok(claims) => self.access(&claims),
            Err(_) => Err(TokenError::Invalid),
        }
    }
}

const ISSUERS: &str = "the number of issuers of initial access tokens";

fn some_issuers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Issuer>, D::Error> {
    jwt::some_issuers(Vec::deserialize(deserializer)?, ISSUERS).map_err(D::Error::custom)
}

fn some_audience<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(String::deserialize(deserializer)?).map_err(D::Error::custom)
}

fn checked(audience: String) -> Result<String, ConfigError> {
    let what = "the length of the audience of initial access tokens";
    if audience.is_empty() { Err(ConfigError::Zero { what }) } else { Ok(audience) }
}
