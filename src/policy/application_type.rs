//! Native or web.

use serde::{Deserialize, Serialize};

use super::{Policy, Submission, Unwanted, describe_as_json};
use crate::redirect_uri::{RedirectClass, RedirectUri};
use crate::registration::Field;
use crate::rejection::{ErrorCode, Rejection};

/// Checks `application_type` (OpenID Connect Dynamic Client Registration section 2) and makes it agree with the
/// redirect URIs.
///
/// The default of an absent member is `web`, for which some servers refuse loopback redirects; most native clients in
/// the field leave it out, and Cursor says `web` beside `cursor://`. So it becomes `native` where a redirect URI leads
/// to the user's own machine: inferred where all of them do, repaired where the client says `web` and one of them does.
///
/// A `web` client that uses the implicit flow is refused if one of its redirect URIs is not `https`: those "MUST only
/// register URLs using the `https` scheme". Without that flow there is no such rule.
///
/// ```
/// # use tower_dcr::{Registration, policy::{Policy, Review, Submission}};
/// # fn judge(rule: &impl Policy, body: &str) -> Result<String, String> {
/// #     let mut registration = Registration::parse(body.as_bytes()).unwrap();
/// #     let mut review = Review::registration();
/// #     rule.review(&mut Submission::new(&mut registration, &mut review)).map_err(|refused| refused.description())?;
/// #     Ok(String::from_utf8(registration.canonical_bytes()).unwrap())
/// # }
/// use tower_dcr::policy::ApplicationType;
///
/// let body = r#"{"application_type":"web","redirect_uris":["http://127.0.0.1:8080/cb"]}"#;
/// assert!(judge(&ApplicationType::inferred(), body)?.contains(r#""application_type":"native""#));
/// assert!(judge(&ApplicationType::as_sent(), r#"{"application_type":"tv"}"#).is_err());
/// # Ok::<_, String>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct ApplicationType {
    /// Whether an absent value is inferred from the redirect URIs, and one that contradicts them repaired.
    infer: bool,
    /// What happens to a value other than `native` and `web`.
    unknown: Unwanted,
}

const FIELD: &str = "application_type";

impl ApplicationType {
    /// Infers and repairs; an unknown value is stripped.
    pub fn inferred() -> Self {
        Self { infer: true, unknown: Unwanted::Strip }
    }

    /// Leaves the member as it is; an unknown value is refused.
    pub fn as_sent() -> Self {
        Self { infer: false, unknown: Unwanted::Refuse }
    }
}

impl Default for ApplicationType {
    fn default() -> Self {
        Self::inferred()
    }
}

impl Policy for ApplicationType {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        submission.begin("application-type");
        match submission.registration().string_at(Field::APPLICATION_TYPE) {
            None | Some("native" | "web") => {}
            Some(_) if self.unknown == Unwanted::Refuse => {
                let detail = "is neither native nor web";
                return Err(submission.reject(ErrorCode::InvalidClientMetadata, detail).with_field(FIELD));
            }
            Some(_) => submission.strip(FIELD),
        }
        if self.infer {
            Self::infer(submission);
        }
        Self::check_implicit(submission)
    }

    fn describe(&self, out: &mut String) {
        describe_as_json(self, out);
    }
}

impl ApplicationType {
    fn infer(submission: &mut Submission<'_>) {
        // Most that are not on the device show it in their first letters.
        let on_device = |uri: &str| {
            !uri.starts_with("https:")
                && RedirectUri::parse(uri)
                    .is_ok_and(|uri| matches!(uri.class(), RedirectClass::Loopback | RedirectClass::PrivateUse))
        };
        let uris = || submission.registration().redirect_uris();
        let declared = submission.registration().string_at(Field::APPLICATION_TYPE);
        if declared == Some("web") && uris().any(on_device) {
            submission.substitute(FIELD, "native");
        } else if declared.is_none() && uris().next().is_some() && uris().all(on_device) {
            // `all` holds for no URIs at all, and those say nothing.
            submission.insert_default(FIELD, "native");
        }
    }

    fn check_implicit(submission: &Submission<'_>) -> Result<(), Rejection> {
        let document = submission.registration();
        // What leaves the member out is `web`.
        if document.string_at(Field::APPLICATION_TYPE) == Some("native") {
            return Ok(());
        }
        let mut grants = document.strings_at(Field::GRANT_TYPES).into_iter().flatten();
        if !grants.any(|grant| grant == "implicit") {
            return Ok(());
        }
        match document.redirect_uris().position(|uri| !uri.starts_with("https:")) {
            Some(index) => Err(submission
                .reject(ErrorCode::InvalidRedirectUri, "must be https for a web client of the implicit flow")
                .with_field("redirect_uris")
                .with_index(index)),
            None => Ok(()),
        }
    }
}
