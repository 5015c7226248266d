//! The client configuration endpoint (RFC 7592), and what of a request the handler sees: methods, URLs, headers, budgets.

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceBuilder, service_fn};
use tower_dcr::audit::Outcome;
use tower_dcr::layers::Misconfiguration;
use tower_dcr::rate_limit::{Quota, RateLimits};
use tower_dcr::rules::{MetadataAllowlist, Operation, RedirectUris};
use tower_dcr::{
    ClientUrl, Preset,
    layers::{PolicyLayer, RateLimitLayer, RegistrationBody},
};

use crate::support::{Kept, Naive, Read, behind, changed, post, send};

const GOOD: &str = r#"{"redirect_uris":["https://app.example.com/cb"]}"#;
/// An update of the client `c`.
const UPDATE: &str = r#"{"client_id":"c","redirect_uris":["https://app.example.com/cb"]}"#;
const EVIL: &str =
    r#"{"client_id":"c","client_name":"Claude","redirect_uris":["javascript:alert(1)"],"skip_consent":true}"#;

fn request(method: &str, uri: &str, body: &'static str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
    request.body(Full::from(body)).unwrap()
}

/// The request that a handler got.
type Given = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// Sends `request` through `layer` to a handler that answers 200 to everything. Returns the status, and what it was given.
async fn given<L>(layer: &L, request: Request<Full<Bytes>>) -> (StatusCode, Option<(HeaderMap, Bytes)>)
where
    L: Layer<tower::util::BoxCloneSyncService<Request<RegistrationBody>, Response<Full<Bytes>>, Infallible>>,
    L::Service: tower::Service<Request<Full<Bytes>>, Error = Infallible> + Clone,
    <L::Service as tower::Service<Request<Full<Bytes>>>>::Response: IntoStatus,
{
    let seen = Given::default();
    let kept = Arc::clone(&seen);
    let handler = service_fn(move |request: Request<RegistrationBody>| {
        let kept = Arc::clone(&kept);
        async move {
            let (parts, body) = request.into_parts();
            let bytes = body.collect().await.unwrap().to_bytes();
            kept.lock().unwrap().push((parts.headers, bytes));
            let answer = Response::builder().header("content-type", "application/json");
            Ok::<_, Infallible>(answer.body(Full::<Bytes>::from(r#"{"client_id":"c"}"#)).unwrap())
        }
    });
    let service = layer.layer(tower::util::BoxCloneSyncService::new(handler));
    let answer = tower::ServiceExt::oneshot(service, request).await.unwrap();
    (answer.into_status(), seen.lock().unwrap().pop())
}

trait IntoStatus {
    fn into_status(self) -> StatusCode;
}

impl<B> IntoStatus for Response<B> {
    fn into_status(self) -> StatusCode {
        self.status()
    }
}

fn metadata() -> PolicyLayer {
    PolicyLayer::new(MetadataAllowlist::mcp())
}

/// Servers read media types in ways of their own: what is not exactly JSON in UTF-8 is rejected.
#[tokio::test]
async fn a_media_type_has_one_reading() {
    for (types, passes, reason) in [
        (&["application/json"][..], true, "plain"),
        (&["Application/JSON; Charset=\"UTF-8\""], true, "as RFC 9110 allows"),
        (&["application/json; charset =utf-7"], false, "white space that some trim"),
        (&["application/json; charset\t=utf-7"], false, "a tab that some trim"),
        (&["application/json; charset*=utf-7''x"], false, "RFC 8187"),
        (&["application/json; charset*0=utf-7"], false, "RFC 2231"),
        (&["application/json; charset=utf-8; charset=utf-7"], false, "a repeated parameter"),
        (&["application/json", "text/plain"], false, "two fields"),
        (&["application/json", "application/json"], false, "two equal fields"),
        (&["application/json, text/plain"], false, "a list"),
        (&[], false, "none"),
    ] {
        let mut request = post(GOOD);
        request.headers_mut().remove(header::CONTENT_TYPE);
        for value in types {
            request.headers_mut().append(header::CONTENT_TYPE, value.parse().unwrap());
        }
        let (status, seen) = given(&metadata(), request).await;
        let expected = if passes { StatusCode::OK } else { StatusCode::UNSUPPORTED_MEDIA_TYPE };
        assert_eq!(status, expected, "{types:?}: {reason}");
        assert_eq!(seen.is_some(), passes, "{types:?}: {reason}");
    }
}

const STALE: [&str; 24] = [
    "accept-encoding",
    "content-digest",
    "content-disposition",
    "content-language",
    "content-location",
    "content-md5",
    "content-range",
    "content_encoding",
    "content_length",
    "content_type",
    "digest",
    "expect",
    "if-range",
    "range",
    "repr-digest",
    "signature",
    "signature-input",
    "te",
    "trailer",
    "transfer_encoding",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x_http_method_override",
];

fn with_stale_headers(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    for name in STALE {
        request.headers_mut().append(name, http::HeaderValue::from_static("stale"));
    }
    request.headers_mut().insert(header::CONTENT_TYPE, "application/json; charset=utf-8; v=1".parse().unwrap());
    request.headers_mut().insert(header::AUTHORIZATION, "Bearer stays".parse().unwrap());
    request
}

/// Through one guard, guards in guards, and a whole preset.
#[tokio::test]
async fn the_forwarded_headers_are_written_anew() {
    let check = |name: &str, status: StatusCode, seen: Option<(HeaderMap, Bytes)>| {
        assert_eq!(status, StatusCode::OK, "{name}");
        let (headers, body) = seen.unwrap();
        let mut names: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["authorization", "content-length", "content-type"], "{name}");
        assert_eq!(headers["content-type"], "application/json", "{name}");
        assert_eq!(headers.get_all("content-type").iter().count(), 1, "{name}");
        assert_eq!(headers["content-length"], body.len().to_string(), "{name}");
        assert!(body.starts_with(b"{"), "{name}");
    };
    let (status, seen) = given(&metadata(), with_stale_headers(post(GOOD))).await;
    check("one guard", status, seen);
    let two = ServiceBuilder::new().layer(metadata()).layer(PolicyLayer::new(RedirectUris::mcp()));
    let (status, seen) = given(&two.into_inner(), with_stale_headers(post(GOOD))).await;
    check("a guard in a guard", status, seen);
    let (status, seen) = given(&metadata(), with_stale_headers(request("PUT", "/register/c", UPDATE))).await;
    check("an update", status, seen);
    let (status, seen) = given(&tower_dcr::mcp(), with_stale_headers(request("PUT", "/register/c", UPDATE))).await;
    check("a preset", status, seen);
}

#[tokio::test]
async fn rejects_encoded_bodies() {
    for encoding in ["gzip", "identity, gzip", "x"] {
        let mut request = post(GOOD);
        request.headers_mut().insert(header::CONTENT_ENCODING, encoding.parse().unwrap());
        let (status, seen) = given(&metadata(), request).await;
        assert_eq!((status, seen), (StatusCode::UNSUPPORTED_MEDIA_TYPE, None), "{encoding}");
    }
}

/// Handlers that do not look at the method register what they are given.
#[tokio::test]
async fn methods_without_a_registration_go_on_without_a_body() {
    for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
        for uri in ["/register", "/register/c"] {
            let (status, seen) = given(&metadata(), with_stale_headers(request(method, uri, EVIL))).await;
            assert_eq!(status, StatusCode::OK, "{method} {uri}");
            let (headers, body) = seen.unwrap();
            assert!(body.is_empty(), "{method} {uri}");
            let names: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
            assert_eq!(names, ["authorization"], "{method} {uri}");
        }
    }
}

#[tokio::test]
async fn a_report_only_request_passes_unchanged() {
    for (method, uri, body) in [
        ("GET", "/register", EVIL),
        ("PUT", "/register", EVIL),
        ("DELETE", "/register/c/", EVIL),
        ("PUT", "/register/other", UPDATE),
        ("TRACE", "/register", "x"),
        ("POST", "/register", EVIL),
    ] {
        let mut sent = with_stale_headers(request(method, uri, body));
        sent.headers_mut().append(header::CONTENT_TYPE, "text/plain".parse().unwrap());
        let headers = sent.headers().clone();
        let (status, seen) = given(&metadata().report_only(), sent).await;
        assert_eq!(status, StatusCode::OK, "{method} {uri}");
        assert_eq!(seen, Some((headers, Bytes::from(body))), "{method} {uri}");
    }
}

async fn answered(preset: &Preset, request: Request<Full<Bytes>>) -> (Read, usize) {
    let naive = Naive::default();
    let answer = send(&behind(preset, &naive), request).await;
    (answer, naive.seen().len())
}

#[tokio::test]
async fn a_url_and_a_method_have_one_meaning() {
    let preset = tower_dcr::mcp().without_rate_limits();
    for (method, uri, body, status, allow, reason) in [
        ("PUT", "/register", UPDATE, 405, Some("POST, OPTIONS"), "a second way to register"),
        ("TRACE", "/register", "", 405, Some("POST, OPTIONS"), "no such method"),
        ("CONNECT", "/register/c", "", 405, Some("GET, PUT, DELETE, OPTIONS"), "no such method"),
        ("PATCH", "/register/c", UPDATE, 405, Some("GET, PUT, DELETE, OPTIONS"), "no such method"),
        ("post", "/register", GOOD, 405, Some("POST, OPTIONS"), "methods have case"),
        ("PUT", "/register/c", UPDATE, 201, None, "the client"),
        ("PUT", "/register/d", UPDATE, 400, None, "the body names another client"),
        ("PUT", "/register/c", EVIL, 400, None, "judged like a registration"),
        ("PUT", "/register/c/", UPDATE, 400, None, "another spelling"),
        ("PUT", "/register/%63", UPDATE, 400, None, "another spelling"),
        ("PUT", "/register/c;v=1", UPDATE, 400, None, "another spelling"),
        ("PUT", "/register/c/x/..", UPDATE, 400, None, "another spelling"),
        ("PUT", "/register/c?client_id=d", UPDATE, 400, None, "two clients"),
        ("PUT", "/register/c?client.id=d", UPDATE, 400, None, "two clients to PHP"),
        ("GET", "/register/c/", "", 400, None, "another spelling"),
        ("HEAD", "/register/c%2F", "", 400, None, "another spelling"),
        ("DELETE", "/register/c%00", "", 400, None, "another spelling"),
        ("DELETE", "/register?client_id=c", "", 400, None, "not how this server names clients"),
        ("POST", "/register?_method=PUT", GOOD, 400, None, "a method in the query"),
        ("GET", "/register", "", 201, None, "no client is named"),
        ("OPTIONS", "/register/c/", "", 201, None, "a preflight"),
    ] {
        let (answer, calls) = answered(&preset, request(method, uri, body)).await;
        assert_eq!(answer.status(), status, "{method} {uri}: {reason}");
        assert_eq!(calls, usize::from(status == 201), "{method} {uri}: {reason}");
        assert_eq!(answer.header("allow"), allow, "{method} {uri}: {reason}");
        if status == 400 {
            assert_eq!(answer.json()["error"].as_str().unwrap_or_default().split('_').next(), Some("invalid"));
        }
    }
}

#[tokio::test]
async fn all_layers_of_a_preset_read_urls_in_one_way() {
    let in_code = tower_dcr::mcp().with_client_url(changed(ClientUrl::default(), |it| it.in_query = true));
    let in_file = Preset::from_str("[client_url]\nin_query = true\n").unwrap();
    for preset in [in_code, in_file] {
        let (answer, calls) = answered(&preset, request("PUT", "/register?client_id=c", UPDATE)).await;
        assert_eq!((answer.status().as_u16(), calls), (201, 1));
        let (answer, calls) = answered(&preset, request("PUT", "/register?client_id=d", UPDATE)).await;
        assert_eq!((answer.status().as_u16(), calls), (400, 0));
        let (answer, _) = answered(&preset, request("PUT", "/register/c", UPDATE)).await;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "the route, where the query names clients");
    }
    let preset = Preset::from_str(
        "[client_url]\nregistration_paths = [\"/oauth2/reg\"]\nadditional_characters = \":\"\ntrailing_slash = true\n",
    );
    let preset = preset.unwrap();
    assert_eq!(Preset::from_str(&preset.to_toml().unwrap()).unwrap().fingerprint(), preset.fingerprint());
    assert_ne!(preset.fingerprint(), tower_dcr::mcp().fingerprint());
    let (answer, _) = answered(&preset, request("PUT", "/oauth2/reg", UPDATE)).await;
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    let update = r#"{"client_id":"urn:c","redirect_uris":["https://app.example.com/cb"]}"#;
    let (answer, _) = answered(&preset, request("PUT", "/oauth2/reg/urn:c/", update)).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    for wrong in ["registration_paths = [\"reg\"]", "additional_characters = \"%\"", "in_quary = true"] {
        assert!(Preset::from_str(&format!("[client_url]\n{wrong}\n")).is_err(), "{wrong}");
    }
}

