//! Patterns for redirect URIs, matched part by part.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::redirect_uri::{RedirectUri, default_port, is_dangerous_scheme};
use crate::rules::ConfigError;

/// A set of redirect URIs, described part by part. Globs over URI strings let look-alikes through
/// (`https://app.example.com.evil.example`) and are not supported.
///
/// The text forms:
///
/// | text | matches |
/// | --- | --- |
/// | `https://app.example.com/cb` | that string |
/// | `https://app.example.com/oauth/*` | any path below `/oauth/`, with or without a query; `/*` is any path, or none |
/// | `https://*.example.com/cb` | one label in place of `*` |
/// | `https://app.example.com:8443/cb` | that port; `:*` is any port |
/// | `https://app.example.com:443,8443/cb` | these ports |
/// | `com.example.app:/cb` | that string |
/// | `regex: https://[a-z]+\.example\.com/cb` | URIs that the regular expression matches as a whole (feature `regex`) |
///
/// A path without `/*` at its end is exact, and then no query is allowed except the pattern's own.
///
/// ```
/// use tower_dcr::rules::RedirectPattern;
/// use tower_dcr::redirect_uri::RedirectUri;
///
/// let pattern: RedirectPattern = "https://*.example.com/oauth/*".parse()?;
/// assert!(pattern.matches(&RedirectUri::parse("https://eu.example.com/oauth/cb").unwrap()));
/// assert!(!pattern.matches(&RedirectUri::parse("https://a.b.example.com/oauth/cb").unwrap()));
/// assert!(!pattern.matches(&RedirectUri::parse("https://eu.example.com/oauth").unwrap()));
/// assert!("https://*.com/cb".parse::<RedirectPattern>().is_err());
/// # Ok::<_, tower_dcr::rules::ConfigError>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
pub struct RedirectPattern {
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Exact(String),
    Parts {
        scheme: String,
        host: Host,
        ports: Ports,
        path: Path,
    },
    #[cfg(feature = "regex")]
    Regex {
        /// The pattern as it was given.
        expression: String,
        anchored: regex::Regex,
    },
}

#[derive(Clone, Debug)]
enum Host {
    Exact(String),
    /// A single label before this suffix, which begins with a dot.
    OneLabel(String),
}

#[derive(Clone, Debug)]
enum Ports {
    Any,
    /// `None` is the scheme's default port, explicit or not.
    Listed(Vec<Option<u16>>),
}

#[derive(Clone, Debug)]
enum Path {
    Any,
    Exact {
        path: String,
        query: Option<String>,
    },
    /// The prefix ends with a slash.
    Below(String),
}

impl RedirectPattern {
    fn exact(uri: &str) -> Result<Self, ConfigError> {
        match RedirectUri::parse(uri) {
            Ok(_) => Ok(Self { kind: Kind::Exact(uri.to_owned()) }),
            Err(error) => Err(invalid(uri, error.description())),
        }
    }

    /// Creates a pattern for redirect URIs that a regular expression matches **as a whole**: it is anchored at both ends. It has
    /// to be well formed by itself: `)|(?:` would otherwise escape from the group that anchors it.
    #[cfg(feature = "regex")]
    fn regex(expression: &str) -> Result<Self, ConfigError> {
        let compile =
            |text: &str| regex::Regex::new(text).map_err(|_| invalid(expression, "is not a regular expression"));
        compile(expression)?;
        // A flag such as `(?x)` ends with the group. A comment that it allows does not, and would swallow the anchor:
        // then the whole is no longer well formed.
        let anchored = compile(&format!("\\A(?:{expression})\\z"))?;
        Ok(Self { kind: Kind::Regex { expression: expression.to_owned(), anchored } })
    }

    fn matches_but_for_port(&self, uri: &RedirectUri<'_>) -> bool {
        let Kind::Parts { scheme, host, path, .. } = &self.kind else { return false };
        scheme == uri.scheme() && uri.host().is_some_and(|name| host.matches(name)) && path.matches(uri)
    }

    /// Returns `true` if `uri` is in the set.
    #[must_use]
    pub fn matches(&self, uri: &RedirectUri<'_>) -> bool {
        match &self.kind {
            Kind::Exact(exact) => exact == uri.as_str(),
            Kind::Parts { ports, .. } => ports.contains(uri.unusual_port()) && self.matches_but_for_port(uri),
            #[cfg(feature = "regex")]
            Kind::Regex { anchored, .. } => anchored.is_match(uri.as_str()),
        }
    }

    /// Returns `true` if `uri` is in the set, has no query, and has one segment of unreserved characters (RFC 3986
    /// section 2.3) in place of the `*` at the end of the path. Below a callback there may be pages that pass the code
    /// on: `…/oauth/a/b`, `…/oauth/x?redirect=…`.
    pub(crate) fn proves(&self, uri: &RedirectUri<'_>) -> bool {
        let Kind::Parts { path, .. } = &self.kind else { return self.matches(uri) };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        let is_segment = |prefix: &str| {
            let segment = uri.path().strip_prefix(prefix).unwrap_or_default();
            !segment.is_empty() && segment.bytes().all(is_plain) && query_of(uri).is_none()
        };
        self.matches(uri)
            && match path {
                Path::Any => is_segment("/"),
                Path::Below(prefix) => is_segment(prefix),
                Path::Exact { .. } => true,
            }
    }
}

/// The prefix of regular expressions. No redirect URI contains a space.
const REGEX: &str = "regex: ";

impl Host {
    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == host,
            Self::OneLabel(suffix) => {
                host.strip_suffix(suffix.as_str()).is_some_and(|label| !label.is_empty() && !label.contains('.'))
            }
        }
    }
}

