//! The strict reader.
//!
//! The reader makes one pass over the bytes and keeps positions in them, which no `serde` visitor can: unescaped text is
//! never copied by itself, and the text of numbers and of nested values stays as sent, whatever features another crate
//! turns on in `serde_json`. The tests and the fuzzer hold this reader against `serde_json`.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use serde::de::IgnoredAny;

use super::index::Index;
use super::member::{self, Form, Member, Slot, Text};
use super::{Limits, Registration};

/// The rule of strict JSON that the bytes of a registration break. Displays as a fixed sentence that quotes nothing.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::registration::ParseError;
///
/// let error = Registration::parse(br#"{"scope":"a","scope":"b"}"#).unwrap_err();
/// assert_eq!(error, ParseError::DuplicateMember);
/// assert_eq!(error.to_string(), "a member name appears twice");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseError {
    /// An array is longer than [`Limits::max_array`].
    ArrayTooLong,
    /// Two members of one object have the same name after unescaping.
    DuplicateMember,
    /// The document is not an object.
    NotAnObject,
    /// The bytes are not UTF-8 (RFC 8259 section 8.1).
    NotUtf8,
    /// A number does not fit a binary64 (RFC 7493 section 2.2).
    NumberOutOfRange,
    /// A string is longer than [`Limits::max_string`].
    StringTooLong,
    /// The text is not JSON, has something after the object, or holds a lone surrogate.
    Syntax,
    /// Objects and arrays are nested deeper than [`Limits::max_depth`].
    TooDeep,
    /// The body is longer than [`Limits::max_bytes`].
    TooLarge,
    /// An object has more members than [`Limits::max_members`].
    TooManyMembers,
}

impl ParseError {
    /// Returns the sentence that [`Display`](fmt::Display) writes.
    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::ArrayTooLong => "an array has too many elements",
            Self::DuplicateMember => "a member name appears twice",
            Self::NotAnObject => "the document is not a JSON object",
            Self::NotUtf8 => "the body is not UTF-8",
            Self::NumberOutOfRange => "a number is out of range",
            Self::StringTooLong => "a string is too long",
            Self::Syntax => "the body is not valid JSON",
            Self::TooDeep => "the document is nested too deeply",
            Self::TooLarge => "the body is too large",
            Self::TooManyMembers => "an object has too many members",
        }
    }
}

impl ParseError {
    /// Returns the sentence with the limit that the document exceeds.
    pub(crate) fn with_limit(self, limits: &Limits) -> Cow<'static, str> {
        let sentence = match self {
            Self::ArrayTooLong => format!("an array has more than {} elements", limits.max_array),
            Self::StringTooLong => format!("a string has more than {} bytes", limits.max_string),
            Self::TooDeep => format!("objects and arrays are nested deeper than {} levels", limits.max_depth),
            Self::TooLarge => format!("the body has more than {} bytes", limits.max_bytes),
            Self::TooManyMembers => format!("an object has more than {} members", limits.max_members),
            _ => return self.description().into(),
        };
        sentence.into()
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.description())
    }
}

impl std::error::Error for ParseError {}

/// The length up to which a body has about as many members as its bytes suggest; longer ones have long strings.
const TYPICAL: usize = 4096;

/// Spare capacity after the text that was sent: most registrations need no second buffer for the values that rules insert.
const ROOM: usize = 128;

pub(super) fn parse(bytes: &[u8], limits: &Limits) -> Result<Registration, ParseError> {
    let limits = &limits.at_most(Limits::GENEROUS);
    if bytes.len() > limits.max_bytes {
        return Err(ParseError::TooLarge);
    }
    let source = str::from_utf8(bytes).map_err(|_| ParseError::NotUtf8)?;
    let mut scanner = Scanner::new(source, limits);
    let members = scanner.document()?;
    let mut text = String::with_capacity(source.len() + scanner.decoded.len() + ROOM);
    text.push_str(source);
    text.push_str(&scanner.decoded);
    let (sent, plain, index) = (source.len(), is_plain(source), Index::of(&members));
    Ok(Registration { text, sent, plain, members, index, elements: scanner.elements, shortened: Vec::new() })
}

type Scan<T> = Result<T, ParseError>;

