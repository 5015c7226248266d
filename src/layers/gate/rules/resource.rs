//! Resource indicators (RFC 8707), compared with the operator's list.

use std::borrow::Cow;

use super::{Asked, GateRule};
use crate::layers::gate::names::Name;
use crate::layers::gate::rejection::Fault;
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
    if asked
        .seen
        .given
        .values(Name::Resource)
        .all(|resource| asked.settings.lists_resource(|known| is_same(known, resource)))
    {
        return Ok(());
    }
    Err(Fault::Rule("invalid_target", "resource is not one of the resources of this server"))
}

/// Returns `true` for one string, apart from an empty path: clients write `https://mcp.example.com` with or without a slash at its
/// end (RFC 3986 section 6.2.3). No other two spellings are one: the server that gets the request may tell them apart.
fn is_same(known: &str, resource: &str) -> bool {
    with_path(known) == with_path(resource)
}

/// Returns a URL of `http` or `https` with the path `/` if it has none.
fn with_path(url: &str) -> Cow<'_, str> {
    let host = ["https://", "http://"].into_iter().find_map(|scheme| url.strip_prefix(scheme));
    let Some(host) = host.filter(|host| !host.is_empty()) else { return url.into() };
    let end = url.len() - host.len() + host.find(['/', '?', '#', '\\']).unwrap_or(host.len());
    match url.split_at_checked(end) {
        Some((before, after)) if after.is_empty() || after.starts_with('?') => format!("{before}/{after}").into(),
        _ => url.into(),
    }
}
