//! Recognises host names of public web sites with an owner.

use std::net::Ipv4Addr;
use std::sync::LazyLock;

use super::host::has_public_suffix;
use crate::text;

/// The reason that a host name does not lead to a public web site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotPublic {
    /// A single label, a special-use name, or a top-level domain that the Public Suffix List does not have.
    TopLevel,
    /// A public suffix itself, such as `co.uk`.
    Suffix,
    /// A name that resolves to a private address, or to the machine that asks.
    LeadsInside,
}

impl NotPublic {
    /// Returns a fixed sentence that completes "the URI …".
    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::TopLevel => "leads to a host without a public top-level domain",
            Self::Suffix => "leads to a public suffix, which has no owner",
            Self::LeadsInside => "leads to a host name for private networks",
        }
    }
}

/// Checks that a canonical DNS name can be a public web site.
pub(super) fn check(host: &str) -> Result<(), NotPublic> {
    if !has_public_suffix(host) {
        return Err(NotPublic::TopLevel);
    }
    // The list knows every top-level domain: `svc` and `intranet` are none.
    let Some(suffix) = public_suffix(host).filter(psl::Suffix::is_known) else {
        return Err(NotPublic::TopLevel);
    };
    // A suffix below a domain with an owner is a machine of that owner: `*.compute.amazonaws.com`.
    let is_suffix = suffix.as_bytes().len() == host.len();
    let parent_has_owner = || host.split_once('.').is_some_and(|(_, parent)| registrable_domain(parent).is_some());
    if is_suffix && !parent_has_owner() {
        return Err(NotPublic::Suffix);
    }
    if leads_inside(host) { Err(NotPublic::LeadsInside) } else { Ok(()) }
}

/// Returns the site of a canonical DNS name: the registrable domain by the Public Suffix List, or the name if it has none.
/// Customers of `github.io` have a site each.
pub(crate) fn site_of(host: &str) -> &str {
    registrable_domain(host).unwrap_or(host)
}

/// Returns the registrable domain of a name by the Public Suffix List; `None` for a public suffix.
#[inline(never)]
#[expect(clippy::disallowed_methods, reason = "the only place")]
pub(crate) fn registrable_domain(name: &str) -> Option<&str> {
    psl::domain_str(name)
}

/// Returns the public suffix of a name. The list is 700 KB of code, which each module that calls it would have a copy of.
#[inline(never)]
#[expect(clippy::disallowed_methods, reason = "the only place")]
pub(crate) fn public_suffix(name: &str) -> Option<psl::Suffix<'_>> {
    psl::suffix(name.as_bytes())
}

/// Domains whose names all resolve to the machine that asks, to an address in its network, to what clouds tell their
/// machines about themselves, or to one address after another. The owner of any other domain can do the same, and names
/// are not resolved here: a server that follows links should look at addresses, too.
///
/// From the documentation of each service, and of the routers that answer for a name of their own.
const INSIDE: [&str; 47] = [
    // The machine that asks.
    "42foo.com",
    "backname.io",
    "bugbounty.dod.network",
    "ddev.site",
    "fuf.me",
    "lacolhost.com",
    "lcl.host",
    "lndo.site",
    "local.gd",
    "localdev.me",
    "localho.st",
    "localhost.direct",
    "localtest.me",
    "lvh.me",
    "smackaho.st",
    "spoofed.burpcollaborator.net",
    "vcap.me",
    "yoogle.com",
    // Alternating addresses (rebinding).
    "1u.ms",
    "rbndr.us",
    "rebind.network",
    // Clouds.
    "internal.cloudapp.net",
    "metadata.goog",
    "metadata.platformequinix.com",
    "metadata.tencentyun.com",
    // Routers.
    "asusrouter.com",
    "dlinkrouter.com",
    "easy.box",
    "fritz.box",
    "melogin.cn",
    "miwifi.com",
    "mywifiext.com",
    "mywifiext.net",
    "o2.box",
    "orbilogin.com",
    "orbilogin.net",
    "router.asus.com",
    "routerlogin.com",
    "routerlogin.net",
    "setup.ubnt.com",
    "tendawifi.com",
    "tplinkap.net",
    "tplinklogin.net",
    "tplinkmodem.net",
    "tplinkrepeater.net",
    "tplinkwifi.net",
    "tplogin.cn",
];

