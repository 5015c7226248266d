//! [`Registration`]: a client registration request, parsed strictly once.
//!
//! A registration is one JSON object (RFC 7591 section 3.1) that a stranger wrote. Two readers of the same bytes must
//! not see two different clients, so everything on which JSON readers disagree is refused while parsing: duplicate
//! member names at any depth (compared after unescaping, RFC 7493 section 2.3), byte order marks, trailing bytes, lone
//! surrogates, numbers beyond a binary64. What is left can only be **narrowed**: members can be removed, lists and
//! scopes shortened, absent members given a default. There is no way to set a member to something else, so a rule
//! further in can't undo the judgement of a rule further out.
//!
//! ```
//! use tower_dcr::Registration;
//!
//! let mut registration = Registration::parse(
//!     br#"{"redirect_uris":["http://127.0.0.1:7777/cb"],"grant_types":["authorization_code","password"]}"#,
//! )?;
//! registration.narrow_strings("grant_types", |grant| grant == "authorization_code");
//! registration.insert_default("token_endpoint_auth_method", "none");
//! assert_eq!(
//!     registration.canonical_bytes(),
//!     br#"{"grant_types":["authorization_code"],"redirect_uris":["http://127.0.0.1:7777/cb"],"token_endpoint_auth_method":"none"}"#
//!         .as_slice(),
//! );
//!
//! let refused = Registration::parse(br#"{"scope":"read","\u0073cope":"admin"}"#).unwrap_err();
//! assert_eq!(refused.to_string(), "a member name appears twice");
//! # Ok::<_, tower_dcr::registration::ParseError>(())
//! ```

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;

mod canonical;
mod digest;
mod limits;
mod parse;

pub use digest::Digest;
pub use limits::Limits;
pub use parse::{ParseError, ParseErrorKind};

/// A strictly parsed client registration (RFC 7591 section 2). See the [module docs](self) for what is refused.
#[derive(Clone)]
pub struct Registration {
    /// What the client sent. Texts that need no unescaping point into it.
    source: String,
    /// Sorted by name, each name once.
    members: Vec<Member>,
    /// The elements of all string arrays, one run per array.
    elements: Vec<Text>,
}

#[derive(Clone)]
struct Member {
    /// The first eight bytes of the name, big-endian: most comparisons end here.
    key: u64,
    name: Text,
    slot: Slot,
}

/// Where a member's value is kept.
#[derive(Clone)]
enum Slot {
    Null,
    Bool(bool),
    /// The JSON text of the number.
    Number(Text),
    String(Text),
    /// A run of [`Registration::elements`].
    Strings(Range<u32>),
    /// The JSON text of an array that holds something else than strings.
    Array(Text),
    /// The JSON text of an object.
    Object(Text),
}

/// Unescaped text, or the JSON text of a value.
#[derive(Clone)]
enum Text {
    /// Byte offsets into [`Registration::source`].
    Source(Range<u32>),
    Static(&'static str),
    Owned(Box<str>),
}

/// A member's value, borrowed from a [`Registration`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// The number's JSON text, as sent.
    Number(&'a str),
    /// An unescaped string.
    String(&'a str),
    /// An array that holds nothing but strings, possibly empty.
    Strings(Strings<'a>),
    /// The JSON text of any other array, as sent.
    Array(&'a str),
    /// The JSON text of an object, as sent.
    Object(&'a str),
}

/// The elements of an array of strings, in the order sent.
#[derive(Clone)]
pub struct Strings<'a> {
    registration: &'a Registration,
    range: Range<usize>,
}

impl Registration {
    /// Parses a registration under the default [`Limits`].
    ///
    /// # Errors
    ///
    /// [`ParseError`] says which of the module's rules the bytes break. It never quotes them.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        Self::parse_with(bytes, &Limits::default())
    }

    /// Parses a registration under `limits`.
    ///
    /// # Errors
    ///
    /// [`ParseError`] says which rule or limit the bytes break. It never quotes them.
    pub fn parse_with(bytes: &[u8], limits: &Limits) -> Result<Self, ParseError> {
        parse::parse(bytes, limits)
    }

    /// The bytes that were parsed, as they came.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The members in canonical order: by the bytes of their unescaped UTF-8 names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.members.iter().map(|member| (self.text(&member.name), self.value(&member.slot)))
    }

    /// The value of the member called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Value<'_>> {
        let member = self.members.get(self.find(name)?)?;
        Some(self.value(&member.slot))
    }

    /// The member called `name` and its language-tagged variants (`name#fr`, RFC 7591 section 2.2).
    pub fn variants(&self, name: &str) -> impl Iterator<Item = (&str, Value<'_>)> {
        let members = self.members.get(self.place(name)..).unwrap_or_default();
        members
            .iter()
            .map(|member| (self.text(&member.name), &member.slot))
            .map_while(move |(full, slot)| full.strip_prefix(name).map(|rest| (full, rest, slot)))
            .filter(|(_, rest, _)| rest.is_empty() || rest.starts_with('#'))
            .map(|(full, _, slot)| (full, self.value(slot)))
    }

    /// Whether there is a member called `name`, `null` included.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The value of the member called `name`, if it is a string.
    #[must_use]
    pub fn string(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The elements of the member called `name`, if it is an array of strings.
    #[must_use]
    pub fn strings(&self, name: &str) -> Option<Strings<'_>> {
        match self.get(name)? {
            Value::Strings(strings) => Some(strings),
            _ => None,
        }
    }

    /// The redirect URIs, in the order sent; nothing if `redirect_uris` is absent or not an array of strings.
    pub fn redirect_uris(&self) -> impl Iterator<Item = &str> {
        self.strings("redirect_uris").into_iter().flatten()
    }

    /// Removes the member called `name`; says whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some(position) = self.find(name) else { return false };
        self.members.remove(position);
        true
    }

