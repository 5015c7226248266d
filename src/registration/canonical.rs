//! Canonical JSON: one byte sequence per document.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::Registration;
use super::member::{Form, Slot, Text};

pub(super) fn to_bytes(registration: &Registration) -> Vec<u8> {
    let mut out = Vec::with_capacity(registration.text.len() + 64);
    out.push(b'{');
    for (index, member) in registration.members.iter().enumerate() {
        separate(&mut out, index);
        if !member.canonical.is_empty() {
            out.extend_from_slice(registration.bytes(member.canonical));
            continue;
        }
        write_text(&mut out, registration, member.name);
        out.push(b':');
        write_slot(&mut out, registration, member.slot);
    }
    out.push(b'}');
    out
}

fn write_slot(out: &mut Vec<u8>, registration: &Registration, slot: Slot) {
    match slot.form {
        Form::Null | Form::False | Form::True | Form::Number => out.extend_from_slice(registration.bytes(slot.place)),
        Form::String => write_text(out, registration, slot.place),
        Form::Strings => {
            out.push(b'[');
            let elements = registration.elements.get(slot.place.range()).unwrap_or_default();
            for (index, element) in elements.iter().enumerate() {
                separate(out, index);
                write_text(out, registration, *element);
            }
            out.push(b']');
        }
        Form::Array | Form::Object => write_raw(out, registration.text(slot.place)),
    }
}

/// Writes JSON text that the parser accepted; an object's members are sorted on the way. Recursion is bounded by
/// `Limits::max_depth` and by `serde_json`.
fn write_raw(out: &mut Vec<u8>, json: &str) {
    match json.as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(json).unwrap_or_default();
            out.push(b'{');
            for (index, (name, value)) in members.iter().enumerate() {
                separate(out, index);
                write_string(out, name);
                out.push(b':');
                write_raw(out, value.get());
            }
            out.push(b'}');
        }
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(json).unwrap_or_default();
            out.push(b'[');
            for (index, element) in elements.iter().enumerate() {
                separate(out, index);
                write_raw(out, element.get());
            }
            out.push(b']');
        }
        Some(b'"') => write_string(out, &serde_json::from_str::<String>(json).unwrap_or_default()),
        _ => out.extend_from_slice(json.as_bytes()),
    }
}

fn separate(out: &mut Vec<u8>, index: usize) {
    if index > 0 {
        out.push(b',');
    }
}

fn write_text(out: &mut Vec<u8>, registration: &Registration, text: Text) {
    if text.end() <= registration.sent {
        // Copied from the source, where it is between quotation marks: nothing in it needs escaping.
        write_plain(out, registration.bytes(text));
    } else {
        write_string(out, registration.text(text));
    }
}

fn write_plain(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    if text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        // Writing a string into memory can't fail.
        let _infallible = serde_json::to_writer(out, text);
    } else {
        write_plain(out, text.as_bytes());
    }
}
