//! A preset as data: what its builder and a policy file can say.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::rules::PresetRules;
use super::tokens::Tokens;
use crate::answer;
use crate::client_address;
use crate::client_url::ClientUrl;
use crate::period::Period;
#[cfg(feature = "software-statement")]
use crate::policy::SoftwareStatements;
use crate::policy::{
    Condition, IdentityGuard, MetadataAllowlist, RedirectHostQuota, RedirectPattern, RedirectUriGuard,
};
use crate::quota::Quota;
use crate::rate_limit::RateLimitLayer;
use crate::registrar::{GateSettings, LifecycleSettings};
use crate::registration::Limits;

/// A registration policy: the whole configuration of the layers and their rules. What is not said stays as the preset has
/// it that the policy extends. A list `x` can be replaced, or extended by `add_x`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(title = "Policy of tower-dcr"))]
#[serde(default, deny_unknown_fields)]
pub(super) struct Document {
    /// What the policy begins with.
    pub(super) extends: Base,
    /// Whether everything passes as it came, and audit events say what would have been done.
    pub(super) report_only: bool,
    /// How large a registration may be.
    pub(super) body: Limits,
    /// How long a slow body may take.
    pub(super) body_deadline: Period,
    /// How the address of a client is found.
    pub(super) client_address: client_address::Settings,
    /// Reads the client ID from the URL of a client (RFC 7592); by default from the last segment of the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_url: Option<ClientUrl>,
    /// How often clients may be registered.
    pub(super) rate_limit: RateLimits,
    /// The rules about everything but redirect URIs.
    pub(super) metadata: MetadataAllowlist,
    /// The rules about redirect URIs.
    pub(super) redirect_uris: RedirectUriGuard,
    /// How claimed names are compared with proof.
    pub(super) identity: IdentityGuard,
    /// How many registrations may lead to one redirect host.
    pub(super) redirect_host_quota: HostQuota,
    /// Rules of their own for those for whom a condition holds; the first that holds counts. What they do not say is as
    /// for everybody.
    pub(super) callers: Vec<Case>,
    /// Who signs software statements (RFC 7591 section 2.3); without, they are refused.
    #[cfg(feature = "software-statement")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) software_statements: Option<SoftwareStatements>,
    /// Initial access tokens (RFC 7591 section 3.1); without, everybody may register.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) initial_access_tokens: Option<Tokens>,
    /// How the handler's answers are checked.
    pub(super) answer: answer::Settings,
    /// How long clients live, if there is a ledger.
    pub(super) lifecycle: LifecycleSettings,
    /// What is asked at the other endpoints, if there is a ledger.
    pub(super) gate: GateSettings,
    /// What audit events hold.
    pub(super) audit: AuditSettings,
}

/// What a policy begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(super) enum Base {
    /// For MCP servers.
    #[default]
    Mcp,
    /// For clients that are known.
    Strict,
    /// For other OAuth and OpenID servers: `metadata.grants` and `metadata.token_endpoint_auth_method` have to be said.
    Oauth,
}

/// How often clients may be registered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub(super) struct RateLimits {
    /// What each address may do.
    pub(super) address: Allowance,
    /// What all together may do.
    pub(super) global: Allowance,
}

/// How many registrations may lead to one redirect host.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub(super) struct HostQuota {
    /// What each host may have.
    quota: Allowance,
    /// The places that are not counted.
    exempt: Vec<RedirectPattern>,
}

/// A quota like `60/minute, burst 300`, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
pub(super) struct Allowance(pub(super) Option<Quota>);

/// Rules for some callers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    /// For whom they are.
    pub(super) when: Condition,
    /// The rules about everything but redirect URIs.
    #[serde(default)]
    pub(super) metadata: MetadataAllowlist,
    /// The rules about redirect URIs.
    #[serde(default)]
    pub(super) redirect_uris: RedirectUriGuard,
    /// How claimed names are compared with proof.
    #[serde(default)]
    pub(super) identity: IdentityGuard,
    /// How many registrations may lead to one redirect host.
    #[serde(default)]
    pub(super) redirect_host_quota: HostQuota,
}

/// What audit events hold.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub(super) struct AuditSettings {
    /// How they name who asked.
    pub(super) requester: RequesterName,
    /// The file whose content is the key of the hash, without white space around it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) requester_key_file: Option<PathBuf>,
    /// Whether they hold the registration, redacted, so that another policy can be tried on them.
    pub(super) document: bool,
}

/// How audit events name who asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(super) enum RequesterName {
    /// Not at all.
    #[default]
    None,
    /// By the address.
    Address,
    /// By a keyed hash of the address.
    Hash,
}

impl Default for Document {
    fn default() -> Self {
        super::Preset::mcp().document()
    }
}

impl Default for RateLimits {
    fn default() -> Self {
        Self { address: Allowance(Some(RateLimitLayer::ADDRESS)), global: Allowance(Some(RateLimitLayer::GLOBAL)) }
    }
}

impl Default for HostQuota {
    fn default() -> Self {
        Self::of(Some(&RedirectHostQuota::new(RedirectHostQuota::DEFAULT)))
    }
}

impl HostQuota {
    fn of(rule: Option<&RedirectHostQuota>) -> Self {
        let exempt = rule.map(|rule| rule.exempt().to_vec()).unwrap_or_default();
        Self { quota: Allowance(rule.map(RedirectHostQuota::quota)), exempt }
    }

    /// The rule, over the buckets of `old`.
    fn rule(self, old: Option<&RedirectHostQuota>) -> Option<RedirectHostQuota> {
        let rule = RedirectHostQuota::new(self.quota.0?).with_exempt(self.exempt);
        Some(match old {
            Some(old) => rule.over(old),
            None => rule,
        })
    }
}

impl Case {
    pub(super) fn of(when: Condition, rules: &PresetRules) -> Self {
        Self {
            when,
            metadata: rules.metadata.clone(),
            redirect_uris: rules.redirect_uris.clone(),
            identity: rules.identity.clone(),
            redirect_host_quota: HostQuota::of(rules.host_quota.first()),
        }
    }

    /// These rules, with what only code can say as in `old`.
    pub(super) fn rules(self, old: &PresetRules) -> PresetRules {
        PresetRules {
            metadata: self.metadata,
            redirect_uris: self.redirect_uris,
            identity: self.identity,
            rules: old.rules.clone(),
            host_quota: Vec::from_iter(self.redirect_host_quota.rule(old.host_quota.first())),
        }
    }
}

impl TryFrom<String> for Allowance {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        text.parse().map(|quota| Self(Some(quota))).map_err(|error| format!("{error}, nor \"off\""))
    }
}

impl From<Allowance> for String {
    fn from(allowance: Allowance) -> Self {
        allowance.0.map_or_else(|| "off".to_owned(), |quota| quota.to_string())
    }
}