/// A handler that knows only the client `c`.
async fn manage(request: Request<RegistrationBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    let status = match (request.method(), request.uri().path()) {
        (_, "/register/c") => StatusCode::OK,
        (&Method::POST, _) => StatusCode::CREATED,
        (_, "/register/down") => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::UNAUTHORIZED,
    };
    let answer = Response::builder().status(status).header("content-type", "application/json");
    Ok(answer.body(Full::from(r#"{"client_id":"c"}"#)).unwrap())
}

/// Guessing registration access tokens costs, and managing oneself does not. Neither spends what newcomers need.
#[tokio::test]
async fn failed_management_calls_cost_and_successful_ones_do_not() {
    let two = Quota::per_hour(NonZeroU32::new(2).unwrap());
    for (method, uri, body, costs, reason) in [
        ("GET", "/register/c", "", false, "a client that reads itself"),
        ("PUT", "/register/c", UPDATE, false, "a client that updates itself"),
        ("DELETE", "/register/c", "", false, "a client that deletes itself"),
        ("OPTIONS", "/register/x", "", false, "a preflight"),
        ("GET", "/register/down", "", false, "the server's fault"),
        ("GET", "/register/x", "", true, "a wrong token"),
        ("HEAD", "/register/x", "", true, "a wrong token, whose answer is as good"),
        ("DELETE", "/register/x", "", true, "a wrong token"),
        ("GET", "/register/x/", "", true, "rejected by the guard"),
        ("PUT", "/register/c", EVIL, true, "rejected by a rule"),
        ("PUT", "/register", UPDATE, true, "rejected by the guard"),
        ("POST", "/register", GOOD, true, "a registration"),
        ("TRACE", "/register", "", true, "rejected by the guard"),
    ] {
        let preset = tower_dcr::mcp().with_rate_limit(RateLimitLayer::new().map_limits(|limits| {
            *limits = RateLimits::OFF;
            limits.unreadable = two.into();
            limits.global = two.into();
        }));
        let service = preset.layer(service_fn(manage));
        for _ in 0..2 {
            let answer = send(&service, request(method, uri, body)).await;
            assert_ne!(answer.status(), StatusCode::TOO_MANY_REQUESTS, "{method} {uri}: {reason}");
        }
        let spent = send(&service, request(method, uri, body)).await.status() == StatusCode::TOO_MANY_REQUESTS;
        assert_eq!(spent, costs, "{method} {uri}: {reason}");
        let registers = send(&service, post(GOOD)).await.status() != StatusCode::TOO_MANY_REQUESTS;
        assert_eq!(registers, method != "POST", "{method} {uri}: {reason}");
    }
}

#[tokio::test]
async fn failed_management_calls_are_events() {
    for (method, uri, expected) in [
        ("GET", "/register/c", None),
        ("DELETE", "/register/c", None),
        ("GET", "/register", None),
        ("OPTIONS", "/register/x", None),
        ("GET", "/register/x", Some((Operation::Read, Outcome::Failed, Some("x"), 401))),
        ("HEAD", "/register/x", Some((Operation::Read, Outcome::Failed, Some("x"), 401))),
        ("DELETE", "/register/x", Some((Operation::Delete, Outcome::Failed, Some("x"), 401))),
        ("GET", "/register/x/", Some((Operation::Read, Outcome::Rejected, None, 400))),
    ] {
        let kept = Kept::default();
        let service = tower_dcr::mcp().with_sink(kept.sink()).layer(service_fn(manage));
        send(&service, request(method, uri, "")).await;
        let events = kept.take();
        let seen = events.first().map(|event| {
            (event.operation, event.outcome, event.client_id.as_deref(), event.status.unwrap_or_default())
        });
        assert_eq!((seen, events.len()), (expected, usize::from(expected.is_some())), "{method} {uri}");
    }
}

/// A path that is read as the URL of a client may be the registration endpoint of a server that has not said so.
#[tokio::test]
async fn an_unknown_registration_path_is_logged_once() {
    let preset = tower_dcr::mcp();
    let service = preset.layer(service_fn(manage));
    let register = || request("POST", "/oauth2/reg", GOOD);
    let found = || {
        let found = preset.misconfigurations().into_iter();
        found.filter(|found| matches!(found, Misconfiguration::RegistrationPath { .. })).collect::<Vec<_>>()
    };
    send(&service, register()).await;
    assert!(found().is_empty(), "URLs of clients do not matter here");
    send(&service, request("PUT", "/oauth2/reg/c", UPDATE)).await;
    send(&service, post(GOOD)).await;
    assert!(found().is_empty(), "a path that ends in register");
    for _ in 0..2 {
        send(&service, register()).await;
    }
    let [found] = &found()[..] else { panic!("one") };
    assert!(found.to_string().contains("\"/oauth2/reg\"") && found.to_string().contains("registration_paths"));
}
