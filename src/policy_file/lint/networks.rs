//! The share of the Internet that a list of networks covers.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A part of the Internet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Small,
    Large,
    /// An eighth of it, or more.
    Whole,
}

/// Private networks (RFC 1918, RFC 6598, RFC 3927, RFC 1122).
const PRIVATE: [&str; 6] =
    ["10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"];

/// Returns the share of the Internet that these networks cover together.
pub(super) fn part_of_the_internet(networks: &[String]) -> Part {
    let networks: Vec<IpNet> = networks.iter().filter_map(|network| network.parse().ok()).collect();
    let v4 = networks.iter().filter_map(|network| match network {
        IpNet::V4(network) => Some(*network),
        IpNet::V6(_) => None,
    });
    let v6 = networks.iter().filter_map(|network| match network {
        IpNet::V6(network) => Some(*network),
        IpNet::V4(_) => None,
    });
    let private: Vec<Ipv4Net> = PRIVATE.iter().filter_map(|network| network.parse().ok()).collect();
    let is_public = |network: &&Ipv4Net| !private.iter().any(|private| private.contains(*network));
    let v4 = Ipv4Net::aggregate(&v4.collect());
    let addresses: u64 = v4.iter().filter(is_public).map(|network| 1 << (32 - network.prefix_len())).sum();
    let v6 = Ipv6Net::aggregate(&v6.collect());
    let in_32_bits: u64 = v6.iter().map(global_networks).sum();
    match () {
        () if addresses >= 1 << 29 || in_32_bits >= 1 << 26 => Part::Whole,
        () if addresses > 1 << 24 || in_32_bits > 1 << 13 => Part::Large,
        () => Part::Small,
    }
}

/// Returns the number of /32 networks that a network has in `2000::/3`, the only allocated range.
fn global_networks(network: &Ipv6Net) -> u64 {
    let is_given_out = network.addr().segments().first().is_some_and(|first| first >> 13 == 1);
    match network.prefix_len() {
        length @ ..=3 => {
            let first = u128::from(network.network());
            let last = u128::from(network.broadcast());
            let global = 1_u128 << 125;
            if length == 0 || (first <= global && global <= last) { 1 << 29 } else { 0 }
        }
        length if is_given_out => 1 << 32_u8.saturating_sub(length),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_summed() {
        for (networks, expected) in [
            (&["0.0.0.0/0"][..], Part::Whole),
            (&["::/0"], Part::Whole),
            (&["0.0.0.0/1", "128.0.0.0/1"], Part::Whole),
            (&["::/1"], Part::Whole),
            (&["2000::/3"], Part::Whole),
            (&["2000::/4", "3000::/4"], Part::Whole),
            (&["2000::/6"], Part::Whole),
            (&["64.0.0.0/3"], Part::Whole),
            (&["32.0.0.0/4", "48.0.0.0/4"], Part::Whole),
            (&["64.0.0.0/6"], Part::Large),
            (&["2600::/12"], Part::Large),
            (&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.1"], Part::Small),
            (&["fc00::/7", "fe80::/10", "::1/128"], Part::Small),
            (&["173.245.48.0/20", "104.16.0.0/13", "2606:4700::/32", "2400:cb00::/32"], Part::Small),
            (&["17.0.0.0/8"], Part::Small),
            (&["8000::/1"], Part::Small),
            (&[], Part::Small),
        ] {
            let networks: Vec<String> = networks.iter().map(|network| (*network).to_owned()).collect();
            assert_eq!(part_of_the_internet(&networks), expected, "{networks:?}");
        }
    }
}
