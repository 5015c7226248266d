//! [`ResponseLayer`]: checks and normalises the handler's response to a registration.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::response::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body::Body;
use serde::{Deserialize, Serialize};
use tower_service::Service;

use crate::audit::{RegisteredClient, Unanswerable};
use crate::client_url::{ClientUrl, UrlTarget};
use crate::layers::body::{self, ANSWER_LIMITS, Finish, Finished, RegistrationBody, ResponseBody, ResponseFuture};
use crate::layers::layered::Layered;
use crate::media_type::MediaType;
use crate::method::MethodKind;
use crate::registration::{Field, Registration};
use crate::rules::{Action, ConfigError, Draft, Evaluation, Operation, Statement};
use crate::rules::{ErrorCode, Rejection};

mod document;
mod errors;
mod public_url;
mod time;

use document::Asked;
use public_url::{PublicUrl, Viewpoint};

/// Checks and normalises the handler's response to a registration.
///
/// Clients fail on responses as often as servers fail on requests. Of 16 released MCP clients, 8 fail if a public
/// client is given a secret, 9 if a member is `null`, 2 if there is nothing but `client_id` and `redirect_uris`. So
/// every successful response to a `POST` or `PUT` that a policy has evaluated is read, regardless of its
/// `Content-Type`:
///
/// 1. A response to a `POST` must be a JSON object with a `client_id` that is a string (RFC 7591 section 3.2.1), not
///    empty, of printable ASCII (RFC 6749 appendix A.1), and not the address of a document (`https://…`). Its
///    `redirect_uris` must be among those that were forwarded. Anything else registers nothing, or something that no
///    rule has checked: the client gets a 502, and the audit event and the ledger say that the registration failed. A
///    response to a `PUT` may leave `client_id` out, but not name another client; without content (204, or an empty
///    body) it passes, though RFC 7592 section 2.2 wants the registration in it.
/// 2. A client that was registered with the method `none` must not be given a `client_secret`, or another method.
///    Taking the secret out would leave the server with a confidential client that can't authenticate, so by default
///    the response becomes a 500 and the audit event says why; [`with_secret`](ResponseLayer::with_secret) and
///    [`with_secret_methods`](ResponseLayer::with_secret_methods) change that.
/// 3. The response is normalised, unless [`with_normalise(false)`](ResponseLayer::with_normalise) switches this off:
///    - members that are `null` or `""` are dropped, and members of the checked registration that are missing are added
///      (RFC 7591 section 3.2.1: the response contains "all registered metadata about this client"); another success
///      than 201 to a `POST` becomes 201;
///    - `scope` becomes a string; `client_id_issued_at` and `client_secret_expires_at` become seconds if they are text,
///      fractions, milliseconds or dates, and are removed if they are none of these. A secret whose expiry is missing
///      or can't be read gets 0 (never; section 3.2.1 requires the member): the server says at the token endpoint when
///      it has expired;
///    - `registration_client_uri` becomes an absolute URL at the [public URL](ResponseLayer::with_public_url). Without
///      one, it is removed if it is relative, or leads to a host that only the server's own network can reach, unless
///      the request was sent to that host, as in development. The same holds for `Location`, and for members that are
///      no client metadata, such as `token_endpoint`, if they lead to such a host;
///    - `registration_client_uri` or `registration_access_token` without the other is removed (RFC 7592 section 3),
///      except for a token that replaces the one that the request was sent with; if there are both `jwks` and
///      `jwks_uri`, `jwks_uri` is removed.
///
/// 4. Where [`with_management`](ResponseLayer::with_management) says so, both are removed from responses to a `POST`.
///
/// A checked response leaves as `Content-Type: application/json`. JSON that can't be read, since it is too long,
/// malformed or compressed, becomes a 502: compression belongs outside of this layer. Responses to a `GET` behind a
/// [`PolicyLayer`](crate::layers::PolicyLayer) (RFC 7592 section 2.1) are normalised as in 3. if they are about a
/// client, and pass otherwise.
///
/// The handler's own errors are normalised, too, unless they [pass](ResponseLayer::pass_errors). One without a body that
/// RFC 7591 section 3.2.2 describes (`{"detail": …}`, text, HTML, nothing) is given one, on which clients don't fail. It
/// keeps its status, and headers such as `WWW-Authenticate`, `Allow` and `Retry-After`. A 404 at the URL of a client
/// becomes the 401 that RFC 7592 section 2.1 wants for a client that does not exist. A redirect becomes a 502: its target
/// would get a document that no rule has checked.
///
/// Every response gets `Cache-Control: no-store`, since it may hold credentials.
///
/// The layer stands directly in front of the handler, inside of the policy layers. The response to a request that none
/// of them has checked passes through unchanged.
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
/// use tower_dcr::layers::{PolicyLayer, RegistrationBody, ResponseLayer};
/// use tower_dcr::rules::MetadataAllowlist;
///
/// // A handler that answers with nothing but an identifier.
/// let handler = service_fn(async |_: Request<RegistrationBody>| {
///     Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from(r#"{"client_id":"c","client_uri":null}"#)))
/// });
/// let register = ServiceBuilder::new()
///     .layer(PolicyLayer::new(MetadataAllowlist::mcp()))
///     .layer(ResponseLayer::new())
///     .service(handler);
///
/// let answer = register.oneshot(post(r#"{"redirect_uris":["http://localhost/cb"]}"#)).await.unwrap();
/// assert_eq!(answer.status(), StatusCode::CREATED);
/// let body = answer.into_body().collect().await.unwrap().to_bytes();
/// assert!(body.starts_with(br#"{"application_type":"native","client_id":"c","grant_types":["authorization_code","#));
/// # });
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ResponseLayer {
    config: Arc<Settings>,
}

