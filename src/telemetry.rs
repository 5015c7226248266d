//! Metrics and spans: what there is, and what it is called.
//!
//! # Metrics
//!
//! With the feature `metrics`, through the [`metrics`](https://docs.rs/metrics) facade: the exporter is yours. Every label has
//! few values, none of them a client's.
//!
//! | name | kind | labels | what |
//! | --- | --- | --- | --- |
//! | [`REGISTRATIONS`] | counter | `operation`, `outcome` | attempts, as the audit layer sees them: an [`Outcome`](crate::event::Outcome) each |
//! | [`REFUSALS`] | counter | `rule`, `error` | those that were refused, by whom |
//! | [`FINDINGS`] | counter | `rule`, `disposition`, `enforced` | what rules did; `enforced="false"` is what they would have done |
//! | [`DURATION`] | histogram, seconds | `outcome` | how long an attempt took |
//! | [`GATE`] | counter | `endpoint`, `decision` | requests at the gates: `passed`, `refused`, `unavailable` |
//! | [`CLIENTS`] | gauge | `status` | records in the ledger, whenever it is maintained |
//! | [`LIFECYCLE_EVENTS`] | counter | `action` | what happened to clients later: an [`Action`](crate::event::Action) each |
//! | [`AUDIT_LOST`] | counter | | audit events that `JsonLines` or `Buffered` lost |
//! | [`STORE_REQUESTS`] | counter | `store`, `result` | requests to the stores `rate_limits` and `ledger_reads`, `ledger_writes`: `answered`, `failed`, or `skipped` while it is ill |
//! | [`POLICY_RELOADS`] | counter | `result` | `accepted`, or `rejected`: the old policy stays |
//! | [`POLICY_INFO`] | gauge | `fingerprint` | 1 for the policy in force, 0 for those that were |
//!
//! `describe` gives their descriptions and units to the recorder. `examples/grafana/dashboard.json` shows them.
//!
//! # Spans
//!
//! The audit layer opens one span for each attempt, `client_registration` with the target `tower_dcr`, level `INFO`. Everything
//! that happens inside, the handler's own spans included, is in it. Its fields are called as OpenTelemetry's semantic
//! conventions call them, where there is a name:
//!
//! | field | what |
//! | --- | --- |
//! | `otel.name` | `client registration create` or `… update`: with few values, as a span's name should have |
//! | `otel.kind` | `internal`: the server's span is the server's to make |
//! | `http.request.method` | `POST` or `PUT` |
//! | `http.response.status_code` | the status of the answer |
//! | `error.type` | the `error` that the client was told |
//! | `otel.status_code` | `ERROR` if the server is at fault; a refusal is none |
//! | `dcr.outcome` | an [`Outcome`](crate::event::Outcome) |
//! | `dcr.rule` | the rule that refused |
//! | `dcr.policy` | the fingerprint of the policy in force |
//!
//! No field holds what a client sent.

/// Attempts to register a client, by `operation` and `outcome`.
pub const REGISTRATIONS: &str = "tower_dcr_registrations_total";
/// Attempts that were refused, by `rule` and `error`.
pub const REFUSALS: &str = "tower_dcr_refusals_total";
/// What rules did to members, by `rule`, `disposition` and whether it was `enforced`.
pub const FINDINGS: &str = "tower_dcr_findings_total";
/// How long attempts took, in seconds, by `outcome`.
pub const DURATION: &str = "tower_dcr_registration_duration_seconds";
/// Requests at the gates, by `endpoint` and `decision`.
pub const GATE: &str = "tower_dcr_gate_requests_total";
/// Records in the ledger, by `status`.
pub const CLIENTS: &str = "tower_dcr_clients";
/// What happened to clients after they were registered, by `action`.
pub const LIFECYCLE_EVENTS: &str = "tower_dcr_lifecycle_events_total";
/// Audit events that were lost.
pub const AUDIT_LOST: &str = "tower_dcr_audit_lost_total";
/// Requests to the stores that nodes share, by `store` and `result`.
pub const STORE_REQUESTS: &str = "tower_dcr_store_requests_total";
/// Policies that were to be put in force, by `result`.
pub const POLICY_RELOADS: &str = "tower_dcr_policy_reloads_total";
/// The policy in force, by its `fingerprint`.
pub const POLICY_INFO: &str = "tower_dcr_policy_info";

/// All of them.
///
/// ```
/// assert!(tower_dcr::telemetry::METRICS.contains(&tower_dcr::telemetry::REGISTRATIONS));
/// ```
pub const METRICS: [&str; 11] = [
    REGISTRATIONS,
    REFUSALS,
    FINDINGS,
    DURATION,
    GATE,
    CLIENTS,
    LIFECYCLE_EVENTS,
    AUDIT_LOST,
    STORE_REQUESTS,
    POLICY_RELOADS,
    POLICY_INFO,
];

