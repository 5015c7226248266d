//! Where the server's endpoints are, and which of them a path leads to.

use std::fmt;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use url::Url;

use crate::upstream::Upstream;
use crate::{Args, Error};

/// What this proxy has an eye on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Authorize,
    Discovery,
    Register,
    Token,
}

/// The paths of the endpoints, in plain form.
#[derive(Clone, Debug, Default)]
pub(crate) struct Endpoints {
    authorize: Vec<String>,
    register: Vec<String>,
    token: Vec<String>,
    /// Beside the usual places.
    discovery: Option<String>,
}

const DISCOVERY: [&str; 2] = ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"];

impl Endpoints {
    /// Which endpoint the server may take `path` for. A path that looks like another one, and is none to the server, is
    /// guarded for nothing; the other way round, it would be the way around the guard.
    pub(crate) fn at(&self, path: &str) -> Option<Endpoint> {
        let readings = readings(path);
        let is = |known: &[String]| {
            let mut readings = readings.iter();
            readings.any(|path| known.iter().any(|known| known == path || Some(&**known) == stem(path)))
        };
        let below = |known: &[String]| {
            let below =
                |path: &String, known: &String| path.strip_prefix(known).is_some_and(|rest| rest.starts_with('/'));
            readings.iter().any(|path| known.iter().any(|known| below(path, known)))
        };
        let discovery =
            |path: &String| DISCOVERY.iter().any(|known| path.contains(known)) || self.discovery.as_ref() == Some(path);
        // What may be two of them is the one whose guard is missed most.
        match () {
            () if is(&self.register) || below(&self.register) => Some(Endpoint::Register),
            () if is(&self.token) => Some(Endpoint::Token),
            () if is(&self.authorize) => Some(Endpoint::Authorize),
            () if readings.iter().any(discovery) => Some(Endpoint::Discovery),
            () => None,
        }
    }

    fn add(&mut self, args: &Args) {
        self.register.extend(args.register_path.iter().map(|path| plain(path)));
        self.authorize.extend(args.authorize_path.iter().map(|path| plain(path)));
        self.token.extend(args.token_path.iter().map(|path| plain(path)));
        self.discovery = args.discovery_path.as_deref().map(plain);
    }

    fn read(&mut self, document: &Map<String, Value>) {
        let path = |name: &str| document.get(name).and_then(Value::as_str).and_then(|url| Url::parse(url).ok());
        self.register.extend(path("registration_endpoint").map(|url| plain(url.path())));
        self.authorize.extend(path("authorization_endpoint").map(|url| plain(url.path())));
        self.token.extend(path("token_endpoint").map(|url| plain(url.path())));
    }

    fn distinct(&self) -> Result<(), Error> {
        let mut paths = [&self.register, &self.authorize, &self.token].into_iter().flatten();
        if paths.any(String::is_empty) {
            return Err("an endpoint at / can't be told from everything else".into());
        }
        Ok(())
    }

    fn complete(&self, gated: bool) -> Result<(), Error> {
        let ask = |what: &str, flag: &str| {
            Err(format!("the server's discovery document names no {what} endpoint: say where it is with {flag}").into())
        };
        match () {
            () if self.register.is_empty() => ask("registration", "--register-path"),
            () if gated && self.authorize.is_empty() => ask("authorization", "--authorize-path"),
            () if gated && self.token.is_empty() => ask("token", "--token-path"),
            () => Ok(()),
        }
    }
}

/// Asks the server, until it answers, for what the command line does not say.
pub(crate) async fn find(args: &Args, upstream: &Upstream, gated: bool) -> Result<Endpoints, Error> {
    let mut endpoints = Endpoints::default();
    endpoints.add(args);
    endpoints.distinct()?;
    if endpoints.complete(gated).is_err() || args.discovery_path.is_some() {
        let usual = DISCOVERY.map(str::to_owned).to_vec();
        let document = discover(upstream, &args.discovery_path.clone().map_or(usual, |path| vec![path])).await?;
        endpoints.read(&document);
    }
    endpoints.complete(gated)?;
    endpoints.distinct()?;
    Ok(endpoints)
}

async fn discover(upstream: &Upstream, paths: &[String]) -> Result<Map<String, Value>, Error> {
    let mut patience = Duration::from_millis(250);
    loop {
        let mut trouble: Option<Error> = None;
        for path in paths {
            match upstream.document(path).await {
                Ok(Some(document)) => return Ok(document),
                Ok(None) => {}
                Err(error) => trouble = Some(error),
            }
        }
        let Some(trouble) = trouble else {
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

/// What servers make of a path: before and after unescaping it, and with its dots resolved or not.
fn readings(path: &str) -> Vec<String> {
    let mut readings = Vec::new();
    let mut escaped = path.to_owned();
    // Nobody unescapes more often than that by accident.
    for _ in 0..4 {
        let segments = segments(&escaped);
        readings.push(join(&segments));
        readings.push(join(&resolved(segments)));
        let unescaped = percent_decode_str(&escaped).decode_utf8_lossy().into_owned();
        if unescaped == escaped {
            break;
        }
        escaped = unescaped;
    }
    readings
}

/// A path of an endpoint, in the form of [`readings`].
fn plain(path: &str) -> String {
    join(&resolved(segments(path)))
}

/// In small letters, and without what one server or another overlooks: empty segments, parameters (`;v=1`), space and
/// control characters at the ends.
fn segments(path: &str) -> Vec<String> {
    let path = path.replace('\\', "/").to_ascii_lowercase();
    let segment = |segment: &str| segment.split(';').next().unwrap_or_default().trim_matches(|c| c <= ' ').to_owned();
    path.split('/').map(segment).filter(|segment| !segment.is_empty()).collect()
}

fn resolved(segments: Vec<String>) -> Vec<String> {
    segments.into_iter().fold(Vec::new(), |mut above, segment| {
        match segment.as_str() {
            "." => {}
            ".." => _ = above.pop(),
            _ => above.push(segment),
        }
        above
    })
}

fn join(segments: &[String]) -> String {
    segments.iter().flat_map(|segment| ["/", segment]).collect()
}

/// Without the ending by which some frameworks choose a format: `/register.json`.
fn stem(path: &str) -> Option<&str> {
    let (stem, ending) = path.rsplit_once('.')?;
    (!ending.contains('/') && !stem.ends_with('/')).then_some(stem)
}

impl fmt::Display for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |paths: &[String]| paths.join(", ");
        write!(f, "registers at {}", list(&self.register))?;
        if !self.authorize.is_empty() && !self.token.is_empty() {
            write!(f, "; authorizes at {}, gives tokens at {}", list(&self.authorize), list(&self.token))?;
        }
        Ok(())
    }
}
