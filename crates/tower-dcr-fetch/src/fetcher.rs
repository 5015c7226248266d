//! [`HttpsFetcher`]: the steps of a fetch, in their order.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use ipnet::{IpNet, Ipv6Net};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::Handle;
use tower_dcr::documents::{ClientIdUrl, Fetch, FetchError, FetchRequest};

use crate::connect::{Dial, Reach, Targets, Tcp};
use crate::deadline::Deadline;
use crate::exchange::exchange;
use crate::resolve::{ErasedResolve, Resolve, SystemResolver};
use crate::tls;

const TIMEOUT: Duration = Duration::from_secs(5);
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Fetches client metadata documents over HTTPS, from public addresses. See the [crate's documentation](crate) for its steps.
///
/// A clone is the same fetcher. Fetches run as tasks of Tokio, and end within the [time limit](Self::with_timeout) without being
/// waited for.
///
/// ```
/// use tower_dcr_fetch::{HttpsFetcher, InvalidFetcher};
///
/// /// The addresses of the authorization server's network are public ones.
/// fn fetcher() -> Result<HttpsFetcher, InvalidFetcher> {
///     HttpsFetcher::new()?.with_denied_networks(["203.0.113.0/24", "2001:db8:40::/48"])
/// }
/// ```
#[derive(Clone)]
#[must_use]
pub struct HttpsFetcher {
    tls: Arc<ClientConfig>,
    resolver: Arc<dyn ErasedResolve>,
    /// Names of strangers that hang hold none of its places.
    resolver_in_use: Arc<dyn ErasedResolve>,
    reach: Arc<Reach>,
    mapped: Arc<BTreeMap<String, SocketAddr>>,
    timeout: Duration,
}

impl HttpsFetcher {
    /// Creates a fetcher that trusts the certificate authorities of the operating system.
    ///
    /// Reads the environment variables `SSL_CERT_FILE` and `SSL_CERT_DIR` for their place, here and not later.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidFetcher`] if the system has none.
    pub fn new() -> Result<Self, InvalidFetcher> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // Some systems have certificates that are too old to be read.
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            let errors = found.errors.iter().map(|error| format!(" ({error})"));
            return Err(InvalidKind::NoRoots(errors.collect()).into());
        }
        Self::with_root_store(roots)
    }

    /// Creates a fetcher that trusts these certificate authorities only, in PEM.
    ///
    /// Their keys can speak for every host: this is for tests and demonstrations, and for networks whose proxy ends TLS.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidFetcher`] if there is no certificate, or one that is malformed.
    pub fn danger_with_roots(pem: impl AsRef<[u8]>) -> Result<Self, InvalidFetcher> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_ref()) {
            let certificate = certificate.map_err(|error| InvalidKind::Root(error.to_string()))?;
            roots.add(certificate).map_err(|error| InvalidKind::Root(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(InvalidKind::Root("there is none".to_owned()).into());
        }
        Self::with_root_store(roots)
    }

    fn with_root_store(roots: RootCertStore) -> Result<Self, InvalidFetcher> {
        let tls = tls::config(roots).map_err(|error| InvalidKind::Tls(error.to_string()))?;
        Ok(Self {
            tls: Arc::new(tls),
            resolver: Arc::new(SystemResolver::new()),
            resolver_in_use: Arc::new(SystemResolver::new()),
            reach: Arc::default(),
            mapped: Arc::default(),
            timeout: TIMEOUT,
        })
    }

    /// Sets the resolver (default: a [`SystemResolver`] for clients [in use](FetchRequest::in_use), and one for others, whose names
    /// may hang). Its addresses are checked like all others.
    pub fn with_resolver(mut self, resolver: impl Resolve) -> Self {
        self.resolver = Arc::new(resolver);
        self.resolver_in_use = Arc::clone(&self.resolver);
        self
    }

    /// Denies connections to these networks, as to all that are not public (default: none): addresses or CIDR blocks.
    ///
    /// List the public addresses of your own network, if anything there trusts requests that come from the server.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidFetcher`] for an entry that is neither.
    pub fn with_denied_networks<N: AsRef<str>>(
        mut self,
        networks: impl IntoIterator<Item = N>,
    ) -> Result<Self, InvalidFetcher> {
        let networks = networks.into_iter().map(|network| parse_network(network.as_ref()));
        Arc::make_mut(&mut self.reach).denied = networks.collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// Sets the time for a fetch (default: 5 s, the most that is possible). One second of it at most is for the name, two for the
    /// connection.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidFetcher`] for less than a millisecond and for more than five seconds: a user waits, and
    /// [`Documents`](tower_dcr::documents::Documents) waits six seconds for any fetcher.
    pub fn with_timeout(mut self, timeout: Duration) -> Result<Self, InvalidFetcher> {
        if !(Duration::from_millis(1)..=TIMEOUT).contains(&timeout) {
            return Err(InvalidKind::Timeout(timeout).into());
        }
        self.timeout = timeout;
        Ok(self)
    }

    /// Accepts addresses below a prefix that a translator of this network has (RFC 6052), if the IPv4 address inside is public.
    ///
    /// For machines without IPv4, whose resolver makes up such addresses (DNS64). With a prefix of which this network has no
    /// translator, an attacker chooses where an address leads.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidFetcher`] for a prefix of another length than 32, 40, 48, 56, 64 or 96, and for one whose bits 64 to 71 are
    /// not zero.
    pub fn danger_allow_nat64(mut self, prefix: &str) -> Result<Self, InvalidFetcher> {
        let invalid = || InvalidKind::Nat64(prefix.to_owned());
        let network: Ipv6Net = prefix.parse().map_err(|_| invalid())?;
        let is_length = matches!(network.prefix_len(), 32 | 40 | 48 | 56 | 64 | 96);
        let is_zero_octet = network.network().octets().get(8) == Some(&0);
        if !is_length || !is_zero_octet || network.network() != network.addr() {
            return Err(invalid().into());
        }
        Arc::make_mut(&mut self.reach).nat64.push(network);
        Ok(self)
    }

    /// Connects to this address and port for one host, whatever its name resolves to and whatever port the URL has.
    ///
    /// The address may be one of this machine: this is for tests and demonstrations. The certificate still has to be one for the host.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidFetcher`] for a host that no [`ClientIdUrl`] has.
    pub fn danger_map_host(mut self, host: &str, address: SocketAddr) -> Result<Self, InvalidFetcher> {
        let url = ClientIdUrl::parse(&format!("https://{host}/client"));
        if url.is_ok_and(|url| url.host() == host) {
            Arc::make_mut(&mut self.mapped).insert(host.to_owned(), address);
            return Ok(self);
        }
        Err(InvalidKind::Host(host.to_owned()).into())
    }

    async fn fetch_by<D: Dial>(&self, dial: &D, request: &FetchRequest) -> Result<Response<Bytes>, FetchError> {
        let deadline = Deadline::after(self.timeout);
        let targets = self.targets(request, deadline.within(RESOLVE_TIMEOUT)).await?;
        let connect = targets.connect(dial, &self.reach);
        let stream = deadline.within(CONNECT_TIMEOUT).step("connect", connect).await??;
        let handshake = tls::handshake(Arc::clone(&self.tls), request.url.host(), stream);
        let stream = deadline.step("tls", handshake).await??;
        exchange(stream, request, deadline).await
    }

    async fn targets(&self, request: &FetchRequest, deadline: Deadline) -> Result<Targets, FetchError> {
        let url = &request.url;
        if let Some(&address) = self.mapped.get(url.host()) {
            return Ok(Targets::mapped(address));
        }
        let resolver = if request.in_use { &self.resolver_in_use } else { &self.resolver };
        let answers = deadline.step("resolve", resolver.resolve(url.host())).await?;
        self.reach.choose(&answers.map_err(|_| FetchError::NoAddress)?, url.port())
    }
}

impl Fetch for HttpsFetcher {
    async fn fetch(&self, request: FetchRequest) -> Result<Response<Bytes>, FetchError> {
        let runtime = Handle::try_current().map_err(FetchError::other)?;
        let fetcher = self.clone();
        // A task goes on if the caller goes away.
        runtime.spawn(async move { fetcher.fetch_by(&Tcp, &request).await }).await.map_err(FetchError::other)?
    }
}

impl fmt::Debug for HttpsFetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpsFetcher")
            .field("reach", &self.reach)
            .field("mapped", &self.mapped)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

fn parse_network(text: &str) -> Result<IpNet, InvalidFetcher> {
    let network = text.parse().ok().or_else(|| text.parse().ok().map(<IpNet as From<IpAddr>>::from));
    network.ok_or_else(|| InvalidKind::Network(text.to_owned()).into())
}

/// The reason for which a fetcher can't be built.
///
/// ```
/// use tower_dcr_fetch::HttpsFetcher;
///
/// let error = HttpsFetcher::danger_with_roots("").unwrap_err();
/// assert_eq!(error.to_string(), "not a certificate authority in PEM: there is none");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidFetcher(InvalidKind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum InvalidKind {
    Host(String),
    Nat64(String),
    Network(String),
    NoRoots(String),
    Root(String),
    Timeout(Duration),
    Tls(String),
}

