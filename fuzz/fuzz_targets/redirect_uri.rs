//! What is a redirect URI here is the same URL to a WHATWG parser, letter by letter.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_dcr::policy::RedirectPattern;
use tower_dcr::redirect_uri::{RedirectUri, matches};
use url::Url;

fuzz_target!(|raw: &str| {
    let pattern = raw.parse::<RedirectPattern>();
    let Ok(uri) = RedirectUri::parse(raw) else {
        assert!(!matches(raw, raw));
        return;
    };
    let read = Url::parse(raw).expect("a URL");
    // An empty path is the one thing that is spelled otherwise.
    let (before, after) = raw.split_at(raw.find('?').unwrap_or(raw.len()));
    assert!(read.as_str() == raw || (uri.path().is_empty() && read.as_str() == format!("{before}/{after}")), "{read}");
    assert_eq!(read.scheme(), uri.scheme());
    assert_eq!(read.host_str().unwrap_or_default(), uri.host().unwrap_or_default());
    assert_eq!(read.port(), uri.port());
    assert!(read.username().is_empty() && read.password().is_none() && read.fragment().is_none());
    assert!(matches(raw, raw));
    if let Ok(pattern) = pattern {
        assert!(pattern.matches(&uri));
    }
});
