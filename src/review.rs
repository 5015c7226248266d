//! [`Review`]: what an operator looks at, and does.
//!
//! "Look for stale client records, duplicate registrations, inconsistent redirect URI patterns, and registrations that
//! never appear in review": each of these is a [`Queue`] or a [`Grouping`]. Every act names who did it and why, and is a
//! [`LifecycleEvent`](crate::event::LifecycleEvent).
//!
//! ```
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! # runtime.block_on(async {
//! use tower_dcr::ledger::{Actor, Grouping, MemoryLedger};
//! use tower_dcr::registrar::{Registrar, Revocation};
//! use tower_dcr::review::{Queue, Review};
//!
//! let review = Review::new(Registrar::new(MemoryLedger::default()));
//! let mut cursor = None;
//! loop {
//!     let page = review.list(Queue::NeverUsed, cursor, 50).await?;
//!     for client in &page.clients {
//!         println!("{:?} {:?}", client.client_id, client.fingerprints.redirect_hosts);
//!     }
//!     cursor = page.next;
//!     if cursor.is_none() {
//!         break;
//!     }
//! }
//! for family in review.groups(Grouping::Families, 10).await? {
//!     println!("{} times {:?}", family.clients, family.client_name);
//! }
//! # Ok::<_, tower_dcr::ledger::LedgerError>(())
//! # }).unwrap();
//! ```

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::Action;
use crate::ledger::{
    Actor, Block, Client, ClientKey, Filter, Fingerprint, Group, Grouping, LedgerError, Origin, State, Status,
};
use crate::registrar::{Forgotten, Registrar, Revocation, RevokeError, Revoked, milliseconds};

/// The review of a ledger. See the [module docs](self).
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use tower_dcr::ledger::MemoryLedger;
/// use tower_dcr::registrar::Registrar;
/// use tower_dcr::review::{Review, ReviewError};
///
/// let review = Review::new(Registrar::new(MemoryLedger::default()));
/// let error = review.approve("nobody", "alice", "known to us").await.unwrap_err();
/// assert!(matches!(error, ReviewError::UnknownClient));
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Review {
    registrar: Registrar,
}

/// What is worth looking at.
///
/// ```
/// use tower_dcr::review::Queue;
///
/// assert_eq!(Queue::ALL.map(Queue::as_str)[1], "pending");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Queue {
    /// Every record.
    All,
    /// Waiting for approval.
    Pending,
    /// Live, and nobody ever looked at it.
    NeverReviewed,
    /// Live for a day, and never got a token.
    NeverUsed,
    /// Did not get a token for half an idle limit.
    Stale,
    /// Expires within a week.
    ExpiringSoon,
    /// Was not registered through here.
    Elsewhere,
    /// Ended, and the server could not be told.
    FailingDeprovisioning,
    /// Ended by somebody.
    Revoked,
    /// The server did not register it, or nobody knows.
    Failed,
}

/// Some records, and where the next ones begin.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Page {
    /// The newest first.
    pub clients: Vec<Client>,
    /// What to ask for the next page with; absent at the end.
    pub next: Option<ClientKey>,
}

/// The ledger in numbers.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use tower_dcr::ledger::MemoryLedger;
/// use tower_dcr::registrar::Registrar;
/// use tower_dcr::review::Review;
///
/// let summary = Review::new(Registrar::new(MemoryLedger::default())).summary(30).await?;
/// assert!(summary.statuses.is_empty() && summary.registered_by_day.is_empty());
/// # Ok::<_, tower_dcr::ledger::LedgerError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// How many records have each status.
    pub statuses: Vec<(Status, u64)>,
    /// How many clients were registered on each of the last days, as (milliseconds of the day's beginning, number);
    /// days without are left out.
    pub registered_by_day: Vec<(i64, u64)>,
}

