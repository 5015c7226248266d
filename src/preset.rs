//! The whole stack in the one right order: [`mcp()`](crate::mcp), [`strict()`](crate::strict) and
//! [`oauth()`](crate::oauth).
//!
//! audit → rate limit → metadata allowlist → redirect URI guard → your rules → redirect host quota → answer → handler
//!
//! The audit is outermost, so that every attempt is an event. The rate limit looks at the head of a request only and
//! comes before any work. Rules that rewrite stand outside of rules that judge. The answer is checked nearest to the
//! handler that gave it.
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

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Extensions;
use tower_layer::Layer;

use crate::answer::{Answer, AnswerLayer, SecretInAnswer};
use crate::audit::{Audit, AuditLayer};
use crate::client_address::ClientAddress;
use crate::event::{Sink, TracingSink};
use crate::guard::{Guard, GuardLayer};
use crate::policy::{
    AuthMethod, ConfigError, Grants, MetadataAllowlist, Policy, RedirectHostQuota, RedirectUriGuard, Submission,
};
use crate::quota::Quota;
use crate::rate_limit::{RateLimit, RateLimitLayer};
use crate::registration::Limits;
use crate::rejection::Rejection;

/// All layers as one. See the [module docs](self) for their order.
///
/// The state of the rate limits belongs to the value: clones of it, and all routes that it is put on, share one.
#[derive(Clone, Debug)]
#[must_use]
pub struct Preset {
    policy: PresetPolicy,
    limits: Limits,
    deadline: Duration,
    report_only: bool,
    address: ClientAddress,
    requester: Requester,
    rate_limit: RateLimitLayer,
    audit: AuditLayer,
    answer: AnswerLayer,
}

/// The rules of a [`Preset`], in their order.
#[derive(Clone)]
pub struct PresetPolicy {
    metadata: MetadataAllowlist,
    redirect_uris: RedirectUriGuard,
    rules: Vec<Arc<dyn Policy>>,
    host_quota: Vec<RedirectHostQuota>,
}

/// How audit events name who asked.
#[derive(Clone)]
enum Requester {
    Nobody,
    Address,
    Hash(Vec<u8>),
}

impl Preset {
    /// For MCP servers: see [`crate::mcp`].
    pub fn mcp() -> Self {
        Self::new(MetadataAllowlist::mcp(), RedirectUriGuard::mcp())
    }

    /// For clients that you know: see [`crate::strict`].
    pub fn strict() -> Self {
        Self::new(MetadataAllowlist::strict(), RedirectUriGuard::strict())
    }

    /// For other OAuth and OpenID servers: see [`crate::oauth`].
    pub fn oauth(grants: Grants, auth_method: AuthMethod) -> Self {
        Self::new(MetadataAllowlist::oauth(grants, auth_method), RedirectUriGuard::oauth())
    }

    fn new(metadata: MetadataAllowlist, redirect_uris: RedirectUriGuard) -> Self {
        let host_quota = vec![RedirectHostQuota::new(RedirectHostQuota::DEFAULT)];
        Self {
            policy: PresetPolicy { metadata, redirect_uris, rules: Vec::new(), host_quota },
            limits: Limits::new(),
            deadline: Duration::from_secs(10),
            report_only: false,
            address: ClientAddress::new(),
            requester: Requester::Nobody,
            rate_limit: RateLimitLayer::new(),
            audit: AuditLayer::new(TracingSink::new()),
            answer: AnswerLayer::new(),
        }
    }

    /// Changes the rules about everything but redirect URIs.
    ///
    /// # Errors
    ///
    /// What `change` fails with.
    pub fn map_metadata(
        mut self,
        change: impl FnOnce(MetadataAllowlist) -> Result<MetadataAllowlist, ConfigError>,
    ) -> Result<Self, ConfigError> {
        self.policy.metadata = change(self.policy.metadata)?;
        Ok(self)
    }

    /// Changes the rules about redirect URIs.
    ///
    /// # Errors
    ///
    /// What `change` fails with.
    pub fn map_redirect_uris(
        mut self,
        change: impl FnOnce(RedirectUriGuard) -> Result<RedirectUriGuard, ConfigError>,
    ) -> Result<Self, ConfigError> {
        self.policy.redirect_uris = change(self.policy.redirect_uris)?;
        Ok(self)
    }

    /// Adds a rule of your own; it runs after the others.
    pub fn add_rule(mut self, rule: impl Policy + 'static) -> Self {
        self.policy.rules.push(Arc::new(rule));
        self
    }

    /// Replaces the limits on a body.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How long a slow body may take.
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// What one client address may do ([`RateLimitLayer::ADDRESS`] by default).
    pub fn with_address_quota(mut self, quota: Quota) -> Self {
        self.rate_limit = self.rate_limit.with_address_quota(quota);
        self
    }

