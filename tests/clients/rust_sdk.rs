//! The guide for the Rust MCP SDK.

use serde_json::json;

use crate::bench::{Bench, Client, MCP_CLIENTS};
use crate::running::Running;

#[tokio::test]
async fn the_code_of_the_guide_accepts_clients_and_rejects_attacks() {
    let Some(bench) = Bench::find() else { return };
    let clients: Vec<&Client> = MCP_CLIENTS.iter().collect();
    let evil = json!({ "redirect_uris": ["javascript:alert(1)"] });
    for arguments in [&[][..], &["--guarded"]] {
        let server = Running::spawn(bench.rust("rmcp_server").args(arguments));
        let answer = server.client.post(format!("{}/oauth/register", server.base)).json(&evil).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), if arguments.is_empty() { 201 } else { 400 });
        let outcomes = bench.sign_in_all(&clients, &server.base, &format!("{}/mcp", server.base)).await;
        for (client, outcome) in &outcomes {
            let said = outcome.as_ref().map(|signed_in| signed_in.said.as_str());
            assert_eq!(said, Ok("hello"), "{} {arguments:?}", client.name);
        }
    }
}
