//! Floods. Packets are counted, and answers that do not wait.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use test_support::support::eventually;
use tokio::task::JoinHandle;
use tower_dcr::clients::MemoryLedger;
use tower_dcr::documents::ClientIdUrl;
use tower_dcr::rate_limit::{RateLimit, SharedQuotas};
use tower_dcr_redis::RedisStore;

use super::node::{MINUTE, Node, unlimited};
use super::web::{SITES, URL, Web, below_one_site, document, json_response, response, site};
use crate::fleet;

/// A document at any URL.
fn publish_everywhere(web: &Web) {
    web.otherwise(|arrived| json_response("", &document(&format!("https://{}", arrived.url), json!({}))));
}

fn stranger(number: usize) -> String {
    format!("203.{}.{}.7", 114 + number / 256, number % 256)
}

impl Node {
    /// A request on a connection of its own, in the background.
    fn begin(self: &Arc<Self>, url: String, address: String) -> JoinHandle<u16> {
        let node = Arc::clone(self);
        tokio::spawn(async move { node.authorize_from(&url, &address).await })
    }
}

/// 79: a thousand requests for one document make one fetch, also if the one that began it goes away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_make_one_fetch() {
    let node = Arc::new(Node::start(tower_dcr::mcp()).await);
    node.web.publish(URL, json!({}));
    node.web.stall_all_but("");
    let first = node.begin(URL.to_owned(), stranger(0));
    eventually("the fetch has begun", async || node.web.requests() == 1).await;
    let others: Vec<_> = (0..1000).map(|_| node.begin(URL.to_owned(), stranger(0))).collect();
    eventually("all wait", async || node.server.arrived.load(Ordering::SeqCst) == 1001).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    node.web.go_on();
    for other in others {
        assert_eq!(other.await.unwrap(), 302);
    }
    assert_eq!((node.web.requests(), node.records().await), (1, 1));
}

/// A request that begins a fetch and goes away leaves its place to others once the fetch has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_go_away_hold_no_place() {
    let node = Arc::new(Node::start(unlimited(tower_dcr::mcp())).await);
    publish_everywhere(&node.web);
    node.web.stall_all_but("");
    let gone: Vec<_> =
        (0..2).map(|number| node.begin(format!("https://app.example.com/{number}"), stranger(number))).collect();
    eventually("the fetches have begun", async || node.web.requests() == 2).await;
    let url = "https://app.example.com/third";
    assert_eq!(node.authorize(url).await, 503, "two for each host");
    gone.iter().for_each(JoinHandle::abort);
    node.web.go_on();
    // Time does not go on: the places are not given back by it.
    eventually("the places are free", async || node.authorize(url).await == 302).await;
}

/// 81 and 83: one host or one site gets few requests, from however many addresses, under however many names and paths.
#[tokio::test]
async fn one_victim_gets_few_requests() {
    for (addresses, least, most) in [(1, 10, 10), (100, 30, 30)] {
        for hosts in [1, SITES] {
            let node = Node::start(tower_dcr::mcp()).await;
            publish_everywhere(&node.web);
            let mut statuses = Vec::new();
            for number in 0..100 {
                let url = format!("https://{}/{number}", below_one_site(number % hosts));
                statuses.push(node.authorize_from(&url, &stranger(number % addresses)).await);
            }
            let packets = node.web.packets();
            assert!((least..=most).contains(&packets), "{addresses} {hosts}: {packets}");
            assert_eq!(statuses.iter().filter(|status| **status == 302).count(), packets);
            assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 100 - packets);
            node.clock.advance(MINUTE);
            for number in 100..200 {
                let url = format!("https://{}/{number}", below_one_site(number % hosts));
                node.authorize_from(&url, &stranger(number % addresses)).await;
            }
            assert!(node.web.packets() <= 2 * most, "{addresses} {hosts}: {}", node.web.packets());
        }
    }
}

