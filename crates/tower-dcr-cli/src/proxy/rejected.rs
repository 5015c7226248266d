//! Responses of the proxy itself.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Limited};
use serde_json::json;
use tower_dcr_server::OddPath;

/// A request that is not forwarded, and the reason.
#[derive(Debug)]
pub(crate) struct Rejected {
    status: StatusCode,
    reason: Cow<'static, str>,
}

impl Rejected {
    pub(crate) fn method() -> Self {
        Self { status: StatusCode::METHOD_NOT_ALLOWED, reason: "method not allowed".into() }
    }

    /// Returns an error response in OAuth form, at every endpoint. A client that is still sending when the connection
    /// closes may never see the response: short bodies are read to their end, and for others `Connection: close` is
    /// sent.
    pub(crate) async fn answer(self, headers: &HeaderMap, body: Body) -> Response {
        let error = Json(json!({ "error": "invalid_request", "error_description": self.reason }));
        let mut response = (self.status, [(header::CACHE_CONTROL, "no-store")], error).into_response();
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            let methods = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
            response.headers_mut().insert(header::ALLOW, methods);
        }
        // A client that waits for 100 (Continue) sends no body after this.
        if headers.contains_key(header::EXPECT) || !is_read_soon(body).await {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

async fn is_read_soon(body: Body) -> bool {
    if body.is_end_stream() {
        return true;
    }
    let read = Limited::new(body, 64 * 1024).collect();
    tokio::time::timeout(Duration::from_secs(2), read).await.is_ok_and(|read| read.is_ok())
}

impl From<&'static str> for Rejected {
    fn from(reason: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason: reason.into() }
    }
}

impl From<OddPath> for Rejected {
    fn from(odd: OddPath) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason: odd.to_string().into() }
    }
}
