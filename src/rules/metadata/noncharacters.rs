//! Code points that are never characters.

use crate::registration::{Registration, Value};
use crate::rules::Draft;
use crate::rules::{ErrorCode, Rejection};

/// Rejects members with a noncharacter (U+FDD0 to U+FDEF, and the last two of each plane) in their name or text: I-JSON
/// forbids them (RFC 7493 section 2.1), and readers replace, drop or reject them, each in its own way. It checks only
/// the members that are left, so a stripped member rejects no registration. Redirect URIs are skipped: their
/// own rule rejects such text.
pub(crate) fn reject(draft: &Draft<'_>) -> Result<(), Rejection> {
    let registration = draft.registration();
    if registration.is_plain() || !is_in_document(registration) {
        return Ok(());
    }
    Err(draft.reject(ErrorCode::InvalidClientMetadata, "a member has a code point in it that is not a character"))
}

fn is_in(value: &Value<'_>) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => has_one(text),
        Value::Strings(texts) => texts.clone().any(has_one),
        // The JSON as sent, where a code point may be escaped.
        Value::Array(json) | Value::Object(json) => {
            serde_json::from_str::<serde_json::Value>(json).is_ok_and(|value| has_one(&value.to_string()))
        }
    }
}

fn has_one(text: &str) -> bool {
    !text.is_ascii() && text.chars().any(|c| matches!(c, '\u{FDD0}'..='\u{FDEF}') || u32::from(c) & 0xFFFE == 0xFFFE)
}

fn is_in_document(registration: &Registration) -> bool {
    registration.iter().any(|(name, value)| name != "redirect_uris" && (has_one(name) || is_in(&value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noncharacters_are_found_wherever_they_are() {
        for (json, expected) in [
            (r#"{"a":"\ufffe"}"#, true),
            (r#"{"a":"\uffff"}"#, true),
            (r#"{"a":"\ufdd0"}"#, true),
            (r#"{"a":"\ufdef"}"#, true),
            (r#"{"a":"\udbff\udfff"}"#, true),
            (r#"{"a":"\ud83f\udffe"}"#, true),
            ("{\"a\":\"\u{FFFF}\"}", true),
            (r#"{"\uffffa":1}"#, true),
            (r#"{"a":["x","\uffff"]}"#, true),
            (r#"{"a":{"b":[{"c\uffff":1}]}}"#, true),
            (r#"{"a":[1,"\uffff"]}"#, true),
            (r#"{"a":"\ufffd"}"#, false),
            (r#"{"a":"\ufdcf\ufdf0"}"#, false),
            (r#"{"a":"ünï ✓ 🤖","b":{"c":"é"}}"#, false),
            (r#"{"a":"\\uffff"}"#, false),
            (r#"{"redirect_uris":["https://a.example/\uffff"]}"#, false),
        ] {
            assert_eq!(is_in_document(&Registration::parse(json.as_bytes()).unwrap()), expected, "{json}");
        }
    }
}