    /// Keeps the members for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &Value<'_>) -> bool) {
        let mut members = std::mem::take(&mut self.members);
        members.retain(|member| keep(self.text(&member.name), &self.value(&member.slot)));
        self.members = members;
    }

    /// Keeps the elements of the string array `name` for which `keep` holds, in order; gives the number removed.
    ///
    /// A member that is absent or no array of strings stays as it is.
    pub fn narrow_strings(&mut self, name: &str, mut keep: impl FnMut(&str) -> bool) -> usize {
        let Some(position) = self.find(name) else { return 0 };
        let Some(Slot::Strings(range)) = self.members.get(position).map(|member| member.slot.clone()) else { return 0 };
        let mut kept = range.start;
        for index in range.clone() {
            if self.element(index as usize).is_some_and(&mut keep) {
                self.elements.swap(kept as usize, index as usize);
                kept += 1;
            }
        }
        if let Some(member) = self.members.get_mut(position) {
            member.slot = Slot::Strings(range.start..kept);
        }
        (range.end - kept) as usize
    }

    /// Keeps the space-separated tokens of the string `name` (such as `scope`, RFC 6749 section 3.3) for which `keep`
    /// holds; gives the number removed. Nothing is left of a list that was emptied but an empty string.
    ///
    /// A member that is absent or no string stays as it is.
    pub fn narrow_tokens(&mut self, name: &str, mut keep: impl FnMut(&str) -> bool) -> usize {
        let Some(list) = self.string(name) else { return 0 };
        let kept: Vec<&str> = list.split(' ').filter(|token| keep(token)).collect();
        let removed = list.split(' ').count() - kept.len();
        if removed > 0 {
            let narrowed = kept.join(" ").into();
            self.put(name, Slot::String(Text::Owned(narrowed)));
        }
        removed
    }

    /// Gives the member called `name` the string `value` if it is absent; says whether it was.
    pub fn insert_default(&mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> bool {
        self.insert_absent(Text::Static(name), |_| Slot::String(Text::from(value.into())))
    }

    /// Gives the member called `name` the array `values` if it is absent; says whether it was.
    pub fn insert_default_strings<V>(&mut self, name: &'static str, values: impl IntoIterator<Item = V>) -> bool
    where
        V: Into<Cow<'static, str>>,
    {
        self.insert_absent(Text::Static(name), |registration| {
            let start = registration.elements.len();
            registration.elements.extend(values.into_iter().map(|value| Text::from(value.into())));
            Slot::Strings(offset(start)..offset(registration.elements.len()))
        })
    }

    /// Gives the member called `name` any JSON `value` if it is absent; says whether it was.
    pub fn insert_default_value(&mut self, name: &str, value: &serde_json::Value) -> bool {
        self.insert_absent(Text::Owned(name.into()), |_| match value {
            serde_json::Value::Null => Slot::Null,
            serde_json::Value::Bool(value) => Slot::Bool(*value),
            serde_json::Value::Number(number) => Slot::Number(Text::Owned(number.to_string().into())),
            serde_json::Value::String(text) => Slot::String(Text::Owned(text.as_str().into())),
            serde_json::Value::Array(_) => Slot::Array(Text::Owned(value.to_string().into())),
            serde_json::Value::Object(_) => Slot::Object(Text::Owned(value.to_string().into())),
        })
    }

    /// Gives this document every member of `other` that it lacks; says whether it lacked any.
    pub(crate) fn complete_from(&mut self, other: &Self) -> bool {
        let mut lacked = false;
        for member in &other.members {
            let name = other.text(&member.name);
            if !self.contains(name) {
                let owned = Text::Owned(name.into());
                lacked |= self.insert_absent(owned, |registration| registration.adopt(other, &member.slot));
            }
        }
        lacked
    }

    /// The registration as compact JSON with every object's members sorted by the bytes of their unescaped UTF-8
    /// names, and only those characters escaped that RFC 8259 section 7 demands. Numbers keep the text that was sent.
    ///
    /// The bytes don't depend on how `serde_json` is configured elsewhere in the build.
    #[must_use]
    pub fn canonical_bytes(&self) -> Vec<u8> {
        canonical::to_bytes(self)
    }

    /// SHA-256 of the [canonical bytes](Self::canonical_bytes).
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.canonical_bytes())
    }

    fn insert_absent(&mut self, name: Text, slot: impl FnOnce(&mut Self) -> Slot) -> bool {
        if self.contains(self.text(&name)) {
            return false;
        }
        let position = self.place(self.text(&name));
        let slot = slot(self);
        self.members.insert(position, Member::new(name, slot, &self.source));
        true
    }

    /// A copy of a value of `other` that stands by itself.
    fn adopt(&mut self, other: &Self, slot: &Slot) -> Slot {
        let own = |text: &Text| Text::Owned(other.text(text).into());
        match slot {
            Slot::Null => Slot::Null,
            Slot::Bool(value) => Slot::Bool(*value),
            Slot::Number(text) => Slot::Number(own(text)),
            Slot::String(text) => Slot::String(own(text)),
            Slot::Array(text) => Slot::Array(own(text)),
            Slot::Object(text) => Slot::Object(own(text)),
            Slot::Strings(range) => {
                let start = self.elements.len();
                let elements = other.elements.get(range.start as usize..range.end as usize).unwrap_or_default();
                self.elements.extend(elements.iter().map(own));
                Slot::Strings(offset(start)..offset(self.elements.len()))
            }
        }
    }

    fn put(&mut self, name: &str, slot: Slot) {
        if let Some(position) = self.find(name)
            && let Some(member) = self.members.get_mut(position)
        {
            member.slot = slot;
        }
    }

    /// One after the other: there are few, and their keys differ.
    fn find(&self, name: &str) -> Option<usize> {
        let key = key(name);
        self.members.iter().position(|member| member.key == key && self.text(&member.name) == name)
    }

    /// Where a member belongs, or is.
    fn place(&self, name: &str) -> usize {
        let key = key(name);
        self.members.partition_point(|member| member.compare(key, name.as_bytes(), &self.source).is_lt())
    }

    fn element(&self, index: usize) -> Option<&str> {
        self.elements.get(index).map(|text| self.text(text))
    }

    fn text<'a>(&'a self, text: &'a Text) -> &'a str {
        text.in_source(&self.source)
    }

    fn value<'a>(&'a self, slot: &'a Slot) -> Value<'a> {
        match slot {
            Slot::Null => Value::Null,
            Slot::Bool(value) => Value::Bool(*value),
            Slot::Number(text) => Value::Number(self.text(text)),
            Slot::String(text) => Value::String(self.text(text)),
            Slot::Strings(range) => {
                Value::Strings(Strings { registration: self, range: range.start as usize..range.end as usize })
            }
            Slot::Array(text) => Value::Array(self.text(text)),
            Slot::Object(text) => Value::Object(self.text(text)),
        }
    }
}

