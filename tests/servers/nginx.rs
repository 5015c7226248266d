//! The guide's configuration of nginx, in a real nginx.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use serde_json::json;
use test_support::support::eventually;

use crate::databases::TempDir;
use crate::running::{ANY_PORT, Running};
use crate::there::is_there;

struct Nginx {
    process: Child,
    base: String,
    _dir: TempDir,
}

impl Nginx {
    /// Starts it with the `server` of the guide, on free ports; `None` if there is none on this machine.
    async fn start(upstream: &str) -> Option<Self> {
        let guide = include_str!("../../docs/guides/nginx.md");
        let server = guide.split("```nginx\n").nth(1).unwrap().split("```").next().unwrap();
        let port = TcpListener::bind(ANY_PORT).unwrap().local_addr().unwrap().port();
        let server = server.replace("listen 8443", &format!("listen 127.0.0.1:{port}"));
        let server = server.replace("http://127.0.0.1:3000", upstream);
        let dir = TempDir::new("nginx");
        let at = dir.path().display();
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let paths = paths.map(|kind| format!("{kind}_temp_path {at}/{kind};\n")).concat();
        let config = format!(
            "daemon off; pid {at}/pid; error_log {at}/error.log; worker_processes 1;\n\
             events {{}}\nhttp {{ access_log off;\n{paths}{server} }}\n"
        );
        std::fs::write(dir.path().join("nginx.conf"), config).unwrap();
        let mut command = Command::new("nginx");
        // Debian has it where only the administrator looks.
        command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
        command.arg("-e").arg(dir.path().join("error.log")).arg("-c").arg(dir.path().join("nginx.conf"));
        let process = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn();
        if !is_there("nginx", process.is_ok()) {
            return None;
        }
        let nginx = Self { process: process.ok()?, base: format!("http://127.0.0.1:{port}"), _dir: dir };
        eventually("nginx answers", async || reqwest::get(&nginx.base).await.is_ok()).await;
        Some(nginx)
    }

    /// Registers from an address of this machine, with a header that lies.
    async fn register(&self, from: &str, name: &str) -> u16 {
        let client =
            reqwest::Client::builder().local_address(from.parse::<std::net::IpAddr>().unwrap()).build().unwrap();
        let body = json!({ "client_name": name, "redirect_uris": ["https://app.example.com/cb"] });
        let request =
            client.post(format!("{}/register", self.base)).header("x-forwarded-for", "198.51.100.7").json(&body);
        request.send().await.unwrap().status().as_u16()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It has a worker to take with it.
        let _gone = Command::new("kill").arg(self.process.id().to_string()).status();
        let _reaped = self.process.wait();
    }
}

#[tokio::test]
async fn behind_nginx_each_client_has_its_own_budget() {
    let server = Running::start("demo", &["--addr", ANY_PORT, "--quota", "2", "--trusted-proxy", "127.0.0.1"]);
    let Some(nginx) = Nginx::start(&server.base).await else { return };
    let statuses = [
        nginx.register("127.0.0.2", "a").await,
        nginx.register("127.0.0.2", "b").await,
        nginx.register("127.0.0.2", "c").await,
        nginx.register("127.0.0.3", "d").await,
    ];
    assert_eq!(statuses, [201, 201, 429, 201], "whatever the client writes");
    // Without trust, all of them are nginx.
    let server = Running::start("demo", &["--addr", ANY_PORT, "--quota", "2"]);
    let Some(nginx) = Nginx::start(&server.base).await else { return };
    let statuses = [
        nginx.register("127.0.0.2", "a").await,
        nginx.register("127.0.0.3", "b").await,
        nginx.register("127.0.0.4", "c").await,
    ];
    assert_eq!(statuses, [201, 201, 429]);
}