impl From<InvalidKind> for InvalidFetcher {
    fn from(kind: InvalidKind) -> Self {
        Self(kind)
    }
}

impl fmt::Display for InvalidFetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            InvalidKind::Host(host) => {
                write!(f, "{host:?} is not a host of a client_id: use a public name, in lower case")
            }
            InvalidKind::Nat64(prefix) => write!(
                f,
                "{prefix:?} is not a prefix of a translator: use one of 32, 40, 48, 56, 64 or 96 bits, such as \"64:ff9b::/96\""
            ),
            InvalidKind::Network(network) => {
                write!(f, "{network:?} is not a network: use an address or a CIDR block, such as \"203.0.113.0/24\"")
            }
            InvalidKind::NoRoots(found) => write!(
                f,
                "the system has no certificate authorities{found}: install them (the package ca-certificates), or set SSL_CERT_FILE"
            ),
            InvalidKind::Root(error) => write!(f, "not a certificate authority in PEM: {error}"),
            InvalidKind::Timeout(timeout) => {
                write!(f, "a fetch can't have {timeout:?}: use a time from 1 ms to {TIMEOUT:?}")
            }
            InvalidKind::Tls(error) => write!(f, "TLS can't be used: {error}"),
        }
    }
}

impl std::error::Error for InvalidFetcher {}

#[cfg(test)]
mod tests;
