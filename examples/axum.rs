//! The preset `mcp` on an axum server: a registration route and a discovery document.
//!
//! ```console
//! cargo run --example axum
//! curl -i localhost:3000/register -H 'content-type: application/json' -d '{"redirect_uris":["javascript:alert(1)"]}'
//! ```

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::ConnectInfo;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Map, Value, json};

/// Your handler: stores the checked registration, and answers with it and a new `client_id`.
async fn register(Json(mut client): Json<Map<String, Value>>) -> (StatusCode, Json<Map<String, Value>>) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    client.insert("client_id".into(), format!("client-{}", NEXT.fetch_add(1, Ordering::Relaxed)).into());
    (StatusCode::CREATED, Json(client))
}

/// Your discovery document (RFC 8414).
async fn metadata() -> Json<Value> {
    Json(json!({
        "issuer": "http://localhost:3000",
        "registration_endpoint": "http://localhost:3000/register",
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "implicit"],
    }))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    // Rate limits need the address of each connection.
    let mcp =
        tower_dcr::mcp().with_peer_address(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0));
    let app = Router::new()
        // Announces the grants and methods that the preset allows, and no others.
        .route("/.well-known/oauth-authorization-server", get(metadata).layer(mcp.server_metadata_layer()))
        // On this route alone: a token request is no registration.
        .route("/register", post(register).layer(mcp));

    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    let listener = tokio::net::TcpListener::bind(addr).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await
}
