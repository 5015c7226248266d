//! The authentication method of a client, compared with the registered one.

use super::{Asked, GateRule, in_presets};
use crate::layers::gate::given::Authentication;
use crate::layers::gate::rejection::Fault;
use crate::rules::RuleDocs;

pub(super) static RULE: GateRule = GateRule {
    docs: RuleDocs {
        id: "gate-auth-method",
        protects: "Clients with a secret or a key from requests without it, and from a weaker proof than they registered.",
        reference: "RFC 7591 section 2, token_endpoint_auth_method; RFC 6749 section 2.3; CIBA section 7.1",
        attack: "A client that registered private_key_jwt is impersonated by its name alone, or by a secret that leaked.",
        loosen: "gate.rules.auth_method = \"mark\" or \"pass\"; gate.exact_auth_method = false",
        opens: "Any method that the server accepts, none included.",
        replayable: false,
    },
    action: |rules| rules.auth_method,
    default: in_presets,
    check,
};

const SECRETS: [&str; 2] = ["client_secret_basic", "client_secret_post"];

fn check(asked: &Asked<'_>) -> Result<(), Fault> {
    let used = methods(asked.seen.authentication);
    let is_exact = asked.settings.is_exact_auth_method();
    let is_one = match &used[..] {
        [_, _, ..] => !is_exact && used.iter().all(|method| SECRETS.contains(method)),
        _ => true,
    };
    if !is_one {
        // RFC 6749 section 2.3: "The client MUST NOT use more than one authentication method in each request."
        return Err(Fault::Rule("invalid_request", "the client authenticates itself in more than one way"));
    }
    // RFC 7591 section 2: "If unspecified or omitted, the default is "client_secret_basic"". Registrations through the rules
    // have it written out. The other records are of clients that this crate did not register: many servers made public
    // clients of those without the member, and a rejection here would end their sign-ins.
    let Some(registered) = asked.registered.auth_method.as_deref() else { return Ok(()) };
    if registered == "none" && asked.endpoint.is_for_confidential && used.is_empty() {
        return Err(Fault::Rule("unauthorized_client", "a client without authentication must not use this endpoint"));
    }
    let fits = match registered {
        // The certificate of the connection proves a client of RFC 8705, and the gate does not see it.
        "none" | "tls_client_auth" | "self_signed_tls_client_auth" => {
            used.iter().all(|method| *method == "attest_jwt_client_auth")
        }
        secret if SECRETS.contains(&secret) && !is_exact => used.iter().any(|method| SECRETS.contains(method)),
        "client_secret_basic"
        | "client_secret_post"
        | "client_secret_jwt"
        | "private_key_jwt"
        | "attest_jwt_client_auth" => used.contains(&registered),
        // The gate can't see a method that it does not know, but it is no secret.
        _ => !used.iter().any(|method| SECRETS.contains(method)),
    };
    if fits {
        Ok(())
    } else {
        Err(Fault::Rule("invalid_client", "the client registered another authentication method"))
    }
}

/// Returns the methods of a request, by their registered names.
fn methods(authentication: Authentication) -> Vec<&'static str> {
    let assertion = match authentication.assertion {
        Some(true) => Some("client_secret_jwt"),
        Some(false) => Some("private_key_jwt"),
        None => None,
    };
    let [basic, post] = SECRETS;
    [
        authentication.basic.then_some(basic),
        authentication.post.then_some(post),
        assertion,
        authentication.attestation.then_some("attest_jwt_client_auth"),
    ]
    .into_iter()
    .flatten()
    .collect()
}
