//! Re-evaluates stored registrations under the current rules.

use super::Registrar;
use crate::clients::ledger::{Client, Filter, LedgerError, Origin, Status};
use crate::registration::{Limits, ParseError, Registration};
use crate::rules::{Context, Evaluation, Policy};

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
    /// let mut rejected = Vec::new();
    /// registrar
    ///     .drift(&today, |client, evaluated| {
    ///         if evaluated.is_ok_and(|evaluation| evaluation.rejection.is_some()) {
    ///             rejected.push(client.client_id.clone());
    ///         }
    ///     })
    ///     .await?;
    /// assert!(rejected.is_empty());
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
    ) -> Result<(), LedgerError> {
        let filter =
            Filter { origin: Some(Origin::Registered), ..Filter::of_status([Status::Pending, Status::Active]) };
        let mut before = None;
        loop {
            let page = self.ledger().page(&filter, before, BATCH).await?;
            let Some(last) = page.last() else { return Ok(()) };
            before = Some(last.key);
            for client in &page {
                let registration = Registration::parse_with(client.registration.as_bytes(), &Limits::GENEROUS);
                // A client that a token admitted is judged by the rules that the token named.
                let context = Context::registration().by(client.caller());
                on(client, registration.map(|registration| policy.evaluate(registration, &context)).as_ref());
            }
        }
    }
}
