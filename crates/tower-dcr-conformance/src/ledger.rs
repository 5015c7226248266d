//! Checks of a [`Ledger`].

use tower_dcr::Registration;
use tower_dcr::clients::{
    Actor, Block, Change, Client, ClientKey, Deprovisioning, DocumentState, Evictable, Filter, Fingerprint,
    Fingerprints, Grouping, HeldChange, Insertion, LargestSource, Ledger, Origin, Replacement, Source, Status,
    StoredResponse, Work,
};
use tower_dcr::rules::{Claim, ClaimStatus, Identity};

use super::together::together;

/// Changes fields of a record.
macro_rules! with {
    ($record:expr; $($field:ident: $value:expr),+ $(,)?) => {{
        let mut record = $record;
        $(record.$field = $value;)+
        record
    }};
}

/// Runs every check, each on an empty ledger from `open`.
///
/// ```
/// use tower_dcr::clients::MemoryLedger;
///
/// # let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
/// # runtime.block_on(async {
/// tower_dcr_conformance::ledger(async || MemoryLedger::default()).await;
/// # });
/// ```
///
/// # Panics
///
/// If a check fails, with the reason.
pub async fn ledger<L: Ledger>(open: impl AsyncFn() -> L) {
    keeps_every_member(&open().await).await;
    gives_one_key_to_each(&open().await).await;
    lets_one_of_equals_in(&open().await).await;
    replaces_what_was_read(&open().await).await;
    lets_one_change_win(&open().await).await;
    rejects_a_taken_client_id(&open().await).await;
    holds_the_quota(&open().await).await;
    holds_the_quota_under_concurrency(&open().await).await;
    removes_what_was_read(&open().await).await;
    pages_from_new_to_old(&open().await).await;
    filters(&open().await).await;
    hands_out_what_is_due(&open().await).await;
    finds_the_largest_source(&open().await).await;
    trims_spent_records(&open().await).await;
    counts_and_draws(&open().await).await;
    groups(&open().await).await;
    blocks(&open().await).await;
    counts_uses(&open().await).await;
    keeps_variants_apart(&open().await).await;
    stores_pushed_requests(&open().await).await;
    bounds_what_was_registered_elsewhere(&open().await).await;
    finds_documents(&open().await).await;
    bounds_documents(&open().await).await;
    bounds_documents_of_sites(&open().await).await;
}

/// A record as the registrar makes it.
fn draft(name: &str, redirect_uri: &str, created_at: i64) -> Client {
    let json = serde_json::json!({ "client_name": name, "redirect_uris": [redirect_uri] }).to_string();
    let registration = Registration::parse(json.as_bytes()).unwrap();
    let address = Some([192, 0, 2, 7].into());
    let prints = with!(Fingerprints::of(&registration, false); source: address.map(Source::of));
    Client::draft(json, prints, created_at)
}

fn active(id: &str, created_at: i64) -> Client {
    with!(draft(id, "https://a.example.com/cb", created_at); status: Status::Active, client_id: Some(id.into()))
}

async fn insert(ledger: &impl Ledger, client: &Client) -> Client {
    match ledger.insert(client, None).await.unwrap() {
        Insertion::Inserted(client) => client,
        other => panic!("not inserted: {other:?}"),
    }
}

/// Records are read as they were written.
async fn keeps_every_member(ledger: &impl Ledger) {
    let full = with!(
        draft("A (x)", "http://127.0.0.1:1/cb", 1);
        status: Status::Revoked,
        origin: Origin::Elsewhere,
        client_id: Some("id \" ' \\ 日本 \u{1F600}".into()),
        response: Some(StoredResponse { status: 201, body: "{\"client_id\":\"x\"}".into() }),
        dedup_key: Some("repeat".into()),
        admitted_by: Some("owner".into()),
        rules: Some("partner".into()),
        statement_issuer: Some("https://issuer.example.com".into()),
        identity: Some(claude()),
        policy: Some("00c0ffee00c0ffee".into()),
        last_used_at: Some(2),
        expires_at: Some(i64::MAX),
        not_after: Some(4),
        reviewed_at: Some(5),
        reviewed_by: Some("alice".into()),
        ended_at: Some(6),
        ended_by: Some(Actor::Operator("bob: the operator".into())),
        reason: Some("because".into()),
        deprovisioning: Deprovisioning { due_at: Some(7), attempts: 3, error: Some("down".into()) },
    );
    let inserted = insert(ledger, &full).await;
    assert_eq!(with!(inserted.clone(); key: ClientKey(0), version: 0), full);
    let bare = insert(ledger, &draft("B", "com.example.b:/cb", 1)).await;
    let plain = insert(ledger, &document("https://app.example.com/client.json", 1)).await;
    let held = insert(ledger, &held_document("https://app.example.com/held.json", 1)).await;
    for client in [inserted, bare, plain, held] {
        assert_eq!(ledger.get(client.key).await.unwrap().as_ref(), Some(&client));
        if let Some(id) = &client.client_id {
            assert_eq!(ledger.find(id).await.unwrap().as_ref(), Some(&client));
        }
        if let Some(key) = &client.dedup_key {
            assert_eq!(ledger.find_by_dedup_key(key).await.unwrap().as_ref(), Some(&client));
        }
    }
    assert_eq!(ledger.find("nobody").await.unwrap(), None);
    assert_eq!(ledger.find_by_dedup_key("nobody").await.unwrap(), None);
    assert_eq!(ledger.get(ClientKey(i64::MAX)).await.unwrap(), None);
}