/// Gives the descriptions and units of the metrics to the recorder. Call it once one is installed.
#[cfg(feature = "metrics")]
pub fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_counter!(REGISTRATIONS, Unit::Count, "Attempts to register a client");
    describe_counter!(REFUSALS, Unit::Count, "Attempts that were refused");
    describe_counter!(FINDINGS, Unit::Count, "What rules did to members, or would have done");
    describe_histogram!(DURATION, Unit::Seconds, "How long attempts to register a client took");
    describe_counter!(GATE, Unit::Count, "Requests at the gates");
    describe_gauge!(CLIENTS, Unit::Count, "Records in the ledger of clients");
    describe_counter!(LIFECYCLE_EVENTS, Unit::Count, "What happened to clients after they were registered");
    describe_counter!(AUDIT_LOST, Unit::Count, "Audit events that were lost");
    describe_counter!(STORE_REQUESTS, Unit::Count, "Requests to the stores that nodes share");
    describe_counter!(POLICY_RELOADS, Unit::Count, "Policies that were to be put in force");
    describe_gauge!(POLICY_INFO, Unit::Count, "The policy in force, by its fingerprint");
}

/// Counts an attempt; `refusal` is the rule and the error.
#[cfg(feature = "metrics")]
pub(crate) fn registration(
    operation: &'static str,
    outcome: &'static str,
    duration_us: u64,
    refusal: Option<(&'static str, &'static str)>,
) {
    use metrics::{counter, histogram};
    counter!(REGISTRATIONS, "operation" => operation, "outcome" => outcome).increment(1);
    #[expect(clippy::cast_precision_loss, reason = "a time in seconds")]
    histogram!(DURATION, "outcome" => outcome).record(duration_us as f64 / 1e6);
    if let Some((rule, error)) = refusal {
        counter!(REFUSALS, "rule" => rule, "error" => error).increment(1);
    }
}

/// Counts something that a rule did.
#[cfg(feature = "metrics")]
pub(crate) fn finding(rule: &'static str, disposition: &'static str, enforced: bool) {
    let enforced = if enforced { "true" } else { "false" };
    metrics::counter!(FINDINGS, "rule" => rule, "disposition" => disposition, "enforced" => enforced).increment(1);
}

/// Counts a request at a gate.
#[cfg(feature = "metrics")]
pub(crate) fn gate(endpoint: &'static str, decision: &'static str) {
    metrics::counter!(GATE, "endpoint" => endpoint, "decision" => decision).increment(1);
}

/// Says how many records have a status.
#[cfg(feature = "metrics")]
pub(crate) fn clients(status: &'static str, count: u64) {
    #[expect(clippy::cast_precision_loss, reason = "a number of clients")]
    metrics::gauge!(CLIENTS, "status" => status).set(count as f64);
}

/// Counts what happened to a client.
#[cfg(feature = "metrics")]
pub(crate) fn lifecycle(action: &'static str) {
    metrics::counter!(LIFECYCLE_EVENTS, "action" => action).increment(1);
}

/// Counts audit events that were lost.
#[cfg(feature = "metrics")]
pub(crate) fn audit_lost(events: u64) {
    metrics::counter!(AUDIT_LOST).increment(events);
}

/// Counts a request to a store.
#[cfg(feature = "metrics")]
pub(crate) fn store(store: &'static str, result: &'static str) {
    metrics::counter!(STORE_REQUESTS, "store" => store, "result" => result).increment(1);
}

/// Counts a policy that was to be put in force.
#[cfg(all(feature = "metrics", feature = "policy-file"))]
pub(crate) fn policy_reload(accepted: bool) {
    let result = if accepted { "accepted" } else { "rejected" };
    metrics::counter!(POLICY_RELOADS, "result" => result).increment(1);
}

/// Says which policy is in force.
#[cfg(feature = "metrics")]
pub(crate) fn policy_in_force(before: Option<&str>, now: &str) {
    if let Some(before) = before.filter(|before| *before != now) {
        metrics::gauge!(POLICY_INFO, "fingerprint" => before.to_owned()).set(0.0);
    }
    metrics::gauge!(POLICY_INFO, "fingerprint" => now.to_owned()).set(1.0);
}

/// Nobody counts.
#[cfg(not(feature = "metrics"))]
mod off {
    pub(crate) const fn registration(
        _: &'static str,
        _: &'static str,
        _: u64,
        _: Option<(&'static str, &'static str)>,
    ) {
    }
    pub(crate) const fn finding(_: &'static str, _: &'static str, _: bool) {}
    pub(crate) const fn gate(_: &'static str, _: &'static str) {}
    pub(crate) const fn clients(_: &'static str, _: u64) {}
    pub(crate) const fn lifecycle(_: &'static str) {}
    pub(crate) const fn store(_: &'static str, _: &'static str) {}
    pub(crate) const fn audit_lost(_: u64) {}
    #[cfg(feature = "policy-file")]
    pub(crate) const fn policy_reload(_: bool) {}
    pub(crate) const fn policy_in_force(_: Option<&str>, _: &str) {}
}

#[cfg(not(feature = "metrics"))]
pub(crate) use off::*;
