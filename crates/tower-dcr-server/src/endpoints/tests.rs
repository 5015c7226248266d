use serde_json::json;

use super::*;

const TOKEN: Endpoint = Endpoint::Gate(GateEndpoint::Token);
const AUTHORIZATION: Endpoint = Endpoint::Gate(GateEndpoint::Authorization);

fn read(document: &Value) -> Result<Endpoints, InvalidEndpoint> {
    Endpoints::new().with_metadata(document.as_object().unwrap())
}

/// A server with every endpoint, in the members of RFC 8414 and their like.
fn complete() -> Endpoints {
    read(&json!({
        "issuer": "https://as.example.com",
        "authorization_endpoint": "https://as.example.com/oauth/authorize?tenant=1",
        "token_endpoint": "https://as.example.com/oauth/token",
        "registration_endpoint": "https://as.example.com/oauth/clients",
        "introspection_endpoint": "https://as.example.com/oauth/token/introspection",
        "revocation_endpoint": "https://as.example.com/oauth/revoke",
        "pushed_authorization_request_endpoint": "https://as.example.com/oauth/par",
        "device_authorization_endpoint": "https://as.example.com/oauth/device",
        "backchannel_authentication_endpoint": "https://as.example.com/oauth/ciba",
        "userinfo_endpoint": "https://as.example.com/userinfo",
        "end_session_endpoint": null,
        "mtls_endpoint_aliases": {
            "token_endpoint": "https://mtls.example.com/mtls/token",
            "registration_endpoint": "https://mtls.example.com/mtls/clients",
            "userinfo_endpoint": "https://mtls.example.com/mtls/userinfo",
        },
        "request_uri_parameter_supported": true,
    }))
    .unwrap()
}

#[test]
fn each_member_is_its_endpoint() {
    let endpoints = complete();
    for (path, endpoint) in [
        ("/oauth/authorize", Some(AUTHORIZATION)),
        ("/oauth/token", Some(TOKEN)),
        ("/mtls/token", Some(TOKEN)),
        ("/oauth/clients", Some(Endpoint::Registration)),
        ("/oauth/clients/client-1", Some(Endpoint::Registration)),
        ("/mtls/clients", Some(Endpoint::Registration)),
        ("/oauth/token/introspection", Some(Endpoint::Gate(GateEndpoint::Introspection))),
        ("/oauth/revoke", Some(Endpoint::Gate(GateEndpoint::Revocation))),
        ("/oauth/par", Some(Endpoint::Gate(GateEndpoint::PushedAuthorization))),
        ("/oauth/device", Some(Endpoint::Gate(GateEndpoint::DeviceAuthorization))),
        ("/oauth/ciba", Some(Endpoint::Gate(GateEndpoint::BackchannelAuthentication))),
        ("/.well-known/oauth-authorization-server", Some(Endpoint::Discovery)),
        ("/.well-known/oauth-authorization-server/tenant", Some(Endpoint::Discovery)),
        ("/tenant/.well-known/openid-configuration", Some(Endpoint::Discovery)),
        ("/userinfo", None),
        ("/mtls/userinfo", None),
        // A page for signing in is not the authorization endpoint.
        ("/oauth/authorize/consent", None),
        ("/oauth/tokens", None),
        ("/token", None),
        ("/", None),
    ] {
        assert_eq!(endpoints.at(path), Ok(endpoint), "{path}");
    }
    assert!(endpoints.request_uris());
    assert!(!read(&json!({ "request_parameter_supported": "true" })).unwrap().request_objects());
    let by_value =
        read(&json!({ "request_parameter_supported": true, "request_uri_parameter_supported": false })).unwrap();
    assert_eq!((by_value.request_objects(), by_value.request_uris()), (true, false));
    let by_reference = read(&json!({ "request_uri_parameter_supported": true })).unwrap();
    assert_eq!((by_reference.request_objects(), by_reference.request_uris()), (false, true));
}

