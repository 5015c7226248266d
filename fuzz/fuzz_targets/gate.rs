//! Any request: the gate finds the same client as another reader, or rejects it.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/suite/gate_readers.rs"]
mod gate_readers;

// The first line is the query, the second the media type, and the rest is the body.
fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let mut line = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let (query, media_type) = (line(), line());
    gate_readers::check(&query, &media_type, parts.next().unwrap_or_default());
});
