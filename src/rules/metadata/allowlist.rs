//! The combined rules over client metadata.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::members::KnownMembers;
use super::{
    algorithms, application_type, auth_method, ciba, client_keys, client_name, display_uris, fetched_uris,
    front_channel_logout, grants, jwks, members, mutual_tls, operators, public_clients, request_uris, scope,
    subject_type,
};
use crate::registration::{Acceptance, CIBA, Field, TLS_CLIENT_AUTH};
use crate::rules::metadata::algorithms::Algorithms;
use crate::rules::metadata::ciba::Ciba;
use crate::rules::metadata::client_keys::{self as keys, ClientKeys, WITH_KEY};
use crate::rules::metadata::fetched_uris::DereferencedUris;
use crate::rules::metadata::front_channel_logout::FrontChannelLogout;
use crate::rules::metadata::mutual_tls::MutualTls;
use crate::rules::metadata::public_clients::PublicClients;
use crate::rules::metadata::request_uris::RequestUris;
use crate::rules::metadata::subject_type::SubjectType;
use crate::rules::{
    AbsentGrants, Action, ApplicationType, AuthMethod, ClientName, Decorations, Grants, IntoRules, Jwks, Members,
    MetadataOperators, Policy, RuleDocs, Scope,
};

/// The rules for everything in a registration except its redirect URIs: [`Members`], [`MetadataOperators`], [`Grants`],
/// [`ApplicationType`], [`AuthMethod`], the grant types of public clients, [`Scope`], [`Decorations`], checks of the URIs
/// that the server or a browser follows, of algorithms, and of the members that belong to an authentication method or to
/// CIBA, [`Jwks`] and [`ClientName`], in this order. A [preset](crate::Preset) compares `frontchannel_logout_uri` and
/// pairwise subjects with the redirect URIs as well, after [`RedirectUris`](crate::rules::RedirectUris).
///
/// | | [`mcp`](Self::mcp) | [`strict`](Self::strict) | [`oauth`](Self::oauth) |
/// | --- | --- | --- | --- |
/// | unknown members | stripped | rejected | stripped |
/// | known, not accepted | stripped | rejected | stripped; OpenID members are accepted |
/// | members of a method or a grant type (`tls_client_auth_*`, `jwks`, CIBA), keys for another member | accepted where it is offered | same | same |
/// | `null`, `""` | stripped | rejected | stripped |
/// | grant and response types | narrowed | others rejected | the operator's |
/// | absent `grant_types` | all that are offered | `authorization_code` | `authorization_code` |
/// | auth method | `none`, substituted | `none` only | the operator's; `none` for native clients |
/// | `client_credentials` of a public client | removed | rejected | removed |
/// | `application_type` | inferred | as sent | as sent |
/// | display links that are not `https` to a public host | stripped | rejected | stripped |
/// | URIs that the server or a browser follows, not `https` to a public host | stripped | rejected | rejected |
///
/// The server or a browser follows these URIs: `jwks_uri`, `signed_jwks_uri`, `sector_identifier_uri`,
/// `initiate_login_uri`, `backchannel_logout_uri`, `frontchannel_logout_uri`,
/// `backchannel_client_notification_endpoint` and `request_uris` (OpenID Connect Dynamic Client Registration section 2,
/// Back- and Front-Channel Logout section 2, CIBA section 4, OpenID Federation section 5.2.1). Only `request_uris`
/// accepts a fragment. `post_logout_redirect_uris` and `claims_redirect_uris` accept the valid redirect URIs (RP-Initiated
/// Logout section 3.1, UMA 2.0 Grant section 2).
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::rules::{Context, MetadataAllowlist, Policy, Scope};
///
/// let mut metadata = MetadataAllowlist::mcp();
/// metadata.scope = Scope::default().with_ceiling(["read", "write"])?;
/// let body = br#"{"redirect_uris":["http://localhost/cb"],"scope":"read admin","client_id":"x"}"#;
/// let evaluation = Policy::new(metadata).evaluate(Registration::parse(body)?, &Context::registration());
/// let forwarded = evaluation.registration.unwrap();
/// assert_eq!(forwarded.string("scope"), Some("read"));
/// assert!(!forwarded.contains("client_id"));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct MetadataAllowlist {
    /// The accepted members.
    pub members: Members,
    /// Requirements on single members, by name, in the operators of OpenID Federation 1.0 section 6.1.3.
    #[serde(rename = "policy")]
    pub operators: MetadataOperators,
    /// Grant types and response types.
    pub grants: Grants,
    /// `token_endpoint_auth_method`.
    #[serde(rename = "token_endpoint_auth_method")]
    pub auth_method: AuthMethod,
    /// `scope`.
    pub scope: Scope,
    /// `application_type`.
    pub application_type: ApplicationType,
    /// The links that a consent page displays.
    pub decorations: Decorations,
    /// Keys by value.
    pub jwks: Jwks,
    /// `client_name`.
    pub client_name: ClientName,
}

impl MetadataAllowlist {
    /// Creates the rules for MCP clients, all of which can be public.
    #[must_use]
    pub fn mcp() -> Self {
        let mut rules = Self {
            members: Members::default(),
            operators: MetadataOperators::default(),
            grants: Grants::authorization_code(),
            auth_method: AuthMethod::public(),
            scope: Scope::default(),
            application_type: ApplicationType::default(),
            decorations: Decorations::default(),
            jwks: Jwks::default(),
            client_name: ClientName::default(),
        };
        rules.grants.absent = Some(AbsentGrants::Offered);
        rules
    }

