//! The rules of a preset, by caller.

use std::sync::Arc;

use crate::rate_limit::SharedQuotas;
use crate::rules::{
    Action, ClientIdentity, Condition, DocumentMetadata, DocumentRedirects, DocumentRules, IntoRules,
    MetadataAllowlist, Policy, RedirectHostQuota, RedirectUris, ReportableRule, RuleDocs, policy,
};
#[cfg(feature = "software-statement")]
use crate::rules::{SoftwareStatements, software_statement};

/// The documentation of the rules that run before those that decide about a document.
pub(crate) static DOCS: &[&RuleDocs] = &[
    &policy::PINNED_RULES_DOCS,
    &policy::CASES_DOCS,
    #[cfg(feature = "software-statement")]
    &software_statement::DOCS,
];

/// The rules of a preset, in their order: the general ones, or those for callers of
/// [`Preset::for_callers`](super::Preset::for_callers).
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct PresetRules {
    /// The rules about all fields except `redirect_uris`.
    pub metadata: MetadataAllowlist,
    /// The rule about redirect URIs.
    pub redirect_uris: RedirectUris,
    /// The rule that compares claimed names with proof.
    pub identity: ClientIdentity,
    /// Rules of your own (default: none).
    pub additional: Policy,
    /// The quota of registrations for one redirect host (default: [`RedirectHostQuota::DEFAULT`]). `None` is no limit.
    pub redirect_host_quota: Option<RedirectHostQuota>,
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

/// The number of redirect URIs of a document: one of them has a loopback port for each of its releases.
const MAX_REDIRECT_URIS: usize = 32;

impl PresetRules {
    pub(crate) fn new(metadata: MetadataAllowlist, redirect_uris: RedirectUris) -> Self {
        Self {
            metadata,
            redirect_uris,
            identity: ClientIdentity::default(),
            additional: Policy::default(),
            redirect_host_quota: Some(RedirectHostQuota::new(RedirectHostQuota::DEFAULT)),
        }
    }

    pub(crate) fn add_rule(&mut self, rule: impl IntoRules) {
        self.additional = std::mem::take(&mut self.additional).and(rule);
    }

    /// Builds the policy of client metadata documents. A document is the same for every server: the lists in it are narrowed.
    pub(crate) fn document_policy(
        &self,
        own: &DocumentRules,
        report_only: &[ReportableRule],
        hold: &[String],
    ) -> Policy {
        let Self { mut metadata, mut redirect_uris, identity, additional, .. } = self.clone();
        metadata.for_documents();
        let first =
            DocumentMetadata { rules: own.clone(), offered: metadata.auth_method.offered().into_iter().collect() };
        redirect_uris.otherwise = Action::Narrow;
        redirect_uris.raise_max_count(MAX_REDIRECT_URIS);
        let redirects =
            DocumentRedirects { redirects: own.redirects, listed_schemes: redirect_uris.listed_schemes().collect() };
        Policy::new((first, metadata, redirect_uris))
            .and(redirects)
            .and(MetadataAllowlist::after_redirect_uris())
            .and(identity)
            .reporting(report_only)
            .holding(hold)
            .and(additional)
    }

    fn policy(&self, report_only: &[ReportableRule], hold: &[String]) -> Policy {
        let judging = (self.metadata.clone(), self.redirect_uris.clone());
        Policy::new(judging)
            .and(MetadataAllowlist::after_redirect_uris())
            .and(self.identity.clone())
            .reporting(report_only)
            .holding(hold)
            .and(self.additional.clone())
            .and(Policy::new(self.redirect_host_quota.clone()).reporting(report_only))
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

    /// Builds the policy, with this fingerprint. The rules of `hold` hold registrations for approval.
    pub(crate) fn policy(&self, fingerprint: u64, hold: &[String]) -> Policy {
        #[cfg(feature = "software-statement")]
        let policy = Policy::new(self.statements.clone());
        #[cfg(not(feature = "software-statement"))]
        let policy = Policy::default();
        let cases = self.cases.iter().fold(Policy::default(), |cases, (condition, rules)| {
            cases.when(condition.clone(), rules.policy(&self.report_only, hold))
        });
        let cases = cases.otherwise(self.otherwise.policy(&self.report_only, hold)).named_only();
        policy.and(cases).with_fingerprint(fingerprint)
    }

    pub(crate) fn all(&mut self) -> impl Iterator<Item = &mut PresetRules> {
        self.cases.iter_mut().map(|(_, rules)| rules).chain([&mut self.otherwise])
    }

    /// Returns the settings with the budgets of redirect hosts shared with other nodes.
    pub(crate) fn sharing(mut self, shared: &SharedQuotas) -> Self {
        for rules in self.all() {
            rules.redirect_host_quota =
                rules.redirect_host_quota.take().map(|quota| quota.with_shared_quotas(shared.clone()));
        }
        self
    }

    /// Returns the current rules of callers that meet `condition`: a reload keeps their rules in code.
    pub(crate) fn before(&self, condition: &Condition) -> &PresetRules {
        let same = self.cases.iter().find(|(other, _)| other == condition);
        same.map_or(&self.otherwise, |(_, rules)| rules)
    }
}
