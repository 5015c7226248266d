//! The endpoints of a server, and the mapping from paths to them.

use std::error::Error;
use std::fmt;

use serde_json::{Map, Value};
use tower_dcr::ClientUrl;
use tower_dcr::layers::GateEndpoint;
use tower_dcr::rules::ConfigError;
use url::Url;

use crate::path::{self, Scripts, Segments};

/// An endpoint that a layer protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Endpoint {
    /// The registration endpoint (RFC 7591), and the URLs of clients below it (RFC 7592): for a
    /// [`Preset`](tower_dcr::Preset).
    Registration,
    /// An endpoint for a [`GateLayer`](tower_dcr::layers::GateLayer).
    Gate(GateEndpoint),
    /// A discovery document (RFC 8414, OpenID Connect Discovery): for a
    /// [`ServerMetadataLayer`](tower_dcr::layers::ServerMetadataLayer).
    Discovery,
}

/// The endpoints in order of priority for ambiguous paths: the most important layer first.
const BY_PRIORITY: [Endpoint; 9] = [
    Endpoint::Registration,
    Endpoint::Gate(GateEndpoint::PushedAuthorization),
    Endpoint::Gate(GateEndpoint::Token),
    Endpoint::Gate(GateEndpoint::Authorization),
    Endpoint::Gate(GateEndpoint::DeviceAuthorization),
    Endpoint::Gate(GateEndpoint::BackchannelAuthentication),
    Endpoint::Gate(GateEndpoint::Introspection),
    Endpoint::Gate(GateEndpoint::Revocation),
    Endpoint::Discovery,
];

impl Endpoint {
    /// Returns the endpoint that a member of a discovery document names; `None` for all other members.
    #[must_use]
    pub fn of_member(name: &str) -> Option<Self> {
        Some(Self::Gate(match name {
            "registration_endpoint" => return Some(Self::Registration),
            "authorization_endpoint" => GateEndpoint::Authorization,
            "backchannel_authentication_endpoint" => GateEndpoint::BackchannelAuthentication,
            "device_authorization_endpoint" => GateEndpoint::DeviceAuthorization,
            "introspection_endpoint" => GateEndpoint::Introspection,
            "pushed_authorization_request_endpoint" => GateEndpoint::PushedAuthorization,
            "revocation_endpoint" => GateEndpoint::Revocation,
            "token_endpoint" => GateEndpoint::Token,
            _ => return None,
        }))
    }
}

/// The paths of a server's endpoints, for a program in front of it that puts a layer on each.
///
/// Servers read one path in many spellings: `/register/`, `/REGISTER`, `/%72egister`, `/x/../register`, `/register;v=1`,
/// `/index.php/register`. A program that compares strings forwards them past its layers. [`at`](Self::at) returns the
/// endpoint that a server may read in a path in any way that is known, or rejects the path.
///
/// ```
/// use serde_json::json;
/// use tower_dcr::layers::GateEndpoint;
/// use tower_dcr_server::{Endpoint, Endpoints};
///
/// let document = json!({
///     "issuer": "https://as.example.com",
///     "registration_endpoint": "https://as.example.com/oauth/register",
///     "token_endpoint": "https://as.example.com/oauth/token",
///     // Addresses for clients with certificates (RFC 8705 section 5).
///     "mtls_endpoint_aliases": { "token_endpoint": "https://mtls.example.com/mtls/token" },
/// });
/// let endpoints = Endpoints::new().with_metadata(document.as_object().unwrap())?;
/// let token = Ok(Some(Endpoint::Gate(GateEndpoint::Token)));
/// assert_eq!(endpoints.at("/oauth/token"), token);
/// assert_eq!(endpoints.at("/mtls/token"), token);
/// assert_eq!(endpoints.at("/OAuth/Token/"), token);
/// assert_eq!(endpoints.at("/index.php/oauth/token"), token);
/// assert_eq!(endpoints.at("/oauth/register/client-1"), Ok(Some(Endpoint::Registration)));
/// assert_eq!(endpoints.at("/oauth/login"), Ok(None));
/// assert!(endpoints.at("/oauth/x/../token").is_err());
/// # Ok::<_, tower_dcr_server::InvalidEndpoint>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    known: Vec<Known>,
    scripts: Scripts,
    /// Discovery documents outside of the usual places.
    discovery: Vec<Segments>,
    /// The paths of the registration endpoint, as written.
    registration_paths: Vec<String>,
    request_objects: bool,
    request_uris: bool,
    odd_paths: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    endpoint: Endpoint,
    path: Segments,
    /// The path, and the same path without scripts.
    names: Vec<Segments>,
}