/// Keys grow.
async fn gives_one_key_to_each(ledger: &impl Ledger) {
    let one = insert(ledger, &active("one", 1)).await;
    let other = insert(ledger, &active("other", 1)).await;
    assert!(one.key < other.key, "{:?} {:?}", one.key, other.key);
}

/// Of many equal registrations at once, one is inserted, and the others get its record.
async fn lets_one_of_equals_in(ledger: &impl Ledger) {
    let client = with!(draft("A", "https://a.example.com/cb", 1); dedup_key: Some("same".into()));
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
            Insertion::Full => panic!("there is no quota"),
        }
    }
    keys.dedup();
    assert_eq!((inserted, keys.len()), (1, 1));
    assert_eq!(ledger.page(&Filter::default(), None, 10).await.unwrap().len(), 1);
}

/// An outdated change is not made.
async fn replaces_what_was_read(ledger: &impl Ledger) {
    let read = insert(ledger, &with!(active("a", 1); dedup_key: Some("r".into()))).await;
    let mut changed = read.clone();
    changed.last_used_at = Some(9);
    assert_eq!(ledger.replace(&changed).await.unwrap(), Replacement::Replaced);
    assert_eq!(ledger.replace(&changed).await.unwrap(), Replacement::Outdated, "the version has changed");
    let now = ledger.get(read.key).await.unwrap().unwrap();
    assert_eq!(now, with!(changed; version: read.version + 1));
    // A released key is free again, and the indexes follow.
    let moved = with!(
        now;
        dedup_key: None,
        client_id: Some("b".into()),
        fingerprints: draft("B", "https://b.example.com/cb", 1).fingerprints,
    );
    assert_eq!(ledger.replace(&moved).await.unwrap(), Replacement::Replaced);
    assert_eq!(ledger.find("a").await.unwrap(), None);
    assert_eq!(ledger.find_by_dedup_key("r").await.unwrap(), None);
    assert_eq!(ledger.find("b").await.unwrap().unwrap().key, read.key);
    insert(ledger, &with!(active("a", 1); dedup_key: Some("r".into()))).await;
    let nobody = with!(read; key: ClientKey(i64::MAX));
    assert_eq!(ledger.replace(&nobody).await.unwrap(), Replacement::Outdated);
}

/// Of many changes to a record at once, one is made.
async fn lets_one_change_win(ledger: &impl Ledger) {
    let read = insert(ledger, &active("a", 1)).await;
    let change = async |time| ledger.replace(&with!(read.clone(); last_used_at: Some(time))).await.unwrap();
    let outcomes = together((0..16).map(change)).await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Replacement::Replaced).count(), 1, "{outcomes:?}");
    assert_eq!(ledger.get(read.key).await.unwrap().unwrap().version, read.version + 1);
}

/// No two records have one `client_id`.
async fn rejects_a_taken_client_id(ledger: &impl Ledger) {
    let first = insert(ledger, &active("a", 1)).await;
    assert_eq!(ledger.insert(&active("a", 2), None).await.unwrap(), Insertion::Exists(first));
    let second = insert(ledger, &draft("B", "https://b.example.com/cb", 1)).await;
    let claiming = with!(second.clone(); client_id: Some("a".into()));
    assert_eq!(ledger.replace(&claiming).await.unwrap(), Replacement::Taken);
    assert_eq!(ledger.get(second.key).await.unwrap(), Some(second), "left as it was");
}

/// No more live records than the quota; what ends makes room, what comes back to life takes it.
async fn holds_the_quota(ledger: &impl Ledger) {
    let one = insert(ledger, &with!(active("one", 1); dedup_key: Some("r".into()))).await;
    insert(ledger, &active("two", 1)).await;
    assert_eq!(ledger.insert(&active("three", 1), Some(2)).await.unwrap(), Insertion::Full);
    let again = with!(active("another", 1); dedup_key: Some("r".into()));
    assert!(
        matches!(ledger.insert(&again, Some(2)).await.unwrap(), Insertion::Exists(_)),
        "an equal one needs no room"
    );
    assert!(matches!(ledger.insert(&active("two", 1), Some(2)).await.unwrap(), Insertion::Exists(_)));
    let ended = with!(one; status: Status::Revoked, ended_at: Some(2));
    assert_eq!(ledger.replace(&ended).await.unwrap(), Replacement::Replaced);
    assert!(matches!(ledger.insert(&active("three", 1), Some(2)).await.unwrap(), Insertion::Inserted(_)));
    assert_eq!(ledger.insert(&active("four", 1), Some(2)).await.unwrap(), Insertion::Full);
    let two = ledger.find("two").await.unwrap().unwrap();
    assert!(ledger.remove(&two).await.unwrap());
    assert!(matches!(ledger.insert(&active("four", 1), Some(2)).await.unwrap(), Insertion::Inserted(_)));
    let past = with!(active("past", 1); status: Status::Failed, ended_at: Some(2));
    assert!(matches!(ledger.insert(&past, Some(2)).await.unwrap(), Insertion::Inserted(_)), "it is not live");
    assert_eq!(ledger.insert(&active("five", 1), Some(2)).await.unwrap(), Insertion::Full);
}

