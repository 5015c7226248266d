//! A note that something must not come back.

use super::{Actor, Fingerprint};

/// What nobody may register again. It is about a registration and not about a record, so that it outlives the records,
/// and since who was revoked may register again the moment after: the clients in the field do.
///
/// ```
/// use tower_dcr::ledger::{Actor, Block, Fingerprint};
///
/// let block = Block::new(Fingerprint::name("Evil App"), 1_767_225_600_000, Actor::Operator("alice".into()), "imitates us");
/// assert_eq!(block.fingerprint.to_string(), "name:evil app");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Block {
    /// What is blocked.
    pub fingerprint: Fingerprint,
    /// When it was, in milliseconds since 1970-01-01 00:00 UTC.
    pub created_at: i64,
    /// By whom.
    pub actor: Actor,
    /// Why.
    pub reason: String,
}

impl Block {
    /// A block on `fingerprint`.
    #[must_use]
    pub fn new(fingerprint: Fingerprint, created_at: i64, actor: Actor, reason: impl Into<String>) -> Self {
        Self { fingerprint, created_at, actor, reason: reason.into() }
    }
}
