//! The quota of clients, as attackers meet it: what one network, many networks and signed-in accounts can do, by a manual
//! clock. The figures are those of `docs/client-quota.md`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use tower_dcr::audit::LifecycleAction;
use tower_dcr::clients::{Filter, Ledger, MemoryLedger, Registrar, Status};

use crate::world::{Answer, DAY, HOUR, World, metadata, register};

const MINUTE: Duration = Duration::from_secs(60);

fn full_at(clients: u64) -> impl FnOnce(Registrar) -> Registrar {
    move |registrar| {
        registrar.map_settings(|lifecycle| lifecycle.max_clients = Some(NonZeroU64::new(clients).unwrap())).unwrap()
    }
}

/// A public application of its own name.
fn native(name: &str) -> Value {
    metadata(name)
}

/// An application whose callback proves a vendor; each is another registration.
fn hosted(number: &str) -> Value {
    json!({
        "client_name": "Claude",
        "redirect_uris": ["https://claude.ai/api/mcp/auth_callback"],
        "contacts": [format!("{number}@example.com")],
    })
}

async fn register_from(world: &World, network: [u8; 3], body: &Value) -> Answer {
    let mut request = register(body);
    let [a, b, c] = network;
    request.extensions_mut().insert(SocketAddr::from(([a, b, c, 9], 40_000)));
    world.send(request).await
}