/// The quota holds for many registrations at once.
async fn holds_the_quota_under_concurrency(ledger: &impl Ledger) {
    let attempt = async |index| ledger.insert(&active(&format!("c{index}"), 1), Some(7)).await.unwrap();
    let outcomes = together((0..24).map(attempt)).await;
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Insertion::Inserted(_))).count(), 7);
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Insertion::Full)).count(), 17);
    assert_eq!(ledger.page(&live(), None, 100).await.unwrap().len(), 7);
}

/// A record that was changed after it was read is not removed.
async fn removes_what_was_read(ledger: &impl Ledger) {
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
async fn pages_from_new_to_old(ledger: &impl Ledger) {
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
async fn filters(ledger: &impl Ledger) {
    let plain = insert(ledger, &active("plain", 10)).await;
    let busy = with!(active("busy", 10); last_used_at: Some(50), expires_at: Some(100), reviewed_at: Some(60));
    let busy = insert(ledger, &busy).await;
    let ended = with!(
        active("ended", 10);
        status: Status::Revoked,
        origin: Origin::Elsewhere,
        admitted_by: Some("owner".into()),
        ended_at: Some(5),
        deprovisioning: Deprovisioning { due_at: Some(1), attempts: 1, error: Some("down".into()) },
    );
    let ended = insert(ledger, &ended).await;
    let mut other = draft("Other", "http://localhost:1/cb", 10);
    other.fingerprints.software_id = Some("soft".into());
    let other = insert(ledger, &other.clone()).await;
    let signed = with!(active("signed", 60); statement_issuer: Some("https://directory.example.com".into()));
    let signed = insert(ledger, &signed).await;
    let every = [&signed, &other, &ended, &busy, &plain];
    let prints = other.fingerprints.clone();
    let by = |fingerprint| Filter { fingerprint: Some(fingerprint), ..Filter::default() };
    let rows: Vec<(&str, Filter, Vec<&Client>)> = vec![
        ("nothing", Filter::default(), every.to_vec()),
        ("live", live(), vec![&signed, &other, &busy, &plain]),
        (
            "two statuses",
            Filter { statuses: vec![Status::Revoked, Status::Registering], ..Filter::default() },
            vec![&other, &ended],
        ),
        ("origin", Filter { origin: Some(Origin::Elsewhere), ..Filter::default() }, vec![&ended]),
        ("admitted", Filter { admitted_by: Some("owner".into()), ..Filter::default() }, vec![&ended]),
        ("used", Filter { used: true, ..Filter::default() }, vec![&busy]),
        ("endorsed", Filter { endorsed: true, ..Filter::default() }, vec![&signed, &ended, &busy]),
        ("endorsed and used", Filter { endorsed: true, used: true, ..live() }, vec![&busy]),
        ("never used", Filter { never_used: true, ..live() }, vec![&signed, &other, &plain]),
        ("never reviewed", Filter { never_reviewed: true, ..live() }, vec![&signed, &other, &plain]),
        ("idle", Filter { idle_since: Some(50), ..live() }, vec![&other, &plain]),
        ("idle, at the edge", Filter { idle_since: Some(51), ..live() }, vec![&other, &busy, &plain]),
        ("expiring", Filter { expires_before: Some(101), ..Filter::default() }, vec![&busy]),
        ("not expiring yet", Filter { expires_before: Some(100), ..Filter::default() }, vec![]),
        ("stale", Filter { stale_at: Some(76), ..Filter::default() }, vec![&busy]),
        ("not stale at half of its life", Filter { stale_at: Some(75), ..Filter::default() }, vec![]),
        ("stale to its end", Filter { stale_at: Some(99), ..Filter::default() }, vec![&busy]),
        ("not stale but expired", Filter { stale_at: Some(100), ..Filter::default() }, vec![]),
        ("failing", Filter { failing_deprovisioning: true, ..Filter::default() }, vec![&ended]),
        ("client_id", by(Fingerprint::ClientId("busy".into())), vec![&busy]),
        ("digest", by(Fingerprint::Digest(prints.digest.clone())), vec![&other]),
        ("family", by(Fingerprint::Family(prints.family.clone())), vec![&other]),
        ("name", by(Fingerprint::name("OTHER")), vec![&other]),
        ("redirect set", by(Fingerprint::RedirectSet(prints.redirect_set.clone())), vec![&other]),
        ("software", by(Fingerprint::SoftwareId("soft".into())), vec![&other]),
        ("source", by(Fingerprint::parse("source", "192.0.2.7").unwrap()), every.to_vec()),
        ("site", by(Fingerprint::parse("source", "192.0.2.0/24").unwrap()), every.to_vec()),
        ("another site", by(Fingerprint::parse("source", "192.0.3.0/24").unwrap()), vec![]),
    ];
    for (reason, filter, wanted) in rows {
        let found = ledger.page(&filter, None, 100).await.unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), wanted, "{reason}");
        for client in every {
            assert_eq!(filter.matches(client), wanted.contains(&client), "{reason}: {:?}", client.client_id);
        }
    }
}

