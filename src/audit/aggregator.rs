//! [`Aggregator`]: sums events that strangers can cause, which prevents floods of the audit log.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::{Event, LifecycleAction, LifecycleEvent, Outcome, Sink};
use crate::client_address::ClientNetwork;
use crate::registration::Field;
use crate::rules::Operation;
use crate::sync::{Mutex, MutexGuard, PoisonError, lock};

/// A sink, and the sums of the current interval.
///
/// The first event of a kind from a source goes to the sink at once. Later ones are counted, and at the end of the interval
/// one event with their number goes there. The number of sums is bounded, and so is the number of lines in
/// each interval: sources beyond the bound are summed together, without the first event.
pub(crate) struct Aggregator {
    sink: Arc<dyn Sink>,
    interval: Duration,
    /// The time at which the sums are due, in milliseconds since 1970; `i64::MAX` without sums.
    due_at: AtomicI64,
    sums: Mutex<Sums>,
}

#[derive(Default)]
struct Sums {
    of_sources: HashMap<(Kind, Option<ClientNetwork>), Sum>,
    /// The sums of the sources without room. There are few kinds: all their parts stand in the program.
    of_others: HashMap<Kind, Sum>,
    /// The number of rejected documents that were written.
    documents: u32,
    /// A thread waits for the end of the interval.
    is_awaited: bool,
}

/// Events of one kind are summed.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Kind {
    /// With the client of an accepted update, so that no other client's change is in the sum.
    Attempt(Operation, Outcome, Option<&'static str>, Option<String>),
    Lifecycle(LifecycleAction, Option<String>, Option<String>, bool),
}

impl Kind {
    /// Returns the kind for sources that are not told apart: clients are not told apart there either.
    fn of_others(self) -> Self {
        match self {
            Self::Attempt(operation, outcome, rule, _) => Self::Attempt(operation, outcome, rule, None),
            kind @ Self::Lifecycle(..) => kind,
        }
    }
}

#[derive(Default)]
struct Sum {
    /// The number of events that went to the sink at once.
    passed: u32,
    /// The sum of the others.
    summary: Option<Summary>,
}

/// Returns `true` for a field whose change has no effect on security.
fn is_informational(name: &str) -> bool {
    Field::of(name.as_bytes()).is_some_and(Field::is_informational)
}

enum Summary {
    Attempt(Box<Event>),
    Lifecycle(Box<LifecycleEvent>),
}

/// The interval of a sum.
const INTERVAL: Duration = Duration::from_secs(60);

/// The number of sources that are told apart in one interval.
const MAX_SOURCES: usize = 256;

/// The number of rejected documents that are written in one interval: each can be a line of six times the largest body. The events of
/// further ones are without the document.
const MAX_DOCUMENTS: u32 = 600;

/// The number of events that go to the sink at once, of a kind that honest clients cause, too (a duplicate, an update, a body
/// that can't be read).
const MAX_COSTLY: u32 = 60;

impl Aggregator {
    pub(crate) fn new(sink: impl Sink) -> Arc<Self> {
        Arc::new(Self::with_interval(sink, INTERVAL))
    }

    fn with_interval(sink: impl Sink, interval: Duration) -> Self {
        Self { sink: Arc::new(sink), interval, due_at: AtomicI64::new(i64::MAX), sums: Mutex::default() }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.sink.is_ready()
    }

