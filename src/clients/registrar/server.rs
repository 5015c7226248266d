//! [`Deprovision`] and [`StillInUse`]: calls to the server.

use std::error::Error;
use std::pin::Pin;

type BoxError = Box<dyn Error + Send + Sync>;
type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send + 'a>>;

/// Deletes an ended client at the server. Implemented for closures from a `client_id` to a future.
///
/// The call is repeated until it succeeds, at growing intervals, by one node at a time. After a crash it can happen twice for
/// one client, so it has to succeed for a client that is gone.
///
/// ```
/// use tower_dcr::clients::Deprovision;
///
/// struct Server;
///
/// impl Deprovision for Server {
///     async fn deprovision(&self, client_id: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
///         println!("DELETE FROM tokens WHERE client_id = {client_id:?}");
///         println!("DELETE FROM clients WHERE client_id = {client_id:?}");
///         Ok(())
///     }
/// }
/// ```
///
/// A closure that captures something gives its future a copy:
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use tower_dcr::clients::{MemoryLedger, Registrar};
///
/// let tokens: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
/// let registrar = Registrar::new(MemoryLedger::default()).with_deprovision(move |client_id: String| {
///     let tokens = Arc::clone(&tokens);
///     async move {
///         tokens.lock().map_err(|_| "the store is broken")?.retain(|(owner, _)| *owner != client_id);
///         Ok(())
///     }
/// });
/// # let _ = registrar;
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't delete clients at the server",
    note = "implement `tower_dcr::clients::Deprovision`, or use a closure from a `String` to a future"
)]
pub trait Deprovision: Send + Sync + 'static {
    /// Invalidates all grants, access tokens and refresh tokens of the client, and deletes it (RFC 7592 section 2.3).
    ///
    /// # Errors
    ///
    /// If the server could not; the call is repeated later.
    fn deprovision(&self, client_id: &str) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// Asks the server whether a client that got no token for long is still in use: whether it has a valid refresh token.
/// Implemented for closures from a `client_id` to a future.
///
/// ```
/// use tower_dcr::clients::{MemoryLedger, Registrar};
///
/// let registrar = Registrar::new(MemoryLedger::default())
///     .with_still_in_use(async |client_id: String| Ok(client_id == "s6BhdRkqt3"));
/// # let _ = registrar;
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't ask whether a client is still in use",
    note = "implement `tower_dcr::clients::StillInUse`, or use a closure from a `String` to a future"
)]
pub trait StillInUse: Send + Sync + 'static {
    /// Returns whether the client is in use.
    ///
    /// # Errors
    ///
    /// If the server can't be asked: the client is then neither ended nor admitted (503).
    fn still_in_use(&self, client_id: &str) -> impl Future<Output = Result<bool, BoxError>> + Send;
}

impl<F, A> Deprovision for F
where
    F: Fn(String) -> A + Send + Sync + 'static,
    A: Future<Output = Result<(), BoxError>> + Send,
{
    fn deprovision(&self, client_id: &str) -> impl Future<Output = Result<(), BoxError>> + Send {
        self(client_id.to_owned())
    }
}

impl<F, A> StillInUse for F
where
    F: Fn(String) -> A + Send + Sync + 'static,
    A: Future<Output = Result<bool, BoxError>> + Send,
{
    fn still_in_use(&self, client_id: &str) -> impl Future<Output = Result<bool, BoxError>> + Send {
        self(client_id.to_owned())
    }
}

pub(super) trait ErasedDeprovision: Send + Sync {
    fn deprovision<'a>(&'a self, client_id: &'a str) -> Reply<'a, ()>;
}

impl<D: Deprovision> ErasedDeprovision for D {
    fn deprovision<'a>(&'a self, client_id: &'a str) -> Reply<'a, ()> {
        Box::pin(Deprovision::deprovision(self, client_id))
    }
}

pub(super) trait ErasedStillInUse: Send + Sync {
    fn still_in_use<'a>(&'a self, client_id: &'a str) -> Reply<'a, bool>;
}

impl<S: StillInUse> ErasedStillInUse for S {
    fn still_in_use<'a>(&'a self, client_id: &'a str) -> Reply<'a, bool> {
        Box::pin(StillInUse::still_in_use(self, client_id))
    }
}
