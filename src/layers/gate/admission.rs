//! Decides whether a request may go on.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::back::Back;
use super::cache::Records;
use super::endpoint::{RejectionForm, Success, Unnamed};
use super::parameters::Seen;
use super::records::Known;
use super::rejection::{Fault, Rejected};
use super::rules::{Asked, Passed, Reference, Violation, scope};
use super::{Grant, Judgement, document, pushed};
use crate::audit::LifecycleAction;
use crate::clients::ledger::{Actor, Client, LedgerError, Origin, Status};
use crate::documents::VerifiedClient;
use crate::telemetry;

/// The maximum age of a record by which a client is rejected: one that has just registered or was just approved must
/// not be rejected as unknown.
const CONFIRMED: Duration = Duration::from_secs(1);

/// A request that may go on.
#[derive(Debug, Default)]
pub(super) struct Admitted<'a> {
    /// Its client. `None` if it is not certain.
    pub(super) client_id: Option<Cow<'a, str>>,
    /// The client's record. `None` if the ledger has none.
    pub(super) known: Option<Arc<Known>>,
    /// The records that a token is given for, if several registrations share the ID.
    pub(super) sharing: Vec<Client>,
    /// The result of the rules.
    pub(super) passed: Passed,
    /// The client, if it is named by the URL of its document.
    pub(super) document: Option<VerifiedClient>,
}

impl Admitted<'_> {
    /// Returns `true` if the server sends the client its tokens (CIBA section 4).
    pub(super) fn is_in_push_mode(&self) -> bool {
        let registered = self.known.as_deref().and_then(Known::registered);
        registered.is_some_and(|registered| registered.is_in_push_mode)
    }
}

/// A record whose client may go on; `None` if there is none. As an error the record that was rejected.
type Judged = Result<Option<(Arc<Known>, Passed)>, (Arc<Known>, Rejected)>;

