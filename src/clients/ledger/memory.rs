//! [`MemoryLedger`]: a ledger that ends with the process.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem::discriminant;
use std::sync::{Arc, Mutex, MutexGuard};

use super::eviction::{DocumentSites, network};
use super::groups::Groups;
use super::{
    Actor, Block, Blocks, Client, ClientKey, Evictable, Filter, Fingerprint, Group, Grouping, Insertion, LargestSource,
    Ledger, LedgerError, Origin, PushedRequests, Replacement, Status, TokenUses, Work,
};
use crate::sync::lock;

/// A [`Ledger`] in memory, of bounded size, for tests and for one node that may lose its clients. Clones share one ledger.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use std::num::NonZeroUsize;
/// use tower_dcr::clients::{Client, Fingerprints, Insertion, Ledger, MemoryLedger};
///
/// let ledger = MemoryLedger::new(NonZeroUsize::MIN);
/// let draft = Client::draft("{}", Fingerprints::default(), 0);
/// ledger.insert(&draft, None).await?;
/// assert_eq!(ledger.insert(&draft, None).await?, Insertion::Full);
/// # Ok::<_, tower_dcr::clients::LedgerError>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct MemoryLedger {
    max_records: usize,
    state: Arc<Mutex<State>>,
}

/// The records and their indices. Work is queued by its time, so that none of it needs a scan.
#[derive(Default)]
struct State {
    last: i64,
    clients: BTreeMap<i64, Arc<Client>>,
    /// By `client_id`, and then by variant.
    by_client_id: HashMap<String, BTreeMap<String, Arc<Client>>>,
    /// The keys of `by_client_id`, each after itself in lower case.
    spellings: BTreeSet<(String, String)>,
    by_dedup_key: HashMap<String, Arc<Client>>,
    /// For each kind of work: time and record.
    queues: [BTreeSet<(i64, i64)>; 5],
    /// Records that may be removed: end and record.
    forgettable: BTreeSet<(i64, i64)>,
    /// Spent records: end and record.
    spent: BTreeSet<(i64, i64)>,
    /// The clients that can be evicted, by kind.
    evictable: HashMap<Evictable, Networks>,
    /// Live clients that were registered elsewhere: last use and record.
    elsewhere: BTreeSet<(i64, i64)>,
    /// The clients of documents that may make room.
    documents: DocumentSites,
    /// The number of all live clients of documents.
    live_documents: u64,
    live: u64,
    /// The number of records of each status, for the quota and the admin page.
    statuses: BTreeMap<Status, u64>,
    blocks: HashMap<Fingerprint, Block>,
    token_uses: HashMap<String, u64>,
    /// Pushed requests: client and expiry.
    pushed: HashMap<String, (String, i64)>,
    /// Expiry and request.
    pushed_expiry: BTreeSet<(i64, String)>,
}

/// The clients of each network: time and record.
type Networks = HashMap<Option<String>, BTreeSet<(i64, i64)>>;

/// Every kind of work, at the end of time, so that anything that will ever be due is.
const WORK: [Work; 5] = [
    Work::Expire(i64::MAX),
    Work::Reconcile(i64::MAX),
    Work::Deprovision(i64::MAX),
    Work::Purge(i64::MAX),
    Work::ShortenSource(i64::MAX),
];

