//! A rejection as an HTTP response.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::Body;

use super::ResponseBody;
use super::headers::number;
use crate::rules::{ErrorCode, Rejection};

pub(crate) const JSON: &str = "application/json";

/// Creates the response to a rejected request: RFC 7591 JSON with `no-store`, and the rejection in its extensions.
pub(crate) fn reject<B: Body>(rejection: Rejection) -> Response<ResponseBody<B>> {
    let mut response = answer(rejection.code.status(), JSON, error_body(&rejection));
    let headers = response.headers_mut();
    if let Some(seconds) = rejection.retry_after_seconds() {
        headers.insert(header::RETRY_AFTER, number(&seconds));
    }
    let field = match rejection.code {
        // RFC 9110 section 15.5.6: "The origin server MUST generate an Allow header field".
        ErrorCode::MethodNotAllowed => {
            Some((header::ALLOW, rejection.allow.unwrap_or("POST, PUT, GET, HEAD, DELETE, OPTIONS")))
        }
        // RFC 6750 section 3: "the resource server MUST include the HTTP "WWW-Authenticate" response header field".
        ErrorCode::InvalidToken => Some((header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")),
        ErrorCode::InsufficientScope => Some((header::WWW_AUTHENTICATE, "Bearer error=\"insufficient_scope\"")),
        // Section 3.1: if there is no token, the server "SHOULD NOT include an error code".
        ErrorCode::TokenRequired => Some((header::WWW_AUTHENTICATE, "Bearer realm=\"client registration\"")),
        ErrorCode::UnsupportedMediaType => Some((HeaderName::from_static("accept-post"), "application/json")),
        _ => None,
    };
    headers.extend(field.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response.extensions_mut().insert(rejection);
    response
}

/// Creates a response of the layers' own.
pub(crate) fn answer<B: Body>(status: StatusCode, media_type: &'static str, text: String) -> Response<ResponseBody<B>> {
    let bytes = Bytes::from(text);
    let mut headers = HeaderMap::with_capacity(8);
    describe(&mut headers, media_type, bytes.len());
    forbid_storing(&mut headers);
    let mut response = Response::new(ResponseBody::own(bytes));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Makes the headers of a response describe a body that a layer has written.
pub(crate) fn describe(headers: &mut HeaderMap, media_type: &'static str, length: usize) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CONTENT_LENGTH, number(&length));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// Creates the rejection while a layer can't do its work.
pub(crate) fn unavailable(rule: &'static str, detail: &'static str) -> Rejection {
    Rejection::new(ErrorCode::TemporarilyUnavailable, rule, detail).with_retry_after(Duration::from_secs(5))
}

/// Creates the rejection of a handler's response that can't be read.
pub(crate) fn unreadable(rule: &'static str) -> Rejection {
    Rejection::new(ErrorCode::BadGateway, rule, "the server's answer could not be read")
}

/// Writes the JSON of RFC 7591 section 3.2.2. Neither string needs escaping: error codes are constants, and a
/// description has no quotation mark, backslash or control character (RFC 6749 section 5.2).
fn error_body(rejection: &Rejection) -> String {
    let mut body = String::with_capacity(192);
    // RFC 6750 section 3.1: a request without a token "SHOULD NOT include an error code or other error information".
    let code = Some(rejection.code).filter(|code| *code != ErrorCode::TokenRequired).map(ErrorCode::as_str);
    body.push('{');
    for piece in code.iter().flat_map(|code| ["\"error\":\"", code, "\","]) {
        body.push_str(piece);
    }
    body.push_str("\"error_description\":\"");
    rejection.describe(&mut body);
    body.push_str("\"}");
    body
}

/// Forbids caching. RFC 7591 section 3.2.1 shows both fields; credentials must not stay in a cache (OAuth 2.1 section
/// 3.2.3).
pub(crate) fn forbid_storing(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
}
