//! Budgets in Redis or Valkey.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::Script;
use redis::aio::ConnectionLike;
use tokio::time::timeout;

use super::{Bucket, QuotaStore, QuotaStoreError, Verdict};
/// Keeps shared budgets in Redis 6.2, Valkey 7.2 or later, over the connection that you have: a `ConnectionManager`, a
/// `MultiplexedConnection`, a `ClusterConnection`.
///
/// A request is one call of a script, which takes from all of its buckets or from none; the time is the server's, in
/// microseconds. Keys are `{PREFIX}:BUDGET:KEY`, the last part a digest, so that all of them are in one slot of a cluster. Each
/// key goes when its bucket is full again. Requests that are refused write nothing, so there are never more keys than the
/// global budget admits requests in the longest window of another one.
///
/// A call that takes longer than [the timeout](Self::with_timeout) counts as failed; what happens then is for
/// [`SharedQuotas`](super::SharedQuotas) to say. The store must be one that takes writes: in a Sentinel setup, connect to
/// the master that Sentinel names. Needs a Tokio runtime.
///
/// ```no_run
/// use std::num::NonZeroU32;
/// use tower_dcr::quota::{RedisStore, SharedQuotas};
///
/// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
/// let client = redis::Client::open("redis://127.0.0.1:6379")?;
/// let connection = client.get_connection_manager().await?;
/// let three_nodes = NonZeroU32::new(3).unwrap();
/// let guard = tower_dcr::mcp().with_shared_quotas(SharedQuotas::new(RedisStore::new(connection), three_nodes));
/// # let _ = guard;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct RedisStore<C> {
    connection: C,
    prefix: String,
    timeout: Duration,
    scripts: Arc<Scripts>,
}

/// A prefix that keys can't begin with.
///
/// ```
/// use tower_dcr::quota::RedisStore;
///
/// let error = RedisStore::new(()).with_prefix("a{b}").unwrap_err();
/// assert_eq!(error.to_string(), r#"the key prefix "a{b}" must not be empty or have a brace in it"#);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPrefixError(String);

impl fmt::Display for KeyPrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the key prefix {:?} must not be empty or have a brace in it", self.0)
    }
}

impl Error for KeyPrefixError {}

struct Scripts {
    take: Script,
    give_back: Script,
}

impl<C> RedisStore<C> {
    /// How long a call may take: 200 milliseconds.
    pub const TIMEOUT: Duration = Duration::from_millis(200);

    /// Keeps budgets at the other end of `connection`, under the prefix `tower-dcr`.
    pub fn new(connection: C) -> Self {
        let scripts = Scripts {
            take: Script::new(include_str!("take.lua")),
            give_back: Script::new(include_str!("give_back.lua")),
        };
        Self { connection, prefix: "{tower-dcr}".into(), timeout: Self::TIMEOUT, scripts: Arc::new(scripts) }
    }

    /// Keys begin with `{prefix}`: servers with other policies, or other clients, share no budgets.
    ///
    /// # Errors
    ///
    /// [`KeyPrefixError`] if it is empty or has a brace in it: a cluster would then spread the keys of one request
    /// over several nodes.
    pub fn with_prefix(self, prefix: &str) -> Result<Self, KeyPrefixError> {
        if prefix.is_empty() || prefix.contains(['{', '}']) {
            return Err(KeyPrefixError(prefix.to_owned()));
        }
        Ok(Self { prefix: format!("{{{prefix}}}"), ..self })
    }

    /// How long a call may take.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    fn key(&self, bucket: &Bucket) -> String {
        format!("{}:{}:{:032x}", self.prefix, bucket.budget(), bucket.key())
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> RedisStore<C> {
    async fn call<T: redis::FromRedisValue>(&self, script: &Script, buckets: &[Bucket]) -> Result<T, QuotaStoreError> {
        let mut call = script.prepare_invoke();
        for bucket in buckets {
            let (interval, window) = microseconds(bucket);
            call.key(self.key(bucket)).arg(interval).arg(window);
        }
        let mut connection = self.connection.clone();
        match timeout(self.timeout, call.invoke_async(&mut connection)).await {
            Ok(answer) => answer.map_err(QuotaStoreError::new),
            Err(_) => Err(QuotaStoreError::new(format!("no answer within {:?}", self.timeout))),
        }
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> QuotaStore for RedisStore<C> {
    async fn take(&self, buckets: &[Bucket]) -> Result<Verdict, QuotaStoreError> {
        let spent: Option<(usize, u64)> = self.call(&self.scripts.take, buckets).await?;
        Ok(match spent {
            None => Verdict::Taken,
            // Lua counts from one.
            Some((number, micros)) => {
                Verdict::Spent { index: number.saturating_sub(1), retry_after: Duration::from_micros(micros) }
            }
        })
    }

    async fn give_back(&self, buckets: &[Bucket]) -> Result<(), QuotaStoreError> {
        self.call(&self.scripts.give_back, buckets).await
    }
}

/// The longest window: Lua's numbers are exact below 2^53, the time is about 2^51 until the year 2041, and their sum has to
/// fit.
const LONGEST: u64 = 1 << 52;

/// The time in which one request is earned, at least a microsecond, and in which an empty bucket fills up.
fn microseconds(bucket: &Bucket) -> (u64, u64) {
    let interval = bucket.quota().interval().as_nanos().div_ceil(1000);
    let window = interval * u128::from(bucket.quota().burst().get());
    let fitting = |micros: u128| u64::try_from(micros).unwrap_or(LONGEST).min(LONGEST);
    (fitting(interval), fitting(window))
}

impl<C> fmt::Debug for RedisStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
