//! Request objects that the server fetches.

use serde_json::Value as Json;

use crate::registration::Field;
use crate::rules::{Draft, ErrorCode, Rejection, Rule, RuleDocs, documented};

/// Limits `request_uris`: the server may fetch each, at a time of the client's choice. The rule about fetched URIs checks
/// their hosts.
#[derive(Clone, Debug)]
pub(super) struct RequestUris;

pub(crate) static DOCS: RuleDocs = RuleDocs {
    id: "request-uris",
    protects: "The server from requests that a client makes it send, by their number.",
    reference: "OpenID Connect Core 1.0 section 6.2; OpenID Connect Dynamic Client Registration 1.0 section 2",
    attack: "request_uris with a thousand links",
    loosen: "Not possible: leave the member out of the policy (metadata.members.openid = false) instead.",
    opens: "Many requests of the server for one of a client.",
    replayable: true,
};

const FIELD: &str = Field::REQUEST_URIS.name();

/// Clients register one for each kind of request.
const MAX_COUNT: usize = 20;

/// "The entire Request URI SHOULD NOT exceed 512 ASCII characters."
const MAX_BYTES: usize = 512;

impl Rule for RequestUris {
    documented!(DOCS, with a configuration of its own);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        let Some(uris) = draft.registration().strings_at(Field::REQUEST_URIS) else { return Ok(()) };
        let reject = |detail| draft.reject(ErrorCode::InvalidClientMetadata, detail).with_field(FIELD);
        if uris.len() > MAX_COUNT {
            return Err(reject("has more than 20 entries"));
        }
        match uris.clone().position(|uri| uri.len() > MAX_BYTES) {
            Some(index) => Err(reject("is longer than 512 characters").with_index(index)),
            None => Ok(()),
        }
    }

    fn config(&self) -> Json {
        Json::Null
    }
}
