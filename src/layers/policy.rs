//! [`PolicyLayer`]: evaluates a policy on registrations before the handler sees them.

use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Extensions, Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::audit::{CostsLikeRegistration, Deduplicated};
use crate::bounds;
use crate::client_url::{self, ClientUrl, UrlTarget};
use crate::layers::body::{self, BoxError, ReadError, RegistrationBody, ResponseBody, ResponseFuture, Unread};
use crate::layers::layered::Layered;
use crate::layers::setup_check::SetupCheck;
use crate::method::MethodKind;
use crate::period::InWords;
use crate::rate_limit::Reservation;
use crate::rate_limit::budgets::{Class, Software, Ticket};
use crate::registration::{Field, Limits, ParseError, Registration};
use crate::rules::{
    Caller, ClaimStatus, Context, ErrorCode, Evaluation, Facts, Identity, IntoRules, Operation, Policy, Rejection,
};
use crate::text;

mod reminder;
mod shadow;

pub(crate) use reminder::Reminder;
pub(crate) use shadow::Shadow;

/// Evaluates a policy on registrations before the handler sees them.
///
/// A request is processed in these steps:
///
/// 1. `GET`, `HEAD`, `DELETE` and `OPTIONS` register nothing, and pass without a body: handlers that do not look at the
///    method would register it.
/// 2. `POST` (RFC 7591) and `PUT` (RFC 7592) are evaluated. So that nothing bypasses the rules, any other method is
///    answered with 405, and a body that is not plain `application/json` with 415. `PUT` is for the URL of a client: at
///    the registration route it is a 405, and a body that names another client than the URL is rejected. A URL of RFC
///    7592 that does not name its client in the one spelling that a [`ClientUrl`] reads is a 400, and so are query
///    parameters that may be [metadata](ClientUrl::with_query_parameters).
/// 3. The body is read under a size limit and a deadline, and parsed strictly, once: policy layers further in take over
///    the parsed document.
/// 4. The [`Policy`] evaluates the [`Registration`], and the result is the body that the inner service reads, with
///    exactly `Content-Type: application/json` and its `Content-Length`. Headers that describe, encode, range or sign
///    another body are removed, and so are `Accept-Encoding` and `Range`, so that the response can be read.
///
/// A rejected request is answered in the form of RFC 7591 section 3.2.2; the [`Rejection`] is in the response's
/// extensions, and so is the [`Evaluation`] of every request that was evaluated, unless an audit layer takes it out.
/// The inner service is not called; an unread body is drained within bounds (64 KiB, one second), or the response says
/// that the connection will be closed. `type Error` stays that of the inner service.
///
/// The layer belongs on the registration route only, behind (inside of) a CORS layer, so that browsers can read its
/// rejections. Several of them in one [`tower_layer::Stack`] cost one parse. Behind axum's own `Router::layer`, called
/// once for each, axum boxes the body in between and each parses anew, with the same result.
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response, StatusCode};
/// use http_body_util::Full;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use tower_dcr::layers::PolicyLayer;
/// use tower_dcr::rules::RedirectUris;
/// use tower_dcr::{Rejection, layers::RegistrationBody};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// let register = ServiceBuilder::new()
///     .layer(PolicyLayer::new(RedirectUris::mcp()))
///     .service(service_fn(async |request: Request<RegistrationBody>| {
///         let _checked = request.body().registration();
///         Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::default()))
///     }));
/// let post = |body: &'static str| {
///     let request = Request::post("/register").header("content-type", "application/json");
///     request.body(Full::<Bytes>::from(body)).unwrap()
/// };
///
/// let response = register.clone().oneshot(post(r#"{"redirect_uris":["http://127.0.0.1:8080/cb"]}"#)).await.unwrap();
/// assert_eq!(response.status(), StatusCode::OK);
///
/// let response = register.oneshot(post(r#"{"redirect_uris":["javascript:alert(1)"]}"#)).await.unwrap();
/// assert_eq!(response.status(), StatusCode::BAD_REQUEST);
/// assert_eq!(response.extensions().get::<Rejection>().unwrap().rule, "redirect-uris");
/// # });
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct PolicyLayer {
    config: Arc<Config>,
}

