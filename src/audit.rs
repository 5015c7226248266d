//! [`AuditLayer`]: exactly one [`Event`] for every attempt to register a client.
//!
//! The layer stands outside of all others, so that what they reject is an event too. An attempt is any request but
//! `OPTIONS`; a `GET`, `HEAD` or `DELETE` is one if it is about a client (RFC 7592) and fails: guessing registration access
//! tokens leaves a trace. The event of an attempt is emitted when the answer is there; if the client hangs up before
//! (the server then drops the request), or the handler panics, it is emitted all the same, as abandoned.
//!
//! What the layers further in found out travels in the extensions of the response. The `client_id` is read from the
//! answer, which for this is held in memory up to 256 KiB; a longer one passes unread.
//!
//! # Examples
//!
//! ```
//! use std::sync::{Arc, Mutex};
//! use tower_dcr::audit::AuditLayer;
//! use tower_dcr::event::Event;
//!
//! let seen = Arc::new(Mutex::new(Vec::new()));
//! let sink = Arc::clone(&seen);
//! let audit = AuditLayer::new(move |event: &Event| sink.lock().unwrap().push(event.outcome));
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use http::{Extensions, HeaderMap, Method, Request, Response};
use http_body::Body;
use sha2::Sha256;
use tower_layer::Layer;
use tower_service::Service;
use tracing::Span;
use tracing::field::Empty;
use tracing::instrument::{Instrument, Instrumented};

use crate::body::{
    self, ANSWER_LIMITS, AnswerFuture, Finish, Finished, ReadAnswer, ResponseBody, ResponseFuture, Unread,
};
use crate::client_address::ClientAddress;
use crate::client_url::{ClientUrl, UrlTarget};
use crate::clock::{Clock, SystemClock};
use crate::event::{Event, Outcome, RegisteredClient, Repeated, Sink};
use crate::method::MethodKind;
use crate::policy::{Operation, Review};
use crate::registration::Registration;
use crate::rejection::{ErrorCode, Rejection};
use crate::telemetry;
use crate::text;

/// Emits one event for every attempt. See the [module docs](self).
///
/// ```
/// use tower_dcr::AuditLayer;
/// use tower_dcr::client_address::ClientAddress;
/// use tower_dcr::event::TracingSink;
///
/// let audit = AuditLayer::new(TracingSink::new())
///     .with_requester_hash(ClientAddress::new(), b"a key that stays secret");
/// # let _ = audit;
/// ```
#[derive(Clone)]
#[must_use]
pub struct AuditLayer {
    config: Arc<Config>,
}

#[derive(Clone)]
struct Config {
    sink: Arc<dyn Sink>,
    clock: Arc<dyn Clock>,
    requester: Requester,
    /// Whether events hold the registration, and with which members besides those of specifications.
    document: Option<Arc<BTreeSet<String>>>,
    /// Which configuration is in force, for attempts that no rule has seen.
    policy: Option<u64>,
    client_url: ClientUrl,
}

/// How an event names who asked.
#[derive(Clone)]
enum Requester {
    Nobody,
    Address(ClientAddress),
    Hash(ClientAddress, Hmac<Sha256>),
}

const RULE: &str = "audit";

/// How much of the client ID in a URL is kept: the caller writes it.
const MAX_CLIENT_ID_BYTES: usize = 200;

impl AuditLayer {
    /// Emits to `sink`. Events don't say who asked.
    pub fn new(sink: impl Sink) -> Self {
        let clock = Arc::new(SystemClock::new());
        let config = Config {
            sink: Arc::new(sink),
            clock,
            requester: Requester::Nobody,
            document: None,
            policy: None,
            client_url: ClientUrl::new(),
        };
        Self { config: Arc::new(config) }
    }

    /// Puts the client's address into the events.
    pub fn with_requester(mut self, address: ClientAddress) -> Self {
        Arc::make_mut(&mut self.config).requester = Requester::Address(address);
        self
    }

