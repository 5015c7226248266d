//! [`Ledger`]: where registered clients are written down, whatever the server behind keeps of them.
//!
//! A ledger is a store and nothing more: rows, unique keys, conditional updates. What becomes of a client is decided by
//! the [`Registrar`](crate::registrar::Registrar). Several nodes may use one ledger at once, so nothing here relies on a
//! lock in one process:
//!
//! 1. [`insert`](Ledger::insert) lets one of several equal registrations in, and counts against the quota, as one step.
//! 2. [`replace`](Ledger::replace) changes a record only if nobody else has changed it since it was read.
//! 3. [`block`](Ledger::block) is a note that outlives the records that it was written about.
//! 4. A `client_id` belongs to one record, unless their [`variant`](Client::variant)s differ.
//!
//! [`MemoryLedger`] is for tests and for one node that may forget. `SqliteLedger` (feature `sqlite`) keeps a file,
//! `PostgresLedger` (feature `postgres`) uses the pool that you have. A store of your own is held to the same promises
//! by the suite in `ledger::conformance` (feature `test-util`).

use std::error::Error;
use std::fmt;

mod block;
mod client;
#[cfg(feature = "test-util")]
pub mod conformance;
mod erased;
mod filter;
mod fingerprint;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use block::Block;
pub use client::{Actor, Answer, Client, ClientKey, Deprovisioning, Origin, State, Status, UnknownName};
pub(crate) use erased::{AnyLedger, ErasedLedger};
pub use filter::{Filter, Group, Grouping, Work};
pub use fingerprint::{Fingerprint, Fingerprints, Source};
pub use memory::MemoryLedger;
#[cfg(feature = "postgres")]
pub use postgres::PostgresLedger;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use sql::{Dialect, SqlLedger};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteLedger;

