//! A ledger in PostgreSQL.

use sqlx::{PgPool, Postgres};
use tower_dcr::clients::LedgerError;

use crate::sql::{Dialect, SqlLedger};

/// A [`Ledger`](tower_dcr::clients::Ledger) in PostgreSQL, for any number of nodes.
///
/// ```no_run
/// # async fn open(pool: sqlx::PgPool) -> Result<(), tower_dcr::clients::LedgerError> {
/// use tower_dcr_sqlx::PostgresLedger;
///
/// let ledger = PostgresLedger::new(pool).await?;
/// # let _ = ledger;
/// # Ok(())
/// # }
/// ```
pub type PostgresLedger = SqlLedger<Postgres>;

impl Dialect for Postgres {
    const BEGIN: &'static str = "BEGIN";
    const LOCK_COUNT: &'static str = "SELECT clients FROM tower_dcr_live FOR UPDATE";
    const ONE_WRITER: bool = false;
    const KEY: &'static str = "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY";
    const HAS_MIGRATIONS: &'static str = "SELECT 1 WHERE to_regclass('tower_dcr_migrations') IS NOT NULL";
}

impl PostgresLedger {
    /// Opens a ledger over an existing pool, and migrates its tables (`tower_dcr_…`, in the first schema of the search
    /// path). The tables of your own migrations stay unchanged.
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the database is unavailable or the migration fails.
    pub async fn new(pool: PgPool) -> Result<Self, LedgerError> {
        Self::migrated(pool).await
    }

    /// Opens an existing ledger without migrating its tables, for tools that run next to a server. To read only, set
    /// `default_transaction_read_only=on` for the connections.
    ///
    /// ```no_run
    /// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
    /// use sqlx::postgres::{PgConnectOptions, PgPool};
    /// use tower_dcr_sqlx::PostgresLedger;
    ///
    /// let options: PgConnectOptions = "postgres://localhost/clients".parse()?;
    /// let pool = PgPool::connect_with(options.options([("default_transaction_read_only", "on")])).await?;
    /// let ledger = PostgresLedger::open_existing(pool).await?;
    /// # let _ = ledger;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the database is unavailable or has no ledger of this version.
    pub async fn open_existing(pool: PgPool) -> Result<Self, LedgerError> {
        Self::existing(pool).await
    }
}
