//! Expiry, quota, deprovisioning, purging, drift, review: what the registrar does by itself and for the operator.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tower::ServiceExt;
use tower_dcr::audit::LifecycleAction;
use tower_dcr::clients::{
    Actor, AdminError, Client, ClientQueue, Filter, Fingerprint, Grouping, Ledger, LifecycleSettings, MemoryLedger,
    Registrar, Revocation, Status,
};
use tower_dcr::rules::{Decision, MetadataAllowlist, Policy, RedirectUris};

use crate::world::{Answer, DAY, HOUR, World, metadata, register};

#[test]
fn rejects_lifetimes_that_break_clients() {
    let set = |change: fn(&mut LifecycleSettings)| Registrar::new(MemoryLedger::default()).map_settings(change);
    assert!(set(|lifecycle| lifecycle.never_used = Some(Duration::from_secs(3599))).is_err());
    assert!(set(|lifecycle| lifecycle.never_used = Some(HOUR)).is_ok());
    let error = set(|lifecycle| lifecycle.idle = Some(29 * DAY)).unwrap_err();
    assert_eq!(error.to_string(), "the lifetime of a client that is idle must be at least 30 days, not 29 days");
    assert!(set(|lifecycle| lifecycle.approval = Some(Duration::ZERO)).is_err());
}

#[tokio::test]
async fn a_full_ledger_evicts_only_for_an_admitted_client() {
    let ledger = MemoryLedger::default();
    let world = World::with(ledger.clone(), |registrar| {
        registrar.map_settings(|lifecycle| lifecycle.max_clients = Some(NonZeroU64::new(3).unwrap())).unwrap()
    });
    let used = world.client("Used").await;
    assert_eq!(world.token(&used).await.status, 200);
    let approved = world.client("Approved").await;
    let review = world.registrar.clone();
    review.approve(&approved, "alice", "ours").await.unwrap();
    let fresh = world.client("Fresh").await;
    assert_eq!(world.client("Fresh").await, fresh, "repeats need no room");
    assert!(world.events.of(LifecycleAction::Evicted).is_empty());
    // At any age: a table that is filled again and again would otherwise be closed.
    let more = world.client("More").await;
    assert_eq!(ledger.find(&fresh).await.unwrap().unwrap().status, Status::Expired);
    assert_eq!(world.events.of(LifecycleAction::Evicted)[0].client_id.as_ref(), Some(&fresh));
    for id in [&used, &approved, &more] {
        assert_eq!(world.token(id).await.status, 200);
    }
    // Two were used, without a source: more than the share of one network.
    let yet_more = world.client("Yet more").await;
    assert_eq!(ledger.find(&used).await.unwrap().unwrap().status, Status::Expired, "the least recently used");
    assert_eq!(world.token(&yet_more).await.status, 200);
}

#[tokio::test]
async fn the_quota_holds_when_many_come_at_once() {
    let ledger = MemoryLedger::default();
    let world = World::with(ledger.clone(), |registrar| {
        registrar.map_settings(|lifecycle| lifecycle.max_clients = Some(NonZeroU64::new(20).unwrap())).unwrap()
    });
    let world = Arc::new(world);
    world.server.delay_ms.store(5, Ordering::SeqCst);
    let tasks: Vec<_> = (0..100)
        .map(|number| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.register(&metadata(&format!("App {number}"))).await.status })
        })
        .collect();
    let mut statuses = Vec::new();
    for task in tasks {
        statuses.push(task.await.unwrap());
    }
    // As many as are being registered at once; those that are done make room for others.
    assert!(statuses.iter().filter(|status| **status == 201).count() >= 20);
    assert!(statuses.iter().all(|status| matches!(status, 201 | 503)));
    assert_eq!(
        ledger.page(&Filter { statuses: Status::LIVE.to_vec(), ..Filter::default() }, None, 1000).await.unwrap().len(),
        20
    );
}

