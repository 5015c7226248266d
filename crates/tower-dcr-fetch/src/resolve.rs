//! [`Resolve`]: from a name to its addresses.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use tokio::net::lookup_host;
use tokio::sync::Semaphore;

/// Resolves the names of hosts. [`SystemResolver`] is the default.
///
/// The addresses are judged by [`HttpsFetcher`](crate::HttpsFetcher), which connects to those that this returned: a name is resolved
/// once for each fetch. More than 16 addresses are rejected, and an answer after a second comes too late.
///
/// ```
/// use std::io;
/// use std::net::IpAddr;
/// use tower_dcr_fetch::Resolve;
///
/// /// Asks a resolver of the network, over DNS over TLS.
/// struct OverTls;
///
/// impl Resolve for OverTls {
///     async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
///         # async fn ask(_: &str) -> io::Result<Vec<IpAddr>> { Ok(Vec::new()) }
///         ask(host).await
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not resolve names",
    label = "expected a type that implements `tower_dcr_fetch::Resolve`",
    note = "use `SystemResolver::new()`"
)]
pub trait Resolve: Send + Sync + 'static {
    /// Returns all addresses of a host, which is in lower case and has no final dot. No search domain may be added to it.
    ///
    /// # Errors
    ///
    /// Returns an error if the name has no address, or if that is not known.
    fn resolve(&self, host: &str) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send;
}

/// Resolves names as the operating system does, 16 at the same time.
///
/// A name that hangs holds one of the 16 places until the operating system gives it up, so that no more threads than these wait.
///
/// ```
/// use tower_dcr_fetch::{HttpsFetcher, SystemResolver};
///
/// # fn fetchers() -> Result<(), tower_dcr_fetch::InvalidFetcher> {
/// // Two fetchers that share the 16 places.
/// let resolver = SystemResolver::new();
/// let documents = HttpsFetcher::new()?.with_resolver(resolver.clone());
/// let keys = HttpsFetcher::new()?.with_resolver(resolver);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SystemResolver {
    places: Arc<Semaphore>,
}

const PLACES: usize = 16;

impl SystemResolver {
    /// Creates a resolver.
    #[must_use]
    pub fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(PLACES)) }
    }

    /// Waits for a place, and holds it until `look_up` ends, also if the caller has gone: threads of the operating system can't be
    /// stopped.
    async fn in_place<T: Send + 'static>(
        &self,
        look_up: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> io::Result<T> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(io::Error::other)?;
        let looked_up = tokio::spawn(async move {
            let found = look_up.await;
            drop(place);
            found
        });
        looked_up.await?
    }
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self::new()
    }
}

impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let name = absolute(host);
        let found = self.in_place(async move { Ok(lookup_host((name, 0)).await?.collect::<Vec<_>>()) }).await?;
        Ok(found.into_iter().map(|address| address.ip()).collect())
    }
}

/// With a final dot: otherwise `app.example.com` may be looked up as `app.example.com.corp.internal` (RFC 1535).
fn absolute(host: &str) -> String {
    format!("{host}.")
}

type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// [`Resolve`] without its type.
pub(crate) trait ErasedResolve: Send + Sync {
    fn resolve<'a>(&'a self, host: &'a str) -> Resolving<'a>;
}

impl<R: Resolve> ErasedResolve for R {
    fn resolve<'a>(&'a self, host: &'a str) -> Resolving<'a> {
        Box::pin(Resolve::resolve(self, host))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    const SHORT: Duration = Duration::from_secs(1);

    #[test]
    fn a_name_is_looked_up_with_its_final_dot() {
        assert_eq!(absolute("app.example.com"), "app.example.com.");
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_hangs_keeps_its_place_until_it_ends() {
        let resolver = SystemResolver::new();
        let mut hanging = Vec::new();
        for _ in 0..PLACES {
            let (end, hangs) = oneshot::channel();
            let looked_up = resolver.in_place(async { hangs.await.map_err(io::Error::other) });
            assert!(timeout(SHORT, looked_up).await.is_err());
            hanging.push(end);
        }
        // Their callers have gone, the threads have not.
        assert!(timeout(SHORT, resolver.in_place(async { Ok(()) })).await.is_err());
        hanging.pop().unwrap().send(()).unwrap();
        assert!(timeout(SHORT, resolver.in_place(async { Ok(()) })).await.unwrap().is_ok());
    }
}
