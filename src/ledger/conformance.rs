//! What every [`Ledger`] must do, as a suite that a store of your own can be held to (feature `test-util`).
//!
//! ```
//! use tower_dcr::ledger::{MemoryLedger, conformance};
//!
//! # let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
//! # runtime.block_on(async {
//! conformance::run(async || MemoryLedger::default()).await;
//! # });
//! ```
#![expect(clippy::missing_panics_doc, reason = "a suite of tests")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a suite of tests")]

use std::task::Poll;

use super::{
    Actor, Answer, Block, Client, ClientKey, Deprovisioning, Filter, Fingerprint, Fingerprints, Grouping, Insertion,
    Ledger, Origin, Replacement, Status, Work,
};
use crate::policy::{Identities, Identity};
use crate::registration::Registration;

/// Runs every check, each on an empty ledger that `open` gives. They panic with what is wrong.
pub async fn run<L: Ledger>(open: impl AsyncFn() -> L) {
    keeps_every_member(&open().await).await;
    gives_one_key_to_each(&open().await).await;
    lets_one_of_equals_in(&open().await).await;
    replaces_what_was_read(&open().await).await;
    lets_one_change_win(&open().await).await;
    refuses_a_taken_client_id(&open().await).await;
    holds_the_quota(&open().await).await;
    holds_the_quota_under_concurrency(&open().await).await;
    removes_what_was_read(&open().await).await;
    pages_from_new_to_old(&open().await).await;
    filters(&open().await).await;
    hands_out_what_is_due(&open().await).await;
    counts_and_draws(&open().await).await;
    groups(&open().await).await;
    blocks(&open().await).await;
    counts_uses(&open().await).await;
    keeps_variants_apart(&open().await).await;
    notes_pushed_requests(&open().await).await;
    bounds_what_was_registered_elsewhere(&open().await).await;
}

/// A record as the registrar makes it.
fn draft(name: &str, redirect_uri: &str, created_at: i64) -> Client {
    let json = serde_json::json!({ "client_name": name, "redirect_uris": [redirect_uri] }).to_string();
    let registration = Registration::parse(json.as_bytes()).unwrap();
    let address = Some([192, 0, 2, 7].into());
    Client::draft(json, Fingerprints::of(&registration, false).with_source(address), created_at)
}

fn active(id: &str, created_at: i64) -> Client {
    Client { status: Status::Active, client_id: Some(id.into()), ..draft(id, "https://a.example.com/cb", created_at) }
}

async fn insert(ledger: &impl Ledger, client: &Client) -> Client {
    match ledger.insert(client, None).await.unwrap() {
        Insertion::Inserted(client) => client,
        other => panic!("not inserted: {other:?}"),
    }
}

/// Nothing of a record is lost or changed on the way into the store and out of it.
pub async fn keeps_every_member(ledger: &impl Ledger) {
    let full = Client {
        status: Status::Revoked,
        origin: Origin::Elsewhere,
        client_id: Some("id \" ' \\ 日本 \u{1F600}".into()),
        answer: Some(Answer { status: 201, body: "{\"client_id\":\"x\"}".into() }),
        repeat_key: Some("repeat".into()),
        admitted_by: Some("owner".into()),
        rules: Some("partner".into()),
        identity: Some(claude()),
        policy: Some("00c0ffee00c0ffee".into()),
        proven_at: Some(2),
        expires_at: Some(i64::MAX),
        not_after: Some(4),
        reviewed_at: Some(5),
        reviewed_by: Some("alice".into()),
        ended_at: Some(6),
        ended_by: Some(Actor::Operator("bob: the operator".into())),
        reason: Some("because".into()),
        deprovisioning: Deprovisioning { due_at: Some(7), attempts: 3, error: Some("down".into()) },
        ..draft("A (x)", "http://127.0.0.1:1/cb", 1)
    };
    let inserted = insert(ledger, &full).await;
    assert_eq!(Client { key: ClientKey(0), version: 0, ..inserted.clone() }, full);
    let bare = insert(ledger, &draft("B", "com.example.b:/cb", 1)).await;
    for client in [inserted, bare] {
        assert_eq!(ledger.get(client.key).await.unwrap().as_ref(), Some(&client));
        if let Some(id) = &client.client_id {
            assert_eq!(ledger.find(id).await.unwrap().as_ref(), Some(&client));
        }
        if let Some(key) = &client.repeat_key {
            assert_eq!(ledger.find_repeat(key).await.unwrap().as_ref(), Some(&client));
        }
    }
    assert_eq!(ledger.find("nobody").await.unwrap(), None);
    assert_eq!(ledger.find_repeat("nobody").await.unwrap(), None);
    assert_eq!(ledger.get(ClientKey(i64::MAX)).await.unwrap(), None);
}

