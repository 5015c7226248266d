//! Examples, started as a user would start them.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use reqwest::{Client, redirect};

/// A running example; stops when it is dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) base: String,
    pub(crate) client: Client,
}

impl Running {
    /// Starts an example that `cargo test` has built, and waits until it listens.
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Self {
        Self::spawn(Command::new(binary(name)).args(arguments))
    }

    /// Starts a server, and waits until it says where it listens.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let base = lines.find_map(|line| line.unwrap().strip_prefix("listening on ").map(str::to_owned)).unwrap();
        // Whoever stops reading would stop the example from printing.
        std::thread::spawn(move || lines.for_each(drop));
        let client = Client::builder().redirect(redirect::Policy::none()).build().unwrap();
        Self { child, base, client }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

pub(crate) fn binary(name: &str) -> PathBuf {
    // target/debug/deps/suite-… to target/debug/examples/NAME
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("examples").join(name)
}

pub(crate) const ANY_PORT: &str = "127.0.0.1:0";
