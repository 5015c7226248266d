//! [`AnswerLayer`]: checks what the handler answers to a registration that a guard let through.
//!
//! Clients stumble over answers as often as servers stumble over requests. Of 16 released MCP clients, 8 fail if a
//! public client is given a secret, 9 if a member is `null`, 2 if there is nothing but `client_id` and
//! `redirect_uris`. So, of every successful answer to a `POST` or `PUT`:
//!
//! 1. A client that was registered with the method `none` must not be given a `client_secret`, or another method.
//!    Taking the secret out would leave the server with a confidential client that can't authenticate, so by default
//!    the answer becomes a 500 and the audit event says why; [`SecretInAnswer`] has the other choices.
//! 2. Members that are `null` or `""` are dropped, members of the checked registration that are missing are added
//!    (RFC 7591 section 3.2.1: the response contains "all registered metadata about this client"),
//!    `client_secret_expires_at` is added to a secret that lacks it (section 3.2.1 requires it; 0 means never), and a
//!    200 to a `POST` becomes 201. [`without_normalising`](AnswerLayer::without_normalising) switches this off.
//!
//! Every answer gets `Cache-Control: no-store`: it may hold credentials. Errors of the handler's own pass as they are,
//! and so does an answer without content (204) or of another media type. JSON that can't be read, since it is too long,
//! malformed or compressed, becomes a 500: compression belongs outside of this layer.
//!
//! The layer stands directly in front of the handler, inside of the guards; a request that no guard has checked passes
//! through it unchanged.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use serde::{Deserialize, Serialize};
use tower_layer::Layer;
use tower_service::Service;

use crate::body::{
    self, ANSWER_LIMITS, AnswerFuture, Finish, Finished, ReadAnswer, RegistrationBody, ResponseBody, ResponseFuture,
};
use crate::event::RegisteredClient;
use crate::policy::{Operation, Review, Statement, Submission};
use crate::registration::{Entry, Field, Registration, Value};
use crate::rejection::{ErrorCode, Rejection};

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

const RULE: &str = "answer";

impl AnswerLayer {
    /// Refuses secrets for public clients, and normalises.
    pub fn new() -> Self {
        Self { config: Arc::default() }
    }

    /// What happens to a secret for a public client.
    pub fn with_secret(mut self, secret: SecretInAnswer) -> Self {
        Arc::make_mut(&mut self.config).secret = secret;
        self
    }

    /// Leaves the handler's answer as it is, but for the secret and the caching headers.
    pub fn without_normalising(mut self) -> Self {
        Arc::make_mut(&mut self.config).normalise = false;
        self
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { secret: SecretInAnswer::Refuse, normalise: true }
    }
}

impl AnswerLayer {
    pub(crate) fn settings(&self) -> &Settings {
        &self.config
    }

    pub(crate) fn of(settings: Settings) -> Self {
        Self { config: Arc::new(settings) }
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
        let expectation = Expectation {
            operation: Operation::of(request.method()),
            preflight: request.method() == Method::OPTIONS,
            registered: RegistrationBody::downcast_ref(request.body())
                .and_then(|body| Some((body.share()?, body.facts()?.statement.clone())))
                .map(|(document, statement)| Registered { document, statement, config: Arc::clone(&self.config) }),
        };
        AnswerFuture::new(self.inner.call(request), expectation)
    }
}

/// What is asked of the answer to one request.
#[derive(Debug)]
pub struct Expectation {
    operation: Operation,
    preflight: bool,
    /// What the handler was given to register.
    registered: Option<Registered>,
}

#[derive(Debug)]
struct Registered {
    document: Arc<Registration>,
    /// Where some of it is from.
    statement: Option<Arc<Statement>>,
    config: Arc<Settings>,
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
        match self.registered {
            Some(registered) if body::has_document(&response) => {
                let operation = self.operation;
                Finished::Later(ResponseFuture::new(async move { Ok(registered.settle(response, operation).await) }))
            }
            _ => Finished::Now(Ok(response.map(ResponseBody::inner))),
        }
    }
}

