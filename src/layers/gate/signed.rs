//! Reads the client that a JWT names: client assertions (RFC 7523), request objects (RFC 9101) and client attestations.
//! The signature is not checked; the server does that.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::names;
use crate::registration::{Limits, Registration, Value};
use crate::rules::metadata::algorithms;

/// Reads the claims of a JWS in compact serialisation (RFC 7515 section 7.1). `None` for everything that another reader
/// could read differently: white space, padding or trailing bits in the base64url, members that are there twice,
/// encryption, unencoded payloads (RFC 7797) and critical extensions.
pub(super) fn claims(token: &str, limits: &Limits) -> Option<Registration> {
    let mut parts = token.split('.');
    let (header, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
    let object = |part| Registration::parse_with(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?, limits).ok();
    let header = object(header)?;
    header.string("alg")?;
    if header.iter().any(|(name, _)| ["crit", "b64", "enc", "zip"].iter().any(|it| name.eq_ignore_ascii_case(it))) {
        return None;
    }
    object(payload)
}

/// Returns `true` if some server may find a request object in the text: compact serialisation has two dots or four, the JSON one
/// a brace, and a second decoder may find either behind an escape.
pub(super) fn may_be_object(text: &str) -> bool {
    text.contains(['{', '%'])
        || text.chars().filter(|c| matches!(c, '.' | '\u{3002}' | '\u{ff0e}' | '\u{ff61}')).count() >= 2
}

/// Returns `true` if a JWS has a MAC, not a signature (RFC 7518 section 3.1). `false` if it can't be read.
pub(super) fn is_symmetric(token: &str, limits: &Limits) -> bool {
    has_algorithm(token, limits, algorithms::is_mac)
}

/// Returns `true` if a JWS has a signature with a private key: neither a MAC nor `none`.
pub(super) fn is_asymmetric(token: &str, limits: &Limits) -> bool {
    has_algorithm(token, limits, |alg| !algorithms::is_mac(alg) && !algorithms::is_none(alg))
}

fn has_algorithm(token: &str, limits: &Limits, is_it: impl Fn(&str) -> bool) -> bool {
    let header = token.split('.').next().and_then(|header| BASE64_URL_SAFE_NO_PAD.decode(header).ok());
    let header = header.and_then(|header| Registration::parse_with(&header, limits).ok());
    header.is_some_and(|header| header.string("alg").is_some_and(is_it))
}

/// Returns the claim `name`: outer `None` if its spelling has two readings (Go's JSON ignores case).
#[expect(clippy::option_option, reason = "there, not there, or unclear")]
pub(super) fn claim<'a>(claims: &'a Registration, name: &str) -> Option<Option<&'a str>> {
    if claims.iter().any(|(other, _)| names::is_spelling_of(other, name)) {
        return None;
    }
    match claims.get(name) {
        None | Some(Value::Null) => Some(None),
        Some(Value::String(text)) => Some(Some(text)),
        Some(_) => None,
    }
}

/// Returns the subject of a client assertion, which is the client (RFC 7523 section 3). `None` if the issuer differs.
pub(super) fn subject(token: &str, limits: &Limits) -> Option<String> {
    let claims = claims(token, limits)?;
    let (subject, issuer) = (claim(&claims, "sub")??, claim(&claims, "iss")?);
    issuer.is_none_or(|issuer| issuer == subject).then(|| subject.to_owned())
}

/// Returns the subject of a client attestation, whose issuer is the client's backend
/// (draft-ietf-oauth-attestation-based-client-auth).
pub(super) fn attested(token: &str, limits: &Limits) -> Option<String> {
    claim(&claims(token, limits)?, "sub")?.map(str::to_owned)
}
