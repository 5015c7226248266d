//! Installed clients and servers, and their commands.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

use test_support::ROOT;

use crate::installed::Installed;

/// Everything that is installed.
pub(crate) struct Bench {
    installed: &'static Installed,
    /// The target folder of `tests/clients/rust`.
    programs: PathBuf,
}

/// A client that signs in, with what it is called with.
pub(crate) struct Client {
    pub(crate) name: &'static str,
    /// The package whose version it is.
    package: &'static str,
    program: Program,
    arguments: &'static [&'static str],
}

#[derive(Clone, Copy)]
enum Program {
    Node(&'static str),
    /// With the interpreter that has the packages.
    Python(&'static str, &'static str),
    Rust(&'static str),
}

/// Every client there is, for MCP.
pub(crate) const MCP_CLIENTS: [Client; 8] = [
    client("rmcp", "rmcp", Program::Rust("rmcp"), &["MCP"]),
    client("MCP TypeScript SDK", "@modelcontextprotocol/client", Program::Node("ts-sdk.mjs"), &["2", "MCP"]),
    client("MCP TypeScript SDK", "@modelcontextprotocol/sdk", Program::Node("ts-sdk.mjs"), &["1", "MCP"]),
    client("mcp-remote", "mcp-remote", Program::Node("mcp-remote.mjs"), &["MCP"]),
    client("MCP Inspector", "@modelcontextprotocol/inspector", Program::Node("inspector.mjs"), &["MCP"]),
    client("MCP Python SDK", "mcp", Program::Python("python", "sdk.py"), &["MCP"]),
    client("MCP Python SDK", "mcp", Program::Python("python-1", "sdk.py"), &["MCP"]),
    client("FastMCP", "fastmcp", Program::Python("python", "fast.py"), &["MCP"]),
];

/// Libraries for OAuth that know nothing of MCP.
pub(crate) const OAUTH_CLIENTS: [Client; 3] = [
    client("oauth4webapi", "oauth4webapi", Program::Node("oauth4webapi.mjs"), &["ISSUER", "MCP"]),
    client("openid-client", "openid-client", Program::Node("openid-client.mjs"), &["oauth2", "ISSUER", "MCP"]),
    client("openidconnect", "openidconnect", Program::Rust("openidconnect"), &["oauth2", "ISSUER", "MCP"]),
];

/// The same, where a server's ID tokens are checked.
pub(crate) const OPENID_CLIENTS: [Client; 2] = [
    client("openid-client", "openid-client", Program::Node("openid-client.mjs"), &["oidc", "ISSUER", "MCP"]),
    client("openidconnect", "openidconnect", Program::Rust("openidconnect"), &["oidc", "ISSUER", "MCP"]),
];

/// Two resources at once (RFC 8707), and clients that authenticate.
pub(crate) const TWO_RESOURCES: Client = client(
    "oauth4webapi",
    "oauth4webapi",
    Program::Node("oauth4webapi.mjs"),
    &["ISSUER", "MCP", "https://a.example.com/mcp", "https://b.example.com/mcp"],
);
pub(crate) const CONFIDENTIAL_CLIENTS: [Client; 2] = [
    client(
        "openid-client",
        "openid-client",
        Program::Node("openid-client.mjs"),
        &["oidc", "ISSUER", "-", "client_secret_basic"],
    ),
    client(
        "openid-client",
        "openid-client",
        Program::Node("openid-client.mjs"),
        &["oidc", "ISSUER", "-", "private_key_jwt"],
    ),
];

/// A client that calls the second tool of the demo, which needs more scope than the client registered.
pub(crate) struct StepUp {
    pub(crate) client: Client,
    /// Follows its version.
    pub(crate) variant: &'static str,
}

/// The index is that of `MCP_CLIENTS`.
pub(crate) const STEP_UP_CLIENTS: [StepUp; 9] = [
    step_up(0, &["MCP", "step-up"], ""),
    step_up(1, &["2", "MCP", "{}", "step-up"], ""),
    step_up(2, &["1", "MCP", "{}", "step-up"], ""),
    step_up(2, &["1", "MCP", "{}", "step-up", "no-refresh"], ", without refresh tokens"),
    step_up(3, &["MCP", "step-up"], ""),
    step_up(4, &["MCP", "step-up"], ""),
    step_up(5, &["MCP", "step-up"], ""),
    step_up(6, &["MCP", "step-up"], ""),
    step_up(7, &["MCP", "step-up"], ""),
];

/// Those that their application can register before, without a scope.
pub(crate) const UNSCOPED_CLIENTS: [StepUp; 4] = [
    step_up(1, &["2", "MCP", "{}", "step-up", "unscoped"], ""),
    step_up(2, &["1", "MCP", "{}", "step-up", "no-refresh", "unscoped"], ", without refresh tokens"),
    step_up(5, &["MCP", "step-up", "unscoped"], ""),
    step_up(6, &["MCP", "step-up", "unscoped"], ""),
];

const fn step_up(index: usize, arguments: &'static [&'static str], variant: &'static str) -> StepUp {
    let Client { name, package, program, .. } = MCP_CLIENTS[index];
    StepUp { client: client(name, package, program, arguments), variant }
}

const fn client(
    name: &'static str,
    package: &'static str,
    program: Program,
    arguments: &'static [&'static str],
) -> Client {
    Client { name, package, program, arguments }
}

/// A successful sign-in: the server's answer, `true` if the refreshed token was valid, and `true` if the revoked one was not.
#[derive(Debug)]
pub(crate) struct SignedIn {
    pub(crate) said: String,
    pub(crate) refreshed: bool,
    pub(crate) revoked: bool,
}

