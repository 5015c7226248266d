//! Clients that are named by the URL of a metadata document, at the gates: fetches, memory, budgets, records and discovery. The
//! fetcher is the test's own; `tower-dcr-fetch` is tested over real connections.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tower::{Layer, service_fn};
use tower_dcr::Preset;
use tower_dcr::audit::{Event, LifecycleEvent, Sink};
use tower_dcr::clients::{
    Actor, AdminError, Change, Client, ClientQueue, ClientRef, Fingerprint, Fingerprints, Ledger, MemoryLedger, Origin,
    Registrar, Revocation, Status,
};
use tower_dcr::clock::ManualClock;
use tower_dcr::documents::{Admission, ClientIdUrl, Documents, Fetch, FetchError, FetchRequest, VerifiedClient};
use tower_dcr::layers::{GateEndpoint, ResponseBody};
use tower_dcr::rate_limit::RateLimit;
use tower_dcr::redirect_uri::RedirectClass;
use tower_dcr::registration::ParseError;
use tower_dcr::rules::{Action, Decision, Evaluation, Operation};

use crate::support::{Read, logged, send};

mod attacks;

const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const URL: &str = "https://app.example.com/client.json";
const CALLBACK: &str = "https://app.example.com/cb";
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// The hosts on the web: responses by URL, and the number of requests.
#[derive(Clone, Default)]
struct Web(Arc<WebState>);

#[derive(Default)]
struct WebState {
    pages: Mutex<HashMap<String, Response<Bytes>>>,
    fetches: AtomicUsize,
    etags: Mutex<Vec<Option<HeaderValue>>>,
    /// Set to let fetches wait for `gate`.
    waits: AtomicBool,
    gate: Notify,
}

impl Fetch for Web {
    async fn fetch(&self, request: FetchRequest) -> Result<Response<Bytes>, FetchError> {
        self.0.fetches.fetch_add(1, Ordering::SeqCst);
        self.0.etags.lock().unwrap().push(request.etag.clone());
        if self.0.waits.load(Ordering::SeqCst) {
            self.0.gate.notified().await;
        }
        let pages = self.0.pages.lock().unwrap();
        pages.get(request.url.as_str()).cloned().ok_or(FetchError::NoAddress)
    }
}

