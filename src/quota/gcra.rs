//! The arithmetic of the generic cell rate algorithm.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{Exhausted, Remaining};

/// Nanoseconds since the clock's origin: enough for 584 years.
pub(super) type Nanos = u64;

/// How many requests in how long, and how many at once.
///
/// ```
/// use std::num::NonZeroU32;
/// use std::time::Duration;
/// use tower_dcr::quota::Quota;
///
/// let quota = Quota::per_minute(NonZeroU32::new(30).unwrap()).allow_burst(NonZeroU32::new(5).unwrap());
/// assert_eq!((quota.interval(), quota.window()), (Duration::from_secs(2), Duration::from_secs(10)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Quota {
    /// Time in which one request is earned.
    interval: Nanos,
    burst: NonZeroU32,
}

impl Quota {
    /// `count` requests a second, and as many at once.
    pub const fn per_second(count: NonZeroU32) -> Self {
        Self::per(count, 1_000_000_000)
    }

    /// `count` requests a minute, and as many at once.
    pub const fn per_minute(count: NonZeroU32) -> Self {
        Self::per(count, 60_000_000_000)
    }

    /// `count` requests an hour, and as many at once.
    pub const fn per_hour(count: NonZeroU32) -> Self {
        Self::per(count, 3_600_000_000_000)
    }

    /// The same rate with `burst` requests at once.
    pub const fn allow_burst(self, burst: NonZeroU32) -> Self {
        Self { burst, ..self }
    }

    /// How many requests may come at once.
    #[must_use]
    pub const fn burst(&self) -> NonZeroU32 {
        self.burst
    }

    /// The time in which one request is earned.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval)
    }

    /// The time in which an empty bucket fills up.
    #[must_use]
    pub const fn window(&self) -> Duration {
        Duration::from_nanos(self.capacity())
    }

    const fn per(count: NonZeroU32, period: Nanos) -> Self {
        // A `u32` fits; `From` is not const. At least a nanosecond: more than 10^9 a second is no limit.
        let interval = period / count.get() as u64;
        Self { interval: if interval == 0 { 1 } else { interval }, burst: count }
    }

    const fn capacity(&self) -> Nanos {
        self.interval.saturating_mul(self.burst.get() as u64)
    }

    /// Takes one request from the bucket that is full again at `full_at`.
    ///
    /// A clock that goes backwards makes the bucket look emptier than it is, never fuller.
    pub(super) fn take(&self, full_at: &mut Nanos, now: Nanos) -> Result<Remaining, Exhausted> {
        let Some(next) = (*full_at).max(now).checked_add(self.interval) else {
            // The end of time: nothing can be earned any more.
            return Err(Exhausted { retry_after: Duration::from_nanos(self.interval) });
        };
        let debt = next - now;
        if debt > self.capacity() {
            return Err(Exhausted { retry_after: Duration::from_nanos(debt - self.capacity()) });
        }
        *full_at = next;
        Ok(Remaining { spare: self.capacity() - debt, interval: self.interval })
    }

    pub(super) fn give_back(&self, full_at: &mut Nanos) {
        *full_at = full_at.saturating_sub(self.interval);
    }
}

pub(super) fn nanos(time: Duration) -> Nanos {
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(time.subsec_nanos()))
}
