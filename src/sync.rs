//! The locks of what several threads share, in one place: `tests/loom` puts a model checker's there.

pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError};

/// The value, whatever happened elsewhere: nothing that is locked here is left half written by a panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
