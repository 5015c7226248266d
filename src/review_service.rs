//! [`ReviewService`]: the [`Review`] as a service to mount: one HTML page, and a JSON API (feature `review`).
//!
//! It can't be built without a check of who may see it. Mounted at a path of its own, in axum:
//!
//! ```
//! use axum::Router;
//! use http::request::Parts;
//! use tower_dcr::ledger::MemoryLedger;
//! use tower_dcr::registrar::Registrar;
//! use tower_dcr::review::Review;
//! use tower_dcr::review_service::{Access, ReviewService};
//!
//! let review = Review::new(Registrar::new(MemoryLedger::default()));
//! // Who is signed in, as a layer further out has put it into the extensions.
//! #[derive(Clone)]
//! struct Admin(String);
//! let service = ReviewService::new(review, "/admin/clients", |request: &Parts| {
//!     match request.extensions.get::<Admin>() {
//!         Some(Admin(name)) => Access::Operator(name.clone()),
//!         None => Access::Deny,
//!     }
//! });
//! let app: Router = Router::new().nest_service("/admin/clients", service);
//! # let _ = app;
//! ```
//!
//! # The JSON API
//!
//! | request | what |
//! | --- | --- |
//! | `GET api/summary` | records by status, registrations by day |
//! | `GET api/clients?queue=Q&cursor=C&limit=N` | a page of records; `queue` as in [`Queue`], `cursor` from `next` of the page before |
//! | `GET api/clients/CLIENT_ID` | one record, with what was registered |
//! | `GET api/groups?by=G&limit=N` | `duplicates`, `families`, `names_across_hosts`, `hosts_across_names` |
//! | `GET api/blocks` | what may not be registered again |
//! | `POST api/act` | `{"act": A, "reason": R, …}`: `approve`, `revoke`, `revoke_family` with `client_id`; `extend` with `client_id` and `days`; each of these with `record` beside, if several records have the `client_id`; `revoke_all`, `unblock` with `kind` and `value` of a fingerprint |
//!
//! Errors are `{"error": …}` with a fitting status.
//!
//! Groups and pictures look at every live client: with a million of them in SQLite the page takes about four seconds.
//!
//! # What it withstands
//!
//! All that clients say of themselves is hostile. The page is made by a template library that escapes; names are shown
//! with invisible and direction-changing characters made visible, and hosts in punycode with what they look like beside.
//! There is no script in it, and a content security policy that allows none. Requests across origins are refused by
//! [`tower_http::csrf`], which compares `Sec-Fetch-Site` and `Origin`: a proxy in front must leave these and `Host` alone.

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::{Value, json};
use tower_http::csrf::{Csrf, CsrfLayer};
use tower_layer::Layer;
use tower_service::Service;
use url::form_urlencoded;

use crate::body::{self, ResponseFuture};
use crate::ledger::{Client, ClientKey, Fingerprint, Grouping, LedgerError};
use crate::registrar::RevokeError;
use crate::review::{Queue, Review, ReviewError};

mod done;
mod page;
mod shown;

use done::Done;

/// Who may see the review. Made by the check that [`ReviewService::new`] wants.
///
/// ```
/// use tower_dcr::review_service::Access;
///
/// fn check(password: Option<&str>) -> Access {
///     match password {
///         Some("correct horse battery staple") => Access::Operator("alice".into()),
///         _ => Access::Challenge(r#"Basic realm="clients""#),
///     }
/// }
/// # let _ = check(None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Answer with 401 and this `WWW-Authenticate`.
    Challenge(&'static str),
    /// Answer with 403.
    Deny,
    /// This person, by the name that records and events are to have.
    Operator(String),
}

/// The review as a service. See the [module docs](self).
///
/// ```
/// use tower_dcr::ledger::MemoryLedger;
/// use tower_dcr::registrar::Registrar;
/// use tower_dcr::review::Review;
/// use tower_dcr::review_service::{Access, ReviewService};
///
/// let review = Review::new(Registrar::new(MemoryLedger::default()));
/// let nobody = ReviewService::new(review, "/admin/clients", |_: &http::request::Parts| Access::Deny);
/// # let _ = nobody;
/// ```
#[derive(Clone)]
pub struct ReviewService {
    pages: Csrf<Pages, tower_http::csrf::DefaultResponseForProtectionError>,
}

#[derive(Clone)]
struct Pages {
    config: Arc<Config>,
}

struct Config {
    review: Review,
    base: String,
    access: Box<dyn Fn(&Parts) -> Access + Send + Sync>,
}

/// The body of an answer, whole.
#[derive(Debug, Default)]
pub struct PageBody {
    bytes: Option<Bytes>,
}