/// The settings, as in a policy file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Answer"))]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// The action if the handler gives a secret to a client that was registered with `none`.
    secret: SecretInResponse,
    /// Completes responses, and removes members that break clients.
    normalise: bool,
    /// The handling of the handler's own errors and redirects.
    errors: HandlerErrors,
    /// The handling of the credentials for client management (RFC 7592) in responses to registrations.
    management: Management,
    /// The origin by which clients know the server, as `https://as.example.com`: URLs of the server in responses are
    /// moved there.
    #[serde(skip_serializing_if = "Option::is_none")]
    public_url: Option<PublicUrl>,
    /// Passes responses unchanged, and reports their faults in audit events.
    report_only: bool,
    #[serde(skip)]
    client_url: ClientUrl,
}

/// The action if the handler gives a secret, or an authentication method, to a client that was registered with `none`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
enum SecretInResponse {
    /// The response passes if it names one of these methods: the operator wants confidential clients.
    Allow(Vec<String>),
    /// The client gets a 500. The handler has stored a client without an owner: the audit event has its `client_id`.
    #[default]
    #[serde(alias = "refuse")]
    Reject,
    /// The secret is removed and the method becomes `none`. For handlers that issue a secret but never ask for it; with
    /// any other handler the client can't get a token.
    Strip,
}

/// The handling of errors and redirects with which the handler itself answers a registration or an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
enum HandlerErrors {
    /// Errors are given a body that RFC 7591 section 3.2.2 describes, and redirects become a 502.
    #[default]
    Normalise,
    /// Errors and redirects pass unchanged.
    Pass,
}

/// The handling of `registration_access_token` and `registration_client_uri` in responses to registrations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
enum Management {
    /// Clients get them, and can read, update and delete their registration.
    #[default]
    Pass,
    /// They are removed. Equal registrations get the client that is there also from a server that always issues a token;
    /// new clients can't manage their registration.
    Strip,
}

pub(crate) const RULE: &str = "answer";

impl ResponseLayer {
    /// Creates a layer that normalises, and rejects responses without a client and secrets for public clients.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the action if the handler gives a secret, or an authentication method, to a client that was registered with
    /// `none` (default: [`Action::Reject`]). With `Reject` the client gets a 500. The handler has stored a client without
    /// an owner: the audit event has its `client_id`. With [`Action::Strip`] the secret is removed and the method becomes
    /// `none`: for handlers that issue a secret but never ask for it; with any other handler the client can't get a token.
    pub fn with_secret(self, action: Action) -> Self {
        let secret = if action == Action::Strip { SecretInResponse::Strip } else { SecretInResponse::Reject };
        self.change(|config| config.secret = secret)
    }

