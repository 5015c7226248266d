//! The hosts of documents: one server with a certificate for all of them.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower_dcr_fetch::{HttpsFetcher, Resolve};

pub(crate) const CALLBACK: &str = "https://app.example.com/cb";
pub(crate) const URL: &str = "https://app.example.com/client.json";

/// Hosts of real publishers, and some that are on different sites or on the same one.
const HOSTS: [&str; 15] = [
    "app.example.com",
    "www.example.com",
    "app.example.org",
    "claude.ai",
    "chatgpt.com",
    "app.attacker-site.com",
    "attacker.github.io",
    "other.github.io",
    "attacker.vercel.app",
    "raw.githubusercontent.com",
    "evilclaude.ai",
    "claude.ai.evil.example",
    "echo.attacker-site.com",
    CLOSED,
    UNPROVEN,
];

/// A host on which nothing listens, and one without a certificate.
pub(crate) const CLOSED: &str = "closed.closed-site.com";
pub(crate) const UNPROVEN: &str = "app.unproven-site.com";

/// Sites with a host each, and one with many hosts.
pub(crate) const SITES: usize = 48;

pub(crate) fn site(number: usize) -> String {
    format!("app.site{number}.example")
}

pub(crate) fn below_one_site(number: usize) -> String {
    format!("s{number}.victim-site.com")
}

fn hosts() -> impl Iterator<Item = String> {
    let many = (0..SITES).flat_map(|number| [site(number), below_one_site(number)]);
    HOSTS.into_iter().map(str::to_owned).chain(many)
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    /// Host and path: the URL without its scheme.
    pub(crate) url: String,
    pub(crate) head: String,
}

type Answer = Arc<dyn Fn(&Arrived) -> Vec<u8> + Send + Sync>;

#[derive(Default)]
struct State {
    pages: Mutex<HashMap<String, Answer>>,
    arrived: Mutex<Vec<Arrived>>,
    connections: AtomicUsize,
    /// The one host whose requests do not wait for `go`; `None` if none does.
    stalls: Mutex<Option<String>>,
    go: Notify,
}

/// The web, as far as it has documents.
#[derive(Clone)]
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    pub(crate) pem: Arc<str>,
    state: Arc<State>,
    /// The addresses of names that are not mapped, and the number of questions.
    pub(crate) names: Names,
}

impl Web {
    pub(crate) async fn start() -> Self {
        let authority = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "An authority");
        let pem: Arc<str> = params.self_signed(&authority).unwrap().pem().into();
        let issuer = Issuer::new(params, authority);
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = hosts().filter(|host| ![CLOSED, UNPROVEN].contains(&host.as_str())).collect();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = key.serialize_der().try_into().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, state) = (listener.local_addr().unwrap(), Arc::<State>::default());
        let (acceptor, serving) = (TlsAcceptor::from(Arc::new(config)), Arc::clone(&state));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Ordering::SeqCst);
                let (acceptor, state) = (acceptor.clone(), Arc::clone(&serving));
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let _ = serve(stream, &state).await;
                    }
                });
            }
        });
        Self { address, pem, state, names: Names::default() }
    }

    /// Returns a fetcher that reaches all hosts here, except for one at which nothing listens.
    pub(crate) fn fetcher(&self) -> HttpsFetcher {
        let fetcher = HttpsFetcher::danger_with_roots(self.pem.as_bytes()).unwrap().with_resolver(self.names.clone());
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        hosts().fold(fetcher, |fetcher, host| {
            let address = if host == CLOSED { closed } else { self.address };
            fetcher.danger_map_host(&host, address).unwrap()
        })
    }

    /// Arguments of the demo, for which all hosts are here.
    pub(crate) fn arguments(&self, roots: &std::path::Path) -> Vec<String> {
        std::fs::write(roots, self.pem.as_bytes()).unwrap();
        let maps = hosts().map(|host| format!("--cimd-map={host}={}", self.address));
        maps.chain([format!("--cimd-ca={}", roots.display())]).collect()
    }

    /// Answers requests for a URL.
    pub(crate) fn answer(&self, url: &str, answer: impl Fn(&Arrived) -> Vec<u8> + Send + Sync + 'static) {
        let url = url.strip_prefix("https://").unwrap().to_owned();
        self.state.pages.lock().unwrap().insert(url, Arc::new(answer));
    }

    /// Answers all other requests.
    pub(crate) fn otherwise(&self, answer: impl Fn(&Arrived) -> Vec<u8> + Send + Sync + 'static) {
        self.answer("https://*", answer);
    }

    /// Answers with these bytes, whatever they are.
    pub(crate) fn raw(&self, url: &str, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        self.answer(url, move |_| bytes.clone());
    }

    /// Publishes a document.
    pub(crate) fn publish(&self, url: &str, more: Value) {
        self.publish_with(url, "", more);
    }

    /// Publishes a document with fields in its response, each with its line end.
    pub(crate) fn publish_with(&self, url: &str, fields: &str, more: Value) {
        self.raw(url, json_response(fields, &document(url, more)));
    }

    /// The requests until now.
    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.state.arrived.lock().unwrap().clone()
    }

    pub(crate) fn requests(&self) -> usize {
        self.state.arrived.lock().unwrap().len()
    }

    /// The requests for a URL.
    pub(crate) fn requests_for(&self, url: &str) -> usize {
        let url = url.strip_prefix("https://").unwrap();
        self.state.arrived.lock().unwrap().iter().filter(|arrived| arrived.url == url).count()
    }

    /// Everything that left the server: questions for names, connections.
    pub(crate) fn packets(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst) + self.names.0.asked.load(Ordering::SeqCst)
    }

    /// Lets requests wait, except for those of one host, until [`go_on`](Self::go_on).
    pub(crate) fn stall_all_but(&self, host: &str) {
        *self.state.stalls.lock().unwrap() = Some(host.to_owned());
    }

    pub(crate) fn go_on(&self) {
        *self.state.stalls.lock().unwrap() = None;
        self.state.go.notify_waiters();
    }
}

