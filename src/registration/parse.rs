//! The strict reader. `serde_json` reads the tokens; what it leaves open is settled here.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

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
    if !source.trim_ascii_start().starts_with('{') {
        // Not a BOM, an array or a bare scalar either: each is told from an object by its first character.
        let json = serde_json::from_str::<IgnoredAny>(source).is_ok();
        return Err(ParseError::new(if json { ParseErrorKind::NotAnObject } else { ParseErrorKind::Syntax }));
    }
    let reader = Reader { base: source.as_ptr().addr(), limits, fault: Cell::new(ParseErrorKind::Syntax) };
    let mut elements = Vec::with_capacity(8);
    let mut deserializer = serde_json::Deserializer::from_str(source);
    let members = deserializer
        .deserialize_map(Members { reader: &reader, elements: &mut elements })
        .and_then(|members| deserializer.end().map(|()| members))
        .map_err(|_| ParseError::new(reader.fault.get()))?;
    let mut registration = Registration { source: source.to_owned(), members: Vec::new(), elements };
    registration.members = sorted(&registration, members)?;
    Ok(registration)
}

/// Sorts the members by name, which brings duplicates together.
fn sorted(registration: &Registration, mut members: Vec<Member>) -> Result<Vec<Member>, ParseError> {
    members.sort_unstable_by(|a, b| registration.text(&a.name).cmp(registration.text(&b.name)));
    let twice = members
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if registration.text(&a.name) == registration.text(&b.name)));
    if twice { Err(ParseError::new(ParseErrorKind::DuplicateMember)) } else { Ok(members) }
}

/// What the visitors share. `fault` carries a kind out, past `serde_json`'s own error.
struct Reader<'l> {
    base: usize,
    limits: &'l Limits,
    fault: Cell<ParseErrorKind>,
}

impl Reader<'_> {
    fn fail<E: serde::de::Error>(&self, kind: ParseErrorKind) -> E {
        self.fault.set(kind);
        E::custom("refused")
    }

    /// The text of a slice of the source.
    fn borrowed(&self, text: &str) -> Text {
        let start = text.as_ptr().addr() - self.base;
        Text::Source(offset(start)..offset(start + text.len()))
    }

    fn check_string<E: serde::de::Error>(&self, text: &str) -> Result<(), E> {
        if text.len() > self.limits.string { Err(self.fail(ParseErrorKind::StringTooLong)) } else { Ok(()) }
    }

    /// Reads one member's value, whose JSON text `serde_json` has already found to be well formed but for the content
    /// of its strings.
    fn slot<E: serde::de::Error>(&self, raw: &str, elements: &mut Vec<Text>) -> Result<Slot, E> {
        match raw.as_bytes() {
            b"null" => Ok(Slot::Null),
            b"true" => Ok(Slot::Bool(true)),
            b"false" => Ok(Slot::Bool(false)),
            [b'"', ..] => self.string(raw).map(Slot::String),
            [b'[', ..] => self.array(raw, elements),
            [b'{', ..] => {
                Self::walk(raw, Nested { reader: self, depth: 1 })?;
                Ok(Slot::Object(self.borrowed(raw)))
            }
            _ => self.check_number(raw).map(|()| Slot::Number(self.borrowed(raw))),
        }
    }

    fn string<E: serde::de::Error>(&self, raw: &str) -> Result<Text, E> {
        if raw.contains('\\') {
            // The one place where a lone surrogate can hide.
            let text: String = serde_json::from_str(raw).map_err(E::custom)?;
            self.check_string(&text)?;
            return Ok(Text::Owned(text.into()));
        }
        let text = raw.get(1..raw.len() - 1).unwrap_or_default();
        self.check_string(text)?;
        Ok(self.borrowed(text))
    }

    fn array<E: serde::de::Error>(&self, raw: &str, elements: &mut Vec<Text>) -> Result<Slot, E> {
        let start = elements.len();
        if Self::walk(raw, Elements { reader: self, elements })? {
            return Ok(Slot::Strings(offset(start)..offset(elements.len())));
        }
        elements.truncate(start);
        Ok(Slot::Array(self.borrowed(raw)))
    }

    fn check_number<E: serde::de::Error>(&self, digits: &str) -> Result<(), E> {
        if digits.parse::<f64>().is_ok_and(f64::is_finite) {
            Ok(())
        } else {
            Err(self.fail(ParseErrorKind::NumberOutOfRange))
        }
    }

    fn walk<'de, E: serde::de::Error, S: DeserializeSeed<'de>>(raw: &'de str, seed: S) -> Result<S::Value, E> {
        // The kind of what went wrong is in `fault`.
        seed.deserialize(&mut serde_json::Deserializer::from_str(raw)).map_err(E::custom)
    }
}

