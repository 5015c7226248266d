//! [`Registration`]: a client registration request, parsed strictly once.
//!
//! A registration is one JSON object (RFC 7591 section 3.1) from an untrusted client. Two readers of the same bytes must
//! not see two different clients, so everything on which JSON readers disagree is rejected while parsing: duplicate
//! member names at any depth (compared after unescaping, RFC 7493 section 2.3), byte order marks, trailing bytes, lone
//! surrogates, numbers beyond a binary64. Rules change a registration by a [`Draft`](crate::rules::Draft) only: they
//! remove members, shorten lists, scopes and names, give absent members a default, and set values of the operator. A later
//! rule can't undo the rejection of an earlier one.
//!
//! ```
//! use tower_dcr::Registration;
//!
//! let registration = Registration::parse(br#"{ "redirect_uris": ["http://127.0.0.1:7777/cb"], "client_name": "\u0041pp" }"#)?;
//! assert_eq!(registration.string("client_name"), Some("App"));
//! assert_eq!(
//!     registration.canonical_bytes(),
//!     br#"{"client_name":"App","redirect_uris":["http://127.0.0.1:7777/cb"]}"#,
//! );
//!
//! let error = Registration::parse(br#"{"scope":"read","\u0073cope":"admin"}"#).unwrap_err();
//! assert_eq!(error.to_string(), "a member name appears twice");
//! # Ok::<_, tower_dcr::registration::ParseError>(())
//! ```

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

mod canonical;
mod digest;
mod field;
mod index;
mod limits;
mod member;
mod parse;

use index::Index;
use member::{Form, Member, Slot, Text};

pub use digest::Digest;
pub(crate) use field::{Acceptance, Field, JsonType, UriUse};
pub use limits::Limits;
pub(crate) use member::Kind;
pub use parse::ParseError;

/// A strictly parsed client registration (RFC 7591 section 2). The [module docs](self) list the inputs that are rejected.
///
/// ```
/// use tower_dcr::Registration;
///
/// let registration = Registration::parse(br#"{"scope":"read","client_name#fr":"Appli","contacts":["a@example.com"]}"#)?;
/// assert_eq!(registration.string("client_name#fr"), Some("Appli"));
/// assert_eq!(registration.strings("contacts").unwrap().count(), 1);
/// assert!(!registration.contains("client_name"));
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[derive(Clone)]
pub struct Registration {
    /// The text that the client sent, followed by every string that is not in it verbatim: unescaped ones, and those that
    /// rules inserted.
    text: String,
    /// Number of bytes of the text that were sent.
    sent: usize,
    /// `true` if every string that was sent is printable ASCII.
    plain: bool,
    /// Sorted by name, each name once.
    members: Vec<Member>,
    index: Index,
    /// The elements of all string arrays, one run per array.
    elements: Vec<Text>,
    /// Strings that were shortened, as they were sent.
    shortened: Vec<Text>,
}

/// A member's value, borrowed from a [`Registration`].
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::registration::Value;
///
/// let registration = Registration::parse(br#"{"default_max_age":3600}"#)?;
/// assert!(matches!(registration.get("default_max_age"), Some(Value::Number("3600"))));
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
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
///
/// ```
/// use tower_dcr::Registration;
///
/// let registration = Registration::parse(br#"{"grant_types":["authorization_code","refresh_token"]}"#)?;
/// let grants = registration.strings("grant_types").unwrap();
/// assert_eq!(grants.len(), 2);
/// assert!(grants.eq(["authorization_code", "refresh_token"]));
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[derive(Clone)]
pub struct Strings<'a> {
    registration: &'a Registration,
    range: Range<usize>,
}

/// A member in its registration.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    registration: &'a Registration,
    member: &'a Member,
}

