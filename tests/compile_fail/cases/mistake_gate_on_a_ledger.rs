//! The gate wants the registrar, and not its ledger.

use tower_dcr::layers::GateLayer;
use tower_dcr::clients::MemoryLedger;

fn main() {
    let _ = GateLayer::token(MemoryLedger::default());
}
