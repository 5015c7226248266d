//! Attacks on the hold of changes, on budgets and on the places of clients in use. Each test fails as long as its attack succeeds.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::{Layer, service_fn};
use tower_dcr::clients::{MemoryLedger, Origin, Status};
use tower_dcr::documents::{Admission, ClientIdUrl, VerifiedClient};
use tower_dcr::layers::{GateEndpoint, ResponseBody};
use tower_dcr::rules::{AuthMethod, Grants};

use super::*;

const EVIL: &str = "https://evil.attacker-site.com/cb";
const SHORT: (&str, &str) = ("cache-control", "no-store");

impl World {
    fn rotate(&self, more: &Value) {
        self.web.put(URL, 200, &[SHORT], &document(URL, more));
        self.clock.advance(6 * MINUTE);
    }

    /// Lets the document be gone until its client has ended.
    async fn withdraw(&self) {
        self.web.put(URL, 404, &[], "");
        for pause in [6 * MINUTE, HOUR + MINUTE] {
            self.clock.advance(pause);
            assert_eq!(self.authorize(URL).await, REJECTED);
        }
        assert_eq!(self.record(URL).await.unwrap().status, Status::Expired);
    }

    fn last_told(&self) -> Value {
        serde_json::from_slice(self.told.lock().unwrap().last().unwrap().document()).unwrap()
    }

    /// A sign-in at a server that asks for consent, and redirects with the code from another endpoint.
    async fn ask(&self, url: &str) -> StatusCode {
        let handler = service_fn(|_: Request<ResponseBody<Full<Bytes>>>| async {
            let page = Response::builder().header("content-type", "text/html").body(Full::<Bytes>::from("<form>"));
            Ok::<_, Infallible>(page.unwrap())
        });
        let query = authorization(url, CALLBACK);
        let request = Request::get(format!("/authorize?{query}"))
            .extension("192.0.2.1:1".parse::<SocketAddr>().unwrap())
            .body(Full::default())
            .unwrap();
        let gate = self.preset.gate(GateEndpoint::Authorization, self.registrar.clone()).with_clock(self.clock.clone());
        send(&gate.layer(handler), request).await.status()
    }
}

/// A change that waits for an operator is in force at the token endpoint, since the version in memory is offered there as well.
#[tokio::test]
async fn a_held_version_is_not_in_force_at_the_token_endpoint() {
    let world = World::new(unlimited(tower_dcr::mcp()));
    world.rotate(&json!({ "grant_types": ["authorization_code"] }));
    assert_eq!((world.authorize(URL).await, world.token(URL).await), (GOES_ON, StatusCode::OK));
    assert_eq!(world.refresh(URL).await, REJECTED);
    world.rotate(&json!({ "grant_types": ["authorization_code", "refresh_token"] }));
    assert_eq!(world.authorize(URL).await, GOES_ON);
    assert!(world.record(URL).await.unwrap().document.unwrap().held.is_some(), "more grants wait");
    world.clock.advance(11 * MINUTE);
    assert_eq!(world.refresh(URL).await, REJECTED, "and are not in force: the handler was told {}", world.last_told());
}

