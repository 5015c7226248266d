//! The table of addresses, against the registries of IANA and the logic of the standard library.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;
use tower_dcr_fetch::{AddressClass, classify};

/// The IPv4 and IPv6 Special-Purpose Address Registries, those of multicast and of the address space, and the provider's address
/// that no registry has.
pub(crate) const SPECIAL: &[(&str, &str)] = &[
    ("0.0.0.0/8", "this_network"),
    ("0.0.0.0/32", "unspecified"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared"),
    ("127.0.0.0/8", "loopback"),
    ("168.63.129.16/32", "cloud"),
    ("169.254.0.0/16", "link_local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "protocol"),
    ("192.0.0.0/29", "protocol"),
    ("192.0.0.8/32", "protocol"),
    ("192.0.0.9/32", "protocol"),
    ("192.0.0.10/32", "protocol"),
    ("192.0.0.170/32", "protocol"),
    ("192.0.0.171/32", "protocol"),
    ("192.0.2.0/24", "documentation"),
    ("192.31.196.0/24", "as112"),
    ("192.52.193.0/24", "amt"),
    ("192.88.99.0/24", "6to4"),
    ("192.88.99.2/32", "6to4"),
    ("192.168.0.0/16", "private"),
    ("192.175.48.0/24", "as112"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("255.255.255.255/32", "broadcast"),
    ("::1/128", "loopback"),
    ("::/128", "unspecified"),
    ("::/96", "ipv4_compatible"),
    ("::ffff:0:0/96", "ipv4_mapped"),
    ("::ffff:0:0:0/96", "ipv4_translated"),
    ("64:ff9b::/96", "nat64"),
    ("64:ff9b:1::/48", "nat64"),
    ("100::/64", "discard"),
    ("100:0:0:1::/64", "discard"),
    ("2001::/23", "protocol"),
    ("2001::/32", "teredo"),
    ("2001:1::1/128", "protocol"),
    ("2001:1::2/128", "protocol"),
    ("2001:1::3/128", "protocol"),
    ("2001:2::/48", "benchmarking"),
    ("2001:3::/32", "amt"),
    ("2001:4:112::/48", "as112"),
    ("2001:10::/28", "orchid"),
    ("2001:20::/28", "orchid"),
    ("2001:30::/28", "orchid"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4"),
    ("2620:4f:8000::/48", "as112"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "segment_routing"),
    ("fc00::/7", "unique_local"),
    ("fe80::/10", "link_local"),
    ("fec0::/10", "site_local"),
    ("ff00::/8", "multicast"),
    // Not allocated to anyone.
    ("4000::/2", "reserved"),
    ("8000::/2", "reserved"),
    ("c000::/3", "reserved"),
    ("e000::/4", "reserved"),
    ("f000::/5", "reserved"),
    ("f800::/6", "reserved"),
    ("fe00::/9", "reserved"),
    ("1000::/4", "reserved"),
    ("800::/5", "reserved"),
    ("400::/6", "reserved"),
    ("200::/7", "reserved"),
];

/// The class by the longest prefix.
fn listed(address: IpAddr) -> &'static str {
    let networks = SPECIAL.iter().map(|&(network, class)| (network.parse::<IpNet>().unwrap(), class));
    let special =
        networks.filter(|(network, _)| network.contains(&address)).max_by_key(|(network, _)| network.prefix_len());
    let is_tunnel = |address: Ipv6Addr| matches!(address.segments(), [_, _, _, _, 0 | 0x200, 0x5efe, ..]);
    match (special, address) {
        (Some((_, class)), _) if class != "reserved" => class,
        (_, IpAddr::V6(address)) if is_tunnel(address) => "isatap",
        (Some((_, class)), _) => class,
        (None, IpAddr::V4(_)) => "public",
        (None, IpAddr::V6(address)) if address.octets()[0] >> 5 == 1 => "public",
        (None, IpAddr::V6(_)) => "reserved",
    }
}

/// `IpAddr::is_global` of the standard library, which is not stable.
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let octets = address.octets();
            !(octets[0] == 0
                || address.is_private()
                || (octets[0] == 100 && octets[1] & 0b1100_0000 == 0b0100_0000)
                || address.is_loopback()
                || address.is_link_local()
                || (octets[0] == 192 && octets[1] == 0 && octets[2] == 0 && octets[3] != 9 && octets[3] != 10)
                || address.is_documentation()
                || (octets[0] == 198 && (octets[1] & 0xfe) == 18)
                || octets[0] & 0xf0 == 0xf0)
        }
        IpAddr::V6(address) => {
            let bits = u128::from_be_bytes(address.octets());
            let is_protocol = matches!(address.segments(), [0x2001, block, ..] if block < 0x200)
                && !(bits == 0x2001_0001_0000_0000_0000_0000_0000_0001
                    || bits == 0x2001_0001_0000_0000_0000_0000_0000_0002
                    || matches!(address.segments(), [0x2001, 3 | 0x20..=0x3f, ..] | [0x2001, 4, 0x112, ..]));
            !(address.is_unspecified()
                || address.is_loopback()
                || matches!(address.segments(), [0, 0, 0, 0, 0, 0xffff, _, _] | [0x64, 0xff9b, 1, ..])
                || matches!(address.segments(), [0x100, 0, 0, 0, ..] | [0x2002, ..])
                || is_protocol
                || matches!(address.segments(), [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] | [0x5f00, ..])
                || address.is_unique_local()
                || address.is_unicast_link_local())
        }
    }
}

