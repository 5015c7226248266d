//! A small OAuth authorization server with an MCP endpoint; the guard on its `/register`, a ledger of its clients, the gate
//! in front of `/authorize`, `/token` and `/revoke`, and the review page.
//!
//! ```console
//! cargo run --example axum
//! cargo run --example axum -- --ledger sqlite:clients.db    # remembers its clients
//! cargo run --example axum -- --policy examples/policy.toml # edit it while the server runs
//! cargo run --example axum -- --unprotected                 # nothing of all that, to see the difference
//! ```
//!
//! Everything but this file is the server that you already have: `/register` stores whatever it is sent. The guard is
//! built in [`guard`], the ledger in [`registrar`], and both are put on their routes in [`router`].

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::header;
use axum::http::request::Parts;
use axum::routing::{any, get, post};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::{Parser, ValueEnum};
use subtle::ConstantTimeEq;
use tower_dcr::event::{JsonLines, Sink, TracingSink};
use tower_dcr::initial_access::{InitialAccess, StaticTokens};
use tower_dcr::ledger::{Filter, MemoryLedger, SqliteLedger};
use tower_dcr::policy::{AuthMethod, Grants, RedirectUriGuard};
use tower_dcr::quota::Quota;
use tower_dcr::registrar::Registrar;
use tower_dcr::reload::ReloadableLayer;
use tower_dcr::review::Review;
use tower_dcr::review_service::{Access, ReviewService};
use tower_dcr::{GateLayer, InitialAccessTokenLayer, Preset};
use tower_http::cors::{Any, CorsLayer};

#[path = "axum/authorization.rs"]
mod authorization;
#[path = "axum/connections.rs"]
mod connections;
#[path = "axum/consent.rs"]
mod consent;
#[path = "axum/mcp.rs"]
mod mcp;

use authorization::Server;
use connections::Limits;

type Error = Box<dyn std::error::Error>;

#[derive(Parser)]
struct Args {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:3000")]
    addr: SocketAddr,
    /// Don't ask for consent.
    #[arg(long)]
    auto_approve: bool,
    /// Leave the guard, the ledger and the gate out.
    #[arg(long)]
    unprotected: bool,
    /// Which rules to apply.
    #[arg(long, value_enum, default_value = "mcp")]
    preset: Rules,
    /// A policy file instead, which is read again whenever it changes.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["preset", "quota", "private_scheme", "trusted_proxy"])]
    policy: Option<PathBuf>,
    /// Write audit events to this file, a line of JSON each.
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
    /// Where to keep the ledger of clients: `sqlite:PATH`. In memory without.
    #[arg(long, value_name = "sqlite:PATH")]
    ledger: Option<String>,
    /// Registrations per minute and address.
    #[arg(long, value_name = "N")]
    quota: Option<NonZeroU32>,
    /// Allow redirects to this private-use scheme as well.
    #[arg(long, value_name = "NAME")]
    private_scheme: Vec<String>,
    /// Let nobody register without this initial access token (16 characters at least).
    #[arg(long, value_name = "TOKEN")]
    initial_access_token: Vec<String>,
    /// How many connections may be open; from one address 200, unless there is a proxy.
    #[arg(long, value_name = "N", default_value = "2000")]
    max_connections: usize,
    /// Believe X-Forwarded-For from this address or network.
    #[arg(long, value_name = "CIDR")]
    trusted_proxy: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Rules {
    Mcp,
    Oauth,
    Strict,
}

/// Where audit events go.
fn sink(args: &Args) -> Result<Arc<dyn Sink>, Error> {
    Ok(match &args.audit {
        Some(file) => Arc::new(JsonLines::new(file).open()?),
        None => Arc::new(TracingSink::new()),
    })
}

/// The guard, as the flags want it.
fn guard(args: &Args, registrar: Registrar, sink: Arc<dyn Sink>) -> Result<Preset, Error> {
    let preset = match (&args.policy, args.preset) {
        (Some(file), _) => Preset::from_file(file)?,
        (None, Rules::Mcp) => tower_dcr::mcp(),
        (None, Rules::Strict) => tower_dcr::strict(),
        (None, Rules::Oauth) => tower_dcr::oauth(Grants::authorization_code(), AuthMethod::one_of(["none"])),
    };
    let mut preset = preset
        .with_registrar(registrar)
        .with_sink(sink)
        .with_peer_address(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0));
    if args.policy.is_none() {
        preset = preset.with_trusted_proxies(&args.trusted_proxy)?.map_redirect_uris(|guard| {
            args.private_scheme.iter().try_fold(guard, RedirectUriGuard::add_private_use_scheme)
        })?;
    }
    if !args.initial_access_token.is_empty() {
        let tokens =
            (1..).zip(&args.initial_access_token).try_fold(StaticTokens::new(), |tokens, (number, token)| {
                tokens.add(token, InitialAccess::of(format!("token {number}")))
            })?;
        preset = preset.with_initial_access_tokens(InitialAccessTokenLayer::new(tokens));
    }
    if let Some(quota) = args.quota {
        // All together may do ten times as much, as they may by default.
        let all = quota.saturating_mul(NonZeroU32::MIN.saturating_add(9));
        preset = preset.with_address_quota(Quota::per_minute(quota)).with_global_quota(Quota::per_minute(all));
    }
    Ok(preset)
}

