//! Reads `application/x-www-form-urlencoded` (WHATWG URL section 5.1), only in forms that all parsers read alike.

use super::names;
use super::rejection::Fault;

/// The maximum number of parameters. PHP and qs drop all after the thousandth; no honest request comes near.
pub(super) const MAX_PARAMETERS: usize = 100;

/// A name or value as it is written.
#[derive(Clone, Copy)]
struct Written<'a> {
    text: &'a str,
    /// Set if it has to be decoded.
    is_coded: bool,
}

impl<'a> Written<'a> {
    /// Returns the text, which is in `buffer` if it had to be decoded.
    fn read<'b>(self, buffer: &'b mut Vec<u8>) -> Result<&'b str, Fault>
    where
        'a: 'b,
    {
        if self.is_coded { decode(self.text, buffer) } else { Ok(self.text) }
    }
}

/// A name with its value.
#[derive(Clone, Copy)]
struct Pair<'a> {
    whole: &'a str,
    name: Written<'a>,
    value: Written<'a>,
    has_semicolon: bool,
}

impl<'a> Pair<'a> {
    /// Splits the first pair off. Looks at every byte once: most names and values are too short for a search.
    fn first(text: &'a str) -> (Self, &'a str) {
        let (mut equals, mut end) = (None, text.len());
        let (mut is_name_coded, mut is_value_coded, mut has_semicolon) = (false, false, false);
        for (at, byte) in text.bytes().enumerate() {
            // Letters, of which most texts consist.
            if byte > b'=' {
                continue;
            }
            match byte {
                b'&' => {
                    end = at;
                    break;
                }
                b'=' => equals = equals.or(Some(at)),
                b'+' | b'%' | 0 if equals.is_none() => is_name_coded = true,
                b'+' | b'%' | 0 => is_value_coded = true,
                b';' => has_semicolon = true,
                _ => {}
            }
        }
        let part = |from, to| text.get(from..to).unwrap_or_default();
        let name_end = equals.unwrap_or(end);
        let pair = Self {
            whole: part(0, end),
            name: Written { text: part(0, name_end), is_coded: is_name_coded },
            value: Written { text: part(name_end + 1, end), is_coded: is_value_coded },
            has_semicolon,
        };
        (pair, part(end + 1, text.len()))
    }
}

/// Reads the pairs of `bytes` in order.
pub(super) fn read(bytes: &[u8], mut add: impl FnMut(&str, &str) -> Result<(), Fault>) -> Result<(), Fault> {
    let mut rest = str::from_utf8(bytes).map_err(|_| NOT_UTF8)?;
    let (mut name, mut value) = (Vec::new(), Vec::new());
    let mut count = 0;
    while !rest.is_empty() {
        let pair;
        (pair, rest) = Pair::first(rest);
        if pair.whole.is_empty() {
            continue;
        }
        // Those behind a semicolon count: whatever is done with each of them is limited.
        count += if pair.has_semicolon { pair.whole.split(';').count() } else { 1 };
        if count > MAX_PARAMETERS {
            return Err(Fault::Ambiguous("there are too many parameters"));
        }
        // Rack before version 3, and Python before 3.10, separate parameters at `;` as well, and HTML escapes (`&amp;`)
        // contain one.
        if pair.has_semicolon {
            let mut pairs = pair.whole.split(';');
            if pairs.clone().any(|pair| is_spelling(pair.as_bytes())) {
                return Err(Fault::Ambiguous("a semicolon may separate parameters"));
            }
            // Rules decide about the other parameters of such a reader.
            pairs.next();
            for text in pairs {
                let (pair, _) = Pair::first(text);
                add(&format!(";{}", pair.name.read(&mut name)?), pair.value.read(&mut value)?)?;
            }
        }
        add(pair.name.read(&mut name)?, pair.value.read(&mut value)?)?;
    }
    Ok(())
}

/// Returns whether any parser reads the name of the pair as one of the gate's parameters.
fn is_spelling(pair: &[u8]) -> bool {
    let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
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

/// Decodes a name or value. Rejects a wrong escape: some servers keep it, others drop the parameter or all of them, and
/// IIS knows more kinds of escapes (`%u0063`).
fn decode<'b>(text: &str, decoded: &'b mut Vec<u8>) -> Result<&'b str, Fault> {
    decoded.clear();
    decoded.reserve(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'+' => b' ',
            b'%' => match (rest.next().and_then(hex), rest.next().and_then(hex)) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(Fault::Ambiguous("an escape is malformed")),
            },
            byte => byte,
        };
        if byte == 0 {
            return Err(Fault::Ambiguous("there is a NUL in a parameter"));
        }
        decoded.push(byte);
    }
    str::from_utf8(decoded).map_err(|_| NOT_UTF8)
}

const NOT_UTF8: Fault = Fault::Ambiguous("a parameter is not UTF-8");

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
