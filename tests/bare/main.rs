//! The library without the feature `identity`: rules and layers work, and whatever takes tables of Unicode is rejected.
#![cfg(test)]

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_dcr::Registration;
use tower_dcr::clients::Fingerprint;
use tower_dcr::layers::{AuditLayer, PolicyLayer, RateLimitLayer, RegistrationBody, ResponseLayer};
use tower_dcr::redirect_uri::{RedirectUri, RedirectUriError};
use tower_dcr::rules::{Context, Decision, MetadataAllowlist, Policy, RedirectHostQuota, RedirectUris, visible};

fn policy() -> Policy {
    Policy::new((MetadataAllowlist::mcp(), RedirectUris::mcp(), RedirectHostQuota::new(RedirectHostQuota::DEFAULT)))
}

/// Returns the reason of a rejection, or the document as the handler gets it.
fn evaluate(document: &Value) -> Result<Value, String> {
    let registration = Registration::parse(document.to_string().as_bytes()).unwrap();
    let evaluation = policy().evaluate(registration, &Context::registration());
    if evaluation.decision() == Decision::Reject {
        return Err(evaluation.rejection.unwrap().description());
    }
    Ok(serde_json::from_slice(&evaluation.registration.unwrap().canonical_bytes()).unwrap())
}

fn named(name: &str) -> Value {
    json!({ "client_name": name, "redirect_uris": ["http://localhost/cb"] })
}

#[test]
fn names_in_ascii_are_judged_and_all_others_are_rejected() {
    let rows = [
        ("Claude Code (work)", None),
        ("Cla\u{7}ude", Some("a control character")),
        ("   ", Some("nothing in it")),
        ("Caf\u{e9}", Some("outside ASCII")),
        ("\u{202e}edualC", Some("outside ASCII")),
        ("Cl\u{430}ude", Some("outside ASCII")),
    ];
    for (name, reason) in rows {
        let evaluated = evaluate(&named(name));
        match reason {
            None => assert_eq!(evaluated.unwrap()["client_name"], name),
            Some(reason) => assert!(evaluated.as_ref().unwrap_err().contains(reason), "{name:?}: {evaluated:?}"),
        }
    }
}

#[test]
fn long_names_are_cut_as_with_tables() {
    let long = format!("{} Notes", "Meeting ".repeat(20).trim_end());
    let cut = evaluate(&named(&long)).unwrap();
    assert_eq!(cut["client_name"], format!("{} Meeting", "Meeting ".repeat(11).trim_end()));
    assert_eq!(evaluate(&named(&"x".repeat(120))).unwrap()["client_name"], "x".repeat(100));
}

#[test]
fn internationalized_hosts_are_rejected() {
    for uri in ["https://xn--bcher-kva.example.com/cb", "https://a.xn--p1ai/cb", "https://a--b.example.com/cb"] {
        assert_eq!(RedirectUri::parse(uri), Err(RedirectUriError::Host), "{uri}");
    }
    assert!(RedirectUri::parse("https://a-b.example.com/cb").is_ok());
}

#[test]
fn domains_are_those_of_the_public_suffix_list() {
    let to = |uri: &str| evaluate(&json!({ "redirect_uris": [uri] }));
    assert!(to("https://app.example.com/cb").is_ok());
    assert!(to("https://github.io/cb").is_err(), "a public suffix");
    assert!(to("https://kubernetes.default.svc/cb").is_err(), "an internal name");
}

#[test]
fn everything_outside_printable_ascii_is_spelled_out() {
    assert_eq!(visible("Claude"), "Claude");
    assert_eq!(visible("Caf\u{e9}\n"), "Caf\u{27E8}U+00E9\u{27E9}\u{27E8}U+000A\u{27E9}");
}

/// A ledger may be shared with servers that have the feature.
#[test]
fn names_have_the_same_fingerprint() {
    for (name, value) in [("Evil  App (laptop)", "evil app"), ("CAF\u{c9}", "caf\u{e9}"), ("\u{ff25}vil", "evil")] {
        assert_eq!(Fingerprint::name(name).value(), value, "{name}");
    }
}

#[tokio::test]
async fn the_layers_work_without_a_preset() {
    let service = ServiceBuilder::new()
        .layer(AuditLayer::new(|_: &tower_dcr::audit::Event| {}))
        .layer(RateLimitLayer::new())
        .layer(PolicyLayer::new(policy()))
        .layer(ResponseLayer::new().with_public_url("https://as.example.com").unwrap())
        .service(service_fn(async |request: Request<RegistrationBody>| {
            let mut client: Value = serde_json::from_slice(&request.into_body().collect().await?.to_bytes()).unwrap();
            client["client_id"] = "c1".into();
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Response::new(Full::new(Bytes::from(client.to_string()))))
        }));
    let register = async |document: Value| {
        let request = Request::post("/register").header("content-type", "application/json");
        let request = request.body(Full::new(Bytes::from(document.to_string()))).unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let (status, client) = register(named("Notes")).await;
    assert_eq!((status, &client["client_id"]), (StatusCode::CREATED, &json!("c1")), "{client}");
    let (status, rejection) = register(named("Nótes")).await;
    assert_eq!((status, &rejection["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_client_metadata")));
}
