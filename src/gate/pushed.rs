//! Remembers which client pushed a request (RFC 9126), so that nobody else goes on with it.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::Body;

use super::refusal::Fault;
use super::{Admitted, Config};
use crate::body::{ANSWER_LIMITS, ReadAnswer, ResponseBody, read_answer};
use crate::registration::{Registration, Value};

/// What RFC 9126 section 2.2 gives as the longest example of a lifetime.
const LIFETIME: Duration = Duration::from_secs(600);

/// Returns whether the URI is of the form that servers give to pushed requests (RFC 9126 section 2.2).
pub(super) fn is_pushed(request_uri: &str) -> bool {
    const PREFIX: &str = "urn:ietf:params:oauth:request_uri:";
    request_uri.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

impl Config {
    /// Writes down whose request it is that the server took, before the client hears of it.
    pub(super) async fn note_pushed<R: Body>(
        &self,
        admitted: Admitted,
        response: Response<R>,
    ) -> Result<Response<ResponseBody<R>>, Fault> {
        let Some(client_id) = admitted.client_id else { return Ok(response.map(ResponseBody::inner)) };
        let (parts, body) = response.into_parts();
        let ReadAnswer::Complete(bytes) = read_answer(body).await else { return Err(Fault::Unavailable) };
        if let Some((request_uri, lifetime)) = pushed(&bytes) {
            self.registrar.note_pushed(&request_uri, &client_id, lifetime).await.map_err(|error| {
                error.log();
                Fault::Unavailable
            })?;
        }
        Ok(Response::from_parts(parts, ResponseBody::own(bytes)))
    }
}

fn pushed(bytes: &Bytes) -> Option<(String, Duration)> {
    let document = Registration::parse_with(bytes, &ANSWER_LIMITS).ok()?;
    let lifetime = match document.get("expires_in") {
        Some(Value::Number(seconds)) => seconds.parse().map_or(LIFETIME, Duration::from_secs),
        _ => LIFETIME,
    };
    Some((document.string("request_uri")?.to_owned(), lifetime))
}
