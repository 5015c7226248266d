//! TLS for the host of the URL.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_dcr::documents::FetchError;

/// TLS 1.2 and 1.3, without sessions: a fetch knows nothing of another.
pub(crate) fn config(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Shakes hands. A server without ALPN speaks HTTP/1.1 (RFC 7301 section 3.2); one that chooses another protocol fails.
pub(crate) async fn handshake<S>(config: Arc<ClientConfig>, host: &str, stream: S) -> Result<TlsStream<S>, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let host = ServerName::try_from(host.to_owned()).map_err(|error| FetchError::Tls(error.into()))?;
    let connected = TlsConnector::from(config).connect(host, stream).await;
    connected.map_err(|error| FetchError::Tls(error.into()))
}
