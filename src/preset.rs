//! All layers in the right order: [`mcp()`](crate::mcp), [`strict()`](crate::strict) and [`oauth()`](crate::oauth).
//!
//! audit → rate limit → initial access token → metadata allowlist → redirect URIs → client identity → your rules →
//! redirect host quota → lifecycle → answer → handler
//!
//! The audit is outermost, so that every attempt is an event. The rate limit comes before any work; the policy layer
//! charges its budgets after the rules have run. Rules that rewrite run before rules that accept or reject. The ledger,
//! if there is [one](Preset::with_registrar), records the checked registration and the client's answer. The answer is
//! checked next to the handler.
//!
//! ```
//! use tower_dcr::audit::TracingSink;
//!
//! let quota = "120/minute".parse()?;
//! let preset = tower_dcr::mcp()
//!     .map_rate_limit(|limits| limits.address = quota)
//!     .with_trusted_proxies(["10.0.0.0/8"])?
//!     .with_sink(TracingSink);
//! let settings = serde_json::to_value(&preset)?;
//! assert_eq!(settings["rate_limit"]["address"], "120/minute");
//! assert_eq!(settings["client_address"]["trusted_proxies"][0], "10.0.0.0/8");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Extensions;
use serde::{Serialize, Serializer};

use crate::audit::{ChainKey, Sink};
use crate::bounds;
use crate::client_address::ClientAddress;
use crate::client_url::ClientUrl;
use crate::clients::registrar::Registrar;
use crate::documents::{ClientIdUrl, DocumentError, DocumentSettings, Documents, VerifiedClient, Wanted};
use crate::layers::audit::AuditLayer;
use crate::layers::docs;
use crate::layers::gate::{self, GateEndpoint, GateLayer};
use crate::layers::initial_access_token::{Closing, InitialAccessTokenLayer};
use crate::layers::rate_limit::RateLimitLayer;
use crate::layers::response::ResponseLayer;
use crate::layers::server_metadata::ServerMetadataLayer;
use crate::layers::setup_check::Misconfiguration;
use crate::rate_limit::{RateLimits, SharedQuotas};
use crate::registration::Limits;
use crate::rules::{
    AuthMethod, Condition, ConfigError, Grants, IntoRules, MetadataAllowlist, Policy, RedirectHostQuota, RedirectUris,
    ReportableRule, RuleDocs, ServerMetadata,
};

pub(crate) mod lifecycle;
pub(crate) mod rules;
mod service;
pub(crate) mod settings;
pub(crate) mod shadow;
pub(crate) mod tokens;

use crate::policy_file::document::{Base, Document, RegistrationState};
use rules::RuleSettings;
use settings::{Layers, Settings};

pub use rules::PresetRules;

/// All layers as one. See the [module docs](self) for their order.
///
/// The state of the rate limits belongs to the value: its clones, and all routes that it is put on, share it.
#[derive(Clone, Debug)]
#[must_use]
pub struct Preset {
    pub(crate) settings: Arc<Settings>,
    /// Built from the settings on first use.
    policy: Arc<OnceLock<Policy>>,
    /// Built on first use: axum may call `layer` again for every request.
    layers: Arc<OnceLock<Layers>>,
}

impl Preset {
    /// Creates the preset for MCP servers: see [`crate::mcp`].
    pub(crate) fn mcp() -> Self {
        Self::new(Base::Mcp, MetadataAllowlist::mcp(), RedirectUris::mcp())
    }

    /// Creates the preset for clients that you know: see [`crate::strict`].
    pub(crate) fn strict() -> Self {
        Self::new(Base::Strict, MetadataAllowlist::strict(), RedirectUris::strict())
    }

    /// Creates the preset for other OAuth and OpenID servers: see [`crate::oauth`].
    pub(crate) fn oauth(grants: Grants, auth_method: AuthMethod) -> Self {
        Self::new(Base::Oauth, MetadataAllowlist::oauth(grants, auth_method), RedirectUris::oauth())
    }

