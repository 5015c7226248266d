//! New registrations: from before the server is asked until its response is recorded.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_timer::Delay;

use super::changes::is_public;
use super::documents::document_prints;
use super::{REGISTRATION_TIMEOUT, Registrar, milliseconds};
use crate::audit::LifecycleAction;
use crate::clients::ledger::{
    Actor, Block, Client, ClientKey, Deprovisioning, Fingerprint, Fingerprints, Insertion, LedgerError, Origin,
    Replacement, Source, Status, StoredResponse, versioned_digest,
};
use crate::redirect_uri::is_same_uri;
use crate::registration::{Acceptance, Digest, Field, Limits, Registration, Value};
use crate::rules::{Caller, Identity};
use crate::rules::{ErrorCode, Rejection};
use crate::sync::lock;
use crate::text;

/// The name of the rule that rejects what the ledger rejects.
pub(crate) const RULE: &str = "lifecycle";

/// The time for which a registration waits for the response to an equal one. After that it takes over: the other client may
/// have hung up on another node. The time doubles with each registration that it sees take over, or all of them would take
/// over in turn behind a slow server. It does not wait for one that began twice as long ago.
const PATIENCE: Duration = Duration::from_secs(2);
/// The first pause between two reads; each is longer than the one before.
const PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// More steps than a registration takes with any number of nodes. A ledger that breaks its promises could need more.
pub(super) const MAX_STEPS: u32 = 256;

/// The number of attempts to write a record that others change at the same time.
const MAX_ADOPTIONS: u32 = 16;

/// The number of bytes that are kept of the reason of a failed registration.
const MAX_REASON: usize = 200;

/// Spent records are trimmed once in so many failures, and by maintenance.
const FAILURES_BETWEEN_TRIMS: u64 = 64;

/// The number of abandoned registrations that the next one ends. Bounded, since a client can hang up often.
const ENDED_AT_ONCE: usize = 8;

/// The client that registers or updates, and the facts about its request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requester {
    pub(crate) address: Option<IpAddr>,
    /// The credentials that it presented.
    pub(crate) caller: Caller,
    /// The identity that it claims.
    pub(crate) identity: Option<Identity>,
    /// The issuer of the software statement whose claims are in the document.
    pub(crate) statement_issuer: Option<String>,
    /// The fingerprint of the policy that accepted it.
    pub(crate) policy: Option<u64>,
    /// The reason for which it has to wait for an operator.
    pub(crate) held: Option<String>,
    /// The rejection of a registration that is not deduplicated: a budget is exhausted.
    pub(crate) unless_repeated: Option<Rejection>,
}

/// The decision on a registration.
pub(crate) enum Admission {
    /// Call the handler.
    Ask(Box<Intent>),
    /// Respond with the stored response of an equal registration.
    Deduplicated(Box<Client>),
}

/// The reason for which a registration does not continue.
#[derive(Debug)]
pub(crate) enum Failure {
    Rejected(Rejection),
    /// The ledger is unavailable.
    Ledger(LedgerError),
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl Failure {
    /// Returns `rejection`, if there is one, while the ledger is unavailable.
    pub(crate) fn unless_repeated(self, rejection: Option<Rejection>) -> Self {
        match (self, rejection) {
            (Self::Ledger(error), Some(rejection)) => {
                error.log();
                Self::Rejected(rejection)
            }
            (failure, _) => failure,
        }
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

/// The response of the server.
pub(crate) struct ServerAnswer<'a> {
    pub(crate) status: u16,
    pub(crate) document: &'a Registration,
    pub(crate) body: &'a str,
}

/// The outcome of recording a response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Completion {
    /// The client is in the ledger, and the response may be sent.
    Recorded,
    /// The registration was revoked meanwhile, or the server answered with a revoked client.
    Revoked,
    /// The server answered with the `client_id` of another registration.
    Conflict,
}

impl Registrar {
    pub(crate) async fn admit(&self, registration: &Registration, requester: Requester) -> Result<Admission, Failure> {
        self.end_abandoned(ENDED_AT_ONCE).await?;
        let mut draft = self.drafted(registration, &requester);
        if let Some(reason) = &requester.held {
            draft.hold(reason);
        }
        let keys = self.dedup_keys(registration, &draft);
        draft.dedup_key = keys.own;
        let (mut waited, mut patience, mut pause) = (Duration::ZERO, PATIENCE, PAUSE);
        let mut awaited = None;
        for _ in 0..MAX_STEPS {
            match self.try_admit(&draft, keys.earlier.as_deref(), requester.unless_repeated.as_ref()).await? {
                Step::Done(admission) => return Ok(admission),
                Step::Again => {}
                Step::Wait(key, _) if awaited.is_some_and(|last| last != key) => {
                    (awaited, waited, patience) = (Some(key), Duration::ZERO, patience * 2);
                }
                Step::Wait(key, age) if waited >= patience || age >= milliseconds(patience * 2) => {
                    if let Some(slow) = self.ledger().get(key).await? {
                        self.abandon_registration(slow).await?;
                    }
                    (awaited, waited) = (None, Duration::ZERO);
                }
                Step::Wait(key, _) => {
                    awaited = Some(key);
                    Delay::new(pause).await;
                    waited += pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    if self.is_for_one_only(key).await? {
                        // Each one gets its own client, without a queue.
                        draft.dedup_key = None;
                    }
                }
            }
        }
        Err(busy(Duration::from_secs(1)))
    }

