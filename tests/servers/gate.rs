//! The gate in front of every endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_dcr::audit::LifecycleAction;
use tower_dcr::clients::{Actor, Fingerprint, Ledger, MemoryLedger, Origin, Status};
use tower_dcr::clients::{Registrar, Revocation};
use tower_dcr::clock::ManualClock;
use tower_dcr::layers::{GateEndpoint, GateLayer};
use tower_dcr::rules::Action;

use crate::down::Down;
use crate::world::{DAY, World, metadata, serde_urlencoded, token};

fn operator() -> Actor {
    Actor::Operator("alice".into())
}

fn post(path: &str, form: &[(&str, &str)]) -> Request<Body> {
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    request.body(Body::from(serde_urlencoded(form))).unwrap()
}

#[tokio::test]
async fn each_endpoint_rejects_in_its_own_form() {
    let world = World::new(MemoryLedger::default());
    let id = world.client("App").await;
    world.registrar.revoke(Revocation::client(&id, operator(), "x")).await.unwrap();
    for path in ["/token", "/par", "/introspect", "/device"] {
        let answer = world.send(post(path, &[("client_id", &id)])).await;
        assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"), "{path}");
        assert_eq!(answer.headers["cache-control"], "no-store", "{path}");
        let challenge = answer.headers["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("Bearer"), "{path}: nobody used Authorization, and no browser may ask");
        let mut basic = post(path, &[]);
        let credentials = format!("Basic {}", BASE64_STANDARD.encode(format!("{id}:")));
        basic.headers_mut().insert(header::AUTHORIZATION, credentials.parse().unwrap());
        let answer = world.send(basic).await;
        assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"), "{path}");
        assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Basic"), "{path}");
    }
    assert_eq!(world.send(post("/revoke", &[("client_id", &id), ("token", "t")])).await.status, 200);
    let browser = Request::get(format!("/authorize?client_id={id}")).header(header::ACCEPT, "text/html,*/*;q=0.8");
    let page = world.send(browser.body(Body::empty()).unwrap()).await;
    assert_eq!(page.status, 400);
    assert!(!page.headers.contains_key("location"));
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert!(page.headers.contains_key("content-security-policy"));
    let json = Request::get(format!("/authorize?client_id={id}")).header(header::ACCEPT, "application/json");
    let answer = world.send(json.body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_client"));
    assert!(!world.events.of(LifecycleAction::Rejected).is_empty());
}

#[tokio::test]
async fn rejections_repeat_no_text_of_the_request() {
    let world = World::new(MemoryLedger::default());
    let id = world.client("App").await;
    let page = world.authorize(&id, "https://evil.example.com/<script>alert(1)</script>").await;
    assert_eq!(page.status, 400);
    assert!(
        !page.text.contains("evil") && !page.text.contains("<script") && !page.text.contains("alert"),
        "{}",
        page.text
    );
}

#[tokio::test]
async fn redirect_uris_are_checked_again() {
    let world = World::new(MemoryLedger::default());
    let one = world.client("App").await;
    let two =
        json!({ "client_name": "Two", "redirect_uris": ["http://127.0.0.1:1/a", "https://app.example.com/cb?x=1"] });
    let two = world.register(&two).await.client_id();
    let rows = [
        (&one, Some("http://127.0.0.1:3118/callback"), 200),
        (&one, Some("http://127.0.0.1:50000/callback"), 200),
        (&one, Some("http://127.0.0.1/callback"), 200),
        (&one, Some("http://localhost:3118/callback"), 400),
        (&one, Some("http://127.0.0.1:3118/callback/"), 400),
        (&one, Some("http://127.0.0.1:99999/callback"), 400),
        (&one, Some("https://127.0.0.1:3118/callback"), 400),
        (&one, Some("javascript:alert(1)"), 400),
        (&one, None, 200),
        (&two, Some("https://app.example.com/cb?x=1"), 200),
        (&two, Some("https://app.example.com/cb?x=2"), 400),
        (&two, Some("https://app.example.com/cb"), 400),
        (&two, None, 400),
    ];
    for (id, redirect_uri, status) in rows {
        let mut query = vec![("client_id", id.as_str()), ("response_type", "code")];
        query.extend(redirect_uri.map(|uri| ("redirect_uri", uri)));
        let authorize = Request::get(format!("/authorize?{}", serde_urlencoded(&query))).body(Body::empty()).unwrap();
        assert_eq!(world.send(authorize).await.status, status, "{redirect_uri:?}");
        assert_eq!(world.send(post("/par", &query)).await.status, status, "{redirect_uri:?}, pushed");
    }
}

#[tokio::test]
async fn only_an_issued_token_extends_a_client() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    let (used, unused) = (world.client("Used").await, world.client("Unused").await);
    world.clock.advance(6 * DAY);
    assert_eq!(world.token(&used).await.status, 200);
    // The server does not know it any more: no token, no proof.
    world.server.clients.lock().unwrap().remove(&unused);
    assert_eq!(world.token(&unused).await.status, 401);
    assert_eq!(ledger.find(&unused).await.unwrap().unwrap().last_used_at, None);
    for _ in 0..20 {
        world.clock.advance(40 * DAY);
        assert_eq!(world.token(&used).await.status, 200);
    }
    assert_eq!(world.token(&unused).await.status, 401);
    assert_eq!(ledger.find(&unused).await.unwrap().unwrap().status, Status::Expired);
    // Idle for less than the limit, whenever it was last written down.
    world.clock.advance(89 * DAY);
    assert_eq!(world.token(&used).await.status, 200);
    world.clock.advance(136 * DAY);
    assert_eq!(world.token(&used).await.status, 401);
    assert_eq!(world.server.deprovisioned.lock().unwrap().len(), 0, "told by the maintenance");
    world.registrar.maintain_once().await.unwrap();
    assert_eq!(world.server.deprovisioned.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_client_with_a_live_refresh_token_never_expires() {
    let world = World::new(MemoryLedger::default());
    let id = world.client("App").await;
    assert_eq!(world.token(&id).await.status, 200);
    world.server.in_use.lock().unwrap().insert(id.clone());
    for _ in 0..10 {
        world.clock.advance(200 * DAY);
        let maintained = world.registrar.maintain_once().await.unwrap();
        assert_eq!((maintained.expired, maintained.kept), (0, 1));
    }
    assert_eq!(world.token(&id).await.status, 200);
    world.server.in_use.lock().unwrap().clear();
    world.clock.advance(200 * DAY);
    assert_eq!(world.registrar.maintain_once().await.unwrap().expired, 1);
}

#[tokio::test]
async fn unknown_clients_pass_and_are_noted_once_they_got_a_token() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    world.server.clients.lock().unwrap().insert("old".into(), json!({}));
    assert_eq!(world.authorize("old", "https://anywhere.example.com/").await.status, 200);
    assert_eq!(ledger.find("old").await.unwrap(), None, "anybody can send anything here");
    assert_eq!(world.token("nobody").await.status, 401);
    assert_eq!(ledger.find("nobody").await.unwrap(), None);
    assert_eq!(world.token("old").await.status, 200);
    let old = ledger.find("old").await.unwrap().unwrap();
    assert_eq!((old.origin, old.status, old.expires_at), (Origin::Elsewhere, Status::Active, None));
    assert_eq!(world.authorize("old", "https://anywhere.example.com/").await.status, 200);
    world.clock.advance(1000 * DAY);
    assert_eq!(world.token("old").await.status, 200, "what we did not register does not expire");
    world.registrar.revoke(Revocation::client("old", operator(), "x")).await.unwrap();
    assert_eq!(world.token("old").await.status, 401);
}

/// Counts how often it is asked.
fn gated(
    layer: GateLayer,
) -> (
    impl Service<Request<Body>, Response = http::Response<impl Sized>, Error = std::convert::Infallible> + Clone,
    Arc<AtomicU32>,
) {
    let asked = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&asked);
    let service = ServiceBuilder::new().layer(layer).service(service_fn(move |_: Request<_>| {
        counter.fetch_add(1, Ordering::SeqCst);
        async { Ok(axum::response::Response::new(Body::empty())) }
    }));
    (service, asked)
}

/// "a+b" is "a b" to one server and "a+b" to another.
#[tokio::test]
async fn rejects_a_client_name_with_two_readings() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    for id in ["a b", "a+b"] {
        *world.server.answer.lock().unwrap() = Some((201, json!({ "client_id": id })));
        assert_eq!(world.register(&metadata(id)).await.client_id(), id);
    }
    let mut revocation = Revocation::client("a+b", operator(), "x");
    revocation.blocks = false;
    world.registrar.revoke(revocation).await.unwrap();
    let mut basic = post("/token", &[("grant_type", "x")]);
    let credentials = format!("Basic {}", BASE64_STANDARD.encode("a+b:"));
    basic.headers_mut().insert(header::AUTHORIZATION, credentials.parse().unwrap());
    let answer = world.send(basic).await;
    assert_eq!(answer.error(), "invalid_client");
    assert_eq!(world.events.of(LifecycleAction::Rejected).len(), 1, "by the gate, and not by the server");
}

