//! [`GateSettings`]: the settings of gates, in code and in policy files.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use crate::period::Period;

/// The settings of a [`GateLayer`](crate::layers::GateLayer), and the section `[gate]` of a policy file.
///
/// A setting in the policy file that [`Gates`](crate::layers::Gates) follow wins over the one in code; a setting in
/// neither has its default.
///
/// ```
/// use std::time::Duration;
/// use tower_dcr::clients::{MemoryLedger, Registrar};
/// use tower_dcr::layers::{GateLayer, GateSettings};
///
/// let settings = GateSettings::new().with_max_age(Duration::from_secs(1)).rejecting_unknown();
/// let gate = GateLayer::token(Registrar::new(MemoryLedger::default())).with_settings(settings);
/// # let _ = gate;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(
        description = "The gate, as a policy file has it. A setting that is left out stays as its layer was built."
    )
)]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct GateSettings {
    /// The time for which a record is cached (default: 5s).
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age: Option<Period>,
    /// The additional time for which records are used while the ledger is unavailable (default: 1min).
    #[serde(skip_serializing_if = "Option::is_none")]
    grace: Option<Period>,
    /// The handling of clients that the ledger does not know (default: `pass`).
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<Handling>,
    /// Passes all requests while the ledger is unavailable (default: false). An attacker slowing the ledger down brings
    /// back every client that was revoked.
    /// client that was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    danger_pass_without_ledger: Option<bool>,
    /// The handling of token, pushed and device requests that name no client (default: `reject`).
    #[serde(skip_serializing_if = "Option::is_none")]
    unidentified: Option<Handling>,
    /// The values of `grant_type` with which a token request need not name a client (default: the grants whose client
    /// may be anonymous by their own standards).
    #[serde(skip_serializing_if = "Option::is_none")]
    anonymous_grants: Option<Vec<String>>,
    /// Declares that the server takes request objects (default: false): `request`, and `request_uri` that is not of a
    /// pushed request.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_objects: Option<bool>,
    /// Passes all requests that the gate would reject, and reports them in events (default: false).
    #[serde(skip_serializing_if = "Option::is_none")]
    report_only: Option<bool>,
}

/// The handling of requests for which the ledger has no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
enum Handling {
    /// Such requests pass, and are reported in events.
    Pass,
    /// Such requests are rejected.
    Reject,
}

impl GateSettings {
    /// Creates settings with the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the time for which a record is cached (default: 5 seconds). A revocation on another node is seen after that
    /// time at the latest, while the ledger is available. Zero reads the ledger for each request, and keeps no record
    /// for use without it. The key in policy files is `gate.max_age`.
    pub fn with_max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(Period(max_age));
        self
    }

    /// Sets the time for which records are used beyond their [age](Self::with_max_age) while the ledger is unavailable
    /// (default: 1 minute, which covers a failover). Clients whose record was read within that time go on, all others
    /// get 503. A client that is revoked on another node meanwhile passes for that long, if this node alone has lost
    /// the ledger. Zero answers all requests with 503 from the first failure. The key in policy files is `gate.grace`.
    pub fn with_grace(mut self, time: Duration) -> Self {
        self.grace = Some(Period(time));
        self
    }

    /// Rejects clients that the ledger does not know or has only seen in use (401 or, at the authorization endpoint,
    /// 400 `invalid_client`), and requests that name no client (400 `invalid_request`) at every endpoint. By default
    /// unknown clients pass. The key in policy files is `gate.unknown = "reject"`.
    pub fn rejecting_unknown(mut self) -> Self {
        self.unknown = Some(Handling::Reject);
        self
    }

    /// Passes all requests while the ledger is unavailable. An attacker slowing the ledger down brings back every
    /// client that was revoked for as long as the server still knows it. The key in policy files is
    /// `gate.danger_pass_without_ledger`.
    pub fn danger_pass_without_ledger(mut self) -> Self {
        self.danger_pass_without_ledger = Some(true);
        self
    }

    /// Passes requests for tokens, pushed requests and device requests that name no client, unless [unknown clients are
    /// rejected](Self::rejecting_unknown); by default they are answered with 400 `invalid_request`. A client that was
    /// revoked then refreshes its tokens by leaving its name out, if the server allows that: only
    /// [deprovisioning](crate::clients::Registrar::with_deprovision) keeps it out. The key in policy files is
    /// `gate.unidentified = "pass"`.
    pub fn passing_unidentified(mut self) -> Self {
        self.unidentified = Some(Handling::Pass);
        self
    }

    /// Sets the values of `grant_type` with which a token request need not name a client. By default these are the JWT
    /// and SAML assertion grants (RFC 7521), token exchange (RFC 8693) and pre-authorized codes (OpenID for Verifiable
    /// Credential Issuance 1.0). The key in policy files is `gate.anonymous_grants`.
    ///
    /// ```
    /// use tower_dcr::layers::GateSettings;
    ///
    /// let settings = GateSettings::new().with_anonymous_grants(["urn:ietf:params:oauth:grant-type:token-exchange"]);
    /// assert_ne!(settings, GateSettings::new());
    /// ```
    pub fn with_anonymous_grants(mut self, grants: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.anonymous_grants = Some(grants.into_iter().map(Into::into).collect());
        self
    }

    /// Declares that the server takes request objects: `request`, and `request_uri` that is not of a pushed request
    /// (RFC 9101; `request_parameter_supported` and `request_uri_parameter_supported` in its metadata). By default a
    /// `request_uri` that no gate of this ledger has seen pushed is rejected, and `request` does not replace
    /// `redirect_uri`. With it, the server has to check the object behind a `request_uri`. The key in policy files is
    /// `gate.request_objects`.
    pub fn with_request_objects(mut self) -> Self {
        self.request_objects = Some(true);
        self
    }

    /// Passes all requests unchanged, and reports rejections instead: as events with `enforced: false`, and in metrics
    /// as `decision="reported"`. By default the gate enforces. Revoked clients come back meanwhile, and codes can go to
    /// unregistered redirect URIs, if the server allows that. The key in policy files is `gate.report_only`.
    pub fn report_only(mut self) -> Self {
        self.report_only = Some(true);
        self
    }
}

