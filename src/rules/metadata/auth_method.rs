//! The client's authentication method at the token endpoint.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::redirect_uri::RedirectUri;
use crate::registration::Field;
use crate::rules::action::{self, Action};
use crate::rules::{ConfigError, Draft, Rule, RuleDocs, documented};
use crate::rules::{ErrorCode, Rejection};

/// Decides on `token_endpoint_auth_method` (RFC 7591 section 2) and writes it out.
///
/// An absent member means `client_secret_basic`, so a server that wants public clients and leaves the default implicit
/// issues secrets that the client neither requested nor uses. Every tested MCP client accepts `none` in place of a
/// shared secret. A client that would prove possession of a key is rejected instead of being made weaker.
///
/// A native client can't keep a shared secret (RFC 8252 section 8.5): it gets `none`, and is rejected if the server does
/// not offer `none`. That holds for one whose type [`ApplicationType`](crate::rules::ApplicationType) infers as well, if that
/// rule comes before this one. [`native_secrets`](Self::native_secrets) allows secrets.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::rules::{AuthMethod, Context, Decision, Policy};
///
/// let secret = Registration::parse(br#"{"token_endpoint_auth_method":"client_secret_post"}"#)?;
/// let evaluation = Policy::new(AuthMethod::public()).evaluate(secret.clone(), &Context::registration());
/// assert_eq!(evaluation.registration.unwrap().string("token_endpoint_auth_method"), Some("none"));
/// let evaluation = Policy::new(AuthMethod::one_of(["none"])).evaluate(secret, &Context::registration());
/// assert_eq!(evaluation.decision(), Decision::Reject);
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, try_from = "Unchecked")]
#[must_use]
pub struct AuthMethod {
    /// The methods that the server offers, compared literally.
    one_of: Vec<String>,
    /// Action on a client that requests a shared secret which is not offered.
    #[cfg_attr(feature = "schema", schemars(with = "action::OneOf<action::SubstituteOrReject>"))]
    otherwise: Action,
    /// The method of clients whose redirect URIs are all listed here, regardless of the method that they request.
    by_redirect_uri: BTreeMap<String, String>,
    /// Lets native clients have a shared secret. Otherwise a client with `application_type` `native` gets `none` instead, or
    /// is rejected where that is not offered: RFC 8252 section 8.5 finds secrets in copies of an application "NOT
    /// RECOMMENDED". Section 8.4 excepts secrets that are issued to each instance, if the server never shares them.
    pub native_secrets: bool,
}

/// The settings as they are written in a file.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
struct Unchecked {
    /// The methods that the server offers, compared literally.
    one_of: Vec<String>,
    /// Action on a client that requests a shared secret which is not offered: `reject`, or `substitute` `none`. Methods that
    /// prove possession of a key are rejected in either case: no client is made weaker.
    #[serde(
        deserialize_with = "action::one::<_, action::SubstituteOrReject>",
        serialize_with = "action::write_one::<_, action::SubstituteOrReject>"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "action::OneOf<action::SubstituteOrReject>"))]
    otherwise: Action,
    /// The method of clients whose redirect URIs are all listed here, regardless of the method that they request.
    by_redirect_uri: BTreeMap<String, String>,
    /// Lets native clients have a shared secret. Otherwise a client with `application_type` `native` gets `none` instead, or
    /// is rejected where that is not offered.
    native_secrets: bool,
}

pub(super) const NONE: &str = "none";
const FIELD: &str = Field::TOKEN_ENDPOINT_AUTH_METHOD.name();
pub(super) const SHARED_SECRET: [&str; 3] = ["client_secret_basic", "client_secret_jwt", "client_secret_post"];

pub(crate) static DOCS: RuleDocs = RuleDocs {
    id: "token-endpoint-auth-method",
    protects: "Public clients from secrets that they can't keep, and key-based ones from being made weaker.",
    reference: "RFC 7591 section 2 (absent means client_secret_basic); RFC 8252 section 8.5; OAuth 2.1 section 2.4",
    attack: "{\"redirect_uris\":[\"http://localhost/cb\"],\"token_endpoint_auth_method\":\"private_key_jwt\"}",
    loosen: "metadata.token_endpoint_auth_method.one_of = [\"none\", \"client_secret_post\"], or one client's redirect URI \
             in by_redirect_uri; metadata.token_endpoint_auth_method.native_secrets = true",
    opens: "Secrets in every copy of an application, which many clients then don't send.",
    replayable: true,
};

impl AuthMethod {
    /// Creates the rule for `none`: inserted when absent, substituted for the shared-secret methods, anything else
    /// rejected.
    pub fn public() -> Self {
        Self { otherwise: Action::Substitute, ..Self::one_of([NONE]) }
    }

