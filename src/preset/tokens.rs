//! Initial access tokens in a policy file.

use std::num::NonZeroU64;
use std::time::SystemTime;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use crate::layers::initial_access_token::InitialAccessTokenLayer;
#[cfg(feature = "jwt")]
use crate::layers::initial_access_token::tokens::JwtTokens;
use crate::layers::initial_access_token::tokens::{InitialAccess, StaticTokens};
use crate::registration::Digest;
use crate::rules::ConfigError;

/// Initial access tokens. Listed tokens are stored as digests: the file holds no secret.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "Unchecked", into = "Unchecked")]
pub(crate) struct Tokens(Unchecked);

/// The settings as they are read.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
struct Unchecked {
    /// Requires a token for every registration.
    required: bool,
    /// The origins of pages whose requests pass (default: any).
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_origins: Option<Vec<String>>,
    /// Tokens by their SHA-256.
    tokens: Vec<Token>,
    /// Tokens that an issuer signs.
    #[cfg(feature = "jwt")]
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt: Option<JwtTokens>,
}

/// A token.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Token {
    /// Its SHA-256, in 64 hexadecimal digits: `printf %s TOKEN | sha256sum`.
    #[serde(deserialize_with = "sha256")]
    sha256: String,
    /// The owner of the token.
    owner: String,
    /// The rules for clients that it admits, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rules: Option<String>,
    /// The number of clients that it admits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_uses: Option<NonZeroU64>,
    /// The time at which it expires: `2027-01-31T00:00:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Instant>,
}

/// A point in time, in UTC as in RFC 3339.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
struct Instant(SystemTime);

impl Tokens {
    pub(crate) fn layer(&self) -> Result<InitialAccessTokenLayer, ConfigError> {
        let Unchecked { required, allowed_origins, tokens, .. } = &self.0;
        let listed =
            tokens.iter().try_fold(StaticTokens::new(), |all, token| all.add_sha256(&token.sha256, token.access()))?;
        #[cfg(feature = "jwt")]
        let layer = match &self.0.jwt {
            Some(signed) => InitialAccessTokenLayer::new((listed, signed.clone())),
            None => InitialAccessTokenLayer::new(listed),
        };
        #[cfg(not(feature = "jwt"))]
        let layer = InitialAccessTokenLayer::new(listed);
        let layer = if *required { layer } else { layer.optional() };
        match allowed_origins {
            Some(origins) => layer.with_allowed_origins(origins.iter().cloned()),
            None => Ok(layer),
        }
    }
}

impl Token {
    fn access(&self) -> InitialAccess {
        let mut access = InitialAccess::of(self.owner.as_str());
        access.rules.clone_from(&self.rules);
        access.max_uses = self.max_uses;
        access.expires_at = self.expires_at.map(|Instant(end)| end);
        access
    }
}

fn sha256<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let digest = String::deserialize(deserializer)?;
    match Digest::parse(&digest) {
        Some(_) => Ok(digest),
        None => Err(D::Error::custom(format_args!("{digest:?} is no SHA-256 in 64 hexadecimal digits"))),
    }
}

impl Default for Unchecked {
    fn default() -> Self {
        Self {
            required: true,
            allowed_origins: None,
            tokens: Vec::new(),
            #[cfg(feature = "jwt")]
            jwt: None,
        }
    }
}

impl TryFrom<Unchecked> for Tokens {
    type Error = ConfigError;

    fn try_from(read: Unchecked) -> Result<Self, ConfigError> {
        let tokens = Self(read);
        tokens.layer().map(|_| tokens)
    }
}

impl From<Tokens> for Unchecked {
    fn from(tokens: Tokens) -> Self {
        tokens.0
    }
}

impl TryFrom<String> for Instant {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let read = humantime::parse_rfc3339(&text).map(Self);
        read.map_err(|_| format!("{text:?} is not a time like \"2027-01-31T00:00:00Z\""))
    }
}

impl From<Instant> for String {
    fn from(at: Instant) -> Self {
        humantime::format_rfc3339_seconds(at.0).to_string()
    }
}
