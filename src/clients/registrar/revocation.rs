//! Revocation of clients.

use std::fmt;

use super::Registrar;
use crate::audit::LifecycleAction;
use crate::clients::ledger::{Actor, Block, Client, ClientKey, Filter, Fingerprint, LedgerError, Origin, Status};
use crate::documents::client_id_url::ClientIdUrl;

/// A revocation: the clients to end, the actor and the reason.
///
/// A revocation also blocks: the same metadata can't be registered again, deduplicated, renewed or updated to, under any
/// `client_id`. Clients register again as soon as they are rejected, so ending a `client_id` alone has no effect. A revocation
/// by `client_id` blocks equal metadata, which for a public application means every installation of it;
/// [`blocks = false`](Self::blocks) is for a client whose tokens were stolen and that may start anew.
///
/// The client of a metadata document is its URL: the block is on the URL, before the document is fetched, whatever it says by
/// then. The same document under another URL is another client; [`DocumentHost`](Fingerprint::DocumentHost) and
/// [`DocumentSite`](Fingerprint::DocumentSite) are for a publisher. A URL can be revoked before it was ever used. One URL
/// is that of every installation and every person: to end one of them, end its tokens at the server. Once nothing blocks it
/// any more, the next sign-in lets the client begin anew.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use tower_dcr::clients::{Actor, Fingerprint, MemoryLedger, Registrar, Revocation};
///
/// let registrar = Registrar::new(MemoryLedger::default());
/// let alice = Actor::Operator("alice".into());
/// registrar.revoke(Revocation::new(Fingerprint::name("Claude Coode"), alice, "imitates a known name")).await?;
/// assert_eq!(registrar.blocks(None, 10).await?[0].fingerprint.to_string(), "name:claude coode");
/// # Ok::<_, tower_dcr::clients::AdminError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
#[must_use]
#[non_exhaustive]
pub struct Revocation {
    /// The property of the clients to end.
    pub target: Fingerprint,
    /// The key of the only record to end, if the server gives one `client_id` to several registrations (default: none).
    /// With a target that is not a `client_id`, it is an error.
    pub record: Option<ClientKey>,
    /// The actor, in the record and in events.
    pub actor: Actor,
    /// The reason, in the record and in events.
    pub reason: String,
    /// Blocks the registration (default: `true`).
    pub blocks: bool,
}

/// The result of a revocation.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use tower_dcr::clients::{Actor, Fingerprint, MemoryLedger, Registrar, Revocation};
///
/// let revocation = Revocation::new(Fingerprint::parse("source", "192.0.2.0/24")?, Actor::Operator("alice".into()), "a flood");
/// let revoked = Registrar::new(MemoryLedger::default()).revoke(revocation).await?;
/// assert_eq!(revoked.clients, 0);
/// assert_eq!(revoked.blocked.unwrap().to_string(), "source:192.0.2.0/24");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RevocationReport {
    /// The number of clients that were ended.
    pub clients: u64,
    /// The number of them whose deletion at the server failed; it is retried.
    pub not_deprovisioned: u64,
    /// The blocked fingerprint; `None` if nothing was blocked.
    pub blocked: Option<Fingerprint>,
}

/// The reason for which an action on clients failed.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use tower_dcr::clients::{Actor, AdminError, MemoryLedger, Registrar, Revocation};
///
/// let unknown = Revocation::client("unknown", Actor::Operator("alice".into()), "gone");
/// let error = Registrar::new(MemoryLedger::default()).revoke(unknown).await.unwrap_err();
/// assert!(matches!(error, AdminError::UnknownClient));
/// # });
/// ```
#[non_exhaustive]
pub enum AdminError {
    /// Several live records have this `client_id`: select one of them, or a fingerprint that they share.
    Ambiguous,
    /// The client has ended: its application has to register again.
    Ended,
    /// The ledger is unavailable.
    Ledger(LedgerError),
    /// The owner of an initial access token may only end what that token admitted, one client at a time.
    NotAdmitted,
    /// The fingerprint is empty: it would match every client without a name, for example.
    EmptyFingerprint,
    /// A record can only be selected among those of one `client_id`.
    RecordOfSeveral,
    /// Another change of the metadata document waits by now than the one that was looked at, or none.
    Superseded,
    /// The ledger has no such client.
    UnknownClient,
}

const BATCH: u32 = 100;

/// The number of attempts to remove records that others change at the same time.
const MAX_ROUNDS: u32 = 64;

impl Revocation {
    /// Creates the revocation of every live client that has the fingerprint `target`, which is also blocked. Blocking a name
    /// also rejects names that people could mistake for it; live clients with such a name are not ended.
    pub fn new(target: Fingerprint, actor: Actor, reason: impl Into<String>) -> Self {
        Self { target, record: None, actor, reason: reason.into(), blocks: true }
    }

