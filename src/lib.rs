//! Tower layers that harden the client registration endpoint of an OAuth server ([RFC 7591]).
//!
//! Dynamic Client Registration lets a stranger become a client with one `POST`, and everything in that request is self-asserted. The
//! layers of this crate wrap the `/register` handler that you have: they reject attacks, rewrite what honest clients send into one
//! canonical document, limit floods, and record every registration. Handler, storage and framework stay as they are.
//!
//! # Install
//!
//! ```console
//! cargo add tower-dcr axum serde_json
//! cargo add tokio --features full
//! ```
//!
//! ```no_run
//! use std::net::SocketAddr;
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! use axum::extract::ConnectInfo;
//! use axum::http::StatusCode;
//! use axum::routing::{get, post};
//! use axum::{Json, Router};
//! use serde_json::{Value, json};
//!
//! // Your handler. It receives only checked metadata, and answers with a `client_id`, a new one for each client.
//! async fn register(Json(mut client): Json<Value>) -> (StatusCode, Json<Value>) {
//!     static NEXT: AtomicU64 = AtomicU64::new(1);
//!     client["client_id"] = format!("client-{}", NEXT.fetch_add(1, Ordering::Relaxed)).into();
//!     (StatusCode::CREATED, Json(client))
//! }
//!
//! // Your discovery document (RFC 8414).
//! async fn metadata() -> Json<Value> {
//!     Json(json!({ "issuer": "https://as.example.com", "response_types_supported": ["code"] }))
//! }
//!
//! #[tokio::main]
//! async fn main() -> std::io::Result<()> {
//!     let preset = tower_dcr::mcp()
//!         // Without the peer address, all clients share one rate limit.
//!         .with_peer_address(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0));
//!     let app = Router::new()
//!         .route("/.well-known/oauth-authorization-server", get(metadata).layer(preset.server_metadata_layer()))
//!         .route("/register", post(register).layer(preset));
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await
//! }
//! ```
//!
//! [`mcp()`] is the preset for MCP servers, [`strict()`] for clients that you know, and [`oauth()`] for other servers with their own grant
//! types and authentication methods. Each is a [`Preset`]: all layers as one, in the right order, with a method for each setting.
//!
//! # Life of a request
//!
//! 1. The rate limit takes from the budgets of the client's address and network, before the body is read.
//! 2. The body is read within limits of size and time and parsed by a strict JSON reader: one object, no duplicate members, no
//!    ambiguous numbers or text.
//! 3. [Rules](rules) accept, narrow or reject the [`Registration`]: unknown fields are stripped, grants are narrowed, redirect URIs with
//!    more than one reading are rejected, and the client's name is compared with the places that its codes go to.
//! 4. The handler receives the checked document as its request body, as canonical JSON, with every default that matters written out.
//! 5. The handler's answer is checked and completed, and the client is recorded in the [ledger](clients::Ledger), if there is one.
//! 6. An [audit event](audit::Event) says what happened. A rejection is a JSON error of RFC 7591 section 3.2.2.
//!
//! # Checklist for production
//!
//! - Put the preset on the registration route only (and on `/register/{client_id}` for RFC 7592), inside of a CORS layer.
//! - Set [`with_peer_address`](Preset::with_peer_address), and [`with_trusted_proxies`](Preset::with_trusted_proxies) behind a proxy. The
//!   first requests show whether that was done: the [log](layers::Misconfiguration) says what to change.
//! - Put [`server_metadata_layer`](Preset::server_metadata_layer) on the discovery document.
//! - At the authorization endpoint, compare redirect URIs with [`redirect_uri::matches`].
//! - Give the preset a [`Registrar`](clients::Registrar) and put a [gate](Preset::gate) on every other endpoint, so that
//!   clients expire and can be revoked, and are held to what they registered. In front of a server that checks nothing itself, set
//!   [`unknown`](layers::GateSettings::unknown).
//! - Show [`ConsentFacts`](clients::ConsentFacts) on the consent page.
//! - Send audit events to a file ([`JsonLines`](audit::JsonLines)) or to a collector ([`Buffered`](audit::Buffered)).
//! - Try a new policy before it is enforced: [`Preset::with_shadow`], or `dcr replay` of `tower-dcr-cli`.
//!
//! # Layers
//!
//! | threat | layer |
//! | --- | --- |
//! | `javascript:` and wildcard redirects, look-alike hosts, parser tricks | [`PolicyLayer`](layers::PolicyLayer) with [`RedirectUris`](rules::RedirectUris) |
//! | unexpected fields reach storage; grants, secrets and scopes beyond a client's needs | [`PolicyLayer`](layers::PolicyLayer) with [`MetadataAllowlist`](rules::MetadataAllowlist) |
//! | a client with another's name, or one that looks like it | [`PolicyLayer`](layers::PolicyLayer) with [`ClientIdentity`](rules::ClientIdentity) |
//! | two readings of one body (duplicate members, overlong numbers, byte order marks) | every [`PolicyLayer`](layers::PolicyLayer), before its rules |
//! | anonymous registration | [`InitialAccessTokenLayer`](layers::InitialAccessTokenLayer) |
//! | floods, from one address or from many | [`RateLimitLayer`](layers::RateLimitLayer), [`RedirectHostQuota`](rules::RedirectHostQuota) |
//! | a clean registration, then a harmful update (RFC 7592) | the same layers, for `PUT` |
//! | secrets for public clients; answers that break clients | [`ResponseLayer`](layers::ResponseLayer) |
//! | registrations without a record | [`AuditLayer`](layers::AuditLayer) |
//! | duplicate, unused and unreviewed clients | [`LifecycleLayer`](layers::LifecycleLayer) |
//! | a discovery document that announces what the policy rejects | [`ServerMetadataLayer`](layers::ServerMetadataLayer) |
//! | expired and revoked clients at `/authorize` and `/token` | [`GateLayer`](layers::GateLayer) |
//!
//! # Modules
//!
//! | module | purpose |
//! | --- | --- |
//! | [`preset`], [`layers`] | protecting endpoints |
//! | [`rules`] | judging a registration, with rules of this crate and your own; no HTTP |
//! | [`registration`], [`redirect_uri`] | parsing documents and redirect URIs strictly |
//! | [`clients`] | clients after registration: ledger, registrar, consent, administration |
//! | [`rate_limit`], [`client_address`] | budgets by address and network, shared between nodes |
//! | [`audit`] | events, sinks, the audit file and its hash chain |
//! | [`policy_file`] | policies as TOML and JSON, lints, reload |
//! | [`clock`] | clocks for tests |
//!
//! The manual has [chapters and guides](docs) on clients after registration, many nodes, impersonation, failure modes and more.
//!
//! Other crates hold what needs more dependencies: `tower-dcr-sqlx` (ledgers in SQLite and PostgreSQL), `tower-dcr-redis` (rate limits
//! that nodes share), `tower-dcr-admin` (the administration page), `tower-dcr-server` (connections with limits, and a server's
//! endpoints by every spelling of their paths), `tower-dcr-fetch` (client metadata documents over HTTPS, from public addresses
//! only), `tower-dcr-conformance` (test suites for ledgers and rate limit stores of your own), `tower-dcr-cli` (the program
//! `dcr`, with a proxy for servers in any language).
//!
//! # Features
//!
//! | feature | default | contents |
//! | --- | --- | --- |
//! | `identity` | yes | the presets and their lints, [`ClientIdentity`](rules::ClientIdentity), reserved words, [`ConsentFacts`](clients::ConsentFacts), internationalized hosts and names: everything that takes the tables of Unicode |
//! | `regex` | yes | redirect URI patterns as regular expressions |
//! | `policy-file` | | `Preset::from_file`: policies in TOML and JSON |
//! | `schema` | | `Preset::file_schema`: the JSON Schema of policy files |
//! | `jwt` | | `JwtTokens`: initial access tokens that an issuer signs; needs a C compiler |
//! | `software-statement` | | `SoftwareStatements`: verified software statements; with `jwt` |
//!
//! Without `identity`, rules and layers are put together by hand, and what can't be judged is rejected: a `client_name` with characters
//! outside ASCII, and a host with a label that may be internationalized (`xn--…`). [`visible`](rules::visible) then spells out
//! everything outside ASCII, and a [`Registrar`](clients::Registrar) recognizes blocked names only as they are, and not names that look
//! like them. The features `policy-file` and `schema` include `identity`.
//!
//! [RFC 7591]: https://www.rfc-editor.org/rfc/rfc7591
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(feature = "identity"),
    expect(dead_code, unused_imports, reason = "presets and policy files use parts of every module")
)]

