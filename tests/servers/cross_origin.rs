//! A page of another origin registers and signs in, in a real browser: what it may not read, its user never learns.

use axum::Router;
use axum::response::Html;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::running::{ANY_PORT, Running};

/// Registers, whatever the outcome is. The second header has the browser ask first, too, like the media type.
const REGISTER: &str = r"
    const [server, body, mediaType, done] = arguments;
    fetch(server + '/register', {
        method: 'POST', body, headers: { 'content-type': mediaType, ...(mediaType === 'application/json' && { 'mcp-protocol-version': '2026-07-28' }) },
    })
        .then(async (answer) => done({
            status: answer.status, body: await answer.json(), retry: answer.headers.get('retry-after'),
        }))
        .catch((error) => done({ error: String(error) }));
";

/// Redeems the code that the page was called with, and calls the tool.
const SIGN_IN: &str = r"
    const [server, client_id, redirect_uri, code_verifier, done] = arguments;
    const code = new URL(location.href).searchParams.get('code');
    const form = new URLSearchParams({ grant_type: 'authorization_code', code, client_id, redirect_uri, code_verifier });
    const call = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'echo', arguments: { text: 'hello' } } };
    fetch(server + '/token', { method: 'POST', body: form })
        .then((answer) => answer.json())
        .then(({ access_token }) => fetch(server + '/mcp', {
            method: 'POST', body: JSON.stringify(call),
            headers: { authorization: 'Bearer ' + access_token, 'content-type': 'application/json' },
        }))
        .then((answer) => answer.json())
        .then((answer) => done(answer.result.content[0].text))
        .catch((error) => done(String(error)));
";

/// The origin of a page that has nothing on it.
async fn origin() -> String {
    let listener = tokio::net::TcpListener::bind(ANY_PORT).await.unwrap();
    let origin = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let app = Router::new().fallback(async || Html("<!doctype html><title>page</title>"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    origin
}

#[tokio::test]
async fn a_page_of_another_origin_registers_and_reads_rejections() {
    let Some(browser) = Browser::open().await else { return };
    let origin = origin().await;
    let server = Running::start("demo", &["--addr", ANY_PORT, "--auto-approve", "--quota", "2"]);
    browser.client.goto(&origin).await.unwrap();
    let post = async |body: Value, media_type: &str| {
        let arguments = vec![json!(server.base), json!(body.to_string()), json!(media_type)];
        browser.client.execute_async(REGISTER, arguments).await.unwrap()
    };
    let redirect_uri = format!("{origin}/callback");
    let honest = json!({ "client_name": "Page", "redirect_uris": [redirect_uri] });
    let registered = post(honest.clone(), "application/json").await;
    assert_eq!((&registered["status"], &registered["body"]["client_name"]), (&json!(201), &json!("Page")));

    let rejected = post(json!({ "redirect_uris": ["javascript:alert(1)"] }), "application/json").await;
    assert_eq!((&rejected["status"], &rejected["body"]["error"]), (&json!(400), &json!("invalid_redirect_uri")));
    // Without a question beforehand, since a browser takes this for harmless.
    let plain = post(honest, "text/plain").await;
    assert_eq!((&plain["status"], &plain["body"]["error"]), (&json!(415), &json!("invalid_client_metadata")));
    // The two that were judged have spent the quota.
    let another = json!({ "client_name": "Another", "redirect_uris": [redirect_uri] });
    let limited = post(another, "application/json").await;
    assert_eq!((&limited["status"], &limited["body"]["error"]), (&json!(429), &json!("too_many_requests")));
    assert!(limited["retry"].as_str().is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{limited}");

    // The rest of the way: there and back as a page, then across origins again.
    let client_id = registered["body"]["client_id"].as_str().unwrap();
    let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let query = [
        ("response_type", "code"),
        ("client_id", client_id),
        ("redirect_uri", &redirect_uri),
        ("code_challenge", challenge),
        ("code_challenge_method", "S256"),
    ];
    let authorize = url::Url::parse_with_params(&format!("{}/authorize", server.base), query).unwrap();
    browser.client.goto(authorize.as_str()).await.unwrap();
    assert!(browser.client.current_url().await.unwrap().as_str().starts_with(&redirect_uri));
    let arguments = vec![json!(server.base), json!(client_id), json!(redirect_uri), json!(verifier)];
    assert_eq!(browser.client.execute_async(SIGN_IN, arguments).await.unwrap(), json!("hello"));
}