#[tokio::test]
async fn maintenance_expires_abandons_deprovisions_and_purges() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    let (used, unused) = (world.client("Used").await, world.client("Unused").await);
    assert_eq!(world.token(&used).await.status, 200);
    *world.server.answer.lock().unwrap() = Some((500, json!({})));
    world.register(&metadata("Failing")).await;
    *world.server.answer.lock().unwrap() = None;
    world.server.deprovisioning_fails.store(true, Ordering::SeqCst);
    world.clock.advance(8 * DAY);
    let done = world.registrar.maintain_once().await.unwrap();
    assert_eq!((done.expired, done.deprovisioned, done.deprovisioning_failed), (1, 0, 1));
    assert_eq!(done.purged, 1, "the failed one");
    let failed = ledger.find(&unused).await.unwrap().unwrap();
    assert_eq!(failed.deprovisioning.error.as_deref(), Some("the server is busy"));
    assert_eq!(world.events.of(LifecycleAction::DeprovisioningFailed).len(), 1);
    let review = world.registrar.clone();
    assert_eq!(review.list(ClientQueue::FailingDeprovisioning, None, 10).await.unwrap().clients.len(), 1);
    // Not again before its time, then at growing intervals, then it works.
    assert_eq!(world.registrar.maintain_once().await.unwrap().deprovisioning_failed, 0);
    world.clock.advance(Duration::from_secs(31));
    assert_eq!(world.registrar.maintain_once().await.unwrap().deprovisioning_failed, 1);
    world.clock.advance(Duration::from_secs(31));
    assert_eq!(world.registrar.maintain_once().await.unwrap().deprovisioning_failed, 0);
    world.server.deprovisioning_fails.store(false, Ordering::SeqCst);
    world.clock.advance(Duration::from_secs(31));
    assert_eq!(world.registrar.maintain_once().await.unwrap().deprovisioned, 1);
    assert_eq!(world.server.deprovisioned.lock().unwrap().as_slice(), std::slice::from_ref(&unused));
    world.clock.advance(31 * DAY);
    let done = world.registrar.maintain_once().await.unwrap();
    assert_eq!(done.purged, 1, "the expired one, of which the server was told");
    assert_eq!(ledger.page(&Filter::default(), None, 10).await.unwrap().len(), 1);
    assert_eq!(world.registrar.maintain_once().await.unwrap(), tower_dcr::clients::MaintenanceReport::default());
}

#[tokio::test]
async fn a_client_that_was_not_deprovisioned_stays_in_the_ledger() {
    let ledger = MemoryLedger::default();
    let registrar = Registrar::new(ledger.clone());
    let clock = Arc::new(tower_dcr::clock::ManualClock::new(crate::world::START));
    let world = World::around(Arc::default(), clock.clone(), ledger.clone(), |_| registrar.with_clock(clock.clone()));
    let id = world.client("App").await;
    clock.advance(8 * DAY);
    assert_eq!(world.registrar.maintain_once().await.unwrap().expired, 1);
    clock.advance(31 * DAY);
    assert_eq!(world.registrar.maintain_once().await.unwrap().purged, 1);
    let left = ledger.find(&id).await.unwrap().unwrap();
    assert!(left.registration.is_empty() && left.fingerprints.client_name.is_none());
    assert_eq!(world.token(&id).await.status, 401, "the server would still give it a token");
}

/// As after a crash of another node: there is a record, and no request for it.
async fn crash_while_registering(world: &World, ledger: &MemoryLedger) {
    let crashed = World::around(world.server.clone(), world.clock.clone(), ledger.clone(), |registrar| registrar);
    crashed.server.delay_ms.store(10_000, Ordering::SeqCst);
    let hung_up = tokio::time::timeout(Duration::from_millis(50), crashed.register(&metadata("App"))).await;
    assert!(hung_up.is_err());
    crashed.server.delay_ms.store(0, Ordering::SeqCst);
}

#[tokio::test]
async fn an_unanswered_registration_is_abandoned_by_its_age() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    crash_while_registering(&world, &ledger).await;
    assert_eq!(world.registrar.maintain_once().await.unwrap().abandoned, 0, "it may still be answered");
    world.clock.advance(Duration::from_secs(61));
    assert_eq!(world.registrar.maintain_once().await.unwrap().abandoned, 1);
    world.client("App").await;
}

