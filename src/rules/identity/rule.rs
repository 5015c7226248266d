//! The rule that compares claimed names with redirect URIs.

use serde::{Deserialize, Serialize};

use crate::rules::action::{self, Action};
use crate::rules::identity::status::{Claim, ClaimStatus};
use crate::rules::identity::table::Identities;
use crate::rules::{Draft, Rule, RuleDocs, documented};
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
/// Of a [client metadata document](crate::documents), the host is a proof as well: a document on a host of the vendor, all of whose
/// redirect URIs are `https` on that host, is verified.
///
/// A private-use scheme proves nothing, not even the product's own: any program can register it.
///
/// The result, an [`Identity`](crate::rules::Identity), is in the extensions of the request that the handler gets, in
/// the audit event and in the ledger's record.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::rules::{ClientIdentity, Context, Decision, Policy};
///
/// let policy = Policy::new(ClientIdentity::default());
/// let own = br#"{"client_name":"Claude","redirect_uris":["https://claude.ai/api/mcp/auth_callback"]}"#;
/// let evaluation = policy.evaluate(Registration::parse(own)?, &Context::registration());
/// assert_eq!(evaluation.decision(), Decision::Accept);
/// let foreign = br#"{"client_name":"Claude","redirect_uris":["https://attacker.example.net/cb"]}"#;
/// let evaluation = policy.evaluate(Registration::parse(foreign)?, &Context::registration());
/// assert_eq!(evaluation.decision(), Decision::Reject);
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ClientIdentity {
    /// The table of reserved names.
    pub identities: Identities,
    /// Action on a reserved name that the redirect URIs contradict: `mark` or `reject`.
    #[serde(
        deserialize_with = "action::one::<_, action::MarkOrReject>",
        serialize_with = "action::write_one::<_, action::MarkOrReject>"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "action::OneOf<action::MarkOrReject>"))]
    pub contradicted_name: Action,
    /// Action on a link to a reserved host (`client_uri`, `logo_uri`, …) that the redirect URIs contradict: `mark` or `reject`.
    #[serde(
        deserialize_with = "action::one::<_, action::MarkOrReject>",
        serialize_with = "action::write_one::<_, action::MarkOrReject>"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "action::OneOf<action::MarkOrReject>"))]
    pub contradicted_link: Action,
    /// Action on a name with a reserved one among its words, if the redirect URIs lead elsewhere: `mark` or `reject`. Claude is
    /// also a name of people.
    #[serde(
        deserialize_with = "action::one::<_, action::MarkOrReject>",
        serialize_with = "action::write_one::<_, action::MarkOrReject>"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "action::OneOf<action::MarkOrReject>"))]
    pub contradicted_mention: Action,
    /// Action on a claim that is neither proven nor contradicted: `mark` or `reject`. Rejecting such claims rejects Claude
    /// Code, Cursor and Visual Studio Code as they are.
    #[serde(
        deserialize_with = "action::one::<_, action::MarkOrReject>",
        serialize_with = "action::write_one::<_, action::MarkOrReject>"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "action::OneOf<action::MarkOrReject>"))]
    pub unverified: Action,
}

pub(crate) static DOCS: RuleDocs = RuleDocs {
    id: "identity",
    protects: "People from clients that imitate others.",
    reference: "RFC 7591 section 5: \"MUST treat all client metadata as self-asserted\"",
    attack: "{\"redirect_uris\":[\"https://attacker.example.net/cb\"],\"client_name\":\"CIaude\"}",
    loosen: "identity.contradicted_name = \"mark\"; identity.identities.release = [\"Cursor\"]; lifecycle.hold = [\"identity\"], for \
             an operator to decide",
    opens: "Imitations on the consent page, marked there if it shows the result.",
    replayable: true,
};

impl Default for ClientIdentity {
    fn default() -> Self {
        Self {
            identities: Identities::known(),
            contradicted_name: Action::Reject,
            contradicted_link: Action::Reject,
            contradicted_mention: Action::Mark,
            unverified: Action::Mark,
        }
    }
}

impl Rule for ClientIdentity {
    documented!(DOCS);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        let identity = match draft.document() {
            Some(url) => self.identities.identify_document(draft.registration(), url.host()),
            None => self.identities.identify(draft.registration()),
        };
        let (status, claim) = (identity.status, identity.claim);
        let field = if claim == Some(Claim::Link) { "client_uri" } else { "client_name" };
        draft.identify(identity);
        let (action, detail) = match (status, claim) {
            (ClaimStatus::Unclaimed | ClaimStatus::Verified, _) => return Ok(()),
            (ClaimStatus::Unverified, _) => (self.unverified, "claims an identity that the redirect URIs do not prove"),
            (ClaimStatus::Contradicted, claim) => {
                let action = match claim {
                    Some(Claim::Mention) => self.contradicted_mention,
                    Some(Claim::Link) => self.contradicted_link,
                    Some(Claim::Name) | None => self.contradicted_name,
                };
                (action, "claims an identity that the redirect URIs do not belong to")
            }
        };
        if action != Action::Mark {
            return Err(draft.reject(ErrorCode::InvalidClientMetadata, detail).with_field(field).holdable(true));
        }
        draft.flag(field);
        Ok(())
    }
}