/// A place in the text.
struct Scanner<'s> {
    source: &'s str,
    at: usize,
    limits: &'s Limits,
    /// Strings that had escapes, one after the other. Offsets count from the end of the source.
    decoded: String,
    /// The elements of the string arrays so far.
    elements: Vec<Text>,
    /// The names of the nested objects that are open, with the first bytes of each.
    names: Vec<(u64, Text)>,
    /// Since this was last cleared there was white space or an escape: what was read is not in canonical form.
    loose: bool,
}

impl<'s> Scanner<'s> {
    fn new(source: &'s str, limits: &'s Limits) -> Self {
        Self {
            source,
            at: 0,
            limits,
            decoded: String::new(),
            elements: Vec::with_capacity(4 + source.len().min(TYPICAL) / 64),
            names: Vec::new(),
            loose: false,
        }
    }

    /// The whole document: an object, and nothing but white space around it.
    fn document(&mut self) -> Scan<Vec<Member>> {
        self.space();
        if self.peek() != Some(b'{') {
            let json = serde_json::from_str::<IgnoredAny>(self.source).is_ok();
            return Err(if json { ParseError::NotAnObject } else { ParseError::Syntax });
        }
        let mut members = Vec::with_capacity(8 + self.source.len().min(TYPICAL) / 48);
        self.items(1, b'}', self.limits.max_members, ParseError::TooManyMembers, |scanner| {
            scanner.member(&mut members)
        })?;
        self.space();
        if self.at < self.source.len() {
            return Err(ParseError::Syntax);
        }
        self.sort(&mut members)?;
        Ok(members)
    }

    /// Sorts members by name, which brings duplicates together.
    fn sort(&self, members: &mut [Member]) -> Scan<()> {
        let compare = |a: &Member, b: &Member| self.compare((a.key, a.name), (b.key, b.name));
        members.sort_unstable_by(compare);
        let twice = members.windows(2).any(|pair| matches!(pair, [a, b] if compare(a, b).is_eq()));
        if twice { Err(ParseError::DuplicateMember) } else { Ok(()) }
    }

    /// A member of the outermost object.
    fn member(&mut self, members: &mut Vec<Member>) -> Scan<()> {
        self.loose = false;
        let start = self.at;
        let name = self.name()?;
        let slot = self.slot()?;
        // Objects have members to be sorted, and other arrays may hold objects.
        let in_form = !self.loose && !matches!(slot.form, Form::Array | Form::Object);
        let canonical = if in_form { self.since(start) } else { Text::EMPTY };
        members.push(Member::new(name, self.bytes(name), slot, canonical));
        Ok(())
    }

    /// Reads a member's name, and the colon after it.
    fn name(&mut self) -> Scan<Text> {
        let name = self.string()?;
        self.space();
        self.expect(b':')?;
        self.space();
        Ok(name)
    }

    /// The value of a member of the outermost object.
    fn slot(&mut self) -> Scan<Slot> {
        let start = self.at;
        let form = match self.peek() {
            Some(b'"') => return Ok(Slot::new(Form::String, self.string()?)),
            Some(b'[') => return self.elements(start),
            Some(b'{') => Form::Object,
            Some(b't') => Form::True,
            Some(b'f') => Form::False,
            Some(b'n') => Form::Null,
            _ => Form::Number,
        };
        self.value(1)?;
        Ok(Slot::new(form, self.since(start)))
    }

    /// An array that is a member of the outermost object: kept by its elements if all of them are strings.
    fn elements(&mut self, start: usize) -> Scan<Slot> {
        let first = self.elements.len();
        let mut only_strings = true;
        self.array(2, |scanner| {
            if scanner.peek() == Some(b'"') {
                let text = scanner.string()?;
                scanner.elements.push(text);
                return Ok(());
            }
            only_strings = false;
            scanner.value(2)
        })?;
        if only_strings {
            return Ok(Slot::new(Form::Strings, Text::new(first, self.elements.len())));
        }
        self.elements.truncate(first);
        Ok(Slot::new(Form::Array, self.since(start)))
    }

