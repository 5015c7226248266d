//! [`GateSettings`]: the settings of gates, in code and in policy files.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::period;
use crate::replaceable::Replaceable;
use crate::rules::action::{self, Action};

/// The settings of a [`GateLayer`](crate::layers::GateLayer): the keys of the section `[gate]` in a policy file.
///
/// A setting in a policy file that the gate [follows](crate::Preset::gate) wins over the one in code; a setting in
/// neither has its default.
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
#[non_exhaustive]
pub struct GateSettings {
    /// The time for which a record is cached (default: 5s). A revocation on another node is seen after that time at the
    /// latest, while the ledger is available. Zero reads the ledger for each request, and keeps no record for use
    /// without it.
    #[serde(skip_serializing_if = "Option::is_none", with = "period::optional")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<period::Period>"))]
    pub max_age: Option<Duration>,
    /// The additional time for which records are used while the ledger is unavailable (default: 1min, which covers a
    /// failover). Clients whose record was read within that time go on, all others get 503. A client that is revoked on
    /// another node meanwhile passes for that long, if this node alone has lost the ledger. Zero answers all requests
    /// with 503 from the first failure.
    #[serde(skip_serializing_if = "Option::is_none", with = "period::optional")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<period::Period>"))]
    pub grace: Option<Duration>,
    /// The handling of clients that the ledger does not know or has only seen in use (default: `pass`). `reject` also
    /// rejects requests that name no client, at every endpoint.
    #[serde(
        deserialize_with = "action::one_if_any::<_, action::PassOrReject>",
        serialize_with = "action::write_one_if_any::<_, action::PassOrReject>",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<action::OneOf<action::PassOrReject>>"))]
    pub unknown: Option<Action>,
    /// Passes all requests while the ledger is unavailable (default: false). An attacker slowing the ledger down brings
    /// back every client that was revoked, for as long as the server still knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub danger_pass_without_ledger: Option<bool>,
    /// The handling of token, pushed and device requests that name no client (default: `reject`). If they pass, a
    /// client that was revoked refreshes its tokens by leaving its name out, if the server allows that.
    #[serde(
        deserialize_with = "action::one_if_any::<_, action::PassOrReject>",
        serialize_with = "action::write_one_if_any::<_, action::PassOrReject>",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<action::OneOf<action::PassOrReject>>"))]
    pub unidentified: Option<Action>,
    /// The values of `grant_type` with which a token request need not name a client (default: the grants whose client
    /// may be anonymous by their own standards: JWT and SAML assertions, token exchange, pre-authorized codes).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonymous_grants: Option<Vec<String>>,
    /// Declares that the server takes request objects (default: false): `request`, and `request_uri` that is not of a
    /// pushed request. The server then has to check the object behind a `request_uri`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_objects: Option<bool>,
    /// Passes all requests that the gate would reject, and reports them in events (default: false). Revoked clients
    /// come back meanwhile, and codes can go to unregistered redirect URIs, if the server allows that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_only: Option<bool>,
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
    settings: Replaceable<GateSettings>,
    /// Set if a gate can follow them.
    is_followed: AtomicBool,
}

impl FollowedSettings {
    pub(crate) fn put(&self, settings: &GateSettings) {
        self.settings.replace(settings.clone());
    }

    /// Creates the settings of a gate that follows these.
    pub(super) fn follow(self: Arc<Self>) -> SettingsInForce {
        self.is_followed.store(true, Ordering::Relaxed);
        SettingsInForce { followed: Some(self), ..SettingsInForce::default() }
    }

    /// Returns whether the section has settings that no gate follows.
    pub(crate) fn is_forgotten(&self) -> bool {
        !self.is_followed.load(Ordering::Relaxed) && *self.settings.load() != GateSettings::default()
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
        self.find(|settings| settings.max_age).unwrap_or(Duration::from_secs(5))
    }

    /// Returns the maximum age of a record while the ledger is unavailable.
    pub(super) fn longest_age(&self) -> Duration {
        let more = self.find(|settings| settings.grace).unwrap_or(Duration::from_secs(60));
        self.max_age().saturating_add(more)
    }

    pub(super) fn rejects_unknown(&self) -> bool {
        self.find(|settings| settings.unknown).is_some_and(|action| action != Action::Pass)
    }

    pub(super) fn passes_without_ledger(&self) -> bool {
        self.find(|settings| settings.danger_pass_without_ledger).unwrap_or_default()
    }

    /// Returns whether requests that name no client pass.
    pub(super) fn passes_unidentified(&self) -> bool {
        self.find(|settings| settings.unidentified) == Some(Action::Pass) && !self.rejects_unknown()
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
