//! The outcomes by kind of caller, as a table.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;
use tower_dcr_sqlx::PostgresLedger;

use crate::check;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Newcomer,
    Repeater,
    SignIn,
    Attacker,
}

#[derive(Default)]
pub(crate) struct Tally {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kinds: BTreeMap<Kind, Counts>,
    /// The number of registrations that each node has answered.
    attempts: HashMap<String, u64>,
    /// The clients that were given out; and in the order in which they were.
    given: BTreeSet<String>,
    order: Vec<String>,
    wrong: Vec<String>,
    day: String,
}

#[derive(Default)]
struct Counts {
    statuses: BTreeMap<u16, u64>,
    unanswered: u64,
    /// Of the last moments.
    times: Vec<Duration>,
}

/// The number of durations kept for the quantiles.
const TIMES: usize = 4096;

impl Tally {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn answered(&self, kind: Kind, status: u16, time: Duration) {
        let mut state = self.state();
        let counts = state.kinds.entry(kind).or_default();
        *counts.statuses.entry(status).or_default() += 1;
        if counts.times.len() >= TIMES {
            counts.times.drain(..TIMES / 2);
        }
        counts.times.push(time);
    }

    pub(crate) fn unanswered(&self, kind: Kind) {
        self.state().kinds.entry(kind).or_default().unanswered += 1;
    }

    pub(crate) fn attempt(&self, node: &str) {
        let mut state = self.state();
        match state.attempts.get_mut(node) {
            Some(attempts) => *attempts += 1,
            None => _ = state.attempts.insert(node.to_owned(), 1),
        }
    }

    /// Notes a client that was given out, which must be another one each time.
    pub(crate) fn given(&self, client: String) {
        let mut state = self.state();
        if state.given.insert(client.clone()) {
            state.order.push(client);
        } else {
            state.wrong.push(format!("{client} was given out twice"));
        }
    }

    pub(crate) fn wrong(&self, what: String) {
        self.state().wrong.push(what);
    }

    /// Says what kind of day it is.
    pub(crate) fn day(&self, day: &str) {
        day.clone_into(&mut self.state().day);
    }

    /// One of those that were given out lately.
    pub(crate) fn some_client(&self) -> Option<String> {
        let state = self.state();
        let recent = state.order.len().checked_sub(1)?.min(200);
        let index = state.order.len() - 1 - rand::rng().random_range(0..=recent);
        state.order.get(index).cloned()
    }

    pub(crate) fn attempts(&self, node: &str) -> u64 {
        self.state().attempts.get(node).copied().unwrap_or_default()
    }

    pub(crate) fn clients(&self) -> BTreeSet<String> {
        self.state().given.clone()
    }

    pub(crate) fn faults(&self) -> Vec<String> {
        let state = self.state();
        let unanswered = state.kinds.iter().filter(|(_, counts)| counts.unanswered > 0);
        let unanswered = unanswered.map(|(kind, counts)| format!("{kind:?}: {} without an answer", counts.unanswered));
        state.wrong.iter().cloned().chain(unanswered).collect()
    }

    /// A row for each kind of caller, and how many clients are stored.
    pub(crate) fn table(&self, stored: Option<u64>) -> String {
        let state = self.state();
        let mut table = format!(
            "{:10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10} {:>10}\n",
            "", "2xx", "400", "401", "429", "503", "p50", "p99"
        );
        for (kind, counts) in &state.kinds {
            let count =
                |statuses: &[u16]| -> u64 { statuses.iter().filter_map(|status| counts.statuses.get(status)).sum() };
            let mut times = counts.times.clone();
            times.sort_unstable();
            let quantile = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
            let _infallible = writeln!(
                table,
                "{:10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10} {:>10}",
                format!("{kind:?}"),
                count(&[200, 201]),
                count(&[400]),
                count(&[401]),
                count(&[429]),
                count(&[503]),
                format!("{:.1?}", quantile(50)),
                format!("{:.1?}", quantile(99)),
            );
        }
        let stored = stored.map_or("unknown".into(), |stored| stored.to_string());
        let _infallible = writeln!(table, "clients stored: {stored}, given out: {}  {}", state.given.len(), state.day);
        table
    }
}

/// Shows the table each second, in place where that can be done.
pub(crate) async fn show(tally: Arc<Tally>, ledger: PostgresLedger, quiet: bool) {
    let terminal = std::io::stdout().is_terminal();
    let start = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_secs(if terminal { 1 } else { 10 })).await;
        if quiet {
            continue;
        }
        let stored = tokio::time::timeout(Duration::from_millis(500), check::stored(&ledger)).await;
        let table = tally.table(stored.ok().and_then(Result::ok));
        let clear = if terminal { "\x1b[2J\x1b[H" } else { "" };
        println!("{clear}after {} s\n{table}", start.elapsed().as_secs());
    }
}
