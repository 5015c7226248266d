//! Documents that change between two requests that belong together.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tower_dcr::clients::{Fingerprint, Status};
use tower_dcr::rules::{AuthMethod, Grants};

use super::node::{MINUTE, Node, code, unlimited};
use super::web::{CALLBACK, URL, document, json_response, response};

const EVIL: &str = "https://app.attacker-site.com/cb";
const HOUR: Duration = Duration::from_secs(3600);
/// As short as an age can be.
const SHORT: &str = "Cache-Control: no-store\r\n";

async fn node() -> Node {
    let node = Node::start(unlimited(tower_dcr::mcp())).await;
    node.web.publish_with(URL, SHORT, json!({}));
    node
}

fn rotate(node: &Node, more: Value) {
    node.web.publish_with(URL, SHORT, more);
    node.clock.advance(6 * MINUTE);
}

/// 73: the redirect URIs change between the pushed request, its continuation and the token request.
#[tokio::test]
async fn a_grant_goes_to_the_redirect_uri_that_was_checked() {
    let node = node().await;
    let pushed = node.push(URL, CALLBACK).await;
    rotate(&node, json!({ "redirect_uris": [EVIL] }));
    // Beside the reference, only what the document has now.
    let request_uri = pushed.json()["request_uri"].as_str().unwrap().to_owned();
    let both = |redirect_uri| {
        crate::world::serde_urlencoded(&[
            ("client_id", URL),
            ("request_uri", &request_uri),
            ("redirect_uri", redirect_uri),
        ])
    };
    assert_eq!(node.authorize_raw(&both("https://app.attacker-site.com/other")).await.status, 400);
    let answer = node.authorize_pushed(URL, &pushed).await;
    assert!(answer.status != 302 || answer.fields.contains(CALLBACK), "{answer:?}");
    assert!(!answer.fields.contains("attacker"), "{answer:?}");

    // A client in use: the new redirect URI waits, the old one stays, and the token request makes no packet.
    let node = self::node().await;
    let first = code(&node.authorize_to(URL, CALLBACK).await);
    rotate(&node, json!({ "redirect_uris": [EVIL] }));
    assert_eq!(node.push(URL, EVIL).await.status, 400);
    assert_eq!(node.authorize_to(URL, EVIL).await.status, 400);
    assert!(node.authorize_to(URL, CALLBACK).await.fields.contains(CALLBACK));
    let packets = node.web.packets();
    assert_eq!(node.redeem(URL, &first).await.status, 200);
    assert_eq!(node.web.packets(), packets);
    assert_eq!(node.told()["redirect_uris"], json!([CALLBACK]));
    // Its publisher takes the new one back: it never was in force.
    rotate(&node, json!({}));
    assert_eq!(node.authorize_to(URL, EVIL).await.status, 400);
    assert_eq!(node.authorize_to(URL, CALLBACK).await.status, 302);
}

/// 74: keys change between the code and its redemption.
#[tokio::test]
async fn keys_are_those_of_the_version_that_was_checked() {
    let preset = tower_dcr::oauth(Grants::authorization_code(), AuthMethod::one_of(["private_key_jwt"]));
    let node = Node::start(unlimited(preset)).await;
    let key = |x: &str| json!({ "keys": [{ "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": x, "x": x, "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" }] });
    let (old, new) = ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "e83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU");
    let with = |more: Value| {
        let mut document = json!({ "token_endpoint_auth_method": "private_key_jwt" });
        document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        document
    };
    node.web.publish_with(URL, SHORT, with(json!({ "jwks": key(old) })));
    let first = code(&node.authorize_to(URL, CALLBACK).await);
    rotate(&node, with(json!({ "jwks": key(new) })));
    let packets = node.web.packets();
    assert_eq!(node.redeem(URL, &first).await.status, 200);
    assert_eq!((node.web.packets(), &node.told()["jwks"]["keys"][0]["x"]), (packets, &json!(old)));
    // Keys from elsewhere are another party's: they wait.
    rotate(&node, with(json!({ "jwks_uri": "https://app.attacker-site.com/jwks" })));
    for _ in 0..2 {
        node.authorize_to(URL, CALLBACK).await;
        assert!(!node.told().to_string().contains("attacker"), "{}", node.told());
    }
    // No packet for keys in any case.
    assert!(node.web.arrived().iter().all(|arrived| arrived.url.ends_with("/client.json")));
}

/// 75: another name, or another logo, after people have consented.
#[tokio::test]
async fn another_name_waits_and_a_logo_never_arrives() {
    let node = node().await;
    assert_eq!(node.authorize(URL).await, 302);
    rotate(&node, json!({ "client_name": "Bank", "logo_uri": "https://app.example.com/bank.png" }));
    assert_eq!(node.authorize(URL).await, 302);
    assert_eq!((&node.told()["client_name"], node.told().get("logo_uri")), (&json!("App"), None));
    let facts = node.registrar.consent_facts(URL, CALLBACK).await.unwrap().unwrap();
    assert_eq!(facts.client_name.as_deref(), Some("App"));
    let held = node.record(URL).await.unwrap().document.unwrap().held;
    assert!(held.is_some_and(|held| held.registration.contains("Bank")), "an operator sees it");
    // A day without an operator ends it.
    node.clock.advance(25 * HOUR);
    let grants = node.grants();
    assert_eq!((node.authorize(URL).await, node.grants()), (400, grants));
}

