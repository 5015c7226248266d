//! Released clients, from discovery to a call, through the guard of `examples/axum`.

use crate::bench::{Bench, Client, MCP_CLIENTS, OAUTH_CLIENTS, Outcome};
use crate::readme;
use crate::running::{ANY_PORT, Running};

/// `mcp-remote` registers `localhost`, which the strict preset does not admit: RFC 8252 section 8.3 has loopback addresses.
const NOT_STRICT: [&str; 1] = ["mcp-remote"];

fn clients() -> impl Iterator<Item = &'static Client> {
    MCP_CLIENTS.iter().chain(&OAUTH_CLIENTS)
}

/// Those that do not sign in under a preset, and why.
async fn refused(bench: &'static Bench, preset: &str) -> Vec<(&'static str, String)> {
    let server = Running::start("axum", &["--addr", ANY_PORT, "--auto-approve", "--preset", preset]);
    let (issuer, mcp) = (&server.base, format!("{}/mcp", server.base));
    let clients: Vec<_> = clients().collect();
    let outcomes = bench.sign_in_all(&clients, issuer, &mcp).await;
    let refused = |(client, outcome): (&Client, Outcome)| match outcome {
        Ok(said) => {
            assert_eq!(said, "hello", "{}", client.name);
            None
        }
        Err(printed) => Some((client.name, printed)),
    };
    outcomes.into_iter().filter_map(refused).collect()
}

#[tokio::test]
async fn released_clients_sign_in_through_each_preset() {
    let Some(bench) = Bench::find() else { return };
    for preset in ["mcp", "oauth"] {
        let refused = refused(bench, preset).await;
        assert!(refused.is_empty(), "{preset}: {refused:#?}");
    }
    let refused = refused(bench, "strict").await;
    assert_eq!(refused.iter().map(|(name, _)| *name).collect::<Vec<_>>(), NOT_STRICT, "{refused:#?}");
    assert!(refused[0].1.contains("redirect_uris[0]"), "{refused:#?}");

    let mut names: Vec<String> = clients().map(|client| format!("{} {}", client.name, bench.version(client))).collect();
    names.sort();
    readme::check("clients", &names.join(", "));
}
