//! The whole preset around a bare axum handler, beside what a user would assemble today.

#[path = "support/mod.rs"]
mod support;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use axum::routing::{MethodRouter, post};
use axum::{Json, Router};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use support::{Case, compare, figure};
use tower::ServiceExt;
use tower_dcr::audit::Event;
use tower_dcr::rate_limit::Quota;
use tower_dcr::rules::{MetadataAllowlist, RedirectUris};
use tower_dcr::{
    Preset,
    layers::{AuditLayer, PolicyLayer, RateLimitLayer},
};
use tower_governor::GovernorLayer;
use tower_governor::governor::GovernorConfigBuilder;
use tower_http::limit::RequestBodyLimitLayer;

const BODY: &str = r#"{"client_name":"Example MCP Client (my-server)","redirect_uris":["http://127.0.0.1:33418/callback"],"grant_types":["authorization_code","refresh_token"],"token_endpoint_auth_method":"none","response_types":["code"],"scope":"mcp:tools mcp:resources mcp:prompts profile openid offline_access","application_type":"native","software_id":"example"}"#;
const EVIL: &str = r#"{"client_name":"Example MCP Client (my-server)","redirect_uris":["javascript:alert(document.cookie)"],"grant_types":["authorization_code","refresh_token"],"token_endpoint_auth_method":"none","response_types":["code"],"scope":"mcp:tools mcp:resources mcp:prompts profile openid offline_access","application_type":"native"}"#;

async fn register(Json(mut client): Json<Value>) -> (StatusCode, Json<Value>) {
    if let Some(object) = client.as_object_mut() {
        object.insert("client_id".into(), "client-1".into());
    }
    (StatusCode::CREATED, Json(client))
}

fn request(body: &'static str) -> Request<Body> {
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("/register");
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    request.headers_mut().insert("content-length", body.len().into());
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([203, 0, 113, 7], 4000))));
    request
}

/// A router as `axum::serve` makes it: without this, axum builds the layers anew for every request.
fn router(register: MethodRouter) -> Router {
    Router::new().route("/register", register).with_state(())
}

fn bare() -> Router {
    router(post(register))
}

/// Counts events and looks at nothing else.
fn counting() -> impl Fn(&Event) + Send + Sync + 'static {
    let count = AtomicU64::new(0);
    move |_: &Event| {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

fn many() -> Quota {
    Quota::per_second(NonZeroU32::MAX)
}

/// All budgets there are, and none that is ever spent.
fn unlimited() -> RateLimitLayer {
    RateLimitLayer::new().map_limits(|limits| {
        limits.address = many().into();
        limits.global = many().into();
    })
}

fn preset() -> Preset {
    tower_dcr::mcp()
        .with_peer_address(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0))
        .with_rate_limit(unlimited())
        .with_sink(counting())
}

fn guarded(preset: Preset) -> Router {
    router(post(register).layer(preset))
}

