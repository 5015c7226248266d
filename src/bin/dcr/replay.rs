//! `dcr replay`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;
use tower_dcr::Registration;
use tower_dcr::ledger::{Fingerprints, Status};
use tower_dcr::policy::{Policy, Review, Submission};
use tower_dcr::preset::PresetPolicy;
use tower_dcr::registration::Limits;
use tower_dcr::review::Queue;

use super::document::{self, Past, Skipped, Verdict};
use super::output::{Paint, escaped, painted};
use super::{DIFFERS, OK, Outcome, REFUSED, ledger, output, policy};

#[derive(Args, Debug)]
pub(super) struct Replay {
    /// The policy to try: a file, or the name of a preset.
    #[arg(long, short, value_name = "NEW")]
    policy: String,
    /// The policy to compare it with; without, what is recorded. Registrations of which nothing is recorded count as
    /// accepted.
    #[arg(long, value_name = "OLD")]
    against: Option<String>,
    /// How many groups to show.
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    limit: usize,
    /// Audit files (with documents), a corpus, registrations one a line, or a ledger: sqlite:FILE, postgres://…; - for the
    /// standard input.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<String>,
}

/// Groups beyond these are counted together: attackers choose names.
const MAX_GROUPS: usize = 10_000;
/// A line that is longer is no event.
const MAX_LINE: u64 = 1 << 20;

/// What changes, for whom.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Group {
    /// The fingerprint of the family; empty for all that are beyond the limit.
    family: String,
    from: Verdict,
    to: Verdict,
    rule: Cow<'static, str>,
}

/// How often, and an example.
struct Change {
    count: u64,
    client_name: Option<String>,
    redirects: String,
}

#[derive(Default)]
struct Tally {
    lines: u64,
    judged: u64,
    unreadable: u64,
    without_document: u64,
    not_by_policy: u64,
    lifecycle: u64,
    /// By what it was and what it would be.
    verdicts: HashMap<(Verdict, Verdict), u64>,
    changes: HashMap<Group, Change>,
}

/// What one policy says of a document.
struct Judge<'a> {
    new: &'a PresetPolicy,
    old: Option<&'a PresetPolicy>,
    tally: Tally,
}

impl Replay {
    pub(super) fn run(self, json: bool) -> Outcome {
        let (new, _) = policy::rules(&self.policy)?;
        let old = self.against.as_deref().map(policy::rules).transpose()?;
        let mut judge =
            Judge { new: new.policy(), old: old.as_ref().map(|(old, _)| old.policy()), tally: Tally::default() };
        for input in &self.inputs {
            judge.input(input)?;
        }
        let tally = judge.tally;
        if json {
            print_json(&tally)?;
        } else {
            print(&tally, self.limit)?;
        }
        let newly_refused = |((from, to), count): (&(Verdict, Verdict), &u64)| {
            *count > 0 && *to == Verdict::Refuse && *from != Verdict::Refuse
        };
        Ok(match () {
            () if tally.verdicts.iter().any(newly_refused) => REFUSED,
            () if !tally.changes.is_empty() => DIFFERS,
            () => OK,
        })
    }
}

