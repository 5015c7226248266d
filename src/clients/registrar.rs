//! [`Registrar`]: manages the lifecycle of registered clients in a [`Ledger`].

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Extensions, HeaderMap};
use ipnet::IpNet;

use crate::audit::{Aggregator, LifecycleAction, LifecycleEvent, Sink, Sources, TracingSink};
use crate::client_address::ClientAddress;
#[cfg(feature = "identity")]
use crate::clients::consent::ConsentFacts;
use crate::clients::ledger::{
    Actor, Client, ClientKey, Deprovisioning, ErasedLedger, Ledger, LedgerError, Replacement, Status, WatchedLedger,
};
use crate::clock::{Clock, SystemClock};
use crate::period;
use crate::replaceable::Replaceable;
use crate::rules::ConfigError;
use crate::telemetry;

mod admission;
mod changes;
mod documents;
mod drift;
mod eviction;
mod lifetimes;
mod lookalikes;
mod maintenance;
mod pushed;
mod records;
mod revocation;
mod server;
mod settings;
mod software;

pub(crate) use admission::{Admission, Completion, Failure, Intent, RULE, Requester, ServerAnswer, blocked, conflict};
pub(crate) use changes::ChangeIntent;
use documents::DocumentBlocks;
pub(crate) use documents::{NewDocument, Recorded};
pub(crate) use lifetimes::Lifetimes;
use lookalikes::BlockedNames;
pub use maintenance::MaintenanceReport;
pub(crate) use revocation::the_one;
pub use revocation::{AdminError, Revocation, RevocationReport};
use server::{BoxError, ServerCall, boxed};
pub use settings::LifecycleSettings;
use settings::Settings;

