//! Look-ups of records, expiry and recorded use.

use super::Registrar;
use crate::audit::LifecycleAction;
use crate::clients::ledger::{Actor, Client, ClientKey, Fingerprints, Insertion, LedgerError, Origin, Status};
use crate::sync::lock;

/// The largest number of live records of one `client_id`. A gate checks each of them.
pub(super) const MAX_SHARING: usize = if cfg!(test) { 8 } else { 1000 };

/// The largest number of records that are read of one `client_id`: more than may be live, since simultaneous registrations
/// don't see each other.
const MAX_VARIANTS: u32 = 1200;

/// The largest number of records of clients that were registered elsewhere.
const MAX_ELSEWHERE: u64 = 10_000;

/// The time for which a doubt counts whether the server knows a client, in milliseconds.
const DOUBT_MS: i64 = 3600 * 1000;

/// The largest number of clients that are remembered as unknown to the server.
const MAX_DOUBTS: usize = 4096;

impl Registrar {
    /// Returns the record of a client, expired if its lifetime has ended. Takes one read unless it expires.
    pub(crate) async fn look_up(&self, client_id: &str) -> Result<Option<Client>, LedgerError> {
        // No database finds a NUL, and some report an error.
        if client_id.contains('\0') {
            return Ok(None);
        }
        if self.settings().shared_client_ids {
            // The first of them.
            return Ok(self.records(client_id).await?.into_iter().next());
        }
        let found = self.ledger().find(client_id).await?;
        self.as_of_now(found).await
    }

    /// Returns the records of one `client_id`, expired if their lifetimes have ended: one, unless the server gives it to several
    /// registrations ([`shared_client_ids`](crate::clients::LifecycleSettings::shared_client_ids)). At most 1,200: live ones
    /// come first, then those that got a token.
    ///
    /// # Errors
    ///
    /// Returns [`LedgerError`] if the ledger is unavailable.
    pub async fn records(&self, client_id: &str) -> Result<Vec<Client>, LedgerError> {
        if client_id.contains('\0') {
            return Ok(Vec::new());
        }
        let mut all = Vec::new();
        for client in self.ledger().find_all(client_id, MAX_VARIANTS).await? {
            all.extend(self.as_of_now(Some(client)).await?);
        }
        Ok(all)
    }

    /// Returns the record of `client_id` with that variant, expired if its lifetime has ended.
    pub(super) async fn look_up_variant(&self, client_id: &str, variant: &str) -> Result<Option<Client>, LedgerError> {
        if client_id.contains('\0') {
            return Ok(None);
        }
        let found = self.ledger().find_variant(client_id, variant).await?;
        self.as_of_now(found).await
    }

    async fn as_of_now(&self, found: Option<Client>) -> Result<Option<Client>, LedgerError> {
        match found {
            Some(client) if self.has_lapsed(&client) => self.expire(client).await.map(Some),
            found => Ok(found),
        }
    }

    /// Returns the status of the client now. One past its limit is active where limits are
    /// [only reported](crate::clients::LifecycleSettings::report_only_expiry).
    pub(crate) fn status_of(&self, client: &Client) -> Status {
        if self.has_lapsed(client) { client.status_at(self.now()) } else { client.status }
    }

    /// Returns `true` if the lifetime of the client has ended, and its status does not say so yet.
    pub(crate) fn has_lapsed(&self, client: &Client) -> bool {
        client.has_lapsed(self.now()) && !self.is_spared(client)
    }

    /// Returns `true` if the limit of the client is only reported. The end of a secret is the server's, not this one's.
    fn is_spared(&self, client: &Client) -> bool {
        self.settings().report_only_expiry
            && client.status == Status::Active
            && client.not_after.is_none_or(|at| at > self.now())
    }

