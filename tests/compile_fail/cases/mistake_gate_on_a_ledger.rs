//! The gate wants the registrar, and not its ledger.

use tower_dcr::layers::{GateEndpoint, GateLayer};
use tower_dcr::clients::MemoryLedger;

fn main() {
    let _ = GateLayer::new(GateEndpoint::Token, MemoryLedger::default());
}