    /// Takes the event of an attempt from `source`; `judged` if a rule has looked at it. `named` names the whole network of the
    /// requester, for a sum.
    pub(crate) fn attempt(
        self: &Arc<Self>,
        event: &Event,
        judged: bool,
        source: Option<ClientNetwork>,
        named: impl FnOnce() -> Option<String>,
    ) {
        let now = i64::try_from(event.time_ms).unwrap_or(i64::MAX);
        self.flush_due(now);
        let Some(at_once) = at_once(event, judged) else {
            return match self.without_document(event, now) {
                Some(event) => self.sink.emit(&event),
                None => self.sink.emit(event),
            };
        };
        let is_update = event.operation == Operation::Update;
        let is_update = is_update && matches!(event.outcome, Outcome::Accepted | Outcome::Rewritten);
        let client = event.client_id.clone().filter(|_| is_update);
        let kind = Kind::Attempt(event.operation, event.outcome, event.rule, client);
        let was_summed = self.sum(kind, source, at_once, now, |sum| match &mut sum.summary {
            Some(Summary::Attempt(summary)) => summary.add(event),
            _ => sum.summary = Some(Summary::Attempt(Box::new(event.summary(named())))),
        });
        if !was_summed {
            self.sink.emit(event);
        }
    }

    /// Returns the event without its rejected document, if there were too many of them.
    fn without_document(&self, event: &Event, now: i64) -> Option<Event> {
        if event.outcome != Outcome::Rejected || event.document.is_none() {
            return None;
        }
        let mut sums = lock(&self.sums);
        self.begin(&sums, now);
        sums.documents = sums.documents.saturating_add(1);
        (sums.documents > MAX_DOCUMENTS).then(|| Event { document: None, ..event.clone() })
    }

    /// Begins an interval with its first event.
    fn begin(&self, sums: &Sums, now: i64) {
        if sums.of_sources.is_empty() && sums.documents == 0 {
            let interval = i64::try_from(self.interval.as_millis()).unwrap_or(i64::MAX);
            self.due_at.store(now.saturating_add(interval), Ordering::Relaxed);
        }
    }

    /// Takes a lifecycle event that a request from `source` caused.
    pub(crate) fn lifecycle(
        self: &Arc<Self>,
        event: &LifecycleEvent,
        source: Option<ClientNetwork>,
        named: impl FnOnce() -> Option<String>,
    ) {
        let now = event.time_ms;
        self.flush_due(now);
        let at_once = match event.action {
            // A change that matters is never summed: an attacker would hide it among others of their own.
            LifecycleAction::Updated if event.changed.iter().all(|name| is_informational(name)) => MAX_COSTLY,
            action if action.is_at_will() => 1,
            _ => return self.sink.emit_lifecycle(event),
        };
        let kind = Kind::Lifecycle(event.action, event.subject.clone(), event.reason.clone(), event.enforced);
        let was_summed = self.sum(kind, source, at_once, now, |sum| match &mut sum.summary {
            Some(Summary::Lifecycle(summary)) => summary.add(event),
            _ => sum.summary = Some(Summary::Lifecycle(Box::new(event.summary(named())))),
        });
        if !was_summed {
            self.sink.emit_lifecycle(event);
        }
    }

    /// Sums the event, unless it goes to the sink at once. Returns whether it was summed.
    fn sum(
        self: &Arc<Self>,
        kind: Kind,
        source: Option<ClientNetwork>,
        at_once: u32,
        now: i64,
        add: impl FnOnce(&mut Sum),
    ) -> bool {
        let mut sums = lock(&self.sums);
        self.begin(&sums, now);
        let key = (kind, source);
        let (sum, at_once) = if sums.of_sources.len() < MAX_SOURCES || sums.of_sources.contains_key(&key) {
            (sums.of_sources.entry(key).or_default(), at_once)
        } else {
            // Many sources that cost an attacker nothing take no event from others that cost something.
            let at_once = if at_once > 1 { at_once * 10 } else { 0 };
            (sums.of_others.entry(key.0.of_others()).or_default(), at_once)
        };
        if sum.passed < at_once {
            sum.passed += 1;
            return false;
        }
        add(sum);
        self.await_end(sums);
        true
    }

