//! [`Ledger`]: the store of registered clients.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fmt;

mod blocks;
mod client;
mod document;
mod erased;
mod eviction;
mod filter;
mod fingerprint;
mod groups;
mod memory;
mod pushed_requests;
mod token_uses;

pub use blocks::{Block, Blocks};
pub use client::{Actor, Client, ClientKey, Deprovisioning, Origin, Status, StoredResponse};
pub(crate) use client::{read_serialized, read_word};
pub use document::{Change, DocumentState, HeldChange};
pub(crate) use erased::{ErasedLedger, WatchedLedger};
use eviction::DocumentSites;
pub use eviction::{Evictable, LargestSource};
pub use filter::{Filter, Work};
pub(crate) use fingerprint::versioned_digest;
pub use fingerprint::{Fingerprint, Fingerprints, Source};
pub use groups::{Group, Grouping};
pub use memory::MemoryLedger;
pub use pushed_requests::PushedRequests;
pub use token_uses::TokenUses;

use groups::Groups;

/// Stores the records of registered clients, for a [`Registrar`](crate::clients::Registrar).
///
/// A ledger stores rows with unique keys, and updates them conditionally. The registrar decides what the rows say. Several
/// nodes may use one ledger at once, so no promise relies on a lock in one process:
///
/// 1. [`insert`](Ledger::insert) inserts one of several equal registrations, and checks the quota in the same step.
/// 2. [`replace`](Ledger::replace) changes a record only if it is unchanged since it was read.
/// 3. A `client_id` belongs to one record, unless their [`variant`](Client::variant)s differ.
///
/// Three more traits are part of a ledger, one for each purpose: [`Blocks`], [`TokenUses`] and [`PushedRequests`]. Seven
/// methods of this trait are required. Reports and searches have defaults over [`page`](Ledger::page), which are correct for
/// any store and slow for a large one.
///
/// [`MemoryLedger`] is for tests, and for one node that may lose its clients when it restarts. The crate `tower-dcr-sqlx` has
/// `SqliteLedger`, which keeps a file, and `PostgresLedger`, which uses the connection pool that you have. The crate
/// `tower-dcr-conformance` tests a store of your own.
///
/// Times are milliseconds since 1970-01-01 00:00 UTC. A method returns after its change is durable: a ledger that answers
/// before its data would survive a crash loses clients.
///
/// # Errors
///
/// Every method of the four traits returns [`LedgerError`] if the store can't read or write: [`LedgerError::outage`] if no
/// request would succeed, [`LedgerError::new`] if the error depends on the request. Everything else, such as a taken
/// `client_id` or an outdated record, is a value.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use tower_dcr::clients::{Client, Fingerprints, Insertion, Ledger, MemoryLedger, Replacement};
///
/// let ledger = MemoryLedger::default();
/// let Insertion::Inserted(mut client) = ledger.insert(&Client::draft("{}", Fingerprints::default(), 0), None).await? else {
///     unreachable!("the ledger is empty");
/// };
/// client.client_id = Some("s6BhdRkqt3".into());
/// assert_eq!(ledger.replace(&client).await?, Replacement::Replaced);
/// assert_eq!(ledger.replace(&client).await?, Replacement::Outdated);
/// assert!(ledger.find("s6BhdRkqt3").await?.is_some());
/// # Ok::<_, tower_dcr::clients::LedgerError>(())
/// # }).unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a ledger",
    label = "expected a type that implements `tower_dcr::clients::Ledger`",
    note = "use `MemoryLedger::default()`, or `SqliteLedger::open(path).await?` or `PostgresLedger::new(pool).await?` of the crate `tower-dcr-sqlx`"
)]
pub trait Ledger: Blocks + TokenUses + PushedRequests {
    /// Inserts a new record, unless another record has its `dedup_key` or its `client_id` (with the same
    /// [`variant`](Client::variant)), or `max_live` clients [count against the quota](Client::counts_against_quota)
    /// already. The store assigns the key and the version.
    fn insert(
        &self,
        client: &Client,
        max_live: Option<u64>,
    ) -> impl Future<Output = Result<Insertion, LedgerError>> + Send;

    /// Replaces the record with that key, if it still has that version; the version then grows by one.
    fn replace(&self, client: &Client) -> impl Future<Output = Result<Replacement, LedgerError>> + Send;