#[derive(Clone)]
pub(crate) struct Config {
    policy: Policy,
    limits: Limits,
    deadline: Duration,
    client_url: ClientUrl,
    report_only: bool,
    /// Logs that nothing is enforced.
    pub(crate) reminder: Option<Arc<Reminder>>,
    /// Another policy, whose decisions are reported.
    pub(crate) shadow: Option<Shadow>,
    pub(crate) check: SetupCheck,
    pub(crate) charging: Option<Charging>,
    /// Set if a ledger further in records what rules hold for approval.
    pub(crate) holds: bool,
}

text::debug_fields!(Config { report_only });

/// The settings for charging evaluated requests to the budgets of a limiter further out.
#[derive(Clone, Copy)]
pub(crate) struct Charging {
    /// Set if a ledger further in deduplicates registrations, which pass although a budget is spent.
    pub(crate) knows_repeats: bool,
}

impl PolicyLayer {
    /// Creates a layer of these rules, with the default [`Limits`] and a deadline of 10 seconds for slow bodies.
    pub fn new(rules: impl IntoRules) -> Self {
        let config = Config {
            policy: Policy::new(rules),
            limits: Limits::default(),
            deadline: Duration::from_secs(10),
            client_url: ClientUrl::default(),
            report_only: false,
            reminder: None,
            shadow: None,
            check: SetupCheck::new(),
            charging: None,
            holds: false,
        };
        Self { config: Arc::new(config) }
    }

    pub(crate) fn change(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }

    /// Replaces the limits on a body (default: [`Limits::default`]).
    pub fn with_body(self, limits: Limits) -> Self {
        self.change(|config| config.limits = limits.within_bounds())
    }

    /// Sets the time limit for reading the body, counted from the first read that does not complete at once (default:
    /// 10 seconds). Values above 10 minutes count as 10 minutes.
    pub fn with_body_deadline(self, deadline: Duration) -> Self {
        self.change(|config| config.deadline = deadline.min(bounds::LONGEST_BODY))
    }

    /// Sets the rules by which URLs of RFC 7592 name their client (default: [`ClientUrl::default`]). All layers of a route
    /// need the same.
    pub fn with_client_url(self, client_url: ClientUrl) -> Self {
        self.change(|config| config.client_url = client_url)
    }

    /// Evaluates requests and reports the decisions, but passes every request unchanged: the same headers, the same
    /// bytes.
    pub fn report_only(self) -> Self {
        self.change(|config| config.report_only = true)
    }
}

impl<S, B, R> Service<Request<B>> for Layered<PolicyLayer, S>
where
    S: Service<Request<RegistrationBody>, Response = Response<R>, Future: Send, Error: Send> + Clone + Send + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    R: Body + Send + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<R, S::Error>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut inner = self.take_ready();
        let config = Arc::clone(&self.layer.config);
        let (mut parts, body) = request.into_parts();
        let version = parts.version;
        ResponseFuture::boxed(async move {
            let intake = config.take_in(&mut parts, body).await;
            let closes = matches!(intake, Intake::Empty { closes: true, .. });
            let is_update = MethodKind::of(&parts.method) == MethodKind::Update;
            let ticket = parts.extensions.get::<Ticket>().cloned();
            if let (Some(ticket), Intake::Parsed(..)) = (&ticket, &intake) {
                ticket.judge();
            }
            let charged = ticket.zip(config.charging);
            let mut passage = config.evaluate(parts, intake);
            let mut reservations = passage.commit().await;
            if let Some((ticket, charging)) = &charged {
                passage.charge(ticket, *charging, &mut reservations).await;
            }
            let (answer, evaluation) = match passage {
                Passage::Unjudged(request) => (inner.call(request), None),
                Passage::Judged(request, evaluation) => (inner.call(request), Some(evaluation)),
                Passage::Rejected(rejection, evaluation, unread) => {
                    let mut response = body::reject(rejection);
                    response.extensions_mut().insert(evaluation);
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
            let extensions = response.extensions();
            let is_known = extensions.get::<Deduplicated>().is_some()
                || is_update && extensions.get::<CostsLikeRegistration>().is_none();
            if is_known {
                // The ledger deduplicated it, or the update failed, which costs the source elsewhere.
                release(&mut reservations).await;
            }
            if let Some(mut evaluation) = evaluation {
                let spent = charged.as_ref().and_then(|(ticket, _)| ticket.unless_repeated());
                if let Some(rejection) = spent.filter(|spent| response.extensions().get() == Some(*spent)) {
                    evaluation.reject(rejection);
                    evaluation.forward_nothing();
                }
                body::attach(&mut response, evaluation);
            }
            Ok(response)
        })
    }
}

