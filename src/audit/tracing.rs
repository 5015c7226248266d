//! [`TracingSink`]: events to `tracing`.

use super::line::to_line;
use super::{Event, LifecycleEvent, Outcome, Sink};

/// Writes each event as one `tracing` event with the target `tower_dcr::audit`: `INFO` for a registration, `WARN` for an
/// attempt without one, `INFO` for a lifecycle event.
///
/// The fields `outcome`, `rule`, `reason` and `status` are for filtering; `event` is the whole event, as
/// its `Display` writes it.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "made by its user")]
pub struct TracingSink;

const TARGET: &str = "tower_dcr::audit";

pub(super) fn log_lifecycle(event: &LifecycleEvent) {
    if tracing::enabled!(target: TARGET, tracing::Level::INFO) {
        let action = event.action.to_string();
        tracing::info!(target: TARGET, action, event = %to_line(event), "client lifecycle");
    }
}

impl Sink for TracingSink {
    fn emit(&self, event: &Event) {
        let registered = matches!(event.outcome, Outcome::Accepted | Outcome::Deduplicated | Outcome::Rewritten);
        let enabled = if registered {
            tracing::enabled!(target: TARGET, tracing::Level::INFO)
        } else {
            tracing::enabled!(target: TARGET, tracing::Level::WARN)
        };
        if !enabled {
            return;
        }
        let (outcome, rule, status) = (event.outcome.to_string(), event.rule, event.status);
        // Rules in code write reasons, too: escaped, a reason can't break the line.
        let reason = event.reason.as_deref().map(tracing::field::debug);
        let line = to_line(event);
        if registered {
            tracing::info!(target: TARGET, outcome, rule, status, event = %line, "client registration");
        } else {
            tracing::warn!(target: TARGET, outcome, rule, reason, status, event = %line, "client registration");
        }
    }
}
