//! Metrics and spans: what is documented is what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use serde_json::Value;
use tower_dcr::audit::{Event, JsonLines, JsonLinesSettings, Sink, describe_metrics};
use tower_dcr::clients::MemoryLedger;
use tower_dcr::clients::Registrar;
use tower_dcr::documents::{ClientIdUrl, Documents, Fetch, FetchError, FetchRequest};
use tower_dcr::rate_limit::{Bucket, QuotaDecision, QuotaStore, SharedQuotas};
use tower_dcr::rules::Action;
use tower_dcr::{
    Preset,
    layers::{GateEndpoint, GateLayer},
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, SubscriberExt};

use crate::support::{Naive, behind, post, send};

/// Each metric with its labels, as `name{label="value",…}`.
fn seen(snapshotter: &Snapshotter) -> BTreeMap<String, DebugValue> {
    let metrics = snapshotter.snapshot().into_vec().into_iter();
    metrics
        .map(|(key, _, _, value)| {
            let labels: Vec<String> =
                key.key().labels().map(|label| format!("{}={:?}", label.key(), label.value())).collect();
            (format!("{}{{{}}}", key.key().name(), labels.join(",")), value)
        })
        .collect()
}

fn folder() -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("tower-dcr-telemetry-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A store that confirms what a node's own tables admit.
struct Unlimited;

impl QuotaStore for Unlimited {
    async fn take(&self, _: &[Bucket]) -> Result<QuotaDecision, Box<dyn Error + Send + Sync>> {
        Ok(QuotaDecision::Taken)
    }

    async fn release(&self, _: &[Bucket]) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }
}

/// Does everything that is counted.
/// Finds no host.
struct Nowhere;

impl Fetch for Nowhere {
    async fn fetch(&self, _: FetchRequest) -> Result<http::Response<bytes::Bytes>, FetchError> {
        Err(FetchError::NoAddress)
    }
}

