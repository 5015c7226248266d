//! The rule that prevents client impersonation, and its table of reserved identities.

pub(crate) mod known;
pub(crate) mod name;
pub(crate) mod rule;
pub(crate) mod status;
pub(crate) mod table;
