//! Resource indicators (RFC 8707), compared with the operator's list.

use super::{Asked, GateRule};
use crate::layers::gate::given::Given;
use crate::layers::gate::names::Name;
use crate::layers::gate::rejection::Fault;
use crate::layers::gate::settings::SettingsInForce;
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
    if are_listed(&asked.seen.given, asked.settings) {
        return Ok(());
    }
    Err(Fault::Rule("invalid_target", "resource is not one of the resources of this server"))
}

/// Returns `true` if the operator lists every resource of the request, or none at all.
pub(in super::super) fn are_listed(given: &Given, settings: &SettingsInForce<'_>) -> bool {
    given.values(Name::Resource).all(|resource| settings.lists_resource(|known| is_same(known, resource)))
}

/// Returns `true` for one string, apart from the case of scheme and host and from an empty path: clients write
/// `https://mcp.example.com` with or without a slash at its end (RFC 3986 section 6.2.3), and MCP says that servers "SHOULD accept
/// uppercase scheme and host components". No other two spellings are one: the server that gets the request may tell them apart.
fn is_same(known: &str, resource: &str) -> bool {
    match (origin_and_path(known), origin_and_path(resource)) {
        (Some((known, known_path)), Some((origin, path))) => known.eq_ignore_ascii_case(origin) && known_path == path,
        _ => known == resource,
    }
}

/// Splits a URL of `http` or `https` into its origin and the rest, of which an empty path counts as `/`.
fn origin_and_path(url: &str) -> Option<(&str, (&str, &str))> {
    let (scheme, rest) = url.split_once("://")?;
    if rest.is_empty() || !["http", "https"].iter().any(|web| web.eq_ignore_ascii_case(scheme)) {
        return None;
    }
    let end = url.len() - rest.len() + rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (origin, rest) = url.split_at_checked(end)?;
    let after = rest.strip_prefix('/');
    let is_path = after.is_some() || rest.is_empty() || rest.starts_with('?');
    Some((origin, if is_path { ("/", after.unwrap_or(rest)) } else { ("", rest) }))
}
