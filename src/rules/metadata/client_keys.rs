//! The public keys of clients that authenticate with one, sign requests or get encrypted answers.

use serde_json::{Map, Value as Json};

use super::algorithms::{is_mac, is_none, is_symmetric_encryption};
use crate::registration::{Field, Registration, Value};
use crate::rules::{Draft, ErrorCode, Rejection, Rule, RuleDocs, documented};

/// Rejects a client that needs a key of its own and registers none: to authenticate, or for answers that are encrypted to
/// it. A client that signs requests may register its keys later, but not a set without any.
#[derive(Clone, Debug)]
pub(super) struct ClientKeys;

pub(crate) static DOCS: RuleDocs = RuleDocs {
    id: "client-keys",
    protects: "The server from clients that nothing can authenticate, and users from answers that nothing can encrypt.",
    reference: "OpenID Connect Core 1.0 sections 9 (private_key_jwt: \"Clients that have registered a public key\") and 10.2; \
                OpenID Connect Dynamic Client Registration 1.0 section 2, jwks; RFC 7518 sections 3.1 and 4.1; RFC 8705 section 2.2.2",
    attack: "token_endpoint_auth_method: \"private_key_jwt\" without keys, or with jwks: {\"keys\":[]}",
    loosen: "Not possible: a server that gets the keys in another way adds them (metadata.members.supply).",
    opens: "Clients that a server may take for public ones.",
    replayable: true,
};

/// The methods that need a registered key.
pub(super) const WITH_KEY: [&str; 2] = ["private_key_jwt", SELF_SIGNED];

/// Compares the certificate of a connection with the registered ones (RFC 8705 section 2.2).
const SELF_SIGNED: &str = "self_signed_tls_client_auth";

/// Answers that are encrypted to a key of the client. Request objects are encrypted to one of the server's.
const ENCRYPTED_ANSWERS: [Field; 4] = [
    Field::AUTHORIZATION_ENCRYPTED_RESPONSE_ALG,
    Field::ID_TOKEN_ENCRYPTED_RESPONSE_ALG,
    Field::INTROSPECTION_ENCRYPTED_RESPONSE_ALG,
    Field::USERINFO_ENCRYPTED_RESPONSE_ALG,
];

/// Requests that the client signs.
const SIGNED_REQUESTS: [Field; 2] =
    [Field::BACKCHANNEL_AUTHENTICATION_REQUEST_SIGNING_ALG, Field::REQUEST_OBJECT_SIGNING_ALG];

/// Returns `true` for members whose algorithm may have a key of the client.
pub(super) fn are_needed_by(field: Field) -> bool {
    ENCRYPTED_ANSWERS.contains(&field) || SIGNED_REQUESTS.contains(&field)
}

/// The beginning of algorithms, and the `kty` of their keys: RFC 7518 sections 3.3 to 3.5 and 4.2 to 4.6, RFC 8037 section 3
/// (keys of the kind `OKP` sign with `EdDSA`, and agree on a key with `ECDH-ES`), RFC 9864.
const KINDS: [(&str, &[&str]); 5] = [
    ("ECDH-ES", &["EC", "OKP"]),
    ("Ed", &["OKP"]),
    ("ES", &["EC"]),
    ("PS", &["RSA"]),
    // Of key encryption, too: `RSA-OAEP`.
    ("RS", &["RSA"]),
];

/// A member that needs a key.
struct Need {
    field: Field,
    /// The `use` of that key (RFC 7517 section 4.2). `None` for any.
    key_use: Option<&'static str>,
    /// The `kty` of the keys that its algorithm takes. Empty for any.
    kinds: &'static [&'static str],
    /// Set if the keys may be registered later: until then, the server rejects every signature.
    may_follow: bool,
}

impl Need {
    fn missing(&self) -> &'static str {
        match self.key_use {
            Some("enc") => "has no key for encryption",
            _ => "has no key for signatures",
        }
    }
}

