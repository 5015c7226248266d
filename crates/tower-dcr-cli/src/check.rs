//! `dcr check`.

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};
use tower_dcr::redirect_uri::{RedirectClass, RedirectUri};
use tower_dcr::registration::{Limits, ParseError};
use tower_dcr::rules::{Context, Decision, Disposition, ErrorCode, Evaluation, Finding, Operation, RedirectUris};
use tower_dcr::{Preset, Registration, Rejection};

use super::broken::{self, Place};
use super::output::{Paint, escaped, painted};
use super::{DIFFERS, OK, Outcome, PolicyArg, REJECTED, input, output, policy};

#[derive(Args, Debug)]
pub(super) struct Check {
    #[command(flatten)]
    policy: PolicyArg,
    /// Evaluates an update (PUT, RFC 7592) instead of a registration.
    #[arg(long)]
    update: bool,
    /// Evaluates as for a caller with an initial access token of this owner.
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    /// Evaluates under the rules that the token names.
    #[arg(long, value_name = "NAME", requires = "owner")]
    rules: Option<String>,
    /// The registration: JSON that begins with { or [, a file that holds it, or - for the standard input.
    #[arg(value_name = "BODY")]
    body: PathBuf,
}

/// The result of evaluating a registration, or a client metadata document.
#[derive(Default)]
pub(super) struct Judged {
    /// The reason of a rejection.
    pub(super) rejection: Option<Rejection>,
    /// The reason for which a document is rejected whatever the rules say: the step, and the reason.
    pub(super) stopped: Option<(&'static str, String)>,
    pub(super) evaluation: Evaluation,
    pub(super) after: Option<Vec<u8>>,
    /// The place and the reason of a fault, with more detail than the server's response.
    pub(super) place: Option<Place>,
    /// The effect on a server under this policy: weaker than the decision if rules are report-only.
    in_force: &'static str,
    /// `true` if the policy enforces nothing.
    reports_all: bool,
    /// `true` if a server under this policy takes no registration at all.
    is_closed: bool,
}

impl Check {
    pub(super) fn run(self, json: bool) -> Outcome {
        let (preset, fingerprint) = policy::rules(&self.policy.policy)?;
        let body = read(&self.body, preset.limits())?;
        let caller = policy::caller(self.owner.as_deref(), self.rules.as_deref());
        let context = if self.update { Context::update() } else { Context::registration() };
        let context = context.by(caller);
        let mut judged = judge_all(&preset, |preset| judge(preset, &body, &context));
        judged.is_closed = !self.update && is_closed(&preset);
        if judged.is_closed {
            judged.close();
        }
        if json {
            output::json(&as_json(&judged, &fingerprint, &body))?;
        } else {
            print(&judged, &body, &[])?;
        }
        Ok(judged.status())
    }
}

/// Reads the body up to the limits of a server, and one more byte.
fn read(body: &Path, limits: &Limits) -> Result<Vec<u8>, Box<dyn Error>> {
    match body.to_str() {
        Some(json) if json.trim_start().starts_with(['{', '[']) => Ok(json.as_bytes().to_vec()),
        _ => input::read(body, limits.max_bytes),
    }
}

/// Evaluates as if everything was enforced, and notes the parts that are.
pub(super) fn judge_all(preset: &Preset, judge: impl Fn(&Preset) -> Judged) -> Judged {
    let mut judged = judge(preset);
    if judged.rejection.is_none() && policy::only_reports(preset) {
        // The findings of the policy as it is: they say which of them are enforced.
        let enforced = judge(&policy::enforcing(preset));
        judged = Judged { evaluation: judged.evaluation, in_force: judged.in_force, ..enforced };
    }
    if preset.is_report_only() {
        (judged.in_force, judged.reports_all) = ("accept", true);
    }
    judged
}

fn judge(preset: &Preset, body: &[u8], context: &Context) -> Judged {
    let registration = match Registration::parse_with(body, preset.limits()) {
        Ok(registration) => registration,
        Err(error) => {
            let place = broken::find(body, error).or_else(|| limit(preset, error));
            return Judged { rejection: Some(error.into()), place, in_force: "refuse", ..Judged::default() };
        }
    };
    Judged::of(preset, preset.policy().evaluate(registration, context), body)
}

/// Returns the limit that the document exceeds.
fn limit(preset: &Preset, kind: ParseError) -> Option<Place> {
    let key = match kind {
        ParseError::ArrayTooLong => "max_array",
        ParseError::StringTooLong => "max_string",
        ParseError::TooDeep => "max_depth",
        ParseError::TooLarge => "max_bytes",
        ParseError::TooManyMembers => "max_members",
        _ => return None,
    };
    let limit = settings(preset).pointer(&format!("/body/{key}"))?.to_string();
    Some(Place { line: 0, column: 0, reason: format!("body.{key} is {limit}") })
}

/// Finds the faulty part of a redirect URI and the setting that rejects it, with more detail than the server's
/// response.
fn redirect(preset: &Preset, body: &[u8], rejection: &Rejection) -> Option<Place> {
    let policy = settings(preset);
    // Rules for callers have their own settings.
    let has_callers = policy.get("callers").and_then(Value::as_array).is_some_and(|callers| !callers.is_empty());
    if rejection.rule != "redirect-uris" || has_callers {
        return None;
    }
    let sent: Value = serde_json::from_slice(body).ok()?;
    let uri = sent.get("redirect_uris")?.get(rejection.index?)?.as_str()?;
    let origin = Origin::of(uri);
    let Ok(uri) = RedirectUri::parse(uri) else {
        let is_about_host = rejection.description().contains("an IP address");
        let reason = origin.filter(|_| is_about_host)?.fault()?;
        return Some(Place { line: 0, column: 0, reason });
    };
    let said = rejection.description();
    let is_about = |words: &str| said.contains(words);
    let inside = ["public top-level domain", "public suffix", "private networks"];
    let reason = match (uri.class(), uri.host()) {
        (RedirectClass::Https, _) if is_about("place that is not listed") => {
            "the https redirect URIs that are allowed are listed in redirect_uris.only_https".to_owned()
        }
        (RedirectClass::Https, _) if is_about("port that is not allowed") => {
            format!("port {} is not in redirect_uris.https_ports", uri.port().unwrap_or(443))
        }
        (RedirectClass::Https, Some(host)) if inside.into_iter().any(is_about) => {
            format!("{host} is not a public host name; redirect_uris.add_patterns admits exceptions")
        }
        (RedirectClass::PlainHttp, _) if origin.is_some_and(|origin| origin.is_private()) => PRIVATE.to_owned(),
        (RedirectClass::PrivateUse, _) if is_about("scheme that is not allowed") => {
            format!("{}: is not in redirect_uris.private_use_schemes", uri.scheme())
        }
        _ => return None,
    };
    Some(Place { line: 0, column: 0, reason })
}

const PRIVATE: &str = "a host in a private network is rejected unless redirect_uris.danger_private_origins lists it";

/// The parts of a redirect URI to a web server, as they were sent.
struct Origin<'a> {
    scheme: &'a str,
    /// The host and the port.
    host: &'a str,
    rest: &'a str,
}

