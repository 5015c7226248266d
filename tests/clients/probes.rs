//! Requests that OAuth 2.1 or the client's registration forbids: the answers of servers alone, and behind the gate.

use std::collections::BTreeMap;
use std::fmt;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::Query;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Json};
use serde_json::{Value, json};
use url::Url;

use crate::bench::Bench;
use crate::folder::Folder;
use crate::readme;
use crate::servers::{Server, Standing, proxy};

type Pairs = Vec<(String, String)>;

/// Redirect URIs to which nothing is sent: responses are read from the redirect.
const CALLBACKS: [&str; 2] = ["http://127.0.0.1:8765/callback", "http://127.0.0.1:8765/other"];

/// Those of the one client that `mcp-oauth` registers.
const CLAUDE: [&str; 2] = ["https://claude.ai/api/mcp/auth_callback", "https://claude.com/api/mcp/auth_callback"];

/// The example of RFC 7636 appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A request that is sent to each server: a row of the table.
struct Probe {
    name: &'static str,
    /// The gate of the preset `mcp` rejects it.
    is_rejected: bool,
    client: Kind,
    change: Change,
}

/// The client that sends it.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// One redirect URI and `authorization_code` only.
    Code,
    /// Two redirect URIs.
    Two,
    /// With refresh tokens.
    Refresh,
}

/// The difference from the request of an honest client.
enum Change {
    /// At the authorization endpoint.
    Ask(fn(&mut Request)),
    /// At the token endpoint, with a code that was asked for honestly.
    Redeem(fn(&mut Request)),
    /// At the token endpoint, with a refresh token.
    Refresh(fn(&mut Request)),
    /// At the token endpoint, without either.
    Token(fn(&mut Request)),
}

/// A request in the making.
struct Request {
    pairs: Pairs,
    /// A client ID and secret in `Authorization: Basic`.
    basic: Option<(String, String)>,
    /// A scope with one more value than the registered one.
    beyond: String,
}

impl Request {
    fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.add(name, value);
    }

    fn add(&mut self, name: &str, value: &str) {
        self.pairs.push((name.to_owned(), value.to_owned()));
    }

    fn remove(&mut self, name: &str) {
        self.pairs.retain(|(known, _)| known != name);
    }

    fn set_beyond(&mut self) {
        let beyond = self.beyond.clone();
        self.set("scope", &beyond);
    }

    /// Authenticates by a method that the client has not registered.
    fn use_another_method(&mut self) {
        if self.basic.is_some() || self.pairs.iter().any(|(name, _)| name == "client_secret") {
            let (id, secret) =
                self.basic.take().unwrap_or_else(|| (self.value("client_id"), self.value("client_secret")));
            if self.pairs.iter().any(|(name, _)| name == "client_secret") {
                self.remove("client_secret");
                self.basic = Some((id, secret));
            } else {
                self.set("client_id", &id);
                self.set("client_secret", &secret);
            }
        } else {
            self.add("client_secret", "a-secret-that-was-never-issued");
        }
    }

    fn value(&self, name: &str) -> String {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap_or_default()
    }
}

/// The rows: first those of honest clients, which must pass wherever they pass alone.
const PROBES: &[Probe] = &[
    asks("an honest authorization request", false, |_| {}),
    redeems("an honest token request", false, |_| {}),
    refreshes("an honest refresh", false, |_| {}),
    asks("no `code_challenge`", true, |request| {
        request.remove("code_challenge");
        request.remove("code_challenge_method");
    }),
    asks("`code_challenge_method=plain`", true, |request| {
        request.set("code_challenge", VERIFIER);
        request.set("code_challenge_method", "plain");
    }),
    asks("a `code_challenge` of 3 characters", true, |request| request.set("code_challenge", "abc")),
    asks("`response_type=token`", true, |request| request.set("response_type", "token")),
    asks("`response_mode=unknown`", true, |request| request.set("response_mode", "unknown")),
    asks("`state` twice", true, |request| request.add("state", "another")),
    asks("`scope` twice", true, |request| {
        let beyond = request.beyond.clone();
        request.add("scope", &beyond);
    }),
    asks("`code_challenge` twice", true, |request| request.add("code_challenge", VERIFIER)),
    asks("a scope beyond the registered one", false, Request::set_beyond),
    Probe {
        name: "no `redirect_uri`, two are registered",
        is_rejected: true,
        client: Kind::Two,
        change: Change::Ask(|request| request.remove("redirect_uri")),
    },
    tokens("`grant_type=password`", |request| {
        request.set("grant_type", "password");
        request.set("username", "somebody");
        request.set("password", "secret");
    }),
    tokens("`grant_type=client_credentials`", |request| request.set("grant_type", "client_credentials")),
    redeems("no `code_verifier`", true, |request| request.remove("code_verifier")),
    redeems("a secret by another method than the registered one", true, Request::use_another_method),
    refreshes("a refresh by another method than the registered one", true, Request::use_another_method),
    refreshes("a refresh with a scope beyond the registered one", false, Request::set_beyond),
];

