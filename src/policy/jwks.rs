//! Keys by value.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::{ConfigError, Policy, Submission, describe_as_json, nonzero, public_link};
use crate::registration::{Field, Value};
use crate::rejection::{ErrorCode, Rejection};

/// Refuses a `jwks` that is no set of public keys (RFC 7591 section 2, RFC 7517 section 5).
///
/// 1. It does not stand beside a `jwks_uri`: the two "MUST NOT both be present in the same request".
/// 2. It is an object with an array `keys` of objects that each say their `kty`; at most 10 keys and 16 KiB
///    ([`with_limits`](Self::with_limits)).
/// 3. No key is symmetric or has a private part (RFC 7518 section 6). It is too late for that key, which has been sent;
///    what is refused is not stored, and not shown to whoever may read registrations.
/// 4. No key has an `x5u` that is not `https` to a public DNS name: a server that reads it is sent there.
///
/// The keys are there only where [`Members`](super::Members) lets OpenID's members through.
///
/// ```
/// # use tower_dcr::{Registration, policy::{Policy, Review, Submission}};
/// # fn judge(rule: &impl Policy, body: &str) -> Result<String, String> {
/// #     let mut registration = Registration::parse(body.as_bytes()).unwrap();
/// #     let mut review = Review::registration();
/// #     rule.review(&mut Submission::new(&mut registration, &mut review)).map_err(|refused| refused.description())?;
/// #     Ok(String::from_utf8(registration.canonical_bytes()).unwrap())
/// # }
/// use tower_dcr::policy::Jwks;
///
/// assert!(judge(&Jwks::new(), r#"{"jwks":{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKx"}]}}"#).is_ok());
/// assert!(judge(&Jwks::new(), r#"{"jwks":{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKx","d":"nWGxne"}]}}"#).is_err());
/// assert!(judge(&Jwks::new(), r#"{"jwks":{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}}"#).is_err());
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct Jwks {
    /// How many keys a set may have.
    max_keys: NonZeroUsize,
    /// How many bytes of JSON.
    max_bytes: NonZeroUsize,
}

/// What only the owner of a key may know: RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1, and `priv` of the algorithm key pairs
/// that post-quantum signatures use.
const PRIVATE: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

impl Jwks {
    /// At most 10 keys and 16 KiB.
    pub fn new() -> Self {
        Self { max_keys: nonzero(10), max_bytes: nonzero(16 * 1024) }
    }

    /// How many keys a set may have, and how many bytes as JSON.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Zero`] if either is zero.
    pub fn with_limits(mut self, keys: usize, bytes: usize) -> Result<Self, ConfigError> {
        let limit = |number| NonZeroUsize::new(number).ok_or(ConfigError::Zero { what: "a limit on keys" });
        (self.max_keys, self.max_bytes) = (limit(keys)?, limit(bytes)?);
        Ok(self)
    }

    fn fault(&self, json: &str) -> Option<&'static str> {
        if json.len() > self.max_bytes.get() {
            return Some("is too long");
        }
        let set: Option<Map<String, Json>> = serde_json::from_str(json).ok();
        let keys = set.as_ref().and_then(|set| set.get("keys")).and_then(Json::as_array);
        let Some(keys) = keys else { return Some("is no JWK Set") };
        if keys.len() > self.max_keys.get() {
            return Some("has too many keys");
        }
        keys.iter().find_map(key_fault)
    }
}

fn key_fault(key: &Json) -> Option<&'static str> {
    let kind = key.get("kty").and_then(Json::as_str);
    let has = |name: &&str| key.get(name).is_some();
    let followed = |value: &Json| value.as_str().is_none_or(|uri| public_link::read(uri).is_none());
    match () {
        () if kind.is_none() => Some("has something in it that is no key"),
        () if kind == Some("oct") => Some("has a symmetric key in it"),
        () if PRIVATE.iter().any(has) => Some("has a private key in it"),
        () if key.get("x5u").is_some_and(followed) => Some("has a key with a URL that leads nowhere public"),
        () => None,
    }
}

impl Default for Jwks {
    fn default() -> Self {
        Self::new()
    }
}

impl Policy for Jwks {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        submission.begin("jwks");
        let document = submission.registration();
        let fault = match document.at(Field::JWKS) {
            None => None,
            Some(_) if document.at(Field::JWKS_URI).is_some() => Some("must not be there beside jwks_uri"),
            Some(Value::Object(json)) => self.fault(json),
            Some(_) => Some("must be an object"),
        };
        match fault {
            Some(detail) => {
                Err(submission.reject(ErrorCode::InvalidClientMetadata, detail).with_field(Field::JWKS.name()))
            }
            None => Ok(()),
        }
    }

    fn describe(&self, out: &mut String) {
        describe_as_json(self, out);
    }
}
