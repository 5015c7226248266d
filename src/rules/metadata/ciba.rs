//! Clients that sign users in without a browser (CIBA).

use serde_json::Value as Json;

use super::auth_method::NONE;
use crate::registration::{CIBA, Field};
use crate::rules::{Draft, ErrorCode, Rejection, Rule, RuleDocs, documented};

/// Checks the members of OpenID Connect Client-Initiated Backchannel Authentication against each other. Part of a policy
/// that offers the grant type.
#[derive(Clone, Debug)]
pub(super) struct Ciba;

pub(crate) static DOCS: RuleDocs = RuleDocs {
    id: "ciba",
    protects: "The server from clients to which it can't deliver tokens.",
    reference: "OpenID Connect Client-Initiated Backchannel Authentication Flow - Core 1.0 sections 4 and 7.1",
    attack: "backchannel_token_delivery_mode: \"push\" without backchannel_client_notification_endpoint",
    loosen: "Not possible: do not offer urn:openid:params:grant-type:ciba instead.",
    opens: "Registrations whose sign-ins fail.",
    replayable: true,
};

impl Rule for Ciba {
    documented!(DOCS, with a configuration of its own);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        let document = draft.registration();
        let uses = document.strings_at(Field::GRANT_TYPES).into_iter().flatten().any(|grant| grant == CIBA);
        let mode = document.string_at(Field::BACKCHANNEL_TOKEN_DELIVERY_MODE);
        let has_endpoint = document.at(Field::BACKCHANNEL_CLIENT_NOTIFICATION_ENDPOINT).is_some();
        let is_public = document.string_at(Field::TOKEN_ENDPOINT_AUTH_METHOD) == Some(NONE);
        let (field, detail) = match mode {
            // "REQUIRED. One of the following values: poll, ping, or push."
            None if uses => (Field::BACKCHANNEL_TOKEN_DELIVERY_MODE, "is required for the grant type of CIBA"),
            // Section 7.1: "The Client MUST authenticate to the Backchannel Authentication Endpoint". In push mode, no grant
            // type says that the client uses that endpoint.
            Some("poll" | "ping" | "push") if is_public => {
                (Field::TOKEN_ENDPOINT_AUTH_METHOD, "must not be none for a client of CIBA")
            }
            Some("poll" | "ping" | "push") | None => match mode {
                // "When using the ping or poll mode, the Client MUST include the CIBA grant type".
                Some("poll" | "ping") if !uses => (Field::GRANT_TYPES, "must include the grant type of CIBA"),
                // "REQUIRED if the token delivery mode is set to ping or push."
                Some("ping" | "push") if !has_endpoint => {
                    (Field::BACKCHANNEL_CLIENT_NOTIFICATION_ENDPOINT, "is required for this delivery mode")
                }
                _ => return Ok(()),
            },
            Some(_) => (Field::BACKCHANNEL_TOKEN_DELIVERY_MODE, "is neither poll, ping nor push"),
        };
        Err(draft.reject(ErrorCode::InvalidClientMetadata, detail).with_field(field.name()))
    }

    fn config(&self) -> Json {
        Json::Null
    }
}
