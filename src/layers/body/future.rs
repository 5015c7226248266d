//! The futures of the layers.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;

use super::ResponseBody;

/// A boxed response future, for layers that await something before they call the inner service.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<R, E> {
    inner: Pin<Box<dyn Future<Output = Result<R, E>> + Send>>,
}

impl<R, E> ResponseFuture<R, E> {
    pub(crate) fn new(future: impl Future<Output = Result<R, E>> + Send + 'static) -> Self {
        Self { inner: Box::pin(future) }
    }
}

impl<R, E> Future for ResponseFuture<R, E> {
    type Output = Result<R, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.inner.as_mut().poll(cx)
    }
}

impl<R, E> fmt::Debug for ResponseFuture<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// Finishes the response of the inner service.
pub(crate) trait Finish<B, E> {
    fn finish(self: Box<Self>, response: Result<Response<B>, E>) -> Finished<B, E>;
}

/// The response of a layer.
pub(crate) enum Finished<B, E> {
    Now(Result<Response<ResponseBody<B>>, E>),
    /// The layer has to read the inner service's body first.
    Later(ResponseFuture<Response<ResponseBody<B>>, E>),
}

/// Passes the response unchanged.
pub(crate) struct Unchanged;

impl<B, E> Finish<B, E> for Unchanged {
    fn finish(self: Box<Self>, response: Result<Response<B>, E>) -> Finished<B, E> {
        Finished::Now(response.map(|response| response.map(ResponseBody::inner)))
    }
}

pin_project_lite::pin_project! {
    /// Waits for the response of the inner service, which a layer then finishes.
    #[must_use = "futures do nothing unless polled"]
    pub struct MapResponseFuture<F, B, E> {
        #[pin]
        state: State<F, B, E>,
    }
}

pin_project_lite::pin_project! {
    #[project = StateProjection]
    enum State<F, B, E> {
        Waiting { #[pin] inner: F, layer: Option<Box<dyn Finish<B, E> + Send>> },
        Finishing { finishing: ResponseFuture<Response<ResponseBody<B>>, E> },
        Answered { response: Option<Response<ResponseBody<B>>> },
    }
}

impl<F, B, E> MapResponseFuture<F, B, E> {
    /// Waits for `inner`.
    pub(crate) fn new(inner: F, layer: impl Finish<B, E> + Send + 'static) -> Self {
        Self { state: State::Waiting { inner, layer: Some(Box::new(layer)) } }
    }

    /// Drives a response that is being made, including the call of the inner service.
    pub(crate) fn finishing(finishing: ResponseFuture<Response<ResponseBody<B>>, E>) -> Self {
        Self { state: State::Finishing { finishing } }
    }

    /// Returns the layer's own response, without the inner service.
    pub(crate) fn answered(response: Response<ResponseBody<B>>) -> Self {
        Self { state: State::Answered { response: Some(response) } }
    }
}

impl<F, B, E> Future for MapResponseFuture<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        if let StateProjection::Waiting { inner, layer } = state.as_mut().project() {
            let response = ready!(inner.poll(cx));
            match layer.take().map(|layer| layer.finish(response)) {
                Some(Finished::Now(response)) => return Poll::Ready(response),
                Some(Finished::Later(finishing)) => state.set(State::Finishing { finishing }),
                // Polled again after it was ready, which no caller may do.
                None => return Poll::Pending,
            }
        }
        match state.project() {
            StateProjection::Finishing { finishing } => Pin::new(finishing).poll(cx),
            StateProjection::Answered { response } => {
                response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response)))
            }
            StateProjection::Waiting { .. } => Poll::Pending,
        }
    }
}

impl<F, B, E> fmt::Debug for MapResponseFuture<F, B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapResponseFuture").finish_non_exhaustive()
    }
}
