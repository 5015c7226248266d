//! Times in a configuration: `30 days`.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

#[cfg(feature = "policy-file")]
use crate::suggestion::Hint;
use crate::suggestion::Suggestion;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The longest time of a setting. Sums of times and dates can't overflow below it.
pub(crate) const LONGEST: Duration = Duration::from_secs(36_525 * DAY);

/// A duration with the text `90s`, `2h 30m` or `7days`; at most 100 years.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(into = "String")]
pub(crate) struct Period(pub(crate) Duration);

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = Period;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time like \"90s\", \"2h 30m\" or \"7days\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Period, E> {
                Period::read(text).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Reader)
    }
}

/// The longest lifetime, of what never ends. In files `"never"`.
pub(crate) const NEVER: Duration = Duration::MAX;

/// A [`Period`], or [`NEVER`].
pub(crate) struct Lifetime(pub(crate) Duration);

impl<'de> Deserialize<'de> for Lifetime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = Lifetime;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time like \"90s\", \"2h 30m\" or \"7days\", or \"never\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Lifetime, E> {
                if text == "never" {
                    return Ok(Lifetime(NEVER));
                }
                let read = Period::read(text).map(|Period(time)| Lifetime(time));
                read.map_err(|error| E::custom(ParsePeriodError { may_be_never: true, ..error }))
            }
        }

        deserializer.deserialize_str(Reader)
    }
}

impl Period {
    fn read(text: &str) -> Result<Self, ParsePeriodError> {
        let reason = match humantime::parse_duration(text) {
            Ok(time) if time <= LONGEST => return Ok(Self(time)),
            Ok(_) => None,
            Err(error) => Some(error),
        };
        Err(ParsePeriodError { text: text.to_owned(), reason, may_be_never: false })
    }
}

/// Reads and writes a time that may be absent.
#[cfg(any(feature = "jwt", feature = "software-statement"))]
pub(crate) mod if_any {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Period;

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Period>::deserialize(deserializer)?.map(|period| period.0))
    }

    #[expect(clippy::ref_option, reason = "serde hands a field over")]
    pub(crate) fn serialize<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        time.map(Period).serialize(serializer)
    }
}

/// A text that is no time, for a reason, or one that is too long.
#[derive(Debug, PartialEq)]
struct ParsePeriodError {
    text: String,
    reason: Option<humantime::DurationError>,
    /// `true` for a setting that may be "never".
    may_be_never: bool,
}

impl fmt::Display for ParsePeriodError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, reason, .. } = self;
        let most = Suggestion::AtMost(InWords(LONGEST).to_string());
        #[cfg(feature = "policy-file")]
        Hint::leave(|| {
            let suggestion = match reason {
                Some(_) if self.may_be_never => {
                    Suggestion::advice("write a number and a unit, like \"7days\", or \"never\"")
                }
                Some(_) => Suggestion::advice("write a number and a unit, like \"7days\""),
                None => most.clone(),
            };
            Hint { input: Some(text.clone()), suggestion: Some(suggestion) }
        });
        match reason {
            Some(reason) => write!(f, "{text:?} is not a time like \"90s\", \"2h 30m\" or \"7days\": {reason}"),
            None => write!(f, "{text:?} is out of range: it must be {}", most.as_demand()),
        }
    }
}

/// Reads and writes an optional [`Duration`] as a [`Period`].
pub(crate) mod optional {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Period;

    #[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
    pub(crate) fn serialize<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        time.map(Period).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Period>::deserialize(deserializer)?.map(|Period(time)| time))
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        if period.0 == NEVER {
            return "never".to_owned();
        }
        // Months and years are no whole number of days.
        match (period.0.as_secs(), period.0.subsec_nanos()) {
            (DAY, 0) => "1day".to_owned(),
            (seconds @ 1.., 0) if seconds.is_multiple_of(DAY) => format!("{}days", seconds / DAY),
            _ => humantime::format_duration(period.0).to_string(),
        }
    }
}

impl fmt::Debug for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Displays a time in words: `30 days`.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub(crate) struct InWords(pub(crate) Duration);

impl fmt::Display for InWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// The length of a year in humantime.
        const YEAR: u64 = 31_557_600;
        let seconds = self.0.as_secs();
        let units = [(YEAR, "year"), (DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (1, "second")];
        let exact = |(length, _): &&(u64, &str)| self.0.subsec_nanos() == 0 && seconds.is_multiple_of(*length);
        match units.iter().find(exact) {
            Some((_, _)) if seconds == 0 => f.write_str("0 seconds"),
            Some((length, unit)) => {
                let number = seconds / length;
                write!(f, "{number} {unit}{}", if number == 1 { "" } else { "s" })
            }
            None => humantime::format_duration(self.0).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_displayed_in_words() {
        for (seconds, words) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (90, "90 seconds"),
            (3600, "1 hour"),
            (30 * DAY, "30 days"),
            (LONGEST.as_secs(), "100 years"),
        ] {
            assert_eq!(InWords(Duration::from_secs(seconds)).to_string(), words);
        }
        assert_eq!(InWords(Duration::from_millis(1500)).to_string(), "1s 500ms");
    }

    #[test]
    fn whole_days_are_written_as_days() {
        for text in ["1day", "180days", "36500days", "1day 1h", "90s", "0s"] {
            let period = Period::read(text).unwrap();
            let written = String::from(period);
            assert_eq!(Period::read(&written), Ok(period), "{text}: {written}");
        }
        assert_eq!(String::from(Period::read("180days").unwrap()), "180days");
        assert_eq!(String::from(Period::read("24h").unwrap()), "1day");
        assert_eq!(String::from(Period::read("25h").unwrap()), "1day 1h");
    }

    #[test]
    fn only_a_lifetime_may_be_never() {
        let lifetime = |text: &str| serde_json::from_str::<Lifetime>(text).map(|Lifetime(time)| time);
        assert_eq!(lifetime("\"never\"").unwrap(), NEVER);
        assert_eq!(lifetime("\"7days\"").unwrap(), Duration::from_secs(7 * DAY));
        assert_eq!(String::from(Period(NEVER)), "never");
        for text in ["\"off\"", "\"Never\"", "\"1000years\"", "0"] {
            assert!(lifetime(text).is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Period>("\"never\"").is_err());
    }

    #[test]
    fn no_time_is_so_long_that_sums_overflow() {
        assert_eq!(Period::read("36500days").map(|time| time.0), Ok(Duration::from_secs(36_500 * DAY)));
        let error = Period::read("1000years").unwrap_err();
        assert_eq!(error.to_string(), "\"1000years\" is out of range: it must be at most 100 years");
    }
}
