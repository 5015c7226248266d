//! An authorization server behind the layers, a clock that is moved by hand, and what happened.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Form, Path, State};
use axum::http::{Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post, put};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_dcr::Preset;
use tower_dcr::audit::{Event, LifecycleAction, LifecycleEvent, Sink};
use tower_dcr::clients::Ledger;
use tower_dcr::clients::Registrar;
use tower_dcr::clock::ManualClock;
use tower_dcr::layers::{GateEndpoint, GateLayer};

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// The start of the clock: 2026-01-01.
pub(crate) const START: Duration = Duration::from_secs(1_767_225_600);

/// Additional behaviour of the handler.
#[derive(Default)]
pub(crate) struct Server {
    pub(crate) calls: AtomicU32,
    pub(crate) clients: Mutex<HashMap<String, Value>>,
    pub(crate) deprovisioned: Mutex<Vec<String>>,
    pub(crate) deprovisioning_fails: AtomicBool,
    pub(crate) in_use: Mutex<HashSet<String>>,
    /// Answers this instead of registering.
    pub(crate) answer: Mutex<Option<(u16, Value)>>,
    /// Gives out registration access tokens (RFC 7592).
    pub(crate) management: AtomicBool,
    /// The number of registrations in progress, and its maximum.
    pub(crate) at_once: AtomicU32,
    pub(crate) most_at_once: AtomicU32,
    /// Waits so many milliseconds before it answers.
    pub(crate) delay_ms: AtomicU32,
}

#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<LifecycleEvent>>>);

impl Sink for Events {
    fn emit(&self, _: &Event) {}

    fn emit_lifecycle(&self, event: &LifecycleEvent) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Events {
    pub(crate) fn of(&self, action: LifecycleAction) -> Vec<LifecycleEvent> {
        self.0.lock().unwrap().iter().filter(|event| event.action == action).cloned().collect()
    }
}

pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) server: Arc<Server>,
    pub(crate) events: Events,
    pub(crate) registrar: Registrar,
    pub(crate) app: Router,
}

impl World {
    pub(crate) fn new(ledger: impl Ledger) -> Self {
        Self::with(ledger, |registrar| registrar)
    }

    pub(crate) fn with(ledger: impl Ledger, change: impl FnOnce(Registrar) -> Registrar) -> Self {
        Self::around(Arc::default(), Arc::new(ManualClock::new(START)), ledger, change)
    }

    /// A node in front of a server that other nodes share.
    pub(crate) fn around(
        server: Arc<Server>,
        clock: Arc<ManualClock>,
        ledger: impl Ledger,
        change: impl FnOnce(Registrar) -> Registrar,
    ) -> Self {
        let events = Events::default();
        let (told, asked) = (Arc::clone(&server), Arc::clone(&server));
        let registrar = Registrar::new(ledger)
            .with_clock(clock.clone())
            .with_sink(events.clone())
            .with_deprovision(move |id: String| {
                let server = Arc::clone(&told);
                async move {
                    if server.deprovisioning_fails.load(Ordering::SeqCst) {
                        return Err("the server is busy".into());
                    }
                    server.clients.lock().unwrap().remove(&id);
                    server.deprovisioned.lock().unwrap().push(id);
                    Ok(())
                }
            })
            .with_still_in_use(move |id: String| {
                let server = Arc::clone(&asked);
                async move { Ok(server.in_use.lock().unwrap().contains(&id)) }
            });
        let registrar = change(registrar);
        let app = app(Arc::clone(&server), registrar.clone(), preset());
        Self { clock, server, events, registrar, app }
    }

    /// With another guard in front of the same server.
    pub(crate) fn guarded_by(mut self, change: impl FnOnce(Preset) -> Preset) -> Self {
        self.app = app(Arc::clone(&self.server), self.registrar.clone(), change(preset()));
        self
    }

    pub(crate) fn calls(&self) -> u32 {
        self.server.calls.load(Ordering::SeqCst)
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        Answer::of(self.app.clone().oneshot(request).await.unwrap()).await
    }

    pub(crate) async fn register(&self, body: &Value) -> Answer {
        self.send(register(body)).await
    }

