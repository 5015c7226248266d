//! Links that lead to somebody's public web site.

use crate::redirect_uri::{RedirectUri, is_within_domain};

/// A link that has one reading only, and leads over `https` to a public DNS name that somebody can own.
///
/// What it is read by is the reader of redirect URIs, the strictest there is: no user information, no fragment, no address
/// in whatever spelling, no internal name.
pub(super) fn read(link: &str) -> Option<RedirectUri<'_>> {
    let uri = RedirectUri::parse(link).ok()?;
    let host = uri.host().filter(|_| uri.leads_to_public_host())?;
    // Not `https://co.uk/`, which nobody has, and nothing under a top level that there is not: `kubernetes.default.svc`.
    let has_owner = psl::domain(host.as_bytes()).is_some_and(|domain| domain.suffix().is_known());
    (has_owner && !leads_inside(host)).then_some(uri)
}

/// Whether two hosts belong to one owner: they share a registrable domain (the Public Suffix List).
pub(super) fn are_same_site(one: &str, other: &str) -> bool {
    psl::domain_str(one).is_some_and(|domain| psl::domain_str(other) == Some(domain))
}

/// Public domains whose names resolve to whatever address is written in them, to the machine that asks, or to what clouds
/// tell their machines about themselves. A server that follows links should look at addresses, too: the owner of any other
/// domain can do the same, and nobody here resolves names.
const INSIDE: [&str; 14] = [
    "1u.ms",
    "42foo.com",
    "backname.io",
    "lacolhost.com",
    "local.gd",
    "localtest.me",
    "lvh.me",
    "metadata.goog",
    "nip.io",
    "rbndr.us",
    "sslip.io",
    "traefik.me",
    "vcap.me",
    "xip.io",
];

fn leads_inside(host: &str) -> bool {
    INSIDE.iter().any(|domain| is_within_domain(host, domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_sites_are_links() {
        for link in [
            "https://app.example.com",
            "https://app.example.com/x?y=1",
            "https://user.github.io/",
            "https://xn--bcher-kva.example.com/",
        ] {
            assert!(read(link).is_some(), "{link}");
        }
        for link in [
            "http://app.example.com/",
            "https://co.uk/",
            "https://github.io/",
            "https://intranet/",
            "https://kubernetes.default.svc/",
            "https://app.example.com./",
            "https://user@app.example.com/",
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://[::1]/",
            "https://[::ffff:169.254.169.254]/",
            "https://metadata.google.internal/",
            "https://169-254-169-254.nip.io/",
            "https://metadata.goog/",
            "https://localtest.me/",
            "https://app.example.com/#x",
            "https:/app.example.com/",
        ] {
            assert!(read(link).is_none(), "{link}");
        }
        assert!(are_same_site("a.example.co.uk", "example.co.uk"));
        assert!(!are_same_site("a.co.uk", "b.co.uk"));
        assert!(!are_same_site("a.github.io", "b.github.io"));
    }
}
