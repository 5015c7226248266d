//! Any forwarding headers: no panic, no unbounded work, and no address from an untrusted peer.
#![no_main]

use std::net::SocketAddr;

use http::{Extensions, HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use tower_dcr::client_address::{ClientAddress, ForwardedHeader};

fuzz_target!(|lines: Vec<Vec<u8>>| {
    let mut headers = HeaderMap::new();
    for line in lines.iter().take(16) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append("x-forwarded-for", value.clone());
            headers.append("forwarded", value);
        }
    }
    for header in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
        let address = ClientAddress::new().with_forwarded_header(header);
        let trusting = address.clone().with_trusted_proxies(["10.0.0.0/8"]).expect("a network");
        let mut extensions = Extensions::new();
        extensions.insert(SocketAddr::from(([10, 0, 0, 5], 1)));
        assert_eq!(address.resolve(&headers, &extensions), Some([10, 0, 0, 5].into()));
        assert!(trusting.resolve(&headers, &extensions).is_some(), "the peer is known");
    }
});
