//! Registration that is closed: no new clients, and the registered ones go on.

use std::str::FromStr;

use http::{Request, header};
use http_body_util::Full;
use serde_json::{Value, json};
use tower_dcr::clients::{MemoryLedger, Registrar, Status};
use tower_dcr::documents::{Documents, Fetch, FetchError, FetchRequest};
use tower_dcr::layers::{GateEndpoint, InitialAccess, InitialAccessTokenLayer, StaticTokens};
use tower_dcr::{Preset, Rejection};

use crate::support::{Kept, Naive, behind, post, send};

const BODY: &str = r#"{"client_name":"App","redirect_uris":["https://app.example.com/cb"]}"#;
const TOKEN: &str = "Vq3s8nR1xW7tB0yKd5Lc";

fn closed() -> Preset {
    Preset::from_str("registration = 'closed'").unwrap()
}

fn request(method: &str, path: &str, body: &'static str) -> Request<Full<bytes::Bytes>> {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    request.body(body.into()).unwrap()
}

#[tokio::test]
async fn every_registration_is_rejected_with_the_rule_in_the_event() {
    let tokens = StaticTokens::new().add(TOKEN, InitialAccess::of("portal")).unwrap();
    let required = closed().with_initial_access_tokens(InitialAccessTokenLayer::new(tokens));
    let exempt = Preset::from_str("registration = 'closed'\nreport_only_rules = ['initial-access-token']").unwrap();
    for (preset, reason) in [
        (closed(), "by a file"),
        (tower_dcr::mcp().close_registration(), "in code"),
        (tower_dcr::strict().close_registration(), "under another preset"),
        (required, "with tokens"),
        (exempt, "tokens are reported only, registration is not"),
    ] {
        let (kept, naive) = (Kept::default(), Naive::default());
        let preset = preset.with_sink(kept.sink());
        let register = behind(&preset, &naive);
        for authorization in [None, Some(format!("Bearer {TOKEN}"))] {
            for body in [BODY, "{", ""] {
                let mut request = post(body);
                let value = authorization.as_ref().map(|token| token.parse().unwrap());
                request.headers_mut().extend(value.map(|value| (header::AUTHORIZATION, value)));
                let answer = send(&register, request).await;
                assert_eq!(answer.status(), 403, "{reason}");
                let told = answer.json();
                assert_eq!(told["error"], "access_denied", "{reason}");
                assert_eq!(told["error_description"], "this server does not register clients (registration-closed)");
                assert_eq!(answer.response.headers()["cache-control"], "no-store");
                assert_eq!(answer.response.headers()["content-type"], "application/json");
                assert_eq!(answer.response.extensions().get::<Rejection>().unwrap().rule, "registration-closed");
            }
        }
        preset.flush_audit();
        let events = kept.take();
        assert!(events.iter().all(|event| event.rule == Some("registration-closed")), "{reason}");
        assert!(events.iter().all(|event| event.outcome.to_string() == "rejected"), "{reason}");
        assert_eq!(events.iter().map(|event| event.count.unwrap_or(1)).sum::<u64>(), 6, "{reason}");
        assert!(naive.seen().is_empty(), "{reason}: the handler was not called");
    }
}

/// Knows no document.
struct NoWeb;

impl Fetch for NoWeb {
    async fn fetch(&self, _: FetchRequest) -> Result<http::Response<bytes::Bytes>, FetchError> {
        Err(FetchError::NoAddress)
    }
}

/// A client that can't register is told of the way that is open.
#[tokio::test]
async fn a_closed_server_names_metadata_documents() {
    let document = "; it accepts the https URL of a client metadata document as client_id";
    for (policy, fetches, more) in [
        ("registration = 'closed'", true, document),
        ("registration = 'closed'\ndocuments.admission = 'listed'", true, document),
        ("registration = 'closed'\ndocuments.admission = 'off'", true, ""),
        ("registration = 'closed'", false, ""),
    ] {
        let preset = Preset::from_str(policy).unwrap();
        let preset = if fetches { preset.with_documents(Documents::new(NoWeb)) } else { preset };
        let answer = send(&behind(&preset, &Naive::default()), post(BODY)).await;
        let said = format!("this server does not register clients{more} (registration-closed)");
        assert_eq!((answer.status().as_u16(), &answer.json()["error_description"]), (403, &json!(said)), "{policy}");
    }
}

