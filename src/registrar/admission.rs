//! A new registration: from before the server is asked until its answer is written down.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_timer::Delay;

use super::standing::MAX_SHARING;
use super::{REGISTRATION_TIMEOUT, Registrar, Updated, milliseconds};
use crate::event::Action;
use crate::ledger::{
    Actor, Answer, Client, ClientKey, Deprovisioning, Fingerprints, Insertion, LedgerError, Origin, Replacement, State,
    Status, Work,
};
use crate::policy::{Caller, Identity};
use crate::redirect_uri::is_same_uri;
use crate::registration::{Digest, Field, Limits, Registration, Value};
use crate::rejection::{ErrorCode, Rejection};
use crate::text;

/// The rule that refuses at the ledger's word.
pub(crate) const RULE: &str = "lifecycle";

/// How long one who registers what another one is just registering waits for that answer. After that it goes on by itself:
/// the other's client may have hung up on another node, and people wait here. Twice as long for each registration that it
/// sees take over, or behind a slow server everybody would take over in turn.
const PATIENCE: Duration = Duration::from_secs(2);
/// The first pause between two looks; each is longer than the one before.
const PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// More steps than any number of nodes can make one registration take; a ledger that breaks its promises could.
const MAX_STEPS: u32 = 256;

/// How often a record is tried to be written that others change at the same time.
const MAX_ADOPTIONS: u32 = 16;

/// How many abandoned registrations the next one settles: whoever registers pays for it, and anybody can hang up often.
const SETTLED_AT_ONCE: usize = 8;

/// How many clients are looked at when one has to make room.
const EVICTION_BATCH: u32 = 16;

/// Who registers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requester {
    pub(crate) address: Option<IpAddr>,
    /// What it has shown.
    pub(crate) caller: Caller,
    /// Who the client claims to be.
    pub(crate) identity: Option<Identity>,
    /// Which configuration of the rules let it pass.
    pub(crate) policy: Option<u64>,
}

impl Requester {
    /// As records have it.
    pub(super) fn policy(&self) -> Option<String> {
        self.policy.map(|fingerprint| format!("{fingerprint:016x}"))
    }
}

/// What is to happen to a registration.
pub(crate) enum Admission {
    /// The handler is to be asked.
    Ask(Box<Intent>),
    /// The same was registered before, and this was the answer.
    Repeat(Box<Client>),
}

/// A registration does not go on.
#[derive(Debug)]
pub(crate) enum Refusal {
    Rejected(Rejection),
    /// Nobody can say.
    Ledger(LedgerError),
}

impl From<LedgerError> for Refusal {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

/// What the server answered.
pub(crate) struct ServerAnswer<'a> {
    pub(crate) status: u16,
    pub(crate) document: &'a Registration,
    pub(crate) body: &'a str,
}

/// What became of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Completion {
    /// It is in the ledger, and may go out.
    Recorded,
    /// Somebody has revoked what was being registered, or what the server gave out.
    Revoked,
    /// The server gave out the `client_id` of another registration.
    Conflict,
}

impl Registrar {
    pub(crate) async fn admit(&self, registration: &Registration, requester: Requester) -> Result<Admission, Refusal> {
        self.settle_abandoned(SETTLED_AT_ONCE).await?;
        let (json, fingerprints) = self.describe(registration, &requester);
        let mut draft = Client::draft(json, fingerprints, self.now());
        draft.admitted_by = requester.caller.owner().map(str::to_owned);
        draft.rules = requester.caller.rules().map(str::to_owned);
        draft.policy = requester.policy();
        draft.identity = requester.identity;
        draft.repeat_key = self.repeat_key(registration, &draft);
        let (mut waited, mut patience, mut pause) = (Duration::ZERO, PATIENCE, PAUSE);
        let mut awaited = None;
        for _ in 0..MAX_STEPS {
            match self.try_admit(&draft).await? {
                Step::Done(admission) => return Ok(admission),
                Step::Again => {}
                Step::Wait(key) if awaited.is_some_and(|last| last != key) => {
                    (awaited, waited, patience) = (Some(key), Duration::ZERO, patience * 2);
                }
                Step::Wait(key) if waited >= patience => {
                    if let Some(slow) = self.ledger().get(key).await? {
                        self.abandon_registration(slow).await?;
                    }
                    (awaited, waited) = (None, Duration::ZERO);
                }
                Step::Wait(key) => {
                    awaited = Some(key);
                    Delay::new(pause).await;
                    waited += pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    if self.is_for_one_only(key).await? {
                        // Each one gets its own, and they need not queue for it.
                        draft.repeat_key = None;
                    }
                }
            }
        }
        Err(busy(Duration::from_secs(1)))
    }