    /// Expires `client`, unless the server reports it as in use. Returns the current record.
    pub(super) async fn expire(&self, client: Client) -> Result<Client, LedgerError> {
        let (now, settings) = (self.now(), self.settings());
        let has_lapsed = |client: &Client| client.has_lapsed(now);
        let has_secret_expired = client.not_after.is_some_and(|at| at <= now);
        let later = match () {
            () if settings.lifetimes.never_end(&client) && !has_secret_expired => Some(None),
            () if self.is_still_in_use(&client).await? => Some(settings.lifetimes.still_in_use_end(now)),
            () => None,
        };
        if let Some(end) = later {
            let extend = |client: &mut Client| client.live_until(end);
            return Ok(self.update(client, has_lapsed, extend).await?.unwrap_or_else(|current| current));
        }
        let reason = reason_of_expiry(&client);
        let end = |client: &mut Client| self.end(client, Status::Expired, Actor::System, reason);
        let expired = self.update(client, has_lapsed, end).await?;
        if let Ok(expired) = &expired {
            let event = self.event_of(LifecycleAction::Expired, expired);
            self.emit(&event.by(&Actor::System).because(reason));
        }
        // Another change may have extended it.
        Ok(expired.unwrap_or_else(|current| current))
    }

    /// Reports, once, that a client is past its limit and lives on, unless the server reports it as in use.
    pub(super) async fn report_limit(&self, client: Client) -> Result<bool, LedgerError> {
        let (now, settings) = (self.now(), self.settings());
        if client.is_past_limit() {
            return Ok(false);
        }
        let is_due = |client: &Client| client.has_lapsed(now) && self.is_spared(client) && !client.is_past_limit();
        if settings.lifetimes.never_end(&client) || self.is_still_in_use(&client).await? {
            self.expire(client).await?;
            return Ok(false);
        }
        let reason = reason_of_expiry(&client);
        let Ok(noted) = self.update(client, is_due, |client| client.note_limit(reason)).await? else {
            return Ok(false);
        };
        let event = self.event_of(LifecycleAction::Expired, &noted).by(&Actor::System).because(reason);
        self.emit(&event.reported());
        Ok(true)
    }

    /// Asks the server. A client whose secret has expired is not in use.
    async fn is_still_in_use(&self, client: &Client) -> Result<bool, LedgerError> {
        let (Some(server), Some(id)) = (&self.config.still_in_use, &client.client_id) else { return Ok(false) };
        // The server can't tell which registration of a shared id is in use.
        if self.is_shared(client)
            || client.status != Status::Active
            || client.not_after.is_some_and(|at| at <= self.now())
        {
            return Ok(false);
        }
        server(id.clone()).await.map_err(LedgerError::new)
    }

    /// Returns whether a token of `client` has to be recorded: once in half an idle limit.
    pub(crate) fn is_news(&self, client: &Client) -> bool {
        let half = self.settings().lifetimes.use_interval_ms();
        client.is_past_limit() || client.last_used_at.is_none_or(|at| self.now().saturating_sub(at) >= half)
    }

    /// Records that the server gave a token to `client`: its lifetime begins anew, unless it has ended. Returns the current
    /// record.
    pub(crate) async fn record_use(&self, client: Client) -> Result<Client, LedgerError> {
        self.server_knows(&client);
        let now = self.now();
        let end = self.settings().lifetimes.after_use_end(now);
        let is_due = |client: &Client| client.status == Status::Active && self.is_news(client);
        let slide = |client: &mut Client| {
            client.last_used_at = Some(now);
            if client.origin != Origin::Elsewhere {
                client.live_until(end);
            }
        };
        Ok(self.update(client, is_due, slide).await?.unwrap_or_else(|current| current))
    }

    /// Returns whether other registrations may have the id of this client.
    pub(super) fn is_shared(&self, client: &Client) -> bool {
        !client.variant.is_empty() || self.settings().shared_client_ids
    }

