//! One record.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Fingerprints;
use crate::policy::{Caller, Identity};
use crate::redirect_uri::matches;
use crate::registration::{Limits, Registration};

/// The number that a ledger gives a record; later records have larger ones.
///
/// ```
/// use tower_dcr::ledger::ClientKey;
///
/// assert!(ClientKey(1) < ClientKey(2));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a number")]
pub struct ClientKey(pub i64);

/// One registration, from the moment before the server was asked. Times are milliseconds since 1970-01-01 00:00 UTC.
///
/// There is no secret in it: of an answer that holds one, only the `client_id` is kept.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::ledger::{Client, Fingerprints, State, Status};
///
/// let registration = Registration::parse(br#"{"client_name":"App","redirect_uris":["http://localhost/cb"]}"#)?;
/// let mut client = Client::draft(registration.source(), Fingerprints::of(&registration, false), 0);
/// assert_eq!(client.state(0), State::Registering);
/// (client.status, client.expires_at) = (Status::Active, Some(1000));
/// assert_eq!([client.state(500), client.state(501), client.state(1000)], [State::Active, State::Stale, State::Expired]);
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Client {
    /// The ledger's own number; 0 before it was given.
    pub key: ClientKey,
    /// How often the record was changed.
    pub version: i64,
    /// What became of it.
    pub status: Status,
    /// How it came here.
    pub origin: Origin,
    /// What the server calls it; absent as long as it has not answered.
    pub client_id: Option<String>,
    /// Tells the records of one `client_id` apart where the server gives it to several registrations
    /// ([`with_shared_client_ids`](crate::registrar::Registrar::with_shared_client_ids)); otherwise empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// What was forwarded to the server, as canonical JSON.
    pub registration: String,
    /// The server's answer, if the next one who registers the same may have it.
    pub answer: Option<Answer>,
    /// The digest of a registration whose repeats get this client. No two records have the same.
    pub repeat_key: Option<String>,
    /// What the registration can be recognised by.
    pub fingerprints: Fingerprints,
    /// Who was let in: the owner of the initial access token.
    pub admitted_by: Option<String>,
    /// The rules that this token named: they judge updates, too.
    pub rules: Option<String>,
    /// Who it claims to be, if that is somebody in particular, and what its redirect URIs say to that.
    pub identity: Option<Identity>,
    /// Which configuration of the rules let it in, or its last update: the fingerprint that audit events have, as 16
    /// hexadecimal digits.
    pub policy: Option<String>,
    /// When it was registered.
    pub created_at: i64,
    /// When it last got a token, at the granularity of half an idle limit.
    pub proven_at: Option<i64>,
    /// When it expires, unless it proves to be in use before.
    pub expires_at: Option<i64>,
    /// When its secret expires: it does not outlive that.
    pub not_after: Option<i64>,
    /// When somebody approved or extended it.
    pub reviewed_at: Option<i64>,
    /// Who did.
    pub reviewed_by: Option<String>,
    /// When it failed, expired or was revoked.
    pub ended_at: Option<i64>,
    /// Who ended it.
    pub ended_by: Option<Actor>,
    /// Why.
    pub reason: Option<String>,
    /// What the server has still to be told.
    pub deprovisioning: Deprovisioning,
}

/// An answer of the server to a registration.
///
/// ```
/// use tower_dcr::ledger::Answer;
///
/// let answer = Answer { status: 201, body: r#"{"client_id":"s6BhdRkqt3"}"#.into() };
/// # let _ = answer;
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a status and a body are all there is")]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The JSON document.
    pub body: String,
}

/// Whether the server has yet to be told that a client is no more.
///
/// ```
/// use tower_dcr::ledger::Deprovisioning;
///
/// assert_eq!(Deprovisioning::due(1_767_225_600_000).attempts, 0);
/// assert_eq!(Deprovisioning::default().due_at, None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Deprovisioning {
    /// When it is to be tried (again); absent if there is nothing to do.
    pub due_at: Option<i64>,
    /// How often it was tried.
    pub attempts: u32,
    /// What was wrong the last time.
    pub error: Option<String>,
}

/// What is written down of a record's fate. What a client may do also depends on the time: see [`State`].
///
/// ```
/// use tower_dcr::ledger::Status;
///
/// assert_eq!("revoked".parse(), Ok(Status::Revoked));
/// assert!(Status::Active.is_live() && !Status::Revoked.is_live());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Status {
    /// The server has been asked and has not answered.
    Registering,
    /// Registered, and waits for somebody's approval.
    Pending,
    /// Registered.
    Active,
    /// Was not used in time.
    Expired,
    /// Somebody ended it.
    Revoked,
    /// The server did not register it, or nobody knows whether it did.
    Failed,
}

/// What a client may do now: its [`Status`] in the light of the time.
///
/// ```
/// use tower_dcr::ledger::State;
///
/// assert_eq!(State::Stale.as_str(), "stale");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// Not registered yet.
    Registering,
    /// Waits for approval.
    Pending,
    /// May sign in.
    Active,
    /// May sign in; more than half of its lifetime has passed without use.
    Stale,
    /// Was not used in time.
    Expired,
    /// Somebody ended it.
    Revoked,
    /// Never came to be.
    Failed,
}

/// How a client came into the ledger.
///
/// ```
/// use tower_dcr::ledger::Origin;
///
/// assert_eq!("elsewhere".parse(), Ok(Origin::Elsewhere));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Origin {
    /// Through the registration endpoint.
    Registered,
    /// It got a token without having been registered here: it was before, or by another way.
    Elsewhere,
}

/// Who did something to a client.
///
/// ```
/// use tower_dcr::ledger::Actor;
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
    /// Somebody at the review API.
    Operator(String),
    /// This crate, for a limit that the operator configured.
    System,
    /// The owner of the initial access token with which the client was registered.
    TokenOwner(String),
}

