//! Records that were read a moment ago.

use std::sync::Arc;
use std::time::Duration;

use super::Known;
use crate::clock::{Clock, CoarseClock};

/// The records of one `client_id`, as they were read: one, unless the server gives one id to several registrations.
pub(super) type Records = Arc<[Arc<Known>]>;

/// For how long it is remembered that there is no record, at most: one may be written any moment.
const ABSENT: Duration = Duration::from_secs(1);

/// At most so many records, and none from before somebody on this node changed a client.
#[derive(Clone)]
pub(super) struct Cache {
    max_age: Duration,
    entries: Arc<quick_cache::sync::Cache<String, Entry>>,
    /// Apart, so that nobody who makes names up drives the records out.
    absent: Arc<quick_cache::sync::Cache<String, Absent>>,
    /// Not the registrar's: what an operator is promised is measured in real time.
    clock: CoarseClock,
}

#[derive(Clone)]
struct Entry {
    read_at: Duration,
    epoch: u64,
    records: Records,
}

/// That there is no record.
#[derive(Clone, Copy)]
pub(super) struct Absent {
    read_at: Duration,
    registrations: u64,
    /// Whether there is one in another spelling, if somebody has asked.
    pub(super) has_other_case: Option<bool>,
}

impl Cache {
    pub(super) fn new(max_age: Duration, clients: usize) -> Self {
        let entries = Arc::new(quick_cache::sync::Cache::new(clients.max(1)));
        let absent = Arc::new(quick_cache::sync::Cache::new(clients.clamp(1, 1024)));
        Self { max_age, entries, absent, clock: CoarseClock::new() }
    }

    pub(super) fn max_age(&self) -> Duration {
        self.max_age
    }

    /// Returns the records that were read so long ago at most.
    pub(super) fn get(&self, client_id: &str, epoch: u64, max_age: Duration) -> Option<Records> {
        let entry = self.entries.get(client_id)?;
        (entry.epoch == epoch && self.age(entry.read_at) < max_age).then_some(entry.records)
    }

    /// Returns that there was no record a moment ago, and no registration since.
    pub(super) fn absent(&self, client_id: &str, registrations: u64, max_age: Duration) -> Option<Absent> {
        let absent = self.absent.get(client_id)?;
        let is_fresh = absent.registrations == registrations && self.age(absent.read_at) < max_age.min(ABSENT);
        is_fresh.then_some(absent)
    }

    /// Keeps the records that were read when the epoch was `epoch`. Clients in the field have short names; a longer one is not
    /// kept.
    pub(super) fn put(&self, client_id: &str, epoch: u64, records: &Records) {
        if self.keeps(client_id) {
            let entry = Entry { read_at: self.clock.monotonic(), epoch, records: Arc::clone(records) };
            self.entries.insert(client_id.to_owned(), entry);
        }
    }

    /// Keeps that there was no record when so many clients had been registered.
    pub(super) fn put_absent(&self, client_id: &str, registrations: u64, has_other_case: Option<bool>) {
        if self.keeps(client_id) {
            let absent = Absent { read_at: self.clock.monotonic(), registrations, has_other_case };
            self.absent.insert(client_id.to_owned(), absent);
        }
    }

    fn keeps(&self, client_id: &str) -> bool {
        self.max_age > Duration::ZERO && client_id.len() <= 512
    }

    fn age(&self, read_at: Duration) -> Duration {
        self.clock.monotonic().saturating_sub(read_at)
    }
}