impl Judge<'_> {
    fn input(&mut self, input: &str) -> Result<(), Box<dyn Error>> {
        if ledger::is_ledger(input) {
            return self.ledger(input);
        }
        if input == "-" {
            return self.lines(io::stdin().lock(), &output::progress(None, "lines"));
        }
        let file = File::open(Path::new(input)).map_err(|error| format!("{input}: {error}"))?;
        let bar = output::progress(file.metadata().ok().map(|file| file.len()), "bytes");
        self.lines(BufReader::with_capacity(1 << 18, file), &bar)
    }

    /// One line in memory at a time.
    fn lines(&mut self, mut input: impl BufRead, bar: &ProgressBar) -> Result<(), Box<dyn Error>> {
        let mut line = Vec::with_capacity(4096);
        let in_bytes = bar.length().is_some();
        let mut since = 0;
        loop {
            line.clear();
            let read = input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
            if read == 0 {
                bar.finish_and_clear();
                return Ok(());
            }
            if read as u64 == MAX_LINE && line.last() != Some(&b'\n') {
                skip_line(&mut input)?;
            }
            self.tally.lines += 1;
            since += if in_bytes { read as u64 } else { 1 };
            if self.tally.lines.is_multiple_of(4096) {
                bar.inc(std::mem::take(&mut since));
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            match document::read(&line) {
                Ok(past) => self.judge(&past),
                Err(Skipped::Unreadable) => self.tally.unreadable += 1,
                Err(Skipped::NoDocument) => self.tally.without_document += 1,
                Err(Skipped::NotByPolicy) => self.tally.not_by_policy += 1,
                Err(Skipped::Lifecycle) => self.tally.lifecycle += 1,
            }
        }
    }

    /// Every client that is live: it was accepted as it is there.
    fn ledger(&mut self, url: &str) -> Result<(), Box<dyn Error>> {
        let (runtime, review) = ledger::open(url, None)?;
        let mut cursor = None;
        let bar = output::progress(None, "clients");
        loop {
            let page = runtime.block_on(review.list(Queue::All, cursor, 500))?;
            for client in page.clients.iter().filter(|client| !client.registration.is_empty()) {
                if !matches!(client.status, Status::Active | Status::Pending) {
                    continue;
                }
                self.tally.lines += 1;
                bar.inc(1);
                self.judge(&Past {
                    document: &client.registration,
                    update: false,
                    owner: client.admitted_by.as_deref().map(Cow::Borrowed),
                    rules: client.rules.as_deref().map(Cow::Borrowed),
                    recorded: Some((Verdict::Accept, None)),
                });
            }
            cursor = page.next;
            if cursor.is_none() {
                bar.finish_and_clear();
                return Ok(());
            }
        }
    }

    fn judge(&mut self, past: &Past<'_>) {
        let Ok(registration) = Registration::parse_with(past.document.as_bytes(), &Limits::new().with_bytes(1 << 20))
        else {
            self.tally.unreadable += 1;
            return;
        };
        self.tally.judged += 1;
        let (from, old_rule) = match (self.old, &past.recorded) {
            (Some(old), _) => verdict(old, registration.clone(), past),
            (None, Some((verdict, rule))) => (*verdict, rule.as_deref().and_then(known).map(Cow::Borrowed)),
            (None, None) => (Verdict::Accept, None),
        };
        let (to, new_rule) = verdict(self.new, registration.clone(), past);
        *self.tally.verdicts.entry((from, to)).or_default() += 1;
        if from != to {
            self.tally.change(&registration, from, to, new_rule.or(old_rule).unwrap_or_default());
        }
    }
}

/// The stable name, if it is one of a rule that is known.
fn known(rule: &str) -> Option<&'static str> {
    tower_dcr::explain::rule(rule).map(|rule| rule.name)
}

/// What a policy says, and the rule that says it.
fn verdict(
    rules: &PresetPolicy,
    mut registration: Registration,
    past: &Past<'_>,
) -> (Verdict, Option<Cow<'static, str>>) {
    let review = if past.update { Review::update() } else { Review::registration() };
    let mut review = review.by(policy::caller(past.owner.as_deref(), past.rules.as_deref()));
    match rules.review(&mut Submission::new(&mut registration, &mut review)) {
        Err(rejection) => (Verdict::Refuse, Some(rejection.rule().into())),
        Ok(()) if review.is_rewritten() => {
            let first = review.findings().iter().find(|finding| finding.disposition.rewrites());
            (Verdict::Rewrite, first.map(|finding| finding.rule.into()))
        }
        Ok(()) => (Verdict::Accept, None),
    }
}

impl Tally {
    fn change(&mut self, registration: &Registration, from: Verdict, to: Verdict, rule: Cow<'static, str>) {
        let family = Fingerprints::of(registration, true).family;
        let mut group = Group { family, from, to, rule };
        if self.changes.len() >= MAX_GROUPS && !self.changes.contains_key(&group) {
            group.family.clear();
        }
        let others = group.family.is_empty();
        let change = self.changes.entry(group).or_insert_with(|| Change {
            count: 0,
            client_name: registration
                .string("client_name")
                .filter(|_| !others)
                .map(|name| name.chars().take(60).collect()),
            redirects: if others { String::new() } else { places(registration) },
        });
        change.count += 1;
    }

