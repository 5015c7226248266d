//! How long clients live.

use std::time::Duration;

use super::milliseconds;
use crate::policy::ConfigError;

/// How long clients live: see the docs of [`registrar`](super#what-each-limit-protects).
///
/// ```
/// use std::time::Duration;
/// use tower_dcr::registrar::Lifetimes;
///
/// const DAY: Duration = Duration::from_secs(24 * 3600);
/// let lifetimes = Lifetimes::new().with_never_used(DAY * 14)?.with_idle(DAY * 365)?;
/// assert!(Lifetimes::new().with_idle(DAY * 7).is_err(), "refresh tokens live longer");
/// # let _ = lifetimes;
/// # Ok::<_, tower_dcr::policy::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Lifetimes {
    never_used: Duration,
    idle: Duration,
    approval: Option<Duration>,
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Lifetimes {
    /// 7 days without a first token, 90 days without another, no approval needed.
    pub const fn new() -> Self {
        Self {
            never_used: Duration::from_secs(7 * 24 * 3600),
            idle: Duration::from_secs(90 * 24 * 3600),
            approval: None,
        }
    }

    /// How long a client lives that never got a token.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Lifetime`] under an hour: a person needs the time to sign in.
    pub fn with_never_used(self, lifetime: Duration) -> Result<Self, ConfigError> {
        let never_used = at_least(HOUR, lifetime, "the lifetime of a client that was never used")?;
        Ok(Self { never_used, ..self })
    }

    /// How long a client lives after it got a token.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Lifetime`] under 30 days: refresh tokens that are not used live that long at least.
    pub fn with_idle(self, lifetime: Duration) -> Result<Self, ConfigError> {
        Ok(Self { idle: at_least(DAY * 30, lifetime, "the lifetime of a client that is idle")?, ..self })
    }

    /// Clients have to be approved, and expire if nobody does within this time. Until then they have a `client_id`,
    /// the same one each time they register again, and are turned away at the gate.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Lifetime`] under an hour: somebody needs the time to look.
    pub fn with_approval(self, within: Duration) -> Result<Self, ConfigError> {
        Ok(Self { approval: Some(at_least(HOUR, within, "the time for approval")?), ..self })
    }

    pub(super) fn needs_approval(&self) -> bool {
        self.approval.is_some()
    }

    /// In milliseconds.
    pub(crate) fn never_used_ms(&self) -> i64 {
        milliseconds(self.never_used)
    }

    pub(crate) fn idle_ms(&self) -> i64 {
        milliseconds(self.idle)
    }

    /// From the registration on.
    pub(super) fn first_ms(&self) -> i64 {
        milliseconds(self.approval.unwrap_or(self.never_used))
    }
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self::new()
    }
}

fn at_least(least: Duration, lifetime: Duration, what: &'static str) -> Result<Duration, ConfigError> {
    if lifetime >= least { Ok(lifetime) } else { Err(ConfigError::Lifetime { what, least }) }
}
