//! Shared helpers: a handler that accepts everything, and functions to call it.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use serde_json::{Map, Value};
use tower::{Service, ServiceExt};
use tower_dcr::audit::Event;

/// A naive registration handler: stores whatever it gets and answers 201 with all of it plus a `client_id`, which is the
/// same for equal bodies. Clones share what they have seen.
#[derive(Clone, Default)]
pub struct Naive {
    seen: Arc<Mutex<Vec<Bytes>>>,
}

impl Naive {
    /// The bodies so far.
    pub fn seen(&self) -> Vec<Bytes> {
        self.seen.lock().unwrap().clone()
    }

    pub async fn register<B>(self, request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible>
    where
        B: Body<Data: Send, Error: std::fmt::Debug>,
    {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let number = {
            let mut seen = self.seen.lock().unwrap();
            seen.push(body.clone());
            seen.iter().position(|known| *known == body).map_or(0, |at| at + 1)
        };
        let mut document: Map<String, Value> = serde_json::from_slice(&body).unwrap_or_default();
        document.entry("client_id").or_insert_with(|| format!("client-{number}").into());
        Ok(created(&document))
    }
}

pub fn created(document: &Map<String, Value>) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(document).unwrap();
    let response = Response::builder().status(StatusCode::CREATED).header("content-type", "application/json");
    response.body(body.into()).unwrap()
}

/// A naive handler as a service behind `layer`.
pub fn behind<L>(layer: &L, naive: &Naive) -> L::Service
where
    L: tower::Layer<NaiveService>,
{
    layer.layer(NaiveService(naive.clone()))
}

#[derive(Clone)]
pub struct NaiveService(Naive);

impl<B> Service<Request<B>> for NaiveService
where
    B: Body<Data: Send, Error: std::fmt::Debug> + Send + 'static,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Box::pin(self.0.clone().register(request))
    }
}

pub fn post(body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::post("/register").header("content-type", "application/json");
    request.body(Full::new(body.into())).unwrap()
}

/// A response with its body read.
pub struct Read {
    pub response: Response<()>,
    pub body: Bytes,
}

impl Read {
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }
}

pub async fn send<S, B, R>(service: &S, request: Request<B>) -> Read
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: std::fmt::Debug,
    R: Body<Data: Send, Error: std::fmt::Debug>,
{
    let (parts, body) = service.clone().oneshot(request).await.unwrap().into_parts();
    Read { response: Response::from_parts(parts, ()), body: body.collect().await.unwrap().to_bytes() }
}

/// A sink that keeps events and their lines.
#[derive(Clone, Default)]
pub struct Kept {
    events: Arc<Mutex<Vec<Event>>>,
}

impl Kept {
    pub fn sink(&self) -> impl Fn(&Event) + Send + Sync + 'static {
        let events = Arc::clone(&self.events);
        move |event: &Event| events.lock().unwrap().push(event.clone())
    }

    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.events.lock().unwrap())
    }

    pub fn lines(&self) -> Vec<String> {
        self.events.lock().unwrap().iter().map(ToString::to_string).collect()
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines at `level` and above that `act` brings about.
pub fn logged(level: tracing::Level, act: impl FnOnce()) -> Vec<String> {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .without_time()
        .with_writer(move || writer.clone())
        .finish();
    // With one subscriber in the process, `tracing` remembers for all threads what one of them wants.
    let _another = tracing::Dispatch::new(tracing_subscriber::registry());
    tracing::subscriber::with_default(subscriber, || {
        tracing::callsite::rebuild_interest_cache();
        act();
    });
    String::from_utf8(log.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
}

/// Waits until `condition` holds, for a minute at most: then it panics with `what`.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), wait).await.is_ok(), "within a minute: {what}");
}

/// Returns `value` after `change`.
pub fn changed<T>(mut value: T, change: impl FnOnce(&mut T)) -> T {
    change(&mut value);
    value
}

/// Returns the registration as the rules left it, as JSON, or the description of the rejection.
pub fn outcome(evaluation: &tower_dcr::rules::Evaluation) -> Result<Value, String> {
    match &evaluation.rejection {
        Some(rejection) => Err(rejection.description()),
        None => Ok(serde_json::from_slice(&evaluation.registration.as_ref().unwrap().canonical_bytes()).unwrap()),
    }
}
