//! Holding registrations for approval that a rule would reject.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::{Draft, Operation, Rejection, Rule, RuleDocs};

/// The rules with rejections that an operator can overrule, by their names in audit events. Each rejection has a flag for
/// that: dangerous and malformed values, and hosts in a private network, are rejected under any setting.
pub(crate) const HOLDABLE: [&str; 2] = ["identity", "redirect-uris"];

/// The name of one of these rules.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum HoldableRule {
    /// Names and links of others.
    Identity,
    /// Redirect URIs that are well formed and not listed.
    RedirectUris,
}

impl From<HoldableRule> for String {
    fn from(rule: HoldableRule) -> Self {
        let [identity, redirect_uris] = HOLDABLE;
        match rule {
            HoldableRule::Identity => identity.to_owned(),
            HoldableRule::RedirectUris => redirect_uris.to_owned(),
        }
    }
}

/// Runs a rule. A registration that it rejects, and that an operator may admit, continues as it was before the rule, and is
/// held. Updates are rejected as always: the client signs in meanwhile, with what was approved.
pub(super) struct Holding(pub(super) Arc<dyn Rule>);

impl Rule for Holding {
    fn id(&self) -> &'static str {
        self.0.id()
    }

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        if draft.operation() == Operation::Create { draft.hold_or_reject(&*self.0) } else { self.0.check(draft) }
    }

    fn config(&self) -> Json {
        json!({ "hold": self.0.config() })
    }

    fn docs(&self) -> Option<&'static RuleDocs> {
        self.0.docs()
    }

    fn replayable(&self) -> bool {
        self.0.replayable()
    }
}
