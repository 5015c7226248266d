//! Clients whose `client_id` is the URL of a metadata document: their records, changes and blocks.

use std::fmt;
use std::time::Duration;

use super::admission::{MAX_STEPS, Requester};
use super::{Failure, Registrar, RevocationReport, milliseconds};
use crate::audit::LifecycleAction;
use crate::cache::Cache;
use crate::clients::ledger::{
    Actor, Block, Change, Client, DocumentState, Fingerprint, HeldChange, Insertion, LedgerError, Origin, Status,
};
use crate::documents::client_id_url::ClientIdUrl;
use crate::period::NEVER;
use crate::redirect_uri::matches;
use crate::registration::{Limits, Registration};
use crate::rules::Identity;

/// The number of URLs whose blocks are remembered.
const MAX_REMEMBERED: usize = 4096;

/// The most clients of documents that one other ends.
const EVICTED_AT_ONCE: u32 = 16;

/// A document that was fetched and that the rules accepted.
#[derive(Clone, Debug)]
pub(crate) struct NewDocument {
    pub(crate) url: String,
    /// The document after the rules, without its `client_id`.
    pub(crate) registration: Registration,
    /// The identity that it claims.
    pub(crate) identity: Option<Identity>,
    /// The fingerprint of the policy that accepted it.
    pub(crate) policy: Option<u64>,
    /// The reason for which it has to wait for an operator.
    pub(crate) held: Option<String>,
    pub(crate) state: DocumentState,
}

/// The outcome of recording a document.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "moved once")]
pub(crate) enum Recorded {
    /// The live record of the document: a new one, or the one that there is.
    Current(Client),
    /// An operator blocked it.
    Blocked,
    /// The URL is the `client_id` of another kind of client, whose record stays as it is.
    Taken,
    /// The ledger is full.
    Full,
}

/// Blocks of URLs, each with the epoch and the time of reading.
pub(super) struct DocumentBlocks(Cache<(u64, i64, Option<Block>)>);

impl Default for DocumentBlocks {
    fn default() -> Self {
        Self(Cache::new(MAX_REMEMBERED))
    }
}

impl fmt::Debug for DocumentBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Returns the fingerprints of a document that can be blocked, apart from those of its registration.
pub(super) fn document_prints(client: &Client) -> Vec<Fingerprint> {
    let Some(url) = client.client_id.as_ref().filter(|_| client.origin == Origin::Document) else { return Vec::new() };
    let host = client.document_host().map(|host| Fingerprint::DocumentHost(host.to_owned()));
    let site = client.document_site().map(|site| Fingerprint::DocumentSite(site.to_owned()));
    std::iter::once(Fingerprint::ClientId(url.clone())).chain(host).chain(site).collect()
}

fn is_live_document(client: &Client) -> bool {
    client.origin == Origin::Document && client.status.is_live()
}

impl Registrar {
    /// Returns a block on a URL, its host or its site, read at most `max_age` ago, or `longest_age` while the ledger is
    /// unavailable; one that was made or removed by this node is seen at once. It is looked at before the document is fetched: what is
    /// revoked learns nothing, and costs no packet.
    pub(crate) async fn document_block(
        &self,
        url: &ClientIdUrl,
        (max_age, longest_age): (Duration, Duration),
    ) -> Result<Option<Block>, LedgerError> {
        let (epoch, now) = (self.epoch(), self.now());
        let remembered = |max_age: Duration| {
            let is_fresh = |read_at: i64| (0..milliseconds(max_age)).contains(&now.saturating_sub(read_at));
            let remembered = self.config.shared.document_blocks.0.get(url.as_str());
            remembered.filter(|(of, read_at, _)| *of == epoch && is_fresh(*read_at)).map(|(_, _, block)| block)
        };
        if let Some(block) = remembered(max_age) {
            return Ok(block);
        }
        let prints = [
            Fingerprint::ClientId(url.as_str().to_owned()),
            Fingerprint::DocumentHost(url.host().to_owned()),
            Fingerprint::DocumentSite(url.site().to_owned()),
        ];
        match self.ledger().find_block(&prints).await {
            Ok(block) => {
                let read = (epoch, now, block.clone());
                self.config.shared.document_blocks.0.insert(url.as_str().to_owned(), read);
                Ok(block)
            }
            Err(error) => remembered(longest_age).ok_or(error),
        }
    }

    /// Returns the record that has this URL as its `client_id`: that of the document, or of another kind of client.
    pub(crate) async fn find_document(&self, url: &str) -> Result<Option<Client>, LedgerError> {
        let mut all = self.records(url).await?;
        // One of another kind decides: the document gets no record beside it.
        let other = all.iter().position(|client| client.origin == Origin::Registered);
        Ok(if all.is_empty() { None } else { Some(all.swap_remove(other.unwrap_or(0))) })
    }

    /// Creates the record that a document gets when it is used.
    pub(crate) fn drafted_document(&self, document: &NewDocument) -> Client {
        let NewDocument { registration, identity, policy, .. } = document;
        let requester = Requester { identity: identity.clone(), policy: *policy, ..Requester::default() };
        let mut client = self.drafted_update(registration, &requester);
        (client.origin, client.document) = (Origin::Document, Some(Box::new(document.state.clone())));
        if let Some(reason) = &document.held {
            client.hold(reason);
        }
        self.begin(&mut client, &document.url);
        client
    }

