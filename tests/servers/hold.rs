//! Registrations that a rule would reject, held until an operator approves them.

use std::str::FromStr;
use std::sync::Mutex;
use std::sync::{Arc, atomic::Ordering};

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_dcr::Preset;
use tower_dcr::audit::{Event, LifecycleAction};
use tower_dcr::clients::{Actor, Client, ClientQueue, LifecycleSettings, MemoryLedger, Registrar, Revocation, Status};
use tower_dcr::layers::{Misconfiguration, PolicyLayer};
use tower_dcr::rules::{ConfigError, Disposition};

use crate::down::Down;
use crate::world::{Answer, DAY, Server, World, create, register};

const HOST: &str = "https://new.example.com/cb";
const LISTED: &str = "https://claude.ai/api/mcp/auth_callback";

fn holding(registrar: Registrar) -> Registrar {
    let hold = Some(vec!["redirect-uris".to_owned(), "identity".to_owned()]);
    registrar.map_settings(|lifecycle| lifecycle.hold = hold).unwrap()
}

/// Only Claude's callback is listed.
fn only_claude(preset: Preset) -> Preset {
    let listed = |mut rules: tower_dcr::preset::PresetRules| {
        rules.redirect_uris.only_https = Some(vec![LISTED.parse()?]);
        Ok(rules)
    };
    preset.map_rules(listed).unwrap()
}

fn world() -> World {
    World::with(MemoryLedger::default(), holding).guarded_by(only_claude)
}

fn body(uris: &[&str]) -> Value {
    json!({ "client_name": "New product", "redirect_uris": uris })
}

async fn record(world: &World, id: &str) -> Client {
    world.registrar.client(id).await.unwrap().unwrap()
}

async fn sign_in(world: &World, id: &str, uri: &str) -> [(u16, String); 2] {
    let (authorize, token) = (world.authorize(id, uri).await, world.token(id).await);
    [(authorize.status, authorize.error()), (token.status, token.error())]
}

fn waits() -> [(u16, String); 2] {
    [(400, "access_denied".to_owned()), (400, "access_denied".to_owned())]
}

fn signed_in() -> [(u16, String); 2] {
    [(200, String::new()), (200, String::new())]
}

#[tokio::test]
async fn a_host_that_is_not_listed_waits_for_an_operator() {
    let world = world();
    let first = world.register(&body(&[HOST])).await;
    assert_eq!(first.status, 201, "{first:?}");
    let id = first.client_id();
    assert_eq!(first.json()["redirect_uris"], json!([HOST]), "forwarded as it was sent");
    let reason = "held for approval: redirect_uris[0] leads to a place that is not listed here (redirect-uris)";
    let pending = world.registrar.list(ClientQueue::Pending, None, 10).await.unwrap().clients;
    assert_eq!(pending.len(), 1);
    assert_eq!((pending[0].status, pending[0].reason.as_deref()), (Status::Pending, Some(reason)));
    assert_eq!(sign_in(&world, &id, HOST).await, waits());
    for _ in 0..3 {
        assert_eq!(world.register(&body(&[HOST])).await.client_id(), id, "the same client while it waits");
    }
    assert_eq!(world.calls(), 1);
    assert_eq!(sign_in(&world, &id, HOST).await, waits(), "registering again approves nothing");

    let approved = world.registrar.approve(&id, "alice", "asked for in a ticket").await.unwrap();
    assert_eq!((approved.status, approved.reason), (Status::Active, None));
    assert_eq!(sign_in(&world, &id, HOST).await, signed_in());
    assert_eq!(world.register(&body(&[HOST])).await.client_id(), id, "and afterwards");
    assert_eq!(world.calls(), 1);
    assert_eq!(record(&world, &id).await.status, Status::Active);
    assert_eq!(world.authorize(&id, "https://new.example.com/other").await.status, 400);

    // The approval is of one registration, not of its host.
    let other = world.register(&json!({ "client_name": "Another", "redirect_uris": [HOST] })).await.client_id();
    assert_ne!(other, id);
    assert_eq!(sign_in(&world, &other, HOST).await, waits());
    let listed = world.register(&body(&[LISTED])).await;
    assert_eq!(record(&world, &listed.client_id()).await.status, Status::Active, "nothing else waits");
}

#[tokio::test]
async fn a_name_of_others_waits_for_an_operator() {
    let world = World::with(MemoryLedger::default(), holding);
    let imitation = json!({ "client_name": "Claude", "redirect_uris": [HOST] });
    let id = world.register(&imitation).await.client_id();
    let held = record(&world, &id).await;
    assert_eq!(held.status, Status::Pending);
    assert!(held.reason.unwrap().ends_with("(identity)"));
    assert_eq!(held.identity.unwrap().status.to_string(), "contradicted", "the operator sees the verdict");
    assert_eq!(sign_in(&world, &id, HOST).await, waits());
}

