//! Runs `dcr cimd diff`. A gate in front of a server writes the records, and a host with TLS publishes the documents.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use test_support::document_host::DocumentHost;
use test_support::folder::Folder;
use test_support::support::send;
use tower::{Layer as _, service_fn};
use tower_dcr::Preset;
use tower_dcr::clients::{
    Actor, Client, Fingerprint, Fingerprints, Ledger as _, Origin, Registrar, Revocation, Status,
};
use tower_dcr::clock::ManualClock;
use tower_dcr::documents::Documents;
use tower_dcr::layers::{GateEndpoint, ResponseBody};
use tower_dcr_fetch::HttpsFetcher;
use tower_dcr_sqlx::SqliteLedger;

use super::{HOST, URL};
use crate::cli::{json_of, run};

const CALLBACK: &str = "https://app.example.com/cb";
const SECOND: &str = "https://app.example.com/second";
const HOUR: Duration = Duration::from_secs(3600);
const JSON: &str = "200 OK\r\ncontent-type: application/json";

struct World {
    folder: Folder,
    host: Arc<DocumentHost>,
}

impl World {
    async fn new(name: &str) -> Self {
        Self::at(name, Arc::new(DocumentHost::start(HOST).await)).await
    }

    /// Another ledger.
    async fn at(name: &str, host: Arc<DocumentHost>) -> Self {
        let folder = Folder::new(name);
        folder.write("ca.pem", &host.ca_pem);
        drop(SqliteLedger::open(folder.0.join("clients.db")).await.unwrap());
        Self { folder, host }
    }

    fn publish(&self, more: &Value) {
        self.host.answer("/client.json", JSON, &published(more));
    }

    async fn ledger(&self) -> SqliteLedger {
        SqliteLedger::open(self.folder.0.join("clients.db")).await.unwrap()
    }

    async fn registrar(&self) -> Registrar {
        Registrar::new(self.ledger().await)
    }

    /// Signs in at a server with this preset, which is started for it, some time ago. Returns the record.
    async fn sign_in_ago(&self, preset: &Preset, ago: Duration) -> Client {
        let clock = Arc::new(ManualClock::new(UNIX_EPOCH.elapsed().unwrap().saturating_sub(ago)));
        let fetcher = HttpsFetcher::danger_with_roots(&self.host.ca_pem).unwrap();
        let fetcher = fetcher.danger_map_host(HOST, self.host.address).unwrap();
        let registrar = self.registrar().await.with_clock(clock.clone());
        let documents = Documents::new(fetcher).with_clock(clock.clone());
        let preset = preset.clone().with_registrar(registrar.clone()).with_documents(documents);
        preset.configure(&registrar);
        let handler = service_fn(|_: Request<ResponseBody<Full<Bytes>>>| async {
            let location = format!("{CALLBACK}?code=c");
            let answer = Response::builder().status(StatusCode::FOUND).header("location", location);
            Ok::<_, Infallible>(answer.body(Full::<Bytes>::default()).unwrap())
        });
        let gate = preset.gate(GateEndpoint::Authorization, registrar.clone()).with_clock(clock);
        let query = format!(
            "response_type=code&client_id={URL}&redirect_uri={CALLBACK}&code_challenge={}&code_challenge_method=S256",
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
        let request = Request::get(format!("/authorize?{query}")).body(Full::<Bytes>::default()).unwrap();
        let _rejected_if_it_waits = send(&gate.layer(handler), request).await;
        self.ledger().await.find(URL).await.unwrap().unwrap()
    }

    async fn sign_in(&self) -> Client {
        self.sign_in_ago(&tower_dcr::mcp(), Duration::ZERO).await
    }

    /// Changes the record as an operator or an earlier version could have left it.
    async fn change(&self, change: impl FnOnce(&mut Client)) {
        let ledger = self.ledger().await;
        let mut client = ledger.find(URL).await.unwrap().unwrap();
        assert!(ledger.remove(&client).await.unwrap());
        change(&mut client);
        ledger.insert(&client, None).await.unwrap();
    }

    fn diff(&self, more: &[&str]) -> (i32, Value) {
        let map = self.host.map();
        tokio::task::block_in_place(|| json_of(&self.folder, &arguments(&map, more)))
    }

    fn shown(&self, more: &[&str]) -> String {
        let map = self.host.map();
        tokio::task::block_in_place(|| without_times(&run(&self.folder, &arguments(&map, more), "")))
    }
}

/// Returns the arguments for this host and ledger.
fn arguments<'a>(map: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["cimd", "diff", "--cimd-ca", "ca.pem", "--cimd-map", map, "--ledger", "sqlite:clients.db"], more].concat()
}

