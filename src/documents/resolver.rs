//! [`Documents`]: fetches, judges and remembers documents, within bounds.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::hash::RandomState;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_timer::Delay;
use http::{HeaderValue, Response, StatusCode};

use super::budgets::{self, Budgets, Tables};
use super::fetch::{ErasedFetch, Fetched};
use super::flight::Flight;
use super::freshness::{self, Bounds};
use super::settings::DocumentSettings;
use super::verified::Times;
use super::{ClientIdUrl, DocumentError, Fetch, FetchError, FetchRequest, VerifiedClient, read};
use crate::cache::Cache;
use crate::circuit_breaker::{Circuit, jittered};
use crate::clients::registrar::milliseconds;
use crate::clock::{Clock, CoarseClock};
use crate::rate_limit::{Denied, Reservation, SharedQuotas};
use crate::registration::Digest;
use crate::replaceable::Replaceable;
use crate::rules::{Context, Policy};
use crate::sync::{Mutex, lock};
use crate::telemetry;

/// Fetches client metadata documents, and remembers those that the rules accept.
///
/// A [preset](crate::Preset::with_documents) decides about the documents, and its [gates](crate::Preset::gate) ask for them. It has a
/// memory of its own, so that no judgement is another preset's.
///
/// # Bounds
///
/// | | limit |
/// | --- | --- |
/// | documents of clients that have been used | 3,072, and 12 MiB |
/// | documents of other clients | 1,024, and 4 MiB: none of them takes the place of one that is used |
/// | versions that were let through in the last ten minutes | 4 for each document, within these 16 MiB |
/// | drafts of records, for clients that have not been used | 1,024, and 4 MiB, at each gate |
/// | failures | 4,096, each with its URL: 4 MiB at most. No document that failed is stored |
/// | hosts that fail | 1,024 of clients in use, and 1,024 of others |
/// | fetches at the same time | 32, of which 8 are for clients that have been used; 2 for each host, 4 for each site, and none of an unknown client takes the place of one that is used |
/// | requests that wait for one fetch | 4,096; one fetch answers all of them |
/// | budgets | 16,386 buckets, 256 KiB |
///
/// The fetches of unknown clients have [budgets](DocumentSettings::fetches) that clients in use do not take from. A document that
/// failed is fetched again after a minute if it is invalid, and after ten seconds to ten minutes if there was no answer. After
/// five failures in a row a host is not asked for some seconds: for clients in use, or for the one address whose requests failed. A
/// document of a client in use is fetched again in the last tenth
/// of its age, while requests use the one that is there.
#[derive(Clone)]
#[must_use]
pub struct Documents {
    inner: Arc<Inner>,
}

struct Inner {
    fetcher: Arc<dyn ErasedFetch>,
    /// Measures ages. Not the wall clock, which jumps.
    clock: Arc<dyn Clock>,
    shared: Option<SharedQuotas>,
    in_force: Replaceable<InForce>,
    tables: Tables,
    known: Cache<Arc<Stored>>,
    unknown: Cache<Arc<Stored>>,
    failures: Cache<Failure>,
    circuits: Cache<Arc<Circuit>>,
    strangers_circuits: Cache<Arc<Circuit>>,
    flights: Mutex<HashMap<String, InFlight>>,
    jitter: RandomState,
}

/// The settings and rules that decide now.
#[derive(Debug, Default)]
pub(crate) struct InForce {
    pub(crate) settings: DocumentSettings,
    judge: DocumentJudge,
    budgets: Budgets,
    /// `true` if a document of a public client can be accepted.
    pub(crate) offers_none: bool,
}

/// Judges documents by a policy.
#[derive(Debug, Default)]
pub(crate) struct DocumentJudge {
    pub(crate) policy: Policy,
    /// Reports what the policy would do, and changes nothing.
    pub(crate) reports: bool,
}

/// The document of a client that is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) url: &'a ClientIdUrl,
    /// The address of the request.
    pub(crate) address: Option<IpAddr>,
    pub(crate) standing: Standing,
}

/// The budgets and the place in memory that a client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has been used before, or the operator lists its URL.
    Known,
    /// An entry with `*` of the operator's list has it. Strangers can make such URLs up.
    Matched,
    Unknown,
}

impl Wanted<'_> {
    fn is_known(&self) -> bool {
        self.standing == Standing::Known
    }
}

