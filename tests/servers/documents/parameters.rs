//! Requests that name their client in several ways.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tower_dcr::clients::Fingerprint;

use super::node::{FORM, Node, VERIFIER, code, query, unlimited};
use super::web::{CALLBACK, URL};
use crate::world::serde_urlencoded;

const OTHER: &str = "https://app.attacker-site.com/client.json";
const OTHER_CALLBACK: &str = "https://app.attacker-site.com/cb";

/// A node whose client [`URL`] is in use, and whose client [`OTHER`] is not.
async fn node() -> Node {
    let node = Node::start(unlimited(tower_dcr::mcp())).await;
    node.web.publish(URL, json!({}));
    node.web.publish(OTHER, json!({ "redirect_uris": [OTHER_CALLBACK] }));
    assert_eq!(node.authorize(URL).await, 302);
    node
}

fn jwt(claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2ln", part(&json!({ "alg": "RS256" })), part(claims))
}

fn basic(user: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:")))
}

fn encoded(text: &str) -> String {
    serde_urlencoded(&[("", text)]).split_off(1)
}

/// Nothing is sent to the second client's host, and none of the two gets anything.
async fn check(node: &Node, case: &str, request: reqwest::RequestBuilder) {
    let (requests, grants) = (node.web.requests(), node.grants());
    let answer = node.send(request).await;
    assert!((400..500).contains(&answer.status), "{case}: {answer:?}");
    assert_ne!(answer.text, "by the server", "{case}");
    assert_eq!((node.web.requests(), node.grants()), (requests, grants), "{case}");
    assert!(!answer.text.contains("example.com") && !answer.text.contains("attacker"), "{case}: {answer:?}");
}