/// Keys grow.
pub async fn gives_one_key_to_each(ledger: &impl Ledger) {
    let one = insert(ledger, &active("one", 1)).await;
    let other = insert(ledger, &active("other", 1)).await;
    assert!(one.key < other.key, "{:?} {:?}", one.key, other.key);
}

/// Of many equal registrations at once exactly one is inserted, and the others learn which.
pub async fn lets_one_of_equals_in(ledger: &impl Ledger) {
    let client = Client { repeat_key: Some("same".into()), ..draft("A", "https://a.example.com/cb", 1) };
    let outcomes = together((0..24).map(|_| ledger.insert(&client, None))).await;
    let mut keys = Vec::new();
    let mut inserted = 0;
    for outcome in outcomes {
        match outcome.unwrap() {
            Insertion::Inserted(client) => {
                inserted += 1;
                keys.push(client.key);
            }
            Insertion::Exists(client) => keys.push(client.key),
            Insertion::Full => panic!("nobody said anything of a quota"),
        }
    }
    keys.dedup();
    assert_eq!((inserted, keys.len()), (1, 1));
    assert_eq!(ledger.page(&Filter::default(), None, 10).await.unwrap().len(), 1);
}

/// A change that is based on what is no longer there is not made.
pub async fn replaces_what_was_read(ledger: &impl Ledger) {
    let read = insert(ledger, &Client { repeat_key: Some("r".into()), ..active("a", 1) }).await;
    let mut changed = read.clone();
    changed.proven_at = Some(9);
    assert_eq!(ledger.replace(&changed).await.unwrap(), Replacement::Replaced);
    assert_eq!(ledger.replace(&changed).await.unwrap(), Replacement::Outdated, "the version has changed");
    let now = ledger.get(read.key).await.unwrap().unwrap();
    assert_eq!(now, Client { version: read.version + 1, ..changed });
    // What was given up is free again; what it is found by follows.
    let moved = Client {
        repeat_key: None,
        client_id: Some("b".into()),
        fingerprints: draft("B", "https://b.example.com/cb", 1).fingerprints,
        ..now
    };
    assert_eq!(ledger.replace(&moved).await.unwrap(), Replacement::Replaced);
    assert_eq!(ledger.find("a").await.unwrap(), None);
    assert_eq!(ledger.find_repeat("r").await.unwrap(), None);
    assert_eq!(ledger.find("b").await.unwrap().unwrap().key, read.key);
    insert(ledger, &Client { repeat_key: Some("r".into()), ..active("a", 1) }).await;
    let nobody = Client { key: ClientKey(i64::MAX), ..read };
    assert_eq!(ledger.replace(&nobody).await.unwrap(), Replacement::Outdated);
}

/// Of many changes to one record at once one is made.
pub async fn lets_one_change_win(ledger: &impl Ledger) {
    let read = insert(ledger, &active("a", 1)).await;
    let change = async |time| ledger.replace(&Client { proven_at: Some(time), ..read.clone() }).await.unwrap();
    let outcomes = together((0..16).map(change)).await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Replacement::Replaced).count(), 1, "{outcomes:?}");
    assert_eq!(ledger.get(read.key).await.unwrap().unwrap().version, read.version + 1);
}

/// No two records have one `client_id`.
pub async fn refuses_a_taken_client_id(ledger: &impl Ledger) {
    let first = insert(ledger, &active("a", 1)).await;
    assert_eq!(ledger.insert(&active("a", 2), None).await.unwrap(), Insertion::Exists(first));
    let second = insert(ledger, &draft("B", "https://b.example.com/cb", 1)).await;
    let claiming = Client { client_id: Some("a".into()), ..second.clone() };
    assert_eq!(ledger.replace(&claiming).await.unwrap(), Replacement::Taken);
    assert_eq!(ledger.get(second.key).await.unwrap(), Some(second), "left as it was");
}

