//! Records the client that pushed a request (RFC 9126), so that no other client can continue it.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::Body;

use super::Judgement;
use super::admission::Admitted;
use super::rejection::Fault;
use crate::layers::body::{ANSWER_LIMITS, ResponseBody, read_or_pass};
use crate::registration::{Registration, Value};

/// The longest lifetime in the examples of RFC 9126 section 2.2.
const LIFETIME: Duration = Duration::from_secs(600);

/// Returns whether the URI is of the form that servers give to pushed requests (RFC 9126 section 2.2).
pub(super) fn is_pushed(request_uri: &str) -> bool {
    const PREFIX: &str = "urn:ietf:params:oauth:request_uri:";
    request_uri.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

impl Judgement<'_> {
    /// Records the client of a pushed request that the server accepted, before the client gets the response.
    pub(super) async fn record_pushed<R: Body + Send + 'static>(
        &self,
        admitted: Admitted<'_>,
        response: Response<R>,
    ) -> Result<Response<ResponseBody<R>>, Fault> {
        let Some(client_id) = admitted.client_id else { return Ok(response.map(ResponseBody::inner)) };
        let (parts, body) = response.into_parts();
        let bytes = match read_or_pass(body).await {
            Some(Ok(bytes)) => bytes,
            Some(Err(rest)) if self.settings.reports() => return Ok(Response::from_parts(parts, rest)),
            Some(Err(_)) | None => return Err(Fault::Unavailable),
        };
        if let Some((request_uri, lifetime)) = pushed(&bytes)
            && let Err(error) = self.registrar.record_pushed(&request_uri, &client_id, lifetime).await
        {
            error.log();
            if !self.settings.reports() {
                return Err(Fault::Unavailable);
            }
            self.report(&Fault::Unavailable.into(), Some(&*client_id), None);
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
