//! Limits failed attempts to authenticate a client.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Extensions, HeaderMap, Response, StatusCode};
use http_body::Body;

use super::Judgement;
use super::endpoint::Sender;
use super::parameters::Seen;
use super::rejection::Fault;
use crate::client_address::ClientNetwork;
use crate::clock::{Clock, CoarseClock};
use crate::layers::body::{self, ResponseBody};
use crate::rate_limit::{Limiter, Quota};
use crate::registration::Registration;

/// The failures of each client from each source. RFC 6749 section 2.3.1: "the authorization server MUST protect any endpoint
/// utilizing it against brute force attacks". Never of a client alone: an attacker could lock it out.
///
/// There are 65,536 entries. One that limits is kept until its time is over: a flood of other failures takes none of them. A
/// failure that finds no room is counted together with all others that find none, and limits those only while there is no
/// room. To fill the table takes 13,000 failures a second.
#[derive(Clone, Debug)]
pub(super) struct Failures(Arc<State>);

#[derive(Debug)]
struct State {
    limiter: Limiter,
    /// That of a gate has another origin, and the gates of a preset share the failures.
    clock: CoarseClock,
    /// Set once it was logged that sources are unknown.
    has_warned: AtomicBool,
}

impl Default for Failures {
    fn default() -> Self {
        let limiter = Limiter::new(Quota::per_minute(NonZeroU32::MIN));
        Self(Arc::new(State { limiter, clock: CoarseClock::new(), has_warned: AtomicBool::new(false) }))
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
    /// Begins an attempt to authenticate a client. `None` if it has no credentials, or if its source is unknown: all clients
    /// would share one budget, and a stranger could lock each of them out.
    pub(super) fn attempt(
        &self,
        seen: &Seen,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Option<Attempt>, Fault> {
        let has_credentials = self.endpoint.sender == Sender::Client && seen.authentication.is_any();
        let Some(quota) = self.settings.failed_authentication().filter(|_| has_credentials) else { return Ok(None) };
        let Failures(state) = &self.config.settings.failures;
        let address = match seen.address {
            Some(address) if !self.registrar.finds_proxy(headers, extensions) => address,
            unknown => {
                state.warn(unknown);
                return Ok(None);
            }
        };
        let network = self.registrar.network_of(address);
        let keys = seen.client_ids.iter().map(|id| key(&state.limiter, network, id)).collect();
        let attempt = Attempt { keys, quota };
        let now = state.clock.monotonic();
        // Many attempts at once pass before the first of them fails. All of them count, so that the next ones wait for longer.
        let exhausted = attempt.keys.iter().find_map(|key| state.limiter.peek(*key, quota, now).err());
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
            let Failures(state) = &self.config.settings.failures;
            let now = state.clock.monotonic();
            for key in keys {
                state.limiter.charge(key, quota, now, LONGEST);
            }
        }
        response
    }
}

impl State {
    /// Logs once that failures are not counted, since the source of requests is unknown or a proxy at this address.
    fn warn(&self, proxy: Option<IpAddr>) {
        if self.has_warned.swap(true, Ordering::Relaxed) {
            return;
        }
        let Some(proxy) = proxy else {
            tracing::warn!(
                target: "tower_dcr::setup",
                "failed attempts to authenticate clients are not limited (`gate.failed_authentication`), since the peer address of \
                 connections is unknown: see `ClientAddress::with_peer_address`"
            );
            return;
        };
        tracing::warn!(
            target: "tower_dcr::setup",
            "failed attempts to authenticate clients are not limited (`gate.failed_authentication`), since requests come from \
             the proxy {proxy}, which is not trusted or names no client: trust it (`client_address.trusted_proxies = \
             [\"{proxy}\"]`), and have it set the header in `client_address.forwarded_header`"
        );
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
