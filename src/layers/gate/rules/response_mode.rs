//! The way in which the answer goes back to the client.

use super::{Asked, GateRule, in_presets};
use crate::layers::gate::names::Name;
use crate::layers::gate::records::Responses;
use crate::layers::gate::rejection::Fault;
use crate::rules::RuleDocs;

pub(super) static RULE: GateRule = GateRule {
    docs: RuleDocs {
        id: "gate-response-mode",
        protects: "Codes and tokens from ways to the client that the registered redirect URI does not bind.",
        reference: "OAuth 2.0 Multiple Response Types sections 2.1 and 5; JARM section 2.3.1; RFC 9700 section 4.1",
        attack: "response_mode=web_message posts the code to the page that opened the window; response_mode=query puts a token \
                 into the server logs.",
        loosen: "gate.response_modes, with more of them; gate.rules.response_mode = \"mark\" or \"pass\"",
        opens: "Every mode that the server has.",
        replayable: false,
    },
    action: |rules| rules.response_mode,
    default: in_presets,
    check,
};

/// The modes of the specifications that send the answer to the redirect URI.
pub(in super::super) const MODES: [&str; 3] = ["query", "fragment", "form_post"];
/// JWT Secured Authorization Response Mode, which a client registers with an algorithm that signs or encrypts its
/// responses.
pub(in super::super) const SIGNED: [&str; 4] = ["jwt", "query.jwt", "fragment.jwt", "form_post.jwt"];

fn check(asked: &Asked<'_>) -> Result<(), Fault> {
    let given = &asked.seen.given;
    let shows_token = given.values(Name::ResponseType).any(shows_token);
    for mode in given.values(Name::ResponseMode) {
        let is_signed = || SIGNED.contains(&mode) && asked.registered.responses != Responses::Plain;
        let is_default = || MODES.contains(&mode) || is_signed();
        let is_listed = asked.settings.lists_response_mode(mode).unwrap_or_else(is_default);
        if !is_listed {
            return Err(Fault::Rule("invalid_request", "response_mode is not allowed"));
        }
        // Multiple Response Types section 5: tokens "MUST NOT" be in the query.
        // JARM section 2.3.1: nor with `query.jwt`, "unless the response JWT is encrypted".
        let is_readable =
            || mode == "query" || (mode == "query.jwt" && asked.registered.responses != Responses::Encrypted);
        if shows_token && is_readable() {
            return Err(Fault::Rule("invalid_request", "response_mode puts a token into the query"));
        }
    }
    Ok(())
}

/// Returns `true` if the answer to a request with these response types has a token.
pub(in super::super) fn shows_token(types: &str) -> bool {
    types.split(' ').any(|kind| kind.ends_with("token"))
}
