//! Ledgers that are named on the command line.

use std::error::Error;
use std::path::Path;

use tokio::runtime::{Builder, Runtime};
use tower_dcr::Preset;
use tower_dcr::ledger::{PostgresLedger, SqliteLedger};
use tower_dcr::registrar::Registrar;
use tower_dcr::review::Review;

pub(super) fn is_ledger(url: &str) -> bool {
    ["sqlite:", "postgres:", "postgresql:"].iter().any(|scheme| url.starts_with(scheme))
}

/// The review of a ledger: `sqlite:FILE` or `postgres://…`. A policy says how long clients live.
pub(super) fn open(url: &str, policy: Option<&Preset>) -> Result<(Runtime, Review), Box<dyn Error>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let registrar = match url.strip_prefix("sqlite:") {
        Some(file) => {
            let file = file.trim_start_matches("//");
            // One that is made here is not the one that was meant.
            if !Path::new(file).exists() {
                return Err(format!("there is no ledger {file}").into());
            }
            Registrar::new(runtime.block_on(SqliteLedger::open(file))?)
        }
        None if is_ledger(url) => {
            let pool = runtime.block_on(sqlx::PgPool::connect(url)).map_err(|error| format!("the ledger: {error}"))?;
            Registrar::new(runtime.block_on(PostgresLedger::new(pool))?)
        }
        None => return Err(format!("{url:?} is no ledger: write sqlite:FILE or postgres://HOST/DATABASE").into()),
    };
    if let Some(policy) = policy {
        policy.configure(&registrar);
    }
    Ok((runtime, Review::new(registrar)))
}
