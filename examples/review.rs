//! Reviews a ledger from the terminal: lists, approves, extends, revokes.
//!
//! ```console
//! cargo run --example axum -- --ledger sqlite:clients.db
//! cargo run --example review -- --ledger sqlite:clients.db list never-used
//! cargo run --example review -- --ledger sqlite:clients.db groups families
//! cargo run --example review -- --ledger sqlite:clients.db revoke --reason "imitates us" name "Evil App"
//! ```
//!
//! The server that uses the ledger is told of what was revoked here by its own maintenance, within its pause; its gates
//! see it within the age of their caches.

use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use tower_dcr::event::TracingSink;
use tower_dcr::ledger::{Actor, Fingerprint, Grouping, SqliteLedger};
use tower_dcr::registrar::Registrar;
use tower_dcr::review::{Queue, Review};

type Error = Box<dyn std::error::Error>;

#[derive(Parser)]
struct Args {
    /// Where the ledger is.
    #[arg(long, value_name = "sqlite:PATH")]
    ledger: String,
    /// Who you are; stands in records and events.
    #[arg(long, env = "USER", default_value = "terminal")]
    operator: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists clients: all, pending, never-reviewed, never-used, stale, expiring-soon, elsewhere, failing-deprovisioning,
    /// revoked, failed.
    List {
        #[arg(default_value = "all")]
        queue: String,
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Lists what clients have in common.
    Groups {
        #[arg(value_enum)]
        by: By,
    },
    /// Lists what may not be registered again.
    Blocks,
    /// Lets a client sign in, or notes that you have looked at it.
    Approve {
        client_id: String,
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Gives a client more time.
    Extend {
        client_id: String,
        #[arg(long, default_value_t = 90)]
        days: u32,
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Ends clients by a fingerprint (`client_id`, name, family, digest, `redirect_set`, `software_id`, source), and blocks it.
    Revoke {
        kind: String,
        value: String,
        #[arg(long)]
        reason: String,
    },
    /// Lets be registered again what was blocked.
    Unblock { kind: String, value: String },
}

#[derive(Clone, Copy, ValueEnum)]
enum By {
    Duplicates,
    Families,
    NamesAcrossHosts,
    HostsAcrossNames,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let args = Args::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let path = args.ledger.strip_prefix("sqlite:").ok_or("--ledger takes sqlite:PATH")?;
    // The server has its own registrar, with its own settings and a way to be told; this one only reads and marks.
    let registrar = Registrar::new(SqliteLedger::open(path).await?).with_sink(TracingSink::new());
    let review = Review::new(registrar);
    let operator = &*args.operator;
    match args.command {
        Command::List { queue, limit } => list(&review, &queue, limit).await?,
        Command::Groups { by } => groups(&review, by).await?,
        Command::Blocks => {
            for block in review.blocks(None, 500).await? {
                println!("{:<60} by {:<20} {:?}", block.fingerprint.to_string(), block.actor.to_string(), block.reason);
            }
        }
        Command::Approve { client_id, reason } => {
            review.approve(&client_id, operator, &reason).await?;
            println!("approved");
        }
        Command::Extend { client_id, days, reason } => {
            let time = Duration::from_secs(24 * 3600).saturating_mul(days);
            review.extend(&client_id, time, operator, &reason).await?;
            println!("extended by {days} days");
        }
        Command::Revoke { kind, value, reason } => {
            let revoked = review.revoke(Fingerprint::parse(&kind, &value)?, operator, &reason).await?;
            println!("revoked {}", revoked.clients);
        }
        Command::Unblock { kind, value } => {
            let actor = Actor::Operator(operator.to_owned());
            let done = review.registrar().unblock(&Fingerprint::parse(&kind, &value)?, &actor).await?;
            println!("{}", if done { "unblocked" } else { "it was not blocked" });
        }
    }
    Ok(())
}

async fn list(review: &Review, queue: &str, limit: u32) -> Result<(), Error> {
    let name = queue.replace('-', "_");
    let queue =
        Queue::ALL.into_iter().find(|queue| queue.as_str() == name).ok_or_else(|| format!("no queue {queue:?}"))?;
    let now = review.now();
    for client in review.list(queue, None, limit).await?.clients {
        // In their escaped form: a terminal can be steered by what clients call themselves.
        println!(
            "{:<12} {:<44} {:<30} {}",
            client.state(now).as_str(),
            client.client_id.unwrap_or_default().escape_default().to_string(),
            format!("{:?}", client.fingerprints.client_name.unwrap_or_default()),
            client.fingerprints.redirect_hosts.join(" "),
        );
    }
    Ok(())
}

async fn groups(review: &Review, by: By) -> Result<(), Error> {
    let by = match by {
        By::Duplicates => Grouping::Duplicates,
        By::Families => Grouping::Families,
        By::NamesAcrossHosts => Grouping::NamesAcrossHosts,
        By::HostsAcrossNames => Grouping::HostsAcrossNames,
    };
    for group in review.groups(by, 100).await? {
        let name = format!("{:?}", group.client_name.unwrap_or_default());
        println!("{:>6}  {name:<30} {}  {:?}", group.clients, group.key, group.values);
    }
    Ok(())
}
