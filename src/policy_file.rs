//! Policy files in TOML and JSON, their checks, and replacing a policy while the server runs.

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
