//! The steps before TLS, over connections that are not opened: a test can't have public addresses.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{DuplexStream, duplex};
use tokio::time::{Instant, sleep, timeout};

use super::*;

/// Answers with the first list, then the second, and so on; the last one stays.
struct Answers(Mutex<Vec<Vec<IpAddr>>>, AtomicUsize);

impl Answers {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let read = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
        Arc::new(Self(Mutex::new(answers.iter().rev().map(read).collect()), AtomicUsize::new(0)))
    }
}

impl Resolve for Arc<Answers> {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        assert_eq!(host, "app.example.com");
        self.1.fetch_add(1, Ordering::Relaxed);
        let mut answers = self.0.lock().unwrap();
        Ok(if answers.len() > 1 { answers.pop() } else { answers.last().cloned() }.unwrap_or_default())
    }
}

/// The outcome of an attempt to connect.
#[derive(Clone, Copy)]
enum Way {
    Refused,
    Hangs,
    /// Is opened, and nothing arrives.
    Opens,
    /// Is opened to another address.
    Elsewhere(&'static str),
}

struct Dialled {
    way: fn(SocketAddr) -> Way,
    addresses: Mutex<Vec<(Duration, String)>>,
    open: Mutex<Vec<DuplexStream>>,
    start: Instant,
}

impl Dialled {
    fn new(way: fn(SocketAddr) -> Way) -> Self {
        Self { way, addresses: Mutex::default(), open: Mutex::default(), start: Instant::now() }
    }

    fn addresses(&self) -> Vec<String> {
        self.addresses.lock().unwrap().iter().map(|(_, address)| address.clone()).collect()
    }
}

impl Dial for Dialled {
    type Stream = DuplexStream;

