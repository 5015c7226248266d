//! Freshness of a response (RFC 9111), as a function of its fields and the time.
//!
//! Three things are left out on purpose:
//!
//! - the apparent age (section 4.2.3), which is the time of this machine minus `Date`: clocks differ by more than a lifetime, and a host
//!   that wants a short one says so. `Date` only is what `Expires` counts from; `Age` counts;
//! - `must-revalidate` and `proxy-revalidate` (section 5.2.2), which forbid to use a stale response. The last good document stays
//!   in force for `documents.max_stale` at most while its host can't be reached, since a person would be locked out by an outage elsewhere;
//!   an operator sets it to zero;
//! - heuristic freshness (section 4.2.2): `Last-Modified` is not read, and `documents.default_age` is the answer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The bounds of the time for which a document is used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) min: Duration,
    pub(super) default: Duration,
    pub(super) max: Duration,
}

/// The longest entity tag that is sent back.
const MAX_ETAG: usize = 256;

/// Returns the time for which a response is fresh from `now` on, within the bounds. `now` is the time since 1970. The default is for
/// a response that says nothing but its age.
///
/// A response that forbids storage is fresh for the least time only: a cache that fetches for every request would let
/// anyone send as many requests to the host as they send here.
pub(super) fn lifetime(headers: &HeaderMap, now: Duration, bounds: Bounds) -> Duration {
    let least = bounds.min.min(bounds.max);
    let said = match said(headers, now) {
        Said::Nothing => bounds.default.saturating_sub(age(headers)),
        Said::Stale => least,
        Said::Fresh(time) => time,
    };
    said.clamp(least, bounds.max.max(least))
}

/// Returns the entity tag of a response, if it has exactly one that is well formed and short.
pub(super) fn etag(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut tags = headers.get_all(header::ETAG).iter();
    let tag = tags.next().filter(|tag| tag.len() <= MAX_ETAG)?;
    let bytes = tag.as_bytes();
    let opaque = bytes.strip_prefix(b"W/").unwrap_or(bytes).strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    // RFC 9110 section 8.8.3: etagc = %x21 / %x23-7E / obs-text.
    let is_well_formed = opaque.iter().all(|byte| matches!(byte, 0x21 | 0x23..=0x7E));
    (is_well_formed && tags.next().is_none()).then(|| tag.clone())
}

#[derive(Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Stale,
    Fresh(Duration),
}

fn said(headers: &HeaderMap, now: Duration) -> Said {
    let mut ages = Ages::default();
    for value in headers.get_all(header::CACHE_CONTROL) {
        // RFC 9111 section 4.2.1: "consider responses with invalid freshness information to be stale".
        let Ok(text) = value.to_str() else { return Said::Stale };
        if !ages.read(text) {
            return Said::Stale;
        }
    }
    let varies = headers.get_all(header::VARY).iter().any(|value| value.as_bytes().contains(&b'*'));
    if ages.forbids || varies {
        return Said::Stale;
    }
    // Section 4.2.1: s-maxage, then max-age, then Expires minus Date.
    let lifetime = match (ages.shared.or(ages.any), headers.contains_key(header::EXPIRES)) {
        (Some(seconds), _) => Duration::from_secs(seconds),
        (None, false) => return Said::Nothing,
        (None, true) => match (date(headers, &header::EXPIRES), date(headers, &header::DATE)) {
            (Some(expires), sent) => expires.saturating_sub(sent.unwrap_or(now)),
            // Section 5.3: "A cache recipient MUST interpret invalid date formats, especially the value "0", as representing a
            // time in the past".
            (None, _) => return Said::Stale,
        },
    };
    let left = lifetime.saturating_sub(age(headers));
    if left.is_zero() { Said::Stale } else { Said::Fresh(left) }
}

/// Returns the time that a response has spent in caches. Several ages, or one that is none, say that some cache on the way is wrong.
fn age(headers: &HeaderMap) -> Duration {
    let ages = headers.get_all(header::AGE).iter();
    let ages = ages.map(|age| age.to_str().ok().and_then(delta_seconds).unwrap_or(u64::MAX));
    Duration::from_secs(ages.max().unwrap_or(0))
}

/// Returns the one date of a field, as the time since 1970.
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<Duration> {
    let mut dates = headers.get_all(name).iter();
    let (only, None) = (dates.next()?, dates.next()) else { return None };
    let date: SystemTime = httpdate::parse_http_date(only.to_str().ok()?).ok()?;
    date.duration_since(UNIX_EPOCH).ok()
}

/// The directives of `Cache-Control` that matter.
#[derive(Debug, Default)]
struct Ages {
    shared: Option<u64>,
    any: Option<u64>,
    forbids: bool,
}

