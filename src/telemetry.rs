//! Metrics: their names, descriptions and counters.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

const REGISTRATIONS: &str = "tower_dcr_registrations_total";
const REJECTIONS: &str = "tower_dcr_rejections_total";
const FINDINGS: &str = "tower_dcr_findings_total";
const SHADOW: &str = "tower_dcr_shadow_registrations_total";
const DURATION: &str = "tower_dcr_registration_duration_seconds";
const GATE: &str = "tower_dcr_gate_requests_total";
const GATE_RULES: &str = "tower_dcr_gate_rules_total";
const CLIENTS: &str = "tower_dcr_clients";
const LIFECYCLE_EVENTS: &str = "tower_dcr_lifecycle_events_total";
const AUDIT_LOST: &str = "tower_dcr_audit_lost_total";
const STORE_REQUESTS: &str = "tower_dcr_store_requests_total";
const DOCUMENTS: &str = "tower_dcr_documents_total";
const DOCUMENT_FETCH: &str = "tower_dcr_document_fetch_seconds";
const DOCUMENT_BUDGETS: &str = "tower_dcr_document_budgets_spent_total";
const POLICY_RELOADS: &str = "tower_dcr_policy_reloads_total";
const POLICY_INFO: &str = "tower_dcr_policy_info";

/// Gives the descriptions and units of all metrics to the recorder. Call it once a recorder is installed.
///
/// The metrics go through the [`metrics`](https://docs.rs/metrics) facade: install an exporter of your choice. Every label has few
/// values, and no client chooses one. `examples/grafana/dashboard.json` shows them.
///
/// | name | kind | labels | description |
/// | --- | --- | --- | --- |
/// | `tower_dcr_registrations_total` | counter | `operation`, `outcome` | attempts to register or update a client, by [`Outcome`](crate::audit::Outcome) |
/// | `tower_dcr_rejections_total` | counter | `rule`, `error` | rejected attempts, by rule; the reason in words is in the audit event |
/// | `tower_dcr_findings_total` | counter | `rule`, `disposition`, `enforced` | findings of rules; `enforced="false"` for those in report-only mode |
/// | `tower_dcr_shadow_registrations_total` | counter | `outcome`, `in_force`, `rule` | registrations that a [shadow policy](crate::Preset::with_shadow) was evaluated on: its decision, the decision of the rules in force, and the shadow's rule, if it is not `accepted` |
/// | `tower_dcr_registration_duration_seconds` | histogram | `outcome` | the duration of an attempt |
/// | `tower_dcr_gate_requests_total` | counter | `endpoint`, `decision` | requests at the gates: `passed`, `rejected`, `unavailable`, or `reported` if a report-only gate would have answered them itself |
/// | `tower_dcr_gate_rules_total` | counter | `endpoint`, `rule`, `enforced` | requests of registered clients that break a [rule](crate::layers::GateLayer#rules) of a gate; `enforced="false"` if it is only reported |
/// | `tower_dcr_clients` | gauge | `status` | records in the ledger, updated by maintenance |
/// | `tower_dcr_lifecycle_events_total` | counter | `action`, `enforced` | lifecycle events of clients, by [`LifecycleAction`](crate::audit::LifecycleAction), also where audit events are summed |
/// | `tower_dcr_audit_lost_total` | counter | | audit events that `JsonLines` or `Buffered` lost |
/// | `tower_dcr_store_requests_total` | counter | `store`, `result` | requests to the stores `rate_limits`, `ledger_reads` and `ledger_writes`: `answered`, `failed`, or `skipped` while the circuit breaker is open |
/// | `tower_dcr_documents_total` | counter | `outcome`, `reason` | client metadata documents that were wanted and not in memory: `accepted` with the reason `fetched`, or `failed` with the [reason](crate::documents::DocumentError::as_str), or `back_off` or `breaker` if nothing was sent |
/// | `tower_dcr_document_fetch_seconds` | histogram | | the duration of a fetch |
/// | `tower_dcr_document_budgets_spent_total` | counter | `budget` | fetches that were not made since a budget is spent |
/// | `tower_dcr_policy_reloads_total` | counter | `result` | reloads of a policy file: `accepted`, or `rejected` if the old policy stays |
/// | `tower_dcr_policy_info` | gauge | `fingerprint` | 1 for the policy in force, 0 for earlier ones |
pub fn describe_metrics() {
    describe_counter!(REGISTRATIONS, Unit::Count, "Attempts to register or update a client");
    describe_counter!(REJECTIONS, Unit::Count, "Rejected attempts");
    describe_counter!(FINDINGS, Unit::Count, "Findings of rules");
    describe_counter!(SHADOW, Unit::Count, "Registrations that a shadow policy was evaluated on");
    describe_histogram!(DURATION, Unit::Seconds, "Duration of attempts to register or update a client");
    describe_counter!(GATE, Unit::Count, "Requests at the gates");
    describe_counter!(GATE_RULES, Unit::Count, "Requests that break a rule of a gate");
    describe_gauge!(CLIENTS, Unit::Count, "Records in the ledger of clients");
    describe_counter!(LIFECYCLE_EVENTS, Unit::Count, "Lifecycle events of clients");
    describe_counter!(AUDIT_LOST, Unit::Count, "Lost audit events");
    describe_counter!(STORE_REQUESTS, Unit::Count, "Requests to the stores that nodes share");
    describe_counter!(DOCUMENTS, Unit::Count, "Client metadata documents that were not in memory");
    describe_histogram!(DOCUMENT_FETCH, Unit::Seconds, "Duration of fetches of client metadata documents");
    describe_counter!(DOCUMENT_BUDGETS, Unit::Count, "Fetches that were not made since a budget is spent");
    describe_counter!(POLICY_RELOADS, Unit::Count, "Reloads of a policy file");
    describe_gauge!(POLICY_INFO, Unit::Count, "The policy in force, by its fingerprint");
}

