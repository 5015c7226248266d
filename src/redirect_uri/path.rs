//! Paths on which every reader agrees.

use super::{BRACKET, PERCENT, RedirectUriError, Survey};

/// Rejects dot segments, and the escapes behind which readers find different paths: browsers collapse `/a/%2e%2e/b`,
/// proxies decode `%2f`, servlet containers drop `;…`, and string comparison does none of that.
pub(super) fn check(path: &str, survey: Survey) -> Result<(), RedirectUriError> {
    if survey.has(BRACKET) && path.contains(['[', ']']) {
        return Err(RedirectUriError::Path);
    }
    if memchr::memchr(b'.', path.as_bytes()).is_some() && path.split('/').any(is_dot_segment) {
        return Err(RedirectUriError::Path);
    }
    if survey.has(PERCENT) && !has_plain_escapes(path.as_bytes()) {
        return Err(RedirectUriError::Path);
    }
    Ok(())
}

/// `.` and `..`, with or without parameters.
fn is_dot_segment(segment: &str) -> bool {
    matches!(segment.split(';').next(), Some("." | ".."))
}

/// Returns `true` if every escape is well formed and stands for a character that has no meaning in a path.
fn has_plain_escapes(path: &[u8]) -> bool {
    let (mut rest, mut ascii) = (path, true);
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'%' {
            continue;
        }
        let [high, low, tail @ ..] = rest else { return false };
        let (Some(high), Some(low)) = (hexadecimal(*high), hexadecimal(*low)) else { return false };
        rest = tail;
        match high << 4 | low {
            0..=b' ' | b'.' | b'/' | b'\\' | 0x7F => return false,
            // A second decoder would find in %252e what the first finds in %2e.
            b'%' if matches!(rest, [b'2', b'e' | b'E' | b'f' | b'F', ..] | [b'5', b'c' | b'C', ..]) => return false,
            0x80.. => ascii = false,
            _ => {}
        }
    }
    ascii || is_visible(&decode(path))
}

/// Returns `true` if decoded bytes are UTF-8 without controls and white space.
fn is_visible(decoded: &[u8]) -> bool {
    str::from_utf8(decoded).is_ok_and(|text| !text.chars().any(|c| c.is_control() || c.is_whitespace()))
}

/// Decodes escapes that are well formed.
pub(super) fn decode(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        let escaped = match rest {
            [high, low, tail @ ..] if *byte == b'%' => hexadecimal(*high).zip(hexadecimal(*low)).zip(Some(tail)),
            _ => None,
        };
        match escaped {
            Some(((high, low), tail)) => {
                decoded.push(high << 4 | low);
                rest = tail;
            }
            None => decoded.push(*byte),
        }
    }
    decoded
}

fn hexadecimal(digit: u8) -> Option<u8> {
    u8::try_from(char::from(digit).to_digit(16)?).ok()
}