fn published(more: &Value) -> String {
    let mut document = json!({
        "client_id": URL, "client_name": "App", "redirect_uris": [CALLBACK, SECOND],
        "grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": "none",
    });
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    document.to_string()
}

/// Returns the stored document, with its `client_id`.
fn stored(client: &Client) -> Value {
    let mut document: Value = serde_json::from_str(&client.registration).unwrap();
    document["client_id"] = json!(URL);
    document
}

/// Replaces times, which differ from run to run.
fn without_times(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("20") {
        let (before, time) = rest.split_at(at);
        let is_time = time.len() >= 20 && time.as_bytes()[10] == b'T' && time.as_bytes()[19] == b'Z';
        shown += before;
        shown += if is_time { "TIME" } else { "20" };
        rest = &time[if is_time { 20 } else { 2 }..];
    }
    shown + rest
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_is_named_with_what_a_server_does() {
    let world = World::new("diff-changes").await;
    world.publish(&json!({}));
    let before = world.sign_in().await;
    insta::assert_snapshot!("cimd_diff_same", world.shown(&[URL]));
    let wide = json!({ "redirect_uris": [CALLBACK, SECOND, "https://other.example.org/cb"] });
    for (more, status, change, effect) in [
        (json!({}), 0, None, "none"),
        (json!({ "logo_uri": "https://app.example.com/logo.png" }), 0, None, "none"),
        (json!({ "contacts": ["a@app.example.com"] }), 3, Some("decoration"), "in_force"),
        (json!({ "redirect_uris": [CALLBACK] }), 3, Some("narrowing"), "in_force"),
        (json!({ "client_name": "Other" }), 3, Some("identity"), "held"),
        (wide, 3, Some("widening"), "held"),
    ] {
        world.publish(&more);
        let fetches = world.host.connections();
        let (found, diff) = world.diff(&[URL]);
        assert_eq!((found, diff["change"].as_str(), diff["effect"].as_str()), (status, change, Some(effect)), "{diff}");
        assert_eq!(diff["verdict"], if status == 0 { "same" } else { "differs" });
        assert_eq!(diff["before"], stored(&before), "{diff}");
        assert_eq!((&diff["step"], &diff["held"], &diff["until"]), (&Value::Null, &Value::Null, &Value::Null));
        assert_eq!(diff["before"] == diff["after"], status == 0, "{diff}");
        assert_eq!(world.host.connections(), fetches + 1);
        // A server does the same, at another ledger with the same record.
        let name = format!("diff-server-{}", change.unwrap_or("none"));
        let other = World::at(&name, Arc::clone(&world.host)).await;
        other.ledger().await.insert(&before, None).await.unwrap();
        let after = other.sign_in().await;
        let is_held = after.document.as_ref().unwrap().held.is_some();
        assert_eq!(is_held, effect == "held", "{diff}");
        assert_eq!(after.registration == before.registration, effect != "in_force", "{diff}");
    }
    insta::assert_snapshot!("cimd_diff_widening", world.shown(&[URL]));
    assert_eq!(world.ledger().await.find(URL).await.unwrap().unwrap(), before, "nothing is written");
}

/// Each case: the version that is published, the verdict, the effect, and if it is the one that waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_held_change_is_shown() {
    let world = World::new("diff-held").await;
    let wide = |host: &str| json!({ "redirect_uris": [CALLBACK, SECOND, format!("https://{host}/cb")] });
    for (ago, waits, rejected) in [(2 * HOUR, "held", "unavailable"), (50 * HOUR, "suspended", "suspended")] {
        let world = World::at(&format!("diff-held-{waits}"), Arc::clone(&world.host)).await;
        world.publish(&json!({}));
        world.sign_in_ago(&tower_dcr::mcp(), 60 * HOUR).await;
        world.publish(&wide("other.example.org"));
        let record = world.sign_in_ago(&tower_dcr::mcp(), ago).await;
        let held = record.document.as_ref().unwrap().held.clone().unwrap();
        for (more, status, change, effect, is_held_version) in [
            (wide("other.example.org"), 3, Some("widening"), waits, true),
            (wide("another.example.org"), 3, Some("widening"), waits, false),
            (json!({ "client_name": "Other" }), 3, Some("identity"), waits, false),
            (json!({ "redirect_uris": [CALLBACK] }), 3, Some("narrowing"), "in_force", false),
            (json!({}), 0, None, "hold_ends", false),
        ] {
            world.publish(&more);
            let (found, diff) = world.diff(&[URL]);
            assert_eq!((found, diff["change"].as_str(), &diff["effect"]), (status, change, &json!(effect)), "{diff}");
            assert_eq!((&diff["held"]["change"], &diff["held"]["until"]), (&json!("widening"), &json!(held.until)));
            assert_eq!(diff["is_held_version"], is_held_version, "{diff}");
            assert_eq!(diff["until"].as_i64(), (effect == waits).then_some(held.until), "{diff}");
        }
        world.host.answer("/client.json", "500 Oops", "");
        let (found, diff) = world.diff(&[URL]);
        assert_eq!((found, &diff["effect"], &diff["change"]), (4, &json!(rejected), &json!("unreachable")), "{diff}");
        world.publish(&wide("other.example.org"));
        insta::assert_snapshot!(format!("cimd_diff_{waits}"), world.shown(&[URL]));
        assert_eq!(world.ledger().await.find(URL).await.unwrap(), Some(record), "nothing is written");
        // The server agrees: what goes back to the version in force ends the hold.
        world.publish(&json!({}));
        assert!(world.sign_in().await.document.unwrap().held.is_none());
    }
}