impl Web {
    fn put(&self, url: &str, status: u16, headers: &[(&'static str, &str)], body: &(impl ToString + ?Sized)) {
        let mut response = Response::new(Bytes::from(body.to_string()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in headers {
            response.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
        }
        self.0.pages.lock().unwrap().insert(url.to_owned(), response);
    }

    /// Publishes a document, with other members.
    fn publish(&self, url: &str, more: &Value) {
        self.put(url, 200, &[], &document(url, more));
    }

    fn fetches(&self) -> usize {
        self.0.fetches.load(Ordering::SeqCst)
    }
}

fn document(url: &str, more: &Value) -> Value {
    let mut document = json!({
        "client_id": url, "client_name": "App", "redirect_uris": [CALLBACK],
        "grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": "none",
    });
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    document
}

#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<LifecycleEvent>>>);

impl Sink for Events {
    fn emit(&self, _: &Event) {}

    fn emit_lifecycle(&self, event: &LifecycleEvent) {
        self.0.lock().unwrap().push(event.clone());
    }
}

struct World {
    web: Web,
    preset: Preset,
    registrar: Registrar,
    ledger: MemoryLedger,
    clock: Arc<ManualClock>,
    events: Events,
    /// The clients that handlers were told.
    told: Arc<Mutex<Vec<VerifiedClient>>>,
}

impl World {
    fn new(preset: Preset) -> Self {
        Self::at(preset, Web::default(), MemoryLedger::default())
    }

    /// A node.
    fn at(preset: Preset, web: Web, ledger: MemoryLedger) -> Self {
        let clock = Arc::new(ManualClock::new(Duration::from_secs(1_767_225_600)));
        let registrar = Registrar::new(ledger.clone()).with_clock(clock.clone());
        let (events, documents) = (Events::default(), Documents::new(web.clone()).with_clock(clock.clone()));
        let peer = |extensions: &http::Extensions| extensions.get::<SocketAddr>().copied();
        let preset = preset.with_peer_address(peer).with_sink(events.clone());
        let preset = preset.with_registrar(registrar.clone()).with_documents(documents);
        Self { web, preset, registrar, ledger, clock, events, told: Arc::default() }
    }

    /// Sends a request through the gate. The server behind it redirects with a code, or answers with a token.
    async fn send(&self, endpoint: GateEndpoint, request: Request<Full<Bytes>>) -> Read {
        let told = Arc::clone(&self.told);
        let handler = service_fn(move |request: Request<ResponseBody<Full<Bytes>>>| {
            let client = request.extensions().get::<VerifiedClient>().cloned();
            told.lock().unwrap().extend(client);
            async move {
                let answer = match endpoint {
                    GateEndpoint::Authorization => {
                        let location = format!("{CALLBACK}?code=c");
                        Response::builder().status(302).header("location", location).body(Full::<Bytes>::default())
                    }
                    _ => Response::builder()
                        .header("content-type", "application/json")
                        .body(Full::from(r#"{"access_token":"t","token_type":"Bearer"}"#)),
                };
                Ok::<_, Infallible>(answer.unwrap())
            }
        });
        let gate = self.preset.gate(endpoint, self.registrar.clone()).with_clock(self.clock.clone());
        send(&gate.layer(handler), request).await
    }

    async fn authorize(&self, url: &str) -> StatusCode {
        self.authorize_from(url, CALLBACK, "192.0.2.1:1").await.status()
    }

    async fn authorize_from(&self, url: &str, redirect_uri: &str, address: &str) -> Read {
        let query = authorization(url, redirect_uri);
        let request = Request::get(format!("/authorize?{query}")).extension(address.parse::<SocketAddr>().unwrap());
        self.send(GateEndpoint::Authorization, request.body(Full::default()).unwrap()).await
    }

    async fn token(&self, url: &str) -> StatusCode {
        self.post(GateEndpoint::Token, &format!("grant_type=authorization_code&code=c&code_verifier={VERIFIER}"), url)
            .await
    }

    async fn refresh(&self, url: &str) -> StatusCode {
        self.post(GateEndpoint::Token, "grant_type=refresh_token&refresh_token=r", url).await
    }

    async fn post(&self, endpoint: GateEndpoint, body: &str, url: &str) -> StatusCode {
        let body = format!("{body}&client_id={}", encoded(url));
        let request = Request::post("/").header("content-type", "application/x-www-form-urlencoded");
        self.send(endpoint, request.body(Full::from(body)).unwrap()).await.status()
    }

    async fn record(&self, url: &str) -> Option<Client> {
        self.ledger.find(url).await.unwrap()
    }

    async fn revoke(&self, target: Fingerprint) {
        let alice = Actor::Operator("alice".into());
        self.registrar.revoke(Revocation::new(target, alice, "imitates us")).await.unwrap();
    }

    fn reasons(&self) -> Vec<String> {
        let events = std::mem::take(&mut *self.events.0.lock().unwrap());
        events.into_iter().filter_map(|event| event.reason).collect()
    }

    fn metadata(&self, mut document: Value) -> Value {
        self.preset.amend_server_metadata(document.as_object_mut().unwrap());
        document
    }
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Returns the parameters of an authorization request.
fn authorization(url: &str, redirect_uri: &str) -> String {
    format!(
        "response_type=code&client_id={}&redirect_uri={}&code_challenge={CHALLENGE}&code_challenge_method=S256",
        encoded(url),
        encoded(redirect_uri)
    )
}

fn unlimited(preset: Preset) -> Preset {
    preset.map_documents(|documents| {
        documents.fetches = RateLimit::Off;
        documents.fetches_by_address = RateLimit::Off;
        documents.fetches_by_site = RateLimit::Off;
        documents.refreshes = RateLimit::Off;
    })
}

const GOES_ON: StatusCode = StatusCode::FOUND;
const REJECTED: StatusCode = StatusCode::BAD_REQUEST;

#[tokio::test]
async fn a_client_signs_in_by_its_url() {
    let world = World::new(tower_dcr::mcp());
    world.web.publish(URL, &json!({ "skip_consent": true }));
    assert_eq!(world.refresh(URL).await, StatusCode::UNAUTHORIZED);
    assert_eq!(world.token(URL).await, StatusCode::SERVICE_UNAVAILABLE, "another node may know the code");
    assert_eq!(world.web.fetches(), 0, "the token endpoint sends no packet");
    assert_eq!(world.authorize(URL).await, GOES_ON);
    assert_eq!(world.token(URL).await, StatusCode::OK);
    assert_eq!(world.refresh(URL).await, StatusCode::OK);
    assert_eq!(world.web.fetches(), 1);
    let told = world.told.lock().unwrap().clone();
    assert_eq!(told.len(), 3);
    for client in told {
        assert_eq!(client.url().as_str(), URL);
        let read: Value = serde_json::from_slice(client.document()).unwrap();
        assert_eq!((&read["client_id"], read.get("skip_consent")), (&json!(URL), None));
    }
    let record = world.record(URL).await.unwrap();
    assert_eq!((record.status, record.last_used_at.is_some()), (Status::Active, true));
}

#[tokio::test]
async fn it_is_held_to_its_document() {
    let world = World::new(tower_dcr::mcp());
    world.web.publish(URL, &json!({ "redirect_uris": [CALLBACK, "http://127.0.0.1/cb"] }));
    let status = async |uri: &str| world.authorize_from(URL, uri, "192.0.2.1:1").await.status();
    assert_eq!(status("http://127.0.0.1:5123/cb").await, GOES_ON);
    assert_eq!(status("http://localhost:5123/cb").await, REJECTED);
    assert_eq!(status("https://app.example.com/cb/").await, REJECTED);
    assert_eq!(status("https://evil.example.net/cb").await, REJECTED);
    let without_pkce =
        format!("/authorize?response_type=code&client_id={}&redirect_uri={}", encoded(URL), encoded(CALLBACK));
    let request = Request::get(without_pkce).body(Full::default()).unwrap();
    assert_eq!(world.send(GateEndpoint::Authorization, request).await.status(), REJECTED);
    let grant = world.post(GateEndpoint::Token, "grant_type=client_credentials", URL).await;
    assert_eq!(grant, REJECTED);
}

#[tokio::test]
async fn no_packet_is_sent_for_what_is_no_url_of_a_document() {
    let world = World::new(unlimited(tower_dcr::mcp()));
    for url in [
        "https://app.example.com",
        "https://app.example.com/",
        "HTTPS://app.example.com/c",
        " https://app.example.com/c",
        "https:app.example.com/c",
        "https://127.0.0.1/c",
        "https://app.example.com/c?x",
        "https://app.example.com:443/c",
        "https://user@app.example.com/c",
        "https://app.example.com/a/../c",
        "https://github.io/c",
    ] {
        assert_eq!(world.authorize(url).await, REJECTED, "{url}");
    }
    // Another scheme is a name like others, which the server may know.
    assert_eq!(world.authorize("http://app.example.com/c").await, GOES_ON);
    assert_eq!(world.web.fetches(), 0);
}

#[tokio::test]
async fn every_failure_has_one_answer() {
    let world = World::new(unlimited(tower_dcr::mcp()));
    let url = |name: &str| format!("https://{name}.example.com/c");
    for (name, status, body) in [
        ("gone", 404, json!({})),
        ("error", 500, json!({})),
        ("moved", 302, json!({})),
        ("other", 200, document("https://app.example.com/other", &json!({}))),
        ("secret", 200, document(&url("secret"), &json!({ "client_secret": "s" }))),
        ("dangerous", 200, document(&url("dangerous"), &json!({ "redirect_uris": ["javascript:alert(1)"] }))),
    ] {
        world.web.put(&url(name), status, &[("location", "https://internal.example.com/")], &body);
    }
    world.web.put(&url("html"), 200, &[("content-type", "text/html")], "<h1>");
    world.web.put(&url("coded"), 200, &[("content-encoding", "gzip")], &document(&url("coded"), &json!({})));
    world.web.put(&url("large"), 200, &[], &" ".repeat(5121));
    let mut answers = Vec::new();
    for name in ["gone", "error", "moved", "other", "secret", "dangerous", "html", "coded", "large", "nowhere"] {
        let read = world.authorize_from(&url(name), CALLBACK, "192.0.2.1:1").await;
        let mut headers: HeaderMap = read.response.headers().clone();
        headers.remove(header::DATE);
        answers.push((read.status(), read.body.clone(), format!("{headers:?}")));
        // Again, from memory.
        let again = world.authorize_from(&url(name), CALLBACK, "192.0.2.1:1").await;
        assert_eq!(again.body, read.body, "{name}");
    }
    assert_eq!(world.web.fetches(), 10, "failures are remembered");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(answers[0].0, REJECTED);
    let reasons = world.reasons();
    for reason in
        ["gone", "status", "redirect", "client_id", "rejected", "content_type", "content_coding", "size", "no_address"]
    {
        let wanted = format!("client metadata document: {reason}");
        assert!(reasons.contains(&wanted), "{wanted}: {reasons:?}");
    }
}

#[tokio::test]
async fn a_failure_is_forgotten_after_its_pause() {
    let world = World::new(unlimited(tower_dcr::mcp()));
    world.web.put(URL, 500, &[], "");
    assert_eq!(world.authorize(URL).await, REJECTED);
    world.web.publish(URL, &json!({}));
    assert_eq!(world.authorize(URL).await, REJECTED);
    world.clock.advance(Duration::from_secs(13));
    assert_eq!(world.authorize(URL).await, GOES_ON);
    let other = "https://app.example.com/invalid";
    world.web.put(other, 200, &[], "{");
    assert_eq!(world.authorize(other).await, REJECTED);
    world.clock.advance(Duration::from_secs(40));
    world.web.publish(other, &json!({}));
    assert_eq!(world.authorize(other).await, REJECTED);
    world.clock.advance(Duration::from_secs(40));
    assert_eq!(world.authorize(other).await, GOES_ON);
}

#[tokio::test]
async fn a_thousand_requests_make_one_fetch() {
    let world = Arc::new(World::new(tower_dcr::mcp()));
    world.web.publish(URL, &json!({}));
    world.web.0.waits.store(true, Ordering::SeqCst);
    let first = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.authorize(URL).await }
    });
    let others: Vec<_> = (0..1000)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.authorize(URL).await })
        })
        .collect();
    while world.web.fetches() == 0 {
        tokio::task::yield_now().await;
    }
    first.abort();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    world.web.0.gate.notify_waiters();
    for other in others {
        assert_eq!(other.await.unwrap(), GOES_ON);
    }
    assert_eq!(world.web.fetches(), 1);
}

