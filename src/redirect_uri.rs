//! [`RedirectUri`]: one strict reading of a redirect URI, and the one comparison.
//!
//! Authorization servers compare redirect URIs as strings (RFC 6749 section 3.1.2.3, RFC 9700 section 4.1.3), browsers
//! follow them as WHATWG URLs, and libraries in between read them as RFC 3986 URIs. Where those readings differ, an
//! attacker finds room: a backslash, a tab, `http://2130706433/`, `https://good@evil/`. So a string is a
//! [`RedirectUri`] only if all of them agree on it, which is to say that its WHATWG serialisation is the string itself
//! (except an empty path, which that serialisation spells `/`, and a default port, which it drops), and it is **never
//! rewritten**: the bytes that were checked are forwarded.
//!
//! ```
//! use tower_dcr::redirect_uri::{RedirectClass, RedirectUri, RedirectUriError, matches};
//!
//! let uri = RedirectUri::parse("http://127.0.0.1:33418/callback")?;
//! assert_eq!(uri.class(), RedirectClass::Loopback);
//! assert_eq!(RedirectUri::parse("https://good.example.com\\@evil.test/"), Err(RedirectUriError::Character));
//!
//! // RFC 8252 section 7.3: a native app listens on whatever port the system gives it.
//! assert!(matches("http://127.0.0.1/callback", "http://127.0.0.1:51004/callback"));
//! assert!(!matches("http://127.0.0.1/callback", "http://localhost:51004/callback"));
//! # Ok::<_, RedirectUriError>(())
//! ```

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text;

mod host;
mod known_schemes;
mod path;
mod public_host;
mod scheme;

pub(crate) use host::{ends_with_number, is_canonical_dns_name, is_public_dns_name, is_within_domain};
pub(crate) use known_schemes::known_schemes;
pub(crate) use public_host::{NotPublic, public_suffix, registrable_domain, site_of};
pub(crate) use scheme::{is_dangerous_scheme, is_executable_scheme};

/// A redirect URI that has one reading only. See the [module docs](self).
///
/// ```
/// use tower_dcr::redirect_uri::RedirectUri;
///
/// let uri = RedirectUri::parse("https://app.example.com:8443/cb?x=1")?;
/// assert_eq!((uri.host(), uri.port(), uri.path()), (Some("app.example.com"), Some(8443), "/cb"));
/// # Ok::<_, tower_dcr::redirect_uri::RedirectUriError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedirectUri<'a> {
    raw: &'a str,
    class: RedirectClass,
    scheme: &'a str,
    host: Option<&'a str>,
    port: Option<u16>,
    path: &'a str,
}

/// The kind of target that a redirect URI leads to (RFC 7591 section 5, RFC 8252 section 7).
///
/// ```
/// use tower_dcr::redirect_uri::{RedirectClass, RedirectUri};
///
/// assert_eq!(RedirectUri::parse("com.example.app:/cb")?.class(), RedirectClass::PrivateUse);
/// # Ok::<_, tower_dcr::redirect_uri::RedirectUriError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RedirectClass {
    /// `http` to `localhost`, `127.0.0.1` or `[::1]`: an application on the user's own machine.
    Loopback,
    /// `http` to any other host.
    PlainHttp,
    /// A scheme that a native application claims, such as `com.example.app:/cb` or `cursor://…`.
    PrivateUse,
    /// `https` to a host that is written as a DNS name.
    Https,
}

/// The reason for which a string is no redirect URI. No configuration accepts it.
///
/// ```
/// use tower_dcr::redirect_uri::{RedirectUri, RedirectUriError};
///
/// assert_eq!(RedirectUri::parse("https://app.example.com/cb#"), Err(RedirectUriError::Fragment));
/// assert_eq!(RedirectUri::parse("https://good@evil.test/"), Err(RedirectUriError::UserInfo));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedirectUriError {
    /// A character outside RFC 3986: control, space, backslash, non-ASCII, `"<>^{|}` or a backtick.
    Character,
    /// A scheme that runs code, reads files or steers the browser or system: `javascript`, `data`, `file`, `ms-*`, ….
    DangerousScheme,
    /// A handler of an application that installs, clones, opens or runs something (a table of known ones; what those have in
    /// common is looked for behind any scheme), or a page on the web that opens one.
    DeniedHandler,
    /// A fragment, an empty one included (RFC 6749 section 3.1.2).
    Fragment,
    /// The host is missing, an IP address, or not written in its one canonical form.
    Host,
    /// A dot segment, a bracket, or an escape that hides one, or a malformed or non-UTF-8 escape, or an escaped slash or control.
    Path,
    /// The port is empty, zero, out of range, or has a leading zero.
    Port,
    /// Not an absolute URI with a lower-case scheme.
    Scheme,
    /// User information before the host: `https://good.example@evil.example/`.
    UserInfo,
    /// An asterisk: RFC 9700 section 4.1 rules patterns out.
    Wildcard,
}

