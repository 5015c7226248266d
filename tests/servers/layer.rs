//! The ledger on the registration route.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use tower_dcr::Registration;
use tower_dcr::audit::LifecycleAction;
use tower_dcr::clients::{Actor, Client, Filter, Fingerprint, Ledger, MemoryLedger, Registrar, Revocation, Status};
use tower_dcr::layers::{LifecycleLayer, PolicyLayer};
use tower_dcr::rules::Caller;
use tower_dcr_sqlx::SqliteLedger;

use crate::databases::TempDir;
use crate::down::Down;
use crate::world::{DAY, HOUR, START, World, metadata, register};

async fn records(ledger: &impl Ledger) -> Vec<Client> {
    ledger.page(&Filter::default(), None, 1000).await.unwrap()
}

fn now() -> i64 {
    i64::try_from(START.as_millis()).unwrap()
}

#[tokio::test]
async fn records_have_the_forwarded_and_answered_metadata() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    let body = json!({ "client_name": "App (laptop)", "redirect_uris": ["http://127.0.0.1:1/cb"], "unknown": 1 });
    let answer = world.register(&body).await;
    assert_eq!(answer.status, 201);
    let [client] = &records(&ledger).await[..] else { panic!("one record") };
    assert_eq!(client.client_id, Some(answer.client_id()));
    assert_eq!(client.status, Status::Active);
    assert!(!client.registration.contains("unknown"), "what was forwarded, not what came: {}", client.registration);
    assert!(client.registration.contains(r#""token_endpoint_auth_method":"none""#));
    assert_eq!(client.created_at, now());
    assert_eq!(client.expires_at, Some(now() + 7 * 24 * 3600 * 1000));
    assert_eq!(client.fingerprints.name, "app");
}

#[tokio::test]
async fn a_repeat_gets_the_earlier_answer() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    let first = world.register(&metadata("App")).await;
    // In another order, with a member that is stripped: the same once it is checked.
    let again: Value = json!({ "redirect_uris": ["http://127.0.0.1:3118/callback"], "x": 1, "client_name": "App" });
    let second = world.register(&again).await;
    assert_eq!((second.status, &second.text), (201, &first.text));
    assert_eq!(second.headers["cache-control"], "no-store");
    assert_eq!(world.calls(), 1);
    assert_ne!(world.client("Other").await, first.client_id());
    assert_eq!(records(&ledger).await.len(), 2);
}

#[tokio::test]
async fn repeats_can_be_switched_off() {
    let world = World::with(MemoryLedger::default(), |registrar| {
        registrar.map_settings(|lifecycle| lifecycle.deduplication = Some(false)).unwrap()
    });
    assert_ne!(world.client("App").await, world.client("App").await);
}

/// OpenID Connect Dynamic Client Registration section 3.2 wants a `client_id` for each.
#[tokio::test]
async fn the_oauth_preset_does_not_deduplicate() {
    use axum::routing::post;
    use tower::ServiceExt;
    use tower_dcr::rules::{AuthMethod, Grants};
    let world = World::new(MemoryLedger::default());
    let preset = tower_dcr::oauth(Grants::authorization_code(), AuthMethod::one_of(["none"]));
    let route = post(crate::world::create).layer(preset.with_registrar(world.registrar.clone()));
    let app = axum::Router::new().route("/register", route).with_state(Arc::clone(&world.server));
    for number in 0..2 {
        let answer = app.clone().oneshot(register(&metadata("App"))).await.unwrap();
        assert_eq!(crate::world::Answer::of(answer).await.client_id(), format!("client-{number}"));
    }
}

#[tokio::test]
async fn loopback_ports_count_by_default() {
    let with_port =
        |port: u16| json!({ "client_name": "App", "redirect_uris": [format!("http://127.0.0.1:{port}/cb")] });
    let exact = World::new(MemoryLedger::default());
    assert_ne!(exact.register(&with_port(1)).await.client_id(), exact.register(&with_port(2)).await.client_id());
    let free = World::with(MemoryLedger::default(), |registrar| {
        registrar.map_settings(|lifecycle| lifecycle.any_loopback_port = Some(true)).unwrap()
    });
    let first = free.register(&with_port(1)).await.client_id();
    let second = free.register(&with_port(2)).await;
    assert_eq!(second.client_id(), first);
    assert_eq!(second.json()["redirect_uris"], json!(["http://127.0.0.1:2/cb"]), "what this one registered");
    // The gate compares with what was registered first, and lets any port pass.
    assert_eq!(free.authorize(&first, "http://127.0.0.1:777/cb").await.status, 200);
}