impl<'a> Origin<'a> {
    /// `None` if the URI leads to no web server.
    fn of(uri: &'a str) -> Option<Self> {
        let (scheme, rest) = uri.split_once("://").filter(|(scheme, _)| ["http", "https"].contains(scheme))?;
        let (host, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        Some(Self { scheme, host, rest })
    }

    /// Returns the fault of a host that a redirect URI can't have, where the sender or the operator can mend it.
    fn fault(&self) -> Option<String> {
        let host = self.host.to_ascii_lowercase();
        let lower = Origin { host: &host, ..*self };
        let is_readable = || RedirectUri::parse(&format!("{}://{host}{}", self.scheme, self.rest)).is_ok();
        if host != self.host && (is_readable() || lower.is_private()) {
            return Some(format!("a host is written in lower case: {host}"));
        }
        self.is_private().then(|| PRIVATE.to_owned())
    }

    /// Returns `true` if an operator can list it as one of a private network.
    fn is_private(&self) -> bool {
        RedirectUris::mcp().with_danger_private_origins([format!("{}://{}", self.scheme, self.host)]).is_ok()
    }
}

/// The words about a closed server.
pub(super) const CLOSED: &str =
    "registration is closed: a server under this policy rejects every registration (registration-closed)";

/// Returns `true` if a server under this policy takes no registration.
pub(super) fn is_closed(preset: &Preset) -> bool {
    !preset.is_report_only() && settings(preset).get("registration").and_then(Value::as_str) == Some("closed")
}

/// Returns the rejection of a closed server, which evaluates nothing.
pub(super) fn closed() -> Rejection {
    Rejection::new(ErrorCode::AccessDenied, "registration-closed", "this server does not register clients")
}

/// Returns the policy in the form of a file.
fn settings(preset: &Preset) -> Value {
    serde_json::to_value(preset).unwrap_or_default()
}

/// Returns the decision of the policy, enforced or report-only.
pub(super) fn verdict(judged: &Judged) -> &'static str {
    let is_rewritten = || judged.evaluation.findings.iter().any(|finding| finding.disposition.rewrites());
    match &judged.rejection {
        Some(_) => "refuse",
        None if judged.stopped.is_some() => "refuse",
        None if judged.evaluation.held.is_some() => "hold",
        None if is_rewritten() => "rewrite",
        None => "accept",
    }
}

