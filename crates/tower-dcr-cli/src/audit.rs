//! `dcr audit`.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind};
use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};
use tower_dcr::audit::{BrokenChain, ChainHead, ChainKey};

use super::{OK, Outcome, REJECTED, input, output, stats};

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Verifies the keyed hash chain of audit files, the oldest first, up to the head of the last one.
    ///
    /// Exit status: 0 if the chain is intact, 4 if a line was changed, the end was cut off, the head is missing, or there is
    /// no line; 1 for an unreadable file.
    Verify {
        /// The file with the key, without white space around it.
        #[arg(long, env = "DCR_CHAIN_KEY_FILE", value_name = "FILE")]
        key_file: PathBuf,
        /// The last value of the preceding file.
        #[arg(long, value_name = "VALUE")]
        previous: Option<String>,
        /// The head of the chain; by default, the file next to the last one with .head added to its name.
        #[arg(long, value_name = "FILE")]
        head: Option<PathBuf>,
        /// Skips the check of the head: for rotated files without the newest one. Lines cut off at the end are not detected.
        #[arg(long, conflicts_with = "head")]
        without_head: bool,
        /// The files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Summarizes an audit file: outcomes, rules, changes of clients, and counts over time.
    ///
    /// Exit status: 0, 5 if there is no audit event in it; 1 for an unreadable file.
    Stats {
        /// The file; - for the standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

impl Audit {
    pub(super) fn run(self, json: bool) -> Outcome {
        match self {
            Self::Verify { key_file, previous, head, without_head, files } => {
                input::each_once(&files)?;
                let key = ChainKey::from_file(key_file)?;
                // Read before the lines. Later, the head could count lines that a server appends meanwhile.
                let head = if without_head { None } else { Some(read_head(head, &files, &key)?) };
                verify(&key, previous, head.as_ref(), &files, json)
            }
            Self::Stats { file } => stats::run(&file, json),
        }
    }
}

/// The head, or the error in it.
type Head = Result<ChainHead, String>;

fn read_head(head: Option<PathBuf>, files: &[PathBuf], key: &ChainKey) -> Result<Head, Box<dyn Error>> {
    let path = head.unwrap_or_else(|| {
        let mut name = files.last().map(|file| file.as_os_str().to_owned()).unwrap_or_default();
        name.push(".head");
        name.into()
    });
    Ok(match ChainHead::read(&path, key) {
        Ok(head) => Ok(head),
        Err(BrokenChain::Io(error)) if error.kind() == ErrorKind::NotFound => {
            Err(format!("{}: head missing (--without-head for rotated files)", path.display()))
        }
        Err(BrokenChain::Io(error)) => return Err(format!("{}: {error}", path.display()).into()),
        Err(broken) => Err(format!("{}: {broken}", path.display())),
    })
}

fn verify(key: &ChainKey, mut previous: Option<String>, head: Option<&Head>, files: &[PathBuf], json: bool) -> Outcome {
    let mut report = Report { json, entries: Vec::new() };
    let mut end = None;
    let mut lines = 0;
    for path in files {
        let unreadable = |error: io::Error| format!("{}: {error}", path.display());
        let file = File::open(path).map_err(unreadable)?;
        match key.verify(BufReader::new(file), previous.as_deref()) {
            Ok((read, count)) => {
                lines += count;
                let text = format!("{}: {count} lines, ends with {}", path.display(), read.last);
                report.say(&text, json!({"file": path, "lines": count, "number": read.lines, "last": read.last}))?;
                previous = Some(read.last.clone());
                // A file without lines does not change the number of lines before it.
                end = if count > 0 || end.is_none() { Some(read) } else { end };
            }
            Err(BrokenChain::Io(error)) => return Err(unreadable(error).into()),
            Err(broken) => {
                let text = format!("{}: {broken}", path.display());
                report.say(&text, json!({"file": path, "broken": broken.to_string()}))?;
                return report.end(REJECTED);
            }
        }
    }
    let fault = match (head, end) {
        _ if lines == 0 => Some("no line to verify".to_owned()),
        (Some(Err(fault)), _) => Some(fault.clone()),
        (Some(Ok(head)), Some(end)) if !end.reaches(head) => {
            Some(format!("the files end before line {}, which the head names", head.lines))
        }
        _ => None,
    };
    match fault {
        None => report.end(OK),
        Some(fault) => {
            report.say(&fault, json!({"broken": fault}))?;
            report.end(REJECTED)
        }
    }
}

/// The results: each a line of text or an element of the JSON.
struct Report {
    json: bool,
    entries: Vec<Value>,
}

impl Report {
    fn say(&mut self, text: &str, entry: Value) -> Result<(), Box<dyn Error>> {
        self.entries.push(entry);
        if !self.json {
            output::line(text)?;
        }
        Ok(())
    }

    fn end(self, status: u8) -> Outcome {
        if self.json {
            output::json(&self.entries)?;
        }
        Ok(status)
    }
}
