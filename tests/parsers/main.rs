//! Requests through the gate and the guard to parsers that others wrote: whatever one of them reads as the client, the
//! redirect URI, the grant or the document, the layer has read as well, or the request does not get there.
//!
//! The parsers are PHP, Rack, aiohttp, Starlette and Express; `tests/clients/install` installs the last three. Without them
//! the tests fail, unless `TOWER_DCR_SKIP_MISSING` is set.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

use test_support::{installed, running, there};

mod documents;
mod gate;
mod parser;
mod recorder;
mod requests;
mod urls;