fn release(version: Option<&str>) -> Value {
    let mut body = json!({ "client_name": "App", "redirect_uris": ["http://127.0.0.1:1/cb"], "software_id": "app" });
    if let Some(version) = version {
        body["software_version"] = version.into();
    }
    body
}

/// RFC 7591 section 2: the version "SHOULD change on any update to the client software", which is no new client.
async fn releases_are_one_client(ledger: impl Ledger + Clone, reason: &str) {
    let world = World::new(ledger.clone());
    let first = world.register(&release(Some("1.0"))).await;
    assert_eq!(first.json()["software_version"], "1.0", "{reason}");
    for version in [Some("1.1"), None, Some("1.0"), Some("2.0 \u{fc}")] {
        let again = world.register(&release(version)).await;
        assert_eq!((again.status, again.client_id()), (201, first.client_id()), "{reason}: {version:?}");
        let echoed = again.json();
        assert_eq!(echoed.get("software_version").and_then(Value::as_str), version, "{reason}: its own");
        assert_eq!(echoed["redirect_uris"], json!(["http://127.0.0.1:1/cb"]), "{reason}");
    }
    assert_eq!((world.calls(), records(&ledger).await.len()), (1, 1), "{reason}");
    let mut other = release(Some("1.0"));
    other["software_id"] = "app2".into();
    assert_ne!(world.register(&other).await.client_id(), first.client_id(), "{reason}: everything else counts");
    // What is revoked does not come back as another release.
    let alice = Actor::Operator("alice".into());
    world.registrar.revoke(Revocation::client(first.client_id(), alice, "x")).await.unwrap();
    for version in [Some("1.0"), Some("3.0"), None] {
        assert_eq!(world.register(&release(version)).await.status, 400, "{reason}: {version:?}");
    }
}

/// Records and blocks from before versions were ignored have a digest with the version.
async fn older_digests_still_count(ledger: impl Ledger + Clone, reason: &str) {
    let exact = |registrar: Registrar| {
        registrar.map_settings(|lifecycle| lifecycle.any_software_version = Some(false)).unwrap()
    };
    let before = World::with(ledger.clone(), exact);
    let first = before.register(&release(Some("1.0"))).await.client_id();
    assert_eq!(before.register(&release(Some("1.0"))).await.client_id(), first, "{reason}");
    let second = before.register(&release(Some("1.1"))).await.client_id();
    assert_ne!(second, first, "{reason}: a client for each version, if that is set");
    let today = World::around(before.server.clone(), before.clock.clone(), ledger.clone(), |registrar| registrar);
    assert_eq!(today.register(&release(Some("1.0"))).await.client_id(), first, "{reason}: under the older key");
    assert_eq!(today.register(&release(Some("1.1"))).await.client_id(), second, "{reason}: under the older key");
    let third = today.register(&release(Some("2.0"))).await.client_id();
    assert!(third != first && third != second, "{reason}");
    assert_eq!(today.register(&release(Some("1.0"))).await.client_id(), third, "{reason}: the newer key comes first");
    let whole = Registration::parse(records(&ledger).await.last().unwrap().registration.as_bytes()).unwrap();
    let old = Fingerprint::Digest(whole.digest().to_string());
    today.registrar.revoke(Revocation::new(old, Actor::Operator("alice".into()), "x")).await.unwrap();
    assert_eq!(today.register(&release(Some("1.0"))).await.status, 400, "{reason}: its version is blocked");
    assert_eq!(today.register(&release(Some("2.0"))).await.status, 201, "{reason}: this one is not");
}

#[tokio::test]
async fn a_new_release_is_no_new_client() {
    releases_are_one_client(MemoryLedger::default(), "memory").await;
    older_digests_still_count(MemoryLedger::default(), "memory").await;
    let dir = TempDir::new("releases");
    releases_are_one_client(SqliteLedger::open(dir.path().join("new.db")).await.unwrap(), "SQLite").await;
    older_digests_still_count(SqliteLedger::open(dir.path().join("old.db")).await.unwrap(), "SQLite").await;
}

