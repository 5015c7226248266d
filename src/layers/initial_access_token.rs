//! [`InitialAccessTokenLayer`]: requires a token for registration (RFC 7591 section 3.1).

pub(crate) mod tokens;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use http_body::Body;
use tower_service::Service;

use crate::audit::Deduplicated;
use crate::client_url::{ClientUrl, UrlTarget};
use crate::clients::ledger::LedgerError;
use crate::clients::registrar::{Failure, Registrar};
use crate::layers::body::{self, Answered, ResponseBody, ResponseFuture, Unchanged, Unread};
use crate::layers::initial_access_token::tokens::{
    ErasedTokens, InitialAccess, InitialAccessTokens, StaticTokens, TokenError, is_b64token,
};
use crate::layers::layered::Layered;
use crate::layers::web_url;
use crate::method::MethodKind;
use crate::rules::{Caller, ConfigError, ErrorCode, Rejection};
use crate::text;

/// Requires an initial access token for registration (RFC 7591 section 3.1).
///
/// | `POST` with | required | optional |
/// | --- | --- | --- |
/// | no `Authorization` | 401, a challenge without error code (RFC 6750 section 3.1) | passes as anonymous |
/// | a valid bearer token | passes | passes |
/// | an invalid or used up token, or anything else in `Authorization` | 401 `invalid_token` | the same |
/// | a valid token for another purpose | 403 `insufficient_scope` | the same |
/// | any, while tokens can't be verified or counted | 503 | the same |
///
/// A wrong token is never treated as a missing one: its sender expects to be authenticated, and the rules for anonymous
/// clients would apply instead. Tokens are taken from the header only, never from the query or the body.
///
/// The rules that a token names ([`InitialAccess::rules`]) are evaluated at `POST` and at every later `PUT`. The
/// [registrar](InitialAccessTokenLayer::with_registrar) stores their name in between. A `PUT` itself is authenticated by the
/// registration access token (RFC 7592 section 2.2), which the server checks; so are `GET` and `DELETE`. A `PUT` for a
/// client that the ledger does not know could be a registration without a token: if one is required, it is answered
/// with 401, unless [unknown clients may be managed](crate::clients::LifecycleSettings::manage_unknown).
///
/// The use of a token that admits a limited number of clients is counted before anything is read, and given back if no
/// client is registered. If the client hangs up, it is not.
///
/// The layer stands outside of the policy layers, and inside of the rate limit, which limits the guessing of tokens.
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response, StatusCode};
/// use http_body_util::Full;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use tower_dcr::layers::{InitialAccess, InitialAccessTokenLayer, StaticTokens};
/// use tower_dcr::rules::Caller;
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// let tokens = StaticTokens::new().add("Vq3s8nR1xW7tB0yKd5Lc", InitialAccess::of("partner-portal"))?;
/// let register = ServiceBuilder::new()
///     .layer(InitialAccessTokenLayer::new(tokens))
///     .service(service_fn(async |request: Request<Full<Bytes>>| {
///         assert_eq!(request.extensions().get::<Caller>().unwrap().owner.as_deref(), Some("partner-portal"));
///         Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::default()))
///     }));
///
/// let anonymous = Request::post("/register").body(Full::default()).unwrap();
/// let answer = register.clone().oneshot(anonymous).await.unwrap();
/// assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
/// assert_eq!(answer.headers()["www-authenticate"], "Bearer realm=\"client registration\"");
///
/// let partner = Request::post("/register").header("authorization", "Bearer Vq3s8nR1xW7tB0yKd5Lc");
/// let answer = register.oneshot(partner.body(Full::default()).unwrap()).await.unwrap();
/// assert_eq!(answer.status(), StatusCode::OK);
/// # Ok::<_, tower_dcr::rules::ConfigError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct InitialAccessTokenLayer {
    /// `None` if no token is required.
    config: Option<Arc<Config>>,
}

#[derive(Clone)]
struct Config {
    tokens: Arc<dyn ErasedTokens>,
    required: bool,
    report_only: bool,
    origins: Option<BTreeSet<String>>,
    registrar: Option<Registrar>,
    client_url: ClientUrl,
    closing: Closing,
    /// `true` if a client of a closed server can use the URL of its metadata document.
    takes_documents: bool,
}

text::debug_fields!(Config { required, origins });

