//! The grant type of a request, compared with the registered ones.

use super::{Asked, GateRule, in_presets};
use crate::layers::gate::rejection::Fault;
use crate::registration::CIBA;
use crate::rules::RuleDocs;

pub(super) static RULE: GateRule = GateRule {
    docs: RuleDocs {
        id: "gate-grant-type",
        protects: "Grants from clients that did not register them, and that no rule of registration checked for them.",
        reference: "RFC 7591 section 2, grant_types; RFC 6749 section 5.2, unauthorized_client; CIBA sections 4 and 11",
        attack: "A client that registered authorization_code alone gets a token with client_credentials, without any person.",
        loosen: "gate.rules.grant_type = \"mark\" or \"pass\"",
        opens: "Every grant that the server has, to every client.",
        replayable: false,
    },
    action: |rules| rules.grant_type,
    default: in_presets,
    check,
};

/// RFC 7591 section 2: "If omitted, the default behavior is that the client will use only the `authorization_code` Grant
/// Type." Where neither the registration nor the answer names grant types, servers give refresh tokens with it.
const DEFAULT: [&str; 2] = ["authorization_code", "refresh_token"];

fn check(asked: &Asked<'_>) -> Result<(), Fault> {
    let Some(used) = asked.endpoint.grant_type.or(asked.seen.grant_type.as_deref()) else {
        return Err(Fault::Rule("invalid_request", "grant_type is missing"));
    };
    if used == CIBA && asked.registered.is_in_push_mode {
        // CIBA section 4: "When using the ping or poll mode, the Client MUST include the CIBA grant type". In push mode, the
        // mode itself is the registration, and a token request is unauthorized (section 11), since the tokens are sent.
        return if asked.endpoint.grant_type.is_some() {
            Ok(())
        } else {
            Err(Fault::Rule("unauthorized_client", "the client gets its tokens in push mode"))
        };
    }
    let is_registered = match &asked.registered.grant_types {
        Some(registered) => registered.iter().any(|known| known == used),
        None => DEFAULT.contains(&used),
    };
    if is_registered {
        Ok(())
    } else {
        Err(Fault::Rule("unauthorized_client", "the client did not register this grant type"))
    }
}
