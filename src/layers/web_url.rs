//! URLs of `http` and `https` that a server writes or an operator configures: as lenient as browsers where an internal host has
//! to be found, and as strict as [`RedirectUri`](crate::redirect_uri::RedirectUri) where the URL is used.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::client_address::is_private;
use crate::redirect_uri::{default_port, ends_with_number, is_canonical_dns_name};

/// A URL in its parts.
pub(super) struct WebUrl<'a> {
    pub(super) host: Host,
    scheme: &'static str,
    /// The port, unless it is the default one.
    port: Option<u16>,
    /// Path and query, without the fragment.
    place: &'a str,
    /// Set if all parsers read it alike.
    pub(super) is_plain: bool,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Address(IpAddr),
    /// A DNS name in lower case, without the dot at its end.
    Name(String),
    /// A text that parsers read in different ways.
    Unclear,
}

/// The characters that a URL parser escapes in a path.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`').add(b'{').add(b'}');

/// Returns an origin as browsers write it. `None` if `url` has other parts, or no clear host.
pub(super) fn origin(url: &str) -> Option<String> {
    let read = WebUrl::read(url).filter(|read| read.is_plain && matches!(read.place, "" | "/"))?;
    let host = match read.host {
        // Browsers write these in hexadecimal digits.
        Host::Address(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => return None,
        Host::Address(_) => read.host,
        Host::Name(name) if is_canonical_dns_name(&name) => Host::Name(name),
        Host::Name(_) | Host::Unclear => return None,
    };
    let port = read.port.map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}://{host}{port}", read.scheme))
}

/// Returns path and query of `url`, which may be relative to `base`, a path with a query. `None` if it is not `http` or `https`.
pub(super) fn place(url: &str, base: &str) -> Option<String> {
    let url = url.trim();
    let with_host = if url.starts_with("//") { Some(format!("http:{url}")) } else { None };
    let url = with_host.as_deref().unwrap_or(url);
    let place = if has_scheme(url) { WebUrl::read(url)?.place } else { url.split('#').next().unwrap_or_default() };
    let (path, query) = split_query(place);
    let (base_path, base_query) = split_query(base);
    let (path, query) = match path {
        _ if has_scheme(url) || path.starts_with(['/', '\\']) => (path.to_owned(), query),
        "" => (base_path.to_owned(), query.or(base_query)),
        _ => (format!("{}/{path}", base_path.rsplit_once('/').map_or("", |(directory, _)| directory)), query),
    };
    let query = query.map(|query| format!("?{}", utf8_percent_encode(query, ESCAPED))).unwrap_or_default();
    Some(format!("{}{query}", utf8_percent_encode(&without_dot_segments(&path), ESCAPED)))
}

pub(super) fn has_scheme(url: &str) -> bool {
    url.find([':', '/', '\\', '?', '#']).is_some_and(|at| url.get(at..).is_some_and(|rest| rest.starts_with(':')))
}

fn split_query(place: &str) -> (&str, Option<&str>) {
    place.split_once('?').map_or((place, None), |(path, query)| (path, Some(query)))
}