#[tokio::test]
async fn strangers_have_budgets_of_their_own() {
    let world = World::new(tower_dcr::mcp());
    world.web.publish(URL, &json!({}));
    assert_eq!(world.authorize(URL).await, GOES_ON);
    let url = |index: usize| format!("https://s{index}.example{index}.com/c");
    let mut statuses = Vec::new();
    for index in 0..200 {
        // One stranger, then many.
        let address = if index < 30 { "198.51.100.1:1".to_owned() } else { format!("203.0.113.{index}:1") };
        statuses.push(world.authorize_from(&url(index), CALLBACK, &address).await.status());
    }
    let spent = StatusCode::SERVICE_UNAVAILABLE;
    assert_eq!(statuses.iter().take(30).filter(|status| **status == REJECTED).count(), 10, "by address");
    assert_eq!(statuses.iter().filter(|status| **status == REJECTED).count(), 59, "in total");
    assert_eq!(statuses.iter().filter(|status| **status == spent).count(), 141);
    assert_eq!(world.web.fetches(), 60);
    // The client in use is refreshed all the same.
    world.clock.advance(2 * HOUR);
    for index in 200..300 {
        world.authorize_from(&url(index), CALLBACK, &format!("203.0.113.{}:1", index - 100)).await;
    }
    let before = world.web.fetches();
    assert_eq!(world.authorize(URL).await, GOES_ON);
    assert_eq!(world.web.fetches(), before + 1);
}

#[tokio::test]
async fn one_site_gets_few_requests() {
    let world = World::new(tower_dcr::mcp());
    let mut fetched = 0;
    for index in 0..50 {
        let url = format!("https://s{index}.victim-site.com/c");
        world.authorize_from(&url, CALLBACK, &format!("203.0.113.{index}:1")).await;
        fetched = world.web.fetches();
    }
    assert_eq!(fetched, 30);
}

#[tokio::test]
async fn a_pattern_makes_no_stranger_a_client_in_use() {
    let preset = tower_dcr::mcp().map_documents(|documents| {
        documents.admission = Admission::Listed;
        documents.allow = vec!["https://hub.example.com/oauth/*/client.json".parse().unwrap(), URL.parse().unwrap()];
    });
    let world = World::new(preset);
    for index in 0..50 {
        let url = format!("https://hub.example.com/oauth/{index}/client.json");
        world.authorize_from(&url, CALLBACK, &format!("203.0.113.{index}:1")).await;
    }
    assert!(world.web.fetches() == 30, "the budget of the site holds: {}", world.web.fetches());
    world.web.publish(URL, &json!({}));
    assert_eq!(world.authorize(URL).await, GOES_ON, "a URL that the operator lists as it is");
}

#[tokio::test]
async fn in_report_only_mode_rules_and_admission_report() {
    let preset = tower_dcr::strict().map_documents(|documents| documents.admission = Admission::Listed).report_only();
    let world = World::new(preset);
    let anonymous = "https://app.example.com/anonymous";
    world.web.publish(URL, &json!({}));
    world.web.publish(anonymous, &json!({ "client_name": null }));
    for url in [URL, anonymous, anonymous] {
        assert_eq!(world.authorize(url).await, GOES_ON, "{url}");
    }
    let told = world.told.lock().unwrap().last().unwrap().clone();
    assert_eq!(told.registration().string("client_name"), None, "nothing is added and nothing is removed");
    // The document that was read is the one at this URL in any mode.
    let foreign = "https://app.example.com/foreign";
    world.web.publish(foreign, &json!({ "client_id": URL }));
    assert_eq!(world.authorize(foreign).await, REJECTED);
    let events = world.events.0.lock().unwrap();
    let reported = |url: &str, reason: &str, rule: Option<&str>| {
        let is_it = |event: &&LifecycleEvent| {
            event.client_id.as_deref() == Some(url)
                && event.reason.as_deref() == Some(reason)
                && event.rule == rule
                && !event.enforced
        };
        events.iter().filter(is_it).count()
    };
    assert_eq!(reported(anonymous, "client metadata document: rejected", Some("document")), 1, "once for each fetch");
    assert_eq!(reported(URL, "client metadata document: rejected", Some("document")), 0);
    assert!(reported(URL, "client metadata document: not_admitted", None) > 0);
    assert_eq!(events.iter().filter(|event| event.enforced && event.client_id.as_deref() == Some(foreign)).count(), 1);
}

#[tokio::test]
async fn a_flood_of_urls_takes_no_place_of_clients_in_use() {
    let world = World::new(unlimited(tower_dcr::mcp()));
    world.web.publish(URL, &json!({}));
    assert_eq!(world.authorize(URL).await, GOES_ON);
    assert_eq!(world.authorize(URL).await, GOES_ON);
    for index in 0..20_000 {
        let url = format!("https://s{index}.example.net/c");
        // Documents that are accepted, whose clients don't sign in.
        world.web.0.pages.lock().unwrap().clear();
        world.web.publish(&url, &json!({}));
        let url = ClientIdUrl::parse(&url).unwrap();
        assert!(world.preset.resolve_document(&url, None).await.is_ok());
    }
    assert_eq!(world.web.fetches(), 20_001);
    world.web.0.pages.lock().unwrap().clear();
    assert_eq!(world.authorize(URL).await, GOES_ON, "from memory");
    assert_eq!(world.web.fetches(), 20_001);
    let records = world.registrar.find(&tower_dcr::clients::Filter::default(), None, 500).await.unwrap();
    assert_eq!(records.clients.len(), 1, "nothing was written");
}

#[tokio::test]
async fn a_failing_host_is_left_alone() {
    let world = World::new(unlimited(tower_dcr::mcp()));
    for index in 0..20 {
        world.authorize(&format!("https://down.example.com/{index}")).await;
    }
    assert_eq!(world.web.fetches(), 5);
    world.web.publish(URL, &json!({}));
    assert_eq!(world.authorize(URL).await, GOES_ON, "other hosts");
}

#[tokio::test]
async fn a_document_is_confirmed_by_its_entity_tag() {
    let world = World::new(tower_dcr::mcp());
    world.web.put(URL, 200, &[("etag", "\"1\""), ("cache-control", "max-age=600")], &document(URL, &json!({})));
    assert_eq!(world.authorize(URL).await, GOES_ON);
    world.clock.advance(9 * MINUTE);
    assert_eq!(world.authorize(URL).await, GOES_ON);
    assert_eq!(world.web.fetches(), 2, "ahead of its end, since the client is in use");
    world.clock.advance(5 * MINUTE);
    world.web.put(URL, 304, &[], "");
    world.clock.advance(20 * MINUTE);
    assert_eq!(world.authorize(URL).await, GOES_ON);
    assert_eq!(world.web.0.etags.lock().unwrap().last().unwrap().as_ref().unwrap(), "\"1\"");
    // Not for a URL whose document is unknown.
    let other = "https://app.example.com/other";
    world.web.put(other, 304, &[], "");
    assert_eq!(world.authorize(other).await, REJECTED);
}

/// RFC 9111 section 4.3.4: the stored fields that a 304 does not have stay.
#[tokio::test]
async fn a_confirmed_document_keeps_its_lifetime() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    for (fetched, confirmed, lifetime) in [
        ("max-age=600", None, 10 * MINUTE),
        ("max-age=36000", None, 10 * HOUR),
        ("max-age=36000", Some(("cache-control", "max-age=7200")), 2 * HOUR),
        ("max-age=36000", Some(("cache-control", "no-store")), 5 * MINUTE),
        ("max-age=36000", Some(("age", "7200")), 8 * HOUR),
        ("no-store", None, 5 * MINUTE),
        ("max-age=999999999", None, DAY),
        ("public", None, HOUR),
    ] {
        let world = World::new(tower_dcr::mcp());
        world.web.put(URL, 200, &[("etag", "\"1\""), ("cache-control", fetched)], &document(URL, &json!({})));
        assert_eq!(world.authorize(URL).await, GOES_ON);
        world.web.put(URL, 304, confirmed.as_slice(), "");
        world.clock.advance(DAY);
        assert_eq!(world.authorize(URL).await, GOES_ON, "confirmed");
        let fetches = world.web.fetches();
        assert_eq!(fetches, 2);
        // Not in the last tenth, in which it is fetched ahead.
        world.clock.advance((lifetime / 10 * 9).saturating_sub(Duration::from_secs(1)));
        assert_eq!(world.authorize(URL).await, GOES_ON);
        assert_eq!(world.web.fetches(), fetches, "{fetched}, {confirmed:?}: from memory");
        world.clock.advance(lifetime / 10 + Duration::from_secs(2));
        assert_eq!(world.authorize(URL).await, GOES_ON);
        assert_eq!(world.web.fetches(), fetches + 1, "{fetched}, {confirmed:?}: fetched again");
    }
}

