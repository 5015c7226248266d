//! The keys of clients that authenticate with one.

use serde_json::Value as Json;

use crate::registration::Field;
use crate::rules::{Draft, ErrorCode, Rejection, Rule, RuleDocs, documented};

/// Rejects a client that would authenticate with a key and registers none.
#[derive(Clone, Debug)]
pub(super) struct ClientKeys;

pub(crate) static DOCS: RuleDocs = RuleDocs {
    id: "client-keys",
    protects: "The server from clients that nothing can authenticate.",
    reference: "OpenID Connect Core 1.0 section 9 (private_key_jwt: \"Clients that have registered a public key\"); \
                RFC 8705 section 2.2.2",
    attack: "token_endpoint_auth_method: \"private_key_jwt\" without keys",
    loosen: "Not possible: a server that gets the keys in another way adds them (metadata.members.supply).",
    opens: "Clients that a server may take for public ones.",
    replayable: true,
};

/// The methods that need a registered key.
pub(super) const WITH_KEY: [&str; 2] = ["private_key_jwt", "self_signed_tls_client_auth"];

impl Rule for ClientKeys {
    documented!(DOCS, with a configuration of its own);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        let document = draft.registration();
        let method = document.string_at(Field::TOKEN_ENDPOINT_AUTH_METHOD).unwrap_or_default();
        let keys = [Field::JWKS, Field::JWKS_URI, Field::SIGNED_JWKS_URI];
        if !WITH_KEY.contains(&method) || keys.into_iter().any(|field| document.at(field).is_some()) {
            return Ok(());
        }
        let detail = "needs jwks or jwks_uri";
        let field = Field::TOKEN_ENDPOINT_AUTH_METHOD.name();
        Err(draft.reject(ErrorCode::InvalidClientMetadata, detail).with_field(field))
    }

    fn config(&self) -> Json {
        Json::Null
    }
}
