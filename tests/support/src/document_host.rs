//! A web server with TLS that publishes client metadata documents.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A host on a free port of this machine, with a certificate of an authority of its own.
pub struct DocumentHost {
    pub name: String,
    pub address: SocketAddr,
    /// The certificate of the authority.
    pub ca_pem: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Its responses, by path.
    pages: Mutex<HashMap<String, String>>,
    /// The paths that were asked for. An empty one is that of a connection without a request.
    requests: Mutex<Vec<String>>,
}

impl DocumentHost {
    pub async fn start(name: &str) -> Self {
        let (acceptor, ca_pem) = certified(name);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        let serving = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(acceptor.clone(), stream, Arc::clone(&serving)));
            }
        });
        Self { name: name.to_owned(), address, ca_pem, state }
    }

    /// Returns the value of `--cimd-map` for this host.
    pub fn map(&self) -> String {
        format!("{}={}", self.name, self.address)
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.name)
    }

    /// Publishes a document at this path, and adds its `client_id`: returns this URL.
    pub fn publish(&self, path: &str, document: &Value) -> String {
        let url = self.url(path);
        let mut document = document.clone();
        document["client_id"] = json!(url);
        self.answer(path, "200 OK\r\ncontent-type: application/json", &document.to_string());
        url
    }

    /// Answers this path with a status and fields, without the length, and a body.
    pub fn answer(&self, path: &str, head: &str, body: &str) {
        let page = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        self.state.pages.lock().unwrap().insert(path.to_owned(), page);
    }

    /// Returns the number of connections, with a request or without one.
    pub fn connections(&self) -> usize {
        self.state.requests.lock().unwrap().len()
    }

    /// Returns the number of requests for this path.
    pub fn requests(&self, path: &str) -> usize {
        self.state.requests.lock().unwrap().iter().filter(|asked| *asked == path).count()
    }
}

/// Returns the server's side of TLS for a name, and the certificate of its authority.
fn certified(name: &str) -> (TlsAcceptor, String) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().unwrap();
    let ca_pem = params.self_signed(&key).unwrap().pem();
    let (authority, key) = (Issuer::new(params, key), KeyPair::generate().unwrap());
    let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let key = key.serialize_der().try_into().unwrap();
    let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    (TlsAcceptor::from(Arc::new(config)), ca_pem)
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, state: Arc<State>) {
    let accepted = acceptor.accept(stream).await;
    let Ok(mut stream) = accepted else { return state.requests.lock().unwrap().push(String::new()) };
    let path = read_path(&mut stream).await;
    state.requests.lock().unwrap().push(path.clone());
    let page = state.pages.lock().unwrap().get(&path).cloned();
    let page =
        page.unwrap_or_else(|| "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".into());
    let _gone = stream.write_all(page.as_bytes()).await;
    let _gone = stream.shutdown().await;
}

/// Reads the head of a request.
async fn read_path(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).split(' ').nth(1).unwrap_or_default().to_owned()
}
