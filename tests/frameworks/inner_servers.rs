//! Third-party servers, without and with the layers.

use std::sync::Arc;

use http_body_util::BodyExt;
use oauth_as::http::ServiceBuilder;
use oauth_as::registration::{RegistrationAttempt, RegistrationConfig, RegistrationDecision, RegistrationPolicy};
use oauth_as::server::{AuthorizationServer, ServerConfig};
use oauth_as::store::MemoryStorage;
use oauth2_test_server::{AppState, IssuerConfig, router};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};
use tower_dcr::{Preset, rules::Action};

async fn post(app: axum::Router, path: &str, body: &Value) -> (u16, Value) {
    send(app, http::Request::post(path), body).await
}

async fn send(app: axum::Router, request: http::request::Builder, body: &Value) -> (u16, Value) {
    let request = request.header("content-type", "application/json");
    let response = app.oneshot(request.body(axum::body::Body::from(body.to_string())).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

fn attacks() -> [Value; 4] {
    [
        json!({ "redirect_uris": ["javascript:alert(1)"], "client_name": "Claude" }),
        json!({ "redirect_uris": ["https://*.evil.example.net/#f"], "client_name": "x" }),
        json!({ "redirect_uris": ["https://app.example.com/cb", "http://evil.example.net/cb"], "client_name": "x" }),
        json!({ "redirect_uris": ["data:text/html,<script>alert(1)</script>"], "client_name": "x" }),
    ]
}

/// `oauth2-test-server` registers what it is sent, and gives every client a secret.
#[tokio::test]
async fn a_server_that_accepts_everything_rejects_attacks_behind_the_preset() {
    let naive = router::build_router(AppState::new(IssuerConfig::default()));
    let guarded = naive.clone().layer(tower_dcr::mcp().map_answer(|answer| answer.with_secret(Action::Strip)));
    for attack in attacks() {
        assert_eq!(post(naive.clone(), "/register", &attack).await.0, 201, "{attack}");
        let (status, body) = post(guarded.clone(), "/register", &attack).await;
        assert_eq!((status, &body["error"]), (400, &json!("invalid_redirect_uri")), "{attack}");
    }
    let honest = json!({ "redirect_uris": ["http://127.0.0.1:8080/cb"], "client_name": "App", "scope": "" });
    let (status, body) = post(guarded, "/register", &honest).await;
    assert_eq!(status, 201, "{body}");
    assert_eq!(body["redirect_uris"], honest["redirect_uris"]);
    assert_eq!((&body["client_name"], &body["token_endpoint_auth_method"]), (&json!("App"), &json!("none")));
    assert!(body["client_id"].is_string() && body.get("client_secret").is_none());
}

struct Anybody;

impl RegistrationPolicy for Anybody {
    fn authorize(&self, _: &RegistrationAttempt<'_>) -> RegistrationDecision {
        RegistrationDecision::Allow
    }
}

/// `oauth-as` is a whole server behind one fallback: the guard goes on its registration routes, the rest stays.
fn strict_server(guard: &Preset) -> axum::Router {
    let mut config = ServerConfig::new("https://as.example.com", "https://as.example.com/device");
    config.registration = Some(Box::new(RegistrationConfig::new()));
    let server = AuthorizationServer::new(config, MemoryStorage::new()).with_registration_policy(Box::new(Anybody));
    let server: axum::Router = ServiceBuilder::new(Arc::new(server)).build().unwrap().into();
    axum::Router::new()
        .route_service("/register", guard.layer(server.clone()))
        .route_service("/register/{client_id}", guard.layer(server.clone()))
        .fallback_service(server)
}

/// `oauth-as` is strict about redirect URIs, and has RFC 7592: read, update, delete.
#[tokio::test]
async fn a_server_with_client_management_is_protected_at_updates_too() {
    let app = strict_server(&tower_dcr::mcp());
    let honest = json!({ "redirect_uris": ["https://app.example.com/cb"], "client_name": "App",
        "token_endpoint_auth_method": "client_secret_post", "skip_consent": true, "logo_uri": "http://10.0.0.1/l.png" });
    let (status, client) = post(app.clone(), "/register", &honest).await;
    assert_eq!(status, 201, "{client}");
    assert_eq!(client["token_endpoint_auth_method"], "none");
    assert!(client.get("skip_consent").is_none() && client.get("client_secret").is_none());
    let path = format!("/register/{}", client["client_id"].as_str().unwrap());
    let with = |method: &str| {
        let token = client["registration_access_token"].as_str().unwrap();
        http::Request::builder().method(method).uri(&path).header("authorization", format!("Bearer {token}"))
    };
    let (status, read) = send(app.clone(), with("GET"), &Value::Null).await;
    assert_eq!((status, &read["client_name"]), (200, &json!("App")));
    // Registered clean, updated evil.
    let mut evil = json!({ "client_id": client["client_id"], "redirect_uris": ["http://evil.example.net/cb"] });
    let (status, body) = send(app.clone(), with("PUT"), &evil).await;
    assert_eq!((status, &body["error"]), (400, &json!("invalid_redirect_uri")));
    evil["redirect_uris"] = json!(["https://app.example.com/cb"]);
    evil["token_endpoint_auth_method"] = json!("private_key_jwt");
    assert_eq!(send(app.clone(), with("PUT"), &evil).await.0, 400);
    // An update without a method would fall back to client_secret_basic.
    let update = json!({ "client_id": client["client_id"], "redirect_uris": ["https://app.example.com/new"],
        "client_name": "App 2", "registration_access_token": "echoed", "client_id_issued_at": 1 });
    let (status, updated) = send(app.clone(), with("PUT"), &update).await;
    assert_eq!(status, 200, "{updated}");
    assert_eq!((&updated["token_endpoint_auth_method"], &updated["client_name"]), (&json!("none"), &json!("App 2")));
    assert_eq!(send(app.clone(), with("DELETE"), &Value::Null).await.0, 204);
    assert_eq!(send(app.clone(), with("GET"), &Value::Null).await.0, 401);
    // Other requests are unchanged.
    let form = http::Request::post("/token").header("content-type", "application/x-www-form-urlencoded");
    let response = app.oneshot(form.body(axum::body::Body::from("grant_type=x")).unwrap()).await.unwrap();
    assert_ne!(response.status().as_u16(), 415);
}
