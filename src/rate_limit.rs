//! [`RateLimitLayer`]: how often clients may be registered.
//!
//! A request takes one from each of the layer's budgets or, if one of them is spent, from none: by default from the
//! budget of the client's address (an IPv4 address, or an IPv6 network of 64 bits) and from one that all share. A
//! budget by the host of the redirect URIs needs the parsed registration; it is a rule,
//! [`RedirectHostQuota`](crate::policy::RedirectHostQuota), and what it turns away is given back here.
//!
//! A `POST` costs, and so does one that is rejected by a rule further in: it took the same work. What a
//! [`LifecycleLayer`](crate::LifecycleLayer) recognises as a repeat is given back. `GET`, `HEAD`, `PUT` and `DELETE`
//! (RFC 7592) are given back unless they are answered with 4xx: a client that manages itself pays nothing, and guessing
//! registration access tokens costs what registering does. An update of a client that the ledger did not know costs like a
//! registration. `OPTIONS` (preflights of browsers) costs nothing.
//!
//! A rejected request is answered with 429, `Retry-After` (whole seconds, rounded up, at least 1), the `RateLimit` and
//! `RateLimit-Policy` fields of draft-ietf-httpapi-ratelimit-headers-10 for the budget that is spent, and an error in
//! the form of RFC 7591. The body is not judged; it is drained within bounds, so that the answer reaches the client.
//!
//! # The defaults
//!
//! Of 16 released MCP clients, one retries a 429 at registration; for the others one false refusal is a failed
//! sign-in. And addresses are shared: a hosted client registers for thousands of users from a few of them. Limits of 10
//! or 20 an hour and address, as many servers have them, refuse such clients within minutes. So the default per address
//! is **60 a minute with 300 at once**, far above what has been seen of any honest address, and far below what fills a
//! table: at most 86,400 a day. The budget of all together is **600 a minute with 3000 at once**.
//!
//! # Behind a proxy
//!
//! Without [trusted proxies](ClientAddress::with_trusted_proxies) all requests seem to come from the proxy and share
//! its budget. Where the server does not say at all where a connection comes from (in axum: the router was not served
//! with `into_make_service_with_connect_info`, or [`RateLimitLayer::with_client_address`] does not look for it), they
//! share one budget too. A [`SetupCheck`](crate::setup_check) warns of both.
//!
//! # Many nodes
//!
//! With [`SharedQuotas`] the budgets are those of all nodes: what a request has taken here, the store that nodes share confirms,
//! for all budgets at once. If the store can't be used, [`Fallback`](crate::quota::Fallback) says whether each node gives its
//! share or refuses with 503.
//!
//! # Memory
//!
//! The state is in the layer, is shared by all services that it makes, and never grows; see [`quota`](crate::quota).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::body::{self, AnswerFuture, Finish, Finished, ResponseBody, ResponseFuture, Unread};
use crate::client_address::ClientAddress;
use crate::clock::{Clock, CoarseClock};
use crate::event::{CostsLikeRegistration, Repeated};
use crate::method::MethodKind;
use crate::policy::{Operation, Review};
use crate::quota::{Budget, Denied, Draw, Limiter, Quota, SharedQuotas, Spent, nonzero};
use crate::rejection::{ErrorCode, Rejection};
use crate::setup_check::SetupCheck;

/// Limits how often clients may be registered. See the [module docs](self).
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
/// use tower_dcr::RateLimitLayer;
/// use tower_dcr::quota::Quota;
///
/// let one_a_minute = Quota::per_minute(NonZeroU32::MIN);
/// let register = ServiceBuilder::new()
///     .layer(RateLimitLayer::empty().with_global_quota(one_a_minute))
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

#[derive(Clone, Debug)]
struct Config {
    budgets: Vec<Arc<Rate>>,
    shared: Option<SharedQuotas>,
    address: ClientAddress,
    clock: Arc<dyn Clock>,
    report_only: bool,
    check: SetupCheck,
}

