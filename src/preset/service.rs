//! [`PresetService`]: the service of a preset.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tower_layer::Layer;
use tower_service::Service;

use super::settings::Layers;
use crate::layers::audit::AuditLayer;
use crate::layers::body::{RegistrationBody, ResponseBody, ResponseFuture};
use crate::layers::initial_access_token::InitialAccessTokenLayer;
use crate::layers::layered::Layered;
use crate::layers::lifecycle::LifecycleLayer;
use crate::layers::policy::PolicyService;
use crate::layers::rate_limit::RateLimitLayer;
use crate::layers::response::ResponseLayer;

/// The service that a [`Preset`](crate::Preset) creates from `S`.
#[derive(Clone)]
pub struct PresetService<S> {
    stack: Stack<S>,
}

/// The layers in their order, the outermost first.
type Stack<S> = Layered<AuditLayer, Layered<RateLimitLayer, Layered<InitialAccessTokenLayer, Judged<S>>>>;
type Judged<S> = PolicyService<Layered<LifecycleLayer, Layered<ResponseLayer, S>>>;
type StackBody<B> = Twice<Twice<Twice<B>>>;
type Twice<B> = ResponseBody<ResponseBody<B>>;

pin_project_lite::pin_project! {
    /// The body of a response of a [`PresetService`]: that of the inner service, or the bytes of a layer's own
    /// response.
    pub struct PresetBody<B> {
        #[pin]
        body: StackBody<B>,
    }
}

impl<S> PresetService<S> {
    pub(super) fn new(layers: &Layers, inner: S) -> Self {
        let recorded = layers.lifecycle.layer(layers.answer.layer(inner));
        let authorized = layers.initial_access_token.layer(layers.guard.layer(recorded));
        Self { stack: layers.audit.layer(layers.rate_limit.layer(authorized)) }
    }
}

impl<S, B, R> Service<Request<B>> for PresetService<S>
where
    S: Service<Request<RegistrationBody>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    R: Body + Send + 'static,
    R::Data: Send,
{
    type Response = Response<PresetBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request<B>>::poll_ready(&mut self.stack, cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let response = self.stack.call(request);
        ResponseFuture::new(async move { Ok(response.await?.map(|body| PresetBody { body })) })
    }
}

impl<B: Body> Body for PresetBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<S> fmt::Debug for PresetService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresetService").finish_non_exhaustive()
    }
}

impl<B> fmt::Debug for PresetBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresetBody").finish_non_exhaustive()
    }
}
