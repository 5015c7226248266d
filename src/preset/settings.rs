//! The settings of a preset, and the layers built from them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::lifecycle::PresetLifecycle;
use super::rules::RuleSettings;
use super::shadow::Shadow;
use super::tokens::Tokens;
use crate::audit::{Requester, Sources, TracingSink};
use crate::client_address::ClientAddress;
use crate::client_url::ClientUrl;
use crate::clients::registrar::Registrar;
use crate::documents::{Admission, DocumentJudge, DocumentSettings, Documents, host_of_issuer};
use crate::layers::audit::AuditLayer;
use crate::layers::gate::{FollowedSettings, GateEndpoint, GateLayer, GateSettings, Profile};
use crate::layers::initial_access_token::{Closing, InitialAccessTokenLayer};
use crate::layers::lifecycle::LifecycleLayer;
use crate::layers::policy::{Charging, PolicyLayer, Reminder};
use crate::layers::rate_limit::RateLimitLayer;
use crate::layers::response::ResponseLayer;
use crate::layers::setup_check::SetupCheck;
use crate::period::Period;
use crate::policy_file::document::{AuditSettings, Base, Case, Document, FieldName, RegistrationState, RequesterName};
use crate::rate_limit::SharedQuotas;
use crate::registration::{Digest, Limits};
use crate::rules::{Condition, ConfigError, IDENTITIES_VERSION, Policy, ReportableRule};

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) base: Base,
    pub(crate) policy: RuleSettings,
    pub(crate) limits: Limits,
    pub(crate) deadline: Duration,
    pub(crate) report_only: bool,
    /// Open or closed registration.
    pub(crate) registration: RegistrationState,
    /// The policy that is evaluated as well, and only reported.
    pub(crate) shadow: Option<Arc<Shadow>>,
    pub(crate) address: ClientAddress,
    pub(crate) rate_limit: RateLimitLayer,
    /// The budgets that all nodes share.
    pub(crate) shared_quotas: Option<SharedQuotas>,
    pub(crate) initial_access_token: InitialAccessTokenLayer,
    /// A policy file's settings for initial access tokens.
    pub(crate) tokens: Option<Tokens>,
    pub(crate) audit: AuditLayer,
    /// True if code set the sink of events.
    pub(crate) has_sink: bool,
    /// The key of the audit file's chain, and the file that it was read from.
    pub(crate) chain_key: Option<(PathBuf, Vec<u8>)>,
    pub(crate) lifecycle: PresetLifecycle,
    /// The section `[gate]` of a policy file.
    pub(crate) gate: GateSettings,
    /// The same settings, shared with the gates that this preset creates.
    pub(crate) followed: Arc<FollowedSettings>,
    pub(crate) answer: ResponseLayer,
    /// The reading of URLs of RFC 7592, set by code.
    pub(crate) client_url: ClientUrl,
    /// The reading of URLs of RFC 7592, set by a policy file.
    pub(crate) client_url_in_file: Option<ClientUrl>,
    /// The settings of client metadata documents.
    pub(crate) documents: DocumentSettings,
    /// Fetches documents.
    pub(crate) fetched: Option<Documents>,
    /// Observations about the surrounding server.
    pub(crate) setup_check: SetupCheck,
}

#[derive(Clone, Debug)]
pub(crate) struct Layers {
    pub(crate) audit: AuditLayer,
    pub(crate) rate_limit: RateLimitLayer,
    pub(crate) initial_access_token: InitialAccessTokenLayer,
    pub(crate) policy: PolicyLayer,
    pub(crate) lifecycle: LifecycleLayer,
    pub(crate) answer: ResponseLayer,
}

fn default_documents(base: Base) -> DocumentSettings {
    match base {
        Base::Strict => DocumentSettings::strict(),
        Base::Mcp | Base::Oauth => DocumentSettings::default(),
    }
}

