//! The whole stack in the one right order: [`mcp()`](crate::mcp), [`strict()`](crate::strict) and
//! [`oauth()`](crate::oauth).
//!
//! audit → rate limit → initial access token → metadata allowlist → redirect URI guard → identity guard → your rules →
//! redirect host quota → lifecycle → answer → handler
//!
//! The audit is outermost, so that every attempt is an event. The rate limit looks at the head of a request only and
//! comes before any work. Rules that rewrite stand outside of rules that judge. The ledger, if there is
//! [one](Preset::with_registrar), keeps what goes in and out here. The answer is checked nearest to the handler that gave
//! it.
//!
//! ```
//! use std::num::NonZeroU32;
//! use tower_dcr::event::TracingSink;
//! use tower_dcr::quota::Quota;
//!
//! let guard = tower_dcr::mcp()
//!     .with_address_quota(Quota::per_minute(NonZeroU32::new(120).unwrap()))
//!     .with_trusted_proxies(["10.0.0.0/8"])?
//!     .map_redirect_uris(|guard| guard.add_private_use_scheme("com.example.app"))?
//!     .with_sink(TracingSink::new());
//! # let _ = guard;
//! # Ok::<_, tower_dcr::policy::ConfigError>(())
//! ```

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use http::Extensions;
use serde::{Serialize, Serializer};
use tower_layer::Layer;

use crate::answer::{Answer, AnswerLayer, SecretInAnswer};
use crate::audit::{Audit, AuditLayer};
use crate::client_address::ClientAddress;
use crate::client_url::ClientUrl;
use crate::event::Sink;
use crate::guard::Guard;
use crate::initial_access_token::{InitialAccessToken, InitialAccessTokenLayer};
use crate::lifecycle::{Lifecycle, LifecycleLayer};
use crate::policy::{
    AuthMethod, Condition, ConfigError, Grants, IdentityGuard, MetadataAllowlist, Policy, RedirectHostQuota,
    RedirectUriGuard, ServerMetadata,
};
use crate::quota::{Quota, SharedQuotas};
use crate::rate_limit::{RateLimit, RateLimitLayer};
use crate::registrar::Registrar;
use crate::registration::Limits;
use crate::server_metadata::ServerMetadataLayer;
use crate::setup_check::SetupCheck;

mod books;
mod document;
#[cfg(feature = "policy-file")]
mod file;
mod lint;
mod rules;
mod settings;
mod tokens;

use document::{Base, Document};
use settings::{Layers, Requester, Settings};

#[cfg(feature = "policy-file")]
pub use file::PolicyFileError;
pub use lint::{Lint, Severity};
pub use rules::{PresetPolicy, PresetRules};

/// All layers as one. See the [module docs](self) for their order.
///
/// The state of the rate limits belongs to the value: clones of it, and all routes that it is put on, share one.
///
/// ```
/// use tower_dcr::event::Event;
/// use tower_dcr::{RateLimitLayer, SecretInAnswer};
///
/// let guard = tower_dcr::strict()
///     .with_rate_limit(RateLimitLayer::new())
///     .with_secret_in_answer(SecretInAnswer::Strip)
///     .with_sink(|event: &Event| println!("{:?}", event.outcome))
///     .report_only();
/// # let _ = guard;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Preset {
    settings: Settings,
    /// Built from the settings when first asked for: axum may ask again for every request.
    layers: OnceLock<Layers>,
}

impl Preset {
    /// For MCP servers: see [`crate::mcp`].
    pub fn mcp() -> Self {
        Self::new(Base::Mcp, MetadataAllowlist::mcp(), RedirectUriGuard::mcp())
    }

    /// For clients that you know: see [`crate::strict`].
    pub fn strict() -> Self {
        Self::new(Base::Strict, MetadataAllowlist::strict(), RedirectUriGuard::strict())
    }

    /// For other OAuth and OpenID servers: see [`crate::oauth`].
    pub fn oauth(grants: Grants, auth_method: AuthMethod) -> Self {
        Self::new(Base::Oauth, MetadataAllowlist::oauth(grants, auth_method), RedirectUriGuard::oauth())
    }

    fn new(base: Base, metadata: MetadataAllowlist, redirect_uris: RedirectUriGuard) -> Self {
        let settings = Settings::new(base, PresetPolicy::new(PresetRules::new(metadata, redirect_uris)));
        Self { settings, layers: OnceLock::new() }
    }

    fn change(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.settings;
        change(&mut settings);
        Self { settings, layers: OnceLock::new() }
    }

    fn change_rules(self, change: impl FnOnce(PresetRules) -> PresetRules) -> Self {
        let rules = change(self.settings.policy.otherwise.clone());
        self.change(|settings| settings.policy.otherwise = rules)
    }