/// The state of the setting by which no client can register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Closing {
    #[default]
    Open,
    /// Registrations pass, and are reported.
    ReportsClosed,
    Closed,
}

const RULE: &str = "initial-access-token";
const ORIGIN_RULE: &str = "origin";
const CLOSED_RULE: &str = "registration-closed";

/// The maximum length of a token; most are under 2 KiB.
const MAX_TOKEN_BYTES: usize = 4096;

impl InitialAccessTokenLayer {
    /// Creates a layer that requires a token which `tokens` accepts.
    pub fn new(tokens: impl InitialAccessTokens) -> Self {
        let config = Config {
            tokens: Arc::new(tokens),
            required: true,
            report_only: false,
            origins: None,
            registrar: None,
            client_url: ClientUrl::default(),
            closing: Closing::Open,
            takes_documents: false,
        };
        Self { config: Some(Arc::new(config)) }
    }

    /// Creates a layer that requires no token: the default of presets.
    pub(crate) fn off() -> Self {
        Self { config: None }
    }

    pub(crate) fn is_off(&self) -> bool {
        self.config.is_none()
    }

    fn change(mut self, change: impl FnOnce(&mut Config)) -> Self {
        self.config.as_mut().map(Arc::make_mut).map(change);
        self
    }

    /// Passes requests without a token as anonymous. RFC 7591 section 3: a server "SHOULD allow registration requests
    /// with no authorization".
    pub fn optional(self) -> Self {
        self.change(|config| config.required = false)
    }

    /// Rejects nothing and counts nothing: the audit event has a finding for an invalid or missing token, and the
    /// request passes as anonymous.
    pub fn report_only(self) -> Self {
        self.change(|config| config.report_only = true)
    }

    /// Rejects registrations of every caller, with or without a token. `takes_documents` says that clients can use metadata
    /// documents instead.
    pub(crate) fn closing(self, closing: Closing, takes_documents: bool) -> Self {
        let layer = match closing {
            Closing::Open => return self,
            _ if self.is_off() => Self::new(StaticTokens::new()).optional(),
            _ => self,
        };
        layer.change(|config| (config.closing, config.takes_documents) = (closing, takes_documents))
    }

    /// Counts uses in the ledger of `registrar`, and looks up the rules that a client was admitted under (default in a
    /// preset: the registrar of [`Preset::with_registrar`](crate::Preset::with_registrar)).
    pub fn with_registrar(self, registrar: Registrar) -> Self {
        self.change(|config| config.registrar = Some(registrar))
    }

    /// Sets the registrar of the layer next to the handler, unless there is one.
    pub(crate) fn or_registrar(self, registrar: Option<Registrar>) -> Self {
        self.change(|config| config.registrar = config.registrar.take().or(registrar))
    }

    /// Sets the rules by which URLs of RFC 7592 name their client (default: [`ClientUrl::default`], in a preset that of
    /// [`Preset::with_client_url`](crate::Preset::with_client_url)). All layers of a route need the same.
    pub fn with_client_url(self, client_url: ClientUrl) -> Self {
        self.change(|config| config.client_url = client_url)
    }

    /// Rejects requests of browsers from pages of any other origin (403). Other clients send no `Origin`, and pass.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::Origin`] if one is not an origin as browsers write it: scheme, host and, if it is not the
    /// default, port.
    pub fn with_allowed_origins<S: Into<String>>(
        self,
        origins: impl IntoIterator<Item = S>,
    ) -> Result<Self, ConfigError> {
        let mut allowed = BTreeSet::new();
        for origin in origins {
            let origin = origin.into();
            if web_url::origin(&origin).as_ref() != Some(&origin) {
                return Err(ConfigError::Origin { origin });
            }
            allowed.insert(origin);
        }
        Ok(self.change(|config| config.origins = Some(allowed)))
    }
}