    /// The registration as it is written down, and what it can be recognised by.
    pub(super) fn describe(&self, registration: &Registration, requester: &Requester) -> (String, Fingerprints) {
        let json = String::from_utf8(registration.canonical_bytes()).unwrap_or_default();
        let fingerprints = Fingerprints::of_canonical(registration, &json, self.settings().any_loopback_port);
        (json, fingerprints.with_source(self.source_of(requester)))
    }

    /// Describes what a client is after an update.
    pub(super) fn describe_update(&self, registration: &Registration, requester: &Requester) -> (String, Fingerprints) {
        let mut metadata = registration.clone();
        // What an update has besides (RFC 7592 section 2.2): without it, it is what a registration would be.
        metadata.retain(|name, _| !matches!(name, "client_id" | "client_secret"));
        self.describe(&metadata, requester)
    }

    /// The key under which repeats of this registration are found: of public clients only, since whoever registers the
    /// same again would be handed the secret of another (RFC 7591 section 5).
    fn repeat_key(&self, registration: &Registration, draft: &Client) -> Option<String> {
        let public = registration.string_at(Field::TOKEN_ENDPOINT_AUTH_METHOD) == Some("none");
        (self.settings().repeats && public).then(|| dedup_key(&draft.fingerprints.digest, draft))
    }

    /// Whether that registration has been answered in a way that can't be repeated.
    async fn is_for_one_only(&self, key: ClientKey) -> Result<bool, LedgerError> {
        let answered = self.ledger().get(key).await?;
        Ok(answered
            .is_some_and(|client| client.status.is_live() && client.client_id.is_some() && client.answer.is_none()))
    }

    /// Records a client that the ledger does not know, or knows only by its use, and that has just updated its registration
    /// (RFC 7592 section 2.2) with the server's consent. `registration` is what was forwarded. The new record inherits
    /// nothing, and waits for approval where that is wanted. A live record that was registered here is left as it is.
    pub(crate) async fn adopt_managed(
        &self,
        client_id: &str,
        registration: &Registration,
        requester: &Requester,
    ) -> Result<Updated, Refusal> {
        let (json, fingerprints) = self.describe_update(registration, requester);
        self.refuse_blocked(&fingerprints).await?;
        let now = self.now();
        let mut client = Client::draft(json, fingerprints, now);
        client.client_id = Some(client_id.to_owned());
        client.status = if self.settings().lifetimes.needs_approval() { Status::Pending } else { Status::Active };
        client.expires_at = Some(now.saturating_add(self.settings().lifetimes.first_ms()));
        client.admitted_by = requester.caller.owner().map(str::to_owned);
        client.rules = requester.caller.rules().map(str::to_owned);
        client.policy = requester.policy();
        client.identity.clone_from(&requester.identity);
        let max_live = self.settings().max_clients.map(u64::from);
        for _ in 0..MAX_STEPS {
            match self.ledger().insert(&client, max_live).await? {
                Insertion::Inserted(client) => {
                    self.begin_epoch();
                    self.emit(&self.event(Action::UnregisteredClient).of_client(Some(client_id)));
                    self.emit(&self.event(Action::Updated).of_client(Some(client_id)).by(&Actor::Client));
                    return Ok(Updated::Changed(client));
                }
                Insertion::Exists(known) if is_vacant(&known) => _ = self.ledger().remove(&known).await?,
                Insertion::Exists(known) if known.status.is_live() => return Ok(Updated::Left(known)),
                Insertion::Exists(_) => return Err(Refusal::Rejected(blocked())),
                Insertion::Full => self.make_room().await?,
            }
        }
        Err(busy(Duration::from_secs(1)))
    }

