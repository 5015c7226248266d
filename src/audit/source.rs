//! [`Sources`]: names of requesters in events.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use hmac::{Hmac, KeyInit, Mac};
use http::{Extensions, HeaderMap};
use ipnet::IpNet;
use sha2::Sha256;

use crate::client_address::{ClientAddress, ClientNetwork};
use crate::text;

/// The form in which events name the requester.
#[derive(Clone)]
pub(crate) enum Requester {
    None,
    Address,
    /// A keyed hash: the key, and the file that it was read from.
    Hash(Vec<u8>, Option<PathBuf>),
}

/// Resolves the address of a request, and names it as precisely as events may.
#[derive(Clone)]
pub(crate) struct Sources {
    address: ClientAddress,
    naming: Naming,
}

#[derive(Clone)]
enum Naming {
    None,
    Address,
    Hash(Box<Hmac<Sha256>>),
}

impl Requester {
    /// Returns the key that addresses are hashed with; `None` if they are not hashed.
    pub(crate) fn key(&self) -> Option<Vec<u8>> {
        match self {
            Self::Hash(key, _) => Some(key.clone()),
            Self::None | Self::Address => None,
        }
    }
}

impl Sources {
    pub(crate) fn new(address: ClientAddress, requester: &Requester) -> Self {
        let naming = match requester {
            Requester::None => Naming::None,
            Requester::Address => Naming::Address,
            // HMAC takes keys of any length.
            Requester::Hash(key, _) => {
                Hmac::new_from_slice(key).map_or(Naming::None, |mac| Naming::Hash(Box::new(mac)))
            }
        };
        Self { address, naming }
    }

    pub(crate) fn resolve(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
        self.address.resolve(headers, extensions)
    }

    /// Returns `true` if the address that is found is that of a proxy.
    pub(crate) fn finds_proxy(&self, headers: &HeaderMap, extensions: &Extensions) -> bool {
        self.address.finds_proxy(headers, extensions)
    }

    /// Returns the network whose requests are summed together.
    pub(crate) fn network(&self, address: IpAddr) -> ClientNetwork {
        self.address.network(address)
    }

    /// Returns the name of one address; `None` if events name no requester.
    pub(crate) fn name(&self, address: IpAddr) -> Option<String> {
        self.is_named().then(|| self.write(&address.to_string()))?
    }

    /// Returns the name of all addresses in the network of one.
    pub(crate) fn network_name(&self, address: IpAddr) -> Option<String> {
        self.is_named().then(|| self.write(&self.address.network_text(address)))?
    }

    /// Returns the name of the source in a record, which is an address or a network. If events name no requester, the name is the
    /// network around it, so that one provider can be told from another.
    pub(crate) fn recorded(&self, source: &str) -> String {
        self.write(source.strip_suffix("/32").unwrap_or(source)).unwrap_or_else(|| around(source))
    }

    fn is_named(&self) -> bool {
        !matches!(self.naming, Naming::None)
    }

    fn write(&self, text: &str) -> Option<String> {
        match &self.naming {
            Naming::None => None,
            Naming::Address => Some(text.to_owned()),
            Naming::Hash(mac) => {
                let mut mac = (**mac).clone();
                mac.update(text.as_bytes());
                let hash: [u8; 32] = mac.finalize().into_bytes().into();
                Some(text::hex(hash.first_chunk::<16>()?))
            }
        }
    }
}

/// Returns the /24 or /48 around an address or network.
fn around(source: &str) -> String {
    let network = source.parse::<IpNet>().or_else(|_| source.parse::<IpAddr>().map(IpNet::from));
    let wide = network.ok().and_then(|network| {
        let bits = if network.addr().is_ipv4() { 24 } else { 48 };
        IpNet::new(network.addr(), bits.min(network.prefix_len())).ok()
    });
    wide.map_or_else(|| source.to_owned(), |wide| wide.trunc().to_string())
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.naming {
            Naming::None => "None",
            Naming::Address => "Address",
            Naming::Hash(_) => "Hash",
        })
    }
}
