//! [`Filter`] and [`Work`]: selections of records.

use super::{Client, Fingerprint, Origin, Status};

/// A filter over records. Each member that is set narrows it. Times are milliseconds since 1970-01-01 00:00 UTC.
///
/// ```
/// use tower_dcr::clients::{Client, Filter, Fingerprints, Status};
///
/// let unused = Filter { statuses: Status::LIVE.to_vec(), never_used: true, ..Filter::default() };
/// let mut client = Client::draft("{}", Fingerprints::default(), 0);
/// assert!(unused.matches(&client));
/// client.last_used_at = Some(1000);
/// assert!(!unused.matches(&client));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "written with `..Filter::default()`")]
#[expect(clippy::struct_excessive_bools, reason = "conditions that do not depend on each other")]
pub struct Filter {
    /// Matches these statuses; every status if empty.
    pub statuses: Vec<Status>,
    /// Matches records with this fingerprint.
    pub fingerprint: Option<Fingerprint>,
    /// Matches this origin.
    pub origin: Option<Origin>,
    /// Matches records that a token of this owner admitted.
    pub admitted_by: Option<String>,
    /// Matches clients that never got a token.
    pub never_used: bool,
    /// Matches clients that got a token.
    pub used: bool,
    /// Matches clients that an operator approved or extended, or that an initial access token or a software statement admitted.
    /// A verified identity is not enough: any client can register a vendor's callback.
    pub endorsed: bool,
    /// Matches clients that no operator approved or extended.
    pub never_reviewed: bool,
    /// Matches clients that were last used, or registered, before this time.
    pub idle_since: Option<i64>,
    /// Matches clients that expire before this time.
    pub expires_before: Option<i64>,
    /// Matches clients that are [stale](Client::is_stale) at this time.
    pub stale_at: Option<i64>,
    /// Matches ended clients whose deletion at the server failed.
    pub failing_deprovisioning: bool,
    /// Matches clients whose metadata document has a [change](super::HeldChange) that waits for an operator.
    pub held_change: bool,
}

impl Filter {
    /// Matches records of these statuses.
    pub(crate) fn of_status(statuses: impl IntoIterator<Item = Status>) -> Self {
        Self { statuses: statuses.into_iter().collect(), ..Self::default() }
    }

    /// Matches live records.
    pub(crate) fn live() -> Self {
        Self::of_status(Status::LIVE)
    }

    /// Matches the records of one `client_id`.
    pub(super) fn of_client(client_id: &str) -> Self {
        Self { fingerprint: Some(Fingerprint::ClientId(client_id.to_owned())), ..Self::default() }
    }

    /// Returns whether `client` matches.
    #[must_use]
    pub fn matches(&self, client: &Client) -> bool {
        (self.statuses.is_empty() || self.statuses.contains(&client.status))
            && self.fingerprint.as_ref().is_none_or(|wanted| wanted.is_of(client))
            && self.origin.is_none_or(|origin| client.origin == origin)
            && (self.admitted_by.is_none() || client.admitted_by == self.admitted_by)
            && !(self.never_used && client.last_used_at.is_some())
            && !(self.used && client.last_used_at.is_none())
            && (!self.endorsed || client.is_endorsed())
            && !(self.never_reviewed && client.reviewed_at.is_some())
            && self.idle_since.is_none_or(|time| client.alive_since() < time)
            && self.expires_before.is_none_or(|time| client.expires_at.is_some_and(|at| at < time))
            && self.stale_at.is_none_or(|time| client.is_stale(time))
            && !(self.held_change && client.held_change().is_none())
            && !(self.failing_deprovisioning
                && (client.deprovisioning.due_at.is_none() || client.deprovisioning.error.is_none()))
    }
}

/// Maintenance that is due by a given time.
///
/// ```
/// use tower_dcr::clients::{Client, Fingerprints, Work};
///
/// let client = Client::draft("{}", Fingerprints::default(), 1000);
/// assert_eq!(Work::Reconcile(61_000).due_since(&client), Some(1000));
/// assert_eq!(Work::Reconcile(999).due_since(&client), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a ledger handles every one of them")]
pub enum Work {
    /// Expires live clients whose lifetime ended by then.
    Expire(i64),
    /// Ends registrations that began by then, and that the server has not answered.
    Reconcile(i64),
    /// Deletes ended clients at the server that are due by then.
    Deprovision(i64),
    /// Empties or removes records that ended by then, and that need no deletion at the server.
    Purge(i64),
    /// Shortens the [source address](super::Source) of records that were made by then.
    ShortenSource(i64),
}

impl Work {
    /// Returns the time since which the work is due on `client`; `None` if it is not due.
    #[must_use]
    pub fn due_since(self, client: &Client) -> Option<i64> {
        let (since, time) = match self {
            Self::Expire(time) => (client.expires_at.filter(|_| client.status.is_live()), time),
            Self::Reconcile(time) => (Some(client.created_at).filter(|_| client.status == Status::Registering), time),
            Self::Deprovision(time) => (client.deprovisioning.due_at, time),
            Self::Purge(time) => (client.ended_at.filter(|_| client.is_to_be_purged()), time),
            Self::ShortenSource(time) => (Some(client.created_at).filter(|_| client.has_address()), time),
        };
        since.filter(|since| *since <= time)
    }
}

impl Client {
    const fn is_endorsed(&self) -> bool {
        self.reviewed_at.is_some() || self.admitted_by.is_some() || self.statement_issuer.is_some()
    }

    /// Ended, deleted at the server, and not empty yet.
    fn is_to_be_purged(&self) -> bool {
        !self.status.is_live() && self.deprovisioning.due_at.is_none() && !self.registration.is_empty()
    }

    fn has_address(&self) -> bool {
        self.fingerprints.source.as_ref().is_some_and(|source| source.narrow != source.wide)
    }
}
