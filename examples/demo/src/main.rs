//! A small OAuth authorization server with an MCP endpoint: a preset on its `/register`, a ledger of its clients, the
//! gate in front of `/authorize`, `/token` and `/revoke`, and the administration page.
//!
//! ```console
//! cargo run -p demo
//! cargo run -p demo -- --ledger sqlite:clients.db    # remembers its clients
//! cargo run -p demo -- --policy examples/policy.toml # edit it while the server runs
//! cargo run -p demo -- --unprotected                 # without any of these, to see the difference
//! ```
//!
//! The other files are the server that you already have: its `/register` stores every document. The preset is
//! configured in [`protected`], the ledger in [`registrar`], and both are put on their routes in [`router`].

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header;
use axum::http::request::Parts;
use axum::routing::{any, get, post};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::{Parser, ValueEnum};
use serde_json::Value;
use subtle::ConstantTimeEq;
use tower_dcr::audit::Sink;
use tower_dcr::clients::{Filter, MemoryLedger, Origin, Registrar, Status};
use tower_dcr::documents::{Admission, DocumentSettings, Documents};
use tower_dcr::layers::{AuditLayer, GateEndpoint, InitialAccess, StaticTokens};
use tower_dcr::policy_file::ReloadableLayer;
use tower_dcr::rate_limit::Quota;
use tower_dcr::rules::{AuthMethod, Caller, Context, Grants, RedirectUris};
use tower_dcr::{Preset, Registration, layers::InitialAccessTokenLayer};
use tower_dcr_admin::{Access, AdminService};
use tower_dcr_fetch::HttpsFetcher;
use tower_dcr_server::{Audit, Limits, Setup};
use tower_dcr_sqlx::SqliteLedger;
use tower_http::cors::{Any, CorsLayer};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

mod authorization;
mod consent;
mod lines;
mod mcp;

use authorization::Server;
use lines::Lines;

type Error = Box<dyn std::error::Error>;

#[derive(Parser)]
struct Args {
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1:3000")]
    addr: SocketAddr,
    /// Approves every authorization request without asking for consent.
    #[arg(long)]
    auto_approve: bool,
    /// Runs the server without preset, ledger and gate.
    #[arg(long)]
    unprotected: bool,
    /// The preset with the rules to apply.
    #[arg(long, value_enum, default_value = "mcp")]
    preset: Rules,
    /// A policy file instead of a preset, reloaded when it changes.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["preset", "quota", "private_scheme", "trusted_proxy"])]
    policy: Option<PathBuf>,
    /// The file for audit events, one JSON object per line.
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
    /// The file with the key (at least 16 bytes) of the audit file's hash chain. A policy sets it as
    /// `audit.chain_key_file`.
    #[arg(long, value_name = "FILE", requires = "audit")]
    audit_key_file: Option<PathBuf>,
    /// The ledger of clients: `sqlite:PATH`. By default, in memory.
    #[arg(long, value_name = "sqlite:PATH")]
    ledger: Option<String>,
    /// The limit of registrations per minute and address.
    #[arg(long, value_name = "N")]
    quota: Option<NonZeroU32>,
    /// Allows redirects to this private-use scheme, too.
    #[arg(long, value_name = "NAME")]
    private_scheme: Vec<String>,
    /// Rejects registrations without this initial access token (at least 16 characters).
    #[arg(long, value_name = "TOKEN")]
    initial_access_token: Vec<String>,
    /// The maximum number of open connections; 200 from one address, unless there are trusted proxies.
    #[arg(long, value_name = "N", default_value = "2000")]
    max_connections: NonZeroUsize,
    /// Trusts X-Forwarded-For from this address or network.
    #[arg(long, value_name = "CIDR")]
    trusted_proxy: Vec<String>,
    /// Fetches the metadata documents of a host from this address and port, which may be on this machine.
    #[arg(long, value_name = "HOST=ADDR:PORT", value_parser = mapping)]
    cimd_map: Vec<(String, SocketAddr)>,
    /// Trusts only the certificate authorities in this file (PEM) for hosts of metadata documents.
    #[arg(long, value_name = "FILE")]
    cimd_ca: Option<PathBuf>,
}