/// No more live records than the quota; what ends makes room, what comes back to life takes it.
pub async fn holds_the_quota(ledger: &impl Ledger) {
    let one = insert(ledger, &Client { repeat_key: Some("r".into()), ..active("one", 1) }).await;
    insert(ledger, &active("two", 1)).await;
    assert_eq!(ledger.insert(&active("three", 1), Some(2)).await.unwrap(), Insertion::Full);
    let again = Client { repeat_key: Some("r".into()), ..active("another", 1) };
    assert!(matches!(ledger.insert(&again, Some(2)).await.unwrap(), Insertion::Exists(_)), "a repeat needs no room");
    assert!(matches!(ledger.insert(&active("two", 1), Some(2)).await.unwrap(), Insertion::Exists(_)));
    let ended = Client { status: Status::Revoked, ended_at: Some(2), ..one };
    assert_eq!(ledger.replace(&ended).await.unwrap(), Replacement::Replaced);
    assert!(matches!(ledger.insert(&active("three", 1), Some(2)).await.unwrap(), Insertion::Inserted(_)));
    assert_eq!(ledger.insert(&active("four", 1), Some(2)).await.unwrap(), Insertion::Full);
    let two = ledger.find("two").await.unwrap().unwrap();
    assert!(ledger.remove(&two).await.unwrap());
    assert!(matches!(ledger.insert(&active("four", 1), Some(2)).await.unwrap(), Insertion::Inserted(_)));
    let past = Client { status: Status::Failed, ended_at: Some(2), ..active("past", 1) };
    assert!(matches!(ledger.insert(&past, Some(2)).await.unwrap(), Insertion::Inserted(_)), "it is not live");
    assert_eq!(ledger.insert(&active("five", 1), Some(2)).await.unwrap(), Insertion::Full);
}

/// Also if many come at once.
pub async fn holds_the_quota_under_concurrency(ledger: &impl Ledger) {
    let attempt = async |index| ledger.insert(&active(&format!("c{index}"), 1), Some(7)).await.unwrap();
    let outcomes = together((0..24).map(attempt)).await;
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Insertion::Inserted(_))).count(), 7);
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Insertion::Full)).count(), 17);
    assert_eq!(ledger.page(&Filter::live(), None, 100).await.unwrap().len(), 7);
}

/// What has changed since is not removed.
pub async fn removes_what_was_read(ledger: &impl Ledger) {
    let read = insert(ledger, &active("a", 1)).await;
    assert_eq!(ledger.replace(&read).await.unwrap(), Replacement::Replaced);
    assert!(!ledger.remove(&read).await.unwrap(), "it was changed");
    let now = ledger.get(read.key).await.unwrap().unwrap();
    assert!(ledger.remove(&now).await.unwrap());
    assert!(!ledger.remove(&now).await.unwrap(), "it is gone");
    assert_eq!(ledger.find("a").await.unwrap(), None);
    assert_eq!(insert(ledger, &active("a", 1)).await.client_id.as_deref(), Some("a"));
}

/// The newest first, and on from where a page ended.
pub async fn pages_from_new_to_old(ledger: &impl Ledger) {
    for index in 0..7 {
        insert(ledger, &active(&format!("c{index}"), 1)).await;
    }
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = ledger.page(&Filter::default(), before, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.key);
        seen.extend(page.into_iter().filter_map(|client| client.client_id));
    }
    assert_eq!(seen, ["c6", "c5", "c4", "c3", "c2", "c1", "c0"]);
}

