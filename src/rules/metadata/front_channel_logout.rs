//! Pages that the server embeds to sign a user out.

use serde_json::Value as Json;

use crate::redirect_uri::RedirectUri;
use crate::registration::Field;
use crate::rules::{Draft, ErrorCode, Rejection, Rule, RuleDocs, documented};

/// Rejects a `frontchannel_logout_uri` of another origin than all redirect URIs. Runs after the rule about redirect URIs:
/// that rule may remove some.
#[derive(Clone, Debug)]
pub(super) struct FrontChannelLogout;

pub(crate) static DOCS: RuleDocs = RuleDocs {
    id: "front-channel-logout",
    protects: "Users from pages of others in the server's sign-out page.",
    reference: "OpenID Connect Front-Channel Logout 1.0 section 2",
    attack: "frontchannel_logout_uri: \"https://evil.example.net/\" beside a redirect URI of app.example.com",
    loosen: "Not possible: leave the member out of the policy (metadata.members.openid = false) instead.",
    opens: "Any page in a frame of the server's, which learns the session IDs of users.",
    replayable: true,
};

impl Rule for FrontChannelLogout {
    documented!(DOCS, with a configuration of its own);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        let document = draft.registration();
        let Some(logout) = document.string_at(Field::FRONTCHANNEL_LOGOUT_URI) else { return Ok(()) };
        let has_origin_of = |redirect: &str| match (RedirectUri::parse(logout), RedirectUri::parse(redirect)) {
            (Ok(logout), Ok(redirect)) => {
                // A port that is left out is the default one (RFC 6454 section 4).
                let port = logout.unusual_port() == redirect.unusual_port();
                port && logout.scheme() == redirect.scheme() && logout.host() == redirect.host()
            }
            _ => false,
        };
        // "The domain, port, and scheme of this URL MUST be the same as that of a registered Redirection URI value."
        if document.redirect_uris().any(has_origin_of) {
            return Ok(());
        }
        let detail = "has another domain, port or scheme than each redirect URI";
        let field = Field::FRONTCHANNEL_LOGOUT_URI.name();
        Err(draft.reject(ErrorCode::InvalidClientMetadata, detail).with_field(field))
    }

    fn config(&self) -> Json {
        Json::Null
    }
}
