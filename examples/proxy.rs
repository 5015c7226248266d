//! The guard in front of any OAuth server, whatever it is written in: a reverse proxy.
//!
//! ```console
//! cargo run --release --example proxy -- --upstream http://127.0.0.1:8080 --public-url https://as.example.com
//! cargo run --release --example proxy -- --upstream https://as.internal --upstream-ca internal.pem \
//!     --policy policy.toml --ledger sqlite:clients.db --audit registrations.jsonl
//! ```
//!
//! Registrations are reviewed, and with a ledger clients are held to it at the endpoints that they use: authorization, tokens,
//! pushed requests, devices, introspection, revocation. The server's own discovery document says where these endpoints are
//! (RFC 8414, OpenID Connect Discovery). That document then names this proxy's endpoints, and the metadata that the policy
//! allows. Everything else passes: long bodies, server-sent events, web sockets.
//!
//! The head of each request is put in order before anything is judged (`proxy/request.rs`), so that the server reads the
//! request that was judged.
//!
//! Only this proxy may be able to reach the server: clients that reach it directly register there unseen.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::Uri;
use axum::response::Response;
use clap::Parser;
use tower::ServiceExt;
use tower_dcr::event::{JsonLines, Sink, TracingSink};
use tower_dcr::ledger::{PostgresLedger, SqliteLedger};
use tower_dcr::policy::ServerMetadata;
use tower_dcr::registrar::Registrar;
use tower_dcr::{GateLayer, Preset, ServerMetadataLayer};

#[path = "axum/connections.rs"]
mod connections;
#[path = "proxy/discovery.rs"]
mod discovery;
#[path = "proxy/endpoints.rs"]
mod endpoints;
#[path = "proxy/forwarded.rs"]
mod forwarded;
#[path = "proxy/headers.rs"]
mod headers;
#[path = "proxy/host.rs"]
mod host;
#[path = "proxy/path.rs"]
mod path;
#[path = "proxy/rejected.rs"]
mod rejected;
#[path = "proxy/request.rs"]
mod request;
#[path = "proxy/upstream.rs"]
mod upstream;

use connections::Limits;
use discovery::Public;
use endpoints::{Endpoint, Endpoints};
use forwarded::Forwarding;
use upstream::{Upstream, Way};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
struct Args {
    /// The OAuth server: `http://127.0.0.1:8080`, or with `https`.
    #[arg(long)]
    upstream: Origin,
    /// Certificates that sign the server's, as PEM, besides those that this machine trusts.
    #[arg(long, value_name = "FILE")]
    upstream_ca: Option<PathBuf>,
    /// How long the server may take for the head of an answer.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    upstream_timeout: Duration,
    /// Ask the server for itself by its own name, and not by the one that the client used.
    #[arg(long)]
    upstream_host: bool,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// How clients call this proxy: `https://as.example.com`. Without, what the request says.
    #[arg(long, value_name = "URL")]
    public_url: Option<Origin>,
    /// Where the server's discovery document is, if it is in neither of the two usual places.
    #[arg(long, value_name = "PATH")]
    discovery_path: Option<String>,
    /// Let the server announce what the policy refuses, too: for clients that were registered by hand.
    #[arg(long)]
    keep_metadata: bool,
    /// Where the server registers clients, if its discovery document does not say; or where besides.
    #[arg(long, value_name = "PATH")]
    register_path: Vec<String>,
    /// The same for its authorization endpoint.
    #[arg(long, value_name = "PATH")]
    authorize_path: Vec<String>,
    /// The same for its token endpoint.
    #[arg(long, value_name = "PATH")]
    token_path: Vec<String>,
    /// The same for its endpoint for pushed authorization requests (RFC 9126).
    #[arg(long, value_name = "PATH")]
    par_path: Vec<String>,
    /// The same for its device authorization endpoint (RFC 8628).
    #[arg(long, value_name = "PATH")]
    device_path: Vec<String>,
    /// The same for its introspection endpoint (RFC 7662).
    #[arg(long, value_name = "PATH")]
    introspect_path: Vec<String>,
    /// The same for its revocation endpoint (RFC 7009).
    #[arg(long, value_name = "PATH")]
    revoke_path: Vec<String>,
    /// Send registrations at this path to the registration endpoint, too: some clients use /register whatever the discovery
    /// document says.
    #[arg(long, value_name = "PATH")]
    register_alias: Vec<String>,
    /// Take path segments with this name for scripts, behind which the server finds all of its paths. Names such as index.php
    /// and app.cgi are taken for scripts anyway.
    #[arg(long, value_name = "NAME")]
    script: Vec<String>,
    /// Pass paths that servers read in different ways: with empty segments, dot segments, `;`, or escapes that are not needed.
    #[arg(long)]
    allow_odd_paths: bool,
    /// The policy, which is read again whenever it changes. The preset `mcp` without.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Keep a ledger of clients, and hold them to it: `sqlite:PATH`, or `postgres://…`.
    #[arg(long, value_name = "URL")]
    ledger: Option<String>,
    /// Write audit events to this file, a line of JSON each.
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
    /// Believe what this address or network says of who it forwards for. A policy has that in `client_address`.
    #[arg(long, value_name = "CIDR", conflicts_with = "policy")]
    trusted_proxy: Vec<String>,
    /// How many connections may be open; from one address 200, unless there is a proxy.
    #[arg(long, value_name = "N", default_value = "2000")]
    max_connections: usize,
}

