//! [`RateLimitLayer`]: limits the rate of client registrations.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::request::Parts;
use http::{Extensions, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

use crate::audit::{CostsLikeRegistration, Deduplicated};
use crate::client_address::ClientAddress;
use crate::clock::{Clock, CoarseClock};
use crate::layers::body::{self, Finish, Finished, ResponseBody, ResponseFuture, Unread};
use crate::layers::layered::Layered;
use crate::layers::setup_check::SetupCheck;
use crate::method::MethodKind;
use crate::rate_limit::budgets::{Budgets, RULE, Slot, Ticket};
use crate::rate_limit::{Budget, Denied, Limiter, Quota, RateLimits, Reservation, SharedQuotas, Spent};
use crate::rules::Rejection;
use crate::rules::{ClaimStatus, Evaluation, Operation};
use crate::text;

/// Limits the rate of client registrations.
///
/// # Budgets
///
/// A registration takes only from the budgets of its class:
///
/// | budget | default | taken by |
/// | --- | --- | --- |
/// | `address` | 60 a minute, 300 at once | unproven registrations of one IPv4 address or IPv6 /64 |
/// | `prefix` | 180 a minute, 900 at once | the same, of one IPv4 /24 or IPv6 /56 |
/// | `wide_prefix` | 300 a minute, 1500 at once | the same, of one IPv6 /48 |
/// | `global` | 600 a minute, 3000 at once | the same, in all; the last third is left to newcomers |
/// | `newcomers` | 12 an hour, 6 at once | the same, of one IPv4 /24 or IPv6 /48, from that third |
/// | `proven` | 300 a minute, 1500 at once | registrations that a vendor's callback proves, by address; a network has twice as many |
/// | `proven_global` | 12,000 a minute, 60,000 at once | the same, in all |
/// | `deduplication` | 600 a minute, 3000 at once | registrations that the ledger knows, by address; a network has twenty times as many |
/// | `unreadable` | 60 a minute, 300 at once | requests rejected before they are evaluated, and failed management, by address and network |
/// | `requests` | 300 a minute, 1500 at once | requests that are read and evaluated, by address and network |
///
/// A default follows `address` (`proven_global` follows `global`): twice the quota of an address means twice that of
/// its networks, its deduplicated registrations, and so on. Without a quota of an address there are none of them,
/// unless they are set.
///
/// *Proven* means that every redirect URI is a vendor's own callback ([`ClaimStatus::Verified`]); a *network* is an IPv4
/// /24 or an IPv6 /48. The chapter
/// [`docs/rate-limits.md`](https://docs.rs/crate/tower-dcr/latest/source/docs/rate-limits.md) describes the limits for
/// one machine, one network and many machines.
///
/// In a preset the limiter takes from `requests` when the head of a request is there, and from the budgets of the class
/// once the document was evaluated. So a request that is rejected on the way never spends the budgets of honest
/// clients, and every request costs something:
///
/// - A wrong method or media type takes from `unreadable` and is not read once that is spent. A body that can't be read
///   takes from `unreadable`, and from `requests` once that is spent.
/// - A document that a rule rejects takes from the budgets of its address and prefixes, and so does one whose [redirect
///   host](crate::rules::RedirectHostQuota) has no budget left.
/// - A registration whose budget is spent still passes if a [`LifecycleLayer`](crate::layers::LifecycleLayer) knows it.
/// - `GET`, `HEAD`, `DELETE` and `PUT` (RFC 7592) take from `unreadable`, and get it back unless they are answered with
///   4xx: guessing registration access tokens is limited, and a client that manages itself pays nothing. A `PUT` of a
///   client that the ledger did not know takes like a registration. `OPTIONS` takes nothing.
///
/// Without a preset, the layer takes from the budgets of unproven registrations when the head is there, and releases or
/// moves the charge if the response shows another class.
///
/// A rejected request is answered with 429, `Retry-After` (whole seconds, rounded up, at least 1), an error in the form
/// of RFC 7591, and the `RateLimit` and `RateLimit-Policy` fields of draft-ietf-httpapi-ratelimit-headers-10 for the
/// budget that is spent. The fields name no partition key and disclose nothing that is not on this page;
/// [`fields`](RateLimits::fields) leaves them out if it is `false`. An unread body is drained within bounds.
///
/// # The defaults
///
/// Of 16 released MCP clients, one retries a 429 at registration; for the others one false rejection is a failed
/// sign-in. And addresses are shared: a hosted client registers for thousands of users from a few of them. Limits of 10
/// or 20 an hour and address, as on many servers, reject such clients within minutes.
///
/// # Behind a proxy
///
/// Without [trusted proxies](ClientAddress::with_trusted_proxies) all requests seem to come from the proxy and share
/// its budget. If the server does not pass on the address of a connection (in axum: the router was not served with
/// `into_make_service_with_connect_info`, or [`RateLimitLayer::with_client_address`] does not look for it), they share
/// one budget too. Presets warn of both: see [`Misconfiguration`](crate::layers::Misconfiguration).
///
/// # Many nodes
///
/// With [`SharedQuotas`] the budgets of registrations, proven or not, are those of all nodes: each node takes from its
/// own budgets, and then the shared store confirms all of them at once. If the store is unavailable, each node uses its
/// share, or [rejects](SharedQuotas::reject_on_outage) with 503. `deduplication`, `unreadable` and `requests` bound the
/// work of one node, and stay local.
///
/// # Memory
///
/// The state is in the layer (3 MiB), is shared by all services that it makes, and never grows; see
/// [`rate_limit`](crate::rate_limit).
///
/// [`ClaimStatus::Verified`]: crate::rules::ClaimStatus::Verified
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
/// use std::num::NonZeroU32;
/// use tower_dcr::layers::RateLimitLayer;
/// use tower_dcr::rate_limit::{Quota, RateLimits};
///
/// let one_a_minute = Quota::per_minute(NonZeroU32::MIN);
/// let register = ServiceBuilder::new()
///     .layer(RateLimitLayer::new().map_limits(|limits| {
///         *limits = RateLimits::OFF;
///         limits.global = one_a_minute.into();
///     }))
///     .service(service_fn(async |_: Request<Full<Bytes>>| {
///         Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::default()))
///     }));
///
/// assert_eq!(register.clone().oneshot(post("{}")).await.unwrap().status(), StatusCode::OK);
/// let limited = register.oneshot(post("{}")).await.unwrap();
/// assert_eq!(limited.status(), StatusCode::TOO_MANY_REQUESTS);
/// assert_eq!(limited.headers()["retry-after"], "60");
/// # let _ = limited.into_body().collect().await;
/// # });
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RateLimitLayer {
    config: Arc<Config>,
}

#[derive(Clone)]
pub(crate) struct Config {
    budgets: Arc<Budgets>,
    /// The budgets with keys of the server's own.
    custom: Vec<Arc<Custom>>,
    address: ClientAddress,
    /// Set if a layer further in charges registrations, once they are evaluated.
    pub(crate) deferred: bool,
    pub(crate) check: SetupCheck,
}

text::debug_fields!(Config { budgets });

/// Writes the key of a request, if it has one.
type KeyOf = dyn Fn(&Parts, &mut dyn Hasher) + Send + Sync;

/// A budget by a key of the server's own.
struct Custom {
    budget: Budget,
    key: Box<KeyOf>,
}

impl RateLimitLayer {
    /// Creates a layer with the default limits. The [docs of the layer](RateLimitLayer) give the reasons for them.
    pub fn new() -> Self {
        let config = Config {
            budgets: Arc::new(Budgets::new(&RateLimits::default(), Arc::new(CoarseClock::new()))),
            custom: Vec::new(),
            address: ClientAddress::new(),
            deferred: false,
            check: SetupCheck::new(),
        };
        Self { config: Arc::new(config) }
    }

    /// Changes the limits, over the existing buckets: spent budgets stay spent. [`RateLimits::OFF`] has none.
    pub fn map_limits(self, change: impl FnOnce(&mut RateLimits)) -> Self {
        let mut limits = *self.limits();
        change(&mut limits);
        self.change_budgets(|budgets| budgets.set(&limits))
    }

    /// Adds a budget for each value of any key from the head of a request, which is seen before the body is read. Every request except `OPTIONS` takes from
    /// it. Requests for which `key` returns `None` share one. `name` appears in the `RateLimit` fields: letters,
    /// digits, hyphens. A budget with the name of an earlier one replaces it. Deduplicated registrations and successful
    /// management of a client get back the amount that they took.
    ///
    /// ```
    /// # use bytes::Bytes;
    /// # use http::{Request, Response, StatusCode};
    /// # use http_body_util::Full;
    /// # use tower::{ServiceBuilder, ServiceExt, service_fn};
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// # let handler = service_fn(async |_: Request<Full<Bytes>>| {
    /// #     Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::default()))
    /// # });
    /// use std::num::NonZeroU32;
    /// use tower_dcr::layers::RateLimitLayer;
    /// use tower_dcr::rate_limit::Quota;
    ///
    /// // One budget for each tenant, which a layer further out has put into a header.
    /// let quota = Quota::per_hour(NonZeroU32::MIN);
    /// let limits = RateLimitLayer::new().add_budget("tenant", quota, |head| head.headers.get("x-tenant").cloned());
    /// let register = ServiceBuilder::new().layer(limits).service(handler);
    /// for (tenant, status) in [("a", StatusCode::OK), ("b", StatusCode::OK), ("a", StatusCode::TOO_MANY_REQUESTS)] {
    ///     let request = Request::post("/register").header("x-tenant", tenant).body(Full::default()).unwrap();
    ///     assert_eq!(register.clone().oneshot(request).await.unwrap().status(), status);
    /// }
    /// # });
    /// ```
    pub fn add_budget<K: Hash>(
        mut self,
        name: &'static str,
        quota: Quota,
        key: impl Fn(&Parts) -> Option<K> + Send + Sync + 'static,
    ) -> Self {
        let key = Box::new(move |head: &Parts, mut hasher: &mut dyn Hasher| {
            if let Some(key) = key(head) {
                key.hash(&mut hasher);
            }
        });
        let custom = Arc::new(Custom { budget: Budget::over(name, Limiter::new(quota)), key });
        let all = &mut Arc::make_mut(&mut self.config).custom;
        match all.iter_mut().find(|other| other.budget.name() == name) {
            Some(other) => *other = custom,
            None => all.push(custom),
        }
        self
    }

    /// Shares the budgets of registrations with other nodes (default: local budgets).
    pub fn with_shared_quotas(self, shared: SharedQuotas) -> Self {
        self.change_budgets(|budgets| budgets.shared = Some(shared))
    }

    /// Sets the source of a client's address (default: [`ClientAddress::new`]).
    pub fn with_client_address(self, address: ClientAddress) -> Self {
        self.change(|config| config.address = address)
    }

    /// Replaces the clock.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        self.change_budgets(|budgets| budgets.clock = clock)
    }

    /// Counts and reports requests over a budget, but passes all of them.
    pub fn report_only(self) -> Self {
        self.change_budgets(|budgets| budgets.report_only = true)
    }

    pub(crate) fn limits(&self) -> &RateLimits {
        self.config.budgets.limits()
    }

    pub(crate) fn change(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }

    fn change_budgets(self, change: impl FnOnce(&mut Budgets)) -> Self {
        self.change(|config| change(Arc::make_mut(&mut config.budgets)))
    }
}

