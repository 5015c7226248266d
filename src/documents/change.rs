//! The kind of change between two versions of a document.

use std::collections::{BTreeMap, BTreeSet};

use super::ClientIdUrl;
use crate::clients::ledger::Change;
use crate::redirect_uri::{RedirectClass, RedirectUri, default_port, matches};
use crate::registration::{Entry, Field, JsonType, Registration, UriUse, Value};
use crate::rules::Identity;

/// Returns the gravest change between two versions of the document at `url`, as the rules left them.
///
/// A member that differs is a [`Decoration`](Change::Decoration) only if [`Effect`] says so; all others are grants.
pub(crate) fn classify(
    url: &ClientIdUrl,
    before: (&Registration, Option<&Identity>),
    after: (&Registration, Option<&Identity>),
) -> Change {
    let claim = |identity: Option<&Identity>| identity.map(|identity| (identity.claimed.clone(), identity.status));
    let identity = if claim(before.1) == claim(after.1) { Change::Decoration } else { Change::Identity };
    let versions = Versions { url, before: before.0, after: after.0 };
    let by_name = |registration| Registration::entries(registration).map(|entry| (entry.name(), entry)).collect();
    let (old, new): (BTreeMap<&str, Entry<'_>>, BTreeMap<&str, Entry<'_>>) = (by_name(before.0), by_name(after.0));
    let names: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    let of_member = |name| versions.member(old.get(name).copied(), new.get(name).copied());
    names.into_iter().map(of_member).fold(identity, Change::max)
}

/// The meaning of a change of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// It sends no code, token or user anywhere, weakens no authentication, and is not shown as a name.
    Decorates,
    /// It is shown as a name, or stands for the program.
    Name,
    /// A list that permits, with the value that stands for an absent one.
    Permits(Option<&'static str>),
    /// A scope: a client without one may have any.
    Scope,
    /// URIs that receive something. An origin that the client had is the same receiver's.
    Receives,
    /// URIs that receive, and without which some servers accept any.
    Confines,
    /// The method of the token endpoint.
    Method,
    /// The place of the client's keys.
    Keys,
    /// A promise: `true` is stronger than `false`, which stands for an absent one.
    Promises,
    /// Anything else, such as an algorithm, of which an absent one stands for another one, for none, or for any: every change
    /// may weaken.
    Unknown,
}

impl Effect {
    fn of(entry: Entry<'_>) -> Self {
        const CLAIMS_REDIRECT_URIS: Field = Field::named("claims_redirect_uris");
        const DEFAULT_ACR_VALUES: Field = Field::named("default_acr_values");
        const ORGANIZATION_NAME: Field = Field::named("organization_name");
        let Some(field) = entry.kind().base() else { return Self::Unknown };
        match field {
            Field::CLIENT_NAME | ORGANIZATION_NAME | Field::SOFTWARE_ID => Self::Name,
            Field::GRANT_TYPES => Self::Permits(Some("authorization_code")),
            Field::RESPONSE_TYPES => Self::Permits(Some("code")),
            Field::SCOPE => Self::Scope,
            Field::TOKEN_ENDPOINT_AUTH_METHOD => Self::Method,
            Field::JWKS | Field::JWKS_URI | Field::SIGNED_JWKS_URI => Self::Keys,
            // The rules infer it from the redirect URIs, which are compared themselves.
            Field::APPLICATION_TYPE => Self::Decorates,
            // An order of preference.
            DEFAULT_ACR_VALUES => Self::Unknown,
            // Without them, another host decides about the names of users, and any URI receives claims (UMA 2.0 section 3.3.2).
            Field::SECTOR_IDENTIFIER_URI | CLAIMS_REDIRECT_URIS => Self::Confines,
            field if field.is_informational() => Self::Decorates,
            field => match (field.uri(), field.json_type()) {
                // The picture behind a link changes without the document, too.
                (UriUse::Displayed, _) => Self::Decorates,
                (UriUse::Callback | UriUse::FetchedWithHash, _) => Self::Confines,
                (UriUse::Fetched | UriUse::Redirect, _) => Self::Receives,
                (UriUse::NotUri, JsonType::Bool) => Self::Promises,
                (UriUse::NotUri, JsonType::Strings) => Self::Permits(None),
                _ => Self::Unknown,
            },
        }
    }
}