/// What a request can be on its way to.
struct Proxy {
    endpoints: Endpoints,
    forwarding: Forwarding,
    allow_odd_paths: bool,
    judged: HashMap<Endpoint, Way>,
    /// Everything else.
    onward: Way,
}

impl Proxy {
    fn judges(&self, endpoint: Endpoint) -> bool {
        self.judged.contains_key(&endpoint)
    }
}

async fn forward(State(proxy): State<Arc<Proxy>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let version = parts.version;
    let mut response = match request::take_over(&proxy, &mut parts) {
        Err(rejected) => rejected.answer(&parts.headers, body).await,
        Ok(endpoint) => {
            let way = endpoint.and_then(|endpoint| proxy.judged.get(&endpoint)).unwrap_or(&proxy.onward);
            let request = Request::from_parts(parts, body);
            way.clone().oneshot(request).await.unwrap_or_else(|never| match never {})
        }
    };
    // The version of a message is that of its connection, and not of another one (RFC 9110 section 2.5).
    *response.version_mut() = version;
    response
}

fn sink(args: &Args) -> Result<Arc<dyn Sink>, Error> {
    Ok(match &args.audit {
        Some(file) => Arc::new(JsonLines::new(file).open()?),
        None => Arc::new(TracingSink::new()),
    })
}

async fn registrar(args: &Args, sink: Arc<dyn Sink>) -> Result<Option<Registrar>, Error> {
    let registrar = match args.ledger.as_deref() {
        None => return Ok(None),
        Some(url) if url.starts_with("postgres:") || url.starts_with("postgresql:") => {
            Registrar::new(PostgresLedger::new(sqlx::PgPool::connect(url).await?).await?)
        }
        Some(url) => match url.strip_prefix("sqlite:") {
            Some(path) => Registrar::new(SqliteLedger::open(path).await?),
            None => return Err(format!("--ledger {url}: sqlite:PATH or postgres://… is known here").into()),
        },
    };
    let registrar = registrar.with_sink(sink);
    tokio::spawn(registrar.clone().maintain(Duration::from_secs(60)));
    Ok(Some(registrar))
}

fn preset(args: &Args, registrar: Option<Registrar>, sink: Arc<dyn Sink>) -> Result<Preset, Error> {
    let preset = match &args.policy {
        Some(file) => Preset::from_file(file)?,
        None => tower_dcr::mcp().with_trusted_proxies(&args.trusted_proxy)?,
    };
    let preset = match &args.public_url {
        Some(origin) => preset.with_public_url(origin.to_string())?,
        None => preset,
    };
    let preset = preset
        .with_sink(sink)
        .with_peer_address(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0));
    Ok(match registrar {
        Some(registrar) => preset.with_registrar(registrar),
        None => preset,
    })
}