/// Why an act did not happen.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReviewError {
    /// Several live records have this `client_id`: name one of them.
    Ambiguous,
    /// It has ended; who wants to sign in registers again.
    Ended,
    /// The ledger can't be used.
    Ledger(LedgerError),
    /// There is no such client.
    UnknownClient,
}

pub(crate) const DAY: i64 = 24 * 3600 * 1000;

impl Queue {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::All,
        Self::Pending,
        Self::NeverReviewed,
        Self::NeverUsed,
        Self::Stale,
        Self::ExpiringSoon,
        Self::Elsewhere,
        Self::FailingDeprovisioning,
        Self::Revoked,
        Self::Failed,
    ];

    /// The name that the JSON API knows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Pending => "pending",
            Self::NeverReviewed => "never_reviewed",
            Self::NeverUsed => "never_used",
            Self::Stale => "stale",
            Self::ExpiringSoon => "expiring_soon",
            Self::Elsewhere => "elsewhere",
            Self::FailingDeprovisioning => "failing_deprovisioning",
            Self::Revoked => "revoked",
            Self::Failed => "failed",
        }
    }

    fn filter(self, now: i64, idle: i64) -> Filter {
        let settled = || Filter::of_status([Status::Pending, Status::Active]);
        match self {
            Self::All => Filter::default(),
            Self::Pending => Filter::of_status([Status::Pending]),
            Self::NeverReviewed => Filter { never_reviewed: true, ..settled() },
            Self::NeverUsed => Filter { never_proven: true, idle_since: Some(now - DAY), ..settled() },
            Self::Stale => Filter { idle_since: Some(now.saturating_sub(idle / 2)), ..settled() },
            Self::ExpiringSoon => Filter { expires_before: Some(now.saturating_add(7 * DAY)), ..settled() },
            Self::Elsewhere => Filter { origin: Some(Origin::Elsewhere), ..Filter::default() },
            Self::FailingDeprovisioning => Filter { failing_deprovisioning: true, ..Filter::default() },
            Self::Revoked => Filter::of_status([Status::Revoked]),
            Self::Failed => Filter::of_status([Status::Failed]),
        }
    }
}

impl Review {
    /// Reviews the ledger of `registrar`.
    #[must_use]
    pub fn new(registrar: Registrar) -> Self {
        Self { registrar }
    }

    /// Whose ledger it is.
    pub fn registrar(&self) -> &Registrar {
        &self.registrar
    }

