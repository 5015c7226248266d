//! Pushed authorization requests (RFC 9126).

use std::time::Duration;

use super::{Registrar, milliseconds};
use crate::clients::ledger::LedgerError;
use crate::registration::Digest;

/// Servers keep such a request for a few minutes (RFC 9126 section 2.2: "e.g., between 5 and 600 seconds").
const LONGEST_LIFETIME: Duration = Duration::from_secs(3600);

impl Registrar {
    /// Records that the server took a pushed request of `client_id` and calls it `request_uri`, for `lifetime`, an hour
    /// at most. Every node that uses the ledger then knows it.
    pub(crate) async fn record_pushed(
        &self,
        request_uri: &str,
        client_id: &str,
        lifetime: Duration,
    ) -> Result<(), LedgerError> {
        let expires_at = self.now().saturating_add(milliseconds(lifetime.min(LONGEST_LIFETIME)));
        self.ledger().put_pushed(&key(request_uri), client_id, expires_at).await
    }

    /// Returns the client that pushed the request `request_uri`; `None` if it was not recorded, or has expired.
    pub(crate) async fn pushed_by(&self, request_uri: &str) -> Result<Option<String>, LedgerError> {
        self.ledger().find_pushed(&key(request_uri), self.now()).await
    }
}

/// Returns a digest: the `request_uri` itself is enough to continue the request.
fn key(request_uri: &str) -> String {
    Digest::of(request_uri.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clients::ledger::MemoryLedger;
    use crate::clock::ManualClock;

    const URI: &str = "urn:ietf:params:oauth:request_uri:6esc_11ACC5bwc014ltc14eY22c";

    #[tokio::test]
    async fn a_pushed_request_is_known_to_every_node_until_it_expires() {
        let (ledger, clock) = (MemoryLedger::default(), Arc::new(ManualClock::new(Duration::from_secs(1_767_225_600))));
        let node = || Registrar::new(ledger.clone()).with_clock(clock.clone());
        for (lifetime, known_for) in [(Duration::from_secs(60), 60), (Duration::MAX, 3600)] {
            node().record_pushed(URI, "a", lifetime).await.unwrap();
            clock.advance(Duration::from_secs(known_for - 1));
            assert_eq!(node().pushed_by(URI).await.unwrap().as_deref(), Some("a"), "{lifetime:?}");
            assert_eq!(node().pushed_by(&URI.to_uppercase()).await.unwrap(), None, "{lifetime:?}");
            clock.advance(Duration::from_secs(1));
            assert_eq!(node().pushed_by(URI).await.unwrap(), None, "{lifetime:?}");
            node().maintain_once().await.unwrap();
        }
    }
}
