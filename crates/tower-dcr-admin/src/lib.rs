//! Administration of registered clients, for [`tower_dcr`]: [`AdminService`] serves the
//! clients of a [`Registrar`] as one HTML page and a JSON API.
//!
//! A check of the signed-in person is required to build it. Mounted at its own path in axum:
//!
//! ```
//! use axum::Router;
//! use http::request::Parts;
//! use tower_dcr::clients::{MemoryLedger, Registrar};
//! use tower_dcr_admin::{Access, AdminService};
//!
//! let registrar = Registrar::new(MemoryLedger::default());
//! // The signed-in person, from a layer further out.
//! #[derive(Clone)]
//! struct Operator(String);
//! let service = AdminService::new(registrar, "/admin/clients", |request: &Parts| {
//!     match request.extensions.get::<Operator>() {
//!         Some(Operator(name)) => Access::Operator(name.clone()),
//!         None => Access::Deny,
//!     }
//! });
//! let app: Router = Router::new().nest_service("/admin/clients", service);
//! # let _ = app;
//! ```
//!
//! # JSON API
//!
//! | request | response |
//! | --- | --- |
//! | `GET api/summary` | records by status, registrations by day |
//! | `GET api/clients?queue=Q&cursor=C&limit=N` | a page of records; `queue` as in [`ClientQueue`], `cursor` from `next` of the page before |
//! | `GET api/clients/CLIENT_ID` | one record, with the registration |
//! | `GET api/groups?by=G&limit=N` | `duplicates`, `families`, `names_across_hosts`, `hosts_across_names`, `software_across_hosts` |
//! | `GET api/blocks` | blocks on further registrations |
//! | `POST api/act` | `{"act": A, "reason": R, …}`: `approve`, `revoke`, `revoke_family` with `client_id`; `extend` with `client_id` and `days`; each of these with `record` beside, if several records have the `client_id`; `approve` with `held` beside, the digest of the change that was looked at (`document.held.digest`, or empty for none): 409 if another one waits; `revoke_all`, `unblock` with `kind` and `value` of a fingerprint |
//!
//! Errors are `{"error": …}` with a matching status.
//!
//! Groups read every live client, and queues with few matches do: with a million of them in SQLite the page takes about four seconds.
//!
//! # Security
//!
//! All client metadata is untrusted. The page is rendered by a template library that escapes. Names are shown with
//! invisible and direction-changing characters made visible, hosts in punycode with their Unicode form next to it. The
//! page has no script, and its content security policy allows none. Requests across origins are rejected by
//! [`tower_http::csrf`], which compares `Sec-Fetch-Site` and `Origin`: a proxy in front must not change these headers
//! or `Host`.

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::{Value, json};
use tower_dcr::clients::{
    Actor, AdminError, Client, ClientKey, ClientQueue, ClientRef, Fingerprint, Grouping, LedgerError, Registrar,
    Revocation,
};
use tower_http::csrf::{Csrf, CsrfLayer};
use tower_layer::Layer;
use tower_service::Service;
use url::form_urlencoded;

mod body;
mod done;
mod page;
mod shown;

pub use body::{PageBody, ResponseFuture};
use done::Done;

/// The decision about one request, returned by the check that is passed to [`AdminService::new`].
///
/// ```
/// use tower_dcr_admin::Access;
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
    /// Responds with 401 and this `WWW-Authenticate`.
    Challenge(&'static str),
    /// Responds with 403.
    Deny,
    /// Admits a person. Records and events carry this name.
    Operator(String),
}

/// Serves the page and the JSON API. See the [crate docs](self).
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use http::{Request, StatusCode};
/// use tower::ServiceExt;
/// use tower_dcr::clients::{MemoryLedger, Registrar};
/// use tower_dcr_admin::{Access, AdminService};
///
/// let registrar = Registrar::new(MemoryLedger::default());
/// let closed = AdminService::new(registrar, "/admin/clients", |_: &http::request::Parts| Access::Deny);
/// let request = Request::get("/admin/clients").body(String::new()).unwrap();
/// assert_eq!(closed.oneshot(request).await.unwrap().status(), StatusCode::FORBIDDEN);
/// # });
/// ```
#[derive(Clone)]
pub struct AdminService {
    pages: Csrf<Pages, tower_http::csrf::DefaultResponseForProtectionError>,
}

