//! Resource indicators (RFC 8707), compared with the operator's list.

use super::{Asked, GateRule};
use crate::layers::gate::given::Given;
use crate::layers::gate::names::Name;
use crate::layers::gate::rejection::Fault;
use crate::layers::gate::settings::SettingsInForce;
use crate::layers::web_url::WebUrl;
use crate::rules::{Action, RuleDocs};

pub(super) static RULE: GateRule = GateRule {
    docs: RuleDocs {
        id: "gate-resource",
        protects: "Resource servers from tokens for another one, and people from tokens for a foreign one.",
        reference: "RFC 8707 section 2, invalid_target; MCP, Authorization, \"Resource Parameter Implementation\"",
        attack: "A malicious resource names another one as its own, and gets a token that is good there.",
        loosen: "gate.resources, with more of them or none; gate.rules.resource = \"mark\" or \"pass\"",
        opens: "Tokens for every resource that the server knows.",
        replayable: false,
    },
    action: |rules| rules.resource,
    default: |_| Action::Reject,
    check,
};

fn check(asked: &Asked<'_>) -> Result<(), Fault> {
    let is_allowed = |resource: &str| lists(asked.settings, resource).unwrap_or(true);
    if asked.seen.given.values(Name::Resource).all(is_allowed) {
        return Ok(());
    }
    Err(Fault::Rule("invalid_target", "resource is not one of the resources of this server"))
}

/// Returns `true` if the operator lists every resource of the request, so that the server has no reason to reject it for one.
pub(in super::super) fn are_listed(given: &Given, settings: &SettingsInForce) -> bool {
    given.values(Name::Resource).all(|resource| lists(settings, resource) == Some(true))
}

/// Returns `true` if the resource is listed. `None` if there is no list.
fn lists(settings: &SettingsInForce, resource: &str) -> Option<bool> {
    settings.lists_resource(|known| is_same(known, resource))
}

/// Returns `true` for equal URLs: clients write `https://mcp.example.com` with or without a slash at its end (RFC 3986
/// section 6.2.3).
fn is_same(known: &str, resource: &str) -> bool {
    if known == resource {
        return true;
    }
    let read = |url| WebUrl::read(url).filter(|url| url.is_plain);
    matches!((read(known), read(resource)), (Some(known), Some(resource)) if known.is_equal_to(&resource))
}
