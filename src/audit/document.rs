//! A registration in an audit event.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use crate::registration::{Entry, Limits, Registration, Value};

/// A registration as it was received, redacted when it is serialized: a sink that filters events need not pay for it.
///
/// The value of a member becomes `"[redacted]"` if it is a secret (`client_secret`, `registration_access_token`), a
/// `software_statement`, a key (`jwks`), a way to reach a person (`contacts`), or a member that
/// neither the specifications define nor the policy names.
///
/// ```
/// use tower_dcr::audit::Event;
/// use tower_dcr::layers::AuditLayer;
///
/// let preset = tower_dcr::mcp().map_audit(AuditLayer::with_document).with_sink(|event: &Event| {
///     if let Some(document) = &event.document {
///         println!("{}", serde_json::to_string(document).unwrap());
///     }
/// });
/// # let _ = preset;
/// ```
#[derive(Clone)]
pub struct RedactedDocument {
    registration: Registration,
    /// The names of the server's own members whose values are shown.
    own: Arc<BTreeSet<String>>,
}

const REDACTED: &str = "[redacted]";

impl RedactedDocument {
    /// Reads a body; `None` if it is no readable registration.
    pub(super) fn of(body: &Bytes, own: &Arc<BTreeSet<String>>) -> Option<Self> {
        let registration = Registration::parse_with(body, &Limits::GENEROUS).ok()?;
        Some(Self { registration, own: Arc::clone(own) })
    }

    fn shows(&self, member: Entry<'_>) -> bool {
        match member.kind().base() {
            Some(field) => !field.is_redacted(),
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
                // An empty value tells nothing.
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
        // Never fails: the document was parsed before.
        Value::Number(json) | Value::Array(json) | Value::Object(json) => {
            map.serialize_value(&serde_json::from_str::<Json>(json).unwrap_or_default())
        }
    }
}

impl fmt::Debug for RedactedDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registration::Field;

    #[test]
    fn redacted_fields_and_no_others_are_left_out() {
        for field in Field::all() {
            let body = Bytes::from(format!(r#"{{"{}":"tell-tale"}}"#, field.name()));
            let document = RedactedDocument::of(&body, &Arc::default()).unwrap();
            let text = serde_json::to_string(&document).unwrap();
            assert_eq!(text.contains("tell-tale"), !field.is_redacted(), "{text}");
            assert_eq!(text.contains(REDACTED), field.is_redacted(), "{text}");
        }
    }
}
