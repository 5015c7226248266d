//! `dcr audit stats`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::json;

use super::output::{Paint, escaped, painted};
use super::{NOTHING, OK, Outcome, input, output};

/// A registration attempt, or the sum of several.
#[derive(Deserialize)]
struct Event<'a> {
    time_ms: u64,
    #[serde(borrow)]
    outcome: Cow<'a, str>,
    #[serde(borrow, default)]
    rule: Option<Cow<'a, str>>,
    #[serde(default = "one")]
    count: u64,
    #[serde(default)]
    duration_us: u64,
    #[serde(borrow, default)]
    policy: Option<Cow<'a, str>>,
}

/// A later event of a client, or the sum of several.
#[derive(Deserialize)]
struct Later<'a> {
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(default = "one")]
    count: u64,
}

const fn one() -> u64 {
    1
}

#[derive(Default)]
struct Stats {
    events: u64,
    /// Events that are no sums; only these have a duration.
    timed: u64,
    others: u64,
    outcomes: BTreeMap<String, u64>,
    actions: BTreeMap<String, u64>,
    rejections: BTreeMap<String, u64>,
    policies: BTreeMap<String, u64>,
    /// By the hour since 1970: the total, and those that were not registered.
    hours: BTreeMap<u64, (u64, u64)>,
    /// By the power of two of microseconds.
    durations: BTreeMap<u32, u64>,
}

const HOUR: u64 = 3_600_000;
/// Hours beyond these are left out of the plot, not of the sums.
const MAX_HOURS: usize = 24 * 366 * 10;
/// The maximum number of bars in the plot, and their length.
const BARS: u64 = 24;
const WIDTH: u64 = 50;

pub(super) fn run(file: &Path, json: bool) -> Outcome {
    let mut stats = Stats::default();
    if file == Path::new("-") {
        stats.read(io::stdin().lock()).map_err(|error| input::named(file, &error))?;
    } else {
        let unreadable = |error| input::named(file, &error);
        stats.read(BufReader::new(File::open(file).map_err(unreadable)?)).map_err(unreadable)?;
    }
    let is_empty = stats.events == 0 && stats.actions.is_empty();
    if json {
        stats.print_json()?;
    } else if is_empty {
        output::line(format_args!("{}: no audit event in it", escaped(&file.display().to_string())))?;
    } else {
        stats.print()?;
    }
    Ok(if is_empty { NOTHING } else { OK })
}

