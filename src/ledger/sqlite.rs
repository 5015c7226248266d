//! A ledger in an SQLite file.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqlitePool};

use super::LedgerError;
use super::sql::{Dialect, SqlLedger};

/// A [`Ledger`](super::Ledger) in an SQLite file: durable, without a server, for one machine. Processes may share it.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
/// # runtime.block_on(async {
/// use tower_dcr::ledger::{Ledger, SqliteLedger};
///
/// # let dir = std::env::temp_dir().join(format!("tower-dcr-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// let ledger = SqliteLedger::open(dir.join("clients.db")).await?;
/// assert_eq!(ledger.find("nobody").await?, None);
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<_, tower_dcr::ledger::LedgerError>(())
/// # }).unwrap();
/// ```
pub type SqliteLedger = SqlLedger<Sqlite>;

impl Dialect for Sqlite {
    /// A transaction that began with a read could not be promoted while another one writes.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const KEY: &'static str = "INTEGER PRIMARY KEY AUTOINCREMENT";
}

impl SqliteLedger {
    /// Opens the file, makes it if it is not there, and brings its tables up to date.
    ///
    /// # Errors
    ///
    /// If that can't be done.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, LedgerError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // What was answered must survive the power going off.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // 32 MiB: the inner pages of every index of a million clients.
            .pragma("cache_size", "-32768")
            .busy_timeout(Duration::from_secs(10));
        let connect = || SqlitePoolOptions::new().max_connections(4).connect_with(options.clone());
        let mut pool = connect().await;
        // SQLite does not wait for the busy timeout while another process turns on write-ahead logging.
        for _attempt in 0..32 {
            if pool.is_ok() {
                break;
            }
            pool = connect().await;
        }
        Self::new(pool.map_err(LedgerError::new)?).await
    }

    /// Uses a pool that you have, and brings the tables (`tower_dcr_…`) up to date. Its connections should use
    /// write-ahead logging and a busy timeout.
    ///
    /// # Errors
    ///
    /// If that can't be done.
    pub async fn new(pool: SqlitePool) -> Result<Self, LedgerError> {
        Self::migrated(pool).await
    }
}
