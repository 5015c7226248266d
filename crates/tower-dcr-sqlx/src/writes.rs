//! [`Writes`]: changes that share a transaction.

use std::collections::VecDeque;
use std::error::Error;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use sqlx::pool::PoolConnection;
use sqlx::{ColumnIndex, Connection, Database, Decode, Encode, Executor, IntoArguments, Pool, Type};
use tokio::sync::oneshot;
use tower_dcr::clients::LedgerError;

use crate::changes::{Answer, Change, run_all};
use crate::sql::{Dialect, failed};

/// The largest number of changes in one transaction: other processes wait for its end.
const MAX_MEMBERS: usize = 256;

/// Waiting changes, and the task that makes them.
///
/// A durable commit takes as long as the disk takes to flush, for one change as for a hundred. So there is one transaction at a
/// time, and changes that arrive meanwhile share the next one. Each is answered after the commit.
pub(crate) struct Writes<DB: Database> {
    pool: Pool<DB>,
    queue: Mutex<Queue<DB>>,
}

struct Queue<DB: Database> {
    waiting: VecDeque<Member<DB>>,
    is_running: bool,
}

struct Member<DB: Database> {
    change: Change<DB>,
    /// Closed when the caller waits no longer.
    caller: oneshot::Sender<Result<Answer, LedgerError>>,
}

impl<DB> Writes<DB>
where
    DB: Dialect,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'c> &'c str: ColumnIndex<DB::Row>,
    for<'q> i64: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> String: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB>,
    for<'q> Option<String>: Encode<'q, DB>,
{
    pub(crate) fn new(pool: Pool<DB>) -> Arc<Self> {
        Arc::new(Self { pool, queue: Mutex::new(Queue { waiting: VecDeque::new(), is_running: false }) })
    }

    /// Makes the change, and returns its answer once it is durable. A caller that waits no longer cancels a change that has
    /// not begun.
    pub(crate) async fn make(self: &Arc<Self>, change: Change<DB>) -> Result<Answer, LedgerError> {
        let (caller, committed) = oneshot::channel();
        {
            let mut queue = lock(&self.queue);
            queue.waiting.push_back(Member { change, caller });
            if !queue.is_running {
                queue.is_running = true;
                tokio::spawn(Running(Some(Arc::clone(self))).run());
            }
        }
        committed.await.unwrap_or_else(|_| Err(LedgerError::outage("the runtime of the transaction has ended")))
    }

    /// Takes the members of the next transaction.
    fn next(&self) -> Option<Vec<Member<DB>>> {
        let mut queue = lock(&self.queue);
        let mut members = Vec::with_capacity(queue.waiting.len().min(MAX_MEMBERS));
        while members.len() < MAX_MEMBERS
            && let Some(member) = queue.waiting.pop_front()
        {
            if !member.caller.is_closed() {
                members.push(member);
            }
        }
        queue.is_running = !members.is_empty();
        queue.is_running.then_some(members)
    }

    /// Makes the changes together; or, if one of them fails, each alone.
    async fn make_all(&self, members: Vec<Member<DB>>) {
        let (changes, mut callers): (Vec<_>, Vec<_>) =
            members.into_iter().map(|member| (member.change, member.caller)).unzip();
        match unless_abandoned(self.together(&changes), &mut callers).await {
            None => {}
            Some(End::RolledBack(_)) if changes.len() > 1 => {
                for (change, mut caller) in changes.iter().zip(callers) {
                    let alone = self.together(std::slice::from_ref(change));
                    if let Some(end) = unless_abandoned(alone, std::slice::from_mut(&mut caller)).await {
                        end.tell([caller]);
                    }
                }
            }
            Some(end) => end.tell(callers),
        }
    }

    /// Makes the changes in one transaction.
    async fn together(&self, changes: &[Change<DB>]) -> End {
        match self.pool.acquire().await {
            Ok(mut connection) => transact(&mut connection, changes).await,
            Err(error) => End::Failed(failed(error)),
        }
    }
}

/// What became of a transaction.
enum End {
    /// An answer to each member.
    Committed(Vec<Answer>),
    /// Nothing has changed, and another transaction may succeed.
    RolledBack(LedgerError),
    /// Another transaction would fail, too, or would repeat changes: the commit may have reached the database.
    Failed(LedgerError),
}

impl End {
    fn tell(self, callers: impl IntoIterator<Item = oneshot::Sender<Result<Answer, LedgerError>>>) {
        // A caller that waits no longer needs no answer.
        match self {
            Self::Committed(answers) => {
                callers.into_iter().zip(answers).for_each(|(caller, answer)| _ = caller.send(Ok(answer)));
            }
            Self::RolledBack(error) | Self::Failed(error) => {
                callers.into_iter().for_each(|caller| _ = caller.send(Err(copy(&error))));
            }
        }
    }
}

