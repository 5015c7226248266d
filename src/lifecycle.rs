//! [`LifecycleLayer`]: writes every registration into a ledger, and recognises repeats.
//!
//! The layer stands on the registration route, inside of the guards and outside of the [`AnswerLayer`](crate::AnswerLayer)
//! (what that one takes out of an answer is not to be kept). What it does:
//!
//! 1. `POST`: what is about to be forwarded is written down **before** the handler is called, so that a client which hangs
//!    up, a crash or a failing handler leaves a record that says so. If an equal registration of a public client is in the
//!    ledger, its answer is given out again and the handler is not called; if an equal one is just being made, by whatever
//!    node, that answer is waited for. What was revoked is refused.
//! 2. The handler's answer is read (200 or 201, with or without an echo of the metadata) and written down **before** it
//!    goes out: nobody holds a `client_id` that the ledger does not know. An answer that holds a secret or a registration
//!    access token is never given out twice, and what is secret in it is not kept.
//! 3. `PUT`, `GET` and `DELETE` (RFC 7592) of a client that has expired or was revoked are answered with 401, as
//!    section 2.1 has it. A `PUT` that the handler accepts changes the record; a `DELETE` ends it. A `PUT` of a client that
//!    the ledger does not know is forwarded and recorded, or answered with 401 if clients need approval, unless
//!    [unknown clients may be managed](Registrar::manage_unknown).
//! 4. If the ledger can't be used, a registration is answered with 503 and `Retry-After`;
//!    [`danger_register_without_ledger`](LifecycleLayer::danger_register_without_ledger) changes that.
//!
//! A registration that no guard has checked is answered with 500: there would be nothing to write down that the handler
//! is sure to read as well. What a guard only observes (report-only) passes unrecorded.
//!
//! ```
//! # use bytes::Bytes;
//! # use http::{Request, Response, StatusCode};
//! # use http_body_util::{BodyExt, Full};
//! # use tower::{ServiceBuilder, ServiceExt, service_fn};
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! # runtime.block_on(async {
//! # let post = |body: &'static str| {
//! #     let request = Request::post("/register").header("content-type", "application/json");
//! #     request.body(Full::<Bytes>::from(body)).unwrap()
//! # };
//! use std::convert::Infallible;
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use tower_dcr::ledger::{Actor, MemoryLedger};
//! use tower_dcr::policy::MetadataAllowlist;
//! use tower_dcr::registrar::{Registrar, Revocation};
//! use tower_dcr::{GuardLayer, LifecycleLayer, RegistrationBody};
//!
//! // A handler that makes a new client each time it is called.
//! static MADE: AtomicU32 = AtomicU32::new(0);
//! let handler = service_fn(async |_: Request<RegistrationBody>| {
//!     let id = MADE.fetch_add(1, Ordering::Relaxed);
//!     Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(format!(r#"{{"client_id":"client-{id}"}}"#))))
//! });
//! let registrar = Registrar::new(MemoryLedger::default());
//! let register = ServiceBuilder::new()
//!     .layer(GuardLayer::new(MetadataAllowlist::mcp()))
//!     .layer(LifecycleLayer::new(registrar.clone()))
//!     .service(handler);
//!
//! let body = r#"{"client_name":"App","redirect_uris":["http://localhost/cb"]}"#;
//! for _ in 0..2 {
//!     let answer = register.clone().oneshot(post(body)).await.unwrap();
//!     assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), r#"{"client_id":"client-0"}"#);
//! }
//!
//! let alice = Actor::Operator("alice".into());
//! registrar.revoke(Revocation::client("client-0", alice, "imitates another application")).await.unwrap();
//! let refused = register.oneshot(post(body)).await.unwrap();
//! assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
//! # });
//! ```

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Extensions, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::body::{
    self, ANSWER_LIMITS, AnswerFuture, ReadAnswer, RegistrationBody, ResponseBody, ResponseFuture, Unchanged,
};
use crate::client_address::ClientAddress;
use crate::client_url::{ClientUrl, UrlTarget};
use crate::event::{CostsLikeRegistration, RegisteredClient, Repeated, Unanswerable};
use crate::ledger::{Answer, LedgerError};
use crate::method::MethodKind;
use crate::policy::{Caller, Facts};
use crate::registrar::{
    self, Admission, ChangeIntent, Completion, Intent, RULE, Refusal, Registrar, Requester, ServerAnswer,
};
use crate::registration::{Field, Registration};
use crate::rejection::{ErrorCode, Rejection};

