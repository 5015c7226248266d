//! Proof Key for Code Exchange (RFC 7636): a stolen code is worth nothing without the verifier.

use super::{Asked, GateRule, in_presets};
use crate::layers::gate::names::Name;
use crate::layers::gate::rejection::Fault;
use crate::rules::RuleDocs;

pub(super) static RULE: GateRule = GateRule {
    docs: RuleDocs {
        id: "gate-pkce",
        protects: "Codes from use by another application: a request for a code has a code_challenge of the method S256.",
        reference: "RFC 7636 sections 4.2 and 4.3; RFC 9700 section 2.1.1; MCP, Authorization",
        attack: "An application with the same private-use scheme gets the code, and redeems it: no verifier is needed.",
        loosen: "gate.rules.pkce = \"mark\" or \"pass\"",
        opens: "Requests without a challenge, or with the method plain, which shows the verifier to all who see the request.",
        replayable: false,
    },
    action: |rules| rules.pkce,
    default: in_presets,
    check,
};

const PLAIN: &str = "code_challenge_method is missing, which means plain: S256 is required";
/// The base64url text of a SHA-256 hash.
const LENGTH: usize = 43;

fn check(asked: &Asked<'_>) -> Result<(), Fault> {
    let given = &asked.seen.given;
    let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if given.values(Name::CodeChallenge).any(|it| it.len() != LENGTH || !it.bytes().all(is_base64url)) {
        return Err(Fault::Rule("invalid_request", "code_challenge is not the base64url text of a SHA-256 hash"));
    }
    if given.values(Name::CodeChallengeMethod).any(|method| method != "S256") {
        return Err(Fault::Rule("invalid_request", "code_challenge_method is not S256"));
    }
    if given.has_empty(Name::CodeChallenge) || given.has_empty(Name::CodeChallengeMethod) {
        return Err(Fault::Rule("invalid_request", "a parameter of PKCE is empty"));
    }
    let asks_for_code = |types: &str| types.split(' ').any(|kind| kind == "code");
    let has_flow = given.values(Name::ResponseType).any(asks_for_code) || given.values(Name::ResponseType).count() == 0;
    // A server that takes requests without a response_type can't tell this one from a step of its consent form.
    let may_be_request = !asked.seen.is_request && asked.seen.redirect_uri.is_some();
    let has = |name| given.values(name).next().is_some();
    if may_be_request && !has(Name::CodeChallenge) {
        return Err(Fault::Rule("invalid_request", "code_challenge is missing: PKCE is required"));
    }
    if has(Name::CodeChallenge) && !has(Name::CodeChallengeMethod) {
        return Err(Fault::Rule("invalid_request", PLAIN));
    }
    if !asked.is_complete() || !has_flow {
        return Ok(());
    }
    let reads_object = asked.settings.takes_request_objects();
    if given.lacks(Name::CodeChallenge, reads_object) {
        return Err(Fault::Rule("invalid_request", "code_challenge is missing: PKCE is required"));
    }
    // RFC 7636 section 4.3: code_challenge_method "defaults to plain if not present in the request".
    if given.lacks(Name::CodeChallengeMethod, reads_object) {
        return Err(Fault::Rule("invalid_request", PLAIN));
    }
    Ok(())
}
