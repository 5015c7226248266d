//! The rules of gates: a client is held to its registration, and every client to OAuth 2.1.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::{Map, Value, json};
use tower::{Layer, service_fn};
use tower_dcr::Preset;
use tower_dcr::audit::{Event, LifecycleEvent, Sink};
use tower_dcr::clients::{MemoryLedger, Registrar};
use tower_dcr::layers::{GateEndpoint, GateLayer, GateSettings, RegistrationBody, ResponseBody};
use tower_dcr::rules::Action;

use crate::support::{Read, created, post, send};

const CALLBACK: &str = "https://app.example.com/cb";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<LifecycleEvent>>>);

impl Sink for Events {
    fn emit(&self, _: &Event) {}

    fn emit_lifecycle(&self, event: &LifecycleEvent) {
        self.0.lock().unwrap().push(event.clone());
    }
}

/// A server behind the layers of one policy.
struct World {
    preset: Preset,
    registrar: Registrar,
    events: Events,
    /// Returns the response of the endpoints.
    answer: fn() -> Response<Full<Bytes>>,
    change: fn(GateLayer) -> GateLayer,
}

impl World {
    fn new(preset: Preset) -> Self {
        let (registrar, events) = (Registrar::new(MemoryLedger::default()), Events::default());
        let peer = |extensions: &http::Extensions| extensions.get::<SocketAddr>().copied();
        let preset = preset.without_rate_limits().with_peer_address(peer);
        let preset = preset.with_sink(events.clone()).with_registrar(registrar.clone());
        Self { preset, registrar, events, answer: || Response::new("{}".into()), change: |gate| gate }
    }

    /// The policy in the text of a file.
    fn policy(text: &str) -> Self {
        Self::new(text.parse().unwrap_or_else(|error| panic!("{text}: {error}")))
    }

    /// Registers a client at a server that answers with `answered` in place of what it was sent.
    async fn register(&self, document: Value, answered: Value) -> String {
        let handler = service_fn(move |request: Request<_>| {
            let answered = answered.clone();
            async move {
                let body: RegistrationBody = Request::into_body(request);
                let sent = body.collect().await.unwrap().to_bytes();
                let mut document: Map<String, Value> = serde_json::from_slice(&sent).unwrap();
                document.insert("client_id".into(), "app-1".into());
                document.extend(answered.as_object().unwrap().clone());
                Ok::<_, Infallible>(created(&document))
            }
        });
        let answer = send(&self.preset.clone().layer(handler), post(document.to_string())).await;
        assert_eq!(answer.status(), StatusCode::CREATED, "{:?}", answer.json());
        answer.json()["client_id"].as_str().unwrap().to_owned()
    }

    /// Registers a public client for the code flow, with more or other members.
    async fn client(&self, more: Value) {
        let mut document = json!({
            "redirect_uris": [CALLBACK],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "scope": "mcp:read mcp:write",
        });
        document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.register(document, json!({})).await;
    }

    /// Sends a request through the gate: the answer, and the query and body that reached the server.
    async fn send(&self, endpoint: GateEndpoint, request: Request<Full<Bytes>>) -> (Read, Option<String>) {
        let reached: Arc<Mutex<Option<String>>> = Arc::default();
        let (kept, answer) = (Arc::clone(&reached), self.answer);
        let handler = service_fn(move |request: Request<ResponseBody<Full<Bytes>>>| {
            let kept = Arc::clone(&kept);
            async move {
                let query = request.uri().query().unwrap_or_default().to_owned();
                let length = request.headers().get(header::CONTENT_LENGTH).cloned();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                assert!(length.is_none_or(|length| length == body.len().to_string()), "the length is that of the body");
                *kept.lock().unwrap() = Some(format!("{query}{}", str::from_utf8(&body).unwrap()));
                Ok::<_, Infallible>(answer())
            }
        });
        let gate = (self.change)(self.preset.gate(endpoint, self.registrar.clone()));
        let read = send(&gate.layer(handler), request).await;
        let reached = reached.lock().unwrap().take();
        (read, reached)
    }

    async fn authorize(&self, query: &str) -> (Read, Option<String>) {
        let request = Request::get(format!("/authorize?{query}")).header("accept", "text/html");
        self.send(GateEndpoint::Authorization, request.body(Full::default()).unwrap()).await
    }

    async fn token(&self, body: &str) -> (Read, Option<String>) {
        self.send(GateEndpoint::Token, form(body).body(Full::from(body.to_owned())).unwrap()).await
    }

    /// The error of a request at the authorization endpoint; empty if it reached the server.
    async fn error_of(&self, query: &str) -> String {
        let (read, reached) = self.authorize(query).await;
        if reached.is_some() {
            return String::new();
        }
        assert_eq!(read.status(), StatusCode::BAD_REQUEST, "{query}");
        let page = String::from_utf8(read.body.to_vec()).unwrap();
        let (_, small) = page.split_once("<small>").unwrap();
        small.split(['<', ':']).next().unwrap().to_owned()
    }

    /// The error of a token request; empty if it reached the server.
    async fn token_error(&self, body: &str) -> String {
        let (read, reached) = self.token(body).await;
        let error = read.json()["error"].as_str().unwrap_or_default().to_owned();
        assert_eq!(reached.is_some(), error.is_empty(), "{body}");
        error
    }

    fn rules(&self) -> Vec<(Option<&'static str>, bool)> {
        self.preset.flush_audit();
        let events = std::mem::take(&mut *self.events.0.lock().unwrap());
        events.iter().map(|event| (event.rule, event.enforced)).collect()
    }
}