    /// Creates the rules for clients that you know: all other values are rejected.
    #[must_use]
    pub fn strict() -> Self {
        let mut rules = Self::oauth(Grants::authorization_code(), AuthMethod::one_of(["none"]));
        rules.members = Members::strict();
        // Gates hold clients to what is registered: those that leave the member out could not refresh.
        rules.grants.absent = Some(AbsentGrants::Offered);
        rules.grants.otherwise = Action::Reject;
        rules.scope.otherwise = Action::Reject;
        rules.decorations.otherwise = Action::Reject;
        rules.client_name.overlong = Action::Reject;
        rules
    }

    /// Creates the rules for a general OAuth or OpenID server: its own grant types and auth methods.
    #[must_use]
    pub fn oauth(grants: Grants, auth_method: AuthMethod) -> Self {
        let mut rules = Self { grants, auth_method, ..Self::mcp() };
        rules.members.openid = true;
        rules.grants.absent = rules.grants.absent.or(Some(AbsentGrants::AuthorizationCode));
        rules.application_type = ApplicationType { infer: false, unknown: Action::Reject };
        rules
    }

    /// Narrows where these rules would reject: a document is the same for every server.
    pub(crate) fn for_documents(&mut self) {
        self.members.for_documents();
        self.grants.otherwise = Action::Narrow;
        self.scope.otherwise = Action::Narrow;
        self.decorations.otherwise = Action::Strip;
        self.client_name.overlong = Action::Cut;
        // An absent type means "web", for which a loopback redirect URI would be wrong.
        self.application_type = ApplicationType::default();
        self.auth_method = std::mem::take(&mut self.auth_method).for_documents();
    }

    /// Returns the fields of the grant types and authentication methods that are offered, with the keys that they and the
    /// operator's own members need.
    pub(super) fn offered_members(&self) -> Vec<Field> {
        let is_offered = |field: &Field| match field.acceptance() {
            Acceptance::WithGrant(grant) => self.grants.offers(grant),
            Acceptance::WithMethod(method) => self.auth_method.offers(method),
            _ => false,
        };
        let mut offered: Vec<Field> = Field::all().filter(is_offered).collect();
        let own = self.own_members();
        let needs_keys =
            |field: Field| keys::are_needed_by(field) && (is_offered(&field) || own.contains(field.name()));
        if WITH_KEY.iter().any(|method| self.auth_method.offers(method)) || Field::all().any(needs_keys) {
            // Without its keys, such a client could not authenticate, sign or read its answers.
            offered.extend([Field::JWKS, Field::JWKS_URI]);
        }
        offered
    }

    /// Returns the rules that compare metadata with redirect URIs, after the rule that may take some of these out.
    pub(crate) fn after_redirect_uris() -> impl IntoRules {
        (FrontChannelLogout, SubjectType)
    }

    /// Returns the server's own members that are accepted.
    pub(crate) fn own_members(&self) -> BTreeSet<String> {
        self.members.own().chain(self.operators.members()).map(str::to_owned).collect()
    }
}

/// The documentation of these rules, in their order.
pub(crate) static DOCS: [&RuleDocs; 17] = [
    &members::DOCS,
    &operators::DOCS,
    &grants::GRANT_TYPES_DOCS,
    &grants::RESPONSE_TYPES_DOCS,
    &application_type::DOCS,
    &auth_method::DOCS,
    &public_clients::DOCS,
    &scope::DOCS,
    &display_uris::DOCS,
    &fetched_uris::DOCS,
    &request_uris::DOCS,
    &algorithms::DOCS,
    &client_keys::DOCS,
    &mutual_tls::DOCS,
    &ciba::DOCS,
    &jwks::DOCS,
    &client_name::DOCS,
];

/// The documentation of the rules that compare metadata with redirect URIs.
pub(crate) static DOCS_AFTER_REDIRECT_URIS: [&RuleDocs; 2] = [&front_channel_logout::DOCS, &subject_type::DOCS];

impl Default for MetadataAllowlist {
    fn default() -> Self {
        Self::mcp()
    }
}

impl IntoRules for MetadataAllowlist {
    fn into_rules(self) -> Policy {
        let offered = self.offered_members();
        let public_clients = PublicClients { otherwise: self.grants.otherwise };
        let ciba = self.grants.offers(CIBA).then_some(Ciba);
        let mutual_tls = self.auth_method.offers(TLS_CLIENT_AUTH).then_some(MutualTls);
        let operators = self.operators;
        Policy::new(KnownMembers { members: self.members, operators: operators.clone(), offered })
            .and((!operators.is_empty()).then_some(operators))
            .and(self.grants)
            // Before the method: a client whose type is inferred gets no shared secret either.
            .and(self.application_type)
            .and(self.auth_method)
            .and(public_clients)
            .and(self.scope)
            .and(self.decorations)
            .and(DereferencedUris)
            .and(RequestUris)
            .and(Algorithms)
            .and(ClientKeys)
            .and(mutual_tls)
            .and(ciba)
            .and(self.jwks)
            .and(self.client_name)
    }
}
