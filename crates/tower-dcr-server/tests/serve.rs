//! `serve` over real sockets: clients that open connections, send slowly, read nothing or do nothing, and the others.
#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::get;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tower_dcr_server::{Limits, serve};

/// More than any answer here takes.
const LONG: Duration = Duration::from_secs(20);

/// A server, which stops when it is dropped or told so.
struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(address: impl Into<IpAddr>, app: Router, limits: Limits) -> Self {
        let listener = TcpListener::bind((address.into(), 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(serve(listener, app, limits, async { drop(stopped.await) }));
        Self { address, stop: Some(stop), ended }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Connects from another address of this machine.
    async fn connect_from(&self, address: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address, 0).into()).unwrap();
        socket.connect(self.address).await.unwrap()
    }
}

fn local() -> Ipv4Addr {
    Ipv4Addr::LOCALHOST
}

fn limits(total: usize, per_source: usize) -> Limits {
    let count = |number| NonZeroUsize::new(number).unwrap();
    Limits::new().with_total(count(total)).with_per_source(count(per_source))
}

/// Returns `true` if the server answers a request on this connection, which stays open.
async fn answers(stream: &mut TcpStream) -> bool {
    let request = b"GET / HTTP/1.1\r\nhost: as.example.com\r\n\r\n";
    let mut answer = [0; 15];
    let asked = async {
        stream.write_all(request).await.ok()?;
        stream.read_exact(&mut answer).await.ok()
    };
    timeout(LONG, asked).await.unwrap().is_some() && answer.starts_with(b"HTTP/1.1 200")
}

/// Waits until the server closes the connection, and returns what it has sent before.
async fn closed(mut stream: TcpStream) -> String {
    let mut sent = Vec::new();
    // A reset is a close, too.
    let _reset = timeout(LONG, stream.read_to_end(&mut sent)).await.expect("the connection stays open");
    String::from_utf8_lossy(&sent).into_owned()
}

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

#[tokio::test]
async fn a_source_over_its_limit_is_closed_and_others_are_served() {
    let server = Server::start(Ipv4Addr::UNSPECIFIED, hello(), limits(100, 3)).await;
    let here = Server { address: (local(), server.address.port()).into(), stop: None, ended: tokio::spawn(async {}) };
    // Idle connections of an attacker.
    let mut idle = Vec::new();
    for _ in 0..3 {
        idle.push(here.connect_from(Ipv4Addr::new(127, 0, 0, 2)).await);
    }
    // Accepted in order: those before were counted.
    assert_eq!(closed(here.connect_from(Ipv4Addr::new(127, 0, 0, 2)).await).await, "");
    assert!(answers(&mut here.connect_from(Ipv4Addr::new(127, 0, 0, 3)).await).await, "another address");
    assert!(answers(&mut idle[0]).await, "those that were open before");
    drop(idle.pop());
    let again = async {
        while !answers(&mut here.connect_from(Ipv4Addr::new(127, 0, 0, 2)).await).await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, again).await.expect("a closed connection is not counted any more");
    drop(server);
}

#[tokio::test]
async fn connections_over_the_total_are_closed() {
    let server = Server::start(local(), hello(), limits(2, 2)).await;
    let (mut first, _second) = (server.connect().await, server.connect().await);
    assert!(!answers(&mut server.connect().await).await);
    assert!(answers(&mut first).await);
}

#[tokio::test]
async fn a_network_of_ipv6_is_one_source() {
    let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await else { return };
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, hello(), limits(100, 1), std::future::pending()));
    let mut first = TcpStream::connect(address).await.unwrap();
    assert!(answers(&mut first).await);
    assert!(!answers(&mut TcpStream::connect(address).await.unwrap()).await);
}