async fn proxy(args: &Args) -> Result<Proxy, Error> {
    let upstream = Upstream::new(args)?;
    let sink = sink(args)?;
    let registrar = registrar(args, Arc::clone(&sink)).await?;
    let endpoints = endpoints::find(args, &upstream, registrar.is_some()).await?;
    let preset = preset(args, registrar.clone(), sink)?.with_client_url(endpoints.client_url()?);
    let forwarding = Forwarding::new(&preset, args.public_url.clone())?;
    let guard = preset.reloadable();
    if let Some(file) = &args.policy {
        tokio::spawn(guard.handle().watch(file, Duration::from_secs(2)));
    }
    let public = Public::new(args.public_url.clone(), &args.upstream, endpoints.clone(), registrar.is_some())?;
    let metadata = if args.keep_metadata {
        ServerMetadataLayer::new(ServerMetadata::default)
    } else {
        guard.server_metadata_layer()
    };
    let amend = metadata.with_amendment(move |request, document| public.amend(request, document));
    let mut judged = HashMap::from([
        (Endpoint::Register, upstream::readable(upstream.behind(guard))),
        (Endpoint::Discovery, upstream.behind(amend)),
    ]);
    if let Some(registrar) = registrar {
        // What the server says that it takes, and nothing else, may stand for a redirect URI.
        let objects = endpoints.takes_request || endpoints.takes_request_uri;
        let request = |gate: GateLayer| if objects { gate.with_request_objects() } else { gate };
        for (endpoint, gate) in [
            (Endpoint::Device, GateLayer::device_authorization(registrar.clone())),
            (Endpoint::Introspect, GateLayer::introspection(registrar.clone())),
            (Endpoint::Par, request(GateLayer::pushed_authorization(registrar.clone()))),
            (Endpoint::Revoke, GateLayer::revocation(registrar.clone())),
            (Endpoint::Token, GateLayer::token(registrar.clone())),
        ] {
            judged.insert(endpoint, upstream::readable(upstream.behind(gate)));
        }
        // RFC 9700 section 2.6: the authorization endpoint must not support CORS.
        judged.insert(Endpoint::Authorize, upstream.behind(request(GateLayer::authorization(registrar))));
    }
    Ok(Proxy { endpoints, forwarding, allow_odd_paths: args.allow_odd_paths, judged, onward: upstream.way() })
}

/// Ctrl-C, or what a service manager sends.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match serve(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

/// For people to read: some errors say what caused them, others leave it to their source.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source()).map(ToString::to_string);
    causes.fold(error.to_string(), |text, cause| if text.contains(&cause) { text } else { format!("{text}: {cause}") })
}

async fn serve(args: &Args) -> Result<(), Error> {
    let proxy = proxy(args).await?;
    let listener = tokio::net::TcpListener::bind(args.listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    println!("{}", proxy.endpoints);
    // A proxy brings everybody from one address.
    let each = if proxy.forwarding.has_proxies() { args.max_connections } else { 200 };
    let app = Router::new().fallback(forward).with_state(Arc::new(proxy));
    connections::serve(listener, app, Limits { all: args.max_connections, each }, stopped()).await;
    Ok(())
}

/// Scheme, host and port: `https://as.example.com`.
#[derive(Clone, Debug)]
struct Origin {
    scheme: String,
    authority: String,
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let parts = url.parse::<Uri>().map(Uri::into_parts).ok();
        match parts.map(|parts| (parts.scheme, parts.authority, parts.path_and_query)) {
            Some((Some(scheme), Some(authority), path)) if path.as_ref().is_none_or(|path| path == "/") => {
                match scheme.as_str() {
                    "http" | "https" => Ok(Self { scheme: scheme.to_string(), authority: authority.to_string() }),
                    _ => Err("only http and https are spoken here".into()),
                }
            }
            _ => Err("write scheme, host and port, and nothing else: https://as.example.com".into()),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}