fn form(_: &str) -> http::request::Builder {
    Request::post("/token").header("content-type", "application/x-www-form-urlencoded")
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// A request that every rule accepts.
fn honest() -> String {
    format!(
        "response_type=code&client_id=app-1&redirect_uri={}&code_challenge={CHALLENGE}&code_challenge_method=S256\
         &scope=mcp%3Aread&state=xyz&resource=https%3A%2F%2Fmcp.example.com%2F",
        encoded(CALLBACK)
    )
}

fn without(query: &str, name: &str) -> String {
    let pairs = query.split('&').filter(|pair| !pair.starts_with(&format!("{name}=")));
    pairs.collect::<Vec<_>>().join("&")
}

fn with(query: &str, pair: &str) -> String {
    let (name, _) = pair.split_once('=').unwrap();
    format!("{}&{pair}", without(query, name))
}

#[tokio::test]
async fn a_code_needs_a_challenge_of_the_method_s256() {
    let world = World::new(tower_dcr::mcp());
    world.client(json!({})).await;
    let request = honest();
    let rows = [
        (request.clone(), ""),
        (without(&request, "code_challenge"), "invalid_request"),
        (without(&request, "code_challenge_method"), "invalid_request"),
        (with(&request, "code_challenge="), "invalid_request"),
        (with(&request, "code_challenge_method=plain"), "invalid_request"),
        (with(&request, "code_challenge_method=s256"), "invalid_request"),
        (with(&request, "code_challenge=abc"), "invalid_request"),
        (with(&request, &format!("code_challenge={CHALLENGE}%3D")), "invalid_request"),
        (with(&request, &format!("code_challenge={}", CHALLENGE.replace('-', "%2B"))), "invalid_request"),
        // Another reader finds the other one.
        (format!("{request}&code_challenge_method=plain"), "invalid_request"),
        (format!("{request}&code.challenge_method=plain"), "invalid_request"),
        (format!("{request}&Code_Challenge_Method=plain"), "invalid_request"),
        (format!("{request};code_challenge_method=plain"), "invalid_request"),
        (format!("{request}&code_challenge_method[]=plain"), "invalid_request"),
        // Not a challenge to every server.
        (request.replace("code_challenge=", "code.challenge="), "invalid_request"),
    ];
    for (query, error) in rows {
        assert_eq!(world.error_of(&query).await, error, "{query}");
    }
}

/// A server may read a request object although it should not, and then nothing else (RFC 9101 section 6.3).
#[tokio::test]
async fn an_object_beside_a_whole_request_is_whole_itself() {
    let world = World::new(tower_dcr::mcp());
    world.client(json!({})).await;
    let claims = |left_out: &str| {
        let mut claims = pairs_as_claims();
        claims.as_object_mut().unwrap().remove(left_out);
        jws("none", &claims)
    };
    for (left_out, error) in [
        ("", ""),
        ("state", ""),
        ("code_challenge", "invalid_request"),
        ("code_challenge_method", "invalid_request"),
        ("response_type", "invalid_request"),
    ] {
        let query = format!("{}&request={}", honest(), claims(left_out));
        assert_eq!(world.error_of(&query).await, error, "without {left_out}");
    }
}

/// A server that ignores the parameter reads the rest of the request.
#[tokio::test]
async fn each_kind_of_request_object_is_declared_by_itself() {
    let by_value = format!("{}&request={}", without(&honest(), "code_challenge"), jws("none", &json!({})));
    let flow = pairs_as_claims();
    let inside = format!("client_id=app-1&response_type=code&request={}", jws("none", &flow));
    let by_reference = "client_id=app-1&response_type=code&request_uri=https%3A%2F%2Fapp.example.com%2Frequest";
    for (policy, takes_value, takes_reference) in [
        ("", false, false),
        ("gate.request_objects = true", true, true),
        ("gate.request_objects = true\ngate.request_uris = false", true, false),
        ("gate.request_uris = true", false, true),
    ] {
        let world = World::policy(policy);
        world.client(json!({})).await;
        let passes = async |query: &str| world.authorize(query).await.1.is_some();
        assert!(!passes(&by_value).await, "{policy}: no challenge in the object");
        assert_eq!(passes(&inside).await, takes_value, "{policy}");
        assert_eq!(passes(by_reference).await, takes_reference, "{policy}");
    }
}

/// The parameters of [`honest`] as claims of a request object.
fn pairs_as_claims() -> Value {
    let honest = honest();
    Value::Object(
        form_urlencoded::parse(honest.as_bytes()).map(|(name, value)| (name.into(), (&*value).into())).collect(),
    )
}

/// A narrowed request is written anew: one that can't be must not go on as it came.
#[tokio::test]
async fn a_request_that_is_too_long_to_be_narrowed_is_rejected() {
    let world = World::new(tower_dcr::mcp());
    let scope = format!("mcp:read {}", ":".repeat(1500));
    world.client(json!({ "scope": scope })).await;
    let ask = async |scope: &str| {
        let query = format!("{}&scope={scope}", without(&honest(), "scope"));
        (world.error_of(&query).await, world.authorize(&query).await.1)
    };
    let (error, reached) = ask(&format!("admin{}", "+mcp:read".repeat(6000))).await;
    assert_eq!(error, "", "each scope stays once");
    let reached = reached.unwrap();
    assert!(reached.ends_with("&scope=mcp%3Aread"), "{reached}");
    let long = format!("admin+{}", ":".repeat(1500));
    let (_, reached) = ask(&long).await;
    assert!(!reached.unwrap().contains("admin"));
    let filled = format!("{long}&x={}", "y".repeat(62_000));
    assert_eq!(ask(&filled).await, ("invalid_scope".to_owned(), None));
}

/// Each text behind a semicolon costs as much as a parameter.
#[tokio::test]
async fn texts_behind_semicolons_are_counted() {
    let world = World::new(tower_dcr::mcp());
    world.client(json!({})).await;
    for (count, error) in [(50, ""), (200, "invalid_request")] {
        let many = (0..count).map(|at| format!("x{at}")).collect::<Vec<_>>().join(";");
        assert_eq!(world.error_of(&format!("{}&y={many}", honest())).await, error, "{count}");
    }
    assert_eq!(world.error_of(&format!("{}&y=a;;b;b", honest())).await, "", "no parameter to a server of today");
    assert_eq!(world.error_of(&format!("{}&prompt=none;prompt=x", honest())).await, "invalid_request");
}

/// A preflight has no parameters and no credentials: a handler that ignores the method would serve it.
#[tokio::test]
async fn a_preflight_is_no_request() {
    let world = World::policy("gate.unknown = 'reject'");
    for (url, field, passes) in [
        ("/device", "", true),
        ("/device?lang=en", "", true),
        ("/device?scope=admin", "", false),
        ("/device?client_id=x", "", false),
        ("/device", "authorization", false),
        ("/device", "client_id", false),
    ] {
        for endpoint in [GateEndpoint::DeviceAuthorization, GateEndpoint::Authorization] {
            let request = Request::options(url).header("access-control-request-method", "POST");
            let request = if field.is_empty() { request } else { request.header(field, "Basic eDp5") };
            let (_, reached) = world.send(endpoint, request.body(Full::default()).unwrap()).await;
            assert_eq!(reached.is_some(), passes, "{endpoint:?} {url} {field}");
        }
    }
}

/// RFC 6749 section 3.2: a token request is a POST. A handler that ignores the method reads the URL.
#[tokio::test]
async fn clients_put_no_parameters_into_a_url_without_a_body() {
    let world = World::new(tower_dcr::mcp());
    world.client(json!({})).await;
    for (query, passes) in [
        ("", true),
        ("x=1", true),
        ("client_id=app-1", false),
        ("grant_type=authorization_code&code=x&client_id=app-1&code_verifier=y", false),
        ("client_secret=s", false),
        ("scope=admin", false),
        ("Client.Id=app-1", false),
    ] {
        let request = Request::get(format!("/token?{query}")).header("authorization", "Bearer t");
        let (_, reached) = world.send(GateEndpoint::Introspection, request.body(Full::default()).unwrap()).await;
        assert_eq!(reached.is_some(), passes, "{query}");
        for endpoint in [GateEndpoint::Token, GateEndpoint::PushedAuthorization, GateEndpoint::Revocation] {
            let request = Request::get(format!("/token?{query}")).body(Full::default()).unwrap();
            let (read, reached) = world.send(endpoint, request).await;
            assert!(passes || reached.is_none(), "{endpoint:?} {query}: {:?}", read.json());
        }
    }
}

/// A POST has a query and a body, and each of them may be the whole request to some server.
#[tokio::test]
async fn each_part_that_may_be_the_request_is_checked() {
    let world = World::new(tower_dcr::mcp());
    world.client(json!({})).await;
    let (whole, bare) = (honest(), without(&honest(), "code_challenge"));
    let step = "csrf=1&decision=allow&scope=mcp%3Aread&scope=mcp%3Awrite&code=123456&state[]=ny";
    let rows = [
        (whole.as_str(), "", true, "the request is in the URL"),
        ("", whole.as_str(), true, "it is in the body"),
        (&whole, &whole, true, "a form without an action repeats it"),
        (&whole, step, true, "a step of a consent form has parameters of its own"),
        ("client_id=app-1", step, true, "and may name the client only"),
        ("client_id=app-1", "decision=allow&scope=on", true, "and boxes of any value"),
        ("", "client_id=app-1&redirect_uri=https%3A%2F%2Fapp.example.com%2Fcb&decision=allow", false, "without a type"),
        (&bare, "", false, "the URL has no challenge"),
        ("", &bare, false, "nor has the body"),
        (&whole, &bare, false, "a server that reads the body finds none"),
        (&bare, &whole, false, "a server that reads the URL finds none"),
        ("client_id=app-1", &bare, false, "a server may take both"),
        (&whole, "code_challenge_method=plain", false, "a server that prefers the body finds plain"),
        (&whole, "response_type=token", false, "or another type"),
        (&whole, "code_challenge=&code_challenge_method=&x=1", false, "a server that merges them finds an empty one"),
        (&whole, "code_challenge_method=&x=1", false, "or takes the default, plain"),
        ("x=1&x=2", &format!("{whole}&code_challenge="), false, "an oddity in the URL hides none in the body"),
        ("State=", &whole.replace("code_challenge_method", "code.challenge_method"), false, "of any kind"),
        ("State=", "client_id=app-1&response.type=code&x=y", false, "a type that PHP reads"),
        ("client_id=app-1", &format!("x=y&code_challenge={CHALLENGE}"), false, "a challenge without a method is plain"),
        (
            "scope=mcp:read&x=y;scope=admin",
            &without(&whole, "scope"),
            false,
            "a scope behind a semicolon can't be removed",
        ),
    ];
    for (query, body, passes, reason) in rows {
        let request = Request::post(format!("/authorize?{query}"));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let request = request.body(Full::from(body.to_owned())).unwrap();
        let (read, reached) = world.send(GateEndpoint::Authorization, request).await;
        assert_eq!(reached.is_some(), passes, "{reason}: {:?}", read.json());
    }
}

#[tokio::test]
async fn the_response_is_the_one_that_was_registered() {
    let world = World::new(tower_dcr::mcp());
    world.client(json!({})).await;
    let request = honest();
    for (query, error) in [
        (with(&request, "response_type=token"), "unauthorized_client"),
        (with(&request, "response_type=code%20id_token"), "unauthorized_client"),
        (without(&request, "response_type"), "invalid_request"),
        (with(&request, "response_mode=query"), ""),
        (with(&request, "response_mode=form_post"), ""),
        (with(&request, "response_mode=web_message"), "invalid_request"),
        (with(&request, "response_mode=jwt"), "invalid_request"),
        (with(&request, "response_mode=Query"), "invalid_request"),
    ] {
        assert_eq!(world.error_of(&query).await, error, "{query}");
    }

    let hybrid = "extends = 'oauth'\n[metadata]\ntoken_endpoint_auth_method.one_of = ['none', 'client_secret_basic']\n\
                  [metadata.grants]\ngrant_types = ['authorization_code', 'implicit']\n\
                  response_types = ['code', 'code id_token']\n[gate.rules]\nresponse_type = 'reject'\n\
                  response_mode = 'reject'\npkce = 'reject'";
    let world = World::policy(hybrid);
    let types = json!({ "response_types": ["code id_token"], "grant_types": ["authorization_code", "implicit"] });
    world.client(types).await;
    for (query, error) in [
        (with(&request, "response_type=id_token%20code"), ""),
        (with(&request, "response_type=code"), "unauthorized_client"),
        (with(&with(&request, "response_type=code%20id_token"), "response_mode=query"), "invalid_request"),
        (with(&with(&request, "response_type=code%20id_token"), "response_mode=fragment"), ""),
    ] {
        assert_eq!(world.error_of(&query).await, error, "{query}");
    }
}

#[tokio::test]
async fn a_redirect_uri_is_required_where_several_are_registered() {
    let world = World::new(tower_dcr::mcp());
    world.client(json!({ "redirect_uris": [CALLBACK, "https://app.example.com/other"] })).await;
    assert_eq!(world.error_of(&honest()).await, "");
    assert_eq!(world.error_of(&without(&honest(), "redirect_uri")).await, "invalid_request");
    let foreign = with(&honest(), "redirect_uri=https%3A%2F%2Fevil.example.net%2Fcb");
    assert_eq!(world.error_of(&foreign).await, "invalid_client");
}

#[tokio::test]
async fn parameters_are_not_repeated() {
    let world = World::new(tower_dcr::mcp());
    world.client(json!({})).await;
    let request = honest();
    for (query, error) in [
        (format!("{request}&resource=https%3A%2F%2Fother.example.com"), ""),
        (format!("{request}&state=abc"), "invalid_request"),
        (format!("{request}&prompt=none&prompt=login"), "invalid_request"),
        (format!("{request}&audience=a&audience=b"), "invalid_request"),
        (format!("{request}&scope[]=admin"), "invalid_request"),
        (format!("{request}&prompt=consent&prompt%5B%5D=none"), "invalid_request"),
        (format!("{request}&max_age=1&max.age=9"), "invalid_request"),
        (format!("{request}&login_hint=a&Login-Hint=b"), "invalid_request"),
        (format!("{request}&prompt=consent&prompted=none"), ""),
    ] {
        assert_eq!(world.error_of(&query).await, error, "{query}");
    }
    let exchange = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange";
    let twice =
        "client_id=app-1&audience=a&audience=b&resource=https%3A%2F%2Fa.example&resource=https%3A%2F%2Fb.example";
    let policy = "extends = 'oauth'\n[metadata]\ntoken_endpoint_auth_method.one_of = ['none']\n[metadata.grants]\n\
                  grant_types = ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:token-exchange']\n\
                  [gate.rules]\nrepeated_parameter = 'reject'";
    let world = World::policy(policy);
    world.client(json!({})).await;
    assert_eq!(world.token_error(&format!("grant_type={exchange}&{twice}")).await, "", "RFC 8693 section 2.1");
    assert_eq!(world.token_error(&format!("grant_type=refresh_token&{twice}")).await, "invalid_request");
    let respelled = format!("grant_type={exchange}&client_id=app-1&audience=a&audience[]=b");
    assert_eq!(world.token_error(&respelled).await, "invalid_request");
    let aside = form("").uri("/token?scope=admin");
    let body = "grant_type=refresh_token&refresh_token=r&client_id=app-1";
    let (read, reached) = world.send(GateEndpoint::Token, aside.body(Full::from(body)).unwrap()).await;
    assert!(reached.is_none() && read.json()["error"] == "invalid_request", "the URL has a parameter");
    for (query, passes) in
        [("audience=evil", false), ("Subject.Token=u", false), ("x=2", false), ("policy=sign-in", true)]
    {
        let request = form("").uri(format!("/token?{query}")).body(Full::from(format!("{body}&x=1"))).unwrap();
        let (_, reached) = world.send(GateEndpoint::Token, request).await;
        assert_eq!(reached.is_some(), passes, "{query}");
    }
}

/// A page puts the parameters of the request into hidden fields, and boxes of one name beside them.
#[tokio::test]
async fn forms_may_repeat_fields_of_their_own() {
    let world = World::new(tower_dcr::mcp());
    world.client(json!({})).await;
    let honest = honest();
    let post = async |query: &str, body: String| {
        let request = Request::post(format!("/authorize?{query}"));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        world.send(GateEndpoint::Authorization, request.body(Full::from(body)).unwrap()).await.1.is_some()
    };
    for own in ["scopes=a&scopes=b", "scopes[]=a&scopes[]=b", "allow=0&allow=1", "csrf=1&consent.read=1&consent.read=0"]
    {
        assert!(post("", format!("{honest}&{own}")).await, "{own}");
        assert!(post("client_id=app-1", own.to_owned()).await, "{own}");
        assert!(post(&honest, own.to_owned()).await, "{own}");
        // A client has no boxes.
        let direct = format!("{honest}&{}", own.replace(['[', ']'], ""));
        assert!(world.authorize(&direct).await.1.is_none(), "{own}");
        assert!(!post(&direct, "x=1".into()).await, "{own}");
    }
    for name in [
        "state",
        "scope",
        "code_challenge",
        "response_type",
        "nonce",
        "prompt",
        "max_age",
        "login_hint",
        "claims",
        "acr_values",
        "id_token_hint",
        "authorization_details",
        "dpop_jkt",
        "audience",
        "ui_locales",
        "display",
        "iss",
        "Nonce",
        "max-age",
        "nonce[]",
        "scope[]",
        "client_id",
        "redirect_uri",
    ] {
        let value = if name == "client_id" { "app-1" } else { "x" };
        let repeated = format!("{honest}&{name}={value}&{name}={value}");
        assert!(!post("", repeated.clone()).await, "{name} in a form");
        let escaped = repeated.replace('[', "%5B").replace(']', "%5D");
        assert!(world.authorize(&escaped).await.1.is_none(), "{name} in a URL");
    }
    // A step that is no request, to any server.
    assert!(post(&honest, "decision=allow&audience=a&audience=b".into()).await);
    let push = form("").uri("/par").body(Full::from(format!("{honest}&scopes=a&scopes=b"))).unwrap();
    assert!(world.send(GateEndpoint::PushedAuthorization, push).await.1.is_none(), "no form of a browser");
}

/// A server that keeps the request in a session has forms without a client.
#[tokio::test]
async fn consent_forms_have_to_name_the_client_where_unknown_ones_are_rejected() {
    for (policy, passes) in [("gate.unknown = 'pass'", true), ("gate.unknown = 'reject'", false)] {
        let world = World::policy(policy);
        world.client(json!({})).await;
        for (query, body, passes) in [
            ("", "session=1&decision=allow", passes),
            ("session=1", "decision=allow", passes),
            ("client_id=app-1", "session=1&decision=allow", true),
            ("", "client_id=app-1&session=1&decision=allow", true),
        ] {
            let request = Request::post(format!("/authorize?{query}"));
            let request = request.header("content-type", "application/x-www-form-urlencoded");
            let request = request.body(Full::from(body)).unwrap();
            let (read, reached) = world.send(GateEndpoint::Authorization, request).await;
            assert_eq!(reached.is_some(), passes, "{policy} {query} {body}");
            assert!(
                passes
                    || (read.status(), &read.json()["error"]) == (StatusCode::BAD_REQUEST, &json!("invalid_request"))
            );
        }
    }
}

#[tokio::test]
async fn resources_are_held_to_a_list() {
    let world = World::policy("gate.resources = ['https://mcp.example.com', 'https://mcp.example.com/sse']");
    world.client(json!({})).await;
    for (resource, error) in [
        ("https://mcp.example.com", ""),
        ("https://mcp.example.com/", ""),
        ("https://mcp.example.com/sse", ""),
        ("https://mcp.example.com/sse/", "invalid_target"),
        ("https://evil.example.net/", "invalid_target"),
        ("https://mcp.example.com@evil.example.net/", "invalid_target"),
        ("mcp", "invalid_target"),
        // Other spellings of one URL to some servers, and of another one to others.
        ("https://mcp.example.com//", "invalid_target"),
        ("https:\\\\mcp.example.com", "invalid_target"),
        ("https:mcp.example.com", "invalid_target"),
        ("https://x@mcp.example.com", "invalid_target"),
        ("https://mcp.example.com\t", "invalid_target"),
        ("https://mcp.\texample.com", "invalid_target"),
        (" https://mcp.example.com", "invalid_target"),
        ("https://MCP.example.com", ""),
        ("HTTPS://mcp.example.com/sse", ""),
        ("https://mcp.example.com/SSE", "invalid_target"),
        ("https://mcp.example.com.", "invalid_target"),
        ("https://mcp.example.com:443", "invalid_target"),
        ("https://mcp.example.com:", "invalid_target"),
        ("https://mcp.example.com:+443/sse", "invalid_target"),
        ("https://mcp.example.com/x/../sse", "invalid_target"),
        ("https://mcp.example.com/./", "invalid_target"),
        ("https://mcp.example.com/%73se", "invalid_target"),
        ("https://mcp.example.com?", "invalid_target"),
        ("https://mcp.example.com#", "invalid_target"),
        ("http://mcp.example.com", "invalid_target"),
    ] {
        let query = with(&honest(), &format!("resource={}", encoded(resource)));
        assert_eq!(world.error_of(&query).await, error, "{resource}");
        let body = format!("grant_type=refresh_token&refresh_token=r&client_id=app-1&resource={}", encoded(resource));
        assert_eq!(world.token_error(&body).await, error, "{resource}");
    }
    let second = format!("{}&resource=https%3A%2F%2Fevil.example.net%2F", honest());
    assert_eq!(world.error_of(&second).await, "invalid_target", "each of them");
}

#[tokio::test]
async fn more_scope_is_removed_or_rejected() {
    let refresh = "grant_type=refresh_token&refresh_token=r&client_id=app-1";
    let world = World::new(tower_dcr::mcp());
    world.client(json!({ "scope": "mcp:read mcp:write" })).await;
    let ask = |scope: &str| with(&honest(), &format!("scope={scope}"));
    for (scope, kept) in [
        ("mcp%3Aread", Some("scope=mcp%3Aread")),
        ("mcp:read+offline_access", Some("scope=mcp:read+offline_access")),
        ("mcp%3Aread+admin", Some("scope=mcp%3Aread")),
        ("admin+mcp%3Awrite+offline_access", Some("scope=mcp%3Awrite+offline_access")),
        ("mcp%3Aread%09admin", None),
        ("MCP%3Aread", None),
        ("admin", None),
        ("admin+offline_access", None),
    ] {
        let (read, reached) = world.authorize(&ask(scope)).await;
        assert_eq!(reached.as_deref(), kept.map(|kept| with(&honest(), kept)).as_deref(), "{scope}");
        assert_eq!(read.status() == StatusCode::BAD_REQUEST, kept.is_none(), "{scope}");
        let (read, reached) = world.token(&format!("{refresh}&scope={scope}")).await;
        assert_eq!(reached, kept.map(|kept| format!("{refresh}&{kept}")), "{scope}");
        assert_eq!(read.json()["error"] == "invalid_scope", kept.is_none(), "{scope}");
    }
    // A body in JSON is not written anew.
    let body =
        json!({ "grant_type": "refresh_token", "refresh_token": "r", "client_id": "app-1", "scope": "mcp:read admin" });
    let request = Request::post("/token").header("content-type", "application/json");
    let (read, _) = world.send(GateEndpoint::Token, request.body(Full::from(body.to_string())).unwrap()).await;
    assert_eq!(read.json()["error"], "invalid_scope");

    let world = World::policy("extends = 'strict'\n[redirect_uris]\nadd_patterns = ['https://app.example.com/cb']");
    world.client(json!({ "scope": "mcp:read" })).await;
    assert_eq!(world.error_of(&ask("mcp%3Aread+admin")).await, "invalid_scope", "strict");
    assert_eq!(world.error_of(&ask("mcp%3Aread+offline_access")).await, "");

    let world = World::policy("gate.additional_scopes = ['admin']");
    world.client(json!({ "scope": "mcp:read" })).await;
    let (_, reached) = world.authorize(&ask("mcp%3Aread+admin+other")).await;
    assert!(reached.unwrap().ends_with("&scope=mcp%3Aread+admin"), "the operator's list");
}

/// The elements of an array are values, too, whether or not the rule about repetitions is on.
#[tokio::test]
async fn values_that_are_no_strings_are_compared() {
    let policy = "extends = 'oauth'\n[metadata]\ntoken_endpoint_auth_method.one_of = ['none']\n[metadata.grants]\n\
                  grant_types = ['authorization_code', 'refresh_token']\n[gate]\nresources = ['https://mcp.example.com']\n\
                  request_objects = true\n[gate.rules]\nscope = 'reject'\nauth_method = 'reject'";
    let world = World::policy(policy);
    world.client(json!({})).await;
    let token = async |more: Value| {
        let mut body = json!({ "grant_type": "refresh_token", "refresh_token": "r", "client_id": "app-1" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let request = Request::post("/token").header("content-type", "application/json");
        let request = request.body(Full::from(body.to_string())).unwrap();
        world.send(GateEndpoint::Token, request).await.0.json()["error"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(token(json!({ "resource": ["https://mcp.example.com/"], "scope": "mcp:read" })).await, "");
    assert_eq!(token(json!({ "resource": ["https://evil.example.net/"] })).await, "invalid_target");
    assert_eq!(token(json!({ "resource": { "0": "https://mcp.example.com" } })).await, "invalid_target");
    assert_eq!(token(json!({ "scope": ["mcp:read", "admin"] })).await, "invalid_scope");
    assert_eq!(token(json!({ "client_secret": ["s3cret"] })).await, "invalid_client");
    let object = |resource: Value| {
        use base64::Engine as _;
        let part = |value: Value| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({ "client_id": "app-1", "redirect_uri": CALLBACK, "resource": resource });
        let request = format!("{}.{}.c2ln", part(json!({ "alg": "ES256" })), part(claims));
        format!("{}&request={request}", without(&honest(), "resource"))
    };
    let both = json!(["https://mcp.example.com", "https://mcp.example.com/"]);
    assert_eq!(world.error_of(&object(both)).await, "", "RFC 8707 section 2.1");
    assert_eq!(world.error_of(&object(json!(["https://evil.example.net"]))).await, "invalid_target");
    // RFC 9101 section 6.3: what stands beside the object does not count.
    let strict = World::policy(&policy.replace("scope = 'reject'", "pkce = 'reject'"));
    strict.client(json!({})).await;
    assert_eq!(strict.error_of(&object(json!("https://mcp.example.com"))).await, "invalid_request");
}

#[tokio::test]
async fn without_a_registered_scope_there_is_no_limit() {
    let world = World::new(tower_dcr::mcp());
    world.register(json!({ "redirect_uris": [CALLBACK] }), json!({})).await;
    let (_, reached) = world.authorize(&with(&honest(), "scope=anything+at+all")).await;
    assert!(reached.unwrap().ends_with("&scope=anything+at+all"));
}

/// RFC 7591 section 3.2.1: the server may replace what a client asked for, and the client has what the answer says.
#[tokio::test]
async fn the_server_s_answer_counts() {
    let rules = "[gate.rules]\nscope = 'reject'\ngrant_type = 'reject'\nauth_method = 'reject'";
    let policy = format!(
        "extends = 'oauth'\n[metadata]\ntoken_endpoint_auth_method.one_of = ['none', 'client_secret_basic']\n\
         [metadata.grants]\ngrant_types = ['authorization_code', 'client_credentials']\nresponse_types = ['code']\n{rules}"
    );
    let world = World::policy(&policy);
    let document = json!({
        "redirect_uris": [CALLBACK], "scope": "read admin", "token_endpoint_auth_method": "client_secret_basic",
        "grant_types": ["authorization_code", "client_credentials"],
    });
    let answered = json!({
        "scope": "read", "grant_types": ["authorization_code"], "token_endpoint_auth_method": "client_secret_basic",
        "client_secret": "s3cret", "client_secret_expires_at": 0,
    });
    world.register(document, answered).await;
    assert_eq!(world.error_of(&with(&honest(), "scope=read+admin")).await, "invalid_scope");
    assert_eq!(world.error_of(&with(&honest(), "scope=read")).await, "");
    let basic = form("").header("authorization", "Basic YXBwLTE6czNjcmV0");
    let body = Full::from("grant_type=client_credentials");
    let (read, _) = world.send(GateEndpoint::Token, basic.body(body).unwrap()).await;
    assert_eq!(read.json()["error"], "unauthorized_client");
}

/// The same, for the other members that gates enforce.
#[tokio::test]
async fn the_server_s_answer_counts_for_modes_and_requirements() {
    const BASIC: &str = "Basic YXBwLTE6czNjcmV0";
    let client = |more: Value| {
        let mut client = json!({
            "redirect_uris": [CALLBACK], "scope": "mcp:read", "grant_types": ["authorization_code"],
            "response_types": ["code"], "token_endpoint_auth_method": "none",
        });
        client.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        client
    };
    let policy = "extends = 'oauth'\nmetadata.members.allow = ['authorization_signed_response_alg']\n\
                  metadata.token_endpoint_auth_method.one_of = ['none']\n\
                  metadata.grants = { grant_types = ['authorization_code'], response_types = ['code'] }\n\
                  gate.rules = { pushed_request = 'reject', response_mode = 'reject' }";
    let pushed = "require_pushed_authorization_requests";
    let signed = "authorization_signed_response_alg";
    let jwt = with(&honest(), "response_mode=jwt");
    for (sent, answered, query, error) in [
        (json!({}), json!({ pushed: true }), honest(), "invalid_request"),
        (json!({ pushed: true }), json!({ pushed: false }), honest(), ""),
        // An absent, empty or odd value leaves what was sent.
        (json!({ pushed: true }), json!({}), honest(), "invalid_request"),
        (json!({ pushed: true }), json!({ pushed: null }), honest(), "invalid_request"),
        (json!({ pushed: true }), json!({ pushed: "false" }), honest(), "invalid_request"),
        (json!({}), json!({ signed: "ES256" }), jwt.clone(), ""),
        (json!({}), json!({}), jwt.clone(), "invalid_request"),
        (json!({ signed: "ES256" }), json!({ signed: "" }), jwt.clone(), ""),
    ] {
        let world = World::policy(policy);
        world.register(client(sent.clone()), answered.clone()).await;
        assert_eq!(world.error_of(&query).await, error, "{sent} and {answered}");
    }
    for (sent, answered, error) in [
        ("poll", json!("push"), "unauthorized_client"),
        ("push", json!("poll"), ""),
        ("push", json!(""), "unauthorized_client"),
        ("push", json!(["poll"]), "unauthorized_client"),
    ] {
        let world = ciba(in_mode("poll", &["authorization_code", CIBA])).await;
        let mut other = client(in_mode(sent, &["authorization_code", CIBA]));
        other["redirect_uris"] = json!(["https://app.example.com/other"]);
        let answered = json!({ "client_id": "app-2", "backchannel_token_delivery_mode": answered });
        assert_eq!(world.register(other, answered.clone()).await, "app-2");
        let body = Full::from(format!("grant_type={}&auth_req_id=r", encoded(CIBA)));
        let basic = BASIC.replace("YXBwLTE6", "YXBwLTI6");
        let (read, _) =
            world.send(GateEndpoint::Token, form("").header("authorization", basic).body(body).unwrap()).await;
        assert_eq!(read.json()["error"].as_str().unwrap_or_default(), error, "{sent} and {answered}");
    }
}

/// JARM section 2.3.1: a token is in no query that the server's log can be read from.
#[tokio::test]
async fn signed_responses_with_a_token_are_in_the_query_only_if_they_are_encrypted() {
    let (signed, encrypted) = ("authorization_signed_response_alg", "authorization_encrypted_response_alg");
    let policy = format!(
        "extends = 'oauth'\n[metadata]\ntoken_endpoint_auth_method.one_of = ['none']\n\
         members.allow = ['{signed}', '{encrypted}']\n[metadata.grants]\ngrant_types = ['authorization_code', 'implicit']\n\
         response_types = ['code', 'code id_token', 'id_token', 'token']\n[gate.rules]\nresponse_type = 'reject'\n\
         response_mode = 'reject'\npkce = 'pass'"
    );
    let types = ["code", "code id_token", "id_token", "token"];
    let both = json!({ "response_types": types, "grant_types": ["authorization_code", "implicit"], signed: "ES256" });
    let mut secret = both.clone();
    secret[encrypted] = "ECDH-ES".into();
    secret["jwks_uri"] = "https://app.example.com/jwks".into();
    let mut encrypted_alone = secret.clone();
    encrypted_alone.as_object_mut().unwrap().remove(signed);
    for (client, is_encrypted) in [(both, false), (secret, true), (encrypted_alone, true)] {
        let world = World::policy(&policy);
        world.client(client).await;
        for kind in types {
            for mode in ["query.jwt", "fragment.jwt", "form_post.jwt", "jwt", "query"] {
                let query = with(&honest(), &format!("response_type={}", encoded(kind)));
                let passes = kind == "code" || (mode == "query.jwt" && is_encrypted) || !mode.starts_with("query");
                let error = if passes { "" } else { "invalid_request" };
                let query = with(&query, &format!("response_mode={mode}"));
                assert_eq!(world.error_of(&query).await, error, "{kind} in {mode}, encrypted: {is_encrypted}");
            }
        }
    }
}

#[tokio::test]
async fn grants_are_those_that_were_registered() {
    let world = World::new(tower_dcr::mcp());
    world.client(json!({ "grant_types": ["authorization_code"] })).await;
    let code = format!("grant_type=authorization_code&code=c&client_id=app-1&redirect_uri={}", encoded(CALLBACK));
    let redeemed = format!("{code}&code_verifier={VERIFIER}");
    for (body, error) in [
        (redeemed.as_str(), ""),
        ("grant_type=client_credentials&client_id=app-1", "unauthorized_client"),
        ("grant_type=refresh_token&refresh_token=r&client_id=app-1", "unauthorized_client"),
        (
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&device_code=d&client_id=app-1",
            "unauthorized_client",
        ),
        ("grant_type=password&username=u&password=p&client_id=app-1", "unsupported_grant_type"),
        ("client_id=app-1", "invalid_request"),
        ("grant_type=Authorization_Code&client_id=app-1", "unauthorized_client"),
        (&code, "invalid_request"),
        (&format!("{code}&code_verifier="), "invalid_request"),
        (&format!("{code}&code.verifier={VERIFIER}"), "invalid_request"),
        (&format!("{code}&code_verifier=short"), "invalid_grant"),
        (&format!("{code}&code_verifier={VERIFIER}%20"), "invalid_grant"),
    ] {
        assert_eq!(world.token_error(body).await, error, "{body}");
    }
    let device = form("").uri("/device").body(Full::from("client_id=app-1&scope=mcp%3Aread")).unwrap();
    let (read, _) = world.send(GateEndpoint::DeviceAuthorization, device).await;
    assert_eq!(read.json()["error"], "unauthorized_client", "the device flow was not registered either");
}

const CIBA: &str = "urn:openid:params:grant-type:ciba";

/// A JWS with these claims, signed with nothing that a server would accept.
fn jws(alg: &str, claims: &Value) -> String {
    use base64::Engine as _;
    let part = |text: &Value| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(text.to_string());
    format!("{}.{}.c2ln", part(&json!({ "alg": alg })), part(claims))
}

/// A world that offers CIBA, with a client of it.
async fn ciba(more: Value) -> World {
    let world = World::policy(&format!(
        "extends = 'strict'\n[metadata]\ntoken_endpoint_auth_method.one_of = ['client_secret_basic', 'none']\n\
         [metadata.grants]\ngrant_types = ['authorization_code', 'refresh_token', '{CIBA}']\n\
         response_types = ['code']\n[gate]\nresources = ['https://mcp.example.com']",
    ));
    world.client(more).await;
    world
}

fn in_mode(mode: &str, grants: &[&str]) -> Value {
    let mut client = json!({
        "token_endpoint_auth_method": "client_secret_basic",
        "grant_types": grants,
        "backchannel_token_delivery_mode": mode,
    });
    if mode != "poll" {
        client["backchannel_client_notification_endpoint"] = "https://app.example.com/notify".into();
    }
    client
}

/// Sends a backchannel authentication request with the secret of the client: the error, empty if it reached the server.
async fn backchannel_error(world: &World, authorization: &str, body: &str) -> String {
    let mut request = form("");
    if !authorization.is_empty() {
        request = request.header("authorization", authorization);
    }
    let request = request.body(Full::from(body.to_owned())).unwrap();
    let (read, reached) = world.send(GateEndpoint::BackchannelAuthentication, request).await;
    let error = read.json()["error"].as_str().unwrap_or_default().to_owned();
    assert_eq!(reached.is_some(), error.is_empty(), "{body}");
    error
}

/// OpenID Connect CIBA Core sections 7.1 and 7.1.1.
#[tokio::test]
async fn backchannel_requests_are_those_of_clients_of_ciba() {
    const BASIC: &str = "Basic YXBwLTE6czNjcmV0";
    let world = ciba(in_mode("poll", &["authorization_code", CIBA])).await;
    let object = |alg: &str, claims: Value| format!("request={}", jws(alg, &claims));
    let asked = json!({ "iss": "app-1", "aud": "https://as.example.com", "scope": "mcp:read", "login_hint": "a" });
    let changed = |name: &str, value: Value| {
        let mut claims = asked.clone();
        claims[name] = value;
        claims
    };
    for (authorization, body, error) in [
        (BASIC, "scope=mcp%3Aread&login_hint=a".to_owned(), ""),
        (BASIC, "client_id=app-1&scope=mcp%3Aread&login_hint=a&resource=https%3A%2F%2Fmcp.example.com".to_owned(), ""),
        // It authenticates as it registered.
        ("", "client_id=app-1&scope=mcp%3Aread&login_hint=a".to_owned(), "invalid_client"),
        (BASIC, "client_id=app-1&client_secret=s3cret&scope=mcp%3Aread".to_owned(), "invalid_request"),
        ("", "scope=mcp%3Aread&login_hint=a".to_owned(), "invalid_request"),
        // The rules about parameters.
        (BASIC, "scope=mcp%3Aadmin&login_hint=a".to_owned(), "invalid_scope"),
        (BASIC, "scope=mcp%3Aread&scope=mcp%3Awrite".to_owned(), "invalid_request"),
        (BASIC, "scope=mcp%3Aread&login_hint=a&login_hint=b".to_owned(), "invalid_request"),
        (BASIC, "scope=mcp%3Aread&resource=https%3A%2F%2Fother.example.net".to_owned(), "invalid_target"),
        // Signed requests.
        (BASIC, object("ES256", asked.clone()), ""),
        (BASIC, object("PS256", changed("resource", json!("https://mcp.example.com"))), ""),
        (BASIC, object("none", asked.clone()), "invalid_request"),
        (BASIC, object("None", asked.clone()), "invalid_request"),
        (BASIC, object("HS256", asked.clone()), "invalid_request"),
        (BASIC, object("hs256", asked.clone()), "invalid_request"),
        (BASIC, object("ES256", changed("iss", json!("another"))), "invalid_request"),
        (BASIC, object("ES256", changed("scope", json!("mcp:admin"))), "invalid_scope"),
        (BASIC, object("ES256", changed("resource", json!("https://other.example.net"))), "invalid_target"),
        (BASIC, "request=x.y.z".to_owned(), "invalid_request"),
        // There is no reference to a request.
        (BASIC, "request_uri=https%3A%2F%2Fapp.example.com%2Fr&client_id=app-1".to_owned(), "invalid_request"),
    ] {
        assert_eq!(backchannel_error(&world, authorization, &body).await, error, "{body}");
    }
    let query = Request::post("/x?scope=mcp%3Aread").header("authorization", BASIC).body(Full::default()).unwrap();
    let (_, reached) = world.send(GateEndpoint::BackchannelAuthentication, query).await;
    assert_eq!(reached, None, "parameters are in the body");
}

/// CIBA section 4: the grant type of poll and ping; the mode of push. Section 11: no token request in push mode.
#[tokio::test]
async fn the_delivery_mode_decides_about_the_grant_of_ciba() {
    const BASIC: &str = "Basic YXBwLTE6czNjcmV0";
    let request = "scope=mcp%3Aread&login_hint=a";
    let token = format!("grant_type={}&auth_req_id=r", encoded(CIBA));
    for (client, at_backchannel, at_token) in [
        (in_mode("poll", &["authorization_code", CIBA]), "", ""),
        (in_mode("ping", &["authorization_code", CIBA]), "", ""),
        (in_mode("push", &["authorization_code", CIBA]), "", "unauthorized_client"),
        (in_mode("push", &["authorization_code"]), "", "unauthorized_client"),
        (
            json!({ "token_endpoint_auth_method": "client_secret_basic", "grant_types": ["authorization_code"] }),
            "unauthorized_client",
            "unauthorized_client",
        ),
    ] {
        let world = ciba(client.clone()).await;
        assert_eq!(backchannel_error(&world, BASIC, request).await, at_backchannel, "{client}");
        let body = form("").header("authorization", BASIC).body(Full::from(token.clone())).unwrap();
        let (read, _) = world.send(GateEndpoint::Token, body).await;
        assert_eq!(read.json()["error"].as_str().unwrap_or_default(), at_token, "{client}");
    }
    // The device grant is another one.
    let device = "urn:ietf:params:oauth:grant-type:device_code";
    let world = World::policy(&format!(
        "extends = 'strict'\nmetadata.grants = {{ grant_types = ['authorization_code', '{device}'], response_types = ['code'] }}"
    ));
    world.client(json!({ "grant_types": ["authorization_code", device] })).await;
    assert_eq!(backchannel_error(&world, "", "client_id=app-1&scope=mcp%3Aread").await, "unauthorized_client");
}

/// CIBA section 7.1: a server that made the client a public one is not asked.
#[tokio::test]
async fn a_public_client_does_not_reach_the_backchannel_endpoint() {
    let world = ciba(in_mode("poll", &["authorization_code", CIBA])).await;
    let mut changed = in_mode("poll", &["authorization_code", CIBA]);
    changed["redirect_uris"] = json!(["https://app.example.com/other"]);
    let answered = json!({ "client_id": "app-2", "token_endpoint_auth_method": "none" });
    assert_eq!(world.register(changed, answered).await, "app-2");
    let body = "client_id=app-2&scope=mcp%3Aread&login_hint=a";
    assert_eq!(backchannel_error(&world, "", body).await, "unauthorized_client");
}

/// A client in push mode gets its tokens elsewhere, and must not expire as one that got none.
#[tokio::test]
async fn a_client_in_push_mode_is_used_at_the_backchannel_endpoint() {
    const BASIC: &str = "Basic YXBwLTE6czNjcmV0";
    type Answer = fn() -> Response<Full<Bytes>>;
    let accepted: Answer = || Response::new(r#"{"auth_req_id":"r","expires_in":120}"#.into());
    let failed: Answer = || Response::new(r#"{"error":"unknown_user_id"}"#.into());
    for (mode, answer, is_used) in
        [("push", accepted, true), ("push", failed, false), ("poll", accepted, false), ("ping", accepted, false)]
    {
        let mut world = ciba(in_mode(mode, &["authorization_code", CIBA])).await;
        world.answer = answer;
        let request = form("").header("authorization", BASIC);
        let request = request.body(Full::from("scope=mcp%3Aread&login_hint=a")).unwrap();
        let (read, reached) = world.send(GateEndpoint::BackchannelAuthentication, request).await;
        assert!(reached.is_some() && read.status() == StatusCode::OK, "{mode}");
        assert_eq!(read.header("cache-control"), Some("no-store"));
        let records = world.registrar.records("app-1").await.unwrap();
        assert_eq!(records[0].last_used_at.is_some(), is_used, "{mode}");
    }
}

#[tokio::test]
async fn clients_authenticate_as_they_registered() {
    const BASIC: &str = "Basic YXBwLTE6czNjcmV0";
    const EMPTY: &str = "Basic YXBwLTE6";
    let jws = |alg: &str| {
        use base64::Engine as _;
        let part = |text: String| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(text);
        let claims = part(json!({ "iss": "app-1", "sub": "app-1", "aud": "x" }).to_string());
        format!("{}.{claims}.c2ln", part(json!({ "alg": alg }).to_string()))
    };
    let assertion = |alg: &str| {
        let kind = encoded("urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        format!("&client_assertion_type={kind}&client_assertion={}", jws(alg))
    };
    let (mac, signed) = (assertion("HS256"), assertion("ES256"));
    let both = format!("&client_secret=s3cret{signed}");
    let rows: [(&str, &str, &str, &[&str]); 8] = [
        ("nothing", "", "", &["none", "tls_client_auth"]),
        ("an empty secret", "", "&client_secret=", &["none", "tls_client_auth"]),
        ("an empty password", EMPTY, "", &["none", "tls_client_auth"]),
        ("Basic", BASIC, "", &["client_secret_basic", "client_secret_post"]),
        ("a secret in the body", "", "&client_secret=s3cret", &["client_secret_basic", "client_secret_post"]),
        ("a MAC", "", &mac, &["client_secret_jwt"]),
        ("a signature", "", &signed, &["private_key_jwt"]),
        ("a secret and a signature", "", &both, &[]),
    ];
    for method in
        ["none", "client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "tls_client_auth"]
    {
        for exact in [false, true] {
            let world = World::policy(&format!(
                "extends = 'oauth'\n[metadata]\ntoken_endpoint_auth_method.one_of = ['{method}']\n[metadata.grants]\n\
                 grant_types = ['authorization_code', 'refresh_token']\n[gate]\nexact_auth_method = {exact}\n[gate.rules]\n\
                 auth_method = 'reject'"
            ));
            let keys = json!({ "keys": [{
                "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
            }] });
            let mut client = json!({ "token_endpoint_auth_method": method });
            if method == "private_key_jwt" {
                client["jwks"] = keys;
            }
            if method == "tls_client_auth" {
                client["tls_client_auth_subject_dn"] = "CN=app".into();
            }
            world.client(client).await;
            for (what, authorization, more, fitting) in rows {
                let mut request = form("");
                if !authorization.is_empty() {
                    request = request.header("authorization", authorization);
                }
                let body = format!("grant_type=refresh_token&refresh_token=r&client_id=app-1{more}");
                let (read, reached) = world.send(GateEndpoint::Token, request.body(Full::from(body)).unwrap()).await;
                let fits = fitting.contains(&method)
                    && (!exact
                        || !method.starts_with("client_secret_")
                        || (what == "Basic") == (method == "client_secret_basic"));
                assert_eq!(reached.is_some(), fits, "{method}, exact {exact}: {what} {:?}", read.json());
                let expected = if what.contains("and") { "invalid_request" } else { "invalid_client" };
                assert!(fits || read.json()["error"] == expected, "{method}: {what} {:?}", read.json());
            }
        }
    }
}

/// RFC 9700 section 4.11.2: anyone can register a redirect URI, so that errors are no redirects for everyone.
#[tokio::test]
async fn errors_go_back_only_to_clients_that_are_known() {
    let bad = |query: &str| without(query, "code_challenge");
    let world = World::new(tower_dcr::mcp());
    world.client(json!({})).await;
    let (read, _) = world.authorize(&bad(&honest())).await;
    assert_eq!((read.status(), read.header("location")), (StatusCode::BAD_REQUEST, None), "a page");
    let page = String::from_utf8(read.body.to_vec()).unwrap();
    let link =
        "href=\"https://app.example.com/cb?error=invalid_request&amp;error_description=code_challenge+is+missing";
    assert!(page.contains(link) && page.contains("<strong>app.example.com</strong>"), "{page}");
    assert!(page.contains("&amp;state=xyz\""), "{page}");
    let program = Request::get(format!("/authorize?{}", bad(&honest()))).body(Full::default()).unwrap();
    let (read, _) = world.send(GateEndpoint::Authorization, program).await;
    assert_eq!((read.status(), &read.json()["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_request")));
    assert!(!read.json().to_string().contains("example.com"), "nothing of the request");

    let world = World::policy("lifecycle.approval = '2days'");
    world.client(json!({})).await;
    let (read, _) = world.authorize(&bad(&honest())).await;
    assert_eq!((read.status(), read.header("location")), (StatusCode::BAD_REQUEST, None), "not approved yet");
    world.registrar.approve("app-1", "alice", "known").await.unwrap();
    let (read, _) = world.authorize(&bad(&honest())).await;
    assert_eq!(read.status(), StatusCode::FOUND, "an operator approved it");
    let location = read.header("location").unwrap();
    let expected = "https://app.example.com/cb?error=invalid_request&error_description=code_challenge+is+missing";
    assert!(location.starts_with(expected) && location.ends_with("&state=xyz"), "{location}");
    for query in [
        with(&bad(&honest()), "redirect_uri=https%3A%2F%2Fevil.example.net%2Fcb"),
        with(&bad(&honest()), "client_id=unknown"),
        format!("{}&redirect_uri=https%3A%2F%2Fapp.example.com%2Fcb", bad(&honest())),
    ] {
        let (read, _) = world.authorize(&query).await;
        assert_eq!(read.header("location"), None, "{query}");
    }
    let fragment = with(&bad(&honest()), "response_mode=fragment");
    let (read, _) = world.authorize(&fragment).await;
    assert!(read.header("location").unwrap().starts_with("https://app.example.com/cb#error=invalid_request&"));
    let (read, _) = world.authorize(&with(&bad(&honest()), "response_mode=form_post")).await;
    assert_eq!((read.status(), read.header("location")), (StatusCode::BAD_REQUEST, None), "a form is no redirect");

    let world = World::new(tower_dcr::mcp());
    let claude = json!({ "client_name": "Claude", "redirect_uris": ["https://claude.ai/api/mcp/auth_callback"] });
    world.client(claude).await;
    let query = with(&bad(&honest()), "redirect_uri=https%3A%2F%2Fclaude.ai%2Fapi%2Fmcp%2Fauth_callback");
    let (read, _) = world.authorize(&query).await;
    assert_eq!(read.status(), StatusCode::FOUND, "its identity is verified");
}

/// The value of a list is named by its index, in a policy file and in code, and the caller's line in code.
#[test]
fn errors_about_values_of_gates_name_the_key_and_the_caller() {
    for (key, list, wrong, kind) in [
        ("resources", true, "b", "not a resource: "),
        ("additional_scopes", true, "a b", "not one scope: "),
        ("anonymous_grants", true, "a b", "not one grant type: "),
        ("response_modes", true, "a b", "not one response mode: "),
        ("issuer", false, "http://as.example.com", "not an issuer: write an https URL, or http on a loopback host"),
    ] {
        let value = if list { json!(["urn:x", wrong]) } else { json!(wrong) };
        let name = if list { format!("{key}[1]") } else { key.to_owned() };
        let error = json!({ "gate": { key: value.clone() } }).to_string().parse::<Preset>().unwrap_err();
        assert_eq!(error.mistakes[0].key, format!("gate.{name}"), "{error}");
        let set = move |gate: &mut GateSettings| {
            let list = || Some(vec!["urn:x".to_owned(), wrong.to_owned()]);
            match key {
                "resources" => gate.resources = list(),
                "additional_scopes" => gate.additional_scopes = list(),
                "anonymous_grants" => gate.anonymous_grants = list(),
                "response_modes" => gate.response_modes = list(),
                _ => gate.issuer = Some(wrong.to_owned()),
            }
        };
        let (message, file) = panic_of(move || {
            let gate = GateLayer::new(GateEndpoint::Authorization, Registrar::new(MemoryLedger::default()));
            let _gate = gate.map_settings(set);
        });
        let expected = format!("GateSettings::{name}: {wrong:?} is {kind}");
        assert!(message.starts_with(&expected) && error.to_string().contains(kind), "{message} {error}");
        assert!(file.ends_with("gate_rules.rs"), "{file}");
    }
}

/// Returns the message of a panic and the file that it names, from a thread of its own: other tests may panic meanwhile.
fn panic_of(panics: impl FnOnce() + Send + 'static) -> (String, String) {
    let found = Arc::new(Mutex::new(String::new()));
    let before = std::panic::take_hook();
    let noted = Arc::clone(&found);
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name() == Some("panics") {
            info.location().unwrap().file().clone_into(&mut noted.lock().unwrap());
        } else {
            before(info);
        }
    }));
    let thread = std::thread::Builder::new().name("panics".to_owned()).spawn(panics).unwrap();
    let message = thread.join().unwrap_err().downcast_ref::<String>().unwrap().clone();
    let file = found.lock().unwrap().clone();
    (message, file)
}

const ISSUER: &str = "https://as.example.com";
/// A policy without rules of gates.
const OAUTH: &str = "extends = 'oauth'\n[metadata]\ntoken_endpoint_auth_method.one_of = ['none']\n[metadata.grants]\n\
                     grant_types = ['authorization_code', 'refresh_token']\n";

impl World {
    /// A server with an issuer.
    fn with_issuer(more: &str) -> Self {
        Self::policy(&format!("{more}\n[gate]\nissuer = '{ISSUER}'"))
    }

    /// Sends a request to a server that answers with a redirect. Returns the redirect as the browser gets it.
    async fn redirected(&self, request: Request<Full<Bytes>>, location: &'static str) -> String {
        let gate = self.preset.gate(GateEndpoint::Authorization, self.registrar.clone());
        let handler = service_fn(move |_: Request<_>| async move {
            let location = http::HeaderValue::from_bytes(location.as_bytes()).unwrap();
            let response = Response::builder().status(303).header("location", location);
            Ok::<_, Infallible>(response.body(Full::<Bytes>::default()).unwrap())
        });
        let read = send(&gate.layer(handler), request).await;
        assert_eq!(read.status(), StatusCode::SEE_OTHER, "{:?}", String::from_utf8_lossy(&read.body));
        read.header("location").unwrap().to_owned()
    }
}

fn asks(query: &str) -> Request<Full<Bytes>> {
    Request::get(format!("/authorize?{query}")).body(Full::default()).unwrap()
}

/// A step of a consent form of a server that keeps the request in its session.
fn step(body: &'static str) -> Request<Full<Bytes>> {
    form("").uri("/authorize").body(Full::from(body)).unwrap()
}

/// RFC 9207 section 2: each response has it once. Everything but a redirect to the client is another page.
#[tokio::test]
async fn answers_name_the_issuer() {
    let world = World::with_issuer("");
    world.client(json!({})).await;
    let iss = "iss=https%3A%2F%2Fas.example.com";
    for (location, expected) in [
        ("https://app.example.com/cb?code=c&state=xyz", Some("https://app.example.com/cb?code=c&state=xyz&")),
        ("https://app.example.com/cb?error=access_denied", Some("https://app.example.com/cb?error=access_denied&")),
        ("https://app.example.com/cb?state=xyz", Some("https://app.example.com/cb?state=xyz&")),
        ("https://app.example.com/cb", Some("https://app.example.com/cb?")),
        ("https://app.example.com/cb#id_token=t", Some("https://app.example.com/cb#id_token=t&")),
        ("https://app.example.com:443/%63b?code=c", Some("https://app.example.com:443/%63b?code=c&")),
        // A server that has another issuer, or writes the state as it came.
        ("https://app.example.com/cb?code=c&iss=x", Some("https://app.example.com/cb?code=c&")),
        ("https://app.example.com/cb?iss=x&code=c&state=a&iss=b", Some("https://app.example.com/cb?code=c&state=a&")),
        ("https://app.example.com/cb?code=c&state=a&%69ss=b", Some("https://app.example.com/cb?code=c&state=a&")),
        ("https://app.example.com/cb?code=c&state=a&iss[]=b", Some("https://app.example.com/cb?code=c&state=a&")),
        (
            "https://app.example.com/cb?code=c&state=a&iss%5B0%5D=b&ISS=b",
            Some("https://app.example.com/cb?code=c&state=a&"),
        ),
        ("https://app.example.com/cb?code=c&state=a;iss=b", Some("https://app.example.com/cb?code=c&state=a%3Biss=b&")),
        ("https://app.example.com/cb?code=c&state=a;b", Some("https://app.example.com/cb?code=c&state=a;b&")),
        (
            "https://app.example.com/cb?code=c&state=\u{fc}&iss=b",
            Some("https://app.example.com/cb?code=c&state=%C3%BC&"),
        ),
        (
            "https://app.example.com/cb#access_token=t&state=a&iss=b",
            Some("https://app.example.com/cb#access_token=t&state=a&"),
        ),
        ("https://app.example.com/cb?iss=b#access_token=t", Some("https://app.example.com/cb?#access_token=t&")),
        ("/login?error=1", None),
        ("https://as.example.com/login?error=1", None),
        ("https://as.example.com/cb?code=c", None),
        ("https://idp.example.net/authorize?state=1", None),
        ("https://app.example.com/other?code=c", None),
        ("https://app.example.com.evil.example/cb?code=c", None),
        ("https://app.example.com/cb?response=jwt", None),
    ] {
        let expected = expected.map_or_else(|| location.to_owned(), |start| format!("{start}{iss}"));
        assert_eq!(world.redirected(asks(&honest()), location).await, expected);
    }
    for (location, expected) in [
        (
            "https://app.example.com/cb?code=c#_=_",
            "https://app.example.com/cb?code=c&iss=https%3A%2F%2Fas.example.com#_=_",
        ),
        // The state of the request: a client of the code flow reads the query.
        (
            "https://app.example.com/cb?code=c&state=a#code=d&iss=b",
            "https://app.example.com/cb?code=c&state=a&iss=https%3A%2F%2Fas.example.com#code=d",
        ),
        ("https://app.example.com/cb?response=jwt&iss=b", "https://app.example.com/cb?response=jwt"),
    ] {
        assert_eq!(world.redirected(asks(&honest()), location).await, expected);
    }
}

/// Also where the client is at the issuer's own origin, and where the request does not say where the answer goes.
#[tokio::test]
async fn each_client_gets_the_issuer() {
    let iss = "iss=https%3A%2F%2Fas.example.com";
    let own = World::with_issuer("");
    own.client(json!({ "redirect_uris": ["https://as.example.com/app/cb"] })).await;
    let query = with(&honest(), "redirect_uri=https%3A%2F%2Fas.example.com%2Fapp%2Fcb");
    let query = query.as_str();
    let native = World::with_issuer("");
    native.client(json!({ "redirect_uris": ["cursor://anysphere.cursor-mcp/oauth/callback"] })).await;
    let of_cursor = with(&honest(), "redirect_uri=cursor%3A%2F%2Fanysphere.cursor-mcp%2Foauth%2Fcallback");
    let slashes = World::with_issuer("");
    slashes.client(json!({ "redirect_uris": ["com.example.app:///cb"] })).await;
    let of_slashes = with(&honest(), "redirect_uri=com.example.app%3A%2F%2F%2Fcb");
    let loopback = World::with_issuer("");
    loopback.client(json!({ "redirect_uris": ["http://127.0.0.1/cb", "http://127.0.0.1/"] })).await;
    let port = with(&honest(), "redirect_uri=http%3A%2F%2F127.0.0.1%3A5000%2Fcb");
    let bare = without(&honest(), "redirect_uri");
    let unknown = with(&honest(), "client_id=unknown");
    for (world, request, location, is_response) in [
        (&own, asks(query), "https://as.example.com/app/cb?code=c", true),
        (&own, asks(query), "/app/cb?error=access_denied", true),
        (&own, asks(query), "/login?error=1&code=2&state=3", false),
        (&own, asks(&without(query, "redirect_uri")), "https://as.example.com/app/cb?code=c", true),
        (&own, step("client_id=app-1&decision=allow"), "https://as.example.com/app/cb?code=c", true),
        (&own, step("decision=allow"), "https://as.example.com/app/cb?code=c", true),
        (&own, step("decision=deny"), "https://as.example.com/app/cb?error=access_denied&state=s", true),
        (&own, step("password=x"), "/login?error=1", false),
        (&own, step("password=x"), "https://as.example.com/login?error=1", false),
        (&own, step("decision=allow"), "https://app.example.net/cb?code=c", true),
        (&own, step("decision=deny"), "com.example.app:/cb?error=access_denied", true),
        (&own, step("decision=allow"), "https://idp.example.net/authorize?client_id=1&state=2", false),
        (&native, asks(&of_cursor), "cursor://anysphere.cursor-mcp/oauth/callback?code=c", true),
        (&native, asks(&of_cursor), "cursor://anysphere.cursor-mcp/oauth/other?code=c", false),
        // As Python's `urlunparse` writes it.
        (&slashes, asks(&of_slashes), "com.example.app:/cb?code=c", true),
        (&slashes, asks(&of_slashes), "com.example.app:///cb?code=c", true),
        (&slashes, asks(&of_slashes), "com.example.app:///other?code=c", false),
        (&loopback, asks(&port), "http://127.0.0.1:5000/cb?code=c", true),
        (&loopback, asks(&port), "http://127.0.0.1:5001/cb?code=c", false),
        (&loopback, step("client_id=app-1&decision=allow"), "http://127.0.0.1:5000/cb?code=c", true),
        (&native, asks(&unknown), "https://app.example.com/cb?code=c", true),
        (&native, asks(&without(&unknown, "redirect_uri")), "https://app.example.com/cb?code=c", true),
        (&native, asks(&with(&bare, "client_id=app-1")), "cursor://anysphere.cursor-mcp/oauth/callback?code=c", true),
    ] {
        let expected = if is_response { format!("{location}&{iss}") } else { location.to_owned() };
        let (method, uri) = (request.method().clone(), request.uri().clone());
        assert_eq!(world.redirected(request, location).await, expected, "{method} {uri}");
    }
}

/// RFC 9207 section 2.4: a client that reads the announcement rejects a response without the parameter. Of two, it may take the
/// wrong one.
#[tokio::test]
async fn responses_without_a_place_for_the_issuer_are_not_asked_for() {
    let strict = "extends = 'strict'\nredirect_uris.add_patterns = ['https://app.example.com/cb']";
    for policy in ["", strict, OAUTH] {
        let world = World::with_issuer(policy);
        world.client(json!({})).await;
        // A signed response has it inside, at a client that registered such responses.
        let is_listed = policy == OAUTH;
        for (mode, passes) in [
            ("query", true),
            ("fragment", true),
            ("jwt", is_listed),
            ("form_post.jwt", is_listed),
            ("form_post", false),
            ("web_message", false),
            ("form_postjwt", false),
        ] {
            let query = with(&honest(), &format!("response_mode={mode}"));
            assert_eq!(world.error_of(&query).await.is_empty(), passes, "{policy} {mode}");
            let (_, reached) =
                world.send(GateEndpoint::PushedAuthorization, form("").body(query.into()).unwrap()).await;
            assert_eq!(reached.is_some(), passes, "{policy} {mode}");
        }
        let second = format!("{}&response.mode=form_post", honest());
        assert_eq!(world.error_of(&second).await, "invalid_request", "{policy}: some server reads it");
        let body = form("").uri("/authorize").body("decision=allow&response_mode=form_post".into()).unwrap();
        let (_, reached) = world.send(GateEndpoint::Authorization, body).await;
        assert_eq!(reached, None, "{policy}: a step that names no client");
    }
    // Neither the operator's list nor a client that is not registered changes that.
    let listed = World::policy(&format!("gate = {{ issuer = '{ISSUER}', response_modes = ['web_message', 'query'] }}"));
    listed.client(json!({})).await;
    for query in [with(&honest(), "client_id=unknown"), honest()] {
        assert_eq!(listed.error_of(&with(&query, "response_mode=web_message")).await, "invalid_request");
        assert_eq!(listed.error_of(&query).await, "");
    }
    listed.rules();
    assert_eq!(listed.error_of(&with(&honest(), "response_mode=web_message")).await, "invalid_request");
    assert_eq!(listed.rules(), [(None, true)], "an event");
    let reported = World::policy(&format!("gate = {{ issuer = '{ISSUER}', report_only = true }}"));
    reported.client(json!({})).await;
    assert_eq!(reported.error_of(&with(&honest(), "response_mode=form_post")).await, "");
    let without_issuer = World::policy(OAUTH);
    without_issuer.client(json!({})).await;
    assert_eq!(without_issuer.error_of(&with(&honest(), "response_mode=form_post")).await, "");

    // Nor by the gate itself.
    let approved = World::with_issuer("lifecycle.approval = '2days'");
    approved.client(json!({ "redirect_uris": [format!("{CALLBACK}?iss=x")] })).await;
    approved.registrar.approve("app-1", "alice", "known").await.unwrap();
    let asked = with(&honest(), &format!("redirect_uri={}", encoded(&format!("{CALLBACK}?iss=x"))));
    let (read, _) = approved.authorize(&without(&asked, "code_challenge")).await;
    assert_eq!((read.status(), read.header("location")), (StatusCode::BAD_REQUEST, None));

    for (query, is_ambiguous) in [
        ("iss=x", true),
        ("app=1&code=x", true),
        ("error=", true),
        ("response", true),
        ("ISS=x", true),
        ("%69ss=x", true),
        ("a=1;iss=x", true),
        ("access_token=x", true),
        // Continue has one.
        ("state=1f0c6f0a", false),
        ("issuer=x&codes=y&app=1", false),
    ] {
        let callback = format!("{CALLBACK}?{query}");
        for (policy, issuer) in [("", true), (OAUTH, true), ("", false)] {
            let world = if issuer { World::with_issuer(policy) } else { World::policy(policy) };
            world.client(json!({ "redirect_uris": [callback] })).await;
            let asked = with(&honest(), &format!("redirect_uri={}", encoded(&callback)));
            let expected = if is_ambiguous && issuer { "invalid_request" } else { "" };
            assert_eq!(world.error_of(&asked).await, expected, "{query}");
            assert_eq!(world.error_of(&without(&asked, "redirect_uri")).await, expected, "{query}: the only one");
            assert_eq!(world.error_of(&with(&asked, "client_id=unknown")).await, expected, "{query}: unknown");
        }
    }
}

/// RFC 9207 section 2.4: clients compare it with the issuer of the metadata document by "simple string comparison".
#[tokio::test]
async fn an_issuer_is_announced_if_the_document_has_the_same() {
    let world = World::with_issuer("");
    let _gate = world.preset.gate(GateEndpoint::Authorization, world.registrar.clone());
    for (issuer, is_announced) in [
        (json!({ "issuer": ISSUER }), true),
        (json!({ "issuer": "https://as.example.com/" }), false),
        (json!({ "issuer": "https://AS.example.com" }), false),
        (json!({ "issuer": "https://as.example.com/tenant" }), false),
        (json!({ "issuer": 1 }), false),
        (json!({}), false),
    ] {
        let mut document = issuer.as_object().unwrap().clone();
        world.preset.amend_server_metadata(&mut document);
        let announced = document.get("authorization_response_iss_parameter_supported");
        assert_eq!(announced, is_announced.then_some(&json!(true)), "{issuer}");
    }
    let modes =
        json!({ "issuer": ISSUER, "response_modes_supported": ["query", "web_message", "form_post", "query.jwt"] });
    for (policy, kept) in [("", json!(["query", "query.jwt"])), (OAUTH, json!(["query", "query.jwt"]))] {
        let world = World::with_issuer(policy);
        let _gate = world.preset.gate(GateEndpoint::Authorization, world.registrar.clone());
        let mut document = modes.as_object().unwrap().clone();
        world.preset.amend_server_metadata(&mut document);
        assert_eq!(document["response_modes_supported"], kept, "{policy}");
    }
}

/// A gate that takes no request objects says so: some are announced by their absence from the document.
#[tokio::test]
async fn discovery_tells_of_request_objects() {
    let served = json!({
        "issuer": ISSUER,
        "request_parameter_supported": true,
        "require_request_uri_registration": true,
        "require_signed_request_object": true,
    });
    for (policy, takes) in [("gate.request_objects = true", true), ("gate.request_objects = false", false), ("", false)]
    {
        let world = World::policy(policy);
        let _gate = world.preset.gate(GateEndpoint::Authorization, world.registrar.clone());
        let mut document = served.as_object().unwrap().clone();
        world.preset.amend_server_metadata(&mut document);
        for name in ["request_parameter_supported", "require_request_uri_registration", "require_signed_request_object"]
        {
            assert_eq!(document[name], takes, "{policy} {name}");
        }
        let said = document.get("request_uri_parameter_supported");
        assert_eq!(said, (!takes).then_some(&json!(false)), "{policy}: true is the default");
        let mut document = json!({ "issuer": ISSUER }).as_object().unwrap().clone();
        world.preset.amend_server_metadata(&mut document);
        assert_eq!(document.get("request_parameter_supported"), None, "false is the default");
    }
}

#[tokio::test]
async fn discovery_says_what_gates_enforce() {
    let served = json!({
        "issuer": "https://as.example.com",
        "code_challenge_methods_supported": ["plain", "S256"],
        "response_modes_supported": ["query", "web_message", "form_post"],
    });
    let amended = |world: &World| {
        let mut document = served.as_object().unwrap().clone();
        world.preset.amend_server_metadata(&mut document);
        document
    };
    let world = World::policy("gate.require_pushed_requests = true");
    assert_eq!(amended(&world).get("require_pushed_authorization_requests"), None, "no gate yet");
    let _gate = world.preset.gate(GateEndpoint::Authorization, world.registrar.clone());
    let document = amended(&world);
    assert_eq!(document["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(document["require_pushed_authorization_requests"], true);
    assert_eq!(document["response_modes_supported"], json!(["query", "form_post"]));
    assert_eq!(document.get("authorization_response_iss_parameter_supported"), None);
    for policy in ["gate.report_only = true", "gate.rules.pkce = 'mark'", "gate.rules.pkce = 'pass'"] {
        let world = World::policy(policy);
        let _gate = world.preset.gate(GateEndpoint::Authorization, world.registrar.clone());
        assert_eq!(amended(&world)["code_challenge_methods_supported"], json!(["plain", "S256"]), "{policy}");
    }
    let world = World::policy(OAUTH);
    let signed = || {
        let document = json!({
            "issuer": ISSUER, "grant_types_supported": ["authorization_code"], "response_types_supported": ["code"],
            "token_endpoint_auth_methods_supported": ["none"], "signed_metadata": "e30.e30.e30",
        });
        let mut document = document.as_object().unwrap().clone();
        world.preset.amend_server_metadata(&mut document);
        document.contains_key("signed_metadata")
    };
    assert!(signed(), "no change");
    let _gate = world.preset.gate(GateEndpoint::Authorization, world.registrar.clone());
    assert!(!signed(), "signed values win over those that the gate changes");
    for (policy, modes) in [("", None), ("gate.response_modes = ['query']", Some(json!(["query"])))] {
        let world = World::policy(policy);
        let _gate = world.preset.gate(GateEndpoint::Authorization, world.registrar.clone());
        let mut document = json!({ "issuer": ISSUER }).as_object().unwrap().clone();
        world.preset.amend_server_metadata(&mut document);
        assert_eq!(document.get("response_modes_supported"), modes.as_ref(), "absent, both modes are announced");
    }
    let world = World::new(tower_dcr::mcp());
    let _gate = world.preset.gate(GateEndpoint::Authorization, world.registrar.clone()).map_settings(|gate| {
        gate.issuer = Some("https://as.example.com".into());
    });
    assert_eq!(amended(&world)["authorization_response_iss_parameter_supported"], true, "set in code");
}

#[tokio::test]
async fn pushed_requests_are_checked_and_can_be_required() {
    const REFERENCE: &str = "urn:ietf:params:oauth:request_uri:6esc_11ACC5bwc014ltc14eY22c";
    let world = World {
        answer: || Response::new(json!({ "request_uri": REFERENCE, "expires_in": 60 }).to_string().into()),
        ..World::policy("gate.require_pushed_requests = true")
    };
    world.client(json!({})).await;
    assert_eq!(world.error_of(&honest()).await, "invalid_request", "it is not pushed");
    let (_, reached) = world
        .send(
            GateEndpoint::Authorization,
            form("").body(Full::from(format!("{}&x=1", without(&honest(), "response_type")))).unwrap(),
        )
        .await;
    assert_eq!(reached, None, "nor is one that a server may take for a request");
    let push = async |body: String| {
        let request = form("").uri("/par").body(Full::from(body)).unwrap();
        world.send(GateEndpoint::PushedAuthorization, request).await.0
    };
    for body in [
        without(&honest(), "code_challenge"),
        with(&honest(), "response_type=token"),
        format!("{}&client_secret=x", honest()),
        format!("{}&state=again", honest()),
    ] {
        assert!(push(body.clone()).await.status().is_client_error(), "{body}");
    }
    let pushed = push(honest()).await;
    assert_eq!(pushed.header("cache-control"), Some("no-store"));
    assert_eq!(pushed.status(), StatusCode::OK);
    assert_eq!(world.error_of(&format!("client_id=app-1&request_uri={REFERENCE}")).await, "");
    let weaker = format!("client_id=app-1&request_uri={REFERENCE}&code_challenge_method=plain");
    assert_eq!(world.error_of(&weaker).await, "invalid_request", "a server may read what stands beside it");
}

/// RFC 9700 section 2.5 and RFC 6749 section 2.3.1: secrets are protected from guesses, and no stranger locks a client out.
#[tokio::test]
async fn failed_authentication_is_limited_by_client_and_source() {
    let secrets = "extends = 'oauth'\n[metadata]\ntoken_endpoint_auth_method.one_of = ['client_secret_basic']\n\
                   [metadata.grants]\ngrant_types = ['client_credentials']\nresponse_types = []\n[gate]\nfailed_authentication = '3/minute'";
    let world = World {
        answer: || {
            let response = Response::builder().status(400).header("content-type", "application/json");
            response.body(r#"{"error":"invalid_client"}"#.into()).unwrap()
        },
        ..World::policy(secrets)
    };
    let gate = world.preset.gate(GateEndpoint::Token, world.registrar.clone());
    let asked: Arc<Mutex<usize>> = Arc::default();
    let attempt = async |ip: &str, id: &str, secret: &str| {
        let asked = Arc::clone(&asked);
        let handler = service_fn(move |request: Request<ResponseBody<Full<Bytes>>>| {
            let asked = Arc::clone(&asked);
            async move {
                *asked.lock().unwrap() += 1;
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let right = body.ends_with(b"client_secret=right");
                let answer = if right { r#"{"access_token":"t"}"# } else { r#"{"error":"invalid_client"}"# };
                let stale = body.ends_with(b"client_secret=stale");
                let answer = if stale { r#"{"error":"invalid_grant"}"# } else { answer };
                let response = Response::builder().status(if right {
                    200
                } else if stale {
                    401
                } else {
                    400
                });
                Ok::<_, Infallible>(response.body(Full::<Bytes>::from(answer)).unwrap())
            }
        });
        let body = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
        let mut request = form("").body(Full::<Bytes>::from(body)).unwrap();
        request.extensions_mut().insert(SocketAddr::new(ip.parse::<IpAddr>().unwrap(), 1));
        send(&gate.layer(handler), request).await
    };
    for _ in 0..20 {
        assert_eq!(attempt("192.0.2.1", "a", "right").await.status(), StatusCode::OK, "successes are not counted");
    }
    for _ in 0..3 {
        assert_eq!(attempt("192.0.2.1", "a", "wrong").await.status(), StatusCode::BAD_REQUEST);
    }
    let before = *asked.lock().unwrap();
    let limited = attempt("192.0.2.1", "a", "right").await;
    assert_eq!((limited.status(), *asked.lock().unwrap()), (StatusCode::TOO_MANY_REQUESTS, before));
    assert!(limited.header("retry-after").is_some(), "it says when");
    let later = world.preset.gate(GateEndpoint::Token, world.registrar.clone());
    let handler = service_fn(|_: Request<ResponseBody<Full<Bytes>>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let body = "grant_type=client_credentials&client_id=a&client_secret=right";
    let mut request = form("").body(Full::<Bytes>::from(body)).unwrap();
    request.extensions_mut().insert(SocketAddr::from(([192, 0, 2, 1], 1)));
    let shared = send(&later.layer(handler), request).await;
    let wait = |read: &Read| read.header("retry-after").unwrap().parse::<u64>().unwrap();
    assert_eq!(shared.status(), StatusCode::TOO_MANY_REQUESTS, "the gates of a preset share the failures");
    assert!(wait(&shared) <= wait(&limited), "and the time");
    for _ in 0..20 {
        // A code that an attacker made up: the secret is right.
        assert_eq!(attempt("192.0.2.9", "a", "stale").await.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(attempt("192.0.2.9", "a", "right").await.status(), StatusCode::OK, "no failed authentication");
    assert_eq!(attempt("192.0.2.1", "b", "right").await.status(), StatusCode::OK, "another client");
    assert_eq!(attempt("192.0.2.2", "a", "right").await.status(), StatusCode::OK, "another source");
    for host in 0..20 {
        attempt(&format!("2001:db8::{host:x}"), "c", "wrong").await;
    }
    assert_eq!(attempt("2001:db8::ffff", "c", "right").await.status(), StatusCode::TOO_MANY_REQUESTS, "one network");
    assert_eq!(attempt("2001:db8:1::1", "c", "right").await.status(), StatusCode::OK);
}

/// The warnings about the setup.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Warnings {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct Text<'a>(&'a mut String);
        impl tracing::field::Visit for Text<'_> {
            fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                *self.0 = format!("{}{value:?}", self.0);
            }
        }
        if event.metadata().target() == "tower_dcr::setup" {
            let mut text = String::new();
            event.record(&mut Text(&mut text));
            self.0.lock().unwrap().push(text);
        }
    }
}

/// Behind a proxy that is not trusted, all clients would share one budget.
#[tokio::test]
async fn failures_behind_an_unknown_proxy_lock_nobody_out() {
    use tracing_subscriber::layer::SubscriberExt;

    let (trusts, trusts_none): (&[&str], &[&str]) = (&["10.0.0.5"], &[]);
    let field = Some(("x-forwarded-for", "198.51.100.7"));
    for (reason, trusted, peer, field, limited, warning) in [
        ("not trusted", trusts_none, Some("10.0.0.5"), field, 0, "trusted_proxies = [\"10.0.0.5\"]"),
        ("trusted, and names no client", trusts, Some("10.0.0.5"), None, 0, "forwarded_header"),
        ("no address", trusts_none, None, field, 0, "with_peer_address"),
        ("trusted", trusts, Some("10.0.0.5"), field, 18, ""),
        ("no sign of a proxy", trusts_none, Some("10.0.0.5"), None, 18, ""),
        ("an attacker wrote the header", trusts_none, Some("203.0.113.7"), field, 18, ""),
    ] {
        let warnings = Warnings::default();
        // With one dispatcher alone, other threads decide about call sites for all.
        let _another = tracing::Dispatch::new(tracing_subscriber::registry());
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(warnings.clone()));
        let preset: Preset = "gate.failed_authentication = '12/hour'".parse().unwrap();
        let world = World {
            answer: || {
                let response = Response::builder().status(401).header("content-type", "application/json");
                response.body(r#"{"error":"invalid_client"}"#.into()).unwrap()
            },
            ..World::new(preset.with_trusted_proxies(trusted).unwrap())
        };
        let mut rejected = 0;
        for _ in 0..30 {
            let request = field.iter().fold(form(""), |request, (name, value)| request.header(*name, *value));
            let body = "grant_type=refresh_token&refresh_token=r&client_id=a&client_secret=wrong";
            let mut request = request.body(Full::from(body)).unwrap();
            if let Some(peer) = peer {
                request.extensions_mut().insert(SocketAddr::new(peer.parse::<IpAddr>().unwrap(), 1));
            }
            let (read, _) = world.send(GateEndpoint::Token, request).await;
            rejected += usize::from(read.status() == StatusCode::TOO_MANY_REQUESTS);
        }
        assert_eq!(rejected, limited, "{reason}");
        let said = warnings.0.lock().unwrap().clone();
        assert_eq!(said.len(), usize::from(!warning.is_empty()), "{reason}, once: {said:?}");
        assert!(said.iter().all(|said| said.contains(warning)), "{reason}: {said:?}");
    }
}

#[tokio::test]
async fn responses_with_secrets_are_not_stored() {
    let world = World::new(tower_dcr::mcp());
    world.client(json!({})).await;
    let (read, _) = world.token("grant_type=refresh_token&refresh_token=r&client_id=app-1").await;
    assert_eq!((read.header("cache-control"), read.header("pragma")), (Some("no-store"), Some("no-cache")));
    let (read, _) = world.authorize(&honest()).await;
    assert_eq!(read.header("cache-control"), None, "a page of the server");
}

/// Each rule: a request that breaks only this one.
fn broken() -> Vec<(&'static str, GateEndpoint, String)> {
    let (request, refresh) = (honest(), "grant_type=refresh_token&refresh_token=r&client_id=app-1");
    let at = |endpoint| move |rule, request: String| (rule, endpoint, request);
    let (authorize, token) = (at(GateEndpoint::Authorization), at(GateEndpoint::Token));
    vec![
        token("auth_method", format!("{refresh}&client_secret=x")),
        token("code_verifier", "grant_type=authorization_code&code=c&client_id=app-1".into()),
        token("grant_type", "grant_type=client_credentials&client_id=app-1".into()),
        token("password_grant", "grant_type=password&client_id=app-1".into()),
        authorize("pkce", without(&request, "code_challenge")),
        authorize("pushed_request", request.clone()),
        authorize("redirect_uri", with(&request, "redirect_uri=https%3A%2F%2Fevil.example.net%2F")),
        authorize("repeated_parameter", format!("{request}&prompt=a&prompt=b")),
        authorize("resource", with(&request, "resource=https%3A%2F%2Fevil.example.net%2F")),
        authorize("response_mode", with(&request, "response_mode=web_message")),
        authorize("response_type", with(&request, "response_type=code%20token")),
        authorize("scope", with(&request, "scope=admin")),
    ]
}

fn sent(endpoint: GateEndpoint, text: &str) -> Request<Full<Bytes>> {
    if endpoint == GateEndpoint::Authorization {
        Request::get(format!("/authorize?{text}")).body(Full::default()).unwrap()
    } else {
        form("").body(Full::from(text.to_owned())).unwrap()
    }
}

#[tokio::test]
async fn each_rule_can_reject_report_or_pass() {
    let schema = Preset::file_schema();
    let keys: Vec<&String> = schema["$defs"]["GateRules"]["properties"].as_object().unwrap().keys().collect();
    let rows = broken();
    assert_eq!(rows.iter().map(|(rule, ..)| *rule).collect::<Vec<_>>(), keys, "each of them");
    for (rule, endpoint, request) in rows {
        let id = format!("gate-{}", rule.replace('_', "-"));
        // The password grant was not registered either.
        let more = if rule == "password_grant" { "gate.rules.grant_type = 'pass'\n" } else { "" };
        let more = match rule {
            "pushed_request" => "gate.require_pushed_requests = true\n",
            "resource" => "gate.resources = ['https://mcp.example.com']\n",
            _ => more,
        };
        for action in ["reject", "mark", "pass"] {
            let world = World::policy(&format!("{more}gate.rules.{rule} = '{action}'"));
            world.client(json!({})).await;
            world.rules();
            let (read, reached) = world.send(endpoint, sent(endpoint, &request)).await;
            assert_eq!(reached.is_some(), action != "reject", "{rule} {action}: {:?}", read.json());
            let expected = match action {
                "reject" => vec![(Some(id.as_str()), true)],
                "mark" => vec![(Some(id.as_str()), false)],
                _ => vec![],
            };
            assert_eq!(world.rules(), expected, "{rule} {action}");
        }
        let reports = World::policy(&format!("gate.report_only = true\n{more}"));
        reports.client(json!({})).await;
        reports.rules();
        let (_, reached) = reports.send(endpoint, sent(endpoint, &request)).await;
        assert_eq!(reached.as_deref(), Some(request.as_str()), "{rule}: reported only");
        assert_eq!(reports.rules(), [(Some(id.as_str()), false)], "{rule}: reported only");
    }
}

#[tokio::test]
async fn presets_turn_rules_on() {
    let oauth = "extends = 'oauth'\n[metadata]\ntoken_endpoint_auth_method.one_of = ['none']\n[metadata.grants]\n\
                 grant_types = ['authorization_code', 'refresh_token']\n";
    let strict = "extends = 'strict'\nredirect_uris.add_patterns = ['https://app.example.com/cb']\n";
    for (policy, enforces) in [("", true), (strict, true), (oauth, false)] {
        for (rule, endpoint, request) in broken() {
            if matches!(rule, "pushed_request" | "resource") {
                // They need a setting of their own.
                continue;
            }
            let world = World::policy(policy);
            world.client(json!({})).await;
            let (_, reached) = world.send(endpoint, sent(endpoint, &request)).await;
            assert_eq!(reached.is_none(), enforces || rule == "redirect_uri", "{policy}: {rule}");
        }
    }
    // A gate without a preset leaves the rules to its builder.
    let world = World { change: |gate| gate, ..World::new(tower_dcr::mcp()) };
    world.client(json!({})).await;
    let bare = GateLayer::new(GateEndpoint::Authorization, world.registrar.clone());
    let handler = service_fn(|_: Request<ResponseBody<Full<Bytes>>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let request = || sent(GateEndpoint::Authorization, &without(&honest(), "code_challenge"));
    assert_eq!(send(&bare.clone().layer(handler), request()).await.status(), StatusCode::OK);
    let told = bare.map_settings(|gate| gate.rules.pkce = Some(Action::Reject));
    assert_eq!(send(&told.layer(handler), request()).await.status(), StatusCode::BAD_REQUEST);
}

/// Values that no request can have, in a policy file and in code.
#[test]
fn values_that_are_none_are_configuration_errors() {
    type Set = fn(&mut GateSettings, String);
    let issuer: Set = |gate, value| gate.issuer = Some(value);
    let resources: Set = |gate, value| gate.resources = Some(vec!["https://mcp.example.com".into(), value]);
    let scopes: Set = |gate, value| gate.additional_scopes = Some(vec!["mcp:read".into(), value]);
    let modes: Set = |gate, value| gate.response_modes = Some(vec!["query".into(), value]);
    let grants: Set = |gate, value| gate.anonymous_grants = Some(vec!["urn:x:y".into(), value]);
    for (set, value, is_one) in [
        (issuer, "https://as.example.com", true),
        (issuer, "https://as.example.com/tenant", true),
        (issuer, "http://localhost:8080", true),
        (issuer, "http://as.example.com", false),
        (issuer, "https://as.example.com?x", false),
        (issuer, "https://as.example.com#x", false),
        (issuer, "as.example.com", false),
        (issuer, "", false),
        (resources, "https://mcp.example.com/mcp?x=1", true),
        (resources, "urn:example:mcp", true),
        (resources, "http://localhost:3000/mcp", true),
        (resources, "mcp.example.com", false),
        (resources, "/mcp", false),
        (resources, "//mcp.example.com", false),
        (resources, "https:", false),
        (resources, "https://", false),
        (resources, "https:mcp.example.com", false),
        (resources, "https://mcp.example.com#x", false),
        (resources, "urn:example:mcp#", false),
        (resources, "https://x@mcp.example.com", false),
        (resources, "https://mcp.example.com/a b", false),
        (resources, "https://mcp.\u{e9}xample.com", false),
        (resources, "https://*.example.com", false),
        (resources, "", false),
        (scopes, "files:write", true),
        (scopes, "https://example.com/scope", true),
        (scopes, "files:read files:write", false),
        (scopes, "files\u{e9}", false),
        (scopes, "a\\b", false),
        (scopes, "a\"b", false),
        (scopes, "", false),
        (modes, "web_message", true),
        (modes, "query.jwt", true),
        (modes, "query fragment", false),
        (modes, "query,fragment", false),
        (modes, "", false),
        (grants, "urn:ietf:params:oauth:grant-type:jwt-bearer", true),
        (grants, "a b", false),
        (grants, "", false),
    ] {
        let mut settings = GateSettings::default();
        set(&mut settings, value.to_owned());
        let policy = json!({ "gate": settings }).to_string();
        let read = policy.parse::<Preset>().map_err(|error| error.to_string());
        assert_eq!(read.is_ok(), is_one, "{policy}: {:?}", read.err());
        if let Err(error) = read {
            assert!(error.contains(&format!("{value:?} is not ")), "{error}");
            assert!(value.is_empty() || error.contains("write") || error.contains("list each"), "{error}");
        }
        let built = std::panic::catch_unwind(|| {
            let gate = GateLayer::new(GateEndpoint::Authorization, Registrar::new(MemoryLedger::default()));
            gate.map_settings(|gate| set(gate, value.to_owned()))
        });
        assert_eq!(built.is_ok(), is_one, "{policy}");
    }
}
