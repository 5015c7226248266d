//! Lists and approves clients, for operators.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::audit::LifecycleAction;
use crate::clients::ledger::{Actor, Block, Client, ClientKey, Filter, Group, Grouping, LedgerError, Origin, Status};
use crate::clients::registrar::{AdminError, Registrar, milliseconds, the_one};

/// A selection of clients to look at.
///
/// ```
/// use tower_dcr::clients::ClientQueue;
///
/// assert_eq!("never_used".parse(), Ok(ClientQueue::NeverUsed));
/// assert_eq!(ClientQueue::NeverUsed.to_string(), "never_used");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClientQueue {
    /// Every record.
    All,
    /// Clients that wait for approval, and those whose metadata document has a change that does.
    Pending,
    /// Live clients that no operator approved or extended.
    NeverReviewed,
    /// Clients that have been live for a day and never got a token.
    NeverUsed,
    /// [Stale](Client::is_stale) clients, and active ones past their limit: those whose end is not recorded yet, or is
    /// [only reported](crate::clients::LifecycleSettings::report_only_expiry).
    Stale,
    /// Clients that expire within a week.
    ExpiringSoon,
    /// Clients that were not registered through this endpoint.
    Elsewhere,
    /// Clients of metadata documents.
    Documents,
    /// Ended clients whose deletion at the server failed.
    FailingDeprovisioning,
    /// Revoked clients.
    Revoked,
    /// Registrations that failed, or whose answer was not seen.
    Failed,
}

/// The client that an action is about.
///
/// ```
/// use tower_dcr::clients::{ClientKey, ClientRef};
///
/// assert_eq!(ClientRef::from("s6BhdRkqt3"), ClientRef::Id("s6BhdRkqt3"));
/// assert_eq!(ClientRef::from(ClientKey(7)), ClientRef::Record(ClientKey(7)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientRef<'a> {
    /// The only live record with this `client_id`, or else the first.
    Id(&'a str),
    /// The record with this key, and no other of the same `client_id`.
    Record(ClientKey),
    /// The record with this key, while the [change](crate::clients::HeldChange) of its metadata document that waits has this digest;
    /// with an empty one, while none waits. An approval takes what was looked at, and nothing that came since.
    Held(ClientKey, &'a str),
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

const DAY: i64 = 24 * 3600 * 1000;

impl ClientPage {
    /// Returns the first `limit` records of two pages that begin at one cursor and have no record in common.
    fn merge(self, other: Self, limit: u32) -> Self {
        let limit = limit.clamp(1, 500) as usize;
        let has_more = self.next.is_some() || other.next.is_some() || self.clients.len() + other.clients.len() > limit;
        let mut clients = self.clients;
        clients.extend(other.clients);
        clients.sort_by_key(|client| std::cmp::Reverse(client.key));
        clients.truncate(limit);
        let next = clients.last().filter(|_| has_more).map(|client| client.key);
        Self { clients, next }
    }
}

impl ClientQueue {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::All,
        Self::Pending,
        Self::NeverReviewed,
        Self::NeverUsed,
        Self::Stale,
        Self::ExpiringSoon,
        Self::Elsewhere,
        Self::Documents,
        Self::FailingDeprovisioning,
        Self::Revoked,
        Self::Failed,
    ];

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
            Self::Documents => Filter { origin: Some(Origin::Document), ..Filter::default() },
            Self::FailingDeprovisioning => Filter { failing_deprovisioning: true, ..Filter::default() },
            Self::Revoked => Filter::of_status([Status::Revoked]),
            Self::Failed => Filter::of_status([Status::Failed]),
        }
    }
}

crate::text::display_serialized!(ClientQueue);
crate::clients::ledger::read_serialized!(ClientQueue: "a queue");

