//! The layers on other frameworks, and in front of servers that others wrote.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

mod document_servers;
mod frameworks;
mod inner_servers;
