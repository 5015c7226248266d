use serde_json::{Value as Json, json};

use super::field_values::FIELD_VALUES;
use super::*;
use crate::registration::UriUse;
use crate::rules::{AuthMethod, Context, Grants, MemberOperators, MetadataAllowlist, Policy, RedirectUris};

fn passes(rules: &MetadataAllowlist, name: &str, value: &Json) -> bool {
    passes_in(&Context::registration(), json!({ "redirect_uris": ["http://localhost/cb"] }), rules, name, value)
}

fn passes_in(context: &Context, mut body: Json, rules: &MetadataAllowlist, name: &str, value: &Json) -> bool {
    body[name] = value.clone();
    if let Some(algorithm) = name.strip_suffix("_enc") {
        // It needs the other one.
        body[format!("{algorithm}_alg")] = "RSA-OAEP".into();
    }
    if name.contains("_encrypted_response_") {
        body["jwks_uri"] = "https://app.example.com/jwks".into();
    }
    let registration = Registration::parse(body.to_string().as_bytes()).unwrap();
    let evaluation = Policy::new(rules.clone()).evaluate(registration, context);
    let registration = evaluation.registration.unwrap();
    evaluation.rejection.is_none()
        && registration.string(name).map_or(registration.contains(name), |kept| value == kept)
}

fn openid(rules: &MetadataAllowlist) -> MetadataAllowlist {
    let mut rules = rules.clone();
    rules.members.openid = true;
    rules
}

fn accepting(rules: &MetadataAllowlist, name: &str) -> Result<MetadataAllowlist, ConfigError> {
    let mut rules = rules.clone();
    rules.members = rules.members.add_member(name)?;
    if let Some(algorithm) = name.strip_suffix("_enc") {
        rules.members = rules.members.add_member(format!("{algorithm}_alg"))?;
    }
    Ok(rules)
}

/// A client of a server that offers the grant type or method of a field.
fn offering(rules: &MetadataAllowlist, field: Field) -> MetadataAllowlist {
    let mut rules = rules.clone();
    match field.acceptance() {
        Acceptance::WithGrant(grant) => rules.grants = Grants::new(["authorization_code", grant], ["code"]).unwrap(),
        Acceptance::WithMethod(method) => rules.auth_method = AuthMethod::one_of(["none", method]),
        _ => {}
    }
    rules
}

/// No value of another type reaches the server, regardless of how a known member was accepted.
#[test]
fn known_members_are_type_checked_under_any_policy() {
    let of_any_type = [
        json!(true),
        json!(7),
        json!("https://a.example.com/"),
        json!(["https://a.example.com/"]),
        json!(["https://a.example.com/", 1]),
        json!([["https://a.example.com/"]]),
        json!({ "keys": [] }),
        json!({ "0": "https://a.example.com/" }),
        json!([null]),
        json!([{}]),
    ];
    let mut tried = 0;
    let of_clients =
        Field::all().filter(|field| !field.is_server_issued() && field.acceptance() != Acceptance::Verified);
    for field in of_clients {
        let (name, lenient) = (field.name(), MetadataAllowlist::mcp());
        let mut ways = vec![openid(&lenient), openid(&MetadataAllowlist::strict())];
        let essential = MemberOperators { essential: Some(true), ..MemberOperators::default() };
        let mut ruled = lenient.clone();
        ruled.operators = MetadataOperators::default().on(name, essential).unwrap();
        ways.push(ruled);
        if field.acceptance() != Acceptance::Always {
            ways.push(accepting(&lenient, name).unwrap());
        }
        for (rules, value) in ways.iter().flat_map(|rules| of_any_type.iter().map(move |value| (rules, value))) {
            let fits = field.json_type().fits(value);
            assert!(fits || !passes(rules, name, value), "{name}: {value} ({rules:?})");
            tried += 1;
        }
    }
    assert!(tried > 2000, "{tried}");
}

/// Valid values are accepted.
#[test]
fn allowed_members_pass_with_the_right_type() {
    for (name, value) in [
        ("post_logout_redirect_uris", json!(["https://a.example.com/out"])),
        ("backchannel_logout_uri", json!("https://a.example.com/out")),
        ("backchannel_logout_session_required", json!(true)),
        ("default_max_age", json!(3600)),
        ("tls_client_auth_subject_dn", json!("CN=a")),
        ("request_uris", json!(["https://a.example.com/r#abc"])),
        ("claims_redirect_uris", json!(["https://a.example.com/claims"])),
        ("authorization_details_types", json!(["payment"])),
        ("tenant", json!({ "any": ["thing", 1] })),
    ] {
        let rules = accepting(&MetadataAllowlist::mcp(), name).unwrap();
        assert!(passes(&rules, name, &value), "{name}");
    }
    for (name, value) in [
        ("post_logout_redirect_uris", json!(["javascript:alert(1)"])),
        ("claims_redirect_uris", json!(["javascript:alert(1)"])),
        ("signed_jwks_uri", json!("https://169.254.169.254/")),
        ("backchannel_client_notification_endpoint", json!("http://localhost/")),
    ] {
        let rules = accepting(&MetadataAllowlist::mcp(), name).unwrap();
        assert!(!passes(&rules, name, &value), "{name}");
    }
}

