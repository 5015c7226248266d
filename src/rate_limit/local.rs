//! A [`QuotaStore`] over the tables of one process, which shows that they conform.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use super::{Bucket, Budget, Limiter, Place, QuotaDecision, QuotaStore, Reservation};
use crate::clock::{Clock, CoarseClock, ManualClock};
use crate::sync::{Mutex, lock};

// The published suite, over the types of this build.
#[path = "../../crates/tower-dcr-conformance/src/quota_store.rs"]
#[expect(unreachable_pub, reason = "public in the crate")]
mod suite;
#[path = "../../crates/tower-dcr-conformance/src/together.rs"]
mod together;

struct LocalStore {
    clock: Arc<dyn Clock>,
    limiters: Mutex<HashMap<&'static str, Limiter>>,
}

impl LocalStore {
    fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, limiters: Mutex::default() }
    }

    fn limiter(&self, bucket: &Bucket) -> Limiter {
        let mut limiters = lock(&self.limiters);
        let limiter = limiters.entry(bucket.budget).or_insert_with(|| Limiter::new(bucket.quota));
        limiter.with_quota(bucket.quota)
    }
}

impl QuotaStore for LocalStore {
    async fn take(&self, buckets: &[Bucket]) -> Result<QuotaDecision, Box<dyn Error + Send + Sync>> {
        let now = self.clock.monotonic();
        let mut reservation = Reservation::new(None, &self.clock);
        for (index, bucket) in buckets.iter().enumerate() {
            let budget = Budget::over(bucket.budget, self.limiter(bucket));
            if let Err(spent) = reservation.take(&budget, |hasher| hasher.write_u128(bucket.key), now) {
                return Ok(QuotaDecision::Spent { index, retry_after: spent.retry_after });
            }
        }
        assert!(reservation.commit_local());
        Ok(QuotaDecision::Taken)
    }

    async fn release(&self, buckets: &[Bucket]) -> Result<(), Box<dyn Error + Send + Sync>> {
        for bucket in buckets {
            let limiter = self.limiter(bucket);
            let hash = limiter.hash(|hasher| hasher.write_u128(bucket.key));
            limiter.release(Place::Own(hash), bucket.quota);
        }
        Ok(())
    }
}

#[tokio::test]
async fn the_local_tables_conform() {
    let clock = Arc::new(ManualClock::default());
    suite::quota_store(&LocalStore::new(Arc::clone(&clock) as _), async |time| clock.advance(time)).await;
    suite::quota_store(&LocalStore::new(Arc::new(CoarseClock::new())), tokio::time::sleep).await;
}
