//! [`LifecycleLayer`]: records every registration in a ledger, and deduplicates registrations.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

use crate::audit::{CostsLikeRegistration, Unanswerable};
use crate::client_address::ClientAddress;
use crate::client_url::{ClientUrl, UrlTarget};
use crate::clients::ledger::LedgerError;
use crate::clients::registrar::{
    self, Admission, ChangeIntent, Completion, Failure, Intent, RULE, Registrar, Requester,
};
use crate::layers::body::{self, Answered, RegistrationBody, ResponseBody, ResponseFuture, Unchanged};
use crate::layers::layered::Layered;
use crate::method::MethodKind;
use crate::rate_limit::budgets::Ticket;
use crate::registration::{Field, Registration};
use crate::rules::{Caller, ErrorCode, Evaluation, Operation, Rejection};
use crate::text;

mod answer;

use answer::Answer;

/// Records every registration in a ledger, and deduplicates registrations.
///
/// The layer stands on the registration route, inside of the policy layers and outside of the
/// [`ResponseLayer`](crate::layers::ResponseLayer) (members that it removes from a response must not be stored).
///
/// 1. `POST`: the registration is recorded **before** the handler is called, so that a client which hangs up, a crash
///    or a failing handler leaves a record that says so. If an equal registration of a public client is in the ledger,
///    the stored response is returned and the handler is not called; if an equal one is being made at the same time, on
///    any node, its response is awaited. A revoked registration is rejected.
/// 2. The handler's response is read (200 or 201, with or without an echo of the metadata) and recorded **before** it
///    goes out: no client holds a `client_id` that the ledger does not know. A response that holds a secret or a
///    registration access token is never returned twice, and its secrets are not stored.
/// 3. `PUT`, `GET` and `DELETE` (RFC 7592) of a client that has expired or was revoked are answered with 401, as
///    section 2.1 requires. A `PUT` that the handler accepts changes the record, and ends an approval of the changed
///    parts; a `DELETE` ends it. A `PUT` of a client that the ledger does not know is forwarded and recorded, or
///    answered with 401 if clients need approval, unless [unknown clients may be managed](crate::clients::LifecycleSettings::manage_unknown).
/// 4. If the ledger is unavailable, a registration is answered with 503 and `Retry-After`;
///    [`danger_register_without_ledger`](crate::clients::LifecycleSettings::danger_register_without_ledger) changes that.
///
/// A registration that no policy layer has checked is answered with 500: the record and the handler's reading could
/// differ. A registration that passed in report-only mode is not recorded.
///
/// In [report-only mode](crate::clients::LifecycleSettings::report_only) it records registrations as far as it can, and passes the others;
/// a finding in the audit event (`enforced: false`) says what would have been rejected. Only a response of the handler that
/// can't be read, and a request that no policy layer has checked, are still answered with an error.
///
/// ```
/// # use bytes::Bytes;
/// # use http::{Request, Response, StatusCode};
/// # use http_body_util::{BodyExt, Full};
/// # use tower::{ServiceBuilder, ServiceExt, service_fn};
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// # let post = |body: &'static str| {
/// #     let request = Request::post("/register").header("content-type", "application/json");
/// #     request.body(Full::<Bytes>::from(body)).unwrap()
/// # };
/// use std::convert::Infallible;
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use tower_dcr::clients::{Actor, MemoryLedger, Registrar, Revocation};
/// use tower_dcr::layers::{LifecycleLayer, PolicyLayer, RegistrationBody};
/// use tower_dcr::rules::MetadataAllowlist;
///
/// // A handler that makes a new client each time it is called.
/// static MADE: AtomicU32 = AtomicU32::new(0);
/// let handler = service_fn(async |_: Request<RegistrationBody>| {
///     let id = MADE.fetch_add(1, Ordering::Relaxed);
///     Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(format!(r#"{{"client_id":"client-{id}"}}"#))))
/// });
/// let registrar = Registrar::new(MemoryLedger::default());
/// let register = ServiceBuilder::new()
///     .layer(PolicyLayer::new(MetadataAllowlist::mcp()))
///     .layer(LifecycleLayer::new(registrar.clone()))
///     .service(handler);
///
/// let body = r#"{"client_name":"App","redirect_uris":["http://localhost/cb"]}"#;
/// for _ in 0..2 {
///     let answer = register.clone().oneshot(post(body)).await.unwrap();
///     assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), r#"{"client_id":"client-0"}"#);
/// }
///
/// let alice = Actor::Operator("alice".into());
/// registrar.revoke(Revocation::client("client-0", alice, "imitates another application")).await.unwrap();
/// let rejected = register.oneshot(post(body)).await.unwrap();
/// assert_eq!(rejected.status(), StatusCode::BAD_REQUEST);
/// # });
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct LifecycleLayer {
    /// `None` if nothing is recorded.
    config: Option<Arc<Config>>,
}