/// Reads `HOST=ADDR:PORT`.
fn mapping(text: &str) -> Result<(String, SocketAddr), String> {
    let (host, address) = text.split_once('=').ok_or("expected HOST=ADDR:PORT")?;
    let address = address.parse().map_err(|_| format!("{address:?} is no address with a port, like 127.0.0.1:8443"))?;
    Ok((host.to_owned(), address))
}

/// Returns the documents of clients whose `client_id` is a URL. `None` on a machine without certificate authorities.
fn documents(args: &Args) -> Result<Option<Documents>, Error> {
    let fetcher = match &args.cimd_ca {
        Some(file) => HttpsFetcher::danger_with_roots(std::fs::read(file)?)?,
        None => match HttpsFetcher::new() {
            Ok(fetcher) => fetcher,
            Err(error) => {
                eprintln!("clients can only register, since no metadata document can be fetched: {error}");
                return Ok(None);
            }
        },
    };
    let mapped = args.cimd_map.iter().try_fold(fetcher, |fetcher, (host, at)| fetcher.danger_map_host(host, *at));
    Ok(Some(Documents::new(mapped?)))
}

#[derive(Clone, Copy, ValueEnum)]
enum Rules {
    Mcp,
    Oauth,
    Strict,
}

/// Returns the rules that the flags select.
fn rules(args: &Args) -> Result<Preset, Error> {
    Ok(match (&args.policy, args.preset) {
        (Some(file), _) => Preset::from_file(file)?,
        (None, Rules::Mcp) => tower_dcr::mcp(),
        (None, Rules::Strict) => tower_dcr::strict(),
        (None, Rules::Oauth) => tower_dcr::oauth(Grants::authorization_code(), AuthMethod::one_of(["none"])),
    })
}

