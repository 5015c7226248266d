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
    Admitted, ClientIdUrl, DocumentError, Documents, Standing, VerifiedClient, Wanted, host_of_issuer,
};
use crate::registration::{Limits, Registration};

/// The documents of a gate, with the records that were drafted for clients without one.
#[derive(Clone)]
pub(super) struct GateDocuments {
    pub(super) documents: Documents,
    drafts: Arc<Cache<Draft>>,
}

/// The record that a client without one would get.
#[derive(Clone)]
struct Draft {
    client: VerifiedClient,
    known: Arc<Known>,
    /// The epoch and the time in which no block on it was found.
    allowed: (u64, Duration),
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

/// The time in milliseconds for which a document has to be gone until its client ends.
const WITHDRAWN_AFTER: i64 = 3_600_000;

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
            Err(error) => {
                let fault = Fault::Rule("invalid_request", error.sentence());
                return Ok(Err(self.rejected(id, &DocumentError::Url(error), seen, fault)));
            }
        };
        let admitted = in_force.settings.admit(&url);
        let is_own = |issuer| host_of_issuer(issuer).is_some_and(|own| own.eq_ignore_ascii_case(url.host()));
        if !admitted.is_admitted() || self.settings.issuer().is_some_and(is_own) {
            return Ok(Err(self.rejected(url.as_str(), &DocumentError::NotAdmitted, seen, Fault::Document)));
        }
        let ages = (self.settings.max_age(), self.settings.longest_age());
        if self.registrar.document_block(&url, ages).await?.is_some() {
            return Ok(Err(self.rejected(url.as_str(), &DocumentError::Revoked, seen, Fault::Revoked)));
        }
        let record = records.iter().find(|known| known.client.origin == Origin::Document).cloned();
        let is_elsewhere =
            |known: &Arc<Known>| known.client.origin == Origin::Elsewhere && self.judge(&known.client).is_ok();
        match self.endpoint.fetching {
            // The server knew it before documents were fetched here, and its grants go on until it begins anew.
            Fetching::Never if records.iter().any(is_elsewhere) => Ok(Ok(None)),
            Fetching::Never => Box::pin(self.known_document(documents, &url, record, seen)).await,
            Fetching::IfDue => {
                if admitted == Admitted::Reported && record.is_none() {
                    self.report_document(url.as_str(), DocumentError::NotAdmitted.as_str(), None, seen);
                }
                if let Some(ended_at) = record.as_ref().and_then(|known| known.client.ended_at) {
                    // It begins anew with what its host says now, not with a copy of before its end.
                    documents.documents.forget_older(&url, ended_at);
                }
                Box::pin(self.fetched_document(documents, &url, record, admitted.standing(), seen)).await
            }
        }
    }

    /// Returns the client from memory or the ledger, without a packet.
    async fn known_document(
        &self,
        documents: &GateDocuments,
        url: &ClientIdUrl,
        record: Option<Arc<Known>>,
        seen: &Seen,
    ) -> Result<Found, LedgerError> {
        if let Some(known) = record.as_ref().filter(|known| !known.client.status.is_live()) {
            // Its tokens have ended with it. At the authorization endpoint it may begin anew.
            let fault = self.judge(&known.client).err().unwrap_or(Fault::Revoked);
            return Ok(Err(self.noted(&known.client, fault.into(), seen).fault));
        }
        let versions = documents.documents.versions(url, record.is_some());
        let (mut records, mut clients) = (Vec::new(), Vec::new());
        if let Some(known) = record {
            let client = versions.iter().find(|version| is_in(&known.client, version)).cloned();
            let client = client.or_else(|| of_record(url, &known.client));
            let Some(client) = client else { return Ok(Err(Fault::Unavailable)) };
            records.push(known);
            clients.push(client);
        }
        let mut error = DocumentError::Unknown;
        for version in versions {
            if clients.iter().any(|client: &VerifiedClient| client.document() == version.document()) {
                continue;
            }
            match self.draft(documents, &version, None).await? {
                Some(draft) => {
                    records.push(draft);
                    clients.push(version);
                }
                None => error = DocumentError::Revoked,
            }
        }
        if records.is_empty() {
            let fault = match error {
                DocumentError::Revoked => Fault::Revoked,
                // Another node has let it through a moment ago, or this one before it was started: the client may try again.
                _ if seen.grant_type.as_deref() == Some("authorization_code") => Fault::Unavailable,
                _ => Fault::Document,
            };
            return Ok(Err(self.rejected(url.as_str(), &error, seen, fault)));
        }
        Ok(Ok(Some(DocumentRecords { records: records.into(), clients })))
    }

    /// Returns the client from memory or its host, with its record brought up to date.
    async fn fetched_document(
        &self,
        documents: &GateDocuments,
        url: &ClientIdUrl,
        record: Option<Arc<Known>>,
        standing: Standing,
        seen: &Seen,
    ) -> Result<Found, LedgerError> {
        let (record, ended) = match record {
            Some(known) if known.client.status.is_live() => (Some(known), None),
            ended => (None, ended),
        };
        let standing = if record.is_some() { Standing::Known } else { standing };
        let resolved = documents.documents.resolve(Wanted { url, address: seen.address, standing }).await;
        if let Some(rule) = resolved.as_ref().ok().and_then(VerifiedClient::take_report) {
            self.report_document(url.as_str(), "rejected", Some(rule), seen);
        }
        let (known, client) = match (resolved, record) {
            (Ok(client), Some(known)) => {
                let known = self.refreshed(known, &client).await;
                let in_force = if is_in(&known.client, &client) { Some(client) } else { of_record(url, &known.client) };
                let Some(client) = in_force else { return Ok(Err(Fault::Unavailable)) };
                (known, client)
            }
            (Ok(client), None) => match self.draft(documents, &client, ended.as_deref()).await? {
                Some(draft) => (draft, client),
                None => return Ok(Err(self.rejected(url.as_str(), &DocumentError::Revoked, seen, Fault::Revoked))),
            },
            (Err(error), Some(known)) => match self.last_good(documents, url, known, &error).await {
                Some((known, client)) => (known, client),
                // It was accepted before: the client must not throw its registration away for an outage.
                None if error.leaves_last_good() => {
                    return Ok(Err(self.rejected(url.as_str(), &error, seen, Fault::Unavailable)));
                }
                None => return Ok(Err(self.rejected(url.as_str(), &error, seen, Fault::Document))),
            },
            (Err(error), None) if error.is_temporary() => {
                return Ok(Err(self.rejected(url.as_str(), &error, seen, Fault::Unavailable)));
            }
            // One and the same answer for all of them, or anyone could ask this server about its network.
            (Err(error), None) => return Ok(Err(self.rejected(url.as_str(), &error, seen, Fault::Document))),
        };
        if known.client.is_suspended(self.registrar.now()) {
            return Ok(Err(self.noted(&known.client, Fault::Pending.into(), seen).fault));
        }
        Ok(Ok(Some(DocumentRecords { records: std::iter::once(known).collect(), clients: vec![client] })))
    }

    /// Returns the record in force after its document was looked at. While the ledger can't be written, it is that of before.
    async fn refreshed(&self, known: Arc<Known>, client: &VerifiedClient) -> Arc<Known> {
        let epoch = self.registrar.epoch();
        match self.renewed(&known.client, client).await {
            Ok(None) => known,
            Ok(Some(changed)) => {
                let known = Arc::new(Known::new(changed));
                // Of before: a change on this node since, such as a revocation, is read from the ledger.
                self.remember_one(client.url().as_str(), epoch, &known);
                known
            }
            Err(error) => {
                error.log();
                known
            }
        }
    }

    /// Returns the record after it was compared with a document. `None` if there is nothing to write.
    async fn renewed(&self, record: &Client, client: &VerifiedClient) -> Result<Option<Client>, LedgerError> {
        let state = record.document.clone().unwrap_or_default();
        let times = (milliseconds(client.times().fetched_at), milliseconds(client.times().fresh_until));
        let fetched_at = times.0;
        if fetched_at < state.fetched_at && state.fetched_at <= self.registrar.now() {
            // Another node has looked at a later version.
            return Ok(None);
        }
        let after = canonical(client.registration());
        let held = state.held.as_ref().map(|held| held.registration.as_str());
        let changed = if record.registration == after && held.is_none() {
            // Written once for each fetch.
            if state.fetched_at >= fetched_at {
                return Ok(None);
            }
            self.registrar.confirm_document(record.clone(), times).await?
        } else if held.is_some() && state.fetched_at >= fetched_at {
            // The version that waits, or a later one that the record has no place for: one fetch is looked at once.
            return Ok(None);
        } else if held == Some(after.as_str()) {
            self.registrar.confirm_document(record.clone(), times).await?
        } else {
            // The version in force, after another one: it ends the hold of that.
            let change = client.change_since(record).unwrap_or(Change::Decoration);
            self.registrar.apply_change(record.clone(), &new_document(client), change).await?
        };
        Ok(Some(changed))
    }

    /// Returns the last document that was accepted, if it still holds after a failure.
    async fn last_good(
        &self,
        documents: &GateDocuments,
        url: &ClientIdUrl,
        known: Arc<Known>,
        error: &DocumentError,
    ) -> Option<(Arc<Known>, VerifiedClient)> {
        let state = known.client.document.clone().unwrap_or_default();
        let is_answer = !error.leaves_last_good();
        // Documents that are gone or broken end with their freshness, others a while later.
        let grace = if is_answer { Duration::ZERO } else { documents.documents.in_force().settings.max_stale };
        // The rules of this server have changed, or the document has: no grace for what is rejected.
        let holds = error.as_str() != "rejected"
            && self.registrar.now() < state.fresh_until.saturating_add(milliseconds(grace));
        // One look can meet the moment between two deployments of a site. No new sign-in then, and no end of all grants.
        let is_gone = error.as_str() == "gone"
            && state
                .unreachable_since
                .is_some_and(|since| self.registrar.now() >= since.saturating_add(WITHDRAWN_AFTER));
        let (record, reason, epoch) = (known.client.clone(), error.as_str(), self.registrar.epoch());
        let noted = match () {
            // The host was not asked: nothing is known about it.
            () if error.is_temporary() => Ok(record),
            () if !holds && is_gone => self.registrar.withdraw_document(record, reason).await,
            () => self.registrar.miss_document(record, reason).await,
        };
        let record = noted.unwrap_or_else(|error| {
            error.log();
            known.client.clone()
        });
        let client = of_record(url, &record).filter(|_| holds);
        let known = Arc::new(Known::new(record));
        self.remember_one(url.as_str(), epoch, &known);
        Some((known, client?))
    }

    /// Returns the record that a client without a live one would get. `None` if an operator has blocked what the document says.
    async fn draft(
        &self,
        documents: &GateDocuments,
        client: &VerifiedClient,
        ended: Option<&Known>,
    ) -> Result<Option<Arc<Known>>, LedgerError> {
        let url = client.url().as_str();
        let (epoch, now) = (self.registrar.epoch(), self.cache.clock.monotonic());
        let ended = ended.map(|known| &known.client);
        let is_held = client.held().is_some() || self.is_changed_since_end(client, ended);
        let is_current = |draft: &Draft| {
            let is_same = draft.client.is_same(client) && draft.known.client.is_held() == is_held;
            is_same && !self.registrar.has_lapsed(&draft.known.client)
        };
        let drafted = documents.drafts.get(url).filter(is_current);
        let is_allowed = |draft: &Draft, max_age: Duration| {
            draft.allowed.0 == epoch && now.saturating_sub(draft.allowed.1) < max_age
        };
        if let Some(draft) = drafted.as_ref().filter(|draft| is_allowed(draft, self.settings.max_age())) {
            return Ok(Some(Arc::clone(&draft.known)));
        }
        let known = match &drafted {
            Some(draft) => Arc::clone(&draft.known),
            None => Arc::new(Known::new(self.registrar.drafted_document(&self.after_end(client, ended)))),
        };
        match self.registrar.is_blocked(&known.client).await {
            Ok(false) => {
                let draft = Draft { client: client.clone(), known: Arc::clone(&known), allowed: (epoch, now) };
                // The version stays with its draft, which has the same members once more.
                documents.drafts.insert_weighing(url.to_owned(), draft, 2 * client.weight());
                Ok(Some(known))
            }
            Ok(true) => Ok(None),
            Err(_) if drafted.is_some_and(|draft| is_allowed(&draft, self.settings.longest_age())) => Ok(Some(known)),
            Err(error) => Err(error),
        }
    }

    /// Returns `true` if a client ended a short time ago and is another one now. It waits as a change of a live client does: its
    /// publisher could end it with a 404 otherwise.
    fn is_changed_since_end(&self, client: &VerifiedClient, ended: Option<&Client>) -> bool {
        let ended = ended.filter(|ended| self.registrar.is_document_ended_lately(ended));
        ended.and_then(|ended| client.change_since(ended)).is_some_and(Change::is_held)
    }

    /// Returns the document that a client begins anew with.
    fn after_end(&self, client: &VerifiedClient, ended: Option<&Client>) -> NewDocument {
        let mut next = new_document(client);
        if next.held.is_none() && self.is_changed_since_end(client, ended) {
            next.held = Some("another document than before it was gone".to_owned());
        }
        next
    }

    /// Records a client whose code or token is about to be sent, or that has to wait for an operator.
    pub(super) async fn record_document(&self, client: &VerifiedClient) -> Result<Result<Client, Fault>, LedgerError> {
        let ended = self.registrar.find_document(client.url().as_str()).await?;
        let recorded = self.registrar.record_document(&self.after_end(client, ended.as_ref())).await?;
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
    fn rejected(&self, url: &str, error: &DocumentError, seen: &Seen, fault: Fault) -> Fault {
        if !self.settings.reports() {
            self.emit(self.document_event(url, error.as_str(), error.rule()), seen.address);
        }
        fault
    }

    /// Emits the reason for which a document would be rejected, if that were enforced.
    fn report_document(&self, url: &str, reason: &str, rule: Option<&'static str>, seen: &Seen) {
        self.emit(self.document_event(url, reason, rule).reported(), seen.address);
    }

    fn document_event(&self, url: &str, reason: &str, rule: Option<&'static str>) -> LifecycleEvent {
        let event = self.registrar.event(LifecycleAction::Rejected).of_client(Some(url));
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
