//! `dcr`: inspects registrations, policies, audit files and ledgers, and runs a proxy.
//!
//! Results go to the standard output, as text or (`--json`) as JSON, and everything else to the standard error. Colour
//! and progress are for terminals only.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

mod audit;
mod broken;
mod check;
mod cimd;
mod clients;
mod compat;
mod document;
mod explain;
mod input;
mod ledger;
mod lint;
mod output;
mod policy;
mod proxy;
mod replay;
mod stats;

/// Inspects registrations, policies, audit files and ledgers of tower-dcr, and runs a proxy.
#[derive(Debug, Parser)]
#[command(
    name = "dcr",
    version,
    propagate_version = true,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = STATUSES
)]
struct Cli {
    /// Prints results as JSON on the standard output, and errors as JSON on the standard error.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Evaluates a registration under a policy: accepted, rewritten, held for approval or rejected, and why.
    ///
    /// The policy's limits on the body apply as in a server. Exit status: 0 accepted unchanged, 3 accepted with changes or
    /// held for approval, 4 rejected; 1 for an unreadable file. Report-only rules (`report_only`, `report_only_rules`) count as enforced, and
    /// are marked: "would reject".
    Check(check::Check),
    /// Evaluates client metadata documents, and checks their URLs and addresses.
    Cimd {
        #[command(subcommand)]
        command: cimd::Cimd,
    },
    /// Explains a rule: its purpose, an attack, how to loosen it, and the risk of that. Without a rule, lists all rules.
    Explain {
        /// The name of the rule, as in audit events and error descriptions; or a setting of policy files, such as
        /// gate.unknown.
        rule: Option<String>,
    },
    /// Reports errors and likely mistakes in a policy file.
    ///
    /// Exit status: 0 without findings, 3 for warnings, 4 for errors; 1 for an unreadable file.
    Lint {
        /// The policy file.
        file: PathBuf,
    },
    /// Prints the whole effective policy. Settings of `[lifecycle]` and `[gate]` that it leaves out have their defaults.
    Show(PolicyArg),
    /// Finds past registrations that another policy would decide differently.
    ///
    /// Exit status: 0 without differences, 3 if some registrations would be accepted or rewritten differently, 4 if some that
    /// were accepted would be rejected, 5 if there was nothing to evaluate, or if some lines are unreadable and the others
    /// give neither 3 nor 4; 1 for an unreadable input. Unreadable lines are counted, and the first is named. Report-only
    /// rules (`report_only`, `report_only_rules`) count as enforced, and are marked: "would reject".
    Replay(replay::Replay),
    /// Lists, approves, extends, revokes and removes the clients of a ledger.
    Clients {
        #[command(subcommand)]
        command: clients::Clients,
    },
    /// Verifies and summarizes audit files.
    Audit {
        #[command(subcommand)]
        command: audit::Audit,
    },
    /// Prints the JSON Schema of policy files, for editors.
    Schema,
    /// Protects an OAuth server in any language, as a reverse proxy in front of it.
    Proxy(Box<proxy::Args>),
    /// Prints completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Writes the manual pages into a folder, or this page to the standard output.
    Man {
        /// The folder.
        folder: Option<PathBuf>,
    },
}

/// The policy to use.
#[derive(Args, Clone, Debug)]
struct PolicyArg {
    /// A policy file, or the name of a preset: mcp, strict.
    #[arg(long, short, env = "DCR_POLICY", default_value = "mcp", value_name = "FILE")]
    policy: String,
}

/// Success.
const OK: u8 = 0;
/// A mistake on the command line: clap's code.
const USAGE: u8 = 2;
/// Something differs, and nothing is rejected by it.
const DIFFERS: u8 = 3;
/// Something is rejected, or invalid.
const REJECTED: u8 = 4;
/// There was nothing to evaluate, or not all of it could be read.
const NOTHING: u8 = 5;

const STATUSES: &str = "Exit status: 0 success; 1 an error; 2 a mistake on the command line; 3 a difference or a warning; 4 a \
    rejection, or an error in the input; 5 nothing to evaluate, or not all of it readable. A closed pipe does not change it.";

type Outcome = Result<u8, Box<dyn Error>>;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            if !error.use_stderr() || !std::env::args_os().any(|argument| argument == "--json") {
                error.exit();
            }
            output::complain(&error, true);
            return ExitCode::from(USAGE);
        }
    };
    match cli.command.run(cli.json) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            output::complain(&*error, cli.json);
            ExitCode::FAILURE
        }
    }
}

impl Command {
    fn run(self, json: bool) -> Outcome {
        match self {
            Self::Check(check) => check.run(json),
            Self::Cimd { command } => command.run(json),
            Self::Explain { rule } => explain::run(rule.as_deref(), json),
            Self::Lint { file } => lint::run(&file, json),
            Self::Show(PolicyArg { policy }) => policy::show(&policy, json),
            Self::Replay(replay) => replay.run(json),
            Self::Clients { command } => command.run(json),
            Self::Audit { command } => command.run(json),
            Self::Schema => policy::schema(),
            Self::Proxy(args) => args.run(),
            Self::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "dcr", &mut script);
                output::raw(&script)?;
                Ok(OK)
            }
            Self::Man { folder: Some(folder) } => {
                if folder.exists() && !folder.is_dir() {
                    return Err(format!("{} is not a folder", folder.display()).into());
                }
                std::fs::create_dir_all(&folder).map_err(|error| input::named(&folder, &error))?;
                clap_mangen::generate_to(Cli::command(), folder)?;
                Ok(OK)
            }
            Self::Man { folder: None } => {
                let mut page = Vec::new();
                clap_mangen::Man::new(Cli::command()).render(&mut page)?;
                output::raw(&page)?;
                Ok(OK)
            }
        }
    }
}
