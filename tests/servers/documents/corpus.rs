//! The attacks of `tests/data/documents/attacks.jsonl`, each as a request, and each document on a host of its own.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tower_dcr::Preset;
use tower_dcr::documents::ClientIdUrl;
use tower_dcr::rules::{AuthMethod, Grants};

use super::node::{Node, query, unlimited};
use super::web::{CALLBACK, URL, Web, document, response};

fn rows() -> impl Iterator<Item = Value> {
    let rows = include_str!("../../data/documents/attacks.jsonl").lines();
    rows.map(|row| serde_json::from_str(row).unwrap())
}

/// 1 to 19: no URL that is none of a document, or that is not admitted, makes a packet or gets a grant.
#[tokio::test]
async fn no_packet_is_sent_for_a_bad_url() {
    let web = Web::start().await;
    let plain = Node::at(&web, unlimited(tower_dcr::mcp())).await;
    let is_rejected = |row: &Value| !row["url_error"].is_null() || row["admitted"] == "no";
    let mut count = 0;
    for row in rows().filter(is_rejected) {
        let own;
        let node = if row["settings"].is_null() {
            &plain
        } else {
            let settings = serde_json::from_value(row["settings"].clone()).unwrap();
            let preset = tower_dcr::mcp().map_documents(|documents| *documents = settings);
            own = Node::at(&web, unlimited(preset)).await;
            &own
        };
        let url = row["url"].as_str().unwrap();
        let answer = node.authorize_to(url, CALLBACK).await;
        assert!((400..500).contains(&answer.status), "{row}: {answer:?}");
        // Other schemes are names like others, which this server does not know.
        let is_meant = url.trim_start().get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"));
        assert!(!is_meant || answer.text != "by the server", "{row}");
        assert!((400..500).contains(&node.post("/par", query(url, CALLBACK)).await.status), "{row}");
        assert_eq!((web.packets(), node.grants()), (0, 0), "{row}");
        count += 1;
    }
    assert!(count > 300, "{count}");
}

/// The preset that a row is about.
fn preset(row: &Value) -> Preset {
    unlimited(match row["preset"].as_str() {
        Some("strict") => tower_dcr::strict().map_documents(|it| it.admission = tower_dcr::documents::Admission::Open),
        Some("oauth") => {
            let grants = Grants::new(["authorization_code", "refresh_token"], ["code"]).unwrap();
            tower_dcr::oauth(grants, AuthMethod::one_of(["none", "private_key_jwt", "client_secret_basic"]))
        }
        _ => tower_dcr::mcp(),
    })
}

/// The document of a row, as it is on the wire.
fn body(row: &Value) -> Vec<u8> {
    if let Some(raw) = row["raw"].as_str() {
        return raw.into();
    }
    if let Some(bytes) = row["raw_b64"].as_str() {
        return BASE64_STANDARD.decode(bytes).unwrap();
    }
    let mut plain = document(URL, json!({}));
    plain.as_object_mut().unwrap().remove("grant_types");
    for (name, value) in row["members"].as_object().unwrap() {
        plain[name] = value.clone();
    }
    if let Some(name) = row["missing"].as_str() {
        plain.as_object_mut().unwrap().remove(name);
    }
    plain.to_string().into_bytes()
}

/// 54 to 63: each document is fetched once, and gets no grant or loses what no document may decide.
#[tokio::test]
async fn no_bad_document_gets_a_grant() {
    let web = Web::start().await;
    let mut counts = [0, 0];
    // Documents on other hosts have the same answer, by the rules alone.
    let is_document = |row: &Value| row["url"].is_null() && row["document_url"].is_null();
    for row in rows().filter(is_document) {
        let node = Node::at(&web, preset(&row)).await;
        let body = body(&row);
        web.raw(URL, response("200 OK", "Content-Type: application/json\r\n", &body));
        let packets = web.packets();
        if row["after"].is_null() {
            assert_eq!(node.authorize(URL).await, 400, "{row}");
            assert_eq!((web.packets(), node.grants(), node.records().await), (packets + 1, 0, 0), "{row}");
            let reasons = node.events.reasons();
            assert!(
                reasons.iter().all(|reason| reason.starts_with("client metadata document: ")),
                "{row}: {reasons:?}"
            );
            counts[0] += 1;
            continue;
        }
        let client = node.preset.resolve_document(&ClientIdUrl::parse(URL).unwrap(), None).await.unwrap();
        let redirect_uri = client.registration().redirect_uris().next().unwrap().to_owned();
        let answer = node.authorize_to(URL, &redirect_uri).await;
        assert!(answer.status == 302, "{row}: {answer:?}");
        for (member, value) in row["after"].as_object().unwrap() {
            assert_eq!(node.told().get(member).unwrap_or(&Value::Null), value, "{row}");
        }
        assert_eq!(web.packets(), packets + 1, "{row}: nothing in it is fetched");
        counts[1] += 1;
    }
    assert!(counts.iter().all(|count| *count > 150), "{counts:?}");
}