#[tokio::test]
async fn no_response_makes_requests_fetch_each_time() {
    let world = World::new(tower_dcr::mcp());
    world.web.put(URL, 200, &[("cache-control", "no-store, max-age=0")], &document(URL, &json!({})));
    for _ in 0..20 {
        assert_eq!(world.authorize(URL).await, GOES_ON);
        world.clock.advance(Duration::from_secs(10));
    }
    assert_eq!(world.web.fetches(), 1);
}

#[tokio::test]
async fn a_client_in_use_outlives_an_outage_and_no_withdrawal() {
    let reached = |world: &World| world.web.put(URL, 403, &[("content-type", "text/html")], "challenge");
    let world = World::new(unlimited(tower_dcr::mcp()));
    world.web.publish(URL, &json!({}));
    assert_eq!(world.authorize(URL).await, GOES_ON);
    reached(&world);
    world.clock.advance(HOUR + 30 * MINUTE);
    assert_eq!(world.authorize(URL).await, GOES_ON, "the last good copy");
    assert!(world.record(URL).await.unwrap().document.unwrap().unreachable_since.is_some());
    world.clock.advance(HOUR);
    assert_eq!(world.authorize(URL).await, StatusCode::SERVICE_UNAVAILABLE, "never invalid_client for an outage");
    assert_eq!(world.refresh(URL).await, StatusCode::OK, "grants live on");
    world.clock.advance(HOUR);
    world.web.publish(URL, &json!({}));
    assert_eq!(world.authorize(URL).await, GOES_ON);
    world.web.put(URL, 410, &[], "");
    world.clock.advance(HOUR + MINUTE);
    assert_eq!(world.authorize(URL).await, REJECTED, "gone");
    assert_eq!(world.refresh(URL).await, StatusCode::OK, "perhaps for a moment");
    world.clock.advance(HOUR);
    assert_eq!(world.authorize(URL).await, REJECTED, "for an hour");
    assert_eq!(world.record(URL).await.unwrap().status, Status::Expired);
    assert_eq!(world.refresh(URL).await, StatusCode::UNAUTHORIZED);
    let strict = World::new(unlimited(tower_dcr::strict()));
    strict.web.publish(URL, &json!({}));
    assert_eq!(strict.authorize(URL).await, GOES_ON);
    reached(&strict);
    strict.clock.advance(HOUR + MINUTE);
    assert_eq!(strict.authorize(URL).await, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn other_nodes_know_the_client_by_its_record() {
    let one = World::new(tower_dcr::mcp());
    let other = World::at(tower_dcr::mcp(), one.web.clone(), one.ledger.clone());
    one.web.publish(URL, &json!({}));
    assert_eq!(one.authorize(URL).await, GOES_ON);
    assert_eq!(other.token(URL).await, StatusCode::OK);
    assert_eq!(other.refresh(URL).await, StatusCode::OK);
    assert_eq!(one.web.fetches(), 1, "the other node sends no packet at the token endpoint");
    let told = other.told.lock().unwrap().last().cloned().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(told.document()).unwrap()["client_id"], URL);
    // After a restart, with its host gone.
    one.web.0.pages.lock().unwrap().clear();
    let restarted = World::at(tower_dcr::mcp(), one.web.clone(), one.ledger.clone());
    assert_eq!(restarted.authorize(URL).await, GOES_ON);
}

#[tokio::test]
async fn revocation_by_url_host_and_site_comes_before_any_packet() {
    let targets = [
        Fingerprint::ClientId(URL.into()),
        Fingerprint::parse("document_host", "app.example.com").unwrap(),
        Fingerprint::parse("document_site", "example.com").unwrap(),
    ];
    for target in targets {
        let world = World::new(tower_dcr::mcp());
        world.web.publish(URL, &json!({}));
        world.revoke(target.clone()).await;
        assert_eq!(world.authorize(URL).await, REJECTED, "{target}");
        assert_eq!(world.web.fetches(), 0, "{target}");
        let other = "https://app.example.org/client.json";
        world.web.publish(other, &json!({}));
        assert_eq!(world.authorize(other).await, GOES_ON, "{target}");
        // A client in use ends at once.
        let world = World::new(tower_dcr::mcp());
        world.web.publish(URL, &json!({}));
        assert_eq!((world.authorize(URL).await, world.token(URL).await), (GOES_ON, StatusCode::OK));
        world.revoke(target.clone()).await;
        assert_eq!(
            (world.authorize(URL).await, world.refresh(URL).await),
            (REJECTED, StatusCode::UNAUTHORIZED),
            "{target}"
        );
        assert!(world.registrar.unblock(&target, &Actor::Operator("alice".into()), "").await.unwrap());
        assert_eq!(world.authorize(URL).await, GOES_ON, "{target}");
    }
}

#[tokio::test]
async fn admission_is_decided_by_the_url_alone() {
    let admission = |admission, allow: &'static [&str]| {
        unlimited(tower_dcr::mcp()).map_documents(|documents| {
            documents.admission = admission;
            documents.allow = allow.iter().map(|pattern| pattern.parse().unwrap()).collect();
        })
    };
    for (preset, listed, unlisted) in [
        (admission(Admission::Off, &[URL]), REJECTED, REJECTED),
        (admission(Admission::Listed, &[URL]), GOES_ON, REJECTED),
        (admission(Admission::Reporting, &[URL]), GOES_ON, GOES_ON),
        (admission(Admission::Open, &[]), GOES_ON, GOES_ON),
    ] {
        let world = World::new(preset);
        let other = "https://app.example.com/client.json2";
        world.web.publish(URL, &json!({}));
        world.web.publish(other, &json!({}));
        assert_eq!((world.authorize(URL).await, world.authorize(other).await), (listed, unlisted));
        assert_eq!(world.web.fetches(), [listed, unlisted].iter().filter(|status| **status == GOES_ON).count());
    }
    let own = tower_dcr::mcp().map_documents(|documents| documents.own_hosts = ["app.example.com".into()].into());
    let world = World::new(own);
    world.web.publish(URL, &json!({}));
    assert_eq!((world.authorize(URL).await, world.web.fetches()), (REJECTED, 0));
}

#[tokio::test]
async fn a_registered_client_is_not_taken_over() {
    let world = World::new(tower_dcr::mcp());
    world.web.publish(URL, &json!({}));
    let registration = r#"{"redirect_uris":["https://managed.example.com/cb"],"token_endpoint_auth_method":"none"}"#;
    let mut client = Client::draft(registration, Fingerprints::default(), world.registrar.now());
    (client.status, client.client_id) = (Status::Active, Some(URL.to_owned()));
    world.ledger.insert(&client, None).await.unwrap();
    assert_eq!(world.authorize(URL).await, REJECTED, "its own redirect URI");
    assert_eq!(world.authorize_from(URL, "https://managed.example.com/cb", "192.0.2.1:1").await.status(), GOES_ON);
    assert_eq!(world.web.fetches(), 0);
    assert!(world.told.lock().unwrap().is_empty());
}

