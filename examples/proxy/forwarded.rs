//! Who a request is forwarded for.

use std::net::IpAddr;

use axum::http::HeaderMap;
use ipnet::IpNet;
use serde_json::Value;
use tower_dcr::Preset;

use crate::Error;

/// The proxies in front of this one, whose word on that counts.
pub(crate) struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Those that the guard believes. Which ones, the policy says, once: a change of it needs another start.
    pub(crate) fn of(preset: &Preset) -> Result<Self, Error> {
        let policy = serde_json::to_value(preset)?;
        let networks =
            policy.pointer("/client_address/trusted_proxies").and_then(Value::as_array).into_iter().flatten();
        let read = |network: &str| network.parse::<IpNet>().or_else(|_| network.parse::<IpAddr>().map(IpNet::from));
        Ok(Self(networks.filter_map(Value::as_str).map(read).collect::<Result<_, _>>()?))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
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
