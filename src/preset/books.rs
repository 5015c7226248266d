//! The ledger of a preset, and what a policy says of it.

use crate::lifecycle::LifecycleLayer;
use crate::registrar::{GateSettings, LifecycleSettings, Registrar};

/// The lifecycle layer, with what a policy file says of its registrar.
#[derive(Clone, Debug)]
pub(super) struct Books {
    pub(super) lifecycle: LifecycleLayer,
    pub(super) settings: LifecycleSettings,
    pub(super) gate: GateSettings,
    /// Each registration is a client of its own, unless a policy file says otherwise.
    pub(super) without_repeats: bool,
    /// A policy file was read: what that does not say of the registrar is as it was built.
    from_file: bool,
}

impl Books {
    pub(super) fn none() -> Self {
        Self {
            lifecycle: LifecycleLayer::off(),
            settings: LifecycleSettings::default(),
            gate: GateSettings::default(),
            without_repeats: false,
            from_file: false,
        }
    }

    /// Other ones, with repeats as their registrar has them.
    pub(super) fn with_layer(self, lifecycle: LifecycleLayer) -> Self {
        let books = Self { lifecycle, without_repeats: false, ..self };
        // Now, and not when the first registration comes: gates go by it as well.
        books.tell();
        books
    }

    /// Tells the registrar what a policy file says of it.
    fn tell(&self) {
        if self.from_file
            && let Some(registrar) = self.lifecycle.registrar()
        {
            self.configure(&registrar);
        }
    }

    /// Takes over what a policy file says.
    pub(super) fn reconfigure(&mut self, settings: LifecycleSettings, gate: GateSettings) {
        (self.settings, self.gate, self.from_file) = (settings, gate, true);
    }

    pub(super) fn configure(&self, registrar: &Registrar) {
        registrar.reconfigure(&self.settings, &self.gate);
    }

    /// The layer, with its registrar told what the policy says of it.
    pub(super) fn layer(&self) -> LifecycleLayer {
        let layer = self.lifecycle.clone();
        self.tell();
        if !self.without_repeats || self.settings.says_repeats() {
            return layer;
        }
        // For this route; other routes may share the registrar.
        layer.map_registrar(|registrar| {
            let registrar = registrar.without_repeats();
            if self.from_file {
                self.configure(&registrar);
            }
            registrar
        })
    }
}