struct Versions<'a> {
    url: &'a ClientIdUrl,
    before: &'a Registration,
    after: &'a Registration,
}

impl Versions<'_> {
    fn member(&self, before: Option<Entry<'_>>, after: Option<Entry<'_>>) -> Change {
        let (old, new) = (value(before), value(after));
        let Some(either) = before.or(after).filter(|_| !is_same(old.as_ref(), new.as_ref())) else {
            return Change::Decoration;
        };
        match Effect::of(either) {
            Effect::Decorates => Change::Decoration,
            Effect::Name => names(old.as_ref(), new.as_ref()),
            Effect::Permits(absent) => lists(old.as_ref(), new.as_ref(), absent),
            Effect::Scope => scopes(old.as_ref(), new.as_ref()),
            Effect::Confines if new.is_none() => Change::Widening,
            Effect::Confines | Effect::Receives => receivers(old.as_ref(), new.as_ref()),
            Effect::Method => methods(self.before, self.after),
            Effect::Keys => self.keys(),
            Effect::Promises => promises(old.as_ref(), new.as_ref()),
            Effect::Unknown => Change::Widening,
        }
    }

    /// Keys in the document and keys at its origin are at one place, and the publisher rotates them there. Keys at another place
    /// are another party's, and so are those of a client that proved itself without them.
    fn keys(&self) -> Change {
        let (Some(mut before), Some(after)) = (self.places(self.before), self.places(self.after)) else {
            return Change::Widening;
        };
        if before.is_empty() && method(self.before) == "none" {
            // Nothing ends with that, either.
            before.clone_from(&after);
            before.retain(|kept| *kept == place(self.url.as_str()));
        }
        sets(&before, &after)
    }

    /// Returns the places from which the keys of the client are; `None` if one is unknown.
    fn places(&self, registration: &Registration) -> Option<BTreeSet<String>> {
        let has = |field| registration.at(field).is_some_and(|value| !value.is_empty());
        let inline = has(Field::JWKS).then(|| Some(place(self.url.as_str())));
        let links = [Field::JWKS_URI, Field::SIGNED_JWKS_URI].into_iter().filter(|field| has(*field));
        inline.into_iter().chain(links.map(|link| registration.string_at(link).map(place))).collect()
    }
}

/// Returns the value of a member. RFC 7592 section 2.2 lets servers treat an empty one as omitted.
fn value(entry: Option<Entry<'_>>) -> Option<Value<'_>> {
    entry.map(Entry::value).filter(|value| !value.is_empty())
}

fn is_same(before: Option<&Value<'_>>, after: Option<&Value<'_>>) -> bool {
    match (before, after) {
        (None, None) => true,
        (Some(Value::Bool(before)), Some(Value::Bool(after))) => before == after,
        (Some(Value::String(before)), Some(Value::String(after))) => before == after,
        (Some(Value::Strings(before)), Some(Value::Strings(after))) => before.clone().eq(after.clone()),
        (Some(Value::Number(before)), Some(Value::Number(after)))
        | (Some(Value::Array(before)), Some(Value::Array(after)))
        | (Some(Value::Object(before)), Some(Value::Object(after))) => before == after || is_same_json(before, after),
        _ => false,
    }
}

/// A record has a value in canonical form, and a document as it was written.
fn is_same_json(before: &str, after: &str) -> bool {
    let read = |text| serde_json::from_str::<serde_json::Value>(text).ok();
    read(before).is_some_and(|before| Some(before) == read(after))
}

/// Returns a name as people read it, without a version at its end. Nothing else is left out: the name of a document is the same on
/// every device.
fn shown(name: &str) -> String {
    let name = name.to_lowercase();
    let mut words: Vec<&str> = name.split_whitespace().collect();
    let is_version = |word: &&str| {
        let number = word.strip_prefix('v').unwrap_or(word);
        number.starts_with(|c: char| c.is_ascii_digit()) && number.chars().all(|c| c.is_ascii_digit() || c == '.')
    };
    while words.len() > 1 && words.last().is_some_and(is_version) {
        words.pop();
    }
    words.join(" ")
}

fn names(before: Option<&Value<'_>>, after: Option<&Value<'_>>) -> Change {
    let normal = |value| match value {
        None => Some(None),
        Some(&Value::String(name)) => Some(Some(shown(name))),
        Some(_) => None,
    };
    let (before, after) = (normal(before), normal(after));
    if before.is_some() && before == after { Change::Decoration } else { Change::Identity }
}

fn sets<T: Ord>(before: &BTreeSet<T>, after: &BTreeSet<T>) -> Change {
    match () {
        () if !after.is_subset(before) => Change::Widening,
        () if before.len() > after.len() => Change::Narrowing,
        () => Change::Decoration,
    }
}

fn lists(before: Option<&Value<'_>>, after: Option<&Value<'_>>, absent: Option<&'static str>) -> Change {
    let of = |value: Option<&Value<'_>>| match value {
        Some(Value::Strings(strings)) => Some(strings.clone().map(str::to_owned).collect::<BTreeSet<_>>()),
        Some(_) => None,
        None => absent.map(|absent| BTreeSet::from([absent.to_owned()])),
    };
    match (of(before), of(after)) {
        (Some(before), Some(after)) => sets(&before, &after),
        _ => Change::Widening,
    }
}

