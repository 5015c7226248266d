//! Tower layers that harden the registration endpoint of an OAuth server.
//!
//! OAuth Dynamic Client Registration ([RFC 7591]) lets a stranger become a client with one `POST`, and everything in
//! that request is the stranger's own word. This crate stands in front of the `/register` handler that you have, and
//! lets through what honest clients need:
//!
//! ```
//! use axum::{Json, Router, routing::post};
//! # use serde_json::Value;
//! # async fn register(Json(client): Json<Value>) -> Json<Value> { Json(client) }
//! let app: Router = Router::new().route("/register", post(register).layer(tower_dcr::mcp()));
//! ```
//!
//! The handler, its storage and its framework stay what they are. It is called with a body that is one JSON object,
//! canonical, with allowed members only, redirect URIs that have one reading, and every default that matters written
//! out.
//!
//! # What goes wrong, and which layer is for it
//!
//! | threat | layer |
//! | --- | --- |
//! | `javascript:` and wildcard redirects, look-alike hosts, parser tricks | [`RedirectUriGuardLayer`] |
//! | members that nobody expected reach storage; grants, secrets and scopes beyond what a client needs | [`MetadataAllowlistLayer`] |
//! | two readers of one body see two clients (duplicate members, overlong numbers, byte order marks) | every [guard], before its rules |
//! | a client with another's name, or one that looks like it; links to another's site | [`IdentityGuardLayer`] |
//! | names with invisible or reordering characters; links into the server's own network; private keys | [`MetadataAllowlistLayer`] |
//! | a statement that overrides what was checked (RFC 7591 section 2.3) | every preset refuses it; `SoftwareStatements` verifies |
//! | anybody at all may register | [`InitialAccessTokenLayer`], [`Condition`](policy::Condition) |
//! | floods, from one address or from many | [`RateLimitLayer`], [`RedirectHostQuota`](policy::RedirectHostQuota) |
//! | a clean registration, then an evil update (RFC 7592) | the same guards, for `PUT` |
//! | a public client is answered with a secret; answers that break clients | [`AnswerLayer`] |
//! | nobody knows what was registered, refused or changed | [`AuditLayer`] |
//! | the same client over and over; clients that nobody uses, reviewed or can get rid of | [`LifecycleLayer`] |
//! | the server announces what the guard refuses | [`ServerMetadataLayer`] |
//! | a client that has expired or was revoked goes on at `/authorize` and `/token` | [`GateLayer`] |
//!
//! # Who is who
//!
//! Everything in a registration is self-asserted, and the consent page shows it to a person. The
//! [identity guard](policy::IdentityGuard) compares the name with where the codes go: over a foreign host a reserved name is
//! refused, over a loopback address it passes as unverified (command-line clients look like that), and where every redirect
//! URI is the owner's own it is verified. The verdict, an [`Identity`](policy::Identity), is in the request's extensions for
//! the handler; [`ConsentFacts`](consent::ConsentFacts) is what a consent page should show.
//!
//! Who may register at all is up to [initial access tokens](initial_access_token), and what each class of caller may
//! register to [`Preset::for_callers`]:
//!
//! ```
//! use tower_dcr::InitialAccessTokenLayer;
//! use tower_dcr::initial_access::{InitialAccess, StaticTokens};
//! use tower_dcr::policy::{Condition, RedirectPattern};
//! use tower_dcr::redirect_uri::RedirectClass;
//!
//! let tokens = StaticTokens::new().add("Vq3s8nR1xW7tB0yKd5Lc", InitialAccess::of("portal").with_rules("partner"))?;
//! let guard = tower_dcr::mcp()
//!     .with_initial_access_tokens(InitialAccessTokenLayer::new(tokens).optional())
//!     .for_callers(Condition::rules("partner"), |rules| {
//!         rules.map_redirect_uris(|guard| Ok(guard.only_https([RedirectPattern::host("*.partner.example.com")?])))
//!     })?
//!     // Everybody else: applications on their own machine.
//!     .map_redirect_uris(|guard| Ok(guard.only_classes([RedirectClass::Loopback])))?;
//! # let _ = guard;
//! # Ok::<_, tower_dcr::policy::ConfigError>(())
//! ```
//!
//! # Presets
//!
//! [`mcp()`] is for MCP servers, [`strict()`] for clients that you know, [`oauth()`] for any other server with its own
//! grant types and authentication methods. Each is the whole stack as one layer, in the one right order (see
//! [`preset`]), with methods for what people change. The layers can be used alone, too; rules of your own are closures
//! or types that implement [`Policy`](policy::Policy).
//!
//! # Where it goes
//!
//! On the registration route only, inside of a CORS layer, so that browsers can read refusals. Tell it where the server
//! keeps the address of a connection, or all clients share one rate limit. In axum:
//!
//! ```
//! use std::net::SocketAddr;
//! use axum::extract::ConnectInfo;
//!
//! let guard = tower_dcr::mcp()
//!     .with_peer_address(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0));
//! ```
//!
//! Put [`server_metadata_layer`](Preset::server_metadata_layer) on the route of your discovery document (RFC 8414): clients
//! choose from it, and then it promises what the guard allows. A [check of the setup](setup_check) warns in the log if the first
//! requests show that one of these was forgotten.
//!
//! Try a policy before it counts: [`report_only`](Preset::report_only) lets everything pass as it came, and says in the
//! audit events what it would have done.
//!
//! # Policy as data
//!
//! A preset is data, but for what only code can say: what the builder can say, a file can say, and the other way round.
//! `Preset::from_file` (feature `policy-file`) reads one, and names every mistake with its line, what is there and what to
//! write instead; [`lint`](Preset::lint) finds what is probably not meant. A [`PolicyHandle`](reload::PolicyHandle) puts
//! another policy in force while requests are on their way. [`compat`] has what real clients send, so that a test can say
//! which of them a policy would break; the program `dcr` says it of those that did register. [`explain`] has what each rule
//! is for.
//!
//! # The life of a client
//!
//! A [`Registrar`](registrar::Registrar) keeps a [`Ledger`](ledger::Ledger) of every registration. Repeats get the client
//! that is there; clients that nobody uses expire; what an operator revokes stays out, whatever the server does. The
//! [docs of the registrar](registrar) say which limits there are and what each protects.
//!
//! ```
//! use axum::{Json, Router, routing::{get, post}};
//! use tower_dcr::GateLayer;
//! use tower_dcr::ledger::MemoryLedger;
//! use tower_dcr::registrar::Registrar;
//! # use serde_json::Value;
//! # async fn register(Json(client): Json<Value>) -> Json<Value> { Json(client) }
//! # async fn authorize() {}
//! # async fn token() {}
//!
//! let registrar = Registrar::new(MemoryLedger::default()).with_deprovision(async |client_id: String| {
//!     // Drop the client's tokens, and the client.
//!     Ok(())
//! });
//! let app: Router = Router::new()
//!     .route("/register", post(register).layer(tower_dcr::mcp().with_registrar(registrar.clone())))
//!     .route("/authorize", get(authorize).layer(GateLayer::authorization(registrar.clone())))
//!     .route("/token", post(token).layer(GateLayer::token(registrar.clone())));
//! // tokio::spawn(registrar.maintain(Duration::from_secs(60)));
//! ```
//!
//! # Many nodes
//!
//! [`SharedQuotas`](quota::SharedQuotas) has nodes share their rate limits, `RedisStore` through Redis; `PostgresLedger` has them
//! share the ledger. While one of the two can't be used, nothing is admitted without a limit and nobody is let in who was
//! revoked; what honest clients see then is in [`docs/bad-days.md`](https://docs.rs/crate/tower-dcr/latest/source/docs/bad-days.md).
//! [`Buffered`](event::Buffered) takes audit events to a pipeline of yours, in batches.
//!
//! # Features
//!
//! | feature | default | what |
//! | --- | --- | --- |
//! | `jsonl` | yes | [`JsonLines`](event::JsonLines): audit events to a file, with rotation and a keyed hash chain |
//! | `regex` | yes | [`RedirectPattern::regex`](policy::RedirectPattern::regex) |
//! | `redis` | | `RedisStore`: rate limits that nodes [share](quota::SharedQuotas) through Redis or Valkey; needs tokio |
//! | `sqlite` | | `SqliteLedger`: the ledger in a file; needs tokio and Rust 1.94 |
//! | `postgres` | | `PostgresLedger`: the ledger over the pool that you have; needs tokio and Rust 1.94 |
//! | `review` | | `ReviewService`: the review as a page and a JSON API |
//! | `jwt` | | `JwtTokens`: initial access tokens that an issuer signs; needs a C compiler for `aws-lc-rs` |
//! | `software-statement` | | `SoftwareStatements`: verified software statements; with `jwt` |
//! | `policy-file` | | `Preset::from_file`: policies in TOML and JSON, and [watching](reload) them |
//! | `schema` | | `Preset::file_schema`: the JSON Schema of policy files |
//! | `cli` | | the program `dcr`: checks, explains, lints, replays, lists, verifies; needs Rust 1.94 |
//! | `metrics` | | [metrics](telemetry#metrics) through the `metrics` facade |
//! | `test-util` | | the conformance suites for ledgers and stores of rate limits of your own |
//!
//! The crate needs no web framework, and without those features no database and no async runtime.
//!
//! [RFC 7591]: https://www.rfc-editor.org/rfc/rfc7591
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod answer;
pub mod audit;
pub mod body;
mod breaker;
pub mod client_address;
pub mod client_url;
pub mod clock;
pub mod compat;
pub mod consent;
pub mod event;
pub mod explain;
pub mod gate;
pub mod guard;
pub mod initial_access;
pub mod initial_access_token;
#[cfg(feature = "jwt")]
pub mod jwt;
pub mod ledger;
pub mod lifecycle;
mod method;
pub mod name;
mod period;
pub mod policy;
pub mod preset;
pub mod quota;
pub mod rate_limit;
pub mod redirect_uri;
pub mod registrar;
pub mod registration;
pub mod rejection;
pub mod reload;
pub mod review;
#[cfg(feature = "review")]
pub mod review_service;
pub mod server_metadata;
pub mod setup_check;
mod sync;
pub mod telemetry;
mod text;

