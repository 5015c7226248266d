//! Helpers that the tests of several packages share.
#![expect(missing_docs, missing_debug_implementations, reason = "for the tests of this workspace")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]
#![expect(
    clippy::exhaustive_structs,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "for the tests of this workspace"
)]

mod asking;
#[cfg(feature = "databases")]
pub mod databases;
#[cfg(feature = "documents")]
pub mod document_host;
pub mod folder;
pub mod installed;
pub mod programs;
pub mod rows;
pub mod running;
pub mod servers;
pub mod start_lines;
pub mod support;
pub mod there;

/// The root of the workspace.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
