//! Fetches client metadata documents for [`tower_dcr`]: over HTTPS, from public addresses only, within limits.
//!
//! A client whose `client_id` is a URL makes the server send a request to a host that the client chose. [`HttpsFetcher`] is the
//! [`Fetch`](tower_dcr::documents::Fetch) that sends it. It
//!
//! 1. resolves the name once, as it is, within a second, to 16 addresses at most;
//! 2. rejects it if *one* of them is not public by [`classify`] (RFC 6890), in a
//!    [denied network](HttpsFetcher::with_denied_networks), or a way around both;
//! 3. connects to two of *these* addresses at most, on the port of the URL, within two seconds, and looks at the address of its peer;
//! 4. speaks TLS 1.2 or 1.3 and HTTP/1.1, and expects a certificate for the host of the URL from an authority that the system trusts;
//! 5. sends one `GET`, which says nothing about the server or a user;
//! 6. takes a head of at most 8 KiB and 64 fields with one length, which
//!    [`check_head`](tower_dcr::documents::FetchRequest::check_head) accepts: no redirect, no content coding, JSON;
//! 7. reads a body of at most [`max_bytes`](tower_dcr::documents::FetchRequest::max_bytes), counted as they arrive;
//! 8. closes the connection. All of this takes five seconds at most, also if the caller does not wait for it.
//!
//! Proxies in environment variables are not used, connections not kept, and failures not repeated.
//!
//! The authorities are those of the operating system, read once when the fetcher is built. `SSL_CERT_FILE` and `SSL_CERT_DIR` name another
//! place of theirs: the only environment variables that are read. For
//! authorities that are fixed in code, [`danger_with_roots`](HttpsFetcher::danger_with_roots) takes them and reads no variable.
//!
//! ```no_run
//! use tower_dcr::documents::{ClientIdUrl, Fetch, FetchRequest};
//! use tower_dcr_fetch::HttpsFetcher;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let fetcher = HttpsFetcher::new()?;
//! let url = ClientIdUrl::parse("https://claude.ai/oauth/mcp-oauth-client-metadata")?;
//! let response = fetcher.fetch(FetchRequest::new(url)).await?;
//! println!("{} bytes", response.body().len());
//! # Ok(())
//! # }
//! ```
//!
//! # Addresses
//!
//! The port is that of the URL: 443, unless the setting `documents.ports` of the server lists another one. That setting is the one exception,
//! and it opens no address.
//!
//! The list of public addresses can't know yours. A server that trusts its own public addresses (a firewall, a cloud network) denies
//! them by [`with_denied_networks`](HttpsFetcher::with_denied_networks). No feature, environment variable or kind of build makes an
//! address reachable that is not public; the methods that begin with `danger_` do, for one host or one prefix.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod address;
mod connect;
mod deadline;
mod exchange;
mod fetcher;
mod metered;
mod resolve;
mod tls;

pub use address::{AddressClass, classify};
pub use fetcher::{HttpsFetcher, InvalidFetcher};
pub use resolve::{Resolve, SystemResolver};
