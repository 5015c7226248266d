//! [`classify`]: the addresses that are public, and the names of those that are not.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// The class of an address, by the registries of special-purpose addresses (RFC 6890).
///
/// ```
/// use tower_dcr_fetch::{AddressClass, classify};
///
/// assert_eq!(classify("192.0.2.1".parse()?), AddressClass::Documentation);
/// assert_eq!(AddressClass::Documentation.as_str(), "documentation");
/// # Ok::<_, std::net::AddrParseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AddressClass {
    /// An address of the public internet.
    Public,
    /// Automatic multicast tunneling (RFC 7450).
    Amt,
    /// The name servers of AS112, which answer for private addresses (RFC 7534, RFC 7535).
    As112,
    /// Benchmarks (RFC 2544, RFC 5180).
    Benchmarking,
    /// The limited broadcast (RFC 919).
    Broadcast,
    /// Services of a cloud provider for its virtual machines, on an address that is otherwise public.
    Cloud,
    /// Traffic that is to be discarded (RFC 6666), or that goes nowhere (RFC 9780).
    Discard,
    /// Documentation (RFC 5737, RFC 3849, RFC 9637).
    Documentation,
    /// IPv4 in IPv6, in the deprecated form without a prefix (RFC 4291 section 2.5.5.1).
    Ipv4Compatible,
    /// IPv4 in IPv6, as sockets have it (RFC 4291 section 2.5.5.2).
    Ipv4Mapped,
    /// IPv4 in IPv6, for translation (RFC 2765).
    Ipv4Translated,
    /// IPv4 in the interface identifier of a tunnel (RFC 5214).
    Isatap,
    /// The link: cloud metadata services are here (RFC 3927, RFC 4291).
    LinkLocal,
    /// This machine.
    Loopback,
    /// A group of receivers.
    Multicast,
    /// IPv4 in IPv6, for translation at the edge of a network (RFC 6052, RFC 8215).
    Nat64,
    /// Identifiers that are not locators (RFC 4843, RFC 7343, RFC 9374).
    Orchid,
    /// A private network (RFC 1918).
    Private,
    /// Assignments to protocols (RFC 6890, RFC 2928).
    Protocol,
    /// Not allocated, or for future use.
    Reserved,
    /// Segment routing (RFC 9602).
    SegmentRouting,
    /// Addresses between a provider and its customers (RFC 6598).
    Shared,
    /// A site, in the deprecated form (RFC 3879).
    SiteLocal,
    /// IPv4 in IPv6, and relays of it (RFC 3056, RFC 7526).
    SixToFour,
    /// IPv4 in IPv6, for tunnels through NAT (RFC 4380).
    Teredo,
    /// This network (RFC 791).
    ThisNetwork,
    /// A private network (RFC 4193).
    UniqueLocal,
    /// No address.
    Unspecified,
}

use AddressClass as Class;

/// Returns the class of an address. Only [`AddressClass::Public`] is connected to.
///
/// An IPv6 address that holds an IPv4 address is in no case public, whatever it holds: networks differ on where it leads. Outside of
/// `2000::/3`, from which alone global addresses are assigned, no IPv6 address is public.
///
/// ```
/// use tower_dcr_fetch::classify;
///
/// assert!(classify("93.184.215.14".parse()?).is_public());
/// for (address, class) in [
///     ("127.0.0.1", "loopback"),
///     ("169.254.169.254", "link_local"),
///     ("::ffff:93.184.215.14", "ipv4_mapped"),
///     ("64:ff9b::7f00:1", "nat64"),
/// ] {
///     assert_eq!(classify(address.parse()?).as_str(), class);
/// }
/// # Ok::<_, std::net::AddrParseError>(())
/// ```
#[must_use]
pub fn classify(address: IpAddr) -> AddressClass {
    match address {
        IpAddr::V4(address) => classify_v4(address),
        IpAddr::V6(address) => classify_v6(address),
    }
}

fn classify_v4(address: Ipv4Addr) -> Class {
    class_in(V4, |network| network.contains(&address)).unwrap_or(Class::Public)
}

fn classify_v6(address: Ipv6Addr) -> Class {
    if let Some(class) = class_in(V6, |network| network.contains(&address)) {
        return class;
    }
    match address.segments() {
        // The bit for a globally unique identifier may be set.
        [_, _, _, _, 0 | 0x0200, 0x5efe, ..] => Class::Isatap,
        [0x2000..=0x3fff, ..] => Class::Public,
        _ => Class::Reserved,
    }
}

fn class_in<N>(table: &[(N, Class)], contains: impl Fn(&N) -> bool) -> Option<Class> {
    table.iter().find(|(network, _)| contains(network)).map(|&(_, class)| class)
}

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits)
}

const fn v6(start: [u16; 4], bits: u8) -> Ipv6Net {
    let [a, b, c, d] = start;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), bits)
}

