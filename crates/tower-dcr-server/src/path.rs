//! Paths: accepted spellings, and the paths that a server may read in them.

use tower_dcr::rules::visible;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// The segments of one reading of a path, folded.
pub(crate) type Segments = Vec<String>;

/// Checks that `path` has one reading for every server: no empty segment (one slash at the end is common and passes),
/// no dot segment, no `;`, no backslash, no control character, no byte that is escaped without need, and UTF-8.
///
/// # Errors
///
/// Returns a description of the fault.
pub(crate) fn check_canonical(path: &str) -> Result<(), &'static str> {
    let Some(inner) = path.strip_prefix('/') else { return Err("the path does not begin with a slash") };
    let text = unescape_once(path)?;
    if text.contains(char::is_control) {
        return Err("the path has control characters");
    }
    if unescape(&text) != text.as_bytes() {
        return Err("the path has escapes within escapes");
    }
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    if path != "/" && inner.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err("the path has empty segments or dot segments");
    }
    Ok(())
}

/// Decodes escapes (RFC 3986 section 2.1) where they are needed, and only there.
fn unescape_once(path: &str) -> Result<String, &'static str> {
    let mut bytes = path.bytes();
    let mut text = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => match hex(bytes.next()).zip(hex(bytes.next())).map(|(high, low)| high << 4 | low) {
                None => return Err("the path has a broken escape"),
                Some(b'/' | b'\\' | b';') => return Err("the path has an escaped separator"),
                Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                    return Err("the path has an escape that is not needed");
                }
                Some(byte) => text.push(byte),
            },
            b';' | b'\\' => return Err("the path has a semicolon or a backslash"),
            b'!'..=b'~' => text.push(byte),
            _ => return Err("the path has characters that have to be escaped"),
        }
    }
    String::from_utf8(text).map_err(|_| "the path is not UTF-8")
}

fn hex(digit: Option<u8>) -> Option<u8> {
    char::from(digit?).to_digit(16)?.try_into().ok()
}

/// The number of rounds of decoding; no server decodes more often by accident.
const ROUNDS: usize = 4;

/// Returns the paths that servers may read in a path: before and after decoding, with dots resolved or not, with or
/// without the segments that name scripts. Paths behind a script are not copied, see [`Scripts::tails`]: the number of
/// readings is bounded for any number of segments.
///
/// # Errors
///
/// Returns an error if other readings are possible.
pub(crate) fn readings(path: &str, scripts: &Scripts) -> Result<Vec<Segments>, &'static str> {
    if is_plain(path) {
        let segments = path.split('/').filter(|segment| !segment.is_empty()).map(str::to_ascii_lowercase);
        let reading: Segments = segments.collect();
        return Ok(scripts.without(&reading).into_iter().chain([reading]).collect());
    }
    all_readings(path, scripts)
}

/// Returns `true` if a path has nothing in it that [`all_readings`] would read in two ways: only letters and digits of ASCII,
/// `-`, `_`, `~`, slashes, and dots that no segment ends with.
fn is_plain(path: &str) -> bool {
    let mut bytes = path.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'.' if matches!(bytes.peek(), None | Some(b'/')) => return false,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' | b'/' | b'.' => {}
            _ => return false,
        }
    }
    true
}

fn all_readings(path: &str, scripts: &Scripts) -> Result<Vec<Segments>, &'static str> {
    let mut readings: Vec<Segments> = Vec::new();
    // Most paths have one reading; many copies of a long one would take the memory of all requests.
    let mut add = |reading: Segments| {
        let bare = scripts.without(&reading);
        for reading in bare.into_iter().chain([reading]) {
            if !readings.contains(&reading) {
                readings.push(reading);
            }
        }
    };
    let mut text = path.to_owned();
    for _ in 0..ROUNDS {
        // Some servers parse a decoded path again, or treat it as a C string.
        let end = text.find(['?', '#', '\0']).unwrap_or(text.len());
        for text in [Some(&*text), text.get(..end).filter(|_| end < text.len())].into_iter().flatten() {
            for parameters in [Parameters::Cut, Parameters::CutFirst, Parameters::Kept] {
                let segments = segments(text, parameters);
                add(resolved(&without_empty(&segments)));
                // In RFC 3986 section 5.2.4, `..` removes an empty segment.
                add(without_empty(&resolved(&segments)));
                add(without_empty(&segments));
            }
        }
        let unescaped = String::from_utf8(unescape(&text)).map_err(|_| "the path is not UTF-8")?;
        if unescaped == text {
            return Ok(readings);
        }
        text = unescaped;
    }
    Err("the path is escaped too often")
}