/// A server that was restarted in the middle of a registration.
#[tokio::test]
async fn leftovers_of_a_crash_block_no_registration() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    crash_while_registering(&world, &ledger).await;
    let id = world.client("App").await;
    assert_eq!(world.client("App").await, id);
    let statuses: Vec<_> = ledger.page(&Filter::default(), None, 10).await.unwrap();
    assert_eq!(statuses.iter().map(|client| client.status).collect::<Vec<_>>(), [Status::Active, Status::Failed]);
}

#[tokio::test]
async fn drift_re_evaluates_clients_under_the_current_rules() {
    let world = World::new(MemoryLedger::default());
    for index in 0..450 {
        world.client(&format!("App {index}")).await;
    }
    let named = json!({ "client_name": "Local", "redirect_uris": ["http://localhost:1/cb"] });
    let named = world.register(&named).await.client_id();
    let same = Policy::new((MetadataAllowlist::mcp(), RedirectUris::mcp()));
    let mut decisions = Vec::new();
    let drift = world.registrar.drift(&same, &same, |_, evaluated| decisions.push(evaluated.unwrap().decision()));
    drift.await.unwrap();
    assert_eq!(decisions, [Decision::Accept; 451], "rules leave alone what they made");
    let today = (MetadataAllowlist::mcp(), RedirectUris::strict());
    let (mut rejected, mut passing) = (Vec::new(), 0);
    let today = Policy::new(today);
    world
        .registrar
        .drift(&today, &today, |client, evaluated| match &evaluated.unwrap().rejection {
            Some(rejection) => rejected.push((client.client_id.clone().unwrap(), rejection.rule)),
            None => passing += 1,
        })
        .await
        .unwrap();
    assert_eq!(passing, 450);
    assert_eq!(rejected, [(named, "redirect-uris")]);
}

#[tokio::test]
async fn queues_list_clients_that_need_attention() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    let review = world.registrar.clone();
    let used = world.client("Used").await;
    world.token(&used).await;
    let unused = world.client("Unused").await;
    world.register(&json!({ "client_name": "Used (2)", "redirect_uris": ["https://evil.example.com/cb"] })).await;
    let count = async |queue| review.list(queue, None, 100).await.unwrap().clients.len();
    assert_eq!(count(ClientQueue::All).await, 3);
    assert_eq!(count(ClientQueue::NeverReviewed).await, 3);
    assert_eq!(count(ClientQueue::NeverUsed).await, 0, "give it a day");
    assert_eq!(count(ClientQueue::ExpiringSoon).await, 0);
    world.clock.advance(2 * DAY);
    assert_eq!(count(ClientQueue::NeverUsed).await, 2);
    assert_eq!(count(ClientQueue::ExpiringSoon).await, 2);
    let names = review.groups(Grouping::NamesAcrossHosts, 10).await.unwrap();
    assert_eq!((names.len(), names[0].key.as_str()), (1, "used"));
    review.approve(&used, "alice", "known").await.unwrap();
    assert_eq!(count(ClientQueue::NeverReviewed).await, 2);
    let extended = review.extend(&unused, 30 * DAY, "alice", "they are on holiday").await.unwrap();
    assert_eq!(extended.reviewed_by.as_deref(), Some("alice"));
    world.clock.advance(29 * DAY);
    assert_eq!(world.token(&unused).await.status, 200);
    world.clock.advance(100 * DAY);
    assert!(ledger.find(&used).await.unwrap().unwrap().is_stale(review.now()));
    let listed = review.list(ClientQueue::Stale, None, 100).await.unwrap().clients;
    let all = review.list(ClientQueue::All, None, 100).await.unwrap().clients;
    // With those that are past their limit, until maintenance ends them.
    let lapsed = |client: &Client| client.status == Status::Active && client.status_at(review.now()) == Status::Expired;
    let stale: Vec<_> = all.into_iter().filter(|client| client.is_stale(review.now()) || lapsed(client)).collect();
    assert!(listed == stale && !stale.is_empty(), "one meaning: {listed:?}");
    review.revoke(Revocation::client(used.clone(), Actor::Operator("bob".into()), "left us")).await.unwrap();
    assert_eq!(count(ClientQueue::Revoked).await, 1);
    assert!(matches!(review.approve(&used, "alice", "").await, Err(AdminError::Ended)));
    assert!(matches!(review.approve("nobody", "alice", "").await, Err(AdminError::UnknownClient)));
    assert!(review.revoke(Revocation::client("nobody", Actor::Operator("alice".into()), "")).await.is_err());
    let by_day = review.registered_by_day(365).await.unwrap();
    assert_eq!(by_day.iter().map(|(_, clients)| clients).sum::<u64>(), 3);
    let events = world.events.of(LifecycleAction::Extended);
    assert_eq!(events[0].reason.as_deref(), Some("they are on holiday"));
    assert_eq!(world.events.of(LifecycleAction::Approved).len(), 1);
}

