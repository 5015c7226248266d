//! Ending clients for good.

use std::fmt;

use super::Registrar;
use crate::event::Action;
use crate::ledger::{Actor, Block, Client, ClientKey, Filter, Fingerprint, LedgerError, Status};

/// Which clients are to be ended, by whom and why.
///
/// Revoking is sticky: what was revoked can't be registered again, repeated, renewed or updated to, under any
/// `client_id`. Clients in the field register again the moment they are refused, so ending a `client_id` alone ends
/// nothing. By `client_id`, all that is registered with the very same metadata is blocked, which for a public
/// application means every installation of it; [`allowing_registration`](Self::allowing_registration) is for a client
/// whose tokens were stolen and that is to start anew.
///
/// ```
/// use tower_dcr::ledger::{Actor, Fingerprint};
/// use tower_dcr::registrar::Revocation;
///
/// let alice = Actor::Operator("alice".into());
/// let all_of_them = Revocation::new(Fingerprint::name("Claude Coode"), alice.clone(), "imitates a known name");
/// let only_this = Revocation::client("s6BhdRkqt3", alice, "token leaked").allowing_registration();
/// # let _ = (all_of_them, only_this);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Revocation {
    target: Fingerprint,
    record: Option<ClientKey>,
    actor: Actor,
    reason: String,
    sticky: bool,
}

/// What a revocation did.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use tower_dcr::ledger::{Actor, Fingerprint, MemoryLedger};
/// use tower_dcr::registrar::{Registrar, Revocation};
///
/// let revocation = Revocation::new(Fingerprint::source("192.0.2.0/24")?, Actor::Operator("alice".into()), "a flood");
/// let revoked = Registrar::new(MemoryLedger::default()).revoke(revocation).await?;
/// assert_eq!(revoked.clients, 0);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Revoked {
    /// How many clients were ended.
    pub clients: u64,
    /// Of how many the server could not be told yet; it will be tried again.
    pub not_deprovisioned: u64,
}

/// Why nothing was revoked, or not all of it.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use tower_dcr::ledger::{Actor, MemoryLedger};
/// use tower_dcr::registrar::{Registrar, Revocation, RevokeError};
///
/// let nobody = Revocation::client("nobody", Actor::Operator("alice".into()), "gone");
/// let error = Registrar::new(MemoryLedger::default()).revoke(nobody).await.unwrap_err();
/// assert!(matches!(error, RevokeError::UnknownClient));
/// # });
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum RevokeError {
    /// Several live records have this `client_id`: name one of them, or what they have in common.
    Ambiguous,
    /// The ledger can't be used.
    Ledger(LedgerError),
    /// The owner of an initial access token may only end what that token admitted, one client at a time.
    NotAdmitted,
    /// The fingerprint is empty: it would be everything that has no name, say.
    NothingNamed,
    /// There is no such client.
    UnknownClient,
}

/// The records that [`Registrar::forget`] removed.
///
/// ```
/// use tower_dcr::registrar::Forgotten;
///
/// assert_eq!(Forgotten::default().records, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Forgotten {
    /// Number of records that were removed.
    pub records: u64,
    /// Number of them that were of revoked clients.
    pub revoked: u64,
}

const BATCH: u32 = 100;

/// More than a record of so many can be changed by others while it is being removed.
const MAX_ROUNDS: u32 = 64;

impl Revocation {
    /// Ends every live client that `target` is a fingerprint of, and blocks it.
    pub fn new(target: Fingerprint, actor: Actor, reason: impl Into<String>) -> Self {
        Self { target, record: None, actor, reason: reason.into(), sticky: true }
    }

    /// Ends one client, and blocks what it registered.
    pub fn client(client_id: impl Into<String>, actor: Actor, reason: impl Into<String>) -> Self {
        Self::new(Fingerprint::ClientId(client_id.into()), actor, reason)
    }

    /// Ends one record of `client_id`, and blocks what it registered: for a server that gives one `client_id` to several
    /// registrations.
    pub fn record(client_id: impl Into<String>, key: ClientKey, actor: Actor, reason: impl Into<String>) -> Self {
        Self { record: Some(key), ..Self::client(client_id, actor, reason) }
    }

    /// Ends what is there, and lets the same be registered again.
    pub fn allowing_registration(mut self) -> Self {
        self.sticky = false;
        self
    }
}

impl Registrar {
    /// Ends clients. When it returns, none of them gets a token any more through a gate that asks the ledger, and none
    /// that is blocked is registered; gates that remember answers follow within
    /// [their limit](crate::GateLayer::with_cache).
    ///
    /// # Errors
    ///
    /// [`RevokeError`]; after an error of the ledger some clients may be ended already, and it can be repeated.
    pub async fn revoke(&self, revocation: Revocation) -> Result<Revoked, RevokeError> {
        let Revocation { target, record, actor, reason, sticky } = revocation;
        if target.value().is_empty() {
            return Err(RevokeError::NothingNamed);
        }
        let Fingerprint::ClientId(id) = &target else {
            if matches!(actor, Actor::TokenOwner(_)) {
                return Err(RevokeError::NotAdmitted);
            }
            if sticky {
                self.block(target.clone(), actor.clone(), &reason).await?;
            }
            return self.end_all(&target, &actor, &reason).await;
        };
        let mut all = self.look_up_all(id).await?;
        if let Some(key) = record {
            all.retain(|client| client.key == key);
        }
        if let Actor::TokenOwner(owner) = &actor {
            // Of several, those that it admitted are meant.
            let is_own = |client: &Client| client.admitted_by.as_ref() == Some(owner);
            if all.iter().any(is_own) {
                all.retain(is_own);
            }
        }
        if all.iter().filter(|client| client.status.is_live()).count() > 1 {
            return Err(RevokeError::Ambiguous);
        }
        // Live ones come first.
        let client = all.into_iter().next().ok_or(RevokeError::UnknownClient)?;
        if let Actor::TokenOwner(owner) = &actor {
            if client.admitted_by.as_ref() != Some(owner) {
                return Err(RevokeError::NotAdmitted);
            }
        } else if sticky && !client.fingerprints.digest.is_empty() {
            let digest = Fingerprint::Digest(client.fingerprints.digest.clone());
            self.block(digest, actor.clone(), &reason).await?;
        }
        let mut revoked = Revoked::default();
        self.end_one(client, &actor, &reason, &mut revoked).await?;
        Ok(revoked)
    }