async fn serve(mut stream: TlsStream<TcpStream>, state: &State) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
    let arrived = Arrived { url: format!("{host}{path}"), head: head.clone() };
    state.arrived.lock().unwrap().push(arrived.clone());
    let gone_on = state.go.notified();
    let stalls = state.stalls.lock().unwrap().as_deref().is_some_and(|exempt| exempt != host);
    if stalls {
        gone_on.await;
    }
    let answer = {
        let pages = state.pages.lock().unwrap();
        pages.get(&arrived.url).or_else(|| pages.get("*")).cloned()
    };
    let bytes = answer.map_or_else(|| json_response("", &json!({})).replacing_ok("404 Not Found"), |it| it(&arrived));
    stream.write_all(&bytes).await?;
    stream.shutdown().await?;
    // Until the client closes its side: otherwise the system may drop what was sent.
    stream.read_to_end(&mut Vec::new()).await.map(|_| ())
}

trait Replacing {
    fn replacing_ok(self, status: &str) -> Vec<u8>;
}

impl Replacing for Vec<u8> {
    fn replacing_ok(self, status: &str) -> Vec<u8> {
        String::from_utf8(self).unwrap().replacen("200 OK", status, 1).into_bytes()
    }
}

/// A response with JSON.
pub(crate) fn json_response(fields: &str, body: &Value) -> Vec<u8> {
    response("200 OK", &format!("Content-Type: application/json\r\n{fields}"), body.to_string().as_bytes())
}

pub(crate) fn response(status: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

pub(crate) fn document(url: &str, more: Value) -> Value {
    let mut document = json!({
        "client_id": url, "client_name": "App", "redirect_uris": [CALLBACK],
        "grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": "none",
    });
    let Value::Object(more) = more else { panic!("{more} has no members") };
    document.as_object_mut().unwrap().extend(more);
    document
}

/// A resolver, for names that are not mapped.
#[derive(Clone, Default)]
pub(crate) struct Names(Arc<NamesState>);

#[derive(Default)]
struct NamesState {
    addresses: Mutex<HashMap<String, Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Names {
    pub(crate) fn put(&self, host: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.0.addresses.lock().unwrap().insert(host.to_owned(), addresses);
    }

    pub(crate) fn asked(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }
}

impl Resolve for Names {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        let addresses = self.0.addresses.lock().unwrap().get(host).cloned();
        addresses.ok_or_else(|| io::Error::other("no such name"))
    }
}
