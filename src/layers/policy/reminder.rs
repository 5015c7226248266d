//! Logs regularly that nothing is enforced.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::{Clock, CoarseClock};

/// Warns at once, and with the first request of each further hour. A server in a forgotten trial is open.
#[derive(Debug)]
pub(crate) struct Reminder {
    clock: Arc<dyn Clock>,
    /// The time of the next warning, in seconds.
    due: AtomicU64,
}

const INTERVAL_SECONDS: u64 = 3600;

impl Reminder {
    pub(crate) fn new() -> Self {
        let reminder = Self::by(Arc::new(CoarseClock::new()));
        warn();
        reminder
    }

    fn by(clock: Arc<dyn Clock>) -> Self {
        let due = AtomicU64::new(clock.monotonic().as_secs().saturating_add(INTERVAL_SECONDS));
        Self { clock, due }
    }

    pub(super) fn remind(&self) {
        if self.is_due() {
            warn();
        }
    }

    /// Returns whether a warning is due. Of concurrent callers, one gets `true`.
    fn is_due(&self) -> bool {
        let (now, due) = (self.clock.monotonic().as_secs(), self.due.load(Ordering::Relaxed));
        let next = now.saturating_add(INTERVAL_SECONDS);
        now >= due && self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

fn warn() {
    tracing::warn!(
        target: "tower_dcr::setup",
        "nothing is enforced: `report_only` lets every registration pass as it came, dangerous ones too. Take it out once the \
         audit events show no surprises; to try a policy while another one is enforced, name it under `[shadow]`"
    );
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn is_due_once_an_hour() {
        let clock = Arc::new(ManualClock::new(Duration::from_secs(10)));
        let reminder = Reminder::by(Arc::clone(&clock) as Arc<dyn Clock>);
        let rows = [
            (0, false, "it was said at the start"),
            (3599, false, "not yet an hour"),
            (1, true, "an hour"),
            (0, false, "said a moment ago"),
            (3 * 3600, true, "nobody came for hours"),
            (0, false, "which is made up for by one line"),
            (3600, true, "the next hour counts from there"),
        ];
        for (seconds, expected, reason) in rows {
            clock.advance(Duration::from_secs(seconds));
            assert_eq!(reminder.is_due(), expected, "{reason}");
        }
    }
}