const fn asks(name: &'static str, is_rejected: bool, change: fn(&mut Request)) -> Probe {
    Probe { name, is_rejected, client: Kind::Code, change: Change::Ask(change) }
}

const fn redeems(name: &'static str, is_rejected: bool, change: fn(&mut Request)) -> Probe {
    Probe { name, is_rejected, client: Kind::Code, change: Change::Redeem(change) }
}

const fn refreshes(name: &'static str, is_rejected: bool, change: fn(&mut Request)) -> Probe {
    Probe { name, is_rejected, client: Kind::Refresh, change: Change::Refresh(change) }
}

const fn tokens(name: &'static str, change: fn(&mut Request)) -> Probe {
    Probe { name, is_rejected: true, client: Kind::Code, change: Change::Token(change) }
}

/// The answer to a probe.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Accepted(u16),
    /// With the registered scope only.
    Narrowed(u16),
    Rejected(u16),
    /// The server gives no code or no refresh token without a person, or registers no such client.
    Unknown,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted(status) => write!(f, "+{status}"),
            Self::Narrowed(status) => write!(f, "~{status}"),
            Self::Rejected(status) => write!(f, "−{status}"),
            Self::Unknown => f.write_str("·"),
        }
    }
}

/// A server and its endpoints.
struct Target<'a> {
    http: &'a reqwest::Client,
    register: String,
    authorize: String,
    token: String,
    /// The registered scope, and the one with another value.
    scopes: (&'static str, &'static str),
    callbacks: [&'static str; 2],
}

impl<'a> Target<'a> {
    async fn new(http: &'a reqwest::Client, base: &str, name: &str) -> Self {
        let mut document = Value::Null;
        for path in ["oauth-authorization-server", "openid-configuration"] {
            let answer = http.get(format!("{base}/.well-known/{path}")).send().await.unwrap();
            if answer.status().is_success() {
                document = answer.json().await.unwrap();
                break;
            }
        }
        let endpoint = |name: &str| document[format!("{name}_endpoint")].as_str().unwrap().to_owned();
        let scopes = match name {
            // They register scopes of their own only.
            "oidc-provider" => ("openid", "openid offline_access"),
            "MCP Python SDK's auth routes" => ("mcp", "mcp admin"),
            "oauth2-test-server" => ("openid", "openid email"),
            // It has none for clients that register.
            "oauth-as" => ("", "mcp:admin"),
            _ => ("mcp:read", "mcp:read mcp:admin"),
        };
        Self {
            http,
            register: endpoint("registration"),
            authorize: endpoint("authorization"),
            token: endpoint("token"),
            scopes,
            callbacks: if name == "mcp-oauth" { CLAUDE } else { CALLBACKS },
        }
    }

