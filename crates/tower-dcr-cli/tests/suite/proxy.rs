//! `dcr proxy`: the requests that it evaluates, and those that it must pass unchanged.

use std::io::BufRead;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Request};
use axum::http::{HeaderMap, Uri};
use axum::routing::{any, get, post};
use futures_core::Stream;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tower_dcr::clients::{Actor, Registrar, Revocation};
use tower_dcr_sqlx::SqliteLedger;

use test_support::folder::Folder;
use test_support::running::{ANY_PORT, Running};
use test_support::start_lines::{Server, logged};
use test_support::support::eventually;

mod endpoints;
mod heads;
mod paths;

/// A server that registers every client, knows only its own address, and returns the requests that it received.
fn server(own: &str) -> axum::Router {
    let metadata = {
        let own = own.to_owned();
        async move || {
            Json(json!({
                "issuer": "https://as.example.com",
                "authorization_endpoint": format!("{own}/oauth/authorize"),
                "token_endpoint": format!("{own}/oauth/token"),
                "registration_endpoint": format!("{own}/oauth/clients?tenant=1"),
                "userinfo_endpoint": "https://users.example.com/me",
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code", "client_credentials"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "none"],
            }))
        }
    };
    let other = async || {
        Json(json!({ "issuer": "https://other.example.com", "registration_endpoint": "https://other.example.com/reg" }))
    };
    let register = async |Json(mut client): Json<Map<String, Value>>| {
        client.insert("client_id".into(), "client-1".into());
        (http::StatusCode::CREATED, Json(client))
    };
    let received = async |uri: Uri, headers: HeaderMap| {
        let headers: Map<String, Value> =
            headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().into())).collect();
        Json(json!({ "uri": uri.to_string(), "headers": headers }))
    };
    let upload = async |request: Request| {
        let bytes = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
        bytes.len().to_string()
    };
    let (emit, emitted) = mpsc::channel(1);
    let emitted = Arc::new(Mutex::new(Some(emitted)));
    let events = async move || axum::response::Sse::new(Events(emitted.lock().unwrap().take().unwrap()));
    axum::Router::new()
        .route("/.well-known/openid-configuration", get(metadata))
        .route("/other/.well-known/openid-configuration", get(other))
        .route("/oauth/clients", post(register))
        .route("/oauth/clients/{client_id}", any(received))
        .route("/oauth/token", post(async || Json(json!({ "access_token": "t" }))))
        .route("/oauth/authorize", get(async || "a consent page"))
        .route("/events", get(events))
        .route("/events/{number}", post(async move |Path(number): Path<u8>| emit.send(number).await.unwrap()))
        .route("/slow", get(async || tokio::time::sleep(Duration::from_millis(900)).await))
        .route("/upload", post(upload))
        .fallback(received)
}

/// Events, each sent on request.
struct Events(mpsc::Receiver<u8>);

impl Stream for Events {
    type Item = Result<axum::response::sse::Event, std::convert::Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let event = |number: u8| Ok(axum::response::sse::Event::default().data(number.to_string()));
        self.0.poll_recv(cx).map(|number| number.map(event))
    }
}

async fn upstream() -> String {
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let own = format!("http://{}", listener.local_addr().unwrap());
    let app = server(&own);
    tokio::spawn(async move { axum::serve(listener, app).await });
    own
}

/// Returns `dcr proxy`, without arguments.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dcr"));
    command.arg("proxy");
    command
}

/// Runs on another thread: the server that the proxy asks before it listens is in this process.
async fn start(upstream: &str, arguments: &[&str]) -> Running {
    let mut command = command();
    command.args(["--upstream", upstream, "--listen", ANY_PORT]).args(arguments);
    tokio::task::spawn_blocking(move || Running::spawn(&mut command)).await.unwrap()
}