/// The same with the method: the document's host alone takes the client's authentication away.
#[tokio::test]
async fn a_held_version_takes_no_authentication_away() {
    let preset = tower_dcr::oauth(Grants::authorization_code(), AuthMethod::one_of(["private_key_jwt", "none"]));
    let preset = unlimited(preset);
    let world = World::new(preset);
    let keys = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "1",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" }] });
    world.rotate(&json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks": keys }));
    assert_eq!(world.authorize(URL).await, GOES_ON);
    world.rotate(&json!({ "token_endpoint_auth_method": "none" }));
    assert_eq!(world.authorize(URL).await, GOES_ON);
    assert!(world.record(URL).await.unwrap().document.unwrap().held.is_some(), "a weaker method waits");
    world.clock.advance(11 * MINUTE);
    let gate = |gate: tower_dcr::layers::GateLayer| {
        gate.map_settings(|settings| settings.rules.auth_method = Some(Action::Reject))
    };
    let told: Arc<Mutex<Vec<VerifiedClient>>> = Arc::default();
    let seen = Arc::clone(&told);
    let handler = service_fn(move |request: Request<ResponseBody<Full<Bytes>>>| {
        seen.lock().unwrap().extend(request.extensions().get::<VerifiedClient>().cloned());
        async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) }
    });
    let layer = gate(world.preset.gate(GateEndpoint::Token, world.registrar.clone()).with_clock(world.clock.clone()));
    let body = format!("grant_type=refresh_token&refresh_token=stolen&client_id={}", encoded(URL));
    let request = Request::post("/").header("content-type", "application/x-www-form-urlencoded");
    let answer = send(&layer.layer(handler), request.body(Full::from(body)).unwrap()).await;
    let methods: Vec<_> = told
        .lock()
        .unwrap()
        .iter()
        .map(|client| client.registration().string("token_endpoint_auth_method").map(str::to_owned))
        .collect();
    assert_ne!(
        answer.status(),
        StatusCode::OK,
        "a refresh token was redeemed without the key; the handler was told {methods:?}"
    );
}

/// A node with an older copy undoes what a newer fetch of another node put in force.
#[tokio::test]
async fn an_older_copy_of_another_node_undoes_nothing() {
    let one = World::new(unlimited(tower_dcr::mcp()));
    let other = World::at(unlimited(tower_dcr::mcp()), one.web.clone(), one.ledger.clone());
    let long = [("cache-control", "max-age=86400")];
    let leaked = "https://app.example.com/leaked";
    one.web.put(URL, 200, &long, &document(URL, &json!({ "redirect_uris": [CALLBACK, leaked] })));
    assert_eq!(other.authorize(URL).await, GOES_ON);
    for world in [&one, &other] {
        world.clock.advance(HOUR);
    }
    // Its publisher takes the leaked one away. One node sees it.
    one.web.put(URL, 200, &long, &document(URL, &json!({})));
    assert_eq!(one.authorize(URL).await, GOES_ON);
    assert!(!one.record(URL).await.unwrap().registration.contains("leaked"), "narrowed");
    // The other one has its older copy for a day.
    other.clock.advance(MINUTE);
    other.authorize(URL).await;
    let record = one.record(URL).await.unwrap();
    assert!(!record.registration.contains("leaked"), "an older version is in force again: {}", record.registration);
    assert!(record.document.unwrap().held.is_none());
}

/// With another origin, the older copy is held as a change of the newer one.
#[tokio::test]
async fn an_older_copy_of_another_node_is_no_change() {
    let one = World::new(unlimited(tower_dcr::mcp()));
    let other = World::at(unlimited(tower_dcr::mcp()), one.web.clone(), one.ledger.clone());
    let long = [("cache-control", "max-age=604800")];
    one.web.put(URL, 200, &long, &document(URL, &json!({ "redirect_uris": [CALLBACK, EVIL] })));
    assert_eq!(other.authorize(URL).await, GOES_ON);
    for world in [&one, &other] {
        world.clock.advance(MINUTE);
    }
    one.web.put(URL, 200, &long, &document(URL, &json!({})));
    assert_eq!(one.authorize(URL).await, GOES_ON);
    other.authorize(URL).await;
    let held = one.record(URL).await.unwrap().document.unwrap().held;
    assert!(held.is_none(), "an older version waits for approval, and suspends the client in a day: {held:?}");
}

/// A pattern lists a brand's documents, of which anyone makes up as many as they like: they spend what clients in use have.
#[tokio::test]
async fn made_up_urls_of_a_pattern_take_nothing_from_clients_in_use() {
    let preset = tower_dcr::mcp().map_documents(|documents| {
        documents.admission = Admission::Listed;
        documents.allow = vec![URL.parse().unwrap(), "https://chatgpt.com/oauth/*/client.json".parse().unwrap()];
        documents.max_stale = Duration::ZERO;
    });
    let world = World::new(preset);
    world.web.put(URL, 200, &[SHORT], &document(URL, &json!({})));
    assert_eq!(world.authorize(URL).await, GOES_ON);
    world.clock.advance(6 * MINUTE);
    // One stranger, one address, no sign-in.
    for number in 0..300 {
        let url = format!("https://chatgpt.com/oauth/{number}/client.json");
        world.web.publish(&url, &json!({}));
        world.authorize_from(&url, "https://no.example.org/cb", "198.51.100.1:1").await;
    }
    assert_eq!(world.authorize(URL).await, GOES_ON, "after {} fetches for one stranger", world.web.fetches());
}

