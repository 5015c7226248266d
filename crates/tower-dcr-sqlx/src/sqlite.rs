//! A ledger in an SQLite file.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqlitePool};
use tower_dcr::clients::LedgerError;

use crate::sql::{Dialect, SqlLedger, failed};

/// A [`Ledger`](tower_dcr::clients::Ledger) in an SQLite file: durable, without a server, for one machine. Several
/// processes may share it.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
/// # runtime.block_on(async {
/// use tower_dcr::clients::Ledger;
/// use tower_dcr_sqlx::SqliteLedger;
///
/// # let dir = std::env::temp_dir().join(format!("tower-dcr-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// let ledger = SqliteLedger::open(dir.join("clients.db")).await?;
/// assert_eq!(ledger.find("unknown").await?, None);
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<_, tower_dcr::clients::LedgerError>(())
/// # }).unwrap();
/// ```
pub type SqliteLedger = SqlLedger<Sqlite>;

impl Dialect for Sqlite {
    /// A transaction that began with a read can't be promoted while another one writes.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const LOCK_COUNT: &'static str = "SELECT clients FROM tower_dcr_live";
    const ONE_WRITER: bool = true;
    const KEY: &'static str = "INTEGER PRIMARY KEY AUTOINCREMENT";
    const HAS_MIGRATIONS: &'static str =
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'tower_dcr_migrations'";
}

impl SqliteLedger {
    /// Opens the file, creates it if it does not exist, and migrates its tables.
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the file can't be opened or created, or the migration fails.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, LedgerError> {
        let options = options(path.as_ref()).create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
        let connect = || connect(options.clone());
        let mut pool = connect().await;
        // SQLite does not wait for the busy timeout while another process turns on write-ahead logging.
        for _attempt in 0..32 {
            if pool.is_ok() {
                break;
            }
            pool = connect().await;
        }
        Self::new(pool.map_err(|error| at(path.as_ref(), error))?).await
    }

    /// Opens an existing ledger without migrating its tables, for tools that run next to a server.
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the file can't be opened or is no ledger of this version.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    /// # runtime.block_on(async {
    /// use tower_dcr_sqlx::SqliteLedger;
    ///
    /// assert!(SqliteLedger::open_existing("missing.db").await.is_err());
    /// # });
    /// ```
    pub async fn open_existing(path: impl AsRef<Path>) -> Result<Self, LedgerError> {
        // Write-ahead logging is a property of the file: if it is off, the file is no ledger.
        let pool = connect(options(path.as_ref())).await;
        Self::existing(pool.map_err(|error| at(path.as_ref(), error))?).await
    }

    /// Opens an existing ledger read-only: writes fail.
    ///
    /// Without a write-ahead log (`-wal`), no server has the file open: it is then read as immutable, and no other file
    /// is created. A long-lived reader does not see the writes of a server that starts later.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`open_existing`](Self::open_existing).
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    /// # runtime.block_on(async {
    /// use tower_dcr::clients::{Actor, Block, Blocks, Fingerprint, Ledger};
    /// use tower_dcr_sqlx::SqliteLedger;
    ///
    /// # let dir = std::env::temp_dir().join(format!("tower-dcr-doc-ro-{}", std::process::id()));
    /// # std::fs::create_dir_all(&dir).unwrap();
    /// drop(SqliteLedger::open(dir.join("clients.db")).await?);
    /// let ledger = SqliteLedger::open_read_only(dir.join("clients.db")).await?;
    /// assert_eq!(ledger.find("s6BhdRkqt3").await?, None);
    /// let block = Block::new(Fingerprint::name("App"), 0, Actor::System, "read only");
    /// assert!(ledger.block(&block).await.is_err());
    /// # std::fs::remove_dir_all(&dir).unwrap();
    /// # Ok::<_, tower_dcr::clients::LedgerError>(())
    /// # }).unwrap();
    /// ```
    pub async fn open_read_only(path: impl AsRef<Path>) -> Result<Self, LedgerError> {
        let has = |suffix: &str| {
            let mut beside = path.as_ref().as_os_str().to_owned();
            beside.push(suffix);
            Path::new(&beside).exists()
        };
        let is_at_rest = !has("-wal") && !has("-journal");
        let options = options(path.as_ref()).read_only(true).immutable(is_at_rest);
        let pool = connect(options).await;
        Self::existing(pool.map_err(|error| at(path.as_ref(), error))?).await
    }

    /// Opens a ledger over an existing pool, and migrates its tables (`tower_dcr_…`). The connections should use
    /// write-ahead logging and a busy timeout.
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the file can't be opened or created, or the migration fails.
    pub async fn new(pool: SqlitePool) -> Result<Self, LedgerError> {
        Self::migrated(pool).await
    }
}

/// Returns an error that names the file.
fn at(path: &Path, error: sqlx::Error) -> LedgerError {
    let said = format!("{}: {error}", path.display());
    if failed(error).is_outage() { LedgerError::outage(said) } else { LedgerError::new(said) }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        // Acknowledged registrations survive a power failure.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // 32 MiB: the inner pages of every index of a million clients.
        .pragma("cache_size", "-32768")
        .busy_timeout(Duration::from_secs(10))
}

async fn connect(options: SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    // A file needs no ping, which is a request to the connection's thread.
    SqlitePoolOptions::new().max_connections(4).test_before_acquire(false).connect_with(options).await
}

#[cfg(test)]
mod tests {
    use super::SqliteLedger;

    /// A `main` that returns an error prints it with `Debug`.
    #[tokio::test]
    async fn errors_name_the_file_once() {
        for opened in [
            SqliteLedger::open("/no/such/folder/clients.db").await,
            SqliteLedger::open_existing("/no/such/folder/clients.db").await,
            SqliteLedger::open_read_only("/no/such/folder/clients.db").await,
        ] {
            let error = format!("{:?}", opened.unwrap_err());
            assert!(error.starts_with("ledger unavailable: /no/such/folder/clients.db: "), "{error}");
            assert_eq!(error.matches("clients.db").count(), 1, "{error}");
        }
    }
}
