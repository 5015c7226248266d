use tower_dcr::clients::Registrar;

fn main() {
    let _ = Registrar::new("clients.db");
}