impl RedirectUriError {
    /// Returns a fixed sentence that quotes nothing.
    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::Character => "contains a character that is not allowed in a URI",
            Self::DangerousScheme => "uses a scheme that is never allowed",
            Self::DeniedHandler => "leads to a link of an application that installs, opens or runs something",
            Self::Fragment => "must not have a fragment",
            Self::Host => "has a host that is missing, ambiguous or an IP address",
            Self::Path => "has a dot segment, a bracket or an ambiguous escape in its path",
            Self::Port => "has a port that is not in canonical form",
            Self::Scheme => "is not an absolute URI with a lower-case scheme",
            Self::UserInfo => "must not have user information",
            Self::Wildcard => "must not contain a wildcard",
        }
    }
}

impl fmt::Display for RedirectUriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the redirect URI {}", self.description())
    }
}

impl std::error::Error for RedirectUriError {}

impl<'a> RedirectUri<'a> {
    /// Parses a redirect URI.
    ///
    /// # Errors
    ///
    /// [`RedirectUriError`] if `raw` is malformed, if readers of URLs disagree on it, or if its scheme is dangerous.
    pub fn parse(raw: &'a str) -> Result<Self, RedirectUriError> {
        let uri = Self::parse_with_address(raw)?;
        let is_web = matches!(uri.class, RedirectClass::Https | RedirectClass::PlainHttp);
        // An address has no name that a person could judge. IP addresses end with a number or a bracket.
        if is_web && uri.host.is_some_and(|host| host.ends_with(']') || ends_with_number(host)) {
            return Err(RedirectUriError::Host);
        }
        Ok(uri)
    }

    /// Parses a redirect URI whose host may be an IP address in its one canonical form: of a host that an operator listed.
    pub(crate) fn parse_with_address(raw: &'a str) -> Result<Self, RedirectUriError> {
        let survey = Survey::of(raw);
        survey.check(raw)?;
        if let Some(rest) = raw.strip_prefix("https:") {
            return Self::parse_web(raw, "https", rest, survey);
        }
        if let Some(rest) = raw.strip_prefix("http:") {
            return Self::parse_web(raw, "http", rest, survey);
        }
        let (scheme, rest) = text::split_at_byte(raw, b':').ok_or(RedirectUriError::Scheme)?;
        if is_dangerous_scheme(scheme) {
            return Err(RedirectUriError::DangerousScheme);
        }
        if !scheme::is_canonical(scheme) {
            return Err(RedirectUriError::Scheme);
        }
        Self::parse_private_use(raw, scheme, rest, survey)
    }

    fn parse_web(raw: &'a str, scheme: &'static str, rest: &'a str, survey: Survey) -> Result<Self, RedirectUriError> {
        let rest = rest.strip_prefix("//").ok_or(RedirectUriError::Host)?;
        let (authority, path, query) = split_authority(rest, survey);
        if survey.has(QUOTE) && query.is_some_and(|query| query.contains('\'')) {
            // A WHATWG serialiser writes %27 there: not the same string any more.
            return Err(RedirectUriError::Character);
        }
        let (host, port) = host::split(authority, survey)?;
        path::check(path, survey)?;
        let class = match (scheme, host) {
            ("http", "localhost" | "127.0.0.1" | "[::1]") => RedirectClass::Loopback,
            (_, host) if !is_canonical_dns_name(host) && !host::is_canonical_address(host) => {
                return Err(RedirectUriError::Host);
            }
            ("https", _) => RedirectClass::Https,
            _ => RedirectClass::PlainHttp,
        };
        let uri = Self { raw, class, scheme, host: Some(host), port, path };
        if class == RedirectClass::Https && known_schemes::is_launcher(&uri) {
            return Err(RedirectUriError::DeniedHandler);
        }
        Ok(uri)
    }