async fn client_from(world: &World, network: [u8; 3], body: &Value) -> String {
    let answer = register_from(world, network, body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.client_id()
}

async fn status(ledger: &impl Ledger, id: &str) -> Option<Status> {
    ledger.find(id).await.unwrap().map(|client| client.status)
}

/// Five registrations, or five sign-ins with an account of the attacker's, and nothing else: the next one gets in, from the
/// same network or another, and may sign in.
#[tokio::test]
async fn a_full_table_lets_the_next_one_in() {
    for (reason, signs_in, sources, network) in [
        ("registrations", false, true, [203, 0, 113]),
        ("registrations, and the next one is a neighbour", false, true, [10, 0, 0]),
        ("registrations, without sources", false, false, [203, 0, 113]),
        ("sign-ins", true, true, [203, 0, 113]),
        ("sign-ins, and the next one is a neighbour", true, true, [10, 0, 0]),
        ("sign-ins, without sources", true, false, [203, 0, 113]),
    ] {
        let ledger = MemoryLedger::default();
        let world = World::with(ledger.clone(), |registrar| {
            let registrar = full_at(5)(registrar);
            if sources {
                registrar
            } else {
                registrar.map_settings(|lifecycle| lifecycle.sources = Some(false)).unwrap()
            }
        });
        for number in 0..5 {
            let id = client_from(&world, [10, 0, 0], &native(&format!("Filler {number}"))).await;
            if signs_in {
                assert_eq!(world.token(&id).await.status, 200, "{reason}");
            }
        }
        for name in ["Honest", "Honest too"] {
            let id = client_from(&world, network, &native(name)).await;
            assert_eq!(world.token(&id).await.status, 200, "{reason}: {name}");
        }
        assert_eq!(world.events.of(LifecycleAction::Evicted).len(), 2, "{reason}");
        assert!(world.events.of(LifecycleAction::LedgerFull).is_empty(), "{reason}");
        assert_eq!(
            ledger
                .page(&Filter { statuses: Status::LIVE.to_vec(), ..Filter::default() }, None, 100)
                .await
                .unwrap()
                .len(),
            5,
            "{reason}"
        );
    }
}

#[tokio::test]
async fn the_network_that_holds_most_makes_room() {
    let ledger = MemoryLedger::default();
    let world = World::with(ledger.clone(), full_at(20));
    let mut honest = Vec::new();
    for number in 0..6 {
        honest.push(client_from(&world, [198, 51, number], &native(&format!("Honest {number}"))).await);
    }
    for number in 0..4 {
        honest.push(client_from(&world, [160, 79, 104], &hosted(&format!("1.{number}"))).await);
    }
    for number in 0..500 {
        world.clock.advance(Duration::from_secs(1));
        client_from(&world, [10, 0, 0], &native(&format!("Flood {number}"))).await;
    }
    for id in &honest {
        assert_eq!(status(&ledger, id).await, Some(Status::Active), "{id}: older than all of the flood");
    }
    assert_eq!(
        ledger.page(&Filter { statuses: Status::LIVE.to_vec(), ..Filter::default() }, None, 100).await.unwrap().len(),
        20
    );
    // From its own network the oldest goes first.
    let id = client_from(&world, [10, 0, 0], &native("A neighbour")).await;
    for number in 0..9 {
        client_from(&world, [10, 0, 0], &native(&format!("More {number}"))).await;
    }
    assert_eq!(status(&ledger, &id).await, Some(Status::Active));
    assert_eq!(world.token(&id).await.status, 200);
}

/// Many people share the networks and the name of a hosted application; a flood that only claims to be it is kept to its
/// network.
#[tokio::test]
async fn hosted_clients_have_a_larger_share() {
    let ledger = MemoryLedger::default();
    let world = World::with(ledger.clone(), full_at(100));
    let mut people = Vec::new();
    for number in 0..60 {
        people.push(client_from(&world, [160, 79, 104], &hosted(&format!("1.{number}"))).await);
    }
    for number in 0..400_u32 {
        let network = [10, u8::try_from(number % 40).unwrap(), 0];
        client_from(&world, network, &native(&format!("Flood {number}"))).await;
    }
    let live = async |ids: &[String]| {
        let mut live = 0;
        for id in ids {
            live += usize::from(status(&ledger, id).await == Some(Status::Active));
        }
        live
    };
    assert_eq!(live(&people).await, 60);
    // The same callback from everywhere: newcomers without a verified identity keep their tenth.
    let honest = client_from(&world, [198, 51, 1], &native("Honest")).await;
    for number in 0..400 {
        client_from(&world, [10, 1, 0], &hosted(&format!("2.{number}"))).await;
    }
    assert_eq!(world.token(&honest).await.status, 200);
    // A flood with the vendor's callback has a network of its own, and no more of the table than the people's.
    assert!(live(&people).await >= 44, "{}", live(&people).await);
    assert_eq!(live(&people[16..]).await, 44, "the oldest made room");
}

/// Clients that were used make room for newcomers where one network has more than its share, the least recently used first.
#[tokio::test]
async fn signed_in_clients_of_one_network_leave_room() {
    let ledger = MemoryLedger::default();
    let world = World::with(ledger.clone(), full_at(100));
    let mut used = Vec::new();
    for number in 0..30 {
        let id = client_from(&world, [198, 51, number], &native(&format!("Honest {number}"))).await;
        assert_eq!(world.token(&id).await.status, 200);
        used.push(id);
    }
    world.clock.advance(DAY);
    let mut attackers = Vec::new();
    for number in 0..70 {
        let id = client_from(&world, [10, 0, 0], &native(&format!("Account {number}"))).await;
        assert_eq!(world.token(&id).await.status, 200);
        attackers.push(id);
        world.clock.advance(MINUTE);
    }
    // Newcomers come at once, each from a network of its own, and all can sign in afterwards.
    let mut newcomers = Vec::new();
    for number in 0..10 {
        newcomers.push(client_from(&world, [203, 0, number], &native(&format!("Newcomer {number}"))).await);
    }
    for id in newcomers.iter().chain(&used) {
        assert_eq!(world.token(id).await.status, 200, "{id}");
    }
    for (index, id) in attackers.iter().enumerate() {
        let wanted = if index < 10 { Status::Expired } else { Status::Active };
        assert_eq!(status(&ledger, id).await, Some(wanted), "{index}");
    }
}

#[tokio::test]
async fn other_clients_are_not_evicted() {
    let ledger = MemoryLedger::default();
    let world = World::with(ledger.clone(), full_at(3));
    let review = world.registrar.clone();
    for name in ["One", "Two"] {
        let id = world.client(name).await;
        review.approve(&id, "alice", "ours").await.unwrap();
    }
    let used = client_from(&world, [198, 51, 1], &native("Used")).await;
    assert_eq!(world.token(&used).await.status, 200);
    let rejected = world.register(&metadata("More")).await;
    assert_eq!((rejected.status, rejected.error().as_str()), (503, "temporarily_unavailable"));
    assert_eq!(rejected.headers["retry-after"], "300");
    assert_eq!(world.events.of(LifecycleAction::LedgerFull).len(), 1);
    assert_eq!(status(&ledger, &used).await, Some(Status::Active), "one is no more than its share");
}

/// Registrations in progress stay; abandoned ones are removed after a minute, without maintenance of the ledger.
#[tokio::test(start_paused = true)]
async fn registrations_that_are_not_answered_make_room_after_a_minute() {
    let ledger = MemoryLedger::default();
    let world = World::with(ledger.clone(), full_at(2));
    for name in ["One", "Two"] {
        let node = World::around(world.server.clone(), world.clock.clone(), ledger.clone(), full_at(2));
        node.server.delay_ms.store(60_000, std::sync::atomic::Ordering::SeqCst);
        let body = metadata(name);
        assert!(tokio::time::timeout(Duration::from_secs(1), node.register(&body)).await.is_err());
    }
    world.server.delay_ms.store(0, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(world.register(&metadata("Three")).await.status, 503);
    world.clock.advance(Duration::from_secs(61));
    assert_eq!(world.register(&metadata("Three")).await.status, 201);
}

/// A client that made room leaves a digest behind, and nothing once the server knows that it is gone.
#[tokio::test]
async fn evicted_clients_leave_no_document() {
    let ledger = MemoryLedger::default();
    let world = World::with(ledger.clone(), full_at(2));
    let first = client_from(&world, [10, 0, 0], &native("Secretive")).await;
    let digest = ledger.find(&first).await.unwrap().unwrap().fingerprints.digest;
    for number in 0..20 {
        client_from(&world, [10, 0, 0], &native(&format!("App {number}"))).await;
    }
    let record = ledger.find(&first).await.unwrap().unwrap();
    assert_eq!(
        (record.status, record.registration.as_str(), &record.fingerprints.digest),
        (Status::Expired, "", &digest)
    );
    assert!(!format!("{record:?}").contains("ecretive") && record.fingerprints.source.is_none(), "{record:?}");
    assert_eq!(world.token(&first).await.status, 401, "known as one that has ended");
    world.registrar.maintain_once().await.unwrap();
    assert_eq!(world.server.deprovisioned.lock().unwrap().len(), 19);
    world.clock.advance(HOUR);
    world.registrar.maintain_once().await.unwrap();
    assert_eq!(ledger.page(&Filter::default(), None, 100).await.unwrap().len(), 2);
    assert_eq!(world.token(&first).await.status, 401, "the server says so");
    // The same may be registered again.
    assert_eq!(register_from(&world, [10, 0, 0], &native("Secretive")).await.status, 201);
}

/// Registrations that the server rejects leave a digest and a time, for an hour, and at most ten thousand of them.
#[tokio::test]
async fn failed_registrations_leave_a_digest_and_a_time() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    *world.server.answer.lock().unwrap() = Some((400, json!({ "error": "invalid_client_metadata" })));
    let mut body = native("Refused by the server");
    body["contacts"] = json!(["somebody@example.com"]);
    assert_eq!(register_from(&world, [10, 0, 0], &body).await.status, 400);
    let [failed] = &ledger.page(&Filter::default(), None, 10).await.unwrap()[..] else { panic!("one record") };
    assert_eq!((failed.status, failed.registration.as_str()), (Status::Failed, ""));
    assert_eq!((failed.fingerprints.digest.len(), failed.ended_at.is_some()), (64, true));
    let kept = format!("{failed:?}");
    assert!(
        kept.len() < 1500 && !kept.contains("Refused by") && !kept.contains("somebody") && !kept.contains("10.0.0"),
        "{kept}"
    );
    for number in 0..10_200 {
        register_from(&world, [10, 0, 0], &native(&format!("App {number}"))).await;
    }
    let count = async || {
        let counts = ledger.counts().await.unwrap();
        counts.into_iter().find(|(status, _)| *status == Status::Failed).map_or(0, |(_, clients)| clients)
    };
    assert!((10_000..10_064).contains(&count().await), "{}", count().await);
    world.clock.advance(HOUR);
    world.registrar.maintain_once().await.unwrap();
    assert_eq!(count().await, 0);
    // The same registration is as new.
    *world.server.answer.lock().unwrap() = None;
    assert_eq!(register_from(&world, [10, 0, 0], &body).await.status, 201);
}

#[tokio::test]
async fn addresses_are_shortened_after_a_month() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    let id = client_from(&world, [192, 0, 2], &native("App")).await;
    world.token(&id).await;
    let source = async || {
        let source = ledger.find(&id).await.unwrap().unwrap().fingerprints.source.unwrap();
        (source.narrow, source.wide)
    };
    let network = || "192.0.2.0/24".to_owned();
    world.clock.advance(29 * DAY + 23 * HOUR);
    assert_eq!(world.registrar.maintain_once().await.unwrap().shortened, 0);
    assert_eq!(source().await, ("192.0.2.9/32".to_owned(), network()));
    world.clock.advance(HOUR);
    assert_eq!(world.registrar.maintain_once().await.unwrap().shortened, 1);
    assert_eq!(source().await, (network(), network()));
    assert_eq!(world.registrar.maintain_once().await.unwrap().shortened, 0, "once");
}