/// Every member of a filter narrows.
pub async fn filters(ledger: &impl Ledger) {
    let plain = insert(ledger, &active("plain", 10)).await;
    let busy = Client { proven_at: Some(50), expires_at: Some(100), reviewed_at: Some(60), ..active("busy", 10) };
    let busy = insert(ledger, &busy).await;
    let ended = Client {
        status: Status::Revoked,
        origin: Origin::Elsewhere,
        admitted_by: Some("owner".into()),
        ended_at: Some(5),
        deprovisioning: Deprovisioning { due_at: Some(1), attempts: 1, error: Some("down".into()) },
        ..active("ended", 10)
    };
    let ended = insert(ledger, &ended).await;
    let mut other = draft("Other", "http://localhost:1/cb", 10);
    other.fingerprints.software_id = Some("soft".into());
    let other = insert(ledger, &other.clone()).await;
    let every = [&other, &ended, &busy, &plain];
    let prints = other.fingerprints.clone();
    let by = |fingerprint| Filter { fingerprint: Some(fingerprint), ..Filter::default() };
    let rows: Vec<(&str, Filter, Vec<&Client>)> = vec![
        ("nothing", Filter::default(), every.to_vec()),
        ("live", Filter::live(), vec![&other, &busy, &plain]),
        ("two statuses", Filter::of_status([Status::Revoked, Status::Registering]), vec![&other, &ended]),
        ("origin", Filter { origin: Some(Origin::Elsewhere), ..Filter::default() }, vec![&ended]),
        ("admitted", Filter { admitted_by: Some("owner".into()), ..Filter::default() }, vec![&ended]),
        ("never proven", Filter { never_proven: true, ..Filter::live() }, vec![&other, &plain]),
        ("never reviewed", Filter { never_reviewed: true, ..Filter::live() }, vec![&other, &plain]),
        ("idle", Filter { idle_since: Some(50), ..Filter::live() }, vec![&other, &plain]),
        ("idle, at the edge", Filter { idle_since: Some(51), ..Filter::live() }, vec![&other, &busy, &plain]),
        ("expiring", Filter { expires_before: Some(101), ..Filter::default() }, vec![&busy]),
        ("not expiring yet", Filter { expires_before: Some(100), ..Filter::default() }, vec![]),
        ("failing", Filter { failing_deprovisioning: true, ..Filter::default() }, vec![&ended]),
        ("client_id", by(Fingerprint::ClientId("busy".into())), vec![&busy]),
        ("digest", by(Fingerprint::Digest(prints.digest.clone())), vec![&other]),
        ("family", by(Fingerprint::Family(prints.family.clone())), vec![&other]),
        ("name", by(Fingerprint::name("OTHER")), vec![&other]),
        ("redirect set", by(Fingerprint::RedirectSet(prints.redirect_set.clone())), vec![&other]),
        ("software", by(Fingerprint::SoftwareId("soft".into())), vec![&other]),
        ("source", by(Fingerprint::source("192.0.2.7").unwrap()), every.to_vec()),
        ("site", by(Fingerprint::source("192.0.2.0/24").unwrap()), every.to_vec()),
        ("another site", by(Fingerprint::source("192.0.3.0/24").unwrap()), vec![]),
    ];
    for (reason, filter, wanted) in rows {
        let found = ledger.page(&filter, None, 100).await.unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), wanted, "{reason}");
        for client in every {
            assert_eq!(filter.matches(client), wanted.contains(&client), "{reason}: {:?}", client.client_id);
        }
    }
}

/// What is due, the longest due first, and nothing that is not.
pub async fn hands_out_what_is_due(ledger: &impl Ledger) {
    let late = Client { expires_at: Some(30), ..active("late", 1) };
    let early = Client { expires_at: Some(20), proven_at: Some(2), ..active("early", 2) };
    let started = draft("started", "https://s.example.com/cb", 25);
    let ended = Client { status: Status::Expired, ended_at: Some(22), ..active("ended", 3) };
    let untold = Client {
        status: Status::Revoked,
        ended_at: Some(21),
        deprovisioning: Deprovisioning::due(24),
        ..active("untold", 3)
    };
    let purged =
        Client { status: Status::Expired, ended_at: Some(1), registration: String::new(), ..active("purged", 3) };
    let kept = Client { reviewed_at: Some(3), ..active("kept", 1) };
    let foreign = Client { origin: Origin::Elsewhere, ..active("foreign", 1) };
    for client in [late, early, started, ended, untold, purged, kept, foreign] {
        insert(ledger, &client).await;
    }
    let rows: [(Work, &[&str]); 10] = [
        (Work::Expire(19), &[]),
        (Work::Expire(20), &["early"]),
        (Work::Expire(99), &["early", "late"]),
        (Work::Reconcile(24), &[]),
        (Work::Reconcile(25), &["started"]),
        (Work::Deprovision(23), &[]),
        (Work::Deprovision(24), &["untold"]),
        (Work::Purge(21), &[]),
        (Work::Purge(22), &["ended"]),
        (Work::Evict(99), &["late"]),
    ];
    for (work, wanted) in rows {
        let due = ledger.due(work, 100).await.unwrap();
        let names: Vec<&str> = due.iter().map(|client| client.fingerprints.client_name.as_deref().unwrap()).collect();
        assert_eq!(names, wanted, "{work:?}");
    }
    assert_eq!(ledger.due(Work::Expire(99), 1).await.unwrap().len(), 1, "the limit");
}

