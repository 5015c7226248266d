//! [`GateSettings`]: the settings of gates, in code and in policy files.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::endpoint::{Endpoint, GateEndpoint, RejectionForm};
use super::failures::Failures;
use super::grant::TOKEN_EXCHANGE;
use super::rules::{self, GateRule, GateRules};
use crate::layers::web_url::WebUrl;
use crate::period;
use crate::rate_limit::{Quota, RateLimit};
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
    /// rejects requests that name no client, at every endpoint: a consent form whose request is kept in a session needs
    /// `client_id` in its URL or in a hidden field.
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
    /// The rules about requests of registered clients (default: those of the preset).
    #[serde(skip_serializing_if = "GateRules::is_default")]
    pub rules: GateRules,
    /// The scopes that a client may ask for without having registered them (default: none). `offline_access` is always one of
    /// them. A server whose clients ask for more later (MCP, "Step-Up Authorization Flow") lists these scopes here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub additional_scopes: Option<Vec<String>>,
    /// The resources that tokens are given for: absolute URLs (default: every resource). A URL with an empty path is the same
    /// with `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Vec<String>>,
    /// The values of `response_mode` (default: `query`, `fragment` and, unless `issuer` is set, `form_post`; for a client that
    /// registered `authorization_signed_response_alg` also those that end in `jwt`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_modes: Option<Vec<String>>,
    /// Tells `client_secret_basic` and `client_secret_post` apart (default: true in the preset `strict`, otherwise false). Many
    /// clients send their secret in the way that they prefer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact_auth_method: Option<bool>,
    /// Requires all clients to push their authorization requests (default: false). The server's metadata document announces it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_pushed_requests: Option<bool>,
    /// The issuer identifier of the server, as in its metadata document (default: none). With it, authorization responses get
    /// the parameter `iss` (RFC 9207) if they have none, and the metadata document announces it. Put a gate on every route
    /// that redirects to clients.
    #[serde(deserialize_with = "issuer", skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Limits failed attempts to authenticate one client from one source (default: `12/minute`, burst 12; `off` for no limit).
    /// Only failures count. The source is an IPv4 address or an IPv6 network. If it is unknown, or evidently a proxy that is not
    /// trusted, nothing counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_authentication: Option<RateLimit>,
}

/// Reads an issuer identifier (RFC 8414 section 2): "a URL that uses the 'https' scheme and has no query or fragment
/// components".
fn issuer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let Some(issuer) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    if WebUrl::read(&issuer).is_some_and(|url| url.is_issuer()) {
        return Ok(Some(issuer));
    }
    let message = format!("{issuer:?} is not an issuer: write an https URL without query and fragment");
    Err(D::Error::custom(message))
}

impl GateRules {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The preset that made a gate, which decides about rules without a setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Profile {
    Mcp,
    Strict,
    /// The preset `oauth`, or none: the operator lists the rules.
    #[default]
    Other,
}

/// A person who types a secret makes a few mistakes; 12 guesses a minute find no secret.
const FAILED_AUTHENTICATION: Quota = Quota::per_minute(NonZeroU32::new(12).unwrap());

/// Grants whose requests need not name a client: assertions (RFC 7521 section 4.1: "Authentication of the client is
/// optional"), token exchange (RFC 8693 section 2.1), and pre-authorized codes (`OpenID4VCI` section 6.1).
const ANONYMOUS_GRANTS: [&str; 4] = [
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
    "urn:ietf:params:oauth:grant-type:pre-authorized_code",
    "urn:ietf:params:oauth:grant-type:saml2-bearer",
    TOKEN_EXCHANGE,
];

/// The section `[gate]` of the policy in force: one for a preset and the gates that follow it.
#[derive(Debug, Default)]
pub(crate) struct FollowedSettings {
    settings: Replaceable<(Profile, GateSettings)>,
    /// The endpoints whose gates follow them, as a set of bits.
    followed_by: AtomicU8,
    /// The settings in code of the authorization endpoint's gate.
    in_code: Replaceable<GateSettings>,
    failures: Failures,
}

impl FollowedSettings {
    pub(crate) fn put(&self, profile: Profile, settings: &GateSettings) {
        self.settings.replace((profile, settings.clone()));
    }

    /// Creates the settings of a gate that follows these.
    pub(super) fn follow(self: Arc<Self>, endpoint: GateEndpoint) -> SettingsInForce {
        self.followed_by.fetch_or(1 << endpoint as u8, Ordering::Relaxed);
        SettingsInForce { failures: self.failures.clone(), followed: Some(self), ..SettingsInForce::default() }
    }

    /// Returns whether the section has settings that no gate follows.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.followed_by.load(Ordering::Relaxed) == 0 && self.settings.load().1 != GateSettings::default()
    }

    /// Changes the server's metadata document (RFC 8414) to what the gates enforce.
    pub(crate) fn amend(&self, document: &mut Map<String, Value>) {
        let is_gated = |endpoint: GateEndpoint| self.followed_by.load(Ordering::Relaxed) & (1 << endpoint as u8) != 0;
        let loaded = self.settings.load();
        let built = GateSettings::clone(&self.in_code.load());
        let settings = SettingsInForce { built, loaded: Some(loaded), ..SettingsInForce::default() };
        if is_gated(GateEndpoint::Authorization) && !settings.reports() {
            amend(&settings, document);
        }
    }
}