    /// Has a thread write the sums at the end of the interval, in case no other event comes.
    fn await_end(self: &Arc<Self>, mut sums: MutexGuard<'_, Sums>) {
        if std::mem::replace(&mut sums.is_awaited, true) {
            return;
        }
        drop(sums);
        let (aggregator, interval) = (Arc::downgrade(self), self.interval);
        let wait = move || {
            loop {
                std::thread::sleep(interval);
                let Some(aggregator) = aggregator.upgrade() else { return };
                if !aggregator.flush_interval() {
                    return;
                }
            }
        };
        if std::thread::Builder::new().name("tower-dcr-audit-sums".into()).spawn(wait).is_err() {
            // The next event writes them, or `drop`.
            lock(&self.sums).is_awaited = false;
        }
    }

    fn flush_due(&self, now: i64) {
        if now >= self.due_at.load(Ordering::Relaxed) {
            let sums = self.take(&mut lock(&self.sums));
            self.emit(sums);
        }
    }

    /// Writes the sums now.
    pub(crate) fn flush(&self) {
        let sums = self.take(&mut lock(&self.sums));
        self.emit(sums);
    }

    /// Writes the sums of an interval. Returns whether there were any, and the thread waits for the next.
    fn flush_interval(&self) -> bool {
        let mut held = lock(&self.sums);
        let sums = self.take(&mut held);
        held.is_awaited = !sums.is_empty();
        drop(held);
        let goes_on = !sums.is_empty();
        self.emit(sums);
        goes_on
    }

    fn take(&self, sums: &mut Sums) -> Vec<Summary> {
        self.due_at.store(i64::MAX, Ordering::Relaxed);
        sums.documents = 0;
        let (of_sources, of_others) = (std::mem::take(&mut sums.of_sources), std::mem::take(&mut sums.of_others));
        let others = of_others.into_values().filter_map(|sum| {
            let mut summary = sum.summary?;
            match &mut summary {
                Summary::Attempt(event) => event.requester = None,
                Summary::Lifecycle(event) => event.source = None,
            }
            Some(summary)
        });
        of_sources.into_values().filter_map(|sum| sum.summary).chain(others).collect()
    }

    fn emit(&self, mut sums: Vec<Summary>) {
        sums.sort_by_key(|summary| match summary {
            Summary::Attempt(event) => i64::try_from(event.time_ms).unwrap_or(i64::MAX),
            Summary::Lifecycle(event) => event.time_ms,
        });
        for summary in sums {
            match summary {
                Summary::Attempt(event) => self.sink.emit(&event),
                Summary::Lifecycle(event) => self.sink.emit_lifecycle(&event),
            }
        }
    }
}

/// Returns how many events like this one go to the sink at once, before the others are summed; `None` for all of them.
/// Attempts that a rule has judged have cost budget of the rate limits, apart from duplicates and accepted updates. A rejection
/// that found the budgets of its source spent is not `judged`.
fn at_once(event: &Event, judged: bool) -> Option<u32> {
    // A token for one client can be guessed for another: 401, 403 and 404 mean that only the credential was checked.
    let is_management = match event.operation {
        Operation::Create | Operation::Document => false,
        Operation::Update => matches!(event.status, Some(401 | 403 | 404 | 405)),
        Operation::Read | Operation::Delete => true,
    };
    match event.outcome {
        Outcome::Abandoned => None,
        Outcome::Accepted | Outcome::Rewritten => (event.operation == Operation::Update).then_some(MAX_COSTLY),
        Outcome::Limited => Some(1),
        _ if is_management || (!judged && event.rule.is_some()) => Some(1),
        Outcome::Deduplicated => Some(MAX_COSTLY),
        _ if event.rules.is_empty() => Some(MAX_COSTLY),
        _ => None,
    }
}

impl Drop for Aggregator {
    fn drop(&mut self) {
        let mut sums = std::mem::take(self.sums.get_mut().unwrap_or_else(PoisonError::into_inner));
        let sums = self.take(&mut sums);
        self.emit(sums);
    }
}

crate::text::debug_fields!(Aggregator {});

#[cfg(test)]
mod tests;