/// A judged document, or the reason why there is none.
pub(crate) type Resolved = Result<VerifiedClient, Arc<DocumentError>>;

/// A document that was accepted when it was fetched.
#[derive(Debug)]
struct Stored {
    bytes: Bytes,
    /// The lifetime that it had when it was fetched.
    lifetime: Duration,
    fresh_until: Duration,
    refresh_from: Duration,
    etag: Option<HeaderValue>,
    times: Times,
    /// The judgement by the judge with this name.
    judged: Mutex<((u64, bool), Resolved)>,
    /// The versions that were let through, with the last time.
    passed: Mutex<Vec<(Duration, VerifiedClient)>>,
}

#[derive(Clone, Copy, Debug)]
struct Failure {
    reason: &'static str,
    until: Duration,
    pause: Duration,
}

struct InFlight {
    flight: Flight<Resolved>,
    url: ClientIdUrl,
    is_known: bool,
    begun: Duration,
}

const KNOWN: usize = 3072;
const KNOWN_BYTES: usize = 12 << 20;
const UNKNOWN: usize = 1024;
const UNKNOWN_BYTES: usize = 4 << 20;
const FAILURES: usize = 4096;
const HOSTS: usize = 1024;
const FLIGHTS: usize = 32;
const UNKNOWN_FLIGHTS: usize = 24;
const HOST_FLIGHTS: usize = 2;
const SITE_FLIGHTS: usize = 4;
const WAITERS: usize = 4096;
const PASSED: usize = 4;

/// The time for which a version that was let through holds at the other endpoints: as long as codes should live at most (RFC 6749
/// section 4.1.2).
const PASSED_FOR: Duration = Duration::from_secs(600);
/// The time limit of a fetch, beyond that of a fetcher.
const DEADLINE: Duration = Duration::from_secs(6);
const INVALID_PAUSE: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

impl Documents {
    /// Creates an empty memory of documents that `fetcher` fetches.
    pub fn new(fetcher: impl Fetch) -> Self {
        Self::with(Arc::new(fetcher), Arc::new(CoarseClock::new()), None)
    }

