//! Three processes with 64 tasks each and one budget: exactly what it holds is admitted.

use std::num::NonZeroU32;
use std::process::{Command, Stdio};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::time::Instant;
use tower_dcr::rate_limit::{Bucket, Quota, QuotaDecision, QuotaStore};
use tower_dcr_redis::RedisStore;

use super::redis_server::{self, Redis};

const PORT: &str = "TOWER_DCR_EXACTNESS_PORT";
const BUDGET: &str = "TOWER_DCR_EXACTNESS_BUDGET";

/// For how long each process asks.
const TIME: Duration = Duration::from_secs(2);

/// The budget called `name`, and another one that never runs out.
fn buckets(name: &str) -> [Bucket; 2] {
    let count = |count: u32| NonZeroU32::new(count).unwrap();
    let quota = match name {
        // Nothing is earned while the test runs.
        "burst" => Quota::per_hour(NonZeroU32::MIN).allow_burst(count(1000)),
        // One in ten milliseconds.
        _ => Quota::per_second(count(100)).allow_burst(count(50)),
    };
    let endless = Quota::per_second(count(1_000_000));
    [Bucket::new("endless", endless, "all"), Bucket::new("narrow", quota, name)]
}

/// Microseconds by the server's clock.
async fn server_time(connection: &mut MultiplexedConnection) -> u64 {
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(connection).await.unwrap();
    seconds * 1_000_000 + micros
}

/// One of the processes. Run by the tests below.
#[test]
#[ignore = "a part of other tests"]
fn process() {
    let (Ok(port), Ok(budget)) = (std::env::var(PORT), std::env::var(BUDGET)) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = redis_server::connection(port.parse().unwrap()).await;
        let store = RedisStore::new(connection.clone()).with_timeout(Duration::from_secs(5));
        let start = server_time(&mut connection).await;
        let end = Instant::now() + TIME;
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let (store, buckets) = (store.clone(), buckets(&budget));
                tokio::spawn(async move {
                    let (mut admitted, mut asked) = (0_u64, 0_u64);
                    while Instant::now() < end {
                        admitted += u64::from(store.take(&buckets).await.unwrap() == QuotaDecision::Taken);
                        asked += 1;
                    }
                    (admitted, asked)
                })
            })
            .collect();
        let (mut admitted, mut asked) = (0, 0);
        for task in tasks {
            let (more_admitted, more_asked) = task.await.unwrap();
            admitted += more_admitted;
            asked += more_asked;
        }
        println!("\ncounted {start} {} {admitted} {asked}", server_time(&mut connection).await);
    });
}

/// The total of the processes: start and end by the server's clock, and the admitted of all requests.
struct Counted {
    start: u64,
    end: u64,
    admitted: u64,
    asked: u64,
}

fn three_processes(server: &Redis, budget: &str) -> Counted {
    let start = |_| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "fleet::exactness::process", "--ignored", "--nocapture"])
            .envs([(PORT, server.port().to_string()), (BUDGET, budget.to_owned())])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut counted = Counted { start: u64::MAX, end: 0, admitted: 0, asked: 0 };
    for process in (0..3).map(start).collect::<Vec<_>>() {
        let output = String::from_utf8(process.wait_with_output().unwrap().stdout).unwrap();
        let line = output.lines().find_map(|line| line.strip_prefix("counted ")).unwrap_or_else(|| panic!("{output}"));
        let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
        counted.start = counted.start.min(numbers[0]);
        counted.end = counted.end.max(numbers[1]);
        counted.admitted += numbers[2];
        counted.asked += numbers[3];
    }
    counted
}

#[test]
fn three_processes_get_exactly_the_burst() {
    let Some(server) = redis_server::start() else { return };
    let Counted { admitted, asked, .. } = three_processes(&server, "burst");
    assert!(asked > 10_000, "{asked} requests are no crowd");
    assert_eq!(admitted, 1000);
}

#[test]
fn three_processes_get_exactly_the_refilled_amount() {
    let Some(server) = redis_server::start() else { return };
    let Counted { start, end, admitted, asked } = three_processes(&server, "refill");
    assert!(asked > 10 * admitted, "{asked} requests for {admitted} are no crowd");
    // The first request came a moment after `start`, and the last one a moment before `end`.
    let most = 50 + (end - start) / 10_000;
    assert!(admitted <= most && admitted + 3 >= most, "{admitted} of at most {most} in {} us", end - start);
}
