//! The mistakes that a reader of policies finds, as types.

use std::fmt;

use serde::de::{Error, Expected, Unexpected};

use crate::rules::{ConfigError, Suggestion};
use crate::suggestion::Hint;

/// A mistake in a policy, without its place.
#[derive(Debug)]
pub(super) enum Problem {
    /// An unknown key of a table.
    UnknownKey { name: String, known: &'static [&'static str] },
    /// An unknown word of a choice.
    UnknownWord { word: String, known: &'static [&'static str] },
    /// A table without a key that it needs.
    MissingKey(&'static str),
    /// A value other than a table.
    NoTable { is_list: bool },
    /// A value other than a word of a choice, or a table with one.
    NoWord { known: &'static [&'static str] },
    /// A value of another type.
    WrongType { found: Found, wanted: Wanted },
    /// Anything else.
    Other { message: String, hint: Hint },
}

/// The type of a value that was found, as far as messages need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Table,
    Text,
    Other,
}

/// The type of a value that was wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Boolean,
    List,
    Table,
    /// A word with a value.
    WordWithValue,
    /// Another type, as text for people.
    Other(String),
}

impl Problem {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self::Other { message: message.into(), hint: Hint::default() }
    }

    pub(super) fn with_suggestion(message: impl Into<String>, suggestion: Suggestion) -> Self {
        Self::Other { message: message.into(), hint: Hint { input: None, suggestion: Some(suggestion) } }
    }

    /// Returns the value or name that the mistake is about; `None` if it is not known.
    pub(super) fn input(&self) -> Option<&str> {
        match self {
            Self::Other { hint, .. } => hint.input.as_deref(),
            Self::UnknownKey { .. }
            | Self::UnknownWord { .. }
            | Self::MissingKey(_)
            | Self::NoTable { .. }
            | Self::NoWord { .. }
            | Self::WrongType { .. } => None,
        }
    }
}

impl From<&ConfigError> for Problem {
    fn from(error: &ConfigError) -> Self {
        Self::custom(error)
    }
}

impl Error for Problem {
    fn custom<T: fmt::Display>(error: T) -> Self {
        let (message, hint) = Hint::catch(error);
        Self::Other { message, hint }
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Map => Found::Table,
            Unexpected::Str(_) => Found::Text,
            _ => Found::Other,
        };
        Self::WrongType { found, wanted: Wanted::of(wanted) }
    }

    fn invalid_value(_: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::WrongType { found: Found::Other, wanted: Wanted::of(wanted) }
    }

    fn invalid_length(_: usize, wanted: &dyn Expected) -> Self {
        Self::WrongType { found: Found::Other, wanted: Wanted::of(wanted) }
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self::UnknownWord { word: word.to_owned(), known }
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        Self::UnknownKey { name: name.to_owned(), known }
    }

    fn missing_field(name: &'static str) -> Self {
        Self::MissingKey(name)
    }
}

impl Wanted {
    /// Converts the words of serde's readers.
    fn of(wanted: &dyn Expected) -> Self {
        let wanted = wanted.to_string();
        let plain = match &*wanted {
            "a boolean" => return Self::Boolean,
            "a sequence" => return Self::List,
            "a map" => return Self::Table,
            "newtype variant" => return Self::WordWithValue,
            "u8" => "a whole number from 0 to 255",
            "u16" => "a whole number from 0 to 65535",
            "u32" | "u64" | "usize" | "i64" => "a whole number",
            "a nonzero u32" | "a nonzero u64" | "a nonzero usize" => "a whole number above 0",
            "a string" | "path string" => "a text, in quotation marks",
            "unit" => "a word that stands alone",
            _ => return Self::Other(wanted),
        };
        Self::Other(plain.to_owned())
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boolean => "a boolean",
            Self::List => "a list, in brackets",
            Self::Table => "a table",
            Self::WordWithValue => "a value for this word",
            Self::Other(words) => words,
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { name, .. } => write!(f, "unknown key {name:?}"),
            Self::UnknownWord { word, .. } => write!(f, "unknown value {word:?}"),
            Self::MissingKey(name) => write!(f, "missing key {name:?}"),
            Self::NoTable { is_list: true } => f.write_str("expected a table, not a list"),
            Self::NoTable { is_list: false } => f.write_str("expected a table"),
            Self::NoWord { known } => {
                let known: Vec<String> = official(known).map(|name| format!("{name:?}")).collect();
                write!(f, "expected one of {}", known.join(", "))
            }
            Self::WrongType { wanted, .. } => write!(f, "expected {wanted}"),
            Self::Other { message, .. } => f.write_str(message),
        }
    }
}

impl std::error::Error for Problem {}

/// Returns the name to show, if a name has an older form that is read as well.
pub(super) fn official_name(name: &str) -> &str {
    if name == "refuse" { "reject" } else { name }
}

/// Returns the names without older forms, which are read and not written.
pub(super) fn official<'a>(known: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    known.iter().copied().filter(|name| official_name(name) == *name)
}
