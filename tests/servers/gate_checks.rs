//! Checks of the gate: redirect URIs, pushed requests, spellings, requests without a client.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_dcr::clients::Revocation;
use tower_dcr::clients::{Actor, Ledger, MemoryLedger};
use tower_dcr::layers::Grant;
use tower_dcr::layers::{GateEndpoint, GateLayer};
use tower_dcr::rules::{Action, AuthMethod, Grants};

use crate::world::{Answer, DAY, World, serde_urlencoded, token};

/// The `Accept` header of browsers.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// The redirect URI of the clients of [`World::client`].
const CALLBACK: &str = "http://127.0.0.1:3118/callback";

fn operator() -> Actor {
    Actor::Operator("alice".into())
}

fn post(path: &str, form: &[(&str, &str)]) -> Request<Body> {
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    request.body(Body::from(serde_urlencoded(form))).unwrap()
}

/// Opens the authorization endpoint.
fn look(client_id: &str, redirect_uri: Option<&str>, accept: Option<&str>) -> Request<Body> {
    let mut query = vec![("client_id", client_id), ("response_type", "code")];
    query.extend(redirect_uri.map(|uri| ("redirect_uri", uri)));
    let mut request = Request::get(format!("/authorize?{}", serde_urlencoded(&query)));
    if let Some(accept) = accept {
        request = request.header(header::ACCEPT, accept);
    }
    request.body(Body::empty()).unwrap()
}

type Parameters<'a> = Vec<(&'a str, &'a str)>;

/// Sends a request through a gate; behind it everything is answered with 299.
async fn through(layer: &GateLayer, request: Request<Body>) -> Answer {
    let service = ServiceBuilder::new().layer(layer.clone()).service(service_fn(|_: Request<_>| {
        let answer = axum::response::Response::builder().status(299).body(Body::empty());
        std::future::ready(Ok::<_, std::convert::Infallible>(answer.unwrap()))
    }));
    Answer::of(service.oneshot(request).await.unwrap().map(Body::new)).await
}

async fn status(layer: &GateLayer, request: Request<Body>) -> u16 {
    through(layer, request).await.status
}

fn request_object(claims: &Value) -> String {
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", part(r#"{"alg":"ES256"}"#), part(&claims.to_string()), part("signature"))
}

#[tokio::test]
async fn no_other_parameter_replaces_a_redirect_uri() {
    let world = World::new(MemoryLedger::default());
    let (own, evil) = ("https://app.example.com/cb", "https://evil.example.net/cb");
    let client = json!({ "client_name": "App", "redirect_uris": [own, "https://app.example.com/other"] });
    let id = world.register(&client).await.client_id();
    let object = |redirect_uri: &str| request_object(&json!({ "client_id": id, "redirect_uri": redirect_uri }));
    let plain = GateLayer::new(GateEndpoint::Authorization, world.registrar.clone());
    let with_objects = plain.clone().map_settings(|gate| gate.request_objects = Some(true));
    let (fine, foreign) = (object(own), object(evil));
    let urn = "urn:ietf:params:oauth:request_uri:x";
    let reference = "https://app.example.com/r";
    // The other parameters, without and with a server that takes request objects.
    let rows: Vec<(&str, Parameters<'_>, u16, u16)> = vec![
        ("plain", vec![("redirect_uri", own)], 299, 299),
        ("foreign", vec![("redirect_uri", evil)], 400, 400),
        ("none", vec![], 400, 400),
        ("no object", vec![("redirect_uri", evil), ("request", "x")], 400, 400),
        ("no object, own", vec![("redirect_uri", own), ("request", "x")], 400, 400),
        ("empty object", vec![("redirect_uri", own), ("request", "")], 299, 299),
        ("empty object, none", vec![("request", "")], 400, 400),
        ("object", vec![("request", &fine)], 400, 299),
        ("object and plain", vec![("redirect_uri", own), ("request", &fine)], 299, 299),
        ("foreign object", vec![("request", &foreign)], 400, 400),
        ("foreign object and plain", vec![("redirect_uri", own), ("request", &foreign)], 400, 400),
        ("object and foreign", vec![("redirect_uri", evil), ("request", &fine)], 400, 400),
        ("reference", vec![("request_uri", reference)], 400, 299),
        ("reference and plain", vec![("redirect_uri", own), ("request_uri", reference)], 400, 299),
        ("reference and foreign", vec![("redirect_uri", evil), ("request_uri", reference)], 400, 400),
        ("never pushed", vec![("request_uri", urn)], 400, 400),
        ("never pushed, plain", vec![("redirect_uri", own), ("request_uri", urn)], 400, 400),
        ("never pushed", vec![("request_uri", "URN:ietf:params:OAUTH:request_uri:x")], 400, 400),
    ];
    for (reason, mut query, without, with) in rows {
        query.push(("client_id", &id));
        let get = || Request::get(format!("/authorize?{}", serde_urlencoded(&query))).body(Body::empty()).unwrap();
        assert_eq!(status(&plain, get()).await, without, "{reason}");
        assert_eq!(status(&with_objects, get()).await, with, "{reason}, with objects");
        assert_eq!(status(&plain, post("/authorize", &query)).await, without, "{reason}, posted");
    }
}

