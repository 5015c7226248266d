//! `dcr`: looks at registrations, policies, audit files and ledgers.
//!
//! Quiet: results go to the standard output, as text or (`--json`) as JSON, and everything else to the standard error. Colour
//! and progress are for terminals only.

#[path = "dcr/commands.rs"]
mod commands;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::run()
}