/// The result of reading a body.
enum Intake {
    /// The request registers nothing. It passes unchanged in report-only mode, and else without its body. `closes` is
    /// set if some of that is still on the connection.
    Empty { body: RegistrationBody, closes: bool },
    /// A parsed document, with the bytes if this layer has read them.
    Parsed(Registration, Facts, Option<Bytes>),
    /// No registration, with the reason; the bytes, if all of them were read, and the original body.
    Unusable(Rejection, Option<Bytes>, RegistrationBody),
}

/// The state of a request in the layer.
enum Passage {
    Unjudged(Request<RegistrationBody>),
    Judged(Request<RegistrationBody>, Evaluation),
    /// With the body, if it is unread.
    Rejected(Rejection, Evaluation, Option<Unread<RegistrationBody>>),
}

impl Passage {
    /// Commits the reservations of rules, and returns those that are committed.
    async fn commit(&mut self) -> Vec<Reservation> {
        let Self::Judged(_, evaluation) = self else { return Vec::new() };
        let committed = evaluation.commit_all().await;
        committed.unwrap_or_else(|rejection| {
            self.rejected(rejection);
            Vec::new()
        })
    }

    /// Takes from the budgets of the registration's class. If one of them is spent, the registration is rejected,
    /// unless a ledger further in knows it.
    async fn charge(&mut self, ticket: &Ticket, charging: Charging, reservations: &mut Vec<Reservation>) {
        let (document, evaluation) = match self {
            Self::Judged(request, evaluation) => (request.body().share(), evaluation),
            Self::Rejected(_, evaluation, _) if ticket.is_judged() => {
                if !ticket.charge_rejected() {
                    evaluation.cost_nothing();
                }
                return;
            }
            Self::Unjudged(_) | Self::Rejected(..) => return,
        };
        let is_update = evaluation.operation == Operation::Update;
        if !ticket.is_judged() || is_update && !charging.knows_repeats {
            return;
        }
        let proven = evaluation.identity().is_some_and(|identity| identity.status == ClaimStatus::Verified);
        let class = if proven { Class::Proven } else { Class::Unproven };
        let software = document.as_ref().and_then(|(registration, facts)| software_of(registration, facts));
        let rejection = match evaluation.take_spent() {
            // A rule's budget is enforced even if the limiter only reports.
            Some(rejection) => {
                if rejection.code == ErrorCode::TooManyRequests {
                    _ = ticket.charge_rejected();
                }
                rejection
            }
            None => match ticket.reserve(class, software).await {
                Ok(reservation) => return reservations.push(reservation),
                Err(rejection) if ticket.is_report_only() => {
                    return evaluation.observe(|evaluation| evaluation.reject(&rejection));
                }
                Err(rejection) => rejection,
            },
        };
        release(reservations).await;
        if charging.knows_repeats {
            ticket.reject_unless_repeated(rejection);
        } else {
            evaluation.reject(&rejection);
            self.rejected(rejection);
        }
    }

    /// Rejects a request whose evaluation has the rejection already.
    fn rejected(&mut self, rejection: Rejection) {
        let Self::Judged(_, evaluation) = self else { return };
        evaluation.forward_nothing();
        let evaluation = std::mem::take(evaluation);
        *self = Self::Rejected(rejection, evaluation, None);
    }
}

/// Returns the software that a registration says it is.
fn software_of<'a>(registration: &'a Registration, facts: &'a Facts) -> Option<Software<'a>> {
    let id = registration.string_at(Field::SOFTWARE_ID)?;
    let statement = facts.statement.as_deref().filter(|statement| statement.has_software_id);
    Some(Software { id, issuer: statement.map(|statement| statement.issuer.as_str()) })
}

/// Releases reservations, in the shared store as well.
async fn release(reservations: &mut Vec<Reservation>) {
    for reservation in reservations.drain(..) {
        reservation.release().await;
    }
}