    /// Registers a client; `None` if the server registers none such.
    async fn client(&self, kind: Kind) -> Option<Value> {
        let mut registration = json!({
            "client_name": "Probe",
            "application_type": "native",
            "redirect_uris": [self.callbacks[0]],
            "grant_types": ["authorization_code"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "scope": self.scopes.0,
        });
        if self.scopes.0.is_empty() {
            registration.as_object_mut().unwrap().remove("scope");
        }
        match kind {
            Kind::Code => {}
            Kind::Two => registration["redirect_uris"] = json!(self.callbacks),
            Kind::Refresh => registration["grant_types"] = json!(["authorization_code", "refresh_token"]),
        }
        // Their grants are both or none.
        for grants in [registration["grant_types"].clone(), json!(["authorization_code", "refresh_token"])] {
            registration["grant_types"] = grants;
            let answer = self.http.post(&self.register).json(&registration).send().await.unwrap();
            if answer.status().is_success() {
                return answer.json().await.ok();
            }
        }
        None
    }

    /// Returns the answer to an authorization request, and the code.
    async fn ask(&self, client: &Value, change: fn(&mut Request)) -> (Answer, Option<String>) {
        let pairs = [
            ("response_type", "code"),
            ("client_id", client["client_id"].as_str().unwrap()),
            ("redirect_uri", self.callbacks[0]),
            ("scope", self.scopes.0),
            ("state", "a-state"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        let pairs: Vec<_> = pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let request = self.request(&pairs, change);
        let mut next = Url::parse_with_params(&self.authorize, &request.pairs).unwrap();
        let (mut first, mut cookies) = (None, BTreeMap::new());
        for _page in 0..10 {
            let jar: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let page = self.http.get(next.clone()).header("cookie", jar.join("; ")).send().await.unwrap();
            for cookie in page.headers().get_all("set-cookie") {
                let pair = cookie.to_str().unwrap().split(';').next().unwrap();
                let (name, value) = pair.split_once('=').unwrap();
                cookies.insert(name.to_owned(), value.to_owned());
            }
            let status = *first.get_or_insert(page.status().as_u16());
            let Some(to) = page.headers().get("location").filter(|_| page.status().is_redirection()) else {
                let fails = page.status().is_client_error() || page.status().is_server_error();
                return (if fails { Answer::Rejected(status) } else { Answer::Accepted(status) }, None);
            };
            next = next.join(to.to_str().unwrap()).unwrap();
            if self.callbacks.iter().any(|callback| next.as_str().starts_with(callback)) {
                let fragment = format!("http://x/?{}", next.fragment().unwrap_or_default()).parse::<Url>().unwrap();
                let pairs = next.query_pairs().chain(fragment.query_pairs());
                let all: Pairs = pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
                let value = |wanted: &str| all.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
                if value("error").is_some() {
                    return (Answer::Rejected(status), None);
                }
                return (Answer::Accepted(status), value("code"));
            }
        }
        (Answer::Unknown, None)
    }

    /// Returns the answer of the token endpoint, and its tokens.
    async fn tokens(&self, client: &Value, pairs: &[(&str, &str)], change: fn(&mut Request)) -> (Answer, Value) {
        let request = self.request(pairs, |_| {});
        let request = authenticated(request, client, change);
        let mut sent = self.http.post(&self.token).form(&request.pairs);
        if let Some((id, secret)) = request.basic {
            sent = sent.basic_auth(id, Some(secret));
        }
        let answer = sent.send().await.unwrap();
        let status = answer.status();
        let tokens: Value = answer.json().await.unwrap_or_default();
        let answer = if status.is_success() && tokens["access_token"].is_string() {
            Answer::Accepted(status.as_u16())
        } else {
            Answer::Rejected(status.as_u16())
        };
        (answer, tokens)
    }

    fn request(&self, pairs: &[(&str, &str)], change: fn(&mut Request)) -> Request {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut request = Request { pairs, basic: None, beyond: self.scopes.1.to_owned() };
        change(&mut request);
        request
    }

    async fn redeem(&self, client: &Value, code: &str, change: fn(&mut Request)) -> (Answer, Value) {
        let pairs = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.callbacks[0]),
            ("code_verifier", VERIFIER),
        ];
        self.tokens(client, &pairs, change).await
    }

    /// Returns `granted`, or [`Answer::Narrowed`] if the tokens have the registered scope only. RFC 6749 section 5.1: the
    /// scope is optional "if identical to the scope requested by the client".
    fn narrowed(&self, granted: Answer, tokens: &Value) -> Answer {
        match (granted, tokens["scope"].as_str()) {
            (Answer::Accepted(status), Some(scope)) if scope == self.scopes.0 => Answer::Narrowed(status),
            _ => granted,
        }
    }

    async fn answer(&self, probe: &Probe) -> Answer {
        let Some(client) = self.client(probe.client).await else { return Answer::Unknown };
        let beyond = probe.name.contains("scope beyond");
        match probe.change {
            Change::Ask(change) => {
                let (answer, code) = self.ask(&client, change).await;
                match code {
                    _ if !beyond || matches!(answer, Answer::Rejected(_)) => answer,
                    Some(code) => self.narrowed(answer, &self.redeem(&client, &code, |_| {}).await.1),
                    // The tokens have the scope, and there are none.
                    None => Answer::Unknown,
                }
            }
            Change::Redeem(change) => match self.ask(&client, |_| {}).await.1 {
                Some(code) => self.redeem(&client, &code, change).await.0,
                None => Answer::Unknown,
            },
            Change::Refresh(change) => {
                let Some(code) = self.ask(&client, |_| {}).await.1 else { return Answer::Unknown };
                let (_, tokens) = self.redeem(&client, &code, |_| {}).await;
                let Some(refresh) = tokens["refresh_token"].as_str() else { return Answer::Unknown };
                let pairs = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
                let (answer, tokens) = self.tokens(&client, &pairs, change).await;
                if beyond { self.narrowed(answer, &tokens) } else { answer }
            }
            Change::Token(change) => self.tokens(&client, &[], change).await.0,
        }
    }
}

/// Authenticates as the client was registered, and then makes the change.
fn authenticated(mut request: Request, client: &Value, change: fn(&mut Request)) -> Request {
    let id = client["client_id"].as_str().unwrap();
    let secret = client["client_secret"].as_str();
    match (client["token_endpoint_auth_method"].as_str(), secret) {
        (Some("client_secret_post"), Some(secret)) => {
            request.add("client_id", id);
            request.add("client_secret", secret);
        }
        (Some("client_secret_basic") | None, Some(secret)) => request.basic = Some((id.to_owned(), secret.to_owned())),
        _ => request.add("client_id", id),
    }
    change(&mut request);
    request
}

/// A handler that checks nothing: it answers every request of this table.
fn naive(base: &str) -> Router {
    let metadata = json!({
        "issuer": base,
        "authorization_endpoint": format!("{base}/authorize"),
        "token_endpoint": format!("{base}/token"),
        "registration_endpoint": format!("{base}/register"),
        "response_types_supported": ["code", "token"],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials", "password"],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256", "plain"],
        "scopes_supported": ["mcp:read", "mcp:admin"],
    });
    let next = Arc::new(AtomicUsize::new(1));
    let register = async move |Json(mut client): Json<Value>| {
        client["client_id"] = format!("client-{}", next.fetch_add(1, Ordering::Relaxed)).into();
        (StatusCode::CREATED, Json(client))
    };
    let authorize = async |Query(pairs): Query<Pairs>| -> Response {
        let value = |wanted: &str| pairs.iter().find(|(name, _)| name == wanted).map_or("", |(_, value)| value);
        let to = if value("redirect_uri").is_empty() { CALLBACKS[0] } else { value("redirect_uri") };
        // The code is the scope, which the token endpoint gives back.
        let code = format!("{}.{}", value("scope"), value("client_id"));
        let to = Url::parse_with_params(to, [("code", &*code), ("state", value("state"))]).unwrap();
        (StatusCode::FOUND, [(header::LOCATION, to.to_string())]).into_response()
    };
    let token = async |Form(pairs): Form<Pairs>| {
        let value = |wanted: &str| pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
        let of_code = || value("code")?.split('.').next().map(str::to_owned);
        let scope = value("scope").or_else(of_code).unwrap_or_else(|| "mcp:read".to_owned());
        Json(json!({ "access_token": "t", "token_type": "Bearer", "refresh_token": "r", "scope": scope }))
    };
    Router::new()
        .route("/.well-known/oauth-authorization-server", get(async || Json(metadata)))
        .route("/register", post(register))
        .route("/authorize", get(authorize))
        .route("/token", post(token))
}

