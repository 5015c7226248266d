//! Released clients, from discovery to a call, through the layers of the demo.

use crate::bench::{
    Bench, CONFIDENTIAL_CLIENTS, Client, MCP_CLIENTS, OAUTH_CLIENTS, OPENID_CLIENTS, Outcome, TWO_RESOURCES,
};
use crate::folder::Folder;
use crate::readme;
use crate::running::{ANY_PORT, Running};
use crate::servers::Server;

/// `mcp-remote` registers `localhost`, which the strict preset does not admit: RFC 8252 section 8.3 has loopback addresses.
const NOT_STRICT: [&str; 1] = ["mcp-remote"];

fn clients() -> impl Iterator<Item = &'static Client> {
    MCP_CLIENTS.iter().chain(&OAUTH_CLIENTS)
}

/// Those that do not sign in under a preset, and why.
async fn rejected(bench: &'static Bench, preset: &str) -> Vec<(&'static str, String)> {
    let server = Running::start("demo", &["--addr", ANY_PORT, "--auto-approve", "--preset", preset]);
    let (issuer, mcp) = (&server.base, format!("{}/mcp", server.base));
    let clients: Vec<_> = clients().chain([&TWO_RESOURCES]).collect();
    let outcomes = bench.sign_in_all(&clients, issuer, &mcp).await;
    let rejected = |(client, outcome): (&Client, Outcome)| match outcome {
        Ok(signed_in) => {
            assert_eq!(signed_in.said, "hello", "{}", client.name);
            assert!(signed_in.refreshed, "{} does not refresh", client.name);
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
    for preset in ["mcp", "oauth"] {
        let rejected = rejected(bench, preset).await;
        assert!(rejected.is_empty(), "{preset}: {rejected:#?}");
    }
    let rejected = rejected(bench, "strict").await;
    assert_eq!(rejected.iter().map(|(name, _)| *name).collect::<Vec<_>>(), NOT_STRICT, "{rejected:#?}");
    assert!(rejected[0].1.contains("redirect_uris[0]"), "{rejected:#?}");

    let mut names: Vec<String> = clients().map(|client| format!("{} {}", client.name, bench.version(client))).collect();
    names.sort();
    readme::check("clients", &names.join(", "));
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
