use tower_dcr::ledger::MemoryLedger;
use tower_dcr::registrar::Registrar;

fn main() {
    let _ = Registrar::new(MemoryLedger::default()).with_deprovision(|client_id: String| println!("{client_id}"));
}
