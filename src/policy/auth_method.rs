//! How the client will authenticate at the token endpoint.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{ConfigError, Policy, Submission, describe_as_json};
use crate::redirect_uri::RedirectUri;
use crate::registration::Field;
use crate::rejection::{ErrorCode, Rejection};

/// Settles `token_endpoint_auth_method` (RFC 7591 section 2) and writes it out.
///
/// An absent member means `client_secret_basic`, so a server that wants public clients and leaves the default implicit
/// mints secrets which the client neither asked for nor uses. Every MCP client that was tried accepts `none` in place
/// of a shared secret; a client that would prove possession of a key is refused instead of being made weaker.
///
/// ```
/// # use tower_dcr::{Registration, policy::{Policy, Review, Submission}};
/// # fn judge(rule: &impl Policy, body: &str) -> Result<String, String> {
/// #     let mut registration = Registration::parse(body.as_bytes()).unwrap();
/// #     let mut review = Review::registration();
/// #     rule.review(&mut Submission::new(&mut registration, &mut review)).map_err(|refused| refused.description())?;
/// #     Ok(String::from_utf8(registration.canonical_bytes()).unwrap())
/// # }
/// use tower_dcr::policy::AuthMethod;
///
/// let secret = r#"{"token_endpoint_auth_method":"client_secret_post"}"#;
/// assert_eq!(judge(&AuthMethod::public(), secret)?, r#"{"token_endpoint_auth_method":"none"}"#);
/// assert!(judge(&AuthMethod::only_none(), secret).is_err());
/// assert_eq!(judge(&AuthMethod::one_of(["client_secret_post"]), secret)?, secret);
/// # Ok::<_, String>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, try_from = "Unchecked")]
#[must_use]
pub struct AuthMethod {
    /// The methods that the server offers, compared literally.
    one_of: Vec<String>,
    /// What happens to a client that asks for a shared secret which is not offered.
    otherwise: Otherwise,
    /// The method of clients whose redirect URIs are all listed here, whatever they ask for.
    by_redirect_uri: BTreeMap<String, String>,
}

/// As it is read.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
struct Unchecked {
    /// The methods that the server offers, compared literally.
    one_of: Vec<String>,
    /// What happens to a client that asks for a shared secret which is not offered. Methods that prove possession of a key
    /// are refused either way: nobody is made weaker.
    otherwise: Otherwise,
    /// The method of clients whose redirect URIs are all listed here, whatever they ask for.
    by_redirect_uri: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
enum Otherwise {
    /// The registration is refused.
    #[serde(rename = "reject", alias = "refuse")]
    Refuse,
    /// It gets `none`.
    Substitute,
}

const NONE: &str = "none";
const FIELD: &str = "token_endpoint_auth_method";
const SHARED_SECRET: [&str; 3] = ["client_secret_basic", "client_secret_jwt", "client_secret_post"];

impl AuthMethod {
    /// `none`: inserted when absent, substituted for the shared-secret methods, anything else refused.
    pub fn public() -> Self {
        Self { otherwise: Otherwise::Substitute, ..Self::only_none() }
    }

    /// `none`: inserted when absent, anything else refused.
    pub fn only_none() -> Self {
        Self::one_of([NONE])
    }

    /// One of `methods`, compared literally. An absent member becomes the RFC's default, `client_secret_basic`, if that
    /// is listed, and the first of `methods` if it is not.
    pub fn one_of<S: Into<String>>(methods: impl IntoIterator<Item = S>) -> Self {
        let one_of = methods.into_iter().map(Into::into).collect();
        Self { one_of, otherwise: Otherwise::Refuse, by_redirect_uri: BTreeMap::new() }
    }

    /// Gives clients that register `redirect_uri` (and none for which there is no such override) this `method`,
    /// whatever they ask for. A few platforms need a secret and don't say so.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Pattern`] if `redirect_uri` is no redirect URI.
    pub fn with_method_for(
        mut self,
        redirect_uri: impl Into<String>,
        method: impl Into<String>,
    ) -> Result<Self, ConfigError> {
        let redirect_uri = redirect_uri.into();
        if let Err(error) = RedirectUri::parse(&redirect_uri) {
            return Err(ConfigError::Pattern { pattern: redirect_uri, reason: error.to_string() });
        }
        self.by_redirect_uri.insert(redirect_uri, method.into());
        Ok(self)
    }

    /// Every method that a client may end up with.
    pub(super) fn offered(&self) -> BTreeSet<String> {
        self.one_of.iter().chain(self.by_redirect_uri.values()).cloned().collect()
    }

    /// Whether clients that ask for a secret become public ones.
    pub(super) fn makes_public(&self) -> bool {
        self.otherwise == Otherwise::Substitute
    }

    /// The override on which *all* of the client's redirect URIs agree: one listed URI beside another one would lend
    /// its method to whoever owns the other.
    fn overridden(&self, submission: &Submission<'_>) -> Option<String> {
        if self.by_redirect_uri.is_empty() {
            return None;
        }
        let mut methods = submission.registration().redirect_uris().map(|uri| self.by_redirect_uri.get(uri));
        let first = methods.next()??;
        methods.all(|method| method == Some(first)).then(|| first.clone())
    }
}

impl Default for AuthMethod {
    fn default() -> Self {
        Self::public()
    }
}

impl Default for Unchecked {
    fn default() -> Self {
        let AuthMethod { one_of, otherwise, by_redirect_uri } = AuthMethod::default();
        Self { one_of, otherwise, by_redirect_uri }
    }
}

impl TryFrom<Unchecked> for AuthMethod {
    type Error = ConfigError;

    fn try_from(read: Unchecked) -> Result<Self, ConfigError> {
        if read.one_of.is_empty() {
            return Err(ConfigError::Zero { what: "the number of authentication methods" });
        }
        if read.otherwise == Otherwise::Substitute && !read.one_of.iter().any(|method| method == NONE) {
            return Err(ConfigError::Substitute);
        }
        let method = Self { otherwise: read.otherwise, ..Self::one_of(read.one_of) };
        read.by_redirect_uri.into_iter().try_fold(method, |method, (uri, by)| method.with_method_for(uri, by))
    }
}

impl Policy for AuthMethod {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        submission.begin("token-endpoint-auth-method");
        if let Some(method) = self.overridden(submission) {
            if submission.registration().string_at(Field::TOKEN_ENDPOINT_AUTH_METHOD) != Some(&method) {
                submission.substitute(FIELD, method);
            }
            return Ok(());
        }
        let refuse = |submission: &Submission<'_>| {
            Err(submission.reject(ErrorCode::InvalidClientMetadata, "is not offered by this server").with_field(FIELD))
        };
        match submission.registration().string_at(Field::TOKEN_ENDPOINT_AUTH_METHOD) {
            Some(method) if self.one_of.iter().any(|listed| listed == method) => {}
            Some(method) if self.otherwise == Otherwise::Substitute && SHARED_SECRET.contains(&method) => {
                submission.substitute(FIELD, NONE);
            }
            Some(_) => return refuse(submission),
            None => {
                let basic = self.one_of.iter().find(|method| *method == "client_secret_basic");
                let Some(default) = basic.or(self.one_of.first()) else { return refuse(submission) };
                if default == NONE {
                    submission.insert_default(FIELD, NONE);
                } else {
                    submission.insert_default(FIELD, default.clone());
                }
            }
        }
        Ok(())
    }

    fn describe(&self, out: &mut String) {
        describe_as_json(self, out);
    }
}
