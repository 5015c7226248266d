//! The memory of documents.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tower_dcr::clients::{Actor, Fingerprint, MemoryLedger};
use tower_dcr::clock::{Clock, ManualClock};
use tower_dcr::documents::{Admission, Documents};
use tower_dcr::redirect_uri::RedirectClass;

use super::node::{MINUTE, Node, unlimited};
use super::web::{CALLBACK, URL, Web, document, json_response, response};
use crate::world::START;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// 64, 65, 66 and 68: the fields of a response choose an age within bounds, and none of them makes requests fetch each time.
#[tokio::test]
async fn no_field_leaves_the_bounds_of_an_age() {
    let least = 5 * MINUTE;
    for (fields, age) in [
        ("Cache-Control: max-age=1000000000000\r\n", DAY),
        ("Cache-Control: max-age=99999999999999999999999999999\r\n", DAY),
        ("Cache-Control: max-age=-1\r\n", least),
        ("Cache-Control: max-age=60\r\n", least),
        ("Cache-Control: MAX-AGE=7200\r\n", 2 * HOUR),
        ("Cache-Control: max-age=7200, max-age=600\r\n", 10 * MINUTE),
        ("Cache-Control: max-age=7200\r\nCache-Control: max-age=600\r\n", 10 * MINUTE),
        ("Cache-Control: max-age=7200, s-maxage=600\r\n", 10 * MINUTE),
        ("Cache-Control: no-cache=\"x, max-age=86400\"\r\n", least),
        ("Cache-Control: x=\"y, max-age=86400\"\r\n", HOUR),
        ("Cache-Control: no-store, max-age=0\r\nPragma: no-cache\r\n", least),
        ("Cache-Control: max-age=7200\r\nAge: 6600\r\n", 10 * MINUTE),
        ("Cache-Control: max-age=7200\r\nAge: 99999999999999999999\r\n", least),
        ("Expires: 0\r\n", least),
        ("Expires: garbage\r\n", least),
        ("Expires: Thu, 01 Jan 1970 00:00:00 GMT\r\n", least),
        ("Expires: Fri, 31 Dec 9999 23:59:59 GMT\r\n", DAY),
        ("Cache-Control: max-age=7200\r\nVary: *\r\n", least),
        ("", HOUR),
    ] {
        // Without a use that makes it known, nothing is fetched ahead.
        let node = Node::start(unlimited(tower_dcr::mcp())).await;
        node.server.asks.store(true, Ordering::SeqCst);
        node.web.publish_with(URL, fields, json!({}));
        for _ in 0..5 {
            assert_eq!(node.authorize(URL).await, 200, "{fields}");
        }
        assert_eq!(node.web.requests(), 1, "{fields}");
        node.clock.set(START + age.saturating_sub(Duration::from_secs(1)));
        assert_eq!(node.authorize(URL).await, 200, "{fields}");
        assert_eq!(node.web.requests(), 1, "{fields}: too early");
        node.clock.advance(Duration::from_secs(2));
        assert_eq!(node.authorize(URL).await, 200, "{fields}");
        assert_eq!(node.web.requests(), 2, "{fields}: too late");
    }
}

/// A clock whose two times move on their own.
#[derive(Debug)]
struct Jumping {
    monotonic: ManualClock,
    wall: ManualClock,
}

impl Clock for Jumping {
    fn monotonic(&self) -> Duration {
        self.monotonic.monotonic()
    }

    fn unix_time(&self) -> Duration {
        self.wall.unix_time()
    }
}

/// 66: the wall clock may jump. Ages are of the other one.
#[tokio::test]
async fn a_clock_that_jumps_changes_no_age() {
    let clock = Arc::new(Jumping { monotonic: ManualClock::new(START), wall: ManualClock::new(START) });
    let web = Web::start().await;
    let change = |documents: Documents| documents.with_clock(clock.clone());
    let node = Node::with(&web, unlimited(tower_dcr::mcp()), MemoryLedger::default(), change).await;
    node.server.asks.store(true, Ordering::SeqCst);
    web.publish(URL, json!({}));
    assert_eq!(node.authorize(URL).await, 200);
    for time in [START + 400 * DAY, Duration::ZERO, START] {
        clock.wall.set(time);
        assert_eq!(node.authorize(URL).await, 200);
        assert_eq!(web.requests(), 1, "{time:?}");
    }
    clock.monotonic.advance(2 * HOUR);
    assert_eq!(node.authorize(URL).await, 200);
    assert_eq!(web.requests(), 2);
}