    /// RFC 8252 section 7.1 documents `scheme:/path`; applications in the field also send `scheme://host/path`.
    fn parse_private_use(
        raw: &'a str,
        scheme: &'a str,
        rest: &'a str,
        survey: Survey,
    ) -> Result<Self, RedirectUriError> {
        let (host, port, path) = match rest.strip_prefix("//") {
            Some(hierarchical) => {
                let (authority, path, _) = split_authority(hierarchical, survey);
                let (host, port) = host::split_opaque(authority, survey)?;
                (Some(host), port, path)
            }
            None => (None, None, rest.split('?').next().unwrap_or_default()),
        };
        if host.is_none() && !path.starts_with('/') {
            return Err(RedirectUriError::Path);
        }
        path::check(path, survey)?;
        let uri = Self { raw, class: RedirectClass::PrivateUse, scheme, host, port, path };
        // The application would act on the link: nothing that a policy lists makes a callback of it.
        if known_schemes::is_denied(&uri) { Err(RedirectUriError::DeniedHandler) } else { Ok(uri) }
    }

    /// Returns the string that was read, unchanged.
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        self.raw
    }

    /// Returns the kind of target that it leads to.
    #[must_use]
    pub const fn class(&self) -> RedirectClass {
        self.class
    }

    /// Returns the scheme, in lower case, without the colon.
    #[must_use]
    pub const fn scheme(&self) -> &'a str {
        self.scheme
    }

    /// Returns the host as written, an IPv6 address with its brackets; `None` for `scheme:/path`.
    #[must_use]
    pub const fn host(&self) -> Option<&'a str> {
        self.host
    }

    /// Returns the port, if one is written.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The port, if it is not the one that the scheme means without saying: 443 of `https`, 80 of `http`.
    pub(crate) fn unusual_port(&self) -> Option<u16> {
        self.port.filter(|port| default_port(self.scheme) != Some(*port))
    }

    /// Returns the path as written, without the query; may be empty.
    #[must_use]
    pub const fn path(&self) -> &'a str {
        self.path
    }

    /// Checks that the host is a name of a public web site.
    pub(crate) fn check_public_host(&self) -> Result<(), NotPublic> {
        public_host::check(self.host.unwrap_or_default())
    }

    /// Returns `true` for `https` to a public web site.
    pub(crate) fn leads_to_public_host(&self) -> bool {
        self.class == RedirectClass::Https && self.check_public_host().is_ok()
    }

    /// Returns `true` if this redirect URI from an authorization request is the `registered` one: the same string, or for
    /// loopback hosts the same string with another port.
    fn is_registered_as(&self, registered: &RedirectUri<'_>) -> bool {
        self.raw == registered.raw
            || (self.class == RedirectClass::Loopback
                && registered.class == RedirectClass::Loopback
                && self.host == registered.host
                && self.after_port() == registered.after_port())
    }

    /// The string without the port in it, if there is one.
    pub(crate) fn without_port(&self) -> String {
        match (self.port, self.host) {
            (Some(_), Some(host)) => format!("{}://{host}{}", self.scheme, self.after_port()),
            _ => self.raw.to_owned(),
        }
    }

    /// Returns the string that a URL parser makes of it: the slash of an empty path is written out, and a default port is not.
    /// All else that parsers change is not in a redirect URI.
    fn as_url_parsers_write(&self) -> Cow<'a, str> {
        let (Some(default), Some(host)) = (default_port(self.scheme), self.host) else { return self.raw.into() };
        if !self.path.is_empty() && self.port != Some(default) {
            return self.raw.into();
        }
        let port = self.unusual_port().map(|port| format!(":{port}")).unwrap_or_default();
        let slash = if self.path.is_empty() { "/" } else { "" };
        format!("{}://{host}{port}{slash}{}", self.scheme, self.after_port()).into()
    }

    /// Everything after scheme, host and port, which for a loopback URI is path and query.
    fn after_port(&self) -> &'a str {
        let authority = self.raw.find("://").map_or(self.raw, |at| self.raw.get(at + 3..).unwrap_or_default());
        authority.find(['/', '?']).and_then(|at| authority.get(at..)).unwrap_or_default()
    }
}

/// The port that a scheme means without saying.
pub(crate) fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    }
}

