//! Initial access tokens with a ledger: what they admit is counted, and judged by their rules for good.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{Request, Response, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_dcr::ClientUrl;
use tower_dcr::audit::Event;
use tower_dcr::clients::Destination;
use tower_dcr::clients::{Actor, Fingerprint, Ledger, MemoryLedger, Status};
use tower_dcr::clients::{Registrar, Revocation};
use tower_dcr::clock::ManualClock;
use tower_dcr::layers::{InitialAccess, StaticTokens};
use tower_dcr::redirect_uri::RedirectClass;
use tower_dcr::rules::{ClaimStatus, Condition, Decision, Policy, RedirectPattern, RedirectUris};
use tower_dcr::{Preset, layers::InitialAccessTokenLayer};
use tower_dcr_sqlx::{PostgresLedger, SqliteLedger};

use crate::databases::{Postgres, TempDir};
use crate::down::Down;
use crate::world::{Answer, START, World, metadata, register};

const PARTNER: &str = "Vq3s8nR1xW7tB0yKd5Lc";
const ONCE: &str = "once-Kd5LcVq3s8nR1xW7tB0y";
const FIVE: &str = "five-R1xW7tB0yKd5LcVq3s8n";
const OTHER: &str = "other-8nR1xW7tB0yKd5LcVq3s";

/// Anonymous callers may register applications on their own machine; partners, their hosts.
fn guard(preset: Preset) -> Preset {
    let five = NonZeroU64::new(5).unwrap();
    let tokens = StaticTokens::new()
        .add(PARTNER, InitialAccess { rules: Some("partner".into()), ..InitialAccess::of("partner") })
        .and_then(|tokens| {
            tokens.add(ONCE, InitialAccess { max_uses: Some(NonZeroU64::MIN), ..InitialAccess::of("once") })
        })
        .and_then(|tokens| tokens.add(FIVE, InitialAccess { max_uses: Some(five), ..InitialAccess::of("five") }))
        .and_then(|tokens| tokens.add(OTHER, InitialAccess::of("other")))
        .unwrap();
    preset
        .with_initial_access_tokens(InitialAccessTokenLayer::new(tokens).optional())
        .for_callers(Condition::Rules("partner".into()), |mut rules| {
            let hosts = ["https://*.partner.example.com/*".parse::<RedirectPattern>()?];
            rules.redirect_uris.classes = Vec::from([RedirectClass::Https]);
            rules.redirect_uris.only_https = Some(hosts.into_iter().collect());
            Ok(rules)
        })
        .and_then(|preset| {
            preset.map_rules(|mut rules| {
                rules.redirect_uris.classes = Vec::from([RedirectClass::Loopback]);
                Ok(rules)
            })
        })
        .unwrap()
}

fn with_token(body: &Value, token: &str) -> Request<Body> {
    let mut request = register(body);
    request.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    request
}

fn to(uri: &str) -> Value {
    json!({ "client_name": "Portal", "redirect_uris": [uri] })
}

async fn update(world: &World, id: &str, body: &Value) -> Answer {
    let mut body = body.clone();
    body["client_id"] = id.into();
    let request = Request::put(format!("/register/{id}")).header(header::CONTENT_TYPE, "application/json");
    // Some other client's registration access token: to check it is for the server.
    let request = request.header(header::AUTHORIZATION, "Bearer hush-hush");
    world.send(request.body(Body::from(body.to_string())).unwrap()).await
}

