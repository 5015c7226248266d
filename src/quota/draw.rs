//! What one request takes from its budgets.

use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use super::shared::Outage;
use super::{Bucket, Budget, Exhausted, Place, Quota, SharedQuotas, Verdict};
use crate::clock::Clock;

/// What one request has taken from the tables of this node and, once it is settled, from the store of all nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draw {
    taken: Vec<Taken>,
    shared: Option<Shared>,
}

#[derive(Clone, Debug)]
struct Taken {
    budget: Budget,
    hash: u64,
    place: Place,
    /// Under which it was taken.
    quota: Quota,
}

#[derive(Clone, Debug)]
struct Shared {
    quotas: SharedQuotas,
    /// By which this node's tables go.
    clock: Arc<dyn Clock>,
    /// Of each budget the bucket.
    buckets: Vec<Bucket>,
    /// The store has said yes.
    is_settled: bool,
}

/// A budget is spent.
#[derive(Clone, Debug)]
pub(crate) struct Spent {
    pub(crate) budget: Budget,
    pub(crate) retry_after: Duration,
}

/// Why a request may not go on.
#[derive(Clone, Debug)]
pub(crate) enum Denied {
    Spent(Spent),
    /// Nobody knows what is left.
    Unknown {
        retry_after: Duration,
    },
}

impl Draw {
    /// Nothing yet. Times are by `clock`.
    pub(crate) fn new(shared: Option<&SharedQuotas>, clock: &Arc<dyn Clock>) -> Self {
        let shared = shared.map(|quotas| Shared {
            quotas: quotas.clone(),
            clock: Arc::clone(clock),
            buckets: Vec::new(),
            is_settled: false,
        });
        Self { taken: Vec::new(), shared }
    }

    /// Takes one request from the bucket of the key that `feed` writes, on this node. If its budget is spent, what was
    /// taken before is given back.
    pub(crate) fn take(&mut self, budget: &Budget, feed: impl Fn(&mut dyn Hasher), now: Duration) -> Result<(), Spent> {
        let (limiter, quota) = (budget.limiter(), budget.quota());
        let hash = limiter.hash(&feed);
        match limiter.take(hash, quota, now) {
            Ok((place, _)) => {
                self.taken.push(Taken { budget: budget.clone(), hash, place, quota });
                if let Some(shared) = &mut self.shared {
                    shared.buckets.push(budget.bucket_of(feed));
                }
                Ok(())
            }
            Err(exhausted) => {
                self.give_back_here();
                // Who only observes goes on, and takes nothing from anybody.
                self.shared = None;
                Err(Spent::new(budget, exhausted))
            }
        }
    }

    /// Whether the store of all nodes has to be asked.
    pub(crate) fn is_to_be_settled(&self) -> bool {
        self.shared.as_ref().is_some_and(Shared::is_open)
    }

    /// Takes the same from the store of all nodes. If a budget is spent there, what was taken here is given back.
    pub(crate) async fn settle(&mut self) -> Result<(), Denied> {
        let Some(shared) = self.shared.as_mut().filter(|shared| shared.is_open()) else { return Ok(()) };
        match shared.quotas.take(&shared.buckets).await {
            Ok(Verdict::Taken) => {
                shared.is_settled = true;
                Ok(())
            }
            Ok(Verdict::Spent { index, retry_after }) => {
                // A store of somebody else's may say any number.
                let spent = self.taken.get(index).or(self.taken.last()).map(|taken| taken.budget.clone());
                self.give_back_here();
                Err(match spent {
                    Some(budget) => Denied::Spent(Spent { budget, retry_after }),
                    None => Denied::Unknown { retry_after },
                })
            }
            Err(outage) => self.fall_back(&outage),
        }
    }

    /// Goes on without the store: by this node's share of each quota, or not at all.
    fn fall_back(&mut self, outage: &Outage) -> Result<(), Denied> {
        let Some(shared) = self.shared.take() else { return Ok(()) };
        let now = shared.clock.monotonic();
        let before = std::mem::take(&mut self.taken);
        for taken in &before {
            taken.give_back();
        }
        for Taken { budget, hash, quota, .. } in before {
            let Some(share) = shared.quotas.share(quota) else {
                return Err(Denied::Unknown { retry_after: outage.retry_after });
            };
            match budget.limiter().take(hash, share, now) {
                Ok((place, _)) => self.taken.push(Taken { budget, hash, place, quota: share }),
                Err(exhausted) => {
                    self.give_back_here();
                    return Err(Denied::Spent(Spent::new(&budget, exhausted)));
                }
            }
        }
        Ok(())
    }

    /// Gives everything back that was taken on this node.
    pub(crate) fn give_back_here(&mut self) {
        self.taken.drain(..).for_each(|taken| taken.give_back());
    }

    /// Gives everything back, to the store of all nodes as well.
    pub(crate) async fn give_back(mut self) {
        self.give_back_here();
        if let Some(shared) = self.shared.filter(|shared| shared.is_settled) {
            shared.quotas.give_back(&shared.buckets).await;
        }
    }
}

impl Shared {
    /// Something was taken here that the store has not been asked for.
    fn is_open(&self) -> bool {
        !self.is_settled && !self.buckets.is_empty()
    }
}

impl Taken {
    fn give_back(&self) {
        self.budget.limiter().give_back(self.place, self.quota);
    }
}

impl Spent {
    fn new(budget: &Budget, exhausted: Exhausted) -> Self {
        Self { budget: budget.clone(), retry_after: exhausted.retry_after() }
    }
}