/// Manages the lifecycle of registered clients in a [`Ledger`]. Clones share one registrar.
///
/// The layers share one registrar: [`LifecycleLayer`](crate::layers::LifecycleLayer) on the registration route,
/// [`GateLayer`](crate::layers::GateLayer) in front of the endpoints that clients use, and
/// [`maintain`](Registrar::maintain) for work that is due; operators [list](Self::list), [approve](Self::approve) and
/// [revoke](Self::revoke) clients. All state is in the ledger, so any number of nodes
/// may have a registrar.
///
/// # The life of a client
///
/// | state | begins | ends |
/// | --- | --- | --- |
/// | registering | written before the server is asked | with the answer of the server; after a minute it counts as failed |
/// | pending | registered or updated, if [approval](LifecycleSettings::approval) is required | with the approval, or at its limit: expired |
/// | active | registered, or approved | after 7 days without a first token, 90 days without another: expired, unless these limits are `"never"` or [only reported](LifecycleSettings::report_only_expiry) |
/// | stale | active, and more than half of the time between its last token (or its registration) and its expiry has passed | with a token: active again |
/// | expired, revoked | at a limit; revoked by an operator, the client or its token owner | never: the application registers again and gets another `client_id` |
///
/// An approval ends with an update (RFC 7592) that changes anything except for `software_version`, `contacts` and the ports of
/// loopback redirect URIs: the client is pending again if approval is required, and otherwise counts as not reviewed.
///
/// A server may give an equal registration the `client_id` that it gave before. A live record then continues. One that expired,
/// or that the client itself deleted, begins anew: it waits for approval again if approval is required. One that was
/// revoked otherwise stays revoked. If the server gives the `client_id` of a record to *another* registration, the record stays as it is,
/// the registration is answered with 500, and an event ([`LifecycleAction::IdConflict`]) and a warning are emitted. Use
/// [`shared_client_ids`](LifecycleSettings::shared_client_ids) if the server does so by design, and `dcr clients forget` if
/// it lost its store and reuses its ids.
///
/// # Shared client IDs
///
/// Facades of a provider without registration give one `client_id` to all registrations, or to all with one name or host.
/// With [`shared_client_ids`](LifecycleSettings::shared_client_ids), each distinct registration (by what was forwarded, and
/// by the owner of its initial access token) has a record of its own under the same `client_id`, with its own status,
/// approval, last use and identity; nothing is inherited. At the authorization endpoint a request passes if a live record
/// has its redirect URI. Approval and revocation are per record. The server is neither [told](Self::with_deprovision) nor
/// [asked](Self::with_still_in_use), since that would affect the other registrations. Refresh tokens don't say to which registration they belong, so a revoked
/// registration can't sign in again, and its tokens end only at the server. Read, update and deletion by the client (RFC
/// 7592) are rejected while several records of its id live: the request does not name one of them.
///
/// At most 1,000 records of one `client_id` live. One more ends the oldest that never got a token and was never approved; if
/// there is none, the registration is answered with 503. A [rate limit](crate::layers::RateLimitLayer) stops a client
/// that registers often from ending unused registrations of others. A sign-in counts as a use of one such record at
/// most: of several with one redirect URI, one that got a token before, or the oldest.
///
/// # Lifetimes
///
/// *Never used*, 7 days: clients register each time they start, and most registrations never lead to a sign-in. Twenty-four
/// hours, as some servers have it, hit people who came back from a weekend; less than an hour is an error when the registrar
/// is built. *Idle*, 90 days from the last token: a lifetime from the registration would end clients in use; less than
/// 30 days is an error, since refresh tokens live as long. *Recorded use*: the use of a busy client is recorded once in half an
/// idle limit, so a client expires between one idle limit and one and a half after its last token. The server is
/// [asked](Self::with_still_in_use) before a client expires: one with a valid refresh token does not.
///
/// # Deduplication
///
/// An equal registration of a public client gets the stored response. Registrations are equal if the canonical digests of
/// the forwarded documents are, without `software_version`
/// ([`any_software_version`](LifecycleSettings::any_software_version)); a client is public if its method is `none`, and the response has no secret and no registration
/// access token. Deduplication does not extend the wait for approval, and OpenID Connect forbids it
/// ([`deduplication`](LifecycleSettings::deduplication)).
///
/// # The quota
///
/// If a full table rejected all registrations, an attacker could lock the endpoint by filling it. So at the
/// [quota](LifecycleSettings::max_clients) clients are evicted, at any age: of the source network (24 bits of IPv4, 48
/// of IPv6) that holds most of a kind, the oldest first. The kinds in their order:
///
/// 1. never used, and not vouched for;
/// 2. never used, and [vouched for](Client::is_vouched_for);
/// 3. used, the least recently used first;
/// 4. used, and vouched for.
///
/// A kind that was never used is evicted while there are more of it than a tenth of the quota, or more than a hundredth of
/// the quota from one network. A used kind is evicted while one network has more than a hundredth of the quota, or a tenth
/// if it is vouched for: many people share the networks of a hosted application. If no kind has too many, a client that was
/// never used is evicted anyway. A client that an operator approved or extended is never evicted, nor is a registration that
/// the server has not answered, for at most a minute. Only if there is nothing else is a registration answered with 503 and
/// `Retry-After`. The effects of attacks are in
/// [`docs/client-quota.md`](https://docs.rs/crate/tower-dcr/latest/source/docs/client-quota.md).
///
/// A record that was evicted, and one whose registration failed, is emptied at once: the digest, the time and the reason are
/// kept. It is removed after an hour, and before if there are more than 10,000 of them; the `client_id` of one that the server
/// was not [told](Registrar::with_deprovision) of stays.
///
/// # Revocation
///
/// A client is ended by the operator; the client itself, by `DELETE` (RFC 7592); the owner of the
/// initial access token with which it was registered ([`Actor::TokenOwner`]). Each is in the record, with the reason, and
/// an audit event. A revocation by an operator also blocks, since clients register again as soon as they are rejected:
/// see [`Revocation`]. [Deprovisioning](Self::with_deprovision) deletes the client at the server, and is repeated until it succeeds.
///
/// # Answers to ended clients
///
/// At the token endpoint `401 invalid_client`, on which clients forget their `client_id`, register again and let the user
/// sign in: an expired client is back after one sign-in, with another `client_id`. If it was revoked, its registration is
/// rejected with `400 invalid_client_metadata`. At the authorization endpoint there is no such signal
/// (RFC 6749 section 4.1.2.1 forbids to redirect), so the user sees a page with the remedy: remove the connection and add it
/// again. While the ledger is down,
/// clients that were seen a moment ago [go on](crate::layers::GateSettings::grace), and all other requests get `503
/// temporarily_unavailable`, never `invalid_client`: clients would discard a `client_id` that is still valid.
///
/// # Crashes
///
/// A registration is recorded before the server is asked, and the response before it is sent. So a crash leaves no record, or
/// one without an answer (it counts as failed after a minute), or the client: no client has a `client_id` that the ledger does
/// not know. The server may then keep a client that is in no ledger. An update (RFC 7592) is recorded after the server made it;
/// after a crash in between the ledger has the older redirect URIs, and the gate rejects newer ones until the client updates
/// again. A `DELETE` that the ledger misses leaves a record that expires.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use std::num::NonZeroU64;
/// use std::time::Duration;
/// use tower_dcr::clients::{Actor, Client, Fingerprints, Ledger, MemoryLedger, Registrar, Revocation, Status};
///
/// let ledger = MemoryLedger::default();
/// let registrar = Registrar::new(ledger.clone())
///     .map_settings(|lifecycle| {
///         lifecycle.idle = Some(Duration::from_secs(180 * 24 * 3600));
///         lifecycle.max_clients = NonZeroU64::new(50_000);
///     })?
///     .with_deprovision(async |client_id: String| {
///         println!("delete the client {client_id} and its tokens");
///         Ok(())
///     });
/// # let mut client = Client::draft("{}", Fingerprints::default(), 0);
/// # (client.status, client.client_id) = (Status::Active, Some("s6BhdRkqt3".into()));
/// # ledger.insert(&client, None).await?;
/// let alice = Actor::Operator("alice".into());
/// let revoked = registrar.revoke(Revocation::client("s6BhdRkqt3", alice, "its tokens leaked")).await?;
/// assert_eq!((revoked.clients, revoked.not_deprovisioned), (1, 0));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
#[must_use]
pub struct Registrar {
    config: Arc<Config>,
}

