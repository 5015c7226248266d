//! [`GateLayer`]: enforces the ledger in front of the endpoints that clients use, without the server's help.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::audit::{LifecycleAction, LifecycleEvent};
use crate::clients::registrar::Registrar;
use crate::clock::{Clock, CoarseClock};
use crate::layers::body::{self, Answered, BoxError, ResponseBody, ResponseFuture};
use crate::layers::layered::Layered;
use crate::telemetry;
use crate::text;

mod admission;
mod cache;
mod credentials;
mod endpoint;
mod form;
mod grant;
mod names;
mod parameters;
mod pushed;
mod records;
mod redirect;
mod rejection;
mod settings;
mod signed;
mod usage;

#[cfg(test)]
mod tests;

use admission::Admitted;
use cache::Cache;
pub use endpoint::GateEndpoint;
use endpoint::{Endpoint, Success};
use grant::ClientOf;
pub use grant::Grant;
use parameters::Seen;
use rejection::{Fault, Form};
pub(crate) use settings::FollowedSettings;
pub use settings::GateSettings;
use settings::SettingsInForce;

/// Enforces the ledger in front of the endpoints that clients use, without the server's help.
///
/// Each [endpoint](GateEndpoint) needs a layer of its own. [`Preset::gate`](crate::Preset::gate) creates one whose
/// settings follow a policy file.
///
/// # Parameters
///
/// | place | condition |
/// | --- | --- |
/// | query string | always; at most 100 parameters, in UTF-8, with well-formed escapes |
/// | body of a `POST` | `application/x-www-form-urlencoded` or `application/json`, without a charset or in UTF-8, without a content coding, without a byte order mark, at most 128 KiB; JSON is one object that names no member twice |
/// | `Authorization` | `Basic` followed by one space and base64 without stray bits; a user with several readings (RFC 6749 section 2.3.1 escapes it, many clients do not) must be allowed in each that the ledger knows. `Bearer` and `DPoP` name no client |
/// | `client_assertion` | a JWS (RFC 7523) with canonical base64url, of the type `jwt-bearer` or none, whose `sub` is the client and whose `iss`, if there is one, is the same |
/// | `OAuth-Client-Attestation` | a JWS; its `sub` must be the client that is named elsewhere |
/// | `request` | a JWS, signed or not (RFC 9101); its `client_id`, `iss` and `redirect_uri` must be those of the other parameters |
///
/// The bytes of a body reach the server unchanged. Its media type and length are written anew. Header fields that
/// describe, encode or sign a body or ask for another method are removed, from a `POST` also those that ask for a coded
/// response. `GET`, `HEAD` and `OPTIONS` go on without their body; other methods than these and `POST` are answered
/// with 405.
///
/// # Ambiguous requests
///
/// Everything that servers may read in different ways is answered with 400 `invalid_request`, and never with
/// `invalid_client`, on which clients throw their registration away:
///
/// - a body of another media type or charset (multipart too), or one that can't be read;
/// - one of the parameters `client_id`, `redirect_uri`, `client_assertion`, `client_assertion_type`, `request`,
///   `request_uri`, and outside of the authorization endpoint `grant_type`, `code`, `refresh_token`, `device_code`,
///   `auth_req_id`, that is repeated (query and body are one), is no string, or is spelled in any other way: in another
///   case, with other punctuation or white space, as an array, below another name, behind a `;`, escaped twice. Other
///   parameters may be repeated (`resource`);
/// - two names of the client that differ; a name with other characters than printable ASCII (RFC 6749 appendix A.1), or
///   with a space at an end; a name that the ledger has in another spelling only: in another case, or as another way to
///   write a UUID or a number;
/// - an unknown scheme of `Authorization` (at the authorization endpoint, where people sign in, other schemes pass), or
///   several fields; a `client_id` header field with another value, or at the endpoints that clients call such a
///   cookie;
/// - assertions and request objects that can't be read, encrypted ones included;
/// - at the endpoints that clients call, parameters of the request in its URL, except for `client_id`, which counts as
///   missing.
///
/// # Decisions
///
/// 1. A client that has expired, was revoked or is not approved yet is rejected:
///
/// | endpoint | response |
/// | --- | --- |
/// | authorization | 400, never a redirect (RFC 6749 section 4.1.2.1): a page for a client that accepts `text/html`, else JSON. Both hold `invalid_client` if a new registration solves the problem |
/// | token and the others | 401 `invalid_client` with a challenge (section 5.2); 400 `access_denied` if it waits for approval, since it is to keep its registration |
/// | revocation | passed through: revoking tokens is always allowed |
///
/// 2. A request that names no client is answered with 400 `invalid_request` at the token, pushed authorization and
///    device authorization endpoints, unless it [passes](GateSettings::unidentified), its grant [may be
///    anonymous](GateSettings::anonymous_grants), or the server [returns](GateLayer::with_client_of) the client
///    that the grant belongs to. RFC 6749 section 6 lets a public client leave its name out when it refreshes. At the
///    authorization endpoint such a request passes, as a form of the server's own; at the introspection endpoint as
///    that of a resource server.
/// 3. At the authorization endpoint, and where requests are pushed, each redirect URI in the request, also in a request
///    object, must be a registered one, by [`matches`](crate::redirect_uri::matches). It may be left out if exactly one
///    is registered that is no loopback URI without a port, in a step of a consent form (a `POST` without
///    `response_type`, with parameters of its own), where the server [takes request
///    objects](GateSettings::request_objects), or with the `request_uri` of a request that this client pushed
///    through a gate of the same ledger.
/// 4. A successful response of the token endpoint counts as use of the client and restarts its lifetime.
/// 5. Clients that the ledger does not know pass, and are recorded once they got a token: they were registered before,
///    or in another way. [`unknown`](GateSettings::unknown) can reject them, and those that were only
///    recorded so.
/// 6. If the server itself rejects a known client, the next equal registration gets a new client. Otherwise a server
///    that lost its store would get its lost clients again and again. This takes a 401 at the token endpoint to a
///    request without credentials, or two client errors within an hour at the authorization endpoint, to requests with
///    a registered redirect URI and nothing but the parameters of a code flow with PKCE.
///
/// # Left to the server
///
/// The server authenticates clients, checks signatures, and binds codes and tokens to the client that they were issued
/// to. A server that does not check this binding lets a live client refresh the tokens of a revoked one. So does one
/// that ignores the place of the client's name, such as `Authorization`. The gate does not read cookies, paths and
/// header fields that it does not list, nor the document at a foreign `request_uri`. A server that folds ids in another
/// way than by case or by white space at their ends needs [`unknown = "reject"`](GateSettings::unknown).
///
/// # Cost
///
/// Each request takes one read of the ledger for each name, one more for an unknown one and one for a `request_uri`. It
/// takes none for a client whose record was read within the last [5 seconds](GateSettings::max_age) or was missing
/// within the last second: for so long a revocation on another node may go unseen. One on this node is seen at once.
///
/// If the ledger is unavailable, clients whose record was read at most a [minute](GateSettings::grace) ago are
/// checked against it, and requests of all others are answered with 503.
///
/// # Report-only mode
///
/// A gate in [report-only mode](GateSettings::report_only) passes every request unchanged, and emits an event
/// ([`LifecycleAction::Rejected`], `enforced: false`) for each that it would have rejected. It still records the use of
/// clients. Only a body that breaks off or does not arrive in time is rejected.
///
/// ```
/// # use bytes::Bytes;
/// # use http::{Request, Response, StatusCode};
/// # use http_body_util::{BodyExt, Full};
/// # use tower::{ServiceBuilder, ServiceExt, service_fn};
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use std::convert::Infallible;
/// use tower_dcr::clients::{MemoryLedger, Registrar};
/// use tower_dcr::layers::{GateEndpoint, GateLayer, ResponseBody};
/// use tower_dcr::rules::Action;
///
/// let registrar = Registrar::new(MemoryLedger::default());
/// let gate = GateLayer::new(GateEndpoint::Token, registrar)
///     .map_settings(|gate| gate.unknown = Some(Action::Reject));
/// let token = ServiceBuilder::new().layer(gate).service(service_fn(
///     async |_: Request<ResponseBody<Full<Bytes>>>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())),
/// ));
/// let request = Request::post("/token")
///     .header("content-type", "application/x-www-form-urlencoded")
///     .body(Full::<Bytes>::from("grant_type=refresh_token&refresh_token=r&client_id=unknown"))
///     .unwrap();
/// let rejected = token.oneshot(request).await.unwrap();
/// assert_eq!(rejected.status(), StatusCode::UNAUTHORIZED);
/// assert_eq!(rejected.headers()["cache-control"], "no-store");
/// # });
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct GateLayer {
    config: Arc<Config>,
}

