//! Released clients, from discovery to a call, through the layers of the demo.

use serde_json::{Value, json};
use url::form_urlencoded;

use crate::bench::{
    Bench, CONFIDENTIAL_CLIENTS, Client, MCP_CLIENTS, OAUTH_CLIENTS, OPENID_CLIENTS, Outcome, TWO_RESOURCES,
};
use crate::folder::Folder;
use crate::readme;
use crate::running::{ANY_PORT, Running};
use crate::servers::{Server, free_port};

/// `mcp-remote` registers `localhost`, which the strict preset does not admit: RFC 8252 section 8.3 has loopback addresses.
pub(crate) const NOT_STRICT: [&str; 1] = ["mcp-remote"];

/// It registers no grant types, and so gets no refresh token from `oauth` (RFC 7591 section 2: "the default behavior is that
/// the client will use only the `authorization_code` Grant Type").
const WITHOUT_GRANTS: &str = "openidconnect";

fn clients() -> impl Iterator<Item = &'static Client> {
    MCP_CLIENTS.iter().chain(&OAUTH_CLIENTS)
}

/// Those that do not sign in, and why.
async fn rejected(
    bench: &'static Bench,
    server: &Running,
    registers_refresh_tokens: bool,
) -> Vec<(&'static str, String)> {
    let (issuer, mcp) = (&server.base, format!("{}/mcp", server.base));
    let clients: Vec<_> = clients().chain([&TWO_RESOURCES]).collect();
    let outcomes = bench.sign_in_all(&clients, issuer, &mcp).await;
    let rejected = |(client, outcome): (&Client, Outcome)| match outcome {
        Ok(signed_in) => {
            assert_eq!(signed_in.said, "hello", "{}", client.name);
            let refreshes = client.name != WITHOUT_GRANTS || registers_refresh_tokens;
            assert_eq!(signed_in.refreshed, refreshes, "{}", client.name);
            // The others have no way to end a token that they are told of.
            let ends_tokens = matches!(client.name, "oauth4webapi" | "openid-client");
            assert_eq!(signed_in.revoked, ends_tokens, "{}", client.name);
            None
        }
        Err(printed) => Some((client.name, printed)),
    };
    outcomes.into_iter().filter_map(rejected).collect()
}

#[tokio::test]
async fn released_clients_sign_in_through_each_preset() {
    let Some(bench) = Bench::find() else { return };
    let start = |preset| Running::start("demo", &["--addr", ANY_PORT, "--auto-approve", "--preset", preset]);
    for preset in ["mcp", "oauth"] {
        let rejected = rejected(bench, &start(preset), preset != "oauth").await;
        assert!(rejected.is_empty(), "{preset}: {rejected:#?}");
    }
    let rejected = rejected(bench, &start("strict"), true).await;
    assert_eq!(rejected.iter().map(|(name, _)| *name).collect::<Vec<_>>(), NOT_STRICT, "{rejected:#?}");
    assert!(rejected[0].1.contains("redirect_uris[0]"), "{rejected:#?}");

    let mut names: Vec<String> = clients().map(|client| format!("{} {}", client.name, bench.version(client))).collect();
    names.sort();
    readme::check("clients", &names.join(", "));
}

/// Returns a policy with every rule of gates, as the schema lists them, and every setting that restricts a code flow.
pub(crate) fn all_rules(base: &str, resources: &[&str]) -> String {
    let schema: Value = serde_json::from_str(include_str!("../../schema/policy.json")).unwrap();
    let rules = schema["$defs"]["GateRules"]["properties"].as_object().unwrap();
    assert!(rules.len() >= 12, "{rules:?}");
    let rules = rules.keys().map(|rule| format!("{rule} = 'reject'")).collect::<Vec<_>>().join("\n");
    format!(
        "extends = 'mcp'\n[gate]\nunknown = 'reject'\nissuer = '{base}'\nresources = {resources:?}\n\
         response_modes = ['query']\n[gate.rules]\n{rules}"
    )
}

