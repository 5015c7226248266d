//! [`Watch`]: a store that is ill is asked rarely, and nobody waits for it.

use std::error::Error;
use std::time::Duration;

use crate::clock::{Clock, CoarseClock};
use crate::telemetry;
use crate::text;

mod circuit;

use circuit::{Circuit, PAUSE};

/// Watches a store: asks it through a circuit breaker, and tells the operator how it is.
#[derive(Debug)]
pub(crate) struct Watch {
    /// As metrics and the log call it.
    store: &'static str,
    circuit: Circuit,
    clock: CoarseClock,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Unanswered<E> {
    /// The store was not asked, since it is ill.
    Skipped { retry_after: Duration },
    /// It was, and failed.
    Failed { error: E, retry_after: Duration },
}

impl Watch {
    pub(crate) fn over(store: &'static str) -> Self {
        Self { store, circuit: Circuit::default(), clock: CoarseClock::new() }
    }

    /// What `asking` answers. Of its errors those count for which `is_outage` holds: what one request brings about by what it
    /// asks must not turn others away.
    pub(crate) async fn ask<T, E: Error + 'static>(
        &self,
        asking: impl Future<Output = Result<T, E>>,
        is_outage: impl FnOnce(&E) -> bool,
    ) -> Result<T, Unanswered<E>> {
        let leave = self.circuit.leave(self.clock.monotonic()).map_err(|retry_after| {
            telemetry::store(self.store, "skipped");
            Unanswered::Skipped { retry_after }
        })?;
        match asking.await {
            Err(error) if is_outage(&error) => {
                telemetry::store(self.store, "failed");
                let pause = leave.failed(self.clock.monotonic());
                self.log(&error, pause);
                Err(Unanswered::Failed { error, retry_after: pause.unwrap_or(PAUSE) })
            }
            answer => {
                telemetry::store(self.store, "answered");
                if leave.succeeded() {
                    tracing::info!(target: "tower_dcr::store", store = self.store, "the store answers again");
                }
                answer.map_err(|error| Unanswered::Failed { error, retry_after: PAUSE })
            }
        }
    }

    fn log(&self, error: &(dyn Error + 'static), pause: Option<Duration>) {
        let (store, error) = (self.store, text::causes(error));
        if let Some(pause) = pause {
            tracing::error!(target: "tower_dcr::store", store, %error, ?pause, "the store is ill, and is let alone");
        } else {
            tracing::warn!(target: "tower_dcr::store", store, %error, "the store did not answer");
        }
    }
}

#[cfg(test)]
mod tests;
