//! [`AnswerLayer`]: checks what the handler answers to a registration that a guard let through.
//!
//! Clients stumble over answers as often as servers stumble over requests. Of 16 released MCP clients, 8 fail if a
//! public client is given a secret, 9 if a member is `null`, 2 if there is nothing but `client_id` and
//! `redirect_uris`. So every successful answer to a `POST` or `PUT` that a guard has judged is read, whatever its
//! `Content-Type` says:
//!
//! 1. An answer to a `POST` must be a JSON object with a `client_id` that is a string (RFC 7591 section 3.2.1), not empty,
//!    of printable ASCII (RFC 6749 appendix A.1), and not the address of a document (`https://…`). `redirect_uris` in it must
//!    be some of those that were forwarded. Anything else registers nothing, or something that nobody has judged: the client
//!    gets a 502, and the audit event and the ledger say that the registration failed. An answer to a `PUT` may leave
//!    `client_id` out, but not name another client; without content (204, or nothing in it) it passes, though RFC 7592
//!    section 2.2 wants the registration in it.
//! 2. A client that was registered with the method `none` must not be given a `client_secret`, or another method.
//!    Taking the secret out would leave the server with a confidential client that can't authenticate, so by default
//!    the answer becomes a 500 and the audit event says why; [`SecretInAnswer`] has the other choices.
//! 3. The answer is written as clients read it, unless [`without_normalising`](AnswerLayer::without_normalising) switches
//!    this off:
//!    - members that are `null` or `""` are dropped, and members of the checked registration that are missing are added (RFC
//!      7591 section 3.2.1: the response contains "all registered metadata about this client"); another success than 201 to a
//!      `POST` becomes 201;
//!    - `scope` becomes a string; `client_id_issued_at` and `client_secret_expires_at` become seconds if they are text,
//!      fractions, milliseconds or dates, and go if they are none of these. A secret whose expiry is missing or can't be
//!      read gets 0 (never; section 3.2.1 requires the member): the server says at the token endpoint when it has expired;
//!    - `registration_client_uri` becomes an absolute URL at the [public URL](AnswerLayer::with_public_url). Without one, it
//!      goes if it is relative, or leads to a host that only the server's own network can reach, unless the request was sent
//!      to that host, as in development. The same holds for `Location`, and for members that are no client metadata, such as
//!      `token_endpoint`, if they lead to such a host;
//!    - of `registration_client_uri` and `registration_access_token`, one without the other goes (RFC 7592 section 3), but
//!      for a token that replaces the one that the request was sent with; of `jwks` and `jwks_uri`, the URI goes.
//!
//! What was judged leaves as `Content-Type: application/json`. JSON that can't be read, since it is too long, malformed or
//! compressed, becomes a 502: compression belongs outside of this layer. Answers to a `GET` behind a guard (RFC 7592 section
//! 2.1) are written as in 3. if they are about a client, and pass otherwise.
//!
//! The handler's own errors are given a body that clients read, and its redirects become a 502: see [`HandlerErrors`].
//! Every answer gets `Cache-Control: no-store`: it may hold credentials.
//!
//! The layer stands directly in front of the handler, inside of the guards; a request that no guard has checked passes
//! through it unchanged.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::response::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body::Body;
use serde::{Deserialize, Serialize};
use tower_layer::Layer;
use tower_service::Service;

use crate::body::{
    self, ANSWER_LIMITS, AnswerFuture, Finish, Finished, MediaType, ReadAnswer, RegistrationBody, ResponseBody,
    ResponseFuture,
};
use crate::event::{RegisteredClient, Unanswerable};
use crate::policy::{ConfigError, Operation, Review, Statement, Submission};
use crate::registration::{Field, Registration};
use crate::rejection::{ErrorCode, Rejection};

mod document;
mod errors;
mod public_url;
mod time;

use document::Asked;
use public_url::{PublicUrl, Viewpoint};

