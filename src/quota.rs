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
use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

mod gcra;

use gcra::Nanos;
pub use gcra::{ParseQuotaError, Quota};

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
pub struct Limiter<H = RandomState> {
    quota: Quota,
    table: Arc<Table<H>>,
}

struct Table<H> {
    hasher: H,
    /// A power of two of them.
    sets: Box<[Set]>,
    overflow: Mutex<Nanos>,
}

/// As many buckets as share one lock and one cache line.
const WAYS: usize = 4;

/// Aligned to a cache line: under a flood of new keys, fetching one is what a check costs.
#[repr(align(64))]
struct Set(Mutex<Buckets>);

/// Of an untouched bucket the tag is zero, and so is the time: it has no debt.
#[derive(Default)]
struct Buckets {
    /// The upper half of the keys' hashes; the lower half chooses the set. Two keys share a bucket if some 46 bits
    /// collide under a secret key, which nobody can look for.
    tags: [u32; WAYS],
    /// When each bucket will be full again. In the past: the bucket has no debt, and may be given away.
    full_at: [Nanos; WAYS],
}

impl Buckets {
    /// The time of the bucket with this tag.
    fn find(&mut self, tag: u32) -> Option<&mut Nanos> {
        let way = self.tags.iter().position(|other| *other == tag)?;
        self.full_at.get_mut(way)
    }

    /// The time of a bucket without debt, which has this tag from now on.
    fn give_away(&mut self, tag: u32, now: Nanos) -> Option<&mut Nanos> {
        let way = self.full_at.iter().position(|full_at| *full_at <= now)?;
        *self.tags.get_mut(way)? = tag;
        let full_at = self.full_at.get_mut(way)?;
        *full_at = 0;
        Some(full_at)
    }
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

/// The bucket from which a request was taken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// The key's own, by the hash of the key.
    Own(u64),
    /// The one that all share who found no room.
    Overflow,
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
        let sets = buckets.div_ceil(WAYS).next_power_of_two();
        let table = Table {
            hasher: RandomState::new(),
            sets: (0..sets).map(|_| Set(Mutex::default())).collect(),
            overflow: Mutex::new(0),
        };
        Self { quota, table: Arc::new(table) }
    }
}

impl<H: BuildHasher> Limiter<H> {
    /// The quota of each key.
    pub const fn quota(&self) -> Quota {
        self.quota
    }

    /// Another quota over the same buckets. What a key owes stays as it is, in time: whoever had to wait a minute for the
    /// next request still has to, unless the new quota lets them owe more.
    #[must_use]
    pub fn with_quota(&self, quota: Quota) -> Self {
        Self { quota, table: Arc::clone(&self.table) }
    }

    /// Takes one request from the budget of `key` at the time `now`, from any fixed origin.
    ///
    /// # Errors
    ///
    /// [`Exhausted`] if the budget is spent; then nothing is taken.
    pub fn check<K: Hash + ?Sized>(&self, key: &K, now: Duration) -> Result<Remaining, Exhausted> {
        self.check_hashed(self.hash(key), now).map(|(_, remaining)| remaining)
    }

    /// Gives one request back to `key`: the request was turned away for another reason, and must not count. Nothing is
    /// given to a key without a bucket of its own, and nothing has to be if its debt was paid in the meantime.
    pub fn refund<K: Hash + ?Sized>(&self, key: &K) {
        self.refund_at(Place::Own(self.hash(key)));
    }

    /// The hash of `key` under this limiter's secret; as good as the key itself for telling keys apart.
    pub(crate) fn hash<K: Hash + ?Sized>(&self, key: &K) -> u64 {
        self.table.hasher.hash_one(key)
    }

    pub(crate) fn check_hashed(&self, hash: u64, now: Duration) -> Result<(Place, Remaining), Exhausted> {
        let (now, tag) = (gcra::nanos(now), tag(hash));
        let mut buckets = self.buckets(hash);
        let mut own = buckets.find(tag);
        if own.is_none() {
            own = buckets.give_away(tag, now);
        }
        if let Some(full_at) = own {
            return self.quota.take(full_at, now).map(|remaining| (Place::Own(hash), remaining));
        }
        drop(buckets);
        self.quota.take(&mut lock(&self.table.overflow), now).map(|remaining| (Place::Overflow, remaining))
    }

    pub(crate) fn refund_at(&self, place: Place) {
        match place {
            Place::Overflow => self.quota.give_back(&mut lock(&self.table.overflow)),
            // A bucket that is somebody else's by now had no debt left.
            Place::Own(hash) => {
                if let Some(full_at) = self.buckets(hash).find(tag(hash)) {
                    self.quota.give_back(full_at);
                }
            }
        }
    }

    fn buckets(&self, hash: u64) -> MutexGuard<'_, Buckets> {
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
        let index = hash as usize & (self.table.sets.len() - 1);
        #[expect(clippy::indexing_slicing, reason = "masked by a power of two minus one, and there is a set at least")]
        lock(&self.table.sets[index].0)
    }
}

const fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

impl<H> fmt::Debug for Limiter<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("quota", &self.quota)
            .field("buckets", &(self.table.sets.len() * WAYS))
            .finish_non_exhaustive()
    }
}

/// A panic elsewhere can't leave a number half written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
