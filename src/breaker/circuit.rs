//! [`Circuit`]: a circuit breaker that lets one probe through.
//!
//! Closed, everybody asks. After some failures in a row it opens, and nobody does. When the pause is over, one asks, and
//! only one: a store that comes back must not be met by all who waited for it. If that fails, the next pause is twice as
//! long. Pauses differ by chance, since the nodes of a fleet all lost the store at the same moment.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::sync::{Mutex, lock};

/// After this many failures in a row the circuit opens.
pub(super) const FAILURES: u32 = 5;

/// The first pause, and the longest.
pub(super) const PAUSE: Duration = Duration::from_millis(500);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(15);

#[derive(Debug, Default)]
pub(super) struct Circuit {
    state: Mutex<State>,
    chance: RandomState,
}

#[derive(Debug, Default)]
struct State {
    /// In a row.
    failures: u32,
    pause: Option<Pause>,
    /// How often it has opened: what somebody learns who asked before that says nothing of after.
    openings: u64,
}

/// It is open.
#[derive(Debug)]
struct Pause {
    length: Duration,
    until: Duration,
    /// Somebody is asking.
    probing: bool,
}

/// Leave to ask the store once. Whoever drops it has learned nothing.
#[derive(Debug)]
#[must_use]
pub(super) struct Leave<'a> {
    circuit: &'a Circuit,
    openings: u64,
    is_probe: bool,
}

impl Circuit {
    /// Leave to ask, or for how long nobody has it. Times are from any fixed origin.
    pub(super) fn leave(&self, now: Duration) -> Result<Leave<'_>, Duration> {
        let mut state = lock(&self.state);
        let openings = state.openings;
        let is_probe = match &mut state.pause {
            None => false,
            Some(pause) if pause.probing || now < pause.until => {
                // While somebody asks, the answer is some moments away.
                return Err(pause.until.saturating_sub(now).max(PAUSE));
            }
            Some(pause) => {
                pause.probing = true;
                true
            }
        };
        Ok(Leave { circuit: self, openings, is_probe })
    }

    /// From three quarters of `length` to five quarters.
    fn by_chance(&self, length: Duration, openings: u64) -> Duration {
        let quarter = length / 4;
        let chance = (self.chance.hash_one(openings) % 1024) as u32;
        quarter * 3 + quarter * 2 * chance / 1024
    }
}

impl Leave<'_> {
    /// The store answered. Says whether it had not before.
    pub(super) fn succeeded(self) -> bool {
        let mut state = lock(&self.circuit.state);
        if self.openings != state.openings {
            return false;
        }
        state.failures = 0;
        state.pause.take().is_some()
    }

    /// It did not. Says for how long nobody asks any more, if that follows.
    pub(super) fn failed(self, now: Duration) -> Option<Duration> {
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
        let pause = self.circuit.by_chance(length, state.openings);
        state.pause = Some(Pause { length, until: now.saturating_add(pause), probing: false });
        Some(pause)
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            let mut state = lock(&self.circuit.state);
            // Nothing was learned: the next one may ask.
            if state.openings == self.openings
                && let Some(pause) = &mut state.pause
            {
                pause.probing = false;
            }
        }
    }
}
