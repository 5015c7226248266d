//! The part of a server around the layers of [`tower_dcr`]: connections with limits, and the endpoints of a discovery
//! document by every spelling of their paths.
//!
//! The layers limit requests. They are not asked about connections, of which a client can open any number, and they
//! are only as good as the routes on which they are. A server behind a proxy that limits connections, with a router of
//! its own, needs neither. The name says where this is used: in the program that listens, which is also the reason why
//! it is not part of [`tower_dcr`] itself, a library without an async runtime.
//!
//! # Connections
//!
//! [`serve()`] is like `axum::serve`, with [`Limits`] on connections in total and by address, on the size and time of a
//! request's head, on the requests of an HTTP/2 connection, and on clients that don't read. It adds the peer address
//! as an extension, and presets read it from there:
//!
//! ```
//! use axum::Router;
//! use axum::routing::post;
//! use tokio::net::TcpListener;
//! use tower_dcr_server::{Limits, serve};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # async fn register() {}
//! # let ctrl_c = async {};
//! let app = Router::new().route("/register", post(register).layer(tower_dcr::mcp()));
//! let limits = Limits::new().with_per_source(50.try_into()?);
//! let listener = TcpListener::bind("127.0.0.1:0").await?;
//! serve(listener, app, limits, ctrl_c).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Endpoints
//!
//! A program in front of a server reads the server's discovery document and puts a layer on each endpoint:
//!
//! ```
//! use axum::Router;
//! use axum::extract::{Request, State};
//! use axum::http::StatusCode;
//! use axum::response::{IntoResponse, Response};
//! use tower::ServiceExt;
//! use tower_dcr::clients::{MemoryLedger, Registrar};
//! use tower_dcr::layers::GateEndpoint;
//! use tower_dcr_server::{Endpoint, Endpoints};
//! # use axum::body::Body;
//!
//! /// The server, behind the layer of each endpoint.
//! #[derive(Clone)]
//! struct Front {
//!     endpoints: Endpoints,
//!     ways: Vec<(Endpoint, Router)>,
//!     onward: Router,
//! }
//!
//! async fn forward(State(front): State<Front>, request: Request) -> Response {
//!     let endpoint = match front.endpoints.at(request.uri().path()) {
//!         Ok(endpoint) => endpoint,
//!         Err(odd) => return (StatusCode::BAD_REQUEST, odd.to_string()).into_response(),
//!     };
//!     let way = front.ways.iter().find(|(there, _)| Some(*there) == endpoint);
//!     let way = way.map_or(&front.onward, |(_, way)| way);
//!     way.clone().oneshot(request).await.unwrap_or_else(|never| match never {})
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # // A stand-in for a client that forwards requests.
//! # let server = Router::new().fallback(async || "the server");
//! # let document = serde_json::json!({
//! #     "registration_endpoint": "http://127.0.0.1:8080/register",
//! #     "token_endpoint": "http://127.0.0.1:8080/token",
//! # });
//! let endpoints = Endpoints::new().with_metadata(document.as_object().unwrap())?;
//! let registrar = Registrar::new(MemoryLedger::default());
//! let preset = tower_dcr::mcp().with_registrar(registrar.clone()).with_client_url(endpoints.client_url()?);
//! let mut ways = vec![
//!     (Endpoint::Registration, server.clone().layer(preset.clone())),
//!     (Endpoint::Discovery, server.clone().layer(preset.server_metadata_layer())),
//! ];
//! for endpoint in [
//!     GateEndpoint::Authorization,
//!     GateEndpoint::BackchannelAuthentication,
//!     GateEndpoint::DeviceAuthorization,
//!     GateEndpoint::Introspection,
//!     GateEndpoint::PushedAuthorization,
//!     GateEndpoint::Revocation,
//!     GateEndpoint::Token,
//! ] {
//!     ways.push((Endpoint::Gate(endpoint), server.clone().layer(preset.gate(endpoint, registrar.clone()))));
//! }
//! let app = Router::new().fallback(forward).with_state(Front { endpoints, ways, onward: server });
//! # for (path, status) in [("/login", 200), ("/Token/", 400), ("/index.php/register", 415), ("/x/../register", 400)] {
//! #     let request = Request::post(path).body(Body::empty())?;
//! #     assert_eq!(app.clone().oneshot(request).await?.status(), status, "{path}");
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! The discovery document that clients get has to name the addresses of that program. `dcr proxy` of `tower-dcr-cli` is
//! one, ready to run.
//!
//! # Setup
//!
//! [`Setup`] describes the policy of a server at its start, and [`Audit`] opens its audit file.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod connections;
mod endpoints;
mod limits;
mod path;
mod request;
mod setup;
mod stream;

pub use connections::serve;
pub use endpoints::{Endpoint, Endpoints, InvalidEndpoint, OddPath};
pub use limits::{InvalidLimit, Limits};
pub use setup::{Audit, Setup};
