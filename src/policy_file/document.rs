//! The settings of a preset that a policy file can have.

use std::path::PathBuf;

use http::HeaderName;
use serde::{Deserialize, Serialize};

use crate::bounds;
use crate::client_address;
use crate::client_url::ClientUrl;
use crate::clients::registrar::LifecycleSettings;
use crate::documents::DocumentSettings;
use crate::layers::gate::GateSettings;
use crate::layers::response;
use crate::period::Period;
use crate::preset::rules::PresetRules;
use crate::preset::shadow::ShadowSettings;
use crate::preset::tokens::Tokens;
use crate::rate_limit::{RateLimit, RateLimits};
use crate::registration::Limits;
#[cfg(feature = "software-statement")]
use crate::rules::SoftwareStatements;
use crate::rules::{
    ClientIdentity, Condition, MetadataAllowlist, RedirectHostQuota, RedirectPattern, RedirectUris, ReportableRule,
};

/// A registration policy: the whole configuration of the layers and their rules. Settings that are left out stay as in
/// the preset that the policy extends. A list `x` can be replaced, or extended by `add_x`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(title = "Policy of tower-dcr"))]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Document {
    /// The preset that the policy extends.
    pub(crate) extends: Base,
    /// Lets every registration pass as it came, and reports decisions in audit events: nothing is enforced.
    pub(crate) report_only: bool,
    /// Lets clients register, or rejects every registration: clients that are registered go on, and manage themselves.
    pub(crate) registration: RegistrationState,
    /// The rules that are evaluated and reported, but not enforced, by their names in audit events.
    pub(crate) report_only_rules: Vec<ReportableRule>,
    /// A policy that is evaluated beside this one. It is reported in audit events and metrics, and changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shadow: Option<ShadowSettings>,
    /// Limits on the size of a registration.
    pub(crate) body: Limits,
    /// The time limit for reading the body, counted from the first read that does not complete at once; 10 minutes at
    /// most.
    #[serde(deserialize_with = "bounds::time::<_, 100, 600_000>")]
    pub(crate) body_deadline: Period,
    /// The source of client addresses.
    pub(crate) client_address: client_address::Settings,
    /// Reads the client ID from the URL of a client (RFC 7592; default: the last segment of the path).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_url: Option<ClientUrl>,
    /// Limits on the rate of registrations.
    pub(crate) rate_limit: RateLimits,
    /// The rules about everything but redirect URIs.
    pub(crate) metadata: MetadataAllowlist,
    /// The rules about redirect URIs.
    pub(crate) redirect_uris: RedirectUris,
    /// The rule that compares claimed names with proof.
    pub(crate) identity: ClientIdentity,
    /// Limits on registrations for one redirect host.
    pub(crate) redirect_host_quota: HostQuota,
    /// Rules for callers that meet a condition; the first condition that holds counts. Settings that are left out are
    /// those for all callers.
    pub(crate) callers: Vec<Case>,
    /// The issuers of software statements (RFC 7591 section 2.3). Without them, software statements are rejected.
    #[cfg(feature = "software-statement")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) software_statements: Option<SoftwareStatements>,
    /// Initial access tokens (RFC 7591 section 3.1). Without them, any caller may register.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) initial_access_tokens: Option<Tokens>,
    /// The checks of the handler's answers.
    pub(crate) answer: response::Settings,
    /// The lifetimes of clients, if there is a ledger.
    pub(crate) lifecycle: LifecycleSettings,
    /// The handling of clients at the other endpoints, by gates that the preset makes.
    pub(crate) gate: GateSettings,
    /// Clients whose `client_id` is the URL of a metadata document.
    pub(crate) documents: DocumentSettings,
    /// The contents of audit events.
    pub(crate) audit: AuditSettings,
}

/// A preset that a policy extends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(crate) enum Base {
    /// The preset for MCP servers.
    #[default]
    Mcp,
    /// The preset for known clients.
    Strict,
    /// The preset for other OAuth and OpenID servers; needs `metadata.grants` and
    /// `metadata.token_endpoint_auth_method`.
    Oauth,
}

