//! The URIs that a server, or a browser on its word, will follow.

use super::{Policy, Submission, public_link};
use crate::redirect_uri::{RedirectClass, RedirectUri};
use crate::registration::{Field, Value};
use crate::rejection::{ErrorCode, Rejection};

/// Refuses a registration whose `jwks_uri`, `sector_identifier_uri`, `initiate_login_uri`, `backchannel_logout_uri`,
/// `frontchannel_logout_uri` or one of whose `request_uris` is not `https` to a public DNS name, or one of whose
/// `post_logout_redirect_uris` could not be a redirect URI (OpenID Connect Dynamic Client Registration section 2, Back- and
/// Front-Channel Logout section 2, RP-Initiated Logout section 3.1). `request_uris` may have a fragment, which is a hash.
///
/// A server that fetches keys can be sent into its own network by them, and a person who logs out to `javascript:`. To
/// drop such a member would leave a client that means something else, so it is refused. They are there only where
/// [`Members`](super::Members) lets them through. The guard itself fetches nothing.
///
/// ```
/// # use tower_dcr::{Registration, policy::{Policy, Review, Submission}};
/// # fn judge(rule: &impl Policy, body: &str) -> Result<String, String> {
/// #     let mut registration = Registration::parse(body.as_bytes()).unwrap();
/// #     let mut review = Review::registration();
/// #     rule.review(&mut Submission::new(&mut registration, &mut review)).map_err(|refused| refused.description())?;
/// #     Ok(String::from_utf8(registration.canonical_bytes()).unwrap())
/// # }
/// use tower_dcr::policy::DereferencedUris;
///
/// assert!(judge(&DereferencedUris::new(), r#"{"jwks_uri":"https://app.example.com/jwks"}"#).is_ok());
/// assert!(judge(&DereferencedUris::new(), r#"{"jwks_uri":"https://169.254.169.254/latest"}"#).is_err());
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
#[must_use]
pub struct DereferencedUris {}

const FETCHED: [Field; 5] = [
    Field::BACKCHANNEL_LOGOUT_URI,
    Field::FRONTCHANNEL_LOGOUT_URI,
    Field::INITIATE_LOGIN_URI,
    Field::JWKS_URI,
    Field::SECTOR_IDENTIFIER_URI,
];

impl DereferencedUris {
    /// The rule has nothing to configure.
    pub fn new() -> Self {
        Self {}
    }
}

impl Policy for DereferencedUris {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        submission.begin("dereferenced-uris");
        let document = submission.registration();
        let refuse =
            |field: Field, detail| submission.reject(ErrorCode::InvalidClientMetadata, detail).with_field(field.name());
        for field in FETCHED {
            let acceptable = match document.at(field) {
                None => true,
                Some(Value::String(uri)) => public_link::read(uri).is_some(),
                Some(_) => false,
            };
            if !acceptable {
                return Err(refuse(field, "is not an https link to a public host"));
            }
        }
        let requests = match document.at(Field::REQUEST_URIS) {
            None => None,
            Some(Value::Strings(mut uris)) => {
                uris.position(|uri| uri.split('#').next().and_then(public_link::read).is_none())
            }
            Some(_) => Some(0),
        };
        if let Some(index) = requests {
            return Err(refuse(Field::REQUEST_URIS, "is not an https link to a public host").with_index(index));
        }
        let logout = document.strings_at(Field::POST_LOGOUT_REDIRECT_URIS);
        if let Some(index) = logout.and_then(|mut uris| uris.position(|uri| !can_be_redirected_to(uri))) {
            let detail = "is not a place that a browser can be sent to";
            return Err(refuse(Field::POST_LOGOUT_REDIRECT_URIS, detail).with_index(index));
        }
        Ok(())
    }

    fn describe(&self, out: &mut String) {
        out.push_str("DereferencedUris");
    }
}

fn can_be_redirected_to(uri: &str) -> bool {
    RedirectUri::parse(uri).is_ok_and(|uri| match uri.class() {
        RedirectClass::Https => uri.leads_to_public_host(),
        RedirectClass::Loopback | RedirectClass::PrivateUse => true,
        RedirectClass::PlainHttp => false,
    })
}
