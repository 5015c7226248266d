//! All integration tests, as one binary that is linked once.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

mod access;
mod answer;
mod audit;
mod buffered;
mod cli;
mod connections;
mod corpus;
mod digests;
mod examples;
mod explain;
mod floors;
mod frameworks;
mod guard;
mod identity;
mod inner_servers;
mod jsonl;
mod listener;
mod operators;
mod patterns;
mod policy_file;
mod presets;
mod properties;
mod rate_limit;
mod reload;
mod running;
mod shared_quotas;
mod signer;
mod statements;
mod submission;
mod support;
mod switches;
mod telemetry;
mod tracing_sink;
mod traits;
mod urls;
