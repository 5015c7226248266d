//! The verifier of a code challenge (RFC 7636).

use super::{Asked, GateRule, in_presets};
use crate::layers::gate::names::Name;
use crate::layers::gate::rejection::Fault;
use crate::rules::RuleDocs;

pub(super) static RULE: GateRule = GateRule {
    docs: RuleDocs {
        id: "gate-code-verifier",
        protects: "Codes from use by another application: a code is redeemed with a code_verifier.",
        reference: "RFC 7636 sections 4.1 and 4.5; RFC 9700 section 4.8.2",
        attack: "A stolen code is redeemed without a verifier, at a server that compares one only if it is there.",
        loosen: "gate.rules.code_verifier = \"mark\" or \"pass\"",
        opens: "Codes that any application can redeem, at servers that do not compare the verifier strictly.",
        replayable: false,
    },
    action: |rules| rules.code_verifier,
    default: in_presets,
    check,
};

fn check(asked: &Asked<'_>) -> Result<(), Fault> {
    if asked.seen.grant_type.as_deref() != Some("authorization_code") {
        return Ok(());
    }
    let given = &asked.seen.given;
    if given.lacks(Name::CodeVerifier, false) || given.has_empty(Name::CodeVerifier) {
        return Err(Fault::Rule("invalid_request", "code_verifier is missing: PKCE is required"));
    }
    // RFC 7636 section 4.1: `code-verifier = 43*128unreserved`.
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let is_well_formed = |it: &str| (43..=128).contains(&it.len()) && it.bytes().all(is_unreserved);
    if given.values(Name::CodeVerifier).all(is_well_formed) {
        Ok(())
    } else {
        Err(Fault::Rule("invalid_grant", "code_verifier is malformed: it has 43 to 128 unreserved characters"))
    }
}