impl Config {
    /// Takes over the document from a policy layer further out, or reads and parses it. All awaiting before the call of
    /// the inner service happens here, and by reference, so that the future stays small.
    async fn take_in<B>(&self, parts: &mut Parts, body: B) -> Intake
    where
        B: Body<Error: Into<BoxError>> + Send + 'static,
    {
        let kind = MethodKind::of(&parts.method);
        match self.client_url.check(&parts.method, &parts.uri) {
            Err(rejection) => return Intake::Unusable(rejection, None, RegistrationBody::passed(body)),
            Ok(target) if kind.has_document() => self.check.document(&target, parts.uri.path(), kind),
            Ok(_) if self.report_only => return Intake::Empty { body: RegistrationBody::passed(body), closes: false },
            Ok(_) => {
                // RFC 9110 section 9.3 gives such a body no meaning, and some handlers register it nevertheless.
                let closes = !body::drain(body, &parts.headers).await;
                body::forget_old_body(&mut parts.headers);
                body::ask_for_plain_answer(&mut parts.headers);
                return Intake::Empty { body: RegistrationBody::empty(), closes };
            }
        }
        match RegistrationBody::downcast(body).map(RegistrationBody::into_registration) {
            Ok(Ok((registration, facts))) => Intake::Parsed(registration, facts, None),
            // Passed by a layer in report-only mode: read it like any other.
            Ok(Err(passed)) => self.read(parts, passed).await,
            Err(body) => self.read(parts, body).await,
        }
    }

    async fn read<B>(&self, parts: &Parts, body: B) -> Intake
    where
        B: Body<Error: Into<BoxError>> + Send + 'static,
    {
        let headers = &parts.headers;
        if !body::is_json(headers) {
            if body::is_form(headers) {
                self.check.form(parts.uri.path());
            }
            let detail = "the body must be application/json in UTF-8 without content encoding";
            let rejection = Rejection::new(ErrorCode::UnsupportedMediaType, "media-type", detail);
            return Intake::Unusable(rejection, None, RegistrationBody::passed(body));
        }
        let read = body::read(body, headers, self.limits.max_bytes, self.deadline).await;
        let (rejection, source) = match read.error {
            Some(error) => (self.unreadable(error), None),
            None => match Registration::parse_with(&read.bytes, &self.limits) {
                Ok(registration) => return Intake::Parsed(registration, Facts::default(), Some(read.bytes)),
                Err(error) => (self.unparsed(error), Some(read.bytes.clone())),
            },
        };
        Intake::Unusable(rejection, source, RegistrationBody::passed_after(read.bytes, read.rest))
    }

    fn unreadable(&self, error: ReadError) -> Rejection {
        match error {
            ReadError::Broken => {
                Rejection::new(ErrorCode::InvalidClientMetadata, "body", "the body could not be read to its end")
            }
            ReadError::TooLarge => self.unparsed(ParseError::TooLarge),
            ReadError::TooSlow => {
                let detail = format!("the body did not arrive within {}", InWords(self.deadline));
                Rejection::new(ErrorCode::RequestTimeout, "body", detail)
            }
        }
    }

    /// Rejects a document that can't be read, and names the limit that it exceeds.
    fn unparsed(&self, error: ParseError) -> Rejection {
        Rejection { detail: error.with_limit(&self.limits), ..error.into() }
    }

    fn evaluate(&self, parts: Parts, intake: Intake) -> Passage {
        let caller = parts.extensions.get::<Caller>().cloned().unwrap_or_default();
        let context = Context::of(Operation::of(&parts.method)).by(caller);
        if let Some(reminder) = &self.reminder {
            reminder.remind();
        }
        match intake {
            Intake::Empty { body, .. } => Passage::Unjudged(Request::from_parts(parts, body)),
            Intake::Parsed(registration, facts, source) => {
                let context = context.with_facts(facts);
                let shadow = self.shadow.as_ref().and_then(|shadow| {
                    let source = source.as_ref().map(|bytes| (bytes, &self.limits));
                    let first = self.names_client_of_url(&parts, &registration);
                    shadow.evaluate(&registration, &context.of_shadow(), first, source)
                });
                let mut passage = if self.report_only {
                    self.observe(parts, registration, source, context)
                } else {
                    self.judge(parts, registration, source, context)
                };
                if let Passage::Judged(_, evaluation) | Passage::Rejected(_, evaluation, _) = &mut passage {
                    evaluation.shadow = shadow.map(Box::new);
                }
                passage
            }
            Intake::Unusable(rejection, source, body) => {
                self.unusable(begin(&self.policy, &context), rejection, source, Request::from_parts(parts, body))
            }
        }
    }

