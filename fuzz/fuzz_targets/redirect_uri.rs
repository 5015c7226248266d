//! A redirect URI is the same URL to a WHATWG parser, character by character.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_dcr::redirect_uri::{RedirectUri, matches};
use tower_dcr::rules::RedirectPattern;
use url::Url;

fuzz_target!(|raw: &str| {
    let pattern = raw.parse::<RedirectPattern>();
    let Ok(uri) = RedirectUri::parse(raw) else {
        // An address is compared as well: an operator may list it (`danger_private_origins`).
        let is_address = |url: Url| url.host().is_some_and(|host| !matches!(host, url::Host::Domain(_)));
        assert!(!matches(raw, raw) || Url::parse(raw).is_ok_and(is_address));
        return;
    };
    let read = Url::parse(raw).expect("a URL");
    // An empty path and a default port are the two things that are spelled otherwise.
    let (before, after) = raw.split_at(raw.find('?').unwrap_or(raw.len()));
    let is_web = matches!(uri.scheme(), "http" | "https");
    let slash = if uri.path().is_empty() && is_web { "/" } else { "" };
    let mut written = format!("{before}{slash}{after}");
    match (uri.scheme(), uri.port()) {
        ("https", Some(443)) => written = written.replacen(":443/", "/", 1),
        ("http", Some(80)) => written = written.replacen(":80/", "/", 1),
        _ => {}
    }
    assert_eq!(read.as_str(), written);
    assert_eq!(read.scheme(), uri.scheme());
    assert_eq!(read.host_str().unwrap_or_default(), uri.host().unwrap_or_default());
    assert!(read.username().is_empty() && read.password().is_none() && read.fragment().is_none());
    assert!(matches(raw, raw));
    if let Ok(pattern) = pattern {
        assert!(pattern.matches(&uri));
    }
});