/// An approval is for what was approved.
#[tokio::test]
async fn an_approval_does_not_outlive_what_was_approved() {
    let base = json!({
        "client_name": "App", "software_version": "1", "contacts": ["a@example.com"],
        "redirect_uris": ["http://127.0.0.1:3118/callback"], "client_uri": "https://app.example.com/",
    });
    let rows: [(&str, Value, bool); 8] = [
        ("nothing", json!({}), true),
        ("its version", json!({ "software_version": "2" }), true),
        ("its contacts", json!({ "contacts": ["b@example.com"] }), true),
        ("the port of a loopback URI", json!({ "redirect_uris": ["http://127.0.0.1:4444/callback"] }), true),
        ("its name", json!({ "client_name": "Claude" }), false),
        ("its redirect URI", json!({ "redirect_uris": ["https://evil.example.com/cb"] }), false),
        (
            "one redirect URI more",
            json!({ "redirect_uris": ["http://127.0.0.1:3118/callback", "http://[::1]/cb"] }),
            false,
        ),
        ("its home page", json!({ "client_uri": "https://evil.example.com/" }), false),
    ];
    for wanted in [true, false] {
        for (reason, change, stays) in &rows {
            let ledger = MemoryLedger::default();
            let approval = Some(2 * DAY);
            let world = World::with(ledger.clone(), |registrar| {
                if wanted {
                    registrar.map_settings(|lifecycle| lifecycle.approval = approval).unwrap()
                } else {
                    registrar
                }
            });
            let id = world.register(&base).await.client_id();
            let review = world.registrar.clone();
            review.approve(&id, "alice", "ours").await.unwrap();
            assert_eq!(world.token(&id).await.status, 200, "{reason}");
            let mut update = base.clone();
            update.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            update["client_id"] = id.clone().into();
            let put = Request::put(format!("/register/{id}")).header(header::CONTENT_TYPE, "application/json");
            assert_eq!(world.send(put.body(Body::from(update.to_string())).unwrap()).await.status, 200, "{reason}");
            let client = ledger.find(&id).await.unwrap().unwrap();
            let status = if *stays || !wanted { Status::Active } else { Status::Pending };
            let reviewer = stays.then_some("alice");
            assert_eq!((client.status, client.reviewed_by.as_deref()), (status, reviewer), "{reason}, {wanted}");
            assert_eq!(world.token(&id).await.status, if status == Status::Active { 200 } else { 400 }, "{reason}");
            if status == Status::Pending {
                review.approve(&id, "bob", "still ours").await.unwrap();
                assert_eq!(world.token(&id).await.status, 200, "{reason}: approved again");
            }
        }
    }
}