    fn new(base: Base, metadata: MetadataAllowlist, redirect_uris: RedirectUris) -> Self {
        let settings = Settings::new(base, RuleSettings::new(PresetRules::new(metadata, redirect_uris)));
        Self::of(settings)
    }

    pub(crate) fn of(settings: Settings) -> Self {
        Self { settings: Arc::new(settings), policy: Arc::default(), layers: Arc::default() }
    }

    fn change(self, change: impl FnOnce(&mut Settings)) -> Self {
        let before = self.settings.fetched.as_ref().map(|_| self.settings.document_judgement());
        let mut settings = Arc::unwrap_or_clone(self.settings);
        change(&mut settings);
        if before.is_some_and(|before| before != settings.document_judgement()) {
            // A clone with the rules of before may be another tenant's: neither judges by the other's.
            settings.fetched = settings.fetched.map(Documents::into_its_own);
        }
        settings.put_documents();
        Self::of(settings)
    }

    /// Changes the rules of every caller.
    fn change_all_rules(self, change: impl Fn(&mut PresetRules)) -> Self {
        self.change(|settings| settings.policy.all().for_each(change))
    }

    /// Changes the rules, except those of [`for_callers`](Self::for_callers).
    ///
    /// ```
    /// use tower_dcr::Registration;
    /// use tower_dcr::rules::{Context, Decision};
    ///
    /// let preset = tower_dcr::strict().map_rules(|mut rules| {
    ///     rules.redirect_uris.patterns.push("https://app.corp.internal/cb".parse()?);
    ///     rules.redirect_uris = rules.redirect_uris.add_private_use_scheme("com.example.app")?;
    ///     Ok(rules)
    /// })?;
    /// let body = br#"{"redirect_uris":["https://app.corp.internal/cb","com.example.app:/cb"]}"#;
    /// let evaluation = preset.policy().evaluate(Registration::parse(body)?, &Context::registration());
    /// assert_eq!(evaluation.decision(), Decision::Accept);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of `change`.
    pub fn map_rules(
        self,
        change: impl FnOnce(PresetRules) -> Result<PresetRules, ConfigError>,
    ) -> Result<Self, ConfigError> {
        let rules = change(self.settings.policy.otherwise.clone())?;
        Ok(self.change(|settings| settings.policy.otherwise = rules))
    }

    /// Adds rules for callers that meet `condition`: the current rules of the preset, changed by `change`. Later
    /// changes to the preset's rules apply to all other callers only, except for limits. The first condition that holds
    /// counts.
    ///
    /// ```
    /// use tower_dcr::Registration;
    /// use tower_dcr::redirect_uri::RedirectClass;
    /// use tower_dcr::rules::{Caller, Condition, Context, Decision};
    ///
    /// // Any caller may register applications on their own machine; a token may register any application.
    /// let preset = tower_dcr::mcp().for_callers(Condition::Token, Ok)?.map_rules(|mut rules| {
    ///     rules.redirect_uris.classes = vec![RedirectClass::Loopback];
    ///     Ok(rules)
    /// })?;
    /// let hosted = Registration::parse(br#"{"redirect_uris":["https://app.example.com/cb"]}"#)?;
    /// let decide = |context| preset.policy().evaluate(hosted.clone(), &context).decision();
    /// assert_eq!(decide(Context::registration()), Decision::Reject);
    /// assert_eq!(decide(Context::registration().by(Caller::authorized("partner-portal"))), Decision::Accept);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of `change`.
    pub fn for_callers(
        self,
        condition: Condition,
        change: impl FnOnce(PresetRules) -> Result<PresetRules, ConfigError>,
    ) -> Result<Self, ConfigError> {
        let rules = change(self.settings.policy.otherwise.clone())?;
        Ok(self.change(|settings| settings.policy.cases.push((condition, rules))))
    }

