//! Tests of what needs every feature: ledgers in real databases, the gate, the review page in a real browser.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

mod access;
mod browser;
mod consent;
mod crash;
mod databases;
mod down;
mod gate;
mod layer;
mod ledger;
mod model;
mod page;
mod program;
mod races;
#[path = "../suite/running.rs"]
mod running;
mod upkeep;
mod world;
mod year;
