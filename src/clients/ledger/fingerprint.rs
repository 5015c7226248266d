//! [`Fingerprint`]s: properties that a registration is recognised by.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Client;
use crate::client_address::carried;
use crate::redirect_uri::{RedirectClass, RedirectUri, is_canonical_dns_name, registrable_domain};
use crate::registration::{Digest, Field, Limits, Registration};
use crate::rules::ConfigError;
use crate::rules::identity::name;
use crate::text;

/// A property that a registration is recognised by, and that can be blocked.
///
/// ```
/// use tower_dcr::clients::Fingerprint;
///
/// // Case, white space and trailing parentheses are ignored.
/// assert_eq!(Fingerprint::name("Evil  App (laptop)"), Fingerprint::name("evil app"));
/// assert!(Fingerprint::parse("source", "192.0.2.0/24").is_ok());
/// assert!(Fingerprint::parse("source", "192.0.2.0/23").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fingerprint {
    /// A single client, by its `client_id`.
    ClientId(String),
    /// The whole registration without its `software_version`: its canonical digest in hexadecimal. A digest with the version
    /// matches that version.
    Digest(String),
    /// The host that publishes the metadata documents of clients: see [`Client::document_host`].
    DocumentHost(String),
    /// The site of that host, with every host below it: see [`Client::document_site`].
    DocumentSite(String),
    /// The name and the shape of the redirect URIs: see [`Fingerprints::family`].
    Family(String),
    /// The name in its normal form: see [`Fingerprint::name`].
    Name(String),
    /// The redirect URIs without the ports of loopback ones, in any order: see [`Fingerprints::redirect_set`].
    RedirectSet(String),
    /// The `software_id`: its first 256 bytes.
    SoftwareId(String),
    /// The network that the request came from. Records keep two networks of an address: of IPv4 the address and 24 bits, of
    /// IPv6 64 and 48 bits.
    Source(String),
}

impl Fingerprint {
    /// All kinds, as [`kind`](Self::kind) returns them.
    pub const KINDS: [&str; 9] = [
        "client_id",
        "digest",
        "document_host",
        "document_site",
        "family",
        "name",
        "redirect_set",
        "software_id",
        "source",
    ];

    /// Creates the fingerprint of a name, in its normal form: without trailing parentheticals (clients put host names and
    /// versions there), compatibility forms, case, white space and invisible characters. The first 256 bytes count.
    #[must_use]
    pub fn name(client_name: &str) -> Self {
        Self::Name(name::normal(client_name))
    }

    fn source(network: &str) -> Result<Self, ConfigError> {
        let error = || ConfigError::Source { value: network.to_owned() };
        let parsed = network.parse::<IpNet>().or_else(|_| network.parse::<IpAddr>().map(IpNet::from));
        let parsed = parsed.map_err(|_| error())?;
        let bits: &[u8] = if parsed.addr().is_ipv4() { &[24, 32] } else { &[48, 64] };
        if bits.contains(&parsed.prefix_len()) { Ok(Self::Source(parsed.trunc().to_string())) } else { Err(error()) }
    }

    fn document_host(host: &str) -> Result<String, ConfigError> {
        let is_host = host.contains('.') && is_canonical_dns_name(host);
        if is_host { Ok(host.to_owned()) } else { Err(ConfigError::Host { host: host.to_owned() }) }
    }

    fn document_site(host: &str) -> Result<String, ConfigError> {
        let site = Self::document_host(host)?;
        // `app.example.com` would match nothing, and neither would `github.io`, whose customers have a site each.
        let is_site = registrable_domain(&site) == Some(&site);
        if is_site { Ok(site) } else { Err(ConfigError::Site { site }) }
    }

