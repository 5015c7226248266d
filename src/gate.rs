//! [`GateLayer`]: enforces the ledger in front of the endpoints that clients use, without the server's help.
//!
//! One layer for each endpoint: [`authorization`](GateLayer::authorization), [`token`](GateLayer::token),
//! [`pushed_authorization`](GateLayer::pushed_authorization),
//! [`device_authorization`](GateLayer::device_authorization), [`introspection`](GateLayer::introspection),
//! [`revocation`](GateLayer::revocation).
//!
//! # Parameters that are read
//!
//! | place | read if |
//! | --- | --- |
//! | query string | always; at most 100 parameters, in UTF-8, with well-formed escapes |
//! | body of a `POST` | `application/x-www-form-urlencoded` or `application/json`, without a charset or in UTF-8, without a content coding, without a byte order mark, at most 128 KiB; JSON is one object that names no member twice |
//! | `Authorization` | `Basic` followed by one space and base64 without stray bits; a user with several readings (RFC 6749 section 2.3.1 escapes it, many clients do not) must be allowed in each that the ledger knows. `Bearer` and `DPoP` name no client |
//! | `client_assertion` | a JWS (RFC 7523) with canonical base64url, of the type `jwt-bearer` or none, whose `sub` is the client and whose `iss`, if there is one, is the same |
//! | `OAuth-Client-Attestation` | a JWS; its `sub` must be the client that is named elsewhere |
//! | `request` | a JWS, signed or not (RFC 9101); its `client_id`, `iss` and `redirect_uri` must be those of the other parameters |
//!
//! The bytes of a body reach the server as they came. Its media type and length are written anew, and all header
//! fields that describe, encode or sign a body or ask for another method are removed, from a `POST` also those that ask for
//! a coded answer. `GET`,
//! `HEAD` and `OPTIONS` go on without their body; other methods than these and `POST` are answered with 405.
//!
//! # Ambiguous requests
//!
//! Everything that one server may read and another may not is answered with 400 `invalid_request`, and never with
//! `invalid_client`, on which clients throw their registration away:
//!
//! - a body of another media type or charset (multipart too), or one that can't be read;
//! - one of the parameters `client_id`, `redirect_uri`, `client_assertion`, `client_assertion_type`, `request`,
//!   `request_uri`, and outside of the authorization endpoint `grant_type`, `code`, `refresh_token`, `device_code`,
//!   `auth_req_id`, that is repeated (query and body are one), is no string, or is spelled in any other way: in
//!   another case, with other punctuation or white space, as an array, below another name, behind a `;`, escaped
//!   twice. Other parameters may be repeated (`resource`);
//! - two names of the client that differ; a name with other characters than printable ASCII (RFC 6749 appendix A.1),
//!   or with a space at an end; a name that the ledger has in another spelling only: in
//!   another case, or as another way to write a UUID or a number;
//! - an unknown scheme of `Authorization` (at the authorization endpoint, where people sign in, other schemes pass),
//!   or several fields; a `client_id` header field with another value, or at the endpoints that clients call such a cookie;
//! - assertions and request objects that can't be read: encrypted ones, too;
//! - at the endpoints that clients call, parameters of the request in its URL, but for `client_id`, which counts as
//!   left out.
//!
//! # Decisions
//!
//! 1. A client that has expired, was revoked or is not approved yet is rejected:
//!
//!    | endpoint | answer |
//!    | --- | --- |
//!    | authorization | 400, never a redirect (RFC 6749 section 4.1.2.1): a page for a client that accepts `text/html`, else JSON. Both hold `invalid_client` if a new registration mends it |
//!    | token and the others | 401 `invalid_client` with a challenge (section 5.2); 400 `access_denied` if it waits for approval, since it is to keep its registration |
//!    | revocation | passes: revoking a token is always allowed |
//!
//! 2. A request that names nobody is answered with 400 `invalid_request` at the token, pushed authorization and
//!    device authorization endpoints, unless it [passes](GateLayer::passing_unidentified), its grant [may be
//!    anonymous](GateLayer::with_anonymous_grants), or the server [says](GateLayer::with_client_of) whose grant it
//!    is. RFC 6749 section 6 lets a public client leave its name out when it refreshes. At the authorization endpoint
//!    such a request passes, as a form of the server's own; at the introspection endpoint as that of a resource
//!    server.
//! 3. At the authorization endpoint, and where requests are pushed, each redirect URI in the request, also in a
//!    request object, must be a registered one, by [`matches`](crate::redirect_uri::matches). It may be left out if
//!    exactly one is registered that is no loopback URI without a port, in a step of a consent form (a `POST` without
//!    `response_type`, with parameters of its own), where the server [takes request
//!    objects](GateLayer::with_request_objects), or with the `request_uri` of a request that this client pushed
//!    through a gate of the same ledger.
//! 4. A successful answer of the token endpoint is proof that the client is in use: its lifetime begins anew.
//! 5. Clients that the ledger does not know pass, and are noted once they got a token: they were registered before,
//!    or by another way. [`refusing_unknown`](GateLayer::refusing_unknown) rejects them, and those that were only
//!    noted so.
//! 6. If the server itself turns a known client away, the next equal registration gets a new client: a server that lost
//!    its store would otherwise be handed its lost clients for ever. This takes a 401 at the token endpoint to a request
//!    without credentials, or two client errors within an hour at the authorization endpoint, to requests with a
//!    registered redirect URI and nothing but the parameters of a code flow with PKCE.
//!
//! # Left to the server
//!
//! The server authenticates clients, checks signatures, and binds codes and tokens to the client that they were
//! issued to: a server that lets anybody refresh any token lets a live client refresh those of a revoked one. So does
//! one that ignores the place where the client is named, such as `Authorization`. The gate does not read cookies,
//! paths and header fields that it does not list, nor what a foreign `request_uri` leads to. A server that folds ids
//! in another way than by case or by white space at their ends needs
//! [`refusing_unknown`](GateLayer::refusing_unknown).
//!
//! # Cost
//!
//! One read of the ledger for each name, one more for an unknown one and one for a `request_uri`, and none for a
//! client whose record was read within the last [5 seconds](GateLayer::with_cache) or was missing within the last
//! second: for so long a revocation on another node may go unseen. One on this node is seen at once.
//!
//! If the ledger can't be used, clients whose record was read a [minute](GateLayer::with_grace) ago at most are
//! judged by it, and requests of all others are answered with 503.
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
use crate::ledger::{Actor, Client, LedgerError, Origin, State};
use crate::registrar::{Registrar, Unidentified, Unknown};
use crate::registration::{Limits, Registration};
use crate::telemetry;