/// Domains whose names resolve to the address that is written in them.
const ADDRESSES: [&str; 11] = [
    "local-ip.co",
    "local-ip.medicmobile.org",
    "local-ip.sh",
    "nip.io",
    "plex.direct",
    "s.test.cab",
    "sslip.io",
    "traefik.me",
    "xip.io",
    "xip.lhjmmc.cn",
    "xip.name",
];

/// The meaning of the names in and below a domain.
#[derive(Clone, Copy)]
enum Domain {
    Inside,
    Address,
}

/// Both lists, sorted by length, which tells most names apart, and name: a document can have dozens of links, and each is looked up.
static DOMAINS: LazyLock<Vec<(&str, Domain)>> = LazyLock::new(|| {
    let all = [(&INSIDE[..], Domain::Inside), (&ADDRESSES, Domain::Address)];
    let mut all: Vec<_> =
        all.into_iter().flat_map(|(names, domain)| names.iter().map(move |name| (*name, domain))).collect();
    all.sort_unstable_by_key(|(name, _)| (name.len(), *name));
    all
});

/// Returns the meaning of a domain; `None` if it has no other than that of its site.
fn look_up(domain: &str) -> Option<Domain> {
    let place = DOMAINS.binary_search_by_key(&(domain.len(), domain), |(name, _)| (name.len(), name)).ok()?;
    DOMAINS.get(place).map(|(_, domain)| *domain)
}

fn leads_inside(host: &str) -> bool {
    let mut domains =
        std::iter::successors(Some(host), |name| text::split_at_byte(name, b'.').map(|(_, parent)| parent));
    match domains.find_map(look_up) {
        Some(Domain::Inside) => return true,
        Some(Domain::Address) => return !has_one_public_address(host),
        None => {}
    }
    let begins_with_digit =
        |label: &[u8]| label.strip_prefix(b"ip-").unwrap_or(label).first().is_some_and(u8::is_ascii_digit);
    if !host.as_bytes().split(|byte| *byte == b'.').any(begins_with_digit) {
        return false;
    }
    let labels: Vec<&str> = host.split('.').collect();
    let dashed = labels.iter().any(|label| is_of_a_network(label.strip_prefix("ip-").unwrap_or(label).split('-')));
    dashed || labels.windows(4).any(|four| is_of_a_network(four.iter().copied()))
}

/// Returns `true` if four numbers, and nothing else, are an address in a private network. Loopback is none: redirects may lead to
/// the person's own machine anyway.
fn is_of_a_network<'a>(numbers: impl Iterator<Item = &'a str>) -> bool {
    address(numbers).is_some_and(|address| !is_public(address) && !address.is_loopback())
}

fn address<'a>(numbers: impl Iterator<Item = &'a str>) -> Option<Ipv4Addr> {
    let mut octets = [0_u8; 4];
    let mut numbers = numbers.fuse();
    for octet in &mut octets {
        let number = numbers.next().filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))?;
        *octet = number.parse().ok()?;
    }
    numbers.next().is_none().then(|| Ipv4Addr::from(octets))
}

fn is_public(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || matches!((first, second), (0 | 224.., _) | (100, 64..128) | (192, 0) | (198, 18 | 19)))
}

