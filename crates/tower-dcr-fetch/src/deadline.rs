//! One time limit for all steps of a fetch.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tower_dcr::documents::FetchError;

/// The end of a fetch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn after(limit: Duration) -> Self {
        Self(Instant::now() + limit)
    }

    /// Runs a step until the fetch ends.
    pub(crate) async fn step<T>(self, name: &'static str, step: impl Future<Output = T>) -> Result<T, FetchError> {
        timeout_at(self.0, step).await.map_err(|_| FetchError::Timeout(name))
    }

    /// Returns the end of a step that has less time than the fetch.
    pub(crate) fn within(self, limit: Duration) -> Self {
        Self(self.0.min(Instant::now() + limit))
    }
}
