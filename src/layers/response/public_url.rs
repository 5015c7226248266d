//! URLs in responses, rewritten so that clients can reach them.

use std::net::IpAddr;

use http::uri::Authority;
use serde::{Deserialize, Serialize};
use url::{Host, Position, Url};

use crate::layers::setup_check::is_private;
use crate::rules::ConfigError;

/// The origin by which clients know the server, as `https://as.example.com`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
pub(super) struct PublicUrl(String);

impl PublicUrl {
    pub(super) fn parse(url: &str) -> Result<Self, ConfigError> {
        let origin = || ConfigError::Origin { origin: url.to_owned() };
        let read = Url::parse(url).map_err(|_| origin())?;
        let only_origin = read.path() == "/" && read.query().is_none() && read.fragment().is_none();
        let has_user = !read.username().is_empty() || read.password().is_some();
        if !matches!(read.scheme(), "http" | "https") || !only_origin || has_user {
            return Err(origin());
        }
        Ok(Self(read.origin().ascii_serialization()))
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = ConfigError;

    fn try_from(url: String) -> Result<Self, ConfigError> {
        Self::parse(&url)
    }
}

impl From<PublicUrl> for String {
    fn from(url: PublicUrl) -> Self {
        url.0
    }
}

/// A client's view of URLs in a response.
#[derive(Clone, Copy)]
pub(super) struct Viewpoint<'a> {
    pub(super) public: Option<&'a PublicUrl>,
    /// The authority that the request was sent to. `None` if it does not say.
    pub(super) asked: Option<&'a Authority>,
    /// The request's path and query, for relative URLs.
    pub(super) path: &'a str,
}

impl Viewpoint<'_> {
    /// Returns `url` as a URL of the server that the client can use: at the public origin, if that is configured.
    /// `None` if there is no such URL.
    pub(super) fn see(&self, url: &str) -> Option<String> {
        let Some(PublicUrl(public)) = self.public else {
            return self.reaches(&absolute(url)?).then(|| url.to_owned());
        };
        let base = Url::parse(public).ok()?.join(self.path).ok()?;
        let target = base.join(url).ok().filter(|target| matches!(target.scheme(), "http" | "https"))?;
        // Only the path and the query are kept, without user information and fragment.
        Some(format!("{public}{}", &target[Position::BeforePath..Position::AfterQuery]))
    }

    /// Returns the URL of the request itself. `None` if the public origin is not known.
    pub(super) fn own_url(&self) -> Option<String> {
        self.public.and_then(|_| self.see(self.path))
    }

    /// Returns whether `url` is an `http` or `https` URL at a host that only the server's own network can reach.
    pub(super) fn is_internal(&self, url: &str) -> bool {
        let read = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        read.is_some_and(|url| !self.reaches(&url))
    }

    /// Returns whether the client can reach the host. A client that has sent its request to an internal host can reach
    /// that host.
    fn reaches(&self, url: &Url) -> bool {
        let Some(host) = url.host() else { return false };
        if !is_internal(&host) {
            return true;
        }
        let Some(Ok(asked)) = self.asked.map(|asked| Host::parse(asked.host())) else { return false };
        host.to_owned() == asked || is_loopback(&host) && is_loopback(&as_ref(&asked))
    }
}

/// Parses a URL that all parsers read alike: absolute, over http or https, without user information and fragment.
fn absolute(url: &str) -> Option<Url> {
    let has_scheme = ["http://", "https://"]
        .iter()
        .any(|scheme| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if !has_scheme || !is_plain {
        return None;
    }
    let read = Url::parse(url).ok()?;
    let only_location = read.username().is_empty() && read.password().is_none() && read.fragment().is_none();
    only_location.then_some(read)
}

fn as_ref(host: &Host) -> Host<&str> {
    match host {
        Host::Domain(name) => Host::Domain(name),
        Host::Ipv4(address) => Host::Ipv4(*address),
        Host::Ipv6(address) => Host::Ipv6(*address),
    }
}

fn address(host: &Host<&str>) -> Option<IpAddr> {
    match host {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some((*address).into()),
        Host::Ipv6(address) => Some(IpAddr::from(*address).to_canonical()),
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => last_label(name) == "localhost",
        other => address(other).is_some_and(|address| address.is_loopback()),
    }
}

fn is_internal(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => is_internal_name(name),
        other => address(other).is_some_and(|address| is_private(address) || address.is_unspecified()),
    }
}

