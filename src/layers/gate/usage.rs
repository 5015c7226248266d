//! Learns from the server's responses which clients are in use, and which the server has lost.

use std::sync::Arc;

use http::{Response, StatusCode};
use http_body::Body;

use super::Judgement;
use super::admission::Admitted;
use super::endpoint::{Fetching, Loss};
use super::names::Name;
use super::parameters::Seen;
use super::records::Known;
use super::rejection::Fault;
use super::rules::resource;
use crate::clients::ledger::Client;
use crate::documents::VerifiedClient;
use crate::layers::body::{self, ResponseBody};
use crate::registration::Registration;

impl Judgement<'_> {
    /// Notes that the server knows a client whose authorization request it did not reject.
    pub(super) fn note_known(&self, status: StatusCode, admitted: &Admitted<'_>) {
        let goes_on = status.is_success() || status.is_redirection();
        if self.endpoint.loss == Loss::TwoErrors
            && goes_on
            && let Some(known) = deduplicated(admitted)
        {
            self.registrar.server_knows(&known.client);
        }
    }

    /// Records that the server has lost a client, as far as its rejection shows that, and returns the response unchanged.
    /// Otherwise a server that lost its store would get its lost clients again and again: after this, the next equal
    /// registration gets a new client. Any client can send requests that the server rejects for other reasons, so only the
    /// plainest ones count.
    pub(super) async fn notice_loss<R: Body + Send + 'static>(
        &self,
        response: Response<R>,
        seen: &Seen,
        admitted: &Admitted<'_>,
    ) -> Response<ResponseBody<R>> {
        let status = response.status();
        let is_rejection = match self.endpoint.loss {
            Loss::Unauthorized => true,
            Loss::TwoErrors => {
                seen.redirect_uri.is_some() && matches!(status.as_u16(), 400 | 401 | 403 | 404 | 410 | 422)
            }
            Loss::Never => false,
        };
        let Some(known) = deduplicated(admitted).filter(|_| is_rejection && seen.is_plain) else {
            return response.map(ResponseBody::inner);
        };
        let is_of_client = |document: Option<&Registration>| self.is_of_client(document, status, seen, known);
        let (response, is_lost) = body::judge_document(response, is_of_client).await;
        if is_lost {
            let client = known.client.clone();
            let noticed = match self.endpoint.loss {
                Loss::TwoErrors => self.registrar.server_disowned(client).await,
                Loss::Unauthorized | Loss::Never => self.registrar.stop_deduplicating(client).await,
            };
            if let Err(error) = noticed {
                error.log();
            }
        }
        response
    }

    /// Returns `true` if the rejection of a plain request says that the server does not know the client. `document` is the
    /// body, if it is JSON.
    fn is_of_client(&self, document: Option<&Registration>, status: StatusCode, seen: &Seen, known: &Known) -> bool {
        let at_authorization = self.endpoint.loss == Loss::TwoErrors;
        match document.and_then(|document| document.string("error")) {
            // RFC 6749 section 5.2: "Client authentication failed (e.g., unknown client, ...)". The request had no credentials.
            Some("invalid_client") => true,
            // The SDK for Python: "Client ID '...' not found".
            Some("invalid_request") if at_authorization => {
                let said = document.and_then(|document| document.string("error_description")).unwrap_or_default();
                seen.client_ids.iter().any(|id| names_client(said, id) && !seen.given.contains(id))
            }
            // A wrong code, `resource` or scope, which any sender can make up.
            Some(_) => false,
            // A page, or no text at all. Where no resources are listed, it may be about that of the request, which any sender can
            // make up. It counts: a client that is taken for lost registers once more, and a lost one that is not can't sign in.
            None if !resource::are_listed(&seen.given, &self.settings) => false,
            None if at_authorization => known.has_scopes(seen.given.values(Name::Scope)),
            None => status == StatusCode::UNAUTHORIZED,
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
        let Admitted { client_id: Some(id), known, sharing, document, .. } = admitted else { return Ok(()) };
        if let Some(client) = document.as_ref().filter(|_| known.as_ref().is_some_and(|known| !known.is_recorded())) {
            return self.record_document_use(&id, client).await;
        }
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
                self.remember_one(&id, epoch, &Arc::new(Known::new(client)));
                judged
            }
            Err(error) => {
                // The client has the token, and was known a moment ago. Its next token records the use.
                error.log();
                Ok(())
            }
        }
    }

    /// Records a document whose client got its first token.
    async fn record_document_use(&self, id: &str, client: &VerifiedClient) -> Result<(), Fault> {
        let epoch = self.registrar.epoch();
        let recorded = match self.record_document(client).await {
            Ok(Ok(record)) => self.registrar.record_use(record).await,
            Ok(Err(fault)) => return Err(fault),
            Err(error) => Err(error),
        };
        match recorded {
            Ok(record) => {
                let judged = self.judge(&record);
                self.remember_one(id, epoch, &Arc::new(Known::new(record)));
                judged
            }
            Err(error) => {
                error.log();
                Ok(())
            }
        }
    }

    /// Records a document whose client is about to get an authorization code, so that other nodes know it at the token endpoint.
    /// Withholds the response of a client that was revoked meanwhile.
    pub(super) async fn record_code(
        &self,
        status: StatusCode,
        has_code: bool,
        admitted: &Admitted<'_>,
    ) -> Result<(), Fault> {
        let (Some(client), Some(known)) = (&admitted.document, &admitted.known) else { return Ok(()) };
        let goes_on = status.is_success() || status.is_redirection();
        if self.endpoint.fetching == Fetching::Never || !goes_on {
            return Ok(());
        }
        if let Some(documents) = &self.documents {
            documents.documents.let_through(client);
        }
        if known.is_recorded() || !has_code {
            return Ok(());
        }
        match Box::pin(self.record_document(client)).await {
            // It may have to wait for an operator.
            Ok(recorded) => recorded.and_then(|record| self.judge(&record)),
            Err(error) => {
                // This node remembers the document, and the token endpoint records it.
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

/// Returns `true` if the text has the client ID in it. A short one may be a word.
fn names_client(text: &str, client_id: &str) -> bool {
    client_id.len() >= 8 && text.contains(client_id)
}

/// Returns the client, if equal registrations get it again.
fn deduplicated<'a>(admitted: &'a Admitted<'_>) -> Option<&'a Known> {
    admitted.known.as_deref().filter(|known| known.client.dedup_key.is_some())
}
