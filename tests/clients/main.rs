//! Released clients and published servers, in the company of the guard. `tests/clients/run` installs what is needed and runs
//! this; without the installation the tests say that they are skipped.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

mod bench;
#[path = "../suite/folder.rs"]
mod folder;
mod installed;
mod managed;
mod readme;
#[path = "../suite/rows.rs"]
mod rows;
#[path = "../suite/running.rs"]
mod running;
mod rust_sdk;
mod servers;
mod sign_in;
#[path = "../servers/there.rs"]
mod there;