#[tokio::test]
async fn secrets_are_never_repeated_nor_kept() {
    for extra in [
        json!({ "client_secret": "hush-hush", "client_secret_expires_at": 0, "token_endpoint_auth_method": "client_secret_basic" }),
        json!({ "registration_access_token": "hush-hush", "registration_client_uri": "https://as.example.com/register/x" }),
    ] {
        let ledger = MemoryLedger::default();
        let world = World::new(ledger.clone());
        for number in 0..3 {
            let mut answer =
                json!({ "client_id": format!("id-{number}"), "redirect_uris": ["http://127.0.0.1:3118/callback"] });
            answer.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            *world.server.answer.lock().unwrap() = Some((201, answer));
            let answer = world.register(&metadata("App")).await;
            assert_eq!((answer.status, answer.client_id()), (201, format!("id-{number}")));
        }
        assert_eq!(world.calls(), 3);
        let everything = format!("{:?}", records(&ledger).await);
        assert!(!everything.contains("hush"), "{everything}");
    }
}

#[tokio::test]
async fn an_expiring_secret_ends_its_client() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    let expires = (START + 2 * DAY).as_secs();
    let answer = json!({ "client_id": "c", "client_secret": "s", "client_secret_expires_at": expires,
        "token_endpoint_auth_method": "client_secret_basic" });
    *world.server.answer.lock().unwrap() = Some((201, answer));
    world.register(&metadata("App")).await;
    world.server.clients.lock().unwrap().insert("c".into(), Value::Null);
    world.clock.advance(DAY);
    assert_eq!(world.token("c").await.status, 200);
    let client = ledger.find("c").await.unwrap().unwrap();
    assert_eq!(client.expires_at, Some(i64::try_from(expires).unwrap() * 1000), "used, and no later than its secret");
    world.server.in_use.lock().unwrap().insert("c".into());
    world.clock.advance(DAY);
    assert_eq!(world.token("c").await.status, 401);
}

#[tokio::test]
async fn handlers_of_every_kind_are_recorded() {
    let rows = [
        ("200 with an echo", 200, json!({ "client_id": "c", "client_name": "App" })),
        ("201 with nothing else", 201, json!({ "client_id": "c" })),
    ];
    for (reason, status, answer) in rows {
        let ledger = MemoryLedger::default();
        let world = World::new(ledger.clone());
        *world.server.answer.lock().unwrap() = Some((status, answer));
        assert_eq!(world.register(&metadata("App")).await.status, 201, "{reason}");
        assert_eq!(ledger.find("c").await.unwrap().unwrap().status, Status::Active, "{reason}");
    }
}

#[tokio::test]
async fn a_failed_handler_leaves_a_failed_record() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    *world.server.answer.lock().unwrap() = Some((500, json!({ "error": "server_error" })));
    assert_eq!(world.register(&metadata("App")).await.status, 500);
    *world.server.answer.lock().unwrap() = Some((201, json!({ "client_name": "no id" })));
    assert_eq!(world.register(&metadata("App")).await.status, 502);
    let reasons: Vec<_> = records(&ledger).await.into_iter().map(|client| (client.status, client.reason)).collect();
    assert_eq!(reasons.len(), 2);
    assert!(reasons.iter().all(|(status, _)| *status == Status::Failed), "{reasons:?}");
    assert_eq!(reasons[1].1.as_deref(), Some("the server answered 500"));
    assert_eq!(reasons[0].1.as_deref(), Some("client_id is missing in the server's answer, or no string (answer)"));
    *world.server.answer.lock().unwrap() = None;
    world.client("App").await;
}

#[tokio::test(start_paused = true)]
async fn a_disconnected_client_leaves_an_abandoned_record() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    world.server.delay_ms.store(60_000, Ordering::SeqCst);
    let body = metadata("App");
    let hung_up = tokio::time::timeout(Duration::from_secs(1), world.register(&body)).await;
    assert!(hung_up.is_err());
    assert_eq!(records(&ledger).await[0].status, Status::Registering);
    // The next one does not wait for an answer that will not come.
    world.server.delay_ms.store(0, Ordering::SeqCst);
    assert_eq!(world.register(&metadata("App")).await.status, 201);
    let statuses: Vec<_> = records(&ledger).await.into_iter().map(|client| client.status).collect();
    assert_eq!(statuses, [Status::Active, Status::Failed]);
    assert_eq!(world.events.of(LifecycleAction::Abandoned).len(), 1);
}

