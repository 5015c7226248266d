//! `dcr replay`.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;
use tower_dcr::clients::{Client, ClientQueue, Fingerprints, Origin, Status};
use tower_dcr::registration::Limits;
use tower_dcr::rules::{Context, Decision, Disposition, Finding};
use tower_dcr::{Preset, Registration, Rejection};

use super::document::{self, Past, Skipped, Verdict};
use super::ledger::Access;
use super::output::{Paint, escaped, painted};
use super::{DIFFERS, NOTHING, OK, Outcome, REJECTED, input, ledger, output, policy};

#[derive(Args, Debug)]
pub(super) struct Replay {
    /// The policy to try: a file, or the name of a preset.
    #[arg(long, short, value_name = "NEW")]
    policy: String,
    /// The policy to compare it with; by default, the recorded decisions. Registrations without a recorded decision count as
    /// accepted.
    #[arg(long, value_name = "OLD")]
    against: Option<String>,
    /// Tries the shadow of the policy (`[shadow]` in its file), and compares it with the policy itself.
    #[arg(long, conflicts_with = "against")]
    shadow: bool,
    /// The maximum number of groups to show.
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    limit: usize,
    /// Audit files (with documents), a corpus, registrations one per line, or a ledger: sqlite:FILE, postgres://…; - for the
    /// standard input.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<String>,
}

/// Groups beyond these are counted together, since attackers choose names.
const MAX_GROUPS: usize = 10_000;
/// The limits for reading a document; a stricter policy rejects it.
const READABLE: Limits =
    Limits { max_bytes: 1 << 20, max_depth: 64, max_members: 1000, max_array: 1000, max_string: 1 << 20 };

/// A change of the decision for a family of clients.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Group {
    /// The fingerprint of the family; empty for groups beyond the limit.
    family: String,
    from: Verdict,
    to: Verdict,
    /// `true` if a server under the policy enforces the change.
    enforced: bool,
    rule: Cow<'static, str>,
}

/// The frequency of a change, and an example.
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
    /// The input and line number of the first.
    first_unreadable: Option<String>,
    without_document: u64,
    not_by_policy: u64,
    lifecycle: u64,
    /// Those that a server accepts although its policy rejects or rewrites them.
    not_enforced: u64,
    /// `true` if the policy compared with is report-only.
    against_report_only: bool,
    /// By old and new decision.
    verdicts: HashMap<(Verdict, Verdict), u64>,
    changes: HashMap<Group, Change>,
}

/// The policies under evaluation.
struct Judge<'a> {
    new: &'a Preset,
    old: Option<&'a Preset>,
}

/// The result of one line or record.
enum Judged {
    Blank,
    Skipped(Skipped),
    Decided { from: Verdict, to: Verdict, enforced: bool, change: Option<Box<(Group, Registration)>> },
}

/// The length of a batch in bytes, and the results.
type Evaluated = (usize, Vec<Judged>);

/// A batch ends with the line that reaches so many bytes.
const BATCH_BYTES: usize = 1 << 18;

/// An input, from which one thread at a time takes a batch.
struct Source<R> {
    input: R,
    batches: u64,
}

/// A few lines of an input.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Replay {
    /// Returns the policy to try, and the policy to compare it with; `None` to compare it with the recorded decisions.
    fn policies(&self) -> Result<(Preset, Option<Preset>), Box<dyn Error>> {
        let (named, _) = policy::rules(&self.policy)?;
        if !self.shadow {
            if named.shadow().is_some() {
                let name = &self.policy;
                // A failure to write to the standard error can't be reported.
                let _gone = writeln!(anstream::stderr(), "note: {name} has a shadow policy: --shadow compares the two");
            }
            let old = self.against.as_deref().map(policy::rules).transpose()?;
            return Ok((named, old.map(|(old, _)| old)));
        }
        match named.shadow() {
            Some(shadow) => Ok((shadow.without_rate_limits(), Some(named))),
            None => Err(format!("{}: no `[shadow]` in this policy", self.policy).into()),
        }
    }

    pub(super) fn run(self, json: bool) -> Outcome {
        input::each_once(&self.inputs)?;
        let (new, old) = self.policies()?;
        let judge = Judge { new: &new, old: old.as_ref() };
        let mut tally = Tally::default();
        for input in &self.inputs {
            judge.input(input, &mut tally)?;
        }
        tally.against_report_only = old.as_ref().is_some_and(policy::only_reports);
        if json {
            print_json(&tally)?;
        } else {
            print(&tally, self.limit)?;
        }
        let newly_rejected = |((from, to), count): (&(Verdict, Verdict), &u64)| {
            *count > 0 && *to == Verdict::Reject && *from != Verdict::Reject
        };
        Ok(match () {
            () if tally.judged == 0 => NOTHING,
            () if tally.verdicts.iter().any(newly_rejected) => REJECTED,
            () if !tally.changes.is_empty() => DIFFERS,
            () if tally.unreadable > 0 => NOTHING,
            () => OK,
        })
    }
}

