//! Hosts that lead somewhere else or answer with anything: no packet, or one; no document; and one answer for all of them.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::time::timeout;
use tower_dcr::documents::{ClientIdUrl, ClientIdUrlOptions, Fetch, FetchError, FetchRequest};
use tower_dcr_fetch::{Resolve, SystemResolver, classify};

use super::node::{Answer, FORM, Node, query, unlimited};
use super::web::{CALLBACK, CLOSED, UNPROVEN, URL, Web, document, json_response, response, site};

/// An address of each range that is not public, and those of the metadata services of cloud providers.
const INNER: [&str; 50] = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.1.2.3",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.175.48.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2606:2800::5efe:7f00:1",
    "2620:4f:8000::1",
    "3fff::1",
    "5f00::1",
    "4000::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
];

/// A public address: nothing is sent there, since another one beside it is not.
const PUBLIC: &str = "93.184.215.14";

/// The answer for a URL that is not found, at each endpoint that fetches, to programs and browsers.
async fn answers(node: &Node, url: &str) -> [Answer; 3] {
    let push = node.http.post(format!("{}/par", node.base)).header("content-type", FORM).body(query(url, CALLBACK));
    [
        node.send(node.authorization(url)).await,
        node.send(node.authorization(url).header("accept", "text/html")).await,
        node.send(push).await,
    ]
}

