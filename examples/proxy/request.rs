//! Makes the head of a request this proxy's own, before anything is judged: what is judged is then what the server gets.

use axum::http::request::Parts;
use axum::http::{Method, Uri};
use url::form_urlencoded;

use crate::endpoints::Endpoint;
use crate::headers::{self, Kept};
use crate::rejected::Rejected;
use crate::{Proxy, host, path};

/// Rewrites the head, and says to which endpoint it leads.
///
/// # Errors
///
/// Servers could read it in several ways.
pub(crate) fn take_over(proxy: &Proxy, parts: &mut Parts) -> Result<Option<Endpoint>, Rejected> {
    // A server that answers it shows what proxies have added (RFC 9110 section 9.3.8).
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        return Err(Rejected::method());
    }
    // `OPTIONS *` is about the server, and not about anything behind it.
    if !parts.uri.path().starts_with('/') {
        return Err("the target is no path".into());
    }
    let host = host::read(parts.version, &parts.uri, &parts.headers)?;
    let kept = Kept::of(&parts.method, parts.version, &parts.headers);
    headers::remove_hop_by_hop(&mut parts.headers)?;
    let source = proxy.forwarding.source(&parts.headers, &parts.extensions);
    headers::remove_overrides(&mut parts.headers, source.is_trusted);
    proxy.forwarding.write(&source, host.as_deref(), &mut parts.headers);
    if !proxy.allow_odd_paths {
        path::check_canonical(parts.uri.path())?;
    }
    let endpoint = proxy.endpoints.at(parts.uri.path())?.filter(|endpoint| proxy.judges(*endpoint));
    match endpoint {
        None => kept.put_back(&mut parts.headers),
        Some(_) if parts.uri.query().is_some_and(names_method) => return Err("the query names another method".into()),
        // Its answers are pages, which nobody reads here.
        Some(Endpoint::Authorize) => {}
        Some(_) => headers::ask_for_plain_answer(&mut parts.headers),
    }
    let target = proxy.endpoints.behind_alias(&parts.uri).or_else(|| parts.uri.path_and_query().cloned());
    parts.uri = target.map(Uri::from).unwrap_or_default();
    Ok(endpoint)
}

/// Returns whether a query asks for another method: `_method`, in the spellings that PHP and others take for it.
fn names_method(query: &str) -> bool {
    let separated = query.replace(';', "&").replace("%u00", "%").replace("%U00", "%");
    form_urlencoded::parse(separated.as_bytes()).any(|(name, _)| {
        let name = name.trim().replace(|c: char| !c.is_ascii_alphanumeric(), "_").to_ascii_lowercase();
        ["_method", "_http_method", "http_method", "x_http_method", "x_method"]
            .iter()
            .any(|known| name.starts_with(known))
    })
}
