//! A `client_id` is the same URL to a WHATWG parser, and to HTTP.

use http::uri::PathAndQuery;
use proptest::prelude::*;
use tower_dcr::documents::{ClientIdUrl, ClientIdUrlOptions};
use url::Url;

/// Returns `true` if the text is accepted, and panics if others read it otherwise.
fn is_read_alike(text: &str) -> bool {
    let options = ClientIdUrlOptions { query: true, ports: [443, 444, 8443].into() };
    let Ok(client) = ClientIdUrl::parse_with(text, &options) else { return false };
    let url = Url::parse(text).unwrap();
    assert_eq!(url.scheme(), "https");
    assert_eq!(url.host_str(), Some(client.host()));
    assert_eq!(url.port_or_known_default(), Some(client.port()));
    assert_eq!(url.path(), client.path());
    assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
    // A default port is the one thing that is spelled otherwise.
    assert_eq!(url.as_str(), text.replacen(":443/", "/", usize::from(client.authority().ends_with(":443"))));
    assert_eq!(text, format!("https://{}{}", client.authority(), client.path_and_query()));
    let target = PathAndQuery::try_from(client.path_and_query()).unwrap();
    assert_eq!(target.as_str(), client.path_and_query());
    assert_eq!((target.path(), target.query()), (url.path(), url.query()));
    true
}

#[test]
fn some_are_accepted() {
    for path in ["/client", "/a/b.json", "/a?b=c", "/%7E~!$&'()+,;=:@-._", "/a?b/c?d"] {
        for authority in ["app.example.com", "app.example.com:443", "xn--bcher-kva.example:8443"] {
            assert!(is_read_alike(&format!("https://{authority}{path}")), "{authority}{path}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_alike(text in "https:[/\\\\]{1,3}[a-z0-9.@:%\\[\\]\\\\ -]{1,20}[/\\\\?#][ -~]{0,20}") {
        is_read_alike(&text);
    }

    #[test]
    fn paths_are_read_alike(path in "(/([a-z.~;%2eEfF5cC]|%2e|[!-~]){0,6}){1,4}", query in "(\\?[ -~]{0,8})?", port in "(:(443|444|8443|0443|80)?)?") {
        is_read_alike(&format!("https://app.example.com{port}{path}{query}"));
    }

    #[test]
    fn hosts_are_read_alike(host in "([a-z0-9-]{1,8}|xn--[a-z0-9-]{1,8}|0x[0-9a-f]{1,4}|[0-9]{1,3}|\\PC|%[0-9a-f]{2}|[A-Z]){1,2}(\\.([a-z0-9-]{1,5}|com|example|[0-9]{1,3}|0x7f)){0,3}\\.?") {
        is_read_alike(&format!("https://{host}/client"));
    }
}
