//! Servers that give one `client_id` to several registrations: by mistake, anew after their store was lost, or by intent.

use std::sync::{Arc, Mutex};

use axum::http::Request;
use serde_json::{Value, json};
use sqlx::sqlite::SqlitePoolOptions;
use tower_dcr::Registration;
use tower_dcr::audit::LifecycleAction;
use tower_dcr::clients::{
    Actor, AdminError, Client, Filter, Fingerprint, Fingerprints, Insertion, Ledger, MemoryLedger, Origin, Registrar,
    Replacement, Revocation, Status,
};
use tower_dcr::rules::Caller;
use tower_dcr_sqlx::SqliteLedger;

use crate::databases::TempDir;
use crate::world::{Answer, DAY, HOUR, START, World, metadata, register, serde_urlencoded};

const ID: &str = "app-1";

fn alice() -> Actor {
    Actor::Operator("alice".into())
}

async fn records(ledger: &impl Ledger) -> Vec<Client> {
    ledger.page(&Filter::default(), None, 1000).await.unwrap()
}

/// A server that answers everybody with one id, and gives it tokens.
fn one_id(world: &World) {
    *world.server.answer.lock().unwrap() = Some((201, json!({ "client_id": ID })));
    world.server.clients.lock().unwrap().insert(ID.into(), Value::Null);
}

fn with_uri(name: &str, uri: &str) -> Value {
    json!({ "client_name": name, "redirect_uris": [uri] })
}

async fn register_as(world: &World, owner: &str, body: &Value) -> Answer {
    let mut request = register(body);
    request.extensions_mut().insert(Caller::authorized(owner));
    world.send(request).await
}

type Change = fn(Registrar) -> Registrar;

/// Nothing of a live client that an operator approved and that is in use is touched by another registration.
async fn keeps_the_first(ledger: impl Ledger + Clone, reason: &str) {
    let world = World::with(ledger.clone(), |registrar| {
        registrar.map_settings(|lifecycle| lifecycle.approval = Some(2 * DAY)).unwrap()
    });
    one_id(&world);
    assert_eq!(world.client("App").await, ID, "{reason}");
    world.registrar.approve(ID, "alice", "known to us").await.unwrap();
    world.clock.advance(HOUR);
    assert_eq!(world.token(ID).await.status, 200, "{reason}");
    let before = ledger.find(ID).await.unwrap().unwrap();
    assert!(
        before.reviewed_by.is_some() && before.last_used_at.is_some() && before.status == Status::Active,
        "{reason}"
    );
    let others = [
        ("another name", with_uri("Notes", "http://127.0.0.1:3118/callback")),
        ("another host", with_uri("App", "https://app.example.net/cb")),
        ("another port, where ports count", with_uri("App", "http://127.0.0.1:3119/callback")),
        (
            "one URI more",
            json!({ "client_name": "App", "redirect_uris": ["http://127.0.0.1:3118/callback", "https://app.example.net/cb"] }),
        ),
    ];
    for (row, other) in others {
        world.clock.advance(HOUR);
        let answer = world.register(&other).await;
        assert_eq!((answer.status, answer.error().as_str()), (500, "server_error"), "{reason}: {row}");
        assert!(!answer.text.contains(ID), "{reason}: {row}: nobody holds the id: {}", answer.text);
        assert_eq!(ledger.find(ID).await.unwrap().as_ref(), Some(&before), "{reason}: {row}");
        let draft = records(&ledger).await.remove(0);
        assert_eq!((draft.status, draft.client_id), (Status::Failed, None), "{reason}: {row}");
        assert!(draft.reason.unwrap().contains("client_id of another registration"), "{reason}: {row}");
    }
    let events = world.events.of(LifecycleAction::IdConflict);
    assert_eq!((events.len(), events[0].client_id.as_deref()), (4, Some(ID)), "{reason}");
    assert_eq!(world.client("App").await, ID, "{reason}: the first one still has it");
    assert_eq!(world.token(ID).await.status, 200, "{reason}");
    assert!(world.server.deprovisioned.lock().unwrap().is_empty(), "{reason}");
    // Whom the operator then revokes is the one that was there, and not a stranger.
    world.registrar.revoke(Revocation::client(ID, alice(), "x")).await.unwrap();
    assert_eq!(world.register(&metadata("App")).await.status, 400, "{reason}: blocked");
    assert_eq!(world.register(&metadata("Notes")).await.status, 500, "{reason}: never revoked, and has no id either");
}