/// Returns `true` if a name that stands for an address has one, and only one, that can be read for certain, and it is public.
fn has_one_public_address(host: &str) -> bool {
    let labels: Vec<&str> = host.split('.').collect();
    let is_hexadecimal = |label: &&str| label.len() == 8 && label.bytes().all(|byte| byte.is_ascii_hexdigit());
    if labels.iter().any(|label| is_hexadecimal(label) || label.contains("--")) {
        return false;
    }
    let dashed = labels.iter().flat_map(|label| {
        let parts: Vec<&str> = label.split('-').collect();
        parts.windows(4).filter_map(|four| address(four.iter().copied())).collect::<Vec<_>>()
    });
    let dotted = labels.windows(4).filter_map(|four| address(four.iter().copied()));
    let mut found = dashed.chain(dotted);
    matches!((found.next(), found.next()), (Some(address), None) if is_public(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_and_private_host_names_are_distinguished() {
        use NotPublic::{LeadsInside, Suffix, TopLevel};
        for host in [
            "app.example.com",
            "my.app",
            "user.github.io",
            "example.co.uk",
            "xn--80ak6aa92e.xn--p1ai",
            "app.203-0-113-7.sslip.io",
            "203.0.113.7.nip.io",
            "8-8-8-8.0123456789abcdef0123456789abcdef.plex.direct",
            "v1-10-0-2.example.com",
            "release-10-0-0-1.example.com",
            "8-8-8-8.example.com",
            "ec2-3-4-5-6.compute.amazonaws.com",
            "127-0-0-1.example.com",
            "notnip.io",
            "box.tailnet.ts.net",
            "nas.myqnapcloud.com",
            "8-8-8-8.xip.lhjmmc.cn",
            "box.com",
        ] {
            assert_eq!(check(host), Ok(()), "{host}");
        }
        for (host, expected) in [
            ("localhost", TopLevel),
            ("intranet", TopLevel),
            ("foo.svc", TopLevel),
            ("kubernetes.default.svc", TopLevel),
            ("foo.intranet", TopLevel),
            ("metadata.google.internal", TopLevel),
            ("db.corp", TopLevel),
            ("nas.local", TopLevel),
            ("x.test", TopLevel),
            ("x.example", TopLevel),
            ("x.private", TopLevel),
            ("co.uk", Suffix),
            ("github.io", Suffix),
            ("cloudapp.net", Suffix),
            ("127-0-0-1.nip.io", LeadsInside),
            ("app-127-0-0-1.nip.io", LeadsInside),
            ("10.0.0.1.sslip.io", LeadsInside),
            ("8-8-8-8.127-0-0-1.sslip.io", LeadsInside),
            ("8-8-8-8-127-0-0-1.sslip.io", LeadsInside),
            ("7f000001.nip.io", LeadsInside),
            ("anything.nip.io", LeadsInside),
            ("0-0-0-0.nip.io", LeadsInside),
            ("100-64-0-1.nip.io", LeadsInside),
            ("169-254-169-254.traefik.me", LeadsInside),
            ("192-168-0-1.x.plex.direct", LeadsInside),
            ("192-168-0-1.x.myqnapcloud.com", LeadsInside),
            ("127-0-0-1.xip.lhjmmc.cn", LeadsInside),
            ("127-0-0-1.s.test.cab", LeadsInside),
            ("192-168-0-1.my.local-ip.co", LeadsInside),
            ("192-168-0-1.example.com", LeadsInside),
            ("ip-10-0-0-1.example.com", LeadsInside),
            ("192.168.0.1.example.com", LeadsInside),
            ("app.lndo.site", LeadsInside),
            ("app.ddev.site", LeadsInside),
            ("x.localhost.direct", LeadsInside),
            ("fuf.me", LeadsInside),
            ("bugbounty.dod.network", LeadsInside),
            ("spoofed.burpcollaborator.net", LeadsInside),
            ("vm.internal.cloudapp.net", LeadsInside),
            ("localho.st", LeadsInside),
            ("fritz.box", LeadsInside),
            ("router.asus.com", LeadsInside),
            ("routerlogin.net", LeadsInside),
            ("www.tplinkwifi.net", LeadsInside),
            ("metadata.goog", LeadsInside),
            ("sub.lvh.me", LeadsInside),
        ] {
            assert_eq!(check(host), Err(expected), "{host}");
        }
    }
}