#[derive(Clone)]
struct Config {
    ledger: Arc<dyn ErasedLedger>,
    clock: Arc<dyn Clock>,
    /// The sink of events, if it was set here.
    aggregator: Option<Arc<Aggregator>>,
    /// The settings in code.
    built: LifecycleSettings,
    /// The settings in force: those of a policy file over those in code, for all clones.
    in_force: Arc<Replaceable<Settings>>,
    deprovision: Option<ServerCall<()>>,
    still_in_use: Option<ServerCall<bool>>,
    shared: Arc<Shared>,
}

/// The state of all clones.
#[derive(Default)]
struct Shared {
    /// The audit settings of a preset.
    audit: Replaceable<Audit>,
    /// The names that operators blocked, as last read.
    blocked_names: Mutex<BlockedNames>,
    /// Registrations whose client hung up in this process: the next one need not wait for them.
    abandoned: Mutex<Vec<ClientKey>>,
    /// Clients that the server seemed not to know, with the time.
    doubts: Mutex<HashMap<ClientKey, i64>>,
    /// Blocks of documents, as last read.
    document_blocks: DocumentBlocks,
    /// Set once a conflict of `client_id`s was logged.
    has_warned_of_conflict: AtomicBool,
    /// The number of registrations that failed in this process.
    failures: AtomicU64,
    /// Grows with each local change of a client, which invalidates every gate cache.
    epoch: AtomicU64,
    /// Grows with each local registration, which invalidates the unknown clients in gate caches.
    registrations: AtomicU64,
}

/// The audit settings of a preset.
struct Audit {
    aggregator: Arc<Aggregator>,
    sources: Sources,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            aggregator: Aggregator::new(TracingSink),
            sources: Sources::new(ClientAddress::new(), &crate::audit::Requester::None),
        }
    }
}

/// After this long without an answer, a registration counts as failed.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(60);

impl Registrar {
    /// Creates a registrar that stores clients in `ledger`, with the default [settings](LifecycleSettings).
    pub fn new(ledger: impl Ledger) -> Self {
        let config = Config {
            ledger: Arc::new(WatchedLedger::new(ledger, Self::LEDGER_DEADLINE)),
            clock: Arc::new(SystemClock::default()),
            aggregator: None,
            built: LifecycleSettings::default(),
            in_force: Arc::new(Replaceable::new(Settings::new())),
            deprovision: None,
            still_in_use: None,
            shared: Arc::default(),
        };
        Self { config: Arc::new(config) }
    }

