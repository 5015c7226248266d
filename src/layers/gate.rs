//! [`GateLayer`]: enforces the ledger in front of the endpoints that clients use, without the server's help.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body::Body;
use tower_service::Service;

use crate::audit::{LifecycleAction, LifecycleEvent};
use crate::clients::registrar::Registrar;
use crate::clock::{Clock, CoarseClock};
use crate::documents::Documents;
use crate::layers::body::{self, Answered, BoxError, ResponseBody, ResponseFuture};
use crate::layers::layered::Layered;
use crate::telemetry;
use crate::text;

mod admission;
mod back;
mod cache;
mod credentials;
mod document;
mod endpoint;
mod failures;
mod form;
mod given;
mod grant;
mod issuer;
mod names;
mod parameters;
mod pushed;
mod records;
mod rejection;
mod rules;
mod settings;
mod signed;
mod usage;
mod values;

#[cfg(test)]
mod tests;

use admission::Admitted;
use cache::Cache;
use document::GateDocuments;
pub use endpoint::GateEndpoint;
use endpoint::{Endpoint, Success};
use failures::Attempt;
use grant::ClientOf;
pub use grant::Grant;
use issuer::Responses;
pub(crate) use issuer::can_name_issuer;
use parameters::{Seen, Unfinished};
use rejection::{Fault, Form, Rejected};
pub use rules::GateRules;
pub(crate) use rules::docs as rule_docs;
pub use settings::GateSettings;
pub(crate) use settings::{FollowedSettings, Profile};
use settings::{Settings, SettingsInForce};
pub(crate) use values::is_resource_of_clients;

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
/// | body of a `POST` | `application/x-www-form-urlencoded` or `application/json`, without a charset or in UTF-8 (a form also in ISO-8859, `us-ascii` or `windows-125x`, if it is ASCII once its escapes are decoded), without a content coding, without a byte order mark, at most 128 KiB; JSON is one object that names no member twice |
/// | `Authorization` | `Basic` followed by one space and base64 without stray bits; a user with several readings (RFC 6749 section 2.3.1 escapes it, many clients do not) must be allowed in each that the ledger knows. `Bearer` and `DPoP` name no client |
/// | `client_assertion` | a JWS (RFC 7523) with canonical base64url, of the type `jwt-bearer` or none, whose `sub` is the client and whose `iss`, if there is one, is the same |
/// | `OAuth-Client-Attestation` | a JWS; its `sub` must be the client that is named elsewhere |
/// | `request` | a JWS, signed or not (RFC 9101), at the backchannel authentication endpoint signed with a private key (CIBA section 7.1.1); its `client_id`, `iss` and `redirect_uri` must be those of the other parameters |
///
/// The bytes of a body reach the server unchanged. Its media type and length are written anew. Header fields that
/// describe, encode or sign a body or ask for another method are removed, from a `POST` also those that ask for a coded
/// response. `GET`, `HEAD` and `OPTIONS` go on without their body; other methods than these and `POST` are answered
/// with 405.
///
/// # Ambiguous requests
///
/// Everything that servers may read in different ways is answered with 400 `invalid_request`, and never with
/// `invalid_client`, on which clients throw their registration away. Rules decide about repetitions and spellings of the
/// other parameters:
///
/// - a body of another media type or charset (multipart too), or one that can't be read;
/// - one of the parameters `client_id`, `redirect_uri`, `client_assertion`, `client_assertion_type`, `request`,
///   `request_uri`, and outside of the authorization endpoint `grant_type`, `code`, `refresh_token`, `device_code`,
///   `auth_req_id`, that is repeated (query and body are one), is no string, or is spelled in any other way: in another
///   case, with other punctuation or white space, as an array, below another name, behind a `;`, escaped twice. A login or
///   consent form may have fields of its own: `code` and the others of token requests; a `request` that can't be a request object,
///   in a form without parameters of a request; and, in a form that names no client, another spelling of `redirect_uri`. The error
///   names the field that needs another name;
/// - two names of the client that differ; a name with other characters than printable ASCII (RFC 6749 appendix A.1), or
///   with a space at an end; a name that the ledger has in another spelling only: in another case, or as another way to
///   write a UUID or a number;
/// - an unknown scheme of `Authorization` (at the authorization endpoint, where people sign in, other schemes pass), or
///   several fields; a `client_id` header field with another value, or at the endpoints that clients call such a
///   cookie;
/// - assertions and request objects that can't be read, encrypted ones included;
/// - at the endpoints that clients call, parameters of the request in its URL. Only in that of a `POST`, `client_id` passes, and
///   counts as missing.
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
/// 2. A request that names no client is answered with 400 `invalid_request` at the token, pushed authorization,
///    device authorization and backchannel authentication endpoints, unless it [passes](GateSettings::unidentified), its grant [may be
///    anonymous](GateSettings::anonymous_grants), or the server [returns](GateLayer::with_client_of) the client
///    that the grant belongs to. RFC 6749 section 6 lets a public client leave its name out when it refreshes. At the
///    authorization endpoint such a request passes, as a form of the server's own; at the introspection endpoint as
///    that of a resource server. Neither does where [unknown clients](GateSettings::unknown) are rejected: a consent form
///    whose request is kept in a session then needs `client_id`, in its URL or in a hidden field.
/// 3. The request of a registered client is compared with its registration: see [Rules](#rules).
/// 4. A successful response of the token endpoint counts as use of the client and restarts its lifetime, and so does one of
///    the backchannel authentication endpoint to a client in push mode.
/// 5. Clients that the ledger does not know pass, and are recorded once they got a token: they were registered before,
///    or in another way. [`unknown`](GateSettings::unknown) can reject them, and those that were only
///    recorded so.
/// 6. If the server itself rejects a known client, the next equal registration gets a new client. Otherwise a server
///    that lost its store would get its lost clients again and again. This takes one response to a request without
///    credentials at the token endpoint, or two within an hour at the authorization endpoint, to requests with a
///    registered redirect URI and nothing but the parameters of a code flow with PKCE. The response is a JSON object with
///    the error `invalid_client`, or at the authorization endpoint with `invalid_request` and a description that has the
///    client ID in it. One without such an object counts, too, if it is a 401 at the token endpoint or a client error at
///    the other one, and every `resource` of the request is one of the [listed](GateSettings::resources) ones. Any other
///    error says nothing about the client.
/// 7. Failed attempts to authenticate a client are [limited](GateSettings::failed_authentication) for each pair of a client and
///    a source (RFC 6749 section 2.3.1): those that the server answers with `invalid_client`, or with a 401 that names no
///    error. Further ones are answered with 429. Requests for other clients and from other sources are not affected. If the
///    source is unknown or evidently a proxy (a trusted one that sets no header, or one in a private network that is not
///    trusted), nothing is counted, and a warning (`tower_dcr::setup`) says so once. There are 65,536 counters. A flood of
///    failures takes none that limits; those that find no room share one, and while there is none it limits them together.
///
/// # Rules
///
/// A client is held to what was registered: the values in the server's answer, where it named others than were forwarded.
/// Clients that were not registered through the layers have no registration to compare with, and no rule applies to them.
/// Each rule has an [action](GateRules); this table has the defaults of the presets. In `oauth` and in a gate
/// without a preset, only `gate-redirect-uri`, `gate-pushed-request` and `gate-resource` are on.
///
/// | rule | at | condition | error | `mcp` | `strict` |
/// | --- | --- | --- | --- | --- | --- |
/// | `gate-redirect-uri` | authorization, PAR | each redirect URI, also in a request object, is registered, by [`matches`](crate::redirect_uri::matches). It may be left out if exactly one is registered that is no loopback URI without a port, in a step of a consent form (a `POST` without `response_type`, with parameters of its own), and where it stands in a request object or a pushed request | `invalid_client`, `invalid_request` | reject | reject |
/// | `gate-repeated-parameter` | all | no parameter is repeated, or spelled in another way; only `resource`, in token exchange `audience`, and in a form at the authorization endpoint fields that are no parameters of OAuth or OpenID Connect may be | `invalid_request` | reject | reject |
/// | `gate-pushed-request` | authorization | the request was pushed, if the client registered that or [all have to](GateSettings::require_pushed_requests) | `invalid_request` | reject | reject |
/// | `gate-response-type` | authorization, PAR | `response_type` is registered (default: `code`) | `unauthorized_client` | reject | reject |
/// | `gate-response-mode` | authorization, PAR | `response_mode` is [listed](GateSettings::response_modes) | `invalid_request` | reject | reject |
/// | `gate-pkce` | authorization, PAR | a code has a `code_challenge` of 43 characters and the method `S256` | `invalid_request` | reject | reject |
/// | `gate-resource` | authorization, PAR, token, device, CIBA | each `resource` is [listed](GateSettings::resources), if there is a list | `invalid_target` | reject | reject |
/// | `gate-scope` | authorization, PAR, token, device, CIBA | `scope` is within the registered one, if there is one; `offline_access` and [others](GateSettings::additional_scopes) always are | `invalid_scope` | narrow | reject |
/// | `gate-auth-method` | PAR, token, CIBA, introspection | the client authenticates itself as registered; at the endpoint of CIBA, it does | `invalid_client`, `invalid_request`, `unauthorized_client` | reject | reject |
/// | `gate-grant-type` | token, device, CIBA | `grant_type` is registered (default: `authorization_code`, `refresh_token`); for CIBA, push mode counts as its registration, and rejects token requests | `unauthorized_client` | reject | reject |
/// | `gate-password-grant` | token | no `grant_type=password` | `unsupported_grant_type` | reject | reject |
/// | `gate-code-verifier` | token | a code comes with a `code_verifier` | `invalid_request`, `invalid_grant` | reject | reject |
///
/// A `POST` to the authorization endpoint has a query and a body. Each of them that has a `response_type` must be a complete
/// request, since some server takes it as the whole.
///
/// An error of a rule goes back to the redirect URI only if the identity of the client is verified, or an operator
/// approved it. RFC 9700 section 4.11.2: where anyone can register, a server that redirects errors is an open
/// redirector. For all other clients, the page names the host of the redirect URI and links to it. Clients that are
/// unknown, have ended or wait for approval, and redirect URIs that are not registered, are never redirected to.
///
/// # Responses
///
/// Responses of endpoints that clients call have `Cache-Control: no-store` (RFC 6749 section 5.1). With an
/// [issuer](GateSettings::issuer), redirects to clients have the parameter `iss` (RFC 9207) exactly once, and requests whose
/// response can't get it are rejected, of unknown clients too.
/// [`Preset::server_metadata_layer`](crate::Preset::server_metadata_layer) announces what the gates of its preset enforce.
///
/// # Left to the server
///
/// The server authenticates clients, checks signatures, compares the `code_verifier` with the challenge, and binds codes
/// and tokens to the client that they were issued to. A server that does not check this binding lets a live client refresh the tokens of a revoked one. So does one
/// that ignores the place of the client's name, such as `Authorization`. The gate does not read cookies, paths and
/// header fields that it does not list, nor the document at a foreign `request_uri`. A server that folds ids in another
/// way than by case or by white space at their ends needs [`unknown = "reject"`](GateSettings::unknown).
///
/// A request without `scope` gets the scope that the server has for such requests (RFC 6749 section 3.3: "a pre-defined
/// default value"). The gate does not put the registered scope there: where the default is narrower, that would ask for
/// more than the client did. A server with a wide default has to narrow it to the registered scope.
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
    settings: Settings,
    cache: Cache,
    client_of: Option<Arc<ClientOf>>,
    documents: Option<GateDocuments>,
}

