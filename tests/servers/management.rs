//! The client configuration endpoint (RFC 7592) in front of a ledger: clients that are known, that are not, and that are
//! spelled otherwise.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use tower_dcr::audit::LifecycleAction;
use tower_dcr::clients::{Actor, Filter, Ledger, MemoryLedger, Origin, Status};
use tower_dcr::clients::{Registrar, Revocation};
use tower_dcr::layers::{InitialAccess, StaticTokens};
use tower_dcr::rate_limit::{Quota, RateLimits};
use tower_dcr::redirect_uri::RedirectClass;
use tower_dcr::rules::{AuthMethod, Condition, Grants, RedirectPattern};
use tower_dcr::{
    Preset,
    layers::{InitialAccessTokenLayer, RateLimitLayer},
};

use crate::world::{DAY, World, metadata, register};

const TOKEN: &str = "Vq3s8nR1xW7tB0yKd5Lc";

fn manage(method: &str, path: &str, body: &Value) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
    request.body(Body::from(body.to_string())).unwrap()
}

/// The update of a client.
fn update(id: &str) -> Request<Body> {
    let mut body = metadata("Renamed");
    body["client_id"] = id.into();
    manage("PUT", &format!("/register/{id}"), &body)
}

fn tokens() -> InitialAccessTokenLayer {
    let access = InitialAccess { rules: Some("partner".into()), ..InitialAccess::of("partner") };
    InitialAccessTokenLayer::new(StaticTokens::new().add(TOKEN, access).unwrap())
}

async fn is_recorded(ledger: &MemoryLedger, id: &str) -> bool {
    ledger.find(id).await.unwrap().is_some()
}

/// A server that registers what it does not know would do it without a token, and without approval.
#[tokio::test]
async fn an_update_does_not_create_a_client() {
    type Change = (&'static str, fn(Registrar) -> Registrar, fn(Preset) -> Preset, u16);
    let approval: fn(Registrar) -> Registrar =
        |registrar| registrar.map_settings(|lifecycle| lifecycle.approval = Some(DAY)).unwrap();
    let required: fn(Preset) -> Preset = |preset| preset.with_initial_access_tokens(tokens());
    let changes: [Change; 6] = [
        ("nothing is required", |registrar| registrar, |preset| preset, 200),
        ("a token is required", |registrar| registrar, required, 401),
        (
            "a token may be sent",
            |registrar| registrar,
            |preset| preset.with_initial_access_tokens(tokens().optional()),
            200,
        ),
        ("approval is required", approval, |preset| preset, 401),
        (
            "a token is required, but not here",
            |registrar| registrar.map_settings(|lifecycle| lifecycle.manage_unknown = Some(true)).unwrap(),
            required,
            200,
        ),
        (
            "approval is required, but not here",
            |registrar| {
                registrar
                    .map_settings(|lifecycle| {
                        lifecycle.approval = Some(DAY);
                        lifecycle.manage_unknown = Some(true);
                    })
                    .unwrap()
            },
            |preset| preset,
            200,
        ),
    ];
    for (reason, registrar, preset, status) in changes {
        let ledger = MemoryLedger::default();
        let world = World::with(ledger.clone(), registrar).guarded_by(preset);
        for with_token in [false, true] {
            let mut request = update("from-before");
            if with_token {
                request.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {TOKEN}").parse().unwrap());
            }
            let answer = world.send(request).await;
            assert_eq!(answer.status, status, "{reason}");
            assert_eq!(status == 401, answer.headers.contains_key("www-authenticate"), "{reason}");
        }
        let is_there = world.server.clients.lock().unwrap().contains_key("from-before");
        assert_eq!(is_there, status == 200, "{reason}");
        assert_eq!(is_recorded(&ledger, "from-before").await, status == 200, "{reason}");
    }
}

#[tokio::test]
async fn a_policy_file_lets_unknown_clients_be_managed() {
    let file = Preset::from_str("[lifecycle]\napproval = \"1day\"\nmanage_unknown = true\n").unwrap();
    let world = World::new(MemoryLedger::default()).guarded_by(|_| file.without_rate_limits());
    assert_eq!(world.send(update("from-before")).await.status, 200);
    let file = Preset::from_str("[lifecycle]\napproval = \"1day\"\n").unwrap();
    let world = World::new(MemoryLedger::default()).guarded_by(|_| file.without_rate_limits());
    assert_eq!(world.send(update("from-before")).await.status, 401);
}

#[tokio::test]
async fn an_update_of_an_unknown_client_is_recorded() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    assert_eq!(world.send(update("from-before")).await.status, 200);
    let client = ledger.find("from-before").await.unwrap().unwrap();
    assert_eq!((client.status, client.origin), (Status::Active, Origin::Registered));
    assert!(client.expires_at.is_some(), "it lives like any other");
    assert!(client.registration.contains("http://127.0.0.1:3118/callback"), "{}", client.registration);
    assert_eq!(client.fingerprints.name, "renamed");
    assert_eq!(world.events.of(LifecycleAction::UnregisteredClient).len(), 1);
    assert_eq!(world.send(update("from-before")).await.status, 200);
    assert_eq!(world.events.of(LifecycleAction::UnregisteredClient).len(), 1, "known by now");
    assert_eq!(world.events.of(LifecycleAction::Updated).len(), 2);
    // Revocations by the operator persist.
    let alice = Actor::Operator("alice".into());
    world.registrar.revoke(Revocation::client("from-before", alice, "imitates")).await.unwrap();
    assert_eq!(world.token("from-before").await.status, 401);
    assert_eq!(world.send(update("from-before")).await.status, 400, "blocked");
    assert_eq!(world.send(update("another")).await.status, 400, "blocked under another name");
    assert!(!is_recorded(&ledger, "another").await);
}

