//! A store that can't be used.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tower_dcr::ledger::{
    Block, Client, ClientKey, Filter, Fingerprint, Group, Grouping, Insertion, Ledger, LedgerError, Replacement,
    Status, Work,
};

/// A ledger that is down, or is asked what it can't answer.
#[derive(Clone, Default)]
pub(crate) struct Down {
    pub(crate) is_outage: bool,
    pub(crate) asked: Arc<AtomicUsize>,
}

impl Down {
    fn down<T>(&self) -> Result<T, LedgerError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let error = "connection refused";
        Err(if self.is_outage { LedgerError::outage(error) } else { LedgerError::new(error) })
    }
}

impl Ledger for Down {
    async fn insert(&self, _: &Client, _: Option<u64>) -> Result<Insertion, LedgerError> {
        self.down()
    }
    async fn replace(&self, _: &Client) -> Result<Replacement, LedgerError> {
        self.down()
    }
    async fn remove(&self, _: &Client) -> Result<bool, LedgerError> {
        self.down()
    }
    async fn get(&self, _: ClientKey) -> Result<Option<Client>, LedgerError> {
        self.down()
    }
    async fn find(&self, _: &str) -> Result<Option<Client>, LedgerError> {
        self.down()
    }
    async fn find_repeat(&self, _: &str) -> Result<Option<Client>, LedgerError> {
        self.down()
    }
    async fn page(&self, _: &Filter, _: Option<ClientKey>, _: u32) -> Result<Vec<Client>, LedgerError> {
        self.down()
    }
    async fn due(&self, _: Work, _: u32) -> Result<Vec<Client>, LedgerError> {
        self.down()
    }
    async fn counts(&self) -> Result<Vec<(Status, u64)>, LedgerError> {
        self.down()
    }
    async fn timeline(&self, _: i64, _: i64) -> Result<Vec<(i64, u64)>, LedgerError> {
        self.down()
    }
    async fn groups(&self, _: Grouping, _: u32) -> Result<Vec<Group>, LedgerError> {
        self.down()
    }
    async fn block(&self, _: &Block) -> Result<bool, LedgerError> {
        self.down()
    }
    async fn unblock(&self, _: &Fingerprint) -> Result<bool, LedgerError> {
        self.down()
    }
    async fn find_block(&self, _: &[Fingerprint]) -> Result<Option<Block>, LedgerError> {
        self.down()
    }
    async fn blocks(&self, _: Option<i64>, _: u32) -> Result<Vec<Block>, LedgerError> {
        self.down()
    }
    async fn count_use(&self, _: &str, _: u64) -> Result<bool, LedgerError> {
        self.down()
    }
    async fn return_use(&self, _: &str) -> Result<(), LedgerError> {
        self.down()
    }
}
