//! What the server is asked and told.

use std::error::Error;
use std::pin::Pin;

type BoxError = Box<dyn Error + Send + Sync>;
type Answering<'a, T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send + 'a>>;

/// Tells the server that a client is no more. A closure from a `client_id` to a future is one.
///
/// It is tried until it succeeds, first at once and then at growing intervals, by any node but by one at a time. After a
/// crash it can happen twice for one client, so it must not matter whether the client is still there.
///
/// ```
/// use tower_dcr::registrar::Deprovision;
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
/// use tower_dcr::ledger::MemoryLedger;
/// use tower_dcr::registrar::Registrar;
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
    message = "`{Self}` can't tell the server that a client is no more",
    note = "implement `tower_dcr::registrar::Deprovision`, or use a closure from a `String` to a future"
)]
pub trait Deprovision: Send + Sync + 'static {
    /// Invalidates all grants, access tokens and refresh tokens of the client, and the client (RFC 7592 section 2.3).
    fn deprovision(&self, client_id: &str) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// Says whether a client is still in use though it did not get a token for long: whether a refresh token of it is alive.
/// A closure from a `client_id` to a future is one.
///
/// ```
/// use tower_dcr::ledger::MemoryLedger;
/// use tower_dcr::registrar::Registrar;
///
/// let registrar = Registrar::new(MemoryLedger::default())
///     .with_still_in_use(async |client_id: String| Ok(client_id == "the one that never goes"));
/// # let _ = registrar;
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't say whether a client is still in use",
    note = "implement `tower_dcr::registrar::StillInUse`, or use a closure from a `String` to a future"
)]
pub trait StillInUse: Send + Sync + 'static {
    /// Asks the server. As long as it can't say, the client is neither ended nor let in (503).
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
    fn deprovision<'a>(&'a self, client_id: &'a str) -> Answering<'a, ()>;
}

impl<D: Deprovision> ErasedDeprovision for D {
    fn deprovision<'a>(&'a self, client_id: &'a str) -> Answering<'a, ()> {
        Box::pin(Deprovision::deprovision(self, client_id))
    }
}

pub(super) trait ErasedStillInUse: Send + Sync {
    fn still_in_use<'a>(&'a self, client_id: &'a str) -> Answering<'a, bool>;
}

impl<S: StillInUse> ErasedStillInUse for S {
    fn still_in_use<'a>(&'a self, client_id: &'a str) -> Answering<'a, bool> {
        Box::pin(StillInUse::still_in_use(self, client_id))
    }
}