#[tokio::test]
async fn a_redirect_uri_may_be_left_out_where_there_is_one_only() {
    let world = World::new(MemoryLedger::default());
    let one = world.client("App").await;
    assert_eq!(world.send(look(&one, None, None)).await.status, 200);
    let loopback = json!({ "client_name": "Loopback", "redirect_uris": ["http://localhost/cb"] });
    let loopback = world.register(&loopback).await.client_id();
    assert_eq!(world.send(look(&loopback, Some("http://localhost:5000/cb"), None)).await.status, 200);
    assert_eq!(world.send(look(&loopback, None, None)).await.status, 400, "on which port?");
}

#[tokio::test]
async fn a_client_without_redirect_uris_may_use_none() {
    let ledger = MemoryLedger::default();
    let grants = Grants::new(["authorization_code", "client_credentials"], ["code"]).unwrap();
    let preset = tower_dcr::oauth(grants, AuthMethod::one_of(["none", "client_secret_basic"]));
    let world = World::new(ledger.clone()).guarded_by(|_| preset.without_rate_limits());
    let id = world.register(&json!({ "client_name": "Machine", "grant_types": ["client_credentials"] })).await;
    assert_eq!(id.status, 201, "{id:?}");
    let id = id.client_id();
    assert!(ledger.find(&id).await.unwrap().is_some());
    assert_eq!(world.send(look(&id, Some("https://evil.example.net/cb"), None)).await.status, 400);
    assert_eq!(world.send(look(&id, None, None)).await.status, 400);
    assert_eq!(world.token(&id).await.status, 200);
}

/// Only the client that pushed a request can use it, at any node.
#[tokio::test]
async fn pushed_requests_belong_to_their_client() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    let (id, other) = (world.client("App").await, world.client("Other").await);
    let urn = "urn:ietf:params:oauth:request_uri:abc";
    let answer = json!({ "request_uri": urn, "expires_in": 60 }).to_string();
    let push = async |id: &str, status: u16| {
        let layer = GateLayer::new(GateEndpoint::PushedAuthorization, world.registrar.clone());
        let answer = answer.clone();
        let par = ServiceBuilder::new().layer(layer).service(service_fn(move |_: Request<_>| {
            let response = axum::response::Response::builder().status(status).body(Body::from(answer.clone()));
            async { Ok::<_, std::convert::Infallible>(response.unwrap()) }
        }));
        let request = post("/par", &[("client_id", id), ("redirect_uri", CALLBACK)]);
        Answer::of(par.oneshot(request).await.unwrap().map(Body::new)).await
    };
    let go_on = |id: &str, more: &[(&str, &str)]| {
        let query = serde_urlencoded(&[&[("client_id", id), ("request_uri", urn)], more].concat());
        Request::get(format!("/authorize?{query}")).body(Body::empty()).unwrap()
    };
    assert_eq!(push(&id, 400).await.status, 400);
    assert_eq!(world.send(go_on(&id, &[])).await.status, 400, "the server did not take it");
    let pushed = push(&id, 201).await;
    assert_eq!((pushed.status, pushed.text.as_str()), (201, answer.as_str()), "byte for byte");
    assert_eq!(world.send(go_on(&id, &[])).await.status, 200);
    assert_eq!(world.send(go_on(&other, &[])).await.status, 400);
    let node = World::around(Arc::clone(&world.server), world.clock.clone(), ledger, |registrar| registrar);
    assert_eq!(node.send(go_on(&id, &[])).await.status, 200, "another node");
    assert_eq!(node.send(go_on(&other, &[])).await.status, 400);
    let evil = [("redirect_uri", "https://evil.example.net/cb")];
    assert_eq!(world.send(go_on(&id, &evil)).await.status, 400, "compared all the same");
    world.clock.advance(Duration::from_secs(61));
    assert_eq!(world.send(go_on(&id, &[])).await.status, 400, "it has expired");
}

