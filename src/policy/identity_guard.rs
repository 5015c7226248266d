//! Claimed names against proof.

use serde::{Deserialize, Serialize};

use super::identities::Identities;
use super::identity::{Claim, Standing};
use super::{Policy, Submission, describe_as_json};
use crate::rejection::{ErrorCode, Rejection};

/// Compares who a client claims to be with where its codes go.
///
/// RFC 7591 section 5: the server "MUST treat all client metadata as self-asserted" and "take appropriate steps to
/// mitigate this risk" of one client taking the name or the logo of another. A name is claimed if it is one of the
/// [table's](Identities), or looks like one; in any language (`client_name#ja`), with or without a parenthetical. *Every*
/// redirect URI has to prove the claim: of a list with one vendor's URI in it, any other may be the one that is used.
///
/// | claimed by | redirect URIs | by default |
/// | --- | --- | --- |
/// | its name, or a link to a reserved host | one leads to a foreign host, or has another's scheme | refused |
/// | the same | a vendor's beside a loopback one, from a client that never sends both | refused |
/// | a name among other words | one leads elsewhere | passes, marked |
/// | either | loopback, or a scheme that is nobody's | passes, marked as unverified |
/// | either | all are the claimed one's own | verified |
///
/// The verdict, an [`Identity`](super::Identity), is in the extensions of the request that the handler gets, in the audit
/// event and in the ledger's record.
///
/// ```
/// # use tower_dcr::{Registration, policy::{Policy, Review, Submission}};
/// # fn judge(rule: &impl Policy, body: &str) -> Result<String, String> {
/// #     let mut registration = Registration::parse(body.as_bytes()).unwrap();
/// #     let mut review = Review::registration();
/// #     rule.review(&mut Submission::new(&mut registration, &mut review)).map_err(|refused| refused.description())?;
/// #     Ok(String::from_utf8(registration.canonical_bytes()).unwrap())
/// # }
/// use tower_dcr::policy::IdentityGuard;
///
/// let guard = IdentityGuard::new();
/// assert!(judge(&guard, r#"{"client_name":"Claude","redirect_uris":["https://attacker.example.net/cb"]}"#).is_err());
/// assert!(judge(&guard, r#"{"client_name":"Claude","redirect_uris":["https://claude.ai/api/mcp/auth_callback"]}"#).is_ok());
/// assert!(judge(&guard, r#"{"client_name":"Claude Code","redirect_uris":["http://localhost:3118/callback"]}"#).is_ok());
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct IdentityGuard {
    /// The names that not everybody may use.
    identities: Identities,
    /// What happens to a reserved name that the redirect URIs contradict.
    contradicted_name: OnClaim,
    /// What happens to a link to a reserved host that the redirect URIs contradict.
    contradicted_link: OnClaim,
    /// What happens to a name with a reserved one among its words, if the redirect URIs lead elsewhere.
    contradicted_mention: OnClaim,
    /// What happens to a claim that nothing proves and nothing contradicts.
    unverified: OnClaim,
}

/// What happens to a registration with a claim that is not proven.
///
/// ```
/// use tower_dcr::policy::{IdentityGuard, OnClaim};
///
/// let guard = IdentityGuard::new().with_unverified(OnClaim::Refuse);
/// # let _ = guard;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnClaim {
    /// It passes; the verdict says what is wrong.
    Mark,
    /// It is refused.
    #[serde(rename = "reject", alias = "refuse")]
    Refuse,
}

const RULE: &str = "identity";

impl IdentityGuard {
    /// With the [known](Identities::known) identities.
    pub fn new() -> Self {
        Self {
            identities: Identities::known(),
            contradicted_name: OnClaim::Refuse,
            contradicted_link: OnClaim::Refuse,
            contradicted_mention: OnClaim::Mark,
            unverified: OnClaim::Mark,
        }
    }

    /// Replaces the table.
    pub fn with_identities(mut self, identities: Identities) -> Self {
        self.identities = identities;
        self
    }

    /// Changes the table.
    ///
    /// # Errors
    ///
    /// What `change` fails with.
    pub fn map_identities<E>(mut self, change: impl FnOnce(Identities) -> Result<Identities, E>) -> Result<Self, E> {
        self.identities = change(self.identities)?;
        Ok(self)
    }

    /// What happens to a name that the redirect URIs contradict. Refused by default.
    pub fn with_contradicted_name(mut self, outcome: OnClaim) -> Self {
        self.contradicted_name = outcome;
        self
    }

    /// What happens to a link to a reserved host (`client_uri`, `logo_uri`, …) that the redirect URIs contradict. Refused
    /// by default.
    pub fn with_contradicted_link(mut self, outcome: OnClaim) -> Self {
        self.contradicted_link = outcome;
        self
    }

    /// What happens to a name with a reserved one among its words, if the redirect URIs lead elsewhere. Marked by default:
    /// there are people who are called Claude.
    pub fn with_contradicted_mention(mut self, outcome: OnClaim) -> Self {
        self.contradicted_mention = outcome;
        self
    }

    /// What happens to a claim that nothing proves and nothing contradicts. Marked by default: to refuse it refuses Claude
    /// Code, Cursor and Visual Studio Code as they are.
    pub fn with_unverified(mut self, outcome: OnClaim) -> Self {
        self.unverified = outcome;
        self
    }

    /// The table.
    pub fn identities(&self) -> &Identities {
        &self.identities
    }
}

impl Default for IdentityGuard {
    fn default() -> Self {
        Self::new()
    }
}

impl Policy for IdentityGuard {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        submission.begin(RULE);
        let identity = self.identities.identify(submission.registration());
        let (standing, claim) = (identity.standing(), identity.claim());
        let field = if claim == Some(Claim::Link) { "client_uri" } else { "client_name" };
        submission.identify(identity);
        let (outcome, detail) = match (standing, claim) {
            (Standing::Unclaimed | Standing::Verified, _) => return Ok(()),
            (Standing::Unverified, _) => (self.unverified, "claims an identity that the redirect URIs do not prove"),
            (Standing::Contradicted, claim) => {
                let outcome = match claim {
                    Some(Claim::Mention) => self.contradicted_mention,
                    Some(Claim::Link) => self.contradicted_link,
                    Some(Claim::Name) | None => self.contradicted_name,
                };
                (outcome, "claims an identity that the redirect URIs do not belong to")
            }
        };
        if outcome == OnClaim::Refuse {
            return Err(submission.reject(ErrorCode::InvalidClientMetadata, detail).with_field(field));
        }
        submission.flag(field);
        Ok(())
    }

    fn describe(&self, out: &mut String) {
        describe_as_json(self, out);
    }
}
