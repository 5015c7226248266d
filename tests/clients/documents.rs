//! Released clients whose `client_id` is the URL of a metadata document, from discovery to a call.

use std::process::Command;

use serde_json::{Value, json};

use crate::bench::{Bench, Client, MCP_CLIENTS, Outcome};
use crate::document_host::DocumentHost;
use crate::folder::Folder;
use crate::programs::binary;
use crate::readme;
use crate::running::Running;
use crate::servers::free_port;
use crate::sign_in::{NOT_STRICT, all_rules};

const HOST: &str = "clients.example.com";

/// The clients, the host of their documents, and a demo that fetches them there.
pub(crate) struct World {
    bench: &'static Bench,
    folder: Folder,
    pub(crate) host: DocumentHost,
    address: String,
}

impl World {
    pub(crate) async fn new(bench: &'static Bench, name: &str) -> Self {
        let (folder, host) = (Folder::new(name), DocumentHost::start(HOST).await);
        folder.write("ca.pem", &host.ca_pem);
        Self { bench, folder, host, address: format!("127.0.0.1:{}", free_port()) }
    }

    fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    fn file(&self, name: &str) -> String {
        self.folder.0.join(name).display().to_string()
    }

    /// Starts the demo with this policy.
    pub(crate) fn serve(&self, policy: &str) -> Running {
        self.folder.write("policy.toml", policy);
        let [policy, ledger, audit, ca] =
            ["policy.toml", "clients.db", "audit.jsonl", "ca.pem"].map(|name| self.file(name));
        let (ledger, map) = (format!("sqlite:{ledger}"), self.host.map());
        let own = ["--addr", &self.address, "--auto-approve", "--policy", &policy, "--ledger", &ledger];
        let documents = ["--audit", &audit, "--cimd-map", &map, "--cimd-ca", &ca];
        Running::start("demo", &[&own[..], &documents].concat())
    }

    /// Publishes the document of a client, as its authors would.
    fn publish(&self, client: &Client, callback: &str) -> String {
        let document = json!({
            "client_name": format!("{} {}", client.name, self.bench.version(client)),
            "redirect_uris": [callback],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "application_type": "native",
        });
        self.host.publish(&path(client, self.bench), &document)
    }

    /// Has every client sign in with its own document.
    async fn sign_in(&self) -> Vec<(&'static Client, Outcome)> {
        self.sign_in_at(callback).await
    }

    /// Does the same with these redirect URIs in the documents.
    async fn sign_in_at(&self, callback: fn(&Client) -> &'static str) -> Vec<(&'static Client, Outcome)> {
        let document = |client| Some(self.publish(client, callback(client)));
        let clients = MCP_CLIENTS.iter().map(|client| (client, document(client))).collect();
        self.bench.sign_in_each(clients, &self.base(), &format!("{}/mcp", self.base())).await
    }