/// Writes the key of a request, if it has one.
type KeyOf = dyn Fn(&RequestHead<'_>, &mut dyn Hasher) + Send + Sync;

/// A budget, whose it is, and how it stands in the answer's fields.
struct Rate {
    budget: Budget,
    key: Key,
    /// The `RateLimit-Policy` field; nothing if the name does not fit into one.
    policy: Option<HeaderValue>,
}

enum Key {
    Address,
    All,
    Custom(Box<KeyOf>),
}

/// What a request shows before its body is read.
///
/// ```
/// use std::num::NonZeroU32;
/// use tower_dcr::RateLimitLayer;
/// use tower_dcr::quota::Quota;
/// use tower_dcr::rate_limit::RequestHead;
///
/// // One budget for each tenant, which a layer further out has put into a header.
/// let limits = RateLimitLayer::new().add_budget(
///     "tenant",
///     Quota::per_hour(NonZeroU32::new(500).unwrap()),
///     |head: &RequestHead<'_>| head.headers.get("x-tenant").cloned(),
/// );
/// # let _ = limits;
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target.
    pub uri: &'a Uri,
    /// The header fields.
    pub headers: &'a HeaderMap,
    /// What the server attached, such as the address of the connection.
    pub extensions: &'a Extensions,
}

impl RateLimitLayer {
    /// What one address may do: 60 a minute, 300 at once.
    pub const ADDRESS: Quota = Quota::per_minute(nonzero(60)).allow_burst(nonzero(300));

    /// What all together may do: 600 a minute, 3000 at once.
    pub const GLOBAL: Quota = Quota::per_minute(nonzero(600)).allow_burst(nonzero(3000));

    /// The default budgets, for reasons that the [module docs](self) give.
    pub fn new() -> Self {
        Self::empty().with_address_quota(Self::ADDRESS).with_global_quota(Self::GLOBAL)
    }

    /// No budgets yet.
    pub fn empty() -> Self {
        let config = Config {
            budgets: Vec::new(),
            shared: None,
            address: ClientAddress::new(),
            clock: Arc::new(CoarseClock::new()),
            report_only: false,
            check: SetupCheck::new(),
        };
        Self { config: Arc::new(config) }
    }

    /// What each address may do.
    pub fn with_address_quota(self, quota: Quota) -> Self {
        self.with_budget(Rate::new(ADDRESS, Key::Address, Limiter::new(quota)))
    }

    /// What all together may do.
    pub fn with_global_quota(self, quota: Quota) -> Self {
        self.with_budget(Rate::new(GLOBAL, Key::All, Limiter::with_buckets(quota, 1)))
    }

    /// One more budget, for each value of any key that the head of a request has in it. Requests for which `key` gives
    /// `None` share one. `name` stands in the `RateLimit` fields; letters, digits, hyphens. A budget with the name of
    /// one that is there replaces it.
    pub fn add_budget<K: Hash>(
        self,
        name: &'static str,
        quota: Quota,
        key: impl Fn(&RequestHead<'_>) -> Option<K> + Send + Sync + 'static,
    ) -> Self {
        let key = Key::Custom(Box::new(move |head, mut hasher| {
            if let Some(key) = key(head) {
                key.hash(&mut hasher);
            }
        }));
        self.with_budget(Rate::new(name, key, Limiter::new(quota)))
    }

    /// Shares the budgets with other nodes.
    pub fn with_shared_quotas(mut self, shared: SharedQuotas) -> Self {
        Arc::make_mut(&mut self.config).shared = Some(shared);
        self
    }

    /// How the address of a client is found.
    pub fn with_client_address(mut self, address: ClientAddress) -> Self {
        Arc::make_mut(&mut self.config).address = address;
        self
    }

    /// Replaces the clock.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        Arc::make_mut(&mut self.config).clock = clock;
        self
    }

    /// Where it is noted what the addresses say of the server.
    pub(crate) fn with_setup_check(mut self, check: SetupCheck) -> Self {
        Arc::make_mut(&mut self.config).check = check;
        self
    }

    /// Counts and notes what would be refused, and lets everything pass.
    pub fn report_only(mut self) -> Self {
        Arc::make_mut(&mut self.config).report_only = true;
        self
    }

    /// The quota of the budget called `name`.
    fn quota_of(&self, name: &str) -> Option<Quota> {
        self.config.budgets.iter().find(|rate| rate.budget.name() == name).map(|rate| rate.budget.quota())
    }

    /// What each address may do, and what all together.
    pub(crate) fn quotas(&self) -> (Option<Quota>, Option<Quota>) {
        (self.quota_of(ADDRESS), self.quota_of(GLOBAL))
    }

