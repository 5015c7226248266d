//! Learns from the server's responses which clients are in use, and which the server has lost.

use std::sync::Arc;

use http::{Response, StatusCode};
use http_body::Body;

use super::Config;
use super::admission::Admitted;
use super::endpoint::Loss;
use super::names::Name;
use super::parameters::Seen;
use super::records::Known;
use super::rejection::Fault;
use super::rules::resource;
use crate::clients::ledger::Client;
use crate::layers::body::{self, ResponseBody};
use crate::registration::Registration;

impl Config {
    /// Records that the server has lost a client, as far as its response shows that, and returns the response unchanged.
    /// Otherwise a server that lost its store would get its lost clients again and again: after this, the next equal
    /// registration gets a new client. Any client can send requests that the server rejects for other reasons, so only the
    /// plainest ones count.
    pub(super) async fn notice_loss<R: Body + Send + 'static>(
        &self,
        response: Response<R>,
        seen: &Seen,
        known: Option<&Known>,
    ) -> Response<ResponseBody<R>> {
        let status = response.status();
        let Some(known) = known.filter(|known| known.client.dedup_key.is_some()) else {
            return response.map(ResponseBody::inner);
        };
        let is_rejection = match self.endpoint.loss {
            Loss::Unauthorized => status.is_client_error(),
            Loss::TwoErrors if status.is_success() || status.is_redirection() => {
                self.registrar.server_knows(&known.client);
                false
            }
            Loss::TwoErrors => {
                seen.redirect_uri.is_some() && matches!(status.as_u16(), 400 | 401 | 403 | 404 | 410 | 422)
            }
            Loss::Never => false,
        };
        if !is_rejection || !seen.is_plain {
            return response.map(ResponseBody::inner);
        }
        let is_of_client = |document: Option<&Registration>| self.is_of_client(document, status, seen, known);
        let (response, is_lost) = Box::pin(body::judge_document(response, is_of_client)).await;
        if is_lost {
            let client = known.client.clone();
            let noticed = match self.endpoint.loss {
                Loss::TwoErrors => Box::pin(self.registrar.server_disowned(client)).await,
                Loss::Unauthorized | Loss::Never => Box::pin(self.registrar.stop_deduplicating(client)).await,
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
            // A page, or no text at all: it counts if nothing else in the request can be wrong.
            None => {
                resource::are_listed(&seen.given, &self.settings)
                    && if at_authorization {
                        known.has_scopes(seen.given.values(Name::Scope))
                    } else {
                        status == StatusCode::UNAUTHORIZED
                    }
            }
        }
    }

    /// Records the use of a client after a successful response to a token request.
    pub(super) async fn record_use(&self, admitted: Admitted, holds_token: bool) -> Result<(), Fault> {
        let Admitted { client_id: Some(id), known, sharing, .. } = admitted else { return Ok(()) };
        if !holds_token {
            // Some servers report errors in a success.
            return Ok(());
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
            Some(_) if self.cache.get(&id, epoch, self.settings.max_age()).is_none() => {
                self.registrar.look_up(&id).await
            }
            Some(_) => Ok(None),
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

/// Returns `true` if the text has the client ID in it. A short one may be a word.
fn names_client(text: &str, client_id: &str) -> bool {
    client_id.len() >= 8 && text.contains(client_id)
}
