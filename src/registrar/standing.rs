//! Whether a client may do what it is about to do, and proof that it is in use.

use super::{Registrar, Updated};
use crate::event::Action;
use crate::ledger::{Actor, Client, Fingerprints, Insertion, LedgerError, Origin, State, Status};

/// How many records of one `client_id` are looked at.
const MAX_VARIANTS: u32 = 1000;

impl Registrar {
    /// The record of a client, in which a lifetime that has ended is written down: one read, as long as nothing has.
    pub(crate) async fn look_up(&self, client_id: &str) -> Result<Option<Client>, LedgerError> {
        // No database finds a NUL, and some take the question for a fault of theirs.
        if client_id.contains('\0') {
            return Ok(None);
        }
        match self.ledger().find(client_id).await? {
            Some(client) => self.as_of_now(client).await.map(Some),
            None => Ok(None),
        }
    }

    /// Returns every record of `client_id`, in which lifetimes that have ended are written down: one, unless the server
    /// gives the id to several registrations (see [`with_shared_client_ids`](Self::with_shared_client_ids)). At most
    /// [`MAX_VARIANTS`]: live ones first, then those that got a token.
    #[expect(dead_code, reason = "the gate asks")]
    pub(crate) async fn look_up_all(&self, client_id: &str) -> Result<Vec<Client>, LedgerError> {
        if client_id.contains('\0') {
            return Ok(Vec::new());
        }
        let mut all = self.ledger().find_all(client_id, MAX_VARIANTS).await?;
        for client in &mut all {
            *client = self.as_of_now(client.clone()).await?;
        }
        Ok(all)
    }

    async fn as_of_now(&self, client: Client) -> Result<Client, LedgerError> {
        let is_over = client.status.is_live() && client.state(self.now()) == State::Expired;
        if is_over { self.expire(client).await } else { Ok(client) }
    }

    /// Writes down that the lifetime of `client` has ended, unless the server says that it is in use. Returns what it
    /// is now.
    pub(super) async fn expire(&self, client: Client) -> Result<Client, LedgerError> {
        let now = self.now();
        if self.is_still_in_use(&client).await? {
            let more = self.settings().lifetimes.idle_ms() / 2;
            let extend = |client: &Client| {
                (client.state(now) == State::Expired && client.status.is_live())
                    .then(|| Client { expires_at: Some(client.at_most(now.saturating_add(more))), ..client.clone() })
            };
            return Ok(self.update(client, extend).await?.into_client());
        }
        let reason = match (client.status, client.proven_at) {
            (Status::Pending, _) => "not approved in time",
            (_, None) => "never used",
            (_, Some(_)) => "not used for long",
        };
        let end = |client: &Client| {
            (client.status.is_live() && client.state(now) == State::Expired)
                .then(|| self.ended(client, Status::Expired, Actor::System, reason))
        };
        let updated = self.update(client, end).await?;
        if let Updated::Changed(expired) = &updated {
            let event = self.event(Action::Expired).of_client(expired.client_id.as_deref());
            self.emit(&event.by(&Actor::System).because(reason));
        }
        // If somebody else has changed it, its time may have been prolonged.
        Ok(updated.into_client())
    }

    /// Asks the server. A secret that has expired is not in use, whatever the server says.
    async fn is_still_in_use(&self, client: &Client) -> Result<bool, LedgerError> {
        let (Some(server), Some(id)) = (&self.config.still_in_use, &client.client_id) else { return Ok(false) };
        if client.status != Status::Active || client.not_after.is_some_and(|at| at <= self.now()) {
            return Ok(false);
        }
        server.still_in_use(id).await.map_err(LedgerError::new)
    }

    /// Whether a token that was just given to `client` is worth writing down.
    pub(crate) fn is_news(&self, client: &Client) -> bool {
        let half = self.settings().lifetimes.idle_ms() / 2;
        client.proven_at.is_none_or(|at| self.now().saturating_sub(at) >= half)
    }

    /// The server gave a token to `client`: its lifetime begins anew. Returns what it is now; that it was ended in the
    /// meantime stays.
    pub(crate) async fn prove(&self, client: Client) -> Result<Client, LedgerError> {
        let now = self.now();
        // Written once in half an idle limit, and so that a client is never idle for less than the limit.
        let idle = self.settings().lifetimes.idle_ms();
        let lifetime = idle.saturating_add(idle / 2);
        let slide = |client: &Client| {
            (client.status == Status::Active && self.is_news(client)).then(|| Client {
                proven_at: Some(now),
                expires_at: match client.origin {
                    Origin::Registered => Some(client.at_most(now.saturating_add(lifetime))),
                    Origin::Elsewhere => client.expires_at,
                },
                ..client.clone()
            })
        };
        Ok(self.update(client, slide).await?.into_client())
    }

    /// The next one who registers the same gets another client.
    pub(crate) async fn stop_repeating(&self, client: Client) -> Result<(), LedgerError> {
        let stop = |client: &Client| {
            client.repeat_key.is_some().then(|| Client { repeat_key: None, answer: None, ..client.clone() })
        };
        if self.update(client, stop).await?.changed().is_some() {
            self.begin_epoch();
        }
        Ok(())
    }

    /// The server gave a token to a client that the ledger does not know: it was registered before, or by another way.
    pub(crate) async fn note_elsewhere(&self, client_id: &str) -> Result<Client, LedgerError> {
        let now = self.now();
        let mut client = Client::draft("{}", Fingerprints::default(), now);
        client.status = Status::Active;
        client.origin = Origin::Elsewhere;
        client.client_id = Some(client_id.to_owned());
        client.proven_at = Some(now);
        match self.ledger().insert(&client, None).await? {
            Insertion::Inserted(client) => {
                self.emit(&self.event(Action::UnregisteredClient).of_client(Some(client_id)));
                Ok(client)
            }
            Insertion::Exists(client) => Ok(client),
            Insertion::Full => Ok(client),
        }
    }
}
