//! Requests through the gate and the guard to parsers that others wrote: whatever one of them reads as the client, the
//! redirect URI, the grant or the document, the layer has read as well, or the request does not get there.
//!
//! The parsers are PHP, Rack, aiohttp, Starlette and Express; `tests/clients/install` installs the last three. Without them
//! the tests say that they are skipped; with `TOWER_DCR_ALL_SERVERS` set, as in `.ci/run`, they fail.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

mod documents;
mod gate;
#[path = "../clients/installed.rs"]
mod installed;
mod parser;
mod recorder;
mod requests;
#[path = "../suite/running.rs"]
mod running;
#[path = "../servers/there.rs"]
mod there;
