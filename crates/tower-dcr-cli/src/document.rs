//! Past registrations, one per line: audit events, a corpus, or plain registrations.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use tower_dcr::Preset;

/// The outcome of a registration, recorded or predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Verdict {
    Accept,
    Rewrite,
    Reject,
}

/// A registration to evaluate again.
#[derive(Debug)]
pub(super) struct Past<'a> {
    pub(super) document: &'a str,
    pub(super) update: bool,
    pub(super) owner: Option<Cow<'a, str>>,
    pub(super) rules: Option<Cow<'a, str>>,
    /// The outcome and the rule behind it, if the line records them.
    pub(super) recorded: Option<(Verdict, Option<Cow<'a, str>>)>,
}

/// The reason why a line is not evaluated again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skipped {
    /// The line is no JSON, or contains no registration.
    Unreadable,
    /// The event has no document: the server did not record documents.
    NoDocument,
    /// The decision was not made by a policy, but by a rate limit, a token, a revocation or a statement; or the body
    /// could not be read.
    NotByPolicy,
    /// A later event of a client.
    Lifecycle,
}

/// The members of a line that are read. All others are skipped.
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

/// Returns `true` for a rule that a policy can run again on the document alone. The others depend on more: budgets,
/// revoked clients, signatures, or the operator's code.
fn is_replayable(rule: &str) -> bool {
    Preset::rule_docs().any(|docs| docs.replayable && docs.id == rule)
}

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

/// Returns the recorded decision of the rules, enforced or only reported.
fn recorded<'a>(findings: &[Found<'a>]) -> Result<(Verdict, Option<Cow<'a, str>>), Skipped> {
    if let Some(rejecting) = findings.iter().find(|found| found.disposition == "refused") {
        if !is_replayable(&rejecting.rule) {
            return Err(Skipped::NotByPolicy);
        }
        return Ok((Verdict::Reject, Some(rejecting.rule.clone())));
    }
    let changes =
        |found: &&Found<'_>| !matches!(&*found.disposition, "defaulted" | "flagged") && is_replayable(&found.rule);
    Ok(match findings.iter().find(changes) {
        Some(found) => (Verdict::Rewrite, Some(found.rule.clone())),
        None => (Verdict::Accept, None),
    })
}

impl Verdict {
    /// Returns the verdict in the JSON.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Rewrite => "rewrite",
            Self::Reject => "refuse",
        }
    }

    /// Returns the verdict in the text.
    pub(super) const fn shown(self) -> &'static str {
        match self {
            Self::Accept | Self::Rewrite => self.as_str(),
            Self::Reject => "reject",
        }
    }
}
