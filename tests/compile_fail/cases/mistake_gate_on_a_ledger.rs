//! The gate wants the registrar, and not its ledger.

use tower_dcr::GateLayer;
use tower_dcr::ledger::MemoryLedger;

fn main() {
    let _ = GateLayer::token(MemoryLedger::default());
}