    const LEDGER_DEADLINE: Duration = Duration::from_secs(3);

    /// Sets the time limit for each request to the ledger (default: 3 s), for all clones. After it the ledger counts as
    /// unavailable.
    pub fn with_ledger_deadline(self, deadline: Duration) -> Self {
        self.ledger().set_deadline(deadline.min(period::LONGEST));
        self
    }

    fn change(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }

    /// Changes the settings, for this registrar and clones that are made of it later.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// use std::time::Duration;
    /// use tower_dcr::Registration;
    /// use tower_dcr::clients::{Client, Fingerprints, Insertion, Ledger, MemoryLedger, Registrar, Source, Status};
    ///
    /// let ledger = MemoryLedger::default();
    /// let registration = Registration::parse(b"{}").unwrap();
    /// let mut prints = Fingerprints::of(&registration, false);
    /// prints.source = Some(Source::of([192, 0, 2, 7].into()));
    /// let mut client = Client::draft("{}", prints, 0);
    /// client.status = Status::Active;
    /// let Insertion::Inserted(client) = ledger.insert(&client, None).await? else { unreachable!() };
    ///
    /// let one_day = Some(Duration::from_secs(24 * 3600));
    /// let registrar = Registrar::new(ledger.clone()).map_settings(|lifecycle| lifecycle.address_retention = one_day)?;
    /// assert_eq!(registrar.maintain_once().await?.shortened, 1);
    /// let source = ledger.get(client.key).await?.unwrap().fingerprints.source.unwrap();
    /// assert_eq!((&*source.narrow, &*source.wide), ("192.0.2.0/24", "192.0.2.0/24"));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::OutOfRange`] if a lifetime is above 100 years, or is too short: people need an hour to sign
    /// in or to approve, and unused refresh tokens live for 30 days; and [`ConfigError::Unknown`] if
    /// [`hold`](LifecycleSettings::hold) has another name.
    pub fn map_settings(self, change: impl FnOnce(&mut LifecycleSettings)) -> Result<Self, ConfigError> {
        let mut built = self.config.built.clone();
        change(&mut built);
        built.lifetimes_over(&Lifetimes::new())?;
        built.check_hold()?;
        built.check_document_hold()?;
        Ok(self.with_settings(built))
    }

    fn with_settings(self, built: LifecycleSettings) -> Self {
        self.change(|config| {
            config.in_force = Arc::new(Replaceable::new(Settings::new().under(&built)));
            config.built = built;
        })
    }

    /// Calls the handler for every registration, including one that is equal to an earlier one.
    pub(crate) fn without_deduplication(self) -> Self {
        let built = LifecycleSettings { deduplication: Some(false), ..self.config.built.clone() };
        self.with_settings(built)
    }

    /// Returns whether code says that equal registrations are deduplicated, or that they are not.
    pub(crate) fn says_deduplication(&self) -> bool {
        self.config.built.deduplication.is_some()
    }

    /// Applies a policy file over the settings that were built, for all clones.
    pub(crate) fn reconfigure(&self, lifecycle: &LifecycleSettings) {
        self.config.in_force.replace(Settings::new().under(&self.config.built).under(lifecycle));
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.config.in_force.load()
    }