    /// Creates the revocation of one client, whose registration is also blocked.
    pub fn client(client_id: impl Into<String>, actor: Actor, reason: impl Into<String>) -> Self {
        Self::new(Fingerprint::ClientId(client_id.into()), actor, reason)
    }
}

impl Registrar {
    /// Revokes clients. Afterwards none of them gets a token through a gate that reads the ledger, and nothing blocked is
    /// registered; gates with cached records follow within
    /// [their limit](crate::layers::GateSettings::max_age).
    ///
    /// # Errors
    ///
    /// Returns [`AdminError::UnknownClient`] or [`AdminError::Ambiguous`] for a `client_id` that names no client, or several (not for
    /// the unknown URL of a [metadata document](crate::documents::ClientIdUrl): it is blocked);
    /// [`AdminError::EmptyFingerprint`], [`AdminError::RecordOfSeveral`] or [`AdminError::NotAdmitted`] for a revocation that is
    /// not allowed; and [`AdminError::Ledger`] if the ledger is unavailable: some clients may then have ended, and the call can
    /// be repeated.
    pub async fn revoke(&self, revocation: Revocation) -> Result<RevocationReport, AdminError> {
        let Revocation { target, record, actor, reason, blocks } = revocation;
        if target.value().is_empty() {
            return Err(AdminError::EmptyFingerprint);
        }
        let Fingerprint::ClientId(id) = &target else {
            if record.is_some() {
                return Err(AdminError::RecordOfSeveral);
            }
            if matches!(actor, Actor::TokenOwner(_)) {
                return Err(AdminError::NotAdmitted);
            }
            if blocks {
                self.block(target.clone(), actor.clone(), &reason).await?;
            }
            let revoked = self.end_all(&target, &actor, &reason).await?;
            return Ok(RevocationReport { blocked: blocks.then_some(target), ..revoked });
        };
        let mut all = self.records(id).await?;
        if let Some(key) = record {
            all.retain(|client| client.key == key);
        }
        if let Actor::TokenOwner(owner) = &actor {
            // Of several records, those that it admitted.
            let is_own = |client: &Client| client.admitted_by.as_ref() == Some(owner);
            if all.iter().any(is_own) {
                all.retain(is_own);
            }
        }
        let is_by_operator = !matches!(actor, Actor::TokenOwner(_));
        if blocks && is_by_operator && is_url_of_document(id, &all) && (record.is_none() || !all.is_empty()) {
            return Ok(self.revoke_document(target, &actor, &reason).await?);
        }
        let client = the_one(all)?;
        let mut revoked = RevocationReport::default();
        if let Actor::TokenOwner(owner) = &actor {
            if client.admitted_by.as_ref() != Some(owner) {
                return Err(AdminError::NotAdmitted);
            }
        } else if blocks && !client.fingerprints.digest.is_empty() {
            let digest = Fingerprint::Digest(client.fingerprints.digest.clone());
            self.block(digest.clone(), actor.clone(), &reason).await?;
            revoked.blocked = Some(digest);
        }
        self.end_one(client, &actor, &reason, &mut revoked).await?;
        Ok(revoked)
    }

    /// Blocks the URL of a document, and ends its record.
    async fn revoke_document(
        &self,
        url: Fingerprint,
        actor: &Actor,
        reason: &str,
    ) -> Result<RevocationReport, LedgerError> {
        self.block(url.clone(), actor.clone(), reason).await?;
        let mut revoked = RevocationReport::default();
        // Read after the block was written: a record that is made now finds the block.
        for client in self.records(url.value()).await? {
            self.end_one(client, actor, reason, &mut revoked).await?;
        }
        Ok(RevocationReport { blocked: Some(url), ..revoked })
    }

    /// Removes the records of `client_id`, or the one with that `key`, so that the server can give the id to another
    /// registration: for a server that lost its clients and reuses their ids. Returns the removed records. The server is not
    /// called, and blocks stay: a revoked registration stays rejected.
    ///
    /// The client is then unknown to gates, and unknown clients pass by default
    /// ([`GateSettings::unknown`](crate::layers::GateSettings::unknown)): a revoked client that the server still knows
    /// would be let in again.
    ///
    /// # Errors
    ///
    /// Returns [`AdminError::UnknownClient`] or [`AdminError::Ledger`].
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// use tower_dcr::clients::{Actor, AdminError, MemoryLedger, Registrar};
    ///
    /// let registrar = Registrar::new(MemoryLedger::default());
    /// let alice = Actor::Operator("alice".into());
    /// let error = registrar.forget("s6BhdRkqt3", None, &alice, "the server was set up anew").await.unwrap_err();
    /// assert!(matches!(error, AdminError::UnknownClient));
    /// # });
    /// ```
    pub async fn forget(
        &self,
        client_id: &str,
        key: Option<ClientKey>,
        actor: &Actor,
        reason: &str,
    ) -> Result<Vec<Client>, AdminError> {
        let mut forgotten = Vec::new();
        let is_named = |client: &Client| key.is_none_or(|key| client.key == key);
        // A record that was changed meanwhile is read again.
        for _ in 0..MAX_ROUNDS {
            let mut all = self.records(client_id).await?;
            all.retain(is_named);
            if all.is_empty() {
                break;
            }
            for client in all {
                if self.ledger().remove(&client).await? {
                    let event = self.event_of(LifecycleAction::Forgotten, &client);
                    self.emit(&event.about(format!("record:{}", client.key.0)).by(actor).because(reason));
                    forgotten.push(client);
                }
            }
        }
        self.begin_epoch();
        if forgotten.is_empty() { Err(AdminError::UnknownClient) } else { Ok(forgotten) }
    }