#[derive(Clone)]
struct Pages {
    config: Arc<Config>,
}

struct Config {
    registrar: Registrar,
    base: String,
    access: Box<dyn Fn(&Parts) -> Access + Send + Sync>,
}

const PER_PAGE: u32 = 50;

impl AdminService {
    /// Creates a service for the path `base` (such as `/admin/clients`), the target of links and forms. `access` is
    /// called for every request, before anything else.
    pub fn new(
        registrar: Registrar,
        base: impl Into<String>,
        access: impl Fn(&Parts) -> Access + Send + Sync + 'static,
    ) -> Self {
        let base = base.into().trim_end_matches('/').to_owned();
        let pages = Pages { config: Arc::new(Config { registrar, base, access: Box::new(access) }) };
        Self { pages: CsrfLayer::new().layer(pages) }
    }
}

impl<B> Service<Request<B>> for AdminService
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<PageBody>;
    type Error = Infallible;
    type Future = ResponseFuture<Response<PageBody>>;

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
    type Future = ResponseFuture<Response<PageBody>>;

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

/// Sets headers that forbid caching, framing, scripts and outgoing requests.
fn protect(headers: &mut http::HeaderMap) {
    const POLICY: &str =
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
}

/// An error response.
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
                let mut response =
                    answer_json(StatusCode::UNAUTHORIZED, &json!({ "error": "authentication required" }));
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
                response
            }
        }
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        let message = "ledger unavailable";
        if error.is_outage() {
            // The registrar reports an outage once; at a higher level this would be logged for each request.
            tracing::debug!(target: "tower_dcr::lifecycle", ?error, "{message}");
        } else {
            tracing::error!(target: "tower_dcr::lifecycle", ?error, "{message}");
        }
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }
}

impl From<AdminError> for Problem {
    fn from(error: AdminError) -> Self {
        let status = match error {
            AdminError::Ledger(error) => return error.into(),
            AdminError::Ambiguous | AdminError::Ended | AdminError::Superseded => StatusCode::CONFLICT,
            AdminError::UnknownClient => StatusCode::NOT_FOUND,
            AdminError::NotAdmitted => StatusCode::FORBIDDEN,
            AdminError::EmptyFingerprint | AdminError::RecordOfSeveral => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
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
            Access::Deny => return Err(Problem::new(StatusCode::FORBIDDEN, "access denied")),
            Access::Challenge(challenge) => return Err(Problem::Challenge(challenge)),
        };
        // A router that nests has already removed the base.
        let path = parts.uri.path();
        let path = path.strip_prefix(&self.base).unwrap_or(path).trim_matches('/');
        let query: Parameters =
            form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        match (&parts.method, path) {
            (&Method::GET | &Method::HEAD, "") => self.page(&operator, &query).await,
            (&Method::GET | &Method::HEAD, "style.css") => {
                Ok(answer(StatusCode::OK, "text/css; charset=utf-8", include_str!("../templates/clients.css").into()))
            }
            (&Method::GET | &Method::HEAD, path) => {
                self.show(path.strip_prefix("api/").unwrap_or_default(), &query).await
            }
            (&Method::POST, "act") => {
                let form = read_form(body).await?;
                let done = self.act(&operator, &form).await?;
                Ok(self.back(&form, done))
            }
            (&Method::POST, "api/act") => {
                let act = read_json(parts, body).await?;
                let done = self.act(&operator, &act).await?;
                Ok(answer_json(StatusCode::OK, &json!({ "done": done.to_string() })))
            }
            _ => Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")),
        }
    }

    /// Returns the key of the record that an approval is about, if it says which change of its document the operator has seen.
    async fn record_of_held(&self, parameters: &Parameters) -> Result<ClientKey, Problem> {
        if let Some(key) = read_record(parameters)? {
            return Ok(key);
        }
        let id = parameters.get("client_id").map_or("", String::as_str);
        match &*self.registrar.records(id).await? {
            [one] => Ok(one.key),
            [] => Err(AdminError::UnknownClient.into()),
            _ => Err(AdminError::Ambiguous.into()),
        }
    }

