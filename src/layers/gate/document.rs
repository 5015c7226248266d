//! Clients that are named by the URL of a metadata document.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Response, StatusCode, header};

use super::Judgement;
use super::cache::Records;
use super::endpoint::Fetching;
use super::parameters::Seen;
use super::records::Known;
use super::rejection::Fault;
use crate::audit::{LifecycleAction, LifecycleEvent};
use crate::cache::Cache;
use crate::clients::ledger::{Change, Client, DocumentState, LedgerError, Origin, Status};
use crate::clients::registrar::{NewDocument, Recorded, milliseconds};
use crate::documents::{
    Admitted, ClientIdUrl, DocumentError, Documents, VerifiedClient, Wanted, classify, host_of_issuer,
};
use crate::registration::{Limits, Registration};

/// The documents of a gate, with the records that were drafted for clients without one.
#[derive(Clone)]
pub(super) struct GateDocuments {
    pub(super) documents: Documents,
    drafts: Arc<Cache<(VerifiedClient, Arc<Known>)>>,
}

/// The records of a client that is named by a URL.
pub(super) struct DocumentRecords {
    /// Those that the request is compared with: of several, one has to fit.
    pub(super) records: Records,
    /// The client of each, for the handler and the ledger.
    pub(super) clients: Vec<VerifiedClient>,
}

/// The `client_id` of a document in a request.
pub(super) type Found = Result<Option<DocumentRecords>, Fault>;

/// The drafts that a gate remembers: strangers can ask for as many as they like.
const DRAFTS: usize = 1024;
const DRAFTS_BYTES: usize = 4 << 20;

impl GateDocuments {
    pub(super) fn new(documents: Documents) -> Self {
        Self { documents, drafts: Arc::new(Cache::with_weight(DRAFTS, DRAFTS_BYTES)) }
    }
}

impl fmt::Debug for GateDocuments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.documents.fmt(f)
    }
}

