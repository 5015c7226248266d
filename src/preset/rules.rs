//! The rules of a preset, and which of them judge whom.

use std::fmt;
use std::sync::Arc;

#[cfg(feature = "software-statement")]
use crate::policy::SoftwareStatements;
use crate::policy::{
    Condition, ConfigError, IdentityGuard, MetadataAllowlist, Policy, RedirectHostQuota, RedirectUriGuard, Submission,
};
use crate::quota::SharedQuotas;
use crate::rejection::{ErrorCode, Rejection};

/// One set of rules, in their order: for everybody, or for those whom [`Preset::for_callers`](super::Preset::for_callers)
/// gives their own.
///
/// ```
/// use tower_dcr::policy::{Condition, RedirectPattern};
/// use tower_dcr::redirect_uri::RedirectClass;
///
/// let guard = tower_dcr::mcp()
///     .map_redirect_uris(|guard| Ok(guard.only_classes([RedirectClass::Loopback])))?
///     .for_callers(Condition::rules("partner"), |rules| {
///         rules.map_redirect_uris(|guard| {
///             Ok(guard.only_classes([RedirectClass::Https]).only_https([RedirectPattern::host("app.example.com")?]))
///         })
///     })?;
/// # let _ = guard;
/// # Ok::<_, tower_dcr::policy::ConfigError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct PresetRules {
    pub(super) metadata: MetadataAllowlist,
    pub(super) redirect_uris: RedirectUriGuard,
    pub(super) identity: IdentityGuard,
    pub(super) rules: Vec<Arc<dyn Policy>>,
    pub(super) host_quota: Vec<RedirectHostQuota>,
}

/// The rules of a [`Preset`](super::Preset), for each class of caller.
///
/// ```
/// use tower_dcr::Preset;
/// use tower_layer::Layer;
///
/// // The guard in the middle of the service that a preset makes has this policy.
/// fn guarded<S>(inner: S) -> <Preset as Layer<S>>::Service {
///     tower_dcr::mcp().layer(inner)
/// }
/// # let _ = guarded(());
/// ```
#[derive(Clone, Debug)]
pub struct PresetPolicy {
    #[cfg(feature = "software-statement")]
    pub(super) statements: Option<SoftwareStatements>,
    pub(super) cases: Vec<(Condition, PresetRules)>,
    pub(super) otherwise: PresetRules,
}

impl PresetRules {
    pub(super) fn new(metadata: MetadataAllowlist, redirect_uris: RedirectUriGuard) -> Self {
        Self {
            metadata,
            redirect_uris,
            identity: IdentityGuard::new(),
            rules: Vec::new(),
            host_quota: vec![RedirectHostQuota::new(RedirectHostQuota::DEFAULT)],
        }
    }

    /// Changes the rules about everything but redirect URIs.
    ///
    /// # Errors
    ///
    /// What `change` fails with.
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
    /// What `change` fails with.
    pub fn map_redirect_uris(
        mut self,
        change: impl FnOnce(RedirectUriGuard) -> Result<RedirectUriGuard, ConfigError>,
    ) -> Result<Self, ConfigError> {
        self.redirect_uris = change(self.redirect_uris)?;
        Ok(self)
    }

    /// Changes how claimed names are compared with proof.
    ///
    /// # Errors
    ///
    /// What `change` fails with.
    pub fn map_identity(
        mut self,
        change: impl FnOnce(IdentityGuard) -> Result<IdentityGuard, ConfigError>,
    ) -> Result<Self, ConfigError> {
        self.identity = change(self.identity)?;
        Ok(self)
    }

    /// Adds a rule of your own; it runs after the others.
    pub fn add_rule(mut self, rule: impl Policy + 'static) -> Self {
        self.rules.push(Arc::new(rule));
        self
    }

    /// What may lead to one redirect host ([`RedirectHostQuota::DEFAULT`] by default).
    pub fn with_redirect_host_quota(mut self, quota: RedirectHostQuota) -> Self {
        self.host_quota = vec![quota];
        self
    }

    pub(super) fn without_redirect_host_quota(mut self) -> Self {
        self.host_quota.clear();
        self
    }
}

impl PresetPolicy {
    pub(super) fn new(rules: PresetRules) -> Self {
        Self {
            #[cfg(feature = "software-statement")]
            statements: None,
            cases: Vec::new(),
            otherwise: rules,
        }
    }
}

impl PresetPolicy {
    /// The same, with the budgets of redirect hosts shared with other nodes.
    pub(super) fn sharing(mut self, shared: &SharedQuotas) -> Self {
        for rules in self.cases.iter_mut().map(|(_, rules)| rules).chain([&mut self.otherwise]) {
            for quota in &mut rules.host_quota {
                *quota = quota.clone().with_shared_quotas(shared.clone());
            }
        }
        self
    }

    /// The rules that callers for whom `condition` holds have by now: those that are in code stay theirs.
    pub(super) fn before(&self, condition: &Condition) -> &PresetRules {
        let same = self.cases.iter().find(|(other, _)| other == condition);
        same.map_or(&self.otherwise, |(_, rules)| rules)
    }
}

impl Policy for PresetRules {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        self.metadata.review(submission)?;
        self.redirect_uris.review(submission)?;
        self.identity.review(submission)?;
        self.rules.review(submission)?;
        self.host_quota.review(submission)
    }

    fn describe(&self, out: &mut String) {
        self.metadata.describe(out);
        self.redirect_uris.describe(out);
        self.identity.describe(out);
        self.rules.describe(out);
        self.host_quota.describe(out);
    }
}

impl Policy for PresetPolicy {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        #[cfg(feature = "software-statement")]
        if let Some(statements) = &self.statements {
            statements.review(submission)?;
        }
        match self.cases.iter().find(|(condition, _)| condition.holds(submission)) {
            Some((condition, rules)) => {
                submission.choose(condition);
                rules.review(submission)?;
            }
            None => self.otherwise.review(submission)?,
        }
        if submission.is_pinned_as_named() {
            return Ok(());
        }
        // A token that was to be judged by rules which are not here must not be judged by others.
        submission.begin("pinned-rules");
        let rules = submission.caller().rules();
        tracing::error!(target: "tower_dcr::preset", ?rules, "an initial access token names rules that are not configured");
        let detail = "the rules for this initial access token are not configured";
        Err(submission.reject(ErrorCode::ServerError, detail))
    }

    fn describe(&self, out: &mut String) {
        #[cfg(feature = "software-statement")]
        if let Some(statements) = &self.statements {
            statements.describe(out);
        }
        for (condition, rules) in &self.cases {
            condition.describe(out);
            out.push(':');
            rules.describe(out);
        }
        self.otherwise.describe(out);
    }
}

impl fmt::Debug for PresetRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresetRules")
            .field("metadata", &self.metadata)
            .field("redirect_uris", &self.redirect_uris)
            .field("identity", &self.identity)
            .field("rules", &self.rules.len())
            .field("host_quota", &self.host_quota)
            .finish()
    }
}
