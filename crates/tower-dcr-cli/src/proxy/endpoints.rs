//! The server's endpoints, and the mapping from paths to them.

use std::fmt;
use std::time::Duration;

use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use serde_json::{Map, Value};
use tower_dcr::ClientUrl;
use url::Url;

use super::path::{self, Scripts, Segments};
use super::upstream::Upstream;
use super::{Args, Error};

/// An endpoint that this proxy protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Endpoint {
    Authorize,
    Device,
    Discovery,
    Introspect,
    /// Pushed authorization requests (RFC 9126).
    Par,
    Register,
    Revoke,
    Token,
}

/// The endpoints in order of priority for ambiguous paths: the most important layer first.
const BY_PRIORITY: [Endpoint; 8] = [
    Endpoint::Register,
    Endpoint::Par,
    Endpoint::Token,
    Endpoint::Authorize,
    Endpoint::Device,
    Endpoint::Introspect,
    Endpoint::Revoke,
    Endpoint::Discovery,
];

/// The paths of the endpoints.
#[derive(Clone, Debug, Default)]
pub(crate) struct Endpoints {
    known: Vec<Known>,
    scripts: Scripts,
    /// A discovery document outside of the usual places.
    discovery: Option<Segments>,
    /// The path to which requests to an alias are sent.
    registration: Option<PathAndQuery>,
    aliases: Vec<String>,
    /// The paths of the registration endpoint, as written.
    registration_paths: Vec<String>,
    /// The server supports request objects in `request`, and references to them in `request_uri`.
    pub(crate) takes_request: bool,
    pub(crate) takes_request_uri: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    endpoint: Endpoint,
    path: Segments,
    /// The path, and the same path without scripts.
    names: Vec<Segments>,
}

const DISCOVERY: [&str; 2] = ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"];

/// Returns the endpoint that a member of the discovery document names.
pub(crate) fn named(member: &str) -> Option<Endpoint> {
    Some(match member {
        "authorization_endpoint" => Endpoint::Authorize,
        // A client sends the request, and the user responds on another device (OpenID CIBA).
        "backchannel_authentication_endpoint" | "device_authorization_endpoint" => Endpoint::Device,
        "introspection_endpoint" => Endpoint::Introspect,
        "pushed_authorization_request_endpoint" => Endpoint::Par,
        "registration_endpoint" => Endpoint::Register,
        "revocation_endpoint" => Endpoint::Revoke,
        "token_endpoint" => Endpoint::Token,
        _ => return None,
    })
}

/// The member with other URLs of endpoints (RFC 8705 section 5).
pub(crate) const ALIASES: &str = "mtls_endpoint_aliases";

