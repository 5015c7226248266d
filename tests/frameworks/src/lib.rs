//! The code in the README and in the guides, as tests.

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/guides/axum.md")]
#[doc = include_str!("../../../docs/guides/hyper.md")]
#[doc = include_str!("../../../docs/guides/nginx.md")]
#[doc = include_str!("../../../docs/guides/rmcp.md")]
#[doc = include_str!("../../../docs/guides/salvo.md")]
#[doc = include_str!("../../../docs/audit.md")]
#[doc = include_str!("../../../docs/clients.md")]
#[doc = include_str!("../../../docs/impersonation.md")]
#[doc = include_str!("../../../docs/many-nodes.md")]
#[doc = include_str!("../../../docs/metadata-documents.md")]
#[doc = include_str!("../../../docs/policy-files.md")]
#[doc = include_str!("../../../docs/registration-access.md")]
#[doc = include_str!("../../../docs/trying-a-policy.md")]
struct Guides;