    /// Registers, and says under which `client_id`.
    pub(crate) async fn client(&self, name: &str) -> String {
        let answer = self.register(&metadata(name)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.client_id()
    }

    pub(crate) async fn token(&self, client_id: &str) -> Answer {
        self.send(token(client_id)).await
    }

    pub(crate) async fn authorize(&self, client_id: &str, redirect_uri: &str) -> Answer {
        let query = serde_urlencoded(&[("client_id", client_id), ("redirect_uri", redirect_uri)]);
        self.send(Request::get(format!("/authorize?{query}")).body(Body::empty()).unwrap()).await
    }
}

pub(crate) fn serde_urlencoded(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

pub(crate) fn metadata(name: &str) -> Value {
    json!({ "client_name": name, "redirect_uris": ["http://127.0.0.1:3118/callback"] })
}

pub(crate) fn register(body: &Value) -> Request<Body> {
    let request = Request::post("/register").header(header::CONTENT_TYPE, "application/json");
    request.body(Body::from(body.to_string())).unwrap()
}

pub(crate) fn token(client_id: &str) -> Request<Body> {
    let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let form = serde_urlencoded(&[
        ("grant_type", "authorization_code"),
        ("code", "x"),
        ("client_id", client_id),
        ("code_verifier", verifier),
    ]);
    let request = Request::post("/token").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    request.body(Body::from(form)).unwrap()
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) async fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Self { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    pub(crate) fn client_id(&self) -> String {
        self.json()["client_id"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }
}

/// A naive server, with the layers around it.
fn preset() -> Preset {
    tower_dcr::mcp()
        .without_rate_limits()
        .with_sink(|_: &Event| {})
        .map_answer(|answer| answer.with_secret_methods(["client_secret_basic"]))
}

fn app(server: Arc<Server>, registrar: Registrar, preset: Preset) -> Router {
    let preset = preset.with_registrar(registrar.clone());
    let managed = put(replace).get(show).delete(forget);
    Router::new()
        .route("/register", post(create).layer(preset.clone()))
        .route("/register/{id}", managed.layer(preset))
        .route(
            "/authorize",
            get(|| async { "consent" }).layer(GateLayer::new(GateEndpoint::Authorization, registrar.clone())),
        )
        .route("/token", post(give_token).layer(GateLayer::new(GateEndpoint::Token, registrar.clone())))
        .route(
            "/par",
            post(|| async { "pushed" }).layer(GateLayer::new(GateEndpoint::PushedAuthorization, registrar.clone())),
        )
        .route("/revoke", post(|| async { "" }).layer(GateLayer::new(GateEndpoint::Revocation, registrar.clone())))
        .route(
            "/introspect",
            post(|| async { "{}" }).layer(GateLayer::new(GateEndpoint::Introspection, registrar.clone())),
        )
        .route("/device", post(|| async { "{}" }).layer(GateLayer::new(GateEndpoint::DeviceAuthorization, registrar)))
        .with_state(server)
}

pub(crate) async fn create(State(server): State<Arc<Server>>, body: Bytes) -> Response<Body> {
    let number = server.calls.fetch_add(1, Ordering::SeqCst);
    let at_once = server.at_once.fetch_add(1, Ordering::SeqCst) + 1;
    server.most_at_once.fetch_max(at_once, Ordering::SeqCst);
    let delay = server.delay_ms.load(Ordering::SeqCst);
    if delay > 0 {
        tokio::time::sleep(Duration::from_millis(delay.into())).await;
    }
    server.at_once.fetch_sub(1, Ordering::SeqCst);
    if let Some((status, answer)) = server.answer.lock().unwrap().clone() {
        return (StatusCode::from_u16(status).unwrap(), axum::Json(answer)).into_response();
    }
    let mut client: Value = serde_json::from_slice(&body).unwrap();
    let id = format!("client-{number}");
    client["client_id"] = id.clone().into();
    if server.management.load(Ordering::SeqCst) {
        client["registration_access_token"] = "hush-hush".into();
        client["registration_client_uri"] = format!("https://as.example.com/register/{id}").into();
    }
    server.clients.lock().unwrap().insert(id, client.clone());
    (StatusCode::CREATED, axum::Json(client)).into_response()
}

async fn replace(State(server): State<Arc<Server>>, Path(id): Path<String>, body: Bytes) -> Response<Body> {
    let client: Value = serde_json::from_slice(&body).unwrap();
    server.clients.lock().unwrap().insert(id, client.clone());
    axum::Json(client).into_response()
}

async fn show(State(server): State<Arc<Server>>, Path(id): Path<String>) -> Response<Body> {
    axum::Json(server.clients.lock().unwrap().get(&id).cloned()).into_response()
}

async fn forget(State(server): State<Arc<Server>>, Path(id): Path<String>) -> StatusCode {
    server.clients.lock().unwrap().remove(&id);
    StatusCode::NO_CONTENT
}

pub(crate) async fn give_token(
    State(server): State<Arc<Server>>,
    Form(form): Form<HashMap<String, String>>,
) -> Response<Body> {
    let known = form.get("client_id").is_some_and(|id| server.clients.lock().unwrap().contains_key(id));
    if known {
        axum::Json(json!({ "access_token": "a", "token_type": "Bearer" })).into_response()
    } else {
        (StatusCode::UNAUTHORIZED, axum::Json(json!({ "error": "invalid_client" }))).into_response()
    }
}
