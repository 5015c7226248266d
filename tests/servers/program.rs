//! `dcr` on a ledger in PostgreSQL, beside the server that uses it.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::ConnectOptions;
use test_support::support::eventually;
use tower_dcr_sqlx::PostgresLedger;

use crate::databases::Postgres;
use crate::programs::binary;
use crate::world::{World, metadata};

fn dcr(arguments: &[&str]) -> (i32, Value) {
    let output = Command::new(binary("dcr")).args(arguments).arg("--json").output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap())
}

/// Runs a program that fails, and returns its words.
fn rejected(arguments: &[&str]) -> String {
    let output = Command::new(binary("dcr")).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

/// In a database that is not a ledger, or one of another version, no table is made or changed.
#[tokio::test]
async fn read_commands_do_not_change_a_database() {
    let Some(postgres) = Postgres::start() else { return };
    let tables = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'public'";
    let (other, old) = (postgres.fresh_database().await, postgres.fresh_database().await);
    PostgresLedger::new(old.clone()).await.unwrap();
    let last = "DELETE FROM tower_dcr_migrations WHERE version = (SELECT MAX(version) FROM tower_dcr_migrations)";
    sqlx::query(last).execute(&old).await.unwrap();
    for (pool, words) in [(other, "is not a ledger"), (old, "when it starts")] {
        let before: i64 = sqlx::query_scalar(tables).fetch_one(&pool).await.unwrap();
        let url = pool.connect_options().to_url_lossy().to_string();
        let acts = ["--ledger", &url, "--operator", "alice", "--reason", "x"];
        for error in [
            rejected(&["clients", "list", &url]),
            rejected(&["clients", "blocks", &url]),
            rejected(&[&["clients", "revoke"], &acts[..], &["name=app"]].concat()),
        ] {
            assert!(error.contains(words) && error.contains("127.0.0.1"), "{error}");
        }
        let after: i64 = sqlx::query_scalar(tables).fetch_one(&pool).await.unwrap();
        assert_eq!(before, after, "{words}");
    }
}

/// Actions of an operator at a terminal are visible on every node.
#[tokio::test]
async fn an_operator_approves_and_revokes_at_a_terminal() {
    let Some(postgres) = Postgres::start() else { return };
    let pool = postgres.fresh_database().await;
    let url = pool.connect_options().to_url_lossy().to_string();
    let day = Duration::from_secs(24 * 3600);
    let ledger = PostgresLedger::new(pool).await.unwrap();
    let world =
        World::with(ledger, |registrar| registrar.map_settings(|lifecycle| lifecycle.approval = Some(day)).unwrap());
    // The program's clock is the real one.
    world.clock.set(std::time::UNIX_EPOCH.elapsed().unwrap());
    let client = world.client("App").await;
    assert_eq!(world.token(&client).await.status, 400, "nobody has looked at it");
    let acts = ["--ledger", &url, "--operator", "alice", "--reason", "known to us"];
    let (status, approved) = dcr(&[&["clients", "approve"], &acts[..], &[&client]].concat());
    assert_eq!((status, &approved["state"], &approved["reviewed_by"]), (0, &json!("active"), &json!("alice")));
    // Gates remember records for a while.
    eventually("the gate sees the approval", async || world.token(&client).await.status == 200).await;
    let (status, replay) = dcr(&["replay", "--policy", "mcp", &url]);
    assert_eq!((status, &replay["judged"]), (0, &json!(1)));
    let (status, revoked) = dcr(&[&["clients", "revoke"], &acts[..], &["name=app"]].concat());
    assert_eq!((status, &revoked["clients"]), (0, &json!(1)));
    assert_eq!(revoked["blocked"], json!({"kind": "name", "value": "app"}));
    let (_, blocks) = dcr(&["clients", "blocks", &url]);
    assert_eq!((&blocks[0]["value"], &blocks[0]["actor"]), (&json!("app"), &json!("operator:alice")));
    let (_, shown) = dcr(&["clients", "show", &url, &client]);
    assert_eq!((&shown["blocked"]["kind"], &shown["state"]), (&json!("name"), &json!("revoked")));
    assert_eq!(dcr(&["clients", "stale", &url]), (0, json!([])));
    let (_, listed) = dcr(&["clients", "list", "--queue", "revoked", "--ledger", &url]);
    assert_eq!((&listed[0]["client_id"], &listed[0]["reason"]), (&json!(client), &json!("known to us")));
    eventually("the gate sees the revocation", async || world.token(&client).await.status == 401).await;
    assert_eq!(world.register(&metadata("App")).await.status, 400, "it is blocked");
    let (status, _) = dcr(&["clients", "unblock", "--ledger", &url, "--operator", "alice", "name=app"]);
    assert_eq!((status, world.register(&metadata("App")).await.status), (0, 201));
}