/// Programs that look for `invalid_client` at the authorization endpoint register again; the others wait.
#[tokio::test]
async fn programs_can_read_that_a_new_registration_helps() {
    let world = World::new(MemoryLedger::default());
    let (revoked, live) = (world.client("Revoked").await, world.client("Live").await);
    world.registrar.revoke(Revocation::client(&revoked, operator(), "x")).await.unwrap();
    let pending = World::with(MemoryLedger::default(), |registrar| {
        registrar.map_settings(|lifecycle| lifecycle.approval = Some(DAY)).unwrap()
    });
    let waiting = pending.client("Waiting").await;
    let strict = GateLayer::new(GateEndpoint::Authorization, world.registrar.clone())
        .map_settings(|gate| gate.unknown = Some(Action::Reject));
    let ambiguous = |accept: Option<&str>| {
        let mut request = look(&live, None, accept);
        *request.uri_mut() = format!("/authorize?client_id={live}&client.id={live}").parse().unwrap();
        request
    };
    for accept in [None, Some("*/*"), Some("application/json"), Some("text/*"), Some(BROWSER), Some("TEXT/HTML;q=0.1")]
    {
        let unknown = through(&strict, look("nobody", Some(CALLBACK), accept)).await;
        let redirect = world.send(look(&live, Some("https://evil.example.net/"), accept)).await;
        for answer in [unknown, world.send(look(&revoked, Some(CALLBACK), accept)).await, redirect] {
            assert_eq!(answer.status, 400);
            assert!(answer.text.contains("invalid_client"), "{accept:?}: {}", answer.text);
            assert!(!answer.text.contains("evil"), "nothing of the request is repeated");
            let is_page = accept.is_some_and(|accept| accept.to_ascii_lowercase().contains("text/html"));
            let media = if is_page { "text/html; charset=utf-8" } else { "application/json" };
            assert_eq!(answer.headers["content-type"], media, "{accept:?}");
            assert_eq!(answer.error(), if is_page { "" } else { "invalid_client" });
        }
        for answer in [pending.send(look(&waiting, Some(CALLBACK), accept)).await, world.send(ambiguous(accept)).await]
        {
            assert_eq!(answer.status, 400);
            for word in ["invalid_client", "client id", "client_id", "redirect_uri", "unauthorized_client"] {
                assert!(!answer.text.contains(word), "{accept:?}: {}", answer.text);
            }
        }
    }
    let waiting = pending.token(&waiting).await;
    assert_eq!((waiting.status, waiting.error().as_str()), (400, "access_denied"), "it keeps its registration");
    world.clock.advance(8 * DAY);
    let expired = world.send(look(&live, Some(CALLBACK), Some(BROWSER))).await;
    assert!(expired.text.contains("invalid_client"));
}

