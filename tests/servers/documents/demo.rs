//! The demo, as a user starts it: a flood takes bounded memory, and writes nothing.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tower_dcr::clients::{Filter, Registrar};
use tower_dcr_sqlx::SqliteLedger;

use super::node::query;
use super::web::{CALLBACK, SITES, URL, Web, document, json_response, response, site};
use crate::folder::Folder;
use crate::programs::binary;
use crate::running::{ANY_PORT, Running};

/// All that documents may take in memory: 16 MiB of them, 4 MiB of drafts, 4 MiB of failures, and the tables of budgets and hosts.
const BOUND: usize = 25 << 20;

/// As many requests as fill every table several times over. With `TOWER_DCR_FLOOD=100000` it takes minutes, and the same memory.
fn requests() -> usize {
    std::env::var("TOWER_DCR_FLOOD").map_or(12_000, |requests| requests.parse().unwrap())
}

/// The limits of fetches are off.
const UNLIMITED: &str = "extends = 'mcp'\n[documents]\nfetches = 'off'\nfetches_by_address = 'off'\nfetches_by_site = 'off'\nrefreshes = 'off'\n";

/// The resident memory of a process in bytes.
fn resident(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
}

/// A document of nearly 5 KB at every URL, or none at every other one, so that each table fills and no host is left alone.
fn publish_everywhere(web: &Web) {
    web.otherwise(|arrived| {
        if arrived.url.contains("/none") {
            return response("404 Not Found", "", b"");
        }
        let padding = "p".repeat(120);
        let uris: Vec<String> = (0..24).map(|number| format!("https://app.example.com/{padding}/{number}")).collect();
        json_response("", &document(&format!("https://{}", arrived.url), json!({ "redirect_uris": uris })))
    });
}

/// Starts the demo, has one client sign in, and sends `requests` with a URL each of its own from 16 strangers, while the client
/// goes on to sign in. Returns the growth of memory after the first requests.
async fn flood(web: &Web, folder: &Folder, arguments: &[&str], requests: usize) -> usize {
    let ledger = format!("sqlite:{}", folder.0.join("clients.db").display());
    let mut command = Command::new(binary("demo"));
    command.args(["--addr", ANY_PORT, "--auto-approve", "--ledger", &ledger]).args(arguments);
    let server = Running::spawn(command.args(web.arguments(&folder.0.join("roots.pem"))));
    let known = format!("{}/authorize?{}", server.base, query(URL, CALLBACK));
    assert_eq!(server.client.get(&known).send().await.unwrap().status(), 302);
    let (next, base) = (Arc::new(AtomicUsize::new(0)), server.base.clone());
    let mut resident_before = 0;
    for until in [200, requests] {
        let strangers = (0..16).map(|_| {
            let (next, base, client) = (Arc::clone(&next), base.clone(), server.client.clone());
            let known = known.clone();
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= until {
                        return;
                    }
                    let kind = if (number / SITES).is_multiple_of(2) { "some" } else { "none" };
                    let url = format!("https://{}/{kind}/{number}/{}", site(number % SITES), "x".repeat(400));
                    let to = query(&url, "https://app.attacker-site.com/cb");
                    let answer = client.get(format!("{base}/authorize?{to}")).send().await.unwrap();
                    assert!(matches!(answer.status().as_u16(), 400 | 503), "{number}");
                    if number % 100 == 0 {
                        assert_eq!(client.get(&known).send().await.unwrap().status(), 302, "{number}");
                    }
                }
            })
        });
        for stranger in strangers.collect::<Vec<_>>() {
            stranger.await.unwrap();
        }
        if resident_before == 0 {
            resident_before = resident(server.child.id());
        }
        next.store(until, Ordering::SeqCst);
    }
    let grown = resident(server.child.id()).saturating_sub(resident_before);
    println!("{requests} requests, {} packets, {} KiB more", web.packets(), grown >> 10);
    assert_eq!(web.requests_for(URL), 1, "the client in use waits for no fetch");
    let ledger = Registrar::new(SqliteLedger::open(folder.0.join("clients.db").to_str().unwrap()).await.unwrap());
    assert_eq!(ledger.find(&Filter::default(), None, 500).await.unwrap().clients.len(), 1, "nothing else is written");
    grown
}

/// 80: a flood of unknown URLs, under the limits of the demo.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_unknown_urls_takes_bounded_memory() {
    let (web, folder) = (Web::start().await, Folder::new("documents-flood"));
    publish_everywhere(&web);
    web.publish(URL, json!({}));
    let grown = flood(&web, &folder, &[], requests()).await;
    assert!(grown < BOUND, "{} KiB", grown >> 10);
}

/// The same without limits: each is fetched, until all tables are full several times over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_without_limits_takes_bounded_memory() {
    let (web, folder) = (Web::start().await, Folder::new("documents-unlimited"));
    publish_everywhere(&web);
    web.publish(URL, json!({}));
    folder.write("policy.toml", UNLIMITED);
    let policy = folder.0.join("policy.toml");
    let grown = flood(&web, &folder, &["--policy", policy.to_str().unwrap()], requests()).await;
    assert!(web.requests() > requests() / 2, "{}", web.requests());
    assert!(grown < BOUND, "{} KiB", grown >> 10);
}
