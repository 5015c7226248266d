//! The invariants at the end.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::time::Duration;

use serde_json::Value;
use sqlx::postgres::PgPoolOptions;
use tower_dcr::clients::{Filter, Ledger, Status};
use tower_dcr_sqlx::PostgresLedger;

use crate::Error;
use crate::node::{Node, database};
use crate::tally::Tally;

/// The ledger, once the database listens.
pub(crate) async fn open_ledger(port: u16) -> Result<PostgresLedger, Error> {
    let pool = PgPoolOptions::new().max_connections(2);
    for _ in 0..200 {
        if let Ok(pool) = pool.clone().connect_with(database(port)).await {
            return Ok(PostgresLedger::new(pool).await?);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("PostgreSQL does not listen".into())
}

/// Returns the number of live clients.
pub(crate) async fn stored(ledger: &PostgresLedger) -> Result<u64, Error> {
    let counts = ledger.counts().await?;
    Ok(counts.iter().filter(|(status, _)| *status == Status::Active).map(|(_, count)| count).sum())
}

/// Returns the violations.
pub(crate) async fn all(ledger: &PostgresLedger, tally: &Tally, nodes: &[Node]) -> Result<Vec<String>, Error> {
    let mut faults = tally.faults();
    let (given, mut live) = (tally.clients(), BTreeSet::new());
    let mut before = None;
    loop {
        let page = ledger.page(&Filter::default(), before, 1000).await?;
        let Some(last) = page.last() else { break };
        before = Some(last.key);
        for client in page.into_iter().filter(|client| client.status == Status::Active) {
            let id = client.client_id.unwrap_or_default();
            if !live.insert(id.clone()) {
                faults.push(format!("{id} is in the ledger twice"));
            }
        }
    }
    let lost = given.difference(&live).count();
    if lost > 0 {
        faults.push(format!("{lost} clients were given out and are not in the ledger"));
    }
    // An answer that could not be written down in time was not given to anybody.
    println!("clients: {} given out, {} live in the ledger", given.len(), live.len());
    for node in nodes {
        let (attempts, lost) = (tally.attempts(node.base()), node.flush().await?);
        let file = std::fs::File::open(node.audit())?;
        let mut events = 0;
        for line in BufReader::new(file).lines() {
            let event: Value = serde_json::from_str(&line?)?;
            if event.get("outcome").is_some() {
                // Attempts that a limit rejected are summed.
                events += event.get("count").and_then(Value::as_u64).unwrap_or(1);
            }
        }
        println!("{}: {attempts} attempts, {events} audit events, {lost} lost", node.base());
        if events != attempts || lost > 0 {
            faults.push(format!("{}: {attempts} attempts, {events} audit events, {lost} lost", node.base()));
        }
    }
    Ok(faults)
}
