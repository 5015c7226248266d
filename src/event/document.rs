//! A registration in an audit event.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use crate::registration::{Entry, Field, Limits, Registration, Value};

/// A registration as it came, without what an audit log must not hold. Redacted when it is written: a sink that filters
/// events need not pay for it.
///
/// The value of a member becomes `"[redacted]"` if it is a secret (`client_secret`, `registration_access_token`), a
/// `software_statement`, a key (`jwks`), a way to reach a person (`contacts`), or the member's name is one that
/// neither specifications define nor the policy names.
///
/// ```
/// use tower_dcr::event::Event;
///
/// let guard = tower_dcr::mcp().with_document().with_sink(|event: &Event| {
///     if let Some(document) = &event.document {
///         println!("{}", serde_json::to_string(document).unwrap());
///     }
/// });
/// # let _ = guard;
/// ```
#[derive(Clone)]
pub struct RedactedDocument {
    registration: Registration,
    /// The members of the server's own whose values are shown.
    own: Arc<BTreeSet<String>>,
}

const REDACTED: &str = "[redacted]";

impl RedactedDocument {
    /// Nothing if it is no registration that can be read.
    pub(super) fn of(body: &Bytes, own: &Arc<BTreeSet<String>>) -> Option<Self> {
        let registration = Registration::parse_with(body, &Limits::GENEROUS).ok()?;
        Some(Self { registration, own: Arc::clone(own) })
    }

    fn shows(&self, member: Entry<'_>) -> bool {
        match member.kind().base() {
            Some(field) => !is_redacted(field),
            None => self.own.contains(member.name()),
        }
    }
}

impl Serialize for RedactedDocument {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for member in self.registration.entries() {
            let shown = self.shows(member);
            map.serialize_key(member.name())?;
            match member.value() {
                // Whether it is there is what counts.
                value if value.is_empty() => serialize_value(&mut map, &value)?,
                value if shown => serialize_value(&mut map, &value)?,
                Value::Strings(strings) => map.serialize_value(&vec![REDACTED; strings.len()])?,
                _ => map.serialize_value(REDACTED)?,
            }
        }
        map.end()
    }
}

fn serialize_value<M: SerializeMap>(map: &mut M, value: &Value<'_>) -> Result<(), M::Error> {
    match value {
        Value::Null => map.serialize_value(&()),
        Value::Bool(value) => map.serialize_value(value),
        Value::String(text) => map.serialize_value(text),
        Value::Strings(strings) => map.serialize_value(&strings.clone().collect::<Vec<&str>>()),
        // What was parsed once can be parsed again.
        Value::Number(json) | Value::Array(json) | Value::Object(json) => {
            map.serialize_value(&serde_json::from_str::<Json>(json).unwrap_or_default())
        }
    }
}

fn is_redacted(field: Field) -> bool {
    matches!(
        field,
        Field::CLIENT_SECRET
            | Field::REGISTRATION_ACCESS_TOKEN
            | Field::SOFTWARE_STATEMENT
            | Field::JWKS
            | Field::CONTACTS
    )
}

impl fmt::Debug for RedactedDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).unwrap_or_default())
    }
}
