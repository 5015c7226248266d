//! [`ReloadableLayer`]: replacing a policy while the server runs.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::clients::registrar::Registrar;
use crate::layers::body::{BoxError, RegistrationBody, ResponseBody, ResponseFuture};
use crate::layers::gate::{GateEndpoint, GateLayer};
use crate::layers::layered::Layered;
use crate::layers::server_metadata::ServerMetadataLayer;
use crate::preset::Preset;
use crate::replaceable::Replaceable;
use crate::rules::ConfigError;
use crate::sync::lock;
use crate::telemetry;

#[cfg(feature = "policy-file")]
mod watch;

/// A preset whose policy can be replaced. Clones share one policy.
///
/// A policy can be replaced while requests are in progress. Each request is evaluated by one policy from beginning to
/// end; later requests by the next one. No request waits and none is dropped. State is kept: budgets that are used up,
/// the ledger, statements that were used. Set in code, and kept: sinks, the ledger,
/// [`with_peer_address`](Preset::with_peer_address), token stores, shared quotas, and rules of your own. Everything else
/// belongs in the file: what code changed of it ([`with_trusted_proxies`](Preset::with_trusted_proxies),
/// [`map_rate_limit`](Preset::map_rate_limit), …) is lost at the first reload.
///
/// A [shadow](Preset::with_shadow) is read, checked and replaced with the policy that names it, and its file is
/// watched, too.
///
/// Each replacement is logged (target `tower_dcr::reload`, level `INFO`) with the `fingerprint` of the policy in force
/// and of its `shadow`, and says which of the two has changed.
///
/// An invalid policy file changes nothing. It is logged as an error, and counted
/// (`tower_dcr_policy_reloads_total{result="rejected"}`).
///
/// ```
/// use axum::{Json, Router, routing::post};
/// # use serde_json::Value;
/// # async fn register(Json(mut client): Json<Value>) -> Json<Value> { client["client_id"] = "client-1".into(); Json(client) }
///
/// let layer = tower_dcr::mcp().reloadable();
/// let app: Router = Router::new().route("/register", post(register).layer(layer.clone()));
///
/// // With the feature `policy-file`:
/// // tokio::spawn(layer.clone().watch("policy.toml", Duration::from_secs(2)));
/// layer.replace(&tower_dcr::strict())?;
/// assert_eq!(layer.preset().fingerprint(), tower_dcr::strict().fingerprint());
/// # let _ = app;
/// # Ok::<_, tower_dcr::rules::ConfigError>(())
/// ```
///
/// With a registrar, its settings (lifetimes, quota and others) are reloaded, too, for every layer that has the same
/// registrar, and the section `[gate]` for the [gates](ReloadableLayer::gate) of this layer.
#[derive(Clone)]
#[must_use]
pub struct ReloadableLayer {
    shared: Arc<Shared>,
}

struct Shared {
    preset: Replaceable<Preset>,
    /// The lock for one replacement at a time.
    replacing: Mutex<()>,
}

impl Preset {
    /// Creates a layer whose policy can be replaced while the server runs: see [`ReloadableLayer`]. A replacement keeps
    /// the settings that only code has: sinks, the ledger, the source of peer addresses, rules of your own. It drops all
    /// other changes in code, such as [`with_trusted_proxies`](Self::with_trusted_proxies).
    pub fn reloadable(self) -> ReloadableLayer {
        self.build();
        telemetry::policy_in_force(None, &self.fingerprint());
        let shared = Shared { preset: Replaceable::new(self), replacing: Mutex::default() };
        ReloadableLayer { shared: Arc::new(shared) }
    }
}

impl ReloadableLayer {
    /// Returns the preset whose policy is in force.
    pub fn preset(&self) -> Preset {
        Preset::clone(&self.shared.preset.load())
    }

    /// Creates the gate of another endpoint, whose settings follow the policy in force: see [`Preset::gate`].
    pub fn gate(&self, endpoint: GateEndpoint, registrar: Registrar) -> GateLayer {
        // Without the lock, a policy that is put in force at the same time could be overwritten by the older one.
        let _one_at_a_time = lock(&self.shared.replacing);
        self.shared.preset.load().gate(endpoint, registrar)
    }

    /// Creates the layer that narrows the server's discovery document to the policy in force: see
    /// [`ServerMetadataLayer`].
    pub fn server_metadata_layer(&self) -> ServerMetadataLayer {
        let layer = self.clone();
        ServerMetadataLayer::new(move |document| layer.shared.preset.load().amend_server_metadata(document))
    }

    /// Puts the policy of `preset` in force: all settings that a policy file can have. Settings that only code has
    /// stay.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError`] if the policy needs a key that is missing. The policy in force stays.
    pub fn replace(&self, preset: &Preset) -> Result<(), ConfigError> {
        let _one_at_a_time = lock(&self.shared.replacing);
        let next = self.shared.preset.load().with_policy_of(preset)?;
        // The registrar is configured before the first request.
        next.build();
        let (fingerprint, shadow) = (next.fingerprint(), next.shadow_fingerprint());
        let before = self.shared.preset.replace(next);
        telemetry::policy_in_force(Some(&before.fingerprint()), &fingerprint);
        // The fingerprint of a policy does not depend on its shadow.
        let change = match (before.fingerprint() == fingerprint, before.shadow_fingerprint() == shadow, &shadow) {
            (false, ..) => "another registration policy is in force",
            (true, false, Some(_)) => "another shadow policy is tried beside the registration policy",
            (true, false, None) => "no shadow policy is tried any more beside the registration policy",
            (true, true, _) => "the registration policy was read again and is the same",
        };
        tracing::info!(target: "tower_dcr::reload", fingerprint, shadow, "{change}");
        Ok(())
    }
}

impl<S> Layer<S> for ReloadableLayer {
    type Service = Layered<Self, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Layered { layer: self.clone(), inner }
    }
}

impl<S, B, R> Service<Request<B>> for Layered<ReloadableLayer, S>
where
    S: Service<Request<RegistrationBody>, Response = Response<R>, Future: Send, Error: Send> + Clone + Send + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    R: Body<Data: Send> + Send + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let ready = self.take_ready();
        self.layer.shared.preset.load().answer(ready, request)
    }
}

impl fmt::Debug for ReloadableLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fingerprint = self.shared.preset.load().fingerprint();
        f.debug_struct("ReloadableLayer").field("fingerprint", &fingerprint).finish_non_exhaustive()
    }
}
