//! The clients that are evicted at the quota.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

use super::{Client, ClientKey, Origin, Status};

/// A kind of live client that can be evicted. Clients that an operator approved or extended are of no kind, nor are
/// clients that were [registered elsewhere](Origin::Elsewhere), those of [documents](Origin::Document), and registrations that the
/// server has not answered yet.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use tower_dcr::clients::{Client, Evictable, Fingerprints, Ledger, MemoryLedger, Status};
///
/// let ledger = MemoryLedger::default();
/// let mut client = Client::draft("{}", Fingerprints::default(), 1000);
/// client.status = Status::Active;
/// ledger.insert(&client, None).await?;
/// assert_eq!(ledger.largest_source(Evictable::Unused, 1).await?.total, 1);
/// assert_eq!(ledger.largest_source(Evictable::Used, 1).await?.total, 0);
/// # Ok::<_, tower_dcr::clients::LedgerError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a ledger handles every one of them")]
pub enum Evictable {
    /// Never got a token.
    Unused,
    /// Never got a token, and is [vouched for](Client::is_vouched_for).
    VouchedUnused,
    /// Got a token.
    Used,
    /// Got a token, and is [vouched for](Client::is_vouched_for).
    VouchedUsed,
}

/// The largest network among the clients of one [`Evictable`] kind.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "made by ledgers, and complete")]
pub struct LargestSource {
    /// The number of clients of that kind, from any source.
    pub total: u64,
    /// The number of them from the source network that holds most. Clients without a source count as one network.
    pub clients: u64,
    /// The first clients of that network: the oldest, or the least recently used.
    pub first: Vec<Client>,
}

impl Evictable {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Unused, Self::VouchedUnused, Self::Used, Self::VouchedUsed];

    /// Returns the kind of `client`; `None` if it can't be evicted.
    pub(super) fn of(client: &Client) -> Option<Self> {
        let may_go = matches!(client.status, Status::Pending | Status::Active)
            && client.reviewed_at.is_none()
            && client.origin == Origin::Registered;
        may_go.then(|| match (client.last_used_at.is_some(), client.is_vouched_for()) {
            (false, false) => Self::Unused,
            (false, true) => Self::VouchedUnused,
            (true, false) => Self::Used,
            (true, true) => Self::VouchedUsed,
        })
    }
}

impl LargestSource {
    /// Finds the largest network among the `clients` of that kind.
    pub(crate) fn among<'a>(clients: impl IntoIterator<Item = &'a Client>, of: Evictable, limit: u32) -> Self {
        let mut sources: HashMap<Option<&str>, Vec<&Client>> = HashMap::new();
        for client in clients.into_iter().filter(|client| Evictable::of(client) == Some(of)) {
            sources.entry(network(client)).or_default().push(client);
        }
        let total = sources.values().map(|clients| clients.len() as u64).sum();
        let order = |client: &&Client| (client.alive_since(), client.key);
        let largest = sources.into_values().min_by_key(|clients| {
            // Of networks that hold as many, the one with the oldest client.
            (Reverse(clients.len()), clients.iter().map(order).min())
        });
        let mut first = largest.unwrap_or_default();
        first.sort_by_key(order);
        let clients = first.len() as u64;
        first.truncate(limit as usize);
        Self { total, clients, first: first.into_iter().cloned().collect() }
    }
}

/// The live clients of documents that no operator reviewed, as they make room: by use, by what vouches for them, and by site.
#[derive(Default)]
pub(super) struct DocumentSites(BTreeMap<(bool, bool), Sites>);

/// The clients of each site, in the order of their last use.
type Sites = HashMap<Option<String>, BTreeSet<(i64, ClientKey)>>;

impl DocumentSites {
    pub(super) fn insert(&mut self, client: &Client) {
        if let Some((kind, site)) = Self::place(client) {
            let clients = self.0.entry(kind).or_default().entry(site).or_default();
            clients.insert((client.alive_since(), client.key));
        }
    }

    pub(super) fn remove(&mut self, client: &Client) {
        if let Some((kind, site)) = Self::place(client)
            && let Some(sites) = self.0.get_mut(&kind)
            && let Some(clients) = sites.get_mut(&site)
        {
            clients.remove(&(client.alive_since(), client.key));
            if clients.is_empty() {
                sites.remove(&site);
            }
        }
    }

    /// Returns the kind and the site of a client that may make room.
    fn place(client: &Client) -> Option<((bool, bool), Option<String>)> {
        let may_go = client.is_live_document() && client.reviewed_at.is_none();
        let kind = (client.last_used_at.is_some(), client.is_vouched_for());
        may_go.then(|| (kind, client.document_site().map(str::to_owned)))
    }

    /// Returns the first `limit` clients that make room. The site that has most clients of a kind loses one after the other, until
    /// another site has as many: URLs cost a publisher nothing, and a domain does.
    pub(super) fn first(&self, limit: usize) -> Vec<ClientKey> {
        let mut first = Vec::new();
        for sites in self.0.values() {
            let mut sites: Vec<_> = sites.values().map(BTreeSet::iter).collect();
            let number = sites.len();
            let mut next = |index: usize| {
                let clients = sites.get_mut(index)?;
                Some((clients.len(), Reverse(*clients.next()?), index))
            };
            let mut largest: BinaryHeap<_> = (0..number).filter_map(&mut next).collect();
            while first.len() < limit
                && let Some((_, Reverse((_, key)), index)) = largest.pop()
            {
                first.push(key);
                largest.extend(next(index));
            }
        }
        first
    }
}

/// Returns the network that a client is counted by.
pub(super) fn network(client: &Client) -> Option<&str> {
    client.fingerprints.source.as_ref().map(|source| source.wide.as_str())
}
