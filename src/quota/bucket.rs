//! Budgets by name, and the buckets of their keys.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Limiter, Quota};

/// A quota for each key, under a name that all nodes know it by, and this node's table of who has used how much of it.
///
/// ```
/// use tower_dcr::quota::{Budget, Quota};
///
/// let budget = Budget::new("address", "60/minute, burst 300".parse::<Quota>()?);
/// let bucket = budget.bucket("192.0.2.7");
/// assert_eq!((bucket.budget(), bucket.quota().burst().get()), ("address", 300));
/// # Ok::<_, tower_dcr::quota::ParseQuotaError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Budget {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: &'static str,
    limiter: Limiter,
}

/// One key's part of a [`Budget`]: what a [`QuotaStore`](super::QuotaStore) keeps a number for.
///
/// ```
/// use std::num::NonZeroU32;
/// use tower_dcr::quota::{Budget, Quota};
///
/// let budget = Budget::new("address", Quota::per_hour(NonZeroU32::MIN));
/// assert_eq!(budget.bucket("192.0.2.7").key(), budget.bucket("192.0.2.7").key());
/// assert_ne!(budget.bucket("192.0.2.7").key(), budget.bucket("192.0.2.8").key());
/// ```
#[derive(Clone)]
pub struct Bucket {
    budget: Budget,
    key: u128,
}

impl Budget {
    /// A budget with a table of [`Limiter::DEFAULT_BUCKETS`] on this node.
    #[must_use]
    pub fn new(name: &'static str, quota: Quota) -> Self {
        Self::over(name, Limiter::new(quota))
    }

    /// A budget over a table that there is.
    pub(crate) fn over(name: &'static str, limiter: Limiter) -> Self {
        Self { inner: Arc::new(Inner { name, limiter }) }
    }

    /// The name that all nodes know it by.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.inner.name
    }

    /// What each key may have.
    pub fn quota(&self) -> Quota {
        self.inner.limiter.quota()
    }

    /// Another quota over the same buckets: see [`Limiter::with_quota`].
    #[must_use]
    pub fn with_quota(&self, quota: Quota) -> Self {
        Self::over(self.name(), self.limiter().with_quota(quota))
    }

    /// The bucket of `key`, on every node the same.
    #[must_use]
    pub fn bucket<K: Hash + ?Sized>(&self, key: &K) -> Bucket {
        self.bucket_of(|mut hasher| key.hash(&mut hasher))
    }

    /// The bucket of the key that `feed` writes.
    pub(crate) fn bucket_of(&self, feed: impl FnOnce(&mut dyn Hasher)) -> Bucket {
        let mut hasher = StableHasher(Sha256::new());
        feed(&mut hasher);
        Bucket { budget: self.clone(), key: hasher.key() }
    }

    /// This node's table.
    pub(crate) fn limiter(&self) -> &Limiter {
        &self.inner.limiter
    }
}

impl Bucket {
    /// The name of the budget.
    #[must_use]
    pub fn budget(&self) -> &'static str {
        self.budget.name()
    }

    /// What the key may have.
    pub fn quota(&self) -> Quota {
        self.budget.quota()
    }

    /// The first 128 bits of the SHA-256 of the key: of one length, whatever a client sends. An address can be found from
    /// it by trying all of them.
    #[must_use]
    pub const fn key(&self) -> u128 {
        self.key
    }

    pub(super) fn owner(&self) -> &Budget {
        &self.budget
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("budget", &self.budget())
            .field("key", &format_args!("{:032x}", self.key))
            .finish()
    }
}

/// Hashes alike in all processes and on all machines, which std's hashers don't promise; numbers least byte first.
struct StableHasher(Sha256);

impl StableHasher {
    fn key(self) -> u128 {
        let digest: [u8; 32] = self.0.finalize().into();
        let (key, _) = digest.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
        u128::from_be_bytes(*key)
    }
}

macro_rules! least_byte_first {
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

    least_byte_first!(write_u16: u16, write_u32: u32, write_u64: u64, write_u128: u128);
    least_byte_first!(write_i16: i16, write_i32: i32, write_i64: i64, write_i128: i128);

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

    /// Nodes that run other builds must know the same buckets: these numbers may not change.
    #[test]
    fn keys_are_alike_everywhere() {
        let budget = Budget::new("b", Quota::per_hour(nonzero(1)));
        let sha_256_of = |bytes: &[u8]| u128::from_be_bytes(Sha256::digest(bytes)[..16].try_into().unwrap());
        assert_eq!(budget.bucket("ab").key(), sha_256_of(b"ab\xff"));
        assert_eq!(budget.bucket(&[1_u8, 2]).key(), sha_256_of(&[2, 0, 0, 0, 0, 0, 0, 0, 1, 2]));
        assert_eq!(
            budget.bucket(&(1_u16, 2_u32, 3_u64)).key(),
            sha_256_of(&[1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0])
        );
        assert_eq!(budget.bucket(&(-2_i32, 3_isize)).key(), sha_256_of(&[254, 255, 255, 255, 3, 0, 0, 0, 0, 0, 0, 0]));
        assert_eq!(budget.bucket_of(|_| ()).key(), sha_256_of(b""));
    }
}
