//! The databases against the ledger in memory: the same random acts, and the same answers.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tower_dcr::Registration;
use tower_dcr::clients::{
    Actor, Block, Blocks, Change, Client, ClientKey, Deprovisioning, DocumentState, Evictable, Filter, Fingerprint,
    Fingerprints, Grouping, HeldChange, Insertion, LargestSource, Ledger, MemoryLedger, Origin, Source, Status,
    StoredResponse, Work,
};
use tower_dcr_sqlx::{PostgresLedger, SqliteLedger};

use crate::databases::{Postgres, TempDir};

const NAMES: [&str; 4] = ["App", "App (b)", "Other", ""];
const HOSTS: [&str; 4] = ["app.example.com", "example.com", "a.github.io", "b.github.io"];
const URIS: [&str; 5] = [
    "http://127.0.0.1:1/cb",
    "http://127.0.0.1:2/cb",
    "https://a.example.com/cb",
    "https://b.example.com/cb",
    "com.example.app:/cb",
];

fn maybe<T>(rng: &mut StdRng, value: impl FnOnce(&mut StdRng) -> T) -> Option<T> {
    if rng.random() { Some(value(rng)) } else { None }
}

fn time(rng: &mut StdRng) -> i64 {
    rng.random_range(0..50)
}

/// Any record that a registrar could make, and some that it could not.
fn client(rng: &mut StdRng) -> Client {
    let uris: Vec<&str> = (0..rng.random_range(1..3)).map(|_| *URIS.choose(rng).unwrap()).collect();
    let json = json!({ "client_name": NAMES.choose(rng).unwrap(), "redirect_uris": uris }).to_string();
    let mut prints = Fingerprints::of(&Registration::parse(json.as_bytes()).unwrap(), false);
    prints.software_id = maybe(rng, |rng| format!("soft-{}", rng.random_range(0..3)));
    prints.source = maybe(rng, |rng| Source::of([192, 0, rng.random_range(1..4), rng.random_range(0..3)].into()));
    let mut client = Client::draft(if rng.random_ratio(1, 9) { String::new() } else { json }, prints, time(rng));
    client.status = *Status::ALL.choose(rng).unwrap();
    client.origin = if rng.random_ratio(1, 5) { Origin::Elsewhere } else { Origin::Registered };
    client.client_id = maybe(rng, |rng| format!("id-{}", rng.random_range(0..60)));
    if rng.random_ratio(1, 4) {
        client.origin = Origin::Document;
        let mut state = DocumentState::new("00", time(rng), time(rng));
        state.held = maybe(rng, |rng| HeldChange::new("{}", "11", Change::Widening, time(rng), time(rng)));
        client.document = Some(Box::new(state));
        client.client_id = maybe(rng, url);
    }
    client.variant = if rng.random_ratio(1, 4) { format!("variant-{}", rng.random_range(0..3)) } else { String::new() };
    client.dedup_key = maybe(rng, |rng| format!("key-{}", rng.random_range(0..60)));
    client.response = maybe(rng, |_| StoredResponse { status: 201, body: "{}".into() });
    client.admitted_by = maybe(rng, |rng| format!("owner-{}", rng.random_range(0..2)));
    client.last_used_at = maybe(rng, time);
    client.expires_at = maybe(rng, time);
    client.reviewed_at = maybe(rng, time);
    client.ended_at = maybe(rng, time);
    client.ended_by = maybe(rng, |_| Actor::Client);
    client.deprovisioning =
        maybe(rng, |rng| Deprovisioning { due_at: Some(time(rng)), ..Deprovisioning::default() }).unwrap_or_default();
    client.deprovisioning.error = maybe(rng, |_| "down".to_owned());
    client
}

fn url(rng: &mut StdRng) -> String {
    format!("https://{}/client-{}.json", HOSTS.choose(rng).unwrap(), rng.random_range(0..9))
}

fn fingerprint(rng: &mut StdRng) -> Fingerprint {
    let client = client(rng);
    let mut all = client.fingerprints.all();
    all.extend(client.document_host().map(|host| Fingerprint::DocumentHost(host.to_owned())));
    all.extend(client.document_site().map(|site| Fingerprint::DocumentSite(site.to_owned())));
    all.extend(client.client_id.map(Fingerprint::ClientId));
    all.choose(rng).unwrap().clone()
}