    /// Passes a secret for a client that was registered with `none` if the response names one of these methods, such as
    /// `client_secret_basic`: the operator wants confidential clients. The key in policy files is `answer.secret`.
    pub fn with_secret_methods<S: Into<String>>(self, methods: impl IntoIterator<Item = S>) -> Self {
        let methods = methods.into_iter().map(Into::into).collect();
        self.change(|config| config.secret = SecretInResponse::Allow(methods))
    }

    /// Passes the handler's own errors and redirects unchanged. By default they are normalised. The key in policy files is
    /// `answer.errors`.
    pub fn pass_errors(self) -> Self {
        self.change(|config| config.errors = HandlerErrors::Pass)
    }

    /// Sets the handling of `registration_access_token` and `registration_client_uri` in responses to registrations
    /// (default: [`Action::Pass`]). With [`Action::Strip`] they are removed: for servers that issue a token with every
    /// registration, such as Keycloak. A response with a token is never given to an equal registration, so that each of
    /// them becomes a new client there; without it, they are [deduplicated](crate::clients::Registrar#deduplication).
    /// New clients can't manage their registration (RFC 7592) then, and those that have a token keep it.
    pub fn with_management(self, action: Action) -> Self {
        let management = if action == Action::Strip { Management::Strip } else { Management::Pass };
        self.change(|config| config.management = management)
    }

    /// Sets the origin by which clients know the server: scheme, host and port (default: none). URLs of the server in
    /// responses (`registration_client_uri`, and others that lead to internal hosts) keep their path and query and are
    /// moved there; relative ones are resolved. Without an origin, URLs that clients can't reach are removed.
    ///
    /// ```
    /// let answer = tower_dcr::layers::ResponseLayer::new().with_public_url("https://as.example.com")?;
    /// # let _ = answer;
    /// assert!(tower_dcr::layers::ResponseLayer::new().with_public_url("as.example.com").is_err());
    /// # Ok::<_, tower_dcr::rules::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::Origin`] if `url` is not an `http` or `https` origin.
    pub fn with_public_url(self, url: impl AsRef<str>) -> Result<Self, ConfigError> {
        let url = PublicUrl::parse(url.as_ref())?;
        Ok(self.change(|config| config.public_url = Some(url)))
    }

    /// Sets the rules by which URLs of RFC 7592 name their client (default: [`ClientUrl::default`]). All layers of a route
    /// need the same.
    pub fn with_client_url(self, client_url: ClientUrl) -> Self {
        self.change(|config| config.client_url = client_url)
    }

    /// Passes responses unchanged, and reports rejections and faults in audit events instead. By default they are
    /// checked and rewritten. Only a response that breaks off is a 502. With a ledger, a response without a `client_id`
    /// is still rejected by [that layer](crate::layers::LifecycleLayer), which has a switch of its own.
    ///
    /// ```
    /// # use bytes::Bytes;
    /// # use http::{Request, Response, StatusCode};
    /// # use http_body_util::Full;
    /// # use tower::{ServiceBuilder, ServiceExt, service_fn};
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// use tower_dcr::layers::{PolicyLayer, RegistrationBody, ResponseLayer};
    /// use tower_dcr::rules::{Evaluation, MetadataAllowlist};
    ///
    /// let handler = service_fn(async |_: Request<RegistrationBody>| {
    ///     Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from(r#"{"error":"no room"}"#)))
    /// });
    /// let register = ServiceBuilder::new()
    ///     .layer(PolicyLayer::new(MetadataAllowlist::mcp()))
    ///     .layer(ResponseLayer::new().report_only())
    ///     .service(handler);
    /// let request = Request::post("/register").header("content-type", "application/json");
    /// let request = request.body(Full::<Bytes>::from(r#"{"redirect_uris":["http://localhost/cb"]}"#)).unwrap();
    /// let answer = register.oneshot(request).await.unwrap();
    /// assert_eq!(answer.status(), StatusCode::OK);
    /// let finding = answer.extensions().get::<Evaluation>().unwrap().findings.last().unwrap();
    /// assert_eq!((finding.rule, &*finding.field, finding.enforced), ("answer", "client_id", false));
    /// # });
    /// ```
    pub fn report_only(self) -> Self {
        self.change(|config| config.report_only = true)
    }

