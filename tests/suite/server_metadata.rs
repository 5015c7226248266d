//! The server's own document, behind the layer that amends it.

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use axum::routing::get;
use axum::{Json, Router};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_dcr::layers::ServerMetadataLayer;
use tower_dcr::rules::{AuthMethod, Condition};

const PATH: &str = "/.well-known/oauth-authorization-server";

async fn document() -> ([(header::HeaderName, &'static str); 2], Json<Value>) {
    let document = json!({
        "issuer": "https://as.example.com", "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "password"],
    });
    ([(header::ETAG, "\"1\""), (header::LAST_MODIFIED, "Wed, 25 Nov 2026 10:00:00 GMT")], Json(document))
}

async fn ask(layer: ServerMetadataLayer, method: Method) -> (StatusCode, HeaderMap, Vec<u8>) {
    let app: Router = Router::new().route(PATH, get(document).post(async || "posted").layer(layer));
    let request = Request::builder().method(method).uri(PATH).header("host", "as.example.com");
    let request = request.header("accept-encoding", "gzip").body(Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, body.collect().await.unwrap().to_bytes().to_vec())
}

#[tokio::test]
async fn the_document_announces_what_the_policy_allows() {
    let (status, headers, body) = ask(tower_dcr::mcp().server_metadata_layer(), Method::GET).await;
    assert_eq!(status, StatusCode::OK);
    let document: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(document["grant_types_supported"], json!(["authorization_code"]));
    assert_eq!(document["token_endpoint_auth_methods_supported"], json!(["none"]));
    assert_eq!(headers[header::CONTENT_LENGTH], body.len().to_string());
    assert!(!headers.contains_key(header::ETAG) && !headers.contains_key(header::LAST_MODIFIED));
    let (_, headers, body) = ask(tower_dcr::mcp().server_metadata_layer(), Method::HEAD).await;
    assert!(body.is_empty() && !headers.contains_key(header::ETAG), "{headers:?}");
    assert_eq!(ask(tower_dcr::mcp().server_metadata_layer(), Method::POST).await.2, b"posted");
}

#[tokio::test]
async fn a_report_only_policy_announces_nothing() {
    let (_, _, body) = ask(tower_dcr::mcp().report_only().server_metadata_layer(), Method::GET).await;
    let document: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(document["grant_types_supported"], json!(["authorization_code", "password"]));
    assert!(document.get("token_endpoint_auth_methods_supported").is_none());
}

#[tokio::test]
async fn another_policy_is_announced_at_once() {
    let guard = tower_dcr::mcp().reloadable();
    let methods = async || {
        let (_, _, body) = ask(guard.server_metadata_layer(), Method::GET).await;
        serde_json::from_slice::<Value>(&body).unwrap()["token_endpoint_auth_methods_supported"].clone()
    };
    assert_eq!(methods().await, json!(["none"]));
    let confidential = || AuthMethod::one_of(["client_secret_basic"]);
    let other = tower_dcr::mcp()
        .map_rules(|mut rules| {
            rules.metadata.auth_method = confidential();
            Ok(rules)
        })
        .unwrap();
    guard.replace(&other).unwrap();
    assert_eq!(methods().await, json!(["client_secret_basic"]));
    // Callers with rules of their own read the same document.
    let partners = tower_dcr::mcp().for_callers(Condition::Rules("partner".into()), |mut rules| {
        rules.metadata.auth_method = confidential();
        Ok(rules)
    });
    guard.replace(&partners.unwrap()).unwrap();
    assert_eq!(methods().await, json!(["client_secret_basic", "none"]));
}

#[tokio::test]
async fn an_amendment_sees_the_request() {
    let layer = tower_dcr::mcp().server_metadata_layer().with_amendment(|request, document| {
        let host = request.headers[header::HOST].to_str().unwrap();
        document.insert("registration_endpoint".into(), format!("https://{host}/register").into());
        assert_eq!(document["grant_types_supported"], json!(["authorization_code"]), "narrowed by then");
    });
    let document: Value = serde_json::from_slice(&ask(layer, Method::GET).await.2).unwrap();
    assert_eq!(document["registration_endpoint"], "https://as.example.com/register");
}

/// Answers other than documents pass unchanged; too long ones are not passed in part.
#[tokio::test]
async fn other_answers_pass() {
    let answer = async |status: u16, content_type: &'static str, body: String| {
        let handler = move || {
            let response = Response::builder().status(status).header(header::CONTENT_TYPE, content_type);
            let response = response.header(header::ETAG, "\"1\"").body(Body::from(body.clone())).unwrap();
            async move { response }
        };
        let app: Router = Router::new().route(PATH, get(handler).layer(tower_dcr::mcp().server_metadata_layer()));
        let response = app.oneshot(Request::get(PATH).body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let tagged = parts.headers.contains_key(header::ETAG);
        (parts.status.as_u16(), tagged, String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
    };
    assert_eq!(answer(404, "application/json", "{}".into()).await, (404, true, "{}".into()));
    assert_eq!(answer(200, "text/html", "{}".into()).await, (200, true, "{}".into()));
    assert_eq!(answer(200, "application/json", "[1]".into()).await, (200, false, "[1]".into()));
    let (status, _, body) = answer(200, "application/json", format!("{{\"a\":\"{}\"}}", "a".repeat(300_000))).await;
    assert_eq!((status, body.contains("server_error")), (500, true));
}
