//! [`Lifetimes`] of clients.

use std::time::Duration;

use super::milliseconds;
use crate::clients::ledger::{Client, Origin, Status};
use crate::period::NEVER;
use crate::rules::ConfigError;

/// The lifetimes of clients: see the docs of [`Registrar`](crate::clients::Registrar#lifetimes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lifetimes {
    pub(super) never_used: Duration,
    pub(super) idle: Duration,
    pub(super) approval: Option<Duration>,
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Lifetimes {
    /// Creates the default lifetimes: 7 days without a first token, 90 days without another, no approval.
    pub(crate) const fn new() -> Self {
        Self {
            never_used: Duration::from_secs(7 * 24 * 3600),
            idle: Duration::from_secs(90 * 24 * 3600),
            approval: None,
        }
    }

    pub(super) fn needs_approval(&self) -> bool {
        self.approval.is_some()
    }

    /// Returns the end of an unused client whose lifetime begins at `from`; `None` if it never ends.
    pub(crate) fn never_used_end(&self, from: i64) -> Option<i64> {
        end(from, self.never_used)
    }

    /// Returns half the lifetime of an unused client in milliseconds.
    pub(super) fn half_never_used_ms(&self) -> i64 {
        milliseconds(self.never_used) / 2
    }

    /// Returns the pause between two records of the use of a busy client: half an idle limit.
    pub(super) fn use_interval_ms(&self) -> i64 {
        // Without a limit that of the default: operators can then see which clients a limit would end.
        let idle = if self.idle == NEVER { Self::new().idle } else { self.idle };
        milliseconds(idle) / 2
    }

    /// Returns the end after a use that was recorded at `used`. A use is recorded once in half an idle limit, so a client
    /// that expires was idle for at least the limit.
    pub(super) fn after_use_end(&self, used: i64) -> Option<i64> {
        Some(end(used, self.idle)?.saturating_add(milliseconds(self.idle) / 2))
    }

    /// Returns the end of a client that the server still uses, at the end of its lifetime.
    pub(super) fn still_in_use_end(&self, now: i64) -> Option<i64> {
        end(now, if self.idle == NEVER { NEVER } else { self.idle / 2 })
    }

    /// Returns `true` if `client` never ends by these lifetimes, whatever end was recorded under others.
    pub(super) fn never_end(&self, client: &Client) -> bool {
        let lifetime = if client.last_used_at.is_some() { self.idle } else { self.never_used };
        client.status == Status::Active && lifetime == NEVER
    }

    /// Returns `client` with the expiry that these lifetimes would give it. Extensions by an operator are ignored, the expiry
    /// of its secret is not.
    pub(crate) fn applied_to(&self, client: Client) -> Client {
        if client.origin == Origin::Elsewhere {
            return client;
        }
        let end = match client.last_used_at {
            Some(used) => self.after_use_end(used),
            // Approval begins the time for a first token.
            None => self.never_used_end(client.created_at.max(client.reviewed_at.unwrap_or(0))),
        };
        Client { expires_at: client.ending(end), ..client }
    }

    /// Returns the end of a client that is registered at `now`, or updated and pending again.
    pub(super) fn first_end(&self, now: i64) -> Option<i64> {
        end(now, self.approval.unwrap_or(self.never_used))
    }
}

fn end(from: i64, lifetime: Duration) -> Option<i64> {
    (lifetime != NEVER).then(|| from.saturating_add(milliseconds(lifetime)))
}

/// Checks the lifetime of a client that never got a token: a person needs the time to sign in.
pub(super) fn never_used(lifetime: Duration) -> Result<Duration, ConfigError> {
    check_unless_never("the lifetime of a client that was never used", lifetime, HOUR)
}

/// Checks the lifetime of a client after its last token: unused refresh tokens live as long.
pub(super) fn idle(lifetime: Duration) -> Result<Duration, ConfigError> {
    check_unless_never("the lifetime of a client that is idle", lifetime, DAY * 30)
}

fn check_unless_never(what: &'static str, lifetime: Duration, least: Duration) -> Result<Duration, ConfigError> {
    if lifetime == NEVER { Ok(NEVER) } else { ConfigError::check_time(what, lifetime, least) }
}

/// Checks the time for which a change of a document is held: an operator needs the time to look.
pub(super) fn document_hold(time: Duration) -> Result<Duration, ConfigError> {
    check_unless_never("the time for which a changed document is held", time, HOUR)
}

/// Checks the time for approval: an operator needs the time to look.
pub(super) fn approval(within: Duration) -> Result<Duration, ConfigError> {
    ConfigError::check_time("the time for approval", within, HOUR)
}