#[tokio::test]
async fn released_clients_sign_in_with_every_rule_of_the_gate() {
    let Some(bench) = Bench::find() else { return };
    let folder = Folder::new("all-rules");
    let address = format!("127.0.0.1:{}", free_port());
    let (base, mcp) = (format!("http://{address}"), format!("http://{address}/mcp"));
    let start = |resources: &[&str]| {
        folder.write("policy.toml", &all_rules(&base, resources));
        let policy = folder.0.join("policy.toml");
        Running::start("demo", &["--addr", &address, "--auto-approve", "--policy", policy.to_str().unwrap()])
    };
    let server = start(&[&mcp, "https://a.example.com/mcp", "https://b.example.com/mcp"]);
    assert_eq!(server.base, base);
    let rejected = rejected(bench, &server, true).await;
    assert!(rejected.is_empty(), "{rejected:#?}");

    // The rules are on: each of these differs in one thing from a request that passes.
    let body = json!({ "client_name": "App", "redirect_uris": ["https://app.example.com/cb"], "scope": "mcp" });
    let client_id = server.register(&body).await.1["client_id"].as_str().unwrap().to_owned();
    let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let honest = [
        ("response_type", "code"),
        ("client_id", &client_id),
        ("redirect_uri", "https://app.example.com/cb"),
        ("scope", "mcp"),
        ("resource", &mcp),
        ("response_mode", "query"),
        ("code_challenge", challenge),
        ("code_challenge_method", "S256"),
    ];
    let authorize = async |query: &[(&str, &str)]| {
        let answer = server.client.get(format!("{base}/authorize")).query(query).send().await.unwrap();
        let location = answer.headers().get("location").map(|location| location.to_str().unwrap().to_owned());
        (answer.status().as_u16(), location.unwrap_or_default(), answer.text().await.unwrap())
    };
    let (status, location, _) = authorize(&honest).await;
    let iss = form_urlencoded::Serializer::new(String::new()).append_pair("iss", &base).finish();
    assert!(status == 302 && location.matches(&iss).count() == 1, "{status} {location}");
    for (name, value, error) in [
        ("response_type", "token", "unauthorized_client"),
        ("client_id", "unknown", "invalid_client"),
        ("redirect_uri", "https://app.example.com/other", "invalid_client"),
        ("scope", "mcp mcp:write", "invalid_scope"),
        ("resource", "https://c.example.com/mcp", "invalid_target"),
        ("response_mode", "fragment", "invalid_request"),
        ("code_challenge", "short", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
    ] {
        let query = honest.map(|(known, honest)| (known, if known == name { value } else { honest }));
        let (status, location, said) = authorize(&query).await;
        assert!(status == 400 && location.is_empty() && said.contains(error), "{name}: {status} {location} {said}");
    }
}

/// A server for OpenID Connect, whose clients have secrets and keys.
const CONFIDENTIAL: &str = r#"
extends = "oauth"

[metadata.grants]
grant_types = ["authorization_code", "refresh_token"]

[metadata.token_endpoint_auth_method]
one_of = ["none", "client_secret_basic", "private_key_jwt"]
# They register secrets with loopback redirect URIs.
native_secrets = true
"#;

/// With a ledger, the gate is in front of the token and the revocation endpoint, too; and it reads `Authorization: Basic`
/// and assertions.
#[tokio::test]
async fn clients_that_authenticate_sign_in_refresh_and_revoke_at_the_gate() {
    let Some(bench) = Bench::find() else { return };
    let server = Server::oidc_provider(bench, Vec::new());
    let folder = Folder::new("confidential");
    folder.write("policy.toml", CONFIDENTIAL);
    let standing = server.gated(bench, &folder);
    let clients: Vec<&Client> = CONFIDENTIAL_CLIENTS.iter().chain(&OPENID_CLIENTS[..1]).collect();
    for (client, outcome) in bench.sign_in_all(&clients, &standing.base, "-").await {
        let signed_in = outcome.unwrap_or_else(|printed| panic!("{}: {printed}", client.name));
        assert!(signed_in.refreshed && signed_in.revoked, "{signed_in:?}");
    }
}
