//! A small OAuth authorization server with an MCP endpoint, and the guard on its `/register`.
//!
//! ```console
//! cargo run --example axum
//! cargo run --example axum -- --unprotected     # the same without the guard, to see the difference
//! ```
//!
//! Everything but this file is the server that you already have: `/register` stores whatever it is sent. The guard is
//! built in [`guard`] and put on that one route in [`router`].

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::{any, get, post};
use clap::{Parser, ValueEnum};
use tower_dcr::Preset;
use tower_dcr::event::{JsonLines, TracingSink};
use tower_dcr::policy::{AuthMethod, Grants, RedirectUriGuard};
use tower_dcr::quota::Quota;
use tower_http::cors::{Any, CorsLayer};

#[path = "axum/authorization.rs"]
mod authorization;
#[path = "axum/consent.rs"]
mod consent;
#[path = "axum/mcp.rs"]
mod mcp;

use authorization::Server;

type Error = Box<dyn std::error::Error>;

#[derive(Parser)]
struct Args {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:3000")]
    addr: SocketAddr,
    /// Don't ask for consent.
    #[arg(long)]
    auto_approve: bool,
    /// Leave the guard out.
    #[arg(long)]
    unprotected: bool,
    /// Which rules to apply.
    #[arg(long, value_enum, default_value = "mcp")]
    preset: Rules,
    /// Write audit events to this file, a line of JSON each.
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
    /// Registrations per minute and address.
    #[arg(long, value_name = "N")]
    quota: Option<NonZeroU32>,
    /// Allow redirects to this private-use scheme as well.
    #[arg(long, value_name = "NAME")]
    private_scheme: Vec<String>,
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

/// The guard, as the flags want it.
fn guard(args: &Args) -> Result<Preset, Error> {
    let preset = match args.preset {
        Rules::Mcp => tower_dcr::mcp(),
        Rules::Strict => tower_dcr::strict(),
        Rules::Oauth => tower_dcr::oauth(Grants::authorization_code(), AuthMethod::one_of(["none"])),
    };
    let mut preset = preset
        .with_peer_address(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0))
        .with_trusted_proxies(&args.trusted_proxy)?
        .map_redirect_uris(|guard| {
            args.private_scheme.iter().try_fold(guard, RedirectUriGuard::add_private_use_scheme)
        })?;
    if let Some(quota) = args.quota {
        // All together may do ten times as much, as they may by default.
        let all = quota.saturating_mul(NonZeroU32::MIN.saturating_add(9));
        preset = preset.with_address_quota(Quota::per_minute(quota)).with_global_quota(Quota::per_minute(all));
    }
    Ok(match &args.audit {
        Some(file) => preset.with_sink(JsonLines::new(file).open()?),
        None => preset.with_sink(TracingSink::new()),
    })
}

fn router(server: Server, guard: Option<Preset>) -> Router {
    let register = post(authorization::register);
    let register = match guard {
        Some(guard) => register.layer(guard),
        None => register,
    };
    // Outside of the guard, so that pages in a browser can read its refusals.
    let cors = CorsLayer::new().allow_origin(Any).allow_methods(Any).allow_headers(Any).expose_headers(Any);
    Router::new()
        .route("/.well-known/oauth-authorization-server", get(authorization::metadata))
        .route("/.well-known/oauth-protected-resource", get(mcp::metadata))
        .route("/.well-known/oauth-protected-resource/mcp", get(mcp::metadata))
        .route("/register", register)
        .route("/token", post(authorization::token))
        .route("/mcp", any(mcp::endpoint))
        .layer(cors)
        // RFC 9700 section 2.6: the authorization endpoint must not support CORS.
        .route("/authorize", get(authorization::authorize).post(authorization::decide))
        .with_state(server)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let args = Args::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let guard = if args.unprotected { None } else { Some(guard(&args)?) };
    let listener = tokio::net::TcpListener::bind(args.addr).await?;
    say_hello(&format!("http://{}", listener.local_addr()?));
    let app = router(Server::new(args.auto_approve), guard);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(async {
            // An error here means that there is no such signal to wait for.
            let _interrupted = tokio::signal::ctrl_c().await;
        })
        .await?;
    Ok(())
}

fn say_hello(base: &str) {
    println!("listening on {base}");
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
