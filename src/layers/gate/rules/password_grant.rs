//! The password grant, which OAuth 2.1 does not have.

use super::{Asked, GateRule, in_presets};
use crate::layers::gate::rejection::Fault;
use crate::rules::RuleDocs;

pub(super) static RULE: GateRule = GateRule {
    docs: RuleDocs {
        id: "gate-password-grant",
        protects: "Passwords of people from applications that anyone can register.",
        reference: "RFC 9700 section 2.4: \"The resource owner password credentials grant [RFC6749] MUST NOT be used.\"",
        attack: "An application asks for the password, or guesses passwords at the token endpoint.",
        loosen: "gate.rules.password_grant = \"mark\" or \"pass\"",
        opens: "Phishing by every registered application.",
        replayable: false,
    },
    action: |rules| rules.password_grant,
    default: in_presets,
    check,
};

fn check(asked: &Asked<'_>) -> Result<(), Fault> {
    if asked.seen.grant_type.as_deref() == Some("password") {
        return Err(Fault::Rule("unsupported_grant_type", "the password grant is not allowed"));
    }
    Ok(())
}