#[tokio::test]
async fn a_second_registration_inherits_nothing() {
    keeps_the_first(MemoryLedger::default(), "memory").await;
    let dir = TempDir::new("ids");
    keeps_the_first(SqliteLedger::open(dir.path().join("clients.db")).await.unwrap(), "SQLite").await;
}

/// A server that recognises repeats is believed, by what was forwarded, whether the ledger recognises them or not.
#[tokio::test]
async fn an_equal_registration_keeps_the_record() {
    let app = metadata("App");
    let other_port = with_uri("App", "http://127.0.0.1:4000/callback");
    let rows: [(&str, Change, Value, &Value); 4] = [
        (
            "repeats off",
            |registrar| registrar.map_settings(|lifecycle| lifecycle.deduplication = Some(false)).unwrap(),
            json!({}),
            &app,
        ),
        (
            "an answer that holds a token",
            |registrar| registrar,
            json!({ "registration_access_token": "t", "registration_client_uri": "https://as.example.com/register/app-1" }),
            &app,
        ),
        (
            "loopback ports don't count",
            |registrar| {
                registrar
                    .map_settings(|lifecycle| {
                        lifecycle.deduplication = Some(false);
                        lifecycle.any_loopback_port = Some(true);
                    })
                    .unwrap()
            },
            json!({}),
            &other_port,
        ),
        (
            "another port, and an answer that holds a token",
            |registrar| registrar.map_settings(|lifecycle| lifecycle.any_loopback_port = Some(true)).unwrap(),
            json!({ "registration_access_token": "t", "registration_client_uri": "https://as.example.com/register/app-1" }),
            &other_port,
        ),
    ];
    for (reason, change, extra, again) in rows {
        let ledger = MemoryLedger::default();
        let world = World::with(ledger.clone(), change);
        one_id(&world);
        world
            .server
            .answer
            .lock()
            .unwrap()
            .as_mut()
            .unwrap()
            .1
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        assert_eq!(world.client("App").await, ID, "{reason}");
        world.registrar.approve(ID, "alice", "known to us").await.unwrap();
        assert_eq!(world.token(ID).await.status, 200, "{reason}");
        let before = ledger.find(ID).await.unwrap().unwrap();
        world.clock.advance(DAY);
        let answer = world.register(again).await;
        assert_eq!((answer.status, answer.client_id().as_str()), (201, ID), "{reason}");
        let [after] = &records(&ledger).await[..] else { panic!("{reason}: one record") };
        assert_eq!(
            (after.key, &after.reviewed_by, after.last_used_at, after.created_at, after.status),
            (before.key, &before.reviewed_by, before.last_used_at, before.created_at, before.status),
            "{reason}"
        );
        assert_eq!(world.events.of(LifecycleAction::IdConflict), [], "{reason}");
        assert_eq!(world.token(ID).await.status, 200, "{reason}");
    }
}

#[tokio::test]
async fn the_setting_for_ports_may_change_in_between() {
    let ledger = MemoryLedger::default();
    let world = World::with(ledger.clone(), |registrar| {
        registrar.map_settings(|lifecycle| lifecycle.deduplication = Some(false)).unwrap()
    });
    one_id(&world);
    world.client("App").await;
    let later = World::around(Arc::clone(&world.server), Arc::clone(&world.clock), ledger.clone(), |registrar| {
        registrar
            .map_settings(|lifecycle| {
                lifecycle.deduplication = Some(false);
                lifecycle.any_loopback_port = Some(true);
            })
            .unwrap()
    });
    assert_eq!(later.client("App").await, ID);
    assert_eq!(later.register(&with_uri("App", "http://127.0.0.1:9/callback")).await.client_id(), ID);
    assert_eq!(records(&ledger).await.len(), 1);
}

