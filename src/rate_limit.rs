//! [`RateLimitLayer`]: how often clients may be registered.
//!
//! A request takes one from each of the layer's budgets or, if one of them is spent, from none: by default from the
//! budget of the client's address (an IPv4 address, or an IPv6 network of 64 bits) and from one that all share. A
//! budget by the host of the redirect URIs needs the parsed registration; it is a rule,
//! [`RedirectHostQuota`](crate::policy::RedirectHostQuota), and what it turns away is given back here.
//!
//! `GET`, `HEAD` and `OPTIONS` cost nothing: reads, and the preflights of browsers. What a
//! [`LifecycleLayer`](crate::LifecycleLayer) recognises as a repeat is given back, too. A request that is refused by a rule
//! further in does cost: it took the same work.
//!
//! A refused request is answered with 429, `Retry-After` (whole seconds, rounded up, at least 1), the `RateLimit` and
//! `RateLimit-Policy` fields of draft-ietf-httpapi-ratelimit-headers-10 for the budget that is spent, and an error in
//! the form of RFC 7591. The body is not read.
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
//! share one budget too, and a warning is logged.
//!
//! # Memory
//!
//! The state is in the layer, is shared by all services that it makes, and never grows; see [`quota`](crate::quota).

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use tower_layer::Layer;
use tower_service::Service;

use crate::body::{self, AnswerFuture, Finish, Finished, ResponseBody};
use crate::client_address::ClientAddress;
use crate::clock::{Clock, CoarseClock};
use crate::event::Repeated;
use crate::policy::{Operation, Review};
use crate::quota::{Exhausted, Limiter, Place, Quota, nonzero};
use crate::rejection::{ErrorCode, Rejection};

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
    budgets: Vec<Arc<Budget>>,
    address: ClientAddress,
    clock: Arc<dyn Clock>,
    report_only: bool,
    warned: Arc<AtomicBool>,
}

type KeyOf = dyn Fn(&RequestHead<'_>) -> Option<u64> + Send + Sync;

struct Budget {
    /// As it stands in the `RateLimit` fields.
    name: &'static str,
    key: Key,
    limiter: Limiter,
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
            address: ClientAddress::new(),
            clock: Arc::new(CoarseClock::new()),
            report_only: false,
            warned: Arc::default(),
        };
        Self { config: Arc::new(config) }
    }

    /// What each address may do.
    pub fn with_address_quota(self, quota: Quota) -> Self {
        self.with_budget(Budget::new(ADDRESS, Key::Address, Limiter::new(quota)))
    }

    /// What all together may do.
    pub fn with_global_quota(self, quota: Quota) -> Self {
        self.with_budget(Budget::new(GLOBAL, Key::All, Limiter::with_buckets(quota, 1)))
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
        let hasher = RandomState::new();
        let key = Key::Custom(Box::new(move |head| key(head).map(|key| hasher.hash_one(key))));
        self.with_budget(Budget::new(name, key, Limiter::new(quota)))
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

    /// Counts and notes what would be refused, and lets everything pass.
    pub fn report_only(mut self) -> Self {
        Arc::make_mut(&mut self.config).report_only = true;
        self
    }

    /// The quota of the budget called `name`.
    fn quota_of(&self, name: &str) -> Option<Quota> {
        self.config.budgets.iter().find(|budget| budget.name == name).map(|budget| budget.limiter.quota())
    }

    /// What each address may do, and what all together.
    pub(crate) fn quotas(&self) -> (Option<Quota>, Option<Quota>) {
        (self.quota_of(ADDRESS), self.quota_of(GLOBAL))
    }

    /// The same budgets with these quotas, over the buckets that there are: nobody gets their budget back by that.
    pub(crate) fn with_quotas(self, address: Option<Quota>, global: Option<Quota>) -> Self {
        let over = |limits: Self, name: &'static str, quota: Option<Quota>, key: Key, buckets: usize| {
            let old = limits.config.budgets.iter().find(|budget| budget.name == name);
            match (quota, old) {
                (None, _) => limits.without_budget(name),
                (Some(quota), Some(old)) if old.limiter.quota() == quota => limits,
                (Some(quota), Some(old)) => {
                    let limiter = old.limiter.with_quota(quota);
                    limits.with_budget(Budget::new(name, key, limiter))
                }
                (Some(quota), None) => {
                    limits.with_budget(Budget::new(name, key, Limiter::with_buckets(quota, buckets)))
                }
            }
        };
        let limits = over(self, ADDRESS, address, Key::Address, Limiter::DEFAULT_BUCKETS);
        over(limits, GLOBAL, global, Key::All, 1)
    }

    fn without_budget(mut self, name: &str) -> Self {
        Arc::make_mut(&mut self.config).budgets.retain(|other| other.name != name);
        self
    }

    fn with_budget(mut self, budget: Budget) -> Self {
        let budgets = &mut Arc::make_mut(&mut self.config).budgets;
        budgets.retain(|other| other.name != budget.name);
        budgets.push(Arc::new(budget));
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
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = AnswerFuture<S::Future, Charge, R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let operation = Operation::of(request.method());
        let charged = match *request.method() {
            Method::GET | Method::HEAD | Method::OPTIONS => Ok(Vec::new()),
            _ => self.config.charge(&RequestHead::of(&request)),
        };
        let charge = match charged {
            Ok(taken) => Charge { taken, observed: None },
            Err(refusal) if self.config.report_only => {
                Charge { taken: Vec::new(), observed: Some((refusal, operation)) }
            }
            Err(refusal) => return AnswerFuture::answered(refusal.response()),
        };
        AnswerFuture::new(self.inner.call(request), charge)
    }
}

