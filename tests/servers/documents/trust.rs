//! Documents with the name of another product, and with the `client_id` of a client that exists.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tower_dcr::clients::{Client, Fingerprints, Ledger, Status};
use tower_dcr::documents::Admission;
use tower_dcr::rules::ClaimStatus;

use super::node::{Node, unlimited};
use super::web::{CALLBACK, URL, Web, document, json_response, response};

fn listed(allow: &'static [&str]) -> tower_dcr::Preset {
    unlimited(tower_dcr::mcp()).map_documents(|documents| {
        documents.admission = Admission::Listed;
        documents.allow = allow.iter().map(|pattern| pattern.parse().unwrap()).collect();
    })
}

/// A document that was captured from its publisher.
fn captured(name: &str) -> Value {
    let folder = Path::new(test_support::ROOT).join("tests/data/documents");
    serde_json::from_str(&fs::read_to_string(folder.join(name)).unwrap()).unwrap()
}

/// Publishes a captured document at its own URL, and returns that.
fn publish_captured(web: &Web, name: &str) -> String {
    let document = captured(name);
    let url = document["client_id"].as_str().unwrap().to_owned();
    web.raw(&url, json_response("", &document));
    url
}

const TEMPLATE: &str = "https://chatgpt.com/oauth/*/client.json";

/// 91: hosts on which strangers can have a document: templates, echoes, redirects, and the pages of users.
#[tokio::test]
async fn a_host_of_strangers_speaks_for_no_brand() {
    let node = Node::start(listed(&[TEMPLATE])).await;
    // Any id is valid at a template, and each is a client of its own, with its own redirect URI.
    for id in ["a", "b"] {
        let url = format!("https://chatgpt.com/oauth/{id}/client.json");
        let redirect_uri = format!("https://chatgpt.com/connector/oauth/{id}");
        node.web.publish(&url, json!({ "client_name": "ChatGPT", "redirect_uris": [redirect_uri] }));
        assert_eq!(node.authorize_to(&url, &redirect_uri).await.status, 302);
        assert_eq!(node.authorize_to(&url, "https://chatgpt.com/connector/oauth/other").await.status, 400);
    }
    let packets = node.web.packets();
    for url in [
        "https://chatgpt.com/oauth/a/b/client.json",
        "https://chatgpt.com/oauth/client.json",
        "https://chatgpt.com/oauth/a/client.json/x",
    ] {
        assert_eq!(node.authorize(url).await, 400, "{url}");
    }
    assert_eq!(node.web.packets(), packets);

    let node = Node::start(unlimited(tower_dcr::mcp())).await;
    // Echoes in a query have no packet; those of a path are not JSON in most cases, and where they are, it is that host's document.
    let echo = "https://echo.attacker-site.com/echo?client_id=https%3A%2F%2Fclaude.ai%2Foauth";
    assert_eq!((node.authorize(echo).await, node.web.packets()), (400, 0));
    let reflected = "https://claude.ai/share/x";
    node.web.raw(
        reflected,
        response("200 OK", "Content-Type: text/html\r\n", document(reflected, json!({})).to_string().as_bytes()),
    );
    let raw = "https://raw.githubusercontent.com/a/b/main/client.json";
    node.web.raw(
        raw,
        response(
            "200 OK",
            "Content-Type: text/plain; charset=utf-8\r\n",
            document(raw, json!({})).to_string().as_bytes(),
        ),
    );
    let open = "https://chatgpt.com/redirect/x";
    node.web.raw(
        open,
        response(
            "302 Found",
            "Location: https://app.attacker-site.com/c\r\nContent-Type: application/json\r\n",
            document(open, json!({})).to_string().as_bytes(),
        ),
    );
    node.web.publish("https://app.attacker-site.com/c", json!({ "client_id": open }));
    for url in [reflected, raw, open] {
        assert_eq!(node.authorize(url).await, 400, "{url}");
    }
    assert_eq!((node.grants(), node.web.requests_for("https://app.attacker-site.com/c")), (0, 0));
    // Each user of a content host is a site of their own, and none of them is the brand's.
    for url in ["https://attacker.github.io/client.json", "https://attacker.vercel.app/client.json"] {
        node.web.publish(url, json!({ "client_name": "Claude" }));
        assert_eq!(node.authorize(url).await, 400, "{url}");
        node.web.publish(url, json!({ "client_name": "GitHub Copilot", "redirect_uris": ["http://127.0.0.1/cb"] }));
        node.clock.advance(2 * super::node::MINUTE);
        if node.authorize_to(url, "http://127.0.0.1:1/cb").await.status == 302 {
            assert_not_verified(&node, url, "http://127.0.0.1:1/cb").await;
        }
    }
    let other = "https://other.github.io/client.json";
    node.web.publish(other, json!({}));
    node.revoke(tower_dcr::clients::Fingerprint::parse("document_site", "attacker.github.io").unwrap()).await;
    assert_eq!(node.authorize(other).await, 302, "not its neighbours");
    assert_eq!(node.authorize("https://attacker.github.io/client.json").await, 400);
}

