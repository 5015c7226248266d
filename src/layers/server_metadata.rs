//! [`ServerMetadataLayer`]: narrows the server's metadata document (RFC 8414, OpenID Connect Discovery) to the policy.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, header};
use http_body::Body;
use serde_json::{Map, Value};
use tower_service::Service;

use crate::layers::body::{self, Finish, Finished, ResponseBody, ResponseFuture};
use crate::layers::layered::Layered;
use crate::rules::{ErrorCode, Rejection};
use crate::text;

/// Narrows the server's metadata document (RFC 8414, OpenID Connect Discovery) to the policy.
///
/// Clients read that document before they register, and choose from it. If it announces a grant type or an
/// authentication method that the policy removes or rejects, clients choose in vain. If it does not announce `none`,
/// while the policy makes every client public, clients expect a secret.
///
/// [`Preset::server_metadata_layer`](crate::Preset::server_metadata_layer) creates the layer, which belongs on the routes
/// of these documents. In a successful response that is a JSON object, values are
/// [narrowed](crate::Preset::amend_server_metadata), and validators of the old text (`ETag`, `Last-Modified`, digests) are
/// removed. Any other response passes unchanged.
///
/// A document is for all clients: grant types and methods that only manually registered clients have are no longer
/// announced, either. Leave this layer out if those clients read the document.
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response, header};
/// use http_body_util::{BodyExt, Full};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// let server = service_fn(async |_: Request<Full<Bytes>>| {
///     let document = r#"{"issuer":"https://as.example.com","response_types_supported":["code","token"]}"#;
///     let response = Response::builder().header(header::CONTENT_TYPE, "application/json");
///     Ok::<_, std::convert::Infallible>(response.body(Full::<Bytes>::from(document)).unwrap())
/// });
/// let layer = tower_dcr::mcp().server_metadata_layer().with_amendment(|request, document| {
///     if let Some(host) = request.headers.get("host").and_then(|host| host.to_str().ok()) {
///         document.insert("registration_endpoint".into(), format!("https://{host}/register").into());
///     }
/// });
/// let service = ServiceBuilder::new().layer(layer).service(server);
///
/// let request = Request::get("/.well-known/oauth-authorization-server").header("host", "as.example.com");
/// let answer = service.oneshot(request.body(Full::default()).unwrap()).await.unwrap();
/// let document = answer.into_body().collect().await.unwrap().to_bytes();
/// let document: serde_json::Value = serde_json::from_slice(&document).unwrap();
/// assert_eq!(document["response_types_supported"], serde_json::json!(["code"]));
/// assert_eq!(document["registration_endpoint"], "https://as.example.com/register");
/// # });
/// ```
#[derive(Clone)]
#[must_use]
pub struct ServerMetadataLayer {
    config: Arc<Config>,
}

#[derive(Clone)]
struct Config {
    narrow: Arc<Amendment>,
    further: Option<Arc<Amendment>>,
}

type Amendment = dyn Fn(&Parts, &mut Map<String, Value>) + Send + Sync;

text::debug_fields!(ServerMetadataLayer {});

impl ServerMetadataLayer {
    /// Creates a layer that calls `narrow` for every document: a policy can be
    /// [replaced](crate::policy_file::ReloadableLayer) meanwhile.
    pub(crate) fn new(narrow: impl Fn(&mut Map<String, Value>) + Send + Sync + 'static) -> Self {
        Self { config: Arc::new(Config { narrow: Arc::new(move |_, document| narrow(document)), further: None }) }
    }

    /// Changes more of the document, after it was narrowed. A proxy can see from the request the host that the client uses.
    pub fn with_amendment(mut self, further: impl Fn(&Parts, &mut Map<String, Value>) + Send + Sync + 'static) -> Self {
        Arc::make_mut(&mut self.config).further = Some(Arc::new(further));
        self
    }
}

impl<S, B, R> Service<Request<B>> for Layered<ServerMetadataLayer, S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body<Data: Send> + Send + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<R, S::Error, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        // Only a whole, uncompressed document can be changed.
        parts.headers.remove(header::ACCEPT_ENCODING);
        parts.headers.remove(header::RANGE);
        let reading = Reading { request: parts.clone(), config: Arc::clone(&self.layer.config) };
        ResponseFuture::new(self.inner.call(Request::from_parts(parts, body)), reading)
    }
}

/// A request for the document.
struct Reading {
    request: Parts,
    config: Arc<Config>,
}

impl<B: Body<Data: Send> + Send + 'static> Finish<B> for Reading {
    fn finish(self: Box<Self>, response: Response<B>) -> Finished<B> {
        let is_document = matches!(self.request.method, Method::GET | Method::HEAD)
            && body::has_document(&response)
            && !body::is_encoded(response.headers());
        if is_document { Finished::later(self.amend(response)) } else { Finished::unchanged(response) }
    }
}

impl Reading {
    async fn amend<B: Body>(self: Box<Self>, response: Response<B>) -> Response<ResponseBody<B>> {
        let (mut parts, body) = response.into_parts();
        // Headers about the old text (RFC 9110 sections 8.6, 8.8 and 14.3; RFC 9530).
        for name in [header::ETAG, header::LAST_MODIFIED, header::ACCEPT_RANGES] {
            parts.headers.remove(name);
        }
        body::forget_old_body(&mut parts.headers);
        parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.request.method == Method::HEAD {
            return Response::from_parts(parts, ResponseBody::inner(body));
        }
        let Some(bytes) = body::read_answer(body).await else {
            return body::reject(Rejection::new(
                ErrorCode::ServerError,
                "server-metadata",
                "the server's document could not be read",
            ));
        };
        let bytes = match serde_json::from_slice::<Map<String, Value>>(&bytes) {
            Ok(mut document) => {
                (self.config.narrow)(&self.request, &mut document);
                if let Some(further) = &self.config.further {
                    further(&self.request, &mut document);
                }
                Value::Object(document).to_string().into()
            }
            // An invalid document is not repaired.
            Err(_) => bytes,
        };
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        Response::from_parts(parts, ResponseBody::own(bytes))
    }
}
