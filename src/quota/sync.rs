//! What the table is made of, in one place: a model checker puts its own there.

pub(super) use std::sync::{Mutex, MutexGuard, PoisonError};