async fn post_json(proxy: &Running, path: &str, body: &Value) -> (u16, Value) {
    let answer = proxy.client.post(format!("{}{path}", proxy.base)).json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

/// Sends a request that no library has normalized: request line and headers, each with `\r\n`, and a body.
async fn raw(proxy: &Running, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(proxy.base.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("the connection is closed").unwrap();
    answer
}

const HEAD: &str = "host: as.example.com\r\nconnection: close\r\ncontent-type: application/json\r\n";

async fn post_raw(proxy: &Running, target: &str, body: &str) -> String {
    raw(proxy, &format!("POST {target} HTTP/1.1\r\n{HEAD}"), body).await
}

/// Returns the request that the server received at an unprotected path.
async fn received(proxy: &Running, target: &str, headers: &str) -> Value {
    let answer = raw(proxy, &format!("GET {target} HTTP/1.1\r\nconnection: close\r\n{headers}"), "").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{headers}: {answer}");
    serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
}

fn is_rejected(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 400") && answer.contains("\"invalid_request\"")
}

fn is_judged(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 400") && answer.contains("invalid_redirect_uri")
}

#[tokio::test]
async fn registrations_are_evaluated_and_other_requests_pass() {
    let proxy = start(&upstream().await, &[]).await;
    let honest = json!({ "redirect_uris": ["http://127.0.0.1:1/cb"], "skip_consent": true });
    let (status, client) = post_json(&proxy, "/oauth/clients?tenant=1", &honest).await;
    assert_eq!((status, client.get("skip_consent")), (201, None));
    // RFC 7592: the update of a client.
    let evil = json!({ "redirect_uris": ["javascript:alert(1)"] });
    let update = proxy.client.put(format!("{}/oauth/clients/client-1", proxy.base)).json(&evil).send().await.unwrap();
    assert_eq!(update.status().as_u16(), 400);
    // The proxy does not read other forms.
    let elsewhere = proxy.client.post(format!("{}/login", proxy.base)).form(&[("user", "x")]).send().await.unwrap();
    assert_eq!(elsewhere.status().as_u16(), 200);
}

#[tokio::test]
async fn pages_of_other_origins_can_read_rejections() {
    let proxy = start(&upstream().await, &[]).await;
    let answer = proxy.client.post(format!("{}/oauth/clients", proxy.base)).json(&json!({})).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["access-control-allow-origin"]),
        (400, &"*".parse().unwrap())
    );
    let own = proxy.client.post(format!("{}/oauth/clients", proxy.base));
    let own = own.json(&json!({ "redirect_uris": ["http://127.0.0.1:1/cb"] })).send().await.unwrap();
    assert_eq!(
        (own.status().as_u16(), own.headers().get("access-control-allow-origin")),
        (201, None),
        "the server's word"
    );
}

#[tokio::test]
async fn the_discovery_document_names_this_proxy_and_what_the_policy_allows() {
    let own = upstream().await;
    let read =
        async |proxy: &Running| -> Value { proxy.get("/.well-known/openid-configuration").await.json().await.unwrap() };
    let proxy = start(&own, &[]).await;
    let document = read(&proxy).await;
    assert_eq!(document["registration_endpoint"], format!("{}/oauth/clients?tenant=1", proxy.base));
    assert_eq!(document["token_endpoint"], format!("{}/oauth/token", proxy.base), "the server's own is closed");
    assert_eq!(document["grant_types_supported"], json!(["authorization_code"]));
    assert_eq!(document["token_endpoint_auth_methods_supported"], json!(["none"]));
    assert_eq!(
        (&document["issuer"], &document["userinfo_endpoint"]),
        (&json!("https://as.example.com"), &json!("https://users.example.com/me"))
    );

    let proxy = start(&own, &["--keep-metadata"]).await;
    let document = read(&proxy).await;
    assert_eq!(document["registration_endpoint"], format!("{}/oauth/clients?tenant=1", proxy.base));
    assert_eq!(document["grant_types_supported"], json!(["authorization_code", "client_credentials"]));

    // The document of another tenant: an unprotected endpoint is not announced.
    let other: Value = proxy.get("/other/.well-known/openid-configuration").await.json().await.unwrap();
    assert_eq!((&other["issuer"], other.get("registration_endpoint")), (&json!("https://other.example.com"), None));

    let folder = Folder::new("proxy-discovery");
    let ledger = format!("sqlite:{}", folder.0.join("clients.db").display());
    let proxy = start(&own, &["--public-url", "https://as.example.com", "--ledger", &ledger]).await;
    let document = read(&proxy).await;
    assert_eq!(document["registration_endpoint"], "https://as.example.com/oauth/clients?tenant=1");
    assert_eq!(document["token_endpoint"], "https://as.example.com/oauth/token");
    assert_eq!(document["authorization_endpoint"], "https://as.example.com/oauth/authorize");
}

