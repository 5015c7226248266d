//! A protected MCP endpoint with two tools, over streamable HTTP without server-sent events. The second tool needs another
//! scope, for which clients ask when they are told so (MCP, "Step-Up Authorization Flow").

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::authorization::{SCOPES, Server, issuer};

/// Serves the protected resource metadata of RFC 9728.
pub(crate) async fn metadata(headers: HeaderMap) -> Json<Value> {
    let base = issuer(&headers);
    Json(json!({
        "resource": format!("{base}/mcp"),
        "authorization_servers": [base],
        // The scope to begin with.
        "scopes_supported": [SCOPES[0]],
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
    let challenge = |status: StatusCode, error: &str, scope: &str| {
        let metadata = format!("{}/.well-known/oauth-protected-resource/mcp", issuer(&headers));
        let challenge = format!("Bearer {error}scope=\"{scope}\", resource_metadata=\"{metadata}\"");
        (status, [(header::WWW_AUTHENTICATE, challenge)]).into_response()
    };
    let Some(granted) = token.and_then(|token| server.scope_of(token)) else {
        // RFC 6750 section 3.1: without a token, no error.
        let error = if token.is_some() { "error=\"invalid_token\", " } else { "" };
        return challenge(StatusCode::UNAUTHORIZED, error, SCOPES[0]);
    };
    let request = serde_json::from_slice::<Value>(&body).ok();
    let needed = if request.as_ref().is_some_and(writes) { &SCOPES[..] } else { &SCOPES[..1] };
    if !needed.iter().all(|needed| granted.split(' ').any(|granted| granted == *needed)) {
        // RFC 6750 section 3.1: "The request requires higher privileges than provided by the access token."
        return challenge(StatusCode::FORBIDDEN, "error=\"insufficient_scope\", ", &needed.join(" "));
    }
    match (method, request) {
        (Method::POST, Some(request)) => answer(&request),
        (Method::POST, None) => StatusCode::BAD_REQUEST.into_response(),
        (Method::DELETE, _) => StatusCode::NO_CONTENT.into_response(),
        // There is no stream of events.
        _ => (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST, DELETE")]).into_response(),
    }
}

/// Returns `true` if the request calls the second tool.
fn writes(request: &Value) -> bool {
    let is = |pointer, expected| request.pointer(pointer).is_some_and(|value| value == expected);
    is("/method", "tools/call") && is("/params/name", "write")
}

fn answer(request: &Value) -> Response {
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
        Some("tools/list") => json!({ "tools": [
            tool("echo", "Returns its input"),
            tool("write", "Says what it would write. Needs the scope mcp:write"),
        ] }),
        Some("tools/call") if parameter("/params/name") == "echo" || writes(request) => {
            let text = parameter("/params/arguments/text");
            let said = text.as_str().unwrap_or("missing text");
            let said = if writes(request) { format!("written: {said}") } else { said.to_owned() };
            json!({ "content": [{ "type": "text", "text": said }], "isError": !text.is_string() })
        }
        _ => {
            let error = json!({ "code": -32601, "message": "method not found" });
            return Json(json!({ "jsonrpc": "2.0", "id": id, "error": error })).into_response();
        }
    };
    Json(json!({ "jsonrpc": "2.0", "id": id, "result": result })).into_response()
}

fn tool(name: &str, description: &str) -> Value {
    let text = json!({ "type": "object", "properties": { "text": { "type": "string" } }, "required": ["text"] });
    json!({ "name": name, "description": description, "inputSchema": text })
}
