//! [`GateLayer`]: enforces the ledger in front of the endpoints that clients use, without the server's help.
//!
//! One layer for each endpoint: [`authorization`](GateLayer::authorization), [`token`](GateLayer::token),
//! [`pushed_authorization`](GateLayer::pushed_authorization), [`device_authorization`](GateLayer::device_authorization),
//! [`introspection`](GateLayer::introspection), [`revocation`](GateLayer::revocation). What happens to a request:
//!
//! 1. The client is read from the query, from the form (or JSON) in the body, from `Authorization: Basic` (RFC 6749 section
//!    2.3.1), or from a client assertion. A parameter that is repeated, and two names that differ, are refused. The body is
//!    then handed on byte for byte.
//! 2. A client that has expired, was revoked or is not approved yet is refused:
//!
//!    | endpoint | answer |
//!    | --- | --- |
//!    | authorization | 400 and a page (JSON for who asks for it), never a redirect (RFC 6749 section 4.1.2.1) |
//!    | token and the others | 401 `invalid_client`, with a challenge if `Authorization` was used (section 5.2) |
//!    | revocation | passes: who cleans up is not kept from it |
//!
//! 3. At the authorization endpoint, and where requests are pushed, the redirect URI must be a registered one, by
//!    [`matches`](crate::redirect_uri::matches); if several are registered, it must be there.
//! 4. A successful answer of the token endpoint is proof that the client is in use: its lifetime begins anew.
//! 5. Clients that the ledger does not know pass, and are noted once they got a token: they were registered before, or by
//!    another way. [`refusing_unknown`](GateLayer::refusing_unknown) is for when there are none of those any more.
//!
//! 6. If the server turns a client away that the ledger knows (401 at the token endpoint, any client error at the
//!    authorization endpoint but a rate limit), the next one who registers the same gets a new client: a server that lost its store would
//!    otherwise be handed its lost clients for ever.
//!
//! That costs one read of the ledger at most, and none for a client whose record was read within the last
//! [5 seconds](GateLayer::with_cache): for so long a revocation on another node may go unseen. One on this node is seen
//! at once.
//!
//! If the ledger can't be used, clients whose record was read a [minute](GateLayer::with_grace) ago at most are judged by it,
//! and requests of all others are answered with 503.
//!
//! ```
//! # use bytes::Bytes;
//! # use http::{Request, Response, StatusCode};
//! # use http_body_util::{BodyExt, Full};
//! # use tower::{ServiceBuilder, ServiceExt, service_fn};
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! # runtime.block_on(async {
//! use std::convert::Infallible;
//! use tower_dcr::GateLayer;
//! use tower_dcr::body::ReplayBody;
//! use tower_dcr::ledger::MemoryLedger;
//! use tower_dcr::registrar::Registrar;
//!
//! let registrar = Registrar::new(MemoryLedger::default());
//! let token = ServiceBuilder::new().layer(GateLayer::token(registrar).refusing_unknown()).service(service_fn(
//!     async |_: Request<ReplayBody<Full<Bytes>>>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())),
//! ));
//! let request = Request::post("/token")
//!     .header("content-type", "application/x-www-form-urlencoded")
//!     .body(Full::<Bytes>::from("grant_type=refresh_token&refresh_token=r&client_id=nobody"))
//!     .unwrap();
//! let refused = token.oneshot(request).await.unwrap();
//! assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
//! assert_eq!(refused.headers()["cache-control"], "no-store");
//! # });
//! ```

use std::error::Error;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::body::{ReplayBody, ResponseBody, ResponseFuture};
use crate::event::Action;
use crate::ledger::{Client, LedgerError, Origin, State};
use crate::redirect_uri;
use crate::registrar::{Registrar, Unknown};
use crate::registration::{Limits, Registration};
use crate::telemetry;

mod cache;
mod parameters;
mod refusal;

use cache::Cache;
use parameters::Seen;
use refusal::{Fault, Form};

/// Turns clients away that the ledger says are no more. See the [module docs](self).
///
/// ```
/// use std::time::Duration;
/// use tower_dcr::GateLayer;
/// use tower_dcr::ledger::MemoryLedger;
/// use tower_dcr::registrar::Registrar;
///
/// let registrar = Registrar::new(MemoryLedger::default());
/// let gate = GateLayer::authorization(registrar).with_cache(Duration::from_secs(1), 1000);
/// # let _ = gate;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct GateLayer {
    config: Arc<Config>,
}

#[derive(Clone)]
struct Config {
    registrar: Registrar,
    endpoint: Endpoint,
    cache: Cache,
    refuse_unknown: bool,
    grace: Duration,
    pass_without_ledger: bool,
}

