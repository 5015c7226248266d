//! Events to `tracing`.

use super::{Event, LifecycleEvent, Outcome, Sink, to_line};

/// Writes each event as one `tracing` event with the target `tower_dcr::audit`: `INFO` for what was registered, `WARN`
/// for what was not, `INFO` for what happens to clients later.
///
/// The fields `outcome`, `rule` and `status` are for filtering; `event` is the whole of it, as
/// [`to_line`] writes it.
///
/// ```
/// use tower_dcr::event::TracingSink;
///
/// let guard = tower_dcr::mcp().with_sink(TracingSink::new());
/// # let _ = guard;
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct TracingSink {}

impl TracingSink {
    /// There is nothing to configure.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }
}

const TARGET: &str = "tower_dcr::audit";

pub(super) fn log_lifecycle(event: &LifecycleEvent) {
    if tracing::enabled!(target: TARGET, tracing::Level::INFO) {
        let action = event.action.as_str();
        tracing::info!(target: TARGET, action, event = %to_line(event), "client lifecycle");
    }
}

impl Sink for TracingSink {
    fn emit(&self, event: &Event) {
        let registered = matches!(event.outcome, Outcome::Accepted | Outcome::Repeated | Outcome::Rewritten);
        let enabled = if registered {
            tracing::enabled!(target: TARGET, tracing::Level::INFO)
        } else {
            tracing::enabled!(target: TARGET, tracing::Level::WARN)
        };
        if !enabled {
            return;
        }
        let (outcome, rule, status) = (event.outcome.as_str(), event.rule, event.status);
        let line = to_line(event);
        if registered {
            tracing::info!(target: TARGET, outcome, rule, status, event = %line, "client registration");
        } else {
            tracing::warn!(target: TARGET, outcome, rule, status, event = %line, "client registration");
        }
    }
}
