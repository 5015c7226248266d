//! [`Layered`]: the service of a layer.

use tower_layer::Layer;

/// The service that the layer `L` makes of `S`.
///
/// ```
/// use tower_dcr::layers::{Layered, RateLimitLayer};
/// use tower_layer::Layer;
///
/// fn limited<S>(inner: S) -> Layered<RateLimitLayer, S> {
///     RateLimitLayer::new().layer(inner)
/// }
/// # let _ = limited(());
/// ```
#[derive(Clone, Debug)]
pub struct Layered<L, S> {
    pub(super) layer: L,
    pub(super) inner: S,
}

impl<L: Layer<S, Service = Self> + Clone, S> Layered<L, S> {
    pub(super) fn new(layer: &L, inner: S) -> Self {
        Self { layer: layer.clone(), inner }
    }
}

impl<L, S: Clone> Layered<L, S> {
    /// Takes the service out that was polled ready. The clone in its place was not.
    pub(super) fn take_ready(&mut self) -> S {
        let clone = self.inner.clone();
        std::mem::replace(&mut self.inner, clone)
    }
}
