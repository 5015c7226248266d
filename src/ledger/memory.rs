//! A ledger that forgets when the process ends.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use super::{
    Actor, Block, Client, ClientKey, Filter, Fingerprint, Group, Grouping, Insertion, Ledger, LedgerError, Origin,
    Replacement, Status, Work,
};
use crate::sync::lock;

/// A [`Ledger`] in memory, of bounded size, for tests and for one node that may forget its clients. Clones are the
/// same ledger.
///
/// ```
/// use std::num::NonZeroUsize;
/// use tower_dcr::ledger::MemoryLedger;
///
/// let ledger = MemoryLedger::new(NonZeroUsize::new(10_000).unwrap());
/// # let _ = ledger;
/// ```
#[derive(Clone)]
pub struct MemoryLedger {
    max_records: usize,
    state: Arc<Mutex<State>>,
}

/// Besides the records, where they are found. Work is queued by when it is due, so that none of it needs a scan.
#[derive(Default)]
struct State {
    last: i64,
    clients: BTreeMap<i64, Arc<Client>>,
    /// By `client_id`, and then by variant.
    by_client_id: HashMap<String, BTreeMap<String, Arc<Client>>>,
    /// The keys of `by_client_id`, by themselves in lower case.
    spellings: HashMap<String, BTreeSet<String>>,
    by_repeat_key: HashMap<String, Arc<Client>>,
    /// For each kind of work: when, and on which record.
    queues: [BTreeSet<(i64, i64)>; 5],
    /// What may be forgotten: when it ended, and which record.
    forgettable: BTreeSet<(i64, i64)>,
    /// Live clients that were registered elsewhere: since when they live, and which record.
    elsewhere: BTreeSet<(i64, i64)>,
    live: u64,
    blocks: HashMap<Fingerprint, Block>,
    token_uses: HashMap<String, u64>,
    /// Pushed requests: which client, and until when.
    pushed: HashMap<String, (String, i64)>,
    /// Until when, and which request.
    pushed_expiry: BTreeSet<(i64, String)>,
}

/// Every kind of work, at the end of time, so that anything that will ever be due is.
const WORK: [Work; 5] = [
    Work::Expire(i64::MAX),
    Work::Reconcile(i64::MAX),
    Work::Deprovision(i64::MAX),
    Work::Purge(i64::MAX),
    Work::Evict(i64::MAX),
];

