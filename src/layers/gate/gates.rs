//! [`Gates`]: gates whose settings follow a policy file.

use std::sync::Arc;

use super::endpoint::{self, Endpoint};
use super::settings::FollowedSettings;
use super::{GateLayer, SettingsInForce};
use crate::clients::registrar::Registrar;

/// Creates the gates of a server whose settings follow the section `[gate]` of a policy file, also when the file is
/// reloaded: see [`Preset::gates`](crate::Preset::gates) and
/// [`ReloadableLayer::gates`](crate::policy_file::ReloadableLayer::gates).
///
/// ```
/// use axum::{Router, routing::{get, post}};
/// use tower_dcr::clients::{MemoryLedger, Registrar};
///
/// # async fn handle() {}
/// let registrar = Registrar::new(MemoryLedger::default());
/// let preset = tower_dcr::mcp().with_registrar(registrar.clone()).reloadable();
/// let gates = preset.gates(registrar);
/// let app: Router = Router::new()
///     .route("/register", post(handle).layer(preset))
///     .route("/authorize", get(handle).layer(gates.authorization()))
///     .route("/token", post(handle).layer(gates.token()));
/// # let _ = app;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Gates {
    registrar: Registrar,
    followed: Arc<FollowedSettings>,
}

impl Gates {
    pub(crate) fn new(registrar: Registrar, followed: Arc<FollowedSettings>) -> Self {
        followed.follow();
        Self { registrar, followed }
    }

    fn at(&self, endpoint: &'static Endpoint) -> GateLayer {
        let settings = SettingsInForce { followed: Some(Arc::clone(&self.followed)), ..SettingsInForce::default() };
        GateLayer::with(self.registrar.clone(), endpoint, settings)
    }

    /// Creates the gate of the [authorization endpoint](GateLayer::authorization).
    pub fn authorization(&self) -> GateLayer {
        self.at(&endpoint::AUTHORIZATION)
    }

    /// Creates the gate of the [token endpoint](GateLayer::token).
    pub fn token(&self) -> GateLayer {
        self.at(&endpoint::TOKEN)
    }

    /// Creates the gate of the [pushed authorization request endpoint](GateLayer::pushed_authorization).
    pub fn pushed_authorization(&self) -> GateLayer {
        self.at(&endpoint::PUSHED_AUTHORIZATION)
    }

    /// Creates the gate of the [device authorization endpoint](GateLayer::device_authorization).
    pub fn device_authorization(&self) -> GateLayer {
        self.at(&endpoint::DEVICE_AUTHORIZATION)
    }

    /// Creates the gate of the [introspection endpoint](GateLayer::introspection).
    pub fn introspection(&self) -> GateLayer {
        self.at(&endpoint::INTROSPECTION)
    }

    /// Creates the gate of the [revocation endpoint](GateLayer::revocation).
    pub fn revocation(&self) -> GateLayer {
        self.at(&endpoint::REVOCATION)
    }
}