#[tokio::test]
async fn a_report_only_policy_closes_nothing() {
    let kept = Kept::default();
    let register = behind(&closed().report_only().with_sink(kept.sink()), &Naive::default());
    assert_eq!(send(&register, post(BODY)).await.status(), 201);
    let event = kept.take().pop().unwrap();
    let finding = event.findings.iter().find(|finding| finding.rule == "registration-closed").unwrap();
    assert!(!finding.enforced);
    let mut document = json!({ "registration_endpoint": "https://as.example.com/register" });
    closed().report_only().amend_server_metadata(document.as_object_mut().unwrap());
    assert!(document.get("registration_endpoint").is_some());
}

/// A reload closes and opens it, in the discovery document, too. Clients from before go on.
#[tokio::test]
async fn clients_go_on_while_registration_is_closed() {
    let registrar = Registrar::new(MemoryLedger::default());
    let layer = tower_dcr::mcp().with_registrar(registrar.clone()).reloadable();
    let register = behind(&layer, &Naive::default());
    let token = tower::Layer::layer(
        &layer.gate(GateEndpoint::Token, registrar.clone()),
        tower::service_fn(async |_: Request<_>| {
            Ok::<_, std::convert::Infallible>(http::Response::new(Full::<bytes::Bytes>::from(
                "{\"access_token\":\"t\"}",
            )))
        }),
    );
    assert_eq!(send(&register, post(BODY)).await.status(), 201);
    let announced = |preset: &Preset| {
        let mut document = json!({
            "registration_endpoint": "https://as.example.com/register",
            "mtls_endpoint_aliases": { "registration_endpoint": "https://mtls.example.com/register" },
        });
        preset.amend_server_metadata(document.as_object_mut().unwrap());
        let alias = document["mtls_endpoint_aliases"].get("registration_endpoint");
        (document.get("registration_endpoint").is_some(), alias.is_some())
    };
    assert_eq!(announced(&layer.preset()), (true, true));
    layer.replace(&closed()).unwrap();
    assert_eq!(announced(&layer.preset()), (false, false));
    // An equal registration is one, too.
    assert_eq!(send(&register, post(BODY)).await.status(), 403);
    let read = send(&register, request("GET", "/register/client-1", "")).await;
    assert!(read.status().is_success(), "{:?}", read.json());
    let changed = r#"{"client_id":"client-1","client_name":"App 2","redirect_uris":["https://app.example.com/cb"]}"#;
    assert!(send(&register, request("PUT", "/register/client-1", changed)).await.status().is_success());
    let client = registrar.client("client-1").await.unwrap().unwrap();
    assert!(client.registration.contains("App 2") && client.status == Status::Active);
    let form = Request::post("/token").header("content-type", "application/x-www-form-urlencoded");
    let refresh = "grant_type=refresh_token&refresh_token=r&client_id=client-1";
    let form = form.body(Full::<bytes::Bytes>::from(refresh)).unwrap();
    assert_eq!(send(&token, form).await.status(), 200);
    // A handler that registers what it does not know would do it here.
    let unknown = r#"{"client_id":"client-9","redirect_uris":["https://app.example.com/cb"]}"#;
    assert_eq!(send(&register, request("PUT", "/register/client-9", unknown)).await.status(), 401);
    layer.replace(&tower_dcr::mcp()).unwrap();
    assert_eq!(announced(&layer.preset()), (true, true));
    let another = post(r#"{"client_name":"Other","redirect_uris":["https://other.example.com/cb"]}"#);
    assert_eq!(send(&register, another).await.status(), 201);
}

#[test]
fn the_setting_is_written_and_counts() {
    assert_eq!(serde_json::to_value(closed()).unwrap()["registration"], "closed");
    assert_eq!(serde_json::to_value(tower_dcr::mcp()).unwrap()["registration"], Value::from("open"));
    assert_eq!(closed().fingerprint(), tower_dcr::mcp().close_registration().fingerprint());
    assert_ne!(closed().fingerprint(), tower_dcr::mcp().fingerprint());
    assert!(Preset::from_str("registration = 'shut'").is_err());
}
