//! [`GateSettings`]: the settings of gates, in code and in policy files.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::endpoint::{Endpoint, GateEndpoint, RejectionForm};
use super::failures::Failures;
use super::grant::TOKEN_EXCHANGE;
use super::rules::{self, GateRule, GateRules};
use super::{issuer, values};
use crate::documents::Documents;
use crate::period;
use crate::rate_limit::{Quota, RateLimit};
use crate::replaceable::Replaceable;
use crate::rules::action::{self, Action};
use crate::text;

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
    /// The handling of token, pushed, device and backchannel requests that name no client (default: `reject`). If they pass, a
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
    #[serde(deserialize_with = "values::each::<values::GrantType, _>", skip_serializing_if = "Option::is_none")]
    pub anonymous_grants: Option<Vec<String>>,
    /// Declares that the server takes request objects in `request` (default: false).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_objects: Option<bool>,
    /// Declares that the server takes a `request_uri` that is not of a pushed request (default: as `request_objects`). The server
    /// then has to check the object behind it. A server that ignores the parameter reads the rest of the request unchecked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_uris: Option<bool>,
    /// Passes all requests that the gate would reject, and reports them in events (default: false). Revoked clients
    /// come back meanwhile, and codes can go to unregistered redirect URIs, if the server allows that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_only: Option<bool>,
    /// The rules about requests of registered clients (default: those of the preset).
    #[serde(skip_serializing_if = "GateRules::is_default")]
    pub rules: GateRules,
    /// The scopes that a client may ask for without having registered them (default: none). `offline_access` is always one of
    /// them. A server whose clients ask for more later (MCP, "Step-Up Authorization Flow") lists these scopes here.
    #[serde(deserialize_with = "values::each::<values::Scope, _>", skip_serializing_if = "Option::is_none")]
    pub additional_scopes: Option<Vec<String>>,
    /// The resources that tokens are given for: absolute URIs without a fragment (default: every resource). They are compared as
    /// strings, apart from the case of scheme and host; a URL with an empty path is the same with `/`. Other parameters with the
    /// same purpose, such as `audience`, are not compared.
    #[serde(deserialize_with = "values::each::<values::Resource, _>", skip_serializing_if = "Option::is_none")]
    pub resources: Option<Vec<String>>,
    /// The values of `response_mode` (default: `query`, `fragment` and `form_post`; for a client that registered
    /// `authorization_signed_response_alg` or `authorization_encrypted_response_alg` also the signed ones: `jwt`, `query.jwt`,
    /// `fragment.jwt`, `form_post.jwt`). While `issuer` is set, only `query`, `fragment` and the signed ones pass, whatever is
    /// listed. A token in the answer never passes in `query`, and in `query.jwt` only if the client registered encryption.
    #[serde(deserialize_with = "values::each::<values::ResponseMode, _>", skip_serializing_if = "Option::is_none")]
    pub response_modes: Option<Vec<String>>,
    /// Tells `client_secret_basic` and `client_secret_post` apart (default: true in the preset `strict`, otherwise false). Many
    /// clients send their secret in the way that they prefer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact_auth_method: Option<bool>,
    /// Requires all clients to push their authorization requests (default: false). The server's metadata document announces it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_pushed_requests: Option<bool>,
    /// The issuer identifier of the server, as in its metadata document (default: none): an `https` URL, or `http` on a loopback
    /// host. With it, redirects to the client's
    /// redirect URI have exactly one parameter `iss` (RFC 9207), and the metadata document announces it, if it names the same
    /// issuer. Requests whose response can't get the parameter are rejected whatever the rules are: another `response_mode` than a
    /// redirect or a signed response, and a redirect URI with `iss`, `code`, `error`, `access_token`, `id_token` or `response` in its
    /// query. Put a gate on every route that redirects to clients.
    #[serde(deserialize_with = "values::issuer", skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Limits failed attempts to authenticate one client from one source (default: `12/minute`, burst 12; `off` for no limit).
    /// Only failures count. The source is an IPv4 address or an IPv6 network. If it is unknown, or evidently a proxy that is not
    /// trusted, nothing counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_authentication: Option<RateLimit>,
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
    /// Set once a gate of the authorization endpoint fetches documents.
    has_documents: AtomicBool,
    /// The settings in code of the authorization endpoint's gate.
    in_code: Replaceable<GateSettings>,
    /// Set once it was logged that the metadata document contradicts them.
    has_warned: AtomicBool,
    failures: Failures,
}

