//! Third-party servers behind the gates, with clients that are named by the URL of a metadata document: each server gets the
//! document that the gate verified, and is told the client before its own code looks for it.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::{Extension, Router};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use oauth_as::ClientId;
use oauth_as::cimd::{CimdPolicy, ClientIdUrl, ValidatedClientIdDocument};
use oauth_as::http::{ApprovalDecision, ServiceBuilder};
use oauth_as::scope::ScopeSet;
use oauth_as::server::{AuthorizationServer, ServerConfig};
use oauth_as::store::{MemoryStorage, Storage};
use oauth2_test_server::models::Client;
use oauth2_test_server::{AppState, IssuerConfig, router};
use serde::Deserialize;
use serde_json::{Value, json};
use test_support::ROOT;
use test_support::document_host::DocumentHost;
use tower::{Layer, ServiceExt};
use tower_dcr::clients::{Ledger, MemoryLedger, Origin, Registrar, Status};
use tower_dcr::documents::{Documents, Fetch, FetchError, FetchRequest, VerifiedClient};
use tower_dcr::layers::GateEndpoint;
use tower_dcr::redirect_uri;
use tower_dcr_fetch::HttpsFetcher;
use url::Url;
use url::form_urlencoded::Serializer;

const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const ISSUER: &str = "https://as.example.net";

/// The one parameter that the servers are helped with.
#[derive(Deserialize)]
struct Asked {
    redirect_uri: Option<String>,
}

/// Returns the redirect URIs of a client, and the one that this request names: the gate has compared it, with any port on a
/// loopback address (RFC 8252 section 7.3). Both servers compare some of them as strings.
fn with_asked(mut known: Vec<String>, asked: Asked) -> Vec<String> {
    let is_other =
        |asked: &String| !known.contains(asked) && known.iter().any(|known| redirect_uri::matches(known, asked));
    let asked = asked.redirect_uri.filter(is_other);
    known.extend(asked);
    known
}

type OauthAs = Arc<AuthorizationServer<MemoryStorage>>;

/// `oauth-as` validates documents, and leaves fetching them to others.
async fn tell_oauth_as(
    State(server): State<OauthAs>,
    client: Option<Extension<VerifiedClient>>,
    Query(asked): Query<Asked>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(Extension(client)) = client {
        let policy = server.config().cimd.as_deref().unwrap();
        let url = ClientIdUrl::parse(client.url().as_str(), policy).unwrap();
        let document = ValidatedClientIdDocument::validate(&url, client.document(), policy).unwrap();
        let mut client = document.to_client();
        client.redirect_uris = with_asked(client.redirect_uris, asked);
        server.store().put_client(client).await.unwrap();
    }
    next.run(request).await
}

fn cimd_policy() -> CimdPolicy {
    let mut policy = CimdPolicy::new();
    // The gate's rules have judged them, with those on loopback addresses.
    policy.redirect_uris_same_origin = false;
    policy.registration_bounds.allowed_scopes = ScopeSet::parse("openid profile email offline_access").unwrap();
    policy
}

fn oauth_as() -> (Router, OauthAs) {
    let mut config = ServerConfig::new(ISSUER, format!("{ISSUER}/device"));
    config.cimd = Some(Box::new(cimd_policy()));
    let server = Arc::new(AuthorizationServer::new(config, MemoryStorage::new()));
    let service = ServiceBuilder::new(Arc::clone(&server))
        .with_subject_resolver(|_| Some("somebody".into()))
        .with_approval_resolver(|_| ApprovalDecision::Approve);
    let app = Router::from(service.build().unwrap()).layer(from_fn_with_state(Arc::clone(&server), tell_oauth_as));
    (app, server)
}

/// `oauth2-test-server` knows nothing of documents.
async fn tell_oauth2_test_server(
    State(server): State<AppState>,
    client: Option<Extension<VerifiedClient>>,
    Query(asked): Query<Asked>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(Extension(client)) = client {
        // The optional members of its model that a document may lack.
        let mut members = json!({ "contacts": [], "scope": "" });
        let document: Value = serde_json::from_slice(client.document()).unwrap();
        members.as_object_mut().unwrap().extend(document.as_object().unwrap().clone());
        let mut client: Client = serde_json::from_value(members).unwrap();
        client.redirect_uris = with_asked(client.redirect_uris, asked);
        server.store.insert_client(client).await;
    }
    next.run(request).await
}

fn oauth2_test_server() -> (Router, AppState) {
    let state = AppState::new(IssuerConfig::default());
    let app = router::build_router(state.clone());
    (app.layer(from_fn_with_state(state.clone(), tell_oauth2_test_server)), state)
}

/// A server behind the gates, which fetch documents from one host.
struct Guarded {
    app: Router,
    ledger: MemoryLedger,
}

