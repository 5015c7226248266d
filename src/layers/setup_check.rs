//! [`Misconfiguration`]: detects common deployment mistakes from the first requests.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use http::{HeaderMap, header};

use crate::client_address::is_private;
use crate::client_url::UrlTarget;
use crate::method::MethodKind;
use crate::redirect_uri::{RedirectClass, RedirectUri};
use crate::registration::Registration;
use crate::rules::Rejection;
use crate::sync::{Mutex, lock};
use crate::text;

/// Detects common deployment mistakes from the first requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct SetupCheck {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    found: Mutex<Vec<Misconfiguration>>,
    addresses: Mutex<Addresses>,
    /// Set once enough addresses were seen.
    complete: AtomicBool,
    /// Set if URLs of clients matter: there is a ledger, or clients are updated.
    manages: AtomicBool,
    /// Set once a registration at the URL of a client was noted.
    path_noted: AtomicBool,
    /// Returns `true` if a section of the policy is for gates that were not made.
    forgets_gates: OnceLock<Box<dyn Fn() -> bool + Send + Sync>>,
}

text::debug_fields!(Shared { found });

/// A likely deployment mistake, which the first requests to a preset show: see
/// [`Preset::misconfigurations`](crate::Preset::misconfigurations).
///
/// The policy itself is checked by [`lint`](crate::Preset::lint), whose errors a preset logs when its layers are built.
/// Other mistakes show only when requests come:
///
/// | observation | likely cause |
/// | --- | --- |
/// | the server does not pass on the peer address of connections | all clients share one rate limit |
/// | the first 20 registrations come from one private address | there is a proxy, and all clients share its limit |
/// | a form at the registration endpoint | the layers are on another route, such as the token endpoint |
/// | registrations at a path that is read as the URL of a client | the registration path has to be set |
/// | a registration, while no gate follows the section `[gate]` of the policy | the gates have to be made by [`Preset::gate`](crate::Preset::gate) |
/// | a redirect URI with `http` to another machine | one of the operator's own clients has no TLS yet |
///
/// Each is logged once as a warning, under the target `tower_dcr::setup`, with advice. Text from a caller is quoted and
/// cut. Callers can cause the forms, the paths and the plain `http` themselves, so nothing is rejected because of these
/// findings.
///
/// ```
/// use tower_dcr::layers::Misconfiguration;
///
/// let said = Misconfiguration::NoPeerAddress.to_string();
/// assert!(said.contains("with_peer_address"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misconfiguration {
    /// The policy file has a section `[gate]`, and no gate follows it: the server's gates were not made by the
    /// [preset](crate::Preset::gate).
    ForgottenGates,
    /// The policy has settings of client metadata documents, and the preset fetches none
    /// ([`Preset::with_documents`](crate::Preset::with_documents)).
    DocumentsWithoutFetch,
    /// A form was sent to the registration endpoint.
    FormRoute {
        /// The path, at most 100 bytes of it.
        path: String,
    },
    /// The policy holds registrations for approval ([`hold`](crate::clients::LifecycleSettings::hold)), and there is no
    /// ledger to keep them: they are rejected.
    HoldWithoutRegistrar,
    /// The server does not pass on the peer address of connections.
    NoPeerAddress,
    /// All registrations seem to come from one private address.
    OneAddress {
        /// The address.
        address: IpAddr,
        /// Set if its requests had forwarding headers, which were not trusted.
        forwards: bool,
    },
    /// Registrations come to a path that is read as the URL of a client (RFC 7592).
    RegistrationPath {
        /// The path, at most 100 bytes of it.
        path: String,
    },
    /// A redirect URI with plain `http` to another machine was rejected.
    PlainHttpHost {
        /// The host of the URI, at most 100 bytes of it.
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

/// The number of registrations that tells a proxy from a coincidence.
const ENOUGH: u32 = 20;

/// The maximum number of findings: callers can cause some of them.
const MAX_FOUND: usize = 16;

/// The maximum length of text from a caller.
const MAX_TEXT: usize = 100;

impl SetupCheck {
    /// Creates a check without findings.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Returns the findings so far, oldest first.
    pub(crate) fn found(&self) -> Vec<Misconfiguration> {
        lock(&self.shared.found).clone()
    }

    /// Records the address of one registration. `None` if the server does not know it.
    pub(crate) fn address(&self, address: Option<IpAddr>, headers: &HeaderMap) {
        if self.shared.complete.load(Ordering::Relaxed) {
            return;
        }
        let Some(address) = address else {
            self.shared.complete.store(true, Ordering::Relaxed);
            return self.note(Misconfiguration::NoPeerAddress);
        };
        let mut seen = lock(&self.shared.addresses);
        let first = *seen.first.get_or_insert(address);
        seen.count += 1;
        seen.forwards |= headers.contains_key(header::FORWARDED) || headers.contains_key("x-forwarded-for");
        let (alone, enough) = (first == address && is_private(address), seen.count >= ENOUGH);
        self.shared.complete.store(!alone || enough, Ordering::Relaxed);
        // Development on one machine has no proxy.
        if alone && enough && (seen.forwards || !address.is_loopback()) {
            self.note(Misconfiguration::OneAddress { address, forwards: seen.forwards });
        }
    }

    /// Records a form at the registration endpoint.
    pub(crate) fn form(&self, path: &str) {
        self.note(Misconfiguration::FormRoute { path: text::cut(path, MAX_TEXT).to_owned() });
    }

    /// Records that registrations are to be held, and there is no ledger.
    pub(crate) fn holds_nothing(&self) {
        self.note(Misconfiguration::HoldWithoutRegistrar);
    }

    /// Records that there are settings of documents, and none is fetched.
    pub(crate) fn fetches_nothing(&self) {
        self.note(Misconfiguration::DocumentsWithoutFetch);
    }

    /// Calls `forgets_gates` at each registration.
    pub(crate) fn expect_gates(&self, forgets_gates: impl Fn() -> bool + Send + Sync + 'static) {
        self.shared.forgets_gates.get_or_init(|| Box::new(forgets_gates));
    }

    /// Records that there is a ledger: URLs have to name clients.
    pub(crate) fn manages_clients(&self) {
        self.shared.manages.store(true, Ordering::Relaxed);
    }

    /// Records a registration or an update, and the target of its URL.
    pub(crate) fn document(&self, target: &UrlTarget, path: &str, kind: MethodKind) {
        if self.shared.forgets_gates.get().is_some_and(|forgets| forgets()) {
            self.note(Misconfiguration::ForgottenGates);
        }
        if kind == MethodKind::Update {
            self.manages_clients();
        } else if *target != UrlTarget::Registration
            && self.shared.manages.load(Ordering::Relaxed)
            && !self.shared.path_noted.swap(true, Ordering::Relaxed)
        {
            self.note(Misconfiguration::RegistrationPath { path: text::cut(path, MAX_TEXT).to_owned() });
        }
    }

    /// Records a rejected registration.
    pub(crate) fn rejected(&self, registration: &Registration, rejection: &Rejection) {
        if rejection.field.as_deref() == Some("redirect_uris")
            && let Some(index) = rejection.index
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

impl fmt::Display for Misconfiguration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForgottenGates => f.write_str(
                "the section [gate] of the policy file has no effect, since no gate follows it: make the gates by \
                 `Preset::gate` or `ReloadableLayer::gate`",
            ),
            Self::DocumentsWithoutFetch => f.write_str(
                "the section [documents] has no effect: no client is known by the URL of its document; give the preset a \
                 fetcher (`Preset::with_documents`)",
            ),
            Self::FormRoute { path } => write!(
                f,
                "a form sent to {path:?} was rejected: if that is not the registration endpoint, put the layers on its \
                 route only (`.route(\"/register\", post(register).layer(preset))`), and not on the whole router"
            ),
            Self::NoPeerAddress => f.write_str(
                "the peer address of connections is unknown, so that all clients share one registration budget: see \
                 `ClientAddress::with_peer_address`, and have the server put it into requests \
                 (`into_make_service_with_connect_info::<SocketAddr>()`)",
            ),
            Self::OneAddress { address, forwards: true } => write!(
                f,
                "all registrations come from {address}, whose forwarding header is not trusted, so that all clients share \
                 one registration budget: if it is your proxy, trust it (`with_trusted_proxies([\"{address}\"])`)"
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
            Self::HoldWithoutRegistrar => f.write_str(
                "`lifecycle.hold` has no effect without a ledger: registrations that could wait for approval are rejected \
                 (`Preset::with_registrar`, and gates in front of the other endpoints)",
            ),
            Self::PlainHttpHost { host } => write!(
                f,
                "a client with a redirect URI at http://{} was rejected, since http is for loopback addresses only (RFC \
                 9700 section 2.6): if it is a client of yours, give that host TLS, or list its origin in \
                 `redirect_uris.danger_private_origins` if it is in a private network",
                host.escape_debug()
            ),
        }
    }
}
