//! Trying a rule without enforcing it.

use std::sync::Arc;

use serde::de::IntoDeserializer;
use serde::de::value::Error as Unknown;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::{ConfigError, Draft, Rejection, Rule, RuleDocs};

/// Runs a rule on a copy. Its effects are in the evaluation, marked as not enforced, and the registration continues unchanged.
pub(super) struct ReportOnly(pub(super) Arc<dyn Rule>);

impl Rule for ReportOnly {
    fn id(&self) -> &'static str {
        self.0.id()
    }

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        draft.observe(|copy| self.0.check(copy).map_err(|rejection| rejection.by(self.0.id())));
        Ok(())
    }

    fn config(&self) -> Json {
        json!({ "report_only": self.0.config() })
    }

    fn docs(&self) -> Option<&'static RuleDocs> {
        self.0.docs()
    }

    fn replayable(&self) -> bool {
        self.0.replayable()
    }
}

/// The rules of a preset that support report-only mode, by their names in audit events. The other rules prepare the
/// input of the rest: the bytes, the URL, the statement, the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ReportableRule {
    ApplicationType,
    ClientName,
    Decorations,
    DereferencedUris,
    GrantTypes,
    Identity,
    InitialAccessToken,
    Jwks,
    KnownMembers,
    MetadataPolicy,
    RateLimit,
    RedirectHostQuota,
    RedirectUris,
    ResponseTypes,
    Scope,
    TokenEndpointAuthMethod,
}

impl ReportableRule {
    pub(crate) fn named(name: &str) -> Result<Self, ConfigError> {
        let read: Result<Self, Unknown> = Self::deserialize(name.into_deserializer());
        read.map_err(|_| ConfigError::ReportOnlyRule { name: name.to_owned() })
    }
}
