use tower_dcr::clients::MemoryLedger;
use tower_dcr::clients::Registrar;

fn main() {
    let _ = Registrar::new(MemoryLedger::default()).with_deprovision(|client_id: String| println!("{client_id}"));
}
