//! Client records from the cache or the ledger.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::Judgement;
use super::cache::Records;
use crate::clients::ledger::{Client, LedgerError, Origin};
use crate::registration::{Limits, Registration, Value};

/// A record, with values derived from it.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) client: Client,
    /// Parsed on first use. `None` inside if the record can't be read.
    registered: OnceLock<Option<Registered>>,
}

/// The members of a registration that requests are compared with. `None` where it does not have one.
#[derive(Debug, Default)]
pub(super) struct Registered {
    pub(super) auth_method: Option<String>,
    pub(super) grant_types: Option<Vec<String>>,
    /// Set if the server sends its tokens to it (CIBA section 4).
    pub(super) is_in_push_mode: bool,
    /// Set if it pushes all of its requests (RFC 9126 section 6).
    pub(super) pushes_requests: bool,
    pub(super) redirect_uris: Vec<String>,
    pub(super) response_types: Option<Vec<String>>,
    pub(super) scope: Option<Vec<String>>,
    pub(super) responses: Responses,
}

/// The authorization responses that a client takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Responses {
    #[default]
    Plain,
    Signed,
    /// JARM section 2.2: signed first, with `RS256` if no algorithm is registered (section 3).
    Encrypted,
}

impl Responses {
    fn of(document: &Registration) -> Self {
        let has = |name| document.string(name).is_some();
        match () {
            () if has("authorization_encrypted_response_alg") => Self::Encrypted,
            () if has("authorization_signed_response_alg") => Self::Signed,
            () => Self::Plain,
        }
    }
}

impl Registered {
    fn read(registration: &str) -> Option<Self> {
        let document = Registration::parse_with(registration.as_bytes(), &Limits::GENEROUS).ok()?;
        let strings = |name| Some(document.strings(name)?.map(str::to_owned).collect::<Vec<String>>());
        let scope = document.string("scope").filter(|scope| !scope.trim().is_empty());
        Some(Self {
            auth_method: document.string("token_endpoint_auth_method").map(str::to_owned),
            grant_types: strings("grant_types"),
            is_in_push_mode: document.string("backchannel_token_delivery_mode") == Some("push"),
            pushes_requests: matches!(document.get("require_pushed_authorization_requests"), Some(Value::Bool(true))),
            redirect_uris: document.redirect_uris().map(str::to_owned).collect(),
            response_types: strings("response_types"),
            scope: scope.map(|scope| scope.split(' ').map(str::to_owned).collect()),
            responses: Responses::of(&document),
        })
    }
}

impl Known {
    pub(super) fn new(client: Client) -> Self {
        Self { client, registered: OnceLock::new() }
    }

    /// Returns `true` if the ledger has the record. That of a document is drafted first.
    pub(super) fn is_recorded(&self) -> bool {
        self.client.key.0 != 0
    }

    /// Returns whether every server accepts the scopes.
    pub(super) fn has_scopes<'a>(&self, mut scopes: impl Iterator<Item = &'a str>) -> bool {
        let registered = self.registered().and_then(|registered| registered.scope.as_ref());
        let has = |wanted: &str| registered.is_some_and(|known| known.iter().any(|known| known == wanted));
        scopes.all(|scope| scope.split(' ').all(has))
    }

    pub(super) fn registered(&self) -> Option<&Registered> {
        self.registered.get_or_init(|| Registered::read(&self.client.registration)).as_ref()
    }
}

impl Judgement<'_> {
    /// Returns whether some server reads the name of an unknown client as one that the ledger has.
    pub(super) async fn is_known_otherwise(&self, ids: &[String]) -> Result<bool, LedgerError> {
        for id in ids {
            let (registrations, max_age) = (self.registrar.registrations(), self.settings.max_age());
            let remembered = self.cache.absent(id, registrations, max_age).and_then(|absent| absent.has_other_case);
            let found = if let Some(found) = remembered {
                found
            } else {
                let found = Box::pin(self.registrar.is_known_otherwise(id)).await?;
                self.remember_absent(id, registrations, Some(found));
                found
            };
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the records of a client, at most `max_age` old while the ledger is available.
    pub(super) async fn look_up(&self, id: &str, max_age: Duration) -> Result<Records, LedgerError> {
        let (epoch, registrations) = (self.registrar.epoch(), self.registrar.registrations());
        // The registrar records that a client has expired.
        let has_lapsed = |known: &Arc<Known>| self.registrar.has_lapsed(&known.client);
        let remembered =
            |max_age: Duration| self.cache.get(id, epoch, max_age).filter(|records| !records.iter().any(has_lapsed));
        if let Some(records) = remembered(max_age) {
            return Ok(records);
        }
        if self.cache.absent(id, registrations, max_age).is_some() {
            return Ok(Records::default());
        }
        // Boxed, as other calls that most requests do not make: the future of a request is copied once, and stays small.
        match Box::pin(self.registrar.records(id)).await {
            Ok(found) if found.is_empty() => {
                self.remember_absent(id, registrations, None);
                Ok(Records::default())
            }
            Ok(mut found) => {
                // Once a client is registered under an ID, a record that the ID was seen in use no longer counts.
                if found.iter().any(|client| client.origin == Origin::Registered) {
                    found.retain(|client| client.origin == Origin::Registered);
                }
                let records: Records = found.into_iter().map(|client| Arc::new(Known::new(client))).collect();
                self.remember(id, epoch, &records);
                Ok(records)
            }
            Err(error) => remembered(self.settings.longest_age()).ok_or(error),
        }
    }

    /// Stores records that were read in epoch `epoch`.
    pub(super) fn remember(&self, id: &str, epoch: u64, records: &Records) {
        if self.keeps(id) {
            self.cache.put(id, epoch, records);
        }
    }

    /// Stores the only record of a client, which was read in epoch `epoch`.
    pub(super) fn remember_one(&self, id: &str, epoch: u64, known: &Arc<Known>) {
        self.remember(id, epoch, &std::iter::once(Arc::clone(known)).collect());
    }

    fn remember_absent(&self, id: &str, registrations: u64, has_other_case: Option<bool>) {
        if self.keeps(id) {
            self.cache.put_absent(id, registrations, has_other_case);
        }
    }

    /// Returns whether records under this name are cached. Real clients have short names.
    fn keeps(&self, id: &str) -> bool {
        id.len() <= 512 && self.settings.max_age() > Duration::ZERO
    }
}
