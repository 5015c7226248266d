//! What comes due with time.

use std::time::Duration;

use futures_timer::Delay;

use super::{REGISTRATION_TIMEOUT, Registrar, milliseconds};
use crate::event::Action;
use crate::ledger::{Actor, Client, ClientKey, Deprovisioning, Fingerprints, LedgerError, Replacement, Status, Work};
use crate::telemetry;
use crate::text;

/// What one round of maintenance did.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use tower_dcr::ledger::MemoryLedger;
/// use tower_dcr::registrar::{Maintained, Registrar};
///
/// assert_eq!(Registrar::new(MemoryLedger::default()).maintain_once().await?, Maintained::default());
/// # Ok::<_, tower_dcr::ledger::LedgerError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Maintained {
    /// Clients whose lifetime had ended.
    pub expired: u64,
    /// Clients whose lifetime had ended, and that the server says are in use.
    pub kept: u64,
    /// Registrations of which nobody knows whether the server made them.
    pub abandoned: u64,
    /// Clients of which the server was told that they are no more.
    pub deprovisioned: u64,
    /// Clients of which it could not be told.
    pub deprovisioning_failed: u64,
    /// Old records that were emptied or removed.
    pub purged: u64,
}

const BATCH: u32 = 100;

/// While a node tells the server, the others leave the client alone for this long.
const DEPROVISION_LEASE: Duration = Duration::from_secs(300);
/// The pause after the first failure; it doubles with each.
const RETRY: Duration = Duration::from_secs(30);
const LONGEST_RETRY: Duration = Duration::from_secs(6 * 3600);

impl Registrar {
    /// Does what is due, once: expires clients, settles registrations that were never answered, tells the server what it
    /// could not be told before, and purges. For a timer outside, such as cron; [`maintain`](Self::maintain) is one
    /// inside. It may run on any number of nodes at once.
    ///
    /// # Errors
    ///
    /// If the ledger can't be used, or [`StillInUse`](super::StillInUse) does not know; what was done until then stays
    /// done.
    pub async fn maintain_once(&self) -> Result<Maintained, LedgerError> {
        let mut done = Maintained::default();
        self.expire_due(&mut done).await?;
        self.reconcile(&mut done).await?;
        self.deprovision_due(&mut done).await?;
        self.purge(&mut done).await?;
        self.ledger().purge_pushed(self.now()).await?;
        if cfg!(feature = "metrics") {
            let counts = self.ledger().counts().await?;
            for status in Status::ALL {
                let count = counts.iter().find(|(counted, _)| *counted == status).map_or(0, |(_, count)| *count);
                telemetry::clients(status.as_str(), count);
            }
        }
        Ok(done)
    }

    /// Does what is due now and then every `pause`, forever: spawn it. Errors are logged, and it goes on.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # let _guard = runtime.enter();
    /// use std::time::Duration;
    /// use tower_dcr::ledger::MemoryLedger;
    /// use tower_dcr::registrar::Registrar;
    ///
    /// let registrar = Registrar::new(MemoryLedger::default());
    /// tokio::spawn(registrar.clone().maintain(Duration::from_secs(60)));
    /// ```
    pub async fn maintain(self, pause: Duration) {
        loop {
            match self.maintain_once().await {
                Ok(done) if done == Maintained::default() => {}
                Ok(done) => tracing::info!(target: "tower_dcr::lifecycle", ?done, "maintained the ledger of clients"),
                Err(error) => {
                    let error = text::causes(&error);
                    tracing::error!(target: "tower_dcr::lifecycle", %error, "the ledger of clients can't be maintained");
                }
            }
            Delay::new(pause).await;
        }
    }

    /// The next records that `work` is due on; nothing if there are none.
    async fn batch(&self, work: Work) -> Result<Option<Vec<Client>>, LedgerError> {
        let batch = self.ledger().due(work, BATCH).await?;
        Ok(Some(batch).filter(|batch| !batch.is_empty()))
    }

    async fn expire_due(&self, done: &mut Maintained) -> Result<(), LedgerError> {
        while let Some(batch) = self.batch(Work::Expire(self.now())).await? {
            for client in batch {
                match self.expire(client).await?.status {
                    Status::Expired => done.expired += 1,
                    _ => done.kept += 1,
                }
            }
        }
        Ok(())
    }

    async fn reconcile(&self, done: &mut Maintained) -> Result<(), LedgerError> {
        done.abandoned += self.settle_abandoned(usize::MAX).await?;
        let before = self.now().saturating_sub(milliseconds(REGISTRATION_TIMEOUT));
        while let Some(batch) = self.batch(Work::Reconcile(before)).await? {
            for client in batch {
                done.abandoned += u64::from(self.abandon_registration(client).await?);
            }
        }
        Ok(())
    }

