//! Properties that hold for every input.

use proptest::prelude::*;
use serde_json::{Map, Value};
use tower_dcr::Registration;
use tower_dcr::redirect_uri::{RedirectUri, matches};
use tower_dcr::rules::{Context, MetadataAllowlist, Policy, RedirectUris};

/// JSON without numbers that `serde_json::Value` would write differently.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn redirect_uri() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just("https://app.example.com/cb".to_owned()),
        3 => (1u16..).prop_map(|port| format!("http://127.0.0.1:{port}/cb")),
        2 => "(https|http|cursor|javascript|com\\.example\\.app)://[a-z0-9.%@:#*\\\\-]{0,16}/[ -~]{0,12}",
        1 => ".{0,24}",
    ]
}

/// Bodies that are near enough to registrations to get somewhere.
fn registration() -> impl Strategy<Value = Value> {
    let words = prop::collection::vec(
        prop_oneof![Just("authorization_code"), Just("refresh_token"), Just("code"), Just("implicit"), Just("x")],
        0..4,
    );
    (
        prop::collection::vec(redirect_uri(), 0..4),
        prop::option::of(words.clone()),
        prop::option::of(words),
        prop::option::of(prop_oneof![Just("none"), Just("client_secret_post"), Just("private_key_jwt")]),
        prop::collection::btree_map("[a-z_#]{1,12}|client_name|scope|logo_uri|software_id|contacts", json(), 0..4),
    )
        .prop_map(|(uris, grants, responses, method, others)| {
            let mut body: Map<String, Value> = others.into_iter().collect();
            body.insert("redirect_uris".into(), uris.into());
            grants.map(|grants| body.insert("grant_types".into(), grants.into()));
            responses.map(|responses| body.insert("response_types".into(), responses.into()));
            method.map(|method| body.insert("token_endpoint_auth_method".into(), method.into()));
            body.into()
        })
}

fn narrowed(bytes: &[u8]) -> Option<Vec<u8>> {
    let policy = Policy::new((MetadataAllowlist::mcp(), RedirectUris::mcp()));
    let evaluation = policy.evaluate(Registration::parse(bytes).ok()?, &Context::registration());
    evaluation.registration.as_ref().filter(|_| evaluation.rejection.is_none()).map(Registration::canonical_bytes)
}

