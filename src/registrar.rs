//! [`Registrar`]: decides what becomes of registered clients, and writes it into a [`Ledger`].
//!
//! One registrar stands behind the layers: [`LifecycleLayer`](crate::LifecycleLayer) on the registration route,
//! [`GateLayer`](crate::GateLayer) in front of the endpoints that clients use, [`Review`](crate::review::Review) for the
//! operator, and [`maintain`](Registrar::maintain) for what comes due with time. All of its state is in the ledger, so any
//! number of nodes may have one.
//!
//! # The life of a client
//!
//! | state | how it comes about | what ends it |
//! | --- | --- | --- |
//! | registering | written down before the server is asked | the server's answer; after a minute it counts as failed |
//! | pending | registered, if [approval](Lifetimes::with_approval) is wanted | approval, or the limit for it: expired |
//! | active | registered, or approved | 7 days without a first token, 90 days without another: expired |
//! | stale | active, and half of that time has passed | a token: active again |
//! | expired, revoked | a limit; somebody | nothing: who wants to sign in registers again and gets another `client_id` |
//!
//! A server may give an equal registration the `client_id` that it gave before. A live record then goes on. One that expired,
//! or that the client itself deleted, begins anew as if it had never been there: it waits for approval again where approval
//! is wanted. One that somebody else revoked does not come back. A `client_id` that comes with *another* registration is not
//! believed: the record stays as it is, the registration is answered with 500, and an event
//! ([`Action::IdConflict`]) and a warning say so. The ways out are
//! [`with_shared_client_ids`](Registrar::with_shared_client_ids), and `dcr clients forget` for a server that lost its store
//! and counts its ids anew.
//!
//! # What each limit protects
//!
//! *Never used*, 7 days: clients register each time they start, and most registrations never lead to a sign-in. Twenty-four
//! hours, as some servers have it, hit people who came back from a weekend; less than an hour is refused when the registrar
//! is built. *Idle*, 90 days from the last token: a fixed lifetime kills busy clients, one that slides does not; less than
//! 30 days is refused, since refresh tokens live as long. *Half-life*: a busy client's time is written down once in half an
//! idle limit, so the true limit lies between the idle limit and one and a half of it, counted from the last token.
//! [`StillInUse`] is asked before a client expires: one whose refresh token is alive never goes.
//!
//! *The quota* is not a wall. A server that refuses everybody once a table is full can be locked by anybody who fills it.
//! At the quota, clients that never got a token, that nobody approved and that are older than a grace period make room,
//! the oldest first; only if there are none is a registration answered with 503 and `Retry-After`.
//!
//! *Repeats*: an equal registration of a public client gets the earlier answer. Equal means the canonical digest of what
//! the guards let through; public means the method `none`, and no secret and no registration access token in the answer.
//! It does not prolong a life that waits for approval, and it is not for OpenID Connect
//! ([`without_repeats`](Registrar::without_repeats)).
//!
//! # Who may end a client
//!
//! The operator, through [`Review`](crate::review::Review); the client itself, by `DELETE` (RFC 7592); the owner of the
//! initial access token with which it was registered ([`Actor::TokenOwner`]). Each is in the record, with the reason, and
//! an audit event. What an operator revokes is blocked as well, since clients register again the moment they are refused:
//! see [`Revocation`]. The server is told by [`Deprovision`], until it succeeds.
//!
//! # What a client sees
//!
//! At the token endpoint `401 invalid_client`, on which the clients in the field forget their `client_id`, register again
//! and let the user sign in: a client that expired is back after one sign-in, with another `client_id`. If it was revoked,
//! its registration is refused with `400 invalid_client_metadata`. At the authorization endpoint there is no such signal
//! (RFC 6749 section 4.1.2.1 forbids to redirect), so the user sees a page that says what to do: remove the connection and
//! add it again. Of the released clients one asks there first and takes the 400 for the signal. While the ledger is down,
//! clients that were seen a moment ago [go on](crate::GateLayer::with_grace), and all else is `503 temporarily_unavailable`,
//! and never `invalid_client`: clients would throw away what is still good.
//!
//! # What can go wrong in between
//!
//! A registration is written down before the server is asked, and the server's answer before it goes out. So a crash leaves
//! either no record, or one that says that nobody knows (it counts as failed after a minute), or the client: nobody holds a
//! `client_id` that the ledger does not know. The server may then keep a client that nobody knows of. An update (RFC 7592)
//! is written down after the server made it; after a crash in between the ledger has the older redirect URIs, and the gate
//! refuses newer ones until the client updates again. A `DELETE` that the ledger misses leaves a record that expires.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};

