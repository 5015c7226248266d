//! The chapters and guides of the manual.
//!
//! They are files of the folder `docs`; this module exists in the documentation only.

#[doc = include_str!("../docs/audit.md")]
pub mod audit {}

#[doc = include_str!("../docs/client-quota.md")]
pub mod client_quota {}

#[doc = include_str!("../docs/clients.md")]
pub mod clients {}

#[doc = include_str!("../docs/compatibility.md")]
pub mod compatibility {}

#[doc = include_str!("../docs/enforcement.md")]
pub mod enforcement {}

#[doc = include_str!("../docs/failure-modes.md")]
pub mod failure_modes {}

#[doc = include_str!("../docs/impersonation.md")]
pub mod impersonation {}

#[doc = include_str!("../docs/many-nodes.md")]
pub mod many_nodes {}

#[doc = include_str!("../docs/metadata-documents.md")]
pub mod metadata_documents {}

#[doc = include_str!("../docs/policy-files.md")]
pub mod policy_files {}

#[doc = include_str!("../docs/rate-limits.md")]
pub mod rate_limits {}

#[doc = include_str!("../docs/registration-access.md")]
pub mod registration_access {}

#[doc = include_str!("../docs/specifications.md")]
pub mod specifications {}

#[doc = include_str!("../docs/trying-a-policy.md")]
pub mod trying_a_policy {}

/// Guides for frameworks, for the Rust MCP SDK, and for proxies in front of a server.
pub mod guides {
    #[doc = include_str!("../docs/guides/axum.md")]
    pub mod axum {}

    #[doc = include_str!("../docs/guides/hyper.md")]
    pub mod hyper {}

    #[doc = include_str!("../docs/guides/nginx.md")]
    pub mod nginx {}

    #[doc = include_str!("../docs/guides/proxy.md")]
    pub mod proxy {}

    #[doc = include_str!("../docs/guides/rmcp.md")]
    pub mod rmcp {}

    #[doc = include_str!("../docs/guides/salvo.md")]
    pub mod salvo {}
}