/// The answers of one server, alone and behind the gate, in the order of the rows.
struct Column {
    title: String,
    answers: Vec<(Answer, Answer)>,
}

/// The policy of the gate: `mcp`, with what a server's answers to registrations need.
fn policy(name: &str) -> String {
    let answer = match name {
        // Every client gets a secret here, and no token without it.
        "mcp-oauth" => "report_only = true",
        // Every client gets a secret here, too, and needs none.
        "oauth2-test-server" => "secret = \"strip\"",
        _ => "",
    };
    format!("{}\n[answer]\n{answer}\n", include_str!("unlimited.toml"))
}

async fn both(title: String, alone: Target<'_>, behind: Target<'_>) -> Column {
    let mut answers = Vec::new();
    for probe in PROBES {
        answers.push((alone.answer(probe).await, behind.answer(probe).await));
    }
    Column { title, answers }
}

async fn naive_column() -> Column {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let app = naive(&base);
    tokio::spawn(async move { axum::serve(listener, app).await });
    let folder = Folder::new("probes-naive");
    folder.write("policy.toml", &policy("naive"));
    let ledger = format!("sqlite:{}", folder.0.join("clients.db").display());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (upstream, path) = (base.clone(), folder.0.join("policy.toml"));
    // The proxy asks this process before it listens.
    let proxy = tokio::task::spawn_blocking(move || proxy(&upstream, port, &path, &["--ledger", &ledger]));
    let proxy = proxy.await.unwrap();
    let (alone, behind) =
        (Target::new(&proxy.client, &base, "naive").await, Target::new(&proxy.client, &proxy.base, "naive").await);
    both("a handler that checks nothing".to_owned(), alone, behind).await
}