async fn transact<DB>(connection: &mut PoolConnection<DB>, changes: &[Change<DB>]) -> End
where
    DB: Dialect,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'c> &'c str: ColumnIndex<DB::Row>,
    for<'q> i64: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> String: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB>,
    for<'q> Option<String>: Encode<'q, DB>,
{
    let mut transaction = match connection.begin_with(DB::BEGIN).await {
        Ok(transaction) => transaction,
        Err(error) => return End::Failed(failed(error)),
    };
    match run_all(&mut transaction, changes).await {
        Ok(answers) => {
            if let Err(error) = transaction.commit().await {
                connection.close_on_drop();
                return End::Failed(failed(error));
            }
            End::Committed(answers)
        }
        Err(error) => {
            if transaction.rollback().await.is_err() {
                // The database has rolled back by itself, and sqlx still counts a transaction; or the connection is lost.
                connection.close_on_drop();
            }
            // An outage is the same for each.
            if error.is_outage() { End::Failed(error) } else { End::RolledBack(error) }
        }
    }
}

/// Runs until it is done, or until no caller waits for it: a connection that hangs holds no others up.
async fn unless_abandoned<T>(run: impl Future<Output = End>, callers: &mut [oneshot::Sender<T>]) -> Option<End> {
    let abandoned = async {
        for caller in callers {
            caller.closed().await;
        }
    };
    let (mut run, mut abandoned) = (pin!(run), pin!(abandoned));
    std::future::poll_fn(|cx| match run.as_mut().poll(cx) {
        Poll::Ready(end) => Poll::Ready(Some(end)),
        Poll::Pending => abandoned.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// The task that makes changes until none waits. When the runtime ends, changes fail, and later ones start another task.
struct Running<DB: Database>(Option<Arc<Writes<DB>>>);

impl<DB> Running<DB>
where
    DB: Dialect,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'c> &'c str: ColumnIndex<DB::Row>,
    for<'q> i64: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> String: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB>,
    for<'q> Option<String>: Encode<'q, DB>,
{
    async fn run(mut self) {
        while let Some(writes) = &self.0 {
            match writes.next() {
                Some(members) => writes.make_all(members).await,
                None => self.0 = None,
            }
        }
    }
}

impl<DB: Database> Drop for Running<DB> {
    fn drop(&mut self) {
        if let Some(writes) = &self.0 {
            let mut queue = lock(&writes.queue);
            queue.is_running = false;
            queue.waiting.clear();
        }
    }
}

/// Returns the error for another member.
fn copy(error: &LedgerError) -> LedgerError {
    let text = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    if error.is_outage() { LedgerError::outage(text) } else { LedgerError::new(text) }
}

/// Locks. The guarded data stay valid if a thread panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests {
    use std::time::Duration;

    use sqlx::pool::PoolConnection;
    use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
    use sqlx::{QueryBuilder, Sqlite};
    use tower_dcr::clients::{Client, Fingerprints, Insertion, Ledger, LedgerError, Replacement, Status};

    use crate::SqliteLedger;
    use crate::changes::Change;

    /// Opens a ledger with one connection: while it is held, changes wait for one transaction.
    async fn ledger() -> (SqliteLedger, SqlitePool) {
        let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
        (SqliteLedger::new(pool.clone()).await.unwrap(), pool)
    }

    /// Lets tasks run until they wait.
    async fn queued(pool: &SqlitePool) -> PoolConnection<Sqlite> {
        let connection = pool.acquire().await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        connection
    }

    fn named(name: &str) -> Client {
        let mut prints = Fingerprints::default();
        prints.redirect_hosts = vec![format!("{name}.example.com"), "loopback".to_owned()];
        let mut client = Client::draft("{}", prints, 0);
        client.dedup_key = Some(name.to_owned());
        client
    }

    async fn insert(ledger: &SqliteLedger, name: &str) -> Client {
        match ledger.insert(&named(name), None).await.unwrap() {
            Insertion::Inserted(client) => client,
            other => panic!("{other:?}"),
        }
    }

    async fn count(pool: &SqlitePool, table: &str) -> i64 {
        let query = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
        sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
    }

    async fn live(pool: &SqlitePool) -> i64 {
        sqlx::query_scalar("SELECT clients FROM tower_dcr_live").fetch_one(pool).await.unwrap()
    }

    /// Makes the changes at once, in one transaction.
    async fn all<T: Send + 'static>(
        pool: &SqlitePool,
        changes: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
    ) -> Vec<T> {
        let connection = pool.acquire().await.unwrap();
        let tasks: Vec<_> = changes.into_iter().map(tokio::spawn).collect();
        tokio::time::sleep(Duration::from_millis(5)).await;
        drop(connection);
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(task.await.unwrap());
        }
        answers
    }

    #[tokio::test]
    async fn changes_of_one_transaction_are_answered_each() {
        let (ledger, pool) = ledger().await;
        let inserts = (0..100).map(|number| {
            let ledger = ledger.clone();
            // Of 100 registrations, 60 are different, and 50 have room.
            async move { ledger.insert(&named(&format!("app-{}", number % 60)), Some(50)).await.unwrap() }
        });
        let answers = all(&pool, inserts).await;
        let inserted = answers.iter().filter(|answer| matches!(answer, Insertion::Inserted(_))).count();
        let full = answers.iter().filter(|answer| **answer == Insertion::Full).count();
        assert_eq!((inserted, full), (50, 10));
        for (number, answer) in answers.iter().enumerate() {
            if let Insertion::Inserted(client) | Insertion::Exists(client) = answer {
                let key = format!("app-{}", number % 60);
                assert_eq!(client.dedup_key, Some(key.clone()));
                assert_eq!(ledger.find_by_dedup_key(&key).await.unwrap().unwrap().key, client.key);
            }
        }
        assert_eq!((live(&pool).await, count(&pool, "tower_dcr_redirect_hosts").await), (50, 100));
    }

    #[tokio::test]
    async fn replacements_of_one_transaction_are_answered_each() {
        let (ledger, pool) = ledger().await;
        let mut changed = Vec::new();
        for number in 0..40 {
            let mut client = insert(&ledger, &format!("app-{number}")).await;
            client.client_id = Some(format!("id-{number}"));
            client.status = Status::Active;
            match number {
                // The first of these has its id, and the other does not.
                0 | 1 => client.client_id = Some("id-of-both".to_owned()),
                2 => client.version = 7,
                3 => client.status = Status::Revoked,
                4 => client.fingerprints.redirect_hosts = vec!["other.example.com".to_owned()],
                _ => {}
            }
            changed.push(client);
        }
        // Twice the same record.
        changed.push(changed[39].clone());
        let replacements = changed.clone().into_iter().map(|client| {
            let ledger = ledger.clone();
            async move { ledger.replace(&client).await.unwrap() }
        });
        let answers = all(&pool, replacements).await;
        assert_eq!(answers[0..3], [Replacement::Replaced, Replacement::Taken, Replacement::Outdated]);
        assert!(answers[3..40].iter().all(|answer| *answer == Replacement::Replaced), "{answers:?}");
        assert_eq!(answers[40], Replacement::Outdated);
        assert_eq!((live(&pool).await, count(&pool, "tower_dcr_redirect_hosts").await), (39, 79));
        for (client, answer) in changed.iter().zip(&answers) {
            if *answer == Replacement::Replaced {
                let mut expected = client.clone();
                expected.version += 1;
                assert_eq!(ledger.get(client.key).await.unwrap(), Some(expected));
            }
        }
    }

    #[tokio::test]
    async fn an_error_is_of_one_member() {
        let (ledger, pool) = ledger().await;
        let changes = (0..9).map(|number| {
            let ledger = ledger.clone();
            async move {
                if number != 4 {
                    return ledger.insert(&named(&format!("app-{number}")), None).await.map(drop);
                }
                let mistake = || QueryBuilder::new("DELETE FROM tower_dcr_clients WHERE no_such_column = 1");
                ledger.writes().make(Change::Statement(Box::new(mistake))).await.map(drop)
            }
        });
        let answers = all(&pool, changes).await;
        for (number, answer) in answers.iter().enumerate() {
            assert_eq!(answer.as_ref().is_err_and(|error| !error.is_outage()), number == 4, "{number}: {answer:?}");
        }
        assert_eq!((count(&pool, "tower_dcr_clients").await, live(&pool).await), (8, 8));
    }

    /// The database ends transactions by itself, for example when the disk is full.
    #[tokio::test]
    async fn a_transaction_that_has_ended_is_an_error() {
        let (ledger, pool) = ledger().await;
        let end = || QueryBuilder::new("ROLLBACK");
        let ended = ledger.writes().make(Change::Statement(Box::new(end))).await;
        assert!(ended.is_err());
        drop(pool);
    }

    #[tokio::test]
    async fn a_change_whose_caller_is_gone_is_not_made() {
        let (ledger, pool) = ledger().await;
        let connection = queued(&pool).await;
        let gone = tokio::spawn({
            let ledger = ledger.clone();
            async move { insert(&ledger, "gone").await }
        });
        let waiting = tokio::spawn({
            let ledger = ledger.clone();
            async move { insert(&ledger, "waiting").await }
        });
        tokio::time::sleep(Duration::from_millis(5)).await;
        gone.abort();
        assert!(gone.await.is_err());
        drop(connection);
        waiting.await.unwrap();
        assert!(ledger.find_by_dedup_key("waiting").await.unwrap().is_some());
    }

    /// A ledger in a static variable outlives the runtime of one test.
    #[test]
    fn changes_go_on_in_another_runtime() {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let first = runtime();
        let (ledger, pool) = first.block_on(ledger());
        let connection = first.block_on(queued(&pool));
        // Begun, and never answered: the runtime ends while the transaction waits for a connection.
        first.block_on(async {
            let begun = tokio::time::timeout(Duration::from_millis(5), insert(&ledger, "first")).await;
            assert!(begun.is_err());
        });
        drop(first);
        runtime().block_on(async {
            drop(connection);
            insert(&ledger, "second").await
        });
    }

    #[tokio::test]
    async fn a_closed_pool_is_an_outage() {
        let (ledger, pool) = ledger().await;
        pool.close().await;
        let error: LedgerError = ledger.insert(&named("app"), None).await.unwrap_err();
        assert!(error.is_outage());
    }
}
