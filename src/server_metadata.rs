//! [`ServerMetadataLayer`]: has the server's own document (RFC 8414, OpenID Connect Discovery) say what the guard allows.
//!
//! Clients read that document before they register, and choose from it. One that announces a grant type or an
//! authentication method which the guard takes out or refuses leads them astray; one that does not announce `none`, where
//! the guard makes every client a public one, has them expect a secret.
//!
//! The layer goes on the routes of these documents. Of a successful answer that is a JSON object, the members that
//! [`ServerMetadata`] is about are narrowed, and validators of the old text (`ETag`, `Last-Modified`, digests) are taken
//! out. Any other answer passes as it is.
//!
//! A document is for all clients: grant types and methods that only clients have which the operator registered by hand are not
//! announced any more, either. Leave this layer out where those read the document.
//!
//! ```
//! use axum::{Json, Router, routing::{get, post}};
//! # use serde_json::{Value, json};
//! # async fn register(Json(client): Json<Value>) -> Json<Value> { Json(client) }
//! # async fn metadata() -> Json<Value> { Json(json!({})) }
//!
//! let guard = tower_dcr::mcp();
//! let app: Router = Router::new()
//!     .route("/.well-known/oauth-authorization-server", get(metadata).layer(guard.server_metadata_layer()))
//!     .route("/register", post(register).layer(guard));
//! # let _ = app;
//! ```

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, header};
use http_body::Body;
use serde_json::{Map, Value};
use tower_layer::Layer;
use tower_service::Service;

use crate::body::{self, AnswerFuture, Finish, Finished, ReadAnswer, ResponseBody, ResponseFuture};
use crate::policy::ServerMetadata;
use crate::rejection::{ErrorCode, Rejection};

/// Amends the documents in which a server says what it can do. See the [module docs](self).
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response, header};
/// use http_body_util::{BodyExt, Full};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use tower_dcr::ServerMetadataLayer;
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// let server = service_fn(async |_: Request<Full<Bytes>>| {
///     let document = r#"{"issuer":"https://as.example.com","response_types_supported":["code","token"]}"#;
///     let response = Response::builder().header(header::CONTENT_TYPE, "application/json");
///     Ok::<_, std::convert::Infallible>(response.body(Full::<Bytes>::from(document)).unwrap())
/// });
/// let layer = ServerMetadataLayer::new(|| tower_dcr::mcp().server_metadata());
/// let service = ServiceBuilder::new().layer(layer).service(server);
///
/// let request = Request::get("/.well-known/oauth-authorization-server").body(Full::default()).unwrap();
/// let document = service.oneshot(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
/// assert!(String::from_utf8_lossy(&document).contains(r#""response_types_supported":["code"]"#));
/// # });
/// ```
#[derive(Clone)]
#[must_use]
pub struct ServerMetadataLayer {
    config: Arc<Config>,
}

#[derive(Clone)]
struct Config {
    metadata: Arc<dyn Fn() -> ServerMetadata + Send + Sync>,
    further: Option<Arc<Amendment>>,
}

type Amendment = dyn Fn(&Parts, &mut Map<String, Value>) + Send + Sync;

impl ServerMetadataLayer {
    /// With what `metadata` returns, which is asked for every document: a policy can be
    /// [replaced](crate::reload::PolicyHandle) meanwhile.
    pub fn new(metadata: impl Fn() -> ServerMetadata + Send + Sync + 'static) -> Self {
        Self { config: Arc::new(Config { metadata: Arc::new(metadata), further: None }) }
    }

    /// Changes more of the document, which is narrowed by then. For a proxy, which knows by the request how the client
    /// calls it:
    ///
    /// ```
    /// let layer = tower_dcr::mcp().server_metadata_layer().with_amendment(|request, document| {
    ///     if let Some(host) = request.headers.get("host").and_then(|host| host.to_str().ok()) {
    ///         document.insert("registration_endpoint".into(), format!("https://{host}/register").into());
    ///     }
    /// });
    /// # let _ = layer;
    /// ```
    pub fn with_amendment(mut self, further: impl Fn(&Parts, &mut Map<String, Value>) + Send + Sync + 'static) -> Self {
        Arc::make_mut(&mut self.config).further = Some(Arc::new(further));
        self
    }
}

