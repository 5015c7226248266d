//! The rule over `application_type`: native or web.

use serde::{Deserialize, Serialize};

use crate::redirect_uri::{RedirectClass, RedirectUri};
use crate::registration::Field;
use crate::rules::action::{self, Action};
use crate::rules::{Draft, Rule, RuleDocs, documented};
use crate::rules::{ErrorCode, Rejection};

/// Checks `application_type` (OpenID Connect Dynamic Client Registration section 2) and makes it agree with the
/// redirect URIs.
///
/// The default of an absent member is `web`, for which some servers reject loopback redirects. Most native clients omit
/// it, and Cursor sends `web` with `cursor://`. So it becomes `native` if a redirect URI leads to the user's own
/// machine: inferred if all of them do, repaired if the client sent `web` and one of them does.
///
/// A `web` client that uses the implicit flow is rejected if one of its redirect URIs is not `https` or is at `localhost`:
/// those "MUST only register URLs using the `https` scheme" and "MUST NOT use localhost as the hostname". Without that flow
/// there is no such rule.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::rules::{ApplicationType, Context, Policy};
///
/// let body = br#"{"application_type":"web","redirect_uris":["http://127.0.0.1:8080/cb"]}"#;
/// let policy = Policy::new(ApplicationType::default());
/// let evaluation = policy.evaluate(Registration::parse(body)?, &Context::registration());
/// assert_eq!(evaluation.registration.unwrap().string("application_type"), Some("native"));
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ApplicationType {
    /// Infers an absent value from the redirect URIs, and repairs one that contradicts them.
    pub infer: bool,
    /// Action on a value other than `native` and `web`: `reject` or `strip`.
    #[serde(
        deserialize_with = "action::one::<_, action::StripOrReject>",
        serialize_with = "action::write_one::<_, action::StripOrReject>"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "action::OneOf<action::StripOrReject>"))]
    pub unknown: Action,
}

const FIELD: &str = Field::APPLICATION_TYPE.name();

pub(crate) static DOCS: RuleDocs = RuleDocs {
    id: "application-type",
    protects: "Native clients from being taken for web clients, whose loopback redirects servers reject.",
    reference: "OpenID Connect Dynamic Client Registration 1.0 section 2",
    attack: "{\"redirect_uris\":[\"http://localhost/cb\"],\"application_type\":\"web\"}",
    loosen: "metadata.application_type.infer = false",
    opens: "Failed sign-ins of Cursor and others, whose type contradicts their redirect URIs.",
    replayable: true,
};

impl Default for ApplicationType {
    fn default() -> Self {
        Self { infer: true, unknown: Action::Strip }
    }
}

impl Rule for ApplicationType {
    documented!(DOCS);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        match draft.registration().string_at(Field::APPLICATION_TYPE) {
            None | Some("native" | "web") => {}
            Some(_) if self.unknown != Action::Strip => {
                let detail = "is neither native nor web";
                return Err(draft.reject(ErrorCode::InvalidClientMetadata, detail).with_field(FIELD));
            }
            Some(_) => draft.strip(FIELD),
        }
        if self.infer {
            Self::infer(draft);
        }
        Self::check_implicit(draft)
    }
}

impl ApplicationType {
    fn infer(draft: &mut Draft<'_>) {
        // A fast path: most that are not on the device can be recognized by their first letters.
        let on_device = |uri: &str| {
            !uri.starts_with("https:")
                && RedirectUri::parse(uri)
                    .is_ok_and(|uri| matches!(uri.class(), RedirectClass::Loopback | RedirectClass::PrivateUse))
        };
        let uris = || draft.registration().redirect_uris();
        let declared = draft.registration().string_at(Field::APPLICATION_TYPE);
        if declared == Some("web") && uris().any(on_device) {
            draft.substitute(FIELD, "native");
        } else if declared.is_none() && uris().next().is_some() && uris().all(on_device) {
            // `all` holds for an empty list, which says nothing about the type.
            draft.insert_default(FIELD, "native");
        }
    }

    fn check_implicit(draft: &Draft<'_>) -> Result<(), Rejection> {
        let document = draft.registration();
        // An absent member means `web`.
        if document.string_at(Field::APPLICATION_TYPE) == Some("native") {
            return Ok(());
        }
        let mut grants = document.strings_at(Field::GRANT_TYPES).into_iter().flatten();
        if !grants.any(|grant| grant == "implicit") {
            return Ok(());
        }
        let is_local = |uri: &str| RedirectUri::parse(uri).is_ok_and(|uri| uri.host() == Some("localhost"));
        match document.redirect_uris().position(|uri| !uri.starts_with("https:") || is_local(uri)) {
            Some(index) => Err(draft
                .reject(
                    ErrorCode::InvalidRedirectUri,
                    "must be https, and not at localhost, for a web client of the implicit flow",
                )
                .with_field("redirect_uris")
                .with_index(index)),
            None => Ok(()),
        }
    }
}
