//! [`GuardLayer`]: reviews registrations before the handler sees them.
//!
//! What happens to a request:
//!
//! 1. `GET`, `HEAD`, `DELETE` and `OPTIONS` register nothing, and pass without a body: handlers that do not look at the
//!    method would register it.
//! 2. `POST` (RFC 7591) and `PUT` (RFC 7592) are reviewed. So that nothing gets around the review, any other method is
//!    answered with 405, and a body that is not plain `application/json` with 415. `PUT` is for the URL of a client: at the
//!    registration route it is a 405, and a body that names another client than the URL is rejected. A URL of RFC 7592 that
//!    does not name its client in the one spelling that a [`ClientUrl`] reads is a 400, and so are query parameters that
//!    may be [metadata](ClientUrl::with_query_parameters).
//! 3. The body is read under a size limit and a deadline, and parsed strictly, once: guards further in take the parsed
//!    document over.
//! 4. The [`Policy`] reviews the [`Registration`], and what it leaves is the body that the inner service reads, with exactly
//!    `Content-Type: application/json` and its `Content-Length`. Headers that describe, encode, range or sign another body
//!    are removed, and so are `Accept-Encoding` and `Range`, so that the answer can be read.
//!
//! A refused request is answered in the form of RFC 7591 section 3.2.2; the [`Rejection`] is in the response's
//! extensions, and so is the [`Review`] of every reviewed request, unless an audit layer takes it out. The inner service is
//! not called; a body that was not read is drained within bounds (64 KiB, one second), or the answer says that the connection
//! will be closed. `type Error` stays that of the inner service.
//!
//! The layer belongs on the registration route only, behind (inside of) a CORS layer, so that browsers can read its
//! refusals. Several of them in one [`tower_layer::Stack`] cost one parse. Behind axum's own `Router::layer`, called
//! once for each, axum boxes the body in between and each parses anew, with the same result.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_dcr::guard::GuardLayer;
//! use tower_dcr::policy::RedirectUriGuard;
//! use tower_dcr::{Rejection, RegistrationBody};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! # runtime.block_on(async {
//! let register = ServiceBuilder::new()
//!     .layer(GuardLayer::new(RedirectUriGuard::mcp()))
//!     .service(service_fn(async |request: Request<RegistrationBody>| {
//!         let _checked = request.body().registration();
//!         Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::default()))
//!     }));
//! let post = |body: &'static str| {
//!     let request = Request::post("/register").header("content-type", "application/json");
//!     request.body(Full::<Bytes>::from(body)).unwrap()
//! };
//!
//! let response = register.clone().oneshot(post(r#"{"redirect_uris":["http://127.0.0.1:8080/cb"]}"#)).await.unwrap();
//! assert_eq!(response.status(), StatusCode::OK);
//!
//! let response = register.oneshot(post(r#"{"redirect_uris":["javascript:alert(1)"]}"#)).await.unwrap();
//! assert_eq!(response.status(), StatusCode::BAD_REQUEST);
//! assert_eq!(response.extensions().get::<Rejection>().unwrap().rule(), "redirect-uris");
//! # });
//! ```

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Extensions, Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::body::{self, ReadError, RegistrationBody, ResponseBody, ResponseFuture, Unread};
use crate::client_url::{self, ClientUrl, UrlTarget};
use crate::event::Repeated;
use crate::method::MethodKind;
use crate::policy::{
    Caller, Facts, Identity, IdentityGuard, MetadataAllowlist, Operation, Policy, RedirectUriGuard, Review, Submission,
};
use crate::quota::Draw;
use crate::registration::{Digest, Field, Limits, ParseErrorKind, Registration};
use crate::rejection::{ErrorCode, Rejection};
use crate::setup_check::SetupCheck;

/// A guard with the rules about everything but redirect URIs.
///
/// ```
/// use tower_dcr::policy::MetadataAllowlist;
/// use tower_dcr::{GuardLayer, MetadataAllowlistLayer};
///
/// let layer: MetadataAllowlistLayer = GuardLayer::new(MetadataAllowlist::mcp());
/// # let _ = layer;
/// ```
pub type MetadataAllowlistLayer = GuardLayer<MetadataAllowlist>;