#[tokio::test]
async fn registrations_of_different_owners_are_not_shared() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    one_id(&world);
    assert_eq!(register_as(&world, "team-a", &metadata("App")).await.client_id(), ID);
    for (reason, answer) in [
        ("another owner", register_as(&world, "team-b", &metadata("App")).await),
        ("nobody's", world.register(&metadata("App")).await),
    ] {
        assert_eq!(answer.status, 500, "{reason}");
    }
    assert_eq!(register_as(&world, "team-a", &metadata("App")).await.client_id(), ID);
    assert_eq!(ledger.find(ID).await.unwrap().unwrap().admitted_by.as_deref(), Some("team-a"));
}

/// The ended clients that come back if the server gives their id to an equal registration.
#[tokio::test]
async fn an_expired_client_can_register_anew_and_a_revoked_one_not() {
    type End = fn(World) -> std::pin::Pin<Box<dyn Future<Output = World>>>;
    let rows: [(&str, End, u16); 5] = [
        (
            "expired",
            |world| {
                Box::pin(async {
                    world.clock.advance(8 * DAY);
                    assert_eq!(world.registrar.maintain_once().await.unwrap().expired, 1);
                    world
                })
            },
            201,
        ),
        (
            "expired long ago, so that the record is empty",
            |world| {
                Box::pin(async {
                    world.clock.advance(8 * DAY);
                    world.registrar.maintain_once().await.unwrap();
                    world.clock.advance(40 * DAY);
                    world.registrar.maintain_once().await.unwrap();
                    world
                })
            },
            201,
        ),
        (
            "deleted by itself",
            |world| {
                Box::pin(async {
                    let delete = Request::delete(format!("/register/{ID}")).body(axum::body::Body::empty()).unwrap();
                    assert_eq!(world.send(delete).await.status, 204);
                    world
                })
            },
            201,
        ),
        (
            "revoked, and not blocked",
            |world| {
                Box::pin(async {
                    let mut revocation = Revocation::client(ID, alice(), "x");
                    revocation.blocks = false;
                    world.registrar.revoke(revocation).await.unwrap();
                    world
                })
            },
            400,
        ),
        (
            "revoked after it expired",
            |world| {
                Box::pin(async {
                    world.clock.advance(8 * DAY);
                    world.registrar.maintain_once().await.unwrap();
                    let mut revocation = Revocation::client(ID, alice(), "x");
                    revocation.blocks = false;
                    world.registrar.revoke(revocation).await.unwrap();
                    world
                })
            },
            400,
        ),
    ];
    for (reason, end, status) in rows {
        let ledger = MemoryLedger::default();
        let world = World::with(ledger.clone(), |registrar| {
            registrar.map_settings(|lifecycle| lifecycle.deduplication = Some(false)).unwrap()
        });
        one_id(&world);
        world.client("App").await;
        world.registrar.approve(ID, "alice", "known to us").await.unwrap();
        let world = end(world).await;
        one_id(&world);
        assert_eq!(world.register(&metadata("App")).await.status, status, "{reason}");
        let client = ledger.find(ID).await.unwrap().unwrap();
        if status == 201 {
            assert_eq!(
                (client.status, client.reviewed_at, client.last_used_at),
                (Status::Active, None, None),
                "{reason}"
            );
            assert_eq!(world.token(ID).await.status, 200, "{reason}");
        } else {
            assert_eq!(client.status, Status::Revoked, "{reason}");
            assert_eq!(world.token(ID).await.status, 401, "{reason}");
        }
    }
}

