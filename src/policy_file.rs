//! Policy files in TOML and JSON, their checks, and replacing a policy while the server runs.
//!
//! With the feature `policy-file`, `Preset::from_file` reads a policy file. [`ReloadableLayer`] replaces the policy of a running
//! server, [`Preset::lint`](crate::Preset::lint) returns probable mistakes, and [`KnownClient`] has the registrations and
//! documents of released clients, to test a policy with. The [chapter on policy files](crate::docs::policy_files) shows them together.

pub(crate) mod document;
pub(crate) mod key;
mod known_clients;
pub(crate) mod lint;
#[cfg(feature = "policy-file")]
pub(crate) mod load;
pub(crate) mod reload;

pub use known_clients::KnownClient;
pub use lint::Lint;
#[cfg(feature = "policy-file")]
pub use load::PolicyFileError;
pub use reload::ReloadableLayer;
