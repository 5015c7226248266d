//! A store that can't be used.

use tower_dcr::ledger::{
    Block, Client, ClientKey, Filter, Fingerprint, Group, Grouping, Insertion, Ledger, LedgerError, Replacement,
    Status, Work,
};

/// A ledger that is down.
pub(crate) struct Down;

fn down<T>() -> Result<T, LedgerError> {
    Err(LedgerError::new("connection refused"))
}

impl Ledger for Down {
    async fn insert(&self, _: &Client, _: Option<u64>) -> Result<Insertion, LedgerError> {
        down()
    }
    async fn replace(&self, _: &Client) -> Result<Replacement, LedgerError> {
        down()
    }
    async fn remove(&self, _: &Client) -> Result<bool, LedgerError> {
        down()
    }
    async fn get(&self, _: ClientKey) -> Result<Option<Client>, LedgerError> {
        down()
    }
    async fn find(&self, _: &str) -> Result<Option<Client>, LedgerError> {
        down()
    }
    async fn find_repeat(&self, _: &str) -> Result<Option<Client>, LedgerError> {
        down()
    }
    async fn page(&self, _: &Filter, _: Option<ClientKey>, _: u32) -> Result<Vec<Client>, LedgerError> {
        down()
    }
    async fn due(&self, _: Work, _: u32) -> Result<Vec<Client>, LedgerError> {
        down()
    }
    async fn counts(&self) -> Result<Vec<(Status, u64)>, LedgerError> {
        down()
    }
    async fn timeline(&self, _: i64, _: i64) -> Result<Vec<(i64, u64)>, LedgerError> {
        down()
    }
    async fn groups(&self, _: Grouping, _: u32) -> Result<Vec<Group>, LedgerError> {
        down()
    }
    async fn block(&self, _: &Block) -> Result<bool, LedgerError> {
        down()
    }
    async fn unblock(&self, _: &Fingerprint) -> Result<bool, LedgerError> {
        down()
    }
    async fn find_block(&self, _: &[Fingerprint]) -> Result<Option<Block>, LedgerError> {
        down()
    }
    async fn blocks(&self, _: Option<i64>, _: u32) -> Result<Vec<Block>, LedgerError> {
        down()
    }
    async fn count_use(&self, _: &str, _: u64) -> Result<bool, LedgerError> {
        down()
    }
    async fn return_use(&self, _: &str) -> Result<(), LedgerError> {
        down()
    }
}
