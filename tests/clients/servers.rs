//! Third-party servers: the attacks that they register alone, and behind the layers.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::bench::{Bench, Client, MCP_CLIENTS, OAUTH_CLIENTS, OPENID_CLIENTS, Outcome, rust_version};
use crate::folder::Folder;
use crate::readme;
use crate::rows::{Row, attacks, clients};
use crate::running::Running;

/// One of the servers.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    version: String,
    how: How,
    /// The path of its registration endpoint.
    pub(crate) path: &'static str,
    /// The clients that can sign in there, and `true` if it has an MCP endpoint.
    clients: Vec<&'static Client>,
    mcp: bool,
}

#[derive(Clone, Copy)]
enum How {
    /// The layers are in the server's own program.
    InProcess,
    /// The server is in another language, behind `dcr proxy`.
    Proxy(fn(&Bench) -> Command),
}

/// A server alone or behind the layers.
pub(crate) struct Standing {
    pub(crate) base: String,
    /// The started programs.
    running: Vec<Running>,
}

impl Standing {
    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.running[0].client
    }
}

impl Server {
    pub(crate) fn all(bench: &Bench) -> [Self; 6] {
        let mcp: Vec<&Client> = MCP_CLIENTS.iter().chain(&OAUTH_CLIENTS[..2]).collect();
        // Most of these servers grant registered scopes only, and `openidconnect` has no way to register one.
        let oauth: Vec<&Client> = OAUTH_CLIENTS[..2].iter().collect();
        let openid: Vec<&Client> = OPENID_CLIENTS.iter().collect();
        let in_process = |name, clients| Self {
            name,
            version: rust_version(name),
            how: How::InProcess,
            path: "/register",
            clients,
            mcp: false,
        };
        [
            // It asks for a passkey.
            in_process("mcp-oauth", Vec::new()),
            in_process("oauth-as", oauth),
            in_process("oauth2-test-server", openid[..1].to_vec()),
            Self::oidc_provider(bench, openid),
            Self {
                name: "MCP Python SDK's auth routes",
                version: bench.python_version("python", "mcp"),
                how: How::Proxy(|bench| bench.python("auth_routes.py")),
                path: "/register",
                clients: mcp.clone(),
                mcp: true,
            },
            Self {
                name: "MCP TypeScript SDK's `mcpAuthRouter`",
                version: bench.node_version("@modelcontextprotocol/sdk"),
                how: How::Proxy(|bench| bench.node("auth-router.mjs")),
                path: "/register",
                clients: mcp,
                mcp: true,
            },
        ]
    }

    pub(crate) fn oidc_provider(bench: &Bench, clients: Vec<&'static Client>) -> Self {
        Self {
            name: "oidc-provider",
            version: bench.node_version("oidc-provider"),
            how: How::Proxy(|bench| bench.node("oidc-provider.mjs")),
            path: "/reg",
            clients,
            mcp: false,
        }
    }

    pub(crate) fn alone(&self, bench: &Bench) -> Standing {
        let running = match self.how {
            How::InProcess => Running::spawn(bench.rust("server").arg(self.name)),
            How::Proxy(command) => Running::spawn(&mut command(bench)),
        };
        Standing { base: running.base.clone(), running: vec![running] }
    }

    pub(crate) fn behind(&self, bench: &Bench) -> Standing {
        match self.how {
            How::InProcess => {
                let running = Running::spawn(bench.rust("server").args([self.name, "--guarded"]));
                Standing { base: running.base.clone(), running: vec![running] }
            }
            How::Proxy(command) => {
                let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/unlimited.toml");
                proxied(command(bench), Path::new(policy), &[])
            }
        }
    }

    /// Behind the proxy with the ledger and the policy in `folder`, and so behind the gate.
    pub(crate) fn gated(&self, bench: &Bench, folder: &Folder) -> Standing {
        let command = match self.how {
            How::Proxy(command) => command(bench),
            How::InProcess => {
                let mut command = bench.rust("server");
                command.arg(self.name);
                command
            }
        };
        let ledger = format!("sqlite:{}", folder.0.join("clients.db").display());
        proxied(command, &folder.0.join("policy.toml"), &["--ledger", &ledger])
    }

    /// Returns the name of the server with its version.
    pub(crate) fn title(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    /// Returns the number of `rows` that get a client.
    async fn registered(&self, standing: &Standing, rows: &[Row]) -> Vec<String> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http = Http::builder(TokioExecutor::new()).build(connector);
        let mut registered = Vec::new();
        for row in rows {
            let Some(request) = row.request() else { continue };
            let (mut parts, body) = request.into_parts();
            let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
            let Ok(uri) = format!("{}{}{query}", standing.base, self.path).parse() else { continue };
            parts.uri = uri;
            if registers(&http, Request::from_parts(parts, body)).await {
                registered.push(row.id.clone());
            }
        }
        registered
    }