impl Default for RateLimitLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S, B, R> Service<Request<B>> for Layered<RateLimitLayer, S>
where
    S: Service<Request<B>, Response = Response<R>, Future: Send, Error: Send> + Clone + Send + 'static,
    B: Body + Send + 'static,
    R: Body + Send + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<R, S::Error, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (head, body) = request.into_parts();
        let mut charge = Charge::of(&head, &self.layer.config);
        if charge.kind != MethodKind::Options
            && let Err(rejection) = charge.take(&head)
        {
            let request = Request::from_parts(head, body);
            return ResponseFuture::boxed(
                async move { Ok(Unread::of(request).answer(charge.reject(rejection)).await) },
            );
        }
        let mut request = Request::from_parts(head, body);
        request.extensions_mut().insert(charge.ticket.clone());
        if charge.reservation.commit_local() {
            return ResponseFuture::new(self.inner.call(request), charge);
        }
        let mut inner = self.take_ready();
        ResponseFuture::boxed(async move {
            match charge.reservation.commit().await.or_else(|denied| charge.deny(&denied)) {
                Ok(()) => {
                    let answer = inner.call(request).await?;
                    let (response, back) = charge.close(answer);
                    back.release().await;
                    Ok(response)
                }
                Err(rejection) => Ok(Unread::of(request).answer(charge.reject(rejection)).await),
            }
        })
    }
}

