//! Checks and corrections of the handler's answer.

use std::convert::Infallible;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Map, Value, json};
use tower::{Layer, service_fn};
use tower_dcr::audit::Outcome;
use tower_dcr::rules::{Action, AuthMethod};
use tower_dcr::{
    Preset,
    layers::{RegistrationBody, ResponseLayer},
};

use tower_dcr::clients::Registrar;
use tower_dcr::clients::{Client, Filter, Ledger, MemoryLedger, Status};
use tower_dcr::layers::{LifecycleLayer, PolicyLayer};

use crate::support::{Kept, Read, post, send};

const REQUEST: &str = r#"{"redirect_uris":["http://localhost:3000/cb"],"client_name":"A","scope":"mcp"}"#;

async fn answered(preset: Preset, status: u16, content_type: &'static str, answer: &str) -> (Read, Kept) {
    let (kept, answer) = (Kept::default(), Bytes::copy_from_slice(answer.as_bytes()));
    let service = preset.with_sink(kept.sink()).layer(service_fn(move |_: Request<RegistrationBody>| {
        let response = Response::builder().status(status).header("content-type", content_type);
        std::future::ready(Ok::<_, Infallible>(response.body(Full::new(answer.clone())).unwrap()))
    }));
    (send(&service, post(REQUEST)).await, kept)
}

