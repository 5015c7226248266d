//! The tables of this node, as a store.

use std::sync::Arc;

use super::{Bucket, Draw, QuotaStore, QuotaStoreError, Verdict};
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
        let mut draw = Draw::new(None, &self.clock);
        for (index, bucket) in buckets.iter().enumerate() {
            if let Err(spent) = draw.take(bucket.owner(), |hasher| hasher.write_u128(bucket.key()), now) {
                return Ok(Verdict::Spent { index, retry_after: spent.retry_after });
            }
        }
        Ok(Verdict::Taken)
    }

    async fn give_back(&self, buckets: &[Bucket]) -> Result<(), QuotaStoreError> {
        for bucket in buckets {
            bucket.owner().limiter().refund(&bucket.key());
        }
        Ok(())
    }
}