    /// Puts a keyed hash of the client's address into the events: 32 hexadecimal digits of HMAC-SHA-256. Attempts by
    /// one client can be told from those of others; who it is can be said only by who has the key, by trying addresses.
    pub fn with_requester_hash(mut self, address: ClientAddress, key: &[u8]) -> Self {
        // HMAC takes keys of any length.
        if let Ok(mac) = Hmac::new_from_slice(key) {
            Arc::make_mut(&mut self.config).requester = Requester::Hash(address, mac);
        }
        self
    }

    /// Puts the registration as it came into the events, redacted, so that another policy can be tried on them
    /// (`dcr replay`).
    ///
    /// An event then says what a person's software told the server about itself: names, links, redirect URIs, whose paths and
    /// ports can tell one person from another. Values of members that this crate does not know, contacts, keys, software
    /// statements and whatever is a secret are replaced by `"[redacted]"`; text in the other members is the client's own, and
    /// could be anything. A line can have six times the bytes of the largest body that is allowed. Keep such a log as short and as close as any other that holds personal data.
    pub fn with_document(mut self) -> Self {
        Arc::make_mut(&mut self.config).document = Some(Arc::default());
        self
    }

    /// Shows the values of these members, too, which are the server's own.
    pub(crate) fn showing(mut self, members: BTreeSet<String>) -> Self {
        Arc::make_mut(&mut self.config).document = Some(Arc::new(members));
        self
    }

    /// Which configuration is in force.
    pub(crate) fn with_policy(mut self, fingerprint: u64) -> Self {
        Arc::make_mut(&mut self.config).policy = Some(fingerprint);
        self
    }

    /// Sets how URLs of RFC 7592 name their client (default: [`ClientUrl::new`]). All layers of a route need the same.
    pub fn with_client_url(mut self, client_url: ClientUrl) -> Self {
        Arc::make_mut(&mut self.config).client_url = client_url;
        self
    }

    /// Replaces the clock.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        Arc::make_mut(&mut self.config).clock = clock;
        self
    }
}

impl<S> Layer<S> for AuditLayer {
    type Service = Audit<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Audit { inner, config: Arc::clone(&self.config) }
    }
}

/// The service that [`AuditLayer`] makes.
///
/// ```
/// use tower_dcr::AuditLayer;
/// use tower_dcr::audit::Audit;
/// use tower_dcr::event::TracingSink;
/// use tower_layer::Layer;
///
/// fn audited<S>(inner: S) -> Audit<S> {
///     AuditLayer::new(TracingSink::new()).layer(inner)
/// }
/// # let _ = audited(());
/// ```
#[derive(Clone)]
pub struct Audit<S> {
    inner: S,
    config: Arc<Config>,
}

impl<S, B, R> Service<Request<B>> for Audit<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Send + 'static,
    B: Body + Send + 'static,
    R: Body + Send + 'static,
    R::Data: Send,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = AnswerFuture<Instrumented<S::Future>, Attempt, R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let attempt = Attempt::start(&self.config, &request);
        if attempt.registers() && !self.config.sink.is_ready() {
            let rejection =
                Rejection::new(ErrorCode::TemporarilyUnavailable, RULE, "registrations can't be recorded now")
                    .with_retry_after(Duration::from_secs(5));
            let answer = attempt.finish(body::refuse(rejection), None);
            return AnswerFuture::finishing(ResponseFuture::new(async move {
                Ok(Unread::of(request).answer(answer).await)
            }));
        }
        let span = attempt.span();
        let answer = span.in_scope(|| self.inner.call(request));
        AnswerFuture::new(answer.instrument(span), attempt)
    }
}

/// An attempt whose event has not been emitted yet. Dropping it emits it, as abandoned.
#[derive(Debug)]
pub struct Attempt {
    start: Option<Start>,
}

/// What is known of an attempt before it is answered.
struct Start {
    config: Arc<Config>,
    operation: Operation,
    /// The client that the URL is about.
    managed: Option<String>,
    time_ms: u64,
    requester: Option<String>,
    monotonic: Duration,
    span: Span,
}

