//! [`ClientAdmin`]: lists, approves and revokes clients.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::audit::LifecycleAction;
use crate::clients::ledger::{
    Actor, Block, Client, ClientKey, Filter, Fingerprint, Group, Grouping, LedgerError, Origin, State, Status,
};
use crate::clients::registrar::{
    ForgetReport, Lifetimes, Registrar, Revocation, RevocationReport, RevokeError, milliseconds,
};

/// Lists, approves, extends and revokes clients, for operators.
///
/// "Look for stale client records, duplicate registrations, inconsistent redirect URI patterns, and registrations that
/// never appear in review": each of these is a [`ClientQueue`] or a [`Grouping`]. Every action takes the operator and the
/// reason, and emits a [`LifecycleEvent`](crate::audit::LifecycleEvent).
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use tower_dcr::clients::{Actor, Grouping, MemoryLedger};
/// use tower_dcr::clients::{Registrar, Revocation};
/// use tower_dcr::clients::{ClientQueue, ClientAdmin};
///
/// let admin = ClientAdmin::new(Registrar::new(MemoryLedger::default()));
/// let mut cursor = None;
/// loop {
///     let page = admin.list(ClientQueue::NeverUsed, cursor, 50).await?;
///     for client in &page.clients {
///         println!("{:?} {:?}", client.client_id, client.fingerprints.redirect_hosts);
///     }
///     cursor = page.next;
///     if cursor.is_none() {
///         break;
///     }
/// }
/// for family in admin.groups(Grouping::Families, 10).await? {
///     println!("{} times {:?}", family.clients, family.client_name);
/// }
/// # Ok::<_, tower_dcr::clients::LedgerError>(())
/// # }).unwrap();
/// ```
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use tower_dcr::clients::MemoryLedger;
/// use tower_dcr::clients::Registrar;
/// use tower_dcr::clients::{ClientAdmin, AdminError};
///
/// let admin = ClientAdmin::new(Registrar::new(MemoryLedger::default()));
/// let error = admin.approve("unknown", "alice", "known to us").await.unwrap_err();
/// assert!(matches!(error, AdminError::UnknownClient));
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct ClientAdmin {
    registrar: Registrar,
}

/// A selection of clients to look at.
///
/// ```
/// use tower_dcr::clients::ClientQueue;
///
/// assert_eq!(ClientQueue::ALL.map(ClientQueue::as_str)[1], "pending");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClientQueue {
    /// Every record.
    All,
    /// Clients that wait for approval.
    Pending,
    /// Live clients that no operator approved or extended.
    NeverReviewed,
    /// Clients that have been live for a day and never got a token.
    NeverUsed,
    /// Clients in [`State::Stale`].
    Stale,
    /// Clients that expire within a week.
    ExpiringSoon,
    /// Clients that were not registered through this endpoint.
    Elsewhere,
    /// Ended clients whose deletion at the server failed.
    FailingDeprovisioning,
    /// Revoked clients.
    Revoked,
    /// Registrations that failed, or whose answer was not seen.
    Failed,
}

/// A page of records.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ClientPage {
    /// The records, the newest first.
    pub clients: Vec<Client>,
    /// The cursor of the next page; `None` at the end.
    pub next: Option<ClientKey>,
}

/// Counts of the records in a ledger.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use tower_dcr::clients::MemoryLedger;
/// use tower_dcr::clients::Registrar;
/// use tower_dcr::clients::ClientAdmin;
///
/// let summary = ClientAdmin::new(Registrar::new(MemoryLedger::default())).summary(30).await?;
/// assert!(summary.statuses.is_empty() && summary.registered_by_day.is_empty());
/// # Ok::<_, tower_dcr::clients::LedgerError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClientCounts {
    /// The number of records of each status.
    pub statuses: Vec<(Status, u64)>,
    /// The number of clients registered on each of the last days, as (start of the day in milliseconds, number); days without
    /// registrations are left out.
    pub registered_by_day: Vec<(i64, u64)>,
}

/// Why an act did not happen.
#[non_exhaustive]
pub enum AdminError {
    /// Several live records have this `client_id`: name one of them.
    Ambiguous,
    /// The client has ended; to sign in, it has to register again.
    Ended,
    /// The ledger can't be used.
    Ledger(LedgerError),
    /// There is no such client.
    UnknownClient,
}

const DAY: i64 = 24 * 3600 * 1000;

impl ClientQueue {
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

    fn filter(self, now: i64) -> Filter {
        let registered = || Filter::of_status([Status::Pending, Status::Active]);
        match self {
            Self::All => Filter::default(),
            Self::Pending => Filter::of_status([Status::Pending]),
            Self::NeverReviewed => Filter { never_reviewed: true, ..registered() },
            Self::NeverUsed => Filter { never_used: true, idle_since: Some(now - DAY), ..registered() },
            Self::Stale => Filter { stale_at: Some(now), ..Filter::of_status([Status::Active]) },
            Self::ExpiringSoon => Filter { expires_before: Some(now.saturating_add(7 * DAY)), ..registered() },
            Self::Elsewhere => Filter { origin: Some(Origin::Elsewhere), ..Filter::default() },
            Self::FailingDeprovisioning => Filter { failing_deprovisioning: true, ..Filter::default() },
            Self::Revoked => Filter::of_status([Status::Revoked]),
            Self::Failed => Filter::of_status([Status::Failed]),
        }
    }
}