impl Judged {
    /// Returns the result of an evaluation of `body`.
    pub(super) fn of(preset: &Preset, evaluation: Evaluation, body: &[u8]) -> Self {
        let rejection = evaluation.rejection.as_deref().cloned();
        let after = evaluation.registration.as_ref().filter(|_| rejection.is_none()).map(Registration::canonical_bytes);
        let place = rejection.as_ref().and_then(|rejection| redirect(preset, body, rejection));
        let in_force = match evaluation.decision() {
            Decision::Reject => "refuse",
            _ if evaluation.held.is_some() => "hold",
            Decision::Rewrite => "rewrite",
            _ => "accept",
        };
        Self { rejection, evaluation, after, place, in_force, ..Self::default() }
    }

    /// Rejects a document at a step that is always enforced. What the rules found stays.
    pub(super) fn stop(&mut self, step: &'static str, reason: String) {
        (self.stopped, self.in_force, self.after) = (Some((step, reason)), "refuse", None);
    }

    /// Returns the exit status.
    pub(super) fn status(&self) -> u8 {
        match verdict(self) {
            "refuse" => REJECTED,
            "hold" | "rewrite" => DIFFERS,
            _ => OK,
        }
    }

    fn is_document(&self) -> bool {
        self.stopped.is_some() || self.evaluation.operation == Operation::Document
    }

    /// Returns the reason of a rejection, as a server's response has it. For a document, it has the step: responses have one text
    /// for all of them.
    fn refusal(&self) -> Option<String> {
        if let Some((step, reason)) = &self.stopped {
            return Some(format!("{step}: {}", escaped(reason)));
        }
        let rejection = self.rejection.as_ref()?;
        Some(if self.is_document() {
            format!("rules: {}", rejection.description())
        } else {
            format!("{} {rejection}", rejection.code.status().as_u16())
        })
    }

    /// Rejects as a closed server does. The reason of a rule that rejects stays.
    fn close(&mut self) {
        self.rejection.get_or_insert_with(closed);
        (self.in_force, self.after) = ("refuse", None);
    }

    /// Returns `true` if a server enforces the decision. Findings of report-only rules don't matter if another rule
    /// rejects.
    fn is_enforced(&self) -> bool {
        let verdict = verdict(self);
        let acts_on_all = || verdict == "refuse" || self.findings().iter().all(|finding| finding.enforced);
        !self.reports_all && self.in_force == verdict && acts_on_all()
    }

    /// Returns the findings other than the rejection, each marked as enforced by a server or not.
    fn findings(&self) -> Vec<Finding> {
        let mut findings = self.evaluation.findings.clone();
        findings.retain(|finding| !finding.enforced || finding.disposition != Disposition::Rejected);
        if self.reports_all {
            for finding in &mut findings {
                finding.enforced = false;
            }
        }
        findings
    }
}

pub(super) fn as_json(judged: &Judged, fingerprint: &str, body: &[u8]) -> Value {
    let rejection = judged.rejection.as_ref();
    let response = rejection.filter(|_| !judged.is_document());
    let stopped = judged.stopped.as_ref().map(|(_, reason)| reason.clone());
    let parsed = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
    json!({
        "verdict": verdict(judged),
        "in_force": judged.in_force,
        "enforced": judged.is_enforced(),
        "closed": judged.is_closed,
        "held": judged.evaluation.held.as_deref().map(Rejection::description),
        "policy": fingerprint,
        "status": response.map(|rejection| rejection.code.status().as_u16()),
        "error": response.map(|rejection| rejection.code.to_string()),
        "rule": rejection.map(|rejection| rejection.rule),
        "field": rejection.and_then(|refused| refused.field.as_deref()),
        "index": rejection.and_then(|refused| refused.index),
        "description": stopped.or_else(|| rejection.map(Rejection::description)),
        "reason": judged.place.as_ref().map(|place| &place.reason),
        "line": judged.place.as_ref().map(|place| place.line).filter(|line| *line > 0),
        "column": judged.place.as_ref().map(|place| place.column).filter(|column| *column > 0),
        "identity": judged.evaluation.identity(),
        "rules": judged.evaluation.rules,
        "findings": judged.findings(),
        "before": parsed(body),
        "after": judged.after.as_deref().and_then(parsed),
    })
}

