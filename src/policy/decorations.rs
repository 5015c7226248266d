//! The links that a consent page shows.

use serde::{Deserialize, Serialize};

use super::{Policy, Submission, Unwanted, describe_as_json, public_link};
use crate::redirect_uri::{RedirectClass, RedirectUri, is_executable_scheme};
use crate::registration::{Field, Registration, Value};
use crate::rejection::{ErrorCode, Rejection};

/// Takes out `client_uri`, `logo_uri`, `tos_uri` and `policy_uri` (language-tagged ones too) that are not `https` to a
/// public DNS name, and refuses a registration with one that would run code when a person clicks on it.
///
/// A client loses a picture by that, not its registration: development builds send `http://localhost:5173`. A server
/// that fetches a logo can't be sent into its own network (CVE-2021-26715).
///
/// ```
/// # use tower_dcr::{Registration, policy::{Policy, Review, Submission}};
/// # fn judge(rule: &impl Policy, body: &str) -> Result<String, String> {
/// #     let mut registration = Registration::parse(body.as_bytes()).unwrap();
/// #     let mut review = Review::registration();
/// #     rule.review(&mut Submission::new(&mut registration, &mut review)).map_err(|refused| refused.description())?;
/// #     Ok(String::from_utf8(registration.canonical_bytes()).unwrap())
/// # }
/// use tower_dcr::policy::Decorations;
///
/// let development = r#"{"client_uri":"http://localhost:5173"}"#;
/// assert_eq!(judge(&Decorations::stripped(), development)?, "{}");
/// assert!(judge(&Decorations::refused(), development).is_err());
/// assert!(judge(&Decorations::stripped(), r#"{"logo_uri":"javascript:alert(1)"}"#).is_err());
/// # Ok::<_, String>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct Decorations {
    /// What happens to a link that is not `https` to a public host.
    otherwise: Unwanted,
    /// Whether links must lead to the site of a redirect URI or of `client_uri`.
    same_site: bool,
}

impl Decorations {
    /// Strips a link that is not acceptable.
    pub fn stripped() -> Self {
        Self { otherwise: Unwanted::Strip, same_site: false }
    }

    /// Refuses a registration with a link that is not acceptable.
    pub fn refused() -> Self {
        Self { otherwise: Unwanted::Refuse, same_site: false }
    }

    /// Accepts only links to the site of a redirect URI or of `client_uri`. A site is a registrable domain (the Public Suffix
    /// List): RFC 7591 section 5 wants the same host, which few honest clients have. Of the clients that are known it takes
    /// the logo from some. A client that lies about its page can lie about its logo with it; whose site may be claimed is
    /// for the [`IdentityGuard`](super::IdentityGuard).
    pub fn same_site(mut self) -> Self {
        self.same_site = true;
        self
    }
}

impl Default for Decorations {
    fn default() -> Self {
        Self::stripped()
    }
}

impl Policy for Decorations {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        submission.begin("decorations");
        let mut strip = Vec::new();
        let sites = if self.same_site { sites(submission.registration()) } else { Vec::new() };
        let is_at = |host: &str| sites.iter().any(|site| public_link::are_same_site(site, host));
        for (position, member) in submission.registration().entries().enumerate() {
            let Some(field) = member.kind().base().filter(|field| is_link(*field)) else { continue };
            let Value::String(link) = member.value() else { continue };
            if acceptable_host(link).is_some_and(|host| !self.same_site || is_at(host)) {
                continue;
            }
            let refuse =
                |detail| Err(submission.reject(ErrorCode::InvalidClientMetadata, detail).with_field(field.name()));
            if runs_code(link) {
                return refuse("uses a scheme that is never allowed");
            }
            if self.otherwise == Unwanted::Refuse {
                return refuse("is not an https link to a public host of this client");
            }
            strip.push(position);
        }
        if !strip.is_empty() {
            submission.strip_at(&strip);
        }
        Ok(())
    }

    fn describe(&self, out: &mut String) {
        describe_as_json(self, out);
    }
}

fn is_link(field: Field) -> bool {
    matches!(field, Field::CLIENT_URI | Field::LOGO_URI | Field::POLICY_URI | Field::TOS_URI)
}

fn acceptable_host(link: &str) -> Option<&str> {
    public_link::read(link).filter(|link| link.unusual_port().is_none())?.host()
}

/// The hosts that codes are sent to, and that of the client's page.
fn sites(document: &Registration) -> Vec<&str> {
    let https = |uri| RedirectUri::parse(uri).ok().filter(|uri| uri.class() == RedirectClass::Https)?.host();
    let page = document.string_at(Field::CLIENT_URI).and_then(acceptable_host);
    document.redirect_uris().filter_map(https).chain(page).collect()
}

/// Reads the scheme as a browser does: control characters and spaces before it or in it don't count.
fn runs_code(link: &str) -> bool {
    let scheme: String = link.chars().take_while(|c| *c != ':').filter(|c| !c.is_control() && *c != ' ').collect();
    is_executable_scheme(&scheme)
}
