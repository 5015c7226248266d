//! Hosts and ports, in the one form that every URL reader gives back unchanged.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{AT, BRACKET, PERCENT, RedirectUriError, Survey};

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
        None => memchr::memchr(b':', authority.as_bytes()).unwrap_or(authority.len()),
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

/// Returns `true` if `host` is an IP address in its one canonical form, an IPv6 address in brackets.
pub(super) fn is_canonical_address(host: &str) -> bool {
    // The parser of the standard library takes four decimal numbers without leading zeros only.
    host.parse::<Ipv4Addr>().is_ok() || is_canonical_ipv6(host)
}

fn is_canonical_ipv6(bracketed: &str) -> bool {
    let Some(inner) = bracketed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else { return false };
    let Ok(address) = inner.parse::<Ipv6Addr>() else { return false };
    match (address.to_ipv4_mapped(), address.segments()) {
        // The WHATWG serialiser writes it in hexadecimal, others with dots.
        (Some(_), [.., high, low]) => inner == format!("::ffff:{high:x}:{low:x}"),
        (None, _) => inner == address.to_string(),
    }
}

/// Returns `true` if `host` is a DNS name, lower case, in the form that the WHATWG host parser gives back unchanged, and not an
/// IPv4 address in any spelling.
pub(crate) fn is_canonical_dns_name(host: &str) -> bool {
    let bytes = host.as_bytes();
    let in_length = host.len() <= 63 || host.len() <= 253 && bytes.split(|byte| *byte == b'.').all(|l| l.len() <= 63);
    if !in_length || !has_canonical_labels(bytes) || ends_with_number(host) {
        return false;
    }
    let may_be_a_label = memchr::memchr(b'-', bytes).is_some() && bytes.windows(2).any(|pair| pair == b"--");
    !may_be_a_label || has_valid_a_labels(host)
}

/// The validity of an A-label (`xn--…`) depends on the Unicode tables of the URL crate.
#[cfg(feature = "identity")]
fn has_valid_a_labels(host: &str) -> bool {
    matches!(url::Host::parse(host), Ok(url::Host::Domain(read)) if read == host)
}

/// Without tables, every host that could have one is rejected.
#[cfg(not(feature = "identity"))]
fn has_valid_a_labels(_host: &str) -> bool {
    false
}

/// Returns `true` if there are only labels of letters, digits and hyphens inside (RFC 1123 section 2.1), and the underscore
/// that DNS allows. Each byte is a step from state to state, and no branch.
fn has_canonical_labels(host: &[u8]) -> bool {
    let step = |state: u8, byte: &u8| {
        let class = CLASSES.get(usize::from(*byte)).copied().unwrap_or(3);
        STEPS.get(usize::from((state << 2 | class) & 15)).copied().unwrap_or(FAILED)
    };
    host.iter().fold(BEFORE, step) == INSIDE
}

/// Before the first byte of a label; behind a letter, digit or underscore; behind a hyphen; not a name.
const BEFORE: u8 = 0;
const INSIDE: u8 = 1;
const HYPHEN: u8 = 2;
const FAILED: u8 = 3;

/// From each state by a letter, digit or underscore; by a hyphen; by a dot; by anything else.
static STEPS: [u8; 16] = [
    INSIDE, FAILED, FAILED, FAILED, //
    INSIDE, HYPHEN, BEFORE, FAILED, //
    INSIDE, HYPHEN, FAILED, FAILED, //
    FAILED, FAILED, FAILED, FAILED,
];

static CLASSES: [u8; 256] = {
    let mut classes = [3; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        #[expect(clippy::indexing_slicing, reason = "a byte is less than 256, and this runs when it is compiled")]
        let class = &mut classes[byte as usize];
        *class = match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' => 0,
            b'-' => 1,
            b'.' => 2,
            _ => 3,
        };
        byte += 1;
    }
    classes
};

fn last_label(host: &str) -> &str {
    let dot = memchr::memrchr(b'.', host.as_bytes());
    dot.and_then(|dot| host.get(dot + 1..)).unwrap_or(host)
}

/// The WHATWG parser reads a name whose last label is a number as an IPv4 address: 2130706433, 127.0x1.
pub(crate) fn ends_with_number(host: &str) -> bool {
    let label = last_label(host).as_bytes();
    match label.strip_prefix(b"0x") {
        Some(digits) => digits.iter().all(u8::is_ascii_hexdigit),
        None => label.first().is_some_and(u8::is_ascii_digit) && label.iter().all(u8::is_ascii_digit),
    }
}

/// Returns `true` if `host` is a canonical DNS name that can be a public one.
pub(crate) fn is_public_dns_name(host: &str) -> bool {
    is_canonical_dns_name(host) && has_public_suffix(host)
}

/// Returns `true` if `host` is `domain` or a name below it.
pub(crate) fn is_within_domain(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Returns `true` if a canonical DNS name can be a public one: two labels at least and no special-use suffix.
pub(super) fn has_public_suffix(host: &str) -> bool {
    let top_level = last_label(host);
    top_level.len() < host.len() && !is_special_use(top_level)
}

/// Top-level names that never lead to a public host: RFC 6761, RFC 6762, RFC 7686, RFC 8375, RFC 9476 and the names
/// that ICANN keeps out of the root, or RFC 6762 appendix G and Kubernetes use, for private networks.
fn is_special_use(top_level: &str) -> bool {
    matches!(
        top_level,
        "alt"
            | "arpa"
            | "corp"
            | "example"
            | "home"
            | "internal"
            | "intranet"
            | "invalid"
            | "lan"
            | "local"
            | "localdomain"
            | "localhost"
            | "onion"
            | "private"
            | "svc"
            | "test"
    )
}
