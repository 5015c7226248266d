//! Audit events through a queue to a pipeline: none is lost, or it is counted.

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use http::StatusCode;
use tower_dcr::audit::{BatchSink, Buffered, Event, Overflow, Record, Sink};
use tower_dcr::clients::{Actor, MemoryLedger};
use tower_dcr::clients::{Registrar, Revocation};

use crate::support::{Naive, behind, eventually, post, send};

const BODY: &str = r#"{"redirect_uris":["http://localhost/cb"]}"#;

/// A pipeline that can be held up, and can fail.
#[derive(Clone, Default)]
struct Pipeline {
    taken: Arc<Mutex<Vec<String>>>,
    batches: Arc<AtomicUsize>,
    fails: Arc<AtomicBool>,
    held: Arc<(Mutex<bool>, Condvar)>,
}

impl Pipeline {
    fn hold(&self, hold: bool) {
        *self.held.0.lock().unwrap() = hold;
        self.held.1.notify_all();
    }

    fn taken(&self) -> Vec<String> {
        self.taken.lock().unwrap().clone()
    }
}

impl BatchSink for Pipeline {
    fn write(&mut self, batch: &[Record]) -> Result<(), Box<dyn Error + Send + Sync>> {
        drop(self.held.1.wait_while(self.held.0.lock().unwrap(), |held| *held).unwrap());
        if self.fails.load(Ordering::SeqCst) {
            return Err("the broker is away".into());
        }
        self.batches.fetch_add(1, Ordering::SeqCst);
        self.taken.lock().unwrap().extend(batch.iter().map(ToString::to_string));
        Ok(())
    }
}

async fn register(sink: impl Sink, times: usize) -> Vec<StatusCode> {
    let service = behind(&tower_dcr::mcp().without_rate_limits().with_sink(sink), &Naive::default());
    let mut statuses = Vec::new();
    for _ in 0..times {
        statuses.push(send(&service, post(BODY)).await.status());
    }
    statuses
}