#[tokio::test]
async fn an_update_that_the_server_answers_with_another_client_is_not_recorded() {
    let ledger = MemoryLedger::default();
    let registrar = Registrar::new(ledger.clone());
    let handler = tower::service_fn(async |_: Request<tower_dcr::layers::RegistrationBody>| {
        let answer = http::Response::builder().header(header::CONTENT_TYPE, "application/json");
        Ok::<_, std::convert::Infallible>(answer.body(Body::from(r#"{"client_id":"other"}"#)).unwrap())
    });
    let service = tower::Layer::layer(&tower_dcr::mcp().with_registrar(registrar), handler);
    let answer = tower::ServiceExt::oneshot(service, update("from-before")).await.unwrap();
    assert!(answer.status().is_server_error());
    assert!(ledger.page(&Filter::default(), None, 10).await.unwrap().is_empty());
}

/// An update of a client that is not known costs like a registration, and one of a client that is costs nothing.
#[tokio::test]
async fn updates_cost_if_they_may_be_registrations() {
    let two = Quota::per_hour(NonZeroU32::new(2).unwrap());
    let limited = |preset: Preset| {
        preset.with_rate_limit(RateLimitLayer::new().map_limits(|limits| {
            *limits = RateLimits::OFF;
            limits.global = two.into();
        }))
    };
    let world = World::new(MemoryLedger::default()).guarded_by(limited);
    for id in ["a", "b"] {
        assert_eq!(world.send(update(id)).await.status, 200);
    }
    assert_eq!(world.send(update("c")).await.status, 429);

    let world = World::new(MemoryLedger::default()).guarded_by(limited);
    let id = world.client("App").await;
    for _ in 0..5 {
        assert_eq!(world.send(update(&id)).await.status, 200);
        assert_eq!(world.send(manage("GET", &format!("/register/{id}"), &Value::Null)).await.status, 200);
    }
}

/// Servers fold these into the client, or do not: neither reading counts.
#[tokio::test]
async fn a_revoked_client_can_not_manage_itself_by_another_spelling() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    let id = world.client("App").await;
    let alice = Actor::Operator("alice".into());
    world.registrar.revoke(Revocation::client(&*id, alice, "imitates")).await.unwrap();
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        for (spelling, status) in [
            (id.clone(), 401),
            (format!("{id}/"), 400),
            (format!("{id};v=1"), 400),
            (format!("{id}.json"), 400),
            (format!("{id}.tar.gz"), 400),
            (format!("{id}%2F"), 400),
            (format!("{id}%20"), 400),
            (format!("{id}%00"), 400),
            (format!("{id}/."), 400),
            (format!("{id}/x/.."), 400),
            (id.to_uppercase(), 400),
            (id.replace('c', "%63"), 400),
        ] {
            let body =
                json!({ "client_id": spelling, "client_name": "Clean", "redirect_uris": ["http://localhost/clean"] });
            let answer = world.send(manage(method, &format!("/register/{spelling}"), &body)).await;
            // Requests without a route reach no handler.
            let is_unrouted = spelling.contains('/') && answer.status == 404;
            assert!(answer.status == status || is_unrouted, "{method} {spelling}: {}", answer.status);
        }
    }
    assert_eq!(ledger.page(&Filter::default(), None, 10).await.unwrap().len(), 1);
    assert_eq!(world.calls(), 1);
}

/// The rules that a token named judge every update, however the URL is spelled.
#[tokio::test]
async fn pinned_rules_apply_to_updates_in_every_spelling() {
    let guard = |preset: Preset| {
        let hosts = ["https://*.partner.example.com/*".parse::<RedirectPattern>().unwrap()];
        preset
            .with_initial_access_tokens(tokens().optional())
            .for_callers(Condition::Rules("partner".into()), |mut rules| {
                rules.redirect_uris.classes = Vec::from([RedirectClass::Https]);
                rules.redirect_uris.only_https = Some(hosts.into_iter().collect());
                Ok(rules)
            })
            .unwrap()
    };
    let world = World::new(MemoryLedger::default()).guarded_by(guard);
    let mut request = register(&json!({ "client_name": "P", "redirect_uris": ["https://a.partner.example.com/cb"] }));
    request.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {TOKEN}").parse().unwrap());
    let id = world.send(request).await.client_id();
    assert_eq!(world.send(update(&id)).await.status, 400, "not for a partner");
    for spelling in [format!("{id}.json"), id.to_uppercase(), format!("{id};x"), format!("%63{}", &id[1..])] {
        let mut body = metadata("P");
        body["client_id"] = spelling.clone().into();
        let answer = world.send(manage("PUT", &format!("/register/{spelling}"), &body)).await;
        assert_eq!(answer.status, 400, "{spelling}");
    }
}

#[tokio::test]
async fn unknown_clients_are_read_and_deleted_without_a_body() {
    let world = World::new(MemoryLedger::default());
    let server = Arc::clone(&world.server);
    server.clients.lock().unwrap().insert("from-before".into(), metadata("Before"));
    let evil = json!({ "redirect_uris": ["javascript:alert(1)"] });
    assert_eq!(world.send(manage("GET", "/register/from-before", &evil)).await.json()["client_name"], "Before");
    assert_eq!(world.send(manage("DELETE", "/register/from-before", &evil)).await.status, 204);
    assert!(server.clients.lock().unwrap().is_empty());
}

/// Any caller can send a `PUT` or `DELETE`, and a server may have a page for everything, or a handler that ignores the method.
#[tokio::test]
async fn only_an_answer_with_the_client_id_changes_the_record() {
    let answers: [(&str, u16, &str, &str); 6] = [
        ("a page for everything", 200, "text/html", "<!doctype html>"),
        ("an error in a success", 200, "application/json", r#"{"error":"invalid_token"}"#),
        ("a new client", 201, "application/json", r#"{"client_id":"d3b6"}"#),
        ("no client", 200, "application/json", r#"{"redirect_uris":["http://127.0.0.1:3118/callback"]}"#),
        ("nothing", 200, "application/json", ""),
        ("a number", 200, "application/json", r#"{"client_id":7}"#),
    ];
    for (reason, status, media, body) in answers {
        let ledger = MemoryLedger::default();
        let world = World::new(ledger.clone());
        let id = world.client("App").await;
        let before = ledger.find(&id).await.unwrap().unwrap();
        let handler = tower::service_fn(move |_: Request<tower_dcr::layers::RegistrationBody>| {
            let answer = http::Response::builder().status(status).header(header::CONTENT_TYPE, media);
            std::future::ready(Ok::<_, std::convert::Infallible>(answer.body(Body::from(body)).unwrap()))
        });
        let preset = tower_dcr::mcp().with_registrar(world.registrar.clone());
        let service = tower::Layer::layer(&preset, handler);
        let mut evil = metadata("Evil");
        (evil["client_id"], evil["redirect_uris"]) = (id.clone().into(), json!(["http://127.0.0.1:6666/evil"]));
        let request = manage("PUT", &format!("/register/{id}"), &evil);
        _ = tower::ServiceExt::oneshot(service.clone(), request).await.unwrap();
        let delete = manage("DELETE", &format!("/register/{id}"), &Value::Null);
        _ = tower::ServiceExt::oneshot(service.clone(), delete).await.unwrap();
        assert_eq!(ledger.find(&id).await.unwrap().unwrap(), before, "{reason}");
        _ = tower::ServiceExt::oneshot(service, update("made-up")).await.unwrap();
        assert!(!is_recorded(&ledger, "made-up").await, "{reason}");
    }
}

/// `max_clients` holds for clients that come by an update as well.
#[tokio::test]
async fn updates_do_not_fill_the_table_beyond_its_limit() {
    let ledger = MemoryLedger::default();
    let world = World::with(ledger.clone(), |registrar| {
        registrar.map_settings(|lifecycle| lifecycle.max_clients = Some(2.try_into().unwrap())).unwrap()
    });
    for number in 0..5 {
        let answer = world.send(update(&format!("from-before-{number}"))).await;
        assert_eq!(answer.status, 200, "{number}");
        // The one that was there longest has made room.
        let live =
            ledger.page(&Filter { statuses: Status::LIVE.to_vec(), ..Filter::default() }, None, 10).await.unwrap();
        assert_eq!(live.len(), 2.min(number + 1), "{number}");
        assert!(is_recorded(&ledger, &format!("from-before-{number}")).await);
    }
}

/// OAuth 2.1 section 2.1: a client has one type.
#[tokio::test]
async fn an_update_does_not_change_the_type_of_a_client() {
    let methods = || AuthMethod::one_of(["none", "client_secret_basic", "client_secret_post"]);
    let oauth = move |_| tower_dcr::oauth(Grants::authorization_code(), methods()).without_rate_limits();
    let body = |id: Option<&str>, method: &str| {
        let mut body = metadata("App");
        body["token_endpoint_auth_method"] = method.into();
        if let Some(id) = id {
            body["client_id"] = id.into();
        }
        body
    };
    for (allowed, expected) in [(None, 400), (Some(false), 400), (Some(true), 200)] {
        let allow = |registrar: Registrar| registrar.map_settings(|it| it.client_type_changes = allowed).unwrap();
        let world = World::with(MemoryLedger::default(), allow).guarded_by(oauth);
        for (before, after, status) in [
            ("none", "client_secret_basic", expected),
            ("client_secret_basic", "none", expected),
            ("client_secret_basic", "client_secret_post", 200),
            ("none", "none", 200),
        ] {
            let id = world.register(&body(None, before)).await.client_id();
            let update = |method| manage("PUT", &format!("/register/{id}"), &body(Some(&id), method));
            let answer = world.send(update(after)).await;
            assert_eq!(answer.status, status, "{before} to {after}: {answer:?}");
            assert_eq!(status == 400, answer.text.contains("would make a public client"), "{}", answer.text);
            // The record has the type that is in force.
            let back = world.send(update(before)).await;
            assert_eq!(back.status, 200, "{before} again: {back:?}");
        }
        // A client that the ledger does not know has no type yet.
        let answer = world.send(manage("PUT", "/register/from-before", &body(Some("from-before"), "none"))).await;
        assert_eq!(answer.status, 200);
    }
}

/// An absent member is a change as well: its default is `client_secret_basic` (RFC 7591 section 2).
#[tokio::test]
async fn an_update_without_a_method_does_not_make_a_public_client_confidential() {
    let methods = AuthMethod::one_of(["none", "client_secret_basic"]);
    let preset = tower_dcr::oauth(Grants::authorization_code(), methods).without_rate_limits();
    let world = World::new(MemoryLedger::default()).guarded_by(|_| preset);
    let mut body = metadata("App");
    body["token_endpoint_auth_method"] = "none".into();
    let id = world.register(&body).await.client_id();
    assert_eq!(world.send(update(&id)).await.status, 400);
}

/// A server may answer with another method than it was asked for: that one counts (RFC 7591 section 3.2.1).
#[tokio::test]
async fn the_type_of_a_client_is_that_of_the_response() {
    let methods = AuthMethod::one_of(["none", "client_secret_basic"]);
    let preset = tower_dcr::oauth(Grants::authorization_code(), methods).without_rate_limits();
    let world = World::new(MemoryLedger::default()).guarded_by(|_| preset);
    let mut answer = metadata("App");
    answer["client_id"] = "c1".into();
    answer["token_endpoint_auth_method"] = "none".into();
    *world.server.answer.lock().unwrap() = Some((201, answer.clone()));
    let registered = world.register(&metadata("App")).await;
    assert_eq!((registered.status, registered.client_id().as_str()), (201, "c1"));
    *world.server.answer.lock().unwrap() = None;
    assert_eq!(world.send(manage("PUT", "/register/c1", &answer)).await.status, 200, "as it was returned");
    answer["token_endpoint_auth_method"] = "client_secret_basic".into();
    assert_eq!(world.send(manage("PUT", "/register/c1", &answer)).await.status, 400);
}
