//! Deployment mistakes that the first requests show.

use std::net::SocketAddr;
use std::str::FromStr;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tower_dcr::Preset;
use tower_dcr::clients::{MemoryLedger, Registrar};
use tower_dcr::layers::{GateEndpoint, Misconfiguration};
use tower_dcr::policy_file::ReloadableLayer;

use crate::support::{Naive, behind, send};

fn honest() -> http::request::Builder {
    Request::post("/register").header("content-type", "application/json")
}

const BODY: &str = r#"{"redirect_uris":["http://127.0.0.1/cb"]}"#;

/// Returns the findings after a number of registrations from an address.
async fn found(preset: Preset, peer: &str, count: usize, header: Option<(&str, &str)>) -> Vec<Misconfiguration> {
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
    preset.misconfigurations()
}

#[tokio::test]
async fn an_untrusted_proxy_is_logged() {
    let header = Some(("x-forwarded-for", "198.51.100.7"));
    let expected =
        |address: &str, forwards| vec![Misconfiguration::OneAddress { address: address.parse().unwrap(), forwards }];
    assert_eq!(found(tower_dcr::mcp(), "10.0.0.5", 19, header).await, []);
    assert_eq!(found(tower_dcr::mcp(), "10.0.0.5", 30, header).await, expected("10.0.0.5", true));
    assert_eq!(found(tower_dcr::mcp(), "127.0.0.1", 30, header).await, expected("127.0.0.1", true));
    assert_eq!(found(tower_dcr::mcp(), "fd00::5", 30, None).await, expected("fd00::5", false));
    assert_eq!(found(tower_dcr::mcp(), "100.64.0.1", 30, None).await, expected("100.64.0.1", false));
    // Development has no proxy; a public address is not a proxy.
    assert_eq!(found(tower_dcr::mcp(), "127.0.0.1", 30, None).await, []);
    assert_eq!(found(tower_dcr::mcp(), "203.0.113.7", 30, header).await, []);
    let trusting = || tower_dcr::mcp().with_trusted_proxies(["10.0.0.0/8"]).unwrap();
    assert_eq!(found(trusting(), "10.0.0.5", 30, header).await, []);
    assert_eq!(found(trusting(), "10.0.0.5", 30, None).await, expected("10.0.0.5", false), "it does not say");
    let said = expected("10.0.0.5", true)[0].to_string();
    assert!(said.contains("with_trusted_proxies([\"10.0.0.5\"])"), "{said}");
}

/// A file can only reach gates that the preset made.
#[tokio::test]
async fn a_gate_section_without_a_gate_is_logged() {
    let registrar = Registrar::new(MemoryLedger::default());
    let forgotten = |preset: &Preset| preset.misconfigurations().contains(&Misconfiguration::ForgottenGates);
    let register = async |layer: &ReloadableLayer| {
        send(&behind(layer, &Naive::default()), honest().body(Full::<Bytes>::from(BODY)).unwrap()).await;
    };
    for (policy, makes_gates, is_noticed) in [
        ("gate.unknown = 'reject'", false, true),
        ("gate.unknown = 'reject'", true, false),
        ("lifecycle.idle = '180days'", false, false),
    ] {
        let preset = Preset::from_str(policy).unwrap().with_registrar(registrar.clone());
        let layer = preset.clone().reloadable();
        let gates = makes_gates.then(|| layer.gate(GateEndpoint::Token, registrar.clone()));
        assert!(!forgotten(&preset), "{policy}: gates may still be made");
        register(&layer).await;
        assert_eq!(forgotten(&preset), is_noticed, "{policy} {gates:?}");
    }
    // The section comes with a later file.
    let preset = tower_dcr::mcp();
    let layer = preset.clone().reloadable();
    register(&layer).await;
    assert!(!forgotten(&preset));
    layer.replace(&Preset::from_str("gate.max_age = '1s'").unwrap()).unwrap();
    register(&layer).await;
    assert!(forgotten(&preset));
}

#[tokio::test]
async fn two_addresses_are_not_reported_as_a_proxy() {
    let preset = tower_dcr::mcp();
    let service = behind(&preset, &Naive::default());
    for number in 0..30 {
        let mut request = honest().body(Full::<Bytes>::from(BODY)).unwrap();
        request.extensions_mut().insert(SocketAddr::from(([10, 0, 0, u8::from(number > 10)], 1)));
        send(&service, request).await;
    }
    assert_eq!(preset.misconfigurations(), []);
}

#[tokio::test]
async fn findings_of_requests_are_logged_once() {
    let preset = tower_dcr::mcp();
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
    assert_eq!(preset.misconfigurations(), expected);
}

/// Callers can write two of them.
#[tokio::test]
async fn findings_are_bounded() {
    let preset = tower_dcr::mcp().without_rate_limits();
    let service = behind(&preset, &Naive::default());
    for number in 0..100 {
        let path = format!("/{number}{}", "x".repeat(1000));
        let form = Request::post(path).header("content-type", "multipart/form-data");
        send(&service, form.body(Full::<Bytes>::default()).unwrap()).await;
    }
    let found = preset.misconfigurations();
    assert_eq!(found.len(), 16);
    assert!(found.iter().all(|found| matches!(found, Misconfiguration::FormRoute { path } if path.len() == 100)));
}

#[test]
fn a_documents_section_without_a_fetcher_is_logged() {
    let found = |policy: &str| {
        let preset: Preset = policy.parse().unwrap();
        drop(behind(&preset, &Naive::default()));
        preset.misconfigurations().contains(&Misconfiguration::DocumentsWithoutFetch)
    };
    assert!(found("documents.admission = 'listed'\ndocuments.allow = ['https://app.example.com/c.json']"));
    assert!(!found("documents.admission = 'off'") && !found("extends = 'strict'") && !found(""));
}