    /// Reads a fingerprint as people write it: a name in any spelling, a network as an address or in CIDR notation, digests in
    /// hexadecimal digits of either case, a host or a site as a DNS name in lower case, a `client_id` as it is.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::Source`] for a network that records do not keep, [`ConfigError::FingerprintDigits`] for a `digest` without 64
    /// hexadecimal digits or a `family` or `redirect_set` without 32, [`ConfigError::Host`] for a `document_host` or `document_site`
    /// that is no DNS name in lower case, [`ConfigError::Site`] for a `document_site` that is a part of a site, or the suffix of
    /// several, [`ConfigError::Unknown`] for an unknown kind.
    ///
    /// ```
    /// use tower_dcr::clients::Fingerprint;
    ///
    /// assert!(Fingerprint::parse("family", "0123456789abcdef0123456789ABCDEF").is_ok());
    /// let error = Fingerprint::parse("family", "Evil App").unwrap_err();
    /// assert_eq!(error.to_string(), "a family has 32 hexadecimal digits");
    /// ```
    pub fn parse(kind: &str, value: &str) -> Result<Self, ConfigError> {
        match kind {
            "name" => Ok(Self::name(value)),
            "software_id" => Ok(Self::SoftwareId(text::cut(value, MAX_KEY).to_owned())),
            "source" => Self::source(value),
            "digest" => Ok(Self::Digest(digits::<64>(kind, value)?)),
            "document_host" => Ok(Self::DocumentHost(Self::document_host(value)?)),
            "document_site" => Ok(Self::DocumentSite(Self::document_site(value)?)),
            "family" => Ok(Self::Family(digits::<HALF>(kind, value)?)),
            "redirect_set" => Ok(Self::RedirectSet(digits::<HALF>(kind, value)?)),
            "client_id" => Ok(Self::ClientId(value.to_owned())),
            _ => {
                Err(ConfigError::Unknown { what: "a kind of fingerprint", word: kind.to_owned(), words: &Self::KINDS })
            }
        }
    }

    /// Returns the kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::ClientId(_) => "client_id",
            Self::Digest(_) => "digest",
            Self::DocumentHost(_) => "document_host",
            Self::DocumentSite(_) => "document_site",
            Self::Family(_) => "family",
            Self::Name(_) => "name",
            Self::RedirectSet(_) => "redirect_set",
            Self::SoftwareId(_) => "software_id",
            Self::Source(_) => "source",
        }
    }

    /// Returns the value.
    #[must_use]
    pub fn value(&self) -> &str {
        match self {
            Self::ClientId(value)
            | Self::Digest(value)
            | Self::DocumentHost(value)
            | Self::DocumentSite(value)
            | Self::Family(value)
            | Self::Name(value)
            | Self::RedirectSet(value)
            | Self::SoftwareId(value)
            | Self::Source(value) => value,
        }
    }

    /// Returns `true` if `client` has it.
    pub(crate) fn is_of(&self, client: &Client) -> bool {
        let prints = &client.fingerprints;
        match self {
            Self::ClientId(value) => client.client_id.as_ref() == Some(value),
            Self::Digest(value) => prints.digest == *value,
            Self::DocumentHost(value) => client.document_host() == Some(value),
            Self::DocumentSite(value) => client.document_site() == Some(value),
            Self::Family(value) => prints.family == *value,
            Self::Name(value) => prints.name == *value,
            Self::RedirectSet(value) => prints.redirect_set == *value,
            Self::SoftwareId(value) => prints.software_id.as_ref() == Some(value),
            Self::Source(value) => {
                prints.source.as_ref().is_some_and(|source| source.narrow == *value || source.wide == *value)
            }
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind(), self.value())
    }
}

/// The fingerprints of a registration.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::clients::Fingerprints;
///
/// let of = |json: &str| Fingerprints::of(&Registration::parse(json.as_bytes()).unwrap(), false);
/// let one = of(r#"{"client_name":"App (laptop)","redirect_uris":["http://127.0.0.1:1234/cb"]}"#);
/// let other = of(r#"{"client_name":"App (desktop)","redirect_uris":["http://127.0.0.1:5678/cb"]}"#);
/// assert_ne!(one.digest, other.digest);
/// assert_eq!(one.family, other.family);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Fingerprints {
    /// SHA-256 of the canonical registration without its `software_version`, in hexadecimal; without the ports of loopback
    /// redirect URIs, if the registrar ignores them
    /// ([`any_loopback_port`](crate::clients::LifecycleSettings::any_loopback_port)).
    pub digest: String,
    /// Half a SHA-256 of the normal name and of schemes, hosts and paths of the redirect URIs, in hexadecimal: equal
    /// for the installations of one application.
    pub family: String,
    /// The name in its normal form; empty without one.
    pub name: String,
    /// Half a SHA-256 of the redirect URIs, sorted, without the ports of loopback ones, in hexadecimal.
    pub redirect_set: String,
    /// The hosts of the redirect URIs, or their schemes (`scheme:`) without a host; `loopback` for every loopback host.
    /// Sorted, each once.
    pub redirect_hosts: Vec<String>,
    /// The `client_name` as it was sent.
    pub client_name: Option<String>,
    /// The first 256 bytes of the `software_id`.
    pub software_id: Option<String>,
    /// The networks of the client address.
    pub source: Option<Source>,
}

