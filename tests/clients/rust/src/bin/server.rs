//! Published authorization servers for axum, as they are or with the guard around their registration.
//!
//! Arguments: `mcp-oauth`, `oauth-as` or `oauth2-test-server`, and `--guarded`.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use mcp_oauth::{CapacityConfig, OAuthConfig, RateLimitConfig, build_oauth_router_with_stores, create_default_stores};
use oauth_as::http::{ApprovalDecision, ServiceBuilder};
use oauth_as::registration::{RegistrationAttempt, RegistrationConfig, RegistrationDecision, RegistrationPolicy};
use oauth_as::server::{AuthorizationServer, ServerConfig};
use oauth_as::store::MemoryStorage;
use oauth2_test_server::{AppState, IssuerConfig, router};
use test_clients_rust::Error;
use tokio::net::TcpListener;
use tower::Layer;
use tower_dcr::{Preset, rules::Action};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let guarded = arguments.iter().any(|argument| argument == "--guarded");
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let issuer = format!("http://127.0.0.1:{port}");
    let (server, guard) = match arguments.first().map(String::as_str) {
        Some("mcp-oauth") => mcp_oauth(&issuer)?,
        Some("oauth-as") => oauth_as(&issuer)?,
        Some("oauth2-test-server") => oauth2_test_server(port),
        other => return Err(format!("no such server: {other:?}").into()),
    };
    // This measures accepted documents, not rates. The scheme is one that attackers extend.
    let guard = guard.without_rate_limits();
    let guard = guard.map_rules(|mut rules| {
        rules.redirect_uris = rules.redirect_uris.add_private_use_scheme("com.example.app")?;
        Ok(rules)
    })?;
    let app = if guarded {
        // Each is a whole server: the guard goes around its registration routes, and the rest stays as it is.
        Router::new()
            .route_service("/register", guard.layer(server.clone()))
            .route_service("/register/{client_id}", guard.layer(server.clone()))
            .route_service(
                "/.well-known/oauth-authorization-server",
                guard.server_metadata_layer().layer(server.clone()),
            )
            .route_service("/.well-known/openid-configuration", guard.server_metadata_layer().layer(server.clone()))
            .fallback_service(server)
    } else {
        server
    };
    println!("listening on {issuer}");
    axum::serve(listener, app).await?;
    Ok(())
}

/// Every client gets a secret here, and no token without it.
fn mcp_oauth(issuer: &str) -> Result<(Router, Preset), Error> {
    let store = std::env::temp_dir().join(format!("mcp-oauth-{}.json", std::process::id()));
    // Passkeys are bound to a name.
    let issuer = issuer.replace("127.0.0.1", "localhost");
    let mut config = OAuthConfig::with_defaults(issuer, "own".into(), "secret".into(), "Bench".into(), store, None);
    config.rate_limits = RateLimitConfig { strict: u32::MAX, moderate: u32::MAX, lenient: u32::MAX };
    config.capacity = CapacityConfig { max_registered_clients: None, ..CapacityConfig::default() };
    let (tokens, clients, passkeys) = create_default_stores(&config);
    let endpoint = Router::new().route("/mcp", get(async || "an MCP endpoint"));
    let server = build_oauth_router_with_stores(endpoint, config, tokens, clients, passkeys);
    Ok((server, tower_dcr::mcp().map_answer(|answer| answer.with_secret_methods(["client_secret_post"]))))
}

struct Anybody;

impl RegistrationPolicy for Anybody {
    fn authorize(&self, _: &RegistrationAttempt<'_>) -> RegistrationDecision {
        RegistrationDecision::Allow
    }
}

fn oauth_as(issuer: &str) -> Result<(Router, Preset), Error> {
    let mut config = ServerConfig::new(issuer, format!("{issuer}/device"));
    config.registration = Some(Box::new(RegistrationConfig::new()));
    let server = AuthorizationServer::new(config, MemoryStorage::new()).with_registration_policy(Box::new(Anybody));
    let server = ServiceBuilder::new(Arc::new(server))
        .with_subject_resolver(|_| Some("somebody".into()))
        .with_approval_resolver(|_| ApprovalDecision::Approve);
    let server = server.build().map_err(|error| error.to_string())?;
    Ok((server.into(), tower_dcr::mcp()))
}

/// Every client gets a secret here, too, and needs none.
fn oauth2_test_server(port: u16) -> (Router, Preset) {
    let config = IssuerConfig { host: "127.0.0.1".into(), port, ..IssuerConfig::default() };
    (
        router::build_router(AppState::new(config)),
        tower_dcr::mcp().map_answer(|answer| answer.with_secret(Action::Strip)),
    )
}
