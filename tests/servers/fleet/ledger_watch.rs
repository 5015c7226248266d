//! An outage opens the circuit of the ledger; a failing query does not.

use std::convert::Infallible;
use std::str::FromStr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use tower_dcr::clients::Revocation;
use tower_dcr::clients::{Actor, LedgerError};
use tower_dcr::{
    Preset,
    layers::{GateEndpoint, GateLayer},
};

use crate::down::Down;
use crate::world::{World, metadata, token};

/// Returns the number of ledger calls by twenty registrations and twenty sign-ins, all of which have to wait.
async fn asked(is_outage: bool) -> (usize, usize) {
    let ledger = Down { is_outage, ..Down::default() };
    let asked = ledger.asked.clone();
    let world = World::new(ledger);
    for number in 0..20 {
        let answer = world.register(&metadata(&format!("App {number}"))).await;
        assert!(answer.status == 503 && answer.error() == "temporarily_unavailable", "{answer:?}");
    }
    let by_registrations = asked.swap(0, Ordering::SeqCst);
    for number in 0..20 {
        let answer = world.token(&format!("client-{number}")).await;
        assert!(answer.status == 503 && answer.error() == "temporarily_unavailable", "{answer:?}");
    }
    (by_registrations, asked.load(Ordering::SeqCst))
}

#[tokio::test]
async fn an_outage_opens_the_circuit_of_the_ledger() {
    // Reads and writes have circuits of their own, which open after five failures in a row.
    let (by_registrations, by_sign_ins) = asked(true).await;
    assert!((5..=10).contains(&by_registrations) && by_sign_ins <= 5, "{by_registrations} and {by_sign_ins}");
}

/// Otherwise, an attacker with a failing query could lock all others out.
#[tokio::test]
async fn a_failing_query_does_not_open_the_circuit() {
    let (by_registrations, by_sign_ins) = asked(false).await;
    assert!(by_registrations >= 20 && by_sign_ins >= 20, "{by_registrations} and {by_sign_ins}");
}

#[test]
fn errors_tell_outages_from_failing_queries() {
    assert!(LedgerError::outage("connection refused").is_outage());
    assert!(!LedgerError::new("no such column").is_outage());
}

/// The status that a gate, which remembers nothing for longer than it must, answers a client with.
async fn status(gate: GateLayer, grace: Option<Duration>, before: impl AsyncFnOnce(), client: &str) -> u16 {
    let handler = service_fn(async |_: Request<_>| Ok::<_, Infallible>(Response::new(Body::from("a token"))));
    let gate = gate.map_settings(|gate| (gate.max_age, gate.grace) = (Some(Duration::from_millis(1)), grace));
    let gate = gate.with_cache_capacity(10).layer(handler);
    assert_eq!(gate.clone().oneshot(token(client)).await.unwrap().status(), 200);
    tokio::time::sleep(Duration::from_millis(20)).await;
    before().await;
    gate.oneshot(token(client)).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn recently_used_clients_pass_during_a_ledger_outage() {
    let ledger = Down { is_outage: true, ..Down::default() };
    let is_up = ledger.is_up.clone();
    let up = |now: bool| is_up.store(now, Ordering::SeqCst);
    up(true);
    let world = World::new(ledger);
    let client = world.client("App").await;
    let another = world.client("Another").await;
    let gate = || GateLayer::new(GateEndpoint::Token, world.registrar.clone());
    let stale = |millis| Some(Duration::from_millis(millis));
    assert_eq!(status(gate(), None, async || up(false), &client).await, 200);
    up(true);
    assert_eq!(status(gate(), stale(0), async || up(false), &client).await, 503);
    up(true);
    assert_eq!(status(gate(), stale(5), async || up(false), &client).await, 503);
    up(true);
    // Records read before a revocation on this node do not count: they could be the revoked one.
    let revoke = async || {
        let revocation = Revocation::client(&another, Actor::Operator("alice".into()), "abuse");
        world.registrar.revoke(revocation).await.unwrap();
        up(false);
    };
    assert_eq!(status(gate(), None, revoke, &client).await, 503);
    up(true);
    // A policy file has the last word.
    let preset = Preset::from_str("gate.grace = '0s'").unwrap();
    let gate = preset.gate(GateEndpoint::Token, world.registrar.clone());
    assert_eq!(status(gate, stale(60_000), async || up(false), &client).await, 503);
}
