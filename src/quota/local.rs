//! The tables of this node, as a store.

use std::sync::Arc;

use super::{Bucket, Place, QuotaStore, QuotaStoreError, Verdict};
use crate::clock::{Clock, CoarseClock};

/// Keeps budgets in the tables of the [`Budget`](super::Budget)s themselves: a [`QuotaStore`] for one process.
///
/// ```
/// use std::sync::Arc;
/// use tower_dcr::clock::ManualClock;
/// use tower_dcr::quota::LocalStore;
///
/// let store = LocalStore::new().with_clock(Arc::new(ManualClock::default()));
/// # let _ = store;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct LocalStore {
    clock: Arc<dyn Clock>,
}

impl LocalStore {
    /// By the system's coarse clock.
    pub fn new() -> Self {
        Self { clock: Arc::new(CoarseClock::new()) }
    }

    /// Replaces the clock.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
}

impl Default for LocalStore {
    fn default() -> Self {
        Self::new()
    }
}

impl QuotaStore for LocalStore {
    async fn take(&self, buckets: &[Bucket]) -> Result<Verdict, QuotaStoreError> {
        let now = self.clock.monotonic();
        let mut taken: Vec<(&Bucket, Place)> = Vec::with_capacity(buckets.len());
        for (index, bucket) in buckets.iter().enumerate() {
            let limiter = bucket.limiter();
            match limiter.take(limiter.hash(|hasher| hasher.write_u128(bucket.key())), limiter.quota(), now) {
                Ok((place, _)) => taken.push((bucket, place)),
                Err(exhausted) => {
                    for (bucket, place) in taken {
                        bucket.limiter().give_back(place, bucket.quota());
                    }
                    return Ok(Verdict::Spent { index, retry_after: exhausted.retry_after() });
                }
            }
        }
        Ok(Verdict::Taken)
    }

    async fn give_back(&self, buckets: &[Bucket]) -> Result<(), QuotaStoreError> {
        for bucket in buckets {
            let limiter = bucket.limiter();
            let hash = limiter.hash(|hasher| hasher.write_u128(bucket.key()));
            limiter.give_back(Place::Own(hash), limiter.quota());
        }
        Ok(())
    }
}
