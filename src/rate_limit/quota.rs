//! A [`Quota`] as text.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Quota;
use super::gcra::Nanos;
use crate::rules::{ConfigError, NOT_A_QUOTA};

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

impl<'de> Deserialize<'de> for Quota {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Quota {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