/// 67: entity tags.
#[tokio::test]
async fn an_entity_tag_confirms_its_own_document_only() {
    let not_modified = |fields: &str| format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n");
    let sent = |node: &Node| node.web.arrived().last().unwrap().head.clone();
    // Not of a document that is not here.
    let node = Node::start(unlimited(tower_dcr::mcp())).await;
    node.web.raw(URL, not_modified("ETag: \"1\"\r\n"));
    assert_eq!((node.authorize(URL).await, node.grants()), (400, 0));
    assert!(!sent(&node).contains("if-none-match"));
    // Long, malformed and several ones are not sent back.
    let long = format!("ETag: \"{}\"\r\n", "x".repeat(2000));
    for fields in
        [long.as_str(), "ETag: 1\r\n", "ETag: \"1\"\r\nETag: \"2\"\r\n", "ETag: \"a b\"\r\n", "ETag: \"\"1\"\r\n"]
    {
        let node = Node::start(unlimited(tower_dcr::mcp())).await;
        node.web.publish_with(URL, fields, json!({}));
        assert_eq!(node.authorize(URL).await, 302);
        node.clock.advance(2 * HOUR);
        assert_eq!(node.authorize(URL).await, 302);
        assert!(!sent(&node).contains("if-none-match"), "{fields}");
        // A confirmation that was not asked for is none.
        node.web.raw(URL, not_modified(""));
        node.clock.advance(4 * HOUR);
        assert_eq!(node.authorize(URL).await, 503, "{fields}");
    }
    // One that is asked for is judged by the rules of today.
    let node = Node::start(unlimited(tower_dcr::mcp())).await;
    node.web.publish_with(URL, "ETag: W/\"1\"\r\n", json!({}));
    assert_eq!(node.authorize(URL).await, 302);
    node.web.raw(URL, not_modified(""));
    node.clock.advance(2 * HOUR);
    assert_eq!(node.authorize(URL).await, 302);
    assert!(sent(&node).contains("if-none-match: W/\"1\"\r\n"));
    let handle = node.preset.clone().reloadable();
    let tighter = tower_dcr::mcp().map_rules(|mut rules| {
        rules.redirect_uris.classes = vec![RedirectClass::Loopback];
        Ok(rules)
    });
    handle.replace(&tighter.unwrap()).unwrap();
    let node = Node::around(&node.web, handle.preset(), node.ledger.clone(), node.clock.clone()).await;
    node.clock.advance(2 * HOUR);
    assert_eq!((node.authorize(URL).await, node.grants()), (400, 0));
    assert!(sent(&node).contains("if-none-match: W/\"1\"\r\n"));
    // Its tag is that of its document: after another one, the old tag is not sent.
    let node = Node::start(unlimited(tower_dcr::mcp())).await;
    node.web.publish_with(URL, "ETag: \"1\"\r\n", json!({}));
    assert_eq!(node.authorize(URL).await, 302);
    node.web.publish(URL, json!({ "client_uri": "https://app.example.com/" }));
    node.clock.advance(2 * HOUR);
    assert_eq!(node.authorize(URL).await, 302);
    node.clock.advance(2 * HOUR);
    assert_eq!(node.authorize(URL).await, 302);
    assert!(!sent(&node).contains("if-none-match"), "{}", sent(&node));
}

/// 69: neither an error nor an invalid document is used as one, then or later.
#[tokio::test]
async fn no_failure_is_remembered_as_a_document() {
    let bad = [
        response(
            "500 Internal Server Error",
            "Content-Type: application/json\r\n",
            document(URL, json!({})).to_string().as_bytes(),
        ),
        json_response("Cache-Control: max-age=86400\r\n", &document("https://app.example.com/other", json!({}))),
        json_response("Cache-Control: max-age=86400\r\n", &document(URL, json!({ "client_secret": "s" }))),
        json_response(
            "Cache-Control: max-age=86400\r\n",
            &document(URL, json!({ "redirect_uris": ["https://evil.example.net/cb#x"] })),
        ),
    ];
    for (number, bytes) in bad.into_iter().enumerate() {
        let node = Node::start(unlimited(tower_dcr::mcp())).await;
        node.web.raw(URL, bytes);
        assert_eq!(node.authorize(URL).await, 400, "{number}");
        assert_eq!(node.redeem(URL, "c").await.status, 503, "{number}");
        assert_eq!((node.authorize(URL).await, node.web.requests()), (400, 1), "{number}: it rests");
        node.web.publish(URL, json!({}));
        node.clock.advance(2 * MINUTE);
        assert_eq!((node.authorize(URL).await, node.web.requests()), (302, 2), "{number}");
        assert_eq!(node.records().await, 1, "{number}");
    }
    // And an invalid one does not take the place of a valid one that is still fresh.
    let node = Node::start(unlimited(tower_dcr::mcp())).await;
    node.web.publish(URL, json!({}));
    assert_eq!(node.authorize(URL).await, 302);
    node.web.raw(URL, json_response("", &json!([])));
    node.clock.advance(55 * MINUTE);
    assert_eq!((node.authorize(URL).await, node.authorize(URL).await), (302, 302));
    node.clock.advance(6 * MINUTE);
    assert_eq!(node.authorize(URL).await, 400, "broken documents have no grace");
}

