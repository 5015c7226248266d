//! The server's endpoints, from its discovery documents and the command line.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use serde_json::{Map, Value};
use tower_dcr::layers::GateEndpoint;
use tower_dcr_server::{Endpoint, Endpoints};
use url::{Position, Url};

use super::upstream::Upstream;
use super::{Args, Error};

/// The endpoints, and the aliases of the registration endpoint.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    endpoints: Endpoints,
    /// The path to which requests to an alias are sent.
    registration: Option<PathAndQuery>,
    aliases: Vec<String>,
}

const DISCOVERY: [&str; 2] = ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"];

impl Deref for Places {
    type Target = Endpoints;

    fn deref(&self) -> &Endpoints {
        &self.endpoints
    }
}

impl Places {
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

    /// Returns the places that the command line names.
    fn of(args: &Args) -> Result<Self, Error> {
        let scripts = args.script.iter();
        let mut endpoints = scripts.fold(Endpoints::new(), |endpoints, script| endpoints.with_script(script));
        endpoints = endpoints.allow_odd_paths(args.allow_odd_paths);
        for (endpoint, paths) in [
            (GateEndpoint::Authorization, &args.authorize_path),
            (GateEndpoint::BackchannelAuthentication, &args.backchannel_path),
            (GateEndpoint::DeviceAuthorization, &args.device_path),
            (GateEndpoint::Introspection, &args.introspect_path),
            (GateEndpoint::PushedAuthorization, &args.par_path),
            (GateEndpoint::Revocation, &args.revoke_path),
            (GateEndpoint::Token, &args.token_path),
        ] {
            for path in paths {
                endpoints = endpoints.with_path(Endpoint::Gate(endpoint), path)?;
            }
        }
        if let Some(path) = &args.discovery_path {
            endpoints = endpoints.with_path(Endpoint::Discovery, path)?;
        }
        let mut registration = None;
        // An alias is protected in every spelling, since the server may have an endpoint there as well.
        for path in args.register_path.iter().chain(&args.register_alias) {
            let parsed = path.parse::<PathAndQuery>().ok().filter(|parsed| parsed.path().starts_with('/'));
            let parsed = parsed.ok_or_else(|| format!("{path:?} is not a path such as /oauth/register"))?;
            endpoints = endpoints.with_path(Endpoint::Registration, parsed.path())?;
            if !args.register_alias.contains(path) {
                registration.get_or_insert(parsed);
            }
        }
        Ok(Self { endpoints, registration, aliases: args.register_alias.clone() })
    }

    fn read(self, document: &Map<String, Value>) -> Result<Self, Error> {
        let named = || {
            let url = Url::parse(document.get("registration_endpoint")?.as_str()?).ok()?;
            url[Position::BeforePath..Position::AfterQuery].parse().ok()
        };
        let registration = self.registration.or_else(named);
        let endpoints = self.endpoints.with_metadata(document);
        let endpoints = endpoints.map_err(|error| format!("the server's discovery document: {error}"))?;
        Ok(Self { endpoints, registration, ..self })
    }

    /// Returns the required endpoints that are unknown, with the flags that name them.
    fn missing(&self, args: &Args, gated: bool) -> Vec<(&'static str, &'static str)> {
        let has = |endpoint| self.paths(endpoint).next().is_some();
        // Without it, an alias has no target.
        let registers = self.registration.is_some() || (args.register_alias.is_empty() && has(Endpoint::Registration));
        [
            (registers, ("registration", "--register-path")),
            (!gated || has(Endpoint::Gate(GateEndpoint::Authorization)), ("authorization", "--authorize-path")),
            (!gated || has(Endpoint::Gate(GateEndpoint::Token)), ("token", "--token-path")),
        ]
        .into_iter()
        .filter_map(|(known, missing)| (!known).then_some(missing))
        .collect()
    }
}

/// Asks the server, until it responds, for the endpoints that the command line does not name.
pub(crate) async fn find(args: &Args, upstream: &Upstream, gated: bool) -> Result<Places, Error> {
    let mut places = Places::of(args)?;
    let missing = places.missing(args, gated);
    // Optional endpoints (pushed requests, devices, aliases) are gated if they exist.
    if !missing.is_empty() || gated || args.discovery_path.is_some() {
        let usual = DISCOVERY.map(str::to_owned).to_vec();
        let paths = args.discovery_path.clone().map_or(usual, |path| vec![path]);
        let documents = discover(upstream, &paths).await;
        if documents.is_empty() && (!missing.is_empty() || args.discovery_path.is_some()) {
            let paths = paths.join(" nor at ");
            let or = match &*missing {
                [] => "leave it out".to_owned(),
                missing => format!("add {}", flags(missing)),
            };
            let message = format!("the server has no discovery document at {paths}: set --discovery-path");
            return Err(format!("{message}, or {or}").into());
        }
        places = documents.iter().try_fold(places, Places::read)?;
    }
    let missing = places.missing(args, gated);
    if !missing.is_empty() {
        let names: Vec<String> = missing.iter().map(|(what, _)| format!("no {what} endpoint")).collect();
        let (names, flags) = (names.join(" and "), flags(&missing));
        return Err(format!("the server's discovery document names {names}: add {flags}").into());
    }
    Ok(places)
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

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |endpoint| self.paths(endpoint).collect::<Vec<_>>().join(", ");
        write!(f, "registers at {}", list(Endpoint::Registration))?;
        for (endpoint, does) in [
            (GateEndpoint::Authorization, "authorizes at"),
            (GateEndpoint::Token, "gives tokens at"),
            (GateEndpoint::PushedAuthorization, "takes pushed requests at"),
            (GateEndpoint::DeviceAuthorization, "authorizes devices at"),
            (GateEndpoint::BackchannelAuthentication, "takes backchannel requests at"),
            (GateEndpoint::Introspection, "introspects at"),
            (GateEndpoint::Revocation, "revokes at"),
        ] {
            let paths = list(Endpoint::Gate(endpoint));
            if !paths.is_empty() {
                write!(f, "; {does} {paths}")?;
            }
        }
        Ok(())
    }
}
