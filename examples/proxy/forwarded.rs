//! Who a request is forwarded for.

use std::net::IpAddr;

use axum::http::HeaderMap;
use ipnet::IpNet;

use crate::Error;

/// The proxies in front of this one, whose word on that counts.
pub(crate) struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    pub(crate) fn new(networks: &[String]) -> Result<Self, Error> {
        let read = |network: &String| {
            let network = network.parse::<IpNet>().or_else(|_| network.parse::<IpAddr>().map(IpNet::from));
            network.map_err(|error| format!("--trusted-proxy: {error}").into())
        };
        networks.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Takes out what anybody else says: the server behind would believe it, since it comes from this proxy.
    pub(crate) fn clean(&self, peer: Option<IpAddr>, headers: &mut HeaderMap) {
        if peer.is_some_and(|peer| self.0.iter().any(|network| network.contains(&peer.to_canonical()))) {
            return;
        }
        let claims: Vec<_> = headers.keys().filter(|name| is_claim(name.as_str())).cloned().collect();
        for name in claims {
            headers.remove(name);
        }
    }
}

fn is_claim(name: &str) -> bool {
    name == "forwarded"
        || name.starts_with("x-forwarded-")
        || matches!(name, "x-real-ip" | "x-original-url" | "x-rewrite-url")
}
