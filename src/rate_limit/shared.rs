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
/// If a request to the store fails, each node limits by its share, or [rejects](Self::reject_on_outage): nothing is
/// admitted without a limit. Five failures in a row open a circuit breaker, which lets one request at a time ask the
/// store, at intervals that double from half a second to fifteen seconds. The first success closes it.
///
/// The store does not learn of requests that were admitted while it failed. A store that lost its data starts with full
/// budgets, apart from the requests in each node's own table.
#[derive(Clone)]
#[must_use]
pub struct SharedQuotas {
    store: Arc<dyn ErasedStore>,
    nodes: NonZeroU32,
    rejects_on_outage: bool,
    breaker: Arc<CircuitBreaker>,
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
        Self { store: Arc::new(store), nodes, rejects_on_outage: false, breaker }
    }

    /// Answers registrations with 503 while the store can't be used (default: each node limits by its own table, under its
    /// share of each quota, which is the rate and the burst divided by the number of nodes; all nodes together admit no
    /// more than usual, apart from the burst being rounded up).
    pub fn reject_on_outage(self) -> Self {
        Self { rejects_on_outage: true, ..self }
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
        (!self.rejects_on_outage).then(|| quota.share_of(self.nodes))
    }
}

impl fmt::Debug for SharedQuotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedQuotas")
            .field("nodes", &self.nodes)
            .field("rejects_on_outage", &self.rejects_on_outage)
            .finish_non_exhaustive()
    }
}