impl Attempt {
    /// Nothing for a request that is no attempt.
    fn start<B>(config: &Arc<Config>, request: &Request<B>) -> Self {
        let kind = MethodKind::of(request.method());
        let target = match kind {
            MethodKind::Options => return Self { start: None },
            MethodKind::Create | MethodKind::Other => UrlTarget::Registration,
            MethodKind::Update | MethodKind::Read | MethodKind::Delete => config.client_url.read(request.uri()),
        };
        let operation = Operation::of(request.method());
        if !registers(operation) && target == UrlTarget::Registration {
            return Self { start: None };
        }
        let start = Start {
            operation,
            managed: match target {
                UrlTarget::Client(id) => Some(text::cut(&id, MAX_CLIENT_ID_BYTES).to_owned()),
                UrlTarget::Registration | UrlTarget::Unreadable => None,
            },
            time_ms: u64::try_from(config.clock.unix_time().as_millis()).unwrap_or(u64::MAX),
            requester: config.requester.name(request.headers(), request.extensions()),
            monotonic: config.clock.monotonic(),
            span: if registers(operation) { span(request.method(), config.policy) } else { Span::none() },
            config: Arc::clone(config),
        };
        Self { start: Some(start) }
    }

    /// Returns whether it is an attempt however it ends.
    fn registers(&self) -> bool {
        self.start.as_ref().is_some_and(|start| registers(start.operation))
    }

    fn span(&self) -> Span {
        self.start.as_ref().map_or_else(Span::none, |start| start.span.clone())
    }

    /// Takes the review out of the response, which is at its journey's end, and emits the event.
    fn finish<R>(mut self, mut response: Response<R>, client_id: Option<String>) -> Response<R> {
        let Some(start) = self.start.take() else { return response };
        let review = response.extensions_mut().remove::<Review>();
        if !registers(start.operation) && !response.status().is_client_error() && !response.status().is_server_error() {
            return response;
        }
        let rejection = response.extensions().get::<Rejection>();
        let outcome = match rejection.map(Rejection::code) {
            Some(ErrorCode::TooManyRequests) => Outcome::Limited,
            Some(ErrorCode::BadGateway | ErrorCode::ServerError) => Outcome::Failed,
            Some(_) => Outcome::Refused,
            None if !response.status().is_success() => Outcome::Failed,
            None if response.extensions().get::<Repeated>().is_some() => Outcome::Repeated,
            None if review.as_ref().is_some_and(Review::is_rewritten) => Outcome::Rewritten,
            None => Outcome::Accepted,
        };
        let mut event = start.event(outcome);
        event.status = Some(response.status().as_u16());
        event.client_id = client_id.or_else(|| start.managed.clone());
        let review = review.or_else(|| {
            // Refused before there was a review.
            let mut review = Review::of(start.operation);
            review.refused(rejection?);
            Some(review)
        });
        if let Some(review) = review {
            event.set_review(review, start.config.document.as_ref());
        }
        if let Some(rejection) = rejection {
            event.set_rejection(rejection);
        }
        start.emit(event);
        response
    }
}

impl<B, E> Finish<B, E> for Attempt
where
    B: Body + Send + 'static,
    B::Data: Send,
    E: Send + 'static,
{
    fn finish(mut self, answer: Result<Response<B>, E>) -> Finished<B, E> {
        let mut response = match answer {
            Ok(response) => response,
            Err(error) => {
                if let Some(start) = self.start.take() {
                    let event = start.event(Outcome::Failed);
                    start.emit(event);
                }
                return Finished::Now(Err(error));
            }
        };
        let known = response.extensions_mut().remove::<RegisteredClient>();
        let upper = response.body().size_hint().upper();
        if !self.registers()
            || known.is_some()
            || !body::has_document(&response)
            || upper.is_none_or(|bytes| bytes > ANSWER_LIMITS.bytes() as u64)
        {
            let client_id = known.and_then(|client| client.0);
            return Finished::Now(Ok(self.finish(response.map(ResponseBody::inner), client_id)));
        }
        Finished::Later(ResponseFuture::new(async move { Ok(read_client_id(self, response).await) }))
    }
}

