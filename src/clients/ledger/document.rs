//! [`DocumentState`]: a client whose `client_id` is the URL of its metadata document.

use serde::{Deserialize, Serialize};

use crate::redirect_uri::is_canonical_dns_name;
use crate::rules::Identity;

/// The state of the metadata document of a client
/// ([draft-ietf-oauth-client-id-metadata-document](https://datatracker.ietf.org/doc/draft-ietf-oauth-client-id-metadata-document/)).
/// Times are milliseconds since 1970-01-01 00:00 UTC.
///
/// The record has two readings of one document: [`Client::registration`](super::Client::registration) is in force, and
/// [`held`](Self::held) is what the publisher has made of it since, while an operator has to look at the change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DocumentState {
    /// SHA-256 of the fetched bytes that the registration in force was read from, in hexadecimal; of the registration itself, if it
    /// is what two versions have in common.
    pub digest: String,
    /// The time at which the document was last fetched, or confirmed to be unchanged.
    pub fetched_at: i64,
    /// The time from which it has to be fetched again.
    pub fresh_until: i64,
    /// The `ETag` of the last response; `None` without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The time since which the document can't be used: it is not fetched, not readable, or rejected by a rule. `None` if the last
    /// fetch gave a document that can be used. The event `document_unreachable` has the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable_since: Option<i64>,
    /// A change that waits for an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldChange>,
}

/// A change of a metadata document that is not in force until an operator [approves](crate::clients::Registrar::approve) it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HeldChange {
    /// The changed registration, as canonical JSON: what the rules left of the document, without its `client_id`.
    pub registration: String,
    /// SHA-256 of the fetched bytes, in hexadecimal.
    pub digest: String,
    /// The identity that it claims, checked against its redirect URIs; `None` if it claims none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// The fingerprint of the policy that accepted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The kind of change.
    pub change: Change,
    /// The time at which it was seen first.
    pub since: i64,
    /// The time at which the registration in force ends for new sign-ins, unless the change is approved before.
    pub until: i64,
}

/// The kind of change between two versions of a metadata document, the least grave first.
///
/// ```
/// use tower_dcr::clients::Change;
///
/// assert_eq!("widening".parse(), Ok(Change::Widening));
/// assert!(Change::Narrowing < Change::Widening);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change {
    /// Links, contacts, the version of the software, another path at the same origin, other keys at the same place, or nothing that
    /// the rules leave. In force at once.
    Decoration,
    /// A redirect URI, grant or scope less, or a stronger authentication. In force at once: the publisher may want to end a
    /// leak.
    Narrowing,
    /// An origin, grant or scope more, or a weaker authentication; another algorithm; a member that is not known. Held, but what the
    /// new version no longer has ends at once.
    ///
    /// Keys are more if they are at another place. The document and its origin are one place, so that keys in the document
    /// (`jwks`) rotate without an operator; each other origin of a `jwks_uri` is another one.
    Widening,
    /// Another name in any language, another `software_id` or another identity, so that the consents of people are for another
    /// application. Held, in the same way.
    Identity,
}

crate::text::display_serialized!(Change);
super::read_serialized!(Change: "a kind of change");

impl DocumentState {
    /// Creates the state of a document that was fetched at `fetched_at`.
    #[must_use]
    pub fn new(digest: impl Into<String>, fetched_at: i64, fresh_until: i64) -> Self {
        Self { digest: digest.into(), fetched_at, fresh_until, ..Self::default() }
    }
}

impl HeldChange {
    /// Creates a change that was seen at `since`.
    #[must_use]
    pub fn new(
        registration: impl Into<String>,
        digest: impl Into<String>,
        change: Change,
        since: i64,
        until: i64,
    ) -> Self {
        let (registration, digest) = (registration.into(), digest.into());
        Self { registration, digest, identity: None, policy: None, change, since, until }
    }
}

impl Change {
    /// Returns `true` if it waits for an operator.
    pub(crate) const fn is_held(self) -> bool {
        matches!(self, Self::Widening | Self::Identity)
    }

    /// Returns the kind of change of a version that a rule may hold: at first, and as a change, too.
    pub(crate) fn held_by_rule(self, is_held: bool) -> Self {
        if is_held { self.max(Self::Widening) } else { self }
    }
}

/// Returns the host of the URL of a document; `None` if `client_id` is no such URL. Stricter readings are above this one: it is
/// for what a record has.
pub(super) fn host_of(client_id: &str) -> Option<&str> {
    let rest = client_id.strip_prefix("https://")?;
    let host = rest.split([':', '/', '?', '#']).next().unwrap_or(rest);
    Some(host).filter(|host| host.contains('.') && is_canonical_dns_name(host))
}
