//! Rules over metadata fields.

pub(crate) mod algorithms;
pub(crate) mod allowlist;
pub(crate) mod application_type;
pub(crate) mod auth_method;
pub(crate) mod ciba;
pub(crate) mod client_keys;
pub(crate) mod client_name;
pub(crate) mod display_uris;
pub(crate) mod document;
pub(crate) mod fetched_uris;
pub(crate) mod front_channel_logout;
pub(crate) mod grants;
pub(crate) mod jwks;
pub(crate) mod members;
pub(crate) mod mutual_tls;
pub(crate) mod noncharacters;
pub(crate) mod operators;
pub(crate) mod public_clients;
pub(crate) mod public_link;
pub(crate) mod request_uris;
pub(crate) mod scope;
pub(crate) mod subject_type;

pub use allowlist::MetadataAllowlist;
pub use application_type::ApplicationType;
pub use auth_method::AuthMethod;
pub use client_name::ClientName;
pub use display_uris::Decorations;
pub(crate) use document::{DocumentMetadata, DocumentRedirects};
pub use document::{DocumentRules, RedirectSite};
pub use grants::{AbsentGrants, Grants};
pub use jwks::Jwks;
pub use members::Members;
pub use operators::{MemberOperators, MetadataOperators};
pub use scope::Scope;