    /// Returns the records of one `client_id` that a token may be for: those with the redirect URI of the request, if it has
    /// one; otherwise the only one that may sign in, or all that got a token before. Those that got a token before come first,
    /// then the oldest.
    pub(crate) fn used_of<'a>(&self, records: &'a [Client], redirect_uri: Option<&str>) -> Vec<&'a Client> {
        let may_sign_in = |client: &&Client| self.status_of(client) == Status::Active;
        let active: Vec<&Client> = records.iter().filter(may_sign_in).collect();
        if active.len() <= 1 {
            return active;
        }
        let is_used = |client: &&Client| match redirect_uri {
            Some(uri) => client.has_redirect_uri(uri),
            None => client.last_used_at.is_some(),
        };
        let mut used: Vec<&Client> = active.into_iter().filter(is_used).collect();
        used.sort_by_key(|client| (client.last_used_at.is_none(), client.key));
        used
    }

    /// Ends deduplication for a client that the server does not know any more, so that an equal registration gets another client.
    /// For a response that proves it, such as 401 at the token endpoint for a public client that only sent its `client_id`;
    /// otherwise see [`server_disowned`](Self::server_disowned).
    pub(crate) async fn stop_deduplicating(&self, client: Client) -> Result<(), LedgerError> {
        self.server_knows(&client);
        let stop = |client: &mut Client| (client.dedup_key, client.response) = (None, None);
        if self.update(client, |client| client.dedup_key.is_some(), stop).await?.is_ok() {
            self.begin_epoch();
        }
        Ok(())
    }

    /// Records that the server rejected a plain request with a registered redirect URI. At the second time within an hour, without
    /// a token in between, the server has probably lost the client, and [deduplication ends](Self::stop_deduplicating).
    pub(crate) async fn server_disowned(&self, client: Client) -> Result<(), LedgerError> {
        if client.dedup_key.is_none() || !self.is_second_doubt(client.key) {
            return Ok(());
        }
        self.stop_deduplicating(client).await
    }

    /// Drops the doubt whether the server knows the client.
    pub(crate) fn server_knows(&self, client: &Client) {
        lock(&self.config.shared.doubts).remove(&client.key);
    }

    fn is_second_doubt(&self, key: ClientKey) -> bool {
        let now = self.now();
        let mut doubts = lock(&self.config.shared.doubts);
        let is_recent = |since: &i64| now.saturating_sub(*since) <= DOUBT_MS;
        if doubts.get(&key).is_some_and(is_recent) {
            return true;
        }
        if doubts.len() >= MAX_DOUBTS {
            doubts.retain(|_, since| is_recent(since));
        }
        if doubts.len() >= MAX_DOUBTS {
            doubts.clear();
        }
        doubts.insert(key, now);
        false
    }

    /// Returns whether the ledger has an unknown ID in a spelling that some server reads as the same: in another case, or in
    /// another form of a UUID or a number.
    pub(crate) async fn is_known_otherwise(&self, client_id: &str) -> Result<bool, LedgerError> {
        for spelling in spellings(client_id) {
            if (spelling != client_id && !self.records(&spelling).await?.is_empty())
                || self.ledger().has_in_other_case(&spelling).await?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Records a client that got a token from the server and that the ledger does not know, as [`Origin::Elsewhere`]: a gate that
    /// rejects unknown clients does not take it for a known one. The 10,000 that were used last are kept, outside of the quota.
    pub(crate) async fn note_elsewhere(&self, client_id: &str) -> Result<Client, LedgerError> {
        let now = self.now();
        let client = Client {
            status: Status::Active,
            origin: Origin::Elsewhere,
            client_id: Some(client_id.to_owned()),
            last_used_at: Some(now),
            ..Client::draft("{}", Fingerprints::default(), now)
        };
        match self.ledger().insert(&client, None).await? {
            Insertion::Inserted(client) => {
                // Bounded: anyone with a token of the server can cause these.
                self.ledger().trim_elsewhere(MAX_ELSEWHERE).await?;
                self.emit(&self.event(LifecycleAction::UnregisteredClient).of_client(Some(client_id)));
                Ok(client)
            }
            Insertion::Exists(known) => Ok(known),
            Insertion::Full => Ok(client),
        }
    }
}

fn reason_of_expiry(client: &Client) -> &'static str {
    match (client.status, client.last_used_at) {
        (Status::Pending, _) => "not approved in time",
        (_, None) => "never used",
        (_, Some(_)) => "not used for long",
    }
}