use crate::clock::{Clock, SystemClock};
use crate::consent::ConsentFacts;
use crate::event::{Action, LifecycleEvent, Sink, TracingSink};
use crate::ledger::{
    Actor, AnyLedger, Client, ClientKey, Deprovisioning, ErasedLedger, Ledger, LedgerError, Replacement, Status,
};
use crate::sync::lock;
use crate::telemetry;

mod admission;
mod changes;
mod drift;
mod lifetimes;
mod maintenance;
mod pushed;
mod revocation;
mod server;
mod settings;
mod standing;

pub(crate) use admission::{Admission, Completion, Intent, RULE, Refusal, Requester, ServerAnswer, blocked, conflict};
pub(crate) use changes::ChangeIntent;
pub use drift::{Checked, Drift, Verdict};
pub use lifetimes::Lifetimes;
pub use maintenance::Maintained;
pub use revocation::{Forgotten, Revocation, RevokeError, Revoked};
pub use server::{Deprovision, StillInUse};
use server::{ErasedDeprovision, ErasedStillInUse};
use settings::Settings;
pub(crate) use settings::{GateSettings, LifecycleSettings, Unidentified, Unknown};

/// Decides what becomes of registered clients. See the [module docs](self). Clones are one registrar.
///
/// ```
/// use std::num::NonZeroU64;
/// use std::time::Duration;
/// use tower_dcr::ledger::MemoryLedger;
/// use tower_dcr::registrar::{Lifetimes, Registrar};
///
/// let lifetimes = Lifetimes::new().with_idle(Duration::from_secs(180 * 24 * 3600))?;
/// let registrar = Registrar::new(MemoryLedger::default())
///     .with_lifetimes(lifetimes)
///     .with_max_clients(NonZeroU64::new(50_000).unwrap())
///     .with_deprovision(async |client_id: String| {
///         println!("drop the tokens of {client_id}, and the client");
///         Ok(())
///     });
/// # let _ = registrar;
/// # Ok::<_, tower_dcr::policy::ConfigError>(())
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
    sink: Arc<dyn Sink>,
    /// As built.
    settings: Settings,
    /// In force: what a policy file says is put over what was built, for all clones at once.
    in_force: Arc<ArcSwap<Settings>>,
    deprovision: Option<Arc<dyn ErasedDeprovision>>,
    still_in_use: Option<Arc<dyn ErasedStillInUse>>,
    /// Registrations whose client hung up in this process: the next one need not wait for them.
    abandoned: Arc<Mutex<Vec<ClientKey>>>,
    /// Clients that the server seemed not to know, and since when.
    doubts: Arc<Mutex<HashMap<ClientKey, i64>>>,
    /// Whether the operator was told that the server gives out a `client_id` twice.
    has_warned_of_conflict: Arc<AtomicBool>,
    /// Grows whenever a client is ended or approved in this process: what gates remember from before does not count.
    epoch: Arc<AtomicU64>,
    /// Grows whenever a client is registered in this process: what gates did not find before may be there now.
    registrations: Arc<AtomicU64>,
}

/// What a record is after [`Registrar::update`].
pub(crate) enum Updated {
    /// As was wanted.
    Changed(Client),
    /// There was nothing to do, as it stands or last stood.
    Left(Client),
}

impl Updated {
    pub(crate) fn changed(self) -> Option<Client> {
        match self {
            Self::Changed(client) => Some(client),
            Self::Left(_) => None,
        }
    }

    pub(crate) fn into_client(self) -> Client {
        match self {
            Self::Changed(client) | Self::Left(client) => client,
        }
    }
}

/// After this long without an answer, a registration counts as failed.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(60);

impl Registrar {
    /// Keeps its books in `ledger`, with the default [`Lifetimes`], no quota, and repeats recognised.
    pub fn new(ledger: impl Ledger) -> Self {
        let config = Config {
            ledger: Arc::new(AnyLedger::new(ledger, Self::LEDGER_DEADLINE)),
            clock: Arc::new(SystemClock::new()),
            sink: Arc::new(TracingSink::new()),
            settings: Settings::new(),
            in_force: Arc::new(ArcSwap::from_pointee(Settings::new())),
            deprovision: None,
            still_in_use: None,
            abandoned: Arc::default(),
            doubts: Arc::default(),
            has_warned_of_conflict: Arc::default(),
            epoch: Arc::default(),
            registrations: Arc::default(),
        };
        Self { config: Arc::new(config) }
    }

    /// How long a request waits for the ledger: 3 seconds.
    pub const LEDGER_DEADLINE: Duration = Duration::from_secs(3);