impl Judgement<'_> {
    /// Returns the client of a document. `None` if `id` is not the URL of one, or if another kind of client has it.
    pub(super) async fn look_up_document(&self, id: &str, seen: &Seen) -> Result<Found, LedgerError> {
        let Some(documents) = self.documents.as_ref().filter(|_| ClientIdUrl::is_meant_by(id)) else {
            return Ok(Ok(None));
        };
        let records = self.look_up(id, self.settings.max_age()).await?;
        if records.iter().any(|known| known.client.origin == Origin::Registered) {
            // The server gave out the URL, and its record is never taken over.
            return Ok(Ok(None));
        }
        let in_force = documents.documents.in_force();
        let url = match ClientIdUrl::parse_with(id, &in_force.settings.url_options()) {
            Ok(url) => url,
            Err(error) => return Ok(Err(Fault::Rule("invalid_request", error.sentence()))),
        };
        let block = self.registrar.document_block(id, url.host(), url.site(), self.settings.max_age()).await?;
        if block.is_some() {
            return Ok(Err(self.rejected(&url, &DocumentError::Revoked, seen, Fault::Revoked)));
        }
        let admitted = in_force.settings.admit(&url);
        let own = self.settings.issuer().and_then(host_of_issuer);
        if !admitted.is_admitted() || own.is_some_and(|own| own.eq_ignore_ascii_case(url.host())) {
            return Ok(Err(self.rejected(&url, &DocumentError::NotAdmitted, seen, Fault::Document)));
        }
        let record = records.iter().find(|known| known.client.origin == Origin::Document).cloned();
        match self.endpoint.fetching {
            Fetching::Never => Ok(self.known_document(documents, &url, record, seen)),
            Fetching::IfDue => {
                if admitted == Admitted::Reported && record.is_none() {
                    self.report_document(&url, DocumentError::NotAdmitted.as_str(), None, seen);
                }
                let live = record.filter(|known| known.client.status.is_live());
                Box::pin(self.fetched_document(documents, &url, live, admitted.is_listed(), seen)).await
            }
        }
    }

    /// Returns the client from memory or the ledger, without a packet.
    fn known_document(
        &self,
        documents: &GateDocuments,
        url: &ClientIdUrl,
        record: Option<Arc<Known>>,
        seen: &Seen,
    ) -> Found {
        if let Some(known) = record.as_ref().filter(|known| !known.client.status.is_live()) {
            // Its tokens have ended with it. At the authorization endpoint it may begin anew.
            let fault = self.judge(&known.client).err().unwrap_or(Fault::Revoked);
            return Err(self.noted(&known.client, fault.into(), seen).fault);
        }
        let versions = documents.documents.versions(url);
        let (mut records, mut clients) = (Vec::new(), Vec::new());
        if let Some(known) = record {
            let client = versions.iter().find(|version| is_in(&known.client, version)).cloned();
            let Some(client) = client.or_else(|| of_record(url, &known.client)) else { return Err(Fault::Unavailable) };
            records.push(known);
            clients.push(client);
        }
        for version in versions {
            if !clients.iter().any(|client: &VerifiedClient| client.document() == version.document()) {
                records.push(self.draft(documents, &version));
                clients.push(version);
            }
        }
        if records.is_empty() {
            return Err(self.rejected(url, &DocumentError::Unknown, seen, Fault::Document));
        }
        Ok(Some(DocumentRecords { records: records.into(), clients }))
    }

    /// Returns the client from memory or its host, with its record brought up to date.
    async fn fetched_document(
        &self,
        documents: &GateDocuments,
        url: &ClientIdUrl,
        record: Option<Arc<Known>>,
        is_listed: bool,
        seen: &Seen,
    ) -> Result<Found, LedgerError> {
        let is_known = record.is_some() || is_listed;
        let resolved = documents.documents.resolve(Wanted { url, address: seen.address, is_known }).await;
        if let Some(rule) = resolved.as_ref().ok().and_then(VerifiedClient::take_report) {
            self.report_document(url, "rejected", Some(rule), seen);
        }
        let (known, client) = match (resolved, record) {
            (Ok(client), Some(known)) => {
                let known = self.refreshed(known, &client).await?;
                let in_force = if is_in(&known.client, &client) { Some(client) } else { of_record(url, &known.client) };
                let Some(client) = in_force else { return Ok(Err(Fault::Unavailable)) };
                (known, client)
            }
            (Ok(client), None) => (self.draft(documents, &client), client),
            (Err(error), Some(known)) => match self.last_good(documents, url, known, &error).await? {
                Some((known, client)) => (known, client),
                // It was accepted before: the client must not throw its registration away for an outage.
                None if error.leaves_last_good() => {
                    return Ok(Err(self.rejected(url, &error, seen, Fault::Unavailable)));
                }
                None => return Ok(Err(self.rejected(url, &error, seen, Fault::Document))),
            },
            (Err(error), None) if error.is_temporary() => {
                return Ok(Err(self.rejected(url, &error, seen, Fault::Unavailable)));
            }
            // One and the same answer for all of them, or anyone could ask this server about its network.
            (Err(error), None) => return Ok(Err(self.rejected(url, &error, seen, Fault::Document))),
        };
        if known.client.is_suspended(self.registrar.now()) {
            return Ok(Err(self.noted(&known.client, Fault::Pending.into(), seen).fault));
        }
        Ok(Ok(Some(DocumentRecords { records: std::iter::once(known).collect(), clients: vec![client] })))
    }

    /// Returns the record in force after its document was looked at.
    async fn refreshed(&self, known: Arc<Known>, client: &VerifiedClient) -> Result<Arc<Known>, LedgerError> {
        let record = &known.client;
        let state = record.document.clone().unwrap_or_default();
        let after = canonical(client.registration());
        let held = state.held.as_ref().map(|held| held.registration.as_str());
        let fetched_at = milliseconds(client.times().fetched_at);
        let changed = if record.registration == after && held.is_none() {
            // Written once for each fetch.
            if state.fetched_at >= fetched_at {
                return Ok(known);
            }
            self.registrar.confirm_document(record.clone(), milliseconds(client.times().fresh_until)).await?
        } else if held.is_some() && state.fetched_at >= fetched_at {
            // The version that waits, or a later one that the record has no place for: one fetch is looked at once.
            return Ok(known);
        } else if held == Some(after.as_str()) {
            self.registrar.confirm_document(record.clone(), milliseconds(client.times().fresh_until)).await?
        } else {
            let Ok(before) = Registration::parse_with(record.registration.as_bytes(), &Limits::GENEROUS) else {
                return Ok(known);
            };
            let change = if record.registration == after {
                Change::Decoration
            } else {
                let before = (&before, record.identity.as_ref());
                classify(client.url(), before, (client.registration(), client.identity()))
            };
            self.registrar.apply_change(record.clone(), &new_document(client), change).await?
        };
        let known = Arc::new(Known::new(changed));
        let epoch = self.registrar.epoch();
        self.remember(client.url().as_str(), epoch, &std::iter::once(Arc::clone(&known)).collect());
        Ok(known)
    }

    /// Returns the last document that was accepted, if it still holds after a failure.
    async fn last_good(
        &self,
        documents: &GateDocuments,
        url: &ClientIdUrl,
        known: Arc<Known>,
        error: &DocumentError,
    ) -> Result<Option<(Arc<Known>, VerifiedClient)>, LedgerError> {
        let state = known.client.document.clone().unwrap_or_default();
        let now = self.registrar.now();
        if error.as_str() == "rejected" {
            // The rules of this server have changed, or the document has: no grace for what is rejected.
            return Ok(None);
        }
        let is_answer = !error.leaves_last_good();
        // Documents that are gone or broken end with their freshness, others a while later.
        let grace = if is_answer { Duration::ZERO } else { documents.documents.in_force().settings.max_stale };
        if now < state.fresh_until.saturating_add(milliseconds(grace)) {
            let missed = self.registrar.miss_document(known.client.clone(), error.as_str()).await?;
            let client = of_record(url, &missed);
            return Ok(client.map(|client| (Arc::new(Known::new(missed)), client)));
        }
        if error.as_str() == "gone" {
            self.registrar.withdraw_document(known.client.clone(), error.as_str()).await?;
        } else {
            self.registrar.miss_document(known.client.clone(), error.as_str()).await?;
        }
        Ok(None)
    }

    /// Returns the record that a client without one would get.
    fn draft(&self, documents: &GateDocuments, client: &VerifiedClient) -> Arc<Known> {
        let url = client.url().as_str();
        if let Some((_, known)) = documents.drafts.get(url).filter(|(of, _)| of.is_same(client)) {
            return known;
        }
        let known = Arc::new(Known::new(self.registrar.drafted_document(&new_document(client))));
        // The version stays with its draft, which has the same members once more.
        documents.drafts.insert_weighing(url.to_owned(), (client.clone(), Arc::clone(&known)), 2 * client.weight());
        known
    }

    /// Records a client whose code or token is about to be sent, or that has to wait for an operator.
    pub(super) async fn record_document(&self, client: &VerifiedClient) -> Result<Result<Client, Fault>, LedgerError> {
        let recorded = self.registrar.record_document(&new_document(client)).await?;
        if let Some(documents) = &self.documents {
            documents.documents.promote(client.url());
        }
        Ok(match recorded {
            Recorded::Current(record) => Ok(record),
            Recorded::Blocked | Recorded::Taken => Err(Fault::Revoked),
            Recorded::Full => Err(Fault::Unavailable),
        })
    }

    /// Emits the reason for which a document is rejected, and returns the fault for the client.
    fn rejected(&self, url: &ClientIdUrl, error: &DocumentError, seen: &Seen, fault: Fault) -> Fault {
        if !self.settings.reports() {
            self.emit(self.document_event(url, error.as_str(), error.rule()), seen.address);
        }
        fault
    }

    /// Emits the reason for which a document would be rejected, if that were enforced.
    fn report_document(&self, url: &ClientIdUrl, reason: &str, rule: Option<&'static str>, seen: &Seen) {
        self.emit(self.document_event(url, reason, rule).reported(), seen.address);
    }

    fn document_event(&self, url: &ClientIdUrl, reason: &str, rule: Option<&'static str>) -> LifecycleEvent {
        let event = self.registrar.event(LifecycleAction::Rejected).of_client(Some(url.as_str()));
        event.because(&format!("client metadata document: {reason}")).under(rule)
    }
}