    /// Creates the record of a registration.
    pub(super) fn drafted(&self, registration: &Registration, requester: &Requester) -> Client {
        let json = String::from_utf8(registration.canonical_bytes()).unwrap_or_default();
        let settings = self.settings();
        let fingerprints = Fingerprints::of_canonical(registration, &json, settings.any_loopback_port);
        let source = requester.address.filter(|_| settings.sources).map(Source::of);
        Client {
            admitted_by: requester.caller.owner.as_deref().map(str::to_owned),
            rules: requester.caller.rules.as_deref().map(str::to_owned),
            policy: requester.policy.map(|fingerprint| format!("{fingerprint:016x}")),
            statement_issuer: requester.statement_issuer.clone(),
            identity: requester.identity.clone(),
            ..Client::draft(json, Fingerprints { source, ..fingerprints }, self.now())
        }
    }

    /// Lets the first lifetime of a registered client begin.
    pub(super) fn begin(&self, client: &mut Client, id: &str) {
        client.status = if self.needs_approval() || client.is_held() { Status::Pending } else { Status::Active };
        client.client_id = Some(id.to_owned());
        client.expires_at = client.ending(self.settings().lifetimes.first_end(self.now()));
    }

    /// Creates the record of a client after an update.
    pub(super) fn drafted_update(&self, registration: &Registration, requester: &Requester) -> Client {
        let mut metadata = registration.clone();
        // The members that only an update has (RFC 7592 section 2.2).
        let is_of_updates = |field: Field| field.acceptance() == Acceptance::Updates;
        metadata.retain(|name, _| !Field::of(name.as_bytes()).is_some_and(is_of_updates));
        self.drafted(&metadata, requester)
    }

    /// Returns the deduplication keys of this registration. Only public clients have one: an equal registration would otherwise
    /// get the secret of another client (RFC 7591 section 5).
    fn dedup_keys(&self, registration: &Registration, draft: &Client) -> DedupKeys {
        let settings = self.settings();
        if !settings.deduplication || !is_public(registration) {
            return DedupKeys::default();
        }
        let own = Some(dedup_key(&draft.fingerprints.digest, draft));
        let versioned = versioned_digest(&draft.registration, settings.any_loopback_port);
        let versioned = versioned.map(|digest| dedup_key(&digest, draft));
        if settings.any_software_version {
            DedupKeys { own, earlier: versioned }
        } else {
            DedupKeys { own: versioned.or(own), earlier: None }
        }
    }

    /// Returns the live client of an equal registration.
    async fn find_equal(&self, key: &str, earlier: Option<&str>) -> Result<Option<Client>, LedgerError> {
        match (self.ledger().find_by_dedup_key(key).await?, earlier) {
            (None, Some(earlier)) => self.ledger().find_by_dedup_key(earlier).await,
            (known, _) => Ok(known),
        }
    }

    /// Returns whether the response to that registration can't be given to others.
    async fn is_for_one_only(&self, key: ClientKey) -> Result<bool, LedgerError> {
        let answered = self.ledger().get(key).await?;
        let answered = answered.filter(|client| client.status.is_live() && client.client_id.is_some());
        Ok(answered.is_some_and(|client| client.response.is_none()))
    }

    /// Records a client that the ledger does not know, or knows only by its use, and that has just updated its registration
    /// (RFC 7592 section 2.2) with the server's consent. `registration` is what was forwarded. The new record inherits
    /// nothing, and waits for approval where that is wanted. A live record that was registered here is left as it is.
    pub(crate) async fn adopt_managed(
        &self,
        client_id: &str,
        registration: &Registration,
        requester: &Requester,
    ) -> Result<Result<Client, Client>, Failure> {
        let mut client = self.drafted_update(registration, requester);
        self.reject_blocked(&client).await?;
        self.begin(&mut client, client_id);
        let max_live = self.settings().max_clients.map(u64::from);
        for _ in 0..MAX_STEPS {
            match self.ledger().insert(&client, max_live).await? {
                Insertion::Inserted(client) => {
                    self.begin_epoch();
                    self.emit(&self.event(LifecycleAction::UnregisteredClient).of_client(Some(client_id)));
                    self.emit(&self.event(LifecycleAction::Updated).of_client(Some(client_id)).by(&Actor::Client));
                    return Ok(Ok(client));
                }
                // Another client, although the server has not noticed.
                Insertion::Exists(known) if known.origin == Origin::Document => return Err(conflict().into()),
                Insertion::Exists(known) if is_vacant(&known) => _ = self.ledger().remove(&known).await?,
                Insertion::Exists(known) if known.status.is_live() => return Ok(Err(known)),
                Insertion::Exists(_) => return Err(blocked().into()),
                Insertion::Full => self.make_room().await?,
            }
        }
        Err(busy(Duration::from_secs(1)))
    }

