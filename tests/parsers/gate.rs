//! The gate, between requests of every kind and parsers of every kind.

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use axum::routing::any;
use bytes::Bytes;
use http::Method;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};
use tower_dcr::clients::{Actor, MemoryLedger};
use tower_dcr::clients::{Registrar, Revocation};
use tower_dcr::layers::{GateEndpoint, GateLayer};
use tower_dcr::rules::Action;

use crate::parser::Parser;
use crate::recorder::{Arrived, Recorder, send_all, serve};
use crate::requests::{ANONYMOUS_GRANT, EVIL_URI, GOOD, GOOD_URI, Owed, REVOKED, Row, all};

/// A ledger with one client that may come in, and one that may not.
async fn registrar() -> Registrar {
    let registrar = Registrar::new(MemoryLedger::default());
    let guard = tower_dcr::mcp().without_rate_limits().with_registrar(registrar.clone());
    // The name is the id that this server gives out.
    let recorder = Recorder::new("http://127.0.0.1:9");
    let register = guard.layer(any(Recorder::forward).with_state::<()>(recorder));
    for (client, uri) in [(GOOD, GOOD_URI), (REVOKED, EVIL_URI)] {
        let document = json!({ "client_name": client, "redirect_uris": [uri] }).to_string();
        let request = http::Request::post("/register").header("content-type", "application/json");
        let answer = register.clone().oneshot(request.body(axum::body::Body::from(document)).unwrap()).await.unwrap();
        assert_eq!(answer.status().as_u16(), 201);
    }
    let operator = Actor::Operator("alice".into());
    let mut revocation = Revocation::client(REVOKED, operator, "x");
    revocation.blocks = false;
    registrar.revoke(revocation).await.unwrap();
    registrar
}

type Change = fn(GateLayer) -> GateLayer;

fn gated(recorder: &Recorder, registrar: &Registrar, change: Change) -> Router {
    let forward = any(Recorder::forward).with_state::<()>(recorder.clone());
    let gated = |layer: GateLayer| change(layer).layer(forward.clone());
    Router::new()
        .route_service("/token", gated(GateLayer::new(GateEndpoint::Token, registrar.clone())))
        .route_service("/authorize", gated(GateLayer::new(GateEndpoint::Authorization, registrar.clone())))
        .route_service("/par", gated(GateLayer::new(GateEndpoint::PushedAuthorization, registrar.clone())))
}

