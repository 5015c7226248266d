//! The ledgers, each held to the conformance suite, against real databases.

use std::sync::atomic::Ordering;

use tower_dcr::clients::{
    Actor, Block, Blocks, Client, Filter, Fingerprint, Fingerprints, Insertion, Ledger, MemoryLedger,
};
use tower_dcr_sqlx::{PostgresLedger, SqliteLedger};

use crate::databases::{Postgres, TempDir};
use crate::down::Down;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_conforms() {
    tower_dcr_conformance::ledger(async || MemoryLedger::default()).await;
}

/// A ledger that leaves searches and removals of many records to the defaults.
#[tokio::test]
async fn defaults_conform() {
    tower_dcr_conformance::ledger(async || {
        let ledger = Down::default();
        ledger.is_up.store(true, Ordering::SeqCst);
        ledger
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_conforms() {
    let dir = TempDir::new("sqlite");
    let mut number = 0;
    let files = std::iter::repeat_with(|| {
        number += 1;
        dir.path().join(format!("{number}.db"))
    });
    let files = std::sync::Mutex::new(files);
    tower_dcr_conformance::ledger(async || {
        let path = files.lock().unwrap().next().unwrap();
        SqliteLedger::open(path).await.unwrap()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_conforms() {
    let Some(server) = Postgres::start() else { return };
    tower_dcr_conformance::ledger(async || PostgresLedger::new(server.fresh_database().await).await.unwrap()).await;
}

#[tokio::test]
async fn sqlite_remembers() {
    let dir = TempDir::new("remembers");
    let path = dir.path().join("clients.db");
    let (one, other) = tokio::join!(SqliteLedger::open(&path), SqliteLedger::open(&path));
    let client = Client::draft("{}", Fingerprints::default(), 1);
    let Insertion::Inserted(client) = one.unwrap().insert(&client, None).await.unwrap() else { panic!("not inserted") };
    let block = Block::new(Fingerprint::name("Evil"), 5, Actor::System, "because");
    assert!(other.unwrap().block(&block).await.unwrap());
    let again = SqliteLedger::open(&path).await.unwrap();
    assert_eq!(again.page(&Filter::default(), None, 10).await.unwrap(), [client]);
    assert_eq!(again.blocks(None, 10).await.unwrap(), [block]);
}