    async fn try_admit(
        &self,
        draft: &Client,
        earlier: Option<&str>,
        unless_repeated: Option<&Rejection>,
    ) -> Result<Step, Failure> {
        if let Some(key) = &draft.dedup_key
            && let Some(known) = self.find_equal(key, earlier).await?
        {
            return self.deduplicate(draft, known).await;
        }
        // Before the insertion, so that a flood of blocked registrations neither fills nor empties the ledger.
        self.reject_blocked(draft).await?;
        if let Some(rejection) = unless_repeated {
            return Err(rejection.clone().into());
        }
        let suspicion = self.check_software(draft, None).await?;
        match self.ledger().insert(draft, self.settings().max_clients.map(u64::from)).await? {
            Insertion::Inserted(client) => {
                self.report_software(suspicion, &client);
                let intent = Intent { registrar: self.clone(), client: Some(client) };
                // Again: a revocation writes the block first and then ends existing records. Either this sees the block, or
                // the revocation sees this record.
                if let Err(failure) = self.reject_blocked(draft).await {
                    intent.fail("blocked").await?;
                    return Err(failure);
                }
                Ok(Step::Done(Admission::Ask(Box::new(intent))))
            }
            Insertion::Exists(_) => Ok(Step::Again),
            Insertion::Full => self.make_room().await.map(|()| Step::Again),
        }
    }

    /// Continues with the record of an equal registration.
    async fn deduplicate(&self, draft: &Client, known: Client) -> Result<Step, Failure> {
        let now = self.now();
        match self.status_of(&known) {
            Status::Registering if now.saturating_sub(known.created_at) <= milliseconds(REGISTRATION_TIMEOUT) => {
                Ok(Step::Wait(known.key, now.saturating_sub(known.created_at)))
            }
            Status::Registering => {
                self.abandon_registration(known).await?;
                Ok(Step::Again)
            }
            Status::Pending | Status::Active => {
                self.reject_blocked(draft).await?;
                let known = self.end_hold(draft, known).await?;
                let known = self.give_time_to_sign_in(known).await?;
                Ok(known.map_or(Step::Again, |known| Step::Done(Admission::Deduplicated(Box::new(known)))))
            }
            Status::Expired if known.status.is_live() => {
                self.expire(known).await?;
                Ok(Step::Again)
            }
            // The record has no deduplication key any more: another request was faster.
            Status::Expired | Status::Revoked | Status::Failed => Ok(Step::Again),
        }
    }

    /// Admits a client that a rule held and that no rule holds any more: the operator has changed the policy.
    async fn end_hold(&self, draft: &Client, known: Client) -> Result<Client, LedgerError> {
        if draft.is_held() || self.needs_approval() {
            return Ok(known);
        }
        let is_due = |client: &Client| client.status == Status::Pending && client.is_held();
        let settings = self.settings();
        let admit = |client: &mut Client| client.admit(settings.lifetimes.never_used_end(self.now()));
        Ok(match self.update(known, is_due, admit).await? {
            Ok(admitted) => {
                self.begin_epoch();
                let event = self.event_of(LifecycleAction::Approved, &admitted);
                self.emit_of(&event.by(&Actor::System).because("no rule holds it any more"), &admitted);
                admitted
            }
            Err(unchanged) => unchanged,
        })
    }

    /// Extends the lifetime, so that there is time to sign in. The time for approval is not extended, or a client could register
    /// again and again to extend it forever. Returns `None` if the client has ended meanwhile.
    async fn give_time_to_sign_in(&self, known: Client) -> Result<Option<Client>, LedgerError> {
        let (now, settings) = (self.now(), self.settings());
        let half = settings.lifetimes.half_never_used_ms();
        let is_short = |client: &Client| {
            client.status == Status::Active && client.expires_at.is_some_and(|at| at.saturating_sub(now) < half)
        };
        if !is_short(&known) {
            return Ok(Some(known));
        }
        let prolong = |client: &mut Client| client.live_until(settings.lifetimes.never_used_end(now));
        let known = self.update(known, is_short, prolong).await?.unwrap_or_else(|current| current);
        Ok(Some(known).filter(|client| client.response.is_some()))
    }

    pub(super) async fn reject_blocked(&self, client: &Client) -> Result<(), Failure> {
        if self.find_block_of(client).await?.is_none() {
            return self.reject_lookalike(&client.fingerprints).await;
        }
        Err(blocked().into())
    }

