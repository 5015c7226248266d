//! The arithmetic of the generic cell rate algorithm.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Exhausted;
use crate::rules::{ConfigError, NOT_A_QUOTA};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
#[must_use]
pub struct Quota {
    /// The time in which one request refills.
    interval: Nanos,
    burst: NonZeroU32,
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

    pub(super) fn release(&self, full_at: &mut Nanos) {
        *full_at = full_at.saturating_sub(self.interval);
    }
}

/// The largest count and burst of a quota that is read from text.
const MAX_COUNT: u32 = 10_000_000;

/// The longest time in which the burst of a quota that is read from text refills: 30 days.
const MAX_WINDOW: Nanos = 30 * 24 * 3_600_000_000_000;

/// The minute first, since most quotas are written by the minute.
const PERIODS: [(&str, Nanos); 3] =
    [("minute", 60_000_000_000), ("second", 1_000_000_000), ("hour", 3_600_000_000_000)];

impl FromStr for Quota {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        Self::read(text).map_err(|reason| ConfigError::Quota { text: text.to_owned(), reason })
    }
}

impl Quota {
    fn read(text: &str) -> Result<Self, &'static str> {
        let (rate, burst) = text.split_once(',').map_or((text, None), |(rate, burst)| (rate, Some(burst)));
        let (count, period) = rate.split_once('/').ok_or(NOT_A_QUOTA)?;
        let (_, period) = PERIODS.iter().find(|(name, _)| *name == period.trim()).ok_or(NOT_A_QUOTA)?;
        let quota = Self::per(count_of(count)?, *period);
        let quota = match burst {
            Some(burst) => quota.allow_burst(count_of(burst.trim().strip_prefix("burst ").ok_or(NOT_A_QUOTA)?)?),
            None => quota,
        };
        if quota.capacity() > MAX_WINDOW {
            Err("has a burst that takes more than 30 days to refill")
        } else {
            Ok(quota)
        }
    }
}

fn count_of(text: &str) -> Result<NonZeroU32, &'static str> {
    let digits = text.trim();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NOT_A_QUOTA);
    }
    // More digits than fit are too many.
    let count = digits
        .parse()
        .ok()
        .filter(|count| *count <= MAX_COUNT)
        .ok_or("allows more than 10000000, which limits nothing")?;
    NonZeroU32::new(count).ok_or("allows nothing, and a quota allows at least 1")
}

/// Writes the text that [`Quota::from_str`] reads.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_period = |(name, period): &(&'static str, Nanos)| {
            let count = period.saturating_add(self.interval / 2) / self.interval;
            // The text must be readable again.
            let count = u32::try_from(count).ok().filter(|count| *count <= MAX_COUNT).and_then(NonZeroU32::new)?;
            (Self::per(count, *period).interval == self.interval).then_some((count, *name))
        };
        let Some((count, name)) = PERIODS.iter().find_map(in_period) else {
            return write!(f, "one in {:?}, burst {}", self.interval(), self.burst);
        };
        write!(f, "{count}/{name}")?;
        if count == self.burst { Ok(()) } else { write!(f, ", burst {}", self.burst) }
    }
}

impl TryFrom<String> for Quota {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

impl From<Quota> for String {
    fn from(quota: Quota) -> Self {
        quota.to_string()
    }
}

pub(super) fn nanos(time: Duration) -> Nanos {
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(time.subsec_nanos()))
}
