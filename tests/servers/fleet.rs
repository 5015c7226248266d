//! Several nodes over shared stores, on good days and bad ones.

mod docs;
mod exactness;
mod ledger_faults;
mod limiter_faults;
mod redis_server;
mod stores;
