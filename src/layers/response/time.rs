//! Points in time, in the formats that servers use.

use std::time::UNIX_EPOCH;

use crate::registration::Value;

/// A bound in seconds: a larger number is another unit. It is reached as seconds in the year 5138.
const FAR: u64 = 100_000_000_000;
/// September 2001, before OAuth existed.
const LONG_AGO: u64 = 1_000_000_000;

/// Returns the seconds since the epoch (RFC 7591 section 3.2.1) of a value: a number, or text with one in it, of
/// seconds or of a fraction of them, or a date in ISO 8601. `None` if it is none of these.
pub(super) fn seconds(value: &Value<'_>) -> Option<u64> {
    match value {
        Value::Number(text) => number(text).map(of_any_unit),
        Value::String(text) => number(text.trim()).map(of_any_unit).or_else(|| date(text.trim())),
        _ => None,
    }
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok().or_else(|| {
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)?;
        format!("{:.0}", number.floor()).parse().ok()
    })
}

/// Converts milliseconds, microseconds or nanoseconds to seconds. A number that would then be before 2001 is read as
/// seconds: some servers write the end of the year 9999 for "never".
fn of_any_unit(mut time: u64) -> u64 {
    while time > FAR && time / 1000 >= LONG_AGO {
        time /= 1000;
    }
    time
}

fn date(text: &str) -> Option<u64> {
    if !text.is_ascii() || text.len() > 40 {
        return None;
    }
    let text = text.to_ascii_uppercase();
    let (local, offset) = split_offset(&text)?;
    let local = if local.len() == 10 { format!("{local}T00:00:00") } else { local.to_owned() };
    let time = humantime::parse_rfc3339_weak(&local).ok()?.duration_since(UNIX_EPOCH).ok()?;
    time.as_secs().checked_add_signed(-offset)
}

/// Splits `+02:00` or `-0530` off a time, as seconds.
fn split_offset(text: &str) -> Option<(&str, i64)> {
    let time = text.find(['T', ' ']).unwrap_or(text.len());
    let Some(at) = text.get(time..).and_then(|clock| clock.find(['+', '-'])).map(|at| time + at) else {
        return Some((text, 0));
    };
    let (local, offset) = text.split_at_checked(at)?;
    let digits: String = offset.chars().skip(1).filter(|c| *c != ':').collect();
    let (hours, minutes) = (digits.get(..2)?.parse::<u32>().ok()?, digits.get(2..).filter(|it| !it.is_empty()));
    let minutes = minutes.map_or(Ok(0), str::parse::<u32>).ok()?;
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = i64::from(hours * 60 + minutes) * 60;
    Some((local, if offset.starts_with('-') { -seconds } else { seconds }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_time_is_read() {
        for (text, expected) in [
            ("1760000000", Some(1_760_000_000)),
            ("1760000000.9", Some(1_760_000_000)),
            ("1.76e9", Some(1_760_000_000)),
            ("1760000000000", Some(1_760_000_000)),
            ("1760000000123456", Some(1_760_000_000)),
            ("1760000000123456789", Some(1_760_000_000)),
            ("253402300799", Some(253_402_300_799)),
            ("0", Some(0)),
            (" 1760000000 ", Some(1_760_000_000)),
            ("2025-10-09T08:53:20Z", Some(1_760_000_000)),
            ("2025-10-09t08:53:20.123z", Some(1_760_000_000)),
            ("2025-10-09 08:53:20", Some(1_760_000_000)),
            ("2025-10-09T10:53:20+02:00", Some(1_760_000_000)),
            ("2025-10-09T03:23:20-0530", Some(1_760_000_000)),
            ("2025-10-09", Some(1_759_968_000)),
            ("-1", None),
            ("inf", None),
            ("NaN", None),
            ("", None),
            ("soon", None),
            ("2025-10-09T08:53:20+99:00", None),
            ("2025-13-09T08:53:20Z", None),
            ("1969-12-31T00:00:00Z", None),
            ("2025-10-09T08:53:20+", None),
        ] {
            assert_eq!(seconds(&Value::String(text)), expected, "{text}");
        }
        assert_eq!(seconds(&Value::Number("1760000000.0")), Some(1_760_000_000));
        assert_eq!(seconds(&Value::Number("-1")), None);
        assert_eq!(seconds(&Value::Bool(true)), None);
    }
}