/// A server of 200 clients for an hour, under attack.
struct Attack {
    networks: u32,
    per_minute: u32,
    signs_in: bool,
    body: fn(u32) -> Value,
}

/// The effects on honest people.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Harm {
    /// Registrations that were rejected.
    rejected: u32,
    /// People who could not sign in five minutes after they registered.
    too_late: u32,
    /// Clients that were signed in before, and have to sign in again.
    ended: u32,
}

impl Attack {
    async fn run(&self) -> Harm {
        let world = World::with(MemoryLedger::default(), full_at(200));
        let mut harm = Harm::default();
        let mut established = Vec::new();
        for number in 0..100 {
            // Two people each from 50 networks, and 20 of a hosted application.
            let (network, body) = match number {
                0..20 => ([160, 79, 104], hosted(&format!("1.{number}"))),
                _ => ([198, 51, number / 2], native(&format!("Established {number}"))),
            };
            let id = client_from(&world, network, &body).await;
            world.token(&id).await;
            established.push(id);
        }
        world.clock.advance(DAY);
        let mut waiting = VecDeque::new();
        for minute in 0..60_u32 {
            for number in 0..self.per_minute {
                let number = minute * self.per_minute + number;
                let network = number % self.networks;
                let network = [10, u8::try_from(network / 256).unwrap(), u8::try_from(network % 256).unwrap()];
                let answer = register_from(&world, network, &(self.body)(number)).await;
                if self.signs_in {
                    world.token(&answer.client_id()).await;
                }
            }
            // Another person comes each minute.
            let network = [203, 0, u8::try_from(minute).unwrap()];
            let answer = register_from(&world, network, &native(&format!("Newcomer {minute}"))).await;
            match answer.status {
                201 => waiting.push_back(answer.client_id()),
                _ => harm.rejected += 1,
            }
            if waiting.len() > 5
                && let Some(id) = waiting.pop_front()
            {
                harm.too_late += u32::from(world.token(&id).await.status != 200);
            }
            world.clock.advance(MINUTE);
        }
        for id in &established {
            harm.ended += u32::from(world.token(id).await.status != 200);
        }
        harm
    }
}

