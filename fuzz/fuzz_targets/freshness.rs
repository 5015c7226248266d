//! Header fields of a response, one a line: no lifetime is longer than that of another cache, and an entity tag is one.
#![no_main]

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;

// The fields are read within the crate only.
#[path = "../../src/documents/freshness.rs"]
mod freshness;
#[path = "../../src/documents/freshness/oracle.rs"]
mod oracle;

use freshness::{Bounds, etag, lifetime};

const NOW: Duration = Duration::from_secs(1_700_000_000);

fuzz_target!(|lines: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n').take(32) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else { continue };
        let name = oracle::FIELDS.into_iter().chain([header::ETAG]).find(|field| field.as_str().as_bytes() == name);
        let (Some(name), Ok(value)) = (name, HeaderValue::from_bytes(value.trim_ascii())) else { continue };
        headers.append(name, value);
    }
    let [min, default, max] = [300, 3600, 86_400].map(Duration::from_secs);
    let fresh = lifetime(&headers, NOW, Bounds { min, default, max });
    assert!((min..=max).contains(&fresh));
    for least in [Duration::ZERO, min] {
        oracle::check(&headers, NOW, least);
    }
    if let Some(tag) = etag(&headers) {
        assert_eq!((headers.get_all(header::ETAG).iter().count(), tag.as_bytes().last()), (1, Some(&b'"')));
        assert!(tag.len() <= 256 && tag.to_str().is_ok());
    }
});
