//! The identity that a client claims, and the evidence for it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The result of [`ClientIdentity`](crate::rules::ClientIdentity) for one registration: the reserved identity that it
/// claims, and the evidence in its redirect URIs.
///
/// The rule derives it from the document that it checked. It is in the
/// request's extensions for the handler, to be displayed on the consent page, in the audit event and in the ledger's
/// record. It is not authentication: a callback of Claude identifies the receiver of the codes, but not the party that
/// registered.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::rules::{Claim, Identities, ClaimStatus};
///
/// let identify = |json: &str| Identities::known().identify(&Registration::parse(json.as_bytes()).unwrap());
///
/// let hosted = identify(r#"{"client_name":"Claude","redirect_uris":["https://claude.ai/api/mcp/auth_callback"]}"#);
/// assert_eq!((hosted.status, hosted.owner()), (ClaimStatus::Verified, Some("Claude")));
/// let native = identify(r#"{"client_name":"Claude Code","redirect_uris":["http://localhost:3118/callback"]}"#);
/// assert_eq!((native.status, native.claimed.as_deref(), native.owner()), (ClaimStatus::Unverified, Some("Claude"), None));
/// let imitation = identify(r#"{"client_name":"CIaude","redirect_uris":["https://app.example.com/cb"]}"#);
/// assert_eq!((imitation.status, imitation.claim), (ClaimStatus::Contradicted, Some(Claim::Name)));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Identity {
    /// The result of comparing the redirect URIs with the claim; `standing` in events and ledgers.
    #[serde(rename = "standing")]
    pub status: ClaimStatus,
    /// The name, in the table, of the reserved identity that is claimed; `None` if none is claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed: Option<String>,
    /// The part of the registration that claims the identity; `None` if only the redirect URIs reveal it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// The hosts of the callbacks that prove the identity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proof: Vec<String>,
}

/// The result of comparing the redirect URIs with a claim.
///
/// ```
/// use tower_dcr::rules::{Identity, ClaimStatus};
///
/// assert_eq!(Identity::default().status, ClaimStatus::Unclaimed);
/// assert_eq!(ClaimStatus::Unverified.to_string(), "unverified");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClaimStatus {
    /// The registration claims no identity in the table.
    #[default]
    Unclaimed,
    /// The claim is neither proven nor contradicted: a loopback redirect, a private-use scheme (even the product's own,
    /// since any program can register it), a relay, or another place in a domain of the vendor. Honest desktop and
    /// command-line clients look like that, and so does any program on a person's computer.
    Unverified,
    /// Every redirect URI is an `https` callback from which only the vendor gets the code.
    Verified,
    /// A redirect URI leads to another party.
    Contradicted,
}

/// The part of a registration that claims an identity.
///
/// ```
/// use tower_dcr::rules::Claim;
///
/// assert_eq!(Claim::Mention.to_string(), "mention");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Claim {
    /// The name is a reserved one, or looks like one.
    Name,
    /// A link that would be displayed (`client_uri`, `logo_uri`, …) leads to a reserved host.
    Link,
    /// The name contains a reserved one among other words: `Claude Monet Gallery`.
    Mention,
}

impl Identity {
    pub(crate) fn new(status: ClaimStatus, claimed: &str, claim: Option<Claim>, proof: Vec<String>) -> Self {
        Self { status, claimed: Some(claimed.to_owned()), claim, proof }
    }

    /// Returns the identity that receives every code: the only name that a consent page may display as more than the
    /// client's own claim. `None` unless `https` callbacks of the vendor prove it; a scheme proves nothing.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        // Ledgers contain older records, for which a scheme counted as proof.
        let by_hosts = !self.proof.is_empty() && self.proof.iter().all(|place| !place.ends_with(':'));
        self.claimed.as_deref().filter(|_| self.status == ClaimStatus::Verified && by_hosts)
    }
}

crate::text::display_serialized!(ClaimStatus, Claim);

/// Writes the status in words, for logs and lists.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.claimed {
            Some(claimed) => write!(f, "{}: {claimed}", self.status),
            None => self.status.fmt(f),
        }
    }
}