/// An id that got a token before its registration passes nothing on to the registered client.
#[tokio::test]
async fn a_client_registered_elsewhere_passes_nothing_on() {
    let ledger = MemoryLedger::default();
    let approval = Some(2 * DAY);
    let world = World::with(ledger.clone(), |registrar| {
        registrar.map_settings(|lifecycle| lifecycle.approval = approval).unwrap()
    });
    one_id(&world);
    assert_eq!(world.token(ID).await.status, 200);
    assert_eq!(ledger.find(ID).await.unwrap().unwrap().origin, Origin::Elsewhere);
    assert_eq!(world.client("App").await, ID);
    let client = ledger.find(ID).await.unwrap().unwrap();
    assert_eq!((client.origin, client.status, client.last_used_at), (Origin::Registered, Status::Pending, None));
    assert_eq!(records(&ledger).await.len(), 1);
    // An operator has looked at this one: what comes later does not take its place.
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    one_id(&world);
    world.token(ID).await;
    world.registrar.approve(ID, "alice", "known to us").await.unwrap();
    let before = ledger.find(ID).await.unwrap();
    assert_eq!(world.register(&metadata("App")).await.status, 500);
    assert_eq!(ledger.find(ID).await.unwrap(), before);
    // If one such client was revoked, another registration could be the same client.
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    one_id(&world);
    world.token(ID).await;
    world.registrar.revoke(Revocation::client(ID, alice(), "x")).await.unwrap();
    assert_eq!(world.register(&metadata("App")).await.status, 500);
    assert_eq!(ledger.find(ID).await.unwrap().unwrap().status, Status::Revoked);
}

/// With shared ids, each registration has a record of its own, and inherits nothing.
async fn shares(ledger: impl Ledger + Clone, reason: &str) {
    let approval = Some(2 * DAY);
    let world = World::with(ledger.clone(), |registrar| {
        registrar
            .map_settings(|lifecycle| {
                lifecycle.approval = approval;
                lifecycle.shared_client_ids = Some(true);
            })
            .unwrap()
    });
    one_id(&world);
    let review = world.registrar.clone();
    assert_eq!(world.client("App").await, ID);
    review.approve(ID, "alice", "known to us").await.unwrap();
    assert_eq!(world.client("Notes").await, ID, "{reason}");
    assert_eq!(register_as(&world, "team-a", &metadata("App")).await.client_id(), ID, "{reason}");
    assert_eq!(world.client("App").await, ID, "{reason}: a repeat");
    assert_eq!(world.client("Notes").await, ID, "{reason}: a repeat");
    let all = review.records(ID).await.unwrap();
    assert_eq!(all.len(), 3, "{reason}");
    let of = |name: &str, owner: Option<&str>| {
        let is = |client: &&Client| client.fingerprints.name == name && client.admitted_by.as_deref() == owner;
        all.iter().find(is).unwrap().clone()
    };
    let (app, notes, team) = (of("app", None), of("notes", None), of("app", Some("team-a")));
    assert_eq!((app.status, app.reviewed_by.as_deref()), (Status::Active, Some("alice")), "{reason}");
    for client in [&notes, &team] {
        assert_eq!((client.status, &client.reviewed_by), (Status::Pending, &None), "{reason}: {client:?}");
    }
    assert_eq!(world.events.of(LifecycleAction::IdConflict), [], "{reason}");
    // Acts are on one record.
    let error = review.approve(ID, "bob", "x").await.unwrap_err();
    assert!(matches!(error, AdminError::Ambiguous), "{reason}: {error:?}");
    let error = world.registrar.revoke(Revocation::client(ID, alice(), "x")).await.unwrap_err();
    assert!(matches!(error, AdminError::Ambiguous), "{reason}: {error:?}");
    review.approve(team.key, "bob", "theirs").await.unwrap();
    let mut by_name = Revocation::new(Fingerprint::name("Notes"), alice(), "x");
    by_name.record = Some(notes.key);
    let error = world.registrar.revoke(by_name).await.unwrap_err();
    assert!(matches!(error, AdminError::RecordOfSeveral), "{reason}: {error:?}");
    let mut revocation = Revocation::client(ID, alice(), "imitates");
    revocation.record = Some(notes.key);
    assert_eq!(world.registrar.revoke(revocation).await.unwrap().clients, 1, "{reason}");
    let state = async |client: &Client| ledger.get(client.key).await.unwrap().unwrap();
    assert_eq!(state(&app).await.status, Status::Active, "{reason}");
    assert_eq!(state(&team).await.reviewed_by.as_deref(), Some("bob"), "{reason}");
    assert_eq!(state(&notes).await.status, Status::Revoked, "{reason}");
    world.registrar.maintain_once().await.unwrap();
    assert!(world.server.deprovisioned.lock().unwrap().is_empty(), "{reason}: others use the client");
    assert_eq!(world.register(&metadata("Notes")).await.status, 400, "{reason}: blocked");
    assert_eq!(world.client("App").await, ID, "{reason}");
    // The owner of a token ends what it admitted.
    let owner = Actor::TokenOwner("team-a".into());
    assert_eq!(world.registrar.revoke(Revocation::client(ID, owner, "x")).await.unwrap().clients, 1, "{reason}");
    assert_eq!(state(&app).await.status, Status::Active, "{reason}");
    assert_eq!(state(&team).await.status, Status::Revoked, "{reason}");
    // Consent is asked for what was registered with that redirect URI.
    let facts = world.registrar.consent_facts(ID, "http://127.0.0.1:3118/callback").await.unwrap().unwrap();
    assert_eq!(facts.client_name.as_deref(), Some("App"), "{reason}");
    // Expiry does not affect the other records, for any number of returns.
    world.clock.advance(8 * DAY);
    world.registrar.maintain_once().await.unwrap();
    assert_eq!(world.client("App").await, ID, "{reason}");
    let back = review.records(ID).await.unwrap().remove(0);
    assert_eq!((back.status, back.reviewed_by), (Status::Pending, None), "{reason}");
}

