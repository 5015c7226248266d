//! Signed tokens (RFC 7519) of issuers that the operator trusts: software statements and initial access tokens.
//!
//! Signatures are checked by `jsonwebtoken` over `aws-lc-rs`. Signed content is parsed by the strict reader for
//! registrations, so that a duplicate member is rejected here, too.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::{self, aws_lc};
use jsonwebtoken::jwk::{Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde::{Deserialize, Serialize};

use crate::registration::{Digest, Limits, Registration, Value};
use crate::rules::ConfigError;

/// A party that signs tokens: its name, its public keys, and its algorithms.
///
/// The operator provides the keys. Nothing is fetched, and keys and URLs in a token's header are ignored.
///
/// ```
/// use tower_dcr::rules::Issuer;
///
/// let keys = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"1","alg":"ES256",
///     "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
/// assert!(Issuer::new("https://directory.example.com", keys, ["ES256"]).is_ok());
/// assert!(Issuer::new("https://directory.example.com", keys, ["none"]).is_err());
/// assert!(Issuer::new("https://directory.example.com", keys, ["HS256"]).is_err());
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "Written"))]
#[serde(try_from = "Written", into = "Written")]
pub struct Issuer {
    name: String,
    keys: Vec<Key>,
    algorithms: Vec<Algorithm>,
    /// The JWK Set as it was given.
    jwks: Arc<serde_json::Value>,
}

/// An issuer as it is written in a file.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Issuer"))]
#[serde(deny_unknown_fields)]
struct Written {
    /// The `iss` claim of its tokens.
    name: String,
    /// Its public keys: a JWK Set (RFC 7517 section 5).
    jwks: serde_json::Value,
    /// The algorithms that it uses (RFC 7518 section 3.1).
    algorithms: Vec<String>,
}

#[derive(Clone)]
struct Key {
    id: Option<String>,
    algorithm: Option<KeyAlgorithm>,
    public: DecodingKey,
}