    async fn try_admit(&self, draft: &Client) -> Result<Step, Refusal> {
        if let Some(key) = &draft.repeat_key
            && let Some(known) = self.ledger().find_repeat(key).await?
        {
            return self.repeat(draft, known).await;
        }
        // Before there is a record, so that a flood of what is blocked neither fills nor empties the ledger.
        self.refuse_blocked(&draft.fingerprints).await?;
        match self.ledger().insert(draft, self.settings().max_clients.map(u64::from)).await? {
            Insertion::Inserted(client) => {
                let intent = Intent { registrar: self.clone(), client: Some(client) };
                // Once more: whoever blocks writes the block first and then ends the records that are there. Either
                // this sees the block, or they see this record.
                if let Err(refusal) = self.refuse_blocked(&draft.fingerprints).await {
                    intent.fail("blocked").await?;
                    return Err(refusal);
                }
                Ok(Step::Done(Admission::Ask(Box::new(intent))))
            }
            Insertion::Exists(_) => Ok(Step::Again),
            Insertion::Full => self.make_room().await.map(|()| Step::Again),
        }
    }

    /// An equal registration is known.
    async fn repeat(&self, draft: &Client, known: Client) -> Result<Step, Refusal> {
        let now = self.now();
        match known.state(now) {
            State::Registering if now.saturating_sub(known.created_at) <= milliseconds(REGISTRATION_TIMEOUT) => {
                Ok(Step::Wait(known.key))
            }
            State::Registering => {
                self.abandon_registration(known).await?;
                Ok(Step::Again)
            }
            State::Pending | State::Active | State::Stale => {
                self.refuse_blocked(&draft.fingerprints).await?;
                let known = self.give_time_to_sign_in(known).await?;
                Ok(known.map_or(Step::Again, |known| Step::Done(Admission::Repeat(Box::new(known)))))
            }
            State::Expired if known.status.is_live() => {
                self.expire(known).await?;
                Ok(Step::Again)
            }
            // It has no repeat key any more; somebody was faster.
            State::Expired | State::Revoked | State::Failed => Ok(Step::Again),
        }
    }

    /// Whoever registers again is about to sign in: there must be time for that. Not for approval, or a client that
    /// asks again and again would never be late. `None` if the client has ended meanwhile.
    async fn give_time_to_sign_in(&self, known: Client) -> Result<Option<Client>, LedgerError> {
        let (now, first) = (self.now(), self.settings().lifetimes.never_used_ms());
        let is_short = |client: &Client| {
            client.status == Status::Active && client.expires_at.is_some_and(|at| at.saturating_sub(now) < first / 2)
        };
        if !is_short(&known) {
            return Ok(Some(known));
        }
        let prolong = |client: &Client| {
            is_short(client)
                .then(|| Client { expires_at: Some(client.at_most(now.saturating_add(first))), ..client.clone() })
        };
        let known = self.update(known, prolong).await?.into_client();
        Ok(Some(known).filter(|client| client.answer.is_some()))
    }

    pub(super) async fn refuse_blocked(&self, fingerprints: &Fingerprints) -> Result<(), Refusal> {
        if self.ledger().find_block(&fingerprints.all()).await?.is_none() {
            return Ok(());
        }
        Err(Refusal::Rejected(blocked()))
    }

    /// Ends the oldest client that never got a token, or says that nothing may go.
    async fn make_room(&self) -> Result<(), Refusal> {
        let before = self.now().saturating_sub(milliseconds(self.settings().grace));
        for client in self.ledger().due(Work::Evict(before), EVICTION_BATCH).await? {
            let id = client.client_id.clone();
            let evicted = self.ended(&client, Status::Expired, Actor::System, "made room for another client");
            if self.ledger().replace(&evicted).await? == Replacement::Replaced {
                self.emit(&self.event(Action::Evicted).of_client(id.as_deref()).by(&Actor::System));
                return Ok(());
            }
            // Somebody else was faster, and there may be room now.
        }
        // Others may have made room for themselves in between: look once more before giving up.
        let nothing = self.ledger().due(Work::Evict(before), 1).await?.is_empty();
        if nothing {
            self.emit(&self.event(Action::LedgerFull));
            return Err(busy(Duration::from_secs(300)));
        }
        Ok(())
    }