    fn with(fetcher: Arc<dyn ErasedFetch>, clock: Arc<dyn Clock>, shared: Option<SharedQuotas>) -> Self {
        let inner = Inner {
            fetcher,
            clock,
            shared,
            in_force: Replaceable::default(),
            tables: Tables::new(),
            known: Cache::with_weight(KNOWN, KNOWN_BYTES),
            unknown: Cache::with_weight(UNKNOWN, UNKNOWN_BYTES),
            failures: Cache::new(FAILURES),
            circuits: Cache::new(HOSTS),
            strangers_circuits: Cache::new(HOSTS),
            flights: Mutex::default(),
            jitter: RandomState::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Replaces the clock that measures ages (default: the system's monotonic clock), with an empty memory.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self::with(Arc::clone(&self.inner.fetcher), clock, self.inner.shared.clone())
    }

    /// Shares the budgets of unknown clients with other nodes (default: each node has its own), with an empty memory.
    pub fn with_shared_quotas(self, shared: SharedQuotas) -> Self {
        Self::with(Arc::clone(&self.inner.fetcher), Arc::clone(&self.inner.clock), Some(shared))
    }

    /// Shares the budgets, unless they are shared already, with an empty memory.
    pub(crate) fn or_shared_quotas(self, shared: &SharedQuotas) -> Self {
        let own = self.inner.shared.clone();
        self.with_shared_quotas(own.unwrap_or_else(|| shared.clone()))
    }

    /// Returns the same with an empty memory, in which other rules may be in force.
    pub(crate) fn into_its_own(self) -> Self {
        Self::with(Arc::clone(&self.inner.fetcher), Arc::clone(&self.inner.clock), self.inner.shared.clone())
    }

    /// Puts settings and rules into force. Documents stay, and are judged again when they are used.
    pub(crate) fn put(&self, settings: DocumentSettings, judge: DocumentJudge, offers_none: bool) {
        let before = self.inner.in_force.load();
        if before.settings == settings && before.judge.name() == judge.name() {
            return;
        }
        let budgets = self.inner.tables.budgets(&settings);
        self.inner.in_force.replace(InForce { settings, judge, budgets, offers_none });
    }

    /// Returns the settings in force.
    pub(crate) fn in_force(&self) -> Arc<InForce> {
        self.inner.in_force.load()
    }

    /// Returns the document, from memory or its host.
    pub(crate) async fn resolve(&self, wanted: Wanted<'_>) -> Resolved {
        let in_force = self.inner.in_force.load();
        let now = self.inner.clock.monotonic();
        let stored = self.inner.stored(wanted.url, wanted.is_known());
        if let Some(stored) = stored.as_ref().filter(|stored| now < stored.fresh_until) {
            if wanted.is_known() && now >= stored.refresh_from {
                self.refresh_ahead(wanted, &in_force);
            }
            return stored.judge(wanted.url, &in_force.judge);
        }
        self.fetch(wanted, &in_force, stored, now).await
    }

    /// Returns the versions of a document that a request without a fetch may be for, the newest first: those that were let through
    /// in the last ten minutes, since an opaque code does not say which of them it belongs to, and the one in memory. That one may
    /// wait for an operator if the client has a record.
    pub(crate) fn versions(&self, url: &ClientIdUrl, has_record: bool) -> Vec<VerifiedClient> {
        let in_force = self.inner.in_force.load();
        let now = self.inner.clock.monotonic();
        let Some(stored) = self.inner.stored(url, false) else { return Vec::new() };
        let mut versions: Vec<VerifiedClient> = Vec::new();
        if !has_record && now < stored.fresh_until.saturating_add(in_force.settings.max_stale.max(PASSED_FOR)) {
            versions.extend(stored.judge(url, &in_force.judge).ok());
        }
        for (at, version) in lock(&stored.passed).iter().rev() {
            if now.saturating_sub(*at) <= PASSED_FOR && !versions.iter().any(|other| other.is_same(version)) {
                versions.push(version.clone());
            }
        }
        versions
    }

    /// Notes that a request of this version was let through at an endpoint that begins a grant.
    pub(crate) fn let_through(&self, client: &VerifiedClient) {
        let now = self.inner.clock.monotonic();
        let Some(stored) = self.inner.stored(client.url(), false) else { return };
        let is_new = {
            let mut passed = lock(&stored.passed);
            let before = passed.len();
            passed.retain(|(at, other)| now.saturating_sub(*at) <= PASSED_FOR && other.document() != client.document());
            let is_new = passed.len() == before;
            if passed.len() >= PASSED {
                passed.remove(0);
            }
            passed.push((now, client.clone()));
            is_new
        };
        if is_new {
            for cache in [&self.inner.known, &self.inner.unknown] {
                cache.weigh(client.url().as_str(), |stored| stored.weight());
            }
        }
    }

    /// Forgets a document that was fetched before `time`, in milliseconds since 1970.
    pub(crate) fn forget_older(&self, url: &ClientIdUrl, time: i64) {
        let is_older = |stored: Arc<Stored>| milliseconds(stored.times.fetched_at) < time;
        if self.inner.stored(url, false).is_some_and(is_older) {
            self.inner.known.remove(url.as_str());
            self.inner.unknown.remove(url.as_str());
        }
    }

    /// Notes that a client has been used: its document has a place that strangers can't take.
    pub(crate) fn promote(&self, url: &ClientIdUrl) {
        drop(self.inner.stored(url, true));
    }

    /// Fetches the document, together with all others that want it.
    async fn fetch(
        &self,
        wanted: Wanted<'_>,
        in_force: &Arc<InForce>,
        mut stored: Option<Arc<Stored>>,
        now: Duration,
    ) -> Resolved {
        if self.inner.sweep() {
            stored = self.inner.stored(wanted.url, wanted.is_known());
            if let Some(stored) = stored.as_ref().filter(|stored| now < stored.fresh_until) {
                return stored.judge(wanted.url, &in_force.judge);
            }
        }
        if let Some(failure) = self.inner.failure(wanted.url, now) {
            telemetry::document("failed", "back_off");
            return Err(Arc::new(DocumentError::Failed(failure.reason)));
        }
        let flight = self.join(wanted, in_force, stored)?;
        let waiter = flight.wait(WAITERS).ok_or_else(|| spent("waiting"))?;
        let lost = || Err(Arc::new(DocumentError::Fetch(FetchError::other("the fetch ended without a result"))));
        let resolved = waiter.await.unwrap_or_else(lost)?;
        // It may have begun under other rules.
        let in_force = self.inner.in_force.load();
        match self.inner.stored(wanted.url, wanted.is_known()) {
            Some(stored) => stored.judge(wanted.url, &in_force.judge),
            None if resolved.policy() == in_force.judge.policy.fingerprint() => Ok(resolved),
            None => lost(),
        }
    }

    /// Begins to fetch a document whose age ends soon. The fetcher goes on, and a later request takes the result.
    fn refresh_ahead(&self, wanted: Wanted<'_>, in_force: &Arc<InForce>) {
        let now = self.inner.clock.monotonic();
        // An earlier request may have begun it.
        self.inner.sweep();
        let stored = self.inner.stored(wanted.url, true);
        let is_due = stored.as_ref().is_none_or(|stored| now >= stored.refresh_from);
        if !is_due || self.inner.failure(wanted.url, now).is_some() {
            return;
        }
        if let Ok(flight) = self.join(wanted, in_force, stored) {
            drop(flight.advance());
        }
    }

    /// Returns the flight for a document, which may be a new one.
    fn join(
        &self,
        wanted: Wanted<'_>,
        in_force: &Arc<InForce>,
        stored: Option<Arc<Stored>>,
    ) -> Result<Flight<Resolved>, Arc<DocumentError>> {
        let Wanted { url, address, standing } = wanted;
        let is_known = wanted.is_known();
        let mut flights = lock(&self.inner.flights);
        if let Some(in_flight) = flights.get(url.as_str()) {
            return Ok(in_flight.flight.clone());
        }
        let unknown = flights.values().filter(|other| !other.is_known).count();
        // A host that is slow for strangers must not end the refreshes of its clients in use.
        let rivals = || flights.values().filter(|other| other.is_known || !is_known);
        let count = |is_same: &dyn Fn(&ClientIdUrl) -> bool| rivals().filter(|it| is_same(&it.url)).count();
        if flights.len() >= FLIGHTS || (!is_known && unknown >= UNKNOWN_FLIGHTS) {
            return Err(spent("concurrency"));
        }
        if count(&|other| other.host() == url.host()) >= HOST_FLIGHTS
            || count(&|other| other.site() == url.site()) >= SITE_FLIGHTS
        {
            return Err(spent("concurrency-by-host"));
        }
        let (shared, clock) = (self.inner.shared.as_ref(), &self.inner.clock);
        let taken = in_force.budgets.take(url, address, standing, shared, clock);
        let reservation = taken.map_err(|denied| spent(denied.budget.name()))?;
        let (inner, task_url, in_force) = (Arc::clone(&self.inner), url.clone(), Arc::clone(in_force));
        let flight = Flight::new(async move {
            let resolved = inner.run(&task_url, (is_known, address), &in_force, stored, reservation).await;
            lock(&inner.flights).remove(task_url.as_str());
            resolved
        });
        let begun = self.inner.clock.monotonic();
        let in_flight = InFlight { flight: flight.clone(), url: url.clone(), is_known, begun };
        flights.insert(url.as_str().to_owned(), in_flight);
        Ok(flight)
    }
}

fn spent(budget: &'static str) -> Arc<DocumentError> {
    telemetry::document_budget(budget);
    Arc::new(DocumentError::Budget(budget))
}

impl Inner {
    /// Returns the document in memory. One of a client that has been used moves to the place of those.
    fn stored(&self, url: &ClientIdUrl, is_known: bool) -> Option<Arc<Stored>> {
        if let Some(stored) = self.known.get(url.as_str()) {
            return Some(stored);
        }
        let stored = self.unknown.get(url.as_str())?;
        if is_known {
            self.unknown.remove(url.as_str());
            self.known.insert_weighing(url.as_str().to_owned(), Arc::clone(&stored), stored.weight());
        }
        Some(stored)
    }

    /// Returns the failure for which a document is not fetched now.
    fn failure(&self, url: &ClientIdUrl, now: Duration) -> Option<Failure> {
        self.failures.get(url.as_str()).filter(|failure| now < failure.until)
    }

    /// Takes the results of flights that no request waits for any more, and ends those that take too long. Otherwise requests that
    /// begin a fetch and go away would hold its place. Returns `true` if there was a result.
    fn sweep(&self) -> bool {
        let left: Vec<Flight<Resolved>> = {
            let flights = lock(&self.flights);
            flights.values().map(|it| &it.flight).filter(|flight| !flight.is_waited_for()).cloned().collect()
        };
        let is_over = left.iter().filter(|flight| flight.advance().is_some()).count() > 0;
        let now = self.clock.monotonic();
        lock(&self.flights).retain(|_, flight| now.saturating_sub(flight.begun) < 2 * DEADLINE);
        is_over
    }

    /// Fetches, judges and stores a document.
    async fn run(
        &self,
        url: &ClientIdUrl,
        (is_known, address): (bool, Option<IpAddr>),
        in_force: &InForce,
        stored: Option<Arc<Stored>>,
        mut reservation: Reservation,
    ) -> Resolved {
        if let Err(denied) = reservation.commit().await {
            let name = match denied {
                Denied::Spent(spent) => spent.budget.name(),
                Denied::Unknown { .. } => "shared",
            };
            return Err(spent(name));
        }
        let circuit = self.circuit(url.host(), is_known, address);
        let Ok(permit) = circuit.permit(self.clock.monotonic()) else {
            telemetry::document("failed", "breaker");
            return Err(Arc::new(DocumentError::Breaker));
        };
        let etag = stored.as_ref().and_then(|stored| stored.etag.clone());
        let request = FetchRequest { etag, in_use: is_known, ..FetchRequest::new(url.clone()) };
        // Ages count from here: a result may be taken long after it arrived, by a later request.
        let (begun, unix) = (self.clock.monotonic(), self.clock.unix_time());
        let fetched = self.fetch_in_time(&request).await;
        let now = self.clock.monotonic();
        telemetry::document_fetched(now.saturating_sub(begun).min(DEADLINE));
        let stored = fetched
            .map_err(DocumentError::Fetch)
            .and_then(|response| Self::take(&request, response, in_force, stored.as_deref(), (begun, unix)));
        match stored {
            Ok(stored) => {
                permit.succeeded();
                telemetry::document("accepted", "fetched");
                self.failures.remove(url.as_str());
                let resolved = lock(&stored.judged).1.clone();
                self.store(url, is_known, stored);
                resolved
            }
            Err(error) => {
                // Every class of failure counts alike, or the pause would tell them apart.
                permit.failed(now);
                telemetry::document("failed", error.as_str());
                tracing::info!(target: "tower_dcr::documents", %url, %error, reason = error.as_str(), "client metadata document not accepted");
                self.remember(url, &error, now);
                Err(Arc::new(error))
            }
        }
    }

    /// Returns the circuit of a host. Strangers that ask for what is not there end no refresh of a client in use, and no fetch of
    /// another stranger: anyone can make a host fail with a path that it does not have.
    fn circuit(&self, host: &str, is_known: bool, address: Option<IpAddr>) -> Arc<Circuit> {
        let (circuits, name) = match address.filter(|_| !is_known) {
            _ if is_known => (&self.circuits, host.to_owned()),
            Some(address) => (&self.strangers_circuits, format!("{host} {:x}", budgets::source(address))),
            None => (&self.strangers_circuits, host.to_owned()),
        };
        if let Some(circuit) = circuits.get(&name) {
            return circuit;
        }
        let circuit = Arc::new(Circuit::default());
        circuits.insert(name, Arc::clone(&circuit));
        circuit
    }

    async fn fetch_in_time(&self, request: &FetchRequest) -> Fetched {
        let mut fetch = self.fetcher.fetch(request.clone());
        let mut deadline = pin!(Delay::new(DEADLINE));
        poll_fn(|cx| match fetch.as_mut().poll(cx) {
            Poll::Pending => deadline.as_mut().poll(cx).map(|()| Err(FetchError::Timeout("all"))),
            ready @ Poll::Ready(_) => ready,
        })
        .await
    }

    /// Checks a response, and judges the document in it. No fetcher can skip this.
    fn take(
        request: &FetchRequest,
        response: Response<Bytes>,
        in_force: &InForce,
        before: Option<&Stored>,
        (now, unix): (Duration, Duration),
    ) -> Result<Stored, DocumentError> {
        let (head, body) = response.into_parts();
        request.check_head(&head).map_err(DocumentError::Fetch)?;
        let unchanged = before.filter(|_| head.status == StatusCode::NOT_MODIFIED);
        let bytes = match unchanged {
            Some(before) => before.bytes.clone(),
            None if body.len() > request.max_bytes => return Err(DocumentError::Fetch(FetchError::Size)),
            // Not a part of a larger buffer, which would stay with it.
            None => Bytes::copy_from_slice(&body),
        };
        let DocumentSettings { min_age: min, default_age, max_age: max, .. } = in_force.settings;
        // RFC 9111 section 4.3.4: a 304 replaces the stored fields that it has. The others stay.
        let default = unchanged.map_or(default_age, |before| before.lifetime);
        let lifetime = freshness::lifetime(&head.headers, unix, Bounds { min, default, max });
        let etag = freshness::etag(&head.headers).or_else(|| unchanged?.etag.clone());
        let times = Times {
            fetched_at: unix,
            fresh_until: unix.saturating_add(lifetime),
            etag: etag.as_ref().and_then(|etag| etag.to_str().ok()).map(str::to_owned),
        };
        let judged = in_force.judge.judge(&request.url, &bytes, times.clone())?;
        let passed = before.map(|before| lock(&before.passed).clone()).unwrap_or_default();
        Ok(Stored {
            bytes,
            lifetime,
            fresh_until: now.saturating_add(lifetime),
            refresh_from: now.saturating_add(lifetime / 10 * 9),
            etag,
            times,
            judged: Mutex::new((in_force.judge.name(), Ok(judged))),
            passed: Mutex::new(passed),
        })
    }

    fn store(&self, url: &ClientIdUrl, is_known: bool, stored: Stored) {
        let is_known = is_known || self.known.get(url.as_str()).is_some();
        let cache = if is_known { &self.known } else { &self.unknown };
        let weight = stored.weight();
        cache.insert_weighing(url.as_str().to_owned(), Arc::new(stored), weight);
    }

    /// Remembers a failure, without the document.
    fn remember(&self, url: &ClientIdUrl, error: &DocumentError, now: Duration) {
        let reason = match error {
            DocumentError::Budget(_) | DocumentError::Breaker => return,
            error => error.as_str(),
        };
        let before = self.failures.get(url.as_str());
        let pause = match error {
            DocumentError::Fetch(_) => before.map_or(FIRST_PAUSE, |before| (before.pause * 2).min(LONGEST_PAUSE)),
            _ => INVALID_PAUSE,
        };
        let until = now.saturating_add(jittered(pause, &self.jitter, (url, now)));
        self.failures.insert(url.as_str().to_owned(), Failure { reason, until, pause });
    }
}

impl Stored {
    /// Returns the judgement of `judge`, which may be another one than when the document was fetched.
    fn judge(&self, url: &ClientIdUrl, judge: &DocumentJudge) -> Resolved {
        let name = judge.name();
        let mut judged = lock(&self.judged);
        if judged.0 != name {
            *judged = (name, judge.judge(url, &self.bytes, self.times.clone()).map_err(Arc::new));
        }
        judged.1.clone()
    }

    /// Returns the number of bytes that it takes, approximately.
    fn weight(&self) -> usize {
        let version = lock(&self.judged).1.as_ref().map_or(0, VerifiedClient::weight);
        let passed: usize = lock(&self.passed).iter().map(|(_, version)| version.weight()).sum();
        self.bytes.len() + version + passed
    }
}

impl DocumentJudge {
    /// Returns a name that no other judge with other judgements has.
    fn name(&self) -> (u64, bool) {
        (self.policy.fingerprint(), self.reports)
    }

    /// Judges a document. That it is JSON with one reading and of this client is never left to a report.
    fn judge(&self, url: &ClientIdUrl, bytes: &[u8], times: Times) -> Result<VerifiedClient, DocumentError> {
        let document = read(url, bytes)?;
        let context = Context::document(url);
        let mut evaluation = if self.reports {
            let mut observed = self.policy.evaluate(document.clone(), &context.report_only());
            observed.registration = Some(document);
            observed
        } else {
            self.policy.evaluate(document, &context)
        };
        match evaluation.rejection.take() {
            Some(rejection) => Err(DocumentError::Rejected(rejection)),
            None => VerifiedClient::new(url, evaluation, Digest::of(bytes), times).ok_or(DocumentError::Unknown),
        }
    }
}

impl fmt::Debug for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Documents").finish_non_exhaustive()
    }
}