    /// The time by the registrar's clock, in milliseconds since 1970-01-01 00:00 UTC.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.registrar.now()
    }

    /// The clients in `queue`, from where `cursor` says, at most `limit` (and 500).
    ///
    /// # Errors
    ///
    /// If the ledger can't be used.
    pub async fn list(&self, queue: Queue, cursor: Option<ClientKey>, limit: u32) -> Result<Page, LedgerError> {
        let filter = queue.filter(self.now(), self.registrar.lifetimes().idle_ms());
        self.find(&filter, cursor, limit).await
    }

    /// The clients that pass a filter of your own, likewise.
    ///
    /// # Errors
    ///
    /// If the ledger can't be used.
    pub async fn find(&self, filter: &Filter, cursor: Option<ClientKey>, limit: u32) -> Result<Page, LedgerError> {
        let limit = limit.clamp(1, 500);
        let clients = self.registrar.ledger().page(filter, cursor, limit).await?;
        let full = clients.len() >= limit as usize;
        let next = clients.last().filter(|_| full).map(|client| client.key);
        Ok(Page { clients, next })
    }

    /// One client; if several records have its `client_id`, one of them: see [`records`](Self::records).
    ///
    /// # Errors
    ///
    /// If the ledger can't be used.
    pub async fn client(&self, client_id: &str) -> Result<Option<Client>, LedgerError> {
        match self.registrar.ledger().find(client_id).await? {
            Some(client) => Ok(Some(client)),
            None => Ok(self.registrar.ledger().find_all(client_id, 1).await?.into_iter().next()),
        }
    }

    /// Returns the records of one `client_id`: one, unless the server gives it to several registrations
    /// ([`with_shared_client_ids`](Registrar::with_shared_client_ids)). Live ones come first.
    ///
    /// # Errors
    ///
    /// If the ledger can't be used.
    pub async fn records(&self, client_id: &str) -> Result<Vec<Client>, LedgerError> {
        self.registrar.look_up_all(client_id).await
    }

    /// Returns the record with that key.
    ///
    /// # Errors
    ///
    /// If the ledger can't be used.
    pub async fn record(&self, key: ClientKey) -> Result<Option<Client>, LedgerError> {
        self.registrar.ledger().get(key).await
    }

    /// What clients have in common: the largest groups, at most `limit`.
    ///
    /// # Errors
    ///
    /// If the ledger can't be used.
    pub async fn groups(&self, by: Grouping, limit: u32) -> Result<Vec<Group>, LedgerError> {
        self.registrar.ledger().groups(by, limit).await
    }

    /// What may not be registered again: the newest blocks, older than `before`.
    ///
    /// # Errors
    ///
    /// If the ledger can't be used.
    pub async fn blocks(&self, before: Option<i64>, limit: u32) -> Result<Vec<Block>, LedgerError> {
        self.registrar.ledger().blocks(before, limit.min(500)).await
    }

    /// The ledger in numbers, with registrations by day for the last `days`.
    ///
    /// # Errors
    ///
    /// If the ledger can't be used.
    pub async fn summary(&self, days: u16) -> Result<Summary, LedgerError> {
        let today = self.now().div_euclid(DAY) * DAY;
        let since = today - i64::from(days.saturating_sub(1)) * DAY;
        let ledger = self.registrar.ledger();
        Ok(Summary { statuses: ledger.counts().await?, registered_by_day: ledger.timeline(since, DAY).await? })
    }

    /// Lets a pending client sign in; of an active one, notes that somebody looked at it, so that it does not make room
    /// for others.
    ///
    /// # Errors
    ///
    /// [`ReviewError`].
    pub async fn approve(&self, client_id: &str, operator: &str, reason: &str) -> Result<Client, ReviewError> {
        let client = self.only(client_id).await?;
        self.approve_found(client, operator, reason).await
    }

    /// Approves one record, and no other of the same `client_id`: see [`approve`](Self::approve).
    ///
    /// # Errors
    ///
    /// [`ReviewError`].
    pub async fn approve_record(&self, key: ClientKey, operator: &str, reason: &str) -> Result<Client, ReviewError> {
        let client = self.record(key).await?.ok_or(ReviewError::UnknownClient)?;
        self.approve_found(client, operator, reason).await
    }

    async fn approve_found(&self, client: Client, operator: &str, reason: &str) -> Result<Client, ReviewError> {
        let lifetime = self.registrar.lifetimes().never_used_ms();
        let approve = |now: i64, client: &Client| {
            let mut approved = reviewed(client, now, operator);
            if client.status == Status::Pending {
                approved.status = Status::Active;
                approved.expires_at = Some(client.at_most(now.saturating_add(lifetime)));
            }
            approved
        };
        self.act(client, Action::Approved, operator, reason, approve).await
    }

    /// Gives a client until at least `time` from now. Its secret's expiry stays the limit.
    ///
    /// # Errors
    ///
    /// [`ReviewError`].
    pub async fn extend(
        &self,
        client_id: &str,
        time: Duration,
        operator: &str,
        reason: &str,
    ) -> Result<Client, ReviewError> {
        let client = self.only(client_id).await?;
        self.extend_found(client, time, operator, reason).await
    }

    /// Extends one record, and no other of the same `client_id`: see [`extend`](Self::extend).
    ///
    /// # Errors
    ///
    /// [`ReviewError`].
    pub async fn extend_record(
        &self,
        key: ClientKey,
        time: Duration,
        operator: &str,
        reason: &str,
    ) -> Result<Client, ReviewError> {
        let client = self.record(key).await?.ok_or(ReviewError::UnknownClient)?;
        self.extend_found(client, time, operator, reason).await
    }

    async fn extend_found(
        &self,
        client: Client,
        time: Duration,
        operator: &str,
        reason: &str,
    ) -> Result<Client, ReviewError> {
        let time = milliseconds(time);
        let extend = |now: i64, client: &Client| {
            let mut extended = reviewed(client, now, operator);
            let end = client.at_most(now.saturating_add(time));
            extended.expires_at = client.expires_at.map(|at| at.max(end));
            extended
        };
        self.act(client, Action::Extended, operator, reason, extend).await
    }

    /// Ends clients: see [`Registrar::revoke`].
    ///
    /// # Errors
    ///
    /// [`RevokeError`].
    pub async fn revoke(&self, target: Fingerprint, operator: &str, reason: &str) -> Result<Revoked, RevokeError> {
        self.registrar.revoke(Revocation::new(target, Actor::Operator(operator.to_owned()), reason)).await
    }

    /// Revokes one record of `client_id`, and no other: see [`Registrar::revoke`].
    ///
    /// # Errors
    ///
    /// [`RevokeError`].
    pub async fn revoke_record(
        &self,
        client_id: &str,
        key: ClientKey,
        operator: &str,
        reason: &str,
    ) -> Result<Revoked, RevokeError> {
        let actor = Actor::Operator(operator.to_owned());
        self.registrar.revoke(Revocation::record(client_id, key, actor, reason)).await
    }

    /// Removes the records of `client_id`, or the one with that `key`: see [`Registrar::forget`].
    ///
    /// # Errors
    ///
    /// [`RevokeError`].
    pub async fn forget(
        &self,
        client_id: &str,
        key: Option<ClientKey>,
        operator: &str,
        reason: &str,
    ) -> Result<Forgotten, RevokeError> {
        self.registrar.forget(client_id, key, &Actor::Operator(operator.to_owned()), reason).await
    }

    /// The record of a client, if there is one that may be meant.
    async fn only(&self, client_id: &str) -> Result<Client, ReviewError> {
        let all = self.records(client_id).await?;
        if all.iter().filter(|client| client.status.is_live()).count() > 1 {
            return Err(ReviewError::Ambiguous);
        }
        all.into_iter().next().ok_or(ReviewError::UnknownClient)
    }

    async fn act(
        &self,
        client: Client,
        action: Action,
        operator: &str,
        reason: &str,
        change: impl Fn(i64, &Client) -> Client,
    ) -> Result<Client, ReviewError> {
        let now = self.now();
        let change = |client: &Client| {
            let alive = matches!(client.state(now), State::Pending | State::Active | State::Stale);
            alive.then(|| change(now, client))
        };
        let changed = self.registrar.update(client, change).await?.changed().ok_or(ReviewError::Ended)?;
        self.registrar.begin_epoch();
        let event = self.registrar.event(action).of_client(changed.client_id.as_deref());
        self.registrar.emit(&event.by(&Actor::Operator(operator.to_owned())).because(reason));
        Ok(changed)
    }
}

fn reviewed(client: &Client, now: i64, operator: &str) -> Client {
    Client { reviewed_at: Some(now), reviewed_by: Some(operator.to_owned()), ..client.clone() }
}

impl From<LedgerError> for ReviewError {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl fmt::Display for ReviewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ambiguous => f.write_str("several registrations have this client_id: name one record of it"),
            Self::Ended => f.write_str("the client has ended: who wants to sign in registers again"),
            Self::Ledger(error) => error.fmt(f),
            Self::UnknownClient => f.write_str("there is no such client in the ledger"),
        }
    }
}

impl std::error::Error for ReviewError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Ledger(error) => Some(error),
            Self::Ambiguous | Self::Ended | Self::UnknownClient => None,
        }
    }
}