pub use answer::{AnswerLayer, SecretInAnswer};
pub use audit::AuditLayer;
pub use body::RegistrationBody;
pub use client_url::ClientUrl;
pub use gate::GateLayer;
pub use guard::{GuardLayer, IdentityGuardLayer, MetadataAllowlistLayer, RedirectUriGuardLayer};
pub use initial_access_token::InitialAccessTokenLayer;
pub use lifecycle::LifecycleLayer;
pub use preset::Preset;
pub use rate_limit::RateLimitLayer;
pub use registration::Registration;
pub use rejection::Rejection;
pub use server_metadata::ServerMetadataLayer;

use policy::{AuthMethod, Grants};

/// Everything that an MCP server's `/register` needs, as one layer. MCP clients are public clients that use the
/// authorization code flow; what they send beyond that is taken out, what is dangerous is refused.
///
/// ```
/// use axum::{Json, Router, routing::post};
/// # async fn register(Json(client): Json<serde_json::Value>) -> Json<serde_json::Value> { Json(client) }
///
/// let app: Router = Router::new().route("/register", post(register).layer(tower_dcr::mcp()));
/// # let _ = app;
/// ```
pub fn mcp() -> Preset {
    Preset::mcp()
}

/// Everything for a registration endpoint whose clients are known: what is not wanted is refused.
///
/// ```
/// let guard = tower_dcr::strict().map_redirect_uris(|guard| guard.add_private_use_scheme("com.example.app"))?;
/// # let _ = guard;
/// # Ok::<_, tower_dcr::policy::ConfigError>(())
/// ```
pub fn strict() -> Preset {
    Preset::strict()
}

/// Everything for another OAuth or OpenID server, with the grant types and authentication methods that it has.
///
/// ```
/// use tower_dcr::policy::{AuthMethod, Grants};
///
/// let grants = Grants::new(["authorization_code", "refresh_token", "client_credentials"], ["code"])?;
/// let guard = tower_dcr::oauth(grants, AuthMethod::one_of(["none", "client_secret_basic", "private_key_jwt"]));
/// # let _ = guard;
/// # Ok::<_, tower_dcr::policy::ConfigError>(())
/// ```
pub fn oauth(grants: Grants, auth_method: AuthMethod) -> Preset {
    Preset::oauth(grants, auth_method)
}

/// The snippets of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// And those of the guides.
#[cfg(doctest)]
#[doc = include_str!("../docs/guides/axum.md")]
#[doc = include_str!("../docs/guides/hyper.md")]
#[doc = include_str!("../docs/guides/nginx.md")]
#[doc = include_str!("../docs/guides/rmcp.md")]
#[doc = include_str!("../docs/guides/salvo.md")]
struct Guides;
