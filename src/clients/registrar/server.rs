//! Calls to the server.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// A call to the server about a client, from its `client_id`.
pub(super) type ServerCall<T> =
    Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>> + Send + Sync>;

/// Boxes the futures of `call`.
pub(super) fn boxed<T, A>(call: impl Fn(String) -> A + Send + Sync + 'static) -> ServerCall<T>
where
    A: Future<Output = Result<T, BoxError>> + Send + 'static,
{
    Arc::new(move |client_id| Box::pin(call(client_id)))
}
