//! The ledger of a preset, and a policy file's settings for it.

use crate::clients::registrar::{LifecycleSettings, Registrar};
use crate::layers::lifecycle::LifecycleLayer;

/// The lifecycle layer, with a policy file's settings for its registrar.
#[derive(Clone, Debug)]
pub(crate) struct PresetLifecycle {
    pub(crate) layer: LifecycleLayer,
    pub(crate) settings: LifecycleSettings,
    /// Registers each registration as a client of its own, unless a policy file sets it otherwise.
    pub(crate) without_deduplication: bool,
    /// True after a policy file was read. Settings that it leaves out stay as the registrar was built.
    from_file: bool,
}

impl PresetLifecycle {
    pub(crate) fn none() -> Self {
        Self {
            layer: LifecycleLayer::off(),
            settings: LifecycleSettings::default(),
            without_deduplication: false,
            from_file: false,
        }
    }

    /// Replaces the registrar.
    pub(crate) fn with_registrar(self, registrar: Registrar, without_deduplication: bool) -> Self {
        let lifecycle = Self { layer: LifecycleLayer::new(registrar), without_deduplication, ..self };
        // At once, not at the first registration: other layers use the registrar as well.
        lifecycle.apply();
        lifecycle
    }

    /// Applies a policy file's settings to the registrar.
    fn apply(&self) {
        if self.from_file
            && let Some(registrar) = self.layer.registrar()
        {
            self.configure(&registrar);
        }
    }

    /// Takes over the settings of a policy file.
    pub(crate) fn reconfigure(&mut self, settings: LifecycleSettings) {
        (self.settings, self.from_file) = (settings, true);
    }

    /// Returns the rules that hold registrations for approval.
    pub(crate) fn hold(&self) -> Vec<String> {
        match (&self.settings.hold, self.layer.registrar()) {
            (Some(named), _) => named.clone(),
            (None, Some(registrar)) => registrar.settings().hold.clone(),
            (None, None) => Vec::new(),
        }
    }

    pub(crate) fn configure(&self, registrar: &Registrar) {
        registrar.reconfigure(&self.settings);
    }

    /// Returns the layer, after applying the policy's settings to its registrar.
    pub(crate) fn configured_layer(&self) -> LifecycleLayer {
        let layer = self.layer.clone();
        self.apply();
        if !self.without_deduplication || self.settings.deduplication.is_some() {
            return layer;
        }
        // For this route; other routes may share the registrar.
        layer.map_registrar(|registrar| {
            let registrar = registrar.without_deduplication();
            if self.from_file {
                self.configure(&registrar);
            }
            registrar
        })
    }
}