/// Checks the handler's answers. See the [module docs](self).
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
/// use tower_dcr::policy::MetadataAllowlist;
/// use tower_dcr::{AnswerLayer, GuardLayer, RegistrationBody};
///
/// // A handler that answers with nothing but an identifier.
/// let handler = service_fn(async |_: Request<RegistrationBody>| {
///     Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from(r#"{"client_id":"c","client_uri":null}"#)))
/// });
/// let register = ServiceBuilder::new()
///     .layer(GuardLayer::new(MetadataAllowlist::mcp()))
///     .layer(AnswerLayer::new())
///     .service(handler);
///
/// let answer = register.oneshot(post(r#"{"redirect_uris":["http://localhost/cb"]}"#)).await.unwrap();
/// assert_eq!(answer.status(), StatusCode::CREATED);
/// let body = answer.into_body().collect().await.unwrap().to_bytes();
/// assert!(body.starts_with(br#"{"application_type":"native","client_id":"c","grant_types":["authorization_code"]"#));
/// # });
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct AnswerLayer {
    config: Arc<Settings>,
}

/// As a policy file has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Answer"))]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// What happens when the handler gives a secret to a client that was registered with `none`.
    secret: SecretInAnswer,
    /// Whether what is missing in an answer is completed, and what breaks clients is taken out.
    normalise: bool,
    /// Sets the handling of the handler's own errors and redirects.
    errors: HandlerErrors,
    /// The origin by which clients know the server, as `https://as.example.com`: URLs of the server in answers are put there.
    #[serde(skip_serializing_if = "Option::is_none")]
    public_url: Option<PublicUrl>,
    /// Whether answers pass as they are, since the guard only observes.
    #[serde(skip)]
    observes: bool,
}

/// What happens when the handler gives a secret, or an authentication method, to a client that was registered with
/// `none`.
///
/// ```
/// use tower_dcr::SecretInAnswer;
///
/// let guard = tower_dcr::mcp().with_secret_in_answer(SecretInAnswer::Allow(vec!["client_secret_basic".into()]));
/// # let _ = guard;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SecretInAnswer {
    /// The answer passes if it names one of these methods: the operator wants confidential clients.
    Allow(Vec<String>),
    /// The client gets a 500. The handler has stored a client that nobody knows: the audit event has its `client_id`.
    #[default]
    #[serde(rename = "reject", alias = "refuse")]
    Refuse,
    /// The secret is taken out and the method becomes `none`. For handlers that mint a secret which they then don't
    /// ask for; with any other handler the client can't get a token.
    Strip,
}

/// The handling of errors and redirects with which the handler itself answers a registration or an update.
///
/// ```
/// use tower_dcr::{AnswerLayer, HandlerErrors};
///
/// let guard = tower_dcr::mcp().with_answer(AnswerLayer::new().with_errors(HandlerErrors::Pass));
/// # let _ = guard;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HandlerErrors {
    /// An error without a body that RFC 7591 section 3.2.2 describes (`{"detail": …}`, text, HTML, nothing) is given one, on
    /// which clients don't fail. It keeps its status, and the headers that say what to do about it, such as
    /// `WWW-Authenticate`, `Allow` and `Retry-After`. A redirect becomes a 502: what a client would send elsewhere is not what
    /// was judged.
    #[default]
    Normalise,
    /// They pass as they are.
    Pass,
}

pub(crate) const RULE: &str = "answer";

impl AnswerLayer {
    /// Rejects answers that register nothing and secrets for public clients, and normalises.
    pub fn new() -> Self {
        Self { config: Arc::default() }
    }

    /// What happens to a secret for a public client.
    pub fn with_secret(mut self, secret: SecretInAnswer) -> Self {
        Arc::make_mut(&mut self.config).secret = secret;
        self
    }

    /// Sets what happens to the handler's own errors and redirects ([`HandlerErrors::Normalise`] by default).
    pub fn with_errors(mut self, errors: HandlerErrors) -> Self {
        Arc::make_mut(&mut self.config).errors = errors;
        self
    }

