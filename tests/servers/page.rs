//! The review page and its JSON API, by HTTP and in a real browser.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use axum::response::Html;
use axum::routing::get;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fantoccini::Locator;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_dcr::Registration;
use tower_dcr::clients::{
    Change, Client, DocumentState, Fingerprints, HeldChange, Insertion, Ledger, MemoryLedger, Origin, Status,
};
use tower_dcr_admin::{Access, AdminService};

use crate::browser::Browser;
use crate::world::{Answer, World, metadata};

const PASSWORD: &str = "correct horse";

/// The page behind HTTP Basic, beside the world's routes.
fn app(world: &World) -> Router {
    let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("alice:{PASSWORD}")));
    let service = AdminService::new(world.registrar.clone(), "/admin/clients", move |request: &_| {
        let request: &http::request::Parts = request;
        match request.headers.get(header::AUTHORIZATION) {
            None => Access::Challenge("Basic realm=\"clients\""),
            Some(given) if *given == *expected => Access::Operator("alice".into()),
            Some(_) => Access::Deny,
        }
    });
    world.app.clone().nest_service("/admin/clients", service)
}

fn signed_in(method: &str, path: &str) -> http::request::Builder {
    let credentials = format!("Basic {}", BASE64_STANDARD.encode(format!("alice:{PASSWORD}")));
    Request::builder().method(method).uri(format!("/admin/clients{path}")).header(header::AUTHORIZATION, credentials)
}

async fn send(app: &Router, request: Request<Body>) -> Answer {
    Answer::of(app.clone().oneshot(request).await.unwrap()).await
}

async fn read(app: &Router, path: &str) -> Answer {
    send(app, signed_in("GET", path).body(Body::empty()).unwrap()).await
}

async fn act(app: &Router, act: &Value) -> Answer {
    let request = signed_in("POST", "/api/act").header(header::CONTENT_TYPE, "application/json");
    send(app, request.body(Body::from(act.to_string())).unwrap()).await
}

#[tokio::test]
async fn rejects_requests_without_access() {
    let world = World::new(MemoryLedger::default());
    let app = app(&world);
    for path in ["", "/", "/style.css", "/api/summary", "/api/clients"] {
        let request = Request::get(format!("/admin/clients{path}")).body(Body::empty()).unwrap();
        let answer = send(&app, request).await;
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.headers.contains_key("www-authenticate"), "{path}");
        let wrong = Request::get(format!("/admin/clients{path}")).header(header::AUTHORIZATION, "Basic eDp5");
        assert_eq!(send(&app, wrong.body(Body::empty()).unwrap()).await.status, 403, "{path}");
        let answer = read(&app, path).await;
        assert_eq!(answer.status, 200, "{path}");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("script-src"), "{path}");
        assert_eq!(answer.headers["cache-control"], "no-store", "{path}");
    }
}

#[tokio::test]
async fn the_api_reads_and_acts() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    let app = app(&world);
    let ids = [world.client("One").await, world.client("Two").await, world.client("Two (b)").await];
    let page = read(&app, "/api/clients?limit=2").await.json();
    assert_eq!(page["clients"].as_array().unwrap().len(), 2);
    let next = page["next"].as_i64().unwrap();
    let page = read(&app, &format!("/api/clients?limit=2&cursor={next}")).await.json();
    assert_eq!(page["clients"][0]["client_id"], ids[0]);
    assert_eq!(page["next"], Value::Null);
    let one = read(&app, &format!("/api/clients/{}", ids[0])).await.json();
    assert_eq!(one["registration"]["client_name"], "One");
    assert_eq!(read(&app, "/api/groups?by=families").await.json()[0]["clients"], 2);
    assert_eq!(read(&app, "/api/summary").await.json()["statuses"], json!([["active", 3]]));

    let done = act(&app, &json!({ "act": "extend", "client_id": ids[0], "days": 30, "reason": "asked" })).await;
    assert_eq!((done.status, done.json()["done"].as_str()), (200, Some("Extended by 30 days.")));
    let done = act(&app, &json!({ "act": "revoke_family", "client_id": ids[1], "reason": "spam" })).await;
    assert_eq!(done.json()["done"], "Revoked: 2.");
    assert_eq!(ledger.find(&ids[2]).await.unwrap().unwrap().status, Status::Revoked);
    let blocks = read(&app, "/api/blocks").await.json();
    assert_eq!((blocks[0]["kind"].as_str(), blocks[0]["actor"].as_str()), (Some("family"), Some("operator:alice")));
    let unblock = json!({ "act": "unblock", "kind": "family", "value": blocks[0]["value"] });
    assert_eq!(act(&app, &unblock).await.json()["done"], "Unblocked.");

    let rows = [
        (404, json!({ "act": "approve", "client_id": "nobody" })),
        (409, json!({ "act": "approve", "client_id": ids[1] })),
        (400, json!({ "act": "approve" })),
        (400, json!({ "act": "dance" })),
        (400, json!({ "act": "extend", "client_id": ids[0], "days": -1 })),
        (400, json!({ "act": "revoke_all", "kind": "nonsense", "value": "x" })),
        (400, json!([])),
    ];
    for (status, request) in rows {
        let answer = act(&app, &request).await;
        assert_eq!(answer.status, status, "{request}");
        assert!(!answer.error().is_empty(), "{request}");
    }
    for path in
        ["/api/clients?queue=x", "/api/clients?cursor=x", "/api/clients?limit=x", "/api/groups?by=x", "?queue=x"]
    {
        assert_eq!(read(&app, path).await.status, 400, "{path}");
    }
    assert_eq!(read(&app, "/api/nothing").await.status, 404);
}

