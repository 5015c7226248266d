//! Links to public web sites.

use crate::redirect_uri::{RedirectUri, registrable_domain};

/// Reads a link that every reader reads the same way, and that leads over `https` to a public web site.
///
/// Uses the reader of redirect URIs, which is the strictest: no user information, no fragment, no address in any
/// spelling, no internal name.
pub(crate) fn read(link: &str) -> Option<RedirectUri<'_>> {
    RedirectUri::parse(link).ok().filter(RedirectUri::leads_to_public_host)
}

/// Returns `true` if two hosts belong to one owner: they share a registrable domain (the Public Suffix List).
pub(crate) fn are_same_site(one: &str, other: &str) -> bool {
    registrable_domain(one).is_some_and(|domain| registrable_domain(other) == Some(domain))
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
