//! A ledger of whatever type, as one.

use std::pin::Pin;

use super::{
    Block, Client, ClientKey, Filter, Fingerprint, Group, Grouping, Insertion, Ledger, LedgerError, Replacement,
    Status, Work,
};

type Answering<'a, T> = Pin<Box<dyn Future<Output = Result<T, LedgerError>> + Send + 'a>>;

/// [`Ledger`] with boxed futures: layers name no type of ledger.
pub(crate) trait ErasedLedger: Send + Sync {
    fn insert<'a>(&'a self, client: &'a Client, max_live: Option<u64>) -> Answering<'a, Insertion>;
    fn replace<'a>(&'a self, client: &'a Client) -> Answering<'a, Replacement>;
    fn remove<'a>(&'a self, client: &'a Client) -> Answering<'a, bool>;
    fn get(&self, key: ClientKey) -> Answering<'_, Option<Client>>;
    fn find<'a>(&'a self, client_id: &'a str) -> Answering<'a, Option<Client>>;
    fn find_repeat<'a>(&'a self, repeat_key: &'a str) -> Answering<'a, Option<Client>>;
    fn page<'a>(&'a self, filter: &'a Filter, before: Option<ClientKey>, limit: u32) -> Answering<'a, Vec<Client>>;
    fn due(&self, work: Work, limit: u32) -> Answering<'_, Vec<Client>>;
    fn counts(&self) -> Answering<'_, Vec<(Status, u64)>>;
    fn timeline(&self, since: i64, step: i64) -> Answering<'_, Vec<(i64, u64)>>;
    fn groups(&self, by: Grouping, limit: u32) -> Answering<'_, Vec<Group>>;
    fn block<'a>(&'a self, block: &'a Block) -> Answering<'a, bool>;
    fn unblock<'a>(&'a self, fingerprint: &'a Fingerprint) -> Answering<'a, bool>;
    fn find_block<'a>(&'a self, fingerprints: &'a [Fingerprint]) -> Answering<'a, Option<Block>>;
    fn blocks(&self, before: Option<i64>, limit: u32) -> Answering<'_, Vec<Block>>;
    fn count_use<'a>(&'a self, token: &'a str, limit: u64) -> Answering<'a, bool>;
    fn return_use<'a>(&'a self, token: &'a str) -> Answering<'a, ()>;
}

impl<L: Ledger> ErasedLedger for L {
    fn insert<'a>(&'a self, client: &'a Client, max_live: Option<u64>) -> Answering<'a, Insertion> {
        Box::pin(Ledger::insert(self, client, max_live))
    }

    fn replace<'a>(&'a self, client: &'a Client) -> Answering<'a, Replacement> {
        Box::pin(Ledger::replace(self, client))
    }

    fn remove<'a>(&'a self, client: &'a Client) -> Answering<'a, bool> {
        Box::pin(Ledger::remove(self, client))
    }

    fn get(&self, key: ClientKey) -> Answering<'_, Option<Client>> {
        Box::pin(Ledger::get(self, key))
    }

    fn find<'a>(&'a self, client_id: &'a str) -> Answering<'a, Option<Client>> {
        Box::pin(Ledger::find(self, client_id))
    }

    fn find_repeat<'a>(&'a self, repeat_key: &'a str) -> Answering<'a, Option<Client>> {
        Box::pin(Ledger::find_repeat(self, repeat_key))
    }

    fn page<'a>(&'a self, filter: &'a Filter, before: Option<ClientKey>, limit: u32) -> Answering<'a, Vec<Client>> {
        Box::pin(Ledger::page(self, filter, before, limit))
    }

    fn due(&self, work: Work, limit: u32) -> Answering<'_, Vec<Client>> {
        Box::pin(Ledger::due(self, work, limit))
    }

    fn counts(&self) -> Answering<'_, Vec<(Status, u64)>> {
        Box::pin(Ledger::counts(self))
    }

    fn timeline(&self, since: i64, step: i64) -> Answering<'_, Vec<(i64, u64)>> {
        Box::pin(Ledger::timeline(self, since, step))
    }

    fn groups(&self, by: Grouping, limit: u32) -> Answering<'_, Vec<Group>> {
        Box::pin(Ledger::groups(self, by, limit))
    }

    fn block<'a>(&'a self, block: &'a Block) -> Answering<'a, bool> {
        Box::pin(Ledger::block(self, block))
    }

    fn unblock<'a>(&'a self, fingerprint: &'a Fingerprint) -> Answering<'a, bool> {
        Box::pin(Ledger::unblock(self, fingerprint))
    }

    fn find_block<'a>(&'a self, fingerprints: &'a [Fingerprint]) -> Answering<'a, Option<Block>> {
        Box::pin(Ledger::find_block(self, fingerprints))
    }

    fn blocks(&self, before: Option<i64>, limit: u32) -> Answering<'_, Vec<Block>> {
        Box::pin(Ledger::blocks(self, before, limit))
    }

    fn count_use<'a>(&'a self, token: &'a str, limit: u64) -> Answering<'a, bool> {
        Box::pin(Ledger::count_use(self, token, limit))
    }

    fn return_use<'a>(&'a self, token: &'a str) -> Answering<'a, ()> {
        Box::pin(Ledger::return_use(self, token))
    }
}