#[derive(Clone)]
struct Config {
    registrar: Registrar,
    address: ClientAddress,
    client_url: ClientUrl,
    report_only: bool,
}

text::debug_fields!(Config { registrar });

impl LifecycleLayer {
    /// Creates a layer that records clients in the ledger of `registrar`.
    pub fn new(registrar: Registrar) -> Self {
        let config =
            Config { registrar, address: ClientAddress::new(), client_url: ClientUrl::default(), report_only: false };
        Self { config: Some(Arc::new(config)) }
    }

    /// Creates a layer that records nothing: the default of presets without a registrar.
    pub(crate) fn off() -> Self {
        Self { config: None }
    }

    pub(crate) fn registrar(&self) -> Option<Registrar> {
        self.config.as_ref().map(|config| config.registrar.clone())
    }

    pub(crate) fn map_registrar(self, map: impl FnOnce(Registrar) -> Registrar) -> Self {
        self.change(|config| config.registrar = map(config.registrar.clone()))
    }

    fn change(mut self, change: impl FnOnce(&mut Config)) -> Self {
        self.config.as_mut().map(Arc::make_mut).map(change);
        self
    }

    /// Sets the source of a client's address; records store its networks, so that they can be blocked (default:
    /// [`ClientAddress::new`]).
    pub fn with_client_address(self, address: ClientAddress) -> Self {
        self.change(|config| config.address = address)
    }

    /// Sets the rules by which URLs of RFC 7592 name their client (default: [`ClientUrl::default`]). They must match the
    /// handler's: a client that may manage itself could otherwise name another one here. All layers of a route need the
    /// same.
    pub fn with_client_url(self, client_url: ClientUrl) -> Self {
        self.change(|config| config.client_url = client_url)
    }

    /// Passes every request that would be rejected here, unrecorded, unless the settings of the registrar say otherwise.
    pub(crate) fn report_only(self) -> Self {
        self.change(|config| config.report_only = true)
    }
}

impl<S, B, R> Service<Request<B>> for Layered<LifecycleLayer, S>
where
    S: Service<Request<B>, Response = Response<R>, Future: Send, Error: Send + 'static> + Clone + Send + 'static,
    B: Send + 'static,
    R: Body<Data: Send> + Send + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<R, S::Error, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(config) = self.layer.config.clone() else {
            return ResponseFuture::new(self.inner.call(request), Unchanged);
        };
        let inner = self.take_ready();
        let sent = RegistrationBody::downcast_ref(request.body()).map(|body| config.sent(body, &request));
        match (MethodKind::of(request.method()), sent) {
            (MethodKind::Create | MethodKind::Update, None) => ResponseFuture::boxed(async { Ok(unchecked()) }),
            (MethodKind::Create, Some(Some(sent))) => ResponseFuture::boxed(config.register(inner, request, sent)),
            (MethodKind::Update, Some(Some(sent))) => ResponseFuture::boxed(config.change(inner, request, sent)),
            (MethodKind::Read | MethodKind::Delete, _) => ResponseFuture::boxed(config.manage(inner, request)),
            // The document was passed by a policy layer in report-only mode, or there is none. The service that was
            // polled ready is in there, and nothing is awaited before it.
            (_, _) => ResponseFuture::boxed(body::forward(inner, request)),
        }
    }
}

/// A registration that the policy layers have checked, and its sender.
struct Sent {
    registration: Arc<Registration>,
    requester: Requester,
}

impl Config {
    fn sent<B>(&self, body: &RegistrationBody, request: &Request<B>) -> Option<Sent> {
        let (registration, facts) = body.share()?;
        let (facts, extensions) = (facts.clone(), request.extensions());
        let requester = Requester {
            address: self.address.resolve(request.headers(), extensions),
            caller: extensions.get::<Caller>().cloned().unwrap_or_default(),
            identity: facts.identity.map(Arc::unwrap_or_clone),
            statement_issuer: facts.statement.map(|statement| statement.issuer.clone()),
            policy: facts.policy,
            held: facts.held.map(|rejection| rejection.description()),
            unless_repeated: extensions.get::<Ticket>().and_then(Ticket::unless_repeated).cloned(),
        };
        Some(Sent { registration, requester })
    }