/// What a request has taken, and from which budgets; or what it would have been refused for.
#[derive(Debug)]
pub struct Charge {
    taken: Vec<Taken>,
    observed: Option<(Refusal, Operation)>,
}

/// A budget, and from which of its buckets.
type Taken = (Arc<Budget>, Place);

impl<B, E> Finish<B, E> for Charge {
    fn finish(self, answer: Result<Response<B>, E>) -> Finished<B, E> {
        Finished::Now(answer.map(|response| {
            let mut response = response.map(ResponseBody::inner);
            let extensions = response.extensions();
            // A budget further in was spent: all of them or none.
            let spent = extensions.get::<Rejection>().is_some_and(|by| by.code() == ErrorCode::TooManyRequests);
            // Nothing was registered: the ledger knew it. Clients that register each time they start are to be let.
            if spent || extensions.get::<Repeated>().is_some() {
                give_back(&self.taken);
            }
            if let Some((refusal, operation)) = self.observed {
                body::attach(&mut response, Review::would_have_refused(operation, &refusal.rejection()));
            }
            response
        }))
    }
}

fn give_back(taken: &[Taken]) {
    for (budget, place) in taken {
        budget.limiter.refund_at(*place);
    }
}

/// A budget is spent.
#[derive(Debug)]
struct Refusal {
    budget: Arc<Budget>,
    exhausted: Exhausted,
}

const RULE: &str = "rate-limit";

const ADDRESS: &str = "address";
const GLOBAL: &str = "global";

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// The bucket of all requests that have no key.
const SHARED: u64 = 0;

impl Config {
    fn charge(&self, head: &RequestHead<'_>) -> Result<Vec<Taken>, Refusal> {
        let now = self.clock.monotonic();
        let mut taken = Vec::new();
        for budget in &self.budgets {
            let key = self.key(budget, head);
            match budget.limiter.check_hashed(key, now) {
                Ok((place, _)) => taken.push((Arc::clone(budget), place)),
                Err(exhausted) => {
                    give_back(&taken);
                    return Err(Refusal { budget: Arc::clone(budget), exhausted });
                }
            }
        }
        Ok(taken)
    }

    /// The hash of the key of `head`.
    fn key(&self, budget: &Budget, head: &RequestHead<'_>) -> u64 {
        match &budget.key {
            Key::All => SHARED,
            Key::Custom(key) => key(head).unwrap_or(SHARED),
            Key::Address => {
                let address = self.address.resolve(head.headers, head.extensions);
                if address.is_none() && !self.warned.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        "the address of connections is not known, so that all clients share one registration budget: \
                         see ClientAddress::with_peer_address"
                    );
                }
                address.map_or(SHARED, |address| budget.limiter.hash(&self.address.network(address)))
            }
        }
    }
}

impl Budget {
    fn new(name: &'static str, key: Key, limiter: Limiter) -> Self {
        let quota = limiter.quota();
        let policy = format!("\"{name}\";q={};w={}", quota.burst(), whole_seconds(quota.window()));
        Self { name, key, limiter, policy: HeaderValue::try_from(policy).ok() }
    }
}

impl Refusal {
    fn rejection(&self) -> Rejection {
        Rejection::new(ErrorCode::TooManyRequests, RULE, "too many registrations, try again later")
            .with_retry_after(self.exhausted.retry_after())
    }

    fn response<R>(&self) -> Response<ResponseBody<R>> {
        let rejection = self.rejection();
        let seconds = rejection.retry_after_seconds().unwrap_or(1);
        let mut response = body::refuse(rejection);
        // A budget's name could be anything; without the fields the answer is still right.
        let state = ["\"", self.budget.name, "\";r=0;t=", &seconds.to_string()].concat();
        if let (Some(policy), Ok(state)) = (&self.budget.policy, HeaderValue::try_from(state)) {
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

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("name", &self.name).field("limiter", &self.limiter).finish_non_exhaustive()
    }
}
