//! What a client does to its own registration (RFC 7592).

use super::admission::{RULE, secret_expiry};
use super::{Refusal, Registrar, Requester, Revoked, ServerAnswer};
use crate::client_url::RULE as URL_RULE;
use crate::event::Action;
use crate::ledger::{Actor, Client, Fingerprints, Insertion, LedgerError, Origin, Status};
use crate::policy::{Caller, Identity};
use crate::registration::{Field, Registration};
use crate::rejection::{ErrorCode, Rejection};

/// An update that the server is about to be asked for.
pub(crate) struct ChangeIntent {
    id: String,
    /// `None` if the ledger does not know it yet.
    client: Option<Client>,
    next: Fingerprints,
    registration: String,
    identity: Option<Identity>,
    policy: Option<String>,
}

impl ChangeIntent {
    /// Returns whether the client was registered elsewhere, and is new here.
    pub(crate) fn is_new(&self) -> bool {
        self.client.is_none()
    }
}

/// How many extensions of an unknown ID are looked at.
const MAX_EXTENSIONS: usize = 4;

impl Registrar {
    /// Looks up the client that a URL is about. An unknown ID that some servers fold into a known one is rejected: they cut
    /// `.json` off the last segment, or compare without case.
    async fn managed(&self, client_id: &str) -> Result<Option<Client>, Refusal> {
        if let Some(client) = self.look_up(client_id).await? {
            return Ok(Some(client));
        }
        let extensions = client_id.rmatch_indices('.').take(MAX_EXTENSIONS);
        let shorter = extensions.filter_map(|(at, _)| client_id.get(..at)).map(str::to_owned);
        for other in shorter.chain([client_id.to_ascii_lowercase(), client_id.to_ascii_uppercase()]) {
            if !other.is_empty() && other != client_id && self.look_up(&other).await?.is_some() {
                let detail = "the URL does not name a client in the one spelling that is read";
                return Err(Refusal::Rejected(Rejection::new(ErrorCode::InvalidClientMetadata, URL_RULE, detail)));
            }
        }
        Ok(None)
    }

    /// Whether a client may read or change its registration. `None` if the ledger does not know it.
    ///
    /// RFC 7592 section 5: the registration access token dies with the client. Section 2.1: what does not exist any more
    /// is answered with 401.
    pub(crate) async fn may_manage(&self, client_id: &str) -> Result<Option<Client>, Refusal> {
        let Some(client) = self.managed(client_id).await? else { return Ok(None) };
        if client.status.is_live() {
            return Ok(Some(client));
        }
        Err(gone())
    }

    /// Who a client was admitted as. `None` if the ledger does not know it.
    pub(crate) async fn admitted_as(&self, client_id: &str) -> Result<Option<Caller>, Refusal> {
        Ok(self.managed(client_id).await?.map(|client| client.caller()))
    }

    /// `managed` is the client that the URL is about.
    pub(crate) async fn admit_change(
        &self,
        managed: &str,
        registration: &Registration,
        requester: &Requester,
    ) -> Result<ChangeIntent, Refusal> {
        // A clean registration and then an update to what was revoked is the classic way around.
        let mut metadata = registration.clone();
        // What an update has besides (RFC 7592 section 2.2): without it, it is what a registration would be.
        metadata.retain(|name, _| !matches!(name, "client_id" | "client_secret"));
        let (json, next) = self.describe(&metadata, requester);
        self.refuse_blocked(&next).await?;
        let client = self.may_manage(managed).await?;
        if client.is_none() && self.settings().lifetimes.needs_approval() && !self.settings().manage_unknown {
            // Handlers that register what they do not know would register it without approval.
            return Err(gone());
        }
        // RFC 7592 section 2.2: the client_id in the request "MUST be the same as its currently issued client identifier".
        if registration.string_at(Field::CLIENT_ID).is_some_and(|named| named != managed) {
            let detail = "must be the client that this URL is about";
            let rejection = Rejection::new(ErrorCode::InvalidClientMetadata, RULE, detail).with_field("client_id");
            return Err(Refusal::Rejected(rejection));
        }
        let (identity, policy) = (requester.identity.clone(), requester.policy());
        Ok(ChangeIntent { id: managed.to_owned(), client, next, registration: json, identity, policy })
    }

