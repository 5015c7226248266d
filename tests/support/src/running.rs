//! Servers, started as a user starts them.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use reqwest::{Client, redirect};

/// A running server; stops when it is dropped.
pub struct Running {
    pub child: Child,
    pub base: String,
    pub client: Client,
}

impl Running {
    /// Starts a server, and waits until it says where it listens.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let base = lines.find_map(|line| line.unwrap().strip_prefix("listening on ").map(str::to_owned)).unwrap();
        // An unread pipe would block the server once it is full.
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

pub const ANY_PORT: &str = "127.0.0.1:0";
