//! Faults of Redis and PostgreSQL.

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use crate::tally::Tally;
use test_support::servers::{Postgres, Redis};

const DAYS: [&str; 5] = [
    "Redis hangs",
    "Redis is killed and comes back empty",
    "PostgreSQL hangs",
    "PostgreSQL is killed and comes back",
    "both hang",
];

/// Causes one fault after the other, with pauses between, and a pause at the end.
pub(crate) async fn until(time: Duration, redis: &mut Redis, postgres: &mut Postgres, tally: &Tally) {
    let start = Instant::now();
    let last = Duration::from_secs(15);
    while start.elapsed() + last < time {
        tally.day("");
        sleep(2000..6000).await;
        let number = rand::rng().random_range(0..DAYS.len());
        tally.day(DAYS.get(number).copied().unwrap_or_default());
        match number {
            0 => {
                redis.freeze();
                sleep(500..5000).await;
                redis.thaw();
            }
            1 => {
                redis.kill();
                sleep(100..3000).await;
                redis.restart();
            }
            2 => {
                postgres.freeze();
                sleep(500..5000).await;
                postgres.thaw();
            }
            3 => {
                postgres.kill();
                sleep(100..3000).await;
                postgres.restart();
            }
            _ => {
                redis.freeze();
                postgres.freeze();
                sleep(500..3000).await;
                redis.thaw();
                postgres.thaw();
            }
        }
    }
    tally.day("");
    tokio::time::sleep(time.saturating_sub(start.elapsed())).await;
}

async fn sleep(milliseconds: std::ops::Range<u64>) {
    let time = rand::rng().random_range(milliseconds);
    tokio::time::sleep(Duration::from_millis(time)).await;
}
