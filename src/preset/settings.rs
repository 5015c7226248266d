//! What a preset is made of, and the layers that are made of it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::books::Books;
use super::document::{Allowance, AuditSettings, Base, Case, Document, RateLimits, RequesterName};
use super::rules::PresetPolicy;
use super::tokens::Tokens;
use crate::answer::AnswerLayer;
use crate::audit::AuditLayer;
use crate::client_address::ClientAddress;
use crate::client_url::ClientUrl;
use crate::event::TracingSink;
use crate::guard::GuardLayer;
use crate::initial_access_token::InitialAccessTokenLayer;
use crate::lifecycle::LifecycleLayer;
use crate::period::Period;
use crate::policy::{Condition, ConfigError, IDENTITIES_VERSION, Policy};
use crate::quota::SharedQuotas;
use crate::rate_limit::RateLimitLayer;
use crate::registration::{Digest, Limits};
use crate::setup_check::SetupCheck;

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) base: Base,
    pub(super) policy: PresetPolicy,
    pub(super) limits: Limits,
    pub(super) deadline: Duration,
    pub(super) report_only: bool,
    pub(super) address: ClientAddress,
    pub(super) requester: Requester,
    /// Whether events hold the registration.
    pub(super) record_document: bool,
    pub(super) rate_limit: RateLimitLayer,
    /// The budgets of all nodes.
    pub(super) shared_quotas: Option<SharedQuotas>,
    pub(super) initial_access_token: InitialAccessTokenLayer,
    /// What a policy file says of them.
    pub(super) tokens: Option<Tokens>,
    pub(super) audit: AuditLayer,
    pub(super) books: Books,
    pub(super) answer: AnswerLayer,
    /// How URLs of RFC 7592 name clients, as code says.
    pub(super) client_url: ClientUrl,
    /// The same, as a policy file says.
    pub(super) client_url_in_file: Option<ClientUrl>,
    /// What was noticed of the server around.
    pub(super) setup_check: SetupCheck,
}

#[derive(Clone, Debug)]
pub(super) struct Layers {
    pub(super) audit: AuditLayer,
    pub(super) rate_limit: RateLimitLayer,
    pub(super) initial_access_token: InitialAccessTokenLayer,
    pub(super) guard: GuardLayer<PresetPolicy>,
    pub(super) lifecycle: LifecycleLayer,
    pub(super) answer: AnswerLayer,
}

/// How audit events name who asked.
#[derive(Clone)]
pub(super) enum Requester {
    Nobody,
    Address,
    /// With the key, and the file that it was read from.
    Hash(Vec<u8>, Option<PathBuf>),
}

impl Settings {
    pub(super) fn new(base: Base, policy: PresetPolicy) -> Self {
        Self {
            base,
            policy,
            limits: Limits::new(),
            deadline: Duration::from_secs(10),
            report_only: false,
            address: ClientAddress::new(),
            requester: Requester::Nobody,
            record_document: false,
            rate_limit: RateLimitLayer::new(),
            shared_quotas: None,
            initial_access_token: InitialAccessTokenLayer::off(),
            tokens: None,
            audit: AuditLayer::new(TracingSink::new()),
            books: Books::none(),
            answer: AnswerLayer::new(),
            client_url: ClientUrl::new(),
            client_url_in_file: None,
            setup_check: SetupCheck::new(),
        }
    }

    /// The policy without what only code can say, and without secrets.
    pub(super) fn document(&self) -> Document {
        let everybody = Case::of(Condition::anonymous(), &self.policy.otherwise);
        let (address, global) = self.rate_limit.quotas();
        let (requester, requester_key_file) = match &self.requester {
            Requester::Nobody => (RequesterName::None, None),
            Requester::Address => (RequesterName::Address, None),
            Requester::Hash(_, file) => (RequesterName::Hash, file.clone()),
        };
        Document {
            extends: self.base,
            report_only: self.report_only,
            body: self.limits.clone(),
            body_deadline: Period(self.deadline),
            client_address: self.address.settings().clone(),
            client_url: self.client_url_in_file.clone(),
            rate_limit: RateLimits { address: Allowance(address), global: Allowance(global) },
            metadata: everybody.metadata,
            redirect_uris: everybody.redirect_uris,
            identity: everybody.identity,
            redirect_host_quota: everybody.redirect_host_quota,
            callers: self.policy.cases.iter().map(|(when, rules)| Case::of(when.clone(), rules)).collect(),
            #[cfg(feature = "software-statement")]
            software_statements: self.policy.statements.clone(),
            initial_access_tokens: self.tokens.clone(),
            answer: self.answer.settings().clone(),
            lifecycle: self.books.settings.clone(),
            gate: self.books.gate.clone(),
            audit: AuditSettings { requester, requester_key_file, document: self.record_document },
        }
    }