/// Changes the server's metadata document to what a gate of the authorization endpoint enforces.
fn amend(settings: &SettingsInForce, document: &mut Map<String, Value>) {
    let rules = settings.rules();
    let mut set = |name: &str, value: Value| _ = document.insert(name.to_owned(), value);
    if settings.issuer().is_some() {
        set("authorization_response_iss_parameter_supported", Value::Bool(true));
    }
    if settings.requires_pushed_requests() && rules.action(rules::PUSHED_REQUEST) == Action::Reject {
        set("require_pushed_authorization_requests", Value::Bool(true));
    }
    if rules.action(rules::PKCE) == Action::Reject {
        // Not added: RFC 8414 section 2 says that a server without the member has no PKCE. The gate requires a challenge, but
        // only the server can compare it with the verifier.
        keep(document, "code_challenge_methods_supported", |method| method == "S256");
    }
    if rules.action(rules::RESPONSE_MODE) == Action::Reject {
        keep(document, "response_modes_supported", |mode| {
            let is_default = || rules::response_mode::is_plain(mode, settings) || mode.ends_with("jwt");
            settings.lists_response_mode(mode).unwrap_or_else(is_default)
        });
    }
}

/// Removes other values from a list. RFC 8414 section 3.2: "Claims with zero elements MUST be omitted from the response."
fn keep(document: &mut Map<String, Value>, name: &str, is_kept: impl Fn(&str) -> bool) {
    if let Some(Value::Array(values)) = document.get_mut(name) {
        values.retain(|value| value.as_str().is_some_and(&is_kept));
        if values.is_empty() {
            document.remove(name);
        }
    }
}

/// The settings in force at a gate: those of a policy file, then those in code, then the defaults.
#[derive(Clone, Debug, Default)]
pub(super) struct SettingsInForce {
    pub(super) built: GateSettings,
    pub(super) followed: Option<Arc<FollowedSettings>>,
    /// The settings that were followed when a request came in.
    loaded: Option<Arc<(Profile, GateSettings)>>,
    pub(super) failures: Failures,
}

/// The actions of rules in force.
pub(super) struct ActionsInForce<'a> {
    profile: Profile,
    first: Option<GateRules>,
    built: &'a GateRules,
}

impl ActionsInForce<'_> {
    /// Returns the action of a rule.
    pub(super) fn action(&self, rule: &GateRule) -> Action {
        let said = self.first.as_ref().and_then(rule.action).or_else(|| (rule.action)(self.built));
        said.unwrap_or_else(|| (rule.default)(self.profile))
    }
}

impl SettingsInForce {
    /// Changes the settings in code.
    pub(super) fn change(&mut self, endpoint: &Endpoint, change: impl FnOnce(&mut GateSettings)) {
        change(&mut self.built);
        if let Some(followed) = self.followed.as_ref().filter(|_| endpoint.rejection == RejectionForm::Page) {
            followed.in_code.replace(self.built.clone());
        }
    }

    fn load(&self) -> Option<Arc<(Profile, GateSettings)>> {
        self.loaded.clone().or_else(|| self.followed.as_ref().map(|followed| followed.settings.load()))
    }

    fn find<T>(&self, pick: impl Fn(&GateSettings) -> Option<T>) -> Option<T> {
        self.load().and_then(|loaded| pick(&loaded.1)).or_else(|| pick(&self.built))
    }

    /// Returns the actions of rules.
    pub(super) fn rules(&self) -> ActionsInForce<'_> {
        let loaded = self.load();
        let profile = loaded.as_ref().map(|loaded| loaded.0).unwrap_or_default();
        ActionsInForce { profile, first: loaded.map(|loaded| loaded.1.rules), built: &self.built.rules }
    }

    /// Returns `true` if a client may ask for this scope without having registered it.
    pub(super) fn lists_scope(&self, token: &str) -> bool {
        self.find(|settings| Some(settings.additional_scopes.as_ref()?.iter().any(|scope| scope == token)))
            .unwrap_or_default()
    }

    /// Returns `true` if the list of resources has one that `is_it`. `None` if there is no list.
    pub(super) fn lists_resource(&self, is_it: impl Fn(&str) -> bool) -> Option<bool> {
        self.find(|settings| Some(settings.resources.as_ref()?.iter().any(|known| is_it(known))))
    }

    /// Returns `true` if the mode is listed. `None` if there is no list.
    pub(super) fn lists_response_mode(&self, mode: &str) -> Option<bool> {
        self.find(|settings| Some(settings.response_modes.as_ref()?.iter().any(|known| known == mode)))
    }

    pub(super) fn is_exact_auth_method(&self) -> bool {
        let said = self.find(|settings| settings.exact_auth_method);
        said.unwrap_or_else(|| self.load().is_some_and(|loaded| loaded.0 == Profile::Strict))
    }

    pub(super) fn requires_pushed_requests(&self) -> bool {
        self.find(|settings| settings.require_pushed_requests).unwrap_or_default()
    }

    /// Returns the issuer that authorization responses name.
    pub(super) fn issuer(&self) -> Option<String> {
        self.find(|settings| settings.issuer.clone())
    }

    /// Returns the limit on failed attempts to authenticate a client. `None` if there is none.
    pub(super) fn failed_authentication(&self) -> Option<Quota> {
        match self.find(|settings| settings.failed_authentication) {
            None | Some(RateLimit::Default) => Some(FAILED_AUTHENTICATION),
            Some(RateLimit::Off) => None,
            Some(RateLimit::Quota(quota)) => Some(quota),
        }
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