const MAX_BODY: usize = 16 * 1024;
const DEADLINE: Duration = Duration::from_secs(10);
const PER_PAGE: u32 = 50;

impl ReviewService {
    /// Serves `review` under the path `base` (where links and forms lead to, `/admin/clients` say), to whom `access` lets
    /// in. It is asked for every request, before anything else.
    pub fn new(
        review: Review,
        base: impl Into<String>,
        access: impl Fn(&Parts) -> Access + Send + Sync + 'static,
    ) -> Self {
        let base = base.into().trim_end_matches('/').to_owned();
        let pages = Pages { config: Arc::new(Config { review, base, access: Box::new(access) }) };
        Self { pages: CsrfLayer::new().layer(pages) }
    }
}

impl<B> Service<Request<B>> for ReviewService
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<PageBody>;
    type Error = Infallible;
    type Future = ResponseFuture<Response<PageBody>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ResponseFuture::new(self.pages.call(request))
    }
}

impl<B> Service<Request<B>> for Pages
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<PageBody>;
    type Error = Infallible;
    type Future = ResponseFuture<Response<PageBody>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let config = Arc::clone(&self.config);
        ResponseFuture::new(async move {
            let (parts, body) = request.into_parts();
            let mut response = config.answer(&parts, body).await.unwrap_or_else(Problem::response);
            protect(response.headers_mut());
            Ok(response)
        })
    }
}

/// Nothing of it is kept, framed, or allowed to run or to call out.
fn protect(headers: &mut http::HeaderMap) {
    const POLICY: &str =
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    body::forbid_storing(headers);
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
}

/// Why there is no answer.
#[derive(Debug)]
enum Problem {
    Challenge(&'static str),
    Plain(StatusCode, String),
}

impl Problem {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self::Plain(status, text.into())
    }

    fn response(self) -> Response<PageBody> {
        match self {
            Self::Plain(status, text) => answer_json(status, &json!({ "error": text })),
            Self::Challenge(challenge) => {
                let mut response = answer_json(StatusCode::UNAUTHORIZED, &json!({ "error": "who are you?" }));
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
                response
            }
        }
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        error.log();
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the ledger of clients can't be used")
    }
}

impl From<ReviewError> for Problem {
    fn from(error: ReviewError) -> Self {
        match error {
            ReviewError::Ledger(error) => error.into(),
            ReviewError::Ambiguous | ReviewError::Ended => Self::new(StatusCode::CONFLICT, error.to_string()),
            ReviewError::UnknownClient => Self::new(StatusCode::NOT_FOUND, error.to_string()),
        }
    }
}

impl From<RevokeError> for Problem {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::Ledger(error) => error.into(),
            RevokeError::Ambiguous => Self::new(StatusCode::CONFLICT, error.to_string()),
            RevokeError::UnknownClient => Self::new(StatusCode::NOT_FOUND, error.to_string()),
            RevokeError::NotAdmitted => Self::new(StatusCode::FORBIDDEN, error.to_string()),
            RevokeError::NothingNamed => Self::new(StatusCode::BAD_REQUEST, error.to_string()),
        }
    }
}

/// The parameters of a query, a form or a JSON object.
type Parameters = HashMap<String, String>;

