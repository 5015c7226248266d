//! Code that the clients share.

use reqwest::redirect::Policy;
use serde_json::{Value, json};
use url::Url;

pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Follows an authorization URL to the client's callback: a person at a browser who agrees, of a server that does not ask.
pub async fn consent(url: &str) -> Result<Url, Error> {
    let browser = reqwest::Client::builder().redirect(Policy::none()).cookie_store(true).build()?;
    let mut url = Url::parse(url)?;
    for _ in 0..10 {
        let answer = browser.get(url.clone()).send().await?;
        let Some(location) = answer.headers().get("location").and_then(|location| location.to_str().ok()) else {
            return Err(format!("the way ends at {url}: {}", answer.status()).into());
        };
        url = url.join(location)?;
        if parameter(&url, "code").is_some() || parameter(&url, "error").is_some() {
            return Ok(url);
        }
    }
    Err("the way to the callback has no end".into())
}

pub fn parameter(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// Calls the tool of an MCP endpoint, with an access token and without a library. Without an endpoint (`-`), a token will do.
pub async fn call(mcp: &str, token: &str) -> Result<Value, Error> {
    if mcp == "-" {
        return Ok("a token".into());
    }
    let arguments = json!({ "name": "echo", "arguments": { "text": "hello" } });
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": arguments });
    let answer = reqwest::Client::new().post(mcp).bearer_auth(token).json(&request).send().await?;
    let answer: Value = answer.error_for_status()?.json().await?;
    Ok(answer["result"]["content"][0]["text"].clone())
}
