//! Redirect URIs at hosts of a private network that an operator lists.

use std::convert::Infallible;
use std::str::FromStr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use serde_json::json;
use tower::{Layer, service_fn};
use tower_dcr::Preset;
use tower_dcr::clients::{MemoryLedger, Registrar};
use tower_dcr::layers::GateEndpoint;

use crate::support::{Kept, Naive, behind, post, send};

const LISTED: &str =
    "redirect_uris.danger_private_origins = ['http://n8n.lan:5678', 'https://192.168.1.20', 'http://[fd12::7]:8080']";

fn body(name: &str, uris: &[&str]) -> String {
    json!({ "client_name": name, "redirect_uris": uris }).to_string()
}

#[tokio::test]
async fn only_listed_origins_pass() {
    let kept = Kept::default();
    let preset = Preset::from_str(LISTED).unwrap().without_rate_limits().with_sink(kept.sink());
    let register = behind(&preset, &Naive::default());
    let plain = behind(&tower_dcr::mcp().without_rate_limits(), &Naive::default());
    for uri in [
        "http://n8n.lan:5678/rest/oauth2-credential/callback",
        "http://n8n.lan:5678",
        "https://192.168.1.20/rest/oauth2-credential/callback",
        "https://192.168.1.20:443/cb",
        "http://[fd12::7]:8080/cb",
    ] {
        let answer = send(&register, post(body("n8n", &[uri]))).await;
        assert_eq!(answer.status(), 201, "{uri}: {}", answer.json());
        assert_eq!(answer.json()["redirect_uris"], json!([uri]), "byte for byte");
        let event = kept.take().pop().unwrap();
        let flagged = |finding: &tower_dcr::rules::Finding| {
            finding.rule == "redirect-uris" && finding.disposition.to_string() == "flagged"
        };
        assert!(event.findings.iter().any(flagged), "{uri}: {:?}", event.findings);
        assert_eq!(send(&plain, post(body("n8n", &[uri]))).await.status(), 400, "{uri} without the list");
    }
    for uri in [
        "http://n8n.lan/cb",
        "http://n8n.lan:80/cb",
        "https://n8n.lan:5678/cb",
        "http://n8n.lan:56780/cb",
        "http://a.n8n.lan:5678/cb",
        "http://n8n.lan.evil.example:5678/cb",
        "http://n8n.lan@evil.example:5678/cb",
        "http://evil.example/n8n.lan:5678",
        "http://N8N.lan:5678/cb",
        "http://n8n.lan:5678/../cb",
        "http://n8n.lan:5678\\@evil.example/",
        "http://n8n.lan:5678/cb#x",
        "http://192.168.1.20/cb",
        "https://192.168.1.21/cb",
        "https://192.168.001.020/cb",
        "https://3232235796/cb",
        "https://[::ffff:192.168.1.20]/cb",
        "http://[fd12:0::7]:8080/cb",
        "http://8.8.8.8/cb",
        "http://app.example.com/cb",
        "javascript://n8n.lan:5678/%0aalert(1)",
        "data:text/html,n8n.lan",
    ] {
        let answer = send(&register, post(body("n8n", &[uri]))).await;
        assert_eq!((answer.status().as_u16(), &answer.json()["error"]), (400, &json!("invalid_redirect_uri")), "{uri}");
        // One that is listed does not lend its place to another one.
        let both = send(&register, post(body("n8n", &["http://n8n.lan:5678/cb", uri]))).await;
        let passes_narrowed = both.status() == 201 && both.json()["redirect_uris"] == json!(["http://n8n.lan:5678/cb"]);
        assert!(both.status() == 400 || passes_narrowed, "{uri}: {}", both.json());
    }
}

/// A private host proves nothing about a name.
#[tokio::test]
async fn a_private_host_is_no_vendor() {
    let register = behind(&Preset::from_str(LISTED).unwrap(), &Naive::default());
    for uri in ["http://n8n.lan:5678/cb", "https://192.168.1.20/cb"] {
        let answer = send(&register, post(body("Claude", &[uri]))).await;
        assert!(answer.json()["error_description"].as_str().unwrap().contains("(identity)"), "{}", answer.json());
    }
}

const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

#[tokio::test]
async fn the_gate_and_the_consent_page_know_them() {
    let registrar = Registrar::new(MemoryLedger::default());
    let preset = Preset::from_str(LISTED).unwrap().with_registrar(registrar.clone());
    let register = behind(&preset, &Naive::default());
    let consent = service_fn(async |_: Request<_>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("consent"))));
    let authorize = preset.gate(GateEndpoint::Authorization, registrar.clone()).layer(consent);
    let uris = ["http://n8n.lan:5678/cb", "https://192.168.1.20/cb"];
    let answer = send(&register, post(body("n8n", &uris))).await;
    let id = answer.json()["client_id"].as_str().unwrap().to_owned();
    let ask = async |uri: &str| {
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("response_type", "code"), ("client_id", &*id), ("redirect_uri", uri)])
            .extend_pairs([("code_challenge", CHALLENGE), ("code_challenge_method", "S256")])
            .finish();
        let request = Request::get(format!("/authorize?{query}")).body(Full::<Bytes>::default()).unwrap();
        send(&authorize, request).await.status().as_u16()
    };
    for uri in uris {
        assert_eq!(ask(uri).await, 200, "{uri}");
    }
    for uri in
        ["https://192.168.1.20/cb2", "https://192.168.1.20:8443/cb", "http://192.168.1.20/cb", "http://n8n.lan/cb"]
    {
        assert_eq!(ask(uri).await, 400, "{uri}");
    }
    let facts = registrar.consent_facts(&id, uris[1]).await.unwrap().unwrap();
    assert_eq!(facts.destination.to_string(), "192.168.1.20");
    let hosts = registrar.client(&id).await.unwrap().unwrap().fingerprints.redirect_hosts;
    assert_eq!(hosts, ["192.168.1.20", "n8n.lan"]);
}

#[test]
fn public_hosts_are_an_error() {
    for (origin, reason) in [
        ("http://app.example.com", "http to a public host"),
        ("https://claude.ai", "redirect_uris.patterns"),
        ("http://203.0.113.7", "private network"),
        ("http://*.lan:5678", "wildcard"),
        ("http://n8n.lan:5678/*", "wildcard"),
        ("javascript:alert(1)", "never allowed"),
    ] {
        let error = Preset::from_str(&format!("redirect_uris.danger_private_origins = ['{origin}']")).unwrap_err();
        let told = error.to_string();
        assert!(told.contains(origin) && told.contains(reason), "{told}");
    }
    let added = Preset::from_str("redirect_uris.add_danger_private_origins = ['http://nas']").unwrap();
    let value = serde_json::to_value(&added).unwrap();
    assert_eq!(value["redirect_uris"]["danger_private_origins"], json!(["http://nas"]));
    assert_eq!(Preset::from_str(&value.to_string()).unwrap().fingerprint(), added.fingerprint());
}
