//! A rule of your own, in ten lines: only clients that name a contact may register.
//!
//! ```console
//! cargo run --example custom_rule
//! ```

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::ConnectInfo;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Map, Value};
use tower_dcr::rules::{ErrorCode, Rule, rule};

fn contact_required() -> impl Rule {
    rule("contact-required", |draft| match draft.registration().strings("contacts") {
        Some(contacts) if contacts.len() > 0 => Ok(()),
        _ => Err(draft
            .reject(ErrorCode::InvalidClientMetadata, "must name a person or an address")
            .with_field("contacts")),
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let preset = tower_dcr::mcp()
        .with_peer_address(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0))
        .add_rule(contact_required());
    // Your handler.
    let register = post(async |Json(mut client): Json<Map<String, Value>>| {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        client.insert("client_id".into(), format!("client-{}", NEXT.fetch_add(1, Ordering::Relaxed)).into());
        Json(client)
    });
    let app = Router::new().route("/register", register.layer(preset));

    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    let listener = tokio::net::TcpListener::bind(addr).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
