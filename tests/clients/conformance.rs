//! MCP's conformance suite (`@modelcontextprotocol/conformance`): its scenarios for authorization servers, with the layers
//! in front.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::Bench;
use crate::documents::{OAUTH, World, listed};
use crate::folder::Folder;
use crate::running::{ANY_PORT, Running};

/// Runs the scenarios, and returns the status of the suite and of each scenario.
async fn run(bench: &Bench, issuer: &str, more: &[&str]) -> Value {
    let mut command = tokio::process::Command::from(bench.node("conformance.mjs"));
    command.args([issuer, &format!("{issuer}/mcp")]).args(more).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(60), command.output()).await.expect("it did not come back");
    let output = output.unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let last = printed.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
    last.unwrap_or_else(|| panic!("{printed}{}", String::from_utf8_lossy(&output.stderr)))
}

/// Every check that the suite has in its pinned version: a new one is put here on purpose. It warns of a server without Client ID
/// Metadata Documents, which are another way to register.
fn all_pass(documents: bool) -> Value {
    let none = "WARNING: Authorization server metadata does not include \"client_id_metadata_document_supported\"";
    json!({
        "code": 0,
        "scenarios": {
            "authorization-code-grant": "SUCCESS",
            "authorization-server-metadata": "SUCCESS",
            "authorization-server-metadata-cimd": if documents { "SUCCESS" } else { none },
        },
    })
}

/// As a client that registers, and as one that is named by a document.
#[tokio::test]
async fn authorization_servers_conform_behind_each_preset() {
    let Some(bench) = Bench::find() else { return };
    let world = World::new(bench, "conformance-documents").await;
    let conformance = json!({
        "client_name": "Conformance", "redirect_uris": ["http://127.0.0.1/callback"],
        "grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": "none",
    });
    let url = world.host.publish("/conformance.json", &conformance);
    for (preset, policy) in [("mcp", "extends = 'mcp'"), ("oauth", OAUTH), ("strict", "extends = 'strict'")] {
        let server = world.serve(&listed(policy));
        for flags in [&[][..], &[&*url]] {
            assert_eq!(run(bench, &server.base, flags).await, all_pass(true), "{preset} {flags:?}");
        }
    }
    // The ledger is the same one.
    assert_eq!(world.host.requests("/conformance.json"), 3);
    let server = world.serve("extends = 'mcp'\ndocuments.admission = 'off'");
    assert_eq!(run(bench, &server.base, &[]).await, all_pass(false));
}

/// With a ledger, so that the gate is in front of the authorization and the token endpoint.
#[tokio::test]
async fn an_authorization_server_conforms_behind_the_proxy() {
    let Some(bench) = Bench::find() else { return };
    let folder = Folder::new("conformance");
    let ledger = format!("sqlite:{}", folder.0.join("clients.db").display());
    let server = Running::start("demo", &["--addr", ANY_PORT, "--auto-approve", "--unprotected"]);
    let proxy =
        Running::start("dcr", &["proxy", "--upstream", &server.base, "--listen", ANY_PORT, "--ledger", &ledger]);
    assert_eq!(run(bench, &proxy.base, &[]).await, all_pass(false));
}

/// The suite finds faults, and its findings arrive here.
#[tokio::test]
async fn a_forged_response_fails_the_scenario() {
    let Some(bench) = Bench::find() else { return };
    let server = Running::start("demo", &["--addr", ANY_PORT, "--auto-approve"]);
    let outcome = run(bench, &server.base, &["forged"]).await;
    let scenario = outcome["scenarios"]["authorization-code-grant"].as_str().unwrap();
    assert!(scenario.starts_with("FAILURE: Invalid state"), "{outcome}");
    assert_ne!(outcome["code"], 0);
}