    /// For every caller.
    fn change_all_rules(self, change: impl Fn(PresetRules) -> PresetRules) -> Self {
        self.change(|settings| {
            let policy = &mut settings.policy;
            for rules in policy.cases.iter_mut().map(|(_, rules)| rules).chain([&mut policy.otherwise]) {
                *rules = change(rules.clone());
            }
        })
    }

    fn map_rules(
        self,
        change: impl FnOnce(PresetRules) -> Result<PresetRules, ConfigError>,
    ) -> Result<Self, ConfigError> {
        let rules = change(self.settings.policy.otherwise.clone())?;
        Ok(self.change(|settings| settings.policy.otherwise = rules))
    }

    /// Gives callers for whom `condition` holds rules of their own: those that the preset has by now, changed by `change`.
    /// What is changed later in the preset is for everybody else, but for limits. The first condition that holds counts.
    ///
    /// ```
    /// use tower_dcr::InitialAccessTokenLayer;
    /// use tower_dcr::initial_access::{InitialAccess, StaticTokens};
    /// use tower_dcr::policy::{Condition, RedirectPattern};
    /// use tower_dcr::redirect_uri::RedirectClass;
    ///
    /// // Anonymous callers may register applications on their own machine; a token may register these hosts.
    /// let tokens = StaticTokens::new().add("Vq3s8nR1xW7tB0yKd5Lc", InitialAccess::of("partner-portal"))?;
    /// let guard = tower_dcr::mcp()
    ///     .with_initial_access_tokens(InitialAccessTokenLayer::new(tokens).optional())
    ///     .for_callers(Condition::token(), |rules| {
    ///         let hosts = [RedirectPattern::host("app.example.com")?, RedirectPattern::host("*.example.org")?];
    ///         rules.map_redirect_uris(|guard| Ok(guard.only_https(hosts)))
    ///     })?
    ///     .map_redirect_uris(|guard| Ok(guard.only_classes([RedirectClass::Loopback])))?;
    /// # let _ = guard;
    /// # Ok::<_, tower_dcr::policy::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What `change` fails with.
    pub fn for_callers(
        self,
        condition: Condition,
        change: impl FnOnce(PresetRules) -> Result<PresetRules, ConfigError>,
    ) -> Result<Self, ConfigError> {
        let rules = change(self.settings.policy.otherwise.clone())?;
        Ok(self.change(|settings| settings.policy.cases.push((condition, rules))))
    }

    /// Wants initial access tokens, or takes them: see [`InitialAccessTokenLayer`]. It counts and asks the ledger of
    /// [`with_registrar`](Self::with_registrar) unless it has one of its own, and reads URLs as
    /// [`with_client_url`](Self::with_client_url) says.
    pub fn with_initial_access_tokens(self, layer: InitialAccessTokenLayer) -> Self {
        self.change(|settings| (settings.initial_access_token, settings.tokens) = (layer, None))
    }

    /// Verifies software statements, before everything else is judged. Without, they are refused.
    #[cfg(feature = "software-statement")]
    pub fn with_software_statements(self, statements: crate::policy::SoftwareStatements) -> Self {
        self.change(|settings| settings.policy.statements = Some(statements))
    }

    /// Changes the rules about everything but redirect URIs.
    ///
    /// # Errors
    ///
    /// What `change` fails with.
    pub fn map_metadata(
        self,
        change: impl FnOnce(MetadataAllowlist) -> Result<MetadataAllowlist, ConfigError>,
    ) -> Result<Self, ConfigError> {
        self.map_rules(|rules| rules.map_metadata(change))
    }

    /// Changes the rules about redirect URIs.
    ///
    /// # Errors
    ///
    /// What `change` fails with.
    pub fn map_redirect_uris(
        self,
        change: impl FnOnce(RedirectUriGuard) -> Result<RedirectUriGuard, ConfigError>,
    ) -> Result<Self, ConfigError> {
        self.map_rules(|rules| rules.map_redirect_uris(change))
    }

    /// Changes how claimed names are compared with proof.
    ///
    /// # Errors
    ///
    /// What `change` fails with.
    pub fn map_identity(
        self,
        change: impl FnOnce(IdentityGuard) -> Result<IdentityGuard, ConfigError>,
    ) -> Result<Self, ConfigError> {
        self.map_rules(|rules| rules.map_identity(change))
    }

    /// Adds a rule of your own; it runs after the others.
    pub fn add_rule(self, rule: impl Policy + 'static) -> Self {
        self.change_rules(|rules| rules.add_rule(rule))
    }

    /// Replaces the limits on a body.
    pub fn with_limits(self, limits: Limits) -> Self {
        self.change(|settings| settings.limits = limits)
    }