impl Judgement<'_> {
    /// Decides whether a request may go on.
    pub(super) async fn admit<'a>(&self, seen: &'a Seen) -> Result<Admitted<'a>, Rejected> {
        if !self.endpoint.judges_client {
            return Ok(Admitted::default());
        }
        let mut ids = Cow::Borrowed(&seen.client_ids[..]);
        let mut client_id = seen.client_id().map(Cow::Borrowed);
        if ids.is_empty() || seen.is_named_aside {
            // To a server that does not look in this place, the request names no client.
            let owner = self.unidentified(seen).await.map_err(Rejected::from)?;
            if let Some(owner) = owner.as_ref().filter(|owner| !ids.contains(owner)) {
                ids.to_mut().push(owner.clone());
            }
            client_id = owner.map(Cow::Owned);
        }
        if ids.is_empty() {
            return Ok(Admitted::default());
        }
        match self.check(&ids, client_id.as_deref(), seen).await {
            Ok(checked) => checked.map(|checked| Admitted { client_id, ..checked }),
            Err(error) => {
                error.log();
                if self.settings.passes_without_ledger() {
                    Ok(Admitted::default())
                } else {
                    Err(Fault::Unavailable.into())
                }
            }
        }
    }

    /// Returns the records that a token is given for, if several registrations share the ID.
    fn sharing(&self, records: &Records, seen: &Seen) -> Vec<Client> {
        if self.endpoint.success != Success::RecordUse || records.len() < 2 {
            return Vec::new();
        }
        let records: Vec<Client> = records.iter().map(|known| known.client.clone()).collect();
        self.registrar.used_of(&records, seen.redirect_uri.as_deref()).into_iter().cloned().collect()
    }

    /// Checks each of the names that the client may have: the server takes one of them.
    async fn check(
        &self,
        ids: &[String],
        client_id: Option<&str>,
        seen: &Seen,
    ) -> Result<Result<Admitted<'static>, Rejected>, LedgerError> {
        let reference = match self.reference(ids, seen).await? {
            Ok(reference) => reference,
            Err(fault) => return Ok(Err(fault.into())),
        };
        let mut admitted = Admitted::default();
        for id in ids {
            let found = match self.look_up_document(id, seen).await? {
                Ok(found) => found,
                Err(fault) => return Ok(Err(fault.into())),
            };
            let mut records = match &found {
                Some(found) => Arc::clone(&found.records),
                None => self.look_up(id, self.settings.max_age()).await?,
            };
            let mut verdict = self.judge_all(&records, seen, reference);
            if verdict.is_err() && found.is_none() {
                // The client may have been registered, approved or updated since, on this node or another.
                records = self.look_up(id, self.settings.max_age().min(CONFIRMED)).await?;
                verdict = self.judge_all(&records, seen, reference);
            }
            match verdict {
                Ok(None) => {}
                Ok(Some((known, passed))) => {
                    if let Some(client) = found.and_then(|found| found.client_of(&known)) {
                        admitted.document = Some(client);
                    } else if client_id == Some(id) {
                        admitted.sharing = self.sharing(&records, seen);
                    }
                    self.note_marked(&known.client, &passed, seen);
                    admitted.passed.narrowed = admitted.passed.narrowed.or(passed.narrowed);
                    admitted.known = admitted.known.or(Some(known));
                }
                Err((known, rejected)) => {
                    if let Some(client) = found.filter(|_| document::waits(&known)).and_then(|it| it.client_of(&known))
                    {
                        // An operator can only approve what has a record.
                        drop(self.record_document(&client).await?);
                    }
                    return Ok(Err(self.noted(&known.client, rejected, seen)));
                }
            }
        }
        let is_registered = |known: &Arc<Known>| known.client.origin != Origin::Elsewhere;
        match &admitted.known {
            // An id that was only seen in use was never registered.
            Some(known) if is_registered(known) || !self.settings.rejects_unknown() => Ok(Ok(admitted)),
            None if !self.settings.rejects_unknown() && self.is_known_otherwise(ids).await? => {
                Ok(Err(Fault::Ambiguous("the client is named in another spelling").into()))
            }
            Some(_) | None => Ok(self.unknown(ids, seen).map(|()| Admitted::default()).map_err(Rejected::from)),
        }
    }

    /// Returns the first of the records of an ID that may go on. Of several registrations under one ID, one has to fit.
    fn judge_all(&self, records: &Records, seen: &Seen, reference: Reference) -> Judged {
        if self.endpoint.compares_redirect_uri()
            && records.len() > 1
            && seen.is_request
            && seen.redirect_uri.is_none()
            && !reference.has_redirect_uri
            && let Some(known) = records.first()
        {
            // Each of those that share the ID may have one redirect URI, but the server knows several.
            return Err((Arc::clone(known), Fault::NoRedirect.into()));
        }
        let mut rejected: Option<(Arc<Known>, Rejected)> = None;
        for known in records.iter() {
            let checked = self.judge(&known.client).map_err(Rejected::from);
            let is_live = checked.is_ok();
            match checked.and_then(|()| self.check_rules(known, seen, reference)) {
                Ok(passed) => return Ok(Some((Arc::clone(known), passed))),
                // The fault of a live record is reported first.
                Err(fault) if rejected.is_none() || is_live => rejected = Some((Arc::clone(known), fault)),
                Err(_) => {}
            }
        }
        rejected.map_or(Ok(None), Err)
    }

    /// Compares a request with the registration.
    fn check_rules(&self, known: &Known, seen: &Seen, reference: Reference) -> Result<Passed, Rejected> {
        if self.endpoint.rules.is_empty() || known.client.origin == Origin::Elsewhere {
            // It is not known what such a client registered.
            return Ok(Passed::default());
        }
        let registered = known.registered().ok_or(Fault::Unavailable)?;
        let (endpoint, settings) = (self.endpoint, &self.settings);
        let asked = Asked { endpoint, seen, registered, settings, reference };
        asked.check().map_err(|Violation { rule, fault }| {
            let goes_back = endpoint.rejection == RejectionForm::Page && matches!(fault, Fault::Rule(..));
            Rejected {
                fault,
                rule: Some(rule),
                back: goes_back.then(|| Back::of(known, seen, settings)).flatten().map(Box::new),
            }
        })
    }

    /// Returns the parts of the request that stand elsewhere.
    async fn reference(&self, ids: &[String], seen: &Seen) -> Result<Result<Reference, Fault>, LedgerError> {
        let none = Reference::default();
        if !self.endpoint.compares_redirect_uri() {
            return Ok(Ok(none));
        }
        let takes_objects = self.settings.takes_request_objects();
        let Some(request_uri) = &seen.request_uri else {
            let is_inside = seen.object.as_ref().is_some_and(|object| object.redirect_uri.is_some());
            return Ok(Ok(Reference { has_redirect_uri: is_inside && takes_objects, ..none }));
        };
        let all = Reference { has_redirect_uri: true, has_all: true, ..none };
        Ok(match Box::pin(self.registrar.pushed_by(request_uri)).await? {
            Some(owner) if ids.iter().all(|id| *id == owner) => Ok(Reference { is_pushed: true, ..all }),
            None if self.settings.takes_request_uris() && !pushed::is_pushed(request_uri) => Ok(all),
            _ => Err(Fault::Ambiguous("the sender of the pushed request is unknown")),
        })
    }

    pub(super) fn judge(&self, client: &Client) -> Result<(), Fault> {
        match self.registrar.status_of(client) {
            // This gate fetches no documents, and the record is from a time when it did: its publisher may have taken the document
            // away since, and a handler that is told of no document must reject the URL, too.
            Status::Active | Status::Pending if client.origin == Origin::Document && self.documents.is_none() => {
                Err(Fault::Document)
            }
            Status::Active => Ok(()),
            Status::Pending => Err(Fault::Pending),
            Status::Revoked if client.ended_by == Some(Actor::Client) => Err(Fault::Deleted),
            Status::Revoked => Err(Fault::Revoked),
            Status::Expired | Status::Failed | Status::Registering => Err(Fault::Expired),
        }
    }

    /// Decides about a request that names no client, or not to every server. Returns the owner of its grant, if the
    /// server is asked.
    async fn unidentified(&self, seen: &Seen) -> Result<Option<String>, Fault> {
        match self.endpoint.unnamed {
            Unnamed::PassWithToken if seen.has_token => return Ok(None),
            Unnamed::Pass | Unnamed::PassWithToken => {
                return if self.settings.rejects_unknown() { Err(Fault::Unidentified) } else { Ok(None) };
            }
            Unnamed::AskForOwner => {
                if let Some(owner) = self.owner(seen).await? {
                    return Ok(Some(owner));
                }
                if seen.grant_type.as_ref().is_some_and(|grant_type| self.settings.is_anonymous(grant_type)) {
                    return Ok(None);
                }
            }
            Unnamed::Reject => {}
        }
        if !self.settings.passes_unidentified() {
            return Err(Fault::Unidentified);
        }
        let event = self.registrar.event(LifecycleAction::UnregisteredClient);
        self.emit(event.because(Fault::Unidentified.as_str()), seen.address);
        Ok(None)
    }

    /// Asks the server for the client that the grant was issued to.
    async fn owner(&self, seen: &Seen) -> Result<Option<String>, Fault> {
        let (Some(grant_type), Some(grant), Some(client_of)) = (&seen.grant_type, &seen.grant, &self.client_of) else {
            return Ok(None);
        };
        client_of(Grant { grant_type: grant_type.clone(), value: grant.clone() }).await.map_err(|error| {
            tracing::error!(%error, "client of a grant not found out; the request is answered with 503: check the function in `with_client_of`");
            Fault::Unavailable
        })
    }

    fn unknown(&self, ids: &[String], seen: &Seen) -> Result<(), Fault> {
        let id = ids.first().map(String::as_str);
        let rejects = self.settings.rejects_unknown();
        let action = if rejects { LifecycleAction::Rejected } else { LifecycleAction::UnregisteredClient };
        if !rejects || !self.settings.reports() {
            self.emit(self.registrar.event(action).of_client(id).because(Fault::Unknown.as_str()), seen.address);
        }
        if rejects { Err(Fault::Unknown) } else { Ok(()) }
    }

    pub(super) fn noted(&self, client: &Client, rejected: Rejected, seen: &Seen) -> Rejected {
        let Rejected { fault, rule, .. } = rejected;
        if let Some(rule) = rule {
            telemetry::gate_rule(self.endpoint.name, rule, !self.settings.reports());
        }
        if !self.settings.reports() {
            let event = self.registrar.event_of(LifecycleAction::Rejected, client);
            self.emit(event.because(fault.as_str()).under(rule), seen.address);
        }
        rejected
    }

    /// Reports the rules that a request breaks without consequences, and the removal of scopes from it.
    fn note_marked(&self, client: &Client, passed: &Passed, seen: &Seen) {
        for Violation { rule, fault } in &passed.marked {
            telemetry::gate_rule(self.endpoint.name, rule, false);
            let event = self.registrar.event_of(LifecycleAction::Rejected, client);
            self.emit(event.because(fault.as_str()).under(Some(rule)).reported(), seen.address);
        }
        if passed.narrowed.is_some() {
            let (rule, enforced) = (scope::RULE.docs.id, !self.settings.reports());
            telemetry::gate_rule(self.endpoint.name, rule, enforced);
            let event = self.registrar.event_of(LifecycleAction::Narrowed, client);
            let event = event.because("scopes that the client did not register were removed").under(Some(rule));
            self.emit(if enforced { event } else { event.reported() }, seen.address);
        }
    }
}
