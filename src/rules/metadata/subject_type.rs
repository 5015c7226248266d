//! Subjects that differ from client to client.

use serde_json::Value as Json;

use crate::redirect_uri::{RedirectClass, RedirectUri};
use crate::registration::Field;
use crate::rules::{Draft, ErrorCode, Rejection, Rule, RuleDocs, documented};

/// Checks `subject_type`, and that pairwise subjects have one sector. Runs after the rule about redirect URIs, which may
/// take some out.
///
/// The server fetches `sector_identifier_uri` and compares its content with the redirect URIs (OpenID Connect Dynamic Client
/// Registration section 5). This library fetches nothing.
#[derive(Clone, Debug)]
pub(super) struct SubjectType;

pub(crate) static DOCS: RuleDocs = RuleDocs {
    id: "subject-type",
    protects: "Users from being recognized across the hosts of a client.",
    reference: "OpenID Connect Core 1.0 section 8.1; OpenID Connect Dynamic Client Registration 1.0 section 2",
    attack: "subject_type: \"pairwise\" with redirect URIs of two hosts and no sector_identifier_uri",
    loosen: "Not possible: leave the member out of the policy (metadata.members.openid = false) instead.",
    opens: "Subjects that depend on the order of redirect URIs.",
    replayable: true,
};

impl Rule for SubjectType {
    documented!(DOCS, with a configuration of its own);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        let document = draft.registration();
        let detail = match document.string_at(Field::SUBJECT_TYPE) {
            None | Some("public") => return Ok(()),
            Some("pairwise") if document.at(Field::SECTOR_IDENTIFIER_URI).is_some() => return Ok(()),
            // "If there are multiple hostnames in the registered redirect_uris, the Client MUST register a
            // sector_identifier_uri."
            Some("pairwise") => {
                let mut sectors = document.redirect_uris().map(sector);
                let first = sectors.next();
                if sectors.all(|sector| Some(sector) == first) {
                    return Ok(());
                }
                "needs a sector_identifier_uri beside redirect URIs of several hosts"
            }
            // "Valid types include pairwise and public."
            Some(_) => "is neither pairwise nor public",
        };
        Err(draft.reject(ErrorCode::InvalidClientMetadata, detail).with_field(Field::SUBJECT_TYPE.name()))
    }

    fn config(&self) -> Json {
        Json::Null
    }
}

/// Returns the part of a redirect URI from which pairwise subjects are computed: its host, or the scheme of an application.
fn sector(uri: &str) -> &str {
    match RedirectUri::parse(uri) {
        Ok(read) if read.class() == RedirectClass::PrivateUse => read.scheme(),
        Ok(read) => read.host().unwrap_or(uri),
        Err(_) => uri,
    }
}