    /// Sets the origin by which clients know the server: scheme, host and port. URLs of the server in answers
    /// (`registration_client_uri`, and others that lead to internal hosts) keep their path and query and are put there;
    /// relative ones are resolved. By default there is none, and what leads nowhere goes.
    ///
    /// ```
    /// let answer = tower_dcr::AnswerLayer::new().with_public_url("https://as.example.com")?;
    /// # let _ = answer;
    /// assert!(tower_dcr::AnswerLayer::new().with_public_url("as.example.com").is_err());
    /// # Ok::<_, tower_dcr::policy::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError::Origin`] for anything but an `http` or `https` origin.
    pub fn with_public_url(mut self, url: impl AsRef<str>) -> Result<Self, ConfigError> {
        Arc::make_mut(&mut self.config).public_url = Some(PublicUrl::parse(url.as_ref())?);
        Ok(self)
    }

    /// Leaves what the handler's successful answers say as it is. They are checked all the same, and get
    /// `Content-Type: application/json` and the caching headers.
    pub fn without_normalising(mut self) -> Self {
        Arc::make_mut(&mut self.config).normalise = false;
        self
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            secret: SecretInAnswer::Refuse,
            normalise: true,
            errors: HandlerErrors::Normalise,
            public_url: None,
            observes: false,
        }
    }
}

impl AnswerLayer {
    pub(crate) fn settings(&self) -> &Settings {
        &self.config
    }

    pub(crate) fn of(settings: Settings) -> Self {
        Self { config: Arc::new(settings) }
    }

    /// Behind a guard that only observes: nothing that it lets pass is touched.
    pub(crate) fn report_only(mut self) -> Self {
        Arc::make_mut(&mut self.config).observes = true;
        self
    }

    /// Takes the public URL of `other`, unless it has one of its own: where a server can be reached is often said in code.
    pub(crate) fn or_public_url(mut self, other: &Self) -> Self {
        if self.config.public_url.is_none() && other.config.public_url.is_some() {
            Arc::make_mut(&mut self.config).public_url.clone_from(&other.config.public_url);
        }
        self
    }
}

impl Default for AnswerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for AnswerLayer {
    type Service = Answer<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Answer { inner, config: Arc::clone(&self.config) }
    }
}

/// The service that [`AnswerLayer`] makes.
///
/// ```
/// use tower_dcr::AnswerLayer;
/// use tower_dcr::answer::Answer;
/// use tower_layer::Layer;
///
/// fn checked<S>(handler: S) -> Answer<S> {
///     AnswerLayer::new().layer(handler)
/// }
/// # let _ = checked(());
/// ```
#[derive(Clone, Debug)]
pub struct Answer<S> {
    inner: S,
    config: Arc<Settings>,
}

impl<S, B, R> Service<Request<B>> for Answer<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Send + 'static,
    B: 'static,
    R: Body + Send + 'static,
    R::Data: Send,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = AnswerFuture<S::Future, Expectation, R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let expectation = Expectation::of(&request, &self.config);
        AnswerFuture::new(self.inner.call(request), expectation)
    }
}

/// What is asked of the answer to one request.
#[derive(Debug)]
pub struct Expectation {
    preflight: bool,
    /// Nothing is, if no guard has seen the request.
    judged: Option<Box<Judged>>,
}

#[derive(Debug)]
struct Judged {
    operation: Option<Operation>,
    /// What the handler was given to register; nothing when a client reads its registration.
    document: Option<Arc<Registration>>,
    /// Where some of it is from.
    statement: Option<Arc<Statement>>,
    config: Arc<Settings>,
    uri: Uri,
    host: Option<HeaderValue>,
    authorization: Option<HeaderValue>,
}

impl Expectation {
    fn of<B: 'static>(request: &Request<B>, config: &Arc<Settings>) -> Self {
        let header = |name| request.headers().get(name).cloned();
        let judged = |operation, document, statement| {
            Box::new(Judged {
                operation,
                document,
                statement,
                config: Arc::clone(config),
                uri: request.uri().clone(),
                host: header(header::HOST),
                authorization: header(header::AUTHORIZATION),
            })
        };
        let body = RegistrationBody::downcast_ref(request.body()).filter(|_| !config.observes);
        let judged = body.and_then(|body| match (body.share(), body.facts()) {
            (Some(document), Some(facts)) => {
                Some(judged(Some(Operation::of(request.method())), Some(document), facts.statement.clone()))
            }
            _ => (request.method() == Method::GET).then(|| judged(None, None, None)),
        });
        Self { preflight: request.method() == Method::OPTIONS, judged }
    }
}

