//! Any signed statement: only the rules decide about its claims, and the statement itself is not forwarded.
#![no_main]

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use tower_dcr::Registration;
use tower_dcr::redirect_uri::RedirectUri;
use tower_dcr::rules::Issuer;
use tower_dcr::rules::{Context, MetadataAllowlist, Policy, RedirectUris, SoftwareStatements};

static PAIR: LazyLock<EcdsaKeyPair> = LazyLock::new(|| {
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).expect("a key");
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).expect("the key")
});

static RULES: LazyLock<Policy> = LazyLock::new(|| {
    let (x, y) = PAIR.public_key().as_ref()[1..].split_at(32);
    let [x, y] = [x, y].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
    let keys = serde_json::json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": x, "y": y }] }).to_string();
    let issuer = Issuer::new("i", &keys, ["ES256"]).expect("an issuer");
    Policy::new((SoftwareStatements::new([issuer]).expect("a rule"), MetadataAllowlist::mcp(), RedirectUris::mcp()))
});

/// As it comes, or, of two lines, signed: the header and the payload.
fn statement(text: &str) -> String {
    let Some((header, payload)) = text.split_once('\n') else { return text.to_owned() };
    let header = if header.is_empty() { r#"{"alg":"ES256"}"# } else { header };
    // Required claims, so that the others are evaluated.
    let payload = payload.strip_prefix('{').map_or_else(
        || payload.to_owned(),
        |rest| {
            format!(
                r#"{{"iss":"i","exp":4000000000{}{rest}"#,
                if rest.trim_start().starts_with('}') { "" } else { "," }
            )
        },
    );
    let message = format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(payload));
    let signature = PAIR.sign(&SystemRandom::new(), message.as_bytes()).expect("a signature");
    format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fuzz_target!(|text: &str| {
    let body = serde_json::json!({
        "software_statement": statement(text), "redirect_uris": ["https://plain.example.com/cb"], "jwks": {},
    });
    let Ok(registration) = Registration::parse(body.to_string().as_bytes()) else { return };
    let evaluation = RULES.evaluate(registration, &Context::registration());
    let Some(registration) = evaluation.registration.as_ref().filter(|_| evaluation.rejection.is_none()) else {
        return;
    };
    let left: serde_json::Value = serde_json::from_slice(&registration.canonical_bytes()).expect("JSON");
    for absent in ["software_statement", "client_id", "client_secret", "iss", "exp", "jwks", "jwks_uri"] {
        assert!(left.get(absent).is_none(), "{absent}: {left}");
    }
    assert_eq!(left["token_endpoint_auth_method"], "none");
    let uris = left["redirect_uris"].as_array().expect("redirect URIs");
    assert!((1..=10).contains(&uris.len()));
    assert!(uris.iter().all(|uri| RedirectUri::parse(uri.as_str().expect("a string")).is_ok()), "{left}");
});