#[tokio::test]
async fn versions_that_were_let_through_hold_for_ten_minutes() {
    let world = World::new(unlimited(tower_dcr::mcp()));
    let grants = |grants: Value| json!({ "grant_types": grants });
    world.web.put(URL, 200, &[("cache-control", "max-age=300")], &document(URL, &json!({})));
    assert_eq!(world.authorize(URL).await, GOES_ON);
    // Narrowed while the code is on its way.
    world.web.publish(URL, &grants(json!(["authorization_code"])));
    world.clock.advance(6 * MINUTE);
    assert_eq!(world.authorize(URL).await, GOES_ON);
    assert_eq!(world.refresh(URL).await, StatusCode::OK);
    world.clock.advance(11 * MINUTE);
    assert_eq!(world.refresh(URL).await, REJECTED, "narrowing is in force");
}

#[tokio::test]
async fn a_widened_document_waits_and_a_narrowed_one_does_not() {
    let world = World::new(unlimited(tower_dcr::mcp()));
    let foreign = "https://other.example.org/cb";
    world.web.publish(URL, &json!({ "redirect_uris": [CALLBACK, "https://app.example.com/second"] }));
    assert_eq!(world.authorize(URL).await, GOES_ON);
    world.clock.advance(2 * HOUR);
    world.web.publish(URL, &json!({ "redirect_uris": [CALLBACK, foreign] }));
    assert_eq!(world.authorize_from(URL, foreign, "192.0.2.1:1").await.status(), REJECTED);
    assert_eq!(world.authorize(URL).await, GOES_ON, "the version in force");
    world.registrar.approve(URL, "alice", "known").await.unwrap();
    assert_eq!(world.authorize_from(URL, foreign, "192.0.2.1:1").await.status(), GOES_ON);
    world.clock.advance(2 * HOUR);
    world.web.publish(URL, &json!({}));
    assert_eq!(world.authorize(URL).await, GOES_ON);
    assert_eq!(world.authorize_from(URL, foreign, "192.0.2.1:1").await.status(), REJECTED, "narrowed at once");
    world.clock.advance(2 * HOUR);
    world.web.publish(URL, &json!({ "client_name": "Other" }));
    assert_eq!(world.authorize(URL).await, GOES_ON);
    world.clock.advance(25 * HOUR);
    assert_eq!(world.authorize(URL).await, REJECTED, "nobody approved it in a day");
}

#[tokio::test]
async fn new_rules_judge_without_a_fetch() {
    let world = World::new(tower_dcr::mcp());
    world.web.publish(URL, &json!({}));
    let handle = world.preset.clone().reloadable();
    let world = World { preset: handle.preset(), ..world };
    assert_eq!(world.authorize(URL).await, GOES_ON);
    let tighter = tower_dcr::mcp().map_rules(|mut rules| {
        rules.redirect_uris.classes = vec![RedirectClass::Loopback];
        Ok(rules)
    });
    handle.replace(&tighter.unwrap()).unwrap();
    let world = World { preset: handle.preset(), ..world };
    assert_eq!(world.authorize(URL).await, REJECTED);
    assert_eq!(world.web.fetches(), 1);
}

#[tokio::test]
async fn a_clone_with_other_rules_judges_by_its_own() {
    let world = World::new(tower_dcr::mcp());
    world.web.publish(URL, &json!({}));
    let tighter = world.preset.clone().map_rules(|mut rules| {
        rules.redirect_uris.classes = vec![RedirectClass::Loopback];
        Ok(rules)
    });
    let tenant = World { preset: tighter.unwrap(), web: world.web.clone(), ..World::new(tower_dcr::mcp()) };
    for _ in 0..2 {
        assert_eq!((world.authorize(URL).await, tenant.authorize(URL).await), (GOES_ON, REJECTED));
    }
}

#[tokio::test]
async fn it_is_announced_exactly_where_it_is_served() {
    let supported = |document: &Value| document.get("client_id_metadata_document_supported").cloned();
    let inner = || json!({ "client_id_metadata_document_supported": true });
    let world = World::new(tower_dcr::mcp());
    assert_eq!(supported(&world.metadata(json!({}))), None, "there is no gate yet");
    world.authorize(URL).await;
    let document = world.metadata(json!({ "token_endpoint_auth_methods_supported": ["client_secret_basic"] }));
    assert_eq!(supported(&document), Some(json!(true)));
    assert_eq!(document["token_endpoint_auth_methods_supported"], json!(["none"]));
    let off = World::new(tower_dcr::mcp().map_documents(|documents| documents.admission = Admission::Off));
    off.authorize(URL).await;
    assert_eq!(supported(&off.metadata(inner())), Some(json!(false)));
    assert_eq!(supported(&off.metadata(json!({}))), None);
    let listed = World::new(tower_dcr::mcp().map_documents(|documents| documents.admission = Admission::Listed));
    listed.authorize(URL).await;
    assert_eq!(supported(&listed.metadata(inner())), Some(json!(false)), "the list is empty");
    // A gate that was made before knows no documents.
    let early = tower_dcr::mcp();
    let _gate = early.gate(GateEndpoint::Authorization, Registrar::new(MemoryLedger::default()));
    let late = World { preset: early.with_documents(Documents::new(Web::default())), ..world };
    assert_eq!(supported(&late.metadata(inner())), Some(json!(false)));
    // Without documents, the server's own word counts, unless its clients are rejected here.
    let registrar = Registrar::new(MemoryLedger::default());
    for (unknown, expected) in [(Action::Pass, true), (Action::Reject, false)] {
        let preset = tower_dcr::mcp();
        let _gate = preset
            .gate(GateEndpoint::Authorization, registrar.clone())
            .map_settings(|gate| gate.unknown = Some(unknown));
        let mut document = inner();
        preset.amend_server_metadata(document.as_object_mut().unwrap());
        assert_eq!(supported(&document), Some(json!(expected)), "{unknown:?}");
    }
}

#[test]
fn the_log_says_which_gate_is_missing() {
    let said = |endpoints: &[GateEndpoint]| {
        let world = World::new(tower_dcr::mcp());
        for endpoint in endpoints {
            drop(world.preset.gate(*endpoint, world.registrar.clone()));
        }
        let lines = logged(tracing::Level::WARN, || {
            world.metadata(json!({}));
            world.metadata(json!({}));
        });
        lines.into_iter().filter(|line| line.contains("tower_dcr::setup")).collect::<Vec<_>>()
    };
    let no_token_gate = said(&[GateEndpoint::Authorization]);
    assert!(matches!(&*no_token_gate, [line] if line.contains("is at the token endpoint")), "once: {no_token_gate:?}");
    assert_eq!(said(&[GateEndpoint::Authorization, GateEndpoint::Token]), [""; 0]);
    for endpoints in [&[][..], &[GateEndpoint::Token]] {
        let said = said(endpoints);
        assert!(matches!(&*said, [line] if line.contains("is at the authorization endpoint")), "once: {said:?}");
    }
}

#[tokio::test]
async fn a_name_that_must_be_approved_waits_for_an_operator() {
    let registrar_settings = |world: &World| {
        world.registrar.clone().map_settings(|settings| settings.approval = Some(7 * 24 * HOUR)).unwrap()
    };
    let world = World::new(tower_dcr::mcp());
    let world = World { registrar: registrar_settings(&world), ..world };
    world.web.publish(URL, &json!({}));
    assert_eq!(world.authorize(URL).await, REJECTED);
    assert_eq!(world.record(URL).await.unwrap().status, Status::Pending);
    world.registrar.approve(URL, "alice", "known").await.unwrap();
    assert_eq!((world.authorize(URL).await, world.token(URL).await), (GOES_ON, StatusCode::OK));
}

