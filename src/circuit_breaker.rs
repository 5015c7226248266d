//! [`CircuitBreaker`]: a failing store is asked rarely, and requests do not wait for it.

use std::error::Error;
use std::time::Duration;

use crate::clock::{Clock, CoarseClock};
use crate::telemetry;
use crate::text;

mod circuit;

use circuit::PAUSE;
pub(crate) use circuit::{Circuit, jittered};

/// Calls a store, unless it failed too often, and reports its state to the log and the metrics.
#[derive(Debug)]
pub(crate) struct CircuitBreaker {
    /// The name of the store in metrics and in the log.
    store: &'static str,
    circuit: Circuit,
    clock: CoarseClock,
}

/// The error of a call.
#[derive(Debug)]
pub(crate) struct CallError<E> {
    /// The error of the store; `None` if the circuit is open and the store was not asked.
    pub(crate) error: Option<E>,
    pub(crate) retry_after: Duration,
}

impl CircuitBreaker {
    pub(crate) fn new(store: &'static str) -> Self {
        Self { store, circuit: Circuit::default(), clock: CoarseClock::new() }
    }

    /// Runs `call`, unless the circuit is open. Only errors for which `outage` returns a cause count as failures: an error that
    /// one request causes by its content must not reject others.
    pub(crate) async fn call<T, E>(
        &self,
        call: impl Future<Output = Result<T, E>>,
        outage: impl FnOnce(&E) -> Option<&(dyn Error + 'static)>,
    ) -> Result<T, CallError<E>> {
        let permit = self.circuit.permit(self.clock.monotonic()).map_err(|retry_after| {
            telemetry::store(self.store, "skipped");
            CallError { error: None, retry_after }
        })?;
        let answer = call.await;
        let retry_after = if let Some(cause) = answer.as_ref().err().and_then(outage) {
            telemetry::store(self.store, "failed");
            let pause = permit.failed(self.clock.monotonic());
            self.log(cause, pause);
            pause.unwrap_or(PAUSE)
        } else {
            telemetry::store(self.store, "answered");
            if permit.succeeded() {
                tracing::info!(target: "tower_dcr::store", store = self.store, "circuit closed: store available again");
            }
            PAUSE
        };
        answer.map_err(|error| CallError { error: Some(error), retry_after })
    }

    fn log(&self, error: &(dyn Error + 'static), pause: Option<Duration>) {
        let (store, error) = (self.store, text::causes(error));
        if let Some(pause) = pause {
            tracing::error!(target: "tower_dcr::store", store, %error, ?pause, "circuit open: store unavailable");
        } else {
            tracing::warn!(target: "tower_dcr::store", store, %error, "store request failed");
        }
    }
}

#[cfg(test)]
mod tests;