/// Grants whose requests need not name a client: assertions (RFC 7521 section 4.1: "Authentication of the client is
/// optional"), token exchange (RFC 8693 section 2.1), and pre-authorized codes (`OpenID4VCI` section 6.1).
const ANONYMOUS_GRANTS: [&str; 4] = [
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
    "urn:ietf:params:oauth:grant-type:pre-authorized_code",
    "urn:ietf:params:oauth:grant-type:saml2-bearer",
    "urn:ietf:params:oauth:grant-type:token-exchange",
];

/// The section `[gate]` of the policy in force: one for a preset and the gates that follow it.
#[derive(Debug, Default)]
pub(crate) struct FollowedSettings {
    settings: ArcSwap<GateSettings>,
    /// Set if a gate can follow them.
    is_followed: AtomicBool,
}

impl FollowedSettings {
    pub(crate) fn put(&self, settings: &GateSettings) {
        self.settings.store(Arc::new(settings.clone()));
    }

    pub(super) fn follow(&self) {
        self.is_followed.store(true, Ordering::Relaxed);
    }

    /// Returns whether the section has settings that no gate follows.
    pub(crate) fn is_forgotten(&self) -> bool {
        !self.is_followed.load(Ordering::Relaxed) && **self.settings.load() != GateSettings::default()
    }
}

/// The settings in force at a gate: those of a policy file, then those in code, then the defaults.
#[derive(Clone, Debug, Default)]
pub(super) struct SettingsInForce {
    pub(super) built: GateSettings,
    pub(super) followed: Option<Arc<FollowedSettings>>,
}

impl SettingsInForce {
    fn find<T>(&self, pick: impl Fn(&GateSettings) -> Option<T>) -> Option<T> {
        let followed = self.followed.as_ref().and_then(|followed| pick(&followed.settings.load()));
        followed.or_else(|| pick(&self.built))
    }

    /// Returns the time for which a record is cached.
    pub(super) fn max_age(&self) -> Duration {
        self.find(|settings| settings.max_age).map_or(Duration::from_secs(5), |time| time.0)
    }

    /// Returns the maximum age of a record while the ledger is unavailable.
    pub(super) fn longest_age(&self) -> Duration {
        let more = self.find(|settings| settings.grace).map_or(Duration::from_secs(60), |time| time.0);
        self.max_age().saturating_add(more)
    }

    pub(super) fn rejects_unknown(&self) -> bool {
        self.find(|settings| settings.unknown) == Some(Handling::Reject)
    }

    pub(super) fn passes_without_ledger(&self) -> bool {
        self.find(|settings| settings.danger_pass_without_ledger).unwrap_or_default()
    }

    /// Returns whether requests that name no client pass.
    pub(super) fn passes_unidentified(&self) -> bool {
        self.find(|settings| settings.unidentified) == Some(Handling::Pass) && !self.rejects_unknown()
    }

    pub(super) fn is_anonymous(&self, grant_type: &str) -> bool {
        let said = self.find(|settings| {
            settings.anonymous_grants.as_ref().map(|grants| grants.iter().any(|grant| grant == grant_type))
        });
        said.unwrap_or_else(|| ANONYMOUS_GRANTS.contains(&grant_type))
    }

    pub(super) fn takes_request_objects(&self) -> bool {
        self.find(|settings| settings.request_objects).unwrap_or_default()
    }

    /// Returns whether rejections are reported only.
    pub(super) fn reports(&self) -> bool {
        self.find(|settings| settings.report_only).unwrap_or_default()
    }
}
