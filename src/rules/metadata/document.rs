//! The rules that only client metadata documents have.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::auth_method::{NONE, SHARED_SECRET};
use super::jwks;
use crate::documents::client_id_url::ClientIdUrl;
use crate::redirect_uri::{RedirectClass, RedirectUri, is_within_domain, site_of};
use crate::registration::{Field, Limits, Registration, Value};
use crate::rules::action::{self, Action};
use crate::rules::{Draft, ErrorCode, Rejection, Rule, RuleDocs, documented};

/// The rules about client metadata documents, beside those that registrations have as well.
///
/// A document is the same for every server, so a preset narrows it where it would reject a registration: unknown members,
/// grant types, response types and scopes are removed, and so are redirect URIs that are not allowed. What is dangerous rejects
/// the document.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::documents::ClientIdUrl;
/// use tower_dcr::rules::{Context, Decision};
///
/// let url = ClientIdUrl::parse("https://app.example.com/client.json")?;
/// let document = br#"{"client_name":"App","redirect_uris":["https://app.example.com/cb"],"token_endpoint_auth_method":"private_key_jwt",
///     "token_endpoint_auth_methods_supported":["none","private_key_jwt"]}"#;
/// let evaluation = tower_dcr::mcp().document_policy().evaluate(Registration::parse(document)?, &Context::document(&url));
/// assert_eq!(evaluation.registration.unwrap().string("token_endpoint_auth_method"), Some("none"));
/// let secret = Registration::parse(br#"{"redirect_uris":["https://app.example.com/cb"],"client_secret":"s"}"#)?;
/// let evaluation = tower_dcr::mcp().document_policy().evaluate(secret, &Context::document(&url));
/// assert_eq!(evaluation.decision(), Decision::Reject);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "written with `..DocumentRules::default()`")]
pub struct DocumentRules {
    /// Action on a document without `client_name`: `mark` or `reject`. MCP requires the name, and a document of a large vendor has
    /// none. A consent page shows the host in its place.
    #[serde(
        deserialize_with = "action::one::<_, action::MarkOrReject>",
        serialize_with = "action::write_one::<_, action::MarkOrReject>"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "action::OneOf<action::MarkOrReject>"))]
    pub absent_name: Action,
    /// The places that `https` redirect URIs may lead to. Others are removed. Loopback redirect URIs and private-use schemes are
    /// exempt.
    pub redirects: RedirectSite,
    /// Chooses another method that the document lists in `token_endpoint_auth_methods_supported`, if the server does not offer the
    /// one in `token_endpoint_auth_method`. Otherwise such a document is rejected.
    pub negotiate_auth_method: bool,
}

/// The places that the `https` redirect URIs of a document may lead to, compared with the URL of the document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RedirectSite {
    /// Any host that the rule about redirect URIs allows.
    #[default]
    Any,
    /// The same registrable domain (the Public Suffix List).
    SameSite,
    /// The same host and port.
    SameOrigin,
}

pub(crate) static DOCS: RuleDocs = RuleDocs {
    id: "document",
    protects: "Grants of a public document: it has no secret, no private key, and redirect URIs.",
    reference: "draft-ietf-oauth-client-id-metadata-document-01 sections 4.1 and 6.2; MCP 2026-07-28 (client_name)",
    attack: "https://evil.example.net/client: {\"redirect_uris\":[\"https://evil.example.net/cb\"],\"client_secret\":\"public\"}",
    loosen: "documents.rules.absent_name = \"mark\"; documents.rules.negotiate_auth_method = true. Not possible for secrets and \
             private keys",
    opens: "Clients that are known by their host only.",
    replayable: false,
};

pub(crate) static REDIRECTS_DOCS: RuleDocs = RuleDocs {
    id: "document-redirects",
    protects: "Codes from being sent to another site than the one that publishes the document.",
    reference: "draft-ietf-oauth-client-id-metadata-document-01 section 6.1; RFC 8252 section 7.1",
    attack: "https://app.example.com/client: {\"redirect_uris\":[\"https://evil.example.net/cb\"]}",
    loosen: "documents.rules.redirects = \"any\"; redirect_uris.add_private_use_schemes = [\"com.example.app\"]",
    opens: "Codes of a document to other sites, and to any program that claims the scheme.",
    replayable: false,
};

const AUTH_METHOD: &str = Field::TOKEN_ENDPOINT_AUTH_METHOD.name();
const SUPPORTED: &str = "token_endpoint_auth_methods_supported";
const CLIENT_NAME: &str = Field::CLIENT_NAME.name();

impl Default for DocumentRules {
    fn default() -> Self {
        Self { absent_name: Action::Mark, redirects: RedirectSite::Any, negotiate_auth_method: true }
    }
}

impl DocumentRules {
    /// The rules of a server that knows its clients.
    pub(crate) fn strict() -> Self {
        Self { absent_name: Action::Reject, redirects: RedirectSite::SameSite, negotiate_auth_method: false }
    }
}

