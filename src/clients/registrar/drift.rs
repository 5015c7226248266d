//! Re-evaluates stored registrations under the current rules.

use super::Registrar;
use crate::clients::ledger::{Client, ClientKey, Filter, LedgerError, Origin, Status};
use crate::registration::{Limits, ParseError, Registration};
use crate::rules::{Context, Decision, Evaluation, Policy};

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

const BATCH: u32 = 200;

impl Registrar {
    /// Evaluates `policy` on the registration of every live client, from the newest to the oldest: before a change of rules.
    /// Changes nothing; calls `on` with each client and its evaluation, or the error of a record without a readable
    /// registration. Clients that were registered elsewhere have no registration, and are left out.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// use tower_dcr::clients::{MemoryLedger, Registrar};
    /// use tower_dcr::rules::{MetadataAllowlist, Policy, RedirectUris};
    ///
    /// let registrar = Registrar::new(MemoryLedger::default());
    /// let today = Policy::new((MetadataAllowlist::mcp(), RedirectUris::strict()));
    /// let drift = registrar
    ///     .drift(&today, |client, evaluated| {
    ///         if let Ok(Some(rejection)) = evaluated.map(|evaluation| &evaluation.rejection) {
    ///             println!("{:?}: {}", client.client_id, rejection.description());
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
        mut on: impl FnMut(&Client, Result<&Evaluation, &ParseError>) + Send,
    ) -> Result<DriftReport, LedgerError> {
        let filter =
            Filter { origin: Some(Origin::Registered), ..Filter::of_status([Status::Pending, Status::Active]) };
        let mut drift = DriftReport::default();
        let mut before: Option<ClientKey> = None;
        loop {
            let page = self.ledger().page(&filter, before, BATCH).await?;
            let Some(last) = page.last() else { return Ok(drift) };
            before = Some(last.key);
            for client in &page {
                let registration = Registration::parse_with(client.registration.as_bytes(), &Limits::GENEROUS);
                // A client that a token admitted is judged by the rules that the token named.
                let evaluated = registration
                    .map(|registration| policy.evaluate(registration, &Context::registration().by(client.caller())));
                let count = match &evaluated {
                    Err(_) => &mut drift.unreadable,
                    Ok(evaluation) if evaluation.rejection.is_some() => &mut drift.rejected,
                    Ok(evaluation) if evaluation.decision() == Decision::Rewrite => &mut drift.rewritten,
                    Ok(_) => &mut drift.passing,
                };
                *count += 1;
                drift.checked += 1;
                on(client, evaluated.as_ref());
            }
        }
    }
}
