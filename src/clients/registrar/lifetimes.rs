//! [`Lifetimes`] of clients.

use std::time::Duration;

use super::milliseconds;
use crate::clients::ledger::{Client, Origin};
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

    /// Returns the lifetime of an unused client in milliseconds.
    pub(crate) fn never_used_ms(&self) -> i64 {
        milliseconds(self.never_used)
    }

    pub(crate) fn idle_ms(&self) -> i64 {
        milliseconds(self.idle)
    }

    /// Returns the time from a recorded use to the expiry. A use is recorded once in half an idle limit, so a client that
    /// expires was idle for at least the limit.
    pub(crate) fn after_use_ms(&self) -> i64 {
        self.idle_ms().saturating_add(self.idle_ms() / 2)
    }

    /// Returns `client` with the expiry that these lifetimes would give it. Extensions by an operator are ignored, the expiry
    /// of its secret is not.
    pub(crate) fn applied_to(&self, client: Client) -> Client {
        if client.origin == Origin::Elsewhere {
            return client;
        }
        let end = match client.last_used_at {
            Some(used) => used.saturating_add(self.after_use_ms()),
            // Approval begins the time for a first token.
            None => client.created_at.max(client.reviewed_at.unwrap_or(0)).saturating_add(self.never_used_ms()),
        };
        Client { expires_at: Some(client.at_most(end)), ..client }
    }

    /// Returns the time from the registration to the expiry.
    pub(super) fn first_ms(&self) -> i64 {
        milliseconds(self.approval.unwrap_or(self.never_used))
    }
}

/// Checks the lifetime of a client that never got a token: a person needs the time to sign in.
pub(super) fn never_used(lifetime: Duration) -> Result<Duration, ConfigError> {
    ConfigError::check_time("the lifetime of a client that was never used", lifetime, HOUR)
}

/// Checks the lifetime of a client after its last token: unused refresh tokens live as long.
pub(super) fn idle(lifetime: Duration) -> Result<Duration, ConfigError> {
    ConfigError::check_time("the lifetime of a client that is idle", lifetime, DAY * 30)
}

/// Checks the time for approval: an operator needs the time to look.
pub(super) fn approval(within: Duration) -> Result<Duration, ConfigError> {
    ConfigError::check_time("the time for approval", within, HOUR)
}