    /// Sets the call that deletes expired and revoked clients at the server: it gets a `client_id`, invalidates all grants, access
    /// tokens and refresh tokens of the client, and deletes it (RFC 7592 section 2.3). Without it, tokens stay valid until the
    /// server ends them, and only the gate rejects the client. Set it on every node that [maintains](Self::maintain) the
    /// ledger, or on none.
    ///
    /// The call is repeated until it succeeds, at growing intervals, by one node at a time. After a crash it can happen twice
    /// for one client, so it has to succeed for a client that is gone. A closure that captures something gives its future a copy:
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// use std::sync::{Arc, Mutex};
    /// use tower_dcr::clients::{Client, Fingerprints, Ledger, MemoryLedger, Registrar, Status};
    ///
    /// # let ledger = MemoryLedger::default();
    /// # let mut client = Client::draft("{}", Fingerprints::default(), 0);
    /// # (client.status, client.client_id, client.expires_at) = (Status::Active, Some("s6BhdRkqt3".into()), Some(1));
    /// # ledger.insert(&client, None).await?;
    /// let tokens = Arc::new(Mutex::new(vec![("s6BhdRkqt3".to_owned(), "token")]));
    /// let at_server = Arc::clone(&tokens);
    /// let registrar = Registrar::new(ledger).with_deprovision(move |client_id: String| {
    ///     let tokens = Arc::clone(&at_server);
    ///     async move {
    ///         tokens.lock().map_err(|_| "the store is broken")?.retain(|(owner, _)| *owner != client_id);
    ///         Ok(())
    ///     }
    /// });
    /// assert_eq!(registrar.maintain_once().await?.deprovisioned, 1);
    /// assert!(tokens.lock().unwrap().is_empty());
    /// # Ok::<_, tower_dcr::clients::LedgerError>(())
    /// # }).unwrap();
    /// ```
    pub fn with_deprovision<A>(self, deprovision: impl Fn(String) -> A + Send + Sync + 'static) -> Self
    where
        A: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.change(|config| config.deprovision = Some(boxed(deprovision)))
    }

    /// Sets the call that asks the server, before a client expires, whether it is still in use: whether it has a valid refresh
    /// token. After an error the client is neither ended nor admitted (503).
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// use tower_dcr::clients::{Client, Fingerprints, Ledger, MemoryLedger, Registrar, Status};
    ///
    /// # let ledger = MemoryLedger::default();
    /// # let mut client = Client::draft("{}", Fingerprints::default(), 0);
    /// # (client.status, client.client_id, client.expires_at) = (Status::Active, Some("s6BhdRkqt3".into()), Some(1));
    /// # ledger.insert(&client, None).await?;
    /// let registrar = Registrar::new(ledger).with_still_in_use(async |client_id: String| Ok(client_id == "s6BhdRkqt3"));
    /// assert_eq!(registrar.maintain_once().await?.kept, 1);
    /// # Ok::<_, tower_dcr::clients::LedgerError>(())
    /// # }).unwrap();
    /// ```
    pub fn with_still_in_use<A>(self, still_in_use: impl Fn(String) -> A + Send + Sync + 'static) -> Self
    where
        A: Future<Output = Result<bool, BoxError>> + Send + 'static,
    {
        self.change(|config| config.still_in_use = Some(boxed(still_in_use)))
    }

    /// Sets where lifecycle events go (default: to the sink of the [preset](crate::Preset::with_sink) that has this
    /// registrar, and without one to `tracing`).
    pub fn with_sink(self, sink: impl Sink) -> Self {
        self.change(|config| config.aggregator = Some(Aggregator::new(sink)))
    }

    /// Sets the names of sources in audit events, and the sink unless it was set here.
    pub(crate) fn follow_audit(&self, aggregator: Option<Arc<Aggregator>>, sources: Sources) {
        let before = self.config.shared.audit.load();
        let aggregator = aggregator.unwrap_or_else(|| Arc::clone(&before.aggregator));
        self.config.shared.audit.replace(Audit { aggregator, sources });
    }

    /// Replaces the clock. Nodes that share a ledger should agree on the time to within a minute.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        self.change(|config| config.clock = clock)
    }

    /// Returns facts for a consent page about a client that asks for a code at `redirect_uri`; `None` if it is unknown.
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the ledger is unavailable.
    #[cfg(feature = "identity")]
    pub async fn consent_facts(
        &self,
        client_id: &str,
        redirect_uri: &str,
    ) -> Result<Option<ConsentFacts>, LedgerError> {
        let all = self.records(client_id).await?;
        Ok(ConsentFacts::of_records(&all, redirect_uri))
    }

    pub(crate) fn needs_approval(&self) -> bool {
        self.settings().lifetimes.needs_approval()
    }

    pub(crate) fn ledger(&self) -> &dyn ErasedLedger {
        &*self.config.ledger
    }

    /// Returns the time by its clock, in milliseconds since 1970-01-01 00:00 UTC.
    #[must_use]
    pub fn now(&self) -> i64 {
        milliseconds(self.config.clock.unix_time())
    }

    pub(crate) fn event(&self, action: LifecycleAction) -> LifecycleEvent {
        LifecycleEvent::new(self.now(), action)
    }