    /// Registrations whose client hung up in this process need not be waited for. Says how many were settled.
    pub(super) async fn settle_abandoned(&self, at_most: usize) -> Result<u64, LedgerError> {
        let mut settled = 0;
        for key in self.take_abandoned(at_most) {
            if let Some(client) = self.ledger().get(key).await? {
                settled += u64::from(self.abandon_registration(client).await?);
            }
        }
        Ok(settled)
    }

    /// Nobody knows whether the server registered it.
    pub(super) async fn abandon_registration(&self, client: Client) -> Result<bool, LedgerError> {
        let reason = "the server's answer was not seen: the client hung up, or the process ended";
        let abandoned = self.fail_registration(client, reason).await?;
        if let Some(client) = &abandoned {
            self.emit(&self.event(Action::Abandoned).about(format!("record:{}", client.key.0)).because(reason));
        }
        Ok(abandoned.is_some())
    }

    /// Ends what was begun, unless it has come to an end.
    async fn fail_registration(&self, client: Client, reason: &str) -> Result<Option<Client>, LedgerError> {
        let fail = |client: &Client| {
            (client.status == Status::Registering).then(|| self.ended(client, Status::Failed, Actor::System, reason))
        };
        Ok(self.update(client, fail).await?.changed())
    }
}

enum Step {
    Done(Admission),
    Again,
    /// For the answer to an equal registration.
    Wait(ClientKey),
}

/// What was revoked comes back.
pub(crate) fn blocked() -> Rejection {
    let detail = "this registration was revoked by the operator of this server";
    Rejection::new(ErrorCode::InvalidClientMetadata, RULE, detail)
}

/// The server gave one `client_id` to two registrations.
pub(crate) fn conflict() -> Rejection {
    let detail = "the server gave this client the client_id of another one";
    Rejection::new(ErrorCode::ServerError, RULE, detail)
}

fn busy(after: Duration) -> Refusal {
    let detail = "no client can be registered now; try again later";
    Refusal::Rejected(Rejection::new(ErrorCode::TemporarilyUnavailable, RULE, detail).with_retry_after(after))
}

/// A registration that was written down before the server was asked. If it is dropped, the client hung up.
pub(crate) struct Intent {
    registrar: Registrar,
    client: Option<Client>,
}

impl Intent {
    /// The server did not register it.
    pub(crate) async fn fail(mut self, reason: &str) -> Result<(), LedgerError> {
        let Some(client) = self.client.clone() else { return Ok(()) };
        self.registrar.fail_registration(client, reason).await?;
        self.client = None;
        Ok(())
    }

    /// The server has answered: what it said is written down before anybody hears of it.
    pub(crate) async fn complete(mut self, answer: &ServerAnswer<'_>) -> Result<Completion, LedgerError> {
        let Some(id) = answer.document.string_at(Field::CLIENT_ID).filter(|id| !id.is_empty()) else {
            return self.fail("the server's answer has no client_id").await.map(|()| Completion::Recorded);
        };
        let Some(client) = self.client.clone() else { return Ok(Completion::Recorded) };
        let completion = self.registrar.complete(client, id, answer).await?;
        self.registrar.count_registration();
        // Until here the client may have hung up, or the ledger have failed: what was begun is then settled as such.
        self.client = None;
        Ok(completion)
    }
}

impl Drop for Intent {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            self.registrar.abandon(client.key);
        }
    }
}