/// Runs before all other rules.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DocumentMetadata {
    pub(crate) rules: DocumentRules,
    /// The methods that the server offers to documents.
    pub(crate) offered: Vec<String>,
}

impl Rule for DocumentMetadata {
    documented!(DOCS);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        check_secrets(draft)?;
        self.negotiate(draft)?;
        check_redirect_uris(draft)?;
        strip(draft);
        let name = draft.registration().string_at(Field::CLIENT_NAME).is_some_and(|name| !name.trim().is_empty());
        match self.rules.absent_name {
            _ if name => Ok(()),
            Action::Mark => {
                draft.flag(CLIENT_NAME);
                Ok(())
            }
            _ => Err(reject(draft, CLIENT_NAME, "is required")),
        }
    }
}

impl DocumentMetadata {
    /// Sets the method to one that the document has and the server offers.
    fn negotiate(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        let document = draft.registration();
        let declared = match document.at(Field::TOKEN_ENDPOINT_AUTH_METHOD) {
            None | Some(Value::Null) => None,
            Some(Value::String(method)) => Some(method),
            Some(_) => return Err(reject(draft, AUTH_METHOD, "must be a string")),
        };
        let supported: Vec<&str> = match document.get(SUPPORTED) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Strings(methods)) => methods.collect(),
            Some(_) => return Err(reject(draft, SUPPORTED, "must be an array of strings")),
        };
        // "MUST NOT use client_secret_post, client_secret_basic, client_secret_jwt, or any other method based around a shared
        // symmetric secret."
        let is_secret = |method: &&str| SHARED_SECRET.contains(method);
        if declared.as_ref().is_some_and(is_secret) {
            return Err(reject(draft, AUTH_METHOD, "is a shared secret, which a public document can't have"));
        }
        if !supported.is_empty() && supported.iter().all(is_secret) {
            return Err(reject(draft, SUPPORTED, "has shared secrets only, which a public document can't have"));
        }
        let is_offered = |method: &&str| self.offered.iter().any(|offered| offered == method);
        let chosen = match declared {
            // RFC 7591 would have client_secret_basic, which is not allowed here.
            None if supported.is_empty() => Some(NONE),
            Some(method) if is_offered(&method) || !self.rules.negotiate_auth_method => Some(method),
            _ => supported.iter().copied().filter(|method| !is_secret(method)).find(is_offered).or(declared),
        };
        let chosen = chosen.filter(is_offered).map(str::to_owned);
        let Some(chosen) = chosen else {
            return Err(reject(draft, AUTH_METHOD, "has no method that this server offers"));
        };
        if draft.registration().at(Field::TOKEN_ENDPOINT_AUTH_METHOD).is_none() {
            draft.insert_default(AUTH_METHOD, chosen);
        } else if draft.registration().string_at(Field::TOKEN_ENDPOINT_AUTH_METHOD) != Some(&chosen) {
            draft.substitute(AUTH_METHOD, chosen);
        }
        Ok(())
    }
}

/// Rejects secrets and keys that everyone can read.
fn check_secrets(draft: &Draft<'_>) -> Result<(), Rejection> {
    let document = draft.registration();
    for secret in ["client_secret", "client_secret_expires_at"] {
        // "The client_secret property MUST NOT be used", "client_secret_expires_at MUST NOT be used".
        if document.contains(secret) {
            return Err(reject(draft, secret, "must not be in a public document"));
        }
    }
    let Some(keys) = document.at(Field::JWKS) else { return Ok(()) };
    if document.at(Field::JWKS_URI).is_some() {
        return Err(reject(draft, Field::JWKS.name(), "must not be there beside jwks_uri"));
    }
    // Also where the server uses no keys: a client whose key is public is nobody's.
    match keys {
        Value::Object(json) if jwks::has_secrets(json) => {
            Err(reject(draft, Field::JWKS.name(), "has a private or symmetric key in it"))
        }
        Value::Object(json) if jwks::has_two_of_one_name(json) => {
            Err(reject(draft, Field::JWKS.name(), "has two keys of one kid"))
        }
        _ => Ok(()),
    }
}

/// Rejects a document without redirect URIs, and redirect URIs that servers take for several.
fn check_redirect_uris(draft: &Draft<'_>) -> Result<(), Rejection> {
    let rejected = |detail| {
        let rejection = draft.reject(ErrorCode::InvalidRedirectUri, detail);
        Err(rejection.with_field(Field::REDIRECT_URIS.name()))
    };
    let Some(mut uris) = draft.registration().strings_at(Field::REDIRECT_URIS).filter(|uris| uris.len() > 0) else {
        return rejected("must be an array with at least one redirect URI");
    };
    // Servers store lists joined by commas.
    if uris.any(|uri| uri.contains(',')) {
        return rejected("has a comma in it");
    }
    Ok(())
}