/// Returns the preset, with the settings that only flags have.
fn protected(
    args: &Args,
    rules: Preset,
    documents: Option<Documents>,
    registrar: Registrar,
    sink: Arc<dyn Sink>,
) -> Result<Preset, Error> {
    let mut preset = rules
        .with_registrar(registrar)
        // The peer address is the one that `tower_dcr_server::serve` adds.
        .with_sink(sink);
    if let Some(documents) = documents {
        preset = preset.with_documents(documents);
    }
    if args.audit.is_none() {
        // For the names and hosts in the terminal.
        preset = preset.map_audit(AuditLayer::with_document);
    }
    if args.policy.is_none() {
        preset = preset.with_trusted_proxies(&args.trusted_proxy)?.map_rules(|mut rules| {
            let schemes = &mut args.private_scheme.iter();
            rules.redirect_uris = schemes.try_fold(rules.redirect_uris, RedirectUris::add_private_use_scheme)?;
            Ok(rules)
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
        // The global budget is ten times as large, as it is by default.
        let all = quota.saturating_mul(NonZeroU32::MIN.saturating_add(9));
        preset = preset.map_rate_limit(|limits| {
            limits.address = Quota::per_minute(quota).into();
            limits.global = Quota::per_minute(all).into();
        });
    }
    Ok(preset)
}

/// Creates the registrar, and connects it to the server.
async fn registrar(args: &Args, server: &Server, sink: Arc<dyn Sink>) -> Result<Registrar, Error> {
    let registrar = match args.ledger.as_deref().map(|ledger| ledger.strip_prefix("sqlite:").ok_or(ledger)) {
        None => Registrar::new(MemoryLedger::default()),
        Some(Ok(path)) => Registrar::new(SqliteLedger::open(path).await?),
        Some(Err(other)) => return Err(format!("--ledger {other}: expected sqlite:PATH").into()),
    };
    let (told, asked) = (server.clone(), server.clone());
    Ok(registrar
        .with_sink(sink)
        // This server compares redirect URIs with `tower_dcr::redirect_uri::matches`.
        .map_settings(|lifecycle| lifecycle.any_loopback_port = Some(true))?
        .with_deprovision(move |client_id: String| {
            told.forget(&client_id);
            async { Ok(()) }
        })
        .with_still_in_use(move |client_id: String| {
            let in_use = asked.has_refresh_token(&client_id);
            async move { Ok(in_use) }
        }))
}

/// Restores the clients in the ledger: this server keeps them only in memory.
async fn restore(server: &Server, review: &Registrar) -> Result<(), Error> {
    let mut cursor = None;
    loop {
        let page = review.find(&Filter { statuses: Status::LIVE.to_vec(), ..Filter::default() }, cursor, 500).await?;
        for client in &page.clients {
            // A document is fetched again.
            if let Some(client_id) = client.client_id.as_ref().filter(|_| client.origin != Origin::Document) {
                server.restore(client_id, &client.registration);
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

/// Returns the administration page, protected by a token.
fn review_page(review: Registrar, token: &str) -> AdminService {
    let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("admin:{token}")));
    AdminService::new(review, "/admin/clients", move |request: &Parts| {
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
        Some((layer, registrar)) => {
            // Passes clients that the ledger does not know, since `/authorize` of this server knows its clients itself. One that
            // checks nothing there needs `gate.unknown = "reject"`, and `client_id` in its consent forms.
            let gate = |endpoint| layer.gate(endpoint, registrar.clone());
            (
                metadata.layer(layer.server_metadata_layer()),
                register.layer(layer.clone()),
                token.layer(gate(GateEndpoint::Token)),
                revoke.layer(gate(GateEndpoint::Revocation)),
                authorize.layer(gate(GateEndpoint::Authorization)),
                Some(review_page(registrar, review_token)),
            )
        }
        None => (metadata, register, token, revoke, authorize, None),
    };
    // Outside of the preset, so that pages in a browser can read its rejections.
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

/// Logs events to standard error. Without spans, which would be formatted for every request.
fn log_to_stderr() {
    let events = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let events = events.with_filter(filter_fn(|metadata| !metadata.is_span()));
    tracing_subscriber::registry().with(LevelFilter::INFO).with(events).init();
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let args = Args::parse();
    log_to_stderr();
    let server = Server::new(args.auto_approve);
    let (protection, setup) = if args.unprotected {
        (None, None)
    } else {
        let rules = rules(&args)?;
        let audit = Audit::open(args.audit.as_deref(), args.audit_key_file.as_deref(), &rules, Lines)?;
        let registrar = registrar(&args, &server, audit.sink()).await?;
        restore(&server, &registrar).await?;
        tokio::spawn(registrar.clone().maintain(Duration::from_mins(1)));
        let documents = documents(&args)?;
        let fetches = documents.is_some();
        let preset = protected(&args, rules, documents, registrar.clone(), audit.sink())?;
        let layer = preset.clone().reloadable();
        if let Some(file) = &args.policy {
            tokio::spawn(layer.clone().watch(file, Duration::from_secs(1)));
        }
        (Some((layer, registrar)), Some((preset, audit, fetches)))
    };
    let server = match &protection {
        Some((_, registrar)) => server.with_registrar(registrar.clone()),
        None => server,
    };
    let review_token = authorization::random();
    let listener = tokio::net::TcpListener::bind(args.addr).await?;
    say_hello(&listener.local_addr()?.to_string(), &args, setup.as_ref().map(|(preset, ..)| preset), &review_token);
    if let Some((preset, audit, fetches)) = &setup {
        say_setup(&args, preset, audit);
        if *fetches {
            say_documents(&args, &preset.document_settings());
        }
    }
    let app = router(server, protection, &review_token);
    let mut limits = Limits::new().with_total(args.max_connections);
    if !args.trusted_proxy.is_empty() {
        // Behind a proxy, all clients share one address.
        limits = limits.with_per_source(args.max_connections);
    }
    let interrupted = async {
        // An error here means that the signal is not supported.
        let _interrupted = tokio::signal::ctrl_c().await;
    };
    tower_dcr_server::serve(listener, app, limits, interrupted).await;
    Ok(())
}

fn say_setup(args: &Args, preset: &Preset, audit: &Audit) {
    let policy = match (&args.policy, args.preset) {
        (Some(file), _) => file.display().to_string(),
        (None, Rules::Mcp) => "the preset mcp".to_owned(),
        (None, Rules::Oauth) => "the preset oauth".to_owned(),
        (None, Rules::Strict) => "the preset strict".to_owned(),
    };
    let ledger = args.ledger.as_deref().unwrap_or("in memory");
    let log = "the log, shortened; use --audit FILE for whole events";
    println!("{}", Setup::new(&policy, preset, ledger, audit).with_log(log));
}

/// Says which clients need no registration.
fn say_documents(args: &Args, settings: &DocumentSettings) {
    let admitted = match settings.admission {
        Admission::Off => {
            println!("metadata documents: off, so that each client registers");
            return;
        }
        Admission::Listed => format!("the {} in documents.allow", settings.allow.len()),
        Admission::Reporting => "any; those that are not in documents.allow are reported".to_owned(),
        _ => "any".to_owned(),
    };
    println!("metadata documents: a client may use the https URL of its document as client_id ({admitted})");
    for (host, address) in &args.cimd_map {
        println!("documents of {host} are fetched from {address}");
    }
}

/// Bodies of an honest client and an attacker.
const HONEST: &str = r#"{"client_name":"My App","redirect_uris":["http://127.0.0.1:8080/callback"]}"#;
const ATTACK: &str = r#"{"client_name":"Claude","redirect_uris":["javascript:alert(document.cookie)"]}"#;

/// Returns `true` if the policy admits a registration that `caller` sends.
fn admits(preset: &Preset, caller: Caller, json: &str) -> bool {
    if preset.is_report_only() {
        return true;
    }
    if caller.owner.is_none() && wants_tokens(preset) {
        return false;
    }
    let Ok(registration) = Registration::parse_with(json.as_bytes(), preset.limits()) else { return false };
    preset.policy().evaluate(registration, &Context::registration().by(caller)).rejection.is_none()
}

/// Returns `true` if the policy file requires initial access tokens. It has only their digests.
fn wants_tokens(preset: &Preset) -> bool {
    let document = serde_json::to_value(preset).unwrap_or_default();
    let rules = document.pointer("/report_only_rules").and_then(Value::as_array);
    let is_reported = rules.is_some_and(|rules| rules.iter().any(|rule| rule == "initial-access-token"));
    document.pointer("/initial_access_tokens/required") == Some(&Value::Bool(true)) && !is_reported
}

fn say_hello(address: &str, args: &Args, preset: Option<&Preset>, review_token: &str) {
    let base = format!("http://{address}");
    println!("listening on {base}");
    if preset.is_some() {
        println!("administration page: http://admin:{review_token}@{address}/admin/clients");
    }
    println!();
    let token = args.initial_access_token.first().filter(|_| preset.is_some());
    let caller = || token.map_or_else(Caller::default, |_| Caller::authorized("token 1"));
    let admitted = |json: &str| preset.is_none_or(|preset| admits(preset, caller(), json));
    let say_how = |json: &str| {
        let token = token.map(|token| format!(" -H 'authorization: Bearer {token}'")).unwrap_or_default();
        println!("  curl -i {base}/register -H 'content-type: application/json'{token} \\");
        println!("    -d '{json}'");
        println!();
    };
    println!(
        "{}",
        if admitted(HONEST) { "An honest client registers:" } else { "This client is rejected by the policy:" }
    );
    say_how(HONEST);
    println!(
        "{}",
        match (preset, admitted(ATTACK)) {
            (None, _) => "An attacker registers, too (without --unprotected, it is rejected):",
            (Some(_), false) => "An attacker is rejected (with --unprotected, it registers):",
            (Some(preset), true) if preset.is_report_only() => "An attacker registers, too: the policy is report-only:",
            (Some(_), true) => "An attacker registers, too: the policy does not enforce the rule that rejects it:",
        }
    );
    say_how(ATTACK);
    println!("The MCP endpoint is {base}/mcp");
}