/// The same for the circuit of the host.
#[tokio::test]
async fn made_up_urls_of_a_pattern_close_no_host() {
    let honest = "https://chatgpt.com/oauth/client.json";
    let preset = tower_dcr::mcp().map_documents(|documents| {
        documents.admission = Admission::Listed;
        documents.allow = vec![honest.parse().unwrap(), "https://chatgpt.com/oauth/*/client.json".parse().unwrap()];
    });
    let world = World::new(preset);
    world.web.put(honest, 200, &[SHORT], &document(honest, &json!({})));
    for number in 0..20 {
        let url = format!("https://chatgpt.com/oauth/{number}/client.json");
        world.web.put(&url, 404, &[], "");
        world.authorize_from(&url, CALLBACK, "198.51.100.1:1").await;
    }
    assert_eq!(world.authorize(honest).await, GOES_ON);
}

/// Pages that are not there say nothing of the host: five made-up URLs of one stranger turn its honest clients away.
#[tokio::test]
async fn made_up_urls_close_no_host_for_its_first_client() {
    let world = World::new(tower_dcr::mcp());
    world.web.publish(URL, &json!({}));
    for number in 0..5 {
        let url = format!("https://app.example.com/{number}");
        world.web.put(&url, 404, &[], "");
        assert_eq!(world.authorize_from(&url, CALLBACK, "198.51.100.1:1").await.status(), REJECTED);
    }
    assert_eq!(world.authorize(URL).await, GOES_ON);
}

/// And one request in ten seconds, which is what one address may send, keeps it closed.
#[tokio::test]
async fn a_host_is_not_kept_closed_by_one_stranger() {
    let mut turned_away = Vec::new();
    for phase in 0..20 {
        let world = World::new(tower_dcr::mcp());
        world.web.publish(URL, &json!({}));
        for number in 0..60 {
            let url = format!("https://app.example.com/{number}");
            world.web.put(&url, 404, &[], "");
            world.authorize_from(&url, CALLBACK, "198.51.100.1:1").await;
            world.clock.advance(Duration::from_secs(10));
        }
        let mut seconds = 0;
        while world.ask(URL).await != StatusCode::OK && seconds < 600 {
            // The person tries again after some seconds.
            let step = 7 + phase % 5;
            seconds += step;
            for _ in 0..step {
                world.clock.advance(Duration::from_secs(1));
                if seconds % 10 == 0 {
                    let url = format!("https://app.example.com/again{seconds}");
                    world.web.put(&url, 404, &[], "");
                    world.authorize_from(&url, CALLBACK, "198.51.100.1:1").await;
                }
            }
        }
        turned_away.push(seconds);
    }
    assert!(turned_away.iter().all(|seconds| *seconds == 0), "seconds until the first client came in: {turned_away:?}");
}