/// Prints the decision, facts about the client, the findings, and the difference.
pub(super) fn print(judged: &Judged, body: &[u8], facts: &[String]) -> Result<(), Box<dyn Error>> {
    let (verdict, is_enforced) = (verdict(judged), judged.is_enforced());
    let would = if verdict == judged.in_force { "" } else { "would " };
    match judged.refusal() {
        Some(error) => {
            output::line(format_args!("{}  {error}", painted(&format!("{would}reject"), &Paint::Bad)))?;
        }
        None if verdict == "hold" => {
            let reason = judged.evaluation.held.as_deref().map(Rejection::description).unwrap_or_default();
            let held = if would.is_empty() { "held for approval" } else { "would be held for approval" };
            let held = painted(held, &Paint::Mild);
            output::line(format_args!("{held}: {}", escaped(&reason)))?;
        }
        None if verdict == "rewrite" => output::line(painted(&format!("{would}rewrite"), &Paint::Mild))?,
        None => output::line(painted("accept", &Paint::Good))?,
    }
    if !is_enforced {
        output::line(if judged.in_force == verdict && !judged.reports_all {
            "report-only: a server under this policy changes less"
        } else {
            "report-only: a server under this policy accepts it"
        })?;
    }
    if judged.is_closed {
        output::line(CLOSED)?;
    }
    match &judged.place {
        None => {}
        Some(Place { line: 0, reason, .. }) => output::line(format_args!("because {}", escaped(reason)))?,
        Some(Place { line, column, reason }) => {
            output::line(format_args!("at line {line}, column {column}: {}", escaped(reason)))?;
        }
    }
    facts.iter().try_for_each(|fact| output::line(escaped(fact)))?;
    if let Some(identity) = judged.evaluation.identity() {
        output::line(format_args!("identity: {}", escaped(&identity.to_string())))?;
    }
    print_rules(judged, would)?;
    if let Some(after) = &judged.after {
        print_diff(body, after)?;
    }
    Ok(())
}

fn print_rules(judged: &Judged, would: &str) -> Result<(), Box<dyn Error>> {
    let rejected_by = judged.rejection.as_ref().map(|rejection| rejection.rule);
    let mut table = output::table(&["RULE", "FINDING"]);
    let mut rows = 0;
    for rule in rules_once(judged) {
        let mut findings: Vec<String> =
            judged.findings().iter().filter(|finding| finding.rule == rule).map(shown).collect();
        let is_said = judged.findings().iter().any(|f| f.rule == rule && f.disposition == Disposition::Rejected);
        if rejected_by == Some(rule) && !is_said {
            findings.push(if would.is_empty() { "rejects" } else { "would reject" }.into());
        }
        table.add_row([rule.to_owned(), if findings.is_empty() { "passes".into() } else { findings.join(", ") }]);
        rows += 1;
    }
    if rows > 0 {
        output::line("")?;
        output::print_table(&table)?;
    }
    Ok(())
}

/// Returns the rules that ran, each once.
fn rules_once(judged: &Judged) -> Vec<&'static str> {
    let mut rules: Vec<&'static str> = Vec::new();
    for rule in judged.evaluation.rules.iter().copied().chain(judged.rejection.as_ref().map(|rejection| rejection.rule))
    {
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    rules
}

fn shown(finding: &Finding) -> String {
    let (does, would) = match finding.disposition {
        Disposition::Asserted => ("takes from the statement", "take from the statement"),
        Disposition::Defaulted => ("writes out", "write out"),
        Disposition::Flagged => ("flags", "flag"),
        Disposition::Held => ("holds for approval:", "hold for approval:"),
        Disposition::Narrowed => ("narrows", "narrow"),
        Disposition::Stripped => ("strips", "strip"),
        Disposition::Substituted => ("substitutes", "substitute"),
        Disposition::Supplied => ("supplies", "supply"),
        _ => ("rejects", "reject"),
    };
    let shown = if finding.enforced { does.to_owned() } else { format!("would {would}") };
    format!("{shown} {}", escaped(&finding.field)).trim_end().to_owned()
}

/// Prints the difference between two documents, such as the sent and the forwarded one, member by member.
pub(super) fn print_diff(body: &[u8], after: &[u8]) -> Result<(), Box<dyn Error>> {
    let pretty = |bytes: &[u8]| -> Result<String, serde_json::Error> {
        // Sorted by name, like the canonical form.
        let members: std::collections::BTreeMap<String, Value> = serde_json::from_slice(bytes)?;
        serde_json::to_string_pretty(&members)
    };
    let (before, after) = (pretty(body)?, pretty(after)?);
    if before == after {
        return Ok(());
    }
    output::line("")?;
    for change in TextDiff::from_lines(&before, &after).iter_all_changes() {
        let text = escaped(change.value().trim_end_matches('\n'));
        output::line(match change.tag() {
            ChangeTag::Delete => painted(&format!("-{text}"), &Paint::Bad),
            ChangeTag::Insert => painted(&format!("+{text}"), &Paint::Good),
            ChangeTag::Equal => format!(" {text}"),
        })?;
    }
    Ok(())
}
