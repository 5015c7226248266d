//! The private hosts that an operator lists for redirect URIs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::redirect_uri::{NotPublic, RedirectClass, RedirectUri, default_port};
use crate::rules::ConfigError;

/// The origin of a host in a private network: `http://n8n.lan:5678`, `https://192.168.1.20`.
///
/// Over `http` the authorization code travels in clear text, and RFC 9700 section 2.6 forbids that: "Authorization servers
/// MUST NOT allow redirect URIs that use the http scheme except for native clients that use loopback interface redirection".
/// In a private network an operator can accept it for single hosts. On the way to a public host everybody in between reads
/// the code, so that `http` to one is no setting; and `https` to a public host needs none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
pub(crate) struct PrivateOrigin {
    is_https: bool,
    host: String,
    /// `None` for the default port of the scheme.
    port: Option<u16>,
}

impl PrivateOrigin {
    /// Returns `true` if `uri` is at this origin.
    pub(crate) fn has(&self, uri: &RedirectUri<'_>) -> bool {
        self.scheme() == uri.scheme() && uri.host() == Some(&self.host) && uri.unusual_port() == self.port
    }

    fn scheme(&self) -> &'static str {
        if self.is_https { "https" } else { "http" }
    }
}

impl FromStr for PrivateOrigin {
    type Err = ConfigError;

    fn from_str(origin: &str) -> Result<Self, ConfigError> {
        let invalid = |reason: &str| ConfigError::Pattern { pattern: origin.to_owned(), reason: reason.to_owned() };
        let uri = RedirectUri::parse_with_address(origin).map_err(|error| invalid(error.description()))?;
        let (Some(host), "http" | "https") = (uri.host(), uri.scheme()) else {
            return Err(invalid("is not at a host: write an origin, like \"http://n8n.lan:5678\""));
        };
        if !uri.path().is_empty() || origin.contains('?') {
            return Err(invalid(
                "is more than an origin: write scheme, host and port only, like \"http://n8n.lan:5678\"",
            ));
        }
        if uri.class() == RedirectClass::Loopback {
            return Err(invalid("is this machine, which redirect_uris.localhost and the class loopback are about"));
        }
        check_private(&uri, host).map_err(invalid)?;
        Ok(Self { is_https: uri.scheme() == "https", host: host.to_owned(), port: uri.unusual_port() })
    }
}

