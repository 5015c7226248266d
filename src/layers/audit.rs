//! [`AuditLayer`]: emits one [`Event`] for every attempt to register a client that reached a rule.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, HeaderName, Method, Request, Response};
use http_body::Body;
use tower_service::Service;
use tracing::Span;
use tracing::field::Empty;

use crate::audit::{
    Aggregator, AwaitsApproval, Deduplicated, Event, Outcome, RegisteredClient, Requester, Sink, Sources,
};
use crate::client_address::ClientAddress;
use crate::client_url::{ClientUrl, UrlTarget};
use crate::clock::{Clock, SystemClock};
use crate::layers::body::{self, ANSWER_LIMITS, Finish, Finished, ResponseBody, ResponseFuture, Unread};
use crate::layers::layered::Layered;
use crate::method::MethodKind;
use crate::registration::Registration;
use crate::rules::{ErrorCode, Rejection};
use crate::rules::{Evaluation, Operation};
use crate::telemetry;
use crate::text;

/// Emits one [`Event`] for every attempt to register a client that reached a rule.
///
/// The layer stands outside of all others, so that their rejections are events too. An attempt is any request but
/// `OPTIONS`; a `GET`, `HEAD` or `DELETE` is one if it is about a client (RFC 7592) and fails: guessing registration
/// access tokens leaves a trace. The event is emitted with the response. If the client hangs up before (the server then
/// drops the request), or the handler panics, it is emitted as abandoned.
///
/// Attempts that reach no rule (stopped by a rate limit or for want of a token, and failed `GET`, `HEAD`, `PUT` and
/// `DELETE`) are summed by network of the requester, rule and minute. The first one is an event at once. At the end of
/// the minute one event has the number of the others (`count`, `until_ms`), even if no further request comes. Of bodies
/// that can't be read, of deduplicated registrations and of accepted updates, the first 60 in each minute are events.
/// At most 256 pairs of network and rule are told apart in a minute; the others are summed under their rule alone. The
/// sums are also emitted when the last clone of the layer is dropped.
///
/// The findings of the layers further in travel in the extensions of the response. The `client_id` is read from the
/// response body, which is buffered for this up to 256 KiB; a longer one passes unread.
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use tower_dcr::audit::{Event, Outcome};
/// use tower_dcr::layers::{AuditLayer, PolicyLayer, RegistrationBody};
/// use tower_dcr::rules::RedirectUris;
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// let seen = Arc::new(Mutex::new(Vec::new()));
/// let sink = Arc::clone(&seen);
/// let register = ServiceBuilder::new()
///     .layer(AuditLayer::new(move |event: &Event| sink.lock().unwrap().push(event.outcome)))
///     .layer(PolicyLayer::new(RedirectUris::mcp()))
///     .service(service_fn(async |_: Request<RegistrationBody>| {
///         Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::default()))
///     }));
/// let request = Request::post("/register").header("content-type", "application/json");
/// let request = request.body(Full::<Bytes>::from(r#"{"redirect_uris":["javascript:alert(1)"]}"#)).unwrap();
/// register.oneshot(request).await.unwrap();
/// assert_eq!(*seen.lock().unwrap(), [Outcome::Rejected]);
/// # });
/// ```
#[derive(Clone)]
#[must_use]
pub struct AuditLayer {
    config: Arc<Config>,
}

#[derive(Clone)]
pub(crate) struct Config {
    aggregator: Arc<Aggregator>,
    clock: Arc<dyn Clock>,
    address: ClientAddress,
    requester: Requester,
    /// Names the requester, who is at `address`.
    sources: Sources,
    /// The header with the request ID.
    pub(crate) request_id: Option<HeaderName>,
    /// The members whose values events show, in addition to those of specifications. `None` if events don't hold the
    /// registration.
    pub(crate) document: Option<Arc<BTreeSet<String>>>,
    /// The fingerprint of the configuration in force, for attempts that no rule has seen.
    pub(crate) policy: Option<u64>,
    client_url: ClientUrl,
}

text::debug_fields!(AuditLayer {});

const RULE: &str = "audit";