/// Returns `true` if the `redirect_uri` of an authorization request is the `registered` one.
///
/// Simple string comparison (RFC 9700 section 4.1.3), with the one exception of RFC 8252 section 7.3: for `http` to
/// `127.0.0.1`, `[::1]` or `localhost` the port may differ. The three hosts are never equal to one another. A string
/// that [`RedirectUri::parse`] rejects matches nothing, itself included, except for one whose host is an IP address: a
/// policy can [list](crate::rules::RedirectUris::with_danger_private_origins) single ones.
///
/// ```
/// use tower_dcr::redirect_uri::matches;
///
/// assert!(matches("https://app.example.com/cb", "https://app.example.com/cb"));
/// assert!(!matches("https://app.example.com/cb", "https://app.example.com/cb/"));
/// assert!(matches("http://[::1]:1234/cb", "http://[::1]:5678/cb"));
/// ```
#[must_use]
pub fn matches(registered: &str, requested: &str) -> bool {
    let Ok(requested) = RedirectUri::parse_with_address(requested) else { return false };
    let registered_as = |registered| requested.is_registered_as(&registered);
    requested.as_str() == registered || RedirectUri::parse_with_address(registered).is_ok_and(registered_as)
}

/// The findings of one pass over a string, so that most strings need no second pass.
#[derive(Clone, Copy)]
struct Survey {
    kinds: u8,
}

/// Not in RFC 3986 section 2, or one of the asterisk and the number sign, which have their own errors.
const OUTSIDE: u8 = 1;
const PERCENT: u8 = 2;
const BRACKET: u8 = 4;
const AT: u8 = 8;
const QUOTE: u8 = 16;
const QUESTION: u8 = 32;

/// The kind of each byte.
static KINDS: [u8; 256] = {
    let mut kinds = [OUTSIDE; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        #[expect(clippy::indexing_slicing, reason = "a byte is less than 256, and this runs when it is compiled")]
        let slot = &mut kinds[byte as usize];
        *slot = kind(byte);
        byte += 1;
    }
    kinds
};

const fn kind(byte: u8) -> u8 {
    match byte {
        b'%' => PERCENT,
        b'[' | b']' => BRACKET,
        b'@' => AT,
        b'\'' => QUOTE,
        b'?' => QUESTION,
        b'a'..=b'z'
        | b'A'..=b'Z'
        | b'0'..=b'9'
        | b'-'
        | b'.'
        | b'_'
        | b'~'
        | b':'
        | b'/'
        | b'!'
        | b'$'
        | b'&'
        | b'('
        | b')'
        | b'+'
        | b','
        | b';'
        | b'=' => 0,
        _ => OUTSIDE,
    }
}

impl Survey {
    fn of(raw: &str) -> Self {
        let kind = |byte| KINDS.get(usize::from(byte)).copied().unwrap_or(OUTSIDE);
        Self { kinds: raw.bytes().fold(0, |kinds, byte| kinds | kind(byte)) }
    }

    const fn has(self, kind: u8) -> bool {
        self.kinds & kind != 0
    }

    /// Rejects characters that are not allowed anywhere.
    fn check(self, raw: &str) -> Result<(), RedirectUriError> {
        if !self.has(OUTSIDE) {
            return Ok(());
        }
        match raw.bytes().find(|byte| kind(*byte) == OUTSIDE) {
            Some(b'#') => Err(RedirectUriError::Fragment),
            Some(b'*') => Err(RedirectUriError::Wildcard),
            _ => Err(RedirectUriError::Character),
        }
    }
}

/// Splits the part after `//` into authority, path and query.
fn split_authority(rest: &str, survey: Survey) -> (&str, &str, Option<&str>) {
    let end = memchr::memchr2(b'/', b'?', rest.as_bytes()).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let query = if survey.has(QUESTION) { text::split_at_byte(rest, b'?') } else { None };
    match query {
        Some((path, query)) => (authority, path, Some(query)),
        None => (authority, rest, None),
    }
}

/// Returns `true` if two redirect URIs are the same: as text, or as a URL parser writes them, through which some servers store
/// theirs.
pub(crate) fn is_same_uri(one: &str, other: &str) -> bool {
    let as_written = |uri: &str| {
        let uri = in_lower_case(uri)?;
        Some(RedirectUri::parse_with_address(&uri).ok()?.as_url_parsers_write().into_owned())
    };
    one == other || as_written(one).is_some_and(|one| as_written(other) == Some(one))
}

/// Returns a URL with scheme and host in lower case. `None` for a private-use scheme.
fn in_lower_case(url: &str) -> Option<String> {
    let at = url.find("://").filter(|at| url.get(..*at).is_some_and(is_web))? + 3;
    let end = url.get(at..)?.find(['/', '?']).map_or(url.len(), |length| at + length);
    let (head, tail) = url.split_at_checked(end)?;
    Some(format!("{}{tail}", head.to_ascii_lowercase()))
}

fn is_web(scheme: &str) -> bool {
    ["http", "https"].iter().any(|web| web.eq_ignore_ascii_case(scheme))
}

#[cfg(test)]
mod tests;