/// RFC 6749 section 6 lets a public client leave its name out; then the server has to say whose the token is.
#[tokio::test]
async fn requests_without_a_client() {
    let world = World::new(MemoryLedger::default());
    let (live, revoked) = (world.client("Live").await, world.client("Revoked").await);
    world.registrar.revoke(Revocation::client(&revoked, operator(), "x")).await.unwrap();
    let layer = GateLayer::new(GateEndpoint::Token, world.registrar.clone());
    let refresh = |token: &str| post("/token", &[("grant_type", "refresh_token"), ("refresh_token", token)]);
    let grant = |name: &str| post("/token", &[("grant_type", &*format!("urn:ietf:params:oauth:grant-type:{name}"))]);
    let unnamed = through(&layer, refresh("r")).await;
    assert_eq!((unnamed.status, unnamed.error().as_str()), (400, "invalid_request"));
    for anonymous in ["token-exchange", "jwt-bearer", "saml2-bearer", "pre-authorized_code"] {
        assert_eq!(status(&layer, grant(anonymous)).await, 299, "{anonymous}");
    }
    assert_eq!(status(&layer, grant("device_code")).await, 400);
    assert_eq!(status(&layer, grant("Token-Exchange")).await, 400);
    let none = layer.clone().map_settings(|gate| gate.anonymous_grants = Some(Vec::<String>::new()));
    assert_eq!(status(&none, grant("token-exchange")).await, 400);
    assert_eq!(
        status(&layer.clone().map_settings(|gate| gate.unidentified = Some(Action::Pass)), refresh("r")).await,
        299
    );
    assert_eq!(
        status(
            &layer.clone().map_settings(|gate| {
                gate.unidentified = Some(Action::Pass);
                gate.unknown = Some(Action::Reject);
            }),
            refresh("r")
        )
        .await,
        400
    );
    let owners = [("live".to_owned(), live.clone()), ("revoked".to_owned(), revoked.clone())];
    let hooked = layer.clone().with_client_of(move |grant: Grant| {
        let owner = owners.iter().find(|(token, _)| *token == grant.value).map(|(_, id)| id.clone());
        async move { if grant.value == "down" { Err("the store is down".into()) } else { Ok(owner) } }
    });
    for (token, wanted) in [("live", 299), ("revoked", 401), ("none", 400), ("down", 503)] {
        assert_eq!(status(&hooked, refresh(token)).await, wanted, "{token}");
    }
    // In its URL a client is named to some servers only.
    let aside = |token: &str| {
        let mut aside = refresh(token);
        *aside.uri_mut() = format!("/token?client_id={live}").parse().unwrap();
        aside
    };
    assert_eq!(status(&layer, aside("r")).await, 400);
    assert_eq!(status(&hooked, aside("live")).await, 299);
    assert_eq!(status(&hooked, aside("revoked")).await, 401);
}

#[tokio::test]
async fn other_endpoints_without_a_client() {
    let world = World::new(MemoryLedger::default());
    let (live, revoked) = (world.client("Live").await, world.client("Revoked").await);
    world.registrar.revoke(Revocation::client(&revoked, operator(), "x")).await.unwrap();
    // A resource server asks with a token of its own, or by its address.
    let asks = |with_token: bool| {
        let mut request = post("/introspect", &[("token", "t")]);
        if with_token {
            request.headers_mut().insert(header::AUTHORIZATION, "Bearer x".parse().unwrap());
        }
        request
    };
    let introspection = GateLayer::new(GateEndpoint::Introspection, world.registrar.clone());
    assert_eq!(status(&introspection, asks(true)).await, 299);
    assert_eq!(status(&introspection, asks(false)).await, 299);
    assert_eq!(
        status(&introspection.clone().map_settings(|gate| gate.unknown = Some(Action::Reject)), asks(true)).await,
        299
    );
    assert_eq!(status(&introspection.map_settings(|gate| gate.unknown = Some(Action::Reject)), asks(false)).await, 400);
    for layer in [
        GateLayer::new(GateEndpoint::PushedAuthorization, world.registrar.clone()),
        GateLayer::new(GateEndpoint::DeviceAuthorization, world.registrar.clone()),
    ] {
        assert_eq!(status(&layer, post("/x", &[("scope", "a")])).await, 400);
        assert_eq!(status(&layer, post("/x", &[("client_id", &live)])).await, 299);
    }
    let revocation = GateLayer::new(GateEndpoint::Revocation, world.registrar.clone());
    assert_eq!(status(&revocation, post("/revoke", &[("token", "t")])).await, 299);
    assert_eq!(status(&revocation, post("/revoke", &[("token", "t"), ("client_id", &revoked)])).await, 299);
    assert_eq!(status(&revocation, post("/revoke", &[("token", "t"), ("client.id", &live)])).await, 400);
    let consent = GateLayer::new(GateEndpoint::Authorization, world.registrar.clone());
    assert_eq!(status(&consent, post("/authorize", &[("decision", "allow")])).await, 299);
    assert_eq!(status(&consent, post("/authorize", &[("decision", "allow"), ("clientId", "x")])).await, 400);
}

