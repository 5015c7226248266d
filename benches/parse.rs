//! Parsing and reviewing a registration, beside `serde_json` reading the same bytes; hostile bodies at the size limit.

#[path = "support/mod.rs"]
mod support;

use serde_json::{Value, json};
use support::{Case, compare, figure};
use tower_dcr::Registration;
use tower_dcr::rules::{Context, MetadataAllowlist, Policy, RedirectUris};

/// A registration of rmcp, with a name and a scope.
fn typical() -> Vec<u8> {
    let body = json!({
        "client_name": "Example MCP Client (my-server)",
        "redirect_uris": ["http://127.0.0.1:33418/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "none",
        "response_types": ["code"],
        "scope": "mcp:tools mcp:resources mcp:prompts profile openid offline_access",
        "application_type": "native",
    });
    serde_json::to_vec(&body).unwrap_or_default()
}

/// Everything that a registration may have, in many languages: 4 KB.
fn large() -> Vec<u8> {
    let uri = |index| format!("https://app{index}.example.com/oauth/callback/{}", "0123456789abcdef".repeat(4));
    let mut body = json!({
        "redirect_uris": (0..10).map(uri).collect::<Vec<_>>(),
        "client_name": "Example Client",
        "client_uri": "https://app.example.com/about",
        "logo_uri": "https://app.example.com/logo.png",
        "tos_uri": "https://app.example.com/terms",
        "policy_uri": "https://app.example.com/privacy",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "contacts": (0..12).map(|index| format!("contact{index}@example.com")).collect::<Vec<_>>(),
        "software_id": "2e6dc280-f3c3-4e01-99a7-8181dbd1d23d",
        "software_version": "1.2.3",
        "scope": "mcp:tools mcp:resources",
    });
    for tag in ["de", "es", "fr", "it", "ja", "ko", "nl", "pl", "pt-BR", "zh-Hans"] {
        if let Some(object) = body.as_object_mut() {
            object.insert(format!("client_name#{tag}"), "Example Client, in another language".into());
            object.insert(format!("client_uri#{tag}"), format!("https://app.example.com/{tag}/about").into());
            object.insert(format!("tos_uri#{tag}"), format!("https://app.example.com/{tag}/terms").into());
        }
    }
    serde_json::to_vec(&body).unwrap_or_default()
}

fn rules() -> Policy {
    Policy::new((MetadataAllowlist::mcp(), RedirectUris::mcp()))
}

/// Parse, review by both sets of rules, canonical bytes.
fn guard(rules: &Policy, body: &[u8]) -> Option<Vec<u8>> {
    let evaluation = rules.evaluate(Registration::parse(body).ok()?, &Context::registration());
    evaluation.registration.as_ref().filter(|_| evaluation.rejection.is_none()).map(Registration::canonical_bytes)
}

fn honest(name: &str, body: &[u8]) {
    let rules = rules();
    assert!(guard(&rules, body).is_some());
    let figures = compare(
        &format!("{name}: {} bytes", body.len()),
        vec![
            Case::new("serde_json to Value", || serde_json::from_slice::<Value>(body)),
            Case::new("serde_json scan only", || serde_json::from_slice::<serde::de::IgnoredAny>(body)),
            Case::new("parse", || Registration::parse(body)),
            Case::new("parse + canonical bytes", || {
                Registration::parse(body).map(|document| document.canonical_bytes())
            }),
            Case::new("parse + rules + canonical bytes", || guard(&rules, body)),
        ],
    );
    if let [.., whole] = figures.as_slice() {
        figure("the whole, to Value", whole.ratio);
        figure("allocations", u32::try_from(whole.allocations).map_or(f64::NAN, f64::from));
    }
}

const LIMIT: usize = 16 * 1024;

/// Fills a body up to the limit with repetitions of `part`.
fn filled(start: &str, part: impl Fn(usize) -> String, end: &str) -> Vec<u8> {
    let mut body = start.to_owned();
    for index in 0.. {
        let part = part(index);
        if body.len() + part.len() + end.len() > LIMIT {
            break;
        }
        body.push_str(&part);
    }
    body.push_str(end);
    body.into_bytes()
}

fn hostile() {
    let good = "\"redirect_uris\":[\"https://app.example.com/cb\"]";
    let bodies = [
        ("tiny members", filled(&format!("{{{good}"), |index| format!(",\"{index}\":1"), "}")),
        (
            "99 members",
            filled(
                &format!("{{{good}"),
                |index| if index < 98 { format!(",\"m{index}\":\"{}\"", "x".repeat(150)) } else { "x".repeat(LIMIT) },
                "}",
            ),
        ),
        ("deep nesting", filled(&format!("{{{good},\"x\":"), |_| "[".to_owned(), "")),
        ("one long string", filled(&format!("{{{good},\"x\":\""), |_| "x".to_owned(), "\"}")),
        ("one long string of escapes", filled(&format!("{{{good},\"x\":\""), |_| "\\u0041".to_owned(), "\"}")),
        ("many URIs", filled("{\"redirect_uris\":[\"https://a\"", |_| ",\"https://a/\"".to_owned(), "]}")),
        (
            "long URIs",
            filled(
                "{\"redirect_uris\":[\"https://a.example.com/\"",
                |index| format!(",\"https://a{index}.example.com/{}\"", "%41".repeat(600)),
                "]}",
            ),
        ),
        (
            "nested objects",
            filled(
                &format!("{{{good},\"x\":[0"),
                |index| {
                    if index < 99 {
                        format!(",{{\"a\":{{\"b\":{{\"c\":[\"{}\"]}}}}}}", "y".repeat(120))
                    } else {
                        "x".repeat(LIMIT)
                    }
                },
                "]}",
            ),
        ),
        ("duplicate at the end", filled(&format!("{{{good},\"x\":\""), |_| "x".to_owned(), "\",\"x\":1}")),
    ];
    let rules = rules();
    let cases = bodies.iter().map(|(name, body)| Case::new(*name, || guard(&rules, body))).collect();
    let figures = compare("hostile bodies of 16 KiB", cases);
    for ((name, body), measured) in bodies.iter().zip(figures) {
        #[expect(clippy::cast_precision_loss, reason = "16384")]
        figure(&format!("{name}: ns a byte"), measured.cost / body.len() as f64);
    }
}

fn main() {
    honest("a typical registration", &typical());
    honest("a large one", &large());
    hostile();
}