/// The state of the registration endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(crate) enum RegistrationState {
    /// The policy decides about each registration.
    #[default]
    Open,
    /// Every registration is answered with 403, and the discovery document does not name the endpoint.
    Closed,
}

/// Limits the registrations for one redirect host.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HostQuota {
    /// Limits registrations that lead to one registrable domain.
    quota: RateLimit,
    /// The redirect URIs that are not counted.
    exempt: Vec<RedirectPattern>,
}

/// Rules for some callers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// The condition under which they apply.
    pub(crate) when: Condition,
    /// The rules about everything but redirect URIs.
    #[serde(default)]
    pub(crate) metadata: MetadataAllowlist,
    /// The rules about redirect URIs.
    #[serde(default)]
    pub(crate) redirect_uris: RedirectUris,
    /// The rule that compares claimed names with proof.
    #[serde(default)]
    pub(crate) identity: ClientIdentity,
    /// Limits on registrations for one redirect host.
    #[serde(default)]
    pub(crate) redirect_host_quota: HostQuota,
}

/// The contents of audit events.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AuditSettings {
    /// The form in which events name the requester.
    pub(crate) requester: RequesterName,
    /// The file whose content is the key of the hash, without white space around it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) requester_key_file: Option<PathBuf>,
    /// Adds the redacted registration to events, so that another policy can be tried on it.
    pub(crate) document: bool,
    /// The header whose value events hold as the ID of the request, such as `x-request-id`. Your proxy has to set it: a
    /// client can write any header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request_id_header: Option<FieldName>,
    /// The file whose content is the key of the audit file's chain, without white space around it: at least 16 bytes.
    /// The file is read when the server starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) chain_key_file: Option<PathBuf>,
}

/// The name of a header.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
pub(crate) struct FieldName(pub(crate) HeaderName);

/// The form in which audit events name the requester.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(crate) enum RequesterName {
    /// Not named.
    #[default]
    None,
    /// The address.
    Address,
    /// A keyed hash of the address.
    Hash,
}

impl Default for Document {
    fn default() -> Self {
        crate::preset::Preset::mcp().document()
    }
}

impl Default for HostQuota {
    fn default() -> Self {
        Self::of(Some(&RedirectHostQuota::new(RedirectHostQuota::DEFAULT)))
    }
}

impl HostQuota {
    fn of(rule: Option<&RedirectHostQuota>) -> Self {
        let exempt = rule.map(|rule| rule.exempt.clone()).unwrap_or_default();
        Self { quota: rule.map_or(RateLimit::Off, |rule| rule.quota().into()), exempt }
    }

    /// Returns the rule with the buckets of `old`; `None` if the quota is off.
    fn rule(self, old: Option<&RedirectHostQuota>) -> Option<RedirectHostQuota> {
        let quota = match self.quota {
            RateLimit::Off => return None,
            RateLimit::Default => RedirectHostQuota::DEFAULT,
            RateLimit::Quota(quota) => quota,
        };
        let mut rule = RedirectHostQuota::new(quota);
        rule.exempt = self.exempt;
        Some(match old {
            Some(old) => rule.over(old),
            None => rule,
        })
    }
}

impl Case {
    pub(crate) fn of(when: Condition, rules: &PresetRules) -> Self {
        Self {
            when,
            metadata: rules.metadata.clone(),
            redirect_uris: rules.redirect_uris.clone(),
            identity: rules.identity.clone(),
            redirect_host_quota: HostQuota::of(rules.redirect_host_quota.as_ref()),
        }
    }

    /// Returns these rules; settings that only code has are those of `old`.
    pub(crate) fn rules(self, old: &PresetRules) -> PresetRules {
        PresetRules {
            metadata: self.metadata,
            redirect_uris: self.redirect_uris,
            identity: self.identity,
            additional: old.additional.clone(),
            redirect_host_quota: self.redirect_host_quota.rule(old.redirect_host_quota.as_ref()),
        }
    }
}

impl TryFrom<String> for FieldName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| format!("{text:?} is not a header name"))
    }
}

impl From<FieldName> for String {
    fn from(name: FieldName) -> Self {
        name.0.as_str().to_owned()
    }
}
