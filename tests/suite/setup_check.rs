//! What the first requests say of the server around.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tower_dcr::Preset;
use tower_dcr::setup_check::Misconfiguration;

use crate::support::{Naive, behind, send};

fn honest() -> http::request::Builder {
    Request::post("/register").header("content-type", "application/json")
}

const BODY: &str = r#"{"redirect_uris":["http://127.0.0.1/cb"]}"#;

/// What is found after so many registrations from an address.
async fn found(preset: Preset, peer: &str, count: usize, header: Option<(&str, &str)>) -> Vec<Misconfiguration> {
    let check = preset.setup_check();
    let service = behind(&preset, &Naive::default());
    for _ in 0..count {
        let mut request = honest();
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let mut request = request.body(Full::<Bytes>::from(BODY)).unwrap();
        request.extensions_mut().insert(SocketAddr::new(peer.parse().unwrap(), 1));
        send(&service, request).await;
    }
    check.found()
}

#[tokio::test]
async fn a_proxy_whose_word_is_not_taken_is_noticed() {
    let header = Some(("x-forwarded-for", "198.51.100.7"));
    let expected =
        |address: &str, forwards| vec![Misconfiguration::OneAddress { address: address.parse().unwrap(), forwards }];
    assert_eq!(found(Preset::mcp(), "10.0.0.5", 19, header).await, []);
    assert_eq!(found(Preset::mcp(), "10.0.0.5", 30, header).await, expected("10.0.0.5", true));
    assert_eq!(found(Preset::mcp(), "127.0.0.1", 30, header).await, expected("127.0.0.1", true));
    assert_eq!(found(Preset::mcp(), "fd00::5", 30, None).await, expected("fd00::5", false));
    assert_eq!(found(Preset::mcp(), "100.64.0.1", 30, None).await, expected("100.64.0.1", false));
    // Who develops has no proxy; who is on the internet is nobody's.
    assert_eq!(found(Preset::mcp(), "127.0.0.1", 30, None).await, []);
    assert_eq!(found(Preset::mcp(), "203.0.113.7", 30, header).await, []);
    let trusting = || Preset::mcp().with_trusted_proxies(["10.0.0.0/8"]).unwrap();
    assert_eq!(found(trusting(), "10.0.0.5", 30, header).await, []);
    assert_eq!(found(trusting(), "10.0.0.5", 30, None).await, expected("10.0.0.5", false), "it does not say");
    let said = expected("10.0.0.5", true)[0].to_string();
    assert!(said.contains("with_trusted_proxies([\"10.0.0.5\"])"), "{said}");
}

#[tokio::test]
async fn two_addresses_are_no_proxy() {
    let preset = Preset::mcp();
    let check = preset.setup_check();
    let service = behind(&preset, &Naive::default());
    for number in 0..30 {
        let mut request = honest().body(Full::<Bytes>::from(BODY)).unwrap();
        request.extensions_mut().insert(SocketAddr::from(([10, 0, 0, u8::from(number > 10)], 1)));
        send(&service, request).await;
    }
    assert_eq!(check.found(), []);
}

#[tokio::test]
async fn what_requests_show_is_noted_once() {
    let preset = Preset::mcp();
    let check = preset.setup_check();
    let service = behind(&preset, &Naive::default());
    for _ in 0..3 {
        let form = Request::post("/token").header("content-type", "application/x-www-form-urlencoded; charset=utf-8");
        send(&service, form.body(Full::<Bytes>::from("grant_type=x")).unwrap()).await;
        let plain = r#"{"redirect_uris":["https://app.example.com/cb","http://app.example.com/cb"]}"#;
        send(&service, honest().body(Full::<Bytes>::from(plain)).unwrap()).await;
        send(&service, honest().body(Full::<Bytes>::from(r#"{"redirect_uris":["javascript:alert(1)"]}"#)).unwrap())
            .await;
    }
    let expected = [
        Misconfiguration::NoPeerAddress,
        Misconfiguration::FormRoute { path: "/token".into() },
        Misconfiguration::PlainHttpHost { host: "app.example.com".into() },
    ];
    assert_eq!(check.found(), expected);
}

/// Callers can write two of them.
#[tokio::test]
async fn nobody_fills_the_memory_with_findings() {
    let preset = Preset::mcp().without_rate_limits();
    let check = preset.setup_check();
    let service = behind(&preset, &Naive::default());
    for number in 0..100 {
        let path = format!("/{number}{}", "x".repeat(1000));
        let form = Request::post(path).header("content-type", "multipart/form-data");
        send(&service, form.body(Full::<Bytes>::default()).unwrap()).await;
    }
    let found = check.found();
    assert_eq!(found.len(), 16);
    assert!(found.iter().all(|found| matches!(found, Misconfiguration::FormRoute { path } if path.len() == 100)));
}
