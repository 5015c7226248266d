//! A protected MCP endpoint with one tool, over streamable HTTP without server-sent events.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::authorization::{Server, issuer};

/// Serves the protected resource metadata of RFC 9728.
pub(crate) async fn metadata(headers: HeaderMap) -> Json<Value> {
    let base = issuer(&headers);
    Json(json!({
        "resource": format!("{base}/mcp"),
        "authorization_servers": [base],
        "scopes_supported": ["mcp"],
        "bearer_methods_supported": ["header"],
    }))
}

pub(crate) async fn endpoint(
    State(server): State<Server>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("Bearer").then_some(token)
    });
    if !token.is_some_and(|token| server.accepts(token)) {
        let metadata = format!("{}/.well-known/oauth-protected-resource/mcp", issuer(&headers));
        let challenge = format!("Bearer resource_metadata=\"{metadata}\", scope=\"mcp\"");
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response();
    }
    match method {
        Method::POST => answer(&body),
        Method::DELETE => StatusCode::NO_CONTENT.into_response(),
        // There is no stream of events.
        _ => (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST, DELETE")]).into_response(),
    }
}

fn answer(body: &[u8]) -> Response {
    let Ok(request) = serde_json::from_slice::<Value>(body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let Some(id) = request.get("id").filter(|id| !id.is_null()) else {
        // A notification.
        return StatusCode::ACCEPTED.into_response();
    };
    let parameter = |pointer: &str| request.pointer(pointer).cloned().unwrap_or_default();
    let result = match request.get("method").and_then(Value::as_str) {
        Some("initialize") => json!({
            "protocolVersion": parameter("/params/protocolVersion"),
            "capabilities": { "tools": {} },
            "serverInfo": { "name": "tower-dcr-example", "version": env!("CARGO_PKG_VERSION") },
        }),
        Some("ping") => json!({}),
        Some("tools/list") => json!({ "tools": [{
            "name": "echo",
            "description": "Returns its input",
            "inputSchema": {
                "type": "object", "properties": { "text": { "type": "string" } }, "required": ["text"],
            },
        }] }),
        Some("tools/call") if parameter("/params/name") == "echo" => {
            let text = parameter("/params/arguments/text");
            let said = text.as_str().unwrap_or("missing text");
            json!({ "content": [{ "type": "text", "text": said }], "isError": !text.is_string() })
        }
        _ => {
            let error = json!({ "code": -32601, "message": "method not found" });
            return Json(json!({ "jsonrpc": "2.0", "id": id, "error": error })).into_response();
        }
    };
    Json(json!({ "jsonrpc": "2.0", "id": id, "result": result })).into_response()
}