/// The budgets that a request has taken from, or the reason for rejecting it.
#[derive(Debug)]
struct Charge {
    config: Arc<Config>,
    kind: MethodKind,
    operation: Operation,
    ticket: Ticket,
    /// The charge to the budgets of registrations.
    reservation: Reservation,
    /// The charge to the budget of unreadable requests, released if the request is not one.
    unreadable: Option<Reservation>,
    /// The charge to the budget of requests.
    requests: Option<Reservation>,
    observed: Option<Rejection>,
}

impl Charge {
    fn of(head: &Parts, config: &Arc<Config>) -> Self {
        let kind = MethodKind::of(&head.method);
        let mut source = None;
        if kind != MethodKind::Options && config.budgets.need_source() {
            let address = config.address.resolve(&head.headers, &head.extensions);
            config.check.address(address, &head.headers);
            source = address.map(|address| config.address.source(address));
        }
        Self {
            kind,
            operation: Operation::of(&head.method),
            ticket: Ticket::new(Arc::clone(&config.budgets), source),
            reservation: Reservation::new(config.budgets.shared.as_ref(), &config.budgets.clock),
            unreadable: None,
            requests: None,
            observed: None,
            config: Arc::clone(config),
        }
    }

    /// Takes from the budgets of this node.
    fn take(&mut self, head: &Parts) -> Result<(), Rejection> {
        self.take_all(head).or_else(|spent| {
            self.reservation = Reservation::default();
            release_local(self.unreadable.take());
            release_local(self.requests.take());
            self.deny(&Denied::Spent(spent))
        })
    }

