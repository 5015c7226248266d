//! The engine: what reaches the inner service, in which form, and how often the body is parsed.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_dcr::layers::{PolicyLayer, RegistrationBody};
use tower_dcr::registration::Limits;
use tower_dcr::rules::{
    Decision, Disposition, Evaluation, MetadataAllowlist, Operation, Policy, RedirectUris, Rule, rule,
};

use crate::support::{Naive, behind, post, send};

const GOOD: &str = r#"{"redirect_uris":["https://app.example.com/cb"],"foo":1}"#;

fn metadata() -> PolicyLayer {
    PolicyLayer::new(MetadataAllowlist::mcp())
}

fn redirect_uris() -> PolicyLayer {
    PolicyLayer::new(RedirectUris::mcp())
}

/// Counts how often the bytes of the original body are asked for.
struct Counted(Full<Bytes>, Arc<AtomicUsize>);

impl Body for Counted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        std::pin::Pin::new(&mut self.0).poll_frame(cx)
    }
}

/// A rule that notes at which address the registration lies: the same for all rules that share one parse.
fn witness(seen: &Arc<Mutex<Vec<usize>>>) -> impl Rule + use<> {
    let seen = Arc::clone(seen);
    rule("witness", move |draft| {
        seen.lock().unwrap().push(draft.registration().source().as_ptr().addr());
        Ok(())
    })
}

#[tokio::test]
async fn several_policy_layers_in_one_stack_parse_once() {
    let seen = Arc::default();
    let naive = Naive::default();
    let stack = ServiceBuilder::new()
        .layer(PolicyLayer::new(witness(&seen)))
        .layer(metadata())
        .layer(PolicyLayer::new(witness(&seen)))
        .layer(redirect_uris())
        .layer(PolicyLayer::new(witness(&seen)));
    let service = behind(&stack.into_inner(), &naive);
    let reads = Arc::new(AtomicUsize::new(0));
    let request = post(GOOD).map(|body| Counted(body, Arc::clone(&reads)));
    assert_eq!(send(&service, request).await.status(), StatusCode::CREATED);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|address| *address == seen[0]), "parsed more than once");
    assert_eq!(reads.load(Ordering::SeqCst), 2, "one frame and the end");
}

#[tokio::test]
async fn separate_axum_layers_parse_each_for_itself_and_agree() {
    let seen = Arc::default();
    let naive = Naive::default();
    let handler = naive.clone();
    let app = axum::Router::new()
        .route(
            "/register",
            axum::routing::post(async move |request: axum::extract::Request| handler.register(request).await),
        )
        .layer(PolicyLayer::new(witness(&seen)))
        .layer(metadata())
        .layer(PolicyLayer::new(witness(&seen)))
        .layer(redirect_uris());
    let response = app.oneshot(post(GOOD).map(axum::body::Body::new)).await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert_ne!(seen[0], seen[1]);
    assert_eq!(response.extensions().get::<Evaluation>().unwrap().rules.first(), Some(&"redirect-uris"));
    assert!(!naive.seen()[0].windows(5).any(|window| window == b"\"foo\""));
}

/// An approval in the request's extensions would survive a layer that replaces the body. An approval that is the body
/// does not.
#[tokio::test]
async fn a_body_rewritten_between_two_policy_layers_is_evaluated_again() {
    let naive = Naive::default();
    let evil = r#"{"redirect_uris":["javascript:alert(1)"],"skip_consent":true}"#;
    let stack = ServiceBuilder::new()
        .layer(redirect_uris())
        .map_request(move |request: Request<RegistrationBody>| request.map(|_| Full::<Bytes>::from(evil)))
        .layer(redirect_uris());
    let service = stack.service(behind(&tower::layer::util::Identity::new(), &naive));
    let answer = send(&service, post(GOOD)).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert!(naive.seen().is_empty());
}

/// A first-wins reader behind the guard must not see another client than the guard did.
#[tokio::test]
async fn readers_that_take_the_first_or_the_last_duplicate_never_differ() {
    for body in [
        r#"{"redirect_uris":["https://app.example.com/cb"],"redirect_uris":["https://evil.example.net/cb"]}"#,
        r#"{"redirect_uris":["https://app.example.com/cb"],"redirect\u005furis":["https://evil.example.net/cb"]}"#,
        r#"{"redirect_uris":["https://app.example.com/cb"],"x":{"a":1,"\u0061":2}}"#,
        r#"{"redirect_uris":["https://app.example.com/cb"],"x":[[{"a":1,"a":1}]]}"#,
    ] {
        let naive = Naive::default();
        let service = behind(&metadata(), &naive);
        let answer = send(&service, post(body)).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{body}");
        assert!(naive.seen().is_empty(), "{body}");
    }
}

