//! A fleet: three nodes in front of one Redis and one PostgreSQL, and callers of all kinds, with a table of what becomes
//! of them. Needs `redis-server` and PostgreSQL on the path (`apt-get install redis-server postgresql`); everything listens
//! on loopback, and stops when the time is over.
//!
//! ```console
//! cargo run --release -p fleet                               # a minute, with a live table
//! cargo run --release -p fleet -- --faults                 # Redis and PostgreSQL fail at random
//! cargo run --release -p fleet -- --faults --seconds 600   # a soak
//! ```
//!
//! At the end it is checked that each client that was given out is in the ledger, once, that each attempt is an audit event,
//! and how much memory the nodes have taken since they were warm. What is wrong is printed, and the status is not zero.
//!
//! A node is in [`node`]: its guard is what a server of yours would have. The callers are in [`callers`].

use std::num::NonZeroU32;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

mod callers;
mod check;
mod faults;
mod node;
mod tally;

use callers::Callers;
use node::Node;
use tally::Tally;
use test_support::servers::{Postgres, Redis, TempDir};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    fleet: Fleet,
}

#[derive(Subcommand)]
enum Role {
    /// One of the nodes.
    #[command(hide = true)]
    Node(node::Settings),
}

#[derive(Args)]
struct Fleet {
    /// For how long.
    #[arg(long, default_value = "60")]
    seconds: u64,
    /// The number of nodes.
    #[arg(long, default_value = "3")]
    nodes: NonZeroU32,
    /// The number of concurrent callers of each kind.
    #[arg(long, default_value = "4")]
    callers: usize,
    /// Stop, kill and restart Redis and PostgreSQL at random.
    #[arg(long)]
    faults: bool,
    /// No live table.
    #[arg(long)]
    quiet: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode, Error> {
    let arguments = Arguments::parse();
    match arguments.role {
        Some(Role::Node(settings)) => node::serve(settings).await.map(|()| ExitCode::SUCCESS),
        None => arguments.fleet.run().await,
    }
}

impl Fleet {
    async fn run(self) -> Result<ExitCode, Error> {
        let mut redis = Redis::start(&[]).ok_or("there is no redis-server here")?;
        let settings = ["max_connections=100"];
        let mut postgres =
            Postgres::start_in(TempDir::new("postgres"), &settings).ok_or("there is no PostgreSQL here")?;
        let folder = TempDir::new("fleet");
        let ledger = check::open_ledger(postgres.port()).await?;
        let nodes = (0..self.nodes.get())
            .map(|number| {
                let audit = folder.path().join(format!("audit-{number}.jsonl"));
                Node::start(redis.port(), postgres.port(), self.nodes, audit)
            })
            .collect::<Result<Vec<Node>, Error>>()?;

        let tally = Arc::new(Tally::default());
        let callers = Callers::start(&nodes, self.callers, &tally)?;
        let time = Duration::from_secs(self.seconds);
        let table = tokio::spawn(tally::show(Arc::clone(&tally), ledger.clone(), self.quiet));
        let warm = async {
            tokio::time::sleep(time / 4).await;
            nodes.iter().map(Node::kibibytes).sum::<u64>()
        };
        let faults = async {
            if self.faults {
                faults::until(time, &mut redis, &mut postgres, &tally).await;
            } else {
                tokio::time::sleep(time).await;
            }
        };
        let (warm, ()) = tokio::join!(warm, faults);
        let now = nodes.iter().map(Node::kibibytes).sum::<u64>();
        callers.stop().await;
        table.abort();
        println!("{}", tally.table(check::stored(&ledger).await.ok()));
        println!("memory of the nodes: {warm} KiB when warm, {now} KiB at the end");
        for node in &nodes {
            node.flush().await?;
        }
        let faults = check::all(&ledger, &tally, &nodes).await?;
        for fault in &faults {
            println!("wrong: {fault}");
        }
        Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
