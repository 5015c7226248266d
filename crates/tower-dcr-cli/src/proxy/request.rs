//! Normalizes the head of a request before it is evaluated, so that the server gets the evaluated request.

use axum::http::request::Parts;
use axum::http::{Method, Uri, header};
use tower_dcr::layers::GateEndpoint;
use tower_dcr_server::Endpoint;
use url::form_urlencoded;

use super::headers::{self, Kept};
use super::rejected::Rejected;
use super::{Proxy, host};

/// Rewrites the head and returns the endpoint that it leads to; `None` for other paths.
///
/// # Errors
///
/// Returns an error if servers could read the head in several ways.
pub(crate) fn take_over(proxy: &Proxy, parts: &mut Parts) -> Result<Option<Endpoint>, Rejected> {
    // A server that responds to it shows headers that proxies have added (RFC 9110 section 9.3.8).
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        return Err(Rejected::method());
    }
    // `OPTIONS *` concerns the server, not a resource.
    if !parts.uri.path().starts_with('/') {
        return Err("the target is not a path".into());
    }
    let host = host::read(parts.version, &parts.uri, &parts.headers)?;
    let kept = Kept::of(&parts.method, parts.version, &parts.headers);
    headers::remove_hop_by_hop(&mut parts.headers)?;
    let source = proxy.forwarding.source(&parts.headers, &parts.extensions);
    headers::remove_overrides(&mut parts.headers, source.is_trusted);
    let testimony = proxy.forwarding.testimony(&source, host.as_deref());
    if let Some(host) = &testimony.host {
        parts.headers.insert(header::HOST, host.clone());
    }
    parts.extensions.insert(testimony);
    let endpoint = proxy.places.at(parts.uri.path())?.filter(|endpoint| proxy.judged(*endpoint).is_some());
    match endpoint {
        None => kept.put_back(&mut parts.headers),
        Some(_) if parts.uri.query().is_some_and(names_method) => return Err("the query overrides the method".into()),
        // Its responses are pages, which are not read here.
        Some(Endpoint::Gate(GateEndpoint::Authorization)) => {}
        Some(_) => headers::ask_for_plain_answer(&mut parts.headers),
    }
    let target = proxy.places.behind_alias(&parts.uri).or_else(|| parts.uri.path_and_query().cloned());
    parts.uri = target.map(Uri::from).unwrap_or_default();
    Ok(endpoint)
}

/// Returns `true` if a query overrides the method: `_method`, in the spellings that PHP and others accept.
fn names_method(query: &str) -> bool {
    let separated = query.replace(';', "&").replace("%u00", "%").replace("%U00", "%");
    form_urlencoded::parse(separated.as_bytes()).any(|(name, _)| {
        let name = name.trim().replace(|c: char| !c.is_ascii_alphanumeric(), "_").to_ascii_lowercase();
        ["_method", "_http_method", "http_method", "x_http_method", "x_method"]
            .iter()
            .any(|known| name.starts_with(known))
    })
}
