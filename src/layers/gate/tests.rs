//! Tests the table of endpoints: each column of a row has the consequences that it names.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{StatusCode, header};
use http_body_util::{BodyExt, Full};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;

use super::endpoint::{ALL, Loss, RejectionForm, Sender, Success, Unnamed};
use super::*;
use crate::clients::ledger::{Actor, Client, Fingerprints, Insertion, Ledger, MemoryLedger, Status, StoredResponse};
use crate::rules::Action;

const CALLBACK: &str = "https://app.example.com/cb";
const ENCODED: &str = "https%3A%2F%2Fapp.example.com%2Fcb";
const PUSHED: &str = "urn:ietf:params:oauth:request_uri:6esc_11ACC5bwc014ltc14eY22c";

/// A gate in front of a server with one response for everything.
struct World {
    ledger: MemoryLedger,
    gate: GateLayer,
    answer: (StatusCode, String),
}

/// The parts of a response that the tests use.
#[derive(Debug)]
struct Answer {
    status: u16,
    is_page: bool,
    has_challenge: bool,
    error: String,
}

impl World {
    async fn new(endpoint: GateEndpoint) -> Self {
        let ledger = MemoryLedger::default();
        insert(&ledger, "live", Status::Active).await;
        insert(&ledger, "ended", Status::Revoked).await;
        let gate = GateLayer::new(endpoint, Registrar::new(ledger.clone()));
        Self { ledger, gate, answer: (StatusCode::OK, "{}".to_owned()) }
    }

    fn answering(self, status: u16, body: &str) -> Self {
        Self { answer: (StatusCode::from_u16(status).unwrap(), body.to_owned()), ..self }
    }

    fn with(self, change: impl FnOnce(&mut GateSettings)) -> Self {
        Self { gate: self.gate.map_settings(change), ..self }
    }