/// Numbers for the overview.
pub async fn counts_and_draws(ledger: &impl Ledger) {
    for (index, created_at) in [5, 10, 19, 20, 45].into_iter().enumerate() {
        insert(ledger, &active(&format!("c{index}"), created_at)).await;
    }
    insert(ledger, &Client { status: Status::Expired, ended_at: Some(1), ..active("old", 46) }).await;
    let mut counts = ledger.counts().await.unwrap();
    counts.retain(|(_, clients)| *clients > 0);
    counts.sort_unstable();
    assert_eq!(counts, [(Status::Active, 5), (Status::Expired, 1)]);
    assert_eq!(ledger.timeline(10, 10).await.unwrap(), [(10, 2), (20, 1), (40, 2)]);
}

/// What clients have in common.
pub async fn groups(ledger: &impl Ledger) {
    let rows = [
        ("App (laptop)", "http://127.0.0.1:1/cb"),
        ("App (desktop)", "http://127.0.0.1:2/cb"),
        ("App (desktop)", "http://127.0.0.1:2/cb"),
        ("app", "https://evil.example.com/cb"),
        ("Other", "https://evil.example.com/cb2"),
    ];
    for (name, uri) in rows {
        insert(ledger, &draft(name, uri, 1)).await;
    }
    let gone = Client { status: Status::Revoked, ended_at: Some(1), ..draft("Other", "https://x.example.com/cb", 1) };
    insert(ledger, &gone).await;

    let duplicates = ledger.groups(Grouping::Duplicates, 10).await.unwrap();
    assert_eq!(duplicates.len(), 1);
    assert_eq!((duplicates[0].clients, duplicates[0].client_name.as_deref()), (2, Some("App (desktop)")));
    let families = ledger.groups(Grouping::Families, 10).await.unwrap();
    assert_eq!(families.len(), 1);
    assert_eq!((families[0].clients, families[0].client_name.as_deref()), (3, Some("App (desktop)")));
    let names = ledger.groups(Grouping::NamesAcrossHosts, 10).await.unwrap();
    assert_eq!(names.len(), 1, "what was revoked does not count: {names:?}");
    assert_eq!((&*names[0].key, names[0].clients), ("app", 4));
    assert_eq!(names[0].values, ["evil.example.com", "loopback"]);
    let hosts = ledger.groups(Grouping::HostsAcrossNames, 10).await.unwrap();
    assert_eq!(hosts.len(), 1);
    assert_eq!((&*hosts[0].key, hosts[0].clients), ("evil.example.com", 2));
    assert_eq!(hosts[0].values, ["app", "other"]);
    assert!(ledger.groups(Grouping::Families, 0).await.unwrap().is_empty());
}

/// Blocks stay, and are found by any of several fingerprints.
pub async fn blocks(ledger: &impl Ledger) {
    let name = Fingerprint::name("Evil");
    let block = Block::new(name.clone(), 5, Actor::Operator("alice".into()), "because");
    assert!(ledger.block(&block).await.unwrap());
    let again = Block { created_at: 6, actor: Actor::System, ..block.clone() };
    assert!(!ledger.block(&again).await.unwrap(), "the first one stays");
    let others = [Fingerprint::Digest("evil".into()), Fingerprint::SoftwareId("evil".into())];
    assert_eq!(ledger.find_block(&others).await.unwrap(), None, "the kind counts");
    assert_eq!(ledger.find_block(&[]).await.unwrap(), None);
    let [digest, _] = others;
    assert_eq!(ledger.find_block(&[digest.clone(), name.clone()]).await.unwrap(), Some(block.clone()));
    let second = Block::new(digest, 9, Actor::Client, "");
    ledger.block(&second).await.unwrap();
    assert_eq!(ledger.blocks(None, 10).await.unwrap(), [second, block.clone()]);
    assert_eq!(ledger.blocks(Some(9), 10).await.unwrap(), [block]);
    assert!(ledger.unblock(&name).await.unwrap());
    assert!(!ledger.unblock(&name).await.unwrap());
    assert_eq!(ledger.find_block(&[name]).await.unwrap(), None);
}