fn scopes(before: Option<&Value<'_>>, after: Option<&Value<'_>>) -> Change {
    match (before, after) {
        (Some(Value::String(before)), Some(Value::String(after))) => sets(&tokens(before), &tokens(after)),
        (None, Some(Value::String(_))) => Change::Narrowing,
        _ => Change::Widening,
    }
}

fn tokens(scope: &str) -> BTreeSet<&str> {
    scope.split(' ').filter(|token| !token.is_empty()).collect()
}

/// A new path at an origin that the client had is the same publisher's; a new origin is another receiver.
fn receivers(before: Option<&Value<'_>>, after: Option<&Value<'_>>) -> Change {
    let of = |value: Option<&Value<'_>>| match value {
        None => Some(Vec::new()),
        Some(&Value::String(uri)) => Some(vec![uri.to_owned()]),
        Some(Value::Strings(uris)) => Some(uris.clone().map(str::to_owned).collect()),
        Some(_) => None,
    };
    let (Some(before), Some(after)) = (of(before), of(after)) else { return Change::Widening };
    let origins: BTreeSet<String> = before.iter().filter_map(|uri| origin(uri)).collect();
    let is_new = |uri: &String| !before.contains(uri) && origin(uri).is_none_or(|origin| !origins.contains(&origin));
    let is_kept = |uri: &String| after.contains(uri) || after.iter().any(|kept| matches(kept, uri));
    match () {
        () if after.iter().any(is_new) => Change::Widening,
        () if before.iter().all(is_kept) => Change::Decoration,
        () => Change::Narrowing,
    }
}

/// Returns scheme, host and port. The port of a loopback redirect URI means nothing (RFC 8252 section 7.3).
fn origin(uri: &str) -> Option<String> {
    let uri = RedirectUri::parse_with_address(uri.split('#').next()?).ok()?;
    let port = uri.port().or_else(|| default_port(uri.scheme()));
    let port = port.filter(|_| uri.class() != RedirectClass::Loopback);
    Some(format!("{}://{}:{}", uri.scheme(), uri.host().unwrap_or_default(), port.unwrap_or(0)))
}

/// Returns the origin; the URI itself if it has none that is understood.
fn place(uri: &str) -> String {
    origin(uri).unwrap_or_else(|| uri.to_owned())
}

fn method(registration: &Registration) -> &str {
    registration.string_at(Field::TOKEN_ENDPOINT_AUTH_METHOD).unwrap_or("none")
}

fn methods(before: &Registration, after: &Registration) -> Change {
    match (method(before), method(after)) {
        (before, after) if before == after => Change::Decoration,
        (_, "none") => Change::Widening,
        ("none", _) => Change::Narrowing,
        // Another proof of the same strength is another key.
        _ => Change::Widening,
    }
}