/// Returns the ID and its other readings: readers of UUIDs (Python, Go, PostgreSQL) ignore hyphens, braces and `urn:uuid:`;
/// readers of numbers ignore a sign, zeros at the start, underscores, and anything after the digits.
fn spellings(client_id: &str) -> Vec<String> {
    let mut spellings = vec![client_id.to_owned()];
    let bare = client_id.to_ascii_lowercase();
    let hex: String = bare.trim_start_matches("urn:").trim_start_matches("uuid:").replace(['{', '}', '-'], "");
    if let (32, Some([a, b, c, d, e])) = (hex.len(), parts(&hex)) {
        spellings.extend([format!("{a}-{b}-{c}-{d}-{e}"), hex.clone()]);
    }
    let digits: String = client_id.trim_start_matches('+').replace('_', "");
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    if let Some(number) = digits.get(..end).filter(|number| !number.is_empty() && number.len() <= 20) {
        let number = number.trim_start_matches('0');
        spellings.push(if number.is_empty() { "0".to_owned() } else { number.to_owned() });
    }
    spellings
}

fn parts(hex: &str) -> Option<[&str; 5]> {
    hex.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(())?;
    Some([hex.get(..8)?, hex.get(8..12)?, hex.get(12..16)?, hex.get(16..20)?, hex.get(20..)?])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::clients::ledger::{Ledger, MemoryLedger, StoredResponse};
    use crate::clock::{Clock, ManualClock};
    use crate::registration::Registration;

    const MINUTE: Duration = Duration::from_secs(60);

    fn registrar(ledger: &MemoryLedger) -> (Registrar, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(Duration::from_secs(1_767_225_600)));
        (Registrar::new(ledger.clone()).with_clock(clock.clone()), clock)
    }

    async fn insert(ledger: &MemoryLedger, id: &str, uri: &str, change: impl FnOnce(&mut Client)) -> Client {
        let json = format!(r#"{{"client_name":"App","redirect_uris":["{uri}"]}}"#);
        let fingerprints = Fingerprints::of(&Registration::parse(json.as_bytes()).unwrap(), false);
        let mut client = Client::draft(json, fingerprints, 0);
        (client.status, client.client_id) = (Status::Active, Some(id.into()));
        change(&mut client);
        let Insertion::Inserted(client) = ledger.insert(&client, None).await.unwrap() else { panic!("{id}") };
        client
    }

    fn deduplicated(client: &mut Client) {
        client.dedup_key = Some("key".into());
        client.response = Some(StoredResponse { status: 201, body: "{}".into() });
    }

    #[tokio::test]
    async fn maintenance_ends_when_the_clock_is_set_back() {
        let ledger = MemoryLedger::default();
        let (registrar, clock) = registrar(&ledger);
        let end = registrar.now();
        for id in ["a", "b"] {
            insert(&ledger, id, "https://a.example.com/cb", |client| client.expires_at = Some(end)).await;
        }
        clock.advance(MINUTE);
        let asked = Arc::new(AtomicU64::new(0));
        let (back, count) = (clock.monotonic().saturating_sub(2 * MINUTE), Arc::clone(&asked));
        let registrar = registrar.with_still_in_use(move |_| {
            clock.set(back);
            assert!(count.fetch_add(1, Ordering::SeqCst) < 9, "asked again and again");
            std::future::ready(Ok(true))
        });
        registrar.maintain_once().await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 2, "the second client has not expired any more");
        let second = ledger.find("b").await.unwrap().unwrap();
        assert_eq!((second.status, second.expires_at), (Status::Active, Some(end)));
    }

    #[tokio::test]
    async fn an_id_is_known_in_every_spelling_that_servers_read_as_it() {
        let ledger = MemoryLedger::default();
        let (registrar, _) = registrar(&ledger);
        let uuid = "9757fb95-ba45-4d1b-83e1-2b2443b4814f";
        insert(&ledger, uuid, "https://a.example.com/cb", |_| {}).await;
        insert(&ledger, "42", "https://b.example.com/cb", |_| {}).await;
        insert(&ledger, "AbC", "https://c.example.com/cb", |_| {}).await;
        for (id, known) in [
            ("9757FB95-BA45-4D1B-83E1-2B2443B4814F", true),
            ("9757fb95ba454d1b83e12b2443b4814f", true),
            ("{9757fb95-ba45-4d1b-83e1-2b2443b4814f}", true),
            ("urn:uuid:9757fb95-ba45-4d1b-83e1-2b2443b4814f", true),
            ("{9757FB95BA454D1B83E12B2443B4814F}", true),
            ("9757fb95-ba45-4d1b-83e1-2b2443b4814f-", true),
            ("9757fb95-ba45-4d1b-83e1-2b2443b4814e", false),
            ("042", true),
            ("+42", true),
            ("4_2", true),
            ("42abc", true),
            ("43", false),
            ("abc", true),
            ("abd", false),
            ("", false),
        ] {
            assert_eq!(registrar.is_known_otherwise(id).await.unwrap(), known, "{id}");
        }
    }

    #[tokio::test]
    async fn the_second_rejection_ends_deduplication() {
        type Between = fn(&Registrar, &ManualClock, &Client);
        let rows: [(&str, Between, bool); 4] = [
            ("at once", |_, _, _| {}, true),
            ("within the hour", |_, clock, _| clock.advance(59 * MINUTE), true),
            ("long after", |_, clock, _| clock.advance(61 * MINUTE), false),
            ("the server knew it in between", |registrar, _, client| registrar.server_knows(client), false),
        ];
        for (reason, between, ends) in rows {
            let ledger = MemoryLedger::default();
            let (registrar, clock) = registrar(&ledger);
            let client = insert(&ledger, "a", "https://a.example.com/cb", deduplicated).await;
            let other = insert(&ledger, "b", "https://b.example.com/cb", |_| {}).await;
            registrar.server_disowned(client.clone()).await.unwrap();
            registrar.server_disowned(other.clone()).await.unwrap();
            registrar.server_disowned(other).await.unwrap();
            assert!(ledger.find("a").await.unwrap().unwrap().dedup_key.is_some(), "{reason}: one is not enough");
            between(&registrar, &clock, &client);
            registrar.server_disowned(client).await.unwrap();
            let now = ledger.find("a").await.unwrap().unwrap();
            assert_eq!((now.dedup_key.is_none(), now.status), (ends, Status::Active), "{reason}");
        }
    }

    #[tokio::test]
    async fn a_token_says_that_the_server_knows_the_client() {
        let ledger = MemoryLedger::default();
        let (registrar, _) = registrar(&ledger);
        let client = insert(&ledger, "a", "https://a.example.com/cb", deduplicated).await;
        registrar.server_disowned(client.clone()).await.unwrap();
        let proven = registrar.record_use(client).await.unwrap();
        registrar.server_disowned(proven).await.unwrap();
        assert!(ledger.find("a").await.unwrap().unwrap().dedup_key.is_some());
    }

    #[tokio::test]
    async fn counts_of_rejected_answers_are_bounded() {
        let (registrar, _) = registrar(&MemoryLedger::default());
        for key in 0..3 * i64::try_from(MAX_DOUBTS).unwrap() {
            assert!(!registrar.is_second_doubt(ClientKey(key)));
        }
        assert!(lock(&registrar.config.shared.doubts).len() <= MAX_DOUBTS);
    }

    #[tokio::test]
    async fn a_record_is_used_by_its_own_sign_ins() {
        let ledger = MemoryLedger::default();
        let (registrar, _) = registrar(&ledger);
        let used = insert(&ledger, "a", "https://a.example.com/cb", |client| client.last_used_at = Some(1)).await;
        let fresh = insert(&ledger, "a", "https://b.example.com/cb", |client| client.variant = "b".into()).await;
        let pending = insert(&ledger, "a", "https://c.example.com/cb", |client| {
            client.variant = "c".into();
            client.status = Status::Pending;
        })
        .await;
        let all = registrar.records("a").await.unwrap();
        assert_eq!(all.len(), 3);
        let rows = [
            ("its code", Some("https://b.example.com/cb"), vec![&fresh]),
            ("a refresh", None, vec![&used]),
            ("a pending one's", Some("https://c.example.com/cb"), vec![]),
            ("nobody's", Some("https://d.example.com/cb"), vec![]),
        ];
        for (reason, uri, wanted) in rows {
            assert_eq!(registrar.used_of(&all, uri), wanted, "{reason}");
        }
        assert_eq!(registrar.used_of(&[fresh.clone(), pending], None), [&fresh], "the only one that may sign in");
        assert_eq!(registrar.records("a\0").await.unwrap(), []);
    }

    #[tokio::test]
    async fn of_one_redirect_uri_the_one_that_was_used_comes_first_then_the_oldest() {
        let ledger = MemoryLedger::default();
        let (registrar, _) = registrar(&ledger);
        let mut inserted = Vec::new();
        for (variant, last_used_at) in [("", None), ("b", None), ("c", Some(1)), ("d", None)] {
            let change = |client: &mut Client| (client.variant, client.last_used_at) = (variant.into(), last_used_at);
            inserted.push(insert(&ledger, "a", "https://a.example.com/cb", change).await);
        }
        let all = registrar.records("a").await.unwrap();
        let used = registrar.used_of(&all, Some("https://a.example.com/cb"));
        let order: Vec<&str> = used.iter().map(|client| client.variant.as_str()).collect();
        assert_eq!(order, ["c", "", "b", "d"]);
    }

    #[tokio::test]
    async fn an_adopted_client_inherits_nothing() {
        use crate::clients::registrar::Requester;
        use crate::rules::Caller;
        let update = br#"{"client_id":"old","client_name":"App","redirect_uris":["https://a.example.com/cb"]}"#;
        let update = Registration::parse(update).unwrap();
        let requester = Requester { caller: Caller::authorized("team"), ..Requester::default() };
        for (approval, status) in [(false, Status::Active), (true, Status::Pending)] {
            let ledger = MemoryLedger::default();
            let (mut registrar, _) = registrar(&ledger);
            if approval {
                let lifetimes = Some(Duration::from_secs(24 * 3600));
                registrar = registrar.map_settings(|lifecycle| lifecycle.approval = lifetimes).unwrap();
            }
            for seen_before in [false, true] {
                if seen_before {
                    registrar.note_elsewhere("old").await.unwrap();
                }
                let adopt = async || {
                    let adopted = registrar.adopt_managed("old", &update, &requester).await.unwrap();
                    adopted.unwrap_or_else(|known| known)
                };
                let client = adopt().await;
                assert_eq!(ledger.find("old").await.unwrap().as_ref(), Some(&client));
                assert_eq!((client.status, client.origin, client.last_used_at), (status, Origin::Registered, None));
                assert_eq!(client.admitted_by.as_deref(), Some("team"));
                assert!(
                    !client.registration.contains("client_id") && client.has_redirect_uri("https://a.example.com/cb")
                );
                assert_eq!(adopt().await, client, "once");
                ledger.remove(&client).await.unwrap();
            }
        }
    }
}
