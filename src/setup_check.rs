//! [`SetupCheck`]: notices by the first requests that the server around a guard was not put together as it should be.
//!
//! What a policy says is for [`lint`](crate::Preset::lint), whose errors a preset logs when its layers are built. The rest shows
//! only when requests come:
//!
//! | what is seen | what is meant by it |
//! | --- | --- |
//! | the server does not say where a connection comes from | all clients share one rate limit |
//! | the first 20 registrations come from one private address | there is a proxy, and all clients share its limit |
//! | a form where registrations are expected | the layers are on a route that is not theirs: the token endpoint, say |
//! | registrations at a path that is read as the URL of a client | the registration path has to be set |
//! | a redirect URI with `http` to another machine | a client of one's own that has no TLS yet |
//!
//! Each is logged once as a warning, under the target `tower_dcr::setup`, with what to do about it; what a caller can write
//! into it is quoted, and cut. Callers can bring the last three about by themselves, so nothing is refused for them.
//!
//! ```
//! let guard = tower_dcr::mcp();
//! let check = guard.setup_check();
//! // Once requests have come, for a health page or a test of one's own:
//! for found in check.found() {
//!     println!("{found}");
//! }
//! ```

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, header};

use crate::client_url::UrlTarget;
use crate::method::MethodKind;
use crate::redirect_uri::{RedirectClass, RedirectUri};
use crate::registration::Registration;
use crate::rejection::Rejection;
use crate::sync::{Mutex, lock};
use crate::text;

/// What was noticed so far. Clones see the same. See the [module docs](self).
///
/// ```
/// assert!(tower_dcr::mcp().setup_check().found().is_empty());
/// ```
#[derive(Clone, Default)]
pub struct SetupCheck {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    found: Mutex<Vec<Misconfiguration>>,
    addresses: Mutex<Addresses>,
    /// Whether enough addresses were seen.
    settled: AtomicBool,
    /// Whether URLs of clients matter: there is a ledger, or clients are updated.
    manages: AtomicBool,
    /// Whether a registration at the URL of a client was noted.
    path_noted: AtomicBool,
}

/// Something that is probably not meant.
///
/// ```
/// use tower_dcr::setup_check::Misconfiguration;
///
/// let said = Misconfiguration::NoPeerAddress.to_string();
/// assert!(said.contains("with_peer_address"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misconfiguration {
    /// A form was sent where registrations are expected.
    FormRoute {
        /// Where, at most 100 bytes of it.
        path: String,
    },
    /// The server does not say where connections come from.
    NoPeerAddress,
    /// Whoever registers seems to be one private address.
    OneAddress {
        /// Which one.
        address: IpAddr,
        /// Whether it said for whom it asks, and was not believed.
        forwards: bool,
    },
    /// Registrations come to a path that is read as the URL of a client (RFC 7592).
    RegistrationPath {
        /// Where, at most 100 bytes of it.
        path: String,
    },
    /// A client wants to be answered over plain `http` by another machine, and was refused.
    PlainHttpHost {
        /// Which one, at most 100 bytes of it.
        host: String,
    },
}

/// The first addresses that registered.
#[derive(Default)]
struct Addresses {
    first: Option<IpAddr>,
    count: u32,
    forwards: bool,
}

/// How many registrations tell a proxy from a coincidence.
const ENOUGH: u32 = 20;

/// How many findings there can be: callers can write some of them.
const MAX_FOUND: usize = 16;

/// How much of a caller's text is kept.
const MAX_TEXT: usize = 100;

impl SetupCheck {
    /// Nothing noticed yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// What was noticed, in the order in which it was.
    #[must_use]
    pub fn found(&self) -> Vec<Misconfiguration> {
        lock(&self.shared.found).clone()
    }

    /// One registration's address, as far as it is known.
    pub(crate) fn address(&self, address: Option<IpAddr>, headers: &HeaderMap) {
        if self.shared.settled.load(Ordering::Relaxed) {
            return;
        }
        let Some(address) = address else {
            self.shared.settled.store(true, Ordering::Relaxed);
            return self.note(Misconfiguration::NoPeerAddress);
        };
        let mut seen = lock(&self.shared.addresses);
        let first = *seen.first.get_or_insert(address);
        seen.count += 1;
        seen.forwards |= headers.contains_key(header::FORWARDED) || headers.contains_key("x-forwarded-for");
        let (alone, enough) = (first == address && is_private(address), seen.count >= ENOUGH);
        self.shared.settled.store(!alone || enough, Ordering::Relaxed);
        // Somebody who develops on their own machine has no proxy.
        if alone && enough && (seen.forwards || !address.is_loopback()) {
            self.note(Misconfiguration::OneAddress { address, forwards: seen.forwards });
        }
    }

