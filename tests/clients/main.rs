//! Released clients and published servers, with the layers. `tests/clients/run` installs them and runs
//! this; without the installation the tests fail, unless `TOWER_DCR_SKIP_MISSING` is set.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

use test_support::{document_host, folder, installed, programs, rows, running};

mod bench;
mod conformance;
mod documents;
mod managed;
mod probes;
mod readme;
mod rust_sdk;
mod servers;
mod sign_in;
mod step_up;
