//! MCP's step-up authorization: released clients that need more scope than they registered.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Uri, header};
use reqwest::{Client as Http, redirect};
use serde_json::Value;
use tokio::net::TcpListener;
use url::form_urlencoded;

use crate::bench::{Bench, STEP_UP_CLIENTS, StepUp, UNSCOPED_CLIENTS};
use crate::folder::Folder;
use crate::readme;
use crate::running::{ANY_PORT, Running};

/// A server in front of the demo that keeps its requests.
struct Counted {
    base: String,
    seen: Arc<Seen>,
}

struct Seen {
    demo: String,
    http: Http,
    requests: Mutex<Vec<(Method, Uri, StatusCode)>>,
}

impl Counted {
    async fn start(demo: &str) -> Self {
        let http = Http::builder().redirect(redirect::Policy::none()).build().unwrap();
        let seen = Arc::new(Seen { demo: demo.to_owned(), http, requests: Mutex::default() });
        let listener = TcpListener::bind(ANY_PORT).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(forward).with_state(Arc::clone(&seen));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { base, seen }
    }

    fn registrations(&self) -> usize {
        let requests = self.seen.requests.lock().unwrap();
        requests.iter().filter(|(method, url, _)| *method == Method::POST && url.path() == "/register").count()
    }

    /// Returns the statuses of the authorization requests with this scope. `FastMCP` looks at each one itself before a person
    /// does, so that an equal one does not count.
    fn authorizations(&self, scope: &str) -> Vec<u16> {
        let requests = self.seen.requests.lock().unwrap();
        let asks = |url: &Uri| {
            let mut query = form_urlencoded::parse(url.query().unwrap_or_default().as_bytes());
            url.path() == "/authorize" && query.any(|(name, value)| name == "scope" && value == scope)
        };
        let asking = requests.iter().filter(|(_, url, _)| asks(url));
        let distinct: BTreeMap<String, u16> =
            asking.map(|(_, url, status)| (url.to_string(), status.as_u16())).collect();
        distinct.into_values().collect()
    }
}

/// Keeps `Host`, from which the demo takes its own URL.
async fn forward(State(seen): State<Arc<Seen>>, parts: Parts, body: Bytes) -> Response {
    let request = seen.http.request(parts.method.clone(), format!("{}{}", seen.demo, parts.uri));
    let answer = request.headers(parts.headers).body(body).send().await.unwrap();
    let status = answer.status();
    seen.requests.lock().unwrap().push((parts.method, parts.uri, status));
    let mut headers: HeaderMap = answer.headers().clone();
    headers.remove(header::TRANSFER_ENCODING);
    (status, headers, Body::from(answer.bytes().await.unwrap())).into_response()
}

/// The outcome of the call of the second tool.
struct Outcome {
    name: String,
    wrote: bool,
    /// The error of the call.
    ended: String,
    registrations: usize,
    /// The statuses of the authorization requests with more scope.
    asked: Vec<u16>,
}

impl Outcome {
    fn of(name: String, printed: &Value, server: &Counted) -> Self {
        assert_eq!((&printed["said"], &printed["still"]), (&"hello".into(), &"again".into()), "{name}: {printed}");
        let wrote = printed["wrote"].is_string();
        assert!(!wrote || printed["wrote"] == "written: hello", "{name}: {printed}");
        // Not again for the first tool, whose scope the client has.
        assert_eq!(server.authorizations("mcp").len(), 1, "{name}");
        let ended = printed["ended"].as_str().unwrap_or_default().to_owned();
        assert!(wrote || !ended.is_empty(), "{name}: {printed}");
        let (registrations, asked) = (server.registrations(), server.authorizations("mcp mcp:write"));
        // No endless loop: a program repeats the call once after it has asked.
        assert!(asked.len() <= 2, "{name}: {asked:?}");
        Self { name, wrote, ended, registrations, asked }
    }