    /// Records a document that was used, unless it has a live record. One that ended begins anew, without its review, if nothing
    /// blocks it any more. A client that was only seen in use under this URL, before documents were accepted, becomes that of the
    /// document. The record of a registration is never taken over, not even after its end.
    pub(crate) async fn record_document(&self, document: &NewDocument) -> Result<Recorded, LedgerError> {
        let draft = self.drafted_document(document);
        if self.is_blocked(&draft).await? {
            return Ok(Recorded::Blocked);
        }
        for _ in 0..MAX_STEPS {
            let mut found = self.find_document(&document.url).await?;
            if found.is_none() {
                self.make_room_for_document().await?;
                found = match self.ledger().insert(&draft, None).await? {
                    Insertion::Inserted(client) => return self.recorded_document(client).await,
                    Insertion::Exists(known) => Some(known),
                    Insertion::Full => return Ok(Recorded::Full),
                };
            }
            let Some(known) = found else { continue };
            match (known.origin, self.status_of(&known)) {
                (Origin::Registered, _) => return Ok(Recorded::Taken),
                (Origin::Document, Status::Pending | Status::Active) => return Ok(Recorded::Current(known)),
                // There is no block on what was revoked before documents were.
                (Origin::Elsewhere, Status::Revoked) => return Ok(Recorded::Blocked),
                (Origin::Document | Origin::Elsewhere, _) => self.remove_before_document(known).await?,
            }
        }
        Err(LedgerError::new("record of a document that comes and goes"))
    }

    /// Returns `true` if the client of a document has ended within the time for which a change of it would wait.
    pub(crate) fn is_document_ended_lately(&self, client: &Client) -> bool {
        let time = milliseconds(self.settings().document_hold);
        client.origin == Origin::Document && client.ended_at.is_some_and(|at| self.now() < at.saturating_add(time))
    }

    /// Removes a record that gives way to that of the document. Its end is told to the server first, or the server's own grants
    /// would outlive it.
    async fn remove_before_document(&self, client: Client) -> Result<(), LedgerError> {
        let key = client.key;
        if client.deprovisioning.due_at.is_some() && !self.deprovision(client).await? {
            return Err(LedgerError::new("the end of the client is not known to the server yet"));
        }
        let gives_way = |client: &Client| client.origin == Origin::Elsewhere || !client.status.is_live();
        if let Some(client) = self.ledger().get(key).await?.filter(gives_way) {
            self.ledger().remove(&client).await?;
        }
        Ok(())
    }

    async fn recorded_document(&self, client: Client) -> Result<Recorded, LedgerError> {
        self.begin_epoch();
        self.emit(&self.event_of(LifecycleAction::DocumentRecorded, &client));
        // Again: either this sees the block, or the revocation sees this record.
        if self.is_blocked(&client).await? {
            self.end_one(client, &Actor::System, "blocked", &mut RevocationReport::default()).await?;
            return Ok(Recorded::Blocked);
        }
        Ok(Recorded::Current(client))
    }

    /// Returns `true` if an operator has blocked what a record says.
    pub(crate) async fn is_blocked(&self, client: &Client) -> Result<bool, LedgerError> {
        match self.reject_blocked(client).await {
            Ok(()) => Ok(false),
            Err(Failure::Rejected(_)) => Ok(true),
            Err(Failure::Ledger(error)) => Err(error),
        }
    }

    /// Ends clients of documents to make room for one more. One that never got a token leaves nothing at the server, and its record
    /// is removed.
    async fn make_room_for_document(&self) -> Result<(), LedgerError> {
        let keep = self.settings().max_documents.get().saturating_sub(1);
        let reason = "made room for another document";
        for client in self.ledger().surplus_documents(keep, EVICTED_AT_ONCE).await? {
            let is_as_found = |now: &Client| now.version == client.version;
            let is_evicted = if client.last_used_at.is_none() {
                self.ledger().remove(&client).await?
            } else {
                let end = |client: &mut Client| self.end(client, Status::Expired, Actor::System, reason);
                self.update(client.clone(), is_as_found, end).await?.is_ok()
            };
            if is_evicted {
                let event = self.event_of(LifecycleAction::Evicted, &client);
                self.emit(&event.by(&Actor::System).because(reason));
            }
        }
        Ok(())
    }

    /// Changes the live record of a document. Returns the current record.
    pub(crate) async fn update_document(
        &self,
        client: Client,
        change: impl Fn(&mut Client),
    ) -> Result<Client, LedgerError> {
        let before = client.clone();
        let current = self.update(client, is_live_document, change).await?.unwrap_or_else(|current| current);
        // A document that is fresh again is no reason to empty the caches of gates.
        let seen = |client: &Client| (client.status, client.registration.clone(), client.held_change().cloned());
        if seen(&before) != seen(&current) {
            self.begin_epoch();
        }
        Ok(current)
    }

    /// Records that a document is as it was when it was last fetched.
    pub(crate) async fn confirm_document(
        &self,
        client: Client,
        (fetched_at, fresh_until): (i64, i64),
    ) -> Result<Client, LedgerError> {
        let now = self.now();
        let confirm = |client: &mut Client| {
            // The clock of another node may be fast.
            let is_earlier = |state: &&mut Box<DocumentState>| state.fetched_at <= fetched_at || state.fetched_at > now;
            if let Some(state) = client.document.as_mut().filter(is_earlier) {
                (state.fetched_at, state.fresh_until, state.unreachable_since) = (fetched_at, fresh_until, None);
            }
        };
        self.update_document(client, confirm).await
    }

