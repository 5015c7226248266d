//! Which records are asked for.

use serde::Serialize;

use super::{Client, Fingerprint, Origin, Status};

/// Which records a page is made of; each member that is set narrows it. Times are milliseconds since
/// 1970-01-01 00:00 UTC.
///
/// ```
/// use tower_dcr::ledger::{Filter, Status};
///
/// let waiting = Filter::of_status([Status::Pending]);
/// let forgotten = Filter { never_proven: true, ..Filter::of_status([Status::Active]) };
/// # let _ = (waiting, forgotten);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "written with `..Filter::default()`")]
pub struct Filter {
    /// Of one of these statuses; of any, if empty.
    pub statuses: Vec<Status>,
    /// Having this fingerprint.
    pub fingerprint: Option<Fingerprint>,
    /// How they came.
    pub origin: Option<Origin>,
    /// Let in by this owner of an initial access token.
    pub admitted_by: Option<String>,
    /// Never got a token.
    pub never_proven: bool,
    /// Neither approved nor extended by anybody.
    pub never_reviewed: bool,
    /// Last used, or registered, before this.
    pub idle_since: Option<i64>,
    /// Expiring before this.
    pub expires_before: Option<i64>,
    /// The server could not be told that they are no more.
    pub failing_deprovisioning: bool,
}

impl Filter {
    /// Records of these statuses.
    #[must_use]
    pub fn of_status(statuses: impl IntoIterator<Item = Status>) -> Self {
        Self { statuses: statuses.into_iter().collect(), ..Self::default() }
    }

    /// Live records.
    #[must_use]
    pub fn live() -> Self {
        Self::of_status(Status::LIVE)
    }

    /// Whether `client` passes.
    #[must_use]
    pub fn matches(&self, client: &Client) -> bool {
        (self.statuses.is_empty() || self.statuses.contains(&client.status))
            && self.fingerprint.as_ref().is_none_or(|wanted| wanted.is_of(client))
            && self.origin.is_none_or(|origin| client.origin == origin)
            && (self.admitted_by.is_none() || client.admitted_by == self.admitted_by)
            && !(self.never_proven && client.proven_at.is_some())
            && !(self.never_reviewed && client.reviewed_at.is_some())
            && self.idle_since.is_none_or(|time| client.alive_since() < time)
            && self.expires_before.is_none_or(|time| client.expires_at.is_some_and(|at| at < time))
            && !(self.failing_deprovisioning
                && (client.deprovisioning.due_at.is_none() || client.deprovisioning.error.is_none()))
    }
}

/// Work that comes due with time, each with the time that it is measured by.
///
/// ```
/// use tower_dcr::ledger::{Client, Fingerprints, Work};
///
/// let client = Client::draft("{}", Fingerprints::default(), 1000);
/// assert_eq!(Work::Reconcile(61_000).due_since(&client), Some(1000));
/// assert_eq!(Work::Reconcile(999).due_since(&client), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Work {
    /// Live clients whose lifetime ended by then.
    Expire(i64),
    /// Registrations that the server has not answered and that began by then.
    Reconcile(i64),
    /// Ended clients of which the server is to be told by then.
    Deprovision(i64),
    /// What ended by then, and of which the server has nothing to be told.
    Purge(i64),
    /// Live clients that never got a token, that nobody approved, and that were registered by then.
    Evict(i64),
}

impl Work {
    /// Since when the work is due on `client`; `None` if it is not.
    #[must_use]
    pub fn due_since(self, client: &Client) -> Option<i64> {
        let (since, time) = match self {
            Self::Expire(time) => (client.expires_at.filter(|_| client.status.is_live()), time),
            Self::Reconcile(time) => (Some(client.created_at).filter(|_| client.status == Status::Registering), time),
            Self::Deprovision(time) => (client.deprovisioning.due_at, time),
            Self::Purge(time) => (client.ended_at.filter(|_| client.is_to_be_purged()), time),
            Self::Evict(time) => (Some(client.created_at).filter(|_| client.may_be_evicted()), time),
        };
        since.filter(|since| *since <= time)
    }
}

impl Client {
    /// Ended, the server knows, and there is still something in it that can go.
    fn is_to_be_purged(&self) -> bool {
        !self.status.is_live() && self.deprovisioning.due_at.is_none() && !self.registration.is_empty()
    }

    fn may_be_evicted(&self) -> bool {
        matches!(self.status, Status::Pending | Status::Active)
            && self.proven_at.is_none()
            && self.reviewed_at.is_none()
            && self.origin == Origin::Registered
    }
}

/// What clients can have in common that deserves a look.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use tower_dcr::ledger::{Grouping, Ledger, MemoryLedger};
///
/// assert!(MemoryLedger::default().groups(Grouping::Duplicates, 10).await?.is_empty());
/// # Ok::<_, tower_dcr::ledger::LedgerError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Grouping {
    /// The same registration, more than once.
    Duplicates,
    /// The same name and the same shape of redirect URIs, more than once.
    Families,
    /// One name that leads to different sets of redirect hosts.
    NamesAcrossHosts,
    /// One redirect host, not a loopback one, that clients of different names lead to.
    HostsAcrossNames,
}

/// Live clients with something in common.
///
/// ```
/// use tower_dcr::ledger::Group;
///
/// let group = Group::new("evil.example.com", Some("Claude".into()), 2, vec!["claude".into(), "cursor".into()]);
/// assert!(group.values.len() <= Group::MAX_VALUES);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Group {
    /// What they have in common: a digest, a family, a name, a host.
    pub key: String,
    /// A name that one of them gave itself.
    pub client_name: Option<String>,
    /// How many there are.
    pub clients: u64,
    /// In what they differ, up to eight: sets of redirect hosts, or names. Empty for duplicates and families.
    pub values: Vec<String>,
}

impl Group {
    /// How many [`values`](Self::values) are given.
    pub const MAX_VALUES: usize = 8;

    /// A group.
    #[must_use]
    pub fn new(key: impl Into<String>, client_name: Option<String>, clients: u64, values: Vec<String>) -> Self {
        Self { key: key.into(), client_name, clients, values }
    }
}
