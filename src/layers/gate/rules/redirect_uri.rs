//! The redirect URI of a request, compared with the registered ones.

use super::{Asked, GateRule};
use crate::layers::gate::rejection::Fault;
use crate::redirect_uri::{self, RedirectClass, RedirectUri};
use crate::rules::{Action, RuleDocs};

pub(super) static RULE: GateRule = GateRule {
    docs: RuleDocs {
        id: "gate-redirect-uri",
        protects: "Codes from every address that the client did not register.",
        reference: "RFC 9700 section 4.1.3, RFC 8252 section 7.3, OAuth 2.1 section 2.3.2",
        attack: "/authorize?client_id=...&redirect_uri=https://evil.example.net/cb, at a server that does not compare them.",
        loosen: "gate.rules.redirect_uri = \"mark\" or \"pass\"",
        opens: "Codes that go to an attacker, at servers that do not compare redirect URIs exactly.",
        replayable: false,
    },
    action: |rules| rules.redirect_uri,
    default: |_| Action::Reject,
    check,
};

/// Checks that each redirect URI in the request is registered, and that there is one, unless the server can only use
/// the one that is registered.
fn check(asked: &Asked<'_>) -> Result<(), Fault> {
    let (seen, registered) = (asked.seen, &asked.registered.redirect_uris);
    let inside = seen.object.as_ref().and_then(|object| object.redirect_uri.as_ref());
    for requested in seen.redirect_uri.iter().chain(inside) {
        if !registered.iter().any(|uri| redirect_uri::matches(uri, requested)) {
            return Err(Fault::Redirect);
        }
    }
    if seen.redirect_uri.is_some() || asked.reference.has_redirect_uri || !seen.is_request {
        return Ok(());
    }
    match &registered[..] {
        // OAuth 2.1 section 2.3.2: required where more than one is registered.
        [only] if !needs_port(only) => Ok(()),
        [] => Err(Fault::Redirect),
        _ => Err(Fault::NoRedirect),
    }
}

/// Returns whether a client that listens on a port of its own choice has to name it (RFC 8252 section 7.3).
fn needs_port(registered: &str) -> bool {
    RedirectUri::parse(registered).is_ok_and(|uri| uri.class() == RedirectClass::Loopback && uri.port().is_none())
}
