//! A policy that is evaluated beside the one in force.

#[cfg(feature = "policy-file")]
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Preset;
use super::settings::Settings;
use crate::layers::policy;

/// A policy that is evaluated beside this one. It is reported in audit events and metrics, and changes nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Shadow"))]
#[serde(deny_unknown_fields)]
pub(crate) struct ShadowSettings {
    /// The path of that policy's file, relative to this one. It can't have a shadow itself.
    pub(crate) policy: PathBuf,
}

#[derive(Clone, Debug)]
pub(crate) struct Shadow {
    preset: Preset,
    /// The path as a policy file names it, and the resolved path.
    file: Option<(PathBuf, PathBuf)>,
}

impl Shadow {
    #[cfg(feature = "policy-file")]
    pub(crate) fn of_file(preset: Preset, named: PathBuf, path: PathBuf) -> Self {
        Self { preset, file: Some((named, path)) }
    }

    pub(crate) fn settings(&self) -> Option<ShadowSettings> {
        self.file.as_ref().map(|(named, _)| ShadowSettings { policy: named.clone() })
    }
}

impl Settings {
    /// Returns the settings as they would be with the shadow in force; `None` if there is no shadow. A shadow from a
    /// file gets the rules that are in code, too.
    fn of_shadow(&self) -> Option<Self> {
        let shadow = self.shadow.as_ref()?;
        let given: &Self = &shadow.preset.settings;
        let mut replaced = Self { shadow: None, ..self.clone() };
        let is_replaced =
            shadow.file.is_some() && replaced.adopt(shadow.preset.document(), given.audit.requester().key()).is_ok();
        Some(if is_replaced { replaced } else { given.clone() })
    }

    pub(crate) fn shadow(&self) -> Option<policy::Shadow> {
        let settings = self.of_shadow()?;
        let fingerprint = settings.fingerprint();
        Some(policy::Shadow {
            policy: settings.policy.policy(fingerprint, &settings.lifecycle.hold()),
            limits: settings.limits,
        })
    }
}

impl Preset {
    /// Evaluates `shadow` on every registration as well, and only reports its decisions, while this policy is enforced.
    /// The decisions are in audit events ([`shadow`](crate::audit::Event::shadow)), in [metrics](crate::audit::describe_metrics)
    /// (`tower_dcr_shadow_registrations_total`), and in the span. In policy files: `[shadow]` with `policy =
    /// "next.toml"`, a path relative to the file; such a shadow has the same rules in code as this preset.
    ///
    /// Both evaluate the same document as it was sent. The shadow charges no budget, uses up no statement or token,
    /// records nothing and changes neither request nor answer. Its rules and its limits on bodies are evaluated; its
    /// rate limits, tokens, ledger and answers are not, and its own `report_only` and shadow have no effect. Rules of
    /// your own can ask whether they [run for a shadow](crate::rules::Draft::is_shadow).
    ///
    /// A shadow costs a copy of the document and a second run of the rules, as `cargo bench -p benches --bench stack` shows.
    ///
    /// ```
    /// use tower_dcr::audit::Event;
    ///
    /// let preset = tower_dcr::mcp().with_shadow(tower_dcr::strict()).with_sink(|event: &Event| {
    ///     println!("would be: {:?}", event.shadow.as_ref().map(|shadow| shadow.outcome));
    /// });
    /// assert_eq!(preset.shadow().unwrap().fingerprint(), tower_dcr::strict().fingerprint());
    /// assert_eq!(preset.fingerprint(), tower_dcr::mcp().fingerprint());
    /// ```
    pub fn with_shadow(self, shadow: Self) -> Self {
        let preset = shadow.change(|settings| settings.shadow = None);
        self.change(|settings| settings.shadow = Some(Arc::new(Shadow { preset, file: None })))
    }

    /// Returns the policy that is evaluated beside this one, or `None` if there is none.
    #[must_use]
    pub fn shadow(&self) -> Option<Self> {
        Some(Self::of(self.settings.of_shadow()?))
    }

    /// Returns the fingerprint of the shadow policy; `None` if there is none.
    pub(crate) fn shadow_fingerprint(&self) -> Option<String> {
        self.shadow().map(|shadow| shadow.fingerprint())
    }

    /// Returns the shadow policy as read from its file, without rules in code, and the path; `None` if it has no file.
    #[cfg(feature = "policy-file")]
    pub(crate) fn shadow_of_file(&self) -> Option<(&Self, &Path)> {
        let shadow = self.settings.shadow.as_ref()?;
        Some((&shadow.preset, &shadow.file.as_ref()?.1))
    }

    /// Returns the path of the shadow policy's file; `None` if it has none.
    #[cfg(feature = "policy-file")]
    pub(crate) fn shadow_file(&self) -> Option<PathBuf> {
        self.settings.shadow.as_ref()?.file.as_ref().map(|(_, path)| path.clone())
    }
}
