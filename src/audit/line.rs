//! An event as one line of ASCII.

use std::{fmt, io};

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

use super::{Event, LifecycleEvent, Record};

pub(super) fn to_line(event: &impl Serialize) -> String {
    let mut line = Vec::with_capacity(512);
    // Writing into memory can't fail, and every part of an event has a JSON form.
    let _infallible = event.serialize(&mut Serializer::with_formatter(&mut line, PrintableAscii));
    String::from_utf8(line).unwrap_or_default()
}

/// Writes the event as one line of compact JSON in printable ASCII, without characters that control a terminal or a log
/// viewer (line separators, escape sequences, bidirectional overrides).
///
/// ```
/// let mut event = tower_dcr::audit::Event::default();
/// event.request_id = Some("\u{1b}[2J".into());
/// assert!(event.to_string().contains(r#""request_id":"\u001b[2J""#));
/// ```
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_line(self))
    }
}

/// Writes the event as one line of compact JSON in printable ASCII, as an [`Event`].
impl fmt::Display for LifecycleEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_line(self))
    }
}

/// Writes the event as one line of compact JSON in printable ASCII, as an [`Event`].
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_line(self))
    }
}

struct PrintableAscii;

impl Formatter for PrintableAscii {
    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if fragment.bytes().fold(true, |printable, byte| printable & matches!(byte, b' '..=b'~')) {
            return writer.write_all(fragment.as_bytes());
        }
        for c in fragment.chars() {
            match c {
                ' '..='~' => write!(writer, "{c}")?,
                _ => c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(writer, "\\u{unit:04x}"))?,
            }
        }
        Ok(())
    }

    fn write_char_escape<W: io::Write + ?Sized>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        serde_json::ser::CompactFormatter.write_char_escape(writer, escape)
    }
}
