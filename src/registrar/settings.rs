//! What a registrar is told, by its builder and by a policy file.

use std::num::NonZeroU64;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use super::Lifetimes;
use crate::period::Period;
use crate::policy::ConfigError;

/// In force.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "switches that do not depend on each other")]
pub(crate) struct Settings {
    pub(super) lifetimes: Lifetimes,
    pub(super) max_clients: Option<NonZeroU64>,
    pub(super) grace: Duration,
    pub(super) repeats: bool,
    pub(super) any_loopback_port: bool,
    pub(super) shared_client_ids: bool,
    pub(super) sources: bool,
    pub(super) retention: Duration,
    pub(crate) manage_unknown: bool,
    pub(crate) gate: GateSettings,
    pub(crate) danger_register_without_ledger: Option<bool>,
}

/// The life of clients, as a policy file has it. What is not said stays as the registrar was built.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LifecycleSettings {
    /// How long a client lives that never got a token; an hour at least.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "never_used")]
    never_used: Option<Period>,
    /// How long a client lives after it got a token; 30 days at least.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "idle")]
    idle: Option<Period>,
    /// Clients have to be approved, and expire if nobody does within this time; an hour at least.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "approval")]
    approval: Option<Period>,
    /// How many clients may be live at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_clients: Option<NonZeroU64>,
    /// How old a client that never got a token must be before it makes room for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    grace: Option<Period>,
    /// How long the record of a client that has ended is kept whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    retention: Option<Period>,
    /// Whether an equal registration gets the client that is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    repeats: Option<bool>,
    /// Whether registrations are equal that differ in the ports of loopback redirect URIs only.
    #[serde(skip_serializing_if = "Option::is_none")]
    any_loopback_port: Option<bool>,
    /// Allows the server to give one `client_id` to several registrations: each then has a record of its own, and
    /// inherits nothing from the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_client_ids: Option<bool>,
    /// Whether records keep the network of who registers.
    #[serde(skip_serializing_if = "Option::is_none")]
    sources: Option<bool>,
    /// Lets clients that the ledger does not know update themselves (RFC 7592) although initial access tokens or
    /// approval are required.
    #[serde(skip_serializing_if = "Option::is_none")]
    manage_unknown: Option<bool>,
    /// Whether clients are registered while the ledger can't be used. Whoever manages to slow the ledger down can then
    /// register what was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) danger_register_without_ledger: Option<bool>,
}

/// The gate, as a policy file has it. What is not said stays as its layer was built.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GateSettings {
    /// How old a record may be that the gate goes by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_age: Option<Period>,
    /// How much older it may be while the ledger can't be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grace: Option<Period>,
    /// What happens to clients that the ledger does not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unknown: Option<Unknown>,
    /// Whether everything passes while the ledger can't be used. Whoever manages to slow the ledger down brings back every
    /// client that was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) danger_pass_without_ledger: Option<bool>,
    /// Sets the handling of token, pushed and device requests that name no client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unidentified: Option<Unidentified>,
    /// The values of `grant_type` with which a token request need not name a client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) anonymous_grants: Option<Vec<String>>,
    /// Says that the server takes request objects: `request`, and `request_uri` that leads elsewhere than to a pushed request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request_objects: Option<bool>,
}

/// What happens to a client that the ledger does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unknown {
    /// It passes, and is an event.
    Pass,
    /// It is refused.
    #[serde(alias = "refuse")]
    Reject,
}

/// The handling of a request that names no client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unidentified {
    /// It passes, unless unknown clients are rejected, and is an event.
    Pass,
    /// It is rejected.
    Reject,
}

impl Settings {
    pub(super) fn new() -> Self {
        Self {
            lifetimes: Lifetimes::new(),
            max_clients: None,
            grace: Duration::from_secs(3600),
            repeats: true,
            any_loopback_port: false,
            shared_client_ids: false,
            sources: true,
            retention: Duration::from_secs(30 * 24 * 3600),
            manage_unknown: false,
            gate: GateSettings::default(),
            danger_register_without_ledger: None,
        }
    }

    /// These, but for what a policy file says.
    pub(super) fn under(&self, file: &LifecycleSettings, gate: &GateSettings) -> Self {
        let time = |said: Option<Period>, otherwise: Duration| said.map_or(otherwise, |said| said.0);
        Self {
            // The lifetimes were found to be long enough when the file was read.
            lifetimes: file.lifetimes_over(self.lifetimes.clone()).unwrap_or_else(|_| self.lifetimes.clone()),
            max_clients: file.max_clients.or(self.max_clients),
            grace: time(file.grace, self.grace),
            repeats: file.repeats.unwrap_or(self.repeats),
            any_loopback_port: file.any_loopback_port.unwrap_or(self.any_loopback_port),
            shared_client_ids: file.shared_client_ids.unwrap_or(self.shared_client_ids),
            sources: file.sources.unwrap_or(self.sources),
            retention: time(file.retention, self.retention),
            manage_unknown: file.manage_unknown.unwrap_or(self.manage_unknown),
            gate: gate.clone(),
            danger_register_without_ledger: file.danger_register_without_ledger,
        }
    }
}

impl LifecycleSettings {
    /// Whether it says anything of equal registrations.
    pub(crate) fn says_repeats(&self) -> bool {
        self.repeats.is_some()
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

/// A time that `set` finds to be long enough.
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