text::debug_fields!(Config { endpoint });

impl GateLayer {
    /// Creates the gate of `endpoint` for the clients in the ledger of `registrar`. Its settings are in code.
    pub fn new(endpoint: GateEndpoint, registrar: Registrar) -> Self {
        Self::with(endpoint, registrar, Settings::default())
    }

    /// Creates a gate whose settings follow a policy file.
    pub(crate) fn following(endpoint: GateEndpoint, registrar: Registrar, followed: Arc<FollowedSettings>) -> Self {
        Self::with(endpoint, registrar, followed.follow(endpoint))
    }

    fn with(endpoint: GateEndpoint, registrar: Registrar, settings: Settings) -> Self {
        let cache = Cache::new(4096, Arc::new(CoarseClock::new()));
        Self {
            config: Arc::new(Config {
                registrar,
                endpoint: endpoint.row(),
                settings,
                cache,
                client_of: None,
                documents: None,
            }),
        }
    }

    fn change(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }

    /// Changes the settings in code. Those of a policy file that the gate follows win.
    ///
    /// # Panics
    ///
    /// Panics if a value is none of its kind: an [issuer](GateSettings::issuer) that is neither an `https` URL nor `http` on a
    /// loopback host, a [resource](GateSettings::resources) that is no absolute URI, or a scope, grant type or response mode with a space in it. A
    /// policy file with such a value can't be read.
    #[track_caller]
    pub fn map_settings(mut self, change: impl FnOnce(&mut GateSettings)) -> Self {
        let config = Arc::make_mut(&mut self.config);
        if let Err(message) = config.settings.change(config.endpoint, change) {
            panic!("{message}");
        }
        self
    }

