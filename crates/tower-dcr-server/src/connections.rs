//! Connections with limits.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower_service::Service;

use crate::limits::Limits;
use crate::request::{Requests, requests_of};
use crate::stream::Stream;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Serves HTTP/1 and HTTP/2 until `stop`, then finishes open requests within [`Limits::with_grace`].
///
/// A connection over a limit is closed before anything is read from it. Each request has the address of its connection
/// in its extensions: as a [`SocketAddr`], which [`ClientAddress`](tower_dcr::client_address::ClientAddress) reads by default, and with
/// the feature `axum` as `ConnectInfo<SocketAddr>`.
///
/// `service` is any `tower` service that takes the bodies of `hyper`, such as an axum `Router`, or a function by
/// `tower::service_fn`. Connections of a service that panics are closed, others stay. Dropping this future closes all
/// connections.
///
/// See the [crate's documentation](crate) for an example.
pub async fn serve<S, B>(listener: TcpListener, service: S, limits: Limits, stop: impl Future<Output = ()>)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let http = Arc::new(protocol(&limits));
    let (open, mut tasks) = (Open::default(), JoinSet::new());
    let (stopping, stopped) = watch::channel(());
    let mut stop = pin!(stop);
    loop {
        let (stream, peer) = tokio::select! {
            () = &mut stop => break,
            // Its memory is freed.
            Some(_ended) = tasks.join_next() => continue,
            accepted = listener.accept() => if let Ok(accepted) = accepted {
                accepted
            } else {
                // For example too many open files: this passes, and an immediate retry makes it worse.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            },
        };
        // A connection over the limit is closed.
        let Some(counted) = open.enter(source(peer.ip()), &limits) else { continue };
        let stream = Stream::new(stream, limits.write_timeout, counted);
        tasks.spawn(connection(Arc::clone(&http), stream, peer, service.clone(), limits, stopped.clone()));
    }
    drop((listener, stopping));
    let ended = async { while tasks.join_next().await.is_some() {} };
    let _in_time = tokio::time::timeout(limits.grace, ended).await;
    tasks.shutdown().await;
}

fn protocol(limits: &Limits) -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    let head = usize::try_from(limits.header_bytes).unwrap_or(usize::MAX);
    http.http1().timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(head);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams.get())
        .max_header_list_size(limits.header_bytes)
        .keep_alive_interval(limits.header_timeout)
        .keep_alive_timeout(limits.header_timeout);
    http
}

/// Serves one connection until its client or the server ends it, or it is idle.
async fn connection<S, B>(
    http: Arc<Builder<TokioExecutor>>,
    stream: Stream<TcpStream>,
    peer: SocketAddr,
    service: S,
    limits: Limits,
    mut stopped: watch::Receiver<()>,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let requests = Arc::new(Requests::default());
    let service = requests_of(service, peer, Arc::clone(&requests));
    // An error is the client's: it hung up, was too slow, or used another protocol.
    let mut connection = pin!(http.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let mut before = 0;
    loop {
        tokio::select! {
            _ended = connection.as_mut() => return,
            // The sender is dropped.
            _closed = stopped.changed() => {
                connection.as_mut().graceful_shutdown();
                let _ended = connection.await;
                return;
            }
            // hyper times the heads of HTTP/1 only, and only after it has recognized the protocol. A client of HTTP/2
            // that responds to pings, or one that sends nothing at all, would hold its connection forever.
            () = tokio::time::sleep(limits.header_timeout) => match requests.begun() {
                0 => return,
                now if now == before && requests.are_none_open() => break,
                now => before = now,
            }
        }
    }
    connection.as_mut().graceful_shutdown();
    let _in_time = tokio::time::timeout(limits.header_timeout, connection).await;
}

/// Returns the address by which the connections of a client are counted: for IPv6 its network of 64 bits, of which a
/// client has all addresses (RFC 4291 section 2.5.1).
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address @ IpAddr::V4(_) => address,
    }
}

/// The counts of open connections.
#[derive(Clone, Default)]
struct Open(Arc<Mutex<Counts>>);

#[derive(Default)]
struct Counts {
    all: usize,
    by_source: HashMap<IpAddr, usize>,
}

/// A connection that is counted until it is dropped.
pub(crate) struct Counted {
    open: Open,
    source: IpAddr,
}

impl Open {
    fn enter(&self, source: IpAddr, limits: &Limits) -> Option<Counted> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from_there = open.by_source.get(&source).copied().unwrap_or_default();
        if open.all >= limits.total.get() || from_there >= limits.per_source.get() {
            return None;
        }
        open.all += 1;
        open.by_source.insert(source, from_there + 1);
        Some(Counted { open: self.clone(), source })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.open.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        if let Some(from_there) = open.by_source.get_mut(&self.source) {
            *from_there -= 1;
            if *from_there == 0 {
                open.by_source.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    #[test]
    fn a_source_is_an_address_or_a_network_of_64_bits() {
        let source = |address: &str| source(address.parse().unwrap());
        assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"), "one client of a dual-stack socket");
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("2001:db8:1:2:3::4"), source("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
    }

    #[test]
    fn connections_are_counted_in_total_and_by_source_until_they_are_dropped() {
        let two = NonZeroUsize::new(2).unwrap();
        let limits = Limits::new().with_total(NonZeroUsize::new(3).unwrap()).with_per_source(two);
        let open = Open::default();
        let enter = |address: &str| open.enter(source(address.parse().unwrap()), &limits);
        let first = enter("2001:db8::1").unwrap();
        let second = enter("2001:db8::2").unwrap();
        assert!(enter("2001:db8::3").is_none(), "two from its network");
        let third = enter("192.0.2.1").unwrap();
        assert!(enter("192.0.2.2").is_none(), "three in total");
        drop(first);
        let fourth = enter("2001:db8::3").unwrap();
        drop((fourth, second, third));
        assert!(open.0.lock().unwrap().by_source.is_empty(), "no memory of past clients");
    }
}
