//! Registrations of the past, one line each: audit events, a corpus, or registrations alone.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// What became of a registration, or would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Verdict {
    Accept,
    Rewrite,
    Refuse,
}

/// A registration to be judged again.
#[derive(Debug)]
pub(super) struct Past<'a> {
    pub(super) document: &'a str,
    pub(super) update: bool,
    pub(super) owner: Option<Cow<'a, str>>,
    pub(super) rules: Option<Cow<'a, str>>,
    /// What became of it, and by which rule, if the line says so.
    pub(super) recorded: Option<(Verdict, Option<Cow<'a, str>>)>,
}

/// Why a line is not judged again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skipped {
    /// No JSON, or nothing in it that is a registration.
    Unreadable,
    /// An event without a document: it was not asked for.
    NoDocument,
    /// It was decided by something else than a policy: a rate limit, a token, what was revoked, a statement; or there was
    /// nothing that could be read.
    NotByPolicy,
    /// What happened to a client later.
    Lifecycle,
}

/// What is looked at of a line. Everything else is skipped unread.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    document: Option<&'a RawValue>,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
    #[serde(borrow, default)]
    outcome: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    operation: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    authorized_by: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    rules_for: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    statement_issuer: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    findings: Vec<Found<'a>>,
    #[serde(borrow, default)]
    action: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    redirect_uris: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Found<'a> {
    #[serde(borrow)]
    rule: Cow<'a, str>,
    #[serde(borrow)]
    disposition: Cow<'a, str>,
}

/// Rules that a policy says again from the document alone. The others ask more: what was counted, revoked, signed, or is in
/// the operator's code.
const BY_POLICY: [&str; 15] = [
    "application-type",
    "cases",
    "client-name",
    "decorations",
    "dereferenced-uris",
    "grant-types",
    "identity",
    "jwks",
    "known-members",
    "metadata-policy",
    "pinned-rules",
    "redirect-uris",
    "response-types",
    "scope",
    "token-endpoint-auth-method",
];

/// Reads a line.
pub(super) fn read(line: &[u8]) -> Result<Past<'_>, Skipped> {
    let text = str::from_utf8(line).map_err(|_| Skipped::Unreadable)?;
    let read: Line<'_> = serde_json::from_str(text).map_err(|_| Skipped::Unreadable)?;
    let plain = |document| Past { document, update: false, owner: None, rules: None, recorded: None };
    if let Some(outcome) = &read.outcome {
        if matches!(&**outcome, "limited" | "abandoned") || read.statement_issuer.is_some() {
            return Err(Skipped::NotByPolicy);
        }
        let recorded = recorded(&read.findings)?;
        let document = read.document.ok_or(Skipped::NoDocument)?.get();
        let update = read.operation.as_deref() == Some("update");
        return Ok(Past {
            document,
            update,
            owner: read.authorized_by,
            rules: read.rules_for,
            recorded: Some(recorded),
        });
    }
    match (read.action, read.body, read.redirect_uris) {
        (Some(_), ..) => Err(Skipped::Lifecycle),
        (None, Some(body), _) => Ok(plain(body.get())),
        (None, None, Some(_)) => Ok(plain(text.trim())),
        (None, None, None) => Err(Skipped::Unreadable),
    }
}

/// What the rules found then, whether it was enforced or only reported.
fn recorded<'a>(findings: &[Found<'a>]) -> Result<(Verdict, Option<Cow<'a, str>>), Skipped> {
    if let Some(refused) = findings.iter().find(|found| found.disposition == "refused") {
        if !BY_POLICY.contains(&&*refused.rule) {
            return Err(Skipped::NotByPolicy);
        }
        return Ok((Verdict::Refuse, Some(refused.rule.clone())));
    }
    let changes = |found: &&Found<'_>| {
        !matches!(&*found.disposition, "defaulted" | "flagged") && BY_POLICY.contains(&&*found.rule)
    };
    Ok(match findings.iter().find(changes) {
        Some(found) => (Verdict::Rewrite, Some(found.rule.clone())),
        None => (Verdict::Accept, None),
    })
}

impl Verdict {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Rewrite => "rewrite",
            Self::Refuse => "refuse",
        }
    }
}
