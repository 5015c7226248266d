//! The process is killed, again and again, at any point between the first record and the answer.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use rand::Rng;
use serde_json::{Value, json};
use tower_dcr::clients::{Actor, Client, Filter, Ledger, Status};
use tower_dcr::clients::{Registrar, Revocation};
use tower_dcr::clock::ManualClock;
use tower_dcr_sqlx::SqliteLedger;

use crate::databases::TempDir;
use crate::world::{START, World};

const FILE: &str = "TOWER_DCR_CRASH_LEDGER";

/// The node that is killed. Run by the test below, in a process of its own.
#[test]
#[ignore = "a part of another test"]
fn node() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let ledger = SqliteLedger::open(path).await.unwrap();
        // The registrar's clock is the system's.
        let world = World::around(Arc::default(), Arc::new(ManualClock::new(START)), ledger, |registrar| registrar);
        // So that many are killed while the handler has the request.
        world.server.delay_ms.store(3, Ordering::SeqCst);
        // No two processes give out the same client_id.
        world.server.calls.store(std::process::id() * 1000, Ordering::SeqCst);
        let revoking = world.registrar.clone();
        let revoke = move |axum::extract::Path(id): axum::extract::Path<String>| {
            let registrar = revoking.clone();
            async move {
                let revocation = Revocation::client(id, Actor::Operator("alice".into()), "crash");
                registrar.revoke(revocation).await.map(|_| "revoked").map_err(|error| error.to_string())
            }
        };
        let app = world.app.clone().route("/admin/revoke/{id}", axum::routing::post(revoke));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("\nlistening on {}", listener.local_addr().unwrap());
        axum::serve(listener, app).await.unwrap();
    });
}

struct Node {
    process: Child,
    base: String,
}

impl Node {
    fn start(ledger: &std::path::Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::node", "--ignored", "--nocapture"])
            .env(FILE, ledger)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let address = lines.find_map(|line| line.strip_prefix("listening on ").map(str::to_owned)).unwrap();
        Self { process, base: format!("http://{address}") }
    }

    /// SIGKILL.
    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// The answers that callers got.
#[derive(Default)]
struct Told {
    /// The `client_id` for each registration that was answered.
    registered: BTreeMap<String, String>,
    revoked: BTreeSet<String>,
}

async fn use_until_it_dies(base: String, crash: u32, caller: u32) -> Told {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap();
    let mut told = Told::default();
    for number in 0.. {
        let name = format!("App {crash}-{caller}-{number}");
        let body = json!({ "client_name": name, "redirect_uris": ["http://127.0.0.1:1/cb"] });
        let Ok(answer) = http.post(format!("{base}/register")).json(&body).send().await else { break };
        assert_eq!(answer.status(), 201);
        let Ok(answer) = answer.json::<Value>().await else { break };
        let id = answer["client_id"].as_str().unwrap().to_owned();
        told.registered.insert(name, id.clone());
        if number % 3 == 0 {
            let Ok(answer) = http.post(format!("{base}/admin/revoke/{id}")).send().await else { break };
            assert_eq!(answer.text().await.ok().as_deref(), Some("revoked"));
            told.revoked.insert(id);
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answered_registrations_survive_a_crash() {
    let crashes: u32 = std::env::var("CRASHES").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    let dir = TempDir::new("crash");
    let path = dir.path().join("clients.db");
    let mut told = Told::default();
    for crash in 0..crashes * 10 {
        // On a machine with other work, a node that lives as long registers less.
        if crash >= crashes && told.registered.len() > 50 && !told.revoked.is_empty() {
            break;
        }
        let node = Node::start(&path);
        let callers: Vec<_> =
            (0..4).map(|caller| tokio::spawn(use_until_it_dies(node.base.clone(), crash, caller))).collect();
        tokio::time::sleep(Duration::from_micros(rand::rng().random_range(20_000..700_000))).await;
        node.kill();
        for caller in callers {
            let caller = caller.await.unwrap();
            told.registered.extend(caller.registered);
            told.revoked.extend(caller.revoked);
        }
    }
    let ledger = SqliteLedger::open(&path).await.unwrap();
    let mut records = Vec::new();
    let mut before = None;
    loop {
        let page = ledger.page(&Filter::default(), before, 500).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.key);
        records.extend(page);
    }
    let by_id: BTreeMap<&str, &Client> =
        records.iter().filter_map(|client| Some((client.client_id.as_deref()?, client))).collect();
    for (name, id) in &told.registered {
        let client = by_id.get(id.as_str()).unwrap_or_else(|| panic!("{name} got {id}, and the ledger lost it"));
        assert_eq!(client.fingerprints.client_name.as_ref(), Some(name));
        if told.revoked.contains(id) {
            assert_eq!(client.status, Status::Revoked, "{id}");
        }
    }
    let live = records.iter().filter(|client| client.status.is_live()).map(|client| &client.fingerprints.digest);
    let (all, distinct) = (live.clone().count(), live.collect::<BTreeSet<_>>().len());
    assert_eq!(all, distinct, "none is there twice");
    // Some were killed on the way: their records say so, and are settled.
    let pending = records.iter().filter(|client| client.status == Status::Registering).count();
    assert!(pending > 0 && told.registered.len() > 50 && !told.revoked.is_empty(), "{pending} of {}", records.len());
    let later = Arc::new(ManualClock::new(UNIX_EPOCH.elapsed().unwrap() + Duration::from_secs(120)));
    let maintained = Registrar::new(ledger.clone()).with_clock(later).maintain_once().await.unwrap();
    assert_eq!(maintained.abandoned, pending as u64);
    println!(
        "{crashes} crashes: {} registrations answered, {} revoked, {pending} interrupted",
        told.registered.len(),
        told.revoked.len()
    );
}
