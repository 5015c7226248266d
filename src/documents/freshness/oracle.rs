//! Another reader of the same fields. The fuzz target `freshness` includes this file, too.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, Request, Response, header};
use http_cache_semantics::{CacheOptions, CachePolicy};

use super::Bounds;

/// The fields that say something about freshness.
pub(crate) const FIELDS: [HeaderName; 5] =
    [header::AGE, header::CACHE_CONTROL, header::DATE, header::EXPIRES, header::VARY];

/// Returns the lifetime for a shared cache without heuristics.
pub(crate) fn lifetime(headers: &HeaderMap, now: Duration) -> Duration {
    let (request, mut response) = (Request::new(()), Response::new(()));
    response.headers_mut().clone_from(headers);
    let options = CacheOptions {
        shared: true,
        cache_heuristic: 0.0,
        immutable_min_time_to_live: Duration::ZERO,
        ignore_cargo_cult: false,
    };
    let now = UNIX_EPOCH + now;
    CachePolicy::new_options(&request, &response, now, options).time_to_live(now)
}

/// Asserts that the lifetime is at most that of `http-cache-semantics`, or `least`.
pub(crate) fn check(headers: &HeaderMap, now: Duration, least: Duration) {
    let ours = |default| {
        let bounds = Bounds { min: least, default: Duration::from_secs(default), max: Duration::from_secs(1 << 31) };
        super::lifetime(headers, now, bounds)
    };
    // Nothing is said: the default is another one here and there.
    if ours(1 << 30) != ours(1 << 29) || differs(headers) {
        return;
    }
    let (ours, other) = (ours(0), lifetime(headers, now));
    assert!(ours <= other.max(least), "{headers:?}: {ours:?}, {other:?}");
}

/// Returns `true` if the other reader departs from RFC 9111: quoted strings, capitals, long numbers, other forms of dates, and
/// `proxy-revalidate`, which it takes for a lifetime.
fn differs(headers: &HeaderMap) -> bool {
    let is_other_control = |text: &str| {
        let is_long = text.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > 19);
        is_long || text.contains("proxy-revalidate") || text.contains(|c: char| c == '"' || c.is_ascii_uppercase())
    };
    let is_other_date = |text: &str| match httpdate::parse_http_date(text) {
        Ok(date) => httpdate::fmt_http_date(date) != text,
        Err(_) => true,
    };
    let has = |name, is_other: &dyn Fn(&str) -> bool| {
        let mut values = headers.get_all(name).iter();
        values.any(|value| value.to_str().is_ok_and(is_other))
    };
    let several = [header::DATE, header::EXPIRES].iter().any(|name| headers.get_all(name).iter().count() > 1);
    several
        || has(header::CACHE_CONTROL, &is_other_control)
        || has(header::DATE, &is_other_date)
        || has(header::EXPIRES, &|text| {
            !text.is_empty() && httpdate::parse_http_date(text).is_ok() && is_other_date(text)
        })
}