mod cache;
mod credentials;
mod form;
mod grant;
mod names;
mod parameters;
mod pushed;
mod redirect;
mod refusal;
mod signed;

use cache::{Cache, Records};
use grant::ErasedClientOf;
pub use grant::{ClientOf, Grant};
use parameters::Seen;
use redirect::Elsewhere;
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
    unidentified: Unidentified,
    anonymous_grants: Arc<[String]>,
    request_objects: bool,
    client_of: Option<Arc<dyn ErasedClientOf>>,
}

/// Grants whose requests need not name a client: assertions (RFC 7521 section 4.1: "Authentication of the client is
/// optional"), token exchange (RFC 8693 section 2.1), and pre-authorized codes (`OpenID4VCI` section 6.1).
const ANONYMOUS_GRANTS: [&str; 4] = [
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
    "urn:ietf:params:oauth:grant-type:pre-authorized_code",
    "urn:ietf:params:oauth:grant-type:saml2-bearer",
    "urn:ietf:params:oauth:grant-type:token-exchange",
];

/// How old records may be by which a client is turned away, at most: one that has just registered or was just approved must not
/// hear that it is unknown.
const CONFIRMED: Duration = Duration::from_secs(1);

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
            unidentified: Unidentified::Reject,
            anonymous_grants: ANONYMOUS_GRANTS.map(str::to_owned).into(),
            request_objects: false,
            client_of: None,
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

    /// For the revocation endpoint (RFC 7009): rejects requests that are ambiguous, and no client for its state, since
    /// revoking a token is always allowed.
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

    /// Rejects clients that the ledger does not know or has only seen in use (401 or, at the authorization endpoint, 400
    /// `invalid_client`), and requests that do not say which client they come from (400 `invalid_request`) at every endpoint.
    /// By default unknown clients pass. A policy file says it with `gate.unknown = "reject"`.
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

    /// Passes requests for tokens, pushed requests and device requests that do not say which client they come from, unless
    /// [unknown clients are rejected](Self::refusing_unknown); by default they are answered with 400 `invalid_request`. A
    /// client that was revoked then refreshes its tokens by leaving its name out, if the server allows that: only
    /// [deprovisioning](crate::registrar::Registrar::with_deprovision) keeps it out. A policy file says it with
    /// `gate.unidentified = "pass"`.
    ///
    /// ```
    /// use tower_dcr::GateLayer;
    /// use tower_dcr::ledger::MemoryLedger;
    /// use tower_dcr::registrar::Registrar;
    ///
    /// let gate = GateLayer::token(Registrar::new(MemoryLedger::default())).passing_unidentified();
    /// # let _ = gate;
    /// ```
    pub fn passing_unidentified(self) -> Self {
        self.change(|config| config.unidentified = Unidentified::Pass)
    }

    /// Sets the values of `grant_type` with which a token request need not name a client. By default these are the JWT and
    /// SAML assertion grants (RFC 7521), token exchange (RFC 8693) and pre-authorized codes (OpenID for Verifiable
    /// Credential Issuance 1.0). A policy file says it with `gate.anonymous_grants`.
    ///
    /// ```
    /// use tower_dcr::GateLayer;
    /// use tower_dcr::ledger::MemoryLedger;
    /// use tower_dcr::registrar::Registrar;
    ///
    /// let gate = GateLayer::token(Registrar::new(MemoryLedger::default()))
    ///     .with_anonymous_grants(["urn:ietf:params:oauth:grant-type:token-exchange"]);
    /// # let _ = gate;
    /// ```
    pub fn with_anonymous_grants(self, grants: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let grants = grants.into_iter().map(Into::into).collect();
        self.change(|config| config.anonymous_grants = grants)
    }

    /// The server takes request objects: `request`, and `request_uri` that leads elsewhere than to a pushed request (RFC
    /// 9101; `request_parameter_supported` and `request_uri_parameter_supported` in its metadata). By default a `request_uri`
    /// that this gate has not seen pushed is rejected, and `request` does not replace `redirect_uri`. With it, what a
    /// `request_uri` leads to is the server's to check. A policy file says it with `gate.request_objects = true`.
    ///
    /// ```
    /// use tower_dcr::GateLayer;
    /// use tower_dcr::ledger::MemoryLedger;
    /// use tower_dcr::registrar::Registrar;
    ///
    /// let gate = GateLayer::authorization(Registrar::new(MemoryLedger::default())).with_request_objects();
    /// # let _ = gate;
    /// ```
    pub fn with_request_objects(self) -> Self {
        self.change(|config| config.request_objects = true)
    }

    /// Asks the server for the client of a refresh token, code or device code when a token request does not name it.
    pub fn with_client_of(self, client_of: impl ClientOf) -> Self {
        self.change(|config| config.client_of = Some(Arc::new(client_of)))
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
    R: Body + Send + 'static,
    R::Data: Send,
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
            let form = Form::of(config.endpoint, request.headers());
            let (parts, bytes) = match parameters::read_body(request).await {
                Ok(read) => read,
                Err((fault, unread)) => {
                    config.count(fault);
                    let answer = form.refuse(fault);
                    return Ok(match unread {
                        Some(unread) => unread.answer(answer).await,
                        None => answer,
                    });
                }
            };
            let (request, seen) = match parameters::read(config.endpoint, parts, bytes) {
                Ok(read) => read,
                Err(fault) => {
                    config.count(fault);
                    return Ok(form.refuse(fault));
                }
            };
            if request.method() == Method::OPTIONS {
                return Ok(inner.call(request).await?.map(ResponseBody::inner));
            }
            let form = form.challenging(seen.by_basic);
            let admitted = match config.admit(&seen).await {
                Ok(admitted) => admitted,
                Err(fault) => {
                    config.count(fault);
                    return Ok(form.refuse(fault));
                }
            };
            telemetry::gate(config.endpoint.as_str(), "passed");
            let response = inner.call(request).await?;
            config.hear(response.status(), &seen, admitted.known.as_deref()).await;
            if !response.status().is_success() {
                return Ok(response.map(ResponseBody::inner));
            }
            Ok(match config.endpoint {
                Endpoint::Token => {
                    let (response, holds_token) = grant::holds_token(response).await;
                    match config.prove(admitted, holds_token).await {
                        Ok(()) => response,
                        // The token is not handed out: it was given to a client that is no more.
                        Err(fault) => form.refuse(fault),
                    }
                }
                Endpoint::PushedAuthorization => match config.note_pushed(admitted, response).await {
                    Ok(response) => response,
                    Err(fault) => form.refuse(fault),
                },
                _ => response.map(ResponseBody::inner),
            })
        })
    }
}