/// A store of [`Client`]s and [`Block`]s. See the [module docs](self).
///
/// Times are milliseconds since 1970-01-01 00:00 UTC. What a method returns is in the store for good: a ledger that
/// answers before its data would survive a crash breaks the promise that no client is lost.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use tower_dcr::ledger::{Client, Fingerprints, Insertion, Ledger, MemoryLedger, Replacement};
///
/// let ledger = MemoryLedger::default();
/// let Insertion::Inserted(mut client) = ledger.insert(&Client::draft("{}", Fingerprints::default(), 0), None).await? else {
///     unreachable!("there is nothing in the way");
/// };
/// client.client_id = Some("s6BhdRkqt3".into());
/// assert_eq!(ledger.replace(&client).await?, Replacement::Replaced);
/// assert_eq!(ledger.replace(&client).await?, Replacement::Outdated);
/// assert!(ledger.find("s6BhdRkqt3").await?.is_some());
/// # Ok::<_, tower_dcr::ledger::LedgerError>(())
/// # }).unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a ledger",
    label = "expected a type that implements `tower_dcr::ledger::Ledger`",
    note = "use `MemoryLedger::default()`, `SqliteLedger::open(path).await?` (feature `sqlite`) or `PostgresLedger::new(pool).await?` (feature `postgres`)"
)]
pub trait Ledger: Send + Sync + 'static {
    /// Writes a new record down, unless its `repeat_key` or its `client_id` (with the same
    /// [`variant`](Client::variant)) is another's, or `max_live` clients [count against the
    /// quota](Client::counts_against_quota) already. Key and version of the record are the store's to give.
    fn insert(
        &self,
        client: &Client,
        max_live: Option<u64>,
    ) -> impl Future<Output = Result<Insertion, LedgerError>> + Send;

    /// Replaces the record with that key, if it still has that version; the version then grows by one.
    fn replace(&self, client: &Client) -> impl Future<Output = Result<Replacement, LedgerError>> + Send;

    /// Removes the record, if it still has that version. Says whether it did.
    fn remove(&self, client: &Client) -> impl Future<Output = Result<bool, LedgerError>> + Send;

    /// The record with that key.
    fn get(&self, key: ClientKey) -> impl Future<Output = Result<Option<Client>, LedgerError>> + Send;

    /// Returns the record of that client that has an empty [`variant`](Client::variant): the only one, unless the server
    /// gives one `client_id` to several registrations.
    fn find(&self, client_id: &str) -> impl Future<Output = Result<Option<Client>, LedgerError>> + Send;

    /// Returns all records of that client, at most `limit`: live ones first, then those that got a token, then those that
    /// an operator reviewed, and of equals the newest first. Records that cost nothing to make can't push the others out.
    ///
    /// By default the newest `limit` records are read as a [`page`](Self::page) and sorted.
    fn find_all(&self, client_id: &str, limit: u32) -> impl Future<Output = Result<Vec<Client>, LedgerError>> + Send {
        let filter = Filter { fingerprint: Some(Fingerprint::ClientId(client_id.to_owned())), ..Filter::default() };
        async move {
            let mut found = self.page(&filter, None, limit).await?;
            found.sort_by_cached_key(Client::precedence);
            Ok(found)
        }
    }

    /// Returns the record of that client that has that [`variant`](Client::variant).
    ///
    /// By default the records of the client are read page by page.
    fn find_variant(
        &self,
        client_id: &str,
        variant: &str,
    ) -> impl Future<Output = Result<Option<Client>, LedgerError>> + Send {
        let filter = Filter { fingerprint: Some(Fingerprint::ClientId(client_id.to_owned())), ..Filter::default() };
        async move {
            if variant.is_empty() {
                return self.find(client_id).await;
            }
            let mut before = None;
            loop {
                let page = self.page(&filter, before, 500).await?;
                let Some(last) = page.last() else { return Ok(None) };
                before = Some(last.key);
                if let Some(found) = page.into_iter().find(|client| client.variant == variant) {
                    return Ok(Some(found));
                }
            }
        }
    }

    /// Returns whether the ledger has a client whose id differs from `client_id` in the case of ASCII letters only: to a
    /// server whose database ignores case, they are one.
    ///
    /// By default the id in lower and in upper case is [looked for](Self::find), which does not find one in mixed case.
    fn has_in_other_case(&self, client_id: &str) -> impl Future<Output = Result<bool, LedgerError>> + Send {
        let spellings = [client_id.to_ascii_lowercase(), client_id.to_ascii_uppercase()];
        let client_id = client_id.to_owned();
        async move {
            for spelling in spellings {
                if spelling != client_id && self.find(&spelling).await?.is_some() {
                    return Ok(true);
                }
            }
            Ok(false)
        }
    }

    /// The record that owns that `repeat_key`.
    fn find_repeat(&self, repeat_key: &str) -> impl Future<Output = Result<Option<Client>, LedgerError>> + Send;

    /// The newest records that pass the filter, older than the one named, at most `limit`.
    fn page(
        &self,
        filter: &Filter,
        before: Option<ClientKey>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Client>, LedgerError>> + Send;

    /// The records that some work is due on, the longest due first, at most `limit`.
    fn due(&self, work: Work, limit: u32) -> impl Future<Output = Result<Vec<Client>, LedgerError>> + Send;

    /// How many records have each status; those that none has may be left out.
    fn counts(&self) -> impl Future<Output = Result<Vec<(Status, u64)>, LedgerError>> + Send;

    /// How many records were made in each `step` of milliseconds since `since`, as (start, number), in order; empty
    /// steps are left out. A step starts at a multiple of `step`.
    fn timeline(&self, since: i64, step: i64) -> impl Future<Output = Result<Vec<(i64, u64)>, LedgerError>> + Send;

    /// Live clients that have something in common, the largest groups first, at most `limit`.
    fn groups(&self, by: Grouping, limit: u32) -> impl Future<Output = Result<Vec<Group>, LedgerError>> + Send;

    /// Notes a block; one on the same fingerprint stays as it is. Says whether it is new.
    fn block(&self, block: &Block) -> impl Future<Output = Result<bool, LedgerError>> + Send;

    /// Takes a block back. Says whether there was one.
    fn unblock(&self, fingerprint: &Fingerprint) -> impl Future<Output = Result<bool, LedgerError>> + Send;

    /// A block on any of these.
    fn find_block(
        &self,
        fingerprints: &[Fingerprint],
    ) -> impl Future<Output = Result<Option<Block>, LedgerError>> + Send;

    /// Counts one more use of an initial access token, unless there were `limit` of them already. Says whether it did.
    fn count_use(&self, token: &str, limit: u64) -> impl Future<Output = Result<bool, LedgerError>> + Send;

    /// Takes one use back.
    fn return_use(&self, token: &str) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// The newest blocks, older than the time given, at most `limit`.
    fn blocks(&self, before: Option<i64>, limit: u32) -> impl Future<Output = Result<Vec<Block>, LedgerError>> + Send;

    /// Notes until `expires_at` that `client_id` pushed an authorization request (RFC 9126); `request` stands for its
    /// `request_uri`. A later note on the same request replaces it.
    ///
    /// By default an error, and with it every pushed request is rejected by the gate.
    fn put_pushed(
        &self,
        request: &str,
        client_id: &str,
        expires_at: i64,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send {
        let _ = (request, client_id, expires_at);
        async { Err(LedgerError::new("this ledger does not implement `put_pushed`")) }
    }

    /// Returns the client that pushed that request; `None` if it is not noted, or the note expired by `now`.
    ///
    /// By default `None`.
    fn find_pushed(&self, request: &str, now: i64) -> impl Future<Output = Result<Option<String>, LedgerError>> + Send {
        let _ = (request, now);
        async { Ok(None) }
    }

    /// Removes the notes on pushed requests that expired by `now`. Returns how many there were.
    ///
    /// By default there are none.
    fn purge_pushed(&self, now: i64) -> impl Future<Output = Result<u64, LedgerError>> + Send {
        let _ = now;
        async { Ok(0) }
    }

    /// Removes live records of clients that were [registered elsewhere](Origin::Elsewhere), except for the `keep` that
    /// got a token last. Returns how many it removed; one call may leave some for the next.
    ///
    /// By default every such record is read, and the newest `keep` stay.
    fn trim_elsewhere(&self, keep: u64) -> impl Future<Output = Result<u64, LedgerError>> + Send {
        async move {
            let filter = Filter { origin: Some(Origin::Elsewhere), ..Filter::live() };
            let (mut seen, mut removed, mut before) = (0, 0, None);
            loop {
                let page = self.page(&filter, before, 500).await?;
                let Some(last) = page.last() else { return Ok(removed) };
                before = Some(last.key);
                for client in &page {
                    seen += 1;
                    if seen > keep {
                        removed += u64::from(self.remove(client).await?);
                    }
                }
            }
        }
    }
}

/// What came of [`Ledger::insert`].
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use tower_dcr::ledger::{Client, Fingerprints, Insertion, Ledger, MemoryLedger};
///
/// let draft = Client::draft("{}", Fingerprints::default(), 0);
/// assert_eq!(MemoryLedger::default().insert(&draft, Some(0)).await?, Insertion::Full);
/// # Ok::<_, tower_dcr::ledger::LedgerError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "a ledger makes it, and there is nothing else to say")]
pub enum Insertion {
    /// The record, with its key and version.
    Inserted(Client),
    /// The record that has the same `repeat_key`, or the same `client_id` and variant.
    Exists(Client),
    /// As many clients are live as may be.
    Full,
}

/// What came of [`Ledger::replace`].
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use tower_dcr::ledger::{Client, Fingerprints, Ledger, MemoryLedger, Replacement};
///
/// let nobody = Client::draft("{}", Fingerprints::default(), 0);
/// assert_eq!(MemoryLedger::default().replace(&nobody).await?, Replacement::Outdated);
/// # Ok::<_, tower_dcr::ledger::LedgerError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a ledger makes it, and there is nothing else to say")]
pub enum Replacement {
    /// The record is now as it was given.
    Replaced,
    /// Somebody else has changed or removed it since it was read.
    Outdated,
    /// Another record has that `repeat_key`, or that `client_id` and variant.
    Taken,
}

/// A ledger could not be asked.
///
/// ```
/// use tower_dcr::ledger::LedgerError;
///
/// let error = LedgerError::new("connection refused");
/// assert_eq!(error.to_string(), "the ledger of clients can't be used");
/// assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "connection refused");
/// ```
#[derive(Debug)]
pub struct LedgerError {
    source: Box<dyn Error + Send + Sync>,
    is_outage: bool,
}

impl LedgerError {
    /// For what a store reports.
    pub fn new(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: source.into(), is_outage: false }
    }

    /// For a store that can't be reached, or takes nothing from anybody: it is left alone for a while. An error that a
    /// request brings about by what it asks is not of these, or one client could turn away all others.
    pub fn outage(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: source.into(), is_outage: true }
    }

    /// Whether the store can't be reached, or takes nothing from anybody.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        self.is_outage
    }

    /// For the operator; who asked is told less.
    pub(crate) fn log(&self) {
        let error = crate::text::causes(self);
        if self.is_outage {
            // The operator was told by whoever watches the ledger; each request would only say it again.
            tracing::debug!(target: "tower_dcr::lifecycle", %error, "the ledger of clients can't be used");
        } else {
            tracing::error!(target: "tower_dcr::lifecycle", %error, "the ledger of clients can't be used");
        }
    }
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ledger of clients can't be used")
    }
}

impl Error for LedgerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}
