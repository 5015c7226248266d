//! The guard, and the proxy: what a parser reads of a registration is the document that was judged, and nothing else.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};