/// The segments of the usual discovery documents (RFC 8414 section 3, OpenID Connect Discovery section 4).
const WELL_KNOWN: &str = ".well-known";
const DISCOVERY: [&str; 2] = ["oauth-authorization-server", "openid-configuration"];

/// The member with other URLs of endpoints (RFC 8705 section 5).
const ALIASES: &str = "mtls_endpoint_aliases";

impl Endpoints {
    /// Creates an empty mapping, which has the usual paths of discovery documents only.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the endpoints that a discovery document names, also those in `mtls_endpoint_aliases`, by the paths of their
    /// URLs. Call it for each document of the server: one may name endpoints that another leaves out.
    ///
    /// # Errors
    ///
    /// Returns an error if an endpoint is not a URL, or is at `/`.
    pub fn with_metadata(mut self, document: &Map<String, Value>) -> Result<Self, InvalidEndpoint> {
        let aliases = document.get(ALIASES).and_then(Value::as_object);
        for (name, value) in document.iter().chain(aliases.into_iter().flatten()) {
            let Some(endpoint) = Endpoint::of_member(name).filter(|_| !value.is_null()) else { continue };
            let invalid = |reason| InvalidEndpoint { name: name.clone(), value: value.to_string(), reason };
            let url = value.as_str().and_then(|url| Url::parse(url).ok()).filter(Url::has_host);
            let url = url.ok_or_else(|| invalid("expected a URL such as https://as.example.com/token"))?;
            self = self.with_path(endpoint, url.path()).map_err(|error| invalid(error.reason))?;
        }
        let says = |name: &str| document.get(name) == Some(&Value::Bool(true));
        self.request_objects |= says("request_parameter_supported");
        self.request_uris |= says("request_uri_parameter_supported");
        Ok(self)
    }

    /// Adds a path of an endpoint, such as `/oauth/token`.
    ///
    /// # Errors
    ///
    /// Returns an error if it is not a path, or is `/`.
    pub fn with_path(mut self, endpoint: Endpoint, path: &str) -> Result<Self, InvalidEndpoint> {
        let invalid = |reason| InvalidEndpoint { name: "path".to_owned(), value: format!("{path:?}"), reason };
        if !path.starts_with('/') || path.contains(['?', '#']) {
            return Err(invalid("expected a path such as /oauth/token"));
        }
        let segments = path::plain(path);
        if segments.is_empty() {
            return Err(invalid("every path is below /: move the endpoint"));
        }
        match endpoint {
            Endpoint::Discovery => {
                self.discovery.push(segments);
                return Ok(self);
            }
            Endpoint::Registration => self.registration_paths.push(path.to_owned()),
            Endpoint::Gate(_) => {}
        }
        let known = Known { endpoint, names: names(&segments, &self.scripts), path: segments };
        if !self.known.contains(&known) {
            self.known.push(known);
        }
        Ok(self)
    }

    /// Treats path segments with this name as scripts, which get the rest of the path (RFC 3875 section 4.1.5). Names
    /// with a usual extension, such as `index.php` and `app.cgi`, are always treated so.
    #[must_use]
    pub fn with_script(mut self, name: &str) -> Self {
        self.scripts.add(name);
        for known in &mut self.known {
            known.names = names(&known.path, &self.scripts);
        }
        self
    }

    /// Accepts paths that servers read in different ways, with the endpoint of any reading: those with empty segments,
    /// dot segments, `;`, `\`, or escapes that are not needed. By default they are rejected, since the server may read
    /// another endpoint than the most important one.
    #[must_use]
    pub fn allow_odd_paths(mut self, allow: bool) -> Self {
        self.odd_paths = allow;
        self
    }

    /// Returns the endpoint that the server may read in the path of a request; `None` if there is none. Protecting a
    /// path that is no endpoint to the server is harmless; passing one that is would bypass the layers.
    ///
    /// Forward the same path that was given here.
    ///
    /// # Errors
    ///
    /// Returns an error if servers read the path in different ways: respond with 400.
    pub fn at(&self, path: &str) -> Result<Option<Endpoint>, OddPath> {
        if !self.odd_paths {
            path::check_canonical(path).map_err(OddPath)?;
        }
        let readings = path::readings(path, &self.scripts).map_err(OddPath)?;
        let leads = readings.iter().flat_map(|reading| {
            let tails = self.scripts.tails(reading).flat_map(|tail| self.reached(tail));
            tails.chain(self.is_discovery(reading).then_some(Endpoint::Discovery))
        });
        Ok(leads.min_by_key(|endpoint| BY_PRIORITY.iter().position(|known| known == endpoint)))
    }

