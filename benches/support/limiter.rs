//! The table of rate limits, which is not public: its sources, included like in `tests/loom`. A bench has `sync`
//! of the library at its root.

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::time::Duration;

#[path = "../../src/rate_limit/gcra.rs"]
#[expect(dead_code, unreachable_pub, reason = "the library uses and names the rest")]
mod gcra;
#[path = "../../src/rate_limit/table.rs"]
#[expect(dead_code, reason = "the library uses the rest")]
mod table;

pub(crate) use gcra::Quota;
use table::Table;

/// The library's clock for it.
#[derive(Clone, Copy)]
pub(crate) struct Clock(coarsetime::Instant);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(coarsetime::Instant::now_without_cache_update())
    }

    pub(crate) fn monotonic(self) -> Duration {
        coarsetime::Instant::now_without_cache_update().duration_since(self.0).into()
    }
}

/// The number of buckets of a limiter in the library.
const BUCKETS: usize = 65_536;

/// A limiter like the library's.
pub(crate) struct Limiter {
    quota: Quota,
    hasher: RandomState,
    table: Table,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Exhausted {
    retry_after: Duration,
}

impl Limiter {
    pub(crate) fn new(quota: Quota) -> Self {
        Self { quota, hasher: RandomState::new(), table: Table::new(BUCKETS) }
    }

    /// Takes one request, and returns whether there was one.
    pub(crate) fn check(&self, key: &impl Hash, now: Duration) -> bool {
        self.table.take(self.hasher.hash_one(key), self.quota, gcra::nanos(now)).is_ok()
    }
}

const fn nonzero(count: u32) -> NonZeroU32 {
    match NonZeroU32::new(count) {
        Some(count) => count,
        None => NonZeroU32::MIN,
    }
}