    /// Completes responses, and removes members that break clients (default: `true`). With `false` the content of
    /// successful responses stays as it is. They are checked all the same, and get `Content-Type: application/json` and
    /// the caching headers.
    pub fn with_normalise(self, normalise: bool) -> Self {
        self.change(|config| config.normalise = normalise)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            secret: SecretInResponse::Reject,
            normalise: true,
            errors: HandlerErrors::Normalise,
            management: Management::Pass,
            public_url: None,
            report_only: false,
            client_url: ClientUrl::default(),
        }
    }
}

impl ResponseLayer {
    fn change(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.config
    }

    pub(crate) fn of(settings: Settings) -> Self {
        Self { config: Arc::new(settings) }
    }

    /// Takes the public URL of `other`, unless this layer has its own: the address of a server is often set in code.
    pub(crate) fn or_public_url(mut self, other: &Self) -> Self {
        if self.config.public_url.is_none() && other.config.public_url.is_some() {
            Arc::make_mut(&mut self.config).public_url.clone_from(&other.config.public_url);
        }
        self
    }
}

impl<S, B, R> Service<Request<B>> for Layered<ResponseLayer, S>
where
    S: Service<Request<B>, Response = Response<R>>,
    B: 'static,
    R: Body<Data: Send> + Send + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<R, S::Error, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let expectation = Expectation::of(&request, &self.layer.config);
        ResponseFuture::new(self.inner.call(request), expectation)
    }
}

/// The checks for the response to one request.
struct Expectation {
    preflight: bool,
    /// Set if the request is for the URL of a client, whose errors are normalised.
    at_client_url: bool,
    /// `None` if no policy has evaluated the request.
    judged: Option<Judged>,
}

struct Judged {
    operation: Operation,
    /// The document that the handler was given to register. `None` if a client reads its registration.
    document: Option<Arc<Registration>>,
    /// The software statement that some of it is from.
    statement: Option<Arc<Statement>>,
    config: Arc<Settings>,
    uri: Uri,
    /// The authority that the request was sent to.
    asked: Option<Authority>,
    authorization: Option<HeaderValue>,
}

impl Expectation {
    fn of<B: 'static>(request: &Request<B>, config: &Arc<Settings>) -> Self {
        let host = || Authority::try_from(request.headers().get(header::HOST)?.as_bytes()).ok();
        let judged = |document, statement| Judged {
            operation: Operation::of(request.method()),
            document,
            statement,
            config: Arc::clone(config),
            uri: request.uri().clone(),
            asked: request.uri().authority().cloned().or_else(host),
            authorization: request.headers().get(header::AUTHORIZATION).cloned(),
        };
        let body = RegistrationBody::downcast_ref(request.body());
        let is_seen = body.is_some() && !config.report_only;
        let judged = body.and_then(|body| match body.share() {
            Some((document, facts)) => Some(judged(Some(document), facts.statement.clone())),
            None => (request.method() == Method::GET && !config.report_only).then(|| judged(None, None)),
        });
        let at_client_url = is_seen
            && config.errors == HandlerErrors::Normalise
            && MethodKind::of(request.method()).is_management()
            && matches!(config.client_url.read(request.uri()), UrlTarget::Client(_));
        Self { preflight: request.method() == Method::OPTIONS, at_client_url, judged }
    }
}

