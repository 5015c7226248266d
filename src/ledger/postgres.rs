//! A ledger in PostgreSQL.

use sqlx::{PgPool, Postgres};

use super::LedgerError;
use super::sql::{Dialect, SqlLedger};

/// A [`Ledger`](super::Ledger) in PostgreSQL, for any number of nodes.
///
/// ```no_run
/// # async fn open(pool: sqlx::PgPool) -> Result<(), tower_dcr::ledger::LedgerError> {
/// use tower_dcr::ledger::PostgresLedger;
///
/// let ledger = PostgresLedger::new(pool).await?;
/// # let _ = ledger;
/// # Ok(())
/// # }
/// ```
pub type PostgresLedger = SqlLedger<Postgres>;

impl Dialect for Postgres {
    const BEGIN: &'static str = "BEGIN";
    const KEY: &'static str = "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY";
}

impl PostgresLedger {
    /// Uses a pool that you have, and brings the tables (`tower_dcr_…`, in the first schema of the search path) up to
    /// date. The tables of your own migrations are not touched.
    ///
    /// # Errors
    ///
    /// If that can't be done.
    pub async fn new(pool: PgPool) -> Result<Self, LedgerError> {
        Self::migrated(pool).await
    }
}
