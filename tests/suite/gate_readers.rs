//! Other readers of requests for tokens, held against the gate: the client that one of them finds, the gate has found as well.
//! The fuzzer includes this file.

use std::convert::Infallible;
use std::future::Ready;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use tower_dcr::audit::{Event, LifecycleEvent, Sink};
use tower_dcr::clients::MemoryLedger;
use tower_dcr::clients::Registrar;
use tower_dcr::layers::ResponseBody;
use tower_dcr::layers::{GateEndpoint, GateLayer};
use tower_dcr::rules::Action;
use tower_layer::Layer;
use tower_service::Service;

/// The clients that the gate named in events.
#[derive(Clone, Default)]
struct Ids(Arc<Mutex<Vec<String>>>);

impl Sink for Ids {
    fn emit(&self, _: &Event) {}

    fn emit_lifecycle(&self, event: &LifecycleEvent) {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ids.extend(event.client_id.clone());
    }
}

type Passed = Request<ResponseBody<Full<Bytes>>>;

/// A server that keeps the request, and gives no tokens.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Option<Passed>>>);

impl Service<Passed> for Server {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Passed) -> Self::Future {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(request);
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::BAD_REQUEST;
        std::future::ready(Ok(response))
    }
}

/// Waits for a future that only waits for what is in memory.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1_000_000 {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
        std::thread::yield_now();
    }
    panic!("nothing in memory keeps a future waiting")
}

/// Sends a request through a gate that lets unknown and unnamed clients pass, and reads what goes on in the ways of other
/// servers. Returns whether it went on.
pub(crate) fn check(query: &str, media_type: &str, body: &[u8]) -> bool {
    let (ids, server) = (Ids::default(), Server::default());
    let registrar = Registrar::new(MemoryLedger::default()).with_sink(ids.clone());
    let mut gate = GateLayer::new(GateEndpoint::Token, registrar)
        .map_settings(|gate| gate.unidentified = Some(Action::Pass))
        .layer(server.clone());
    let Ok(request) = Request::post(format!("/token?{query}"))
        .header(header::CONTENT_TYPE, media_type)
        .body(Full::new(Bytes::copy_from_slice(body)))
    else {
        return false;
    };
    let sent = request.uri().query().unwrap_or_default().to_owned();
    let Ok(_) = wait(gate.call(request));
    let Some(passed) = server.0.lock().unwrap_or_else(PoisonError::into_inner).take() else { return false };
    let seen = ids.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let (parts, passed) = passed.into_parts();
    let Ok(bytes) = wait(passed.collect()).map(http_body_util::Collected::to_bytes);
    assert_eq!(bytes, body, "byte for byte");
    assert_eq!(parts.uri.query().unwrap_or_default(), sent);
    let media = parts.headers.get(header::CONTENT_TYPE).map(|media| media.as_bytes().to_vec()).unwrap_or_default();
    assert!(bytes.is_empty() || media == b"application/json" || media == b"application/x-www-form-urlencoded");
    let texts = [sent.as_bytes(), body];
    let mut found: Vec<String> = Vec::new();
    // A server may read any of these, and the body in either way, whatever it is called.
    for text in texts {
        found.extend(forms(text));
    }
    found.extend(json(body));
    for id in found.into_iter().filter(|id| !id.trim().is_empty()) {
        assert_eq!(Some(&id), seen.as_ref(), "{query} {media_type} {:?}", String::from_utf8_lossy(body));
    }
    true
}

/// The readings of PHP, Rack 2, qs, ASP.NET and Python as `client_id`.
fn forms(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let text = text.trim_start_matches(['?', '\u{feff}']);
    let mut found = Vec::new();
    for separators in [&['&'][..], &['&', ';'][..]] {
        for pair in text.split(separators) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name), decode(value));
            if [php(&name), brackets(&name), name.to_lowercase()].iter().any(|name| name == "client_id") {
                found.push(value);
            }
        }
    }
    found
}

fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// `php_register_variable_ex`.
fn php(name: &str) -> String {
    let name = name.trim_start_matches(' ').split('\0').next().unwrap_or_default();
    let (head, index) = name.find('[').map_or((name, ""), |at| name.split_at(at));
    let mut folded = head.replace(['.', ' '], "_");
    if !index.is_empty() && !index.contains(']') {
        folded.push_str(&index.replace(['.', ' ', '['], "_"));
    }
    folded
}

/// The first key of qs and Rack: `a[b]` is `a`, and `[a]` is `a`.
fn brackets(name: &str) -> String {
    name.trim_start_matches('[').split(['[', ']']).next().unwrap_or_default().to_owned()
}

fn json(text: &[u8]) -> Vec<String> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let Ok(serde_json::Value::Object(members)) = serde_json::from_slice(text) else { return Vec::new() };
    let is_client = |name: &str| name.to_lowercase() == "client_id" || php(name) == "client_id";
    let named = members.into_iter().filter(|(name, _)| is_client(name));
    named
        .filter(|(_, value)| !value.is_null())
        .map(|(_, value)| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        .collect()
}