    /// Everything as `document` says, and what it can't say as it is: sinks, ledgers, callbacks, rules in code, and the
    /// state of the limits.
    pub(super) fn adopt(&mut self, document: Document, key: Option<Vec<u8>>) -> Result<(), ConfigError> {
        let Document { metadata, redirect_uris, identity, redirect_host_quota, .. } = document;
        let everybody = Case { when: Condition::anonymous(), metadata, redirect_uris, identity, redirect_host_quota };
        let old = &self.policy;
        let policy = PresetPolicy {
            #[cfg(feature = "software-statement")]
            statements: match (document.software_statements, &old.statements) {
                (Some(new), Some(old)) => Some(new.remembering(old)),
                (new, _) => new,
            },
            cases: document
                .callers
                .into_iter()
                .map(|case| {
                    let before = old.before(&case.when);
                    (case.when.clone(), case.rules(before))
                })
                .collect(),
            otherwise: everybody.rules(&old.otherwise),
        };
        self.requester = match (document.audit.requester, key) {
            (RequesterName::None, _) => Requester::Nobody,
            (RequesterName::Address, _) => Requester::Address,
            (RequesterName::Hash, Some(key)) => Requester::Hash(key, document.audit.requester_key_file),
            // The key that code gave.
            (RequesterName::Hash, None) if matches!(self.requester, Requester::Hash(..)) => self.requester.clone(),
            (RequesterName::Hash, None) => return Err(ConfigError::RequesterKey),
        };
        match (&document.initial_access_tokens, &self.tokens) {
            (Some(tokens), _) => self.initial_access_token = tokens.layer()?,
            // They came from a file, and are no more in it.
            (None, Some(_)) => self.initial_access_token = InitialAccessTokenLayer::off(),
            (None, None) => {}
        }
        self.base = document.extends;
        self.policy = policy;
        self.limits = document.body;
        self.deadline = document.body_deadline.0;
        self.report_only = document.report_only;
        self.address = self.address.clone().with_settings(document.client_address);
        self.client_url_in_file = document.client_url;
        self.record_document = document.audit.document;
        let RateLimits { address, global } = document.rate_limit;
        self.rate_limit = self.rate_limit.clone().with_quotas(address.0, global.0);
        self.tokens = document.initial_access_tokens;
        self.books.reconfigure(document.lifecycle, document.gate);
        self.answer = AnswerLayer::of(document.answer);
        Ok(())
    }

    /// A digest of the effective policy: of all that a policy file can say, the rules that only code can, and the table of
    /// known names.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut description = serde_json::to_string(&self.document()).unwrap_or_default();
        for rules in self.policy.cases.iter().map(|(_, rules)| rules).chain([&self.policy.otherwise]) {
            rules.rules.describe(&mut description);
            description.push('/');
        }
        description.push_str(IDENTITIES_VERSION);
        Digest::of(description.as_bytes()).prefix()
    }

    pub(super) fn layers(&self) -> Layers {
        let fingerprint = self.fingerprint();
        let audit = match &self.requester {
            Requester::Nobody => self.audit.clone(),
            Requester::Address => self.audit.clone().with_requester(self.address.clone()),
            Requester::Hash(key, _) => self.audit.clone().with_requester_hash(self.address.clone(), key),
        };
        let own = self.policy.otherwise.metadata.own_members();
        let audit = if self.record_document { audit.with_document().showing(own) } else { audit };
        let audit = audit.with_policy(fingerprint);
        let rate_limit = self.rate_limit.clone().with_client_address(self.address.clone());
        let (rate_limit, policy) = match &self.shared_quotas {
            Some(shared) => (rate_limit.with_shared_quotas(shared.clone()), self.policy.clone().sharing(shared)),
            None => (rate_limit, self.policy.clone()),
        };
        let guard = GuardLayer::new(policy).with_limits(self.limits.clone()).with_deadline(self.deadline);
        let client_url = self.client_url_in_file.as_ref().unwrap_or(&self.client_url);
        let guard = guard.with_client_url(client_url.clone());
        let audit = audit.with_client_url(client_url.clone());
        let guard = guard.with_fingerprint(fingerprint).with_setup_check(self.setup_check.clone());
        let rate_limit = rate_limit.with_setup_check(self.setup_check.clone());
        let initial_access_token = self.initial_access_token.clone().or_registrar(self.books.lifecycle.registrar());
        let initial_access_token = initial_access_token.with_client_url(client_url.clone());
        if self.books.lifecycle.registrar().is_some() {
            self.setup_check.manages_clients();
        }
        let (rate_limit, initial_access_token, guard) = if self.report_only {
            (rate_limit.report_only(), initial_access_token.report_only(), guard.report_only())
        } else {
            (rate_limit, initial_access_token, guard)
        };
        let lifecycle =
            self.books.layer().with_client_address(self.address.clone()).with_client_url(client_url.clone());
        Layers { audit, rate_limit, initial_access_token, guard, lifecycle, answer: self.answer.clone() }
    }
}

impl Requester {
    /// What addresses are hashed with.
    pub(super) fn key(&self) -> Option<Vec<u8>> {
        match self {
            Self::Hash(key, _) => Some(key.clone()),
            Self::Nobody | Self::Address => None,
        }
    }
}

impl fmt::Debug for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nobody => "Nobody",
            Self::Address => "Address",
            Self::Hash(..) => "Hash",
        })
    }
}
