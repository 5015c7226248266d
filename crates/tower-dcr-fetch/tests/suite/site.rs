//! Servers whose every byte a test chooses.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Response;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower_dcr::documents::{ClientIdUrl, Fetch, FetchError, FetchRequest};
use tower_dcr_fetch::HttpsFetcher;

pub(crate) const HOST: &str = "app.example.com";

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate with its key.
pub(crate) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "An authority");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Issues a certificate for [`HOST`], with changes.
    pub(crate) fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::new([HOST.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
    }
}

pub(crate) fn self_signed() -> Identity {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([HOST.to_owned()]).unwrap().self_signed(&key).unwrap();
    (vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
}

/// TLS 1.2 and 1.3, with HTTP/1.1 and HTTP/2 to choose from.
pub(crate) fn server_config((chain, key): Identity) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// A server on a free port of this machine.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) pem: String,
    connections: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Site {
    /// Starts a server that does this with each TCP connection.
    pub(crate) async fn raw<F>(pem: &str, serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let site = Self {
            address: listener.local_addr().unwrap(),
            pem: pem.to_owned(),
            connections: Arc::clone(&connections),
            seen: Arc::default(),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream));
            }
        });
        site
    }

    /// Starts a server that does this with each TLS connection.
    pub(crate) async fn tls<F>(
        pem: &str,
        config: ServerConfig,
        serve: impl Fn(TlsStream<TcpStream>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (acceptor, serve) = (TlsAcceptor::from(Arc::new(config)), Arc::new(serve));
        Self::raw(pem, move |stream| {
            let (acceptor, serve) = (acceptor.clone(), Arc::clone(&serve));
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream).await;
                }
            }
        })
        .await
    }

    /// Starts a server that does this with each request, of which it keeps the bytes.
    pub(crate) async fn start<F>(serve: impl Fn(TlsStream<TcpStream>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let authority = Authority::new();
        let (seen, serve) = (Arc::<Mutex<Vec<_>>>::default(), Arc::new(serve));
        let keeps = Arc::clone(&seen);
        let config = server_config(authority.issue(|_| ()));
        let site = Self::tls(&authority.pem, config, move |mut stream| {
            let (keeps, serve) = (Arc::clone(&keeps), Arc::clone(&serve));
            async move {
                let head = read_head(&mut stream).await;
                keeps.lock().unwrap().push(head);
                serve(stream).await;
            }
        })
        .await;
        Self { seen, ..site }
    }

    /// Starts a server that answers each request with these bytes, and then closes the connection.
    pub(crate) async fn answering(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes: Arc<[u8]> = bytes.into().into();
        Self::start(move |mut stream| {
            let bytes = Arc::clone(&bytes);
            async move {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                // Until the client closes its side: otherwise the system may drop what was sent.
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        })
        .await
    }

    /// Moves to an address on which nothing listens.
    pub(crate) async fn closed(mut self) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.address = free.local_addr().unwrap();
        self
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The requests until now.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|head| String::from_utf8(head.clone()).unwrap()).collect()
    }

    /// A fetcher for which [`HOST`] is here.
    pub(crate) fn fetcher(&self) -> HttpsFetcher {
        let fetcher = HttpsFetcher::danger_with_roots(&self.pem).unwrap();
        fetcher.danger_map_host(HOST, self.address).unwrap()
    }

    pub(crate) async fn fetch(&self) -> Result<Response<Bytes>, FetchError> {
        self.fetcher().fetch(request()).await
    }

    /// The name of the error of a fetch.
    pub(crate) async fn error(&self) -> &'static str {
        self.fetch().await.unwrap_err().as_str()
    }
}

pub(crate) async fn read_head(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    head
}

pub(crate) fn url() -> ClientIdUrl {
    ClientIdUrl::parse(&format!("https://{HOST}/oauth/client.json")).unwrap()
}

pub(crate) fn request() -> FetchRequest {
    FetchRequest::new(url())
}
