//! Small duties of the specifications: headers of answers, error codes, defaults, what a string may hold.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::{Layer, service_fn};
use tower_dcr::clients::MemoryLedger;
use tower_dcr::clients::Registrar;
use tower_dcr::layers::{InitialAccess, StaticTokens};
use tower_dcr::rules::{AbsentGrants, Action, AuthMethod, Grants};
use tower_dcr::{
    Preset,
    layers::{GateEndpoint, GateLayer, InitialAccessTokenLayer, RegistrationBody, ResponseLayer},
};

use crate::support::{Naive, Read, behind, changed, post, send};

const HONEST: &str = r#"{"redirect_uris":["http://127.0.0.1:1234/cb"],"token_endpoint_auth_method":"none"}"#;

fn with(more: &Value) -> String {
    let mut body: Value = serde_json::from_str(HONEST).unwrap();
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string()
}

/// The document that the handler got, or what the client was told.
async fn forwarded(preset: &Preset, body: impl Into<Bytes>) -> Result<Value, String> {
    let naive = Naive::default();
    let answer = send(&behind(preset, &naive), post(body)).await;
    match naive.seen().pop() {
        Some(document) => Ok(serde_json::from_slice(&document).unwrap()),
        None => Err(answer.json()["error_description"].as_str().unwrap().to_owned()),
    }
}

/// Servers with defaults of their own give both, and hold clients to what is registered: a client of
/// `authorization_code` alone is signed out when its first token expires.
#[tokio::test]
async fn absent_grant_types_are_what_the_policy_says() {
    let (code, both) = (json!(["authorization_code"]), json!(["authorization_code", "refresh_token"]));
    let code_only = Grants::new(["authorization_code"], ["code"]).unwrap();
    let oauth = |grants| tower_dcr::oauth(grants, AuthMethod::one_of(["none"]));
    let narrowed = tower_dcr::mcp().map_rules(|mut rules| {
        rules.metadata.grants = code_only.clone();
        rules.metadata.grants.absent = Some(AbsentGrants::Offered);
        Ok(rules)
    });
    let rows = [
        (tower_dcr::mcp(), &both, "mcp offers both"),
        (tower_dcr::strict(), &both, "so does strict, whose gates hold clients to it"),
        (oauth(Grants::authorization_code()), &code, "oauth keeps to the RFC"),
        (
            oauth(changed(Grants::authorization_code(), |it| it.absent = Some(AbsentGrants::Offered))),
            &both,
            "unless it is told",
        ),
        (narrowed.unwrap(), &code, "no more than is offered"),
    ];
    for (preset, expected, reason) in rows {
        let document = forwarded(&preset, HONEST).await.unwrap();
        assert_eq!((&document["grant_types"], &document["response_types"]), (expected, &json!(["code"])), "{reason}");
        let asked = with(&json!({ "grant_types": ["authorization_code"] }));
        assert_eq!(forwarded(&preset, asked).await.unwrap()["grant_types"], code, "{reason}: it asked for one");
    }
}

