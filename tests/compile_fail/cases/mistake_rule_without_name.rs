use tower_dcr::Rejection;
use tower_dcr::rules::Draft;

fn main() {
    let _ = tower_dcr::mcp().add_rule(|_: &mut Draft<'_>| -> Result<(), Rejection> { Ok(()) });
}