/// 20: two clients in one request, in any two places.
#[tokio::test]
async fn a_request_names_one_client() {
    let node = node().await;
    let (one, other) = (encoded(URL), encoded(OTHER));
    let get = |more: String| node.http.get(format!("{}/authorize?{}{more}", node.base, query(URL, CALLBACK)));
    for (case, more) in [
        ("twice", format!("&client_id={other}")),
        ("twice the same", format!("&client_id={one}")),
        ("behind a semicolon", format!(";client_id={other}")),
        ("in an array", format!("&client_id[]={other}")),
        ("in capitals", format!("&Client_ID={other}")),
        ("escaped name", format!("&client%5fid={other}")),
        ("in another spelling", format!("&clientId={other}")),
        ("empty and not", "&client_id=".to_owned()),
    ] {
        check(&node, case, get(more)).await;
    }
    let code = format!("grant_type=authorization_code&code=c&code_verifier={VERIFIER}");
    for (path, form) in [("/par", query(URL, CALLBACK)), ("/token", format!("{code}&client_id={one}"))] {
        let post = |url: String| node.http.post(url).header("content-type", FORM).body(form.clone());
        let plain = || post(format!("{}{path}", node.base));
        check(&node, path, post(format!("{}{path}?client_id={other}", node.base))).await;
        check(&node, path, plain().body(format!("{form}&client_id={other}"))).await;
        check(&node, path, plain().header("authorization", basic(&encoded(OTHER)))).await;
        check(&node, path, plain().header("authorization", basic(&encoded(URL))).header("client-id", OTHER)).await;
        check(&node, path, plain().header("client-id", OTHER)).await;
        check(&node, path, plain().header("cookie", format!("client_id={other}"))).await;
        let assertion = jwt(&json!({ "iss": OTHER, "sub": OTHER, "aud": "https://as.example.com" }));
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let more = serde_urlencoded(&[("client_assertion_type", kind), ("client_assertion", &assertion)]);
        check(&node, path, plain().body(format!("{form}&{more}"))).await;
        let pairs: Vec<(String, String)> = url::form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        let members = |client: &str| {
            let others = pairs.iter().filter(|(name, _)| name != "client_id");
            let others: Vec<String> = others.map(|(name, value)| format!("{}:{}", json!(name), json!(value))).collect();
            format!("{{{},{client}}}", others.join(","))
        };
        for client in [
            format!(r#""client_id":"{URL}","client_id":"{OTHER}""#),
            format!(r#""client_id":"{URL}","client\u005fid":"{OTHER}""#),
            format!(r#""client_id":["{URL}","{OTHER}"]"#),
            format!(r#""client_id":{{"a":"{OTHER}"}}"#),
        ] {
            let json = plain().header("content-type", "application/json").body(members(&client));
            check(&node, &client, json).await;
        }
    }
}

/// 21, 22 and 25: a client is its text, letter by letter, behind one decoding of the form.
#[tokio::test]
async fn a_client_has_one_spelling() {
    let node = node().await;
    let packets = node.web.packets();
    let callback = encoded(CALLBACK);
    let fixed = format!(
        "response_type=code&redirect_uri={callback}&code_challenge_method=S256&code_challenge={}",
        super::node::CHALLENGE
    );
    // Its letters as escapes are the same text.
    let escaped = URL.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
    assert_eq!(node.authorize_raw(&format!("{fixed}&client_id={escaped}")).await.status, 302);
    for id in [
        // Decoded twice by some server: it is no URL here, and the server gets no client.
        encoded(&encoded(URL)),
        encoded("HTTPS://app.example.com/client.json"),
        encoded("https://APP.example.com/client.json"),
        encoded("https://app.example.com./client.json"),
        encoded("https://app.example.com:443/client.json"),
        encoded("https://app.example.com//client.json"),
        encoded("https://app.example.com/./client.json"),
        encoded("https://app.example.com/client.json?"),
        encoded("https://app.example.com/client.json#"),
        encoded(" https://app.example.com/client.json"),
        encoded("https://app.example.com/client.json "),
        encoded("https://app.example.com/client.json\0"),
        encoded("https://app.example.com/client.json\u{200b}"),
        encoded("https://app.example.com\u{ff0f}client.json"),
        // A space, behind a decoding.
        "https://app.example.com/cli+ent.json".to_owned(),
        "https%3A//app.example.com/cli%20ent.json".to_owned(),
    ] {
        let grants = node.grants();
        let answer = node.authorize_raw(&format!("{fixed}&client_id={id}")).await;
        assert!((400..500).contains(&answer.status), "{id}: {answer:?}");
        assert_eq!((node.grants(), node.web.packets()), (grants, packets), "{id}");
    }
    // These are clients of their own: each is asked for by its own text, and the document is not theirs.
    for (id, asked) in [
        ("https://app.example.com/client%2Ejson", "app.example.com/client%2Ejson"),
        ("https://app.example.com/%63lient.json", "app.example.com/%63lient.json"),
        ("https://app.example.com/Client.json", "app.example.com/Client.json"),
        ("https://app.example.com/cli+ent.json", "app.example.com/cli+ent.json"),
        ("https://app.example.com/client.json/", "app.example.com/client.json/"),
        ("https://app.example.com/client.json;", "app.example.com/client.json;"),
    ] {
        node.web.publish_with(id, "", json!({ "client_id": URL }));
        let (requests, grants) = (node.web.requests(), node.grants());
        assert_eq!(node.authorize(id).await, 400, "{id}");
        assert!(matches!(node.redeem(id, "c").await.status, 400 | 503), "{id}");
        assert_eq!(node.grants(), grants, "{id}");
        let arrived = node.web.arrived();
        // A path with an ambiguous escape is no client at all.
        assert!(arrived.get(requests).is_none_or(|it| it.url == asked), "{id}: {arrived:?}");
        assert!(arrived.len() <= requests + 1, "{id}");
        assert!(node.record(id).await.is_none(), "{id}");
    }
    // A revoked one stays revoked in each spelling, and each costs no packet.
    node.revoke(Fingerprint::parse("document_host", "app.example.com").unwrap()).await;
    let packets = node.web.packets();
    for id in [URL, "https://app.example.com/CLIENT.json", "https://app.example.com/client%2ejson"] {
        assert_eq!(node.authorize(id).await, 400, "{id}");
    }
    assert_eq!(node.web.packets(), packets);
}

/// 23: a request object, in the request or behind a reference, that names another client. No reference is fetched.
#[tokio::test]
async fn a_request_object_hides_no_client() {
    let node = node().await;
    let object = |claims: Value| jwt(&claims);
    for (case, parameter, value) in [
        ("another client", "request", object(json!({ "client_id": OTHER, "iss": OTHER }))),
        ("another issuer", "request", object(json!({ "client_id": URL, "iss": OTHER }))),
        ("another callback", "request", object(json!({ "client_id": URL, "redirect_uri": OTHER_CALLBACK }))),
        ("a reference inside", "request", object(json!({ "client_id": URL, "request_uri": OTHER }))),
        ("unreadable", "request", "a.b.c".to_owned()),
        ("a reference to a document", "request_uri", OTHER.to_owned()),
        ("a reference to its own host", "request_uri", "https://app.example.com/request.jwt".to_owned()),
        ("a reference inside this network", "request_uri", "http://127.0.0.1/".to_owned()),
        ("a request that nobody pushed", "request_uri", "urn:ietf:params:oauth:request_uri:x".to_owned()),
    ] {
        let more = serde_urlencoded(&[(parameter, &value)]);
        let get = node.http.get(format!("{}/authorize?{}&{more}", node.base, query(URL, CALLBACK)));
        check(&node, case, get).await;
        let push = node.http.post(format!("{}/par", node.base)).header("content-type", FORM);
        check(&node, case, push.body(format!("{}&{more}", query(URL, CALLBACK)))).await;
    }
}

/// 24: a request that one client pushed is not continued by another.
#[tokio::test]
async fn a_pushed_request_is_its_clients_own() {
    let node = node().await;
    let pushed = node.push(URL, CALLBACK).await;
    assert_eq!(pushed.status, 201, "{pushed:?}");
    assert_eq!(node.authorize_to(OTHER, OTHER_CALLBACK).await.status, 302);
    let grants = node.grants();
    for other in [OTHER, "client-1", "https://www.example.com/client.json"] {
        let answer = node.authorize_pushed(other, &pushed).await;
        assert_eq!((answer.status, node.grants()), (400, grants), "{other}");
    }
    let answer = node.authorize_pushed(URL, &pushed).await;
    assert_eq!((answer.status, node.grants()), (302, grants + 1));
    // A code of one is not redeemed by the other.
    let code = code(&answer);
    assert_eq!(node.redeem(OTHER, &code).await.text, "by the server");
    assert_eq!(node.grants(), grants + 1);
}