/// A guard with the rules about redirect URIs.
///
/// ```
/// use tower_dcr::policy::RedirectUriGuard;
/// use tower_dcr::{GuardLayer, RedirectUriGuardLayer};
///
/// let layer: RedirectUriGuardLayer = GuardLayer::new(RedirectUriGuard::strict());
/// # let _ = layer;
/// ```
pub type RedirectUriGuardLayer = GuardLayer<RedirectUriGuard>;

/// A guard with the rule about who a client claims to be.
///
/// ```
/// use tower_dcr::policy::IdentityGuard;
/// use tower_dcr::{GuardLayer, IdentityGuardLayer};
///
/// let layer: IdentityGuardLayer = GuardLayer::new(IdentityGuard::new());
/// # let _ = layer;
/// ```
pub type IdentityGuardLayer = GuardLayer<IdentityGuard>;

/// Puts a [`Policy`] in front of a registration handler. See the [module docs](self).
///
/// ```
/// use std::time::Duration;
/// use tower_dcr::GuardLayer;
/// use tower_dcr::policy::{MetadataAllowlist, RedirectUriGuard};
/// use tower_dcr::registration::Limits;
///
/// let layer = GuardLayer::new((MetadataAllowlist::mcp(), RedirectUriGuard::mcp()))
///     .with_limits(Limits::new().with_bytes(8 * 1024))
///     .with_deadline(Duration::from_secs(3));
/// # let _ = layer;
/// ```
#[must_use]
pub struct GuardLayer<P> {
    config: Arc<Config<P>>,
}

struct Config<P> {
    policy: Arc<P>,
    fingerprint: u64,
    limits: Limits,
    deadline: Duration,
    client_url: ClientUrl,
    report_only: bool,
    check: SetupCheck,
}

impl<P: Policy> GuardLayer<P> {
    /// Reviews by `policy`, under the default [`Limits`] and a deadline of 10 seconds for slow bodies.
    pub fn new(policy: P) -> Self {
        let mut description = String::new();
        policy.describe(&mut description);
        let config = Config {
            policy: Arc::new(policy),
            fingerprint: Digest::of(description.as_bytes()).prefix(),
            limits: Limits::new(),
            deadline: Duration::from_secs(10),
            client_url: ClientUrl::new(),
            report_only: false,
            check: SetupCheck::new(),
        };
        Self { config: Arc::new(config) }
    }
}

impl<P> GuardLayer<P> {
    /// Replaces the limits on a body.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        Arc::make_mut(&mut self.config).limits = limits;
        self
    }

    /// How long a body may take from the first time that it makes the guard wait.
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        Arc::make_mut(&mut self.config).deadline = deadline;
        self
    }

    /// Sets how URLs of RFC 7592 name their client (default: [`ClientUrl::new`]). All layers of a route need the same.
    pub fn with_client_url(mut self, client_url: ClientUrl) -> Self {
        Arc::make_mut(&mut self.config).client_url = client_url;
        self
    }

    /// Has events and records say that this is the configuration which judges.
    pub(crate) fn with_fingerprint(mut self, fingerprint: u64) -> Self {
        Arc::make_mut(&mut self.config).fingerprint = fingerprint;
        self
    }

    /// Where it is noted what requests say of the server.
    pub(crate) fn with_setup_check(mut self, check: SetupCheck) -> Self {
        Arc::make_mut(&mut self.config).check = check;
        self
    }

    /// Reviews, notes what would be done, and lets the request pass as it came: the same headers, the same bytes.
    pub fn report_only(mut self) -> Self {
        Arc::make_mut(&mut self.config).report_only = true;
        self
    }
}

impl<S, P> Layer<S> for GuardLayer<P> {
    type Service = Guard<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        Guard { inner, config: Arc::clone(&self.config) }
    }
}

