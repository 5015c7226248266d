//! `dcr check`.

use std::error::Error;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};
use tower_dcr::policy::{Disposition, Finding, Policy, Review, Submission};
use tower_dcr::{Registration, Rejection};

use super::output::{Paint, escaped, painted};
use super::{DIFFERS, OK, Outcome, PolicyArg, REFUSED, output, policy};

#[derive(Args, Debug)]
pub(super) struct Check {
    #[command(flatten)]
    policy: PolicyArg,
    /// Judges an update (PUT, RFC 7592) and not a registration.
    #[arg(long)]
    update: bool,
    /// Judges as for the holder of an initial access token of this owner.
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    /// Judges by the rules that the token names.
    #[arg(long, value_name = "NAME", requires = "owner")]
    rules: Option<String>,
    /// The registration, as JSON; - for the standard input.
    #[arg(value_name = "BODY")]
    body: PathBuf,
}

/// What a policy makes of a registration.
struct Judged {
    verdict: Result<(), Rejection>,
    review: Review,
    after: Option<Vec<u8>>,
}

impl Check {
    pub(super) fn run(self, json: bool) -> Outcome {
        let (preset, fingerprint) = policy::rules(&self.policy.policy)?;
        let body = read(&self.body)?;
        let review = if self.update { Review::update() } else { Review::registration() };
        let caller = policy::caller(self.owner.as_deref(), self.rules.as_deref());
        let judged = judge(preset.policy(), &body, review.by(caller));
        let status = match &judged.verdict {
            Err(_) => REFUSED,
            Ok(()) if judged.review.is_rewritten() => DIFFERS,
            Ok(()) => OK,
        };
        if json {
            output::json(&as_json(&judged, &fingerprint, &body))?;
        } else {
            print(&judged, &body)?;
        }
        Ok(status)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut body = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_end(&mut body)?;
    } else {
        body = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(body)
}

fn judge(rules: &impl Policy, body: &[u8], mut review: Review) -> Judged {
    let mut registration = match Registration::parse(body) {
        Ok(registration) => registration,
        Err(error) => {
            let code = tower_dcr::rejection::ErrorCode::InvalidClientMetadata;
            let verdict = Err(Rejection::new(code, "strict-json", error.description()));
            return Judged { verdict, review, after: None };
        }
    };
    let verdict = rules.review(&mut Submission::new(&mut registration, &mut review));
    let after = verdict.is_ok().then(|| registration.canonical_bytes());
    Judged { verdict, review, after }
}

fn verdict(judged: &Judged) -> &'static str {
    match &judged.verdict {
        Err(_) => "refuse",
        Ok(()) if judged.review.is_rewritten() => "rewrite",
        Ok(()) => "accept",
    }
}

fn as_json(judged: &Judged, fingerprint: &str, body: &[u8]) -> Value {
    let refused = judged.verdict.as_ref().err();
    let parsed = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
    json!({
        "verdict": verdict(judged),
        "policy": fingerprint,
        "error": refused.map(|refused| refused.code().as_str()),
        "rule": refused.map(Rejection::rule),
        "field": refused.and_then(Rejection::field),
        "index": refused.and_then(Rejection::index),
        "description": refused.map(Rejection::description),
        "identity": judged.review.identity(),
        "rules": judged.review.rules(),
        "findings": judged.review.findings(),
        "before": parsed(body),
        "after": judged.after.as_deref().and_then(parsed),
    })
}

fn print(judged: &Judged, body: &[u8]) -> Result<(), Box<dyn Error>> {
    match (&judged.verdict, verdict(judged)) {
        (Err(refused), _) => {
            let error = format!("{}: {}", refused.code().as_str(), refused.description());
            output::line(format_args!("{}  {error}", painted("refuse", &Paint::Bad)))?;
        }
        (Ok(()), "rewrite") => output::line(painted("rewrite", &Paint::Mild))?,
        (Ok(()), _) => output::line(painted("accept", &Paint::Good))?,
    }
    if let Some(identity) = judged.review.identity() {
        output::line(format_args!("identity: {}", escaped(&identity.to_string())))?;
    }
    let refused_by = judged.verdict.as_ref().err().map(Rejection::rule);
    let mut table = output::table(&["RULE", "FINDING"]);
    let mut rows = 0;
    for rule in rules_once(judged) {
        let mut findings: Vec<String> =
            judged.review.findings().iter().filter(|finding| finding.rule == rule).map(shown).collect();
        if refused_by == Some(rule) {
            findings.push("refuses".into());
        }
        table.add_row([rule.to_owned(), if findings.is_empty() { "passes".into() } else { findings.join(", ") }]);
        rows += 1;
    }
    if rows > 0 {
        output::line("")?;
        output::print_table(&table)?;
    }
    if let Some(after) = &judged.after {
        print_diff(body, after)?;
    }
    Ok(())
}

/// The rules that ran, each once.
fn rules_once(judged: &Judged) -> Vec<&'static str> {
    let mut rules: Vec<&'static str> = Vec::new();
    for rule in judged.review.rules().iter().copied().chain(judged.verdict.as_ref().err().map(Rejection::rule)) {
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    rules
}

fn shown(finding: &Finding) -> String {
    let done = match finding.disposition {
        Disposition::Asserted => "takes from the statement",
        Disposition::Defaulted => "writes out",
        Disposition::Flagged => "flags",
        Disposition::Narrowed => "narrows",
        Disposition::Stripped => "strips",
        Disposition::Substituted => "substitutes",
        Disposition::Supplied => "supplies",
        _ => "refuses",
    };
    format!("{done} {}", escaped(&finding.field))
}

/// What was sent and what would be forwarded, member by member.
fn print_diff(body: &[u8], after: &[u8]) -> Result<(), Box<dyn Error>> {
    let pretty = |bytes: &[u8]| -> Result<String, serde_json::Error> {
        // Sorted by name, as the canonical form is.
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
