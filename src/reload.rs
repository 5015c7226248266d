//! [`ReloadableLayer`] and [`PolicyHandle`]: another policy without another server.
//!
//! A preset can be replaced while requests are on their way. Each request is judged by one policy from its beginning to its
//! end; what follows is judged by the next. Nothing waits and nothing is dropped. What is known stays: how much of their
//! budget callers have used, the ledger, which statements were used. So do the things that only code can say: the sink,
//! where the address of a connection is found, the ledger, token stores and rules of your own.
//!
//! A file that can't be meant changes nothing. It is logged as an error, and counted
//! (`tower_dcr_policy_reloads_total{result="rejected"}`, feature `metrics`).
//!
//! ```
//! use axum::{Json, Router, routing::post};
//! # use serde_json::Value;
//! # async fn register(Json(client): Json<Value>) -> Json<Value> { Json(client) }
//!
//! let guard = tower_dcr::mcp().reloadable();
//! let handle = guard.handle();
//! let app: Router = Router::new().route("/register", post(register).layer(guard));
//!
//! // With the feature `policy-file`:
//! // tokio::spawn(handle.clone().watch("policy.toml", Duration::from_secs(2)));
//! let before = handle.fingerprint();
//! handle.replace(&tower_dcr::mcp().report_only())?;
//! assert_ne!(handle.fingerprint(), before);
//! # let _ = app;
//! # Ok::<_, tower_dcr::policy::ConfigError>(())
//! ```
//!
//! With a registrar, its lifetimes, quota and the like, and what the gate does with unknown clients, are reloaded, too: for
//! every layer that has the same registrar.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use http::Request;
use tower_layer::Layer;
use tower_service::Service;

use crate::body::RegistrationBody;
use crate::policy::{ConfigError, ServerMetadata};
use crate::preset::Preset;
use crate::server_metadata::ServerMetadataLayer;
use crate::sync::lock;
use crate::telemetry;

#[cfg(feature = "policy-file")]
mod watch;

#[cfg(feature = "policy-file")]
pub use watch::Watching;

/// A preset that can be replaced. See the [module docs](self).
///
/// ```
/// let guard = tower_dcr::mcp().reloadable();
/// let handle = guard.handle();
/// # let _ = handle;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ReloadableLayer {
    handle: PolicyHandle,
}

/// Replaces the policy of a [`ReloadableLayer`]. Clones are one handle.
///
/// ```
/// let handle = tower_dcr::mcp().reloadable().handle();
/// handle.replace(&tower_dcr::strict())?;
/// assert_eq!(handle.fingerprint(), tower_dcr::strict().fingerprint());
/// # Ok::<_, tower_dcr::policy::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct PolicyHandle {
    shared: Arc<Shared>,
}

struct Shared {
    preset: ArcSwap<Preset>,
    /// One replacement after the other.
    replacing: Mutex<()>,
}

impl Preset {
    /// Can be replaced while the server runs: see [`reload`](crate::reload).
    pub fn reloadable(self) -> ReloadableLayer {
        self.settle();
        telemetry::policy_in_force(None, &self.fingerprint());
        let shared = Shared { preset: ArcSwap::from_pointee(self), replacing: Mutex::default() };
        ReloadableLayer { handle: PolicyHandle { shared: Arc::new(shared) } }
    }
}

impl ReloadableLayer {
    /// What replaces the policy.
    #[must_use]
    pub fn handle(&self) -> PolicyHandle {
        self.handle.clone()
    }

    /// Has the server's own document say what the policy in force allows: see [`ServerMetadataLayer`].
    pub fn server_metadata_layer(&self) -> ServerMetadataLayer {
        let handle = self.handle();
        ServerMetadataLayer::new(move || handle.server_metadata())
    }
}

impl PolicyHandle {
    /// Puts the policy of `preset` in force: everything that a policy file can say. What only code can say stays as it is.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it needs a key that there is none of. The policy in force stays.
    pub fn replace(&self, preset: &Preset) -> Result<(), ConfigError> {
        let _one_at_a_time = lock(&self.shared.replacing);
        let next = self.shared.preset.load().with_policy_of(preset)?;
        // The registrar is told before the first request comes.
        next.settle();
        let fingerprint = next.fingerprint();
        telemetry::policy_in_force(Some(&self.fingerprint()), &fingerprint);
        self.shared.preset.store(Arc::new(next));
        tracing::info!(target: "tower_dcr::reload", fingerprint, "another registration policy is in force");
        Ok(())
    }

    /// The policy in force: see [`Preset::fingerprint`].
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.shared.preset.load().fingerprint()
    }

    /// What the policy in force allows: see [`Preset::server_metadata`].
    #[must_use]
    pub fn server_metadata(&self) -> ServerMetadata {
        self.shared.preset.load().server_metadata()
    }
}

impl<S> Layer<S> for ReloadableLayer {
    type Service = Reloadable<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Reloadable { inner, handle: self.handle.clone() }
    }
}

/// The service that [`ReloadableLayer`] makes.
///
/// ```
/// use tower_dcr::reload::Reloadable;
/// use tower_layer::Layer;
///
/// fn guarded<S>(inner: S) -> Reloadable<S> {
///     tower_dcr::mcp().reloadable().layer(inner)
/// }
/// # let _ = guarded(());
/// ```
#[derive(Clone, Debug)]
pub struct Reloadable<S> {
    inner: S,
    handle: PolicyHandle,
}

/// What a preset makes of a service.
type Stack<S> = <Preset as Layer<S>>::Service;

impl<S, B> Service<Request<B>> for Reloadable<S>
where
    S: Service<Request<RegistrationBody>> + Clone,
    Stack<S>: Service<Request<B>, Error = S::Error>,
{
    type Response = <Stack<S> as Service<Request<B>>>::Response;
    type Error = S::Error;
    type Future = <Stack<S> as Service<Request<B>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // None of a preset's layers has a readiness of its own.
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The clone has not been polled ready; the service that has is the one to call.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        self.handle.shared.preset.load().layer(ready).call(request)
    }
}

impl fmt::Debug for PolicyHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyHandle").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}
