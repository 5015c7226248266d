//! The ledger in memory, and the default methods of [`Ledger`], conform.

use tower_dcr::clients::{
    Block, Blocks, Client, ClientKey, Filter, Fingerprint, Insertion, Ledger, LedgerError, MemoryLedger,
    PushedRequests, Replacement, TokenUses,
};

/// A ledger that implements the required methods only.
struct Minimal(MemoryLedger);

impl Ledger for Minimal {
    async fn insert(&self, client: &Client, max_live: Option<u64>) -> Result<Insertion, LedgerError> {
        self.0.insert(client, max_live).await
    }

    async fn replace(&self, client: &Client) -> Result<Replacement, LedgerError> {
        self.0.replace(client).await
    }

    async fn remove(&self, client: &Client) -> Result<bool, LedgerError> {
        self.0.remove(client).await
    }

    async fn get(&self, key: ClientKey) -> Result<Option<Client>, LedgerError> {
        self.0.get(key).await
    }

    async fn find(&self, client_id: &str) -> Result<Option<Client>, LedgerError> {
        self.0.find(client_id).await
    }

    async fn find_by_dedup_key(&self, dedup_key: &str) -> Result<Option<Client>, LedgerError> {
        self.0.find_by_dedup_key(dedup_key).await
    }

    async fn page(&self, filter: &Filter, before: Option<ClientKey>, limit: u32) -> Result<Vec<Client>, LedgerError> {
        // Defaults ask for more than the suite, get short pages, and have to read more than one.
        self.0.page(filter, before, if limit > 100 { 3 } else { limit }).await
    }
}

impl Blocks for Minimal {
    async fn block(&self, block: &Block) -> Result<bool, LedgerError> {
        self.0.block(block).await
    }

    async fn unblock(&self, fingerprint: &Fingerprint) -> Result<bool, LedgerError> {
        self.0.unblock(fingerprint).await
    }

    async fn find_block(&self, fingerprints: &[Fingerprint]) -> Result<Option<Block>, LedgerError> {
        self.0.find_block(fingerprints).await
    }

    async fn blocks(&self, before: Option<i64>, limit: u32) -> Result<Vec<Block>, LedgerError> {
        self.0.blocks(before, limit).await
    }
}

impl TokenUses for Minimal {
    async fn count_use(&self, token: &str, limit: u64) -> Result<bool, LedgerError> {
        self.0.count_use(token, limit).await
    }

    async fn return_use(&self, token: &str) -> Result<(), LedgerError> {
        self.0.return_use(token).await
    }
}

impl PushedRequests for Minimal {
    async fn put_pushed(&self, request: &str, client_id: &str, expires_at: i64) -> Result<(), LedgerError> {
        self.0.put_pushed(request, client_id, expires_at).await
    }

    async fn find_pushed(&self, request: &str, now: i64) -> Result<Option<String>, LedgerError> {
        self.0.find_pushed(request, now).await
    }

    async fn purge_pushed(&self, now: i64) -> Result<u64, LedgerError> {
        self.0.purge_pushed(now).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_conforms() {
    tower_dcr_conformance::ledger(async || MemoryLedger::default()).await;
}

#[tokio::test]
async fn defaults_conform() {
    tower_dcr_conformance::ledger(async || Minimal(MemoryLedger::default())).await;
}