    /// Redirects with 303 (RFC 9110 section 15.4.4), so that a reload does not repeat the POST.
    fn back(&self, form: &Parameters, done: Done) -> Response<PageBody> {
        let queue = read_queue(form).unwrap_or(ClientQueue::All);
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
            "summary" => json!({
                "statuses": self.registrar.counts().await?,
                "registered_by_day": self.registrar.registered_by_day(365).await?,
            }),
            "clients" => {
                let page = self.registrar.list(read_queue(query)?, read_cursor(query)?, limit).await?;
                let now = self.registrar.now();
                let clients: Vec<Value> = page.clients.iter().map(|client| client_json(client, now)).collect();
                json!({ "clients": clients, "next": page.next })
            }
            "groups" => {
                let by = query.get("by").map_or("families", String::as_str);
                let by = GROUPINGS.into_iter().find(|(name, _)| *name == by);
                let (_, by) = by.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "unknown grouping"))?;
                value(self.registrar.groups(by, limit.min(500)).await?)
            }
            "blocks" => {
                let blocks = self.registrar.blocks(None, limit).await?.into_iter().map(|block| {
                    json!({
                        "kind": block.fingerprint.kind(), "value": block.fingerprint.value(),
                        "created_at": block.created_at, "actor": block.actor.to_string(), "reason": block.reason,
                    })
                });
                blocks.collect()
            }
            path => {
                let id = path.strip_prefix("clients/").map(|id| percent_decode_str(id).decode_utf8_lossy());
                let Some(id) = id else { return Err(Problem::new(StatusCode::NOT_FOUND, "no such page")) };
                let client = self.registrar.client(&id).await?.ok_or(AdminError::UnknownClient)?;
                let mut shown = client_json(&client, self.registrar.now());
                let registration = serde_json::from_str::<Value>(&client.registration).unwrap_or_default();
                shown.as_object_mut().and_then(|members| members.insert("registration".into(), registration));
                shown
            }
        };
        Ok(answer_json(StatusCode::OK, &shown))
    }

    /// Runs the operator's action and returns its result.
    async fn act(&self, operator: &str, parameters: &Parameters) -> Result<Done, Problem> {
        let get = |name: &'static str| {
            let text = parameters.get(name).map(String::as_str).filter(|text| !text.is_empty());
            text.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, format!("missing {name}")))
        };
        let reason = parameters.get("reason").map_or("", String::as_str);
        let fingerprint = || {
            let (kind, value) = (get("kind")?, get("value")?);
            Fingerprint::parse(kind, value).map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))
        };
        let client = || match read_record(parameters)? {
            Some(key) => Ok(ClientRef::Record(key)),
            None => get("client_id").map(ClientRef::Id),
        };
        let actor = Actor::Operator(operator.to_owned());
        let (target, record) = match get("act")? {
            "approve" => {
                let client = match parameters.get("held") {
                    Some(digest) => ClientRef::Held(self.record_of_held(parameters).await?, digest),
                    None => client()?,
                };
                self.registrar.approve(client, operator, reason).await?;
                return Ok(Done::Approved);
            }
            "extend" => {
                let days: u32 = parameters.get("days").map_or(Ok(90), |days| number(days, "days"))?;
                let time = Duration::from_secs(24 * 3600).saturating_mul(days);
                self.registrar.extend(client()?, time, operator, reason).await?;
                return Ok(Done::Extended { days });
            }
            "unblock" => {
                let fingerprint = fingerprint()?;
                let done = self.registrar.unblock(&fingerprint, &actor, reason).await?;
                return Ok(if done { Done::Unblocked } else { Done::Nothing });
            }
            "revoke" => (Fingerprint::ClientId(get("client_id")?.to_owned()), read_record(parameters)?),
            "revoke_family" => {
                let client = match read_record(parameters)? {
                    Some(key) => self.registrar.record(key).await?,
                    None => self.registrar.client(get("client_id")?).await?,
                };
                let client = client.ok_or(AdminError::UnknownClient)?;
                (Fingerprint::Family(client.fingerprints.family), None)
            }
            "revoke_document_host" | "revoke_document_site" => {
                let client = self.registrar.client(get("client_id")?).await?.ok_or(AdminError::UnknownClient)?;
                let of = |value: Option<&str>| value.map(str::to_owned).ok_or(AdminError::UnknownClient);
                let target = match get("act")? {
                    "revoke_document_host" => Fingerprint::DocumentHost(of(client.document_host())?),
                    _ => Fingerprint::DocumentSite(of(client.document_site())?),
                };
                (target, None)
            }
            "revoke_all" => (fingerprint()?, None),
            _ => return Err(Problem::new(StatusCode::BAD_REQUEST, "unknown act")),
        };
        let mut revocation = Revocation::new(target, actor, reason);
        revocation.record = record;
        let revoked = self.registrar.revoke(revocation).await?;
        Ok(Done::Revoked { clients: revoked.clients, untold: revoked.not_deprovisioned })
    }
}

