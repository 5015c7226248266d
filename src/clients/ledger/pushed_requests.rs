//! Pushed authorization requests.

use super::LedgerError;

/// Stores the client of each pushed authorization request (RFC 9126): the part of a [`Ledger`](super::Ledger) that lets one
/// node recognise a `request_uri` that another node saw.
pub trait PushedRequests: Send + Sync + 'static {
    /// Stores until `expires_at` that `client_id` pushed an authorization request; `request` stands for its `request_uri`. A
    /// later call for the same request replaces the entry.
    fn put_pushed(
        &self,
        request: &str,
        client_id: &str,
        expires_at: i64,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Returns the client that pushed that request; `None` if it is unknown, or expired by `now`.
    fn find_pushed(&self, request: &str, now: i64) -> impl Future<Output = Result<Option<String>, LedgerError>> + Send;

    /// Removes the entries that expired by `now`. Returns their number.
    fn purge_pushed(&self, now: i64) -> impl Future<Output = Result<u64, LedgerError>> + Send;
}