/// Due records are returned, the longest due first, and no others.
async fn hands_out_what_is_due(ledger: &impl Ledger) {
    let late = with!(active("late", 1); expires_at: Some(30));
    let early = with!(active("early", 2); expires_at: Some(20), last_used_at: Some(2));
    let started = draft("started", "https://s.example.com/cb", 25);
    let ended = with!(active("ended", 3); status: Status::Expired, ended_at: Some(22));
    let untold = with!(
        active("untold", 3);
        status: Status::Revoked,
        ended_at: Some(21),
        deprovisioning: due(24),
    );
    let purged = with!(active("purged", 3); status: Status::Expired, ended_at: Some(1), registration: String::new());
    let kept = with!(active("kept", 1); reviewed_at: Some(3));
    let foreign = with!(active("foreign", 1); origin: Origin::Elsewhere);
    for client in [late, early, started, ended, untold, purged, kept, foreign] {
        insert(ledger, &client).await;
    }
    let mut shortened = active("shortened", 1);
    shortened.fingerprints.source = Some(Source { narrow: "192.0.2.0/24".into(), wide: "192.0.2.0/24".into() });
    let mut unknown = active("unknown", 1);
    unknown.fingerprints.source = None;
    for client in [shortened, unknown] {
        insert(ledger, &client).await;
    }
    let rows: [(Work, &[&str]); 9] = [
        (Work::Expire(19), &[]),
        (Work::Expire(20), &["early"]),
        (Work::Expire(99), &["early", "late"]),
        (Work::Reconcile(24), &[]),
        (Work::Reconcile(25), &["started"]),
        (Work::Deprovision(23), &[]),
        (Work::Deprovision(24), &["untold"]),
        (Work::Purge(21), &[]),
        (Work::Purge(22), &["ended"]),
    ];
    for (work, wanted) in rows {
        let due = ledger.due(work, 100).await.unwrap();
        let names: Vec<&str> = due.iter().map(|client| client.fingerprints.client_name.as_deref().unwrap()).collect();
        assert_eq!(names, wanted, "{work:?}");
    }
    assert_eq!(ledger.due(Work::Expire(99), 1).await.unwrap().len(), 1, "the limit");
    let addresses = async |time| {
        let due = ledger.due(Work::ShortenSource(time), 100).await.unwrap();
        let mut names: Vec<_> = due.into_iter().filter_map(|client| client.fingerprints.client_name).collect();
        names.sort_unstable();
        names
    };
    assert!(addresses(0).await.is_empty());
    assert_eq!(addresses(2).await, ["early", "foreign", "kept", "late"], "neither shortened nor unknown ones");
}

