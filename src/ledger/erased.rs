//! A ledger of whatever type, as one, and watched.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_timer::Delay;

use super::{
    Block, Client, ClientKey, Filter, Fingerprint, Group, Grouping, Insertion, Ledger, LedgerError, Replacement,
    Status, Work,
};
use crate::breaker::{Unanswered, Watch};

type Answering<'a, T> = Pin<Box<dyn Future<Output = Result<T, LedgerError>> + Send + 'a>>;

/// [`Ledger`] with boxed futures: layers name no type of ledger.
pub(crate) trait ErasedLedger: Send + Sync {
    /// How long what a request waits for may take.
    fn set_deadline(&self, deadline: Duration);
    fn insert<'a>(&'a self, client: &'a Client, max_live: Option<u64>) -> Answering<'a, Insertion>;
    fn replace<'a>(&'a self, client: &'a Client) -> Answering<'a, Replacement>;
    fn remove<'a>(&'a self, client: &'a Client) -> Answering<'a, bool>;
    fn get(&self, key: ClientKey) -> Answering<'_, Option<Client>>;
    fn find<'a>(&'a self, client_id: &'a str) -> Answering<'a, Option<Client>>;
    fn find_all<'a>(&'a self, client_id: &'a str, limit: u32) -> Answering<'a, Vec<Client>>;
    fn find_variant<'a>(&'a self, client_id: &'a str, variant: &'a str) -> Answering<'a, Option<Client>>;
    fn has_in_other_case<'a>(&'a self, client_id: &'a str) -> Answering<'a, bool>;
    fn find_repeat<'a>(&'a self, repeat_key: &'a str) -> Answering<'a, Option<Client>>;
    fn page<'a>(&'a self, filter: &'a Filter, before: Option<ClientKey>, limit: u32) -> Answering<'a, Vec<Client>>;
    fn due(&self, work: Work, limit: u32) -> Answering<'_, Vec<Client>>;
    fn counts(&self) -> Answering<'_, Vec<(Status, u64)>>;
    fn timeline(&self, since: i64, step: i64) -> Answering<'_, Vec<(i64, u64)>>;
    fn groups(&self, by: Grouping, limit: u32) -> Answering<'_, Vec<Group>>;
    fn block<'a>(&'a self, block: &'a Block) -> Answering<'a, bool>;
    fn unblock<'a>(&'a self, fingerprint: &'a Fingerprint) -> Answering<'a, bool>;
    fn find_block<'a>(&'a self, fingerprints: &'a [Fingerprint]) -> Answering<'a, Option<Block>>;
    fn blocks(&self, before: Option<i64>, limit: u32) -> Answering<'_, Vec<Block>>;
    fn count_use<'a>(&'a self, token: &'a str, limit: u64) -> Answering<'a, bool>;
    fn return_use<'a>(&'a self, token: &'a str) -> Answering<'a, ()>;
    fn put_pushed<'a>(&'a self, request: &'a str, client_id: &'a str, expires_at: i64) -> Answering<'a, ()>;
    fn find_pushed<'a>(&'a self, request: &'a str, now: i64) -> Answering<'a, Option<String>>;
    fn purge_pushed(&self, now: i64) -> Answering<'_, u64>;
    fn trim_elsewhere(&self, keep: u64) -> Answering<'_, u64>;
}

/// A ledger, and how it is. What requests wait for has a deadline and a breaker; reports and maintenance, which may take
/// long, have neither.
///
/// Reads and writes have a breaker each: a database that takes no writes, as in a failover, can still say which clients may
/// pass.
#[derive(Debug)]
pub(crate) struct AnyLedger<L> {
    ledger: L,
    reads: Watch,
    writes: Watch,
    deadline_ms: AtomicU64,
}

impl<L: Ledger> AnyLedger<L> {
    pub(crate) fn new(ledger: L, deadline: Duration) -> Self {
        let any = Self {
            ledger,
            reads: Watch::over("ledger_reads"),
            writes: Watch::over("ledger_writes"),
            deadline_ms: AtomicU64::new(0),
        };
        any.keep(deadline);
        any
    }

    fn keep(&self, deadline: Duration) {
        self.deadline_ms.store(u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Asks within the deadline, if the ledger is not ill.
    fn watched<'a, T: Send + 'a>(
        &'a self,
        watch: &'a Watch,
        asking: impl Future<Output = Result<T, LedgerError>> + Send + 'a,
    ) -> Answering<'a, T> {
        Box::pin(async move {
            let deadline = Duration::from_millis(self.deadline_ms.load(Ordering::Relaxed));
            watch.ask(within(deadline, asking), LedgerError::is_outage).await.map_err(|unanswered| match unanswered {
                Unanswered::Failed { error, .. } => error,
                Unanswered::Skipped { .. } => LedgerError::outage("it is ill, and is let alone for now"),
            })
        })
    }
}

/// The timer is set once there is something to wait for.
async fn within<T>(deadline: Duration, asking: impl Future<Output = Result<T, LedgerError>>) -> Result<T, LedgerError> {
    let (mut asking, mut timer) = (pin!(asking), None);
    std::future::poll_fn(|cx| match asking.as_mut().poll(cx) {
        Poll::Pending => pin!(timer.get_or_insert_with(|| Delay::new(deadline)))
            .poll(cx)
            .map(|()| Err(LedgerError::outage(format!("no answer within {deadline:?}")))),
        answered @ Poll::Ready(_) => answered,
    })
    .await
}

impl<L: Ledger> ErasedLedger for AnyLedger<L> {
    fn set_deadline(&self, deadline: Duration) {
        self.keep(deadline);
    }