async fn column(bench: &Bench, server: &Server) -> Column {
    let folder = Folder::new(&format!("probes-{}", server.name.replace(|c: char| !c.is_ascii_alphanumeric(), "-")));
    folder.write("policy.toml", &policy(server.name));
    let (alone, gated): (Standing, Standing) = (server.alone(bench), server.gated(bench, &folder));
    let (alone, behind) = (
        Target::new(alone.http(), &alone.base, server.name).await,
        Target::new(gated.http(), &gated.base, server.name).await,
    );
    both(server.title(), alone, behind).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_rejects_what_servers_accept() {
    let Some(bench) = Bench::find() else { return };
    let mut columns = vec![naive_column().await];
    for server in Server::all(bench) {
        columns.push(column(bench, &server).await);
    }
    let mut faults = Vec::new();
    for (row, probe) in PROBES.iter().enumerate() {
        for column in &columns {
            let (alone, behind) = column.answers[row];
            let accepted = matches!(behind, Answer::Accepted(_));
            if probe.is_rejected && (accepted || matches!(behind, Answer::Narrowed(_))) {
                faults.push(format!("{}: {} passes the gate: {behind}", column.title, probe.name));
            }
            if !probe.is_rejected && matches!(alone, Answer::Accepted(_)) && matches!(behind, Answer::Rejected(_)) {
                faults.push(format!("{}: {} does not pass any more: {alone}, {behind}", column.title, probe.name));
            }
            if probe.name.contains("scope beyond") && accepted {
                faults.push(format!("{}: {} grows: {behind}", column.title, probe.name));
            }
        }
        // A handler that checks nothing accepts each: none of the rejections is its own.
        let naive = columns[0].answers[row].0;
        assert!(matches!(naive, Answer::Accepted(_)), "{}: {naive}", probe.name);
    }
    readme::check("probes", &table(&columns));
    assert!(faults.is_empty(), "{faults:#?}");
}

fn table(columns: &[Column]) -> String {
    let titles: Vec<&str> = columns.iter().map(|column| &*column.title).collect();
    let mut lines =
        vec![format!("| request | {} |", titles.join(" | ")), format!("| ---{} |", " | ---".repeat(titles.len()))];
    for (row, probe) in PROBES.iter().enumerate() {
        let cells = columns.iter().map(|column| {
            let (alone, behind) = column.answers[row];
            format!("{alone} → {behind}")
        });
        lines.push(format!("| {} | {} |", probe.name, cells.collect::<Vec<_>>().join(" | ")));
    }
    lines.join("\n")
}