impl Registrar {
    /// Lists the clients in `queue`, starting after `cursor`, at most `limit` (and 500).
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// use tower_dcr::clients::{Client, ClientQueue, Fingerprints, Ledger, MemoryLedger, Registrar};
    ///
    /// let ledger = MemoryLedger::default();
    /// for created_at in [1000, 2000] {
    ///     ledger.insert(&Client::draft("{}", Fingerprints::default(), created_at), None).await?;
    /// }
    /// let registrar = Registrar::new(ledger);
    /// let newest = registrar.list(ClientQueue::All, None, 1).await?;
    /// let older = registrar.list(ClientQueue::All, newest.next, 1).await?;
    /// assert_eq!([newest.clients[0].created_at, older.clients[0].created_at], [2000, 1000]);
    /// # Ok::<_, tower_dcr::clients::LedgerError>(())
    /// # }).unwrap();
    /// ```
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
        let now = self.now();
        let page = self.find(&queue.filter(now), cursor, limit).await?;
        let active = Filter::of_status([Status::Active]);
        let others = match queue {
            ClientQueue::Stale => Filter { expires_before: Some(now.saturating_add(1)), ..active },
            ClientQueue::Pending => Filter { held_change: true, ..active },
            _ => return Ok(page),
        };
        Ok(page.merge(self.find(&others, cursor, limit).await?, limit))
    }

    /// Lists the active clients that are stale under the settings in force, and those that would have expired by
    /// now, starting after `cursor`, at most `limit` (and 500). Each record comes with the expiry that it would have. The
    /// expiry in a record is that of the settings under which it was written: to try others, give them to a registrar of the
    /// same ledger.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// use std::time::Duration;
    /// use tower_dcr::clients::{MemoryLedger, Registrar};
    ///
    /// let month = Some(Duration::from_secs(30 * 24 * 3600));
    /// let shorter = Registrar::new(MemoryLedger::default()).map_settings(|lifecycle| lifecycle.idle = month)?;
    /// assert!(shorter.stale(None, 50).await?.clients.is_empty());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the ledger is unavailable.
    pub async fn stale(&self, cursor: Option<ClientKey>, limit: u32) -> Result<ClientPage, LedgerError> {
        let (settings, now, limit) = (self.settings(), self.now(), limit.clamp(1, 500) as usize);
        let active = Filter::of_status([Status::Active]);
        let (mut clients, mut before) = (Vec::new(), cursor);
        loop {
            let page = self.find(&active, before, 500).await?;
            for client in page.clients {
                let key = client.key;
                let client = settings.lifetimes.applied_to(client);
                if client.is_stale(now) || client.status_at(now) == Status::Expired {
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
        let clients = self.ledger().page(filter, cursor, limit).await?;
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
        match self.ledger().find(client_id).await? {
            Some(client) => Ok(Some(client)),
            None => Ok(self.ledger().find_all(client_id, 1).await?.into_iter().next()),
        }
    }

    /// Returns the record with that key.
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the ledger is unavailable.
    pub async fn record(&self, key: ClientKey) -> Result<Option<Client>, LedgerError> {
        self.ledger().get(key).await
    }

    /// Returns groups of clients with a property in common, the largest first, at most `limit`.
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the ledger is unavailable.
    pub async fn groups(&self, by: Grouping, limit: u32) -> Result<Vec<Group>, LedgerError> {
        self.ledger().groups(by, limit).await
    }

    /// Lists the newest blocks that are older than `before`, at most `limit` (and 500).
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the ledger is unavailable.
    pub async fn blocks(&self, before: Option<i64>, limit: u32) -> Result<Vec<Block>, LedgerError> {
        self.ledger().blocks(before, limit.min(500)).await
    }

    /// Returns a block that keeps the registration of `client` out; `None` if there is none.
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the ledger is unavailable.
    pub async fn block_of(&self, client: &Client) -> Result<Option<Block>, LedgerError> {
        self.find_block_of(client).await
    }

    /// Returns the number of records of each status.
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the ledger is unavailable.
    pub async fn counts(&self) -> Result<Vec<(Status, u64)>, LedgerError> {
        self.ledger().counts().await
    }

    /// Returns the number of clients registered on each of the last `days`, as (start of the day in milliseconds, number); days
    /// without registrations are left out.
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the ledger is unavailable.
    pub async fn registered_by_day(&self, days: u16) -> Result<Vec<(i64, u64)>, LedgerError> {
        let today = self.now().div_euclid(DAY) * DAY;
        self.ledger().timeline(today - i64::from(days.saturating_sub(1)) * DAY, DAY).await
    }

    /// Approves a client: a pending one may sign in, and an active one is no longer evicted. A [change](crate::clients::HeldChange) of
    /// its metadata document that waits for an operator is then in force; name the one that was looked at with [`ClientRef::Held`], since
    /// its publisher can take it back and make another one meanwhile.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// use tower_dcr::clients::{AdminError, MemoryLedger, Registrar};
    ///
    /// let error = Registrar::new(MemoryLedger::default()).approve("unknown", "alice", "known to us").await.unwrap_err();
    /// assert!(matches!(error, AdminError::UnknownClient));
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`AdminError::UnknownClient`] or [`AdminError::Ambiguous`] if `client` names no client, or several;
    /// [`AdminError::Ended`] if it has ended; [`AdminError::Superseded`] if another change waits than the one that
    /// [`ClientRef::Held`] names; and [`AdminError::Ledger`] if the ledger is unavailable.
    pub async fn approve<'a>(
        &self,
        client: impl Into<ClientRef<'a>>,
        operator: &str,
        reason: &str,
    ) -> Result<Client, AdminError> {
        let settings = self.settings();
        let approve = |now: i64, client: &mut Client| {
            self.apply_held_change(client);
            if client.status == Status::Pending {
                client.admit(settings.lifetimes.never_used_end(now));
            }
        };
        self.act(client.into(), LifecycleAction::Approved, operator, reason, approve).await
    }

    /// Extends the lifetime of a client to at least `time` from now, and at most to the expiry of its secret.
    ///
    /// # Errors
    ///
    /// Returns [`AdminError::UnknownClient`] or [`AdminError::Ambiguous`] if `client` names no client, or several;
    /// [`AdminError::Ended`] if it has ended; [`AdminError::Superseded`] as for [`approve`](Self::approve); and
    /// [`AdminError::Ledger`] if the ledger is unavailable.
    pub async fn extend<'a>(
        &self,
        client: impl Into<ClientRef<'a>>,
        time: Duration,
        operator: &str,
        reason: &str,
    ) -> Result<Client, AdminError> {
        let extend = |now: i64, client: &mut Client| {
            let end = client.at_most(now.saturating_add(milliseconds(time)));
            client.live_until(client.expires_at.map(|at| at.max(end)));
        };
        self.act(client.into(), LifecycleAction::Extended, operator, reason, extend).await
    }

    async fn act(
        &self,
        client: ClientRef<'_>,
        action: LifecycleAction,
        operator: &str,
        reason: &str,
        change: impl Fn(i64, &mut Client),
    ) -> Result<Client, AdminError> {
        let held = if let ClientRef::Held(_, digest) = client { Some(digest) } else { None };
        let client = match client {
            ClientRef::Record(key) | ClientRef::Held(key, _) => {
                self.record(key).await?.ok_or(AdminError::UnknownClient)?
            }
            ClientRef::Id(id) => the_one(self.records(id).await?)?,
        };
        let (now, before) = (self.now(), client.registration.clone());
        let is_alive = |client: &Client| matches!(self.status_of(client), Status::Pending | Status::Active);
        // In the step that writes: of what another node makes of the document at the same time, nothing is approved unseen.
        let is_seen = |client: &Client| {
            held.is_none_or(|held| client.held_change().map_or("", |change| change.digest.as_str()) == held)
        };
        let review = |client: &mut Client| {
            (client.reviewed_at, client.reviewed_by) = (Some(now), Some(operator.to_owned()));
            change(now, client);
        };
        let changed = self.update(client, |client| is_alive(client) && is_seen(client), review).await?;
        let changed = changed.map_err(|now| if is_alive(&now) { AdminError::Superseded } else { AdminError::Ended })?;
        self.begin_epoch();
        // An approval can put a changed document in force.
        let event = self.event_of(action, &changed).changing(&before, &changed.registration);
        self.emit(&event.by(&Actor::Operator(operator.to_owned())).because(reason));
        Ok(changed)
    }
}

impl<'a> From<&'a str> for ClientRef<'a> {
    fn from(client_id: &'a str) -> Self {
        Self::Id(client_id)
    }
}

impl<'a> From<&'a String> for ClientRef<'a> {
    fn from(client_id: &'a String) -> Self {
        Self::Id(client_id)
    }
}

impl From<ClientKey> for ClientRef<'_> {
    fn from(key: ClientKey) -> Self {
        Self::Record(key)
    }
}
