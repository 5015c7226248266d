//! Budgets by name, and the buckets of their keys.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Limiter, Quota};

/// A quota for each key, under a name that all nodes share, and this node's table of keys.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: &'static str,
    limiter: Limiter,
}

impl Budget {
    /// Creates a budget over an existing table.
    pub(crate) fn over(name: &'static str, limiter: Limiter) -> Self {
        Self { inner: Arc::new(Inner { name, limiter }) }
    }

    /// Returns the name, the same on all nodes.
    pub(crate) fn name(&self) -> &'static str {
        self.inner.name
    }

    /// Returns the quota of each key.
    pub(crate) fn quota(&self) -> Quota {
        self.inner.limiter.quota()
    }

    /// Returns this node's table.
    pub(crate) fn limiter(&self) -> &Limiter {
        &self.inner.limiter
    }
}

/// The bucket of one key in a budget: a [`QuotaStore`](super::QuotaStore) keeps one number for it.
///
/// ```
/// use std::num::NonZeroU32;
/// use tower_dcr::rate_limit::{Bucket, Quota};
///
/// let bucket = |key| Bucket::new("address", Quota::per_hour(NonZeroU32::MIN), key);
/// assert_ne!(bucket("192.0.2.7").key, bucket("192.0.2.8").key);
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Bucket {
    /// The name of the budget.
    pub budget: &'static str,
    /// The quota of the key.
    pub quota: Quota,
    /// The first 128 bits of the SHA-256 of the key: of one length, whatever a client sends. An address can be found from it
    /// by trying all addresses.
    pub key: u128,
}

impl Bucket {
    /// Creates the bucket of `key` in the budget called `budget`. Its `key` is the same on every node.
    #[must_use]
    pub fn new<K: Hash + ?Sized>(budget: &'static str, quota: Quota, key: &K) -> Self {
        Self { budget, quota, key: stable_hash(|mut hasher| key.hash(&mut hasher)) }
    }

    /// Creates the bucket of the key that `feed` writes.
    pub(super) fn of(budget: &Budget, feed: impl FnOnce(&mut dyn Hasher)) -> Self {
        Self { budget: budget.name(), quota: budget.quota(), key: stable_hash(feed) }
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("budget", &self.budget)
            .field("quota", &self.quota)
            .field("key", &format_args!("{:032x}", self.key))
            .finish()
    }
}

fn stable_hash(feed: impl FnOnce(&mut dyn Hasher)) -> u128 {
    let mut hasher = StableHasher(Sha256::new());
    feed(&mut hasher);
    hasher.key()
}

/// Hashes in the same way in all processes and on all machines, which std's hashers don't promise; numbers are
/// little-endian.
struct StableHasher(Sha256);

impl StableHasher {
    fn key(self) -> u128 {
        let digest: [u8; 32] = self.0.finalize().into();
        let (key, _) = digest.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
        u128::from_be_bytes(*key)
    }
}

macro_rules! little_endian {
    ($($write:ident: $integer:ty),*) => {
        $(fn $write(&mut self, number: $integer) {
            self.write(&number.to_le_bytes());
        })*
    };
}

impl Hasher for StableHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        #[expect(clippy::cast_possible_truncation, reason = "any 64 bits of it")]
        let half = Self(self.0.clone()).key() as u64;
        half
    }

    little_endian!(write_u16: u16, write_u32: u32, write_u64: u64, write_u128: u128);
    little_endian!(write_i16: i16, write_i32: i32, write_i64: i64, write_i128: i128);

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_i64(number as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::super::nonzero;
    use super::*;

    /// Nodes that run other builds must compute the same keys: these numbers may not change.
    #[test]
    fn keys_are_the_same_everywhere() {
        let quota = Quota::per_hour(nonzero(1));
        let sha_256_of = |bytes: &[u8]| u128::from_be_bytes(Sha256::digest(bytes)[..16].try_into().unwrap());
        assert_eq!(Bucket::new("b", quota, "ab").key, sha_256_of(b"ab\xff"));
        assert_eq!(Bucket::new("b", quota, &[1_u8, 2]).key, sha_256_of(&[2, 0, 0, 0, 0, 0, 0, 0, 1, 2]));
        assert_eq!(
            Bucket::new("b", quota, &(1_u16, 2_u32, 3_u64)).key,
            sha_256_of(&[1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0])
        );
        assert_eq!(
            Bucket::new("b", quota, &(-2_i32, 3_isize)).key,
            sha_256_of(&[254, 255, 255, 255, 3, 0, 0, 0, 0, 0, 0, 0])
        );
        assert_eq!(Bucket::of(&Budget::over("b", Limiter::new(quota)), |_| ()).key, sha_256_of(b""));
    }
}
