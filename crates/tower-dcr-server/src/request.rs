//! The requests of one connection: their peer address, and the number that is open.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::connections::BoxError;

/// The requests that have begun, and those whose response is not sent yet.
#[derive(Default)]
pub(crate) struct Requests {
    begun: AtomicUsize,
    open: AtomicUsize,
}

impl Requests {
    pub(crate) fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    pub(crate) fn are_none_open(&self) -> bool {
        self.open.load(Ordering::SeqCst) == 0
    }
}

/// A request that is open until this is dropped.
struct OpenRequest(Arc<Requests>);

impl OpenRequest {
    fn new(requests: &Arc<Requests>) -> Self {
        requests.begun.fetch_add(1, Ordering::SeqCst);
        requests.open.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(requests))
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Returns the service of a connection.
pub(crate) fn requests_of<S, B>(
    service: S,
    peer: SocketAddr,
    requests: Arc<Requests>,
) -> impl hyper::service::Service<Request<Incoming>, Response = Response<OpenBody<B>>, Error = BoxError, Future: Send>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body,
{
    service_fn(move |mut request: Request<Incoming>| {
        let open = OpenRequest::new(&requests);
        request.extensions_mut().insert(peer);
        #[cfg(feature = "axum")]
        request.extensions_mut().insert(axum::extract::ConnectInfo(peer));
        let mut service = service.clone();
        async move {
            std::future::poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
            let response = service.call(request).await.map_err(Into::into)?;
            Ok::<_, BoxError>(response.map(|body| OpenBody { body, _open: open }))
        }
    })
}

pin_project! {
    /// The body of a response, whose request is open until it was sent.
    pub(crate) struct OpenBody<B> {
        #[pin]
        body: B,
        _open: OpenRequest,
    }
}

impl<B: Body> Body for OpenBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