/// Which endpoint it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Authorization,
    DeviceAuthorization,
    Introspection,
    PushedAuthorization,
    Revocation,
    Token,
}

impl GateLayer {
    fn new(registrar: Registrar, endpoint: Endpoint) -> Self {
        let cache = Cache::new(Duration::from_secs(5), 4096);
        let config = Config {
            registrar,
            endpoint,
            cache,
            refuse_unknown: false,
            grace: Duration::from_secs(60),
            pass_without_ledger: false,
        };
        Self { config: Arc::new(config) }
    }

    /// For the authorization endpoint (RFC 6749 section 3.1).
    pub fn authorization(registrar: Registrar) -> Self {
        Self::new(registrar, Endpoint::Authorization)
    }

    /// For the token endpoint (RFC 6749 section 3.2). What it answers also says which clients are in use.
    pub fn token(registrar: Registrar) -> Self {
        Self::new(registrar, Endpoint::Token)
    }

    /// For the pushed authorization request endpoint (RFC 9126).
    pub fn pushed_authorization(registrar: Registrar) -> Self {
        Self::new(registrar, Endpoint::PushedAuthorization)
    }

    /// For the device authorization endpoint (RFC 8628).
    pub fn device_authorization(registrar: Registrar) -> Self {
        Self::new(registrar, Endpoint::DeviceAuthorization)
    }

    /// For the introspection endpoint (RFC 7662), as far as clients use it.
    pub fn introspection(registrar: Registrar) -> Self {
        Self::new(registrar, Endpoint::Introspection)
    }

    /// For the revocation endpoint (RFC 7009): refuses requests that are ambiguous, and nobody for what became of them.
    pub fn revocation(registrar: Registrar) -> Self {
        Self::new(registrar, Endpoint::Revocation)
    }

    fn change(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }

    /// For how long, and for how many clients, records that were read are used again; by default 5 seconds and 4096
    /// clients. A revocation on another node is seen after that time at the latest, while the ledger can be used. No time at
    /// all means one read for each request, and none that could be used again without the ledger.
    pub fn with_cache(self, max_age: Duration, clients: usize) -> Self {
        self.change(|config| config.cache = Cache::new(max_age, clients))
    }

    /// Refuses clients that the ledger does not know, and requests that do not say which client they come from.
    pub fn refusing_unknown(self) -> Self {
        self.change(|config| config.refuse_unknown = true)
    }

    /// While the ledger can't be used, records that were read so long ago at most are gone by, besides their
    /// [age](Self::with_cache) on a good day; by default a minute, which a failover takes. Clients that were here a moment ago go
    /// on, all others wait. Somebody who was revoked on another node meanwhile is let pass for that long, if this node alone
    /// has lost the ledger. No time at all refuses everybody with 503 from the first failure.
    pub fn with_grace(self, grace: Duration) -> Self {
        self.change(|config| config.grace = grace)
    }

    /// Lets everything pass while the ledger can't be used. Whoever manages to slow the ledger down brings back every
    /// client that was revoked for as long as the server still knows it.
    pub fn danger_pass_without_ledger(self) -> Self {
        self.change(|config| config.pass_without_ledger = true)
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Gate { inner, config: Arc::clone(&self.config) }
    }
}

/// The service that [`GateLayer`] makes.
///
/// ```
/// use tower_dcr::GateLayer;
/// use tower_dcr::gate::Gate;
/// use tower_dcr::ledger::MemoryLedger;
/// use tower_dcr::registrar::Registrar;
/// use tower_layer::Layer;
///
/// fn gated<S>(handler: S) -> Gate<S> {
///     GateLayer::token(Registrar::new(MemoryLedger::default())).layer(handler)
/// }
/// # let _ = gated(());
/// ```
#[derive(Clone, Debug)]
pub struct Gate<S> {
    inner: S,
    config: Arc<Config>,
}