/// Each case: the answer of the host, the class, the step, and the effect while the stored version is fresh and afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_rejected_has_a_class_and_a_step() {
    let world = World::new("diff-rejected").await;
    world.publish(&json!({}));
    world.sign_in().await;
    let stale = World::at("diff-rejected-stale", Arc::clone(&world.host)).await;
    stale.sign_in_ago(&tower_dcr::mcp(), 30 * HOUR).await;
    let other = published(&json!({ "client_id": "https://app.example.com/other.json" }));
    let secret = published(&json!({ "client_secret": "public" }));
    for (head, body, class, step, fresh, later) in [
        (JSON, &*secret, "broken", "rules", "rejected", "rejected"),
        (JSON, &other, "broken", "client_id", "goes_on", "rejected"),
        (JSON, "{", "broken", "json", "goes_on", "rejected"),
        ("404 Not Found", "", "withdrawn", "fetch", "goes_on", "rejected"),
        ("410 Gone", "", "withdrawn", "fetch", "goes_on", "rejected"),
        ("403 Forbidden", "", "unreachable", "fetch", "goes_on", "unavailable"),
        ("302 Found\r\nlocation: https://app.example.com/", "", "unreachable", "fetch", "goes_on", "unavailable"),
        ("200 OK\r\ncontent-type: text/html", "<p>", "unreachable", "fetch", "goes_on", "unavailable"),
    ] {
        world.host.answer("/client.json", head, body);
        for (world, effect) in [(&world, fresh), (&stale, later)] {
            let before = world.ledger().await.find(URL).await.unwrap().unwrap();
            let (found, diff) = world.diff(&[URL]);
            let said =
                (found, &diff["verdict"], diff["change"].as_str(), diff["step"].as_str(), diff["effect"].as_str());
            assert_eq!(said, (4, &json!("refuse"), Some(class), Some(step), Some(effect)), "{head}: {diff}");
            assert!(diff["description"].is_string() && diff["before"].is_object() && diff["after"].is_null(), "{diff}");
            let fresh_until = before.document.as_ref().unwrap().fresh_until;
            let grace = if class == "unreachable" { 3_600_000 } else { 0 };
            assert_eq!(diff["until"].as_i64(), (step != "rules").then_some(fresh_until + grace), "{diff}");
            assert_eq!(world.ledger().await.find(URL).await.unwrap(), Some(before), "nothing is written");
        }
    }
    insta::assert_snapshot!("cimd_diff_unreachable", stale.shown(&[URL]));
    world.host.answer("/client.json", JSON, &secret);
    insta::assert_snapshot!("cimd_diff_broken", world.shown(&[URL]));
    // A server says the same of the one that is gone.
    world.host.answer("/client.json", "410 Gone", "");
    assert_eq!(stale.sign_in().await.status, Status::Active, "perhaps for a moment");
    let hour_ago = |client: &mut Client| {
        let document = client.document.as_mut().unwrap();
        document.unreachable_since = document.unreachable_since.map(|since| since - 3_600_000);
    };
    stale.change(hour_ago).await;
    assert_eq!(stale.sign_in().await.status, Status::Expired);
    assert_eq!(world.sign_in().await.status, Status::Active);
    let (found, diff) = stale.diff(&[URL]);
    assert_eq!((found, &diff["state"], &diff["effect"]), (4, &json!("expired"), &json!("rejected")));
    world.publish(&json!({}));
    let (found, diff) = stale.diff(&[URL]);
    assert_eq!((found, &diff["verdict"], &diff["effect"]), (0, &json!("same"), &json!("begins_anew")), "{diff}");
    // Nothing listens there, and the certificate is of no authority that the system knows.
    let map = format!("{HOST}=127.0.0.1:1");
    let closed = ["cimd", "diff", "--cimd-ca", "ca.pem", "--cimd-map", &map, "sqlite:clients.db", URL];
    let map = world.host.map();
    let untrusted = ["cimd", "diff", "--cimd-map", &map, "sqlite:clients.db", URL];
    for arguments in [&closed[..], &untrusted] {
        let (found, diff) = tokio::task::block_in_place(|| json_of(&world.folder, arguments));
        assert_eq!((found, &diff["change"], &diff["step"]), (4, &json!("unreachable"), &json!("fetch")), "{diff}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_decides() {
    let world = World::new("diff-policy").await;
    let local = json!({ "redirect_uris": [CALLBACK, "http://127.0.0.1/cb"] });
    world.publish(&local);
    world.sign_in().await;
    world.folder.write("narrow.toml", "redirect_uris.classes = ['https']");
    world.folder.write("loopback.toml", "redirect_uris.classes = ['loopback']");
    world.folder.write("listed.toml", "documents = { admission = 'listed' }");
    world.folder.write("own.toml", "gate.issuer = 'https://app.example.com/tenant'");
    world.folder.write("hold.toml", "lifecycle.document_hold = '3days'");
    world.folder.write("named.toml", "[identity]\nadditional_names = ['App']\n");
    world.folder.write("reports.toml", "report_only = true");
    let (found, diff) = world.diff(&["--policy", "narrow.toml", URL]);
    assert_eq!((found, &diff["change"], &diff["effect"]), (3, &json!("narrowing"), &json!("in_force")), "{diff}");
    assert_eq!(diff["same_bytes"], true, "its publisher changed nothing");
    assert!(world.shown(&["--policy", "narrow.toml", URL]).contains("the same bytes as before"));
    let fetches = world.host.connections();
    for policy in ["listed.toml", "own.toml"] {
        let (found, diff) = world.diff(&["--policy", policy, URL]);
        assert_eq!((found, &diff["step"], &diff["effect"]), (4, &json!("admission"), &json!("rejected")), "{diff}");
        assert!(diff["change"].is_null(), "{diff}");
    }
    assert_eq!(world.host.connections(), fetches, "nothing is fetched that is not admitted");
    let (found, diff) = world.diff(&["--policy", "reports.toml", URL]);
    assert_eq!((found, &diff["report_only"], &diff["same_bytes"]), (3, &json!(true), &json!(true)), "{diff}");
    assert_eq!(diff["effect"], "in_force", "it goes on as its publisher wrote it: {diff}");
    world.publish(&json!({ "redirect_uris": [CALLBACK, "http://127.0.0.1/cb", "http://localhost/cb"] }));
    let (_, diff) = world.diff(&["--policy", "hold.toml", URL]);
    assert!(diff["effect_description"].as_str().unwrap().contains("(3days)"), "{diff}");
    let (_, diff) = world.diff(&[URL]);
    assert!(diff["effect_description"].as_str().unwrap().contains("(24h by default)"), "{diff}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_wait_or_are_blocked_are_told_apart() {
    let world = World::new("diff-blocked").await;
    world.publish(&json!({}));
    world.sign_in().await;
    world.change(|client| client.status = Status::Pending).await;
    let (found, diff) = world.diff(&[URL]);
    assert_eq!((found, &diff["state"], &diff["effect"]), (0, &json!("pending"), &json!("pending")), "{diff}");
    world.change(|client| client.status = Status::Active).await;
    let registrar = world.registrar().await;
    let alice = || Actor::Operator("alice".into());
    registrar.revoke(Revocation::new(Fingerprint::name("Evil"), alice(), "imitates us")).await.unwrap();
    world.publish(&json!({ "client_name": "Evil" }));
    let (found, diff) = world.diff(&[URL]);
    assert_eq!((found, &diff["change"], &diff["effect"]), (3, &json!("identity"), &json!("rejected")), "{diff}");
    assert!(diff["effect_description"].as_str().unwrap().contains("name=evil is blocked: imitates us"), "{diff}");
    world.publish(&json!({}));
    assert_eq!(world.diff(&[URL]).1["effect"], "none");
    registrar.revoke(Revocation::client(URL, alice(), "leaked")).await.unwrap();
    let (found, diff) = world.diff(&[URL]);
    assert_eq!((found, &diff["state"], &diff["effect"]), (0, &json!("revoked"), &json!("rejected")), "{diff}");
    registrar.unblock(&Fingerprint::ClientId(URL.into()), &alice(), "").await.unwrap();
    assert_eq!(world.diff(&[URL]).1["effect"], "begins_anew");
    // Maintenance removes what a client that was revoked long ago had registered.
    world.change(|client| (client.registration, client.document) = (String::new(), None)).await;
    let (found, diff) = world.diff(&[URL]);
    assert_eq!((found, &diff["effect"], &diff["before"]), (3, &json!("begins_anew"), &json!({})), "{diff}");
    assert!(world.shown(&[URL]).contains("+  \"client_name\": \"App\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_clients_of_documents_are_compared() {
    let world = World::new("diff-unknown").await;
    world.publish(&json!({}));
    assert_eq!(world.shown(&[URL]), "status 1\nstderr:\nerror: unknown client\n");
    let registrar = world.registrar().await;
    let mut registered = Client::draft("{}", Fingerprints::default(), registrar.now());
    (registered.status, registered.client_id) = (Status::Active, Some(URL.into()));
    for (origin, words) in [(Origin::Registered, "of a registration"), (Origin::Elsewhere, "never fetched")] {
        registered.origin = origin;
        world.ledger().await.insert(&registered, None).await.unwrap();
        let shown = world.shown(&[URL]);
        assert!(shown.starts_with("status 1\nstderr:\nerror: ") && shown.contains(words), "{shown}");
        world.change(|client| client.client_id = Some(format!("{origin}"))).await;
    }
    assert_eq!(world.host.connections(), 0);
    // A client_id that is no URL, or one of another server's text.
    for id in ["client-1", "", "https://app.example.com/\u{1b}[31m\u{202e}"] {
        assert_eq!(world.shown(&[id]), "status 1\nstderr:\nerror: unknown client\n");
    }
    // One that other settings accepted.
    world.sign_in().await;
    let odd = "https://app.example.com/client.json?\u{1b}";
    world.change(|client| client.client_id = Some(odd.into())).await;
    let shown = world.shown(&[odd]);
    assert!(shown.starts_with("status 4\nreject  url: ") && !shown.contains('\u{1b}'), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_looks_at_documents_and_fetches_none() {
    let world = World::new("diff-drift").await;
    world.publish(&json!({ "redirect_uris": ["http://127.0.0.1/cb", CALLBACK] }));
    world.sign_in().await;
    let fetches = world.host.connections();
    world.folder.write("loopback.toml", "redirect_uris.classes = ['loopback']");
    world.folder.write("private.toml", "redirect_uris.classes = ['private_use']");
    world.folder.write("listed.toml", "documents = { admission = 'listed', allow = ['https://other.example.com/c'] }");
    world.folder.write("allowed.toml", &format!("documents = {{ admission = 'listed', allow = ['{URL}'] }}"));
    world.folder.write("off.toml", "documents.admission = 'off'");
    for (policy, status, fate, why) in [
        ("mcp", 0, None, ""),
        ("allowed.toml", 0, None, ""),
        ("loopback.toml", 3, Some("rewrite"), "redirect-uris redirect_uris"),
        ("private.toml", 4, Some("refuse"), "redirect"),
        ("listed.toml", 4, Some("refuse"), "admission: not listed"),
        ("off.toml", 4, Some("refuse"), "admission: documents.admission is \"off\""),
    ] {
        let drift = ["clients", "drift", "--policy", policy, "sqlite:clients.db"];
        let (found, drift) = tokio::task::block_in_place(|| json_of(&world.folder, &drift));
        let row = &drift["clients"][0];
        assert_eq!((found, &drift["checked"], row["fate"].as_str()), (status, &json!(1), fate), "{policy}: {drift}");
        if fate.is_some() {
            assert_eq!((&row["client_id"], &row["origin"]), (&json!(URL), &json!("document")), "{policy}: {drift}");
            assert!(row["why"].as_str().unwrap().contains(why), "{policy}: {drift}");
        }
    }
    let shown = tokio::task::block_in_place(|| {
        run(&world.folder, &["clients", "drift", "--policy", "off.toml", "sqlite:clients.db"], "")
    });
    assert!(shown.contains(URL) && shown.contains("1 client: 0 accepted"), "{shown}");
    // A replay is about registrations.
    let replay = ["replay", "--policy", "off.toml", "sqlite:clients.db"];
    let (found, replay) = tokio::task::block_in_place(|| json_of(&world.folder, &replay));
    assert_eq!((found, &replay["judged"]), (5, &json!(0)), "{replay}");
    assert_eq!(world.host.connections(), fetches);
}
