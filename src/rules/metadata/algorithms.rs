//! The algorithms that sign and encrypt for a client.

use serde_json::Value as Json;

use super::auth_method::NONE;
use crate::registration::{Field, Registration, Value};
use crate::rules::{Draft, ErrorCode, Rejection, Rule, RuleDocs, documented};

/// Rejects algorithms that contradict each other, `none` where its specification forbids it, and symmetric ones of clients
/// without a secret.
#[derive(Clone, Debug)]
pub(super) struct Algorithms;

pub(crate) static DOCS: RuleDocs = RuleDocs {
    id: "algorithms",
    protects: "Clients and the server from statements that nothing signs.",
    reference: "OpenID Connect Dynamic Client Registration 1.0 section 2; OpenID Connect Core 1.0 sections 9, 10.1 and 10.2; JARM \
                section 3; CIBA section 7.1.1; RFC 9101 section 10.5; RFC 9701 sections 5 and 6",
    attack: "token_endpoint_auth_signing_alg: \"none\"; id_token_signed_response_alg: \"HS256\" of a client without a secret",
    loosen: "Not possible: leave the member out of the policy (metadata.members.openid = false) instead.",
    opens: "Client authentication, ID tokens and responses that anyone can write.",
    replayable: true,
};

/// Each encryption method and the algorithm that it needs: "When `id_token_encrypted_response_enc` is included,
/// `id_token_encrypted_response_alg` MUST also be provided" (OpenID Connect Dynamic Client Registration section 2, and the
/// same of others in JARM section 3 and RFC 9701 section 6).
const ENCRYPTION: [(Field, Field); 5] = [
    (Field::AUTHORIZATION_ENCRYPTED_RESPONSE_ENC, Field::AUTHORIZATION_ENCRYPTED_RESPONSE_ALG),
    (Field::ID_TOKEN_ENCRYPTED_RESPONSE_ENC, Field::ID_TOKEN_ENCRYPTED_RESPONSE_ALG),
    (Field::INTROSPECTION_ENCRYPTED_RESPONSE_ENC, Field::INTROSPECTION_ENCRYPTED_RESPONSE_ALG),
    (Field::REQUEST_OBJECT_ENCRYPTION_ENC, Field::REQUEST_OBJECT_ENCRYPTION_ALG),
    (Field::USERINFO_ENCRYPTED_RESPONSE_ENC, Field::USERINFO_ENCRYPTED_RESPONSE_ALG),
];

/// Returns `true` if a registration may have `none`.
type MayBeNone = fn(&Registration) -> bool;

/// The algorithms of signatures, each with the registrations that may have `none`.
const SIGNATURES: [(Field, MayBeNone); 7] = [
    // JARM section 3: "The algorithm none is not allowed."
    (Field::AUTHORIZATION_SIGNED_RESPONSE_ALG, |_| false),
    (Field::BACKCHANNEL_AUTHENTICATION_REQUEST_SIGNING_ALG, |_| false),
    // OpenID Connect Dynamic Client Registration section 2: not "unless the Client uses only Response Types that return no
    // ID Token from the Authorization Endpoint".
    (Field::ID_TOKEN_SIGNED_RESPONSE_ALG, |document| !gets_id_token(document)),
    // RFC 9701 section 5: the response is signed, or signed and encrypted.
    (Field::INTROSPECTION_SIGNED_RESPONSE_ALG, |_| false),
    // The same: "The value none MAY be used." RFC 9101 section 10.5 takes it from clients that must sign.
    (Field::REQUEST_OBJECT_SIGNING_ALG, |document| !must_sign(document)),
    // The same: "The value none MUST NOT be used."
    (Field::TOKEN_ENDPOINT_AUTH_SIGNING_ALG, |_| false),
    // OpenID Connect Discovery section 3: "The value none MAY be included."
    (Field::USERINFO_SIGNED_RESPONSE_ALG, |_| true),
];

impl Rule for Algorithms {
    documented!(DOCS, with a configuration of its own);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        let document = draft.registration();
        let fault = encryption_fault(document).or_else(|| signature_fault(document));
        match fault.or_else(|| key_fault(document)).or_else(|| secret_fault(document)) {
            Some((field, detail)) => {
                Err(draft.reject(ErrorCode::InvalidClientMetadata, detail).with_field(field.name()))
            }
            None => Ok(()),
        }
    }

    fn config(&self) -> Json {
        Json::Null
    }
}

