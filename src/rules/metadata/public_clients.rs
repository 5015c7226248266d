//! Grant types that a public client must not use.

use serde_json::{Value as Json, json};

use super::auth_method::NONE;
use crate::registration::{CIBA, Field};
use crate::rules::action::Action;
use crate::rules::{Draft, ErrorCode, Rejection, Rule, RuleDocs, documented};

/// Takes the grant types that need client authentication from a client without it: anything that knows its `client_id`
/// would get its tokens.
#[derive(Clone, Debug)]
pub(super) struct PublicClients {
    /// The setting of [`Grants::otherwise`](super::Grants::otherwise).
    pub(super) otherwise: Action,
}

pub(crate) static DOCS: RuleDocs = RuleDocs {
    id: "public-clients",
    protects: "Tokens without a person from everyone who knows a client_id.",
    reference: "RFC 6749 section 4.4 (client_credentials \"MUST only be used by confidential clients\"); OpenID Connect CIBA \
                section 7.1 (the client \"MUST authenticate\")",
    attack: "grant_types: [\"client_credentials\"] with token_endpoint_auth_method: \"none\"",
    loosen: "Not possible: offer a method (metadata.token_endpoint_auth_method.one_of) that authenticates such clients.",
    opens: "Tokens of a client for anyone who sends its client_id.",
    replayable: true,
};

const FIELD: &str = Field::GRANT_TYPES.name();

impl Rule for PublicClients {
    documented!(DOCS, with a configuration of its own);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        let document = draft.registration();
        if document.string_at(Field::TOKEN_ENDPOINT_AUTH_METHOD) != Some(NONE) {
            return Ok(());
        }
        let grants = || document.strings_at(Field::GRANT_TYPES).into_iter().flatten();
        if !grants().any(needs_authentication) {
            return Ok(());
        }
        // A refresh token is of use only with a grant that issues one.
        let remains = grants().any(|grant| !needs_authentication(grant) && grant != "refresh_token");
        if self.otherwise == Action::Narrow && remains {
            draft.narrow_strings(FIELD, |grant| !needs_authentication(grant));
            return Ok(());
        }
        let detail = "has a grant type that a client without authentication must not use";
        Err(draft.reject(ErrorCode::InvalidClientMetadata, detail).with_field(FIELD))
    }

    fn config(&self) -> Json {
        json!({ "otherwise": self.otherwise })
    }
}

/// Returns `true` for `client_credentials` and CIBA. Assertions and device codes authenticate by themselves.
fn needs_authentication(grant: &str) -> bool {
    matches!(grant, "client_credentials" | CIBA)
}
