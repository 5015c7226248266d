//! Media types, parsed strictly by the grammar of RFC 9110 section 8.3.1.

use http::{HeaderMap, HeaderValue, header};

/// A media type in which every byte matched the grammar.
///
/// Parsers disagree about everything that the grammar does not allow: some trim white space around `=` and others keep
/// it, so that `charset =utf-7` is a charset to one and an unknown parameter to the next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MediaType<'a> {
    /// `type/subtype`, in any case.
    essence: &'a str,
    /// Names in lower case, values without their quotes.
    parameters: Vec<(String, String)>,
}

/// The `Content-Type` is repeated, or is no media type.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl<'a> MediaType<'a> {
    /// Reads the `Content-Type` of a message. `None` if it has none.
    pub(crate) fn of(headers: &'a HeaderMap) -> Result<Option<Self>, Malformed> {
        let mut fields = headers.get_all(header::CONTENT_TYPE).iter();
        match (fields.next(), fields.next()) {
            (None, _) => Ok(None),
            (Some(only), None) => Self::parse(only).map(Some).ok_or(Malformed),
            (Some(_), Some(_)) => Err(Malformed),
        }
    }

    fn parse(value: &'a HeaderValue) -> Option<Self> {
        // RFC 9110 section 5.5: white space around a field value is not part of it. Not every server has removed it.
        let text = str::from_utf8(value.as_bytes()).ok()?.trim_matches(OWS);
        let (_, rest) = token(text)?;
        let (_, mut rest) = token(rest.strip_prefix('/')?)?;
        let essence = text.get(..text.len() - rest.len())?;
        let mut parameters: Vec<(String, String)> = Vec::new();
        // parameters = *( OWS ";" OWS [ parameter ] ), RFC 9110 section 5.6.6
        while let Some(next) = rest.trim_start_matches(OWS).strip_prefix(';') {
            rest = next.trim_start_matches(OWS);
            if rest.is_empty() || rest.starts_with(';') {
                continue;
            }
            let (name, after) = token(rest)?;
            let name = name.to_ascii_lowercase();
            let (value, after) = parameter_value(after.strip_prefix('=')?)?;
            // One parser takes the first of a repeated name, another the last.
            if parameters.iter().any(|(known, _)| *known == name) {
                return None;
            }
            parameters.push((name, value));
            rest = after;
        }
        rest.is_empty().then_some(Self { essence, parameters })
    }

    pub(crate) fn is(&self, essence: &str) -> bool {
        self.essence.eq_ignore_ascii_case(essence)
    }

    /// Returns whether it is JSON: `application/json`, or `application/…+json` (RFC 6839 section 3.1).
    pub(crate) fn is_json(&self) -> bool {
        let essence = self.essence.to_ascii_lowercase();
        let subtype = essence.strip_prefix("application/");
        subtype.is_some_and(|subtype| {
            subtype == "json" || subtype.strip_suffix("+json").is_some_and(|kind| !kind.is_empty())
        })
    }

    /// Returns whether the parameters say that the content is UTF-8. Parameters that begin with `charset` (`charset*`,
    /// RFC 8187) are a charset to some parsers.
    pub(crate) fn is_utf8(&self) -> bool {
        self.parameters
            .iter()
            .filter(|(name, _)| name.starts_with("charset"))
            .all(|(name, value)| name == "charset" && value.eq_ignore_ascii_case("utf-8"))
    }

    /// Returns whether the parameters name a charset in which each byte of ASCII is that character, and no sequence of such bytes
    /// is anything else.
    pub(crate) fn extends_ascii(&self) -> bool {
        let charsets = self.parameters.iter().filter(|(name, _)| name.starts_with("charset"));
        charsets.clone().count() == 1
            && charsets.into_iter().all(|(name, value)| name == "charset" && extends_ascii(value))
    }
}

/// Returns whether a charset extends ASCII. UTF-7, ISO 2022 and HZ have escapes in ASCII, UTF-16, UTF-32 and EBCDIC other bytes,
/// Shift JIS and ISO 646 other characters at `\` and `~`.
fn extends_ascii(charset: &str) -> bool {
    const LATIN: [&str; 15] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "13", "14", "15", "16"];
    let charset = charset.to_ascii_lowercase();
    let is_windows = |code: &str| matches!(code.as_bytes(), [b'1', b'2', b'5', b'0'..=b'8']);
    matches!(charset.as_str(), "us-ascii" | "ascii" | "utf-8" | "utf8" | "latin1")
        || charset.strip_prefix("iso-8859-").is_some_and(|part| LATIN.contains(&part))
        || charset.strip_prefix("windows-").is_some_and(is_windows)
}

/// Optional white space, RFC 9110 section 5.6.3.
const OWS: [char; 2] = [' ', '\t'];

