//! Hosts and ports, in the one form that every URL reader gives back unchanged.

use super::{AT, BRACKET, PERCENT, RedirectUriError, Survey};

/// Top-level names that never lead to a public host: RFC 6761, RFC 6762, RFC 7686, RFC 8375, RFC 9476 and the names
/// that ICANN keeps out of the root for private networks.
const SPECIAL_USE: [&str; 13] = [
    "alt",
    "arpa",
    "corp",
    "example",
    "home",
    "internal",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "onion",
    "test",
];

/// Splits an authority into host and port. There must be no user information: `https://good@evil/` leads to `evil`.
pub(super) fn split(authority: &str, survey: Survey) -> Result<(&str, Option<u16>), RedirectUriError> {
    let (host, port) = split_opaque(authority, survey)?;
    if host.is_empty() { Err(RedirectUriError::Host) } else { Ok((host, port)) }
}

/// The same for a private-use scheme, whose host is whatever the application likes, even nothing.
pub(super) fn split_opaque(authority: &str, survey: Survey) -> Result<(&str, Option<u16>), RedirectUriError> {
    if survey.has(AT) && authority.contains('@') {
        return Err(RedirectUriError::UserInfo);
    }
    if survey.has(PERCENT) && authority.contains('%') {
        // Some readers decode a host, some do not.
        return Err(RedirectUriError::Host);
    }
    let bracket = if survey.has(BRACKET) { authority.rfind(']') } else { None };
    let end = match bracket {
        Some(end) => end + 1,
        None => authority.bytes().position(|byte| byte == b':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    if survey.has(BRACKET) && host.contains(['[', ']']) && !is_canonical_ipv6(host) {
        return Err(RedirectUriError::Host);
    }
    let port = match port.strip_prefix(':') {
        Some(digits) => Some(canonical_port(digits).ok_or(RedirectUriError::Port)?),
        None if port.is_empty() => None,
        None => return Err(RedirectUriError::Host),
    };
    if host.is_empty() && port.is_some() {
        return Err(RedirectUriError::Host);
    }
    Ok((host, port))
}

fn canonical_port(digits: &str) -> Option<u16> {
    if digits.starts_with(['0', '+']) {
        return None;
    }
    digits.parse().ok()
}

fn is_canonical_ipv6(bracketed: &str) -> bool {
    let Some(inner) = bracketed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else { return false };
    matches!(url::Host::parse(bracketed), Ok(host @ url::Host::Ipv6(_)) if host.to_string() == bracketed)
        && !inner.contains('.')
}

/// Whether `host` is a DNS name, lower case, in the form that the WHATWG host parser gives back unchanged, and not an
/// IPv4 address in any spelling.
pub(super) fn is_canonical_dns_name(host: &str) -> bool {
    if host.is_empty() || host.len() > 253 {
        return false;
    }
    let (mut any_a_label, mut last_is_number) = (false, false);
    for label in host.as_bytes().split(|byte| *byte == b'.') {
        if !is_label(label) {
            return false;
        }
        any_a_label |= label.starts_with(b"xn--");
        last_is_number = is_number(label);
    }
    // Whether an A-label is valid takes the Unicode tables of the URL crate to say.
    !last_is_number && (!any_a_label || matches!(url::Host::parse(host), Ok(url::Host::Domain(read)) if read == host))
}

/// The WHATWG parser reads a name whose last label is a number as an IPv4 address: 2130706433, 127.0x1.
fn is_number(label: &[u8]) -> bool {
    match label.strip_prefix(b"0x") {
        Some(digits) => digits.iter().all(u8::is_ascii_hexdigit),
        None => label.first().is_some_and(u8::is_ascii_digit) && label.iter().all(u8::is_ascii_digit),
    }
}

/// Letters, digits and hyphens inside (RFC 1123 section 2.1), and the underscore that DNS allows.
fn is_label(label: &[u8]) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with(b"-")
        && !label.ends_with(b"-")
        && label.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}

/// Whether `host` is a canonical DNS name that can be a public one.
pub(crate) fn is_public_dns_name(host: &str) -> bool {
    is_canonical_dns_name(host) && has_public_suffix(host)
}

/// Whether a canonical DNS name can be a public one: two labels at least and no special-use suffix.
pub(super) fn has_public_suffix(host: &str) -> bool {
    let dot = host.bytes().rposition(|byte| byte == b'.');
    let top_level = dot.and_then(|dot| host.get(dot + 1..));
    top_level.is_some_and(|top_level| SPECIAL_USE.binary_search(&top_level).is_err())
}
