//! Blocked names, and names that people confuse with them.

use super::{Failure, Registrar};
use crate::clients::ledger::{Fingerprint, Fingerprints, LedgerError};
use crate::rules::identity::name::is_confusable;
use crate::sync::lock;

use super::admission::blocked;

/// The time for which the names are cached, in milliseconds. The exact name is looked up each time.
const MAX_AGE_MS: i64 = 5000;

/// The number of blocks that are read for their names.
const MAX_BLOCKS: u32 = 500;

/// The names of the newest blocks, and the time of reading.
#[derive(Debug, Default)]
pub(super) struct BlockedNames {
    read_at: Option<i64>,
    names: Vec<String>,
}

impl Registrar {
    /// Rejects a name that a person could confuse with a blocked one: a revoked client may come back as `Ev1l App`.
    pub(super) async fn reject_lookalike(&self, fingerprints: &Fingerprints) -> Result<(), Failure> {
        let Some(name) = &fingerprints.client_name else { return Ok(()) };
        self.read_blocked_names().await?;
        let is_alike = lock(&self.config.shared.blocked_names).names.iter().any(|known| is_confusable(known, name));
        if is_alike { Err(blocked().into()) } else { Ok(()) }
    }

    async fn read_blocked_names(&self) -> Result<(), LedgerError> {
        let now = self.now();
        let is_fresh = |read_at: i64| (0..MAX_AGE_MS).contains(&now.saturating_sub(read_at));
        if lock(&self.config.shared.blocked_names).read_at.is_some_and(is_fresh) {
            return Ok(());
        }
        let blocks = self.ledger().blocks(None, MAX_BLOCKS).await?;
        let names = blocks.into_iter().filter_map(|block| match block.fingerprint {
            Fingerprint::Name(name) => Some(name),
            _ => None,
        });
        let read = BlockedNames { read_at: Some(now), names: names.collect() };
        *lock(&self.config.shared.blocked_names) = read;
        Ok(())
    }

    /// Clears the cached names: one was blocked or unblocked here.
    pub(super) fn forget_blocked_names(&self) {
        lock(&self.config.shared.blocked_names).read_at = None;
    }
}