impl Config {
    async fn answer<B>(&self, parts: &Parts, body: B) -> Result<Response<PageBody>, Problem>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let operator = match (self.access)(parts) {
            Access::Operator(name) => name,
            Access::Deny => return Err(Problem::new(StatusCode::FORBIDDEN, "this is not for you")),
            Access::Challenge(challenge) => return Err(Problem::Challenge(challenge)),
        };
        // A router that nests has taken the base off already.
        let path = parts.uri.path();
        let path = path.strip_prefix(&self.base).unwrap_or(path).trim_matches('/');
        let query: Parameters =
            form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        match (&parts.method, path) {
            (&Method::GET | &Method::HEAD, "") => self.page(&operator, &query).await,
            (&Method::GET | &Method::HEAD, "style.css") => {
                Ok(answer(StatusCode::OK, "text/css; charset=utf-8", include_str!("../templates/review.css").into()))
            }
            (&Method::GET | &Method::HEAD, path) => {
                self.show(path.strip_prefix("api/").unwrap_or_default(), &query).await
            }
            (&Method::POST, "act") => {
                let form = read_form(parts, body).await?;
                let done = self.act(&operator, &form).await?;
                Ok(self.back(&form, done))
            }
            (&Method::POST, "api/act") => {
                let act = read_json(parts, body).await?;
                let done = self.act(&operator, &act).await?;
                Ok(answer_json(StatusCode::OK, &json!({ "done": done.to_string() })))
            }
            _ => Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "there is nothing to be done here")),
        }
    }

    /// RFC 9110 section 15.4.4: what was posted is not posted again by a reload.
    fn back(&self, form: &Parameters, done: Done) -> Response<PageBody> {
        let queue = read_queue(form).unwrap_or(Queue::All).as_str();
        let mut response = answer(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", done.to_string());
        let location = format!("{}?queue={queue}&done={}", self.base, done.code());
        if let Ok(location) = HeaderValue::try_from(location) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }

    async fn show(&self, path: &str, query: &Parameters) -> Result<Response<PageBody>, Problem> {
        let limit = query.get("limit").map_or(Ok(PER_PAGE), |text| number(text, "limit"))?;
        let shown = match path {
            "summary" => value(self.review.summary(365).await?),
            "clients" => {
                let page = self.review.list(read_queue(query)?, read_cursor(query)?, limit).await?;
                let now = self.review.now();
                let clients: Vec<Value> = page.clients.iter().map(|client| client_json(client, now)).collect();
                json!({ "clients": clients, "next": page.next })
            }
            "groups" => {
                let by = query.get("by").map_or("families", String::as_str);
                let by = GROUPINGS.into_iter().find(|(name, _)| *name == by);
                let (_, by) = by.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "there is no such grouping"))?;
                value(self.review.groups(by, limit.min(500)).await?)
            }
            "blocks" => {
                let blocks = self.review.blocks(None, limit).await?.into_iter().map(|block| {
                    json!({
                        "kind": block.fingerprint.kind(), "value": block.fingerprint.value(),
                        "created_at": block.created_at, "actor": block.actor.to_string(), "reason": block.reason,
                    })
                });
                blocks.collect()
            }
            path => {
                let id = path.strip_prefix("clients/").map(|id| percent_decode_str(id).decode_utf8_lossy());
                let Some(id) = id else { return Err(Problem::new(StatusCode::NOT_FOUND, "there is no such page")) };
                let client = self.review.client(&id).await?.ok_or(ReviewError::UnknownClient)?;
                let mut shown = client_json(&client, self.review.now());
                let registration = serde_json::from_str::<Value>(&client.registration).unwrap_or_default();
                shown.as_object_mut().and_then(|members| members.insert("registration".into(), registration));
                shown
            }
        };
        Ok(answer_json(StatusCode::OK, &shown))
    }

    /// Does what an operator asks for; says what was done.
    async fn act(&self, operator: &str, parameters: &Parameters) -> Result<Done, Problem> {
        let get = |name: &'static str| {
            let text = parameters.get(name).map(String::as_str).filter(|text| !text.is_empty());
            text.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, format!("{name} is missing")))
        };
        let reason = parameters.get("reason").map_or("", String::as_str);
        let fingerprint = || {
            let (kind, value) = (get("kind")?, get("value")?);
            Fingerprint::parse(kind, value).map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))
        };
        let revoked = match get("act")? {
            "approve" => {
                match read_record(parameters)? {
                    Some(key) => self.review.approve_record(key, operator, reason).await?,
                    None => self.review.approve(get("client_id")?, operator, reason).await?,
                };
                return Ok(Done::Approved);
            }
            "extend" => {
                let days: u32 = parameters.get("days").map_or(Ok(90), |days| number(days, "days"))?;
                let time = Duration::from_secs(24 * 3600).saturating_mul(days);
                match read_record(parameters)? {
                    Some(key) => self.review.extend_record(key, time, operator, reason).await?,
                    None => self.review.extend(get("client_id")?, time, operator, reason).await?,
                };
                return Ok(Done::Extended { days });
            }
            "unblock" => {
                let fingerprint = fingerprint()?;
                let actor = crate::ledger::Actor::Operator(operator.to_owned());
                let done = self.review.registrar().unblock(&fingerprint, &actor).await?;
                return Ok(if done { Done::Unblocked } else { Done::Nothing });
            }
            "revoke" if parameters.contains_key("record") => {
                let key = read_record(parameters)?.unwrap_or_default();
                let revoked = self.review.revoke_record(get("client_id")?, key, operator, reason).await?;
                return Ok(Done::Revoked { clients: revoked.clients, untold: revoked.not_deprovisioned });
            }
            "revoke" => Fingerprint::ClientId(get("client_id")?.to_owned()),
            "revoke_family" => {
                let client = match read_record(parameters)? {
                    Some(key) => self.review.record(key).await?,
                    None => self.review.client(get("client_id")?).await?,
                };
                let client = client.ok_or(ReviewError::UnknownClient)?;
                Fingerprint::Family(client.fingerprints.family)
            }
            "revoke_all" => fingerprint()?,
            _ => return Err(Problem::new(StatusCode::BAD_REQUEST, "there is no such act")),
        };
        let revoked = self.review.revoke(revoked, operator, reason).await?;
        Ok(Done::Revoked { clients: revoked.clients, untold: revoked.not_deprovisioned })
    }
}