    /// Records that a document can't be used, and reports it once: not for each request and each node that meets it.
    pub(crate) async fn miss_document(&self, client: Client, reason: &str) -> Result<Client, LedgerError> {
        let is_reachable =
            |client: &Client| client.document.as_ref().is_some_and(|state| state.unreachable_since.is_none());
        if !is_reachable(&client) {
            return Ok(client);
        }
        let now = self.now();
        let is_due = |client: &Client| is_live_document(client) && is_reachable(client);
        let miss = |client: &mut Client| {
            if let Some(state) = &mut client.document {
                state.unreachable_since = Some(now);
            }
        };
        Ok(match self.update(client, is_due, miss).await? {
            Ok(missed) => {
                let event = self.event_of(LifecycleAction::DocumentUnreachable, &missed);
                self.emit(&event.by(&Actor::System).because(reason));
                missed
            }
            Err(current) => current,
        })
    }

    /// Ends the client of a document that its publisher has taken away. It begins anew if the document is back.
    pub(crate) async fn withdraw_document(&self, client: Client, reason: &str) -> Result<Client, LedgerError> {
        let end = |client: &mut Client| self.end(client, Status::Expired, Actor::System, reason);
        let was_live = client.status.is_live();
        let ended = self.update_document(client, end).await?;
        if was_live && ended.status == Status::Expired {
            let event = self.event_of(LifecycleAction::DocumentWithdrawn, &ended);
            self.emit(&event.by(&Actor::System).because(reason));
        }
        Ok(ended)
    }

    /// Applies another version of a document, or holds it until an operator approves it. A version that needs no approval also ends
    /// the hold of an earlier one. What a version no longer has ends at once, also if the version is held. Metadata that is
    /// blocked ends the client.
    pub(crate) async fn apply_change(
        &self,
        client: Client,
        document: &NewDocument,
        change: Change,
    ) -> Result<Client, LedgerError> {
        let next = self.drafted_document(document);
        if self.is_blocked(&next).await? {
            let reason = "changed to blocked metadata";
            self.end_one(client.clone(), &Actor::System, reason, &mut RevocationReport::default()).await?;
            return Ok(self.ledger().get(client.key).await?.unwrap_or(client));
        }
        // The same document under other rules is the operator's change, not the publisher's.
        let is_same_document = client.document.as_ref().is_some_and(|state| state.digest == document.state.digest);
        let change = if is_same_document { change.min(Change::Narrowing) } else { change };
        // An operator has approved what is in force: if the publisher goes back to it, there is nothing left to look at.
        let is_in_force = client.registration == next.registration;
        let change = change.held_by_rule(document.held.is_some() && !is_in_force);
        let (before, was_held) = (client.registration.clone(), client.held_change().is_some());
        let (now, time) = (self.now(), self.settings().document_hold);
        let apply = |client: &mut Client| {
            if change.is_held() {
                self.narrow(client, &document.registration);
                hold_change(client, &next, change, now, time);
            } else {
                client.register_again(&next);
                client.document.clone_from(&next.document);
            }
        };
        let changed = self.update_document(client, apply).await?;
        let event = match changed.held_change() {
            Some(held) if !was_held => {
                self.event_of(LifecycleAction::DocumentHeld, &changed).changing(&before, &held.registration)
            }
            _ if before != changed.registration => {
                self.event_of(LifecycleAction::DocumentChanged, &changed).changing(&before, &changed.registration)
            }
            _ => return Ok(changed),
        };
        self.emit(&event.by(&Actor::Client).because(&change.to_string()));
        Ok(changed)
    }

    /// Puts the change of a document that waits for an operator in force.
    pub(crate) fn apply_held_change(&self, client: &mut Client) {
        let Some(held) = client.held_change().cloned() else { return };
        let Ok(registration) = Registration::parse_with(held.registration.as_bytes(), &Limits::GENEROUS) else {
            return;
        };
        self.put_in_force(client, &registration, held.identity, held.policy);
        if let Some(state) = &mut client.document {
            (state.digest, state.held) = (held.digest, None);
        }
    }

    fn put_in_force(
        &self,
        client: &mut Client,
        registration: &Registration,
        identity: Option<Identity>,
        policy: Option<String>,
    ) {
        let mut next = self.drafted_update(registration, &Requester { identity, ..Requester::default() });
        next.policy = policy;
        client.register_again(&next);
    }

    /// Takes redirect URIs, grants, response types and scopes that the next version does not have out of the one in force: the
    /// publisher may want to end a leak. A list of which nothing would be left stays, since an empty one is no limit.
    fn narrow(&self, client: &mut Client, next: &Registration) {
        let Ok(mut both) = Registration::parse_with(client.registration.as_bytes(), &Limits::GENEROUS) else { return };
        for name in ["redirect_uris", "grant_types", "response_types"] {
            let Some(kept) = next.strings(name) else { continue };
            let is_kept = |one: &str| kept.clone().any(|other| other == one || matches(other, one));
            if both.strings(name).is_some_and(|mut all| all.any(is_kept)) {
                both.narrow_strings(name, is_kept);
            }
        }
        if let Some(kept) = next.string("scope") {
            let is_kept = |one: &str| kept.split(' ').any(|other| other == one);
            if both.string("scope").is_some_and(|all| all.split(' ').any(is_kept)) {
                both.narrow_tokens("scope", is_kept);
            }
        }
        let digest = both.digest().to_string();
        if both.canonical_bytes() == client.registration.as_bytes() {
            return;
        }
        let (identity, policy) = (client.identity.clone(), client.policy.clone());
        self.put_in_force(client, &both, identity, policy);
        // No fetched document has it, so that the one that had it before is a change again.
        if let Some(state) = &mut client.document {
            state.digest = digest;
        }
    }
}