impl Client {
    /// A record of what is about to be forwarded.
    #[must_use]
    pub fn draft(registration: impl Into<String>, fingerprints: Fingerprints, created_at: i64) -> Self {
        Self {
            key: ClientKey(0),
            version: 0,
            status: Status::Registering,
            origin: Origin::Registered,
            client_id: None,
            variant: String::new(),
            registration: registration.into(),
            answer: None,
            repeat_key: None,
            fingerprints,
            admitted_by: None,
            rules: None,
            identity: None,
            policy: None,
            created_at,
            proven_at: None,
            expires_at: None,
            not_after: None,
            reviewed_at: None,
            reviewed_by: None,
            ended_at: None,
            ended_by: None,
            reason: None,
            deprovisioning: Deprovisioning::default(),
        }
    }

    /// What the client may do at `now`.
    #[must_use]
    pub fn state(&self, now: i64) -> State {
        match self.status {
            Status::Registering => State::Registering,
            Status::Expired => State::Expired,
            Status::Revoked => State::Revoked,
            Status::Failed => State::Failed,
            Status::Pending | Status::Active if self.expires_at.is_some_and(|at| at <= now) => State::Expired,
            Status::Pending => State::Pending,
            Status::Active if self.is_past_half_life(now) => State::Stale,
            Status::Active => State::Active,
        }
    }

    /// When the present lifetime began: at the last proof, or when it was registered.
    #[must_use]
    pub fn alive_since(&self) -> i64 {
        self.proven_at.unwrap_or(self.created_at)
    }

    /// Returns whether it counts against a quota: it is live, and was registered here. Clients that were registered elsewhere are
    /// bounded on their own.
    #[must_use]
    pub fn counts_against_quota(&self) -> bool {
        self.status.is_live() && self.origin == Origin::Registered
    }

    /// In which order [`find_all`](super::Ledger::find_all) gives records: the smallest first.
    pub(super) fn precedence(&self) -> impl Ord + use<> {
        std::cmp::Reverse((self.status.is_live(), self.proven_at.is_some(), self.reviewed_at.is_some(), self.key))
    }

    /// Who it was admitted as.
    pub(crate) fn caller(&self) -> Caller {
        match (&self.admitted_by, &self.rules) {
            (None, _) => Caller::anonymous(),
            (Some(owner), None) => Caller::authorized(owner.as_str()),
            (Some(owner), Some(rules)) => Caller::authorized(owner.as_str()).with_rules(rules.as_str()),
        }
    }

    /// Returns whether it registered `redirect_uri`, by [`matches`](crate::redirect_uri::matches).
    pub(crate) fn has_redirect_uri(&self, redirect_uri: &str) -> bool {
        Registration::parse_with(self.registration.as_bytes(), &Limits::GENEROUS)
            .is_ok_and(|registration| registration.redirect_uris().any(|uri| matches(uri, redirect_uri)))
    }

    /// A time up to which it may live: not longer than its secret.
    pub(crate) fn at_most(&self, time: i64) -> i64 {
        self.not_after.map_or(time, |limit| time.min(limit))
    }

    fn is_past_half_life(&self, now: i64) -> bool {
        self.expires_at.is_some_and(|end| {
            let since = self.alive_since();
            now.saturating_sub(since) > end.saturating_sub(since) / 2
        })
    }

    /// Makes this a record of something that is over.
    pub(crate) fn end(&mut self, status: Status, at: i64, by: Actor, reason: impl Into<String>) {
        self.status = status;
        self.ended_at = Some(at);
        self.ended_by = Some(by);
        self.reason = Some(reason.into());
        // The next one who registers the same is somebody new.
        self.repeat_key = None;
        self.answer = None;
        self.expires_at = None;
    }
}

impl Deprovisioning {
    /// To be done at `at`.
    #[must_use]
    pub fn due(at: i64) -> Self {
        Self { due_at: Some(at), ..Self::default() }
    }
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Registering, Self::Pending, Self::Active, Self::Expired, Self::Revoked, Self::Failed];

    /// Those that count against a quota, if the client was registered here.
    pub const LIVE: [Self; 3] = [Self::Registering, Self::Pending, Self::Active];

    /// The name that is stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Registering => "registering",
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Failed => "failed",
        }
    }

    /// Whether the client is or may become one that signs in.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Registering | Self::Pending | Self::Active)
    }
}

impl FromStr for Status {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|status| status.as_str() == name).ok_or_else(|| UnknownName(name.to_owned()))
    }
}

impl State {
    /// The name that is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Registering => "registering",
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Stale => "stale",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Failed => "failed",
        }
    }
}

impl Origin {
    /// The name that is stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Elsewhere => "elsewhere",
        }
    }
}

impl FromStr for Origin {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        match name {
            "registered" => Ok(Self::Registered),
            "elsewhere" => Ok(Self::Elsewhere),
            _ => Err(UnknownName(name.to_owned())),
        }
    }
}

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
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        match text.split_once(':') {
            Some(("operator", name)) => Ok(Self::Operator(name.to_owned())),
            Some(("token-owner", name)) => Ok(Self::TokenOwner(name.to_owned())),
            None if text == "client" => Ok(Self::Client),
            None if text == "system" => Ok(Self::System),
            _ => Err(UnknownName(text.to_owned())),
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
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A ledger holds a word that this version of the crate does not know.
///
/// ```
/// use tower_dcr::ledger::Status;
///
/// assert_eq!("dancing".parse::<Status>().unwrap_err().to_string(), r#""dancing" means nothing here"#);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName(String);

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} means nothing here", self.0)
    }
}

impl std::error::Error for UnknownName {}