#[tokio::test]
async fn shared_ids_keep_a_record_for_each_registration() {
    shares(MemoryLedger::default(), "memory").await;
    let dir = TempDir::new("shared");
    shares(SqliteLedger::open(dir.path().join("clients.db")).await.unwrap(), "SQLite").await;
}

/// Of many registrations with one redirect URI, one sign-in keeps one alive: what costs nothing takes no room from others.
async fn one_sign_in_proves_one(ledger: impl Ledger + Clone, reason: &str) {
    let world = World::with(ledger.clone(), |registrar| {
        registrar
            .map_settings(|lifecycle| {
                lifecycle.deduplication = Some(false);
                lifecycle.shared_client_ids = Some(true);
            })
            .unwrap()
    });
    one_id(&world);
    for name in ["a", "b", "c", "d"] {
        assert_eq!(world.client(&format!("App {name}")).await, ID, "{reason}");
    }
    let other = json!({ "client_name": "Other", "redirect_uris": ["https://other.example.com/cb"] });
    assert_eq!(world.register(&other).await.status, 201, "{reason}");
    let code = |uri: &str| {
        let form = [("grant_type", "authorization_code"), ("code", "x"), ("client_id", ID), ("redirect_uri", uri)];
        Request::post("/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(axum::body::Body::from(serde_urlencoded(&form)))
            .unwrap()
    };
    let proven = async || {
        let mut names: Vec<String> = Vec::new();
        for client in records(&ledger).await.into_iter().filter(|client| client.last_used_at.is_some()) {
            names.push(client.fingerprints.client_name.unwrap());
        }
        names.sort();
        names
    };
    for _ in 0..3 {
        assert_eq!(world.send(code("http://127.0.0.1:3118/callback")).await.status, 200, "{reason}");
        assert_eq!(proven().await, ["App a"], "{reason}: the oldest, again and again");
    }
    assert_eq!(world.send(code("https://other.example.com/cb")).await.status, 200, "{reason}");
    assert_eq!(proven().await, ["App a", "Other"], "{reason}");
    // All others with its redirect URI may still sign in, and so may they when the unused records are gone.
    for days in [0, 8] {
        world.clock.advance(days * DAY);
        world.registrar.maintain_once().await.unwrap();
        assert_eq!(world.authorize(ID, "http://127.0.0.1:3118/callback").await.status, 200, "{reason}: {days} days");
    }
}

#[tokio::test]
async fn one_sign_in_counts_for_one_record() {
    one_sign_in_proves_one(MemoryLedger::default(), "memory").await;
    let dir = TempDir::new("one-sign-in");
    one_sign_in_proves_one(SqliteLedger::open(dir.path().join("clients.db")).await.unwrap(), "SQLite").await;
}

/// Returns the numbers of the registrations whose records live.
async fn live_numbers(ledger: &impl Ledger) -> Vec<usize> {
    let all = ledger.find_all(ID, 2000).await.unwrap();
    let live = all.iter().filter(|client| client.status.is_live());
    let name = |client: &Client| client.fingerprints.client_name.clone().unwrap();
    let mut numbers: Vec<usize> = live.map(|client| name(client)[4..].parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

/// One more registration under an id with as many records as an id may have ends the oldest unused one.
async fn a_full_id_makes_room(ledger: impl Ledger + Clone, reason: &str) {
    const MOST: usize = 1000;
    let world = World::with(ledger.clone(), |registrar| {
        registrar
            .map_settings(|lifecycle| {
                lifecycle.deduplication = Some(false);
                lifecycle.shared_client_ids = Some(true);
            })
            .unwrap()
    });
    one_id(&world);
    let body = |number: usize| with_uri(&format!("App {number}"), &format!("https://app{number}.example.com/cb"));
    let at = i64::try_from(START.as_millis()).unwrap();
    for number in 0..MOST {
        let registration = Registration::parse(body(number).to_string().as_bytes()).unwrap();
        let mut client = Client::draft(registration.source(), Fingerprints::of(&registration, false), at);
        (client.status, client.client_id) = (Status::Active, Some(ID.into()));
        (client.variant, client.expires_at) =
            (if number == 0 { String::new() } else { number.to_string() }, Some(at + 1));
        client.last_used_at = (number == 1).then_some(at);
        assert!(matches!(ledger.insert(&client, None).await.unwrap(), Insertion::Inserted(_)), "{reason}");
    }
    for number in MOST..MOST + 2 {
        assert_eq!(world.register(&body(number)).await.status, 201, "{reason}: {number}");
    }
    let wanted: Vec<usize> = std::iter::once(1).chain(3..MOST + 2).collect();
    assert_eq!(live_numbers(&ledger).await, wanted, "{reason}: the used one stays");
    for client in ledger.find_all(ID, 2000).await.unwrap().into_iter().filter(|client| client.status.is_live()) {
        let mut used = client;
        used.last_used_at = Some(at);
        assert_eq!(ledger.replace(&used).await.unwrap(), Replacement::Replaced, "{reason}");
    }
    assert_eq!(world.register(&body(MOST + 2)).await.status, 503, "{reason}");
    assert_eq!(live_numbers(&ledger).await, wanted, "{reason}: no used one makes room");
}

#[tokio::test]
async fn one_more_record_of_a_full_id_ends_the_oldest_unused_one() {
    a_full_id_makes_room(MemoryLedger::default(), "memory").await;
    let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
    a_full_id_makes_room(SqliteLedger::new(pool).await.unwrap(), "SQLite").await;
}

#[tokio::test]
async fn many_at_once_get_one_record_each_under_one_id() {
    let ledger = MemoryLedger::default();
    let world = Arc::new(World::with(ledger.clone(), |registrar| {
        registrar
            .map_settings(|lifecycle| {
                lifecycle.deduplication = Some(false);
                lifecycle.shared_client_ids = Some(true);
            })
            .unwrap()
    }));
    one_id(&world);
    let tasks: Vec<_> = (0..60)
        .map(|number| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.client(&format!("App {}", ["a", "b", "c"][number % 3])).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), ID);
    }
    let all = records(&ledger).await;
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(all.iter().all(|client| client.status == Status::Active));
}

/// A server that lost its store and counts its ids anew: the operator lets go of the old record.
#[tokio::test]
async fn a_record_that_is_forgotten_frees_its_id_and_no_block() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    one_id(&world);
    world.client("App").await;
    assert_eq!(world.register(&metadata("Notes")).await.status, 500);
    let unknown = world.registrar.forget("nobody", None, &alice(), "x").await.unwrap_err();
    assert!(matches!(unknown, AdminError::UnknownClient));
    let forgotten = world.registrar.forget(ID, None, &alice(), "the server was set up anew").await.unwrap();
    assert_eq!(forgotten.iter().map(|client| client.status).collect::<Vec<_>>(), [Status::Active]);
    let event = world.events.of(LifecycleAction::Forgotten).remove(0);
    assert_eq!(
        (event.client_id.as_deref(), event.actor.as_deref(), event.reason.as_deref()),
        (Some(ID), Some("operator:alice"), Some("the server was set up anew"))
    );
    assert_eq!(world.client("Notes").await, ID);
    let client = ledger.find(ID).await.unwrap().unwrap();
    assert_eq!((client.fingerprints.name.as_str(), client.last_used_at, client.reviewed_at), ("notes", None, None));
    // A revoked registration stays rejected although its record is removed.
    world.registrar.revoke(Revocation::client(ID, alice(), "imitates")).await.unwrap();
    assert_eq!(world.registrar.forget(ID, None, &alice(), "again").await.unwrap()[0].status, Status::Revoked);
    assert_eq!(world.register(&metadata("Notes")).await.status, 400);
    assert_eq!(world.client("App").await, ID);
}