    /// The same budgets with these quotas, over the buckets that there are: nobody gets their budget back by that.
    pub(crate) fn with_quotas(self, address: Option<Quota>, global: Option<Quota>) -> Self {
        let over = |limits: Self, name: &'static str, quota: Option<Quota>, key: Key, buckets: usize| {
            let old = limits.config.budgets.iter().map(|rate| &rate.budget).find(|budget| budget.name() == name);
            match (quota, old) {
                (None, _) => limits.without_budget(name),
                (Some(quota), Some(old)) if old.quota() == quota => limits,
                (Some(quota), Some(old)) => {
                    let limiter = old.limiter().with_quota(quota);
                    limits.with_budget(Rate::new(name, key, limiter))
                }
                (Some(quota), None) => limits.with_budget(Rate::new(name, key, Limiter::with_buckets(quota, buckets))),
            }
        };
        let limits = over(self, ADDRESS, address, Key::Address, Limiter::DEFAULT_BUCKETS);
        over(limits, GLOBAL, global, Key::All, 1)
    }

    fn without_budget(mut self, name: &str) -> Self {
        Arc::make_mut(&mut self.config).budgets.retain(|other| other.budget.name() != name);
        self
    }

    fn with_budget(mut self, rate: Rate) -> Self {
        let (budgets, rate) = (&mut Arc::make_mut(&mut self.config).budgets, Arc::new(rate));
        match budgets.iter_mut().find(|other| other.budget.name() == rate.budget.name()) {
            Some(other) => *other = rate,
            None => budgets.push(rate),
        }
        self
    }
}

impl Default for RateLimitLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit { inner, config: Arc::clone(&self.config) }
    }
}

/// The service that [`RateLimitLayer`] makes.
///
/// ```
/// use tower_dcr::RateLimitLayer;
/// use tower_dcr::rate_limit::RateLimit;
/// use tower_layer::Layer;
///
/// fn limited<S>(inner: S) -> RateLimit<S> {
///     RateLimitLayer::new().layer(inner)
/// }
/// # let _ = limited(());
/// ```
#[derive(Clone, Debug)]
pub struct RateLimit<S> {
    inner: S,
    config: Arc<Config>,
}

impl<S, B, R> Service<Request<B>> for RateLimit<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Body + Send + 'static,
    R: Send + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = AnswerFuture<S::Future, Charge, R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut charge = Charge::of(request.method(), Arc::clone(&self.config));
        if charge.kind != MethodKind::Options
            && let Err(refusal) = charge.take(&RequestHead::of(&request))
        {
            return AnswerFuture::finishing(ResponseFuture::new(async move {
                Ok(Unread::of(request).answer(refusal.response()).await)
            }));
        }
        if !charge.draw.is_to_be_settled() {
            return AnswerFuture::new(self.inner.call(request), charge);
        }
        // The clone has not been polled ready; the service that has is the one to call.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        AnswerFuture::finishing(ResponseFuture::new(async move {
            match charge.settle().await {
                Ok(()) => charge.finish_now(inner.call(request).await).await,
                Err(refusal) => Ok(Unread::of(request).answer(refusal.response()).await),
            }
        }))
    }
}

/// What a request has taken, and from which budgets; or what it would have been refused for.
#[derive(Debug)]
pub struct Charge {
    config: Arc<Config>,
    kind: MethodKind,
    operation: Operation,
    draw: Draw,
    observed: Option<Refusal>,
}

impl Charge {
    fn of(method: &Method, config: Arc<Config>) -> Self {
        let draw = Draw::new(config.shared.as_ref(), &config.clock);
        Self { config, kind: MethodKind::of(method), operation: Operation::of(method), draw, observed: None }
    }

    /// Takes from the budgets of this node.
    fn take(&mut self, head: &RequestHead<'_>) -> Result<(), Refusal> {
        let now = self.config.clock.monotonic();
        for rate in &self.config.budgets {
            if let Err(spent) = self.draw.take(&rate.budget, |hasher| self.config.feed(rate, head, hasher), now) {
                return self.refuse(Denied::Spent(spent));
            }
        }
        Ok(())
    }

    /// Takes the same from the budgets of all nodes.
    async fn settle(&mut self) -> Result<(), Refusal> {
        self.draw.settle().await.or_else(|denied| self.refuse(denied))
    }

    fn refuse(&mut self, denied: Denied) -> Result<(), Refusal> {
        let refusal = self.config.refusal(denied);
        if self.config.report_only {
            self.observed = Some(refusal);
            return Ok(());
        }
        Err(refusal)
    }