impl Batch {
    /// Reads lines until the batch is full or the input ends. Returns the number of bytes.
    fn fill(&mut self, input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
        self.bytes.clear();
        self.ends.clear();
        while self.bytes.len() < BATCH_BYTES {
            if input::read_line(input, line)? == 0 {
                break;
            }
            self.bytes.extend_from_slice(line);
            self.ends.push(self.bytes.len());
        }
        Ok(self.bytes.len())
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| self.bytes.get(start..*end).unwrap_or_default())
    }
}

impl Judge<'_> {
    fn input(&self, input: &str, tally: &mut Tally) -> Result<(), Box<dyn Error>> {
        if ledger::is_ledger(input) {
            return self.ledger(input, tally);
        }
        if input == "-" {
            let read = self.lines(input, BufReader::new(io::stdin()), &output::progress(None, "lines"), tally);
            return read.map_err(|error| input::named(input, &error));
        }
        let file = File::open(Path::new(input)).map_err(|error| input::named(input, &error))?;
        let bar = output::progress(file.metadata().ok().map(|file| file.len()), "bytes");
        let read = self.lines(input, BufReader::with_capacity(1 << 18, file), &bar, tally);
        read.map_err(|error| input::named(input, &error))
    }

    /// Evaluates lines on every processor, and counts them in their order.
    fn lines(&self, name: &str, input: impl BufRead + Send, bar: &ProgressBar, tally: &mut Tally) -> io::Result<()> {
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let in_bytes = bar.length().is_some();
        let source = Mutex::new(Source { input, batches: 0 });
        thread::scope(|scope| {
            let (sender, batches) = mpsc::sync_channel(processors);
            for _ in 0..processors {
                let (source, sender) = (&source, sender.clone());
                scope.spawn(move || self.batches(source, &sender));
            }
            drop(sender);
            let mut line: u64 = 0;
            // A batch may be ready before the one that precedes it.
            let (mut ready, mut next) = (BTreeMap::new(), 0);
            for (number, batch) in batches {
                ready.insert(number, batch);
                while let Some(batch) = ready.remove(&next) {
                    let (bytes, judged) = batch?;
                    bar.inc(if in_bytes { bytes } else { judged.len() } as u64);
                    for judged in judged {
                        line += 1;
                        tally.add(judged, || format!("{name}:{line}"));
                    }
                    next += 1;
                }
            }
            bar.finish_and_clear();
            Ok(())
        })
    }

    /// Evaluates batches until the input ends. Sends the number of each, its length in bytes and the results.
    fn batches<R: BufRead>(&self, source: &Mutex<Source<R>>, results: &mpsc::SyncSender<(u64, io::Result<Evaluated>)>) {
        let (mut batch, mut line) = (Batch::default(), Vec::with_capacity(4096));
        loop {
            let (number, read) = {
                let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
                source.batches += 1;
                (source.batches - 1, batch.fill(&mut source.input, &mut line))
            };
            let evaluated = read.map(|bytes| (bytes, batch.lines().map(|line| self.line(line)).collect::<Vec<_>>()));
            let is_last = !matches!(&evaluated, Ok((_, judged)) if !judged.is_empty());
            if results.send((number, evaluated)).is_err() || is_last {
                return;
            }
        }
    }

    /// Reads every live client: each was accepted in its current form.
    fn ledger(&self, url: &str, tally: &mut Tally) -> Result<(), Box<dyn Error>> {
        let (runtime, review) = ledger::open(url, Access::Read, None)?;
        let mut cursor = None;
        let bar = output::progress(None, "clients");
        loop {
            let page = runtime.block_on(review.list(ClientQueue::All, cursor, 500));
            let page = page.map_err(|error| ledger::named(url, error.into()))?;
            // Documents have rules of their own: `dcr clients drift` applies them.
            let is_live = |client: &&Client| {
                client.origin != Origin::Document
                    && !client.registration.is_empty()
                    && matches!(client.status, Status::Active | Status::Pending)
            };
            for client in page.clients.iter().filter(is_live) {
                let past = Past {
                    document: &client.registration,
                    update: false,
                    owner: client.admitted_by.as_deref().map(Cow::Borrowed),
                    rules: client.rules.as_deref().map(Cow::Borrowed),
                    recorded: Some((Verdict::Accept, None)),
                };
                tally.add(self.judge(&past), || format!("record {}", client.key.0));
                bar.inc(1);
            }
            cursor = page.next;
            if cursor.is_none() {
                bar.finish_and_clear();
                return Ok(());
            }
        }
    }

    fn line(&self, line: &[u8]) -> Judged {
        if line.trim_ascii().is_empty() {
            return Judged::Blank;
        }
        match document::read(line) {
            Ok(past) => self.judge(&past),
            Err(skipped) => Judged::Skipped(skipped),
        }
    }

    fn judge(&self, past: &Past<'_>) -> Judged {
        let Ok(registration) = Registration::parse_with(past.document.as_bytes(), &READABLE) else {
            return Judged::Skipped(Skipped::Unreadable);
        };
        let (from, old_rule) = match (self.old, &past.recorded) {
            (Some(old), _) => {
                let ruling = verdict(old, registration.clone(), past);
                (ruling.verdict, ruling.rule)
            }
            (None, Some((verdict, rule))) => (*verdict, rule.as_deref().and_then(known).map(Cow::Borrowed)),
            (None, None) => (Verdict::Accept, None),
        };
        let Ruling { verdict: to, rule, enforced } = verdict(self.new, registration.clone(), past);
        let change = (from != to).then(|| {
            let family = Fingerprints::of(&registration, true).family;
            let rule = rule.or(old_rule).unwrap_or_default();
            Box::new((Group { family, from, to, enforced, rule }, registration))
        });
        Judged::Decided { from, to, enforced, change }
    }
}