#[tokio::test]
async fn many_at_once_get_one_client() {
    let ledger = MemoryLedger::default();
    let world = Arc::new(World::new(ledger.clone()));
    world.server.delay_ms.store(50, Ordering::SeqCst);
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.client("App").await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), "client-0");
    }
    assert_eq!((world.calls(), records(&ledger).await.len()), (1, 1));
}

/// Registrations that are not deduplicated do not wait for each other.
#[tokio::test]
async fn many_at_once_get_one_each_where_answers_hold_a_token() {
    let ledger = MemoryLedger::default();
    let world = Arc::new(World::new(ledger.clone()));
    world.server.delay_ms.store(200, Ordering::SeqCst);
    world.server.management.store(true, Ordering::SeqCst);
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.client("App").await })
        })
        .collect();
    let mut ids = std::collections::BTreeSet::new();
    for task in tasks {
        ids.insert(task.await.unwrap());
    }
    assert_eq!((ids.len(), world.calls()), (100, 100));
    assert!(world.server.most_at_once.load(Ordering::SeqCst) > 10);
}

#[tokio::test]
async fn a_server_that_deduplicates_itself_works() {
    let ledger = MemoryLedger::default();
    let world = World::with(ledger.clone(), |registrar| {
        registrar.map_settings(|lifecycle| lifecycle.deduplication = Some(false)).unwrap()
    });
    *world.server.answer.lock().unwrap() = Some((201, json!({ "client_id": "always-this" })));
    for _ in 0..3 {
        assert_eq!(world.client("App").await, "always-this");
    }
    assert_eq!(records(&ledger).await.len(), 1);
    let alice = Actor::Operator("alice".into());
    let mut revocation = Revocation::client("always-this", alice, "x");
    revocation.blocks = false;
    world.registrar.revoke(revocation).await.unwrap();
    assert_eq!(world.register(&metadata("App")).await.status, 400, "what was revoked is not handed out again");
    assert_eq!(
        world.register(&metadata("Other")).await.status,
        500,
        "this one was not revoked, and the id is another's"
    );
    assert_eq!(ledger.find("always-this").await.unwrap().unwrap().status, Status::Revoked);
}

#[tokio::test]
async fn approval_keeps_one_client_id() {
    let ledger = MemoryLedger::default();
    let approval = Some(2 * DAY);
    let world = World::with(ledger.clone(), |registrar| {
        registrar.map_settings(|lifecycle| lifecycle.approval = approval).unwrap()
    });
    let id = world.client("App").await;
    assert_eq!(world.token(&id).await.status, 400);
    assert_eq!(world.client("App").await, id, "however often it asks");
    let page = world.authorize(&id, "http://127.0.0.1:3118/callback").await;
    assert!(page.status == 400 && page.text.contains("not been approved yet"), "{page:?}");
    let review = world.registrar.clone();
    review.approve(&id, "alice", "known to us").await.unwrap();
    assert_eq!(world.client("App").await, id);
    assert_eq!(world.token(&id).await.status, 200);
    let other = world.client("Other").await;
    world.clock.advance(2 * DAY);
    assert_eq!(world.token(&other).await.status, 401);
    assert_eq!(ledger.find(&other).await.unwrap().unwrap().reason.as_deref(), Some("not approved in time"));
    assert_ne!(world.client("Other").await, other, "it starts anew");
}

