//! Pushed authorization requests (RFC 9126): which client a `request_uri` was given to.

use std::time::Duration;

use super::{Registrar, milliseconds};
use crate::ledger::LedgerError;
use crate::registration::Digest;

/// Servers give such a request a few minutes (RFC 9126 section 2.2: "e.g., between 5 and 600 seconds").
const LONGEST_LIFETIME: Duration = Duration::from_secs(3600);

impl Registrar {
    /// Notes that the server took a pushed request of `client_id` and calls it `request_uri`, for `lifetime` but an hour
    /// at most. Every node that uses the ledger knows it then.
    pub(crate) async fn note_pushed(
        &self,
        request_uri: &str,
        client_id: &str,
        lifetime: Duration,
    ) -> Result<(), LedgerError> {
        let expires_at = self.now().saturating_add(milliseconds(lifetime.min(LONGEST_LIFETIME)));
        self.ledger().put_pushed(&key(request_uri), client_id, expires_at).await
    }

    /// Returns the client that pushed the request `request_uri`, if that was noted and has not expired.
    pub(crate) async fn pushed_by(&self, request_uri: &str) -> Result<Option<String>, LedgerError> {
        self.ledger().find_pushed(&key(request_uri), self.now()).await
    }
}

/// A digest, since a `request_uri` that the server knows is all that it takes to go on with the request.
fn key(request_uri: &str) -> String {
    Digest::of(request_uri.as_bytes()).to_string()
}