/// A repeat echoes what was sent, where the port that was registered first does not count.
#[tokio::test]
async fn a_repeat_echoes_the_redirect_uris_that_were_sent() {
    let world = World::with(MemoryLedger::default(), |registrar| {
        registrar.map_settings(|lifecycle| lifecycle.any_loopback_port = Some(true)).unwrap()
    });
    let of = |port: u16| json!({ "client_name": "App", "redirect_uris": [format!("http://127.0.0.1:{port}/cb"), "https://app.example.com/cb"] });
    let first = world.register(&of(1)).await;
    assert_eq!(world.register(&of(1)).await.text, first.text);
    let second = world.register(&of(2)).await;
    assert_eq!((second.status, second.client_id()), (201, first.client_id()));
    assert_eq!(world.calls(), 1);
    assert_eq!(second.json()["redirect_uris"], of(2)["redirect_uris"]);
    assert_eq!(second.headers["content-length"], second.text.len().to_string().as_str());
    let mut expected = first.json();
    expected["redirect_uris"] = of(2)["redirect_uris"].clone();
    assert_eq!(second.json(), expected, "all else is as it was answered");
}

/// The gate rejects redirect URIs that the server did not register.
#[tokio::test]
async fn redirect_uris_that_the_server_left_out_are_not_kept() {
    let ledger = MemoryLedger::default();
    let world = World::with(ledger.clone(), |registrar| {
        registrar.map_settings(|lifecycle| lifecycle.deduplication = Some(false)).unwrap()
    });
    let kept = "https://app.example.com/cb";
    *world.server.answer.lock().unwrap() = Some((201, json!({ "client_id": ID, "redirect_uris": [kept] })));
    let body = json!({ "client_name": "App", "redirect_uris": [kept, "https://app.example.com/other"] });
    assert_eq!(world.register(&body).await.status, 201);
    assert_eq!(world.authorize(ID, kept).await.status, 200);
    assert_eq!(world.authorize(ID, "https://app.example.com/other").await.status, 400);
    // It is the same registration all the same.
    assert_eq!(world.register(&body).await.client_id(), ID);
    assert_eq!(records(&ledger).await.len(), 1);
}