/// Sends `request` through `preset` to a handler that gives this answer.
async fn asked(
    preset: Preset,
    request: Request<Full<Bytes>>,
    status: u16,
    headers: &[(&'static str, &str)],
    answer: &[u8],
) -> (Read, Kept) {
    let (kept, answer) = (Kept::default(), Bytes::copy_from_slice(answer));
    let headers: Vec<(&'static str, String)> = headers.iter().map(|(name, value)| (*name, (*value).into())).collect();
    let service = preset.with_sink(kept.sink()).layer(service_fn(move |_: Request<RegistrationBody>| {
        let mut response = Response::builder().status(status);
        for (name, value) in &headers {
            response = response.header(*name, value);
        }
        std::future::ready(Ok::<_, Infallible>(response.body(Full::new(answer.clone())).unwrap()))
    }));
    (send(&service, request).await, kept)
}

fn put(uri: &str, body: &str) -> Request<Full<Bytes>> {
    let request = Request::put(uri).header("content-type", "application/json").header("authorization", "Bearer old");
    request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
}

fn get(uri: &str) -> Request<Full<Bytes>> {
    Request::get(uri).header("authorization", "Bearer old").body(Full::default()).unwrap()
}

async fn records(ledger: &MemoryLedger) -> Vec<Client> {
    ledger.page(&Filter::default(), None, 10).await.unwrap()
}

const JSON: (&str, &str) = ("content-type", "application/json");

async fn json_answered(preset: Preset, answer: Value) -> (Read, Kept) {
    answered(preset, 201, "application/json", &answer.to_string()).await
}

#[tokio::test]
async fn a_bare_answer_is_completed_with_what_was_registered() {
    let (read, kept) = answered(tower_dcr::mcp(), 200, "application/json", r#"{"client_id":"c"}"#).await;
    assert_eq!(read.status(), StatusCode::CREATED);
    let expected = json!({
        "application_type": "native", "client_id": "c", "client_name": "A", "grant_types": ["authorization_code", "refresh_token"],
        "redirect_uris": ["http://localhost:3000/cb"], "response_types": ["code"], "scope": "mcp",
        "token_endpoint_auth_method": "none",
    });
    assert_eq!(read.json(), expected);
    assert_eq!(read.header("content-length").unwrap(), read.body.len().to_string());
    assert_eq!(read.header("cache-control"), Some("no-store"));
    assert_eq!(kept.take()[0].client_id.as_deref(), Some("c"));
}

#[tokio::test]
async fn nulls_and_empty_strings_are_dropped_and_what_the_handler_says_stands() {
    let answer = json!({
        "client_id": "c", "client_secret": null, "logo_uri": "", "client_name": "B", "scope": "mcp offline_access",
        "client_secret_expires_at": null, "extra": { "null": null },
    });
    let (read, _) = json_answered(tower_dcr::mcp(), answer).await;
    let json = read.json();
    assert_eq!(json["client_name"], "B");
    assert_eq!(json["scope"], "mcp offline_access");
    assert_eq!(json["extra"], json!({ "null": null }));
    for dropped in ["client_secret", "client_secret_expires_at", "logo_uri"] {
        assert!(json.get(dropped).is_none(), "{dropped}");
    }
}

#[tokio::test]
async fn without_normalising_an_answer_stays_as_it_is() {
    let preset = tower_dcr::mcp().map_answer(|answer| answer.with_normalise(false));
    let (read, _) = answered(preset, 200, "application/json", r#"{ "client_id" : "c", "scope": null }"#).await;
    assert_eq!(read.status(), StatusCode::OK);
    assert_eq!(read.body, r#"{ "client_id" : "c", "scope": null }"#);
    assert_eq!(read.header("cache-control"), Some("no-store"));
    assert_eq!(read.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn a_secret_for_a_public_client_fails_closed() {
    for answer in [
        json!({ "client_id": "c", "client_secret": "s" }),
        json!({ "client_id": "c", "token_endpoint_auth_method": "client_secret_basic" }),
        json!({ "client_id": "c", "client_secret": { "not": "a string" } }),
    ] {
        let (read, kept) = json_answered(tower_dcr::mcp(), answer).await;
        assert_eq!(read.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(read.json()["error"], "server_error");
        assert!(!String::from_utf8_lossy(&read.body).contains("\"s\""));
        let event = kept.take().pop().unwrap();
        assert_eq!((event.outcome, event.rule), (Outcome::Failed, Some("answer")));
        // The handler has an orphan now: the operator has to learn which.
        assert_eq!(event.client_id.as_deref(), Some("c"));
    }
}

#[tokio::test]
async fn a_secret_can_be_stripped_or_allowed() {
    let answer = json!({
        "client_id": "c", "client_secret": "s", "client_secret_expires_at": 0,
        "token_endpoint_auth_method": "client_secret_post",
    });
    let (read, _) =
        json_answered(tower_dcr::mcp().map_answer(|answer| answer.with_secret(Action::Strip)), answer.clone()).await;
    assert_eq!(read.json()["token_endpoint_auth_method"], "none");
    assert!(read.json().get("client_secret").is_none());
    let allow = |method: &str| tower_dcr::mcp().map_answer(|answer| answer.with_secret_methods([method]));
    let (read, _) = json_answered(allow("client_secret_post"), answer.clone()).await;
    assert_eq!(read.json()["client_secret"], "s");
    let (read, _) = json_answered(allow("client_secret_basic"), answer).await;
    assert_eq!(read.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn a_confidential_client_gets_its_secret_and_the_time_it_expires() {
    let method = AuthMethod::public().with_method_for("http://localhost:3000/cb", "client_secret_post").unwrap();
    let preset = tower_dcr::mcp()
        .map_rules(|mut rules| {
            rules.metadata.auth_method = method;
            Ok(rules)
        })
        .unwrap();
    let (read, _) = json_answered(preset, json!({ "client_id": "c", "client_secret": "s" })).await;
    assert_eq!(read.json()["client_secret"], "s");
    assert_eq!(read.json()["client_secret_expires_at"], 0);
    assert_eq!(read.json()["token_endpoint_auth_method"], "client_secret_post");
}

#[tokio::test]
async fn errors_of_the_handler_pass_and_are_not_stored() {
    let (read, kept) = answered(tower_dcr::mcp(), 409, "application/json", r#"{"error":"taken","x":null}"#).await;
    assert_eq!(
        (read.status(), read.body.as_ref()),
        (StatusCode::CONFLICT, br#"{"error":"taken","x":null}"#.as_slice())
    );
    assert_eq!(read.header("cache-control"), Some("no-store"));
    assert_eq!(kept.take()[0].outcome, Outcome::Failed);
}

/// An answer without a client is a failure in the client's answer, the audit event and the ledger.
#[tokio::test]
async fn a_success_without_a_client_fails_in_answer_event_and_ledger() {
    let long = json!({ "client_id": "c", "x": "x".repeat(300_000) }).to_string();
    for (status, content_type, answer, reason) in [
        (201, "application/json", "{}", "no client_id"),
        (200, "application/json", r#"{"error":"invalid_request"}"#, "an error, in spite of its status"),
        (201, "application/json", r#"{"client_id":""}"#, "nothing in it"),
        (201, "application/json", r#"{"client_id":" "}"#, "next to nothing in it"),
        (201, "application/json", r#"{"client_id":null}"#, "null"),
        (201, "application/json", r#"{"client_id":42}"#, "a number"),
        (201, "application/json", r#"{"client_id":true}"#, "a boolean"),
        (201, "application/json", r#"{"client_id":["c"]}"#, "a list"),
        (201, "application/json", r#"{"client_id":{"id":"c"}}"#, "an object"),
        (201, "application/json", r#"{"client_id":"a\nb"}"#, "a control character"),
        (201, "application/json", "{\"client_id\":\"\u{43a}\"}", "not ASCII"),
        (201, "application/json", r#"{"client_id":"https://app.example.com/client.json"}"#, "a document"),
        (201, "application/json", r#"{"client_id":"HTTPS://app.example.com/client.json"}"#, "the same"),
        (201, "application/json", r#"{"client_id":"c","client_id":"d"}"#, "two of them"),
        (201, "application/json", r#"[{"client_id":"c"}]"#, "a list of clients"),
        (201, "application/json", r#"{"client_id":"c""#, "broken off"),
        (201, "application/json", &long, "too long"),
        (201, "application/json", "", "nothing at all"),
        (200, "text/html", "<h1>Welcome</h1>", "a page"),
        (202, "text/plain", "OK", "text"),
        (204, "application/json", "", "no content"),
        (205, "application/json", "", "no content either"),
    ] {
        let ledger = MemoryLedger::default();
        let preset = tower_dcr::mcp().with_registrar(Registrar::new(ledger.clone()));
        let (read, kept) = answered(preset, status, content_type, answer).await;
        assert_eq!(read.status(), StatusCode::BAD_GATEWAY, "{reason}");
        assert_eq!(read.json()["error"], "server_error", "{reason}");
        assert_eq!(read.header("content-type"), Some("application/json"), "{reason}");
        let event = kept.take().pop().unwrap();
        assert_eq!((event.outcome, event.rule), (Outcome::Failed, Some("answer")), "{reason}");
        let [record] = &records(&ledger).await[..] else { panic!("one record: {reason}") };
        assert_eq!((record.status, &record.client_id), (Status::Failed, &None), "{reason}");
        assert!(record.reason.as_deref().is_some_and(|why| why.ends_with("(answer)")), "{reason}: {:?}", record.reason);
        // And without the layers further out.
        let (read, _) = answered(tower_dcr::mcp(), status, content_type, answer).await;
        assert_eq!(read.status(), StatusCode::BAD_GATEWAY, "{reason}");
        let preset = tower_dcr::mcp().map_answer(|answer| answer.with_normalise(false));
        let (read, _) = answered(preset, status, content_type, answer).await;
        assert_eq!(read.status(), StatusCode::BAD_GATEWAY, "not normalising: {reason}");
    }
}

/// The ledger's layer does not rely on the answer's.
#[tokio::test]
async fn without_the_answer_layer_the_ledger_wants_a_client_id_as_well() {
    for (status, answer) in [
        (201, r#"{"client_id":7}"#),
        (200, r#"{"error":"x"}"#),
        (201, r#"{"client_id":"https://a.example/c"}"#),
        (204, ""),
        (201, "gone wrong"),
    ] {
        let ledger = MemoryLedger::default();
        let layers = tower::ServiceBuilder::new()
            .layer(PolicyLayer::new(tower_dcr::rules::MetadataAllowlist::mcp()))
            .layer(LifecycleLayer::new(Registrar::new(ledger.clone())));
        let service = layers.service(service_fn(move |_: Request<RegistrationBody>| {
            let response = Response::builder().status(status).body(Full::<Bytes>::from(answer)).unwrap();
            std::future::ready(Ok::<_, Infallible>(response))
        }));
        let read = send(&service, post(REQUEST)).await;
        assert_eq!(
            (read.status(), &read.json()["error"]),
            (StatusCode::BAD_GATEWAY, &json!("server_error")),
            "{answer}"
        );
        assert_eq!(records(&ledger).await[0].status, Status::Failed, "{answer}");
    }
}

#[tokio::test]
async fn a_compressed_answer_can_not_be_read() {
    let answer = br#"{"client_id":"c"}"#;
    for (coding, readable) in
        [("gzip", false), ("br", false), ("x-unknown", false), ("identity", true), ("Identity", true)]
    {
        let headers = [JSON, ("content-encoding", coding)];
        let (read, kept) = asked(tower_dcr::mcp(), post(REQUEST), 201, &headers, answer).await;
        assert_eq!(read.status() == StatusCode::CREATED, readable, "{coding}");
        assert_eq!(read.header("content-encoding"), None, "{coding}");
        let event = kept.take().pop().unwrap();
        assert_eq!(event.field.as_deref(), (!readable).then_some("content-encoding"), "{coding}");
    }
}

#[tokio::test]
async fn json_is_checked_under_any_media_type() {
    let secret = r#"{"client_id":"c","client_secret":"s"}"#;
    let nulls = "\u{feff}{\"client_id\":\"c\",\"logo_uri\":null}";
    for called in [
        Some("text/plain"),
        Some("text/html; charset=utf-8"),
        Some("application/octet-stream"),
        Some("application/vnd.client+json"),
        Some("application/json; charset=iso-8859-1"),
        Some("no media type"),
        Some(""),
        None,
    ] {
        let mut headers = vec![("content-language", "en"), ("digest", "sha-256=x"), ("etag", "\"1\"")];
        headers.extend(called.map(|called| ("content-type", called)));
        let (read, _) = asked(tower_dcr::mcp(), post(REQUEST), 201, &headers, secret.as_bytes()).await;
        assert_eq!(read.status(), StatusCode::INTERNAL_SERVER_ERROR, "{called:?}");
        let (read, _) = asked(tower_dcr::mcp(), post(REQUEST), 201, &headers, nulls.as_bytes()).await;
        assert_eq!(read.status(), StatusCode::CREATED, "{called:?}");
        assert_eq!((&read.json()["client_id"], read.json().get("logo_uri")), (&json!("c"), None), "{called:?}");
        assert_eq!(read.json()["client_name"], "A", "{called:?}");
        assert_eq!(read.header("content-type"), Some("application/json"), "{called:?}");
        assert_eq!(read.header("x-content-type-options"), Some("nosniff"), "{called:?}");
        assert_eq!(read.header("pragma"), Some("no-cache"), "{called:?}");
        for stale in ["content-language", "digest", "etag"] {
            assert_eq!(read.header(stale), None, "{stale}");
        }
    }
}

#[tokio::test]
async fn members_get_the_types_that_clients_accept() {
    for (member, given, expected) in [
        ("scope", json!(["openid", "mcp"]), json!("openid mcp")),
        ("scope", json!(["openid", "", "mcp"]), json!("openid mcp")),
        ("scope", json!([]), json!("mcp")),
        ("scope", json!([1]), json!("mcp")),
        ("scope", json!(5), json!("mcp")),
        ("scope", json!({ "openid": true }), json!("mcp")),
        ("client_id_issued_at", json!("1760000000"), json!(1_760_000_000)),
        ("client_id_issued_at", json!(1_760_000_000_000_u64), json!(1_760_000_000)),
        ("client_id_issued_at", json!("1760000000000"), json!(1_760_000_000)),
        ("client_id_issued_at", json!(1_760_000_000.5), json!(1_760_000_000)),
        ("client_id_issued_at", json!("2025-10-09T08:53:20Z"), json!(1_760_000_000)),
        ("client_id_issued_at", json!(1_760_000_000), json!(1_760_000_000)),
        ("client_id_issued_at", json!("today"), Value::Null),
        ("client_id_issued_at", json!(true), Value::Null),
        ("client_id_issued_at", json!(-5), Value::Null),
        ("client_secret_expires_at", json!("0"), json!(0)),
        ("client_secret_expires_at", json!("never"), Value::Null),
        ("registration_client_uri", json!(5), Value::Null),
        ("token_endpoint", json!("http://localhost:8080/token"), Value::Null),
        ("token_endpoint", json!("https://as.example.com/token"), json!("https://as.example.com/token")),
    ] {
        let mut answer = json!({ "client_id": "c" });
        answer[member] = given.clone();
        let (read, kept) = json_answered(tower_dcr::mcp(), answer).await;
        assert_eq!(read.status(), StatusCode::CREATED);
        assert_eq!(read.json()[member], expected, "{member}: {given}");
        assert_eq!(kept.take()[0].outcome, Outcome::Accepted, "{member}: {given}");
    }
}

#[tokio::test]
async fn a_secret_has_an_expiry_that_clients_accept() {
    let method = AuthMethod::public().with_method_for("http://localhost:3000/cb", "client_secret_post").unwrap();
    for (given, expected) in [
        (json!("1760000000"), 1_760_000_000_u64),
        (json!(1_760_000_000_000_u64), 1_760_000_000),
        (json!(1_760_000_000.25), 1_760_000_000),
        (json!(253_402_300_799_u64), 253_402_300_799),
        (json!("never"), 0),
        (json!(-1), 0),
        (json!(false), 0),
        (Value::Null, 0),
    ] {
        let method = method.clone();
        let preset = tower_dcr::mcp()
            .map_rules(|mut rules| {
                rules.metadata.auth_method = method;
                Ok(rules)
            })
            .unwrap();
        let answer = json!({ "client_id": "c", "client_secret": "s", "client_secret_expires_at": given });
        let (read, _) = json_answered(preset, answer).await;
        assert_eq!(read.json()["client_secret_expires_at"], expected, "{given}");
    }
}

/// Corrections are in the audit event, except for those that most servers need.
#[tokio::test]
async fn corrections_of_an_answer_are_flagged() {
    let answer = json!({ "client_id": "c", "scope": ["mcp"], "client_id_issued_at": "1760000000", "logo_uri": null });
    let (_, kept) = json_answered(tower_dcr::mcp(), answer).await;
    let event = kept.take().pop().unwrap();
    let flagged: Vec<_> =
        event.findings.iter().filter(|it| it.rule == "answer").map(|it| it.field.to_string()).collect();
    assert_eq!(flagged, ["scope", "client_id_issued_at"]);
    assert_eq!(event.outcome, Outcome::Accepted);
}

#[tokio::test]
async fn clients_can_reach_the_configuration_endpoint_or_are_not_told_of_it() {
    let public = || tower_dcr::mcp().with_public_url("https://as.example.com").unwrap();
    let there = Some("https://as.example.com/register/c");
    for (preset, host, given, expected, reason) in vec![
        (tower_dcr::mcp(), "as.example.com", json!("https://as.example.com/register/c"), there, "public"),
        (tower_dcr::mcp(), "as.example.com", json!("/register/c"), None, "relative"),
        (tower_dcr::mcp(), "as.example.com", json!("http://127.0.0.1:8080/register/c"), None, "loopback"),
        (tower_dcr::mcp(), "as.example.com", json!("http://keycloak:8080/register/c"), None, "another network"),
        (
            tower_dcr::mcp(),
            "localhost:3000",
            json!("http://localhost:8080/r/c"),
            Some("http://localhost:8080/r/c"),
            "development",
        ),
        (public(), "as.example.com", json!("/register/c"), there, "resolved"),
        (public(), "as.example.com", json!("http://127.0.0.1:8080/register/c"), there, "rewritten"),
        (
            public(),
            "evil.example",
            json!("https://as.example.com/register/c"),
            there,
            "the host of the request says nothing",
        ),
        (public(), "as.example.com", json!("javascript:alert(1)"), None, "no place"),
        (public(), "as.example.com", Value::Null, None, "half of a pair"),
    ] {
        let mut request = post(REQUEST);
        request.headers_mut().insert("host", host.parse().unwrap());
        let answer = json!({
            "client_id": "c", "registration_client_uri": given, "registration_access_token": "t",
            "token_endpoint": "http://10.0.0.1/token",
        });
        let headers = [JSON, ("location", "http://10.0.0.1/register/c")];
        let (read, _) = asked(preset.clone(), request, 201, &headers, answer.to_string().as_bytes()).await;
        let json = read.json();
        assert_eq!(json.get("registration_client_uri").and_then(Value::as_str), expected, "{reason}");
        assert_eq!(json.get("registration_access_token").is_some(), expected.is_some(), "{reason}");
        let is_public = format!("{preset:?}").contains("PublicUrl");
        let (token, location) = ("https://as.example.com/token", "https://as.example.com/register/c");
        assert_eq!(json.get("token_endpoint").and_then(Value::as_str), is_public.then_some(token), "{reason}");
        assert_eq!(read.header("location"), is_public.then_some(location), "{reason}");
    }
    // The other half.
    let answer = json!({ "client_id": "c", "registration_client_uri": "https://as.example.com/register/c" });
    assert!(json_answered(tower_dcr::mcp(), answer).await.0.json().get("registration_client_uri").is_none());
}

#[tokio::test]
async fn keys_take_precedence_over_their_url() {
    let answer = json!({ "client_id": "c", "jwks": { "keys": [] }, "jwks_uri": "https://a.example.com/jwks" });
    let json = json_answered(tower_dcr::mcp(), answer).await.0.json();
    assert_eq!((&json["jwks"], json.get("jwks_uri")), (&json!({ "keys": [] }), None));
}

#[tokio::test]
async fn redirect_uris_that_were_not_forwarded_fail() {
    const TWO: &str = r#"{"redirect_uris":["http://localhost:3000/cb","http://127.0.0.1:3000/cb"]}"#;
    let (one, two) = ("http://localhost:3000/cb", "http://127.0.0.1:3000/cb");
    let all = json!([one, two]);
    for (given, expected, kept, reason) in [
        (all.clone(), Some(all.clone()), 2, "all"),
        (json!([two, one]), Some(json!([two, one])), 2, "in another order"),
        (json!([one, two, one]), Some(json!([one, two, one])), 2, "twice"),
        (json!([two]), Some(json!([two])), 1, "fewer"),
        (json!([]), Some(json!([])), 0, "none"),
        (Value::Null, Some(all.clone()), 2, "not said"),
        (json!(["HTTP://LOCALHOST:3000/cb"]), Some(json!([one])), 1, "spelled as a URL parser does"),
        (json!([one, "https://evil.example.net/cb"]), None, 0, "another one besides"),
        (json!(["http://localhost:3000/cb/"]), None, 0, "another path"),
        (json!(["http://localhost:3001/cb"]), None, 0, "another port"),
        (json!(["http://localhost/cb"]), None, 0, "no port"),
        (json!(one), None, 0, "no list"),
        (json!([one, 5]), None, 0, "not only strings"),
        (json!({ "0": one }), None, 0, "an object"),
    ] {
        let ledger = MemoryLedger::default();
        let preset = tower_dcr::mcp().with_registrar(Registrar::new(ledger.clone()));
        let answer = json!({ "client_id": "c", "redirect_uris": given }).to_string();
        let (read, events) = asked(preset, post(TWO), 201, &[JSON], answer.as_bytes()).await;
        let [record] = &records(&ledger).await[..] else { panic!("one record: {reason}") };
        let outcome = events.take().pop().unwrap().outcome;
        if let Some(expected) = expected {
            assert_eq!((read.status(), &read.json()["redirect_uris"]), (StatusCode::CREATED, &expected), "{reason}");
            let registered: Value = serde_json::from_str(&record.registration).unwrap();
            assert_eq!(registered["redirect_uris"].as_array().unwrap().len(), kept, "{reason}");
            assert_eq!((record.status, outcome), (Status::Active, Outcome::Accepted), "{reason}");
        } else {
            assert_eq!(
                (read.status(), &read.json()["error"]),
                (StatusCode::BAD_GATEWAY, &json!("server_error")),
                "{reason}"
            );
            assert_eq!((record.status, outcome), (Status::Failed, Outcome::Failed), "{reason}");
        }
    }
}

#[tokio::test]
async fn an_update_must_answer_with_the_requested_client() {
    const NAMED: &str = r#"{"client_id":"c","redirect_uris":["http://localhost:3000/cb"]}"#;
    for (uri, body, status, answer, passes, reason) in [
        ("/register/c", NAMED, 200, r#"{"client_id":"c"}"#, true, "the same"),
        ("/register/c", NAMED, 200, r#"{"client_name":"A"}"#, false, "not said"),
        ("/register/c", NAMED, 200, r#"{"client_id":"d"}"#, false, "another one"),
        ("/register/c", NAMED, 200, r#"{"client_id":7}"#, false, "a number"),
        (
            "/register/c",
            NAMED,
            200,
            r#"{"client_id":"c","redirect_uris":["https://evil.example.net/"]}"#,
            false,
            "another redirect URI",
        ),
        ("/register/c", NAMED, 204, "", true, "some servers answer with nothing"),
        ("/register/c", NAMED, 200, "\n", true, "some servers answer with nothing"),
        ("/register/c", NAMED, 200, "updated", false, "no JSON"),
    ] {
        let (read, _) = asked(tower_dcr::mcp(), put(uri, body), status, &[JSON], answer.as_bytes()).await;
        let expected = if passes { status } else { 502 };
        assert_eq!(read.status().as_u16(), expected, "{reason}: {}", String::from_utf8_lossy(&read.body));
    }
    let (read, _) =
        asked(tower_dcr::mcp(), put("/register/c", NAMED), 200, &[JSON], br#"{"client_id":"c","scope":["a","b"]}"#)
            .await;
    assert_eq!((&read.json()["client_id"], &read.json()["scope"]), (&json!("c"), &json!("a b")));
}

#[tokio::test]
async fn a_read_of_a_client_is_completed_and_typed() {
    let public = || tower_dcr::mcp().with_public_url("https://as.example.com").unwrap();
    let answer = json!({
        "client_id": "c", "redirect_uris": ["http://localhost:3000/cb"], "client_secret": null, "scope": ["a", "b"],
        "registration_client_uri": "http://10.0.0.1/register/c", "registration_access_token": "old",
    });
    let answer = answer.to_string();
    let (read, _) =
        asked(public(), get("/register/c"), 200, &[("content-type", "text/plain")], answer.as_bytes()).await;
    let expected = json!({
        "client_id": "c", "redirect_uris": ["http://localhost:3000/cb"], "scope": "a b",
        "registration_client_uri": "https://as.example.com/register/c", "registration_access_token": "old",
    });
    assert_eq!((read.status(), read.json()), (StatusCode::OK, expected));
    assert_eq!(read.header("content-type"), Some("application/json"));
    let (read, _) = asked(tower_dcr::mcp(), get("/register/c"), 200, &[JSON], answer.as_bytes()).await;
    assert!(
        read.json().get("registration_client_uri").is_none() && read.json().get("registration_access_token").is_none()
    );
    // The client has no other token than one that has just replaced its own.
    let rotated = r#"{"client_id":"c","redirect_uris":[],"registration_access_token":"new"}"#;
    let (read, _) = asked(tower_dcr::mcp(), get("/register/c"), 200, &[JSON], rotated.as_bytes()).await;
    assert_eq!(read.json()["registration_access_token"], "new");
    let (read, _) = asked(public(), get("/register/c"), 200, &[JSON], rotated.as_bytes()).await;
    assert_eq!(read.json()["registration_client_uri"], "https://as.example.com/register/c");
    // Answers without a client pass unchanged, at any length.
    let page = format!("<p>{}</p>", "x".repeat(400_000));
    for other in [r#"{ "issuer": "http://localhost", "x": null }"#, "[]", &page] {
        for preset in [tower_dcr::mcp(), tower_dcr::mcp().report_only()] {
            let (read, _) =
                asked(preset, get("/register"), 200, &[("content-type", "text/html")], other.as_bytes()).await;
            assert!(read.body == other, "{} bytes", read.body.len());
            assert_eq!(read.header("content-type"), Some("text/html"));
        }
    }
    let (read, _) = asked(tower_dcr::mcp().report_only(), get("/register/c"), 200, &[JSON], answer.as_bytes()).await;
    assert_eq!(read.body, answer);
}

#[tokio::test]
async fn errors_of_the_handler_are_written_as_clients_read_them() {
    for (status, content_type, body, error, reason) in [
        (400, "application/json", r#"{"detail":"no"}"#, "invalid_client_metadata", "a framework's own"),
        (400, "application/json", r#"{"error":{"code":1}}"#, "invalid_client_metadata", "an object for an error"),
        (400, "application/json", r#"{"error":"a\nb"}"#, "invalid_client_metadata", "not its characters"),
        (400, "application/json", r#"{"error":""}"#, "invalid_client_metadata", "nothing in it"),
        (400, "text/plain", r#"{"error":"invalid_redirect_uri"}"#, "invalid_redirect_uri", "called something else"),
        (400, "application/json", r#"{"error":"a","error_description":null}"#, "a", "null where there should be text"),
        (401, "text/plain", "Unauthorized", "invalid_token", "text"),
        (403, "text/plain", "Forbidden", "access_denied", "text"),
        (404, "text/html", "<h1>Not found</h1>", "invalid_client_metadata", "a page"),
        (405, "text/plain", "", "invalid_request", "nothing"),
        (413, "text/plain", "length limit exceeded", "invalid_client_metadata", "text"),
        (415, "text/plain", "no", "invalid_client_metadata", "text"),
        (422, "text/plain", "Failed to deserialize the JSON body", "invalid_client_metadata", "text"),
        (429, "text/plain", "slow down", "too_many_requests", "text"),
        (500, "text/plain", "", "server_error", "nothing"),
        (503, "text/html", "<h1>Down</h1>", "temporarily_unavailable", "a page"),
    ] {
        let kept = [("retry-after", "7"), ("allow", "POST"), ("www-authenticate", "Basic realm=\"x\"")];
        let headers = [&[("content-type", content_type)], &kept[..]].concat();
        let (read, events) = asked(tower_dcr::mcp(), post(REQUEST), status, &headers, body.as_bytes()).await;
        assert_eq!((read.status().as_u16(), &read.json()["error"]), (status, &json!(error)), "{status}: {reason}");
        assert!(read.json().get("error_description").is_none_or(Value::is_string), "{status}: {reason}");
        assert_eq!(read.header("content-type"), Some("application/json"), "{status}");
        assert_eq!(read.header("content-length").unwrap(), read.body.len().to_string());
        for (name, value) in kept {
            assert_eq!(read.header(name), Some(value), "{status}");
        }
        assert_eq!(events.take()[0].outcome, Outcome::Failed, "{status}");
        let pass = tower_dcr::mcp().map_answer(ResponseLayer::pass_errors);
        let (read, _) = asked(pass, post(REQUEST), status, &headers, body.as_bytes()).await;
        assert_eq!((read.status().as_u16(), read.body.as_ref()), (status, body.as_bytes()), "{reason}");
        assert_eq!(read.header("content-type"), Some(content_type));
    }
    let (read, _) = asked(tower_dcr::mcp(), post(REQUEST), 401, &[], b"").await;
    assert_eq!(read.header("www-authenticate"), Some("Bearer"));
}

#[tokio::test]
async fn rejects_a_redirect_as_the_answer_to_a_registration() {
    for status in [301, 302, 303, 307, 308] {
        let headers = [("location", "/login"), ("content-type", "text/html")];
        let (read, kept) = asked(tower_dcr::mcp(), post(REQUEST), status, &headers, b"<a>").await;
        assert_eq!((read.status(), &read.json()["error"]), (StatusCode::BAD_GATEWAY, &json!("server_error")));
        assert_eq!(read.header("location"), None);
        let event = kept.take().pop().unwrap();
        assert_eq!((event.outcome, event.rule), (Outcome::Failed, Some("answer")));
        let pass = tower_dcr::mcp().map_answer(ResponseLayer::pass_errors);
        let (read, _) = asked(pass, post(REQUEST), status, &headers, b"<a>").await;
        assert_eq!((read.status().as_u16(), read.header("location")), (status, Some("/login")));
    }
}

/// A guard of one's own may let updates pass that name no client.
#[tokio::test]
async fn an_update_that_names_no_client_is_about_that_of_its_url() {
    for (uri, answer, passes) in
        [("/register/c", "c", true), ("/clients/c/configuration", "c", true), ("/register/c", "d", false)]
    {
        let layers = tower::ServiceBuilder::new()
            .layer(PolicyLayer::new(tower_dcr::rules::RedirectUris::mcp()))
            .layer(ResponseLayer::new());
        let service = layers.service(service_fn(move |_: Request<RegistrationBody>| {
            let body = Full::<Bytes>::from(json!({ "client_id": answer }).to_string());
            std::future::ready(Ok::<_, Infallible>(Response::new(body)))
        }));
        let read = send(&service, put(uri, r#"{"redirect_uris":["http://localhost:3000/cb"]}"#)).await;
        let expected = if passes { StatusCode::OK } else { StatusCode::BAD_GATEWAY };
        assert_eq!(read.status(), expected, "{uri}: {answer}");
    }
}

/// The server has made the change of this client, whatever else it says of it: what is revoked by name has to be found.
#[tokio::test]
async fn an_update_whose_answer_is_withheld_is_recorded() {
    let ledger = MemoryLedger::default();
    let preset = tower_dcr::mcp().with_registrar(Registrar::new(ledger.clone()));
    let service = preset.layer(service_fn(|request: Request<RegistrationBody>| {
        let body =
            if request.method() == "PUT" { r#"{"client_id":"c","client_secret":"s"}"# } else { r#"{"client_id":"c"}"# };
        std::future::ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(body))))
    }));
    assert_eq!(send(&service, post(REQUEST)).await.status(), StatusCode::CREATED);
    let update = r#"{"client_id":"c","client_name":"B","redirect_uris":["http://localhost:3000/cb"]}"#;
    assert_eq!(send(&service, put("/register/c", update)).await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let record = ledger.find("c").await.unwrap().unwrap();
    assert!(record.registration.contains(r#""client_name":"B""#), "{}", record.registration);
}

/// A server that issues a new client and a new token with every registration, as Keycloak does.
async fn issuing(preset: Preset, requests: &[fn() -> Request<Full<Bytes>>]) -> (Vec<Value>, usize) {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let handler = service_fn(move |request: Request<RegistrationBody>| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        async move {
            let is_update = request.method() == http::Method::PUT;
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let mut document: Map<String, Value> = serde_json::from_slice(&body).unwrap();
            if !is_update {
                document.insert("client_id".into(), format!("client-{number}").into());
            }
            document.insert("registration_access_token".into(), format!("token-{number}").into());
            document.insert("registration_client_uri".into(), "https://as.example.com/register/client-1".into());
            Ok::<_, Infallible>(crate::support::created(&document))
        }
    });
    let registrar = Registrar::new(MemoryLedger::default());
    let register = preset.with_registrar(registrar).layer(handler);
    let mut answers = Vec::new();
    for request in requests {
        answers.push(send(&register, request()).await.json());
    }
    (answers, made.load(Ordering::SeqCst))
}

#[tokio::test]
async fn without_a_token_in_the_answer_equal_registrations_are_one_client() {
    let again =
        || post(r#"{"client_name":"Claude Code (nextcloud)","redirect_uris":["http://localhost:3118/callback"]}"#);
    let other = || post(r#"{"client_name":"Other","redirect_uris":["http://localhost:3118/callback"]}"#);
    let update = || {
        let body =
            r#"{"client_id":"client-1","client_name":"App 2","redirect_uris":["http://localhost:3118/callback"]}"#;
        let request = Request::put("/register/client-1").header("content-type", "application/json");
        request.body(body.into()).unwrap()
    };
    let stripping = Preset::from_str("answer.management = 'strip'").unwrap();
    let in_code = tower_dcr::mcp().map_answer(|answer| answer.with_management(Action::Strip));
    let plain = Preset::from_str("[answer]\nmanagement = 'strip'\nnormalise = false").unwrap();
    for preset in [stripping, in_code, plain] {
        let (answers, made) = issuing(preset, &[again, again, again, again, other, update]).await;
        assert_eq!(made, 3, "one client of four registrations, another one, and an update");
        for answer in &answers[..5] {
            assert_eq!(answer.get("registration_access_token"), None);
            assert_eq!(answer.get("registration_client_uri"), None);
        }
        assert!(answers[..4].iter().all(|answer| answer["client_id"] == "client-1"), "{answers:?}");
        assert_eq!(answers[4]["client_id"], "client-2");
        assert_eq!(answers[5]["registration_access_token"], "token-3", "who has a token gets the next one");
    }
    for preset in [tower_dcr::mcp(), Preset::from_str("answer = { management = 'strip', report_only = true }").unwrap()]
    {
        let (answers, made) = issuing(preset, &[again, again, again, again]).await;
        assert_eq!(made, 4);
        assert_eq!(answers[3]["registration_access_token"], "token-4");
    }
}
