//! All integration tests, as one binary that is linked once.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

use test_support::{folder, rows, support};

mod access;
mod answer;
mod audit;
mod buffered;
mod closed;
mod corpus;
mod digests;
mod draft;
mod explain;
mod flood;
mod floors;
mod gate;
mod gate_readers;
mod guard;
mod identity;
mod jsonl;
mod keys_in_code;
mod ledger_words;
mod limits;
mod lint;
mod listener;
mod management;
mod names;
mod operators;
mod patterns;
mod policy_file;
mod policy_reference;
mod presets;
mod private_origins;
mod properties;
mod protocol;
mod rate_limit;
mod reload;
mod rules_alone;
mod server_metadata;
mod setup_check;
mod shared_quotas;
mod signer;
mod statements;
mod switches;
mod telemetry;
mod tracing_sink;
mod traits;
mod trying;
