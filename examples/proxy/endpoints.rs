//! Where the server's endpoints are, and which of them a path leads to.

use std::fmt;
use std::time::Duration;

use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use serde_json::{Map, Value};
use tower_dcr::ClientUrl;
use url::Url;

use crate::path::{self, Scripts, Segments};
use crate::upstream::Upstream;
use crate::{Args, Error};

/// What this proxy has an eye on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Endpoint {
    Authorize,
    Device,
    Discovery,
    Introspect,
    /// Pushed authorization requests, RFC 9126.
    Par,
    Register,
    Revoke,
    Token,
}

/// What may be two of them is the one whose guard is missed most.
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
    /// Beside the usual places.
    discovery: Option<String>,
    /// Where requests to an alias are sent.
    registration: Option<PathAndQuery>,
    aliases: Vec<String>,
    /// Where clients are registered, as it is written.
    registration_paths: Vec<String>,
    /// The server takes request objects in `request`, and references to them in `request_uri`.
    pub(crate) takes_request: bool,
    pub(crate) takes_request_uri: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    endpoint: Endpoint,
    path: Segments,
}

const DISCOVERY: [&str; 2] = ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"];

/// Which endpoint a member of the discovery document names.
pub(crate) fn named(member: &str) -> Option<Endpoint> {
    Some(match member {
        "authorization_endpoint" => Endpoint::Authorize,
        // A request that comes from a client, and is answered on another device (OpenID CIBA).
        "backchannel_authentication_endpoint" | "device_authorization_endpoint" => Endpoint::Device,
        "introspection_endpoint" => Endpoint::Introspect,
        "pushed_authorization_request_endpoint" => Endpoint::Par,
        "registration_endpoint" => Endpoint::Register,
        "revocation_endpoint" => Endpoint::Revoke,
        "token_endpoint" => Endpoint::Token,
        _ => return None,
    })
}

/// The other names of endpoints, RFC 8705 section 5.
pub(crate) const ALIASES: &str = "mtls_endpoint_aliases";

impl Endpoints {
    /// Which endpoint the server may take `path` for. A path that looks like another one, and is none to the server, is
    /// guarded for nothing; the other way round, it would be the way around the guard.
    ///
    /// # Errors
    ///
    /// The path has more readings than are looked at here.
    pub(crate) fn at(&self, path: &str) -> Result<Option<Endpoint>, &'static str> {
        let readings = path::readings(path, &self.scripts)?;
        let leads = |endpoint: &Endpoint| {
            readings.iter().any(|reading| match endpoint {
                Endpoint::Discovery => self.is_discovery(reading),
                _ => self.known.iter().any(|known| known.endpoint == *endpoint && known.is(reading, &self.scripts)),
            })
        };
        Ok(BY_PRIORITY.into_iter().find(leads))
    }

    fn is_discovery(&self, reading: &Segments) -> bool {
        let path = format!("/{}", reading.join("/"));
        DISCOVERY.iter().any(|known| path.contains(known)) || self.discovery.as_ref() == Some(&path)
    }

    /// Where a request is sent that names an alias of the registration endpoint.
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

    /// Tells the registration endpoint from the URLs of clients, which are below it.
    pub(crate) fn client_url(&self) -> Result<ClientUrl, Error> {
        let mut paths = self.registration_paths.iter();
        Ok(paths.try_fold(ClientUrl::new(), |urls, path| urls.with_registration_path(path))?)
    }

    fn add(&mut self, args: &Args) -> Result<(), Error> {
        self.scripts = Scripts::new(&args.script);
        for (endpoint, paths) in [
            (Endpoint::Authorize, &args.authorize_path),
            (Endpoint::Device, &args.device_path),
            (Endpoint::Introspect, &args.introspect_path),
            (Endpoint::Par, &args.par_path),
            // An alias is guarded in every spelling, since the server may have something there as well.
            (Endpoint::Register, &args.register_alias),
            (Endpoint::Register, &args.register_path),
            (Endpoint::Revoke, &args.revoke_path),
            (Endpoint::Token, &args.token_path),
        ] {
            for path in paths {
                self.know(endpoint, path);
            }
        }
        self.discovery = args.discovery_path.as_deref().map(|path| format!("/{}", path::plain(path).join("/")));
        self.aliases.clone_from(&args.register_alias);
        for path in args.register_path.iter().chain(&args.register_alias) {
            let parsed = path.parse::<PathAndQuery>().ok().filter(|parsed| parsed.path().starts_with('/'));
            let Some(parsed) = parsed else { return Err(format!("{path:?} is not a path: /oauth/register").into()) };
            if !args.register_alias.contains(path) {
                self.registration_paths.push(parsed.path().to_owned());
                self.registration.get_or_insert(parsed);
            }
        }
        Ok(())
    }

    fn know(&mut self, endpoint: Endpoint, path: &str) {
        let known = Known { endpoint, path: path::plain(path) };
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
            return Err("an endpoint at / can't be told from everything else".into());
        }
        Ok(())
    }

    /// The endpoints that have to be known are.
    fn complete(&self, args: &Args, gated: bool) -> Result<(), Error> {
        let has = |endpoint| self.paths(endpoint).next().is_some();
        let ask = |what: &str, flag: &str| {
            Err(format!("the server's discovery document names no {what} endpoint: say where it is with {flag}").into())
        };
        match () {
            // Without it, an alias leads nowhere.
            () if self.registration.is_none() && (!args.register_alias.is_empty() || !has(Endpoint::Register)) => {
                ask("registration", "--register-path")
            }
            () if gated && !has(Endpoint::Authorize) => ask("authorization", "--authorize-path"),
            () if gated && !has(Endpoint::Token) => ask("token", "--token-path"),
            () => Ok(()),
        }
    }

    fn paths(&self, endpoint: Endpoint) -> impl Iterator<Item = String> {
        let known = self.known.iter().filter(move |known| known.endpoint == endpoint);
        known.map(|known| format!("/{}", known.path.join("/")))
    }
}

