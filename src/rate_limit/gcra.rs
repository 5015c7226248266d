//! The arithmetic of the generic cell rate algorithm.

use std::num::NonZeroU32;
use std::time::Duration;

use super::Exhausted;

/// Nanoseconds since the clock's origin: enough for 584 years.
pub(super) type Nanos = u64;

/// A rate of requests and a burst. As text: `60/minute, burst 300`, by the second, the minute or the hour; without a burst,
/// as many at once as in that time. A count is at most ten million, and a burst refills within 30 days.
///
/// ```
/// use std::num::NonZeroU32;
/// use std::time::Duration;
/// use tower_dcr::rate_limit::Quota;
///
/// let quota = Quota::per_minute(NonZeroU32::new(30).unwrap()).allow_burst(NonZeroU32::new(5).unwrap());
/// assert_eq!((quota.interval(), quota.burst().get()), (Duration::from_secs(2), 5));
/// assert_eq!("30/minute, burst 5".parse(), Ok(quota));
///
/// let error = "0/minute".parse::<Quota>().unwrap_err().to_string();
/// assert_eq!(error, r#""0/minute" allows nothing, and a quota allows at least 1"#);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[must_use]
pub struct Quota {
    /// The time in which one request refills.
    pub(super) interval: Nanos,
    pub(super) burst: NonZeroU32,
}

impl Quota {
    /// Allows `count` requests a second, and as many at once.
    pub const fn per_second(count: NonZeroU32) -> Self {
        Self::per(count, 1_000_000_000)
    }

    /// Allows `count` requests a minute, and as many at once.
    pub const fn per_minute(count: NonZeroU32) -> Self {
        Self::per(count, 60_000_000_000)
    }

    /// Allows `count` requests an hour, and as many at once.
    pub const fn per_hour(count: NonZeroU32) -> Self {
        Self::per(count, 3_600_000_000_000)
    }

    /// Sets how many requests may come at once.
    pub const fn allow_burst(self, burst: NonZeroU32) -> Self {
        Self { burst, ..self }
    }

    /// Returns how many requests may come at once.
    #[must_use]
    pub const fn burst(&self) -> NonZeroU32 {
        self.burst
    }

    /// Returns the time in which one request refills.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval)
    }

    /// Returns the time in which an empty bucket refills.
    #[must_use]
    pub(crate) const fn window(&self) -> Duration {
        Duration::from_nanos(self.capacity())
    }

    /// Returns the share of one of `nodes`: the rate divided by their number, and the burst divided by it and rounded up. All
    /// nodes together allow no more than this quota, apart from the rounding.
    pub(crate) const fn share_of(self, nodes: NonZeroU32) -> Self {
        let burst = self.burst.get().div_ceil(nodes.get());
        let interval = self.interval.saturating_mul(nodes.get() as u64);
        Self { interval, burst: super::nonzero(burst) }
    }

    /// Returns the quota with the rate and the burst multiplied.
    pub(crate) const fn times(self, times: NonZeroU32) -> Self {
        let interval = self.interval / times.get() as u64;
        let burst = super::nonzero(self.burst.get().saturating_mul(times.get()));
        Self { interval: if interval == 0 { 1 } else { interval }, burst }
    }

    /// Returns the quota at the same rate with two thirds of the burst.
    pub(crate) const fn two_thirds(self) -> Self {
        let burst = self.burst.get();
        Self { burst: super::nonzero(burst - burst / 3), ..self }
    }

    pub(super) const fn per(count: NonZeroU32, period: Nanos) -> Self {
        // A `u32` fits; `From` is not const. At least a nanosecond: more than 10^9 a second is no limit.
        let interval = period / count.get() as u64;
        Self { interval: if interval == 0 { 1 } else { interval }, burst: count }
    }

    pub(super) const fn capacity(&self) -> Nanos {
        self.interval.saturating_mul(self.burst.get() as u64)
    }

    /// Takes one request from the bucket that is full again at `full_at`.
    ///
    /// A clock that goes backwards makes the bucket look emptier than it is, never fuller.
    pub(super) fn take(&self, full_at: &mut Nanos, now: Nanos) -> Result<(), Exhausted> {
        let Some(next) = (*full_at).max(now).checked_add(self.interval) else {
            // The end of time: nothing can refill any more.
            return Err(Exhausted { retry_after: Duration::from_nanos(self.interval) });
        };
        let used = next - now;
        if used > self.capacity() {
            return Err(Exhausted { retry_after: Duration::from_nanos(used - self.capacity()) });
        }
        *full_at = next;
        Ok(())
    }

    /// Takes one request even from an empty bucket, as long as it is full again within `longest` after an empty one is.
    pub(super) fn charge(&self, full_at: &mut Nanos, now: Nanos, longest: Nanos) {
        let last = now.saturating_add(self.capacity()).saturating_add(longest);
        *full_at = (*full_at).max(now).saturating_add(self.interval).min(last);
    }

    pub(super) fn release(&self, full_at: &mut Nanos) {
        *full_at = full_at.saturating_sub(self.interval);
    }
}

pub(super) fn nanos(time: Duration) -> Nanos {
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(time.subsec_nanos()))
}
