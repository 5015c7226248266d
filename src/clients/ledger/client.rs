//! [`Client`]: the record of one registration.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Serialize};

use super::Fingerprints;
use super::document::{DocumentState, HeldChange, host_of};
use crate::redirect_uri::{matches, site_of};
use crate::registration::{Limits, Registration};
use crate::rules::{Caller, ClaimStatus, ConfigError, Identity};

/// The key of a record, assigned by the ledger; later records have larger keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a number")]
pub struct ClientKey(pub i64);

/// The record of one registration, which is written before the server is asked. Times are milliseconds since 1970-01-01 00:00
/// UTC.
///
/// A record holds no secret: of a response that contains one, only the `client_id` is kept.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::clients::{Client, Fingerprints, Status};
///
/// let registration = Registration::parse(br#"{"client_name":"App","redirect_uris":["http://localhost/cb"]}"#)?;
/// let mut client = Client::draft(registration.source(), Fingerprints::of(&registration, false), 0);
/// assert_eq!(client.status_at(0), Status::Registering);
/// (client.status, client.expires_at) = (Status::Active, Some(1000));
/// assert_eq!([client.status_at(999), client.status_at(1000)], [Status::Active, Status::Expired]);
/// assert_eq!([client.is_stale(500), client.is_stale(501)], [false, true]);
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Client {
    /// The key that the ledger assigned; 0 before the insertion.
    pub key: ClientKey,
    /// The version, which grows with each change.
    pub version: i64,
    /// The stored status.
    pub status: Status,
    /// The way into the ledger.
    pub origin: Origin,
    /// The `client_id` that the server assigned; `None` until it has answered. Of a document, its URL.
    pub client_id: Option<String>,
    /// Tells the records of one `client_id` apart where the server gives it to several registrations
    /// ([`shared_client_ids`](crate::clients::LifecycleSettings::shared_client_ids)); otherwise empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// The registration, as canonical JSON: the document that was forwarded to the server, with the grant types, response
    /// types, scope and authentication method of its response, and with the redirect URIs that it lists. Of a document, what
    /// the rules left of it, without its `client_id`.
    pub registration: String,
    /// The response of the server, if an equal registration may get it; otherwise `None`.
    pub response: Option<StoredResponse>,
    /// The deduplication key: an equal registration has the same, and gets this client. Unique; `None` without deduplication.
    pub dedup_key: Option<String>,
    /// The fingerprints of the registration.
    pub fingerprints: Fingerprints,
    /// The owner of the initial access token; `None` without one.
    pub admitted_by: Option<String>,
    /// The rules that this token named, which apply to updates too.
    pub rules: Option<String>,
    /// The issuer of the software statement whose claims are in the registration; `None` without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement_issuer: Option<String>,
    /// The identity that it claims, checked against its redirect URIs; `None` if it claims none.
    pub identity: Option<Identity>,
    /// The fingerprint of the policy that accepted it or its last update, as in audit events: 16 hexadecimal digits.
    pub policy: Option<String>,
    /// The time of the registration.
    pub created_at: i64,
    /// The time of its last token, recorded once in half an idle limit; `None` if it never got one.
    pub last_used_at: Option<i64>,
    /// The time at which it expires unless it is used before; `None` if it does not.
    pub expires_at: Option<i64>,
    /// The expiry of its secret, which is the latest time at which it expires; `None` without one.
    pub not_after: Option<i64>,
    /// The time at which an operator approved or extended it; `None` if none did.
    pub reviewed_at: Option<i64>,
    /// The operator who did.
    pub reviewed_by: Option<String>,
    /// The time at which it failed, expired or was revoked; `None` while it is live.
    pub ended_at: Option<i64>,
    /// The one that ended it.
    pub ended_by: Option<Actor>,
    /// The reason, for people; of a live client, the reason for which an operator should look at it.
    pub reason: Option<String>,
    /// The state of its deletion at the server.
    pub deprovisioning: Deprovisioning,
    /// The state of its metadata document; `None` unless its [`origin`](Self::origin) is [`Origin::Document`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Box<DocumentState>>,
}

/// A response of the server to a registration, kept for equal registrations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "complete")]
pub struct StoredResponse {
    /// The HTTP status.
    pub status: u16,
    /// The JSON document.
    pub body: String,
}

