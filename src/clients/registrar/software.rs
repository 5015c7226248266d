//! Registrations with the `software_id` of a client whose codes go elsewhere.

use std::collections::BTreeSet;

use super::admission::RULE;
use super::{Failure, Registrar};
use crate::audit::LifecycleAction;
use crate::clients::ledger::{Client, Filter, Fingerprint, LedgerError};
use crate::registration::Field;
use crate::rules::{Action, ErrorCode, Rejection};

/// The number of clients of one `software_id` that are compared: the newest.
const MAX_COMPARED: u32 = 32;

/// A conflict that is only marked.
pub(super) struct Suspicion(String);

impl Registrar {
    /// Compares the redirect hosts of `draft` with those of clients that have its `software_id`. Rejects it, if that is set, or
    /// returns a suspicion. `own` is the record of a client that changes.
    ///
    /// RFC 7591 section 5: "The authorization server could also refuse registration requests from a known software identifier
    /// that is requesting different redirection URIs or a different client URI."
    ///
    /// An attacker can register first with the `software_id` of an honest client. A conflict is therefore rejected only with a
    /// client that an operator reviewed, or that an initial access token or a statement admitted, and marked with a client
    /// that got a token. Clients that only registered do not count.
    pub(super) async fn check_software(
        &self,
        draft: &Client,
        own: Option<&Client>,
    ) -> Result<Option<Suspicion>, Failure> {
        let action = self.settings().software_id_conflict;
        let id = draft.fingerprints.software_id.as_ref().filter(|id| !id.is_empty());
        // The codes of a verified identity go to its vendor only, whatever software it says it is.
        let is_vouched_for = draft.is_vouched_for() || own.is_some_and(|own| own.admitted_by.is_some());
        let Some(id) = id.filter(|_| action != Action::Pass && !is_vouched_for) else { return Ok(None) };
        let endorsed = Filter { endorsed: true, ..of_software(id) };
        let used = Filter { used: true, ..of_software(id) };
        let elsewhere = self.leads_elsewhere(draft, own, &endorsed).await?;
        if elsewhere.is_some() && action != Action::Mark {
            let detail = "is that of another client, whose redirect URIs lead to other hosts";
            let rejection = Rejection::new(ErrorCode::InvalidClientMetadata, RULE, detail);
            return Err(rejection.with_field(Field::SOFTWARE_ID.name()).into());
        }
        let elsewhere = match elsewhere {
            None => self.leads_elsewhere(draft, own, &used).await?,
            elsewhere => elsewhere,
        };
        Ok(elsewhere.map(Suspicion))
    }

    /// Returns a description of the conflict, if the clients that `filter` matches lead to other hosts.
    async fn leads_elsewhere(
        &self,
        draft: &Client,
        own: Option<&Client>,
        filter: &Filter,
    ) -> Result<Option<String>, LedgerError> {
        let mut known = self.ledger().page(filter, None, MAX_COMPARED).await?;
        known.retain(|known| own.is_none_or(|own| own.key != known.key));
        let hosts: BTreeSet<&String> = known.iter().flat_map(|known| &known.fingerprints.redirect_hosts).collect();
        let other = draft.fingerprints.redirect_hosts.iter().find(|host| !hosts.contains(host));
        let (Some(other), Some(client)) = (other, known.first()) else { return Ok(None) };
        let client_id = client.client_id.as_deref().unwrap_or_default();
        Ok(Some(format!("leads to {other}, unlike {client_id} with this software_id")))
    }

    /// Reports a suspicion about a registration.
    pub(super) fn report_software(&self, suspicion: Option<Suspicion>, client: &Client) {
        let Some(Suspicion(reason)) = suspicion else { return };
        let subject = client.fingerprints.software_id.clone().map(Fingerprint::SoftwareId);
        let event = self.event_of(LifecycleAction::SoftwareIdConflict, client).because(&reason);
        let event = match subject {
            Some(subject) => event.about(subject.to_string()),
            None => event,
        };
        self.emit_of(&event, client);
    }
}

fn of_software(id: &str) -> Filter {
    Filter { fingerprint: Some(Fingerprint::SoftwareId(id.to_owned())), ..Filter::live() }
}
