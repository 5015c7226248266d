//! An authorization server behind the gates, on a port of this machine. It believes what the gates tell it, and counts its grants.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Form, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde_json::{Map, Value, json};
use tower::util::MapRequestLayer;
use tower_dcr::Preset;
use tower_dcr::audit::{Event, LifecycleEvent, Sink};
use tower_dcr::clients::{Actor, Client, Filter, Fingerprint, Ledger, MemoryLedger, Registrar, Revocation};
use tower_dcr::clock::ManualClock;
use tower_dcr::documents::{Documents, VerifiedClient};
use tower_dcr::layers::GateEndpoint;
use tower_dcr::rate_limit::RateLimit;
use tower_dcr::redirect_uri::matches;

use super::web::{CALLBACK, Web};
use crate::world::{START, serde_urlencoded};

pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<LifecycleEvent>>>);

impl Sink for Events {
    fn emit(&self, _: &Event) {}

    fn emit_lifecycle(&self, event: &LifecycleEvent) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Events {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(ToString::to_string).collect()
    }

    /// The reasons since the last time.
    pub(crate) fn reasons(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap()).into_iter().filter_map(|event| event.reason).collect()
    }
}

/// The server behind the gates.
#[derive(Default)]
pub(crate) struct Server {
    /// Set to ask for consent.
    pub(crate) asks: AtomicBool,
    pub(crate) grants: AtomicUsize,
    /// The number of requests, whatever became of them.
    pub(crate) arrived: AtomicUsize,
    next: AtomicUsize,
    /// Requests that were pushed, wait for consent, or have a code: the client and its redirect URI.
    begun: Mutex<HashMap<String, (String, String)>>,
    /// The clients that requests came from, by the gates.
    pub(crate) told: Mutex<Vec<VerifiedClient>>,
    /// The clients whose tokens have ended.
    pub(crate) ended: Mutex<Vec<String>>,
    pub(crate) registered: Mutex<Vec<Value>>,
    /// The answer to a registration, in place of its own.
    pub(crate) answer: Mutex<Option<Value>>,
    pub(crate) metadata: Mutex<Value>,
}

pub(crate) struct Node {
    pub(crate) base: String,
    pub(crate) http: reqwest::Client,
    pub(crate) web: Web,
    pub(crate) preset: Preset,
    pub(crate) registrar: Registrar,
    pub(crate) ledger: MemoryLedger,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) events: Events,
    pub(crate) server: Arc<Server>,
}

/// Status, fields and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: String,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

/// Without limits on fetches.
pub(crate) fn unlimited(preset: Preset) -> Preset {
    preset.map_documents(|documents| {
        documents.fetches = RateLimit::Off;
        documents.fetches_by_address = RateLimit::Off;
        documents.fetches_by_site = RateLimit::Off;
        documents.refreshes = RateLimit::Off;
    })
}

impl Node {
    pub(crate) async fn start(preset: Preset) -> Self {
        Self::at(&Web::start().await, preset).await
    }

    pub(crate) async fn at(web: &Web, preset: Preset) -> Self {
        Self::with(web, preset, MemoryLedger::default(), |documents| documents).await
    }

