//! The layers in front of a registration endpoint and of the endpoints that registered clients use.
//!
//! A [`Preset`](crate::Preset) has the layers of a registration endpoint in the right order. [`GateLayer`] belongs on the other
//! endpoints, and [`ServerMetadataLayer`] on the discovery document. Every layer makes a [`Layered`] service.

pub(crate) mod audit;
pub(crate) mod body;
pub(crate) mod docs;
pub(crate) mod gate;
pub(crate) mod initial_access_token;
pub(crate) mod layered;
pub(crate) mod lifecycle;
pub(crate) mod policy;
pub(crate) mod rate_limit;
pub(crate) mod response;
pub(crate) mod server_metadata;
pub(crate) mod setup_check;
mod web_url;

pub use audit::AuditLayer;
pub use body::{RegistrationBody, ResponseBody, ResponseFuture};
pub use gate::{GateEndpoint, GateLayer, GateRules, GateSettings, Grant};
pub use initial_access_token::InitialAccessTokenLayer;
#[cfg(feature = "jwt")]
pub use initial_access_token::tokens::JwtTokens;
pub use initial_access_token::tokens::{InitialAccess, InitialAccessTokens, StaticTokens, TokenError};
pub use layered::Layered;
pub use lifecycle::LifecycleLayer;
pub use policy::PolicyLayer;
pub use rate_limit::RateLimitLayer;
pub use response::ResponseLayer;
pub use server_metadata::ServerMetadataLayer;
pub use setup_check::Misconfiguration;