#[tokio::test]
async fn a_revoked_registration_stays_rejected() {
    type Target = fn(&Client) -> Fingerprint;
    let targets: [(&str, Target); 7] = [
        ("client", |client| Fingerprint::ClientId(client.client_id.clone().unwrap())),
        ("digest", |client| Fingerprint::Digest(client.fingerprints.digest.clone())),
        ("family", |client| Fingerprint::Family(client.fingerprints.family.clone())),
        ("name", |_| Fingerprint::name("APP  (somewhere)")),
        ("redirect set", |client| Fingerprint::RedirectSet(client.fingerprints.redirect_set.clone())),
        ("software", |_| Fingerprint::SoftwareId("soft".into())),
        ("source", |_| Fingerprint::parse("source", "127.0.0.0/24").unwrap()),
    ];
    for (reason, target) in targets {
        let ledger = MemoryLedger::default();
        let world = World::new(ledger.clone());
        let body =
            json!({ "client_name": "App", "redirect_uris": ["http://127.0.0.1:3118/callback"], "software_id": "soft" });
        let from_here = || {
            let mut request = register(&body);
            request.extensions_mut().insert(std::net::SocketAddr::from(([127, 0, 0, 9], 1)));
            request
        };
        let id = world.send(from_here()).await.client_id();
        assert_eq!(world.token(&id).await.status, 200, "{reason}");
        let target = target(&ledger.find(&id).await.unwrap().unwrap());
        let revocation = Revocation::new(target, Actor::Operator("alice".into()), "imitates");
        let revoked = world.registrar.revoke(revocation).await.unwrap();
        assert_eq!(revoked.clients, 1, "{reason}");
        assert_eq!(world.token(&id).await.status, 401, "{reason}: at once on this node");
        assert_eq!(world.server.deprovisioned.lock().unwrap().as_slice(), std::slice::from_ref(&id), "{reason}");
        let rejected = world.send(from_here()).await;
        assert_eq!((rejected.status, rejected.error().as_str()), (400, "invalid_client_metadata"), "{reason}");
        assert_eq!(world.calls(), 1, "{reason}");
        // Nor by a clean registration that is updated to it.
        let clean = json!({ "client_name": "Clean", "redirect_uris": ["http://localhost/clean"] });
        let other = world.register(&clean).await.client_id();
        let mut update = body.clone();
        update["client_id"] = other.clone().into();
        let put = Request::put(format!("/register/{other}"))
            .header(header::CONTENT_TYPE, "application/json")
            .extension(std::net::SocketAddr::from(([127, 0, 0, 9], 1)))
            .body(Body::from(update.to_string()))
            .unwrap();
        assert_eq!(world.send(put).await.status, 400, "{reason}");
        let events = world.events.of(LifecycleAction::Revoked);
        assert_eq!((events.len(), events[0].actor.as_deref()), (1, Some("operator:alice")), "{reason}");
    }
}

#[tokio::test]
async fn sources_are_recorded_by_default() {
    for kept in [true, false] {
        let ledger = MemoryLedger::default();
        let world = World::with(ledger.clone(), |registrar| {
            if kept { registrar } else { registrar.map_settings(|lifecycle| lifecycle.sources = Some(false)).unwrap() }
        });
        let mut request = register(&metadata("App"));
        request.extensions_mut().insert(std::net::SocketAddr::from(([203, 0, 113, 9], 1)));
        world.send(request).await;
        let source = records(&ledger).await.remove(0).fingerprints.source;
        assert_eq!(source.map(|source| source.narrow).as_deref(), kept.then_some("203.0.113.9/32"));
    }
}

#[tokio::test]
async fn a_client_manages_itself_until_it_ends() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    let id = world.client("App").await;
    let manage = |method: &str, body: &str| {
        let request = Request::builder().method(method).uri(format!("/register/{id}"));
        request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_owned())).unwrap()
    };
    assert_eq!(world.send(manage("GET", "")).await.status, 200);
    let update = json!({ "client_id": id, "client_name": "Renamed", "redirect_uris": ["http://127.0.0.1:3118/other"] });
    assert_eq!(world.send(manage("PUT", &update.to_string())).await.status, 200);
    let client = ledger.find(&id).await.unwrap().unwrap();
    assert_eq!((client.fingerprints.name.as_str(), client.dedup_key.as_deref()), ("renamed", None));
    assert_eq!(world.authorize(&id, "http://127.0.0.1:3118/callback").await.status, 400, "not registered any more");
    assert_eq!(world.authorize(&id, "http://127.0.0.1:3118/other").await.status, 200);

    assert_eq!(world.send(manage("DELETE", "")).await.status, 204);
    let client = ledger.find(&id).await.unwrap().unwrap();
    assert_eq!((client.status, client.ended_by), (Status::Revoked, Some(Actor::Client)));
    for (method, body) in [("GET", String::new()), ("PUT", update.to_string()), ("DELETE", String::new())] {
        let answer = world.send(manage(method, &body)).await;
        assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_token"), "{method}");
        assert!(answer.headers.contains_key("www-authenticate"), "{method}");
    }
    assert_eq!(world.token(&id).await.status, 401);
    assert_ne!(world.client("App").await, id, "it may come back as somebody new");
}

