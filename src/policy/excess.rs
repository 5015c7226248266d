//! What happens to a list that asks for more than there is.

use serde::{Deserialize, Serialize};

/// What happens to a registration with a list in which something is not offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(super) enum Excess {
    /// What is not offered is taken out, while something remains.
    #[default]
    Narrow,
    /// The registration is refused.
    #[serde(rename = "reject", alias = "refuse")]
    Refuse,
}
