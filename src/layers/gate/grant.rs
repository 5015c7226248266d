//! Asks the server for the client that a grant belongs to.

use std::error::Error;
use std::fmt;
use std::pin::Pin;

use http::{Response, StatusCode, header};
use http_body::Body;

use crate::layers::body::{self, ResponseBody};
use crate::registration::{Limits, Registration};

type BoxError = Box<dyn Error + Send + Sync>;

/// The grant of a token request that does not name its client.
///
/// ```
/// use tower_dcr::layers::Grant;
///
/// fn describe(grant: &Grant) -> String {
///     format!("{} of {} bytes", grant.grant_type, grant.value.len())
/// }
/// # let _ = describe;
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The `grant_type`: `refresh_token`, `authorization_code`, the device code grant (RFC 8628) or CIBA's.
    pub grant_type: String,
    /// The refresh token, code, device code or `auth_req_id`, unmodified.
    pub value: String,
}

impl Grant {
    pub(super) fn new(grant_type: &str, value: &str) -> Self {
        Self { grant_type: grant_type.to_owned(), value: value.to_owned() }
    }
}

/// Omits the value, which is a secret.
impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").field("grant_type", &self.grant_type).finish_non_exhaustive()
    }
}

/// Returns the client that a grant was issued to. Implemented by closures from a [`Grant`] to a future.
///
/// RFC 6749 section 6 lets a public client leave `client_id` out when it refreshes. Only the server knows the owner
/// then.
///
/// ```
/// use tower_dcr::clients::{MemoryLedger, Registrar};
/// use tower_dcr::layers::{ClientOf, GateEndpoint, GateLayer, Grant};
///
/// struct Tokens;
///
/// impl ClientOf for Tokens {
///     async fn client_of(&self, grant: Grant) -> Result<Option<String>, Box<dyn std::error::Error + Send + Sync>> {
///         println!("SELECT client_id FROM grants WHERE digest = sha256({} bytes)", grant.value.len());
///         Ok(Some("the client".into()))
///     }
/// }
///
/// let gate = GateLayer::new(GateEndpoint::Token, Registrar::new(MemoryLedger::default())).with_client_of(Tokens);
/// # let _ = gate;
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't say which client a grant belongs to",
    note = "implement `tower_dcr::layers::ClientOf`, or use a closure from a `Grant` to a future"
)]
pub trait ClientOf: Send + Sync + 'static {
    /// Returns the `client_id` that the grant was issued to, or `None` if there is no such grant.
    ///
    /// # Errors
    ///
    /// Returns an error if the owner can't be found. The request is then answered with 503.
    fn client_of(&self, grant: Grant) -> impl Future<Output = Result<Option<String>, BoxError>> + Send;
}

impl<F, A> ClientOf for F
where
    F: Fn(Grant) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Option<String>, BoxError>> + Send,
{
    fn client_of(&self, grant: Grant) -> impl Future<Output = Result<Option<String>, BoxError>> + Send {
        self(grant)
    }
}

pub(super) trait ErasedClientOf: Send + Sync {
    fn client_of(&self, grant: Grant) -> Pin<Box<dyn Future<Output = Result<Option<String>, BoxError>> + Send + '_>>;
}

impl<C: ClientOf> ErasedClientOf for C {
    fn client_of(&self, grant: Grant) -> Pin<Box<dyn Future<Output = Result<Option<String>, BoxError>> + Send + '_>> {
        Box::pin(ClientOf::client_of(self, grant))
    }
}

/// Returns the response unchanged, with `true` if it holds a token. Some servers answer with 200 and an `error`. A
/// response that can't be read counts as one with a token: a client that is in use must not expire.
pub(super) async fn holds_token<R: Body>(response: Response<R>) -> (Response<ResponseBody<R>>, bool) {
    let is_coded = body::is_coded(response.headers());
    let (mut parts, body) = response.into_parts();
    let (body, holds_token) = match body::read_or_pass(body).await {
        Some(Ok(bytes)) => {
            let document = Registration::parse_with(&bytes, &Limits::GENEROUS).ok();
            let is_error = document.is_some_and(|document| document.string("access_token").is_none());
            (ResponseBody::own(bytes), is_coded || !is_error)
        }
        Some(Err(rest)) => (rest, true),
        None => {
            parts.status = StatusCode::BAD_GATEWAY;
            parts.headers.remove(header::CONTENT_LENGTH);
            (ResponseBody::own(bytes::Bytes::new()), false)
        }
    };
    (Response::from_parts(parts, body), holds_token)
}
