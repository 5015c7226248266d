//! Clients after registration: a ledger, the gate in front of `/token`, and a revocation.
//!
//! ```console
//! cargo run --example ledger
//! ```

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Map, Value};
use tower::ServiceExt;
use tower_dcr::clients::{Actor, Fingerprint, MemoryLedger, Registrar, Revocation};
use tower_dcr::layers::{GateEndpoint, GateLayer};

type Error = Box<dyn std::error::Error>;

/// Your handlers. These give every client one name, and every request a token.
async fn register(Json(mut client): Json<Map<String, Value>>) -> (StatusCode, Json<Map<String, Value>>) {
    client.insert("client_id".into(), "client-1".into());
    (StatusCode::CREATED, Json(client))
}

async fn token() -> &'static str {
    r#"{"access_token":"secret","token_type":"Bearer"}"#
}

async fn send(app: &Router, path: &str, media_type: &str, body: &'static str) -> Result<String, Error> {
    let request = Request::post(path).header(header::CONTENT_TYPE, media_type).body(Body::from(body))?;
    let response = app.clone().oneshot(request).await?;
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), 64 * 1024).await?;
    Ok(format!("{path}: {status} {}", String::from_utf8_lossy(&body)))
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let registrar = Registrar::new(MemoryLedger::default()).with_deprovision(async |client_id: String| {
        println!("the server drops {client_id} and its tokens");
        Ok(())
    });
    let app = Router::new()
        .route("/register", post(register).layer(tower_dcr::mcp().with_registrar(registrar.clone())))
        // Passes clients that the ledger does not know; a server that checks nothing itself at its authorization endpoint sets
        // `unknown = Some(Action::Reject)` (`gate.unknown` in a policy file).
        .route("/token", post(token).layer(GateLayer::new(GateEndpoint::Token, registrar.clone())));
    let registration = r#"{"client_name":"My App","redirect_uris":["http://127.0.0.1/cb"]}"#;
    let request = "grant_type=authorization_code&code=c&client_id=client-1";
    let form = "application/x-www-form-urlencoded";

    println!("{}", send(&app, "/register", "application/json", registration).await?);
    println!("{}", send(&app, "/token", form, request).await?);
    let name = Fingerprint::parse("name", "My App")?;
    let revoked = registrar.revoke(Revocation::new(name, Actor::Operator("alice".into()), "imitates us")).await?;
    println!("alice revokes {} client", revoked.clients);
    println!("{}", send(&app, "/token", form, request).await?);
    println!("{}", send(&app, "/register", "application/json", registration).await?);
    Ok(())
}