    fn insert<'a>(&'a self, client: &'a Client, max_live: Option<u64>) -> Answering<'a, Insertion> {
        self.watched(&self.writes, Ledger::insert(&self.ledger, client, max_live))
    }

    fn replace<'a>(&'a self, client: &'a Client) -> Answering<'a, Replacement> {
        self.watched(&self.writes, Ledger::replace(&self.ledger, client))
    }

    fn remove<'a>(&'a self, client: &'a Client) -> Answering<'a, bool> {
        self.watched(&self.writes, Ledger::remove(&self.ledger, client))
    }

    fn get(&self, key: ClientKey) -> Answering<'_, Option<Client>> {
        self.watched(&self.reads, Ledger::get(&self.ledger, key))
    }

    fn find<'a>(&'a self, client_id: &'a str) -> Answering<'a, Option<Client>> {
        self.watched(&self.reads, Ledger::find(&self.ledger, client_id))
    }

    fn find_all<'a>(&'a self, client_id: &'a str, limit: u32) -> Answering<'a, Vec<Client>> {
        self.watched(&self.reads, Ledger::find_all(&self.ledger, client_id, limit))
    }

    fn find_variant<'a>(&'a self, client_id: &'a str, variant: &'a str) -> Answering<'a, Option<Client>> {
        self.watched(&self.reads, Ledger::find_variant(&self.ledger, client_id, variant))
    }

    fn has_in_other_case<'a>(&'a self, client_id: &'a str) -> Answering<'a, bool> {
        self.watched(&self.reads, Ledger::has_in_other_case(&self.ledger, client_id))
    }

    fn find_repeat<'a>(&'a self, repeat_key: &'a str) -> Answering<'a, Option<Client>> {
        self.watched(&self.reads, Ledger::find_repeat(&self.ledger, repeat_key))
    }

    fn page<'a>(&'a self, filter: &'a Filter, before: Option<ClientKey>, limit: u32) -> Answering<'a, Vec<Client>> {
        Box::pin(Ledger::page(&self.ledger, filter, before, limit))
    }

    fn due(&self, work: Work, limit: u32) -> Answering<'_, Vec<Client>> {
        Box::pin(Ledger::due(&self.ledger, work, limit))
    }

    fn counts(&self) -> Answering<'_, Vec<(Status, u64)>> {
        Box::pin(Ledger::counts(&self.ledger))
    }

    fn timeline(&self, since: i64, step: i64) -> Answering<'_, Vec<(i64, u64)>> {
        Box::pin(Ledger::timeline(&self.ledger, since, step))
    }

    fn groups(&self, by: Grouping, limit: u32) -> Answering<'_, Vec<Group>> {
        Box::pin(Ledger::groups(&self.ledger, by, limit))
    }

    fn block<'a>(&'a self, block: &'a Block) -> Answering<'a, bool> {
        self.watched(&self.writes, Ledger::block(&self.ledger, block))
    }

    fn unblock<'a>(&'a self, fingerprint: &'a Fingerprint) -> Answering<'a, bool> {
        self.watched(&self.writes, Ledger::unblock(&self.ledger, fingerprint))
    }

    fn find_block<'a>(&'a self, fingerprints: &'a [Fingerprint]) -> Answering<'a, Option<Block>> {
        self.watched(&self.reads, Ledger::find_block(&self.ledger, fingerprints))
    }

    fn blocks(&self, before: Option<i64>, limit: u32) -> Answering<'_, Vec<Block>> {
        Box::pin(Ledger::blocks(&self.ledger, before, limit))
    }

    fn count_use<'a>(&'a self, token: &'a str, limit: u64) -> Answering<'a, bool> {
        self.watched(&self.writes, Ledger::count_use(&self.ledger, token, limit))
    }

    fn return_use<'a>(&'a self, token: &'a str) -> Answering<'a, ()> {
        self.watched(&self.writes, Ledger::return_use(&self.ledger, token))
    }

    fn put_pushed<'a>(&'a self, request: &'a str, client_id: &'a str, expires_at: i64) -> Answering<'a, ()> {
        self.watched(&self.writes, Ledger::put_pushed(&self.ledger, request, client_id, expires_at))
    }

    fn find_pushed<'a>(&'a self, request: &'a str, now: i64) -> Answering<'a, Option<String>> {
        self.watched(&self.reads, Ledger::find_pushed(&self.ledger, request, now))
    }

    fn purge_pushed(&self, now: i64) -> Answering<'_, u64> {
        Box::pin(Ledger::purge_pushed(&self.ledger, now))
    }

    fn trim_elsewhere(&self, keep: u64) -> Answering<'_, u64> {
        self.watched(&self.writes, Ledger::trim_elsewhere(&self.ledger, keep))
    }
}