/// Slow heads, silent connections and partial prefaces of HTTP/2 are closed; a request in time is answered.
#[tokio::test]
async fn heads_have_a_time_limit_from_the_first_byte_on_and_before() {
    let time = Duration::from_millis(600);
    let server = Server::start(local(), hello(), limits(100, 100).with_header_timeout(time).unwrap()).await;
    for begun in ["", "G", "GET / HTTP/1.1\r\nhost: x\r\n", "PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = server.connect().await;
        stream.write_all(begun.as_bytes()).await.unwrap();
        let started = Instant::now();
        closed(stream).await;
        assert!(started.elapsed() >= time / 2, "{begun:?}: at once");
        assert!(started.elapsed() < LONG / 4, "{begun:?}: after {:?}", started.elapsed());
    }
    // One byte after the other does not extend it.
    let (mut read, mut write) = server.connect().await.into_split();
    let trickle = tokio::spawn(async move {
        while write.write_all(b"GET").await.is_ok() {
            sleep(time / 10).await;
        }
    });
    let mut answer = Vec::new();
    let _reset = timeout(LONG, read.read_to_end(&mut answer)).await.expect("a slow head is cut off");
    trickle.abort();
    // Idle after a request.
    let mut stream = server.connect().await;
    assert!(answers(&mut stream).await);
    closed(stream).await;
}

/// The client answers pings, as any library does: only the absence of requests closes its connection.
#[tokio::test]
async fn an_idle_http2_connection_is_closed_and_a_long_response_is_not() {
    let time = Duration::from_millis(300);
    let slow = Router::new().route("/", get(async || "hello")).route(
        "/slow",
        get(async move || {
            let (mut writer, reader) = http_body_util::channel::Channel::<Bytes>::new(1);
            tokio::spawn(async move {
                for _ in 0..6 {
                    sleep(time).await;
                    writer.send_data(Bytes::from_static(b".")).await.unwrap();
                }
            });
            Body::new(reader)
        }),
    );
    let server = Server::start(local(), slow, limits(10, 10).with_header_timeout(time).unwrap()).await;
    let stream = TokioIo::new(server.connect().await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let ended = tokio::spawn(connection);
    let request = |path: &str| http::Request::get(format!("http://as{path}")).body(Empty::<Bytes>::new()).unwrap();
    let answer = sender.send_request(request("/slow")).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "......");
    assert_eq!(sender.send_request(request("/")).await.unwrap().status(), 200, "the connection was kept");
    timeout(LONG, ended).await.expect("an idle connection is closed").unwrap().unwrap();
}

#[tokio::test]
async fn a_long_head_is_431() {
    let server = Server::start(local(), hello(), limits(10, 10).with_header_bytes(8192).unwrap()).await;
    let answer = async |length: usize| {
        let mut stream = server.connect().await;
        let head = format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncookie: {}\r\n\r\n", "a".repeat(length));
        stream.write_all(head.as_bytes()).await.unwrap();
        closed(stream).await
    };
    assert!(answer(8000).await.starts_with("HTTP/1.1 200"));
    let long = answer(9000).await;
    assert!(long.starts_with("HTTP/1.1 431"), "{long}");
}

