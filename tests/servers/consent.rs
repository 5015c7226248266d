//! The consent page of the axum example, as a person sees it.

use fantoccini::Locator;
use serde_json::json;

use crate::browser::Browser;
use crate::running::{ANY_PORT, Running};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_sees_who_asks_and_who_only_says_so() {
    let server = Running::start("axum", &["--addr", ANY_PORT]);
    let Some(browser) = Browser::open().await else { return };
    let rows = [
        ("Claude", "https://claude.ai/api/mcp/auth_callback", "verified", "the answer goes to Claude and nobody else"),
        ("CIaude Code", "http://localhost:3118/callback", "unverified", "nothing shows that it comes from Claude"),
        (
            "Claude Helper",
            "https://helper.example.net/cb",
            "contradicted",
            "It mentions Claude in its name, and is not from",
        ),
        ("Notes", "https://notes.example.net/cb", "unclaimed", "Nobody has checked the name"),
        ("<b id=owned>Claude</b>", "com.example.notes:/cb", "unverified", "nothing shows that it comes from Claude"),
    ];
    for (name, redirect_uri, class, verdict) in rows {
        let (status, client) = server.register(&json!({ "client_name": name, "redirect_uris": [redirect_uri] })).await;
        assert_eq!(status, 201, "{name}: {client}");
        let client_id = client["client_id"].as_str().unwrap();
        let query = "response_type=code&code_challenge=c&code_challenge_method=S256";
        let path = format!("/authorize?{query}&client_id={client_id}");
        assert_eq!(server.get(&path).await.headers()["x-frame-options"], "DENY");
        browser.client.goto(&format!("{}{path}", server.base)).await.unwrap();
        assert_eq!(browser.text("#name").await, name, "as it is, and no markup");
        let shown = browser.client.find(Locator::Css("#verdict")).await.unwrap();
        assert_eq!(shown.attr("class").await.unwrap().as_deref(), Some(class), "{name}");
        let text = shown.text().await.unwrap();
        assert!(text.contains(verdict), "{name}: {text}");
        assert_eq!(browser.text("#first-seen").await, "just now");
        let destination = browser.text("#destination").await;
        let host = redirect_uri.split("//").nth(1).map_or("com.example.notes", |rest| rest.split('/').next().unwrap());
        assert!(destination.contains(host) || destination == "a program on this computer", "{destination}");
    }
    // What is not let in needs no page.
    let imitation = json!({ "client_name": "CIaude", "redirect_uris": ["https://claude.example.net/cb"] });
    let (status, refused) = server.register(&imitation).await;
    assert_eq!((status, &refused["error"]), (400, &json!("invalid_client_metadata")), "{refused}");
    browser.client.clone().close().await.unwrap();
}