/// The state of the deletion of an ended client at the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "written with `..Deprovisioning::default()`")]
pub struct Deprovisioning {
    /// The time of the next attempt; `None` if there is nothing to do.
    pub due_at: Option<i64>,
    /// The number of attempts.
    pub attempts: u32,
    /// The error of the last attempt.
    pub error: Option<String>,
}

/// The stored status of a record. The rights of a client also depend on the time: see
/// [`Client::status_at`].
///
/// ```
/// use tower_dcr::clients::Status;
///
/// assert_eq!("revoked".parse(), Ok(Status::Revoked));
/// assert!(Status::Active.is_live() && !Status::Revoked.is_live());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Status {
    /// The server was asked and has not answered.
    #[default]
    Registering,
    /// Registered, and waiting for approval.
    Pending,
    /// Registered.
    Active,
    /// Not used in time.
    Expired,
    /// Ended by an operator, by the client, or by the owner of its token.
    Revoked,
    /// Not registered by the server, or the answer was not seen.
    Failed,
}

/// The way in which a client came into the ledger.
///
/// ```
/// use tower_dcr::clients::Origin;
///
/// assert_eq!("elsewhere".parse(), Ok(Origin::Elsewhere));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Origin {
    /// Through the registration endpoint.
    #[default]
    Registered,
    /// Not registered through this endpoint: recorded when it got a token.
    Elsewhere,
    /// Not registered at all: its `client_id` is the URL of its metadata document. Recorded when it was used.
    Document,
}

/// The one that acted on a client.
///
/// ```
/// use tower_dcr::clients::Actor;
///
/// let alice = Actor::Operator("alice".into());
/// assert_eq!(alice.to_string(), "operator:alice");
/// assert_eq!("operator:alice".parse(), Ok(alice));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Actor {
    /// The client itself (RFC 7592 section 2.3).
    Client,
    /// An operator.
    Operator(String),
    /// The library, for a configured limit.
    System,
    /// The owner of the initial access token that admitted the client.
    TokenOwner(String),
}

/// The beginning of the reason in the record of a client that lives on past its limit.
const PAST_LIMIT: &str = "past its limit, which is only reported: ";

/// The beginning of the reason in the record of a client that waits for approval because of a rule.
const HELD: &str = "held for approval: ";

impl Client {
    /// Creates the record of a registration that is about to be forwarded.
    #[must_use]
    pub fn draft(registration: impl Into<String>, fingerprints: Fingerprints, created_at: i64) -> Self {
        Self { registration: registration.into(), fingerprints, created_at, ..Self::default() }
    }

    /// Returns the status of the client at `now`: a live one whose lifetime has ended is [`Status::Expired`], whether or not
    /// that is recorded yet.
    #[must_use]
    pub fn status_at(&self, now: i64) -> Status {
        match self.status {
            Status::Pending | Status::Active if self.expires_at.is_some_and(|at| at <= now) => Status::Expired,
            status => status,
        }
    }

    /// Returns `true` if its lifetime ended by `now`, and its status does not say so yet.
    pub(crate) fn has_lapsed(&self, now: i64) -> bool {
        self.status_at(now) != self.status
    }

    /// Returns `true` if the client may sign in at `now`, but more than half of its lifetime has passed, counted from its last
    /// token or its registration. The one definition of "stale", used by
    /// [`ClientQueue::Stale`](crate::clients::ClientQueue::Stale), `dcr clients stale` and the admin page.
    #[must_use]
    pub fn is_stale(&self, now: i64) -> bool {
        // More has passed than is left: without a division, as in SQL.
        let is_past_half = |end: i64| now.saturating_sub(self.alive_since()) > end.saturating_sub(now);
        self.status_at(now) == Status::Active && self.expires_at.is_some_and(is_past_half)
    }

    /// Returns the start of the current lifetime: the last use, or the registration.
    #[must_use]
    pub fn alive_since(&self) -> i64 {
        self.last_used_at.unwrap_or(self.created_at)
    }

    /// Returns `true` if it counts against a quota: it is live, and was registered here. Clients that were registered elsewhere, and
    /// those of documents, are bounded on their own.
    #[must_use]
    pub fn counts_against_quota(&self) -> bool {
        self.status.is_live() && self.origin == Origin::Registered
    }

    /// Returns `true` if others vouch for it: a verified identity, an initial access token, or a software statement.
    #[must_use]
    pub fn is_vouched_for(&self) -> bool {
        self.admitted_by.is_some()
            || self.statement_issuer.is_some()
            || self.identity.as_ref().is_some_and(|identity| identity.status == ClaimStatus::Verified)
    }

