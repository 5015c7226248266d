//! Trying a rule without enforcing it.

use std::sync::{Arc, LazyLock};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
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

/// A rule of a preset that supports report-only mode, by its name in audit events. The other rules prepare the input of
/// the rest: the bytes, the URL, the statement, the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct ReportableRule(&'static str);

/// In alphabetical order.
static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let layers = [ReportableRule::INITIAL_ACCESS_TOKEN.0, ReportableRule::RATE_LIMIT.0];
    let mut names: Vec<_> = super::docs().map(|docs| docs.id).chain(layers).collect();
    names.sort_unstable();
    names
});

impl ReportableRule {
    pub(crate) const INITIAL_ACCESS_TOKEN: Self = Self("initial-access-token");
    pub(crate) const RATE_LIMIT: Self = Self("rate-limit");

    pub(crate) fn named(name: &str) -> Result<Self, ConfigError> {
        let known = NAMES.iter().find(|known| **known == name);
        known.map(|known| Self(known)).ok_or_else(|| ConfigError::ReportOnlyRule { name: name.to_owned() })
    }

    pub(super) fn is(self, rule: &dyn Rule) -> bool {
        self.0 == rule.id()
    }
}

impl<'de> Deserialize<'de> for ReportableRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::named(&name).map_err(|_| D::Error::unknown_variant(&name, &NAMES))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for ReportableRule {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ReportableRule".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A rule of a preset that supports report-only mode, by its name in audit events. The other rules prepare \
                            the input of the rest: the bytes, the URL, the statement, the caller.",
            "enum": *NAMES,
            "type": "string",
        })
    }
}