// The included suite of `tower-dcr-conformance` names this crate.
#[cfg(test)]
extern crate self as tower_dcr;

pub mod audit;
mod bounds;
mod cache;
mod circuit_breaker;
pub mod client_address;
mod client_url;
pub mod clients;
pub mod clock;
// Their code is tested with the frameworks: `tests/frameworks`.
#[cfg(all(doc, not(doctest)))]
pub mod docs;
pub mod documents;
pub mod layers;
mod media_type;
mod method;
mod period;
#[cfg(feature = "identity")]
pub mod policy_file;
#[cfg(feature = "identity")]
pub mod preset;
pub mod rate_limit;
pub mod redirect_uri;
pub mod registration;
mod replaceable;
pub mod rules;
mod suggestion;
mod sync;
mod telemetry;
mod text;

pub use client_url::ClientUrl;
#[cfg(feature = "identity")]
pub use preset::Preset;
pub use registration::Registration;
pub use rules::{ConfigError, Rejection};

#[cfg(feature = "identity")]
use rules::{AuthMethod, Grants};

/// Returns the preset for MCP servers: all layers for `/register` as one. MCP clients are public clients that use the
/// authorization code flow; other metadata is stripped, and dangerous metadata is rejected.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::rules::Context;
///
/// let body = br#"{"redirect_uris":["http://localhost:3118/callback"],"skip_consent":true}"#;
/// let evaluation = tower_dcr::mcp().policy().evaluate(Registration::parse(body)?, &Context::registration());
/// let forwarded = evaluation.registration.unwrap();
/// assert_eq!(forwarded.string("token_endpoint_auth_method"), Some("none"));
/// assert!(!forwarded.contains("skip_consent"));
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[cfg(feature = "identity")]
pub fn mcp() -> Preset {
    Preset::mcp()
}

