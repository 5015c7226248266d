//! Outages: of the ledger, and of the host of a document.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use serde_json::json;
use tower::{Layer, ServiceExt, service_fn};
use tower_dcr::audit::LifecycleAction;
use tower_dcr::clients::Registrar;
use tower_dcr::clock::ManualClock;
use tower_dcr::documents::Documents;
use tower_dcr::layers::{GateEndpoint, ResponseBody};

use super::node::{MINUTE, Node, query, unlimited};
use super::web::{CALLBACK, URL, Web, json_response, response};
use crate::down::Down;
use crate::world::START;

/// Gates know clients for a minute and five seconds without a ledger: those of documents, too. Its freshness can't be written then.
#[tokio::test]
async fn a_ledger_that_is_down_ends_no_sign_in_at_once() {
    let (web, ledger, clock) = (Web::start().await, Down::default(), Arc::new(ManualClock::new(START)));
    web.publish_with(URL, "Cache-Control: max-age=300\r\n", json!({}));
    ledger.is_up.store(true, Ordering::SeqCst);
    let registrar = Registrar::new(ledger.clone()).with_clock(clock.clone());
    let documents = Documents::new(web.fetcher()).with_clock(clock.clone());
    let preset = unlimited(tower_dcr::mcp()).with_registrar(registrar.clone()).with_documents(documents);
    let gate = preset.gate(GateEndpoint::Authorization, registrar.clone()).with_clock(clock.clone());
    let authorize = gate.layer(service_fn(async |_: Request<ResponseBody<Body>>| {
        let redirect = Response::builder().status(302).header("location", format!("{CALLBACK}?code=c"));
        Ok::<_, Infallible>(redirect.body(Body::empty()).unwrap())
    }));
    let authorize = async || {
        let request = Request::get(format!("/authorize?{}", query(URL, CALLBACK))).body(Body::empty()).unwrap();
        authorize.clone().oneshot(request).await.unwrap().status().as_u16()
    };
    assert_eq!(authorize().await, 302);
    clock.advance(Duration::from_secs(2));
    assert_eq!(authorize().await, 302, "reads the record");
    ledger.is_up.store(false, Ordering::SeqCst);
    clock.advance(Duration::from_secs(40));
    assert_eq!(authorize().await, 302);
    clock.advance(Duration::from_secs(24));
    assert_eq!(authorize().await, 302);
    clock.advance(Duration::from_secs(2));
    assert_eq!(authorize().await, 503, "66 seconds");
    ledger.is_up.store(true, Ordering::SeqCst);
    clock.advance(3 * MINUTE);
    assert_eq!(authorize().await, 302);
    // The age of the document ends in the outage.
    ledger.is_up.store(false, Ordering::SeqCst);
    clock.advance(MINUTE);
    let before = web.requests();
    assert_eq!(authorize().await, 302, "a fetch whose time can't be written");
    assert_eq!(web.requests(), before + 1);
    web.answer(URL, |_| response("503 Service Unavailable", "", b""));
    ledger.is_up.store(true, Ordering::SeqCst);
    assert_eq!(authorize().await, 302);
}

/// Each gate has a memory of its own of the record.
#[tokio::test]
async fn a_host_that_is_down_is_reported_once() {
    let node = Node::start(unlimited(tower_dcr::mcp())).await;
    node.web.answer(URL, |_| json_response("Cache-Control: max-age=300\r\n", &super::web::document(URL, json!({}))));
    assert_eq!(node.authorize(URL).await, 302);
    node.web.answer(URL, |_| response("503 Service Unavailable", "", b""));
    for _ in 0..3 {
        node.clock.advance(6 * MINUTE);
        for _ in 0..10 {
            assert_eq!(node.authorize(URL).await, 302);
            node.push(URL, CALLBACK).await;
        }
    }
    let lines = node.events.lines();
    let reported = lines.iter().filter(|line| line.contains(&LifecycleAction::DocumentUnreachable.to_string()));
    assert_eq!(reported.count(), 1, "{lines:?}");
    node.web.publish(URL, json!({}));
    node.clock.advance(12 * MINUTE);
    assert_eq!(node.authorize(URL).await, 302);
    assert_eq!(node.record(URL).await.unwrap().document.unwrap().unreachable_since, None);
}
