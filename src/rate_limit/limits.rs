//! [`RateLimits`]: the limits of a limiter, in code and in policy files.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Quota;
use super::budgets::{ADDRESS, GLOBAL, Slot};
use crate::rules::ConfigError;

/// Limits on the rate of registrations: the keys of the section `[rate_limit]` in a policy file.
///
/// ```
/// use tower_dcr::rate_limit::{RateLimit, RateLimits};
///
/// let mut limits = RateLimits::default();
/// limits.address = "120/minute".parse()?;
/// limits.newcomers = RateLimit::Off;
/// let section = serde_json::to_value(limits)?;
/// assert_eq!((&section["address"], &section["newcomers"]), (&"120/minute".into(), &"off".into()));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(description = "Limits on the rate of registrations.")
)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RateLimits {
    /// Limits unproven registrations of one IPv4 address or IPv6 network (`client_address.ipv6_prefix`).
    #[serde(skip_serializing_if = "RateLimit::is_default")]
    pub address: RateLimit,
    /// Limits all unproven registrations.
    #[serde(skip_serializing_if = "RateLimit::is_default")]
    pub global: RateLimit,
    /// Limits unproven registrations of one IPv4 /24 or IPv6 /56 (default: three times `address`).
    #[serde(skip_serializing_if = "RateLimit::is_default")]
    pub prefix: RateLimit,
    /// Limits unproven registrations of one IPv6 /48 (default: five times `address`).
    #[serde(skip_serializing_if = "RateLimit::is_default")]
    pub wide_prefix: RateLimit,
    /// Limits unproven registrations of one IPv4 /24 or IPv6 /48 from the last third of `global`, which is reserved for
    /// networks with few registrations (default: `12/hour, burst 6`). `off` reserves nothing.
    #[serde(skip_serializing_if = "RateLimit::is_default")]
    pub newcomers: RateLimit,
    /// Limits registrations that a vendor's callback proves, by address (default: five times `address`); a network has
    /// twice as many. `off` charges them like unproven ones.
    #[serde(skip_serializing_if = "RateLimit::is_default")]
    pub proven: RateLimit,
    /// Limits all registrations that a vendor's callback proves (default: twenty times `global`).
    #[serde(skip_serializing_if = "RateLimit::is_default")]
    pub proven_global: RateLimit,
    /// Limits registrations that the ledger knows, by address (default: ten times `address`); a network has twenty
    /// times as many.
    #[serde(skip_serializing_if = "RateLimit::is_default")]
    pub deduplication: RateLimit,
    /// Limits new registrations of one `software_id`, in the exact spelling (default: `off`). Those that a vendor's callback
    /// proves, and those that a software statement vouches for, have budgets of their own. Any sender can write the
    /// `software_id` of honest software, which registers from thousands of hosts, and spend its budget: set it for a server
    /// that knows its applications. Only in a preset: a limiter alone sees no document.
    #[serde(skip_serializing_if = "RateLimit::is_default")]
    pub software_id: RateLimit,
    /// Limits requests that are rejected before they are evaluated, and failed management of clients, by address
    /// (default: `address`); a network has twenty times as many. `off` charges them as requests.
    #[serde(skip_serializing_if = "RateLimit::is_default")]
    pub unreadable: RateLimit,
    /// Limits requests that are read and evaluated, by address (default: five times `address`); a network has twenty
    /// times as many.
    #[serde(skip_serializing_if = "RateLimit::is_default")]
    pub requests: RateLimit,
    /// Adds the `RateLimit` and `RateLimit-Policy` fields to a 429.
    pub fields: bool,
}

/// One limit: a quota like `60/minute, burst 300`, or `off`.
///
/// ```
/// use tower_dcr::rate_limit::RateLimit;
///
/// assert_eq!("off".parse(), Ok(RateLimit::Off));
/// assert_eq!("60/minute".parse(), "60/minute".parse().map(RateLimit::Quota));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum RateLimit {
    /// The default, which follows the quota of `address` or `global`, if it is there.
    #[default]
    Default,
    /// No limit.
    Off,
    /// This quota.
    Quota(Quota),
}

impl RateLimits {
    /// No limits at all.
    pub const OFF: Self = Self {
        address: RateLimit::Off,
        global: RateLimit::Off,
        prefix: RateLimit::Off,
        wide_prefix: RateLimit::Off,
        newcomers: RateLimit::Off,
        proven: RateLimit::Off,
        proven_global: RateLimit::Off,
        deduplication: RateLimit::Off,
        software_id: RateLimit::Off,
        unreadable: RateLimit::Off,
        requests: RateLimit::Off,
        fields: true,
    };

    pub(super) const fn limit(&self, slot: Slot) -> RateLimit {
        match slot {
            Slot::Address => self.address,
            Slot::Prefix => self.prefix,
            Slot::WidePrefix => self.wide_prefix,
            Slot::Global => self.global,
            Slot::Newcomers => self.newcomers,
            Slot::Proven => self.proven,
            Slot::ProvenGlobal => self.proven_global,
            Slot::Deduplication => self.deduplication,
            Slot::SoftwareId => self.software_id,
            Slot::Unreadable => self.unreadable,
            Slot::Requests => self.requests,
        }
    }

    /// Returns the limits as a policy file has them: one that follows a limit which is off has its default.
    pub(crate) fn as_written(mut self) -> Self {
        let (by_address, in_all) = (self.address != RateLimit::Off, self.global != RateLimit::Off);
        for (limit, has_effect) in [
            (&mut self.prefix, by_address),
            (&mut self.wide_prefix, by_address),
            (&mut self.newcomers, by_address && in_all),
            (&mut self.proven, by_address),
            (&mut self.proven_global, in_all),
            (&mut self.deduplication, by_address),
            (&mut self.software_id, false),
            (&mut self.unreadable, by_address),
            (&mut self.requests, by_address),
        ] {
            if *limit == RateLimit::Off && !has_effect {
                *limit = RateLimit::Default;
            }
        }
        self
    }
}

impl RateLimit {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::Default
    }
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            address: ADDRESS.into(),
            global: GLOBAL.into(),
            prefix: RateLimit::Default,
            wide_prefix: RateLimit::Default,
            newcomers: RateLimit::Default,
            proven: RateLimit::Default,
            proven_global: RateLimit::Default,
            deduplication: RateLimit::Default,
            software_id: RateLimit::Default,
            unreadable: RateLimit::Default,
            requests: RateLimit::Default,
            fields: true,
        }
    }
}

impl From<Quota> for RateLimit {
    fn from(quota: Quota) -> Self {
        Self::Quota(quota)
    }
}

impl FromStr for RateLimit {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        if text == "off" { Ok(Self::Off) } else { text.parse().map(Self::Quota) }
    }
}

impl TryFrom<String> for RateLimit {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

impl From<RateLimit> for String {
    fn from(limit: RateLimit) -> Self {
        match limit {
            RateLimit::Default => Self::new(),
            RateLimit::Off => "off".to_owned(),
            RateLimit::Quota(quota) => quota.to_string(),
        }
    }
}
