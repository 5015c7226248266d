//! Connections with limits, which `axum::serve` does not have: a client that opens many idle connections must not cost
//! much or lock others out. A server behind a proxy leaves this to the proxy.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tower::ServiceExt;

/// The limits on connections: in total and from one address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) all: usize,
    pub(crate) each: usize,
}

/// The time limit for the head of a request.
const HEAD: Duration = Duration::from_secs(10);

/// Serves until `stop`, then finishes open requests for some seconds.
pub(crate) async fn serve(listener: TcpListener, app: Router, limits: Limits, stop: impl Future<Output = ()>) {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    http.http2().timer(TokioTimer::new()).max_concurrent_streams(32).keep_alive_interval(HEAD);
    let (open, graceful) = (Open::default(), GracefulShutdown::new());
    let mut stop = pin!(stop);
    loop {
        let (stream, peer) = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => if let Ok(accepted) = accepted {
                accepted
            } else {
                // For example too many open files: this passes, and an immediate retry makes it worse.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            },
        };
        // A connection over the limit is closed.
        let Some(guard) = open.enter(peer.ip(), limits) else { continue };
        let connection = http.serve_connection_with_upgrades(TokioIo::new(stream), service(app.clone(), peer));
        let connection = graceful.watch(connection.into_owned());
        tokio::spawn(async move {
            // An error is the client's: it hung up, was too slow, or used another protocol.
            let _broken = connection.await;
            drop(guard);
        });
    }
    let _in_time = tokio::time::timeout(HEAD, graceful.shutdown()).await;
}

/// Returns the application with the address of the connection.
fn service(
    app: Router,
    peer: SocketAddr,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send,
> + Clone {
    hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        app.clone().oneshot(request)
    })
}

/// The counts of open connections.
#[derive(Clone, Default)]
struct Open(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A connection that is counted until it is dropped.
struct Counted {
    open: Open,
    address: IpAddr,
}

impl Open {
    fn enter(&self, address: IpAddr, limits: Limits) -> Option<Counted> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.values().sum::<usize>() >= limits.all {
            return None;
        }
        let from_there = open.entry(address).or_default();
        if *from_there >= limits.each {
            return None;
        }
        *from_there += 1;
        Some(Counted { open: self.clone(), address })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.open.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(from_there) = open.get_mut(&self.address) {
            *from_there -= 1;
            if *from_there == 0 {
                open.remove(&self.address);
            }
        }
    }
}
