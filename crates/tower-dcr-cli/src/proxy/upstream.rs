//! The upstream server.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum_reverse_proxy::{HostBehaviour, ProxyError, ProxyPolicy, ReverseProxy, XForwardedFor};
use http_body_util::{BodyExt, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Map, Value};
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt};
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use super::forwarded::Testimony;
use super::{Args, Error};

/// A service that sends a request to the server, with or without layers.
pub(crate) type Way = BoxCloneSyncService<Request, Response, Infallible>;

pub(crate) struct Upstream {
    origin: String,
    proxy: ReverseProxy<HttpsConnector<HttpConnector>>,
}

impl Upstream {
    pub(crate) fn new(args: &Args) -> Result<Self, Error> {
        let host = if args.upstream_host { HostBehaviour::Replace } else { HostBehaviour::Preserve };
        // A pseudonym, so that it detects forwarding loops (RFC 9110 section 7.6.3).
        let policy = ProxyPolicy::new()
            .with_host_behaviour(host)
            // They are written by `Onward`.
            .with_x_forwarded_for(XForwardedFor::Preserve)
            .with_upstream_timeout(args.upstream_timeout)
            .with_via(format!("tower-dcr-{:08x}", rand::random::<u32>()));
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(10)));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(args)?)
            .https_or_http()
            // Required for WebSockets.
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        let origin = args.upstream.to_string();
        let proxy = ReverseProxy::new_with_client("/", origin.clone(), client).with_policy(policy);
        Ok(Self { origin, proxy })
    }

    /// Returns a service without layers.
    pub(crate) fn way(&self) -> Way {
        BoxCloneSyncService::new(Onward(self.proxy.clone()))
    }

    /// Returns a service behind `layer`.
    pub(crate) fn behind<L, R>(&self, layer: L) -> Way
    where
        L: Layer<Onward>,
        L::Service: Service<Request, Response = Response<R>, Error = Infallible> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Future: Send,
        R: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let service = layer.layer(Onward(self.proxy.clone()));
        BoxCloneSyncService::new(service.map_response(|response: Response<R>| response.map(Body::new)))
    }

    /// Returns the discovery document at `path`; `None` if the server has none there.
    ///
    /// # Errors
    ///
    /// Returns an error if the server is unreachable or responds with a server error.
    pub(crate) async fn document(&self, path: &str) -> Result<Option<Map<String, Value>>, Error> {
        let url = format!("{}{path}", self.origin);
        let request = Request::get(path).header(header::ACCEPT, "application/json").body(Body::empty())?;
        // The error is returned, to log one line for all documents.
        let response = self.proxy.clone().oneshot(request).with_subscriber(NoSubscriber::default()).await?;
        if let Some(trouble) = response.extensions().get::<ProxyError>() {
            return Err(format!("{url}: {}", trouble.message()).into());
        }
        if response.status().is_server_error() {
            return Err(format!("{url}: status {}", response.status()).into());
        }
        if response.status() != StatusCode::OK {
            return Ok(None);
        }
        let body = Limited::new(response.into_body(), 256 * 1024).collect().await;
        let bytes = body.map_err(|error| format!("{url}: {error}"))?.to_bytes();
        // Some servers respond to every path.
        let document = serde_json::from_slice::<Map<String, Value>>(&bytes).ok();
        Ok(document.filter(|document| document.contains_key("issuer")))
    }
}

/// Returns the same service, with responses that pages of other origins may read. The server's responses are unchanged.
/// Rejections by the proxy hold no secret, and without these headers a browser hides their reason from the page.
pub(crate) fn readable(way: Way) -> Way {
    BoxCloneSyncService::new(way.map_response(|mut response: Response| {
        if !response.headers().contains_key(header::VIA) {
            response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            response.headers_mut().insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
        }
        response
    }))
}

/// The server, for requests with any body.
#[derive(Clone)]
pub(crate) struct Onward(ReverseProxy<HttpsConnector<HttpConnector>>);

impl<B> Service<Request<B>> for Onward
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = <ReverseProxy<HttpsConnector<HttpConnector>> as Service<Request>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut request = request.map(Body::new);
        // Without a testimony, the server still gets no claim of a client.
        let testimony = request.extensions_mut().remove::<Testimony>().unwrap_or_default();
        testimony.write(request.headers_mut());
        self.0.call(request)
    }
}

/// Returns a TLS configuration with the certificates that this machine trusts and those of the command line.
fn tls(args: &Args) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    // A server without TLS needs none of them.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = &args.upstream_ca {
        let unreadable = |error: &dyn std::fmt::Display| format!("--upstream-ca {}: {error}", file.display());
        for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unreadable(&error))? {
            roots.add(certificate.map_err(|error| unreadable(&error))?)?;
        }
    }
    // Named, since another dependency may install a different one.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