/// A client that reads nothing would keep its connection, and the response, forever.
#[tokio::test]
async fn a_client_that_reads_nothing_is_closed() {
    static OPEN: AtomicUsize = AtomicUsize::new(0);
    struct Held;
    impl Drop for Held {
        fn drop(&mut self) {
            OPEN.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let endless = Router::new().route(
        "/",
        get(async || {
            OPEN.fetch_add(1, Ordering::SeqCst);
            let held = Held;
            let (mut writer, reader) = http_body_util::channel::Channel::<Bytes>::new(1);
            tokio::spawn(async move {
                let _held = held;
                while writer.send_data(Bytes::from(vec![b'a'; 65536])).await.is_ok() {}
            });
            Body::new(reader)
        }),
    );
    let limits = limits(10, 10).with_write_timeout(Duration::from_millis(300)).unwrap();
    let server = Server::start(local(), endless, limits).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let gone = async {
        while OPEN.load(Ordering::SeqCst) == 0 {
            sleep(Duration::from_millis(10)).await;
        }
        while OPEN.load(Ordering::SeqCst) == 1 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, gone).await.expect("the response is dropped");
}

/// A web socket is no longer hyper's, and is still a connection.
#[tokio::test]
async fn upgraded_connections_are_counted() {
    let upgrade = Router::new().route("/", get(async || "hello")).route(
        "/socket",
        get(async |request: Request| {
            tokio::spawn(async {
                let socket = hyper::upgrade::on(request).await.unwrap();
                sleep(LONG).await;
                drop(socket);
            });
            (http::StatusCode::SWITCHING_PROTOCOLS, [("connection", "upgrade"), ("upgrade", "echo")])
        }),
    );
    let server = Server::start(local(), upgrade, limits(1, 1)).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /socket HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    sleep(Duration::from_millis(200)).await;
    assert!(!answers(&mut server.connect().await).await);
}

#[tokio::test]
async fn requests_of_one_http2_connection_are_limited() {
    let (most, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = (Arc::clone(&most), open);
    let app = Router::new().route(
        "/",
        get(async move || {
            let (most, open) = counted;
            most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            sleep(Duration::from_millis(100)).await;
            open.fetch_sub(1, Ordering::SeqCst);
        }),
    );
    let server = Server::start(local(), app, limits(10, 10).with_streams(NonZeroU32::new(2).unwrap())).await;
    let stream = TokioIo::new(server.connect().await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let request = || http::Request::get("http://as/").body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(sender.send_request(request()).await.unwrap().status(), 200);
    let answers: Vec<_> = (0..6).map(|_| tokio::spawn(sender.send_request(request()))).collect();
    for answer in answers {
        assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn open_requests_are_finished_after_the_stop() {
    let app = Router::new().route(
        "/",
        get(async || {
            sleep(Duration::from_millis(500)).await;
            "finished"
        }),
    );
    let mut server = Server::start(local(), app, limits(10, 10)).await;
    let (mut busy, idle) = (server.connect().await, server.connect().await);
    busy.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    sleep(Duration::from_millis(100)).await;
    server.stop.take();
    assert_eq!(closed(idle).await, "", "it has no request");
    let answer = closed(busy).await;
    assert!(answer.ends_with("finished"), "{answer}");
    timeout(LONG, server.ended).await.expect("it ends with the last request").unwrap();
    assert!(TcpStream::connect(server.address).await.is_err(), "it does not listen any more");
}

#[tokio::test]
async fn requests_that_take_longer_than_the_grace_are_closed() {
    let app = Router::new().route("/", get(async || std::future::pending::<()>().await));
    let limits = limits(10, 10).with_grace(Duration::from_millis(200)).unwrap();
    let mut server = Server::start(local(), app, limits).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    sleep(Duration::from_millis(100)).await;
    server.stop.take();
    timeout(LONG, server.ended).await.expect("it ends").unwrap();
    assert_eq!(closed(stream).await, "");
}

/// A preset reads the peer address without being told where it is.
#[tokio::test]
async fn the_peer_address_is_where_a_preset_reads_it() {
    let app = Router::new().route(
        "/",
        get(async |request: Request| {
            let (parts, _) = request.into_parts();
            let address = tower_dcr::client_address::ClientAddress::new().resolve(&parts.headers, &parts.extensions);
            #[cfg(feature = "axum")]
            assert_eq!(
                parts.extensions.get::<axum::extract::ConnectInfo<SocketAddr>>().map(|info| info.0.ip()),
                address
            );
            address.map(|address| address.to_string()).unwrap_or_default()
        }),
    );
    let server = Server::start(local(), app, limits(10, 10)).await;
    let mut stream = server.connect_from(Ipv4Addr::new(127, 0, 0, 7)).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let answer = closed(stream).await;
    assert!(answer.ends_with("127.0.0.7"), "{answer}");
}

/// A service without a framework, with an error of its own, which closes its connection only.
#[tokio::test]
async fn any_service_is_served() {
    let service = tower::service_fn(async |request: http::Request<Incoming>| {
        if request.uri().path() == "/broken" {
            return Err(std::io::Error::other("broken"));
        }
        let body = request.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
        Ok::<_, std::io::Error>(http::Response::new(Full::new(body)))
    });
    let listener = TcpListener::bind((local(), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, service, Limits::default(), std::future::pending()));
    let send = async |request: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        closed(stream).await
    };
    assert_eq!(send("GET /broken HTTP/1.1\r\nhost: x\r\n\r\n").await, "");
    let answer = send("POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbody").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("body"), "{answer}");
}

/// A service that is not ready yet is waited for.
#[tokio::test]
async fn a_service_is_asked_whether_it_is_ready() {
    let service = tower::ServiceBuilder::new().concurrency_limit(1).service(tower::service_fn(
        async |_: http::Request<Incoming>| {
            Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from_static(b"ready"))))
        },
    ));
    let listener = TcpListener::bind((local(), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, service, Limits::default(), std::future::pending()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    assert!(answers(&mut stream).await);
}
