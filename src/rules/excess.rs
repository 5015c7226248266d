//! Actions on a list with unsupported elements.

use serde::{Deserialize, Serialize};

/// The action on a registration with a list that contains unsupported elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(crate) enum Excess {
    /// Unsupported elements are removed, while something remains.
    #[default]
    Narrow,
    /// The registration is rejected.
    #[serde(rename = "reject", alias = "refuse")]
    Refuse,
}