impl<B, E> Finish<B, E> for Expectation
where
    B: Body + Send + 'static,
    B::Data: Send,
    E: Send + 'static,
{
    fn finish(self, answer: Result<Response<B>, E>) -> Finished<B, E> {
        let mut response = match answer {
            Ok(response) => response,
            Err(error) => return Finished::Now(Err(error)),
        };
        if !self.preflight {
            body::forbid_storing(response.headers_mut());
        }
        let Some(judged) = self.judged else { return Finished::Now(Ok(response.map(ResponseBody::inner))) };
        let (status, normalise) = (response.status(), judged.config.errors == HandlerErrors::Normalise);
        match judged.operation {
            Some(operation) if status.is_success() => {
                Finished::Later(ResponseFuture::new(async move { Ok(judged.settle(response, operation).await) }))
            }
            Some(operation) if normalise && status.is_redirection() => {
                let rejection = Rejection::new(ErrorCode::BadGateway, RULE, "the server redirected the registration");
                Finished::Now(Ok(refuse(rejection, Review::of(operation), RegisteredClient(None))))
            }
            Some(_) if normalise && (status.is_client_error() || status.is_server_error()) => {
                Finished::Later(ResponseFuture::new(async move { Ok(errors::normalise(response).await) }))
            }
            None if status.is_success() && status != StatusCode::PARTIAL_CONTENT && !is_stream(response.headers()) => {
                Finished::Later(ResponseFuture::new(async move { Ok(judged.settle_read(response).await) }))
            }
            _ => Finished::Now(Ok(response.map(ResponseBody::inner))),
        }
    }
}

/// Returns whether an answer may go on for as long as somebody listens, and is nothing that could be read first.
fn is_stream(headers: &HeaderMap) -> bool {
    let Ok(Some(media)) = MediaType::of(headers) else { return false };
    media.is("text/event-stream") || media.is("multipart/x-mixed-replace")
}

impl Judged {
    async fn settle<R: Body>(
        self: Box<Self>,
        response: Response<R>,
        operation: Operation,
    ) -> Response<ResponseBody<R>> {
        let mut review = Review::of(operation);
        let (mut parts, body) = response.into_parts();
        if body::is_coded(&parts.headers) {
            let detail = "in the server's answer can't be read";
            let rejection = Rejection::new(ErrorCode::BadGateway, RULE, detail).with_field("content-encoding");
            return refuse(rejection, review, RegisteredClient(None));
        }
        let ReadAnswer::Complete(bytes) = body::read_answer(body).await else {
            return refuse(unreadable(), review, RegisteredClient(None));
        };
        if operation == Operation::Update && bytes.trim_ascii().is_empty() {
            return Response::from_parts(parts, ResponseBody::own(bytes));
        }
        let bytes = without_mark(bytes);
        let Ok(mut answer) = Registration::parse_with(&bytes, &ANSWER_LIMITS) else {
            // Nobody can say what the client would make of it.
            return refuse(unreadable(), review, RegisteredClient(None));
        };
        let client = RegisteredClient::of(&answer);
        let mut changed = match self.check(&mut answer, operation) {
            Ok(stripped) => stripped,
            // It is not about the client that was to be updated: what became of that one is not known.
            Err(rejection) if operation == Operation::Update && rejection.field() == Some(Field::CLIENT_ID.name()) => {
                return refuse(rejection, review, client);
            }
            Err(rejection) => return withhold(rejection, review, client),
        };
        if self.config.normalise {
            changed |= self.mend(&mut answer, &mut review);
            self.show_location(&mut parts.headers);
        }
        changed |= self.return_statement(&mut answer);
        let bytes = if changed { Bytes::from(answer.canonical_bytes()) } else { bytes };
        if self.config.normalise && operation == Operation::Create {
            parts.status = StatusCode::CREATED;
        }
        parts.extensions.insert(RegisteredClient::of(&answer));
        give_out(parts, bytes, review)
    }