    /// Knows the clients of these documents.
    pub(crate) fn with_documents(self, documents: Option<Documents>) -> Self {
        self.change(|config| config.documents = documents.map(GateDocuments::new))
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
        ResponseFuture::boxed(config.pass(inner, request))
    }
}

/// A request with its parameters. `None` if it passes without a judgement.
type Opened<B> = (Request<ResponseBody<B>>, Option<Box<Seen>>);

/// A request that goes on.
struct Decided<'a> {
    admitted: Admitted<'a>,
    responses: Option<Responses>,
    attempt: Option<Attempt>,
}

/// The judgement of one request, by the settings that were in force when it came in.
struct Judgement<'a> {
    config: &'a Config,
    settings: SettingsInForce<'a>,
}

impl Deref for Judgement<'_> {
    type Target = Config;

    fn deref(&self) -> &Config {
        self.config
    }
}

impl Config {
    async fn pass<S, B, R>(self: Arc<Self>, mut inner: S, request: Request<B>) -> Answered<R, S::Error>
    where
        S: Service<Request<ResponseBody<B>>, Response = Response<R>>,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
        R: Body + Send + 'static,
    {
        let judgement = Judgement { config: &self, settings: self.settings.in_force() };
        let mut form = Form::of(self.endpoint, request.method(), request.headers());
        let address = self.registrar.address_of(request.headers(), request.extensions());
        let read = match parameters::read_body(self.endpoint, request).await {
            Ok((parts, bytes)) => judgement.open(parts, bytes, address),
            // Rare ways are boxed here: the future of every request is copied, and stays small.
            Err(unread) => return Box::pin(judgement.end(form, inner, *unread, address)).await,
        };
        let (request, seen) = match read {
            Ok(opened) => opened,
            Err(fault) => return Ok(judgement.reject(form, &fault.into())),
        };
        let Some(seen) = seen else { return body::forward(&mut inner, request).await };
        form.by_basic = seen.by_basic;
        let Decided { admitted, responses, attempt } =
            match judgement.decide(&seen, request.headers(), request.extensions()).await {
                Ok(Some(decided)) => decided,
                Ok(None) => return body::forward(&mut inner, request).await,
                Err(rejected) => return Ok(judgement.reject(form, &rejected)),
            };
        let request = match judgement.narrowed(request, &seen, &admitted) {
            Ok(request) => request,
            Err(fault) => return Ok(judgement.reject(form, &fault.into())),
        };
        let request = with_client(request, &admitted);
        let response = inner.call(request).await?;
        let response = response.map(ResponseBody::inner);
        match judgement.record_code(response.status(), document::has_code(&response), &admitted).await {
            Ok(()) => {}
            Err(fault) if judgement.settings.reports() => judgement.report(&fault.into(), seen.client_id(), address),
            Err(fault) => return Ok(judgement.reject(form, &fault.into())),
        }
        let response = if response.status().is_client_error() {
            Box::pin(judgement.learn_from_rejection(response, &seen, &admitted, attempt)).await
        } else {
            judgement.note_known(response.status(), &admitted);
            response
        };
        let mut response = if response.status().is_success() {
            let concluded = judgement.conclude(admitted, &seen, response).await;
            concluded.unwrap_or_else(|fault| form.response(&fault.into()))
        } else {
            response
        };
        if !judgement.settings.reports() {
            if let Some(responses) = responses {
                responses.name_issuer(&mut response);
            }
            judgement.forbid_caching(&mut response);
        }
        Ok(response)
    }
}