impl ClientAdmin {
    /// Creates the administration of the ledger of `registrar`.
    #[must_use]
    pub fn new(registrar: Registrar) -> Self {
        Self { registrar }
    }

    /// Returns the registrar.
    pub fn registrar(&self) -> &Registrar {
        &self.registrar
    }

    /// Returns the time by the registrar's clock, in milliseconds since 1970-01-01 00:00 UTC.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.registrar.now()
    }

    /// Lists the clients in `queue`, starting after `cursor`, at most `limit` (and 500).
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the ledger is unavailable.
    pub async fn list(
        &self,
        queue: ClientQueue,
        cursor: Option<ClientKey>,
        limit: u32,
    ) -> Result<ClientPage, LedgerError> {
        self.find(&queue.filter(self.now()), cursor, limit).await
    }

    /// Lists the active clients that would be stale under other `lifetimes`, and those that would have expired by now,
    /// starting after `cursor`, at most `limit` (and 500). Each record comes with the expiry that it would have.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// use std::time::Duration;
    /// use tower_dcr::clients::MemoryLedger;
    /// use tower_dcr::clients::{Lifetimes, Registrar};
    /// use tower_dcr::clients::ClientAdmin;
    ///
    /// let shorter = Lifetimes::new().with_idle(Duration::from_secs(30 * 24 * 3600)).unwrap();
    /// let admin = ClientAdmin::new(Registrar::new(MemoryLedger::default()));
    /// assert!(admin.stale_under(&shorter, None, 50).await?.clients.is_empty());
    /// # Ok::<_, tower_dcr::clients::LedgerError>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the ledger is unavailable.
    pub async fn stale_under(
        &self,
        lifetimes: &Lifetimes,
        cursor: Option<ClientKey>,
        limit: u32,
    ) -> Result<ClientPage, LedgerError> {
        let (now, limit) = (self.now(), limit.clamp(1, 500) as usize);
        let active = Filter::of_status([Status::Active]);
        let (mut clients, mut before) = (Vec::new(), cursor);
        loop {
            let page = self.find(&active, before, 500).await?;
            for client in page.clients {
                let key = client.key;
                let client = lifetimes.applied_to(client);
                if matches!(client.state(now), State::Stale | State::Expired) {
                    clients.push(client);
                    if clients.len() == limit {
                        return Ok(ClientPage { clients, next: Some(key) });
                    }
                }
            }
            before = page.next;
            if before.is_none() {
                return Ok(ClientPage { clients, next: None });
            }
        }
    }

    /// Lists the clients that match a filter, starting after `cursor`, at most `limit` (and 500).
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the ledger is unavailable.
    pub async fn find(
        &self,
        filter: &Filter,
        cursor: Option<ClientKey>,
        limit: u32,
    ) -> Result<ClientPage, LedgerError> {
        let limit = limit.clamp(1, 500);
        let clients = self.registrar.ledger().page(filter, cursor, limit).await?;
        let full = clients.len() >= limit as usize;
        let next = clients.last().filter(|_| full).map(|client| client.key);
        Ok(ClientPage { clients, next })
    }

    /// Returns a client; if several records have its `client_id`, one of them: see [`records`](Self::records). `None` if it is
    /// unknown.
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the ledger is unavailable.
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
    /// Returns [`LedgerError`] if the ledger is unavailable.
    pub async fn records(&self, client_id: &str) -> Result<Vec<Client>, LedgerError> {
        self.registrar.look_up_all(client_id).await
    }

    /// Returns the record with that key.
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the ledger is unavailable.
    pub async fn record(&self, key: ClientKey) -> Result<Option<Client>, LedgerError> {
        self.registrar.ledger().get(key).await
    }

    /// Returns groups of clients with a property in common, the largest first, at most `limit`.
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the ledger is unavailable.
    pub async fn groups(&self, by: Grouping, limit: u32) -> Result<Vec<Group>, LedgerError> {
        self.registrar.ledger().groups(by, limit).await
    }

    /// Lists the newest blocks that are older than `before`, at most `limit` (and 500).
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the ledger is unavailable.
    pub async fn blocks(&self, before: Option<i64>, limit: u32) -> Result<Vec<Block>, LedgerError> {
        self.registrar.ledger().blocks(before, limit.min(500)).await
    }

    /// Returns a block that keeps the registration of `client` out; `None` if there is none.
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the ledger is unavailable.
    pub async fn block_of(&self, client: &Client) -> Result<Option<Block>, LedgerError> {
        self.registrar.ledger().find_block(&client.fingerprints.all()).await
    }

    /// Returns counts of the records, with registrations by day for the last `days`.
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the ledger is unavailable.
    pub async fn summary(&self, days: u16) -> Result<ClientCounts, LedgerError> {
        let today = self.now().div_euclid(DAY) * DAY;
        let since = today - i64::from(days.saturating_sub(1)) * DAY;
        let ledger = self.registrar.ledger();
        Ok(ClientCounts { statuses: ledger.counts().await?, registered_by_day: ledger.timeline(since, DAY).await? })
    }

    /// Approves a client: a pending one may sign in, and an active one no longer makes room for others.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub async fn approve(&self, client_id: &str, operator: &str, reason: &str) -> Result<Client, AdminError> {
        let client = self.only(client_id).await?;
        self.approve_found(client, operator, reason).await
    }

    /// Approves one record, and no other of the same `client_id`: see [`approve`](Self::approve).
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub async fn approve_record(&self, key: ClientKey, operator: &str, reason: &str) -> Result<Client, AdminError> {
        let client = self.record(key).await?.ok_or(AdminError::UnknownClient)?;
        self.approve_found(client, operator, reason).await
    }

    async fn approve_found(&self, client: Client, operator: &str, reason: &str) -> Result<Client, AdminError> {
        let lifetime = self.registrar.lifetimes().never_used_ms();
        let approve = |now: i64, client: &Client| {
            let mut approved = reviewed(client, now, operator);
            if client.status == Status::Pending {
                approved.status = Status::Active;
                approved.expires_at = Some(client.at_most(now.saturating_add(lifetime)));
            }
            approved
        };
        self.act(client, LifecycleAction::Approved, operator, reason, approve).await
    }

    /// Extends the lifetime of a client to at least `time` from now, and at most to the expiry of its secret.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub async fn extend(
        &self,
        client_id: &str,
        time: Duration,
        operator: &str,
        reason: &str,
    ) -> Result<Client, AdminError> {
        let client = self.only(client_id).await?;
        self.extend_found(client, time, operator, reason).await
    }

    /// Extends one record, and no other of the same `client_id`: see [`extend`](Self::extend).
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub async fn extend_record(
        &self,
        key: ClientKey,
        time: Duration,
        operator: &str,
        reason: &str,
    ) -> Result<Client, AdminError> {
        let client = self.record(key).await?.ok_or(AdminError::UnknownClient)?;
        self.extend_found(client, time, operator, reason).await
    }

    async fn extend_found(
        &self,
        client: Client,
        time: Duration,
        operator: &str,
        reason: &str,
    ) -> Result<Client, AdminError> {
        let time = milliseconds(time);
        let extend = |now: i64, client: &Client| {
            let mut extended = reviewed(client, now, operator);
            let end = client.at_most(now.saturating_add(time));
            extended.expires_at = client.expires_at.map(|at| at.max(end));
            extended
        };
        self.act(client, LifecycleAction::Extended, operator, reason, extend).await
    }

    /// Revokes clients: see [`Registrar::revoke`].
    ///
    /// # Errors
    ///
    /// [`RevokeError`].
    pub async fn revoke(
        &self,
        target: Fingerprint,
        operator: &str,
        reason: &str,
    ) -> Result<RevocationReport, RevokeError> {
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
    ) -> Result<RevocationReport, RevokeError> {
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
    ) -> Result<ForgetReport, RevokeError> {
        self.registrar.forget(client_id, key, &Actor::Operator(operator.to_owned()), reason).await
    }

    /// Returns the only live record of a client, or else the first.
    async fn only(&self, client_id: &str) -> Result<Client, AdminError> {
        let all = self.records(client_id).await?;
        if all.iter().filter(|client| client.status.is_live()).count() > 1 {
            return Err(AdminError::Ambiguous);
        }
        all.into_iter().next().ok_or(AdminError::UnknownClient)
    }

    async fn act(
        &self,
        client: Client,
        action: LifecycleAction,
        operator: &str,
        reason: &str,
        change: impl Fn(i64, &Client) -> Client,
    ) -> Result<Client, AdminError> {
        let now = self.now();
        let change = |client: &Client| {
            let alive = matches!(client.state(now), State::Pending | State::Active | State::Stale);
            alive.then(|| change(now, client))
        };
        let changed = self.registrar.update(client, change).await?.changed().ok_or(AdminError::Ended)?;
        self.registrar.begin_epoch();
        let event = self.registrar.event_of(action, &changed);
        self.registrar.emit(&event.by(&Actor::Operator(operator.to_owned())).because(reason));
        Ok(changed)
    }
}

fn reviewed(client: &Client, now: i64, operator: &str) -> Client {
    Client { reviewed_at: Some(now), reviewed_by: Some(operator.to_owned()), ..client.clone() }
}

impl From<LedgerError> for AdminError {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

crate::text::debug_for_people!(AdminError);

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ambiguous => f.write_str("several records have this client_id: select one by its key"),
            Self::Ended => f.write_str("client has ended"),
            Self::Ledger(error) => error.fmt(f),
            Self::UnknownClient => f.write_str("unknown client"),
        }
    }
}

impl std::error::Error for AdminError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Ledger(error) => Some(error),
            Self::Ambiguous | Self::Ended | Self::UnknownClient => None,
        }
    }
}
