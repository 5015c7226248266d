//! [`ClientAddress`]: the address of the client, with or without proxies.
//!
//! Any client can write `X-Forwarded-For`. Its entries count only as far as trusted proxies vouch for them: if the connection
//! comes from a trusted proxy, the last entry is read; if that is a trusted proxy too, the entry before it, and so on from the
//! right. The first address that is not trusted is the client. Entries further left may be forged, and are not read.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use http::{Extensions, HeaderMap, HeaderName, header};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::bounds;
use crate::rules::ConfigError;

/// Resolves the address of a client. See the [module docs](self).
///
/// ```
/// use std::net::SocketAddr;
/// use axum::extract::ConnectInfo;
/// use http::{Extensions, HeaderMap};
/// use tower_dcr::client_address::ClientAddress;
///
/// let address = ClientAddress::new()
///     .with_peer_address(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0))
///     .with_trusted_proxies(["10.0.0.0/8"])?;
/// let mut extensions = Extensions::new();
/// extensions.insert(ConnectInfo(SocketAddr::from(([10, 0, 0, 5], 443))));
/// let mut headers = HeaderMap::new();
/// headers.insert("x-forwarded-for", "1.2.3.4, 198.51.100.9".parse().unwrap());
/// assert_eq!(address.resolve(&headers, &extensions), Some([198, 51, 100, 9].into()));
/// # Ok::<_, tower_dcr::rules::ConfigError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct ClientAddress {
    peer: Arc<PeerOf>,
    settings: Settings,
}

/// The settings in a policy file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "ClientAddress"))]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// The trusted proxies, as addresses or CIDR blocks.
    #[serde(rename = "trusted_proxies")]
    trusted: Vec<Network>,
    /// The header that the trusted proxies set.
    #[serde(rename = "forwarded_header")]
    forwarded: ForwardedHeader,
    /// The bits of an IPv6 address that make a client's network; at least 32, since fewer make one client of a whole provider.
    #[serde(deserialize_with = "bounds::number::<_, _, 32, 128>")]
    ipv6_prefix: u8,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
struct Network(IpNet);

type PeerOf = dyn Fn(&Extensions) -> Option<SocketAddr> + Send + Sync;

/// The header in which trusted proxies name the client. Only one is read: a proxy that sets the one forwards the other as the
/// client wrote it.
///
/// ```
/// use std::net::SocketAddr;
/// use http::{Extensions, HeaderMap};
/// use tower_dcr::client_address::{ClientAddress, ForwardedHeader};
///
/// let address = ClientAddress::new()
///     .with_trusted_proxies(["10.0.0.5"])?
///     .with_forwarded_header(ForwardedHeader::Forwarded);
/// let mut extensions = Extensions::new();
/// extensions.insert(SocketAddr::from(([10, 0, 0, 5], 443)));
/// let mut headers = HeaderMap::new();
/// headers.insert("forwarded", "for=\"[2001:db8::7]:4711\";proto=https".parse().unwrap());
/// assert_eq!(address.resolve(&headers, &extensions), Some("2001:db8::7".parse().unwrap()));
/// # Ok::<_, tower_dcr::rules::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ForwardedHeader {
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
}

/// The network that shares a budget: an IPv4 address, or an IPv6 network, since one subscriber has a whole network of those.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientNetwork(IpAddr);

/// The networks of one client: budgets of unproven registrations hold for each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// An IPv4 address, or an IPv6 network as [`ClientAddress::with_ipv6_prefix`] has it.
    pub(crate) address: ClientNetwork,
    /// An IPv4 /24 or an IPv6 /56: the largest network of one subscriber.
    pub(crate) prefix: ClientNetwork,
    /// An IPv4 /24 or an IPv6 /48: the largest network of one site.
    pub(crate) network: ClientNetwork,
}

impl Source {
    /// Returns `true` if the network is wider than the prefix.
    pub(crate) fn has_wide_prefix(&self) -> bool {
        matches!(self.network.0, IpAddr::V6(_))
    }
}

/// The number of entries of a header that are read, from the right: no deployment has more proxies.
const MAX_HOPS: usize = 32;

impl ClientAddress {
    /// Reads the address of the connection from a [`SocketAddr`] in the request's extensions; without trusted proxies, and with
    /// IPv6 networks of 64 bits.
    pub fn new() -> Self {
        Self { peer: Arc::new(|extensions| extensions.get::<SocketAddr>().copied()), settings: Settings::default() }
    }

