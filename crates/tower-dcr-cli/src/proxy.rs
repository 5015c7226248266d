//! `dcr proxy`: the layers in front of an OAuth server in any language, as a reverse proxy.
//!
//! ```console
//! dcr proxy --upstream http://127.0.0.1:8080 --public-url https://as.example.com
//! dcr proxy --upstream https://as.internal --upstream-ca internal.pem \
//!     --policy policy.toml --ledger sqlite:clients.db --audit registrations.jsonl
//! ```
//!
//! Evaluates registrations, and with a ledger enforces them at the endpoints that clients use: authorization, tokens,
//! pushed requests, devices, introspection, revocation. The server's own discovery document names these endpoints
//! (RFC 8414, OpenID Connect Discovery). The proxy changes that document to name its own endpoints and the metadata
//! that the policy allows. Everything else passes: long bodies, server-sent events, web sockets.
//!
//! The head of each request is normalized before anything is evaluated (`proxy/request.rs`), so that the server reads
//! the same request.
//!
//! Only this proxy may be able to reach the server: a client that reaches it directly registers there without any
//! check.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::Uri;
use axum::response::Response;
use serde_json::Value;
use tower::ServiceExt;
use tower_dcr::Preset;
use tower_dcr::audit::{Sink, TracingSink};
use tower_dcr::clients::Registrar;
use tower_dcr::layers::{GateEndpoint, GateLayer};
use tower_dcr_server::{Audit, Endpoint, Limits, Setup};
use tower_dcr_sqlx::{PostgresLedger, SqliteLedger};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

mod discovery;
mod endpoints;
mod forwarded;
mod headers;
mod host;
mod rejected;
mod request;
mod upstream;

use discovery::Public;
use endpoints::Places;
use forwarded::Forwarding;
use upstream::{Upstream, Way};

use super::{OK, Outcome, output};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The OAuth server: `http://127.0.0.1:8080`, or with `https`.
    #[arg(long)]
    upstream: Origin,
    /// Additional CA certificates for the server, as a PEM file.
    #[arg(long, value_name = "FILE")]
    upstream_ca: Option<PathBuf>,
    /// The time limit for the head of the server's response.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    upstream_timeout: Duration,
    /// Sends the server its own host name, instead of the one that the client used.
    #[arg(long)]
    upstream_host: bool,
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// The public URL of this proxy: `https://as.example.com`. By default, taken from each request.
    #[arg(long, value_name = "URL")]
    public_url: Option<Origin>,
    /// The path of the server's discovery document, if it is at neither of the two usual paths.
    #[arg(long, value_name = "PATH")]
    discovery_path: Option<String>,
    /// Keeps server metadata that the policy rejects in the discovery document: for clients that were registered by hand.
    #[arg(long)]
    keep_metadata: bool,
    /// A path of the server's registration endpoint, in addition to the one in its discovery document.
    #[arg(long, value_name = "PATH")]
    register_path: Vec<String>,
    /// The same for the authorization endpoint.
    #[arg(long, value_name = "PATH")]
    authorize_path: Vec<String>,
    /// The same for the token endpoint.
    #[arg(long, value_name = "PATH")]
    token_path: Vec<String>,
    /// The same for the endpoint for pushed authorization requests (RFC 9126).
    #[arg(long, value_name = "PATH")]
    par_path: Vec<String>,
    /// The same for the device authorization endpoint (RFC 8628).
    #[arg(long, value_name = "PATH")]
    device_path: Vec<String>,
    /// The same for the backchannel authentication endpoint (OpenID Connect CIBA).
    #[arg(long, value_name = "PATH")]
    backchannel_path: Vec<String>,
    /// The same for the introspection endpoint (RFC 7662).
    #[arg(long, value_name = "PATH")]
    introspect_path: Vec<String>,
    /// The same for the revocation endpoint (RFC 7009).
    #[arg(long, value_name = "PATH")]
    revoke_path: Vec<String>,
    /// Sends registrations at this path to the registration endpoint, too: some clients use /register without reading the
    /// discovery document.
    #[arg(long, value_name = "PATH")]
    register_alias: Vec<String>,
    /// Treats path segments with this name as scripts, which get the rest of the path. Names such as index.php and app.cgi
    /// are always treated as scripts.
    #[arg(long, value_name = "NAME")]
    script: Vec<String>,
    /// Accepts paths that servers read in different ways: with empty segments, dot segments, `;`, or escapes that are not needed.
    #[arg(long)]
    allow_odd_paths: bool,
    /// The policy file, reloaded when it changes. By default, the preset `mcp`.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The ledger of clients, enforced at the endpoints that they use: `sqlite:PATH`, or `postgres://…`.
    #[arg(long, value_name = "URL")]
    ledger: Option<String>,
    /// The file for audit events, one JSON object per line.
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
    /// The file with the key (at least 16 bytes) of the audit file's hash chain. A policy sets it as
    /// `audit.chain_key_file`.
    #[arg(long, value_name = "FILE", requires = "audit")]
    audit_key_file: Option<PathBuf>,
    /// An address or network of proxies whose forwarding headers are trusted. A policy sets them in `client_address`.
    #[arg(long, value_name = "CIDR", conflicts_with = "policy")]
    trusted_proxy: Vec<String>,
    /// The maximum number of open connections; 200 from one address, unless there are trusted proxies.
    #[arg(long, value_name = "N", default_value = "2000")]
    max_connections: NonZeroUsize,
}

