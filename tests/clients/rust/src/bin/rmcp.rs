//! `rmcp`, the official MCP SDK. Arguments: the URL of an MCP endpoint, and any of the URL of its metadata document and
//! `step-up` (calls the second tool).

use rmcp::model::CallToolRequestParams;
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::auth::{AuthClient, AuthorizationRequest, OAuthState};
use rmcp::transport::auth::{AuthorizationManager, WWWAuthenticateParams};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ServiceError, ServiceExt};
use serde_json::{Value, json};
use test_clients_rust::{Error, consent, parameter};

const REDIRECT_URI: &str = "http://127.0.0.1:33422/callback";

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("the URL of an MCP endpoint, please")?;
    let flags: Vec<String> = arguments.collect();
    let mut request = AuthorizationRequest::new(REDIRECT_URI).with_client_name("rmcp");
    if let Some(document) = flags.iter().find(|flag| flag.starts_with("https://")) {
        request = request.with_client_metadata_url(document);
    }
    let mut state = OAuthState::new(&url, None).await?;
    state.start_authorization(request).await?;
    let callback = consent(&state.get_authorization_url().await?).await?;
    state.handle_callback_url(callback.as_str()).await?;
    let manager = state.into_authorization_manager().ok_or("not authorized")?;
    let refreshed = match manager.get_access_token().await {
        Ok(before) => manager.refresh_token().await.is_ok() && manager.get_access_token().await? != before,
        Err(_) => false,
    };
    let client = AuthClient::new(reqwest13::Client::new(), manager);
    let manager = client.auth_manager.clone();
    let transport =
        StreamableHttpClientTransport::with_client(client, StreamableHttpClientTransportConfig::with_uri(url.clone()));
    let service = ().serve(transport).await?;
    let mut outcome = json!({ "said": call(&service, "echo", "hello").await?, "refreshed": refreshed });
    if flags.iter().any(|flag| flag == "step-up") {
        let mut wrote = call(&service, "write", "hello").await;
        if let Some(scope) = wrote.as_ref().err().and_then(|error| missing_scope(error, &url)) {
            // The lock must be free for the second call.
            let stepped_up = step_up(&*manager.lock().await, &scope).await;
            wrote = match stepped_up {
                Ok(()) => call(&service, "write", "hello").await,
                Err(error) => Err(error),
            };
        }
        match wrote {
            Ok(wrote) => outcome["wrote"] = wrote,
            Err(error) => outcome["ended"] = error.to_string().into(),
        }
        outcome["still"] = call(&service, "echo", "again").await?;
    }
    println!("{outcome}");
    service.cancel().await?;
    Ok(())
}

async fn call(service: &RunningService<RoleClient, ()>, tool: &'static str, text: &str) -> Result<Value, Error> {
    let mut call = CallToolRequestParams::new(tool);
    call.arguments = json!({ "text": text }).as_object().cloned();
    let answer = serde_json::to_value(service.call_tool(call).await?)?;
    Ok(answer["content"][0]["text"].clone())
}

/// Returns the scope that a call lacks.
fn missing_scope(error: &Error, url: &str) -> Option<String> {
    let challenge = error.downcast_ref::<ServiceError>()?.auth_challenge()?;
    WWWAuthenticateParams::parse(challenge, &url.parse().ok()?).scope
}

/// Asks for more scope, which the application decides about.
async fn step_up(manager: &AuthorizationManager, scope: &str) -> Result<(), Error> {
    let callback = consent(&manager.request_scope_upgrade(scope).await?).await?;
    let [code, state, issuer] = ["code", "state", "iss"].map(|name| parameter(&callback, name));
    let (code, state) = (code.ok_or("no code")?, state.ok_or("no state")?);
    manager.exchange_code_for_token_with_issuer(&code, &state, issuer.as_deref()).await?;
    Ok(())
}
