//! Servers that answer any request with what their framework reads of it, as JSON.

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::installed::Installed;
use crate::running::Running;
use crate::there::is_there;

/// One of them; stops when it is dropped.
pub(crate) struct Parser {
    pub(crate) name: &'static str,
    pub(crate) running: Running,
}

impl Parser {
    /// Starts all; none if one of them is not installed.
    pub(crate) async fn all() -> Vec<Self> {
        let (php, rack) = (runs("php", &["-v"]), runs("ruby", &["-e", "require 'rack'; require 'webrick'"]));
        if !is_there("php (php-cli)", php) || !is_there("ruby with ruby-rack and ruby-webrick", rack) {
            return Vec::new();
        }
        let Some(installed) = Installed::find() else { return Vec::new() };
        let spawn = |name, command: &mut Command| Self { name, running: Running::spawn(command) };
        vec![
            Self { name: "PHP", running: php_server().await },
            spawn("Rack", Command::new("ruby").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/servers/parser.rb"))),
            spawn("aiohttp", &mut installed.python("python", "parser_aiohttp.py")),
            spawn("Starlette", &mut installed.python("python", "parser_starlette.py")),
            spawn("Express", &mut installed.node("parser-express.mjs")),
        ]
    }
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// PHP's server prints its address to a log only, and can't choose a port.
async fn php_server() -> Running {
    let address: SocketAddr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/servers/parser.php");
    let mut command = Command::new("php");
    command.args(["-n", "-d", "display_errors=0", "-S", &address.to_string(), script]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let running = Running { child, base: format!("http://{address}"), client: reqwest::Client::new() };
    let listening = async {
        while running.client.get(&running.base).send().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), listening).await.unwrap();
    running
}
