//! Finds the place of a JSON error in a document. The server's response names only the rule.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use tower_dcr::registration::ParseError;

/// A place in a document, and the error there.
#[derive(Debug)]
pub(super) struct Place {
    /// Counted from 1; 0 for the whole document.
    pub(super) line: usize,
    /// In bytes, counted from 1.
    pub(super) column: usize,
    pub(super) reason: String,
}

/// Returns the place of `error`; `None` if it concerns the whole document.
pub(super) fn find(body: &[u8], error: ParseError) -> Option<Place> {
    match error {
        ParseError::NotUtf8 => {
            let valid = str::from_utf8(body).err()?.valid_up_to();
            let before = body.get(..valid).unwrap_or_default();
            let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            let line = before.split(|byte| *byte == b'\n').count();
            Some(Place { line, column: valid - line_start + 1, reason: "not UTF-8".into() })
        }
        ParseError::Syntax | ParseError::NumberOutOfRange | ParseError::DuplicateMember => {
            let mut reader = serde_json::Deserializer::from_slice(body);
            let error = Once.deserialize(&mut reader).and_then(|()| reader.end()).err()?;
            let (line, column) = (error.line(), error.column());
            let text = error.to_string();
            let place = format!(" at line {line} column {column}");
            Some(Place { line, column, reason: text.strip_suffix(&*place).unwrap_or(&text).to_owned() })
        }
        _ => None,
    }
}

/// Any JSON in which each member name of an object occurs once.
#[derive(Clone, Copy)]
struct Once;

impl<'de> DeserializeSeed<'de> for Once {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if names.contains(&name) {
                return Err(A::Error::custom(format_args!("{name:?} appears twice")));
            }
            names.insert(name);
            members.next_value_seed(self)?;
        }
        Ok(())
    }
}
