//! Rewrites the handler's own errors in the form of RFC 7591 section 3.2.2.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Body;

use super::describe;
use crate::layers::body::{self, ANSWER_LIMITS, ResponseBody};
use crate::registration::Registration;

/// Gives an error a body that clients read, and keeps its status and the headers that say what to do about it.
pub(super) async fn normalise<R: Body>(response: Response<R>) -> Response<ResponseBody<R>> {
    let (mut parts, body) = response.into_parts();
    let read = if body::is_coded(&parts.headers) { None } else { read(body).await };
    let bytes = read.unwrap_or_else(|| stand_in(parts.status));
    describe(&mut parts.headers, bytes.len());
    // RFC 9110 section 15.5.2: a 401 "MUST send a WWW-Authenticate header field".
    if parts.status == StatusCode::UNAUTHORIZED {
        parts.headers.entry(header::WWW_AUTHENTICATE).or_insert(HeaderValue::from_static("Bearer"));
    }
    Response::from_parts(parts, ResponseBody::own(bytes))
}

/// Answers that there is no such client: RFC 7592 section 2.1 has a 401 for that, and `OpenID` Connect Dynamic Client
/// Registration section 4.4 forbids a 404.
pub(super) async fn no_client<R: Body>(mut response: Response<R>) -> Response<ResponseBody<R>> {
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
    response.headers_mut().entry(header::WWW_AUTHENTICATE).or_insert(challenge);
    normalise(response).await
}

/// Returns the body if it is an error response already, else `None`. Members of the wrong type, on which clients fail,
/// are removed.
async fn read<R: Body>(body: R) -> Option<Bytes> {
    let bytes = body::read_answer(body).await?;
    let mut document = Registration::parse_with(&bytes, &ANSWER_LIMITS).ok()?;
    document.string("error").filter(|code| is_error_code(code))?;
    let is_text = |document: &Registration, name: &str| document.get(name).is_none() || document.string(name).is_some();
    let mut changed = false;
    for name in ["error_description", "error_uri"] {
        if !is_text(&document, name) {
            changed |= document.remove(name);
        }
    }
    Some(if changed { Bytes::from(document.canonical_bytes()) } else { bytes })
}

/// Returns whether `code` is an error code: RFC 6749 section 5.2: error = 1*NQSCHAR.
fn is_error_code(code: &str) -> bool {
    !code.is_empty() && code.bytes().all(|byte| matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~'))
}

fn stand_in(status: StatusCode) -> Bytes {
    Bytes::from_static(match status.as_u16() {
        401 => br#"{"error":"invalid_token","error_description":"the server wants a valid token"}"#,
        403 => br#"{"error":"access_denied","error_description":"the server does not allow this"}"#,
        405 | 408 => br#"{"error":"invalid_request","error_description":"the server did not take this request"}"#,
        429 => br#"{"error":"too_many_requests","error_description":"the server has had too many requests"}"#,
        503 => br#"{"error":"temporarily_unavailable","error_description":"the server can't answer now"}"#,
        400..500 => {
            br#"{"error":"invalid_client_metadata","error_description":"the server rejected the registration"}"#
        }
        _ => br#"{"error":"server_error","error_description":"the server failed"}"#,
    })
}
