//! Tests of what needs other programs: ledgers in real databases, budgets in a real Redis, the review page in a real browser.
//! They are started on free ports and stopped again. Where one is not installed, a test fails, unless
//! `TOWER_DCR_SKIP_MISSING` is set.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

use test_support::{databases, folder, programs, running, there};

mod access;
mod browser;
mod client_quota;
mod consent;
mod crash;
mod cross_origin;
mod documents;
mod down;
mod fleet;
mod gate;
mod gate_checks;
mod hold;
mod ids;
mod layer;
mod ledger;
mod lifetimes;
mod management;
mod model;
mod nginx;
mod page;
mod program;
mod races;
mod software;
mod upkeep;
mod world;
mod year;
