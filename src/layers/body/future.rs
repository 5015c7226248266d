//! The future of the layers.

use std::fmt;
use std::future::Pending;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;
use tracing::Span;
use tracing::instrument::{Instrument, Instrumented};

use super::{ResponseBody, attach};
use crate::rules::{Evaluation, Operation, Rejection};

/// The response of a layer, or the reason for which there is none.
pub(crate) type Answered<B, E> = Result<Response<ResponseBody<B>>, E>;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Finishes the response of the inner service.
pub(crate) trait Finish<B: Body> {
    fn finish(self: Box<Self>, response: Response<B>) -> Finished<B>;

    /// Notes that there is no response, but an error.
    fn failed(self: Box<Self>) {}
}

/// The response of a layer.
pub(crate) enum Finished<B: Body> {
    Now(Response<ResponseBody<B>>),
    /// The layer has to read the inner service's body first.
    Later(Boxed<Response<ResponseBody<B>>>),
}

impl<B: Body> Finished<B> {
    pub(crate) fn later(response: impl Future<Output = Response<ResponseBody<B>>> + Send + 'static) -> Self {
        Self::Later(Box::pin(response))
    }

    pub(crate) fn unchanged(response: Response<B>) -> Self {
        Self::Now(response.map(ResponseBody::inner))
    }
}

/// Passes the response unchanged.
pub(crate) struct Unchanged;

impl<B: Body> Finish<B> for Unchanged {
    fn finish(self: Box<Self>, response: Response<B>) -> Finished<B> {
        Finished::unchanged(response)
    }
}

pin_project_lite::pin_project! {
    /// The future of every layer, for a response with the body `B` or the error `E` of the inner service. `F` is the inner
    /// service's future, if the layer keeps it without a box.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<B: Body, E, F = Pending<Result<Response<B>, E>>> {
        #[pin]
        state: State<B, E, F>,
    }
}

pin_project_lite::pin_project! {
    #[project = StateProjection]
    enum State<B: Body, E, F> {
        Waiting { #[pin] inner: Instrumented<F>, layer: Option<Box<dyn Finish<B> + Send>> },
        Finishing { finishing: Boxed<Response<ResponseBody<B>>> },
        Answering { answering: Boxed<Answered<B, E>> },
    }
}

impl<B: Body, E, F> ResponseFuture<B, E, F> {
    /// Waits for `inner`, whose response `layer` finishes.
    pub(crate) fn new(inner: F, layer: impl Finish<B> + Send + 'static) -> Self {
        Self::within(Span::none(), inner, layer)
    }

    /// Waits for `inner` within `span`.
    pub(crate) fn within(span: Span, inner: F, layer: impl Finish<B> + Send + 'static) -> Self {
        Self { state: State::Waiting { inner: inner.instrument(span), layer: Some(Box::new(layer)) } }
    }

    /// Drives a response that is being made, including the call of the inner service.
    pub(crate) fn boxed(response: impl Future<Output = Answered<B, E>> + Send + 'static) -> Self {
        Self { state: State::Answering { answering: Box::pin(response) } }
    }
}

impl<B, E, F> Future for ResponseFuture<B, E, F>
where
    B: Body,
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Answered<B, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        if let StateProjection::Waiting { inner, layer } = state.as_mut().project() {
            let response = ready!(inner.poll(cx));
            let finished = match (layer.take(), response) {
                (Some(layer), Ok(response)) => layer.finish(response),
                (Some(layer), Err(error)) => {
                    layer.failed();
                    return Poll::Ready(Err(error));
                }
                // Polled again after it was ready, which no caller may do.
                (None, _) => return Poll::Pending,
            };
            match finished {
                Finished::Now(response) => return Poll::Ready(Ok(response)),
                Finished::Later(finishing) => state.set(State::Finishing { finishing }),
            }
        }
        match state.project() {
            StateProjection::Finishing { finishing } => finishing.as_mut().poll(cx).map(Ok),
            StateProjection::Answering { answering } => answering.as_mut().poll(cx),
            StateProjection::Waiting { .. } => Poll::Pending,
        }
    }
}

/// Calls a service that was polled ready.
pub(crate) async fn forward<S, Q, B>(mut inner: S, request: Q) -> Answered<B, S::Error>
where
    S: Service<Q, Response = Response<B>>,
    B: Body,
{
    Ok(inner.call(request).await?.map(ResponseBody::inner))
}

/// Passes a request, and reports a rejection that is not enforced.
pub(crate) async fn forward_reporting<S, Q, B>(
    inner: S,
    request: Request<Q>,
    rejection: Rejection,
) -> Answered<B, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>>,
    B: Body,
{
    let operation = Operation::of(request.method());
    let mut response = forward(inner, request).await?;
    attach(&mut response, Evaluation::would_have_rejected(operation, &rejection));
    Ok(response)
}

impl<B: Body, E, F> fmt::Debug for ResponseFuture<B, E, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