#[tokio::test]
async fn pages_have_cursors() {
    let world = World::new(MemoryLedger::default());
    for index in 0..5 {
        world.client(&format!("App {index}")).await;
    }
    let review = world.registrar.clone();
    let (mut cursor, mut sizes) = (None, Vec::new());
    loop {
        let page = review.list(ClientQueue::All, cursor, 2).await.unwrap();
        sizes.push(page.clients.len());
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(sizes, [2, 2, 1]);
}

/// Actions of operators are in the same chained file as events of clients.
#[tokio::test]
async fn actions_are_audit_events() {
    use tower_dcr::audit::{ChainKey, JsonLines, JsonLinesSettings};
    let dir = crate::databases::TempDir::new("audit");
    let path = dir.path().join("audit.jsonl");
    let key = || ChainKey::new(b"sixteen bytes or more").unwrap();
    let sink = JsonLines::open(&path, JsonLinesSettings { chain: Some(key()), ..Default::default() }).unwrap();
    let world = World::with(MemoryLedger::default(), |registrar| registrar.with_sink(sink));
    let id = world.client("App").await;
    let review = world.registrar.clone();
    review.approve(&id, "alice", "known \u{202E}to us").await.unwrap();
    review
        .revoke(Revocation::new(Fingerprint::name("App"), Actor::Operator("bob".into()), "not any more"))
        .await
        .unwrap();
    drop((review, world));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.is_ascii(), "{text}");
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let actions: Vec<_> = lines.iter().map(|line| line["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["approved", "blocked", "revoked", "deprovisioned"]);
    assert_eq!(
        (lines[0]["actor"].as_str(), lines[2]["reason"].as_str()),
        (Some("operator:alice"), Some("not any more"))
    );
    let file = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
    key().verify(file, None).unwrap();
}

#[test]
fn events_are_counted() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};
    let recorder = DebuggingRecorder::new();
    let snapshots = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let one = NonZeroU64::new(1).unwrap();
            let world = World::with(MemoryLedger::default(), |registrar| {
                registrar.map_settings(|lifecycle| lifecycle.max_clients = Some(one)).unwrap()
            });
            let one = world.client("One").await;
            world.registrar.approve(&one, "alice", "ours").await.unwrap();
            assert_eq!(world.register(&metadata("Two")).await.status, 503);
            assert_eq!(world.register(&metadata("Three")).await.status, 503);
        });
    });
    let counted: Vec<_> = snapshots.snapshot().into_vec();
    let full = counted.iter().find(|(key, ..)| {
        key.key().name() == "tower_dcr_lifecycle_events_total"
            && key.key().labels().any(|label| (label.key(), label.value()) == ("action", "ledger_full"))
    });
    assert_eq!(full.map(|(.., value)| value), Some(&DebugValue::Counter(2)), "{counted:?}");
}

/// The registration was abandoned, and the caller that still waits gets the client.
#[tokio::test]
async fn an_answer_after_the_registration_was_abandoned_counts() {
    let world = World::new(MemoryLedger::default());
    world.server.delay_ms.store(400, Ordering::SeqCst);
    let (app, body) = (world.app.clone(), register(&metadata("Slow")));
    let slow = tokio::spawn(async move { Answer::of(app.oneshot(body).await.unwrap()).await });
    tokio::time::sleep(Duration::from_millis(150)).await;
    world.clock.advance(Duration::from_secs(90));
    world.registrar.maintain_once().await.unwrap();
    let answer = slow.await.unwrap();
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(world.token(&answer.client_id()).await.status, 200);
    let redirected = world.authorize(&answer.client_id(), "http://127.0.0.1:3118/callback").await;
    assert_eq!(redirected.status, 200, "the record, which was emptied, says again what was registered");
}