    /// A form, where registrations are expected.
    pub(crate) fn form(&self, path: &str) {
        self.note(Misconfiguration::FormRoute { path: text::cut(path, MAX_TEXT).to_owned() });
    }

    /// Says that there is a ledger, for which URLs have to name clients.
    pub(crate) fn manages_clients(&self) {
        self.shared.manages.store(true, Ordering::Relaxed);
    }

    /// A registration or an update, and what its URL is about.
    pub(crate) fn document(&self, target: &UrlTarget, path: &str, kind: MethodKind) {
        if kind == MethodKind::Update {
            self.manages_clients();
        } else if *target != UrlTarget::Registration
            && self.shared.manages.load(Ordering::Relaxed)
            && !self.shared.path_noted.swap(true, Ordering::Relaxed)
        {
            self.note(Misconfiguration::RegistrationPath { path: text::cut(path, MAX_TEXT).to_owned() });
        }
    }

    /// A registration that was refused.
    pub(crate) fn refused(&self, registration: &Registration, rejection: &Rejection) {
        if rejection.field() == Some("redirect_uris")
            && let Some(index) = rejection.index()
            && let Some(Ok(uri)) = registration.redirect_uris().nth(index).map(RedirectUri::parse)
            && uri.class() == RedirectClass::PlainHttp
            && let Some(host) = uri.host()
        {
            self.note(Misconfiguration::PlainHttpHost { host: text::cut(host, MAX_TEXT).to_owned() });
        }
    }

    fn note(&self, found: Misconfiguration) {
        let mut all = lock(&self.shared.found);
        if all.len() < MAX_FOUND && !all.contains(&found) {
            tracing::warn!(target: "tower_dcr::setup", "{found}");
            all.push(found);
        }
    }
}

/// Addresses that no client on the internet has.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            // RFC 6598: between a provider and its customers.
            let shared = address.octets()[0] == 100 && address.octets()[1] & 0xC0 == 64;
            address.is_private() || address.is_loopback() || address.is_link_local() || shared
        }
        IpAddr::V6(address) => address.is_unique_local() || address.is_loopback() || address.is_unicast_link_local(),
    }
}

impl fmt::Display for Misconfiguration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FormRoute { path } => write!(
                f,
                "a form was sent to {path:?} and refused: if that is not the registration endpoint, put the layers on its \
                 route only (`.route(\"/register\", post(register).layer(guard))`), and not on the whole router"
            ),
            Self::NoPeerAddress => f.write_str(
                "the address of connections is not known, so that all clients share one registration budget: see \
                 `ClientAddress::with_peer_address`, and have the server put it into requests \
                 (`into_make_service_with_connect_info::<SocketAddr>()`)",
            ),
            Self::OneAddress { address, forwards: true } => write!(
                f,
                "all registrations come from {address}, which says for whom it asks and is not believed, so that all clients \
                 share one registration budget: if it is your proxy, say so (`with_trusted_proxies([\"{address}\"])`)"
            ),
            Self::OneAddress { address, forwards: false } => write!(
                f,
                "all registrations come from {address}, so that all clients share one registration budget: if it is your \
                 proxy, have it set X-Forwarded-For, and trust it (`with_trusted_proxies([\"{address}\"])`)"
            ),
            Self::RegistrationPath { path } => write!(
                f,
                "clients are registered at {path:?}, which is read as the URL of a client (RFC 7592): if it is the \
                 registration endpoint, set its path (`ClientUrl::with_registration_path`, `client_url.registration_paths`)"
            ),
            Self::PlainHttpHost { host } => write!(
                f,
                "a client that is answered at http://{} was refused, since http is for loopback addresses only (RFC 9700 \
                 section 2.6): if it is a client of yours, give that host TLS",
                host.escape_debug()
            ),
        }
    }
}

impl fmt::Debug for SetupCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetupCheck").field("found", &self.found()).finish()
    }
}