/// The services that a request can be sent to.
struct Proxy {
    places: Places,
    forwarding: Forwarding,
    judged: Vec<(Endpoint, Way)>,
    /// The service for all other requests.
    onward: Way,
}

impl Proxy {
    fn judged(&self, endpoint: Endpoint) -> Option<&Way> {
        self.judged.iter().find_map(|(judged, way)| (*judged == endpoint).then_some(way))
    }
}

async fn forward(State(proxy): State<Arc<Proxy>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let version = parts.version;
    let mut response = match request::take_over(&proxy, &mut parts) {
        Err(rejected) => rejected.answer(&parts.headers, body).await,
        Ok(endpoint) => {
            let way = endpoint.and_then(|endpoint| proxy.judged(endpoint)).unwrap_or(&proxy.onward);
            let request = Request::from_parts(parts, body);
            way.clone().oneshot(request).await.unwrap_or_else(|never| match never {})
        }
    };
    // The version of a message is that of its connection (RFC 9110 section 2.5).
    *response.version_mut() = version;
    response
}

async fn registrar(args: &Args, sink: Arc<dyn Sink>) -> Result<Option<Registrar>, Error> {
    let registrar = match args.ledger.as_deref() {
        None => return Ok(None),
        Some(url) if url.starts_with("postgres:") || url.starts_with("postgresql:") => {
            Registrar::new(PostgresLedger::new(sqlx::PgPool::connect(url).await?).await?)
        }
        Some(url) => match url.strip_prefix("sqlite:") {
            Some(path) => Registrar::new(SqliteLedger::open(path).await?),
            None => return Err(format!("--ledger {url}: expected sqlite:PATH or postgres://…").into()),
        },
    };
    let registrar = registrar.with_sink(sink);
    tokio::spawn(registrar.clone().maintain(Duration::from_mins(1)));
    Ok(Some(registrar))
}

fn rules(args: &Args) -> Result<Preset, Error> {
    Ok(match &args.policy {
        Some(file) => Preset::from_file(file)?,
        None => tower_dcr::mcp().with_trusted_proxies(&args.trusted_proxy)?,
    })
}

/// Returns an error if the policy has settings of gates, and there is no ledger: nothing would enforce them.
fn check_gate(args: &Args, rules: &Preset) -> Result<(), Error> {
    let policy = serde_json::to_value(rules)?;
    let gate = policy.get("gate").and_then(Value::as_object);
    let (Some((key, value)), None) = (gate.and_then(|gate| gate.iter().next()), &args.ledger) else { return Ok(()) };
    let (key, value) = match value.as_object().and_then(|rules| rules.iter().next()) {
        Some((rule, action)) => (format!("{key}.{rule}"), action),
        None => (key.clone(), value),
    };
    let way_out = "add --ledger sqlite:clients.db, or take the section out";
    Err(format!("[gate] has no effect without --ledger: the policy has gate.{key} = {value}; {way_out}").into())
}

fn preset(args: &Args, rules: Preset, registrar: Option<Registrar>, sink: Arc<dyn Sink>) -> Result<Preset, Error> {
    let preset = match &args.public_url {
        Some(origin) => rules.with_public_url(origin.to_string())?,
        None => rules,
    };
    let preset = preset
        .with_sink(sink)
        .with_peer_address(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0));
    Ok(match registrar {
        Some(registrar) => preset.with_registrar(registrar),
        None => preset,
    })
}