    fn judge(&self, mut parts: Parts, registration: Registration, source: Option<Bytes>, context: Context) -> Passage {
        let has_ticket = self.charging.is_some() && parts.extensions.get::<Ticket>().is_some();
        let context = if has_ticket { context.deferring_spent() } else { context };
        let (mut evaluation, registration) = self.decide(&parts, registration, &context);
        if let Some(held) = evaluation.held.take_if(|_| !self.holds) {
            // Without a ledger nothing waits: the client would sign in at once.
            self.check.holds_nothing();
            evaluation.reject(&held);
        }
        if let Some(rejection) = evaluation.rejection.as_deref().cloned() {
            self.check.rejected(&registration, &rejection);
            evaluation.set_bytes(source.unwrap_or_default(), Bytes::new());
            return Passage::Rejected(rejection, evaluation, None);
        }
        tell_handler(&mut parts.extensions, &evaluation.facts);
        let (body, bytes) = RegistrationBody::checked(registration, evaluation.facts.clone());
        body::describe_body(&mut parts.headers, "application/json", bytes.len());
        evaluation.set_bytes(source.unwrap_or_default(), bytes);
        Passage::Judged(Request::from_parts(parts, body), evaluation)
    }

    /// Rejects an update whose `client_id` is not that of the URL. RFC 7592 section 2.2: the `client_id` in an update
    /// "MUST be the same as its currently issued client identifier". The registration access token is checked for the
    /// client of the URL.
    fn names_client_of_url(&self, parts: &Parts, registration: &Registration) -> Result<(), Rejection> {
        if MethodKind::of(&parts.method) != MethodKind::Update || registration.at(Field::CLIENT_ID).is_none() {
            return Ok(());
        }
        match (self.client_url.read(&parts.uri), registration.string_at(Field::CLIENT_ID)) {
            (UrlTarget::Client(of_url), Some(named)) if of_url == named => Ok(()),
            _ => {
                let detail = "must be the client of this URL";
                Err(Rejection::new(ErrorCode::InvalidClientMetadata, client_url::RULE, detail).with_field("client_id"))
            }
        }
    }

    /// Evaluates the policy, unless the URL is about another client. Returns the registration after the rules.
    fn decide(&self, parts: &Parts, registration: Registration, context: &Context) -> (Evaluation, Registration) {
        match self.names_client_of_url(parts, &registration) {
            Ok(()) => self.policy.evaluate_in_place(registration, context),
            Err(rejection) => (rejected(&self.policy, context, rejection), registration),
        }
    }

    /// Evaluates a copy, and forwards the request unchanged.
    fn observe(&self, parts: Parts, registration: Registration, source: Option<Bytes>, context: Context) -> Passage {
        let (mut evaluation, copy) = self.decide(&parts, registration.clone(), &context.report_only());
        if let Some(rejection) = &evaluation.reported {
            self.check.rejected(&copy, rejection);
        }
        let body = match source {
            Some(bytes) => {
                evaluation.set_bytes(bytes.clone(), bytes.clone());
                RegistrationBody::passed_after(bytes, None::<RegistrationBody>)
            }
            None => RegistrationBody::checked(registration, evaluation.facts.clone()).0,
        };
        Passage::Judged(Request::from_parts(parts, body), evaluation)
    }

    fn unusable(
        &self,
        mut evaluation: Evaluation,
        rejection: Rejection,
        source: Option<Bytes>,
        request: Request<RegistrationBody>,
    ) -> Passage {
        let source = source.unwrap_or_default();
        if !self.report_only {
            evaluation.set_bytes(source, Bytes::new());
            evaluation.reject(&rejection);
            return Passage::Rejected(rejection, evaluation, Some(Unread::of(request)));
        }
        evaluation.set_bytes(source.clone(), source);
        evaluation.observe(|evaluation| evaluation.reject(&rejection));
        Passage::Judged(request, evaluation)
    }
}

/// Begins an evaluation without the policy.
fn begin(policy: &Policy, context: &Context) -> Evaluation {
    let mut evaluation = Evaluation::begin(context);
    evaluation.set_policy(policy.fingerprint());
    evaluation
}

/// Returns the evaluation of a registration that was rejected before the policy was evaluated.
fn rejected(policy: &Policy, context: &Context, rejection: Rejection) -> Evaluation {
    let mut evaluation = begin(policy, context);
    evaluation.end(Err(rejection));
    evaluation
}

/// Puts the evaluated identity of the client into the extensions, for its consent page. An identity from another source
/// is removed.
fn tell_handler(extensions: &mut Extensions, facts: &Facts) {
    match &facts.identity {
        Some(identity) => _ = extensions.insert(Identity::clone(identity)),
        None if facts.identified => _ = extensions.remove::<Identity>(),
        None => {}
    }
}
