//! [`Quota`] and [`Limiter`]: the generic cell rate algorithm (GCRA) over a table that never grows.
//!
//! GCRA keeps one number per key, the time at which the key's bucket will be full again. A table of such numbers is an
//! attack surface of its own: one that grows falls to a flood of new keys (one IPv6 /48 has 65536 /64s), and one that
//! evicts gives an exhausted key its burst back once enough other keys came by. This table does neither. A bucket that
//! is still in debt is never evicted; where a new key finds no room, it shares one overflow bucket with all the others
//! that found none.
//!
//! The table outlives its quota: [`Limiter::with_quota`] is another quota over the same keys, so that nobody gets their
//! budget back by a change of configuration.
//!
//! Several nodes that share budgets do so through [`SharedQuotas`], over a [`QuotaStore`].
//!
//! ```
//! use std::num::NonZeroU32;
//! use std::time::Duration;
//! use tower_dcr::quota::{Limiter, Quota};
//!
//! let limiter = Limiter::new(Quota::per_minute(NonZeroU32::MIN).allow_burst(NonZeroU32::new(2).unwrap()));
//! let now = Duration::ZERO;
//! assert!(limiter.check("10.0.0.1", now).is_ok());
//! assert!(limiter.check("10.0.0.1", now).is_ok());
//! assert_eq!(limiter.check("10.0.0.1", now).unwrap_err().retry_after(), Duration::from_secs(60));
//! assert!(limiter.check("10.0.0.2", now).is_ok());
//! ```

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

mod bucket;
#[cfg(feature = "test-util")]
pub mod conformance;
mod draw;
mod gcra;
mod local;
#[cfg(feature = "redis")]
mod redis;
mod shared;
mod store;
mod table;

pub use bucket::{Bucket, Budget};
pub(crate) use draw::{Denied, Draw, Spent};
use gcra::Nanos;
pub use gcra::{ParseQuotaError, Quota};
pub use local::LocalStore;
#[cfg(feature = "redis")]
pub use redis::{KeyPrefixError, RedisStore};
pub use shared::{Fallback, SharedQuotas};
pub(crate) use store::ErasedStore;
pub use store::{QuotaStore, QuotaStoreError, Verdict};
pub(crate) use table::Place;
use table::Table;

/// A rate limiter with one bucket per key, in fixed memory. See the [module docs](self).
///
/// ```
/// use std::num::NonZeroU32;
/// use std::time::Duration;
/// use tower_dcr::quota::{Limiter, Quota};
///
/// let limiter = Limiter::with_buckets(Quota::per_second(NonZeroU32::MIN), 1024);
/// assert!(limiter.check(&7, Duration::ZERO).is_ok() && limiter.check(&7, Duration::ZERO).is_err());
/// limiter.refund(&7);
/// assert!(limiter.check(&7, Duration::ZERO).is_ok());
/// ```
#[derive(Clone)]
pub struct Limiter {
    quota: Quota,
    hasher: RandomState,
    table: Arc<Table>,
}

/// A key's budget is spent.
///
/// ```
/// use std::num::NonZeroU32;
/// use std::time::Duration;
/// use tower_dcr::quota::{Limiter, Quota};
///
/// let limiter = Limiter::new(Quota::per_hour(NonZeroU32::MIN));
/// limiter.check("key", Duration::ZERO).unwrap();
/// let exhausted = limiter.check("key", Duration::from_secs(600)).unwrap_err();
/// assert_eq!(exhausted.retry_after(), Duration::from_secs(3000));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    retry_after: Duration,
}

/// What is left of a key's budget.
///
/// ```
/// use std::num::NonZeroU32;
/// use std::time::Duration;
/// use tower_dcr::quota::{Limiter, Quota};
///
/// let limiter = Limiter::new(Quota::per_minute(NonZeroU32::new(3).unwrap()));
/// assert_eq!(limiter.check("key", Duration::ZERO).unwrap().requests(), 2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// Time that is left of the quota's window.
    pub(crate) spare: Nanos,
    pub(crate) interval: Nanos,
}

impl Exhausted {
    /// After how long the next request would pass.
    #[must_use]
    pub const fn retry_after(&self) -> Duration {
        self.retry_after
    }
}

impl Remaining {
    /// How many more requests would pass now.
    #[must_use]
    pub fn requests(&self) -> u32 {
        u32::try_from(self.spare / self.interval).unwrap_or(u32::MAX)
    }
}

impl Limiter {
    /// How many buckets a limiter has unless it is told otherwise: 1 MiB of them.
    pub const DEFAULT_BUCKETS: usize = 65_536;

    /// A limiter that gives every key this quota.
    #[must_use]
    pub fn new(quota: Quota) -> Self {
        Self::with_buckets(quota, Self::DEFAULT_BUCKETS)
    }

    /// A limiter with room for this many keys in debt, rounded up to a power of two; 16 bytes each.
    #[must_use]
    pub fn with_buckets(quota: Quota, buckets: usize) -> Self {
        Self { quota, hasher: RandomState::new(), table: Arc::new(Table::new(buckets)) }
    }

    /// The quota of each key.
    pub const fn quota(&self) -> Quota {
        self.quota
    }

    /// Another quota over the same buckets. What a key owes stays as it is, in time: whoever had to wait a minute for the
    /// next request still has to, unless the new quota lets them owe more.
    #[must_use]
    pub fn with_quota(&self, quota: Quota) -> Self {
        Self { quota, ..self.clone() }
    }

    /// Takes one request from the budget of `key` at the time `now`, from any fixed origin.
    ///
    /// # Errors
    ///
    /// [`Exhausted`] if the budget is spent; then nothing is taken.
    pub fn check<K: Hash + ?Sized>(&self, key: &K, now: Duration) -> Result<Remaining, Exhausted> {
        self.take(self.hasher.hash_one(key), self.quota, now).map(|(_, remaining)| remaining)
    }

    /// Gives one request back to `key`: the request was turned away for another reason, and must not count. Nothing is
    /// given to a key without a bucket of its own, and nothing has to be if its debt was paid in the meantime.
    pub fn refund<K: Hash + ?Sized>(&self, key: &K) {
        self.give_back(Place::Own(self.hasher.hash_one(key)), self.quota);
    }

    /// The hash of the key that `feed` writes, under this limiter's secret.
    pub(crate) fn hash(&self, feed: impl FnOnce(&mut dyn Hasher)) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        feed(&mut hasher);
        hasher.finish()
    }

    /// Takes one request under `quota` from the bucket of `hash`.
    pub(crate) fn take(&self, hash: u64, quota: Quota, now: Duration) -> Result<(Place, Remaining), Exhausted> {
        self.table.take(hash, quota, gcra::nanos(now))
    }

    /// Gives back what was taken under `quota`, where it was taken from.
    pub(crate) fn give_back(&self, place: Place, quota: Quota) {
        self.table.give_back(place, quota);
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
