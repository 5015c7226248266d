//! The kind of change between two versions of a document.

use std::collections::BTreeSet;

use crate::clients::ledger::Change;
use crate::redirect_uri::{RedirectClass, RedirectUri, matches};
use crate::registration::Registration;
use crate::rules::Identity;
use crate::rules::identity::name;

/// Returns the gravest change between two versions of a document, as the rules left them.
pub(crate) fn classify(
    before: (&Registration, Option<&Identity>),
    after: (&Registration, Option<&Identity>),
) -> Change {
    let ((before, identity_before), (after, identity_after)) = (before, after);
    let kinds = [
        redirects(before, after),
        list(before, after, "grant_types"),
        list(before, after, "response_types"),
        scope(before, after),
        auth_method(before, after),
        keys(before, after),
        identity((before, identity_before), (after, identity_after)),
    ];
    kinds.into_iter().max().unwrap_or(Change::Decoration)
}

/// A new path at an origin that the client had is the same publisher's; a new origin is another receiver of codes.
fn redirects(before: &Registration, after: &Registration) -> Change {
    let origins: BTreeSet<String> = before.redirect_uris().filter_map(origin).collect();
    let is_new = |uri: &str| origin(uri).is_none_or(|origin| !origins.contains(&origin));
    if after.redirect_uris().any(is_new) {
        return Change::Widening;
    }
    let is_kept = |uri: &str| after.redirect_uris().any(|kept| matches(kept, uri));
    if before.redirect_uris().all(is_kept) { Change::Decoration } else { Change::Narrowing }
}

/// Returns scheme, host and port. The port of a loopback redirect URI means nothing (RFC 8252 section 7.3).
fn origin(uri: &str) -> Option<String> {
    let uri = RedirectUri::parse_with_address(uri).ok()?;
    let port = uri.port().filter(|_| uri.class() != RedirectClass::Loopback);
    Some(format!("{}://{}:{}", uri.scheme(), uri.host().unwrap_or_default(), port.unwrap_or(0)))
}

fn sets(before: &BTreeSet<&str>, after: &BTreeSet<&str>) -> Change {
    match () {
        () if !after.is_subset(before) => Change::Widening,
        () if before.len() > after.len() => Change::Narrowing,
        () => Change::Decoration,
    }
}

fn list(before: &Registration, after: &Registration, name: &str) -> Change {
    let of =
        |registration| -> BTreeSet<&str> { Registration::strings(registration, name).into_iter().flatten().collect() };
    sets(&of(before), &of(after))
}

/// A client without a scope may have any.
fn scope(before: &Registration, after: &Registration) -> Change {
    match (before.string("scope"), after.string("scope")) {
        (Some(before), Some(after)) => sets(&before.split(' ').collect(), &after.split(' ').collect()),
        (Some(_), None) => Change::Widening,
        (None, Some(_)) => Change::Narrowing,
        (None, None) => Change::Decoration,
    }
}

fn auth_method(before: &Registration, after: &Registration) -> Change {
    let of =
        |registration: &Registration| registration.string("token_endpoint_auth_method").unwrap_or("none").to_owned();
    match (of(before), of(after)) {
        (before, after) if before == after => Change::Decoration,
        (_, after) if after == "none" => Change::Widening,
        (before, _) if before == "none" => Change::Narrowing,
        // Another proof of the same strength is another key.
        _ => Change::Widening,
    }
}

/// Keys by value rotate. Keys from another origin are another party's.
fn keys(before: &Registration, after: &Registration) -> Change {
    let of = |registration: &Registration| registration.string("jwks_uri").and_then(origin);
    match (of(before), of(after)) {
        (before, Some(after)) if before.as_ref() != Some(&after) => Change::Widening,
        _ => Change::Decoration,
    }
}

fn identity(before: (&Registration, Option<&Identity>), after: (&Registration, Option<&Identity>)) -> Change {
    let claim = |identity: Option<&Identity>| identity.map(|identity| (identity.claimed.clone(), identity.status));
    let name = |registration: &Registration| registration.string("client_name").map(name::normal);
    if claim(before.1) != claim(after.1) || name(before.0) != name(after.0) {
        Change::Identity
    } else {
        Change::Decoration
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_change_counts() {
        let base = r#"{"client_name":"App","grant_types":["authorization_code"],"redirect_uris":["https://a.example.com/cb","http://127.0.0.1:1/cb"],"scope":"a b"}"#;
        let read = |json: &str| Registration::parse(json.as_bytes()).unwrap();
        for (from, to, expected) in [
            ("App", "App", Change::Decoration),
            ("\"App\"", "\"APP (laptop)\"", Change::Decoration),
            ("\"App\"", "\"Claude\"", Change::Identity),
            ("\"client_name\":\"App\",", "", Change::Identity),
            (r#""client_name""#, r#""client_uri":"https://a.example.com/","client_name""#, Change::Decoration),
            ("127.0.0.1:1", "127.0.0.1:2", Change::Decoration),
            ("https://a.example.com/cb", "https://a.example.com/other", Change::Narrowing),
            (
                r#""https://a.example.com/cb","#,
                r#""https://a.example.com/cb","https://a.example.com/2","#,
                Change::Decoration,
            ),
            (r#""https://a.example.com/cb","#, "", Change::Narrowing),
            ("https://a.example.com/cb", "https://b.example.com/cb", Change::Widening),
            ("https://a.example.com/cb", "https://a.example.com:8443/cb", Change::Widening),
            ("http://127.0.0.1:1/cb", "http://localhost:1/cb", Change::Widening),
            ("https://a.example.com/cb", "com.example.a:/cb", Change::Widening),
            (r#"["authorization_code"]"#, r#"["authorization_code","refresh_token"]"#, Change::Widening),
            ("a b", "b a", Change::Decoration),
            ("a b", "a", Change::Narrowing),
            ("a b", "a c", Change::Widening),
            (r#","scope":"a b""#, "", Change::Widening),
            ("}", r#","token_endpoint_auth_method":"private_key_jwt"}"#, Change::Narrowing),
            ("}", r#","jwks_uri":"https://a.example.com/jwks"}"#, Change::Widening),
        ] {
            let changed = base.replace(from, to);
            assert_eq!(classify((&read(base), None), (&read(&changed), None)), expected, "{from} -> {to}");
        }
        let strong = base.replace('}', r#","token_endpoint_auth_method":"private_key_jwt"}"#);
        assert_eq!(classify((&read(&strong), None), (&read(base), None)), Change::Widening);
        let without = base.replace(r#","scope":"a b""#, "");
        assert_eq!(classify((&read(&without), None), (&read(base), None)), Change::Narrowing);
    }
}