    /// Returns a block on the registration of `client`.
    pub(crate) async fn find_block_of(&self, client: &Client) -> Result<Option<Block>, LedgerError> {
        let mut prints = client.fingerprints.all();
        prints.extend(document_prints(client));
        // Blocks from before versions were ignored are of one version.
        let versioned = versioned_digest(&client.registration, self.settings().any_loopback_port);
        prints.extend(versioned.map(Fingerprint::Digest));
        self.ledger().find_block(&prints).await
    }

    /// Ends registrations whose client hung up in this process. Returns the number of those that ended.
    pub(super) async fn end_abandoned(&self, at_most: usize) -> Result<u64, LedgerError> {
        let abandoned = {
            let mut abandoned = lock(&self.config.shared.abandoned);
            let kept = abandoned.len().saturating_sub(at_most);
            // The newest first: others may be waiting for these.
            abandoned.split_off(kept)
        };
        let mut ended = 0;
        for key in abandoned {
            if let Some(client) = self.ledger().get(key).await? {
                ended += u64::from(self.abandon_registration(client).await?);
            }
        }
        Ok(ended)
    }

    /// Ends a registration whose answer was not seen.
    pub(super) async fn abandon_registration(&self, client: Client) -> Result<bool, LedgerError> {
        let reason = "the server's answer was not seen: the client hung up, or the process ended";
        let abandoned = self.fail_registration(client, reason).await?;
        if let Some(client) = &abandoned {
            let event = self.event_of(LifecycleAction::Abandoned, client);
            self.emit(&event.about(format!("record:{}", client.key.0)).because(reason));
        }
        Ok(abandoned.is_some())
    }

    /// Ends a registration that has not ended yet, and empties its record: otherwise an attacker could fill the disk behind a
    /// server that rejects documents which the rules accept.
    async fn fail_registration(&self, client: Client, reason: &str) -> Result<Option<Client>, LedgerError> {
        let fail = |client: &mut Client| {
            self.end(client, Status::Failed, Actor::System, text::cut(reason, MAX_REASON));
            client.empty();
        };
        let failed = self.update(client, |client| client.status == Status::Registering, fail).await?.ok();
        let failures = &self.config.shared.failures;
        if failed.is_some() && failures.fetch_add(1, Ordering::Relaxed).is_multiple_of(FAILURES_BETWEEN_TRIMS) {
            self.trim_spent().await?;
        }
        Ok(failed)
    }
}

/// The deduplication keys of a registration.
#[derive(Default)]
struct DedupKeys {
    /// The key that its record gets.
    own: Option<String>,
    /// The key that the record of an equal registration has from before versions of the software were ignored.
    earlier: Option<String>,
}

enum Step {
    Done(Admission),
    Again,
    /// Wait for the response to an equal registration that began so many milliseconds ago.
    Wait(ClientKey, i64),
}

/// Returns the rejection of a revoked registration.
pub(crate) fn blocked() -> Rejection {
    let detail = "this registration was revoked by the operator of this server";
    Rejection::new(ErrorCode::InvalidClientMetadata, RULE, detail)
}

/// Returns the rejection for a `client_id` that the server gave to two registrations.
pub(crate) fn conflict() -> Rejection {
    let detail = "the server gave this client the client_id of another one";
    Rejection::new(ErrorCode::ServerError, RULE, detail)
}

pub(super) fn busy(after: Duration) -> Failure {
    let detail = "no client can be registered now; try again later";
    Rejection::new(ErrorCode::TemporarilyUnavailable, RULE, detail).with_retry_after(after).into()
}

/// A registration that was recorded before the server was asked. Dropping it means that the client hung up.
pub(crate) struct Intent {
    registrar: Registrar,
    client: Option<Client>,
}

impl Intent {
    /// Returns `true` if a rule holds it for approval.
    pub(crate) fn is_held(&self) -> bool {
        self.client.as_ref().is_some_and(Client::is_held)
    }

    /// Records that the server did not register it.
    pub(crate) async fn fail(mut self, reason: &str) -> Result<(), LedgerError> {
        let Some(client) = self.client.clone() else { return Ok(()) };
        self.registrar.fail_registration(client, reason).await?;
        self.client = None;
        Ok(())
    }

    /// Records the response of the server, before it is sent.
    pub(crate) async fn complete(mut self, answer: &ServerAnswer<'_>) -> Result<Completion, LedgerError> {
        let Some(id) = answer.document.string_at(Field::CLIENT_ID).filter(|id| !id.is_empty()) else {
            return self.fail("the server's answer has no client_id").await.map(|()| Completion::Recorded);
        };
        let Some(client) = self.client.clone() else { return Ok(Completion::Recorded) };
        let completion = self.registrar.complete(client, id, answer).await?;
        self.registrar.config.shared.registrations.fetch_add(1, Ordering::SeqCst);
        // Until here, a client that hangs up or a ledger that fails leaves the registration abandoned.
        self.client = None;
        Ok(completion)
    }
}

impl Drop for Intent {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            lock(&self.registrar.config.shared.abandoned).push(client.key);
        }
    }
}