/// RFC 3986 section 5.2.4, with escaped dots and backslashes as browsers read them.
fn without_dot_segments(path: &str) -> String {
    let path = path.replace('\\', "/");
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.strip_prefix('/').unwrap_or(&path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let plain = segment.replace("%2e", ".").replace("%2E", ".");
        match plain.as_str() {
            "." => {}
            ".." => drop(kept.pop()),
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if segments.peek().is_none() {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

impl<'a> WebUrl<'a> {
    /// Reads an absolute URL. `None` if it is not one of `http` or `https` with a host.
    pub(super) fn read(url: &'a str) -> Option<Self> {
        let trimmed = url.trim();
        let (scheme, rest) = trimmed.split_once(':')?;
        let scheme = ["http", "https"].into_iter().find(|known| known.eq_ignore_ascii_case(scheme))?;
        let (rest, fragment) = rest.split_once('#').map_or((rest, None), |(rest, fragment)| (rest, Some(fragment)));
        let written = rest.trim_start_matches(['/', '\\']);
        let end = written.find(['/', '\\', '?']).unwrap_or(written.len());
        let (authority, place) = written.split_at(end);
        let (user, authority) = authority.rsplit_once('@').map_or((None, authority), |(user, rest)| (Some(user), rest));
        let end = match authority.strip_prefix('[') {
            Some(_) => authority.find(']')? + 1,
            None => authority.find(':').unwrap_or(authority.len()),
        };
        let (host, port) = authority.split_at(end);
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            None => return None,
            Some("") => None,
            Some(digits) => Some(digits.parse().ok()?),
        };
        if host.is_empty() {
            return None;
        }
        let is_plain = user.is_none()
            && fragment.is_none()
            && rest.strip_prefix("//") == Some(written)
            && url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        let port = port.filter(|port| default_port(scheme) != Some(*port));
        Some(Self { host: Host::read(host), scheme, port, place, is_plain })
    }
}

impl WebUrl<'_> {
    /// Returns `true` if both have one scheme, host and port.
    pub(super) fn has_origin_of(&self, other: &WebUrl<'_>) -> bool {
        (self.scheme, &self.host, self.port) == (other.scheme, &other.host, other.port) && self.host != Host::Unclear
    }

    /// Returns `true` if both have one scheme, host, port and path. An empty path is `/` (RFC 3986 section 6.2.3), and escaped
    /// letters are letters.
    pub(super) fn has_place_of(&self, other: &WebUrl<'_>) -> bool {
        let path = |url: &WebUrl<'_>| match split_query(url.place).0 {
            "" => b"/".to_vec(),
            path => percent_decode_str(path).collect(),
        };
        self.has_origin_of(other) && path(self) == path(other)
    }

    /// Returns `true` if a URL library writes `url`, of which these are the parts, in the same way, apart from an empty path.
    pub(super) fn is_canonical(&self, url: &str) -> bool {
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let (path, query) = split_query(self.place);
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let path = if path.is_empty() { path.to_owned() } else { without_dot_segments(path) };
        url == format!("{}://{}{port}{path}{query}", self.scheme, self.host)
    }

    /// Returns `true` for "a URL that uses the `https` scheme and has no query or fragment components" (RFC 8414 section 2), or one
    /// with `http` of a server on this machine.
    pub(super) fn is_issuer(&self) -> bool {
        self.is_plain
            && self.host != Host::Unclear
            && !self.place.contains('?')
            && (self.scheme == "https" || self.host.is_loopback())
    }
}

impl Host {
    /// Reads a host, an IPv6 address in its brackets.
    pub(super) fn read(host: &str) -> Self {
        if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return address.parse::<Ipv6Addr>().map_or(Self::Unclear, |address| Self::Address(address.into()));
        }
        if let Ok(address) = host.parse::<Ipv4Addr>() {
            return Self::Address(address.into());
        }
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let is_clear = !ends_with_number(&name)
            && name.split('.').all(|label| !label.is_empty())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
        if is_clear { Self::Name(name) } else { Self::Unclear }
    }

    pub(super) fn is_loopback(&self) -> bool {
        match self {
            Self::Address(address) => address.to_canonical().is_loopback(),
            Self::Name(name) => last_label(name) == "localhost",
            Self::Unclear => false,
        }
    }

    /// Returns `true` if only the server's own network can reach the host, or may.
    pub(super) fn is_internal(&self) -> bool {
        match self {
            Self::Address(address) => is_private(*address) || address.to_canonical().is_unspecified(),
            Self::Name(name) => is_internal_name(name),
            Self::Unclear => true,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
            Self::Unclear => f.write_str("?"),
        }
    }
}

/// Returns `true` if a name is resolved in one network only: a single label, or one with a suffix reserved by RFC 6761,
/// RFC 6762, RFC 8375, ICANN or the usual container platforms.
fn is_internal_name(name: &str) -> bool {
    const SUFFIXES: [&str; 11] = [
        "consul",
        "corp",
        "home",
        "internal",
        "intranet",
        "lan",
        "local",
        "localdomain",
        "localhost",
        "private",
        "svc",
    ];
    let last = last_label(name);
    last.len() == name.len() || SUFFIXES.contains(&last) || name.ends_with(".home.arpa")
}

fn last_label(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_a_url_parser() {
        let base = "/oauth/register?x=1";
        let joined = url::Url::parse("https://as.example.com").unwrap().join(base).unwrap();
        for url in [
            "http://10.0.0.1/c?x=1#y",
            "HTTPS://u:p@as.internal:8443/a/../b",
            "https://as.example.com",
            "https://as.example.com?x",
            "/register/c",
            "/a/./b/../../c/",
            "/a/%2e%2E/b/..",
            "/a\\b",
            "register/c",
            "../register/c",
            "../../../c",
            ".",
            "..",
            "?client_id=c",
            "?",
            "#c",
            "",
            "//evil.example/c",
            "/ü/a b?ü=\"<",
            " /register/c ",
            "mailto:a@example.com",
            "http://",
            "https://a:b/",
            "urn:x",
        ] {
            let target = joined.join(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            let theirs = target.map(|url| url[url::Position::BeforePath..url::Position::AfterQuery].to_owned());
            assert_eq!(place(url, base), theirs, "{url}");
        }
    }

    #[test]
    fn origins_are_written_as_browsers_do() {
        for url in [
            "https://as.example.com",
            "https://AS.example.com:443/",
            "http://localhost:3000",
            "http://127.0.0.1:80",
            "http://[::1]:8080/",
            "https://xn--bcher-kva.example",
        ] {
            let theirs = url::Url::parse(url).unwrap().origin().ascii_serialization();
            assert_eq!(origin(url), Some(theirs), "{url}");
        }
        for url in [
            "as.example.com",
            "ftp://a.example",
            "https://a.example/x",
            "https://a.example?",
            "https://a.example#",
            "https://u@a.example",
            "https:/a.example",
            "https://a.example:x",
            "https://",
            "http://2130706433",
            "http://0x7f.1",
            "http://1.2.3.04",
            "https://a..example",
            "https://a.example:70000",
            "https://b\u{fc}cher.example",
            "https://[::ffff:192.0.2.1]",
            "https://localhost..",
        ] {
            assert_eq!(origin(url), None, "{url}");
        }
    }
}
