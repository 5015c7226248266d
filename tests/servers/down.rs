//! A store that can't be used.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tower_dcr::clients::{
    Block, Blocks, Client, ClientKey, Filter, Fingerprint, Group, Grouping, Insertion, Ledger, LedgerError,
    MemoryLedger, PushedRequests, Replacement, Status, TokenUses, Work,
};

/// A ledger that is down, or is asked what it can't answer, until it is up.
#[derive(Clone, Default)]
pub(crate) struct Down {
    pub(crate) is_outage: bool,
    pub(crate) asked: Arc<AtomicUsize>,
    pub(crate) is_up: Arc<AtomicBool>,
    pub(crate) ledger: Arc<MemoryLedger>,
}

impl Down {
    async fn answer<T>(&self, asking: impl Future<Output = Result<T, LedgerError>>) -> Result<T, LedgerError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.is_up.load(Ordering::SeqCst) {
            return asking.await;
        }
        let error = "connection refused";
        Err(if self.is_outage { LedgerError::outage(error) } else { LedgerError::new(error) })
    }
}

impl Ledger for Down {
    async fn insert(&self, first: &Client, second: Option<u64>) -> Result<Insertion, LedgerError> {
        self.answer(self.ledger.insert(first, second)).await
    }
    async fn replace(&self, first: &Client) -> Result<Replacement, LedgerError> {
        self.answer(self.ledger.replace(first)).await
    }
    async fn remove(&self, first: &Client) -> Result<bool, LedgerError> {
        self.answer(self.ledger.remove(first)).await
    }
    async fn get(&self, first: ClientKey) -> Result<Option<Client>, LedgerError> {
        self.answer(self.ledger.get(first)).await
    }
    async fn find(&self, first: &str) -> Result<Option<Client>, LedgerError> {
        self.answer(self.ledger.find(first)).await
    }
    async fn has_in_other_case(&self, first: &str) -> Result<bool, LedgerError> {
        self.answer(self.ledger.has_in_other_case(first)).await
    }

    async fn find_all(&self, first: &str, second: u32) -> Result<Vec<Client>, LedgerError> {
        self.answer(self.ledger.find_all(first, second)).await
    }
    async fn find_by_dedup_key(&self, first: &str) -> Result<Option<Client>, LedgerError> {
        self.answer(self.ledger.find_by_dedup_key(first)).await
    }
    async fn page(&self, first: &Filter, second: Option<ClientKey>, third: u32) -> Result<Vec<Client>, LedgerError> {
        self.answer(self.ledger.page(first, second, third)).await
    }
    async fn due(&self, first: Work, second: u32) -> Result<Vec<Client>, LedgerError> {
        self.answer(self.ledger.due(first, second)).await
    }
    async fn counts(&self) -> Result<Vec<(Status, u64)>, LedgerError> {
        self.answer(self.ledger.counts()).await
    }
    async fn timeline(&self, first: i64, second: i64) -> Result<Vec<(i64, u64)>, LedgerError> {
        self.answer(self.ledger.timeline(first, second)).await
    }
    async fn groups(&self, first: Grouping, second: u32) -> Result<Vec<Group>, LedgerError> {
        self.answer(self.ledger.groups(first, second)).await
    }
    async fn trim_elsewhere(&self, first: u64) -> Result<u64, LedgerError> {
        self.answer(self.ledger.trim_elsewhere(first)).await
    }
}

impl Blocks for Down {
    async fn block(&self, first: &Block) -> Result<bool, LedgerError> {
        self.answer(self.ledger.block(first)).await
    }
    async fn unblock(&self, first: &Fingerprint) -> Result<bool, LedgerError> {
        self.answer(self.ledger.unblock(first)).await
    }
    async fn find_block(&self, first: &[Fingerprint]) -> Result<Option<Block>, LedgerError> {
        self.answer(self.ledger.find_block(first)).await
    }
    async fn blocks(&self, first: Option<i64>, second: u32) -> Result<Vec<Block>, LedgerError> {
        self.answer(self.ledger.blocks(first, second)).await
    }
}

impl TokenUses for Down {
    async fn count_use(&self, first: &str, second: u64) -> Result<bool, LedgerError> {
        self.answer(self.ledger.count_use(first, second)).await
    }
    async fn return_use(&self, first: &str) -> Result<(), LedgerError> {
        self.answer(self.ledger.return_use(first)).await
    }
}

impl PushedRequests for Down {
    async fn put_pushed(&self, first: &str, second: &str, third: i64) -> Result<(), LedgerError> {
        self.answer(self.ledger.put_pushed(first, second, third)).await
    }
    async fn find_pushed(&self, first: &str, second: i64) -> Result<Option<String>, LedgerError> {
        self.answer(self.ledger.find_pushed(first, second)).await
    }
    async fn purge_pushed(&self, first: i64) -> Result<u64, LedgerError> {
        self.answer(self.ledger.purge_pushed(first)).await
    }
}