/// The maximum length of a client ID from a URL: the caller writes it.
const MAX_CLIENT_ID_BYTES: usize = 200;

/// The maximum length of a request ID.
const MAX_REQUEST_ID_BYTES: usize = 128;

impl AuditLayer {
    /// Creates a layer that emits to `sink`. Events don't name the requester.
    pub fn new(sink: impl Sink) -> Self {
        let config = Config {
            aggregator: Aggregator::new(sink),
            clock: Arc::new(SystemClock::default()),
            address: ClientAddress::new(),
            requester: Requester::None,
            sources: Sources::new(ClientAddress::new(), &Requester::None),
            request_id: None,
            document: None,
            policy: None,
            client_url: ClientUrl::default(),
        };
        Self { config: Arc::new(config) }
    }

    /// Puts the client's address into the events.
    pub fn with_requester(self) -> Self {
        self.named_as(Requester::Address)
    }

    /// Puts a keyed hash of the client's address into the events: 32 hexadecimal digits of HMAC-SHA-256. Attempts by
    /// one client can be told from those of others. With the key, the address can be found by trying addresses.
    pub fn with_requester_hash(self, key: &[u8]) -> Self {
        self.named_as(Requester::Hash(key.to_owned(), None))
    }

    pub(crate) fn named_as(self, requester: Requester) -> Self {
        self.change(|config| {
            config.sources = Sources::new(config.address.clone(), &requester);
            config.requester = requester;
        })
    }

    /// Sets the source of the address, and of the network by which attempts are summed (default:
    /// [`ClientAddress::new`]).
    pub fn with_client_address(self, address: ClientAddress) -> Self {
        self.change(|config| {
            config.sources = Sources::new(address.clone(), &config.requester);
            config.address = address;
        })
    }

    pub(crate) fn requester(&self) -> &Requester {
        &self.config.requester
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn change(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }

    /// Replaces the sink, and keeps the other settings.
    pub(crate) fn with_sink(self, sink: impl Sink) -> Self {
        self.change(|config| config.aggregator = Aggregator::new(sink))
    }

    /// Puts the value of a header into the events (`request_id`), by which they can be joined with the server's other
    /// logs: printable ASCII, cut to 128 bytes (default: none). A client can write any header: name one that your
    /// proxy, or a layer outside of this one, overwrites. The key in policy files is `audit.request_id_header`.
    pub fn with_request_id_header(self, header: HeaderName) -> Self {
        self.change(|config| config.request_id = Some(header))
    }

    /// Emits the sums now, instead of at the end of the minute: before a process ends without dropping its layers.
    pub fn flush(&self) {
        self.config.aggregator.flush();
    }

    pub(crate) fn aggregator(&self) -> &Arc<Aggregator> {
        &self.config.aggregator
    }

    /// Puts the unmodified registration into the events, redacted, so that another policy can be tried on them (`dcr
    /// replay`).
    ///
    /// An event then holds a description of a person's software: names, links, redirect URIs, whose paths and ports can
    /// tell one person from another. Values of members that this crate does not know, contacts, keys, software
    /// statements and secrets are replaced by `"[redacted]"`; text in the other members is the client's own, and could
    /// be anything. A line can have six times the bytes of the largest body that is allowed. Keep such a log as short
    /// and as close as any other that holds personal data.
    pub fn with_document(self) -> Self {
        self.change(|config| config.document = Some(Arc::default()))
    }

    /// Sets the rules by which URLs of RFC 7592 name their client (default: [`ClientUrl::default`]). All layers of a route
    /// need the same.
    pub fn with_client_url(self, client_url: ClientUrl) -> Self {
        self.change(|config| config.client_url = client_url)
    }

    /// Replaces the clock (default: the system's).
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        self.change(|config| config.clock = clock)
    }
}

impl<S, B, R> Service<Request<B>> for Layered<AuditLayer, S>
where
    S: Service<Request<B>, Response = Response<R>, Error: Send + 'static>,
    B: Body + Send + 'static,
    R: Body<Data: Send> + Send + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<R, S::Error, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let attempt = Attempt::start(&self.layer.config, &request);
        if attempt.registers() && !self.layer.config.aggregator.is_ready() {
            let rejection = body::unavailable(RULE, "registrations can't be recorded now");
            let answer = attempt.finish(body::reject(rejection), None);
            return ResponseFuture::boxed(async move { Ok(Unread::of(request).answer(answer).await) });
        }
        let span = attempt.span();
        let answer = span.in_scope(|| self.inner.call(request));
        ResponseFuture::within(span, answer, attempt)
    }
}

