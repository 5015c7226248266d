//! [`Watch`] and [`Breaker`]: a store that is ill is asked rarely, and nobody waits for it.
//!
//! Closed, everybody asks. After some failures in a row it opens, and nobody does. When the pause is over, one asks, and
//! only one: a store that comes back must not be met by all who waited for it. If that fails, the next pause is twice as
//! long. Pauses differ by chance, since the nodes of a fleet all lost the store at the same moment.

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, CoarseClock};
use crate::telemetry;
use crate::text;

/// Watches a store: asks it through a breaker, and tells the operator how it is.
#[derive(Debug)]
pub(crate) struct Watch {
    /// As metrics and the log call it.
    store: &'static str,
    breaker: Breaker,
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
        Self { store, breaker: Breaker::default(), clock: CoarseClock::new() }
    }

    /// What `asking` answers. Of its errors those count for which `is_outage` holds: what one request brings about by what it
    /// asks must not turn others away.
    pub(crate) async fn ask<T, E: Error + 'static>(
        &self,
        asking: impl Future<Output = Result<T, E>>,
        is_outage: impl FnOnce(&E) -> bool,
    ) -> Result<T, Unanswered<E>> {
        let leave = self.breaker.leave(self.clock.monotonic()).map_err(|retry_after| {
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

/// After this many failures in a row the breaker opens.
const FAILURES: u32 = 5;

/// The first pause, and the longest.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

#[derive(Debug, Default)]
struct Breaker {
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
struct Leave<'a> {
    breaker: &'a Breaker,
    openings: u64,
    is_probe: bool,
}

impl Breaker {
    /// Leave to ask, or for how long nobody has it. Times are from any fixed origin.
    fn leave(&self, now: Duration) -> Result<Leave<'_>, Duration> {
        let mut state = self.state();
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
        Ok(Leave { breaker: self, openings, is_probe })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere can't leave the state half written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn succeeded(self) -> bool {
        let mut state = self.breaker.state();
        if self.openings != state.openings {
            return false;
        }
        state.failures = 0;
        state.pause.take().is_some()
    }

    /// It did not. Says for how long nobody asks any more, if that follows.
    fn failed(self, now: Duration) -> Option<Duration> {
        let mut state = self.breaker.state();
        if self.openings != state.openings {
            return None;
        }
        state.failures = state.failures.saturating_add(1);
        if !self.is_probe && state.failures < FAILURES {
            return None;
        }
        let length = state.pause.as_ref().map_or(PAUSE, |pause| (pause.length * 2).min(LONGEST_PAUSE));
        state.openings += 1;
        let pause = self.breaker.by_chance(length, state.openings);
        state.pause = Some(Pause { length, until: now.saturating_add(pause), probing: false });
        Some(pause)
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            let mut state = self.breaker.state();
            // Nothing was learned: the next one may ask.
            if state.openings == self.openings
                && let Some(pause) = &mut state.pause
            {
                pause.probing = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Opens at zero.
    fn open() -> Breaker {
        let breaker = Breaker::default();
        let pauses: Vec<_> =
            (0..FAILURES).map(|_| breaker.leave(Duration::ZERO).unwrap().failed(Duration::ZERO)).collect();
        assert!(pauses.iter().rev().skip(1).all(Option::is_none) && pauses.last().unwrap().is_some());
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row() {
        let breaker = Breaker::default();
        for _ in 0..10 {
            for _ in 1..FAILURES {
                assert_eq!(breaker.leave(SECOND).unwrap().failed(SECOND), None);
            }
            assert!(!breaker.leave(SECOND).unwrap().succeeded());
        }
        let wait = open().leave(Duration::ZERO).unwrap_err();
        assert!(wait >= PAUSE && wait < PAUSE * 2, "{wait:?}");
    }

    #[test]
    fn one_asks_when_the_pause_is_over() {
        let breaker = open();
        assert!(breaker.leave(PAUSE / 2).is_err());
        let probe = breaker.leave(SECOND).unwrap();
        assert!(breaker.leave(SECOND * 100).is_err());
        // Who hangs up has learned nothing, and the next one asks.
        drop(probe);
        let probe = breaker.leave(SECOND).unwrap();
        assert!(probe.succeeded());
        let two = (breaker.leave(SECOND).unwrap(), breaker.leave(SECOND).unwrap());
        assert!(!two.0.succeeded() && two.1.failed(SECOND).is_none());
    }

    #[test]
    fn each_pause_is_twice_as_long_up_to_a_limit() {
        let breaker = open();
        let mut now = Duration::ZERO;
        let pauses: Vec<Duration> = (0..12)
            .map(|_| {
                now += LONGEST_PAUSE * 2;
                breaker.leave(now).unwrap().failed(now).unwrap()
            })
            .collect();
        for (index, pause) in pauses.iter().enumerate() {
            let length = (PAUSE * 2_u32.pow(u32::try_from(index).unwrap() + 1)).min(LONGEST_PAUSE);
            assert!(*pause >= length * 3 / 4 && *pause <= length * 5 / 4, "{index}: {pause:?} for {length:?}");
        }
        // All of them equal is one in a thousand to the eighth power.
        assert!(pauses.iter().skip(5).any(|pause| *pause != pauses[4]));
        assert!(breaker.leave(now * 2).unwrap().succeeded());
        assert_eq!((0..FAILURES).filter_map(|_| breaker.leave(now).unwrap().failed(now)).count(), 1);
    }

    #[test]
    fn what_was_asked_before_it_opened_says_nothing_of_after() {
        let breaker = Breaker::default();
        let (late_success, late_failure) = (breaker.leave(SECOND).unwrap(), breaker.leave(SECOND).unwrap());
        (0..FAILURES).for_each(|_| _ = breaker.leave(SECOND).unwrap().failed(SECOND));
        assert!(!late_success.succeeded() && late_failure.failed(SECOND).is_none());
        assert!(breaker.leave(SECOND).is_err());
    }
}