/// Returns the proxy, its policy as of the start, and its audit file.
async fn proxy(args: &Args) -> Result<(Proxy, Preset, Audit), Error> {
    let upstream = Upstream::new(args)?;
    let rules = rules(args)?;
    check_gate(args, &rules)?;
    let audit = Audit::open(args.audit.as_deref(), args.audit_key_file.as_deref(), &rules, TracingSink)?;
    let registrar = registrar(args, audit.sink()).await?;
    // Before waiting for the server: an invalid policy is reported at once.
    let preset = preset(args, rules, registrar.clone(), audit.sink())?;
    let places = endpoints::find(args, &upstream, registrar.is_some()).await?;
    let preset = preset.with_client_url(places.client_url()?);
    let forwarding = Forwarding::new(&preset, args.public_url.clone())?;
    let guard = preset.clone().reloadable();
    if let Some(file) = &args.policy {
        tokio::spawn(guard.clone().watch(file, Duration::from_secs(2)));
    }
    let public = Public::new(args.public_url.clone(), &args.upstream, &places, registrar.is_some())?;
    let metadata = if args.keep_metadata {
        preset.clone().report_only().server_metadata_layer()
    } else {
        guard.server_metadata_layer()
    };
    let amend = metadata.with_amendment(move |request, document| public.amend(request, document));
    let mut judged = vec![
        (Endpoint::Registration, upstream::readable(upstream.behind(guard.clone()))),
        (Endpoint::Discovery, upstream.behind(amend)),
    ];
    if let Some(registrar) = registrar {
        // Only request parameters that the server supports may replace a redirect URI.
        let (objects, uris) = (places.request_objects(), places.request_uris());
        let with_objects = |gate: GateLayer| {
            gate.map_settings(|gate| (gate.request_objects, gate.request_uris) = (Some(objects), Some(uris)))
        };
        for endpoint in [
            GateEndpoint::Authorization,
            GateEndpoint::BackchannelAuthentication,
            GateEndpoint::DeviceAuthorization,
            GateEndpoint::Introspection,
            GateEndpoint::PushedAuthorization,
            GateEndpoint::Revocation,
            GateEndpoint::Token,
        ] {
            let gate = guard.gate(endpoint, registrar.clone());
            let way = match endpoint {
                // RFC 9700 section 2.6: the authorization endpoint must not support CORS.
                GateEndpoint::Authorization => upstream.behind(with_objects(gate)),
                GateEndpoint::PushedAuthorization => upstream::readable(upstream.behind(with_objects(gate))),
                _ => upstream::readable(upstream.behind(gate)),
            };
            judged.push((Endpoint::Gate(endpoint), way));
        }
    }
    Ok((Proxy { places, forwarding, judged, onward: upstream.way() }, preset, audit))
}

/// Waits for Ctrl-C or the signal of a service manager.
#[cfg(unix)]
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
async fn stopped() {
    // An error here means that the signal is not supported.
    let _interrupted = tokio::signal::ctrl_c().await;
}

/// Logs events to standard error. Without spans, which would be formatted for every request.
fn log_to_stderr() {
    let events = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let events = events.with_filter(filter_fn(|metadata| !metadata.is_span()));
    tracing_subscriber::registry().with(LevelFilter::INFO).with(events).init();
}

impl Args {
    pub(super) fn run(&self) -> Outcome {
        log_to_stderr();
        tokio::runtime::Runtime::new()?.block_on(serve(self)).map_err(|error| output::causes(&*error))?;
        Ok(OK)
    }
}

async fn serve(args: &Args) -> Result<(), Error> {
    let (proxy, preset, audit) = proxy(args).await?;
    let listener = tokio::net::TcpListener::bind(args.listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    println!("{}", proxy.places);
    let policy = args.policy.as_ref().map(|file| file.display().to_string());
    let ledger = args.ledger.as_deref().unwrap_or("none: clients are checked at registration only");
    println!("{}", Setup::new(policy.as_deref().unwrap_or("the preset mcp"), &preset, ledger, &audit));
    let mut limits = Limits::new().with_total(args.max_connections);
    if proxy.forwarding.has_proxies() {
        // Behind a proxy, all clients share one address.
        limits = limits.with_per_source(args.max_connections);
    }
    if args.ledger.is_some() && passes_unknown(&preset) {
        tracing::info!(
            target: "tower_dcr::setup",
            "the gate passes clients that the ledger does not know; if the server checks nothing itself at its authorization \
             endpoint, set `gate.unknown = \"reject\"` in the policy file"
        );
    }
    let app = Router::new().fallback(forward).with_state(Arc::new(proxy));
    tower_dcr_server::serve(listener, app, limits, stopped()).await;
    Ok(())
}

/// Returns whether a gate that follows the policy passes clients that the ledger does not know.
fn passes_unknown(preset: &Preset) -> bool {
    let document = serde_json::to_value(preset).unwrap_or_default();
    document.pointer("/gate/unknown").and_then(Value::as_str) != Some("reject")
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
                    _ => Err("unsupported scheme: expected http or https".into()),
                }
            }
            _ => Err("expected only scheme, host and port: https://as.example.com".into()),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}
