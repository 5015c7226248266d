//! Conformance suites for [`tower_dcr`], as a dev-dependency: [`ledger`] checks a [`Ledger`](tower_dcr::clients::Ledger) of your
//! own, and [`quota_store`] a [`QuotaStore`](tower_dcr::rate_limit::QuotaStore).
//!
//! ```
//! use tower_dcr::clients::MemoryLedger;
//!
//! // In your test, the ledger of your own; each check gets an empty one.
//! # let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
//! # runtime.block_on(async {
//! tower_dcr_conformance::ledger(async || MemoryLedger::default()).await;
//! # });
//! ```
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "suites of tests")]

mod ledger;
mod quota_store;
mod together;

pub use ledger::ledger;
pub use quota_store::quota_store;