impl Ports {
    fn contains(&self, port: Option<u16>) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(ports) => ports.contains(&port),
        }
    }
}

impl Path {
    fn matches(&self, uri: &RedirectUri<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Exact { path, query } => path == uri.path() && query.as_deref() == query_of(uri),
            Self::Below(prefix) => uri.path().starts_with(prefix),
        }
    }
}

fn query_of<'a>(uri: &RedirectUri<'a>) -> Option<&'a str> {
    uri.as_str().split_once('?').map(|(_, query)| query)
}

impl FromStr for RedirectPattern {
    type Err = ConfigError;

    fn from_str(pattern: &str) -> Result<Self, ConfigError> {
        if let Some(expression) = pattern.strip_prefix(REGEX) {
            #[cfg(feature = "regex")]
            return Self::regex(expression);
            #[cfg(not(feature = "regex"))]
            return Err(invalid(expression, "is a regular expression, which needs the feature `regex`"));
        }
        let Some((scheme, rest)) = pattern.split_once("://") else { return Self::exact(pattern) };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // A pattern that is itself a redirect URI matches that one.
        if !pattern.contains('*') && (!authority.contains(',') || RedirectUri::parse(pattern).is_ok()) {
            return Self::exact(pattern);
        }
        if is_dangerous_scheme(scheme) {
            return Err(ConfigError::DangerousScheme { scheme: scheme.into() });
        }
        let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
        let ports = match port {
            None => Ports::Listed(vec![None]),
            Some("*") => Ports::Any,
            Some(ports) => {
                let read = |text: &str| match text.parse::<u16>() {
                    Ok(port) if port > 0 && text == port.to_string() => {
                        Ok(Some(port).filter(|port| default_port(scheme) != Some(*port)))
                    }
                    _ => Err(invalid(pattern, "has no such port")),
                };
                Ports::Listed(ports.split(',').map(read).collect::<Result<_, _>>()?)
            }
        };
        let path = match path.strip_suffix('*') {
            // No path at all is equal to the root path.
            Some("/") => Path::Any,
            Some(prefix) if prefix.ends_with('/') && !prefix.contains(['*', '?']) => Path::Below(prefix.into()),
            Some(_) => {
                let reason = "has a wildcard in its path that does not stand behind its last slash";
                return Err(ConfigError::PathWildcard { pattern: pattern.into(), reason });
            }
            None if path.contains('*') => {
                let reason = "has a wildcard inside its path";
                return Err(ConfigError::PathWildcard { pattern: pattern.into(), reason });
            }
            None => {
                let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
                Path::Exact { path: path.into(), query: query.map(str::to_owned) }
            }
        };
        let host = read_host(pattern, host)?;
        let read = Self { kind: Kind::Parts { scheme: scheme.into(), host, ports, path } };
        // The parts of the pattern have to be valid in an example of its matches.
        let example =
            port.map_or_else(|| pattern.to_owned(), |ports| pattern.replacen(&format!(":{ports}"), ":8443", 1));
        let example = example.replace("*.", "a.").replace("/*", "/a");
        match RedirectUri::parse(&example) {
            Ok(example) if read.matches_but_for_port(&example) => Ok(read),
            Ok(_) => Err(invalid(pattern, "can't be matched")),
            Err(error) => Err(invalid(pattern, error.description())),
        }
    }
}

impl TryFrom<String> for RedirectPattern {
    type Error = ConfigError;

    fn try_from(pattern: String) -> Result<Self, ConfigError> {
        pattern.parse()
    }
}

impl From<RedirectPattern> for String {
    fn from(pattern: RedirectPattern) -> Self {
        pattern.to_string()
    }
}

/// Writes a text that parses to the same pattern.
impl fmt::Display for RedirectPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Exact(uri) => f.write_str(uri),
            Kind::Parts { scheme, host, ports, path } => {
                match host {
                    Host::Exact(host) => write!(f, "{scheme}://{host}")?,
                    Host::OneLabel(suffix) => write!(f, "{scheme}://*{suffix}")?,
                }
                match ports {
                    Ports::Any => f.write_str(":*")?,
                    Ports::Listed(ports) if matches!(ports.as_slice(), [None]) => {}
                    Ports::Listed(ports) => {
                        let numbers = ports.iter().filter_map(|port| port.or(default_port(scheme)));
                        let numbers: Vec<String> = numbers.map(|port| port.to_string()).collect();
                        write!(f, ":{}", numbers.join(","))?;
                    }
                }
                match path {
                    Path::Any => f.write_str("/*"),
                    Path::Exact { path, query: None } => f.write_str(path),
                    Path::Exact { path, query: Some(query) } => write!(f, "{path}?{query}"),
                    Path::Below(prefix) => write!(f, "{prefix}*"),
                }
            }
            #[cfg(feature = "regex")]
            Kind::Regex { expression, .. } => write!(f, "{REGEX}{expression}"),
        }
    }
}

fn read_host(pattern: &str, host: &str) -> Result<Host, ConfigError> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let readable = RedirectUri::parse(&format!("http://{name}")).is_ok_and(|uri| uri.host() == Some(name));
    match () {
        () if !readable => Err(invalid(pattern, "has a host that is no DNS name in lower case")),
        () if name == host => Ok(Host::Exact(name.into())),
        () if name.contains('.') => Ok(Host::OneLabel(format!(".{name}"))),
        () => Err(ConfigError::DomainWildcard { pattern: pattern.into() }),
    }
}

fn invalid(pattern: &str, reason: &str) -> ConfigError {
    ConfigError::Pattern { pattern: pattern.into(), reason: reason.into() }
}
