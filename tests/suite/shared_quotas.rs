//! Budgets that nodes share, in front of a handler: what is taken where, released, and rejected.

use std::error::Error;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use tower_dcr::audit::Outcome;
use tower_dcr::clients::MemoryLedger;
use tower_dcr::clients::Registrar;
use tower_dcr::rate_limit::{Bucket, Quota, QuotaDecision, QuotaStore, RateLimits, SharedQuotas};
use tower_dcr::rules::{Context, Decision, Disposition, Policy, RedirectHostQuota};
use tower_dcr::{
    Preset, Rejection,
    layers::{PolicyLayer, RateLimitLayer},
};

use crate::support::{Kept, Naive, behind, eventually, post, send};

/// A store that says what it is told to, and notes what it is asked.
#[derive(Clone, Default)]
struct Store {
    asked: Arc<AtomicUsize>,
    taken: Arc<Mutex<Vec<(&'static str, u128)>>>,
    /// The budget that is spent.
    spent: Arc<Mutex<Option<&'static str>>>,
    is_down: Arc<AtomicBool>,
}

impl Store {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn spend(&self, budget: Option<&'static str>) {
        *self.spent.lock().unwrap() = budget;
    }

    fn is_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }

    /// From which budgets something is taken now.
    fn taken(&self) -> Vec<&'static str> {
        self.taken.lock().unwrap().iter().map(|(budget, _)| *budget).collect()
    }

    fn answer(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.is_down.load(Ordering::SeqCst) { Err("connection refused".into()) } else { Ok(()) }
    }
}

impl QuotaStore for Store {
    async fn take(&self, buckets: &[Bucket]) -> Result<QuotaDecision, Box<dyn Error + Send + Sync>> {
        self.answer()?;
        let spent = *self.spent.lock().unwrap();
        if let Some(index) = buckets.iter().position(|bucket| Some(bucket.budget) == spent) {
            return Ok(QuotaDecision::Spent { index, retry_after: Duration::from_millis(6500) });
        }
        self.taken.lock().unwrap().extend(buckets.iter().map(|bucket| (bucket.budget, bucket.key)));
        Ok(QuotaDecision::Taken)
    }

    async fn release(&self, buckets: &[Bucket]) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.answer()?;
        let mut taken = self.taken.lock().unwrap();
        for bucket in buckets {
            let index = taken.iter().position(|taken| *taken == (bucket.budget, bucket.key)).expect("was taken");
            taken.remove(index);
        }
        Ok(())
    }
}

fn shared(store: &Store) -> SharedQuotas {
    SharedQuotas::new(store.clone(), NonZeroU32::new(2).unwrap())
}

/// One address may register four at once, and one more in a quarter of an hour; its network many.
fn preset(store: &Store) -> Preset {
    let limits = RateLimitLayer::new().map_limits(|limits| {
        limits.address = "4/hour".parse().unwrap();
        limits.prefix = "900/hour".parse().unwrap();
    });
    tower_dcr::mcp()
        .with_peer_address(|extensions| extensions.get().copied())
        .with_rate_limit(limits)
        .with_shared_quotas(shared(store))
}