/// The service that [`GuardLayer`] makes.
///
/// ```
/// use tower_dcr::GuardLayer;
/// use tower_dcr::guard::Guard;
/// use tower_dcr::policy::RedirectUriGuard;
/// use tower_layer::Layer;
///
/// fn guarded<S>(inner: S) -> Guard<S, RedirectUriGuard> {
///     GuardLayer::new(RedirectUriGuard::mcp()).layer(inner)
/// }
/// # let _ = guarded(());
/// ```
pub struct Guard<S, P> {
    inner: S,
    config: Arc<Config<P>>,
}

impl<S, P, B, R> Service<Request<B>> for Guard<S, P>
where
    S: Service<Request<RegistrationBody>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    P: Policy + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    R: Send + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The clone has not been polled ready; the service that has is the one to call.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let config = Arc::clone(&self.config);
        let (mut parts, body) = request.into_parts();
        let version = parts.version;
        ResponseFuture::new(async move {
            let intake = config.take_in(&mut parts, body).await;
            let closes = matches!(intake, Intake::Dropped { closes: true });
            let mut passage = config.review(parts, intake);
            let owed = passage.settle().await;
            let (answer, review) = match passage {
                Passage::Unreviewed(request) => (inner.call(request), None),
                Passage::Reviewed(request, review) => (inner.call(request), Some(review)),
                Passage::Refused(rejection, review, unread) => {
                    let mut response = body::refuse(rejection);
                    response.extensions_mut().insert(review);
                    return Ok(match unread {
                        Some(unread) => unread.answer(response).await,
                        None => response,
                    });
                }
            };
            let mut response = answer.await?.map(ResponseBody::inner);
            if closes {
                response = body::announce_close(response, version);
            }
            if let Some(review) = review {
                body::attach(&mut response, review);
            }
            if response.extensions().get::<Repeated>().is_some() {
                // Nothing was registered: the ledger knew it.
                for draw in owed {
                    draw.give_back().await;
                }
            }
            Ok(response)
        })
    }
}

/// How far a body got on the way to a document.
enum Intake {
    /// It registers nothing, and passes as it came: this guard only observes.
    Passed(RegistrationBody),
    /// It registers nothing, and passes without its body; whether some of that is still on the connection.
    Dropped { closes: bool },
    /// With the bytes, if this guard has read them.
    Parsed(Registration, Facts, Option<Bytes>),
    /// No registration, and why; the bytes, if all of them were read, and the body as it came.
    Unusable(Rejection, Option<Bytes>, RegistrationBody),
}

/// What a guard lets through.
enum Passage {
    Unreviewed(Request<RegistrationBody>),
    Reviewed(Request<RegistrationBody>, Review),
    /// With the body, if it was not read.
    Refused(Rejection, Review, Option<Unread<RegistrationBody>>),
}

impl Passage {
    /// Has the budgets that rules took from on this node confirmed by those of all nodes, and gives what was taken.
    async fn settle(&mut self) -> Vec<Draw> {
        let Self::Reviewed(_, review) = self else { return Vec::new() };
        let mut paid = Vec::new();
        for mut owed in review.take_owed() {
            let Err(denied) = owed.draw.settle().await else {
                paid.push(owed.draw);
                continue;
            };
            let rejection = owed.rejection(&denied);
            if !owed.is_enforced() {
                review.observe(|review| review.refused(&rejection));
                continue;
            }
            review.refused(&rejection);
            review.forward_nothing();
            let review = std::mem::take(review);
            *self = Self::Refused(rejection, review, None);
            for draw in paid {
                draw.give_back().await;
            }
            return Vec::new();
        }
        paid
    }
}