impl<S, B, R> Service<Request<B>> for Gate<S>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
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
        ResponseFuture::new(async move {
            if request.method() == Method::OPTIONS {
                // A preflight of a browser (Fetch standard section 3.2.2): it comes from no client yet.
                return Ok(inner.call(request.map(ReplayBody::inner)).await?.map(ResponseBody::inner));
            }
            let form = Form::of(config.endpoint, request.headers());
            let (request, seen) = match parameters::read(request).await {
                Ok(read) => read,
                Err(fault) => {
                    config.count(fault);
                    return Ok(form.refuse(fault));
                }
            };
            let client = match config.admit(&seen).await {
                Ok(client) => client,
                Err(fault) => {
                    config.count(fault);
                    return Ok(form.challenging(seen.by_basic).refuse(fault));
                }
            };
            telemetry::gate(config.endpoint.as_str(), "passed");
            let response = inner.call(request).await?.map(ResponseBody::inner);
            if config.endpoint.says_unknown(response.status()) {
                config.stop_repeating(client.as_deref()).await;
            }
            if config.endpoint != Endpoint::Token || !response.status().is_success() {
                return Ok(response);
            }
            Ok(match config.prove(&seen, client).await {
                Ok(()) => response,
                // The token is not handed out: it was given to a client that is no more.
                Err(fault) => form.challenging(seen.by_basic).refuse(fault),
            })
        })
    }
}

/// A record as it was read, and what is looked at often.
#[derive(Debug)]
struct Known {
    client: Client,
    /// Read when first asked for, which the token endpoint never does. Nothing if the record can't be read.
    redirect_uris: OnceLock<Option<Vec<String>>>,
}

impl Known {
    fn new(client: Client) -> Self {
        Self { client, redirect_uris: OnceLock::new() }
    }

    fn redirect_uris(&self) -> Option<&[String]> {
        let read = || {
            let document = Registration::parse_with(self.client.registration.as_bytes(), &Limits::GENEROUS).ok()?;
            Some(document.redirect_uris().map(str::to_owned).collect())
        };
        self.redirect_uris.get_or_init(read).as_deref()
    }
}

impl Config {
    fn count(&self, fault: Fault) {
        let decision = if matches!(fault, Fault::Unavailable) { "unavailable" } else { "refused" };
        telemetry::gate(self.endpoint.as_str(), decision);
    }

    /// The client of a request that may go on, if the ledger knows it.
    async fn admit(&self, seen: &Seen) -> Result<Option<Arc<Known>>, Fault> {
        if self.endpoint == Endpoint::Revocation {
            return Ok(None);
        }
        if seen.client_ids.is_empty() {
            return self.unidentified().map(|()| None);
        }
        let known = match self.look_up(seen).await {
            Ok(known) => known,
            Err(error) => {
                error.log();
                let gate = &self.registrar.settings().gate;
                let passes = gate.danger_pass_without_ledger.unwrap_or(self.pass_without_ledger);
                return if passes { Ok(None) } else { Err(Fault::Unavailable) };
            }
        };
        // A name in `Authorization: Basic` may have two readings, and the server takes one of them: each must be fine.
        for known in &known {
            self.judge(&known.client).map_err(|fault| self.noted(&known.client, fault))?;
            if matches!(self.endpoint, Endpoint::Authorization | Endpoint::PushedAuthorization) {
                check_redirect(known, seen).map_err(|fault| self.noted(&known.client, fault))?;
            }
        }
        match known.into_iter().next() {
            Some(known) => Ok(Some(known)),
            None => self.unknown(seen).map(|()| None),
        }
    }

    /// The records of the client: one, unless its name has two readings.
    async fn look_up(&self, seen: &Seen) -> Result<Vec<Arc<Known>>, LedgerError> {
        let now = self.registrar.now();
        let mut found = Vec::with_capacity(1);
        for id in &seen.client_ids {
            let epoch = self.registrar.epoch();
            let (max_age, grace) = self.ages();
            let remembered = |max_age: Duration| {
                self.cache.get(id, epoch, max_age).filter(|known| known.client.state(now) != State::Expired)
            };
            if let Some(known) = remembered(max_age) {
                found.push(known);
                continue;
            }
            match self.registrar.look_up(id).await {
                Ok(None) => {}
                Ok(Some(client)) => {
                    let known = Arc::new(Known::new(client));
                    self.cache.put(id, epoch, Arc::clone(&known));
                    found.push(known);
                }
                Err(error) => found.push(remembered(max_age.saturating_add(grace)).ok_or(error)?),
            }
        }
        Ok(found)
    }

    /// How old a record may be that was read before, and how much older while the ledger can't be used. A policy file has the
    /// last word.
    fn ages(&self) -> (Duration, Duration) {
        let said = &self.registrar.settings().gate;
        (said.max_age.map_or(self.cache.max_age(), |age| age.0), said.grace.map_or(self.grace, |grace| grace.0))
    }

    fn judge(&self, client: &Client) -> Result<(), Fault> {
        match client.state(self.registrar.now()) {
            State::Active | State::Stale => Ok(()),
            State::Pending => Err(Fault::Pending),
            State::Revoked => Err(Fault::Revoked),
            State::Expired | State::Failed | State::Registering => Err(Fault::Expired),
        }
    }

