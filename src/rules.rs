//! Rules that accept, narrow or reject a registration, and the [`Policy`] that runs them.
//!
//! A [`Rule`] sees a [`Draft`]: the parsed [`Registration`](crate::Registration), the caller, and the operation, a
//! registration or an update. It is independent of HTTP, time and other rules, so documents from other sources, `POST
//! /register` and `PUT /register/{id}` share the same rules. [`rule()`] makes a rule of an id and a closure.
//!
//! A [`Policy`] is built from rules and sets of rules. [`Policy::evaluate`] evaluates a registration:
//!
//! ```
//! use tower_dcr::Registration;
//! use tower_dcr::rules::{Context, ErrorCode, MetadataAllowlist, Policy, RedirectUris, rule};
//!
//! let named = rule("client-name-required", |draft| {
//!     if draft.registration().string("client_name").is_some() {
//!         return Ok(());
//!     }
//!     Err(draft.reject(ErrorCode::InvalidClientMetadata, "is required").with_field("client_name"))
//! });
//! let policy = Policy::new((MetadataAllowlist::mcp(), RedirectUris::mcp(), named));
//!
//! let registration = Registration::parse(br#"{"redirect_uris":["http://localhost:3000/cb"]}"#)?;
//! let evaluation = policy.evaluate(registration, &Context::registration());
//! let rejection = evaluation.rejection.unwrap();
//! assert_eq!(rejection.description(), "client_name is required (client-name-required)");
//! # Ok::<_, tower_dcr::registration::ParseError>(())
//! ```

use std::num::NonZeroUsize;

pub(crate) mod action;
pub(crate) mod caller;
#[cfg(feature = "identity")]
mod checked;
pub(crate) mod condition;
pub(crate) mod config_error;
mod context;
mod draft;
pub(crate) mod evaluation;
pub(crate) mod hold;
pub(crate) mod identity;
#[cfg(feature = "jwt")]
pub(crate) mod jwt;
pub(crate) mod metadata;
pub(crate) mod policy;
pub(crate) mod redirect_host_limit;
pub(crate) mod redirect_uris;
pub(crate) mod rejection;
mod report_only;
mod rule;
mod server_metadata;
#[cfg(feature = "software-statement")]
pub(crate) mod software_statement;

pub use crate::suggestion::Suggestion;
pub use action::Action;
pub use caller::Caller;
#[cfg(feature = "identity")]
pub(crate) use checked::Checked;
pub use condition::Condition;
pub use config_error::ConfigError;
pub(crate) use config_error::NOT_A_QUOTA;
pub use context::Context;
pub use draft::Draft;
pub use evaluation::{Decision, Disposition, Evaluation, Finding, Operation};
pub(crate) use evaluation::{Facts, Statement};
#[cfg(feature = "identity")]
pub(crate) use identity::known::IDENTITIES_VERSION;
pub use identity::name::visible;
#[cfg(feature = "identity")]
pub use identity::rule::ClientIdentity;
pub use identity::status::{Claim, ClaimStatus, Identity};
#[cfg(feature = "identity")]
pub use identity::table::{Identities, ReservedIdentity};
#[cfg(feature = "jwt")]
pub use jwt::Issuer;
pub use metadata::*;
pub use policy::{IntoRules, Policy};
pub use redirect_host_limit::RedirectHostQuota;
pub(crate) use redirect_uris::native_schemes::NATIVE_SCHEMES;
pub use redirect_uris::pattern::RedirectPattern;
pub use redirect_uris::rule::RedirectUris;
pub use rejection::{ErrorCode, Rejection};
pub(crate) use report_only::ReportableRule;
pub use rule::{FnRule, Rule, RuleDocs, rule};
use rule::{documented, settings};
pub(crate) use server_metadata::ServerMetadata;
#[cfg(feature = "software-statement")]
pub use software_statement::SoftwareStatements;

/// Returns the documentation of the rules that decide about a document, in their order.
pub(crate) fn docs() -> impl Iterator<Item = &'static RuleDocs> {
    let [front_channel_logout, subject_type] = allowlist::DOCS_AFTER_REDIRECT_URIS;
    let rules = [
        &redirect_uris::rule::DOCS,
        &document::REDIRECTS_DOCS,
        front_channel_logout,
        subject_type,
        #[cfg(feature = "identity")]
        &identity::rule::DOCS,
        &redirect_host_limit::DOCS,
    ];
    std::iter::once(&document::DOCS).chain(allowlist::DOCS).chain(rules)
}

/// For literals.
const fn nonzero(number: usize) -> NonZeroUsize {
    match NonZeroUsize::new(number) {
        Some(number) => number,
        None => NonZeroUsize::MIN,
    }
}