    /// How long a request waits for the ledger each time it asks; then the ledger counts as unusable. For all clones.
    pub fn with_ledger_deadline(self, deadline: Duration) -> Self {
        self.ledger().set_deadline(deadline);
        self
    }

    fn change(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }

    fn set(self, change: impl FnOnce(&mut Settings)) -> Self {
        self.change(|config| {
            change(&mut config.settings);
            config.in_force = Arc::new(ArcSwap::from_pointee(config.settings.clone()));
        })
    }

    /// Puts what a policy file says over what was built, for all clones.
    pub(crate) fn reconfigure(&self, lifecycle: &LifecycleSettings, gate: &GateSettings) {
        self.config.in_force.store(Arc::new(self.config.settings.under(lifecycle, gate)));
    }

    pub(crate) fn settings(&self) -> Guard<Arc<Settings>> {
        self.config.in_force.load()
    }

    /// How long clients live.
    pub fn with_lifetimes(self, lifetimes: Lifetimes) -> Self {
        self.set(|settings| settings.lifetimes = lifetimes)
    }

    /// How many clients may be live at once: see the [module docs](self#what-each-limit-protects).
    pub fn with_max_clients(self, clients: NonZeroU64) -> Self {
        self.set(|settings| settings.max_clients = Some(clients))
    }

    /// How old a client that never got a token must be before it makes room for others; an hour by default.
    pub fn with_grace(self, grace: Duration) -> Self {
        self.set(|settings| settings.grace = grace)
    }

    /// Calls the handler for every registration, also for one that is equal to an earlier one. OpenID Connect wants
    /// that: "The Client Identifier … MUST NOT be currently valid for any other registered Client" (OpenID Connect
    /// Dynamic Client Registration 1.0 section 3.2).
    pub fn without_repeats(self) -> Self {
        self.set(|settings| settings.repeats = false)
    }

    /// The server matches loopback redirect URIs whatever their port is (RFC 8252 section 7.3), so that registrations
    /// which differ in those ports only are equal. Applications that listen on a new port each time they start then get
    /// one client instead of one for each start. If the server compares the port after all, their sign-ins fail.
    pub fn with_any_loopback_port(self) -> Self {
        self.set(|settings| settings.any_loopback_port = true)
    }

    /// Accepts that the server gives one `client_id` to several registrations: to everybody, or to all of one name or host, as
    /// facades before a provider without registration do. By default the second of them is answered with 500 `server_error`,
    /// since it would otherwise take over the record of the first.
    ///
    /// Each distinct registration (by what was forwarded, and by the owner of its initial access token) then has a record of
    /// its own under the same `client_id`, with its own status, approval, last use and identity; nothing is inherited. At
    /// the authorization endpoint a request passes if a live record has its redirect URI. Approval and revocation are per
    /// record. What can't be per record is not done: the server is never [told](Self::with_deprovision) to drop the client
    /// that others use, nor [asked](Self::with_still_in_use) whether it is in use. Refresh tokens don't say to which
    /// registration they belong, so a revoked registration is kept from new sign-ins, and its tokens end only at the server.
    /// Read, update and deletion by the client (RFC 7592) are rejected while several records of its id live: the request does
    /// not say which of them it means.
    ///
    /// At most 1,000 records of one `client_id` live. One more ends the oldest that never got a token and was never approved;
    /// if there is none, the registration is answered with 503. A [rate limit](crate::rate_limit) keeps one that registers
    /// often from ending what others registered and have not used yet. A sign-in proves the use of one such record at most:
    /// of several with one redirect URI, one that got a token before, or the oldest.
    pub fn with_shared_client_ids(self) -> Self {
        self.set(|settings| settings.shared_client_ids = true)
    }

    /// Keeps no network of who registers. Nothing can then be blocked by [source](crate::ledger::Fingerprint::source).
    pub fn without_sources(self) -> Self {
        self.set(|settings| settings.sources = false)
    }

    /// How long the record of a client that has ended is kept whole; 30 days by default. After that what it was is
    /// removed: the record too, if the server is known to have forgotten the client or never had it.
    pub fn with_retention(self, retention: Duration) -> Self {
        self.set(|settings| settings.retention = retention)
    }

    /// Lets clients that the ledger does not know update themselves (`PUT`, RFC 7592) although initial access tokens or
    /// approval are required: they are then judged, forwarded and recorded. Without it such an update is answered with 401,
    /// since a server that registers what it does not know would register it without token or approval. Set it where clients
    /// registered before there was a ledger, and the server answers 401 to unknown ones (RFC 7592 section 2.1). The key in
    /// policy files is `lifecycle.manage_unknown`.
    pub fn manage_unknown(self) -> Self {
        self.set(|settings| settings.manage_unknown = true)
    }