impl<S> Layer<S> for ServerMetadataLayer {
    type Service = Amended<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Amended { inner, layer: self.clone() }
    }
}

/// The service that [`ServerMetadataLayer`] makes.
///
/// ```
/// use tower_dcr::ServerMetadataLayer;
/// use tower_dcr::server_metadata::Amended;
/// use tower_layer::Layer;
///
/// fn amended<S>(inner: S) -> Amended<S> {
///     ServerMetadataLayer::new(|| tower_dcr::mcp().server_metadata()).layer(inner)
/// }
/// # let _ = amended(());
/// ```
#[derive(Clone, Debug)]
pub struct Amended<S> {
    inner: S,
    layer: ServerMetadataLayer,
}

impl<S, B, R> Service<Request<B>> for Amended<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Send + 'static,
    R: Body + Send + 'static,
    R::Data: Send,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = AnswerFuture<S::Future, Reading, R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        // A whole document, and not a compressed one, can be read and changed.
        parts.headers.remove(header::ACCEPT_ENCODING);
        parts.headers.remove(header::RANGE);
        let reading = Reading { request: parts.clone(), config: Arc::clone(&self.layer.config) };
        AnswerFuture::new(self.inner.call(Request::from_parts(parts, body)), reading)
    }
}

/// The request for one document, and what becomes of it.
pub struct Reading {
    request: Parts,
    config: Arc<Config>,
}

impl<B, E> Finish<B, E> for Reading
where
    B: Body + Send + 'static,
    B::Data: Send,
    E: Send + 'static,
{
    fn finish(self, answer: Result<Response<B>, E>) -> Finished<B, E> {
        match answer {
            Ok(response) if self.is_document(&response) => {
                Finished::Later(ResponseFuture::new(async move { Ok(self.amend(response).await) }))
            }
            answer => Finished::Now(answer.map(|response| response.map(ResponseBody::inner))),
        }
    }
}

impl Reading {
    fn is_document<B>(&self, response: &Response<B>) -> bool {
        matches!(self.request.method, Method::GET | Method::HEAD)
            && body::has_document(response)
            && !body::is_encoded(response.headers())
    }

    async fn amend<B: Body>(&self, response: Response<B>) -> Response<ResponseBody<B>> {
        let (mut parts, body) = response.into_parts();
        // What is said about the old text (RFC 9110 sections 8.6, 8.8 and 14.3; RFC 9530).
        for name in [header::ETAG, header::LAST_MODIFIED, header::ACCEPT_RANGES] {
            parts.headers.remove(name);
        }
        body::forget_old_body(&mut parts.headers);
        parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.request.method == Method::HEAD {
            return Response::from_parts(parts, ResponseBody::inner(body));
        }
        let ReadAnswer::Complete(bytes) = body::read_answer(body).await else {
            return body::refuse(Rejection::new(
                ErrorCode::ServerError,
                "server-metadata",
                "the server's document could not be read",
            ));
        };
        let bytes = match serde_json::from_slice::<Map<String, Value>>(&bytes) {
            Ok(document) => self.amended(document),
            // Not ours to repair.
            Err(_) => bytes,
        };
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        Response::from_parts(parts, ResponseBody::own(bytes))
    }

    fn amended(&self, mut document: Map<String, Value>) -> Bytes {
        (self.config.metadata)().amend(&mut document);
        if let Some(further) = &self.config.further {
            further(&self.request, &mut document);
        }
        Value::Object(document).to_string().into()
    }
}

impl fmt::Debug for ServerMetadataLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerMetadataLayer").finish_non_exhaustive()
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").finish_non_exhaustive()
    }
}