    /// A policy file has the last word.
    fn refuses_unknown(&self) -> bool {
        self.registrar.settings().gate.unknown.map_or(self.refuse_unknown, |unknown| unknown == Unknown::Reject)
    }

    fn unidentified(&self) -> Result<(), Fault> {
        if self.refuses_unknown() {
            return Err(Fault::Unidentified);
        }
        // At the other endpoints such a request gets nothing, or is a step of the server's own, like a decision to consent.
        if self.endpoint == Endpoint::Token {
            let event = self.registrar.event(Action::UnregisteredClient).about(self.endpoint.as_str());
            self.registrar.emit(&event.because(Fault::Unidentified.as_str()));
        }
        Ok(())
    }

    /// The server does not seem to know the client any more: its store was lost, perhaps. Whoever registers the same
    /// again must not be handed this one again, or would never get in. It is not ended: anybody can make a request that
    /// the server refuses.
    async fn stop_repeating(&self, known: Option<&Known>) {
        if let Some(known) = known.filter(|known| known.client.repeat_key.is_some())
            && let Err(error) = self.registrar.stop_repeating(known.client.clone()).await
        {
            error.log();
        }
    }

    fn unknown(&self, seen: &Seen) -> Result<(), Fault> {
        let id = seen.client_ids.first().map(String::as_str);
        let refuses = self.refuses_unknown();
        let action = if refuses { Action::Refused } else { Action::UnregisteredClient };
        self.registrar.emit(&self.registrar.event(action).of_client(id).about(self.endpoint.as_str()));
        if refuses { Err(Fault::Unknown) } else { Ok(()) }
    }

    fn noted(&self, client: &Client, fault: Fault) -> Fault {
        let event = self.registrar.event(Action::Refused).of_client(client.client_id.as_deref());
        self.registrar.emit(&event.about(self.endpoint.as_str()).because(fault.as_str()));
        fault
    }

    /// The client got a token.
    async fn prove(&self, seen: &Seen, known: Option<Arc<Known>>) -> Result<(), Fault> {
        let Some(id) = seen.client_ids.first() else { return Ok(()) };
        let epoch = self.registrar.epoch();
        let proven = match &known {
            None => self.registrar.note_elsewhere(id).await.map(Some),
            Some(known) if self.registrar.is_news(&known.client) => {
                self.registrar.prove(known.client.clone()).await.map(Some)
            }
            // Somebody on this node has changed a client since: this one?
            Some(_) if self.cache.get(id, epoch, self.ages().0).is_none() => self.registrar.look_up(id).await,
            Some(_) => Ok(None),
        };
        match proven {
            Ok(None) => Ok(()),
            Ok(Some(client)) => {
                let standing = self.judge(&client);
                if standing.is_err() {
                    // The server was told before it gave out this token.
                    self.registrar.deprovision_again(client.key).await;
                }
                self.cache.put(id, epoch, Arc::new(Known::new(client)));
                standing
            }
            Err(error) => {
                // It has the token, and was known a moment ago. The next token is the next chance to note it.
                error.log();
                Ok(())
            }
        }
    }
}

/// Compares the redirect URI with those that are registered. A request object that was signed or pushed has it inside,
/// and was or will be looked at where it came in.
fn check_redirect(known: &Known, seen: &Seen) -> Result<(), Fault> {
    if known.client.origin == Origin::Elsewhere || seen.is_elsewhere {
        return Ok(());
    }
    let registered = known.redirect_uris().ok_or(Fault::Redirect)?;
    let is_fine = match &seen.redirect_uri {
        Some(requested) => registered.is_empty() || registered.iter().any(|uri| redirect_uri::matches(uri, requested)),
        // OAuth 2.1 section 2.3.2: required where more than one is registered.
        None => registered.len() <= 1,
    };
    if is_fine { Ok(()) } else { Err(Fault::Redirect) }
}

impl Endpoint {
    /// Whether an answer of the server to a client that is registered can mean that it does not know it. At the
    /// authorization endpoint any other error is sent to the client by a redirect.
    fn says_unknown(self, status: StatusCode) -> bool {
        match self {
            Self::Authorization => matches!(status.as_u16(), 400 | 401 | 403 | 404 | 410 | 422),
            Self::Token => status == StatusCode::UNAUTHORIZED,
            _ => false,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Authorization => "authorization",
            Self::DeviceAuthorization => "device_authorization",
            Self::Introspection => "introspection",
            Self::PushedAuthorization => "pushed_authorization",
            Self::Revocation => "revocation",
            Self::Token => "token",
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