    /// Removes the record, if it still has that version. Returns whether it was removed.
    fn remove(&self, client: &Client) -> impl Future<Output = Result<bool, LedgerError>> + Send;

    /// Returns the record with that key.
    fn get(&self, key: ClientKey) -> impl Future<Output = Result<Option<Client>, LedgerError>> + Send;

    /// Returns the record of that client that has an empty [`variant`](Client::variant): the only one, unless the server
    /// gives one `client_id` to several registrations.
    fn find(&self, client_id: &str) -> impl Future<Output = Result<Option<Client>, LedgerError>> + Send;

    /// Returns the record that has that `dedup_key`.
    fn find_by_dedup_key(&self, dedup_key: &str) -> impl Future<Output = Result<Option<Client>, LedgerError>> + Send;

    /// Returns the newest records that match the filter and are older than `before`, at most `limit`.
    fn page(
        &self,
        filter: &Filter,
        before: Option<ClientKey>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Client>, LedgerError>> + Send;

    /// Returns the records that some work is due on, the longest due first, at most `limit`.
    ///
    /// By default every record is read.
    fn due(&self, work: Work, limit: u32) -> impl Future<Output = Result<Vec<Client>, LedgerError>> + Send {
        async move {
            let mut due = read_all(self, &Filter::default(), |client| work.due_since(client).is_some()).await?;
            due.sort_by_key(|client| (work.due_since(client), client.key));
            due.truncate(limit as usize);
            Ok(due)
        }
    }

    /// Returns the records of that client, at most `limit`: live ones first, then those that got a token, then those that
    /// an operator reviewed, and of equals the newest first. Records that cost nothing to make can't push the others out.
    ///
    /// By default every record of the client is read.
    fn find_all(&self, client_id: &str, limit: u32) -> impl Future<Output = Result<Vec<Client>, LedgerError>> + Send {
        let filter = Filter::of_client(client_id);
        async move {
            let mut found = read_all(self, &filter, |_| true).await?;
            found.sort_by_cached_key(Client::precedence);
            found.truncate(limit as usize);
            Ok(found)
        }
    }

    /// Returns the record of that client that has that [`variant`](Client::variant).
    ///
    /// By default every record of the client is read.
    fn find_variant(
        &self,
        client_id: &str,
        variant: &str,
    ) -> impl Future<Output = Result<Option<Client>, LedgerError>> + Send {
        let filter = Filter::of_client(client_id);
        async move { Ok(read_all(self, &filter, |client| client.variant == variant).await?.pop()) }
    }

    /// Returns whether the ledger has a client whose id differs from `client_id` in the case of ASCII letters only: to a
    /// server whose database ignores case, they are one.
    ///
    /// By default every record is read.
    fn has_in_other_case(&self, client_id: &str) -> impl Future<Output = Result<bool, LedgerError>> + Send {
        async move {
            let is_other = |id: &str| id != client_id && id.eq_ignore_ascii_case(client_id);
            let has_other = |client: &Client| client.client_id.as_deref().is_some_and(is_other);
            Ok(!read_all(self, &Filter::default(), has_other).await?.is_empty())
        }
    }

    /// Returns the source network that holds most clients of the kind `of`, by the wide prefix of [`Source`], with the first
    /// `limit` of them in the order of [`Client::alive_since`]. Of networks that hold as many, the one with the first client.
    ///
    /// By default every live record is read.
    fn largest_source(
        &self,
        of: Evictable,
        limit: u32,
    ) -> impl Future<Output = Result<LargestSource, LedgerError>> + Send {
        async move {
            let filter = Filter { origin: Some(Origin::Registered), never_reviewed: true, ..Filter::live() };
            let clients = read_all(self, &filter, |client| Evictable::of(client) == Some(of)).await?;
            Ok(LargestSource::among(&clients, of, limit))
        }
    }

    /// Removes spent records that ended by `before`, and of the others all except for the `keep` that ended last. Returns the
    /// number of removed records; one call may leave some for the next.
    ///
    /// A record is spent if its registration is empty, no deletion at the server is due, and its status is
    /// [`Status::Failed`], or [`Status::Expired`] with a deletion attempted or a [`variant`](Client::variant).
    ///
    /// By default every failed and expired record is read.
    fn trim_spent(&self, before: i64, keep: u64) -> impl Future<Output = Result<u64, LedgerError>> + Send {
        async move {
            let filter = Filter::of_status([Status::Failed, Status::Expired]);
            let mut spent = read_all(self, &filter, Client::is_spent).await?;
            spent.sort_by_key(|client| (client.ended_at, client.key));
            let surplus = spent.len().saturating_sub(usize::try_from(keep).unwrap_or(usize::MAX));
            let due = spent
                .iter()
                .enumerate()
                .filter(|(index, client)| *index < surplus || client.ended_at.is_some_and(|at| at <= before));
            remove_all(self, due.map(|(_, client)| client)).await
        }
    }

    /// Removes live records of clients that were [registered elsewhere](Origin::Elsewhere), except for the `keep` that
    /// got a token last. Returns the number of removed records; one call may leave some for the next.
    ///
    /// By default every such record is read.
    fn trim_elsewhere(&self, keep: u64) -> impl Future<Output = Result<u64, LedgerError>> + Send {
        async move {
            let filter = Filter { origin: Some(Origin::Elsewhere), ..Filter::live() };
            let mut found = read_all(self, &filter, |_| true).await?;
            found.sort_by_key(|client| (client.alive_since(), client.key));
            let surplus = found.len().saturating_sub(usize::try_from(keep).unwrap_or(usize::MAX));
            remove_all(self, found.iter().take(surplus)).await
        }
    }

    /// Returns live clients of [documents](Origin::Document) that make room, if there are more than `keep`: as many as there are too
    /// many, and at most `limit`. First those that never got a token, and of these, or of the others, those that are not
    /// [vouched for](Client::is_vouched_for). Within such a kind, as if they went one by one, always a client of the
    /// [site](Client::document_site) that has most of the kind left: the one used least recently. Of sites that have as many, the one
    /// with the client used least recently. One publisher pushes out its own documents. Clients that an operator approved or
    /// extended count, and are not returned.
    ///
    /// By default every such record is read.
    fn surplus_documents(
        &self,
        keep: u64,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Client>, LedgerError>> + Send {
        async move {
            let filter = Filter { origin: Some(Origin::Document), ..Filter::live() };
            let found = read_all(self, &filter, |_| true).await?;
            let surplus = found.len().saturating_sub(usize::try_from(keep).unwrap_or(usize::MAX));
            let mut sites = DocumentSites::default();
            for client in &found {
                sites.insert(client);
            }
            let mut found: HashMap<_, _> = found.into_iter().map(|client| (client.key, client)).collect();
            Ok(sites.first(surplus.min(limit as usize)).iter().filter_map(|key| found.remove(key)).collect())
        }
    }

    /// Returns the number of records of each status; a status without records may be left out.
    ///
    /// By default every record is read.
    fn counts(&self) -> impl Future<Output = Result<Vec<(Status, u64)>, LedgerError>> + Send {
        async move {
            let mut counts = BTreeMap::new();
            visit_all(self, &Filter::default(), |client| *counts.entry(client.status).or_default() += 1).await?;
            Ok(counts.into_iter().collect())
        }
    }

    /// Returns the number of records that were made in each `step` of milliseconds since `since`, as (start, number), in
    /// order; empty steps are left out. A step starts at a multiple of `step`.
    ///
    /// By default every record is read.
    fn timeline(&self, since: i64, step: i64) -> impl Future<Output = Result<Vec<(i64, u64)>, LedgerError>> + Send {
        async move {
            let (mut steps, step) = (BTreeMap::new(), step.max(1));
            visit_all(self, &Filter::default(), |client| {
                if client.created_at >= since {
                    *steps.entry(client.created_at.div_euclid(step) * step).or_default() += 1;
                }
            })
            .await?;
            Ok(steps.into_iter().collect())
        }
    }

    /// Returns groups of live clients with a property in common, the largest first, at most `limit`.
    ///
    /// By default every live record is read.
    fn groups(&self, by: Grouping, limit: u32) -> impl Future<Output = Result<Vec<Group>, LedgerError>> + Send {
        async move {
            let mut groups = Groups::default();
            visit_all(self, &Filter::live(), |client| groups.add_client(by, client)).await?;
            Ok(groups.largest(by, limit))
        }
    }
}

/// The number of records that defaults read at a time.
const PAGE: u32 = 500;

/// Returns every record that matches the filter and is wanted, the newest first.
async fn read_all<L: Ledger + ?Sized>(
    ledger: &L,
    filter: &Filter,
    mut is_wanted: impl FnMut(&Client) -> bool + Send,
) -> Result<Vec<Client>, LedgerError> {
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let page = ledger.page(filter, before, PAGE).await?;
        let Some(last) = page.last() else { return Ok(found) };
        before = Some(last.key);
        found.extend(page.into_iter().filter(&mut is_wanted));
    }
}

/// Calls `visit` with every record that matches the filter.
async fn visit_all<L: Ledger + ?Sized>(
    ledger: &L,
    filter: &Filter,
    mut visit: impl FnMut(&Client) + Send,
) -> Result<(), LedgerError> {
    let visited = |client: &Client| {
        visit(client);
        false
    };
    read_all(ledger, filter, visited).await.map(drop)
}

async fn remove_all<'a, L: Ledger + ?Sized>(
    ledger: &L,
    clients: impl Iterator<Item = &'a Client> + Send,
) -> Result<u64, LedgerError> {
    let mut removed = 0;
    for client in clients {
        removed += u64::from(ledger.remove(client).await?);
    }
    Ok(removed)
}