/// Reads an answer that is known to end soon enough.
async fn read_client_id<B: Body>(attempt: Attempt, response: Response<B>) -> Response<ResponseBody<B>> {
    let (parts, body) = response.into_parts();
    let (response, client) = match body::read_answer(body).await {
        ReadAnswer::Complete(bytes) => {
            let client = Registration::parse_with(&bytes, &ANSWER_LIMITS).ok().and_then(|a| RegisteredClient::of(&a).0);
            (Response::from_parts(parts, ResponseBody::own(bytes)), client)
        }
        ReadAnswer::TooLarge | ReadAnswer::Broken => {
            let detail = "the server's answer could not be read";
            (body::refuse(Rejection::new(ErrorCode::ServerError, RULE, detail)), None)
        }
    };
    attempt.finish(response, client)
}

impl Start {
    fn event(&self, outcome: Outcome) -> Event {
        let duration = self.config.clock.monotonic().saturating_sub(self.monotonic);
        let mut event = Event::new(self.time_ms, self.operation, outcome);
        event.duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        event.policy = self.config.policy;
        event
    }

    fn emit(self, mut event: Event) {
        event.requester = self.requester;
        let operation = match event.operation {
            Operation::Create => "create",
            Operation::Update => "update",
            Operation::Read => "read",
            Operation::Delete => "delete",
        };
        let (outcome, refusal) = (event.outcome.as_str(), event.rule.zip(event.error));
        telemetry::registration(operation, outcome, event.duration_us, refusal);
        for finding in &event.findings {
            telemetry::finding(finding.rule, finding.disposition.as_str(), finding.enforced);
        }
        if !self.span.is_disabled() {
            record(&self.span, &event);
        }
        self.config.sink.emit(&event);
    }
}

/// Returns whether an operation is an attempt however it ends.
fn registers(operation: Operation) -> bool {
    matches!(operation, Operation::Create | Operation::Update)
}

/// The span of an attempt: see [`telemetry`].
fn span(method: &Method, policy: Option<u64>) -> Span {
    let operation = if *method == Method::PUT { "client registration update" } else { "client registration create" };
    tracing::info_span!(
        target: "tower_dcr",
        "client_registration",
        otel.name = operation,
        otel.kind = "internal",
        otel.status_code = Empty,
        http.request.method = if *method == Method::PUT { "PUT" } else { "POST" },
        http.response.status_code = Empty,
        error.type = Empty,
        dcr.outcome = Empty,
        dcr.rule = Empty,
        dcr.policy = policy.map(|fingerprint| tracing::field::display(format!("{fingerprint:016x}"))),
    )
}

fn record(span: &Span, event: &Event) {
    span.record("dcr.outcome", event.outcome.as_str());
    if let Some(status) = event.status {
        span.record("http.response.status_code", status);
    }
    if let Some(rule) = event.rule {
        span.record("dcr.rule", rule);
    }
    if let Some(error) = event.error {
        span.record("error.type", error);
    }
    // What a client did wrong is no error of the server (OpenTelemetry's conventions for HTTP spans).
    if event.outcome == Outcome::Failed {
        span.record("otel.status_code", "ERROR");
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(start) = self.start.take().filter(|start| registers(start.operation)) {
            let event = start.event(Outcome::Abandoned);
            start.emit(event);
        }
    }
}

impl Requester {
    fn name(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<String> {
        match self {
            Self::Nobody => None,
            Self::Address(address) => Some(address.resolve(headers, extensions)?.to_string()),
            Self::Hash(address, mac) => {
                let address = address.resolve(headers, extensions)?;
                let mut mac = mac.clone();
                mac.update(address.to_string().as_bytes());
                let hash: [u8; 32] = mac.finalize().into_bytes().into();
                Some(text::hex(hash.first_chunk::<16>()?))
            }
        }
    }
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start").field("operation", &self.operation).finish_non_exhaustive()
    }
}

impl fmt::Debug for AuditLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLayer").finish_non_exhaustive()
    }
}

impl<S> fmt::Debug for Audit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").finish_non_exhaustive()
    }
}