fn filter(rng: &mut StdRng) -> Filter {
    Filter {
        statuses: Status::ALL.into_iter().filter(|_| rng.random_ratio(1, 3)).collect(),
        fingerprint: maybe(rng, fingerprint),
        origin: maybe(rng, |rng| *[Origin::Registered, Origin::Document].choose(rng).unwrap()),
        admitted_by: maybe(rng, |_| "owner-1".to_owned()),
        never_used: rng.random_ratio(1, 4),
        used: rng.random_ratio(1, 4),
        endorsed: rng.random_ratio(1, 4),
        never_reviewed: rng.random_ratio(1, 4),
        idle_since: maybe(rng, time),
        expires_before: maybe(rng, time),
        stale_at: maybe(rng, time),
        failing_deprovisioning: rng.random_ratio(1, 4),
        held_change: rng.random_ratio(1, 4),
    }
}

fn work(rng: &mut StdRng) -> Work {
    let time = time(rng);
    [Work::Expire(time), Work::Reconcile(time), Work::Deprovision(time), Work::Purge(time), Work::ShortenSource(time)]
        .choose(rng)
        .copied()
        .unwrap()
}

/// Databases count keys that they did not use.
fn without_key(mut client: Client) -> Client {
    client.key = ClientKey(0);
    client
}

/// Of clients and networks that are equal in what counts, databases may take any.
async fn compare_sources(model: &MemoryLedger, real: &impl Ledger, limit: u32, at: &str) {
    for of in Evictable::ALL {
        let known = |found: LargestSource| {
            let first = found.first.iter().map(Client::alive_since).min();
            (found.total, found.clients, found.first.len(), first)
        };
        let one = model.largest_source(of, limit).await.unwrap();
        let other = real.largest_source(of, limit).await.unwrap();
        assert_eq!(known(one), known(other), "{at}: {of:?}");
    }
}

/// Of documents that are equal in what counts, databases may take any.
async fn compare_surplus(model: &MemoryLedger, real: &impl Ledger, keep: u64, limit: u32, at: &str) {
    let known = |found: Vec<Client>| -> Vec<_> {
        let rank = |client: &Client| (client.last_used_at.is_some(), client.is_vouched_for(), client.alive_since());
        found.iter().map(rank).collect()
    };
    let one = known(model.surplus_documents(keep, limit).await.unwrap());
    assert_eq!(one, known(real.surplus_documents(keep, limit).await.unwrap()), "{at}: {keep} {limit}");
}

