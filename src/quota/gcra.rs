//! The arithmetic of the generic cell rate algorithm.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Exhausted, Remaining};

/// Nanoseconds since the clock's origin: enough for 584 years.
pub(super) type Nanos = u64;

/// How many requests in how long, and how many at once. As text: `60/minute, burst 300`, by the second, the minute or the
/// hour; without a burst, as many at once as in that time.
///
/// ```
/// use std::num::NonZeroU32;
/// use std::time::Duration;
/// use tower_dcr::quota::Quota;
///
/// let quota = Quota::per_minute(NonZeroU32::new(30).unwrap()).allow_burst(NonZeroU32::new(5).unwrap());
/// assert_eq!((quota.interval(), quota.window()), (Duration::from_secs(2), Duration::from_secs(10)));
/// assert_eq!("30/minute, burst 5".parse(), Ok(quota));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
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

    /// What one of `nodes` may give away so that all together give no more than this, but for rounding: the rate by their
    /// number, and the burst by their number, rounded up, since nobody can come half.
    pub const fn share_of(self, nodes: NonZeroU32) -> Self {
        let burst = self.burst.get().div_ceil(nodes.get());
        let interval = self.interval.saturating_mul(nodes.get() as u64);
        Self { interval, burst: super::nonzero(burst) }
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

/// A quota that can't be read.
///
/// ```
/// use tower_dcr::quota::Quota;
///
/// let error = "60 per fortnight".parse::<Quota>().unwrap_err();
/// assert_eq!(error.to_string(), r#""60 per fortnight" is no quota like "60/minute" or "60/minute, burst 300""#);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseQuotaError(String);

impl fmt::Display for ParseQuotaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no quota like \"60/minute\" or \"60/minute, burst 300\"", self.0)
    }
}

impl std::error::Error for ParseQuotaError {}

/// The minute first, since it is what most are written by.
const PERIODS: [(&str, Nanos); 3] =
    [("minute", 60_000_000_000), ("second", 1_000_000_000), ("hour", 3_600_000_000_000)];

impl FromStr for Quota {
    type Err = ParseQuotaError;

    fn from_str(text: &str) -> Result<Self, ParseQuotaError> {
        let (rate, burst) = text.split_once(',').map_or((text, None), |(rate, burst)| (rate, Some(burst)));
        let read = || {
            let (count, period) = rate.split_once('/')?;
            let (_, period) = PERIODS.iter().find(|(name, _)| *name == period.trim())?;
            let quota = Self::per(count.trim().parse().ok()?, *period);
            match burst {
                Some(burst) => Some(quota.allow_burst(burst.trim().strip_prefix("burst ")?.trim().parse().ok()?)),
                None => Some(quota),
            }
        };
        read().ok_or_else(|| ParseQuotaError(text.to_owned()))
    }
}

/// Writes the text that the quota is read from.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_period = |(name, period): &(&'static str, Nanos)| {
            let count = period.saturating_add(self.interval / 2) / self.interval;
            let count = u32::try_from(count).ok().and_then(NonZeroU32::new)?;
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
    type Error = ParseQuotaError;

    fn try_from(text: String) -> Result<Self, ParseQuotaError> {
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