/// Returns `true` if a redirect has an authorization code in its query.
pub(super) fn has_code<R>(response: &Response<R>) -> bool {
    let is_redirect =
        matches!(response.status(), StatusCode::FOUND | StatusCode::SEE_OTHER | StatusCode::TEMPORARY_REDIRECT);
    is_redirect
        && location(response.headers()).is_some_and(|location| {
            let parts = location.split(['?', '#']).skip(1);
            parts
                .flat_map(|part| form_urlencoded::parse(part.as_bytes()))
                .any(|(name, _)| matches!(&*name, "code" | "response"))
        })
}

fn location(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::LOCATION)?.to_str().ok()
}

/// Returns `true` if the record has this version of the document in force.
fn is_in(record: &Client, version: &VerifiedClient) -> bool {
    record.registration == canonical(version.registration())
}

fn canonical(registration: &Registration) -> String {
    String::from_utf8(registration.canonical_bytes()).unwrap_or_default()
}

/// Reads the client of a record: of a document that another node has fetched, or whose newer version is not in force.
fn of_record(url: &ClientIdUrl, record: &Client) -> Option<VerifiedClient> {
    let registration = Registration::parse_with(record.registration.as_bytes(), &Limits::GENEROUS).ok()?;
    let state = record.document.as_ref()?;
    VerifiedClient::of_record(url, registration, record.identity.clone(), &state.digest)
}

fn new_document(client: &VerifiedClient) -> NewDocument {
    let times = client.times();
    let mut state = DocumentState::new(
        client.digest().to_string(),
        milliseconds(times.fetched_at),
        milliseconds(times.fresh_until),
    );
    state.etag.clone_from(&times.etag);
    NewDocument {
        url: client.url().as_str().to_owned(),
        registration: client.registration().clone(),
        identity: client.identity().cloned(),
        policy: Some(client.policy()),
        held: client.held().map(crate::rules::Rejection::description),
        state,
    }
}

impl DocumentRecords {
    /// Returns the client of the record that fits.
    pub(super) fn client_of(&self, known: &Arc<Known>) -> Option<VerifiedClient> {
        let at = self.records.iter().position(|other| Arc::ptr_eq(other, known))?;
        self.clients.get(at).cloned()
    }
}

/// Returns `true` if the client has to wait for an operator: without its record, none would see it.
pub(super) fn waits(known: &Known) -> bool {
    known.client.status == Status::Pending && known.client.key.0 == 0
}