/// A client can't change the record of another one.
#[tokio::test]
async fn a_client_manages_no_other() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    let (mine, other) = (world.client("Mine").await, world.client("Other").await);
    let update = json!({ "client_id": other, "client_name": "Mine", "redirect_uris": ["https://evil.example.com/cb"] });
    let manage = |method: &str, path: &str| {
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
        request.body(Body::from(update.to_string())).unwrap()
    };
    let before = ledger.find(&other).await.unwrap();
    let rejected = world.send(manage("PUT", &format!("/register/{mine}"))).await;
    assert_eq!((rejected.status, rejected.error().as_str()), (400, "invalid_client_metadata"));
    // By the URL of a client that the ledger does not know.
    assert_eq!(world.send(manage("PUT", "/register/from-before")).await.status, 400);
    assert_eq!(world.send(manage("DELETE", &format!("/register/from-before?client_id={other}"))).await.status, 400);
    assert_eq!(ledger.find(&other).await.unwrap(), before);
}

#[tokio::test]
async fn the_owner_of_a_token_revokes_its_clients() {
    let world = World::new(MemoryLedger::default());
    let mut request = register(&metadata("App"));
    request.extensions_mut().insert(Caller::authorized("team-a"));
    let id = world.send(request).await.client_id();
    let other = world.client("Other").await;
    let by = |owner: &str, id: &str| {
        world.registrar.revoke(Revocation::client(id, Actor::TokenOwner(owner.into()), "not ours any more"))
    };
    assert!(by("team-b", &id).await.is_err());
    assert!(by("team-a", &other).await.is_err());
    assert_eq!(by("team-a", &id).await.unwrap().clients, 1);
    assert_eq!(world.events.of(LifecycleAction::Revoked)[0].actor.as_deref(), Some("token-owner:team-a"));
    let all = Revocation::new(Fingerprint::name("Other"), Actor::TokenOwner("team-a".into()), "x");
    assert!(world.registrar.revoke(all).await.is_err(), "one at a time");
}