    /// Removes the records of `client_id`, or the one with that `key`, so that the server can give the id to another
    /// registration. For a server that lost its clients and gives out their ids again. Nobody is told, and blocks stay: a
    /// registration that was revoked stays rejected.
    ///
    /// To a gate the client is then one that the ledger does not know, and such clients pass by default
    /// ([`GateLayer::refusing_unknown`](crate::GateLayer::refusing_unknown)): a revoked client that the server still knows
    /// would be let in again.
    ///
    /// # Errors
    ///
    /// [`RevokeError::UnknownClient`], [`RevokeError::Ledger`].
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// use tower_dcr::ledger::{Actor, MemoryLedger};
    /// use tower_dcr::registrar::{Registrar, RevokeError};
    ///
    /// let registrar = Registrar::new(MemoryLedger::default());
    /// let alice = Actor::Operator("alice".into());
    /// let error = registrar.forget("s6BhdRkqt3", None, &alice, "the server was set up anew").await.unwrap_err();
    /// assert!(matches!(error, RevokeError::UnknownClient));
    /// # });
    /// ```
    pub async fn forget(
        &self,
        client_id: &str,
        key: Option<ClientKey>,
        actor: &Actor,
        reason: &str,
    ) -> Result<Forgotten, RevokeError> {
        let mut forgotten = Forgotten::default();
        let is_named = |client: &Client| key.is_none_or(|key| client.key == key);
        // A record that somebody else has just changed is looked up once more.
        for _ in 0..MAX_ROUNDS {
            let mut all = self.look_up_all(client_id).await?;
            all.retain(is_named);
            if all.is_empty() {
                break;
            }
            for client in all {
                if self.ledger().remove(&client).await? {
                    forgotten.records += 1;
                    forgotten.revoked += u64::from(client.status == Status::Revoked);
                    let event = self.event(Action::Forgotten).of_client(Some(client_id));
                    self.emit(&event.about(format!("record:{}", client.key.0)).by(actor).because(reason));
                }
            }
        }
        self.begin_epoch();
        if forgotten.records == 0 { Err(RevokeError::UnknownClient) } else { Ok(forgotten) }
    }

    /// Lets be registered again what was blocked. What was ended stays ended.
    ///
    /// # Errors
    ///
    /// If the ledger can't be used.
    pub async fn unblock(&self, fingerprint: &Fingerprint, actor: &Actor) -> Result<bool, LedgerError> {
        let removed = self.ledger().unblock(fingerprint).await?;
        if removed {
            self.emit(&self.event(Action::Unblocked).about(fingerprint.to_string()).by(actor));
        }
        Ok(removed)
    }

    async fn block(&self, fingerprint: Fingerprint, actor: Actor, reason: &str) -> Result<(), LedgerError> {
        let block = Block::new(fingerprint, self.now(), actor, reason);
        if self.ledger().block(&block).await? {
            let event = self.event(Action::Blocked).about(block.fingerprint.to_string());
            self.emit(&event.by(&block.actor).because(reason));
        }
        Ok(())
    }

    async fn end_all(&self, target: &Fingerprint, actor: &Actor, reason: &str) -> Result<Revoked, RevokeError> {
        let live = Filter { fingerprint: Some(target.clone()), ..Filter::live() };
        let mut revoked = Revoked::default();
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
        revoked: &mut Revoked,
    ) -> Result<(), LedgerError> {
        let end = |client: &Client| {
            // What has expired can be revoked all the same: the record then says so.
            (client.status != Status::Revoked).then(|| self.ended(client, Status::Revoked, actor.clone(), reason))
        };
        let Some(ended) = self.update(client, end).await?.changed() else { return Ok(()) };
        self.begin_epoch();
        revoked.clients += 1;
        self.emit(&self.event(Action::Revoked).of_client(ended.client_id.as_deref()).by(actor).because(reason));
        if ended.deprovisioning.due_at.is_some() && !self.deprovision(ended).await? {
            revoked.not_deprovisioned += 1;
        }
        Ok(())
    }
}

impl From<LedgerError> for RevokeError {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl fmt::Display for RevokeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ambiguous => f.write_str("several registrations have this client_id: name one record of it"),
            Self::Ledger(error) => error.fmt(f),
            Self::NotAdmitted => f.write_str("the client was not admitted by this owner of an initial access token"),
            Self::NothingNamed => f.write_str("an empty fingerprint names nothing"),
            Self::UnknownClient => f.write_str("there is no such client in the ledger"),
        }
    }
}

impl std::error::Error for RevokeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Ledger(error) => Some(error),
            Self::Ambiguous | Self::NotAdmitted | Self::NothingNamed | Self::UnknownClient => None,
        }
    }
}