impl Registrar {
    async fn complete(
        &self,
        mut client: Client,
        id: &str,
        answer: &ServerAnswer<'_>,
    ) -> Result<Completion, LedgerError> {
        loop {
            match client.status {
                Status::Registering => {}
                // Too slow for those who waited; the answer counts all the same.
                Status::Failed => client.repeat_key = None,
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

    /// What a record becomes by the server's answer.
    fn registered(&self, client: &Client, id: &str, answer: &ServerAnswer<'_>) -> Client {
        let now = self.now();
        let mut done = client.clone();
        done.status = if self.settings().lifetimes.needs_approval() { Status::Pending } else { Status::Active };
        done.client_id = Some(id.to_owned());
        done.not_after = secret_expiry(answer.document);
        if let Some(fewer) = with_fewer_redirect_uris(&done.registration, answer.document) {
            done.registration = fewer;
        }
        done.expires_at = Some(done.at_most(now.saturating_add(self.settings().lifetimes.first_ms())));
        (done.ended_at, done.ended_by, done.reason) = (None, None, None);
        done.deprovisioning = Deprovisioning::default();
        if client.repeat_key.is_some() && is_repeatable(answer.document) {
            done.answer = Some(Answer { status: answer.status, body: answer.body.to_owned() });
        } else {
            done.repeat_key = None;
        }
        done
    }

    /// The server answered with a `client_id` that the ledger knows. If what was forwarded is equal, the server recognises
    /// repeats by itself, and the record that is there goes on. Otherwise that record stays as it is: a `client_id` proves
    /// nothing, since servers give one to everybody, or count their ids anew. `None` if the draft has changed meanwhile.
    async fn adopt(&self, done: Client) -> Result<Option<Completion>, LedgerError> {
        let id = done.client_id.clone().unwrap_or_default();
        let variant = dedup_key(&done.fingerprints.digest, &done);
        for _ in 0..MAX_ADOPTIONS {
            // By themselves: among many records, these need not be of those that are looked at.
            let first = self.look_up_variant(&id, "").await?;
            let own = self.look_up_variant(&id, &variant).await?.filter(|known| !known.variant.is_empty());
            let in_the_way = || first.iter().chain(&own);
            // One that was emptied after its revocation is known by its variant.
            let is_revoked = |known: &&Client| known.variant == variant && known.status == Status::Revoked;
            let is_equal = |known: &&Client| self.is_same_registration(known, &done);
            let mut equal =
                in_the_way().find(|known| is_equal(known) || (is_revoked(known) && !is_vacant(known))).cloned();
            let mut all = Vec::new();
            if equal.is_none() {
                all = self.look_up_all(&id).await?;
                equal = all.iter().find(is_equal).cloned();
            }
            if let Some(known) = equal {
                match self.adopt_equal(&known, &done).await? {
                    Some(completion) => return Ok(Some(completion)),
                    None => continue,
                }
            }
            if !self.settings().shared_client_ids && all.iter().any(|known| !is_vacant(known)) {
                return self.report_conflict(&done, &id, &all).await.map(Some);
            }
            for known in in_the_way().filter(|known| is_vacant(known)) {
                self.ledger().remove(known).await?;
            }
            if !self.make_room_among(&all).await? {
                let reason = "all records of this client_id are in use";
                self.fail_draft(done.key, reason).await?;
                self.emit(&self.event(Action::LedgerFull).of_client(Some(&id)).because(reason));
                return Err(LedgerError::new(reason));
            }
            // Nothing of another record is in this one.
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
        Err(LedgerError::new("the records of this client_id change too often"))
    }

    /// Ends the oldest of `all`, the records of one `client_id`, that never got a token and that nobody approved, until one more
    /// may live. Returns whether one may. Young ones too: if those could not go, anybody could keep all others from
    /// registering.
    async fn make_room_among(&self, all: &[Client]) -> Result<bool, LedgerError> {
        let mut live = all.iter().filter(|known| known.status.is_live()).count();
        // In order of precedence: the last ones go first.
        for known in all.iter().rev().filter(|known| Work::Evict(i64::MAX).due_since(known).is_some()) {
            if live < MAX_SHARING {
                return Ok(true);
            }
            let evicted = self.ended(known, Status::Expired, Actor::System, "made room for another client");
            if self.ledger().replace(&evicted).await? == Replacement::Replaced {
                self.emit(&self.event(Action::Evicted).of_client(known.client_id.as_deref()).by(&Actor::System));
                live -= 1;
            }
        }
        Ok(live < MAX_SHARING)
    }

    /// `known` is a record of what was registered again. `None` if it has changed meanwhile.
    async fn adopt_equal(&self, known: &Client, done: &Client) -> Result<Option<Completion>, LedgerError> {
        if known.status == Status::Revoked && known.ended_by != Some(Actor::Client) {
            self.fail_draft(done.key, "the server answered with a client that was revoked").await?;
            return Ok(Some(Completion::Revoked));
        }
        if !known.status.is_live() {
            // It begins anew; the next round finds its place empty.
            self.ledger().remove(known).await?;
            return Ok(None);
        }
        let merge = |known: &Client| {
            (known.status.is_live() && self.is_same_registration(known, done)).then(|| {
                let mut fingerprints = done.fingerprints.clone();
                fingerprints.source.clone_from(&known.fingerprints.source);
                let mut merged = Client {
                    registration: done.registration.clone(),
                    identity: done.identity.clone(),
                    policy: done.policy.clone(),
                    not_after: done.not_after,
                    fingerprints,
                    ..known.clone()
                };
                merged.expires_at = known.expires_at.max(done.expires_at).map(|at| merged.at_most(at));
                merged
            })
        };
        let Some(merged) = self.update(known.clone(), merge).await?.changed() else { return Ok(None) };
        // The draft has what the record is to be found by when the next one registers the same.
        if let Some(draft) = self.ledger().get(done.key).await? {
            self.ledger().remove(&draft).await?;
        }
        if merged.repeat_key.is_none() && done.repeat_key.is_some() {
            let repeated = Client { repeat_key: done.repeat_key.clone(), answer: done.answer.clone(), ..merged };
            // Somebody else may have the key by now, who is found instead.
            self.ledger().replace(&repeated).await?;
        }
        Ok(Some(Completion::Recorded))
    }

    /// The record of a registration that is being made, as it stands.
    async fn draft(&self, key: ClientKey) -> Result<Client, LedgerError> {
        let draft = self.ledger().get(key).await?;
        draft.ok_or_else(|| LedgerError::new("the record of a registration is gone"))
    }

    async fn fail_draft(&self, key: ClientKey, reason: &str) -> Result<(), LedgerError> {
        let Some(draft) = self.ledger().get(key).await? else { return Ok(()) };
        self.fail_registration(draft, reason).await.map(drop)
    }

    /// Whether `known` was registered by what was forwarded for `done`, for the same owner of an initial access token.
    fn is_same_registration(&self, known: &Client, done: &Client) -> bool {
        if known.origin == Origin::Elsewhere || known.registration.is_empty() {
            return false;
        }
        let wanted = dedup_key(&done.fingerprints.digest, done);
        let as_today = || {
            // Which ports count may have been another setting then.
            let registration = Registration::parse_with(known.registration.as_bytes(), &Limits::GENEROUS).ok()?;
            Some(Fingerprints::of(&registration, self.settings().any_loopback_port).digest)
        };
        dedup_key(&known.fingerprints.digest, known) == wanted
            || as_today().is_some_and(|digest| dedup_key(&digest, known) == wanted)
    }

    /// The record that is there stays as it is, and nobody gets the `client_id` a second time.
    async fn report_conflict(&self, done: &Client, id: &str, all: &[Client]) -> Result<Completion, LedgerError> {
        let reason = match all.iter().find(|known| known.status.is_live()).or_else(|| all.first()) {
            Some(known) if known.status == Status::Revoked => {
                "the server answered with the client_id of a revoked client"
            }
            Some(known) if known.status == Status::Expired => {
                "the server answered with the client_id of an expired client"
            }
            _ => "the server answered with the client_id of another registration",
        };
        self.fail_draft(done.key, reason).await?;
        self.emit(&self.event(Action::IdConflict).of_client(Some(id)).by(&Actor::System).because(reason));
        if !self.config.has_warned_of_conflict.swap(true, Ordering::SeqCst) {
            let client_id = text::cut(id, 100);
            tracing::warn!(
                target: "tower_dcr::setup",
                client_id,
                "the server gives several registrations one client_id: the second is rejected with 500, and the record of the \
                 first stays. If that is intended, set `lifecycle.shared_client_ids = true` \
                 (`Registrar::with_shared_client_ids`). If the server lost its clients and gives out their ids again, let \
                 go of the old record: `dcr clients forget {client_id:?} --ledger … --operator … --reason …`"
            );
        }
        Ok(Completion::Conflict)
    }

    /// Revoked between the server's being asked and its answer: the client that it made is to go again.
    async fn end_unseen(&self, client: Client, id: &str) -> Result<(), LedgerError> {
        let due = Deprovisioning::due(self.now());
        self.update(client, |client| {
            client.client_id.is_none().then(|| Client {
                client_id: Some(id.to_owned()),
                deprovisioning: due.clone(),
                ..client.clone()
            })
        })
        .await
        .map(drop)
    }
}

/// What was forwarded, with the redirect URIs that the server says it has registered of it. `None` if that is all of them,
/// or the server does not say.
pub(super) fn with_fewer_redirect_uris(forwarded: &str, answer: &Registration) -> Option<String> {
    let answered = answer.strings_at(Field::REDIRECT_URIS)?;
    let mut document = Registration::parse_with(forwarded.as_bytes(), &Limits::GENEROUS).ok()?;
    let is_registered = |uri: &str| answered.clone().any(|answered| is_same_uri(answered, uri));
    let fewer = document.narrow_strings(Field::REDIRECT_URIS.name(), is_registered) > 0;
    fewer.then(|| String::from_utf8(document.canonical_bytes()).ok()).flatten()
}

/// Identifies a registration by what was forwarded, as `digest`, and by the owner whose token admitted `client`: two that
/// are equal have the same.
fn dedup_key(digest: &str, client: &Client) -> String {
    match &client.admitted_by {
        None => digest.to_owned(),
        // What one owner's token admits is not shared with others, nor what other rules let through.
        Some(owner) => {
            let rules = client.rules.as_deref().unwrap_or_default();
            Digest::of(format!("{digest}\n{}\n{owner}{rules}", owner.len()).as_bytes()).to_string()
        }
    }
}

/// Whether nothing is known of the client but that it was there: what is registered now takes its place, and inherits
/// nothing. Somebody got a token by this id before it was registered here, and no operator has looked at it; or the record
/// was emptied after its end.
fn is_vacant(known: &Client) -> bool {
    match known.status {
        Status::Registering | Status::Pending | Status::Active => {
            known.origin == Origin::Elsewhere && known.reviewed_at.is_none()
        }
        Status::Expired | Status::Failed => known.origin == Origin::Elsewhere || known.registration.is_empty(),
        Status::Revoked => known.ended_by == Some(Actor::Client) && known.registration.is_empty(),
    }
}

/// Whether the next one who registers the same may have this answer.
fn is_repeatable(answer: &Registration) -> bool {
    let absent = |field| answer.at(field).is_none_or(|value| value.is_empty());
    absent(Field::CLIENT_SECRET)
        && absent(Field::REGISTRATION_ACCESS_TOKEN)
        // It is returned as it was sent, and the next one may have another.
        && absent(Field::SOFTWARE_STATEMENT)
        && matches!(answer.string_at(Field::TOKEN_ENDPOINT_AUTH_METHOD), None | Some("none" | ""))
}

/// When the secret in an answer expires, in milliseconds; 0 means never (RFC 7591 section 3.2.1).
pub(super) fn secret_expiry(answer: &Registration) -> Option<i64> {
    answer.at(Field::CLIENT_SECRET).filter(|secret| !secret.is_empty())?;
    match answer.at(Field::CLIENT_SECRET_EXPIRES_AT)? {
        Value::Number(seconds) => {
            seconds.parse::<i64>().ok().filter(|seconds| *seconds > 0).map(|seconds| seconds.saturating_mul(1000))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Ledger, MemoryLedger};

    const ID: &str = "shared";

    fn uri(number: usize) -> String {
        format!("https://app{number}.example.com/cb")
    }

    async fn register(registrar: &Registrar, number: usize) -> Result<Completion, LedgerError> {
        let json = format!(r#"{{"client_name":"App {number}","redirect_uris":["{}"]}}"#, uri(number));
        let registration = Registration::parse(json.as_bytes()).unwrap();
        let Admission::Ask(intent) = registrar.admit(&registration, Requester::default()).await.unwrap() else {
            panic!("{number} is a repeat")
        };
        let body = format!(r#"{{"client_id":"{ID}"}}"#);
        let document = Registration::parse(body.as_bytes()).unwrap();
        intent.complete(&ServerAnswer { status: 201, document: &document, body: &body }).await
    }

    /// The numbers of the registrations whose records live, as a gate sees them.
    async fn live(registrar: &Registrar) -> Vec<usize> {
        let all = registrar.look_up_all(ID).await.unwrap();
        let live: Vec<&Client> = all.iter().filter(|client| client.status.is_live()).collect();
        (0..100).filter(|number| live.iter().any(|client| client.has_redirect_uri(&uri(*number)))).collect()
    }

    async fn shares_one_id(ledger: impl Ledger, name: &str) {
        let registrar = Registrar::new(ledger).without_repeats().with_shared_client_ids();
        let proven = |number: usize| {
            let registrar = registrar.clone();
            async move {
                let all = registrar.look_up_all(ID).await.unwrap();
                let client = all.into_iter().find(|client| client.has_redirect_uri(&uri(number))).unwrap();
                registrar.prove(client).await.unwrap();
            }
        };
        for number in 0..MAX_SHARING {
            assert_eq!(register(&registrar, number).await.unwrap(), Completion::Recorded, "{name}: {number}");
        }
        proven(1).await;
        // An equal one goes on with its record, and needs no room.
        assert_eq!(register(&registrar, 0).await.unwrap(), Completion::Recorded, "{name}");
        assert_eq!(live(&registrar).await, (0..MAX_SHARING).collect::<Vec<_>>(), "{name}: all are seen");
        // One more ends the oldest that was never used, the first included, which has no variant.
        for number in MAX_SHARING..MAX_SHARING + 2 {
            assert_eq!(register(&registrar, number).await.unwrap(), Completion::Recorded, "{name}: {number}");
        }
        let wanted: Vec<usize> = std::iter::once(1).chain(3..MAX_SHARING + 2).collect();
        assert_eq!(live(&registrar).await, wanted, "{name}: the used one stays");
        // What made room may begin anew.
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
        #[cfg(feature = "sqlite")]
        {
            let dir = std::env::temp_dir().join(format!("tower-dcr-sharing-{}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            let ledger = crate::ledger::SqliteLedger::open(dir.join("clients.db")).await.unwrap();
            shares_one_id(ledger, "SQLite").await;
            std::fs::remove_dir_all(&dir).unwrap();
        }
    }

    /// More records than are looked at, as from before there was a bound: that there is a first one is known all the same.
    #[tokio::test]
    async fn an_equal_record_is_found_among_more_than_are_looked_at() {
        let ledger = MemoryLedger::default();
        let registrar = Registrar::new(ledger.clone()).without_repeats().with_shared_client_ids();
        for number in 0..3 {
            register(&registrar, number).await.unwrap();
        }
        for number in 0..1300 {
            let mut client = Client::draft("{\"client_name\":\"x\"}", Fingerprints::default(), 0);
            (client.status, client.client_id) = (Status::Active, Some(ID.into()));
            (client.variant, client.proven_at) = (format!("old {number}"), Some(1));
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
    async fn what_was_revoked_and_emptied_stays_out() {
        let ledger = MemoryLedger::default();
        let registrar = Registrar::new(ledger.clone()).without_repeats().with_shared_client_ids();
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