impl Issuer {
    /// Creates the issuer `name` (the `iss` claim), with its JWK Set (RFC 7517 section 5) and the names of its
    /// algorithms (RFC 7518 section 3.1).
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::Issuer`] for `none`, for a symmetric or unknown algorithm, for an invalid JWK Set, and if no key
    /// in it is for one of the algorithms.
    pub fn new<'a>(
        name: impl Into<String>,
        jwk_set: &str,
        algorithms: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, ConfigError> {
        let issuer = name.into();
        let error = |reason: String| ConfigError::Issuer { issuer: issuer.clone(), reason };
        let mut accepted = Vec::new();
        for name in algorithms {
            match Algorithm::from_str(name) {
                // RFC 8725 section 3.1: attackers forge signatures by having a public key used as the secret of an
                // HMAC.
                Ok(algorithm) if algorithm.family() != AlgorithmFamily::Hmac => accepted.push(algorithm),
                _ => return Err(error(format!("{name:?} is not an asymmetric signature algorithm"))),
            }
        }
        let set: JwkSet = serde_json::from_str(jwk_set).map_err(|_| error("its keys are no JWK Set".into()))?;
        let keys: Vec<Key> = set.keys.iter().filter_map(Key::of).collect();
        if !keys.iter().any(|key| accepted.iter().any(|algorithm| key.is_for(*algorithm))) {
            return Err(error("no public key for its algorithms".into()));
        }
        // If other code in this process has chosen another provider, that choice is kept.
        let _chosen = aws_lc::DEFAULT_PROVIDER.install_default();
        let jwks = serde_json::from_str(jwk_set).map_err(|_| error("its keys are no JWK Set".into()))?;
        Ok(Self { name: issuer, keys, algorithms: accepted, jwks: Arc::new(jwks) })
    }

    fn has_signed(&self, header: &Header, message: &str, signature: &str) -> bool {
        let algorithm = header.algorithm;
        let is_meant = |key: &&Key| key.is_for(algorithm) && (header.key_id.is_none() || key.id == header.key_id);
        let verifies = |key: &Key| crypto::verify(signature, message.as_bytes(), &key.public, algorithm) == Ok(true);
        self.algorithms.contains(&algorithm) && self.keys.iter().filter(is_meant).any(verifies)
    }
}

impl Key {
    /// Returns a public key for verifying signatures. `None` if `jwk` is another kind of key.
    fn of(jwk: &Jwk) -> Option<Self> {
        let to_sign = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
        let public = DecodingKey::from_jwk(jwk).ok().filter(|key| to_sign && key.family() != AlgorithmFamily::Hmac)?;
        Some(Self { id: jwk.common.key_id.clone(), algorithm: jwk.common.key_algorithm, public })
    }

    fn is_for(&self, algorithm: Algorithm) -> bool {
        let named = self.algorithm.map(|named| named.to_string());
        self.public.family() == algorithm.family() && named.is_none_or(|named| named == format!("{algorithm:?}"))
    }
}

impl TryFrom<Written> for Issuer {
    type Error = ConfigError;

    fn try_from(written: Written) -> Result<Self, ConfigError> {
        let Written { name, jwks, algorithms } = written;
        Self::new(name, &jwks.to_string(), algorithms.iter().map(String::as_str))
    }
}

impl From<Issuer> for Written {
    fn from(issuer: Issuer) -> Self {
        let algorithms = issuer.algorithms.iter().map(|algorithm| format!("{algorithm:?}")).collect();
        Self { name: issuer.name, jwks: Arc::unwrap_or_clone(issuer.jwks), algorithms }
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&Option<String>> = self.keys.iter().map(|key| &key.id).collect();
        f.debug_struct("Issuer")
            .field("name", &self.name)
            .field("keys", &keys)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

/// The trusted issuers, and the limits on their tokens.
pub(crate) struct Trust<'a> {
    pub(crate) issuers: &'a [Issuer],
    /// The `aud` claim has to contain one of them. If there are none, it is not checked.
    pub(crate) audiences: &'a [String],
    /// The maximum age of a token, counted from its `iat`.
    pub(crate) max_age: Option<Duration>,
}

/// The verified claims of a token.
#[derive(Debug)]
pub(crate) struct Claims {
    pub(crate) issuer: String,
    pub(crate) document: Registration,
}

impl Claims {
    /// Returns a digest that identifies the token. It has a fixed length and includes the issuer, so that no issuer can
    /// produce another's. `None` if there is no `jti`.
    pub(crate) fn token_id(&self) -> Option<Digest> {
        self.document.string("jti").map(|id| Digest::of(format!("{}\n{id}", self.issuer).as_bytes()))
    }

    /// Returns the expiry of the token, plus the tolerated clock difference.
    #[cfg(feature = "software-statement")]
    pub(crate) fn end(&self) -> Duration {
        let end = seconds(&self.document, "exp").flatten().unwrap_or_default() + LEEWAY;
        Duration::try_from_secs_f64(end).unwrap_or(Duration::MAX)
    }
}

/// The reason for which a token is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Malformed,
    UnknownIssuer,
    Signature,
    /// The token has expired, or has no `exp` or no required `iat`.
    Expired,
    NotYet,
    Audience,
}

/// The tolerated clock difference in seconds.
const LEEWAY: f64 = 60.0;
/// The limits for reading the issuer of an unverified token.
const LIMITS: Limits = Limits::ANSWER;

struct Header {
    algorithm: Algorithm,
    key_id: Option<String>,
}

impl Header {
    fn read(encoded: &str) -> Option<Self> {
        let header = decode(encoded)?;
        // RFC 7515 section 4.1.11: a critical parameter that is not understood makes the token invalid. None is
        // understood.
        if header.contains("crit") || header.contains("enc") || header.contains("zip") {
            return None;
        }
        let algorithm = Algorithm::from_str(header.string("alg")?).ok()?;
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.to_owned()),
            Some(_) => return None,
        };
        Some(Self { algorithm, key_id })
    }
}

fn decode(encoded: &str) -> Option<Registration> {
    Registration::parse_with(&BASE64_URL_SAFE_NO_PAD.decode(encoded).ok()?, &LIMITS).ok()
}

/// Returns the issuers, if there are any.
pub(crate) fn some_issuers(issuers: Vec<Issuer>, what: &'static str) -> Result<Vec<Issuer>, ConfigError> {
    if issuers.is_empty() { Err(ConfigError::Zero { what }) } else { Ok(issuers) }
}

impl Trust<'_> {
    /// Verifies `token` (JWS compact serialisation, RFC 7515 section 7.1); `now` is the time since 1970.
    pub(crate) fn verify(&self, token: &str, now: Duration) -> Result<Claims, Fault> {
        let (message, signature) = token.rsplit_once('.').ok_or(Fault::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(Fault::Malformed)?;
        let header = Header::read(header).ok_or(Fault::Malformed)?;
        let document = decode(payload).ok_or(Fault::Malformed)?;
        let issuer = document.string("iss").ok_or(Fault::UnknownIssuer)?;
        let issuer = self.issuers.iter().find(|known| known.name == issuer).ok_or(Fault::UnknownIssuer)?;
        if !issuer.has_signed(&header, message, signature) {
            return Err(Fault::Signature);
        }
        self.check_time(&document, now.as_secs_f64())?;
        if !self.audiences.is_empty()
            && !audience(&document).iter().any(|aud| self.audiences.iter().any(|own| own == aud))
        {
            return Err(Fault::Audience);
        }
        Ok(Claims { issuer: issuer.name.clone(), document })
    }

    fn check_time(&self, document: &Registration, now: f64) -> Result<(), Fault> {
        let expires = seconds(document, "exp").ok_or(Fault::Expired)?.ok_or(Fault::Expired)?;
        if now >= expires + LEEWAY {
            return Err(Fault::Expired);
        }
        let issued = seconds(document, "iat").ok_or(Fault::Malformed)?;
        let not_before = seconds(document, "nbf").ok_or(Fault::Malformed)?;
        if [issued, not_before].into_iter().flatten().any(|time| now + LEEWAY < time) {
            return Err(Fault::NotYet);
        }
        match (self.max_age, issued) {
            (Some(_), None) => Err(Fault::Expired),
            (Some(age), Some(issued)) if now >= issued + age.as_secs_f64() + LEEWAY => Err(Fault::Expired),
            _ => Ok(()),
        }
    }
}

/// Returns a `NumericDate` (RFC 7519 section 2). `None` if the claim has another type.
#[expect(clippy::option_option, reason = "there, not there, or something else")]
fn seconds(document: &Registration, claim: &str) -> Option<Option<f64>> {
    match document.get(claim) {
        None => Some(None),
        Some(Value::Number(text)) => text.parse().ok().filter(|seconds: &f64| seconds.is_finite()).map(Some),
        Some(_) => None,
    }
}

/// Returns the audience: one or several (RFC 7519 section 4.1.3).
fn audience(document: &Registration) -> Vec<&str> {
    match document.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Strings(many)) => many.collect(),
        _ => Vec::new(),
    }
}
