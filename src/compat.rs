//! What real clients send, and which of them a policy would break.
//!
//! "Tightening a registration policy blind breaks sign-ins" is a matter for a test: run yours over the clients that are known.
//!
//! ```
//! use tower_dcr::compat::{self, Fate};
//!
//! let guard = tower_dcr::mcp();
//! let broken: Vec<_> = compat::clients().filter(|client| client.fate(guard.policy()) == Fate::Refused).collect();
//! assert!(broken.is_empty(), "{broken:?}");
//! ```

use serde::Deserialize;

use crate::policy::{Policy, Review, Submission};
use crate::registration::Registration;
use crate::rejection::Rejection;

/// When the table was last compared with what clients send: `YYYY-MM-DD`.
///
/// ```
/// assert_eq!(tower_dcr::compat::CLIENTS_VERSION.len(), "YYYY-MM-DD".len());
/// ```
pub const CLIENTS_VERSION: &str = "2026-11-25";

/// From the sources of clients, captures of released versions and what was reported of them: one line for each form of a
/// registration that was seen.
const TABLE: &str = include_str!("compat/clients.jsonl");

/// One form of what a released client registers with.
///
/// ```
/// let cursor = tower_dcr::compat::clients().find(|client| client.name().contains("Cursor desktop")).unwrap();
/// assert!(cursor.body().contains("cursor://"));
/// ```
#[derive(Clone, Debug, Deserialize)]
pub struct KnownClient {
    client: String,
    body: Box<serde_json::value::RawValue>,
}

/// What becomes of a client.
///
/// ```
/// use tower_dcr::compat::{self, Fate};
///
/// let guard = tower_dcr::strict();
/// assert!(compat::clients().any(|client| client.fate(guard.policy()) == Fate::Refused));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Fate {
    /// It is registered as it asks to be.
    Accepted,
    /// It is registered with less, or other; clients live with what the presets do.
    Rewritten,
    /// It can't sign in.
    Refused,
}

/// The clients that are known.
pub fn clients() -> impl Iterator<Item = KnownClient> {
    // A test shows that each line can be read.
    TABLE.lines().filter_map(|line| serde_json::from_str(line).ok())
}

impl KnownClient {
    /// What it is called here: product, version or variant.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.client
    }

    /// What it sends, as JSON.
    #[must_use]
    pub fn body(&self) -> &str {
        self.body.get()
    }

    /// What `policy` makes of it.
    #[must_use]
    pub fn fate(&self, policy: &impl Policy) -> Fate {
        match self.judge(policy) {
            Err(_) => Fate::Refused,
            Ok(review) if review.is_rewritten() => Fate::Rewritten,
            Ok(_) => Fate::Accepted,
        }
    }

    /// The same, with the reasons.
    ///
    /// # Errors
    ///
    /// The [`Rejection`] that it is refused with.
    pub fn judge(&self, policy: &impl Policy) -> Result<Review, Rejection> {
        let unreadable =
            || Rejection::new(crate::rejection::ErrorCode::InvalidClientMetadata, "strict-json", "no document");
        let mut registration = Registration::parse(self.body().as_bytes()).map_err(|_| unreadable())?;
        let mut review = Review::registration();
        policy.review(&mut Submission::new(&mut registration, &mut review))?;
        Ok(review)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_can_be_read() {
        assert_eq!(clients().count(), TABLE.lines().count());
        assert!(clients().all(|client| Registration::parse(client.body().as_bytes()).is_ok()));
        assert!(clients().count() > 80);
    }
}