/// The two networks of an address.
///
/// ```
/// use tower_dcr::clients::Source;
///
/// let source = Source::of([192, 0, 2, 7].into());
/// assert_eq!((source.narrow.as_str(), source.wide.as_str()), ("192.0.2.7/32", "192.0.2.0/24"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "two networks")]
pub struct Source {
    /// An IPv4 address, or 64 bits of IPv6: a subscriber.
    pub narrow: String,
    /// 24 bits of IPv4, or 48 bits of IPv6: a site.
    pub wide: String,
}

impl Source {
    /// Returns the networks of `address`.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        let address = carried(address);
        let (narrow, wide) = if address.is_ipv4() { (32, 24) } else { (64, 48) };
        let network = |bits| IpNet::new(address, bits).map(|network| network.trunc().to_string()).unwrap_or_default();
        Self { narrow: network(narrow), wide: network(wide) }
    }
}

impl Fingerprints {
    /// Computes the fingerprints of `registration`. Registrations that differ only in `software_version` have one digest, and
    /// with `any_loopback_port` those that differ only in the ports of loopback redirect URIs.
    #[must_use]
    pub fn of(registration: &Registration, any_loopback_port: bool) -> Self {
        let canonical = String::from_utf8(registration.canonical_bytes()).unwrap_or_default();
        Self::of_canonical(registration, &canonical, any_loopback_port)
    }

    /// Computes the fingerprints from the canonical JSON.
    pub(crate) fn of_canonical(registration: &Registration, canonical: &str, any_loopback_port: bool) -> Self {
        let redirects: Vec<Redirect> = registration.redirect_uris().map(Redirect::of).collect();
        let client_name = registration.string_at(Field::CLIENT_NAME);
        let name = client_name.map(name::normal).unwrap_or_default();
        let digest = digest_of(registration, canonical, &redirects, any_loopback_port, Versions::Ignored);
        Self {
            digest,
            family: set_digest(Some(name.as_str()), redirects.iter().map(|redirect| redirect.shape.as_str())),
            redirect_set: set_digest(None, redirects.iter().map(|redirect| redirect.portless.as_str())),
            redirect_hosts: redirects
                .into_iter()
                .map(|redirect| redirect.host)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            name,
            client_name: client_name.map(str::to_owned),
            software_id: registration.string_at(Field::SOFTWARE_ID).map(|id| text::cut(id, MAX_KEY).to_owned()),
            source: None,
        }
    }

    /// Returns the fingerprints that can be blocked.
    #[must_use]
    pub fn all(&self) -> Vec<Fingerprint> {
        let mut all = vec![
            Fingerprint::Digest(self.digest.clone()),
            Fingerprint::Family(self.family.clone()),
            Fingerprint::RedirectSet(self.redirect_set.clone()),
        ];
        all.extend(Some(&self.name).filter(|name| !name.is_empty()).cloned().map(Fingerprint::Name));
        all.extend(self.software_id.clone().map(Fingerprint::SoftwareId));
        if let Some(source) = &self.source {
            all.extend([&source.narrow, &source.wide].map(|network| Fingerprint::Source(network.clone())));
        }
        all
    }
}

