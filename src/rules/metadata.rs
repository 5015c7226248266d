//! Rules over metadata fields.

pub(crate) mod allowlist;
pub(crate) mod application_type;
pub(crate) mod auth_method;
pub(crate) mod client_name;
pub(crate) mod display_uris;
pub(crate) mod fetched_uris;
pub(crate) mod grants;
pub(crate) mod jwks;
pub(crate) mod members;
pub(crate) mod noncharacters;
pub(crate) mod operators;
pub(crate) mod public_link;
pub(crate) mod scope;

pub use allowlist::MetadataAllowlist;
pub use application_type::ApplicationType;
pub use auth_method::AuthMethod;
pub use client_name::ClientName;
pub use display_uris::Decorations;
pub use grants::{AbsentGrants, Grants};
pub use jwks::Jwks;
pub use members::Members;
pub use operators::{MemberOperators, MetadataOperators};
pub use scope::Scope;
