//! What every [`QuotaStore`] must do, as a suite that a store of your own can be held to (feature `test-util`).
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use tower_dcr::clock::ManualClock;
//! use tower_dcr::quota::{LocalStore, conformance};
//!
//! # let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
//! # runtime.block_on(async {
//! let clock = Arc::new(ManualClock::default());
//! let store = LocalStore::new().with_clock(Arc::clone(&clock) as _);
//! // A store with a clock of its own really waits.
//! conformance::run(&store, async |time: Duration| clock.advance(time)).await;
//! # });
//! ```
#![expect(clippy::unwrap_used, reason = "a suite of tests")]

use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use super::{Bucket, Budget, Quota, QuotaStore, Verdict, nonzero};

/// Runs every check, over keys of their own. They panic with what is wrong. `wait` lets time pass, by the clock of the
/// store; some tenths of a second in all.
pub async fn run(store: &impl QuotaStore, wait: impl AsyncFn(Duration)) {
    takes_a_burst_and_no_more(store).await;
    says_how_long_to_wait(store).await;
    keeps_keys_and_budgets_apart(store).await;
    takes_from_all_or_from_none(store).await;
    gives_back(store).await;
    never_fills_over_the_burst(store).await;
    takes_exactly_the_burst_under_concurrency(store).await;
    survives_the_longest_window(store).await;
    takes_nothing_from_nothing(store).await;
    refills_with_time(store, &wait).await;
    forgets_refunds_of_what_was_paid(store, &wait).await;
}

fn hourly(name: &'static str, burst: u32) -> Budget {
    Budget::new(name, Quota::per_hour(nonzero(1)).allow_burst(nonzero(burst)))
}

/// How many requests in a row are taken from these buckets, of `tries`.
async fn taken(store: &impl QuotaStore, buckets: &[Bucket], tries: u32) -> u32 {
    let mut taken = 0;
    for _ in 0..tries {
        taken += u32::from(store.take(buckets).await.unwrap() == Verdict::Taken);
    }
    taken
}

async fn takes_a_burst_and_no_more(store: &impl QuotaStore) {
    for burst in [1, 2, 7] {
        let bucket = [hourly("burst", burst).bucket(&burst)];
        assert_eq!(taken(store, &bucket, burst + 3).await, burst);
    }
}

async fn says_how_long_to_wait(store: &impl QuotaStore) {
    let bucket = [hourly("wait", 2).bucket("a")];
    assert_eq!(taken(store, &bucket, 2).await, 2);
    let Verdict::Spent { index: 0, retry_after } = store.take(&bucket).await.unwrap() else { panic!("a third one") };
    assert!((3540..=3600).contains(&retry_after.as_secs()), "{retry_after:?}");
}

async fn keeps_keys_and_budgets_apart(store: &impl QuotaStore) {
    let (one, other) = (hourly("apart-one", 1), hourly("apart-other", 1));
    for bucket in [one.bucket("a"), one.bucket("b"), other.bucket("a"), other.bucket("b")] {
        assert_eq!(taken(store, &[bucket], 2).await, 1);
    }
}

async fn takes_from_all_or_from_none(store: &impl QuotaStore) {
    let (wide, narrow) = (hourly("wide", 5).bucket("all"), hourly("narrow", 2).bucket("all"));
    let both = [wide.clone(), narrow.clone()];
    assert_eq!(taken(store, &both, 10).await, 2);
    assert!(matches!(store.take(&both).await.unwrap(), Verdict::Spent { index: 1, .. }));
    let swapped = [narrow, wide.clone()];
    assert!(matches!(store.take(&swapped).await.unwrap(), Verdict::Spent { index: 0, .. }));
    // What was refused took nothing.
    assert_eq!(taken(store, &[wide], 10).await, 3);
}

async fn gives_back(store: &impl QuotaStore) {
    let (first, second) = (hourly("back-first", 2).bucket("a"), hourly("back-second", 3).bucket("a"));
    let both = [first.clone(), second.clone()];
    assert_eq!(taken(store, &both, 3).await, 2);
    store.give_back(&both).await.unwrap();
    assert_eq!(taken(store, &both, 3).await, 1);
    assert_eq!(taken(store, &[second], 3).await, 1);
}

async fn never_fills_over_the_burst(store: &impl QuotaStore) {
    let bucket = [hourly("over", 2).bucket("a")];
    store.give_back(&bucket).await.unwrap();
    assert_eq!(taken(store, &bucket, 1).await, 1);
    for _ in 0..5 {
        store.give_back(&bucket).await.unwrap();
    }
    assert_eq!(taken(store, &bucket, 5).await, 2);
}

async fn takes_exactly_the_burst_under_concurrency(store: &impl QuotaStore) {
    let both = [hourly("many-wide", 20).bucket("a"), hourly("many", 10).bucket("a")];
    let takes = (0..64).map(|_| Box::pin(async { store.take(&both).await.unwrap() == Verdict::Taken }));
    let admitted = all(takes.collect()).await.into_iter().filter(|taken| *taken).count();
    assert_eq!(admitted, 10);
    assert_eq!(taken(store, &both[..1], 20).await, 10);
}

async fn survives_the_longest_window(store: &impl QuotaStore) {
    let endless = Quota::per_hour(nonzero(1)).allow_burst(nonzero(u32::MAX));
    let fastest = Quota::per_second(nonzero(u32::MAX));
    let buckets = [Budget::new("endless", endless).bucket("a"), Budget::new("fastest", fastest).bucket("a")];
    assert_eq!(taken(store, &buckets, 3).await, 3);
    store.give_back(&buckets).await.unwrap();
}

async fn takes_nothing_from_nothing(store: &impl QuotaStore) {
    assert_eq!(store.take(&[]).await.unwrap(), Verdict::Taken);
    store.give_back(&[]).await.unwrap();
}

async fn refills_with_time(store: &impl QuotaStore, wait: &impl AsyncFn(Duration)) {
    let ten_a_second = Quota::per_second(nonzero(10)).allow_burst(nonzero(3));
    let bucket = [Budget::new("refill", ten_a_second).bucket("a")];
    assert!(taken(store, &bucket, 3).await == 3);
    wait(Duration::from_millis(120)).await;
    assert!(taken(store, &bucket, 1).await == 1);
    // Full again, and no fuller.
    wait(Duration::from_millis(400)).await;
    assert!(taken(store, &bucket, 3).await == 3);
}

async fn forgets_refunds_of_what_was_paid(store: &impl QuotaStore, wait: &impl AsyncFn(Duration)) {
    let hundred_a_second = Quota::per_second(nonzero(100)).allow_burst(nonzero(1));
    let budget = Budget::new("paid", hundred_a_second);
    let bucket = [budget.bucket("a")];
    assert_eq!(taken(store, &bucket, 1).await, 1);
    wait(Duration::from_millis(30)).await;
    store.give_back(&bucket).await.unwrap();
    let slow = [budget.with_quota(Quota::per_hour(nonzero(1)).allow_burst(nonzero(2))).bucket("a")];
    assert_eq!(taken(store, &slow, 4).await, 2);
}

/// Runs them all at once, on one task.
async fn all<T>(mut futures: Vec<Pin<Box<impl Future<Output = T>>>>) -> Vec<T> {
    let mut results = Vec::new();
    let waiting = std::future::poll_fn(|cx| {
        futures.retain_mut(|future| match pin!(future).poll(cx) {
            Poll::Ready(result) => {
                results.push(result);
                false
            }
            Poll::Pending => true,
        });
        if futures.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    });
    waiting.await;
    results
}
