//! Whatever a request holds: if a reader of forms, of JSON or of tokens finds a client in what goes on, the gate has found the
//! same one; the bytes stay as they are, under the media type that they were read as.
#![no_main]

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::alphabet::URL_SAFE;
use http::{Request, Response, header};
use libfuzzer_sys::fuzz_target;
use tower_dcr::GateLayer;
use tower_dcr::gate::{ClientOf, Grant};
use tower_dcr::ledger::MemoryLedger;
use tower_dcr::registrar::Registrar;

mod readers;

fuzz_target!(|data: &[u8]| {});