/// Keeps the ledger of a registration endpoint. See the [module docs](self).
///
/// ```
/// use tower_dcr::LifecycleLayer;
/// use tower_dcr::client_address::ClientAddress;
/// use tower_dcr::ledger::MemoryLedger;
/// use tower_dcr::registrar::Registrar;
///
/// let layer = LifecycleLayer::new(Registrar::new(MemoryLedger::default())).with_client_address(ClientAddress::new());
/// # let _ = layer;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct LifecycleLayer {
    /// Nothing is kept without.
    config: Option<Arc<Config>>,
}

#[derive(Clone)]
struct Config {
    registrar: Registrar,
    address: ClientAddress,
    /// The default one, if it was not set.
    client_url: Option<ClientUrl>,
    register_without_ledger: bool,
}

/// When to come back if the ledger is down.
const RETRY_AFTER: Duration = Duration::from_secs(5);

impl LifecycleLayer {
    /// Writes into the ledger of `registrar`.
    pub fn new(registrar: Registrar) -> Self {
        let config =
            Config { registrar, address: ClientAddress::new(), client_url: None, register_without_ledger: false };
        Self { config: Some(Arc::new(config)) }
    }

    /// Keeps nothing: what the presets have until they are given a registrar.
    pub(crate) fn off() -> Self {
        Self { config: None }
    }

    pub(crate) fn registrar(&self) -> Option<Registrar> {
        self.config.as_ref().map(|config| config.registrar.clone())
    }

    /// How URLs name clients, if it was set.
    pub(crate) fn client_url(&self) -> Option<&ClientUrl> {
        self.config.as_ref()?.client_url.as_ref()
    }

    pub(crate) fn map_registrar(self, map: impl FnOnce(Registrar) -> Registrar) -> Self {
        self.change(|config| config.registrar = map(config.registrar.clone()))
    }

    fn change(mut self, change: impl FnOnce(&mut Config)) -> Self {
        self.config.as_mut().map(Arc::make_mut).map(change);
        self
    }

    /// How the address of a client is found; records keep its networks, so that they can be blocked.
    pub fn with_client_address(self, address: ClientAddress) -> Self {
        self.change(|config| config.address = address)
    }

    /// Sets how URLs of RFC 7592 name their client (default: [`ClientUrl::new`]). It must be the handler's way: a client that
    /// may manage itself could otherwise name another one here. All layers of a route need the same; a preset that is given
    /// this layer hands it to all of them.
    pub fn with_client_url(self, client_url: ClientUrl) -> Self {
        self.change(|config| config.client_url = Some(client_url))
    }

    /// Registers clients while the ledger can't be used. Whoever manages to slow the ledger down can then register what
    /// was revoked, and nobody finds it: such clients appear at the token endpoint as registered elsewhere, if at all.
    pub fn danger_register_without_ledger(self) -> Self {
        self.change(|config| config.register_without_ledger = true)
    }
}

impl<S> Layer<S> for LifecycleLayer {
    type Service = Lifecycle<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Lifecycle { inner, config: self.config.clone() }
    }
}

/// The service that [`LifecycleLayer`] makes.
///
/// ```
/// use tower_dcr::LifecycleLayer;
/// use tower_dcr::ledger::MemoryLedger;
/// use tower_dcr::lifecycle::Lifecycle;
/// use tower_dcr::registrar::Registrar;
/// use tower_layer::Layer;
///
/// fn recorded<S>(handler: S) -> Lifecycle<S> {
///     LifecycleLayer::new(Registrar::new(MemoryLedger::default())).layer(handler)
/// }
/// # let _ = recorded(());
/// ```
#[derive(Clone, Debug)]
pub struct Lifecycle<S> {
    inner: S,
    config: Option<Arc<Config>>,
}

impl<S, B, R> Service<Request<B>> for Lifecycle<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    B: Send + 'static,
    R: Body + Send + 'static,
    R::Data: Send,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = AnswerFuture<S::Future, Unchanged, R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(config) = self.config.clone() else { return AnswerFuture::new(self.inner.call(request), Unchanged) };
        // The clone has not been polled ready; the service that has is the one to call.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        let kind = MethodKind::of(request.method());
        let recorded = match kind {
            MethodKind::Create | MethodKind::Update => match Checked::of(&request) {
                Checked::Registration(registration, facts) if kind == MethodKind::Create => {
                    ResponseFuture::new(config.register(inner, request, registration, facts))
                }
                Checked::Registration(registration, facts) => {
                    ResponseFuture::new(config.change(inner, request, registration, facts))
                }
                Checked::Passed => ResponseFuture::new(forward(inner, request)),
                Checked::No => return AnswerFuture::answered(unguarded()),
            },
            MethodKind::Delete => ResponseFuture::new(config.delete(inner, request)),
            MethodKind::Read => ResponseFuture::new(config.read(inner, request)),
            // The service that was polled ready is in there, and nothing is awaited before it.
            MethodKind::Options | MethodKind::Other => ResponseFuture::new(forward(inner, request)),
        };
        AnswerFuture::finishing(recorded)
    }
}

