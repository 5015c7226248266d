//! The scope of a request, compared with the registered one.

use http::Uri;
use http::uri::PathAndQuery;

use super::{Asked, GateRule, Profile};
use crate::layers::gate::given::Place;
use crate::layers::gate::names::{self, Name, Reading};
use crate::layers::gate::rejection::Fault;
use crate::rules::{Action, RuleDocs};

pub(in super::super) static RULE: GateRule = GateRule {
    docs: RuleDocs {
        id: "gate-scope",
        protects: "Scopes from clients that registered fewer, and whose registration nobody checked for them.",
        reference: "RFC 7591 section 2, scope; RFC 6749 section 3.3, invalid_scope",
        attack: "A client registers with mcp:read, and asks for admin once it is approved.",
        loosen: "gate.additional_scopes = [\"mcp:write\"]; gate.rules.scope = \"narrow\", \"mark\" or \"pass\"",
        opens: "Every scope that the server has, to every client.",
        replayable: false,
    },
    action: |rules| rules.scope,
    // RFC 6749 section 3.3: "The authorization server MAY fully or partially ignore the scope requested by the client". MCP
    // clients take the scopes that a resource names, and go on with fewer.
    default: |profile| match profile {
        Profile::Mcp => Action::Narrow,
        Profile::Strict => Action::Reject,
        Profile::Other => Action::Pass,
    },
    check,
};

/// OpenID Connect Core section 11: a request for a refresh token, and no permission of its own.
const ALWAYS: &str = "offline_access";

fn check(asked: &Asked<'_>) -> Result<(), Fault> {
    if !asked.seen.may_be_request() {
        // A step of a consent form, whose boxes may have any names and values.
        return Ok(());
    }
    // Without a registered scope, there is no limit: RFC 7591 section 2 leaves the default to the server.
    let is_within = |scope: &str| scope.split(' ').all(|token| is_allowed(asked, token));
    if asked.registered.scope.is_none() || asked.seen.given.values(Name::Scope).all(is_within) {
        return Ok(());
    }
    Err(Fault::Rule("invalid_scope", "scope exceeds the scope that the client registered"))
}

fn is_allowed(asked: &Asked<'_>, token: &str) -> bool {
    let is_registered = || asked.registered.scope.iter().flatten().any(|known| known == token);
    token.is_empty() || token == ALWAYS || is_registered() || asked.settings.lists_scope(token)
}

/// Returns the scopes that stay in the request. `None` if none stay, or if the request can't be changed: it is signed, or
/// not a form.
pub(in super::super) fn narrowed(asked: &Asked<'_>) -> Option<Vec<String>> {
    let given = &asked.seen.given;
    let is_fixed = given.has_split_scope
        || given.is_at(Name::Scope, Place::Object)
        || (given.in_json && given.is_at(Name::Scope, Place::Body));
    if is_fixed {
        return None;
    }
    let tokens = given.values(Name::Scope).flat_map(|scope| scope.split(' ')).filter(|token| !token.is_empty());
    let mut kept: Vec<String> = Vec::new();
    for token in tokens.filter(|token| is_allowed(asked, token)) {
        if !kept.iter().any(|known| known == token) {
            kept.push(token.to_owned());
        }
    }
    // `offline_access` alone is no permission.
    kept.iter().any(|token| token != ALWAYS).then_some(kept)
}

/// Returns the pairs of a query or form without the scopes that are not in `kept`. All other pairs keep their bytes.
pub(in super::super) fn without_others(pairs: &str, kept: &[String]) -> String {
    let pairs = pairs.split('&').map(|pair| {
        let Some((name, value)) = form_urlencoded::parse(pair.as_bytes()).next() else { return pair.to_owned() };
        if !matches!(names::read(&name), Reading::Exact(Name::Scope) | Reading::Folded(Name::Scope)) {
            return pair.to_owned();
        }
        // Each once: the text must not grow by its escapes.
        let tokens: Vec<&str> = value.split(' ').collect();
        let scope: Vec<&str> = kept.iter().map(String::as_str).filter(|token| tokens.contains(token)).collect();
        form_urlencoded::Serializer::new(String::new()).append_pair(&name, &scope.join(" ")).finish()
    });
    pairs.collect::<Vec<String>>().join("&")
}

/// Returns the URL with these scopes only. `None` if it can't be written, since it is too long.
pub(in super::super) fn in_url(url: &Uri, kept: &[String]) -> Option<Uri> {
    let Some(query) = url.query() else { return Some(url.clone()) };
    let path = PathAndQuery::try_from(format!("{}?{}", url.path(), without_others(query, kept))).ok()?;
    let mut parts = url.clone().into_parts();
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).ok()
}