#[tokio::test]
async fn the_handler_reads_the_checked_body_with_matching_headers() {
    let headers = Arc::new(Mutex::new(http::HeaderMap::new()));
    let kept = Arc::clone(&headers);
    let service = metadata().layer(service_fn(move |request: Request<RegistrationBody>| {
        let kept = Arc::clone(&kept);
        async move {
            let (parts, body) = request.into_parts();
            let checked = body.registration().unwrap().canonical_bytes();
            assert_eq!(body.size_hint().exact(), Some(checked.len() as u64));
            let read = body.collect().await.unwrap().to_bytes();
            assert_eq!(read, checked);
            assert_eq!(parts.headers["content-length"], read.len().to_string());
            *kept.lock().unwrap() = parts.headers;
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        }
    }));
    let mut request = post(GOOD);
    for name in ["transfer-encoding", "content-digest", "digest", "content-md5", "repr-digest", "signature", "trailer"]
    {
        request.headers_mut().insert(name, http::HeaderValue::from_static("stale"));
    }
    request.headers_mut().insert("content-length", GOOD.len().into());
    request.headers_mut().insert("x-mine", http::HeaderValue::from_static("stays"));
    assert_eq!(send(&service, request).await.status(), StatusCode::OK);
    let names: Vec<_> = headers.lock().unwrap().keys().map(|name| name.as_str().to_owned()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[tokio::test]
async fn read_methods_pass_and_unknown_methods_are_rejected() {
    for (method, passes) in [
        (Method::GET, true),
        (Method::HEAD, true),
        (Method::DELETE, true),
        (Method::OPTIONS, true),
        (Method::PATCH, false),
        (Method::TRACE, false),
        (Method::from_bytes(b"post").unwrap(), false),
        (Method::from_bytes(b"FOO").unwrap(), false),
    ] {
        let naive = Naive::default();
        let service = behind(&metadata(), &naive);
        let mut request = post(r#"{"redirect_uris":["javascript:alert(1)"]}"#);
        *request.method_mut() = method.clone();
        let answer = send(&service, request).await;
        assert_eq!(answer.status() == StatusCode::METHOD_NOT_ALLOWED, !passes, "{method}");
        assert_eq!(naive.seen(), vec![Bytes::new(); usize::from(passes)], "{method}: without its body");
        assert_eq!(answer.header("allow").is_some(), !passes, "{method}");
    }
}

#[tokio::test]
async fn an_update_goes_through_the_same_rules_and_keeps_the_client_id() {
    let naive = Naive::default();
    let service = behind(&metadata(), &naive);
    let put = |body: &'static str| {
        let mut request = post(body);
        *request.method_mut() = Method::PUT;
        *request.uri_mut() = "/register/c".parse().unwrap();
        request
    };
    let answer = send(&service, put(GOOD)).await;
    assert_eq!(answer.json()["error_description"], "client_id is required (known-members)");
    let update = r#"{"client_id":"c","client_secret":"s","registration_access_token":"t",
        "redirect_uris":["https://app.example.com/cb"],"skip_consent":true}"#;
    assert_eq!(send(&service, put(update)).await.status(), StatusCode::CREATED);
    let forwarded: serde_json::Value = serde_json::from_slice(&naive.seen()[0]).unwrap();
    assert_eq!(forwarded["client_id"], "c");
    assert_eq!(forwarded["client_secret"], "s");
    // RFC 7592 section 2.2: what is omitted is deleted, and then the default would come back.
    assert_eq!(forwarded["token_endpoint_auth_method"], "none");
    assert!(forwarded.get("registration_access_token").is_none() && forwarded.get("skip_consent").is_none());
    let service = behind(&redirect_uris(), &naive);
    let evil = put(r#"{"client_id":"c","redirect_uris":["https://app.example.com/cb#x"]}"#);
    let answer = send(&service, evil).await;
    assert_eq!(answer.json()["error"], "invalid_redirect_uri");
    assert_eq!(answer.response.extensions().get::<Evaluation>().unwrap().operation, Operation::Update);
}

#[tokio::test]
async fn sizes_are_limited_by_received_bytes() {
    let naive = Naive::default();
    let service = behind(&metadata().with_body(Limits { max_bytes: 100, ..Limits::default() }), &naive);
    let long = format!(r#"{{"redirect_uris":["https://app.example.com/cb"],"x":"{}"}}"#, "x".repeat(100));
    let announced = send(&service, post(long.clone())).await;
    assert_eq!(announced.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let polled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&polled);
    let chunks = (0..1_000_000).map(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"          ")))
    });
    let request = post("").map(|_| StreamBody::new(Chunks(chunks)));
    assert_eq!(send(&service, request).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(polled.load(Ordering::SeqCst) <= 64 * 1024 / 10 + 2, "reads on after what is drained");
    let mut lying = post(GOOD);
    lying.headers_mut().insert("content-length", 5000.into());
    assert_eq!(send(&service, lying).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(naive.seen().is_empty());
}

/// An iterator as a stream.
struct Chunks<I>(I);

impl<I: Iterator + Unpin> futures_core::Stream for Chunks<I> {
    type Item = I::Item;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<I::Item>> {
        Poll::Ready(self.0.next())
    }
}

#[tokio::test]
async fn a_body_without_end_is_rejected() {
    let naive = Naive::default();
    let service = behind(&metadata().with_body_deadline(Duration::from_millis(50)), &naive);
    let (mut sender, body) = http_body_util::channel::Channel::<Bytes, Infallible>::new(4);
    sender.send_data(Bytes::from_static(b"{\"redirect_uris\"")).await.unwrap();
    let answer = send(&service, post("").map(|_| body)).await;
    assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(answer.json()["error"], "invalid_request");
    drop(sender);
}

/// HTTP/2 lets a client send frames without data for ever.
#[tokio::test]
async fn a_body_of_empty_frames_is_rejected() {
    let naive = Naive::default();
    let frames = Chunks(std::iter::repeat_with(|| Ok::<_, Infallible>(Frame::data(Bytes::new()))));
    let answer = send(&behind(&metadata(), &naive), post("").map(|_| StreamBody::new(frames))).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert!(naive.seen().is_empty());
}

#[tokio::test]
async fn a_body_in_pieces_is_one_document() {
    let naive = Naive::default();
    let service = behind(&metadata(), &naive);
    let (mut sender, body) = http_body_util::channel::Channel::<Bytes, Infallible>::new(1);
    let writer = tokio::spawn(async move {
        for piece in GOOD.as_bytes().chunks(7) {
            sender.send_data(Bytes::copy_from_slice(piece)).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(send(&service, post("").map(|_| body)).await.status(), StatusCode::CREATED);
    writer.await.unwrap();
}

/// Panics when it is called without having been polled ready, like services that hold a permit.
#[derive(Default)]
struct Strict {
    ready: bool,
    called: Arc<AtomicBool>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ready: false, called: Arc::clone(&self.called) }
    }
}

impl<B> Service<Request<B>> for Strict {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been ready");
        self.called.store(true, Ordering::SeqCst);
        std::future::ready(Ok(Response::new(Full::default())))
    }
}

#[tokio::test]
async fn the_service_that_was_ready_is_the_one_that_is_called() {
    let strict = Strict::default();
    let called = Arc::clone(&strict.called);
    let mut service = tower_dcr::mcp().layer(strict);
    for _ in 0..3 {
        std::future::poll_fn(|cx| Service::<Request<Full<Bytes>>>::poll_ready(&mut service, cx)).await.unwrap();
        service.call(post(GOOD)).await.unwrap();
        assert!(called.swap(false, Ordering::SeqCst));
    }
}

#[tokio::test]
async fn report_only_lets_everything_pass_as_it_came() {
    let evil = r#"{ "redirect_uris" : ["javascript:alert(1)"], "foo": 1, "foo": 2 }"#;
    for (body, content_type) in
        [(evil, "application/json"), (GOOD, "application/json"), ("a=b", "text/plain"), ("", "application/json")]
    {
        let naive = Naive::default();
        let policy = (MetadataAllowlist::mcp(), RedirectUris::mcp());
        let service = behind(&PolicyLayer::new(policy).report_only(), &naive);
        let mut request = post(body);
        request.headers_mut().insert("content-type", http::HeaderValue::from_static(content_type));
        request.headers_mut().insert("content-digest", http::HeaderValue::from_static("stays"));
        let answer = send(&service, request).await;
        assert_eq!(answer.status(), StatusCode::CREATED, "{body}");
        assert_eq!(naive.seen(), [Bytes::from(body)], "{body}");
        let review = answer.response.extensions().get::<Evaluation>().unwrap();
        assert!(review.findings.iter().all(|finding| !finding.enforced));
        assert_eq!(review.decision(), Decision::Accept);
        assert!(body == GOOD || review.findings.iter().any(|finding| finding.disposition == Disposition::Rejected));
    }
    // Too large to look at, and passed on whole.
    let naive = Naive::default();
    let service = behind(&metadata().report_only(), &naive);
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(40_000));
    let request = post("").map(|_| Full::<Bytes>::from(large.clone()));
    assert_eq!(send(&service, request).await.status(), StatusCode::CREATED);
    assert_eq!(naive.seen(), [Bytes::from(large)]);
}

#[tokio::test]
async fn one_rule_can_be_report_only_while_others_are_enforced() {
    let naive = Naive::default();
    let policy = (MetadataAllowlist::mcp(), Policy::new(RedirectUris::strict()).report_only());
    let service = behind(&PolicyLayer::new(policy), &naive);
    let answer = send(&service, post(r#"{"redirect_uris":["http://localhost/cb"],"foo":1}"#)).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(answer.json()["redirect_uris"], serde_json::json!(["http://localhost/cb"]));
    assert!(answer.json().get("foo").is_none());
    let review = answer.response.extensions().get::<Evaluation>().unwrap();
    let rejected = review.findings.iter().find(|finding| finding.disposition == Disposition::Rejected).unwrap();
    assert_eq!((rejected.rule, rejected.enforced), ("redirect-uris", false));
}

#[tokio::test]
async fn an_inner_error_stays_an_error() {
    let service = metadata().layer(service_fn(async |_: Request<RegistrationBody>| {
        Err::<Response<Full<Bytes>>, _>(std::io::Error::other("store down"))
    }));
    assert_eq!(service.oneshot(post(GOOD)).await.unwrap_err().to_string(), "store down");
}
