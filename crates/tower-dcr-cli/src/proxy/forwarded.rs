//! The client that a request is forwarded for.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;
use serde_json::Value;
use tower_dcr::Preset;
use tower_dcr::client_address::{ClientAddress, ForwardedHeader};

use super::{Error, Origin, headers};

/// Reads the forwarding headers of trusted proxies in front of this one.
pub(crate) struct Forwarding {
    /// The same as in the preset. A change of the policy requires a restart.
    address: ClientAddress,
    header: ForwardedHeader,
    trusted: Vec<IpNet>,
    public: Option<Origin>,
}

/// The origin of a request.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    peer: Option<IpAddr>,
    client: Option<IpAddr>,
    scheme: Option<String>,
    pub(crate) is_trusted: bool,
}

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

impl Forwarding {
    pub(crate) fn new(preset: &Preset, public: Option<Origin>) -> Result<Self, Error> {
        let policy = serde_json::to_value(preset)?;
        let trusted = policy.pointer("/client_address/trusted_proxies").and_then(Value::as_array);
        let trusted: Vec<&str> = trusted.into_iter().flatten().filter_map(Value::as_str).collect();
        let header = match policy.pointer("/client_address/forwarded_header") {
            Some(header) => serde_json::from_value(header.clone())?,
            None => ForwardedHeader::default(),
        };
        let address =
            ClientAddress::new().with_peer_address(peer).with_trusted_proxies(&trusted)?.with_forwarded_header(header);
        let network = |text: &&str| text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        Ok(Self { address, header, trusted: trusted.iter().map(network).collect::<Result<_, _>>()?, public })
    }

    pub(crate) fn has_proxies(&self) -> bool {
        !self.trusted.is_empty()
    }

    /// Reads the one header that the policy names, if it comes from a trusted proxy, and the scheme beside it.
    pub(crate) fn source(&self, headers: &HeaderMap, extensions: &Extensions) -> Source {
        let peer = peer(extensions).map(|peer| peer.ip().to_canonical());
        let is_trusted = peer.is_some_and(|peer| self.trusted.iter().any(|network| network.contains(&peer)));
        Source {
            peer,
            client: self.address.resolve(headers, extensions),
            scheme: self.public.as_ref().map(|public| public.scheme.clone()).or_else(|| {
                let said = is_trusted.then(|| self.scheme(headers))??;
                matches!(&*said, "http" | "https").then_some(said)
            }),
            is_trusted,
        }
    }

    /// Returns the scheme that all proxies agree on; `None` if they differ or name none.
    fn scheme(&self, headers: &HeaderMap) -> Option<String> {
        let (name, is_forwarded) = match self.header {
            ForwardedHeader::Forwarded => (header::FORWARDED, true),
            _ => (PROTO, false),
        };
        let mut said: Option<String> = None;
        for field in headers.get_all(name) {
            for word in field.to_str().ok()?.split([',', ';']).map(|word| word.trim().to_ascii_lowercase()) {
                let word = match word.strip_prefix("proto=") {
                    Some(quoted) if is_forwarded => quoted.trim_matches('"').to_owned(),
                    _ if is_forwarded => continue,
                    _ => word,
                };
                if said.replace(word.clone()).is_some_and(|before| before != word) {
                    return None;
                }
            }
        }
        said
    }

    /// Returns the forwarding headers for the server, with the values known here.
    pub(crate) fn testimony(&self, source: &Source, host: Option<&str>) -> Testimony {
        let host = self.public.as_ref().map(|public| &*public.authority).or(host);
        let mut addresses: Vec<IpAddr> = source.client.into_iter().chain(source.peer).collect();
        addresses.dedup();
        let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        // RFC 7239 section 6: IPv6 addresses have brackets and quotation marks.
        let mut elements: Vec<String> = addresses
            .iter()
            .map(|address| if address.is_ipv6() { format!("for=\"[{address}]\"") } else { format!("for={address}") })
            .collect();
        if let Some(first) = elements.first_mut() {
            first.extend(host.map(|host| format!(";host=\"{host}\"")));
            first.extend(source.scheme.iter().map(|scheme| format!(";proto={scheme}")));
        }
        let fields = [
            (FOR, (!list.is_empty()).then(|| list.join(", "))),
            (header::FORWARDED, (!elements.is_empty()).then(|| elements.join(", "))),
            (PROTO, source.scheme.clone()),
            (HOST, host.map(str::to_owned)),
        ];
        // Addresses, two schemes, and a host that was parsed: nothing needs escapes.
        let known = |(name, value): (_, Option<String>)| Some((name, HeaderValue::try_from(value?).ok()?));
        let scheme = source.scheme.as_deref().unwrap_or("http");
        Testimony {
            host: host.and_then(|host| HeaderValue::try_from(host).ok()),
            called: host.map(|host| Origin { scheme: scheme.to_owned(), authority: host.to_owned() }),
            fields: fields.into_iter().filter_map(known).collect(),
        }
    }
}

/// The forwarding headers for the server, in the extensions of a request. They are written after the layers: these see the
/// headers as they arrived, since they tell a client from a proxy by them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Testimony {
    fields: Vec<(HeaderName, HeaderValue)>,
    /// The host that the layers see, and the server.
    pub(crate) host: Option<HeaderValue>,
    /// The URL by which the client called this proxy.
    pub(crate) called: Option<Origin>,
}

impl Testimony {
    /// Replaces all forwarding headers.
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        headers::retain(headers, |name| !is_claim(name));
        headers.extend(self.fields.into_iter().map(|(name, value)| (Some(name), value)));
    }
}

fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0)
}

fn is_claim(name: &str) -> bool {
    name.starts_with("x-forwarded")
        || name.starts_with("forwarded")
        || name.starts_with("x-client-")
        || name.starts_with("x-cluster-client-")
        || matches!(
            name,
            "cf-connecting-ip"
                | "cf-connecting-ipv6"
                | "cf-pseudo-ipv4"
                | "client-ip"
                | "cdn-src-ip"
                | "cf-visitor"
                | "fastly-client-ip"
                | "fly-client-ip"
                | "front-end-https"
                | "true-client-ip"
                | "wl-proxy-client-ip"
                | "x-appengine-user-ip"
                | "x-azure-clientip"
                | "x-azure-socketip"
                | "x-coming-from"
                | "x-real-ip"
                | "x-real-port"
                | "x-remote-addr"
                | "x-remote-ip"
                | "x-scheme"
                | "x-url-scheme"
        )
}