impl<B: Body<Data: Send> + Send + 'static> Finish<B> for Expectation {
    fn finish(self: Box<Self>, mut response: Response<B>) -> Finished<B> {
        if !self.preflight {
            body::forbid_storing(response.headers_mut());
        }
        if self.at_client_url && response.status() == StatusCode::NOT_FOUND {
            return Finished::later(errors::no_client(response));
        }
        let Some(judged) = self.judged else { return Finished::unchanged(response) };
        let (status, normalise) = (response.status(), judged.config.errors == HandlerErrors::Normalise);
        if judged.operation == Operation::Read {
            let is_whole = status.is_success() && status != StatusCode::PARTIAL_CONTENT;
            if is_whole && !is_stream(response.headers()) {
                return Finished::later(judged.finish_read(response));
            }
        } else if judged.config.report_only {
            if status.is_success() {
                return Finished::later(judged.report(response));
            }
            let mut response = response.map(ResponseBody::inner);
            if normalise && status.is_redirection() {
                body::attach(&mut response, Evaluation::would_have_rejected(judged.operation, &redirected()));
            }
            return Finished::Now(response);
        } else if status.is_success() {
            return Finished::later(judged.finish(response));
        } else if normalise && status.is_redirection() {
            return Finished::Now(Failure::of(redirected()).into_response(Evaluation::of(judged.operation)));
        } else if normalise && (status.is_client_error() || status.is_server_error()) {
            return Finished::later(errors::normalise(response));
        }
        Finished::unchanged(response)
    }
}

/// Returns whether the body of a response may be an endless stream.
fn is_stream(headers: &HeaderMap) -> bool {
    let Ok(Some(media)) = MediaType::of(headers) else { return false };
    media.is("text/event-stream") || media.is("multipart/x-mixed-replace")
}

impl Judged {
    async fn finish<R: Body>(self, response: Response<R>) -> Response<ResponseBody<R>> {
        let mut evaluation = Evaluation::of(self.operation);
        let (mut parts, body) = response.into_parts();
        let read = match is_plain(&parts.headers) {
            Ok(()) => body::read_answer(body).await,
            Err(failure) => return failure.into_response(evaluation),
        };
        let Some(bytes) = read else { return Failure::of(body::unreadable(RULE)).into_response(evaluation) };
        match self.examine(&mut parts, bytes.clone(), &mut evaluation) {
            Ok(None) => Response::from_parts(parts, ResponseBody::own(bytes)),
            Ok(Some(bytes)) => give_out(parts, bytes, evaluation),
            Err(failure) => failure.into_response(evaluation),
        }
    }

