//! What a client does to its own registration (RFC 7592).

use super::admission::{RULE, secret_expiry, with_fewer_redirect_uris};
use super::{Refusal, Registrar, Requester, Revoked, ServerAnswer};
use crate::event::Action;
use crate::ledger::{Actor, Client, Fingerprints, LedgerError, Status};
use crate::policy::{Caller, Identity};
use crate::registration::{Field, Registration};
use crate::rejection::{ErrorCode, Rejection};

/// An update that the server is about to be asked for.
pub(crate) struct ChangeIntent {
    client: Client,
    next: Fingerprints,
    registration: String,
    identity: Option<Identity>,
    policy: Option<String>,
}

impl Registrar {
    /// Whether a client may read or change its registration. `None` if the ledger does not know it.
    ///
    /// RFC 7592 section 5: the registration access token dies with the client. Section 2.1: what does not exist any more
    /// is answered with 401.
    pub(crate) async fn may_manage(&self, client_id: &str) -> Result<Option<Client>, Refusal> {
        let Some(client) = self.look_up(client_id).await? else { return Ok(None) };
        if client.status.is_live() {
            return Ok(Some(client));
        }
        Err(gone())
    }

    /// Who a client was admitted as. `None` if the ledger does not know it, or nobody vouched for it.
    pub(crate) async fn admitted_as(&self, client_id: &str) -> Result<Option<Caller>, LedgerError> {
        let Some(client) = self.look_up(client_id).await? else { return Ok(None) };
        Ok(Some(client.caller()).filter(|caller| !caller.is_anonymous()))
    }

    /// `managed` is the client that the URL is about, as far as it can be told.
    pub(crate) async fn admit_change(
        &self,
        managed: &str,
        registration: &Registration,
        requester: &Requester,
    ) -> Result<Option<ChangeIntent>, Refusal> {
        // A clean registration and then an update to what was revoked is the classic way around.
        let mut metadata = registration.clone();
        // What an update has besides (RFC 7592 section 2.2): without it, it is what a registration would be.
        metadata.retain(|name, _| !matches!(name, "client_id" | "client_secret"));
        let (json, next) = self.describe(&metadata, requester);
        self.refuse_blocked(&next).await?;
        let Some(client) = self.may_manage(managed).await? else {
            // It was registered elsewhere, or the URL does not say. Whom the body names is not changed for that: the
            // handler has not checked that the registration access token is theirs.
            return Ok(None);
        };
        // RFC 7592 section 2.2: the client_id in the request "MUST be the same as its currently issued client identifier".
        if registration.string_at(Field::CLIENT_ID).is_some_and(|named| named != managed) {
            let detail = "must be the client that this URL is about";
            let rejection = Rejection::new(ErrorCode::InvalidClientMetadata, RULE, detail).with_field("client_id");
            return Err(Refusal::Rejected(rejection));
        }
        let (identity, policy) = (requester.identity.clone(), requester.policy());
        Ok(Some(ChangeIntent { client, next, registration: json, identity, policy }))
    }

    /// The server has made the change.
    pub(crate) async fn changed(&self, intent: ChangeIntent, answer: Option<&ServerAnswer<'_>>) -> Result<(), Refusal> {
        let ChangeIntent { client, next, registration, identity, policy } = intent;
        let id = client.client_id.clone();
        let fewer = answer.and_then(|answer| with_fewer_redirect_uris(&registration, answer.document));
        let registration = fewer.unwrap_or(registration);
        let not_after = answer.map_or(client.not_after, |answer| secret_expiry(answer.document));
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
                    not_after,
                    ..client.clone()
                };
                changed.expires_at = client.expires_at.map(|at| changed.at_most(at));
                // What is registered now is not what others registered and were answered.
                (changed.repeat_key, changed.answer) = (None, None);
                changed
            })
        };
        let Some(changed) = self.update(client, change).await?.changed() else { return Err(gone()) };
        self.begin_epoch();
        self.emit(&self.event(Action::Updated).of_client(id.as_deref()).by(&Actor::Client));
        // As for a new registration: either this sees the block, or who blocks sees the change. The server has made it.
        let standing = self.refuse_blocked(&next).await;
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
