//! Reads the host of a request.

use std::net::Ipv6Addr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, Version, header};

/// Returns the host of a request: an authority without userinfo (RFC 9110 section 4.2.4), named once, or identically by
/// `Host` and target. `None` if an HTTP/1.0 request leaves it out.
///
/// # Errors
///
/// Returns a description of the fault.
pub(crate) fn read(version: Version, uri: &Uri, headers: &HeaderMap) -> Result<Option<String>, &'static str> {
    let mut fields = headers.get_all(header::HOST).iter();
    let (field, another) = (fields.next(), fields.next());
    if another.is_some() {
        return Err("several Host fields");
    }
    let field = field.map(|field| field.to_str().map_err(|_| "invalid host")).transpose()?;
    let target = uri.authority().map(Authority::as_str);
    if [field, target].into_iter().flatten().any(|host| !is_authority(host)) {
        return Err("invalid host");
    }
    match (field, target) {
        (Some(field), Some(target)) if !same(uri.scheme_str(), field, target) => {
            Err("different hosts in the Host field and the target")
        }
        // RFC 9112 section 3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request
        // message that lacks a Host header field".
        (None, _) if version == Version::HTTP_11 => Err("missing Host field"),
        (None, None) if version > Version::HTTP_11 => Err("missing host"),
        (field, target) => Ok(field.or(target).map(str::to_owned)),
    }
}

fn same(scheme: Option<&str>, one: &str, other: &str) -> bool {
    let default = if scheme == Some("https") { ":443" } else { ":80" };
    let bare = |host: &str| host.strip_suffix(default).unwrap_or(host).to_ascii_lowercase();
    bare(one) == bare(other)
}

/// Returns `true` for a name, an IPv4 address or an IPv6 address in brackets, with an optional port. Stricter than the
/// reg-name of RFC 3986: its other characters (`'`, `,`, `;`, escapes) have a meaning in the headers that the host is
/// written into.
pub(crate) fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => (address, port),
        Some(_) => return false,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let is_port = |port: &str| port.bytes().all(|digit| digit.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    !host.is_empty()
        && host.len() < 256
        && (text.starts_with('[') || is_name(host))
        && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}