    async fn dial(&self, address: SocketAddr) -> io::Result<(DuplexStream, SocketAddr)> {
        self.addresses.lock().unwrap().push((self.start.elapsed(), address.to_string()));
        let peer = match (self.way)(address) {
            Way::Refused => return Err(io::ErrorKind::ConnectionRefused.into()),
            Way::Hangs => std::future::pending().await,
            Way::Opens => address,
            Way::Elsewhere(peer) => peer.parse().unwrap(),
        };
        let (here, there) = duplex(64 * 1024);
        self.open.lock().unwrap().push(there);
        Ok((here, peer))
    }
}

fn fetcher(resolver: impl Resolve) -> HttpsFetcher {
    let authority = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap();
    HttpsFetcher::danger_with_roots(authority.cert.pem()).unwrap().with_resolver(resolver)
}

fn request() -> FetchRequest {
    FetchRequest::new(ClientIdUrl::parse("https://app.example.com/client").unwrap())
}

async fn fetch(fetcher: &HttpsFetcher, dialled: &Dialled) -> String {
    let ended = timeout(Duration::from_secs(3600), fetcher.fetch_by(dialled, &request())).await;
    match ended.expect("this goes on for ever").unwrap_err() {
        FetchError::AddressRejected(class) => class.to_owned(),
        FetchError::Timeout(step) => format!("timeout: {step}"),
        error => error.as_str().to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_is_resolved_once_and_its_checked_address_is_dialled() {
    let answers = Answers::new(&[&["93.184.215.14"], &["127.0.0.1"]]);
    let fetcher = fetcher(Arc::clone(&answers));
    let dialled = Dialled::new(|_| Way::Refused);
    assert_eq!(fetch(&fetcher, &dialled).await, "connect");
    assert_eq!(dialled.addresses(), ["93.184.215.14:443"]);
    assert_eq!(answers.1.load(Ordering::Relaxed), 1);
    // The next fetch knows nothing of it.
    assert_eq!(fetch(&fetcher, &dialled).await, "loopback");
    assert_eq!(dialled.addresses().len(), 1);
}

/// A name server of strangers that never answers holds the places of its resolver for as long as the system waits.
#[tokio::test(start_paused = true)]
async fn names_that_hang_hold_no_place_of_clients_in_use() {
    let hanging = |_: String| std::future::pending();
    let answering = async |_: String| Ok(vec!["93.184.215.14".parse().unwrap()]);
    let fetcher = HttpsFetcher {
        resolver: Arc::new(SystemResolver::with_look_up(hanging)),
        resolver_in_use: Arc::new(SystemResolver::with_look_up(answering)),
        ..fetcher(Answers::new(&[]))
    };
    let dialled = Dialled::new(|_| Way::Refused);
    for _ in 0..40 {
        assert_eq!(fetch(&fetcher, &dialled).await, "timeout: resolve");
    }
    let mut in_use = request();
    in_use.in_use = true;
    assert_eq!(fetcher.fetch_by(&dialled, &in_use).await.unwrap_err().as_str(), "connect");
    // By default there are two, too, of which neither has places of the other one.
    let fetcher = HttpsFetcher::new().unwrap();
    assert!(!std::ptr::addr_eq(Arc::as_ptr(&fetcher.resolver), Arc::as_ptr(&fetcher.resolver_in_use)));
}

#[tokio::test(start_paused = true)]
async fn one_rejected_address_rejects_the_name() {
    for (answers, reason) in [
        (&["10.0.0.1", "93.184.215.14", "2606:2800::1"][..], "private"),
        (&["93.184.215.14", "2606:2800::1", "10.0.0.1"], "private"),
        (&["93.184.215.14", "2606:2800::1", "::1"], "loopback"),
        (&["93.184.215.14", "::ffff:93.184.215.14"], "ipv4_mapped"),
        (&[], "no_address"),
        (&["93.184.215.14"; 17], "connect"),
    ] {
        let dialled = Dialled::new(|_| Way::Opens);
        assert_eq!(fetch(&fetcher(Answers::new(&[answers])), &dialled).await, reason, "{answers:?}");
        assert!(dialled.addresses().is_empty(), "{answers:?}");
    }
    let dialled = Dialled::new(|_| Way::Refused);
    assert_eq!(fetch(&fetcher(Answers::new(&[&["93.184.215.14"; 16]])), &dialled).await, "connect");
    assert_eq!(dialled.addresses().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn two_addresses_are_tried_of_both_families() {
    let many = Answers::new(&[&["93.184.215.14", "93.184.215.15", "2606:2800::1", "2606:2800::2"]]);
    let fetcher = fetcher(many);
    let dialled = Dialled::new(|_| Way::Refused);
    assert_eq!(fetch(&fetcher, &dialled).await, "connect");
    assert_eq!(dialled.addresses(), ["93.184.215.14:443", "[2606:2800::1]:443"]);
    // The first one hangs: the second gets its turn.
    let dialled = Dialled::new(|address| if address.is_ipv4() { Way::Hangs } else { Way::Opens });
    assert_eq!(fetch(&fetcher, &dialled).await, "timeout: tls");
    assert_eq!(dialled.addresses.lock().unwrap()[1].0, Duration::from_millis(250));
    // The second one fails: the first may go on.
    let dialled = Dialled::new(|address| if address.is_ipv4() { Way::Hangs } else { Way::Refused });
    assert_eq!(fetch(&fetcher, &dialled).await, "timeout: connect");
}

#[tokio::test(start_paused = true)]
async fn the_address_of_the_peer_is_checked() {
    let fetcher = fetcher(Answers::new(&[&["93.184.215.14"]]));
    for (way, reason) in [
        ((|_| Way::Elsewhere("127.0.0.1:443")) as fn(SocketAddr) -> Way, "loopback"),
        (|_| Way::Elsewhere("93.184.215.15:443"), "connect"),
        (|_| Way::Elsewhere("93.184.215.14:8443"), "connect"),
        (|_| Way::Opens, "timeout: tls"),
    ] {
        assert_eq!(fetch(&fetcher, &Dialled::new(way)).await, reason);
    }
    // With a second address, too.
    let fetcher = self::fetcher(Answers::new(&[&["93.184.215.14", "93.184.215.15"]]));
    assert_eq!(fetch(&fetcher, &Dialled::new(|_| Way::Elsewhere("[::1]:443"))).await, "loopback");
}

#[tokio::test(start_paused = true)]
async fn each_step_has_a_time_limit() {
    struct Hangs;
    impl Resolve for Hangs {
        async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            sleep(Duration::from_secs(3600)).await;
            Ok(Vec::new())
        }
    }
    let answers = || Answers::new(&[&["93.184.215.14"]]);
    let seconds = Duration::from_secs;
    for (fetcher, way, reason, time) in [
        (fetcher(Hangs), Way::Opens, "timeout: resolve", seconds(1)),
        (fetcher(answers()), Way::Hangs, "timeout: connect", seconds(2)),
        (fetcher(answers()), Way::Opens, "timeout: tls", seconds(5)),
        (fetcher(answers()).with_timeout(seconds(3)).unwrap(), Way::Opens, "timeout: tls", seconds(3)),
        (fetcher(Hangs).with_timeout(seconds(1) / 2).unwrap(), Way::Opens, "timeout: resolve", seconds(1) / 2),
    ] {
        let dialled = match way {
            Way::Hangs => Dialled::new(|_| Way::Hangs),
            _ => Dialled::new(|_| Way::Opens),
        };
        assert_eq!(fetch(&fetcher, &dialled).await, reason);
        // The clock of these tests is the runtime's, which has milliseconds.
        assert!(dialled.start.elapsed().abs_diff(time) <= Duration::from_millis(2), "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_port_is_that_of_the_url() {
    let options = tower_dcr::documents::ClientIdUrlOptions { query: false, ports: [8443].into() };
    let url = ClientIdUrl::parse_with("https://app.example.com:8443/client", &options).unwrap();
    let fetcher = fetcher(Answers::new(&[&["93.184.215.14"]]));
    let dialled = Dialled::new(|_| Way::Refused);
    fetcher.fetch_by(&dialled, &FetchRequest::new(url)).await.unwrap_err();
    assert_eq!(dialled.addresses(), ["93.184.215.14:8443"]);
}

#[tokio::test(start_paused = true)]
async fn denied_networks_are_rejected() {
    let denied = |address: &'static str| {
        let fetcher = fetcher(Answers::new(&[&[address]]));
        let fetcher = fetcher.danger_allow_nat64("64:ff9b::/96").unwrap();
        fetcher.with_denied_networks(["93.184.216.0/24", "2606:2800:1::/48", "1.1.1.1"]).unwrap()
    };
    for (address, reason) in [
        ("93.184.215.255", "connect"),
        ("93.184.216.0", "denied_network"),
        ("93.184.216.255", "denied_network"),
        ("93.184.217.0", "connect"),
        ("1.1.1.1", "denied_network"),
        ("1.1.1.2", "connect"),
        ("2606:2800:1::1", "denied_network"),
        ("2606:2800:2::1", "connect"),
        ("64:ff9b::1.1.1.1", "denied_network"),
        ("64:ff9b::1.1.1.2", "connect"),
        ("10.0.0.1", "private"),
    ] {
        assert_eq!(fetch(&denied(address), &Dialled::new(|_| Way::Refused)).await, reason, "{address}");
    }
}

#[tokio::test(start_paused = true)]
async fn behind_a_translator_the_inner_address_is_judged() {
    for (prefix, address, reason) in [
        ("64:ff9b::/96", "64:ff9b::93.184.215.14", "connect"),
        ("64:ff9b::/96", "64:ff9b::10.0.0.1", "private"),
        ("64:ff9b::/96", "64:ff9b::127.0.0.1", "loopback"),
        ("64:ff9b::/96", "64:ff9b::169.254.169.254", "link_local"),
        // Another prefix stays rejected.
        ("64:ff9b::/96", "64:ff9b:1::93.184.215.14", "nat64"),
        ("2606:2800::/32", "2606:2800:5db8:d70e::", "connect"),
        ("2606:2800::/32", "2606:2800:7f00:1::", "loopback"),
        // A suffix, and bits 64 to 71.
        ("2606:2800::/32", "2606:2800:5db8:d70e::1", "nat64"),
        ("2606:2800::/32", "2606:2800:5db8:d70e:100::", "nat64"),
        ("2606:2800::/32", "2606:2801::1", "connect"),
    ] {
        let fetcher = fetcher(Answers::new(&[&[address]])).danger_allow_nat64(prefix).unwrap();
        assert_eq!(fetch(&fetcher, &Dialled::new(|_| Way::Refused)).await, reason, "{prefix} {address}");
    }
    let without = fetcher(Answers::new(&[&["64:ff9b::93.184.215.14"]]));
    assert_eq!(fetch(&without, &Dialled::new(|_| Way::Refused)).await, "nat64");
}

#[tokio::test(start_paused = true)]
async fn a_host_is_mapped_by_its_whole_name() {
    let address = "127.0.0.1:4443".parse().unwrap();
    let mapped = |host| fetcher(Answers::new(&[&["127.0.0.1"]])).danger_map_host(host, address).unwrap();
    let dialled = Dialled::new(|_| Way::Refused);
    assert_eq!(fetch(&mapped("app.example.com"), &dialled).await, "connect");
    assert_eq!(dialled.addresses(), ["127.0.0.1:4443"]);
    for other in ["example.com", "x.app.example.com", "pp.example.com"] {
        assert_eq!(fetch(&mapped(other), &dialled).await, "loopback", "{other}");
    }
    // Only there.
    let mapped = mapped("app.example.com");
    assert_eq!(fetch(&mapped, &Dialled::new(|_| Way::Elsewhere("127.0.0.2:4443"))).await, "connect");
    assert_eq!(fetch(&mapped, &Dialled::new(|_| Way::Elsewhere("127.0.0.1:22"))).await, "connect");
}

#[test]
fn mistakes_are_named() {
    let fetcher = || fetcher(SystemResolver::new());
    let address = "127.0.0.1:443".parse().unwrap();
    let text = |built: Result<HttpsFetcher, InvalidFetcher>| built.unwrap_err().to_string();
    for host in [
        "localhost",
        "APP.example.com",
        "127.0.0.1",
        "app.example.com:8443",
        "app.example.com/x",
        "u@app.example.com",
        "",
    ] {
        assert!(
            text(fetcher().danger_map_host(host, address)).starts_with(&format!("{host:?} is not a host")),
            "{host}"
        );
    }
    for prefix in ["64:ff9b::/95", "::/0", "64:ff9b::1/96", "10.0.0.0/8", "64:ff9b::", "2606:2800:0:0:100::/96"] {
        assert!(
            text(fetcher().danger_allow_nat64(prefix)).starts_with(&format!("{prefix:?} is not a prefix")),
            "{prefix}"
        );
    }
    for network in ["10.0.0.0/33", "example.com", ""] {
        assert!(text(fetcher().with_denied_networks([network])).starts_with(&format!("{network:?} is not a network")));
    }
    for timeout in [Duration::ZERO, Duration::from_millis(5001), Duration::from_secs(30), Duration::MAX] {
        let expected = format!("a fetch can't have {timeout:?}: use a time from 1 ms to 5s");
        assert_eq!(text(fetcher().with_timeout(timeout)), expected);
    }
    for timeout in [Duration::from_millis(1), Duration::from_secs(5)] {
        assert!(fetcher().with_timeout(timeout).is_ok());
    }
    for roots in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\n"]
    {
        assert!(
            text(HttpsFetcher::danger_with_roots(roots)).starts_with("not a certificate authority in PEM"),
            "{roots}"
        );
    }
}

#[test]
fn without_a_runtime_there_is_an_error() {
    let fetch = std::pin::pin!(fetcher(SystemResolver::new()).clone());
    let mut fetch = std::pin::pin!(Fetch::fetch(&*fetch, request()));
    let std::task::Poll::Ready(result) =
        fetch.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    else {
        panic!("nothing to wait for")
    };
    assert_eq!(result.unwrap_err().as_str(), "other");
}
