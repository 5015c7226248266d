use std::hash::Hash;

use super::*;

fn limiter(rate: u32, burst: u32, buckets: usize) -> Limiter {
    Limiter::with_buckets(Quota::per_minute(nonzero(rate)).allow_burst(nonzero(burst)), buckets)
}

const SECOND: Duration = Duration::from_secs(1);

impl Limiter {
    fn hash_of(&self, key: &(impl Hash + ?Sized)) -> u64 {
        self.hash(|mut hasher| key.hash(&mut hasher))
    }

    fn check(&self, key: &(impl Hash + ?Sized), now: Duration) -> Result<Place, Exhausted> {
        self.take(self.hash_of(key), self.quota(), now)
    }
}

#[test]
fn a_burst_passes_and_then_one_an_interval() {
    let limiter = limiter(60, 3, 64);
    let passes = |key: &str, seconds: u32| limiter.check(key, SECOND * seconds).is_ok();
    assert_eq!([passes("a", 0), passes("a", 0), passes("a", 0), passes("a", 0)], [true, true, true, false]);
    assert!(passes("b", 0) && passes("a", 1) && !passes("a", 1) && passes("a", 2));
    // Full again after the window, and no fuller than the burst.
    assert_eq!([passes("a", 60), passes("a", 60), passes("a", 60), passes("a", 60)], [true, true, true, false]);
}

#[test]
fn an_exhausted_key_learns_how_long_to_wait() {
    let limiter = limiter(60, 3, 64);
    (0..3).for_each(|_| assert!(limiter.check("a", Duration::ZERO).is_ok()));
    let exhausted = limiter.check("a", Duration::from_millis(400)).unwrap_err();
    assert_eq!(exhausted.retry_after, Duration::from_millis(600));
    limiter.release(Place::Own(limiter.hash_of("a")), limiter.quota());
    assert!(limiter.check("a", Duration::from_millis(400)).is_ok());
    assert!(limiter.check("a", Duration::from_millis(400)).is_err());
}

/// A late release must not fill the bucket that others share.
#[test]
fn a_release_goes_to_the_bucket_it_was_taken_from_or_nowhere() {
    let limiter = limiter(60, 1, 4);
    let at = |key: u32, millis: u64| limiter.take(u64::from(key) << 32, limiter.quota(), Duration::from_millis(millis));
    let late = at(1, 0).unwrap();
    // Its bucket is full again and reassigned, like all others; later keys share.
    (11..15).for_each(|key| assert!(matches!(at(key, 5_000).unwrap(), Place::Own(_))));
    assert!(matches!(at(20, 5_000).unwrap(), Place::Overflow));
    limiter.release(late, limiter.quota());
    assert!(at(21, 5_000).is_err());
    limiter.release(Place::Overflow, limiter.quota());
    assert!(at(21, 5_000).is_ok() && at(22, 5_000).is_err());
}

#[test]
fn a_bucket_that_is_not_full_is_never_evicted() {
    // Each of 20,000 other keys three times: a table that evicts would evict the exhausted one.
    let limiter = limiter(1, 5, 64);
    (0..5).for_each(|_| assert!(limiter.check("exhausted", Duration::ZERO).is_ok()));
    let mut admitted = 0;
    for key in 0..20_000_u32 {
        admitted += (0..3).filter(|_| limiter.check(&key, Duration::ZERO).is_ok()).count();
    }
    assert!(limiter.check("exhausted", Duration::ZERO).is_err());
    // At most 63 other buckets, with three each, and the burst of the one that overflows.
    assert!(admitted <= 63 * 3 + 5, "{admitted}");
    // Once the buckets are full again, every key finds room.
    assert!(limiter.check("exhausted", SECOND * 60 * 5).is_ok() && limiter.check(&7_u32, SECOND * 60 * 5).is_ok());
}

#[test]
fn a_clock_that_goes_backwards_gives_nothing_away() {
    let limiter = limiter(60, 2, 64);
    let at = |seconds: u64| limiter.check("a", Duration::from_secs(seconds)).is_ok();
    assert!(at(1_000) && at(1_000) && !at(1_000));
    assert!(!at(0) && !at(999) && at(1_001));
    assert!(limiter.check("b", Duration::MAX).is_err());
}

/// Exactly the burst, from any number of threads.
#[test]
fn threads_share_one_budget() {
    let limiter = limiter(1, 100, 64);
    let admitted: usize = std::thread::scope(|scope| {
        let count = || (0..1_000).filter(|_| limiter.check("a", Duration::ZERO).is_ok()).count();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(admitted, 100);
}

#[test]
fn quotas_have_an_interval_and_a_window() {
    let quota = Quota::per_hour(nonzero(60)).allow_burst(nonzero(10));
    assert_eq!((quota.interval(), quota.window(), quota.burst().get()), (SECOND * 60, SECOND * 600, 10));
    assert_eq!(Quota::per_second(NonZeroU32::MAX).interval(), Duration::from_nanos(1));
}

#[test]
fn a_share_of_a_quota_is_its_part_of_it() {
    let quota = Quota::per_minute(nonzero(60)).allow_burst(nonzero(10));
    let third = quota.share_of(nonzero(3));
    assert_eq!((third.interval(), third.burst().get()), (SECOND * 3, 4));
    assert_eq!(quota.share_of(nonzero(1)), quota);
    assert_eq!(quota.share_of(NonZeroU32::MAX).burst(), NonZeroU32::MIN);
}

/// A flood of failures of other keys takes no entry that limits, and a failure without room is not forgotten.
#[test]
fn charges_without_room_are_counted_together() {
    let limiter = limiter(12, 12, 4);
    let quota = limiter.quota();
    let charge = |key: u32, seconds: u64| {
        limiter.charge(u64::from(key) << 32, quota, Duration::from_secs(seconds), SECOND * 3600);
    };
    let is_limited =
        |key: u32, seconds: u64| limiter.peek(u64::from(key) << 32, quota, Duration::from_secs(seconds)).is_err();
    (0..12).for_each(|_| charge(1, 0));
    assert!(is_limited(1, 0) && !is_limited(2, 0));
    for key in 2..2000 {
        charge(key, 0);
    }
    assert!(is_limited(1, 0), "the flood took no entry");
    assert!(!is_limited(2, 0), "nor does it limit those that have one");
    assert!(is_limited(5000, 0), "the others are limited together");
    // As soon as there is room, what was counted together limits nobody.
    assert!(!is_limited(5000, 6) && is_limited(1, 1));
    charge(5000, 6);
    assert!(!is_limited(5000, 6));
}