impl Settings {
    pub(crate) fn new(base: Base, policy: RuleSettings) -> Self {
        Self {
            base,
            policy,
            limits: Limits::default(),
            deadline: Duration::from_secs(10),
            report_only: false,
            registration: RegistrationState::Open,
            shadow: None,
            address: ClientAddress::new(),
            rate_limit: RateLimitLayer::new(),
            shared_quotas: None,
            initial_access_token: InitialAccessTokenLayer::off(),
            tokens: None,
            audit: AuditLayer::new(TracingSink),
            has_sink: false,
            chain_key: None,
            lifecycle: PresetLifecycle::none(),
            gate: GateSettings::default(),
            followed: Arc::default(),
            answer: ResponseLayer::new(),
            client_url: ClientUrl::default(),
            client_url_in_file: None,
            documents: default_documents(base),
            fetched: None,
            setup_check: SetupCheck::new(),
        }
    }

    /// Returns the policy as a policy file has it, without secrets and settings that only code has.
    pub(crate) fn document(&self) -> Document {
        let everybody = Case::of(Condition::Anonymous, &self.policy.otherwise);
        let (requester, requester_key_file) = match self.audit.requester() {
            Requester::None => (RequesterName::None, None),
            Requester::Address => (RequesterName::Address, None),
            Requester::Hash(_, file) => (RequesterName::Hash, file.clone()),
        };
        Document {
            extends: self.base,
            report_only: self.report_only,
            registration: self.registration,
            report_only_rules: self.policy.report_only.to_vec(),
            shadow: self.shadow.as_ref().and_then(|shadow| shadow.settings()),
            body: self.limits,
            body_deadline: Period(self.deadline),
            client_address: self.address.settings().clone(),
            client_url: self.client_url_in_file.clone(),
            rate_limit: self.rate_limit.limits().as_written(),
            metadata: everybody.metadata,
            redirect_uris: everybody.redirect_uris,
            identity: everybody.identity,
            redirect_host_quota: everybody.redirect_host_quota,
            callers: self.policy.cases.iter().map(|(when, rules)| Case::of(when.clone(), rules)).collect(),
            #[cfg(feature = "software-statement")]
            software_statements: self.policy.statements.clone(),
            initial_access_tokens: self.tokens.clone(),
            answer: self.answer.settings().clone(),
            lifecycle: self.lifecycle.settings.clone(),
            gate: self.gate.clone(),
            documents: self.documents.clone(),
            audit: AuditSettings {
                requester,
                requester_key_file,
                document: self.audit.config().document.is_some(),
                request_id_header: self.audit.config().request_id.clone().map(FieldName),
                chain_key_file: self.chain_key.as_ref().map(|(file, _)| file.clone()),
            },
        }
    }