    /// How long a slow body may take.
    pub fn with_deadline(self, deadline: Duration) -> Self {
        self.change(|settings| settings.deadline = deadline)
    }

    /// What one client address may do ([`RateLimitLayer::ADDRESS`] by default).
    pub fn with_address_quota(self, quota: Quota) -> Self {
        let rate_limit = self.settings.rate_limit.clone().with_address_quota(quota);
        self.with_rate_limit(rate_limit)
    }

    /// What all clients together may do ([`RateLimitLayer::GLOBAL`] by default).
    pub fn with_global_quota(self, quota: Quota) -> Self {
        let rate_limit = self.settings.rate_limit.clone().with_global_quota(quota);
        self.with_rate_limit(rate_limit)
    }

    /// What may lead to one redirect host ([`RedirectHostQuota::DEFAULT`] by default), whoever asks.
    pub fn with_redirect_host_quota(self, quota: RedirectHostQuota) -> Self {
        self.change_all_rules(move |rules| rules.with_redirect_host_quota(quota.clone()))
    }

    /// Replaces the rate limits by head of request; [`RateLimitLayer::empty`] is none at all.
    pub fn with_rate_limit(self, rate_limit: RateLimitLayer) -> Self {
        self.change(|settings| settings.rate_limit = rate_limit)
    }

    /// Shares all of these budgets with other nodes.
    pub fn with_shared_quotas(self, shared: SharedQuotas) -> Self {
        self.change(|settings| settings.shared_quotas = Some(shared))
    }

    /// Limits nothing: not by address, not in all, not by redirect host.
    pub fn without_rate_limits(self) -> Self {
        self.with_rate_limit(RateLimitLayer::empty()).change_all_rules(PresetRules::without_redirect_host_quota)
    }

    /// Where the server puts the address of a connection: see [`ClientAddress::with_peer_address`].
    pub fn with_peer_address(self, peer: impl Fn(&Extensions) -> Option<SocketAddr> + Send + Sync + 'static) -> Self {
        let address = self.settings.address.clone().with_peer_address(peer);
        self.with_client_address(address)
    }

    /// Whose word on a client's address counts: see [`ClientAddress::with_trusted_proxies`].
    ///
    /// # Errors
    ///
    /// [`ConfigError::Cidr`] for what is neither an address nor a CIDR block.
    pub fn with_trusted_proxies<P: AsRef<str>>(
        self,
        proxies: impl IntoIterator<Item = P>,
    ) -> Result<Self, ConfigError> {
        let address = self.settings.address.clone().with_trusted_proxies(proxies)?;
        Ok(self.with_client_address(address))
    }

    /// Replaces how the address of a client is found.
    pub fn with_client_address(self, address: ClientAddress) -> Self {
        self.change(|settings| settings.address = address)
    }

    /// Where audit events go: by default to `tracing`, under the target `tower_dcr::audit`.
    pub fn with_sink(self, sink: impl Sink) -> Self {
        self.change(|settings| settings.audit = AuditLayer::new(sink))
    }

    /// Puts the registration, redacted, into audit events: see [`AuditLayer::with_document`].
    pub fn with_document(self) -> Self {
        self.change(|settings| settings.record_document = true)
    }

    /// Puts client addresses into audit events.
    pub fn with_requester(self) -> Self {
        self.change(|settings| settings.requester = Requester::Address)
    }

    /// Puts keyed hashes of client addresses into audit events: see [`AuditLayer::with_requester_hash`].
    pub fn with_requester_hash(self, key: &[u8]) -> Self {
        self.change(|settings| settings.requester = Requester::Hash(key.to_owned(), None))
    }

    /// Keeps a ledger of what is registered: see [`LifecycleLayer`]. What only observes ([`report_only`](Self::report_only))
    /// keeps nothing. In the `oauth` preset, which is for OpenID providers too, each registration gets a client of its own
    /// ([`Registrar::without_repeats`]).
    pub fn with_registrar(self, registrar: Registrar) -> Self {
        let without_repeats = self.settings.base == Base::Oauth;
        self.with_lifecycle(LifecycleLayer::new(registrar))
            .change(|settings| settings.books.without_repeats = without_repeats)
    }

    /// The same, with a layer that you have configured, and repeats as your registrar has them. How the address of a client
    /// is found is taken from here; how URLs name clients is taken from the layer, if it says so.
    pub fn with_lifecycle(self, lifecycle: LifecycleLayer) -> Self {
        self.change(|settings| {
            if let Some(client_url) = lifecycle.client_url() {
                settings.client_url = client_url.clone();
            }
            settings.books = settings.books.clone().with_layer(lifecycle);
        })
    }