    /// The largest groups of those who would be refused first.
    fn sorted(&self) -> Vec<(&Group, &Change)> {
        let mut changes: Vec<_> = self.changes.iter().collect();
        changes.sort_by_key(|(group, change)| {
            (group.to != Verdict::Refuse, std::cmp::Reverse(change.count), group.rule.clone(), group.family.clone())
        });
        changes
    }
}

/// Where the codes of a client go: hosts and schemes.
fn places(registration: &Registration) -> String {
    let mut places: Vec<String> = registration
        .redirect_uris()
        .map(|uri| match tower_dcr::redirect_uri::RedirectUri::parse(uri) {
            Ok(uri) => match uri.host().filter(|_| matches!(uri.scheme(), "http" | "https")) {
                Some(host) => host.to_owned(),
                None => format!("{}:", uri.scheme()),
            },
            Err(_) => "?".to_owned(),
        })
        .collect();
    places.sort_unstable();
    places.dedup();
    places.truncate(4);
    places.join(" ").chars().take(120).collect()
}

/// Takes the rest of a line that is too long.
fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(buffer.len(), |end| end + 1);
        input.consume(taken);
        if end.is_some() {
            return Ok(());
        }
    }
}

fn print(tally: &Tally, limit: usize) -> io::Result<()> {
    let changes = tally.sorted();
    if !changes.is_empty() {
        let mut table = output::table(&["COUNT", "FROM", "TO", "RULE", "CLIENT", "REDIRECTS TO"]);
        for (group, change) in changes.iter().take(limit) {
            let name = match (&change.client_name, group.family.is_empty()) {
                (_, true) => "(others)".to_owned(),
                (Some(name), false) => escaped(name),
                (None, false) => "(no name)".to_owned(),
            };
            table.add_row([
                change.count.to_string(),
                group.from.as_str().to_owned(),
                group.to.as_str().to_owned(),
                group.rule.clone().into_owned(),
                name,
                escaped(&change.redirects),
            ]);
        }
        output::print_table(&table)?;
        if changes.len() > limit {
            output::line(format_args!("… and {} more groups (--limit, or --json for all)", changes.len() - limit))?;
        }
        output::line("")?;
    }
    let count = |wanted: &dyn Fn(Verdict, Verdict) -> bool| -> u64 {
        tally.verdicts.iter().filter(|((from, to), _)| wanted(*from, *to)).map(|(_, count)| count).sum()
    };
    let refused = count(&|from, to| to == Verdict::Refuse && from != Verdict::Refuse);
    let admitted = count(&|from, to| from == Verdict::Refuse && to != Verdict::Refuse);
    let otherwise = count(&|from, to| from != to && from != Verdict::Refuse && to != Verdict::Refuse);
    let paint = if refused > 0 { Paint::Bad } else { Paint::Good };
    let summary = format!(
        "{} registrations: {refused} newly refused, {admitted} newly accepted, {otherwise} rewritten otherwise, {} as before",
        tally.judged,
        count(&|from, to| from == to)
    );
    output::line(painted(&summary, &paint))?;
    for (count, what) in [
        (tally.without_document, "events hold no document: see `audit.document`"),
        (tally.not_by_policy, "events were decided by something else than a policy"),
        (tally.unreadable, "lines can't be read"),
    ] {
        if count > 0 {
            output::line(format_args!("left out: {count} {what}"))?;
        }
    }
    Ok(())
}

fn print_json(tally: &Tally) -> Result<(), Box<dyn Error>> {
    let groups: Vec<_> = tally
        .sorted()
        .into_iter()
        .map(|(group, change)| {
            json!({
                "count": change.count, "from": group.from.as_str(), "to": group.to.as_str(), "rule": group.rule,
                "family": Some(&group.family).filter(|family| !family.is_empty()), "client_name": change.client_name,
                "redirects_to": change.redirects,
            })
        })
        .collect();
    let mut verdicts: Vec<_> = tally.verdicts.iter().collect();
    verdicts.sort_unstable();
    let verdicts: Vec<_> = verdicts
        .into_iter()
        .map(|((from, to), count)| json!({"from": from.as_str(), "to": to.as_str(), "count": count}))
        .collect();
    output::json(&json!({
        "lines": tally.lines, "judged": tally.judged, "without_document": tally.without_document,
        "not_by_policy": tally.not_by_policy, "lifecycle": tally.lifecycle, "unreadable": tally.unreadable,
        "verdicts": verdicts, "changes": groups,
    }))
}