/// Every row of the table of fields has the consequences that its columns name.
#[test]
fn each_field_passes_where_it_is_accepted_and_nowhere_else() {
    let mcp = MetadataAllowlist::mcp();
    let openid = openid(&mcp);
    let read = |text: &str| serde_json::from_str::<Json>(text).unwrap();
    let names: Vec<&str> = FIELD_VALUES.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names, Field::all().map(Field::name).collect::<Vec<_>>(), "each field has a row of test values");
    for (field, (name, good, bad)) in Field::all().zip(FIELD_VALUES) {
        let (good, bad) = (read(good), read(bad));
        let opted_in = || accepting(&mcp, name);
        let update = || json!({ "redirect_uris": ["http://localhost/cb"], "client_id": "c" });
        let updates = |rules: &MetadataAllowlist, value| passes_in(&Context::update(), update(), rules, name, value);
        assert!(field.json_type().fits(&good), "{name}: the value that passes has the type of the row");
        let rules = match field.acceptance() {
            Acceptance::Always => {
                assert!(passes(&mcp, name, &good), "{name}: every server accepts it");
                mcp.clone()
            }
            Acceptance::Openid => {
                assert!(!passes(&mcp, name, &good) && passes(&openid, name, &good), "{name}: for OpenID Providers");
                openid.clone()
            }
            Acceptance::OptIn | Acceptance::WithGrant(_) | Acceptance::WithMethod(_) => {
                assert!(!passes(&openid, name, &good), "{name}: no preset accepts it");
                let offered = offering(&mcp, field).offered_members().contains(&field);
                assert_eq!(offered, field.acceptance() != Acceptance::OptIn, "{name}: with its grant type or method");
                assert!(!mcp.offered_members().contains(&field), "{name}: without");
                assert!(passes(&opted_in().unwrap(), name, &good), "{name}: an operator can let it through");
                opted_in().unwrap()
            }
            Acceptance::Verified => {
                assert!(!passes(&openid, name, &good) && opted_in().is_err(), "{name}: unverified");
                continue;
            }
            Acceptance::Updates => {
                assert!(!passes(&openid, name, &good) && opted_in().is_err(), "{name}: in a registration");
                assert!(updates(&mcp, &good) && !updates(&mcp, &bad), "{name}: in an update");
                continue;
            }
            Acceptance::Never => {
                assert!(!passes(&openid, name, &good) && opted_in().is_err(), "{name}: in a registration");
                assert!(!updates(&openid, &good), "{name}: in an update");
                continue;
            }
        };
        let rejects = |value: &Json| !passes(&rules, name, value);
        let uri = |uri: &str| if field.json_type() == JsonType::Strings { json!([uri]) } else { json!(uri) };
        match field.uri() {
            // The rule about redirect URIs comes after this one.
            UriUse::Callback => {
                let body = json!({ "redirect_uris": bad }).to_string();
                let registration = Registration::parse(body.as_bytes()).unwrap();
                let evaluation = Policy::new(RedirectUris::mcp()).evaluate(registration, &Context::registration());
                assert!(evaluation.rejection.is_some(), "{name}: {bad}");
                continue;
            }
            UriUse::Displayed | UriUse::Fetched | UriUse::FetchedWithHash => {
                for inside in ["http://localhost/", "https://169.254.169.254/", "javascript:alert(1)", "https://a/"] {
                    assert!(rejects(&uri(inside)), "{name}: {inside}");
                }
                let hash = field.uri() == UriUse::FetchedWithHash;
                assert_eq!(!rejects(&uri("https://app.example.com/x#hash")), hash, "{name}: a fragment");
            }
            UriUse::Redirect => {
                assert!(rejects(&uri("javascript:alert(1)")) && rejects(&uri("http://app.example.com/")), "{name}");
                assert!(!rejects(&uri("http://localhost/out")), "{name}: loopback");
            }
            UriUse::NotUri | UriUse::NotFollowed => {}
        }
        assert!(rejects(&bad), "{name}: {bad}");
        let tagged = format!("{name}#ja");
        let text = if field.uri() == UriUse::Displayed { "https://app.example.com/ja" } else { "value" };
        assert_eq!(passes(&openid, &tagged, &json!(text)), field.is_human_readable(), "{tagged}");
    }
}
