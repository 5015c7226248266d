//! What becomes of the handler's answer.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::{Layer, service_fn};
use tower_dcr::event::Outcome;
use tower_dcr::policy::AuthMethod;
use tower_dcr::{AnswerLayer, Preset, RegistrationBody, SecretInAnswer};

use crate::support::{Kept, Read, post, send};

const REQUEST: &str = r#"{"redirect_uris":["http://localhost:3000/cb"],"client_name":"A","scope":"mcp"}"#;

async fn answered(preset: Preset, status: u16, content_type: &'static str, answer: &str) -> (Read, Kept) {
    let (kept, answer) = (Kept::default(), Bytes::copy_from_slice(answer.as_bytes()));
    let service = preset.with_sink(kept.sink()).layer(service_fn(move |_: Request<RegistrationBody>| {
        let response = Response::builder().status(status).header("content-type", content_type);
        std::future::ready(Ok::<_, Infallible>(response.body(Full::new(answer.clone())).unwrap()))
    }));
    (send(&service, post(REQUEST)).await, kept)
}

async fn json_answered(preset: Preset, answer: Value) -> (Read, Kept) {
    answered(preset, 201, "application/json", &answer.to_string()).await
}

#[tokio::test]
async fn a_bare_answer_is_completed_with_what_was_registered() {
    let (read, kept) = answered(Preset::mcp(), 200, "application/json", r#"{"client_id":"c"}"#).await;
    assert_eq!(read.status(), StatusCode::CREATED);
    let expected = json!({
        "application_type": "native", "client_id": "c", "client_name": "A", "grant_types": ["authorization_code"],
        "redirect_uris": ["http://localhost:3000/cb"], "response_types": ["code"], "scope": "mcp",
        "token_endpoint_auth_method": "none",
    });
    assert_eq!(read.json(), expected);
    assert_eq!(read.header("content-length").unwrap(), read.body.len().to_string());
    assert_eq!(read.header("cache-control"), Some("no-store"));
    assert_eq!(kept.take()[0].client_id.as_deref(), Some("c"));
}

#[tokio::test]
async fn nulls_and_empty_strings_are_dropped_and_what_the_handler_says_stands() {
    let answer = json!({
        "client_id": "c", "client_secret": null, "logo_uri": "", "client_name": "B", "scope": "mcp offline_access",
        "client_secret_expires_at": null, "extra": { "null": null },
    });
    let (read, _) = json_answered(Preset::mcp(), answer).await;
    let json = read.json();
    assert_eq!(json["client_name"], "B");
    assert_eq!(json["scope"], "mcp offline_access");
    assert_eq!(json["extra"], json!({ "null": null }));
    for dropped in ["client_secret", "client_secret_expires_at", "logo_uri"] {
        assert!(json.get(dropped).is_none(), "{dropped}");
    }
}

#[tokio::test]
async fn without_normalising_an_answer_stays_as_it_is() {
    let preset = Preset::mcp().with_answer(AnswerLayer::new().without_normalising());
    let (read, _) = answered(preset, 200, "application/json", r#"{ "client_id" : "c", "scope": null }"#).await;
    assert_eq!(read.status(), StatusCode::OK);
    assert_eq!(read.body, r#"{ "client_id" : "c", "scope": null }"#);
    assert_eq!(read.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn a_secret_for_a_public_client_fails_closed() {
    for answer in [
        json!({ "client_id": "c", "client_secret": "s" }),
        json!({ "client_id": "c", "token_endpoint_auth_method": "client_secret_basic" }),
        json!({ "client_id": "c", "client_secret": { "not": "a string" } }),
    ] {
        let (read, kept) = json_answered(Preset::mcp(), answer).await;
        assert_eq!(read.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(read.json()["error"], "server_error");
        assert!(!String::from_utf8_lossy(&read.body).contains("\"s\""));
        let event = kept.take().pop().unwrap();
        assert_eq!((event.outcome, event.rule), (Outcome::Failed, Some("answer")));
        // The handler has an orphan now: the operator has to learn which.
        assert_eq!(event.client_id.as_deref(), Some("c"));
    }
}

#[tokio::test]
async fn a_secret_can_be_stripped_or_allowed() {
    let answer = json!({
        "client_id": "c", "client_secret": "s", "client_secret_expires_at": 0,
        "token_endpoint_auth_method": "client_secret_post",
    });
    let (read, _) = json_answered(Preset::mcp().with_secret_in_answer(SecretInAnswer::Strip), answer.clone()).await;
    assert_eq!(read.json()["token_endpoint_auth_method"], "none");
    assert!(read.json().get("client_secret").is_none());
    let allow = |method: &str| Preset::mcp().with_secret_in_answer(SecretInAnswer::Allow(vec![method.into()]));
    let (read, _) = json_answered(allow("client_secret_post"), answer.clone()).await;
    assert_eq!(read.json()["client_secret"], "s");
    let (read, _) = json_answered(allow("client_secret_basic"), answer).await;
    assert_eq!(read.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn a_confidential_client_gets_its_secret_and_the_time_it_expires() {
    let method = AuthMethod::public().with_method_for("http://localhost:3000/cb", "client_secret_post").unwrap();
    let preset = Preset::mcp().map_metadata(|metadata| Ok(metadata.with_auth_method(method))).unwrap();
    let (read, _) = json_answered(preset, json!({ "client_id": "c", "client_secret": "s" })).await;
    assert_eq!(read.json()["client_secret"], "s");
    assert_eq!(read.json()["client_secret_expires_at"], 0);
    assert_eq!(read.json()["token_endpoint_auth_method"], "client_secret_post");
}

#[tokio::test]
async fn an_answer_that_can_not_be_read_fails_closed() {
    let long = json!({ "client_id": "c", "x": "x".repeat(300_000) }).to_string();
    for answer in [r#"{"client_id":"c","client_secret":"s","client_secret":null}"#, "[]", "", &long] {
        let (read, _) = answered(Preset::mcp(), 201, "application/json", answer).await;
        assert_eq!(read.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}

/// Some servers answer an update with 204.
#[tokio::test]
async fn an_answer_without_content_passes() {
    let (read, kept) = answered(Preset::mcp(), 204, "application/json", "").await;
    assert_eq!(read.status(), StatusCode::NO_CONTENT);
    assert_eq!(kept.take()[0].outcome, Outcome::Accepted);
}

#[tokio::test]
async fn errors_of_the_handler_pass_and_are_not_stored() {
    let (read, kept) = answered(Preset::mcp(), 409, "application/json", r#"{"error":"taken","x":null}"#).await;
    assert_eq!(
        (read.status(), read.body.as_ref()),
        (StatusCode::CONFLICT, br#"{"error":"taken","x":null}"#.as_slice())
    );
    assert_eq!(read.header("cache-control"), Some("no-store"));
    assert_eq!(kept.take()[0].outcome, Outcome::Failed);
}
