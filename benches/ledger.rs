//! The cost of the ledger, with a thousand clients and with a million.

#[path = "support/mod.rs"]
mod support;

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, Uri};
use bytes::Bytes;
use http_body_util::BodyExt;
use sqlx::{AssertSqlSafe, PgPool, SqlitePool};
use support::{Case, compare, figure};
use test_support::databases::{Postgres, TempDir};
use tokio::runtime::Runtime;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_dcr::Preset;
use tower_dcr::audit::{Event, LifecycleEvent, Sink};
use tower_dcr::clients::Registrar;
use tower_dcr::clients::{Client, Fingerprints, Ledger, MemoryLedger, Status};
use tower_dcr::documents::{ClientIdUrl, Documents, Fetch, FetchError, FetchRequest};
use tower_dcr::layers::ResponseBody;
use tower_dcr::rules::MetadataAllowlist;
use tower_dcr::{
    Registration,
    layers::{GateEndpoint, GateLayer, LifecycleLayer, PolicyLayer, RegistrationBody},
};
use tower_dcr_sqlx::{PostgresLedger, SqliteLedger};

const FEW: u64 = 1_000;
const MANY: u64 = 1_000_000;

struct Silent;

impl Sink for Silent {
    fn emit(&self, _: &Event) {}
    fn emit_lifecycle(&self, _: &LifecycleEvent) {}
}

type Register = BoxCloneSyncService<Request<Body>, Response<ResponseBody<ResponseBody<Body>>>, Infallible>;
type Token = BoxCloneSyncService<Request<Body>, Response<ResponseBody<Body>>, Infallible>;