    /// Returns the `client_id`s in the ledger, of which all have this origin and a token.
    fn recorded(&self, origin: &str) -> Vec<String> {
        let ledger = format!("sqlite:{}", self.file("clients.db"));
        let listed = Command::new(binary("dcr")).args(["--json", "clients", "list", &ledger]).output().unwrap();
        let listed: Vec<Value> = serde_json::from_slice(&listed.stdout).unwrap();
        assert!(listed.iter().all(|client| client["origin"] == origin && client["proven_at"].is_u64()), "{listed:#?}");
        let mut ids: Vec<String> =
            listed.iter().map(|client| client["client_id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    }

    /// Returns the audit events.
    fn events(&self) -> Vec<Value> {
        let lines = std::fs::read_to_string(self.file("audit.jsonl")).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Returns `client_id_metadata_document_supported` of the server's metadata.
    async fn announced(&self, server: &Running) -> Value {
        let metadata = server.client.get(format!("{}/.well-known/oauth-authorization-server", self.base()));
        let metadata: Value = metadata.send().await.unwrap().json().await.unwrap();
        metadata["client_id_metadata_document_supported"].clone()
    }
}

/// Each client has a document of its own.
fn path(client: &Client, bench: &Bench) -> String {
    format!("/{}-{}.json", client.name.to_lowercase().replace(' ', "-"), bench.version(client))
}

/// Returns the redirect URI in the document of a client. Its port is any (RFC 8252 section 7.3), and one that the client does not
/// always use.
fn callback(client: &Client) -> &'static str {
    match client.name {
        "mcp-remote" => "http://localhost/oauth/callback",
        "MCP Inspector" => "http://127.0.0.1:6276/oauth/callback",
        _ => "http://127.0.0.1/callback",
    }
}

/// Returns a policy in which the documents are listed. Those that are not have a budget by address, and here all come from one.
pub(crate) fn listed(policy: &str) -> String {
    format!("documents.allow = ['https://{HOST}/*']\n{policy}")
}

/// A server that knows OAuth only.
pub(crate) const OAUTH: &str = "extends = 'oauth'\n\
    metadata.grants.grant_types = ['authorization_code', 'refresh_token']\n\
    metadata.token_endpoint_auth_method.one_of = ['none']";

#[tokio::test]
async fn released_clients_sign_in_with_a_metadata_document() {
    let Some(bench) = Bench::find() else { return };
    for preset in ["mcp", "oauth", "strict", "every rule of the gate"] {
        let world = World::new(bench, "documents").await;
        let server = world.serve(&listed(&match preset {
            "mcp" => "extends = 'mcp'".to_owned(),
            "strict" => "extends = 'strict'".to_owned(),
            "oauth" => OAUTH.to_owned(),
            _ => all_rules(&world.base(), &[&format!("{}/mcp", world.base())]),
        }));
        assert_eq!(world.announced(&server).await, json!(true), "{preset}");
        let mut signed_in = Vec::new();
        for (client, outcome) in world.sign_in().await {
            let name = format!("{} {} under {preset}", client.name, bench.version(client));
            // One fetch, for all of its requests.
            assert_eq!(world.host.requests(&path(client, bench)), 1, "{name}");
            if preset == "strict" && NOT_STRICT.contains(&client.name) {
                assert!(outcome.is_err(), "{name}: {outcome:?}");
                continue;
            }
            let outcome = outcome.unwrap_or_else(|printed| panic!("{name}: {printed}"));
            assert!(outcome.said == "hello" && outcome.refreshed, "{name}: {outcome:?}");
            signed_in.push(world.host.url(&path(client, bench)));
        }
        signed_in.sort();
        // None of them registers.
        assert_eq!(world.recorded("document"), signed_in, "{preset}");
        let recorded = |event: &&Value| event["action"] == "document_recorded";
        let events = world.events();
        assert_eq!(events.iter().filter(recorded).count(), signed_in.len(), "{preset}: {events:#?}");
        assert!(events.iter().all(|event| event["operation"].is_null()), "{preset}: {events:#?}");
    }
    let mut names: Vec<String> =
        MCP_CLIENTS.iter().map(|client| format!("{} {}", client.name, bench.version(client))).collect();
    names.sort();
    readme::check("documents", &names.join(", "));
}

/// The same programs, told the same URLs.
#[tokio::test]
async fn released_clients_register_where_documents_are_off() {
    let Some(bench) = Bench::find() else { return };
    let world = World::new(bench, "documents-off").await;
    let server = world.serve("extends = 'mcp'\ndocuments.admission = 'off'");
    assert_eq!(world.announced(&server).await, Value::Null);
    for (client, outcome) in world.sign_in().await {
        let outcome = outcome.unwrap_or_else(|printed| panic!("{}: {printed}", client.name));
        assert_eq!(outcome.said, "hello", "{}", client.name);
    }
    let registered = world.recorded("registered");
    assert_eq!(registered.len(), MCP_CLIENTS.len());
    assert!(registered.iter().all(|client_id| !client_id.contains(HOST)), "{registered:?}");
    assert_eq!(world.host.connections(), 0);
}

/// The document is the one of another program, as far as the redirect URI says. No client registers instead.
#[tokio::test]
async fn released_clients_end_if_their_document_is_rejected() {
    let Some(bench) = Bench::find() else { return };
    let world = World::new(bench, "documents-rejected").await;
    let _server = world.serve(&listed("extends = 'mcp'"));
    for (client, outcome) in world.sign_in_at(|_| "https://clients.example.com/callback").await {
        let printed = outcome.expect_err(client.name);
        // FastMCP has words of its own for the status.
        let says_why = printed.contains("400") || printed.contains("OAuth client not found");
        assert!(says_why, "{}: {printed}", client.name);
    }
    let events = world.events();
    // All others are in the sum of the first one's minute.
    assert!(events.iter().all(|event| event["rule"] == "gate-redirect-uri"), "{events:#?}");
    assert_eq!(world.recorded("document"), [""; 0]);
}
