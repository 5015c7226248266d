//! The bounded limiter beside `governor`'s keyed one: a hot key, a flood of new keys, two threads, memory.

#[path = "support/limiter.rs"]
mod limiter;
#[path = "support/mod.rs"]
mod support;
#[path = "../src/sync.rs"]
mod sync;

use std::hint::black_box;
use std::net::Ipv6Addr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use governor::clock::DefaultClock;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota as GovernorQuota, RateLimiter};
use limiter::{Clock, Limiter, Quota};
use support::{Case, compare, figure};

type Governor = RateLimiter<Ipv6Addr, DefaultKeyedStateStore<Ipv6Addr>, DefaultClock>;

const RATE: NonZeroU32 = NonZeroU32::MAX;

fn address(index: u64) -> Ipv6Addr {
    // One /64 after the other, as an attacker with a large network would.
    Ipv6Addr::from((0x2001_0db8_u128 << 96) | (u128::from(index) << 64))
}

fn ours(limiter: &Limiter, clock: Clock, key: Ipv6Addr) -> bool {
    limiter.check(&key, clock.monotonic())
}

fn main() {
    let clock = Clock::new();
    let limiter = Limiter::new(Quota::per_second(RATE));
    let governor: Governor = RateLimiter::keyed(GovernorQuota::per_second(RATE));
    let hot = compare(
        "one hot key, clock included",
        vec![
            Case::new("governor", || governor.check_key(&address(7)).is_ok()),
            Case::new("this crate", || ours(&limiter, clock, address(7))),
        ],
    );
    if let [_, ours] = hot.as_slice() {
        figure("hot key to governor", ours.ratio);
    }

    // An hourly quota, as registration has: a bucket stays in use for a long time.
    let limiter = Limiter::new(Quota::per_hour(NonZeroU32::MIN));
    let governor: Governor = RateLimiter::keyed(GovernorQuota::per_hour(NonZeroU32::MIN));
    let (mine, theirs) = (AtomicU64::new(0), AtomicU64::new(0));
    let flood = compare(
        "a flood of new IPv6 keys, clock included",
        vec![
            Case::new("governor", || governor.check_key(&address(theirs.fetch_add(1, Ordering::Relaxed))).is_ok()),
            Case::new("this crate", || ours(&limiter, clock, address(mine.fetch_add(1, Ordering::Relaxed)))),
        ],
    );
    if let [_, ours] = flood.as_slice() {
        figure("new keys to governor", ours.ratio);
    }
    drop(governor);
    memory(clock);
    for keys in [1, 100_000] {
        threads(clock, keys);
    }
}

fn memory(clock: Clock) {
    println!("\n## memory under 10 million keys, each three times\n");
    let before = resident();
    let limiter = Limiter::new(Quota::per_hour(NonZeroU32::MIN));
    let built = resident();
    for index in 0..10_000_000 {
        for _ in 0..3 {
            black_box(ours(&limiter, clock, address(index)));
        }
    }
    let after = resident();
    println!("this crate: {} KiB when built, {} KiB more after", built - before, after - built);
    #[expect(clippy::cast_precision_loss, reason = "kibibytes")]
    {
        figure("MiB when built", (built - before) as f64 / 1024.0);
        figure("MiB of growth", (after - built) as f64 / 1024.0);
    }
}

/// Resident memory in KiB; 0 where there is no such file.
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn threads(clock: Clock, keys: u64) {
    println!("\n## checks a second over {keys} keys\n\n| | 1 thread | 2 threads |\n| --- | ---: | ---: |");
    let limiter = Limiter::new(Quota::per_second(RATE));
    let governor: Governor = RateLimiter::keyed(GovernorQuota::per_second(RATE));
    let theirs = |index: u64| governor.check_key(&address(index % keys)).is_ok();
    let mine = |index: u64| ours(&limiter, clock, address(index % keys));
    println!("| governor | {:.1} M | {:.1} M |", rate(1, &theirs), rate(2, &theirs));
    println!("| this crate | {:.1} M | {:.1} M |", rate(1, &mine), rate(2, &mine));
}

/// Millions of calls a second, all threads together.
#[expect(clippy::disallowed_methods, reason = "this is what measures")]
fn rate(threads: u64, call: &(dyn Fn(u64) -> bool + Sync)) -> f64 {
    const CALLS: u64 = 2_000_000;
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for index in 0..CALLS {
                    black_box(call(index * 31 + thread));
                }
            });
        }
    });
    #[expect(clippy::cast_precision_loss, reason = "millions")]
    let calls = (CALLS * threads) as f64;
    calls / start.elapsed().as_secs_f64() / 1e6
}
