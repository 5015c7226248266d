//! The demo, started like a user starts it.
#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

mod connections;
mod server;
