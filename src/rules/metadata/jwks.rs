//! Keys by value.

use std::borrow::Cow;
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::bounds;
use crate::registration::{Field, Value};
use crate::rules::metadata::public_link;
use crate::rules::{ConfigError, Draft, Rule, RuleDocs, documented, nonzero};
use crate::rules::{ErrorCode, Rejection};

/// Rejects a `jwks` that is not a set of public keys (RFC 7591 section 2, RFC 7517 section 5).
///
/// 1. There is no `jwks_uri` with it: the two "MUST NOT both be present in the same request".
/// 2. It is an object with an array `keys` of objects, each with its `kty`; at most 10 keys and 16 KiB
///    ([`with_limits`](Self::with_limits)).
/// 3. No key is symmetric or has a private part (RFC 7518 section 6). A key that was sent is already exposed, but a
///    rejected one is not stored, and not displayed to readers of registrations.
/// 4. No key has an `x5u` that is not `https` to a public DNS name: a server that reads it would send a request there.
///
/// The keys are present only if [`Members`](crate::rules::Members) accepts OpenID's members, or if an authentication method
/// that needs them is offered.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::rules::{Context, Decision, Jwks, Policy};
///
/// let policy = Policy::new(Jwks::default());
/// let public = br#"{"jwks":{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKx"}]}}"#;
/// let evaluation = policy.evaluate(Registration::parse(public)?, &Context::registration());
/// assert_eq!(evaluation.decision(), Decision::Accept);
/// let private = br#"{"jwks":{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKx","d":"nWGxne"}]}}"#;
/// let evaluation = policy.evaluate(Registration::parse(private)?, &Context::registration());
/// assert_eq!(evaluation.decision(), Decision::Reject);
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct Jwks {
    /// Maximum number of keys in a set; 100 at most.
    #[serde(deserialize_with = "bounds::number::<_, _, 1, 100>")]
    max_keys: NonZeroUsize,
    /// Maximum number of bytes as JSON; 1 MiB at most.
    #[serde(deserialize_with = "bounds::number::<_, _, 1, 1_048_576>")]
    max_bytes: NonZeroUsize,
}

/// The private parameters of a key: RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1, and `priv` of the algorithm key pairs
/// that post-quantum signatures use.
const PRIVATE: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

pub(crate) static DOCS: RuleDocs = RuleDocs {
    id: "jwks",
    protects: "Private and symmetric keys from being stored, and the server from URLs in keys.",
    reference: "RFC 7591 section 2; RFC 7517 sections 4.6 and 5; RFC 7518 section 6",
    attack: "jwks: {\"keys\":[{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}]}",
    loosen: "metadata.jwks.max_keys = 20; metadata.jwks.max_bytes = 32768",
    opens: "Larger sets. Private keys stay rejected.",
    replayable: true,
};

impl Jwks {
    /// Sets the maximum number of keys in a set (default: 10), and of bytes as JSON (default: 16 KiB).
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::OutOfRange`] if either is zero, for more than 100 keys, and for more than 1 MiB.
    pub fn with_limits(mut self, keys: usize, bytes: usize) -> Result<Self, ConfigError> {
        self.max_keys = nonzero(ConfigError::check("the number of keys", keys, &1, &100)?);
        self.max_bytes = nonzero(ConfigError::check("the length of keys", bytes, &1, &(1 << 20))?);
        Ok(self)
    }

    fn fault(&self, json: &str) -> Option<Cow<'static, str>> {
        if json.len() > self.max_bytes.get() {
            return Some(format!("has {} bytes, and at most {} are allowed", json.len(), self.max_bytes).into());
        }
        let set: Option<Map<String, Json>> = serde_json::from_str(json).ok();
        let keys = set.as_ref().and_then(|set| set.get("keys")).and_then(Json::as_array);
        let Some(keys) = keys else { return Some("is no JWK Set".into()) };
        if keys.len() > self.max_keys.get() {
            return Some(format!("has {} keys, and at most {} are allowed", keys.len(), self.max_keys).into());
        }
        keys.iter().find_map(key_fault).map(Cow::Borrowed)
    }
}

fn key_fault(key: &Json) -> Option<&'static str> {
    let kind = key.get("kty").and_then(Json::as_str);
    let has = |name: &&str| key.get(name).is_some();
    let followed = |value: &Json| value.as_str().is_none_or(|uri| public_link::read(uri).is_none());
    match () {
        () if kind.is_none() => Some("has an entry that is not a key"),
        () if kind == Some("oct") => Some("has a symmetric key in it"),
        () if PRIVATE.iter().any(has) => Some("has a private key in it"),
        () if key.get("x5u").is_some_and(followed) => Some("has a key with a URL that leads nowhere public"),
        () => None,
    }
}

/// Returns `true` if a set has a key that must not be public: a symmetric or a private one.
pub(super) fn has_secrets(json: &str) -> bool {
    let set: Json = serde_json::from_str(json).unwrap_or_default();
    let keys = set.get("keys").and_then(Json::as_array).into_iter().flatten();
    // A key in the place of a set is read by some servers.
    keys.chain([&set]).any(|key| {
        let is_symmetric = key.get("kty").and_then(Json::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("oct"));
        is_symmetric || PRIVATE.iter().any(|name| key.get(name).is_some())
    })
}

/// Returns `true` if one `kid` names two keys of one type and use: RFC 7517 section 4.5 has distinct ones, and which of the two
/// verifies a signature depends on the reader.
pub(super) fn has_two_of_one_name(json: &str) -> bool {
    let set: Json = serde_json::from_str(json).unwrap_or_default();
    let keys = set.get("keys").and_then(Json::as_array).into_iter().flatten();
    let mut seen = Vec::new();
    keys.filter(|key| key.get("kid").is_some()).any(|key| {
        let name = ["kid", "kty", "use"].map(|member| key.get(member).cloned());
        let is_seen = seen.contains(&name);
        seen.push(name);
        is_seen
    })
}

impl Default for Jwks {
    fn default() -> Self {
        Self { max_keys: nonzero(10), max_bytes: nonzero(16 * 1024) }
    }
}

impl Rule for Jwks {
    documented!(DOCS);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        let document = draft.registration();
        let fault = match document.at(Field::JWKS) {
            None => None,
            Some(_) if document.at(Field::JWKS_URI).is_some() => Some("must not be there beside jwks_uri".into()),
            Some(Value::Object(json)) => self.fault(json),
            Some(_) => Some("must be an object".into()),
        };
        match fault {
            Some(detail) => Err(draft.reject(ErrorCode::InvalidClientMetadata, detail).with_field(Field::JWKS.name())),
            None => Ok(()),
        }
    }
}