/// The outcome of [`Ledger::insert`].
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use tower_dcr::clients::{Client, Fingerprints, Insertion, Ledger, MemoryLedger};
///
/// let draft = Client::draft("{}", Fingerprints::default(), 0);
/// assert_eq!(MemoryLedger::default().insert(&draft, Some(0)).await?, Insertion::Full);
/// # Ok::<_, tower_dcr::clients::LedgerError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "made by ledgers, and complete")]
pub enum Insertion {
    /// The new record, with its key and version.
    Inserted(Client),
    /// Not inserted: this record has the same `dedup_key`, or the same `client_id` and variant.
    Exists(Client),
    /// Not inserted: the quota is used up.
    Full,
}

/// The outcome of [`Ledger::replace`].
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use tower_dcr::clients::{Client, Fingerprints, Ledger, MemoryLedger, Replacement};
///
/// let absent = Client::draft("{}", Fingerprints::default(), 0);
/// assert_eq!(MemoryLedger::default().replace(&absent).await?, Replacement::Outdated);
/// # Ok::<_, tower_dcr::clients::LedgerError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "made by ledgers, and complete")]
pub enum Replacement {
    /// The record was replaced.
    Replaced,
    /// Not replaced: the record was changed or removed after it was read.
    Outdated,
    /// Not replaced: another record has that `dedup_key`, or that `client_id` and variant.
    Taken,
}