/// The ledger is shared with its administrator: here, this test.
#[tokio::test]
async fn a_revoked_client_is_rejected_without_the_servers_help() {
    let folder = Folder::new("proxy-gate");
    let file = folder.0.join("clients.db");
    let ledger = format!("sqlite:{}", file.display());
    let proxy = start(&upstream().await, &["--ledger", &ledger]).await;
    let (_, client) =
        post_json(&proxy, "/oauth/clients", &json!({ "redirect_uris": ["https://app.example.com/cb"] })).await;
    let id = client["client_id"].as_str().unwrap();
    let form = [("grant_type", "refresh_token"), ("client_id", id)];
    let token = async || proxy.client.post(format!("{}/oauth/token", proxy.base)).form(&form).send().await.unwrap();
    assert_eq!(token().await.status().as_u16(), 200);
    let other =
        proxy.get(&format!("/oauth/authorize?client_id={id}&redirect_uri=https%3A%2F%2Fevil.example.net%2F")).await;
    assert_eq!((other.status().as_u16(), other.headers().get("access-control-allow-origin")), (400, None));
    let review = Registrar::new(SqliteLedger::open(&file).await.unwrap());
    review.revoke(Revocation::client(id, Actor::Operator("operator".into()), "a test")).await.unwrap();
    eventually("the gate sees the revocation", async || token().await.status().as_u16() != 200).await;
    let rejected = token().await;
    assert_eq!(
        (rejected.status().as_u16(), &rejected.headers()["access-control-allow-origin"]),
        (401, &"*".parse().unwrap())
    );
    assert_eq!(rejected.json::<Value>().await.unwrap()["error"], "invalid_client");
}

/// `HTTP/1.0` on a connection of HTTP/1.1 makes clients close it, or fail.
#[tokio::test]
async fn an_answer_has_the_version_of_its_connection() {
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let own = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let _read = stream.read(&mut head).await;
                let _written = stream.write_all(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            });
        }
    });
    let proxy = start(&own, &["--register-path", "/register"]).await;
    for path in ["/x", "/register"] {
        let head = format!("GET {path} HTTP/1.1\r\nhost: as.example.com\r\n");
        let twice = format!("{head}\r\n{head}connection: close\r\n");
        let answer = raw(&proxy, &twice, "").await;
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{path}: {answer}");
    }
}

/// The client is still sending when the response arrives.
#[tokio::test]
async fn a_rejection_reaches_a_client_that_is_still_sending() {
    let proxy = start(&upstream().await, &[]).await;
    let answer = post_raw(&proxy, "/a//b", &"x".repeat(60_000)).await;
    assert!(is_rejected(&answer), "{answer}");
    // A body that was read to its end keeps the connection open.
    let head = "POST /a//b HTTP/1.1\r\nhost: as.example.com\r\ncontent-length: 3\r\n\r\nabc";
    let answer = raw(&proxy, &format!("{head}GET /x HTTP/1.1\r\n{HEAD}"), "").await;
    assert!(is_rejected(&answer) && answer.contains("HTTP/1.1 200"), "{answer}");
    let waits = raw(&proxy, "POST /a//b HTTP/1.1\r\nhost: as.example.com\r\nexpect: 100-continue\r\n", "").await;
    assert!(is_rejected(&waits) && waits.to_ascii_lowercase().contains("connection: close"), "{waits}");
}

#[tokio::test]
async fn long_bodies_and_events_stream_through() {
    let proxy = start(&upstream().await, &[]).await;
    let mut events = proxy.get("/events").await;
    // Each arrives before the next one exists.
    for number in ["1", "2"] {
        let emit = proxy.client.post(format!("{}/events/{number}", proxy.base));
        assert_eq!(emit.send().await.unwrap().status().as_u16(), 200);
        assert_eq!(events.chunk().await.unwrap().unwrap(), Bytes::from(format!("data: {number}\n\n")));
    }
    let long = reqwest::Body::from(vec![0; 8 << 20]);
    let answer = proxy.client.post(format!("{}/upload", proxy.base)).body(long).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), (8 << 20).to_string());
}

/// The handshake of RFC 6455 section 1.3, then arbitrary bytes.
#[tokio::test]
async fn web_sockets_pass() {
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let own = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let answer = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                      sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let mut said = [0; 5];
        stream.read_exact(&mut said).await.unwrap();
        said.reverse();
        stream.write_all(&said).await.unwrap();
    });
    let proxy = start(&own, &["--register-path", "/register"]).await;
    let mut stream = TcpStream::connect(proxy.base.strip_prefix("http://").unwrap()).await.unwrap();
    let request = "GET /ws HTTP/1.1\r\nhost: as.example.com\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    assert!(line.starts_with("HTTP/1.1 101"), "{line}");
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line).await.unwrap();
    }
    stream.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"olleh");
}

