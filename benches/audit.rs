//! The throughput of sinks, in events per second, and of registrations.

#[path = "support/mod.rs"]
mod support;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use support::{Case, compare, figure};
use tower::{Layer, ServiceExt, service_fn};
use tower_dcr::audit::{Buffered, ChainKey, Event, JsonLines, JsonLinesSettings, Overflow, Record, Sink};
use tower_dcr::layers::RegistrationBody;
use tower_dcr::registration::Digest;

const EVENTS: usize = 400_000;

const BODY: &str = r#"{"client_name":"App","redirect_uris":["http://127.0.0.1:3118/cb"],"logo_uri":"x"}"#;

/// Registers so many times through the whole stack, and says how many there were a second.
#[expect(clippy::disallowed_methods, reason = "this is what measures")]
async fn registrations(sink: impl Sink, count: usize) -> f64 {
    let handler = service_fn(async |_: Request<RegistrationBody>| {
        let answer = Response::builder().status(201).header("content-type", "application/json");
        Ok::<_, Infallible>(answer.body(Full::<Bytes>::from(r#"{"client_id":"c"}"#)).unwrap_or_default())
    });
    let service = tower_dcr::mcp().without_rate_limits().with_sink(sink).layer(handler);
    let start = Instant::now();
    for _ in 0..count {
        let request = Request::post("/register").header("content-type", "application/json");
        let request = request.body(Full::<Bytes>::from(BODY)).unwrap_or_default();
        assert!(service.clone().oneshot(request).await.is_ok_and(|answer| answer.status() == 201));
    }
    rate(count, start)
}

#[expect(clippy::cast_precision_loss, reason = "a number of events")]
fn rate(count: usize, start: Instant) -> f64 {
    count as f64 / start.elapsed().as_secs_f64()
}

/// Gives the sink so many events from one thread, and waits until all are written.
#[expect(clippy::disallowed_methods, reason = "this is what measures")]
fn events(sink: &impl Sink, event: &Event, flush: impl FnOnce()) -> f64 {
    let start = Instant::now();
    for _ in 0..EVENTS {
        while !sink.is_ready() {
            std::thread::yield_now();
        }
        sink.emit(event);
    }
    flush();
    rate(EVENTS, start)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let kept: Arc<Mutex<Option<Event>>> = Arc::default();
    let keep = Arc::clone(&kept);
    let registered = registrations(
        move |event: &Event| {
            keep.lock().expect("nobody panics").get_or_insert_with(|| event.clone());
        },
        200_000,
    )
    .await;
    let event = kept.lock().expect("nobody panics").take().expect("an event");

    let body = BODY.as_bytes();
    let figures = compare(
        "an event",
        vec![
            Case::new("as a line of JSON, digests known", || event.to_string()),
            Case::new("SHA-256 of a body of 80 bytes", || Digest::of(body)),
        ],
    );
    if std::env::args().any(|argument| argument == "instructions") {
        return;
    }
    if let [line, _] = figures.as_slice() {
        figure("a line, in nanoseconds", line.cost);
    }

    let folder = std::env::temp_dir().join(format!("tower-dcr-bench-audit-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let open = |name: &str, chain: Option<ChainKey>| {
        let settings = JsonLinesSettings { overflow: Overflow::Reject, queue: 65_536, chain, ..Default::default() };
        JsonLines::open(folder.join(name), settings).expect("a file")
    };
    let plain = open("plain", None);
    let chained = open("chained", ChainKey::new(b"sixteen bytes or more"));
    let pipeline = |_: &[Record]| Ok(());
    let buffered = Buffered::start(pipeline, 65_536, Overflow::Reject).expect("a thread");

    println!("| | a second |\n| --- | ---: |");
    println!("| registrations on one core, no handler to speak of | {registered:.0} |");
    let lines = events(&plain, &event, || plain.flush());
    println!("| events to `JsonLines` | {lines:.0} |");
    let chained_lines = events(&chained, &event, || chained.flush());
    println!("| events to `JsonLines`, chained | {chained_lines:.0} |");
    let batched = events(&buffered, &event, || buffered.flush());
    println!("| events to `Buffered` | {batched:.0} |");
    assert_eq!(plain.lost() + chained.lost() + buffered.lost(), 0, "an event was lost");
    figure("registrations to events in a file", registered / lines);
    figure("registrations to events in a chained file", registered / chained_lines);
    let written = open("written", None);
    let through = registrations(written.clone(), 200_000).await;
    written.flush();
    assert_eq!(written.lost(), 0, "an event was lost");
    println!("| registrations, each with its line | {through:.0} |");
    let _left = std::fs::remove_dir_all(folder);
}
