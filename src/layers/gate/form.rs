//! Reads `application/x-www-form-urlencoded` (WHATWG URL section 5.1), only in forms that all parsers read alike.

use std::borrow::Cow;

use super::names;
use super::rejection::Fault;

/// The maximum number of parameters. PHP and qs drop all after the thousandth; no honest request comes near.
pub(super) const MAX_PARAMETERS: usize = 100;

/// Reads the pairs of `bytes` in order.
pub(super) fn read(bytes: &[u8], mut add: impl FnMut(&str, Cow<'_, str>) -> Result<(), Fault>) -> Result<(), Fault> {
    let mut count = 0;
    for piece in bytes.split(|byte| *byte == b'&').filter(|piece| !piece.is_empty()) {
        count += 1;
        if count > MAX_PARAMETERS {
            return Err(Fault::Ambiguous("there are too many parameters"));
        }
        // Rack before version 3, and Python before 3.10, separate parameters at `;` as well, and HTML escapes (`&amp;`)
        // contain one.
        if piece.contains(&b';') {
            let mut pairs = piece.split(|byte| *byte == b';');
            if pairs.clone().any(is_spelling) {
                return Err(Fault::Ambiguous("a semicolon may separate parameters"));
            }
            // Rules decide about the other parameters of such a reader.
            pairs.next();
            for pair in pairs {
                let (name, value) = split(pair);
                add(&format!(";{}", decode(name)?), decode(value)?)?;
            }
        }
        let (name, value) = split(piece);
        add(&decode(name)?, decode(value)?)?;
    }
    Ok(())
}

/// Returns whether any parser reads the name of the pair as one of the gate's parameters.
fn is_spelling(pair: &[u8]) -> bool {
    let (name, _) = split(pair);
    let spaced: Vec<u8> = name.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    let name = percent_encoding::percent_decode(&spaced).decode_utf8_lossy();
    names::read(&name).is_reserved()
}

/// Rejects a JSON text in which a form parser would find a parameter: some servers parse any body as a form.
pub(super) fn check_json(bytes: &[u8]) -> Result<(), Fault> {
    let mut pieces = bytes.split(|byte| matches!(byte, b'&' | b';')).skip(1);
    // Only pieces with a value: `…&code"` ends a string.
    let is_form = pieces.any(|piece| piece.contains(&b'=') && is_spelling(piece));
    if is_form { Err(Fault::Ambiguous("the body is JSON and a form")) } else { Ok(()) }
}

fn split(piece: &[u8]) -> (&[u8], &[u8]) {
    match piece.iter().position(|byte| *byte == b'=') {
        Some(at) => (piece.get(..at).unwrap_or_default(), piece.get(at + 1..).unwrap_or_default()),
        None => (piece, &[]),
    }
}

/// Decodes a name or value. Rejects a wrong escape: some servers keep it, others drop the parameter or all of them, and
/// IIS knows more kinds of escapes (`%u0063`).
fn decode(text: &[u8]) -> Result<Cow<'_, str>, Fault> {
    if !text.iter().any(|byte| matches!(byte, b'+' | b'%' | 0)) {
        return str::from_utf8(text).map(Cow::Borrowed).map_err(|_| NOT_UTF8);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = (rest.next().and_then(hex), rest.next().and_then(hex));
                let (Some(high), Some(low)) = digits else { return Err(Fault::Ambiguous("an escape is malformed")) };
                high << 4 | low
            }
            byte => byte,
        });
    }
    match String::from_utf8(decoded) {
        Ok(text) if !text.contains('\0') => Ok(Cow::Owned(text)),
        Ok(_) => Err(Fault::Ambiguous("there is a NUL in a parameter")),
        Err(_) => Err(NOT_UTF8),
    }
}

const NOT_UTF8: Fault = Fault::Ambiguous("a parameter is not UTF-8");

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
