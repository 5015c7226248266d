//! [`Resolve`]: from a name to its addresses.

use std::fmt;
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
#[derive(Clone)]
pub struct SystemResolver {
    places: Arc<Semaphore>,
    look_up: LookUp,
}

const PLACES: usize = 16;

/// Asks the operating system.
type LookUp = Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> + Send + Sync>;

impl SystemResolver {
    /// Creates a resolver.
    #[must_use]
    pub fn new() -> Self {
        Self::with_look_up(|name| async { Ok(lookup_host((name, 0)).await?.map(|address| address.ip()).collect()) })
    }

    pub(crate) fn with_look_up<F>(look_up: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    {
        let look_up: LookUp = Arc::new(move |name| Box::pin(look_up(name)));
        Self { places: Arc::new(Semaphore::new(PLACES)), look_up }
    }
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SystemResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemResolver").field("places", &self.places.available_permits()).finish_non_exhaustive()
    }
}

impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(io::Error::other)?;
        // With a final dot: otherwise `app.example.com` may be looked up as `app.example.com.corp.internal` (RFC 1535).
        let found = (self.look_up)(format!("{host}."));
        // It holds its place until it ends, also if the caller has gone: threads of the operating system can't be stopped.
        let looked_up = tokio::spawn(async move {
            let found = found.await;
            drop(place);
            found
        });
        looked_up.await?
    }
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
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::{mpsc, oneshot};
    use tokio::time::timeout;

    use super::*;

    const SHORT: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn a_name_is_looked_up_with_its_final_dot() {
        let (says, mut said) = mpsc::unbounded_channel();
        let resolver = SystemResolver::with_look_up(move |name| {
            says.send(name).unwrap();
            async { Ok(vec![IpAddr::from([192, 0, 2, 1])]) }
        });
        assert_eq!(Resolve::resolve(&resolver, "app.example.com").await.unwrap(), [IpAddr::from([192, 0, 2, 1])]);
        assert_eq!(said.recv().await.as_deref(), Some("app.example.com."));
        assert!(said.is_empty(), "once");
    }

    /// Look-ups that end when the test says so. Counts those that run.
    fn hanging() -> (SystemResolver, mpsc::UnboundedReceiver<oneshot::Sender<()>>, Arc<AtomicUsize>) {
        let (says, said) = mpsc::unbounded_channel();
        let running = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&running);
        let resolver = SystemResolver::with_look_up(move |_| {
            let (end, ends) = oneshot::channel();
            says.send(end).unwrap();
            let counter = Arc::clone(&counter);
            counter.fetch_add(1, Ordering::SeqCst);
            async move {
                let ended = ends.await;
                counter.fetch_sub(1, Ordering::SeqCst);
                ended.map(|()| Vec::new()).map_err(io::Error::other)
            }
        });
        (resolver, said, running)
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_hangs_keeps_its_place_until_it_ends() {
        let (resolver, mut ends, running) = hanging();
        let other = resolver.clone();
        for number in 0..3 * PLACES {
            let resolver = if number % 2 == 0 { &resolver } else { &other };
            assert!(timeout(SHORT, Resolve::resolve(resolver, "app.example.com")).await.is_err());
        }
        // Their callers have gone, the threads have not.
        assert_eq!((running.load(Ordering::SeqCst), ends.len()), (PLACES, PLACES));
        ends.recv().await.unwrap().send(()).unwrap();
        let mut waits = pin!(Resolve::resolve(&resolver, "app.example.com"));
        assert!(timeout(SHORT, &mut waits).await.is_err());
        assert_eq!((running.load(Ordering::SeqCst), ends.len()), (PLACES, PLACES));
        drop(ends);
        assert!(timeout(SHORT, waits).await.is_ok(), "all have ended");
        assert_eq!(running.load(Ordering::SeqCst), 0);
    }
}