impl<P: Policy> Config<P> {
    /// Takes the document over from a guard further out, or reads and parses it. All that is awaited before the inner
    /// service is called, and by reference, so that the future stays small.
    async fn take_in<B>(&self, parts: &mut Parts, body: B) -> Intake
    where
        B: Body + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let kind = MethodKind::of(&parts.method);
        match self.client_url.check(&parts.method, &parts.uri) {
            Err(rejection) => return Intake::Unusable(rejection, None, pass(body)),
            Ok(target) if kind.has_document() => self.check.document(&target, parts.uri.path(), kind),
            Ok(_) if self.report_only => return Intake::Passed(pass(body)),
            Ok(_) => {
                // RFC 9110 section 9.3 gives such a body no meaning, and the handlers that read it all the same have
                // registered it.
                let closes = !body::drain(body, &parts.headers).await;
                body::forget_old_body(&mut parts.headers);
                body::ask_for_plain_answer(&mut parts.headers);
                return Intake::Dropped { closes };
            }
        }
        match RegistrationBody::downcast(body).map(RegistrationBody::into_registration) {
            Ok(Ok((registration, facts))) => Intake::Parsed(registration, facts, None),
            // Passed by a guard that only observes: read it like any other.
            Ok(Err(passed)) => self.read(parts, passed).await,
            Err(body) => self.read(parts, body).await,
        }
    }

    async fn read<B>(&self, parts: &Parts, body: B) -> Intake
    where
        B: Body + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let headers = &parts.headers;
        if !body::is_json(headers) {
            if body::is_form(headers) {
                self.check.form(parts.uri.path());
            }
            let detail = "the body must be application/json in UTF-8 without content encoding";
            let rejection = Rejection::new(ErrorCode::UnsupportedMediaType, "media-type", detail);
            return Intake::Unusable(rejection, None, pass(body));
        }
        let read = body::read(body, headers, self.limits.bytes(), self.deadline).await;
        let (rejection, source) = match read.error {
            Some(error) => (unreadable(error), None),
            None => match Registration::parse_with(&read.bytes, &self.limits) {
                Ok(registration) => return Intake::Parsed(registration, Facts::default(), Some(read.bytes)),
                Err(error) => (malformed(error.kind(), error.description()), Some(read.bytes.clone())),
            },
        };
        Intake::Unusable(rejection, source, RegistrationBody::passed_after(read.bytes, read.rest))
    }

    fn review(&self, parts: Parts, intake: Intake) -> Passage {
        let caller = parts.extensions.get::<Caller>().cloned().unwrap_or_default();
        let mut review = Review::of(Operation::of(&parts.method)).by(caller);
        match intake {
            Intake::Passed(body) => Passage::Unreviewed(Request::from_parts(parts, body)),
            Intake::Dropped { .. } => Passage::Unreviewed(Request::from_parts(parts, RegistrationBody::empty())),
            Intake::Parsed(registration, facts, source) => {
                let mut review = review.with_facts(facts);
                review.set_policy(self.fingerprint);
                if self.report_only {
                    self.observe(parts, registration, source, review)
                } else {
                    self.judge(parts, registration, source, review)
                }
            }
            Intake::Unusable(rejection, source, body) => {
                review.set_policy(self.fingerprint);
                self.unusable(review, rejection, source, Request::from_parts(parts, body))
            }
        }
    }

    fn judge(
        &self,
        mut parts: Parts,
        mut registration: Registration,
        source: Option<Bytes>,
        mut review: Review,
    ) -> Passage {
        let verdict = self.names_client_of_url(&parts, &registration);
        let verdict = verdict.and_then(|()| self.policy.review(&mut Submission::new(&mut registration, &mut review)));
        if let Err(rejection) = verdict {
            self.check.refused(&registration, &rejection);
            review.refused(&rejection);
            review.set_bytes(source.unwrap_or_default(), Bytes::new());
            return Passage::Refused(rejection, review, None);
        }
        tell_handler(&mut parts.extensions, review.facts());
        let (body, bytes) = RegistrationBody::checked(registration, review.facts().clone());
        body::describe_body(&mut parts.headers, "application/json", bytes.len());
        review.set_bytes(source.unwrap_or_default(), bytes);
        Passage::Reviewed(Request::from_parts(parts, body), review)
    }

    /// RFC 7592 section 2.2: the `client_id` in an update "MUST be the same as its currently issued client identifier". Its
    /// registration access token was made for the client that the URL is about, and is checked for that one.
    fn names_client_of_url(&self, parts: &Parts, registration: &Registration) -> Result<(), Rejection> {
        if MethodKind::of(&parts.method) != MethodKind::Update || registration.at(Field::CLIENT_ID).is_none() {
            return Ok(());
        }
        match (self.client_url.read(&parts.uri), registration.string_at(Field::CLIENT_ID)) {
            (UrlTarget::Client(of_url), Some(named)) if of_url == named => Ok(()),
            _ => {
                let detail = "must be the client that this URL is about";
                Err(Rejection::new(ErrorCode::InvalidClientMetadata, client_url::RULE, detail).with_field("client_id"))
            }
        }
    }

    /// Reviews a copy, and forwards what came.
    fn observe(&self, parts: Parts, registration: Registration, source: Option<Bytes>, mut review: Review) -> Passage {
        let mut copy = registration.clone();
        review.observe(|review| {
            let verdict = self.names_client_of_url(&parts, &copy);
            if let Err(rejection) = verdict.and_then(|()| self.policy.review(&mut Submission::new(&mut copy, review))) {
                self.check.refused(&copy, &rejection);
                review.refused(&rejection);
            }
        });
        let body = match source {
            Some(bytes) => {
                review.set_bytes(bytes.clone(), bytes.clone());
                RegistrationBody::passed_after(bytes, None::<RegistrationBody>)
            }
            None => RegistrationBody::checked(registration, review.facts().clone()).0,
        };
        Passage::Reviewed(Request::from_parts(parts, body), review)
    }

    fn unusable(
        &self,
        mut review: Review,
        rejection: Rejection,
        source: Option<Bytes>,
        request: Request<RegistrationBody>,
    ) -> Passage {
        let source = source.unwrap_or_default();
        if !self.report_only {
            review.set_bytes(source, Bytes::new());
            review.refused(&rejection);
            return Passage::Refused(rejection, review, Some(Unread::of(request)));
        }
        review.set_bytes(source.clone(), source);
        review.observe(|review| review.refused(&rejection));
        Passage::Reviewed(request, review)
    }
}

