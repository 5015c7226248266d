//! Hosts and ports, in the one form that every URL reader gives back unchanged.

use super::RedirectUriError;

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
pub(super) fn split(authority: &str) -> Result<(&str, Option<u16>), RedirectUriError> {
    let (host, port) = split_opaque(authority)?;
    if host.is_empty() { Err(RedirectUriError::Host) } else { Ok((host, port)) }
}

/// The same for a private-use scheme, whose host is whatever the application likes, even nothing.
pub(super) fn split_opaque(authority: &str) -> Result<(&str, Option<u16>), RedirectUriError> {
    let bytes = authority.as_bytes();
    if bytes.contains(&b'@') {
        return Err(RedirectUriError::UserInfo);
    }
    if bytes.contains(&b'%') {
        // Some readers decode a host, some do not.
        return Err(RedirectUriError::Host);
    }
    let (host, port) = match bytes.iter().rposition(|byte| *byte == b']') {
        Some(end) => authority.split_at(end + 1),
        None => authority.split_at(bytes.iter().position(|byte| *byte == b':').unwrap_or(authority.len())),
    };
    if host.bytes().any(|byte| matches!(byte, b'[' | b']')) && !is_canonical_ipv6(host) {
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
    let mut labels = host.as_bytes().split(|byte| *byte == b'.');
    if host.is_empty() || host.len() > 253 || !labels.clone().all(is_label) {
        return false;
    }
    // The WHATWG parser reads a name whose last label is a number as an IPv4 address: 2130706433, 127.0x1.
    let last = labels.clone().next_back().unwrap_or_default();
    let hexadecimal = last.strip_prefix(b"0x");
    if last.iter().all(u8::is_ascii_digit) || hexadecimal.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    {
        return false;
    }
    // Whether an A-label is valid takes the Unicode tables of the URL crate to say.
    !labels.any(|label| label.starts_with(b"xn--"))
        || matches!(url::Host::parse(host), Ok(url::Host::Domain(read)) if read == host)
}

/// Letters, digits and hyphens inside (RFC 1123 section 2.1), and the underscore that DNS allows.
fn is_label(label: &[u8]) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with(b"-")
        && !label.ends_with(b"-")
        && label.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}

/// Whether a canonical DNS name can be a public one: two labels at least and no special-use suffix.
pub(crate) fn is_public_dns_name(host: &str) -> bool {
    is_canonical_dns_name(host)
        && host.rsplit_once('.').is_some_and(|(_, top_level)| SPECIAL_USE.binary_search(&top_level).is_err())
}
