//! [`SharedQuotas`]: one budget for all nodes, and what happens on a bad day.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::{Bucket, ErasedStore, Quota, QuotaStore, Verdict};
use crate::breaker::{Unanswered, Watch};

/// Budgets that several nodes share through a [`QuotaStore`].
///
/// A request first takes from this node's own table, under the whole quota: whoever has spent a budget on this node alone
/// is refused without asking the store, so that a flood at one node is not one at the store. Then the store decides, once
/// for all budgets that are known by then: those of the request's head, and later those of its redirect hosts.
///
/// # When the store can't be used
///
/// After five failures in a row it is asked by one request at a time, at intervals that double from half a second to
/// fifteen seconds. Meanwhile [`Fallback`] says what happens. Nothing is admitted without a limit.
///
/// - The store does not answer, or answers with an error: as [`Fallback`] says.
/// - It is back: the next request that asks it closes the circuit. What was admitted in between is not in it.
/// - It is back and has lost its memory: budgets are full again but for what this node's own table knows.
///
/// ```
/// use std::num::NonZeroU32;
/// use tower_dcr::quota::{Fallback, LocalStore, SharedQuotas};
///
/// // A store for the example; see `RedisStore`.
/// let three = NonZeroU32::new(3).unwrap();
/// let shared = SharedQuotas::new(LocalStore::new(), three).with_fallback(Fallback::Refuse);
/// let guard = tower_dcr::mcp().with_shared_quotas(shared);
/// # let _ = guard;
/// ```
#[derive(Clone)]
#[must_use]
pub struct SharedQuotas {
    store: Arc<dyn ErasedStore>,
    nodes: NonZeroU32,
    fallback: Fallback,
    watch: Arc<Watch>,
}

/// What happens to registrations while the store of the budgets can't be used.
///
/// ```
/// use tower_dcr::quota::Fallback;
///
/// assert_eq!(Fallback::default(), Fallback::LocalShare);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fallback {
    /// Each node limits by its own table, under its [share](Quota::share_of) of each quota: honest clients register, and all
    /// nodes together admit no more than they do on a good day, but for rounding.
    #[default]
    LocalShare,
    /// Registrations are answered with 503: no node knows what the others admit.
    Refuse,
}

/// The store could not be asked.
#[derive(Debug)]
pub(super) struct Outage {
    pub(super) retry_after: Duration,
}

impl SharedQuotas {
    /// Budgets in `store`, shared by `nodes` nodes. Their number counts only while the store can't be used; a fleet that
    /// grows and shrinks gives the number that it has on a usual day.
    pub fn new(store: impl QuotaStore, nodes: NonZeroU32) -> Self {
        let watch = Arc::new(Watch::over("rate_limits"));
        Self { store: Arc::new(store), nodes, fallback: Fallback::LocalShare, watch }
    }

    /// What happens while the store can't be used.
    pub fn with_fallback(self, fallback: Fallback) -> Self {
        Self { fallback, ..self }
    }

    pub(super) async fn take(&self, buckets: &[Bucket]) -> Result<Verdict, Outage> {
        self.watch.ask(self.store.take(buckets), |_| true).await.map_err(|unanswered| match unanswered {
            Unanswered::Skipped { retry_after } | Unanswered::Failed { retry_after, .. } => Outage { retry_after },
        })
    }

    /// A refund that is lost is a little less for somebody.
    pub(super) async fn give_back(&self, buckets: &[Bucket]) {
        let _lost = self.watch.ask(self.store.give_back(buckets), |_| true).await;
    }

    /// What this node may give away without the store; nothing if it may not.
    pub(super) fn share(&self, quota: Quota) -> Option<Quota> {
        match self.fallback {
            Fallback::LocalShare => Some(quota.share_of(self.nodes)),
            Fallback::Refuse => None,
        }
    }
}

impl fmt::Debug for SharedQuotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedQuotas")
            .field("nodes", &self.nodes)
            .field("fallback", &self.fallback)
            .finish_non_exhaustive()
    }
}