#[tokio::test]
async fn a_version_that_waits_is_nowhere_in_force() {
    let world = World::new(unlimited(tower_dcr::mcp()));
    world.web.publish(URL, &json!({ "grant_types": ["authorization_code"] }));
    assert_eq!(world.authorize(URL).await, GOES_ON);
    assert_eq!(world.refresh(URL).await, REJECTED);
    world.clock.advance(2 * HOUR);
    world.web.publish(URL, &json!({}));
    assert_eq!(world.authorize(URL).await, GOES_ON, "the version in force");
    assert!(world.record(URL).await.unwrap().document.unwrap().held.is_some());
    assert_eq!(world.refresh(URL).await, REJECTED, "one more grant type");
    assert_eq!(world.token(URL).await, StatusCode::OK);
    let told = world.told.lock().unwrap().last().unwrap().clone();
    let grants = told.registration().strings("grant_types").unwrap();
    assert_eq!(grants.collect::<Vec<_>>(), ["authorization_code"], "the handler gets the version in force");
    world.registrar.approve(URL, "alice", "known").await.unwrap();
    assert_eq!(world.refresh(URL).await, StatusCode::OK);
}

/// The memory of a node may be a day old.
#[tokio::test]
async fn another_node_does_not_undo_a_narrowing() {
    let one = World::new(unlimited(tower_dcr::mcp()));
    let two = World::at(unlimited(tower_dcr::mcp()), one.web.clone(), one.ledger.clone());
    let second = "https://app.example.com/second";
    let at_second = async |world: &World| world.authorize_from(URL, second, "192.0.2.1:1").await.status();
    one.web.publish(URL, &json!({ "redirect_uris": [CALLBACK, second] }));
    assert_eq!(one.authorize(URL).await, GOES_ON);
    for world in [&one, &two] {
        world.clock.advance(30 * MINUTE);
    }
    assert_eq!(at_second(&two).await, GOES_ON);
    for world in [&one, &two] {
        world.clock.advance(40 * MINUTE);
    }
    one.web.publish(URL, &json!({}));
    assert_eq!(at_second(&one).await, REJECTED);
    assert_eq!(at_second(&two).await, REJECTED, "its memory has the callback still");
    for _ in 0..3 {
        assert_eq!((one.authorize(URL).await, two.authorize(URL).await), (GOES_ON, GOES_ON));
    }
    let record = one.record(URL).await.unwrap();
    assert!(!record.registration.contains("second") && record.document.unwrap().held.is_none());
    assert_eq!(one.web.fetches(), 3);
}

/// The fetcher works on while no request waits, as that over connections does.
#[tokio::test]
async fn a_refresh_ahead_is_taken_by_a_later_request() {
    let world = World::new(unlimited(tower_dcr::mcp()));
    world.web.publish(URL, &json!({}));
    assert_eq!(world.authorize(URL).await, GOES_ON);
    world.clock.advance(56 * MINUTE);
    world.web.0.waits.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        assert_eq!(world.authorize(URL).await, GOES_ON);
    }
    assert_eq!(world.web.fetches(), 2, "one fetch, which takes its time");
    world.web.0.gate.notify_one();
    world.clock.advance(MINUTE);
    assert_eq!(world.authorize(URL).await, GOES_ON);
    assert_eq!(world.web.fetches(), 2, "its result is taken, and no other fetch is begun");
    // From the time of the fetch on: the minute in which its result was not looked at counts.
    world.web.0.waits.store(false, Ordering::SeqCst);
    world.clock.advance(58 * MINUTE + MINUTE / 2);
    assert_eq!(world.authorize(URL).await, GOES_ON);
    assert_eq!(world.web.fetches(), 3);
    // A result that no request took for longer than it is fresh is no document.
    world.clock.advance(56 * MINUTE);
    world.web.0.waits.store(true, Ordering::SeqCst);
    assert_eq!(world.authorize(URL).await, GOES_ON);
    world.web.0.waits.store(false, Ordering::SeqCst);
    world.web.0.gate.notify_one();
    world.clock.advance(3 * HOUR);
    assert_eq!(world.authorize(URL).await, GOES_ON);
    assert_eq!(world.web.fetches(), 5);
}

#[tokio::test]
async fn metadata_that_is_blocked_reaches_no_sign_in() {
    let world = World::new(unlimited(tower_dcr::mcp()));
    world.web.publish(URL, &json!({}));
    let other = "https://app.example.com/other.json";
    world.web.publish(other, &json!({ "client_name": "Imitation", "redirect_uris": ["https://evil.example.org/cb"] }));
    world.revoke(Fingerprint::name("Imitation")).await;
    let read = world.authorize_from(other, "https://evil.example.org/cb", "192.0.2.1:1").await;
    assert_eq!((read.status(), world.told.lock().unwrap().len()), (REJECTED, 0));
    assert_eq!(world.authorize(URL).await, GOES_ON);
    // Also by a gate that has let the draft pass a moment ago.
    let third = "https://app.example.com/third.json";
    world.web.publish(third, &json!({ "client_name": "Third" }));
    let gate =
        world.preset.gate(GateEndpoint::PushedAuthorization, world.registrar.clone()).with_clock(world.clock.clone());
    let service = gate.layer(service_fn(async |_: Request<ResponseBody<Full<Bytes>>>| {
        Ok::<_, Infallible>(Response::builder().status(400).body(Full::<Bytes>::default()).unwrap())
    }));
    let push = async || {
        let body = authorization(third, CALLBACK);
        let request = Request::post("/par").header("content-type", "application/x-www-form-urlencoded");
        let read = send(&service, request.body(Full::from(body)).unwrap()).await;
        String::from_utf8(read.body.to_vec()).unwrap()
    };
    assert_eq!(push().await, "", "of the handler");
    world.revoke(Fingerprint::name("Third")).await;
    assert_ne!(push().await, "");
}

#[tokio::test]
async fn a_revoked_url_is_not_resolved() {
    let world = World::new(tower_dcr::mcp());
    world.web.publish(URL, &json!({}));
    world.revoke(Fingerprint::parse("document_host", "app.example.com").unwrap()).await;
    let error = world.preset.resolve_document(&ClientIdUrl::parse(URL).unwrap(), None).await.unwrap_err();
    assert_eq!((error.as_str(), world.web.fetches()), ("revoked", 0));
}

#[tokio::test]
async fn limits_of_this_server_are_no_outage_of_the_host() {
    let preset = tower_dcr::mcp().map_documents(|documents| documents.refreshes = "1/minute".parse().unwrap());
    let world = World::new(preset);
    world.web.publish(URL, &json!({}));
    let other = "https://other.example.com/client.json";
    world.web.publish(other, &json!({}));
    for url in [URL, other] {
        assert_eq!(world.authorize(url).await, GOES_ON);
    }
    world.clock.advance(90 * MINUTE);
    assert_eq!((world.authorize(other).await, world.authorize(URL).await), (GOES_ON, GOES_ON));
    assert_eq!(world.web.fetches(), 3, "one refresh");
    let state = world.record(URL).await.unwrap().document.unwrap();
    assert_eq!(state.unreachable_since, None, "its host was not asked");
    assert!(!world.reasons().iter().any(|reason| reason == "budget"));
}

#[tokio::test]
async fn strangers_make_a_host_fail_for_themselves_only() {
    let world = World::new(unlimited(tower_dcr::mcp()));
    for index in 0..20 {
        world.authorize(&format!("https://app.example.com/none/{index}")).await;
    }
    assert_eq!(world.web.fetches(), 5);
    world.web.publish(URL, &json!({}));
    assert_eq!(world.authorize(URL).await, StatusCode::SERVICE_UNAVAILABLE, "from the same address");
    assert_eq!(world.authorize_from(URL, CALLBACK, "198.51.100.7:1").await.status(), GOES_ON);
}

