use std::num::NonZeroU32;

use tower_dcr::rate_limit::SharedQuotas;

fn main() {
    let _ = SharedQuotas::new("redis://localhost", NonZeroU32::MIN);
}