    /// Sets the layer for initial access tokens, required or optional: see [`InitialAccessTokenLayer`]. It uses the
    /// ledger of [`with_registrar`](Self::with_registrar) unless it has one of its own, and reads URLs as set by
    /// [`with_client_url`](Self::with_client_url).
    pub fn with_initial_access_tokens(self, layer: InitialAccessTokenLayer) -> Self {
        self.change(|settings| (settings.initial_access_token, settings.tokens) = (layer, None))
    }

    /// Verifies software statements, before all other rules. Without this setting, they are rejected.
    #[cfg(feature = "software-statement")]
    pub fn with_software_statements(self, statements: crate::rules::SoftwareStatements) -> Self {
        self.change(|settings| settings.policy.statements = Some(statements))
    }

    /// Adds rules of your own, which run after the others ([`PresetRules::additional`]).
    pub fn add_rule(self, rule: impl IntoRules) -> Self {
        self.change(|settings| settings.policy.otherwise.add_rule(rule))
    }

    /// Sets the limits on a body (default: [`Limits::default`]).
    pub fn with_body(self, limits: Limits) -> Self {
        self.change(|settings| settings.limits = limits.within_bounds())
    }

    /// Returns the limits on a body.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// Sets the time limit for reading the body, counted from the first read that does not complete at once (default:
    /// 10 seconds). Clamped to 100 milliseconds at least and 10 minutes at most.
    pub fn with_body_deadline(self, deadline: Duration) -> Self {
        let deadline = deadline.clamp(Duration::from_millis(100), bounds::LONGEST_BODY);
        self.change(|settings| settings.deadline = deadline)
    }

    /// Changes the rate limits, which are the keys of the section `[rate_limit]` in a policy file. A
    /// [reload](Self::reloadable) replaces them.
    ///
    /// ```
    /// let quota = "5/minute".parse()?;
    /// let preset = tower_dcr::mcp().map_rate_limit(|limits| limits.address = quota);
    /// assert_eq!(serde_json::to_value(&preset)?["rate_limit"]["address"], "5/minute");
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn map_rate_limit(self, change: impl FnOnce(&mut RateLimits)) -> Self {
        self.change(|settings| settings.rate_limit = settings.rate_limit.clone().map_limits(change))
    }

    /// Sets the quota of registrations for one redirect host (default: [`RedirectHostQuota::DEFAULT`]).
    pub fn with_redirect_host_quota(self, quota: RedirectHostQuota) -> Self {
        let quota = Some(quota);
        self.change_all_rules(|rules| rules.redirect_host_quota.clone_from(&quota))
    }

    /// Replaces the limiter, with all that [`map_rate_limit`](Self::map_rate_limit) has set before: for one with
    /// [budgets of your own](RateLimitLayer::add_budget).
    pub fn with_rate_limit(self, rate_limit: RateLimitLayer) -> Self {
        self.change(|settings| settings.rate_limit = rate_limit)
    }

    /// Shares the budgets of registrations, by address and by redirect host, with other nodes (default: each node has its own).
    pub fn with_shared_quotas(self, shared: SharedQuotas) -> Self {
        self.change(|settings| {
            settings.fetched = settings.fetched.take().map(|documents| documents.with_shared_quotas(shared.clone()));
            settings.shared_quotas = Some(shared);
        })
    }

    /// Removes all limits: by address, in total and by redirect host.
    pub fn without_rate_limits(self) -> Self {
        self.map_rate_limit(|limits| *limits = RateLimits::OFF)
            .change_all_rules(|rules| rules.redirect_host_quota = None)
    }

    /// Sets the source of peer addresses: see [`ClientAddress::with_peer_address`].
    pub fn with_peer_address(self, peer: impl Fn(&Extensions) -> Option<SocketAddr> + Send + Sync + 'static) -> Self {
        let address = self.settings.address.clone().with_peer_address(peer);
        self.with_client_address(address)
    }