impl Judgement<'_> {
    /// Answers or passes a request whose body was not read to its end.
    async fn end<S, B, R>(
        &self,
        form: Form,
        inner: S,
        unread: Unfinished<B>,
        address: Option<IpAddr>,
    ) -> Answered<R, S::Error>
    where
        S: Service<Request<ResponseBody<B>>, Response = Response<R>>,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
        R: Body + Send + 'static,
    {
        if self.settings.reports() && unread.can_go_on {
            self.report(&unread.fault.into(), None, address);
            return body::forward(inner, unread.into_request()).await;
        }
        let answer = self.reject(form, &unread.fault.into());
        Ok(unread.answer(answer).await)
    }

    /// Reads the parameters.
    fn open<B: Body>(&self, parts: Parts, bytes: Bytes, address: Option<IpAddr>) -> Result<Opened<B>, Fault> {
        let reports = self.settings.reports();
        let as_it_came = reports.then(|| Request::from_parts(parts.clone(), ResponseBody::own(bytes.clone())));
        match (parameters::read(self.endpoint, parts, bytes), as_it_came) {
            (Ok((request, seen)), as_it_came) => {
                // A preflight comes from no client.
                let seen = (request.method() != Method::OPTIONS).then(|| Box::new(Seen { address, ..seen }));
                Ok((as_it_came.unwrap_or(request), seen))
            }
            (Err(fault), Some(request)) => {
                self.report(&fault.into(), None, address);
                Ok((request, None))
            }
            (Err(fault), None) => Err(fault),
        }
    }

    /// Decides whether a request may go on. `None` if it goes on although it is rejected, since rejections are only reported.
    async fn decide<'a>(
        &self,
        seen: &'a Seen,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Option<Decided<'a>>, Rejected> {
        let reports = self.settings.reports();
        let admitted = match self.admit(seen).await {
            Ok(admitted) => admitted,
            Err(rejected) if reports => {
                self.report(&rejected, seen.client_id(), seen.address);
                return Ok(None);
            }
            Err(rejected) => return Err(rejected),
        };
        let responses = self.responses(seen, &admitted);
        let (responses, attempt) =
            match responses.and_then(|responses| Ok((responses, self.attempt(seen, headers, extensions)?))) {
                Ok(both) => both,
                Err(fault) if reports => {
                    self.report(&fault.into(), seen.client_id(), seen.address);
                    (None, None)
                }
                Err(fault) => {
                    let event = self.registrar.event(LifecycleAction::Rejected).of_client(seen.client_id());
                    self.emit(event.because(fault.as_str()), seen.address);
                    return Err(fault.into());
                }
            };
        telemetry::gate(self.endpoint.name, "passed");
        Ok(Some(Decided { admitted, responses, attempt }))
    }

    /// Returns the request without the scopes that a rule removes. All other parameters keep their bytes.
    fn narrowed<B: Body>(
        &self,
        request: Request<ResponseBody<B>>,
        seen: &Seen,
        admitted: &Admitted<'_>,
    ) -> Result<Request<ResponseBody<B>>, Fault> {
        let narrowed = admitted.passed.narrowed.as_ref().filter(|_| !self.settings.reports());
        let Some(kept) = narrowed else { return Ok(request) };
        let (mut parts, unchanged) = request.into_parts();
        let too_long =
            Fault::Rule("invalid_scope", "the request is too long to remove the scopes that are not registered");
        parts.uri = rules::scope::in_url(&parts.uri, kept).ok_or(too_long)?;
        let form = str::from_utf8(&seen.body).ok().filter(|form| !form.is_empty() && parts.method == Method::POST);
        let Some(form) = form else { return Ok(Request::from_parts(parts, unchanged)) };
        let form = rules::scope::without_others(form, kept);
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(form.len()));
        Ok(Request::from_parts(parts, ResponseBody::own(form.into())))
    }

    /// Keeps secrets out of caches.
    fn forbid_caching<R>(&self, response: &mut Response<R>) {
        if self.endpoint.holds_secrets {
            // RFC 6749 section 5.1: Cache-Control "with a value of 'no-store' in any response containing tokens".
            let headers = response.headers_mut();
            let is_no_store = |value: &HeaderValue| {
                value.as_bytes().split(|byte| *byte == b',').any(|it| it.trim_ascii().eq_ignore_ascii_case(b"no-store"))
            };
            if !headers.get_all(header::CACHE_CONTROL).iter().any(is_no_store) {
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
            }
        }
    }

    /// Learns from a rejection by the server: about a client that it lost, and about failed attempts to authenticate one.
    async fn learn_from_rejection<R: Body + Send + 'static>(
        &self,
        response: Response<ResponseBody<R>>,
        seen: &Seen,
        admitted: &Admitted<'_>,
        attempt: Option<Attempt>,
    ) -> Response<ResponseBody<R>> {
        let response = flat(self.notice_loss(response, seen, admitted).await);
        match attempt {
            Some(attempt) => flat(self.count_failure(attempt, response).await),
            None => response,
        }
    }

    /// Processes a successful response. Withholds it if an error is returned.
    async fn conclude<R: Body + Send + 'static>(
        &self,
        admitted: Admitted<'_>,
        seen: &Seen,
        response: Response<ResponseBody<R>>,
    ) -> Result<Response<ResponseBody<R>>, Fault> {
        let member = match self.endpoint.success {
            Success::RecordPushed => return Box::pin(self.record_pushed(admitted, response)).await.map(flat),
            Success::RecordUse => "access_token",
            // CIBA section 7.3: the acknowledgement is all that the gate sees of the flow.
            Success::RecordUseInPushMode if admitted.is_in_push_mode() => "auth_req_id",
            Success::RecordUseInPushMode | Success::Pass => return Ok(response),
        };
        let (response, is_use) = grant::holds(response, member).await;
        let response = flat(response);
        if self.is_recorded(&admitted, is_use) {
            return Ok(response);
        }
        match Box::pin(self.record_use(admitted)).await {
            Ok(()) => Ok(response),
            Err(fault) if self.settings.reports() => {
                self.report(&fault.into(), seen.client_id(), seen.address);
                Ok(response)
            }
            // The client has ended since it was checked, and must not get the token.
            Err(fault) => Err(fault),
        }
    }

    /// Reports a rejection that is not enforced.
    fn report(&self, rejected: &Rejected, client_id: Option<&str>, address: Option<IpAddr>) {
        telemetry::gate(self.endpoint.name, "reported");
        let event = self.registrar.event(LifecycleAction::Rejected).of_client(client_id);
        self.emit(event.because(rejected.fault.as_str()).under(rejected.rule).reported(), address);
    }

    fn reject<R: Body>(&self, form: Form, rejected: &Rejected) -> Response<ResponseBody<R>> {
        let is_unavailable = rejected.fault == Fault::Unavailable;
        telemetry::gate(self.endpoint.name, if is_unavailable { "unavailable" } else { "rejected" });
        form.response(rejected)
    }

    /// Emits an event about a request at this endpoint.
    fn emit(&self, event: LifecycleEvent, address: Option<IpAddr>) {
        let source = self.registrar.source_name(address);
        self.registrar.emit_from(&event.coming_from(source).about(self.endpoint.name), address);
    }
}

/// Tells the handler the client, if it is named by the URL of its document.
fn with_client<B>(mut request: Request<B>, admitted: &Admitted<'_>) -> Request<B> {
    if let Some(client) = &admitted.document {
        request.extensions_mut().insert(client.clone());
    }
    request
}

fn flat<R: Body>(response: Response<ResponseBody<ResponseBody<R>>>) -> Response<ResponseBody<R>> {
    response.map(ResponseBody::flatten)
}