impl Rule for ClientKeys {
    documented!(DOCS, with a configuration of its own);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        let document = draft.registration();
        if [Field::JWKS_URI, Field::SIGNED_JWKS_URI].into_iter().any(|field| document.at(field).is_some()) {
            return Ok(());
        }
        let reject = |field: Field, detail: &'static str| {
            Err(draft.reject(ErrorCode::InvalidClientMetadata, detail).with_field(field.name()))
        };
        for need in needs(document) {
            match has_key(document, &need) {
                None if !need.may_follow && document.at(Field::JWKS).is_none() => {
                    return reject(need.field, "needs jwks or jwks_uri");
                }
                Some(false) => return reject(Field::JWKS, need.missing()),
                None | Some(true) => {}
            }
        }
        Ok(())
    }

    fn config(&self) -> Json {
        Json::Null
    }
}

/// Returns the members of a registration that need a key.
fn needs(document: &Registration) -> impl Iterator<Item = Need> {
    let method = document.string_at(Field::TOKEN_ENDPOINT_AUTH_METHOD).filter(|method| WITH_KEY.contains(method));
    let method = method.map(|method| Need {
        field: Field::TOKEN_ENDPOINT_AUTH_METHOD,
        key_use: (method != SELF_SIGNED).then_some("sig"),
        kinds: if method == SELF_SIGNED { &[] } else { kinds(document, Field::TOKEN_ENDPOINT_AUTH_SIGNING_ALG) },
        may_follow: false,
    });
    let is_encrypted = |field: &Field| document.string_at(*field).is_some_and(|it| !is_symmetric_encryption(it));
    let answers = ENCRYPTED_ANSWERS.into_iter().filter(is_encrypted);
    let is_signed = |field: &Field| document.string_at(*field).is_some_and(|it| !is_mac(it) && !is_none(it));
    let requests = SIGNED_REQUESTS.into_iter().filter(is_signed);
    let need = |field: Field, key_use: &'static str, may_follow: bool| Need {
        field,
        key_use: Some(key_use),
        kinds: kinds(document, field),
        may_follow,
    };
    let answers = answers.map(move |field| need(field, "enc", false));
    let requests = requests.map(move |field| need(field, "sig", true));
    method.into_iter().chain(answers).chain(requests)
}

/// Returns the `kty` of the keys for the algorithm in a member. Empty for any: without the member, or for an algorithm that is
/// not known.
fn kinds(document: &Registration, field: Field) -> &'static [&'static str] {
    let Some(algorithm) = document.string_at(field) else { return &[] };
    let begins = |start: &&str| algorithm.get(..start.len()).is_some_and(|it| it.eq_ignore_ascii_case(start));
    KINDS.iter().find(|(start, _)| begins(start)).map_or(&[], |(_, kinds)| kinds)
}

/// Returns `true` if `jwks` has a key for this use and of this kind, `false` if it has none. `None` without `jwks`, and for
/// one that is no set: the rule about keys by value rejects that.
fn has_key(document: &Registration, need: &Need) -> Option<bool> {
    let Some(Value::Object(json)) = document.at(Field::JWKS) else { return None };
    let set: Map<String, Json> = serde_json::from_str(json).ok()?;
    let keys = set.get("keys")?.as_array()?;
    // The rule about keys by value rejects one without a kind.
    let is_kind = |key: &Json| {
        let kind = key.get("kty").and_then(Json::as_str);
        need.kinds.is_empty() || kind.is_none_or(|kind| need.kinds.contains(&kind))
    };
    let is_use = |key: &Json| match (need.key_use, key.get("use")) {
        // RFC 7517 section 4.2: "Use of the "use" member is OPTIONAL, unless the application requires its presence."
        (None, _) | (_, None | Some(Json::Null)) => true,
        (Some(wanted), Some(named)) => named == wanted,
    };
    Some(keys.iter().any(|key| is_use(key) && is_kind(key)))
}