/// Every value that a handler could take for the parameter `name`. ASP.NET's would not look at capitals.
fn read(arrived: &Arrived, name: &str) -> BTreeSet<String> {
    fn strings(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::String(text) => drop(found.insert(text.clone())),
            Value::Array(values) => values.iter().for_each(|value| strings(value, found)),
            Value::Object(members) => members.values().for_each(|value| strings(value, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    for source in ["query", "form", "merged", "json"] {
        let members = arrived.read[source].as_object().into_iter().flatten();
        members.filter(|(key, _)| key.eq_ignore_ascii_case(name)).for_each(|(_, value)| strings(value, &mut found));
    }
    // RFC 6749 section 3.1: a parameter without a value is none.
    found.remove("");
    found
}

fn clients(arrived: &Arrived) -> BTreeSet<String> {
    let mut clients = read(arrived, "client_id");
    let basic = arrived.read["basic"].as_str().filter(|user| !user.is_empty());
    // RFC 6749 section 2.3.1 has it escaped.
    clients.extend(basic.map(|user| percent_decode_str(user).decode_utf8_lossy().into_owned()));
    clients
}

/// An id as the most careless of databases compares it.
fn folded(id: &str) -> String {
    let id = id.split_once('\0').map_or(id, |(id, _)| id);
    let id: String = unicode_normalization::UnicodeNormalization::nfkc(id).collect();
    let is_blank = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '\u{feff}' | '\u{200b}');
    id.trim_matches(is_blank).to_lowercase()
}

/// Returns the fault of a request that passed.
fn faults(row: &Row, arrived: &Arrived, rejects_unknown: bool) -> Vec<String> {
    let mut faults = Vec::new();
    let sent = &row.request;
    let clients = clients(arrived);
    let one = clients.len() <= 1;
    let fine = |id: &String| if rejects_unknown { id == GOOD } else { one && folded(id) != REVOKED };
    if !clients.iter().all(fine) {
        faults.push(format!("client: {clients:?}"));
    }
    let path = sent.uri().path();
    let redirects = read(arrived, "redirect_uri");
    if path != "/token" && redirects.iter().any(|uri| uri != GOOD_URI) {
        faults.push(format!("redirect URI: {redirects:?}"));
    }
    let grants = read(arrived, "grant_type");
    if grants.len() > 1 || path == "/token" && clients.is_empty() && grants.iter().any(|grant| grant != ANONYMOUS_GRANT)
    {
        faults.push(format!("grant of nobody: {grants:?}"));
    }
    if arrived.read.is_object() && arrived.read["method"] != sent.method().as_str() {
        faults.push(format!("method: {}", arrived.read["method"]));
    }
    let media_types = arrived.media_types();
    let has_content = !matches!(*sent.method(), Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS);
    let expected = if has_content { sent.body().clone() } else { Bytes::new() };
    if arrived.body != expected {
        faults.push(format!("a body of {} bytes", arrived.body.len()));
    }
    let is_known = matches!(media_types[..], ["application/x-www-form-urlencoded" | "application/json"]);
    if !arrived.body.is_empty() && !is_known {
        faults.push(format!("media type: {media_types:?}"));
    }
    faults
}

/// Returns the parts that an honest request lost on its way.
fn losses(row: &Row, arrived: Option<&Arrived>, status: u16) -> Option<String> {
    let Some(arrived) = arrived else { return Some(format!("does not pass: {status}")) };
    let expected = match row.owed {
        Owed::OneReading => return None,
        Owed::Client => BTreeSet::from([GOOD.to_owned()]),
        Owed::Nobody => BTreeSet::new(),
    };
    let clients = clients(arrived);
    (clients != expected).then(|| format!("read as {clients:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_read_the_same_request_as_the_gate() {
    let rows = all();
    let honest = rows.iter().filter(|row| row.owed != Owed::OneReading).count();
    let mut wrong = BTreeMap::<String, BTreeSet<&str>>::new();
    let mut read_alike = 0;
    for parser in Parser::all().await {
        let modes: [(bool, Change); 2] =
            [(false, |gate| gate), (true, |gate| gate.map_settings(|gate| gate.unknown = Some(Action::Reject)))];
        for (rejects_unknown, change) in modes {
            let recorder = Recorder::new(&parser.running.base);
            let base = serve(gated(&recorder, &registrar().await, change)).await;
            let statuses = send_all(&base, rows.iter().map(|row| row.request.clone())).await;
            let arrived = recorder.arrived();
            let mut passed = 0;
            for (number, row) in rows.iter().enumerate() {
                let mut found = Vec::new();
                // A gate that rejects unknown clients also rejects requests without a client.
                if row.owed != Owed::OneReading && !(rejects_unknown && row.owed == Owed::Nobody) {
                    let loss = losses(row, arrived.get(&number), statuses[number]);
                    passed += usize::from(loss.is_none());
                    found.extend(loss);
                }
                found
                    .extend(arrived.get(&number).into_iter().flat_map(|arrived| faults(row, arrived, rejects_unknown)));
                for fault in found {
                    wrong.entry(format!("{} → {fault}", row.name)).or_default().insert(parser.name);
                }
            }
            println!("{}: {} rows, {} arrived, {passed} honest", parser.name, rows.len(), arrived.len());
            read_alike += passed;
        }
        assert!(read_alike >= honest, "{}: hardly anybody passes", parser.name);
    }
    let wrong: Vec<String> = wrong.into_iter().map(|(fault, parsers)| format!("{fault} ({parsers:?})")).collect();
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}
