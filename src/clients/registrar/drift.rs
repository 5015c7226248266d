//! Re-evaluates stored registrations and documents under the current rules.

use super::Registrar;
use crate::clients::ledger::{Client, Filter, LedgerError, Origin, Status};
use crate::documents::client_id_url::ClientIdUrl;
use crate::registration::{Limits, ParseError, Registration};
use crate::rules::{Context, Evaluation, Policy};

const BATCH: u32 = 200;

impl Registrar {
    /// Evaluates the registration of every live client under `policy`, and the metadata document of every live client that has
    /// one under `documents` ([`Preset::document_policy`](crate::Preset::document_policy)), from the newest to the oldest: before
    /// a change of rules. Changes and fetches nothing; calls `on` with each client and its evaluation, or the error of a record
    /// without a readable registration or URL. A document is judged as it is in force, after the rules of the time when it was
    /// fetched. Clients that were registered elsewhere have no registration, and are left out.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// use tower_dcr::clients::{MemoryLedger, Registrar};
    ///
    /// let registrar = Registrar::new(MemoryLedger::default());
    /// let next = tower_dcr::strict();
    /// let mut rejected = Vec::new();
    /// registrar
    ///     .drift(next.policy(), &next.document_policy(), |client, evaluated| {
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
        documents: &Policy,
        mut on: impl FnMut(&Client, Result<&Evaluation, &ParseError>) + Send,
    ) -> Result<(), LedgerError> {
        let filter = Filter::of_status([Status::Pending, Status::Active]);
        let mut before = None;
        loop {
            let page = self.ledger().page(&filter, before, BATCH).await?;
            let Some(last) = page.last() else { return Ok(()) };
            before = Some(last.key);
            for client in &page {
                let evaluated = match client.origin {
                    Origin::Registered => of_registration(client, policy),
                    Origin::Document => of_document(client, documents),
                    Origin::Elsewhere => continue,
                };
                on(client, evaluated.as_ref());
            }
        }
    }
}

fn read(client: &Client) -> Result<Registration, ParseError> {
    Registration::parse_with(client.registration.as_bytes(), &Limits::GENEROUS)
}

fn of_registration(client: &Client, policy: &Policy) -> Result<Evaluation, ParseError> {
    // A client that a token admitted is judged by the rules that the token named.
    let context = Context::registration().by(client.caller());
    Ok(policy.evaluate(read(client)?, &context))
}

/// Judges a document as it is stored, without its `client_id`.
fn of_document(client: &Client, policy: &Policy) -> Result<Evaluation, ParseError> {
    let url = ClientIdUrl::of_record(client.client_id.as_deref().unwrap_or_default());
    // No server fetches it under this name any more: its host has become a public suffix.
    let url = url.map_err(|_| ParseError::Syntax)?;
    Ok(policy.evaluate(read(client)?, &Context::document(&url)))
}