impl<S, B, R> Service<Request<B>> for Layered<InitialAccessTokenLayer, S>
where
    S: Service<Request<B>, Response = Response<R>, Future: Send, Error: Send + 'static> + Clone + Send + 'static,
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
        let Some(config) = self.layer.config.clone() else {
            return ResponseFuture::new(self.inner.call(request), Unchanged);
        };
        let kind = MethodKind::of(request.method());
        match config.check_open(kind) {
            Err(rejection) if config.closing == Closing::ReportsClosed => {
                return ResponseFuture::boxed(body::forward_reporting(self.take_ready(), request, rejection));
            }
            Err(rejection) => return ResponseFuture::boxed(reject(request, rejection)),
            Ok(()) => {}
        }
        match config.check_origin(kind, request.headers()) {
            Err(rejection) if config.report_only => {
                ResponseFuture::boxed(body::forward_reporting(self.take_ready(), request, rejection))
            }
            Err(rejection) => ResponseFuture::boxed(reject(request, rejection)),
            Ok(()) if kind == MethodKind::Create => ResponseFuture::boxed(config.register(self.take_ready(), request)),
            Ok(()) if kind == MethodKind::Update && config.registrar.is_some() => {
                ResponseFuture::boxed(config.change_client(self.take_ready(), request))
            }
            Ok(()) => ResponseFuture::new(self.inner.call(request), Unchanged),
        }
    }
}

/// Returns the bearer token; `None` if there are no credentials. Rejects anything else than one field in the form of RFC
/// 6750 section 2.1.
fn token(headers: &HeaderMap) -> Result<Option<&str>, Rejection> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    let token = bearer(field).filter(|_| fields.next().is_none());
    token.map(Some).ok_or_else(|| invalid("the credentials are not one bearer token"))
}

fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim_start_matches(' ');
    // RFC 9110 section 11.1: schemes are case-insensitive.
    let fits = scheme.eq_ignore_ascii_case("bearer") && token.len() <= MAX_TOKEN_BYTES && is_b64token(token);
    fits.then_some(token)
}

impl Config {
    /// Rejects a registration while none is taken. RFC 7591 has no code for that. With `invalid_client_metadata` clients
    /// would send other metadata, and with a 401 they would look for a token; `access_denied` is the code of a server that
    /// "denied the request" (RFC 6749 section 4.1.2.1).
    fn check_open(&self, kind: MethodKind) -> Result<(), Rejection> {
        if self.closing == Closing::Open || kind != MethodKind::Create {
            return Ok(());
        }
        let detail = if self.takes_documents {
            "this server does not register clients; it accepts the https URL of a client metadata document as client_id"
        } else {
            "this server does not register clients"
        };
        Err(Rejection::new(ErrorCode::AccessDenied, CLOSED_RULE, detail))
    }

    fn check_origin(&self, kind: MethodKind, headers: &HeaderMap) -> Result<(), Rejection> {
        let is_preflight = kind == MethodKind::Options;
        let Some(allowed) = self.origins.as_ref().filter(|_| !is_preflight) else { return Ok(()) };
        let is_allowed = |origin: &HeaderValue| origin.to_str().is_ok_and(|origin| allowed.contains(origin));
        if headers.get_all(header::ORIGIN).iter().all(is_allowed) {
            return Ok(());
        }
        Err(Rejection::new(ErrorCode::AccessDenied, ORIGIN_RULE, "pages of this origin may not register clients here"))
    }

    /// Returns the access that the token gives. `None` if there is no token and none is required.
    async fn authorize(&self, headers: &HeaderMap) -> Result<Option<InitialAccess>, Rejection> {
        let Some(token) = token(headers)? else {
            let detail = "an initial access token is needed to register a client here";
            let missing = || Rejection::new(ErrorCode::TokenRequired, RULE, detail);
            return if self.required { Err(missing()) } else { Ok(None) };
        };
        match self.tokens.verify(token).await {
            Ok(access) => Ok(Some(access)),
            Err(TokenError::Invalid) => Err(invalid("the initial access token is not valid")),
            Err(TokenError::Insufficient) => {
                let detail = "the initial access token is not for registering clients";
                Err(Rejection::new(ErrorCode::InsufficientScope, RULE, detail))
            }
            Err(error @ TokenError::Unavailable(_)) => {
                let error = text::causes(&error);
                tracing::error!(target: "tower_dcr::initial_access_token", %error, "initial access tokens can't be verified");
                Err(unavailable())
            }
        }
    }

