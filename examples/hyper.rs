//! The preset `mcp` on hyper 1, without a framework.
//!
//! ```console
//! cargo run --example hyper
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Map, Value};
use tower::{ServiceBuilder, service_fn};
use tower_dcr::layers::RegistrationBody;

/// Your handler: reads the document that the layers have checked.
async fn register(request: Request<RegistrationBody>) -> Result<Response<Full<Bytes>>, Box<dyn Error + Send + Sync>> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    if request.uri().path() != "/register" || request.method() != "POST" {
        let not_found = Response::builder().status(StatusCode::NOT_FOUND).body(Full::default());
        return Ok(not_found.unwrap_or_default());
    }
    let checked = request.into_body().collect().await?.to_bytes();
    let mut client: Map<String, Value> = serde_json::from_slice(&checked).unwrap_or_default();
    client.insert("client_id".into(), format!("client-{}", NEXT.fetch_add(1, Ordering::Relaxed)).into());
    let mut response = Response::new(Full::from(Value::from(client).to_string()));
    *response.status_mut() = StatusCode::CREATED;
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    Ok(response)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mcp = tower_dcr::mcp();
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    let listener = tokio::net::TcpListener::bind(addr).await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, peer) = listener.accept().await?;
        let service = ServiceBuilder::new()
            // The address of the connection, for rate limits.
            .map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(peer);
                request
            })
            .layer(mcp.clone())
            .service(service_fn(register));
        tokio::spawn(async move {
            let connection =
                http1::Builder::new().serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
            if let Err(error) = connection.await {
                eprintln!("{peer}: {error}");
            }
            Ok::<_, Infallible>(())
        });
    }
}