    fn take_all(&mut self, head: &Parts) -> Result<(), Spent> {
        let config = Arc::clone(&self.config);
        let (budgets, now) = (&config.budgets, config.budgets.clock.monotonic());
        let source = self.ticket.source().copied();
        let has_document = self.kind.has_document();
        // The head shows that the body will not be read.
        let is_misplaced = self.kind == MethodKind::Other || has_document && !body::is_json(&head.headers);
        if self.kind.is_management() || is_misplaced {
            self.unreadable = Some(budgets.take_work(Slot::Unreadable, source.as_ref())?);
        }
        if has_document && !is_misplaced {
            self.requests = Some(budgets.take_work(Slot::Requests, source.as_ref())?);
        }
        for custom in &config.custom {
            self.reservation.take(&custom.budget, |hasher| (custom.key)(head, hasher), now)?;
        }
        if config.deferred { Ok(()) } else { budgets.take_unproven(&mut self.reservation, source.as_ref(), now, false) }
    }

    fn deny(&mut self, denied: &Denied) -> Result<(), Rejection> {
        let rejection = self.ticket.rejection(denied);
        if self.config.budgets.report_only {
            self.observed = Some(rejection);
            return Ok(());
        }
        Err(rejection)
    }

    /// Takes from a budget of this node's work; returns `false` if there is no such budget.
    fn pays(&self, slot: Slot) -> Result<bool, Spent> {
        self.config.budgets.take_work(slot, self.ticket.source()).map(|reservation| !reservation.is_empty())
    }

