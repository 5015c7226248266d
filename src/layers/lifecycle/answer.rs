//! Responses of the handler: read for the ledger, and repeated from it.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Body;
use serde_json::{Map, Value};

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

/// Returns the stored response again, with the redirect URIs and the version of this request.
pub(super) fn repeat<R: Body>(client: Client, registration: &Registration) -> Response<ResponseBody<R>> {
    let is_pending = client.status == Status::Pending;
    let Some(stored) = client.response else {
        return awaiting_approval(body::reject(super::unavailable()), is_pending);
    };
    let status = StatusCode::from_u16(stored.status).unwrap_or(StatusCode::CREATED);
    let mut response = body::answer(status, body::JSON, echoing(stored.body, &client.registration, registration));
    response.extensions_mut().insert(RegisteredClient(client.client_id));
    response.extensions_mut().insert(Deduplicated);
    awaiting_approval(response, is_pending)
}

/// Returns the stored body with the redirect URIs and the `software_version` of this request: if loopback ports don't count,
/// or versions, the first client had others, and a client may compare them (RFC 7591 section 3.2.1).
fn echoing(body: String, first: &str, registration: &Registration) -> String {
    let Ok(Value::Object(mut document)) = serde_json::from_str(&body) else { return body };
    let echoes_uris = echo_redirect_uris(&mut document, registration);
    let echoes_version = echo_version(&mut document, first, registration);
    if !echoes_uris && !echoes_version {
        return body;
    }
    serde_json::to_string(&document).unwrap_or(body)
}

/// Returns whether the document has changed.
fn echo_redirect_uris(document: &mut Map<String, Value>, registration: &Registration) -> bool {
    let sent: Vec<&str> = registration.redirect_uris().collect();
    let Some(Value::Array(echoed)) = document.get_mut(Field::REDIRECT_URIS.name()) else { return false };
    // If a server accepted fewer of them, its list stays.
    let differs = echoed.len() == sent.len() && echoed.iter().map(Value::as_str).ne(sent.iter().copied().map(Some));
    if differs {
        *echoed = sent.into_iter().map(Value::from).collect();
    }
    differs
}

/// Returns whether the document has changed. `first` is the registration that it answered.
fn echo_version(document: &mut Map<String, Value>, first: &str, registration: &Registration) -> bool {
    let name = Field::SOFTWARE_VERSION.name();
    let Some(sent) = registration.string_at(Field::SOFTWARE_VERSION) else { return document.remove(name).is_some() };
    if document.get(name).and_then(Value::as_str) == Some(sent) {
        return false;
    }
    // A server that left out the first version, or that echoes no metadata, does not register this one.
    let first: Option<Value> = serde_json::from_str(first).ok();
    let had_version = first.is_some_and(|first| first.get(name).is_some());
    let is_echoed =
        if had_version { document.contains_key(name) } else { document.contains_key(Field::REDIRECT_URIS.name()) };
    if is_echoed {
        document.insert(name.to_owned(), sent.into());
    }
    is_echoed
}

/// Marks a response for the audit layer: the client can't sign in yet.
pub(super) fn awaiting_approval<R>(mut response: Response<R>, is_pending: bool) -> Response<R> {
    if is_pending {
        response.extensions_mut().insert(AwaitsApproval);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers with the `client_id` only is not made to echo metadata, nor one that drops the version.
    #[test]
    fn a_version_is_echoed_where_the_server_does() {
        let (one, two) = (Some("1"), Some("2"));
        let uris = r#""redirect_uris":["http://127.0.0.1/cb"]"#;
        let registration = |version: Option<&str>| match version {
            Some(version) => format!(r#"{{{uris},"software_version":"{version}"}}"#),
            None => format!("{{{uris}}}"),
        };
        for (first, second, answer, wanted) in [
            (one, two, r#"{"client_id":"a"}"#.to_owned(), None),
            (one, two, format!(r#"{{"client_id":"a",{uris}}}"#), None),
            (one, two, r#"{"client_id":"a","software_version":"1"}"#.to_owned(), two),
            (one, two, r#"{"client_id":"a","software_version":7}"#.to_owned(), two),
            (one, one, r#"{"client_id":"a","software_version":"1"}"#.to_owned(), one),
            (one, None, r#"{"client_id":"a","software_version":"1"}"#.to_owned(), None),
            (None, one, r#"{"client_id":"a"}"#.to_owned(), None),
            (None, one, format!(r#"{{"client_id":"a",{uris}}}"#), one),
            (None, None, format!(r#"{{"client_id":"a",{uris}}}"#), None),
        ] {
            let sent = Registration::parse(registration(second).as_bytes()).unwrap();
            let repeated = echoing(answer.clone(), &registration(first), &sent);
            let document: Value = serde_json::from_str(&repeated).unwrap();
            assert_eq!(document.get("software_version").and_then(Value::as_str), wanted, "{answer}");
            assert_eq!(document["client_id"], "a");
        }
    }
}