#[derive(Clone)]
struct Config {
    registrar: Registrar,
    endpoint: &'static Endpoint,
    settings: SettingsInForce,
    cache: Cache,
    client_of: Option<Arc<ClientOf>>,
}

text::debug_fields!(Config { endpoint });

impl GateLayer {
    /// Creates the gate of `endpoint` for the clients in the ledger of `registrar`. Its settings are in code.
    pub fn new(endpoint: GateEndpoint, registrar: Registrar) -> Self {
        Self::with(endpoint, registrar, SettingsInForce::default())
    }

    /// Creates a gate whose settings follow a policy file.
    pub(crate) fn following(endpoint: GateEndpoint, registrar: Registrar, followed: Arc<FollowedSettings>) -> Self {
        Self::with(endpoint, registrar, followed.follow())
    }

    fn with(endpoint: GateEndpoint, registrar: Registrar, settings: SettingsInForce) -> Self {
        let cache = Cache::new(4096, Arc::new(CoarseClock::new()));
        Self { config: Arc::new(Config { registrar, endpoint: endpoint.row(), settings, cache, client_of: None }) }
    }

    fn change(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }

    /// Changes the settings in code. Those of a policy file that the gate follows win.
    pub fn map_settings(self, change: impl FnOnce(&mut GateSettings)) -> Self {
        self.change(|config| change(&mut config.settings.built))
    }

