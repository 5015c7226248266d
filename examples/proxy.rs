//! The guard in front of any OAuth server, whatever it is written in: a reverse proxy.
//!
//! ```console
//! cargo run --example proxy -- --upstream http://127.0.0.1:8080 --listen 127.0.0.1:3000
//! ```
//!
//! Requests to `/register` and below are reviewed; everything else is passed through.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{BoxError, Router};
use clap::Parser;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

#[derive(Parser)]
struct Args {
    /// The OAuth server, for example `http://127.0.0.1:8080`
    #[arg(long)]
    upstream: Uri,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// Where the OAuth server registers clients.
    #[arg(long, default_value = "/register")]
    register_path: String,
    /// Believe X-Forwarded-For from this address or network.
    #[arg(long, value_name = "CIDR")]
    trusted_proxy: Vec<String>,
}

#[derive(Clone)]
struct Upstream {
    base: Uri,
    client: Client<HttpConnector, Body>,
}

/// Fields that concern one connection only (RFC 9110 section 7.6.1).
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

async fn forward(State(upstream): State<Upstream>, mut request: Request) -> Response {
    match upstream.send(&mut request).await {
        Ok(response) => response,
        Err(error) => {
            eprintln!("{}: {error}", request.uri());
            StatusCode::BAD_GATEWAY.into_response()
        }
    }
}

impl Upstream {
    async fn send(&self, request: &mut Request) -> Result<Response, BoxError> {
        let path = request.uri().path_and_query().cloned();
        let mut target = self.base.clone().into_parts();
        target.path_and_query = path;
        *request.uri_mut() = Uri::from_parts(target)?;
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_string());
        for name in HOP_BY_HOP {
            request.headers_mut().remove(name);
        }
        if let Some(peer) = peer {
            request.headers_mut().append("x-forwarded-for", HeaderValue::try_from(peer)?);
        }
        let mut response = self.client.request(std::mem::take(request)).await?;
        for name in HOP_BY_HOP {
            response.headers_mut().remove(name);
        }
        Ok(response.map(Body::new))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let guard = tower_dcr::mcp()
        .with_peer_address(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0))
        .with_trusted_proxies(&args.trusted_proxy)?;
    let guarded = any(forward).layer(guard);
    let app = Router::new()
        .route(&args.register_path, guarded.clone())
        .route(&format!("{}/{{*rest}}", args.register_path), guarded)
        .fallback(forward)
        .with_state(Upstream { base: args.upstream, client });

    let listener = tokio::net::TcpListener::bind(args.listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