fn promises(before: Option<&Value<'_>>, after: Option<&Value<'_>>) -> Change {
    match (before, after) {
        (None, Some(Value::Bool(false))) | (Some(Value::Bool(false)), None) => Change::Decoration,
        (None | Some(Value::Bool(false)), Some(Value::Bool(true))) => Change::Narrowing,
        _ => Change::Widening,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value as Json, json};

    use super::*;

    const BASE: &str = r#"{"client_name":"App","grant_types":["authorization_code"],"redirect_uris":["https://a.example.com/cb","http://127.0.0.1:1/cb"],"scope":"a b"}"#;

    fn change(before: &str, after: &str) -> Change {
        let url = ClientIdUrl::parse("https://app.example.com/client.json").unwrap();
        let read = |json: &str| Registration::parse(json.as_bytes()).unwrap();
        classify(&url, (&read(before), None), (&read(after), None))
    }

    /// Returns the change of one member, and the one back. `null` is an absent one.
    fn changes(name: &str, before: &Json, after: &Json) -> (Change, Change) {
        let with = |value: &Json| {
            let mut document: Map<String, Json> = serde_json::from_str(BASE).unwrap();
            document.insert(name.to_owned(), value.clone());
            document.retain(|_, value| !value.is_null());
            Json::from(document).to_string()
        };
        (change(&with(before), &with(after)), change(&with(after), &with(before)))
    }

    #[test]
    fn the_gravest_change_counts() {
        for (from, to, expected) in [
            ("App", "App", Change::Decoration),
            ("\"App\"", "\"APP  v2.1\"", Change::Decoration),
            ("\"App\"", "\"App (Bank: sign in again)\"", Change::Identity),
            ("\"App\"", "\"App 2 Bank\"", Change::Identity),
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
            (r#""grant_types":["authorization_code"],"#, "", Change::Decoration),
            (r#"["authorization_code"]"#, r#"["client_credentials"]"#, Change::Widening),
            ("a b", "b a", Change::Decoration),
            ("a b", "a", Change::Narrowing),
            ("a b", "a c", Change::Widening),
            ("a b", "", Change::Widening),
            (r#","scope":"a b""#, "", Change::Widening),
            ("}", r#","token_endpoint_auth_method":"private_key_jwt"}"#, Change::Narrowing),
            ("}", r#","jwks_uri":"https://a.example.com/jwks"}"#, Change::Widening),
        ] {
            assert_eq!(change(BASE, &BASE.replace(from, to)), expected, "{from} -> {to}");
        }
        let strong = BASE.replace('}', r#","token_endpoint_auth_method":"private_key_jwt"}"#);
        assert_eq!(change(&strong, BASE), Change::Widening);
        let without = BASE.replace(r#","scope":"a b""#, "");
        assert_eq!(change(&without, BASE), Change::Narrowing);
    }

    #[test]
    fn names_in_any_language_are_names() {
        let is = |change| (change, change);
        for (name, before, after, expected) in [
            ("client_name#de", json!(null), json!("Claude"), Change::Identity),
            ("client_name#de", json!("Anwendung"), json!("Claude"), Change::Identity),
            ("client_name#de", json!("Anwendung"), json!("ANWENDUNG 1.0"), Change::Decoration),
            ("organization_name", json!("A"), json!("B"), Change::Identity),
            ("software_id", json!("a"), json!("b"), Change::Identity),
            ("software_id", json!("1"), json!("2"), Change::Identity),
            ("client_uri#de", json!("https://a.example.com/"), json!("https://b.example.com/"), Change::Decoration),
            ("logo_uri", json!(null), json!("https://b.example.com/"), Change::Decoration),
            ("software_version", json!("1"), json!("2"), Change::Decoration),
            ("contacts", json!(["a@example.com"]), json!(null), Change::Decoration),
            ("application_type", json!("web"), json!("native"), Change::Decoration),
        ] {
            assert_eq!(changes(name, &before, &after), is(expected), "{name}: {before} -> {after}");
        }
    }

    #[test]
    fn a_promise_that_is_broken_is_a_grant() {
        for name in [
            "dpop_bound_access_tokens",
            "require_auth_time",
            "require_pushed_authorization_requests",
            "require_signed_request_object",
            "tls_client_certificate_bound_access_tokens",
        ] {
            for weak in [json!(null), json!(false)] {
                let expected = (Change::Widening, Change::Narrowing);
                assert_eq!(changes(name, &json!(true), &weak), expected, "{name}: {weak}");
            }
            assert_eq!(changes(name, &json!(null), &json!(false)), (Change::Decoration, Change::Decoration), "{name}");
            assert_eq!(changes(name, &json!(true), &json!("true")), (Change::Widening, Change::Widening), "{name}");
        }
    }

    #[test]
    fn another_origin_is_another_receiver() {
        let (here, path, there) =
            ("https://a.example.com/1#hash", "https://a.example.com/2", "https://b.example.com:8443/1");
        for (name, ends_as) in [
            ("backchannel_client_notification_endpoint", Change::Narrowing),
            ("backchannel_logout_uri", Change::Narrowing),
            ("frontchannel_logout_uri", Change::Narrowing),
            ("initiate_login_uri", Change::Narrowing),
            ("post_logout_redirect_uris", Change::Narrowing),
            ("claims_redirect_uris", Change::Widening),
            ("request_uris", Change::Widening),
            ("sector_identifier_uri", Change::Widening),
        ] {
            let is_list = Field::of(name.as_bytes()).unwrap().json_type() == JsonType::Strings;
            let of = |uri: &str| if is_list { json!([uri]) } else { json!(uri) };
            assert_eq!(changes(name, &of(here), &of(there)), (Change::Widening, Change::Widening), "{name}");
            assert_eq!(changes(name, &of(here), &json!(null)), (ends_as, Change::Widening), "{name}");
            let moved = changes(name, &of(here), &of(path));
            assert_eq!(moved, (Change::Narrowing, Change::Narrowing), "{name}");
            if is_list {
                let more = changes(name, &of(here), &json!([here, there]));
                assert_eq!(more, (Change::Widening, Change::Narrowing), "{name}");
            }
            let unread = changes(name, &of("https://a.example.com\\1"), &of("https://a.example.com\\2"));
            assert_eq!(unread, (Change::Widening, Change::Widening), "{name}");
        }
    }

    #[test]
    fn all_else_is_a_grant() {
        let rows = [
            ("token_endpoint_auth_signing_alg", json!("ES256"), json!("RS256")),
            ("request_object_signing_alg", json!("ES256"), json!("none")),
            ("request_object_signing_alg", json!("ES256"), json!(null)),
            ("id_token_signed_response_alg", json!("ES256"), json!("HS256")),
            ("id_token_encrypted_response_alg", json!("RSA-OAEP-256"), json!(null)),
            ("userinfo_encrypted_response_enc", json!("A256GCM"), json!("A128GCM")),
            ("subject_type", json!("pairwise"), json!("public")),
            ("default_acr_values", json!(["high", "low"]), json!(["low", "high"])),
            ("default_max_age", json!(60), json!(6000)),
            ("tls_client_auth_san_dns", json!("a.example.com"), json!("b.example.com")),
            ("backchannel_token_delivery_mode", json!("poll"), json!("push")),
            ("authorization_details_types", json!(["a"]), json!(null)),
            ("software_statement", json!("a.b.c"), json!("d.e.f")),
            ("example_unknown", json!("a"), json!("b")),
            ("example_unknown", json!({"a": 1}), json!({"a": 2})),
            ("example_unknown", json!(true), json!(null)),
            ("redirect_uris#de", json!(null), json!(["https://b.example.com/"])),
        ];
        for (name, before, after) in rows {
            let expected = (Change::Widening, Change::Widening);
            assert_eq!(changes(name, &before, &after), expected, "{name}: {before} -> {after}");
        }
        let list = changes("authorization_details_types", &json!(["a", "b"]), &json!(["b"]));
        assert_eq!(list, (Change::Narrowing, Change::Widening));
        // The same value, written otherwise.
        let (spaced, compact) = (r#""x":{"b": 1, "a": [2]}}"#, r#""x":{"a":[2],"b":1}}"#);
        let with = |member: &str| BASE.replace('}', &format!(",{member}"));
        assert_eq!(change(&with(spaced), &with(compact)), Change::Decoration);
    }

    #[test]
    fn keys_rotate_at_their_place() {
        let inline =
            |kid: &str| json!({"jwks": {"keys": [{"kty": "EC", "crv": "P-256", "kid": kid, "x": "x", "y": "y"}]}});
        let both = json!({"jwks": {"keys": [{"kty": "EC", "kid": "1"}, {"kty": "EC", "kid": "2"}]}});
        let link = |uri: &str| json!({ "jwks_uri": uri });
        let (own, partner) = (link("https://app.example.com/jwks"), link("https://keys.example.net/jwks"));
        let unread = [link("https://app.example.com\\1"), link("https://app.example.com\\2"), json!({"jwks_uri": 1})];
        for (before, after, expected, method) in [
            (inline("1"), inline("2"), Change::Decoration, "private_key_jwt"),
            (inline("1"), both.clone(), Change::Decoration, "private_key_jwt"),
            (both, inline("2"), Change::Decoration, "private_key_jwt"),
            (own.clone(), link("https://app.example.com/2"), Change::Decoration, "private_key_jwt"),
            (own.clone(), link("https://app.example.com:443/jwks"), Change::Decoration, "private_key_jwt"),
            (own.clone(), link("https://app.example.com:8443/jwks"), Change::Widening, "private_key_jwt"),
            (own.clone(), inline("1"), Change::Decoration, "private_key_jwt"),
            (inline("1"), own.clone(), Change::Decoration, "private_key_jwt"),
            (partner.clone(), inline("1"), Change::Widening, "private_key_jwt"),
            (inline("1"), partner.clone(), Change::Widening, "private_key_jwt"),
            (own.clone(), partner.clone(), Change::Widening, "private_key_jwt"),
            (partner.clone(), own.clone(), Change::Widening, "private_key_jwt"),
            (inline("1"), json!({}), Change::Narrowing, "private_key_jwt"),
            (json!({}), inline("1"), Change::Widening, "tls_client_auth"),
            (json!({}), inline("1"), Change::Decoration, "none"),
            (json!({}), own, Change::Decoration, "none"),
            (json!({}), partner, Change::Widening, "none"),
            (unread[0].clone(), unread[1].clone(), Change::Widening, "private_key_jwt"),
            (unread[2].clone(), unread[0].clone(), Change::Widening, "private_key_jwt"),
        ] {
            let with = |more: &Json| {
                let mut document: Map<String, Json> = serde_json::from_str(BASE).unwrap();
                document.insert("token_endpoint_auth_method".into(), method.into());
                document.extend(more.as_object().unwrap().clone());
                Json::from(document).to_string()
            };
            assert_eq!(change(&with(&before), &with(&after)), expected, "{method}: {before} -> {after}");
        }
        let stronger = BASE.replace('}', r#","token_endpoint_auth_method":"private_key_jwt","jwks":{"keys":[]}}"#);
        assert_eq!(change(BASE, &stronger), Change::Narrowing);
    }

    /// Every field has an effect, and the list of those that decorate is short.
    #[test]
    fn few_fields_decorate() {
        let decorates = |field: &Field| {
            let (name, json_type) = (field.name(), field.json_type());
            let value = match json_type {
                JsonType::Bool => json!(true),
                JsonType::Number => json!(1),
                JsonType::Object => json!({"keys": []}),
                JsonType::String => json!("x"),
                JsonType::Strings => json!(["x"]),
            };
            // The other way round, a promise that is made and the first key narrow.
            changes(name, &value, &json!(null)).max(changes(name, &json!(null), &value)).0 == Change::Decoration
        };
        let found: Vec<&str> = Field::all().filter(decorates).map(Field::name).collect();
        let expected =
            ["application_type", "client_uri", "contacts", "logo_uri", "policy_uri", "software_version", "tos_uri"];
        assert_eq!(found, expected);
    }

    const ORIGINS: [&str; 5] = [
        "https://a.example.com",
        "https://b.example.com:8443",
        "http://127.0.0.1:8000",
        "http://localhost:8000",
        "com.example.app://host",
    ];
    const LISTS: [(&str, [&str; 3]); 4] = [
        ("grant_types", ["authorization_code", "refresh_token", "client_credentials"]),
        ("response_types", ["code", "token", "id_token"]),
        (
            "post_logout_redirect_uris",
            ["https://a.example.com/1", "https://b.example.com/1", "https://c.example.com/1"],
        ),
        ("scope", ["a", "b", "c"]),
    ];
    const PROMISES: [&str; 2] = ["dpop_bound_access_tokens", "require_signed_request_object"];

    /// The things that a client is granted, as places in the tables above.
    #[derive(Clone, Debug, PartialEq)]
    struct Grants {
        redirects: BTreeSet<(usize, usize)>,
        lists: Vec<BTreeSet<usize>>,
        promises: Vec<bool>,
        version: u8,
    }

    impl Grants {
        fn document(&self) -> String {
            let redirects = self.redirects.iter().map(|(at, path)| format!("{}/{path}", ORIGINS[*at]));
            let mut document = json!({
                "client_name": "App",
                "redirect_uris": redirects.collect::<Vec<_>>(),
                "software_version": self.version.to_string(),
            });
            for ((name, words), chosen) in LISTS.iter().zip(&self.lists) {
                let words: Vec<&str> = chosen.iter().map(|at| words[*at]).collect();
                document[*name] = if *name == "scope" { json!(words.join(" ")) } else { json!(words) };
            }
            for (name, promise) in PROMISES.iter().zip(&self.promises) {
                document[*name] = json!(promise);
            }
            document.to_string()
        }

        /// Returns what both have. Each member keeps one of its own, since an absent one stands for others.
        fn and(&self, other: &Self) -> Self {
            fn both<T: Ord + Clone>(one: &BTreeSet<T>, other: &BTreeSet<T>) -> BTreeSet<T> {
                let both: BTreeSet<T> = one.intersection(other).cloned().collect();
                if both.is_empty() { one.clone() } else { both }
            }
            Self {
                redirects: both(&self.redirects, &other.redirects),
                lists: self.lists.iter().zip(&other.lists).map(|(one, other)| both(one, other)).collect(),
                promises: self.promises.iter().zip(&other.promises).map(|(one, other)| one | other).collect(),
                version: other.version,
            }
        }

        fn grants_more_than(&self, other: &Self) -> bool {
            let origins = |it: &Self| it.redirects.iter().map(|(at, _)| *at).collect::<BTreeSet<_>>();
            !origins(self).is_subset(&origins(other))
                || self.lists.iter().zip(&other.lists).any(|(one, other)| !one.is_subset(other))
                || self.promises.iter().zip(&other.promises).any(|(one, other)| !one & other)
        }
    }

    fn grants() -> impl Strategy<Value = Grants> {
        let redirects = prop::collection::btree_set((0..ORIGINS.len(), 0..3_usize), 1..6);
        let lists = prop::collection::vec(prop::collection::btree_set(0..3_usize, 1..4), LISTS.len());
        let promises = prop::collection::vec(any::<bool>(), PROMISES.len());
        (redirects, lists, promises, any::<u8>()).prop_map(|(redirects, lists, promises, version)| Grants {
            redirects,
            lists,
            promises,
            version,
        })
    }

    proptest! {
        #[test]
        fn more_is_widening_and_less_is_not(before in grants(), after in grants()) {
            let all = change(&before.document(), &after.document());
            prop_assert_eq!(all == Change::Widening, after.grants_more_than(&before), "{:?}", all);
            let less = before.and(&after);
            let is_less = Grants { version: before.version, ..less.clone() } != before;
            let expected = if is_less { Change::Narrowing } else { Change::Decoration };
            prop_assert_eq!(change(&before.document(), &less.document()), expected);
            prop_assert_eq!(change(&before.document(), &before.document()), Change::Decoration);
        }
    }
}