async fn compare(real: &impl Ledger, seed: u64, steps: u32) {
    let model = MemoryLedger::default();
    let mut rng = StdRng::seed_from_u64(seed);
    let rng = &mut rng;
    // The records that both have, by the keys that they have there.
    let mut keys: Vec<(ClientKey, ClientKey)> = Vec::new();
    for step in 0..steps {
        let at = format!("seed {seed}, step {step}");
        match rng.random_range(0..10) {
            0..=3 => {
                let (client, quota) = (client(rng), maybe(rng, |rng| rng.random_range(0..40)));
                let outcomes =
                    (model.insert(&client, quota).await.unwrap(), real.insert(&client, quota).await.unwrap());
                match outcomes {
                    (Insertion::Inserted(one), Insertion::Inserted(other)) => keys.push((one.key, other.key)),
                    (Insertion::Exists(one), Insertion::Exists(other)) => {
                        assert_eq!(without_key(one), without_key(other), "{at}");
                    }
                    (one, other) => assert_eq!(one, other, "{at}"),
                }
            }
            4..=5 if !keys.is_empty() => {
                let (one, other) = *keys.choose(rng).unwrap();
                let version =
                    model.get(one).await.unwrap().map_or(1, |known| known.version) - i64::from(rng.random_ratio(1, 6));
                let mut next = client(rng);
                next.version = version;
                next.key = one;
                let changed = model.replace(&next).await.unwrap();
                next.key = other;
                assert_eq!(changed, real.replace(&next).await.unwrap(), "{at}");
            }
            6 if !keys.is_empty() && rng.random() => {
                let index = rng.random_range(0..keys.len());
                let (one, other) = keys[index];
                let (one, other) = (model.get(one).await.unwrap().unwrap(), real.get(other).await.unwrap().unwrap());
                assert_eq!(without_key(one.clone()), without_key(other.clone()), "{at}");
                assert!(model.remove(&one).await.unwrap() && real.remove(&other).await.unwrap(), "{at}");
                keys.swap_remove(index);
            }
            6 => {
                let (id, limit) = (format!("id-{}", rng.random_range(0..60)), rng.random_range(1..4));
                // Databases count keys that they did not use, in the same order.
                let plain = |found: Vec<Client>| found.into_iter().map(without_key).collect::<Vec<_>>();
                let found = (model.find_all(&id, limit).await.unwrap(), real.find_all(&id, limit).await.unwrap());
                assert_eq!(plain(found.0), plain(found.1), "{at}: {id}");
                let found = (model.find(&id).await.unwrap(), real.find(&id).await.unwrap());
                assert_eq!(found.0.map(without_key), found.1.map(without_key), "{at}: {id}");
            }
            7 => {
                let block = Block::new(fingerprint(rng), time(rng), Actor::System, "x");
                assert_eq!(model.block(&block).await.unwrap(), real.block(&block).await.unwrap(), "{at}");
                let gone = fingerprint(rng);
                assert_eq!(model.unblock(&gone).await.unwrap(), real.unblock(&gone).await.unwrap(), "{at}");
                let asked = client(rng).fingerprints.all();
                let found = (model.find_block(&asked).await.unwrap(), real.find_block(&asked).await.unwrap());
                assert_eq!(found.0.is_some(), found.1.is_some(), "{at}");
            }
            8 => {
                let (filter, limit) = (filter(rng), rng.random_range(1..20));
                let pages =
                    (model.page(&filter, None, limit).await.unwrap(), real.page(&filter, None, limit).await.unwrap());
                let plain = |page: Vec<Client>| page.into_iter().map(without_key).collect::<Vec<_>>();
                assert_eq!(plain(pages.0), plain(pages.1), "{at}: {filter:?}");
                let work = work(rng);
                // Records that are due at the same time come in any order.
                let due = (model.due(work, 1000).await.unwrap(), real.due(work, 1000).await.unwrap());
                let times =
                    |due: &[Client]| due.iter().map(|client| work.due_since(client).unwrap()).collect::<Vec<_>>();
                assert_eq!(times(&due.0), times(&due.1), "{at}: {work:?}");
                compare_sources(&model, real, limit, &at).await;
                compare_surplus(&model, real, rng.random_range(0..20), limit, &at).await;
            }
            _ => {
                let sorted = |mut counts: Vec<(Status, u64)>| {
                    counts.sort_unstable();
                    counts
                };
                assert_eq!(sorted(model.counts().await.unwrap()), sorted(real.counts().await.unwrap()), "{at}");
                assert_eq!(model.timeline(7, 5).await.unwrap(), real.timeline(7, 5).await.unwrap(), "{at}");
                for by in [
                    Grouping::Duplicates,
                    Grouping::Families,
                    Grouping::NamesAcrossHosts,
                    Grouping::HostsAcrossNames,
                    Grouping::SoftwareAcrossHosts,
                ] {
                    assert_eq!(
                        model.groups(by, 100).await.unwrap(),
                        real.groups(by, 100).await.unwrap(),
                        "{at}: {by:?}"
                    );
                }
            }
        }
    }
    assert!(keys.len() > 20, "{}", keys.len());
}

#[tokio::test]
async fn sqlite_answers_as_the_model() {
    let dir = TempDir::new("model");
    for seed in 0..4 {
        let ledger = SqliteLedger::open(dir.path().join(format!("{seed}.db"))).await.unwrap();
        compare(&ledger, seed, 600).await;
    }
}

#[tokio::test]
async fn postgres_answers_as_the_model() {
    let Some(server) = Postgres::start() else { return };
    for seed in 10..14 {
        let ledger = PostgresLedger::new(server.fresh_database().await).await.unwrap();
        compare(&ledger, seed, 600).await;
    }
}