    /// Takes over all settings of `document`. Settings that a file can't have stay: sinks, ledgers, callbacks, rules in
    /// code, and the state of the limits.
    pub(crate) fn adopt(&mut self, document: Document, key: Option<Vec<u8>>) -> Result<(), ConfigError> {
        let Document { metadata, redirect_uris, identity, redirect_host_quota, .. } = document;
        let everybody = Case { when: Condition::Anonymous, metadata, redirect_uris, identity, redirect_host_quota };
        let old = &self.policy;
        let policy = RuleSettings {
            #[cfg(feature = "software-statement")]
            statements: match (document.software_statements, &old.statements) {
                (Some(new), Some(old)) => Some(new.remembering(old)),
                (new, _) => new,
            },
            report_only: document.report_only_rules.into(),
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
        let requester = match (document.audit.requester, key) {
            (RequesterName::None, _) => Requester::None,
            (RequesterName::Address, _) => Requester::Address,
            (RequesterName::Hash, Some(key)) => Requester::Hash(key, document.audit.requester_key_file),
            // The key was set in code.
            (RequesterName::Hash, None) if self.audit.requester().key().is_some() => self.audit.requester().clone(),
            (RequesterName::Hash, None) => return Err(ConfigError::RequesterKey),
        };
        match (&document.initial_access_tokens, &self.tokens) {
            (Some(tokens), _) => self.initial_access_token = tokens.layer()?,
            // The tokens came from a file that no longer has them.
            (None, Some(_)) => self.initial_access_token = InitialAccessTokenLayer::off(),
            (None, None) => {}
        }
        self.base = document.extends;
        self.policy = policy;
        self.limits = document.body;
        self.deadline = document.body_deadline.0;
        self.report_only = document.report_only;
        self.registration = document.registration;
        self.address = self.address.clone().with_settings(document.client_address);
        self.client_url_in_file = document.client_url;
        self.audit = self.audit.clone().named_as(requester).change(|config| {
            config.document = document.audit.document.then(Arc::default);
            config.request_id = document.audit.request_id_header.map(|name| name.0);
        });
        self.rate_limit = self.rate_limit.clone().map_limits(|limits| *limits = document.rate_limit);
        self.tokens = document.initial_access_tokens;
        self.lifecycle.reconfigure(document.lifecycle);
        self.gate = document.gate;
        self.documents = document.documents;
        self.answer = ResponseLayer::of(document.answer).or_public_url(&self.answer);
        Ok(())
    }

    /// Returns a digest of the effective policy: all settings that a policy file can have, the rules in code, and the
    /// table of known names. It does not depend on the shadow.
    pub(crate) fn fingerprint(&self) -> u64 {
        let document = Document { shadow: None, ..self.document() };
        let mut description = serde_json::to_string(&document).unwrap_or_default();
        for rules in self.policy.cases.iter().map(|(_, rules)| rules).chain([&self.policy.otherwise]) {
            if !rules.additional.is_empty() {
                description.push_str(&rules.additional.config().to_string());
            }
            description.push('/');
        }
        description.push_str(IDENTITIES_VERSION);
        Digest::of(description.as_bytes()).prefix()
    }

    /// Returns the settings of documents. The host of the issuer is this server's own: a document there would make it ask itself.
    pub(crate) fn documents_in_force(&self) -> DocumentSettings {
        let mut settings = self.documents.clone();
        if self.report_only && settings.admission == Admission::Listed {
            settings.admission = Admission::Reporting;
        }
        settings.own_hosts.extend(self.gate.issuer.as_deref().and_then(host_of_issuer));
        settings
    }

    /// Returns the policy for documents.
    pub(crate) fn document_policy(&self) -> Policy {
        self.policy.otherwise.document_policy(&self.documents.rules, &self.policy.report_only, &self.lifecycle.hold())
    }

    /// Returns everything that decides about a document.
    pub(crate) fn document_judgement(&self) -> (DocumentSettings, u64, bool) {
        (self.documents_in_force(), self.document_policy().fingerprint(), self.report_only)
    }

    /// Puts the settings and the policy for documents into force: when they change in code, and when a reload has built its layers.
    pub(crate) fn put_documents(&self) {
        if let Some(documents) = &self.fetched {
            let methods = self.policy.otherwise.metadata.auth_method.offered();
            let judge = DocumentJudge { policy: self.document_policy(), reports: self.report_only };
            documents.put(self.documents_in_force(), judge, methods.contains("none"));
        }
    }

    /// Creates a gate that follows the policy.
    pub(crate) fn gate(&self, endpoint: GateEndpoint, registrar: Registrar) -> GateLayer {
        self.followed.put(self.profile(), &self.gate);
        let gate = GateLayer::following(endpoint, registrar, Arc::clone(&self.followed));
        if self.fetched.is_some() {
            self.followed.fetches_documents(endpoint);
        }
        gate.with_documents(self.fetched.clone())
    }

    /// Returns the defaults of the gate's rules.
    fn profile(&self) -> Profile {
        match self.base {
            Base::Mcp => Profile::Mcp,
            Base::Strict => Profile::Strict,
            Base::Oauth => Profile::Other,
        }
    }

    /// Sets the registrar's sink of events, unless it has one of its own, and the form in which events name their
    /// source.
    pub(crate) fn tell_audit(&self) {
        if let Some(registrar) = self.lifecycle.layer.registrar() {
            let sources = Sources::new(self.address.clone(), self.audit.requester());
            registrar.follow_audit(self.has_sink.then(|| Arc::clone(self.audit.aggregator())), sources);
        }
    }

    pub(crate) fn layers(&self) -> Layers {
        let fingerprint = self.fingerprint();
        self.tell_audit();
        self.followed.put(self.profile(), &self.gate);
        self.put_documents();
        let followed = Arc::clone(&self.followed);
        self.setup_check.expect_gates(move || followed.is_forgotten());
        let registrar = self.lifecycle.layer.registrar();
        let knows_repeats = registrar.is_some();
        if knows_repeats {
            self.setup_check.manages_clients();
        }
        let client_url = self.client_url_in_file.as_ref().unwrap_or(&self.client_url);
        let audit = self.audit.clone().with_client_address(self.address.clone()).with_client_url(client_url.clone());
        let rate_limit = self.rate_limit.clone().with_client_address(self.address.clone()).change(|config| {
            (config.deferred, config.check) = (true, self.setup_check.clone());
        });
        let (rate_limit, rules) = match &self.shared_quotas {
            Some(shared) => (rate_limit.with_shared_quotas(shared.clone()), self.policy.clone().sharing(shared)),
            None => (rate_limit, self.policy.clone()),
        };
        let hold = self.lifecycle.hold();
        if !hold.is_empty() && !knows_repeats {
            self.setup_check.holds_nothing();
        }
        let is_default = self.documents == default_documents(self.base);
        if !is_default && self.documents.admission != Admission::Off && self.fetched.is_none() {
            self.setup_check.fetches_nothing();
        }
        let policy = PolicyLayer::new(rules.policy(fingerprint, &hold))
            .with_body(self.limits)
            .with_body_deadline(self.deadline)
            .with_client_url(client_url.clone())
            .change(|config| {
                config.charging = Some(Charging { knows_repeats });
                config.holds = knows_repeats;
                (config.check, config.shadow) = (self.setup_check.clone(), self.shadow());
            });
        let initial_access_token =
            self.initial_access_token.clone().closing(self.closing(), self.takes_documents()).or_registrar(registrar);
        let lifecycle = self.lifecycle.configured_layer().with_client_address(self.address.clone());
        self.reporting(Layers {
            audit: audit.change(|config| {
                let own = || Arc::new(self.policy.otherwise.metadata.own_members());
                config.document = config.document.as_ref().map(|_| own());
                config.policy = Some(fingerprint);
            }),
            rate_limit,
            initial_access_token: initial_access_token.with_client_url(client_url.clone()),
            policy,
            lifecycle: lifecycle.with_client_url(client_url.clone()),
            answer: self.answer.clone().with_client_url(client_url.clone()),
        })
    }

    /// Returns `true` if the gates accept metadata documents.
    fn takes_documents(&self) -> bool {
        self.fetched.is_some() && self.documents.admission != Admission::Off
    }

    pub(crate) fn closing(&self) -> Closing {
        match self.registration {
            RegistrationState::Open => Closing::Open,
            RegistrationState::Closed if self.report_only => Closing::ReportsClosed,
            RegistrationState::Closed => Closing::Closed,
        }
    }

    /// Makes layers report-only as configured.
    fn reporting(&self, mut layers: Layers) -> Layers {
        if self.report_only {
            let reminder = Arc::new(Reminder::new());
            layers.policy = layers.policy.report_only().change(|config| config.reminder = Some(reminder));
            layers.lifecycle = layers.lifecycle.report_only();
            layers.answer = layers.answer.report_only();
        }
        let reports = |rule| self.report_only || self.policy.report_only.contains(&rule);
        if reports(ReportableRule::RATE_LIMIT) {
            layers.rate_limit = layers.rate_limit.report_only();
        }
        if reports(ReportableRule::INITIAL_ACCESS_TOKEN) {
            layers.initial_access_token = layers.initial_access_token.report_only();
        }
        layers
    }
}