    /// Skips a value with `depth` objects and arrays around it.
    fn value(&mut self, depth: usize) -> Scan<()> {
        match self.peek() {
            Some(b'"') => {
                let decoded = self.decoded.len();
                self.string()?;
                self.decoded.truncate(decoded);
                Ok(())
            }
            Some(b'[') => self.array(depth + 1, |scanner| scanner.value(depth + 1)),
            Some(b'{') => self.nested_object(depth + 1),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            _ => self.number(),
        }
    }

    fn nested_object(&mut self, depth: usize) -> Scan<()> {
        let (decoded, first) = (self.decoded.len(), self.names.len());
        self.items(depth, b'}', self.limits.max_members, ParseError::TooManyMembers, |scanner| {
            let name = scanner.name()?;
            let key = member::key(scanner.bytes(name));
            scanner.names.push((key, name));
            scanner.value(depth)
        })?;
        let mut names = std::mem::take(&mut self.names);
        let twice = self.any_twice(names.get_mut(first..).unwrap_or_default());
        names.truncate(first);
        self.names = names;
        if twice {
            return Err(ParseError::DuplicateMember);
        }
        self.decoded.truncate(decoded);
        Ok(())
    }

    /// Returns `true` if two names are equal. Sorting brings equal names together: comparing each with all others would make
    /// a body of small members cost its length squared.
    fn any_twice(&self, names: &mut [(u64, Text)]) -> bool {
        names.sort_unstable_by(|a, b| self.compare(*a, *b));
        names.windows(2).any(|pair| matches!(pair, [a, b] if self.compare(*a, *b).is_eq()))
    }

    /// The order of two names, of which the keys are known.
    fn compare(&self, a: (u64, Text), b: (u64, Text)) -> Ordering {
        a.0.cmp(&b.0).then_with(|| self.bytes(a.1).cmp(self.bytes(b.1)))
    }

    /// An array, itself the `depth`-th; `element` reads each value.
    fn array(&mut self, depth: usize, element: impl FnMut(&mut Self) -> Scan<()>) -> Scan<()> {
        self.items(depth, b']', self.limits.max_array, ParseError::ArrayTooLong, element)
    }

    /// Reads the items of an object or an array, with commas between them, up to `close`.
    fn items(
        &mut self,
        depth: usize,
        close: u8,
        most: usize,
        too_many: ParseError,
        mut item: impl FnMut(&mut Self) -> Scan<()>,
    ) -> Scan<()> {
        if depth > self.limits.max_depth {
            return Err(ParseError::TooDeep);
        }
        self.at += 1;
        self.space();
        if self.skip(close) {
            return Ok(());
        }
        for _ in 0..most {
            item(self)?;
            self.space();
            let next = self.peek();
            self.at += 1;
            match next {
                Some(b',') => self.space(),
                Some(byte) if byte == close => return Ok(()),
                _ => return Err(ParseError::Syntax),
            }
        }
        Err(too_many)
    }

    /// A string, unescaped. Inlined except for escapes, so that the result stays in registers.
    #[inline]
    fn string(&mut self) -> Scan<Text> {
        let [b'"', rest @ ..] = self.rest() else { return Err(ParseError::Syntax) };
        let length = plain_bytes(rest);
        let start = self.at + 1;
        self.at = start + length;
        let text = if rest.get(length) == Some(&b'"') {
            self.at += 1;
            Text::new(start, start + length)
        } else {
            self.escaped_string(start)?
        };
        if text.len() > self.limits.max_string { Err(ParseError::StringTooLong) } else { Ok(text) }
    }

    /// The string that began at `start`, from its first escape on.
    #[cold]
    fn escaped_string(&mut self, start: usize) -> Scan<Text> {
        self.loose = true;
        let from = self.source.len() + self.decoded.len();
        self.decoded.push_str(self.source.get(start..self.at).unwrap_or_default());
        while !self.skip(b'"') {
            self.expect(b'\\')?;
            let c = self.escape()?;
            self.decoded.push(c);
            let plain = plain_bytes(self.rest());
            self.decoded.push_str(self.source.get(self.at..self.at + plain).unwrap_or_default());
            self.at += plain;
        }
        Ok(Text::new(from, self.source.len() + self.decoded.len()))
    }

