//! The members of a [`Registration`](super::Registration), stored as byte ranges of one text.

use std::cmp::Ordering;
use std::ops::Range;

use super::Field;

/// A name and a value.
#[derive(Clone)]
pub(super) struct Member {
    /// The first eight bytes of the name, big-endian: most comparisons end here.
    pub(super) key: u64,
    pub(super) name: Text,
    pub(super) kind: Kind,
    pub(super) slot: Slot,
    /// The range of the whole member in the text if it is there in canonical form; empty otherwise.
    pub(super) canonical: Text,
}

/// The field that a member's name stands for, in a byte: most members are found by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind(u8);

/// A member's value. The variants have no payload: a copy of one with payload goes byte by byte, which stalls.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub(super) form: Form,
    pub(super) place: Text,
}

/// The form in which a value is stored: its JSON text, unless a variant says otherwise.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Null,
    False,
    True,
    Number,
    /// Unescaped.
    String,
    /// As a run of the registration's elements, which are unescaped.
    Strings,
    /// An array that holds something else than strings.
    Array,
    Object,
}

/// Byte offsets into a registration's text: the start in the upper half, the end in the lower. In one word, since a
/// processor stalls when it reads as one what was written as two.
#[derive(Clone, Copy)]
pub(super) struct Text(u64);

impl Member {
    /// A member whose name is `bytes`. Inlined, so that it is written once, where it stays.
    #[inline]
    pub(super) fn new(name: Text, bytes: &[u8], slot: Slot, canonical: Text) -> Self {
        Self { key: key(bytes), name, kind: Kind::of(bytes), slot, canonical }
    }

    /// Compares by name with one whose key is known.
    pub(super) fn compare(&self, key: u64, name: &[u8], text: &[u8]) -> Ordering {
        self.key.cmp(&key).then_with(|| self.name.of(text).cmp(name))
    }

    pub(super) fn put(&mut self, slot: Slot) {
        self.slot = slot;
        self.canonical = Text::EMPTY;
    }
}

impl Slot {
    pub(super) const fn new(form: Form, place: Text) -> Self {
        Self { form, place }
    }
}

impl Kind {
    const TAGGED: u8 = 0x80;
    const UNKNOWN: Self = Self(u8::MAX);

    #[inline(never)]
    fn of(name: &[u8]) -> Self {
        if let Some(field) = Field::of(name) {
            return Self::known(field);
        }
        let tagged = memchr::memchr(b'#', name).and_then(|at| Field::of(name.get(..at)?));
        match tagged.filter(|field| field.is_human_readable()) {
            Some(Field(index)) => Self(index | Self::TAGGED),
            None => Self::UNKNOWN,
        }
    }

    /// Returns the kind of a field that specifications define.
    pub(crate) const fn known(field: Field) -> Self {
        Self(field.0)
    }

    /// Returns `true` for a human-readable field with a language tag, well formed or not (RFC 7591 section 2.2).
    pub(crate) const fn is_tagged(self) -> bool {
        self.0 & Self::TAGGED != 0 && self.0 != Self::UNKNOWN.0
    }

    /// Returns the field without the language tag; `None` if the name is unknown.
    pub(crate) const fn base(self) -> Option<Field> {
        if self.0 == Self::UNKNOWN.0 { None } else { Some(Field(self.0 & !Self::TAGGED)) }
    }

    /// Returns the field; `None` if the name is unknown or has a language tag.
    pub(crate) const fn field(self) -> Option<Field> {
        if self.0 & Self::TAGGED == 0 { Some(Field(self.0)) } else { None }
    }
}

impl Text {
    pub(super) const EMPTY: Self = Self(0);

    pub(super) fn new(start: usize, end: usize) -> Self {
        Self(u64::from(offset(start)) << 32 | u64::from(offset(end)))
    }

    const fn start(self) -> usize {
        (self.0 >> 32) as usize
    }

    pub(super) const fn end(self) -> usize {
        (self.0 & 0xFFFF_FFFF) as usize
    }

    pub(super) const fn range(self) -> Range<usize> {
        self.start()..self.end()
    }

    pub(super) const fn len(self) -> usize {
        self.end() - self.start()
    }

    pub(super) const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Returns the range of `text` as bytes, without a check of character boundaries.
    pub(super) fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.range()).unwrap_or_default()
    }

    /// The same in a text that is still in two pieces; no string lies across both.
    pub(super) fn of_two<'a>(self, first: &'a [u8], second: &'a [u8]) -> &'a [u8] {
        match self.start().checked_sub(first.len()) {
            // An empty string at the end of the first is the one at the start of the second.
            Some(start) => second.get(start..start + self.len()).unwrap_or_default(),
            None => self.of(first),
        }
    }
}

/// Offsets are kept in 32 bits: `Limits` allows no body of more than 1 GiB.
pub(super) fn offset(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

pub(super) fn key(name: &[u8]) -> u64 {
    if let Some(first) = name.first_chunk::<8>() {
        return u64::from_be_bytes(*first);
    }
    name.iter().chain(&[0; 8]).take(8).fold(0, |key, byte| key << 8 | u64::from(*byte))
}
