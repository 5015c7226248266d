//! [`ClientIdUrl`]: one strict reading of a `client_id` that is a URL.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::redirect_uri::{NotPublic, RedirectUri, RedirectUriError, is_within_domain, registrable_domain, site_of};

/// A `client_id` that is the URL of a client metadata document (draft-ietf-oauth-client-id-metadata-document section 3).
///
/// It has one reading only, that of [`RedirectUri`], and is never rewritten. Two of them are the same client if they are the same
/// string: `/a` and `/a/` differ, and so do `%7E` and `~`. It is an `https` URL of at most 512 bytes to a public host that is
/// written as a name, with a path, and without user information, fragment, dot segments and empty segments. A query and a
/// port are rejected unless [options](ClientIdUrlOptions) say otherwise.
///
/// Names below `.example` are accepted, since examples and tests use them: RFC 6761 section 6.5 reserves them, so that they have
/// no address.
///
/// ```
/// use tower_dcr::documents::{ClientIdUrl, ClientIdUrlError};
///
/// let url = ClientIdUrl::parse("https://app.example.com/oauth/client.json")?;
/// assert_eq!((url.host(), url.port(), url.path()), ("app.example.com", 443, "/oauth/client.json"));
/// assert_eq!(ClientIdUrl::parse("https://app.example.com/"), Err(ClientIdUrlError::Path));
/// assert_eq!(ClientIdUrl::parse("http://app.example.com/client"), Err(ClientIdUrlError::Scheme));
/// # Ok::<_, ClientIdUrlError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientIdUrl {
    text: Arc<str>,
    /// The end of the host, which begins behind `https://`.
    host_end: usize,
    port: Option<u16>,
}

/// The parts of a [`ClientIdUrl`] that are accepted beyond the defaults.
///
/// ```
/// use tower_dcr::documents::{ClientIdUrl, ClientIdUrlOptions};
///
/// let options = ClientIdUrlOptions { query: true, ports: [8443].into() };
/// let url = ClientIdUrl::parse_with("https://app.example.com:8443/client?version=2", &options)?;
/// assert_eq!(url.port(), 8443);
/// # Ok::<_, tower_dcr::documents::ClientIdUrlError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "written as a literal")]
pub struct ClientIdUrlOptions {
    /// Accepts a query, which SHOULD NOT be there (default: `false`). Each query is another client, so that one document may have
    /// any number of names.
    pub query: bool,
    /// The ports that may be written (default: none). With 443, `:443` is accepted, which is another client than no port.
    pub ports: BTreeSet<u16>,
}

/// The reason for which a string is no [`ClientIdUrl`].
///
/// ```
/// use tower_dcr::documents::{ClientIdUrl, ClientIdUrlError};
///
/// assert_eq!(ClientIdUrl::parse("https://user@app.example.com/client"), Err(ClientIdUrlError::UserInfo));
/// assert_eq!(ClientIdUrl::parse("https://127.0.0.1/client"), Err(ClientIdUrlError::Host));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientIdUrlError {
    /// A character outside RFC 3986: control, space, backslash, asterisk, non-ASCII, `"<>^{|}` or a backtick.
    Character,
    /// A fragment, an empty one included.
    Fragment,
    /// The host is missing, an IP address, or not written in its one canonical form.
    Host,
    /// More than 512 bytes.
    Length,
    /// The host is no public web site: a single label, a special-use name, a public suffix, or a name for private networks.
    NotPublic,
    /// The path is missing or `/`, or it has a dot segment, an empty segment, a bracket or an ambiguous escape; or it is that of a
    /// page that opens an application.
    Path,
    /// A port that is not accepted, or is not in canonical form.
    Port,
    /// A query that is not accepted, an empty one included.
    Query,
    /// Another scheme than `https`, or another spelling of it.
    Scheme,
    /// User information before the host.
    UserInfo,
}

const SCHEME: &str = "https://";

impl ClientIdUrl {
    /// The maximum length in bytes.
    pub(crate) const MAX_BYTES: usize = 512;

    /// Parses a `client_id`, without a query and a port.
    ///
    /// # Errors
    ///
    /// Returns [`ClientIdUrlError`] if `text` is malformed, if readers of URLs disagree on it, or if its host is not public.
    pub fn parse(text: &str) -> Result<Self, ClientIdUrlError> {
        Self::parse_with(text, &ClientIdUrlOptions::default())
    }