    /// Sets the number of clients whose records are cached (default: 4096).
    pub fn with_cache_capacity(self, clients: usize) -> Self {
        self.change(|config| config.cache = Cache::new(clients, Arc::clone(&config.cache.clock)))
    }

    /// Replaces the clock that measures the age of records (default: the system's monotonic clock).
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        self.change(|config| config.cache.clock = clock)
    }

    /// Sets a function that returns the `client_id` that a refresh token, code or device code was issued to (default:
    /// none). It is called for a token request that does not name its client: RFC 6749 section 6 lets a public client
    /// leave `client_id` out when it refreshes, and only the server knows the owner then. `None` if there is no such
    /// grant; a request that meets an error is answered with 503.
    ///
    /// ```
    /// # use bytes::Bytes;
    /// # use http::{Request, Response, StatusCode};
    /// # use http_body_util::Full;
    /// # use tower::{ServiceBuilder, ServiceExt, service_fn};
    /// use tower_dcr::clients::{MemoryLedger, Registrar};
    /// use tower_dcr::layers::{GateEndpoint, GateLayer, Grant, ResponseBody};
    /// use tower_dcr::rules::Action;
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// # let server = service_fn(async |_: Request<ResponseBody<Full<Bytes>>>| {
    /// #     Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::default()))
    /// # });
    /// let gate = GateLayer::new(GateEndpoint::Token, Registrar::new(MemoryLedger::default()))
    ///     .map_settings(|gate| gate.unknown = Some(Action::Reject))
    ///     // A server has a table of grants.
    ///     .with_client_of(async |grant: Grant| Ok((grant.value == "r").then(|| "gone".into())));
    /// let request = Request::post("/token").header("content-type", "application/x-www-form-urlencoded");
    /// let request = request.body(Full::<Bytes>::from("grant_type=refresh_token&refresh_token=r")).unwrap();
    /// let answer = ServiceBuilder::new().layer(gate).service(server).oneshot(request).await.unwrap();
    /// assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    /// # });
    /// ```
    pub fn with_client_of<F>(self, client_of: impl Fn(Grant) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Option<String>, BoxError>> + Send + 'static,
    {
        self.change(|config| config.client_of = Some(Arc::new(move |grant| Box::pin(client_of(grant)))))
    }
}

impl<S, B, R> Service<Request<B>> for Layered<GateLayer, S>
where
    S: Service<Request<ResponseBody<B>>, Response = Response<R>, Future: Send, Error: Send> + Clone + Send + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    R: Body<Data: Send> + Send + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let inner = self.take_ready();
        let config = Arc::clone(&self.layer.config);
        ResponseFuture::boxed(async move { config.pass(inner, request).await })
    }
}