/// Returns whether a name is resolved in one network only: a single label, or one with a suffix reserved by RFC 6761,
/// RFC 6762, RFC 8375, ICANN or the usual container platforms.
fn is_internal_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = last_label(name);
    let is_kept = matches!(
        last,
        "consul"
            | "corp"
            | "home"
            | "internal"
            | "intranet"
            | "lan"
            | "local"
            | "localdomain"
            | "localhost"
            | "private"
            | "svc"
    );
    last.len() == name.len() || is_kept || name.ends_with(".home.arpa")
}

fn last_label(name: &str) -> &str {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.rsplit('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn see(public: Option<&str>, asked: Option<&str>, url: &str) -> Option<String> {
        let public = public.map(|url| PublicUrl::parse(url).unwrap());
        let asked = asked.map(|asked| asked.parse().unwrap());
        Viewpoint { public: public.as_ref(), asked: asked.as_ref(), path: "/oauth/register?x=1" }.see(url)
    }

    #[test]
    fn without_a_public_url_only_public_absolute_urls_pass() {
        let public = "https://as.example.com/register/c?x=1";
        for (asked, url, passes, reason) in [
            (None, public, true, "public"),
            (None, "http://as.example.com:8080/register/c", true, "http has no better name here"),
            (None, "/register/c", false, "relative"),
            (None, "register/c", false, "relative"),
            (None, "//as.example.com/register/c", false, "relative to a scheme"),
            (None, "https:/as.example.com/register/c", false, "mended by browsers only"),
            (None, "https://as.example.com\\@evil.example/", false, "two readings"),
            (None, " https://as.example.com/", false, "space"),
            (None, "https://user@as.example.com/", false, "user information"),
            (None, "https://as.example.com/#c", false, "fragment"),
            (None, "urn:client:c", false, "no place"),
            (None, "", false, "nothing"),
            (None, "http://localhost:8080/register/c", false, "loopback"),
            (Some("as.example.com"), "http://127.0.0.1:8080/register/c", false, "loopback"),
            (Some("as.example.com"), "http://[::1]/register/c", false, "loopback"),
            (Some("as.example.com"), "http://[::ffff:10.0.0.1]/register/c", false, "private"),
            (Some("as.example.com"), "http://0.0.0.0:8080/c", false, "no address at all"),
            (Some("as.example.com"), "http://2130706433/c", false, "an odd spelling of loopback"),
            (Some("as.example.com"), "http://10.1.2.3/c", false, "private"),
            (Some("as.example.com"), "http://keycloak:8080/c", false, "a container's name"),
            (Some("as.example.com"), "http://as.default.svc.cluster.local/c", false, "a cluster's name"),
            (Some("as.example.com"), "https://as.internal./c", false, "internal"),
            (Some("localhost:3000"), "http://localhost:8080/c", true, "development"),
            (Some("127.0.0.1:3000"), "http://localhost:8080/c", true, "development"),
            (Some("[::1]:3000"), "http://127.0.0.1:8080/c", true, "development"),
            (Some("sso.lan"), "https://SSO.lan/c", true, "the client is in that network"),
            (Some("sso.lan"), "https://other.lan/c", false, "who can say"),
        ] {
            assert_eq!(see(None, asked, url), passes.then(|| url.to_owned()), "{url}: {reason}");
        }
    }

    #[test]
    fn with_a_public_url_everything_is_there() {
        for (url, seen) in [
            ("http://127.0.0.1:8080/register/c?x=1", Some("https://as.example.com/register/c?x=1")),
            ("https://as.example.com/register/c", Some("https://as.example.com/register/c")),
            ("http://user:secret@10.0.0.1/c#x", Some("https://as.example.com/c")),
            ("/register/c", Some("https://as.example.com/register/c")),
            ("register/c", Some("https://as.example.com/oauth/register/c")),
            ("?client_id=c", Some("https://as.example.com/oauth/register?client_id=c")),
            ("//evil.example/c", Some("https://as.example.com/c")),
            ("mailto:a@example.com", None),
            ("http://", None),
        ] {
            assert_eq!(see(Some("https://as.example.com/"), Some("evil.example"), url).as_deref(), seen, "{url}");
        }
    }

    #[test]
    fn a_public_url_is_an_origin() {
        for (url, origin) in [
            ("https://as.example.com", "https://as.example.com"),
            ("https://AS.example.com:443/", "https://as.example.com"),
            ("http://localhost:3000", "http://localhost:3000"),
        ] {
            assert_eq!(PublicUrl::parse(url), Ok(PublicUrl(origin.into())), "{url}");
        }
        for url in
            ["as.example.com", "ftp://a.example", "https://a.example/x", "https://a.example?", "https://u@a.example"]
        {
            assert!(PublicUrl::parse(url).is_err(), "{url}");
        }
    }
}