    /// Returns the cell of the table.
    fn cell(&self) -> String {
        let end = match (self.wrote, self.ended.contains("timed out")) {
            (true, _) => "works",
            (false, true) => "waits until its timeout",
            (false, false) => "fails",
        };
        let again = if self.registrations > 1 { ", registers again" } else { "" };
        format!("{end}, asks {}{again}", ["never", "once", "twice"][self.asked.len()])
    }
}

/// Has each client sign in, call the first tool, the second one, and the first one again.
async fn outcomes(bench: &'static Bench, clients: &'static [StepUp], policy: &str) -> Vec<Outcome> {
    let _turn = bench.turn().await;
    let folder = Folder::new("step-up");
    folder.write("policy.toml", policy);
    let policy = folder.0.join("policy.toml");
    let demo = Running::start("demo", &["--addr", ANY_PORT, "--auto-approve", "--policy", policy.to_str().unwrap()]);
    let mut running = Vec::new();
    for client in clients {
        let server = Counted::start(&demo.base).await;
        let mcp = format!("{}/mcp", server.base);
        running.push((client, tokio::spawn(async move { bench.run(&client.client, "-", &mcp).await }), server));
    }
    let mut outcomes = Vec::new();
    for (client, printed, server) in running {
        let name = format!("{} {}{}", client.client.name, bench.version(&client.client), client.variant);
        let printed = printed.await.unwrap().unwrap_or_else(|printed| panic!("{name}: {printed}"));
        outcomes.push(Outcome::of(name, &printed, &server));
    }
    outcomes
}

const LISTED: &str = "extends = 'mcp'\ngate.additional_scopes = ['mcp:write']\n";
const NARROWED: &str = "extends = 'mcp'\n";
const REJECTED: &str = "extends = 'mcp'\ngate.rules.scope = 'reject'\n";

#[tokio::test]
async fn clients_get_more_scope_if_it_is_listed_and_end_clearly_otherwise() {
    let Some(bench) = Bench::find() else { return };
    let listed = outcomes(bench, &STEP_UP_CLIENTS, LISTED).await;
    let narrowed = outcomes(bench, &STEP_UP_CLIENTS, NARROWED).await;
    let rejected = outcomes(bench, &STEP_UP_CLIENTS, REJECTED).await;

    let mut table = String::from("| client | listed | narrowed | rejected |\n| --- | --- | --- | --- |");
    for ((listed, narrowed), rejected) in listed.iter().zip(&narrowed).zip(&rejected) {
        let name = &listed.name;
        // A client that asks gets the scope, with one request.
        assert_eq!(listed.asked, if listed.wrote { vec![302] } else { vec![] }, "{name}");
        assert!(!narrowed.wrote && narrowed.asked.iter().all(|status| *status == 302), "{name}");
        // It registered "mcp", and a new registration has more.
        assert_eq!(rejected.wrote, rejected.registrations > 1, "{name}");
        assert_eq!(rejected.asked.contains(&400), listed.wrote, "{name}: {:?}", rejected.asked);
        assert_eq!((listed.registrations, narrowed.registrations), (1, 1), "{name}");
        let cells = [listed, narrowed, rejected].map(Outcome::cell).join(" | ");
        write!(table, "\n| {name} | {cells} |").unwrap();
    }
    readme::check_in("enforcement.md", "step-up", &table);
}

/// A client that registered no scope has no limit, even if more than the registered one is rejected.
#[tokio::test]
async fn clients_that_registered_no_scope_get_more_without_a_setting() {
    let Some(bench) = Bench::find() else { return };
    for policy in [NARROWED, REJECTED] {
        for outcome in outcomes(bench, &UNSCOPED_CLIENTS, policy).await {
            let Outcome { name, wrote, ended, registrations, asked } = outcome;
            assert!(wrote && registrations == 1 && asked == [302], "{name}: {ended} {registrations} {asked:?}");
        }
    }
}