fn pass<B>(body: B) -> RegistrationBody
where
    B: Body + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    RegistrationBody::downcast(body).unwrap_or_else(RegistrationBody::passed)
}

fn unreadable(error: ReadError) -> Rejection {
    match error {
        ReadError::Broken => {
            Rejection::new(ErrorCode::InvalidClientMetadata, "body", "the body could not be read to its end")
        }
        ReadError::TooLarge => malformed(ParseErrorKind::TooLarge, "the body is too large"),
        ReadError::TooSlow => Rejection::new(ErrorCode::RequestTimeout, "body", "the body did not arrive in time"),
    }
}

fn malformed(kind: ParseErrorKind, description: &'static str) -> Rejection {
    match kind {
        ParseErrorKind::TooLarge => Rejection::new(ErrorCode::PayloadTooLarge, "body", description),
        _ => Rejection::new(ErrorCode::InvalidClientMetadata, "strict-json", description),
    }
}

/// The verdict on who the client claims to be, for its consent page. What was in the extensions before is nobody's word.
fn tell_handler(extensions: &mut Extensions, facts: &Facts) {
    match &facts.identity {
        Some(identity) => _ = extensions.insert(Identity::clone(identity)),
        None if facts.identified => _ = extensions.remove::<Identity>(),
        None => {}
    }
}

impl<P> Clone for GuardLayer<P> {
    fn clone(&self) -> Self {
        Self { config: Arc::clone(&self.config) }
    }
}

impl<S: Clone, P> Clone for Guard<S, P> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), config: Arc::clone(&self.config) }
    }
}

impl<P> Clone for Config<P> {
    fn clone(&self) -> Self {
        Self {
            policy: Arc::clone(&self.policy),
            limits: self.limits.clone(),
            client_url: self.client_url.clone(),
            check: self.check.clone(),
            ..*self
        }
    }
}

impl<P> fmt::Debug for GuardLayer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardLayer").field("report_only", &self.config.report_only).finish_non_exhaustive()
    }
}

impl<S, P> fmt::Debug for Guard<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("report_only", &self.config.report_only).finish_non_exhaustive()
    }
}