/// An attempt whose event has not been emitted yet. Dropping it emits the event, as abandoned.
struct Attempt {
    start: Option<Start>,
}

/// The facts about an attempt before its response.
struct Start {
    config: Arc<Config>,
    operation: Operation,
    /// The client that the URL names.
    managed: Option<String>,
    time_ms: u64,
    address: Option<IpAddr>,
    request_id: Option<String>,
    monotonic: Duration,
    span: Span,
}

impl Attempt {
    /// Starts an attempt. Its `start` is `None` if the request is no attempt.
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
            address: config.sources.resolve(request.headers(), request.extensions()),
            request_id: config.request_id.as_ref().and_then(|header| request_id(request.headers(), header)),
            monotonic: config.clock.monotonic(),
            span: if registers(operation) { span(request.method(), config.policy) } else { Span::none() },
            config: Arc::clone(config),
        };
        Self { start: Some(start) }
    }

    /// Returns whether the request is an attempt, regardless of its outcome.
    fn registers(&self) -> bool {
        self.start.as_ref().is_some_and(|start| registers(start.operation))
    }

    fn span(&self) -> Span {
        self.start.as_ref().map_or_else(Span::none, |start| start.span.clone())
    }

    /// Takes the evaluation out of the response and emits the event.
    fn finish<R>(mut self, mut response: Response<R>, client_id: Option<String>) -> Response<R> {
        let Some(start) = self.start.take() else { return response };
        let evaluation = response.extensions_mut().remove::<Evaluation>();
        let is_error = response.status().is_client_error() || response.status().is_server_error();
        // A layer in report-only mode has findings about a success, too.
        if !registers(start.operation)
            && !is_error
            && evaluation.as_ref().is_none_or(|evaluation| evaluation.findings.is_empty())
        {
            return response;
        }
        let rejection = response.extensions().get::<Rejection>();
        let outcome = match rejection.map(|rejection| rejection.code) {
            Some(ErrorCode::TooManyRequests) => Outcome::Limited,
            Some(ErrorCode::BadGateway | ErrorCode::ServerError) => Outcome::Failed,
            Some(_) => Outcome::Rejected,
            None if !response.status().is_success() => Outcome::Failed,
            None if response.extensions().get::<Deduplicated>().is_some() => Outcome::Deduplicated,
            None if evaluation.as_ref().is_some_and(Evaluation::is_rewritten) => Outcome::Rewritten,
            None => Outcome::Accepted,
        };
        let mut event = start.event(outcome);
        event.status = Some(response.status().as_u16());
        event.client_id = client_id.or_else(|| start.managed.clone());
        event.pending = response.extensions().get::<AwaitsApproval>().is_some();
        // An evaluation by a rule has cost its source something, unless no budget was left.
        let judged = evaluation.as_ref().is_some_and(|evaluation| !evaluation.has_cost_nothing());
        let evaluation = evaluation.or_else(|| {
            // Rejected before there was an evaluation.
            let mut evaluation = Evaluation::of(start.operation);
            evaluation.reject(rejection?);
            Some(evaluation)
        });
        let held = evaluation.as_ref().and_then(|evaluation| evaluation.held.clone());
        if let Some(evaluation) = evaluation {
            event.set_evaluation(evaluation, start.config.document.as_deref());
        }
        if let Some(rejection) = rejection {
            event.set_rejection(rejection);
        } else if let Some(held) = held {
            event.reason = Some(held.detail);
        }
        start.emit(event, judged);
        response
    }
}