#[tokio::test]
async fn the_rules_of_a_token_apply_to_updates_too() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone()).guarded_by(guard);
    let (partners, own) = (to("https://a.partner.example.com/cb"), to("http://127.0.0.1/cb"));
    assert_eq!(world.register(&partners).await.status, 400, "anonymous");
    assert_eq!(world.send(with_token(&partners, OTHER)).await.status, 400, "a token without those rules");
    assert_eq!(world.send(with_token(&own, PARTNER)).await.status, 400, "and a partner may only that");
    let partner = world.send(with_token(&partners, PARTNER)).await.client_id();
    let anonymous = world.register(&own).await.client_id();

    let record = ledger.find(&partner).await.unwrap().unwrap();
    assert_eq!((record.admitted_by.as_deref(), record.rules.as_deref()), (Some("partner"), Some("partner")));
    assert_eq!(update(&world, &partner, &to("https://b.partner.example.com/cb")).await.status, 200);
    assert_eq!(update(&world, &partner, &own).await.status, 400, "not what anonymous callers may");
    assert_eq!(update(&world, &partner, &to("https://evil.example.net/cb")).await.status, 400);
    assert_eq!(update(&world, &anonymous, &partners).await.status, 400, "a clean registration, then an update");
    assert_eq!(update(&world, &anonymous, &to("http://127.0.0.1/other")).await.status, 200);
    assert_eq!(update(&world, "nobody", &partners).await.status, 400, "whom nobody admitted is anonymous");
    // Looked at again, each is judged by its own rules.
    let loopback = || {
        let mut uris = RedirectUris::mcp();
        uris.classes = Vec::from([RedirectClass::Loopback]);
        uris
    };
    let hosts = ["https://*.partner.example.com/*".parse::<RedirectPattern>().unwrap()];
    let rules = Policy::default()
        .when(Condition::Rules("partner".into()), {
            let mut uris = RedirectUris::mcp();
            uris.only_https = Some(hosts.into_iter().collect());
            uris
        })
        .when(Condition::Anonymous, loopback());
    for (rules, wanted) in
        [(rules, [Decision::Accept; 2]), (Policy::new(loopback()), [Decision::Accept, Decision::Reject])]
    {
        let mut decisions = Vec::new();
        let drift = world.registrar.drift(&rules, &rules, |_, evaluated| decisions.push(evaluated.unwrap().decision()));
        drift.await.unwrap();
        assert_eq!(decisions, wanted);
    }
    // Clients of the token keep its rules.
    let record = ledger.find(&partner).await.unwrap().unwrap();
    assert_eq!((record.status, record.rules.as_deref()), (Status::Active, Some("partner")));
    assert!(record.registration.contains("b.partner.example.com"));
}

/// OpenID Connect Dynamic Client Registration section 4.1 has the client in the query.
#[tokio::test]
async fn urls_are_read_in_one_way() {
    let registrar = Registrar::new(MemoryLedger::default());
    let mut urls = ClientUrl::default();
    urls.in_query = true;
    let preset = guard(tower_dcr::mcp().without_rate_limits().with_sink(|_: &Event| {}))
        .with_registrar(registrar.clone())
        .with_client_url(urls);
    let handler = tower::service_fn(async |request: Request<tower_dcr::layers::RegistrationBody>| {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let mut client: Value = serde_json::from_slice(&body).unwrap();
        client["client_id"] = "c-1".into();
        let answer = Response::builder().status(201).header(header::CONTENT_TYPE, "application/json");
        Ok::<_, std::convert::Infallible>(answer.body(Body::from(client.to_string())).unwrap())
    });
    let service = tower::Layer::layer(&preset, handler);
    let partners = to("https://a.partner.example.com/cb");
    let registered = service.clone().oneshot(with_token(&partners, PARTNER)).await.unwrap();
    assert_eq!(registered.status(), 201);
    let mut body = to("https://b.partner.example.com/cb");
    body["client_id"] = "c-1".into();
    let request = Request::put("/register?client_id=c-1").header(header::CONTENT_TYPE, "application/json");
    let changed = service.oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
    assert_eq!(changed.status(), 201, "by the rules of its token");
}

#[tokio::test]
async fn a_use_of_a_token_is_returned_without_a_client() {
    let world = World::new(MemoryLedger::default()).guarded_by(guard);
    let rejected = world.send(with_token(&to("javascript:alert(1)"), ONCE)).await;
    assert_eq!(rejected.status, 400);
    *world.server.answer.lock().unwrap() = Some((500, json!({ "error": "server_error" })));
    assert_eq!(world.send(with_token(&metadata("App"), ONCE)).await.status, 500);
    *world.server.answer.lock().unwrap() = None;
    assert_eq!(world.send(with_token(&metadata("App"), ONCE)).await.status, 201);
    let used_up = world.send(with_token(&metadata("App 2"), ONCE)).await;
    assert_eq!((used_up.status, used_up.error().as_str()), (401, "invalid_token"));
    // A repeat makes no client, and costs nothing.
    for _ in 0..8 {
        assert_eq!(world.send(with_token(&metadata("App"), FIVE)).await.status, 201);
    }
    for number in 0..4 {
        assert_eq!(world.send(with_token(&metadata(&format!("Another {number}")), FIVE)).await.status, 201);
    }
    assert_eq!(world.send(with_token(&metadata("One too many"), FIVE)).await.status, 401);
}

