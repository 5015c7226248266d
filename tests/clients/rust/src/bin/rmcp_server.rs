//! An MCP server with `rmcp`, and an authorization server of the simplest kind: it registers what it is sent, gives
//! everybody a secret, and asks for none. With `--guarded`, the guide's lines are in it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{ConnectInfo, Form, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use rmcp::handler::server::wrapper::Parameters;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ServerHandler, tool, tool_handler, tool_router};
use serde_json::{Map, Value, json};
use test_clients_rust::Error;
use tokio::net::TcpListener;
use tower_http::cors::CorsLayer;
use url::Url;

#[derive(Clone, Default)]
struct Store(Arc<Mutex<HashMap<String, Map<String, Value>>>>);

impl Store {
    fn keep(&self, kind: &str, value: Map<String, Value>) -> String {
        let mut kept = self.0.lock().unwrap();
        let key = format!("{kind}-{}", kept.len());
        kept.insert(key.clone(), value);
        key
    }

    fn find(&self, key: &str) -> Option<Map<String, Value>> {
        self.0.lock().unwrap().get(key).cloned()
    }
}

async fn oauth_authorization_server(headers: HeaderMap) -> Json<Value> {
    let base = base(&headers);
    Json(json!({
        "issuer": base, "authorization_endpoint": format!("{base}/oauth/authorize"),
        "token_endpoint": format!("{base}/oauth/token"), "registration_endpoint": format!("{base}/oauth/register"),
        "response_types_supported": ["code"], "code_challenge_methods_supported": ["S256"], "scopes_supported": ["mcp"],
    }))
}

async fn oauth_register(State(store): State<Store>, Json(mut client): Json<Map<String, Value>>) -> Response {
    let client_id = store.keep("client", client.clone());
    client.insert("client_id".into(), client_id.into());
    client.insert("client_secret".into(), "secret".into());
    (StatusCode::CREATED, Json(client)).into_response()
}

async fn oauth_authorize(State(store): State<Store>, Query(asked): Query<HashMap<String, String>>) -> Response {
    let registered = asked.get("client_id").and_then(|id| store.find(id)).unwrap_or_default();
    let uri = asked.get("redirect_uri").cloned().unwrap_or_default();
    let known =
        registered.get("redirect_uris").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let known = known.into_iter().any(|known| known == uri || tower_dcr::redirect_uri::matches(known, &uri));
    let Some(mut callback) = Url::parse(&uri).ok().filter(|_| known) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    callback.query_pairs_mut().append_pair("code", &store.keep("code", Map::new()));
    if let Some(state) = asked.get("state") {
        callback.query_pairs_mut().append_pair("state", state);
    }
    Redirect::to(callback.as_str()).into_response()
}

async fn oauth_token(State(store): State<Store>, Form(asked): Form<HashMap<String, String>>) -> Response {
    if asked.get("code").and_then(|code| store.find(code)).is_none() {
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": "invalid_grant" }))).into_response();
    }
    let token = store.keep("token", Map::new());
    Json(json!({ "access_token": token, "token_type": "Bearer", "expires_in": 3600, "scope": "mcp" })).into_response()
}

async fn authorized(State(store): State<Store>, request: Request<Body>, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = given.and_then(|given| given.strip_prefix("Bearer "));
    if token.is_some_and(|token| store.find(token).is_some()) {
        return next.run(request).await;
    }
    let metadata = format!("{}/.well-known/oauth-protected-resource/mcp", base(request.headers()));
    let challenge = format!("Bearer resource_metadata=\"{metadata}\", scope=\"mcp\"");
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response()
}

async fn protected_resource(headers: HeaderMap) -> Json<Value> {
    let base = base(&headers);
    Json(json!({ "resource": format!("{base}/mcp"), "authorization_servers": [base], "scopes_supported": ["mcp"] }))
}

fn base(headers: &HeaderMap) -> String {
    format!("http://{}", headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost"))
}

#[derive(Clone)]
struct Echo;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Said {
    text: String,
}

#[tool_router]
impl Echo {
    #[tool(description = "Says what you say")]
    fn echo(&self, Parameters(Said { text }): Parameters<Said>) -> String {
        text
    }
}

#[tool_handler]
impl ServerHandler for Echo {}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let guarded = std::env::args().any(|argument| argument == "--guarded");
    let cors_layer = CorsLayer::permissive();
    let mut metadata = get(oauth_authorization_server);
    let mut register = post(oauth_register);
    if guarded {
        let guard = tower_dcr::mcp()
            .map_answer(|answer| answer.with_secret(tower_dcr::rules::Action::Strip))
            .with_peer_address(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0));
        metadata = metadata.layer(guard.server_metadata_layer());
        register = register.layer(guard);
    }
    let store = Store::default();
    let config = StreamableHttpServerConfig::default().with_json_response(true).with_legacy_session_mode(false);
    let service = StreamableHttpService::new(|| Ok(Echo), Arc::new(LocalSessionManager::default()), config);
    let app = Router::new()
        .nest_service("/mcp", service)
        .layer(from_fn_with_state(store.clone(), authorized))
        .route("/.well-known/oauth-protected-resource/mcp", get(protected_resource))
        .route("/.well-known/oauth-authorization-server", metadata)
        .route("/oauth/register", register)
        .route("/oauth/token", post(oauth_token))
        .layer(cors_layer)
        .route("/oauth/authorize", get(oauth_authorize))
        .with_state(store);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