impl<B: Body<Data: Send> + Send + 'static> Finish<B> for Attempt {
    fn failed(mut self: Box<Self>) {
        if let Some(start) = self.start.take() {
            let event = start.event(Outcome::Failed);
            start.emit(event, true);
        }
    }

    fn finish(self: Box<Self>, mut response: Response<B>) -> Finished<B> {
        let known = response.extensions_mut().remove::<RegisteredClient>();
        let upper = response.body().size_hint().upper();
        if !self.registers()
            || known.is_some()
            || !body::has_document(&response)
            || upper.is_none_or(|bytes| bytes > ANSWER_LIMITS.max_bytes as u64)
        {
            let client_id = known.and_then(|client| client.0);
            return Finished::Now((*self).finish(response.map(ResponseBody::inner), client_id));
        }
        Finished::later(read_client_id(*self, response))
    }
}

/// Reads the client ID from a response that ends within the limit.
async fn read_client_id<B: Body>(attempt: Attempt, response: Response<B>) -> Response<ResponseBody<B>> {
    let (parts, body) = response.into_parts();
    let Some(bytes) = body::read_answer(body).await else {
        let detail = "the server's answer could not be read";
        return attempt.finish(body::reject(Rejection::new(ErrorCode::ServerError, RULE, detail)), None);
    };
    let document = Registration::parse_with(&bytes, &ANSWER_LIMITS).ok();
    let client = document.and_then(|document| RegisteredClient::of(&document).0);
    attempt.finish(Response::from_parts(parts, ResponseBody::own(bytes)), client)
}

impl Start {
    fn event(&self, outcome: Outcome) -> Event {
        let duration = self.config.clock.monotonic().saturating_sub(self.monotonic);
        let mut event = Event::new(self.time_ms, self.operation, outcome);
        event.duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        event.policy = self.config.policy;
        event
    }

    /// Emits the event. `judged` is set if a rule has seen the attempt, or may have.
    fn emit(self, mut event: Event, judged: bool) {
        let (sources, address) = (&self.config.sources, self.address);
        event.requester = address.and_then(|address| sources.name(address));
        event.request_id = self.request_id;
        let rejection = event.rule.zip(event.error);
        telemetry::registration(event.operation.as_str(), event.outcome.as_str(), event.duration_us, rejection);
        for finding in &event.findings {
            telemetry::finding(finding.rule, finding.disposition.as_str(), finding.enforced);
        }
        if let Some(shadow) = &event.shadow {
            telemetry::shadow(shadow.outcome.as_str(), shadow.in_force.as_str(), shadow.rule.unwrap_or_default());
        }
        if !self.span.is_disabled() {
            record(&self.span, &event);
        }
        let network = address.map(|address| sources.network(address));
        self.config.aggregator.attempt(&event, judged, network, || sources.network_name(address?));
    }
}

/// Returns the value of the header. `None` if it is missing, empty or not printable ASCII.
fn request_id(headers: &HeaderMap, header: &HeaderName) -> Option<String> {
    let value = headers.get(header)?.to_str().ok()?;
    Some(text::cut(value.trim(), MAX_REQUEST_ID_BYTES).to_owned()).filter(|id| !id.is_empty())
}

/// Returns whether an operation is an attempt, regardless of its outcome.
fn registers(operation: Operation) -> bool {
    matches!(operation, Operation::Create | Operation::Update)
}

/// Opens the span of an attempt: see the docs of [`audit`](crate::audit).
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
        dcr.shadow.outcome = Empty,
        dcr.shadow.rule = Empty,
        dcr.policy = policy.map(|fingerprint| tracing::field::display(Hexadecimal(fingerprint))),
    )
}

/// A fingerprint as 16 digits, written only when the span is read.
struct Hexadecimal(u64);

impl fmt::Display for Hexadecimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
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
    if let Some(shadow) = &event.shadow {
        span.record("dcr.shadow.outcome", shadow.outcome.as_str());
        if let Some(rule) = shadow.rule {
            span.record("dcr.shadow.rule", rule);
        }
    }
    // A client's mistake is no error of the server (OpenTelemetry's conventions for HTTP spans).
    if event.outcome == Outcome::Failed {
        span.record("otel.status_code", "ERROR");
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(start) = self.start.take().filter(|start| registers(start.operation)) {
            let event = start.event(Outcome::Abandoned);
            start.emit(event, true);
        }
    }
}