    /// Sets the proxies whose headers tell the client's address: see [`ClientAddress::with_trusted_proxies`]. A
    /// [reload](Self::reloadable) replaces them: with a policy file, write `client_address.trusted_proxies` there.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::Cidr`] if an item is neither an address nor a CIDR block.
    pub fn with_trusted_proxies<P: AsRef<str>>(
        self,
        proxies: impl IntoIterator<Item = P>,
    ) -> Result<Self, ConfigError> {
        let address = self.settings.address.clone().with_trusted_proxies(proxies)?;
        Ok(self.with_client_address(address))
    }

    /// Sets the source of client addresses, in place of what [`with_peer_address`](Self::with_peer_address) and
    /// [`with_trusted_proxies`](Self::with_trusted_proxies) have set before.
    pub fn with_client_address(self, address: ClientAddress) -> Self {
        self.change(|settings| settings.address = address)
    }

    /// Sets the sink of audit events (default: `tracing`, target `tower_dcr::audit`). The lifecycle events of the
    /// [registrar](Self::with_registrar) go there, too, unless it has [a sink of its own](Registrar::with_sink).
    pub fn with_sink(self, sink: impl Sink) -> Self {
        self.change(|settings| {
            (settings.audit, settings.has_sink) = (settings.audit.clone().with_sink(sink), true);
            settings.tell_audit();
        })
    }

    /// Changes the audit layer. The source of client addresses is that of this preset.
    ///
    /// ```
    /// use tower_dcr::layers::AuditLayer;
    ///
    /// let preset = tower_dcr::mcp().map_audit(AuditLayer::with_requester);
    /// assert_eq!(serde_json::to_value(&preset)?["audit"]["requester"], "address");
    /// # Ok::<_, serde_json::Error>(())
    /// ```
    pub fn map_audit(self, change: impl FnOnce(AuditLayer) -> AuditLayer) -> Self {
        self.change(|settings| {
            let audit = change(settings.audit.clone());
            settings.has_sink |= !Arc::ptr_eq(audit.aggregator(), settings.audit.aggregator());
            settings.audit = audit;
            settings.tell_audit();
        })
    }

    /// Emits the sums of audit events now: see [`AuditLayer::flush`]. Dropping the last clone does that, too.
    pub fn flush_audit(&self) {
        self.settings.audit.flush();
    }

    /// Records registrations in the registrar's ledger: see [`LifecycleLayer`](crate::layers::LifecycleLayer). In [report-only](Self::report_only)
    /// mode nothing is recorded. In the `oauth` preset, which is for OpenID providers too, each registration gets a
    /// client of its own, unless the [settings](crate::clients::LifecycleSettings::deduplication) say otherwise.
    pub fn with_registrar(self, registrar: Registrar) -> Self {
        let without_deduplication = self.settings.base == Base::Oauth && !registrar.says_deduplication();
        self.change(|settings| {
            settings.lifecycle = settings.lifecycle.clone().with_registrar(registrar, without_deduplication);
            settings.tell_audit();
        })
    }

    /// Creates the gate of another endpoint, whose settings follow the section `[gate]` of the policy file. A policy
    /// file with such a section that no gate follows is a
    /// [`Misconfiguration::ForgottenGates`](crate::layers::Misconfiguration).
    pub fn gate(&self, endpoint: GateEndpoint, registrar: Registrar) -> GateLayer {
        self.settings.gate(endpoint, registrar)
    }

    /// Sets how URLs of RFC 7592 name their client (default: [`ClientUrl::default`]), for all layers. The key in policy
    /// files is `client_url`, which takes precedence.
    pub fn with_client_url(self, client_url: ClientUrl) -> Self {
        self.change(|settings| settings.client_url = client_url)
    }

    /// Changes the layer that checks the handler's answers.
    ///
    /// ```
    /// use tower_dcr::rules::Action;
    ///
    /// let preset = tower_dcr::mcp().map_answer(|answer| answer.with_secret(Action::Strip));
    /// assert_eq!(serde_json::to_value(&preset)?["answer"]["secret"], "strip");
    /// # Ok::<_, serde_json::Error>(())
    /// ```
    pub fn map_answer(self, change: impl FnOnce(ResponseLayer) -> ResponseLayer) -> Self {
        self.change(|settings| settings.answer = change(settings.answer.clone()))
    }