/// With the two things spelled out that a WHATWG serialiser spells otherwise: an empty path and a default port.
fn as_whatwg_writes(raw: &str, uri: &RedirectUri<'_>) -> String {
    let (before, after) = raw.split_at(raw.find('?').unwrap_or(raw.len()));
    let slash = if uri.path().is_empty() && matches!(uri.scheme(), "http" | "https") { "/" } else { "" };
    let written = format!("{before}{slash}{after}");
    match (uri.scheme(), uri.port()) {
        ("https", Some(443)) => written.replacen(":443/", "/", 1),
        ("http", Some(80)) => written.replacen(":80/", "/", 1),
        _ => written,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _verdict = narrowed(&bytes);
    }

    #[test]
    fn no_text_panics(text in "[\\[\\]{}:,\"\\\\ua0-9 .eE+-]{0,60}") {
        let _verdict = narrowed(text.as_bytes());
    }

    /// Parsing agrees with an independent reader, and canonical bytes are the one form of a document.
    #[test]
    fn canonical_bytes_say_the_same_and_are_stable(value in json(), name in ".{0,8}") {
        let mut object = Map::new();
        object.insert(name, value);
        let sent = Value::from(object);
        for bytes in [serde_json::to_vec(&sent).unwrap(), serde_json::to_vec_pretty(&sent).unwrap()] {
            let registration = Registration::parse(&bytes).unwrap();
            let canonical = registration.canonical_bytes();
            prop_assert_eq!(&serde_json::from_slice::<Value>(&canonical).unwrap(), &sent);
            let again = Registration::parse(&canonical).unwrap();
            prop_assert_eq!(again.canonical_bytes(), canonical);
            prop_assert_eq!(again.digest(), registration.digest());
        }
    }

    /// However a string is escaped, in whole or in part, it is the same string.
    #[test]
    fn escaped_strings_are_the_strings_they_stand_for(text in ".{0,20}", escaped in prop::collection::vec(any::<bool>(), 20)) {
        let mut body = "{\"x\":\"".to_owned();
        for (index, c) in text.chars().enumerate() {
            if escaped.get(index).copied().unwrap_or(true) || c.is_control() || matches!(c, '"' | '\\') {
                body.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
            } else {
                body.push(c);
            }
        }
        body.push_str("\"}");
        let registration = Registration::parse(body.as_bytes()).unwrap();
        prop_assert_eq!(registration.string("x"), Some(text.as_str()));
        prop_assert_eq!(registration.canonical_bytes(), serde_json::to_vec(&serde_json::json!({ "x": text })).unwrap());
    }

    /// Narrowing twice is narrowing once; what is forwarded is canonical and only lost or gained what may be.
    #[test]
    fn review_is_idempotent(body in registration()) {
        if let Some(once) = narrowed(&serde_json::to_vec(&body).unwrap()) {
            let twice = narrowed(&once);
            let forwarded: Value = serde_json::from_slice(&once).unwrap();
            if forwarded["redirect_uris"] == body["redirect_uris"] {
                prop_assert_eq!(twice.as_ref(), Some(&once));
            } else {
                // The application type is inferred from the redirect URIs that were sent, not from those that are left.
                let without = |bytes: &[u8]| {
                    let mut document: Value = serde_json::from_slice(bytes).unwrap();
                    document.as_object_mut().unwrap().remove("application_type");
                    document
                };
                prop_assert_eq!(twice.as_deref().map(without), Some(without(&once)));
            }
            let sent: Vec<&Value> = body["redirect_uris"].as_array().unwrap().iter().collect();
            for uri in forwarded["redirect_uris"].as_array().unwrap() {
                prop_assert!(sent.contains(&uri));
                prop_assert!(RedirectUri::parse(uri.as_str().unwrap()).is_ok());
            }
            for (name, value) in forwarded.as_object().unwrap() {
                let written = matches!(&**name, "grant_types" | "response_types" | "token_endpoint_auth_method" | "application_type");
                prop_assert!(written || name == "redirect_uris" || name == "scope" || body.get(name) == Some(value), "{}", name);
            }
        }
    }

    /// The differential test against the WHATWG parser: what is a redirect URI here reads back as itself there.
    #[test]
    fn accepted_redirect_uris_have_one_reading(raw in redirect_uri()) {
        if let Ok(uri) = RedirectUri::parse(&raw) {
            let read = url::Url::parse(&raw).unwrap();
            prop_assert_eq!(read.as_str(), as_whatwg_writes(&raw, &uri));
            prop_assert_eq!(read.host_str().unwrap_or_default(), uri.host().unwrap_or_default());
            prop_assert_eq!(read.scheme(), uri.scheme());
            prop_assert!(read.username().is_empty() && read.password().is_none() && read.fragment().is_none());
            prop_assert!(matches(&raw, &raw));
        } else {
            prop_assert!(!matches(&raw, &raw));
        }
    }

    /// No string matches a registered one except itself or, for loopback, itself with another port.
    #[test]
    fn the_matcher_is_equality_but_for_loopback_ports(registered in redirect_uri(), requested in redirect_uri()) {
        if matches(&registered, &requested) && registered != requested {
            let without_port = |text: &str| {
                let mut url = url::Url::parse(text).unwrap();
                url.set_port(None).unwrap();
                url
            };
            prop_assert!(registered.starts_with("http://"));
            prop_assert_eq!(without_port(&registered), without_port(&requested));
        }
    }
}

proptest! {
    /// A name that was normalised once is what is compared; blocks are read back from what was stored.
    #[test]
    fn normal_names_stay_as_they_are(name in r"[A-Za-z ()\u{200B}ÀÉİßſK\u{FF21}\u{0130}\u{1E9E}\u{3000}]{0,24}|.{0,24}|[a-z()é ]{200,400}") {
        use tower_dcr::clients::Fingerprint;
        let once = Fingerprint::name(&name);
        prop_assert_eq!(&Fingerprint::name(once.value()), &once);
    }
}