/// A failed request to a ledger.
///
/// ```
/// use tower_dcr::clients::LedgerError;
///
/// let error = LedgerError::new("connection refused");
/// assert_eq!(error.to_string(), "ledger unavailable");
/// assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "connection refused");
/// ```
pub struct LedgerError {
    source: Box<dyn Error + Send + Sync>,
    is_outage: bool,
}

impl LedgerError {
    /// Creates an error from what a store reports.
    pub fn new(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: source.into(), is_outage: false }
    }

    /// Creates an error for a store that can't be reached, or rejects every write: its circuit breaker then opens. An error
    /// that depends on the request is none of these, or one client could turn away all others.
    pub fn outage(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: source.into(), is_outage: true }
    }

    /// Returns whether the store can't be reached, or rejects every write.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        self.is_outage
    }

    /// Logs the error for the operator. The client is told less.
    pub(crate) fn log(&self) {
        let error = crate::text::causes(self);
        if self.is_outage {
            // The circuit breaker has logged the outage; each request would only repeat it.
            tracing::debug!(target: "tower_dcr::lifecycle", %error, "ledger unavailable");
        } else {
            tracing::error!(target: "tower_dcr::lifecycle", %error, "request to the ledger failed");
        }
    }
}

crate::text::debug_for_people!(LedgerError);

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ledger unavailable")
    }
}

impl Error for LedgerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}
