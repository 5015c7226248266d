//! Updates and deletions by clients (RFC 7592).

use super::admission::{RULE, as_answered, secret_expiry};
use super::software::Suspicion;
use super::{AdminError, Failure, Registrar, Requester, RevocationReport, ServerAnswer, the_one};
use crate::audit::LifecycleAction;
use crate::client_url::RULE as URL_RULE;
use crate::clients::ledger::{Actor, Client, Fingerprints, LedgerError, Origin, Status};
use crate::registration::{Field, Limits, Registration};
use crate::rules::Caller;
use crate::rules::{ErrorCode, Rejection};

/// An update that is about to be forwarded to the server.
pub(crate) struct ChangeIntent {
    id: String,
    /// `None` if the ledger does not know it yet.
    client: Option<Client>,
    next: Client,
    requester: Requester,
    suspicion: Option<Suspicion>,
}

impl ChangeIntent {
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Returns whether the client was registered elsewhere, and is new here.
    pub(crate) fn is_new(&self) -> bool {
        self.client.is_none()
    }
}

/// The number of extensions of an unknown ID that are checked.
const MAX_EXTENSIONS: usize = 4;

impl Registrar {
    /// Looks up the client of a URL. An unknown ID that some servers fold into a known one is rejected: they cut
    /// `.json` off the last segment, or compare without case.
    async fn managed(&self, client_id: &str) -> Result<Option<Client>, Failure> {
        match the_one(self.records(client_id).await?) {
            Ok(client) => return Ok(Some(client)),
            Err(AdminError::Ambiguous) => {
                // A client with a shared ID could change or end another one's registration.
                let detail = "several registrations share this client_id: none of them can be managed";
                return Err(Rejection::new(ErrorCode::InvalidClientMetadata, URL_RULE, detail).into());
            }
            Err(_) => {}
        }
        let extensions = client_id.rmatch_indices('.').take(MAX_EXTENSIONS);
        let mut is_known = self.is_known_otherwise(client_id).await?;
        for other in extensions.filter_map(|(at, _)| client_id.get(..at)).filter(|other| !other.is_empty()) {
            is_known |= self.look_up(other).await?.is_some();
        }
        if is_known {
            let detail = "the URL does not name a client in the expected spelling";
            return Err(Rejection::new(ErrorCode::InvalidClientMetadata, URL_RULE, detail).into());
        }
        Ok(None)
    }

    /// Checks whether a client may read or change its registration. Returns `None` if the ledger does not know it.
    ///
    /// RFC 7592 section 5: the registration access token dies with the client. Section 2.1: what does not exist any more
    /// is answered with 401.
    pub(crate) async fn may_manage(&self, client_id: &str) -> Result<Option<Client>, Failure> {
        let client = self.managed(client_id).await?;
        // The client of a document has no registration here, and so none to manage.
        let may = |client: &Client| client.status.is_live() && client.origin != Origin::Document;
        if client.as_ref().is_none_or(may) { Ok(client) } else { Err(gone()) }
    }

    /// Returns the caller that a client was admitted as; `None` if it was not registered here.
    pub(crate) async fn admitted_as(&self, client_id: &str) -> Result<Option<Caller>, Failure> {
        let registered = self.managed(client_id).await?.filter(|client| client.origin == Origin::Registered);
        Ok(registered.map(|client| client.caller()))
    }

    /// Admits an update. `managed` is the client of the URL.
    pub(crate) async fn admit_change(
        &self,
        managed: &str,
        registration: &Registration,
        requester: &Requester,
    ) -> Result<ChangeIntent, Failure> {
        // The usual bypass is a clean registration and then an update to revoked metadata.
        let next = self.drafted_update(registration, requester);
        self.reject_blocked(&next).await?;
        // A client that was only seen in use is as good as unknown.
        let client = self.may_manage(managed).await?.filter(|client| client.origin == Origin::Registered);
        if client.is_none() && self.settings().lifetimes.needs_approval() && !self.settings().manage_unknown {
            // Handlers that register what they do not know would register it without approval.
            return Err(gone());
        }
        // RFC 7592 section 2.2: the client_id in the request "MUST be the same as its currently issued client identifier".
        if registration.string_at(Field::CLIENT_ID).is_some_and(|named| named != managed) {
            let detail = "must be the client of this URL";
            let rejection = Rejection::new(ErrorCode::InvalidClientMetadata, RULE, detail).with_field("client_id");
            return Err(rejection.into());
        }
        // OAuth 2.1 section 2.1: one client_id is not to be treated as more than one type of client. What was granted to a
        // client without authentication would go on as the grants of one with it, and the other way round.
        let is_other_type = |client: &Client| {
            let before = Registration::parse_with(client.registration.as_bytes(), &Limits::GENEROUS);
            before.is_ok_and(|before| is_public(&before) != is_public(registration))
        };
        if !self.settings().client_type_changes && client.as_ref().is_some_and(is_other_type) {
            let detail = "would make a public client confidential, or a confidential one public";
            let rejection = Rejection::new(ErrorCode::InvalidClientMetadata, RULE, detail);
            return Err(rejection.with_field(Field::TOKEN_ENDPOINT_AUTH_METHOD.name()).into());
        }
        let suspicion = self.check_software(&next, client.as_ref()).await?;
        Ok(ChangeIntent { id: managed.to_owned(), client, next, requester: requester.clone(), suspicion })
    }