    async fn deprovision_due(&self, done: &mut Maintained) -> Result<(), LedgerError> {
        // What fails is due later than this.
        let now = self.now();
        while let Some(batch) = self.batch(Work::Deprovision(now)).await? {
            for client in batch {
                match self.config.deprovision.as_ref().filter(|_| !self.is_shared(&client)) {
                    // There is nobody to tell, or others are meant by that id as well.
                    None => drop(
                        self.ledger().replace(&Client { deprovisioning: Deprovisioning::default(), ..client }).await?,
                    ),
                    Some(_) if self.deprovision(client).await? => done.deprovisioned += 1,
                    Some(_) => done.deprovisioning_failed += 1,
                }
            }
        }
        Ok(())
    }

    /// Tells the server, if this node is the one to do it. Says whether there is nothing left to do here.
    pub(super) async fn deprovision(&self, client: Client) -> Result<bool, LedgerError> {
        let (Some(server), Some(id)) = (&self.config.deprovision, client.client_id.clone()) else { return Ok(true) };
        if self.is_shared(&client) {
            return Ok(true);
        }
        let attempts = client.deprovisioning.attempts.saturating_add(1);
        let lease = self.now().saturating_add(milliseconds(DEPROVISION_LEASE));
        let claimed = Client {
            deprovisioning: Deprovisioning { due_at: Some(lease), attempts, ..client.deprovisioning.clone() },
            ..client
        };
        if self.ledger().replace(&claimed).await? != Replacement::Replaced {
            return Ok(true);
        }
        let claimed = Client { version: claimed.version + 1, ..claimed };
        let outcome = server.deprovision(&id).await;
        let next = match &outcome {
            Ok(()) => Deprovisioning { attempts, ..Deprovisioning::default() },
            Err(error) => {
                let pause = RETRY.saturating_mul(1 << (attempts - 1).min(16)).min(LONGEST_RETRY);
                let due_at = self.now().saturating_add(milliseconds(pause));
                Deprovisioning { due_at: Some(due_at), attempts, error: Some(text::causes(&**error)) }
            }
        };
        let event = match &next.error {
            None => self.event(Action::Deprovisioned),
            Some(error) => self.event(Action::DeprovisioningFailed).because(error),
        };
        self.update(claimed, |client| {
            (client.deprovisioning.attempts == attempts)
                .then(|| Client { deprovisioning: next.clone(), ..client.clone() })
        })
        .await?;
        self.emit(&event.of_client(Some(&id)).by(&Actor::System));
        Ok(outcome.is_ok())
    }

    /// The server was told, and has given a token to the client since: tell it once more.
    pub(crate) async fn deprovision_again(&self, key: ClientKey) {
        if self.config.deprovision.is_none() {
            return;
        }
        let again: Result<(), LedgerError> = async {
            let Some(client) = self.ledger().get(key).await? else { return Ok(()) };
            let due = |client: &Client| {
                (!client.status.is_live() && client.deprovisioning.due_at.is_none())
                    .then(|| Client { deprovisioning: Deprovisioning::due(self.now()), ..client.clone() })
            };
            match self.update(client, due).await?.changed() {
                Some(client) => self.deprovision(client).await.map(drop),
                None => Ok(()),
            }
        }
        .await;
        if let Err(error) = again {
            let error = text::causes(&error);
            tracing::error!(target: "tower_dcr::lifecycle", %error, "the server could not be told of a client's end");
        }
    }

    async fn purge(&self, done: &mut Maintained) -> Result<(), LedgerError> {
        let before = self.now().saturating_sub(milliseconds(self.settings().retention));
        while let Some(batch) = self.batch(Work::Purge(before)).await? {
            for client in batch {
                done.purged += u64::from(self.purge_one(&client).await?);
            }
        }
        Ok(())
    }

    /// Forgets what a client was. Where the server may still know it, its `client_id` stays, and that it has ended: the
    /// gate would take it for one that was registered elsewhere.
    async fn purge_one(&self, client: &Client) -> Result<bool, LedgerError> {
        let told = client.deprovisioning.attempts > 0 || client.ended_by == Some(Actor::Client);
        // The gate still finds the other records of an id that several have.
        if client.client_id.is_none() || told || !client.variant.is_empty() {
            return self.ledger().remove(client).await;
        }
        let emptied = Client {
            registration: String::new(),
            answer: None,
            fingerprints: Fingerprints::default(),
            admitted_by: None,
            rules: None,
            identity: None,
            ..client.clone()
        };
        Ok(self.ledger().replace(&emptied).await? == Replacement::Replaced)
    }
}