/// A document that is gone for a while gets around the time for which its changes wait.
#[tokio::test]
async fn a_change_waits_also_after_a_while_without_a_document() {
    for is_gone_for_an_hour in [false, true] {
        let world = World::new(unlimited(tower_dcr::mcp()));
        world.rotate(&json!({}));
        assert_eq!((world.authorize(URL).await, world.token(URL).await), (GOES_ON, StatusCode::OK));
        if is_gone_for_an_hour {
            world.withdraw().await;
        } else {
            world.web.put(URL, 404, &[], "");
            world.clock.advance(6 * MINUTE);
            assert_eq!(world.authorize(URL).await, REJECTED);
        }
        world.web.put(URL, 200, &[SHORT], &document(URL, &json!({ "client_name": "Bank", "redirect_uris": [EVIL] })));
        world.clock.advance(20 * MINUTE);
        for _ in 0..2 {
            let status = world.authorize_from(URL, EVIL, "192.0.2.1:1").await.status();
            assert_eq!(status, REJECTED, "another name and another receiver");
        }
        let record = world.record(URL).await.unwrap();
        assert!(
            record.status == Status::Pending || record.document.as_ref().is_some_and(|state| state.held.is_some()),
            "an operator sees it: {record:?}"
        );
        world.registrar.approve(URL, "alice", "a new owner").await.unwrap();
        assert_eq!(world.authorize_from(URL, EVIL, "192.0.2.1:1").await.status(), GOES_ON);
        // The same document as before needs nobody.
        let world = World::new(unlimited(tower_dcr::mcp()));
        world.rotate(&json!({}));
        assert_eq!((world.authorize(URL).await, world.token(URL).await), (GOES_ON, StatusCode::OK));
        world.withdraw().await;
        world.web.publish(URL, &json!({}));
        world.clock.advance(20 * MINUTE);
        assert_eq!(world.authorize(URL).await, GOES_ON);
    }
}

/// The end of a withdrawn client is told to the server, also if it begins anew before the next maintenance.
#[tokio::test]
async fn the_end_of_a_withdrawn_client_reaches_the_server() {
    let world = World::new(unlimited(tower_dcr::mcp()));
    let (ended, fails): (Arc<Mutex<Vec<String>>>, Arc<AtomicBool>) = (Arc::default(), Arc::default());
    let (told, is_down) = (Arc::clone(&ended), Arc::clone(&fails));
    let registrar = world.registrar.clone().with_deprovision(move |id: String| {
        let is_down = is_down.load(Ordering::SeqCst);
        if !is_down {
            told.lock().unwrap().push(id);
        }
        std::future::ready(if is_down { Err("down".into()) } else { Ok(()) })
    });
    let world = World { registrar, ..world };
    world.rotate(&json!({}));
    assert_eq!((world.authorize(URL).await, world.token(URL).await), (GOES_ON, StatusCode::OK));
    world.withdraw().await;
    world.web.put(URL, 200, &[SHORT], &document(URL, &json!({})));
    world.clock.advance(20 * MINUTE);
    fails.store(true, Ordering::SeqCst);
    assert_eq!(world.authorize(URL).await, GOES_ON, "the code goes on: the token endpoint records the client");
    assert_eq!(world.refresh(URL).await, StatusCode::UNAUTHORIZED, "its grants of before have ended");
    assert_eq!(world.record(URL).await.unwrap().status, Status::Expired);
    fails.store(false, Ordering::SeqCst);
    world.clock.advance(20 * MINUTE);
    assert_eq!(world.authorize(URL).await, GOES_ON, "begins anew");
    assert_eq!(*ended.lock().unwrap(), [URL]);
    assert_eq!(world.record(URL).await.unwrap().status, Status::Active);
}

/// Answers 503, not `invalid_client`, to a code that another endpoint or node issued without a record of the client.
#[tokio::test]
async fn a_code_of_another_node_is_not_answered_with_invalid_client() {
    let one = World::new(tower_dcr::mcp());
    let other = World::at(tower_dcr::mcp(), one.web.clone(), one.ledger.clone());
    one.web.publish(URL, &json!({}));
    assert_eq!(one.ask(URL).await, StatusCode::OK);
    assert_eq!(one.token(URL).await, StatusCode::OK, "the same node");
    let one = World::new(tower_dcr::mcp());
    one.web.publish(URL, &json!({}));
    assert_eq!(one.ask(URL).await, StatusCode::OK);
    let restarted = World::at(tower_dcr::mcp(), one.web.clone(), one.ledger.clone());
    assert_ne!(restarted.token(URL).await, StatusCode::UNAUTHORIZED, "a restart");
    assert_ne!(other.token("https://app.example.com/unused").await, StatusCode::OK);
}