/// 26 to 31: names whose addresses are not public, or not all of them. Something listens at the port, and hears nothing.
#[tokio::test]
async fn no_packet_goes_to_an_inner_address() {
    let v4 = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = v4.local_addr().unwrap().port();
    let heard = Arc::new(AtomicUsize::new(0));
    for listener in [Some(v4), TcpListener::bind(("::", port)).await.ok()].into_iter().flatten() {
        let heard = Arc::clone(&heard);
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                heard.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    let preset = unlimited(tower_dcr::mcp()).map_documents(|documents| documents.ports = [port].into());
    let node = Node::start(preset).await;
    let expected = answers(&node, URL).await;
    assert_eq!((expected[0].status, expected[1].status, expected[2].status), (400, 400, 401));
    let connections = node.web.packets();
    let one = INNER.iter().map(|inner| vec![*inner]);
    let first = INNER.iter().map(|inner| vec![*inner, PUBLIC, "2606:2800::1"]);
    let last = INNER.iter().map(|inner| vec![PUBLIC, "2606:2800::1", *inner]);
    let others = [vec![], vec![PUBLIC; 17], vec![PUBLIC; 1000]];
    for (number, addresses) in one.chain(first).chain(last).chain(others).enumerate() {
        let host = format!("h{number}.attacker-site.com");
        node.web.names.put(&host, &addresses);
        let url = format!("https://{host}:{port}/c");
        assert_eq!(answers(&node, &url).await, expected, "{addresses:?}");
        assert_eq!(node.web.names.asked(), number + 1, "{addresses:?}: asked once, then it rests");
    }
    // A name that leads here only later, as a rebinding one does: the answer is judged at each fetch.
    let url = format!("https://rebinding.attacker-site.com:{port}/c");
    node.web.names.put("rebinding.attacker-site.com", &[]);
    assert_eq!(node.authorize(&url).await, 400);
    node.web.names.put("rebinding.attacker-site.com", &["127.0.0.1"]);
    node.clock.advance(super::node::MINUTE);
    assert_eq!(node.authorize(&url).await, 400);
    assert_eq!((heard.load(Ordering::SeqCst), node.grants(), node.records().await), (0, 0, 0));
    assert_eq!(node.web.packets() - node.web.names.asked(), connections, "nor to any other host");
    assert!(node.events.reasons().iter().any(|reason| reason.ends_with("address_rejected")));
    // It does listen.
    drop(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    while heard.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
}

/// 34: names in the system's own file are not found there with their final dot, or have addresses that are classified like all
/// others. `localhost` is such a name; a `client_id` with another one gets the same addresses here.
#[tokio::test]
async fn a_name_of_the_hosts_file_is_no_way_around() {
    struct HostsFile;
    impl Resolve for HostsFile {
        async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            Ok(lookup_host(("localhost", 0)).await?.map(|address| address.ip()).collect())
        }
    }
    let in_file = HostsFile.resolve("hosts-file.attacker-site.com").await.expect("the system knows localhost");
    assert!(!in_file.is_empty());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let options = ClientIdUrlOptions { query: false, ports: [port].into() };
    let url = ClientIdUrl::parse_with(&format!("https://hosts-file.attacker-site.com:{port}/c"), &options).unwrap();
    let fetcher = Web::start().await.fetcher().with_resolver(HostsFile);
    let error = fetcher.fetch(FetchRequest::new(url)).await.unwrap_err();
    assert!(matches!(error, FetchError::AddressRejected("loopback")), "{error:?}");
    assert!(timeout(Duration::from_millis(100), listener.accept()).await.is_err());
    // With the final dot, some systems do not find it, and others find the same.
    if let Ok(found) = SystemResolver::new().resolve("localhost").await {
        assert!(!found.is_empty() && found.iter().all(|address| !classify(*address).is_public()), "{found:?}");
    }
}

/// Responses that are no document: 37 and 38, 42 to 46, 48 to 53. The tests of the fetcher have more of them, and those that are slow.
fn no_documents(url: &str) -> Vec<(&'static str, Vec<u8>)> {
    let valid = document(url, json!({})).to_string();
    let json = "Content-Type: application/json\r\n";
    let with = |status: &str, fields: &str| response(status, &format!("{json}{fields}"), valid.as_bytes());
    let head = |fields: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{json}{fields}\r\n{body}").into_bytes();
    let location = "Location: https://app.example.org/client.json\r\n";
    let mut large = valid.clone();
    large.push_str(&" ".repeat(5121 - large.len()));
    vec![
        ("301", with("301 Moved", location)),
        ("302", with("302 Found", location)),
        ("303", with("303 See Other", location)),
        ("307", with("307 Temporary", "Location: https://127.0.0.1/\r\n")),
        ("308", with("308 Permanent", "Location: http://app.example.org/\r\n")),
        ("302 on its own host", with("302 Found", "Location: /client.json\r\n")),
        ("201", with("201 Created", location)),
        ("203", with("203 Non-Authoritative", "")),
        ("204", b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        ("206", with("206 Partial Content", "Content-Range: bytes 0-1/9\r\n")),
        ("304", with("304 Not Modified", "ETag: \"1\"\r\n")),
        ("101", b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n".to_vec()),
        ("403 with a page", response("403 Forbidden", "Content-Type: text/html\r\n", b"<h1>Are you human?</h1>")),
        ("503 with a page", response("503 Unavailable", "Content-Type: text/html\r\n", b"<h1>Wait</h1>")),
        ("a page", response("200 OK", "Content-Type: text/html\r\n", b"<h1>Are you human?</h1>")),
        ("JSON as text", response("200 OK", "Content-Type: text/plain\r\n", valid.as_bytes())),
        ("no media type", response("200 OK", "", valid.as_bytes())),
        ("HTTP/0.9", valid.clone().into_bytes()),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("garbage", vec![0xff; 1000]),
        ("nothing", Vec::new()),
        ("100 without an end", b"HTTP/1.1 100 Continue\r\n\r\n".repeat(5000)),
        ("many fields", with("200 OK", &"X: y\r\n".repeat(100))),
        ("a long field", with("200 OK", &format!("X: {}\r\n", "y".repeat(10_000)))),
        ("a folded field", with("200 OK", "X: y\r\n z\r\n")),
        ("two lengths", with("200 OK", "Content-Length: 2\r\n")),
        ("length and chunks", with("200 OK", "Transfer-Encoding: chunked\r\n")),
        ("chunks without an end", [head("Transfer-Encoding: chunked\r\n", ""), b"1\r\n \r\n".repeat(10_000)].concat()),
        ("a long chunk extension", head("Transfer-Encoding: chunked\r\n", &format!("1;{}", "x".repeat(100_000)))),
        (
            "trailers without an end",
            head("Transfer-Encoding: chunked\r\n", &format!("0\r\n{}", "X: y\r\n".repeat(20_000))),
        ),
        ("cut off", head("Content-Length: 5000\r\n", &valid)),
        ("a length above the limit", head("Content-Length: 1000000000\r\n", &valid)),
        ("5,121 bytes", response("200 OK", json, large.as_bytes())),
        (
            "5,121 bytes in chunks",
            head("Transfer-Encoding: chunked\r\n", &format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len())),
        ),
        ("gzip", with("200 OK", "Content-Encoding: gzip\r\n")),
        ("br", with("200 OK", "Content-Encoding: br\r\n")),
        ("two codings", with("200 OK", "Content-Encoding: gzip, gzip\r\n")),
        ("two documents", response("200 OK", json, format!("{valid}{valid}").as_bytes())),
        ("a byte order mark", response("200 OK", json, format!("\u{feff}{valid}").as_bytes())),
        ("a member twice", response("200 OK", json, valid.replacen('{', r#"{"client_name":"Other","#, 1).as_bytes())),
        ("another client", json_response("", &document("https://app.example.org/client.json", json!({})))),
        ("a secret", json_response("", &document(url, json!({ "client_secret": "s" })))),
        ("a script", json_response("", &document(url, json!({ "redirect_uris": ["javascript:alert(1)"] })))),
    ]
}

/// The document itself is accepted: each of these differs from it in one thing.
#[tokio::test]
async fn what_is_no_document_has_one_answer() {
    let node = Node::start(unlimited(tower_dcr::mcp())).await;
    let expected = answers(&node, URL).await;
    let elsewhere = "https://app.example.org/client.json";
    node.web.publish(elsewhere, json!({}));
    let hints = "Refresh: 0; url=https://app.example.org/client.json\r\nLocation: https://app.example.org/client.json\r\n\
                 Alt-Svc: h2=\"app.example.org:443\"\r\nLink: <https://app.example.org/client.json>; rel=canonical\r\n";
    node.web.publish_with("https://www.example.com/c", hints, json!({}));
    assert_eq!(node.authorize("https://www.example.com/c").await, 302);
    let grants = node.grants();
    for number in 0..no_documents("").len() {
        // Each on a site of its own: a host that fails often is left alone.
        let url = format!("https://{}/client.json", site(number));
        let (case, bytes) = no_documents(&url).swap_remove(number);
        node.web.raw(&url, bytes);
        let packets = node.web.packets();
        assert_eq!(answers(&node, &url).await, expected, "{case}");
        assert_eq!(node.web.packets(), packets + 1, "{case}");
        assert_eq!(node.redeem(&url, "c").await.status, 503, "{case}");
    }
    assert_eq!((node.grants(), node.web.requests_for(elsewhere)), (grants, 0));
    assert_eq!(node.records().await, 1);
}

/// 87: nothing tells one failure from another: neither the answer, nor the number of attempts until the host is left alone.
#[tokio::test]
async fn no_failure_can_be_told_from_another() {
    let node = Node::start(unlimited(tower_dcr::mcp())).await;
    node.web.names.put("inner.attacker-site.com", &["10.0.0.1"]);
    let listed = |host: &str, bytes: Vec<u8>| {
        for number in 0..8 {
            node.web.raw(&format!("https://{host}/{number}"), bytes.clone());
        }
    };
    listed("app.example.org", response("200 OK", "Content-Type: text/html\r\n", b"<h1>"));
    listed("app.attacker-site.com", json_response("", &json!({ "client_id": URL })));
    listed("www.example.com", response("302 Found", "Location: https://app.example.com/\r\n", b""));
    let mut seen = Vec::new();
    for host in [
        "inner.attacker-site.com",
        "no-name.attacker-site.org",
        CLOSED,
        UNPROVEN,
        "app.example.com",
        "app.example.org",
        "app.attacker-site.com",
        "www.example.com",
    ] {
        let mut answers = Vec::new();
        for number in 0..8 {
            answers.extend(self::answers(&node, &format!("https://{host}/{number}")).await);
        }
        seen.push((host, answers));
    }
    for (host, answers) in &seen {
        assert_eq!(*answers, seen[0].1, "{host}");
    }
    let statuses: Vec<u16> = seen[0].1.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 9, "{statuses:?}");
    assert_eq!(node.grants(), 0);
}

/// 88, 89 and 90: neither the document nor the URL is repeated: not to the caller, not on a page, and in an event only as JSON.
#[tokio::test]
async fn nothing_is_echoed_or_injected() {
    let node = Node::start(unlimited(tower_dcr::mcp())).await;
    let marked = "canary\"}\n{\"action\":\"approved\"}\u{1b}[31m<script>alert(1)</script>\u{2028}\u{202e}";
    let url = "https://app.example.com/canary'-alert(1)-'&lt;b";
    for more in [
        json!({ "client_name": marked }),
        json!({ "client_name": "Claude", "contacts": ["canary"] }),
        json!({ "redirect_uris": ["javascript:canary"] }),
        json!({ "grant_types": ["canary"] }),
        json!({ "client_secret": "canary" }),
        json!({ "client_id": "https://app.example.com/canary" }),
        json!({ "token_endpoint_auth_method": marked }),
    ] {
        let node = Node::at(&node.web, unlimited(tower_dcr::mcp())).await;
        node.web.publish(url, more.clone());
        for answer in answers(&node, url).await {
            assert!((400..500).contains(&answer.status), "{more}");
            for text in [&answer.text, &answer.fields] {
                assert!(!text.contains("canary") && !text.contains("alert") && !text.contains("app.example"), "{text}");
            }
        }
        let lines = node.events.lines();
        assert!(!lines.is_empty(), "{more}");
        for line in lines {
            let event: serde_json::Value =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(!line.chars().any(char::is_control) && !line.contains("alert(1)</script>"), "{line}");
            assert_ne!(event["action"], "approved", "{line}");
        }
        assert_eq!(node.grants(), 0);
    }
}
