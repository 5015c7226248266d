//! The strict reader.
//!
//! It makes one pass over the bytes and keeps positions in them, which no `serde` visitor can: what is not escaped is
//! never copied, and the text of numbers and of nested values stays as sent, whatever features another crate turns on
//! in `serde_json`. Escaped strings are decoded by `serde_json`, which is also what the tests hold this reader against.

use std::fmt;

use serde::de::IgnoredAny;

use super::{Limits, Member, Registration, Slot, Text, offset};

/// Bytes that are no strict registration. Displays as a fixed sentence that quotes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError {
    kind: ParseErrorKind,
}

/// What is wrong with the bytes of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// An array is longer than [`Limits::with_array`].
    ArrayTooLong,
    /// Two members of one object have the same name after unescaping.
    DuplicateMember,
    /// The document is not an object.
    NotAnObject,
    /// The bytes are not UTF-8 (RFC 8259 section 8.1).
    NotUtf8,
    /// A number does not fit a binary64 (RFC 7493 section 2.2).
    NumberOutOfRange,
    /// A string is longer than [`Limits::with_string`].
    StringTooLong,
    /// The text is not JSON, has something after the object, or holds a lone surrogate.
    Syntax,
    /// Objects and arrays are nested deeper than [`Limits::with_depth`].
    TooDeep,
    /// The body is longer than [`Limits::with_bytes`].
    TooLarge,
    /// An object has more members than [`Limits::with_members`].
    TooManyMembers,
}

impl ParseError {
    pub(crate) const fn new(kind: ParseErrorKind) -> Self {
        Self { kind }
    }

    /// What is wrong.
    #[must_use]
    pub const fn kind(&self) -> ParseErrorKind {
        self.kind
    }

    /// The sentence that [`Display`](fmt::Display) writes.
    #[must_use]
    pub const fn description(&self) -> &'static str {
        match self.kind {
            ParseErrorKind::ArrayTooLong => "an array has too many elements",
            ParseErrorKind::DuplicateMember => "a member name appears twice",
            ParseErrorKind::NotAnObject => "the document is not a JSON object",
            ParseErrorKind::NotUtf8 => "the body is not UTF-8",
            ParseErrorKind::NumberOutOfRange => "a number is out of range",
            ParseErrorKind::StringTooLong => "a string is too long",
            ParseErrorKind::Syntax => "the body is not valid JSON",
            ParseErrorKind::TooDeep => "the document is nested too deeply",
            ParseErrorKind::TooLarge => "the body is too large",
            ParseErrorKind::TooManyMembers => "an object has too many members",
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.description())
    }
}

impl std::error::Error for ParseError {}

pub(super) fn parse(bytes: &[u8], limits: &Limits) -> Result<Registration, ParseError> {
    if bytes.len() > limits.bytes {
        return Err(ParseError::new(ParseErrorKind::TooLarge));
    }
    let source = str::from_utf8(bytes).map_err(|_| ParseError::new(ParseErrorKind::NotUtf8))?;
    let mut scanner = Scanner { source, at: 0, limits, elements: Vec::with_capacity(8) };
    let members = scanner.document().map_err(ParseError::new)?;
    let elements = scanner.elements;
    Ok(Registration { source: source.to_owned(), members, elements })
}

type Scan<T> = Result<T, ParseErrorKind>;

/// A place in the text.
struct Scanner<'s> {
    source: &'s str,
    at: usize,
    limits: &'s Limits,
    /// The elements of the string arrays so far.
    elements: Vec<Text>,
}

