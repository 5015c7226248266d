//! `dcr` and `dcr proxy`, run like a user runs them.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

mod cimd;
mod cli;
mod proxy;