    /// Counts one more use. Returns the token ID to give back if no client is registered.
    async fn count(&self, access: &InitialAccess) -> Result<Option<String>, Rejection> {
        let Some(limit) = access.max_uses.filter(|_| !self.report_only) else { return Ok(None) };
        let Some(registrar) = self.registrar.as_ref().filter(|_| !access.token_id.is_empty()) else {
            tracing::error!(
                target: "tower_dcr::initial_access_token",
                owner = access.owner,
                "uses of an initial access token not counted; the request is answered with 500: configure a registrar, \
                 and an id for the token"
            );
            let detail = "this server can't count how often the initial access token is used";
            return Err(Rejection::new(ErrorCode::ServerError, RULE, detail));
        };
        let counted =
            registrar.ledger().count_use(&access.token_id, limit.get()).await.map_err(|error| unanswered(&error))?;
        if counted { Ok(Some(access.token_id.clone())) } else { Err(invalid("the initial access token is used up")) }
    }

    async fn give_back(&self, counted: Option<String>) {
        if let (Some(token), Some(registrar)) = (counted, &self.registrar)
            && let Err(error) = registrar.ledger().return_use(&token).await
        {
            // The token has one use less than promised: the operator can issue another one.
            error.log();
        }
    }

    async fn register<S, B, R>(self: Arc<Self>, mut inner: S, mut request: Request<B>) -> Answered<R, S::Error>
    where
        S: Service<Request<B>, Response = Response<R>>,
        B: Body,
        R: Body,
    {
        let access = match self.authorize(request.headers()).await {
            Ok(access) => access,
            Err(rejection) if self.report_only => return body::forward_reporting(inner, request, rejection).await,
            Err(rejection) => return reject(request, rejection).await,
        };
        let mut counted = None;
        if let Some(access) = access {
            match self.count(&access).await {
                Ok(token) => counted = token,
                Err(rejection) => return reject(request, rejection).await,
            }
            request.extensions_mut().insert(access.caller());
        }
        let answer = inner.call(request).await;
        let is_new = |response: &Response<R>| {
            response.status().is_success() && response.extensions().get::<Deduplicated>().is_none()
        };
        if !answer.as_ref().is_ok_and(is_new) {
            self.give_back(counted).await;
        }
        answer.map(|response| response.map(ResponseBody::inner))
    }

    /// Evaluates an update under the rules that the client was admitted under.
    async fn change_client<S, B, R>(self: Arc<Self>, inner: S, mut request: Request<B>) -> Answered<R, S::Error>
    where
        S: Service<Request<B>, Response = Response<R>>,
        B: Body,
        R: Body,
    {
        match self.admitted_as(request.method(), request.uri()).await {
            Ok(caller) if caller.is_anonymous() => _ = request.extensions_mut().remove::<Caller>(),
            Ok(caller) => _ = request.extensions_mut().insert::<Caller>(caller),
            Err(rejection) if self.report_only && self.closing != Closing::Closed => {
                return body::forward_reporting(inner, request, rejection).await;
            }
            Err(rejection) => return reject(request, rejection).await,
        }
        body::forward(inner, request).await
    }

    /// Returns `true` if not every caller may register: an update then needs a client that did.
    fn needs_record(&self) -> bool {
        self.required || self.closing != Closing::Open
    }

    /// Returns the caller that the client of an update was admitted as.
    async fn admitted_as(&self, method: &Method, uri: &Uri) -> Result<Caller, Rejection> {
        let target = self.client_url.check(method, uri)?;
        let (Some(registrar), UrlTarget::Client(id)) = (&self.registrar, target) else {
            return Ok(Caller::default());
        };
        match registrar.admitted_as(&id).await {
            Ok(Some(caller)) => Ok(caller),
            // Handlers that register unknown clients in a `PUT` would do so without a token.
            Ok(None) if self.needs_record() && !registrar.settings().manage_unknown => {
                Err(Rejection::new(ErrorCode::InvalidToken, RULE, "no client is registered at this URL"))
            }
            Ok(None) => Ok(Caller::default()),
            Err(Failure::Rejected(rejection)) => Err(rejection),
            Err(Failure::Ledger(error)) => Err(unanswered(&error)),
        }
    }
}

/// Rejects a request whose body is unread.
async fn reject<B: Body, R: Body, E>(request: Request<B>, rejection: Rejection) -> Answered<R, E> {
    Ok(Unread::of(request).answer(body::reject(rejection)).await)
}

fn invalid(detail: &'static str) -> Rejection {
    Rejection::new(ErrorCode::InvalidToken, RULE, detail)
}

fn unanswered(error: &LedgerError) -> Rejection {
    error.log();
    unavailable()
}

fn unavailable() -> Rejection {
    body::unavailable(RULE, "initial access tokens can't be verified now; try again later")
}
