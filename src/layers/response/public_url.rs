//! URLs in responses, rewritten so that clients can reach them.

use http::uri::Authority;
use serde::{Deserialize, Serialize};

use crate::layers::web_url::{self, Host, WebUrl};
use crate::rules::ConfigError;

/// The origin by which clients know the server, as `https://as.example.com`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
pub(super) struct PublicUrl(String);

impl PublicUrl {
    pub(super) fn parse(url: &str) -> Result<Self, ConfigError> {
        web_url::origin(url).map(Self).ok_or_else(|| ConfigError::Origin { origin: url.to_owned() })
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
            let read = WebUrl::read(url).filter(|url| url.is_plain)?;
            return self.reaches(&read.host).then(|| url.to_owned());
        };
        // Only the path and the query are kept, without user information and fragment.
        Some(format!("{public}{}", web_url::place(url, self.path)?))
    }

    /// Returns the URL of the request itself. `None` if the public origin is not known.
    pub(super) fn own_url(&self) -> Option<String> {
        self.public.and_then(|_| self.see(self.path))
    }

    /// Returns whether `url` is an `http` or `https` URL at a host that only the server's own network can reach.
    pub(super) fn is_internal(&self, url: &str) -> bool {
        // Browsers strip control characters and spaces at both ends, tabs and line breaks anywhere.
        const BREAKS: [char; 3] = ['\t', '\n', '\r'];
        let trimmed = url.trim_matches(|character| character <= ' ');
        // Few URLs have one, and every text of an answer comes here.
        let joined = trimmed.contains(BREAKS).then(|| trimmed.replace(BREAKS, ""));
        WebUrl::read(joined.as_deref().unwrap_or(trimmed)).is_some_and(|url| !self.reaches(&url.host))
    }

    /// Returns whether the client can reach the host. A client that has sent its request to an internal host can reach
    /// that host.
    fn reaches(&self, host: &Host) -> bool {
        if !host.is_internal() {
            return true;
        }
        let Some(asked) = self.asked.map(|asked| Host::read(asked.host())) else { return false };
        asked != Host::Unclear && (*host == asked || host.is_loopback() && asked.is_loopback())
    }
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
    fn internal_hosts_are_found_in_every_spelling_of_browsers() {
        let viewpoint = Viewpoint { public: None, asked: None, path: "/register" };
        for (url, internal) in [
            ("http://10.0.0.1/x", true),
            ("http:\n[::1]", true),
            ("h\tttp://10.0.0.1", true),
            ("\u{1} http://[::1]\u{1f}", true),
            ("https://localhost..", true),
            ("https://as.internal..", true),
            ("https://as..example.com", true),
            ("https://as.example.com", false),
            ("https://as.example.com.", false),
            ("/register/c", false),
            ("mailto:a@as.internal", false),
        ] {
            assert_eq!(viewpoint.is_internal(url), internal, "{url:?}");
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