/// The draft of a client lives as long as its document, and not only as long as a client that was never used.
#[tokio::test]
async fn a_draft_does_not_end_before_its_document() {
    let world = World::new(tower_dcr::mcp());
    let registrar = world.registrar.clone().map_settings(|settings| settings.never_used = Some(HOUR));
    let world = World { registrar: registrar.unwrap(), ..world };
    world.web.put(URL, 200, &[("cache-control", "max-age=86400")], &document(URL, &json!({})));
    let gate = world.preset.gate(GateEndpoint::Authorization, world.registrar.clone()).with_clock(world.clock.clone());
    let ask = async || {
        let handler = service_fn(|_: Request<ResponseBody<Full<Bytes>>>| async {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("<form>")))
        });
        let query = authorization(URL, CALLBACK);
        let request = Request::get(format!("/authorize?{query}")).body(Full::default()).unwrap();
        let read = send(&gate.layer(handler), request).await;
        (read.status(), read.body)
    };
    assert_eq!(ask().await.0, StatusCode::OK);
    world.clock.advance(2 * HOUR);
    let (status, body) = ask().await;
    assert_eq!(status, StatusCode::OK, "nobody finished the first sign-in: {body:?}");
}

/// A revocation during a fetch ends the request that waits for it.
#[tokio::test]
async fn a_url_that_was_revoked_stays_out_of_a_flight() {
    let world = Arc::new(World::at(tower_dcr::mcp(), Web::default(), MemoryLedger::default()));
    world.web.publish(URL, &json!({}));
    world.web.0.waits.store(true, Ordering::SeqCst);
    let first = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.authorize(URL).await }
    });
    while world.web.fetches() == 0 {
        tokio::task::yield_now().await;
    }
    world.revoke(Fingerprint::ClientId(URL.into())).await;
    world.web.0.gate.notify_waiters();
    assert_eq!(first.await.unwrap(), REJECTED);
    assert!(ClientIdUrl::parse(URL).is_ok());
}

/// One look at a document that is not there, as between two deployments of a site, ends no one's grants.
#[tokio::test]
async fn one_missing_page_ends_no_grants() {
    let world = World::new(unlimited(tower_dcr::mcp()));
    world.rotate(&json!({}));
    assert_eq!((world.authorize(URL).await, world.token(URL).await), (GOES_ON, StatusCode::OK));
    world.web.put(URL, 404, &[], "");
    // A stranger, who needs no account.
    world.clock.advance(6 * MINUTE);
    world.authorize_from(URL, "https://no.example.org/cb", "198.51.100.1:1").await;
    world.web.put(URL, 200, &[SHORT], &document(URL, &json!({})));
    assert_eq!(world.refresh(URL).await, StatusCode::OK, "everyone was signed out");
}

/// Without an address, which is how a gate behind an unknown proxy sees all of its requests, six of a stranger turn all away.
#[tokio::test]
async fn requests_without_an_address_share_no_budget_of_one_stranger() {
    let world = World::new(tower_dcr::mcp());
    world.web.publish(URL, &json!({}));
    for number in 0..6 {
        let url = ClientIdUrl::parse(&format!("https://app.flood{number}.com/c")).unwrap();
        drop(world.preset.resolve_document(&url, None).await);
    }
    let url = ClientIdUrl::parse(URL).unwrap();
    assert!(world.preset.resolve_document(&url, None).await.is_ok());
}

/// Clients in use have one budget: those of one site spend it for all.
#[tokio::test]
async fn refreshes_of_one_site_end_no_refresh_of_another() {
    let world = World::new(tower_dcr::strict().map_documents(|documents| {
        documents.fetches = RateLimit::Off;
        documents.fetches_by_address = RateLimit::Off;
        documents.fetches_by_site = RateLimit::Off;
    }));
    let more = json!({ "client_name": "App" });
    world.web.put(URL, 200, &[SHORT], &document(URL, &more));
    assert_eq!(world.authorize(URL).await, GOES_ON);
    // Someone with an account signs in once at each.
    let url = |number: usize| format!("https://app.attacker-site.com/{number}");
    let own = |number: usize| document(&url(number), &json!({ "redirect_uris": ["https://app.attacker-site.com/cb"] }));
    for number in 0..130 {
        world.web.put(&url(number), 200, &[SHORT], &own(number));
        world.authorize_from(&url(number), "https://app.attacker-site.com/cb", "198.51.100.1:1").await;
    }
    assert!(world.record(&url(129)).await.is_some());
    // Then no account is needed.
    world.clock.advance(6 * MINUTE);
    for number in 0..130 {
        world.authorize_from(&url(number), "https://no.example.org/cb", "198.51.100.1:1").await;
    }
    assert_eq!(world.authorize(URL).await, GOES_ON);
}