#[tokio::test]
async fn events_of_both_kinds_arrive_in_order_and_in_batches() {
    let pipeline = Pipeline::default();
    let audit = Buffered::start(pipeline.clone(), 10_000, Overflow::Count).unwrap();
    let registrar = Registrar::new(MemoryLedger::default()).with_sink(audit.clone());
    let preset = tower_dcr::mcp().with_registrar(registrar.clone()).with_sink(audit.clone());
    let service = behind(&preset, &Naive::default());
    pipeline.hold(true);
    for number in 0..50 {
        let body = format!(r#"{{"client_name":"c{number}","redirect_uris":["http://localhost/cb"]}}"#);
        assert_eq!(send(&service, post(body)).await.status(), StatusCode::CREATED);
    }
    let revocation = Revocation::client("client-1", Actor::Operator("alice".into()), "abuse");
    registrar.revoke(revocation).await.unwrap();
    pipeline.hold(false);
    audit.flush();
    let taken = pipeline.taken();
    assert_eq!(audit.lost(), 0);
    let (registered, later) = taken.split_at(50);
    assert!(registered.iter().all(|line| line.contains(r#""outcome":"accepted""#)), "{}", taken[0]);
    assert!(later.iter().any(|line| line.contains(r#""action":"revoked""#) && line.contains("alice")), "{later:?}");
    let batches = pipeline.batches.load(Ordering::SeqCst);
    assert!(batches < 10, "{batches} batches for {} events", taken.len());
}

#[tokio::test]
async fn events_beyond_the_queue_are_counted() {
    let pipeline = Pipeline::default();
    let audit = Buffered::start(pipeline.clone(), 10, Overflow::Count).unwrap();
    pipeline.hold(true);
    let statuses = register(audit.clone(), 30).await;
    assert!(statuses.iter().all(|status| *status == StatusCode::CREATED));
    pipeline.hold(false);
    audit.flush();
    assert_eq!((pipeline.taken().len(), audit.lost()), (10, 20));
}

#[tokio::test]
async fn registrations_beyond_the_queue_are_rejected_on_request() {
    let pipeline = Pipeline::default();
    let audit = Buffered::start(pipeline.clone(), 10, Overflow::Reject).unwrap();
    pipeline.hold(true);
    let statuses = register(audit.clone(), 30).await;
    let (created, rejected) = statuses.split_at(10);
    assert!(created.iter().all(|status| *status == StatusCode::CREATED));
    assert!(rejected.iter().all(|status| *status == StatusCode::SERVICE_UNAVAILABLE));
    pipeline.hold(false);
    audit.flush();
    let taken = pipeline.taken();
    assert!(taken.len() == 10 && taken.iter().all(|line| line.contains("accepted")));
    assert_eq!(register(audit.clone(), 1).await, [StatusCode::CREATED]);
}

#[tokio::test]
async fn a_pipeline_that_fails_loses_events_or_gets_them_again() {
    let pipeline = Pipeline::default();
    pipeline.fails.store(true, Ordering::SeqCst);
    let counting = Buffered::start(pipeline.clone(), 4096, Overflow::Count).unwrap();
    assert_eq!(register(counting.clone(), 5).await, [StatusCode::CREATED; 5]);
    counting.flush();
    assert_eq!((pipeline.taken().len(), counting.lost()), (0, 5));

    let rejecting = Buffered::start(pipeline.clone(), 4096, Overflow::Reject).unwrap();
    assert_eq!(register(rejecting.clone(), 1).await, [StatusCode::CREATED]);
    rejecting.flush();
    assert_eq!(register(rejecting.clone(), 3).await, [StatusCode::SERVICE_UNAVAILABLE; 3]);
    pipeline.fails.store(false, Ordering::SeqCst);
    eventually("the sink is ready", async || rejecting.is_ready()).await;
    assert_eq!(register(rejecting.clone(), 1).await, [StatusCode::CREATED]);
    drop(rejecting);
    let taken = pipeline.taken();
    assert_eq!(taken.iter().filter(|line| line.contains("accepted")).count(), 2, "{taken:#?}");
    // The first of them, and how many others there were.
    let rejected: Vec<&String> = taken.iter().filter(|line| line.contains("rejected")).collect();
    assert!(rejected.len() == 2 && rejected[1].contains(r#""count":2"#), "{taken:#?}");
}

/// A server that stops does not wait for a pipeline that never comes back.
#[tokio::test]
async fn closing_tries_once_more_and_gives_up() {
    let pipeline = Pipeline::default();
    pipeline.fails.store(true, Ordering::SeqCst);
    let rejecting = Buffered::start(pipeline.clone(), 4096, Overflow::Reject).unwrap();
    register(rejecting.clone(), 2).await;
    drop(rejecting);
    assert!(pipeline.taken().is_empty());
}

#[tokio::test]
async fn a_pipeline_that_panics_makes_the_sink_unready() {
    let panics = |_: &[Record]| -> Result<(), Box<dyn Error + Send + Sync>> { panic!("a mistake in the pipeline") };
    let audit = Buffered::start(panics, 4096, Overflow::Reject).unwrap();
    register(audit.clone(), 1).await;
    audit.flush();
    eventually("the sink is not ready", async || !audit.is_ready()).await;
    assert_eq!(register(audit.clone(), 1).await, [StatusCode::SERVICE_UNAVAILABLE]);
}

#[tokio::test]
async fn any_sink_can_be_buffered() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&seen);
    let slow = move |event: &Event| {
        std::thread::sleep(Duration::from_millis(2));
        kept.lock().unwrap().push(event.to_string());
    };
    let audit = Buffered::start(Arc::new(slow), 4096, Overflow::Count).unwrap();
    assert_eq!(register(audit.clone(), 5).await, [StatusCode::CREATED; 5]);
    audit.flush();
    assert_eq!(seen.lock().unwrap().len(), 5);
}
