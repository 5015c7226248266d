//! What happens to clients after they were registered.

use serde::Serialize;

use crate::text;

/// Something that happened to a registered client, or to what may be registered: the operator's acts, and what the
/// limits that the operator set brought about.
///
/// ```
/// use tower_dcr::event::{Event, LifecycleEvent, Sink, to_line};
///
/// struct Stdout;
///
/// impl Sink for Stdout {
///     fn emit(&self, event: &Event) {
///         println!("{}", to_line(event));
///     }
///
///     fn emit_lifecycle(&self, event: &LifecycleEvent) {
///         println!("{}", to_line(event));
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LifecycleEvent {
    /// The version of this structure: 1.
    pub schema: u32,
    /// When it happened, in milliseconds since 1970-01-01 00:00 UTC.
    pub time_ms: i64,
    /// What happened.
    pub action: Action,
    /// To which client; cut to 256 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// To what, if not to one client: `kind:value` of a fingerprint, or an endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Who did it: `operator:NAME`, `client`, `token-owner:NAME` or `system`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Why, or what was wrong; cut to 1024 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What happened to a client.
///
/// ```
/// use tower_dcr::event::Action;
///
/// assert_eq!(Action::DeprovisioningFailed.as_str(), "deprovisioning_failed");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// The server was asked to register it, and nobody knows what came of that.
    Abandoned,
    /// Somebody lets it sign in.
    Approved,
    /// Nobody may register this again.
    Blocked,
    /// The server was told that the client is no more.
    Deprovisioned,
    /// The server could not be told; it will be tried again.
    DeprovisioningFailed,
    /// It made room for another.
    Evicted,
    /// Nobody used it in time.
    Expired,
    /// Somebody gave it more time.
    Extended,
    /// Somebody removed its record, so that the server can give its `client_id` to another.
    Forgotten,
    /// The server gave the `client_id` of one registration to another.
    IdConflict,
    /// The ledger is full, and nothing in it may go.
    LedgerFull,
    /// An endpoint refused it: it is expired, revoked or not approved, or asked for a redirect that is not its own.
    Refused,
    /// Somebody ended it.
    Revoked,
    /// What was blocked may be registered again.
    Unblocked,
    /// A client that was not registered through here.
    UnregisteredClient,
    /// The client changed its registration (RFC 7592).
    Updated,
}

impl Action {
    /// The name that is written into events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Abandoned => "abandoned",
            Self::Approved => "approved",
            Self::Blocked => "blocked",
            Self::Deprovisioned => "deprovisioned",
            Self::DeprovisioningFailed => "deprovisioning_failed",
            Self::Evicted => "evicted",
            Self::Expired => "expired",
            Self::Extended => "extended",
            Self::Forgotten => "forgotten",
            Self::IdConflict => "id_conflict",
            Self::LedgerFull => "ledger_full",
            Self::Refused => "refused",
            Self::Revoked => "revoked",
            Self::Unblocked => "unblocked",
            Self::UnregisteredClient => "unregistered_client",
            Self::Updated => "updated",
        }
    }
}

impl LifecycleEvent {
    const MAX_ID: usize = 256;
    const MAX_REASON: usize = 1024;

    pub(crate) fn new(time_ms: i64, action: Action) -> Self {
        Self { schema: 1, time_ms, action, client_id: None, subject: None, actor: None, reason: None }
    }

    pub(crate) fn of_client(mut self, client_id: Option<&str>) -> Self {
        self.client_id = client_id.map(|id| text::cut(id, Self::MAX_ID).to_owned());
        self
    }

    pub(crate) fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    pub(crate) fn by(mut self, actor: &impl ToString) -> Self {
        self.actor = Some(actor.to_string());
        self
    }

    pub(crate) fn because(mut self, reason: &str) -> Self {
        self.reason = Some(text::cut(reason, Self::MAX_REASON).to_owned());
        self
    }
}