/// The networks of one subscriber (a /48 or /56) spend the budget of all strangers.
#[tokio::test]
async fn one_subscriber_spends_no_budget_of_all() {
    let world = World::new(tower_dcr::mcp());
    world.web.publish(URL, &json!({}));
    for number in 0..60 {
        let url = format!("https://app.flood{number}.com/c");
        world.authorize_from(&url, CALLBACK, &format!("[2a01:db8:1:{number:x}::1]:1")).await;
    }
    assert_eq!(world.authorize(URL).await, GOES_ON);
}

/// A token request of a stranger makes no server store a version that waits: servers take over what the gate tells them.
#[tokio::test]
async fn no_stranger_tells_the_server_of_a_version_that_waits() {
    let world = World::new(unlimited(tower_dcr::mcp()));
    world.rotate(&json!({ "grant_types": ["authorization_code"] }));
    assert_eq!((world.authorize(URL).await, world.token(URL).await), (GOES_ON, StatusCode::OK));
    world.rotate(&json!({ "grant_types": ["authorization_code", "refresh_token"], "client_name": "Bank", "redirect_uris": [EVIL] }));
    assert_eq!(world.authorize(URL).await, GOES_ON);
    world.clock.advance(11 * MINUTE);
    world.refresh(URL).await;
    assert!(!world.last_told().to_string().contains("attacker"), "{}", world.last_told());
}

/// A document that was fetched ahead is used, also if the next request comes a minute later.
#[tokio::test]
async fn what_was_fetched_ahead_is_not_thrown_away() {
    let world = World::new(tower_dcr::mcp());
    world.web.put(URL, 200, &[("cache-control", "max-age=3600")], &document(URL, &json!({})));
    assert_eq!(world.authorize(URL).await, GOES_ON);
    world.clock.advance(55 * MINUTE);
    for _ in 0..4 {
        // The fetcher goes on as a task of its own.
        world.web.0.waits.store(true, Ordering::SeqCst);
        assert_eq!(world.authorize(URL).await, GOES_ON);
        world.web.0.waits.store(false, Ordering::SeqCst);
        world.web.0.gate.notify_waiters();
        world.clock.advance(MINUTE);
    }
    assert!(world.web.fetches() <= 3, "{} fetches, and none of their results", world.web.fetches());
}

/// A client whose document is gone does not come back from the memory of another node.
#[tokio::test]
async fn a_withdrawn_client_does_not_come_back_from_an_older_copy() {
    let one = World::new(unlimited(tower_dcr::mcp()));
    let other = World::at(unlimited(tower_dcr::mcp()), one.web.clone(), one.ledger.clone());
    one.web.put(URL, 200, &[("cache-control", "max-age=86400")], &document(URL, &json!({})));
    assert_eq!((other.authorize(URL).await, other.token(URL).await), (GOES_ON, StatusCode::OK));
    one.web.put(URL, 410, &[], "");
    // The record says until when it is fresh; this node has no copy.
    for world in [&one, &other] {
        world.clock.advance(23 * HOUR);
    }
    for _ in 0..2 {
        one.clock.advance(2 * HOUR);
        assert_eq!(one.authorize(URL).await, REJECTED);
    }
    assert_eq!(one.record(URL).await.unwrap().status, Status::Expired);
    other.clock.advance(10 * MINUTE);
    let status = other.authorize(URL).await;
    assert_eq!((status, one.record(URL).await.unwrap().status), (REJECTED, Status::Expired), "from memory");
}