impl Scanner<'_> {
    /// The whole document: an object, and nothing but white space around it.
    fn document(&mut self) -> Scan<Vec<Member>> {
        self.space();
        if self.peek() != Some(b'{') {
            let json = serde_json::from_str::<IgnoredAny>(self.source).is_ok();
            return Err(if json { ParseErrorKind::NotAnObject } else { ParseErrorKind::Syntax });
        }
        let mut members = Vec::with_capacity(16);
        self.object(1, |scanner, name| {
            let slot = scanner.slot()?;
            members.push(Member::new(name, slot, scanner.source));
            Ok(())
        })?;
        self.space();
        if self.at < self.source.len() {
            return Err(ParseErrorKind::Syntax);
        }
        self.sort(&mut members)?;
        Ok(members)
    }

    /// Sorts members by name, which brings duplicates together.
    fn sort(&self, members: &mut [Member]) -> Scan<()> {
        members.sort_unstable_by(|a, b| a.compare(b.key, b.name.bytes_in(self.source), self.source));
        let twice = members
            .windows(2)
            .any(|pair| matches!(pair, [a, b] if a.compare(b.key, b.name.bytes_in(self.source), self.source).is_eq()));
        if twice { Err(ParseErrorKind::DuplicateMember) } else { Ok(()) }
    }

    /// The value of a member of the outermost object.
    fn slot(&mut self) -> Scan<Slot> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => self.string().map(Slot::String),
            Some(b'[') => self.elements(start),
            Some(b'{') => self.value(1).map(|()| Slot::Object(self.since(start))),
            Some(b't') => self.literal("true").map(|()| Slot::Bool(true)),
            Some(b'f') => self.literal("false").map(|()| Slot::Bool(false)),
            Some(b'n') => self.literal("null").map(|()| Slot::Null),
            _ => self.number().map(|()| Slot::Number(self.since(start))),
        }
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
            return Ok(Slot::Strings(offset(first)..offset(self.elements.len())));
        }
        self.elements.truncate(first);
        Ok(Slot::Array(self.since(start)))
    }

    /// Passes over a value with `depth` objects and arrays around it.
    fn value(&mut self, depth: usize) -> Scan<()> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'[') => self.array(depth + 1, |scanner| scanner.value(depth + 1)),
            Some(b'{') => self.nested_object(depth + 1),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            _ => self.number(),
        }
    }

    fn nested_object(&mut self, depth: usize) -> Scan<()> {
        let mut names: Vec<Text> = Vec::new();
        self.object(depth, |scanner, name| {
            let text = name.in_source(scanner.source);
            if names.iter().any(|other| other.in_source(scanner.source) == text) {
                return Err(ParseErrorKind::DuplicateMember);
            }
            names.push(name);
            scanner.value(depth)
        })
    }

    /// An object, itself the `depth`-th; `member` reads each value.
    fn object(&mut self, depth: usize, mut member: impl FnMut(&mut Self, Text) -> Scan<()>) -> Scan<()> {
        self.items(depth, b'}', self.limits.members, ParseErrorKind::TooManyMembers, |scanner| {
            let name = scanner.string()?;
            scanner.space();
            scanner.expect(b':')?;
            scanner.space();
            member(scanner, name)
        })
    }

    /// An array, itself the `depth`-th; `element` reads each value.
    fn array(&mut self, depth: usize, element: impl FnMut(&mut Self) -> Scan<()>) -> Scan<()> {
        self.items(depth, b']', self.limits.array, ParseErrorKind::ArrayTooLong, element)
    }

    /// What objects and arrays have in common: items with commas between them, up to `close`.
    fn items(
        &mut self,
        depth: usize,
        close: u8,
        most: usize,
        too_many: ParseErrorKind,
        mut item: impl FnMut(&mut Self) -> Scan<()>,
    ) -> Scan<()> {
        if depth > self.limits.depth {
            return Err(ParseErrorKind::TooDeep);
        }
        self.at += 1;
        self.space();
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(());
        }
        for _ in 0..most {
            item(self)?;
            self.space();
            if self.peek() == Some(close) {
                self.at += 1;
                return Ok(());
            }
            self.expect(b',')?;
            self.space();
        }
        Err(too_many)
    }

    /// A string, unescaped.
    fn string(&mut self) -> Scan<Text> {
        self.expect(b'"')?;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += plain_bytes(self.rest());
            match self.peek() {
                Some(b'"') => break,
                // Whatever is escaped, a quotation mark above all, does not end the string.
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                _ => return Err(ParseErrorKind::Syntax),
            }
        }
        let content = start..self.at;
        self.at += 1;
        let text = if escaped {
            // Decodes the escapes and refuses those that are none, lone surrogates among them.
            let quoted = self.source.get(start - 1..self.at).unwrap_or_default();
            let decoded: String = serde_json::from_str(quoted).map_err(|_| ParseErrorKind::Syntax)?;
            Text::Owned(decoded.into())
        } else {
            Text::Source(offset(content.start)..offset(content.end))
        };
        let length = text.bytes_in(self.source).len();
        if length > self.limits.string { Err(ParseErrorKind::StringTooLong) } else { Ok(text) }
    }

    fn literal(&mut self, word: &str) -> Scan<()> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(ParseErrorKind::Syntax);
        }
        self.at += word.len();
        Ok(())
    }

    /// RFC 8259 section 6.
    fn number(&mut self) -> Scan<()> {
        let start = self.at;
        self.skip_one(b"-");
        if !self.skip_one(b"0") && self.digits() == 0 {
            return Err(ParseErrorKind::Syntax);
        }
        if self.skip_one(b".") && self.digits() == 0 {
            return Err(ParseErrorKind::Syntax);
        }
        if self.skip_one(b"eE") {
            self.skip_one(b"+-");
            if self.digits() == 0 {
                return Err(ParseErrorKind::Syntax);
            }
        }
        let number = self.source.get(start..self.at).unwrap_or_default();
        if number.parse::<f64>().is_ok_and(f64::is_finite) { Ok(()) } else { Err(ParseErrorKind::NumberOutOfRange) }
    }

    fn digits(&mut self) -> usize {
        let count = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        count
    }

    fn skip_one(&mut self, bytes: &[u8]) -> bool {
        let skips = self.peek().is_some_and(|byte| bytes.contains(&byte));
        self.at += usize::from(skips);
        skips
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Scan<()> {
        if self.peek() != Some(byte) {
            return Err(ParseErrorKind::Syntax);
        }
        self.at += 1;
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.source.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &[u8] {
        self.source.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn since(&self, start: usize) -> Text {
        Text::Source(offset(start)..offset(self.at))
    }
}

/// How many bytes there are before a quotation mark, a backslash or a control character. Looks at eight at a time.
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