/// Reads the outermost object.
struct Members<'r, 'l> {
    reader: &'r Reader<'l>,
    elements: &'r mut Vec<Text>,
}

impl<'de> Visitor<'de> for Members<'_, '_> {
    type Value = Vec<Member>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a client registration")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(12);
        while let Some(name) = map.next_key_seed(Name { reader: self.reader })? {
            if members.len() >= self.reader.limits.members {
                return Err(self.reader.fail(ParseErrorKind::TooManyMembers));
            }
            let raw: &'de RawValue = map.next_value()?;
            let slot = self.reader.slot(raw.get(), self.elements)?;
            let name = match name {
                Cow::Borrowed(name) => self.reader.borrowed(name),
                Cow::Owned(name) => Text::Owned(name.into()),
            };
            members.push(Member { name, slot });
        }
        Ok(members)
    }
}

/// Reads a member name.
struct Name<'r, 'l> {
    reader: &'r Reader<'l>,
}

impl<'de> DeserializeSeed<'de> for Name<'_, '_> {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name<'_, '_> {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, name: &'de str) -> Result<Self::Value, E> {
        self.reader.check_string(name)?;
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
        self.reader.check_string(name)?;
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// Reads the elements of a member's array; says whether all of them are strings.
struct Elements<'r, 'l> {
    reader: &'r Reader<'l>,
    elements: &'r mut Vec<Text>,
}

impl<'de> DeserializeSeed<'de> for Elements<'_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        let nested = Nested { reader: self.reader, depth: 2 };
        nested.check_depth()?;
        let mut only_strings = true;
        let mut count = 0;
        while let Some(element) = seq.next_element_seed(nested)? {
            count += 1;
            if count > self.reader.limits.array {
                return Err(self.reader.fail(ParseErrorKind::ArrayTooLong));
            }
            match element {
                Some(text) => self.elements.push(text),
                None => only_strings = false,
            }
        }
        Ok(only_strings)
    }
}

/// Walks a value at any depth, for what makes readers disagree and for the limits. Gives the text of a string.
#[derive(Clone, Copy)]
struct Nested<'r, 'l> {
    reader: &'r Reader<'l>,
    /// Objects and arrays around this value.
    depth: usize,
}

/// What `serde_json` calls the only member of the map as which it shows a number when another crate in the build
/// turns on its feature `arbitrary_precision`.
const NUMBER: &str = "$serde_json::private::Number";

impl Nested<'_, '_> {
    fn check_depth<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.depth > self.reader.limits.depth { Err(self.reader.fail(ParseErrorKind::TooDeep)) } else { Ok(()) }
    }

    fn deeper(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }

    /// The rest of such a map: a single string. A client that sends an object of this shape gains nothing by it.
    fn number<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<Option<Text>, A::Error> {
        let digits: String = map.next_value()?;
        match map.next_key::<IgnoredAny>()? {
            None => self.reader.check_number(&digits).map(|()| None),
            Some(_) => Err(A::Error::custom("reserved member name")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Nested<'_, '_> {
    type Value = Option<Text>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested<'_, '_> {
    type Value = Option<Text>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        self.reader.check_string(text)?;
        Ok(Some(self.reader.borrowed(text)))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        self.reader.check_string(text)?;
        Ok(Some(Text::Owned(text.into())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let inner = self.deeper();
        inner.check_depth()?;
        let mut count = 0;
        while seq.next_element_seed(inner)?.is_some() {
            count += 1;
            if count > self.reader.limits.array {
                return Err(self.reader.fail(ParseErrorKind::ArrayTooLong));
            }
        }
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let inner = self.deeper();
        let mut names: Vec<Cow<'de, str>> = Vec::new();
        while let Some(name) = map.next_key_seed(Name { reader: self.reader })? {
            if names.is_empty() && name == NUMBER {
                return self.number(map);
            }
            inner.check_depth()?;
            if names.contains(&name) {
                return Err(self.reader.fail(ParseErrorKind::DuplicateMember));
            }
            if names.len() >= self.reader.limits.members {
                return Err(self.reader.fail(ParseErrorKind::TooManyMembers));
            }
            names.push(name);
            map.next_value_seed(inner)?;
        }
        // An empty object is a level too.
        inner.check_depth()?;
        Ok(None)
    }
}