    /// Reports the decision about a response, which goes out unchanged.
    async fn report<R: Body + Send + 'static>(self, response: Response<R>) -> Response<ResponseBody<R>> {
        let mut evaluation = Evaluation::of(self.operation);
        let (parts, body) = response.into_parts();
        let (bytes, body) = match body::read_or_pass(body).await {
            Some(Ok(bytes)) => (Some(bytes.clone()), ResponseBody::own(bytes)),
            Some(Err(rest)) => (None, rest),
            None => return Failure::of(body::unreadable(RULE)).into_response(evaluation),
        };
        evaluation.observe(|evaluation| {
            let examined = is_plain(&parts.headers)
                .and_then(|()| bytes.ok_or_else(|| Failure::of(body::unreadable(RULE))))
                .and_then(|bytes| self.examine(&mut parts.clone(), bytes, evaluation));
            if let Err(failure) = examined {
                evaluation.reject(&failure.rejection);
            }
        });
        let mut response = Response::from_parts(parts, body);
        if !evaluation.findings.is_empty() {
            body::attach(&mut response, evaluation);
        }
        response
    }

    /// Checks and rewrites a response and its head. Returns its body; `None` if an update was answered without content.
    fn examine(
        &self,
        parts: &mut Parts,
        bytes: Bytes,
        evaluation: &mut Evaluation,
    ) -> Result<Option<Bytes>, Box<Failure>> {
        if self.operation == Operation::Update && bytes.trim_ascii().is_empty() {
            return Ok(None);
        }
        let bytes = without_mark(bytes);
        let Ok(mut answer) = Registration::parse_with(&bytes, &ANSWER_LIMITS) else {
            // Clients would read it in different ways.
            return Err(Failure::of(body::unreadable(RULE)));
        };
        let mut changed = self.check(&mut answer).map_err(|rejection| {
            let client = RegisteredClient::of(&answer);
            // A response about another client does not say whether the requested update was done.
            let is_other =
                self.operation == Operation::Update && rejection.field.as_deref() == Some(Field::CLIENT_ID.name());
            Box::new(Failure { rejection, client, is_done: !is_other })
        })?;
        changed |= self.strip_management(&mut answer);
        if self.config.normalise {
            changed |= self.mend(&mut answer, evaluation);
            self.show_location(&mut parts.headers);
        }
        changed |= self.return_statement(&mut answer);
        let bytes = if changed { Bytes::from(answer.canonical_bytes()) } else { bytes };
        if self.config.normalise && self.operation == Operation::Create {
            parts.status = StatusCode::CREATED;
        }
        parts.extensions.insert(RegisteredClient::of(&answer));
        Ok(Some(bytes))
    }

    /// Normalises the response to a client that reads its registration.
    async fn finish_read<R: Body + Send + 'static>(self, response: Response<R>) -> Response<ResponseBody<R>> {
        let (mut parts, body) = response.into_parts();
        let coded = body::is_coded(&parts.headers);
        let bytes = match body::read_or_pass(body).await {
            Some(Ok(bytes)) => bytes,
            Some(Err(rest)) => return Response::from_parts(parts, rest),
            None => return body::reject(body::unreadable(RULE)),
        };
        let answer = Registration::parse_with(&without_mark(bytes.clone()), &ANSWER_LIMITS).ok();
        let Some(mut answer) = answer.filter(|answer| !coded && document::is_client(answer)) else {
            return Response::from_parts(parts, ResponseBody::own(bytes));
        };
        let mut evaluation = Evaluation::default();
        let mut bytes = without_mark(bytes);
        if self.config.normalise {
            if self.mend(&mut answer, &mut evaluation) {
                bytes = Bytes::from(answer.canonical_bytes());
            }
            self.show_location(&mut parts.headers);
        }
        give_out(parts, bytes, Evaluation::default())
    }

    /// Rejects a response that must not go out in any mode. Returns whether a member was removed.
    fn check(&self, answer: &mut Registration) -> Result<bool, Rejection> {
        let Some(forwarded) = self.document.as_deref() else { return Ok(false) };
        let fault =
            |field: Field| move |detail| Rejection::new(ErrorCode::BadGateway, RULE, detail).with_field(field.name());
        match self.operation {
            Operation::Create => {
                body::issued_client_id(answer).map_err(fault(Field::CLIENT_ID))?;
                document::check_redirect_uris(answer, forwarded).map_err(fault(Field::REDIRECT_URIS))?;
            }
            Operation::Update => {
                document::check_updated(answer, forwarded, &self.uri).map_err(fault(Field::CLIENT_ID))?;
                // If an update leaves members out, the server fills in its own.
                if forwarded.at(Field::REDIRECT_URIS).is_some() {
                    document::check_redirect_uris(answer, forwarded).map_err(fault(Field::REDIRECT_URIS))?;
                }
            }
            // Nothing was forwarded.
            Operation::Read | Operation::Delete | Operation::Document => {}
        }
        self.config.check_secret(answer, forwarded)
    }

    fn mend(&self, answer: &mut Registration, evaluation: &mut Evaluation) -> bool {
        let is_management = self.operation != Operation::Create;
        let asked = Asked {
            forwarded: self.document.as_deref(),
            viewpoint: self.viewpoint(),
            is_management,
            sent_token: self.authorization.as_ref().filter(|_| is_management).and_then(token_in),
        };
        let mended = asked.mend(answer);
        if !mended.wrong.is_empty() {
            let mut draft = Draft::new(answer, evaluation);
            draft.open(RULE);
            mended.wrong.iter().for_each(|field| draft.flag(field.name()));
        }
        mended.changed
    }

    /// Removes the credentials for client management from the response to a registration. RFC 7592 section 3 requires
    /// both where clients can manage themselves. The response to an update keeps them: such a client has a token.
    fn strip_management(&self, answer: &mut Registration) -> bool {
        if self.config.management != Management::Strip || self.operation != Operation::Create {
            return false;
        }
        let token = answer.remove(Field::REGISTRATION_ACCESS_TOKEN.name());
        answer.remove(Field::REGISTRATION_CLIENT_URI.name()) || token
    }

    fn show_location(&self, headers: &mut HeaderMap) {
        let Some(location) = headers.remove(header::LOCATION) else { return };
        let seen = location.to_str().ok().and_then(|location| {
            let viewpoint = self.viewpoint();
            // Unlike a member, it may be relative (RFC 9110 section 10.2.2).
            if viewpoint.is_internal(location) { viewpoint.see(location) } else { Some(location.to_owned()) }
        });
        if let Some(seen) = seen.and_then(|seen| HeaderValue::try_from(seen).ok()) {
            headers.insert(header::LOCATION, seen);
        }
    }

    fn viewpoint(&self) -> Viewpoint<'_> {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        Viewpoint { public: self.config.public_url.as_ref(), asked: self.asked.as_ref(), path }
    }

    /// Adds the software statement, which the handler did not get. RFC 7591 section 3.2.1: a statement that was part of
    /// the request "MUST be returned unmodified in the response".
    fn return_statement(&self, answer: &mut Registration) -> bool {
        let Some(statement) = &self.statement else { return false };
        answer.remove("software_statement");
        answer.insert_default("software_statement", statement.raw.clone())
    }
}