/// A database may compare without case, and finds the client that was revoked.
#[tokio::test]
async fn another_spelling_of_a_known_client_is_rejected() {
    let world = World::new(MemoryLedger::default());
    *world.server.answer.lock().unwrap() = Some((201, json!({ "client_id": "abc-1" })));
    assert_eq!(world.client("App").await, "abc-1");
    world.registrar.revoke(Revocation::client("abc-1", operator(), "x")).await.unwrap();
    *world.server.answer.lock().unwrap() = Some((201, json!({ "client_id": "aBc2" })));
    assert_eq!(world.client("Another").await, "aBc2");
    for id in ["ABC-1", "Abc-1", "abc-1 ", "abc-1\0", " abc-1", "abc-1\u{301}", "\u{feff}abc-1", "ABC2", "abC2", "ABC2"]
    {
        let answer = world.token(id).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"), "{id:?}");
    }
}

/// A name that was only seen in use at a gate that lets everybody pass was never registered.
#[tokio::test]
async fn clients_only_seen_in_use_are_not_registered() {
    let world = World::new(MemoryLedger::default());
    world.server.clients.lock().unwrap().insert("old".into(), json!({}));
    assert_eq!(world.token("old").await.status, 200);
    let strict = GateLayer::new(GateEndpoint::Token, world.registrar.clone())
        .map_settings(|gate| gate.unknown = Some(Action::Reject));
    assert_eq!(status(&strict, token("old")).await, 401);
}

#[tokio::test]
async fn other_methods_are_rejected() {
    let world = World::new(MemoryLedger::default());
    let id = world.client("App").await;
    for layer in [
        GateLayer::new(GateEndpoint::Token, world.registrar.clone()),
        GateLayer::new(GateEndpoint::Authorization, world.registrar.clone()),
    ] {
        for method in ["PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"] {
            let mut request = token(&id);
            *request.method_mut() = method.parse().unwrap();
            let answer = through(&layer, request).await;
            assert_eq!(answer.status, 405, "{method}");
            assert_eq!(answer.headers["allow"], "GET, HEAD, OPTIONS, POST");
        }
    }
}

