//! stub

pub mod answer;
pub mod audit;
pub mod body;
pub mod client_address;
pub mod clock;
pub mod event;
pub mod guard;
pub mod policy;
pub mod preset;
pub mod quota;
pub mod rate_limit;
pub mod redirect_uri;
pub mod registration;
pub mod rejection;
mod text;

pub use answer::{AnswerLayer, SecretInAnswer};
pub use audit::AuditLayer;
pub use body::RegistrationBody;
pub use guard::{GuardLayer, MetadataAllowlistLayer, RedirectUriGuardLayer};
pub use preset::Preset;
pub use rate_limit::RateLimitLayer;
pub use registration::Registration;
pub use rejection::Rejection;

use policy::{AuthMethod, Grants};

/// Everything that an MCP server's `/register` needs, as one layer. MCP clients are public clients that use the
/// authorization code flow; what they send beyond that is taken out, what is dangerous is refused.
pub fn mcp() -> Preset {
    Preset::mcp()
}

/// Everything for a registration endpoint whose clients are known: what is not wanted is refused.
pub fn strict() -> Preset {
    Preset::strict()
}

/// Everything for another OAuth or OpenID server, with the grant types and authentication methods that it has.
pub fn oauth(grants: Grants, auth_method: AuthMethod) -> Preset {
    Preset::oauth(grants, auth_method)
}
