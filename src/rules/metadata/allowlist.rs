//! The combined rules over client metadata.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::rules::metadata::members::KnownMembers;
use crate::rules::{
    AbsentGrants, ApplicationType, AuthMethod, ClientName, ConfigError, Decorations, DereferencedUris, Grants,
    IntoRules, Jwks, Members, MetadataOperators, Overlong, Policy, Scope,
};

/// The rules for everything in a registration except its redirect URIs: [`Members`], [`MetadataOperators`], [`Grants`],
/// [`AuthMethod`], [`Scope`], [`ApplicationType`], [`Decorations`], [`DereferencedUris`], [`Jwks`] and [`ClientName`],
/// in this order. All except [`DereferencedUris`] can be replaced.
///
/// | | [`mcp`](Self::mcp) | [`strict`](Self::strict) | [`oauth`](Self::oauth) |
/// | --- | --- | --- | --- |
/// | unknown members | stripped | rejected | stripped |
/// | known, not accepted | stripped | rejected | stripped; OpenID members are accepted |
/// | `null`, `""` | stripped | rejected | stripped |
/// | grant and response types | narrowed | others rejected | the operator's |
/// | absent `grant_types` | all that are offered | `authorization_code` | `authorization_code` |
/// | auth method | `none`, substituted | `none` only | the operator's |
/// | `application_type` | inferred | as sent | as sent |
/// | display links that are not `https` to a public host | stripped | rejected | stripped |
/// | URIs that the server or a browser follows, not `https` to a public host | stripped | rejected | rejected |
///
/// ```
/// # use tower_dcr::{Registration, rules::{Context, IntoRules, Policy}};
/// # fn judge(rules: &(impl IntoRules + Clone), body: &str) -> Result<String, String> {
/// #     let registration = Registration::parse(body.as_bytes()).unwrap();
/// #     let evaluation = Policy::new(rules.clone()).evaluate(registration, &Context::registration());
/// #     if let Some(rejection) = evaluation.rejection() {
/// #         return Err(rejection.description());
/// #     }
/// #     Ok(String::from_utf8(evaluation.registration().unwrap().canonical_bytes()).unwrap())
/// # }
/// use tower_dcr::rules::{MetadataAllowlist, Scope};
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
    /// The accepted members.
    members: Members,
    /// Requirements on single members, by name, in the operators of OpenID Federation 1.0 section 6.1.3.
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
    /// The links that a consent page displays.
    decorations: Decorations,
    #[serde(skip)]
    dereferenced_uris: DereferencedUris,
    /// Keys by value.
    jwks: Jwks,
    /// `client_name`.
    client_name: ClientName,
}

impl MetadataAllowlist {
    /// Creates the rules for MCP clients, all of which can be public.
    pub fn mcp() -> Self {
        Self {
            members: Members::lenient(),
            operators: MetadataOperators::new(),
            grants: Grants::authorization_code().with_absent(AbsentGrants::Offered),
            auth_method: AuthMethod::public(),
            scope: Scope::any(),
            application_type: ApplicationType::inferred(),
            decorations: Decorations::stripped(),
            dereferenced_uris: DereferencedUris::new(),
            jwks: Jwks::new(),
            client_name: ClientName::new(),
        }
    }

    /// Creates the rules for clients that you know: all other values are rejected.
    pub fn strict() -> Self {
        Self {
            members: Members::strict(),
            operators: MetadataOperators::new(),
            grants: Grants::authorization_code().with_absent(AbsentGrants::AuthorizationCode).refusing_others(),
            auth_method: AuthMethod::only_none(),
            scope: Scope::any().refusing_others(),
            application_type: ApplicationType::as_sent(),
            decorations: Decorations::refused(),
            dereferenced_uris: DereferencedUris::new(),
            jwks: Jwks::new(),
            client_name: ClientName::new().with_overlong(Overlong::Reject),
        }
    }

    /// Creates the rules for a general OAuth or OpenID server: its own grant types and auth methods.
    pub fn oauth(grants: Grants, auth_method: AuthMethod) -> Self {
        Self {
            members: Members::lenient().with_openid_members(),
            grants: grants.or_absent(Some(AbsentGrants::AuthorizationCode)),
            auth_method,
            application_type: ApplicationType::as_sent(),
            ..Self::mcp()
        }
    }

    pub(crate) fn grants(&self) -> &Grants {
        &self.grants
    }

    pub(crate) fn auth_method(&self) -> &AuthMethod {
        &self.auth_method
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(crate) fn operators(&self) -> &MetadataOperators {
        &self.operators
    }

    /// Returns the server's own members that are accepted.
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
    /// Returns the error of `change`.
    pub fn map_members(
        mut self,
        change: impl FnOnce(Members) -> Result<Members, ConfigError>,
    ) -> Result<Self, ConfigError> {
        self.members = change(self.members)?;
        Ok(self)
    }

    /// Replaces the requirements on single members.
    pub fn with_operators(mut self, operators: MetadataOperators) -> Self {
        self.operators = operators;
        self
    }

    /// Replaces the rule about grant types and response types.
    pub fn with_grants(mut self, grants: Grants) -> Self {
        self.grants = grants.or_absent(self.grants.absent());
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

impl IntoRules for MetadataAllowlist {
    fn into_rules(self) -> Policy {
        let operators = self.operators;
        Policy::new(KnownMembers { members: self.members, operators: operators.clone() })
            .and((!operators.is_empty()).then_some(operators))
            .and(self.grants)
            .and(self.auth_method)
            .and(self.scope)
            .and(self.application_type)
            .and(self.decorations)
            .and(self.dereferenced_uris)
            .and(self.jwks)
            .and(self.client_name)
    }
}
