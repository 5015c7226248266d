//! [`ErasedLedger`]: a ledger of any type, with timeouts and circuit breakers.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_timer::Delay;

use super::{
    Block, Blocks, Client, ClientKey, Evictable, Filter, Fingerprint, Group, Grouping, Insertion, LargestSource,
    Ledger, LedgerError, PushedRequests, Replacement, Status, TokenUses, Work,
};
use crate::circuit_breaker::CircuitBreaker;

type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, LedgerError>> + Send + 'a>>;

/// A ledger with its health. Requests wait for reads and writes, which have a deadline and a circuit breaker; reports and
/// maintenance may take long, and have neither.
///
/// Reads and writes have a breaker each: during a failover, a database that takes no writes can still answer reads.
#[derive(Debug)]
pub(crate) struct WatchedLedger<L> {
    ledger: L,
    reads: CircuitBreaker,
    writes: CircuitBreaker,
    deadline_ms: AtomicU64,
}

impl<L: Ledger> WatchedLedger<L> {
    pub(crate) fn new(ledger: L, deadline: Duration) -> Self {
        Self {
            ledger,
            reads: CircuitBreaker::new("ledger_reads"),
            writes: CircuitBreaker::new("ledger_writes"),
            deadline_ms: AtomicU64::new(saturating_ms(deadline)),
        }
    }

    /// Sends the request with a deadline, unless the circuit breaker is open.
    fn watched<'a, T: Send + 'a>(
        &'a self,
        breaker: &'a CircuitBreaker,
        request: impl Future<Output = Result<T, LedgerError>> + Send + 'a,
    ) -> Reply<'a, T> {
        Box::pin(async move {
            let deadline = Duration::from_millis(self.deadline_ms.load(Ordering::Relaxed));
            let called = breaker.call(within(deadline, request), |error| error.is_outage().then_some(error as _)).await;
            called.map_err(|called| called.error.unwrap_or_else(|| LedgerError::outage("circuit breaker open")))
        })
    }
}

fn saturating_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Starts the timer once the request has to wait.
async fn within<T>(
    deadline: Duration,
    request: impl Future<Output = Result<T, LedgerError>>,
) -> Result<T, LedgerError> {
    let (mut request, mut timer) = (pin!(request), None);
    std::future::poll_fn(|cx| match request.as_mut().poll(cx) {
        Poll::Pending => pin!(timer.get_or_insert_with(|| Delay::new(deadline)))
            .poll(cx)
            .map(|()| Err(LedgerError::outage(format!("no answer within {deadline:?}")))),
        answered @ Poll::Ready(_) => answered,
    })
    .await
}

macro_rules! send {
    (read, $watched:expr, $request:expr) => {
        $watched.watched(&$watched.reads, $request)
    };
    (write, $watched:expr, $request:expr) => {
        $watched.watched(&$watched.writes, $request)
    };
    // Has no deadline.
    (report, $watched:expr, $request:expr) => {
        Box::pin($request)
    };
}

/// Declares [`ErasedLedger`], and implements it for every watched ledger. Each row has the kind of request, the trait and
/// the method.
macro_rules! erase {
    ($($kind:ident $part:ident::$method:ident($($name:ident: $type:ty),*) -> $output:ty;)*) => {
        /// [`Ledger`] with boxed futures, so that layers name no type of ledger.
        #[expect(clippy::elidable_lifetime_names, reason = "arguments of other rows have this lifetime")]
        pub(crate) trait ErasedLedger: Send + Sync {
            /// Sets the time limit for reads and writes.
            fn set_deadline(&self, deadline: Duration);
            $(fn $method<'a>(&'a self, $($name: $type),*) -> Reply<'a, $output>;)*
        }

        #[expect(clippy::elidable_lifetime_names, reason = "arguments of other rows have this lifetime")]
        impl<L: Ledger> ErasedLedger for WatchedLedger<L> {
            fn set_deadline(&self, deadline: Duration) {
                self.deadline_ms.store(saturating_ms(deadline), Ordering::Relaxed);
            }

            $(fn $method<'a>(&'a self, $($name: $type),*) -> Reply<'a, $output> {
                send!($kind, self, $part::$method(&self.ledger, $($name),*))
            })*
        }
    };
}

erase! {
    write Ledger::insert(client: &'a Client, max_live: Option<u64>) -> Insertion;
    write Ledger::replace(client: &'a Client) -> Replacement;
    write Ledger::remove(client: &'a Client) -> bool;
    read Ledger::get(key: ClientKey) -> Option<Client>;
    read Ledger::find(client_id: &'a str) -> Option<Client>;
    read Ledger::find_by_dedup_key(dedup_key: &'a str) -> Option<Client>;
    report Ledger::page(filter: &'a Filter, before: Option<ClientKey>, limit: u32) -> Vec<Client>;
    report Ledger::due(work: Work, limit: u32) -> Vec<Client>;
    read Ledger::find_all(client_id: &'a str, limit: u32) -> Vec<Client>;
    read Ledger::find_variant(client_id: &'a str, variant: &'a str) -> Option<Client>;
    read Ledger::has_in_other_case(client_id: &'a str) -> bool;
    read Ledger::largest_source(of: Evictable, limit: u32) -> LargestSource;
    write Ledger::trim_spent(before: i64, keep: u64) -> u64;
    read Ledger::surplus_documents(keep: u64, limit: u32) -> Vec<Client>;
    write Ledger::trim_elsewhere(keep: u64) -> u64;
    write Blocks::block(block: &'a Block) -> bool;
    write Blocks::unblock(fingerprint: &'a Fingerprint) -> bool;
    read Blocks::find_block(fingerprints: &'a [Fingerprint]) -> Option<Block>;
    read Blocks::blocks(before: Option<i64>, limit: u32) -> Vec<Block>;
    write TokenUses::count_use(token: &'a str, limit: u64) -> bool;
    write TokenUses::return_use(token: &'a str) -> ();
    write PushedRequests::put_pushed(request: &'a str, client_id: &'a str, expires_at: i64) -> ();
    read PushedRequests::find_pushed(request: &'a str, now: i64) -> Option<String>;
    report PushedRequests::purge_pushed(now: i64) -> u64;
    report Ledger::counts() -> Vec<(Status, u64)>;
    report Ledger::timeline(since: i64, step: i64) -> Vec<(i64, u64)>;
    report Ledger::groups(by: Grouping, limit: u32) -> Vec<Group>;
}
