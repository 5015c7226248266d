//! Paths on which every reader agrees.

use super::{BRACKET, PERCENT, RedirectUriError, Survey};
use crate::text;

/// Refuses dot segments, and the escapes behind which readers find different paths: browsers collapse `/a/%2e%2e/b`,
/// proxies decode `%2f`, servlet containers drop `;…`, and string comparison does none of that.
pub(super) fn check(path: &str, survey: Survey) -> Result<(), RedirectUriError> {
    if survey.has(BRACKET) && path.contains(['[', ']']) {
        return Err(RedirectUriError::Path);
    }
    if survey.dotted && path.split('/').any(is_dot_segment) {
        return Err(RedirectUriError::Path);
    }
    if !survey.has(PERCENT) || !path.contains('%') {
        return Ok(());
    }
    let decoded = decode(path).ok_or(RedirectUriError::Path)?;
    let hidden = |c: char| c.is_control() || c.is_whitespace();
    if text::has_control(&decoded) || decoded.contains(' ') || (!decoded.is_ascii() && decoded.chars().any(hidden)) {
        return Err(RedirectUriError::Path);
    }
    Ok(())
}

/// `.` and `..`, with or without parameters.
fn is_dot_segment(segment: &str) -> bool {
    matches!(segment.split(';').next(), Some("." | ".."))
}

/// Decodes the escapes of `path`; `None` where one is malformed, ambiguous, or not UTF-8 in the end.
fn decode(path: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let [high, low, tail @ ..] = rest else { return None };
        rest = tail;
        let byte = hexadecimal(*high)? << 4 | hexadecimal(*low)?;
        // A second decoder would find in %252e what the first finds in %2e.
        let ambiguous = match byte {
            b'%' => matches!(rest, [b'2', b'e' | b'E' | b'f' | b'F', ..] | [b'5', b'c' | b'C', ..]),
            _ => matches!(byte, b'.' | b'/' | b'\\'),
        };
        if ambiguous {
            return None;
        }
        decoded.push(byte);
    }
    String::from_utf8(decoded).ok()
}

fn hexadecimal(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
