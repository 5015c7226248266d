//! Limits failed attempts to authenticate a client.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode, header};
use http_body::Body;

use super::Config;
use super::endpoint::Sender;
use super::parameters::Seen;
use super::rejection::Fault;
use crate::client_address::ClientNetwork;
use crate::layers::body::{self, ResponseBody};
use crate::rate_limit::{Limiter, Quota};
use crate::registration::{Limits, Registration};

/// The failures of each client from each source. RFC 6749 section 2.3.1: "the authorization server MUST protect any endpoint
/// utilizing it against brute force attacks". Never of a client alone: an attacker could lock it out.
#[derive(Clone, Debug)]
pub(super) struct Failures(Arc<Limiter>);

impl Default for Failures {
    fn default() -> Self {
        Self(Arc::new(Limiter::new(Quota::per_minute(NonZeroU32::MIN))))
    }
}

/// The longest time for which a flood of attempts at once rejects further ones.
const LONGEST: Duration = Duration::from_secs(3600);

/// A request whose failure counts.
pub(super) struct Attempt {
    keys: Vec<u64>,
    quota: Quota,
}

impl Config {
    /// Begins an attempt to authenticate a client. `None` if it has no credentials, or if its source is unknown.
    pub(super) fn attempt(&self, seen: &Seen) -> Result<Option<Attempt>, Fault> {
        let has_credentials = self.endpoint.sender == Sender::Client && seen.authentication.is_any();
        let (Some(quota), Some(address)) = (self.settings.failed_authentication(), seen.address) else {
            return Ok(None);
        };
        if !has_credentials {
            return Ok(None);
        }
        let network = self.registrar.network_of(address);
        let Failures(limiter) = &self.settings.failures;
        let keys = seen.client_ids.iter().map(|id| key(limiter, network, id)).collect();
        let attempt = Attempt { keys, quota };
        let now = self.cache.clock.monotonic();
        // Many attempts at once pass before the first of them fails. All of them count, so that the next ones wait for longer.
        let exhausted = attempt.keys.iter().find_map(|key| limiter.peek(*key, quota, now).err());
        exhausted.map_or(Ok(Some(attempt)), |exhausted| Err(Fault::TooManyFailures(exhausted.retry_after)))
    }

    /// Counts the attempt if the server has rejected the credentials.
    pub(super) async fn count_failure<R: Body + Send + 'static>(
        &self,
        attempt: Option<Attempt>,
        response: Response<R>,
    ) -> Response<ResponseBody<R>> {
        let Some(Attempt { keys, quota }) = attempt else { return response.map(ResponseBody::inner) };
        let (response, is_failure) = is_failure(response).await;
        if is_failure {
            let Failures(limiter) = &self.settings.failures;
            let now = self.cache.clock.monotonic();
            for key in keys {
                limiter.charge(key, quota, now, LONGEST);
            }
        }
        response
    }
}

fn key(limiter: &Limiter, network: ClientNetwork, client_id: &str) -> u64 {
    limiter.hash(|mut hasher| (network, client_id).hash(&mut hasher))
}

/// Returns the response unchanged, with `true` if the server has rejected the credentials: with 401, or with `invalid_client`
/// (RFC 6749 section 5.2).
async fn is_failure<R: Body + Send + 'static>(response: Response<R>) -> (Response<ResponseBody<R>>, bool) {
    match response.status() {
        status if status.is_client_error() => {}
        _ => return (response.map(ResponseBody::inner), false),
    }
    // With 401, some servers answer every error, and some no document.
    let is_challenged = response.status() == StatusCode::UNAUTHORIZED;
    let (mut parts, body) = response.into_parts();
    match body::read_or_pass(body).await {
        Some(Ok(bytes)) => {
            let document = Registration::parse_with(&bytes, &Limits::GENEROUS).ok();
            let error = document.as_ref().and_then(|document| document.string("error"));
            let is_failure = error.map_or(is_challenged, |error| error == "invalid_client");
            (Response::from_parts(parts, ResponseBody::own(bytes)), is_failure)
        }
        Some(Err(rest)) => (Response::from_parts(parts, rest), is_challenged),
        None => {
            parts.status = StatusCode::BAD_GATEWAY;
            parts.headers.remove(header::CONTENT_LENGTH);
            (Response::from_parts(parts, ResponseBody::own(bytes::Bytes::new())), false)
        }
    }
}