/// 81: at the same time, two for a host and four for a site.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_victim_gets_few_requests_at_once() {
    for (hosts, most) in [(1, 2), (SITES, 4)] {
        let node = Arc::new(Node::start(unlimited(tower_dcr::mcp())).await);
        publish_everywhere(&node.web);
        node.web.stall_all_but("");
        let mut waiting = Vec::new();
        for number in 0..most {
            waiting.push(node.begin(format!("https://{}/{number}", below_one_site(number % hosts)), stranger(number)));
            eventually("it waits", async || node.web.requests() == number + 1).await;
        }
        for number in most..60 {
            let url = format!("https://{}/{number}", below_one_site(number % hosts));
            assert_eq!(node.authorize_from(&url, &stranger(number)).await, 503, "{hosts} {number}");
        }
        assert_eq!(node.web.packets(), most);
        node.web.go_on();
        for waits in waiting {
            assert_eq!(waits.await.unwrap(), 302);
        }
    }
}

/// 82: slow hosts of strangers take 24 places of 32, and none of the clients in use: neither elsewhere nor at the same host.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_hosts_end_nothing_of_clients_in_use() {
    let node = Arc::new(Node::start(unlimited(tower_dcr::mcp())).await);
    publish_everywhere(&node.web);
    let elsewhere = "https://www.example.com/client.json";
    let known = [URL, elsewhere, "https://www.example.com/second.json"];
    for url in known {
        assert_eq!(node.authorize(url).await, 302);
    }
    node.clock.advance(Duration::from_secs(2 * 3600));
    let before = node.web.requests();
    node.web.stall_all_but("www.example.com");
    // Two at the host of a client in use, as many as there may be.
    let slow = (0..2).map(|number| format!("https://app.example.com/slow{number}"));
    let slow = slow.chain((0..22).map(|number| format!("https://{}/c", site(number))));
    let mut waiting = Vec::new();
    for (number, url) in slow.enumerate() {
        waiting.push(node.begin(url, stranger(number)));
        eventually("it waits", async || node.web.requests() == before + number + 1).await;
    }
    for number in 24..SITES {
        let url = format!("https://{}/c", site(number));
        assert_eq!(node.authorize_from(&url, &stranger(number)).await, 503, "{number}");
    }
    assert_eq!(node.authorize_from("https://app.example.com/slow3", &stranger(99)).await, 503);
    // Other hosts answer at once.
    for url in &known[1..] {
        let requests = node.web.requests_for(url);
        assert_eq!((node.authorize(url).await, node.web.requests_for(url)), (302, requests + 1), "{url}");
    }
    // The slow one is asked for its client in use, too.
    let refreshed = node.begin(URL.to_owned(), stranger(0));
    eventually("it is asked", async || node.web.requests_for(URL) == 2).await;
    node.web.go_on();
    assert_eq!(refreshed.await.unwrap(), 302);
    for waits in waiting {
        assert_eq!(waits.await.unwrap(), 302);
    }
}

/// Clients in use are answered from memory while strangers flood: without a packet, none rejected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_in_use_wait_for_no_stranger() {
    for preset in [tower_dcr::mcp(), unlimited(tower_dcr::mcp())] {
        let node = Arc::new(Node::start(preset).await);
        publish_everywhere(&node.web);
        assert_eq!(node.authorize(URL).await, 302);
        node.web.stall_all_but("");
        let mut waiting = Vec::new();
        for number in 0..300 {
            let url = format!("https://{}/{number}", site(number % SITES));
            waiting.push(node.begin(url, stranger(number)));
            if number % 10 == 0 {
                assert_eq!(node.authorize(URL).await, 302);
            }
        }
        assert_eq!(node.web.requests_for(URL), 1);
        node.web.go_on();
        for waits in waiting {
            assert!(matches!(waits.await.unwrap(), 302 | 503));
        }
    }
}