/// A request that may go on.
#[derive(Debug, Default)]
struct Admitted {
    /// Its client, if it says so with certainty.
    client_id: Option<String>,
    /// The client's record, if the ledger has it.
    known: Option<Arc<Known>>,
    /// The records that a token is given for, if several registrations share the ID.
    sharing: Vec<Client>,
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

    /// Returns whether no server can take offence at the scope.
    fn has_scope(&self, scope: Option<&str>) -> bool {
        let Some(scope) = scope else { return true };
        let registered = Registration::parse_with(self.client.registration.as_bytes(), &Limits::GENEROUS).ok();
        let registered = registered.as_ref().and_then(|document| document.string("scope")).unwrap_or_default();
        scope.split(' ').all(|wanted| registered.split(' ').any(|known| known == wanted))
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

    /// Decides whether a request may go on.
    async fn admit(&self, seen: &Seen) -> Result<Admitted, Fault> {
        if self.endpoint == Endpoint::Revocation {
            return Ok(Admitted::default());
        }
        let mut ids = seen.client_ids.clone();
        let mut client_id = ids.first().cloned();
        if ids.is_empty() || seen.is_named_aside {
            // A server that does not look where the client is named sees a request that names nobody.
            client_id = self.unidentified(seen).await?;
            ids.extend(client_id.clone().filter(|owner| !ids.contains(owner)));
        }
        if ids.is_empty() {
            return Ok(Admitted::default());
        }
        match self.check(&ids, client_id.as_deref(), seen).await {
            Ok(checked) => checked.map(|checked| Admitted { client_id, ..checked }),
            Err(error) => {
                error.log();
                let gate = &self.registrar.settings().gate;
                let passes = gate.danger_pass_without_ledger.unwrap_or(self.pass_without_ledger);
                if passes { Ok(Admitted::default()) } else { Err(Fault::Unavailable) }
            }
        }
    }

    /// Returns the records that a token is given for, if several registrations share the ID.
    fn sharing(&self, records: &Records, seen: &Seen) -> Vec<Client> {
        if self.endpoint != Endpoint::Token || records.len() < 2 {
            return Vec::new();
        }
        let records: Vec<Client> = records.iter().map(|known| known.client.clone()).collect();
        self.registrar.used_of(&records, seen.redirect_uri.as_deref()).into_iter().cloned().collect()
    }

    /// Judges each of the names that the client may have: the server takes one of them.
    async fn check(
        &self,
        ids: &[String],
        client_id: Option<&str>,
        seen: &Seen,
    ) -> Result<Result<Admitted, Fault>, LedgerError> {
        let elsewhere = if self.endpoint.asks_for_redirect() {
            match self.elsewhere(ids, seen).await? {
                Ok(elsewhere) => elsewhere,
                Err(fault) => return Ok(Err(fault)),
            }
        } else {
            Elsewhere::No
        };
        let mut admitted = Admitted::default();
        for id in ids {
            let mut records = self.look_up(id).await?;
            let mut verdict = self.judge_all(&records, seen, elsewhere);
            if verdict.is_err() {
                // It may have been registered, approved or updated since, here or elsewhere.
                records = self.look_up_within(id, self.ages().0.min(CONFIRMED)).await?;
                verdict = self.judge_all(&records, seen, elsewhere);
            }
            match verdict {
                Ok(known) => {
                    if client_id == Some(id) && known.is_some() {
                        admitted.sharing = self.sharing(&records, seen);
                    }
                    admitted.known = admitted.known.or(known);
                }
                Err((known, fault)) => return Ok(Err(self.noted(&known.client, fault))),
            }
        }
        let is_registered = |known: &Arc<Known>| known.client.origin != Origin::Elsewhere;
        match &admitted.known {
            // An id that was only seen in use was never registered.
            Some(known) if is_registered(known) || !self.refuses_unknown() => Ok(Ok(admitted)),
            Some(_) => Ok(self.unknown(ids).map(|()| Admitted::default())),
            None if !self.refuses_unknown() && self.is_known_otherwise(ids).await? => {
                Ok(Err(Fault::Ambiguous("the client is named in another spelling")))
            }
            None => Ok(self.unknown(ids).map(|()| Admitted::default())),
        }
    }

    /// Returns the first of the records of an ID that may go on. Of several registrations under one ID, one has to fit. `None` if
    /// there are none.
    fn judge_all(
        &self,
        records: &Records,
        seen: &Seen,
        elsewhere: Elsewhere,
    ) -> Result<Option<Arc<Known>>, (Arc<Known>, Fault)> {
        let asks_for_redirect = self.endpoint.asks_for_redirect();
        if asks_for_redirect
            && records.len() > 1
            && seen.is_request
            && seen.redirect_uri.is_none()
            && elsewhere == Elsewhere::No
            && let Some(known) = records.first()
        {
            // Each of those that share the ID may have one, but the server knows several.
            return Err((Arc::clone(known), Fault::NoRedirect));
        }
        let mut rejected = None;
        for known in records.iter() {
            let checked = self
                .judge(&known.client)
                .and_then(|()| if asks_for_redirect { redirect::check(known, seen, elsewhere) } else { Ok(()) });
            match checked {
                Ok(()) => return Ok(Some(Arc::clone(known))),
                // What keeps a live one out is said first.
                Err(fault) if rejected.is_none() || matches!(fault, Fault::Redirect | Fault::NoRedirect) => {
                    rejected = Some((Arc::clone(known), fault));
                }
                Err(_) => {}
            }
        }
        rejected.map_or(Ok(None), Err)
    }

    /// Returns whether some server takes the name of an unknown client for one that the ledger has.
    async fn is_known_otherwise(&self, ids: &[String]) -> Result<bool, LedgerError> {
        for id in ids {
            let (registrations, (max_age, _)) = (self.registrar.registrations(), self.ages());
            let remembered = self.cache.absent(id, registrations, max_age).and_then(|absent| absent.has_other_case);
            let found = if let Some(found) = remembered {
                found
            } else {
                let found = self.registrar.is_known_otherwise(id).await?;
                self.cache.put_absent(id, registrations, Some(found));
                found
            };
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the records of a client.
    async fn look_up(&self, id: &str) -> Result<Records, LedgerError> {
        self.look_up_within(id, self.ages().0).await
    }

    /// Returns the records of a client as they were so long ago at most, while the ledger can be used.
    async fn look_up_within(&self, id: &str, max_age: Duration) -> Result<Records, LedgerError> {
        let now = self.registrar.now();
        let (epoch, registrations) = (self.registrar.epoch(), self.registrar.registrations());
        let (longest, grace) = self.ages();
        // The registrar writes down that a life has ended.
        let has_lapsed =
            |known: &Arc<Known>| known.client.status.is_live() && known.client.state(now) == State::Expired;
        let remembered =
            |max_age: Duration| self.cache.get(id, epoch, max_age).filter(|records| !records.iter().any(has_lapsed));
        if let Some(records) = remembered(max_age) {
            return Ok(records);
        }
        if self.cache.absent(id, registrations, max_age).is_some() {
            return Ok(Records::default());
        }
        match self.registrar.look_up_all(id).await {
            Ok(found) if found.is_empty() => {
                self.cache.put_absent(id, registrations, None);
                Ok(Records::default())
            }
            Ok(mut found) => {
                // That an ID was seen in use opens nothing once somebody has registered under it.
                if found.iter().any(|client| client.origin == Origin::Registered) {
                    found.retain(|client| client.origin == Origin::Registered);
                }
                let records: Records = found.into_iter().map(|client| Arc::new(Known::new(client))).collect();
                self.cache.put(id, epoch, &records);
                Ok(records)
            }
            Err(error) => remembered(longest.saturating_add(grace)).ok_or(error),
        }
    }

    /// Finds out whether a request refers to something that holds its redirect URI.
    async fn elsewhere(&self, ids: &[String], seen: &Seen) -> Result<Result<Elsewhere, Fault>, LedgerError> {
        let takes_objects = self.registrar.settings().gate.request_objects.unwrap_or(self.request_objects);
        let Some(request_uri) = &seen.request_uri else {
            let is_inside = seen.object.as_ref().is_some_and(|object| object.redirect_uri.is_some());
            return Ok(Ok(if is_inside && takes_objects { Elsewhere::Yes } else { Elsewhere::No }));
        };
        Ok(match self.registrar.pushed_by(request_uri).await? {
            Some(owner) if ids.iter().all(|id| *id == owner) => Ok(Elsewhere::Yes),
            None if takes_objects && !pushed::is_pushed(request_uri) => Ok(Elsewhere::Yes),
            _ => Err(Fault::Ambiguous("it is not known who pushed the request")),
        })
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
            State::Revoked if client.ended_by == Some(Actor::Client) => Err(Fault::Deleted),
            State::Revoked => Err(Fault::Revoked),
            State::Expired | State::Failed | State::Registering => Err(Fault::Expired),
        }
    }

    /// A policy file has the last word.
    fn refuses_unknown(&self) -> bool {
        self.registrar.settings().gate.unknown.map_or(self.refuse_unknown, |unknown| unknown == Unknown::Reject)
    }

    /// Decides about a request that does not say which client it comes from, or not to every server. Returns the owner of
    /// its grant, if the server is asked.
    async fn unidentified(&self, seen: &Seen) -> Result<Option<String>, Fault> {
        let gate = self.registrar.settings().gate.clone();
        match self.endpoint {
            // A step of the server's own, like a decision to consent; or a resource server, with a token or by its address.
            Endpoint::Introspection if seen.has_token => return Ok(None),
            Endpoint::Authorization | Endpoint::Introspection | Endpoint::Revocation => {
                return if self.refuses_unknown() { Err(Fault::Unidentified) } else { Ok(None) };
            }
            Endpoint::Token => {
                if let (Some(grant_type), Some(grant), Some(client_of)) =
                    (&seen.grant_type, &seen.grant, &self.client_of)
                {
                    match client_of.client_of(Grant::new(grant_type, grant)).await {
                        Ok(Some(owner)) => return Ok(Some(owner)),
                        Ok(None) => {}
                        Err(error) => {
                            tracing::error!(%error, "the client of a grant can't be found out: answering 503");
                            return Err(Fault::Unavailable);
                        }
                    }
                }
                let anonymous = gate.anonymous_grants.as_deref().unwrap_or(&self.anonymous_grants);
                if seen.grant_type.as_ref().is_some_and(|kind| anonymous.contains(kind)) {
                    return Ok(None);
                }
            }
            Endpoint::DeviceAuthorization | Endpoint::PushedAuthorization => {}
        }
        let passes = gate.unidentified.unwrap_or(self.unidentified) == Unidentified::Pass;
        if !passes || self.refuses_unknown() {
            return Err(Fault::Unidentified);
        }
        let event = self.registrar.event(Action::UnregisteredClient).about(self.endpoint.as_str());
        self.registrar.emit(&event.because(Fault::Unidentified.as_str()));
        Ok(None)
    }

    /// Learns from the server's answer whether it still knows the client. A server that lost its store must not be handed
    /// its lost clients for ever: the next one who registers the same then gets a new client. Anybody can send requests
    /// that the server rejects for other reasons, so only the plainest ones count.
    async fn hear(&self, status: StatusCode, seen: &Seen, known: Option<&Known>) {
        let Some(known) = known.filter(|known| known.client.repeat_key.is_some()) else { return };
        let client = || known.client.clone();
        let heard = match self.endpoint {
            // A public client has nothing but its name that could be wrong.
            Endpoint::Token if status == StatusCode::UNAUTHORIZED && seen.is_plain => {
                self.registrar.stop_repeating(client()).await
            }
            // Any other error is sent to the client by a redirect.
            Endpoint::Authorization if matches!(status.as_u16(), 400 | 401 | 403 | 404 | 410 | 422) => {
                if !seen.is_plain || seen.redirect_uri.is_none() || !known.has_scope(seen.scope.as_deref()) {
                    return;
                }
                self.registrar.server_disowned(client()).await
            }
            Endpoint::Authorization if status.is_success() || status.is_redirection() => {
                self.registrar.server_knows(&known.client);
                return;
            }
            _ => return,
        };
        if let Err(error) = heard {
            error.log();
        }
    }

    fn unknown(&self, ids: &[String]) -> Result<(), Fault> {
        let id = ids.first().map(String::as_str);
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

    /// The server has answered a request for a token with a success.
    async fn prove(&self, admitted: Admitted, holds_token: bool) -> Result<(), Fault> {
        let Admitted { client_id: Some(id), known, sharing } = admitted else { return Ok(()) };
        if !holds_token {
            // Some servers say what went wrong in a success: that proves nothing.
            return Ok(());
        }
        if !sharing.is_empty() {
            return self.prove_sharing(sharing).await;
        }
        let epoch = self.registrar.epoch();
        let proven = match &known {
            None => self.registrar.note_elsewhere(&id).await.map(Some),
            Some(known) if self.registrar.is_news(&known.client) => {
                self.registrar.prove(known.client.clone()).await.map(Some)
            }
            // Somebody on this node has changed a client since: this one?
            Some(_) if self.cache.get(&id, epoch, self.ages().0).is_none() => self.registrar.look_up(&id).await,
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
                self.cache.put(&id, epoch, &std::iter::once(Arc::new(Known::new(client))).collect());
                standing
            }
            Err(error) => {
                // It has the token, and was known a moment ago. The next token is the next chance to note it.
                error.log();
                Ok(())
            }
        }
    }

    /// A token was given for one of several registrations that share an ID. One that is live is enough: the server can't
    /// tell them apart.
    async fn prove_sharing(&self, sharing: Vec<Client>) -> Result<(), Fault> {
        let mut standing = Err(Fault::Revoked);
        for client in sharing {
            // One sign-in proves one record at most that never got a token: anybody can register many with one redirect URI.
            if standing.is_ok() && client.proven_at.is_none() {
                break;
            }
            let proven = if self.registrar.is_news(&client) { self.registrar.prove(client).await } else { Ok(client) };
            match proven {
                Ok(client) => standing = standing.or_else(|_| self.judge(&client)),
                Err(error) => {
                    error.log();
                    standing = Ok(());
                }
            }
        }
        standing
    }
}

impl Endpoint {
    const fn asks_for_redirect(self) -> bool {
        matches!(self, Self::Authorization | Self::PushedAuthorization)
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
