//! Paths on which every reader agrees.

use super::{BRACKET, PERCENT, RedirectUriError, Survey};

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
    if decoded.chars().any(|c| c.is_control() || c.is_whitespace()) {
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
    let mut pieces = path.split('%');
    decoded.extend_from_slice(pieces.next()?.as_bytes());
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let byte = u8::from_str_radix(digits, 16).ok()?;
        // A second decoder would find in %252e what the first finds in %2e.
        let ambiguous = match byte {
            b'%' => {
                rest.get(..2).is_some_and(|next| ["2e", "2f", "5c"].iter().any(|hex| next.eq_ignore_ascii_case(hex)))
            }
            _ => matches!(byte, b'.' | b'/' | b'\\'),
        };
        if ambiguous {
            return None;
        }
        decoded.push(byte);
        decoded.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(decoded).ok()
}