#[test]
fn every_spelling_is_the_endpoint_or_rejected() {
    let (strict, odd) = (complete().with_script("front"), complete().with_script("front").allow_odd_paths(true));
    for path in [
        "/oauth/token/",
        "/OAuth/Token",
        "/oauth/token.json",
        "/oauth/token.",
        "/oauth/token%20",
        "/oauth/token::$DATA",
        "/oauth/token%3F",
        "/oauth/to%E2%84%AAen",
        "/oauth/%EF%BD%94oken",
        "/index.php/oauth/token",
        "/front/oauth/token",
        "/(S(x))/oauth/token",
        "/oauth/token/index.php/x",
    ] {
        assert_eq!(strict.at(path), Ok(Some(TOKEN)), "{path}");
        assert_eq!(odd.at(path), Ok(Some(TOKEN)), "odd: {path}");
    }
    for path in [
        "//oauth//token",
        "/oauth/./token",
        "/oauth/x/../token",
        "/oauth/%74oken",
        "/oauth/%2574oken",
        "/oauth%2ftoken",
        "/oauth\\token",
        "/oauth/token;v=1",
        "/oauth/token%00",
        "/oauth/.;/../token",
    ] {
        assert!(strict.at(path).is_err(), "{path}");
        assert_eq!(odd.at(path), Ok(Some(TOKEN)), "odd: {path}");
    }
    // Two readings: the layer of the more important endpoint.
    assert_eq!(odd.at("/oauth/token/../clients"), Ok(Some(Endpoint::Registration)));
    for path in ["oauth/token", "*", "", "/oauth/token%FF", "/oauth/%252525252574oken"] {
        assert!(strict.at(path).is_err(), "{path}");
    }
}

#[test]
fn paths_and_scripts_are_added_in_any_order() {
    let path = "/front/oauth/register";
    for endpoints in [
        Endpoints::new().with_script("front").with_path(Endpoint::Registration, path).unwrap(),
        Endpoints::new().with_path(Endpoint::Registration, path).unwrap().with_script("front"),
    ] {
        for path in ["/front/oauth/register", "/oauth/register"] {
            assert_eq!(endpoints.at(path), Ok(Some(Endpoint::Registration)), "{path}");
        }
        assert_eq!(endpoints.paths(Endpoint::Registration).collect::<Vec<_>>(), [path]);
        assert_eq!(endpoints.client_url(), ClientUrl::default().with_registration_path(path));
    }
    let elsewhere = Endpoints::new().with_path(Endpoint::Discovery, "/metadata").unwrap();
    assert_eq!(elsewhere.at("/Metadata"), Ok(Some(Endpoint::Discovery)));
    assert_eq!(elsewhere.at("/metadata/x"), Ok(None));
}

#[test]
fn endpoints_that_no_path_protects_are_rejected() {
    for (member, value) in [
        ("registration_endpoint", json!("/register")),
        ("registration_endpoint", json!("as.example.com/register")),
        ("token_endpoint", json!("mailto:token@as.example.com")),
        ("token_endpoint", json!(["https://as.example.com/token"])),
        ("token_endpoint", json!("https://as.example.com")),
        ("authorization_endpoint", json!("https://as.example.com/?authorize")),
    ] {
        let said = read(&json!({ member: value })).unwrap_err().to_string();
        assert!(said.starts_with(&format!("{member} {value}: ")), "{said}");
        let said = read(&json!({ "mtls_endpoint_aliases": { member: value } })).unwrap_err().to_string();
        assert!(said.starts_with(member), "{said}");
    }
    for path in ["token", "", "https://as.example.com/token", "/token?x=1", "/token#x", "/", "//"] {
        assert!(Endpoints::new().with_path(TOKEN, path).is_err(), "{path}");
    }
    // An absent endpoint, as some servers write it.
    assert!(read(&json!({ "registration_endpoint": null })).is_ok());
}