type Answered<R, E> = Result<Response<ResponseBody<R>>, E>;

async fn forward<S, B, R>(mut inner: S, request: Request<B>) -> Answered<R, S::Error>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    Ok(inner.call(request).await?.map(ResponseBody::inner))
}

/// What a guard has made of the body.
enum Checked {
    Registration(Arc<Registration>, Facts),
    /// A guard that only observes let it pass.
    Passed,
    /// There is no guard.
    No,
}

impl Checked {
    fn of<B: 'static>(request: &Request<B>) -> Self {
        match RegistrationBody::downcast_ref(request.body()) {
            None => Self::No,
            Some(body) => body.share().map_or(Self::Passed, |registration| {
                Self::Registration(registration, body.facts().cloned().unwrap_or_default())
            }),
        }
    }
}

impl Config {
    async fn register<S, B, R>(
        self: Arc<Self>,
        mut inner: S,
        request: Request<B>,
        registration: Arc<Registration>,
        facts: Facts,
    ) -> Answered<R, S::Error>
    where
        S: Service<Request<B>, Response = Response<R>>,
        R: Body,
    {
        let requester = self.requester(request.headers(), request.extensions(), facts);
        let intent = match self.registrar.admit(&registration, requester).await {
            Ok(Admission::Ask(intent)) => intent,
            Ok(Admission::Repeat(client)) => return Ok(repeat(client.client_id, client.answer, &registration)),
            Err(refusal) => return self.refuse_or(refusal, || forward(inner, request)).await,
        };
        // Whoever takes the document over further in need not copy it.
        drop(registration);
        match inner.call(request).await {
            Ok(response) => Ok(self.record(*intent, response).await),
            Err(error) => {
                settle(intent.fail("the handler failed").await);
                Err(error)
            }
        }
    }

    /// Writes the handler's answer down, and lets it out.
    async fn record<R: Body>(&self, intent: Intent, response: Response<R>) -> Response<ResponseBody<R>> {
        if !response.status().is_success() {
            let reason = match response.extensions().get::<Rejection>() {
                Some(rejection) => rejection.description(),
                None => format!("the server answered {}", response.status().as_u16()),
            };
            settle(intent.fail(&reason).await);
            return response.map(ResponseBody::inner);
        }
        let status = response.status();
        let Some((response, Some(document))) = read(response).await else {
            settle(intent.fail("the server's answer could not be read").await);
            return unreadable();
        };
        let (document, bytes) = document;
        if let Err(detail) = body::issued_client_id(&document) {
            let rejection = Rejection::new(ErrorCode::BadGateway, RULE, detail).with_field(Field::CLIENT_ID.name());
            settle(intent.fail(&rejection.description()).await);
            return body::refuse(rejection);
        }
        let body = str::from_utf8(&bytes).unwrap_or_default();
        let answer = ServerAnswer { status: status.as_u16(), document: &document, body };
        match intent.complete(&answer).await {
            Ok(Completion::Recorded) => response,
            Ok(Completion::Revoked) => body::refuse(registrar::blocked()),
            Ok(Completion::Conflict) => body::refuse(registrar::conflict()),
            Err(error) => {
                let client_id = document.string_at(Field::CLIENT_ID).unwrap_or_default();
                error.log();
                tracing::error!(target: "tower_dcr::lifecycle", ?client_id, "a client could not be recorded");
                if self.registers_without_ledger() { response } else { body::refuse(unavailable()) }
            }
        }
    }