/// Decodes `%XX`, and `%uXXXX` like HTTP.sys. Everything else is unchanged.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let digits = |from: usize, to: usize| {
            let digits = escape.get(from..to)?;
            digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
        };
        if let Some(byte) = digits(0, 2).and_then(|value| u8::try_from(value).ok()) {
            bytes.push(byte);
            rest = escape.get(2..).unwrap_or_default();
        } else if let Some(c) = digits(1, 5).filter(|_| escape.starts_with(['u', 'U'])).and_then(char::from_u32) {
            bytes.extend_from_slice(c.to_string().as_bytes());
            rest = escape.get(5..).unwrap_or_default();
        } else {
            bytes.push(b'%');
            rest = escape;
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// Returns the path of an endpoint in the form of [`readings`].
pub(crate) fn plain(path: &str) -> Segments {
    resolved(&without_empty(&segments(path, Parameters::Cut)))
}

/// The handling of path parameters such as `;v=1`.
#[derive(Clone, Copy)]
enum Parameters {
    Cut,
    /// Cut before a backslash counts as a slash: `a;\b` is `a`, not `a/b`.
    CutFirst,
    Kept,
}

/// Splits a path into segments, without the parts that servers ignore: case, accents and width of letters, parameters,
/// streams (`::$DATA`), dots and space at the ends.
fn segments(path: &str, parameters: Parameters) -> Segments {
    let segment = |segment: &str| {
        let named = match parameters {
            Parameters::Cut => without_parameters(segment),
            Parameters::CutFirst | Parameters::Kept => segment,
        };
        let named = named.split("::").next().unwrap_or_default().trim_matches(|c| c <= ' ');
        let bare = named.trim_end_matches(['.', ' ']);
        // Dot segments are left for `resolved`.
        if bare.is_empty() { named.to_owned() } else { bare.to_owned() }
    };
    let mut path = fold(path);
    if matches!(parameters, Parameters::CutFirst) {
        path = path.split('/').map(without_parameters).collect::<Vec<_>>().join("/");
    }
    path.trim_start_matches('/').split(['/', '\\']).map(segment).collect()
}

fn without_parameters(segment: &str) -> &str {
    segment.split(';').next().unwrap_or_default()
}

fn without_empty(segments: &[String]) -> Segments {
    segments.iter().filter(|segment| !segment.is_empty()).cloned().collect()
}

/// Folds case like any of the usual comparisons: `ſ` is an s, `ı` and `İ` are an i, the Kelvin sign is a k.
fn fold(text: &str) -> String {
    // NFKC_Casefold drops invisible characters, such as a soft hyphen.
    let is_hidden = |c: char| !c.is_ascii() && visible(c.encode_utf8(&mut [0; 4])).starts_with('\u{27E8}');
    let letters = text.nfkd().filter(|c| !is_combining_mark(*c) && !is_hidden(*c));
    letters.flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

fn resolved(segments: &[String]) -> Segments {
    segments.iter().fold(Vec::new(), |mut above, segment| {
        match segment.as_str() {
            "." => {}
            ".." => _ = above.pop(),
            _ => above.push(segment.clone()),
        }
        above
    })
}

/// The segments that a server may read as the name of a program, which gets the rest of the path
/// (RFC 3875 section 4.1.5).
#[derive(Clone, Debug, Default)]
pub(crate) struct Scripts {
    named: Vec<String>,
}

const EXTENSIONS: &str = " action asmx ashx asp aspx axd cfm cgi dll do exe fcgi fpl jsp jspx lua phar php php3 php4 php5 php7 \
                          php8 phtml pl psgi py rb svc wsgi ";

impl Scripts {
    /// Adds a segment to those with the usual extensions.
    pub(crate) fn add(&mut self, name: &str) {
        self.named.extend(plain(name));
    }

    pub(crate) fn has(&self, segment: &str) -> bool {
        let extension = segment.rsplit_once('.').map(|(_, extension)| format!(" {extension} "));
        extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
            || self.named.iter().any(|name| name == segment)
    }

    /// Returns `true` if a server may skip a segment that is followed by others.
    pub(crate) fn skips(&self, segment: &str) -> bool {
        // ASP.NET stores the session of clients without cookies in a segment, `(S(…))`, which the application does not
        // see.
        self.has(segment) || (segment.starts_with('(') && segment.ends_with(')'))
    }

    /// Returns the whole reading, and the part behind each of its scripts: slices, since a path may have thousands of
    /// them.
    pub(crate) fn tails<'a>(&'a self, reading: &'a [String]) -> impl Iterator<Item = &'a [String]> {
        let scripts = reading.iter().enumerate().filter(|(_, segment)| self.skips(segment));
        let behind = scripts.filter_map(|(at, _)| reading.get(at + 1..)).filter(|tail| !tail.is_empty());
        std::iter::once(reading).chain(behind)
    }

    /// Returns the reading without scripts; `None` if there are none before its last segment.
    pub(crate) fn without(&self, reading: &[String]) -> Option<Segments> {
        let (last, above) = reading.split_last()?;
        let kept: Segments = above.iter().filter(|segment| !self.skips(segment)).chain([last]).cloned().collect();
        (kept.len() < reading.len()).then_some(kept)
    }
}

#[cfg(test)]
mod tests;