#[tokio::test]
async fn requests_in_progress_finish_before_it_stops() {
    let mut proxy = start(&upstream().await, &[]).await;
    let slow = tokio::spawn(proxy.client.get(format!("{}/slow", proxy.base)).send());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let pid = proxy.child.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    assert_eq!(slow.await.unwrap().unwrap().status().as_u16(), 200);
    let status = proxy.child.wait().unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn it_waits_for_the_server_and_says_when_the_server_is_gone() {
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let own = format!("http://{address}");
    let starting = tokio::spawn({
        let own = own.clone();
        async move { start(&own, &[]).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!starting.is_finished());
    let listener = TcpListener::bind(address).await.unwrap();
    let app = server(&own);
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let proxy = starting.await.unwrap();
    assert_eq!(proxy.get("/x").await.status().as_u16(), 200);
    serving.abort();
    let _stopped = serving.await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    eventually("open connections are closed", async || proxy.get("/x").await.status().as_u16() == 502).await;
}

#[tokio::test]
async fn the_servers_certificate_is_checked() {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let private = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![key.cert.der().clone()], private).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let own = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let app = server(&own);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, app) = (acceptor.clone(), app.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = hyper_util::service::TowerToHyperService::new(app);
                let io = hyper_util::rt::TokioIo::new(stream);
                let _closed = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
            });
        }
    });
    let folder = Folder::new("proxy-tls");
    let ca = folder.write("ca.pem", &key.cert.pem()).0.join("ca.pem");
    let proxy = start(&own, &["--upstream-ca", ca.to_str().unwrap()]).await;
    let (status, _) = post_json(&proxy, "/oauth/clients", &json!({ "redirect_uris": ["http://127.0.0.1:1/cb"] })).await;
    assert_eq!(status, 201);
    let distrustful = start(&own, &["--register-path", "/oauth/clients"]).await;
    assert_eq!(distrustful.get("/x").await.status().as_u16(), 502);
}

/// Invalid arguments end it at once, with advice.
#[tokio::test]
async fn mistakes_on_the_command_line_are_named() {
    let nothing = TcpListener::bind(ANY_PORT).await.unwrap();
    let bare = format!("http://{}", nothing.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(nothing, axum::Router::new()).await });
    let own = upstream().await;
    let folder = Folder::new("proxy-mistakes");
    let policy = folder.write("policy.toml", "extends = \"mcp\"\nredirect_urls = 1\n").0.join("policy.toml");
    let policy = policy.to_str().unwrap();
    let gate = folder.write("gate.toml", "[gate]\nunknown = \"reject\"\n").0.join("gate.toml");
    let rules = folder.write("rules.toml", "[gate.rules]\npkce = \"mark\"\n").0.join("rules.toml");
    let empty = folder.write("empty.toml", "[gate]\n[gate.rules]\n").0.join("empty.toml");
    let (gate, rules, empty) = (gate.to_str().unwrap(), rules.to_str().unwrap(), empty.to_str().unwrap());
    for (arguments, expected) in [
        (
            vec!["--upstream", &*own, "--policy", gate],
            "[gate] has no effect without --ledger: the policy has gate.unknown = \"reject\"; add --ledger sqlite:clients.db",
        ),
        (vec!["--upstream", &*own, "--policy", rules], "the policy has gate.rules.pkce = \"mark\"; "),
        (vec!["--upstream", &*own, "--policy", empty, "--upstream-ca", "/nowhere.pem"], "/nowhere.pem"),
        (vec!["--upstream", "as.example.com"], "https://as.example.com"),
        (vec!["--upstream", "ftp://as.example.com"], "expected http or https"),
        (vec!["--upstream", "https://as.example.com/realm"], "only scheme, host and port"),
        (vec!["--upstream", &*bare], "--register-path"),
        (vec!["--upstream", &*bare, "--register-path", "/"], "path \"/\": every path is below /"),
        (
            vec!["--upstream", &*bare, "--ledger", "sqlite::memory:"],
            "--register-path and --authorize-path and --token-path",
        ),
        (
            vec!["--upstream", &*bare, "--register-path", "/r", "--ledger", "sqlite::memory:"],
            "set --discovery-path, or add --authorize-path and --token-path\n",
        ),
        (
            vec!["--upstream", &*bare, "--register-path", "/r", "--token-path", "/t", "--ledger", "sqlite::memory:"],
            "or add --authorize-path\n",
        ),
        (
            vec!["--upstream", &*bare, "--register-path", "/r", "--discovery-path", "/d"],
            "no discovery document at /d: set --discovery-path, or leave it out\n",
        ),
        (vec!["--upstream", &*own, "--token-path", "token"], "path \"token\": expected a path"),
        (vec!["--upstream", &*own, "--max-connections", "0"], "--max-connections"),
        (vec!["--upstream", &*own, "--ledger", "mysql:x"], "mysql:x"),
        (vec!["--upstream", &*own, "--trusted-proxy", "ten"], "\"ten\""),
        (vec!["--upstream", &*own, "--upstream-ca", "/nowhere.pem"], "/nowhere.pem"),
        (vec!["--upstream", &*own, "--policy", "/nowhere.toml"], "error: /nowhere.toml: "),
        (vec!["--upstream", &*own, "--policy", policy], "policy.toml:2:1: redirect_urls: "),
        (vec!["--upstream", &*own, "--ledger", "sqlite:/nowhere/clients.db"], "error: "),
        (vec!["--upstream", &*own, "--listen", "192.0.2.1:1"], "error: "),
    ] {
        let mut command = tokio::process::Command::from(command());
        let listen: &[&str] = if arguments.contains(&"--listen") { &[] } else { &["--listen", ANY_PORT] };
        let output = command.args(listen).args(&arguments).stdin(Stdio::null()).output();
        let output = tokio::time::timeout(Duration::from_secs(10), output).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(expected), "{arguments:?}: {said}");
        // The `Debug` form: `Error: PolicyFileError(Details { … })`.
        assert!(
            said.contains("error: ") && !said.contains("Error: ") && !said.contains(" { "),
            "{arguments:?}: {said}"
        );
    }
}

