//! Bounds of settings: no setting is a limit that nothing passes, or no limit at all.

use std::fmt;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::period::{InWords, Period};
#[cfg(feature = "policy-file")]
use crate::suggestion::Hint;
use crate::suggestion::Suggestion;

/// The longest time that a body may take, whatever is configured.
pub(crate) const LONGEST_BODY: Duration = Duration::from_secs(600);

/// Returns the bound that a value is beyond.
pub(crate) fn broken<T: PartialOrd + fmt::Display>(value: &T, least: &T, most: &T) -> Option<Suggestion> {
    if value < least {
        return Some(Suggestion::AtLeast(least.to_string()));
    }
    (value > most).then(|| Suggestion::AtMost(most.to_string()))
}

/// A value beyond a bound, in a policy file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OutOfRange {
    pub(crate) value: String,
    pub(crate) bound: Suggestion,
}

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, bound } = self;
        #[cfg(feature = "policy-file")]
        Hint::leave(|| Hint { input: None, suggestion: Some(bound.clone()) });
        write!(f, "{value} is out of range: it must be {}", bound.as_demand())
    }
}

/// Reads a number from `LEAST` to `MOST`.
pub(crate) fn number<'de, D, T, const LEAST: u64, const MOST: u64>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<usize>,
{
    let number = i128::from(i64::deserialize(deserializer)?);
    if let Some(bound) = broken(&number, &LEAST.into(), &MOST.into()) {
        return Err(D::Error::custom(OutOfRange { value: number.to_string(), bound }));
    }
    let read = usize::try_from(number).ok().and_then(|number| T::try_from(number).ok());
    // The bounds of this crate fit into their types.
    read.ok_or_else(|| D::Error::custom(format_args!("{number} is out of range")))
}

/// Reads a time from `LEAST` to `MOST` milliseconds.
pub(crate) fn time<'de, D: Deserializer<'de>, const LEAST: u64, const MOST: u64>(
    deserializer: D,
) -> Result<Period, D::Error> {
    let Period(time) = Period::deserialize(deserializer)?;
    let (least, most) = (Duration::from_millis(LEAST), Duration::from_millis(MOST));
    match broken(&InWords(time), &InWords(least), &InWords(most)) {
        Some(bound) => Err(D::Error::custom(OutOfRange { value: InWords(time).to_string(), bound })),
        None => Ok(Period(time)),
    }
}

/// Reads a file of at most 64 KiB, such as one with a key: a device has no end.
pub(crate) fn read_small(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;

    const MOST: u64 = 64 << 10;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "more than 64 KiB"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_out_of_range_is_reported_with_its_bound() {
        let read = |text: &str| number::<_, u16, 2, 64>(&mut serde_json::Deserializer::from_str(text));
        assert_eq!(read("64").unwrap(), 64);
        for (text, words) in [("1", "at least 2"), ("65", "at most 64"), ("-7", "at least 2"), ("100000", "at most 64")]
        {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text} is out of range: it must be {words}")), "{error}");
        }
    }
}