/// Ids that were only seen in a success take no room from registrations, and don't grow without bound.
#[tokio::test]
async fn clients_registered_elsewhere_do_not_count_against_the_quota() {
    let ledger = MemoryLedger::new(std::num::NonZeroUsize::new(10).unwrap());
    let world = World::with(ledger.clone(), |registrar| {
        registrar.map_settings(|lifecycle| lifecycle.max_clients = Some(std::num::NonZeroU64::new(2).unwrap())).unwrap()
    });
    for number in 0..30 {
        let id = format!("old-{number}");
        world.server.clients.lock().unwrap().insert(id.clone(), Value::Null);
        assert_eq!(world.token(&id).await.status, 200, "{id}");
        world.clock.advance(HOUR);
    }
    assert_eq!(records(&ledger).await.len(), 10);
    assert!(ledger.find("old-29").await.unwrap().is_some(), "the oldest leave");
    world.client("App").await;
    world.client("Notes").await;
    assert_eq!(records(&ledger).await.iter().filter(|client| client.origin == Origin::Registered).count(), 2);
}

#[tokio::test]
async fn the_operator_is_told_once() {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    // With one subscriber in the process, `tracing` remembers for all threads what one of them wants.
    let _another = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::callsite::rebuild_interest_cache();
    let world = World::new(MemoryLedger::default());
    one_id(&world);
    world.client("App").await;
    for name in ["Notes", "Mail", "Chat"] {
        assert_eq!(world.register(&metadata(name)).await.status, 500);
    }
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let told: Vec<&str> = text.lines().filter(|line| line.contains("tower_dcr::setup")).collect();
    let [told] = told[..] else { panic!("{text}") };
    assert!(told.contains("WARN") && told.contains("lifecycle.shared_client_ids = true"), "{told}");
    assert!(told.contains("dcr clients forget \"app-1\""), "{told}");
}