    /// Creates an event about a client, with its name and source.
    pub(crate) fn event_of(&self, action: LifecycleAction, client: &Client) -> LifecycleEvent {
        let audit = self.config.shared.audit.load();
        let source = client.fingerprints.source.as_ref().map(|source| audit.sources.recorded(&source.narrow));
        let event = self.event(action).of_client(client.client_id.as_deref());
        event.naming(&client.registration).coming_from(source)
    }

    pub(crate) fn emit(&self, event: &LifecycleEvent) {
        self.emit_from(event, None);
    }

    /// Emits an event that a request from `address` caused.
    pub(crate) fn emit_from(&self, event: &LifecycleEvent, address: Option<IpAddr>) {
        telemetry::lifecycle(&event.action, event.enforced);
        let audit = self.config.shared.audit.load();
        let network = address.map(|address| audit.sources.network(address));
        let named = || audit.sources.network_name(address?).or_else(|| event.source.clone());
        self.config.aggregator.as_ref().unwrap_or(&audit.aggregator).lifecycle(event, network, named);
    }

    /// Emits an event that `client` caused; summed events are grouped by the source in its record.
    fn emit_of(&self, event: &LifecycleEvent, client: &Client) {
        let source = client.fingerprints.source.as_ref();
        let network = source.and_then(|source| source.narrow.parse::<IpNet>().ok());
        self.emit_from(event, network.map(|network| network.addr()));
    }

    /// Returns the client address of a request, as the preset finds it.
    pub(crate) fn address_of(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
        self.config.shared.audit.load().sources.resolve(headers, extensions)
    }

    /// Returns `true` if the address of a request is that of a proxy, so that clients can't be told apart.
    pub(crate) fn finds_proxy(&self, headers: &HeaderMap, extensions: &Extensions) -> bool {
        self.config.shared.audit.load().sources.finds_proxy(headers, extensions)
    }

    /// Returns the network of a client address, as rate limits count it.
    pub(crate) fn network_of(&self, address: IpAddr) -> crate::client_address::ClientNetwork {
        self.config.shared.audit.load().sources.network(address)
    }

    /// Returns the name of the source `address` in events.
    pub(crate) fn source_name(&self, address: Option<IpAddr>) -> Option<String> {
        self.config.shared.audit.load().sources.name(address?)
    }

    /// Changes a record that `is_due`, and repeats that if it was changed meanwhile. Returns the changed record, or as an error the
    /// record that there was nothing to change in, or that is gone.
    pub(crate) async fn update(
        &self,
        mut client: Client,
        is_due: impl Fn(&Client) -> bool,
        change: impl Fn(&mut Client),
    ) -> Result<Result<Client, Client>, LedgerError> {
        while is_due(&client) {
            let mut next = client.clone();
            change(&mut next);
            match self.ledger().replace(&next).await? {
                Replacement::Replaced => return Ok(Ok(Client { version: next.version + 1, ..next })),
                Replacement::Taken => return Err(LedgerError::new("client_id of another record")),
                Replacement::Outdated => match self.ledger().get(client.key).await? {
                    Some(now) => client = now,
                    None => break,
                },
            }
        }
        Ok(Err(client))
    }

    /// Ends `client`, and its deletion at the server is due.
    fn end(&self, client: &mut Client, status: Status, by: Actor, reason: &str) {
        let now = self.now();
        client.end(status, now, by, reason);
        if client.client_id.is_some() {
            // Maintenance deletes it at the server; this registrar may be of a tool that can't.
            client.deprovisioning = Deprovisioning::due(now);
        }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.config.shared.epoch.load(Ordering::SeqCst)
    }

    pub(crate) fn registrations(&self) -> u64 {
        self.config.shared.registrations.load(Ordering::SeqCst)
    }

    pub(crate) fn begin_epoch(&self) {
        self.config.shared.epoch.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) fn milliseconds(duration: Duration) -> i64 {
    // Later added to dates.
    i64::try_from(duration.min(period::LONGEST).as_millis()).unwrap_or(i64::MAX)
}

impl fmt::Debug for Registrar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registrar").field("settings", &*self.settings()).finish_non_exhaustive()
    }
}
