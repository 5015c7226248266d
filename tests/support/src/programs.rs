//! Programs that are built already: examples by `cargo test`, those of other packages by `cargo build`.

use std::path::PathBuf;
use std::process::Command;

use crate::running::Running;

impl Running {
    /// Starts `demo` or `dcr`, or an example as `examples/NAME`, and waits until it listens.
    pub fn start(program: &str, arguments: &[&str]) -> Self {
        Self::spawn(Command::new(binary(program)).args(arguments))
    }
}

/// Returns the path of a program in the build directory.
pub fn binary(program: &str) -> PathBuf {
    // target/debug/deps/suite-… to target/debug/PROGRAM
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push(program);
    assert!(
        path.exists(),
        "{} is missing: run `cargo build -p demo -p tower-dcr-cli --examples --bins`",
        path.display()
    );
    path
}
