//! Ledgers named on the command line.

use std::error::Error;
use std::io;
use std::path::Path;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection};
use tokio::runtime::{Builder, Runtime};
use tower_dcr::Preset;
use tower_dcr::clients::{LedgerError, Registrar};
use tower_dcr_sqlx::{PostgresLedger, SqliteLedger};

use super::output;

/// The access to a ledger that a command needs. No command creates a ledger or changes its tables.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// The time limit for a response of the database.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn is_ledger(url: &str) -> bool {
    ["sqlite:", "postgres:", "postgresql:"].iter().any(|scheme| url.starts_with(scheme))
}

/// Opens the admin interface of a ledger: `sqlite:FILE` or `postgres://…`. A policy sets the lifetimes of clients.
pub(super) fn open(url: &str, access: Access, policy: Option<&Preset>) -> Result<(Runtime, Registrar), Box<dyn Error>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let registrar = match url.strip_prefix("sqlite:") {
        Some(file) => Registrar::new(runtime.block_on(sqlite(file.trim_start_matches("//"), access))?),
        None if is_ledger(url) => Registrar::new(runtime.block_on(postgres(url, access))?),
        None => {
            return Err(format!("invalid ledger URL {url:?}: expected sqlite:FILE or postgres://HOST/DATABASE").into());
        }
    };
    // The server ends clients, under its own policy: looking at one, or extending it, must not.
    let registrar = registrar.map_settings(|lifecycle| lifecycle.report_only_expiry = Some(true))?;
    if let Some(policy) = policy {
        policy.configure(&registrar);
    }
    Ok((runtime, registrar))
}

async fn sqlite(file: &str, access: Access) -> Result<SqliteLedger, Box<dyn Error>> {
    if !Path::new(file).exists() {
        return Err(format!("{file}: no such ledger").into());
    }
    if Path::new(file).is_dir() {
        return Err(format!("{file}: a directory, not a ledger").into());
    }
    let opened = match access {
        Access::Read => SqliteLedger::open_read_only(file).await,
        Access::Write => SqliteLedger::open_existing(file).await,
    };
    opened.map_err(|error| of(file, &error))
}

async fn postgres(url: &str, access: Access) -> Result<PostgresLedger, Box<dyn Error>> {
    // An invalid URL may contain a password: it is not repeated.
    let options: PgConnectOptions =
        url.parse().map_err(|error| format!("invalid ledger URL: {}", output::causes(&error)))?;
    let options = options.disable_statement_logging();
    let options = match access {
        Access::Read => options.options([("default_transaction_read_only", "on")]),
        Access::Write => options,
    };
    let place = place_of(&options);
    // A pool retries for half a minute and then reports only a timeout.
    let connected = tokio::time::timeout(PATIENCE, options.connect()).await;
    let connection = match connected {
        Ok(connected) => connected.map_err(|error| of_place(&place, &error))?,
        Err(_) => return Err(format!("{place}: no response within {} s", PATIENCE.as_secs()).into()),
    };
    connection.close().await.map_err(|error| of_place(&place, &error))?;
    let pool = PgPoolOptions::new().max_connections(2).acquire_timeout(PATIENCE).connect_lazy_with(options);
    PostgresLedger::open_existing(pool).await.map_err(|error| of(&place, &error))
}

fn place_of(options: &PgConnectOptions) -> String {
    match (options.get_socket(), options.get_database()) {
        (Some(socket), database) => format!("{}/{}", socket.display(), database.unwrap_or_default()),
        (None, database) => format!("{}:{}/{}", options.get_host(), options.get_port(), database.unwrap_or_default()),
    }
}

/// Returns an error that names its ledger, without a password.
pub(super) fn named(url: &str, error: Box<dyn Error>) -> Box<dyn Error> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&*error);
    let of_ledger = loop {
        match cause.map(|error| (error.downcast_ref::<LedgerError>(), error.source())) {
            None => return error,
            Some((Some(found), _)) => break found,
            Some((None, source)) => cause = source,
        }
    };
    let place = match url.strip_prefix("sqlite:") {
        Some(file) => file.trim_start_matches("//").to_owned(),
        None => url.parse().map_or_else(|_| "ledger".to_owned(), |options| place_of(&options)),
    };
    of(&place, of_ledger)
}

/// Returns an error of a store that names the place.
fn of(place: &str, error: &LedgerError) -> Box<dyn Error> {
    match error.source() {
        Some(cause) => format!("{place}: {}", output::causes(cause)).into(),
        None => format!("{place}: {error}").into(),
    }
}

/// Returns a readable reason for a failed connection.
fn of_place(place: &str, error: &sqlx::Error) -> Box<dyn Error> {
    match error {
        sqlx::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            format!("{place}: connection refused").into()
        }
        sqlx::Error::Io(error) => format!("{place}: {error}").into(),
        error => format!("{place}: {}", output::causes(error)).into(),
    }
}
