//! Parameters that are there twice: one server reads the first, another one the last.

use super::{Asked, GateRule, in_presets};
use crate::layers::gate::grant::TOKEN_EXCHANGE;
use crate::layers::gate::rejection::Fault;
use crate::rules::RuleDocs;

pub(super) static RULE: GateRule = GateRule {
    docs: RuleDocs {
        id: "gate-repeated-parameter",
        protects: "Every other rule about parameters from requests that the server reads in another way.",
        reference: "RFC 6749 section 3.1: \"Request and response parameters MUST NOT be included more than once.\"",
        attack: "code_challenge_method=S256&code_challenge_method=plain, or code.challenge_method=plain at a server in PHP.",
        loosen: "gate.rules.repeated_parameter = \"mark\" or \"pass\"",
        opens: "Requests of which the server reads one half and the rules the other one.",
        replayable: false,
    },
    action: |rules| rules.repeated_parameter,
    default: in_presets,
    check,
};

fn check(asked: &Asked<'_>) -> Result<(), Fault> {
    let given = &asked.seen.given;
    // RFC 8693 section 2.1: "Multiple audience parameters may be used".
    let repeats_audience = given.repeats_audience() && asked.seen.grant_type.as_deref() != Some(TOKEN_EXCHANGE);
    if given.is_repeated() || repeats_audience {
        return Err(Fault::Rule("invalid_request", "a parameter is repeated"));
    }
    if given.is_unusual() {
        return Err(Fault::Rule("invalid_request", "a parameter has an unusual name, or no string as its value"));
    }
    if given.is_in_both {
        return Err(Fault::Rule("invalid_request", "parameters of the request are in its URL"));
    }
    Ok(())
}