    async fn change<S, B, R>(
        self: Arc<Self>,
        mut inner: S,
        request: Request<B>,
        registration: Arc<Registration>,
        facts: Facts,
    ) -> Answered<R, S::Error>
    where
        S: Service<Request<B>, Response = Response<R>>,
        B: 'static,
        R: Body,
    {
        let requester = self.requester(request.headers(), request.extensions(), facts);
        let managed = match self.managed(&request) {
            Ok(Some(id)) => id,
            // A guard that reads URLs in another way has let it pass.
            Ok(None) => return Ok(unguarded()),
            Err(rejection) => return Ok(body::refuse(rejection)),
        };
        let intent = match self.registrar.admit_change(&managed, &registration, &requester).await {
            Ok(intent) => intent,
            Err(refusal) => return self.refuse_or(refusal, || forward(inner, request)).await,
        };
        drop(registration);
        let response = inner.call(request).await?;
        // A success that can't go out as one is a change all the same.
        if !response.status().is_success() && response.extensions().get::<Unanswerable>().is_none() {
            return Ok(response.map(ResponseBody::inner));
        }
        let is_new = intent.is_new();
        let mut response = self.record_change(intent, response).await;
        if is_new {
            response.extensions_mut().insert(CostsLikeRegistration);
        }
        Ok(response)
    }

    async fn record_change<R: Body>(&self, intent: ChangeIntent, response: Response<R>) -> Response<ResponseBody<R>> {
        let status = response.status().as_u16();
        let is_withheld = response.extensions().get::<Unanswerable>().is_some();
        let Some((response, document)) = read(response).await else { return unreadable() };
        let document = document.filter(|_| response.status().is_success());
        // A success proves a change only if it is about the client (RFC 7592 section 3): anybody can send a PUT, and a server
        // may have a page for everything.
        let is_about_client =
            document.as_ref().is_some_and(|(document, _)| document.string_at(Field::CLIENT_ID) == Some(intent.id()));
        if !is_about_client && !is_withheld {
            return if document.is_some() { unreadable() } else { response };
        }
        let answer = document.as_ref().map(|(document, bytes)| ServerAnswer {
            status,
            document,
            body: str::from_utf8(bytes).unwrap_or_default(),
        });
        match self.registrar.changed(intent, answer.as_ref()).await {
            Ok(()) => response,
            Err(Refusal::Rejected(rejection)) => body::refuse(rejection),
            Err(Refusal::Ledger(error)) => {
                error.log();
                if self.registers_without_ledger() { response } else { body::refuse(unavailable()) }
            }
        }
    }

    async fn read<S, B, R>(self: Arc<Self>, inner: S, request: Request<B>) -> Answered<R, S::Error>
    where
        S: Service<Request<B>, Response = Response<R>>,
        B: 'static,
    {
        let id = match self.managed(&request) {
            Ok(id) => id,
            Err(rejection) => return Ok(body::refuse(rejection)),
        };
        match self.may_manage(id.as_deref()).await {
            Ok(()) => forward(inner, request).await,
            Err(refusal) => self.refuse_or(refusal, || forward(inner, request)).await,
        }
    }

    async fn delete<S, B, R>(self: Arc<Self>, mut inner: S, request: Request<B>) -> Answered<R, S::Error>
    where
        S: Service<Request<B>, Response = Response<R>>,
        B: 'static,
        R: Body,
    {
        let id = match self.managed(&request) {
            Ok(id) => id,
            Err(rejection) => return Ok(body::refuse(rejection)),
        };
        if let Err(refusal) = self.may_manage(id.as_deref()).await {
            return self.refuse_or(refusal, || forward(inner, request)).await;
        }
        let response = inner.call(request).await?.map(ResponseBody::inner);
        // RFC 7592 section 2.3: a deletion is answered with 204. A page for everything has deleted nothing.
        let is_deleted = response.status() == StatusCode::NO_CONTENT;
        let Some(id) = id.filter(|_| is_deleted) else { return Ok(response) };
        Ok(match self.registrar.deleted(&id).await {
            Ok(()) => response,
            Err(error) => {
                // The server has deleted it; the record expires by itself.
                error.log();
                response
            }
        })
    }

    /// A policy file has the last word.
    fn registers_without_ledger(&self) -> bool {
        self.registrar.settings().danger_register_without_ledger.unwrap_or(self.register_without_ledger)
    }

