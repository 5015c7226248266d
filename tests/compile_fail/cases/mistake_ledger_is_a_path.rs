use tower_dcr::registrar::Registrar;

fn main() {
    let _ = Registrar::new("clients.db");
}