#[tokio::test]
async fn clients_of_different_owners_are_different_clients() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone()).guarded_by(guard);
    let body = metadata("App");
    let anonymous = world.register(&body).await.client_id();
    let fives = world.send(with_token(&body, FIVE)).await.client_id();
    let others = world.send(with_token(&body, OTHER)).await.client_id();
    assert!(anonymous != fives && fives != others && anonymous != others);
    assert_eq!(world.send(with_token(&body, OTHER)).await.client_id(), others, "a repeat of one's own");
    let by = Revocation::client(&others, Actor::TokenOwner("other".into()), "not ours any more");
    world.registrar.revoke(by).await.unwrap();
    assert_eq!(ledger.find(&others).await.unwrap().unwrap().status, Status::Revoked);
    assert_eq!(ledger.find(&anonymous).await.unwrap().unwrap().status, Status::Active);
    let not_theirs = Revocation::client(&anonymous, Actor::TokenOwner("other".into()), "x");
    assert!(world.registrar.revoke(not_theirs).await.is_err());
}

#[tokio::test]
async fn a_ledger_outage_rejects_counted_tokens() {
    let world = World::new(Down::default()).guarded_by(guard);
    assert_eq!(world.send(with_token(&metadata("App"), ONCE)).await.status, 503);
    assert_eq!(update(&world, "client-1", &metadata("App")).await.status, 503, "nobody knows by which rules");
    assert_eq!(world.calls(), 0);
}

/// Two nodes, one token, everybody at once.
async fn admits_five(one: impl Ledger, other: impl Ledger) {
    let (server, clock) = (Arc::default(), Arc::new(ManualClock::new(START)));
    let first = World::around(Arc::clone(&server), Arc::clone(&clock), one, |registrar| registrar).guarded_by(guard);
    let second = World::around(server, clock, other, |registrar| registrar).guarded_by(guard);
    first.server.delay_ms.store(5, Ordering::SeqCst);
    let nodes = [Arc::new(first), Arc::new(second)];
    let mut running = tokio::task::JoinSet::new();
    for number in 0..40 {
        let node = Arc::clone(&nodes[number % 2]);
        running.spawn(async move { node.send(with_token(&metadata(&format!("App {number}")), FIVE)).await.status });
    }
    let statuses = running.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 5, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 35, "{statuses:?}");
    assert_eq!(nodes[0].calls(), 5, "the handler was asked no more often");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_for_five_admits_five_on_two_nodes() {
    let memory = MemoryLedger::default();
    admits_five(memory.clone(), memory).await;
    let directory = TempDir::new("uses");
    let path = directory.path().join("ledger.db");
    let sqlite = SqliteLedger::open(&path).await.unwrap();
    admits_five(sqlite.clone(), sqlite).await;
    let Some(database) = Postgres::start() else { return };
    let pool = database.fresh_database().await;
    let ledger = PostgresLedger::new(pool).await.unwrap();
    admits_five(ledger.clone(), ledger).await;
}

#[tokio::test]
async fn records_keep_the_claimed_identity_for_consent_pages() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    let body = json!({ "client_name": "Claude Code (work)", "redirect_uris": ["http://127.0.0.1/cb"] });
    let id = world.register(&body).await.client_id();
    let record = ledger.find(&id).await.unwrap().unwrap();
    let identity = record.identity.unwrap();
    assert_eq!((identity.status, identity.claimed.as_deref()), (ClaimStatus::Unverified, Some("Claude")));
    assert_eq!(identity.to_string(), "unverified: Claude");
    let nobody = world.client("Notes").await;
    assert_eq!(ledger.find(&nobody).await.unwrap().unwrap().identity, None);

    let facts = world.registrar.consent_facts(&id, "http://127.0.0.1:9/cb").await.unwrap().unwrap();
    assert_eq!(facts.client_name.as_deref(), Some("Claude Code (work)"));
    assert_eq!((facts.owner, facts.destination), (None, Destination::Loopback));
    assert_eq!(facts.first_seen, Some(std::time::SystemTime::UNIX_EPOCH + START));
    assert_eq!(facts.last_used, None);
    assert_eq!(world.token(&id).await.status, 200);
    let facts = world.registrar.consent_facts(&id, "http://127.0.0.1:9/cb").await.unwrap().unwrap();
    assert!(facts.last_used.is_some());
    assert!(world.registrar.consent_facts("nobody", "x").await.unwrap().is_none());

    // An update changes who it claims to be, and may not claim what it can't prove.
    let verified = json!({ "client_name": "Claude", "redirect_uris": ["https://claude.ai/api/mcp/auth_callback"] });
    assert_eq!(update(&world, &id, &verified).await.status, 200);
    let record = ledger.find(&id).await.unwrap().unwrap();
    assert_eq!(record.identity.unwrap().owner(), Some("Claude"));
    let imitation = json!({ "client_name": "Claude", "redirect_uris": ["https://claude.example.net/cb"] });
    assert_eq!(update(&world, &id, &imitation).await.status, 400);
    assert!(record.fingerprints.all().contains(&Fingerprint::name("Claude")));
}
