use std::num::NonZeroU32;

use tower_dcr::quota::SharedQuotas;

fn main() {
    let _ = SharedQuotas::new("redis://localhost", NonZeroU32::MIN);
}
