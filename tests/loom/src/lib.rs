//! Models of what threads share: every order in which they can come is tried, by `loom`.
#![cfg(test)]

use std::num::NonZeroU32;
use std::time::Duration;

#[path = "../../../src/circuit_breaker/circuit.rs"]
mod circuit;
#[path = "../../../src/rate_limit/gcra.rs"]
mod gcra;
mod models;
#[path = "../../../src/rate_limit/table.rs"]
mod table;

/// The crate's own, with loom's locks.
mod sync {
    use std::sync::PoisonError;

    pub(crate) use loom::sync::{Mutex, MutexGuard};

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// Items of the modules around the included files.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Exhausted {
    retry_after: Duration,
}

const fn nonzero(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap()
}
