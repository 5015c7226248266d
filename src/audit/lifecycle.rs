//! [`LifecycleEvent`]: events of clients after their registration.

use serde::Serialize;

use super::keep_common;
use crate::registration::{Field, Limits, Registration};
use crate::text;

/// A change of a registered client, or of the rules of registration: an act of the operator, or an effect of the limits that
/// the operator set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LifecycleEvent {
    /// The version of this structure: 1.
    pub schema: u32,
    /// The time, in milliseconds since 1970-01-01 00:00 UTC; of the first one, in a sum.
    pub time_ms: i64,
    /// The time of the last one, in a sum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
    /// The number of events in a sum; absent for one event. The first of its kind had an event of its own and is not counted
    /// here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The action.
    pub action: LifecycleAction,
    /// The `client_id`, cut to 256 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The name that the client registered, cut to 128 bytes: text that the client chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// The source of the registration or of the request, named like requesters in audit events. If those are not named, a
    /// registration's source is the /24 or /48 around it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The subject, if it is not one client: `kind:value` of a fingerprint, or an endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The actor: `operator:NAME`, `client`, `token-owner:NAME` or `system`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The reason or the error, cut to 1024 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The id of the gate's rule that the request breaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'static str>,
    /// `false` for a rejection that was only reported, and `true`, which is not written, otherwise.
    #[serde(skip_serializing_if = "is_true")]
    pub enforced: bool,
    /// The names of the metadata fields that an update changed; at most 32, each cut to 64 bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
const fn is_true(value: &bool) -> bool {
    *value
}

/// The action of a [`LifecycleEvent`].
///
/// ```
/// use tower_dcr::audit::LifecycleAction;
///
/// assert_eq!(LifecycleAction::DeprovisioningFailed.to_string(), "deprovisioning_failed");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LifecycleAction {
    /// The registration ended without an answer of the server.
    Abandoned,
    /// An operator approved the client: it may sign in.
    Approved,
    /// An operator blocked registrations of this kind.
    Blocked,
    /// The client was deleted at the server.
    Deprovisioned,
    /// The deletion of the client at the server failed; it is retried.
    DeprovisioningFailed,
    /// The metadata document of the client changed, and the change is in force.
    DocumentChanged,
    /// The metadata document of the client changed so that an operator has to approve it.
    DocumentHeld,
    /// The metadata document of a client is recorded: the client was used for the first time, or again after its end.
    DocumentRecorded,
    /// The metadata document of the client can't be used since then: it is not fetched, not readable, or rejected by a rule.
    DocumentUnreachable,
    /// The metadata document of the client is gone, and so is the client.
    DocumentWithdrawn,
    /// The client was evicted to make room for another.
    Evicted,
    /// The client expired unused.
    Expired,
    /// An operator extended the lifetime of the client.
    Extended,
    /// An operator removed the record, so that the server can give the `client_id` to another client.
    Forgotten,
    /// The server gave the `client_id` of one registration to another one.
    IdConflict,
    /// The ledger is full, and no client in it may be evicted.
    LedgerFull,
    /// A gate removed scopes from a request that the client did not register.
    Narrowed,
    /// A gate rejected the client: it is expired, revoked or not approved, or its request breaks a rule.
    Rejected,
    /// The audit file continues after damage: half a line at its end, or an end that does not match its head.
    Resumed,
    /// The client was revoked.
    Revoked,
    /// A registration has the `software_id` of a client whose redirect URIs lead to other hosts.
    SoftwareIdConflict,
    /// An operator removed a block.
    Unblocked,
    /// A client is not in the ledger.
    UnregisteredClient,
    /// The client changed its registration (RFC 7592).
    Updated,
}

crate::text::display_serialized!(LifecycleAction);

impl LifecycleAction {
    /// Returns `true` if any stranger can cause it as often as they like.
    pub(super) const fn is_at_will(self) -> bool {
        matches!(
            self,
            Self::IdConflict
                | Self::LedgerFull
                | Self::Narrowed
                | Self::Rejected
                | Self::SoftwareIdConflict
                | Self::UnregisteredClient
        )
    }
}

impl LifecycleEvent {
    const MAX_ID: usize = 256;
    const MAX_NAME: usize = 128;
    const MAX_REASON: usize = 1024;
    const MAX_CHANGED: usize = 32;
    const MAX_FIELD: usize = 64;

    pub(crate) fn new(time_ms: i64, action: LifecycleAction) -> Self {
        Self {
            schema: 1,
            time_ms,
            until_ms: None,
            count: None,
            action,
            client_id: None,
            client_name: None,
            source: None,
            subject: None,
            actor: None,
            reason: None,
            rule: None,
            enforced: true,
            changed: Vec::new(),
        }
    }

    /// Names the client as its registration does.
    pub(crate) fn naming(mut self, registration: &str) -> Self {
        let registration = Registration::parse_with(registration.as_bytes(), &Limits::GENEROUS).ok();
        let name = registration.as_ref().and_then(|registration| registration.string_at(Field::CLIENT_NAME));
        self.client_name = name.map(|name| text::cut(name, Self::MAX_NAME).to_owned());
        self
    }

    /// Names the requester.
    pub(crate) fn coming_from(mut self, source: Option<String>) -> Self {
        self.source = source;
        self
    }

    /// Names the fields in which two registrations differ.
    pub(crate) fn changing(mut self, before: &str, after: &str) -> Self {
        let read = |text: &str| -> serde_json::Map<String, serde_json::Value> {
            serde_json::from_str(text).unwrap_or_default()
        };
        let (before, after) = (read(before), read(after));
        let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let differs = |name: &&String| before.get(*name) != after.get(*name);
        let changed = names.into_iter().filter(differs).take(Self::MAX_CHANGED);
        self.changed = changed.map(|name| text::cut(name, Self::MAX_FIELD).to_owned()).collect();
        self
    }

    /// Returns the sum that begins with this event.
    pub(super) fn summary(&self, source: Option<String>) -> Self {
        Self { until_ms: Some(self.time_ms), count: Some(1), source, ..self.clone() }
    }

    /// Adds another event to the sum, which keeps what all have in common.
    pub(super) fn add(&mut self, other: &Self) {
        self.until_ms = self.until_ms.max(Some(other.time_ms));
        self.count = self.count.map(|count| count.saturating_add(1));
        keep_common(&mut self.client_id, other.client_id.as_ref());
        keep_common(&mut self.client_name, other.client_name.as_ref());
        keep_common(&mut self.actor, other.actor.as_ref());
        if self.changed != other.changed {
            self.changed.clear();
        }
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

    /// Names the rule of the gate.
    pub(crate) fn under(mut self, rule: Option<&'static str>) -> Self {
        self.rule = rule;
        self
    }

    /// Marks it as reported only.
    pub(crate) fn reported(mut self) -> Self {
        self.enforced = false;
        self
    }

    pub(crate) fn because(mut self, reason: &str) -> Self {
        self.reason = Some(text::cut(reason, Self::MAX_REASON).to_owned());
        self
    }
}