    /// The client that the URL is about; `None` for the registration route.
    fn managed<B: 'static>(&self, request: &Request<B>) -> Result<Option<String>, Rejection> {
        let default = ClientUrl::new();
        let urls = self.client_url.as_ref().unwrap_or(&default);
        match urls.check(request.method(), request.uri()) {
            Ok(UrlTarget::Client(id)) => Ok(Some(id)),
            Ok(UrlTarget::Registration | UrlTarget::Unreadable) => Ok(None),
            // A guard that only observes lets all URLs pass.
            Err(_) if RegistrationBody::downcast_ref(request.body()).is_some_and(RegistrationBody::is_passed) => {
                Ok(None)
            }
            Err(rejection) => Err(rejection),
        }
    }

    async fn may_manage(&self, id: Option<&str>) -> Result<(), Refusal> {
        match id {
            Some(id) => self.registrar.may_manage(id).await.map(drop),
            None => Ok(()),
        }
    }

    fn requester(&self, headers: &http::HeaderMap, extensions: &Extensions, facts: Facts) -> Requester {
        Requester {
            address: self.address.resolve(headers, extensions),
            caller: extensions.get::<Caller>().cloned().unwrap_or_default(),
            identity: facts.identity.map(Arc::unwrap_or_clone),
            policy: facts.policy,
        }
    }

    /// Refuses, or goes on without the ledger where that was asked for.
    async fn refuse_or<R, E, A>(&self, refusal: Refusal, go_on: impl FnOnce() -> A) -> Answered<R, E>
    where
        A: Future<Output = Answered<R, E>>,
    {
        match refusal {
            Refusal::Rejected(rejection) => Ok(body::refuse(rejection)),
            Refusal::Ledger(error) => {
                error.log();
                if self.registers_without_ledger() { go_on().await } else { Ok(body::refuse(unavailable())) }
            }
        }
    }
}

/// A record that could not be settled is settled later, by its age.
fn settle(settled: Result<(), LedgerError>) {
    if let Err(error) = settled {
        error.log();
    }
}

/// Takes the answer's body out and puts its bytes back; with the document, if it is one. Nothing if it is too long or
/// broken off.
async fn read<R: Body>(response: Response<R>) -> Option<(Response<ResponseBody<R>>, Option<(Registration, Bytes)>)> {
    let (mut parts, body) = response.into_parts();
    let ReadAnswer::Complete(bytes) = body::read_answer(body).await else { return None };
    let document = Registration::parse_with(&bytes, &ANSWER_LIMITS).ok().map(|document| (document, bytes.clone()));
    if let Some((document, _)) = &document {
        parts.extensions.get_or_insert_with(|| RegisteredClient::of(document));
    }
    Some((Response::from_parts(parts, ResponseBody::own(bytes)), document))
}

/// The earlier answer, once more, with the redirect URIs of this request.
fn repeat<R>(
    client_id: Option<String>,
    answer: Option<Answer>,
    registration: &Registration,
) -> Response<ResponseBody<R>> {
    let Some(answer) = answer else { return body::refuse(unavailable()) };
    let bytes = Bytes::from(echoing(answer.body, registration));
    let length = HeaderValue::from(bytes.len());
    let mut response = Response::new(ResponseBody::own(bytes));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::CREATED);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CONTENT_LENGTH, length);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    body::forbid_storing(response.headers_mut());
    response.extensions_mut().insert(RegisteredClient(client_id));
    response.extensions_mut().insert(Repeated);
    response
}

/// The body of an answer, in which the redirect URIs are those that were sent: where loopback ports don't count, the first
/// who registered had others, and a client may compare what it reads (RFC 7591 section 3.2.1).
fn echoing(body: String, registration: &Registration) -> String {
    let Ok(serde_json::Value::Object(mut document)) = serde_json::from_str(&body) else { return body };
    let sent: Vec<&str> = registration.redirect_uris().collect();
    let differs = |echoed: &Vec<serde_json::Value>| {
        // A server that took fewer of them is not contradicted.
        echoed.len() == sent.len() && echoed.iter().map(serde_json::Value::as_str).ne(sent.iter().copied().map(Some))
    };
    match document.get_mut("redirect_uris") {
        Some(serde_json::Value::Array(echoed)) if differs(echoed) => {
            *echoed = sent.iter().copied().map(serde_json::Value::from).collect();
        }
        _ => return body,
    }
    serde_json::to_string(&document).unwrap_or(body)
}

fn unguarded<R>() -> Response<ResponseBody<R>> {
    tracing::error!(target: "tower_dcr::lifecycle", "LifecycleLayer needs a GuardLayer outside of it");
    body::refuse(Rejection::new(ErrorCode::ServerError, RULE, "this server is not set up to register clients"))
}

fn unreadable<R>() -> Response<ResponseBody<R>> {
    body::refuse(Rejection::new(ErrorCode::BadGateway, RULE, "the server's answer could not be read"))
}

fn unavailable() -> Rejection {
    let detail = "clients can't be registered now; try again later";
    Rejection::new(ErrorCode::TemporarilyUnavailable, RULE, detail).with_retry_after(RETRY_AFTER)
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("registrar", &self.registrar).finish_non_exhaustive()
    }
}
