//! The commands, their options, and what their exit statuses mean.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

mod audit;
mod check;
mod clients;
mod compat;
mod document;
mod explain;
mod ledger;
mod lint;
mod output;
mod policy;
mod replay;
mod stats;

/// Looks at registrations, policies, audit files and ledgers of tower-dcr.
#[derive(Debug, Parser)]
#[command(name = "dcr", version, propagate_version = true, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    /// Prints JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Says what a policy makes of a registration, and why.
    ///
    /// Exit status: 0 accepted as it is, 3 accepted with less or other, 4 refused; 1 for what can't be read.
    Check(check::Check),
    /// Explains a rule: what it protects, an attack, how to loosen it and what that opens. Without a rule, lists them.
    Explain {
        /// The name of the rule, as in audit events and error descriptions.
        rule: Option<String>,
    },
    /// Finds what is wrong with a policy file, or probably not meant.
    ///
    /// Exit status: 0 if there is nothing, 3 for warnings, 4 for errors.
    Lint {
        /// The policy file.
        file: PathBuf,
    },
    /// Prints the whole effective policy.
    Show(PolicyArg),
    /// Says which registrations of the past would fare otherwise under another policy.
    ///
    /// Exit status: 0 if none would, 3 if some would be accepted or rewritten otherwise, 4 if some would be refused that were
    /// accepted.
    Replay(replay::Replay),
    /// Looks at the clients in a ledger, and ends or approves them.
    Clients {
        #[command(subcommand)]
        command: clients::Clients,
    },
    /// Verifies audit files, and sums them up.
    Audit {
        #[command(subcommand)]
        command: audit::Audit,
    },
    /// Prints the JSON Schema of policy files, for editors.
    Schema,
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

/// Which policy.
#[derive(Args, Clone, Debug)]
struct PolicyArg {
    /// A policy file, or the name of a preset: mcp, strict.
    #[arg(long, short, env = "DCR_POLICY", default_value = "mcp", value_name = "FILE")]
    policy: String,
}

/// As it was asked for.
const OK: u8 = 0;
/// Something differs, and nothing is refused by it.
const DIFFERS: u8 = 3;
/// Something is refused, or wrong.
const REFUSED: u8 = 4;

type Outcome = Result<u8, Box<dyn Error>>;

pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    match cli.command.run(cli.json) {
        Ok(status) => ExitCode::from(status),
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&*error);
            ExitCode::FAILURE
        }
    }
}

impl Command {
    fn run(self, json: bool) -> Outcome {
        match self {
            Self::Check(check) => check.run(json),
            Self::Explain { rule } => explain::run(rule.as_deref(), json),
            Self::Lint { file } => lint::run(&file, json),
            Self::Show(PolicyArg { policy }) => policy::show(&policy, json),
            Self::Replay(replay) => replay.run(json),
            Self::Clients { command } => command.run(json),
            Self::Audit { command } => command.run(json),
            Self::Schema => policy::schema(),
            Self::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "dcr", &mut script);
                std::io::stdout().write_all(&script)?;
                Ok(OK)
            }
            Self::Man { folder: Some(folder) } => {
                std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
                clap_mangen::generate_to(Cli::command(), folder)?;
                Ok(OK)
            }
            Self::Man { folder: None } => {
                let mut page = Vec::new();
                clap_mangen::Man::new(Cli::command()).render(&mut page)?;
                std::io::stdout().write_all(&page)?;
                Ok(OK)
            }
        }
    }
}

/// Whoever reads has read enough: `dcr … | head`.
fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