    /// Parses a `client_id` with the parts that `options` accept.
    ///
    /// # Errors
    ///
    /// Returns [`ClientIdUrlError`] as [`parse`](Self::parse) does.
    pub fn parse_with(text: &str, options: &ClientIdUrlOptions) -> Result<Self, ClientIdUrlError> {
        if text.len() > Self::MAX_BYTES {
            return Err(ClientIdUrlError::Length);
        }
        if !text.starts_with(SCHEME) {
            return Err(ClientIdUrlError::Scheme);
        }
        let uri = RedirectUri::parse(text)?;
        let host = uri.host().ok_or(ClientIdUrlError::Host)?;
        if uri.port().is_some_and(|port| !options.ports.contains(&port)) {
            return Err(ClientIdUrlError::Port);
        }
        if matches!(uri.path(), "" | "/") || uri.path().contains("//") {
            return Err(ClientIdUrlError::Path);
        }
        if !options.query && text.contains('?') {
            return Err(ClientIdUrlError::Query);
        }
        match uri.check_public_host() {
            Err(NotPublic::TopLevel) if is_within_domain(host, "example") && host.contains('.') => {}
            checked => checked.map_err(|_| ClientIdUrlError::NotPublic)?,
        }
        // A suffix below a domain with an owner (`s3.amazonaws.com`) has pages of any customer, and no site.
        if registrable_domain(host).is_none() {
            return Err(ClientIdUrlError::NotPublic);
        }
        Ok(Self { text: text.into(), host_end: SCHEME.len() + host.len(), port: uri.port() })
    }

    /// Parses the `client_id` of a record: other settings may have accepted its port and its query.
    pub(crate) fn of_record(client_id: &str) -> Result<Self, ClientIdUrlError> {
        let port = RedirectUri::parse(client_id)?.port();
        Self::parse_with(client_id, &ClientIdUrlOptions { query: true, ports: port.into_iter().collect() })
    }

    /// Returns the string that was read, unchanged.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the host, in lower case.
    #[must_use]
    pub fn host(&self) -> &str {
        self.text.get(SCHEME.len()..self.host_end).unwrap_or_default()
    }

    /// Returns the port: the one that is written, or 443.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(443)
    }

    /// Returns the path, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        let path = self.path_and_query();
        path.split('?').next().unwrap_or(path)
    }

    /// Returns the path with the query: the target of the request for the document.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        let after_host = self.text.get(self.host_end..).unwrap_or_default();
        after_host.find('/').and_then(|at| after_host.get(at..)).unwrap_or_default()
    }

    /// Returns host and port as they are written: the value of the field `Host`.
    #[must_use]
    pub fn authority(&self) -> &str {
        let authority = self.text.get(SCHEME.len()..).unwrap_or_default();
        authority.split('/').next().unwrap_or(authority)
    }

    /// Returns the site: the registrable domain of the host by the Public Suffix List, or the host if it has none. Customers of
    /// `github.io` have a site each.
    #[must_use]
    pub fn site(&self) -> &str {
        site_of(self.host())
    }

    /// Returns `true` if a `client_id` is meant to be a URL: it begins like one, in any spelling.
    pub(crate) fn is_meant_by(client_id: &str) -> bool {
        let scheme = client_id.trim_start().as_bytes();
        scheme.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https:"))
    }
}

impl ClientIdUrlError {
    /// Returns a fixed sentence that quotes nothing.
    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            Self::Character => "the client_id contains a character that is not allowed in a URL",
            Self::Fragment => "the client_id must not have a fragment",
            Self::Host => "the client_id needs the name of a host in lower case, not an IP address",
            Self::Length => "the client_id has more than 512 bytes",
            Self::NotPublic => "the client_id leads to a host that is no public web site",
            Self::Path => "the client_id needs a path, without dot segments, empty segments and ambiguous escapes",
            Self::Port => "the client_id has a port that is not accepted",
            Self::Query => "the client_id must not have a query",
            Self::Scheme => "the client_id must begin with https://",
            Self::UserInfo => "the client_id must not have user information",
        }
    }
}

impl From<RedirectUriError> for ClientIdUrlError {
    fn from(error: RedirectUriError) -> Self {
        match error {
            RedirectUriError::Character | RedirectUriError::Wildcard => Self::Character,
            RedirectUriError::Fragment => Self::Fragment,
            RedirectUriError::Host => Self::Host,
            RedirectUriError::Path | RedirectUriError::DeniedHandler => Self::Path,
            RedirectUriError::Port => Self::Port,
            RedirectUriError::Scheme | RedirectUriError::DangerousScheme => Self::Scheme,
            RedirectUriError::UserInfo => Self::UserInfo,
        }
    }
}

impl fmt::Display for ClientIdUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl std::error::Error for ClientIdUrlError {}

impl fmt::Display for ClientIdUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ClientIdUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl Serialize for ClientIdUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl AsRef<str> for ClientIdUrl {
    fn as_ref(&self) -> &str {
        &self.text
    }
}