impl Ages {
    /// Reads a field. Returns `false` if it is malformed.
    fn read(&mut self, text: &str) -> bool {
        let mut rest = text;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                return true;
            }
            let end = rest.find(['=', ',', ' ', '\t', '"']).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            let (value, after) = match after.strip_prefix('=') {
                None => (None, after),
                Some(quoted) if quoted.starts_with('"') => {
                    let Some((value, after)) = quoted_string(quoted) else { return false };
                    (Some(value), after)
                }
                Some(token) => {
                    let end = token.find([',', ' ', '\t', '"']).unwrap_or(token.len());
                    let (value, after) = token.split_at(end);
                    (Some(value.to_owned()), after)
                }
            };
            rest = after.trim_start_matches([' ', '\t']);
            if name.is_empty() || !(rest.is_empty() || rest.starts_with(',')) || !self.take(name, value.as_deref()) {
                return false;
            }
        }
    }

    /// Takes one directive. Returns `false` if its value is malformed.
    fn take(&mut self, name: &str, value: Option<&str>) -> bool {
        let age = match name.to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" | "private" => {
                self.forbids = true;
                return true;
            }
            "s-maxage" => &mut self.shared,
            "max-age" => &mut self.any,
            _ => return true,
        };
        let Some(seconds) = value.and_then(delta_seconds) else { return false };
        // Section 4.2.1: of several values, "either the first occurrence should be used or the response should be considered
        // stale". The least of them is neither longer than the first nor another's to choose.
        *age = Some(age.map_or(seconds, |other| other.min(seconds)));
        true
    }
}

/// Splits a quoted string (RFC 9110 section 5.6.4) off, with its content.
fn quoted_string(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut characters = inner.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, inner.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            character => value.push(character),
        }
    }
    None
}

/// Reads delta-seconds (RFC 9111 section 1.2.2): digits, of which too many are very long.
fn delta_seconds(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(1 << 31).min(1 << 31))
}

#[cfg(test)]
#[path = "freshness/oracle.rs"]
mod oracle;

#[cfg(test)]
mod tests {
    use proptest::option::of;
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds =
        Bounds { min: Duration::from_secs(300), default: Duration::from_secs(3600), max: Duration::from_secs(86_400) };
    const NOW: Duration = Duration::from_secs(1_700_000_000);

