//! Failures of the PostgreSQL that nodes keep their ledger in.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::{PgPool, PgPoolOptions};
use test_support::support::eventually;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::ServiceExt;
use tower_dcr::clients::Revocation;
use tower_dcr::clients::{Actor, Filter, Ledger, Status};
use tower_dcr_sqlx::PostgresLedger;

use super::docs;
use super::redis_server::Way;
use super::small_disk::SmallDisk;
use crate::databases::{Postgres, TempDir, postgres_in};
use crate::world::{Answer, World, metadata, register};

/// A node with a ledger at `port`, some clients, and one that was revoked.
struct Node {
    world: World,
    pool: PgPool,
    known: Vec<String>,
    revoked: String,
}

impl Node {
    async fn new(postgres: &Postgres, port: u16) -> Self {
        drop(postgres.connect("postgres").await);
        let options = postgres.options("postgres").port(port);
        let pool = PgPoolOptions::new().max_connections(8).connect_with(options).await.unwrap();
        let ledger = PostgresLedger::new(pool.clone()).await.unwrap();
        let world = World::new(ledger);
        let revoked = world.client("revoked").await;
        let revocation = Revocation::client(&revoked, Actor::Operator("alice".into()), "abuse");
        world.registrar.revoke(revocation).await.unwrap();
        let mut known = Vec::new();
        for number in 0..20 {
            known.push(world.client(&format!("known {number}")).await);
        }
        let node = Self { world, pool, known, revoked };
        assert_eq!(node.refused_sign_ins().await, 0);
        node
    }

    /// Returns the number of known clients that get no token.
    async fn refused_sign_ins(&self) -> usize {
        let mut rejected = 0;
        for client in &self.known {
            rejected += usize::from(self.world.token(client).await.status != 200);
        }
        rejected
    }

    /// Registers new clients, five at a time. Returns the number of rejections, and the durations.
    async fn register(&self, day: &str) -> (usize, Vec<Duration>) {
        let (mut rejected, mut times) = (0, Vec::new());
        for group in 0..4 {
            let mut five = JoinSet::new();
            for number in 0..5 {
                let (app, body) = (self.world.app.clone(), metadata(&format!("{day} {group} {number}")));
                five.spawn(async move {
                    let start = Instant::now();
                    let answer = Answer::of(app.oneshot(register(&body)).await.unwrap()).await;
                    (answer, start.elapsed())
                });
            }
            for (answer, time) in five.join_all().await {
                times.push(time);
                assert!(answer.status == 201 || answer.status == 503, "{answer:?}");
                assert!(answer.status == 201 || answer.headers.contains_key("retry-after"), "{answer:?}");
                rejected += usize::from(answer.status == 503);
            }
        }
        (rejected, times)
    }
}

fn of(count: usize, all: usize) -> String {
    match count {
        0 => "none".into(),
        count if count == all => "all".into(),
        count => format!("{count} of {all}"),
    }
}

async fn fail(
    name: &str,
    port: impl FnOnce(&Postgres) -> u16,
    postgres: Postgres,
    strike: impl AsyncFnOnce(&mut Postgres, &Node),
    heal: impl AsyncFnOnce(&mut Postgres, &Node),
) {
    fail_with(name, |rejected| of(rejected, 20), port, postgres, strike, heal).await;
}

/// `words` are those of the page for a number of rejected registrations, of 20.
async fn fail_with(
    name: &str,
    words: impl FnOnce(usize) -> String,
    port: impl FnOnce(&Postgres) -> u16,
    mut postgres: Postgres,
    strike: impl AsyncFnOnce(&mut Postgres, &Node),
    heal: impl AsyncFnOnce(&mut Postgres, &Node),
) {
    let port = port(&postgres);
    let node = Node::new(&postgres, port).await;
    let (rejected, before) = node.register("before").await;
    assert_eq!(rejected, 0);

    strike(&mut postgres, &node).await;
    let (rejected, during) = node.register("during").await;
    let locked_out = node.refused_sign_ins().await;
    let revoked = node.world.token(&node.revoked).await;
    assert!(revoked.status == 401 || revoked.status == 503, "{revoked:?}");
    let stranger = node.world.token("client-4711").await;
    // The server does not know this client: with the ledger available, the server answers that itself.
    assert!(stranger.status == 401 || stranger.status == 503, "{stranger:?}");

    heal(&mut postgres, &node).await;
    let healed = Instant::now();
    let mut again = 0;
    eventually(&format!("{name}: registers again"), async || {
        again += 1;
        node.world.register(&metadata(&format!("after {again}"))).await.status == 201
    })
    .await;
    let recovery = healed.elapsed();
    assert_eq!(node.refused_sign_ins().await, 0);
    assert_eq!(node.world.token(&node.revoked).await.status, 401);
    nothing_is_lost_or_there_twice(&node).await;

    let p99 = docs::p99(during).saturating_sub(docs::p99(before));
    let cells = [words(rejected), of(locked_out, node.known.len()), "none".into()];
    println!("| {name} | {} | {p99:.0?} | {recovery:.1?} |", cells.join(" | "));
    docs::assert_row(name, &cells);
}

