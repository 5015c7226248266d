//! Records that were read a moment ago.

use std::sync::Arc;
use std::time::Duration;

use super::Known;
use crate::clock::{Clock, CoarseClock};

/// At most so many records, and none from before somebody on this node changed a client.
#[derive(Clone)]
pub(super) struct Cache {
    max_age: Duration,
    entries: Arc<quick_cache::sync::Cache<String, Entry>>,
    /// Not the registrar's: what an operator is promised is measured in real time.
    clock: CoarseClock,
}

#[derive(Clone)]
struct Entry {
    read_at: Duration,
    epoch: u64,
    known: Arc<Known>,
}

impl Cache {
    pub(super) fn new(max_age: Duration, clients: usize) -> Self {
        Self { max_age, entries: Arc::new(quick_cache::sync::Cache::new(clients.max(1))), clock: CoarseClock::new() }
    }

    pub(super) fn max_age(&self) -> Duration {
        self.max_age
    }

    /// What was read so long ago at most.
    pub(super) fn get(&self, client_id: &str, epoch: u64, max_age: Duration) -> Option<Arc<Known>> {
        let entry = self.entries.get(client_id)?;
        let age = self.clock.monotonic().saturating_sub(entry.read_at);
        (entry.epoch == epoch && age < max_age).then_some(entry.known)
    }

    /// Keeps what was read when the epoch was `epoch`. Clients in the field have short names; a longer one is not kept.
    pub(super) fn put(&self, client_id: &str, epoch: u64, known: Arc<Known>) {
        if self.max_age > Duration::ZERO && client_id.len() <= 512 {
            let entry = Entry { read_at: self.clock.monotonic(), epoch, known };
            self.entries.insert(client_id.to_owned(), entry);
        }
    }
}
