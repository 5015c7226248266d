//! [`ClientAddress`]: which client a request comes from, behind proxies or not.
//!
//! Anybody can write `X-Forwarded-For`. It counts only as far as proxies vouch for it that the operator trusts: if the
//! connection comes from one of those, its last entry is read, if that is a trusted proxy too, the entry before it, and
//! so on from the right; the first address that is not trusted is the client. What stands further left is the client's
//! own invention and is not even looked at.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use http::{Extensions, HeaderMap, HeaderName, header};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::policy::ConfigError;

/// Finds the address of a client. See the [module docs](self).
///
/// ```
/// use std::net::SocketAddr;
/// use http::{Extensions, HeaderMap};
/// use tower_dcr::client_address::ClientAddress;
///
/// let address = ClientAddress::new().with_trusted_proxies(["10.0.0.0/8"])?;
/// let mut extensions = Extensions::new();
/// extensions.insert(SocketAddr::from(([10, 0, 0, 5], 443)));
/// let mut headers = HeaderMap::new();
/// headers.insert("x-forwarded-for", "1.2.3.4, 198.51.100.9".parse().unwrap());
/// assert_eq!(address.resolve(&headers, &extensions), Some([198, 51, 100, 9].into()));
/// # Ok::<_, tower_dcr::policy::ConfigError>(())
/// ```
///
/// ```
/// use std::net::SocketAddr;
/// use axum::extract::ConnectInfo;
/// use tower_dcr::client_address::ClientAddress;
///
/// let address = ClientAddress::new()
///     .with_peer_address(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0));
/// # let _ = address;
/// ```
#[derive(Clone)]
#[must_use]
pub struct ClientAddress {
    peer: Arc<PeerOf>,
    settings: Settings,
}

/// What a policy file says of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "ClientAddress"))]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// The proxies whose word counts, as addresses or CIDR blocks.
    #[serde(rename = "trusted_proxies")]
    trusted: Vec<Network>,
    /// Which header the trusted proxies set.
    #[serde(rename = "forwarded_header")]
    forwarded: ForwardedHeader,
    /// How many bits of an IPv6 address make a client's network.
    ipv6_prefix: u8,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
struct Network(IpNet);

type PeerOf = dyn Fn(&Extensions) -> Option<SocketAddr> + Send + Sync;

/// The header in which trusted proxies name the client. One of them: a proxy that sets the one passes the other on as
/// the client wrote it.
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
/// # Ok::<_, tower_dcr::policy::ConfigError>(())
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

/// Who shares a budget: an IPv4 address, or an IPv6 network, since one subscriber has a whole network of those.
///
/// ```
/// use tower_dcr::client_address::ClientAddress;
///
/// let network = |address: &str| ClientAddress::new().network(address.parse().unwrap());
/// assert_eq!(network("2001:db8::1"), network("2001:db8::ffff"));
/// assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientNetwork(IpAddr);

/// How many entries of a header are read, from the right. Nobody has more proxies.
const MAX_HOPS: usize = 32;

impl ClientAddress {
    /// The address of the connection, which the server put into the request's extensions as a [`SocketAddr`]; no
    /// trusted proxies; IPv6 networks of 64 bits.
    pub fn new() -> Self {
        Self { peer: Arc::new(|extensions| extensions.get::<SocketAddr>().copied()), settings: Settings::default() }
    }

    /// Where the server puts the address of the connection. For axum:
    /// `|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0)`.
    pub fn with_peer_address(
        mut self,
        peer: impl Fn(&Extensions) -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        self.peer = Arc::new(peer);
        self
    }

    /// The proxies whose word counts, as addresses or CIDR blocks.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Cidr`] for what is neither.
    pub fn with_trusted_proxies<P: AsRef<str>>(
        mut self,
        proxies: impl IntoIterator<Item = P>,
    ) -> Result<Self, ConfigError> {
        let read = |proxy: P| read_network(proxy.as_ref()).map(Network);
        self.settings.trusted = proxies.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// Which header the trusted proxies set.
    pub fn with_forwarded_header(mut self, header: ForwardedHeader) -> Self {
        self.settings.forwarded = header;
        self
    }

    /// How many bits of an IPv6 address make a client's network; more than 128 count as 128.
    pub fn with_ipv6_prefix(mut self, bits: u8) -> Self {
        self.settings.ipv6_prefix = bits.min(128);
        self
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn with_settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// The address of the client; `None` if the server did not say where the connection comes from.
    ///
    /// An entry that can't be read ends the walk: what vouched for it is then taken for the client, so that nobody gets
    /// a budget of their own by being unreadable.
    #[must_use]
    pub fn resolve(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
        let mut client = (self.peer)(extensions)?.ip().to_canonical();
        if !self.trusts(client) {
            return Some(client);
        }
        let name = match self.settings.forwarded {
            ForwardedHeader::Forwarded => header::FORWARDED,
            ForwardedHeader::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
        };
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

    /// The network of the client, for budgets.
    #[must_use]
    pub fn network(&self, address: IpAddr) -> ClientNetwork {
        ClientNetwork(match address.to_canonical() {
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.settings.ipv6_prefix.min(128))).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(address) & mask))
            }
            address @ IpAddr::V4(_) => address,
        })
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.settings.trusted.iter().any(|network| network.0.contains(&address))
    }
}

impl ForwardedHeader {
    /// The entries of one line, from the right.
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

fn read_network(text: &str) -> Result<IpNet, ConfigError> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    match network {
        // An IPv4 block in its IPv6 spelling: addresses are compared after they were mapped back.
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

/// An address as proxies write it: `192.0.2.1`, `192.0.2.1:1234`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:1234`.
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
