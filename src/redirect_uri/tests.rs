use super::RedirectUriError::{Character, DangerousScheme, Fragment, Host, Path, Port, Scheme, UserInfo, Wildcard};
use super::*;

#[test]
fn strings_with_more_than_one_reading_are_no_redirect_uris() {
    for (raw, expected, why) in [
        ("", Scheme, "empty"),
        ("/cb", Scheme, "relative"),
        ("//app.example.com/cb", Scheme, "relative to a scheme"),
        ("HTTPS://app.example.com/cb", Scheme, "upper-case scheme"),
        ("https:app.example.com/cb", Host, "no slashes"),
        ("https:///cb", Host, "no host"),
        ("https://App.example.com/cb", Host, "upper-case host"),
        ("https://app.example.com./cb", Host, "trailing dot"),
        ("https://2130706433/cb", Host, "decimal IPv4"),
        ("https://0x7f.1/cb", Host, "hexadecimal IPv4"),
        ("https://127.0.0.1/cb", Host, "an address under https"),
        ("http://[::ffff:127.0.0.1]/cb", Host, "mapped IPv4"),
        ("https://xn--a.example.com/cb", Host, "invalid punycode"),
        ("https://ex%61mple.com/cb", Host, "escape in the host"),
        ("https://user@app.example.com/cb", UserInfo, "user information"),
        ("https://app.example.com:/cb", Port, "empty port"),
        ("https://app.example.com:0443/cb", Port, "leading zero"),
        ("http://localhost:0/cb", Port, "port zero"),
        ("http://localhost:65536/cb", Port, "port out of range"),
        ("https://app.example.com/cb#", Fragment, "empty fragment"),
        ("https://app.example.com/*", Wildcard, "wildcard"),
        ("https://app.example.com\\cb", Character, "backslash"),
        ("https://app.example.com/c b", Character, "space"),
        ("https://app.example.com/cb?x='", Character, "apostrophe in a query"),
        ("https://app.example.com/a/../cb", Path, "dot segment"),
        ("https://app.example.com/a/%2E%2e/cb", Path, "escaped dot segment"),
        ("https://app.example.com/a/..;/cb", Path, "dot segment with a parameter"),
        ("https://app.example.com/a%2Fb", Path, "escaped slash"),
        ("https://app.example.com/a%252e", Path, "twice escaped dot"),
        ("https://app.example.com/a%0d", Path, "escaped control"),
        ("https://app.example.com/a%c0%af", Path, "overlong UTF-8"),
        ("https://app.example.com/a%zz", Path, "malformed escape"),
        ("javascript:alert(1)", DangerousScheme, "runs code"),
        ("JavaScript:alert(1)", DangerousScheme, "runs code, in any case"),
        ("ms-word:ofe", DangerousScheme, "system handler"),
        ("com.example.app:cb", Path, "opaque"),
        ("cursor://user@host/cb", UserInfo, "user information"),
    ] {
        assert_eq!(RedirectUri::parse(raw), Err(expected), "{why}: {raw}");
    }
}

#[test]
fn returns_the_parts_of_a_uri() {
    for (raw, class, host, port, path) in [
        ("https://app.example.com", RedirectClass::Https, Some("app.example.com"), None, ""),
        ("https://app.example.com:8443/cb?x=1", RedirectClass::Https, Some("app.example.com"), Some(8443), "/cb"),
        ("https://app.example.com:443/cb", RedirectClass::Https, Some("app.example.com"), Some(443), "/cb"),
        ("http://127.0.0.1:80/cb", RedirectClass::Loopback, Some("127.0.0.1"), Some(80), "/cb"),
        ("http://[::1]:1234/", RedirectClass::Loopback, Some("[::1]"), Some(1234), "/"),
        ("http://localhost", RedirectClass::Loopback, Some("localhost"), None, ""),
        ("http://app.example.com/cb", RedirectClass::PlainHttp, Some("app.example.com"), None, "/cb"),
        ("com.example.app:/cb", RedirectClass::PrivateUse, None, None, "/cb"),
        ("cursor://anysphere.cursor-mcp/cb", RedirectClass::PrivateUse, Some("anysphere.cursor-mcp"), None, "/cb"),
        ("vscode:///cb", RedirectClass::PrivateUse, Some(""), None, "/cb"),
    ] {
        let uri = RedirectUri::parse(raw).unwrap_or_else(|error| panic!("{raw}: {error}"));
        assert_eq!((uri.as_str(), uri.class(), uri.host(), uri.port(), uri.path()), (raw, class, host, port, path));
    }
}

#[test]
fn only_the_port_of_a_loopback_uri_may_differ() {
    for (registered, requested, expected) in [
        ("http://127.0.0.1/cb", "http://127.0.0.1:51004/cb", true),
        ("http://127.0.0.1:1/cb", "http://127.0.0.1/cb", true),
        ("http://[::1]:1/cb?x=1", "http://[::1]:2/cb?x=1", true),
        ("http://localhost", "http://localhost:3000", true),
        ("http://localhost", "http://localhost:3000/", false),
        ("http://127.0.0.1/cb", "http://127.0.0.1:51004/cb/", false),
        ("http://127.0.0.1/cb", "http://127.0.0.1:51004/cb?x=1", false),
        ("http://127.0.0.1/cb", "http://localhost:51004/cb", false),
        ("http://127.0.0.1/cb", "http://127.0.0.1.evil.example.net:1/cb", false),
        ("http://127.0.0.1/cb", "https://127.0.0.1/cb", false),
        ("http://127.0.0.1/cb", "http://127.0.0.1:99999/cb", false),
        ("https://app.example.com/cb", "https://app.example.com:8443/cb", false),
        ("https://app.example.com/cb", "https://app.example.com/cb", true),
        ("https://app.example.com/cb", "https://app.example.com:443/cb", false),
        ("https://app.example.com:443/cb", "https://app.example.com:443/cb", true),
        ("http://127.0.0.1:80/cb", "http://127.0.0.1:51004/cb", true),
        ("https://app.example.com", "https://app.example.com/", false),
        ("com.example.app:/cb", "com.example.app:/cb", true),
        ("javascript:alert(1)", "javascript:alert(1)", false),
    ] {
        assert_eq!(matches(registered, requested), expected, "{registered} {requested}");
    }
}

#[test]
fn uris_that_a_url_parser_wrote_are_the_same() {
    for (one, other, same) in [
        ("http://localhost:3000/cb", "HTTP://LOCALHOST:3000/cb", true),
        ("https://app.example.com", "https://app.example.com/", true),
        ("https://app.example.com?x=1", "https://App.example.com/?x=1", true),
        ("https://app.example.com:443/cb", "https://app.example.com/cb", true),
        ("http://[::1]:80?x", "http://[::1]/?x", true),
        ("com.example.app:/cb", "com.example.app:/cb", true),
        ("https://app.example.com/cb", "https://app.example.com/CB", false),
        ("https://app.example.com/cb", "https://app.example.com/cb/", false),
        ("https://app.example.com:8443/cb", "https://app.example.com/cb", false),
        ("http://localhost/cb", "http://127.0.0.1/cb", false),
        ("http://localhost/cb", "https://localhost/cb", false),
        ("com.example.app:/cb", "com.example.app:/CB", false),
        ("cursor://Host/cb", "cursor://host/cb", false),
    ] {
        assert_eq!(is_same_uri(one, other), same, "{one} {other}");
        let parsed = [one, other].map(|uri| url::Url::parse(uri).unwrap());
        assert_eq!(parsed[0] == parsed[1], same, "{one} {other}: to a URL parser");
    }
}
