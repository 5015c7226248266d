//! Learns from the server's responses which clients are in use, and which the server has lost.

use std::sync::Arc;

use http::StatusCode;

use super::Judgement;
use super::admission::Admitted;
use super::endpoint::Loss;
use super::names::Name;
use super::parameters::Seen;
use super::records::Known;
use super::rejection::Fault;
use crate::clients::ledger::Client;

impl Judgement<'_> {
    /// Records that the server has lost a client, as far as its response shows that. Otherwise a server that lost its
    /// store would get its lost clients again and again: after this, the next equal registration gets a new client.
    /// Any client can send requests that the server rejects for other reasons, so only the plainest ones count.
    pub(super) async fn notice_loss(&self, status: StatusCode, seen: &Seen, known: Option<&Known>) {
        let Some(known) = known.filter(|known| known.client.dedup_key.is_some()) else { return };
        let client = || known.client.clone();
        let noticed = match self.endpoint.loss {
            Loss::Unauthorized if status == StatusCode::UNAUTHORIZED && seen.is_plain => {
                Box::pin(self.registrar.stop_deduplicating(client())).await
            }
            Loss::TwoErrors if matches!(status.as_u16(), 400 | 401 | 403 | 404 | 410 | 422) => {
                if !seen.is_plain || seen.redirect_uri.is_none() || !known.has_scopes(seen.given.values(Name::Scope)) {
                    return;
                }
                Box::pin(self.registrar.server_disowned(client())).await
            }
            Loss::TwoErrors if status.is_success() || status.is_redirection() => {
                self.registrar.server_knows(&known.client);
                return;
            }
            Loss::Never | Loss::Unauthorized | Loss::TwoErrors => return,
        };
        if let Err(error) = noticed {
            error.log();
        }
    }

    /// Returns `true` if a response to a token request leaves nothing to record: it has no token, as some servers report errors
    /// in a success, or the use of the client was recorded a short time ago, and the client was not changed on this node since.
    pub(super) fn is_recorded(&self, admitted: &Admitted<'_>, holds_token: bool) -> bool {
        let Some(id) = admitted.client_id.as_deref().filter(|_| holds_token) else { return true };
        let is_unchanged = || self.cache.get(id, self.registrar.epoch(), self.settings.max_age()).is_some();
        let is_old = |known: &Known| !self.registrar.is_news(&known.client);
        admitted.sharing.is_empty() && admitted.known.as_deref().is_some_and(is_old) && is_unchanged()
    }

    /// Records the use of a client after a response with a token.
    pub(super) async fn record_use(&self, admitted: Admitted<'_>) -> Result<(), Fault> {
        let Admitted { client_id: Some(id), known, sharing, .. } = admitted else { return Ok(()) };
        if !sharing.is_empty() {
            return self.record_shared_use(sharing).await;
        }
        let epoch = self.registrar.epoch();
        let read = match &known {
            None => self.registrar.note_elsewhere(&id).await.map(Some),
            Some(known) if self.registrar.is_news(&known.client) => {
                self.registrar.record_use(known.client.clone()).await.map(Some)
            }
            // A client was changed on this node since: this one may be affected.
            Some(_) => self.registrar.look_up(&id).await,
        };
        match read {
            Ok(None) => Ok(()),
            Ok(Some(client)) => {
                let judged = self.judge(&client);
                if judged.is_err() {
                    // The server was told to remove the client before it gave out this token.
                    self.registrar.deprovision_again(client.key).await;
                }
                self.remember(&id, epoch, &std::iter::once(Arc::new(Known::new(client))).collect());
                judged
            }
            Err(error) => {
                // The client has the token, and was known a moment ago. Its next token records the use.
                error.log();
                Ok(())
            }
        }
    }

    /// Records the use of several registrations that share an ID and got one token. One that is live is enough: the
    /// server can't tell them apart.
    async fn record_shared_use(&self, sharing: Vec<Client>) -> Result<(), Fault> {
        let mut decision = Err(Fault::Revoked);
        for client in sharing {
            // One sign-in counts for at most one record that never got a token: an attacker can register many with
            // one redirect URI.
            if decision.is_ok() && client.last_used_at.is_none() {
                break;
            }
            let recorded =
                if self.registrar.is_news(&client) { self.registrar.record_use(client).await } else { Ok(client) };
            match recorded {
                Ok(client) => decision = decision.or_else(|_| self.judge(&client)),
                Err(error) => {
                    error.log();
                    decision = Ok(());
                }
            }
        }
        decision
    }
}