    /// Returns the paths of an endpoint, in the form in which they are compared.
    pub fn paths(&self, endpoint: Endpoint) -> impl Iterator<Item = String> {
        let known = self.known.iter().filter(move |known| known.endpoint == endpoint).map(|known| &known.path);
        let discovery = self.discovery.iter().filter(move |_| endpoint == Endpoint::Discovery);
        known.chain(discovery).map(|path| format!("/{}", path.join("/")))
    }

    /// Returns `true` if a discovery document says that the server takes request objects in `request`: for
    /// `GateSettings::request_objects`.
    #[must_use]
    pub fn request_objects(&self) -> bool {
        self.request_objects
    }

    /// Returns `true` if a discovery document says that the server takes request objects by `request_uri`: for
    /// `GateSettings::request_uris`.
    #[must_use]
    pub fn request_uris(&self) -> bool {
        self.request_uris
    }

    /// Returns the rule that distinguishes the registration endpoint from the URLs of clients, which are below it: for
    /// [`Preset::with_client_url`](tower_dcr::Preset::with_client_url).
    ///
    /// # Errors
    ///
    /// Returns an error if a path is none that a request can have.
    pub fn client_url(&self) -> Result<ClientUrl, ConfigError> {
        let mut paths = self.registration_paths.iter();
        paths.try_fold(ClientUrl::default(), ClientUrl::with_registration_path)
    }

    /// Returns the endpoints that one reading leads to.
    fn reached<'a>(&'a self, reading: &'a [String]) -> impl Iterator<Item = Endpoint> + 'a {
        // `/token/introspection` is an endpoint of its own, not a path below `/token`.
        let nearest = self.known.iter().filter_map(|known| known.above(reading)).max().unwrap_or_default();
        let reached = self.known.iter().filter(move |known| known.is(reading, nearest, &self.scripts));
        reached.map(|known| known.endpoint)
    }

    fn is_discovery(&self, reading: &[String]) -> bool {
        let is_usual = reading.windows(2).any(|pair| match pair {
            [above, name] => above == WELL_KNOWN && DISCOVERY.iter().any(|known| name.starts_with(known)),
            _ => false,
        });
        is_usual || self.scripts.tails(reading).any(|tail| self.discovery.iter().any(|known| known == tail))
    }
}

/// Returns the path of an endpoint, and the same path without scripts.
fn names(path: &Segments, scripts: &Scripts) -> Vec<Segments> {
    scripts.tails(path).map(<[String]>::to_vec).chain(scripts.without(path)).collect()
}

impl Known {
    /// Returns the length of the path if it is equal to the reading or above it; `None` otherwise.
    fn above(&self, reading: &[String]) -> Option<usize> {
        self.names.iter().filter(|path| reading.starts_with(path)).map(Vec::len).max()
    }

    /// Returns `true` if a reading leads here. `nearest` is the length of the longest known path above it.
    fn is(&self, reading: &[String], nearest: usize, scripts: &Scripts) -> bool {
        self.names.iter().any(|path| {
            let Some((name, above)) = path.split_last() else { return false };
            let Some([segment, below @ ..]) = reading.strip_prefix(above) else { return false };
            let Some(first) = below.first() else { return is_called(name, segment) };
            let takes = match self.endpoint {
                // The URLs of clients (RFC 7592) are below.
                Endpoint::Registration => true,
                _ if nearest > path.len() => false,
                // The pages for signing in and consent are below, and not part of the endpoint. A program gets the
                // paths below it, and a directory is served by its index.
                Endpoint::Gate(GateEndpoint::Authorization) => {
                    let is_index = ["index", "default"].iter().any(|index| is_called(index, first));
                    scripts.has(name) || scripts.has(segment) || scripts.skips(first) || is_index
                }
                // They have no pages. A path below may be their index, or the rest of a path that a program gets.
                _ => true,
            };
            is_called(name, segment) && takes
        })
    }
}

/// Compares names with the extensions by which some frameworks choose a format (`/register.json`), or without the one
/// by which some servers find a program (`/register` for `/register.php`).
fn is_called(name: &str, segment: &str) -> bool {
    let is_ending = |ending: &str| ending.is_empty() || ending.starts_with('.');
    segment.strip_prefix(name).is_some_and(is_ending) || name.strip_prefix(segment).is_some_and(is_ending)
}

/// The fault of a path that servers read in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OddPath(&'static str);

impl fmt::Display for OddPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for OddPath {}

/// An endpoint that can't be protected by its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidEndpoint {
    name: String,
    value: String,
    reason: &'static str,
}

impl fmt::Display for InvalidEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.name, self.value, self.reason)
    }
}

impl Error for InvalidEndpoint {}

#[cfg(test)]
mod tests;