impl Registered {
    async fn settle<R: Body>(&self, response: Response<R>, operation: Operation) -> Response<ResponseBody<R>> {
        let (config, registered) = (&self.config, &*self.document);
        let mut review = Review::of(operation);
        let (mut parts, body) = response.into_parts();
        let read = match body::read_answer(body).await {
            ReadAnswer::Complete(bytes) => {
                Registration::parse_with(&bytes, &ANSWER_LIMITS).map(|answer| (answer, bytes)).ok()
            }
            ReadAnswer::TooLarge | ReadAnswer::Broken => None,
        };
        let Some((mut answer, bytes)) = read else {
            // Nobody can say what the client would make of it.
            let rejection = Rejection::new(ErrorCode::ServerError, RULE, "the server's answer could not be read");
            return refuse(rejection, review, RegisteredClient(None));
        };
        let client = RegisteredClient::of(&answer);
        let mut submission = Submission::new(&mut answer, &mut review);
        submission.begin(RULE);
        if let Err(rejection) = config.check_secret(&mut submission, registered) {
            return refuse(rejection, review, client);
        }
        let changed = config.normalise && normalise(&mut answer, registered);
        let changed = self.return_statement(&mut answer) || changed;
        let bytes = if changed || review.is_rewritten() { Bytes::from(answer.canonical_bytes()) } else { bytes };
        if config.normalise && operation == Operation::Create && parts.status == StatusCode::OK {
            parts.status = StatusCode::CREATED;
        }
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        parts.headers.remove(header::TRANSFER_ENCODING);
        parts.extensions.insert(client);
        Response::from_parts(parts, ResponseBody::own(bytes))
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
    fn check_secret(&self, answer: &mut Submission<'_>, registered: &Registration) -> Result<(), Rejection> {
        const METHOD: Field = Field::TOKEN_ENDPOINT_AUTH_METHOD;
        if registered.string_at(METHOD) != Some("none") {
            return Ok(());
        }
        let document = answer.registration();
        let method = document.string_at(METHOD).filter(|method| !method.is_empty() && *method != "none");
        let secret = document.at(Field::CLIENT_SECRET).is_some_and(|secret| !secret.is_empty());
        let renamed = method.is_some();
        if !secret && !renamed {
            return Ok(());
        }
        let allowed = |methods: &[String]| method.is_some_and(|method| methods.iter().any(|listed| listed == method));
        match &self.secret {
            SecretInAnswer::Allow(methods) if allowed(methods) => Ok(()),
            SecretInAnswer::Strip => {
                answer.strip("client_secret");
                answer.strip("client_secret_expires_at");
                if renamed {
                    answer.substitute(METHOD.name(), "none");
                }
                Ok(())
            }
            SecretInAnswer::Allow(_) | SecretInAnswer::Refuse => {
                let detail = "the server gave a public client a secret or another method";
                Err(answer.reject(ErrorCode::ServerError, detail))
            }
        }
    }
}

fn refuse<R>(rejection: Rejection, mut review: Review, client: RegisteredClient) -> Response<ResponseBody<R>> {
    review.refused(&rejection);
    let mut response = body::refuse(rejection);
    response.extensions_mut().insert(review);
    response.extensions_mut().insert(client);
    response
}

/// Makes an answer fit for every known client; says whether there was something to do.
fn normalise(answer: &mut Registration, registered: &Registration) -> bool {
    // An empty array stays: `response_types` may be one.
    let empty = answer.entries().any(Entry::is_blank);
    if empty {
        answer.retain(|_, value| !matches!(value, Value::Null | Value::String("")));
    }
    let incomplete = answer.complete_from(registered);
    let expires = answer.at(Field::CLIENT_SECRET).is_some()
        && answer.insert_default_value("client_secret_expires_at", &serde_json::Value::from(0));
    empty || incomplete || expires
}
