//! Tests of what needs every feature: ledgers in real databases, the gate, the review page in a real browser.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

mod crash;
mod databases;
mod gate;
mod layer;
mod ledger;
mod model;
mod page;
mod races;
mod upkeep;
mod world;
mod year;