/// The same of a node whose copy is fresher than the record.
#[tokio::test]
async fn a_withdrawn_client_does_not_come_back_from_a_longer_age() {
    let one = World::new(unlimited(tower_dcr::mcp()));
    let other = World::at(unlimited(tower_dcr::mcp()), one.web.clone(), one.ledger.clone());
    one.web.put(URL, 200, &[SHORT], &document(URL, &json!({})));
    assert_eq!((one.authorize(URL).await, one.token(URL).await), (GOES_ON, StatusCode::OK));
    for world in [&one, &other] {
        world.clock.advance(6 * MINUTE);
    }
    // The new owner's host says to one node that it is fresh for a day, and to the next that it is gone.
    one.web.put(URL, 200, &[("cache-control", "max-age=86400")], &document(URL, &json!({})));
    assert_eq!(other.authorize(URL).await, GOES_ON);
    one.web.put(URL, 410, &[], "");
    for world in [&one, &other] {
        world.clock.advance(23 * HOUR + 59 * MINUTE);
    }
    assert_eq!(other.authorize(URL).await, GOES_ON, "still fresh");
    for pause in [2 * MINUTE, HOUR + MINUTE] {
        one.clock.advance(pause);
        assert_eq!(one.authorize(URL).await, REJECTED, "gone");
    }
    assert_eq!(one.record(URL).await.unwrap().status, Status::Expired);
    assert_eq!((other.authorize(URL).await, other.refresh(URL).await), (REJECTED, StatusCode::UNAUTHORIZED));
}

/// A flight that began under other rules is judged by those in force.
#[tokio::test]
async fn a_flight_of_other_rules_is_judged_again() {
    let world = World::new(tower_dcr::mcp());
    world.web.publish(URL, &json!({}));
    let handle = world.preset.clone().reloadable();
    let world = Arc::new(World { preset: handle.preset(), ..world });
    world.web.0.waits.store(true, Ordering::SeqCst);
    let flight = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.authorize(URL).await }
    });
    while world.web.fetches() == 0 {
        tokio::task::yield_now().await;
    }
    let tighter = tower_dcr::mcp().map_rules(|mut rules| {
        rules.redirect_uris.classes = vec![RedirectClass::Loopback];
        Ok(rules)
    });
    handle.replace(&tighter.unwrap()).unwrap();
    world.web.0.gate.notify_waiters();
    assert_eq!(flight.await.unwrap(), REJECTED);
    assert_eq!(world.web.fetches(), 1);
}

/// A client that the server knew before documents were fetched here keeps its grants until it signs in by its document.
#[tokio::test]
async fn a_client_of_before_keeps_its_grants() {
    let world = World::new(tower_dcr::mcp());
    let plain =
        World { preset: tower_dcr::mcp().with_registrar(world.registrar.clone()), ..World::new(tower_dcr::mcp()) };
    let plain = World { registrar: world.registrar.clone(), ..plain };
    assert_eq!(plain.refresh(URL).await, StatusCode::OK);
    assert_eq!(world.record(URL).await.unwrap().origin, Origin::Elsewhere);
    world.web.publish(URL, &json!({}));
    assert_eq!(world.refresh(URL).await, StatusCode::OK);
    assert!(world.told.lock().unwrap().is_empty(), "nothing is verified");
    assert_eq!((world.authorize(URL).await, world.token(URL).await), (GOES_ON, StatusCode::OK));
    assert_eq!(world.record(URL).await.unwrap().origin, Origin::Document);
    world.revoke(Fingerprint::parse("document_host", "app.example.com").unwrap()).await;
    assert_eq!(world.refresh(URL).await, StatusCode::UNAUTHORIZED);
}