    /// Sets how the address of the connection is found. For axum:
    /// `|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0)`.
    pub fn with_peer_address(
        mut self,
        peer: impl Fn(&Extensions) -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        self.peer = Arc::new(peer);
        self
    }

    /// Sets the trusted proxies, as addresses or CIDR blocks.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Cidr`] for a text that is neither.
    pub fn with_trusted_proxies<P: AsRef<str>>(
        mut self,
        proxies: impl IntoIterator<Item = P>,
    ) -> Result<Self, ConfigError> {
        let read = |proxy: P| read_network(proxy.as_ref()).map(Network);
        self.settings.trusted = proxies.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// Sets the header that the trusted proxies set (default: [`ForwardedHeader::XForwardedFor`]).
    pub fn with_forwarded_header(mut self, header: ForwardedHeader) -> Self {
        self.settings.forwarded = header;
        self
    }

    /// Sets how many bits of an IPv6 address make a client's network (default: 64). Values above 128 count as 128, values below
    /// 32 as 32: fewer bits make one client of a whole provider, or of the Internet.
    pub fn with_ipv6_prefix(mut self, bits: u8) -> Self {
        self.settings.ipv6_prefix = bits.clamp(32, 128);
        self
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn with_settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Returns the address of the client; `None` if the address of the connection is not found.
    ///
    /// A malformed entry ends the search: the proxy that vouched for it is then taken for the client, so that a malformed entry
    /// gives no client a budget of its own.
    #[must_use]
    pub fn resolve(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
        let mut client = (self.peer)(extensions)?.ip().to_canonical();
        if !self.trusts(client) {
            return Some(client);
        }
        let name = self.settings.forwarded.name();
        // Several lines are one list (RFC 9110 section 5.3); the last line is the one that was added last.
        let mut lines: Vec<&[u8]> = headers.get_all(name).iter().map(http::HeaderValue::as_bytes).collect();
        lines.reverse();
        for entry in lines.into_iter().flat_map(|line| self.settings.forwarded.entries(line)).take(MAX_HOPS) {
            let Some(address) = entry else { return Some(client) };
            client = address;
            if !self.trusts(client) {
                break;
            }
        }
        Some(client)
    }

    /// Returns `true` if [`resolve`](Self::resolve) evidently finds a proxy in place of the client: a trusted one that sets no
    /// header, or one that is not trusted, in a private network. Any client on the internet can write such a header, so it
    /// says nothing about a public address.
    pub(crate) fn finds_proxy(&self, headers: &HeaderMap, extensions: &Extensions) -> bool {
        let Some(peer) = (self.peer)(extensions) else { return false };
        let peer = peer.ip().to_canonical();
        if self.trusts(peer) {
            // A malformed header is no reason: a client may have caused it.
            return !headers.contains_key(self.settings.forwarded.name());
        }
        is_private(peer) && headers.keys().any(is_of_proxies)
    }

    /// Returns the network of the client, for budgets.
    pub(crate) fn network(&self, address: IpAddr) -> ClientNetwork {
        ClientNetwork(match carried(address) {
            address @ IpAddr::V6(_) => first_of(address, self.settings.ipv6_prefix.min(128)),
            address @ IpAddr::V4(_) => address,
        })
    }

    /// Returns the network of the client as text: an IPv4 address, or an IPv6 network in CIDR notation.
    pub(crate) fn network_text(&self, address: IpAddr) -> String {
        match self.network(address).0 {
            IpAddr::V6(network) => format!("{network}/{}", self.settings.ipv6_prefix.min(128)),
            address @ IpAddr::V4(_) => address.to_string(),
        }
    }

    /// Returns the networks of the client, from the narrowest to the widest.
    pub(crate) fn source(&self, address: IpAddr) -> Source {
        let wide = |bits| ClientNetwork(first_of(carried(address), bits));
        let (prefix, network) = match carried(address) {
            IpAddr::V4(_) => (wide(24), wide(24)),
            IpAddr::V6(_) => (wide(56), wide(48)),
        };
        Source { address: self.network(address), prefix, network }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.settings.trusted.iter().any(|network| network.0.contains(&address))
    }
}

impl ForwardedHeader {
    const fn name(self) -> HeaderName {
        match self {
            Self::Forwarded => header::FORWARDED,
            Self::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
        }
    }

    /// Returns the entries of one line, from the right.
    fn entries(self, line: &[u8]) -> Vec<Option<IpAddr>> {
        match self {
            Self::Forwarded => forwarded_entries(line),
            Self::XForwardedFor => x_forwarded_for_entries(line),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { trusted: Vec::new(), forwarded: ForwardedHeader::default(), ipv6_prefix: 64 }
    }
}

impl TryFrom<String> for Network {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        read_network(&text).map(Self)
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.0.to_string()
    }
}

impl Default for ClientAddress {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAddress").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl fmt::Display for ClientNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Returns the IPv4 address that an IPv6 address carries: mapped (RFC 4291 section 2.5.5.2), behind NAT64 (`64:ff9b::/96`,
/// RFC 6052), behind 6to4 (`2002::/16`, RFC 3056) or behind Teredo (`2001::/32`, RFC 4380); any other address as it is. All
/// of NAT64's hosts share one /64, and so do all of a Teredo server's; one 6to4 host has 65,536 of them: budgets by prefix mean
/// nothing for any of these.
pub(crate) fn carried(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => IpAddr::V4(ipv4(high, low)),
        [0x2001, 0, _, _, _, _, high, low] => IpAddr::V4(ipv4(!high, !low)),
        _ => address.to_canonical(),
    }
}

/// Returns whether no client on the internet can have `address`.
pub(crate) fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            // RFC 6598: addresses between a provider and its customers.
            let shared = address.octets()[0] == 100 && address.octets()[1] & 0xC0 == 64;
            address.is_private() || address.is_loopback() || address.is_link_local() || shared
        }
        IpAddr::V6(address) => address.is_unique_local() || address.is_loopback() || address.is_unicast_link_local(),
    }
}

