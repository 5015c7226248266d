//! Trying a rule without enforcing it.

use serde::de::IntoDeserializer;
use serde::de::value::Error as Unknown;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::{ConfigError, Draft, Rejection, Rule, RuleDocs};

/// Runs a rule on a copy. Its effects are in the [`Evaluation`](crate::rules::Evaluation), marked as not enforced, and
/// the registration continues unchanged.
///
/// Tightening a policy without a trial breaks sign-ins: run the tighter rule in report-only mode first, and read the
/// audit events. For the rules of a preset, [`Preset::with_report_only_rules`](crate::Preset::with_report_only_rules)
/// does it by name.
///
/// ```
/// # use tower_dcr::{Registration, rules::{Context, IntoRules, Policy}};
/// # fn judge(rules: &(impl IntoRules + Clone), body: &str) -> Result<String, String> {
/// #     let registration = Registration::parse(body.as_bytes()).unwrap();
/// #     let evaluation = Policy::new(rules.clone()).evaluate(registration, &Context::registration());
/// #     if let Some(rejection) = &evaluation.rejection {
/// #         return Err(rejection.description());
/// #     }
/// #     Ok(String::from_utf8(evaluation.registration.unwrap().canonical_bytes()).unwrap())
/// # }
/// use tower_dcr::rules::{RedirectUris, ReportOnly};
///
/// let body = r#"{"redirect_uris":["javascript:alert(1)"]}"#;
/// assert_eq!(judge(&ReportOnly::new(RedirectUris::strict()), body)?, body);
/// # Ok::<_, String>(())
/// ```
#[derive(Clone, Debug)]
pub struct ReportOnly<R> {
    rule: R,
}

impl<R> ReportOnly<R> {
    /// Puts `rule` into report-only mode.
    pub fn new(rule: R) -> Self {
        Self { rule }
    }
}

impl<R: Rule> Rule for ReportOnly<R> {
    fn id(&self) -> &'static str {
        self.rule.id()
    }

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        draft.observe(|copy| self.rule.check(copy).map_err(|rejection| rejection.by(self.rule.id())));
        Ok(())
    }

    fn config(&self) -> Json {
        json!({ "report_only": self.rule.config() })
    }

    fn docs(&self) -> Option<&'static RuleDocs> {
        self.rule.docs()
    }

    fn replayable(&self) -> bool {
        self.rule.replayable()
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