/// Checks that a host is in a private network, as far as its name or address says. The error is the reason.
fn check_private(uri: &RedirectUri<'_>, host: &str) -> Result<(), &'static str> {
    if let Some(address) = address(host) {
        return if is_private(address) {
            Ok(())
        } else {
            Err("is not an address of a private network (RFC 1918, RFC 4193, RFC 6598): give that host a name and TLS")
        };
    }
    match uri.check_public_host() {
        Err(NotPublic::TopLevel | NotPublic::LeadsInside) => Ok(()),
        Ok(()) | Err(NotPublic::Suffix) if uri.scheme() == "http" => {
            Err("is http to a public host: everybody on the way reads the codes, so give that host TLS")
        }
        Ok(()) | Err(NotPublic::Suffix) => Err("is a public host: list it in redirect_uris.patterns"),
    }
}

/// Returns the address that a host is, in the form of a redirect URI.
fn address(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// Link-local addresses are none of these: cloud machines ask one of them for their credentials.
fn is_private(address: IpAddr) -> bool {
    match address {
        // 100.64.0.0/10 is also what overlay networks (VPNs) give to their machines.
        IpAddr::V4(v4) => v4.is_private() || matches!(v4.octets(), [100, 64..128, ..]),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

impl TryFrom<String> for PrivateOrigin {
    type Error = ConfigError;

    fn try_from(origin: String) -> Result<Self, ConfigError> {
        origin.parse()
    }
}

impl From<PrivateOrigin> for String {
    fn from(origin: PrivateOrigin) -> Self {
        let scheme = origin.scheme();
        match origin.port.filter(|port| default_port(scheme) != Some(*port)) {
            Some(port) => format!("{scheme}://{}:{port}", origin.host),
            None => format!("{scheme}://{}", origin.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_origins_of_private_hosts_are_read() {
        for origin in [
            "http://n8n.lan:5678",
            "https://192.168.1.20",
            "http://192.168.1.20:5678",
            "http://10.0.0.1",
            "http://172.31.255.255",
            "http://100.64.0.1:8080",
            "http://[fd12:3456:789a::1]:8080",
            "https://nas",
            "http://x.svc.cluster.local",
            "http://app.corp.internal",
            "http://fritz.box",
            "http://host.docker.internal:3000",
        ] {
            let read = origin.parse::<PrivateOrigin>().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(String::from(read), origin);
        }
        assert_eq!(String::from("http://n8n.lan:80".parse::<PrivateOrigin>().unwrap()), "http://n8n.lan");
        for (origin, reason) in [
            ("http://app.example.com", "public host"),
            ("http://claude.ai:8080", "public host"),
            ("http://co.uk", "public host"),
            ("https://claude.ai", "redirect_uris.patterns"),
            ("https://localhost.:443", "host"),
            ("http://8.8.8.8", "private network"),
            ("https://8.8.8.8", "private network"),
            ("http://169.254.169.254", "private network"),
            ("http://172.32.0.1", "private network"),
            ("http://100.128.0.1", "private network"),
            ("http://0.0.0.0:80", "private network"),
            ("http://127.0.0.2", "private network"),
            ("http://[fe80::1]", "private network"),
            ("http://[::ffff:c0a8:114]", "private network"),
            ("http://localhost:3000", "this machine"),
            ("http://127.0.0.1", "this machine"),
            ("http://[::1]:1", "this machine"),
            ("http://n8n.lan:5678/", "more than an origin"),
            ("http://n8n.lan:5678/cb", "more than an origin"),
            ("http://n8n.lan?x", "more than an origin"),
            ("http://*.lan", "wildcard"),
            ("http://n8n.lan:*", "wildcard"),
            ("http://user@n8n.lan", "user information"),
            ("http://N8N.lan", "host"),
            ("http://192.168.1", "host"),
            ("http://0xc0a80114", "host"),
            ("http://192.168.001.020", "host"),
            ("javascript:alert(1)", "never allowed"),
            ("data:text/html,x", "never allowed"),
            ("com.example.app:/cb", "not at a host"),
            ("myapp://n8n.lan", "not at a host"),
            ("n8n.lan:5678", ""),
            ("", ""),
        ] {
            let error = origin.parse::<PrivateOrigin>().expect_err(origin).to_string();
            assert!(error.contains(reason), "{origin}: {error}");
        }
    }

    #[test]
    fn an_origin_has_its_own_uris_only() {
        for (origin, inside, outside) in [
            (
                "http://n8n.lan:5678",
                &["http://n8n.lan:5678/rest/cb", "http://n8n.lan:5678", "http://n8n.lan:5678/?a=b"][..],
                &[
                    "http://n8n.lan/rest",
                    "https://n8n.lan:5678/rest",
                    "http://a.n8n.lan:5678/",
                    "http://n8n.lan.evil.example:5678/",
                ][..],
            ),
            (
                "https://192.168.1.20",
                &["https://192.168.1.20/cb", "https://192.168.1.20:443/cb"],
                &["http://192.168.1.20/cb", "https://192.168.1.21/cb", "https://192.168.1.20:8443/cb"],
            ),
        ] {
            let origin: PrivateOrigin = origin.parse().unwrap();
            for (uris, expected) in [(inside, true), (outside, false)] {
                for uri in uris {
                    assert_eq!(origin.has(&RedirectUri::parse_with_address(uri).unwrap()), expected, "{uri}");
                }
            }
        }
    }
}