    /// Releases and moves charges according to the response; returns those that are to be released in the shared store
    /// as well.
    fn close<B: Body>(&mut self, answer: Response<B>) -> (Response<ResponseBody<B>>, Reservation) {
        let failed = answer.status().is_client_error();
        let extensions = answer.extensions();
        if extensions.get::<Deduplicated>().is_some() {
            return self.close_repeated(answer);
        }
        let costs_like_registration = extensions.get::<CostsLikeRegistration>().is_some();
        let is_rejected = extensions.get::<Rejection>().is_some();
        if !failed {
            // A failed request may be an attempt to guess a token.
            release_local(self.unreadable.take());
        }
        let back = if self.kind.is_management() && !failed {
            // A client that manages itself.
            if costs_like_registration { Reservation::default() } else { std::mem::take(&mut self.reservation) }
        } else if failed && !self.ticket.is_judged() {
            self.close_unreadable()
        } else if failed || is_rejected {
            // Evaluating it was work, and nothing was registered.
            self.reservation.split(Budgets::is_global)
        } else if self.ticket.is_proven() {
            release_local(self.requests.take());
            Reservation::default()
        } else if !self.config.deferred && is_proven(extensions) && self.pays(Slot::Proven).is_ok_and(|paid| paid) {
            release_local(self.requests.take());
            self.reservation.split(Budgets::is_unproven)
        } else {
            Reservation::default()
        };
        (self.finished(answer), back)
    }

    /// Releases the charge of a deduplicated registration: clients that register each time they start must not be
    /// limited.
    fn close_repeated<B: Body>(&mut self, answer: Response<B>) -> (Response<ResponseBody<B>>, Reservation) {
        if let Err(spent) = self.pays(Slot::Deduplication)
            && let Err(rejection) = self.deny(&Denied::Spent(spent))
        {
            return (self.reject(rejection), Reservation::default());
        }
        release_local(self.requests.take());
        (self.finished(answer), std::mem::take(&mut self.reservation))
    }

    /// Releases the budgets of honest clients for a request rejected before evaluation, as far as another budget pays.
    fn close_unreadable(&mut self) -> Reservation {
        let paid_before = self.unreadable.as_ref().is_some_and(|reservation| !reservation.is_empty());
        if paid_before || self.pays(Slot::Unreadable).is_ok_and(|paid| paid) {
            release_local(self.requests.take());
            return self.reservation.split(Budgets::is_unproven);
        }
        self.reservation.split(Budgets::is_wide)
    }

    /// Returns the response with the reported rejection and the budget that was spent.
    fn finished<B: Body>(&self, response: Response<B>) -> Response<ResponseBody<B>> {
        let mut response = response.map(ResponseBody::inner);
        if let Some(rejection) = &self.observed {
            body::attach(&mut response, Evaluation::would_have_rejected(self.operation, rejection));
        }
        self.show(response)
    }

    fn reject<R: Body>(&self, rejection: Rejection) -> Response<ResponseBody<R>> {
        self.show(body::reject(rejection))
    }

    /// Writes the fields of the budget that was spent.
    fn show<B>(&self, mut response: Response<B>) -> Response<B> {
        let rejection = response.extensions().get::<Rejection>().filter(|rejection| rejection.rule == RULE);
        let seconds = rejection.and_then(Rejection::retry_after_seconds);
        if let Some((seconds, spent)) = seconds.zip(self.ticket.spent()).filter(|_| self.config.budgets.limits().fields)
            && response.status() == StatusCode::TOO_MANY_REQUESTS
        {
            let (name, burst) = (spent.name(), spent.quota().burst().to_string());
            let window = spent.quota().window().as_nanos().div_ceil(1_000_000_000).to_string();
            let policy = ["\"", name, "\";q=", &burst, ";w=", &window].concat();
            let state = ["\"", name, "\";r=0;t=", &seconds.to_string()].concat();
            // A budget's name could be invalid here; without the fields the response is still correct.
            if let (Ok(policy), Ok(state)) = (HeaderValue::try_from(policy), HeaderValue::try_from(state)) {
                response.headers_mut().insert(POLICY, policy);
                response.headers_mut().insert(STATE, state);
            }
        }
        response
    }
}

impl<B: Body> Finish<B> for Charge {
    fn finish(mut self: Box<Self>, response: Response<B>) -> Finished<B> {
        let (response, mut back) = self.close(response);
        back.release_local();
        Finished::Now(response)
    }
}

/// Releases a request from a local budget.
fn release_local(reservation: Option<Reservation>) {
    if let Some(mut reservation) = reservation {
        reservation.release_local();
    }
}

fn is_proven(extensions: &Extensions) -> bool {
    let identity = extensions.get::<Evaluation>().and_then(Evaluation::identity);
    identity.is_some_and(|identity| identity.status == ClaimStatus::Verified)
}

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");