type Fault = (Field, &'static str);

fn encryption_fault(document: &Registration) -> Option<Fault> {
    ENCRYPTION.into_iter().find_map(|(method, algorithm)| {
        let is_none = |field: &Field| document.string_at(*field).is_some_and(is_none);
        match [method, algorithm].into_iter().find(is_none) {
            Some(field) => Some((field, "must not be none")),
            None if document.at(method).is_some() && document.at(algorithm).is_none() => {
                Some((method, "is there without its algorithm"))
            }
            None => None,
        }
    })
}

fn signature_fault(document: &Registration) -> Option<Fault> {
    let is_at_fault = |(field, may_be_none): &(Field, MayBeNone)| {
        document.string_at(*field).is_some_and(|algorithm| {
            // Names of algorithms have one spelling, and some libraries have taken others for `none`.
            is_none(algorithm) && !(algorithm == "none" && may_be_none(document))
        })
    };
    SIGNATURES.into_iter().find(is_at_fault).map(|(field, _)| (field, "must not be none"))
}

/// Returns the signature whose kind of key the client does not have.
fn key_fault(document: &Registration) -> Option<Fault> {
    let field = Field::BACKCHANNEL_AUTHENTICATION_REQUEST_SIGNING_ALG;
    if document.string_at(field).is_some_and(is_mac) {
        // CIBA section 7.1.1: signed requests are "secured with an asymmetric signature".
        return Some((field, "must be an asymmetric algorithm"));
    }
    let field = Field::TOKEN_ENDPOINT_AUTH_SIGNING_ALG;
    let is_symmetric = is_mac(document.string_at(field)?);
    // OpenID Connect Core section 9: one is signed with a private key, the other is an HMAC with the secret. A server that
    // takes a public key for a secret would accept what anyone can sign.
    let fits = match document.string_at(Field::TOKEN_ENDPOINT_AUTH_METHOD) {
        Some("private_key_jwt") => !is_symmetric,
        Some("client_secret_jwt") => is_symmetric,
        _ => true,
    };
    (!fits).then_some((field, "does not fit the authentication method"))
}

/// Returns the algorithm whose key is the secret, of a client that has none. OpenID Connect Core sections 10.1 and 10.2:
/// symmetric signatures and symmetric encryption "MUST NOT be used by public (non-confidential) Clients because of their
/// inability to keep secrets". A server that takes an empty secret for the key accepts what anyone can write.
fn secret_fault(document: &Registration) -> Option<Fault> {
    if document.string_at(Field::TOKEN_ENDPOINT_AUTH_METHOD) != Some(NONE) || may_have_secret(document) {
        return None;
    }
    let has = |field: Field, is_it: fn(&str) -> bool| document.string_at(field).is_some_and(is_it).then_some(field);
    let signature = SIGNATURES.into_iter().find_map(|(field, _)| has(field, is_mac));
    let encryption = || ENCRYPTION.into_iter().find_map(|(_, field)| has(field, is_symmetric_encryption));
    Some((signature.or_else(encryption)?, "needs a secret, which a public client does not have"))
}

/// Returns `true` for a client whose method `none` does not make it a public one. OpenID Connect Core section 9: it "does not
/// authenticate itself at the Token Endpoint, either because it uses only the Implicit Flow (and so does not use the Token
/// Endpoint) or because it is a Public Client". An installed application keeps no secret in either case (RFC 8252 section
/// 8.5).
fn may_have_secret(document: &Registration) -> bool {
    let mut grants = document.strings_at(Field::GRANT_TYPES).into_iter().flatten().peekable();
    let is_implicit_only = grants.peek().is_some() && grants.all(|grant| grant == "implicit");
    is_implicit_only && document.string_at(Field::APPLICATION_TYPE) != Some("native")
}

pub(crate) fn is_none(algorithm: &str) -> bool {
    algorithm.eq_ignore_ascii_case("none")
}

/// Returns `true` for the algorithms whose signature is a MAC (RFC 7518 section 3.1), in any spelling that a library may
/// take for one.
pub(crate) fn is_mac(algorithm: &str) -> bool {
    algorithm.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("HS"))
}

/// Returns `true` for the key management algorithms whose key is a shared one (RFC 7518 section 4.1): `dir`, the key wraps
/// and those with a password. A wrap behind a `+` is that of a key which a public one agreed on (`ECDH-ES+A128KW`).
pub(super) fn is_symmetric_encryption(algorithm: &str) -> bool {
    let algorithm = algorithm.to_ascii_uppercase();
    algorithm == "DIR" || algorithm.starts_with("PBES2") || (algorithm.ends_with("KW") && !algorithm.contains('+'))
}

fn gets_id_token(document: &Registration) -> bool {
    let mut responses = document.strings_at(Field::RESPONSE_TYPES).into_iter().flatten();
    responses.any(|response| response.split(' ').any(|part| part == "id_token"))
}

fn must_sign(document: &Registration) -> bool {
    matches!(document.at(Field::REQUIRE_SIGNED_REQUEST_OBJECT), Some(Value::Bool(true)))
}