impl Stats {
    fn read(&mut self, mut input: impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        while input::read_line(&mut input, &mut line)? > 0 {
            match serde_json::from_slice::<Event<'_>>(&line) {
                Ok(event) => self.add(&event),
                Err(_) if line.trim_ascii().is_empty() => {}
                Err(_) => match serde_json::from_slice::<Later<'_>>(&line) {
                    Ok(later) => count(&mut self.actions, &later.action, later.count),
                    Err(_) => self.others += 1,
                },
            }
        }
        Ok(())
    }

    fn add(&mut self, event: &Event<'_>) {
        self.events = self.events.saturating_add(event.count);
        count(&mut self.outcomes, &event.outcome, event.count);
        if let Some(rule) = &event.rule {
            count(&mut self.rejections, rule, event.count);
        }
        if let Some(policy) = &event.policy {
            count(&mut self.policies, policy, event.count);
        }
        let registered = matches!(&*event.outcome, "accepted" | "rewritten" | "deduplicated");
        if self.hours.len() < MAX_HOURS || self.hours.contains_key(&(event.time_ms / HOUR)) {
            let hour = self.hours.entry(event.time_ms / HOUR).or_default();
            hour.0 = hour.0.saturating_add(event.count);
            hour.1 = hour.1.saturating_add(if registered { 0 } else { event.count });
        }
        if event.count > 1 || event.duration_us == 0 {
            return;
        }
        self.timed += 1;
        *self.durations.entry(event.duration_us.checked_ilog2().unwrap_or(0)).or_default() += 1;
    }

    /// Returns the time in which this share of attempts got a response, as a power of two of microseconds.
    fn percentile(&self, share: u64) -> u64 {
        let wanted = (self.timed * share).div_ceil(100);
        let mut seen = 0;
        for (power, count) in &self.durations {
            seen += count;
            if seen >= wanted {
                return 1_u64.checked_shl(power + 1).unwrap_or(u64::MAX);
            }
        }
        0
    }

    fn print(&self) -> Result<(), Box<dyn Error>> {
        let mut table = output::table(&["OUTCOME", "EVENTS", "SHARE"]);
        for (outcome, count) in &self.outcomes {
            table.add_row([escaped(outcome), count.to_string(), share(*count, self.events)]);
        }
        output::print_table(&table)?;
        if !self.rejections.is_empty() {
            output::line("")?;
            let mut table = output::table(&["REJECTED BY", "EVENTS", "SHARE"]);
            for (rule, count) in &self.rejections {
                table.add_row([escaped(rule), count.to_string(), share(*count, self.events)]);
            }
            output::print_table(&table)?;
        }
        if !self.actions.is_empty() {
            output::line("")?;
            let mut table = output::table(&["ACTION", "EVENTS"]);
            for (action, count) in &self.actions {
                table.add_row([escaped(action), count.to_string()]);
            }
            output::print_table(&table)?;
        }
        self.plot()?;
        if self.events > 0 {
            let (half, most) = (self.percentile(50), self.percentile(99));
            let events = output::count(self.events, "event");
            output::line(format_args!("\n{events}, half of them under {half} us, 99 % under {most} us"))?;
        }
        if self.others > 0 {
            output::line(output::count(self.others, "other line"))?;
        }
        Ok(())
    }

    /// Prints a bar for each period: registered, and not registered.
    fn plot(&self) -> io::Result<()> {
        let (Some((first, _)), Some((last, _))) = (self.hours.first_key_value(), self.hours.last_key_value()) else {
            return Ok(());
        };
        let step = nice_step((last - first + 1).div_ceil(BARS));
        let mut bars: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for (hour, (all, rejected)) in &self.hours {
            let bar = bars.entry(hour / step).or_default();
            bar.0 = bar.0.saturating_add(*all);
            bar.1 = bar.1.saturating_add(*rejected);
        }
        let most = bars.values().map(|(all, _)| *all).max().unwrap_or(1).max(1);
        output::line(format_args!(
            "\n{} = registered, {} = not",
            painted("█", &Paint::Good),
            painted("░", &Paint::Bad)
        ))?;
        for bar in first / step..=last / step {
            let (all, rejected) = bars.get(&bar).copied().unwrap_or_default();
            let scaled = |count: u64| usize::try_from(count.saturating_mul(WIDTH).div_ceil(most)).unwrap_or_default();
            let drawn = |sign: &str, count: u64, paint| match scaled(count) {
                0 => String::new(),
                width => painted(&sign.repeat(width), paint),
            };
            let (registered, rejected) =
                (drawn("█", all.saturating_sub(rejected), &Paint::Good), drawn("░", rejected, &Paint::Bad));
            let start = UNIX_EPOCH + Duration::from_millis(bar * step * HOUR);
            let start = humantime::format_rfc3339_seconds(start).to_string();
            let bar = format!("{} {all:>9} {registered}{rejected}", start.get(..13).unwrap_or_default());
            output::line(bar.trim_end())?;
        }
        Ok(())
    }

    fn print_json(&self) -> Result<(), Box<dyn Error>> {
        let hours: Vec<_> = self
            .hours
            .iter()
            .map(|(hour, (all, rejected))| json!({"time_ms": hour * HOUR, "events": all, "not_registered": rejected}))
            .collect();
        output::json(&json!({
            "events": self.events, "other_lines": self.others, "outcomes": self.outcomes, "refused_by": self.rejections,
            "actions": self.actions,
            "policies": self.policies, "p50_us": self.percentile(50), "p99_us": self.percentile(99), "hours": hours,
        }))
    }
}

/// Adds `more` to a count. Names beyond a thousand are counted together: they are not the crate's rules.
fn count(counts: &mut BTreeMap<String, u64>, name: &str, more: u64) {
    let name = if counts.len() < 1000 || counts.contains_key(name) { name } else { "(others)" };
    let count = counts.entry(name.to_owned()).or_default();
    *count = count.saturating_add(more);
}

fn share(count: u64, of: u64) -> String {
    let tenths = (u128::from(count) * 1000 + u128::from(of) / 2).checked_div(of.into()).unwrap_or_default();
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// Returns one, two, three, six or twelve hours, or whole days.
fn nice_step(hours: u64) -> u64 {
    [1, 2, 3, 6, 12].into_iter().find(|step| *step >= hours).unwrap_or_else(|| hours.div_ceil(24) * 24)
}