    /// Removes a block, so that the registration is accepted again. Ended clients stay ended, except that the client of a metadata
    /// document begins anew at its next sign-in. The event has the reason, unless it is empty. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the ledger is unavailable.
    pub async fn unblock(&self, fingerprint: &Fingerprint, actor: &Actor, reason: &str) -> Result<bool, LedgerError> {
        let removed = self.ledger().unblock(fingerprint).await?;
        if removed {
            self.forget_blocked_names();
            // Blocks of documents are cached.
            self.begin_epoch();
            let event = self.event(LifecycleAction::Unblocked).about(fingerprint.to_string()).by(actor);
            self.emit(&if reason.is_empty() { event } else { event.because(reason) });
        }
        Ok(removed)
    }

    async fn block(&self, fingerprint: Fingerprint, actor: Actor, reason: &str) -> Result<(), LedgerError> {
        let block = Block::new(fingerprint, self.now(), actor, reason);
        let is_new = self.ledger().block(&block).await?;
        // After the write, or a request in between would cache the names without it.
        self.forget_blocked_names();
        self.begin_epoch();
        if is_new {
            let event = self.event(LifecycleAction::Blocked).about(block.fingerprint.to_string());
            self.emit(&event.by(&block.actor).because(reason));
        }
        Ok(())
    }

    async fn end_all(&self, target: &Fingerprint, actor: &Actor, reason: &str) -> Result<RevocationReport, AdminError> {
        let live = Filter { fingerprint: Some(target.clone()), ..Filter::live() };
        let mut revoked = RevocationReport::default();
        loop {
            let batch = self.ledger().page(&live, None, BATCH).await?;
            if batch.is_empty() {
                return Ok(revoked);
            }
            for client in batch {
                self.end_one(client, actor, reason, &mut revoked).await?;
            }
        }
    }

    pub(super) async fn end_one(
        &self,
        client: Client,
        actor: &Actor,
        reason: &str,
        revoked: &mut RevocationReport,
    ) -> Result<(), LedgerError> {
        // An expired client can be revoked, too: its record then says so.
        let is_due = |client: &Client| client.status != Status::Revoked;
        let end = |client: &mut Client| self.end(client, Status::Revoked, actor.clone(), reason);
        let Ok(ended) = self.update(client, is_due, end).await? else { return Ok(()) };
        self.begin_epoch();
        revoked.clients += 1;
        self.emit(&self.event_of(LifecycleAction::Revoked, &ended).by(actor).because(reason));
        if ended.deprovisioning.due_at.is_some() && !self.deprovision(ended).await? {
            revoked.not_deprovisioned += 1;
        }
        Ok(())
    }
}

/// Returns whether a `client_id` is the URL of a document: known as such; or only seen in use or not known at all, and of a form that a
/// document can have under some settings. A block on another URL would have no effect, and look like one.
fn is_url_of_document(client_id: &str, records: &[Client]) -> bool {
    let is = |origin| move |client: &Client| client.origin == origin;
    !records.iter().any(is(Origin::Registered))
        && (records.iter().any(is(Origin::Document)) || ClientIdUrl::of_record(client_id).is_ok())
}

/// Returns the only live one of the records of a `client_id`, or else the first.
pub(crate) fn the_one(records: Vec<Client>) -> Result<Client, AdminError> {
    if records.iter().filter(|client| client.status.is_live()).count() > 1 {
        return Err(AdminError::Ambiguous);
    }
    // Live ones come first.
    records.into_iter().next().ok_or(AdminError::UnknownClient)
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
            Self::NotAdmitted => f.write_str("client not admitted by this owner of an initial access token"),
            Self::EmptyFingerprint => f.write_str("empty fingerprint"),
            Self::RecordOfSeveral => f.write_str("a record can be selected for a client_id only"),
            Self::Superseded => f.write_str("the document has changed again: look at the version that waits now"),
            Self::UnknownClient => f.write_str("unknown client"),
        }
    }
}

impl std::error::Error for AdminError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Ledger(error) => Some(error),
            _ => None,
        }
    }
}
