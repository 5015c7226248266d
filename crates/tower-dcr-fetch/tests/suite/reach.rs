//! The addresses that are reached, and by which way.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tower_dcr::documents::{ClientIdUrl, ClientIdUrlOptions, Fetch, FetchError, FetchRequest};
use tower_dcr_fetch::{HttpsFetcher, Resolve};

use crate::addresses::SPECIAL;
use crate::site::{Authority, HOST, Site, request};

struct To(Vec<IpAddr>);

impl Resolve for To {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        Ok(self.0.clone())
    }
}

/// A listener is there, on the port of the URL: a packet would arrive.
#[tokio::test]
async fn no_inner_address_is_connected_to() {
    let v4 = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = v4.local_addr().unwrap().port();
    let v6 = TcpListener::bind(("::", port)).await.ok();
    let options = ClientIdUrlOptions { query: false, ports: [port].into() };
    let url = ClientIdUrl::parse_with(&format!("https://{HOST}:{port}/client"), &options).unwrap();
    let inner = [
        "127.0.0.1",
        "127.1.2.3",
        "0.0.0.0",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::127.0.0.1",
        "2002:7f00:1::",
    ];
    let metadata =
        ["169.254.169.254", "169.254.170.2", "fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"];
    let special = SPECIAL.iter().map(|(network, _)| network.split('/').next().unwrap());
    let pem = Authority::new().pem;
    for address in inner.into_iter().chain(metadata).chain(special) {
        let resolver = To(vec![address.parse().unwrap()]);
        let fetcher = HttpsFetcher::danger_with_roots(&pem).unwrap().with_resolver(resolver);
        let error = fetcher.fetch(FetchRequest::new(url.clone())).await.unwrap_err();
        assert!(matches!(error, FetchError::AddressRejected(_)), "{address}: {error:?}");
        assert!(!error.to_string().contains(address), "{error}");
    }
    let nothing = Duration::from_millis(100);
    assert!(timeout(nothing, v4.accept()).await.is_err());
    if let Some(v6) = v6 {
        assert!(timeout(nothing, v6.accept()).await.is_err());
    }
    // The listener does listen.
    tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    assert!(v4.accept().await.is_ok());
}

/// By the resolver of the system. No network has names below `example` (RFC 6761 section 6.5).
#[tokio::test]
async fn a_reserved_name_has_no_address() {
    let url = ClientIdUrl::parse("https://app.example/client").unwrap();
    let fetcher = HttpsFetcher::danger_with_roots(Authority::new().pem).unwrap();
    let error = fetcher.fetch(FetchRequest::new(url)).await.unwrap_err();
    assert!(matches!(error, FetchError::NoAddress | FetchError::Timeout("resolve")), "{error:?}");
}

#[tokio::test]
async fn a_name_without_an_address_has_no_address() {
    struct Unknown;
    impl Resolve for Unknown {
        async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            Err(io::Error::other("no such name"))
        }
    }
    let fetcher = HttpsFetcher::danger_with_roots(Authority::new().pem).unwrap();
    for error in [
        fetcher.clone().with_resolver(Unknown).fetch(request()).await,
        fetcher.with_resolver(To(vec![])).fetch(request()).await,
    ] {
        assert!(matches!(error, Err(FetchError::NoAddress)), "{error:?}");
    }
}

#[tokio::test]
async fn a_fetch_goes_on_without_its_caller() {
    struct Waits(mpsc::UnboundedSender<&'static str>, Arc<Notify>);
    impl Resolve for Waits {
        async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            self.0.send("asked").unwrap();
            self.1.notified().await;
            self.0.send("went on").unwrap();
            Ok(Vec::new())
        }
    }
    let (says, mut said) = mpsc::unbounded_channel();
    let answer = Arc::new(Notify::new());
    let fetcher = HttpsFetcher::danger_with_roots(Authority::new().pem).unwrap();
    let fetcher = fetcher.with_resolver(Waits(says, Arc::clone(&answer)));
    tokio::select! {
        ended = fetcher.fetch(request()) => panic!("{ended:?}"),
        asked = said.recv() => assert_eq!(asked, Some("asked")),
    }
    // Its caller has gone.
    answer.notify_one();
    assert_eq!(timeout(Duration::from_secs(10), said.recv()).await, Ok(Some("went on")));
}

#[tokio::test]
async fn a_resolver_that_panics_is_an_error() {
    struct Panics;
    impl Resolve for Panics {
        async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            panic!("a fault of this resolver")
        }
    }
    let fetcher = HttpsFetcher::danger_with_roots(Authority::new().pem).unwrap().with_resolver(Panics);
    assert_eq!(fetcher.fetch(request()).await.unwrap_err().as_str(), "other");
}

const SITE: &str = "TOWER_DCR_FETCH_TEST_SITE";
const ROOTS: &str = "TOWER_DCR_FETCH_TEST_ROOTS";

#[tokio::test(flavor = "multi_thread")]
async fn proxies_of_the_environment_are_not_used() {
    let document = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    let (site, proxy) = (Site::answering(document).await, TcpListener::bind("127.0.0.1:0").await.unwrap());
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "reach::a_child_with_proxies", "--ignored"]);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        child.env(name, &url).env(name.to_lowercase(), &url);
    }
    child.env("NO_PROXY", "").env_remove("no_proxy").env(SITE, site.address.to_string()).env(ROOTS, &site.pem);
    let output = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert_eq!(site.connections(), 1);
    assert!(timeout(Duration::from_millis(100), proxy.accept()).await.is_err());
}

#[tokio::test]
#[ignore = "started by the test above, with variables"]
async fn a_child_with_proxies() {
    let address: SocketAddr = std::env::var(SITE).unwrap().parse().unwrap();
    let fetcher = HttpsFetcher::danger_with_roots(std::env::var(ROOTS).unwrap()).unwrap();
    let fetcher = fetcher.danger_map_host(HOST, address).unwrap();
    assert_eq!(fetcher.fetch(request()).await.unwrap().body(), "{}");
}

/// No kind of build reaches more: there is no feature, and no code that is built for some only. `examples/inner_address.rs` runs in
/// a release build.
#[test]
fn there_is_no_switch() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    assert!(!manifest.contains("[features]") && !manifest.contains("optional"));
    let mut folders = vec![root.join("src")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for switch in ["std::env::", "env::var", "option_env!", "cfg!(", "debug_assert"] {
                assert!(!text.contains(switch), "{}: {switch}", path.display());
            }
            let conditions = text.matches("cfg(").count() - text.matches("#[cfg(test)]\nmod tests").count();
            assert_eq!(conditions, 0, "{}", path.display());
            files += 1;
        }
    }
    assert!(files >= 8, "{files}");
}