const GROUPINGS: [(&str, Grouping); 5] = [
    ("families", Grouping::Families),
    ("duplicates", Grouping::Duplicates),
    ("names_across_hosts", Grouping::NamesAcrossHosts),
    ("hosts_across_names", Grouping::HostsAcrossNames),
    ("software_across_hosts", Grouping::SoftwareAcrossHosts),
];

fn read_queue(parameters: &Parameters) -> Result<ClientQueue, Problem> {
    let Some(name) = parameters.get("queue") else { return Ok(ClientQueue::All) };
    name.parse().map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "unknown queue"))
}

/// Returns the key of the record, if several have one `client_id`; `None` if the parameter is missing.
fn read_record(parameters: &Parameters) -> Result<Option<ClientKey>, Problem> {
    parameters.get("record").map(|text| number(text, "record").map(ClientKey)).transpose()
}

fn read_cursor(parameters: &Parameters) -> Result<Option<ClientKey>, Problem> {
    parameters.get("cursor").map(|text| number(text, "cursor").map(ClientKey)).transpose()
}

fn number<N: std::str::FromStr>(text: &str, name: &str) -> Result<N, Problem> {
    text.parse().map_err(|_| Problem::new(StatusCode::BAD_REQUEST, format!("invalid number in {name}")))
}

async fn read_form<B>(body: B) -> Result<Parameters, Problem>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let bytes = body::read(body).await?;
    Ok(form_urlencoded::parse(&bytes).into_owned().collect())
}

async fn read_json<B>(parts: &Parts, body: B) -> Result<Parameters, Problem>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if !body::is_json(&parts.headers) {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media type other than application/json"));
    }
    let bytes = body::read(body).await?;
    let object: HashMap<String, Value> = serde_json::from_slice(&bytes)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("not a JSON object: {error}")))?;
    let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Ok(object.into_iter().map(|(name, value)| (name, text(value))).collect())
}

fn value(shown: impl Serialize) -> Value {
    serde_json::to_value(shown).unwrap_or_default()
}

/// Returns the status of a client, or `stale`.
fn state(client: &Client, now: i64) -> String {
    if client.is_stale(now) { "stale".to_owned() } else { client.status_at(now).to_string() }
}

/// Returns a record in the form of the JSON API.
fn client_json(client: &Client, now: i64) -> Value {
    let prints = &client.fingerprints;
    json!({
        "key": client.key,
        "client_id": client.client_id,
        "record": client.key,
        "client_name": prints.client_name,
        "client_name_shown": prints.client_name.as_deref().map(shown::text),
        "state": state(client, now),
        "origin": client.origin,
        "document": client.document,
        "document_host": client.document_host(),
        "document_site": client.document_site(),
        "redirect_hosts": prints.redirect_hosts,
        "digest": prints.digest,
        "family": prints.family,
        "redirect_set": prints.redirect_set,
        "software_id": prints.software_id,
        "source": prints.source.as_ref().map(|source| &source.narrow),
        "admitted_by": client.admitted_by,
        "rules": client.rules,
        "statement_issuer": client.statement_issuer,
        "identity": client.identity,
        "created_at": client.created_at,
        "proven_at": client.last_used_at,
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
    let mut response = Response::new(PageBody::of(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CONTENT_LENGTH, length);
    response
}

impl fmt::Debug for AdminService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminService").finish_non_exhaustive()
    }
}
