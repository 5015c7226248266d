//! Tests of what needs other programs: ledgers in real databases, budgets in a real Redis, the review page in a real browser.
//! They are started on free ports and stopped again. Where one is not installed, a test says so and passes; with
//! `TOWER_DCR_ALL_SERVERS` set, as in `.ci/run`, it fails.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

mod access;
#[path = "../suite/asking.rs"]
mod asking;
mod browser;
mod consent;
mod crash;
mod cross_origin;
mod databases;
mod down;
mod fleet;
mod gate;
mod gate_checks;
mod ids;
mod layer;
mod ledger;
mod management;
mod model;
mod nginx;
mod page;
mod program;
mod races;
#[path = "../suite/running.rs"]
mod running;
mod upkeep;
mod world;
mod year;
