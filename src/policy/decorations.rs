//! The links that a consent page shows.

use super::{Policy, Submission, describe_as_debug};
use crate::redirect_uri::{RedirectUri, is_executable_scheme};
use crate::registration::{Field, Value};
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
#[derive(Clone, Debug)]
#[must_use]
pub struct Decorations {
    refuse: bool,
}

impl Decorations {
    /// Strips a link that is not acceptable.
    pub fn stripped() -> Self {
        Self { refuse: false }
    }

    /// Refuses a registration with a link that is not acceptable.
    pub fn refused() -> Self {
        Self { refuse: true }
    }
}

impl Policy for Decorations {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        submission.begin("decorations");
        let mut strip = Vec::new();
        for (position, member) in submission.registration().entries().enumerate() {
            let Some(field) = member.kind().base().filter(|field| is_link(*field)) else { continue };
            let Value::String(link) = member.value() else { continue };
            if is_link_to_public_host(link) {
                continue;
            }
            let refuse =
                |detail| Err(submission.reject(ErrorCode::InvalidClientMetadata, detail).with_field(field.name()));
            if runs_code(link) {
                return refuse("uses a scheme that is never allowed");
            }
            if self.refuse {
                return refuse("is not an https link to a public host");
            }
            strip.push(position);
        }
        if !strip.is_empty() {
            submission.strip_at(&strip);
        }
        Ok(())
    }

    fn describe(&self, out: &mut String) {
        describe_as_debug(self, out);
    }
}

fn is_link(field: Field) -> bool {
    matches!(field, Field::CLIENT_URI | Field::LOGO_URI | Field::POLICY_URI | Field::TOS_URI)
}

fn is_link_to_public_host(link: &str) -> bool {
    RedirectUri::parse(link).is_ok_and(|link| link.leads_to_public_host() && link.unusual_port().is_none())
}

/// Reads the scheme as a browser does: control characters and spaces before it or in it don't count.
fn runs_code(link: &str) -> bool {
    let scheme: String = link.chars().take_while(|c| *c != ':').filter(|c| !c.is_control() && *c != ' ').collect();
    is_executable_scheme(&scheme)
}