    /// Returns the host that publishes its metadata document; `None` unless its origin is [`Origin::Document`].
    #[must_use]
    pub fn document_host(&self) -> Option<&str> {
        host_of(self.client_id.as_deref().filter(|_| self.origin == Origin::Document)?)
    }

    /// Returns the site of that host: its registrable domain by the Public Suffix List, or the host if it has none. Customers of
    /// `github.io` have a site each.
    #[must_use]
    pub fn document_site(&self) -> Option<&str> {
        self.document_host().map(site_of)
    }

    /// Returns `true` if it counts among the clients of documents.
    pub(super) fn is_live_document(&self) -> bool {
        self.origin == Origin::Document && self.status.is_live()
    }

    /// Returns the change of its metadata document that waits for an operator.
    pub(crate) fn held_change(&self) -> Option<&HeldChange> {
        self.document.as_ref().and_then(|document| document.held.as_ref())
    }

    /// Returns `true` if its document changed so that an operator has to look, and none did in time: it gets no new sign-ins.
    pub(crate) fn is_suspended(&self, now: i64) -> bool {
        self.held_change().is_some_and(|held| held.until <= now)
    }

    /// Returns `true` if the record is no longer needed: see [`trim_spent`](super::Ledger::trim_spent).
    pub(crate) fn is_spent(&self) -> bool {
        let is_done = match self.status {
            Status::Failed => true,
            Status::Expired => self.deprovisioning.attempts > 0 || !self.variant.is_empty(),
            Status::Registering | Status::Pending | Status::Active | Status::Revoked => false,
        };
        is_done && self.registration.is_empty() && self.deprovisioning.due_at.is_none()
    }

    /// Removes everything that came from the client. The digest of the registration stays, and the reason of its end.
    pub(crate) fn empty(&mut self) {
        self.registration.clear();
        let digest = std::mem::take(&mut self.fingerprints.digest);
        self.fingerprints = Fingerprints { digest, ..Fingerprints::default() };
        (self.response, self.dedup_key) = (None, None);
        (self.admitted_by, self.rules, self.statement_issuer) = (None, None, None);
        (self.identity, self.policy, self.document) = (None, None, None);
    }

    /// Takes over the document of `other`, a registration that this client made again or changed to.
    pub(crate) fn register_again(&mut self, other: &Self) {
        // The source of the first registration; the other may come from another one.
        let source = self.fingerprints.source.take();
        *self = Self {
            registration: other.registration.clone(),
            identity: other.identity.clone(),
            statement_issuer: other.statement_issuer.clone(),
            policy: other.policy.clone(),
            not_after: other.not_after,
            fingerprints: Fingerprints { source, ..other.fingerprints.clone() },
            ..std::mem::take(self)
        };
    }

    /// Returns the sort key of [`find_all`](super::Ledger::find_all).
    pub(super) fn precedence(&self) -> impl Ord + use<> {
        std::cmp::Reverse((self.status.is_live(), self.last_used_at.is_some(), self.reviewed_at.is_some(), self.key))
    }

    /// Returns the caller that it was admitted as.
    pub(crate) fn caller(&self) -> Caller {
        let Some(owner) = self.admitted_by.as_deref() else { return Caller::default() };
        Caller { rules: self.rules.as_deref().map(Into::into), ..Caller::authorized(owner) }
    }

    /// Returns `true` if it registered `redirect_uri`, by [`matches`](crate::redirect_uri::matches).
    pub(crate) fn has_redirect_uri(&self, redirect_uri: &str) -> bool {
        Registration::parse_with(self.registration.as_bytes(), &Limits::GENEROUS)
            .is_ok_and(|registration| registration.redirect_uris().any(|uri| matches(uri, redirect_uri)))
    }

    /// Returns `time`, or the expiry of its secret if that is earlier.
    pub(crate) fn at_most(&self, time: i64) -> i64 {
        self.not_after.map_or(time, |limit| time.min(limit))
    }

    /// Returns the end of a lifetime, or the expiry of its secret if that is earlier. `None` if neither ends.
    pub(crate) fn ending(&self, lifetime_end: Option<i64>) -> Option<i64> {
        lifetime_end.into_iter().chain(self.not_after).min()
    }