impl Settings {
    /// Checks for a secret or method given to a public client. Returns whether a member was removed.
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
            SecretInResponse::Allow(methods) if allowed(methods) => Ok(false),
            SecretInResponse::Strip => {
                answer.remove(Field::CLIENT_SECRET.name());
                answer.remove(Field::CLIENT_SECRET_EXPIRES_AT.name());
                if renamed {
                    answer.remove(METHOD.name());
                    answer.insert_default(METHOD.name(), "none");
                }
                Ok(true)
            }
            SecretInResponse::Allow(_) | SecretInResponse::Reject => {
                let detail = "the server gave a public client a secret or another method";
                Err(Rejection::new(ErrorCode::ServerError, RULE, detail))
            }
        }
    }
}

fn token_in(authorization: &HeaderValue) -> Option<&str> {
    Some(authorization.to_str().ok()?.split_once(' ')?.1.trim())
}

/// Strips a byte order mark, which some servers send and RFC 8259 section 8.1 lets readers ignore.
fn without_mark(mut bytes: Bytes) -> Bytes {
    if bytes.starts_with(b"\xEF\xBB\xBF") { bytes.split_off(3) } else { bytes }
}

fn redirected() -> Rejection {
    Rejection::new(ErrorCode::BadGateway, RULE, "the server redirected the registration")
}

fn is_plain(headers: &HeaderMap) -> Result<(), Box<Failure>> {
    if !body::is_coded(headers) {
        return Ok(());
    }
    let detail = "in the server's answer can't be read";
    Err(Failure::of(Rejection::new(ErrorCode::BadGateway, RULE, detail).with_field("content-encoding")))
}

/// The reason for withholding a response.
struct Failure {
    rejection: Rejection,
    client: RegisteredClient,
    /// The handler has succeeded, for the right client, and layers further out have to know.
    is_done: bool,
}

impl Failure {
    fn of(rejection: Rejection) -> Box<Self> {
        Box::new(Self { rejection, client: RegisteredClient(None), is_done: false })
    }

    fn into_response<R: Body>(self, mut evaluation: Evaluation) -> Response<ResponseBody<R>> {
        let Self { rejection, client, is_done } = self;
        tracing::warn!(target: "tower_dcr::response", client_id = client.0, "registration failed: {rejection}");
        evaluation.reject(&rejection);
        let mut response = body::reject(rejection);
        response.extensions_mut().insert(evaluation);
        response.extensions_mut().insert(client);
        if is_done {
            response.extensions_mut().insert(Unanswerable);
        }
        response
    }
}

fn give_out<R: Body>(mut parts: Parts, bytes: Bytes, evaluation: Evaluation) -> Response<ResponseBody<R>> {
    describe(&mut parts.headers, bytes.len());
    if !evaluation.findings.is_empty() {
        parts.extensions.insert(evaluation);
    }
    Response::from_parts(parts, ResponseBody::own(bytes))
}

/// Makes the headers of a response describe its body, replacing the handler's own.
fn describe(headers: &mut HeaderMap, length: usize) {
    body::forget_replaced_body(headers);
    headers.remove(header::ETAG);
    body::describe(headers, body::JSON, length);
}
