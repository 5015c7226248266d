//! Maintenance of a ledger.

use std::time::Duration;

use futures_timer::Delay;

use super::{REGISTRATION_TIMEOUT, Registrar, milliseconds};
use crate::audit::LifecycleAction;
use crate::clients::ledger::{
    Actor, Client, ClientKey, Deprovisioning, Filter, Fingerprints, LedgerError, Origin, Replacement, Status, Work,
};
use crate::telemetry;
use crate::text;

/// The result of one round of maintenance.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use tower_dcr::clients::{MaintenanceReport, MemoryLedger, Registrar};
///
/// assert_eq!(Registrar::new(MemoryLedger::default()).maintain_once().await?, MaintenanceReport::default());
/// # Ok::<_, tower_dcr::clients::LedgerError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MaintenanceReport {
    /// The number of clients that expired.
    pub expired: u64,
    /// The number of clients past their lifetime that the server reports as in use.
    pub kept: u64,
    /// The number of clients that passed their limit, and live on since it is
    /// [only reported](crate::clients::LifecycleSettings::report_only_expiry).
    pub reported: u64,
    /// The number of registrations whose answer was not seen.
    pub abandoned: u64,
    /// The number of clients that were deleted at the server.
    pub deprovisioned: u64,
    /// The number of clients whose deletion at the server failed.
    pub deprovisioning_failed: u64,
    /// The number of old records that were emptied or removed.
    pub purged: u64,
    /// The number of records whose address was shortened to its network.
    pub shortened: u64,
}

const BATCH: u32 = 100;

/// The retention of the digest and the time of a failed registration.
const SPENT_RETENTION: Duration = Duration::from_secs(3600);

/// The largest number of spent records.
const MAX_SPENT: u64 = 10_000;

/// The time for which one node has the deletion of a client at the server to itself.
const DEPROVISION_LEASE: Duration = Duration::from_secs(300);
/// The pause after the first failure; it doubles with each.
const RETRY: Duration = Duration::from_secs(30);
const LONGEST_RETRY: Duration = Duration::from_secs(6 * 3600);

impl Registrar {
    /// Runs maintenance once: expires clients, ends registrations that were never answered, retries deletions at the server,
    /// and purges records. For an external timer, such as cron; [`maintain`](Self::maintain) runs it repeatedly. Any number of
    /// nodes may run it at once.
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the ledger is unavailable or the server [can't be asked](Self::with_still_in_use); completed
    /// work stays done.
    pub async fn maintain_once(&self) -> Result<MaintenanceReport, LedgerError> {
        let settings = self.settings();
        let mut done = MaintenanceReport::default();
        let kinds: [fn(i64) -> Work; 5] =
            [Work::Expire, Work::Reconcile, Work::Deprovision, Work::Purge, Work::ShortenSource];
        let (now, retention, of_addresses) = (Duration::ZERO, settings.retention, settings.address_retention);
        for (kind, age) in kinds.into_iter().zip([now, REGISTRATION_TIMEOUT, now, retention, of_addresses]) {
            let before = || self.now().saturating_sub(milliseconds(age));
            // Failed deletions at the server are due later than this.
            let begun = before();
            if settings.report_only_expiry && matches!(kind(begun), Work::Expire(_)) {
                self.report_limits(begun, &mut done).await?;
                continue;
            }
            loop {
                // A clock that was set back meanwhile would leave clients in the batch that have not expired.
                let work = kind(before().min(begun));
                let batch = self.ledger().due(work, BATCH).await?;
                if batch.is_empty() {
                    break;
                }
                for client in batch {
                    self.maintain_one(work, client, &mut done).await?;
                }
            }
        }
        done.abandoned += self.end_abandoned(usize::MAX).await?;
        loop {
            match self.trim_spent().await? {
                0 => break,
                trimmed => done.purged += trimmed,
            }
        }
        self.ledger().purge_pushed(self.now()).await?;
        let counts = self.ledger().counts().await?;
        for status in Status::ALL {
            let count = counts.iter().find(|(counted, _)| *counted == status).map_or(0, |(_, count)| *count);
            telemetry::clients(&status, count);
        }
        Ok(done)
    }

    /// Runs maintenance now and after every `pause`, forever: spawn it. Logs errors and continues.
    pub async fn maintain(self, pause: Duration) {
        loop {
            match self.maintain_once().await {
                Ok(done) if done == MaintenanceReport::default() => {}
                Ok(done) => tracing::info!(target: "tower_dcr::lifecycle", ?done, "ledger maintained"),
                Err(error) => {
                    let error = text::causes(&error);
                    tracing::error!(target: "tower_dcr::lifecycle", %error, "maintenance of the ledger failed; it is retried after the pause");
                }
            }
            Delay::new(pause).await;
        }
    }

    /// Expires clients, except those whose limit is only reported. These stay due, so they are read page by page.
    async fn report_limits(&self, before: i64, done: &mut MaintenanceReport) -> Result<(), LedgerError> {
        let lapsed = Filter {
            expires_before: Some(before.saturating_add(1)),
            ..Filter::of_status([Status::Pending, Status::Active])
        };
        let mut cursor = None;
        loop {
            let page = self.ledger().page(&lapsed, cursor, BATCH).await?;
            cursor = page.last().map(|client| client.key);
            if cursor.is_none() {
                return Ok(());
            }
            for client in page {
                if self.has_lapsed(&client) {
                    self.maintain_one(Work::Expire(before), client, done).await?;
                } else {
                    done.reported += u64::from(self.report_limit(client).await?);
                }
            }
        }
    }

    /// Does the work that is due on `client`.
    async fn maintain_one(
        &self,
        work: Work,
        mut client: Client,
        done: &mut MaintenanceReport,
    ) -> Result<(), LedgerError> {
        match work {
            Work::Expire(_) => match self.expire(client).await?.status {
                Status::Expired => done.expired += 1,
                _ => done.kept += 1,
            },
            Work::Reconcile(_) => done.abandoned += u64::from(self.abandon_registration(client).await?),
            // There is nothing to call, or others have that id as well.
            Work::Deprovision(_) if self.config.deprovision.is_none() || self.is_shared(&client) => {
                client.deprovisioning = Deprovisioning::default();
                self.ledger().replace(&client).await?;
            }
            Work::Deprovision(_) => {
                let is_done = self.deprovision(client).await?;
                *(if is_done { &mut done.deprovisioned } else { &mut done.deprovisioning_failed }) += 1;
            }
            Work::Purge(_) => done.purged += u64::from(self.purge(client).await?),
            Work::ShortenSource(_) => {
                if let Some(source) = &mut client.fingerprints.source {
                    source.narrow.clone_from(&source.wide);
                }
                done.shortened += u64::from(self.ledger().replace(&client).await? == Replacement::Replaced);
            }
        }
        Ok(())
    }

    /// Deletes the client at the server, unless another node does. Returns whether nothing is left to do here.
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
        let outcome = server(id).await;
        let next = match &outcome {
            Ok(()) => Deprovisioning { attempts, ..Deprovisioning::default() },
            Err(error) => {
                let pause = RETRY.saturating_mul(1 << (attempts - 1).min(16)).min(LONGEST_RETRY);
                let due_at = self.now().saturating_add(milliseconds(pause));
                Deprovisioning { due_at: Some(due_at), attempts, error: Some(text::causes(&**error)) }
            }
        };
        let event = match &next.error {
            None => self.event_of(LifecycleAction::Deprovisioned, &claimed),
            Some(error) => self.event_of(LifecycleAction::DeprovisioningFailed, &claimed).because(error),
        };
        let is_claimed = |client: &Client| client.deprovisioning.attempts == attempts;
        _ = self.update(claimed, is_claimed, |client| client.deprovisioning.clone_from(&next)).await?;
        self.emit(&event.by(&Actor::System));
        Ok(outcome.is_ok())
    }