/// A gate that rejects unknown clients.
fn strict() -> GateLayer {
    GateLayer::new(GateEndpoint::Token, Registrar::new(MemoryLedger::default()))
        .map_settings(|gate| gate.unknown = Some(Action::Reject))
}

#[tokio::test]
async fn preflights_pass() {
    let (token_route, asked) = gated(strict());
    let preflight = Request::options("/token").header("origin", "https://app.example.com").body(Body::empty()).unwrap();
    assert_eq!(token_route.oneshot(preflight).await.unwrap().status(), 200);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn unknown_clients_can_be_rejected() {
    let (token_route, asked) = gated(strict());
    let unknown = token_route.clone().oneshot(token("nobody")).await.unwrap();
    assert_eq!(unknown.status(), 401);
    let unidentified = token_route.oneshot(post("/token", &[("grant_type", "x")])).await.unwrap();
    assert_eq!(unidentified.status(), 400, "it is no reason to register again");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

/// As the documentation of the gate says: one read for a known client and none within the age of the cache, two for an
/// unknown one, none for a request that is rejected by its form.
#[tokio::test]
async fn a_request_costs_the_documented_number_of_ledger_reads() {
    let ledger = Down::default();
    ledger.is_up.store(true, Ordering::SeqCst);
    let world = World::new(ledger.clone());
    let id = world.client("App").await;
    let clock = Arc::new(ManualClock::new(Duration::from_secs(1000)));
    let gate = GateLayer::new(GateEndpoint::Authorization, world.registrar.clone()).with_clock(clock.clone());
    let (gate, _) = gated(gate);
    let reads = async |query: &str, status: u16| {
        let before = ledger.asked.load(Ordering::SeqCst);
        let request = Request::get(format!("/authorize?{query}")).body(Body::empty()).unwrap();
        assert_eq!(gate.clone().oneshot(request).await.unwrap().status(), status, "{query}");
        ledger.asked.load(Ordering::SeqCst) - before
    };
    let known = format!("client_id={id}&redirect_uri=http%3A%2F%2F127.0.0.1%3A4711%2Fcallback");
    assert_eq!(reads(&known, 200).await, 1, "the first time");
    assert_eq!(reads(&known, 200).await, 0, "remembered");
    clock.advance(Duration::from_secs(5));
    assert_eq!(reads(&known, 200).await, 1, "after five seconds");
    assert_eq!(reads("client_id=made-up", 200).await, 2, "as it is, and in other letters");
    assert_eq!(reads("client_id=made-up", 200).await, 0, "remembered, too");
    assert_eq!(reads("client_id=a&client_id=b", 400).await, 0, "rejected by its form");
}

#[tokio::test]
async fn a_revocation_elsewhere_is_seen_in_time() {
    let short = Duration::from_millis(300);
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    let layer = || GateLayer::new(GateEndpoint::Token, world.registrar.clone());
    for (layer, age, what) in [
        (layer(), Duration::from_secs(5), "by default"),
        (layer().map_settings(|gate| gate.max_age = Some(short)), short, "as it is told"),
    ] {
        let clock = Arc::new(ManualClock::new(Duration::from_secs(1000)));
        let (gate, asked) = gated(layer.with_clock(clock.clone()));
        let id = world.client(what).await;
        let status = async || gate.clone().oneshot(token(&id)).await.unwrap().status();
        assert_eq!(status().await, 200, "{what}");
        // Another node, with its own registrar: this one is not told.
        let elsewhere = Registrar::new(ledger.clone());
        elsewhere.revoke(Revocation::client(&id, operator(), "x")).await.unwrap();
        clock.advance(age.checked_sub(Duration::from_millis(1)).unwrap());
        assert_eq!(status().await, 200, "{what}: read again too early");
        clock.advance(Duration::from_millis(1));
        assert_eq!(status().await, 401, "{what}: not read again");
        assert_eq!(asked.load(Ordering::SeqCst), 2, "{what}");
    }
    let id = world.client("App").await;
    Registrar::new(ledger).revoke(Revocation::client(&id, operator(), "x")).await.unwrap();
    // Without a cache, at once.
    let (gate, _) = gated(
        GateLayer::new(GateEndpoint::Token, world.registrar.clone())
            .map_settings(|gate| gate.max_age = Some(Duration::ZERO)),
    );
    assert_eq!(gate.oneshot(token(&id)).await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_token_issued_during_a_revocation_is_withheld() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    let id = world.client("App").await;
    let registrar = world.registrar.clone();
    let revoked = id.clone();
    let service = ServiceBuilder::new().layer(GateLayer::new(GateEndpoint::Token, world.registrar.clone())).service(
        service_fn(move |_: Request<_>| {
            let (registrar, id) = (registrar.clone(), revoked.clone());
            async move {
                registrar.revoke(Revocation::client(id, operator(), "x")).await.unwrap();
                Ok::<_, std::convert::Infallible>(axum::response::Response::new(Body::from("the token")))
            }
        }),
    );
    let answer = service.oneshot(token(&id)).await.unwrap();
    assert_eq!(answer.status(), 401);
    // The server was told again, of the token that it gave out after it was told.
    assert_eq!(world.server.deprovisioned.lock().unwrap().len(), 2);
}

/// A server that lost its store gets its clients back: each registers again, and is not handed what is lost.
#[tokio::test]
async fn a_client_that_the_server_forgot_gets_a_new_one() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    let id = world.client("App").await;
    assert_eq!(world.token(&id).await.status, 200);
    world.server.clients.lock().unwrap().clear();
    assert_eq!(world.client("App").await, id, "nobody has noticed yet");
    assert_eq!(world.token(&id).await.status, 401, "the server's own answer");
    let again = world.client("App").await;
    assert_ne!(again, id);
    assert_eq!(world.token(&again).await.status, 200);
    assert_eq!(world.client("App").await, again);
    // A request that the server rejects can't end a client.
    assert!(ledger.find(&id).await.unwrap().unwrap().status.is_live());
}

#[tokio::test]
async fn blocked_and_unblocked() {
    let world = World::new(MemoryLedger::default());
    let id = world.client("App").await;
    let name = Fingerprint::name("app");
    world.registrar.revoke(Revocation::new(name.clone(), operator(), "x")).await.unwrap();
    assert_eq!(world.register(&metadata("APP")).await.status, 400);
    assert!(world.registrar.unblock(&name, &operator(), "a mistake").await.unwrap());
    let again = world.client("App").await;
    assert_ne!(again, id);
    assert_eq!(world.token(&id).await.status, 401, "what was ended stays ended");
    assert_eq!(world.token(&again).await.status, 200);
}
