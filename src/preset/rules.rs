//! The rules of a preset, by caller.

use std::fmt;
use std::sync::Arc;

use crate::rate_limit::SharedQuotas;
#[cfg(feature = "software-statement")]
use crate::rules::SoftwareStatements;
use crate::rules::metadata::{
    application_type, auth_method, client_name, display_uris, fetched_uris, grants, jwks, members, operators, scope,
};
#[cfg(feature = "software-statement")]
use crate::rules::software_statement;
use crate::rules::{
    ClientIdentity, Condition, ConfigError, IntoRules, MetadataAllowlist, Policy, RedirectHostQuota, RedirectUris,
    ReportableRule, RuleDocs, identity, policy, redirect_host_limit, redirect_uris,
};

/// The documentation of all rules that a preset may have, in their order.
pub(crate) static DOCS: &[&RuleDocs] = &[
    &policy::PINNED_RULES_DOCS,
    &policy::CASES_DOCS,
    #[cfg(feature = "software-statement")]
    &software_statement::DOCS,
    &members::DOCS,
    &operators::DOCS,
    &grants::GRANT_TYPES_DOCS,
    &grants::RESPONSE_TYPES_DOCS,
    &auth_method::DOCS,
    &scope::DOCS,
    &application_type::DOCS,
    &display_uris::DOCS,
    &fetched_uris::DOCS,
    &jwks::DOCS,
    &client_name::DOCS,
    &redirect_uris::rule::DOCS,
    &identity::rule::DOCS,
    &redirect_host_limit::DOCS,
];

/// A set of rules, in their order: the general ones, or those for callers of
/// [`Preset::for_callers`](super::Preset::for_callers).
///
/// ```
/// use tower_dcr::rules::Condition;
/// use tower_dcr::redirect_uri::RedirectClass;
///
/// let preset = tower_dcr::mcp()
///     .map_redirect_uris(|mut uris| {
///         uris.classes = vec![RedirectClass::Loopback];
///         Ok(uris)
///     })?
///     .for_callers(Condition::Rules("partner".into()), |rules| {
///         rules.map_redirect_uris(|mut uris| {
///             uris.classes = vec![RedirectClass::Https];
///             uris.only_https = Some(vec!["https://app.example.com/*".parse()?]);
///             Ok(uris)
///         })
///     })?;
/// # let _ = preset;
/// # Ok::<_, tower_dcr::rules::ConfigError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct PresetRules {
    pub(crate) metadata: MetadataAllowlist,
    pub(crate) redirect_uris: RedirectUris,
    pub(crate) identity: ClientIdentity,
    pub(crate) rules: Policy,
    pub(crate) host_quota: Vec<RedirectHostQuota>,
}

/// The rules of a preset as settings, for each class of caller. [`policy`](Self::policy) builds the policy.
#[derive(Clone, Debug)]
pub(crate) struct RuleSettings {
    #[cfg(feature = "software-statement")]
    pub(crate) statements: Option<SoftwareStatements>,
    /// The rules that are reported and not enforced.
    pub(crate) report_only: Arc<[ReportableRule]>,
    pub(crate) cases: Vec<(Condition, PresetRules)>,
    pub(crate) otherwise: PresetRules,
}

impl PresetRules {
    pub(crate) fn new(metadata: MetadataAllowlist, redirect_uris: RedirectUris) -> Self {
        Self {
            metadata,
            redirect_uris,
            identity: ClientIdentity::default(),
            rules: Policy::default(),
            host_quota: vec![RedirectHostQuota::new(RedirectHostQuota::DEFAULT)],
        }
    }

    /// Changes the rules about everything but redirect URIs.
    ///
    /// # Errors
    ///
    /// Returns the error of `change`.
    pub fn map_metadata(
        mut self,
        change: impl FnOnce(MetadataAllowlist) -> Result<MetadataAllowlist, ConfigError>,
    ) -> Result<Self, ConfigError> {
        self.metadata = change(self.metadata)?;
        Ok(self)
    }

    /// Changes the rules about redirect URIs.
    ///
    /// # Errors
    ///
    /// Returns the error of `change`.
    pub fn map_redirect_uris(
        mut self,
        change: impl FnOnce(RedirectUris) -> Result<RedirectUris, ConfigError>,
    ) -> Result<Self, ConfigError> {
        self.redirect_uris = change(self.redirect_uris)?;
        Ok(self)
    }

    /// Changes the rule that compares claimed names with proof.
    ///
    /// # Errors
    ///
    /// Returns the error of `change`.
    pub fn map_identity(
        mut self,
        change: impl FnOnce(ClientIdentity) -> Result<ClientIdentity, ConfigError>,
    ) -> Result<Self, ConfigError> {
        self.identity = change(self.identity)?;
        Ok(self)
    }

    /// Adds rules of your own, which run after the others.
    pub fn add_rule(mut self, rule: impl IntoRules) -> Self {
        self.rules = self.rules.and(rule);
        self
    }

    /// Sets the quota of registrations for one redirect host (default: [`RedirectHostQuota::DEFAULT`]).
    pub fn with_redirect_host_quota(mut self, quota: RedirectHostQuota) -> Self {
        self.host_quota = vec![quota];
        self
    }

    fn policy(&self, report_only: &[ReportableRule]) -> Policy {
        let judging = (self.metadata.clone(), self.redirect_uris.clone(), self.identity.clone());
        Policy::new(judging)
            .reporting(report_only)
            .and(self.rules.clone())
            .and(Policy::new(self.host_quota.clone()).reporting(report_only))
    }

    pub(crate) fn without_redirect_host_quota(mut self) -> Self {
        self.host_quota.clear();
        self
    }
}

impl RuleSettings {
    pub(crate) fn new(rules: PresetRules) -> Self {
        Self {
            #[cfg(feature = "software-statement")]
            statements: None,
            report_only: Arc::default(),
            cases: Vec::new(),
            otherwise: rules,
        }
    }

    /// Builds the policy, with this fingerprint.
    pub(crate) fn policy(&self, fingerprint: u64) -> Policy {
        #[cfg(feature = "software-statement")]
        let policy = Policy::new(self.statements.clone());
        #[cfg(not(feature = "software-statement"))]
        let policy = Policy::default();
        let cases = self.cases.iter().fold(Policy::default(), |cases, (condition, rules)| {
            cases.when(condition.clone(), rules.policy(&self.report_only))
        });
        let cases = cases.otherwise(self.otherwise.policy(&self.report_only)).named_only();
        policy.and(cases).with_fingerprint(fingerprint)
    }

    /// Returns the settings with the budgets of redirect hosts shared with other nodes.
    pub(crate) fn sharing(mut self, shared: &SharedQuotas) -> Self {
        for rules in self.cases.iter_mut().map(|(_, rules)| rules).chain([&mut self.otherwise]) {
            for quota in &mut rules.host_quota {
                *quota = quota.clone().with_shared_quotas(shared.clone());
            }
        }
        self
    }

    /// Returns the current rules of callers that meet `condition`: a reload keeps their rules in code.
    pub(crate) fn before(&self, condition: &Condition) -> &PresetRules {
        let same = self.cases.iter().find(|(other, _)| other == condition);
        same.map_or(&self.otherwise, |(_, rules)| rules)
    }
}

impl fmt::Debug for PresetRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresetRules")
            .field("metadata", &self.metadata)
            .field("redirect_uris", &self.redirect_uris)
            .field("identity", &self.identity)
            .field("rules", &self.rules)
            .field("host_quota", &self.host_quota)
            .finish()
    }
}
