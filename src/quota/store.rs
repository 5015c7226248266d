//! [`QuotaStore`]: where nodes keep the budgets that they share.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use super::Bucket;

/// Keeps for each [`Bucket`] the time at which it will be full again, for all nodes that ask. [`SharedQuotas`](super::SharedQuotas)
/// asks it on each registration, so a store has to answer within a time that somebody who registers can wait.
///
/// `RedisStore` (feature `redis`) is one; [`LocalStore`](super::LocalStore) keeps to the same promises within one process. A
/// store of your own is held to them by the suite in `quota::conformance` (feature `test-util`).
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use std::num::NonZeroU32;
/// use tower_dcr::quota::{Budget, LocalStore, Quota, QuotaStore, Verdict};
///
/// let store = LocalStore::new();
/// let one_an_hour = Budget::new("address", Quota::per_hour(NonZeroU32::MIN));
/// let bucket = [one_an_hour.bucket("192.0.2.7")];
/// assert_eq!(store.take(&bucket).await?, Verdict::Taken);
/// assert!(matches!(store.take(&bucket).await?, Verdict::Spent { index: 0, .. }));
/// store.give_back(&bucket).await?;
/// assert_eq!(store.take(&bucket).await?, Verdict::Taken);
/// # Ok::<_, tower_dcr::quota::QuotaStoreError>(())
/// # }).unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a store of rate limits",
    label = "expected a type that implements `tower_dcr::quota::QuotaStore`",
    note = "use `RedisStore::new(connection)` (feature `redis`), whose connection is the `redis` crate's"
)]
pub trait QuotaStore: Send + Sync + 'static {
    /// Takes one request from each of these buckets, or from none of them, as one step that no other request comes
    /// between.
    fn take(&self, buckets: &[Bucket]) -> impl Future<Output = Result<Verdict, QuotaStoreError>> + Send;

    /// Gives one request back to each of these buckets. One whose debt was paid in the meantime stays as it is.
    fn give_back(&self, buckets: &[Bucket]) -> impl Future<Output = Result<(), QuotaStoreError>> + Send;
}

/// What came of [`QuotaStore::take`].
///
/// ```
/// use std::time::Duration;
/// use tower_dcr::quota::Verdict;
///
/// let verdict = Verdict::Spent { index: 0, retry_after: Duration::from_secs(3) };
/// assert_ne!(verdict, Verdict::Taken);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a store makes it, and there is nothing else to say")]
pub enum Verdict {
    /// One request was taken from each.
    Taken,
    /// Nothing was taken.
    Spent {
        /// The first of the buckets that had nothing left.
        index: usize,
        /// After how long it will have.
        retry_after: Duration,
    },
}

/// A store of budgets could not be asked.
///
/// ```
/// use tower_dcr::quota::QuotaStoreError;
///
/// let error = QuotaStoreError::new("connection refused");
/// assert_eq!(error.to_string(), "the store of rate limits can't be used");
/// assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "connection refused");
/// ```
#[derive(Debug)]
pub struct QuotaStoreError(Box<dyn Error + Send + Sync>);

impl QuotaStoreError {
    /// For what a store reports.
    pub fn new(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(source.into())
    }
}

impl fmt::Display for QuotaStoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store of rate limits can't be used")
    }
}

impl Error for QuotaStoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

type Answering<'a, T> = Pin<Box<dyn Future<Output = Result<T, QuotaStoreError>> + Send + 'a>>;

/// [`QuotaStore`] with boxed futures: layers name no type of store.
pub(crate) trait ErasedStore: Send + Sync {
    fn take<'a>(&'a self, buckets: &'a [Bucket]) -> Answering<'a, Verdict>;
    fn give_back<'a>(&'a self, buckets: &'a [Bucket]) -> Answering<'a, ()>;
}

impl<S: QuotaStore> ErasedStore for S {
    fn take<'a>(&'a self, buckets: &'a [Bucket]) -> Answering<'a, Verdict> {
        Box::pin(QuotaStore::take(self, buckets))
    }

    fn give_back<'a>(&'a self, buckets: &'a [Bucket]) -> Answering<'a, ()> {
        Box::pin(QuotaStore::give_back(self, buckets))
    }
}
