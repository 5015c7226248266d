//! Registrations of real clients, to test a policy with.

use serde::Deserialize;

use crate::registration::Registration;
use crate::rules::{Context, ErrorCode, Evaluation, Policy, Rejection};

/// The date of the last comparison of the table of known clients with released clients: `YYYY-MM-DD`.
///
/// ```
/// assert_eq!(tower_dcr::policy_file::KNOWN_CLIENTS_VERSION.len(), "YYYY-MM-DD".len());
/// ```
pub const KNOWN_CLIENTS_VERSION: &str = "2026-11-25";

/// A line for each form of a registration, from the sources of clients, captures of released versions and reports.
const TABLE: &str = include_str!("known_clients.jsonl");

/// A registration that a released client sends.
///
/// ```
/// use tower_dcr::policy_file::known_clients;
///
/// let cursor = known_clients().find(|client| client.name().contains("Cursor desktop")).unwrap();
/// assert!(cursor.body().contains("cursor://"));
/// ```
#[derive(Clone, Debug, Deserialize)]
pub struct KnownClient {
    client: String,
    body: Box<serde_json::value::RawValue>,
}

/// Returns the known clients. An untested, stricter policy can break sign-ins, so run yours over them in a test:
///
/// ```
/// use tower_dcr::policy_file::known_clients;
/// use tower_dcr::rules::Decision;
///
/// let rejected = |preset: tower_dcr::Preset| {
///     known_clients().filter(|client| client.evaluate(preset.policy()).decision() == Decision::Reject).count()
/// };
/// assert_eq!(rejected(tower_dcr::mcp()), 0);
/// assert!(rejected(tower_dcr::strict()) > 0);
/// ```
pub fn known_clients() -> impl Iterator<Item = KnownClient> {
    // A test checks that each line can be read.
    TABLE.lines().filter_map(|line| serde_json::from_str(line).ok())
}

impl KnownClient {
    /// Returns the name: product, version or variant.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.client
    }

    /// Returns the registration that it sends, as JSON.
    #[must_use]
    pub fn body(&self) -> &str {
        self.body.get()
    }

    /// Evaluates the registration under `policy`.
    #[must_use]
    pub fn evaluate(&self, policy: &Policy) -> Evaluation {
        let context = Context::registration();
        if let Ok(registration) = Registration::parse(self.body().as_bytes()) {
            return policy.evaluate(registration, &context);
        }
        let mut unread = Evaluation::begin(&context);
        unread.end(Err(Rejection::new(ErrorCode::InvalidClientMetadata, "strict-json", "no document")));
        unread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_can_be_read() {
        assert_eq!(known_clients().count(), TABLE.lines().count());
        assert!(known_clients().all(|client| Registration::parse(client.body().as_bytes()).is_ok()));
        assert!(known_clients().count() > 80);
    }
}
