//! Checks of a [`QuotaStore`].

use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use tower_dcr::rate_limit::{Bucket, Quota, QuotaDecision, QuotaStore};

use super::together::together;

/// Runs every check, each over keys of its own. `wait` lets time pass, by the clock of the store; some tenths of a second in
/// all.
///
/// ```no_run
/// use tower_dcr::rate_limit::QuotaStore;
///
/// async fn conforms(store: impl QuotaStore) {
///     tower_dcr_conformance::quota_store(&store, tokio::time::sleep).await;
/// }
/// ```
///
/// # Panics
///
/// If a check fails.
pub async fn quota_store(store: &impl QuotaStore, wait: impl AsyncFn(Duration)) {
    takes_a_burst_and_no_more(store).await;
    returns_the_time_to_wait(store).await;
    keeps_keys_and_budgets_apart(store).await;
    takes_from_all_or_from_none(store).await;
    releases(store).await;
    never_fills_over_the_burst(store).await;
    takes_exactly_the_burst_under_concurrency(store).await;
    survives_the_longest_window(store).await;
    takes_nothing_from_nothing(store).await;
    refills_with_time(store, &wait).await;
    ignores_a_late_release(store, &wait).await;
}

/// The bucket of `key` in a budget of so many requests, which refill within hours.
fn hourly(name: &'static str, burst: u32, key: &(impl Hash + ?Sized)) -> Bucket {
    Bucket::new(name, Quota::per_hour(nonzero(1)).allow_burst(nonzero(burst)), key)
}

/// Returns how many of `tries` requests in a row are taken from these buckets.
async fn taken(store: &impl QuotaStore, buckets: &[Bucket], tries: u32) -> u32 {
    let mut taken = 0;
    for _ in 0..tries {
        taken += u32::from(store.take(buckets).await.unwrap() == QuotaDecision::Taken);
    }
    taken
}

async fn takes_a_burst_and_no_more(store: &impl QuotaStore) {
    for burst in [1, 2, 7] {
        let bucket = [hourly("burst", burst, &burst)];
        assert_eq!(taken(store, &bucket, burst + 3).await, burst);
    }
}

async fn returns_the_time_to_wait(store: &impl QuotaStore) {
    let bucket = [hourly("wait", 2, "a")];
    assert_eq!(taken(store, &bucket, 2).await, 2);
    let QuotaDecision::Spent { index: 0, retry_after } = store.take(&bucket).await.unwrap() else {
        panic!("a third one")
    };
    assert!((3540..=3600).contains(&retry_after.as_secs()), "{retry_after:?}");
}

async fn keeps_keys_and_budgets_apart(store: &impl QuotaStore) {
    for (budget, key) in [("apart-one", "a"), ("apart-one", "b"), ("apart-other", "a"), ("apart-other", "b")] {
        assert_eq!(taken(store, &[hourly(budget, 1, key)], 2).await, 1);
    }
}

async fn takes_from_all_or_from_none(store: &impl QuotaStore) {
    let (wide, narrow) = (hourly("wide", 5, "all"), hourly("narrow", 2, "all"));
    let both = [wide.clone(), narrow.clone()];
    assert_eq!(taken(store, &both, 10).await, 2);
    assert!(matches!(store.take(&both).await.unwrap(), QuotaDecision::Spent { index: 1, .. }));
    let swapped = [narrow, wide.clone()];
    assert!(matches!(store.take(&swapped).await.unwrap(), QuotaDecision::Spent { index: 0, .. }));
    // A rejected request took nothing.
    assert_eq!(taken(store, &[wide], 10).await, 3);
}

async fn releases(store: &impl QuotaStore) {
    let (first, second) = (hourly("release-first", 2, "a"), hourly("release-second", 3, "a"));
    let both = [first.clone(), second.clone()];
    assert_eq!(taken(store, &both, 3).await, 2);
    store.release(&both).await.unwrap();
    assert_eq!(taken(store, &both, 3).await, 1);
    assert_eq!(taken(store, &[second], 3).await, 1);
}

async fn never_fills_over_the_burst(store: &impl QuotaStore) {
    let bucket = [hourly("over", 2, "a")];
    store.release(&bucket).await.unwrap();
    assert_eq!(taken(store, &bucket, 1).await, 1);
    for _ in 0..5 {
        store.release(&bucket).await.unwrap();
    }
    assert_eq!(taken(store, &bucket, 5).await, 2);
}

async fn takes_exactly_the_burst_under_concurrency(store: &impl QuotaStore) {
    let both = [hourly("many-wide", 20, "a"), hourly("many", 10, "a")];
    let takes = (0..64).map(|_| async { store.take(&both).await.unwrap() == QuotaDecision::Taken });
    let admitted = together(takes).await.into_iter().filter(|taken| *taken).count();
    assert_eq!(admitted, 10);
    assert_eq!(taken(store, &both[..1], 20).await, 10);
}

async fn survives_the_longest_window(store: &impl QuotaStore) {
    let endless = Quota::per_hour(nonzero(1)).allow_burst(nonzero(u32::MAX));
    let fastest = Quota::per_second(nonzero(u32::MAX));
    let buckets = [Bucket::new("endless", endless, "a"), Bucket::new("fastest", fastest, "a")];
    assert_eq!(taken(store, &buckets, 3).await, 3);
    store.release(&buckets).await.unwrap();
}

async fn takes_nothing_from_nothing(store: &impl QuotaStore) {
    assert_eq!(store.take(&[]).await.unwrap(), QuotaDecision::Taken);
    store.release(&[]).await.unwrap();
}

async fn refills_with_time(store: &impl QuotaStore, wait: &impl AsyncFn(Duration)) {
    let ten_a_second = Quota::per_second(nonzero(10)).allow_burst(nonzero(3));
    let bucket = [Bucket::new("refill", ten_a_second, "a")];
    assert!(taken(store, &bucket, 3).await == 3);
    wait(Duration::from_millis(120)).await;
    assert!(taken(store, &bucket, 1).await == 1);
    // Full again, and no fuller.
    wait(Duration::from_millis(400)).await;
    assert!(taken(store, &bucket, 3).await == 3);
}

async fn ignores_a_late_release(store: &impl QuotaStore, wait: &impl AsyncFn(Duration)) {
    let hundred_a_second = Quota::per_second(nonzero(100)).allow_burst(nonzero(1));
    let bucket = [Bucket::new("late", hundred_a_second, "a")];
    assert_eq!(taken(store, &bucket, 1).await, 1);
    wait(Duration::from_millis(30)).await;
    store.release(&bucket).await.unwrap();
    let slow = [hourly("late", 2, "a")];
    assert_eq!(taken(store, &slow, 4).await, 2);
}

fn nonzero(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap()
}