    fn seconds(fields: &[(&'static str, &str)]) -> u64 {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        lifetime(&headers, NOW, BOUNDS).as_secs()
    }

    #[test]
    fn a_lifetime_is_what_the_response_says_within_bounds() {
        for (value, expected) in [
            ("max-age=1000", 1000),
            ("MAX-AGE=1000", 1000),
            ("max-age=\"1000\"", 1000),
            ("public , max-age=1000,", 1000),
            ("max-age=0", 300),
            ("max-age=60", 300),
            ("max-age=1000000000000", 86_400),
            ("max-age=99999999999999999999999999", 86_400),
            ("max-age=-1", 300),
            ("max-age=", 300),
            ("max-age", 300),
            ("max-age=1e9", 300),
            ("max-age=2000, max-age=1000", 1000),
            ("max-age=1000, s-maxage=2000", 2000),
            ("s-maxage=\"2000\", max-age=9000", 2000),
            ("no-store", 300),
            ("max-age=5000, no-store", 300),
            ("max-age=5000, private=\"x\"", 300),
            ("no-cache=\"x, max-age=9000\"", 300),
            ("extension=\"x, max-age=9000\"", 3600),
            ("extension=\"x, max-age=9000\", max-age=1000", 1000),
            ("extension=\"x\\\", no-store\", max-age=1000", 1000),
            ("max-age=5000 \"", 300),
            ("max-age = 5000", 300),
            ("extension=\"open, max-age=5000", 300),
            ("public", 3600),
            ("", 3600),
        ] {
            assert_eq!(seconds(&[("cache-control", value)]), expected, "{value}");
        }
    }

    #[test]
    fn age_dates_and_vary_count() {
        let max_age = ("cache-control", "max-age=5000");
        assert_eq!(seconds(&[]), 3600);
        assert_eq!(seconds(&[max_age, ("age", "1000")]), 4000);
        assert_eq!(seconds(&[max_age, ("age", "1000"), ("age", "2000")]), 3000);
        for age in ["5000", "99999999999999999999", "-1", "x"] {
            assert_eq!(seconds(&[max_age, ("age", age)]), 300, "{age}");
        }
        assert_eq!(seconds(&[("age", "1000")]), 2600, "of the default");
        assert_eq!(seconds(&[("age", "x")]), 300);
        assert_eq!(seconds(&[max_age, ("vary", "Accept, *")]), 300);
        assert_eq!(seconds(&[max_age, ("vary", "Accept")]), 5000);
        // 2023-11-14 22:13:20 is NOW.
        let expires = ("expires", "Tue, 14 Nov 2023 23:13:20 GMT");
        assert_eq!(seconds(&[expires]), 3600);
        assert_eq!(seconds(&[expires, ("date", "Tue, 14 Nov 2023 22:43:20 GMT")]), 1800);
        assert_eq!(seconds(&[expires, max_age]), 5000);
        for past in ["0", "garbage", "Tue, 14 Nov 2000 23:13:20 GMT"] {
            assert_eq!(seconds(&[("expires", past)]), 300, "{past}");
        }
        assert_eq!(seconds(&[expires, expires]), 300);
        assert_eq!(seconds(&[("cache-control", "max-age=9000"), ("cache-control", "max-age=8000")]), 8000);
        assert_eq!(seconds(&[("cache-control", "max-age=\u{e9}")]), 300);
    }

    #[test]
    fn an_entity_tag_is_one_short_well_formed_one() {
        let read = |tags: &[&str]| {
            let mut headers = HeaderMap::new();
            for tag in tags {
                headers.append(header::ETAG, HeaderValue::from_bytes(tag.as_bytes()).unwrap());
            }
            etag(&headers).map(|tag| tag.to_str().unwrap().to_owned())
        };
        let longest = format!("\"{}\"", "x".repeat(MAX_ETAG - 2));
        for tag in ["\"abc\"", "W/\"abc\"", "\"\"", longest.as_str()] {
            assert_eq!(read(&[tag]).as_deref(), Some(tag));
        }
        let long = format!("\"{}\"", "x".repeat(MAX_ETAG - 1));
        for tags in
            [&["abc"][..], &["\"a\"b\""], &["\"a b\""], &["w/\"a\""], &["\"a\"", "\"b\""], &["\""], &[&long], &[]]
        {
            assert_eq!(read(tags), None, "{tags:?}");
        }
    }

    fn http_date(time: u64) -> String {
        httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(time))
    }

    proptest! {
        /// A response that says one thing in each of its fields has the lifetime that another cache gives it, within the bounds.
        #[test]
        fn the_lifetime_is_that_of_another_cache(
            ages in (of(0..=1_u32 << 31), of(0..=1_u32 << 31)),
            dates in (of(0..4_000_000_000_u64), of(1_600_000_000..1_800_000_000_u64)),
            age in of(0..200_000_u32),
            more in prop::sample::subsequence(vec!["public", "must-revalidate", "immutable", "x=1"], 0..=4),
            vary in of("[a-z]{1,8}(, [a-z]{1,8})?"),
        ) {
            prop_assume!(ages != (None, None) || dates.0.is_some());
            let shared = ages.0.map(|age| format!("s-maxage={age}"));
            let any = ages.1.map(|age| format!("max-age={age}"));
            let control: Vec<String> = more.into_iter().map(str::to_owned).chain(shared).chain(any).collect();
            let fields = [
                (header::CACHE_CONTROL, Some(control.join(", ")).filter(|control| !control.is_empty())),
                (header::EXPIRES, dates.0.map(http_date)),
                (header::DATE, dates.1.map(http_date)),
                (header::AGE, age.map(|age| age.to_string())),
                (header::VARY, vary),
            ];
            let fields = fields.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::try_from(value?).unwrap())));
            let headers: HeaderMap = fields.collect();
            let expected = oracle::lifetime(&headers, NOW).clamp(BOUNDS.min, BOUNDS.max);
            prop_assert_eq!(lifetime(&headers, NOW, BOUNDS), expected, "{:?}", headers);
        }

        /// Whatever is written, no lifetime is longer than another cache's.
        #[test]
        fn no_lifetime_is_longer_than_that_of_another_cache(
            fields in prop::collection::vec((
                prop::sample::select(oracle::FIELDS.to_vec()),
                prop_oneof![
                    "[ ,]{0,2}(max-age|s-maxage|no-store|private|no-cache|public|x)([= ]{1,2}[0-9a-z+-]{0,5})?(, ?(max-age|s-maxage|no-cache)(=[0-9]{0,5})?){0,2}",
                    (0..4_000_000_000_u64).prop_map(http_date),
                    "[ -~]{0,12}",
                    "[0-9]{1,5}",
                    Just("*".to_owned()),
                ],
            ), 0..6),
            least in 0..600_u64,
        ) {
            let fields = fields.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?)));
            let headers: HeaderMap = fields.collect();
            oracle::check(&headers, NOW, Duration::from_secs(least));
        }
    }
}
