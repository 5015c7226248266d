//! Failures of the Redis that nodes share their budgets through.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response, StatusCode};
use test_support::support::eventually;
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_dcr::audit::Event;
use tower_dcr::rate_limit::{Quota, SharedQuotas};
use tower_dcr_redis::RedisStore;

use super::docs;
use super::redis_server::{self, Connect as _, Redis};

type Register = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

const NODES: NonZeroU32 = NonZeroU32::new(2).unwrap();

/// The budget of an address: twenty at once, and one in three minutes.
fn quota() -> Quota {
    "20/hour".parse().unwrap()
}

/// A node whose handler registers everybody.
async fn node(port: u16, rejects: bool) -> Register {
    let shared = SharedQuotas::new(RedisStore::new(redis_server::manager(port).await), NODES);
    let shared = if rejects { shared.reject_on_outage() } else { shared };
    let guard = tower_dcr::mcp()
        .with_peer_address(|extensions| extensions.get().copied())
        .map_rate_limit(|limits| limits.address = quota().into())
        .with_shared_quotas(shared)
        .with_sink(|_: &Event| {});
    let handler = service_fn(async |_: Request<tower_dcr::layers::RegistrationBody>| {
        let answer = Response::builder().status(201).header("content-type", "application/json");
        Ok(answer.body(Body::from(r#"{"client_id":"c"}"#)).unwrap())
    });
    let answer = |response: Response<_>| response.map(Body::new);
    BoxCloneSyncService::new(ServiceBuilder::new().map_response(answer).layer(guard).service(handler))
}

static HONEST: AtomicU32 = AtomicU32::new(1);

const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));

/// Returns a new client.
fn somebody() -> IpAddr {
    // In a network of their own, too.
    IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + (HONEST.fetch_add(1, Ordering::SeqCst) << 8)))
}

async fn register(node: &Register, from: IpAddr) -> StatusCode {
    let request = Request::post("/register").header("content-type", "application/json");
    let request = request.extension(SocketAddr::new(from, 4711));
    // A host of their own, whose budget is another question to Redis.
    let host = from.to_string().replace('.', "-");
    let body = format!(r#"{{"client_name":"c","redirect_uris":["https://app.example-{host}.com/cb"]}}"#);
    node.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap().status()
}

/// Registers honest clients, a few at a time and alternately at each node. Returns the number of rejections, and the durations.
async fn honest(nodes: &[Register]) -> (usize, Vec<Duration>) {
    let (mut rejected, mut times) = (0, Vec::new());
    for _ in 0..40 {
        let waiting = nodes.iter().cycle().take(6).cloned().map(|node| {
            tokio::spawn(async move {
                let start = Instant::now();
                let status = register(&node, somebody()).await;
                (status, start.elapsed())
            })
        });
        for answer in waiting.collect::<Vec<_>>() {
            let (status, time) = answer.await.unwrap();
            rejected += usize::from(status != StatusCode::CREATED);
            times.push(time);
        }
    }
    (rejected, times)
}

/// Returns the number of admitted registrations, of sixty from one address, at each node.
async fn attack(nodes: &[Register]) -> usize {
    let mut admitted = 0;
    for node in nodes {
        for _ in 0..60 {
            admitted += usize::from(register(node, ATTACKER).await == StatusCode::CREATED);
        }
    }
    admitted
}

/// Returns the number of budget calls to Redis.
async fn asked(redis: &Redis) -> u64 {
    redis_server::calls(&mut redis.connection().await, "evalsha").await
}

struct Day {
    name: &'static str,
    rejects: bool,
    /// The port at which the nodes look for Redis.
    port: u16,
}

/// A good day on which the attacker spends the budget at the first node, then a bad one, then a good one.
async fn fail(day: Day, mut redis: Redis, strike: impl AsyncFnOnce(&mut Redis), heal: impl AsyncFnOnce(&mut Redis)) {
    let nodes = [node(day.port, day.rejects).await, node(day.port, day.rejects).await];
    let (refused, before) = honest(&nodes).await;
    assert_eq!((refused, attack(&nodes[..1]).await), (0, 20));

    strike(&mut redis).await;
    let (mut refused, during) = honest(&nodes).await;
    let mut admitted = attack(&nodes).await;
    heal(&mut redis).await;
    let healed = Instant::now();
    let known = asked(&redis).await;
    eventually(&format!("{}: both nodes ask again", day.name), async || {
        for node in &nodes {
            refused += usize::from(register(node, somebody()).await != StatusCode::CREATED);
        }
        asked(&redis).await >= known + 2
    })
    .await;
    let recovery = healed.elapsed();
    if day.rejects {
        // Some are rejected until each node has noticed that Redis is back.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        honest(&nodes).await;
        assert_eq!(honest(&nodes).await.0, 0);
    } else {
        refused += honest(&nodes).await.0;
    }
    admitted += attack(&nodes).await;

    let p99 = docs::p99(during).saturating_sub(docs::p99(before));
    println!("| {} | {refused} | {admitted} | {p99:.0?} | {recovery:.1?} |", day.name);
    let refused = if day.rejects { "all".into() } else { refused.to_string() };
    docs::assert_row(day.name, &[refused, admitted.to_string()]);
}

fn day(name: &'static str, redis: &Redis) -> Day {
    Day { name, rejects: false, port: redis.port() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_stopped() {
    let Some(redis) = redis_server::start() else { return };
    fail(day("Redis hangs (SIGSTOP)", &redis), redis, async |redis| redis.freeze(), async |redis| redis.thaw()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_stopped_and_nodes_reject() {
    let Some(redis) = redis_server::start() else { return };
    let day = Day { rejects: true, ..day("Redis hangs, `reject_on_outage`", &redis) };
    fail(day, redis, async |redis| redis.freeze(), async |redis| redis.thaw()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed() {
    let Some(redis) = redis_server::start() else { return };
    fail(
        day("Redis is killed, and back later, empty", &redis),
        redis,
        async |redis| redis.kill(),
        async |redis| redis.restart(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_restarted_empty() {
    let Some(redis) = redis_server::start() else { return };
    let strike = async |redis: &mut Redis| {
        redis.kill();
        redis.restart();
    };
    fail(day("Redis is restarted, empty", &redis), redis, strike, async |_| ()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_forgets_its_scripts() {
    let Some(redis) = redis_server::start() else { return };
    let strike = async |redis: &mut Redis| _ = redis.command(&["SCRIPT", "FLUSH"]).await;
    fail(day("The script cache is flushed", &redis), redis, strike, async |_| ()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_takes_no_writes() {
    let Some(redis) = redis_server::start() else { return };
    let strike = async |redis: &mut Redis| _ = redis.command(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let heal = async |redis: &mut Redis| _ = redis.command(&["REPLICAOF", "NO", "ONE"]).await;
    fail(day("Redis becomes a replica (`READONLY`)", &redis), redis, strike, heal).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_slow() {
    let Some(redis) = redis_server::start() else { return };
    let way = redis_server::Way::to(redis.port()).await;
    let day = Day { port: way.port(), ..day("Redis is slow by 300 ms", &redis) };
    let (slow, fast) = (way.clone(), way);
    let strike = async move |_: &mut Redis| slow.set_delay(Duration::from_millis(300));
    fail(day, redis, strike, async move |_: &mut Redis| fast.set_delay(Duration::ZERO)).await;
}