/// Members that decide where tokens go and how a client proves itself, and that are taken for decoration.
#[tokio::test]
async fn a_new_proof_of_the_client_waits() {
    let told_after = async |method: &str, before: Value, after: Value| {
        let preset = tower_dcr::oauth(Grants::authorization_code(), AuthMethod::one_of([method]));
        let world = World::new(unlimited(preset));
        let with = |more: &Value| {
            let mut document = json!({ "token_endpoint_auth_method": method, "grant_types": ["authorization_code"] });
            document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            document
        };
        world.rotate(&with(&before));
        assert_eq!(world.authorize(URL).await, GOES_ON, "{before}");
        world.rotate(&with(&after));
        assert_eq!(world.authorize(URL).await, GOES_ON, "{after}");
        world.last_told().to_string()
    };
    let mut in_force = Vec::new();
    let subject = |name: &str| json!({ "tls_client_auth_subject_dn": format!("CN={name}") });
    if told_after("tls_client_auth", subject("app"), subject("attacker")).await.contains("attacker") {
        in_force.push("tls_client_auth_subject_dn");
    }
    let dns = |name: &str| json!({ "tls_client_auth_san_dns": format!("{name}.example.com") });
    if told_after("tls_client_auth", dns("app"), dns("attacker")).await.contains("attacker") {
        in_force.push("tls_client_auth_san_dns");
    }
    let keys = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "attacker",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" }] });
    // Those at the origin of the document are its publisher's own.
    let uri = json!({ "jwks_uri": "https://keys.example.net/jwks" });
    if told_after("private_key_jwt", uri, json!({ "jwks": keys })).await.contains("attacker") {
        in_force.push("jwks_uri to jwks");
    }
    assert!(in_force.is_empty(), "in force at once: {in_force:?}");
}

/// Names that differ in what people read are another name.
#[tokio::test]
async fn another_name_waits_however_it_is_written() {
    let mut in_force = Vec::new();
    for (before, after) in [
        (json!({ "client_name": "App" }), json!({ "client_name": "App (Bank of Example: sign in again)" })),
        (json!({ "client_name": "App" }), json!({ "client_name": "App [Bank of Example]" })),
        (json!({ "client_name": "App" }), json!({ "client_name": "App - Bank of Example" })),
        (
            json!({ "client_name": "App", "client_name#de": "App" }),
            json!({ "client_name": "App", "client_name#de": "Bank" }),
        ),
        (json!({ "client_name": "App" }), json!({ "client_name": "App", "client_name#en": "Bank" })),
    ] {
        let world = World::new(unlimited(tower_dcr::mcp()));
        world.rotate(&before);
        assert_eq!(world.authorize(URL).await, GOES_ON);
        world.rotate(&after);
        assert_eq!(world.authorize(URL).await, GOES_ON);
        if world.last_told().to_string().contains("Bank") {
            in_force.push(after.to_string());
        }
    }
    assert!(in_force.is_empty(), "in force at once: {in_force:?}");
}

/// Limits that a document sets for its own tokens are not dropped unseen.
#[tokio::test]
async fn weaker_tokens_wait() {
    let mut in_force = Vec::new();
    for (member, before) in [
        ("dpop_bound_access_tokens", json!(true)),
        ("request_object_signing_alg", json!("RS256")),
        ("require_signed_request_object", json!(true)),
        ("tls_client_certificate_bound_access_tokens", json!(true)),
    ] {
        let preset = tower_dcr::mcp().map_rules(|mut rules| {
            rules.metadata.members.openid = true;
            Ok(rules)
        });
        let world = World::new(unlimited(preset.unwrap()));
        world.rotate(&json!({ member: before }));
        if world.authorize(URL).await != GOES_ON || world.last_told().get(member).is_none() {
            continue;
        }
        world.rotate(&json!({}));
        assert_eq!(world.authorize(URL).await, GOES_ON);
        if world.last_told().get(member).is_none() {
            in_force.push(member);
        }
    }
    assert!(in_force.is_empty(), "taken away at once: {in_force:?}");
}

/// Removes a redirect URI at once, although the same version of the document adds one that waits for approval.
#[tokio::test]
async fn a_narrowing_does_not_wait_with_a_widening() {
    let world = World::new(unlimited(tower_dcr::mcp()));
    let leaked = "https://leaked.example.com/cb";
    world.rotate(&json!({ "redirect_uris": [CALLBACK, leaked] }));
    assert_eq!(world.authorize_from(URL, leaked, "192.0.2.1:1").await.status(), GOES_ON);
    world.rotate(&json!({ "redirect_uris": [CALLBACK, "https://second.example.com/cb"] }));
    assert_eq!(world.authorize(URL).await, GOES_ON);
    let status = world.authorize_from(URL, leaked, "192.0.2.1:1").await.status();
    assert_eq!(status, REJECTED, "the publisher took it away, and it gets codes for another day");
}