const GROUPINGS: [(&str, Grouping); 4] = [
    ("families", Grouping::Families),
    ("duplicates", Grouping::Duplicates),
    ("names_across_hosts", Grouping::NamesAcrossHosts),
    ("hosts_across_names", Grouping::HostsAcrossNames),
];

fn read_queue(parameters: &Parameters) -> Result<Queue, Problem> {
    let Some(name) = parameters.get("queue") else { return Ok(Queue::All) };
    let queue = Queue::ALL.into_iter().find(|queue| queue.as_str() == name);
    queue.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "there is no such queue"))
}

/// Which of several records of one `client_id`.
fn read_record(parameters: &Parameters) -> Result<Option<ClientKey>, Problem> {
    parameters.get("record").map(|text| number(text, "record").map(ClientKey)).transpose()
}

fn read_cursor(parameters: &Parameters) -> Result<Option<ClientKey>, Problem> {
    parameters.get("cursor").map(|text| number(text, "cursor").map(ClientKey)).transpose()
}

fn number<N: std::str::FromStr>(text: &str, name: &str) -> Result<N, Problem> {
    text.parse().map_err(|_| Problem::new(StatusCode::BAD_REQUEST, format!("{name} is not a number that can be used")))
}

async fn read_form<B>(parts: &Parts, body: B) -> Result<Parameters, Problem>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let bytes = read_body(parts, body).await?;
    Ok(form_urlencoded::parse(&bytes).into_owned().collect())
}

async fn read_json<B>(parts: &Parts, body: B) -> Result<Parameters, Problem>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if !body::is_json(&parts.headers) {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be application/json"));
    }
    let bytes = read_body(parts, body).await?;
    let object: HashMap<String, Value> = serde_json::from_slice(&bytes)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("no JSON object: {error}")))?;
    let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Ok(object.into_iter().map(|(name, value)| (name, text(value))).collect())
}

async fn read_body<B>(parts: &Parts, body: B) -> Result<Bytes, Problem>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let read = body::read(body, &parts.headers, MAX_BODY, DEADLINE).await;
    match read.error {
        None => Ok(read.bytes),
        Some(_) => Err(Problem::new(StatusCode::BAD_REQUEST, "the body is too large or did not arrive")),
    }
}

fn value(shown: impl Serialize) -> Value {
    serde_json::to_value(shown).unwrap_or_default()
}

/// A record as the JSON API gives it.
fn client_json(client: &Client, now: i64) -> Value {
    let prints = &client.fingerprints;
    json!({
        "key": client.key,
        "client_id": client.client_id,
        "record": client.key,
        "client_name": prints.client_name,
        "client_name_shown": prints.client_name.as_deref().map(shown::text),
        "state": client.state(now).as_str(),
        "origin": client.origin.as_str(),
        "redirect_hosts": prints.redirect_hosts,
        "digest": prints.digest,
        "family": prints.family,
        "redirect_set": prints.redirect_set,
        "software_id": prints.software_id,
        "source": prints.source.as_ref().map(|source| &source.narrow),
        "admitted_by": client.admitted_by,
        "rules": client.rules,
        "identity": client.identity,
        "created_at": client.created_at,
        "proven_at": client.proven_at,
        "expires_at": client.expires_at,
        "reviewed_at": client.reviewed_at,
        "reviewed_by": client.reviewed_by,
        "ended_at": client.ended_at,
        "ended_by": client.ended_by.as_ref().map(ToString::to_string),
        "reason": client.reason,
        "deprovisioning_error": client.deprovisioning.error,
    })
}

fn answer_json(status: StatusCode, shown: &Value) -> Response<PageBody> {
    answer(status, "application/json", shown.to_string())
}

fn answer(status: StatusCode, content_type: &'static str, text: String) -> Response<PageBody> {
    let bytes = Bytes::from(text);
    let length = HeaderValue::from(bytes.len());
    let mut response = Response::new(PageBody { bytes: Some(bytes).filter(|bytes| !bytes.is_empty()) });
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CONTENT_LENGTH, length);
    response
}

impl Body for PageBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

impl fmt::Debug for ReviewService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReviewService").finish_non_exhaustive()
    }
}
