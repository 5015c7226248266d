//! Lifetimes that never end, and those that are only reported.

use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tower_dcr::audit::LifecycleAction;
use tower_dcr::clients::{Client, ClientQueue, LifecycleSettings, MemoryLedger, Registrar, Status};

use crate::world::{DAY, World, metadata};

fn world(change: fn(&mut LifecycleSettings)) -> World {
    World::with(MemoryLedger::default(), |registrar| registrar.map_settings(change).unwrap())
}

async fn record(world: &World, id: &str) -> Client {
    world.registrar.client(id).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_client_that_never_expires_lives_on() {
    let world = world(|lifecycle| {
        (lifecycle.never_used, lifecycle.idle) = (Some(Duration::MAX), Some(Duration::MAX));
    });
    let (unused, used) = (world.client("Unused").await, world.client("Used").await);
    assert_eq!(world.token(&used).await.status, 200);
    for id in [&unused, &used] {
        assert_eq!(record(&world, id).await.expires_at, None, "{id}");
    }
    let first_use = record(&world, &used).await.last_used_at;
    world.clock.advance(300 * 365 * DAY);
    assert_eq!(world.registrar.maintain_once().await.unwrap().expired, 0);
    for id in [&unused, &used] {
        assert_eq!(world.token(id).await.status, 200, "{id}");
        assert_eq!(record(&world, id).await.status, Status::Active);
    }
    assert!(record(&world, &used).await.last_used_at > first_use, "its use is recorded, for an operator");
    assert_eq!(world.client("Unused").await, unused, "an equal registration gets it");
    assert!(world.events.of(LifecycleAction::Expired).is_empty());
}

/// One of the two limits does not touch the other.
#[tokio::test]
async fn each_limit_may_be_never() {
    for (used_lives, change) in [
        (false, (|lifecycle| lifecycle.never_used = Some(Duration::MAX)) as fn(&mut LifecycleSettings)),
        (true, |lifecycle| lifecycle.idle = Some(Duration::MAX)),
    ] {
        let world = world(change);
        let (unused, used) = (world.client("Unused").await, world.client("Used").await);
        assert_eq!(world.token(&used).await.status, 200);
        world.clock.advance(365 * DAY);
        let statuses = (world.token(&unused).await.status, world.token(&used).await.status);
        assert_eq!(statuses, if used_lives { (401, 200) } else { (200, 401) });
    }
}

/// The end that was recorded under another limit does not count any more.
#[tokio::test]
async fn never_applies_to_clients_from_before() {
    let world = world(|_| {});
    let (unused, waiting) = (world.client("Unused").await, world.client("Waiting").await);
    let policy: tower_dcr::Preset = "lifecycle = { never_used = 'never', idle = 'never' }".parse().unwrap();
    policy.configure(&world.registrar);
    world.clock.advance(8 * DAY);
    assert_eq!(world.token(&unused).await.status, 200);
    let done = world.registrar.maintain_once().await.unwrap();
    assert_eq!((done.expired, done.kept), (0, 1), "{done:?}");
    assert_eq!(record(&world, &waiting).await.expires_at, None);
}

#[tokio::test]
async fn limits_that_are_only_reported_end_no_client() {
    let world = world(|lifecycle| lifecycle.report_only_expiry = Some(true));
    let (unused, used) = (world.client("Unused").await, world.client("Used").await);
    assert_eq!(world.token(&used).await.status, 200);
    world.clock.advance(8 * DAY);
    let first = world.registrar.maintain_once().await.unwrap();
    assert_eq!((first.reported, first.expired), (1, 0), "{first:?}");
    world.clock.advance(192 * DAY);
    let second = world.registrar.maintain_once().await.unwrap();
    assert_eq!((second.reported, second.expired), (1, 0), "{second:?}");
    assert_eq!(world.registrar.maintain_once().await.unwrap().reported, 0, "once for each client");
    let events = world.events.of(LifecycleAction::Expired);
    assert!(events.iter().all(|event| !event.enforced), "{events:?}");
    let told: Vec<_> =
        events.iter().map(|event| (event.client_id.clone().unwrap(), event.reason.as_deref().unwrap())).collect();
    assert_eq!(told, [(unused.clone(), "never used"), (used.clone(), "not used for long")]);
    assert!(world.server.deprovisioned.lock().unwrap().is_empty());

    let stale = world.registrar.list(ClientQueue::Stale, None, 10).await.unwrap().clients;
    let ids: Vec<_> = stale.iter().filter_map(|client| client.client_id.clone()).collect();
    assert_eq!(ids, [used.clone(), unused.clone()], "the newest first");
    assert_eq!(stale[0].reason.as_deref(), Some("past its limit, which is only reported: not used for long"));

    assert_eq!(world.client("Unused").await, unused, "an equal registration gets it");
    let callback = "http://127.0.0.1:3118/callback";
    for id in [&unused, &used] {
        assert_eq!(world.authorize(id, callback).await.status, 200);
        assert_eq!(world.token(id).await.status, 200);
        let client = record(&world, id).await;
        assert_eq!((client.status, client.reason), (Status::Active, None), "its lifetime begins anew");
    }
    assert!(world.registrar.list(ClientQueue::Stale, None, 10).await.unwrap().clients.is_empty());
    // Past its limit again, it is reported again.
    world.clock.advance(200 * DAY);
    assert_eq!(world.registrar.maintain_once().await.unwrap().reported, 2);
}

/// Enforced after the trial, the limit ends the clients that were reported.
#[tokio::test]
async fn limits_can_be_enforced_after_a_trial() {
    let world = world(|_| {});
    let configure = |policy: &str| policy.parse::<tower_dcr::Preset>().unwrap().configure(&world.registrar);
    configure("lifecycle.report_only_expiry = true");
    let (gone, extended) = (world.client("Gone").await, world.client("Extended").await);
    world.clock.advance(8 * DAY);
    assert_eq!(world.registrar.maintain_once().await.unwrap().reported, 2);
    let review = world.registrar.extend(&extended, 30 * DAY, "alice", "ours").await.unwrap();
    assert_eq!(review.reason, None);
    configure("lifecycle.report_only_expiry = false");
    let done = world.registrar.maintain_once().await.unwrap();
    assert_eq!((done.expired, done.reported), (1, 0), "{done:?}");
    assert_eq!(world.token(&gone).await.status, 401);
    assert_eq!(world.token(&extended).await.status, 200);
}

/// A secret that the server does not take any more, and approval that was not given, are no limits of this kind.
#[tokio::test]
async fn other_ends_are_enforced_during_a_trial() {
    let world = world(|lifecycle| {
        lifecycle.report_only_expiry = Some(true);
        lifecycle.approval = Some(2 * DAY);
    });
    let waiting = world.client("Waiting").await;
    world.clock.advance(3 * DAY);
    assert_eq!(world.registrar.maintain_once().await.unwrap().expired, 1);
    assert_eq!(record(&world, &waiting).await.status, Status::Expired);

    let world = self::world(|lifecycle| lifecycle.report_only_expiry = Some(true));
    let mut body = metadata("Confidential");
    body["token_endpoint_auth_method"] = "client_secret_basic".into();
    let until = (crate::world::START + 2 * DAY).as_secs();
    *world.server.answer.lock().unwrap() = Some((
        201,
        serde_json::json!({
            "client_id": "confidential", "client_secret": "hush", "client_secret_expires_at": until,
            "token_endpoint_auth_method": "client_secret_basic",
        }),
    ));
    assert_eq!(world.register(&body).await.status, 201);
    world.clock.advance(3 * DAY);
    assert_eq!(world.registrar.maintain_once().await.unwrap().expired, 1);
}

/// A client that the server has in use is extended, as always, and not reported.
#[tokio::test]
async fn a_client_in_use_is_not_reported() {
    let world = world(|lifecycle| lifecycle.report_only_expiry = Some(true));
    let id = world.client("Busy").await;
    world.server.in_use.lock().unwrap().insert(id.clone());
    world.clock.advance(8 * DAY);
    assert_eq!(world.registrar.maintain_once().await.unwrap().reported, 0);
    assert!(record(&world, &id).await.expires_at > Some(world.registrar.now()));
    assert!(world.events.of(LifecycleAction::Expired).is_empty());
}

#[test]
fn reported_limits_are_counted_apart() {
    let recorder = DebuggingRecorder::new();
    let snapshots = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for reports in [true, false] {
                let world = World::with(MemoryLedger::default(), |registrar: Registrar| {
                    registrar.map_settings(|lifecycle| lifecycle.report_only_expiry = Some(reports)).unwrap()
                });
                world.client("App").await;
                world.clock.advance(8 * DAY);
                world.registrar.maintain_once().await.unwrap();
            }
        });
    });
    let counted = snapshots.snapshot().into_vec();
    for enforced in ["true", "false"] {
        let has = |key: &metrics::Key, name: &str, value: &str| {
            key.labels().any(|label| (label.key(), label.value()) == (name, value))
        };
        let expired = counted.iter().find(|(key, ..)| {
            key.key().name() == "tower_dcr_lifecycle_events_total"
                && has(key.key(), "action", "expired")
                && has(key.key(), "enforced", enforced)
        });
        assert_eq!(expired.map(|(.., value)| value), Some(&DebugValue::Counter(1)), "{enforced}: {counted:?}");
    }
}
