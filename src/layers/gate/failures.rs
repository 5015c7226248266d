//! Limits failed attempts to authenticate a client.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};
use http_body::Body;

use super::Judgement;
use super::endpoint::Sender;
use super::parameters::Seen;
use super::rejection::Fault;
use crate::client_address::ClientNetwork;
use crate::layers::body::{self, ResponseBody};
use crate::rate_limit::{Limiter, Quota};
use crate::registration::Registration;

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

impl Judgement<'_> {
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
        let Failures(limiter) = &self.config.settings.failures;
        let keys = seen.client_ids.iter().map(|id| key(limiter, network, id)).collect();
        let attempt = Attempt { keys, quota };
        let now = self.cache.clock.monotonic();
        // Many attempts at once pass before the first of them fails. All of them count, so that the next ones wait for longer.
        let exhausted = attempt.keys.iter().find_map(|key| limiter.peek(*key, quota, now).err());
        exhausted.map_or(Ok(Some(attempt)), |exhausted| Err(Fault::TooManyFailures(exhausted.retry_after)))
    }

    /// Counts the attempt if the server has rejected the credentials, in a response of the class 4xx.
    pub(super) async fn count_failure<R: Body + Send + 'static>(
        &self,
        attempt: Attempt,
        response: Response<R>,
    ) -> Response<ResponseBody<R>> {
        let Attempt { keys, quota } = attempt;
        let (response, is_failure) = is_failure(response).await;
        if is_failure {
            let Failures(limiter) = &self.config.settings.failures;
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

/// Returns the response unchanged, with `true` if the server has rejected the credentials: with `invalid_client` (RFC 6749
/// section 5.2), or with a 401 that names no error. Some servers answer every error with 401.
async fn is_failure<R: Body + Send + 'static>(response: Response<R>) -> (Response<ResponseBody<R>>, bool) {
    let is_unauthorized = response.status() == StatusCode::UNAUTHORIZED;
    let is_of_client = |error: &str| error == "invalid_client";
    let rejects = |document: Option<&Registration>| {
        document.and_then(|document| document.string("error")).map_or(is_unauthorized, is_of_client)
    };
    body::judge_document(response, rejects).await
}