/// A token with a limited number of uses admits that many, at once too, and one that was returned again.
pub async fn counts_uses(ledger: &impl Ledger) {
    let admitted = together((0..24).map(|_| ledger.count_use("one", 5))).await;
    assert_eq!(admitted.into_iter().filter(|counted| *counted.as_ref().unwrap()).count(), 5);
    assert!(ledger.count_use("other", 1).await.unwrap());
    assert!(!ledger.count_use("other", 1).await.unwrap());
    assert!(!ledger.count_use("never", 0).await.unwrap());
    ledger.return_use("one").await.unwrap();
    ledger.return_use("nobody's").await.unwrap();
    assert!(ledger.count_use("one", 5).await.unwrap());
    assert!(!ledger.count_use("one", 5).await.unwrap());
    assert!(ledger.count_use("one", 6).await.unwrap(), "the limit is the caller's");
}

/// One `client_id` may have several records that differ in their variant; nothing of one shows in another.
pub async fn keeps_variants_apart(ledger: &impl Ledger) {
    let of = |variant: &str, created_at| Client { variant: variant.into(), ..active("shared", created_at) };
    let first = insert(ledger, &of("", 1)).await;
    let second = insert(ledger, &of("v2", 2)).await;
    let third = insert(ledger, &Client { proven_at: Some(9), ..of("v3", 3) }).await;
    insert(ledger, &active("other", 4)).await;
    assert_eq!(ledger.insert(&of("v2", 5), None).await.unwrap(), Insertion::Exists(second.clone()));
    assert_eq!(ledger.insert(&of("", 5), None).await.unwrap(), Insertion::Exists(first.clone()));
    assert_eq!(ledger.find("shared").await.unwrap(), Some(first.clone()), "the one without a variant");
    let rows = [
        ("shared", "", Some(&first)),
        ("shared", "v2", Some(&second)),
        ("shared", "v3", Some(&third)),
        ("shared", "v4", None),
        ("other", "v2", None),
        ("nobody", "", None),
    ];
    for (id, variant, wanted) in rows {
        assert_eq!(ledger.find_variant(id, variant).await.unwrap().as_ref(), wanted, "{id} {variant:?}");
    }
    let all = ledger.find_all("shared", 10).await.unwrap();
    assert_eq!(all, [third.clone(), second.clone(), first.clone()], "in use first, then the newest");
    assert_eq!(ledger.find_all("shared", 2).await.unwrap(), [third.clone(), second.clone()], "the limit");
    assert_eq!(ledger.find_all("nobody", 10).await.unwrap(), []);
    assert_eq!(ledger.get(second.key).await.unwrap(), Some(second.clone()));
    // Another record can't become what this one is.
    let claiming = Client { variant: "v2".into(), ..first.clone() };
    assert_eq!(ledger.replace(&claiming).await.unwrap(), Replacement::Taken);
    let ended = Client { status: Status::Revoked, ended_at: Some(9), ..third.clone() };
    assert_eq!(ledger.replace(&ended).await.unwrap(), Replacement::Replaced);
    let all = ledger.find_all("shared", 10).await.unwrap();
    let keys: Vec<ClientKey> = all.iter().map(|client| client.key).collect();
    assert_eq!(keys, [second.key, first.key, third.key], "live ones first");
    assert_eq!(all[0..2], [second.clone(), first.clone()], "nothing else has changed");
    let filter = Filter { fingerprint: Some(Fingerprint::ClientId("shared".into())), ..Filter::default() };
    assert_eq!(ledger.page(&filter, None, 10).await.unwrap().len(), 3);
    assert!(ledger.remove(&first).await.unwrap());
    assert_eq!(ledger.find("shared").await.unwrap(), None);
    assert_eq!(ledger.find_all("shared", 10).await.unwrap().len(), 2);
    // An id in another case is another client, but not to every server.
    for (id, found) in [("SHARED", true), ("Shared", true), ("shared", false), ("share", false), ("OTHER", true)] {
        assert_eq!(ledger.has_in_other_case(id).await.unwrap(), found, "{id}");
    }
    insert(ledger, &active("sHaReD", 5)).await;
    for id in ["SHARED", "shared"] {
        assert!(ledger.has_in_other_case(id).await.unwrap(), "{id}: in mixed case");
    }
    // The place is free again.
    let moved = Client { variant: String::new(), ..second.clone() };
    assert_eq!(ledger.replace(&moved).await.unwrap(), Replacement::Replaced);
    assert_eq!(ledger.find("shared").await.unwrap().map(|client| client.key), Some(second.key));
    insert(ledger, &of("v2", 6)).await;
}