/// The largest network of each kind is found, and its first clients.
async fn finds_the_largest_source(ledger: &impl Ledger) {
    let from = |id: &str, third: Option<u8>, created_at: i64| {
        let mut client = active(id, created_at);
        client.fingerprints.source = third.map(|third| Source::of([192, 0, third, 7].into()));
        client
    };
    let nothing = ledger.largest_source(Evictable::Unused, 10).await.unwrap();
    assert_eq!(nothing, LargestSource::default());
    let verified = |client: Client| with!(client; identity: Some(claude()));
    let used = |client: Client, at: i64| with!(client; last_used_at: Some(at));
    let rows = vec![
        from("a1", Some(1), 5),
        from("a2", Some(1), 4),
        from("a3", Some(1), 6),
        from("b1", Some(2), 1),
        from("b2", Some(2), 2),
        verified(from("v1", Some(3), 1)),
        with!(from("v2", Some(3), 2); admitted_by: Some("owner".into())),
        with!(from("v3", Some(1), 3); statement_issuer: Some("issuer".into())),
        used(from("u1", Some(4), 9), 10),
        used(from("u2", Some(5), 1), 30),
        used(from("u3", Some(5), 8), 20),
        verified(used(from("w1", Some(6), 1), 2)),
        // None of these makes room.
        draft("registering", "https://a.example.com/cb", 1),
        with!(from("reviewed", Some(1), 1); reviewed_at: Some(1)),
        with!(from("elsewhere", Some(1), 1); origin: Origin::Elsewhere),
        with!(from("expired", Some(1), 1); status: Status::Expired, ended_at: Some(1)),
        // The record waits for approval.
        with!(from("a4", Some(1), 7); status: Status::Pending),
    ];
    for client in &rows {
        insert(ledger, client).await;
    }
    let wanted: [(Evictable, u64, u64, &[&str]); 4] = [
        (Evictable::Unused, 6, 4, &["a2", "a1", "a3", "a4"]),
        (Evictable::VouchedUnused, 3, 2, &["v1", "v2"]),
        (Evictable::Used, 3, 2, &["u3", "u2"]),
        (Evictable::VouchedUsed, 1, 1, &["w1"]),
    ];
    let ids = |found: &LargestSource| -> Vec<String> {
        found.first.iter().filter_map(|client| client.client_id.clone()).collect()
    };
    for (of, total, clients, first) in wanted {
        let found = ledger.largest_source(of, 10).await.unwrap();
        assert_eq!(
            (found.total, found.clients, ids(&found)),
            (total, clients, first.iter().map(|id| (*id).to_owned()).collect()),
            "{of:?}"
        );
    }
    assert_eq!(ids(&ledger.largest_source(Evictable::Unused, 1).await.unwrap()), ["a2"], "the limit");
    // Records without a source are one network, and of networks that hold as many the one with the oldest goes first.
    for id in ["n1", "n2", "n3", "n4"] {
        insert(ledger, &from(id, None, 3)).await;
    }
    let found = ledger.largest_source(Evictable::Unused, 9).await.unwrap();
    assert_eq!(
        (found.total, found.clients, ids(&found)),
        (10, 4, ["n1", "n2", "n3", "n4"].map(str::to_owned).to_vec())
    );
    // The index follows every change.
    let n1 = ledger.find("n1").await.unwrap().unwrap();
    assert_eq!(ledger.replace(&used(n1, 40)).await.unwrap(), Replacement::Replaced);
    assert!(ledger.remove(&ledger.find("a4").await.unwrap().unwrap()).await.unwrap());
    let a2 = ledger.find("a2").await.unwrap().unwrap();
    assert_eq!(ledger.replace(&verified(a2)).await.unwrap(), Replacement::Replaced);
    let found = ledger.largest_source(Evictable::Unused, 9).await.unwrap();
    assert_eq!((found.total, found.clients, ids(&found)), (7, 3, ["n2", "n3", "n4"].map(str::to_owned).to_vec()));
}

/// Spent records are removed by time and by number, and no others.
async fn trims_spent_records(ledger: &impl Ledger) {
    let ended = |id: &str, status: Status, ended_at: i64| {
        with!(
            active(id, 1);
            status: status,
            ended_at: Some(ended_at),
            registration: String::new(),
            fingerprints: Fingerprints::default(),
        )
    };
    let told = Deprovisioning { attempts: 1, ..Deprovisioning::default() };
    let rows = vec![
        ended("failed", Status::Failed, 10),
        with!(ended("told", Status::Expired, 20); deprovisioning: told.clone()),
        with!(ended("shared", Status::Expired, 30); variant: "v".into()),
        ended("failed late", Status::Failed, 40),
        // The server may still know it, or has yet to be told; it is not empty; it was revoked; it lives.
        ended("not told", Status::Expired, 10),
        with!(ended("due", Status::Expired, 10); deprovisioning: due(9)),
        with!(ended("whole", Status::Failed, 10); registration: "{}".into()),
        with!(ended("revoked", Status::Revoked, 10); deprovisioning: told),
        active("live", 1),
    ];
    for client in &rows {
        insert(ledger, client).await;
    }
    let left = async || -> Vec<String> {
        let page = ledger.page(&Filter::default(), None, 100).await.unwrap();
        page.into_iter().rev().filter_map(|client| client.client_id).collect()
    };
    let kept = ["not told", "due", "whole", "revoked", "live"];
    assert_eq!(ledger.trim_spent(9, 4).await.unwrap(), 0);
    assert_eq!(ledger.trim_spent(20, 4).await.unwrap(), 2);
    assert_eq!(left().await, [&["shared", "failed late"][..], &kept[..]].concat());
    assert_eq!(ledger.trim_spent(9, 1).await.unwrap(), 1, "the first that ended goes first");
    assert_eq!(left().await, [&["failed late"][..], &kept[..]].concat());
    assert_eq!(ledger.trim_spent(9, 0).await.unwrap(), 1);
    assert_eq!(left().await, kept);
}

