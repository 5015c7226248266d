//! `rmcp`, the official MCP SDK. Argument: the URL of an MCP endpoint.

use rmcp::ServiceExt;
use rmcp::model::CallToolRequestParams;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::auth::{AuthClient, AuthorizationRequest, OAuthState};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::json;
use test_clients_rust::{Error, consent};

const REDIRECT_URI: &str = "http://127.0.0.1:33422/callback";

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1).ok_or("the URL of an MCP endpoint, please")?;
    let mut state = OAuthState::new(&url, None).await?;
    state.start_authorization(AuthorizationRequest::new(REDIRECT_URI).with_client_name("rmcp")).await?;
    let callback = consent(&state.get_authorization_url().await?).await?;
    state.handle_callback_url(callback.as_str()).await?;
    let manager = state.into_authorization_manager().ok_or("not authorized")?;
    let refreshed = match manager.get_access_token().await {
        Ok(before) => manager.refresh_token().await.is_ok() && manager.get_access_token().await? != before,
        Err(_) => false,
    };
    let client = AuthClient::new(reqwest13::Client::new(), manager);
    let transport =
        StreamableHttpClientTransport::with_client(client, StreamableHttpClientTransportConfig::with_uri(url));
    let service = ().serve(transport).await?;
    let mut call = CallToolRequestParams::new("echo");
    call.arguments = json!({ "text": "hello" }).as_object().cloned();
    let answer = serde_json::to_value(service.call_tool(call).await?)?;
    println!("{}", json!({ "said": answer["content"][0]["text"], "refreshed": refreshed }));
    service.cancel().await?;
    Ok(())
}