impl Registration {
    /// Parses a registration under the default [`Limits`].
    ///
    /// # Errors
    ///
    /// [`ParseError`] names the rule that the bytes break. It never quotes them.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        Self::parse_with(bytes, &Limits::default())
    }

    /// Parses a registration under `limits`.
    ///
    /// # Errors
    ///
    /// [`ParseError`] names the rule or limit that the bytes break. It never quotes them.
    pub fn parse_with(bytes: &[u8], limits: &Limits) -> Result<Self, ParseError> {
        parse::parse(bytes, limits)
    }

    /// Returns the text that was parsed, unchanged.
    #[must_use]
    pub fn source(&self) -> &str {
        self.text.get(..self.sent).unwrap_or_default()
    }

    /// Returns the members in canonical order: by the bytes of their unescaped UTF-8 names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.members.iter().map(|member| (self.text(member.name), self.value(member.slot)))
    }

    /// Returns the value of the member called `name`; `None` if it is absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Value<'_>> {
        Some(self.value(self.find(name)?.slot))
    }

    /// Returns the member called `name` and its language-tagged variants (`name#fr`, RFC 7591 section 2.2).
    #[cfg(any(test, feature = "software-statement"))]
    pub(crate) fn variants(&self, name: &str) -> impl Iterator<Item = (&str, Value<'_>)> {
        let is_variant =
            move |full: &str| full.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('#'));
        self.iter().filter(move |(full, _)| is_variant(full))
    }

    /// Returns `true` if there is a member called `name`, also if it is `null`.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Returns the value of the member called `name` if it is a string.
    #[must_use]
    pub fn string(&self, name: &str) -> Option<&str> {
        self.string_in(self.find(name)?)
    }

    /// Returns the elements of the member called `name` if it is an array of strings.
    #[must_use]
    pub fn strings(&self, name: &str) -> Option<Strings<'_>> {
        self.strings_in(self.find(name)?)
    }

    /// Returns the redirect URIs in the order sent; none if `redirect_uris` is absent or not an array of strings.
    pub fn redirect_uris(&self) -> impl Iterator<Item = &str> {
        self.strings_at(Field::REDIRECT_URIS).into_iter().flatten()
    }

    /// Removes the member called `name`. Returns `true` if it was there.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let Some(position) = self.position(name) else { return false };
        self.members.remove(position);
        self.index = Index::of(&self.members);
        true
    }

    /// Keeps the members for which `keep` holds.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str, &Value<'_>) -> bool) {
        let mut members = std::mem::take(&mut self.members);
        members.retain(|member| keep(self.text(member.name), &self.value(member.slot)));
        self.members = members;
        self.index = Index::of(&self.members);
    }

    /// Keeps the elements of the string array `name` for which `keep` holds, in order. Returns the number removed.
    ///
    /// A member that is absent or not an array of strings is left unchanged.
    pub(crate) fn narrow_strings(&mut self, name: &str, mut keep: impl FnMut(&str) -> bool) -> usize {
        let Some(position) = self.position(name) else { return 0 };
        let Some(slot) = self.members.get(position).map(|member| member.slot) else { return 0 };
        if slot.form != Form::Strings {
            return 0;
        }
        let range = slot.place.range();
        let mut kept = range.start;
        for index in range.clone() {
            if self.element(index).is_some_and(&mut keep) {
                self.elements.swap(kept, index);
                kept += 1;
            }
        }
        if kept < range.end {
            self.put(position, Slot::new(Form::Strings, Text::new(range.start, kept)));
        }
        range.end - kept
    }

    /// Keeps the space-separated tokens of the string `name` (such as `scope`, RFC 6749 section 3.3) for which `keep`
    /// holds. Returns the number removed. An emptied list becomes an empty string.
    ///
    /// A member that is absent or not a string is left unchanged.
    pub(crate) fn narrow_tokens(&mut self, name: &str, mut keep: impl FnMut(&str) -> bool) -> usize {
        let Some(position) = self.position(name) else { return 0 };
        let Some(list) = self.members.get(position).and_then(|member| self.string_in(member)) else { return 0 };
        let kept: Vec<&str> = list.split(' ').filter(|token| keep(token)).collect();
        let removed = list.split(' ').count() - kept.len();
        if removed > 0 {
            let narrowed = kept.join(" ");
            let text = self.append(&narrowed);
            self.put(position, Slot::new(Form::String, text));
        }
        removed
    }

    /// Keeps the first `bytes` bytes of the string at `position` in canonical order. Leaves a shorter string
    /// unchanged, and one that would be cut within a character.
    pub(crate) fn shorten_at(&mut self, position: usize, bytes: usize) {
        let Some(whole) = self.members.get(position).map(|member| member.slot.place) else { return };
        if self.entry(position).is_some_and(Entry::is_text)
            && self.text(whole).len() > bytes
            && self.text(whole).is_char_boundary(bytes)
        {
            let start = whole.range().start;
            self.put(position, Slot::new(Form::String, Text::new(start, start + bytes)));
            self.shortened.push(whole);
        }
    }

    /// Returns the strings that were shortened, as they were sent.
    pub(crate) fn shortened(&self) -> impl Iterator<Item = &str> {
        self.shortened.iter().map(|text| self.text(*text))
    }

    /// Sets the member called `name` to the string `value` if it is absent. Returns `true` if it was.
    pub(crate) fn insert_default(&mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> bool {
        self.insert_absent(name, |registration| Slot::new(Form::String, registration.append(&value.into())))
    }

    /// Sets the member called `name` to the array `values` if it is absent. Returns `true` if it was.
    pub(crate) fn insert_default_strings<V>(&mut self, name: &'static str, values: impl IntoIterator<Item = V>) -> bool
    where
        V: Into<Cow<'static, str>>,
    {
        self.insert_absent(name, |registration| registration.append_all(values.into_iter().map(Into::into)))
    }

    /// Sets the member called `name` to any JSON `value` if it is absent. Returns `true` if it was.
    pub(crate) fn insert_default_value(&mut self, name: &str, value: &serde_json::Value) -> bool {
        // The result may hold other characters than the strings that were sent.
        self.plain &= value.to_string().bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'\\');
        if let serde_json::Value::Array(elements) = value
            && let Some(strings) = elements.iter().map(serde_json::Value::as_str).collect::<Option<Vec<&str>>>()
        {
            return self.insert_absent(name, |registration| registration.append_all(strings.into_iter()));
        }
        let form = match value {
            serde_json::Value::Null => Form::Null,
            serde_json::Value::Bool(false) => Form::False,
            serde_json::Value::Bool(true) => Form::True,
            serde_json::Value::Number(_) => Form::Number,
            serde_json::Value::String(_) => Form::String,
            serde_json::Value::Array(_) => Form::Array,
            serde_json::Value::Object(_) => Form::Object,
        };
        self.insert_absent(name, |registration| match value {
            serde_json::Value::String(text) => Slot::new(form, registration.append(text)),
            json => Slot::new(form, registration.append(&json.to_string())),
        })
    }

    /// Replaces a field by that of `other`. Returns `true` if that changes anything, and `false` if `other` does not have it.
    pub(crate) fn replace_field_from(&mut self, other: &Self, field: Field) -> bool {
        other.position(field.name()).is_some_and(|position| self.replace_from(other, position))
    }

    /// Replaces the member of the same name by the one of `other` at `position`. Returns `true` if that changes anything.
    pub(crate) fn replace_from(&mut self, other: &Self, position: usize) -> bool {
        let Some(member) = other.members.get(position) else { return false };
        let name = other.text(member.name);
        let bytes = |document: &Self| {
            let mut only = document.clone();
            only.retain(|other, _| other == name);
            only.canonical_bytes()
        };
        if self.contains(name) && bytes(self) == bytes(other) {
            return false;
        }
        self.remove(name);
        // The result may hold other characters than the strings that were sent.
        self.plain &= other.plain;
        self.insert_absent(name, |registration| registration.adopt(other, member.slot))
    }

    /// Adds every member of `other` that is absent here. Returns `true` if any was.
    pub(crate) fn complete_from(&mut self, other: &Self) -> bool {
        let mut lacked = false;
        for member in &other.members {
            if self.find_like(other, member).is_none() {
                lacked |=
                    self.insert_absent(other.text(member.name), |registration| registration.adopt(other, member.slot));
            }
        }
        lacked
    }

    /// Returns the registration as compact JSON with every object's members sorted by the bytes of their unescaped UTF-8
    /// names, and only those characters escaped that RFC 8259 section 7 demands. Numbers keep the text that was sent.
    ///
    /// The features of `serde_json` that other crates turn on do not change the bytes.
    #[must_use]
    pub fn canonical_bytes(&self) -> Vec<u8> {
        canonical::to_bytes(self)
    }

    /// Returns the SHA-256 of the [canonical bytes](Self::canonical_bytes).
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.canonical_bytes())
    }

    /// Returns the value of a field that specifications define.
    pub(crate) fn at(&self, field: Field) -> Option<Value<'_>> {
        Some(self.value(self.find_field(field)?.slot))
    }

    /// Returns the value of a field if it is a string.
    pub(crate) fn string_at(&self, field: Field) -> Option<&str> {
        self.string_in(self.find_field(field)?)
    }

    /// Returns the elements of a field if it is an array of strings.
    pub(crate) fn strings_at(&self, field: Field) -> Option<Strings<'_>> {
        self.strings_in(self.find_field(field)?)
    }

    /// Returns the members in canonical order, with the kinds of their names.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.members.iter().map(|member| Entry { registration: self, member })
    }

    /// Returns the member at this position in canonical order.
    pub(crate) fn entry(&self, position: usize) -> Option<Entry<'_>> {
        self.members.get(position).map(|member| Entry { registration: self, member })
    }

    /// Removes the members at these positions in canonical order; the positions are sorted.
    pub(crate) fn remove_at(&mut self, positions: &[usize]) {
        let (mut position, mut doomed) = (0, positions.iter().peekable());
        self.members.retain(|_| {
            position += 1;
            doomed.next_if(|doomed| **doomed == position - 1).is_none()
        });
        self.index = Index::of(&self.members);
    }

    /// Returns `true` if every string that was sent is printable ASCII and has at most `bytes` bytes; `false` also if only a
    /// look at each string would tell.
    pub(crate) fn is_plain_within(&self, bytes: usize) -> bool {
        self.plain && self.sent <= bytes
    }

    /// Returns `true` if every string that was sent is printable ASCII, so that none needs to be searched for other
    /// characters. Strings that rules inserted are the operator's own and do not count.
    pub(crate) fn is_plain(&self) -> bool {
        self.plain
    }

    fn insert_absent(&mut self, name: &str, slot: impl FnOnce(&mut Self) -> Slot) -> bool {
        if self.contains(name) {
            return false;
        }
        let key = member::key(name.as_bytes());
        let position =
            self.members.partition_point(|member| member.compare(key, name.as_bytes(), self.text.as_bytes()).is_lt());
        let text = self.append(name);
        let slot = slot(self);
        self.members.insert(position, Member::new(text, name.as_bytes(), slot, Text::EMPTY));
        self.index = Index::of(&self.members);
        true
    }

    /// Copies a value of `other` into this text.
    fn adopt(&mut self, other: &Self, slot: Slot) -> Slot {
        if slot.form != Form::Strings {
            return Slot::new(slot.form, self.append(other.text(slot.place)));
        }
        self.append_all(other.run(slot.place))
    }

    fn append(&mut self, text: &str) -> Text {
        let start = self.text.len();
        self.text.push_str(text);
        Text::new(start, self.text.len())
    }

    /// Returns the value of an array of these strings.
    fn append_all<T: AsRef<str>>(&mut self, strings: impl Iterator<Item = T>) -> Slot {
        let start = self.elements.len();
        for string in strings {
            let text = self.append(string.as_ref());
            self.elements.push(text);
        }
        Slot::new(Form::Strings, Text::new(start, self.elements.len()))
    }

    fn put(&mut self, position: usize, slot: Slot) {
        if let Some(member) = self.members.get_mut(position) {
            member.put(slot);
        }
    }

    fn find(&self, name: &str) -> Option<&Member> {
        self.members.get(self.position(name)?)
    }

    fn position(&self, name: &str) -> Option<usize> {
        let key = member::key(name.as_bytes());
        self.members.iter().position(|member| member.key == key && self.text(member.name) == name)
    }

    fn find_field(&self, field: Field) -> Option<&Member> {
        self.index.find(&self.members, field)
    }

    /// Returns the member that has the name of one of `other`'s.
    fn find_like(&self, other: &Self, member: &Member) -> Option<&Member> {
        match member.kind.field() {
            Some(field) => self.find_field(field),
            None => self.find(other.text(member.name)),
        }
    }

    fn element(&self, index: usize) -> Option<&str> {
        self.elements.get(index).map(|text| self.text(*text))
    }

    /// Every [`Text`] was made from a slice of this text, of which nothing is ever removed.
    fn text(&self, text: Text) -> &str {
        self.text.get(text.range()).unwrap_or_default()
    }

    fn bytes(&self, text: Text) -> &[u8] {
        text.of(self.text.as_bytes())
    }

    fn string_in(&self, member: &Member) -> Option<&str> {
        (member.slot.form == Form::String).then(|| self.text(member.slot.place))
    }

    fn strings_in(&self, member: &Member) -> Option<Strings<'_>> {
        (member.slot.form == Form::Strings).then(|| self.run(member.slot.place))
    }

    fn run(&self, place: Text) -> Strings<'_> {
        Strings { registration: self, range: place.range() }
    }

    fn value(&self, slot: Slot) -> Value<'_> {
        match slot.form {
            Form::Null => Value::Null,
            Form::False => Value::Bool(false),
            Form::True => Value::Bool(true),
            Form::Number => Value::Number(self.text(slot.place)),
            Form::String => Value::String(self.text(slot.place)),
            Form::Strings => Value::Strings(self.run(slot.place)),
            Form::Array => Value::Array(self.text(slot.place)),
            Form::Object => Value::Object(self.text(slot.place)),
        }
    }
}

impl<'a> Entry<'a> {
    pub(crate) fn kind(self) -> Kind {
        self.member.kind
    }

    pub(crate) fn name(self) -> &'a str {
        self.registration.text(self.member.name)
    }

    pub(crate) fn value(self) -> Value<'a> {
        self.registration.value(self.member.slot)
    }

    /// Returns `true` for `null` and an empty string.
    pub(crate) fn is_blank(self) -> bool {
        self.member.slot.form == Form::Null || self.member.slot.form == Form::String && !self.is_text()
    }

    /// Returns `true` for a string that is not empty.
    pub(crate) fn is_text(self) -> bool {
        self.member.slot.form == Form::String && !self.member.slot.place.is_empty()
    }

    /// Returns `true` for an array of strings that is not empty.
    pub(crate) fn is_list(self) -> bool {
        self.member.slot.form == Form::Strings && !self.member.slot.place.is_empty()
    }
}

/// Names only: values may hold secrets.
impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

impl Value<'_> {
    /// Returns `true` if RFC 7592 section 2.2 lets a server treat the member as omitted: `null`, `""`, `[]`.
    pub(crate) fn is_empty(&self) -> bool {
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

#[cfg(test)]
mod tests;