async fn do_everything() {
    let folder = folder();
    let full =
        JsonLines::open(folder.join("audit.jsonl"), JsonLinesSettings { queue: 1, ..Default::default() }).unwrap();
    let registrar = Registrar::new(MemoryLedger::default());
    let guard = Preset::from_str("rate_limit.address = '4/hour'")
        .unwrap()
        .with_registrar(registrar.clone())
        .with_shared_quotas(SharedQuotas::new(Unlimited, NonZeroU32::MIN))
        .reloadable();
    let register = behind(&guard, &Naive::default());
    for body in [
        r#"{"redirect_uris":["http://localhost/cb"],"foo":1}"#,
        r#"{"redirect_uris":["javascript:alert(1)"]}"#,
        r#"{"redirect_uris":["http://localhost/cb"],"foo":1}"#,
    ] {
        send(&register, post(body)).await;
    }
    for report_only in [false, true] {
        let gate = GateLayer::new(GateEndpoint::Token, registrar.clone()).map_settings(|gate| {
            (gate.unknown, gate.report_only) = (Some(Action::Reject), Some(report_only));
        });
        let token = tower::Layer::layer(
            &gate,
            tower::service_fn(async |_: http::Request<_>| {
                Ok::<_, std::convert::Infallible>(http::Response::new(http_body_util::Full::<bytes::Bytes>::default()))
            }),
        );
        for client in ["client-1", "nobody"] {
            let request = http::Request::post("/token").header("content-type", "application/x-www-form-urlencoded");
            let body =
                http_body_util::Full::<bytes::Bytes>::from(format!("grant_type=authorization_code&client_id={client}"));
            send(&token, request.body(body).unwrap()).await;
        }
    }
    let token = tower::Layer::layer(
        &guard.gate(GateEndpoint::Token, registrar.clone()),
        tower::service_fn(async |_: http::Request<_>| {
            Ok::<_, std::convert::Infallible>(http::Response::new(http_body_util::Full::<bytes::Bytes>::default()))
        }),
    );
    let request = http::Request::post("/token").header("content-type", "application/x-www-form-urlencoded");
    let body = http_body_util::Full::<bytes::Bytes>::from("grant_type=client_credentials&client_id=client-1");
    send(&token, request.body(body).unwrap()).await;
    let documents = tower_dcr::mcp().with_documents(Documents::new(Nowhere)).map_documents(|documents| {
        documents.fetches = "1/hour".parse().unwrap();
    });
    for url in ["https://app.example.com/a", "https://app.example.com/b"] {
        documents.resolve_document(&ClientIdUrl::parse(url).unwrap(), None).await.unwrap_err();
    }
    registrar.maintain_once().await.unwrap();
    let policy = folder.join("policy.toml");
    std::fs::write(&policy, "report_only = true").unwrap();
    guard.reload(&policy).unwrap();
    std::fs::write(&policy, "report_only = 1").unwrap();
    guard.reload(&policy).unwrap_err();
    send(&register, post(r#"{"redirect_uris":["javascript:alert(1)"]}"#)).await;
    let events: Arc<Mutex<Vec<Event>>> = Arc::default();
    let kept = Arc::clone(&events);
    let once = behind(
        &tower_dcr::mcp().with_sink(move |event: &Event| kept.lock().unwrap().push(event.clone())),
        &Naive::default(),
    );
    send(&once, post("{}")).await;
    let shadowed = behind(&tower_dcr::mcp().with_shadow(tower_dcr::strict()), &Naive::default());
    send(&shadowed, post(r#"{"redirect_uris":["http://127.0.0.1/cb"],"foo":1}"#)).await;
    send(&shadowed, post(r#"{"redirect_uris":["http://127.0.0.1/cb"]}"#)).await;
    for _ in 0..50 {
        full.emit(&events.lock().unwrap()[0]);
    }
    assert!(full.lost() > 0);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn documented_metrics_are_the_emitted_ones() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        describe_metrics();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(do_everything());
    });
    let seen = seen(&snapshotter);
    let names: BTreeSet<&str> = seen.keys().map(|key| key.split('{').next().unwrap()).collect();
    assert_eq!(names, documented().into_keys().collect());
    for expected in [
        r#"tower_dcr_registrations_total{operation="create",outcome="rewritten"}"#,
        r#"tower_dcr_registrations_total{operation="create",outcome="deduplicated"}"#,
        r#"tower_dcr_rejections_total{rule="redirect-uris",error="invalid_redirect_uri"}"#,
        r#"tower_dcr_findings_total{rule="known-members",disposition="stripped",enforced="true"}"#,
        r#"tower_dcr_findings_total{rule="redirect-uris",disposition="refused",enforced="false"}"#,
        r#"tower_dcr_shadow_registrations_total{outcome="rejected",in_force="rewritten",rule="known-members"}"#,
        r#"tower_dcr_shadow_registrations_total{outcome="accepted",in_force="accepted",rule=""}"#,
        r#"tower_dcr_registration_duration_seconds{outcome="rejected"}"#,
        r#"tower_dcr_gate_requests_total{endpoint="token",decision="passed"}"#,
        r#"tower_dcr_gate_requests_total{endpoint="token",decision="rejected"}"#,
        r#"tower_dcr_gate_requests_total{endpoint="token",decision="reported"}"#,
        r#"tower_dcr_clients{status="active"}"#,
        r#"tower_dcr_lifecycle_events_total{action="rejected",enforced="true"}"#,
        r#"tower_dcr_store_requests_total{store="ledger_reads",result="answered"}"#,
        r#"tower_dcr_store_requests_total{store="ledger_writes",result="answered"}"#,
        r#"tower_dcr_store_requests_total{store="rate_limits",result="answered"}"#,
        r#"tower_dcr_documents_total{outcome="failed",reason="no_address"}"#,
        r#"tower_dcr_document_budgets_spent_total{budget="document-fetches"}"#,
        r#"tower_dcr_policy_reloads_total{result="accepted"}"#,
        r#"tower_dcr_policy_reloads_total{result="rejected"}"#,
    ] {
        assert!(seen.contains_key(expected), "{expected} is not in {:#?}", seen.keys());
    }
    assert_eq!(seen[r#"tower_dcr_clients{status="active"}"#], DebugValue::Gauge(1.0.into()));
    let policies: Vec<&DebugValue> =
        seen.iter().filter(|(key, _)| key.starts_with("tower_dcr_policy_info")).map(|(_, value)| value).collect();
    let (on, off) = (DebugValue::Gauge(1.0.into()), DebugValue::Gauge(0.0.into()));
    assert!(policies.len() == 2 && policies.contains(&&on) && policies.contains(&&off), "{policies:?}");
}

/// The metrics in the docs, with their labels.
fn documented() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let rows = include_str!("../../src/telemetry.rs").lines().filter_map(|line| line.strip_prefix("/// | `"));
    let labels = |row: &'static str| row.split('|').nth(2).unwrap().split('`').skip(1).step_by(2).collect();
    rows.map(|row| (row.split('`').next().unwrap(), labels(row))).collect()
}

/// A Prometheus exporter gives a histogram these, too.
fn without_suffix(name: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

#[test]
fn the_dashboard_uses_existing_metrics() {
    let text = include_str!("../../examples/grafana/dashboard.json");
    let dashboard: Value = serde_json::from_str(text).unwrap();
    let (mut shown, documented) = (BTreeSet::new(), documented());
    let panels = dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let annotations = dashboard["annotations"]["list"].as_array().unwrap();
    for query in panels.chain(annotations).map(|target| target["expr"].as_str().unwrap()) {
        let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let metrics: Vec<&str> = words.filter(|word| word.starts_with("tower_dcr_")).map(without_suffix).collect();
        assert_eq!(metrics.len(), 1, "{query}");
        let labels = documented.get(metrics[0]).unwrap_or_else(|| panic!("{query}"));
        let grouped = query.split("by (").skip(1).flat_map(|rest| rest.split(')').next().unwrap().split(", "));
        let matched = query
            .split(['{', ','])
            .filter_map(|part| part.split(['=', '!']).next())
            .filter(|part| query.contains(&format!("{part}=\"")) || query.contains(&format!("{part}!~\"")));
        for label in grouped.chain(matched).filter(|label| *label != "le") {
            assert!(labels.contains(label), "{query}: {label:?} is none of {labels:?}");
        }
        shown.insert(metrics[0]);
    }
    assert_eq!(shown, documented.into_keys().collect(), "every metric is shown");
}

/// Spans as a collector sees them.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<BTreeMap<u64, BTreeMap<String, String>>>>);

struct Fields<'a>(&'a mut BTreeMap<String, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        let mut fields = BTreeMap::from([("name".to_owned(), attributes.metadata().name().to_owned())]);
        attributes.record(&mut Fields(&mut fields));
        self.0.lock().unwrap().insert(id.into_u64(), fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        if let Some(fields) = self.0.lock().unwrap().get_mut(&id.into_u64()) {
            values.record(&mut Fields(fields));
        }
    }
}

#[test]
fn an_attempt_is_a_span_with_the_names_of_the_conventions() {
    let spans = Spans::default();
    // With one subscriber in the process, `tracing` asks only that of the thread which comes first whether anybody wants a
    // span; other tests have none, and the answer is remembered for all. With two, it asks them all.
    let _another = tracing::Dispatch::new(tracing_subscriber::registry());
    let subscriber = tracing_subscriber::registry().with(spans.clone());
    tracing::subscriber::with_default(subscriber, || {
        tracing::callsite::rebuild_interest_cache();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let inside = tower::service_fn(async |_: http::Request<tower_dcr::layers::RegistrationBody>| {
                tracing::Span::current().record("dcr.rule", "the handler is inside");
                let body = http_body_util::Full::<bytes::Bytes>::from(r#"{"client_id":"c"}"#);
                Ok::<_, std::convert::Infallible>(
                    http::Response::builder().header("content-type", "application/json").body(body).unwrap(),
                )
            });
            let register = tower::Layer::layer(&tower_dcr::mcp(), inside);
            send(&register, post(r#"{"redirect_uris":["http://localhost/cb"]}"#)).await;
            let rejected = behind(&tower_dcr::mcp(), &Naive::default());
            send(&rejected, post(r#"{"redirect_uris":["javascript:alert(1)"],"client_name":"x\u0007"}"#)).await;
            let mut get = post("");
            *get.method_mut() = http::Method::GET;
            send(&rejected, get).await;
        });
    });
    let spans: Vec<_> = spans.0.lock().unwrap().values().cloned().collect();
    let spans: Vec<_> = spans.iter().filter(|span| span["name"] == "client_registration").collect();
    assert_eq!(spans.len(), 2, "one for each attempt");
    let [accepted, rejected] = spans[..] else { unreachable!() };
    assert_eq!(accepted["otel.name"], "client registration create");
    assert_eq!((&*accepted["dcr.outcome"], &*accepted["http.response.status_code"]), ("accepted", "201"));
    assert_eq!(accepted["dcr.rule"], "the handler is inside");
    assert_eq!(accepted["dcr.policy"], tower_dcr::mcp().fingerprint());
    assert_eq!((&*rejected["dcr.outcome"], &*rejected["dcr.rule"]), ("rejected", "known-members"));
    assert_eq!((&*rejected["error.type"], &*rejected["http.request.method"]), ("invalid_client_metadata", "POST"));
    assert!(!rejected.contains_key("otel.status_code"), "a refusal is no error of the server");
}

/// Texts of warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Warnings {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut fields = BTreeMap::new();
        event.record(&mut Fields(&mut fields));
        if event.metadata().target() == "tower_dcr::setup" {
            self.0.lock().unwrap().extend(fields.remove("message"));
        }
    }
}

/// A client rejects every response with another issuer than that of the document, and only the operator can mend that.
#[test]
fn a_document_that_contradicts_the_gate_is_logged_once() {
    let warnings = Warnings::default();
    let _another = tracing::Dispatch::new(tracing_subscriber::registry());
    let subscriber = tracing_subscriber::registry().with(warnings.clone());
    tracing::subscriber::with_default(subscriber, || {
        tracing::callsite::rebuild_interest_cache();
        let preset = Preset::from_str("gate.issuer = 'https://as.example.com'").unwrap();
        let _gate = preset.gate(GateEndpoint::Authorization, Registrar::new(MemoryLedger::default()));
        let amend = |document: Value| preset.amend_server_metadata(&mut document.as_object().unwrap().clone());
        amend(serde_json::json!({ "issuer": "https://as.example.com" }));
        assert_eq!(warnings.0.lock().unwrap().len(), 0);
        for _ in 0..3 {
            let document =
                serde_json::json!({ "issuer": "https://other.example", "require_signed_request_object": true });
            amend(document);
        }
    });
    let [issuer, objects] = &warnings.0.lock().unwrap()[..] else { panic!("{:?}", warnings.0) };
    assert!(issuer.contains("gate.issuer is \"https://as.example.com\""), "{issuer}");
    assert!(issuer.contains("is \"https://other.example\""), "{issuer}");
    assert!(objects.contains("write gate.request_objects = true"), "{objects}");
}
