//! The service of a preset: the layers in their order.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::Preset;
use crate::layers::body::{BoxError, RegistrationBody, ResponseBody, ResponseFuture};
use crate::layers::layered::Layered;

impl<S> Layer<S> for Preset {
    type Service = Layered<Self, S>;

    fn layer(&self, inner: S) -> Self::Service {
        self.build();
        Layered { layer: self.clone(), inner }
    }
}

impl<S, B, R> Service<Request<B>> for Layered<Preset, S>
where
    S: Service<Request<RegistrationBody>, Response = Response<R>, Future: Send, Error: Send> + Clone + Send + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    R: Body<Data: Send> + Send + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // No layer of a preset has a readiness of its own.
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let ready = self.take_ready();
        self.layer.answer(ready, request)
    }
}

impl Preset {
    /// Answers one request by the layers around `inner`, which was polled ready.
    pub(crate) fn answer<S, B, R>(&self, inner: S, request: Request<B>) -> ResponseFuture<R, S::Error>
    where
        S: Service<Request<RegistrationBody>, Response = Response<R>, Future: Send, Error: Send> + Send + 'static,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
        R: Body<Data: Send> + Send + 'static,
    {
        let layers = self.layers();
        let recorded = layers.lifecycle.layer(layers.answer.layer(Once(Some(inner))));
        let authorized = layers.initial_access_token.layer(layers.policy.layer(recorded));
        let response = layers.audit.layer(layers.rate_limit.layer(authorized)).call(request);
        ResponseFuture::boxed(async move {
            Ok(response.await?.map(|body| body.flatten().flatten().flatten().flatten().flatten()))
        })
    }
}

/// A service that is called once. Layers leave a clone in place of the service that they call, which nothing calls here.
struct Once<S>(Option<S>);

impl<S> Clone for Once<S> {
    fn clone(&self) -> Self {
        Self(None)
    }
}

impl<S: Service<T>, T> Service<T> for Once<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Called<S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: T) -> Self::Future {
        Called { response: self.0.take().map(|mut service| service.call(request)) }
    }
}

pin_project_lite::pin_project! {
    struct Called<F> {
        #[pin]
        response: Option<F>,
    }
}

impl<F: Future> Future for Called<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().response.as_pin_mut().map_or(Poll::Pending, |response| response.poll(cx))
    }
}