/// Returns the digest of a registration with its `software_version`, as it was before versions were ignored: blocks and
/// deduplication keys in a ledger can have it. `None` if the registration has no version, and so one digest only.
pub(crate) fn versioned_digest(registration: &str, any_loopback_port: bool) -> Option<String> {
    // A fast path: few registrations have a version.
    if !registration.contains(Field::SOFTWARE_VERSION.name()) {
        return None;
    }
    let parsed = Registration::parse_with(registration.as_bytes(), &Limits::GENEROUS).ok()?;
    parsed.at(Field::SOFTWARE_VERSION)?;
    let redirects: Vec<Redirect> = parsed.redirect_uris().map(Redirect::of).collect();
    Some(digest_of(&parsed, registration, &redirects, any_loopback_port, Versions::Compared))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Versions {
    Compared,
    Ignored,
}

/// Returns the digest of the canonical JSON `canonical`, or of the compared part of it.
fn digest_of(
    registration: &Registration,
    canonical: &str,
    redirects: &[Redirect],
    any_loopback_port: bool,
    versions: Versions,
) -> String {
    let is_portless = any_loopback_port && redirects.iter().any(|redirect| redirect.is_loopback);
    // RFC 7591 section 2: the value of this field "SHOULD change on any update to the client software".
    let is_versionless = versions == Versions::Ignored && registration.at(Field::SOFTWARE_VERSION).is_some();
    if !is_portless && !is_versionless {
        return Digest::of(canonical.as_bytes()).to_string();
    }
    let mut rest = registration.clone();
    if is_versionless {
        rest.remove(Field::SOFTWARE_VERSION.name());
    }
    if is_portless {
        rest.remove(Field::REDIRECT_URIS.name());
    }
    let mut bytes = rest.canonical_bytes();
    if is_portless {
        // The redirect URIs in their order without the ports.
        for redirect in redirects {
            push_line(&mut bytes, &redirect.portless);
        }
    }
    Digest::of(&bytes).to_string()
}

/// The compared parts of a redirect URI.
struct Redirect {
    is_loopback: bool,
    /// The URI, without the port if it is a loopback one.
    portless: String,
    /// Scheme, host and path.
    shape: String,
    host: String,
}

impl Redirect {
    fn of(uri: &str) -> Self {
        let Ok(parsed) = RedirectUri::parse_with_address(uri) else {
            return Self { is_loopback: false, portless: uri.into(), shape: uri.into(), host: String::new() };
        };
        let is_loopback = parsed.class() == RedirectClass::Loopback;
        let portless = if is_loopback { parsed.without_port() } else { uri.to_owned() };
        let host = match parsed.host() {
            Some(_) if is_loopback => "loopback".to_owned(),
            Some(host) => host.to_ascii_lowercase(),
            None => format!("{}:", parsed.scheme()),
        };
        let shape = format!("{} {} {}", parsed.scheme(), parsed.host().unwrap_or_default(), parsed.path());
        Self { is_loopback, portless, shape, host }
    }
}

/// Reads `N` hexadecimal digits.
fn digits<const N: usize>(kind: &str, value: &str) -> Result<String, ConfigError> {
    if value.len() != N || !value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(ConfigError::FingerprintDigits { kind: kind.to_owned(), digits: N });
    }
    Ok(value.to_ascii_lowercase())
}

/// The number of hexadecimal digits of half a SHA-256.
const HALF: usize = 32;

/// Half a SHA-256 of `first` and of the others in order, each once.
fn set_digest<'a>(first: Option<&str>, others: impl Iterator<Item = &'a str>) -> String {
    let mut bytes = Vec::with_capacity(256);
    if let Some(first) = first {
        push_line(&mut bytes, first);
    }
    others.collect::<BTreeSet<_>>().into_iter().for_each(|line| push_line(&mut bytes, line));
    text::cut(&Digest::of(&bytes).to_string(), HALF).to_owned()
}

/// Neither a normal name nor a redirect URI has a line feed in it.
fn push_line(bytes: &mut Vec<u8>, line: &str) {
    bytes.push(b'\n');
    bytes.extend_from_slice(line.as_bytes());
}

