use super::*;

fn resolve(header: ForwardedHeader, peer: &str, lines: &[&str]) -> Option<String> {
    let address = ClientAddress::new()
        .with_trusted_proxies(["10.0.0.0/8", "fd00::/8", "192.0.2.1"])
        .unwrap()
        .with_forwarded_header(header);
    let mut extensions = Extensions::new();
    extensions.insert(peer.parse::<SocketAddr>().unwrap());
    let mut headers = HeaderMap::new();
    let name = match header {
        ForwardedHeader::Forwarded => "forwarded",
        ForwardedHeader::XForwardedFor => "x-forwarded-for",
    };
    for line in lines {
        headers.append(name, line.parse().unwrap());
    }
    address.resolve(&headers, &extensions).map(|address| address.to_string())
}

#[test]
fn forwarding_headers_count_as_far_as_they_are_vouched_for() {
    use ForwardedHeader::{Forwarded, XForwardedFor};
    for (header, peer, lines, expected) in [
        (XForwardedFor, "203.0.113.7:1", &["198.51.100.9"][..], "203.0.113.7"),
        (XForwardedFor, "10.0.0.5:1", &["198.51.100.9"], "198.51.100.9"),
        (XForwardedFor, "10.0.0.5:1", &["1.2.3.4, 198.51.100.9, 10.0.0.6"], "198.51.100.9"),
        (XForwardedFor, "10.0.0.5:1", &["1.2.3.4", "198.51.100.9"], "198.51.100.9"),
        (XForwardedFor, "10.0.0.5:1", &["198.51.100.9:4711"], "198.51.100.9"),
        (XForwardedFor, "10.0.0.5:1", &["[2001:db8::1]:4711"], "2001:db8::1"),
        (XForwardedFor, "10.0.0.5:1", &["::ffff:198.51.100.9"], "198.51.100.9"),
        (XForwardedFor, "[::ffff:10.0.0.5]:1", &["198.51.100.9"], "198.51.100.9"),
        (XForwardedFor, "10.0.0.5:1", &["1.2.3.4, nobody"], "10.0.0.5"),
        (XForwardedFor, "10.0.0.5:1", &["1.2.3.4, nobody, 10.0.0.6"], "10.0.0.6"),
        (XForwardedFor, "10.0.0.5:1", &[""], "10.0.0.5"),
        (XForwardedFor, "10.0.0.5:1", &["192.0.2.1, 10.0.0.6"], "192.0.2.1"),
        (Forwarded, "10.0.0.5:1", &["for=198.51.100.9;proto=https"], "198.51.100.9"),
        (Forwarded, "10.0.0.5:1", &["for=1.2.3.4, proto=https;For=\"[2001:db8::1]:4711\""], "2001:db8::1"),
        (Forwarded, "10.0.0.5:1", &["for=\"1.2.3.4, for=198.51.100.9"], "10.0.0.5"),
        (Forwarded, "10.0.0.5:1", &["by=\";for=1.2.3.4;\";for=198.51.100.9"], "198.51.100.9"),
        (Forwarded, "10.0.0.5:1", &["for=_hidden"], "10.0.0.5"),
        (Forwarded, "203.0.113.7:1", &["for=198.51.100.9"], "203.0.113.7"),
    ] {
        assert_eq!(resolve(header, peer, lines).as_deref(), Some(expected), "{header:?} {peer} {lines:?}");
    }
}

#[test]
fn an_ipv6_subscriber_is_one_client() {
    let address = ClientAddress::new();
    let network = |text: &str| address.network(text.parse().unwrap());
    assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::1"));
    assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
    assert_eq!(network("198.51.100.9"), network("::ffff:198.51.100.9"));
    assert_ne!(network("198.51.100.9"), network("198.51.100.8"));
    let whole = ClientAddress::new().with_ipv6_prefix(128);
    assert_ne!(whole.network("2001:db8::1".parse().unwrap()), whole.network("2001:db8::2".parse().unwrap()));
    let least = ClientAddress::new().with_ipv6_prefix(0);
    assert_eq!(least.network("2001:db8::1".parse().unwrap()).to_string(), "2001:db8::", "not everybody is one client");
}

#[test]
fn rejects_invalid_networks() {
    for value in ["10.0.0.0/33", "localhost", "", "::ffff:10.0.0.0/104"] {
        let error = ClientAddress::new().with_trusted_proxies([value]).unwrap_err();
        assert_eq!(error, ConfigError::Cidr { value: value.into() });
    }
    assert_eq!(ClientAddress::new().resolve(&HeaderMap::new(), &Extensions::new()), None);
}

#[test]
fn networks_are_those_of_the_carried_address() {
    let network = |address: &str| ClientAddress::new().network(address.parse().unwrap()).to_string();
    for (address, expected) in [
        ("64:ff9b::c000:201", "192.0.2.1"),
        ("64:ff9b::c000:202", "192.0.2.2"),
        ("2002:c000:201:7::1", "192.0.2.1"),
        ("2002:c000:201:8::1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("64:ff9b:1::c000:201", "64:ff9b:1::"),
        ("2001:db8:0:7::1", "2001:db8:0:7::"),
    ] {
        assert_eq!(network(address), expected, "{address}");
    }
}

#[test]
fn proxies_are_told_from_clients() {
    for (trusted, peer, field, expected) in [
        ("10.0.0.0/8", "10.0.0.5:1", Some("x-forwarded-for"), false),
        ("10.0.0.0/8", "10.0.0.5:1", Some("forwarded"), true),
        ("10.0.0.0/8", "10.0.0.5:1", None, true),
        ("10.0.0.0/8", "203.0.113.7:1", Some("x-forwarded-for"), false),
        ("192.0.2.0/24", "10.0.0.5:1", Some("x-forwarded-for"), true),
        ("192.0.2.0/24", "10.0.0.5:1", Some("x-forwarded-proto"), true),
        ("192.0.2.0/24", "127.0.0.1:1", Some("via"), true),
        ("192.0.2.0/24", "[fd00::5]:1", Some("forwarded"), true),
        ("192.0.2.0/24", "[::ffff:10.0.0.5]:1", Some("x-real-ip"), true),
        ("192.0.2.0/24", "10.0.0.5:1", None, false),
        // Any client on the internet can write it.
        ("192.0.2.0/24", "203.0.113.7:1", Some("x-forwarded-for"), false),
    ] {
        let address = ClientAddress::new().with_trusted_proxies([trusted]).unwrap();
        let mut headers = HeaderMap::new();
        if let Some(field) = field {
            headers.insert(HeaderName::from_static(field), "198.51.100.9".parse().unwrap());
        }
        let mut extensions = Extensions::new();
        extensions.insert(peer.parse::<SocketAddr>().unwrap());
        assert_eq!(address.finds_proxy(&headers, &extensions), expected, "{trusted} {peer} {field:?}");
    }
    assert!(!ClientAddress::new().finds_proxy(&HeaderMap::new(), &Extensions::new()), "nothing is known");
    let malformed = ClientAddress::new().with_trusted_proxies(["10.0.0.5"]).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("x-forwarded-for", "unknown".parse().unwrap());
    let mut extensions = Extensions::new();
    extensions.insert(SocketAddr::from(([10, 0, 0, 5], 1)));
    assert!(!malformed.finds_proxy(&headers, &extensions), "a client can cause that");
}
