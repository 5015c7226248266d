//! [`Circuit`]: the state of a circuit breaker.
//!
//! A closed circuit permits every call. After some failures in a row it opens, and permits none. When the pause is over, it
//! permits one probe at a time, so that a store that recovers does not receive all waiting calls at once. If the probe fails,
//! the next pause is twice as long. Pauses have jitter, since all nodes of a fleet lost the store at the same moment.

use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

use crate::sync::{Mutex, lock};

/// The number of failures in a row that open the circuit.
pub(super) const FAILURES: u32 = 5;

/// The first pause and the longest one.
pub(super) const PAUSE: Duration = Duration::from_millis(500);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(15);

#[derive(Debug, Default)]
pub(crate) struct Circuit {
    state: Mutex<State>,
    jitter: RandomState,
}

#[derive(Debug, Default)]
struct State {
    /// In a row.
    failures: u32,
    pause: Option<Pause>,
    /// The number of times that it has opened: a call from before the last one says nothing of the state after.
    openings: u64,
}

/// The pause of an open circuit.
#[derive(Debug)]
struct Pause {
    length: Duration,
    until: Duration,
    /// A probe is on its way.
    probing: bool,
}

/// The permission for one call. Dropped, it reports neither success nor failure.
#[derive(Debug)]
#[must_use]
pub(crate) struct Permit<'a> {
    circuit: &'a Circuit,
    openings: u64,
    is_probe: bool,
}

impl Circuit {
    /// Permits one call, or returns the time until the next attempt. Times are from any fixed origin.
    pub(crate) fn permit(&self, now: Duration) -> Result<Permit<'_>, Duration> {
        let mut state = lock(&self.state);
        let openings = state.openings;
        let is_probe = match &mut state.pause {
            None => false,
            Some(pause) if pause.probing || now < pause.until => {
                // The answer to a probe is some moments away.
                return Err(pause.until.saturating_sub(now).max(PAUSE));
            }
            Some(pause) => {
                pause.probing = true;
                true
            }
        };
        Ok(Permit { circuit: self, openings, is_probe })
    }
}

/// Returns from three quarters to five quarters of `length`, so that nodes that failed together do not come back together. Each
/// `seed` has another result.
pub(crate) fn jittered(length: Duration, jitter: &RandomState, seed: impl Hash) -> Duration {
    let quarter = length / 4;
    let jitter = (jitter.hash_one(seed) % 1024) as u32;
    quarter * 3 + quarter * 2 * jitter / 1024
}

impl Permit<'_> {
    /// Reports that the store answered. Returns whether that closes the circuit.
    pub(crate) fn succeeded(self) -> bool {
        let mut state = lock(&self.circuit.state);
        if self.openings != state.openings {
            return false;
        }
        state.failures = 0;
        state.pause.take().is_some()
    }

    /// Reports that the store failed. Returns the pause if that opens the circuit.
    pub(crate) fn failed(self, now: Duration) -> Option<Duration> {
        let mut state = lock(&self.circuit.state);
        if self.openings != state.openings {
            return None;
        }
        state.failures = state.failures.saturating_add(1);
        if !self.is_probe && state.failures < FAILURES {
            return None;
        }
        let length = state.pause.as_ref().map_or(PAUSE, |pause| (pause.length * 2).min(LONGEST_PAUSE));
        state.openings += 1;
        let pause = jittered(length, &self.circuit.jitter, state.openings);
        state.pause = Some(Pause { length, until: now.saturating_add(pause), probing: false });
        Some(pause)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            let mut state = lock(&self.circuit.state);
            // Without a report, the next call is the probe.
            if state.openings == self.openings
                && let Some(pause) = &mut state.pause
            {
                pause.probing = false;
            }
        }
    }
}