    async fn register<S, B, R>(self: Arc<Self>, mut inner: S, request: Request<B>, sent: Sent) -> Answered<R, S::Error>
    where
        S: Service<Request<B>, Response = Response<R>>,
        R: Body,
    {
        let Sent { registration, requester } = sent;
        let (unless_repeated, is_held) = (requester.unless_repeated.clone(), requester.held.is_some());
        let intent = match self.registrar.admit(&registration, requester).await {
            Ok(Admission::Ask(intent)) => intent,
            Ok(Admission::Deduplicated(client)) => return Ok(answer::repeat(*client, &registration)),
            Err(error) if is_held => return Ok(body::reject(self.of_held(error.unless_repeated(unless_repeated)))),
            Err(error) => return self.reject_or_forward(error.unless_repeated(unless_repeated), inner, request).await,
        };
        // Drops the shared reference, so that a layer further in need not copy the document.
        drop(registration);
        match inner.call(request).await {
            Ok(response) => Ok(self.record(*intent, response).await),
            Err(error) => {
                log_error(intent.fail("the handler failed").await);
                Err(error)
            }
        }
    }

    /// Records the handler's response, and returns it.
    async fn record<R: Body>(&self, intent: Intent, response: Response<R>) -> Response<ResponseBody<R>> {
        let is_held = intent.is_held();
        if !response.status().is_success() {
            let reason = match response.extensions().get::<Rejection>() {
                Some(rejection) => rejection.description(),
                None => format!("the server answered {}", response.status().as_u16()),
            };
            log_error(intent.fail(&reason).await);
            return response.map(ResponseBody::inner);
        }
        let Some((response, Some(answer))) = answer::read(response).await else {
            log_error(intent.fail("the server's answer could not be read").await);
            return body::reject(body::unreadable(RULE));
        };
        if let Err(detail) = body::issued_client_id(&answer.document) {
            let rejection = Rejection::new(ErrorCode::BadGateway, RULE, detail).with_field(Field::CLIENT_ID.name());
            log_error(intent.fail(&rejection.description()).await);
            return if is_held { body::reject(rejection) } else { self.reject(Operation::Create, rejection, response) };
        }
        match intent.complete(&answer.as_recorded()).await {
            Ok(Completion::Recorded) => answer::awaiting_approval(response, is_held || self.registrar.needs_approval()),
            Ok(Completion::Revoked) if is_held => body::reject(registrar::blocked()),
            Ok(Completion::Conflict) if is_held => body::reject(registrar::conflict()),
            Err(error) if is_held => body::reject(self.of_held(error.into())),
            Ok(Completion::Revoked) => self.reject(Operation::Create, registrar::blocked(), response),
            Ok(Completion::Conflict) => self.reject(Operation::Create, registrar::conflict(), response),
            Err(error) => {
                let client_id = answer.client_id().unwrap_or_default();
                tracing::error!(target: "tower_dcr::lifecycle", ?client_id, "client not recorded; its registration is answered with 503 unless `danger_register_without_ledger` is set");
                self.reject(Operation::Create, error, response)
            }
        }
    }

    async fn change<S, B, R>(self: Arc<Self>, mut inner: S, request: Request<B>, sent: Sent) -> Answered<R, S::Error>
    where
        S: Service<Request<B>, Response = Response<R>>,
        B: 'static,
        R: Body,
    {
        let Sent { registration, requester } = sent;
        let managed = match self.managed(&request) {
            Ok(Some(id)) => id,
            // A policy layer with other rules for URLs has let it pass.
            Ok(None) => return Ok(unchecked()),
            Err(rejection) => return self.reject_or_forward(rejection.into(), inner, request).await,
        };
        let admitted = self.registrar.admit_change(&managed, &registration, &requester).await;
        let unless_repeated = requester.unless_repeated;
        let intent = match admitted {
            Ok(intent) => intent,
            Err(error) => return self.reject_or_forward(error.unless_repeated(unless_repeated), inner, request).await,
        };
        let is_new = intent.is_new();
        if let Some(rejection) = unless_repeated.filter(|_| is_new) {
            return Ok(body::reject(rejection));
        }
        drop(registration);
        let response = inner.call(request).await?;
        // A success that can't go out as one is still a change.
        if !response.status().is_success() && response.extensions().get::<Unanswerable>().is_none() {
            return Ok(response.map(ResponseBody::inner));
        }
        let mut response = self.record_change(intent, response).await;
        if is_new {
            response.extensions_mut().insert(CostsLikeRegistration);
        }
        Ok(response)
    }

    async fn record_change<R: Body>(&self, intent: ChangeIntent, response: Response<R>) -> Response<ResponseBody<R>> {
        let is_withheld = response.extensions().get::<Unanswerable>().is_some();
        let Some((response, answer)) = answer::read(response).await else {
            return body::reject(body::unreadable(RULE));
        };
        let answer = answer.filter(|_| response.status().is_success());
        // A success proves a change only if it names the client (RFC 7592 section 3): any caller can send a PUT, and a
        // server may have a generic page for all requests.
        let is_about_client = answer.as_ref().is_some_and(|answer| answer.client_id() == Some(intent.id()));
        if !is_about_client && !is_withheld {
            let Some(_) = answer else { return response };
            return self.reject(Operation::Update, body::unreadable(RULE), response);
        }
        match self.registrar.changed(intent, answer.as_ref().map(Answer::as_recorded).as_ref()).await {
            Ok(()) => response,
            Err(error) => self.reject(Operation::Update, error, response),
        }
    }

