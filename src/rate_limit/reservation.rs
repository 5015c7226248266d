//! [`Reservation`]: the requests that one registration takes from its budgets.

use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use super::shared::Outage;
use super::{Bucket, Budget, Exhausted, Place, Quota, QuotaDecision, SharedQuotas};
use crate::clock::Clock;

/// Requests that were taken from the tables of this node and, once committed, from the store that nodes share.
///
/// Dropped before it is committed, it releases them on this node. Committed, they stay taken, unless they are
/// [released](Self::release) explicitly.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Reservation {
    taken: Vec<Taken>,
    shared: Option<Shared>,
    is_committed: bool,
}

#[derive(Debug)]
struct Taken {
    budget: Budget,
    hash: u64,
    place: Place,
    /// The quota under which it was taken.
    quota: Quota,
}

#[derive(Debug)]
struct Shared {
    quotas: SharedQuotas,
    /// The clock of this node's tables.
    clock: Arc<dyn Clock>,
    /// The bucket of each budget.
    buckets: Vec<Bucket>,
}

/// A budget is spent.
#[derive(Clone, Debug)]
pub(crate) struct Spent {
    pub(crate) budget: Budget,
    pub(crate) retry_after: Duration,
}

/// The reason why a reservation is not committed.
#[derive(Clone, Debug)]
pub(crate) enum Denied {
    Spent(Spent),
    /// The store can't be used, and registrations are [rejected](super::SharedQuotas::reject_on_outage) then.
    Unknown {
        retry_after: Duration,
    },
}

impl Reservation {
    /// Creates an empty reservation. Times are by `clock`.
    pub(crate) fn new(shared: Option<&SharedQuotas>, clock: &Arc<dyn Clock>) -> Self {
        let shared = shared.map(|quotas| Shared::new(quotas, clock, Vec::new()));
        Self { taken: Vec::new(), shared, is_committed: false }
    }

    /// Takes one request from the bucket of the key that `feed` writes, on this node. If the budget is spent, nothing
    /// changes.
    pub(crate) fn take(&mut self, budget: &Budget, feed: impl Fn(&mut dyn Hasher), now: Duration) -> Result<(), Spent> {
        let (limiter, quota) = (budget.limiter(), budget.quota());
        let hash = limiter.hash(&feed);
        let place = limiter.take(hash, quota, now).map_err(|exhausted| Spent::new(budget, exhausted))?;
        if self.taken.capacity() == 0 {
            self.taken.reserve(5);
        }
        self.taken.push(Taken { budget: budget.clone(), hash, place, quota });
        if let Some(shared) = &mut self.shared {
            shared.buckets.push(Bucket::of(budget, feed));
        }
        Ok(())
    }

    /// Returns whether nothing is taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    /// Commits the reservation if no shared store has to confirm it. Returns whether it is committed.
    pub(crate) fn commit_local(&mut self) -> bool {
        self.is_committed = self.shared.as_ref().is_none_or(|shared| shared.buckets.is_empty());
        self.is_committed
    }

    /// Commits the reservation: takes the same requests from the shared store, if there is one. If a budget is spent there,
    /// everything is released on this node.
    pub(crate) async fn commit(&mut self) -> Result<(), Denied> {
        if self.commit_local() {
            return Ok(());
        }
        // From here on dropping keeps them: a client that hangs up while the store is asked gets nothing back.
        self.is_committed = true;
        let Some(shared) = &self.shared else { return Ok(()) };
        match shared.quotas.take(&shared.buckets).await {
            Ok(QuotaDecision::Taken) => Ok(()),
            Ok(QuotaDecision::Spent { index, retry_after }) => {
                // A store may return any index.
                let spent = self.taken.get(index).or(self.taken.last()).map(|taken| taken.budget.clone());
                self.release_local();
                Err(match spent {
                    Some(budget) => Denied::Spent(Spent { budget, retry_after }),
                    None => Denied::Unknown { retry_after },
                })
            }
            Err(outage) => self.fall_back(&outage),
        }
    }

    /// Takes the same requests under this node's share of each quota, or rejects.
    fn fall_back(&mut self, outage: &Outage) -> Result<(), Denied> {
        let Some(shared) = self.shared.take() else { return Ok(()) };
        let now = shared.clock.monotonic();
        let before = std::mem::take(&mut self.taken);
        for taken in &before {
            taken.release();
        }
        for Taken { budget, hash, quota, .. } in before {
            let Some(share) = shared.quotas.share(quota) else {
                return Err(Denied::Unknown { retry_after: outage.retry_after });
            };
            match budget.limiter().take(hash, share, now) {
                Ok(place) => self.taken.push(Taken { budget, hash, place, quota: share }),
                Err(exhausted) => {
                    self.release_local();
                    return Err(Denied::Spent(Spent::new(&budget, exhausted)));
                }
            }
        }
        Ok(())
    }

    /// Splits off the requests that were taken from budgets whose name `is_out` accepts.
    pub(crate) fn split(&mut self, is_out: impl Fn(&str) -> bool) -> Self {
        let taken = self.taken.extract_if(.., |taken| is_out(taken.budget.name())).collect();
        let shared = self.shared.as_mut().map(|shared| {
            let buckets = shared.buckets.extract_if(.., |bucket| is_out(bucket.budget)).collect();
            Shared::new(&shared.quotas, &shared.clock, buckets)
        });
        Self { taken, shared, is_committed: self.is_committed }
    }

    /// Releases everything on this node only.
    pub(crate) fn release_local(&mut self) {
        self.taken.drain(..).for_each(|taken| taken.release());
        self.shared = None;
    }

    /// Releases everything, in the shared store as well if it was committed there.
    pub(crate) async fn release(mut self) {
        let shared = self.shared.take().filter(|shared| self.is_committed && !shared.buckets.is_empty());
        self.release_local();
        if let Some(shared) = shared {
            shared.quotas.release(&shared.buckets).await;
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.is_committed {
            self.release_local();
        }
    }
}

impl Shared {
    fn new(quotas: &SharedQuotas, clock: &Arc<dyn Clock>, buckets: Vec<Bucket>) -> Self {
        Self { quotas: quotas.clone(), clock: Arc::clone(clock), buckets }
    }
}

impl Taken {
    fn release(&self) {
        self.budget.limiter().release(self.place, self.quota);
    }
}

impl Spent {
    fn new(budget: &Budget, exhausted: Exhausted) -> Self {
        Self { budget: budget.clone(), retry_after: exhausted.retry_after }
    }
}
