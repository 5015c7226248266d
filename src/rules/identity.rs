//! The rule that prevents client impersonation, and its table of reserved identities.

#[cfg(feature = "identity")]
pub(crate) mod known;
pub(crate) mod name;
#[cfg(feature = "identity")]
pub(crate) mod rule;
pub(crate) mod status;
#[cfg(feature = "identity")]
pub(crate) mod table;