/// Keeps fetches for hosts in `documents.allow` after strangers have spent the budget of unlisted URLs.
#[tokio::test]
async fn a_pattern_has_fetches_apart_from_those_of_strangers() {
    let world = World::new(tower_dcr::mcp().map_documents(|documents| {
        documents.admission = Admission::Reporting;
        documents.allow = vec!["https://app.example.com/oauth/*/client.json".parse().unwrap()];
    }));
    for index in 0..100 {
        let url = format!("https://s{index}.example{index}.com/c");
        world.authorize_from(&url, CALLBACK, &format!("203.0.113.{index}:1")).await;
    }
    assert_eq!(world.web.fetches(), 60);
    let matched = "https://app.example.com/oauth/x/client.json";
    world.web.publish(matched, &json!({}));
    world.web.publish(URL, &json!({}));
    assert_eq!(world.authorize(matched).await, GOES_ON);
    assert_eq!(world.authorize(URL).await, StatusCode::SERVICE_UNAVAILABLE, "a stranger");
}

/// A rejected request begins no grant, so its version is none that a code may belong to.
#[tokio::test]
async fn a_version_that_the_server_rejects_was_not_let_through() {
    let world = World::new(unlimited(tower_dcr::mcp()));
    let scope = |scope: &str| json!({ "scope": scope });
    world.web.put(URL, 200, &[("cache-control", "max-age=300")], &document(URL, &scope("a b")));
    let gate = world.preset.gate(GateEndpoint::Authorization, world.registrar.clone()).with_clock(world.clock.clone());
    let rejecting = gate.layer(service_fn(async |_: Request<ResponseBody<Full<Bytes>>>| {
        Ok::<_, Infallible>(Response::builder().status(400).body(Full::<Bytes>::default()).unwrap())
    }));
    let query = authorization(URL, CALLBACK);
    let request = Request::get(format!("/authorize?{query}")).body(Full::<Bytes>::default()).unwrap();
    assert_eq!(send(&rejecting, request).await.status(), REJECTED);
    world.clock.advance(6 * MINUTE);
    world.web.publish(URL, &json!({ "grant_types": ["authorization_code"] }));
    assert_eq!(world.authorize(URL).await, GOES_ON);
    assert_eq!(world.refresh(URL).await, REJECTED);
}

/// A server that no longer fetches documents has their clients in its ledger: nothing would bring them up to date.
#[tokio::test]
async fn clients_of_documents_end_with_the_documents() {
    let off = |preset: Preset| preset.map_documents(|documents| documents.admission = Admission::Off);
    let other = "https://app.example.com/other.json";
    // The setting, and a program that is built without a fetcher. In both cases, unknown clients pass otherwise.
    for (is_built_without, reason) in
        [(false, "client metadata document: not_admitted"), (true, "client metadata document not accepted")]
    {
        let world = World::new(unlimited(tower_dcr::mcp()));
        world.web.publish(URL, &json!({}));
        assert_eq!((world.authorize(URL).await, world.token(URL).await), (GOES_ON, StatusCode::OK));
        let mut pending = world.record(URL).await.unwrap();
        (pending.status, pending.client_id) = (Status::Pending, Some(other.into()));
        world.ledger.insert(&pending, None).await.unwrap();
        let preset = if is_built_without {
            tower_dcr::mcp().with_sink(world.events.clone()).with_registrar(world.registrar.clone())
        } else {
            off(world.preset.clone())
        };
        world.told.lock().unwrap().clear();
        world.reasons();
        let world = World { preset, ..world };
        let fetches = world.web.fetches();
        for url in [URL, other] {
            assert_eq!(world.authorize(url).await, REJECTED, "{url}");
            assert_eq!(world.token(url).await, StatusCode::UNAUTHORIZED, "{url}");
            assert_eq!(world.refresh(url).await, StatusCode::UNAUTHORIZED, "{url}");
            let pushed = format!("response_type=code&redirect_uri={}&code_challenge={CHALLENGE}", encoded(CALLBACK));
            let pushed = format!("{pushed}&code_challenge_method=S256");
            assert_eq!(
                world.post(GateEndpoint::PushedAuthorization, &pushed, url).await,
                StatusCode::UNAUTHORIZED,
                "{url}"
            );
        }
        let reasons = world.reasons();
        assert!(!reasons.is_empty() && reasons.iter().all(|said| said == reason), "{reasons:?}");
        assert_eq!(world.web.fetches(), fetches);
        assert!(world.told.lock().unwrap().is_empty(), "no handler is told of it");
        // The record stays, and says what it is.
        let listed = world.registrar.list(ClientQueue::All, None, 10).await.unwrap().clients;
        assert_eq!(listed.len(), 2);
        assert!(listed.iter().all(|client| client.origin == Origin::Document && client.document.is_some()));
        assert_eq!(world.record(URL).await.unwrap().document_host(), Some("app.example.com"));
        // A revoked one stays revoked, and a client that never was one of a document is none.
        world.revoke(Fingerprint::ClientId(URL.into())).await;
        assert_eq!(world.record(URL).await.unwrap().status, Status::Revoked);
        assert_eq!(world.authorize(URL).await, REJECTED);
        let unknown = world.authorize("https://app.example.com/unknown.json").await;
        assert_eq!(unknown, if is_built_without { GOES_ON } else { REJECTED });
    }
}

#[tokio::test]
async fn drift_judges_documents_by_their_own_rules() {
    let with_query = "https://app.example.com/client.json?v=2";
    let preset = unlimited(tower_dcr::mcp()).map_documents(|documents| documents.query = true);
    let world = World::new(preset);
    let loopback = json!({ "redirect_uris": ["http://127.0.0.1/cb", CALLBACK], "client_name": "Local" });
    let plain = json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://app.example.com/jwks",
        "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"], "unknown": 1 });
    for (url, more) in [(URL, &plain), (with_query, &loopback)] {
        world.web.publish(url, more);
        assert_eq!(world.authorize(url).await, GOES_ON, "{url}");
    }
    // A registration with the same redirect URIs, and a client without any.
    let registration = r#"{"redirect_uris":["http://127.0.0.1/cb"],"application_type":"web"}"#;
    let mut registered = Client::draft(registration, Fingerprints::default(), world.registrar.now());
    (registered.status, registered.client_id) = (Status::Active, Some("registered".into()));
    let mut elsewhere = registered.clone();
    (elsewhere.origin, elsewhere.client_id) = (Origin::Elsewhere, Some("elsewhere".into()));
    for client in [registered, elsewhere] {
        world.ledger.insert(&client, None).await.unwrap();
    }
    let drift = async |preset: &Preset| {
        let mut found = Vec::new();
        let note = |client: &Client, evaluated: Result<&Evaluation, &ParseError>| {
            let evaluation = evaluated.unwrap();
            let rule = evaluation.rejection.as_ref().map(|rejection| rejection.rule);
            found.push((client.client_id.clone().unwrap(), evaluation.operation, evaluation.decision(), rule));
        };
        world.registrar.drift(preset.policy(), &preset.document_policy(), note).await.unwrap();
        found
    };
    let fetches = world.web.fetches();
    let same = drift(&world.preset).await;
    let of_documents: Vec<_> = same.iter().filter(|(_, operation, ..)| *operation == Operation::Document).collect();
    assert_eq!(same.len(), 3, "{same:?}");
    assert!(
        of_documents.iter().all(|(.., decision, _)| *decision == Decision::Accept),
        "as the rules left them: {same:?}"
    );
    let ids: Vec<&str> = of_documents.iter().map(|(id, ..)| id.as_str()).collect();
    assert_eq!(ids, [with_query, URL], "the newest first");
    // A rule that only documents have: redirect URIs on the site of the document, and a scheme that is its host.
    let narrow = world.preset.clone().map_rules(|mut rules| {
        rules.redirect_uris.classes = vec![RedirectClass::Loopback];
        Ok(rules)
    });
    let narrow = drift(&narrow.unwrap()).await;
    let fate =
        |id: &str| narrow.iter().find(|(of, ..)| of == id).map(|(.., decision, rule)| (*decision, *rule)).unwrap();
    assert_eq!(fate(URL), (Decision::Reject, Some("redirect-uris")), "none is left");
    assert_eq!(fate(with_query), (Decision::Rewrite, None), "one is left, where a registration is rejected");
    let named = drift(&tower_dcr::strict()).await;
    assert!(named.iter().any(|(id, ..)| id == URL), "{named:?}");
    assert_eq!(world.web.fetches(), fetches);
    assert_eq!(world.record(URL).await.unwrap().status, Status::Active, "nothing changes");
}