    /// Deletes a client again that got a token from the server after its deletion.
    pub(crate) async fn deprovision_again(&self, key: ClientKey) {
        if self.config.deprovision.is_none() {
            return;
        }
        let again: Result<(), LedgerError> = async {
            let Some(client) = self.ledger().get(key).await? else { return Ok(()) };
            let is_done = |client: &Client| !client.status.is_live() && client.deprovisioning.due_at.is_none();
            let repeat = |client: &mut Client| client.deprovisioning = Deprovisioning::due(self.now());
            match self.update(client, is_done, repeat).await? {
                Ok(client) => self.deprovision(client).await.map(drop),
                Err(_) => Ok(()),
            }
        }
        .await;
        if let Err(error) = again {
            let error = text::causes(&error);
            tracing::error!(target: "tower_dcr::lifecycle", %error, "deletion of a client at the server failed; it is retried");
        }
    }

    /// Removes records of failed registrations, and of clients that were evicted and deleted at the server.
    pub(super) async fn trim_spent(&self) -> Result<u64, LedgerError> {
        let before = self.now().saturating_sub(milliseconds(SPENT_RETENTION));
        self.ledger().trim_spent(before, MAX_SPENT).await
    }

    /// Removes the record, or empties it if the server may still know the client: without its `client_id` and its end, the
    /// gate would take it for one that was registered elsewhere.
    async fn purge(&self, client: Client) -> Result<bool, LedgerError> {
        let told = client.deprovisioning.attempts > 0 || client.ended_by == Some(Actor::Client);
        // A document that no operator revoked can be used again, whether or not it is remembered.
        let is_of_document = client.origin == Origin::Document && client.status != Status::Revoked;
        // The gate finds the other records of a shared id.
        if client.client_id.is_none() || told || is_of_document || !client.variant.is_empty() {
            return self.ledger().remove(&client).await;
        }
        let mut emptied = Client { fingerprints: Fingerprints::default(), ..client };
        let policy = emptied.policy.take();
        emptied.empty();
        emptied.policy = policy;
        Ok(self.ledger().replace(&emptied).await? == Replacement::Replaced)
    }
}