    /// Reads an escape after its backslash (RFC 8259 section 7).
    fn escape(&mut self) -> Scan<char> {
        let c = self.peek().ok_or(ParseError::Syntax)?;
        self.at += 1;
        Ok(match c {
            b'"' | b'\\' | b'/' => char::from(c),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(),
            _ => return Err(ParseError::Syntax),
        })
    }

    /// A UTF-16 code unit, or the two of a pair. A lone surrogate is no character (RFC 7493 section 2.1).
    fn unicode_escape(&mut self) -> Scan<char> {
        let first = self.code_unit()?;
        let code = if matches!(first, 0xD800..0xDC00) {
            self.expect(b'\\')?;
            self.expect(b'u')?;
            let second = self.code_unit()?;
            if !matches!(second, 0xDC00..0xE000) {
                return Err(ParseError::Syntax);
            }
            0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00)
        } else {
            first
        };
        char::from_u32(code).ok_or(ParseError::Syntax)
    }

    fn code_unit(&mut self) -> Scan<u32> {
        let digits = self.rest().first_chunk::<4>().ok_or(ParseError::Syntax)?;
        let unit = digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?));
        self.at += 4;
        unit.ok_or(ParseError::Syntax)
    }

    fn literal(&mut self, word: &str) -> Scan<()> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(ParseError::Syntax);
        }
        self.at += word.len();
        Ok(())
    }

    /// RFC 8259 section 6.
    fn number(&mut self) -> Scan<()> {
        let start = self.at;
        self.skip(b'-');
        if !self.skip(b'0') && self.digits() == 0 {
            return Err(ParseError::Syntax);
        }
        if self.skip(b'.') && self.digits() == 0 {
            return Err(ParseError::Syntax);
        }
        if self.skip(b'e') || self.skip(b'E') {
            let _sign = self.skip(b'+') || self.skip(b'-');
            if self.digits() == 0 {
                return Err(ParseError::Syntax);
            }
        }
        let number = self.source.get(start..self.at).unwrap_or_default();
        if number.parse::<f64>().is_ok_and(f64::is_finite) { Ok(()) } else { Err(ParseError::NumberOutOfRange) }
    }

    fn digits(&mut self) -> usize {
        let count = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        count
    }

    /// Most documents have no white space between their parts.
    #[inline]
    fn space(&mut self) {
        if self.peek().is_some_and(|byte| byte <= b' ') {
            self.skip_space();
        }
    }

    #[cold]
    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
            self.loose = true;
        }
    }

    fn expect(&mut self, byte: u8) -> Scan<()> {
        if self.skip(byte) { Ok(()) } else { Err(ParseError::Syntax) }
    }

    fn skip(&mut self, byte: u8) -> bool {
        let skips = self.peek() == Some(byte);
        self.at += usize::from(skips);
        skips
    }

    fn peek(&self) -> Option<u8> {
        self.source.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'s [u8] {
        self.source.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn since(&self, start: usize) -> Text {
        Text::new(start, self.at)
    }

    /// The bytes of a string that was read.
    fn bytes(&self, text: Text) -> &[u8] {
        text.of_two(self.source.as_bytes(), self.decoded.as_bytes())
    }
}

/// Returns the number of bytes before a quotation mark, a backslash or a control character. Looks at eight at a time: most
/// strings are so short that a call of `memchr` costs more than it saves.
#[inline]
fn plain_bytes(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    /// Has the high bit of every byte set that is zero, and maybe of some above it.
    const fn zeros(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word & HIGHS
    }
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quotes = zeros(word ^ (ONES * u64::from(b'"')));
        let backslashes = zeros(word ^ (ONES * u64::from(b'\\')));
        let controls = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let found = quotes | backslashes | controls;
        if found != 0 {
            // The lowest is the first, and the first is never a false one.
            return index * 8 + (found.trailing_zeros() / 8) as usize;
        }
    }
    let plain = tail.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)).count();
    words.len() * 8 + plain
}

/// Returns `true` if every string is printable ASCII. Raw controls are no JSON, and an escape needs a backslash.
fn is_plain(source: &str) -> bool {
    source.bytes().fold(0, |found, byte| found | u8::from(byte >= 0x7F) | u8::from(byte == b'\\')) == 0
}