impl MemoryLedger {
    /// A ledger of at most `max_records` records. Those that failed, expired or deleted themselves make room, and clients
    /// that were registered elsewhere, the first that ended or was last used first; what somebody else revoked is never forgotten. If nothing may go, it says that it is full, as
    /// at a quota.
    #[must_use]
    pub fn new(max_records: std::num::NonZeroUsize) -> Self {
        Self { max_records: max_records.get(), state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Default for MemoryLedger {
    /// Of 100,000 records.
    fn default() -> Self {
        Self { max_records: 100_000, state: Arc::default() }
    }
}

impl State {
    fn holder(&self, client: &Client) -> Option<&Arc<Client>> {
        let by_repeat = client.repeat_key.as_ref().and_then(|key| self.by_repeat_key.get(key));
        by_repeat.or_else(|| self.namesake(client))
    }

    /// The record that has the same `client_id` and variant.
    fn namesake(&self, client: &Client) -> Option<&Arc<Client>> {
        self.by_client_id.get(client.client_id.as_ref()?)?.get(&client.variant)
    }

    /// Whether another record has what only one may have.
    fn is_taken(&self, client: &Client) -> bool {
        let other = |holder: Option<&Arc<Client>>| holder.is_some_and(|known| known.key != client.key);
        other(client.repeat_key.as_ref().and_then(|key| self.by_repeat_key.get(key))) || other(self.namesake(client))
    }

    fn put(&mut self, client: Client) {
        let key = client.key.0;
        let client = Arc::new(client);
        if let Some(id) = &client.client_id {
            let variants = self.by_client_id.entry(id.clone()).or_default();
            variants.insert(client.variant.clone(), Arc::clone(&client));
            self.spellings.entry(id.to_ascii_lowercase()).or_default().insert(id.clone());
        }
        if let Some(repeat_key) = &client.repeat_key {
            self.by_repeat_key.insert(repeat_key.clone(), Arc::clone(&client));
        }
        for (queue, work) in self.queues.iter_mut().zip(WORK) {
            queue.extend(work.due_since(&client).map(|since| (since, key)));
        }
        self.forgettable.extend(forgettable_since(&client).map(|since| (since, key)));
        self.elsewhere.extend(elsewhere_since(&client).map(|since| (since, key)));
        self.live += u64::from(client.counts_against_quota());
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
                let folded = id.to_ascii_lowercase();
                if let Some(spellings) = self.spellings.get_mut(&folded) {
                    spellings.remove(id);
                    if spellings.is_empty() {
                        self.spellings.remove(&folded);
                    }
                }
            }
        }
        if let Some(repeat_key) = &client.repeat_key {
            self.by_repeat_key.remove(repeat_key);
        }
        for (queue, work) in self.queues.iter_mut().zip(WORK) {
            if let Some(since) = work.due_since(&client) {
                queue.remove(&(since, key));
            }
        }
        if let Some(since) = forgettable_since(&client) {
            self.forgettable.remove(&(since, key));
        }
        if let Some(since) = elsewhere_since(&client) {
            self.elsewhere.remove(&(since, key));
        }
        self.live -= u64::from(client.counts_against_quota());
        Some(client)
    }

    /// Drops what ended first, until there is room for one more.
    fn make_room(&mut self, max_records: usize) {
        while self.clients.len() >= max_records
            && let Some((_, first)) = self.forgettable.first().copied()
        {
            self.take(first);
        }
    }

    fn forget_pushed(&mut self, request: &str) {
        if let Some((_, expires_at)) = self.pushed.remove(request) {
            self.pushed_expiry.remove(&(expires_at, request.to_owned()));
        }
    }

    fn queue(&self, work: Work) -> &BTreeSet<(i64, i64)> {
        let [expire, reconcile, deprovision, purge, evict] = &self.queues;
        match work {
            Work::Expire(_) => expire,
            Work::Reconcile(_) => reconcile,
            Work::Deprovision(_) => deprovision,
            Work::Purge(_) => purge,
            Work::Evict(_) => evict,
        }
    }

    fn live(&self) -> impl Iterator<Item = &Client> {
        self.clients.values().map(|client| &**client).filter(|client| client.status.is_live())
    }
}

/// Since when the record may be forgotten. A server that was not told may still know a client that was revoked: without
/// its record, the gate would take it for one that was registered elsewhere.
fn forgettable_since(client: &Client) -> Option<i64> {
    let may_go = match client.status {
        Status::Expired | Status::Failed => true,
        Status::Revoked => client.ended_by == Some(Actor::Client),
        Status::Registering | Status::Pending | Status::Active => false,
    };
    client.ended_at.filter(|_| may_go).or_else(|| elsewhere_since(client))
}

/// Since when a live client that was registered elsewhere is in use.
fn elsewhere_since(client: &Client) -> Option<i64> {
    (client.origin == Origin::Elsewhere && client.status.is_live()).then(|| client.alive_since())
}

impl Ledger for MemoryLedger {
    async fn insert(&self, client: &Client, max_live: Option<u64>) -> Result<Insertion, LedgerError> {
        let mut state = self.state();
        if let Some(holder) = state.holder(client) {
            return Ok(Insertion::Exists(Client::clone(holder)));
        }
        state.make_room(self.max_records);
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
        if state.is_taken(client) {
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
        // Copied outside of the lock.
        let found = self.state().by_client_id.get(client_id).and_then(|variants| variants.get("")).cloned();
        Ok(found.map(Arc::unwrap_or_clone))
    }

    async fn find_all(&self, client_id: &str, limit: u32) -> Result<Vec<Client>, LedgerError> {
        let found = self.state().by_client_id.get(client_id).cloned().unwrap_or_default();
        let mut found: Vec<_> = found.into_values().collect();
        found.sort_by_cached_key(|client| client.precedence());
        found.truncate(limit as usize);
        Ok(found.into_iter().map(Arc::unwrap_or_clone).collect())
    }

    async fn find_variant(&self, client_id: &str, variant: &str) -> Result<Option<Client>, LedgerError> {
        let found = self.state().by_client_id.get(client_id).and_then(|variants| variants.get(variant)).cloned();
        Ok(found.map(Arc::unwrap_or_clone))
    }

    async fn has_in_other_case(&self, client_id: &str) -> Result<bool, LedgerError> {
        let state = self.state();
        let spellings = state.spellings.get(&client_id.to_ascii_lowercase());
        Ok(spellings.is_some_and(|spellings| spellings.iter().any(|known| known != client_id)))
    }

    async fn find_repeat(&self, repeat_key: &str) -> Result<Option<Client>, LedgerError> {
        let found = self.state().by_repeat_key.get(repeat_key).cloned();
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
        let queued = state.queue(work).iter().filter_map(|(_, key)| state.clients.get(key));
        let due = queued.take_while(|client| work.due_since(client).is_some());
        Ok(due.take(limit as usize).map(|client| Client::clone(client)).collect())
    }

    async fn counts(&self) -> Result<Vec<(Status, u64)>, LedgerError> {
        let mut counts = BTreeMap::new();
        self.state().clients.values().for_each(|client| *counts.entry(client.status).or_default() += 1);
        Ok(counts.into_iter().collect())
    }

    async fn timeline(&self, since: i64, step: i64) -> Result<Vec<(i64, u64)>, LedgerError> {
        let mut steps = BTreeMap::new();
        for client in self.state().clients.values().filter(|client| client.created_at >= since) {
            *steps.entry(client.created_at.div_euclid(step.max(1)) * step.max(1)).or_default() += 1;
        }
        Ok(steps.into_iter().collect())
    }

    async fn groups(&self, by: Grouping, limit: u32) -> Result<Vec<Group>, LedgerError> {
        let mut found: HashMap<String, (Option<String>, u64, BTreeSet<String>)> = HashMap::new();
        let mut add = |key: &str, client: &Client, value: Option<String>| {
            let name = &client.fingerprints.client_name;
            let (example, clients, values) = found.entry(key.to_owned()).or_default();
            if example.is_none() || name.as_ref().is_some_and(|name| Some(name) < example.as_ref()) {
                example.clone_from(name);
            }
            *clients += 1;
            values.extend(value);
        };
        let state = self.state();
        for client in state.live() {
            let prints = &client.fingerprints;
            match by {
                Grouping::Duplicates => add(&prints.digest, client, None),
                Grouping::Families => add(&prints.family, client, None),
                Grouping::NamesAcrossHosts if !prints.name.is_empty() => {
                    add(&prints.name, client, Some(prints.redirect_hosts.join(" ")));
                }
                Grouping::NamesAcrossHosts => {}
                Grouping::HostsAcrossNames => {
                    let hosts = prints.redirect_hosts.iter().filter(|host| *host != "loopback");
                    hosts.for_each(|host| add(host, client, Some(prints.name.clone())));
                }
            }
        }
        let by_value = matches!(by, Grouping::NamesAcrossHosts | Grouping::HostsAcrossNames);
        let mut groups: Vec<Group> = found
            .into_iter()
            .filter(|(_, (_, clients, values))| if by_value { values.len() > 1 } else { *clients > 1 })
            .map(|(key, (name, clients, values))| {
                Group::new(key, name, clients, values.into_iter().take(Group::MAX_VALUES).collect())
            })
            .collect();
        groups.sort_by(|one, other| other.clients.cmp(&one.clients).then_with(|| one.key.cmp(&other.key)));
        groups.truncate(limit as usize);
        Ok(groups)
    }

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

    async fn count_use(&self, token: &str, limit: u64) -> Result<bool, LedgerError> {
        let mut state = self.state();
        let uses = state.token_uses.get(token).copied().unwrap_or_default();
        if uses >= limit {
            return Ok(false);
        }
        state.token_uses.insert(token.to_owned(), uses + 1);
        Ok(true)
    }

    async fn return_use(&self, token: &str) -> Result<(), LedgerError> {
        if let Some(uses) = self.state().token_uses.get_mut(token) {
            *uses = uses.saturating_sub(1);
        }
        Ok(())
    }

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
        Ok(state
            .pushed
            .get(request)
            .filter(|(_, expires_at)| *expires_at > now)
            .map(|(client_id, _)| client_id.clone()))
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

    async fn trim_elsewhere(&self, keep: u64) -> Result<u64, LedgerError> {
        let mut state = self.state();
        let mut trimmed = 0;
        while state.elsewhere.len() as u64 > keep
            && let Some((_, key)) = state.elsewhere.first().copied()
        {
            state.take(key);
            trimmed += 1;
        }
        Ok(trimmed)
    }
}

impl fmt::Debug for MemoryLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLedger").field("max_records", &self.max_records).finish_non_exhaustive()
    }
}