impl FollowedSettings {
    pub(crate) fn put(&self, profile: Profile, settings: &GateSettings) {
        if self.settings.load().1 != *settings {
            self.has_warned.store(false, Ordering::Relaxed);
        }
        self.settings.replace((profile, settings.clone()));
    }

    /// Creates the settings of a gate that follows these.
    pub(super) fn follow(self: Arc<Self>, endpoint: GateEndpoint) -> Settings {
        self.followed_by.fetch_or(1 << endpoint as u8, Ordering::Relaxed);
        Settings { failures: self.failures.clone(), followed: Some(self), ..Settings::default() }
    }

    /// Notes that a gate has the documents of clients.
    pub(crate) fn fetches_documents(&self, endpoint: GateEndpoint) {
        self.has_documents.fetch_or(endpoint == GateEndpoint::Authorization, Ordering::Relaxed);
    }

    /// Returns whether the section has settings that no gate follows.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.followed_by.load(Ordering::Relaxed) == 0 && self.settings.load().1 != GateSettings::default()
    }

    /// Changes the server's metadata document (RFC 8414) to what the gates enforce, and to the metadata documents of clients that
    /// they accept.
    pub(crate) fn amend(&self, document: &mut Map<String, Value>, documents: Option<&Documents>) {
        let is_gated = |endpoint: GateEndpoint| self.followed_by.load(Ordering::Relaxed) & (1 << endpoint as u8) != 0;
        let is_served = self.has_documents.load(Ordering::Relaxed);
        if documents.is_some() && !is_served && !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(target: "tower_dcr::setup", "{NO_DOCUMENT_GATE}");
        }
        let built = self.in_code.load();
        let settings = SettingsInForce { built: &built, loaded: Some(self.settings.load()) };
        if is_gated(GateEndpoint::Authorization) && !settings.reports() {
            let before = document.clone();
            let mut contradictions = amend(&settings, document);
            if announce_documents(&settings, document, documents, is_served) && !is_gated(GateEndpoint::Token) {
                contradictions.push(NO_TOKEN_GATE.to_owned());
            }
            if *document != before {
                // RFC 8414 section 2.1: signed values "MUST take precedence over the corresponding values conveyed using plain
                // JSON elements".
                document.remove("signed_metadata");
            }
            // Once: a request can cause them, where the server takes its issuer from it.
            if !contradictions.is_empty() && !self.has_warned.swap(true, Ordering::Relaxed) {
                for contradiction in contradictions {
                    tracing::warn!(target: "tower_dcr::setup", "{contradiction}");
                }
            }
        }
    }
}

const NO_DOCUMENT_GATE: &str = "no client is known by the URL of its document: no gate of this preset is at the authorization \
                                endpoint; make the gate by `Preset::gate`, after `Preset::with_documents`";

const NO_TOKEN_GATE: &str = "clients that are named by a metadata document sign in at the authorization endpoint, and no gate of \
                             this preset is at the token endpoint: a client that was revoked keeps its refresh tokens, and the \
                             handler there learns nothing about a client; make the gate by `Preset::gate`";