impl Registrar {
    async fn complete(&self, begun: Client, id: &str, answer: &ServerAnswer<'_>) -> Result<Completion, LedgerError> {
        let mut client = begun.clone();
        loop {
            match client.status {
                Status::Registering => {}
                // Others took over, but the response counts. The record was emptied.
                Status::Failed => client = Client { version: client.version, dedup_key: None, ..begun.clone() },
                _ => return self.end_unseen(client, id).await.map(|()| Completion::Revoked),
            }
            let done = self.registered(&client, id, answer);
            match self.ledger().replace(&done).await? {
                Replacement::Replaced => return Ok(Completion::Recorded),
                Replacement::Taken => {
                    if let Some(completion) = self.adopt(done).await? {
                        return Ok(completion);
                    }
                    client = self.draft(client.key).await?;
                }
                Replacement::Outdated => client = self.draft(client.key).await?,
            }
        }
    }

    /// Returns the record with the response of the server.
    fn registered(&self, client: &Client, id: &str, answer: &ServerAnswer<'_>) -> Client {
        let mut done = client.clone();
        // The reason of a record that had failed meanwhile is another one.
        let is_held = done.is_held();
        done.not_after = secret_expiry(answer.document);
        self.begin(&mut done, id);
        if let Some(registered) = as_answered(&done.registration, answer.document) {
            done.registration = registered;
        }
        (done.ended_at, done.ended_by) = (None, None);
        done.reason = done.reason.filter(|_| is_held);
        done.deprovisioning = Deprovisioning::default();
        if client.dedup_key.is_some() && is_shareable(answer.document) {
            done.response = Some(StoredResponse { status: answer.status, body: answer.body.to_owned() });
        } else {
            done.dedup_key = None;
        }
        done
    }

    /// Handles a `client_id` that the ledger knows. If the forwarded document is equal, the server deduplicates by itself, and the
    /// record continues. Otherwise the record stays as it is: a `client_id` proves nothing, since servers give one to all clients,
    /// or reuse their ids. Returns `None` if the draft has changed meanwhile.
    async fn adopt(&self, done: Client) -> Result<Option<Completion>, LedgerError> {
        let id = done.client_id.clone().unwrap_or_default();
        let variant = dedup_key(&done.fingerprints.digest, &done);
        for _ in 0..MAX_ADOPTIONS {
            // Looked up by variant: of many records, `records` may not return these.
            let first = self.look_up_variant(&id, "").await?;
            let own = self.look_up_variant(&id, &variant).await?.filter(|known| !known.variant.is_empty());
            let in_the_way = || first.iter().chain(&own);
            // A record that was emptied after its revocation is known by its variant.
            let is_revoked = |known: &&Client| known.variant == variant && known.status == Status::Revoked;
            let is_equal = |known: &&Client| self.is_same_registration(known, &done);
            let mut equal =
                in_the_way().find(|known| is_equal(known) || (is_revoked(known) && !is_vacant(known))).cloned();
            let mut all = Vec::new();
            if equal.is_none() {
                all = self.records(&id).await?;
                equal = all.iter().find(is_equal).cloned();
            }
            if let Some(known) = equal {
                match self.adopt_equal(&known, &done).await? {
                    Some(completion) => return Ok(Some(completion)),
                    None => continue,
                }
            }
            let is_of_document = |known: &Client| known.origin == Origin::Document;
            let is_other = all.iter().any(|known| !is_vacant(known));
            if all.iter().any(is_of_document) || (is_other && !self.settings().shared_client_ids) {
                return self.report_conflict(&done, &id, &all).await.map(Some);
            }
            for known in in_the_way().filter(|known| is_vacant(known)) {
                self.ledger().remove(known).await?;
            }
            if !self.make_room_among(&all).await? {
                let reason = "all records of this client_id are in use";
                self.fail_draft(done.key, reason).await?;
                let event = self.event_of(LifecycleAction::LedgerFull, &done).of_client(Some(&id));
                self.emit_of(&event.because(reason), &done);
                return Err(LedgerError::new(reason));
            }
            // A record of its own, which inherits nothing.
            let is_first = first.as_ref().is_none_or(is_vacant);
            let variant = if is_first { String::new() } else { variant.clone() };
            let own = Client { variant, ..done.clone() };
            match self.ledger().replace(&own).await? {
                Replacement::Replaced => {
                    // Gates may remember other records of this ID.
                    self.begin_epoch();
                    return Ok(Some(Completion::Recorded));
                }
                Replacement::Taken => {}
                Replacement::Outdated => return Ok(None),
            }
        }
        Err(LedgerError::new("records of this client_id that change too often"))
    }