    /// Records a change that the server has made.
    pub(crate) async fn changed(&self, intent: ChangeIntent, answer: Option<&ServerAnswer<'_>>) -> Result<(), Failure> {
        let ChangeIntent { id, client, mut next, requester, suspicion } = intent;
        let answered = answer.and_then(|answer| answer.document.string_at(Field::CLIENT_ID));
        if answered.is_some_and(|answered| answered != id) {
            tracing::error!(
                target: "tower_dcr::lifecycle",
                client_id = ?id,
                "the server answered the update of a client with another client_id"
            );
            let detail = "the server answered the update of a client with another one";
            return Err(Rejection::new(ErrorCode::ServerError, RULE, detail).into());
        }
        if let Some(registered) = answer.and_then(|answer| as_answered(&next.registration, answer.document)) {
            next.registration = registered;
        }
        let known = match client {
            Some(known) => known,
            None => match self.adopt_managed(&id, &parsed(&next.registration)?, &requester).await? {
                // A block from now on finds it.
                Ok(new) => {
                    self.report_software(suspicion, &new);
                    return self.end_if_blocked(new, &next).await;
                }
                // Another node was faster.
                Err(known) => known,
            },
        };
        let change = |client: &mut Client| {
            let before = client.clone();
            client.register_again(&next);
            client.not_after = answer.map_or(before.not_after, |answer| secret_expiry(answer.document));
            client.expires_at = client.ending(before.expires_at);
            if !is_as_reviewed(&before, client) {
                // The review was of another registration.
                (client.reviewed_at, client.reviewed_by) = (None, None);
                let lifetimes = &self.settings().lifetimes;
                if lifetimes.needs_approval() && client.status == Status::Active {
                    client.status = Status::Pending;
                    client.live_until(lifetimes.first_end(self.now()));
                }
            }
            // The changed registration is no longer equal to those of others.
            (client.dedup_key, client.response) = (None, None);
        };
        let before = known.registration.clone();
        let changed = self.update(known, |client| client.status.is_live(), change).await?.map_err(|_| gone())?;
        self.begin_epoch();
        let mut event = self.event_of(LifecycleAction::Updated, &changed).changing(&before, &changed.registration);
        if changed.status == Status::Pending {
            event = event.because("waits for approval");
        }
        self.emit_of(&event.by(&Actor::Client), &changed);
        self.report_software(suspicion, &changed);
        self.end_if_blocked(changed, &next).await
    }

    /// Ends the client if it is blocked now.
    async fn end_if_blocked(&self, changed: Client, next: &Client) -> Result<(), Failure> {
        // As for a new registration: either this sees the block, or the revocation sees the change.
        let result = self.reject_blocked(next).await;
        if let Err(Failure::Rejected(_)) = &result {
            self.end_one(changed, &Actor::System, "changed to blocked metadata", &mut RevocationReport::default())
                .await?;
        }
        result
    }

    /// Records that the server has deleted the client at its request.
    pub(crate) async fn deleted(&self, client_id: &str) -> Result<(), LedgerError> {
        let found = self.look_up(client_id).await?.filter(|client| client.origin != Origin::Document);
        let Some(client) = found else { return Ok(()) };
        let reason = "deleted by the client";
        // There is nothing to delete at the server.
        let end = |client: &mut Client| client.end(Status::Revoked, self.now(), Actor::Client, reason);
        if let Ok(ended) = self.update(client, |client| client.status.is_live(), end).await? {
            self.begin_epoch();
            let event = self.event_of(LifecycleAction::Revoked, &ended);
            self.emit(&event.by(&Actor::Client).because(reason));
        }
        Ok(())
    }
}

/// Returns whether a review of `before` holds for `after`: only the version of the software, contacts or loopback ports
/// differ.
fn is_as_reviewed(before: &Client, after: &Client) -> bool {
    let reviewed = |client: &Client| {
        let mut registration = Registration::parse_with(client.registration.as_bytes(), &Limits::GENEROUS).ok()?;
        registration.retain(|name, _| !Field::of(name.as_bytes()).is_some_and(Field::is_informational));
        let identity = client.identity.as_ref();
        let identity = identity.map(|identity| (identity.status, identity.claimed.clone()));
        Some((Fingerprints::of(&registration, true).digest, identity, client.statement_issuer.clone()))
    };
    reviewed(before).is_some_and(|before| reviewed(after) == Some(before))
}

/// Returns whether a client has no authentication. An absent method means `client_secret_basic` (RFC 7591 section 2).
pub(super) fn is_public(registration: &Registration) -> bool {
    registration.string_at(Field::TOKEN_ENDPOINT_AUTH_METHOD) == Some("none")
}

fn parsed(registration: &str) -> Result<Registration, LedgerError> {
    Registration::parse_with(registration.as_bytes(), &Limits::GENEROUS).map_err(LedgerError::new)
}

/// RFC 7592 section 2.1: "If the client does not exist on this server, the server MUST respond with HTTP 401".
fn gone() -> Failure {
    let detail = "the client of this registration access token is not registered any more";
    Rejection::new(ErrorCode::InvalidToken, RULE, detail).into()
}
