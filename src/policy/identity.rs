//! Who a client claims to be, and what speaks for it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The verdict of an [`IdentityGuard`](super::IdentityGuard) on one registration: which reserved identity it claims, and
/// whether its redirect URIs prove that.
///
/// A guard derives it from the document that it checked, and nobody else can make one but by reading it from a ledger. It
/// is in the request's extensions for the handler, to be shown on the consent page, in the audit event and in the ledger's
/// record. It is no authentication: that codes go to `claude.ai` says who gets them, and nothing about who registered.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::policy::{Claim, Identities, Standing};
///
/// let identify = |json: &str| Identities::known().identify(&Registration::parse(json.as_bytes()).unwrap());
///
/// let hosted = identify(r#"{"client_name":"Claude","redirect_uris":["https://claude.ai/api/mcp/auth_callback"]}"#);
/// assert_eq!((hosted.standing(), hosted.owner()), (Standing::Verified, Some("Claude")));
/// let native = identify(r#"{"client_name":"Claude Code","redirect_uris":["http://localhost:3118/callback"]}"#);
/// assert_eq!((native.standing(), native.claimed(), native.owner()), (Standing::Unverified, Some("Claude"), None));
/// let imitation = identify(r#"{"client_name":"CIaude","redirect_uris":["https://app.example.com/cb"]}"#);
/// assert_eq!((imitation.standing(), imitation.claim()), (Standing::Contradicted, Some(Claim::Name)));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    standing: Standing,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claimed: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claim: Option<Claim>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    proof: Vec<String>,
}

/// What the redirect URIs say about a claim.
///
/// ```
/// use tower_dcr::policy::{Identity, Standing};
///
/// assert_eq!(Identity::default().standing(), Standing::Unclaimed);
/// assert_eq!(Standing::Unverified.as_str(), "unverified");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Standing {
    /// It claims to be nobody that the table knows. Its name is as good as any.
    #[default]
    Unclaimed,
    /// Nothing speaks for the claim and nothing against it: a loopback redirect, or a scheme that is nobody's. Honest
    /// command-line clients look like that, and so does any program on a person's computer.
    Unverified,
    /// Every redirect URI is a place of the one who is claimed.
    Verified,
    /// A redirect URI leads to somebody else.
    Contradicted,
}

/// By what an identity is claimed.
///
/// ```
/// use tower_dcr::policy::Claim;
///
/// assert_eq!(Claim::Mention.as_str(), "mention");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Claim {
    /// Its name is a reserved one, or looks like one.
    Name,
    /// A link that it would have shown (`client_uri`, `logo_uri`, …) leads to a reserved host.
    Link,
    /// Its name has a reserved one among other words: `Claude Monet Gallery`.
    Mention,
}

impl Identity {
    pub(super) fn new(standing: Standing, claimed: &str, claim: Option<Claim>, proof: Vec<String>) -> Self {
        Self { standing, claimed: Some(claimed.to_owned()), claim, proof }
    }

    /// What the redirect URIs say.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// The reserved identity that is claimed, by its name in the table.
    #[must_use]
    pub fn claimed(&self) -> Option<&str> {
        self.claimed.as_deref()
    }

    /// By what it is claimed; nothing if the redirect URIs alone say whose they are.
    #[must_use]
    pub fn claim(&self) -> Option<Claim> {
        self.claim
    }

    /// The identity that every redirect URI belongs to, if there is one: the only name that a consent page may show as
    /// more than the client's own word.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        self.claimed().filter(|_| self.standing == Standing::Verified)
    }

    /// The redirect hosts, and the private-use schemes with their colon, that prove it. A scheme proves less than a host:
    /// an operating system gives it to whichever application asked for it last (RFC 8252 section 8.6).
    #[must_use]
    pub fn proof(&self) -> &[String] {
        &self.proof
    }
}

impl Standing {
    /// The name that is written into events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unclaimed => "unclaimed",
            Self::Unverified => "unverified",
            Self::Verified => "verified",
            Self::Contradicted => "contradicted",
        }
    }
}

impl Claim {
    /// The name that is written into events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Link => "link",
            Self::Mention => "mention",
        }
    }
}

/// In words, for logs and lists.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.standing.as_str())?;
        match &self.claimed {
            Some(claimed) => write!(f, ": {claimed}"),
            None => Ok(()),
        }
    }
}