/// Splits a token (RFC 9110 section 5.6.2) off.
fn token(text: &str) -> Option<(&str, &str)> {
    let is_tchar = |byte: u8| match byte {
        b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~' => true,
        byte => byte.is_ascii_alphanumeric(),
    };
    let end = text.bytes().position(|byte| !is_tchar(byte)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// Splits a token or a quoted string (RFC 9110 section 5.6.4) off.
fn parameter_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return token(text).map(|(value, rest)| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(characters.next().map(|(_, c)| c).filter(|c| is_quotable(*c))?),
            c if is_quotable(c) => value.push(c),
            _ => return None,
        }
    }
    None
}

fn is_quotable(c: char) -> bool {
    matches!(c, '\t' | ' '..='~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_valid_media_types() {
        for (text, essence, utf8) in [
            ("application/json", "application/json", true),
            ("APPLICATION/Json", "application/json", true),
            ("application/json;charset=utf-8", "application/json", true),
            ("application/json ; charset=UTF-8", "application/json", true),
            ("application/json; charset=\"utf-8\"", "application/json", true),
            ("application/json; charset=\"ut\\f-8\"", "application/json", true),
            ("application/json;", "application/json", true),
            (" \tapplication/json \t", "application/json", true),
            (" application/json\t", "application/json", true),
            ("application/json; ; version=1", "application/json", true),
            ("application/json; charset=utf-7", "application/json", false),
            ("application/json; charset*=utf-8''x", "application/json", false),
            ("application/json; charset*0=utf-7", "application/json", false),
            ("application/vnd.x+json", "application/vnd.x+json", true),
        ] {
            let value = HeaderValue::from_str(text).unwrap();
            let media = MediaType::parse(&value).unwrap_or_else(|| panic!("{text}"));
            assert!(media.is(essence), "{text}");
            assert_eq!(media.is_utf8(), utf8, "{text}");
        }
    }

    #[test]
    fn charsets_that_extend_ascii_are_known() {
        for charset in [
            "ISO-8859-1",
            "iso-8859-15",
            "us-ascii",
            "US-ASCII",
            "utf8",
            "UTF8",
            "\"UTF-8\"",
            "\"iso-8859-1\"",
            "windows-1252",
            "Windows-1251",
        ] {
            let text = format!("application/x-www-form-urlencoded; charset={charset}");
            let value = HeaderValue::from_str(&text).unwrap();
            assert!(MediaType::parse(&value).unwrap().extends_ascii(), "{charset}");
        }
        for parameter in [
            "charset=utf-7",
            "charset=utf-16",
            "charset=UTF-16LE",
            "charset=utf-32",
            "charset=iso-2022-jp",
            "charset=iso-2022-kr",
            "charset=iso-8859-0",
            "charset=iso-8859-12",
            "charset=iso-8859-17",
            "charset=iso-8859-01",
            "charset=iso-8859-+1",
            "charset=iso-8859-",
            "charset=iso-8859-1x",
            "charset=iso-646-se",
            "charset=hz-gb-2312",
            "charset=shift_jis",
            "charset=ibm037",
            "charset=cp037",
            "charset=windows-1259",
            "charset=windows-31j",
            "charset=windows-12520",
            "charset=\" utf-8\"",
            "charset=utf-8\u{b}",
            "charset*=iso-8859-1''x",
            "charset*0=iso-8859-1",
            "charset=iso-8859-1; charset*=utf-7",
            "x=iso-8859-1",
        ] {
            let text = format!("application/x-www-form-urlencoded; {parameter}");
            let value = HeaderValue::from_bytes(text.as_bytes()).ok();
            let media = value.as_ref().and_then(MediaType::parse);
            assert!(media.is_none_or(|media| !media.extends_ascii()), "{parameter}");
        }
    }

    #[test]
    fn rejects_media_types_that_parsers_disagree_about() {
        for text in [
            "",
            "json",
            "application/",
            "/json",
            "application /json",
            "application/ json",
            "application/json charset=utf-8",
            "application/json, application/json",
            "application/json; charset =utf-7",
            "application/json; charset= utf-8",
            "application/json; charset\t=utf-7",
            "application/json; charset",
            "application/json; charset=",
            "application/json; =utf-8",
            "application/json; charset=utf-8 x",
            "application/json; charset=\"utf-8",
            "application/json; charset=\"utf-8\"x",
            "application/json; charset=utf-8; charset=utf-7",
            "application/json; charset=utf-8; Charset=utf-8",
            "application/json; cha(r)set=utf-7",
            "application/json; x=\"\u{e9}\"",
        ] {
            assert_eq!(MediaType::parse(&HeaderValue::from_bytes(text.as_bytes()).unwrap()), None, "{text}");
        }
    }
}
