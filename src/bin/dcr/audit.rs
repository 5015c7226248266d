//! `dcr audit`.

use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;
use tower_dcr::event::{ChainKey, verify_chain};

use super::{OK, Outcome, REFUSED, output, stats};

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Verifies the keyed chain of audit files, the oldest first.
    ///
    /// Exit status: 0 if it holds, 4 if it is broken.
    Verify {
        /// The file with the key, without white space around it.
        #[arg(long, env = "DCR_CHAIN_KEY_FILE", value_name = "FILE")]
        key_file: PathBuf,
        /// The last value of the file before the first one here.
        #[arg(long, value_name = "VALUE")]
        previous: Option<String>,
        /// The files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Sums an audit file up: outcomes, rules, clients, and how many there were over time.
    Stats {
        /// The file; - for the standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

impl Audit {
    pub(super) fn run(self, json: bool) -> Outcome {
        match self {
            Self::Verify { key_file, previous, files } => verify(&key_file, previous, &files, json),
            Self::Stats { file } => stats::run(&file, json),
        }
    }
}

fn verify(key_file: &Path, mut previous: Option<String>, files: &[PathBuf], json: bool) -> Outcome {
    let key = read_key(key_file)?;
    let mut verified = Vec::new();
    let mut status = OK;
    for path in files {
        let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        match verify_chain(BufReader::new(file), &key, previous.as_deref()) {
            Ok(chain) => {
                if !json {
                    output::line(format_args!("{}: {} lines, ends with {}", path.display(), chain.lines, chain.last))?;
                }
                verified.push(json!({"file": path, "lines": chain.lines, "last": chain.last}));
                previous = Some(chain.last);
            }
            Err(broken) => {
                if !json {
                    output::line(format_args!("{}: {broken}", path.display()))?;
                }
                verified.push(json!({"file": path, "broken": broken.to_string()}));
                status = REFUSED;
                break;
            }
        }
    }
    if json {
        output::json(&verified)?;
    }
    Ok(status)
}

fn read_key(file: &Path) -> Result<ChainKey, Box<dyn Error>> {
    let key = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    ChainKey::new(key.trim_ascii())
        .ok_or_else(|| format!("the key in {} has less than 16 bytes", file.display()).into())
}
