//! The limiter in Redis beside a bare `PING` over the same connection, and beside the local one: one task and 64.

#[path = "support/limiter.rs"]
mod limiter;
#[path = "support/mod.rs"]
#[expect(dead_code, reason = "only the figures")]
mod support;
#[path = "../src/sync.rs"]
mod sync;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use limiter::{Clock, Limiter};
use redis::aio::MultiplexedConnection;
use support::figure;
use test_support::servers::Redis;
use tower_dcr::rate_limit::{Bucket, Quota, QuotaStore};
use tower_dcr_redis::RedisStore;

/// The budgets to take.
#[derive(Clone)]
enum Question {
    Ping(MultiplexedConnection),
    Redis(RedisStore<MultiplexedConnection>, Vec<Bucket>),
    Local(Arc<[Limiter; 2]>, Clock, Vec<Bucket>),
}

impl Question {
    async fn ask(&mut self) {
        let answered = match self {
            Self::Ping(connection) => redis::cmd("PING").query_async::<()>(connection).await.is_ok(),
            Self::Redis(store, buckets) => store.take(buckets).await.is_ok(),
            Self::Local(limiters, clock, buckets) => {
                let now = clock.monotonic();
                limiters.iter().zip(&*buckets).all(|(limiter, bucket)| limiter.check(&bucket.key, now))
            }
        };
        assert!(answered, "Redis answers");
    }
}

const ROUNDS: usize = 20;

/// The median time of one question for each of them, asked by so many tasks at once, in turns.
#[expect(clippy::disallowed_methods, reason = "this is what measures")]
async fn medians(questions: &[Question], tasks: usize) -> Vec<Duration> {
    let mut times = vec![Vec::new(); questions.len()];
    for _ in 0..ROUNDS {
        for (question, times) in questions.iter().zip(&mut times) {
            let asking: Vec<_> = (0..tasks)
                .map(|_| {
                    let mut question = question.clone();
                    tokio::spawn(async move {
                        let mut times = Vec::new();
                        for _ in 0..(4000 / tasks) {
                            let start = Instant::now();
                            question.ask().await;
                            times.push(start.elapsed());
                        }
                        times
                    })
                })
                .collect();
            for task in asking {
                times.extend(task.await.unwrap_or_default());
            }
        }
    }
    times
        .into_iter()
        .map(|mut times| {
            times.sort_unstable();
            times.get(times.len() / 2).copied().unwrap_or_default()
        })
        .collect()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let redis = Redis::start(&[]).expect("redis-server is installed");
    let client = redis::Client::open(format!("redis://127.0.0.1:{}", redis.port())).expect("an address");
    let connection = client.get_multiplexed_async_connection().await.expect("a connection");
    let endless = Quota::per_second(NonZeroU32::new(1_000_000).unwrap_or(NonZeroU32::MIN));
    let address = Bucket::new("address", endless, "192.0.2.7");
    let (one, two) = (vec![address.clone()], vec![address, Bucket::new("global", endless, &())]);
    let limiter = || Limiter::new(limiter::Quota::per_second(NonZeroU32::new(1_000_000).unwrap_or(NonZeroU32::MIN)));
    let store = RedisStore::new(connection.clone()).with_timeout(Duration::from_secs(10));
    let questions = [
        Question::Ping(connection),
        Question::Redis(store.clone(), one),
        Question::Redis(store, two.clone()),
        Question::Local(Arc::new([limiter(), limiter()]), Clock::new(), two),
    ];
    let names = ["PING", "one budget", "two budgets", "two budgets, local table"];
    for tasks in [1, 64] {
        println!("\n## {tasks} at once\n\n| | median | to PING |\n| --- | ---: | ---: |");
        let medians = medians(&questions, tasks).await;
        let ping = medians.first().copied().unwrap_or_default();
        for (name, median) in names.iter().zip(&medians) {
            println!("| {name} | {median:.1?} | {:.2} |", median.as_secs_f64() / ping.as_secs_f64());
        }
        if let [ping, one, ..] = medians.as_slice() {
            figure("one budget to PING", one.as_secs_f64() / ping.as_secs_f64());
        }
    }
}