fn flood(number: u32) -> Value {
    native(&format!("Flood {number}"))
}

fn hosted_flood(number: u32) -> Value {
    hosted(&format!("2.{number}"))
}

/// The table of `docs/client-quota.md`.
#[tokio::test]
async fn an_attack_of_an_hour_has_the_documented_effect() {
    const NONE: Harm = Harm { rejected: 0, too_late: 0, ended: 0 };
    let attack = |networks, per_minute, signs_in, body| Attack { networks, per_minute, signs_in, body };
    let rows = [
        ("one network", attack(1, 30, false, flood), NONE),
        ("10 networks", attack(10, 30, false, flood), NONE),
        ("one network, with a vendor's callback", attack(1, 30, false, hosted_flood), NONE),
        ("1,000 networks, with a vendor's callback", attack(1000, 30, false, hosted_flood), NONE),
        ("one network, and signs in", attack(1, 30, true, flood), NONE),
        ("20 networks, and signs in", attack(20, 30, true, flood), NONE),
        ("60 networks, and signs in", attack(60, 30, true, flood), Harm { rejected: 57, ..NONE }),
        ("one network, with a vendor's callback, and signs in", attack(1, 30, true, hosted_flood), NONE),
        // Places for a hundred that were never used, and fewer as people sign in: they go round in nine minutes at first, or
        // in three.
        ("1,000 networks, slowly", attack(1000, 10, false, flood), Harm { too_late: 10, ..NONE }),
        ("1,000 networks", attack(1000, 30, false, flood), Harm { too_late: 55, ..NONE }),
    ];
    let docs = include_str!("../../docs/client-quota.md");
    let mut failures = Vec::new();
    for (name, attack, wanted) in rows {
        let harm = attack.run().await;
        let row =
            format!("| {name} | {} | {} | {} | {} |", attack.per_minute, harm.rejected, harm.too_late, harm.ended);
        if harm != wanted || !docs.contains(&row) {
            failures.push(row);
        }
    }
    assert!(failures.is_empty(), "docs/client-quota.md and the table above say otherwise:\n{}", failures.join("\n"));
}