    /// The server has made the change.
    pub(crate) async fn changed(&self, intent: ChangeIntent, answer: Option<&ServerAnswer<'_>>) -> Result<(), Refusal> {
        let ChangeIntent { id, client, next, registration, identity, policy } = intent;
        let answered = answer.and_then(|answer| answer.document.string_at(Field::CLIENT_ID));
        if answered.is_some_and(|answered| answered != id) {
            tracing::error!(
                target: "tower_dcr::lifecycle",
                client_id = ?id,
                "the server answered the update of a client with another client_id"
            );
            let detail = "the server answered the update of a client with another one";
            return Err(Refusal::Rejected(Rejection::new(ErrorCode::ServerError, RULE, detail)));
        }
        let not_after = |client: Option<&Client>| {
            answer.map_or(client.and_then(|client| client.not_after), |answer| secret_expiry(answer.document))
        };
        let known = if let Some(known) = client {
            known
        } else {
            let mut new = Client::draft(registration.clone(), next.clone(), self.now());
            (new.status, new.origin, new.client_id) = (Status::Active, Origin::Elsewhere, Some(id.clone()));
            (new.identity, new.policy, new.not_after) = (identity.clone(), policy.clone(), not_after(None));
            match self.ledger().insert(&new, None).await? {
                Insertion::Inserted(new) => {
                    self.emit(&self.event(Action::UnregisteredClient).of_client(Some(&id)));
                    return self.settle_change(new, &next).await;
                }
                // Another node has seen it in between.
                Insertion::Exists(known) => known,
                Insertion::Full => return Err(LedgerError::new("a ledger without a limit is full").into()),
            }
        };
        let change = |client: &Client| {
            client.status.is_live().then(|| {
                let mut fingerprints = next.clone();
                // Where it was registered from; the update may come from anywhere.
                fingerprints.source.clone_from(&client.fingerprints.source);
                let mut changed = Client {
                    registration: registration.clone(),
                    identity: identity.clone(),
                    policy: policy.clone(),
                    fingerprints,
                    not_after: not_after(Some(client)),
                    ..client.clone()
                };
                changed.expires_at = client.expires_at.map(|at| changed.at_most(at));
                // What is registered now is not what others registered and were answered.
                (changed.repeat_key, changed.answer) = (None, None);
                changed
            })
        };
        let Some(changed) = self.update(known, change).await?.changed() else { return Err(gone()) };
        self.settle_change(changed, &next).await
    }

    /// Says what was changed, and ends the client if it is blocked now.
    async fn settle_change(&self, changed: Client, next: &Fingerprints) -> Result<(), Refusal> {
        self.begin_epoch();
        self.emit(&self.event(Action::Updated).of_client(changed.client_id.as_deref()).by(&Actor::Client));
        // As for a new registration: either this sees the block, or who blocks sees the change. The server has made it.
        let standing = self.refuse_blocked(next).await;
        if let Err(Refusal::Rejected(_)) = &standing {
            self.end_one(changed, &Actor::System, "changed into what is blocked", &mut Revoked::default()).await?;
        }
        standing
    }

    /// The server has deleted the client, at its own wish.
    pub(crate) async fn deleted(&self, client_id: &str) -> Result<(), LedgerError> {
        let Some(client) = self.look_up(client_id).await? else { return Ok(()) };
        let reason = "deleted by the client";
        let end = |client: &Client| {
            client.status.is_live().then(|| {
                // Not by `ended`: there is nothing that the server has to be told.
                let mut ended = client.clone();
                ended.end(Status::Revoked, self.now(), Actor::Client, reason);
                ended
            })
        };
        if self.update(client, end).await?.changed().is_some() {
            self.begin_epoch();
            let event = self.event(Action::Revoked).of_client(Some(client_id));
            self.emit(&event.by(&Actor::Client).because(reason));
        }
        Ok(())
    }
}

/// RFC 7592 section 2.1: "If the client does not exist on this server, the server MUST respond with HTTP 401".
fn gone() -> Refusal {
    let detail = "the client of this registration access token is not registered any more";
    Refusal::Rejected(Rejection::new(ErrorCode::InvalidToken, RULE, detail))
}