/// Who pushed an authorization request is known until the note expires, whatever it is called.
pub async fn notes_pushed_requests(ledger: &impl Ledger) {
    ledger.put_pushed("one", "a", 10).await.unwrap();
    ledger.put_pushed("other", "id \" ' \\ 日本 \u{1F600}", 20).await.unwrap();
    let rows =
        [("one", 9, Some("a")), ("one", 10, None), ("other", 19, Some("id \" ' \\ 日本 \u{1F600}")), ("none", 1, None)];
    for (request, now, wanted) in rows {
        assert_eq!(ledger.find_pushed(request, now).await.unwrap().as_deref(), wanted, "{request} at {now}");
    }
    ledger.put_pushed("one", "b", 30).await.unwrap();
    assert_eq!(ledger.find_pushed("one", 10).await.unwrap().as_deref(), Some("b"), "the later note counts");
    assert_eq!(ledger.purge_pushed(19).await.unwrap(), 0);
    assert_eq!(ledger.purge_pushed(20).await.unwrap(), 1);
    assert_eq!(ledger.find_pushed("other", 0).await.unwrap(), None);
    assert_eq!(ledger.find_pushed("one", 29).await.unwrap().as_deref(), Some("b"));
}

/// Clients that were registered elsewhere take no room from others, and those that were used last stay.
pub async fn bounds_what_was_registered_elsewhere(ledger: &impl Ledger) {
    let foreign =
        |id: &str, proven_at| Client { origin: Origin::Elsewhere, proven_at: Some(proven_at), ..active(id, 1) };
    for (id, proven_at) in [("oldest", 2), ("newest", 9), ("older", 3), ("newer", 8)] {
        insert(ledger, &foreign(id, proven_at)).await;
    }
    let revoked = Client { status: Status::Revoked, ended_at: Some(1), ..foreign("revoked", 1) };
    insert(ledger, &revoked).await;
    assert!(matches!(ledger.insert(&active("here", 1), Some(1)).await.unwrap(), Insertion::Inserted(_)));
    assert_eq!(ledger.insert(&active("there", 1), Some(1)).await.unwrap(), Insertion::Full);
    assert!(matches!(ledger.insert(&foreign("another", 7), Some(1)).await.unwrap(), Insertion::Inserted(_)));
    assert_eq!(ledger.trim_elsewhere(5).await.unwrap(), 0);
    assert_eq!(ledger.trim_elsewhere(3).await.unwrap(), 2);
    for (id, stays) in
        [("oldest", false), ("older", false), ("another", true), ("newer", true), ("newest", true), ("revoked", true)]
    {
        assert_eq!(ledger.find(id).await.unwrap().is_some(), stays, "{id}");
    }
    // Once it is registered here, it counts.
    let newest = ledger.find("newest").await.unwrap().unwrap();
    assert!(ledger.remove(&ledger.find("here").await.unwrap().unwrap()).await.unwrap());
    let here = Client { origin: Origin::Registered, ..newest };
    assert_eq!(ledger.replace(&here).await.unwrap(), Replacement::Replaced);
    assert_eq!(ledger.insert(&active("there", 1), Some(1)).await.unwrap(), Insertion::Full);
}

/// A verdict with everything in it.
fn claude() -> Identity {
    let json = br#"{"client_name":"Claude","redirect_uris":["https://claude.ai/api/mcp/auth_callback"]}"#;
    Identities::known().identify(&Registration::parse(json).unwrap())
}

/// Polls all of them at once, in whatever runtime there is.
async fn together<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|cx| {
        for (future, output) in &mut waiting {
            if output.is_none()
                && let Poll::Ready(ready) = future.as_mut().poll(cx)
            {
                *output = Some(ready);
            }
        }
        if waiting.iter().any(|(_, output)| output.is_none()) { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    waiting.into_iter().filter_map(|(_, output)| output).collect()
}