#[tokio::test]
async fn documents_are_shown_with_their_change_and_approved_as_seen() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    let app = app(&world);
    let url = |path: &str| format!("https://app.example.com/{path}");
    let now = world.registrar.now();
    let registration = r#"{"client_name":"App","redirect_uris":["https://app.example.com/cb"]}"#;
    for (path, held) in [("wide", true), ("plain", false), ("unreachable", false)] {
        let prints = Fingerprints::of(&Registration::parse(registration.as_bytes()).unwrap(), false);
        let mut client = Client::draft(registration, prints, now);
        (client.status, client.origin, client.client_id) = (Status::Active, Origin::Document, Some(url(path)));
        let mut document = DocumentState::new("00", now - 120_000, now + 1000);
        let wide =
            r#"{"client_name":"App","redirect_uris":["https://app.example.com/cb","https://b.example.com/<b>"]}"#;
        document.held = held.then(|| HeldChange::new(wide, "aa", Change::Widening, now - 60_000, now + 3_600_000));
        document.unreachable_since = (path == "unreachable").then_some(now - 180_000);
        client.document = Some(Box::new(document));
        assert!(matches!(ledger.insert(&client, None).await.unwrap(), Insertion::Inserted(_)));
    }
    let listed = read(&app, "/api/clients?queue=documents").await.json();
    assert_eq!(listed["clients"].as_array().unwrap().len(), 3);
    let listed = read(&app, "/api/clients?queue=pending").await.json();
    let wide = &listed["clients"][0];
    assert_eq!(
        (wide["document_host"].as_str(), wide["document_site"].as_str()),
        (Some("app.example.com"), Some("example.com"))
    );
    assert_eq!((&wide["origin"], &wide["document"]["held"]["change"]), (&json!("document"), &json!("widening")));
    let page = read(&app, "?queue=documents").await.text;
    for part in [
        "published by <bdi>app.example.com</bdi>, fetched 2 min ago",
        "not usable since 3 min ago",
        "widening seen 1 min ago, sign-ins end in 1 h: redirect_uris: ",
        "Approve change",
        "Revoke all of example.com",
        r#"name="held" value="aa""#,
        r#"name="held" value="""#,
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("<b>") && !page.contains("client_name: "), "{page}");

    let approve = |held: &str| json!({ "act": "approve", "record": wide["record"], "held": held, "reason": "x" });
    assert_eq!(act(&app, &approve("bb")).await.status, 409, "another change than the one that was seen");
    assert!(!ledger.find(&url("wide")).await.unwrap().unwrap().registration.contains("b.example.com"));
    assert_eq!(act(&app, &approve("")).await.status, 409, "none was seen");
    let by_id = |id: &str| json!({ "act": "approve", "client_id": url(id), "held": "bb", "reason": "x" });
    for (id, status) in [("wide", 409), ("plain", 409), ("unknown", 404)] {
        assert_eq!(act(&app, &by_id(id)).await.status, status, "{id}");
    }
    assert_eq!(act(&app, &approve("aa")).await.json()["done"], "Approved.");
    assert_eq!(act(&app, &approve("aa")).await.status, 409, "it no longer waits");
    assert_eq!(act(&app, &approve("")).await.json()["done"], "Approved.");
    let approved = ledger.find(&url("wide")).await.unwrap().unwrap();
    assert!(approved.registration.contains("b.example.com") && approved.document.unwrap().held.is_none());

    let revoke = |act: &str, id: &str| json!({ "act": act, "client_id": id, "reason": "x" });
    assert_eq!(act(&app, &revoke("revoke", &url("plain"))).await.json()["done"], "Revoked: 1.");
    assert_eq!(act(&app, &revoke("revoke", &url("new"))).await.json()["done"], "Revoked: 0.");
    assert_eq!(act(&app, &revoke("revoke_document_host", &url("wide"))).await.json()["done"], "Revoked: 2.");
    assert_eq!(act(&app, &revoke("revoke_document_site", &url("wide"))).await.json()["done"], "Revoked: 0.");
    let id = world.client("App").await;
    assert_eq!(act(&app, &revoke("revoke_document_host", &id)).await.status, 404, "it has no document");
    let blocks = read(&app, "/api/blocks").await.json();
    let mut blocks: Vec<_> = blocks.as_array().unwrap().iter().map(|block| block["kind"].as_str().unwrap()).collect();
    blocks.sort_unstable();
    assert_eq!(blocks, ["client_id", "client_id", "document_host", "document_site"]);
}

