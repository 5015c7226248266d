//! [`SharedQuotas`]: budgets of all nodes, and the behavior while their store can't be used.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::{Bucket, ErasedStore, Quota, QuotaDecision, QuotaStore};
use crate::circuit_breaker::CircuitBreaker;

/// Budgets that several nodes share through a [`QuotaStore`].
///
/// A request first takes from this node's own table, under the whole quota: a client that has spent a budget on this node
/// alone is rejected without a request to the store, so that a flood at one node is no flood at the store. Then the store
/// decides, once for all budgets that are known by then: those of the request's head, and later those of its redirect hosts.
///
/// # Store failures
///
/// A failed request to the store is answered as [`Fallback`] says: nothing is admitted without a limit. Five failures in a
/// row open a circuit breaker, which lets one request at a time ask the store, at intervals that double from half a second
/// to fifteen seconds. The first success closes it.
///
/// The store does not learn of requests that were admitted while it failed. A store that lost its data starts with full
/// budgets, apart from the requests in each node's own table.
#[derive(Clone)]
#[must_use]
pub struct SharedQuotas {
    store: Arc<dyn ErasedStore>,
    nodes: NonZeroU32,
    fallback: Fallback,
    breaker: Arc<CircuitBreaker>,
}

/// The behavior while the store of the budgets can't be used.
///
/// ```
/// use tower_dcr::rate_limit::Fallback;
///
/// assert_eq!(Fallback::default(), Fallback::LocalShare);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fallback {
    /// Each node limits by its own table, under its share of each quota: the rate and the burst divided by the number of
    /// nodes. All nodes together admit no more than usual, apart from the burst being rounded up.
    #[default]
    LocalShare,
    /// Registrations are answered with 503.
    Reject,
}

/// The store can't be used.
#[derive(Debug)]
pub(super) struct Outage {
    pub(super) retry_after: Duration,
}

impl SharedQuotas {
    /// Shares the budgets in `store` among `nodes` nodes. Their number counts only while the store can't be used: for a fleet
    /// that grows and shrinks, give the usual number.
    pub fn new(store: impl QuotaStore, nodes: NonZeroU32) -> Self {
        let breaker = Arc::new(CircuitBreaker::new("rate_limits"));
        Self { store: Arc::new(store), nodes, fallback: Fallback::LocalShare, breaker }
    }

    /// Sets the behavior while the store can't be used (default: [`Fallback::LocalShare`]).
    pub fn with_fallback(self, fallback: Fallback) -> Self {
        Self { fallback, ..self }
    }

    pub(super) async fn take(&self, buckets: &[Bucket]) -> Result<QuotaDecision, Outage> {
        let called = self.breaker.call(self.store.take(buckets), |error| Some(&**error)).await;
        called.map_err(|error| Outage { retry_after: error.retry_after })
    }

    /// Releases requests in the store. If that fails, the budgets are a little smaller until they refill.
    pub(super) async fn release(&self, buckets: &[Bucket]) {
        let _lost = self.breaker.call(self.store.release(buckets), |error| Some(&**error)).await;
    }

    /// Returns the quota of this node without the store; `None` if it may admit nothing.
    pub(super) fn share(&self, quota: Quota) -> Option<Quota> {
        match self.fallback {
            Fallback::LocalShare => Some(quota.share_of(self.nodes)),
            Fallback::Reject => None,
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