/// 76: the document is gone, and its domain has another owner.
#[tokio::test]
async fn a_new_owner_of_a_domain_gets_nothing_of_the_old_one() {
    let node = node().await;
    assert_eq!(node.authorize(URL).await, 302);
    assert_eq!(node.refresh(URL).await, 200);
    node.web.raw(URL, response("410 Gone", "", b""));
    node.clock.advance(6 * MINUTE);
    let grants = node.grants();
    assert_eq!((node.authorize(URL).await, node.grants()), (400, grants));
    assert_eq!(
        node.record(URL).await.unwrap().status,
        Status::Active,
        "a page is missing between two deployments, too"
    );
    node.clock.advance(HOUR);
    assert_eq!((node.authorize(URL).await, node.grants()), (400, grants));
    assert_eq!(node.record(URL).await.unwrap().status, Status::Expired);
    assert_eq!((node.refresh(URL).await, node.grants()), (401, grants), "its grants have ended");
    node.registrar.maintain_once().await.unwrap();
    assert_eq!(*node.server.ended.lock().unwrap(), [URL], "and the server was told");
    // The new owner's document waits like a change of the old one's, and begins anew after that time.
    node.web.publish_with(URL, SHORT, json!({ "redirect_uris": [EVIL] }));
    node.clock.advance(HOUR);
    assert_eq!(node.authorize_to(URL, EVIL).await.status, 400);
    assert_eq!(node.record(URL).await.unwrap().status, Status::Pending);
    node.registrar.approve(URL, "alice", "a new owner").await.unwrap();
    assert_eq!(node.authorize_to(URL, EVIL).await.status, 302);
    assert_eq!(node.authorize_to(URL, CALLBACK).await.status, 400);
    // Without a gap, the new owner's document waits.
    let node = self::node().await;
    assert_eq!(node.authorize(URL).await, 302);
    rotate(&node, json!({ "client_name": "Other", "redirect_uris": [EVIL] }));
    assert_eq!(node.authorize_to(URL, EVIL).await.status, 400);
}

/// 77: another document for each fetch, as a host that tells fetchers apart may send.
#[tokio::test]
async fn a_document_that_alternates_has_one_version_at_a_time() {
    let node = node().await;
    let turn = AtomicUsize::new(0);
    node.web.answer(URL, move |_| {
        let redirect_uri = if turn.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) { CALLBACK } else { EVIL };
        json_response(SHORT, &document(URL, json!({ "redirect_uris": [redirect_uri] })))
    });
    // Within an age there is one, for everyone.
    node.server.asks.store(true, Ordering::SeqCst);
    for _ in 0..10 {
        assert_eq!(node.authorize_to(URL, CALLBACK).await.status, 200);
        assert_eq!(node.authorize_to(URL, EVIL).await.status, 400);
        assert_eq!(node.push(URL, EVIL).await.status, 400);
    }
    assert_eq!(node.web.requests(), 1);
    assert!(
        node.web
            .arrived()
            .iter()
            .all(|it| it.head.contains("user-agent: tower-dcr-fetch/") && !it.head.contains("cookie"))
    );
    // Of a client in use, only the first one.
    node.server.asks.store(false, Ordering::SeqCst);
    assert_eq!(node.authorize_to(URL, CALLBACK).await.status, 302);
    for _ in 0..10 {
        node.clock.advance(6 * MINUTE);
        assert_eq!(node.authorize_to(URL, EVIL).await.status, 400);
        assert_eq!(node.authorize_to(URL, CALLBACK).await.status, 302);
        assert_eq!(node.told()["redirect_uris"], json!([CALLBACK]));
    }
}

/// 78: a change while a person reads the consent page.
#[tokio::test]
async fn a_change_during_the_consent_page_moves_nothing() {
    let node = node().await;
    assert_eq!(node.authorize(URL).await, 302);
    node.server.asks.store(true, Ordering::SeqCst);
    let [page, other] = [node.authorize_to(URL, CALLBACK).await, node.authorize_to(URL, CALLBACK).await];
    assert_eq!(page.status, 200);
    rotate(&node, json!({ "redirect_uris": [EVIL], "client_name": "Other" }));
    assert_eq!(node.authorize_to(URL, EVIL).await.status, 400);
    let answer = node.decide(URL, &page.text).await;
    assert_eq!(answer.status, 302);
    assert!(answer.fields.contains(CALLBACK) && !answer.fields.contains("attacker"), "{answer:?}");
    let packets = node.web.packets();
    assert_eq!(node.redeem(URL, &code(&answer)).await.status, 200);
    assert_eq!((node.web.packets(), &node.told()["client_name"]), (packets, &json!("App")));
    // A revocation does end it.
    node.revoke(Fingerprint::ClientId(URL.into())).await;
    let grants = node.grants();
    assert_eq!((node.decide(URL, &other.text).await.status, node.grants()), (400, grants));
}
