//! From a host to a connection with one of its addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::{IpNet, Ipv6Net};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_dcr::documents::FetchError;

use crate::address::{AddressClass, classify};

/// The answers of a resolver that are looked at. Public hosts have less than ten.
const MAX_ANSWERS: usize = 16;

/// The time after which the second address is tried as well (RFC 8305 section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// The addresses that may be connected to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach {
    pub(crate) denied: Vec<IpNet>,
    pub(crate) nat64: Vec<Ipv6Net>,
}

impl Reach {
    /// Checks every answer of a resolver, and chooses two.
    pub(crate) fn choose(&self, answers: &[IpAddr], port: u16) -> Result<Targets, FetchError> {
        if answers.len() > MAX_ANSWERS {
            return Err(FetchError::Connect(format!("the host has more than {MAX_ANSWERS} addresses").into()));
        }
        let (&first, others) = answers.split_first().ok_or(FetchError::NoAddress)?;
        // One of many suffices: the next connection may go there.
        answers.iter().try_for_each(|&answer| self.check(answer))?;
        // One family may not work here.
        let second = others.iter().find(|other| other.is_ipv4() != first.is_ipv4()).or(others.first());
        let at_port = |address| SocketAddr::new(address, port);
        Ok(Targets { first: at_port(first), second: second.copied().map(at_port), is_mapped: false })
    }

    fn check(&self, address: IpAddr) -> Result<(), FetchError> {
        let is_denied = |address: IpAddr| self.denied.iter().any(|network| network.contains(&address));
        let reached = self.behind_nat64(address).ok_or(AddressClass::Nat64);
        match reached.map(|reached| (reached, classify(reached))) {
            Ok((reached, _)) if is_denied(address) || is_denied(reached) => {
                Err(FetchError::AddressRejected("denied_network"))
            }
            Ok((_, AddressClass::Public)) => Ok(()),
            Ok((_, class)) | Err(class) => Err(FetchError::AddressRejected(class.as_str())),
        }
    }

    /// Returns the IPv4 address that a translator sends to, or the address itself. `None` if it has no such address inside.
    fn behind_nat64(&self, address: IpAddr) -> Option<IpAddr> {
        let IpAddr::V6(outer) = address else { return Some(address) };
        match self.nat64.iter().find(|prefix| prefix.contains(&outer)) {
            Some(prefix) => embedded(outer, prefix.prefix_len()).map(IpAddr::V4),
            None => Some(address),
        }
    }
}

/// Returns the IPv4 address behind a prefix (RFC 6052 section 2.2). The octet in bits 64 to 71 and the suffix have to be zero.
fn embedded(address: Ipv6Addr, prefix_len: u8) -> Option<Ipv4Addr> {
    let bits = u128::from(address);
    // Without bits 64 to 71, so that prefix, address and suffix are one behind another in 120 bits.
    let joined = ((bits >> 64) << 56) | (bits & ((1 << 56) - 1));
    let (packed, width, reserved) = if prefix_len == 96 { (bits, 128, 0) } else { (joined, 120, (bits >> 56) & 0xff) };
    let behind = width - u32::from(prefix_len) - 32;
    let suffix = packed & ((1 << behind) - 1);
    let inner = u32::try_from((packed >> behind) & u128::from(u32::MAX)).ok()?;
    (reserved == 0 && suffix == 0).then(|| inner.into())
}

/// The addresses that are tried.
#[derive(Debug)]
pub(crate) struct Targets {
    first: SocketAddr,
    second: Option<SocketAddr>,
    is_mapped: bool,
}

impl Targets {
    /// The address that an operator gave for the host.
    pub(crate) fn mapped(address: SocketAddr) -> Self {
        Self { first: address, second: None, is_mapped: true }
    }

    /// Connects to one of the two.
    pub(crate) async fn connect<D: Dial>(&self, dial: &D, reach: &Reach) -> Result<D::Stream, FetchError> {
        let connect = async |address| {
            let (stream, peer) = dial.dial(address).await.map_err(|error| FetchError::Connect(error.into()))?;
            self.check_peer(address, peer, reach)?;
            Ok(stream)
        };
        let Some(second) = self.second else { return connect(self.first).await };
        let mut first = std::pin::pin!(connect(self.first));
        match timeout(HEAD_START, &mut first).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(_)) => return connect(second).await,
            Err(_) => {}
        }
        let mut second = std::pin::pin!(connect(second));
        tokio::select! {
            connected = &mut first => if connected.is_ok() { connected } else { second.await },
            connected = &mut second => if connected.is_ok() { connected } else { first.await },
        }
    }

    /// Checks where the connection leads. To connect to some addresses means to connect to this machine, and networks translate.
    fn check_peer(&self, asked: SocketAddr, peer: SocketAddr, reach: &Reach) -> Result<(), FetchError> {
        if !self.is_mapped {
            reach.check(peer.ip())?;
        }
        if (peer.ip(), peer.port()) != (asked.ip(), asked.port()) {
            return Err(FetchError::Connect("the connection leads to another address".into()));
        }
        Ok(())
    }
}

/// Opens connections. Only tests have another than [`Tcp`].
pub(crate) trait Dial: Send + Sync {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Returns a connection, and the address of its peer.
    fn dial(&self, address: SocketAddr) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}

#[derive(Debug)]
pub(crate) struct Tcp;

impl Dial for Tcp {
    type Stream = TcpStream;

    async fn dial(&self, address: SocketAddr) -> io::Result<(TcpStream, SocketAddr)> {
        let stream = TcpStream::connect(address).await?;
        let peer = stream.peer_addr()?;
        Ok((stream, peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6052 section 2.4.
    #[test]
    fn addresses_are_found_behind_prefixes_of_each_length() {
        for (prefix_len, address) in [
            (32, "2001:db8:c000:221::"),
            (40, "2001:db8:1c0:2:21::"),
            (48, "2001:db8:122:c000:2:2100::"),
            (56, "2001:db8:122:3c0:0:221::"),
            (64, "2001:db8:122:344:c0:2:2100::"),
            (96, "2001:db8:122:344::192.0.2.33"),
        ] {
            let inner = embedded(address.parse().unwrap(), prefix_len);
            assert_eq!(inner, Some(Ipv4Addr::new(192, 0, 2, 33)), "{prefix_len}");
        }
    }
}