/// `RequestBodyLimit`, `tower_governor` and a JSON Schema that says what the guard's rules say, as far as it can.
fn assembled() -> Option<Router> {
    let schema = json!({
        "type": "object",
        "required": ["redirect_uris"],
        "properties": {
            "redirect_uris": { "type": "array", "minItems": 1, "maxItems": 10, "items": {
                "type": "string", "maxLength": 2048,
                "pattern": "^(https://[a-z0-9.-]+(/[^#*\\\\]*)?|http://(localhost|127\\.0\\.0\\.1|\\[::1\\])(:[0-9]+)?(/[^#*\\\\]*)?)$",
            } },
            "grant_types": { "type": "array", "items": { "enum": ["authorization_code", "refresh_token"] } },
            "response_types": { "type": "array", "items": { "enum": ["code"] } },
            "token_endpoint_auth_method": { "enum": ["none"] },
            "application_type": { "enum": ["native", "web"] },
            "client_name": { "type": "string", "maxLength": 2048 },
            "scope": { "type": "string" }, "software_id": { "type": "string" },
        },
        "additionalProperties": false,
    });
    let validator = Arc::new(jsonschema::validator_for(&schema).ok()?);
    let check = axum::middleware::from_fn(move |request: Request<Body>, next: axum::middleware::Next| {
        let validator = Arc::clone(&validator);
        async move {
            let (parts, body) = request.into_parts();
            let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let valid = serde_json::from_slice(&bytes).is_ok_and(|value: Value| validator.is_valid(&value));
            let response = if valid {
                next.run(Request::from_parts(parts, Body::from(bytes))).await
            } else {
                let mut rejected = Response::new(Body::from("{\"error\":\"invalid_client_metadata\"}"));
                *rejected.status_mut() = StatusCode::BAD_REQUEST;
                rejected
            };
            Ok::<_, Infallible>(response)
        }
    });
    let governor = GovernorConfigBuilder::default().per_nanosecond(1).burst_size(1_000_000).finish()?;
    let register =
        post(register).layer::<_, Infallible>(check).layer::<_, Infallible>(GovernorLayer::new(Arc::new(governor)));
    Some(router(register.layer(RequestBodyLimitLayer::new(16 * 1024))))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let call = |app: &Router, body: &'static str| -> (StatusCode, Bytes) {
        runtime.block_on(async {
            let Ok(response) = app.clone().oneshot(request(body)).await;
            let (parts, body) = response.into_parts();
            (parts.status, body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default())
        })
    };
    let (bare, whole, assembled) = (bare(), guarded(preset()), assembled().ok_or("no schema")?);
    let shadowed = guarded(preset().with_shadow(preset()));
    let guard = router(post(register).layer(PolicyLayer::new((MetadataAllowlist::mcp(), RedirectUris::mcp()))));
    let rate_limit = router(post(register).layer(unlimited()));
    let audit = router(post(register).layer(AuditLayer::new(counting())));
    let limited = guarded(preset().map_rate_limit(|limits| limits.address = Quota::per_hour(NonZeroU32::MIN).into()));
    let strict_governor = {
        let config = GovernorConfigBuilder::default().per_second(3600).burst_size(1).finish().ok_or("no quota")?;
        router(post(register).layer(GovernorLayer::new(Arc::new(config))))
    };
    assert_eq!(call(&bare, BODY).0, StatusCode::CREATED);
    assert_eq!(call(&whole, BODY).0, StatusCode::CREATED);
    assert_eq!(call(&assembled, BODY).0, StatusCode::CREATED);
    assert_eq!(call(&whole, EVIL).0, StatusCode::BAD_REQUEST);
    for app in [&limited, &strict_governor] {
        assert_eq!(call(app, BODY).0, StatusCode::CREATED);
        assert_eq!(call(app, BODY).0, StatusCode::TOO_MANY_REQUESTS);
    }
    let figures = compare(
        &format!("through axum, {} bytes", BODY.len()),
        vec![
            Case::new("bare Json<Value> handler", || call(&bare, BODY)),
            Case::new("assembled today", || call(&assembled, BODY)),
            Case::new("preset, counting sink", || call(&whole, BODY)),
            Case::new("preset with a shadow", || call(&shadowed, BODY)),
            Case::new("guard alone", || call(&guard, BODY)),
            Case::new("rate limit alone", || call(&rate_limit, BODY)),
            Case::new("audit alone", || call(&audit, BODY)),
            Case::new("preset rejects a redirect", || call(&whole, EVIL)),
            Case::new("preset limits", || call(&limited, BODY)),
            Case::new("tower_governor limits", || call(&strict_governor, BODY)),
        ],
    );
    if let [bare, assembled, whole, _, _, _, _, rejected, limited, governor] = figures.as_slice() {
        figure("preset to bare", whole.ratio);
        let more = whole.allocations.saturating_sub(bare.allocations);
        figure("allocations more than bare", u32::try_from(more).map_or(f64::NAN, f64::from));
        figure("preset to assembled today", whole.cost / assembled.cost);
        figure("a rejected redirect to bare", rejected.ratio);
        figure("a limited request to bare", limited.ratio);
        figure("a limited request to tower_governor's", limited.cost / governor.cost);
    }
    Ok(())
}