#[tokio::test]
async fn rejects_requests_across_origins() {
    let world = World::new(MemoryLedger::default());
    let app = app(&world);
    let id = world.client("App").await;
    for (name, value) in
        [("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site"), ("origin", "https://evil.example")]
    {
        let request = signed_in("POST", "/act")
            .header("host", "as.example.com")
            .header(name, value)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let form = format!("act=revoke&client_id={id}&reason=x");
        assert_eq!(send(&app, request.body(Body::from(form)).unwrap()).await.status, 403, "{name}: {value}");
    }
    assert_eq!(world.token(&id).await.status, 200);
}

async fn serve(app: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_uses_the_page_in_a_browser() {
    let ledger = MemoryLedger::default();
    let world = World::new(ledger.clone());
    let hostile = "<img src=x onerror=document.title='owned'><b>Cla\u{200B}ude</b>";
    // No guard lets that in today; there may be records from before.
    let hostile = json!({ "client_name": hostile, "redirect_uris": ["https://xn--80ak6aa92e.com/cb"] }).to_string();
    let prints = Fingerprints::of(&Registration::parse(hostile.as_bytes()).unwrap(), false);
    let mut hostile = Client::draft(hostile, prints, 1_767_225_600_000);
    (hostile.status, hostile.client_id) = (Status::Active, Some("hostile".into()));
    hostile.statement_issuer = Some("https://directory.example.com/?<b>".into());
    ledger.insert(&hostile, None).await.unwrap();
    let id = world.client("App").await;
    world.register(&metadata("App (b)")).await;
    let address = serve(app(&world)).await;
    let Some(browser) = Browser::open().await else { return };
    let page = format!("http://alice:{}@{address}/admin/clients", PASSWORD.replace(' ', "%20"));
    browser.client.goto(&page).await.unwrap();

    assert_eq!(browser.client.title().await.unwrap(), "Registered clients", "no script has run");
    let rows = browser.text("#clients tbody").await;
    assert!(rows.contains("<img src=x onerror=document.title='owned'><b>Cla⟨U+200B⟩ude</b>"), "{rows}");
    assert!(rows.contains("vouched for by https://directory.example.com/?<b>"), "{rows}");
    assert!(rows.contains("xn--80ak6aa92e.com (аррӏе.com)"), "{rows}");
    assert!(browser.client.find(Locator::Css("#clients img, #clients b")).await.is_err(), "nothing of it is markup");
    let bars = browser.client.find_all(Locator::Css("#timeline rect")).await.unwrap();
    assert_eq!(bars.len(), 1, "all of them today");
    let color = browser.client.find(Locator::Css("#mix rect")).await.unwrap().css_value("fill").await.unwrap();
    assert_eq!(color, "rgb(46, 125, 50)", "the style sheet is let in by the policy");
    let picture = browser.client.screenshot().await.unwrap();
    if let Some(path) = std::env::var_os("SCREENSHOT") {
        std::fs::write(path, picture).unwrap();
    }

    // A reason is wanted; then the client is gone, and the page says so.
    let row = format!("//tr[.//input[@value='{id}']]");
    let reason = format!("{row}//input[@name='reason']");
    browser.client.find(Locator::XPath(&reason)).await.unwrap().send_keys("imitates").await.unwrap();
    let revoke = format!("{row}//button[@value='revoke']");
    browser.client.find(Locator::XPath(&revoke)).await.unwrap().click().await.unwrap();
    browser.client.wait().at_most(Duration::from_secs(10)).for_element(Locator::Css(".notice")).await.unwrap();
    assert_eq!(browser.text(".notice").await, "Revoked: 1.");
    let client = ledger.find(&id).await.unwrap().unwrap();
    assert_eq!((client.status, client.reason.as_deref()), (Status::Revoked, Some("imitates")));
    assert!(browser.text("#blocks").await.contains("imitates"));
    browser.client.find(Locator::XPath("//a[text()='Revoked']")).await.unwrap().click().await.unwrap();
    assert!(browser.text("#clients tbody").await.contains(&id));

    // A page of another origin, with the operator's credentials in the browser.
    let other = "hostile";
    let form = format!(
        "<form method=post action='http://{address}/admin/clients/act'><input name=act value=revoke>\
         <input name=client_id value='{other}'><input name=reason value=x><button>Win a prize</button></form>"
    );
    let evil = serve(Router::new().route("/", get(move || async { Html(form) }))).await;
    browser.client.goto(&format!("http://{evil}/")).await.unwrap();
    browser.client.find(Locator::Css("button")).await.unwrap().click().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(ledger.find(other).await.unwrap().unwrap().status, Status::Active);
    browser.client.clone().close().await.unwrap();
}