/// The result of a client; its output, if it does not sign in.
pub(crate) type Outcome = Result<SignedIn, String>;

impl Bench {
    /// `None` if it is not installed, and that is all right.
    pub(crate) fn find() -> Option<&'static Self> {
        static BENCH: LazyLock<Option<Bench>> = LazyLock::new(Bench::open);
        BENCH.as_ref()
    }

    fn open() -> Option<Self> {
        let installed = Installed::find()?;
        let target = Path::new(ROOT).join("target/clients/rust");
        let manifest = Path::new(ROOT).join("Cargo.toml");
        let mut build = Command::new(env!("CARGO"));
        // Variables of cargo for this test would cause a full rebuild.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
                build.env_remove(name);
            }
        }
        let build =
            build.args(["build", "--quiet", "--locked", "-p", "test-clients-rust", "--manifest-path"]).arg(manifest);
        assert!(build.arg("--target-dir").arg(&target).status().unwrap().success());
        Some(Self { installed, programs: target.join("debug") })
    }

    fn command(&self, program: Program) -> Command {
        match program {
            Program::Node(script) => self.installed.node(script),
            Program::Python(python, script) => self.installed.python(python, script),
            Program::Rust(name) => Command::new(self.programs.join(name)),
        }
    }

    pub(crate) fn node(&self, script: &'static str) -> Command {
        self.command(Program::Node(script))
    }

    pub(crate) fn python(&self, script: &'static str) -> Command {
        self.command(Program::Python("python", script))
    }

    pub(crate) fn rust(&self, name: &'static str) -> Command {
        self.command(Program::Rust(name))
    }

    /// Has clients sign in and call a tool, all at once.
    pub(crate) async fn sign_in_all(
        &'static self,
        clients: &[&'static Client],
        issuer: &str,
        mcp: &str,
    ) -> Vec<(&'static Client, Outcome)> {
        let clients: Vec<_> = clients.iter().map(|client| (*client, None)).collect();
        self.sign_in_each(clients, issuer, mcp).await
    }

    /// Does the same with clients that are told the URL of their metadata document.
    pub(crate) async fn sign_in_each(
        &'static self,
        clients: Vec<(&'static Client, Option<String>)>,
        issuer: &str,
        mcp: &str,
    ) -> Vec<(&'static Client, Outcome)> {
        let _turn = self.turn().await;
        let sign_in = |(client, document): (&'static Client, Option<String>)| {
            let (issuer, mcp) = (issuer.to_owned(), mcp.to_owned());
            tokio::spawn(async move { (client, self.sign_in(client, &issuer, &mcp, document.as_deref()).await) })
        };
        let signing_in: Vec<_> = clients.into_iter().map(sign_in).collect();
        let mut outcomes = Vec::new();
        for client in signing_in {
            outcomes.push(client.await.unwrap());
        }
        outcomes
    }

    /// Waits until no other test runs clients: some of them listen on a port of their own choice, always the same.
    pub(crate) async fn turn(&self) -> MutexGuard<'static, ()> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
        ONE_AT_A_TIME.lock().await
    }

    async fn sign_in(&self, client: &Client, issuer: &str, mcp: &str, document: Option<&str>) -> Outcome {
        let last = self.run_with(client, issuer, mcp, document).await?;
        Ok(SignedIn {
            said: last["said"].as_str().unwrap().to_owned(),
            refreshed: last["refreshed"] == true,
            revoked: last["revoked"] == true,
        })
    }

    /// Returns what a client prints at its end; its output, if it does not sign in. A minute is more than any of them
    /// takes.
    pub(crate) async fn run(&self, client: &Client, issuer: &str, mcp: &str) -> Result<Value, String> {
        self.run_with(client, issuer, mcp, None).await
    }

    async fn run_with(
        &self,
        client: &Client,
        issuer: &str,
        mcp: &str,
        document: Option<&str>,
    ) -> Result<Value, String> {
        let mut command = tokio::process::Command::from(self.command(client.program));
        command.args(client.arguments.iter().map(|argument| match *argument {
            "ISSUER" => issuer,
            "MCP" => mcp,
            argument => argument,
        }));
        command.args(document);
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
        let Ok(output) = tokio::time::timeout(Duration::from_secs(60), output).await else {
            return Err("it did not come back".into());
        };
        let output = output.unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        let last = printed.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok()).unwrap_or_default();
        if output.status.success() && last["said"].is_string() {
            Ok(last)
        } else {
            Err(format!("{printed}{}", String::from_utf8_lossy(&output.stderr)))
        }
    }

    /// The version of a client, as it is installed.
    pub(crate) fn version(&self, client: &Client) -> String {
        match client.program {
            Program::Node(_) => self.node_version(client.package),
            Program::Python(python, _) => self.python_version(python, client.package),
            Program::Rust(_) => rust_version(client.package),
        }
    }

    pub(crate) fn node_version(&self, package: &str) -> String {
        let manifest = self.installed.dir.join("node_modules").join(package).join("package.json");
        let manifest: Value = serde_json::from_slice(&std::fs::read(manifest).unwrap()).unwrap();
        manifest["version"].as_str().unwrap().to_owned()
    }

    pub(crate) fn python_version(&self, python: &str, package: &str) -> String {
        let mut command = self.installed.interpreter(python);
        let command =
            command.args(["-c", "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"]);
        String::from_utf8(command.arg(package).output().unwrap().stdout).unwrap().trim_end().to_owned()
    }
}

/// The version of a crate that `tests/clients/rust` has.
pub(crate) fn rust_version(name: &str) -> String {
    let lock: toml::Table = include_str!("../../Cargo.lock").parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"].as_str() == Some(name));
    package.unwrap()["version"].as_str().unwrap().to_owned()
}
