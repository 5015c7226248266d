//! The rule over redirect URIs, its patterns and its tables.

pub(crate) mod native_schemes;
pub(crate) mod pattern;
pub(crate) mod private_origin;
pub(crate) mod private_use_scheme;
pub(crate) mod rule;
pub(crate) mod vendor_callbacks;
