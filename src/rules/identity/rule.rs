//! The rule that compares claimed names with redirect URIs.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::rules::identity::status::{Claim, Standing};
use crate::rules::identity::table::Identities;
use crate::rules::{Draft, Rule, RuleDocs, settings};
use crate::rules::{ErrorCode, Rejection};

/// Compares the identity that a client claims with the hosts that receive its codes.
///
/// RFC 7591 section 5: the server "MUST treat all client metadata as self-asserted" and "take appropriate steps to
/// mitigate this risk" of one client taking the name or the logo of another. A name claims an identity if it is one of
/// the [table's](Identities) names or looks like one, in any language (`client_name#ja`), with or without a
/// parenthetical. *Every* redirect URI has to prove the claim: if only one URI of a list is the vendor's, the codes can
/// go to another one.
///
/// | claimed by | redirect URIs | by default |
/// | --- | --- | --- |
/// | its name, or a link to a reserved host | one leads to a foreign host, or has another's scheme | rejected |
/// | the same | a vendor's together with a loopback one, from a client that never sends both | rejected |
/// | a name among other words | one leads elsewhere | accepted, marked |
/// | either | loopback, a private-use scheme, another place in a domain of the vendor | accepted as unverified |
/// | either | all are `https` callbacks of the vendor | verified |
///
/// A private-use scheme proves nothing, not even the product's own: any program can register it.
///
/// The result, an [`Identity`](crate::rules::Identity), is in the extensions of the request that the handler gets, in
/// the audit event and in the ledger's record.
///
/// ```
/// # use tower_dcr::{Registration, rules::{Context, IntoRules, Policy}};
/// # fn judge(rules: &(impl IntoRules + Clone), body: &str) -> Result<String, String> {
/// #     let registration = Registration::parse(body.as_bytes()).unwrap();
/// #     let evaluation = Policy::new(rules.clone()).evaluate(registration, &Context::registration());
/// #     if let Some(rejection) = evaluation.rejection() {
/// #         return Err(rejection.description());
/// #     }
/// #     Ok(String::from_utf8(evaluation.registration().unwrap().canonical_bytes()).unwrap())
/// # }
/// use tower_dcr::rules::ClientIdentity;
///
/// let guard = ClientIdentity::new();
/// assert!(judge(&guard, r#"{"client_name":"Claude","redirect_uris":["https://attacker.example.net/cb"]}"#).is_err());
/// assert!(judge(&guard, r#"{"client_name":"Claude","redirect_uris":["https://claude.ai/api/mcp/auth_callback"]}"#).is_ok());
/// assert!(judge(&guard, r#"{"client_name":"Claude Code","redirect_uris":["http://localhost:3118/callback"]}"#).is_ok());
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct ClientIdentity {
    /// The table of reserved names.
    identities: Identities,
    /// Action on a reserved name that the redirect URIs contradict.
    contradicted_name: OnClaim,
    /// Action on a link to a reserved host that the redirect URIs contradict.
    contradicted_link: OnClaim,
    /// Action on a name with a reserved one among its words, if the redirect URIs lead elsewhere.
    contradicted_mention: OnClaim,
    /// Action on a claim that is neither proven nor contradicted.
    unverified: OnClaim,
}

/// The action on a registration with a claim that is not proven.
///
/// ```
/// use tower_dcr::rules::{ClientIdentity, OnClaim};
///
/// let guard = ClientIdentity::new().with_unverified(OnClaim::Refuse);
/// # let _ = guard;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnClaim {
    /// The registration is accepted, and the result is recorded.
    Mark,
    /// The registration is rejected.
    #[serde(rename = "reject", alias = "refuse")]
    Refuse,
}

pub(crate) static DOCS: RuleDocs = RuleDocs {
    id: "identity",
    protects: "People from clients that imitate others.",
    reference: "RFC 7591 section 5: \"MUST treat all client metadata as self-asserted\"",
    attack: "{\"redirect_uris\":[\"https://attacker.example.net/cb\"],\"client_name\":\"CIaude\"}",
    loosen: "identity.contradicted_name = \"mark\"; identity.identities.release = [\"Cursor\"]",
    opens: "Imitations on the consent page, marked there if it shows the result.",
    replayable: true,
};

impl ClientIdentity {
    /// Creates the rule with the [known](Identities::known) identities.
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

    /// Changes the table with `change`.
    ///
    /// # Errors
    ///
    /// Returns the error of `change`.
    pub fn map_identities<E>(mut self, change: impl FnOnce(Identities) -> Result<Identities, E>) -> Result<Self, E> {
        self.identities = change(self.identities)?;
        Ok(self)
    }

    /// Sets the action on a name that the redirect URIs contradict (default: rejected).
    pub fn with_contradicted_name(mut self, outcome: OnClaim) -> Self {
        self.contradicted_name = outcome;
        self
    }

    /// Sets the action on a link to a reserved host (`client_uri`, `logo_uri`, …) that the redirect URIs contradict
    /// (default: rejected).
    pub fn with_contradicted_link(mut self, outcome: OnClaim) -> Self {
        self.contradicted_link = outcome;
        self
    }

    /// Sets the action on a name with a reserved one among its words, if the redirect URIs lead elsewhere (default:
    /// marked, because Claude is also a name of people).
    pub fn with_contradicted_mention(mut self, outcome: OnClaim) -> Self {
        self.contradicted_mention = outcome;
        self
    }

    /// Sets the action on a claim that is neither proven nor contradicted (default: marked). Rejecting such claims
    /// rejects Claude Code, Cursor and Visual Studio Code as they are.
    pub fn with_unverified(mut self, outcome: OnClaim) -> Self {
        self.unverified = outcome;
        self
    }

    /// Returns the table.
    pub fn identities(&self) -> &Identities {
        &self.identities
    }
}

impl Default for ClientIdentity {
    fn default() -> Self {
        Self::new()
    }
}

impl Rule for ClientIdentity {
    fn id(&self) -> &'static str {
        DOCS.id
    }

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        let identity = self.identities.identify(draft.registration());
        let (standing, claim) = (identity.standing(), identity.claim());
        let field = if claim == Some(Claim::Link) { "client_uri" } else { "client_name" };
        draft.identify(identity);
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
            return Err(draft.reject(ErrorCode::InvalidClientMetadata, detail).with_field(field));
        }
        draft.flag(field);
        Ok(())
    }

    fn config(&self) -> Json {
        settings(self)
    }

    fn docs(&self) -> Option<&'static RuleDocs> {
        Some(&DOCS)
    }
}