    /// Returns the number of sign-ins, and the output of the failures.
    async fn sign_ins(&self, bench: &'static Bench, standing: &Standing) -> (usize, Vec<String>) {
        let mcp = if self.mcp { format!("{}/mcp", standing.base) } else { "-".to_owned() };
        let outcomes = bench.sign_in_all(&self.clients, &standing.base, &mcp).await;
        let failed = |(client, outcome): (&Client, Outcome)| {
            outcome.err().map(|printed| format!("{} {}: {printed}", client.name, bench.version(client)))
        };
        let others: Vec<String> = outcomes.into_iter().filter_map(failed).collect();
        (self.clients.len() - others.len(), others)
    }
}

fn proxied(mut command: Command, policy: &Path, more: &[&str]) -> Standing {
    // The server is told how clients call it, and that is the proxy, which asks it first.
    let port = free_port();
    let base = format!("http://127.0.0.1:{port}");
    let server = Running::spawn(command.arg(&base));
    let proxy = proxy(&server.base, port, policy, more);
    Standing { base, running: vec![proxy, server] }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts the proxy in front of a server.
pub(crate) fn proxy(upstream: &str, port: u16, policy: &Path, more: &[&str]) -> Running {
    let (listen, base) = (format!("127.0.0.1:{port}"), format!("http://127.0.0.1:{port}"));
    let policy = policy.display().to_string();
    let arguments = ["proxy", "--upstream", upstream, "--listen", &listen, "--public-url", &base, "--policy", &policy];
    Running::start("dcr", &[&arguments, more].concat())
}

async fn registers(http: &Http<HttpConnector, Full<Bytes>>, request: Request<Full<Bytes>>) -> bool {
    // A server may close a connection just when it is used again. A request that can't be sent three times registers nobody.
    for _attempt in 0..3 {
        let Ok(response) = http.request(request.clone()).await else { continue };
        let success = response.status().is_success();
        let Ok(body) = response.into_body().collect().await else { continue };
        let body: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
        return success && body["client_id"].is_string();
    }
    false
}

/// Rows with this label, without settings of their own.
fn labelled(rows: Vec<Row>, verdict: &str) -> Vec<Row> {
    let plain = |row: &Row| row.row["config"].is_null() && row.row["needs"].is_null() && row.row["profile"].is_null();
    rows.into_iter().filter(|row| row.registers() && plain(row) && row.text("mcp") == Some(verdict)).collect()
}

#[tokio::test]
async fn published_servers_register_no_attack_behind_the_layers() {
    let Some(bench) = Bench::find() else { return };
    let (attacks, honest) = (labelled(attacks(), "refuse"), labelled(clients(), "register"));
    let (all, most) = (attacks.len(), honest.len());
    let mut table = vec![
        format!(
            "| server | attacks registered, of {all} | honest clients registered, of {most} | clients that sign in |"
        ),
        "| --- | --- | --- | --- |".to_owned(),
    ];
    for server in Server::all(bench) {
        let (alone, behind) = (server.alone(bench), server.behind(bench));
        let accepted = server.registered(&alone, &attacks).await.len();
        let left = server.registered(&behind, &attacks).await;
        assert!(left.is_empty(), "{} registers {left:?}", server.name);
        let before = server.registered(&alone, &honest).await;
        let after = server.registered(&behind, &honest).await;
        let lost: Vec<&String> = before.iter().filter(|id| !after.contains(id)).collect();
        assert!(lost.is_empty(), "{} does not register {lost:?} any more", server.name);
        let (admitted_alone, _) = server.sign_ins(bench, &alone).await;
        let (admitted, others) = server.sign_ins(bench, &behind).await;
        assert!(others.is_empty(), "{}: {others:#?}", server.name);
        let sign_ins = match server.clients.len() {
            0 => "(by passkey only)".to_owned(),
            all => format!("{admitted_alone} → {admitted} of {all}"),
        };
        let how = if matches!(server.how, How::InProcess) { "" } else { " (proxy)" };
        table.push(format!(
            "| {} {}{how} | {accepted} → {} | {} → {} | {sign_ins} |",
            server.name,
            server.version,
            left.len(),
            before.len(),
            after.len(),
        ));
    }
    readme::check("servers", &table.join("\n"));
}
