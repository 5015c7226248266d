//! A cache of client records.

use std::sync::Arc;
use std::time::Duration;

use super::records::Known;
use crate::cache;
use crate::clock::Clock;

/// The cached records of one `client_id`: one, unless the server gives one id to several registrations.
pub(super) type Records = Arc<[Arc<Known>]>;

/// The maximum time to cache a missing record: one may be written any moment.
const ABSENT: Duration = Duration::from_secs(1);

/// A bounded cache of records. A local change of any client invalidates all of them.
#[derive(Clone)]
pub(super) struct Cache {
    entries: Arc<cache::Cache<Entry>>,
    /// Separate, so that requests with invented names do not evict records.
    absent: Arc<cache::Cache<Absent>>,
    /// Not the registrar's clock: the limits promised to operators are in real time.
    pub(super) clock: Arc<dyn Clock>,
}

#[derive(Clone)]
struct Entry {
    read_at: Duration,
    epoch: u64,
    records: Records,
}

/// A missing record.
#[derive(Clone, Copy)]
pub(super) struct Absent {
    read_at: Duration,
    registrations: u64,
    /// `true` if there is one in another spelling. `None` if that is unknown.
    pub(super) has_other_case: Option<bool>,
}

impl Cache {
    pub(super) fn new(clients: usize, clock: Arc<dyn Clock>) -> Self {
        let entries = Arc::new(cache::Cache::new(clients.max(1)));
        let absent = Arc::new(cache::Cache::new(clients.clamp(1, 1024)));
        Self { entries, absent, clock }
    }

    /// Returns the records that were read at most `max_age` ago.
    pub(super) fn get(&self, client_id: &str, epoch: u64, max_age: Duration) -> Option<Records> {
        let entry = self.entries.get(client_id)?;
        (entry.epoch == epoch && self.age(entry.read_at) < max_age).then_some(entry.records)
    }

    /// Returns a missing record noted at most `max_age` ago, if no client was registered since.
    pub(super) fn absent(&self, client_id: &str, registrations: u64, max_age: Duration) -> Option<Absent> {
        let absent = self.absent.get(client_id)?;
        let is_fresh = absent.registrations == registrations && self.age(absent.read_at) < max_age.min(ABSENT);
        is_fresh.then_some(absent)
    }

    /// Stores the records that were read in epoch `epoch`.
    pub(super) fn put(&self, client_id: &str, epoch: u64, records: &Records) {
        let entry = Entry { read_at: self.clock.monotonic(), epoch, records: Arc::clone(records) };
        self.entries.insert(client_id.to_owned(), entry);
    }

    /// Stores a missing record, with the number of registrations at that time.
    pub(super) fn put_absent(&self, client_id: &str, registrations: u64, has_other_case: Option<bool>) {
        let absent = Absent { read_at: self.clock.monotonic(), registrations, has_other_case };
        self.absent.insert(client_id.to_owned(), absent);
    }

    fn age(&self, read_at: Duration) -> Duration {
        self.clock.monotonic().saturating_sub(read_at)
    }
}