#[tokio::test]
async fn danger_is_never_held() {
    let world = world();
    let long = format!("{HOST}/{}", "a".repeat(3000));
    let many: Vec<String> = (0..11).map(|number| format!("https://app{number}.example.com/cb")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for uris in [
        &["javascript:alert(1)"][..],
        &["data:text/html,x"],
        &["http://new.example.com/cb"],
        &["https://192.168.1.20/cb"],
        &["https://intranet.corp/cb"],
        &["https://nas/cb"],
        &["https://10-0-0-1.nip.io/cb"],
        &["https://co.uk/cb"],
        &["https://new.example.com:8443@evil.example.net/cb"],
        &["https://new.example.com/../cb"],
        &["https://new.example.com/cb#x"],
        &["vscode://vscode.git/clone?url=x"],
        &[&long],
        &many,
        &[],
        // One that could wait does not take the other one with it, in any order.
        &[HOST, "javascript:alert(1)"],
        &["javascript:alert(1)", HOST],
        &[HOST, "https://intranet.corp/cb"],
        &["https://intranet.corp/cb", HOST],
        &[HOST, "http://new.example.com/cb"],
    ] {
        let answer = world.register(&body(uris)).await;
        assert_eq!(answer.status, 400, "{uris:?}: {answer:?}");
    }
    for raw in ["{\"redirect_uris\":[\"https://new.example.com/cb\"],\"redirect_uris\":[]}", "{", "[]"] {
        let request = Request::post("/register").header(header::CONTENT_TYPE, "application/json");
        assert_eq!(world.send(request.body(Body::from(raw)).unwrap()).await.status, 400, "{raw}");
    }
    let hidden = json!({ "client_name": "\u{202e}App", "redirect_uris": [HOST] });
    assert_eq!(world.register(&hidden).await.status, 400, "a rule that holds nothing rejects");
    assert_eq!(world.calls(), 0);
    // What was revoked does not wait either.
    let id = world.register(&body(&[HOST])).await.client_id();
    world.registrar.revoke(Revocation::client(&id, Actor::Operator("alice".into()), "no")).await.unwrap();
    assert_eq!(world.register(&body(&[HOST])).await.status, 400);
    assert_eq!(world.token(&id).await.status, 401);
}

#[tokio::test]
async fn schemes_and_ports_wait_too() {
    let world = World::with(MemoryLedger::default(), holding);
    for uri in ["newtool://connect/callback", "https://app.example.com:8443/cb"] {
        let id = world.register(&body(&[uri])).await.client_id();
        assert_eq!(record(&world, &id).await.status, Status::Pending, "{uri}");
        world.registrar.approve(&id, "alice", "known").await.unwrap();
        assert_eq!(sign_in(&world, &id, uri).await, signed_in(), "{uri}");
    }
    // Where something is left, nothing is rejected, and nothing waits.
    let both = world.register(&body(&["newtool://connect/callback", HOST])).await;
    assert_eq!(both.json()["redirect_uris"], json!([HOST]));
    assert_eq!(record(&world, &both.client_id()).await.status, Status::Active);
}

#[tokio::test]
async fn an_update_is_rejected_as_always() {
    let world = world();
    world.server.management.store(true, Ordering::SeqCst);
    let id = world.register(&body(&[LISTED])).await.client_id();
    let update = json!({ "client_id": id, "client_name": "New product", "redirect_uris": [HOST] });
    let request = Request::put(format!("/register/{id}")).header(header::CONTENT_TYPE, "application/json");
    let answer = world.send(request.body(Body::from(update.to_string())).unwrap()).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(sign_in(&world, &id, LISTED).await, signed_in(), "the client goes on");
}

#[tokio::test]
async fn nothing_waits_longer_than_allowed() {
    for (approval, days) in [(None, 8), (Some(2 * DAY), 3)] {
        let world = World::with(MemoryLedger::default(), |registrar| {
            holding(registrar).map_settings(|lifecycle| lifecycle.approval = approval).unwrap()
        })
        .guarded_by(only_claude);
        let id = world.register(&body(&[HOST])).await.client_id();
        world.clock.advance((days - 2) * DAY);
        assert_eq!(world.register(&body(&[HOST])).await.client_id(), id);
        world.clock.advance(2 * DAY);
        world.registrar.maintain_once().await.unwrap();
        assert_eq!(record(&world, &id).await.reason.as_deref(), Some("not approved in time"));
        assert_eq!(world.server.deprovisioned.lock().unwrap().first(), Some(&id));
        assert_ne!(world.register(&body(&[HOST])).await.client_id(), id);
    }
}

/// The operator lists the host, in place of an approval.
#[tokio::test]
async fn a_changed_policy_admits_what_it_held() {
    let World { registrar, server, events, .. } = World::new(MemoryLedger::default());
    let read = |policy: &str| Preset::from_str(policy).unwrap();
    let layer = read("lifecycle.hold = ['redirect-uris']\nredirect_uris.only_https = ['https://claude.ai/*']")
        .with_registrar(registrar.clone())
        .reloadable();
    let app = axum::Router::new()
        .route("/register", axum::routing::post(create).layer(layer.clone()))
        .with_state(Arc::clone(&server));
    let send = async || Answer::of(app.clone().oneshot(register(&body(&[HOST]))).await.unwrap()).await;
    let id = send().await.client_id();
    assert_eq!(registrar.client(&id).await.unwrap().unwrap().status, Status::Pending);
    layer.replace(&read("redirect_uris.only_https = ['https://new.example.com/*']")).unwrap();
    assert_eq!(send().await.client_id(), id);
    let client = registrar.client(&id).await.unwrap().unwrap();
    assert_eq!((client.status, client.reason), (Status::Active, None));
    assert_eq!(events.of(LifecycleAction::Approved)[0].actor.as_deref(), Some("system"));
    layer.replace(&read("redirect_uris.only_https = ['https://claude.ai/*']")).unwrap();
    assert_eq!(send().await.status, 400, "rejected again without hold");
}

#[tokio::test]
async fn the_audit_event_has_the_reason() {
    let events: Arc<Mutex<Vec<Event>>> = Arc::default();
    let kept = Arc::clone(&events);
    let world = World::with(MemoryLedger::default(), holding).guarded_by(|preset| {
        only_claude(preset).with_sink(move |event: &Event| kept.lock().unwrap().push(event.clone()))
    });
    world.register(&body(&[HOST])).await;
    let event = events.lock().unwrap()[0].clone();
    assert!(event.pending && event.rule.is_none(), "{event}");
    assert_eq!(event.reason.as_deref(), Some("leads to a place that is not listed here"));
    let held = event.findings.iter().find(|finding| finding.disposition == Disposition::Held).unwrap();
    assert_eq!((held.rule, &*held.field, held.enforced), ("redirect-uris", "redirect_uris", true));
}

/// Without a record, nothing keeps the client from signing in.
#[tokio::test]
async fn nothing_is_held_without_a_ledger() {
    let without = only_claude(Preset::from_str("lifecycle.hold = ['redirect-uris', 'identity']").unwrap());
    let alone = PolicyLayer::new(without.policy().clone());
    for app in [
        axum::Router::new().route("/register", axum::routing::post(create).layer(without.clone())),
        axum::Router::new().route("/register", axum::routing::post(create).layer(alone)),
    ] {
        let app = app.with_state(Arc::<Server>::default());
        let answer = Answer::of(app.oneshot(register(&body(&[HOST]))).await.unwrap()).await;
        assert_eq!((answer.status, answer.error()), (400, "invalid_redirect_uri".to_owned()));
    }
    assert!(without.misconfigurations().contains(&Misconfiguration::HoldWithoutRegistrar));

    let passes: [fn(&mut LifecycleSettings); 2] = [
        |lifecycle| lifecycle.danger_register_without_ledger = Some(true),
        |lifecycle| lifecycle.report_only = Some(true),
    ];
    for change in passes {
        let world = World::with(Down::default(), |registrar| holding(registrar).map_settings(change).unwrap())
            .guarded_by(only_claude);
        assert_eq!(world.register(&body(&[HOST])).await.status, 503);
        assert_eq!(world.calls(), 0);
        assert_eq!(world.register(&body(&[LISTED])).await.status, 201, "others pass, as configured");
    }
}

#[tokio::test]
async fn a_report_only_policy_holds_nothing() {
    let world = World::with(MemoryLedger::default(), holding).guarded_by(|preset| only_claude(preset).report_only());
    let answer = world.register(&body(&[HOST])).await;
    assert_eq!(answer.status, 201);
    assert!(world.registrar.list(ClientQueue::All, None, 10).await.unwrap().clients.is_empty());
}

#[test]
fn only_some_rules_can_hold() {
    for name in ["strict-json", "known-members", "client-name", "redirect_uris", ""] {
        let named = |lifecycle: &mut LifecycleSettings| lifecycle.hold = Some(vec![name.to_owned()]);
        let error = Registrar::new(MemoryLedger::default()).map_settings(named).unwrap_err();
        assert!(matches!(&error, ConfigError::Unknown { word, .. } if word == name), "{error}");
        assert!(error.to_string().contains("identity, redirect-uris"), "{error}");
        let error = Preset::from_str(&format!("lifecycle.hold = ['{name}']")).unwrap_err();
        assert!(error.to_string().contains(name) && error.to_string().contains("redirect-uris"), "{error}");
    }
    let read = Preset::from_str("lifecycle.hold = ['redirect-uris']").unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap()["lifecycle"]["hold"], json!(["redirect-uris"]));
    assert_ne!(read.fingerprint(), tower_dcr::mcp().fingerprint());
}
