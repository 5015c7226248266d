//! A `client_id` that is a URL is the same URL to a WHATWG parser, and the same target to HTTP.
#![no_main]

use http::uri::PathAndQuery;
use libfuzzer_sys::fuzz_target;
use tower_dcr::documents::{ClientIdUrl, ClientIdUrlOptions};
use url::Url;

fuzz_target!(|raw: &str| {
    let options = ClientIdUrlOptions { query: true, ports: [443, 8443].into() };
    let Ok(client) = ClientIdUrl::parse_with(raw, &options) else {
        assert!(ClientIdUrl::parse(raw).is_err(), "options accept more, never less");
        return;
    };
    assert_eq!(client.as_str(), raw);
    assert_eq!(raw, format!("https://{}{}", client.authority(), client.path_and_query()));
    let read = Url::parse(raw).expect("a URL");
    assert_eq!((read.scheme(), read.host_str()), ("https", Some(client.host())));
    assert_eq!((read.port_or_known_default(), read.path()), (Some(client.port()), client.path()));
    assert!(read.username().is_empty() && read.password().is_none() && read.fragment().is_none());
    // A default port is the one thing that is spelled otherwise.
    let written = if client.authority().ends_with(":443") { raw.replacen(":443/", "/", 1) } else { raw.to_owned() };
    assert_eq!(read.as_str(), written);
    let target = PathAndQuery::try_from(client.path_and_query()).expect("a target");
    assert_eq!((target.as_str(), target.path()), (client.path_and_query(), client.path()));
    assert_eq!(target.query(), read.query());
    if let Ok(plain) = ClientIdUrl::parse(raw) {
        assert_eq!(plain, client);
        assert_eq!((plain.port(), read.query()), (443, None));
    }
});
