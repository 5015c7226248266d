//! The futures of the layers here.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;

use super::ResponseBody;

/// Answers a request after something was awaited before the inner service was called, and is boxed for that.
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

/// What a layer does with the answer of the service inside of it.
pub(crate) trait Finish<B, E> {
    fn finish(self, answer: Result<Response<B>, E>) -> Finished<B, E>;
}

/// The answer of a layer.
pub(crate) enum Finished<B, E> {
    Now(Result<Response<ResponseBody<B>>, E>),
    /// Once the inner service's body was read.
    Later(ResponseFuture<Response<ResponseBody<B>>, E>),
}

/// An answer that passes as it is.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Unchanged;

impl<B, E> Finish<B, E> for Unchanged {
    fn finish(self, answer: Result<Response<B>, E>) -> Finished<B, E> {
        Finished::Now(answer.map(|response| response.map(ResponseBody::inner)))
    }
}

pin_project_lite::pin_project! {
    /// Waits for the answer of the inner service, and has a layer finish it.
    #[must_use = "futures do nothing unless polled"]
    pub struct AnswerFuture<F, T, B, E> {
        #[pin]
        state: State<F, T, B, E>,
    }
}

pin_project_lite::pin_project! {
    #[project = StateProjection]
    enum State<F, T, B, E> {
        Waiting { #[pin] inner: F, layer: Option<T> },
        Finishing { finishing: ResponseFuture<Response<ResponseBody<B>>, E> },
        Answered { answer: Option<Response<ResponseBody<B>>> },
    }
}

impl<F, T, B, E> AnswerFuture<F, T, B, E> {
    /// Waits for `inner`.
    pub(crate) fn new(inner: F, layer: T) -> Self {
        Self { state: State::Waiting { inner, layer: Some(layer) } }
    }

    /// An answer that is being made, inner service and all.
    pub(crate) fn finishing(finishing: ResponseFuture<Response<ResponseBody<B>>, E>) -> Self {
        Self { state: State::Finishing { finishing } }
    }

    /// The layer's own answer, without the inner service.
    pub(crate) fn answered(answer: Response<ResponseBody<B>>) -> Self {
        Self { state: State::Answered { answer: Some(answer) } }
    }
}

impl<F, T, B, E> Future for AnswerFuture<F, T, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
    T: Finish<B, E>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        if let StateProjection::Waiting { inner, layer } = state.as_mut().project() {
            let answer = ready!(inner.poll(cx));
            match layer.take().map(|layer| layer.finish(answer)) {
                Some(Finished::Now(answer)) => return Poll::Ready(answer),
                Some(Finished::Later(finishing)) => state.set(State::Finishing { finishing }),
                // Polled again after it was ready, which no caller may do.
                None => return Poll::Pending,
            }
        }
        match state.project() {
            StateProjection::Finishing { finishing } => Pin::new(finishing).poll(cx),
            StateProjection::Answered { answer } => {
                answer.take().map_or(Poll::Pending, |answer| Poll::Ready(Ok(answer)))
            }
            StateProjection::Waiting { .. } => Poll::Pending,
        }
    }
}

impl<F, T, B, E> fmt::Debug for AnswerFuture<F, T, B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerFuture").finish_non_exhaustive()
    }
}
