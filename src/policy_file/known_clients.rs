//! Registrations and metadata documents of real clients, to test a policy with.

use serde::Deserialize;

use crate::registration::Registration;

/// A line for each form of a registration, from the sources of clients, captures of released versions and reports.
const TABLE: &str = include_str!("known_clients.jsonl");

/// A line for each client metadata document.
const DOCUMENTS: &str = include_str!("known_documents.jsonl");

#[derive(Deserialize)]
struct Row {
    client: String,
    body: Box<serde_json::value::RawValue>,
}

/// A registration that a released client sends.
///
/// ```
/// use tower_dcr::policy_file::KnownClient;
///
/// let cursor = KnownClient::all().find(|client| client.name.contains("Cursor desktop")).unwrap();
/// assert!(cursor.registration.redirect_uris().any(|uri| uri.starts_with("cursor://")));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KnownClient {
    /// The name: product, version or variant.
    pub name: String,
    /// The registration that it sends, or its document.
    pub registration: Registration,
}

impl KnownClient {
    /// The date of the last comparison of the table with released clients: `YYYY-MM-DD`.
    pub const VERSION: &str = "2026-11-25";

    /// Returns the known clients. An untested, stricter policy can break sign-ins, so run yours over them in a test:
    ///
    /// ```
    /// use tower_dcr::policy_file::KnownClient;
    /// use tower_dcr::rules::{Context, Decision};
    ///
    /// let rejected = |preset: tower_dcr::Preset| {
    ///     let decisions = KnownClient::all().map(|client| {
    ///         preset.policy().evaluate(client.registration, &Context::registration()).decision()
    ///     });
    ///     decisions.filter(|decision| *decision == Decision::Reject).count()
    /// };
    /// assert_eq!(rejected(tower_dcr::mcp()), 0);
    /// assert!(rejected(tower_dcr::strict()) > 0);
    /// ```
    pub fn all() -> impl Iterator<Item = Self> {
        rows(TABLE)
    }

    /// Returns the known clients that publish a client metadata document. [`registration`](Self::registration) is the document
    /// here, and its `client_id` is the URL:
    ///
    /// ```
    /// use tower_dcr::documents::{self, ClientIdUrl};
    /// use tower_dcr::policy_file::KnownClient;
    /// use tower_dcr::rules::{Context, Decision};
    ///
    /// for client in KnownClient::documents() {
    ///     let url = ClientIdUrl::parse(client.registration.string("client_id").unwrap())?;
    ///     let document = documents::read(&url, client.registration.source().as_bytes())?;
    ///     let evaluation = tower_dcr::mcp().document_policy().evaluate(document, &Context::document(&url));
    ///     assert_ne!(evaluation.decision(), Decision::Reject, "{}", client.name);
    /// }
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn documents() -> impl Iterator<Item = Self> {
        rows(DOCUMENTS)
    }
}

fn rows(table: &'static str) -> impl Iterator<Item = KnownClient> {
    // A test checks that each line can be read.
    table.lines().filter_map(|line| {
        let Row { client: name, body } = serde_json::from_str(line).ok()?;
        Some(KnownClient { name, registration: Registration::parse(body.get().as_bytes()).ok()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_can_be_read() {
        assert_eq!(KnownClient::all().count(), TABLE.lines().count());
        assert!(KnownClient::all().count() > 80);
        assert_eq!(KnownClient::documents().count(), DOCUMENTS.lines().count());
    }
}
