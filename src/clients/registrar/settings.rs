//! The settings of a registrar, from its builder and from a policy file.

use std::num::NonZeroU64;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use super::Lifetimes;
use crate::period::Period;
use crate::rules::ConfigError;

/// The settings in force.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "switches that do not depend on each other")]
pub(crate) struct Settings {
    pub(super) lifetimes: Lifetimes,
    pub(super) max_clients: Option<NonZeroU64>,
    pub(super) deduplication: bool,
    pub(super) any_loopback_port: bool,
    pub(super) shared_client_ids: bool,
    pub(super) sources: bool,
    pub(super) retention: Duration,
    pub(super) address_retention: Duration,
    pub(crate) manage_unknown: bool,
    pub(crate) danger_register_without_ledger: Option<bool>,
    pub(crate) report_only: Option<bool>,
}

/// The table `[lifecycle]` of a policy file. Absent keys keep the settings of the registrar.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LifecycleSettings {
    /// Sets how long a client lives that never got a token (default: 7days); an hour at least.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "never_used")]
    never_used: Option<Period>,
    /// Sets how long a client lives after it last got a token (default: 90days); 30 days at least.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "idle")]
    idle: Option<Period>,
    /// Requires clients to be approved, and ends those that are not approved within this time (default: no approval); an hour at least.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "approval")]
    approval: Option<Period>,
    /// Sets how many clients may live at once (default: no limit). When so many do, others make room.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_clients: Option<NonZeroU64>,
    /// Sets how long the record of a client that has ended is kept whole (default: 30days).
    #[serde(skip_serializing_if = "Option::is_none")]
    retention: Option<Period>,
    /// Sets how long a record keeps the address that it was registered from (default: 30days); after that it keeps the
    /// address's network only (/24, /48).
    #[serde(skip_serializing_if = "Option::is_none")]
    address_retention: Option<Period>,
    /// Gives an equal registration of a public client the client that is there (default: true).
    #[serde(skip_serializing_if = "Option::is_none")]
    deduplication: Option<bool>,
    /// Deduplicates registrations that differ only in the ports of loopback redirect URIs (default: false).
    #[serde(skip_serializing_if = "Option::is_none")]
    any_loopback_port: Option<bool>,
    /// Allows the server to give one `client_id` to several registrations (default: false): each then has a record of its own, and
    /// inherits nothing from the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_client_ids: Option<bool>,
    /// Records the network of the client address (default: true).
    #[serde(skip_serializing_if = "Option::is_none")]
    sources: Option<bool>,
    /// Lets clients that the ledger does not know update themselves (RFC 7592) although initial access tokens or
    /// approval are required (default: false).
    #[serde(skip_serializing_if = "Option::is_none")]
    manage_unknown: Option<bool>,
    /// Lets everything pass that the ledger would reject, and has audit events say so (default: false).
    #[serde(skip_serializing_if = "Option::is_none")]
    report_only: Option<bool>,
    /// Registers clients while the ledger can't be used (default: false). An attacker who slows the ledger down can then
    /// register what was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) danger_register_without_ledger: Option<bool>,
}

impl Settings {
    pub(super) fn new() -> Self {
        Self {
            lifetimes: Lifetimes::new(),
            max_clients: None,
            deduplication: true,
            any_loopback_port: false,
            shared_client_ids: false,
            sources: true,
            retention: Duration::from_secs(30 * 24 * 3600),
            address_retention: Duration::from_secs(30 * 24 * 3600),
            manage_unknown: false,
            danger_register_without_ledger: None,
            report_only: None,
        }
    }

    /// Returns these settings with those of a policy file over them.
    pub(super) fn under(&self, file: &LifecycleSettings) -> Self {
        let time = |said: Option<Period>, otherwise: Duration| said.map_or(otherwise, |said| said.0);
        Self {
            // The lifetimes were found to be long enough when the file was read.
            lifetimes: file.lifetimes_over(self.lifetimes.clone()).unwrap_or_else(|_| self.lifetimes.clone()),
            max_clients: file.max_clients.or(self.max_clients),
            deduplication: file.deduplication.unwrap_or(self.deduplication),
            any_loopback_port: file.any_loopback_port.unwrap_or(self.any_loopback_port),
            shared_client_ids: file.shared_client_ids.unwrap_or(self.shared_client_ids),
            sources: file.sources.unwrap_or(self.sources),
            retention: time(file.retention, self.retention),
            address_retention: time(file.address_retention, self.address_retention),
            manage_unknown: file.manage_unknown.unwrap_or(self.manage_unknown),
            danger_register_without_ledger: file.danger_register_without_ledger,
            report_only: file.report_only,
        }
    }
}

impl LifecycleSettings {
    /// Returns whether it has the key `deduplication`.
    pub(crate) fn says_deduplication(&self) -> bool {
        self.deduplication.is_some()
    }

    fn lifetimes_over(&self, mut lifetimes: Lifetimes) -> Result<Lifetimes, ConfigError> {
        if let Some(Period(never_used)) = self.never_used {
            lifetimes = lifetimes.with_never_used(never_used)?;
        }
        if let Some(Period(idle)) = self.idle {
            lifetimes = lifetimes.with_idle(idle)?;
        }
        if let Some(Period(approval)) = self.approval {
            lifetimes = lifetimes.with_approval(approval)?;
        }
        Ok(lifetimes)
    }
}

fn never_used<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Period>, D::Error> {
    checked(deserializer, Lifetimes::with_never_used)
}

fn idle<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Period>, D::Error> {
    checked(deserializer, Lifetimes::with_idle)
}

fn approval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Period>, D::Error> {
    checked(deserializer, Lifetimes::with_approval)
}

/// Reads a time that `set` accepts.
fn checked<'de, D: Deserializer<'de>>(
    deserializer: D,
    set: impl FnOnce(Lifetimes, Duration) -> Result<Lifetimes, ConfigError>,
) -> Result<Option<Period>, D::Error> {
    let period = Period::deserialize(deserializer)?;
    match set(Lifetimes::new(), period.0) {
        Ok(_) => Ok(Some(period)),
        Err(error) => Err(D::Error::custom(error)),
    }
}
