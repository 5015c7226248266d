//! The examples, started as a user starts them.

use std::process::Command;

use serde_json::{Value, json};

use test_support::programs::binary;
use crate::running::{ANY_PORT, Running};

fn honest() -> Value {
    json!({ "client_name": "My App", "redirect_uris": ["http://127.0.0.1/cb"], "scope": "", "foo": null,
            "grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": "client_secret_post" })
}

fn dangerous() -> Value {
    json!({ "client_name": "Claude", "redirect_uris": ["javascript:alert(document.cookie)"] })
}

#[tokio::test]
async fn the_axum_example_accepts_narrows_and_rejects() {
    let server = Running::start("examples/axum", &[ANY_PORT]);
    let (status, body) = server.register(&dangerous()).await;
    assert_eq!((status, &body["error"]), (400, &json!("invalid_redirect_uri")));
    let (status, body) = server.register(&honest()).await;
    assert_eq!((status, &body["token_endpoint_auth_method"]), (201, &json!("none")));
    assert!(body.get("foo").is_none(), "{body}");
    let metadata: Value = server.get("/.well-known/oauth-authorization-server").await.json().await.unwrap();
    assert_eq!(metadata["grant_types_supported"], json!(["authorization_code"]));
}

#[tokio::test]
async fn the_hyper_example_accepts_narrows_and_rejects() {
    let server = Running::start("examples/hyper", &[ANY_PORT]);
    assert_eq!(server.register(&dangerous()).await.0, 400);
    let (status, body) = server.register(&honest()).await;
    assert_eq!((status, &body["token_endpoint_auth_method"]), (201, &json!("none")));
    assert_eq!(server.get("/other").await.status().as_u16(), 404);
}

#[test]
fn the_ledger_example_revokes_a_client() {
    let output = Command::new(binary("examples/ledger")).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = printed.lines().collect();
    let expected = ["/register: 201 {", "/token: 200 {", "the server drops client-1", "alice revokes 1 client"];
    assert!(expected.iter().zip(&lines).all(|(start, line)| line.starts_with(start)), "{printed}");
    assert_eq!(lines[4], "/token: 401 {\"error\":\"invalid_client\"}");
    assert!(lines[5].starts_with("/register: 400 {") && lines.len() == 6, "{printed}");
}

#[tokio::test]
async fn the_custom_rule_example_applies_its_rule() {
    let server = Running::start("examples/custom_rule", &[ANY_PORT]);
    let (status, body) = server.register(&honest()).await;
    assert_eq!((status, &body["error_description"]), (400, &json!("contacts must name somebody (contact-required)")));
    let body = json!({ "redirect_uris": ["https://app.example.com/cb"], "contacts": ["ops@example.com"] });
    assert_eq!(server.register(&body).await.0, 201);
}
