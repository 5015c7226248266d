//! The consent page of the demo, as a person sees it.

use fantoccini::Locator;
use serde_json::json;

use crate::browser::Browser;
use crate::running::{ANY_PORT, Running};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_consent_page_tells_verified_from_claimed_names() {
    let server = Running::start("demo", &["--addr", ANY_PORT]);
    let Some(browser) = Browser::open().await else { return };
    let rows = [
        (
            "Claude",
            "https://claude.ai/api/mcp/auth_callback",
            "verified",
            "goes to a callback of Claude, and only there",
        ),
        (
            "Cursor",
            "cursor://anysphere.cursor-mcp/cb",
            "unverified",
            "Any program on this device can take cursor: links",
        ),
        ("CIaude Code", "http://localhost:3118/callback", "unverified", "no evidence that it comes from Claude"),
        (
            "Claude Helper",
            "https://helper.example.net/cb",
            "contradicted",
            "It mentions Claude in its name, and is not from",
        ),
        (
            "My Notes",
            "https://claude.ai/api/mcp/auth_callback",
            "verified",
            "The name \u{201c}My Notes\u{201d} is the application\u{2019}s own",
        ),
        (
            "Visual Studio Code",
            "https://vscode.dev/redirect",
            "unverified",
            "The code that gives access can also reach others: the page hands the code to an editor",
        ),
        ("Notes", "https://notes.example.net/cb", "unclaimed", "The name is not checked"),
        ("<b id=owned>Claude</b>", "com.example.notes:/cb", "unverified", "no evidence that it comes from Claude"),
    ];
    for (name, redirect_uri, class, verdict) in rows {
        let (status, client) = server.register(&json!({ "client_name": name, "redirect_uris": [redirect_uri] })).await;
        assert_eq!(status, 201, "{name}: {client}");
        let client_id = client["client_id"].as_str().unwrap();
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        let query = format!("response_type=code&code_challenge={challenge}&code_challenge_method=S256");
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
        let host = match redirect_uri.split_once("://") {
            Some(("https" | "http", rest)) => rest.split('/').next().unwrap(),
            _ => redirect_uri.split(':').next().unwrap(),
        };
        assert!(destination.contains(host) || destination == "a program on this computer", "{destination}");
    }
    // A rejected registration needs no page.
    let imitation = json!({ "client_name": "CIaude", "redirect_uris": ["https://claude.example.net/cb"] });
    let (status, rejected) = server.register(&imitation).await;
    assert_eq!((status, &rejected["error"]), (400, &json!("invalid_client_metadata")), "{rejected}");
    browser.client.clone().close().await.unwrap();
}