impl Known {
    fn is(&self, reading: &Segments, scripts: &Scripts) -> bool {
        scripts.variants(self.path.clone()).iter().any(|path| {
            let Some((name, above)) = path.split_last() else { return false };
            let Some([segment, below @ ..]) = reading.strip_prefix(above) else { return false };
            // The URLs of clients (RFC 7592) are below; and a program gets what is below it.
            is_called(name, segment)
                && (below.is_empty()
                    || self.endpoint == Endpoint::Register
                    || scripts.has(name)
                    || scripts.has(segment))
        })
    }
}

/// With the endings by which some frameworks choose a format (`/register.json`), or without the one by which some servers
/// find a program (`/register` for `/register.php`).
fn is_called(name: &str, segment: &str) -> bool {
    let is_ending = |ending: &str| ending.is_empty() || ending.starts_with('.');
    segment.strip_prefix(name).is_some_and(is_ending) || name.strip_prefix(segment).is_some_and(is_ending)
}

/// Asks the server, until it answers, for what the command line does not say.
pub(crate) async fn find(args: &Args, upstream: &Upstream, gated: bool) -> Result<Endpoints, Error> {
    let mut endpoints = Endpoints::default();
    endpoints.add(args)?;
    endpoints.distinct()?;
    let complete = endpoints.complete(args, gated).is_ok();
    // Also what may not be there (pushed requests, devices, aliases) is gated if it is.
    if !complete || gated || args.discovery_path.is_some() {
        let usual = DISCOVERY.map(str::to_owned).to_vec();
        let documents = discover(upstream, &args.discovery_path.clone().map_or(usual, |path| vec![path])).await;
        match documents {
            Ok(documents) => documents.iter().for_each(|document| endpoints.read(document)),
            Err(_) if complete && args.discovery_path.is_none() => {}
            Err(error) => return Err(error),
        }
    }
    endpoints.complete(args, gated)?;
    endpoints.distinct()?;
    Ok(endpoints)
}

/// All that the server says: what one of its documents leaves out may be in the other.
async fn discover(upstream: &Upstream, paths: &[String]) -> Result<Vec<Map<String, Value>>, Error> {
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
            if !documents.is_empty() {
                return Ok(documents);
            }
            let places = paths.join(" nor at ");
            return Err(format!(
                "the server has no discovery document at {places}: say where it is with --discovery-path, or where clients \
                 register with --register-path"
            )
            .into());
        };
        // Both are being started, perhaps.
        tracing::warn!("the server can't be asked where its endpoints are, trying again: {trouble}");
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
