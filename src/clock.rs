//! [`Clock`]: the only source of time in this crate.

use std::fmt;
#[cfg(any(feature = "jwt", feature = "software-statement"))]
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of time (default: the operating system's clocks). Tests use a [`ManualClock`].
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the time since an origin that stays fixed for this clock. It should never go backwards.
    fn monotonic(&self) -> Duration;

    /// Returns the time since 1970-01-01 00:00 UTC.
    fn unix_time(&self) -> Duration;
}

/// The operating system's clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemClock {
    origin: Instant,
}

/// Creates a clock whose monotonic origin is now.
impl Default for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn default() -> Self {
        Self { origin: Instant::now() }
    }
}

/// Returns the system clock, as the default of a setting.
#[cfg(any(feature = "jwt", feature = "software-statement"))]
pub(crate) fn system() -> Arc<dyn Clock> {
    Arc::new(SystemClock::default())
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    fn unix_time(&self) -> Duration {
        unix_time()
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The operating system's coarse monotonic clock, where it has one: some milliseconds behind, at a fraction of the cost. The
/// default of the rate limits, whose intervals are seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CoarseClock {
    origin: coarsetime::Instant,
}

impl CoarseClock {
    /// Creates a clock whose monotonic origin is now.
    pub(crate) fn new() -> Self {
        Self { origin: coarsetime::Instant::now_without_cache_update() }
    }
}

impl Clock for CoarseClock {
    fn monotonic(&self) -> Duration {
        coarsetime::Instant::now_without_cache_update().duration_since(self.origin).into()
    }

    fn unix_time(&self) -> Duration {
        unix_time()
    }
}

/// A clock that a test moves by hand, forwards and backwards. Both scales show the same time.
///
/// ```
/// use std::time::Duration;
/// use tower_dcr::clock::{Clock, ManualClock};
///
/// let clock = ManualClock::new(Duration::from_secs(10));
/// clock.advance(Duration::from_secs(5));
/// assert_eq!(clock.monotonic(), Duration::from_secs(15));
/// ```
#[derive(Debug, Default)]
pub struct ManualClock {
    nanos: AtomicU64,
}

impl ManualClock {
    /// Creates a clock that stands at `now`.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        let clock = Self::default();
        clock.set(now);
        clock
    }

    /// Sets the clock to `now`.
    pub fn set(&self, now: Duration) {
        self.nanos.store(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Moves the clock forwards by `by`.
    pub fn advance(&self, by: Duration) {
        self.set(self.monotonic().saturating_add(by));
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::SeqCst))
    }

    fn unix_time(&self) -> Duration {
        self.monotonic()
    }
}