impl Guarded {
    fn new(server: &Router, host: &DocumentHost) -> Self {
        let fetcher = HttpsFetcher::danger_with_roots(&host.ca_pem).unwrap();
        let fetcher = fetcher.danger_map_host(&host.name, host.address).unwrap();
        let ledger = MemoryLedger::default();
        let registrar = Registrar::new(ledger.clone());
        let preset = tower_dcr::mcp().with_registrar(registrar.clone()).with_documents(Documents::new(fetcher));
        let gate = |endpoint| preset.gate(endpoint, registrar.clone()).layer(server.clone());
        let app = Router::new()
            .route_service("/authorize", gate(GateEndpoint::Authorization))
            .route_service("/token", gate(GateEndpoint::Token));
        Self { app, ledger }
    }

    async fn send(&self, request: http::request::Builder, body: String) -> Response {
        self.app.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
    }

    async fn authorize(&self, client_id: &str, redirect_uri: &str) -> Response {
        let query = form(&[
            ("response_type", "code"),
            ("client_id", client_id),
            ("redirect_uri", redirect_uri),
            ("state", "s"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ]);
        self.send(Request::get(format!("/authorize?{query}")), String::new()).await
    }

    async fn token(&self, body: &[(&str, &str)]) -> (StatusCode, Value) {
        let request = Request::post("/token").header("content-type", "application/x-www-form-urlencoded");
        let answer = self.send(request, form(body)).await;
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Takes a client from the authorization request to a second access token.
    async fn sign_in(&self, client_id: &str, redirect_uri: &str) {
        let answer = self.authorize(client_id, redirect_uri).await;
        let what = format!("{client_id} at {redirect_uri}: {answer:?}");
        let location = answer.headers()["location"].to_str().unwrap();
        assert!(answer.status().is_redirection() && location.starts_with(redirect_uri), "{what}");
        let location = Url::parse(location).unwrap();
        let code = location.query_pairs().find(|(name, _)| name == "code").expect(&what).1;
        let exchange = [
            ("grant_type", "authorization_code"),
            ("client_id", client_id),
            ("redirect_uri", redirect_uri),
            ("code", &code),
            ("code_verifier", VERIFIER),
        ];
        let (status, tokens) = self.token(&exchange).await;
        assert!(status == 200 && tokens["access_token"].is_string(), "{what}: {tokens}");
        let refresh_token = tokens["refresh_token"].as_str().expect(&what);
        let refresh = [("grant_type", "refresh_token"), ("client_id", client_id), ("refresh_token", refresh_token)];
        let (status, refreshed) = self.token(&refresh).await;
        assert!(status == 200 && refreshed["access_token"].is_string(), "{what}: {refreshed}");
        assert_ne!(refreshed["access_token"], tokens["access_token"], "{what}");
        let record = self.ledger.find(client_id).await.unwrap().expect(&what);
        assert_eq!((record.origin, record.status), (Origin::Document, Status::Active), "{what}");
    }
}

fn form(pairs: &[(&str, &str)]) -> String {
    Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// The captured documents of known clients.
fn known() -> Vec<Value> {
    let folder = Path::new(ROOT).join("tests/data/documents");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let documents = files.filter(|path| path.extension().is_some_and(|kind| kind == "json"));
    let documents: Vec<Value> =
        documents.map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap()).collect();
    documents.into_iter().filter(|document| document["client_id"].is_string()).collect()
}

/// Returns the redirect URI as a client uses it: on a loopback address, with the port that the system gave it.
fn used(registered: &str) -> String {
    let mut url = Url::parse(registered).unwrap();
    if matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost")) {
        url.set_port(Some(51_234)).unwrap();
        return url.to_string();
    }
    registered.to_owned()
}

async fn known_clients_sign_in(server: &Router) {
    let documents = known();
    assert!(documents.len() > 15);
    for document in documents {
        let url = Url::parse(document["client_id"].as_str().unwrap()).unwrap();
        let host = DocumentHost::start(url.host_str().unwrap()).await;
        assert_eq!(host.publish(url.path(), &document), url.as_str());
        let guarded = Guarded::new(server, &host);
        for redirect_uri in document["redirect_uris"].as_array().unwrap() {
            guarded.sign_in(url.as_str(), &used(redirect_uri.as_str().unwrap())).await;
        }
        assert_eq!(host.connections(), 1, "{url}");
    }
}

/// Asks for a code with documents that the gate rejects, and with a redirect URI that is in none. `knows` asks the server for a client.
async fn rejected_clients_stay_unknown(server: &Router, knows: impl AsyncFn(String) -> bool) {
    const CALLBACK: &str = "https://app.example.com/cb";
    let host = DocumentHost::start("app.example.com").await;
    let guarded = Guarded::new(server, &host);
    let honest = json!({ "client_name": "App", "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none" });
    let with = |member: &str, value: Value| {
        let mut document = honest.clone();
        document[member] = value;
        document
    };
    let attacks = [
        ("/secret.json", with("client_secret", json!("s"))),
        ("/script.json", with("redirect_uris", json!(["javascript:alert(1)"]))),
        ("/name.json", with("client_name", json!("Claude"))),
    ];
    let mut urls = attacks.map(|(path, document)| host.publish(path, &document)).to_vec();
    let other = json!({ "client_id": host.url("/honest.json"), "redirect_uris": [CALLBACK] });
    host.answer("/other.json", "200 OK\r\ncontent-type: application/json", &other.to_string());
    urls.push(host.url("/other.json"));
    for url in urls {
        let answer = guarded.authorize(&url, CALLBACK).await;
        assert!(answer.status() == 400 && !answer.headers().contains_key("location"), "{url}: {answer:?}");
        assert!(!knows(url.clone()).await, "{url}");
    }
    let url = host.publish("/honest.json", &honest);
    let fetched = host.connections();
    let token = [("grant_type", "authorization_code"), ("client_id", &url), ("code", "c"), ("code_verifier", VERIFIER)];
    assert_eq!(guarded.token(&token).await.0, 503);
    assert_eq!(host.connections(), fetched, "the token endpoint fetches nothing");
    let answer = guarded.authorize(&url, "https://evil.example.net/cb").await;
    assert!(answer.status() == 400 && !answer.headers().contains_key("location"), "{answer:?}");
    assert!(!knows(url.clone()).await && guarded.ledger.find(&url).await.unwrap().is_none());
    guarded.sign_in(&url, CALLBACK).await;
    assert!(knows(url).await);
}

#[tokio::test]
async fn known_clients_sign_in_at_oauth_as_by_their_documents() {
    known_clients_sign_in(&oauth_as().0).await;
}

#[tokio::test]
async fn known_clients_sign_in_at_oauth2_test_server_by_their_documents() {
    known_clients_sign_in(&oauth2_test_server().0).await;
}

#[tokio::test]
async fn oauth_as_gets_no_client_that_the_gate_rejects() {
    let (app, server) = oauth_as();
    let knows = async |url: String| server.store().get_client(&ClientId::new(url)).await.unwrap().is_some();
    rejected_clients_stay_unknown(&app, knows).await;
}

#[tokio::test]
async fn oauth2_test_server_gets_no_client_that_the_gate_rejects() {
    let (app, server) = oauth2_test_server();
    rejected_clients_stay_unknown(&app, async |url: String| server.store.get_client(&url).await.is_some()).await;
}

/// Documents by the row that they are of.
#[derive(Clone, Default)]
struct Published(Arc<Mutex<Bytes>>);

impl Fetch for Published {
    async fn fetch(&self, _: FetchRequest) -> Result<http::Response<Bytes>, FetchError> {
        let document = http::Response::builder().header("content-type", "application/json");
        Ok(document.body(self.0.lock().unwrap().clone()).unwrap())
    }
}

/// The attacks that the rules disarm: what is left of each is a document to the validator of `oauth-as`, too.
#[tokio::test]
async fn oauth_as_takes_every_document_that_the_rules_let_through() {
    let rows = fs::read_to_string(Path::new(ROOT).join("tests/data/documents/attacks.jsonl")).unwrap();
    let (mut taken, mut differing) = (0, Vec::new());
    for row in rows.lines().map(|row| serde_json::from_str::<Value>(row).unwrap()) {
        let Some(members) = row["members"].as_object() else { continue };
        let url = row["document_url"].as_str().unwrap_or("https://app.example.com/client.json");
        let mut document =
            json!({ "client_id": url, "client_name": "App", "redirect_uris": ["https://app.example.com/cb"] });
        document.as_object_mut().unwrap().extend(members.clone());
        let published = Published(Arc::new(Mutex::new(document.to_string().into())));
        let preset = tower_dcr::mcp().with_documents(Documents::new(published));
        let Ok(client) = preset.resolve_document(&tower_dcr::documents::ClientIdUrl::parse(url).unwrap(), None).await
        else {
            continue;
        };
        let policy = cimd_policy();
        let url = ClientIdUrl::parse(client.url().as_str(), &policy).unwrap();
        match ValidatedClientIdDocument::validate(&url, client.document(), &policy) {
            Ok(_) => taken += 1,
            Err(error) => differing.push(format!("{error}: {row}")),
        }
    }
    assert!(differing.is_empty(), "{differing:#?}");
    assert!(taken > 100, "{taken}");
}
