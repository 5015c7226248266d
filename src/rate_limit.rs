//! Quotas of rate limits, and budgets that nodes share.
//!
//! A [`Quota`] says how many registrations a [`RateLimitLayer`](crate::layers::RateLimitLayer) lets through. Several nodes
//! share their budgets with [`SharedQuotas`], over a [`QuotaStore`].
//!
//! Limits are kept by the generic cell rate algorithm (GCRA): one number per key, the time at which the bucket of the key will
//! be full again. A table of such numbers is an attack surface of its own: one that grows falls to a flood of new keys
//! (one IPv6 /48 has 65536 /64s), and one that evicts gives an exhausted key its burst back after enough other
//! keys. The table of this crate has a fixed size and evicts only full buckets; new keys that find no room share one
//! overflow bucket.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

mod bucket;
pub(crate) mod budgets;
mod gcra;
mod limits;
#[cfg(test)]
mod local;
mod quota;
mod reservation;
mod shared;
mod store;
mod table;

pub use bucket::Bucket;
pub(crate) use bucket::Budget;
pub use gcra::Quota;
pub use limits::{RateLimit, RateLimits};
pub(crate) use reservation::{Denied, Reservation, Spent};
pub use shared::SharedQuotas;
pub(crate) use store::ErasedStore;
pub use store::{QuotaDecision, QuotaStore};
pub(crate) use table::Place;
use table::Table;

/// A rate limiter with one bucket per key, in fixed memory. See the [module docs](self).
#[derive(Clone)]
pub(crate) struct Limiter {
    quota: Quota,
    hasher: RandomState,
    table: Arc<Table>,
}

/// A key's budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exhausted {
    /// The time after which the next request would pass.
    pub(crate) retry_after: Duration,
}

impl Limiter {
    /// The default number of buckets: 1 MiB of them.
    pub(crate) const DEFAULT_BUCKETS: usize = 65_536;

    /// Creates a limiter that gives each key this quota.
    pub(crate) fn new(quota: Quota) -> Self {
        Self::with_buckets(quota, Self::DEFAULT_BUCKETS)
    }

    /// Creates a limiter with room for this many keys, rounded up to a power of two; 16 bytes each.
    pub(crate) fn with_buckets(quota: Quota, buckets: usize) -> Self {
        Self { quota, hasher: RandomState::new(), table: Arc::new(Table::new(buckets)) }
    }

    /// Returns the quota of each key.
    pub(crate) const fn quota(&self) -> Quota {
        self.quota
    }

    /// Returns a limiter with another quota over the same buckets: no key gets its budget back by a change of configuration.
    /// A key that had to wait a minute for the next request still has to, unless the new quota has a longer window.
    pub(crate) fn with_quota(&self, quota: Quota) -> Self {
        Self { quota, ..self.clone() }
    }

    /// Returns the hash of the key that `feed` writes, under this limiter's secret.
    pub(crate) fn hash(&self, feed: impl FnOnce(&mut dyn Hasher)) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        feed(&mut hasher);
        hasher.finish()
    }

    /// Takes one request under `quota` from the bucket of `hash`, at the time `now` from any fixed origin. If the budget is
    /// spent, nothing changes.
    pub(crate) fn take(&self, hash: u64, quota: Quota, now: Duration) -> Result<Place, Exhausted> {
        self.table.take(hash, quota, gcra::nanos(now))
    }

    /// Checks that the bucket of `hash` has a request left under `quota`, and takes none.
    pub(crate) fn peek(&self, hash: u64, quota: Quota, now: Duration) -> Result<(), Exhausted> {
        self.table.peek(hash, quota, gcra::nanos(now))
    }

    /// Takes one request from the bucket of `hash`, even if it has none left: the next one waits for longer, up to `longest`.
    pub(crate) fn charge(&self, hash: u64, quota: Quota, now: Duration, longest: Duration) {
        self.table.charge(hash, quota, gcra::nanos(now), gcra::nanos(longest));
    }

    /// Releases a request that was taken under `quota`, in the bucket that it was taken from. A key without a bucket of its
    /// own gets nothing back, and neither does one whose bucket is full again.
    pub(crate) fn release(&self, place: Place, quota: Quota) {
        self.table.release(place, quota);
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("quota", &self.quota)
            .field("buckets", &self.table.len())
            .finish_non_exhaustive()
    }
}

/// For `NonZeroU32` literals in constants.
pub(crate) const fn nonzero(count: u32) -> NonZeroU32 {
    match NonZeroU32::new(count) {
        Some(count) => count,
        None => NonZeroU32::MIN,
    }
}

#[cfg(test)]
mod tests;
