//! Blocks: registrations that an operator has revoked stay rejected.

use super::{Actor, Fingerprint, LedgerError};

/// Stores blocks: the part of a [`Ledger`](super::Ledger) that keeps revoked registrations out.
pub trait Blocks: Send + Sync + 'static {
    /// Adds a block; one on the same fingerprint stays as it is. Returns whether it is new.
    fn block(&self, block: &Block) -> impl Future<Output = Result<bool, LedgerError>> + Send;

    /// Removes a block. Returns whether there was one.
    fn unblock(&self, fingerprint: &Fingerprint) -> impl Future<Output = Result<bool, LedgerError>> + Send;

    /// Returns a block on one of these fingerprints; `None` if there is none.
    fn find_block(
        &self,
        fingerprints: &[Fingerprint],
    ) -> impl Future<Output = Result<Option<Block>, LedgerError>> + Send;

    /// Returns the newest blocks that are older than `before`, at most `limit`.
    fn blocks(&self, before: Option<i64>, limit: u32) -> impl Future<Output = Result<Vec<Block>, LedgerError>> + Send;
}

/// A fingerprint that no registration may have.
///
/// A block is about a registration and not about a record, so it outlives the records: clients register again as soon as
/// they are revoked.
///
/// ```
/// use tower_dcr::clients::{Actor, Block, Fingerprint};
///
/// let block = Block::new(Fingerprint::name("Evil App"), 1_767_225_600_000, Actor::Operator("alice".into()), "imitates us");
/// assert_eq!(block.fingerprint.to_string(), "name:evil app");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Block {
    /// The blocked fingerprint.
    pub fingerprint: Fingerprint,
    /// The time of the block, in milliseconds since 1970-01-01 00:00 UTC.
    pub created_at: i64,
    /// The one that blocked it.
    pub actor: Actor,
    /// The reason, for people.
    pub reason: String,
}

impl Block {
    /// Creates a block on `fingerprint`.
    #[must_use]
    pub fn new(fingerprint: Fingerprint, created_at: i64, actor: Actor, reason: impl Into<String>) -> Self {
        Self { fingerprint, created_at, actor, reason: reason.into() }
    }
}
