//! Rejections name the limit and, where it is known, the count; `dcr explain` names the key.

use std::str::FromStr;

use serde_json::{Value, json};
use tower_dcr::{Preset, Rejection};

use crate::support::{Naive, behind, post, send};

fn with(member: &str, value: impl Into<Value>) -> String {
    let mut body = json!({ "client_name": "App", "redirect_uris": ["http://localhost/cb"] });
    body[member] = value.into();
    body.to_string()
}

fn uris(count: usize) -> Value {
    (0..count).map(|number| format!("http://localhost/{number}")).collect()
}

/// Text of the client, which no answer repeats.
const SECRET: &str = "zzz";

#[tokio::test]
async fn every_limit_is_named() {
    let key = || json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKx" });
    let keys = |count: usize| json!({ "keys": (0..count).map(|_| key()).collect::<Vec<_>>() });
    let tags = || {
        let mut body = json!({ "redirect_uris": ["http://localhost/cb"] });
        for number in 0..33 {
            body[format!("client_name#a{number}")] = SECRET.into();
        }
        body.to_string()
    };
    let jwks = "metadata.members.openid = true";
    // A policy, a registration above one of its limits, the numbers that the answer names, and the key of the limit.
    for (policy, body, numbers, key) in [
        ("", with("redirect_uris", uris(11)), "has 11 entries, and at most 10 are", "redirect_uris.max_count"),
        (
            "redirect_uris.max_count = 2",
            with("redirect_uris", uris(3)),
            "has 3 entries, and at most 2",
            "redirect_uris.max_count",
        ),
        (
            "redirect_uris.max_bytes = 30",
            with("redirect_uris", vec![format!("http://localhost/{}", SECRET.repeat(10))]),
            "has 47 bytes, and at most 30",
            "redirect_uris.max_bytes",
        ),
        (
            "metadata.client_name = { max_chars = 20, overlong = 'reject' }",
            with("client_name", SECRET.repeat(10)),
            "has 30 characters, more than 20",
            "metadata.client_name.max_chars",
        ),
        (
            "",
            with("client_uri", format!("https://example.com/{}", SECRET.repeat(1000))),
            "has 3020 bytes, and at most 2048",
            "2,048 bytes",
        ),
        ("", tags(), "33 language-tagged members, and at most 32", "32 language tags"),
        (jwks, with("jwks", keys(11)), "has 11 keys, and at most 10", "metadata.jwks.max_keys"),
        (
            "metadata.members.openid = true\nmetadata.jwks.max_bytes = 30",
            with("jwks", json!({ "keys": [key()] })),
            "bytes, and at most 30 are",
            "metadata.jwks.max_bytes",
        ),
        (
            "metadata.scope = { ceiling = ['read'], otherwise = 'reject' }",
            with("scope", "read zzz admin"),
            "asks for 3 scopes, and this server offers 1 of them",
            "metadata.scope.add_ceiling",
        ),
        (
            "metadata.scope.ceiling = ['read']",
            with("scope", "zzz admin"),
            "asks for 2 scopes, and this server offers 0",
            "metadata.scope.add_ceiling",
        ),
        (
            "body.max_bytes = 60",
            with("client_name", SECRET.repeat(10)),
            "the body has more than 60 bytes",
            "body.max_bytes",
        ),
        ("body.max_array = 5", with("redirect_uris", uris(6)), "an array has more than 5 elements", "body.max_array"),
        ("body.max_members = 1", with("client_name", SECRET), "an object has more than 1 members", "body.max_members"),
        (
            "body.max_string = 20",
            with("client_name", SECRET.repeat(10)),
            "a string has more than 20 bytes",
            "body.max_string",
        ),
        ("body.max_depth = 2", with("jwks", json!({ "keys": [] })), "nested deeper than 2 levels", "body.max_depth"),
    ] {
        let answer = send(&behind(&Preset::from_str(policy).unwrap(), &Naive::default()), post(body)).await;
        let told = answer.json()["error_description"].as_str().unwrap_or_default().to_owned();
        assert!(told.contains(numbers), "{policy}: {told:?}");
        assert!(!told.contains(SECRET), "{told}");
        let rule = answer.response.extensions().get::<Rejection>().unwrap().rule;
        let docs = Preset::rule_docs().find(|docs| docs.id == rule).unwrap();
        assert!(docs.loosen.contains(key), "{rule}: {}", docs.loosen);
    }
}

/// An attacker would learn how many registrations go unnoticed.
#[tokio::test]
async fn a_spent_budget_does_not_tell_its_size() {
    let preset = Preset::from_str("rate_limit = { address = '1/hour', global = 'off' }").unwrap();
    let register = behind(&preset.with_peer_address(|_| Some(([192, 0, 2, 1], 80).into())), &Naive::default());
    assert_eq!(send(&register, post(with("client_name", "a"))).await.status(), 201);
    let answer = send(&register, post(with("client_name", "b"))).await;
    let told = answer.json()["error_description"].clone();
    assert_eq!(answer.status(), 429);
    assert_eq!(told, "too many registrations, try again later (rate-limit)");
    let docs = Preset::rule_docs().find(|docs| docs.id == "rate-limit").unwrap();
    assert!(docs.loosen.contains("rate_limit.address") && docs.loosen.contains("rate_limit.global"));
}