    /// Forwards a read or a deletion, and records that a client has deleted itself.
    async fn manage<S, B, R>(self: Arc<Self>, inner: S, request: Request<B>) -> Answered<R, S::Error>
    where
        S: Service<Request<B>, Response = Response<R>>,
        B: 'static,
        R: Body,
    {
        let managed = self.managed(&request);
        let allowed = match &managed {
            Ok(Some(id)) => self.registrar.may_manage(id).await.map(drop),
            Ok(None) => Ok(()),
            Err(rejection) => Err(rejection.clone().into()),
        };
        if let Err(error) = allowed {
            return self.reject_or_forward(error, inner, request).await;
        }
        let id = managed.ok().flatten().filter(|_| request.method() == Method::DELETE);
        let response = body::forward(inner, request).await?;
        // RFC 7592 section 2.3: a deletion is answered with 204. A generic page has deleted nothing.
        if let Some(id) = id.filter(|_| response.status() == StatusCode::NO_CONTENT) {
            // If this can't be recorded, the record expires by itself.
            log_error(self.registrar.deleted(&id).await);
        }
        Ok(response)
    }

    /// Returns the client that the URL is about; `None` for the registration route.
    fn managed<B: 'static>(&self, request: &Request<B>) -> Result<Option<String>, Rejection> {
        match self.client_url.check(request.method(), request.uri()) {
            Ok(UrlTarget::Client(id)) => Ok(Some(id)),
            Ok(UrlTarget::Registration | UrlTarget::Unreadable) => Ok(None),
            // A policy layer in report-only mode passes all URLs.
            Err(_) if RegistrationBody::downcast_ref(request.body()).is_some_and(RegistrationBody::is_passed) => {
                Ok(None)
            }
            Err(rejection) => Err(rejection),
        }
    }

    /// Rejects, or goes on without the ledger if that is allowed or the rejection is only reported.
    async fn reject_or_forward<S, B, R>(&self, error: Failure, inner: S, request: Request<B>) -> Answered<R, S::Error>
    where
        S: Service<Request<B>, Response = Response<R>>,
        R: Body,
    {
        let Some(rejection) = self.rejection(error) else { return body::forward(inner, request).await };
        // A spent budget is enforced by the limiter, which has a switch of its own.
        if !self.reports() || rejection.code == ErrorCode::TooManyRequests {
            return Ok(body::reject(rejection));
        }
        body::forward_reporting(inner, request, rejection).await
    }

    /// Replaces the handler's response by a rejection, or reports that. Passes a response that could not be recorded if
    /// that is allowed.
    fn reject<R: Body>(
        &self,
        operation: Operation,
        error: impl Into<Failure>,
        mut response: Response<ResponseBody<R>>,
    ) -> Response<ResponseBody<R>> {
        match self.rejection(error.into()) {
            Some(rejection) if !self.reports() => body::reject(rejection),
            Some(rejection) => {
                body::attach(&mut response, Evaluation::would_have_rejected(operation, &rejection));
                response
            }
            None => response,
        }
    }

    /// Returns the rejection of a registration that only a record keeps from signing in: no setting passes it without one.
    fn of_held(&self, error: Failure) -> Rejection {
        self.rejection(error).unwrap_or_else(unavailable)
    }

    /// Returns the rejection. `None` if the ledger is unavailable, and not needed.
    fn rejection(&self, error: Failure) -> Option<Rejection> {
        let error = match error {
            Failure::Rejected(rejection) => return Some(rejection),
            Failure::Ledger(error) => error,
        };
        error.log();
        let is_needed = !self.registrar.settings().danger_register_without_ledger.unwrap_or_default();
        is_needed.then(unavailable)
    }

    /// Returns whether rejections are reported only. The setting of the policy file wins over the one in code.
    fn reports(&self) -> bool {
        self.registrar.settings().report_only.unwrap_or(self.report_only)
    }
}

/// Logs an error. A record whose outcome could not be written counts as failed later, by its age.
fn log_error(written: Result<(), LedgerError>) {
    if let Err(error) = written {
        error.log();
    }
}

fn unchecked<R: Body>() -> Response<ResponseBody<R>> {
    tracing::error!(target: "tower_dcr::lifecycle", "LifecycleLayer needs a PolicyLayer outside of it");
    body::reject(Rejection::new(ErrorCode::ServerError, RULE, "this server is not set up to register clients"))
}

fn unavailable() -> Rejection {
    body::unavailable(RULE, "clients can't be registered now; try again later")
}