    /// Continues with `known`, the record of an equal registration. Returns `None` if it has changed meanwhile.
    async fn adopt_equal(&self, known: &Client, done: &Client) -> Result<Option<Completion>, LedgerError> {
        if known.status == Status::Revoked && known.ended_by != Some(Actor::Client) {
            self.fail_draft(done.key, "the server answered with a client that was revoked").await?;
            return Ok(Some(Completion::Revoked));
        }
        if !known.status.is_live() {
            // The registration begins anew; the next round finds no record.
            self.ledger().remove(known).await?;
            return Ok(None);
        }
        let is_equal = |known: &Client| known.status.is_live() && self.is_same_registration(known, done);
        let merge = |known: &mut Client| {
            known.register_again(done);
            let later = known.expires_at.zip(done.expires_at).map(|(known, done)| known.max(done));
            known.live_until(later);
        };
        let Ok(merged) = self.update(known.clone(), is_equal, merge).await? else { return Ok(None) };
        // The draft has the deduplication key that the record gets.
        if let Some(draft) = self.ledger().get(done.key).await? {
            self.ledger().remove(&draft).await?;
        }
        if merged.dedup_key.is_none() && done.dedup_key.is_some() {
            let keyed = Client { dedup_key: done.dedup_key.clone(), response: done.response.clone(), ..merged };
            // Another record may have the key by now, and is found instead.
            self.ledger().replace(&keyed).await?;
        }
        Ok(Some(Completion::Recorded))
    }

    /// Returns the current record of a registration in progress.
    async fn draft(&self, key: ClientKey) -> Result<Client, LedgerError> {
        let draft = self.ledger().get(key).await?;
        draft.ok_or_else(|| LedgerError::new("record of a registration missing"))
    }

    async fn fail_draft(&self, key: ClientKey, reason: &str) -> Result<(), LedgerError> {
        let Some(draft) = self.ledger().get(key).await? else { return Ok(()) };
        self.fail_registration(draft, reason).await.map(drop)
    }

    /// Returns whether `known` and `done` are equal registrations by the same owner of an initial access token.
    fn is_same_registration(&self, known: &Client, done: &Client) -> bool {
        if known.origin != Origin::Registered || known.registration.is_empty() {
            return false;
        }
        let wanted = dedup_key(&done.fingerprints.digest, done);
        let as_today = || {
            // The setting for loopback ports may have changed since.
            let registration = Registration::parse_with(known.registration.as_bytes(), &Limits::GENEROUS).ok()?;
            Some(Fingerprints::of(&registration, self.settings().any_loopback_port).digest)
        };
        dedup_key(&known.fingerprints.digest, known) == wanted
            || as_today().is_some_and(|digest| dedup_key(&digest, known) == wanted)
    }

    /// Rejects the registration, and leaves the existing record as it is.
    async fn report_conflict(&self, done: &Client, id: &str, all: &[Client]) -> Result<Completion, LedgerError> {
        let other = match all.iter().find(|known| known.status.is_live()).or_else(|| all.first()) {
            Some(Client { origin: Origin::Document, .. }) => "a client of a metadata document",
            Some(Client { status: Status::Revoked, .. }) => "a revoked client",
            Some(Client { status: Status::Expired, .. }) => "an expired client",
            _ => "another registration",
        };
        let reason = &format!("the server answered with the client_id of {other}");
        self.fail_draft(done.key, reason).await?;
        let event = self.event_of(LifecycleAction::IdConflict, done).of_client(Some(id));
        self.emit_of(&event.by(&Actor::System).because(reason), done);
        if !self.config.shared.has_warned_of_conflict.swap(true, Ordering::SeqCst) {
            let client_id = text::cut(id, 100);
            tracing::warn!(
                target: "tower_dcr::setup",
                client_id,
                "the server gives several registrations one client_id: the second is rejected with 500, and the record of the \
                 first stays. If that is intended, set `lifecycle.shared_client_ids = true` \
                 (in code: `LifecycleSettings`). If the server lost its clients and gives out their ids again, let \
                 go of the old record: `dcr clients forget {client_id:?} --ledger … --operator … --reason …`"
            );
        }
        Ok(Completion::Conflict)
    }

    /// Schedules the deletion of a client at the server whose registration was revoked before the response.
    async fn end_unseen(&self, client: Client, id: &str) -> Result<(), LedgerError> {
        let due = Deprovisioning::due(self.now());
        let schedule = |client: &mut Client| {
            (client.client_id, client.deprovisioning) = (Some(id.to_owned()), due.clone());
        };
        self.update(client, |client| client.client_id.is_none(), schedule).await.map(drop)
    }
}

/// The other strings that gates enforce.
const ANSWERED_TEXTS: [Field; 3] = [
    Field::AUTHORIZATION_ENCRYPTED_RESPONSE_ALG,
    Field::AUTHORIZATION_SIGNED_RESPONSE_ALG,
    Field::BACKCHANNEL_TOKEN_DELIVERY_MODE,
];

