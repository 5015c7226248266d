//! A registration in an audit event.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::registration::{Limits, Registration, Value};

const REDACTED: &str = "[redacted]";

/// Returns the registration in a body, with the values of `own` members shown; `None` if it is no readable registration.
pub(super) fn redact(body: &[u8], own: &BTreeSet<String>) -> Option<Json> {
    let registration = Registration::parse_with(body, &Limits::GENEROUS).ok()?;
    let members = registration.entries().map(|member| {
        let is_shown = member.kind().base().map_or_else(|| own.contains(member.name()), |field| !field.is_redacted());
        let value = match member.value() {
            // An empty value tells nothing.
            value if is_shown || value.is_empty() => json(&value),
            Value::Strings(strings) => strings.map(|_| REDACTED).collect(),
            _ => REDACTED.into(),
        };
        (member.name().to_owned(), value)
    });
    Some(Json::Object(members.collect()))
}

fn json(value: &Value<'_>) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => (*value).into(),
        Value::String(text) => (*text).into(),
        Value::Strings(strings) => strings.clone().collect(),
        // Never fails: the document was parsed before.
        Value::Number(json) | Value::Array(json) | Value::Object(json) => {
            serde_json::from_str(json).unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registration::Field;

    #[test]
    fn redacted_fields_and_no_others_are_left_out() {
        for field in Field::all() {
            let body = format!(r#"{{"{}":"tell-tale"}}"#, field.name());
            let text = redact(body.as_bytes(), &BTreeSet::new()).unwrap().to_string();
            assert_eq!(text.contains("tell-tale"), !field.is_redacted(), "{text}");
            assert_eq!(text.contains(REDACTED), field.is_redacted(), "{text}");
        }
    }
}