    /// What all clients together may do ([`RateLimitLayer::GLOBAL`] by default).
    pub fn with_global_quota(mut self, quota: Quota) -> Self {
        self.rate_limit = self.rate_limit.with_global_quota(quota);
        self
    }

    /// What may lead to one redirect host ([`RedirectHostQuota::DEFAULT`] by default).
    pub fn with_redirect_host_quota(mut self, quota: RedirectHostQuota) -> Self {
        self.policy.host_quota = vec![quota];
        self
    }

    /// Replaces the rate limits by head of request; [`RateLimitLayer::empty`] is none at all.
    pub fn with_rate_limit(mut self, rate_limit: RateLimitLayer) -> Self {
        self.rate_limit = rate_limit;
        self
    }

    /// Limits nothing: not by address, not in all, not by redirect host.
    pub fn without_rate_limits(mut self) -> Self {
        self.policy.host_quota.clear();
        self.with_rate_limit(RateLimitLayer::empty())
    }

    /// Where the server puts the address of a connection: see [`ClientAddress::with_peer_address`].
    pub fn with_peer_address(
        mut self,
        peer: impl Fn(&Extensions) -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        self.address = self.address.with_peer_address(peer);
        self
    }

    /// Whose word on a client's address counts: see [`ClientAddress::with_trusted_proxies`].
    ///
    /// # Errors
    ///
    /// [`ConfigError::Cidr`] for what is neither an address nor a CIDR block.
    pub fn with_trusted_proxies<P: AsRef<str>>(
        mut self,
        proxies: impl IntoIterator<Item = P>,
    ) -> Result<Self, ConfigError> {
        self.address = self.address.with_trusted_proxies(proxies)?;
        Ok(self)
    }

    /// Replaces how the address of a client is found.
    pub fn with_client_address(mut self, address: ClientAddress) -> Self {
        self.address = address;
        self
    }

    /// Where audit events go: by default to `tracing`, under the target `tower_dcr::audit`.
    pub fn with_sink(mut self, sink: impl Sink) -> Self {
        self.audit = AuditLayer::new(sink);
        self
    }

    /// Puts client addresses into audit events.
    pub fn with_requester(mut self) -> Self {
        self.requester = Requester::Address;
        self
    }

    /// Puts keyed hashes of client addresses into audit events: see [`AuditLayer::with_requester_hash`].
    pub fn with_requester_hash(mut self, key: &[u8]) -> Self {
        self.requester = Requester::Hash(key.to_owned());
        self
    }

    /// Changes how the handler's answers are checked.
    pub fn with_answer(mut self, answer: AnswerLayer) -> Self {
        self.answer = answer;
        self
    }

    /// What happens when the handler gives a secret to a public client.
    pub fn with_secret_in_answer(mut self, secret: SecretInAnswer) -> Self {
        self.answer = self.answer.with_secret(secret);
        self
    }

    /// Refuses nothing and rewrites nothing: what would be done is in the audit events. The handler's answers are not
    /// touched either.
    pub fn report_only(mut self) -> Self {
        self.report_only = true;
        self
    }
}

impl<S> Layer<S> for Preset {
    type Service = Audit<RateLimit<Guard<Answer<S>, PresetPolicy>>>;

    fn layer(&self, inner: S) -> Self::Service {
        let audit = match &self.requester {
            Requester::Nobody => self.audit.clone(),
            Requester::Address => self.audit.clone().with_requester(self.address.clone()),
            Requester::Hash(key) => self.audit.clone().with_requester_hash(self.address.clone(), key),
        };
        let guard = GuardLayer::new(self.policy.clone()).with_limits(self.limits.clone()).with_deadline(self.deadline);
        let rate_limit = self.rate_limit.clone().with_client_address(self.address.clone());
        let (guard, rate_limit) =
            if self.report_only { (guard.report_only(), rate_limit.report_only()) } else { (guard, rate_limit) };
        audit.layer(rate_limit.layer(guard.layer(self.answer.layer(inner))))
    }
}

impl Policy for PresetPolicy {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        self.metadata.review(submission)?;
        self.redirect_uris.review(submission)?;
        self.rules.review(submission)?;
        self.host_quota.review(submission)
    }

    fn describe(&self, out: &mut String) {
        self.metadata.describe(out);
        self.redirect_uris.describe(out);
        self.rules.describe(out);
        self.host_quota.describe(out);
    }
}

impl fmt::Debug for PresetPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresetPolicy")
            .field("metadata", &self.metadata)
            .field("redirect_uris", &self.redirect_uris)
            .field("rules", &self.rules.len())
            .field("host_quota", &self.host_quota)
            .finish()
    }
}

impl fmt::Debug for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nobody => "Nobody",
            Self::Address => "Address",
            Self::Hash(_) => "Hash",
        })
    }
}
