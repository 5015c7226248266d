//! The links that a consent page displays.

use serde::{Deserialize, Serialize};

use crate::redirect_uri::{RedirectClass, RedirectUri, is_executable_scheme};
use crate::registration::{Field, Registration, UriUse, Value};
use crate::rules::action::{self, Action};
use crate::rules::metadata::public_link;
use crate::rules::{Draft, Rule, RuleDocs, documented};
use crate::rules::{ErrorCode, Rejection};

/// Strips `client_uri`, `logo_uri`, `tos_uri` and `policy_uri` (language-tagged ones too) that are not `https` to a
/// public DNS name, and rejects a registration with one that would run code when a person clicks on it.
///
/// A client loses only a picture, not its registration: development builds send `http://localhost:5173`. A server that
/// fetches a logo can't be sent into its own network (CVE-2021-26715).
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::rules::{Action, Context, Decision, Decorations, Policy};
///
/// let mut decorations = Decorations::default();
/// let development = Registration::parse(br#"{"client_uri":"http://localhost:5173"}"#)?;
/// let evaluation = Policy::new(decorations.clone()).evaluate(development.clone(), &Context::registration());
/// assert!(!evaluation.registration.unwrap().contains("client_uri"));
/// decorations.otherwise = Action::Reject;
/// let evaluation = Policy::new(decorations).evaluate(development, &Context::registration());
/// assert_eq!(evaluation.decision(), Decision::Reject);
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Decorations {
    /// Action on a link that is not `https` to a public host: `reject` or `strip`.
    #[serde(
        deserialize_with = "action::one::<_, action::StripOrReject>",
        serialize_with = "action::write_one::<_, action::StripOrReject>"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "action::OneOf<action::StripOrReject>"))]
    pub otherwise: Action,
    /// Requires links to lead to the site of a redirect URI or of `client_uri`. A site is a registrable domain (the Public
    /// Suffix List): RFC 7591 section 5 wants the same host, which few honest clients have. Some known clients lose their logo.
    /// A client that lies about its page can lie about its logo with it; the rule over identities decides which site may be
    /// claimed.
    pub same_site: bool,
}

pub(crate) static DOCS: RuleDocs = RuleDocs {
    id: "decorations",
    protects: "People on the consent page, and the server that fetches a logo.",
    reference: "RFC 7591 section 5; OpenID Connect Dynamic Client Registration 1.0 section 9.1; CVE-2021-26715",
    attack: "{\"redirect_uris\":[\"http://localhost/cb\"],\"logo_uri\":\"https://169.254.169.254/latest/meta-data\"}",
    loosen: "metadata.decorations.otherwise = \"strip\"; metadata.decorations.same_site = false",
    opens: "Links to other sites. Executable ones and private networks stay out.",
    replayable: true,
};

impl Default for Decorations {
    fn default() -> Self {
        Self { otherwise: Action::Strip, same_site: false }
    }
}

impl Rule for Decorations {
    documented!(DOCS);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        let mut strip = Vec::new();
        let sites = if self.same_site { sites(draft.registration()) } else { Vec::new() };
        let is_at = |host: &str| sites.iter().any(|site| public_link::are_same_site(site, host));
        for (position, member) in draft.registration().entries().enumerate() {
            let Some(field) = member.kind().base().filter(|field| field.uri() == UriUse::Displayed) else { continue };
            let Value::String(link) = member.value() else { continue };
            if acceptable_host(link).is_some_and(|host| !self.same_site || is_at(host)) {
                continue;
            }
            let reject = |detail| Err(draft.reject(ErrorCode::InvalidClientMetadata, detail).with_field(field.name()));
            if runs_code(link) {
                return reject("uses a scheme that is never allowed");
            }
            if self.otherwise != Action::Strip {
                return reject("is not an https link to a public host of this client");
            }
            strip.push(position);
        }
        if !strip.is_empty() {
            draft.strip_at(&strip);
        }
        Ok(())
    }
}

fn acceptable_host(link: &str) -> Option<&str> {
    public_link::read(link).filter(|link| link.unusual_port().is_none())?.host()
}

/// Returns the hosts that codes are sent to, and that of the client's page.
fn sites(document: &Registration) -> Vec<&str> {
    let https = |uri| RedirectUri::parse(uri).ok().filter(|uri| uri.class() == RedirectClass::Https)?.host();
    let page = document.string_at(Field::CLIENT_URI).and_then(acceptable_host);
    document.redirect_uris().filter_map(https).chain(page).collect()
}

/// Returns `true` if the link's scheme runs code. As in browsers, control characters and spaces before or in the scheme
/// don't count.
fn runs_code(link: &str) -> bool {
    let scheme: String = link.chars().take_while(|c| *c != ':').filter(|c| !c.is_control() && *c != ' ').collect();
    is_executable_scheme(&scheme)
}