/// Returns the stable name of a known rule; `None` for others.
fn known(rule: &str) -> Option<&'static str> {
    Preset::rule_docs().map(|docs| docs.id).find(|id| *id == rule)
}

/// The decision of a policy about a registration.
struct Ruling {
    verdict: Verdict,
    /// The rule behind the decision.
    rule: Option<Cow<'static, str>>,
    /// `true` if a server under the policy enforces the decision.
    enforced: bool,
}

/// Evaluates as if report-only rules were enforced, as recorded decisions are read.
fn verdict(preset: &Preset, registration: Registration, past: &Past<'_>) -> Ruling {
    let enforced = !preset.is_report_only();
    if let Err(error) = Registration::parse_with(past.document.as_bytes(), preset.limits()) {
        return Ruling { verdict: Verdict::Reject, rule: Some(Rejection::from(error).rule.into()), enforced };
    }
    let context = if past.update { Context::update() } else { Context::registration() };
    let context = context.by(policy::caller(past.owner.as_deref(), past.rules.as_deref()));
    let evaluation = preset.policy().evaluate(registration, &context);
    if let Some(rejection) = &evaluation.rejection {
        return Ruling { verdict: Verdict::Reject, rule: Some(rejection.rule.into()), enforced };
    }
    let rejected = |finding: &&Finding| finding.disposition == Disposition::Rejected;
    let rewritten = |finding: &&Finding| finding.disposition.rewrites();
    let found = |verdict, finding: &Finding, enforced| Ruling { verdict, rule: Some(finding.rule.into()), enforced };
    match (evaluation.findings.iter().find(rejected), evaluation.findings.iter().find(rewritten)) {
        // A report-only rule: an enforced one rejects.
        (Some(finding), _) => found(Verdict::Reject, finding, false),
        (None, Some(finding)) => {
            found(Verdict::Rewrite, finding, enforced && evaluation.decision() == Decision::Rewrite)
        }
        (None, None) => Ruling { verdict: Verdict::Accept, rule: None, enforced: true },
    }
}