    /// What a client reads of itself.
    async fn settle_read<R: Body>(self: Box<Self>, response: Response<R>) -> Response<ResponseBody<R>> {
        let (mut parts, body) = response.into_parts();
        let coded = body::is_coded(&parts.headers);
        let bytes = match body::read_or_pass(body).await {
            Some(Ok(bytes)) => bytes,
            Some(Err(rest)) => return Response::from_parts(parts, rest),
            None => return body::refuse(unreadable()),
        };
        let answer = Registration::parse_with(&without_mark(bytes.clone()), &ANSWER_LIMITS).ok();
        let Some(mut answer) = answer.filter(|answer| !coded && document::is_client(answer)) else {
            return Response::from_parts(parts, ResponseBody::own(bytes));
        };
        let mut review = Review::default();
        let mut bytes = without_mark(bytes);
        if self.config.normalise {
            if self.mend(&mut answer, &mut review) {
                bytes = Bytes::from(answer.canonical_bytes());
            }
            self.show_location(&mut parts.headers);
        }
        give_out(parts, bytes, Review::default())
    }

    /// What must not go out, whatever else the answer is like. Says whether something was taken out.
    fn check(&self, answer: &mut Registration, operation: Operation) -> Result<bool, Rejection> {
        let Some(forwarded) = self.document.as_deref() else { return Ok(false) };
        let fault = |field| move |detail| document::rejection(ErrorCode::BadGateway, field, detail);
        match operation {
            Operation::Create => {
                body::issued_client_id(answer).map_err(fault(Field::CLIENT_ID))?;
                document::check_redirect_uris(answer, forwarded).map_err(fault(Field::REDIRECT_URIS))?;
            }
            Operation::Update => {
                document::check_updated(answer, forwarded, &self.uri).map_err(fault(Field::CLIENT_ID))?;
                // Of an update in part, the server fills in what it has.
                if forwarded.at(Field::REDIRECT_URIS).is_some() {
                    document::check_redirect_uris(answer, forwarded).map_err(fault(Field::REDIRECT_URIS))?;
                }
            }
            // Nothing was forwarded.
            Operation::Read | Operation::Delete => {}
        }
        self.config.check_secret(answer, forwarded)
    }

    fn mend(&self, answer: &mut Registration, review: &mut Review) -> bool {
        let asked = self.asked();
        let viewpoint = self.viewpoint(asked.as_ref());
        let is_spare_token = |token: &str| self.is_spare_token(token);
        let is_management = self.operation != Some(Operation::Create);
        let forwarded = self.document.as_deref();
        let mended = Asked { forwarded, viewpoint, is_management, is_spare_token: &is_spare_token }.mend(answer);
        if !mended.wrong.is_empty() {
            let mut submission = Submission::new(answer, review);
            submission.begin(RULE);
            mended.wrong.iter().for_each(|field| submission.flag(field.name()));
        }
        mended.changed
    }

    fn show_location(&self, headers: &mut HeaderMap) {
        let Some(location) = headers.remove(header::LOCATION) else { return };
        let asked = self.asked();
        let seen = location.to_str().ok().and_then(|location| {
            let viewpoint = self.viewpoint(asked.as_ref());
            // Unlike a member, it may be relative (RFC 9110 section 10.2.2).
            if viewpoint.is_internal(location) { viewpoint.see(location) } else { Some(location.to_owned()) }
        });
        if let Some(seen) = seen.and_then(|seen| HeaderValue::try_from(seen).ok()) {
            headers.insert(header::LOCATION, seen);
        }
    }

    /// The authority that the request was sent to.
    fn asked(&self) -> Option<Authority> {
        let host = || Authority::try_from(self.host.as_ref()?.as_bytes()).ok();
        self.uri.authority().cloned().or_else(host)
    }

    fn viewpoint<'a>(&'a self, asked: Option<&'a Authority>) -> Viewpoint<'a> {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        Viewpoint { public: self.config.public_url.as_ref(), asked, path }
    }