async fn assert_not_verified(node: &Node, url: &str, redirect_uri: &str) {
    let facts = node.registrar.consent_facts(url, redirect_uri).await.unwrap().unwrap();
    assert_ne!(facts.identity.status, ClaimStatus::Verified, "{url}");
    assert_eq!(facts.owner, None, "{url}");
}

/// 92: a brand's own document with loopback redirect URIs proves its publisher, and no program.
#[tokio::test]
async fn a_program_on_this_computer_is_never_verified() {
    let node = Node::start(unlimited(tower_dcr::mcp())).await;
    let url = publish_captured(&node.web, "claude-code.json");
    let at = "http://localhost:4711/callback";
    assert_eq!(node.authorize_to(&url, at).await.status, 302);
    assert_not_verified(&node, &url, at).await;
    let facts = node.registrar.consent_facts(&url, at).await.unwrap().unwrap();
    assert_eq!(facts.document_host.as_deref(), Some("claude.ai"));
    assert!(facts.warning().is_some_and(|warning| warning.contains("not proven")), "{:?}", facts.warning());
    let told = node.server.told.lock().unwrap().last().cloned().unwrap().consent_facts(at);
    assert_ne!(told.identity.status, ClaimStatus::Verified);
    // The document of the same publisher that leads back to it is.
    let url = publish_captured(&node.web, "claude.json");
    let back = "https://claude.ai/api/mcp/auth_callback";
    assert_eq!(node.authorize_to(&url, back).await.status, 302);
    let facts = node.registrar.consent_facts(&url, back).await.unwrap().unwrap();
    assert_eq!(facts.identity.status, ClaimStatus::Verified);
}

/// 93: the documents of brands, word by word, on a host of a stranger.
#[tokio::test]
async fn a_brand_in_the_document_of_a_stranger_is_rejected_or_not_verified() {
    for name in ["claude.json", "claude-code.json", "chatgpt.json", "vscode.json", "notion.json", "zed.json"] {
        for redirect_uri in [None, Some(CALLBACK), Some("http://127.0.0.1/cb")] {
            let node = Node::start(unlimited(tower_dcr::mcp())).await;
            let url = "https://app.attacker-site.com/client.json";
            let mut copied = captured(name);
            copied["client_id"] = url.into();
            if let Some(redirect_uri) = redirect_uri {
                copied["redirect_uris"] = json!([redirect_uri]);
            }
            node.web.raw(url, json_response("", &copied));
            let at = copied["redirect_uris"][0].as_str().unwrap().to_owned();
            let status = node.authorize_to(url, &at).await.status;
            if status == 302 {
                let facts = node.registrar.consent_facts(url, &at).await.unwrap().unwrap();
                assert_eq!(facts.document_host.as_deref(), Some("app.attacker-site.com"));
                // The code goes to the brand, or nothing is verified.
                assert!(
                    facts.identity.status != ClaimStatus::Verified || redirect_uri.is_none(),
                    "{name} {redirect_uri:?}"
                );
            } else {
                assert_eq!((status, node.grants()), (400, 0), "{name} {redirect_uri:?}");
            }
            assert!(
                redirect_uri != Some(CALLBACK) || !name.starts_with("claude") || status == 400,
                "{name}: a foreign site"
            );
        }
    }
}

/// 94: names that end or begin like a listed one.
#[tokio::test]
async fn an_entry_of_the_list_is_a_whole_name() {
    let node = Node::start(listed(&["https://claude.ai/oauth/client.json", TEMPLATE])).await;
    for url in [
        "https://evilclaude.ai/oauth/client.json",
        "https://claude.ai.evil.example/oauth/client.json",
        "https://www.claude.ai/oauth/client.json",
        "https://claude.ai/oauth/client.jsonx",
        "https://claude.ai/oauth/client.json/",
        "https://claude.ai/oauth/client",
        "https://claude.ai/OAuth/client.json",
        "https://evilchatgpt.com/oauth/x/client.json",
        "https://app.attacker-site.com/https://claude.ai/oauth/client.json",
    ] {
        node.web.publish(url, json!({}));
        assert_eq!(node.authorize(url).await, 400, "{url}");
        assert_eq!(node.push(url, CALLBACK).await.status / 100, 4, "{url}");
    }
    assert_eq!((node.web.packets(), node.grants()), (0, 0));
    node.web.publish("https://claude.ai/oauth/client.json", json!({}));
    assert_eq!(node.authorize("https://claude.ai/oauth/client.json").await, 302);
}