    /// Sets the origin by which clients know the server: see [`ResponseLayer::with_public_url`]. It stays if a policy
    /// file that is read later does not set it.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::Origin`] if `url` is not an `http` or `https` origin.
    pub fn with_public_url(self, url: impl AsRef<str>) -> Result<Self, ConfigError> {
        let answer = self.settings.answer.clone().with_public_url(url)?;
        Ok(self.map_answer(|_| answer))
    }

    /// Enforces nothing: audit events report the decisions. Requests and the handler's answers pass unchanged, and the
    /// ledger records nothing. The server is then as open as without this crate, and the log repeats that once an hour.
    /// To try a policy while another one is enforced, see [`with_shadow`](Self::with_shadow). Gates have their own
    /// setting, [`GateSettings::report_only`](crate::layers::GateSettings::report_only).
    ///
    /// The rules for [documents](Self::with_documents) and the admission `listed` report, too. URLs, addresses, sizes and the
    /// `client_id` in a document are checked all the same.
    pub fn report_only(self) -> Self {
        self.change(|settings| settings.report_only = true)
    }

    /// Rejects every registration with 403 `access_denied`, of callers with a token, too, and removes
    /// `registration_endpoint` from the [discovery document](Self::amend_server_metadata). Clients that are registered go
    /// on: they sign in, and manage themselves (RFC 7592). The key in policy files is `registration = "closed"`; a
    /// [reload](Self::reloadable) opens and closes it.
    ///
    /// ```
    /// let mut document = serde_json::json!({ "registration_endpoint": "https://as.example.com/register" });
    /// tower_dcr::mcp().close_registration().amend_server_metadata(document.as_object_mut().unwrap());
    /// assert_eq!(document.get("registration_endpoint"), None);
    /// ```
    pub fn close_registration(self) -> Self {
        self.change(|settings| settings.registration = RegistrationState::Closed)
    }

    /// Sets the rules that are evaluated and reported, but not enforced (default: none), by their names in audit
    /// events, such as `redirect-uris`. The registration continues as if the rule were not there, for every caller.
    /// Findings have `enforced: false`. The key in policy files is `report_only_rules`.
    ///
    /// Accepted are all rules of a preset that decide about members, and `redirect-host-quota`, `rate-limit` and
    /// `initial-access-token`. For rules of your own, use [`Policy::report_only`](crate::rules::Policy::report_only); answers, the ledger
    /// and gates have a `report_only` of their own.
    ///
    /// ```
    /// use tower_dcr::Registration;
    /// use tower_dcr::rules::{Context, Decision};
    ///
    /// let preset = tower_dcr::mcp().with_report_only_rules(["identity", "redirect-host-quota"])?;
    /// let body = br#"{"client_name":"Claude","redirect_uris":["https://attacker.example.net/cb"]}"#;
    /// let evaluation = preset.policy().evaluate(Registration::parse(body)?, &Context::registration());
    /// assert_ne!(evaluation.decision(), Decision::Reject);
    /// assert!(evaluation.findings.iter().any(|finding| finding.rule == "identity" && !finding.enforced));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::ReportOnlyRule`] if a name is another one.
    pub fn with_report_only_rules<N: AsRef<str>>(
        self,
        names: impl IntoIterator<Item = N>,
    ) -> Result<Self, ConfigError> {
        let rules: Result<_, _> = names.into_iter().map(|name| ReportableRule::named(name.as_ref())).collect();
        let rules = rules?;
        Ok(self.change(|settings| settings.policy.report_only = rules))
    }
}