    /// Whether `answer` says that this request is not to count.
    fn is_free<B>(&self, answer: &Response<B>) -> bool {
        let extensions = answer.extensions();
        // A budget further in was spent: all of them or none.
        let spent = extensions.get::<Rejection>().is_some_and(|by| by.code() == ErrorCode::TooManyRequests);
        // Nothing was registered: the ledger knew it. Clients that register each time they start are to be let.
        let repeated = extensions.get::<Repeated>().is_some();
        // A client that manages itself; what fails may be somebody who guesses its token.
        let managed = matches!(self.kind, MethodKind::Update | MethodKind::Read | MethodKind::Delete)
            && !answer.status().is_client_error()
            && extensions.get::<CostsLikeRegistration>().is_none();
        spent || repeated || managed
    }

    /// The answer with what was observed.
    fn noted<B>(&self, response: Response<B>) -> Response<ResponseBody<B>> {
        let mut response = response.map(ResponseBody::inner);
        if let Some(refusal) = &self.observed {
            body::attach(&mut response, Review::would_have_refused(self.operation, &refusal.rejection()));
        }
        response
    }

    async fn finish_now<B, E>(self, answer: Result<Response<B>, E>) -> Result<Response<ResponseBody<B>>, E> {
        let answer = answer?;
        let is_free = self.is_free(&answer);
        let response = self.noted(answer);
        if is_free {
            self.draw.give_back().await;
        }
        Ok(response)
    }
}

impl<B, E> Finish<B, E> for Charge {
    fn finish(mut self, answer: Result<Response<B>, E>) -> Finished<B, E> {
        Finished::Now(answer.map(|response| {
            if self.is_free(&response) {
                self.draw.give_back_here();
            }
            self.noted(response)
        }))
    }
}

/// A budget is spent, or nobody knows whether it is.
#[derive(Debug)]
struct Refusal {
    retry_after: Duration,
    /// The budget that is spent.
    spent: Option<Arc<Rate>>,
}

const RULE: &str = "rate-limit";

const ADDRESS: &str = "address";
const GLOBAL: &str = "global";

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

impl Config {
    /// Writes the key of `head`; nothing if it has none, so that all of those share one bucket.
    fn feed(&self, rate: &Rate, head: &RequestHead<'_>, mut hasher: &mut dyn Hasher) {
        match &rate.key {
            Key::All => {}
            Key::Custom(key) => key(head, hasher),
            Key::Address => {
                let address = self.address.resolve(head.headers, head.extensions);
                self.check.address(address, head.headers);
                if let Some(address) = address {
                    self.address.network(address).hash(&mut hasher);
                }
            }
        }
    }

    fn refusal(&self, denied: Denied) -> Refusal {
        match denied {
            Denied::Spent(Spent { budget, retry_after }) => {
                let spent = self.budgets.iter().find(|rate| rate.budget.name() == budget.name());
                Refusal { retry_after, spent: spent.cloned() }
            }
            Denied::Unknown { retry_after } => Refusal { retry_after, spent: None },
        }
    }
}

impl Rate {
    fn new(name: &'static str, key: Key, limiter: Limiter) -> Self {
        let quota = limiter.quota();
        let policy = format!("\"{name}\";q={};w={}", quota.burst(), whole_seconds(quota.window()));
        Self { budget: Budget::over(name, limiter), key, policy: HeaderValue::try_from(policy).ok() }
    }
}

impl Refusal {
    fn rejection(&self) -> Rejection {
        let (code, detail) = match self.spent {
            Some(_) => (ErrorCode::TooManyRequests, "too many registrations, try again later"),
            None => (ErrorCode::TemporarilyUnavailable, "the registration limits can't be looked up, try again later"),
        };
        Rejection::new(code, RULE, detail).with_retry_after(self.retry_after)
    }

    fn response<R>(&self) -> Response<ResponseBody<R>> {
        let rejection = self.rejection();
        let seconds = rejection.retry_after_seconds().unwrap_or(1);
        let mut response = body::refuse(rejection);
        let Some(spent) = &self.spent else { return response };
        // A budget's name could be anything; without the fields the answer is still right.
        let state = ["\"", spent.budget.name(), "\";r=0;t=", &seconds.to_string()].concat();
        if let (Some(policy), Ok(state)) = (&spent.policy, HeaderValue::try_from(state)) {
            response.headers_mut().insert(POLICY, policy.clone());
            response.headers_mut().insert(STATE, state);
        }
        response
    }
}

impl<'a> RequestHead<'a> {
    fn of<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
}

fn whole_seconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rate").field("budget", &self.budget).finish_non_exhaustive()
    }
}