/// The first one that contains an address is its class.
const V4: &[(Ipv4Net, Class)] = &[
    (v4(0, 0, 0, 0, 32), Class::Unspecified),
    (v4(0, 0, 0, 0, 8), Class::ThisNetwork),
    (v4(10, 0, 0, 0, 8), Class::Private),
    (v4(100, 64, 0, 0, 10), Class::Shared),
    (v4(127, 0, 0, 0, 8), Class::Loopback),
    // The wire server of Azure, which gives virtual machines their secrets.
    (v4(168, 63, 129, 16, 32), Class::Cloud),
    (v4(169, 254, 0, 0, 16), Class::LinkLocal),
    (v4(172, 16, 0, 0, 12), Class::Private),
    (v4(192, 0, 0, 0, 24), Class::Protocol),
    (v4(192, 0, 2, 0, 24), Class::Documentation),
    (v4(192, 31, 196, 0, 24), Class::As112),
    (v4(192, 52, 193, 0, 24), Class::Amt),
    (v4(192, 88, 99, 0, 24), Class::SixToFour),
    (v4(192, 168, 0, 0, 16), Class::Private),
    (v4(192, 175, 48, 0, 24), Class::As112),
    (v4(198, 18, 0, 0, 15), Class::Benchmarking),
    (v4(198, 51, 100, 0, 24), Class::Documentation),
    (v4(203, 0, 113, 0, 24), Class::Documentation),
    (v4(224, 0, 0, 0, 4), Class::Multicast),
    (v4(255, 255, 255, 255, 32), Class::Broadcast),
    (v4(240, 0, 0, 0, 4), Class::Reserved),
];

/// The first one that contains an address is its class.
const V6: &[(Ipv6Net, Class)] = &[
    (Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128), Class::Unspecified),
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), Class::Loopback),
    (v6([0, 0, 0, 0], 96), Class::Ipv4Compatible),
    (Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96), Class::Ipv4Mapped),
    (Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96), Class::Ipv4Translated),
    (v6([0x64, 0xff9b, 0, 0], 96), Class::Nat64),
    (v6([0x64, 0xff9b, 1, 0], 48), Class::Nat64),
    (v6([0x100, 0, 0, 0], 63), Class::Discard),
    (v6([0x2001, 0, 0, 0], 32), Class::Teredo),
    (v6([0x2001, 2, 0, 0], 48), Class::Benchmarking),
    (v6([0x2001, 3, 0, 0], 32), Class::Amt),
    (v6([0x2001, 4, 0x112, 0], 48), Class::As112),
    (v6([0x2001, 0x10, 0, 0], 28), Class::Orchid),
    (v6([0x2001, 0x20, 0, 0], 28), Class::Orchid),
    (v6([0x2001, 0x30, 0, 0], 28), Class::Orchid),
    (v6([0x2001, 0, 0, 0], 23), Class::Protocol),
    (v6([0x2001, 0xdb8, 0, 0], 32), Class::Documentation),
    (v6([0x2002, 0, 0, 0], 16), Class::SixToFour),
    (v6([0x2620, 0x4f, 0x8000, 0], 48), Class::As112),
    (v6([0x3fff, 0, 0, 0], 20), Class::Documentation),
    (v6([0x5f00, 0, 0, 0], 16), Class::SegmentRouting),
    (v6([0xfc00, 0, 0, 0], 7), Class::UniqueLocal),
    (v6([0xfe80, 0, 0, 0], 10), Class::LinkLocal),
    (v6([0xfec0, 0, 0, 0], 10), Class::SiteLocal),
    (v6([0xff00, 0, 0, 0], 8), Class::Multicast),
];

impl AddressClass {
    /// Returns the name of the class, in `snake_case`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Amt => "amt",
            Self::As112 => "as112",
            Self::Benchmarking => "benchmarking",
            Self::Broadcast => "broadcast",
            Self::Cloud => "cloud",
            Self::Discard => "discard",
            Self::Documentation => "documentation",
            Self::Ipv4Compatible => "ipv4_compatible",
            Self::Ipv4Mapped => "ipv4_mapped",
            Self::Ipv4Translated => "ipv4_translated",
            Self::Isatap => "isatap",
            Self::LinkLocal => "link_local",
            Self::Loopback => "loopback",
            Self::Multicast => "multicast",
            Self::Nat64 => "nat64",
            Self::Orchid => "orchid",
            Self::Private => "private",
            Self::Protocol => "protocol",
            Self::Reserved => "reserved",
            Self::SegmentRouting => "segment_routing",
            Self::Shared => "shared",
            Self::SiteLocal => "site_local",
            Self::SixToFour => "6to4",
            Self::Teredo => "teredo",
            Self::ThisNetwork => "this_network",
            Self::UniqueLocal => "unique_local",
            Self::Unspecified => "unspecified",
        }
    }

    /// Returns `true` for [`Public`](Self::Public).
    #[must_use]
    pub const fn is_public(self) -> bool {
        matches!(self, Self::Public)
    }
}

impl fmt::Display for AddressClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
