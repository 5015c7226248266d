//! The rules about metadata, together.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    ApplicationType, AuthMethod, ClientName, ConfigError, Decorations, DereferencedUris, Grants, Jwks, Members,
    MetadataOperators, Policy, Scope, Submission, describe_as_json,
};
use crate::rejection::Rejection;

/// Everything in a registration but its redirect URIs: which [`Members`] pass, [`MetadataOperators`] on single ones,
/// [`Grants`], [`AuthMethod`], [`Scope`], [`ApplicationType`], [`Decorations`], [`DereferencedUris`], [`Jwks`] and [`ClientName`], in this order; all but
/// [`DereferencedUris`] can be replaced.
///
/// | | [`mcp`](Self::mcp) | [`strict`](Self::strict) | [`oauth`](Self::oauth) |
/// | --- | --- | --- | --- |
/// | unknown members | stripped | refused | stripped |
/// | known, not wanted | stripped | refused | stripped; OpenID members pass |
/// | `null`, `""` | stripped | refused | stripped |
/// | grant and response types | narrowed | others refused | the operator's |
/// | auth method | `none`, substituted | `none` only | the operator's |
/// | `application_type` | inferred | as sent | as sent |
/// | decorations that are not `https` to a public host | stripped | refused | stripped |
/// | URIs that the server or a browser follows, likewise | stripped | refused | must be `https` to a public host |
///
/// ```
/// # use tower_dcr::{Registration, policy::{Policy, Review, Submission}};
/// # fn judge(rule: &impl Policy, body: &str) -> Result<String, String> {
/// #     let mut registration = Registration::parse(body.as_bytes()).unwrap();
/// #     let mut review = Review::registration();
/// #     rule.review(&mut Submission::new(&mut registration, &mut review)).map_err(|refused| refused.description())?;
/// #     Ok(String::from_utf8(registration.canonical_bytes()).unwrap())
/// # }
/// use tower_dcr::policy::{MetadataAllowlist, Scope};
///
/// let metadata = MetadataAllowlist::mcp().with_scope(Scope::any().with_ceiling(["read", "write"]).unwrap());
/// let forwarded = judge(&metadata, r#"{"redirect_uris":["http://localhost/cb"],"scope":"read admin","client_id":"x"}"#)?;
/// assert!(forwarded.contains(r#""scope":"read""#) && !forwarded.contains("client_id"));
/// # Ok::<_, String>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct MetadataAllowlist {
    /// Which members pass.
    members: Members,
    /// What single members must be, by name, in the operators of OpenID Federation 1.0 section 6.1.3.
    #[serde(rename = "policy")]
    operators: MetadataOperators,
    /// Grant types and response types.
    grants: Grants,
    /// `token_endpoint_auth_method`.
    #[serde(rename = "token_endpoint_auth_method")]
    auth_method: AuthMethod,
    /// `scope`.
    scope: Scope,
    /// `application_type`.
    application_type: ApplicationType,
    /// The links that a consent page shows.
    decorations: Decorations,
    #[serde(skip)]
    dereferenced_uris: DereferencedUris,
    /// Keys by value.
    jwks: Jwks,
    /// `client_name`.
    client_name: ClientName,
}

impl MetadataAllowlist {
    /// For MCP clients, all of which can be public.
    pub fn mcp() -> Self {
        Self {
            members: Members::lenient(),
            operators: MetadataOperators::new(),
            grants: Grants::authorization_code(),
            auth_method: AuthMethod::public(),
            scope: Scope::any(),
            application_type: ApplicationType::inferred(),
            decorations: Decorations::stripped(),
            dereferenced_uris: DereferencedUris::new(),
            jwks: Jwks::new(),
            client_name: ClientName::new(),
        }
    }

    /// For clients that you know: what is not wanted is refused.
    pub fn strict() -> Self {
        Self {
            members: Members::strict(),
            operators: MetadataOperators::new(),
            grants: Grants::authorization_code().refusing_others(),
            auth_method: AuthMethod::only_none(),
            scope: Scope::any().refusing_others(),
            application_type: ApplicationType::as_sent(),
            decorations: Decorations::refused(),
            dereferenced_uris: DereferencedUris::new(),
            jwks: Jwks::new(),
            client_name: ClientName::new(),
        }
    }

    /// For a general OAuth or OpenID server: its own grant types and auth methods.
    pub fn oauth(grants: Grants, auth_method: AuthMethod) -> Self {
        Self {
            members: Members::lenient().with_openid_members(),
            grants,
            auth_method,
            application_type: ApplicationType::as_sent(),
            ..Self::mcp()
        }
    }

    pub(super) fn grants(&self) -> &Grants {
        &self.grants
    }

    pub(super) fn auth_method(&self) -> &AuthMethod {
        &self.auth_method
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(super) fn operators(&self) -> &MetadataOperators {
        &self.operators
    }

    /// The members of the server's own that pass.
    pub(crate) fn own_members(&self) -> BTreeSet<String> {
        self.members.own().chain(self.operators.members()).map(str::to_owned).collect()
    }

    /// Replaces the rule about members.
    pub fn with_members(mut self, members: Members) -> Self {
        self.members = members;
        self
    }

    /// Changes the rule about members.
    ///
    /// # Errors
    ///
    /// What `change` fails with.
    pub fn map_members(
        mut self,
        change: impl FnOnce(Members) -> Result<Members, ConfigError>,
    ) -> Result<Self, ConfigError> {
        self.members = change(self.members)?;
        Ok(self)
    }

    /// Replaces what single members must be.
    pub fn with_operators(mut self, operators: MetadataOperators) -> Self {
        self.operators = operators;
        self
    }

    /// Replaces the rule about grant types and response types.
    pub fn with_grants(mut self, grants: Grants) -> Self {
        self.grants = grants;
        self
    }

    /// Replaces the rule about the token endpoint's authentication method.
    pub fn with_auth_method(mut self, auth_method: AuthMethod) -> Self {
        self.auth_method = auth_method;
        self
    }

    /// Replaces the rule about scopes.
    pub fn with_scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Replaces the rule about `application_type`.
    pub fn with_application_type(mut self, application_type: ApplicationType) -> Self {
        self.application_type = application_type;
        self
    }

    /// Replaces the rule about keys by value.
    pub fn with_jwks(mut self, jwks: Jwks) -> Self {
        self.jwks = jwks;
        self
    }

    /// Replaces the rule about names.
    pub fn with_client_name(mut self, client_name: ClientName) -> Self {
        self.client_name = client_name;
        self
    }

    /// Replaces the rule about links.
    pub fn with_decorations(mut self, decorations: Decorations) -> Self {
        self.decorations = decorations;
        self
    }
}

impl Default for MetadataAllowlist {
    fn default() -> Self {
        Self::mcp()
    }
}

impl Policy for MetadataAllowlist {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        self.members.review_with(submission, &self.operators)?;
        self.operators.review(submission)?;
        self.grants.review(submission)?;
        self.auth_method.review(submission)?;
        self.scope.review(submission)?;
        self.application_type.review(submission)?;
        self.decorations.review(submission)?;
        self.dereferenced_uris.review(submission)?;
        self.jwks.review(submission)?;
        self.client_name.review(submission)
    }

    fn describe(&self, out: &mut String) {
        describe_as_json(self, out);
    }
}