/// Numbers for the overview.
async fn counts_and_draws(ledger: &impl Ledger) {
    for (index, created_at) in [5, 10, 19, 20, 45].into_iter().enumerate() {
        insert(ledger, &active(&format!("c{index}"), created_at)).await;
    }
    insert(ledger, &with!(active("old", 46); status: Status::Expired, ended_at: Some(1))).await;
    let mut counts = ledger.counts().await.unwrap();
    counts.retain(|(_, clients)| *clients > 0);
    counts.sort_unstable();
    assert_eq!(counts, [(Status::Active, 5), (Status::Expired, 1)]);
    assert_eq!(ledger.timeline(10, 10).await.unwrap(), [(10, 2), (20, 1), (40, 2)]);
}

/// Clients are grouped.
async fn groups(ledger: &impl Ledger) {
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
    let gone = with!(draft("Other", "https://x.example.com/cb", 1); status: Status::Revoked, ended_at: Some(1));
    insert(ledger, &gone).await;
    assert_eq!(ledger.groups(Grouping::SoftwareAcrossHosts, 10).await.unwrap(), []);
    for (software_id, uri) in
        [("soft", "https://a.example.net/cb"), ("soft", "https://b.example.net/cb"), ("other", "com.c:/cb")]
    {
        let mut client = draft(&format!("S {uri}"), uri, 1);
        client.fingerprints.software_id = Some(software_id.into());
        insert(ledger, &client).await;
    }
    let software = ledger.groups(Grouping::SoftwareAcrossHosts, 10).await.unwrap();
    assert_eq!(software.len(), 1);
    assert_eq!((&*software[0].key, software[0].clients), ("soft", 2));
    assert_eq!(software[0].values, ["a.example.net", "b.example.net"]);

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
async fn blocks(ledger: &impl Ledger) {
    let name = Fingerprint::name("Evil");
    let block = Block::new(name.clone(), 5, Actor::Operator("alice".into()), "because");
    assert!(ledger.block(&block).await.unwrap());
    let again = with!(block.clone(); created_at: 6, actor: Actor::System);
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
async fn counts_uses(ledger: &impl Ledger) {
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

/// Several records with one `client_id` differ in their variant, and do not affect each other.
async fn keeps_variants_apart(ledger: &impl Ledger) {
    let of = |variant: &str, created_at| with!(active("shared", created_at); variant: variant.into());
    let first = insert(ledger, &of("", 1)).await;
    let second = insert(ledger, &of("v2", 2)).await;
    let third = insert(ledger, &with!(of("v3", 3); last_used_at: Some(9))).await;
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
    let claiming = with!(first.clone(); variant: "v2".into());
    assert_eq!(ledger.replace(&claiming).await.unwrap(), Replacement::Taken);
    let ended = with!(third.clone(); status: Status::Revoked, ended_at: Some(9));
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
    let moved = with!(second.clone(); variant: String::new());
    assert_eq!(ledger.replace(&moved).await.unwrap(), Replacement::Replaced);
    assert_eq!(ledger.find("shared").await.unwrap().map(|client| client.key), Some(second.key));
    insert(ledger, &of("v2", 6)).await;
}

/// The client of a pushed request is known until the entry expires.
async fn stores_pushed_requests(ledger: &impl Ledger) {
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
async fn bounds_what_was_registered_elsewhere(ledger: &impl Ledger) {
    let foreign = |id: &str, last_used_at| {
        with!(
            active(id, 1);
            origin: Origin::Elsewhere,
            last_used_at: Some(last_used_at),
        )
    };
    for (id, last_used_at) in [("oldest", 2), ("newest", 9), ("older", 3), ("newer", 8)] {
        insert(ledger, &foreign(id, last_used_at)).await;
    }
    let revoked = with!(foreign("revoked", 1); status: Status::Revoked, ended_at: Some(1));
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
    let here = with!(newest; origin: Origin::Registered);
    assert_eq!(ledger.replace(&here).await.unwrap(), Replacement::Replaced);
    assert_eq!(ledger.insert(&active("there", 1), Some(1)).await.unwrap(), Insertion::Full);
}

/// Clients of documents are found by their URL, host and site.
async fn finds_documents(ledger: &impl Ledger) {
    let one = insert(ledger, &document("https://app.example.com/client.json", 1)).await;
    let held = insert(ledger, &held_document("https://example.com:8443/client.json?v=2", 2)).await;
    let hosted = insert(ledger, &document("https://a.github.io/client.json", 3)).await;
    let neighbour = insert(ledger, &document("https://b.github.io/client.json", 4)).await;
    // Only a document has a host, whatever its client_id is.
    insert(ledger, &active("https://app.example.com/registered.json", 5)).await;
    insert(ledger, &with!(active("https://app.example.com/seen.json", 6); origin: Origin::Elsewhere)).await;
    let ended = document("https://ended.example.org/client.json", 7);
    let ended = with!(ended; status: Status::Revoked, ended_at: Some(8), document: None, registration: String::new());
    let ended = insert(ledger, &ended).await;
    let by = |kind: &str, value: &str| Filter {
        fingerprint: Some(Fingerprint::parse(kind, value).unwrap()),
        ..Filter::default()
    };
    let rows: Vec<(Filter, Vec<&Client>)> = vec![
        (
            Filter { origin: Some(Origin::Document), ..Filter::default() },
            vec![&ended, &neighbour, &hosted, &held, &one],
        ),
        (Filter { held_change: true, ..Filter::default() }, vec![&held]),
        (by("client_id", "https://app.example.com/client.json"), vec![&one]),
        (by("document_host", "app.example.com"), vec![&one]),
        (by("document_host", "example.com"), vec![&held]),
        (by("document_site", "example.com"), vec![&held, &one]),
        (by("document_host", "a.github.io"), vec![&hosted]),
        (by("document_site", "b.github.io"), vec![&neighbour]),
        (by("document_site", "example.org"), vec![&ended]),
        (by("document_host", "example.org"), vec![]),
    ];
    for (filter, wanted) in rows {
        let found = ledger.page(&filter, None, 100).await.unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), wanted, "{filter:?}");
        for client in [&one, &held, &hosted, &neighbour, &ended] {
            assert_eq!(filter.matches(client), wanted.contains(&client), "{filter:?}: {:?}", client.client_id);
        }
    }
    // The columns follow.
    let mut approved = held;
    approved.document.as_mut().unwrap().held = None;
    assert_eq!(ledger.replace(&approved).await.unwrap(), Replacement::Replaced);
    let waiting = Filter { held_change: true, ..Filter::default() };
    assert_eq!(ledger.page(&waiting, None, 100).await.unwrap(), []);
    for (kind, value) in [("document_host", "app.example.com"), ("document_site", "example.com")] {
        let print = Fingerprint::parse(kind, value).unwrap();
        ledger.block(&Block::new(print.clone(), 1, Actor::System, "x")).await.unwrap();
        assert_eq!(
            ledger.find_block(std::slice::from_ref(&print)).await.unwrap().map(|block| block.fingerprint),
            Some(print)
        );
    }
}

/// Documents don't count as registrations, and make room among themselves.
async fn bounds_documents(ledger: &impl Ledger) {
    let url = |name: &str| format!("https://app.example.com/{name}");
    let used = |name: &str, at: i64| with!(document(&url(name), 1); last_used_at: Some(at));
    let rows = vec![
        used("used late", 20),
        used("used early", 10),
        with!(used("vouched", 5); identity: Some(claude())),
        document(&url("new"), 9),
        document(&url("old"), 8),
        with!(document(&url("pending"), 7); status: Status::Pending),
        with!(document(&url("reviewed"), 1); reviewed_at: Some(2)),
        with!(document(&url("revoked"), 1); status: Status::Revoked, ended_at: Some(2)),
        with!(active("elsewhere", 1); origin: Origin::Elsewhere),
    ];
    for client in &rows {
        assert!(matches!(ledger.insert(client, Some(1)).await.unwrap(), Insertion::Inserted(_)));
    }
    assert!(matches!(ledger.insert(&active("here", 1), Some(1)).await.unwrap(), Insertion::Inserted(_)));
    assert_eq!(ledger.insert(&active("there", 1), Some(1)).await.unwrap(), Insertion::Full);
    let order = ["pending", "old", "new", "used early", "used late", "vouched"];
    for (keep, limit, wanted) in [(7, 9, 0), (8, 9, 0), (6, 9, 1), (4, 9, 3), (1, 9, 6), (0, 9, 6), (0, 2, 2)] {
        let found = ledger.surplus_documents(keep, limit).await.unwrap();
        let ids: Vec<&str> = found.iter().filter_map(|client| client.client_id.as_deref()).collect();
        let wanted: Vec<String> = order[..wanted].iter().map(|name| url(name)).collect();
        assert_eq!(ids, wanted, "{keep} {limit}");
    }
    // The index follows every change.
    let old = ledger.find(&url("old")).await.unwrap().unwrap();
    assert_eq!(ledger.replace(&with!(old; last_used_at: Some(99))).await.unwrap(), Replacement::Replaced);
    assert!(ledger.remove(&ledger.find(&url("pending")).await.unwrap().unwrap()).await.unwrap());
    let found = ledger.surplus_documents(4, 9).await.unwrap();
    let ids: Vec<_> = found.into_iter().filter_map(|client| client.client_id).collect();
    assert_eq!(ids, [url("new"), url("used early")]);
}

/// One publisher pushes out its own documents.
async fn bounds_documents_of_sites(ledger: &impl Ledger) {
    let used = |url: &str, at: i64| with!(document(url, 1); last_used_at: Some(at));
    let pending = |url: &str, at: i64| with!(document(url, at); status: Status::Pending);
    let rows = vec![
        // Never used: three of one site, two of another, one of each customer of a suffix.
        document("https://a.flood.example/1", 51),
        pending("https://b.flood.example/2", 53),
        document("https://flood.example/3", 55),
        pending("https://app.pair.example/1", 50),
        document("https://pair.example:8443/2?v=2", 52),
        pending("https://one.github.io/c", 5),
        document("https://two.github.io/c", 54),
        // Vouched for: counted on their own.
        with!(document("https://c.flood.example/vouched", 2); identity: Some(claude())),
        // Used, the largest site most recently.
        used("https://daily.example/c", 60),
        used("https://a.crowd.example/1", 70),
        used("https://b.crowd.example/2", 71),
        used("https://crowd.example/3", 72),
        used("https://one.github.io/used", 61),
        // Approved: count, and stay.
        with!(document("https://approved.example/1", 1); reviewed_at: Some(2)),
        with!(used("https://approved.example/2", 1); reviewed_at: Some(2)),
        // Ended ones and registrations count in no site.
        with!(used("https://daily.example/ended", 1); status: Status::Revoked, ended_at: Some(2)),
        active("https://daily.example/registered", 1),
    ];
    for client in &rows {
        assert!(matches!(ledger.insert(client, None).await.unwrap(), Insertion::Inserted(_)));
    }
    let order = [
        "https://a.flood.example/1",
        "https://app.pair.example/1",
        "https://b.flood.example/2",
        "https://one.github.io/c",
        "https://pair.example:8443/2?v=2",
        "https://two.github.io/c",
        "https://flood.example/3",
        "https://c.flood.example/vouched",
        "https://a.crowd.example/1",
        "https://b.crowd.example/2",
        "https://daily.example/c",
        "https://one.github.io/used",
        "https://crowd.example/3",
    ];
    for (keep, limit, wanted) in
        [(15, 99, 0), (14, 99, 1), (12, 99, 3), (6, 99, 9), (2, 99, 13), (0, 99, 13), (0, 10, 10)]
    {
        assert_eq!(surplus(ledger, keep, limit).await, order[..wanted], "{keep} {limit}");
    }
    // One by one, as many at once.
    for (index, url) in order.iter().enumerate() {
        let first = ledger.surplus_documents(0, 1).await.unwrap();
        assert_eq!(first[0].client_id.as_deref(), Some(*url), "{index}");
        assert!(ledger.remove(&first[0]).await.unwrap(), "{url}");
    }
    assert_eq!(surplus(ledger, 0, 9).await, [""; 0], "approved ones");
    // The sites follow every change.
    for (number, url) in
        ["https://a.late.example/1", "https://b.late.example/2", "https://lone.example/c"].iter().enumerate()
    {
        insert(ledger, &used(url, 80 + i64::try_from(number).unwrap())).await;
    }
    let lone = insert(ledger, &used("https://lone.example/new", 99)).await;
    assert_eq!(surplus(ledger, 5, 9).await, ["https://a.late.example/1"], "of as many, the least recently used");
    let approved = with!(ledger.find("https://b.late.example/2").await.unwrap().unwrap(); reviewed_at: Some(3));
    assert_eq!(ledger.replace(&approved).await.unwrap(), Replacement::Replaced);
    assert_eq!(surplus(ledger, 5, 9).await, ["https://lone.example/c"], "what an operator approved counts in no site");
    assert_eq!(
        ledger.replace(&with!(lone; status: Status::Revoked, ended_at: Some(3))).await.unwrap(),
        Replacement::Replaced
    );
    assert_eq!(surplus(ledger, 4, 9).await, ["https://a.late.example/1"]);
}

/// Returns the URLs of the documents that make room.
async fn surplus(ledger: &impl Ledger, keep: u64, limit: u32) -> Vec<String> {
    let found = ledger.surplus_documents(keep, limit).await.unwrap();
    found.into_iter().filter_map(|client| client.client_id).collect()
}

/// The client of a document, as it is recorded.
fn document(url: &str, created_at: i64) -> Client {
    let state = DocumentState::new("00".repeat(32), created_at, created_at + 1);
    let mut client = with!(active(url, created_at); origin: Origin::Document, document: Some(Box::new(state)));
    client.fingerprints.source = None;
    client
}

/// One with every member.
fn held_document(url: &str, created_at: i64) -> Client {
    let mut held = HeldChange::new("{}", "11".repeat(32), Change::Widening, 3, i64::MAX);
    held.identity = Some(claude());
    held.policy = Some("00c0ffee00c0ffee".into());
    let mut client = document(url, created_at);
    let state = client.document.as_mut().unwrap();
    state.etag = Some("W/\"é 1\"".into());
    state.unreachable_since = Some(4);
    state.held = Some(held);
    client
}

/// An identity with every member.
fn claude() -> Identity {
    let mut identity = Identity::default();
    identity.status = ClaimStatus::Verified;
    identity.claimed = Some("Claude".into());
    identity.claim = Some(Claim::Name);
    identity.proof = vec!["claude.ai".into()];
    identity
}

fn live() -> Filter {
    Filter { statuses: Status::LIVE.to_vec(), ..Filter::default() }
}

/// The state of a deletion that is due at `at`.
fn due(at: i64) -> Deprovisioning {
    Deprovisioning { due_at: Some(at), ..Deprovisioning::default() }
}