/// A registration endpoint that does not end in `/register` is no client's URL.
#[tokio::test]
async fn the_registration_endpoint_is_not_a_client_url_and_client_urls_are_public() {
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let own = format!("http://{}", listener.local_addr().unwrap());
    let managed = json!({
        "client_id": "c-1",
        "redirect_uris": ["http://127.0.0.1:1/cb"],
        "registration_client_uri": format!("{own}/oauth/clients/c-1"),
        "registration_access_token": "r",
    });
    let answer = {
        let managed = managed.clone();
        async move || (http::StatusCode::CREATED, Json(managed))
    };
    let read = async move || Json(managed);
    let app = axum::Router::new()
        .route("/oauth/clients", any(answer))
        .route("/oauth/clients/{client_id}", any(read))
        .fallback(async || http::StatusCode::NOT_FOUND);
    tokio::spawn(async move { axum::serve(listener, app).await });
    let arguments = ["--register-path", "/oauth/clients", "--public-url", "https://as.example.com"];
    let proxy = start(&own, &arguments).await;
    let registration = json!({ "redirect_uris": ["http://127.0.0.1:1/cb"] });
    let (status, client) = post_json(&proxy, "/oauth/clients", &registration).await;
    assert_eq!((status, &client["registration_client_uri"]), (201, &json!("https://as.example.com/oauth/clients/c-1")));
    let read: Value = proxy.get("/oauth/clients/c-1").await.json().await.unwrap();
    assert_eq!(read["registration_client_uri"], "https://as.example.com/oauth/clients/c-1");
    let update = json!({ "client_id": "c-1", "redirect_uris": ["http://127.0.0.1:1/cb"] });
    for (path, status) in [("/oauth/clients/c-1", 200), ("/oauth/clients", 405), ("/oauth/clients/c-1/", 400)] {
        let answer = proxy.client.put(format!("{}{path}", proxy.base)).json(&update).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
        if status == 200 {
            let document: Value = answer.json().await.unwrap();
            assert_eq!(document["registration_client_uri"], "https://as.example.com/oauth/clients/c-1");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_names_its_setup_and_rejects_keys_that_chain_nothing() {
    let own = upstream().await;
    let paths = ["--register-path", "/register", "--authorize-path", "/authorize", "--token-path", "/token"];
    let base = [&["--upstream", &own, "--listen", ANY_PORT], &paths[..]].concat();
    let server = Server {
        command,
        base: base.into_iter().map(str::to_owned).collect(),
        ledger: "none: clients are checked at registration only",
        log: "the log",
        unwritten: |preset| preset,
    };
    let check = move || {
        server.names_its_setup();
        server.rejects_keys_that_chain_nothing();
    };
    tokio::task::spawn_blocking(check).await.unwrap();
}

/// A gate passes clients that its ledger does not know, which is to be known where the server checks nothing itself.
#[tokio::test(flavor = "multi_thread")]
async fn it_says_that_unknown_clients_pass() {
    let own = upstream().await;
    let folder = Folder::new("proxy-unknown");
    folder.write("reject.toml", "gate.unknown = 'reject'\n");
    folder.write("pass.toml", "gate.max_age = '1s'\n");
    let (reject, pass) = (folder.0.join("reject.toml"), folder.0.join("pass.toml"));
    let ledger = format!("sqlite:{}", folder.0.join("clients.db").display());
    let paths = ["--register-path", "/register", "--authorize-path", "/authorize", "--token-path", "/token"];
    for (arguments, is_said) in [
        (vec!["--ledger", &ledger], true),
        (vec!["--ledger", &ledger, "--policy", pass.to_str().unwrap()], true),
        (vec!["--ledger", &ledger, "--policy", reject.to_str().unwrap()], false),
        (vec![], false),
    ] {
        let mut command = command();
        command.args(["--upstream", &own, "--listen", ANY_PORT]).args(paths).args(&arguments);
        command.env("NO_COLOR", "1").stdout(Stdio::piped()).stderr(Stdio::piped());
        let start = move || {
            let mut child = command.spawn().unwrap();
            let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
            let base = lines.find_map(|line| line.strip_prefix("listening on ").map(str::to_owned)).unwrap();
            std::thread::spawn(move || lines.for_each(drop));
            Running { child, base, client: reqwest::Client::new() }
        };
        let mut proxy = tokio::task::spawn_blocking(start).await.unwrap();
        // It is said before the first request is answered.
        proxy.get("/unknown").await;
        proxy.child.kill().unwrap();
        let lines = logged(&mut proxy, usize::MAX, |_| true);
        let said: Vec<&String> = lines.iter().filter(|line| line.contains("the ledger does not know")).collect();
        assert_eq!(said.len(), usize::from(is_said), "{arguments:?}: {lines:#?}");
        assert!(said.iter().all(|line| line.contains(" INFO ") && line.contains(r#"gate.unknown = "reject""#)));
    }
}

/// While the server is down, each attempt to reach it logs one line.
#[test]
fn each_attempt_to_ask_the_server_is_logged_once() {
    let mut command = command();
    command.args(["--upstream", "http://127.0.0.1:9", "--listen", ANY_PORT]).env("NO_COLOR", "1");
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut proxy = Running { child, base: String::new(), client: reqwest::Client::new() };
    let lines = logged(&mut proxy, 3, |line| line.contains("retrying"));
    assert_eq!(lines.len(), 3, "{lines:#?}");
    let url = "retrying: http://127.0.0.1:9/.well-known/";
    assert!(lines.iter().all(|line| line.contains(url)), "{lines:#?}");
}

/// A server that registers every client, at the usual places.
#[tokio::test]
async fn it_protects_a_server_without_configuration() {
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let own = format!("http://{}", listener.local_addr().unwrap());
    let metadata = {
        let own = own.clone();
        async move || {
            Json(json!({
                "issuer": own,
                "registration_endpoint": format!("{own}/register"),
                "code_challenge_methods_supported": ["S256"],
            }))
        }
    };
    let register = async |Json(mut client): Json<Map<String, Value>>| {
        client.insert("client_id".into(), "client-1".into());
        (http::StatusCode::CREATED, Json(client))
    };
    let app = axum::Router::new()
        .route("/.well-known/oauth-authorization-server", get(metadata))
        .route("/register", post(register))
        .route("/mcp", any(async || http::StatusCode::UNAUTHORIZED));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let dangerous = json!({ "client_name": "Claude", "redirect_uris": ["javascript:alert(document.cookie)"] });
    let unprotected = reqwest::Client::new().post(format!("{own}/register")).json(&dangerous).send().await.unwrap();
    assert_eq!(unprotected.status().as_u16(), 201);
    let proxy = start(&own, &[]).await;
    assert_eq!(proxy.register(&dangerous).await.0, 400);
    let honest = json!({
        "client_name": "My App", "redirect_uris": ["http://127.0.0.1/cb"], "scope": "", "foo": null,
        "grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": "client_secret_post",
    });
    let (status, body) = proxy.register(&honest).await;
    assert_eq!((status, &body["token_endpoint_auth_method"]), (201, &json!("none")));
    let metadata: Value = proxy.get("/.well-known/oauth-authorization-server").await.json().await.unwrap();
    assert_eq!(metadata["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(proxy.get("/mcp").await.status().as_u16(), 401);
}