impl Preset {
    /// Returns the digest of the effective policy, as 16 hexadecimal digits, as in audit events and the ledger's
    /// records. It covers everything that a policy file can set, and rules in code.
    ///
    /// ```
    /// assert_ne!(tower_dcr::mcp().fingerprint(), tower_dcr::mcp().report_only().fingerprint());
    /// ```
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("{:016x}", self.settings.fingerprint())
    }

    /// Returns `true` if nothing is enforced ([`report_only`](Self::report_only)).
    #[must_use]
    pub fn is_report_only(&self) -> bool {
        self.settings.report_only
    }

    /// Returns the file that `audit.chain_key_file` in a policy file names, and the key in it, for the program that opens
    /// the audit file ([`JsonLinesSettings::chain`](crate::audit::JsonLinesSettings::chain)); `None` if the policy
    /// has none.
    #[must_use]
    pub fn chain_key(&self) -> Option<(&Path, ChainKey)> {
        let (file, key) = self.settings.chain_key.as_ref()?;
        Some((file, ChainKey::new(key)?))
    }

    /// Returns the documentation of every rule that a preset may have and of every layer that rejects, in the order of
    /// their evaluation.
    pub fn rule_docs() -> impl Iterator<Item = &'static RuleDocs> {
        docs::BEFORE_POLICY
            .iter()
            .chain(rules::DOCS.iter().copied())
            .chain(crate::rules::docs())
            .chain(&docs::AFTER_POLICY)
            .chain(gate::rule_docs())
    }

    /// Returns the policy that the layers evaluate, for documents from other sources. It has no rate limit by address.
    /// The limit by redirect host counts on this node, for evaluations that are
    /// [committed](crate::rules::Evaluation::commit).
    ///
    /// ```
    /// use tower_dcr::Registration;
    /// use tower_dcr::rules::{Context, Decision};
    ///
    /// let preset = tower_dcr::mcp();
    /// let registration = Registration::parse(br#"{"redirect_uris":["http://192.0.2.1/cb"]}"#)?;
    /// assert_eq!(preset.policy().evaluate(registration, &Context::registration()).decision(), Decision::Reject);
    /// # Ok::<_, tower_dcr::registration::ParseError>(())
    /// ```
    pub fn policy(&self) -> &Policy {
        self.policy
            .get_or_init(|| self.settings.policy.policy(self.settings.fingerprint(), &self.settings.lifecycle.hold()))
    }

    /// Returns the policy for client metadata documents: the rules of [`policy`](Self::policy), without those for
    /// [callers](Self::for_callers) and the quota of redirect hosts, with [`DocumentRules`](crate::rules::DocumentRules). A document
    /// is the same for every server, so its lists are narrowed where a registration would be rejected.
    ///
    /// ```
    /// use tower_dcr::documents::{self, ClientIdUrl};
    /// use tower_dcr::rules::{Context, Decision};
    ///
    /// let url = ClientIdUrl::parse("https://app.example.com/client.json")?;
    /// let bytes = br#"{"client_id":"https://app.example.com/client.json","client_name":"App",
    ///     "redirect_uris":["http://127.0.0.1/cb"],"grant_types":["authorization_code","urn:ietf:params:oauth:grant-type:device_code"]}"#;
    /// let evaluation = tower_dcr::strict().document_policy().evaluate(documents::read(&url, bytes)?, &Context::document(&url));
    /// assert_eq!(evaluation.decision(), Decision::Rewrite);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn document_policy(&self) -> Policy {
        self.settings.document_policy()
    }

    /// Serves clients whose `client_id` is the URL of a metadata document. The [gates](Self::gate) that are created afterwards fetch
    /// and judge documents at the authorization endpoint and the endpoint for pushed requests, and know them at the others; the
    /// [metadata document](Self::server_metadata_layer) announces it.
    ///
    /// This preset and its clones have a memory of their own: presets that get clones of `documents` share no document, no budget and
    /// no judgement. A preset whose rules for documents are changed begins with an empty memory; gates that were made before keep
    /// their rules, except by a [reload](Self::reloadable).
    pub fn with_documents(self, documents: Documents) -> Self {
        self.change(|settings| {
            settings.fetched = Some(match &settings.shared_quotas {
                Some(shared) => documents.or_shared_quotas(shared),
                None => documents.into_its_own(),
            });
        })
    }

    /// Fetches and judges a client metadata document, without a request, or returns the one in memory. `address` is the one of the
    /// request, whose budget the fetch takes from.
    ///
    /// # Errors
    ///
    /// Returns [`DocumentError::NotAdmitted`] if the settings do not admit the URL, or if the preset has no
    /// [documents](Self::with_documents); [`DocumentError::Revoked`] if its [registrar](Self::with_registrar) has a block on the URL, its
    /// host or its site, and [`DocumentError::Ledger`] if that can't be read; and the other errors of a fetch and of the rules.
    pub async fn resolve_document(
        &self,
        url: &ClientIdUrl,
        address: Option<IpAddr>,
    ) -> Result<VerifiedClient, Arc<DocumentError>> {
        let admitted = self.settings.documents_in_force().admit(url);
        let Some(documents) = self.settings.fetched.as_ref().filter(|_| admitted.is_admitted()) else {
            return Err(Arc::new(DocumentError::NotAdmitted));
        };
        if let Some(registrar) = self.settings.lifecycle.layer.registrar() {
            let block = registrar.document_block(url, (Duration::ZERO, Duration::ZERO)).await;
            if block.map_err(|error| Arc::new(DocumentError::Ledger(error)))?.is_some() {
                return Err(Arc::new(DocumentError::Revoked));
            }
        }
        documents.resolve(Wanted { url, address, standing: admitted.standing() }).await
    }

    /// Changes the settings of client metadata documents, which are the keys of the section `[documents]` in a policy file.
    pub fn map_documents(self, change: impl FnOnce(&mut DocumentSettings)) -> Self {
        self.change(|settings| change(&mut settings.documents))
    }

    /// Returns the settings of client metadata documents, as they decide: the host of `gate.issuer` is one of the server's own.
    #[must_use]
    pub fn document_settings(&self) -> DocumentSettings {
        self.settings.documents_in_force()
    }

    /// Returns the deployment mistakes that requests to this preset and its clones have shown so far, oldest first: for a
    /// health page, or a test of your own.
    ///
    /// ```
    /// assert!(tower_dcr::mcp().misconfigurations().is_empty());
    /// ```
    #[must_use]
    pub fn misconfigurations(&self) -> Vec<Misconfiguration> {
        self.settings.setup_check.found()
    }

    /// Narrows the grant types, response types, scopes and authentication methods at the token endpoint in the server
    /// metadata document (RFC 8414, OpenID Connect Discovery) to those that the policy allows, and removes values that
    /// would then be wrong. For a server that writes the document itself; [`server_metadata_layer`](Self::server_metadata_layer)
    /// does the same to a response. Clients choose from that document: if it announces values that the policy rejects,
    /// sign-ins fail.
    ///
    /// - If server and policy have nothing in common, the policy's values are written.
    /// - `none` is announced if the policy makes every client a public one, even if the server did not announce it.
    /// - `token_endpoint_auth_signing_alg_values_supported` is removed with the last method that signs.
    /// - With a [gate](Self::gate) of the authorization endpoint, `code_challenge_methods_supported` and
    ///   `response_modes_supported` keep what it accepts, and `authorization_response_iss_parameter_supported` and
    ///   `require_pushed_authorization_requests` are announced if it enforces them; the former only in a document with the same
    ///   `issuer`. If it takes no [`request_uri`](crate::layers::GateSettings::request_uris),
    ///   `request_uri_parameter_supported` is false (its default is true), and so is `require_request_uri_registration`, if it is
    ///   there; if it takes no [`request`](crate::layers::GateSettings::request_objects), so are `request_parameter_supported` and
    ///   `require_signed_request_object`. PKCE is not announced for a
    ///   server that does not: the gate requires a challenge, and only the server can compare it.
    /// - `client_id_metadata_document_supported` is true if this gate accepts [documents](Self::with_documents), with `none` among
    ///   the methods. It is false if it accepts none, or rejects unknown clients, whatever the server behind it says.
    /// - `signed_metadata` is removed after any change: its claims would override the document (RFC 8414 section 2.1).
    ///
    /// - `registration_endpoint` is removed, also from `mtls_endpoint_aliases`, while registration is
    ///   [closed](Self::close_registration).
    ///
    /// Everything else is kept, including the methods of other endpoints. If callers have different rules, a value is
    /// kept if any of them allows it. In [report-only](Self::report_only) mode nothing of the policy is applied, and nothing of a gate that
    /// [only reports](crate::layers::GateSettings::report_only).
    ///
    /// ```
    /// use serde_json::json;
    ///
    /// let mut document = json!({
    ///     "issuer": "https://as.example.com",
    ///     "response_types_supported": ["code", "token"],
    ///     "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token"],
    ///     "token_endpoint_auth_methods_supported": ["client_secret_basic", "private_key_jwt"],
    /// });
    /// tower_dcr::mcp().amend_server_metadata(document.as_object_mut().unwrap());
    /// assert_eq!(document, json!({
    ///     "issuer": "https://as.example.com",
    ///     "response_types_supported": ["code"],
    ///     "grant_types_supported": ["authorization_code", "refresh_token"],
    ///     "token_endpoint_auth_methods_supported": ["none"],
    /// }));
    /// ```
    pub fn amend_server_metadata(&self, document: &mut serde_json::Map<String, serde_json::Value>) {
        self.server_metadata().amend(document);
        self.settings.followed.amend(document, self.settings.fetched.as_ref());
    }

    /// Returns the metadata that the policy allows: the union, if callers have different rules.
    fn server_metadata(&self) -> ServerMetadata {
        if self.settings.report_only {
            return ServerMetadata::default();
        }
        let policy = &self.settings.policy;
        let others = policy.cases.iter().map(|(_, rules)| ServerMetadata::new(&rules.metadata));
        let metadata = others.fold(ServerMetadata::new(&policy.otherwise.metadata), ServerMetadata::or);
        if self.settings.closing() == Closing::Closed { metadata.without_registration() } else { metadata }
    }

    /// Creates the layer that narrows the server's discovery document to the policy: see [`ServerMetadataLayer`].
    pub fn server_metadata_layer(&self) -> ServerMetadataLayer {
        let (metadata, gates) = (self.server_metadata(), Arc::clone(&self.settings.followed));
        let documents = self.settings.fetched.clone();
        ServerMetadataLayer::new(move |document| {
            metadata.amend(document);
            gates.amend(document, documents.as_ref());
        })
    }

    /// Returns this preset with the settings of `other`, as far as a policy file can have them.
    pub(crate) fn with_policy_of(&self, other: &Self) -> Result<Self, ConfigError> {
        let mut settings = Settings::clone(&self.settings);
        settings.adopt(other.document(), other.settings.audit.requester().key())?;
        settings.shadow.clone_from(&other.settings.shadow);
        settings.chain_key.clone_from(&other.settings.chain_key);
        if other.settings.tokens.is_none() && !other.settings.initial_access_token.is_off() {
            // Tokens that `other` has in code are taken over: without them, any caller could register.
            settings.initial_access_token = other.settings.initial_access_token.clone();
        }
        Ok(Self::of(settings))
    }

    /// Builds the layers now, not at the first request.
    pub(crate) fn build(&self) {
        let _layers = self.layers();
    }

    /// Applies this policy's settings to a registrar, for tools that use the ledger without the layers. Layers do it
    /// themselves.
    pub fn configure(&self, registrar: &Registrar) {
        self.settings.lifecycle.configure(registrar);
    }

    fn layers(&self) -> &Layers {
        self.layers.get_or_init(|| {
            self.log_errors();
            self.settings.layers()
        })
    }

    pub(crate) fn document(&self) -> Document {
        self.settings.document()
    }
}

/// Writes the whole effective policy, as a policy file has it, without secrets and settings that only code has.
impl Serialize for Preset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.document().serialize(serializer)
    }
}