    /// Sets how URLs of RFC 7592 name their client (default: [`ClientUrl::new`]), for all layers. The key in policy files is
    /// `client_url`, which has the last word.
    ///
    /// ```
    /// use tower_dcr::ClientUrl;
    ///
    /// let guard = tower_dcr::mcp().with_client_url(ClientUrl::new().with_registration_path("/oauth2/reg")?);
    /// # let _ = guard;
    /// # Ok::<_, tower_dcr::policy::ConfigError>(())
    /// ```
    pub fn with_client_url(self, client_url: ClientUrl) -> Self {
        self.change(|settings| settings.client_url = client_url)
    }

    /// Changes how the handler's answers are checked.
    pub fn with_answer(self, answer: AnswerLayer) -> Self {
        self.change(|settings| settings.answer = answer)
    }

    /// What happens when the handler gives a secret to a public client.
    pub fn with_secret_in_answer(self, secret: SecretInAnswer) -> Self {
        let answer = self.settings.answer.clone().with_secret(secret);
        self.with_answer(answer)
    }

    /// Refuses nothing and rewrites nothing: what would be done is in the audit events. The handler's answers are not
    /// touched either.
    pub fn report_only(self) -> Self {
        self.change(|settings| settings.report_only = true)
    }
}

impl Preset {
    /// The digest of the effective policy that audit events and the ledger's records have, as 16 hexadecimal digits: of
    /// everything that a policy file can say, and of rules in code.
    ///
    /// ```
    /// assert_eq!(tower_dcr::mcp().fingerprint(), tower_dcr::mcp().fingerprint());
    /// assert_ne!(tower_dcr::mcp().fingerprint(), tower_dcr::mcp().report_only().fingerprint());
    /// ```
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("{:016x}", self.settings.fingerprint())
    }

    /// The rules, for documents that came another way than through the layers. They know no rate limit by address; the one
    /// by redirect host counts, on this node.
    pub fn policy(&self) -> &PresetPolicy {
        &self.settings.policy
    }

    /// What was noticed of the server around it, once requests came: see [`setup_check`](crate::setup_check).
    #[must_use]
    pub fn setup_check(&self) -> SetupCheck {
        self.settings.setup_check.clone()
    }

    /// What the policy allows, as a server announces it: the union, if callers are judged by different rules. Of what only
    /// observes ([`report_only`](Self::report_only)), nothing is to be announced.
    #[must_use]
    pub fn server_metadata(&self) -> ServerMetadata {
        if self.settings.report_only {
            return ServerMetadata::default();
        }
        let policy = &self.settings.policy;
        let others = policy.cases.iter().map(|(_, rules)| ServerMetadata::new(&rules.metadata));
        others.fold(ServerMetadata::new(&policy.otherwise.metadata), ServerMetadata::or)
    }

    /// Has the server's own document say so: see [`ServerMetadataLayer`].
    pub fn server_metadata_layer(&self) -> ServerMetadataLayer {
        let metadata = self.server_metadata();
        ServerMetadataLayer::new(move || metadata.clone())
    }

    /// This one, with everything that a policy file can say as in `other`.
    pub(crate) fn with_policy_of(&self, other: &Self) -> Result<Self, ConfigError> {
        let mut settings = self.settings.clone();
        settings.adopt(other.document(), other.settings.requester.key())?;
        if other.settings.tokens.is_none() && !other.settings.initial_access_token.is_off() {
            // They are in code, and wanted: without them, everybody could register.
            settings.initial_access_token = other.settings.initial_access_token.clone();
        }
        Ok(Self { settings, layers: OnceLock::new() })
    }

    /// Makes the layers now, and not when the first request comes.
    pub(crate) fn settle(&self) {
        let _layers = self.layers();
    }

    /// Tells a registrar what this policy says of it, for tools that have the ledger and not the layers. Layers do it by
    /// themselves.
    pub fn configure(&self, registrar: &Registrar) {
        self.settings.books.configure(registrar);
    }

    fn layers(&self) -> &Layers {
        self.layers.get_or_init(|| {
            self.log_errors();
            self.settings.layers()
        })
    }

    fn document(&self) -> Document {
        self.settings.document()
    }
}

/// The whole effective policy, as a policy file has it. Secrets are not in it, nor what only code can say.
impl Serialize for Preset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.document().serialize(serializer)
    }
}

impl<S> Layer<S> for Preset {
    type Service = Audit<RateLimit<InitialAccessToken<Guard<Lifecycle<Answer<S>>, PresetPolicy>>>>;

    fn layer(&self, inner: S) -> Self::Service {
        let layers = self.layers();
        let recorded = layers.lifecycle.layer(layers.answer.layer(inner));
        let authorized = layers.initial_access_token.layer(layers.guard.layer(recorded));
        layers.audit.layer(layers.rate_limit.layer(authorized))
    }
}