/// Removes the members that no document decides about.
fn strip(draft: &mut Draft<'_>) {
    draft.strip(SUPPORTED);
    // Its claims would stand in for others, and its issuer did not give it to this document.
    draft.strip(Field::SOFTWARE_STATEMENT.name());
    // How long people stay signed in is the server's to decide.
    for name in ["default_max_age", "default_acr_values", "require_auth_time"] {
        draft.strip(name);
    }
    let site = draft.document().map(|url| url.site().to_owned());
    let is_foreign = |link: &str| {
        let host = RedirectUri::parse(link).ok().and_then(|uri| uri.host().map(site_of).map(str::to_owned));
        host.is_none() || host != site
    };
    let dropped: Vec<usize> = draft
        .registration()
        .entries()
        .enumerate()
        .filter(|(_, member)| match member.kind().base() {
            // A browser that loads it tells its publisher of each person; it is to be fetched once, by the server.
            Some(field) if field.name() == "logo_uri" => true,
            Some(Field::CLIENT_URI) => matches!(member.value(), Value::String(link) if is_foreign(link)),
            _ => false,
        })
        .map(|(position, _)| position)
        .collect();
    if !dropped.is_empty() {
        draft.strip_at(&dropped);
    }
}

/// Runs after the rule about redirect URIs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DocumentRedirects {
    pub(crate) redirects: RedirectSite,
    /// The schemes that the operator or the table of applications lists.
    pub(crate) listed_schemes: Vec<String>,
}

impl Rule for DocumentRedirects {
    documented!(REDIRECTS_DOCS, with a configuration of its own);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        let Some(url) = draft.document().cloned() else { return Ok(()) };
        let is_own = |uri: &str| RedirectUri::parse_with_address(uri).is_ok_and(|uri| self.is_own(&url, &uri));
        let name = Field::REDIRECT_URIS.name();
        if draft.registration().redirect_uris().any(is_own) {
            draft.narrow_strings(name, is_own);
            return Ok(());
        }
        // There is a first one: an earlier rule rejects documents without redirect URIs, and those of which none is allowed.
        let first = draft.registration().redirect_uris().next().unwrap_or_default();
        let rejection = draft.reject(ErrorCode::InvalidRedirectUri, self.reason(&url, first)).with_field(name);
        Err(match sent_index(draft, first) {
            Some(index) => rejection.with_index(index),
            None => rejection,
        })
    }

    fn config(&self) -> Json {
        serde_json::json!([self.redirects, self.listed_schemes])
    }
}

/// Returns the index of a redirect URI in the document as it was sent: other rules have removed entries.
fn sent_index(draft: &Draft<'_>, uri: &str) -> Option<usize> {
    let sent = Registration::parse_with(draft.registration().source().as_bytes(), &Limits::DOCUMENT).ok()?;
    sent.redirect_uris().position(|sent| sent == uri)
}

impl DocumentRedirects {
    /// Returns the reason for which a redirect URI is not the document's own.
    fn reason(&self, url: &ClientIdUrl, uri: &str) -> String {
        let is_private_use =
            RedirectUri::parse_with_address(uri).is_ok_and(|uri| uri.class() == RedirectClass::PrivateUse);
        if is_private_use {
            let reversed: Vec<&str> = url.site().rsplit('.').collect();
            let reversed = reversed.join(".");
            return format!("has a scheme that does not begin with {reversed}, the site of the document in reverse");
        }
        match self.redirects {
            RedirectSite::SameOrigin => {
                format!("leads to another origin than https://{}, that of the document", url.authority())
            }
            _ => format!("leads to another site than {}, that of the document", url.site()),
        }
    }

    /// Returns `true` if a redirect URI can be the document's own.
    fn is_own(&self, url: &ClientIdUrl, uri: &RedirectUri<'_>) -> bool {
        let host = uri.host().unwrap_or_default();
        match uri.class() {
            RedirectClass::Loopback => true,
            // RFC 8252 section 7.1: a name under the publisher's control, in reverse order.
            RedirectClass::PrivateUse => {
                let reversed: Vec<&str> = uri.scheme().rsplit('.').collect();
                self.listed_schemes.iter().any(|listed| listed == uri.scheme())
                    || is_within_domain(&reversed.join("."), url.site())
            }
            RedirectClass::Https | RedirectClass::PlainHttp => match self.redirects {
                RedirectSite::Any => true,
                RedirectSite::SameSite => site_of(host) == url.site(),
                RedirectSite::SameOrigin => host == url.host() && uri.port().unwrap_or(443) == url.port(),
            },
        }
    }
}

fn reject(draft: &Draft<'_>, field: &'static str, detail: &'static str) -> Rejection {
    draft.reject(ErrorCode::InvalidClientMetadata, detail).with_field(field)
}