/// Every issued client is in the ledger once, and no other is live.
async fn nothing_is_lost_or_there_twice(node: &Node) {
    let ledger = PostgresLedger::new(node.pool.clone()).await.unwrap();
    let records = ledger.page(&Filter::default(), None, 10_000).await.unwrap();
    let live: Vec<String> = records
        .iter()
        .filter(|record| record.status == Status::Active)
        .map(|record| record.client_id.clone().unwrap())
        .collect();
    let unique: BTreeSet<&String> = live.iter().collect();
    assert_eq!(unique.len(), live.len());
    let given: BTreeSet<String> = node.world.server.clients.lock().unwrap().keys().cloned().collect();
    let lost: Vec<&String> = node.known.iter().filter(|id| !unique.contains(id)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert!(live.iter().all(|id| given.contains(id)), "the ledger knows clients that nobody was given");
}

fn same(postgres: &Postgres) -> u16 {
    postgres.port()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_hangs() {
    let Some(postgres) = Postgres::start() else { return };
    let (strike, heal) =
        (async |db: &mut Postgres, _: &Node| db.freeze(), async |db: &mut Postgres, _: &Node| db.thaw());
    fail("PostgreSQL hangs (SIGSTOP)", same, postgres, strike, heal).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_killed() {
    let Some(postgres) = Postgres::start() else { return };
    let (strike, heal) =
        (async |db: &mut Postgres, _: &Node| db.kill(), async |db: &mut Postgres, _: &Node| db.restart());
    fail("PostgreSQL is killed, and back later", same, postgres, strike, heal).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_restarted() {
    let Some(postgres) = Postgres::start() else { return };
    let strike = async |db: &mut Postgres, _: &Node| {
        db.kill();
        db.restart();
        drop(db.connect("postgres").await);
    };
    fail("PostgreSQL was restarted", same, postgres, strike, async |_: &mut Postgres, _: &Node| ()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pool_is_exhausted() {
    let Some(postgres) = Postgres::start() else { return };
    let held = std::sync::Mutex::new(Vec::new());
    let strike = async |_: &mut Postgres, node: &Node| {
        for _ in 0..8 {
            let connection = node.pool.acquire().await.unwrap();
            held.lock().unwrap().push(connection);
        }
    };
    let heal = async |_: &mut Postgres, _: &Node| held.lock().unwrap().clear();
    fail("The pool is exhausted", same, postgres, strike, heal).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_at_its_connection_limit() {
    let settings = ["max_connections=12", "superuser_reserved_connections=0", "max_wal_senders=0"];
    let Some(postgres) = postgres_in(TempDir::new("postgres"), &settings) else { return };
    let held = std::sync::Mutex::new(Vec::new());
    // Others take all there are, and then the node's own are cut.
    let strike = async |db: &mut Postgres, _: &Node| {
        let others = PgPoolOptions::new().max_connections(12).acquire_timeout(Duration::from_secs(1));
        let others = others.connect_lazy_with(db.options("postgres"));
        let mut first = others.acquire().await.unwrap();
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
        first.execute(cut).await.unwrap();
        let mut taken = vec![first];
        while let Ok(connection) = others.acquire().await {
            taken.push(connection);
        }
        assert!(taken.len() >= 10, "{}", taken.len());
        held.lock().unwrap().extend(taken);
    };
    let heal = async |_: &mut Postgres, _: &Node| {
        for connection in held.lock().unwrap().drain(..) {
            drop(connection.detach());
        }
    };
    fail("PostgreSQL is at its connection limit", same, postgres, strike, heal).await;
}

async fn set_read_only(db: &Postgres, value: &str) {
    let pool = db.connect("postgres").await;
    let mut connection = pool.acquire().await.unwrap();
    connection.execute("SET default_transaction_read_only = off").await.unwrap();
    let change = format!("ALTER SYSTEM SET default_transaction_read_only = {value}");
    connection.execute(sqlx::AssertSqlSafe(change)).await.unwrap();
    connection.execute("SELECT pg_reload_conf()").await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_takes_no_writes() {
    let Some(postgres) = Postgres::start() else { return };
    let strike = async |db: &mut Postgres, _: &Node| set_read_only(db, "on").await;
    let heal = async |db: &mut Postgres, _: &Node| set_read_only(db, "off").await;
    fail("PostgreSQL is read-only (a failover)", same, postgres, strike, heal).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_slow() {
    let Some(postgres) = Postgres::start() else { return };
    let way = Way::to(postgres.port()).await;
    let (port, slow, fast) = (way.port(), way.clone(), way);
    let strike = async move |_: &mut Postgres, _: &Node| slow.set_delay(Duration::from_millis(100));
    let heal = async move |_: &mut Postgres, _: &Node| fast.set_delay(Duration::ZERO);
    fail("PostgreSQL is slow by 100 ms a round trip", move |_| port, postgres, strike, heal).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_is_full() {
    let dir = TempDir::new("postgres");
    let Some(disk) = SmallDisk::mount(&dir, "120m") else { return };
    // No vacuum makes room in a table, and no checkpoint in the log, while the disk is full.
    let settings =
        ["max_connections=50", "max_wal_size=64MB", "min_wal_size=32MB", "autovacuum=off", "checkpoint_timeout=1h"];
    let Some(postgres) = postgres_in(dir, &settings) else { return };
    let strike = async |_: &mut Postgres, node: &Node| {
        disk.fill();
        // Until the tables have no more room in the pages they have, each of them.
        let (mut number, mut refused) = (0, 0);
        while refused < 5 {
            number += 1;
            let answer = node.world.register(&metadata(&format!("fills {number}"))).await;
            refused = if answer.status == 201 { 0 } else { refused + 1 };
            tokio::time::sleep(Duration::from_millis(if refused > 0 { 1000 } else { 0 })).await;
            assert!(number < 20_000, "the disk does not fill");
        }
    };
    let heal = async |_: &mut Postgres, _: &Node| disk.free();
    // A registration passes if its row and its keys fall into pages that have room: with random keys, a few do.
    let words = |rejected| if rejected >= 10 { "most".into() } else { of(rejected, 20) };
    fail_with("The disk of PostgreSQL is full", words, same, postgres, strike, heal).await;
}
