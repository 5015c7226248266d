//! The response type of an authorization request, compared with the registered ones.

use super::{Asked, GateRule, in_presets};
use crate::layers::gate::names::Name;
use crate::layers::gate::records::Registered;
use crate::layers::gate::rejection::Fault;
use crate::rules::RuleDocs;

pub(super) static RULE: GateRule = GateRule {
    docs: RuleDocs {
        id: "gate-response-type",
        protects: "Tokens from the browser's history and from pages: a client gets the response type that it registered.",
        reference: "RFC 7591 section 2, response_types; RFC 9700 section 2.1.2",
        attack: "response_type=token for a client that registered code: the token is in the fragment of the redirect.",
        loosen: "gate.rules.response_type = \"mark\" or \"pass\"",
        opens: "The implicit and hybrid flows, at servers that have them, to every client.",
        replayable: false,
    },
    action: |rules| rules.response_type,
    default: in_presets,
    check,
};

fn check(asked: &Asked<'_>) -> Result<(), Fault> {
    let given = &asked.seen.given;
    if asked.is_complete() && given.lacks(Name::ResponseType, asked.settings.takes_request_objects()) {
        return Err(Fault::Rule("invalid_request", "response_type is missing"));
    }
    if given.values(Name::ResponseType).all(|types| is_registered(asked.registered, types)) {
        return Ok(());
    }
    Err(Fault::Rule("unauthorized_client", "the client did not register this response type"))
}

fn is_registered(registered: &Registered, types: &str) -> bool {
    if let Some(known) = &registered.response_types {
        // RFC 6749 section 3.1.1: "the order of the values does not matter".
        return known.iter().any(|known| known == types || in_order(known) == in_order(types));
    }
    // RFC 7591 section 2: "If omitted, the default is that the client will use only the 'code' response type." Section 2.1: it
    // goes with the grant type authorization_code.
    let has_code = |grants: &Vec<String>| grants.iter().any(|grant| grant == "authorization_code");
    types == "code" && registered.grant_types.as_ref().is_none_or(has_code)
}

fn in_order(types: &str) -> Vec<&str> {
    let mut types: Vec<&str> = types.split(' ').collect();
    types.sort_unstable();
    types
}
