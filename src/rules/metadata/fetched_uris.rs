//! URIs that a server fetches, or to which it sends a browser.

use serde_json::Value as Json;

use crate::redirect_uri::{RedirectClass, RedirectUri};
use crate::registration::{JsonType, UriUse, Value};
use crate::rules::metadata::public_link;
use crate::rules::{Draft, Rule, RuleDocs, documented};
use crate::rules::{ErrorCode, Rejection};

/// Rejects a registration in which a URI that the server fetches, or a browser follows, does not lead to a public host.
///
/// A key URI can make a server send requests into its own network, and a logout URI can run `javascript:`. Without the
/// member, the client would be a different one, so the registration is rejected instead of being narrowed. This library
/// fetches nothing.
#[derive(Clone, Debug)]
pub(super) struct DereferencedUris;

pub(crate) static DOCS: RuleDocs = RuleDocs {
    id: "dereferenced-uris",
    protects: "The server's own network from requests that a client makes the server send.",
    reference: "OpenID Connect Dynamic Client Registration 1.0 sections 2 and 9; RFC 9700 section 4.11",
    attack: "jwks_uri: \"https://10.0.0.1/keys\"",
    loosen: "Not possible: leave the member out of the policy (metadata.members.openid = false) instead.",
    opens: "Requests into your network.",
    replayable: true,
};

impl Rule for DereferencedUris {
    documented!(DOCS, with a configuration of its own);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        for member in draft.registration().entries() {
            let Some(field) = member.kind().field() else { continue };
            let (is_acceptable, detail): (fn(&str) -> bool, _) = match field.uri() {
                UriUse::Fetched => (is_public, "is not an https link to a public host"),
                UriUse::FetchedWithHash => (is_public_with_hash, "is not an https link to a public host"),
                UriUse::Redirect => (can_be_redirected_to, "is not a place that a browser can be sent to"),
                UriUse::NotUri | UriUse::Callback | UriUse::Displayed | UriUse::NotFollowed => continue,
            };
            let Err(index) = check(field.json_type(), &member.value(), is_acceptable) else { continue };
            let rejection = draft.reject(ErrorCode::InvalidClientMetadata, detail).with_field(field.name());
            return Err(match index {
                Some(index) => rejection.with_index(index),
                None => rejection,
            });
        }
        Ok(())
    }

    fn config(&self) -> Json {
        Json::Null
    }
}

/// Checks a URI, or each of a list. The error is the index of the first unacceptable one; `None` outside of a list.
fn check(json_type: JsonType, value: &Value<'_>, is_acceptable: fn(&str) -> bool) -> Result<(), Option<usize>> {
    match (json_type, value) {
        (JsonType::Strings, Value::Strings(uris)) => {
            uris.clone().position(|uri| !is_acceptable(uri)).map_or(Ok(()), |index| Err(Some(index)))
        }
        (JsonType::Strings, _) => Err(Some(0)),
        (_, Value::String(uri)) if is_acceptable(uri) => Ok(()),
        _ => Err(None),
    }
}

fn is_public(uri: &str) -> bool {
    public_link::read(uri).is_some()
}

fn is_public_with_hash(uri: &str) -> bool {
    uri.split('#').next().is_some_and(is_public)
}

fn can_be_redirected_to(uri: &str) -> bool {
    RedirectUri::parse(uri).is_ok_and(|uri| match uri.class() {
        RedirectClass::Https => uri.leads_to_public_host(),
        RedirectClass::Loopback | RedirectClass::PrivateUse => true,
        RedirectClass::PlainHttp => false,
    })
}
