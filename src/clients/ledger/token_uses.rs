//! Uses of initial access tokens.

use super::LedgerError;

/// Counts uses of initial access tokens: the part of a [`Ledger`](super::Ledger) that makes a limit hold on every node.
pub trait TokenUses: Send + Sync + 'static {
    /// Counts one more use of a token, unless there were `limit` already. Returns whether it was counted.
    fn count_use(&self, token: &str, limit: u64) -> impl Future<Output = Result<bool, LedgerError>> + Send;

    /// Returns one use of a token, if one was counted.
    fn return_use(&self, token: &str) -> impl Future<Output = Result<(), LedgerError>> + Send;
}