#[tokio::test]
async fn every_answer_has_cache_and_type_headers() {
    let honest = send(&behind(&tower_dcr::mcp(), &Naive::default()), post(HONEST)).await;
    let evil = with(&json!({ "redirect_uris": ["javascript:alert(1)"] }));
    let rejected = send(&behind(&tower_dcr::mcp(), &Naive::default()), post(evil)).await;
    let preset = tower_dcr::mcp().with_registrar(Registrar::new(MemoryLedger::default()));
    let service = behind(&preset, &Naive::default());
    let _first = send(&service, post(HONEST)).await;
    let repeated = send(&service, post(HONEST)).await;
    for (answer, status, what) in [
        (&honest, StatusCode::CREATED, "the handler's answer"),
        (&rejected, StatusCode::BAD_REQUEST, "a rejection"),
        (&repeated, StatusCode::CREATED, "a repeated answer"),
    ] {
        assert_eq!(answer.status(), status, "{what}");
        for (name, value) in [
            ("content-type", "application/json"),
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
            ("pragma", "no-cache"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{what}: {name}");
        }
    }
}

#[tokio::test]
async fn rejections_name_the_allowed_methods_and_types_in_headers() {
    let service = behind(&tower_dcr::mcp(), &Naive::default());
    let send_as = async |method: Method, uri: &str, media: &str| {
        let request = Request::builder().method(method).uri(uri).header("content-type", media);
        send(&service, request.body(Full::<Bytes>::from(HONEST)).unwrap()).await
    };
    let form = send_as(Method::POST, "/register", "application/x-www-form-urlencoded").await;
    assert_eq!(form.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(form.header("accept-post"), Some("application/json"));
    for (method, uri, allowed) in [
        (Method::PATCH, "/register", &["POST"][..]),
        (Method::PUT, "/register", &["POST"]),
        (Method::PATCH, "/register/c", &["GET", "PUT", "DELETE"]),
    ] {
        let answer = send_as(method.clone(), uri, "application/json").await;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {uri}");
        let listed = answer.header("allow").unwrap();
        for name in allowed {
            assert!(listed.split(", ").any(|listed| listed == *name), "{method} {uri}: {listed}");
        }
        assert!(!listed.contains(method.as_str()), "{method} {uri}: {listed}");
    }
}

/// RFC 6750 section 3.1: without a token there is none that could be invalid.
#[tokio::test]
async fn a_missing_token_is_challenged_without_an_error_code() {
    let tokens = StaticTokens::new().add("Vq3s8nR1xW7tB0yKd5Lc", InitialAccess::of("partner")).unwrap();
    let preset = tower_dcr::mcp().with_initial_access_tokens(InitialAccessTokenLayer::new(tokens));
    let service = behind(&preset, &Naive::default());
    let missing = send(&service, post(HONEST)).await;
    assert_eq!(missing.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(missing.header("www-authenticate"), Some("Bearer realm=\"client registration\""));
    assert_eq!(missing.json().get("error"), None);
    assert!(missing.json()["error_description"].is_string());
    let mut wrong = post(HONEST);
    wrong.headers_mut().insert("authorization", "Bearer x".parse().unwrap());
    let wrong = send(&service, wrong).await;
    assert_eq!((wrong.status(), &wrong.json()["error"]), (StatusCode::UNAUTHORIZED, &json!("invalid_token")));
}

/// RFC 7493 section 2.1. Readers disagree on what such a string is.
#[tokio::test]
async fn noncharacters_are_never_forwarded() {
    for (member, reason) in [
        (r#""software_id":"a\uffffb""#, "the last code point of a plane"),
        (r#""software_id":"\ufdd0""#, "one of the block"),
        (r#""software_version":"\ud83f\udffe""#, "of another plane, as a pair"),
        (r#""contacts":["a@example.com","\uffff"]"#, "in a list"),
        ("\"software_id\":\"\u{10FFFF}\"", "as it is"),
        (r#""client_name#fr\uffff":"x""#, "in a name, which is no language tag"),
    ] {
        let body = format!("{},{member}}}", &HONEST[..HONEST.len() - 1]);
        match forwarded(&tower_dcr::mcp(), body).await {
            Err(said) => assert!(said.contains("not a character"), "{reason}: {said}"),
            Ok(document) => {
                assert!(member.starts_with("\"client_name#"), "{reason}: {document}");
                assert!(!document.to_string().contains('\u{FFFF}'), "{reason}: {document}");
            }
        }
    }
    // A member that is stripped anyway rejects no registration.
    let body = format!("{},\"x\":\"\\uffff\"}}", &HONEST[..HONEST.len() - 1]);
    assert!(forwarded(&tower_dcr::mcp(), body).await.is_ok());
}

/// `OpenID` Connect Dynamic Client Registration section 6: names are compared by code point.
#[tokio::test]
async fn names_are_not_normalised() {
    let preset = tower_dcr::mcp()
        .map_rules(|mut rules| {
            rules.metadata.members = rules.metadata.members.add_member("caf\u{e9}")?;
            Ok(rules)
        })
        .unwrap();
    let body = with(&json!({ "caf\u{e9}": "composed", "cafe\u{301}": "decomposed" }));
    let document = forwarded(&preset, body).await.unwrap();
    assert_eq!(document["caf\u{e9}"], "composed");
    assert_eq!(document.get("cafe\u{301}"), None, "another member, which is not known");
}

#[tokio::test]
async fn language_variants_are_bounded() {
    let tagged = |count: usize| {
        let tags = (0..count).map(|n| (format!("client_name#x-v{n}"), json!("App")));
        with(&Value::Object(tags.collect()))
    };
    let document = forwarded(&tower_dcr::mcp(), tagged(32)).await.unwrap();
    assert_eq!(document.as_object().unwrap().keys().filter(|name| name.contains('#')).count(), 32);
    let said = forwarded(&tower_dcr::mcp(), tagged(33)).await.unwrap_err();
    assert!(said.contains("language"), "{said}");
}

async fn managed(
    preset: &Preset,
    method: Method,
    uri: &str,
    status: u16,
    headers: &[(&'static str, &'static str)],
) -> Read {
    let headers = headers.to_vec();
    let service = preset.layer(service_fn(move |_: Request<RegistrationBody>| {
        let mut response = Response::builder().status(status);
        for (name, value) in &headers {
            response = response.header(*name, *value);
        }
        std::future::ready(Ok::<_, Infallible>(response.body(Full::<Bytes>::from("not found")).unwrap()))
    }));
    let body = if method == Method::PUT { with(&json!({ "client_id": "c" })) } else { String::new() };
    let request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
    send(&service, request.header("authorization", "Bearer t").body(Full::<Bytes>::from(body)).unwrap()).await
}

/// RFC 7592 section 2.1: "If the client does not exist on this server, the server MUST respond with HTTP 401".
#[tokio::test]
async fn a_client_that_does_not_exist_is_a_401() {
    let preset = tower_dcr::mcp();
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
        let answer = managed(&preset, method.clone(), "/register/c", 404, &[]).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{method}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer error=\"invalid_token\""), "{method}");
        assert_eq!(answer.json()["error"], "invalid_token", "{method}");
        let own = managed(&preset, method.clone(), "/register/c", 404, &[("www-authenticate", "DPoP")]).await;
        assert_eq!(own.header("www-authenticate"), Some("DPoP"), "{method}: the server's own challenge stays");
        let forbidden = managed(&preset, method.clone(), "/register/c", 403, &[]).await;
        assert_eq!(forbidden.status(), StatusCode::FORBIDDEN, "{method}");
        let pass = tower_dcr::mcp().map_answer(ResponseLayer::pass_errors);
        assert_eq!(managed(&pass, method.clone(), "/register/c", 404, &[]).await.status(), 404, "{method}");
    }
    assert_eq!(managed(&preset, Method::GET, "/register", 404, &[]).await.status(), 404, "it is about no client");
    let missing = preset.layer(service_fn(|_: Request<RegistrationBody>| {
        let answer = Response::builder().status(404).body(Full::<Bytes>::default()).unwrap();
        std::future::ready(Ok::<_, Infallible>(answer))
    }));
    assert_eq!(send(&missing, post(HONEST)).await.status(), 404, "there is no registration here");
}

/// Nothing that a stranger writes is fetched: no client of HTTP, no resolver and no runtime is compiled in by default.
#[test]
fn the_library_opens_no_socket() {
    let tree = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let tree = String::from_utf8(tree.stdout).unwrap();
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"tower-service"), "{tree}");
    for connects in ["hyper", "reqwest", "tokio", "mio", "socket2", "async-io", "ureq", "hickory-resolver", "rustls"] {
        assert!(!names.contains(&connects), "{connects}");
    }
}

/// RFC 9700 section 2.6: the authorization endpoint "MUST NOT" support CORS.
#[tokio::test]
async fn a_gate_allows_no_other_origin() {
    let gate = GateLayer::new(GateEndpoint::Authorization, Registrar::new(MemoryLedger::default()))
        .map_settings(|gate| gate.unknown = Some(Action::Reject));
    let service = gate.layer(service_fn(|_: Request<_>| {
        std::future::ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
    }));
    for query in ["client_id=c&response_type=code", "client_id=c&client_id=d", ""] {
        let request = Request::get(format!("/authorize?{query}")).header("origin", "https://evil.example.net");
        let answer = send(&service, request.body(Full::<Bytes>::default()).unwrap()).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{query}");
        let cors = answer.response.headers().keys().filter(|name| name.as_str().starts_with("access-control-"));
        assert_eq!(cors.count(), 0, "{query}");
    }
}