/// The number of compared bytes of a name or a `software_id`: databases limit the length of indexed values.
const MAX_KEY: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str, any_loopback_port: bool) -> Fingerprints {
        Fingerprints::of(&Registration::parse(json.as_bytes()).unwrap(), any_loopback_port)
    }

    #[test]
    fn ports_of_loopback_uris_are_looked_at_as_configured() {
        let one = r#"{"client_name":"A","redirect_uris":["http://127.0.0.1:1234/cb"]}"#;
        let other = r#"{"client_name":"A","redirect_uris":["http://127.0.0.1:5678/cb"]}"#;
        assert_ne!(of(one, false).digest, of(other, false).digest);
        assert_eq!(of(one, true).digest, of(other, true).digest);
        assert_eq!(of(one, false).family, of(other, false).family);
        assert_eq!(of(one, false).redirect_set, of(other, false).redirect_set);
        assert_eq!(of(one, false).redirect_hosts, ["loopback"]);
        let elsewhere = r#"{"client_name":"A","redirect_uris":["http://localhost:1234/cb"]}"#;
        assert_ne!(of(one, true).digest, of(elsewhere, true).digest, "never equal to each other");
        assert_ne!(of(one, true).family, of(elsewhere, true).family);
    }

    #[test]
    fn the_loopback_digest_depends_on_everything_else() {
        let one = of(r#"{"client_name":"A","redirect_uris":["http://[::1]:80/cb?x=:80"]}"#, true);
        for other in [
            r#"{"client_name":"B","redirect_uris":["http://[::1]:80/cb?x=:80"]}"#,
            r#"{"client_name":"A","redirect_uris":["http://[::1]:80/cb?x=:81"]}"#,
            r#"{"client_name":"A","redirect_uris":["http://[::1]:80/cb?x=:80","http://[::1]:80/cb?x=:80"]}"#,
        ] {
            assert_ne!(one.digest, of(other, true).digest, "{other}");
        }
        assert_eq!(one.digest, of(r#"{"redirect_uris":["http://[::1]/cb?x=:80"],"client_name":"A"}"#, true).digest);
    }

    #[test]
    fn versions_of_the_software_have_one_digest() {
        let json = |version: &str, uri: &str| {
            format!(r#"{{"client_name":"A","redirect_uris":["{uri}"],"software_id":"a"{version}}}"#)
        };
        let (one, two) = (r#","software_version":"1""#, r#","software_version":"2""#);
        for (uri, any_loopback_port) in [
            ("https://a.com/cb", false),
            ("https://a.com/cb", true),
            ("http://[::1]:1/cb", false),
            ("http://[::1]:1/cb", true),
        ] {
            let digest = |version| of(&json(version, uri), any_loopback_port).digest;
            assert_eq!(digest(one), digest(two), "{uri}");
            assert_eq!(digest(one), digest(""), "{uri}: as a registration without a version has always had it");
            assert_ne!(digest(one), of(&json(one, "https://b.com/cb"), any_loopback_port).digest, "{uri}");
            let id = json(one, uri).replace(r#""software_id":"a""#, r#""software_id":"b""#);
            assert_ne!(digest(one), of(&id, any_loopback_port).digest, "{uri}: nothing else is ignored");
            let old = |version| {
                let canonical = Registration::parse(json(version, uri).as_bytes()).unwrap().canonical_bytes();
                versioned_digest(str::from_utf8(&canonical).unwrap(), any_loopback_port)
            };
            assert_eq!(old(""), None, "{uri}");
            assert_ne!(old(one), old(two), "{uri}");
        }
        // The digests that ledgers have from before.
        let canonical = r#"{"redirect_uris":["https://a.com/cb"],"software_version":"1"}"#;
        assert_eq!(versioned_digest(canonical, true), Some(Digest::of(canonical.as_bytes()).to_string()));
        let named = r#"{"client_name":"software_version"}"#;
        assert_eq!(versioned_digest(named, true), None);
    }

    #[test]
    fn families_ignore_order_and_queries() {
        let one = of(r#"{"client_name":"A (x)","redirect_uris":["https://a.com/cb?s=1","com.a:/cb"]}"#, false);
        let other = of(r#"{"client_name":"a","redirect_uris":["com.a:/cb","https://a.com/cb?s=2"]}"#, false);
        assert_eq!(one.family, other.family);
        assert_ne!(one.redirect_set, other.redirect_set);
        assert_eq!(one.redirect_hosts, ["a.com", "com.a:"]);
    }
}