/// Keeps the registration in force, and notes the version that waits. Of several, the first one waits: a publisher could otherwise
/// extend the time with version after version, or exchange what an operator has looked at and is about to approve. The others are
/// compared with what is in force by then.
fn hold_change(client: &mut Client, next: &Client, change: Change, now: i64, time: Duration) {
    let (Some(earlier), Some(state)) = (&client.document, &next.document) else { return };
    let mut later = state.clone();
    later.digest.clone_from(&earlier.digest);
    if let Some(held) = &earlier.held {
        if held.registration != next.registration {
            // To fetch it in full again.
            later.etag = None;
        }
        later.held = Some(held.clone());
    } else {
        let until = if time == NEVER { i64::MAX } else { now.saturating_add(milliseconds(time)) };
        let mut held = HeldChange::new(&*next.registration, &*state.digest, change, now, until);
        (held.identity, held.policy) = (next.identity.clone(), next.policy.clone());
        later.held = Some(held);
    }
    client.document = Some(later);
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::audit::{Event, LifecycleEvent, Sink};
    use crate::clients::ledger::{ClientKey, Filter, Fingerprints, Ledger, MemoryLedger};
    use crate::clients::registrar::{AdminError, Admission, Completion, LifecycleSettings, Revocation, ServerAnswer};
    use crate::clock::ManualClock;

    const URL: &str = "https://app.example.com/client.json";
    const MINUTE: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[derive(Clone, Default)]
    struct Events(Arc<Mutex<Vec<LifecycleEvent>>>);

    impl Sink for Events {
        fn emit(&self, _: &Event) {}

        fn emit_lifecycle(&self, event: &LifecycleEvent) {
            self.0.lock().unwrap().push(event.clone());
        }
    }

    impl Events {
        fn take(&self) -> Vec<String> {
            self.0.lock().unwrap().drain(..).map(|event| event.action.to_string()).collect()
        }
    }

    struct World {
        ledger: MemoryLedger,
        registrar: Registrar,
        clock: Arc<ManualClock>,
        events: Events,
    }

    fn world(change: impl FnOnce(&mut LifecycleSettings)) -> World {
        let (ledger, events) = (MemoryLedger::default(), Events::default());
        let clock = Arc::new(ManualClock::new(Duration::from_secs(1_767_225_600)));
        let registrar = Registrar::new(ledger.clone()).with_clock(clock.clone()).with_sink(events.clone());
        World { ledger, registrar: registrar.map_settings(change).unwrap(), clock, events }
    }

    fn document(url: &str, json: &str) -> NewDocument {
        let registration = Registration::parse(json.as_bytes()).unwrap();
        let digest = crate::registration::Digest::of(json.as_bytes()).to_string();
        let state = DocumentState { etag: Some("\"1\"".into()), ..DocumentState::new(digest, 1, 2) };
        NewDocument { url: url.into(), registration, identity: None, policy: Some(7), held: None, state }
    }

    fn plain(url: &str) -> NewDocument {
        document(url, r#"{"client_name":"App","redirect_uris":["https://app.example.com/cb"]}"#)
    }

    fn url() -> ClientIdUrl {
        ClientIdUrl::parse(URL).unwrap()
    }

    fn wide(url: &str) -> NewDocument {
        document(
            url,
            r#"{"client_name":"App","redirect_uris":["https://app.example.com/cb","https://b.example.com/cb"]}"#,
        )
    }

    async fn record(world: &World, document: &NewDocument) -> Client {
        match world.registrar.record_document(document).await.unwrap() {
            Recorded::Current(client) => client,
            other => panic!("{other:?}"),
        }
    }

    fn alice() -> Actor {
        Actor::Operator("alice".into())
    }

    #[tokio::test]
    async fn a_document_is_recorded_once() {
        let world = world(|_| {});
        let named =
            document(URL, &format!(r#"{{"client_id":"{URL}","redirect_uris":["https://app.example.com/cb"]}}"#));
        let client = record(&world, &named).await;
        assert_eq!(
            (client.origin, client.status, client.client_id.as_deref()),
            (Origin::Document, Status::Active, Some(URL))
        );
        assert_eq!(client.registration, r#"{"redirect_uris":["https://app.example.com/cb"]}"#);
        assert_eq!((client.document_host(), client.document_site()), (Some("app.example.com"), Some("example.com")));
        assert_eq!(
            (client.document.clone(), client.policy.as_deref()),
            (Some(Box::new(named.state.clone())), Some("0000000000000007"))
        );
        assert!(client.expires_at.is_some() && !client.counts_against_quota());
        assert_eq!(record(&world, &plain(URL)).await, client, "as it is");
        assert_eq!(world.registrar.find_document(URL).await.unwrap(), Some(client));
        assert_eq!(world.registrar.find_document("https://app.example.com/other").await.unwrap(), None);
        assert_eq!(world.events.take(), ["document_recorded"]);
    }

    #[tokio::test]
    async fn approval_is_wanted_as_of_registrations() {
        let world = world(|settings| settings.approval = Some(DAY));
        let client = record(&world, &plain(URL)).await;
        assert_eq!(client.status, Status::Pending);
        let approved = world.registrar.approve(URL, "alice", "known").await.unwrap();
        assert_eq!(approved.status, Status::Active);
        let other = self::world(|_| {});
        let held = NewDocument { held: Some("not listed".into()), ..plain(URL) };
        let client = record(&other, &held).await;
        assert!(client.status == Status::Pending && client.is_held());
    }

    #[tokio::test]
    async fn a_url_is_revoked_and_comes_back_without_its_block() {
        let world = world(|_| {});
        let registrar = &world.registrar;
        let client = record(&world, &plain(URL)).await;
        registrar.approve(URL, "alice", "known").await.unwrap();
        let blocked = async || registrar.document_block(&url(), (MINUTE, MINUTE)).await.unwrap();
        assert_eq!(blocked().await, None);
        let report = registrar.revoke(Revocation::client(URL, alice(), "leaked")).await.unwrap();
        assert_eq!((report.clients, report.blocked), (1, Some(Fingerprint::ClientId(URL.into()))));
        assert_eq!(blocked().await.unwrap().reason, "leaked", "seen at once");
        assert!(matches!(registrar.record_document(&plain(URL)).await.unwrap(), Recorded::Blocked));
        assert_eq!(registrar.find_document(URL).await.unwrap().unwrap().status, Status::Revoked);
        // The same document under another URL is another client.
        record(&world, &plain("https://app.example.com/other.json")).await;
        assert!(registrar.unblock(&Fingerprint::ClientId(URL.into()), &alice(), "").await.unwrap());
        assert_eq!(blocked().await, None, "seen at once");
        assert_eq!(registrar.find_document(URL).await.unwrap().unwrap().status, Status::Revoked, "until it is used");
        let again = record(&world, &plain(URL)).await;
        assert_eq!((again.status, again.reviewed_at, again.ended_at), (Status::Active, None, None));
        assert_ne!(again.key, client.key);
        let events = world.events.take();
        assert_eq!(
            events,
            [
                "document_recorded",
                "approved",
                "blocked",
                "revoked",
                "document_recorded",
                "unblocked",
                "document_recorded"
            ]
        );
    }

    #[tokio::test]
    async fn hosts_sites_and_metadata_are_blocked_too() {
        for (target, is_of_url) in [
            (Fingerprint::parse("document_host", "app.example.com").unwrap(), true),
            (Fingerprint::parse("document_site", "example.com").unwrap(), true),
            (Fingerprint::name("app"), false),
            (Fingerprint::name("aрp"), false),
        ] {
            let world = world(|_| {});
            record(&world, &plain(URL)).await;
            let revoked = world.registrar.revoke(Revocation::new(target.clone(), alice(), "x")).await.unwrap();
            let is_same = target.value() != "aрp";
            assert_eq!(revoked.clients, u64::from(is_same), "{target}");
            let block = world.registrar.document_block(&url(), (MINUTE, MINUTE)).await.unwrap();
            assert_eq!(block.is_some(), is_of_url, "{target}");
            let other = plain("https://app.example.com/other.json");
            assert!(matches!(world.registrar.record_document(&other).await.unwrap(), Recorded::Blocked), "{target}");
            let elsewhere = "https://app.example.net/client.json";
            let recorded = world.registrar.record_document(&plain(elsewhere)).await.unwrap();
            assert_eq!(matches!(recorded, Recorded::Blocked), !is_of_url, "{target}");
        }
    }

    #[tokio::test]
    async fn a_url_that_was_never_used_can_be_revoked() {
        let World { registrar, .. } = world(|_| {});
        let report = registrar.revoke(Revocation::client(URL, alice(), "seen elsewhere")).await.unwrap();
        assert_eq!((report.clients, report.blocked), (0, Some(Fingerprint::ClientId(URL.into()))));
        assert!(registrar.document_block(&url(), (MINUTE, MINUTE)).await.unwrap().is_some());
        for id in [
            "s6BhdRkqt3",
            "http://app.example.com/a",
            "https://",
            "https://user@app.example.com/",
            "https://A.example.com/",
            "https://A.example.com/c",
            "https://app.example.com",
            "https://app.example.com/",
            "https://app.example.com/a/../c",
            "https://app.example.com/a/%2e%2e/c",
            "https://app.example.com//c",
            "https://app.example.com/c#f",
            "https://app.example.com/c d",
            "https://app.example.com:0443/c",
            "https://app.example.com:70000/c",
            "https://app.internal/c",
            "https://github.io/c",
        ] {
            let error = registrar.revoke(Revocation::client(id, alice(), "x")).await.unwrap_err();
            assert!(matches!(error, AdminError::UnknownClient), "{id}");
        }
        let mut unblocking = Revocation::client("https://b.example.com/c", alice(), "x");
        unblocking.blocks = false;
        assert!(matches!(registrar.revoke(unblocking).await, Err(AdminError::UnknownClient)), "there is nothing to do");
        let owner = Actor::TokenOwner("team".into());
        let by_owner = Revocation::client("https://b.example.com/c", owner, "x");
        assert!(matches!(registrar.revoke(by_owner).await, Err(AdminError::UnknownClient)));
        assert_eq!(registrar.blocks(None, 10).await.unwrap().len(), 1);
        // Other settings accept these.
        for id in ["https://app.example.com:8443/c", "https://app.example.com:443/c", "https://app.example.com/c?v=2"] {
            let report = registrar.revoke(Revocation::client(id, alice(), "x")).await.unwrap();
            assert_eq!((report.clients, report.blocked), (0, Some(Fingerprint::ClientId(id.into()))), "{id}");
        }
    }

    /// The gate may have seen it as a name like others, before documents were accepted.
    #[tokio::test]
    async fn a_client_that_is_no_document_is_ended_without_a_block() {
        let World { registrar, .. } = world(|_| {});
        let id = "https://app.example.com/a/../c";
        registrar.note_elsewhere(id).await.unwrap();
        let report = registrar.revoke(Revocation::client(id, alice(), "x")).await.unwrap();
        assert_eq!((report.clients, report.blocked), (1, None));
        let record = registrar.find_document(id).await.unwrap().unwrap();
        assert_eq!((record.origin, record.status), (Origin::Elsewhere, Status::Revoked));
    }

    #[tokio::test]
    async fn blocks_of_other_nodes_are_seen_in_time() {
        let world = world(|_| {});
        let other = Registrar::new(world.ledger.clone()).with_clock(world.clock.clone());
        let asked = async |age| {
            let block = world.registrar.document_block(&url(), (age, age)).await;
            block.unwrap().is_some()
        };
        assert!(!asked(5 * MINUTE).await);
        other.revoke(Revocation::client(URL, alice(), "x")).await.unwrap();
        world.clock.advance(4 * MINUTE);
        assert!(!asked(5 * MINUTE).await, "remembered");
        assert!(asked(Duration::ZERO).await);
        other.unblock(&Fingerprint::ClientId(URL.into()), &alice(), "").await.unwrap();
        assert!(asked(5 * MINUTE).await, "remembered");
        world.clock.advance(5 * MINUTE);
        assert!(!asked(5 * MINUTE).await);
    }

    #[tokio::test]
    async fn a_client_of_another_kind_keeps_its_url() {
        let world = world(|_| {});
        let mut registered = Client::draft("{}", Fingerprints::default(), 0);
        (registered.client_id, registered.status) = (Some(URL.into()), Status::Active);
        for status in [Status::Active, Status::Expired, Status::Revoked] {
            registered.status = status;
            let Insertion::Inserted(client) = world.ledger.insert(&registered, None).await.unwrap() else { panic!() };
            let recorded = world.registrar.record_document(&plain(URL)).await.unwrap();
            assert!(matches!(recorded, Recorded::Taken), "{status}");
            assert_eq!(world.registrar.find_document(URL).await.unwrap(), Some(client.clone()), "{status}");
            world.ledger.remove(&client).await.unwrap();
        }
        // Seen in use before documents were accepted.
        let seen = world.registrar.note_elsewhere(URL).await.unwrap();
        let client = record(&world, &plain(URL)).await;
        assert_eq!((client.origin, client.last_used_at), (Origin::Document, None));
        world.ledger.remove(&client).await.unwrap();
        // That of an operator from before.
        let mut revoked = Client { key: ClientKey(0), version: 0, ..seen };
        revoked.end(Status::Revoked, 1, alice(), "x");
        world.ledger.insert(&revoked, None).await.unwrap();
        assert!(matches!(world.registrar.record_document(&plain(URL)).await.unwrap(), Recorded::Blocked));
    }

    #[tokio::test]
    async fn no_registration_gets_the_url_of_a_document() {
        for shared in [false, true] {
            let world = world(|settings| settings.shared_client_ids = Some(shared));
            let client = record(&world, &plain(URL)).await;
            let registrar = &world.registrar;
            for status in [Status::Active, Status::Expired] {
                if status == Status::Expired {
                    registrar.withdraw_document(client.clone(), "gone").await.unwrap();
                }
                let before = world.ledger.find(URL).await.unwrap();
                let admitted = registrar.admit(&plain(URL).registration, Requester::default()).await.unwrap();
                let Admission::Ask(intent) = admitted else { panic!("it is no registration") };
                let body = format!(r#"{{"client_id":"{URL}"}}"#);
                let answer = Registration::parse(body.as_bytes()).unwrap();
                let answer = ServerAnswer { status: 201, document: &answer, body: &body };
                assert_eq!(intent.complete(&answer).await.unwrap(), Completion::Conflict, "{shared} {status}");
                assert_eq!(world.ledger.find(URL).await.unwrap(), before, "{shared} {status}");
            }
            // Neither is it managed (RFC 7592).
            let requester = Requester::default();
            assert!(registrar.may_manage(URL).await.is_err());
            assert!(registrar.admit_change(URL, &plain(URL).registration, &requester).await.is_err());
            assert!(registrar.adopt_managed(URL, &plain(URL).registration, &requester).await.is_err());
            assert_eq!(registrar.admitted_as(URL).await.unwrap(), None);
            let before = world.ledger.find(URL).await.unwrap();
            registrar.deleted(URL).await.unwrap();
            assert_eq!(world.ledger.find(URL).await.unwrap(), before);
        }
    }

    #[tokio::test]
    async fn documents_make_room_among_themselves() {
        let world = world(|settings| {
            settings.max_documents = std::num::NonZeroU64::new(3);
            settings.max_clients = std::num::NonZeroU64::new(1);
        });
        let url = |number: u32| format!("https://app.example.com/{number}");
        let admitted = world.registrar.admit(&plain(URL).registration, Requester::default()).await.unwrap();
        assert!(matches!(admitted, Admission::Ask(_)), "of its own quota");
        for number in 0..3 {
            world.clock.advance(MINUTE);
            record(&world, &plain(&url(number))).await;
        }
        let find = async |number| world.registrar.find_document(&url(number)).await.unwrap();
        let first = world.registrar.record_use(find(0).await.unwrap()).await.unwrap();
        assert!(first.last_used_at.is_some());
        world.registrar.approve(&*url(1), "alice", "known").await.unwrap();
        for number in 3..5 {
            world.clock.advance(MINUTE);
            record(&world, &plain(&url(number))).await;
        }
        for (number, is_left) in [(0, true), (1, true), (2, false), (3, false), (4, true)] {
            assert_eq!(find(number).await.is_some(), is_left, "{number}");
        }
        world.registrar.record_use(find(4).await.unwrap()).await.unwrap();
        record(&world, &plain(&url(5))).await;
        let evicted = find(0).await.unwrap();
        assert_eq!(
            (evicted.status, evicted.reason.as_deref()),
            (Status::Expired, Some("made room for another document"))
        );
        assert!(find(1).await.is_some() && find(4).await.is_some() && find(5).await.is_some());
        record(&world, &plain(&url(0))).await;
        assert!(find(5).await.is_none(), "it may come back");
    }

    #[tokio::test]
    async fn changes_are_in_force_at_once_or_after_approval() {
        let rows = [
            (Change::Decoration, true, "document_changed"),
            (Change::Narrowing, true, "document_changed"),
            (Change::Widening, false, "document_held"),
            (Change::Identity, false, "document_held"),
        ];
        for (change, at_once, event) in rows {
            let world = world(|_| {});
            let client = record(&world, &plain(URL)).await;
            let epoch = world.registrar.epoch();
            let changed = world.registrar.apply_change(client.clone(), &wide(URL), change).await.unwrap();
            assert!(world.registrar.epoch() > epoch, "{change}");
            assert_eq!(changed.has_redirect_uri("https://b.example.com/cb"), at_once, "{change}");
            assert_eq!(changed.held_change().is_some(), !at_once, "{change}");
            assert_eq!(changed.fingerprints.redirect_hosts.len(), 1 + usize::from(at_once), "{change}");
            let digest = |document: &NewDocument| document.state.digest.clone();
            let in_force = if at_once { digest(&wide(URL)) } else { digest(&plain(URL)) };
            assert_eq!(changed.document.as_ref().unwrap().digest, in_force, "{change}");
            assert_eq!(world.events.take(), ["document_recorded", event], "{change}");
            let again = world.registrar.apply_change(changed, &wide(URL), change).await.unwrap();
            assert!(world.events.take().is_empty(), "{change}: once");
            if at_once {
                continue;
            }
            let waiting = Filter { held_change: true, ..Filter::default() };
            let pending = world.ledger.page(&waiting, None, 10).await.unwrap();
            assert_eq!(pending, std::slice::from_ref(&again), "{change}");
            assert!(!again.is_suspended(world.registrar.now()), "{change}");
            world.clock.advance(DAY);
            assert!(again.is_suspended(world.registrar.now()), "{change}");
            let approved = world.registrar.approve(URL, "alice", "looked at").await.unwrap();
            assert!(approved.has_redirect_uri("https://b.example.com/cb"), "{change}");
            assert!(approved.held_change().is_none() && approved.fingerprints.redirect_hosts.len() == 2, "{change}");
            assert_eq!(approved.document.unwrap().digest, digest(&wide(URL)), "{change}");
            let event = world.events.0.lock().unwrap().remove(0);
            assert_eq!((event.action, event.changed), (LifecycleAction::Approved, vec!["redirect_uris".to_owned()]));
        }
    }

    #[tokio::test]
    async fn the_narrowing_half_of_a_held_change_is_in_force_at_once() {
        let world = world(|_| {});
        let of = |uris: &str, more: &str| {
            document(URL, &format!(r#"{{"client_name":"App","redirect_uris":[{uris}]{more}}}"#))
        };
        let (kept, leaking, new) =
            (r#""http://127.0.0.1:1/cb""#, r#""https://leak.example.com/cb""#, r#""https://new.example.com/cb""#);
        let before =
            of(&format!("{kept},{leaking}"), r#","grant_types":["authorization_code","refresh_token"],"scope":"a b""#);
        let mixed = of(
            &format!("{new},{}", kept.replace(":1/", ":2/")),
            r#","grant_types":["authorization_code"],"scope":"b c""#,
        );
        let client = record(&world, &before).await;
        let held = world.registrar.apply_change(client, &mixed, Change::Widening).await.unwrap();
        let in_force = r#"{"client_name":"App","grant_types":["authorization_code"],"redirect_uris":["http://127.0.0.1:1/cb"],"scope":"b"}"#;
        assert_eq!(held.registration, in_force);
        assert_eq!((held.policy.as_deref(), held.fingerprints.redirect_hosts.len()), (Some("0000000000000007"), 1));
        assert!(held.held_change().unwrap().registration.contains("new.example.com"));
        assert_eq!(world.events.take(), ["document_recorded", "document_held"]);
        // The version from before is a change like any other.
        let again = world.registrar.apply_change(held, &before, Change::Widening).await.unwrap();
        assert_eq!(again.registration, in_force);
        // A later one narrows, too, while the first one waits.
        let less = of(&format!("{kept},{new}"), r#","grant_types":["client_credentials"],"scope":"c""#);
        let narrowed = world.registrar.apply_change(again.clone(), &less, Change::Identity).await.unwrap();
        assert_eq!(narrowed.registration, in_force, "a list of which nothing would be left stays");
        let approved = world.registrar.approve(URL, "alice", "looked at").await.unwrap();
        assert_eq!(approved.document.as_ref().unwrap().digest, mixed.state.digest);
        let later = of(&format!("{new},{leaking}"), r#","grant_types":["authorization_code"],"scope":"b c d""#);
        let held = world.registrar.apply_change(approved, &later, Change::Widening).await.unwrap();
        assert!(!held.has_redirect_uri("http://127.0.0.1:1/cb") && held.has_redirect_uri("https://new.example.com/cb"));
    }

    #[tokio::test]
    async fn other_rules_over_the_same_document_are_in_force_at_once() {
        let world = world(|_| {});
        let stripped = NewDocument { registration: plain(URL).registration, ..wide(URL) };
        let client = record(&world, &stripped).await;
        for change in [Change::Widening, Change::Identity] {
            let changed = world.registrar.apply_change(client.clone(), &wide(URL), change).await.unwrap();
            assert!(
                changed.has_redirect_uri("https://b.example.com/cb") && changed.held_change().is_none(),
                "{change}"
            );
        }
        let unlisted = NewDocument { held: Some("not listed".into()), ..plain(URL) };
        let client = world.registrar.find_document(URL).await.unwrap().unwrap();
        let held = world.registrar.apply_change(client, &unlisted, Change::Decoration).await.unwrap();
        assert!(held.held_change().is_some(), "but what the rules hold");
    }

    #[tokio::test]
    async fn the_first_of_several_held_versions_waits() {
        let world = world(|settings| settings.document_hold = Some(2 * DAY));
        let client = record(&world, &plain(URL)).await;
        let held = world.registrar.apply_change(client, &wide(URL), Change::Widening).await.unwrap();
        let since = held.held_change().unwrap().clone();
        assert_eq!(since.until - since.since, milliseconds(2 * DAY));
        world.clock.advance(DAY);
        let evil = document(URL, r#"{"client_name":"App","redirect_uris":["https://evil.example.net/cb"]}"#);
        let held = world.registrar.apply_change(held, &evil, Change::Identity).await.unwrap();
        assert_eq!(held.held_change(), Some(&since), "what an operator has looked at");
        assert_eq!(held.document.as_ref().unwrap().etag, None, "the other one is fetched again");
        // The publisher takes it back.
        let reverted = world.registrar.apply_change(held, &plain(URL), Change::Decoration).await.unwrap();
        assert!(reverted.held_change().is_none());
        assert_eq!(world.events.take(), ["document_recorded", "document_held"]);
    }

    #[tokio::test]
    async fn what_a_rule_holds_or_an_operator_blocked_is_not_applied() {
        let world = world(|_| {});
        let client = record(&world, &plain(URL)).await;
        let unlisted = NewDocument { held: Some("not listed".into()), ..wide(URL) };
        let held = world.registrar.apply_change(client, &unlisted, Change::Narrowing).await.unwrap();
        assert_eq!(held.held_change().map(|held| held.change), Some(Change::Widening));
        let back = NewDocument { held: Some("not listed".into()), ..plain(URL) };
        let reverted = world.registrar.apply_change(held.clone(), &back, Change::Decoration).await.unwrap();
        assert!(reverted.held_change().is_none(), "the version in force was approved");
        let held = world.registrar.apply_change(reverted, &unlisted, Change::Narrowing).await.unwrap();
        assert_eq!(held.held_change().map(|held| held.change), Some(Change::Widening));
        world.registrar.revoke(Revocation::new(Fingerprint::name("Evil"), alice(), "x")).await.unwrap();
        let evil = document(URL, r#"{"client_name":"evil","redirect_uris":["https://app.example.com/cb"]}"#);
        let ended = world.registrar.apply_change(held, &evil, Change::Decoration).await.unwrap();
        assert_eq!((ended.status, ended.reason.as_deref()), (Status::Revoked, Some("changed to blocked metadata")));
    }

    #[tokio::test]
    async fn freshness_is_recorded_and_empties_no_cache() {
        let world = world(|_| {});
        let client = record(&world, &plain(URL)).await;
        let (registrar, epoch) = (&world.registrar, world.registrar.epoch());
        let missed = registrar.miss_document(client, "status 403").await.unwrap();
        assert_eq!(missed.document.as_ref().unwrap().unreachable_since, Some(registrar.now()));
        world.clock.advance(MINUTE);
        let missed = registrar.miss_document(missed.clone(), "status 403").await.unwrap();
        let confirmed = registrar.confirm_document(missed, (registrar.now(), registrar.now() + 9)).await.unwrap();
        let state = confirmed.document.clone().unwrap();
        let now = registrar.now();
        assert_eq!((state.fetched_at, state.fresh_until, state.unreachable_since), (now, now + 9, None));
        assert_eq!(state.etag.as_deref(), Some("\"1\""));
        assert_eq!(registrar.epoch(), epoch);
        assert_eq!(world.events.take(), ["document_recorded", "document_unreachable"], "once");
        let gone = registrar.withdraw_document(confirmed, "status 410").await.unwrap();
        assert_eq!((gone.status, gone.reason.as_deref()), (Status::Expired, Some("status 410")));
        assert!(registrar.epoch() > epoch);
        assert_eq!(world.events.take(), ["document_withdrawn"]);
        assert_eq!(registrar.withdraw_document(gone.clone(), "status 410").await.unwrap(), gone);
        assert!(world.events.take().is_empty());
        record(&world, &plain(URL)).await;
    }

    #[tokio::test]
    async fn records_of_ended_documents_are_removed_unless_they_were_revoked() {
        let world = world(|_| {});
        let other = "https://app.example.com/other";
        let client = record(&world, &plain(URL)).await;
        record(&world, &plain(other)).await;
        world.registrar.withdraw_document(client, "gone").await.unwrap();
        world.registrar.revoke(Revocation::client(other, alice(), "x")).await.unwrap();
        world.clock.advance(40 * DAY);
        world.registrar.maintain_once().await.unwrap();
        assert_eq!(world.registrar.find_document(URL).await.unwrap(), None);
        let revoked = world.registrar.find_document(other).await.unwrap().unwrap();
        assert_eq!((revoked.status, revoked.document, &*revoked.registration), (Status::Revoked, None, ""));
    }

    #[tokio::test]
    async fn a_document_that_is_used_lives_on() {
        let world = world(|_| {});
        let client = record(&world, &plain(URL)).await;
        world.clock.advance(6 * DAY);
        world.registrar.record_use(client).await.unwrap();
        world.clock.advance(60 * DAY);
        assert_eq!(world.registrar.find_document(URL).await.unwrap().unwrap().status, Status::Active);
        world.clock.advance(100 * DAY);
        assert_eq!(world.registrar.find_document(URL).await.unwrap().unwrap().status, Status::Expired);
        assert_eq!(record(&world, &plain(URL)).await.status, Status::Active);
    }
}