/// A ledger of versions before keeps its records, and those from elsewhere leave the quota.
#[tokio::test]
async fn a_ledger_of_the_previous_version_is_migrated() {
    let dir = TempDir::new("migrated");
    let path = dir.path().join("clients.db");
    let ledger = SqliteLedger::open(&path).await.unwrap();
    let mut foreign = Client::draft("{}", Fingerprints::default(), 1);
    (foreign.status, foreign.origin, foreign.client_id) = (Status::Active, Origin::Elsewhere, Some("old".into()));
    let mut own = Client::draft("{}", Fingerprints::default(), 1);
    (own.status, own.client_id) = (Status::Active, Some("own".into()));
    for client in [&foreign, &own] {
        assert!(matches!(ledger.insert(client, None).await.unwrap(), Insertion::Inserted(_)));
    }
    drop(ledger);
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    for sql in [
        "DROP INDEX tower_dcr_clients_documents",
        "DROP INDEX tower_dcr_clients_document_held",
        "DROP INDEX tower_dcr_clients_document_site",
        "DROP INDEX tower_dcr_clients_document_host",
        "ALTER TABLE tower_dcr_clients DROP COLUMN document_held_at",
        "ALTER TABLE tower_dcr_clients DROP COLUMN document_site",
        "ALTER TABLE tower_dcr_clients DROP COLUMN document_host",
        "ALTER TABLE tower_dcr_clients DROP COLUMN document",
        "ALTER TABLE tower_dcr_clients RENAME COLUMN dedup_key TO repeat_key",
        "ALTER TABLE tower_dcr_clients RENAME COLUMN last_used_at TO proven_at",
        "ALTER TABLE tower_dcr_clients RENAME COLUMN response_status TO answer_status",
        "ALTER TABLE tower_dcr_clients RENAME COLUMN response_body TO answer_body",
        "DROP INDEX tower_dcr_clients_unused",
        "DROP INDEX tower_dcr_clients_used",
        "DROP INDEX tower_dcr_clients_shorten_source",
        "DROP INDEX tower_dcr_clients_spent",
        "ALTER TABLE tower_dcr_clients DROP COLUMN statement_issuer",
        "ALTER TABLE tower_dcr_clients DROP COLUMN vouched",
        "CREATE INDEX tower_dcr_clients_evict ON tower_dcr_clients (alive_since)",
        "DROP TABLE tower_dcr_pushed",
        "DROP INDEX tower_dcr_clients_shared_id",
        "DROP INDEX tower_dcr_clients_elsewhere",
        "DROP INDEX tower_dcr_clients_lower_client_id",
        "ALTER TABLE tower_dcr_clients DROP COLUMN shared_id",
        "ALTER TABLE tower_dcr_clients DROP COLUMN variant",
        // As it counted.
        "UPDATE tower_dcr_live SET clients = 2",
        "DELETE FROM tower_dcr_migrations WHERE version >= 4",
    ] {
        sqlx::query(sql).execute(&pool).await.unwrap();
    }
    pool.close().await;
    let ledger = SqliteLedger::open(&path).await.unwrap();
    for id in ["old", "own"] {
        let client = ledger.find(id).await.unwrap().unwrap();
        assert_eq!((client.client_id.as_deref(), client.variant.as_str()), (Some(id), ""));
        assert_eq!(ledger.find_all(id, 10).await.unwrap(), [client]);
    }
    let mut next = own.clone();
    next.client_id = Some("next".into());
    assert!(matches!(ledger.insert(&next, Some(2)).await.unwrap(), Insertion::Inserted(_)), "one of two");
    next.client_id = Some("one more".into());
    assert_eq!(ledger.insert(&next, Some(2)).await.unwrap(), Insertion::Full);
}