async fn register(node: &Node, body: Value) -> super::node::Answer {
    node.send(node.http.post(format!("{}/register", node.base)).json(&body)).await
}

/// 95: a registration neither asks for the URL of a document nor gets one.
#[tokio::test]
async fn a_registration_gets_no_url() {
    let node = Node::start(unlimited(tower_dcr::mcp())).await;
    node.web.publish(URL, json!({}));
    let body = json!({ "client_id": URL, "client_name": "App", "redirect_uris": [CALLBACK] });
    let answer = register(&node, body.clone()).await;
    assert_eq!((answer.status, node.record(URL).await.is_none()), (201, true), "{answer:?}");
    assert_ne!(answer.json()["client_id"], URL);
    assert!(node.server.registered.lock().unwrap().iter().all(|client| client.get("client_id").is_none()));
    for id in
        [URL, "https://as.example.com/clients/1", "HTTPS://app.example.com/client.json", " https://app.example.com/c"]
    {
        *node.server.answer.lock().unwrap() = Some(json!({ "client_id": id }));
        let answer = register(&node, json!({ "client_name": id, "redirect_uris": [CALLBACK] })).await;
        assert_eq!(answer.status, 502, "{id}: {answer:?}");
        assert!(node.record(id).await.is_none(), "{id}");
    }
    // The document's client is another one.
    assert_eq!(node.authorize(URL).await, 302);
    *node.server.answer.lock().unwrap() = Some(json!({ "client_id": URL }));
    let before = node.record(URL).await;
    assert_eq!(register(&node, json!({ "client_name": "Other", "redirect_uris": [CALLBACK] })).await.status, 502);
    assert_eq!(node.record(URL).await, before);
}

/// 96: a client that is managed already is not taken over by a document at its name.
#[tokio::test]
async fn a_managed_client_is_not_taken_over() {
    let node = Node::start(unlimited(tower_dcr::mcp())).await;
    node.web.publish(URL, json!({}));
    let registration = r#"{"redirect_uris":["https://managed.example.com/cb"],"token_endpoint_auth_method":"none"}"#;
    let mut client = Client::draft(registration.to_owned(), Fingerprints::default(), node.registrar.now());
    (client.status, client.client_id) = (Status::Active, Some(URL.to_owned()));
    node.ledger.insert(&client, None).await.unwrap();
    assert_eq!(node.authorize(URL).await, 400, "the document's redirect URI");
    assert_eq!(node.push(URL, CALLBACK).await.status, 400);
    // Its own goes on to the server, which is told of no document.
    let answer = node.authorize_to(URL, "https://managed.example.com/cb").await;
    assert_eq!(answer.text, "by the server");
    assert_eq!(node.redeem(URL, "c").await.text, "by the server");
    assert_eq!((node.web.packets(), node.grants()), (0, 0));
    assert_eq!(node.record(URL).await.unwrap().registration, registration);
}

/// 97 and 98: documents are announced exactly where they are served, whatever the server behind says.
#[tokio::test]
async fn discovery_says_what_is_served() {
    let member = "client_id_metadata_document_supported";
    let off = || unlimited(tower_dcr::mcp()).map_documents(|documents| documents.admission = Admission::Off);
    for (preset, served) in [(unlimited(tower_dcr::mcp()), true), (listed(&[TEMPLATE]), true), (off(), false)] {
        let node = Node::start(preset).await;
        for inner in [json!({}), json!({ member: true }), json!({ member: false }), json!({ member: "true" })] {
            *node.server.metadata.lock().unwrap() = inner.clone();
            let said = node.metadata().await.get(member).cloned();
            assert_eq!(said.clone().unwrap_or_default() == json!(true), served, "{inner}: {said:?}");
        }
        let url = "https://chatgpt.com/oauth/x/client.json";
        node.web.publish(url, json!({}));
        assert_eq!(node.authorize(url).await == 302, served);
        assert_eq!(node.web.packets() > 0, served);
    }
}
