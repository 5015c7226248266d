//! [`Layered`]: the service of a layer.

use std::fmt;

use tower_layer::Layer;

use crate::layers::{
    AuditLayer, GateLayer, InitialAccessTokenLayer, LifecycleLayer, PolicyLayer, RateLimitLayer, ResponseLayer,
    ServerMetadataLayer,
};

/// The service that the layer `L` makes of `S`: `Layered<Preset, Handler>` behind a preset.
#[derive(Clone)]
pub struct Layered<L, S> {
    pub(crate) layer: L,
    pub(crate) inner: S,
}

impl<L, S: Clone> Layered<L, S> {
    /// Takes the service out that was polled ready. The clone in its place was not.
    pub(crate) fn take_ready(&mut self) -> S {
        let clone = self.inner.clone();
        std::mem::replace(&mut self.inner, clone)
    }
}

macro_rules! layers {
    ($($layer:ident),+) => {$(
        impl<S> Layer<S> for $layer {
            type Service = Layered<Self, S>;

            fn layer(&self, inner: S) -> Self::Service {
                Layered { layer: self.clone(), inner }
            }
        }
    )+};
}

layers!(AuditLayer, GateLayer, InitialAccessTokenLayer, LifecycleLayer, PolicyLayer);
layers!(RateLimitLayer, ResponseLayer, ServerMetadataLayer);

/// Omits the layer, which may hold keys.
impl<L, S: fmt::Debug> fmt::Debug for Layered<L, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layered").field("inner", &self.inner).finish_non_exhaustive()
    }
}