impl Tally {
    fn add(&mut self, judged: Judged, place: impl Fn() -> String) {
        self.lines += 1;
        match judged {
            Judged::Blank => {}
            Judged::Skipped(Skipped::Unreadable) => {
                self.unreadable += 1;
                self.first_unreadable.get_or_insert_with(place);
            }
            Judged::Skipped(Skipped::NoDocument) => self.without_document += 1,
            Judged::Skipped(Skipped::NotByPolicy) => self.not_by_policy += 1,
            Judged::Skipped(Skipped::Lifecycle) => self.lifecycle += 1,
            Judged::Decided { from, to, enforced, change } => {
                self.judged += 1;
                *self.verdicts.entry((from, to)).or_default() += 1;
                self.not_enforced += u64::from(!enforced);
                if let Some(change) = change {
                    self.change(*change);
                }
            }
        }
    }

    fn change(&mut self, (mut group, registration): (Group, Registration)) {
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
            redirects: if others { String::new() } else { places(&registration) },
        });
        change.count += 1;
    }

    /// Returns the groups: rejections first, then by descending count.
    fn sorted(&self) -> Vec<(&Group, &Change)> {
        let mut changes: Vec<_> = self.changes.iter().collect();
        changes.sort_by_key(|(group, change)| {
            let order = (group.to != Verdict::Reject, std::cmp::Reverse(change.count));
            (order, group.rule.clone(), group.family.clone(), group.enforced)
        });
        changes
    }
}

/// Returns the hosts and schemes that the codes of a client go to.
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
                group.from.shown().to_owned(),
                if group.enforced { group.to.shown().to_owned() } else { format!("would {}", group.to.shown()) },
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
    let rejected = count(&|from, to| to == Verdict::Reject && from != Verdict::Reject);
    let admitted = count(&|from, to| from == Verdict::Reject && to != Verdict::Reject);
    let otherwise = count(&|from, to| from != to && from != Verdict::Reject && to != Verdict::Reject);
    let paint = if rejected > 0 || tally.judged == 0 { Paint::Bad } else { Paint::Good };
    let summary = format!(
        "{}: {rejected} newly rejected, {admitted} newly accepted, {otherwise} rewritten differently, {} unchanged",
        output::count(tally.judged, "registration"),
        count(&|from, to| from == to)
    );
    output::line(painted(&summary, &paint))?;
    let first = tally.first_unreadable.as_deref().map(escaped).unwrap_or_default();
    for (count, noun, more) in [
        (tally.without_document, "event", " without a document: see `audit.document`"),
        (tally.not_by_policy, "event", " not decided by a policy"),
        (tally.unreadable, "unreadable line", &*format!(", the first at {first}")),
    ] {
        if count > 0 {
            output::line(format_args!("skipped: {}{more}", output::count(count, noun)))?;
        }
    }
    if tally.not_enforced > 0 {
        let registrations = output::count(tally.not_enforced, "registration");
        let what = "that the policy rejects or rewrites";
        output::line(format_args!("report-only: a server under this policy accepts {registrations} {what}"))?;
    }
    if tally.against_report_only {
        output::line("report-only: the rules of the other policy count as enforced")?;
    }
    if tally.judged == 0 {
        output::line("no registration was evaluated")?;
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
                "enforced": group.enforced,
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
        "first_unreadable": tally.first_unreadable, "not_enforced": tally.not_enforced,
        "against_report_only": tally.against_report_only,
        "verdicts": verdicts, "changes": groups,
    }))
}