/// Announces metadata documents of clients exactly where a gate accepts them. Clients that read the announcement do not register
/// any more, and none is known to come back to it after a rejection. Returns `true` if they are announced.
fn announce_documents(
    settings: &SettingsInForce<'_>,
    document: &mut Map<String, Value>,
    documents: Option<&Documents>,
    is_served: bool,
) -> bool {
    const SUPPORTED: &str = "client_id_metadata_document_supported";
    const METHODS: &str = "token_endpoint_auth_methods_supported";
    let is_accepted = is_served && documents.is_some_and(|documents| documents.in_force().settings.admits_any());
    if is_accepted {
        document.insert(SUPPORTED.to_owned(), Value::Bool(true));
        // Without it, known clients register although they have a document.
        let methods = document.entry(METHODS).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(methods) = methods
            && !methods.iter().any(|method| method == "none")
            && documents.is_some_and(|documents| documents.in_force().offers_none)
        {
            methods.push("none".into());
        }
    } else if (documents.is_some() || settings.rejects_unknown()) && document.contains_key(SUPPORTED) {
        // The server behind the gate may accept them. None of them gets there.
        document.insert(SUPPORTED.to_owned(), Value::Bool(false));
    }
    is_accepted
}

/// Changes the server's metadata document to what a gate of the authorization endpoint enforces. Returns the
/// settings that it contradicts.
fn amend(settings: &SettingsInForce<'_>, document: &mut Map<String, Value>) -> Vec<String> {
    let issuer = settings.issuer();
    let of_issuer = issuer.and_then(|issuer| announce_issuer(issuer, document));
    if settings.requires_pushed_requests() && settings.action(rules::PUSHED_REQUEST) == Action::Reject {
        document.insert("require_pushed_authorization_requests".to_owned(), Value::Bool(true));
    }
    if settings.action(rules::PKCE) == Action::Reject {
        // Not added: RFC 8414 section 2 says that a server without the member has no PKCE. The gate requires a challenge, but
        // only the server can compare it with the verifier.
        keep(document, "code_challenge_methods_supported", |method| method == "S256");
    }
    let is_compared = settings.action(rules::RESPONSE_MODE) == Action::Reject;
    if is_compared || issuer.is_some() {
        let passes = |mode: &str| {
            let is_default = || rules::response_mode::MODES.contains(&mode) || mode.ends_with("jwt");
            let is_listed = || settings.lists_response_mode(mode).unwrap_or_else(is_default);
            (issuer.is_none() || issuer::can_name_issuer(mode)) && (!is_compared || is_listed())
        };
        // RFC 8414 section 2: "If omitted, the default is "["query", "fragment"]"."
        let by_default = ["query", "fragment"];
        if !document.contains_key("response_modes_supported") && !by_default.into_iter().all(passes) {
            document.insert("response_modes_supported".to_owned(), by_default.into_iter().collect());
        }
        keep(document, "response_modes_supported", passes);
    }
    if !settings.takes_request_uris() {
        // OpenID Connect Discovery section 3, request_uri_parameter_supported: "If omitted, the default value is true."
        document.insert("request_uri_parameter_supported".to_owned(), Value::Bool(false));
        withdraw(document, "require_request_uri_registration");
    }
    let of_objects = if settings.takes_request_objects() { None } else { withdraw_request_objects(document) };
    of_issuer.into_iter().chain(of_objects).collect()
}

/// Announces that responses name the issuer. Returns the contradiction if the document names another issuer: clients compare the
/// two by "simple string comparison" (RFC 9207 section 2.4). It is not announced then.
fn announce_issuer(issuer: &str, document: &mut Map<String, Value>) -> Option<String> {
    let said = document.get("issuer").and_then(Value::as_str);
    if said == Some(issuer) {
        document.insert("authorization_response_iss_parameter_supported".to_owned(), Value::Bool(true));
        return None;
    }
    let said = said.map_or_else(|| "none".to_owned(), |said| format!("{:?}", text::cut(said, 200)));
    Some(format!(
        "gate.issuer is {issuer:?}, but the issuer in the server's metadata document is {said}: clients that compare them reject \
         every response; the gate does not announce the parameter iss; write gate.issuer as it is in the document"
    ))
}

/// Sets a member to false, if it is there. Returns `true` if it was true.
fn withdraw(document: &mut Map<String, Value>, name: &str) -> bool {
    document.get_mut(name).is_some_and(|value| std::mem::replace(value, Value::Bool(false)) == Value::Bool(true))
}