impl Endpoints {
    /// Returns the endpoint that the server may read in `path`; `None` if there is none. Protecting a path that is no
    /// endpoint to the server is harmless; passing one that is would bypass the layers.
    ///
    /// # Errors
    ///
    /// Returns an error if the path has more readings than are checked here.
    pub(crate) fn at(&self, path: &str) -> Result<Option<Endpoint>, &'static str> {
        let readings = path::readings(path, &self.scripts)?;
        let leads = readings.iter().flat_map(|reading| {
            let tails = self.scripts.tails(reading).flat_map(|tail| self.reached(tail));
            tails.chain(self.is_discovery(reading).then_some(Endpoint::Discovery))
        });
        Ok(leads.min_by_key(|endpoint| BY_PRIORITY.iter().position(|known| known == endpoint)))
    }

    /// Returns the endpoints that one reading leads to.
    fn reached(&self, reading: &[String]) -> impl Iterator<Item = Endpoint> {
        // `/token/introspection` is an endpoint of its own, not a path below `/token`.
        let nearest = self.known.iter().filter_map(|known| known.above(reading)).max().unwrap_or_default();
        let reached = self.known.iter().filter(move |known| known.is(reading, nearest, &self.scripts));
        reached.map(|known| known.endpoint)
    }

    fn is_discovery(&self, reading: &[String]) -> bool {
        let path = format!("/{}", reading.join("/"));
        DISCOVERY.iter().any(|known| path.contains(known))
            || self.scripts.tails(reading).any(|tail| self.discovery.as_deref() == Some(tail))
    }

    /// Returns the path and query to which a request to an alias of the registration endpoint is sent; `None` if `uri`
    /// is no alias.
    pub(crate) fn behind_alias(&self, uri: &Uri) -> Option<PathAndQuery> {
        let registration = self.registration.as_ref()?;
        let below = self.aliases.iter().find_map(|alias| {
            let rest = uri.path().strip_prefix(&**alias)?;
            (rest.is_empty() || rest.starts_with('/')).then_some(rest)
        })?;
        let queries: Vec<&str> = registration.query().into_iter().chain(uri.query()).collect();
        let path = registration.path().trim_end_matches('/');
        let query = if queries.is_empty() { String::new() } else { format!("?{}", queries.join("&")) };
        format!("{path}{}{query}", below.trim_end_matches('/')).parse().ok()
    }

    /// Returns the rule that distinguishes the registration endpoint from the URLs of clients, which are below it.
    pub(crate) fn client_url(&self) -> Result<ClientUrl, Error> {
        let mut paths = self.registration_paths.iter();
        Ok(paths.try_fold(ClientUrl::default(), ClientUrl::with_registration_path)?)
    }

    fn add(&mut self, args: &Args) -> Result<(), Error> {
        self.scripts = Scripts::new(&args.script);
        for (endpoint, paths) in [
            (Endpoint::Authorize, &args.authorize_path),
            (Endpoint::Device, &args.device_path),
            (Endpoint::Introspect, &args.introspect_path),
            (Endpoint::Par, &args.par_path),
            // An alias is protected in every spelling, since the server may have an endpoint there as well.
            (Endpoint::Register, &args.register_alias),
            (Endpoint::Register, &args.register_path),
            (Endpoint::Revoke, &args.revoke_path),
            (Endpoint::Token, &args.token_path),
        ] {
            for path in paths {
                self.know(endpoint, path);
            }
        }
        self.discovery = args.discovery_path.as_deref().map(path::plain);
        self.aliases.clone_from(&args.register_alias);
        for path in args.register_path.iter().chain(&args.register_alias) {
            let parsed = path.parse::<PathAndQuery>().ok().filter(|parsed| parsed.path().starts_with('/'));
            let Some(parsed) = parsed else {
                return Err(format!("{path:?} is not a path such as /oauth/register").into());
            };
            if !args.register_alias.contains(path) {
                self.registration_paths.push(parsed.path().to_owned());
                self.registration.get_or_insert(parsed);
            }
        }
        Ok(())
    }

    fn know(&mut self, endpoint: Endpoint, path: &str) {
        let path = path::plain(path);
        let tails = self.scripts.tails(&path).map(<[String]>::to_vec);
        let names = tails.chain(self.scripts.without(&path)).collect();
        let known = Known { endpoint, path, names };
        if !self.known.contains(&known) {
            self.known.push(known);
        }
    }

    fn read(&mut self, document: &Map<String, Value>) {
        let aliases = document.get(ALIASES).and_then(Value::as_object);
        for (name, value) in document.iter().chain(aliases.into_iter().flatten()) {
            let Some(endpoint) = named(name) else { continue };
            let Some(url) = value.as_str().and_then(|url| Url::parse(url).ok()) else { continue };
            self.know(endpoint, url.path());
            if endpoint == Endpoint::Register {
                self.registration_paths.push(url.path().to_owned());
            }
            if endpoint == Endpoint::Register && self.registration.is_none() {
                self.registration = url[url::Position::BeforePath..url::Position::AfterQuery].parse().ok();
            }
        }
        let says = |name: &str| document.get(name) == Some(&Value::Bool(true));
        self.takes_request |= says("request_parameter_supported");
        self.takes_request_uri |= says("request_uri_parameter_supported");
    }

    fn distinct(&self) -> Result<(), Error> {
        if self.known.iter().any(|known| known.path.is_empty()) {
            return Err("unsupported endpoint at /: every path is below it".into());
        }
        Ok(())
    }

    /// Returns the required endpoints that are unknown, with the flags that name them.
    fn missing(&self, args: &Args, gated: bool) -> Vec<(&'static str, &'static str)> {
        let has = |endpoint| self.known.iter().any(|known| known.endpoint == endpoint);
        // Without it, an alias has no target.
        let registers = self.registration.is_some() || (args.register_alias.is_empty() && has(Endpoint::Register));
        [
            (registers, ("registration", "--register-path")),
            (!gated || has(Endpoint::Authorize), ("authorization", "--authorize-path")),
            (!gated || has(Endpoint::Token), ("token", "--token-path")),
        ]
        .into_iter()
        .filter_map(|(known, missing)| (!known).then_some(missing))
        .collect()
    }

    fn paths(&self, endpoint: Endpoint) -> impl Iterator<Item = String> {
        let known = self.known.iter().filter(move |known| known.endpoint == endpoint);
        known.map(|known| format!("/{}", known.path.join("/")))
    }
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
                Endpoint::Register => true,
                _ if nearest > path.len() => false,
                // The pages for signing in and consent are below, and not part of the endpoint. A program gets the
                // paths below it, and a directory is served by its index.
                Endpoint::Authorize => {
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

/// Asks the server, until it responds, for the endpoints that the command line does not name.
pub(crate) async fn find(args: &Args, upstream: &Upstream, gated: bool) -> Result<Endpoints, Error> {
    let mut endpoints = Endpoints::default();
    endpoints.add(args)?;
    endpoints.distinct()?;
    let missing = endpoints.missing(args, gated);
    // Optional endpoints (pushed requests, devices, aliases) are gated if they exist.
    if !missing.is_empty() || gated || args.discovery_path.is_some() {
        let usual = DISCOVERY.map(str::to_owned).to_vec();
        let places = args.discovery_path.clone().map_or(usual, |path| vec![path]);
        let documents = discover(upstream, &places).await;
        if documents.is_empty() && (!missing.is_empty() || args.discovery_path.is_some()) {
            let places = places.join(" nor at ");
            let or = match &*missing {
                [] => "leave it out".to_owned(),
                missing => format!("add {}", flags(missing)),
            };
            let message = format!("the server has no discovery document at {places}: set --discovery-path");
            return Err(format!("{message}, or {or}").into());
        }
        for document in &documents {
            endpoints.read(document);
        }
    }
    let missing = endpoints.missing(args, gated);
    if !missing.is_empty() {
        let names: Vec<String> = missing.iter().map(|(what, _)| format!("no {what} endpoint")).collect();
        let (names, flags) = (names.join(" and "), flags(&missing));
        return Err(format!("the server's discovery document names {names}: add {flags}").into());
    }
    endpoints.distinct()?;
    Ok(endpoints)
}

fn flags(missing: &[(&str, &str)]) -> String {
    missing.iter().map(|(_, flag)| *flag).collect::<Vec<_>>().join(" and ")
}

/// Returns all discovery documents of the server: one may name endpoints that another leaves out.
async fn discover(upstream: &Upstream, paths: &[String]) -> Vec<Map<String, Value>> {
    let mut patience = Duration::from_millis(250);
    loop {
        let mut documents = Vec::new();
        let mut trouble: Option<Error> = None;
        for path in paths {
            match upstream.document(path).await {
                Ok(document) => documents.extend(document),
                Err(error) => trouble = Some(error),
            }
        }
        let Some(trouble) = trouble.filter(|_| documents.is_empty()) else {
            return documents;
        };
        // The server may still be starting.
        tracing::warn!("the server's discovery document is unavailable, retrying: {trouble}");
        tokio::time::sleep(patience).await;
        patience = Duration::from_secs(5).min(patience * 2);
    }
}

impl fmt::Display for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |endpoint| self.paths(endpoint).collect::<Vec<_>>().join(", ");
        write!(f, "registers at {}", list(Endpoint::Register))?;
        for (endpoint, does) in [
            (Endpoint::Authorize, "authorizes at"),
            (Endpoint::Token, "gives tokens at"),
            (Endpoint::Par, "takes pushed requests at"),
            (Endpoint::Device, "authorizes devices at"),
            (Endpoint::Introspect, "introspects at"),
            (Endpoint::Revoke, "revokes at"),
        ] {
            let paths = list(endpoint);
            if !paths.is_empty() {
                write!(f, "; {does} {paths}")?;
            }
        }
        Ok(())
    }
}