impl MemoryLedger {
    /// Creates a ledger of at most `max_records` records. At that number, records of clients that failed, expired or deleted
    /// themselves are removed, and of clients that were registered elsewhere, the oldest first. Clients that were
    /// revoked, other than by deleting themselves, are never removed. If none can be removed, an insertion returns [`Insertion::Full`].
    #[must_use]
    pub fn new(max_records: std::num::NonZeroUsize) -> Self {
        Self { max_records: max_records.get(), state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Default for MemoryLedger {
    /// Creates a ledger of at most 100,000 records.
    fn default() -> Self {
        Self { max_records: 100_000, state: Arc::default() }
    }
}

impl State {
    /// Returns the records that have the `dedup_key`, or the `client_id` and variant.
    fn holders(&self, client: &Client) -> impl Iterator<Item = &Arc<Client>> {
        let by_key = client.dedup_key.as_ref().and_then(|key| self.by_dedup_key.get(key));
        let by_id = client.client_id.as_ref().and_then(|id| self.by_client_id.get(id)?.get(&client.variant));
        by_key.into_iter().chain(by_id)
    }

    fn put(&mut self, client: Client) {
        let key = client.key.0;
        let client = Arc::new(client);
        if let Some(id) = &client.client_id {
            let variants = self.by_client_id.entry(id.clone()).or_default();
            variants.insert(client.variant.clone(), Arc::clone(&client));
            self.spellings.insert((id.to_ascii_lowercase(), id.clone()));
        }
        if let Some(dedup_key) = &client.dedup_key {
            self.by_dedup_key.insert(dedup_key.clone(), Arc::clone(&client));
        }
        for (queue, since) in self.queues_of(&client) {
            queue.insert((since, key));
        }
        if let Some(kind) = Evictable::of(&client) {
            let network = network(&client).map(str::to_owned);
            self.evictable.entry(kind).or_default().entry(network).or_default().insert((client.alive_since(), key));
        }
        self.live_documents += u64::from(client.is_live_document());
        self.documents.insert(&client);
        self.live += u64::from(client.counts_against_quota());
        *self.statuses.entry(client.status).or_default() += 1;
        self.clients.insert(key, client);
    }

    fn take(&mut self, key: i64) -> Option<Arc<Client>> {
        let client = self.clients.remove(&key)?;
        if let Some(id) = &client.client_id
            && let Some(variants) = self.by_client_id.get_mut(id)
        {
            variants.remove(&client.variant);
            if variants.is_empty() {
                self.by_client_id.remove(id);
                self.spellings.remove(&(id.to_ascii_lowercase(), id.clone()));
            }
        }
        if let Some(dedup_key) = &client.dedup_key {
            self.by_dedup_key.remove(dedup_key);
        }
        for (queue, since) in self.queues_of(&client) {
            queue.remove(&(since, key));
        }
        if let Some(networks) = Evictable::of(&client).and_then(|kind| self.evictable.get_mut(&kind)) {
            let network = network(&client).map(str::to_owned);
            if let Some(clients) = networks.get_mut(&network) {
                clients.remove(&(client.alive_since(), key));
                if clients.is_empty() {
                    networks.remove(&network);
                }
            }
        }
        self.live_documents -= u64::from(client.is_live_document());
        self.documents.remove(&client);
        self.live -= u64::from(client.counts_against_quota());
        if let Some(records) = self.statuses.get_mut(&client.status) {
            *records -= 1;
        }
        Some(client)
    }

    /// Returns the queues that the record belongs to, each with the record's time in it.
    fn queues_of(&mut self, client: &Client) -> impl Iterator<Item = (&mut BTreeSet<(i64, i64)>, i64)> {
        let others = [
            (&mut self.forgettable, forgettable_since(client)),
            (&mut self.elsewhere, elsewhere_since(client)),
            (&mut self.spent, client.ended_at.filter(|_| client.is_spent())),
        ];
        let due = WORK.map(|work| work.due_since(client));
        self.queues.iter_mut().zip(due).chain(others).filter_map(|(queue, since)| Some((queue, since?)))
    }

    /// Removes the first record of a queue while `is_due` says so of its time. Returns the number of removed records.
    fn trim(&mut self, queue: impl Fn(&Self) -> &BTreeSet<(i64, i64)>, is_due: impl Fn(&Self, i64) -> bool) -> u64 {
        let mut trimmed = 0;
        while let Some((since, key)) = queue(self).first().copied()
            && is_due(self, since)
        {
            self.take(key);
            trimmed += 1;
        }
        trimmed
    }

    fn forget_pushed(&mut self, request: &str) {
        if let Some((_, expires_at)) = self.pushed.remove(request) {
            self.pushed_expiry.remove(&(expires_at, request.to_owned()));
        }
    }
}

/// Returns the time since which the record may be removed. The server may still know a client that was revoked: without its
/// record, the gate would take it for one that was registered elsewhere.
fn forgettable_since(client: &Client) -> Option<i64> {
    let may_go = match client.status {
        Status::Expired | Status::Failed => true,
        Status::Revoked => client.ended_by == Some(Actor::Client),
        Status::Registering | Status::Pending | Status::Active => false,
    };
    client.ended_at.filter(|_| may_go).or_else(|| elsewhere_since(client))
}

/// Returns the last use of a live client that was registered elsewhere.
fn elsewhere_since(client: &Client) -> Option<i64> {
    (client.origin == Origin::Elsewhere && client.status.is_live()).then(|| client.alive_since())
}

impl Ledger for MemoryLedger {
    async fn insert(&self, client: &Client, max_live: Option<u64>) -> Result<Insertion, LedgerError> {
        let mut state = self.state();
        if let Some(holder) = state.holders(client).next() {
            return Ok(Insertion::Exists(Client::clone(holder)));
        }
        state.trim(|state| &state.forgettable, |state, _| state.clients.len() >= self.max_records);
        if state.clients.len() >= self.max_records
            || (client.counts_against_quota() && max_live.is_some_and(|max| state.live >= max))
        {
            return Ok(Insertion::Full);
        }
        state.last += 1;
        let inserted = Client { key: ClientKey(state.last), version: 1, ..client.clone() };
        state.put(inserted.clone());
        Ok(Insertion::Inserted(inserted))
    }

    async fn replace(&self, client: &Client) -> Result<Replacement, LedgerError> {
        let mut state = self.state();
        if state.clients.get(&client.key.0).is_none_or(|known| known.version != client.version) {
            return Ok(Replacement::Outdated);
        }
        if state.holders(client).any(|known| known.key != client.key) {
            return Ok(Replacement::Taken);
        }
        state.take(client.key.0);
        state.put(Client { version: client.version + 1, ..client.clone() });
        Ok(Replacement::Replaced)
    }

    async fn remove(&self, client: &Client) -> Result<bool, LedgerError> {
        let mut state = self.state();
        let current = state.clients.get(&client.key.0).is_some_and(|known| known.version == client.version);
        Ok(current && state.take(client.key.0).is_some())
    }

    async fn get(&self, key: ClientKey) -> Result<Option<Client>, LedgerError> {
        let found = self.state().clients.get(&key.0).cloned();
        Ok(found.map(Arc::unwrap_or_clone))
    }

    async fn find(&self, client_id: &str) -> Result<Option<Client>, LedgerError> {
        self.find_variant(client_id, "").await
    }

    async fn find_all(&self, client_id: &str, limit: u32) -> Result<Vec<Client>, LedgerError> {
        let found = self.state().by_client_id.get(client_id).cloned().unwrap_or_default();
        let mut found: Vec<_> = found.into_values().collect();
        found.sort_by_cached_key(|client| client.precedence());
        found.truncate(limit as usize);
        Ok(found.into_iter().map(Arc::unwrap_or_clone).collect())
    }

    async fn find_variant(&self, client_id: &str, variant: &str) -> Result<Option<Client>, LedgerError> {
        // Copied outside of the lock.
        let found = self.state().by_client_id.get(client_id).and_then(|variants| variants.get(variant)).cloned();
        Ok(found.map(Arc::unwrap_or_clone))
    }

    async fn has_in_other_case(&self, client_id: &str) -> Result<bool, LedgerError> {
        let (state, first) = (self.state(), (client_id.to_ascii_lowercase(), String::new()));
        let mut spellings = state.spellings.range(&first..).take_while(|(folded, _)| *folded == first.0);
        Ok(spellings.any(|(_, known)| known != client_id))
    }

    async fn find_by_dedup_key(&self, dedup_key: &str) -> Result<Option<Client>, LedgerError> {
        let found = self.state().by_dedup_key.get(dedup_key).cloned();
        Ok(found.map(Arc::unwrap_or_clone))
    }

    async fn page(&self, filter: &Filter, before: Option<ClientKey>, limit: u32) -> Result<Vec<Client>, LedgerError> {
        let state = self.state();
        let older = state.clients.range(..before.map_or(i64::MAX, |key| key.0));
        let passing = older.rev().map(|(_, client)| client).filter(|client| filter.matches(client));
        Ok(passing.take(limit as usize).map(|client| Client::clone(client)).collect())
    }

    async fn due(&self, work: Work, limit: u32) -> Result<Vec<Client>, LedgerError> {
        let state = self.state();
        let of_work = |(kind, _): &(&Work, _)| discriminant(*kind) == discriminant(&work);
        let queue = WORK.iter().zip(&state.queues).find(of_work).into_iter().flat_map(|(_, queue)| queue);
        let queued = queue.filter_map(|(_, key)| state.clients.get(key));
        let due = queued.take_while(|client| work.due_since(client).is_some());
        Ok(due.take(limit as usize).map(|client| Client::clone(client)).collect())
    }

    async fn counts(&self) -> Result<Vec<(Status, u64)>, LedgerError> {
        let state = self.state();
        Ok(state
            .statuses
            .iter()
            .filter(|(_, records)| **records > 0)
            .map(|(status, records)| (*status, *records))
            .collect())
    }

    async fn timeline(&self, since: i64, step: i64) -> Result<Vec<(i64, u64)>, LedgerError> {
        let (mut steps, step) = (BTreeMap::new(), step.max(1));
        // Numbers are copied under the lock, and no record.
        let made: Vec<i64> = self.state().clients.values().map(|client| client.created_at).collect();
        for created_at in made.into_iter().filter(|created_at| *created_at >= since) {
            *steps.entry(created_at.div_euclid(step) * step).or_default() += 1;
        }
        Ok(steps.into_iter().collect())
    }

    async fn groups(&self, by: Grouping, limit: u32) -> Result<Vec<Group>, LedgerError> {
        // Requests wait for the lock: the records are grouped outside of it, and none is copied.
        let clients: Vec<Arc<Client>> = self.state().clients.values().cloned().collect();
        let mut groups = Groups::default();
        clients.iter().filter(|client| client.status.is_live()).for_each(|client| groups.add_client(by, client));
        Ok(groups.largest(by, limit))
    }

    async fn largest_source(&self, of: Evictable, limit: u32) -> Result<LargestSource, LedgerError> {
        let state = self.state();
        let networks = || state.evictable.get(&of).into_iter().flat_map(HashMap::values);
        let Some(largest) = networks().min_by_key(|clients| (Reverse(clients.len()), clients.first().copied())) else {
            return Ok(LargestSource::default());
        };
        let first = largest.iter().filter_map(|(_, key)| state.clients.get(key)).take(limit as usize);
        Ok(LargestSource {
            total: networks().map(|clients| clients.len() as u64).sum(),
            clients: largest.len() as u64,
            first: first.map(|client| Client::clone(client)).collect(),
        })
    }

    async fn trim_spent(&self, before: i64, keep: u64) -> Result<u64, LedgerError> {
        let is_due = |state: &State, since| since <= before || state.spent.len() as u64 > keep;
        Ok(self.state().trim(|state| &state.spent, is_due))
    }

    async fn surplus_documents(&self, keep: u64, limit: u32) -> Result<Vec<Client>, LedgerError> {
        let state = self.state();
        let surplus = usize::try_from(state.live_documents.saturating_sub(keep)).unwrap_or(usize::MAX);
        let first = state.documents.first(surplus.min(limit as usize));
        let first = first.iter().filter_map(|key| state.clients.get(&key.0));
        Ok(first.map(|client| Client::clone(client)).collect())
    }

    async fn trim_elsewhere(&self, keep: u64) -> Result<u64, LedgerError> {
        Ok(self.state().trim(|state| &state.elsewhere, |state, _| state.elsewhere.len() as u64 > keep))
    }
}

impl Blocks for MemoryLedger {
    async fn block(&self, block: &Block) -> Result<bool, LedgerError> {
        let mut state = self.state();
        let is_new = !state.blocks.contains_key(&block.fingerprint);
        state.blocks.entry(block.fingerprint.clone()).or_insert_with(|| block.clone());
        Ok(is_new)
    }

    async fn unblock(&self, fingerprint: &Fingerprint) -> Result<bool, LedgerError> {
        Ok(self.state().blocks.remove(fingerprint).is_some())
    }

    async fn find_block(&self, fingerprints: &[Fingerprint]) -> Result<Option<Block>, LedgerError> {
        let state = self.state();
        Ok(fingerprints.iter().find_map(|fingerprint| state.blocks.get(fingerprint)).cloned())
    }

    async fn blocks(&self, before: Option<i64>, limit: u32) -> Result<Vec<Block>, LedgerError> {
        let mut blocks: Vec<Block> = self.state().blocks.values().cloned().collect();
        blocks.retain(|block| before.is_none_or(|time| block.created_at < time));
        blocks.sort_by(|one, other| {
            other.created_at.cmp(&one.created_at).then_with(|| one.fingerprint.cmp(&other.fingerprint))
        });
        blocks.truncate(limit as usize);
        Ok(blocks)
    }
}

impl TokenUses for MemoryLedger {
    async fn count_use(&self, token: &str, limit: u64) -> Result<bool, LedgerError> {
        let mut state = self.state();
        let uses = state.token_uses.entry(token.to_owned()).or_default();
        let is_left = *uses < limit;
        *uses += u64::from(is_left);
        Ok(is_left)
    }

    async fn return_use(&self, token: &str) -> Result<(), LedgerError> {
        if let Some(uses) = self.state().token_uses.get_mut(token) {
            *uses = uses.saturating_sub(1);
        }
        Ok(())
    }
}

impl PushedRequests for MemoryLedger {
    async fn put_pushed(&self, request: &str, client_id: &str, expires_at: i64) -> Result<(), LedgerError> {
        let mut state = self.state();
        state.forget_pushed(request);
        while state.pushed.len() >= self.max_records
            && let Some((_, first)) = state.pushed_expiry.pop_first()
        {
            state.pushed.remove(&first);
        }
        state.pushed.insert(request.to_owned(), (client_id.to_owned(), expires_at));
        state.pushed_expiry.insert((expires_at, request.to_owned()));
        Ok(())
    }

    async fn find_pushed(&self, request: &str, now: i64) -> Result<Option<String>, LedgerError> {
        let state = self.state();
        let pushed = state.pushed.get(request).filter(|(_, expires_at)| *expires_at > now);
        Ok(pushed.map(|(client_id, _)| client_id.clone()))
    }

    async fn purge_pushed(&self, now: i64) -> Result<u64, LedgerError> {
        let mut state = self.state();
        let mut purged = 0;
        while state.pushed_expiry.first().is_some_and(|(expires_at, _)| *expires_at <= now)
            && let Some((_, request)) = state.pushed_expiry.pop_first()
        {
            state.pushed.remove(&request);
            purged += 1;
        }
        Ok(purged)
    }
}

crate::text::debug_fields!(MemoryLedger { max_records });
