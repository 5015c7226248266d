//! Compares redirect URIs with the registered ones.

use super::parameters::Seen;
use super::records::Known;
use super::rejection::Fault;
use crate::clients::ledger::Origin;
use crate::redirect_uri::{self, RedirectClass, RedirectUri};

/// Checks that each redirect URI in the request is registered, and that there is one, unless the server can only use
/// the one that is registered. `is_elsewhere` is set if it is in a request object that the server reads, or in a pushed
/// request that was checked when it came in.
pub(super) fn check(known: &Known, seen: &Seen, is_elsewhere: bool) -> Result<(), Fault> {
    if known.client.origin == Origin::Elsewhere {
        // Its redirect URIs are not known.
        return Ok(());
    }
    let registered = known.redirect_uris().ok_or(Fault::Redirect)?;
    let inside = seen.object.as_ref().and_then(|object| object.redirect_uri.as_ref());
    for requested in seen.redirect_uri.iter().chain(inside) {
        if !registered.iter().any(|uri| redirect_uri::matches(uri, requested)) {
            return Err(Fault::Redirect);
        }
    }
    if seen.redirect_uri.is_some() || is_elsewhere || !seen.is_request {
        return Ok(());
    }
    match registered {
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