/// A node with a ledger of some size.
struct Node {
    register: Register,
    token: Token,
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

impl Node {
    fn new(ledger: impl Ledger) -> Self {
        let registrar = Registrar::new(ledger).with_sink(Silent);
        let handler = service_fn(async |_: Request<RegistrationBody>| {
            let id = NUMBER.fetch_add(1, Ordering::Relaxed);
            Ok(Response::new(Body::from(format!(r#"{{"client_id":"new-{id}"}}"#))))
        });
        let register = ServiceBuilder::new()
            .layer(PolicyLayer::new(MetadataAllowlist::mcp()))
            .layer(LifecycleLayer::new(registrar.clone()))
            .service(handler);
        // Not a successful answer, which would be a proof and a write for each client that is asked for first.
        let rejecting = service_fn(async |_: Request<_>| {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = http::StatusCode::BAD_REQUEST;
            Ok(response)
        });
        let gate =
            GateLayer::new(GateEndpoint::Token, registrar).map_settings(|gate| gate.max_age = Some(Duration::ZERO));
        let token = ServiceBuilder::new().layer(gate).service(rejecting);
        Self { register: BoxCloneSyncService::new(register), token: BoxCloneSyncService::new(token) }
    }

    async fn register(&self, body: String) {
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = Method::POST;
        request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        let answer = self.register.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
        assert!(answer.status().is_success(), "{}", answer.status());
        let _body = answer.into_body().collect().await;
    }

    async fn register_new(&self) {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        self.register(metadata(&format!("new {number}"))).await;
    }

    async fn token(&self, number: u64) {
        let answer = self.token.clone().oneshot(token(&format!("client-{number}"))).await;
        let answer = answer.unwrap_or_else(|never| match never {});
        assert_eq!(answer.status(), 400, "the handler was reached");
    }
}

fn metadata(name: &str) -> String {
    format!(r#"{{"client_name":"{name}","redirect_uris":["http://127.0.0.1:33418/callback"]}}"#)
}

fn token(client_id: &str) -> Request<Body> {
    let mut request = Request::new(Body::from(format!("grant_type=authorization_code&code=x&client_id={client_id}")));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("/token");
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().insert("content-type", form);
    request
}

/// A client as there are many.
fn client(number: u64) -> Client {
    let json = metadata(&format!("App {number}"));
    let prints = Registration::parse(json.as_bytes()).map(|registration| Fingerprints::of(&registration, false));
    let mut client = Client::draft(json, prints.unwrap_or_default(), 1_700_000_000_000);
    client.status = Status::Active;
    client.client_id = Some(format!("client-{number}"));
    client.expires_at = Some(i64::MAX);
    client
}

async fn memory(clients: u64) -> MemoryLedger {
    let ledger = NonZeroUsize::new(4_000_000).map(MemoryLedger::new).unwrap_or_default();
    for number in 0..clients {
        let _inserted = ledger.insert(&client(number), None).await;
    }
    ledger
}

/// Rows as [`client`] makes them, made in the database.
fn fill(numbers: &str) -> String {
    format!(
        "INSERT INTO tower_dcr_clients (version, status, origin, client_id, registration, dedup_key, digest, family, \
         name, redirect_set, redirect_hosts, client_name, created_at, alive_since, expires_at, deprovision_attempts) \
         SELECT 1, 'active', 'registered', 'client-' || n, '{{\"client_name\":\"App ' || n || '\"}}', 'digest-' || n, \
         'digest-' || n, 'family-' || n, 'app ' || n, 'set-' || n, 'loopback', 'App ' || n, 1700000000000 + n, \
         1700000000000 + n, 9000000000000000000, 0 FROM {numbers}"
    )
}

const HOSTS: &str = "INSERT INTO tower_dcr_redirect_hosts (host, client) SELECT 'loopback', id FROM tower_dcr_clients";
const COUNT: &str = "UPDATE tower_dcr_live SET clients = (SELECT COUNT(*) FROM tower_dcr_clients)";

async fn sqlite(dir: &TempDir, clients: u64) -> SqliteLedger {
    let path = dir.path().join(format!("{clients}.db"));
    let ledger = SqliteLedger::open(&path).await.expect("opened");
    let pool = SqlitePool::connect(&format!("sqlite:{}", path.display())).await.expect("opened");
    let numbers = format!(
        "(WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {clients}) SELECT n FROM \
         numbers) AS numbers"
    );
    for sql in [fill(&numbers), HOSTS.to_owned(), COUNT.to_owned(), "ANALYZE".to_owned()] {
        sqlx::query(AssertSqlSafe(sql)).execute(&pool).await.expect("filled");
    }
    pool.close().await;
    ledger
}

async fn postgres(pool: PgPool, clients: u64) -> PostgresLedger {
    let ledger = PostgresLedger::new(pool.clone()).await.expect("opened");
    let numbers = format!("generate_series(1, {clients}) AS n");
    for sql in [fill(&numbers), HOSTS.to_owned(), COUNT.to_owned(), "VACUUM ANALYZE".to_owned()] {
        sqlx::query(AssertSqlSafe(sql)).execute(&pool).await.expect("filled");
    }
    ledger
}

/// Prints the number of registrations in a second by callers that each wait for an answer before the next.
#[expect(clippy::disallowed_methods, reason = "a rate is measured on the system's clock")]
fn rate(runtime: &Runtime, name: &str, node: Node, callers: usize) {
    const PERIOD: Duration = Duration::from_secs(5);
    let node = Arc::new(node);
    let begun = Instant::now();
    let callers: Vec<_> = (0..callers)
        .map(|_| {
            let node = Arc::clone(&node);
            runtime.spawn(async move {
                let mut registered = 0_u32;
                while begun.elapsed() < PERIOD {
                    node.register_new().await;
                    registered += 1;
                }
                registered
            })
        })
        .collect();
    let of = callers.len();
    let registered: u32 = callers.into_iter().map(|caller| runtime.block_on(caller).expect("registered")).sum();
    figure(
        &format!("{name}: new registrations a second, {of} callers"),
        f64::from(registered) / begun.elapsed().as_secs_f64(),
    );
}

/// The two sizes side by side.
fn sizes(runtime: &Runtime, name: &str, few: &Node, many: &Node) {
    let mut worst: f64 = 0.0;
    let body = metadata("Repeated");
    for node in [few, many] {
        runtime.block_on(node.register(body.clone()));
    }
    let figures = compare(
        &format!("{name}: a repeat"),
        vec![
            Case::new("1 thousand clients", || runtime.block_on(few.register(body.clone()))),
            Case::new("1 million clients", || runtime.block_on(many.register(body.clone()))),
        ],
    );
    worst = figures.iter().fold(worst, |worst, figure| worst.max(figure.ratio));
    let figures = compare(
        &format!("{name}: a new registration"),
        vec![
            Case::new("1 thousand clients", || runtime.block_on(few.register_new())),
            Case::new("1 million clients", || runtime.block_on(many.register_new())),
        ],
    );
    worst = figures.iter().fold(worst, |worst, figure| worst.max(figure.ratio));
    let (one, other) = (AtomicU64::new(1), AtomicU64::new(1));
    // Another client each time, all over the ledger.
    let next = |number: &AtomicU64, clients: u64| number.fetch_add(7919, Ordering::Relaxed) % (clients - 1) + 1;
    let figures = compare(
        &format!("{name}: the gate, nothing remembered"),
        vec![
            Case::new("1 thousand clients", || runtime.block_on(few.token(next(&one, FEW)))),
            Case::new("1 million clients", || runtime.block_on(many.token(next(&other, MANY)))),
        ],
    );
    worst = figures.iter().fold(worst, |worst, figure| worst.max(figure.ratio));
    figure(&format!("{name}: 1 million clients / 1 thousand, the worst"), worst);
}

/// The host of one document.
struct Publisher;

impl Fetch for Publisher {
    async fn fetch(&self, request: FetchRequest) -> Result<Response<Bytes>, FetchError> {
        let client = code_client();
        let document = client.registration.replacen('{', &format!("{{\"client_id\":\"{}\",", request.url), 1);
        let response = Response::builder().header("content-type", "application/json");
        response.header("cache-control", "max-age=86400").body(document.into()).map_err(FetchError::other)
    }
}

/// Lets the client of a document sign in once, so that it has a record, as most have.
fn sign_in(runtime: &Runtime, preset: &Preset, registrar: &Registrar, query: &str) {
    let gate = preset.gate(GateEndpoint::Authorization, registrar.clone());
    let redirect = service_fn(async |_: Request<ResponseBody<Body>>| {
        let response = Response::builder().status(302).header("location", "http://127.0.0.1:33418/callback?code=c");
        Ok::<_, Infallible>(response.body(Body::empty()).expect("a response"))
    });
    let request = Request::get(format!("/x?{query}")).body(Body::empty()).expect("a request");
    let answer = runtime.block_on(ServiceBuilder::new().layer(gate).service(redirect).oneshot(request));
    assert_eq!(answer.unwrap_or_else(|never| match never {}).status(), 302);
}

/// Gates with a warm cache around a handler, beside the handler alone: with the rules of `mcp`, and without rules.
fn warm(runtime: &Runtime) {
    let ledger = MemoryLedger::default();
    let registrar = Registrar::new(ledger.clone()).with_sink(Silent);
    let preset = tower_dcr::mcp().with_registrar(registrar.clone()).with_documents(Documents::new(Publisher));
    runtime.block_on(async { ledger.insert(&code_client(), None).await.expect("inserted") });
    let url = |name: &str| format!("https%3A%2F%2Fapp.example.com%2F{name}.json");
    let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let query = format!(
        "response_type=code&client_id=client-1&redirect_uri=http%3A%2F%2F127.0.0.1%3A33418%2Fcallback&scope=mcp%3Aread\
         &code_challenge={challenge}&code_challenge_method=S256&state=af0ifjsldkj&resource=https%3A%2F%2Fmcp.example.com%2F"
    );
    let form = format!("grant_type=authorization_code&code=x&client_id=client-1&code_verifier={challenge}");
    let named = |text: &str, name: &str| text.replace("client-1", &url(name));
    sign_in(runtime, &preset, &registrar, &named(&query, "used"));
    let unused = ClientIdUrl::parse("https://app.example.com/unused.json").expect("a URL");
    runtime.block_on(preset.resolve_document(&unused, None)).expect("a document");
    for (endpoint, query, form) in
        [(GateEndpoint::Authorization, query, String::new()), (GateEndpoint::Token, String::new(), form)]
    {
        let route = || axum::routing::any(|| async { "answer" });
        let router = |route| axum::Router::new().route("/x", route).with_state(());
        let plain = GateLayer::new(endpoint, registrar.clone());
        let (bare, plain) = (router(route()), router(route().layer(plain)));
        let ruled = preset.gate(endpoint, registrar.clone()).map_settings(|gate| {
            gate.resources = Some(vec!["https://mcp.example.com/".to_owned()]);
        });
        let ruled = router(route().layer(ruled));
        let request = |query: &str, form: &str| (format!("/x?{query}").parse::<Uri>().expect("a URL"), form.to_owned());
        let of_document = |name: &str| request(&named(&query, name), &named(&form, name));
        let (registered, used, unused) = (request(&query, &form), of_document("used"), of_document("unused"));
        let ask = |router: &axum::Router, (uri, form): &(Uri, String)| {
            let mut request = Request::new(Body::from(form.clone()));
            *request.uri_mut() = uri.clone();
            if !form.is_empty() {
                *request.method_mut() = Method::POST;
                let media = HeaderValue::from_static("application/x-www-form-urlencoded");
                request.headers_mut().insert("content-type", media);
            }
            let answer = runtime.block_on(router.clone().oneshot(request)).unwrap_or_else(|never| match never {});
            assert_eq!(answer.status(), 200);
        };
        let figures = compare(
            &format!("{endpoint:?}: the gate, remembered"),
            vec![
                Case::new("bare handler", || ask(&bare, &registered)),
                Case::new("gated, no rules", || ask(&plain, &registered)),
                Case::new("gated, all rules of mcp", || ask(&ruled, &registered)),
                Case::new("the same, a client of a document", || ask(&ruled, &used)),
                Case::new("the same, before its first sign-in", || ask(&ruled, &unused)),
            ],
        );
        if let [bare, _, ruled, by_used, by_unused] = &figures[..] {
            figure(&format!("{endpoint:?}: the gate adds, in microseconds"), (ruled.cost - bare.cost) / 1000.0);
            let more = |figure: &support::Figure| (figure.cost - ruled.cost) / 1000.0;
            figure(&format!("{endpoint:?}: a client of a document adds to it, in microseconds"), more(by_used));
            figure(&format!("{endpoint:?}: before its first sign-in"), more(by_unused));
        }
    }
}

/// A client of the code flow with a scope.
fn code_client() -> Client {
    let json = r#"{"client_name":"App 1","grant_types":["authorization_code","refresh_token"],"redirect_uris":["http://127.0.0.1:33418/callback"],"response_types":["code"],"scope":"mcp:read mcp:write","token_endpoint_auth_method":"none"}"#;
    let mut client = client(1);
    json.clone_into(&mut client.registration);
    client.last_used_at = Some(i64::MAX / 2);
    client
}

/// All of them, or those that are named: `cargo bench --bench ledger -- SQLite`.
fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let named: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    let wanted = |name: &str| named.is_empty() || named.iter().any(|wanted| wanted == name);
    if wanted("gate") {
        warm(&runtime);
    }
    if wanted("memory") {
        let (few, many) = runtime.block_on(async { (memory(FEW).await, memory(MANY).await) });
        sizes(&runtime, "memory", &Node::new(few), &Node::new(many));
    }
    if wanted("SQLite") {
        let dir = TempDir::new("bench");
        let (few, many) = runtime.block_on(async { (sqlite(&dir, FEW).await, sqlite(&dir, MANY).await) });
        sizes(&runtime, "SQLite", &Node::new(few), &Node::new(many));
    }
    if wanted("rates") {
        let dir = TempDir::new("bench");
        for callers in [1, 32] {
            rate(&runtime, "SQLite", Node::new(runtime.block_on(sqlite(&dir, FEW + callers as u64))), callers);
        }
        let server = Postgres::start().expect("PostgreSQL is installed");
        for callers in [1, 64] {
            let ledger = runtime.block_on(async { postgres(server.fresh_database().await, FEW).await });
            rate(&runtime, "PostgreSQL", Node::new(ledger), callers);
        }
    }
    if wanted("PostgreSQL") {
        let server = Postgres::start().expect("PostgreSQL is installed");
        let (few, many) = runtime.block_on(async {
            (postgres(server.fresh_database().await, FEW).await, postgres(server.fresh_database().await, MANY).await)
        });
        sizes(&runtime, "PostgreSQL", &Node::new(few), &Node::new(many));
    }
}