    /// Lets it live until then, or until its secret expires. It is no longer [past its limit](Self::is_past_limit).
    pub(crate) fn live_until(&mut self, lifetime_end: Option<i64>) {
        self.expires_at = self.ending(lifetime_end);
        if self.is_past_limit() {
            self.reason = None;
        }
    }

    /// Notes that it is past its limit, and lives on since limits are only reported. The record says it, so that one node
    /// reports it, and once.
    pub(crate) fn note_limit(&mut self, reason: &str) {
        self.reason = Some(format!("{PAST_LIMIT}{reason}"));
    }

    /// Notes that it waits for approval since a rule would have rejected it.
    pub(crate) fn hold(&mut self, rejection: &str) {
        self.reason = Some(format!("{HELD}{rejection}"));
    }

    /// Returns `true` if it waits for approval since a rule would have rejected it.
    pub(crate) fn is_held(&self) -> bool {
        self.status.is_live() && self.reason.as_ref().is_some_and(|reason| reason.starts_with(HELD))
    }

    /// Ends the wait for approval, and its reason.
    pub(crate) fn admit(&mut self, lifetime_end: Option<i64>) {
        if self.is_held() {
            self.reason = None;
        }
        self.status = Status::Active;
        self.live_until(lifetime_end);
    }

    /// Returns `true` if it was reported to be past its limit.
    pub(crate) fn is_past_limit(&self) -> bool {
        self.reason.as_ref().is_some_and(|reason| reason.starts_with(PAST_LIMIT))
    }

    /// Ends the client.
    pub(crate) fn end(&mut self, status: Status, at: i64, by: Actor, reason: impl Into<String>) {
        (self.status, self.expires_at) = (status, None);
        (self.ended_at, self.ended_by, self.reason) = (Some(at), Some(by), Some(reason.into()));
        // An equal registration becomes a new client.
        (self.dedup_key, self.response) = (None, None);
    }
}

impl Deprovisioning {
    /// Creates the state of a deletion that is due at `at`.
    pub(crate) fn due(at: i64) -> Self {
        Self { due_at: Some(at), ..Self::default() }
    }
}

impl Status {
    /// All statuses.
    pub const ALL: [Self; 6] =
        [Self::Registering, Self::Pending, Self::Active, Self::Expired, Self::Revoked, Self::Failed];

    /// The statuses of live clients.
    pub const LIVE: [Self; 3] = [Self::Registering, Self::Pending, Self::Active];

    /// Returns `true` if the client may sign in, or may become able to.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Registering | Self::Pending | Self::Active)
    }
}

crate::text::display_serialized!(Status, Origin);

/// Reads the names that a type is serialized with.
macro_rules! read_serialized {
    ($($name:ty: $what:literal),*) => {
        $(impl std::str::FromStr for $name {
            type Err = crate::rules::ConfigError;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                $crate::clients::ledger::read_word($what, word)
            }
        })*
    };
}
pub(crate) use read_serialized;

/// Reads a variant by its name.
pub(crate) fn read_word<T: DeserializeOwned>(what: &'static str, word: &str) -> Result<T, ConfigError> {
    let read: Result<T, Known> = T::deserialize(word.into_deserializer());
    read.map_err(|Known(words)| ConfigError::Unknown { what, word: word.to_owned(), words })
}

/// The names of the variants of an enum, from the error of one that is none of them.
#[derive(Debug)]
struct Known(&'static [&'static str]);

impl de::Error for Known {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }

    fn unknown_variant(_: &str, names: &'static [&'static str]) -> Self {
        Self(names)
    }
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown name")
    }
}

impl std::error::Error for Known {}

read_serialized!(Status: "a status", Origin: "an origin");

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.write_str("client"),
            Self::Operator(name) => write!(f, "operator:{name}"),
            Self::System => f.write_str("system"),
            Self::TokenOwner(name) => write!(f, "token-owner:{name}"),
        }
    }
}

impl FromStr for Actor {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        match text.split_once(':') {
            Some(("operator", name)) => Ok(Self::Operator(name.to_owned())),
            Some(("token-owner", name)) => Ok(Self::TokenOwner(name.to_owned())),
            None if text == "client" => Ok(Self::Client),
            None if text == "system" => Ok(Self::System),
            _ => Err(ConfigError::Unknown {
                what: "an actor",
                word: text.to_owned(),
                words: &["client", "operator:NAME", "system", "token-owner:NAME"],
            }),
        }
    }
}

impl Serialize for Actor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Actor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