    /// Tells the server that a client has expired or was revoked, so that it drops its tokens and the client (RFC 7592
    /// section 2.3). Without it, the server's tokens live on as long as the server lets them; the gate turns the client
    /// away all the same. Every node that [maintains](Self::maintain) the ledger should have it, or none.
    pub fn with_deprovision(self, deprovision: impl Deprovision) -> Self {
        self.change(|config| config.deprovision = Some(Arc::new(deprovision)))
    }

    /// Asks the server before a client expires.
    pub fn with_still_in_use(self, still_in_use: impl StillInUse) -> Self {
        self.change(|config| config.still_in_use = Some(Arc::new(still_in_use)))
    }

    /// Where lifecycle events go: by default to `tracing`.
    pub fn with_sink(self, sink: impl Sink) -> Self {
        self.change(|config| config.sink = Arc::new(sink))
    }

    /// Replaces the clock. Nodes that share a ledger should agree on the time to within a minute.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        self.change(|config| config.clock = clock)
    }

    /// What a consent page should show of a client that asks to be answered at `redirect_uri`; nothing if the ledger does not
    /// know it.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] if the ledger can't be asked.
    pub async fn consent_facts(
        &self,
        client_id: &str,
        redirect_uri: &str,
    ) -> Result<Option<ConsentFacts>, LedgerError> {
        let all = self.look_up_all(client_id).await?;
        Ok(ConsentFacts::of_records(&all, redirect_uri))
    }

    /// The lifetimes in force.
    pub fn lifetimes(&self) -> Lifetimes {
        self.settings().lifetimes.clone()
    }

    pub(crate) fn ledger(&self) -> &dyn ErasedLedger {
        &*self.config.ledger
    }

    /// Milliseconds since 1970-01-01 00:00 UTC.
    pub(crate) fn now(&self) -> i64 {
        milliseconds(self.config.clock.unix_time())
    }

    /// The address that is written down.
    fn source_of(&self, requester: &Requester) -> Option<IpAddr> {
        requester.address.filter(|_| self.settings().sources)
    }

    pub(crate) fn event(&self, action: Action) -> LifecycleEvent {
        LifecycleEvent::new(self.now(), action)
    }

    pub(crate) fn emit(&self, event: &LifecycleEvent) {
        telemetry::lifecycle(event.action.as_str());
        self.config.sink.emit_lifecycle(event);
    }

    /// Changes a record, again and again until nobody else has changed it in between. `change` says what it becomes, or
    /// that there is nothing to do.
    pub(crate) async fn update(
        &self,
        mut client: Client,
        mut change: impl FnMut(&Client) -> Option<Client>,
    ) -> Result<Updated, LedgerError> {
        loop {
            let Some(next) = change(&client) else { return Ok(Updated::Left(client)) };
            match self.ledger().replace(&next).await? {
                Replacement::Replaced => return Ok(Updated::Changed(Client { version: next.version + 1, ..next })),
                Replacement::Taken => return Err(LedgerError::new("another record has that client_id")),
                Replacement::Outdated => match self.ledger().get(client.key).await? {
                    Some(now) => client = now,
                    None => return Ok(Updated::Left(client)),
                },
            }
        }
    }

    /// What `client` is once it has ended.
    fn ended(&self, client: &Client, status: Status, by: Actor, reason: &str) -> Client {
        let mut ended = client.clone();
        let now = self.now();
        ended.end(status, now, by, reason);
        if ended.client_id.is_some() {
            // Whoever maintains the ledger tells the server; this registrar may be a tool that can't.
            ended.deprovisioning = Deprovisioning::due(now);
        }
        ended
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.config.epoch.load(Ordering::SeqCst)
    }

    pub(crate) fn registrations(&self) -> u64 {
        self.config.registrations.load(Ordering::SeqCst)
    }

    fn count_registration(&self) {
        self.config.registrations.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn begin_epoch(&self) {
        self.config.epoch.fetch_add(1, Ordering::SeqCst);
    }

    fn abandon(&self, key: ClientKey) {
        lock(&self.config.abandoned).push(key);
    }

    fn take_abandoned(&self, at_most: usize) -> Vec<ClientKey> {
        let mut abandoned = lock(&self.config.abandoned);
        let kept = abandoned.len().saturating_sub(at_most);
        // The newest first: those are the ones that somebody may be waiting for.
        abandoned.split_off(kept)
    }
}

pub(crate) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl fmt::Debug for Registrar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registrar").field("settings", &**self.settings()).finish_non_exhaustive()
    }
}
