//! [`ReloadableLayer`] and [`PolicyHandle`]: replacing a policy while the server runs.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::Request;
use tower_layer::Layer;
use tower_service::Service;

use crate::clients::registrar::Registrar;
use crate::layers::body::RegistrationBody;
use crate::layers::gate::{GateEndpoint, GateLayer};
use crate::layers::server_metadata::ServerMetadataLayer;
use crate::preset::{Preset, PresetService};
use crate::replaceable::Replaceable;
use crate::rules::ConfigError;
use crate::sync::lock;
use crate::telemetry;

#[cfg(feature = "policy-file")]
mod watch;

/// A preset whose policy can be replaced.
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
/// let handle = layer.handle();
/// let app: Router = Router::new().route("/register", post(register).layer(layer));
///
/// // With the feature `policy-file`:
/// // tokio::spawn(handle.clone().watch("policy.toml", Duration::from_secs(2)));
/// let before = handle.preset().fingerprint();
/// handle.replace(&tower_dcr::mcp().report_only())?;
/// assert_ne!(handle.preset().fingerprint(), before);
/// # let _ = app;
/// # Ok::<_, tower_dcr::rules::ConfigError>(())
/// ```
///
/// With a registrar, its settings (lifetimes, quota and others) are reloaded, too, for every layer that has the same
/// registrar, and the section `[gate]` for the [gates](ReloadableLayer::gate) of this layer.
#[derive(Clone, Debug)]
#[must_use]
pub struct ReloadableLayer {
    handle: PolicyHandle,
}

/// Replaces the policy of a [`ReloadableLayer`]. Clones share one policy.
#[derive(Clone)]
pub struct PolicyHandle {
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
        ReloadableLayer { handle: PolicyHandle { shared: Arc::new(shared) } }
    }
}

impl ReloadableLayer {
    /// Returns the handle that replaces the policy.
    #[must_use]
    pub fn handle(&self) -> PolicyHandle {
        self.handle.clone()
    }

    /// Creates the gate of another endpoint, whose settings follow the policy in force: see [`Preset::gate`].
    pub fn gate(&self, endpoint: GateEndpoint, registrar: Registrar) -> GateLayer {
        // Without the lock, a policy that is put in force at the same time could be overwritten by the older one.
        let _one_at_a_time = lock(&self.handle.shared.replacing);
        self.handle.shared.preset.load().gate(endpoint, registrar)
    }

    /// Creates the layer that writes the metadata of the policy in force into the server's discovery document: see
    /// [`ServerMetadataLayer`].
    pub fn server_metadata_layer(&self) -> ServerMetadataLayer {
        let handle = self.handle();
        ServerMetadataLayer::new(move || handle.preset().server_metadata())
    }
}

impl PolicyHandle {
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

    /// Returns the policy in force. A later replacement does not change it.
    #[must_use]
    pub fn preset(&self) -> Arc<Preset> {
        self.shared.preset.load()
    }
}

impl<S> Layer<S> for ReloadableLayer {
    type Service = Reloadable<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Reloadable { inner, handle: self.handle.clone() }
    }
}

/// The service that [`ReloadableLayer`] makes.
#[derive(Clone, Debug)]
pub struct Reloadable<S> {
    inner: S,
    handle: PolicyHandle,
}

impl<S, B> Service<Request<B>> for Reloadable<S>
where
    S: Service<Request<RegistrationBody>> + Clone,
    PresetService<S>: Service<Request<B>, Error = S::Error>,
{
    type Response = <PresetService<S> as Service<Request<B>>>::Response;
    type Error = S::Error;
    type Future = <PresetService<S> as Service<Request<B>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // No layer of a preset has a readiness of its own.
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The clone has not been polled ready, so the ready service is called.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        self.handle.shared.preset.load().layer(ready).call(request)
    }
}

impl fmt::Debug for PolicyHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyHandle").field("fingerprint", &self.preset().fingerprint()).finish_non_exhaustive()
    }
}
