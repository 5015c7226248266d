//! Several nodes over shared stores, on good days and bad ones.

mod audit_faults;
mod docs;
mod exactness;
mod ledger_faults;
mod ledger_watch;
mod limiter_faults;
mod redis_server;
mod small_disk;
mod stores;

pub(crate) use redis_server::connection;
