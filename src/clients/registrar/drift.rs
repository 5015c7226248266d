//! Re-evaluates stored registrations under the current rules.

use super::Registrar;
use crate::clients::ledger::{Client, ClientKey, Filter, LedgerError, Origin, Status};
use crate::registration::{Limits, Registration};
use crate::rules::{Context, Decision, Finding, Policy};

/// The counts of a re-evaluation of stored registrations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DriftReport {
    /// The number of registrations that were evaluated.
    pub checked: u64,
    /// The number that would be accepted unchanged.
    pub passing: u64,
    /// The number that would be changed.
    pub rewritten: u64,
    /// The number that would be rejected.
    pub rejected: u64,
    /// The number of records without a readable registration.
    pub unreadable: u64,
}

/// The outcome for one stored registration, with the progress of the re-evaluation.
#[derive(Debug)]
#[non_exhaustive]
pub struct DriftProgress<'a> {
    /// The counts so far, including this one.
    pub so_far: DriftReport,
    /// The number of registrations when the re-evaluation began.
    pub total: u64,
    /// The record.
    pub client: &'a Client,
    /// The outcome.
    pub outcome: DriftOutcome,
}

/// The outcome of the current rules for a stored registration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DriftOutcome {
    /// The registration would be accepted unchanged.
    Passes,
    /// The registration would be changed, by these findings.
    Rewritten(Vec<Finding>),
    /// The registration would be rejected.
    Rejected {
        /// The rule that would reject it.
        rule: &'static str,
        /// The reason, for people.
        description: String,
    },
    /// The record has no readable registration.
    Unreadable,
}

const BATCH: u32 = 200;

impl Registrar {
    /// Evaluates `policy` on the registration of every live client, from the newest to the oldest: before a change of rules.
    /// Changes nothing; calls `on` with each client. Clients that were registered elsewhere have no registration, and are
    /// left out.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// use tower_dcr::clients::{DriftOutcome, DriftProgress, MemoryLedger, Registrar};
    /// use tower_dcr::rules::{MetadataAllowlist, Policy, RedirectUris};
    ///
    /// let registrar = Registrar::new(MemoryLedger::default());
    /// let today = Policy::new((MetadataAllowlist::mcp(), RedirectUris::strict()));
    /// let drift = registrar
    ///     .drift(&today, |checked: &DriftProgress<'_>| {
    ///         eprint!("\r{} of {}", checked.so_far.checked, checked.total);
    ///         if let DriftOutcome::Rejected { description, .. } = &checked.outcome {
    ///             println!("{:?}: {description}", checked.client.client_id);
    ///         }
    ///     })
    ///     .await?;
    /// assert_eq!(drift.rejected, 0);
    /// # Ok::<_, tower_dcr::clients::LedgerError>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the ledger is unavailable.
    pub async fn drift(
        &self,
        policy: &Policy,
        mut on: impl FnMut(&DriftProgress<'_>) + Send,
    ) -> Result<DriftReport, LedgerError> {
        let counts = self.ledger().counts().await?;
        let of_interest = |status: &Status| matches!(status, Status::Pending | Status::Active);
        let total = counts.iter().filter(|(status, _)| of_interest(status)).map(|(_, clients)| clients).sum();
        let filter =
            Filter { origin: Some(Origin::Registered), ..Filter::of_status([Status::Pending, Status::Active]) };
        let mut drift = DriftReport::default();
        let mut before: Option<ClientKey> = None;
        loop {
            let page = self.ledger().page(&filter, before, BATCH).await?;
            let Some(last) = page.last() else { return Ok(drift) };
            before = Some(last.key);
            for client in &page {
                let outcome = evaluate(policy, client);
                drift.checked += 1;
                match &outcome {
                    DriftOutcome::Passes => drift.passing += 1,
                    DriftOutcome::Rewritten(_) => drift.rewritten += 1,
                    DriftOutcome::Rejected { .. } => drift.rejected += 1,
                    DriftOutcome::Unreadable => drift.unreadable += 1,
                }
                on(&DriftProgress { so_far: drift, total, client, outcome });
            }
        }
    }
}

fn evaluate(policy: &Policy, client: &Client) -> DriftOutcome {
    let Ok(registration) = Registration::parse_with(client.registration.as_bytes(), &Limits::GENEROUS) else {
        return DriftOutcome::Unreadable;
    };
    // A client that a token admitted is judged by the rules that the token named.
    let evaluation = policy.evaluate(registration, &Context::registration().by(client.caller()));
    match (evaluation.decision(), &evaluation.rejection) {
        (_, Some(rejection)) => DriftOutcome::Rejected { rule: rejection.rule, description: rejection.description() },
        (Decision::Rewrite, None) => DriftOutcome::Rewritten(evaluation.findings.clone()),
        _ => DriftOutcome::Passes,
    }
}