/// Of several registrations under one id, one has to be live and to have the redirect URI.
#[tokio::test]
async fn registrations_that_share_an_id_are_evaluated_together() {
    let ledger = MemoryLedger::default();
    let world = World::with(ledger, |registrar| {
        registrar.map_settings(|lifecycle| lifecycle.shared_client_ids = Some(true)).unwrap()
    });
    for (name, uri) in [("One", "https://one.example.com/cb"), ("Two", "https://two.example.com/cb")] {
        *world.server.answer.lock().unwrap() = Some((201, json!({ "client_id": "shared" })));
        let answer = world.register(&json!({ "client_name": name, "redirect_uris": [uri] })).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    for (uri, wanted) in
        [("https://one.example.com/cb", 200), ("https://two.example.com/cb", 200), ("https://evil.example.net/cb", 400)]
    {
        assert_eq!(world.send(look("shared", Some(uri), None)).await.status, wanted, "{uri}");
    }
}

/// Some servers say what went wrong in a success.
#[tokio::test]
async fn only_an_issued_token_counts_as_use() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    let id = world.client("App").await;
    let gate = GateLayer::new(GateEndpoint::Token, world.registrar.clone());
    let answers = [
        (r#"{"error":"bad_verification_code"}"#, false),
        (r#"{"access_token":7}"#, false),
        (r#"{"access_token":"t","token_type":"Bearer"}"#, true),
    ];
    for (body, proves) in answers {
        let service = ServiceBuilder::new().layer(gate.clone()).service(service_fn(move |_: Request<_>| {
            let answer = axum::response::Response::new(Body::from(body));
            std::future::ready(Ok::<_, std::convert::Infallible>(answer))
        }));
        let request = post("/token", &[("grant_type", "authorization_code"), ("code", "c"), ("client_id", &id)]);
        let answer = Answer::of(service.oneshot(request).await.unwrap().map(Body::new)).await;
        assert_eq!((answer.status, &*answer.text), (200, body), "as it came");
        assert_eq!(ledger.find(&id).await.unwrap().unwrap().last_used_at.is_some(), proves, "{body}");
    }
}

/// A step of a consent form is no request of its own: frameworks send it to the authorization endpoint, with the client and not
/// always with the rest.
#[tokio::test]
async fn consent_forms_of_frameworks_pass() {
    let world = World::new(MemoryLedger::default());
    let (first, second) = ("http://127.0.0.1/cb", "https://app.example.com/cb");
    let id = world.register(&json!({ "client_name": "App", "redirect_uris": [first, second] })).await.client_id();
    let gate = GateLayer::new(GateEndpoint::Authorization, world.registrar.clone());
    let query = serde_urlencoded(&[("client_id", &*id), ("redirect_uri", second), ("response_type", "code")]);
    let rows: [(&str, String, Parameters<'_>, u16); 6] = [
        ("client and state", "/authorize".into(), vec![("client_id", &id), ("state", "s"), ("scope", "read")], 299),
        (
            "everything once more",
            format!("/authorize?{query}"),
            vec![("client_id", &id), ("redirect_uri", second), ("response_type", "code"), ("allow", "yes")],
            299,
        ),
        ("nothing but the decision", format!("/authorize?{query}"), vec![("allow", "yes")], 299),
        ("another redirect URI", format!("/authorize?{query}"), vec![("redirect_uri", first)], 400),
        ("another client", format!("/authorize?{query}"), vec![("client_id", "other")], 400),
        ("a request", "/authorize".into(), vec![("client_id", &id), ("response_type", "code")], 400),
    ];
    for (reason, path, form, expected) in rows {
        assert_eq!(status(&gate, post(&path, &form)).await, expected, "{reason}");
    }
    world.registrar.revoke(Revocation::client(id.as_str(), operator(), "x")).await.unwrap();
    assert_eq!(status(&gate, post("/authorize", &[("client_id", &id), ("state", "s")])).await, 400);
}

/// The error for a missing redirect URI must not make clients register again.
#[tokio::test]
async fn a_missing_redirect_uri_does_not_ask_for_a_new_registration() {
    let world = World::new(MemoryLedger::default());
    let uris = ["https://app.example.com/cb", "https://app.example.com/other"];
    let id = world.register(&json!({ "client_name": "App", "redirect_uris": uris })).await.client_id();
    let gate = GateLayer::new(GateEndpoint::Authorization, world.registrar.clone());
    let answer = through(&gate, look(&id, None, None)).await;
    assert!(answer.status == 400 && answer.text.contains("invalid_request"), "{answer:?}");
    assert!(!answer.text.contains("invalid_client"), "{answer:?}");
}

/// PHP without a configuration has cookies override parameters.
#[tokio::test]
async fn cookies_do_not_override_the_client() {
    let world = World::new(MemoryLedger::default());
    let (good, bad) = (world.client("App").await, world.client("Other").await);
    world.registrar.revoke(Revocation::client(bad.as_str(), operator(), "x")).await.unwrap();
    let gate = GateLayer::new(GateEndpoint::Token, world.registrar.clone());
    for (cookie, expected) in [
        (format!("client_id={bad}"), 400),
        (format!("a=b; client.id={bad}"), 400),
        (format!("client%5Fid={bad}"), 400),
        (format!("client_id={good}; refresh_token=r; code=c"), 299),
        ("session=client_id".to_owned(), 299),
    ] {
        let mut request =
            post("/token", &[("grant_type", "refresh_token"), ("refresh_token", "r"), ("client_id", &good)]);
        request.headers_mut().insert(header::COOKIE, cookie.parse().unwrap());
        assert_eq!(status(&gate, request).await, expected, "{cookie}");
    }
}