/// The ledger, and what the server is told and asked about its clients.
async fn registrar(args: &Args, server: &Server, sink: Arc<dyn Sink>) -> Result<Registrar, Error> {
    let registrar = match args.ledger.as_deref().map(|ledger| ledger.strip_prefix("sqlite:").ok_or(ledger)) {
        None => Registrar::new(MemoryLedger::default()),
        Some(Ok(path)) => Registrar::new(SqliteLedger::open(path).await?),
        Some(Err(other)) => return Err(format!("--ledger {other}: only sqlite:PATH is known here").into()),
    };
    let (told, asked) = (server.clone(), server.clone());
    Ok(registrar
        .with_sink(sink)
        // This server compares redirect URIs with `tower_dcr::redirect_uri::matches`.
        .with_any_loopback_port()
        .with_deprovision(move |client_id: String| {
            told.forget(&client_id);
            async { Ok(()) }
        })
        .with_still_in_use(move |client_id: String| {
            let in_use = asked.has_refresh_token(&client_id);
            async move { Ok(in_use) }
        }))
}

/// This server keeps its clients in memory. What it forgot when it was stopped, it reads back.
async fn restore(server: &Server, review: &Review) -> Result<(), Error> {
    let mut cursor = None;
    loop {
        let page = review.find(&Filter::live(), cursor, 500).await?;
        for client in &page.clients {
            if let Some(client_id) = &client.client_id {
                server.restore(client_id, &client.registration);
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

/// The review page, for who knows the token.
fn review_page(review: Review, token: &str) -> ReviewService {
    let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("admin:{token}")));
    ReviewService::new(review, "/admin/clients", move |request: &Parts| {
        let given = request.headers.get(header::AUTHORIZATION).map_or(&[][..], |value| value.as_bytes());
        if bool::from(given.ct_eq(expected.as_bytes())) {
            Access::Operator("admin".to_owned())
        } else {
            Access::Challenge("Basic realm=\"clients\"")
        }
    })
}

fn router(server: Server, protection: Option<(ReloadableLayer, Registrar)>, review_token: &str) -> Router {
    let register = post(authorization::register);
    let token = post(authorization::token);
    let authorize = get(authorization::authorize).post(authorization::decide);
    let revoke = post(authorization::revoke);
    let metadata = get(authorization::metadata);
    let (metadata, register, token, revoke, authorize, review) = match protection {
        Some((guard, registrar)) => (
            metadata.layer(guard.server_metadata_layer()),
            register.layer(guard),
            token.layer(GateLayer::token(registrar.clone())),
            revoke.layer(GateLayer::revocation(registrar.clone())),
            authorize.layer(GateLayer::authorization(registrar.clone())),
            Some(review_page(Review::new(registrar), review_token)),
        ),
        None => (metadata, register, token, revoke, authorize, None),
    };
    // Outside of the guard, so that pages in a browser can read its refusals.
    let cors = CorsLayer::new().allow_origin(Any).allow_methods(Any).allow_headers(Any).expose_headers(Any);
    let router = Router::new()
        .route("/.well-known/oauth-authorization-server", metadata)
        .route("/.well-known/oauth-protected-resource", get(mcp::metadata))
        .route("/.well-known/oauth-protected-resource/mcp", get(mcp::metadata))
        .route("/register", register)
        .route("/token", token)
        .route("/revoke", revoke)
        .route("/mcp", any(mcp::endpoint))
        .layer(cors)
        // RFC 9700 section 2.6: the authorization endpoint must not support CORS.
        .route("/authorize", authorize);
    match review {
        Some(review) => router.nest_service("/admin/clients", review),
        None => router,
    }
    .with_state(server)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let args = Args::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let server = Server::new(args.auto_approve);
    let protection = if args.unprotected {
        None
    } else {
        let sink = sink(&args)?;
        let registrar = registrar(&args, &server, Arc::clone(&sink)).await?;
        restore(&server, &Review::new(registrar.clone())).await?;
        tokio::spawn(registrar.clone().maintain(Duration::from_secs(60)));
        let guard = guard(&args, registrar.clone(), sink)?.reloadable();
        if let Some(file) = &args.policy {
            tokio::spawn(guard.handle().watch(file, Duration::from_secs(1)));
        }
        Some((guard, registrar))
    };
    let server = match &protection {
        Some((_, registrar)) => server.with_registrar(registrar.clone()),
        None => server,
    };
    let review_token = authorization::random();
    let listener = tokio::net::TcpListener::bind(args.addr).await?;
    say_hello(&listener.local_addr()?.to_string(), protection.is_some().then_some(&*review_token));
    let app = router(server, protection, &review_token);
    // A proxy brings everybody from one address.
    let each = if args.trusted_proxy.is_empty() { 200 } else { args.max_connections };
    let interrupted = async {
        // An error here means that there is no such signal to wait for.
        let _interrupted = tokio::signal::ctrl_c().await;
    };
    connections::serve(listener, app, Limits { all: args.max_connections, each }, interrupted).await;
    Ok(())
}

fn say_hello(address: &str, review_token: Option<&str>) {
    let base = format!("http://{address}");
    println!("listening on {base}");
    if let Some(token) = review_token {
        println!("review of its clients: http://admin:{token}@{address}/admin/clients");
    }
    println!();
    println!("An honest client registers:");
    println!("  curl -i {base}/register -H 'content-type: application/json' \\");
    println!("    -d '{{\"client_name\":\"My App\",\"redirect_uris\":[\"http://127.0.0.1:8080/callback\"]}}'");
    println!();
    println!("An attacker does not (with --unprotected, he does):");
    println!("  curl -i {base}/register -H 'content-type: application/json' \\");
    println!("    -d '{{\"client_name\":\"Claude\",\"redirect_uris\":[\"javascript:alert(document.cookie)\"]}}'");
    println!();
    println!("The MCP endpoint is {base}/mcp");
}
