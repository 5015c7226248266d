//! Ledgers of registered clients in SQLite and PostgreSQL, for [`tower_dcr`].
//!
//! [`SqliteLedger`] uses a file, for one machine; [`PostgresLedger`] uses an existing connection pool, for any number
//! of nodes. Both implement [`Ledger`](tower_dcr::clients::Ledger):
//!
//! ```
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
//! # runtime.block_on(async {
//! use tower_dcr::clients::{ClientQueue, Registrar};
//! use tower_dcr_sqlx::SqliteLedger;
//!
//! # let dir = std::env::temp_dir().join(format!("tower-dcr-doc-lib-{}", std::process::id()));
//! # std::fs::create_dir_all(&dir).unwrap();
//! # let path = dir.join("clients.db");
//! let registrar = Registrar::new(SqliteLedger::open(&path).await?);
//! assert!(registrar.list(ClientQueue::All, None, 50).await?.clients.is_empty());
//! # std::fs::remove_dir_all(&dir).unwrap();
//! # Ok::<_, tower_dcr::clients::LedgerError>(())
//! # }).unwrap();
//! ```
//!
//! Changes that arrive while a transaction is being committed share the next one: a flush of the disk is for all of them. Each
//! call returns after that commit. In SQLite all changes do so; in PostgreSQL those of the number of clients, of which the
//! quota allows one transaction at a time.
//!
//! The tables are named `tower_dcr_…`. A ledger creates and updates them when it is opened, and records their version
//! in `tower_dcr_migrations`; the tables of your own migrations stay unchanged.
//!
//! # Features
//!
//! Both are on by default.
//!
//! | feature | adds |
//! | --- | --- |
//! | `sqlite` | [`SqliteLedger`] |
//! | `postgres` | [`PostgresLedger`] |

#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod changes;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod writes;

#[cfg(feature = "postgres")]
pub use postgres::PostgresLedger;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteLedger;
