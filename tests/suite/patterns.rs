//! Redirect URI patterns: what they match, and which can't be meant.

use tower_dcr::redirect_uri::RedirectUri;
use tower_dcr::rules::{ConfigError, Context, Decision, Policy, RedirectPattern, RedirectUris};

fn matches(pattern: &RedirectPattern, uri: &str) -> bool {
    RedirectUri::parse(uri).is_ok_and(|uri| pattern.matches(&uri))
}

#[test]
fn patterns_match_part_by_part() {
    for (pattern, uri, expected) in [
        ("https://app.example.com/cb", "https://app.example.com/cb", true),
        ("https://app.example.com/cb", "https://app.example.com/cb?x=1", false),
        ("https://app.example.com/cb", "https://app.example.com/cb/", false),
        ("https://app.example.com/cb", "https://app.example.com:8443/cb", false),
        ("https://app.example.com/cb/*", "https://app.example.com:443/cb/x", true),
        ("https://app.example.com:443/cb/*", "https://app.example.com/cb/x", true),
        ("https://app.example.com/*", "https://app.example.com/any/path?x=1", true),
        ("https://app.example.com/*", "https://app.example.com", true),
        ("https://app.example.com/oauth/*", "https://app.example.com/oauthx", false),
        ("https://app.example.com/oauth/*", "https://app.example.com/oauth/", true),
        ("https://app.example.com/oauth/*", "https://app.example.com/oauth/../cb", false),
        ("https://*.example.com/cb", "https://eu.example.com/cb", true),
        ("https://*.example.com/cb", "https://example.com/cb", false),
        ("https://*.example.com/cb", "https://a.b.example.com/cb", false),
        ("https://*.example.com/cb", "https://evil.net/x.example.com/cb", false),
        ("https://*.example.com/cb", "https://a.example.com.evil.net/cb", false),
        ("https://app.example.com:*/cb", "https://app.example.com:8443/cb", true),
        ("https://app.example.com:*/cb", "https://app.example.com/cb", true),
        ("https://*.example.com:8443/cb", "https://a.example.com:8443/cb", true),
        ("https://*.example.com:8443/cb", "https://a.example.com/cb", false),
        ("http://127.0.0.1:*/cb", "http://127.0.0.1:1/cb", true),
        ("http://127.0.0.1:*/cb", "http://localhost:1/cb", false),
        ("http://127.0.0.1:80/cb/*", "http://127.0.0.1/cb/x", true),
        ("http://127.0.0.1/cb/*", "http://127.0.0.1:80/cb/x", true),
        ("cursor://anysphere.cursor-mcp/*", "cursor://anysphere.cursor-mcp/oauth", true),
        ("cursor://anysphere.cursor-mcp/*", "cursor://evil.extension/oauth", false),
        ("com.example.app:/cb", "com.example.app:/cb", true),
        ("regex://h", "regex://h", true),
        ("https://app.example.com:443,8443/cb", "https://app.example.com/cb", true),
        ("https://app.example.com:443,8443/cb", "https://app.example.com:8443/cb", true),
        ("https://app.example.com:443,8443/cb", "https://app.example.com:9443/cb", false),
    ] {
        let read: RedirectPattern = pattern.parse().unwrap_or_else(|error| panic!("{pattern}: {error}"));
        assert_eq!(matches(&read, uri), expected, "{pattern} {uri}");
        let again: RedirectPattern = read.to_string().parse().unwrap();
        assert_eq!(matches(&again, uri), expected, "{read} {uri}");
    }
    let ports = "https://*.example.com:443,8443/*".parse::<RedirectPattern>().unwrap();
    assert!(matches(&ports, "https://a.example.com/x") && matches(&ports, "https://a.example.com:8443/x"));
    assert!(!matches(&ports, "https://a.example.com:9443/x") && !matches(&ports, "http://a.example.com/x"));
}

#[test]
fn rejects_invalid_patterns() {
    for pattern in [
        "",
        "*",
        "https://*",
        "https://*/cb",
        "https://*.com/cb",
        "https://a.*.example.com/cb",
        "https://a*.example.com/cb",
        "https://app.example.com/a*",
        "https://app.example.com/*/cb",
        "https://app.example.com/cb?x=*",
        "https://App.example.com/*",
        "https://user@app.example.com/*",
        "https://app.example.com:x/*",
        "https://app.example.com/../*",
        "https://app.example.com/cb#*",
        "https://127.0.0.1/*",
        "https://app.example.com:0/*",
    ] {
        assert!(
            matches!(
                pattern.parse::<RedirectPattern>(),
                Err(ConfigError::Pattern { .. }
                    | ConfigError::PathWildcard { .. }
                    | ConfigError::DomainWildcard { .. })
            ),
            "{pattern}"
        );
    }
    assert!(matches!("javascript://x/*".parse::<RedirectPattern>(), Err(ConfigError::DangerousScheme { .. })));
    assert!("javascript:alert(1)".parse::<RedirectPattern>().is_err());
    assert!(RedirectPattern::vendor_callbacks().all(|read| read.to_string().parse::<RedirectPattern>().is_ok()));
}

#[test]
fn regular_expressions_match_as_a_whole_or_not_at_all() {
    let regex = |text: &str| format!("regex: {text}").parse::<RedirectPattern>();
    let pattern = regex("https://(eu|us)\\.example\\.com/cb|https://app\\.example\\.com/cb").unwrap();
    assert!(matches(&pattern, "https://eu.example.com/cb") && matches(&pattern, "https://app.example.com/cb"));
    assert!(!matches(&pattern, "https://eu.example.com/cb2") && !matches(&pattern, "https://app.example.com/cb?x"));
    for escape in [")|(?:", "a)|(b", "(", "(?x)a #", "(?x)a # )"] {
        assert!(matches!(regex(escape), Err(ConfigError::Pattern { .. })), "{escape}");
    }
    // Flags end with the group that anchors.
    assert!(!matches(&regex("(?m)^https://app\\.example\\.com/cb$").unwrap(), "https://app.example.com/cb/more"));
    // A dangerous URI is rejected before patterns are compared.
    assert!(!matches(&regex(".*").unwrap(), "javascript:alert(1)"));
    // Nor does any pattern open plain http to another machine.
    let mut guard = RedirectUris::mcp();
    guard.patterns.push(regex(".*").unwrap());
    let registration = tower_dcr::Registration::parse(br#"{"redirect_uris":["http://app.example.com/cb"]}"#).unwrap();
    let evaluation = Policy::new(guard).evaluate(registration, &Context::registration());
    assert_eq!(evaluation.decision(), Decision::Reject);
}