impl Config {
    async fn pass<S, B, R>(&self, mut inner: S, request: Request<B>) -> Answered<R, S::Error>
    where
        S: Service<Request<ResponseBody<B>>, Response = Response<R>>,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
        R: Body + Send + 'static,
    {
        let mut form = Form::of(self.endpoint, request.headers());
        let reports = self.settings.reports();
        let address = self.registrar.address_of(request.headers(), request.extensions());
        let (parts, bytes) = match parameters::read_body(self.endpoint, request).await {
            Ok(read) => read,
            Err(unread) if reports && unread.can_go_on => {
                self.report(unread.fault, None, address);
                return body::forward(inner, unread.into_request()).await;
            }
            Err(unread) => {
                let answer = self.reject(form, unread.fault);
                return Ok(unread.answer(answer).await);
            }
        };
        let as_it_came = reports.then(|| Request::from_parts(parts.clone(), ResponseBody::own(bytes.clone())));
        let (request, seen) = match (parameters::read(self.endpoint, parts, bytes), as_it_came) {
            (Ok((request, seen)), as_it_came) => (as_it_came.unwrap_or(request), Seen { address, ..seen }),
            (Err(fault), Some(request)) => {
                self.report(fault, None, address);
                return body::forward(inner, request).await;
            }
            (Err(fault), None) => return Ok(self.reject(form, fault)),
        };
        // A preflight comes from no client.
        if request.method() == Method::OPTIONS {
            return body::forward(inner, request).await;
        }
        form.by_basic = seen.by_basic;
        let admitted = match self.admit(&seen).await {
            Ok(admitted) => admitted,
            Err(fault) if reports => {
                self.report(fault, seen.client_ids.first(), address);
                return body::forward(inner, request).await;
            }
            Err(fault) => return Ok(self.reject(form, fault)),
        };
        telemetry::gate(self.endpoint.name, "passed");
        let response = inner.call(request).await?;
        self.notice_loss(response.status(), &seen, admitted.known.as_deref()).await;
        if !response.status().is_success() {
            return Ok(response.map(ResponseBody::inner));
        }
        Ok(self.conclude(admitted, &seen, response, reports).await.unwrap_or_else(|fault| form.response(fault)))
    }

    /// Processes a successful response. Withholds it if an error is returned.
    async fn conclude<R: Body + Send + 'static>(
        &self,
        admitted: Admitted,
        seen: &Seen,
        response: Response<R>,
        reports: bool,
    ) -> Result<Response<ResponseBody<R>>, Fault> {
        match self.endpoint.success {
            Success::Pass => Ok(response.map(ResponseBody::inner)),
            Success::RecordPushed => self.record_pushed(admitted, response).await,
            Success::RecordUse => {
                let (response, holds_token) = grant::holds_token(response).await;
                match self.record_use(admitted, holds_token).await {
                    Ok(()) => Ok(response),
                    Err(fault) if reports => {
                        self.report(fault, seen.client_ids.first(), seen.address);
                        Ok(response)
                    }
                    // The client has ended since it was checked, and must not get the token.
                    Err(fault) => Err(fault),
                }
            }
        }
    }

    /// Reports a rejection that is not enforced.
    fn report(&self, fault: Fault, client_id: Option<&String>, address: Option<IpAddr>) {
        telemetry::gate(self.endpoint.name, "reported");
        let event = self.registrar.event(LifecycleAction::Rejected).of_client(client_id.map(String::as_str));
        self.emit(event.because(fault.as_str()).reported(), address);
    }

    fn reject<R: Body>(&self, form: Form, fault: Fault) -> Response<ResponseBody<R>> {
        telemetry::gate(self.endpoint.name, if fault == Fault::Unavailable { "unavailable" } else { "rejected" });
        form.response(fault)
    }

    /// Emits an event about a request at this endpoint.
    fn emit(&self, event: LifecycleEvent, address: Option<IpAddr>) {
        let source = self.registrar.source_name(address);
        self.registrar.emit_from(&event.coming_from(source).about(self.endpoint.name), address);
    }
}