/// Names only: values may hold secrets.
impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

impl Member {
    fn new(name: Text, slot: Slot, source: &str) -> Self {
        Self { key: key(name.in_source(source)), name, slot }
    }

    /// Compares by name with one whose key is known.
    fn compare(&self, key: u64, name: &[u8], source: &str) -> Ordering {
        self.key.cmp(&key).then_with(|| self.name.bytes_in(source).cmp(name))
    }
}

fn key(name: &str) -> u64 {
    if let Some(first) = name.as_bytes().first_chunk::<8>() {
        return u64::from_be_bytes(*first);
    }
    let mut first = [0; 8];
    first.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    u64::from_be_bytes(first)
}

impl Text {
    fn in_source<'a>(&'a self, source: &'a str) -> &'a str {
        match self {
            // The parser made the range from a slice of this very source, which is never changed.
            Self::Source(range) => source.get(range.start as usize..range.end as usize).unwrap_or_default(),
            Self::Static(text) => text,
            Self::Owned(text) => text,
        }
    }

    /// The same as bytes, which need no look at character boundaries.
    fn bytes_in<'a>(&'a self, source: &'a str) -> &'a [u8] {
        match self {
            Self::Source(range) => source.as_bytes().get(range.start as usize..range.end as usize).unwrap_or_default(),
            Self::Static(text) => text.as_bytes(),
            Self::Owned(text) => text.as_bytes(),
        }
    }
}

impl From<Cow<'static, str>> for Text {
    fn from(text: Cow<'static, str>) -> Self {
        match text {
            Cow::Borrowed(text) => Self::Static(text),
            Cow::Owned(text) => Self::Owned(text.into()),
        }
    }
}

impl Value<'_> {
    /// What JSON calls this kind of value.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Strings(_) => "an array of strings",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }

    /// Whether RFC 7592 section 2.2 lets a server read the value as if the member were omitted: `null`, `""`, `[]`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Null | Self::String("") => true,
            Self::Strings(strings) => strings.len() == 0,
            _ => false,
        }
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.registration.element(self.range.next()?)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.range.size_hint()
    }
}

impl ExactSizeIterator for Strings<'_> {}

impl fmt::Debug for Strings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

/// Offsets are kept in 32 bits: `Limits` allows no body of 4 GiB.
fn offset(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
