//! The ledgers, each held to the conformance suite, against real databases.

use std::sync::atomic::Ordering;

use tower_dcr::ledger::{Filter, Ledger, MemoryLedger, PostgresLedger, SqliteLedger, conformance};

use crate::databases::{Postgres, TempDir};
use crate::down::Down;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_conforms() {
    conformance::run(async || MemoryLedger::default()).await;
}

/// A ledger that leaves the search for a variant to the default.
#[tokio::test]
async fn a_ledger_without_an_index_of_variants_finds_them() {
    let ledger = Down::default();
    ledger.is_up.store(true, Ordering::SeqCst);
    conformance::keeps_variants_apart(&ledger).await;
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
    conformance::run(async || {
        let path = files.lock().unwrap().next().unwrap();
        SqliteLedger::open(path).await.unwrap()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_conforms() {
    let Some(server) = Postgres::start() else { return };
    conformance::run(async || PostgresLedger::new(server.fresh_database().await).await.unwrap()).await;
}

#[tokio::test]
async fn sqlite_remembers() {
    let dir = TempDir::new("remembers");
    let path = dir.path().join("clients.db");
    let (one, other) = tokio::join!(SqliteLedger::open(&path), SqliteLedger::open(&path));
    conformance::blocks(&one.unwrap()).await;
    conformance::keeps_every_member(&other.unwrap()).await;
    let again = SqliteLedger::open(&path).await.unwrap();
    assert_eq!(again.page(&Filter::default(), None, 10).await.unwrap().len(), 2);
}
