//! Responses of the handler: read for the ledger, and repeated from it.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Body;
use serde_json::Value;

use crate::audit::{AwaitsApproval, Deduplicated, RegisteredClient};
use crate::clients::ledger::{Client, Status};
use crate::clients::registrar::ServerAnswer;
use crate::layers::body::{self, ANSWER_LIMITS, ResponseBody};
use crate::registration::{Field, Registration};

/// The document in a response.
pub(super) struct Answer {
    pub(super) document: Registration,
    bytes: Bytes,
    status: StatusCode,
}

impl Answer {
    pub(super) fn client_id(&self) -> Option<&str> {
        self.document.string_at(Field::CLIENT_ID)
    }

    pub(super) fn as_recorded(&self) -> ServerAnswer<'_> {
        let body = str::from_utf8(&self.bytes).unwrap_or_default();
        ServerAnswer { status: self.status.as_u16(), document: &self.document, body }
    }
}

/// Reads the response's body and puts its bytes back; with the document, if it is one. `None` if the body is too long
/// or broken off.
pub(super) async fn read<R: Body>(response: Response<R>) -> Option<(Response<ResponseBody<R>>, Option<Answer>)> {
    let (mut parts, body) = response.into_parts();
    let bytes = body::read_answer(body).await?;
    let document = Registration::parse_with(&bytes, &ANSWER_LIMITS).ok();
    let answer = document.map(|document| Answer { document, bytes: bytes.clone(), status: parts.status });
    if let Some(answer) = &answer {
        parts.extensions.get_or_insert_with(|| RegisteredClient::of(&answer.document));
    }
    Some((Response::from_parts(parts, ResponseBody::own(bytes)), answer))
}

/// Returns the stored response again, with the redirect URIs of this request.
pub(super) fn repeat<R: Body>(client: Client, registration: &Registration) -> Response<ResponseBody<R>> {
    let is_pending = client.status == Status::Pending;
    let Some(stored) = client.response else {
        return awaiting_approval(body::reject(super::unavailable()), is_pending);
    };
    let status = StatusCode::from_u16(stored.status).unwrap_or(StatusCode::CREATED);
    let mut response = body::answer(status, body::JSON, echoing(stored.body, registration));
    response.extensions_mut().insert(RegisteredClient(client.client_id));
    response.extensions_mut().insert(Deduplicated);
    awaiting_approval(response, is_pending)
}

/// Returns the stored body with the redirect URIs of this request: if loopback ports don't count, the first client had
/// others, and a client may compare them (RFC 7591 section 3.2.1).
fn echoing(body: String, registration: &Registration) -> String {
    let Ok(Value::Object(mut document)) = serde_json::from_str(&body) else { return body };
    let sent: Vec<&str> = registration.redirect_uris().collect();
    let differs = |echoed: &Vec<Value>| {
        // If a server accepted fewer of them, its list stays.
        echoed.len() == sent.len() && echoed.iter().map(Value::as_str).ne(sent.iter().copied().map(Some))
    };
    match document.get_mut("redirect_uris") {
        Some(Value::Array(echoed)) if differs(echoed) => {
            *echoed = sent.iter().copied().map(Value::from).collect();
        }
        _ => return body,
    }
    serde_json::to_string(&document).unwrap_or(body)
}

/// Marks a response for the audit layer: the client can't sign in yet.
pub(super) fn awaiting_approval<R>(mut response: Response<R>, is_pending: bool) -> Response<R> {
    if is_pending {
        response.extensions_mut().insert(AwaitsApproval);
    }
    response
}