/// Returns the preset for a registration endpoint whose clients are known: unexpected metadata is rejected.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::rules::{Context, Decision};
///
/// let body = br#"{"redirect_uris":["https://app.example.com/cb"],"skip_consent":true}"#;
/// let evaluation = tower_dcr::strict().policy().evaluate(Registration::parse(body)?, &Context::registration());
/// assert_eq!(evaluation.decision(), Decision::Reject);
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[cfg(feature = "identity")]
pub fn strict() -> Preset {
    Preset::strict()
}

/// Returns the preset for other OAuth and OpenID servers, with the grant types and authentication methods that they
/// support.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::rules::{AuthMethod, Context, Grants};
///
/// let grants = Grants::new(["authorization_code", "refresh_token", "client_credentials"], ["code"])?;
/// let preset = tower_dcr::oauth(grants, AuthMethod::one_of(["none", "client_secret_basic", "private_key_jwt"]));
/// let machine = Registration::parse(br#"{"grant_types":["client_credentials"]}"#)?;
/// let forwarded = preset.policy().evaluate(machine, &Context::registration()).registration.unwrap();
/// assert_eq!(forwarded.string("token_endpoint_auth_method"), Some("client_secret_basic"));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[cfg(feature = "identity")]
pub fn oauth(grants: Grants, auth_method: AuthMethod) -> Preset {
    Preset::oauth(grants, auth_method)
}
