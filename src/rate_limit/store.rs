//! [`QuotaStore`]: the store of budgets that nodes share.

use std::error::Error;
use std::pin::Pin;
use std::time::Duration;

use super::Bucket;

/// Keeps the budgets that nodes share: for each [`Bucket`] the time at which it will be full again.
///
/// [`SharedQuotas`](super::SharedQuotas) asks it on each registration, so a store needs a short timeout of its own. The crate
/// `tower-dcr-redis` has one for Redis and Valkey. The crate `tower-dcr-conformance` tests a store of your own.
///
/// ```
/// use std::collections::HashSet;
/// use std::error::Error;
/// use std::num::NonZeroU32;
/// use std::sync::Mutex;
/// use std::time::Duration;
/// use tower_dcr::rate_limit::{Bucket, Quota, QuotaDecision, QuotaStore};
///
/// /// Admits one request of each key.
/// #[derive(Default)]
/// struct Once(Mutex<HashSet<u128>>);
///
/// impl QuotaStore for Once {
///     async fn take(&self, buckets: &[Bucket]) -> Result<QuotaDecision, Box<dyn Error + Send + Sync>> {
///         let mut spent = self.0.lock().unwrap();
///         if let Some(index) = buckets.iter().position(|bucket| spent.contains(&bucket.key)) {
///             return Ok(QuotaDecision::Spent { index, retry_after: Duration::MAX });
///         }
///         spent.extend(buckets.iter().map(|bucket| bucket.key));
///         Ok(QuotaDecision::Taken)
///     }
///
///     async fn release(&self, buckets: &[Bucket]) -> Result<(), Box<dyn Error + Send + Sync>> {
///         self.0.lock().unwrap().retain(|key| buckets.iter().all(|bucket| bucket.key != *key));
///         Ok(())
///     }
/// }
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// let store = Once::default();
/// let buckets = [Bucket::new("address", Quota::per_hour(NonZeroU32::MIN), "192.0.2.7")];
/// assert_eq!(store.take(&buckets).await?, QuotaDecision::Taken);
/// assert!(matches!(store.take(&buckets).await?, QuotaDecision::Spent { index: 0, .. }));
/// # Ok::<_, Box<dyn Error + Send + Sync>>(())
/// # }).unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a store of rate limits",
    label = "expected a type that implements `tower_dcr::rate_limit::QuotaStore`",
    note = "use `RedisStore::new(connection)` of the crate `tower-dcr-redis`, whose connection is the `redis` crate's"
)]
pub trait QuotaStore: Send + Sync + 'static {
    /// Takes one request from each of these buckets, or from none of them, in one atomic step.
    ///
    /// # Errors
    ///
    /// If the store can't be used: each node then admits its share, or [nothing](super::SharedQuotas::reject_on_outage).
    fn take(
        &self,
        buckets: &[Bucket],
    ) -> impl Future<Output = Result<QuotaDecision, Box<dyn Error + Send + Sync>>> + Send;

    /// Releases one request in each of these buckets. A bucket that is full stays full.
    ///
    /// # Errors
    ///
    /// If the store can't be used: the budgets are then a little smaller until they refill.
    fn release(&self, buckets: &[Bucket]) -> impl Future<Output = Result<(), Box<dyn Error + Send + Sync>>> + Send;
}

/// The result of [`QuotaStore::take`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "stores construct it")]
pub enum QuotaDecision {
    /// One request was taken from each.
    Taken,
    /// Nothing was taken.
    Spent {
        /// The index of the first bucket that had no request left.
        index: usize,
        /// The time after which it will have one.
        retry_after: Duration,
    },
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, Box<dyn Error + Send + Sync>>> + Send + 'a>>;

/// [`QuotaStore`] with boxed futures, for use as a trait object.
pub(crate) trait ErasedStore: Send + Sync {
    fn take<'a>(&'a self, buckets: &'a [Bucket]) -> BoxFuture<'a, QuotaDecision>;
    fn release<'a>(&'a self, buckets: &'a [Bucket]) -> BoxFuture<'a, ()>;
}

impl<S: QuotaStore> ErasedStore for S {
    fn take<'a>(&'a self, buckets: &'a [Bucket]) -> BoxFuture<'a, QuotaDecision> {
        Box::pin(QuotaStore::take(self, buckets))
    }

    fn release<'a>(&'a self, buckets: &'a [Bucket]) -> BoxFuture<'a, ()> {
        Box::pin(QuotaStore::release(self, buckets))
    }
}