/// Returns the forwarded document as the server has registered it: with only the redirect URIs that the response lists, and
/// with its values of the fields that gates enforce. `None` if nothing differs.
///
/// RFC 7591 section 3.2.1: "The authorization server MAY reject or replace any of the client's requested metadata values
/// submitted during the registration and substitute them with suitable values."
pub(super) fn as_answered(forwarded: &str, answer: &Registration) -> Option<String> {
    let mut document = Registration::parse_with(forwarded.as_bytes(), &Limits::GENEROUS).ok()?;
    let mut differs = false;
    if let Some(answered) = answer.strings_at(Field::REDIRECT_URIS) {
        let is_registered = |uri: &str| answered.clone().any(|answered| is_same_uri(answered, uri));
        differs = document.narrow_strings(Field::REDIRECT_URIS.name(), is_registered) > 0;
    }
    let has_text = |field| answer.string_at(field).is_some_and(|text| !text.trim().is_empty());
    let has_list = |field| answer.strings_at(field).is_some_and(|mut list| list.next().is_some());
    // An absent or empty field says nothing: many servers leave out what they registered as it was sent.
    for field in [Field::GRANT_TYPES, Field::RESPONSE_TYPES, Field::SCOPE, Field::TOKEN_ENDPOINT_AUTH_METHOD] {
        if has_text(field) || has_list(field) {
            differs |= document.replace_field_from(answer, field);
        }
    }
    for field in ANSWERED_TEXTS {
        if has_text(field) {
            differs |= document.replace_field_from(answer, field);
        }
    }
    let field = Field::REQUIRE_PUSHED_AUTHORIZATION_REQUESTS;
    if matches!(answer.at(field), Some(Value::Bool(_))) {
        // Another type, as the string "false", would end a requirement of the client.
        differs |= document.replace_field_from(answer, field);
    }
    differs.then(|| String::from_utf8(document.canonical_bytes()).ok()).flatten()
}

/// Returns the deduplication key: of the `digest` of the forwarded document, and of the owner whose token admitted `client`.
fn dedup_key(digest: &str, client: &Client) -> String {
    let Some(owner) = &client.admitted_by else { return digest.to_owned() };
    // Not shared between owners, nor between rules.
    let rules = client.rules.as_deref().unwrap_or_default();
    Digest::of(format!("{digest}\n{}\n{owner}{rules}", owner.len()).as_bytes()).to_string()
}

/// Returns whether a new registration may replace the record: it was recorded by its use only and not reviewed, or it was
/// emptied after its end. Never that of a document: its URL is another client, whatever the server answers.
fn is_vacant(known: &Client) -> bool {
    match known.status {
        _ if known.origin == Origin::Document => false,
        Status::Registering | Status::Pending | Status::Active => {
            known.origin == Origin::Elsewhere && known.reviewed_at.is_none()
        }
        Status::Expired | Status::Failed => known.origin == Origin::Elsewhere || known.registration.is_empty(),
        Status::Revoked => known.ended_by == Some(Actor::Client) && known.registration.is_empty(),
    }
}

/// Returns whether an equal registration may get this response.
fn is_shareable(answer: &Registration) -> bool {
    let absent = |field| answer.at(field).is_none_or(|value| value.is_empty());
    absent(Field::CLIENT_SECRET)
        && absent(Field::REGISTRATION_ACCESS_TOKEN)
        // The statement is echoed, and an equal registration may have another one.
        && absent(Field::SOFTWARE_STATEMENT)
        && matches!(answer.string_at(Field::TOKEN_ENDPOINT_AUTH_METHOD), None | Some("none" | ""))
}