    /// A token that an update or a read answers with, and that is not the one it was sent with, has replaced that one (RFC
    /// 7592 section 3): the client has no other any more.
    fn is_spare_token(&self, token: &str) -> bool {
        let sent = self.authorization.as_ref().and_then(|value| value.to_str().ok()?.split_once(' '));
        match (self.operation, sent) {
            (Some(Operation::Create), _) | (_, None) => true,
            (_, Some((_, sent))) => sent.trim() == token,
        }
    }

    /// RFC 7591 section 3.2.1: a software statement that was part of the request "MUST be returned unmodified in the
    /// response". The handler did not get it.
    fn return_statement(&self, answer: &mut Registration) -> bool {
        let Some(statement) = &self.statement else { return false };
        answer.remove("software_statement");
        answer.insert_default("software_statement", statement.raw.clone())
    }
}

impl Settings {
    /// Says whether a secret was taken out.
    fn check_secret(&self, answer: &mut Registration, registered: &Registration) -> Result<bool, Rejection> {
        const METHOD: Field = Field::TOKEN_ENDPOINT_AUTH_METHOD;
        if registered.string_at(METHOD) != Some("none") {
            return Ok(false);
        }
        let method = answer.string_at(METHOD).filter(|method| !method.is_empty() && *method != "none");
        let secret = answer.at(Field::CLIENT_SECRET).is_some_and(|secret| !secret.is_empty());
        let renamed = method.is_some();
        if !secret && !renamed {
            return Ok(false);
        }
        let allowed = |methods: &[String]| method.is_some_and(|method| methods.iter().any(|listed| listed == method));
        match &self.secret {
            SecretInAnswer::Allow(methods) if allowed(methods) => Ok(false),
            SecretInAnswer::Strip => {
                answer.remove(Field::CLIENT_SECRET.name());
                answer.remove(Field::CLIENT_SECRET_EXPIRES_AT.name());
                if renamed {
                    answer.remove(METHOD.name());
                    answer.insert_default(METHOD.name(), "none");
                }
                Ok(true)
            }
            SecretInAnswer::Allow(_) | SecretInAnswer::Refuse => {
                let detail = "the server gave a public client a secret or another method";
                Err(Rejection::new(ErrorCode::ServerError, RULE, detail))
            }
        }
    }
}

/// Some servers begin with a byte order mark, which RFC 8259 section 8.1 lets readers ignore.
fn without_mark(mut bytes: Bytes) -> Bytes {
    if bytes.starts_with(b"\xEF\xBB\xBF") { bytes.split_off(3) } else { bytes }
}

fn unreadable() -> Rejection {
    Rejection::new(ErrorCode::BadGateway, RULE, "the server's answer could not be read")
}

/// Keeps a success from the client that is about the right one. What the handler has done is done, and is to be known further
/// out.
fn withhold<R>(rejection: Rejection, review: Review, client: RegisteredClient) -> Response<ResponseBody<R>> {
    let mut response = refuse(rejection, review, client);
    response.extensions_mut().insert(Unanswerable);
    response
}

fn refuse<R>(rejection: Rejection, mut review: Review, client: RegisteredClient) -> Response<ResponseBody<R>> {
    tracing::warn!(target: "tower_dcr::answer", client_id = client.0, "registration failed: {rejection}");
    review.refused(&rejection);
    let mut response = body::refuse(rejection);
    response.extensions_mut().insert(review);
    response.extensions_mut().insert(client);
    response
}

fn give_out<R>(mut parts: Parts, bytes: Bytes, review: Review) -> Response<ResponseBody<R>> {
    describe(&mut parts.headers, bytes.len());
    if !review.findings().is_empty() {
        parts.extensions.insert(review);
    }
    Response::from_parts(parts, ResponseBody::own(bytes))
}

/// Makes the headers of an answer say what its body is, whatever the handler has called it.
fn describe(headers: &mut HeaderMap, length: usize) {
    body::forget_old_body(headers);
    headers.remove(header::ETAG);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