    async fn send(&self, request: http::request::Builder, body: &str) -> Answer {
        let (status, text) = self.answer.clone();
        let handler = service_fn(move |_: Request<_>| {
            let mut response = Response::new(Full::<Bytes>::from(text.clone()));
            *response.status_mut() = status;
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let request = request.body(Full::<Bytes>::from(body.to_owned())).unwrap();
        let response = self.gate.layer(handler).oneshot(request).await.unwrap();
        let header = |name| response.headers().get(name).map_or("", |value| value.to_str().unwrap());
        let is_page = header(header::CONTENT_TYPE).starts_with("text/html");
        let (status, has_challenge) = (response.status().as_u16(), !header(header::WWW_AUTHENTICATE).is_empty());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let document: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        Answer { status, is_page, has_challenge, error: document["error"].as_str().unwrap_or_default().to_owned() }
    }

    async fn form(&self, body: &str) -> Answer {
        self.send(post("/x"), body).await
    }

    async fn client(&self, id: &str) -> Client {
        self.ledger.find(id).await.unwrap().unwrap()
    }
}

fn post(uri: &str) -> http::request::Builder {
    Request::post(uri).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
}

async fn insert(ledger: &MemoryLedger, id: &str, status: Status) {
    let json = format!(r#"{{"redirect_uris":["{CALLBACK}"]}}"#);
    let registration = crate::registration::Registration::parse(json.as_bytes()).unwrap();
    let mut client = Client::draft(json, Fingerprints::of(&registration, false), 0);
    (client.status, client.client_id) = (status, Some(id.into()));
    (client.dedup_key, client.response) = (Some(id.into()), Some(StoredResponse { status: 201, body: "{}".into() }));
    client.ended_by = (status == Status::Revoked).then_some(Actor::System);
    let Insertion::Inserted(_) = ledger.insert(&client, None).await.unwrap() else { panic!("{id}") };
}

/// A request that each endpoint takes from `client`.
fn plain(client: &str) -> String {
    format!("client_id={client}&redirect_uri={ENCODED}&response_type=code&grant_type=authorization_code&code=c")
}

#[test]
fn each_endpoint_has_a_name_of_its_own() {
    let names: std::collections::BTreeSet<_> = ALL.map(|endpoint| endpoint.row().name).into();
    assert_eq!(names.len(), ALL.len());
}

#[tokio::test]
async fn methods_that_a_row_does_not_list_are_rejected() {
    for (id, endpoint) in ALL.map(|id| (id, id.row())) {
        let world = World::new(id).await;
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::POST, Method::PUT, Method::PATCH] {
            let uri = if method == Method::OPTIONS { "/x".to_owned() } else { format!("/x?{}", "client_id=live") };
            let request = Request::builder().method(&method).uri(uri);
            let answer = world.send(request, "").await;
            let is_listed = endpoint.methods.contains(&method);
            assert_eq!(answer.status == 405, !is_listed, "{}: {method} {answer:?}", endpoint.name);
        }
    }
}

#[tokio::test]
async fn the_sender_decides_where_the_client_may_stand() {
    for (id, endpoint) in ALL.map(|id| (id, id.row())) {
        let world = World::new(id).await;
        let by_browser = endpoint.sender == Sender::Browser;
        let uri = format!("/x?client_id=live&redirect_uri={ENCODED}");
        let in_query = world.send(post(&uri), "response_type=code").await;
        assert_eq!(in_query.error == "invalid_request", !by_browser, "{}: {in_query:?}", endpoint.name);
        let other_scheme = post("/x").header(header::AUTHORIZATION, "Negotiate abc");
        let answer = world.send(other_scheme, &plain("live")).await;
        assert_eq!(answer.error == "invalid_request", !by_browser, "{}: {answer:?}", endpoint.name);
        let cookie = post("/x").header(header::COOKIE, "client_id=another");
        let answer = world.send(cookie, &plain("live")).await;
        assert_eq!(answer.error == "invalid_request", !by_browser, "{}: {answer:?}", endpoint.name);
        let twice = world.form(&format!("{}&code=d", plain("live"))).await;
        assert_eq!(twice.error == "invalid_request", !by_browser, "{}: {twice:?}", endpoint.name);
        // In each place: the form, the user of Basic and an assertion.
        let basic = post("/x").header(header::AUTHORIZATION, "Basic bGl2ZTo=");
        let others = world.send(basic, &plain("another")).await;
        assert_eq!(others.error, "invalid_request", "{}: {others:?}", endpoint.name);
        let assertion = format!("{}&client_assertion=x", plain("live"));
        assert_eq!(world.form(&assertion).await.error, "invalid_request", "{}", endpoint.name);
    }
}

#[tokio::test]
async fn clients_are_judged_and_rejected_in_the_form_of_the_row() {
    for (id, endpoint) in ALL.map(|id| (id, id.row())) {
        let world = World::new(id).await;
        assert_eq!(world.form(&plain("live")).await.status, 200, "{}", endpoint.name);
        let ended = world.send(post("/x").header(header::ACCEPT, "text/html"), &plain("ended")).await;
        let is_page = endpoint.rejection == RejectionForm::Page;
        let status = match (endpoint.judges_client, is_page) {
            (false, _) => 200,
            (true, true) => 400,
            (true, false) => 401,
        };
        assert_eq!(ended.status, status, "{}: {ended:?}", endpoint.name);
        assert_eq!(ended.is_page, endpoint.judges_client && is_page, "{}: {ended:?}", endpoint.name);
        assert_eq!(ended.has_challenge, endpoint.judges_client && !is_page, "{}: {ended:?}", endpoint.name);
        let strict = world.with(|gate| gate.unknown = Some(Action::Reject));
        let unknown = strict.form(&plain("nobody")).await;
        assert_eq!(unknown.error == "invalid_client", endpoint.judges_client, "{}: {unknown:?}", endpoint.name);
    }
}

#[tokio::test]
async fn redirect_uris_are_compared_where_the_row_says_so() {
    for (id, endpoint) in ALL.map(|id| (id, id.row())) {
        let world = World::new(id).await;
        let foreign = plain("live").replace("app.example.com", "evil.example.net");
        let answer = world.form(&foreign).await;
        assert_eq!(answer.status == 400, endpoint.compares_redirect_uri(), "{}: {answer:?}", endpoint.name);
        if endpoint.compares_redirect_uri() {
            let is_page = endpoint.rejection == RejectionForm::Page;
            assert_eq!(answer.error == "invalid_client", is_page, "{}: a new registration mends it", endpoint.name);
        }
        world.gate.config.registrar.record_pushed(PUSHED, "live", std::time::Duration::from_secs(60)).await.unwrap();
        let reference = world.form(&format!("client_id=live&request_uri={PUSHED}&response_type=code")).await;
        assert_eq!(reference.status == 200, endpoint.takes_request_uri, "{}: {reference:?}", endpoint.name);
    }
}

#[tokio::test]
async fn requests_that_name_no_client_are_handled_as_the_row_says() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let exchange = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&x=y";
    for (id, endpoint) in ALL.map(|id| (id, id.row())) {
        let world = World::new(id).await;
        let (unnamed, is_passed) =
            (endpoint.unnamed, matches!(endpoint.unnamed, Unnamed::Pass | Unnamed::PassWithToken));
        assert_eq!(world.form("x=y").await.status == 200, is_passed, "{}", endpoint.name);
        let anonymous = world.form(exchange).await.status == 200;
        assert_eq!(anonymous, is_passed || unnamed == Unnamed::AskForOwner, "{}", endpoint.name);
        let world = world.with(|gate| gate.unidentified = Some(Action::Pass));
        assert_eq!(world.form("x=y").await.status, 200, "{}: as the settings say", endpoint.name);
        let world = world.with(|gate| gate.unknown = Some(Action::Reject));
        let rejects = world.form("x=y").await.status == 400;
        assert_eq!(rejects, endpoint.judges_client, "{}: unknown ones are rejected", endpoint.name);
        let token = world.send(post("/x").header(header::AUTHORIZATION, "Bearer abc"), "x=y").await;
        assert_eq!(token.status == 200, !rejects || unnamed == Unnamed::PassWithToken, "{}: {token:?}", endpoint.name);
        let before = ASKED.load(Ordering::SeqCst);
        let gate = world.gate.clone().with_client_of(async |_: Grant| {
            ASKED.fetch_add(1, Ordering::SeqCst);
            Ok(Some("live".to_owned()))
        });
        let hooked = World { gate, ..world };
        let owned = hooked.form("grant_type=refresh_token&refresh_token=r").await;
        assert_eq!(owned.status == 200, !rejects || unnamed == Unnamed::AskForOwner, "{}: {owned:?}", endpoint.name);
        assert_eq!(ASKED.load(Ordering::SeqCst) > before, unnamed == Unnamed::AskForOwner, "{}", endpoint.name);
    }
}

#[tokio::test]
async fn successful_answers_have_the_consequences_of_the_row() {
    let token = format!(r#"{{"access_token":"t","request_uri":"{PUSHED}"}}"#);
    for (id, endpoint) in ALL.map(|id| (id, id.row())) {
        let world = World::new(id).await.answering(200, &token);
        assert_eq!(world.form(&plain("live")).await.status, 200, "{}", endpoint.name);
        let is_used = world.client("live").await.last_used_at.is_some();
        assert_eq!(is_used, endpoint.success == Success::RecordUse, "{}", endpoint.name);
        let pushed = world.gate.config.registrar.pushed_by(PUSHED).await.unwrap();
        assert_eq!(pushed.is_some(), endpoint.success == Success::RecordPushed, "{}", endpoint.name);
        // The client ends while the server answers.
        let registrar = world.gate.config.registrar.clone();
        let handler = service_fn(move |_: Request<_>| {
            let registrar = registrar.clone();
            async move {
                let ended = crate::clients::Revocation::client("live", Actor::System, "x");
                registrar.revoke(ended).await.unwrap();
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(r#"{"access_token":"t"}"#)))
            }
        });
        let request = post("/x").body(Full::<Bytes>::from(plain("live"))).unwrap();
        let answer = world.gate.layer(handler).oneshot(request).await.unwrap();
        assert_eq!(answer.status() == 401, endpoint.success == Success::RecordUse, "{}: withheld", endpoint.name);
    }
}

#[tokio::test]
async fn a_lost_client_shows_where_the_row_says_so() {
    for (id, endpoint) in ALL.map(|id| (id, id.row())) {
        for (status, loss, times) in [(401, Loss::Unauthorized, 1), (400, Loss::TwoErrors, 2)] {
            let world = World::new(id).await.answering(status, "{}");
            let request = if endpoint.sender == Sender::Browser {
                let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
                format!("client_id=live&redirect_uri={ENCODED}&response_type=code&code_challenge={challenge}")
            } else {
                format!("client_id=live&redirect_uri={ENCODED}")
            };
            for _ in 1..times {
                world.form(&request).await;
                assert!(world.client("live").await.dedup_key.is_some(), "{}: {status}, too early", endpoint.name);
            }
            world.form(&request).await;
            let is_lost = world.client("live").await.dedup_key.is_none();
            assert_eq!(is_lost, endpoint.loss == loss, "{}: {status}", endpoint.name);
        }
    }
}

/// Every sender can have a server reject what it made up.
#[tokio::test]
async fn only_a_rejection_of_the_client_counts_as_its_loss() {
    const ID: &str = "1f7c1f4e-live";
    let error = |code: &str, description: &str| {
        serde_json::json!({ "error": code, "error_description": description }).to_string()
    };
    let not_found = format!("Client ID '{ID}' not found");
    let (authorization, token) = (GateEndpoint::Authorization, GateEndpoint::Token);
    let listed = "&resource=https%3A%2F%2Fmcp.example.com";
    let foreign = "&resource=https%3A%2F%2Fother.example.com";
    let rows: Vec<(GateEndpoint, u16, String, &str, bool)> = vec![
        (token, 401, error("invalid_client", ""), "", true),
        (token, 400, error("invalid_client", ""), "", true),
        (token, 401, error("invalid_client", ""), foreign, true),
        (token, 401, error("invalid_client", ""), "&code=x", true),
        (token, 401, error("invalid_grant", ""), "", false),
        (token, 401, error("invalid_request", &not_found), "", false),
        (token, 401, error("unauthorized_client", ""), "", false),
        (token, 401, error("invalid_target", ""), foreign, false),
        (token, 401, String::new(), "", true),
        (token, 401, "{}".into(), "", true),
        (token, 401, "<p>no</p>".into(), listed, true),
        (token, 401, "<p>no</p>".into(), foreign, false),
        (token, 400, "<p>no</p>".into(), "", false),
        (token, 401, error("invalid_client", ""), "&client_secret=x", false),
        (authorization, 400, error("invalid_client", ""), "", true),
        (authorization, 400, error("invalid_client", ""), foreign, true),
        (authorization, 400, error("invalid_request", &not_found), "", true),
        (authorization, 400, error("invalid_request", &not_found), foreign, true),
        (authorization, 400, error("invalid_request", "client not found"), "", false),
        (authorization, 400, error("invalid_request", &not_found), "&state=x1f7c1f4e-live", false),
        (authorization, 400, error("invalid_target", &not_found), foreign, false),
        (authorization, 400, error("invalid_scope", ""), "", false),
        (authorization, 400, "<p>no</p>".into(), "", true),
        (authorization, 400, "<p>no</p>".into(), listed, true),
        (authorization, 400, "<p>no</p>".into(), foreign, false),
        (authorization, 400, "<p>no</p>".into(), "&resource=", true),
        (authorization, 400, "<p>no</p>".into(), "&scope=a", false),
        (authorization, 400, error("invalid_client", ""), "&login_hint=x", false),
        (authorization, 429, error("invalid_client", ""), "", false),
        (authorization, 500, error("invalid_client", ""), "", false),
    ];
    for (endpoint, status, body, more, expected) in rows {
        let world = World::new(endpoint).await.answering(status, &body);
        let world = world.with(|gate| gate.resources = Some(vec!["https://mcp.example.com".into()]));
        let world = world.with(|gate| gate.rules.resource = Some(Action::Pass));
        insert(&world.ledger, ID, Status::Active).await;
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        let request = if endpoint == authorization {
            format!("client_id={ID}&redirect_uri={ENCODED}&response_type=code&code_challenge={challenge}{more}")
        } else {
            format!("client_id={ID}&grant_type=authorization_code{more}")
        };
        for _ in 0..2 {
            let answer = world.form(&request).await;
            assert_eq!(answer.status, status, "the server's own answer");
        }
        let is_lost = world.client(ID).await.dedup_key.is_none();
        assert_eq!(is_lost, expected, "{endpoint:?} {status} {body} {more}");
    }
    // Without a list, a lost client has to be noticed all the same: MCP clients name a resource in each request.
    let world = World::new(authorization).await.answering(400, "<p>no</p>");
    let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let request =
        format!("client_id=live&redirect_uri={ENCODED}&response_type=code&code_challenge={challenge}{listed}");
    world.form(&request).await;
    assert!(world.client("live").await.dedup_key.is_some(), "one page is no proof");
    world.form(&request).await;
    assert!(world.client("live").await.dedup_key.is_none());
}

/// `dcr explain gate.rules.pkce` shows them.
#[cfg(feature = "schema")]
#[test]
fn descriptions_of_rules_name_their_defaults() {
    use super::rules::GateRule;
    use super::settings::Profile;

    let schema = schemars::schema_for!(GateRules).to_value();
    let mut seen = 0;
    let all: Vec<&GateRule> = [rules::AUTHORIZATION, rules::TOKEN].concat();
    for rule in all {
        let [mcp, strict, oauth] = [Profile::Mcp, Profile::Strict, Profile::Other]
            .map(|profile| format!("`{:?}`", (rule.default)(profile)).to_lowercase());
        let expected = match () {
            () if mcp == strict && strict == oauth => format!("Default: {mcp}."),
            () if mcp == strict => format!("Default: {mcp} in the presets `mcp` and `strict`, {oauth} in `oauth`."),
            () => format!("Default: {mcp} in the preset `mcp`, {strict} in `strict`, {oauth} in `oauth`."),
        };
        let name = rule.docs.id.trim_start_matches("gate-").replace('-', "_");
        let description = schema["properties"][&name]["description"].as_str().unwrap_or_default();
        assert!(description.replace('\n', " ").ends_with(&expected), "{name}: {description}");
        seen += 1;
    }
    assert!(seen >= 12);
}