/// Returns the expiry of the secret in a response, in milliseconds; `None` for 0, which means never (RFC 7591 section 3.2.1).
pub(super) fn secret_expiry(answer: &Registration) -> Option<i64> {
    answer.at(Field::CLIENT_SECRET).filter(|secret| !secret.is_empty())?;
    let Value::Number(seconds) = answer.at(Field::CLIENT_SECRET_EXPIRES_AT)? else { return None };
    seconds.parse::<i64>().ok().filter(|seconds| *seconds > 0).map(|seconds| seconds.saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::ledger::{Ledger, MemoryLedger};
    use crate::clients::registrar::records::MAX_SHARING;

    const ID: &str = "shared";

    fn uri(number: usize) -> String {
        format!("https://app{number}.example.com/cb")
    }

    async fn register(registrar: &Registrar, number: usize) -> Result<Completion, LedgerError> {
        let json = format!(r#"{{"client_name":"App {number}","redirect_uris":["{}"]}}"#, uri(number));
        let registration = Registration::parse(json.as_bytes()).unwrap();
        let Admission::Ask(intent) = registrar.admit(&registration, Requester::default()).await.unwrap() else {
            panic!("{number} is deduplicated")
        };
        let body = format!(r#"{{"client_id":"{ID}"}}"#);
        let document = Registration::parse(body.as_bytes()).unwrap();
        intent.complete(&ServerAnswer { status: 201, document: &document, body: &body }).await
    }

    /// The numbers of the registrations whose records live, as a gate sees them.
    async fn live(registrar: &Registrar) -> Vec<usize> {
        let all = registrar.records(ID).await.unwrap();
        let live: Vec<&Client> = all.iter().filter(|client| client.status.is_live()).collect();
        (0..100).filter(|number| live.iter().any(|client| client.has_redirect_uri(&uri(*number)))).collect()
    }

    async fn shares_one_id(ledger: impl Ledger, name: &str) {
        let registrar = Registrar::new(ledger)
            .map_settings(|lifecycle| {
                lifecycle.deduplication = Some(false);
                lifecycle.shared_client_ids = Some(true);
            })
            .unwrap();
        let proven = |number: usize| {
            let registrar = registrar.clone();
            async move {
                let all = registrar.records(ID).await.unwrap();
                let client = all.into_iter().find(|client| client.has_redirect_uri(&uri(number))).unwrap();
                registrar.record_use(client).await.unwrap();
            }
        };
        for number in 0..MAX_SHARING {
            assert_eq!(register(&registrar, number).await.unwrap(), Completion::Recorded, "{name}: {number}");
        }
        proven(1).await;
        // An equal one goes on with its record, and needs no room.
        assert_eq!(register(&registrar, 0).await.unwrap(), Completion::Recorded, "{name}");
        assert_eq!(live(&registrar).await, (0..MAX_SHARING).collect::<Vec<_>>(), "{name}: all are seen");
        // A further one ends the oldest that was never used, the first included, which has no variant.
        for number in MAX_SHARING..MAX_SHARING + 2 {
            assert_eq!(register(&registrar, number).await.unwrap(), Completion::Recorded, "{name}: {number}");
        }
        let wanted: Vec<usize> = std::iter::once(1).chain(3..MAX_SHARING + 2).collect();
        assert_eq!(live(&registrar).await, wanted, "{name}: the used one stays");
        // An evicted registration may begin anew.
        assert_eq!(register(&registrar, 0).await.unwrap(), Completion::Recorded, "{name}");
        assert!(live(&registrar).await.contains(&0), "{name}");
        for number in live(&registrar).await {
            proven(number).await;
        }
        let before = live(&registrar).await;
        register(&registrar, 50).await.unwrap_err();
        assert_eq!(live(&registrar).await, before, "{name}: nothing that is in use makes room");
        assert_eq!(before.len(), MAX_SHARING, "{name}");
    }

    #[tokio::test]
    async fn one_more_record_of_a_full_id_ends_the_oldest_unused_one() {
        shares_one_id(MemoryLedger::default(), "memory").await;
    }

    /// More records than are looked at, as from before there was a bound: that there is a first one is known all the same.
    #[tokio::test]
    async fn an_equal_record_is_found_among_more_than_are_looked_at() {
        let ledger = MemoryLedger::default();
        let registrar = Registrar::new(ledger.clone())
            .map_settings(|lifecycle| {
                lifecycle.deduplication = Some(false);
                lifecycle.shared_client_ids = Some(true);
            })
            .unwrap();
        for number in 0..3 {
            register(&registrar, number).await.unwrap();
        }
        for number in 0..1300 {
            let mut client = Client::draft("{\"client_name\":\"x\"}", Fingerprints::default(), 0);
            (client.status, client.client_id) = (Status::Active, Some(ID.into()));
            (client.variant, client.last_used_at) = (format!("old {number}"), Some(1));
            ledger.insert(&client, None).await.unwrap();
        }
        assert!(live(&registrar).await.is_empty(), "none of the three is looked at");
        for number in [0, 2] {
            assert_eq!(register(&registrar, number).await.unwrap(), Completion::Recorded, "{number}");
        }
        let first = ledger.find(ID).await.unwrap().unwrap();
        assert!(first.has_redirect_uri(&uri(0)) && first.status == Status::Active);
        assert_eq!(ledger.find_all(ID, 2000).await.unwrap().len(), 1303, "no record was made twice");
    }

    #[tokio::test]
    async fn a_revoked_and_emptied_record_stays_revoked() {
        let ledger = MemoryLedger::default();
        let registrar = Registrar::new(ledger.clone())
            .map_settings(|lifecycle| {
                lifecycle.deduplication = Some(false);
                lifecycle.shared_client_ids = Some(true);
            })
            .unwrap();
        for number in 0..2 {
            register(&registrar, number).await.unwrap();
        }
        let mut second = ledger.find_all(ID, 1).await.unwrap().remove(0);
        assert!(!second.variant.is_empty());
        second.end(Status::Revoked, 1, Actor::System, "imitates");
        second.registration.clear();
        ledger.replace(&second).await.unwrap();
        assert_eq!(register(&registrar, 1).await.unwrap(), Completion::Revoked);
    }
}
