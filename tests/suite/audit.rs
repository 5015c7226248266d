//! One event per attempt, whatever becomes of it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};
use tower_dcr::audit::{Event, LifecycleAction, LifecycleEvent, Outcome, Sink};
use tower_dcr::clients::{Actor, Fingerprint, MemoryLedger};
use tower_dcr::clients::{Registrar, Revocation};
use tower_dcr::clock::{Clock, ManualClock};
use tower_dcr::rate_limit::RateLimits;
use tower_dcr::rules::{Disposition, Operation};
use tower_dcr::{
    Preset,
    layers::{AuditLayer, GateEndpoint, GateLayer, RateLimitLayer, RegistrationBody},
};

use crate::support::{Kept, Naive, behind, post, send};

const GOOD: &str = r#"{"redirect_uris":["https://app.example.com/cb"]}"#;

fn outcome(kept: &Kept) -> Outcome {
    let events = kept.take();
    assert_eq!(events.len(), 1);
    events[0].outcome
}

#[tokio::test]
async fn every_outcome_is_one_event() {
    let (kept, naive) = (Kept::default(), Naive::default());
    let one = tower_dcr::rate_limit::Quota::per_hour(std::num::NonZeroU32::new(3).unwrap());
    let service =
        behind(&tower_dcr::mcp().map_rate_limit(|limits| limits.address = one.into()).with_sink(kept.sink()), &naive);
    send(&service, post(GOOD)).await;
    assert_eq!(outcome(&kept), Outcome::Accepted);
    send(&service, post(r#"{"redirect_uris":["https://app.example.com/cb"],"foo":1}"#)).await;
    assert_eq!(outcome(&kept), Outcome::Rewritten);
    send(&service, post("{")).await;
    assert_eq!(outcome(&kept), Outcome::Rejected);
    send(&service, post(r#"{"redirect_uris":["javascript:alert(1)"]}"#)).await;
    assert_eq!(outcome(&kept), Outcome::Rejected);
    send(&service, post(GOOD)).await;
    assert_eq!(outcome(&kept), Outcome::Limited);
    for method in [Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS] {
        let mut request = post(GOOD);
        *request.method_mut() = method;
        send(&service, request).await;
    }
    assert!(kept.take().is_empty());
}

#[tokio::test]
async fn a_handler_that_fails_is_an_event() {
    let kept = Kept::default();
    let service = tower_dcr::mcp().with_sink(kept.sink()).layer(service_fn(async |_: Request<RegistrationBody>| {
        Err::<Response<Full<Bytes>>, _>(std::io::Error::other("store down"))
    }));
    assert!(service.oneshot(post(GOOD)).await.is_err());
    assert_eq!(outcome(&kept), Outcome::Failed);
}

#[tokio::test]
async fn a_client_that_hangs_up_is_an_event() {
    let kept = Kept::default();
    let service = tower_dcr::mcp().with_sink(kept.sink()).layer(service_fn(async |_: Request<RegistrationBody>| {
        std::future::pending::<()>().await;
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    let attempt = tokio::time::timeout(Duration::from_millis(20), service.clone().oneshot(post(GOOD)));
    assert!(attempt.await.is_err());
    assert_eq!(outcome(&kept), Outcome::Abandoned);
    // Dropped before it was ever polled.
    drop(service.oneshot(post(GOOD)));
    assert!(kept.take().is_empty(), "a request that was never handed over is no attempt");
}

#[tokio::test]
async fn a_handler_that_panics_is_an_event() {
    let kept = Kept::default();
    let service = tower_dcr::mcp().with_sink(kept.sink()).layer(service_fn(async |_: Request<RegistrationBody>| {
        assert!(std::env::args().count() == 0, "on purpose");
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    assert!(tokio::spawn(service.oneshot(post(GOOD))).await.is_err());
    assert_eq!(outcome(&kept), Outcome::Abandoned);
}

#[tokio::test]
async fn events_contain_no_registered_values() {
    let (kept, naive) = (Kept::default(), Naive::default());
    let key = b"a key that nobody else has";
    let preset = tower_dcr::mcp().with_sink(kept.sink()).map_audit(|audit| audit.with_requester_hash(key));
    let canary = "canary-5e0c9d";
    let body = format!(
        r#"{{"redirect_uris":["https://app.example.com/cb?token={canary}"],"client_name":"{canary}","client_secret":"{canary}",
            "registration_access_token":"{canary}","contacts":["{canary}@example.com"],"jwks":{{"keys":[{{"d":"{canary}"}}]}},
            "grant_types":["authorization_code","password"],"foo":"{canary}"}}"#
    );
    let mut request = post(body.clone());
    request.headers_mut().insert("authorization", format!("Bearer {canary}").parse().unwrap());
    request.extensions_mut().insert(SocketAddr::from(([203, 0, 113, 9], 1)));
    send(&behind(&preset, &naive), request).await;
    let line = kept.lines().pop().unwrap();
    let event = kept.take().pop().unwrap();
    assert!(!line.contains(canary) && !line.contains("203.0.113.9") && !line.contains("app.example.com"), "{line}");
    assert_eq!((event.operation, event.status), (Operation::Create, Some(201)));
    assert_eq!(event.client_id.as_deref(), Some("client-1"));
    assert_eq!(event.requester.as_ref().map(String::len), Some(32));
    assert_eq!(
        event.digest_before().unwrap().to_string(),
        tower_dcr::registration::Digest::of(body.as_bytes()).to_string()
    );
    assert_eq!(event.digest_after(), Some(tower_dcr::registration::Digest::of(&naive.seen()[0])));
    assert!(line.contains(&format!("\"policy\":\"{:016x}\"", event.policy.unwrap())));
    assert!(event.rules.contains(&"grant-types") && event.rules.contains(&"redirect-uris"));
    let disposition = |field: &str| event.findings.iter().find(|finding| finding.field == field).unwrap().disposition;
    assert_eq!(disposition("grant_types"), Disposition::Narrowed);
    assert_eq!(disposition("client_secret"), Disposition::Stripped);
    assert_eq!(disposition("foo"), Disposition::Stripped);
    assert_eq!(disposition("token_endpoint_auth_method"), Disposition::Defaulted);
}

/// Rejected and report-only registrations can be distinguished, and found by their digests.
#[tokio::test]
async fn digests_are_of_the_sent_and_the_forwarded_document() {
    use tower_dcr::registration::Digest;
    let evil = r#"{"redirect_uris":["javascript:alert(1)"]}"#;
    for (preset, body, goes_on) in [
        (tower_dcr::mcp(), evil, false),
        (tower_dcr::mcp(), r#"{"scope":"a","scope":"b"}"#, false),
        (tower_dcr::mcp(), "[", false),
        (tower_dcr::mcp().report_only(), evil, true),
        (tower_dcr::mcp().report_only(), "[", true),
    ] {
        let kept = Kept::default();
        send(&behind(&preset.with_sink(kept.sink()), &Naive::default()), post(body)).await;
        let event = kept.take().pop().unwrap();
        let digest = Digest::of(body.as_bytes());
        assert_eq!(event.digest_before(), Some(digest), "{body}");
        assert_eq!(event.digest_after(), goes_on.then_some(digest), "{body}");
    }
}

#[tokio::test]
async fn the_names_of_unknown_members_are_cut_and_escaped() {
    let (kept, naive) = (Kept::default(), Naive::default());
    let name = format!("\u{202e}\u{1b}[31m\n{}", "ä".repeat(200));
    let body = serde_json::json!({ "redirect_uris": ["https://app.example.com/cb"], name.as_str(): 1 });
    send(&behind(&tower_dcr::mcp().with_sink(kept.sink()), &naive), post(body.to_string())).await;
    let line = kept.lines().pop().unwrap();
    assert!(line.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{line}");
    assert!(line.contains(r"\u202e\u001b[31m\n\u00e4"), "{line}");
    assert!(kept.take()[0].findings.iter().all(|finding| finding.field.len() <= 64));
}

#[tokio::test]
async fn the_policy_fingerprint_changes_with_the_policy_only() {
    let fingerprint = async |preset: Preset| {
        let (kept, naive) = (Kept::default(), Naive::default());
        send(&behind(&preset.with_sink(kept.sink()), &naive), post(GOOD)).await;
        kept.take().pop().unwrap().policy.unwrap()
    };
    let ports = |preset: Preset| {
        preset
            .map_rules(|mut rules| {
                rules.redirect_uris.https_ports = [443, 8443].into();
                Ok(rules)
            })
            .unwrap()
    };
    assert_eq!(fingerprint(tower_dcr::mcp()).await, fingerprint(tower_dcr::mcp()).await);
    assert_ne!(fingerprint(tower_dcr::mcp()).await, fingerprint(tower_dcr::strict()).await);
    assert_ne!(fingerprint(tower_dcr::mcp()).await, fingerprint(ports(tower_dcr::mcp())).await);
}

#[tokio::test]
async fn durations_come_from_the_clock() {
    let (kept, clock) = (Kept::default(), Arc::new(ManualClock::new(Duration::from_secs(1_000))));
    let moved = Arc::clone(&clock);
    let audit = AuditLayer::new(kept.sink()).with_clock(clock).with_requester();
    let service = audit.layer(service_fn(move |_: Request<Full<Bytes>>| {
        moved.advance(Duration::from_millis(7));
        std::future::ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
    }));
    send(&service, post(GOOD)).await;
    let event = kept.take().pop().unwrap();
    assert_eq!((event.time_ms, event.duration_us), (1_000_000, 7_000));
}

struct Full503;

impl Sink for Full503 {
    fn emit(&self, _: &Event) {}

    fn is_ready(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn rejects_registrations_while_the_sink_is_not_ready() {
    let (kept, naive) = (Kept::default(), Naive::default());
    let service = behind(&tower_dcr::mcp().with_sink((kept.sink(), Full503)), &naive);
    let answer = send(&service, post(GOOD)).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json()["error"], "temporarily_unavailable");
    assert!(answer.header("retry-after").is_some() && naive.seen().is_empty());
    let event = kept.take().pop().unwrap();
    assert_eq!((event.outcome, event.rule), (Outcome::Rejected, Some("audit")));
}

#[tokio::test]
async fn report_only_events_have_the_decision() {
    let (kept, naive) = (Kept::default(), Naive::default());
    let one = tower_dcr::rate_limit::Quota::per_hour(std::num::NonZeroU32::MIN);
    let rate_limit = RateLimitLayer::new().map_limits(|limits| {
        *limits = RateLimits::OFF;
        limits.address = one.into();
    });
    let service = behind(&tower_dcr::mcp().with_rate_limit(rate_limit).with_sink(kept.sink()).report_only(), &naive);
    for _ in 0..2 {
        let answer = send(&service, post(r#"{"redirect_uris":["javascript:alert(1)"]}"#)).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
    }
    let events = kept.take();
    assert!(events.iter().all(|event| event.outcome == Outcome::Accepted && event.client_id.is_some()));
    let rejected = |event: &Event| -> Vec<&str> {
        let rejections = event.findings.iter().filter(|finding| finding.disposition == Disposition::Rejected);
        rejections.inspect(|finding| assert!(!finding.enforced)).map(|finding| finding.rule).collect()
    };
    assert_eq!(rejected(&events[0]), ["redirect-uris"]);
    assert_eq!(rejected(&events[1]), ["redirect-uris", "rate-limit"]);
    assert!(events[1].to_string().contains(r#""enforced":false"#));
}

#[test]
fn a_clock_that_goes_backwards_does_not_panic() {
    let clock = ManualClock::new(Duration::MAX);
    assert_eq!(clock.monotonic(), Duration::from_nanos(u64::MAX));
}

/// Counts what it is given.
#[derive(Default)]
struct Counter {
    events: AtomicUsize,
    lifecycle: AtomicUsize,
    is_full: AtomicBool,
}

impl Sink for Counter {
    fn emit(&self, _: &Event) {
        self.events.fetch_add(1, Ordering::SeqCst);
    }

    fn emit_lifecycle(&self, _: &LifecycleEvent) {
        self.lifecycle.fetch_add(1, Ordering::SeqCst);
    }

    fn is_ready(&self) -> bool {
        !self.is_full.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_shared_sink_and_each_of_two_get_all_events_of_both_kinds() {
    let (one, other) = (Arc::new(Counter::default()), Arc::new(Counter::default()));
    let both = (Arc::clone(&one), Arc::clone(&other));
    let registrar = Registrar::new(MemoryLedger::default()).with_sink(both.clone());
    let service = behind(&tower_dcr::mcp().with_registrar(registrar.clone()).with_sink(both), &Naive::default());
    let register = async || send(&service, post(r#"{"redirect_uris":["http://localhost/cb"]}"#)).await.status();
    assert_eq!(register().await, StatusCode::CREATED);
    registrar.revoke(Revocation::client("client-1", Actor::Operator("alice".into()), "abuse")).await.unwrap();
    for counter in [&one, &other] {
        assert_eq!(counter.events.load(Ordering::SeqCst), 1);
        assert!(counter.lifecycle.load(Ordering::SeqCst) > 0);
    }
    // Both have to be ready.
    for counter in [&one, &other] {
        counter.is_full.store(true, Ordering::SeqCst);
        assert_eq!(register().await, StatusCode::SERVICE_UNAVAILABLE);
        counter.is_full.store(false, Ordering::SeqCst);
    }
}

/// Keeps the lines of both kinds.
#[derive(Clone, Default)]
struct Lines(Arc<std::sync::Mutex<Vec<String>>>);

impl Lines {
    fn take(&self) -> Vec<serde_json::Value> {
        let lines = std::mem::take(&mut *self.0.lock().unwrap());
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn of(&self, action: LifecycleAction) -> Vec<serde_json::Value> {
        self.take().into_iter().filter(|event| event["action"] == action.to_string()).collect()
    }
}

impl Sink for Lines {
    fn emit(&self, event: &Event) {
        self.0.lock().unwrap().push(event.to_string());
    }

    fn emit_lifecycle(&self, event: &LifecycleEvent) {
        self.0.lock().unwrap().push(event.to_string());
    }
}

fn from(address: [u8; 4], mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    request.extensions_mut().insert(SocketAddr::from((address, 1)));
    request
}

#[tokio::test]
async fn the_event_of_a_removed_block_has_the_reason() {
    let lines = Lines::default();
    let registrar = Registrar::new(MemoryLedger::default()).with_sink(lines.clone());
    let (name, alice) = (Fingerprint::name("app"), || Actor::Operator("alice".into()));
    for reason in ["a mistake", ""] {
        registrar.revoke(Revocation::new(name.clone(), alice(), "imitates us")).await.unwrap();
        assert!(registrar.unblock(&name, &alice(), reason).await.unwrap());
        let event = lines.of(LifecycleAction::Unblocked).pop().unwrap();
        assert_eq!(event["actor"], "operator:alice");
        assert_eq!(
            event.get("reason").and_then(serde_json::Value::as_str),
            Some(reason).filter(|reason| !reason.is_empty())
        );
    }
}

#[tokio::test]
async fn events_have_the_reason_of_the_clients_answer() {
    for (body, rule) in [
        (r#"{"redirect_uris":["gopher://a.example.com/cb"]}"#, "redirect-uris"),
        (r#"{"redirect_uris":["https://app.example.com:8443/cb"]}"#, "redirect-uris"),
        (r#"{"client_name":"Claude","redirect_uris":["https://evil.example.com/cb"]}"#, "identity"),
        ("{", "json"),
    ] {
        let kept = Kept::default();
        let answer = send(&behind(&tower_dcr::mcp().with_sink(kept.sink()), &Naive::default()), post(body)).await;
        let event = kept.take().pop().unwrap();
        let reason = event.reason.as_deref().unwrap_or_default();
        assert!(!reason.is_empty() && event.rule.is_some(), "{event:?}");
        let told = answer.json()["error_description"].as_str().unwrap().to_owned();
        assert!(told.contains(reason), "{rule}: {told:?} is not because of {reason:?}");
        assert!(!reason.contains("example.com"), "{reason}");
    }
}

#[tokio::test]
async fn an_event_has_the_id_of_its_request_if_the_header_is_named() {
    let long = "x".repeat(500);
    for (preset, sent, expected) in [
        (tower_dcr::mcp(), "4bf92f3577b34da6", None),
        (
            tower_dcr::mcp().map_audit(|audit| audit.with_request_id_header("x-request-id".parse().unwrap())),
            "4bf92f3577b34da6",
            Some("4bf92f3577b34da6"),
        ),
        (
            tower_dcr::mcp().map_audit(|audit| audit.with_request_id_header("x-request-id".parse().unwrap())),
            &*long,
            Some(&long[..128]),
        ),
        (tower_dcr::mcp().map_audit(|audit| audit.with_request_id_header("x-request-id".parse().unwrap())), "", None),
        (
            tower_dcr::mcp().map_audit(|audit| audit.with_request_id_header("traceparent".parse().unwrap())),
            "4bf92f3577b34da6",
            None,
        ),
    ] {
        let kept = Kept::default();
        let mut request = post(r#"{"redirect_uris":["javascript:alert(1)"]}"#);
        request.headers_mut().insert("x-request-id", sent.parse().unwrap());
        send(&behind(&preset.with_sink(kept.sink()), &Naive::default()), request).await;
        assert_eq!(kept.take().pop().unwrap().request_id.as_deref(), expected);
    }
}

/// One source sends thousands of requests that cost it nothing: what was registered is still there to read.
#[tokio::test]
async fn limits_and_unknown_clients_leave_two_lines_each() {
    let lines = Lines::default();
    let quota = tower_dcr::rate_limit::Quota::per_hour(std::num::NonZeroU32::new(1).unwrap());
    let registrar = Registrar::new(MemoryLedger::default());
    let preset = tower_dcr::mcp()
        .map_rate_limit(|limits| limits.address = quota.into())
        .map_audit(AuditLayer::with_requester)
        .with_registrar(registrar.clone())
        .with_sink(lines.clone());
    let service = behind(&preset, &Naive::default());
    let gate = behind(&GateLayer::new(GateEndpoint::Token, registrar.clone()), &Naive::default());
    let form = |id: u32| {
        let request = Request::post("/token").header("content-type", "application/x-www-form-urlencoded");
        let body = format!("grant_type=authorization_code&code=x&client_id=made-up-{id}");
        from([192, 0, 2, 1], request.body(Full::new(Bytes::from(body))).unwrap())
    };
    assert_eq!(send(&service, from([192, 0, 2, 1], post(GOOD))).await.status(), StatusCode::CREATED);
    for id in 0..500 {
        let other = r#"{"client_name":"other","redirect_uris":["https://app.example.com/cb"]}"#;
        let answer = send(&service, from([192, 0, 2, 1], post(other))).await;
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        send(&gate, form(id)).await;
    }
    drop((service, gate, preset, registrar));
    let events = lines.take();
    let limited: Vec<_> = events.iter().filter(|event| event["outcome"] == "limited").collect();
    let unknown: Vec<_> =
        events.iter().filter(|event| event["action"] == "unregistered_client" && event["subject"] == "token").collect();
    for (kind, all) in [("limited", &limited), ("unknown", &unknown)] {
        assert_eq!(all.len(), 2, "{kind}: {all:?}");
        assert!(all[0].get("count").is_none() && all[1]["count"] == 499, "{kind}: {all:?}");
        assert!(all[1]["reason"].is_string(), "{kind}: {all:?}");
    }
    assert_eq!((&limited[1]["requester"], &limited[1]["rule"]), (&"192.0.2.1".into(), &"rate-limit".into()));
    assert_eq!((&unknown[0]["client_id"], &unknown[0]["source"]), (&"made-up-0".into(), &"192.0.2.1".into()));
    assert!(unknown[1].get("client_id").is_none() && unknown[1]["source"] == "192.0.2.1");
    assert_eq!(events.iter().filter(|event| event["outcome"] == "accepted").count(), 1);
}

/// One call says where all events go, in whatever order; a sink of the registrar's own goes before.
#[tokio::test]
async fn the_registrar_has_the_sink_of_its_preset() {
    let revoke = async |registrar: &Registrar| {
        registrar.revoke(Revocation::client("client-1", Actor::Operator("alice".into()), "abuse")).await.unwrap();
    };
    for order in 0..3 {
        let (of_preset, own) = (Lines::default(), Lines::default());
        let registrar = Registrar::new(MemoryLedger::default());
        let kept = registrar.clone();
        let preset = match order {
            0 => tower_dcr::mcp().with_sink(of_preset.clone()).with_registrar(registrar),
            1 => tower_dcr::mcp().with_registrar(registrar).with_sink(of_preset.clone()),
            _ => tower_dcr::mcp().with_sink(of_preset.clone()).with_registrar(registrar.with_sink(own.clone())),
        };
        let service = behind(&preset, &Naive::default());
        send(&service, post(r#"{"redirect_uris":["http://localhost/cb"]}"#)).await;
        let registrar = if order == 2 { kept.with_sink(own.clone()) } else { kept };
        revoke(&registrar).await;
        let (of_preset, own) = (of_preset.of(LifecycleAction::Revoked).len(), own.of(LifecycleAction::Revoked).len());
        assert_eq!((of_preset, own), if order == 2 { (0, 1) } else { (1, 0) }, "{order}");
    }
}

#[tokio::test]
async fn expiry_and_eviction_events_name_client_and_source() {
    for (requester, source) in [("none", "192.0.2.0/24"), ("address", "192.0.2.7")] {
        let lines = Lines::default();
        let clock = Arc::new(ManualClock::new(Duration::from_secs(1_767_225_600)));
        let registrar = Registrar::new(MemoryLedger::default()).with_clock(clock.clone());
        let preset = tower_dcr::mcp().with_registrar(registrar.clone()).with_sink(lines.clone());
        let preset = if requester == "address" { preset.map_audit(AuditLayer::with_requester) } else { preset };
        let body = r#"{"client_name":"An\u202eApp","redirect_uris":["http://localhost/cb"]}"#;
        let name = r#"{"client_name":"An App","redirect_uris":["http://localhost/cb"]}"#;
        let service = behind(&preset, &Naive::default());
        send(&service, from([192, 0, 2, 7], post(body))).await;
        send(&service, from([192, 0, 2, 7], post(name))).await;
        clock.advance(Duration::from_secs(400 * 24 * 3600));
        registrar.maintain_once().await.unwrap();
        let expired = lines.of(LifecycleAction::Expired);
        assert!(!expired.is_empty());
        for event in &expired {
            assert_eq!(event["source"], source, "{event}");
            assert!(event["client_name"].is_string() && event["client_id"].is_string(), "{event}");
        }
        assert!(expired.iter().any(|event| event["client_name"] == "An App"), "{expired:?}");
    }
}

#[tokio::test]
async fn update_events_name_changed_fields_without_values() {
    let lines = Lines::default();
    let registrar = Registrar::new(MemoryLedger::default());
    let preset = tower_dcr::mcp().with_registrar(registrar).with_sink(lines.clone());
    let service = behind(&preset, &Naive::default());
    send(&service, post(r#"{"client_name":"Old","redirect_uris":["http://localhost/cb"]}"#)).await;
    for (body, changed) in [
        (
            r#"{"client_id":"client-1","client_name":"New","redirect_uris":["http://localhost/cb"]}"#,
            vec!["client_name"],
        ),
        (
            r#"{"client_id":"client-1","software_id":"an-id","redirect_uris":["http://localhost/other"]}"#,
            vec!["client_name", "redirect_uris", "software_id"],
        ),
    ] {
        let mut request = post(body);
        (*request.method_mut(), *request.uri_mut()) = (Method::PUT, "/register/client-1".parse().unwrap());
        assert!(send(&service, request).await.status().is_success());
        let updated = lines.of(LifecycleAction::Updated);
        assert_eq!(updated.len(), 1, "{updated:?}");
        assert_eq!(updated[0]["changed"], serde_json::json!(changed));
        assert!(!updated[0].to_string().contains("an-id") && !updated[0].to_string().contains("other"), "{updated:?}");
    }
}

#[tokio::test]
async fn events_mark_clients_that_wait_for_approval() {
    for (approval, pending) in [(None, false), (Some(Duration::from_secs(3600)), true)] {
        let kept = Kept::default();
        let registrar =
            Registrar::new(MemoryLedger::default()).map_settings(|lifecycle| lifecycle.approval = approval).unwrap();
        let service = behind(&tower_dcr::mcp().with_registrar(registrar).with_sink(kept.sink()), &Naive::default());
        for outcome in [Outcome::Accepted, Outcome::Deduplicated] {
            send(&service, post(r#"{"redirect_uris":["http://localhost/cb"]}"#)).await;
            assert_eq!(kept.lines()[0].contains(r#""pending":true"#), pending);
            let event = kept.take().pop().unwrap();
            assert_eq!((event.outcome, event.pending), (outcome, pending));
        }
    }
}

/// A new outcome or action needs a row in the mapping.
#[test]
fn the_documentation_maps_every_outcome_and_action() {
    let page = include_str!("../../docs/audit.md");
    let snake_case = |name: &str| {
        let words = name.split_inclusive(|_: char| true).map(|letter| match letter.to_ascii_lowercase() {
            lower if lower == letter => lower,
            lower => format!("_{lower}"),
        });
        words.collect::<String>().trim_start_matches('_').to_owned()
    };
    let named = |source: &str, name: &str| -> Vec<String> {
        let (_, body) = source.split_once(&format!("pub enum {name} {{")).unwrap();
        let (body, _) = body.split_once("\n}").unwrap();
        let code = body.lines().map(str::trim).filter(|line| !line.starts_with("//"));
        code.filter_map(|line| line.strip_suffix(',')).map(snake_case).collect()
    };
    let outcomes = named(include_str!("../../src/audit.rs"), "Outcome");
    let actions = named(include_str!("../../src/audit/lifecycle.rs"), "LifecycleAction");
    assert_eq!((outcomes.len(), actions.len()), (7, 24), "{outcomes:?} {actions:?}");
    let ocsf = page.split("## OCSF mapping").nth(1).unwrap();
    for name in outcomes {
        assert!(ocsf.contains(&format!("`{name}`")), "{name}");
    }
    for name in actions {
        assert!(ocsf.contains(&format!("| `{name}` | ")), "{name}");
    }
}