/// 84: an outage of one host ends its own fetches only.
#[tokio::test]
async fn an_outage_of_one_host_is_its_own() {
    let node = Node::start(unlimited(tower_dcr::mcp())).await;
    publish_everywhere(&node.web);
    for number in 0..20 {
        node.web.raw(&format!("https://app.attacker-site.com/{number}"), response("500 Error", "", b""));
    }
    for number in 0..20 {
        let status = node.authorize(&format!("https://app.attacker-site.com/{number}")).await;
        assert_eq!(status, if number < 5 { 400 } else { 503 }, "{number}");
    }
    assert_eq!(node.web.requests(), 5);
    for url in [URL, "https://echo.attacker-site.com/client.json"] {
        assert_eq!(node.authorize(url).await, 302, "{url}");
    }
    // It comes back.
    node.clock.advance(10 * MINUTE);
    assert_eq!(node.authorize("https://app.attacker-site.com/back").await, 302);
}

/// 85: with every bucket of the tables in use, nothing is without a limit, and clients in use have their own.
#[tokio::test]
async fn full_tables_of_budgets_admit_no_more() {
    let preset = tower_dcr::mcp().map_documents(|documents| {
        documents.fetches = "60/hour".parse().unwrap();
        documents.fetches_by_address = "6/hour".parse().unwrap();
        documents.fetches_by_site = "10/hour".parse().unwrap();
    });
    let node = Node::start(preset).await;
    publish_everywhere(&node.web);
    assert_eq!(node.authorize(URL).await, 302);
    for number in 0..20_000_u32 {
        let url = ClientIdUrl::parse(&format!("https://app.flood{number}.example/c")).unwrap();
        let address = IpAddr::from((0x0b00_0000 + number).to_be_bytes());
        let error = node.preset.resolve_document(&url, Some(address)).await.unwrap_err();
        assert!(matches!(error.as_str(), "budget" | "no_address"), "{error}");
    }
    // One was the client's.
    assert_eq!(node.web.packets(), 60);
    for number in 0..100 {
        assert_eq!(node.authorize_from(&format!("https://{}/c", site(number % SITES)), &stranger(number)).await, 503);
    }
    assert_eq!(node.web.packets(), 60);
    node.clock.advance(Duration::from_secs(24 * 3600));
    let requests = node.web.requests_for(URL);
    assert_eq!((node.authorize(URL).await, node.web.requests_for(URL)), (302, requests + 1));
}

/// 86: nodes that share their budgets in Redis send no more packets than one.
#[tokio::test]
async fn nodes_share_the_budgets_of_strangers() {
    let Some(redis) = crate::databases::redis(&[]) else { return };
    let web = Web::start().await;
    publish_everywhere(&web);
    let preset = || {
        tower_dcr::mcp().map_documents(|documents| {
            documents.fetches = "20/hour".parse().unwrap();
            documents.fetches_by_site = RateLimit::Off;
            documents.fetches_by_address = RateLimit::Off;
        })
    };
    let ledger = MemoryLedger::default();
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let store = RedisStore::new(fleet::connection(redis.port()).await).with_timeout(Duration::from_secs(5));
        let shared = SharedQuotas::new(store, NonZeroU32::new(3).unwrap());
        nodes.push(Node::with(&web, preset(), ledger.clone(), |documents| documents.with_shared_quotas(shared)).await);
    }
    let mut statuses = Vec::new();
    for number in 0..60 {
        let url = format!("https://{}/{number}", site(number % SITES));
        statuses.push(nodes[number % 3].authorize_from(&url, &stranger(number)).await);
    }
    assert_eq!(web.packets(), 20);
    assert_eq!(statuses.iter().filter(|status| **status == 302).count(), 20, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 40, "{statuses:?}");
    // A client in use on one node is known to the others, and its refreshes are no stranger's.
    for node in &nodes {
        node.clock.advance(Duration::from_secs(2 * 3600));
        assert_eq!(node.authorize(&format!("https://{}/0", site(0))).await, 302);
    }
}