fn from(address: u8, uri: &str) -> Request<Full<Bytes>> {
    let mut request = post(format!(r#"{{"redirect_uris":["{uri}"]}}"#));
    request.extensions_mut().insert(SocketAddr::from(([192, 0, 2, address], 4711)));
    request
}

const HOSTED: &str = "https://app.example.com/cb";
const LOOPBACK: &str = "http://127.0.0.1/cb";

#[tokio::test]
async fn address_budgets_take_one_store_call_and_host_budgets_another() {
    let store = Store::default();
    let service = behind(&preset(&store), &Naive::default());
    assert_eq!(send(&service, from(1, LOOPBACK)).await.status(), StatusCode::CREATED);
    assert_eq!((store.asked(), store.taken()), (1, vec!["address", "prefix", "global"]));
    assert_eq!(send(&service, from(1, HOSTED)).await.status(), StatusCode::CREATED);
    assert_eq!((store.asked(), &store.taken()[3..]), (3, &["redirect-host", "address", "prefix", "global"][..]));
    let mut preflight = from(1, HOSTED);
    *preflight.method_mut() = Method::OPTIONS;
    send(&service, preflight).await;
    assert_eq!(store.asked(), 3);
}

/// The same everywhere: the buckets of an address are its network's.
#[tokio::test]
async fn nodes_share_buckets() {
    let (store, naive) = (Store::default(), Naive::default());
    for _ in 0..2 {
        let node = behind(&preset(&store), &naive);
        send(&node, from(1, HOSTED)).await;
    }
    let taken = store.taken.lock().unwrap().clone();
    assert_eq!(taken[..4], taken[4..]);
}

#[tokio::test]
async fn a_spent_shared_budget_is_rejected_locally_at_no_other_cost() {
    let store = Store::default();
    store.spend(Some("global"));
    let naive = Naive::default();
    let service = behind(&preset(&store), &naive);
    // More than the budget of the address, of which nothing is taken.
    for _ in 0..6 {
        let rejected = send(&service, from(1, LOOPBACK)).await;
        assert_eq!(rejected.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(rejected.header("retry-after"), Some("7"));
        assert_eq!(rejected.header("ratelimit"), Some("\"global\";r=0;t=7"));
    }
    assert!(naive.seen().is_empty() && store.taken().is_empty());
    store.spend(None);
    for _ in 0..4 {
        assert_eq!(send(&service, from(1, LOOPBACK)).await.status(), StatusCode::CREATED);
    }
    let asked = store.asked();
    assert_eq!(send(&service, from(1, LOOPBACK)).await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(store.asked(), asked, "who has spent it here is refused here");
}

#[tokio::test]
async fn a_spent_host_is_rejected_by_its_rule_and_charges_only_the_address() {
    let (store, kept, naive) = (Store::default(), Kept::default(), Naive::default());
    store.spend(Some("redirect-host"));
    let service = behind(&preset(&store).with_sink(kept.sink()), &naive);
    for _ in 0..6 {
        let rejected = send(&service, from(1, HOSTED)).await;
        assert_eq!(rejected.status(), StatusCode::TOO_MANY_REQUESTS);
        let rejection = rejected.response.extensions().get::<Rejection>().unwrap();
        assert_eq!((rejection.rule, rejected.header("retry-after")), ("redirect-host-quota", Some("7")));
    }
    assert!(store.taken().is_empty() && naive.seen().is_empty());
    let event = kept.take().remove(0);
    assert_eq!((event.outcome, event.rule), (Outcome::Limited, Some("redirect-host-quota")));
    assert!(event.digest_after().is_none(), "nothing was forwarded");
    store.spend(None);
    assert_eq!(send(&service, from(1, HOSTED)).await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(send(&service, from(2, HOSTED)).await.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn the_charge_of_a_repeat_is_returned_locally_and_in_the_store() {
    let store = Store::default();
    let preset = preset(&store).with_registrar(Registrar::new(MemoryLedger::default()));
    let service = behind(&preset, &Naive::default());
    // Many times more than the budget of the address.
    for _ in 0..20 {
        assert_eq!(send(&service, from(1, HOSTED)).await.status(), StatusCode::CREATED);
        assert_eq!(store.taken(), ["redirect-host", "address", "prefix", "global"]);
    }
}

#[tokio::test]
async fn without_the_store_each_node_admits_its_share() {
    let store = Store::default();
    store.is_down(true);
    let service = behind(&preset(&store), &Naive::default());
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(send(&service, from(1, LOOPBACK)).await.status().as_u16());
    }
    // Two nodes: half of four.
    assert_eq!(statuses, [201, 201, 429, 429]);
    for address in 2..50 {
        assert_eq!(send(&service, from(address, LOOPBACK)).await.status(), StatusCode::CREATED);
    }
    // On a busy machine there may be one more call.
    assert!((5..8).contains(&store.asked()), "after five failures nobody waits for it: {}", store.asked());
    store.is_down(false);
    let mut addresses = 60..250;
    eventually("the store is asked again", async || {
        let address = addresses.next().unwrap();
        assert_eq!(send(&service, from(address, LOOPBACK)).await.status(), StatusCode::CREATED);
        !store.taken().is_empty()
    })
    .await;
    assert_eq!(store.taken(), ["address", "prefix", "global"]);
}

/// Admissions before the outage count.
#[tokio::test]
async fn a_share_counts_earlier_admissions_of_this_node() {
    let store = Store::default();
    let service = behind(&preset(&store), &Naive::default());
    for _ in 0..4 {
        assert_eq!(send(&service, from(1, LOOPBACK)).await.status(), StatusCode::CREATED);
    }
    store.is_down(true);
    assert_eq!(send(&service, from(1, LOOPBACK)).await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(send(&service, from(2, LOOPBACK)).await.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn without_the_store_and_with_reject_on_outage_all_are_rejected() {
    let (store, kept, naive) = (Store::default(), Kept::default(), Naive::default());
    let rejecting = shared(&store).reject_on_outage();
    let service = behind(&preset(&store).with_shared_quotas(rejecting).with_sink(kept.sink()), &naive);
    store.is_down(true);
    for _ in 0..10 {
        let refused = send(&service, from(1, LOOPBACK)).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.json()["error"], "temporarily_unavailable");
        assert!(refused.header("retry-after").is_some() && refused.header("ratelimit").is_none());
    }
    assert!(naive.seen().is_empty());
    assert_eq!(kept.take()[0].rule, Some("rate-limit"));
    store.is_down(false);
    let mut addresses = 60..250;
    eventually("registrations are accepted again", async || {
        send(&service, from(addresses.next().unwrap(), LOOPBACK)).await.status() == StatusCode::CREATED
    })
    .await;
    // The rejected requests took nothing from the local tables.
    for _ in 0..4 {
        assert_eq!(send(&service, from(1, LOOPBACK)).await.status(), StatusCode::CREATED);
    }
}

/// The head is admitted, and then the store goes.
#[tokio::test]
async fn a_host_budget_without_the_store_is_rejected_or_shared() {
    let store = Store::default();
    let rule = RedirectHostQuota::new("2/hour".parse().unwrap());
    let layer = |shared| behind(&PolicyLayer::new(rule.clone().with_shared_quotas(shared)), &Naive::default());
    store.is_down(true);
    let rejecting = layer(shared(&store).reject_on_outage());
    let rejected = send(&rejecting, from(1, HOSTED)).await;
    assert_eq!(rejected.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(rejected.response.extensions().get::<Rejection>().unwrap().rule, "redirect-host-quota");
    let sharing = layer(shared(&store));
    assert_eq!(send(&sharing, from(1, HOSTED)).await.status(), StatusCode::CREATED);
    assert_eq!(send(&sharing, from(1, HOSTED)).await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(send(&sharing, from(1, LOOPBACK)).await.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn report_only_limits_pass_and_are_reported() {
    let (store, kept) = (Store::default(), Kept::default());
    let service = behind(&preset(&store).report_only().with_sink(kept.sink()), &Naive::default());
    for budget in ["global", "redirect-host"] {
        store.spend(Some(budget));
        assert_eq!(send(&service, from(1, HOSTED)).await.status(), StatusCode::CREATED);
    }
    let would_have: Vec<Vec<&str>> = kept
        .take()
        .iter()
        .map(|event| {
            let rejected = event.findings.iter().filter(|finding| finding.disposition == Disposition::Rejected);
            rejected.inspect(|finding| assert!(!finding.enforced)).map(|finding| finding.rule).collect()
        })
        .collect();
    assert_eq!(would_have, [["rate-limit"], ["redirect-host-quota"]]);

    // A budget that is spent here, and only observed, is all or none as well.
    store.spend(None);
    let before = store.taken().len();
    let limits = RateLimitLayer::new()
        .map_limits(|limits| {
            *limits = RateLimits::OFF;
            limits.address = "9/hour".parse().unwrap();
            limits.global = "1/hour".parse().unwrap();
        })
        .with_shared_quotas(shared(&store));
    let observing = behind(&limits.report_only(), &Naive::default());
    for _ in 0..3 {
        assert_eq!(send(&observing, from(1, HOSTED)).await.status(), StatusCode::CREATED);
    }
    assert_eq!(store.taken()[before..], ["address", "global"]);

    let rule = RedirectHostQuota::new(Quota::per_hour(NonZeroU32::MIN)).with_shared_quotas(shared(&store));
    let observing = behind(&PolicyLayer::new(Policy::new(rule).report_only()), &Naive::default());
    for _ in 0..3 {
        assert_eq!(send(&observing, from(1, HOSTED)).await.status(), StatusCode::CREATED);
    }
}

/// An evaluation takes nothing for good, here or from other nodes, until it is committed.
#[tokio::test]
async fn evaluations_reserve_and_commit() {
    let store = Store::default();
    let rule = RedirectHostQuota::new(Quota::per_hour(NonZeroU32::MIN)).with_shared_quotas(shared(&store));
    let judge = || {
        let body = format!(r#"{{"redirect_uris":["{HOSTED}"]}}"#);
        let registration = tower_dcr::Registration::parse(body.as_bytes()).unwrap();
        Policy::new(rule.clone()).evaluate(registration, &Context::registration())
    };
    let reserved = judge();
    assert_eq!((reserved.decision(), judge().decision()), (Decision::Accept, Decision::Reject), "it is reserved");
    let copy = reserved.clone();
    drop(reserved);
    assert_eq!(judge().decision(), Decision::Accept, "released");
    drop(copy);
    assert_eq!((judge().decision(), store.asked()), (Decision::Accept, 0), "a copy has reserved nothing");
    judge().commit().await.unwrap();
    assert_eq!((judge().decision(), store.asked()), (Decision::Reject, 1), "taken");
}

#[tokio::test]
async fn a_layer_alone_shares_its_own_budgets() {
    let store = Store::default();
    let layer = RateLimitLayer::new()
        .map_limits(|limits| *limits = RateLimits::OFF)
        .add_budget("tenant", "1/hour".parse().unwrap(), |head| head.headers.get("x-tenant").cloned())
        .with_shared_quotas(shared(&store));
    let service = behind(&layer, &Naive::default());
    let of = |tenant: &str| {
        let mut request = from(1, HOSTED);
        request.headers_mut().insert("x-tenant", tenant.parse().unwrap());
        request
    };
    assert_eq!(send(&service, of("a")).await.status(), StatusCode::CREATED);
    assert_eq!(send(&service, of("b")).await.status(), StatusCode::CREATED);
    assert_eq!(send(&service, of("a")).await.status(), StatusCode::TOO_MANY_REQUESTS);
    let taken = store.taken.lock().unwrap().clone();
    let tenant = Bucket::new("tenant", Quota::per_hour(NonZeroU32::MIN), &http::HeaderValue::from_static("a"));
    assert_eq!(taken[0].1, tenant.key);
}

/// Another policy is another set of quotas over the same budgets, shared with the same nodes.
#[tokio::test]
async fn a_reload_goes_on_sharing() {
    let store = Store::default();
    let guard = preset(&store).reloadable();
    let service = behind(&guard, &Naive::default());
    send(&service, from(1, HOSTED)).await;
    let before = store.taken.lock().unwrap().clone();
    // A rule of its own for the hosts, which the first policy had not.
    let policy = "rate_limit.address = '9/hour'\n[redirect_host_quota]\nquota = '5/hour'";
    guard.replace(&Preset::from_str(policy).unwrap()).unwrap();
    send(&service, from(1, HOSTED)).await;
    let after = store.taken.lock().unwrap().clone();
    assert_eq!((after.len(), &after[4..]), (8, &before[..]));
    store.spend(Some("redirect-host"));
    assert_eq!(send(&service, from(1, HOSTED)).await.status(), StatusCode::TOO_MANY_REQUESTS);
}