/// The addresses around a network, on both sides of its ends.
fn edges(network: IpNet) -> Vec<IpAddr> {
    match network {
        IpNet::V4(network) => {
            let (first, last) = (u32::from(network.network()), u32::from(network.broadcast()));
            let around =
                [first.wrapping_sub(1), first, first.wrapping_add(1), last.wrapping_sub(1), last, last.wrapping_add(1)];
            around.map(|bits| Ipv4Addr::from(bits).into()).to_vec()
        }
        IpNet::V6(network) => {
            let (first, last) = (u128::from(network.network()), u128::from(network.broadcast()));
            let around =
                [first.wrapping_sub(1), first, first.wrapping_add(1), last.wrapping_sub(1), last, last.wrapping_add(1)];
            around.map(|bits| Ipv6Addr::from(bits).into()).to_vec()
        }
    }
}

fn check(address: IpAddr) {
    let class = classify(address);
    assert_eq!(class.as_str(), listed(address), "{address}");
    assert_eq!(class.is_public(), class == AddressClass::Public);
    assert!(!class.is_public() || is_global(address), "{address} is not global");
}

#[test]
fn each_range_has_its_class_from_the_first_to_the_last_address() {
    for (network, class) in SPECIAL {
        let network: IpNet = network.parse().unwrap();
        assert_eq!(network.network(), network.addr());
        edges(network).into_iter().for_each(check);
        assert!(!classify(network.network()).is_public() && !classify(network.broadcast()).is_public(), "{class}");
    }
}

#[test]
fn addresses_by_name() {
    for (address, class) in [
        ("93.184.215.14", "public"),
        ("1.1.1.1", "public"),
        ("9.255.255.255", "public"),
        ("11.0.0.0", "public"),
        ("100.63.255.255", "public"),
        ("100.128.0.0", "public"),
        ("172.15.255.255", "public"),
        ("172.32.0.0", "public"),
        ("223.255.255.255", "public"),
        ("168.63.129.15", "public"),
        ("169.254.169.254", "link_local"),
        ("100.100.100.200", "shared"),
        ("192.0.0.192", "protocol"),
        ("2606:2800:220:1::1", "public"),
        ("2001:200::1", "public"),
        ("2a00::1", "public"),
        ("fd00:ec2::254", "unique_local"),
        ("::ffff:1.1.1.1", "ipv4_mapped"),
        ("::1.1.1.1", "ipv4_compatible"),
        ("::ffff:0:1.1.1.1", "ipv4_translated"),
        ("64:ff9b::1.1.1.1", "nat64"),
        ("64:ff9b:1:ffff::1.1.1.1", "nat64"),
        ("2002:101:101::1", "6to4"),
        ("2001:0:101:101::1", "teredo"),
        ("2606:2800::5efe:127.0.0.1", "isatap"),
        ("2606:2800::200:5efe:127.0.0.1", "isatap"),
        ("2606:2800::5eff:127.0.0.1", "public"),
        ("fe80::5efe:127.0.0.1", "link_local"),
    ] {
        check(address.parse().unwrap());
        assert_eq!(classify(address.parse().unwrap()).as_str(), class, "{address}");
    }
}

fn near_a_range() -> impl Strategy<Value = IpAddr> {
    let network = prop::sample::select(SPECIAL).prop_map(|(network, _)| network.parse::<IpNet>().unwrap());
    (network, any::<(u32, u128)>(), 0_u32..128).prop_map(|(network, (few, many), kept)| match network.addr() {
        // Everything behind some bit is random: inside the network, or beside it.
        IpAddr::V4(address) => Ipv4Addr::from(u32::from(address) ^ (few >> (kept % 32))).into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) ^ (many >> kept)).into(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn any_v4_has_the_listed_class(bits in any::<u32>()) {
        check(Ipv4Addr::from(bits).into());
    }

    #[test]
    fn any_v6_has_the_listed_class(bits in any::<u128>(), global in any::<bool>()) {
        let bits = if global { (bits >> 3) | (1 << 125) } else { bits };
        check(Ipv6Addr::from(bits).into());
    }

    #[test]
    fn any_address_near_a_range_has_the_listed_class(address in near_a_range()) {
        check(address);
    }
}