#[tokio::test]
async fn a_record_whose_url_has_no_site_is_reported_by_drift() {
    let world = World::new(tower_dcr::mcp());
    world.web.publish(URL, &json!({}));
    assert_eq!(world.authorize(URL).await, GOES_ON);
    let record = world.record(URL).await.unwrap();
    for (key, url) in ["https://github.io/client.json", "https://app.example.com/"].into_iter().enumerate() {
        let mut odd = record.clone();
        (odd.client_id, odd.variant) = (Some(url.into()), key.to_string());
        world.ledger.insert(&odd, None).await.unwrap();
    }
    let mut found = Vec::new();
    let policy = world.preset.document_policy();
    let note = |_: &Client, evaluated: Result<&Evaluation, &ParseError>| found.push(evaluated.err().copied());
    world.registrar.drift(&policy, &policy, note).await.unwrap();
    assert_eq!(found, [Some(ParseError::Syntax), Some(ParseError::Syntax), None]);
}

#[tokio::test]
async fn a_client_is_compared_with_its_record() {
    let world = World::new(unlimited(tower_dcr::mcp()));
    let resolved = async |more: &Value| {
        let node = World::new(unlimited(tower_dcr::mcp()));
        node.web.publish(URL, more);
        node.preset.resolve_document(&ClientIdUrl::parse(URL).unwrap(), None).await.unwrap()
    };
    let second = "https://app.example.com/second";
    world.web.publish(URL, &json!({ "redirect_uris": [CALLBACK, second] }));
    assert_eq!(world.authorize(URL).await, GOES_ON);
    let record = world.record(URL).await.unwrap();
    for (more, change) in [
        (json!({ "redirect_uris": [CALLBACK, second] }), None),
        (json!({ "redirect_uris": [CALLBACK, second], "logo_uri": "https://app.example.com/logo" }), None),
        (json!({ "redirect_uris": [CALLBACK, second], "contacts": ["a@example.com"] }), Some(Change::Decoration)),
        (json!({}), Some(Change::Narrowing)),
        (json!({ "redirect_uris": [CALLBACK, second, "http://127.0.0.1/cb"] }), Some(Change::Widening)),
        (json!({ "redirect_uris": [CALLBACK, second], "client_name": "Other" }), Some(Change::Identity)),
    ] {
        assert_eq!(resolved(&more).await.change_since(&record), change, "{more}");
    }
    let mut unreadable = record;
    unreadable.registration = "{".into();
    assert_eq!(resolved(&json!({})).await.change_since(&unreadable), Some(Change::Identity));
}

/// A world that keeps the clients of 50 documents, and may hold new clients until they are approved.
fn of_fifty_documents(approval: Option<Duration>) -> World {
    let world = World::new(unlimited(tower_dcr::mcp()));
    let registrar = world.registrar.clone().map_settings(|settings| {
        settings.approval = approval;
        settings.max_documents = std::num::NonZeroU64::new(50);
    });
    World { registrar: registrar.unwrap(), ..world }
}

/// One account consents to documents of one site, from several hosts of it.
#[tokio::test]
async fn documents_of_one_site_push_out_no_client_in_daily_use() {
    let world = of_fifty_documents(None);
    world.web.publish(URL, &json!({}));
    assert_eq!((world.authorize(URL).await, world.token(URL).await), (GOES_ON, StatusCode::OK));
    for _ in 0..10 {
        world.clock.advance(24 * HOUR);
        assert_eq!(world.refresh(URL).await, StatusCode::OK, "used every day");
    }
    for number in 0..60 {
        let url = format!("https://app{}.attacker-site.com/{number}", number % 7);
        world.web.publish(&url, &json!({}));
        assert_eq!((world.authorize(&url).await, world.token(&url).await), (GOES_ON, StatusCode::OK));
    }
    assert_eq!(world.refresh(URL).await, StatusCode::OK, "{:?}", world.record(URL).await.map(|client| client.reason));
    let first = world.record("https://app0.attacker-site.com/0").await.unwrap();
    assert_eq!((first.status, first.reason.as_deref()), (Status::Expired, Some("made room for another document")));
}

/// Clients that wait for approval cost a stranger no account.
#[tokio::test]
async fn strangers_push_out_no_client_that_waits() {
    let world = of_fifty_documents(Some(7 * 24 * HOUR));
    world.web.publish(URL, &json!({}));
    assert_eq!(world.authorize(URL).await, REJECTED);
    assert_eq!(world.record(URL).await.unwrap().status, Status::Pending);
    for number in 0..60 {
        world.clock.advance(Duration::from_secs(1));
        let url = format!("https://app{}.attacker-site.com/{number}", number % 7);
        world.web.publish(&url, &json!({}));
        world.authorize_from(&url, CALLBACK, "198.51.100.1:1").await;
    }
    let waiting = world.record(URL).await.map(|client| client.status);
    assert_eq!(waiting, Some(Status::Pending), "no operator sees it any more");
    assert!(world.record("https://app0.attacker-site.com/0").await.is_none());
    assert!(world.record("https://app3.attacker-site.com/59").await.is_some());
}

/// A change that was taken back and exchanged while an operator looked at it.
#[tokio::test]
async fn an_approval_is_for_the_change_that_was_shown() {
    const EVIL: &str = "https://evil.attacker-site.com/cb";
    let world = World::new(unlimited(tower_dcr::mcp()));
    let publish = async |uris: &[&str]| {
        world.web.put(URL, 200, &[("cache-control", "no-store")], &document(URL, &json!({ "redirect_uris": uris })));
        world.clock.advance(6 * MINUTE);
        assert_eq!(world.authorize(URL).await, GOES_ON);
    };
    let approve = async |held: &str| {
        let key = world.record(URL).await.unwrap().key;
        world.registrar.approve(ClientRef::Held(key, held), "alice", "I looked at it").await
    };
    publish(&[CALLBACK]).await;
    publish(&[CALLBACK, "https://second.example.com/cb"]).await;
    let shown = world.record(URL).await.unwrap().document.unwrap().held.unwrap();
    publish(&[CALLBACK]).await;
    assert!(matches!(approve(&shown.digest).await, Err(AdminError::Superseded)), "it was taken back");
    publish(&[CALLBACK, EVIL]).await;
    for seen in [&*shown.digest, ""] {
        assert!(matches!(approve(seen).await, Err(AdminError::Superseded)), "{seen}");
        let extended = world.registrar.extend(
            ClientRef::Held(world.record(URL).await.unwrap().key, seen),
            24 * HOUR,
            "alice",
            "I looked at it",
        );
        assert!(matches!(extended.await, Err(AdminError::Superseded)), "{seen}");
    }
    let record = world.record(URL).await.unwrap();
    assert!(!record.registration.contains("attacker") && record.reviewed_at.is_none(), "{record:?}");
    let held = record.document.unwrap().held.unwrap();
    let approved = approve(&held.digest).await.unwrap();
    assert!(approved.registration.contains("attacker") && approved.document.unwrap().held.is_none());
    assert!(approve("").await.is_ok(), "nothing waits");
    let revocation = Revocation::client(URL, Actor::Operator("alice".into()), "x");
    world.registrar.revoke(revocation).await.unwrap();
    assert!(matches!(approve("").await, Err(AdminError::Ended)));
}