#[tokio::test]
async fn without_a_policy_layer_every_registration_is_rejected() {
    use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
    let registrar = Registrar::new(MemoryLedger::default());
    let mut bare = ServiceBuilder::new().layer(LifecycleLayer::new(registrar.clone())).service(service_fn(
        async |_: Request<Body>| -> Result<axum::response::Response, std::convert::Infallible> { panic!("reached") },
    ));
    let answer = bare.ready().await.unwrap().call(register(&metadata("App"))).await.unwrap();
    assert_eq!(answer.status(), 500);
    // Behind one that only observes, everything passes.
    let observing = ServiceBuilder::new()
        .layer(PolicyLayer::new(tower_dcr::rules::MetadataAllowlist::mcp()).report_only())
        .layer(LifecycleLayer::new(registrar))
        .service(service_fn(async |_: Request<tower_dcr::layers::RegistrationBody>| {
            Ok::<_, std::convert::Infallible>(axum::response::Response::new(Body::empty()))
        }));
    assert_eq!(observing.oneshot(register(&metadata("App"))).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_ledger_that_is_down_fails_closed() {
    let world = World::new(Down::default());
    let answer = world.register(&metadata("App")).await;
    assert_eq!((answer.status, answer.error().as_str()), (503, "temporarily_unavailable"));
    assert_eq!(answer.headers["retry-after"], "5");
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(world.calls(), 0);
    let token = world.token("c").await;
    assert_eq!((token.status, token.error().as_str()), (503, "temporarily_unavailable"), "not invalid_client");
    let page = world.authorize("c", "x").await;
    assert_eq!(page.status, 503);
    assert_eq!(page.headers["retry-after"], "5");
}

#[tokio::test]
async fn registering_without_a_ledger_can_be_enabled() {
    use tower::{ServiceBuilder, ServiceExt, service_fn};
    let layer = LifecycleLayer::new(
        Registrar::new(Down::default())
            .map_settings(|lifecycle| lifecycle.danger_register_without_ledger = Some(true))
            .unwrap(),
    );
    let handler = service_fn(async |_: Request<tower_dcr::layers::RegistrationBody>| {
        Ok::<_, std::convert::Infallible>(axum::response::Response::new(Body::from(r#"{"client_id":"c"}"#)))
    });
    let guard = PolicyLayer::new(tower_dcr::rules::MetadataAllowlist::mcp());
    let register_route = ServiceBuilder::new().layer(guard).layer(layer).service(handler);
    let answer = register_route.oneshot(register(&metadata("App"))).await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_returning_client_has_the_time_to_sign_in() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    let id = world.client("App").await;
    world.clock.advance(6 * DAY + 23 * HOUR);
    assert_eq!(world.client("App").await, id);
    world.clock.advance(2 * HOUR);
    assert_eq!(world.token(&id).await.status, 200);
    let client = ledger.find(&id).await.unwrap().unwrap();
    assert_eq!(client.status_at(now() + 8 * 24 * 3600 * 1000), Status::Active);
}

/// A client that was revoked by name returns under a look-alike name.
#[tokio::test]
async fn a_blocked_name_blocks_those_that_look_like_it() {
    let world = World::new(MemoryLedger::default());
    let other_node = World::around(Arc::clone(&world.server), world.clock.clone(), MemoryLedger::default(), |_| {
        world.registrar.clone()
    });
    let clean = world.client("Honest").await;
    assert_eq!(world.register(&metadata("Phishing Tool")).await.status, 201, "the names were read once");
    let revocation = Revocation::new(Fingerprint::name("Phishing Tool"), Actor::Operator("alice".into()), "phishing");
    world.registrar.revoke(revocation).await.unwrap();
    for name in
        ["Phishing Tool", "PHISHING TOOL (2)", "Phlshing Tool", "Ph1shing-Tool", "Рhishing Tool", "PhishingTool"]
    {
        for node in [&world, &other_node] {
            assert_eq!(node.register(&metadata(name)).await.status, 400, "{name}");
        }
        let update = json!({ "client_id": clean, "client_name": name, "redirect_uris": ["http://127.0.0.1:3118/cb"] });
        let put = Request::put(format!("/register/{clean}")).header(header::CONTENT_TYPE, "application/json");
        assert_eq!(world.send(put.body(Body::from(update.to_string())).unwrap()).await.status, 400, "{name}");
    }
    for name in ["Fishing Tool", "Phishing Tools", "Phishing Tool Blocker", "Tool"] {
        assert_eq!(world.register(&metadata(name)).await.status, 201, "{name}");
    }
    let alice = Actor::Operator("alice".into());
    assert!(world.registrar.unblock(&Fingerprint::name("Phishing Tool"), &alice, "").await.unwrap());
    assert_eq!(world.register(&metadata("Ph1shing-Tool")).await.status, 201);
}

/// A block that another node wrote is seen after five seconds at most.
#[tokio::test]
async fn a_look_alike_of_a_name_blocked_on_another_node_is_rejected_soon() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    let other = World::around(Arc::clone(&world.server), world.clock.clone(), ledger, |registrar| registrar);
    world.client("Honest").await;
    let revocation = Revocation::new(Fingerprint::name("Phishing Tool"), Actor::Operator("alice".into()), "phishing");
    other.registrar.revoke(revocation).await.unwrap();
    assert_eq!(world.register(&metadata("Phishing Tool")).await.status, 400, "the name itself at once");
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(world.register(&metadata("Phlshing Tool")).await.status, 400);
}

/// An unanswered registration of another node delays an equal one once, and not when it is old.
#[tokio::test]
async fn an_unanswered_old_registration_is_not_waited_for() {
    let shared = Down::default();
    shared.is_up.store(true, Ordering::SeqCst);
    let world = World::new(shared.clone());
    let node = World::around(Arc::clone(&world.server), world.clock.clone(), shared.clone(), |registrar| registrar);
    node.server.delay_ms.store(10_000, Ordering::SeqCst);
    let hung_up = tokio::time::timeout(Duration::from_millis(50), node.register(&metadata("App"))).await;
    assert!(hung_up.is_err());
    node.server.delay_ms.store(0, Ordering::SeqCst);
    world.clock.advance(Duration::from_secs(4));
    let before = shared.asked.load(Ordering::SeqCst);
    assert_eq!(world.register(&metadata("App")).await.status, 201);
    let asked = shared.asked.load(Ordering::SeqCst) - before;
    assert!(asked < 20, "{asked} questions: it looked again and again");
}