/// Counts an attempt, and its rejection by rule and error.
pub(crate) fn registration(
    operation: &'static str,
    outcome: &'static str,
    duration_us: u64,
    rejection: Option<(&'static str, &'static str)>,
) {
    counter!(REGISTRATIONS, "operation" => operation, "outcome" => outcome).increment(1);
    #[expect(clippy::cast_precision_loss, reason = "a time in seconds")]
    histogram!(DURATION, "outcome" => outcome).record(duration_us as f64 / 1e6);
    if let Some((rule, error)) = rejection {
        counter!(REJECTIONS, "rule" => rule, "error" => error).increment(1);
    }
}

/// Counts a finding of a rule.
pub(crate) fn finding(rule: &'static str, disposition: &'static str, enforced: bool) {
    let enforced = if enforced { "true" } else { "false" };
    counter!(FINDINGS, "rule" => rule, "disposition" => disposition, "enforced" => enforced).increment(1);
}

/// Counts a registration that a shadow policy was evaluated on.
pub(crate) fn shadow(outcome: &'static str, in_force: &'static str, rule: &'static str) {
    counter!(SHADOW, "outcome" => outcome, "in_force" => in_force, "rule" => rule).increment(1);
}

/// Counts a request at a gate.
pub(crate) fn gate(endpoint: &'static str, decision: &'static str) {
    counter!(GATE, "endpoint" => endpoint, "decision" => decision).increment(1);
}

/// Counts a request that breaks a rule of a gate.
pub(crate) fn gate_rule(endpoint: &'static str, rule: &'static str, enforced: bool) {
    let enforced = if enforced { "true" } else { "false" };
    counter!(GATE_RULES, "endpoint" => endpoint, "rule" => rule, "enforced" => enforced).increment(1);
}

/// Sets the number of records with a status.
pub(crate) fn clients(status: &impl ToString, count: u64) {
    #[expect(clippy::cast_precision_loss, reason = "a number of clients")]
    gauge!(CLIENTS, "status" => status.to_string()).set(count as f64);
}

/// Counts a lifecycle event.
pub(crate) fn lifecycle(action: &impl ToString, enforced: bool) {
    let enforced = if enforced { "true" } else { "false" };
    counter!(LIFECYCLE_EVENTS, "action" => action.to_string(), "enforced" => enforced).increment(1);
}

/// Counts lost audit events.
pub(crate) fn audit_lost(events: u64) {
    counter!(AUDIT_LOST).increment(events);
}

/// Counts a request to a store.
pub(crate) fn store(store: &'static str, result: &'static str) {
    counter!(STORE_REQUESTS, "store" => store, "result" => result).increment(1);
}

/// Counts a document that was wanted and not in memory.
pub(crate) fn document(outcome: &'static str, reason: &'static str) {
    counter!(DOCUMENTS, "outcome" => outcome, "reason" => reason).increment(1);
}

/// Records the duration of a fetch.
pub(crate) fn document_fetched(duration: std::time::Duration) {
    histogram!(DOCUMENT_FETCH).record(duration.as_secs_f64());
}

/// Counts a fetch that was not made since a budget is spent.
pub(crate) fn document_budget(budget: &'static str) {
    counter!(DOCUMENT_BUDGETS, "budget" => budget).increment(1);
}

/// Counts a reload of a policy file.
#[cfg(feature = "policy-file")]
pub(crate) fn policy_reload(accepted: bool) {
    let result = if accepted { "accepted" } else { "rejected" };
    counter!(POLICY_RELOADS, "result" => result).increment(1);
}

/// Marks the policy in force.
pub(crate) fn policy_in_force(before: Option<&str>, now: &str) {
    if let Some(before) = before.filter(|before| *before != now) {
        gauge!(POLICY_INFO, "fingerprint" => before.to_owned()).set(0.0);
    }
    gauge!(POLICY_INFO, "fingerprint" => now.to_owned()).set(1.0);
}