    pub(crate) async fn with(
        web: &Web,
        preset: Preset,
        ledger: MemoryLedger,
        change: impl FnOnce(Documents) -> Documents,
    ) -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let documents = change(Documents::new(web.fetcher()).with_clock(clock.clone()));
        Self::around(web, preset.with_documents(documents), ledger, clock).await
    }

    /// With documents that the preset has already.
    pub(crate) async fn around(web: &Web, preset: Preset, ledger: MemoryLedger, clock: Arc<ManualClock>) -> Self {
        let server = Arc::<Server>::default();
        let told = Arc::clone(&server);
        let registrar = Registrar::new(ledger.clone()).with_clock(clock.clone()).with_deprovision(move |id: String| {
            told.ended.lock().unwrap().push(id);
            async { Ok(()) }
        });
        let events = Events::default();
        let peer = |extensions: &http::Extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|it| it.0);
        let preset = preset.with_sink(events.clone()).with_peer_address(peer);
        let preset = preset.with_trusted_proxies(["127.0.0.1"]).unwrap().with_registrar(registrar.clone());
        *server.metadata.lock().unwrap() = json!({ "token_endpoint_auth_methods_supported": ["none"] });
        let counting = Arc::clone(&server);
        let count = MapRequestLayer::new(move |request: axum::extract::Request| {
            counting.arrived.fetch_add(1, Ordering::SeqCst);
            request
        });
        let gate = |endpoint| preset.gate(endpoint, registrar.clone()).with_clock(clock.clone());
        let app = Router::new()
            .route("/authorize", get(authorize).post(decide).layer(gate(GateEndpoint::Authorization)))
            .route("/par", post(push).layer(gate(GateEndpoint::PushedAuthorization)))
            .route("/token", post(token).layer(gate(GateEndpoint::Token)))
            .route("/register", post(register).layer(preset.clone()))
            .route("/metadata", get(metadata).layer(preset.server_metadata_layer()))
            .layer(count)
            .with_state(Arc::clone(&server));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { base, http, web: web.clone(), preset, registrar, ledger, clock, events, server }
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let mut fields = response.headers().clone();
        fields.remove(header::DATE);
        let fields = format!("{fields:?}");
        Answer { status, fields, text: response.text().await.unwrap() }
    }

    /// Sends a request to the authorization endpoint, with a query as it is.
    pub(crate) async fn authorize_raw(&self, query: &str) -> Answer {
        self.send(self.http.get(format!("{}/authorize?{query}", self.base))).await
    }

    pub(crate) fn authorization(&self, url: &str) -> reqwest::RequestBuilder {
        self.http.get(format!("{}/authorize?{}", self.base, query(url, CALLBACK)))
    }

    pub(crate) async fn authorize(&self, url: &str) -> u16 {
        self.send(self.authorization(url)).await.status
    }

    /// From an address of its own.
    pub(crate) async fn authorize_from(&self, url: &str, address: &str) -> u16 {
        self.send(self.authorization(url).header("x-forwarded-for", address)).await.status
    }

    pub(crate) async fn authorize_to(&self, url: &str, redirect_uri: &str) -> Answer {
        self.authorize_raw(&query(url, redirect_uri)).await
    }

    pub(crate) async fn post(&self, path: &str, form: String) -> Answer {
        self.send(self.http.post(format!("{}{path}", self.base)).header("content-type", FORM).body(form)).await
    }

    pub(crate) async fn push(&self, url: &str, redirect_uri: &str) -> Answer {
        self.post("/par", query(url, redirect_uri)).await
    }

    /// Continues a request that was pushed.
    pub(crate) async fn authorize_pushed(&self, url: &str, pushed: &Answer) -> Answer {
        let request_uri = pushed.json()["request_uri"].as_str().unwrap().to_owned();
        self.authorize_raw(&serde_urlencoded(&[("client_id", url), ("request_uri", &request_uri)])).await
    }

    pub(crate) async fn redeem(&self, url: &str, code: &str) -> Answer {
        let form =
            [("grant_type", "authorization_code"), ("code", code), ("client_id", url), ("code_verifier", VERIFIER)];
        self.post("/token", serde_urlencoded(&form)).await
    }

    pub(crate) async fn refresh(&self, url: &str) -> u16 {
        let form = [("grant_type", "refresh_token"), ("refresh_token", "r"), ("client_id", url)];
        self.post("/token", serde_urlencoded(&form)).await.status
    }

    pub(crate) async fn metadata(&self) -> Value {
        self.send(self.http.get(format!("{}/metadata", self.base))).await.json()
    }

    /// Decides on a consent page.
    pub(crate) async fn decide(&self, url: &str, id: &str) -> Answer {
        self.post("/authorize", serde_urlencoded(&[("id", id), ("client_id", url), ("approve", "yes")])).await
    }

    /// The document that the server was told last.
    pub(crate) fn told(&self) -> Value {
        let told = self.server.told.lock().unwrap();
        serde_json::from_slice(told.last().unwrap().document()).unwrap()
    }

    pub(crate) fn grants(&self) -> usize {
        self.server.grants.load(Ordering::SeqCst)
    }

    pub(crate) async fn record(&self, url: &str) -> Option<Client> {
        self.ledger.find(url).await.unwrap()
    }

    /// The number of records.
    pub(crate) async fn records(&self) -> usize {
        self.registrar.find(&Filter::default(), None, 500).await.unwrap().clients.len()
    }

    pub(crate) async fn revoke(&self, target: Fingerprint) {
        let alice = Actor::Operator("alice".into());
        self.registrar.revoke(Revocation::new(target, alice, "imitates us")).await.unwrap();
    }
}

/// The parameters of an authorization request.
pub(crate) fn query(url: &str, redirect_uri: &str) -> String {
    serde_urlencoded(&[
        ("response_type", "code"),
        ("client_id", url),
        ("redirect_uri", redirect_uri),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ])
}

