//! Asks the server for the client that a grant belongs to.

use std::pin::Pin;

use http::Response;
use http_body::Body;

use crate::layers::body::{self, BoxError, ResponseBody};
use crate::registration::Registration;
use crate::text;

/// The grant of a token request that does not name its client.
///
/// See [`GateLayer::with_client_of`](crate::layers::GateLayer::with_client_of).
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The `grant_type`: `refresh_token`, `authorization_code`, the device code grant (RFC 8628) or CIBA's.
    pub grant_type: String,
    /// The refresh token, code, device code or `auth_req_id`, unmodified.
    pub value: String,
}

// The value is a secret.
text::debug_fields!(Grant { grant_type });

/// The device authorization grant (RFC 8628 section 3.4).
pub(super) const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Token exchange (RFC 8693 section 2.1).
pub(super) const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// Returns the client that a grant was issued to.
pub(super) type ClientOf =
    dyn Fn(Grant) -> Pin<Box<dyn Future<Output = Result<Option<String>, BoxError>> + Send>> + Send + Sync;

/// Returns the response unchanged, with `true` if it has this member: a token. Some servers answer with 200 and an `error`. A
/// response that can't be read counts as one with a token: a client that is in use must not expire.
pub(super) async fn holds<R: Body + Send + 'static>(
    response: Response<R>,
    member: &str,
) -> (Response<ResponseBody<R>>, bool) {
    let is_coded = body::is_coded(response.headers());
    let has_token = |document: &Registration| document.string(member).is_some();
    body::judge_document(response, |document| is_coded || document.is_none_or(has_token)).await
}
