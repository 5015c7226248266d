//! Rate limits that nodes share through Redis or Valkey, for [`tower_dcr`]: see [`RedisStore`].

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::Script;
use redis::aio::ConnectionLike;
use tokio::time::timeout;
use tower_dcr::rate_limit::{Bucket, QuotaDecision, QuotaStore};

/// Stores shared budgets in Redis 6.2, Valkey 7.2 or later, over an existing connection: a `ConnectionManager`, a
/// `MultiplexedConnection`, a `ClusterConnection`.
///
/// A request is one call of a script, which takes from all of its buckets or from none. The time is the server's, in
/// microseconds. Keys are `{PREFIX}:BUDGET:KEY`, the last part a digest, so that all of them are in one slot of a
/// cluster. Each key expires when its bucket is full again. Rejected requests write nothing, so the number of keys
/// never exceeds the requests that the global budget admits in the longest window of another budget.
///
/// A call that takes longer than [the timeout](Self::with_timeout) counts as failed: see
/// [`SharedQuotas`](tower_dcr::rate_limit::SharedQuotas). The store must accept writes: in a Sentinel setup, connect to
/// the master that Sentinel names. Requires a Tokio runtime.
///
/// ```no_run
/// use std::num::NonZeroU32;
/// use tower_dcr::rate_limit::SharedQuotas;
/// use tower_dcr_redis::RedisStore;
///
/// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
/// let client = redis::Client::open("redis://127.0.0.1:6379")?;
/// let connection = client.get_connection_manager().await?;
/// let three_nodes = NonZeroU32::new(3).unwrap();
/// let preset = tower_dcr::mcp().with_shared_quotas(SharedQuotas::new(RedisStore::new(connection), three_nodes));
/// # let _ = preset;
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

/// An invalid key prefix.
///
/// ```
/// use tower_dcr_redis::RedisStore;
///
/// let error = RedisStore::new(()).with_prefix("a{b}").unwrap_err();
/// assert_eq!(error.to_string(), r#"invalid key prefix "a{b}": it must not be empty or contain a brace"#);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPrefixError(String);

// The same as `Display`: a `main` that returns the error prints this.
impl fmt::Debug for KeyPrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for KeyPrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid key prefix {:?}: it must not be empty or contain a brace", self.0)
    }
}

impl Error for KeyPrefixError {}

struct Scripts {
    take: Script,
    release: Script,
}

impl<C> RedisStore<C> {
    /// The default time limit of a call: 200 milliseconds.
    pub const TIMEOUT: Duration = Duration::from_millis(200);

    /// Creates a store over `connection`, with the key prefix `tower-dcr`.
    pub fn new(connection: C) -> Self {
        let scripts =
            Scripts { take: Script::new(include_str!("take.lua")), release: Script::new(include_str!("release.lua")) };
        Self { connection, prefix: "{tower-dcr}".into(), timeout: Self::TIMEOUT, scripts: Arc::new(scripts) }
    }

    /// Sets the prefix of all keys (default: `tower-dcr`), so that several servers can use one Redis without sharing
    /// budgets.
    ///
    /// # Errors
    ///
    /// Returns [`KeyPrefixError`] if it is empty or contains a brace: a cluster would then spread the keys of one
    /// request over several nodes.
    pub fn with_prefix(self, prefix: &str) -> Result<Self, KeyPrefixError> {
        if prefix.is_empty() || prefix.contains(['{', '}']) {
            return Err(KeyPrefixError(prefix.to_owned()));
        }
        Ok(Self { prefix: format!("{{{prefix}}}"), ..self })
    }

    /// Sets the time limit of a call (default: [`TIMEOUT`](Self::TIMEOUT)).
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    fn key(&self, bucket: &Bucket) -> String {
        format!("{}:{}:{:032x}", self.prefix, bucket.budget, bucket.key)
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> RedisStore<C> {
    async fn call<T: redis::FromRedisValue>(
        &self,
        script: &Script,
        buckets: &[Bucket],
    ) -> Result<T, Box<dyn Error + Send + Sync>> {
        let mut call = script.prepare_invoke();
        for bucket in buckets {
            let (interval, window) = microseconds(bucket);
            call.key(self.key(bucket)).arg(interval).arg(window);
        }
        let mut connection = self.connection.clone();
        match timeout(self.timeout, call.invoke_async(&mut connection)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(format!("no answer within {:?}", self.timeout).into()),
        }
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> QuotaStore for RedisStore<C> {
    async fn take(&self, buckets: &[Bucket]) -> Result<QuotaDecision, Box<dyn Error + Send + Sync>> {
        let spent: Option<(usize, u64)> = self.call(&self.scripts.take, buckets).await?;
        Ok(match spent {
            None => QuotaDecision::Taken,
            // Lua indices begin at one.
            Some((number, micros)) => {
                QuotaDecision::Spent { index: number.saturating_sub(1), retry_after: Duration::from_micros(micros) }
            }
        })
    }

    async fn release(&self, buckets: &[Bucket]) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.call(&self.scripts.release, buckets).await
    }
}

/// The longest window: Lua's numbers are exact below 2^53, the time is about 2^51 until the year 2041, and their sum
/// must fit.
const LONGEST: u64 = 1 << 52;

/// Returns the refill time of one request, at least a microsecond, and of an empty bucket.
fn microseconds(bucket: &Bucket) -> (u64, u64) {
    let interval = bucket.quota.interval().as_nanos().div_ceil(1000);
    let window = interval * u128::from(bucket.quota.burst().get());
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