    /// Creates the rule for one of `methods`, compared literally. An absent member becomes the RFC's default,
    /// `client_secret_basic`, if that is listed, and the first of `methods` if it is not.
    pub fn one_of<S: Into<String>>(methods: impl IntoIterator<Item = S>) -> Self {
        let one_of = methods.into_iter().map(Into::into).collect();
        Self { one_of, otherwise: Action::Reject, by_redirect_uri: BTreeMap::new(), native_secrets: false }
    }

    /// Sets the `method` of clients that register `redirect_uri` (and none without such an override), regardless of the
    /// method that they request. A few platforms need a secret but don't request one.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::Pattern`] if `redirect_uri` is not a redirect URI.
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

    /// Returns `true` if a client can get this method.
    pub(super) fn offers(&self, method: &str) -> bool {
        self.one_of.iter().chain(self.by_redirect_uri.values()).any(|listed| listed == method)
    }

    /// Returns every method that a client can get.
    pub(crate) fn offered(&self) -> BTreeSet<String> {
        self.one_of.iter().chain(self.by_redirect_uri.values()).cloned().collect()
    }

    /// Returns the methods that a public document can have.
    pub(super) fn for_documents(mut self) -> Self {
        // A substituted secret would be a secret that the document declares.
        self.otherwise = Action::Reject;
        self.by_redirect_uri.clear();
        self.one_of.retain(|method| !SHARED_SECRET.contains(&method.as_str()));
        self
    }

    /// Returns `true` if clients that request a secret become public ones.
    pub(crate) fn makes_public(&self) -> bool {
        self.otherwise == Action::Substitute
    }

    /// Returns the override on which *all* of the client's redirect URIs agree: one listed URI next to another one
    /// would lend its method to the owner of the other.
    fn overridden(&self, draft: &Draft<'_>) -> Option<String> {
        if self.by_redirect_uri.is_empty() {
            return None;
        }
        let mut methods = draft.registration().redirect_uris().map(|uri| self.by_redirect_uri.get(uri));
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
        let AuthMethod { one_of, otherwise, by_redirect_uri, native_secrets } = AuthMethod::default();
        Self { one_of, otherwise, by_redirect_uri, native_secrets }
    }
}

impl TryFrom<Unchecked> for AuthMethod {
    type Error = ConfigError;

    fn try_from(read: Unchecked) -> Result<Self, ConfigError> {
        if read.one_of.is_empty() {
            return Err(ConfigError::Zero { what: "the number of authentication methods" });
        }
        if read.otherwise == Action::Substitute && !read.one_of.iter().any(|method| method == NONE) {
            return Err(ConfigError::Substitute);
        }
        let (otherwise, native_secrets) = (read.otherwise, read.native_secrets);
        let method = Self { otherwise, native_secrets, ..Self::one_of(read.one_of) };
        read.by_redirect_uri.into_iter().try_fold(method, |method, (uri, by)| method.with_method_for(uri, by))
    }
}

impl Rule for AuthMethod {
    documented!(DOCS);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        if let Some(method) = self.overridden(draft) {
            if draft.registration().string_at(Field::TOKEN_ENDPOINT_AUTH_METHOD) != Some(&method) {
                draft.substitute(FIELD, method);
            }
            return Ok(());
        }
        let requested = draft.registration().string_at(Field::TOKEN_ENDPOINT_AUTH_METHOD);
        let wanted = self.decide(requested);
        let is_secret = wanted.or(requested).is_some_and(|method| SHARED_SECRET.contains(&method));
        let method = if is_secret && !self.native_secrets && is_native(draft) {
            // RFC 8252 section 8.5: a shared secret of a native app is in every copy of it.
            self.listed(NONE)
                .ok_or_else(|| reject(draft, "is a shared secret, which an installed application can't keep"))
        } else {
            wanted.ok_or_else(|| reject(draft, "is not offered by this server"))
        }?;
        match requested {
            Some(requested) if requested == method => {}
            Some(_) if method == NONE => draft.substitute(FIELD, NONE),
            None if method == NONE => draft.insert_default(FIELD, NONE),
            _ => draft.insert_default(FIELD, method.to_owned()),
        }
        Ok(())
    }
}

impl AuthMethod {
    /// Returns the method for a client that asks for this one, or for none.
    fn decide(&self, requested: Option<&str>) -> Option<&str> {
        match requested {
            Some(method) if self.otherwise == Action::Substitute && SHARED_SECRET.contains(&method) => {
                self.listed(method).or(Some(NONE))
            }
            Some(method) => self.listed(method),
            None => self.listed("client_secret_basic").or(self.one_of.first().map(String::as_str)),
        }
    }

    fn listed(&self, method: &str) -> Option<&str> {
        self.one_of.iter().find(|listed| *listed == method).map(String::as_str)
    }
}

fn is_native(draft: &Draft<'_>) -> bool {
    draft.registration().string_at(Field::APPLICATION_TYPE) == Some("native")
}

fn reject(draft: &Draft<'_>, detail: &'static str) -> Rejection {
    draft.reject(ErrorCode::InvalidClientMetadata, detail).with_field(FIELD)
}