/// The code in a redirect.
pub(crate) fn code(answer: &Answer) -> String {
    assert_eq!(answer.status, 302, "{answer:?}");
    answer.fields.split("code=").nth(1).unwrap().split(['"', '&']).next().unwrap().to_owned()
}

type Pairs = HashMap<String, String>;

impl Server {
    /// Keeps a client with its redirect URI, under a new name.
    fn keep(&self, kind: &str, client: String, redirect_uri: String) -> String {
        let name = format!("{kind}{}", self.next.fetch_add(1, Ordering::SeqCst));
        self.begun.lock().unwrap().insert(name.clone(), (client, redirect_uri));
        name
    }

    fn grant(&self, client: String, redirect_uri: String) -> Response {
        self.grants.fetch_add(1, Ordering::SeqCst);
        let mut location = format!("{redirect_uri}?code=");
        location.push_str(&self.keep("c", client, redirect_uri));
        (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
    }

    /// Returns the client and its redirect URI, if the gate has verified the client.
    fn checked(&self, request: &Pairs, verified: Option<Extension<VerifiedClient>>) -> Option<(String, String)> {
        let Extension(verified) = verified?;
        self.told.lock().unwrap().push(verified.clone());
        let registered: Vec<&str> = verified.registration().redirect_uris().collect();
        let asked = request.get("redirect_uri")?;
        let is_registered = registered.iter().any(|known| matches(known, asked));
        let is_same = request.get("client_id")? == verified.url().as_str();
        (is_registered && is_same).then(|| (verified.url().as_str().to_owned(), asked.clone()))
    }
}

fn rejected() -> Response {
    (StatusCode::FORBIDDEN, "by the server").into_response()
}

async fn authorize(
    State(server): State<Arc<Server>>,
    verified: Option<Extension<VerifiedClient>>,
    Query(request): Query<Pairs>,
) -> Response {
    let pushed = request.get("request_uri").and_then(|uri| server.begun.lock().unwrap().remove(uri));
    let checked = match pushed {
        Some(pushed) => Some(pushed).filter(|_| verified.is_some()),
        None => server.checked(&request, verified),
    };
    let Some((client, redirect_uri)) = checked else { return rejected() };
    if server.asks.load(Ordering::SeqCst) {
        return server.keep("id", client, redirect_uri).into_response();
    }
    server.grant(client, redirect_uri)
}

/// Takes the person's decision.
async fn decide(State(server): State<Arc<Server>>, Form(form): Form<Pairs>) -> Response {
    let begun = form.get("id").and_then(|id| server.begun.lock().unwrap().remove(id));
    begun.map_or_else(rejected, |(client, redirect_uri)| server.grant(client, redirect_uri))
}

async fn push(
    State(server): State<Arc<Server>>,
    verified: Option<Extension<VerifiedClient>>,
    Form(request): Form<Pairs>,
) -> Response {
    let Some((client, redirect_uri)) = server.checked(&request, verified) else { return rejected() };
    let uri = server.keep("urn:ietf:params:oauth:request_uri:", client, redirect_uri);
    (StatusCode::CREATED, Json(json!({ "request_uri": uri, "expires_in": 600 }))).into_response()
}

async fn token(
    State(server): State<Arc<Server>>,
    verified: Option<Extension<VerifiedClient>>,
    body: Bytes,
) -> Response {
    let form: Pairs = url::form_urlencoded::parse(&body).into_owned().collect();
    let Some(Extension(verified)) = verified else { return rejected() };
    server.told.lock().unwrap().push(verified.clone());
    let is_granted = match form.get("code").map(|code| server.begun.lock().unwrap().remove(code)) {
        Some(begun) => begun.is_some_and(|(client, _)| client == verified.url().as_str()),
        None => true,
    };
    if !is_granted {
        return rejected();
    }
    server.grants.fetch_add(1, Ordering::SeqCst);
    Json(json!({ "access_token": "a", "token_type": "Bearer" })).into_response()
}

async fn register(State(server): State<Arc<Server>>, Json(mut client): Json<Map<String, Value>>) -> Response {
    server.registered.lock().unwrap().push(client.clone().into());
    client.insert("client_id".into(), format!("client-{}", server.next.fetch_add(1, Ordering::SeqCst)).into());
    if let Some(Value::Object(more)) = server.answer.lock().unwrap().clone() {
        client.extend(more);
    }
    (StatusCode::CREATED, Json(client)).into_response()
}

async fn metadata(State(server): State<Arc<Server>>) -> Json<Value> {
    Json(server.metadata.lock().unwrap().clone())
}
