//! Any body: an accepted one reads the same elsewhere, is canonical, and is not changed by a second evaluation.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tower_dcr::Registration;
use tower_dcr::redirect_uri::RedirectUri;
use tower_dcr::rules::{Context, MetadataAllowlist, Policy, RedirectUris};

fn narrowed(bytes: &[u8]) -> Option<Vec<u8>> {
    let policy = Policy::new((MetadataAllowlist::mcp(), RedirectUris::mcp()));
    let evaluation = policy.evaluate(Registration::parse(bytes).ok()?, &Context::registration());
    evaluation.registration.as_ref().filter(|_| evaluation.rejection.is_none()).map(Registration::canonical_bytes)
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(registration) = Registration::parse(bytes) {
        let theirs: Value = serde_json::from_slice(bytes).expect("what is strict JSON here is JSON there");
        let canonical = registration.canonical_bytes();
        assert_eq!(serde_json::from_slice::<Value>(&canonical).expect("canonical bytes are JSON"), theirs);
        assert_eq!(Registration::parse(&canonical).expect("canonical bytes are strict").canonical_bytes(), canonical);
    }
    if let Some(once) = narrowed(bytes) {
        assert_eq!(narrowed(&once).as_ref(), Some(&once));
        let forwarded: Value = serde_json::from_slice(&once).expect("JSON");
        for uri in forwarded["redirect_uris"].as_array().into_iter().flatten() {
            assert!(uri.as_str().is_some_and(|uri| RedirectUri::parse(uri).is_ok()));
        }
    }
});