/// 70: no two spellings share an entry.
#[tokio::test]
async fn two_spellings_share_nothing() {
    let preset = unlimited(tower_dcr::mcp()).map_documents(|documents| documents.query = true);
    let preset = preset.map_documents(|documents| documents.ports = [443].into());
    let node = Node::start(preset).await;
    let spellings = [
        URL,
        "https://app.example.com/client.json/",
        "https://app.example.com/CLIENT.json",
        "https://app.example.com/client.json?",
        "https://app.example.com/client.json?a",
        "https://app.example.com/~client.json",
        "https://app.example.com/client.json;",
        "https://www.example.com/client.json",
    ];
    for (number, url) in spellings.into_iter().enumerate() {
        node.web.publish(url, json!({ "redirect_uris": [format!("https://app.example.com/{number}")] }));
    }
    for (number, url) in spellings.into_iter().enumerate() {
        for other in 0..spellings.len() {
            let answer = node.authorize_to(url, &format!("https://app.example.com/{other}")).await;
            assert_eq!(answer.status == 302, number == other, "{url} {other}: {answer:?}");
        }
    }
    assert_eq!((node.web.requests(), node.records().await), (spellings.len(), spellings.len()));
    // With the default port written out it is another client, with a document of its own.
    let port = "https://app.example.com:443/client.json";
    let answer = node.authorize_to(port, "https://app.example.com/0").await;
    assert_eq!((answer.status, node.web.requests()), (400, spellings.len() + 1));
}

/// 71: tenants that got clones of the same documents are judged by their own rules each, in whatever order they were made, also if
/// they ask at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_is_judged_by_its_own_rules() {
    for order in [[0, 1], [1, 0]] {
        let web = Web::start().await;
        let clock = Arc::new(ManualClock::new(START));
        let documents = Documents::new(web.fetcher()).with_clock(clock.clone());
        let strict = tower_dcr::strict().map_documents(|documents| documents.admission = Admission::Open);
        let presets = [tower_dcr::mcp(), strict].map(|preset| unlimited(preset).with_documents(documents.clone()));
        let mut nodes = [None, None];
        for at in order {
            let node = Node::around(&web, presets[at].clone(), MemoryLedger::default(), clock.clone()).await;
            nodes[at] = Some(node);
        }
        let [lenient, strict] = nodes.map(Option::unwrap);
        // `strict` has no redirect URIs on other sites.
        web.publish(URL, json!({ "redirect_uris": ["https://app.example.org/cb"] }));
        let foreign = "https://app.example.org/cb";
        for _ in 0..2 {
            let (one, other) = tokio::join!(lenient.authorize_to(URL, foreign), strict.authorize_to(URL, foreign));
            assert_eq!((one.status, other.status), (302, 400), "{order:?}");
            assert_eq!((lenient.refresh(URL).await, strict.refresh(URL).await), (200, 401), "{order:?}");
        }
        assert_eq!((strict.grants(), strict.records().await), (0, 0));
        // Neither does the verdict of the stricter one reach the other.
        assert_eq!(lenient.authorize_to(URL, CALLBACK).await.status, 400, "its own redirect URI");
        assert_eq!(lenient.authorize_to(URL, foreign).await.status, 302);
    }
}

/// 72: what is in memory does not outlive a revocation, and a revoked URL is not asked for again.
#[tokio::test]
async fn a_revocation_ends_what_is_in_memory() {
    let targets = [
        Fingerprint::ClientId(URL.into()),
        Fingerprint::parse("document_host", "app.example.com").unwrap(),
        Fingerprint::parse("document_site", "example.com").unwrap(),
    ];
    for target in targets {
        let node = Node::start(unlimited(tower_dcr::mcp())).await;
        node.web.publish(URL, json!({}));
        let pushed = node.push(URL, CALLBACK).await;
        let code = super::node::code(&node.authorize_to(URL, CALLBACK).await);
        node.revoke(target.clone()).await;
        let (packets, grants) = (node.web.packets(), node.grants());
        assert_eq!(node.authorize(URL).await, 400, "{target}");
        assert_eq!(node.push(URL, CALLBACK).await.status, 401, "{target}");
        assert_eq!(node.authorize_pushed(URL, &pushed).await.status, 400, "{target}");
        assert_eq!(node.redeem(URL, &code).await.status, 401, "{target}");
        assert_eq!(node.refresh(URL).await, 401, "{target}");
        node.clock.advance(48 * HOUR);
        assert_eq!(node.authorize(URL).await, 400, "{target}");
        assert_eq!((node.web.packets(), node.grants()), (packets, grants), "{target}");
        assert!(node.registrar.unblock(&target, &Actor::Operator("alice".into()), "").await.unwrap());
        assert_eq!(node.authorize(URL).await, 302, "{target}");
    }
}
