//! `dcr` on a ledger in PostgreSQL, beside the server that uses it.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::ConnectOptions;
use tower_dcr::clock::{Clock, SystemClock};
use tower_dcr::ledger::PostgresLedger;
use tower_dcr::registrar::Lifetimes;

use crate::databases::Postgres;
use crate::world::{World, metadata};

fn dcr(arguments: &[&str]) -> (i32, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_dcr")).args(arguments).arg("--json").output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap())
}

/// What an operator does at a terminal, every node sees.
#[tokio::test]
async fn an_operator_approves_and_revokes_at_a_terminal() {
    let Some(postgres) = Postgres::start() else { return };
    let pool = postgres.fresh_database().await;
    let url = pool.connect_options().to_url_lossy().to_string();
    let day = Duration::from_secs(24 * 3600);
    let ledger = PostgresLedger::new(pool).await.unwrap();
    let world = World::with(ledger, |registrar| registrar.with_lifetimes(Lifetimes::new().with_approval(day).unwrap()));
    // The program's clock is the real one.
    world.clock.set(SystemClock::new().unix_time());
    let client = world.client("App").await;
    assert_eq!(world.token(&client).await.status, 400, "nobody has looked at it");
    let acts = ["--ledger", &url, "--operator", "alice", "--reason", "known to us"];
    let (status, approved) = dcr(&[&["clients", "approve"], &acts[..], &[&client]].concat());
    assert_eq!((status, &approved["state"], &approved["reviewed_by"]), (0, &json!("active"), &json!("alice")));
    // Gates remember records for a while.
    while world.token(&client).await.status != 200 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (status, replay) = dcr(&["replay", "--policy", "mcp", &url]);
    assert_eq!((status, &replay["judged"]), (0, &json!(1)));
    let (status, revoked) = dcr(&[&["clients", "revoke"], &acts[..], &["name=app"]].concat());
    assert_eq!((status, &revoked["clients"]), (0, &json!(1)));
    let (_, listed) = dcr(&["clients", "list", "--queue", "revoked", "--ledger", &url]);
    assert_eq!((&listed[0]["client_id"], &listed[0]["reason"]), (&json!(client), &json!("known to us")));
    while world.token(&client).await.status != 401 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(world.register(&metadata("App")).await.status, 400, "it is blocked");
}
