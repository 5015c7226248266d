//! Any request at the registration route: the handler gets a checked document with our headers, or no body.
#![no_main]

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use libfuzzer_sys::fuzz_target;
use tower_dcr::Registration;
use tower_dcr::audit::Event;
use tower_layer::Layer;
use tower_service::Service;

/// Headers that say something of a body, and more that a client could hope for.
const NAMES: [&str; 12] = [
    "content-type",
    "content-type",
    "content-encoding",
    "content-length",
    "transfer-encoding",
    "digest",
    "content-digest",
    "range",
    "accept-encoding",
    "signature",
    "connection",
    "trailer",
];
const GONE: [&str; 7] =
    ["content-encoding", "transfer-encoding", "digest", "content-digest", "range", "accept-encoding", "signature"];

#[derive(Clone)]
struct Handler;

impl<B> Service<Request<B>> for Handler
where
    B: Body<Data = Bytes, Error: std::fmt::Debug> + Send + 'static,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.expect("it was read before").to_bytes();
            if matches!(parts.method, Method::POST | Method::PUT) {
                let types: Vec<_> = parts.headers.get_all("content-type").iter().collect();
                assert_eq!(types, ["application/json"]);
                let lengths: Vec<_> = parts.headers.get_all("content-length").iter().collect();
                assert_eq!(lengths, [&body.len().to_string()]);
                let document = Registration::parse(&body).expect("strict JSON");
                assert_eq!(document.canonical_bytes(), body, "canonical bytes");
                assert!(GONE.iter().all(|name| !parts.headers.contains_key(*name)), "{:?}", parts.headers);
            } else {
                assert!(matches!(parts.method, Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS));
                assert!(body.is_empty(), "{} with a body", parts.method);
            }
            let answer = Response::builder().status(201).header("content-type", "application/json");
            Ok(answer.body(Full::from(r#"{"client_id":"c"}"#)).expect("an answer"))
        })
    }
}

fn service() -> impl Service<Request<Full<Bytes>>, Error = Infallible> + Clone {
    static GUARD: LazyLock<tower_dcr::Preset> =
        LazyLock::new(|| tower_dcr::mcp().without_rate_limits().with_sink(|_: &Event| {}));
    GUARD.layer(Handler)
}

type Input<'a> = (&'a [u8], &'a [u8], Vec<(u8, &'a [u8])>, &'a [u8]);

fuzz_target!(|input: Input<'_>| {
    let (method, target, headers, body) = input;
    let Ok(method) = Method::from_bytes(if method.is_empty() { b"POST" } else { method }) else { return };
    let target = [b"/register", target].concat();
    let Ok(mut request) =
        Request::builder().method(method).uri(target.as_slice()).body(Full::new(Bytes::copy_from_slice(body)))
    else {
        return;
    };
    for (name, value) in headers.into_iter().take(8) {
        let name = HeaderName::from_static(NAMES[usize::from(name) % NAMES.len()]);
        if let Ok(value) = HeaderValue::from_bytes(value) {
            request.headers_mut().append(name, value);
        }
    }
    if request.headers().is_empty() {
        request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    }
    let mut service = service();
    let mut context = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut context).is_ready());
    // There is nothing to wait for.
    assert!(pin!(service.call(request)).poll(&mut context).is_ready());
});