/// Withdraws what the document says about request objects (RFC 9101), which the gate does not take. Returns the contradiction if
/// the server requires them.
fn withdraw_request_objects(document: &mut Map<String, Value>) -> Option<String> {
    withdraw(document, "request_parameter_supported");
    withdraw(document, "require_signed_request_object").then(|| {
        "the server's metadata document has require_signed_request_object, and the gate takes no request objects: write \
         gate.request_objects = true"
            .to_owned()
    })
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

/// The settings of a gate.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    built: GateSettings,
    followed: Option<Arc<FollowedSettings>>,
    pub(super) failures: Failures,
}

impl Settings {
    /// Changes the settings in code. Returns a description of the first value that is invalid.
    pub(super) fn change(&mut self, endpoint: &Endpoint, change: impl FnOnce(&mut GateSettings)) -> Result<(), String> {
        change(&mut self.built);
        self.built.check()?;
        if let Some(followed) = self.followed.as_ref().filter(|_| endpoint.rejection == RejectionForm::Page) {
            followed.in_code.replace(self.built.clone());
        }
        Ok(())
    }

    /// Returns the settings of this moment.
    pub(super) fn in_force(&self) -> SettingsInForce<'_> {
        let loaded = self.followed.as_ref().map(|followed| followed.settings.load());
        SettingsInForce { loaded, built: &self.built }
    }
}

/// The settings for one request: those of a policy file, then those in code, then the defaults.
#[derive(Debug)]
pub(super) struct SettingsInForce<'a> {
    loaded: Option<Arc<(Profile, GateSettings)>>,
    built: &'a GateSettings,
}

impl SettingsInForce<'_> {
    fn find<'s, T>(&'s self, pick: impl Fn(&'s GateSettings) -> Option<T>) -> Option<T> {
        self.loaded.as_ref().and_then(|loaded| pick(&loaded.1)).or_else(|| pick(self.built))
    }

    fn profile(&self) -> Profile {
        self.loaded.as_ref().map(|loaded| loaded.0).unwrap_or_default()
    }

    /// Returns the action of a rule.
    pub(super) fn action(&self, rule: &GateRule) -> Action {
        self.find(|settings| (rule.action)(&settings.rules)).unwrap_or_else(|| (rule.default)(self.profile()))
    }

    /// Returns `true` if a client may ask for this scope without having registered it.
    pub(super) fn lists_scope(&self, token: &str) -> bool {
        self.find(|settings| Some(settings.additional_scopes.as_ref()?.iter().any(|scope| scope == token)))
            .unwrap_or_default()
    }

    /// Returns `true` if there is no list of resources, or one that `is_it`.
    pub(super) fn lists_resource(&self, is_it: impl Fn(&str) -> bool) -> bool {
        self.find(|settings| Some(settings.resources.as_ref()?.iter().any(|known| is_it(known)))).unwrap_or(true)
    }

    /// Returns `true` if the mode is listed. `None` if there is no list.
    pub(super) fn lists_response_mode(&self, mode: &str) -> Option<bool> {
        self.find(|settings| Some(settings.response_modes.as_ref()?.iter().any(|known| known == mode)))
    }

    pub(super) fn is_exact_auth_method(&self) -> bool {
        let said = self.find(|settings| settings.exact_auth_method);
        said.unwrap_or_else(|| self.profile() == Profile::Strict)
    }

    pub(super) fn requires_pushed_requests(&self) -> bool {
        self.find(|settings| settings.require_pushed_requests).unwrap_or_default()
    }

    /// Returns the issuer that authorization responses name.
    pub(super) fn issuer(&self) -> Option<&str> {
        self.find(|settings| settings.issuer.as_deref())
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

    pub(super) fn takes_request_uris(&self) -> bool {
        self.find(|settings| settings.request_uris).unwrap_or_else(|| self.takes_request_objects())
    }

    /// Returns whether rejections are reported only.
    pub(super) fn reports(&self) -> bool {
        self.find(|settings| settings.report_only).unwrap_or_default()
    }
}
