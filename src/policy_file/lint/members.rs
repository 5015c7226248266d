//! Members that clients should not be able to send.

use crate::registration::Field;

/// A reason not to accept a member of the server's own from clients.
pub(super) enum Danger {
    /// Servers that fold names read it as this metadata field.
    LooksLike(&'static str),
    /// The name reads as a decision of the server.
    Privilege,
}

/// Names of decisions that belong to the server.
const PRIVILEGES: [&str; 16] = [
    "admin",
    "administrator",
    "approved",
    "autoapprove",
    "bypass",
    "firstparty",
    "impersonate",
    "impersonation",
    "preapproved",
    "privileged",
    "skip",
    "superuser",
    "trust",
    "trusted",
    "verified",
    "whitelisted",
];

/// Returns the reason why clients should not be able to send the member `name`; `None` if there is none.
pub(super) fn danger(name: &str) -> Option<Danger> {
    let folded = fold(name);
    let same = |field: &&str| *field != name && fold(field).trim_end_matches('s') == folded.trim_end_matches('s');
    if let Some(field) = Field::all().map(Field::name).find(same) {
        return Some(Danger::LooksLike(field));
    }
    let words = words(name);
    let pairs = words.windows(2).map(<[String]>::concat);
    let is_privilege = words.iter().cloned().chain(pairs).any(|word| PRIVILEGES.contains(&&*word));
    // `consent`, `require_consent`: not `consent_page_uri`.
    (is_privilege || words.last().is_some_and(|last| last == "consent")).then_some(Danger::Privilege)
}

/// Returns a name in lower case, without punctuation: many binders read `redirectUris`, `redirect-uris` and
/// `Redirect.URIs` as one name.
fn fold(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && before.is_lowercase()) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_alikes_and_privileges_are_found() {
        for name in ["redirectUris", "redirect-uris", "REDIRECT_URIS", "redirect_uri", "clientId", "jwksUri", "Scopes"]
        {
            assert!(matches!(danger(name), Some(Danger::LooksLike(_))), "{name}");
        }
        for name in [
            "skip_consent",
            "skipConsent",
            "trusted",
            "is_trusted",
            "isTrusted",
            "first_party",
            "firstParty",
            "consent",
            "require_consent",
            "autoApprove",
            "auto_approve_scopes",
            "admin",
            "isAdmin",
            "preApproved",
            "x-verified",
        ] {
            assert!(matches!(danger(name), Some(Danger::Privilege)), "{name}");
        }
        for name in [
            "tenant",
            "post_logout_redirect_uris",
            "org_id",
            "region",
            "consent_page_uri",
            "administrative_region",
            "skipper",
            "trustee",
            "client_label",
            "department",
            "scope_hint",
        ] {
            assert!(danger(name).is_none(), "{name}");
        }
    }
}