/// Returns `true` for fields that proxies add, and clients do not.
fn is_of_proxies(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(name, "forwarded" | "via" | "x-real-ip") || name.starts_with("x-forwarded-")
}

/// Returns the first address of the network of so many bits around `address`; the address itself if it has fewer bits.
fn first_of(address: IpAddr, bits: u8) -> IpAddr {
    IpNet::new(address, bits).map_or(address, |network| network.network())
}

const fn ipv4(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

fn read_network(text: &str) -> Result<IpNet, ConfigError> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    match network {
        // An IPv4 block in its IPv6 form: addresses are compared in their IPv4 form.
        Ok(IpNet::V6(network)) if network.addr().to_ipv4_mapped().is_some() => {
            Err(ConfigError::Cidr { value: text.to_owned() })
        }
        Ok(network) => Ok(network),
        Err(_) => Err(ConfigError::Cidr { value: text.to_owned() }),
    }
}

fn x_forwarded_for_entries(line: &[u8]) -> Vec<Option<IpAddr>> {
    let entries = line.rsplit(|byte| *byte == b',').take(MAX_HOPS);
    entries.map(|entry| str::from_utf8(entry).ok().and_then(read_address)).collect()
}

/// The `for` parameters of one line. Quotation marks that don't match make the whole line unreadable:
/// a client could open a quotation that swallows what the proxy appends.
fn forwarded_entries(line: &[u8]) -> Vec<Option<IpAddr>> {
    let Some(elements) = str::from_utf8(line).ok().and_then(|line| split_outside_quotes(line, ',')) else {
        return vec![None];
    };
    elements.into_iter().rev().take(MAX_HOPS).map(forwarded_for).collect()
}

fn forwarded_for(element: &str) -> Option<IpAddr> {
    split_outside_quotes(element, ';')?.into_iter().find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = value.trim();
        let unquoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
        name.trim().eq_ignore_ascii_case("for").then(|| read_address(unquoted))?
    })
}

/// Splits at `separator` where it is not inside a quoted string (RFC 9110 section 5.6.4); `None` if one does not end.
fn split_outside_quotes(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut quoted, mut escaped) = (false, false);
    let pieces = text
        .split(|c| {
            let splits = c == separator && !quoted;
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                _ => {}
            }
            splits
        })
        .collect();
    (!quoted).then_some(pieces)
}

/// Reads an address as proxies write it: `192.0.2.1`, `192.0.2.1:1234`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:1234`.
fn read_address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches([' ', '\t']);
    let address = text
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()))
        .ok()
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests;
